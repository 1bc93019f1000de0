#include "anomaly/domain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"

enum { EDGE = 77 };

struct stand {
	struct names *names;
	struct domain_log *log;
};

static int set_up(void **state)
{
	static struct stand stand;
	stand.names = names_new(4096, 0);
	stand.log = domain_log_new(100000);
	*state = &stand;
	return 0;
}

static int tear_down(void **state)
{
	struct stand *stand = *state;
	names_free(stand->names);
	domain_log_free(stand->log);
	return 0;
}

static uint64_t named(struct stand *stand, const char *text)
{
	return names_put(stand->names, text, strlen(text), 1);
}

static void add(struct stand *stand, uint8_t scope, const char *pod, const char *version,
		const char *zone, const char *node, int64_t opened, int64_t failed)
{
	struct rollup rollup = {.scope = scope, .window_ms = 250, .edge = {.id = EDGE}};
	rollup.instance = (struct instance){.version = named(stand, version),
					    .zone = named(stand, zone),
					    .node = named(stand, node),
					    .container = named(stand, pod)};
	rollup.instance.id = instance_id(&rollup.instance);
	rollup.counters[COUNTER_OPENED] = opened;
	rollup.counters[COUNTER_FAILED] = failed;
	domain_log_add(stand->log, &rollup);
}

static uint32_t rank(struct stand *stand, uint32_t metric, uint32_t comparison,
		     struct suspect suspects[ALERT_SUSPECTS_MAX])
{
	struct domain_query query = {.edge = {.id = EDGE},
				     .metric = metric,
				     .comparison = comparison,
				     .window_panes = 4,
				     .started_ns = 39 * NS_PER_S};
	return domain_rank(stand->log, &query, stand->names, suspects);
}

static void the_version_that_fails_comes_before_its_instances(void **state)
{
	struct stand *stand = *state;
	struct suspect suspects[ALERT_SUSPECTS_MAX];
	add(stand, SCOPE_SERVER, "cart-1", "v1", "a", "n1", 20, 0);
	add(stand, SCOPE_SERVER, "cart-2", "v1", "b", "n2", 20, 0);
	add(stand, SCOPE_SERVER, "cart-3", "v1", "a", "n3", 20, 0);
	add(stand, SCOPE_SERVER, "cart-4", "v2", "a", "n1", 10, 10);
	add(stand, SCOPE_SERVER, "cart-5", "v2", "b", "n2", 10, 10);
	domain_log_close(stand->log);
	assert_int_equal(rank(stand, METRIC_CONNECTIONS_FAILED, COMPARE_ABOVE, suspects), 1);
	assert_int_equal(suspects[0].kind, SUSPECT_SERVER_VERSION);
	assert_string_equal(suspects[0].name, "v2");
	assert_true(suspects[0].share == 1);
	assert_true(suspects[0].excess == 2.5);
}

static void equals_are_named_once_each_a_version_of_its_own_first(void **state)
{
	struct stand *stand = *state;
	struct suspect suspects[ALERT_SUSPECTS_MAX];
	add(stand, SCOPE_SERVER, "cart-1", "v1", "a", "n1", 50, 0);
	add(stand, SCOPE_SERVER, "cart-2", "v1", "b", "n2", 50, 0);
	add(stand, SCOPE_SERVER, "cart-3", "v2", "b", "n3", 0, 50);
	domain_log_close(stand->log);
	assert_int_equal(rank(stand, METRIC_FAILURE_RATIO, COMPARE_ABOVE, suspects), 3);
	assert_int_equal(suspects[0].kind, SUSPECT_SERVER_VERSION);
	assert_int_equal(suspects[1].kind, SUSPECT_SERVER_INSTANCE);
	assert_string_equal(suspects[1].name, "cart-3");
	assert_int_equal(suspects[2].kind, SUSPECT_SERVER_NODE);
}

static void the_side_that_concentrates_is_named(void **state)
{
	struct stand *stand = *state;
	struct suspect suspects[ALERT_SUSPECTS_MAX];
	for (int i = 0; i < 8; i++) {
		char pod[24], node[24];
		snprintf(pod, sizeof(pod), "web-%d", i);
		snprintf(node, sizeof(node), "n%d", i);
		/* All clients of zone c fail. */
		add(stand, SCOPE_CLIENT, pod, "v1", i < 2 ? "c" : "a", node, i < 2 ? 2 : 20,
		    i < 2 ? 18 : 0);
		add(stand, SCOPE_SERVER, node, "v9", i % 2 ? "a" : "b", node, 15, 5);
	}
	domain_log_close(stand->log);
	assert_int_equal(rank(stand, METRIC_FAILURE_RATIO, COMPARE_ABOVE, suspects), 1);
	assert_int_equal(suspects[0].kind, SUSPECT_CLIENT_ZONE);
	assert_string_equal(suspects[0].name, "c");
}

