/* What monitors of each kind say, and which parts of edges they look at: through the whole stage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "anomaly/anomaly.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

enum { PANE_FIRST = 4000000, ALERTS_MAX = 256, ROWS_MAX = 64, EDGES_MAX = 16 };

struct stand {
	struct names *names;
	struct anomaly *anomaly;
	uint64_t pane; /* the open one */
	struct rollup rows[ROWS_MAX];
	struct sketch_cell cells[ROWS_MAX];
	uint32_t rows_count;
	uint8_t client_resolution; /* of the rows to come */
	struct alert alerts[ALERTS_MAX];
	uint32_t alerts_count;
};

static void on_alerts(void *context, const struct alert *alerts, size_t count)
{
	struct stand *stand = context;
	for (size_t i = 0; i < count; i++) {
		assert_true(stand->alerts_count < ALERTS_MAX);
		stand->alerts[stand->alerts_count++] = alerts[i];
	}
}

static struct stand *stand_new(const struct monitor *monitors, size_t count, bool baselines)
{
	struct stand *stand = memory_zeroed(1, sizeof(*stand));
	stand->names = names_new(4096, 0);
	stand->pane = PANE_FIRST;
	stand->client_resolution = RESOLUTION_WORKLOAD;
	const struct anomaly_options options = {
		.monitors = monitors,
		.monitors_count = count,
		.baselines = baselines,
		.sensitivity = 9,
		.warmup_samples = 30,
		.objective = 0.99,
		.update_ns = 10 * NS_PER_S,
		.baseline_save_ns = 60 * NS_PER_S,
		.edges_max = EDGES_MAX,
		.episodes_max = 100,
		.sinks = {.context = stand, .alerts = on_alerts},
	};
	stand->anomaly = anomaly_new(&options);
	return stand;
}

static void stand_free(struct stand *stand)
{
	anomaly_free(stand->anomaly);
	names_free(stand->names);
	memory_free(stand);
}

static uint64_t named(struct stand *stand, const char *text)
{
	return names_put(stand->names, text, strlen(text), 1);
}

static struct rollup *add_row(struct stand *stand, uint32_t window_ms, const char *client,
			      const char *server)
{
	struct rollup *row = &stand->rows[stand->rows_count];
	*row = (struct rollup){.window_ms = window_ms, .scope = SCOPE_EDGE};
	row->window_start_ns = pane_end(stand->pane) - window_ms * NS_PER_MS;
	row->last_event_ns = pane_end(stand->pane) - 1000;
	row->edge = (struct edge){.client = named(stand, client),
				  .server = named(stand, server),
				  .port = 7070,
				  .protocol = 6,
				  .client_resolution = stand->client_resolution,
				  .server_resolution = RESOLUTION_WORKLOAD};
	row->edge.id = edge_id(&row->edge);
	row->connect = &stand->cells[stand->rows_count++];
	return row;
}

static struct rollup *add_counts(struct stand *stand, const char *client, const char *server,
				 int64_t opened, int64_t failed)
{
	struct rollup *row = add_row(stand, 250, client, server);
	row->counters[COUNTER_OPENED] = opened;
	row->counters[COUNTER_FAILED] = failed;
	return row;
}

/* Ten seconds between a zone and a version. */
static struct rollup *add_lane(struct stand *stand, const char *client, const char *server,
			       const char *client_zone, const char *server_version, int64_t opened,
			       int64_t failed)
{
	struct rollup *row = add_row(stand, 10000, client, server);
	row->scope = SCOPE_LANE;
	row->lane = (struct lane){.client_zone = named(stand, client_zone),
				  .server_version = named(stand, server_version)};
	row->lane.id = lane_id(&row->lane);
	row->counters[COUNTER_OPENED] = opened;
	row->counters[COUNTER_FAILED] = failed;
	return row;
}

static void close_pane(struct stand *stand)
{
	anomaly_push(stand->anomaly, stand->rows, stand->rows_count, stand->names);
	anomaly_advance(stand->anomaly, pane_end(stand->pane++));
	stand->rows_count = 0;
}

static void idle(struct stand *stand, uint32_t panes)
{
	for (uint32_t i = 0; i < panes; i++)
		close_pane(stand);
}

static void expect(const struct stand *stand, uint32_t number, uint32_t state, const char *client,
		   const char *server)
{
	assert_true(number < stand->alerts_count);
	const struct alert *alert = &stand->alerts[number];
	assert_int_equal(alert->state, state);
	assert_string_equal(alert->subject.client, client);
	assert_string_equal(alert->subject.server, server);
}

/* --- parts of edges --- */

static const struct monitor fails = {
	.name = "fails",
	.metric = METRIC_FAILURE_RATIO,
	.threshold = 0.1,
	.clear = 0.1,
	.window_ns = 10 * NS_PER_S,
	.clear_ns = 5 * NS_PER_S,
	.minimum = 10,
	.severity = ALERT_CRITICAL,
};

