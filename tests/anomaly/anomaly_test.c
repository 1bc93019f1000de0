#include "anomaly/anomaly.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

enum { PANE_FIRST = 4000000, ALERTS_MAX = 4096, RECORDS_MAX = 4096 };

/* The real stage, its rows of the open pane, and all that it said. */
struct stand {
	struct names *names;
	struct anomaly *anomaly;
	uint64_t pane; /* the open one */
	struct rollup rows[64];
	struct sketch_cell cells[64][2];
	uint32_t rows_count;
	struct alert *alerts;
	uint32_t alerts_count;
	struct baseline_record records[RECORDS_MAX];
	uint32_t records_count;
};

static void on_alerts(void *context, const struct alert *alerts, size_t count)
{
	struct stand *stand = context;
	for (size_t i = 0; i < count; i++) {
		assert_true(stand->alerts_count < ALERTS_MAX);
		stand->alerts[stand->alerts_count++] = alerts[i];
	}
}

static void on_baselines(void *context, const struct baseline_record *records, size_t count,
			 const struct names *names)
{
	struct stand *stand = context;
	assert_non_null(names);
	for (size_t i = 0; i < count; i++)
		stand->records[stand->records_count++ % RECORDS_MAX] = records[i];
}

static const struct monitor failures = {
	.name = "failures",
	.metric = METRIC_FAILURE_RATIO,
	.threshold = 0.5,
	.clear = 0.25,
	.window_ns = NS_PER_S,
	.clear_ns = 2 * NS_PER_S,
	.minimum = 5,
	.severity = ALERT_CRITICAL,
};

static struct anomaly_options options_of(struct stand *stand, const struct monitor *monitors,
					 size_t count)
{
	return (struct anomaly_options){
		.monitors = monitors,
		.monitors_count = count,
		.sensitivity = 9,
		.warmup_samples = 30,
		.update_ns = 10 * NS_PER_S,
		.baseline_save_ns = PANE_NS,
		.edges_max = 1000,
		.episodes_max = 100,
		.sinks = {stand, on_alerts, on_baselines},
	};
}

static struct stand *stand_new(void)
{
	struct stand *stand = memory_zeroed(1, sizeof(*stand));
	stand->names = names_new(4096, 0);
	stand->alerts = memory_zeroed(ALERTS_MAX, sizeof(*stand->alerts));
	stand->pane = PANE_FIRST;
	return stand;
}

static struct stand *stand_with(const struct monitor *monitors, size_t count)
{
	struct stand *stand = stand_new();
	struct anomaly_options options = options_of(stand, monitors, count);
	stand->anomaly = anomaly_new(&options);
	return stand;
}

static struct stand *stand_with_baselines(void)
{
	struct stand *stand = stand_new();
	struct anomaly_options options = options_of(stand, NULL, 0);
	options.baselines = true;
	stand->anomaly = anomaly_new(&options);
	return stand;
}

static void stand_free(struct stand *stand)
{
	anomaly_free(stand->anomaly);
	names_free(stand->names);
	free(stand->alerts);
	free(stand);
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
				  .protocol = 6};
	row->edge.id = edge_id(&row->edge);
	row->connect = stand->cells[stand->rows_count++];
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

static void add_instance(struct stand *stand, uint8_t scope, const char *node, int64_t opened,
			 int64_t failed)
{
	struct rollup *row = add_counts(stand, "frontend", "cart", opened, failed);
	row->scope = scope;
	row->instance =
		(struct instance){.node = named(stand, node), .container = named(stand, node)};
	row->instance.id = instance_id(&row->instance);
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

/* --- other monitors, from a pane on --- */

static void a_monitor_acts_from_the_pane_after_it_came(void **state)
{
	(void)state;
	struct stand *stand = stand_with(NULL, 0);
	for (int pane = 0; pane < 3; pane++) {
		add_counts(stand, "frontend", "cart", 0, 12);
		close_pane(stand);
	}
	anomaly_watch(stand->anomaly, &failures, 1);
	assert_int_equal(stand->alerts_count, 0);
	add_counts(stand, "frontend", "cart", 0, 12);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 1);
	assert_int_equal(stand->alerts[0].started_ns, pane_end(PANE_FIRST + 3));
	stand_free(stand);
}

static void what_is_taken_out_of_force_ends_with_the_pane(void **state)
{
	(void)state;
	struct stand *stand = stand_with(&failures, 1);
	add_counts(stand, "frontend", "cart", 0, 12);
	close_pane(stand);
	anomaly_watch(stand->anomaly, NULL, 0);
	for (int pane = 0; pane < 20; pane++) {
		add_counts(stand, "frontend", "cart", 0, 12);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 2);
	assert_int_equal(stand->alerts[1].state, ALERT_RESOLVED);
	assert_int_equal(stand->alerts[1].ended_ns, pane_end(PANE_FIRST + 1));
	assert_string_equal(stand->alerts[1].key, stand->alerts[0].key);
	assert_int_equal(anomaly_stats(stand->anomaly).episodes, 0);
	anomaly_watch(stand->anomaly, &failures, 1); /* and it begins anew */
	add_counts(stand, "frontend", "cart", 0, 12);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 3);
	assert_string_not_equal(stand->alerts[2].key, stand->alerts[0].key);
	stand_free(stand);
}

static void another_threshold_goes_on_with_the_episode(void **state)
{
	(void)state;
	struct monitor higher = failures;
	struct stand *stand = stand_with(&failures, 1);
	higher.threshold = higher.clear = 0.9;
	add_counts(stand, "frontend", "cart", 2, 10);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 1);
	anomaly_watch(stand->anomaly, &higher, 1);
	for (int pane = 0; pane < 8; pane++) {
		add_counts(stand, "frontend", "cart", 2, 10);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 1); /* quiet now, and not for long enough */
	add_counts(stand, "frontend", "cart", 2, 10);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 2);
	assert_int_equal(stand->alerts[1].state, ALERT_RESOLVED);
	assert_true(stand->alerts[1].threshold == 0.9);
	stand_free(stand);
}

static void an_edge_that_no_longer_matches_ends_and_others_go_on(void **state)
{
	(void)state;
	struct monitor narrow = failures;
	struct stand *stand = stand_with(&failures, 1);
	snprintf(narrow.client, sizeof(narrow.client), "front*");
	for (int pane = 0; pane < 8; pane++) {
		if (pane == 4)
			anomaly_watch(stand->anomaly, &narrow, 1);
		add_counts(stand, "frontend", "cart", 0, 12);
		add_counts(stand, "checkout", "cart", 0, 12);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 3);
	assert_int_equal(stand->alerts[2].state, ALERT_RESOLVED);
	assert_string_equal(stand->alerts[2].subject.client, "checkout");
	assert_int_equal(anomaly_stats(stand->anomaly).episodes, 1);
	stand_free(stand);
}

static void a_server_may_be_watched_later_than_its_edges(void **state)
{
	(void)state;
	struct monitor monitor = failures;
	struct stand *stand = stand_with(NULL, 0);
	monitor.per_server = true;
	for (int pane = 0; pane < 8; pane++) {
		if (pane == 4)
			anomaly_watch(stand->anomaly, &monitor, 1);
		add_counts(stand, "frontend", "cart", 0, 3);
		add_counts(stand, "checkout", "cart", 0, 3);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 1);
	assert_string_equal(stand->alerts[0].subject.client, "");
	stand_free(stand);
}

static void silence_from_before_a_monitor_is_not_known(void **state)
{
	(void)state;
	struct monitor below = failures;
	struct stand *stand = stand_with(NULL, 0);
	below.metric = METRIC_CONNECTIONS_OPENED;
	below.comparison = COMPARE_BELOW;
	below.threshold = below.clear = 1;
	below.minimum = 0;
	for (int pane = 0; pane < 4; pane++) {
		add_counts(stand, "frontend", "cart", 4, 0);
		add_counts(stand, "checkout", "mail", 4, 0);
		close_pane(stand);
	}
	anomaly_watch(stand->anomaly, &below, 1);
	for (int pane = 0; pane < 20; pane++) {
		add_instance(stand, SCOPE_CLIENT, "node-1", 0, 0);
		add_counts(stand, "checkout", "mail", 4, 0);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 0);
	stand_free(stand);
}

static void an_edge_whose_names_are_forgotten_is_matched_when_it_is_back(void **state)
{
	(void)state;
	struct stand *stand = stand_with(&failures, 1);
	add_counts(stand, "frontend", "cart", 4, 0);
	close_pane(stand);
	idle(stand, 100);
	names_advance(stand->names, 1 + NAMES_KEEP_PANES + 1);
	anomaly_watch(stand->anomaly, &failures, 1);
	idle(stand, 4);
	add_counts(stand, "frontend", "cart", 0, 12);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 1);
	assert_string_equal(stand->alerts[0].subject.client, "frontend");
	stand_free(stand);
}

