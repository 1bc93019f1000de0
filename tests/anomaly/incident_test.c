#include "anomaly/incident.h"

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

enum { TOLD_MAX = 4096, EPISODES_MAX = 2048 };

/* The real stage, the pane's transitions, and all that it told. */
#define REOPEN_NS (300 * NS_PER_S)

struct stand {
	struct incidents *incidents;
	uint64_t now_ns;
	struct alert *told;
	size_t told_count;
};

static void on_alerts(void *context, const struct alert *alerts, size_t count)
{
	struct stand *stand = context;
	for (size_t i = 0; i < count; i++) {
		assert_true(stand->told_count < TOLD_MAX);
		stand->told[stand->told_count++] = alerts[i];
	}
}

static struct stand *stand_new(void)
{
	struct stand *stand = memory_zeroed(1, sizeof(*stand));
	stand->now_ns = 1000 * NS_PER_S;
	stand->told = memory_resize(NULL, TOLD_MAX, sizeof(*stand->told));
	stand->incidents = incidents_new(&(struct incident_options){.update_ns = 10 * NS_PER_S,
								    .reopen_ns = REOPEN_NS,
								    .episodes_max = EPISODES_MAX,
								    .sinks = {stand, on_alerts}});
	return stand;
}

static void stand_free(struct stand *stand)
{
	incidents_free(stand->incidents);
	memory_free(stand->told);
	memory_free(stand);
}

/* An episode that begins in the open pane. */
static struct alert episode(const struct stand *stand, const char *client, const char *server,
			    const char *metric)
{
	struct alert alert = {.sequence = 1,
			      .state = ALERT_FIRING,
			      .severity = ALERT_WARNING,
			      .started_ns = stand->now_ns,
			      .pane_end_ns = stand->now_ns,
			      .completeness = 1,
			      .window_ms = 1000,
			      .subject = {.port = 80, .protocol = 6}};
	snprintf(alert.monitor, sizeof(alert.monitor), "baseline/%s", metric);
	snprintf(alert.metric, sizeof(alert.metric), "%s", metric);
	snprintf(alert.subject.client, sizeof(alert.subject.client), "%s", client);
	snprintf(alert.subject.server, sizeof(alert.subject.server), "%s", server);
	snprintf(alert.summary, sizeof(alert.summary), "%s to %s", client, server);
	alert_key(&alert);
	return alert;
}

static struct alert at_suspect(struct alert alert, uint32_t kind, const char *name, double share)
{
	alert.suspects_count = 1;
	alert.suspects[0].kind = kind;
	alert.suspects[0].share = share;
	snprintf(alert.suspects[0].name, sizeof(alert.suspects[0].name), "%s", name);
	return alert;
}

static struct alert severe(struct alert alert, uint32_t severity)
{
	alert.severity = severity;
	return alert;
}

static void push(struct stand *stand, struct alert alert)
{
	incidents_push(stand->incidents, &alert, 1);
}

static struct alert push_new(struct stand *stand, const char *client, const char *server,
			     const char *metric)
{
	struct alert alert = episode(stand, client, server, metric);
	push(stand, alert);
	return alert;
}

static void push_end(struct stand *stand, struct alert alert)
{
	alert.sequence++;
	alert.state = ALERT_RESOLVED;
	alert.ended_ns = alert.pane_end_ns = stand->now_ns;
	push(stand, alert);
}

/* Closes the pane. Returns how many transitions it told. */
static size_t step(struct stand *stand)
{
	size_t before = stand->told_count;
	incidents_advance(stand->incidents, stand->now_ns);
	stand->now_ns += PANE_NS;
	return stand->told_count - before;
}

static size_t wait_ns(struct stand *stand, uint64_t ns)
{
	size_t before = stand->told_count;
	for (uint64_t end = stand->now_ns + ns; stand->now_ns < end;)
		step(stand);
	return stand->told_count - before;
}

static const struct alert *last(const struct stand *stand)
{
	assert_true(stand->told_count > 0);
	return &stand->told[stand->told_count - 1];
}

static void an_episode_alone_is_told_in_its_pane_under_its_key(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct alert alone = push_new(stand, "web", "api", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_string_equal(last(stand)->key, alone.key);
	assert_int_equal(last(stand)->sequence, 1);
	assert_int_equal(last(stand)->episodes, 1);
	assert_int_equal(last(stand)->members_count, 1);
	assert_string_equal(last(stand)->members[0].subject.server, "api");
	assert_string_equal(last(stand)->summary, "web to api");
	assert_int_equal(wait_ns(stand, 60 * NS_PER_S), 0);
	push_end(stand, alone);
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->state, ALERT_RESOLVED);
	assert_int_equal(last(stand)->sequence, 2);
	assert_string_equal(last(stand)->summary, "resolved after 60.25 s: web to api");
	assert_int_equal(incidents_stats(stand->incidents).incidents, 0);
	stand_free(stand);
}

