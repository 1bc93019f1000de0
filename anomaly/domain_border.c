#include "anomaly/domain_border.h"

#include <stdio.h>
#include <string.h>

#include "anomaly/name_text.h"

/* What passes between two zones, either way; zone b 0: between a and all others. */
struct border {
	uint64_t a, b;
};

static bool border_has(const struct border *border, const struct domain_instance *lane)
{
	bool at_a = lane->name == border->a || lane->process == border->a;
	bool at_b = border->b == 0 || lane->name == border->b || lane->process == border->b;
	return domain_lane_crosses(lane) && at_a && at_b;
}

static struct domain_candidate border_sum(const struct border *border,
					  const struct domain_leaf *leaves, uint32_t count)
{
	struct domain_candidate candidate = {.name = border->a, .process = border->b};
	for (uint32_t i = 0; i < count; i++) {
		if (!border_has(border, &leaves[i].instance))
			continue;
		candidate.change += leaves[i].change;
		candidate.traffic += leaves[i].traffic;
		candidate.active += leaves[i].active;
	}
	return candidate;
}

static void border_name(const struct border *border, const struct names *names,
			char text[ALERT_NAME_MAX])
{
	char zones[2][ALERT_NAME_MAX];
	name_text(names, border->a, text);
	if (border->b == 0)
		return;
	memcpy(zones[0], text, sizeof(zones[0]));
	name_text(names, border->b, zones[1]);
	bool turned = strcmp(zones[0], zones[1]) > 0;
	/* Names of zones are short; what does not fit is not named at all. */
	int length = snprintf(text, ALERT_NAME_MAX, "%s - %s", zones[turned], zones[!turned]);
	if (length >= ALERT_NAME_MAX)
		memcpy(text, zones[0], sizeof(zones[0]));
}

static uint32_t list_zones(const struct domain_leaf *leaves, uint32_t count,
			   uint64_t zones[DOMAIN_ZONES_MAX])
{
	uint32_t listed = 0;
	for (uint32_t i = 0; i < 2 * count; i++) {
		const struct domain_instance *lane = &leaves[i / 2].instance;
		uint64_t zone = i % 2 ? lane->process : lane->name;
		uint32_t at = 0;
		while (at < listed && zones[at] != zone)
			at++;
		if (at == listed && zone && listed < DOMAIN_ZONES_MAX)
			zones[listed++] = zone;
	}
	return listed;
}

uint32_t domain_border_rank(const struct domain_leaf *leaves, uint32_t count,
			    const struct names *names, struct domain_ranked *ranked)
{
	uint64_t zones[DOMAIN_ZONES_MAX];
	struct domain_totals whole = domain_scan_totals(leaves, count);
	struct border best = {0};
	struct domain_candidate sum = {0};
	uint32_t zones_count = list_zones(leaves, count, zones);
	uint32_t pairs = zones_count * (zones_count - 1) / 2;
	ranked->score = 0;
	if (whole.change <= 0 || whole.traffic <= 0 || zones_count < 2)
		return 0;
	/* Of each zone its pairs, then itself: with two zones the pair is all there is to say. */
	for (uint32_t i = 0; i < zones_count; i++)
		for (uint32_t k = i + 1; k <= zones_count; k++) {
			struct border border = {zones[i], k < zones_count ? zones[k] : 0};
			struct domain_candidate candidate = border_sum(&border, leaves, count);
			double score = domain_scan_score(&candidate, &whole,
							 border.b ? pairs : zones_count);
			if (score <= ranked->score)
				continue;
			ranked->score = score;
			best = border;
			sum = candidate;
		}
	if (ranked->score <= 0)
		return 0;
	ranked->suspect = domain_scan_suspect(&sum, SUSPECT_ZONE, &whole);
	ranked->suspect.kind = best.b ? SUSPECT_PATH : SUSPECT_ZONE;
	border_name(&best, names, ranked->suspect.name);
	return 1;
}