/* One version fails, which is no tenth of the edge. */
static void push_versions(struct stand *stand, int64_t failed)
{
	add_counts(stand, "web", "api", 1000, failed);
	add_lane(stand, "web", "api", "east", "v1", 900, 0);
	add_lane(stand, "web", "api", "east", "v2", 50, failed);
	add_lane(stand, "web", "api", "west", "v1", 50, 0);
	close_pane(stand);
	idle(stand, 39);
}

static void a_part_of_an_edge_is_measured_by_itself(void **state)
{
	(void)state;
	struct monitor monitors[] = {fails, fails, fails};
	snprintf(monitors[1].name, sizeof(monitors[1].name), "v2");
	snprintf(monitors[1].server_version, sizeof(monitors[1].server_version), "v2*");
	snprintf(monitors[2].name, sizeof(monitors[2].name), "west");
	snprintf(monitors[2].client_zone, sizeof(monitors[2].client_zone), "!east");
	struct stand *stand = stand_new(monitors, 3, false);
	push_versions(stand, 0);
	assert_int_equal(stand->alerts_count, 0);
	push_versions(stand, 20);
	assert_int_equal(stand->alerts_count, 1);
	expect(stand, 0, ALERT_FIRING, "web", "api");
	assert_string_equal(stand->alerts[0].monitor, "v2");
	assert_int_equal(stand->alerts[0].started_ns, pane_end(PANE_FIRST + 40));
	assert_true(stand->alerts[0].value > 0.28 && stand->alerts[0].value < 0.29);
	push_versions(stand, 0);
	assert_int_equal(stand->alerts_count, 2);
	expect(stand, 1, ALERT_RESOLVED, "web", "api");
	assert_int_equal(anomaly_stats(stand->anomaly).parts_unwatched, 0);
	stand_free(stand);
}

static void parts_of_a_server_are_summed_over_its_clients(void **state)
{
	(void)state;
	struct monitor monitor = fails;
	monitor.per_server = true;
	snprintf(monitor.client_zone, sizeof(monitor.client_zone), "east");
	struct stand *stand = stand_new(&monitor, 1, false);
	add_lane(stand, "web", "api", "east", "v1", 5, 1);
	add_lane(stand, "cron", "api", "east", "v1", 3, 1);
	add_lane(stand, "web", "api", "west", "v1", 500, 0);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 1);
	expect(stand, 0, ALERT_FIRING, "", "api");
	assert_true(stand->alerts[0].value == 0.2);
	stand_free(stand);
}

static void the_silence_of_a_part_is_known_from_its_own_nodes(void **state)
{
	(void)state;
	for (int own = 0; own < 2; own++) {
		struct monitor monitor = fails;
		monitor.metric = METRIC_CONNECTIONS_OPENED;
		monitor.comparison = COMPARE_BELOW;
		monitor.minimum = 0;
		monitor.threshold = monitor.clear = 1;
		snprintf(monitor.client_zone, sizeof(monitor.client_zone), "east");
		struct stand *stand = stand_new(&monitor, 1, false);
		uint64_t node = named(stand, "n1");
		for (int pane = 0; pane < 400; pane++) {
			if (pane % 40 == 0 && pane < 160) {
				add_lane(stand, "web", "api", "east", "v1", 50, 0);
				struct rollup *row = add_row(stand, 10000, "web", "api");
				row->scope = SCOPE_CLIENT;
				row->instance = (struct instance){
					.id = 7,
					.node = node,
					.zone = named(stand, own ? "east" : "west")};
			}
			anomaly_heard(stand->anomaly, &node, 1);
			close_pane(stand);
		}
		assert_int_equal(stand->alerts_count, own);
		stand_free(stand);
	}
}

static void a_part_ends_with_its_monitor_and_begins_with_another(void **state)
{
	(void)state;
	struct monitor monitor = fails;
	snprintf(monitor.server_version, sizeof(monitor.server_version), "v2");
	struct stand *stand = stand_new(&monitor, 1, false);
	push_versions(stand, 20);
	assert_int_equal(stand->alerts_count, 1);
	monitor.threshold = 0.9; /* it goes on, and ends by itself */
	monitor.clear = 0.2;
	anomaly_watch(stand->anomaly, &monitor, 1);
	push_versions(stand, 20);
	assert_int_equal(stand->alerts_count, 1);
	memset(monitor.server_version, 0, sizeof(monitor.server_version));
	anomaly_watch(stand->anomaly, &monitor, 1); /* of whole edges now */
	push_versions(stand, 20);
	assert_int_equal(stand->alerts_count, 2);
	expect(stand, 1, ALERT_RESOLVED, "web", "api");
	assert_int_equal(anomaly_stats(stand->anomaly).episodes, 0);
	snprintf(monitor.server_version, sizeof(monitor.server_version), "v?");
	monitor.threshold = monitor.clear = 0.01;
	anomaly_watch(stand->anomaly, &monitor, 1);
	push_versions(stand, 20);
	assert_int_equal(stand->alerts_count, 3);
	expect(stand, 2, ALERT_FIRING, "web", "api");
	stand_free(stand);
}