static void an_edge_that_has_long_been_silent_may_be_read_for_longer(void **state)
{
	(void)state;
	struct monitor longer = failures;
	struct stand *stand = stand_with(&failures, 1);
	longer.window_ns = 10 * NS_PER_S;
	add_counts(stand, "frontend", "cart", 4, 0);
	close_pane(stand);
	idle(stand, 8);
	anomaly_watch(stand->anomaly, &longer, 1);
	idle(stand, 1);
	add_counts(stand, "frontend", "cart", 0, 12);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 1);
	stand_free(stand);
}

/* A start without a snapshot: the episode tells its edge's names, and nobody the server's. */
static void a_server_is_watched_again_when_its_name_is_known_again(void **state)
{
	(void)state;
	struct monitor both[] = {failures, failures};
	snprintf(both[1].name, sizeof(both[1].name), "servers");
	both[1].per_server = true;
	struct stand *before = stand_with(&failures, 1), *after = stand_with(both, 2);
	add_counts(before, "frontend", "cart", 0, 12);
	close_pane(before);
	after->pane = before->pane;
	assert_int_equal(anomaly_resume(after->anomaly, before->alerts, 1), 1);
	anomaly_watch(after->anomaly, both, 2);
	add_counts(after, "frontend", "cart", 0, 12);
	close_pane(after);
	assert_int_equal(anomaly_stats(after->anomaly).episodes, 2);
	assert_string_equal(after->alerts[after->alerts_count - 1].monitor, "servers");
	stand_free(before);
	stand_free(after);
}

/* Likewise of an edge that comes after its server was forgotten. */
static void a_forgotten_server_is_matched_with_the_edge_that_names_it(void **state)
{
	(void)state;
	struct monitor servers = failures;
	struct stand *stand = stand_with(NULL, 0);
	servers.per_server = true;
	anomaly_watch(stand->anomaly, &servers, 1);
	add_counts(stand, "frontend", "cart", 4, 0);
	close_pane(stand);
	idle(stand, 100);
	names_advance(stand->names, 1 + NAMES_KEEP_PANES + 1);
	anomaly_watch(stand->anomaly, &servers, 1);
	add_counts(stand, "frontend", "cart", 0, 12);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 1);
	stand_free(stand);
}

static void a_monitor_without_a_place_gets_the_first_that_is_left(void **state)
{
	(void)state;
	struct stand *stand = stand_with(NULL, 0);
	struct monitor *monitors = memory_zeroed(MONITORS_MAX, sizeof(*monitors));
	for (int i = 0; i < MONITORS_MAX; i++) {
		monitors[i] = failures;
		snprintf(monitors[i].name, sizeof(monitors[i].name), "m%d", i);
		snprintf(monitors[i].server, sizeof(monitors[i].server), i ? "nobody" : "cart");
	}
	anomaly_watch(stand->anomaly, monitors, MONITORS_MAX);
	add_counts(stand, "frontend", "cart", 0, 12);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 1);
	snprintf(monitors[0].name, sizeof(monitors[0].name), "instead");
	anomaly_watch(stand->anomaly, monitors, MONITORS_MAX);
	assert_int_equal(anomaly_stats(stand->anomaly).monitors_refused, 1);
	idle(stand, 1); /* the episode of the one that is gone ends */
	assert_int_equal(stand->alerts_count, 2);
	assert_int_equal(anomaly_stats(stand->anomaly).monitors_refused, 0);
	add_counts(stand, "frontend", "cart", 0, 12);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 3);
	assert_string_equal(stand->alerts[2].monitor, "instead");
	memory_free(monitors);
	stand_free(stand);
}

/* Monitors come and go at random panes: every episode still begins once and ends once, and a second
 * run says the same. */
static struct stand *changing_run(uint64_t seed)
{
	struct stand *stand = stand_with(NULL, 0);
	for (uint64_t pane = 0; pane < 400; pane++) {
		struct monitor monitors[4];
		uint64_t word = hash_mix(seed << 32 | pane);
		size_t count = word % 5;
		for (size_t i = 0; i < count; i++) {
			monitors[i] = failures;
			snprintf(monitors[i].name, sizeof(monitors[i].name), "m%d", (int)i);
			monitors[i].window_ns = (1 + (word >> (8 + 4 * i) & 15)) * PANE_NS;
			monitors[i].metric = (uint32_t)(word >> (24 + 3 * i)) % METRICS;
			monitors[i].per_server = word >> (40 + i) & 1;
			monitors[i].threshold = monitors[i].clear = 0.2;
			monitors[i].minimum = 0;
			if (!monitors[i].per_server && word >> (48 + i) & 1)
				snprintf(monitors[i].client, sizeof(monitors[i].client), "front*");
		}
		if (word % 7 == 0)
			anomaly_watch(stand->anomaly, monitors, count);
		if (word >> 52 & 3) {
			add_counts(stand, "frontend", "cart", word >> 54 & 3, word >> 56 & 3);
			add_counts(stand, "checkout", "cart", word >> 58 & 3, word >> 60 & 3);
		}
		close_pane(stand);
	}
	anomaly_watch(stand->anomaly, NULL, 0);
	idle(stand, 1);
	return stand;
}

static void changing_monitors_leave_no_episode_behind(void **state)
{
	(void)state;
	uint32_t begun = 0;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct stand *one = changing_run(seed), *two = changing_run(seed);
		struct anomaly_stats stats = anomaly_stats(one->anomaly);
		if (stats.episodes || stats.fired != stats.resolved)
			fail_msg("seed %lu: %lu episodes are open", (unsigned long)seed,
				 (unsigned long)stats.episodes);
		if (one->alerts_count != two->alerts_count ||
		    memcmp(one->alerts, two->alerts, one->alerts_count * sizeof(struct alert)) != 0)
			fail_msg("seed %lu: two runs differ", (unsigned long)seed);
		begun += (uint32_t)stats.fired;
		stand_free(one);
		stand_free(two);
	}
	assert_true(begun > 100);
}

static void a_resumed_episode_waits_for_its_monitor(void **state)
{
	(void)state;
	struct stand *before = stand_with(&failures, 1), *after = stand_with(NULL, 0);
	add_counts(before, "frontend", "cart", 0, 12);
	close_pane(before);
	after->pane = before->pane;
	assert_int_equal(anomaly_resume(after->anomaly, before->alerts, 1), 1);
	assert_int_equal(after->alerts_count, 0);
	struct monitor other = failures;
	other.metric = METRIC_CONNECTIONS_FAILED;
	anomaly_watch(after->anomaly, &other, 1); /* as it was before the episode */
	assert_int_equal(after->alerts_count, 0);
	/* Told before any pane, as the incidents look at the first that anybody judges. */
	anomaly_watch(after->anomaly, &failures, 1);
	assert_int_equal(after->alerts_count, 1);
	assert_string_equal(after->alerts[0].key, before->alerts[0].key);
	add_counts(after, "frontend", "cart", 0, 12);
	close_pane(after);
	assert_int_equal(after->alerts_count, 1);
	idle(after, 20);
	assert_int_equal(after->alerts_count, 2);
	assert_int_equal(after->alerts[1].state, ALERT_RESOLVED);
	stand_free(before);
	stand_free(after);
}

static void a_resumed_episode_whose_monitor_does_not_come_is_left(void **state)
{
	(void)state;
	struct stand *before = stand_with(&failures, 1), *after = stand_with(NULL, 0);
	add_counts(before, "frontend", "cart", 0, 12);
	close_pane(before);
	after->pane = before->pane;
	anomaly_resume(after->anomaly, before->alerts, 1);
	idle(after, 2);
	anomaly_watch(after->anomaly, &failures, 1);
	idle(after, 2);
	assert_int_equal(after->alerts_count, 0);
	assert_int_equal(anomaly_stats(after->anomaly).episodes, 0);
	stand_free(before);
	stand_free(after);
}

/* --- threshold monitors --- */

static void an_alert_says_how_complete_its_window_is(void **state)
{
	(void)state;
	struct stand *stand = stand_with(&failures, 1);
	struct rollup *row = add_counts(stand, "frontend", "cart", 0, 4);
	row->counters[COUNTER_AGENT_RECEIVED] = row->counters[COUNTER_AGENT_ISSUED] = 300;
	close_pane(stand);
	row = add_counts(stand, "frontend", "cart", 0, 8);
	row->counters[COUNTER_AGENT_RECEIVED] = 60;
	row->counters[COUNTER_AGENT_ISSUED] = 100;
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 1);
	assert_true(stand->alerts[0].completeness == 360.0 / 400);
	stand_free(stand);
}