static void a_change_that_is_spread_like_the_traffic_has_no_suspects(void **state)
{
	struct stand *stand = *state;
	struct suspect suspects[ALERT_SUSPECTS_MAX];
	for (int pane = 0; pane < 4; pane++) {
		for (int i = 0; i < 6; i++) {
			char pod[24];
			snprintf(pod, sizeof(pod), "cart-%d", i);
			add(stand, SCOPE_SERVER, pod, i % 2 ? "v1" : "v2", i % 3 ? "a" : "b", pod,
			    10 + i, 10 + i);
		}
		domain_log_close(stand->log);
	}
	assert_int_equal(rank(stand, METRIC_FAILURE_RATIO, COMPARE_ABOVE, suspects), 0);
}

static void a_single_instance_is_no_concentration(void **state)
{
	struct stand *stand = *state;
	struct suspect suspects[ALERT_SUSPECTS_MAX];
	add(stand, SCOPE_SERVER, "cart-1", "v1", "a", "n1", 0, 500);
	add(stand, SCOPE_CLIENT, "web-1", "v1", "a", "n1", 0, 500);
	domain_log_close(stand->log);
	assert_int_equal(rank(stand, METRIC_CONNECTIONS_FAILED, COMPARE_ABOVE, suspects), 0);
}

static void add_long(struct stand *stand, uint64_t start_ns, const char *pod, int64_t bytes,
		     int64_t active, int64_t retransmits)
{
	struct rollup rollup = {.scope = SCOPE_SERVER,
				.window_ms = 10000,
				.window_start_ns = start_ns,
				.edge = {.id = EDGE}};
	rollup.instance = (struct instance){.version = named(stand, "v1"),
					    .zone = named(stand, "a"),
					    .node = named(stand, pod),
					    .container = named(stand, pod)};
	rollup.instance.id = instance_id(&rollup.instance);
	rollup.counters[COUNTER_TX_BYTES] = bytes;
	rollup.counters[COUNTER_ACTIVE] = active;
	rollup.counters[COUNTER_TX_SEGMENTS] = bytes / 1000;
	rollup.counters[COUNTER_SERVER_RETRANSMITS] = retransmits;
	domain_log_add_long(stand->log, &rollup);
}

static void the_instance_that_went_silent_explains_a_drop(void **state)
{
	struct stand *stand = *state;
	struct suspect suspects[ALERT_SUSPECTS_MAX];
	for (int window = 1; window < 4; window++) {
		for (int i = 0; i < 4; i++) {
			char pod[24];
			snprintf(pod, sizeof(pod), "cart-%d", i);
			if (window < 3 || i != 2)
				add_long(stand, (uint64_t)window * 10 * NS_PER_S, pod, 1000000, 5,
					 0);
		}
	}
	assert_in_range(rank(stand, METRIC_BYTES, COMPARE_BELOW, suspects), 1, 2);
	assert_int_equal(suspects[0].kind, SUSPECT_SERVER_INSTANCE);
	assert_string_equal(suspects[0].name, "cart-2");
	assert_true(suspects[0].share > 0.99);
}

static void traffic_is_ranked_once_ten_seconds_ended_after_the_beginning(void **state)
{
	struct stand *stand = *state;
	struct suspect suspects[ALERT_SUSPECTS_MAX];
	struct domain_query query = {.edge = {.id = EDGE},
				     .metric = METRIC_RETRANSMIT_RATIO,
				     .window_panes = 4,
				     .started_ns = 27 * NS_PER_S};
	assert_false(domain_ready(stand->log, &query));
	for (int i = 0; i < 4; i++)
		add_long(stand, 10 * NS_PER_S, i ? "cart-1" : "cart-0", 1000000, 5, 1);
	assert_false(domain_ready(stand->log, &query));
	query.metric = METRIC_CONNECTIONS_FAILED;
	assert_true(domain_ready(stand->log, &query));
	query.metric = METRIC_RETRANSMIT_RATIO;
	add_long(stand, 20 * NS_PER_S, "cart-0", 1000000, 5, 1);
	add_long(stand, 20 * NS_PER_S, "cart-1", 1000000, 5, 90);
	add_long(stand, 20 * NS_PER_S, "cart-2", 1000000, 5, 1);
	assert_true(domain_ready(stand->log, &query));
	assert_in_range(domain_rank(stand->log, &query, stand->names, suspects), 1, 2);
	assert_string_equal(suspects[0].name, "cart-1");
}