static struct change_event deployment(const struct stand *stand, const char *workload)
{
	struct change_event change = {.kind = CHANGE_DEPLOYED,
				      .time_ns = stand->now_ns - 42 * NS_PER_S,
				      .before = "v3",
				      .after = "v4"};
	snprintf(change.workload, sizeof(change.workload), "%s", workload);
	return change;
}

static void what_was_changed_before_it_is_named_with_the_incident(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct change_event change = deployment(stand, "shop/cart");
	incidents_change(stand->incidents, 1, &change, stand->now_ns);
	struct alert alone = push_new(stand, "web", "shop/cart", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->cause.kind, CHANGE_DEPLOYED);
	assert_string_equal(last(stand)->cause.after, "v4");
	assert_string_equal(last(stand)->summary,
			    "web to shop/cart; likely cause: deployment shop/cart v3 → v4, "
			    "42 s before");
	push_end(stand, alone);
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->cause.kind, CHANGE_DEPLOYED);
	stand_free(stand);
}

static void a_change_that_is_told_late_is_an_update_and_another_is_none(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_new(stand, "web", "shop/cart", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->cause.kind, CHANGE_NONE);
	struct change_event change = deployment(stand, "shop/cart"),
			    other = deployment(stand, "other");
	incidents_change(stand->incidents, 1, &other, stand->now_ns);
	assert_int_equal(wait_ns(stand, 20 * NS_PER_S), 0);
	incidents_change(stand->incidents, 2, &change, stand->now_ns);
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->sequence, 2);
	assert_string_equal(last(stand)->cause.workload, "shop/cart");
	change.time_ns += NS_PER_S;
	incidents_change(stand->incidents, 3, &change, stand->now_ns);
	assert_int_equal(wait_ns(stand, 60 * NS_PER_S), 0);
	stand_free(stand);
}

static void callers_of_one_failing_server_are_one_incident(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_new(stand, "web", "api", "failure_ratio");
	push_new(stand, "jobs", "api", "failure_ratio");
	push_new(stand, "cron", "api", "connect_latency");
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->episodes, 3);
	assert_string_equal(last(stand)->metric, "failure_ratio");
	assert_non_null(strstr(last(stand)->summary, "3 edges are affected"));
	/* A caller that notices later is no news. */
	push_new(stand, "late", "api", "failure_ratio");
	assert_int_equal(wait_ns(stand, 60 * NS_PER_S), 0);
	assert_int_equal(incidents_stats(stand->incidents).incidents, 1);
	assert_int_equal(incidents_stats(stand->incidents).episodes, 4);
	stand_free(stand);
}

static void a_chain_is_named_by_what_is_deepest(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_new(stand, "edge", "web", "failure_ratio");
	push_new(stand, "web", "api", "failure_ratio");
	struct alert cause = push_new(stand, "api", "db", "connect_latency");
	assert_int_equal(step(stand), 1);
	assert_string_equal(last(stand)->key, cause.key);
	assert_string_equal(last(stand)->subject.server, "db");
	assert_string_equal(last(stand)->members[0].subject.server, "db");
	stand_free(stand);
}

static void a_cause_that_shows_later_renames_the_incident_after_ten_seconds(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct alert effect = push_new(stand, "web", "api", "failure_ratio");
	assert_int_equal(step(stand), 1);
	push_new(stand, "api", "db", "failure_ratio");
	assert_int_equal(wait_ns(stand, 10 * NS_PER_S - PANE_NS), 0);
	assert_int_equal(step(stand), 1);
	assert_string_equal(last(stand)->key, effect.key);
	assert_int_equal(last(stand)->sequence, 2);
	assert_int_equal(last(stand)->started_ns, effect.started_ns);
	assert_string_equal(last(stand)->subject.server, "db");
	stand_free(stand);
}

/* One fault shows in many places more often than two begin within half a minute. */
static void what_begins_within_half_a_minute_is_one_and_what_begins_later_another(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_new(stand, "gateway", "api", "failure_ratio");
	push_new(stand, "jobs", "cart", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->episodes, 2);
	wait_ns(stand, 30 * NS_PER_S);
	push_new(stand, "mobile", "user", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->sequence, 1);
	assert_string_equal(last(stand)->subject.server, "user");
	stand_free(stand);
}