static void it_fires_in_the_pane_that_meets_the_condition(void **state)
{
	(void)state;
	struct stand *stand = stand_with(&failures, 1);
	add_counts(stand, "frontend", "cart", 0, 4);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 0); /* below the minimum */
	add_counts(stand, "frontend", "cart", 0, 8);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 1);
	const struct alert *alert = &stand->alerts[0];
	assert_int_equal(alert->state, ALERT_FIRING);
	assert_int_equal(alert->severity, ALERT_CRITICAL);
	assert_int_equal(alert->sequence, 1);
	assert_int_equal(alert->started_ns, pane_end(PANE_FIRST + 1));
	assert_int_equal(alert->pane_end_ns, pane_end(PANE_FIRST + 1));
	assert_int_equal(alert->last_event_ns, pane_end(PANE_FIRST + 1) - 1000);
	assert_int_equal(alert->window_ms, 1000);
	assert_true(alert->value == 1 && alert->threshold == 0.5 && alert->completeness == 1);
	assert_string_equal(alert->subject.client, "frontend");
	assert_string_equal(alert->subject.server, "cart");
	assert_string_equal(alert->metric, "failure_ratio");
	assert_string_equal(
		alert->summary,
		"12 of 12 connections from frontend to cart:7070/tcp failed in the last "
		"1 s (threshold: above 50 %)");
	assert_int_equal(strlen(alert->key), 52);
	assert_int_equal(strspn(alert->key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), 52);
	stand_free(stand);
}

/* The bytes before hashing are in alert.c's words: monitor, client, server, "port/protocol/start",
 * each with its NUL; the key was computed with Python's hashlib and base64. */
static void keys_can_be_computed_by_others(void **state)
{
	(void)state;
	struct alert alert = {.monitor = "failures",
			      .subject = {"frontend", "cart", 7070, 6},
			      .started_ns = 1000000000500000000};
	alert_key(&alert);
	assert_string_equal(alert.key, "QOBWT3P2GPSJ4MDBLH6HBF36LXUZR3PCEBIYWKSKDJGYGWUAEHTQ");
}

static void it_resolves_after_clear_ns_of_quiet_and_silence_is_quiet(void **state)
{
	(void)state;
	struct stand *stand = stand_with(&failures, 1);
	add_counts(stand, "frontend", "cart", 0, 12);
	close_pane(stand);
	uint64_t left = stand->pane + 3; /* the first pane whose second is empty */
	idle(stand, 11);
	assert_int_equal(stand->alerts_count, 1);
	idle(stand, 1);
	assert_int_equal(stand->alerts_count, 2);
	const struct alert *alert = &stand->alerts[1];
	assert_int_equal(alert->state, ALERT_RESOLVED);
	assert_int_equal(alert->sequence, 2);
	assert_string_equal(alert->key, stand->alerts[0].key);
	assert_int_equal(alert->ended_ns, pane_end(left) + 2 * NS_PER_S);
	assert_int_equal(alert->started_ns, stand->alerts[0].started_ns);
	assert_int_equal(anomaly_stats(stand->anomaly).episodes, 0);
	idle(stand, 500);
	assert_int_equal(stand->alerts_count, 2);
	assert_int_equal(anomaly_stats(stand->anomaly).edges, 0);
	stand_free(stand);
}

static void between_clear_and_threshold_nothing_begins_and_nothing_ends(void **state)
{
	(void)state;
	struct stand *stand = stand_with(&failures, 1);
	for (int pane = 0; pane < 40; pane++) {
		add_counts(stand, "frontend", "cart", 6, 4);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 0);
	for (int pane = 0; pane < 80; pane++) {
		add_counts(stand, "frontend", "cart", pane < 4 ? 0 : 6, 4);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 1);
	for (int pane = 0; pane < 20; pane++) {
		add_counts(stand, "frontend", "cart", 6, 1);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 2);
	stand_free(stand);
}

static void quiet_must_last_without_a_break(void **state)
{
	(void)state;
	struct monitor monitor = failures;
	monitor.window_ns = PANE_NS;
	struct stand *stand = stand_with(&monitor, 1);
	for (int pane = 0; pane < 60; pane++) {
		add_counts(stand, "frontend", "cart", 0, pane % 6 ? 0 : 12);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 1);
	idle(stand, 20);
	assert_int_equal(stand->alerts_count, 2);
	stand_free(stand);
}

static uint64_t subject_edge(const struct alert_subject *subject)
{
	struct edge edge = {.client = name_id(subject->client, strlen(subject->client)),
			    .server = name_id(subject->server, strlen(subject->server)),
			    .port = subject->port,
			    .protocol = subject->protocol};
	return edge_id(&edge);
}

static void alerts_of_a_pane_come_in_the_order_of_edges(void **state)
{
	(void)state;
	struct stand *stand = stand_with(&failures, 1);
	for (int pane = 0; pane < 4; pane++) {
		for (int edge = 0; edge < 10 * (pane + 1); edge++) {
			char client[16];
			snprintf(client, sizeof(client), "client-%d", edge);
			add_counts(stand, client, "cart", 0, pane == 3 ? 12 : 1);
		}
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 40);
	for (uint32_t i = 1; i < 40; i++)
		assert_true(subject_edge(&stand->alerts[i - 1].subject) <
			    subject_edge(&stand->alerts[i].subject));
	stand_free(stand);
}

static void a_server_is_watched_over_all_its_clients(void **state)
{
	(void)state;
	struct monitor monitor = failures;
	monitor.per_server = true;
	monitor.metric = METRIC_CONNECTIONS_FAILED;
	monitor.threshold = monitor.clear = 9;
	struct stand *stand = stand_with(&monitor, 1);
	add_counts(stand, "frontend", "cart", 5, 5);
	add_counts(stand, "checkout", "cart", 5, 5);
	add_counts(stand, "checkout", "mail", 5, 5);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 1);
	assert_string_equal(stand->alerts[0].subject.client, "");
	assert_string_equal(stand->alerts[0].subject.server, "cart");
	assert_string_equal(stand->alerts[0].summary,
			    "10 of 20 connections from all clients to cart:7070/tcp failed in the "
			    "last 1 s (threshold: above 9 connections)");
	stand_free(stand);
}