static void resets_are_compared_with_what_was_active(void **state)
{
	struct stand *stand = *state;
	struct suspect suspects[ALERT_SUSPECTS_MAX];
	struct rollup rollup = {.scope = SCOPE_SERVER, .window_ms = 250, .edge = {.id = EDGE}};
	for (int i = 0; i < 4; i++) {
		char pod[24];
		snprintf(pod, sizeof(pod), "cart-%d", i);
		add_long(stand, 20 * NS_PER_S, pod, 1000000, 40, 0);
	}
	/* Those that reset nothing have no row in the pane. */
	rollup.instance = (struct instance){.version = named(stand, "v1"),
					    .zone = named(stand, "a"),
					    .node = named(stand, "cart-3"),
					    .container = named(stand, "cart-3")};
	rollup.instance.id = instance_id(&rollup.instance);
	rollup.counters[COUNTER_RESETS] = 30;
	domain_log_add(stand->log, &rollup);
	domain_log_close(stand->log);
	assert_in_range(rank(stand, METRIC_CONNECTIONS_RESET, COMPARE_ABOVE, suspects), 1, 2);
	assert_string_equal(suspects[0].name, "cart-3");
	assert_true(suspects[0].share == 1);
	assert_true(suspects[0].excess == 4);
}

static void add_lane(struct stand *stand, const char *from, const char *to, int64_t opened,
		     int64_t failed)
{
	struct rollup rollup = {.scope = SCOPE_LANE, .window_ms = 250, .edge = {.id = EDGE}};
	rollup.lane =
		(struct lane){.client_zone = named(stand, from), .server_zone = named(stand, to)};
	rollup.lane.id = lane_id(&rollup.lane);
	rollup.counters[COUNTER_OPENED] = opened;
	rollup.counters[COUNTER_FAILED] = failed;
	domain_log_add(stand->log, &rollup);
}

/* All pairs of three zones; what fails is told by a function. */
static void add_lanes(struct stand *stand, bool (*fails)(int from, int to))
{
	static const char *const zones[] = {"a", "b", "c"};
	for (int from = 0; from < 3; from++)
		for (int to = 0; to < 3; to++)
			add_lane(stand, zones[from], zones[to], 20, fails(from, to) ? 20 : 0);
	domain_log_close(stand->log);
}

static bool between_a_and_c(int from, int to)
{
	return from + to == 2 && from != to;
}

static bool to_and_from_b(int from, int to)
{
	return (from == 1) != (to == 1);
}

static bool everywhere(int from, int to)
{
	return from != to;
}

static void nothing_is_ranked_once_the_usual_is_out_of_sight(void **state)
{
	struct stand *stand = *state;
	struct suspect suspects[ALERT_SUSPECTS_MAX];
	for (int window = 2; window < 24; window++) {
		for (int i = 0; i < 4; i++) {
			char pod[24];
			snprintf(pod, sizeof(pod), "cart-%d", i);
			add_long(stand, (uint64_t)window * 10 * NS_PER_S, pod,
				 i == 2 && window > 3 ? 1000 : 1000000, 5, 0);
		}
		/* The second is kept until those of 90 and 180 s are. */
		uint32_t found = rank(stand, METRIC_BYTES, COMPARE_BELOW, suspects);
		if (window > 3)
			assert_int_equal(found > 0, window < 20);
	}
}

static void add_srtt(struct stand *stand, uint64_t start_ns, const char *pod, int64_t srtt_us)
{
	struct rollup rollup = {.scope = SCOPE_SERVER,
				.window_ms = 10000,
				.window_start_ns = start_ns,
				.edge = {.id = EDGE}};
	rollup.instance =
		(struct instance){.node = named(stand, pod), .container = named(stand, pod)};
	rollup.instance.id = instance_id(&rollup.instance);
	rollup.counters[COUNTER_SRTT_US] = 20 * srtt_us;
	rollup.counters[COUNTER_SRTT_COUNT] = 20;
	domain_log_add_long(stand->log, &rollup);
}

