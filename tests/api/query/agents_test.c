#include "api/query/agents.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/query/answer.h"
#include "base/clock.h"

static const uint64_t start_ns = 1700000000 * NS_PER_S;

static struct query *query;
static struct refusal refusal;
static const char *wanted; /* the record that agents should apply */

static const char *on_control(void *context, const Millrace__V1__Agent *agent)
{
	(void)context;
	(void)agent;
	return wanted;
}

static int start(void **state)
{
	(void)state;
	wanted = NULL;
	query = query_new(&(struct query_options){
		.tasks = 2, .episodes_max = 1, .read_rows_max = 1, .control = on_control});
	return 0;
}

static int stop(void **state)
{
	(void)state;
	query_free(query);
	return 0;
}

/* ---- what tasks tell ---- */

static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

/* Up to date, with what is told of it packed. */
static struct agent_view view_of(Millrace__V1__Agent agent, uint64_t now_ns)
{
	static uint8_t bytes[AGENTS_GONE_MAX + 16][256]; /* of the newest views */
	static size_t next;
	uint8_t *to = bytes[next++ % (AGENTS_GONE_MAX + 16)];
	Millrace__V1__AgentResponse about = MILLRACE__V1__AGENT_RESPONSE__INIT;
	about.agent = &agent;
	return (struct agent_view){
		.node = agent.node,
		.about = to,
		.about_length = millrace__v1__agent_response__pack(&about, to),
		.last_seen_ns = now_ns,
		.told_ns = now_ns,
	};
}

static Millrace__V1__Agent agent_of(const char *node)
{
	Millrace__V1__Agent agent = MILLRACE__V1__AGENT__INIT;
	agent.node = text(node);
	agent.zone = text("zone-a");
	agent.programs = agent.programs_wanted = 14;
	return agent;
}

static void tell(uint32_t task, uint64_t clock_ns, const struct agent_view *views, size_t count)
{
	query_agents(query, task, clock_ns, views, count);
}

/* ---- what is asked ---- */

static const Millrace__V1__AgentsResponse *ask(Millrace__V1__AgentsRequest request)
{
	arena_clear(&query->arena);
	memset(&refusal, 0, sizeof(refusal));
	request.limit = request.limit ? request.limit : 1000;
	return (const Millrace__V1__AgentsResponse *)answer_agents(query, &request.base, &refusal);
}

static const Millrace__V1__Agent *only(void)
{
	Millrace__V1__AgentsRequest all = MILLRACE__V1__AGENTS_REQUEST__INIT;
	const Millrace__V1__AgentsResponse *answered = ask(all);
	assert_int_equal(answered->n_agents, 1);
	return answered->agents[0];
}

static const char *names_of(const Millrace__V1__AgentsResponse *answered)
{
	static char names[256];
	names[0] = 0;
	for (size_t i = 0; i < answered->n_agents; i++)
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i ? " " : "",
			 answered->agents[i]->node);
	return names;
}

static const char *all_names(void)
{
	Millrace__V1__AgentsRequest all = MILLRACE__V1__AGENTS_REQUEST__INIT;
	return names_of(ask(all));
}

/* ---- tests ---- */

static void what_an_agent_is_stays_until_it_is_told_anew(void **state)
{
	(void)state;
	Millrace__V1__Agent told = agent_of("a");
	told.kernel = text("6.1.0");
	struct agent_view view = view_of(told, start_ns);
	view.ledger.received = 7;
	tell(0, start_ns, &view, 1);
	view.about = NULL;
	view.ledger.received = 8;
	view.sockets = 3;
	tell(0, start_ns, &view, 1);
	assert_string_equal(only()->kernel, "6.1.0");
	assert_int_equal(only()->events, 8);
	assert_int_equal(only()->sockets, 3);
	told.kernel = text("6.2.0");
	view = view_of(told, start_ns);
	tell(0, start_ns, &view, 1);
	assert_string_equal(only()->kernel, "6.2.0");
}