static void monitors_choose_by_glob_and_port(void **state)
{
	(void)state;
	static const struct {
		const char *client, *server;
		uint16_t port;
		bool matches;
	} cases[] = {
		{"", "", 0, true},	  {"front*", "", 0, true},
		{"", "ca?t", 7070, true}, {"", "", 7071, false},
		{"*end", "*t", 0, true},  {"*x*", "", 0, false},
		{"", "cart?", 0, false},  {"", "*", 0, true},
		{"f*o*n*d", "", 0, true}, {"frontend*", "cart", 0, true},
		{"", "*a*a*", 0, false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct monitor monitor = failures;
		snprintf(monitor.client, sizeof(monitor.client), "%s", cases[i].client);
		snprintf(monitor.server, sizeof(monitor.server), "%s", cases[i].server);
		monitor.port = cases[i].port;
		struct stand *stand = stand_with(&monitor, 1);
		add_counts(stand, "frontend", "cart", 0, 12);
		close_pane(stand);
		assert_int_equal(stand->alerts_count, cases[i].matches);
		stand_free(stand);
	}
}

static void slow_connects_fire_by_their_p95(void **state)
{
	(void)state;
	struct monitor monitor = failures;
	monitor.metric = METRIC_CONNECT_LATENCY;
	monitor.threshold = monitor.clear = 0.1;
	struct stand *stand = stand_with(&monitor, 1);
	for (int slow = 1; slow < 8; slow += 5) {
		for (int pane = 0; pane < 4; pane++) {
			struct rollup *row = add_counts(stand, "frontend", "cart", 25, 0);
			row->connect[0] = (struct sketch_cell){
				(uint16_t)sketch_index(2 * NS_PER_MS), (uint32_t)(25 - slow)};
			row->connect[1] = (struct sketch_cell){
				(uint16_t)sketch_index(300 * NS_PER_MS), (uint32_t)slow};
			row->connect_cells = 2;
			close_pane(stand);
		}
		assert_int_equal(stand->alerts_count, slow > 1);
	}
	assert_true(stand->alerts[0].value > 0.29 && stand->alerts[0].value < 0.31);
	stand_free(stand);
}

/* --- silence --- */

static struct monitor silence_monitor(void)
{
	struct monitor monitor = failures;
	monitor.metric = METRIC_CONNECTIONS_OPENED;
	monitor.comparison = COMPARE_BELOW;
	monitor.threshold = 1;
	monitor.clear = 2;
	monitor.minimum = 0;
	return monitor;
}

/* Traffic for 2 s, then none for 3 s while `node` reports, if any. */
static uint32_t alerts_after_silence(const char *node)
{
	struct monitor monitor = silence_monitor();
	struct stand *stand = stand_with(&monitor, 1);
	uint64_t other = 99, heard = node ? named(stand, node) : 0;
	for (int pane = 0; pane < 20; pane++) {
		if (pane < 8) {
			add_counts(stand, "frontend", "cart", 3, 0);
			add_instance(stand, SCOPE_CLIENT, "n1", 3, 0);
		}
		anomaly_heard(stand->anomaly, &other, 1);
		if (heard)
			anomaly_heard(stand->anomaly, &heard, 1);
		close_pane(stand);
	}
	uint32_t count = stand->alerts_count;
	stand_free(stand);
	return count;
}

static void a_drop_to_nothing_fires_only_while_the_agents_report(void **state)
{
	(void)state;
	assert_int_equal(alerts_after_silence("n1"), 1);
	assert_int_equal(alerts_after_silence("n2"), 0);
	assert_int_equal(alerts_after_silence(NULL), 0);
}

/* Connections that stay open have no instance rows in panes. */
static void nodes_are_known_from_ten_seconds_too(void **state)
{
	(void)state;
	struct monitor monitor = silence_monitor();
	monitor.metric = METRIC_BYTES;
	struct stand *stand = stand_with(&monitor, 1);
	uint64_t node = named(stand, "n1");
	for (int pane = 0; pane < 60; pane++) {
		if (pane < 45)
			add_counts(stand, "frontend", "cart", 0, 0)->counters[COUNTER_TX_BYTES] =
				1000;
		if ((stand->pane + 1) % 40 == 0) {
			struct rollup *row = add_row(stand, 10000, "frontend", "cart");
			row->scope = SCOPE_CLIENT;
			row->instance = (struct instance){.id = 5, .node = node};
		}
		anomaly_heard(stand->anomaly, &node, 1);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 1);
	stand_free(stand);
}

static void a_drop_ends_when_traffic_is_back_or_the_edge_is_forgotten(void **state)
{
	(void)state;
	struct monitor monitor = silence_monitor();
	for (int back = 0; back < 2; back++) {
		struct stand *stand = stand_with(&monitor, 1);
		for (int pane = 0; pane < 40; pane++) {
			add_counts(stand, "frontend", pane < 8 ? "cart" : "mail", 3, 0);
			close_pane(stand);
		}
		assert_int_equal(stand->alerts_count, 1);
		assert_string_equal(stand->alerts[0].subject.server, "cart");
		for (int pane = 0; pane < (back ? 40 : 3600 * 4); pane++) {
			add_counts(stand, "frontend", "mail", 3, 0);
			if (back)
				add_counts(stand, "frontend", "cart", 3, 0);
			close_pane(stand);
		}
		assert_int_equal(stand->alerts_count, 2);
		assert_int_equal(stand->alerts[1].state, ALERT_RESOLVED);
		assert_int_equal(anomaly_stats(stand->anomaly).edges, back ? 2 : 1);
		stand_free(stand);
	}
}

/* --- bounds --- */

static void episodes_past_the_bound_are_suppressed_and_counted_once(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct anomaly_options options = options_of(stand, &failures, 1);
	options.episodes_max = 3;
	stand->anomaly = anomaly_new(&options);
	for (int pane = 0; pane < 5; pane++) {
		for (int edge = 0; edge < 10; edge++) {
			char client[16];
			snprintf(client, sizeof(client), "client-%d", edge);
			add_counts(stand, client, "cart", 0, 12);
		}
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 3);
	assert_int_equal(anomaly_stats(stand->anomaly).suppressed, 7);
	for (uint32_t i = 1; i < 3; i++)
		assert_string_not_equal(stand->alerts[i].key, stand->alerts[0].key);
	stand_free(stand);
}

/* Only connections from before, which carry bytes. */
static void what_is_not_known_neither_fires_nor_needs_a_minimum(void **state)
{
	(void)state;
	static const uint32_t unknown[] = {METRIC_FAILURE_RATIO,     METRIC_RETRANSMIT_RATIO,
					   METRIC_CONNECT_LATENCY,   METRIC_RTT,
					   METRIC_DNS_FAILURE_RATIO, METRIC_DNS_LATENCY};
	enum { UNKNOWN = sizeof(unknown) / sizeof(unknown[0]) };
	struct monitor monitors[2 * UNKNOWN + 1];
	for (uint32_t i = 0; i < 2 * UNKNOWN; i++) {
		bool below = i >= UNKNOWN;
		monitors[i] = failures;
		snprintf(monitors[i].name, sizeof(monitors[i].name), "m%u", i);
		monitors[i].metric = unknown[i % UNKNOWN];
		monitors[i].comparison = below ? COMPARE_BELOW : COMPARE_ABOVE;
		monitors[i].threshold = monitors[i].clear = below ? 1 : 0;
		monitors[i].minimum = 0;
	}
	struct monitor *bytes = &monitors[2 * UNKNOWN];
	*bytes = failures;
	bytes->metric = METRIC_BYTES;
	bytes->threshold = bytes->clear = 1000;
	bytes->minimum = 0;
	struct stand *stand = stand_with(monitors, 2 * UNKNOWN + 1);
	for (int pane = 0; pane < 40; pane++) {
		struct rollup *row = add_counts(stand, "frontend", "cart", 0, 0);
		row->counters[COUNTER_TX_BYTES] = 4000;
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 1);
	assert_string_equal(stand->alerts[0].metric, "bytes");
	stand_free(stand);
}

static void edges_past_the_bound_are_still_in_their_servers_sum(void **state)
{
	(void)state;
	struct monitor monitors[2] = {failures, failures};
	monitors[1].per_server = true;
	snprintf(monitors[1].name, sizeof(monitors[1].name), "server");
	struct stand *stand = stand_new();
	struct anomaly_options options = options_of(stand, monitors, 2);
	options.edges_max = 1;
	stand->anomaly = anomaly_new(&options);
	add_counts(stand, "frontend", "cart", 1, 0);
	add_counts(stand, "checkout", "cart", 0, 12);
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 1);
	assert_string_equal(stand->alerts[0].monitor, "server");
	assert_int_equal(anomaly_stats(stand->anomaly).unwatched, 1);
	stand_free(stand);
}

/* --- suspects --- */

static void a_new_first_suspect_is_an_update_at_most_every_update_ns(void **state)
{
	(void)state;
	struct stand *stand = stand_with(&failures, 1);
	for (int pane = 0; pane < 60; pane++) {
		bool first = pane < 8;
		add_counts(stand, "frontend", "cart", 40, 60);
		add_instance(stand, SCOPE_SERVER, "n1", first ? 0 : 20, first ? 60 : 0);
		add_instance(stand, SCOPE_SERVER, "n2", first ? 20 : 0, first ? 0 : 60);
		add_instance(stand, SCOPE_SERVER, "n3", 20, 0);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 2);
	assert_int_equal(stand->alerts[0].suspects[0].kind, SUSPECT_SERVER_INSTANCE);
	assert_string_equal(stand->alerts[0].suspects[0].name, "n1");
	assert_string_equal(stand->alerts[1].suspects[0].name, "n2");
	assert_int_equal(stand->alerts[1].state, ALERT_FIRING);
	assert_int_equal(stand->alerts[1].sequence, 2);
	assert_int_equal(stand->alerts[1].pane_end_ns - stand->alerts[0].pane_end_ns,
			 10 * NS_PER_S);
	stand_free(stand);
}

static void add_instance_long(struct stand *stand, const char *node, int64_t srtt_us)
{
	struct rollup *row = add_row(stand, 10000, "frontend", "cart");
	row->scope = SCOPE_SERVER;
	row->counters[COUNTER_SRTT_US] = srtt_us * 1000;
	row->counters[COUNTER_SRTT_COUNT] = 1000;
	row->instance =
		(struct instance){.node = named(stand, node), .container = named(stand, node)};
	row->instance.id = instance_id(&row->instance);
}

