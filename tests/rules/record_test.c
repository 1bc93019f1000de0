#include "rules/record.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/batch/seal.h"
#include "base/clock.h"
#include "base/patterns.h"
#include "millrace/v1/rules.pb-c.h"

static struct rule good(void)
{
	struct rule rule;
	memset(&rule, 0, sizeof(rule));
	strcpy(rule.id, "monitor/shop/errors");
	strcpy(rule.author, "192.0.2.7");
	rule.issued_ns = 1700000000000000001;
	rule.monitor = (struct monitor){.name = "shop/errors",
					.metric = METRIC_FAILURE_RATIO,
					.comparison = COMPARE_BELOW,
					.threshold = 0.05,
					.clear = 0.1,
					.window_ns = 10 * NS_PER_S,
					.clear_ns = 5 * NS_PER_S,
					.minimum = 20,
					.severity = ALERT_CRITICAL,
					.client = "web-*",
					.server = "shop/?art",
					.port = 8080};
	return rule;
}

/* Key by key as the deployment's configuration has them. */
static struct keys *keys_of(const char *const *secrets, size_t count)
{
	struct keys *keys = keys_new();
	for (size_t i = 0; i < count; i++)
		assert_int_equal(keys_add(keys, i ? "old" : "", (const uint8_t *)secrets[i],
					  strlen(secrets[i])),
				 0);
	return keys;
}

static size_t written(const struct rule *rule, const struct keys *keys, uint8_t *bytes)
{
	uint8_t key[SEAL_KEY_BYTES];
	if (keys)
		keys_pipeline_key(keys, 0, key);
	return rule_write(rule, keys ? key : NULL, bytes);
}

static void what_is_written_is_read(void **state)
{
	(void)state;
	uint8_t bytes[RULE_BYTES_MAX];
	struct rule rule = good(), read;
	size_t length = rule_write(&rule, NULL, bytes);
	assert_true(rule_read(bytes, length, &read, NULL));
	assert_memory_equal(&read, &rule, sizeof(rule));
	rule.withdrawn = true;
	rule.monitor.per_server = true;
	memset(rule.monitor.client, 0, sizeof(rule.monitor.client));
	rule.monitor.comparison = COMPARE_ABOVE;
	rule.monitor.clear = 0.01;
	length = rule_write(&rule, NULL, bytes);
	assert_true(rule_read(bytes, length, &read, NULL));
	assert_memory_equal(&read, &rule, sizeof(rule));
}

static uint32_t version_of(const struct rule *rule)
{
	uint8_t bytes[RULE_BYTES_MAX];
	struct rule read;
	size_t length = rule_write(rule, NULL, bytes);
	assert_true(rule_read(bytes, length, &read, NULL));
	assert_memory_equal(&read, rule, sizeof(*rule));
	Millrace__V1__Rule *message = millrace__v1__rule__unpack(NULL, length, bytes);
	assert_non_null(message);
	uint32_t version = message->version;
	millrace__v1__rule__free_unpacked(message, NULL);
	return version;
}

static struct rule of_kind(uint32_t kind)
{
	struct rule rule = good();
	struct monitor *monitor = &rule.monitor;
	memset(monitor, 0, sizeof(*monitor));
	strcpy(monitor->name, "shop/errors");
	monitor->kind = kind;
	monitor->metric = METRICS;
	monitor->window_ns = MONITOR_WINDOW_NS;
	monitor->clear_ns = MONITOR_CLEAR_NS;
	strcpy(monitor->server, "shop/*");
	return rule;
}

/* A reader that knows only the first version must not take it for another monitor. */
static void what_is_new_has_the_second_version(void **state)
{
	(void)state;
	struct rule rule = good();
	assert_int_equal(version_of(&rule), 1);
	strcpy(rule.monitor.client, "web\napi");
	assert_int_equal(version_of(&rule), 2);
	strcpy(rule.monitor.client, "!we");
	memset(rule.monitor.client + 3, 0, 4);
	assert_int_equal(version_of(&rule), 2);
	rule = good();
	rule.monitor.protocol = 17;
	assert_int_equal(version_of(&rule), 2);
	for (size_t i = 2; i < MONITOR_FILTERS; i++) {
		rule = good();
		strcpy((char *)&rule.monitor + monitor_filters[i].offset, "a?");
		assert_int_equal(version_of(&rule), 2);
	}
	rule = of_kind(MONITOR_BURN_RATE);
	rule.monitor.objective = 0.999;
	rule.monitor.per_server = true;
	assert_int_equal(version_of(&rule), 2);
	rule = of_kind(MONITOR_BASELINE);
	rule.monitor.silent = true;
	rule.monitor.severity = MONITOR_SEVERITY_OWN;
	assert_int_equal(version_of(&rule), 2);
	rule.monitor.silent = false;
	rule.monitor.metric = METRIC_RTT;
	rule.monitor.sensitivity = 6.5;
	rule.monitor.severity = ALERT_CRITICAL;
	assert_int_equal(version_of(&rule), 2);
	rule = of_kind(MONITOR_NEW_EDGE);
	rule.monitor.learn_ns = NS_PER_S;
	assert_int_equal(version_of(&rule), 2);
	rule = of_kind(MONITOR_ABSENCE);
	rule.monitor.absent_ns = 60 * NS_PER_S;
	assert_int_equal(version_of(&rule), 2);
}

