#include "anomaly/cause.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW (10000 * NS_PER_S)

static struct alert alert_on(const char *client, const char *server)
{
	struct alert alert = {.state = ALERT_FIRING, .started_ns = NOW};
	snprintf(alert.subject.client, sizeof(alert.subject.client), "%s", client);
	snprintf(alert.subject.server, sizeof(alert.subject.server), "%s", server);
	return alert;
}

static struct alert with_suspect(struct alert alert, uint32_t kind, const char *name)
{
	struct suspect *suspect = &alert.suspects[alert.suspects_count++];
	suspect->kind = kind;
	suspect->share = 0.9;
	snprintf(suspect->name, sizeof(suspect->name), "%s", name);
	return alert;
}

/* In the pane that ends now, of a time so many seconds before the alert. */
static void tell(struct causes *causes, uint64_t id, uint32_t kind, const char *workload,
		 const char *node, const char *after, double before_s)
{
	struct change_event change = {.kind = kind,
				      .time_ns = NOW - (uint64_t)(before_s * (double)NS_PER_S)};
	snprintf(change.workload, sizeof(change.workload), "%s", workload);
	snprintf(change.node, sizeof(change.node), "%s", node);
	snprintf(change.after, sizeof(change.after), "%s", after);
	causes_tell(causes, id, &change, NOW);
}

static void expect(struct causes *causes, struct alert alert, uint32_t kind, const char *after)
{
	struct change_event cause = {0};
	causes_advance(causes, NOW);
	assert_int_equal(causes_pick(causes, &alert, &cause), kind != CHANGE_NONE);
	assert_int_equal(cause.kind, kind);
	assert_string_equal(cause.after, after);
}

static void a_change_of_the_server_in_the_ten_minutes_before_is_it(void **state)
{
	(void)state;
	struct causes *causes = causes_new();
	expect(causes, alert_on("web", "cart"), CHANGE_NONE, "");
	tell(causes, 1, CHANGE_DEPLOYED, "other", "", "v9", 5);
	tell(causes, 2, CHANGE_DEPLOYED, "cart", "", "v0", 601);
	expect(causes, alert_on("web", "cart"), CHANGE_NONE, "");
	tell(causes, 3, CHANGE_DEPLOYED, "cart", "", "v3", 600);
	expect(causes, alert_on("web", "cart"), CHANGE_DEPLOYED, "v3");
	tell(causes, 4, CHANGE_DEPLOYED, "cart", "", "v4", 42);
	expect(causes, alert_on("web", "cart"), CHANGE_DEPLOYED, "v4");
	causes_free(causes);
}

static void what_came_after_the_incident_is_none(void **state)
{
	(void)state;
	struct causes *causes = causes_new();
	tell(causes, 1, CHANGE_DEPLOYED, "cart", "", "v4", -1);
	expect(causes, alert_on("web", "cart"), CHANGE_NONE, "");
	tell(causes, 2, CHANGE_SCALED, "cart", "", "5", 0);
	expect(causes, alert_on("web", "cart"), CHANGE_SCALED, "5");
	causes_free(causes);
}

static void what_the_suspects_name_comes_first_then_server_then_client(void **state)
{
	(void)state;
	struct causes *causes = causes_new();
	struct alert alert = alert_on("web", "cart");
	tell(causes, 1, CHANGE_EDGE_APPEARED, "web", "", "c", 1);
	expect(causes, alert, CHANGE_EDGE_APPEARED, "c");
	tell(causes, 2, CHANGE_RESTARTED, "cart", "n1", "s", 300);
	expect(causes, alert, CHANGE_RESTARTED, "s");
	tell(causes, 3, CHANGE_NODE_READY, "", "n7", "False", 400);
	expect(causes, alert, CHANGE_RESTARTED, "s");
	expect(causes, with_suspect(alert, SUSPECT_SERVER_NODE, "n7"), CHANGE_NODE_READY, "False");
	tell(causes, 4, CHANGE_DEPLOYED, "web", "", "v2", 200);
	expect(causes, with_suspect(alert, SUSPECT_CLIENT_VERSION, "v2"), CHANGE_DEPLOYED, "v2");
	expect(causes, with_suspect(alert, SUSPECT_SERVER_VERSION, "v2"), CHANGE_RESTARTED, "s");
	causes_free(causes);
}