static void what_has_come_to_three_servers_draws_for_two_minutes(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_new(stand, "a", "api", "failure_ratio");
	push_new(stand, "b", "cart", "failure_ratio");
	push_new(stand, "c", "user", "failure_ratio");
	step(stand);
	wait_ns(stand, 100 * NS_PER_S);
	push_new(stand, "d", "mail", "failure_ratio");
	wait_ns(stand, 100 * NS_PER_S);
	push_new(stand, "e", "disk", "connect_latency");
	wait_ns(stand, 20 * NS_PER_S);
	assert_int_equal(incidents_stats(stand->incidents).incidents, 1);
	/* Not for ever: it began five minutes ago. */
	wait_ns(stand, 90 * NS_PER_S);
	push_new(stand, "f", "tape", "failure_ratio");
	step(stand);
	assert_int_equal(incidents_stats(stand->incidents).incidents, 2);
	stand_free(stand);
}

static struct alert of_monitor(struct alert alert, const char *monitor)
{
	snprintf(alert.monitor, sizeof(alert.monitor), "%s", monitor);
	alert_key(&alert);
	return alert;
}

static void monitors_of_other_names_are_told_apart(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push(stand, of_monitor(episode(stand, "a", "api", "failure_ratio"), "errors"));
	push(stand, of_monitor(episode(stand, "b", "cart", "failure_ratio"), "errors"));
	push(stand, of_monitor(episode(stand, "c", "shop", "bytes"), "nobody orders"));
	assert_int_equal(step(stand), 2);
	assert_int_equal(stand->told[0].episodes, 2);
	assert_string_equal(stand->told[1].monitor, "nobody orders");
	stand_free(stand);
}

static void a_client_that_fails_at_three_servers_at_once_is_one(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_new(stand, "gateway", "api", "failure_ratio");
	push_new(stand, "gateway", "cart", "failure_ratio");
	push_new(stand, "gateway", "user", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->episodes, 3);
	/* One more, long after them. */
	wait_ns(stand, 120 * NS_PER_S);
	push_new(stand, "gateway", "mail", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->sequence, 1);
	stand_free(stand);
}

static void a_node_or_zone_that_has_half_of_each_change_is_one(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push(stand, at_suspect(episode(stand, "a", "b", "failure_ratio"), SUSPECT_SERVER_NODE,
			       "node-7", 0.5));
	push(stand, at_suspect(episode(stand, "c", "d", "failure_ratio"), SUSPECT_CLIENT_NODE,
			       "node-7", 0.9));
	assert_int_equal(step(stand), 1);
	wait_ns(stand, 30 * NS_PER_S);
	push(stand, at_suspect(episode(stand, "e", "f", "failure_ratio"), SUSPECT_SERVER_NODE,
			       "node-7", 0.49));
	assert_int_equal(step(stand), 1);
	wait_ns(stand, 120 * NS_PER_S);
	push(stand, at_suspect(episode(stand, "g", "h", "failure_ratio"), SUSPECT_SERVER_ZONE,
			       "node-7", 0.9));
	assert_int_equal(step(stand), 1);
	assert_int_equal(incidents_stats(stand->incidents).incidents, 3);
	stand_free(stand);
}

static struct alert numbered(const struct stand *stand, uint32_t number)
{
	char client[32], server[32];
	snprintf(client, sizeof(client), "client-%u", number);
	snprintf(server, sizeof(server), "server-%u", number);
	return episode(stand, client, server, "failure_ratio");
}

static void a_thousand_that_begin_at_once_are_one_message(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	for (uint32_t i = 0; i < 600; i++)
		push(stand, numbered(stand, i));
	assert_int_equal(step(stand), 1);
	for (uint32_t i = 600; i < 1000; i++)
		push(stand, numbered(stand, i));
	assert_int_equal(step(stand), 0);
	assert_int_equal(wait_ns(stand, 30 * NS_PER_S), 0);
	assert_int_equal(incidents_stats(stand->incidents).incidents, 1);
	assert_int_equal(incidents_stats(stand->incidents).episodes, 1000);
	assert_int_equal(last(stand)->episodes, 600);
	assert_int_equal(last(stand)->members_count, ALERT_MEMBERS_MAX);
	stand_free(stand);
}

static void a_severer_member_is_told_at_once_and_the_highest_severity_stays(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct alert mild = push_new(stand, "web", "api", "failure_ratio");
	step(stand);
	wait_ns(stand, NS_PER_S);
	struct alert bad = severe(episode(stand, "jobs", "api", "failure_ratio"), ALERT_CRITICAL);
	push(stand, bad);
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->severity, ALERT_CRITICAL);
	push_end(stand, bad);
	wait_ns(stand, 20 * NS_PER_S);
	push_end(stand, mild);
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->state, ALERT_RESOLVED);
	assert_int_equal(last(stand)->severity, ALERT_CRITICAL);
	stand_free(stand);
}