static void suspects_of_traffic_follow_with_the_next_ten_seconds(void **state)
{
	(void)state;
	struct monitor monitor = failures;
	monitor.metric = METRIC_RTT;
	monitor.threshold = monitor.clear = 0.01;
	monitor.minimum = 0;
	struct stand *stand = stand_with(&monitor, 1);
	uint64_t fired = 0;
	for (int pane = 0; pane < 120; pane++) {
		bool slow = pane > 50;
		struct rollup *row = add_counts(stand, "frontend", "cart", 0, 0);
		row->counters[COUNTER_SRTT_US] = slow ? 300000 : 1000;
		row->counters[COUNTER_SRTT_COUNT] = 10;
		if ((stand->pane + 1) % 40 == 0) {
			add_instance_long(stand, "n1", slow ? 90000 : 100);
			add_instance_long(stand, "n2", 100);
			add_instance_long(stand, "n3", 100);
		}
		close_pane(stand);
		if (stand->alerts_count == 1 && !fired)
			fired = stand->pane;
	}
	assert_int_equal(stand->alerts_count, 3);
	assert_int_equal(stand->alerts[0].suspects_count, 0);
	assert_string_equal(stand->alerts[1].suspects[0].name, "n1");
	assert_int_equal(stand->alerts[1].sequence, 2);
	uint64_t ended = (fired + 39) / 40 * 40;
	assert_int_equal(stand->alerts[1].pane_end_ns, ended * PANE_NS);
	/* What is likely wrong is told of ten seconds that lie within the episode. */
	assert_int_equal(stand->alerts[1].diagnosis.kind, DIAGNOSIS_NONE);
	assert_int_equal(stand->alerts[2].diagnosis.kind, DIAGNOSIS_SLOW_PATH);
	assert_string_equal(stand->alerts[2].suspects[0].name, "n1");
	stand_free(stand);
}

/* --- baselines --- */

/* One pane of an edge's life. */
static void live_pane(struct stand *stand, int64_t opened, int64_t failed, int64_t bytes,
		      uint64_t connect_ns)
{
	struct rollup *row = add_counts(stand, "frontend", "cart", opened, failed);
	row->counters[COUNTER_TX_BYTES] = bytes;
	if (opened) {
		row->connect[0] =
			(struct sketch_cell){(uint16_t)sketch_index(connect_ns), (uint32_t)opened};
		row->connect_cells = 1;
	}
	close_pane(stand);
}

/* As it usually is. */
static void usual_pane(struct stand *stand)
{
	uint64_t noise = hash_mix(stand->pane + 1) % 100;
	live_pane(stand, 25, 0, 50000 + (int64_t)noise * 100, 2 * NS_PER_MS + noise * 1000);
}

static void warm_up(struct stand *stand, uint32_t panes)
{
	for (uint32_t pane = 0; pane < panes; pane++)
		usual_pane(stand);
}

static void a_baseline_is_silent_before_its_warm_up(void **state)
{
	(void)state;
	struct stand *stand = stand_with_baselines();
	warm_up(stand, 40 * 28);
	for (int pane = 0; pane < 8; pane++)
		live_pane(stand, 25, 10, 9000000, 500 * NS_PER_MS);
	assert_int_equal(stand->alerts_count, 0);
	stand_free(stand);
}

static void what_fails_outright_is_told_from_the_first_second(void **state)
{
	(void)state;
	struct stand *stand = stand_with_baselines();
	for (int pane = 0; pane < 4; pane++)
		live_pane(stand, 0, 5, 0, 0);
	assert_int_equal(stand->alerts_count, 1);
	assert_string_equal(stand->alerts[0].monitor, "baseline/failure_ratio");
	assert_int_equal(stand->alerts[0].severity, ALERT_ERROR);
	stand_free(stand);
}

static void what_is_unusual_fires_and_names_the_usual(void **state)
{
	(void)state;
	static const struct {
		const char *monitor;
		int64_t opened, failed, bytes;
		uint64_t connect_ns;
		int panes; /* within */
	} cases[] = {
		{"baseline/failure_ratio", 25, 8, 50000, 2 * NS_PER_MS, 1},
		{"baseline/failure_ratio", 25, 1, 50000, 2 * NS_PER_MS, 24},
		/* In two seconds in a row; what passes, for longer, and more of it still longer. */
		{"baseline/connect_latency", 25, 0, 50000, 60 * NS_PER_MS, 12},
		{"baseline/bytes", 25, 0, 1000000, 2 * NS_PER_MS, 320},
		{"baseline/bytes", 25, 0, 1000, 2 * NS_PER_MS, 120},
		{"baseline/connections_opened", 200, 0, 50000, 2 * NS_PER_MS, 320},
		{"baseline/connections_opened", 1, 0, 50000, 2 * NS_PER_MS, 120},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stand *stand = stand_with_baselines();
		warm_up(stand, 40 * 240);
		assert_int_equal(stand->alerts_count, 0);
		for (int pane = 0; pane < cases[i].panes; pane++)
			live_pane(stand, cases[i].opened, cases[i].failed, cases[i].bytes,
				  cases[i].connect_ns);
		if (stand->alerts_count != 1)
			fail_msg("case %zu: %u alerts", i, stand->alerts_count);
		const struct alert *alert = &stand->alerts[0];
		assert_string_equal(alert->monitor, cases[i].monitor);
		assert_int_equal(alert->severity, ALERT_WARNING);
		assert_true(alert->score >= (cases[i].panes > 120 ? 4 : 9));
		assert_true(alert->value > alert->expected
				    ? alert->threshold > alert->expected &&
					      alert->value >= alert->threshold
				    : alert->threshold < alert->expected &&
					      alert->value <= alert->threshold);
		assert_true(alert->usual_low <= alert->expected &&
			    alert->expected <= alert->usual_high);
		assert_non_null(strstr(alert->summary, "(expected: "));
		warm_up(stand, 40 * 3);
		assert_int_equal(stand->alerts_count, 2);
		assert_int_equal(stand->alerts[1].state, ALERT_RESOLVED);
		stand_free(stand);
	}
}

/* A value of any size that comes once is none that lasts. */
static void what_does_not_last_is_not_told(void **state)
{
	(void)state;
	static const struct {
		int64_t opened, bytes;
		uint64_t connect_ns;
		int panes;
	} cases[] = {
		{25, 50000, 1000 * NS_PER_MS, 3},  /* lost SYNs of a moment */
		{25, 100000000, 2 * NS_PER_MS, 1}, /* a dump */
		{25, 1000000, 2 * NS_PER_MS, 240}, /* a burst of a minute */
		{2000, 50000, 2 * NS_PER_MS, 240},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stand *stand = stand_with_baselines();
		warm_up(stand, 40 * 240);
		for (int pane = 0; pane < cases[i].panes; pane++)
			live_pane(stand, cases[i].opened, 0, cases[i].bytes, cases[i].connect_ns);
		warm_up(stand, 40 * 3);
		if (stand->alerts_count != 0)
			fail_msg("case %zu: %u alerts", i, stand->alerts_count);
		stand_free(stand);
	}
}

/* Of 16 connections in ten seconds the p95 is the second slowest: two lost SYNs are no latency. */
static uint32_t told_of_slow(int slow)
{
	struct stand *stand = stand_with_baselines();
	for (int pane = 0; pane < 40 * 100; pane++) {
		bool fault = pane >= 40 * 90;
		int at = pane % 40;
		if (at % 5 < 2)
			live_pane(stand, 1, 0, 50000,
				  fault && at / 5 * 2 + at % 5 < slow ? 1000 * NS_PER_MS
								      : 2 * NS_PER_MS);
		else
			close_pane(stand);
	}
	uint32_t told = stand->alerts_count;
	stand_free(stand);
	return told;
}

static void a_few_slow_connections_are_no_slow_server(void **state)
{
	(void)state;
	assert_int_equal(told_of_slow(4), 0);
	assert_int_equal(told_of_slow(5), 1);
}

/* A job that comes now and then is its own edge's to judge. */
static void more_traffic_of_all_clients_is_told_after_five_minutes(void **state)
{
	(void)state;
	struct stand *stand = stand_with_baselines();
	for (int pane = 0; pane < 40 * 360 + 4 * 320; pane++) {
		for (int i = 0; i < 2; i++) {
			struct rollup *row =
				add_counts(stand, i ? "backend" : "frontend", "cart", 5, 0);
			row->counters[COUNTER_TX_BYTES] =
				50000 + (int64_t)(hash_mix(stand->pane * 2 + (uint64_t)i) % 5000);
		}
		if (pane >= 40 * 360)
			add_counts(stand, "job", "cart", 5, 0)->counters[COUNTER_TX_BYTES] =
				5000000;
		close_pane(stand);
		if (pane == 40 * 360 + 4 * 300 && stand->alerts_count)
			fail_msg("%s", stand->alerts[0].summary);
	}
	assert_int_equal(stand->alerts_count, 1);
	assert_string_equal(stand->alerts[0].monitor, "baseline/bytes");
	assert_string_equal(stand->alerts[0].subject.client, "");
	stand_free(stand);
}