static void a_resumed_part_goes_on(void **state)
{
	(void)state;
	struct monitor monitor = fails;
	snprintf(monitor.server_version, sizeof(monitor.server_version), "v2");
	struct stand *stand = stand_new(&monitor, 1, false);
	struct stand *other = stand_new(&monitor, 1, false);
	push_versions(stand, 20);
	assert_int_equal(anomaly_resume(other->anomaly, stand->alerts, 1), 1);
	other->pane = stand->pane;
	push_versions(other, 20);
	assert_int_equal(other->alerts_count, 1);
	push_versions(other, 0);
	assert_int_equal(other->alerts_count, 2);
	assert_string_equal(other->alerts[1].key, stand->alerts[0].key);
	assert_int_equal(other->alerts[1].state, ALERT_RESOLVED);
	stand_free(stand);
	stand_free(other);
}

static void parts_past_the_bound_are_counted(void **state)
{
	(void)state;
	struct monitor monitor = fails;
	snprintf(monitor.server_version, sizeof(monitor.server_version), "v2");
	struct stand *stand = stand_new(&monitor, 1, false);
	for (int i = 0; i < EDGES_MAX + 3; i++) {
		char client[16];
		snprintf(client, sizeof(client), "web-%d", i);
		add_lane(stand, client, "api", "east", "v2", 0, 20);
	}
	close_pane(stand);
	assert_int_equal(stand->alerts_count, EDGES_MAX);
	assert_int_equal(anomaly_stats(stand->anomaly).parts_unwatched, 3);
	stand_free(stand);
}

/* --- burn rates --- */

static struct monitor objective_of(uint32_t severity)
{
	return (struct monitor){.name = "slo",
				.kind = MONITOR_BURN_RATE,
				.metric = METRICS,
				.objective = 0.99,
				.per_server = true,
				.clear_ns = 5 * NS_PER_S,
				.window_ns = NS_PER_S,
				.severity = severity};
}

static void a_server_with_an_objective_of_its_own_has_no_other(void **state)
{
	(void)state;
	for (int baselines = 0; baselines < 2; baselines++) {
		struct monitor monitor = {.name = "slo",
					  .kind = MONITOR_BURN_RATE,
					  .metric = METRICS,
					  .objective = 0.9,
					  .per_server = true,
					  .server = "api",
					  .clear_ns = 5 * NS_PER_S,
					  .window_ns = NS_PER_S,
					  .severity = ALERT_CRITICAL};
		/* Nothing else may be told. */
		struct monitor quiet = {.name = "quiet",
					.kind = MONITOR_BASELINE,
					.metric = METRICS,
					.silent = true,
					.severity = MONITOR_SEVERITY_OWN};
		struct monitor both[] = {monitor, quiet};
		struct stand *stand = stand_new(both, 2, baselines);
		/* 30 %: more than 14.4 times the 1 % of all, and 3 times that of its own. */
		for (int pane = 0; pane < 3600 * 4; pane++) {
			add_counts(stand, "web", "api", 7, 3);
			add_counts(stand, "web", "db", 7, 3);
			close_pane(stand);
		}
		assert_int_equal(stand->alerts_count, baselines);
		if (baselines) {
			expect(stand, 0, ALERT_FIRING, "", "db");
			assert_string_equal(stand->alerts[0].monitor, "burn-rate/1h");
		}
		/* All of it: limited to half, as more than all cannot fail. */
		uint32_t before = stand->alerts_count;
		for (int pane = 0; pane < 3600 * 8; pane++) {
			add_counts(stand, "web", "api", 0, 50);
			close_pane(stand);
		}
		assert_true(stand->alerts_count > before);
		const struct alert *alert = &stand->alerts[before];
		while (strncmp(alert->monitor, "slo/", 4) != 0)
			assert_true(++alert < stand->alerts + stand->alerts_count);
		assert_string_equal(alert->monitor, "slo/1h");
		assert_string_equal(alert->metric, "failure_ratio");
		assert_string_equal(alert->subject.server, "api");
		assert_int_equal(alert->severity, ALERT_CRITICAL);
		assert_int_equal(alert->window_ms, 3600000);
		/* Another life goes on with it. */
		struct stand *other = stand_new(both, 2, baselines);
		assert_int_equal(anomaly_resume(other->anomaly, alert, 1), 1);
		stand_free(other);
		stand_free(stand);
	}
}