static void what_began_long_ago_draws_nothing_along_a_chain(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_new(stand, "web", "api", "failure_ratio");
	step(stand);
	wait_ns(stand, 299 * NS_PER_S);
	push_new(stand, "api", "db", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->sequence, 2);
	wait_ns(stand, 300 * NS_PER_S);
	push_new(stand, "db", "disk", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->sequence, 1);
	/* Their servers still gather them. */
	push_new(stand, "jobs", "api", "failure_ratio");
	wait_ns(stand, 20 * NS_PER_S);
	assert_int_equal(incidents_stats(stand->incidents).incidents, 2);
	stand_free(stand);
}

/* More traffic than usual draws no failure; where something fails already, it is its effect. */
static void traffic_that_is_unusual_is_an_effect_and_no_cause(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_new(stand, "internet", "ingress", "bytes");
	assert_int_equal(wait_ns(stand, 13 * NS_PER_S), 1);
	push_new(stand, "ingress", "api", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_int_equal(incidents_stats(stand->incidents).incidents, 2);
	wait_ns(stand, 100 * NS_PER_S);
	push_new(stand, "ingress", "cart", "bytes");
	assert_int_equal(wait_ns(stand, 13 * NS_PER_S), 1);
	assert_int_equal(incidents_stats(stand->incidents).incidents, 2);
	assert_string_equal(last(stand)->subject.server, "api");
	assert_int_equal(last(stand)->episodes, 2);
	/* Of nobody who has a part in it. */
	push_new(stand, "jobs", "disk", "bytes");
	wait_ns(stand, 13 * NS_PER_S);
	assert_int_equal(incidents_stats(stand->incidents).incidents, 3);
	stand_free(stand);
}

static void what_fails_where_it_was_slow_is_told_at_once(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_new(stand, "web", "api", "connect_latency");
	assert_int_equal(wait_ns(stand, 13 * NS_PER_S), 1);
	push_new(stand, "web", "api", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_string_equal(last(stand)->metric, "failure_ratio");
	assert_int_equal(last(stand)->sequence, 2);
	stand_free(stand);
}

static struct alert budget(const struct stand *stand, const char *monitor, const char *window)
{
	char name[ALERT_MONITOR_MAX];
	struct alert alert = episode(stand, "", "api", "failure_ratio");
	snprintf(name, sizeof(name), "%s/%s", monitor, window);
	alert.window_ms = (strcmp(window, "1h") == 0 ? 1 : 6) * 3600 * 1000;
	return of_monitor(alert, name);
}

/* A budget that burns for hours hides no new fault, be it of an objective of people's own. */
static void a_budget_of_long_ago_draws_other_budgets_alone(void **state)
{
	(void)state;
	static const char *const monitors[] = {"burn-rate", "checkout"};
	for (int i = 0; i < 2; i++) {
		struct stand *stand = stand_new();
		push(stand, budget(stand, monitors[i], "1h"));
		assert_int_equal(step(stand), 1);
		wait_ns(stand, 299 * NS_PER_S);
		push_new(stand, "jobs", "api", "failure_ratio");
		step(stand);
		assert_int_equal(incidents_stats(stand->incidents).incidents, 1);
		struct stand *late = stand_new();
		push(late, budget(late, monitors[i], "1h"));
		step(late);
		wait_ns(late, 300 * NS_PER_S);
		push_new(late, "jobs", "api", "failure_ratio");
		assert_int_equal(step(late), 1);
		assert_int_equal(last(late)->sequence, 1);
		push(late, budget(late, monitors[i], "6h"));
		step(late);
		assert_int_equal(incidents_stats(late->incidents).incidents, 2);
		stand_free(stand);
		stand_free(late);
	}
}

static void one_edge_is_named_and_of_several_their_sum(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_new(stand, "", "api", "failure_ratio");
	step(stand);
	push_new(stand, "web", "api", "failure_ratio");
	wait_ns(stand, 11 * NS_PER_S);
	assert_string_equal(last(stand)->subject.client, "web");
	push_new(stand, "jobs", "api", "failure_ratio");
	push_new(stand, "cron", "api", "failure_ratio");
	wait_ns(stand, 11 * NS_PER_S);
	assert_string_equal(last(stand)->subject.client, "");
	assert_int_equal(last(stand)->episodes, 4);
	stand_free(stand);
}

static void connections_that_fail_go_before_lookups(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_new(stand, "web", "dns", "dns_failure_ratio");
	push_new(stand, "jobs", "api", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_string_equal(last(stand)->subject.server, "api");
	stand_free(stand);
}

static void what_is_merely_unusual_waits_until_it_is_known_where(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct alert located = push_new(stand, "web", "api", "bytes");
	struct alert brief = push_new(stand, "jobs", "db", "connect_latency");
	assert_int_equal(step(stand), 0);
	assert_int_equal(wait_ns(stand, 5 * NS_PER_S), 0);
	push_end(stand, brief); /* nobody hears of it */
	located.sequence++;
	located.suspects_count = 1;
	located.suspects[0] = (struct suspect){SUSPECT_SERVER_NODE, 0.9, 4, "n1"};
	push(stand, located);
	assert_int_equal(step(stand), 1);
	assert_string_equal(last(stand)->suspects[0].name, "n1");
	assert_int_equal(wait_ns(stand, 20 * NS_PER_S), 0);
	assert_int_equal(incidents_stats(stand->incidents).episodes, 1);
	stand_free(stand);
}

static void what_was_folded_belongs_to_nobody(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	static const char *const edges[][2] = {
		{"_other", "_other"}, {"_other", "api"}, {"_other", "cart"}, {"web", "_other"}};
	for (int i = 0; i < 4; i++) {
		push_new(stand, edges[i][0], edges[i][1], "failure_ratio");
		assert_int_equal(step(stand), 1);
		assert_int_equal(last(stand)->sequence, 1);
		wait_ns(stand, 30 * NS_PER_S);
	}
	stand_free(stand);
}

static void twice_as_many_episodes_are_news(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_new(stand, "a", "api", "failure_ratio");
	push_new(stand, "b", "api", "failure_ratio");
	step(stand);
	wait_ns(stand, 10 * NS_PER_S);
	push_new(stand, "c", "api", "failure_ratio");
	assert_int_equal(step(stand), 0);
	push_new(stand, "d", "api", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->episodes, 4);
	stand_free(stand);
}

static void a_first_suspect_is_news_and_none_any_more_is_not(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct alert alert = push_new(stand, "web", "api", "bytes");
	step(stand);
	wait_ns(stand, 10 * NS_PER_S);
	push(stand, at_suspect(alert, SUSPECT_SERVER_VERSION, "v4", 0.9));
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->suspects_count, 1);
	push(stand, alert);
	assert_int_equal(wait_ns(stand, 20 * NS_PER_S), 0);
	stand_free(stand);
}

static void an_episode_past_the_bound_is_counted_and_its_end_ignored(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct alert beyond;
	for (uint32_t i = 0; i < EPISODES_MAX; i++)
		push(stand, numbered(stand, i));
	beyond = numbered(stand, EPISODES_MAX);
	push(stand, beyond);
	step(stand);
	assert_int_equal(incidents_stats(stand->incidents).unlisted, 1);
	assert_int_equal(incidents_stats(stand->incidents).episodes, EPISODES_MAX);
	push_end(stand, beyond);
	push_end(stand, numbered(stand, 3));
	assert_int_equal(step(stand), 0);
	assert_int_equal(incidents_stats(stand->incidents).episodes, EPISODES_MAX);
	stand_free(stand);
}

static void what_was_firing_goes_on_under_its_key_when_its_owner_tells_of_it(void **state)
{
	(void)state;
	struct stand *former = stand_new(), *stand = stand_new();
	push_new(former, "web", "api", "failure_ratio");
	push_new(former, "jobs", "api", "failure_ratio");
	step(former);
	assert_true(incidents_resume(stand->incidents, last(former)));
	assert_false(incidents_resume(stand->incidents, last(former)));
	stand->now_ns = former->now_ns + 5 * NS_PER_S;
	/* One owner goes on, the other's monitor is gone. */
	struct alert held = alert_member(last(former), 0);
	push(stand, held);
	assert_int_equal(wait_ns(stand, 20 * NS_PER_S), 0);
	/* What is told of it before its owner measured is what was told. */
	push(stand, severe(held, ALERT_CRITICAL));
	assert_int_equal(step(stand), 1);
	assert_string_equal(last(stand)->summary, last(former)->summary);
	snprintf(held.summary, sizeof(held.summary), "measured");
	assert_int_equal(incidents_stats(stand->incidents).episodes, 1);
	push_end(stand, held);
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->state, ALERT_RESOLVED);
	assert_string_equal(last(stand)->key, last(former)->key);
	assert_int_equal(last(stand)->sequence, 3);
	assert_non_null(strstr(last(stand)->summary, ": measured"));
	stand_free(stand);
	stand_free(former);
}

static void what_no_owner_goes_on_with_is_resolved(void **state)
{
	(void)state;
	struct stand *former = stand_new(), *stand = stand_new();
	push_new(former, "web", "api", "failure_ratio");
	step(former);
	assert_true(incidents_resume(stand->incidents, last(former)));
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->state, ALERT_RESOLVED);
	stand_free(stand);
	stand_free(former);
}