/* Held against what its series expects, and also where ten seconds of before are not known. */
static void what_is_slow_is_named_however_long_it_lasts(void **state)
{
	struct stand *stand = *state;
	struct suspect suspects[ALERT_SUSPECTS_MAX];
	struct domain_query query = {.edge = {.id = EDGE},
				     .metric = METRIC_RTT,
				     .window_panes = 40,
				     .started_ns = 39 * NS_PER_S,
				     .value = 0.0022,
				     .expected = 0.001};
	for (uint64_t window = 4; window < 40; window++) {
		for (int i = 0; i < 5; i++) {
			char pod[24];
			snprintf(pod, sizeof(pod), "cart-%d", i);
			add_srtt(stand, window * 10 * NS_PER_S, pod, i == 3 ? 7000 : 1000);
		}
		assert_in_range(domain_rank(stand->log, &query, stand->names, suspects), 1, 2);
		assert_string_equal(suspects[0].name, "cart-3");
		assert_true(suspects[0].share > 0.99);
	}
}

static void a_path_between_two_zones_is_named_either_way(void **state)
{
	struct stand *stand = *state;
	struct suspect suspects[ALERT_SUSPECTS_MAX];
	add_lanes(stand, between_a_and_c);
	assert_int_equal(rank(stand, METRIC_CONNECTIONS_FAILED, COMPARE_ABOVE, suspects), 1);
	assert_int_equal(suspects[0].kind, SUSPECT_PATH);
	assert_string_equal(suspects[0].name, "a - c");
	assert_true(suspects[0].share == 1);
}

static void a_zone_that_is_cut_off_is_named_rather_than_its_paths(void **state)
{
	struct stand *stand = *state;
	struct suspect suspects[ALERT_SUSPECTS_MAX];
	add_lanes(stand, to_and_from_b);
	assert_int_equal(rank(stand, METRIC_CONNECTIONS_FAILED, COMPARE_ABOVE, suspects), 1);
	assert_int_equal(suspects[0].kind, SUSPECT_ZONE);
	assert_string_equal(suspects[0].name, "b");
}

static void what_fails_between_all_zones_is_of_no_zone(void **state)
{
	struct stand *stand = *state;
	struct suspect suspects[ALERT_SUSPECTS_MAX];
	struct domain_query query = {
		.edge = {.id = EDGE}, .metric = METRIC_CONNECTIONS_FAILED, .window_panes = 4};
	struct ends ends;
	add_lanes(stand, everywhere);
	rank(stand, METRIC_CONNECTIONS_FAILED, COMPARE_ABOVE, suspects);
	ends = domain_ends(stand->log, &query);
	assert_true(ends.bad == 120 && ends.bad_crossing == 120);
	assert_true(ends.all == 300 && ends.crossing == 240);
}

static void both_ends_are_told_of_apart(void **state)
{
	struct stand *stand = *state;
	struct domain_query query = {.edge = {.id = EDGE},
				     .metric = METRIC_BYTES,
				     .window_panes = 4,
				     .started_ns = 45 * NS_PER_S};
	add(stand, SCOPE_CLIENT, "web-1", "v1", "a", "n1", 3, 7);
	add(stand, SCOPE_SERVER, "cart-1", "v1", "a", "n1", 3, 0);
	domain_log_close(stand->log);
	/* The newest of those kept that ended ten seconds before it began is what is usual. */
	for (uint64_t window = 1; window < 5; window++)
		add_long(stand, window * 10 * NS_PER_S, "cart-1", (int64_t)window * 1000, 5, 3);
	struct ends ends = domain_ends(stand->log, &query);
	assert_true(ends.panes.attempts == 10 && ends.panes.failed == 7);
	assert_true(ends.now.bytes == 4000 && ends.before.bytes == 1000);
	assert_true(ends.now.retransmits == 3);
	assert_false(ends.settled);
	assert_false(ends.server_tells); /* no agent at the server counted these */
	query.started_ns = 41 * NS_PER_S;
	assert_true(domain_ends(stand->log, &query).settled);
}