static void the_slowest_burn_rate_is_a_warning_at_most(void **state)
{
	(void)state;
	struct monitor monitor = objective_of(ALERT_CRITICAL);
	struct stand *stand = stand_new(&monitor, 1, false);
	/* 2 % for a day and a half. */
	for (int pane = 0; pane < 37 * 3600 * 4; pane++) {
		if (pane % 4 == 0)
			add_counts(stand, "web", "api", 49, 1);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 1);
	assert_string_equal(stand->alerts[0].monitor, "slo/3d");
	assert_int_equal(stand->alerts[0].severity, ALERT_WARNING);
	stand_free(stand);
}

static void a_burn_rate_ends_when_nobody_asks_the_server_any_more(void **state)
{
	(void)state;
	struct monitor monitor = objective_of(ALERT_ERROR);
	struct stand *stand = stand_new(&monitor, 1, false);
	for (int pane = 0; pane < 3600 * 4; pane++) {
		add_counts(stand, "web", "api", 7, 3);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 1);
	assert_string_equal(stand->alerts[0].monitor, "slo/1h");
	/* Also after a start without a snapshot; there the short window says when it is over. */
	struct stand *other = stand_new(&monitor, 1, false);
	assert_int_equal(anomaly_resume(other->anomaly, stand->alerts, 1), 1);
	other->pane = stand->pane;
	for (int pane = 0; pane < 1500 * 4; pane++) {
		add_counts(other, "web", "api", 7, pane < 900 * 4 ? 3 : 0);
		close_pane(other);
		if (pane == 900 * 4)
			assert_int_equal(other->alerts_count, 1);
	}
	assert_int_equal(other->alerts_count, 2);
	expect(other, 1, ALERT_RESOLVED, "", "api");
	stand_free(other);
	/* And where hardly anybody connects. */
	other = stand_new(&monitor, 1, false);
	assert_int_equal(anomaly_resume(other->anomaly, stand->alerts, 1), 1);
	other->pane = stand->pane;
	for (int pane = 0; pane < 900 * 4; pane++) {
		if (pane % 240 == 200)
			add_counts(other, "web", "api", 1, 1);
		close_pane(other);
	}
	assert_int_equal(other->alerts_count, 1);
	stand_free(other);
	/* The short window and the five minutes under way, its turn and its quiet. */
	idle(stand, (600 + 20 + 5) * 4);
	assert_int_equal(stand->alerts_count, 2);
	expect(stand, 1, ALERT_RESOLVED, "", "api");
	stand_free(stand);
}

/* --- baselines --- */

static void live(struct stand *stand, uint32_t panes, int64_t failed)
{
	for (uint32_t i = 0; i < panes; i++) {
		uint64_t noise = hash_mix(stand->pane + 1) % 100;
		struct rollup *row = add_counts(stand, "web", "api", 25, failed);
		row->counters[COUNTER_TX_BYTES] = 50000 + (int64_t)noise * 100;
		close_pane(stand);
	}
}

static struct monitor tuned(const char *name)
{
	struct monitor monitor = {.kind = MONITOR_BASELINE,
				  .metric = METRIC_FAILURE_RATIO,
				  .clear_ns = MONITOR_CLEAR_NS,
				  .window_ns = MONITOR_WINDOW_NS,
				  .severity = MONITOR_SEVERITY_OWN};
	snprintf(monitor.name, sizeof(monitor.name), "%s", name);
	return monitor;
}

/* So many alerts of a quarter of a second in which some fail, after warming up. */
static uint32_t alerts_of_failures(const struct monitor *monitors, size_t count,
				   struct alert *first)
{
	struct stand *stand = stand_new(monitors, count, true);
	live(stand, 40 * 240, 0);
	assert_int_equal(stand->alerts_count, 0);
	live(stand, 1, 8);
	uint32_t told = stand->alerts_count;
	if (told)
		*first = stand->alerts[0];
	stand_free(stand);
	return told;
}

