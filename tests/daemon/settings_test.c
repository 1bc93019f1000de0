/* The table's defaults are sound, and what is wrong is told in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/settings.h"

static struct config_error problem;

static int load(const char *value, struct settings *settings, char *error, size_t size)
{
	const struct config_setting setting = {.value = value, .origin = "--set"};
	const struct config_sources sources = {.settings = &setting,
					       .settings_count = value ? 1 : 0};
	int rc = config_load(&settings_table, &sources, settings, &problem);

	return rc ? rc : settings_check(settings, error, size);
}

static void the_defaults_are_sound(void **state)
{
	struct settings settings;
	struct monitor *monitors;
	char error[512];
	size_t count;

	(void)state;
	assert_int_equal(0, load(NULL, &settings, error, sizeof(error)));
	assert_string_equal("127.0.0.1:7470", settings.listen);
	assert_string_equal("127.0.0.1:7472", settings.embedded_listen);
	assert_int_equal(16, settings.tasks);
	monitors = settings_monitors(&settings, &count);
	assert_int_equal(settings.monitors.count, count);
	free(monitors);
	config_free(&settings_table, &settings);
}

static void problems_name_their_entry(void **state)
{
	static const struct {
		const char *value, *words;
	} wrong[] = {
		{"listen=nowhere", "listen"},  {"embedded.listen=1.2.3.4", "embedded.listen"},
		{"tls.certificate=/x", "tls"}, {"pipeline.tasks=0", "pipeline.tasks"},
		{"no.such=1", "no.such"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct settings settings;
		char error[512] = "";

		problem.text[0] = '\0';
		assert_int_not_equal(0, load(wrong[i].value, &settings, error, sizeof(error)));
		if (!strstr(error, wrong[i].words) && !strstr(problem.text, wrong[i].words))
			fail_msg("%s: \"%s\" \"%s\"", wrong[i].value, error, problem.text);
		config_free(&settings_table, &settings);
	}
}

static const char bounded[][2][2][64] = {
	/* the least and the most that are taken, and what is just beyond */
	{{"notify.retry_min=10ms", "notify.retry_min=9ms"},
	 {"notify.retry_min=1m", "notify.retry_min=61s"}},
	{{"notify.retry_max=1s", "notify.retry_max=999ms"}, /* not below retry_min */
	 {"notify.retry_max=1h", "notify.retry_max=61m"}},
	{{"notify.breaker_failures=1", "notify.breaker_failures=0"},
	 {"notify.breaker_failures=1000", "notify.breaker_failures=1001"}},
	{{"notify.timeout=100ms", "notify.timeout=99ms"},
	 {"notify.timeout=30s", "notify.timeout=31s"}},
	{{"notify.life=1m", "notify.life=59s"}, {"notify.life=7d", "notify.life=8d"}},
	{{"notify.pending=1", "notify.pending=0"},
	 {"notify.pending=1000000", "notify.pending=1000001"}},
	{{"notify.journal_size=64KiB", "notify.journal_size=63KiB"},
	 {"notify.journal_size=64MiB", "notify.journal_size=65MiB"}},
	{{"notify.blind_after=1s", "notify.blind_after=999ms"},
	 {"notify.blind_after=1h", "notify.blind_after=61m"}},
	{{"notify.lag_max=1s", "notify.lag_max=999ms"},
	 {"notify.lag_max=1d", "notify.lag_max=25h"}},
	{{"notify.failing_after=1s", "notify.failing_after=999ms"},
	 {"notify.failing_after=1d", "notify.failing_after=25h"}},
	{{"notify.heartbeat_period=1s", "notify.heartbeat_period=999ms"},
	 {"notify.heartbeat_period=1h", "notify.heartbeat_period=61m"}},
	/* What the code has room for: ingest/mirror.c, ingest/page.h, aggregate/lanes.c. */
	{{"limits.nodes=1", "limits.nodes=0"}, {"limits.nodes=65536", "limits.nodes=65537"}},
	{{"limits.instances=64", "limits.instances=63"},
	 {"limits.instances=16000000", "limits.instances=16777216"}},
	{{"limits.lanes=16", "limits.lanes=15"},
	 {"limits.lanes=16000000", "limits.lanes=16777215"}},
	{{"rollups.finest=250ms", "rollups.finest=500ms"},
	 {"rollups.finest=60s", "rollups.finest=30s"}},
	{{"notify.heartbeat_url=https://x.example/", "notify.heartbeat_url=http://x.example/"},
	 {"notify.heartbeat_url=https://x.example/?a=b", "notify.heartbeat_url=x.example"}},
	{{"external_url=https://m.example/a/", "external_url=m.example"},
	 {"external_url=http://m:7470", "external_url=https://m.example/?a"}},
	{{"external_url=", "external_url=http:///a"},
	 {"external_url=http://m", "external_url=http://m n"}},
};

