#include "anomaly/domain.h"

#include "anomaly/domain_border.h"
#include "anomaly/domain_leaf.h"
#include "anomaly/domain_log.h"
#include "anomaly/domain_scan.h"

bool domain_ready(const struct domain_log *log, const struct domain_query *query)
{
	const struct domain_window *newest = &log->windows[0];
	return !metric_is_long(query->metric) ||
	       (newest->start_ns && newest->start_ns + DOMAIN_WINDOW_NS >= query->started_ns);
}

/* All sides' findings, best score first; the earlier side's on a tie. Each side's are in order. */
static uint32_t merge_sides(struct domain_ranked sides[DOMAIN_SIDES][ALERT_SUSPECTS_MAX],
			    const uint32_t counts[DOMAIN_SIDES],
			    struct suspect suspects[ALERT_SUSPECTS_MAX])
{
	uint32_t at[DOMAIN_SIDES] = {0}, count = 0;
	for (; count < ALERT_SUSPECTS_MAX; count++) {
		uint32_t best = DOMAIN_SIDES;
		for (uint32_t side = 0; side < DOMAIN_SIDES; side++)
			if (at[side] < counts[side] &&
			    (best == DOMAIN_SIDES ||
			     sides[side][at[side]].score > sides[best][at[best]].score))
				best = side;
		if (best == DOMAIN_SIDES)
			break;
		suspects[count] = sides[best][at[best]++].suspect;
	}
	return count;
}

uint32_t domain_rank(struct domain_log *log, const struct domain_query *query,
		     const struct names *names, struct suspect suspects[ALERT_SUSPECTS_MAX])
{
	const struct domain_window *usual =
		metric_is_long(query->metric) ? domain_log_usual(log, query->started_ns) : NULL;
	struct domain_ranked sides[DOMAIN_SIDES][ALERT_SUSPECTS_MAX];
	uint32_t counts[DOMAIN_SIDES] = {0}, first = 0, end = 0;
	/* Instances do not tell whose lookups fail. */
	if (metric_is_of_lookups(query->metric))
		return 0;
	/* What is usual is out of sight: what was said of it then was better. */
	if (!usual && metric_is_volume(query->metric) &&
	    log->windows[0].start_ns > query->started_ns)
		return 0;
	uint32_t leaves = domain_leaf_gather(log, query, usual);
	for (uint32_t side = 0; side < DOMAIN_SIDES; side++, first = end) {
		while (end < leaves && log->leaves[end].side == side)
			end++;
		uint32_t size = end - first < DOMAIN_LEAVES_MAX ? end - first : DOMAIN_LEAVES_MAX;
		if (size == 0)
			continue;
		struct domain_leaf *of_side = log->leaves + first;
		domain_leaf_scale(of_side, size, query, usual != NULL);
		counts[side] = side == DOMAIN_LANE
				       ? domain_border_rank(of_side, size, names, sides[side])
				       : domain_scan_side(of_side, size, side, names, sides[side]);
	}
	return merge_sides(sides, counts, suspects);
}