static void a_baseline_tells_as_it_is_tuned(void **state)
{
	(void)state;
	struct alert plain, alert;
	assert_int_equal(alerts_of_failures(NULL, 0, &plain), 1);
	assert_int_equal(plain.severity, ALERT_WARNING);
	struct monitor monitors[] = {tuned("own"), tuned("second"), tuned("silent")};
	monitors[0].severity = ALERT_CRITICAL;
	monitors[0].sensitivity = 5;
	monitors[1].severity = ALERT_INFO;
	assert_int_equal(alerts_of_failures(monitors, 2, &alert), 1);
	assert_string_equal(alert.monitor, "baseline/failure_ratio");
	assert_string_equal(alert.key, plain.key);
	assert_int_equal(alert.severity, ALERT_CRITICAL); /* the first of two */
	assert_true(alert.score == plain.score);	  /* what it is does not depend on it */
	assert_true(alert.value == plain.value && alert.threshold < plain.threshold);
	monitors[0].sensitivity = 100;
	assert_int_equal(alerts_of_failures(monitors, 1, &alert), 0);
	monitors[0].sensitivity = 5;
	monitors[2].silent = true;
	assert_int_equal(alerts_of_failures(monitors, 3, &alert), 0);
	/* Of another metric, or of other edges. */
	monitors[2].metric = METRIC_BYTES;
	assert_int_equal(alerts_of_failures(monitors, 3, &alert), 1);
	monitors[2].metric = METRICS;
	assert_int_equal(alerts_of_failures(monitors, 3, &alert), 0);
	snprintf(monitors[2].client, sizeof(monitors[2].client), "!web");
	assert_int_equal(alerts_of_failures(monitors, 3, &alert), 1);
}

static void a_baseline_that_is_silenced_ends_what_it_has_open(void **state)
{
	(void)state;
	struct monitor monitor = tuned("silent");
	struct stand *stand = stand_new(NULL, 0, true);
	monitor.silent = true;
	live(stand, 40 * 240, 0);
	live(stand, 4, 8);
	assert_int_equal(stand->alerts_count, 1);
	anomaly_watch(stand->anomaly, &monitor, 1);
	live(stand, 4, 8);
	assert_int_equal(stand->alerts_count, 2);
	assert_int_equal(stand->alerts[1].state, ALERT_RESOLVED);
	assert_int_equal(anomaly_stats(stand->anomaly).episodes, 0);
	live(stand, 40 * 30, 0);
	anomaly_watch(stand->anomaly, NULL, 0); /* and it learned meanwhile */
	live(stand, 4, 8);
	assert_int_equal(stand->alerts_count, 3);
	stand_free(stand);
}

static void what_flaps_ends_too_when_it_is_silenced(void **state)
{
	(void)state;
	struct monitor monitor = tuned("silent");
	struct stand *stand = stand_new(NULL, 0, true);
	monitor.silent = true;
	live(stand, 40 * 240, 0);
	for (int times = 0; times < 15; times++) {
		live(stand, 8, 12);
		live(stand, 152, 0);
	}
	uint32_t told = stand->alerts_count;
	assert_int_equal(stand->alerts[told - 1].state, ALERT_FIRING);
	anomaly_watch(stand->anomaly, &monitor, 1);
	live(stand, 1, 0);
	assert_int_equal(stand->alerts_count, told + 1);
	assert_int_equal(anomaly_stats(stand->anomaly).episodes, 0);
	stand_free(stand);
}

/* --- new edges --- */

static struct monitor new_edge(uint64_t learn_ns)
{
	return (struct monitor){.name = "new",
				.kind = MONITOR_NEW_EDGE,
				.metric = METRICS,
				.learn_ns = learn_ns,
				.window_ns = MONITOR_WINDOW_NS,
				.clear_ns = 10 * NS_PER_S,
				.severity = ALERT_ERROR};
}

static void an_edge_is_new_that_was_not_there_while_it_was_learned(void **state)
{
	(void)state;
	struct monitor monitor = new_edge(60 * NS_PER_S);
	struct stand *stand = stand_new(&monitor, 1, false);
	for (int pane = 0; pane < 1200; pane++) {
		add_counts(stand, "web", "api", 1, 0);
		if (pane == 239)
			add_counts(stand, "cron", "api", 1, 0); /* in time */
		if (pane >= 400 && pane < 410)
			add_counts(stand, "stranger", "api", 0, 1);
		if (pane >= 500)
			add_counts(stand, "newcomer", "api", 1, 0);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 4);
	expect(stand, 0, ALERT_FIRING, "stranger", "api");
	assert_int_equal(stand->alerts[0].started_ns, pane_end(PANE_FIRST + 400));
	assert_non_null(strstr(stand->alerts[0].summary, "not expected"));
	expect(stand, 1, ALERT_RESOLVED, "stranger", "api");
	assert_int_equal(stand->alerts[1].ended_ns, pane_end(PANE_FIRST + 410 + 40));
	expect(stand, 2, ALERT_FIRING, "newcomer", "api");
	/* In use, and usual by now. */
	expect(stand, 3, ALERT_RESOLVED, "newcomer", "api");
	assert_int_equal(stand->alerts[3].ended_ns, pane_end(PANE_FIRST + 500 + 240 + 40));
	stand_free(stand);
}