static void four_windows_of_ten_seconds_are_kept_and_bounded(void **state)
{
	struct stand *stand = *state;
	struct domain_log *log = stand->log;
	stand->log = domain_log_new(10);
	for (uint64_t window = 1; window < 6; window++)
		for (int i = 0; i < 12; i++)
			add_long(stand, window * 10 * NS_PER_S, "cart-1", 1000, 5, 0);
	assert_int_equal(domain_log_dropped(stand->log), 5 * 2);
	add_long(stand, 10 * NS_PER_S, "cart-1", 1000, 5, 0); /* too late */
	assert_int_equal(domain_log_dropped(stand->log), 5 * 2 + 1);
	domain_log_free(stand->log);
	stand->log = log;
}

static void the_order_of_rows_does_not_matter(void **state)
{
	struct stand *stand = *state;
	struct suspect first[ALERT_SUSPECTS_MAX], other[ALERT_SUSPECTS_MAX];
	uint32_t counts[2];
	for (int turn = 0; turn < 2; turn++) {
		struct domain_log *log = stand->log;
		stand->log = domain_log_new(1000);
		for (int i = 0; i < 40; i++) {
			int at = turn ? 39 - i : i;
			char pod[24], node[24];
			snprintf(pod, sizeof(pod), "cart-%d", at);
			snprintf(node, sizeof(node), "n%d", at % 7);
			add(stand, SCOPE_SERVER, pod, at % 3 ? "v1" : "v2", "a", node, 10,
			    at % 7 == 3 ? 12
			    : at % 3	? 0
					: 4);
		}
		domain_log_close(stand->log);
		counts[turn] =
			rank(stand, METRIC_FAILURE_RATIO, COMPARE_ABOVE, turn ? other : first);
		domain_log_free(stand->log);
		stand->log = log;
	}
	assert_int_equal(counts[0], counts[1]);
	assert_true(counts[0] >= 2);
	assert_string_equal(first[0].name, "n3");
	for (uint32_t i = 0; i < counts[0]; i++) {
		assert_string_equal(first[i].name, other[i].name);
		assert_true(first[i].share == other[i].share);
	}
}

static void a_full_log_forgets_its_oldest_panes(void **state)
{
	struct stand *stand = *state;
	struct domain_log *log = stand->log;
	struct suspect suspects[ALERT_SUSPECTS_MAX];
	stand->log = domain_log_new(10);
	for (int pane = 0; pane < 4; pane++) {
		for (int i = 0; i < 5; i++) {
			char pod[24];
			snprintf(pod, sizeof(pod), "cart-%d", i);
			/* Long ago it was 0 that failed, now it is 4. */
			add(stand, SCOPE_SERVER, pod, "v1", "a", pod, 10,
			    i == (pane < 2 ? 0 : 4) ? 50 : 0);
		}
		domain_log_close(stand->log);
	}
	assert_in_range(rank(stand, METRIC_FAILURE_RATIO, COMPARE_ABOVE, suspects), 1, 5);
	assert_string_equal(suspects[0].name, "cart-4");
	assert_true(suspects[0].share == 1);
	assert_int_equal(domain_log_dropped(stand->log), 0);
	for (int i = 0; i < 15; i++)
		add(stand, SCOPE_SERVER, "cart-1", "v1", "a", "n1", 1, 1);
	assert_int_equal(domain_log_dropped(stand->log), 5);
	domain_log_free(stand->log);
	stand->log = log;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define STAND(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
		STAND(the_version_that_fails_comes_before_its_instances),
		STAND(equals_are_named_once_each_a_version_of_its_own_first),
		STAND(the_side_that_concentrates_is_named),
		STAND(a_change_that_is_spread_like_the_traffic_has_no_suspects),
		STAND(a_single_instance_is_no_concentration),
		STAND(the_instance_that_went_silent_explains_a_drop),
		STAND(traffic_is_ranked_once_ten_seconds_ended_after_the_beginning),
		STAND(resets_are_compared_with_what_was_active),
		STAND(nothing_is_ranked_once_the_usual_is_out_of_sight),
		STAND(what_is_slow_is_named_however_long_it_lasts),
		STAND(a_path_between_two_zones_is_named_either_way),
		STAND(a_zone_that_is_cut_off_is_named_rather_than_its_paths),
		STAND(what_fails_between_all_zones_is_of_no_zone),
		STAND(both_ends_are_told_of_apart),
		STAND(four_windows_of_ten_seconds_are_kept_and_bounded),
		STAND(the_order_of_rows_does_not_matter),
		STAND(a_full_log_forgets_its_oldest_panes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