static void bounds_hold_at_their_edges(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bounded) / sizeof(bounded[0]); i++) {
		for (int side = 0; side < 2; side++) {
			for (int beyond = 0; beyond < 2; beyond++) {
				struct settings settings;
				char error[512] = "";
				int rc = load(bounded[i][side][beyond], &settings, error,
					      sizeof(error));

				if (!rc != !beyond)
					fail_msg("%s: %s%s", bounded[i][side][beyond], error,
						 problem.text);
				config_free(&settings_table, &settings);
			}
		}
	}
}

/* So that a link to an alert is whole. */
static void an_external_url_has_1024_bytes_at_most(void **state)
{
	char set[2048], error[512];

	(void)state;
	for (size_t over = 0; over < 2; over++) {
		struct settings settings;

		snprintf(set, sizeof(set), "external_url=https://%0*d", (int)(1024 - 8 + over), 1);
		error[0] = '\0';
		assert_int_equal(load(set, &settings, error, sizeof(error)) != 0, over != 0);
		config_free(&settings_table, &settings);
	}
}

/* Of the file at path. */
static int load_file(const char *text, struct settings *settings, char *error, size_t size)
{
	char path[] = "/tmp/millrace-settings-XXXXXX";
	int file = mkstemp(path);
	const struct config_sources sources = {.path = path};

	assert_true(file >= 0);
	assert_int_equal(write(file, text, strlen(text)), strlen(text));
	close(file);
	int rc = config_load(&settings_table, &sources, settings, &problem);

	unlink(path);
	return rc ? rc : settings_check(settings, error, size);
}

static void ranges_are_read_as_they_are_written(void **state)
{
	struct settings settings;
	struct address six;
	char error[512] = "";
	size_t count;

	(void)state;
	assert_int_equal(0, load_file("networks:\n  ranges:\n"
				      "  - {cidr: 10.1.0.0/16, name: eu, zone: eu-1}\n"
				      "  - {cidr: 0.0.0.0/0}\n"
				      "  - {cidr: '2001:db8::/32', name: six}\n"
				      "  - {cidr: 10.1.2.3, name: one}\n",
				      &settings, error, sizeof(error)));
	struct range *ranges = settings_ranges(&settings, &count);

	assert_int_equal(count, 4);
	assert_int_equal(ranges[0].prefix, 16);
	assert_string_equal(ranges[0].name, "eu");
	assert_string_equal(ranges[0].zone, "eu-1");
	assert_int_equal(ranges[1].prefix, 0);
	assert_string_equal(ranges[1].name, "");
	assert_int_equal(ranges[2].prefix, 32);
	assert_int_equal(address_parse("2001:db8::", &six), 0);
	assert_true(address_equal(&ranges[2].address, &six));
	assert_int_equal(ranges[3].prefix, 32);
	free(ranges);
	config_free(&settings_table, &settings);
}

