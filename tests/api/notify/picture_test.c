/* The messages of one incident, as they were when their pictures in docs/notifications were drawn:
 * tests/checks/pictures.py draws them from tests/data/notify. MILLRACE_WRITE=1 keeps them as they
 * are now. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/summary.h"
#include "api/notify/body.h"
#include "api/notify/notify.h"
#include "base/clock.h"

enum { MESSAGE_BYTES = 16384 };

static const uint64_t began_ns = 1767323045750000000; /* 2026-01-02T03:04:05.750Z */
static const char external_url[] = "https://millrace.example.com";

struct window {
	uint64_t after_s; /* since it began */
	uint64_t opened, failed;
};

/* The episode that names the incident, and what its window says; the incident tells the rest. */
static struct alert told(const struct window *window)
{
	const struct window_sums sums = {.opened = window->opened, .failed = window->failed};
	struct alert alert = {.severity = ALERT_CRITICAL,
			      .monitor = "cart refuses",
			      .subject = {"shop/web", "shop/cart", 7070, 6},
			      .metric = "failure_ratio",
			      .unit = "ratio",
			      .threshold = 0.05,
			      .window_ms = 1000,
			      .started_ns = began_ns,
			      .pane_end_ns = began_ns + window->after_s * NS_PER_S,
			      .completeness = 1,
			      .episodes = 1};

	alert.value = (double)sums.failed / (double)(sums.opened + sums.failed);
	alert_key(&alert);
	summary_write(&alert, METRIC_FAILURE_RATIO, COMPARE_ABOVE, &sums);
	return alert;
}

static struct alert firing(void)
{
	struct alert alert = told(&(struct window){0, 71, 38});

	alert.sequence = 1;
	alert.diagnosis = (struct diagnosis){DIAGNOSIS_NO_LISTENER, false, 38, 109, 0};
	summary_tell(&alert, 1);
	return alert;
}

static void add_member(struct alert *alert, const struct alert_subject *subject,
		       const char *monitor, const char *metric, uint32_t severity)
{
	struct alert_member *member = &alert->members[alert->members_count++];

	member->subject = *subject;
	snprintf(member->monitor, sizeof(member->monitor), "%s", monitor);
	snprintf(member->metric, sizeof(member->metric), "%s", metric);
	member->severity = severity;
	member->started_ns = began_ns;
}

static struct alert update(void)
{
	const struct alert_subject edges[] = {{"shop/web", "shop/cart", 7070, 6},
					      {"shop/checkout", "shop/cart", 7070, 6},
					      {"ingress/nginx", "shop/web", 8080, 6}};
	struct alert alert = told(&(struct window){12, 69, 41});

	alert.sequence = 2;
	alert.suspects_count = 2;
	alert.suspects[0] = (struct suspect){SUSPECT_SERVER_VERSION, 1, 3, "v4"};
	alert.suspects[1] = (struct suspect){SUSPECT_SERVER_NODE, 0.64, 1.9, "ip-10-1-22-187"};
	alert.diagnosis = (struct diagnosis){DIAGNOSIS_NO_LISTENER, false, 41, 110, 0};
	alert.cause = (struct change_event){.time_ns = began_ns - 42 * NS_PER_S,
					    .kind = CHANGE_DEPLOYED,
					    .workload = "shop/cart",
					    .before = "v3",
					    .after = "v4"};
	add_member(&alert, &edges[0], "cart refuses", "failure_ratio", ALERT_CRITICAL);
	add_member(&alert, &edges[1], "cart refuses", "failure_ratio", ALERT_CRITICAL);
	add_member(&alert, &edges[2], "baseline/connect_latency", "connect_latency", ALERT_WARNING);
	alert.episodes = alert.members_count;
	summary_tell(&alert, 3);
	return alert;
}

static struct alert resolved(void)
{
	struct alert alert = told(&(struct window){134, 117, 0});

	alert.state = ALERT_RESOLVED;
	alert.sequence = 3;
	alert.ended_ns = alert.pane_end_ns;
	alert.episodes = 0;
	summary_tell(&alert, 0);
	return alert;
}

static void as_drawn(const char *name, const struct json *json)
{
	size_t length;
	const char *text = json_text(json, &length);
	char path[128], kept[MESSAGE_BYTES];

	assert_true(length < sizeof(kept) - 1);
	snprintf(path, sizeof(path), "tests/data/notify/%s.json", name);
	FILE *file = fopen(path, getenv("MILLRACE_WRITE") ? "w" : "r");
	assert_non_null(file);
	if (getenv("MILLRACE_WRITE")) {
		assert_true(fprintf(file, "%.*s\n", (int)length, text) > 0);
	} else {
		size_t kept_length = fread(kept, 1, sizeof(kept) - 1, file);

		assert_int_equal(kept_length, length + 1); /* a line */
		assert_memory_equal(kept, text, length);
	}
	assert_int_equal(fclose(file), 0);
}

static void slack_as_drawn(const char *name, const struct alert *alert)
{
	const struct receiver receiver = {.kind = RECEIVER_SLACK};
	const struct notice notice = {.alert = alert,
				      .receiver = &receiver,
				      .external_url = external_url,
				      .first = alert->sequence == 1};
	struct json json;

	json_init(&json);
	body_slack(&json, &notice);
	as_drawn(name, &json);
	json_done(&json);
}

static void slack_gets_what_its_pictures_show(void **state)
{
	struct alert alerts[] = {firing(), update(), resolved()};

	(void)state;
	slack_as_drawn("slack-firing", &alerts[0]);
	slack_as_drawn("slack-update", &alerts[1]);
	slack_as_drawn("slack-resolved", &alerts[2]);
}

static void pagerduty_gets_what_its_picture_shows(void **state)
{
	struct alert alert = update();
	const struct receiver receiver = {.kind = RECEIVER_PAGERDUTY,
					  .routing_key = "0123456789abcdef0123456789abcdef"};
	const struct notice notice = {
		.alert = &alert, .receiver = &receiver, .external_url = external_url};
	struct json json;

	(void)state;
	json_init(&json);
	body_pagerduty(&json, &notice);
	as_drawn("pagerduty", &json);
	json_done(&json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slack_gets_what_its_pictures_show),
		cmocka_unit_test(pagerduty_gets_what_its_picture_shows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