/* --- property --- */

struct random {
	uint64_t state;
};

static uint32_t draw(struct random *random, uint32_t bound)
{
	random->state += 0x9e3779b97f4a7c15ULL;
	return (uint32_t)(hash_mix(random->state) >> 33) % bound;
}

/* What one key was told: firing first, numbers without gaps, behind its end only that it fires
 * again. */
static void expect_lives(const struct stand *stand)
{
	for (size_t i = 0; i < stand->told_count; i++) {
		const struct alert *alert = &stand->told[i];
		uint64_t before = 0;
		for (size_t k = 0; k < i; k++) {
			if (strcmp(stand->told[k].key, alert->key) != 0)
				continue;
			assert_true(stand->told[k].state == ALERT_FIRING ||
				    alert->reopened_ns > stand->told[k].pane_end_ns);
			assert_true(stand->told[k].severity <= alert->severity);
			before = stand->told[k].sequence;
		}
		assert_int_equal(alert->sequence, before + 1);
		assert_true(before || alert->state == ALERT_FIRING);
	}
}

static void random_lives(uint64_t seed, bool split, struct stand *stand)
{
	enum { OPEN_MAX = 64, STEPS = 400 };
	struct random random = {seed};
	struct alert open[OPEN_MAX], pane[2 * OPEN_MAX];
	uint32_t count = 0;
	for (int i = 0; i < STEPS; i++) {
		size_t told = 0;
		for (uint32_t more = draw(&random, 4); more && count < OPEN_MAX; more--) {
			static const char *const metrics[] = {"failure_ratio", "connect_latency",
							      "bytes"};
			char client[16], server[16];
			snprintf(client, sizeof(client), "w%u", draw(&random, 12));
			snprintf(server, sizeof(server), "w%u", draw(&random, 12));
			struct alert alert =
				severe(episode(stand, client, server, metrics[draw(&random, 3)]),
				       draw(&random, 4));
			bool known = false;
			for (uint32_t k = 0; k < count; k++)
				known |= strcmp(open[k].key, alert.key) == 0;
			if (!known)
				open[count++] = pane[told++] = alert;
		}
		for (uint32_t k = 0; k < count;) {
			if (i + 1 < STEPS && draw(&random, 12)) {
				k++;
				continue;
			}
			pane[told] = open[k];
			pane[told].state = ALERT_RESOLVED;
			pane[told].sequence = 2;
			pane[told++].ended_ns = stand->now_ns;
			open[k] = open[--count];
		}
		for (size_t k = 0; split && k < told; k++)
			incidents_push(stand->incidents, &pane[k], 1);
		if (!split)
			incidents_push(stand->incidents, pane, told);
		step(stand);
	}
	step(stand);
}