/* Of a subject that is looked at once in ten seconds. */
static void calm_pane(struct stand *stand, uint64_t srtt_us, int64_t resets, int64_t dns_failed)
{
	uint64_t noise = hash_mix(stand->pane + 1) % 100;
	struct rollup *row = add_counts(stand, "frontend", "cart", 5, 0);
	row->counters[COUNTER_SRTT_US] = (int64_t)(5 * (srtt_us + noise));
	row->counters[COUNTER_SRTT_COUNT] = 5;
	row->counters[COUNTER_RESETS] = resets;
	row->counters[COUNTER_DNS_QUERIES] = 5;
	row->counters[COUNTER_DNS_SERVFAIL] = dns_failed;
	row->counters[COUNTER_DNS_US] = (int64_t)(5 * (1000 + noise));
	row->counters[COUNTER_DNS_COUNT] = 5;
	close_pane(stand);
}

static void round_trips_resets_and_lookups_are_watched_too(void **state)
{
	(void)state;
	static const struct {
		const char *monitor;
		uint64_t srtt_us;
		int64_t resets, dns_failed;
	} cases[] = {
		{"baseline/rtt", 40000, 0, 0},
		{"baseline/connections_reset", 2000, 4, 0},
		{"baseline/dns_failure_ratio", 2000, 0, 4},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stand *stand = stand_with_baselines();
		for (int pane = 0; pane < 40 * 80; pane++)
			calm_pane(stand, 2000, 0, 0);
		assert_int_equal(stand->alerts_count, 0);
		for (int pane = 0; pane < 80; pane++)
			calm_pane(stand, cases[i].srtt_us, cases[i].resets, cases[i].dns_failed);
		if (stand->alerts_count != 1)
			fail_msg("case %zu: %u alerts", i, stand->alerts_count);
		assert_string_equal(stand->alerts[0].monitor, cases[i].monitor);
		for (int pane = 0; pane < 40 * 3; pane++)
			calm_pane(stand, 2000, 0, 0);
		assert_int_equal(stand->alerts_count, 2);
		stand_free(stand);
	}
}

/* failing, slow: departures, little ones. Returns what is told. */
static uint32_t told_of(bool failing, bool slow, uint64_t slow_us)
{
	struct stand *stand = stand_with_baselines();
	for (int pane = 0; pane < 40 * 124; pane++) {
		bool fault = pane >= 40 * 120;
		uint64_t usual_us = 2000 + hash_mix(stand->pane / 40) % 1500;
		live_pane(stand, 3, fault && failing ? pane % 9 < 2 : pane % 100 == 0, 50000,
			  (fault && slow ? slow_us : usual_us) * NS_PER_US);
	}
	uint32_t told = stand->alerts_count;
	stand_free(stand);
	return told;
}

/* What fails a little more and takes a little longer is told together, neither alone. */
static void weak_departures_of_two_families_are_one_strong_one(void **state)
{
	(void)state;
	uint32_t weak = 0;
	assert_int_equal(told_of(true, false, 0), 0);
	for (uint64_t slow_us = 4000; slow_us < 8000; slow_us += 200)
		weak += told_of(false, true, slow_us) == 0 && told_of(true, true, slow_us) > 0;
	assert_true(weak > 0);
}

static void an_incident_is_hardly_learned(void **state)
{
	(void)state;
	struct stand *stand = stand_with_baselines();
	warm_up(stand, 40 * 100);
	for (uint32_t pane = 0; pane < 40 * 30; pane++)
		live_pane(stand, 25, 8, 50000, 2 * NS_PER_MS);
	assert_int_equal(stand->alerts_count, 1);
	/* Back for a while, and it is as surprising again. */
	warm_up(stand, 40 * 12);
	assert_int_equal(stand->alerts_count, 2);
	for (uint32_t pane = 0; pane < 4; pane++)
		live_pane(stand, 25, 8, 50000, 2 * NS_PER_MS);
	assert_int_equal(stand->alerts_count, 3);
	stand_free(stand);
}

static void what_lasts_for_hours_is_the_new_usual(void **state)
{
	(void)state;
	struct stand *stand = stand_with_baselines();
	warm_up(stand, 40 * 100);
	for (uint32_t pane = 0; pane < 14400 * 8; pane++)
		live_pane(stand, 25, 0, 500000, 2 * NS_PER_MS);
	assert_int_equal(stand->alerts_count, 2);
	assert_int_equal(stand->alerts[1].state, ALERT_RESOLVED);
	stand_free(stand);
}

static void what_flaps_stays_open_until_it_is_calm(void **state)
{
	(void)state;
	struct stand *stand = stand_with_baselines();
	warm_up(stand, 40 * 100);
	for (uint32_t pane = 0; pane < 4 * 600; pane++) {
		if (pane % 160 < 8)
			live_pane(stand, 25, 12, 50000, 2 * NS_PER_MS);
		else
			usual_pane(stand);
	}
	uint32_t told = stand->alerts_count;
	assert_in_range(told, 3, 9);
	assert_int_equal(stand->alerts[told - 1].state, ALERT_FIRING);
	warm_up(stand, 4 * 240);
	assert_int_equal(stand->alerts_count, told + 1);
	assert_int_equal(anomaly_stats(stand->anomaly).episodes, 0);
	stand_free(stand);
}

static void an_edge_that_falls_silent_is_told_at_once_while_its_agent_reports(void **state)
{
	(void)state;
	for (int reports = 0; reports < 2; reports++) {
		struct stand *stand = stand_with_baselines();
		warm_up(stand, 40 * 80);
		for (int pane = 0; pane < 8; pane++) {
			if (reports)
				add_counts(stand, "other", "mail", 1, 0);
			close_pane(stand);
		}
		assert_int_equal(stand->alerts_count, reports);
		if (reports) {
			assert_string_equal(stand->alerts[0].monitor,
					    "baseline/connections_opened");
			assert_true(stand->alerts[0].value < stand->alerts[0].threshold ||
				    stand->alerts[0].threshold == 0);
		}
		stand_free(stand);
	}
}

/* Silences as long as a third of it were seen before. */
static void an_edge_that_is_often_silent_is_not_told_for_it(void **state)
{
	(void)state;
	struct stand *stand = stand_with_baselines();
	for (int turn = 0; turn < 120; turn++) {
		for (int pane = 0; pane < 80; pane++) {
			if (pane < 20)
				live_pane(stand, 100, 0, 50000, 2 * NS_PER_MS);
			else
				add_counts(stand, "other", "mail", 1, 0), close_pane(stand);
		}
	}
	assert_int_equal(stand->alerts_count, 0);
	stand_free(stand);
}

static void many_new_clients_of_a_server_are_told(void **state)
{
	(void)state;
	struct stand *stand = stand_with_baselines();
	char client[16];
	for (int pane = 0; pane < 40 * 80; pane++) {
		add_counts(stand, "frontend", "cart", 5, 0);
		add_counts(stand, "backend", "cart", 5, 0);
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 0);
	for (int pane = 0; pane < 50; pane++) {
		add_counts(stand, "frontend", "cart", 5, 0);
		add_counts(stand, "backend", "cart", 5, 0);
		for (int i = 0; i < 25 && pane == 0; i++) {
			snprintf(client, sizeof(client), "scan-%d", i);
			add_counts(stand, client, "cart", 1, 0);
		}
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 1);
	assert_string_equal(stand->alerts[0].monitor, "baseline/clients_new");
	assert_string_equal(stand->alerts[0].subject.client, "");
	stand_free(stand);
}

/* Too little of each client to be told, and enough of all. */
static void a_server_is_judged_over_all_its_clients(void **state)
{
	(void)state;
	struct stand *stand = stand_with_baselines();
	char client[16];
	for (int pane = 0; pane < 40 * 80; pane++) {
		for (int i = 0; i < 20; i++) {
			snprintf(client, sizeof(client), "client-%d", i);
			add_counts(stand, client, "cart", 1, pane >= 40 * 79 && pane % 16 == 0);
		}
		close_pane(stand);
	}
	assert_int_equal(stand->alerts_count, 1);
	assert_string_equal(stand->alerts[0].monitor, "baseline/failure_ratio");
	assert_string_equal(stand->alerts[0].subject.client, "");
	stand_free(stand);
}

static void a_server_that_fails_a_little_for_long_burns_its_budget(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct anomaly_options options = options_of(stand, NULL, 0);
	options.baselines = true;
	options.objective = 0.999;
	options.sensitivity = 100; /* burn rates only */
	stand->anomaly = anomaly_new(&options);
	for (int pane = 0; pane < 14400 / 2 + 80; pane++)
		live_pane(stand, 24, pane % 2, 50000, 2 * NS_PER_MS);
	assert_int_equal(stand->alerts_count, 1);
	const struct alert *alert = &stand->alerts[0];
	assert_string_equal(alert->monitor, "burn-rate/1h");
	assert_int_equal(alert->severity, ALERT_ERROR);
	assert_int_equal(alert->window_ms, 3600000);
	assert_true(alert->value > alert->threshold);
	warm_up(stand, 40 * 80);
	assert_int_equal(stand->alerts_count, 2);
	stand_free(stand);
}