static void an_edge_that_left_and_is_back_is_not_new(void **state)
{
	(void)state;
	struct monitor monitor = new_edge(60 * NS_PER_S);
	struct stand *stand = stand_new(&monitor, 1, false);
	add_counts(stand, "web", "api", 1, 0);
	close_pane(stand);
	idle(stand, 4 * 7200);
	assert_int_equal(anomaly_stats(stand->anomaly).edges, 0);
	add_counts(stand, "web", "api", 1, 0);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 0);
	/* One more than are remembered. */
	for (int i = 0; i < EDGES_MAX; i++) {
		char client[16];
		snprintf(client, sizeof(client), "web-%d", i);
		idle(stand, 4 * 200);
		add_counts(stand, client, "api", 1, 0);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 2 * EDGES_MAX - 1);
	idle(stand, 4 * 200);
	assert_int_equal(anomaly_stats(stand->anomaly).seen_evicted, 1);
	add_counts(stand, "web", "api", 1, 0);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 2 * EDGES_MAX + 1);
	stand_free(stand);
}

static void a_policy_is_told_of_as_long_as_it_is_broken(void **state)
{
	(void)state;
	struct monitor monitor = new_edge(0);
	struct stand *stand = stand_new(NULL, 0, false);
	snprintf(monitor.client, sizeof(monitor.client), "!shop/*");
	snprintf(monitor.server, sizeof(monitor.server), "shop/db");
	for (int pane = 0; pane < 4 * 600; pane++) {
		if (pane == 8)
			anomaly_watch(stand->anomaly, &monitor, 1);
		add_counts(stand, "shop/web", "shop/db", 1, 0);
		if (pane < 4 * 300)
			add_counts(stand, "bank/web", "shop/db", 1, 0);
		add_counts(stand, "bank/web", "bank/db", 1, 0);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 2);
	expect(stand, 0, ALERT_FIRING, "bank/web", "shop/db");
	assert_int_equal(stand->alerts[0].started_ns, pane_end(PANE_FIRST + 8));
	expect(stand, 1, ALERT_RESOLVED, "bank/web", "shop/db");
	assert_int_equal(stand->alerts[1].ended_ns, pane_end(PANE_FIRST + 4 * 300 + 40));
	stand_free(stand);
}

static void who_goes_by_an_address_is_passed_over_until_it_is_known(void **state)
{
	(void)state;
	struct monitor monitor = new_edge(0);
	struct stand *stand = stand_new(&monitor, 1, false);
	static const uint8_t nobody[] = {RESOLUTION_UNKNOWN, RESOLUTION_ADDRESS,
					 RESOLUTION_AMBIGUOUS, RESOLUTION_RANGE, RESOLUTION_PUBLIC};
	for (size_t i = 0; i < sizeof(nobody); i++) {
		stand->client_resolution = nobody[i];
		add_counts(stand, "10.0.0.7", "api", 1, 0);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 0);
	stand->client_resolution = RESOLUTION_POD;
	add_counts(stand, "10.0.0.7", "api", 1, 0);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 1);
	/* A start without a snapshot goes on with it, and knows again who that is. */
	struct stand *other = stand_new(&monitor, 1, false);
	assert_int_equal(anomaly_resume(other->anomaly, stand->alerts, 1), 1);
	other->pane = stand->pane;
	for (int pane = 0; pane < 100; pane++) {
		add_counts(other, "10.0.0.7", "api", 1, 0);
		close_pane(other);
	}
	assert_int_equal(other->alerts_count, 1);
	idle(other, 60);
	assert_int_equal(other->alerts_count, 2);
	assert_string_equal(other->alerts[1].key, stand->alerts[0].key);
	stand_free(other);
	stand_free(stand);
}

static void who_found_no_room_is_not_new_when_there_is_some(void **state)
{
	(void)state;
	struct monitor monitor = new_edge(60 * NS_PER_S);
	struct stand *stand = stand_new(&monitor, 1, false);
	for (int pane = 0; pane < 4 * 400; pane++) {
		for (int i = 0; i <= EDGES_MAX; i++) {
			char client[16];
			snprintf(client, sizeof(client), "web-%d", i);
			/* The last one is late in each pane, and finds room when the first leaves.
			 */
			if (i > 0 || pane < 4 * 100)
				add_counts(stand, client, "api", 1, 0);
		}
		close_pane(stand);
	}
	uint64_t unwatched = anomaly_stats(stand->anomaly).unwatched;
	assert_in_range(unwatched, 4 * 100, 4 * 300);
	assert_int_equal(stand->alerts_count, 0);
	stand_free(stand);
}

/* --- absence --- */

static struct monitor absence(uint64_t seconds)
{
	return (struct monitor){.name = "gone",
				.kind = MONITOR_ABSENCE,
				.metric = METRICS,
				.absent_ns = seconds * NS_PER_S,
				.window_ns = MONITOR_WINDOW_NS,
				.clear_ns = NS_PER_S,
				.severity = ALERT_ERROR};
}