static void a_rule_is_taken_from_whoever_has_one_of_the_keys(void **state)
{
	(void)state;
	static const char *const secrets[] = {"the first deployment key!",
					      "the former deployment key"};
	static const char *const others[] = {"somebody else's own key...."};
	struct keys *both = keys_of(secrets, 2), *former = keys_of(secrets + 1, 1),
		    *other = keys_of(others, 1), *none = keys_of(NULL, 0);
	uint8_t bytes[RULE_BYTES_MAX];
	struct rule rule = good(), read;
	char why[RULE_WHY_BYTES];
	size_t length = written(&rule, former, bytes);
	assert_true(rule_accept(bytes, length, both, &read, why));
	assert_true(rule_accept(bytes, length, none, &read, why));
	assert_false(rule_accept(bytes, length, other, &read, why));
	assert_string_equal(why, "not signed by the pipeline's key");
	for (size_t i = 0; i < length; i++) {
		bytes[i] ^= 1;
		assert_false(rule_accept(bytes, length, both, &read, why));
		bytes[i] ^= 1;
	}
	length = written(&rule, NULL, bytes);
	assert_false(rule_accept(bytes, length, both, &read, why));
	keys_free(both);
	keys_free(former);
	keys_free(other);
	keys_free(none);
}

static void expect_bad(const struct rule *rule, const char *word)
{
	char why[RULE_WHY_BYTES] = "";
	assert_false(rule_check(rule, why));
	assert_non_null(strstr(why, word));
}

static void what_is_beyond_a_bound_is_refused_with_its_name(void **state)
{
	(void)state;
	struct rule rule = good();
	assert_true(rule_check(&rule, NULL));
#define SPOILT(member, value, word) \
	rule = good();              \
	rule.member = (value);      \
	expect_bad(&rule, word)
	SPOILT(id[0], 'x', "id");
	SPOILT(issued_ns, 0, "issued_ns");
	SPOILT(monitor.metric, METRICS, "metric");
	SPOILT(monitor.threshold, NAN, "threshold");
	SPOILT(monitor.clear, INFINITY, "clear");
	SPOILT(monitor.window_ns, 0, "window");
	SPOILT(monitor.window_ns, PANE_NS + 1, "window");
	SPOILT(monitor.window_ns, 60 * NS_PER_S + PANE_NS, "window");
	SPOILT(monitor.clear_ns, PANE_NS - 1, "clear_after");
	SPOILT(monitor.clear_ns, 3600 * NS_PER_S + 1, "clear_after");
	SPOILT(monitor.minimum, 1000000001, "minimum");
	SPOILT(monitor.severity, ALERT_CRITICAL + 1, "severity");
	SPOILT(monitor.threshold, 5, "ratio");
	SPOILT(monitor.per_server, true, "client");
	SPOILT(monitor.client[0], '\xff', "client");
	SPOILT(monitor.server[0], '\xc0', "server");
#undef SPOILT
	rule = good();
	strcpy(rule.monitor.name, "millrace/blind");
	rule_monitor_id(rule.monitor.name, rule.id);
	expect_bad(&rule, "name");
	strcpy(rule.monitor.name, "");
	rule_monitor_id(rule.monitor.name, rule.id);
	expect_bad(&rule, "name");
}

static void the_bounds_themselves_are_good(void **state)
{
	(void)state;
	struct rule rule = good(), read;
	uint8_t bytes[RULE_BYTES_MAX];
	rule.monitor.window_ns = 60 * NS_PER_S;
	rule.monitor.clear_ns = 3600 * NS_PER_S;
	rule.monitor.minimum = 1000000000;
	rule.monitor.port = UINT16_MAX;
	rule.monitor.window_ns = 60 * NS_PER_S;
	/* As many patterns as there can be, each of one byte: the longest record. */
	for (size_t i = 0; i < MONITOR_FILTERS; i++) {
		char *patterns = (char *)&rule.monitor + monitor_filters[i].offset;
		while (patterns_add(patterns, monitor_filters[i].size, "?"))
			;
	}
	rule.monitor.protocol = 17;
	memset(rule.author, 'a', RULE_AUTHOR_BYTES - 1);
	memset(rule.monitor.name, 'n', ALERT_MONITOR_MAX - 1);
	rule_monitor_id(rule.monitor.name, rule.id);
	size_t length = rule_write(&rule, NULL, bytes);
	assert_true(rule_read(bytes, length, &read, NULL));
	assert_memory_equal(&read, &rule, sizeof(rule));
}