static void agents_of_all_tasks_stand_by_name(void **state)
{
	(void)state;
	struct agent_view first[] = {view_of(agent_of("a"), start_ns),
				     view_of(agent_of("c"), start_ns)};
	struct agent_view second[] = {view_of(agent_of("b"), start_ns),
				      view_of(agent_of("d"), start_ns)};
	tell(0, start_ns, first, 2);
	tell(1, start_ns, second, 2);
	assert_string_equal(all_names(), "a b c d");
}

static void the_state_follows_from_what_was_told_and_the_log_clock(void **state)
{
	(void)state;
	Millrace__V1__Agent told = agent_of("a");
	struct agent_view view = view_of(told, start_ns);
	tell(0, start_ns + 2999 * NS_PER_MS, &view, 1);
	assert_string_equal(only()->state, "live");
	assert_string_equal(only()->reason, "");
	assert_true(only()->lag_s > 2.998 && only()->lag_s < 3);
	tell(0, start_ns + 3 * NS_PER_S, &view, 1);
	assert_string_equal(only()->state, "silent");
	assert_string_equal(only()->reason, "nothing came for 3 s");
	view.last_seen_ns = start_ns + 40 * NS_PER_S; /* but of long ago */
	tell(0, start_ns + 41 * NS_PER_S, &view, 1);
	assert_string_equal(only()->state, "behind");
	assert_string_equal(only()->reason, "what comes is 41 s old");
	told.level = 2;
	told.degraded = text("DNS lookups are left out");
	view = view_of(told, start_ns);
	tell(0, start_ns, &view, 1);
	assert_string_equal(only()->state, "degraded");
	assert_string_equal(only()->reason, "DNS lookups are left out");
	told.level = 0;
	told.programs = 13;
	view = view_of(told, start_ns);
	tell(0, start_ns, &view, 1);
	assert_string_equal(only()->reason, "13 of its 14 BPF programs are attached");
	view = view_of(agent_of("a"), start_ns);
	view.self_test_failed_ns = start_ns - 59 * NS_PER_S;
	tell(0, start_ns, &view, 1);
	assert_string_equal(only()->state, "degraded");
	assert_true(only()->self_test_failing);
	view.self_test_failed_ns = start_ns - 60 * NS_PER_S;
	tell(0, start_ns, &view, 1);
	assert_string_equal(only()->state, "live");
	assert_false(only()->self_test_failing);
}

static void who_went_is_listed_for_an_hour_of_the_log(void **state)
{
	(void)state;
	struct agent_view both[] = {view_of(agent_of("a"), start_ns),
				    view_of(agent_of("b"), start_ns)};
	tell(0, start_ns, both, 2);
	both[1].about = NULL;
	tell(0, start_ns + 3600 * NS_PER_S, &both[1], 1);
	assert_string_equal(all_names(), "a b");
	tell(0, start_ns + 3600 * NS_PER_S + 1, &both[1], 1);
	assert_string_equal(all_names(), "b");
}

static void who_comes_back_is_one_agent(void **state)
{
	(void)state;
	struct agent_view view = view_of(agent_of("a"), start_ns);
	tell(0, start_ns, &view, 1);
	tell(0, start_ns + 600 * NS_PER_S, NULL, 0);
	assert_string_equal(only()->state, "silent");
	assert_string_equal(only()->reason, "nothing came for 10 min");
	view = view_of(agent_of("a"), start_ns + 700 * NS_PER_S);
	tell(0, start_ns + 700 * NS_PER_S, &view, 1);
	assert_string_equal(only()->state, "live");
	tell(0, start_ns + 700 * NS_PER_S, NULL, 0);
	tell(0, start_ns + 4000 * NS_PER_S, NULL, 0);
	assert_string_equal(all_names(), "a"); /* counted from when it was heard last */
}