static void add_node(struct stand *stand, const char *client, const char *server, uint64_t node)
{
	struct rollup *row = add_row(stand, 250, client, server);
	row->scope = SCOPE_CLIENT;
	row->instance = (struct instance){.id = 9, .node = node};
}

static void what_was_there_is_missed_while_an_agent_reports(void **state)
{
	(void)state;
	struct monitor monitor = absence(300);
	for (int reports = 0; reports < 2; reports++) {
		struct stand *stand = stand_new(&monitor, 1, false);
		uint64_t node = named(stand, "n1"), other = 99;
		for (int pane = 0; pane < 4 * 1000; pane++) {
			if (pane < 4 * 400) {
				add_counts(stand, "bank/db", "bank/standby", 0, 0)
					->counters[COUNTER_TX_BYTES] = 100;
				add_node(stand, "bank/db", "bank/standby", node);
			}
			if (pane < 4 * 200)
				add_counts(stand, "job", "bank/standby", 1, 0);
			anomaly_heard(stand->anomaly, reports ? &node : &other, 1);
			/* Names are forgotten sooner. */
			if (pane == 4 * 620)
				names_advance(stand->names, 1 + NAMES_KEEP_PANES + 1);
			close_pane(stand);
		}
		assert_int_equal(stand->alerts_count, reports);
		if (reports) {
			const struct alert *alert = &stand->alerts[0];
			expect(stand, 0, ALERT_FIRING, "bank/db", "bank/standby");
			assert_int_equal(alert->started_ns, pane_end(PANE_FIRST + 4 * 700 - 1));
			assert_string_equal(alert->metric, "silence");
			assert_string_equal(alert->unit, "seconds");
			assert_true(alert->value == 300 && alert->threshold == 300);
			assert_int_equal(alert->window_ms, 300000);
			assert_non_null(strstr(alert->summary, "nothing has passed from bank/db"));
			add_counts(stand, "bank/db", "bank/standby", 1, 0);
			close_pane(stand);
			for (int pane = 0; pane < 8; pane++) {
				add_counts(stand, "bank/db", "bank/standby", 1, 0);
				close_pane(stand);
			}
			assert_int_equal(stand->alerts_count, 2);
			expect(stand, 1, ALERT_RESOLVED, "bank/db", "bank/standby");
			assert_non_null(strstr(stand->alerts[1].summary, "again"));
		}
		stand_free(stand);
	}
}

static void a_server_is_missed_when_all_its_clients_are_silent(void **state)
{
	(void)state;
	struct monitor monitor = absence(60);
	monitor.per_server = true;
	struct stand *stand = stand_new(&monitor, 1, false);
	for (int pane = 0; pane < 4 * 400; pane++) {
		if (pane < 4 * 100)
			add_counts(stand, "web", "api", 1, 0);
		if (pane < 4 * 200)
			add_counts(stand, "cron", "api", 1, 0);
		add_counts(stand, "web", "other", 1, 0); /* somebody reports */
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 1);
	expect(stand, 0, ALERT_FIRING, "", "api");
	assert_int_equal(stand->alerts[0].started_ns, pane_end(PANE_FIRST + 4 * 260 - 1));
	stand_free(stand);
}

static void who_is_absent_for_a_day_is_forgotten(void **state)
{
	(void)state;
	struct monitor monitor = absence(60);
	struct stand *stand = stand_new(&monitor, 1, false);
	for (int pane = 0; pane < 4 * 70; pane++) {
		add_counts(stand, "web", "api", 1, 0);
		close_pane(stand);
	}
	for (int pane = 0; pane < 4 * 90000; pane++) {
		add_counts(stand, "web", "other", 1, 0);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 2);
	expect(stand, 1, ALERT_RESOLVED, "web", "api");
	assert_int_equal(stand->alerts[1].ended_ns,
			 pane_end(PANE_FIRST + 4 * (70 + 60 + 86400) - 1));
	stand_free(stand);
}

static void who_was_absent_still_is_after_a_start_without_a_snapshot(void **state)
{
	(void)state;
	struct monitor monitor = absence(60);
	struct stand *stand = stand_new(&monitor, 1, false);
	for (int pane = 0; pane < 4 * 130; pane++) {
		if (pane < 4 * 65)
			add_counts(stand, "web", "api", 1, 0);
		add_counts(stand, "web", "other", 1, 0);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 1);
	/* As the log gives it: before what is in force is known, or after. */
	for (int late = 0; late < 2; late++) {
		struct stand *other = stand_new(&monitor, late ? 0 : 1, false);
		assert_int_equal(anomaly_resume(other->anomaly, stand->alerts, 1), 1);
		anomaly_watch(other->anomaly, &monitor, 1);
		other->pane = stand->pane;
		for (int pane = 0; pane < 4 * 300; pane++) {
			add_counts(other, "web", "other", 1, 0);
			close_pane(other);
		}
		assert_int_equal(other->alerts_count, 1);
		assert_string_equal(other->alerts[0].key, stand->alerts[0].key);
		for (int pane = 0; pane < 4 * 2; pane++) {
			add_counts(other, "web", "api", 1, 0);
			close_pane(other);
		}
		assert_int_equal(other->alerts_count, 2);
		expect(other, 1, ALERT_RESOLVED, "web", "api");
		assert_string_equal(other->alerts[1].key, stand->alerts[0].key);
		stand_free(other);
	}
	stand_free(stand);
}