/* The records of one edge, saved and loaded into a new stage, decide alike. */
static void what_was_saved_decides_like_what_went_on(void **state)
{
	(void)state;
	struct stand *stand = stand_with_baselines(), *loaded = stand_with_baselines();
	warm_up(stand, 40 * 51);
	/* Latency, openings, bytes and four shares, each ten seconds once six have passed. */
	assert_in_range(stand->records_count, 7 * 8, 7 * 51);
	while (stand->records_count > 7)
		memmove(stand->records, stand->records + 7,
			(stand->records_count -= 7) * sizeof(stand->records[0]));
	anomaly_load(loaded->anomaly, stand->records, stand->records_count,
		     pane_end(stand->pane - 1));
	assert_int_equal(anomaly_stats(loaded->anomaly).edges, 1);
	loaded->pane = stand->pane;
	for (uint32_t pane = 0; pane < 40 * 80; pane++) {
		bool bad = pane % 400 >= 360;
		int64_t failed = bad ? (int64_t)(hash_mix(pane) % 9) : 0;
		live_pane(stand, 25, failed, 50000, 2 * NS_PER_MS);
		live_pane(loaded, 25, failed, 50000, 2 * NS_PER_MS);
	}
	assert_true(stand->alerts_count >= 2);
	assert_int_equal(stand->alerts_count, loaded->alerts_count);
	for (uint32_t i = 0; i < stand->alerts_count; i++)
		assert_string_equal(stand->alerts[i].key, loaded->alerts[i].key);
	stand_free(stand);
	stand_free(loaded);
}

static void what_was_forgotten_before_a_restart_is_not_loaded(void **state)
{
	(void)state;
	struct stand *stand = stand_with_baselines(), *after = stand_with_baselines();
	warm_up(stand, 40 * 51);
	uint64_t saved_ns = stand->records[0].window_ns;
	anomaly_load(after->anomaly, stand->records, 1, saved_ns + 86400 * NS_PER_S + 1);
	assert_int_equal(anomaly_stats(after->anomaly).edges, 0);
	anomaly_load(after->anomaly, stand->records, 1, saved_ns + 86400 * NS_PER_S);
	assert_int_equal(anomaly_stats(after->anomaly).edges, 1);
	stand_free(stand);
	stand_free(after);
}

static void records_are_spread_over_the_save_time(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct anomaly_options options = options_of(stand, NULL, 0);
	options.baselines = true;
	options.baseline_save_ns = 10 * NS_PER_S;
	stand->anomaly = anomaly_new(&options);
	uint32_t busiest = 0, total = 0;
	for (int pane = 0; pane < 40 * 16; pane++) {
		for (int edge = 0; edge < 50; edge++) {
			char client[16];
			snprintf(client, sizeof(client), "client-%d", edge);
			add_counts(stand, client, "cart", 1, 0);
		}
		stand->records_count = 0;
		close_pane(stand);
		total += stand->records_count;
		busiest = stand->records_count > busiest ? stand->records_count : busiest;
	}
	/* Twice each of 51 subjects: openings, bytes and four shares. */
	assert_in_range(total, 51 * 6, 51 * 6 * 3);
	assert_true(busiest < 40);
	stand_free(stand);
}

static void foreign_records_are_not_believed(void **state)
{
	(void)state;
	struct stand *stand = stand_with_baselines();
	struct baseline_record records[] = {
		{.edge = {.id = 0, .client = 1}, .metric = METRIC_BYTES, .state_size = 32},
		{.edge = {.id = 1, .client = 1}, .metric = METRICS, .state_size = 32},
		{.edge = {.id = 2, .client = 1}, .metric = METRIC_BYTES, .state_size = 32},
		{.edge = {.id = 3, .client = 1}, .metric = METRIC_BYTES, .state_size = 256},
		{.edge = {.id = 4, .client = 1}, .metric = METRIC_BYTES, .state_size = UINT32_MAX},
		{.edge = {.id = 5, .client = 1}, .metric = METRIC_BYTES},
	};
	anomaly_load(stand->anomaly, records, 6, 0);
	assert_int_equal(anomaly_stats(stand->anomaly).edges, 0);
	stand_free(stand);
}

static void past_the_bound_series_stay_in_the_small_tier_and_are_counted(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct anomaly_options options = options_of(stand, NULL, 0);
	options.baselines = true;
	options.edges_max = 2; /* and two full detectors */
	stand->anomaly = anomaly_new(&options);
	warm_up(stand, 40 * 370);
	struct anomaly_stats stats = anomaly_stats(stand->anomaly);
	assert_int_equal(stats.detectors, 2);
	assert_int_equal(stats.held, 1); /* openings, bytes and connect latency */
	idle(stand, 4 * 3700);
	assert_int_equal(anomaly_stats(stand->anomaly).detectors, 0);
	stand_free(stand);
}

/* --- the whole --- */

static void a_resumed_episode_is_told_again_and_gets_its_resolve(void **state)
{
	(void)state;
	struct stand *stand = stand_with(&failures, 1), *other = stand_with(&failures, 1);
	add_counts(stand, "frontend", "cart", 0, 12);
	close_pane(stand);
	assert_int_equal(anomaly_resume(other->anomaly, stand->alerts, 1), 1);
	/* Before any pane, whatever is known from before. */
	assert_int_equal(other->alerts_count, 1);
	assert_string_equal(other->alerts[0].unit, "ratio");
	other->pane = stand->pane;
	idle(other, 20);
	assert_int_equal(other->alerts_count, 2);
	assert_int_equal(other->alerts[0].state, ALERT_FIRING);
	assert_int_equal(other->alerts[0].sequence, 1);
	assert_int_equal(other->alerts[1].state, ALERT_RESOLVED);
	assert_int_equal(other->alerts[1].sequence, 2);
	assert_string_equal(other->alerts[1].key, stand->alerts[0].key);
	assert_int_equal(anomaly_resume(other->anomaly, &other->alerts[1], 1), 0);
	stand_free(stand);
	stand_free(other);
}

static void amendments_change_nothing(void **state)
{
	(void)state;
	struct stand *stand = stand_with(&failures, 1);
	add_counts(stand, "frontend", "cart", 0, 12)->amendment = true;
	close_pane(stand);
	assert_int_equal(stand->alerts_count, 0);
	assert_int_equal(anomaly_stats(stand->anomaly).edges, 0);
	stand_free(stand);
}

static void a_drain_closes_what_waits_and_ends_nothing(void **state)
{
	(void)state;
	struct stand *stand = stand_with(&failures, 1);
	add_counts(stand, "frontend", "cart", 0, 12);
	anomaly_push(stand->anomaly, stand->rows, 1, stand->names);
	anomaly_advance(stand->anomaly, UINT64_MAX);
	anomaly_advance(stand->anomaly, UINT64_MAX);
	assert_int_equal(stand->alerts_count, 1);
	assert_int_equal(anomaly_stats(stand->anomaly).episodes, 1);
	/* An hour without a word, told in one step. */
	anomaly_advance(stand->anomaly, pane_end(stand->pane + 3600 * 4));
	assert_int_equal(stand->alerts_count, 2);
	stand_free(stand);
}

/* Some edges' random panes of one seed: the same in all runs. */
static void random_pane(struct stand *stand, uint64_t seed, uint32_t pane, bool healthy)
{
	static const char *const servers[] = {"cart", "mail", "ads"};
	for (uint32_t edge = 0; edge < 9; edge++) {
		uint64_t word = hash_mix(hash_mix(seed << 32 | pane) + edge);
		bool storm = !healthy && hash_mix(seed << 32 | (pane / 25 * 9 + edge)) % 3 == 0;
		if (word % 4 == 0)
			continue;
		char client[16];
		snprintf(client, sizeof(client), "client-%u", edge / 3);
		struct rollup *row =
			add_counts(stand, client, servers[edge % 3], (int64_t)(word >> 8 & 7),
				   storm ? (int64_t)(word >> 16 & 15) : 0);
		row->counters[COUNTER_RESETS] = storm ? (int64_t)(word >> 20 & 3) : 0;
		row->counters[COUNTER_TX_BYTES] = (int64_t)(word >> 30 & 0xfffff);
	}
}