static void past_the_bound_who_is_gone_longest_leaves(void **state)
{
	(void)state;
	size_t count = AGENTS_GONE_MAX + 2;
	struct agent_view *views = calloc(count, sizeof(*views));
	char(*names)[8] = calloc(count, sizeof(*names));
	for (size_t i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "n%05zu", i);
		views[i] = view_of(agent_of(names[i]), start_ns + i);
	}
	tell(0, start_ns, views, count);
	assert_int_equal(query_agents_stats(query).evicted, 0);
	tell(0, start_ns + NS_PER_S, NULL, 0);
	struct agents_stats stats = query_agents_stats(query);
	assert_int_equal(stats.evicted, 2);
	assert_int_equal(stats.states[AGENT_LIVE], AGENTS_GONE_MAX);
	Millrace__V1__AgentsRequest first = MILLRACE__V1__AGENTS_REQUEST__INIT;
	first.limit = 1;
	assert_string_equal(names_of(ask(first)), "n00002");
	free(names);
	free(views);
}

static void a_record_is_pending_until_the_agent_says_that_it_applies_it(void **state)
{
	(void)state;
	Millrace__V1__Agent told = agent_of("a");
	struct agent_view view = view_of(told, start_ns);
	tell(0, start_ns, &view, 1);
	assert_false(only()->control_pending); /* the topic is not read yet */
	assert_string_equal(only()->control_wanted, "");
	wanted = "";
	assert_false(only()->control_pending);
	wanted = "c-1";
	assert_true(only()->control_pending);
	assert_string_equal(only()->control_wanted, "c-1");
	assert_int_equal(query_agents_stats(query).control_pending, 1);
	told.control_id = text("c-1");
	view = view_of(told, start_ns);
	tell(0, start_ns, &view, 1);
	assert_false(only()->control_pending);
	wanted = ""; /* withdrawn, but it goes on */
	assert_true(only()->control_pending);
	wanted = "c-2";
	told.control_error = text("malformed");
	view = view_of(told, start_ns);
	tell(0, start_ns, &view, 1);
	assert_false(only()->control_pending);
	assert_int_equal(query_agents_stats(query).control_refused, 1);
	told.control_error = text("");
	view = view_of(told, start_ns);
	tell(0, start_ns + 10 * NS_PER_S, &view, 1);
	assert_false(only()->control_pending); /* who is silent cannot answer */
}

static void agents_are_counted_by_state(void **state)
{
	(void)state;
	Millrace__V1__Agent degraded = agent_of("b");
	degraded.level = 1;
	struct agent_view views[] = {
		view_of(agent_of("a"), start_ns),
		view_of(degraded, start_ns),
		view_of(agent_of("c"), start_ns),
		view_of(agent_of("d"), start_ns - 10 * NS_PER_S),
	};
	views[2].told_ns = start_ns - 10 * NS_PER_S;
	views[0].self_test_failed_ns = start_ns - NS_PER_S;
	tell(0, start_ns, views, 4);
	struct agents_stats stats = query_agents_stats(query);
	assert_int_equal(stats.states[AGENT_LIVE], 0);
	assert_int_equal(stats.states[AGENT_DEGRADED], 2);
	assert_int_equal(stats.states[AGENT_BEHIND], 1);
	assert_int_equal(stats.states[AGENT_SILENT], 1);
	assert_int_equal(stats.self_test_failing, 1);
}