static void a_text_that_is_too_long_is_not_cut(void **state)
{
	(void)state;
	char text[MONITOR_NAMES_MAX + 1], *texts[] = {text, text};
	uint8_t bytes[RULE_BYTES_MAX];
	Millrace__V1__MonitorRule monitor = MILLRACE__V1__MONITOR_RULE__INIT;
	Millrace__V1__Rule message = MILLRACE__V1__RULE__INIT;
	struct rule read;
	char why[RULE_WHY_BYTES];
	memset(text, 'x', MONITOR_NAMES_MAX);
	text[MONITOR_NAMES_MAX] = 0;
	message.id = (char *)"monitor/a";
	message.version = 1;
	message.issued_ns = 1;
	message.monitor = &monitor;
	monitor.name = (char *)"a";
	monitor.metric = (char *)"rtt";
	monitor.window_ns = monitor.clear_after_ns = NS_PER_S;
	assert_true(rule_read(bytes, millrace__v1__rule__pack(&message, bytes), &read, why));
	monitor.client = texts;
	monitor.n_client = 1;
	assert_false(rule_read(bytes, millrace__v1__rule__pack(&message, bytes), &read, why));
	text[MONITOR_NAMES_MAX - 1] = 0;
	assert_true(rule_read(bytes, millrace__v1__rule__pack(&message, bytes), &read, why));
	text[MONITOR_NAMES_MAX / 2] = 0;
	monitor.n_client = 2;
	assert_false(rule_read(bytes, millrace__v1__rule__pack(&message, bytes), &read, why));
	text[MONITOR_PARTS_MAX] = 0;
	monitor.n_client = 0;
	monitor.client_zone = texts;
	monitor.n_client_zone = 1;
	monitor.window_ns = 10 * NS_PER_S;
	assert_false(rule_read(bytes, millrace__v1__rule__pack(&message, bytes), &read, why));
	text[MONITOR_PARTS_MAX - 1] = 0;
	assert_true(rule_read(bytes, millrace__v1__rule__pack(&message, bytes), &read, why));
	strcpy(text, "a\nb"); /* not one pattern */
	assert_false(rule_read(bytes, millrace__v1__rule__pack(&message, bytes), &read, why));
	text[0] = 0; /* all, as the first version has it */
	assert_true(rule_read(bytes, millrace__v1__rule__pack(&message, bytes), &read, why));
	monitor.n_client_zone = 0;
	monitor.metric = (char *)"speed";
	assert_false(rule_read(bytes, millrace__v1__rule__pack(&message, bytes), &read, why));
	assert_non_null(strstr(why, "metric"));
	monitor.metric = (char *)"rtt";
	monitor.protocol = 256 + 6;
	assert_false(rule_read(bytes, millrace__v1__rule__pack(&message, bytes), &read, why));
	monitor.protocol = 0;
	monitor.port = 65536;
	assert_false(rule_read(bytes, millrace__v1__rule__pack(&message, bytes), &read, why));
	monitor.port = 0;
	message.version = 3;
	assert_false(rule_read(bytes, millrace__v1__rule__pack(&message, bytes), &read, why));
	assert_non_null(strstr(why, "version"));
}

/* Whatever the bytes are, reading them ends, and what is read is within the bounds. */
static void any_bytes_are_read_or_refused(void **state)
{
	(void)state;
	uint8_t whole[RULE_BYTES_MAX];
	struct rule rule = good(), read;
	size_t length = rule_write(&rule, NULL, whole);
	for (size_t at = 0; at < length; at++) {
		for (int bit = 0; bit < 8; bit++) {
			uint8_t *bytes = malloc(length);
			memcpy(bytes, whole, length);
			bytes[at] ^= (uint8_t)(1 << bit);
			if (rule_read(bytes, length, &read, NULL))
				assert_true(rule_check(&read, NULL));
			free(bytes);
		}
		uint8_t *cut = malloc(at ? at : 1);
		memcpy(cut, whole, at);
		if (rule_read(cut, at, &read, NULL))
			assert_true(rule_check(&read, NULL));
		free(cut);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(what_is_new_has_the_second_version),
		cmocka_unit_test(a_rule_is_taken_from_whoever_has_one_of_the_keys),
		cmocka_unit_test(what_is_beyond_a_bound_is_refused_with_its_name),
		cmocka_unit_test(the_bounds_themselves_are_good),
		cmocka_unit_test(a_text_that_is_too_long_is_not_cut),
		cmocka_unit_test(any_bytes_are_read_or_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
