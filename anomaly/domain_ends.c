/* What both ends tell of an edge, for diagnosis_of. */
#include "anomaly/domain_log.h"
#include "base/clock.h"

static void add_long(struct end_sums *sums, const struct domain_long_row *row)
{
	sums->attempts += (double)row->opened + row->failed;
	sums->failed += row->failed;
	sums->connect_us += (double)row->connect_us;
	sums->connects += row->connects;
	sums->srtt_us += (double)row->srtt_us;
	sums->srtts += row->srtts;
	sums->retransmits += row->retransmits;
	sums->segments += row->segments;
	sums->bytes += (double)row->bytes;
	sums->resets += row->resets;
	sums->lookups += row->lookups;
	sums->lookups_failed += row->lookups_failed;
}

/* Each end tells of the whole edge, but for what it sent again itself. */
static struct end_sums either_end(const struct end_sums sums[DOMAIN_SIDES])
{
	struct end_sums either =
		sums[sums[DOMAIN_CLIENT].segments > 0 ? DOMAIN_CLIENT : DOMAIN_SERVER];
	either.retransmits = sums[DOMAIN_CLIENT].retransmits + sums[DOMAIN_SERVER].retransmits;
	return either;
}

/* Two zones, either way, or one. */
struct pair {
	uint64_t low, high;
	double retransmits, segments;
};

/* Of the zones between which most is lost, what is sent again and all: the whole edge hides a path
 * that few of its connections take. */
static void worst_pair(const struct domain_window *window, const struct domain_query *query,
		       struct end_sums *sums)
{
	struct pair pairs[DOMAIN_ZONES_MAX];
	uint32_t count = 0;
	for (uint32_t i = 0; window && i < window->count; i++) {
		const struct domain_long_row *row = &window->rows[i];
		const struct domain_instance *lane = &window->instances[row->instance];
		if (row->side != DOMAIN_LANE ||
		    !domain_query_asks(query, row->edge, row->server, row->port, row->protocol))
			continue;
		bool turned = lane->name > lane->process;
		struct pair pair = {turned ? lane->process : lane->name,
				    turned ? lane->name : lane->process, 0, 0};
		uint32_t at = 0;
		while (at < count && (pairs[at].low != pair.low || pairs[at].high != pair.high))
			at++;
		if (at == DOMAIN_ZONES_MAX)
			continue;
		if (at == count)
			pairs[count++] = pair;
		pairs[at].retransmits += row->retransmits;
		pairs[at].segments += row->segments;
	}
	for (uint32_t i = 0; i < count; i++)
		if (pairs[i].retransmits >= sums->retransmits / 2 &&
		    pairs[i].retransmits * sums->segments > sums->retransmits * pairs[i].segments) {
			sums->retransmits = pairs[i].retransmits;
			sums->segments = pairs[i].segments;
		}
}

static struct end_sums window_ends(const struct domain_window *window,
				   const struct domain_query *query)
{
	struct end_sums sums[DOMAIN_SIDES] = {0};
	for (uint32_t i = 0; window && i < window->count; i++) {
		const struct domain_long_row *row = &window->rows[i];
		if (domain_query_asks(query, row->edge, row->server, row->port, row->protocol))
			add_long(&sums[row->side], row);
	}
	struct end_sums either = either_end(sums);
	worst_pair(window, query, &either);
	return either;
}

static void add_attempts(struct ends *ends, const struct domain_row *row)
{
	struct end_sums *sums = &ends->panes;
	if (row->side == DOMAIN_CLIENT) {
		sums->attempts += (double)row->opened + row->failed;
		sums->failed += row->failed;
		sums->refused += row->refused;
		sums->unreachable += row->unreachable;
	}
	if (row->side != DOMAIN_LANE)
		return;
	double bad = (double)row->failed + row->resets, all = (double)row->opened + row->failed;
	bool crosses = domain_lane_crosses(&row->instance);
	ends->bad += bad;
	ends->all += all;
	ends->bad_crossing += crosses ? bad : 0;
	ends->crossing += crosses ? all : 0;
}

/* Where nothing fails: segments that were sent again. */
static void window_crossing(const struct domain_window *window, const struct domain_query *query,
			    struct ends *ends)
{
	for (uint32_t i = 0; i < window->count; i++) {
		const struct domain_long_row *row = &window->rows[i];
		if (row->side != DOMAIN_LANE ||
		    !domain_query_asks(query, row->edge, row->server, row->port, row->protocol))
			continue;
		bool crosses = domain_lane_crosses(&window->instances[row->instance]);
		ends->bad += row->retransmits;
		ends->all += row->segments;
		ends->bad_crossing += crosses ? row->retransmits : 0;
		ends->crossing += crosses ? row->segments : 0;
	}
}

static bool server_tells(const struct domain_window *window, const struct domain_query *query)
{
	for (uint32_t i = 0; i < window->count; i++) {
		const struct domain_long_row *row = &window->rows[i];
		if (row->side == DOMAIN_SERVER && row->told && row->server == query->edge.server)
			return true;
	}
	return false;
}

struct ends domain_ends(const struct domain_log *log, const struct domain_query *query)
{
	/* What fails, failed a moment before the episode began. */
	const uint64_t before_ns = 2 * NS_PER_S;
	const struct domain_window *newest = &log->windows[0];
	struct ends ends = {0};
	for (uint32_t i = 0; i < DOMAIN_PANES; i++) {
		const struct domain_pane *pane = &log->panes[i];
		uint32_t at = query->per_server ? 0 : domain_pane_find(pane, query->edge.id);
		for (; at < pane->count; at++) {
			const struct domain_row *row = &pane->rows[at];
			if (domain_query_asks(query, row->edge, row->server, row->port,
					      row->protocol))
				add_attempts(&ends, row);
			else if (!query->per_server)
				break;
		}
	}
	ends.settled = newest->start_ns && newest->start_ns + before_ns >= query->started_ns;
	ends.server_tells = server_tells(newest, query);
	ends.now = window_ends(newest, query);
	ends.before = window_ends(domain_log_usual(log, query->started_ns), query);
	if (ends.bad <= 0)
		window_crossing(newest, query, &ends);
	return ends;
}