static void a_range_that_is_none_is_named_with_what_is_wrong(void **state)
{
	static const char *const wrong[][2] = {
		{"{cidr: 10.1.0.0/33}", "10.1.0.0/33: the prefix is a number"},
		{"{cidr: '2001:db8::/129'}", "2001:db8::/129: the prefix is a number"},
		{"{cidr: 10.1.0.0/}", "10.1.0.0/: the prefix is a number"},
		{"{cidr: 10.1.0.0/8x}", "10.1.0.0/8x: the prefix is a number"},
		{"{cidr: 10.1.0.0/8}", "10.1.0.0/8: bits are set beyond the prefix"},
		{"{cidr: '2001:db8::1/64'}", "bits are set beyond the prefix"},
		{"{cidr: 10.1/16}", "10.1/16: it is no address"},
		{"{cidr: '::ffff:10.0.0.0/104'}", "an IPv4 address is written as such"},
		{"{name: lonely}", "cidr"},
		{"{cidr: 10.0.0.0/8}, {cidr: 10.0.0.0/8}", "10.0.0.0/8 is given twice"},
		{"{cidr: 10.0.0.1}, {cidr: 10.0.0.1/32}", "10.0.0.1/32 is given twice"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct settings settings;
		char error[512] = "", text[256];

		snprintf(text, sizeof(text), "networks: {ranges: [%s]}\n", wrong[i][0]);
		problem.text[0] = '\0';
		assert_int_not_equal(0, load_file(text, &settings, error, sizeof(error)));
		if (!strstr(error, wrong[i][1]) && !strstr(problem.text, wrong[i][1]))
			fail_msg("%s: \"%s\" \"%s\"", wrong[i][0], error, problem.text);
		config_free(&settings_table, &settings);
	}
}

static void a_monitor_watches_what_stays_open_unless_it_has_a_minimum(void **state)
{
	struct settings settings;
	char error[512] = "";
	size_t count;

	(void)state;
	assert_int_equal(0, load_file("monitors:\n  - {name: a, metric: bytes, threshold: 7}\n",
				      &settings, error, sizeof(error)));
	struct monitor *monitors = settings_monitors(&settings, &count);

	assert_int_equal(count, 1);
	assert_int_equal(monitors[0].metric, METRIC_BYTES);
	assert_int_equal(monitors[0].minimum, 0);
	assert_true(monitors[0].clear == 7);
	free(monitors);
	config_free(&settings_table, &settings);
}

static void each_kind_of_monitor_has_its_defaults(void **state)
{
	static const char text[] =
		"monitors:\n"
		"  - {name: a, kind: burn_rate, objective: 0.999, server: [a, '!b']}\n"
		"  - {name: b, kind: new_edge, client: '!shop/*', learn: 0s, protocol: udp}\n"
		"  - {name: c, kind: new_edge}\n"
		"  - {name: d, kind: absence, per: server, server_zone: eu-1}\n"
		"  - {name: e, kind: baseline, silent: true}\n"
		"  - {name: f, kind: baseline, metric: rtt, severity: info, client: ''}\n";
	struct settings settings;
	char error[512] = "";
	size_t count;

	(void)state;
	assert_int_equal(0, load_file(text, &settings, error, sizeof(error)));
	struct monitor *monitors = settings_monitors(&settings, &count);

	assert_int_equal(count, 6);
	for (size_t i = 0; i < count; i++)
		assert_null(monitor_check(&monitors[i]));
	assert_int_equal(monitors[0].kind, MONITOR_BURN_RATE);
	assert_true(monitors[0].per_server);
	assert_true(monitors[0].objective == 0.999);
	assert_string_equal(monitors[0].server, "a\n!b");
	assert_int_equal(monitors[0].severity, ALERT_ERROR);
	assert_int_equal(monitors[0].clear_ns, MONITOR_CLEAR_NS);
	assert_string_equal(monitors[1].client, "!shop/*");
	assert_int_equal(monitors[1].learn_ns, 0);
	assert_int_equal(monitors[1].protocol, 17);
	assert_int_equal(monitors[2].learn_ns, MONITOR_LEARN_NS);
	assert_int_equal(monitors[2].clear_ns, MONITOR_EDGE_CLEAR_NS);
	assert_int_equal(monitors[3].absent_ns, MONITOR_ABSENT_NS);
	assert_string_equal(monitors[3].server_zone, "eu-1");
	assert_int_equal(monitors[4].metric, METRICS);
	assert_int_equal(monitors[4].severity, MONITOR_SEVERITY_OWN);
	assert_int_equal(monitors[5].metric, METRIC_RTT);
	assert_int_equal(monitors[5].severity, ALERT_INFO);
	assert_string_equal(monitors[5].client, "");
	assert_string_equal(settings_severity_name(MONITOR_SEVERITY_OWN), "auto");
	assert_string_equal(settings_protocol_name(17), "udp");
	assert_string_equal(settings_protocol_name(0), "any");
	assert_string_equal(settings_metric_name(METRICS), "all");
	for (uint32_t metric = 0; metric < METRICS; metric++)
		assert_string_equal(settings_metric_name(metric), metric_name(metric));
	free(monitors);
	config_free(&settings_table, &settings);
}

static void a_monitor_that_can_never_be_right_is_refused_by_name(void **state)
{
	static const char *const wrong[][2] = {
		{"metric: speed, threshold: 1", "'speed' is none of connections_failed"},
		{"metric: speed, threshold: 1", "dns_latency, clients_new"},
		{"metric: dns_failure_ratio, threshold: 1.5", "monitors: a: threshold"},
		{"metric: rtt, threshold: 1, clear: 2", "monitors: a: clear"},
		{"metric: clients_new, threshold: 1", "monitors: a: per"},
		{"metric: rtt, threshold: 1, per: server, client: b", "monitors: a: client"},
		{"metric: rtt, threshold: 1, window: 300ms", "monitors: a: window"},
		{"metric: rtt", "monitors: a: threshold: required"},
		{"threshold: 1", "monitors: a: metric: one is required"},
		{"metric: rtt, threshold: 1, clear_after: 100ms", "monitors: a: clear_after"},
		{"metric: rtt, threshold: 1, client: '!'", "monitors: a: client: \"!\""},
		{"metric: rtt, threshold: 1, server_zone: eu-1", "monitors: a: window"},
		{"kind: speed", "'speed' is none of threshold, burn_rate"},
		{"kind: burn_rate", "monitors: a: objective: required"},
		{"kind: burn_rate, objective: 0.9, client: b", "monitors: a: client"},
		{"kind: new_edge, threshold: 1", "monitors: a: comparison, threshold"},
		{"kind: new_edge, absent_for: 1m", "monitors: a: absent_for"},
		{"kind: absence, learn: 1m", "monitors: a: learn"},
		{"kind: absence, absent_for: 5s", "monitors: a: absent_for"},
		{"kind: baseline, client: b", "monitors: a: sensitivity, severity, silent"},
		{"kind: baseline, silent: true, metric: connections_failed", "monitors: a: metric"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct settings settings;
		char error[512] = "", text[256];

		snprintf(text, sizeof(text), "monitors:\n  - {name: a, %s}\n", wrong[i][0]);
		problem.text[0] = '\0';
		assert_int_not_equal(0, load_file(text, &settings, error, sizeof(error)));
		if (!strstr(error, wrong[i][1]) && !strstr(problem.text, wrong[i][1]))
			fail_msg("%s: \"%s\" \"%s\"", wrong[i][0], error, problem.text);
		config_free(&settings_table, &settings);
	}
}

static void the_finest_rollups_are_of_a_window_that_there_is(void **state)
{
	static const struct {
		const char *setting;
		uint64_t ns;
	} windows[] = {
		{"rollups.finest=250ms", PANE_NS},	{"rollups.finest=1s", NS_PER_S},
		{"rollups.finest=10s", 10 * NS_PER_S},	{"rollups.finest=60s", 60 * NS_PER_S},
		{"rollups.finest=1h", 3600 * NS_PER_S},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
		struct settings settings;
		char error[512];

		assert_int_equal(0, load(windows[i].setting, &settings, error, sizeof(error)));
		assert_int_equal(settings_finest_ns(&settings), windows[i].ns);
		config_free(&settings_table, &settings);
	}
}

static void a_receiver_has_its_patterns(void **state)
{
	struct settings settings;
	char error[512] = "";
	size_t count;

	(void)state;
	assert_int_equal(
		0, load_file("receivers:\n"
			     "  - {name: a, type: slack, url: https://a}\n"
			     "  - name: b\n    type: slack\n    url: https://b\n"
			     "    match: {server: [shop/*, \"!shop/x\"], namespace: [shop]}\n",
			     &settings, error, sizeof(error)));
	struct receiver *receivers = settings_receivers(&settings, &count);

	assert_int_equal(count, 2);
	assert_int_equal(receivers[0].route.fields[ROUTE_SERVER].count, 0);
	assert_int_equal(receivers[1].route.fields[ROUTE_SERVER].count, 2);
	assert_string_equal(receivers[1].route.fields[ROUTE_SERVER].items[1], "!shop/x");
	assert_string_equal(receivers[1].route.fields[ROUTE_NAMESPACE].items[0], "shop");
	assert_false(receivers[1].route.cause_only);
	free(receivers);
	config_free(&settings_table, &settings);
}

static void slack_is_a_hook_or_a_bot(void **state)
{
	struct settings settings;
	char error[512] = "";
	size_t count;

	(void)state;
	assert_int_equal(
		0,
		load_file(
			"receivers:\n"
			"  - {name: a, type: slack, url: https://a}\n"
			"  - {name: b, type: slack, token: xoxb-1, channel: '#ops'}\n"
			"  - {name: c, type: slack, token: xoxb-1, channel: C1, url: https://c}\n",
			&settings, error, sizeof(error)));
	struct receiver *receivers = settings_receivers(&settings, &count);

	assert_int_equal(count, 3);
	assert_int_equal(receivers[0].kind, RECEIVER_SLACK);
	assert_null(receivers[0].token);
	assert_int_equal(receivers[1].kind, RECEIVER_SLACK_BOT);
	assert_string_equal(receivers[1].url, "https://slack.com/api");
	assert_string_equal(receivers[1].channel, "#ops");
	assert_string_equal(receivers[2].url, "https://c");
	assert_string_equal(receiver_kind_name(receivers[2].kind), "slack");
	free(receivers);
	config_free(&settings_table, &settings);
}

static void a_receiver_that_cannot_be_is_refused_by_name(void **state)
{
	static const char *const wrong[][2] = {
		{"type: slack", "receivers: a needs url"},
		{"type: pagerduty, routing_key: short", "receivers: a needs routing_key"},
		{"type: webhook, url: https://a, secret: b", "whsec_"},
		{"type: slack, url: http://a", "notify.allow_http"},
		{"type: slack, token: xoxb-1", "and channel"},
		{"type: slack, channel: ops", "and channel"},
		{"type: slack, token: a b, channel: ops", "one word"},
		{"type: slack, url: https://a, channel: ops", "and channel"},
		{"type: slack, url: https://a, title: '{{ sevrity }}'",
		 "a: title: there is no field"},
		{"type: slack, url: https://a, text: '{{ a'", "a: text: a {{ has no }}"},
		{"type: alertmanager", "receivers: a needs url"},
		{"type: alertmanager, url: https://a/api/v2/alerts", "without /api/v2/alerts"},
		{"type: alertmanager, url: 'https://a/#/alerts'", "without ? or #"},
		{"type: alertmanager, url: https://a, resolve_after: 9s", "resolve_after"},
		{"type: slack, url: https://a, match: {server: [a, '']}", "match.server[1]"},
		{"type: slack, url: https://a, match: {monitor: ['!']}", "match.monitor: an empty"},
		{"type: slack, url: https://a, match: {sever: [a]}", "match.sever"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct settings settings;
		char error[512] = "", text[256];

		snprintf(text, sizeof(text), "receivers:\n  - {name: a, %s}\n", wrong[i][0]);
		problem.text[0] = '\0';
		assert_int_not_equal(0, load_file(text, &settings, error, sizeof(error)));
		if (!strstr(error, wrong[i][1]) && !strstr(problem.text, wrong[i][1]))
			fail_msg("%s: \"%s\" \"%s\"", wrong[i][0], error, problem.text);
		config_free(&settings_table, &settings);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_defaults_are_sound),
		cmocka_unit_test(problems_name_their_entry),
		cmocka_unit_test(bounds_hold_at_their_edges),
		cmocka_unit_test(an_external_url_has_1024_bytes_at_most),
		cmocka_unit_test(ranges_are_read_as_they_are_written),
		cmocka_unit_test(a_range_that_is_none_is_named_with_what_is_wrong),
		cmocka_unit_test(a_monitor_watches_what_stays_open_unless_it_has_a_minimum),
		cmocka_unit_test(each_kind_of_monitor_has_its_defaults),
		cmocka_unit_test(a_monitor_that_can_never_be_right_is_refused_by_name),
		cmocka_unit_test(the_finest_rollups_are_of_a_window_that_there_is),
		cmocka_unit_test(a_receiver_has_its_patterns),
		cmocka_unit_test(slack_is_a_hook_or_a_bot),
		cmocka_unit_test(a_receiver_that_cannot_be_is_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