static void each_incident_is_opened_once_and_resolved_once(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct stand *whole = stand_new(), *split = stand_new();
		print_message("seed %u\n", (unsigned)seed);
		random_lives(seed, false, whole);
		random_lives(seed, true, split);
		assert_int_equal(whole->told_count, split->told_count);
		assert_memory_equal(whole->told, split->told,
				    whole->told_count * sizeof(*whole->told));
		expect_lives(whole);
		struct incident_stats stats = incidents_stats(whole->incidents);
		assert_int_equal(stats.incidents, 0);
		assert_int_equal(stats.episodes, 0);
		assert_int_equal(stats.opened + stats.reopened, stats.resolved);
		assert_int_equal(stats.opened + stats.reopened + stats.updated + stats.resolved,
				 whole->told_count);
		stand_free(whole);
		stand_free(split);
	}
}

static void what_begins_again_in_time_is_the_same_incident(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct alert first = push_new(stand, "web", "api", "failure_ratio");
	step(stand);
	push_end(stand, first);
	step(stand);
	wait_ns(stand, REOPEN_NS - 2 * PANE_NS);
	struct alert again = push_new(stand, "web", "api", "failure_ratio");
	assert_string_not_equal(again.key, first.key);
	assert_int_equal(step(stand), 1);
	assert_string_equal(last(stand)->key, first.key);
	assert_int_equal(last(stand)->sequence, 3);
	assert_int_equal(last(stand)->state, ALERT_FIRING);
	assert_int_equal(last(stand)->started_ns, first.started_ns);
	assert_int_equal(last(stand)->reopened_ns, again.started_ns);
	assert_int_equal(last(stand)->ended_ns, 0);
	push_end(stand, again);
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->state, ALERT_RESOLVED);
	assert_int_equal(last(stand)->sequence, 4);
	assert_int_equal(last(stand)->reopened_ns, again.started_ns);
	assert_int_equal(incidents_stats(stand->incidents).reopened, 1);
	assert_int_equal(incidents_stats(stand->incidents).opened, 1);
	stand_free(stand);
}