static void a_list_is_filtered_and_paged(void **state)
{
	(void)state;
	Millrace__V1__Agent other = agent_of("web-2");
	other.zone = text("zone-b");
	other.region = text("eu-1");
	other.role = text("worker");
	struct agent_view views[] = {
		view_of(agent_of("db-1"), start_ns - 10 * NS_PER_S),
		view_of(agent_of("web-1"), start_ns),
		view_of(other, start_ns),
	};
	tell(0, start_ns, views, 3);
	const struct {
		const char *node, *zone, *region, *role, *state, *after;
		uint32_t limit;
		const char *found;
		uint32_t left_out;
	} cases[] = {
		{"", "", "", "", "", "", 0, "db-1 web-1 web-2", 0},
		{"web-*", "", "", "", "", "", 0, "web-1 web-2", 0},
		{"web-?", "zone-a", "", "", "", "", 0, "web-1", 0},
		{"web", "", "", "", "", "", 0, "", 0},
		{"", "zone-b", "", "", "", "", 0, "web-2", 0},
		{"", "", "eu-1", "", "", "", 0, "web-2", 0},
		{"", "", "", "worker", "", "", 0, "web-2", 0},
		{"", "", "", "", "silent", "", 0, "db-1", 0},
		{"", "", "", "", "live", "", 1, "web-1", 1},
		{"", "", "", "", "", "db-1", 1, "web-1", 1},
		{"", "", "", "", "", "web-2", 0, "", 0},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		Millrace__V1__AgentsRequest request = MILLRACE__V1__AGENTS_REQUEST__INIT;
		request.node = text(cases[i].node);
		request.zone = text(cases[i].zone);
		request.region = text(cases[i].region);
		request.role = text(cases[i].role);
		request.state = text(cases[i].state);
		request.after = text(cases[i].after);
		request.limit = cases[i].limit;
		const Millrace__V1__AgentsResponse *answered = ask(request);
		assert_string_equal(names_of(answered), cases[i].found);
		assert_int_equal(answered->agents_left_out, cases[i].left_out);
	}
}

static void one_agent_is_the_one_that_was_heard_last(void **state)
{
	(void)state;
	Millrace__V1__AgentRequest request = MILLRACE__V1__AGENT_REQUEST__INIT;
	struct agent_view views[] = {view_of(agent_of("a"), start_ns),
				     view_of(agent_of("a"), start_ns + 1)};
	views[0].ledger.received = 1;
	views[1].ledger.received = 2;
	tell(0, start_ns, &views[1], 1);
	tell(1, start_ns, &views[0], 1);
	request.node = text("a");
	const Millrace__V1__AgentResponse *answered =
		(const Millrace__V1__AgentResponse *)answer_agent(query, &request.base, &refusal);
	assert_int_equal(answered->agent->events, 2);
	request.node = text("b");
	assert_null(answer_agent(query, &request.base, &refusal));
	assert_int_equal(refusal.kind, REFUSED_UNKNOWN);
	assert_non_null(strstr(refusal.detail, "\"b\""));
}

static void what_was_pending_of_who_went_is_not_less_than_nothing_of_the_others(void **state)
{
	(void)state;
	Millrace__V1__AgentsRequest request = MILLRACE__V1__AGENTS_REQUEST__INIT;
	request.view = text("loss");
	struct agent_view view = view_of(agent_of("a"), start_ns);
	view.ledger = (struct ledger){.issued = 9, .received = 9, .pending = 4, .aggregated = 5};
	tell(0, start_ns, &view, 1);
	tell(0, start_ns, NULL, 0);
	query_ledger(query, 0, &(struct ledger){.issued = 12, .received = 12, .aggregated = 12});
	const Millrace__V1__Ledger *others = ask(request)->others;
	assert_int_equal(others->pending, 0);
	assert_int_equal(others->aggregated, 3);
	assert_int_equal(others->received, 3);
	assert_int_equal(others->unexplained, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_an_agent_is_stays_until_it_is_told_anew),
		TEST(agents_of_all_tasks_stand_by_name),
		TEST(the_state_follows_from_what_was_told_and_the_log_clock),
		TEST(who_went_is_listed_for_an_hour_of_the_log),
		TEST(who_comes_back_is_one_agent),
		TEST(past_the_bound_who_is_gone_longest_leaves),
		TEST(a_record_is_pending_until_the_agent_says_that_it_applies_it),
		TEST(agents_are_counted_by_state),
		TEST(a_list_is_filtered_and_paged),
		TEST(one_agent_is_the_one_that_was_heard_last),
		TEST(what_was_pending_of_who_went_is_not_less_than_nothing_of_the_others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