static void a_deployment_is_likelier_than_the_restarts_that_come_of_it(void **state)
{
	(void)state;
	struct causes *causes = causes_new();
	tell(causes, 1, CHANGE_RESTARTED, "cart", "n1", "2", 1);
	tell(causes, 2, CHANGE_OOM_KILLED, "cart", "n1", "", 2);
	tell(causes, 3, CHANGE_SCALED, "cart", "", "5", 30);
	tell(causes, 4, CHANGE_DEPLOYED, "cart", "", "v4", 60);
	tell(causes, 5, CHANGE_EDGE_VANISHED, "cart", "", "", 1);
	expect(causes, alert_on("web", "cart"), CHANGE_DEPLOYED, "v4");
	causes_free(causes);
}

static void the_many_are_nobodys_workload(void **state)
{
	(void)state;
	struct causes *causes = causes_new();
	tell(causes, 1, CHANGE_DEPLOYED, "_other", "", "v4", 5);
	tell(causes, 2, CHANGE_NODE_ADDED, "", "", "", 5);
	expect(causes, alert_on("_other", "_other"), CHANGE_NONE, "");
	expect(causes, alert_on("", ""), CHANGE_NONE, "");
	causes_free(causes);
}

static void it_acts_from_its_pane_on_and_once(void **state)
{
	(void)state;
	struct causes *causes = causes_new();
	const struct alert alert = alert_on("web", "cart");
	struct change_event cause;
	tell(causes, 1, CHANGE_DEPLOYED, "cart", "", "v4", 5);
	assert_false(causes_advance(causes, NOW - 1));
	assert_false(causes_pick(causes, &alert, &cause));
	assert_true(causes_advance(causes, NOW));
	assert_true(causes_pick(causes, &alert, &cause));
	tell(causes, 1, CHANGE_DEPLOYED, "cart", "", "v4", 5);
	assert_false(causes_advance(causes, NOW));
	causes_free(causes);
}

static void of_more_than_there_is_room_for_the_oldest_told_leave(void **state)
{
	(void)state;
	struct causes *causes = causes_new();
	tell(causes, 1, CHANGE_DEPLOYED, "first", "", "v1", 5);
	for (uint64_t id = 2; id <= CAUSES_MAX; id++)
		tell(causes, id, CHANGE_DEPLOYED, "more", "", "v2", 5);
	expect(causes, alert_on("", "first"), CHANGE_DEPLOYED, "v1");
	tell(causes, CAUSES_MAX + 1, CHANGE_DEPLOYED, "more", "", "v2", 5);
	expect(causes, alert_on("", "first"), CHANGE_NONE, "");
	expect(causes, alert_on("", "more"), CHANGE_DEPLOYED, "v2");
	causes_free(causes);
}

static void how_long_before_is_said(void **state)
{
	(void)state;
	struct change_event cause = {.kind = CHANGE_DEPLOYED, .time_ns = NOW - 42 * NS_PER_S};
	char text[128];
	snprintf(cause.workload, sizeof(cause.workload), "shop/cart");
	snprintf(cause.before, sizeof(cause.before), "v3");
	snprintf(cause.after, sizeof(cause.after), "v4");
	cause_text(&cause, NOW, text, sizeof(text));
	assert_string_equal(text, "deployment shop/cart v3 → v4, 42 s before");
	cause.time_ns = NOW - 185 * NS_PER_S;
	cause_text(&cause, NOW, text, sizeof(text));
	assert_string_equal(text, "deployment shop/cart v3 → v4, 3 min before");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_change_of_the_server_in_the_ten_minutes_before_is_it),
		cmocka_unit_test(what_came_after_the_incident_is_none),
		cmocka_unit_test(what_the_suspects_name_comes_first_then_server_then_client),
		cmocka_unit_test(a_deployment_is_likelier_than_the_restarts_that_come_of_it),
		cmocka_unit_test(the_many_are_nobodys_workload),
		cmocka_unit_test(it_acts_from_its_pane_on_and_once),
		cmocka_unit_test(of_more_than_there_is_room_for_the_oldest_told_leave),
		cmocka_unit_test(how_long_before_is_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