static void what_was_known_to_be_unusual_does_not_wait_again(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct alert first = push_new(stand, "web", "api", "bytes");
	assert_int_equal(wait_ns(stand, 13 * NS_PER_S), 1);
	push_end(stand, first);
	assert_int_equal(step(stand), 1);
	wait_ns(stand, 60 * NS_PER_S);
	push_new(stand, "web", "api", "bytes");
	assert_int_equal(step(stand), 1);
	assert_string_equal(last(stand)->key, first.key);
	assert_int_equal(last(stand)->state, ALERT_FIRING);
	stand_free(stand);
}

static void another_that_says_the_same_of_a_server_is_no_news(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct alert edge = push_new(stand, "web", "api", "failure_ratio");
	struct alert sum = episode(stand, "", "api", "failure_ratio");
	sum.diagnosis = (struct diagnosis){.kind = DIAGNOSIS_NO_LISTENER, .part = 90, .whole = 90};
	push(stand, sum);
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->episodes, 2);
	/* The sum's, of which there is more to see. */
	assert_int_equal(last(stand)->diagnosis.kind, DIAGNOSIS_NO_LISTENER);
	push_end(stand, edge);
	assert_int_equal(wait_ns(stand, 20 * NS_PER_S), 0);
	push_end(stand, sum);
	assert_int_equal(step(stand), 1);
	assert_int_equal(last(stand)->state, ALERT_RESOLVED);
	assert_int_equal(last(stand)->sequence, 2);
	stand_free(stand);
}