/* step: rows a push. */
static struct stand *random_run(uint64_t seed, uint32_t step)
{
	struct monitor monitors[4] = {failures, failures, failures, failures};
	static const char *const names[] = {"ratio", "server", "resets", "many"};
	for (int i = 0; i < 4; i++) {
		snprintf(monitors[i].name, sizeof(monitors[i].name), "%s", names[i]);
		monitors[i].window_ns = (1 + hash_mix(seed + (uint64_t)i) % 20) * PANE_NS;
		monitors[i].clear_ns = hash_mix(seed * 3 + (uint64_t)i) % 20 * PANE_NS;
	}
	monitors[1].per_server = true;
	monitors[2].metric = METRIC_CONNECTIONS_RESET;
	monitors[2].threshold = monitors[2].clear = 2;
	monitors[3].metric = METRIC_CONNECTIONS_FAILED;
	monitors[3].threshold = 20;
	monitors[3].clear = 5;
	struct stand *stand = stand_new();
	struct anomaly_options options = options_of(stand, monitors, 4);
	options.baselines = true;
	options.warmup_samples = 10;
	options.episodes_max = seed % 3 ? 100 : 4;
	options.edges_max = seed % 5 ? 100 : 5;
	stand->anomaly = anomaly_new(&options);
	for (uint32_t pane = 0; pane < 2000; pane++) {
		random_pane(stand, seed, pane, pane < 410 || pane > 700);
		for (uint32_t at = 0; at < stand->rows_count; at += step)
			anomaly_push(stand->anomaly, stand->rows + at,
				     stand->rows_count - at < step ? stand->rows_count - at : step,
				     stand->names);
		anomaly_advance(stand->anomaly, pane_end(stand->pane++));
		stand->rows_count = 0;
	}
	return stand;
}

/* Of each key: 1 fires, then updates, then one resolve; numbered without gaps, in time's order. */
static void check_episode(const struct stand *stand, uint32_t first, uint64_t seed)
{
	const struct alert *alert = &stand->alerts[first];
	uint64_t sequence = 1, last_ns = alert->pane_end_ns;
	bool resolved = false;
	if (alert->state != ALERT_FIRING || alert->started_ns != alert->pane_end_ns)
		fail_msg("seed %lu: %s does not begin", (unsigned long)seed, alert->monitor);
	for (uint32_t i = first + 1; i < stand->alerts_count; i++) {
		const struct alert *later = &stand->alerts[i];
		if (strcmp(later->key, alert->key) != 0)
			continue;
		if (resolved || later->sequence != ++sequence || later->pane_end_ns <= last_ns)
			fail_msg("seed %lu: %s goes on wrongly", (unsigned long)seed,
				 alert->monitor);
		resolved = later->state == ALERT_RESOLVED;
		last_ns = later->pane_end_ns;
	}
	if (!resolved)
		fail_msg("seed %lu: %s never ends", (unsigned long)seed, alert->summary);
}

static void every_episode_begins_once_and_ends_once(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct stand *stand = random_run(seed, 64);
		struct anomaly_stats stats = anomaly_stats(stand->anomaly);
		uint64_t begun = 0;
		for (uint32_t i = 0; i < stand->alerts_count; i++) {
			if (stand->alerts[i].sequence != 1)
				continue;
			begun++;
			check_episode(stand, i, seed);
		}
		if (begun == 0 || stats.fired != begun || stats.resolved != begun ||
		    stats.episodes != 0 ||
		    stats.fired + stats.updated + stats.resolved != stand->alerts_count)
			fail_msg("seed %lu: %lu begun", (unsigned long)seed, (unsigned long)begun);
		stand_free(stand);
	}
}

static void the_split_of_pushes_changes_nothing(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct stand *whole = random_run(seed, 64), *split = random_run(seed, 1 + seed % 3);
		if (whole->alerts_count != split->alerts_count ||
		    whole->records_count != split->records_count ||
		    memcmp(whole->alerts, split->alerts,
			   whole->alerts_count * sizeof(struct alert)) != 0)
			fail_msg("seed %lu", (unsigned long)seed);
		stand_free(whole);
		stand_free(split);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_monitor_acts_from_the_pane_after_it_came),
		cmocka_unit_test(what_is_taken_out_of_force_ends_with_the_pane),
		cmocka_unit_test(another_threshold_goes_on_with_the_episode),
		cmocka_unit_test(an_edge_that_no_longer_matches_ends_and_others_go_on),
		cmocka_unit_test(a_server_may_be_watched_later_than_its_edges),
		cmocka_unit_test(silence_from_before_a_monitor_is_not_known),
		cmocka_unit_test(an_edge_whose_names_are_forgotten_is_matched_when_it_is_back),
		cmocka_unit_test(an_edge_that_has_long_been_silent_may_be_read_for_longer),
		cmocka_unit_test(a_server_is_watched_again_when_its_name_is_known_again),
		cmocka_unit_test(a_forgotten_server_is_matched_with_the_edge_that_names_it),
		cmocka_unit_test(a_monitor_without_a_place_gets_the_first_that_is_left),
		cmocka_unit_test(changing_monitors_leave_no_episode_behind),
		cmocka_unit_test(a_resumed_episode_waits_for_its_monitor),
		cmocka_unit_test(a_resumed_episode_whose_monitor_does_not_come_is_left),
		cmocka_unit_test(an_alert_says_how_complete_its_window_is),
		cmocka_unit_test(it_fires_in_the_pane_that_meets_the_condition),
		cmocka_unit_test(keys_can_be_computed_by_others),
		cmocka_unit_test(it_resolves_after_clear_ns_of_quiet_and_silence_is_quiet),
		cmocka_unit_test(between_clear_and_threshold_nothing_begins_and_nothing_ends),
		cmocka_unit_test(quiet_must_last_without_a_break),
		cmocka_unit_test(alerts_of_a_pane_come_in_the_order_of_edges),
		cmocka_unit_test(a_server_is_watched_over_all_its_clients),
		cmocka_unit_test(monitors_choose_by_glob_and_port),
		cmocka_unit_test(slow_connects_fire_by_their_p95),
		cmocka_unit_test(a_drop_to_nothing_fires_only_while_the_agents_report),
		cmocka_unit_test(a_drop_ends_when_traffic_is_back_or_the_edge_is_forgotten),
		cmocka_unit_test(episodes_past_the_bound_are_suppressed_and_counted_once),
		cmocka_unit_test(what_is_not_known_neither_fires_nor_needs_a_minimum),
		cmocka_unit_test(edges_past_the_bound_are_still_in_their_servers_sum),
		cmocka_unit_test(a_new_first_suspect_is_an_update_at_most_every_update_ns),
		cmocka_unit_test(suspects_of_traffic_follow_with_the_next_ten_seconds),
		cmocka_unit_test(nodes_are_known_from_ten_seconds_too),
		cmocka_unit_test(a_baseline_is_silent_before_its_warm_up),
		cmocka_unit_test(what_fails_outright_is_told_from_the_first_second),
		cmocka_unit_test(what_is_unusual_fires_and_names_the_usual),
		cmocka_unit_test(what_does_not_last_is_not_told),
		cmocka_unit_test(a_few_slow_connections_are_no_slow_server),
		cmocka_unit_test(more_traffic_of_all_clients_is_told_after_five_minutes),
		cmocka_unit_test(round_trips_resets_and_lookups_are_watched_too),
		cmocka_unit_test(weak_departures_of_two_families_are_one_strong_one),
		cmocka_unit_test(an_incident_is_hardly_learned),
		cmocka_unit_test(what_lasts_for_hours_is_the_new_usual),
		cmocka_unit_test(what_flaps_stays_open_until_it_is_calm),
		cmocka_unit_test(an_edge_that_falls_silent_is_told_at_once_while_its_agent_reports),
		cmocka_unit_test(an_edge_that_is_often_silent_is_not_told_for_it),
		cmocka_unit_test(many_new_clients_of_a_server_are_told),
		cmocka_unit_test(a_server_is_judged_over_all_its_clients),
		cmocka_unit_test(a_server_that_fails_a_little_for_long_burns_its_budget),
		cmocka_unit_test(what_was_saved_decides_like_what_went_on),
		cmocka_unit_test(what_was_forgotten_before_a_restart_is_not_loaded),
		cmocka_unit_test(records_are_spread_over_the_save_time),
		cmocka_unit_test(foreign_records_are_not_believed),
		cmocka_unit_test(past_the_bound_series_stay_in_the_small_tier_and_are_counted),
		cmocka_unit_test(a_resumed_episode_is_told_again_and_gets_its_resolve),
		cmocka_unit_test(amendments_change_nothing),
		cmocka_unit_test(a_drain_closes_what_waits_and_ends_nothing),
		cmocka_unit_test(every_episode_begins_once_and_ends_once),
		cmocka_unit_test(the_split_of_pushes_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