static void a_longer_window_forgets_no_absence(void **state)
{
	(void)state;
	struct monitor monitors[] = {absence(60), fails};
	struct stand *stand = stand_new(monitors, 1, false);
	monitors[1].window_ns = 60 * NS_PER_S;
	for (int pane = 0; pane < 4 * 130; pane++) {
		if (pane < 4 * 65)
			add_counts(stand, "web", "api", 1, 0);
		add_counts(stand, "web", "other", 1, 0);
		if (pane == 4 * 90)
			anomaly_watch(stand->anomaly, monitors, 2);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 1);
	expect(stand, 0, ALERT_FIRING, "web", "api");
	assert_int_equal(stand->alerts[0].started_ns, pane_end(PANE_FIRST + 4 * 125 - 1));
	stand_free(stand);
}

/* --- from a pane on --- */

static void a_monitor_of_another_kind_under_its_name_is_another(void **state)
{
	(void)state;
	struct monitor edge = new_edge(0), gone = absence(10);
	struct stand *stand = stand_new(&edge, 1, false);
	snprintf(gone.name, sizeof(gone.name), "new");
	for (int pane = 0; pane < 200; pane++) {
		if (pane == 100)
			anomaly_watch(stand->anomaly, &gone, 1);
		if (pane < 150)
			add_counts(stand, "web", "api", 1, 0);
		add_row(stand, 250, "web", "other")->scope = SCOPE_SERVER; /* reports */
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 3);
	assert_int_equal(stand->alerts[1].state, ALERT_RESOLVED);
	assert_int_equal(stand->alerts[1].ended_ns, pane_end(PANE_FIRST + 100));
	/* Not that it was as it should be. */
	assert_non_null(strstr(stand->alerts[1].summary,
			       "which are not expected; no monitor asks for it any more"));
	assert_string_equal(stand->alerts[2].metric, "silence");
	anomaly_watch(stand->anomaly, NULL, 0);
	idle(stand, 1);
	assert_int_equal(stand->alerts_count, 4);
	assert_int_equal(stand->alerts[3].state, ALERT_RESOLVED);
	assert_true(stand->alerts[3].value == 10);
	assert_non_null(strstr(stand->alerts[3].summary, "for 10 s (threshold: 10 s); no monitor"));
	stand_free(stand);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_part_of_an_edge_is_measured_by_itself),
		cmocka_unit_test(parts_of_a_server_are_summed_over_its_clients),
		cmocka_unit_test(the_silence_of_a_part_is_known_from_its_own_nodes),
		cmocka_unit_test(a_part_ends_with_its_monitor_and_begins_with_another),
		cmocka_unit_test(a_resumed_part_goes_on),
		cmocka_unit_test(parts_past_the_bound_are_counted),
		cmocka_unit_test(a_server_with_an_objective_of_its_own_has_no_other),
		cmocka_unit_test(the_slowest_burn_rate_is_a_warning_at_most),
		cmocka_unit_test(a_burn_rate_ends_when_nobody_asks_the_server_any_more),
		cmocka_unit_test(a_baseline_tells_as_it_is_tuned),
		cmocka_unit_test(a_baseline_that_is_silenced_ends_what_it_has_open),
		cmocka_unit_test(what_flaps_ends_too_when_it_is_silenced),
		cmocka_unit_test(an_edge_is_new_that_was_not_there_while_it_was_learned),
		cmocka_unit_test(an_edge_that_left_and_is_back_is_not_new),
		cmocka_unit_test(a_policy_is_told_of_as_long_as_it_is_broken),
		cmocka_unit_test(who_goes_by_an_address_is_passed_over_until_it_is_known),
		cmocka_unit_test(what_was_there_is_missed_while_an_agent_reports),
		cmocka_unit_test(a_server_is_missed_when_all_its_clients_are_silent),
		cmocka_unit_test(who_found_no_room_is_not_new_when_there_is_some),
		cmocka_unit_test(who_is_absent_for_a_day_is_forgotten),
		cmocka_unit_test(a_longer_window_forgets_no_absence),
		cmocka_unit_test(who_was_absent_still_is_after_a_start_without_a_snapshot),
		cmocka_unit_test(a_monitor_of_another_kind_under_its_name_is_another),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