static void what_begins_again_later_is_another(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct alert first = push_new(stand, "web", "api", "failure_ratio");
	step(stand);
	push_end(stand, first);
	step(stand);
	wait_ns(stand, REOPEN_NS - PANE_NS);
	assert_int_equal(incidents_stats(stand->incidents).closed, 1);
	struct alert again = push_new(stand, "web", "api", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_string_equal(last(stand)->key, again.key);
	assert_int_equal(last(stand)->sequence, 1);
	assert_int_equal(last(stand)->reopened_ns, 0);
	assert_int_equal(incidents_stats(stand->incidents).closed, 0);
	stand_free(stand);
}

/* Not only the cause: what it named, and what ended with it. */
static void a_member_that_begins_again_opens_it_for_all_that_comes_along(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct alert cause = push_new(stand, "web", "api", "failure_ratio");
	struct alert other = push_new(stand, "mobile", "api", "failure_ratio");
	step(stand);
	push_end(stand, cause);
	push_end(stand, other);
	step(stand);
	push_new(stand, "mobile", "api", "failure_ratio");
	push_new(stand, "shop", "api", "failure_ratio");
	assert_int_equal(step(stand), 1);
	assert_string_equal(last(stand)->key, stand->told[0].key);
	assert_int_equal(last(stand)->episodes, 2);
	stand_free(stand);
}

/* Ten that nothing links were one, as they began at once: whoever of them comes back belongs to it,
 * in one pane or in several. */
static void all_that_begin_again_go_on_in_the_incident_that_they_were_of(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct alert alerts[10];
	for (int i = 0; i < 10; i++) {
		char client[32], server[32];
		snprintf(client, sizeof(client), "client-%d", i);
		snprintf(server, sizeof(server), "server-%d", i);
		alerts[i] = push_new(stand, client, server, "failure_ratio");
	}
	assert_int_equal(step(stand), 1);
	for (int i = 0; i < 10; i++)
		push_end(stand, alerts[i]);
	assert_int_equal(step(stand), 1);
	wait_ns(stand, 20 * NS_PER_S);
	for (int i = 0; i < 5; i++) {
		const struct alert_subject *subject = &alerts[i].subject;
		alerts[i] = push_new(stand, subject->client, subject->server, alerts[i].metric);
		if (i == 2)
			wait_ns(stand, 5 * NS_PER_S);
	}
	wait_ns(stand, 20 * NS_PER_S);
	for (size_t i = 0; i < stand->told_count; i++)
		assert_string_equal(stand->told[i].key, stand->told[0].key);
	assert_int_equal(incidents_stats(stand->incidents).incidents, 1);
	assert_int_equal(incidents_stats(stand->incidents).reopened, 1);
	assert_int_equal(incidents_stats(stand->incidents).closed, 0);
	for (int i = 0; i < 5; i++)
		push_end(stand, alerts[i]);
	step(stand);
	assert_int_equal(last(stand)->state, ALERT_RESOLVED);
	assert_int_equal(incidents_stats(stand->incidents).closed, 1);
	stand_free(stand);
}

static void what_belongs_to_an_open_incident_opens_no_other(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct alert first = push_new(stand, "web", "api", "failure_ratio");
	step(stand);
	push_end(stand, first);
	step(stand);
	wait_ns(stand, 10 * NS_PER_S);
	struct alert open = push_new(stand, "mobile", "api", "failure_ratio");
	step(stand);
	assert_string_equal(last(stand)->key, open.key);
	push_new(stand, "web", "api", "failure_ratio");
	wait_ns(stand, 11 * NS_PER_S);
	assert_string_equal(last(stand)->key, open.key);
	assert_int_equal(last(stand)->episodes, 2);
	assert_int_equal(incidents_stats(stand->incidents).reopened, 0);
	stand_free(stand);
}

static void of_more_that_ended_than_are_kept_the_oldest_is_forgotten(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	struct alert first = {0}, open = {0};
	for (int i = 0; i <= INCIDENTS_CLOSED_MAX; i++) {
		char name[32];
		snprintf(name, sizeof(name), "server-%d", i);
		if (i)
			push_end(stand, open);
		open = push_new(stand, "web", name, "failure_ratio");
		first = i ? first : open;
		step(stand);
		stand->told_count = 0;
	}
	push_end(stand, open);
	step(stand);
	step(stand);
	struct incident_stats stats = incidents_stats(stand->incidents);
	assert_int_equal(stats.closed, INCIDENTS_CLOSED_MAX);
	assert_int_equal(stats.forgotten, 1);
	push_new(stand, "web", first.subject.server, "failure_ratio");
	step(stand);
	assert_string_not_equal(last(stand)->key, first.key);
	stand_free(stand);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_episode_alone_is_told_in_its_pane_under_its_key),
		cmocka_unit_test(what_was_changed_before_it_is_named_with_the_incident),
		cmocka_unit_test(a_change_that_is_told_late_is_an_update_and_another_is_none),
		cmocka_unit_test(callers_of_one_failing_server_are_one_incident),
		cmocka_unit_test(a_chain_is_named_by_what_is_deepest),
		cmocka_unit_test(a_cause_that_shows_later_renames_the_incident_after_ten_seconds),
		cmocka_unit_test(
			what_begins_within_half_a_minute_is_one_and_what_begins_later_another),
		cmocka_unit_test(what_has_come_to_three_servers_draws_for_two_minutes),
		cmocka_unit_test(monitors_of_other_names_are_told_apart),
		cmocka_unit_test(a_client_that_fails_at_three_servers_at_once_is_one),
		cmocka_unit_test(a_node_or_zone_that_has_half_of_each_change_is_one),
		cmocka_unit_test(a_thousand_that_begin_at_once_are_one_message),
		cmocka_unit_test(a_severer_member_is_told_at_once_and_the_highest_severity_stays),
		cmocka_unit_test(what_began_long_ago_draws_nothing_along_a_chain),
		cmocka_unit_test(traffic_that_is_unusual_is_an_effect_and_no_cause),
		cmocka_unit_test(what_fails_where_it_was_slow_is_told_at_once),
		cmocka_unit_test(a_budget_of_long_ago_draws_other_budgets_alone),
		cmocka_unit_test(one_edge_is_named_and_of_several_their_sum),
		cmocka_unit_test(connections_that_fail_go_before_lookups),
		cmocka_unit_test(what_is_merely_unusual_waits_until_it_is_known_where),
		cmocka_unit_test(what_was_folded_belongs_to_nobody),
		cmocka_unit_test(twice_as_many_episodes_are_news),
		cmocka_unit_test(a_first_suspect_is_news_and_none_any_more_is_not),
		cmocka_unit_test(an_episode_past_the_bound_is_counted_and_its_end_ignored),
		cmocka_unit_test(what_was_firing_goes_on_under_its_key_when_its_owner_tells_of_it),
		cmocka_unit_test(what_no_owner_goes_on_with_is_resolved),
		cmocka_unit_test(what_begins_again_in_time_is_the_same_incident),
		cmocka_unit_test(what_was_known_to_be_unusual_does_not_wait_again),
		cmocka_unit_test(another_that_says_the_same_of_a_server_is_no_news),
		cmocka_unit_test(what_begins_again_later_is_another),
		cmocka_unit_test(a_member_that_begins_again_opens_it_for_all_that_comes_along),
		cmocka_unit_test(all_that_begin_again_go_on_in_the_incident_that_they_were_of),
		cmocka_unit_test(what_belongs_to_an_open_incident_opens_no_other),
		cmocka_unit_test(of_more_that_ended_than_are_kept_the_oldest_is_forgotten),
		cmocka_unit_test(each_incident_is_opened_once_and_resolved_once),
	};
	return cmocka_run_group_tests_name("anomaly/incident", tests, NULL, NULL);
}
