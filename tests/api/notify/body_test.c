/* Whatever an alert is called, its messages are JSON, within the receivers' limits, and without
 * markup that the names brought along. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cJSON.h>

#include "api/notify/body.h"
#include "api/notify/text.h"

enum { RANDOM_ALERTS = 10000 /* of ten random strings each */ };

static const char evil[] = "<!channel> *x* <http://evil|click>";
static const char external_url[] = "https://millrace.example/";

static cJSON *parsed(const struct json *json)
{
	size_t length;
	const char *text = json_text(json, &length);
	cJSON *value = cJSON_ParseWithLength(text, length);

	assert_non_null(value);
	return value;
}

static cJSON *slack(const struct alert *alert)
{
	struct json json;
	cJSON *value;

	json_init(&json);
	body_slack(&json, alert, external_url, false, false);
	value = parsed(&json);
	json_done(&json);
	return value;
}

static cJSON *pagerduty(const struct alert *alert)
{
	struct json json;
	cJSON *value;

	json_init(&json);
	body_pagerduty(&json, alert, "0123456789abcdef0123456789abcdef", external_url);
	value = parsed(&json);
	json_done(&json);
	return value;
}

static size_t characters(const char *text)
{
	size_t count = 0;

	for (; *text; text++)
		count += ((unsigned char)*text & 0xc0) != 0x80;
	return count;
}

static void within(const cJSON *text, size_t least, size_t most)
{
	assert_true(cJSON_IsString(text));
	assert_in_range(characters(text->valuestring), least, most);
}

/* Slack's mrkdwn: the only < and > are those of our own link, & only begins an entity. */
static void is_defused(const char *text)
{
	const char *link = strstr(text, "<https://millrace.example/api/v1/alerts?key=");

	for (const char *at = text; *at; at++) {
		if (*at == '<')
			assert_ptr_equal(at, link);
		if (*at == '>')
			assert_true(link && strncmp(at - 16, "|details as JSON", 16) == 0);
		if (*at == '&')
			assert_true(strncmp(at, "&amp;", 5) == 0 || strncmp(at, "&lt;", 4) == 0 ||
				    strncmp(at, "&gt;", 4) == 0);
		if (*at == '@')
			assert_true(strncasecmp(at, "@here", 5) && strncasecmp(at, "@channel", 8) &&
				    strncasecmp(at, "@everyone", 9));
		assert_true((unsigned char)*at >= 0x20 || *at == '\n');
	}
}

static void slack_text_object(const cJSON *object, size_t most)
{
	const cJSON *text = cJSON_GetObjectItem(object, "text");

	within(text, 1, most);
	if (strcmp(cJSON_GetObjectItem(object, "type")->valuestring, "mrkdwn") == 0)
		is_defused(text->valuestring);
}

static void slack_block(const cJSON *block)
{
	const char *type = cJSON_GetObjectItem(block, "type")->valuestring;
	const cJSON *fields = cJSON_GetObjectItem(block, "fields"), *item;
	const cJSON *elements = cJSON_GetObjectItem(block, "elements");

	if (strcmp(type, "header") == 0)
		slack_text_object(cJSON_GetObjectItem(block, "text"), 150);
	else if (strcmp(type, "section") == 0 && !fields)
		slack_text_object(cJSON_GetObjectItem(block, "text"), 3000);
	else
		assert_true(fields || strcmp(type, "context") == 0);
	assert_in_range(cJSON_GetArraySize(fields), fields ? 1 : 0, 10);
	assert_in_range(cJSON_GetArraySize(elements), elements ? 1 : 0, 10);
	cJSON_ArrayForEach(item, fields) slack_text_object(item, 2000);
	cJSON_ArrayForEach(item, elements) slack_text_object(item, 2000);
}

static void check_slack(const struct alert *alert)
{
	cJSON *body = slack(alert);
	const cJSON *blocks = cJSON_GetObjectItem(body, "blocks"), *block;

	within(cJSON_GetObjectItem(body, "text"), 1, 4000);
	is_defused(cJSON_GetObjectItem(body, "text")->valuestring);
	assert_in_range(cJSON_GetArraySize(blocks), 2, 50);
	cJSON_ArrayForEach(block, blocks) slack_block(block);
	cJSON_Delete(body);
}

static void check_pagerduty(const struct alert *alert)
{
	cJSON *body = pagerduty(alert);
	const cJSON *payload = cJSON_GetObjectItem(body, "payload");

	within(cJSON_GetObjectItem(body, "routing_key"), 32, 32);
	within(cJSON_GetObjectItem(body, "dedup_key"), 1, 255);
	assert_non_null(strstr(cJSON_GetObjectItem(body, "client_url")->valuestring,
			       "/api/v1/alerts?key="));
	within(cJSON_GetObjectItem(payload, "summary"), 1, 1024);
	within(cJSON_GetObjectItem(payload, "source"), 1, 1024);
	assert_true(cJSON_IsObject(cJSON_GetObjectItem(payload, "custom_details")));
	cJSON_Delete(body);
}

static struct alert plain(void)
{
	return (struct alert){.key = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567ABCDEFGHIJKLMNOPQRST",
			      .sequence = 1,
			      .severity = ALERT_CRITICAL,
			      .monitor = "errors",
			      .subject = {"shop/web", "shop/cart", 8080, 6},
			      .metric = "error_ratio",
			      .unit = "ratio",
			      .value = 0.25,
			      .threshold = 0.05,
			      .window_ms = 10000,
			      .started_ns = 1767323045678000000,
			      .completeness = 0.995,
			      .summary = "shop/web to shop/cart: 25 % fail, 5 % is the limit",
			      .suspects_count = 1,
			      .suspects = {{SUSPECT_SERVER_VERSION, 0.92, 3, "cart:2.1"}}};
}

static const char *field(const cJSON *body, const char *label)
{
	const cJSON *block, *item;

	cJSON_ArrayForEach(block, cJSON_GetObjectItem(body, "blocks"))
	{
		cJSON_ArrayForEach(item, cJSON_GetObjectItem(block, "fields"))
		{
			const char *text = cJSON_GetObjectItem(item, "text")->valuestring;

			if (strncmp(text + 1, label, strlen(label)) == 0)
				return strchr(text, '\n') + 1;
		}
	}
	return NULL;
}

static void slack_says_who_what_how_much_and_where(void **state)
{
	struct alert alert = plain();
	cJSON *body = slack(&alert);
	char *text = cJSON_PrintUnformatted(body);

	(void)state;
	assert_string_equal(field(body, "Client"), "shop/web");
	assert_string_equal(field(body, "Server"), "shop/cart:8080");
	assert_string_equal(field(body, "error_ratio"), "25 %");
	assert_string_equal(field(body, "Limit"), "5 %");
	assert_string_equal(field(body, "Severity"), "critical");
	assert_string_equal(field(body, "Completeness"), "99.5 %");
	assert_non_null(strstr(text, "server version cart:2.1: 92 % of the change"));
	assert_non_null(strstr(text, "2026-01-02T03:04:05.678Z"));
	free(text);
	cJSON_Delete(body);
	check_slack(&alert);
}

static void what_is_likely_wrong_is_said_in_a_line(void **state)
{
	struct alert alert = plain();
	cJSON *body;
	char *text;

	(void)state;
	alert.diagnosis = (struct diagnosis){DIAGNOSIS_NO_LISTENER, false, 25, 100, 0};
	body = slack(&alert);
	text = cJSON_PrintUnformatted(body);
	assert_non_null(strstr(text, "likely nobody listens: 25 of 100 attempts were refused"));
	free(text);
	cJSON_Delete(body);
	check_slack(&alert);
	body = pagerduty(&alert);
	text = cJSON_PrintUnformatted(body);
	assert_non_null(strstr(text, "likely nobody listens: 25 of 100 attempts were refused"));
	free(text);
	cJSON_Delete(body);
	check_pagerduty(&alert);
}

static void pagerduty_has_its_actions_and_details(void **state)
{
	struct alert alert = plain();
	cJSON *body = pagerduty(&alert);
	const cJSON *payload = cJSON_GetObjectItem(body, "payload");

	(void)state;
	assert_string_equal(cJSON_GetObjectItem(body, "event_action")->valuestring, "trigger");
	assert_string_equal(cJSON_GetObjectItem(body, "dedup_key")->valuestring, alert.key);
	assert_string_equal(cJSON_GetObjectItem(payload, "severity")->valuestring, "critical");
	assert_string_equal(cJSON_GetObjectItem(payload, "source")->valuestring, "shop/cart:8080");
	assert_string_equal(cJSON_GetObjectItem(payload, "timestamp")->valuestring,
			    "2026-01-02T03:04:05.678Z");
	cJSON_Delete(body);
	alert.state = ALERT_RESOLVED;
	body = pagerduty(&alert);
	assert_string_equal(cJSON_GetObjectItem(body, "event_action")->valuestring, "resolve");
	cJSON_Delete(body);
}

static void a_pod_may_be_called_anything(void **state)
{
	struct alert alert = plain();
	cJSON *body;

	(void)state;
	snprintf(alert.subject.client, sizeof(alert.subject.client), "%s", evil);
	snprintf(alert.subject.server, sizeof(alert.subject.server), "@@channel@h\x01here %s",
		 evil);
	snprintf(alert.metric, sizeof(alert.metric), "%s", evil);
	snprintf(alert.monitor, sizeof(alert.monitor), "%s", evil);
	snprintf(alert.summary, sizeof(alert.summary), "%s is down", evil);
	snprintf(alert.suspects[0].name, sizeof(alert.suspects[0].name), "%s", evil);
	check_slack(&alert);
	check_pagerduty(&alert);
	body = slack(&alert);
	assert_string_equal(field(body, "Client"),
			    "&lt;!channel&gt; *x* &lt;http://evil|click&gt;");
	cJSON_Delete(body);
}

static void an_alert_without_words_still_is_a_message(void **state)
{
	struct alert alert = {.key = "K", .value = NAN, .threshold = INFINITY};

	(void)state;
	check_slack(&alert);
	check_pagerduty(&alert);
	snprintf(alert.summary, sizeof(alert.summary), "\x01\x02");
	snprintf(alert.subject.server, sizeof(alert.subject.server), "\xe2\x80\xae");
	check_slack(&alert);
	check_pagerduty(&alert);
}

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Up to the whole buffer; half of them of the bytes that mean something to somebody. */
static void random_text(uint64_t *seed, char *text, size_t size)
{
	static const char special[] =
		"<>&@\"\\\n\x01*_`|herchanlyo\xe2\x80\xae\xf0\x9f\x98\x80\xff";
	size_t length = next(seed) % size;
	bool meaning = next(seed) & 1;

	for (size_t i = 0; i < length; i++)
		text[i] = meaning ? special[next(seed) % (sizeof(special) - 1)]
				  : (char)(next(seed) % 255 + 1);
	text[length] = '\0';
}

static void random_names_stay_within_all_limits(void **state)
{
	const char *given = getenv("MILLRACE_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : 0x9e3779b97f4a7c15;

	(void)state;
	for (int i = 0; i < RANDOM_ALERTS; i++) {
		struct alert alert = plain();
		uint64_t before = seed;

		snprintf(alert.key, sizeof(alert.key), "K%d", i);
		random_text(&seed, alert.monitor, sizeof(alert.monitor));
		random_text(&seed, alert.subject.client, sizeof(alert.subject.client));
		random_text(&seed, alert.subject.server, sizeof(alert.subject.server));
		random_text(&seed, alert.metric, sizeof(alert.metric));
		random_text(&seed, alert.summary, sizeof(alert.summary));
		alert.subject.port = (uint16_t)next(&seed);
		alert.severity = next(&seed) % 4;
		alert.state = next(&seed) % 2;
		alert.suspects_count = ALERT_SUSPECTS_MAX;
		for (size_t at = 0; at < ALERT_SUSPECTS_MAX; at++)
			random_text(&seed, alert.suspects[at].name,
				    sizeof(alert.suspects[at].name));
		if (i % 1000 == 0)
			print_message("MILLRACE_SEED=%#llx\n", (unsigned long long)before);
		check_slack(&alert);
		check_pagerduty(&alert);
	}
}

static void text_is_cut_at_characters_not_at_bytes(void **state)
{
	char out[64];

	(void)state;
	assert_int_equal(text_safe(out, sizeof(out), "\xc3\xa4\xc3\xb6\xc3\xbc", 3), 6);
	assert_string_equal(out, "\xc3\xa4\xc3\xb6\xc3\xbc");
	text_safe(out, sizeof(out), "\xc3\xa4\xc3\xb6\xc3\xbc!", 3);
	assert_string_equal(out, "\xc3\xa4\xc3\xb6\xe2\x80\xa6");
	text_safe(out, 8, "abcdefghij", 60);
	assert_string_equal(out, "abcd\xe2\x80\xa6");
	text_safe(out, sizeof(out), "a\xc3", 9); /* cut in a character */
	assert_string_equal(out, "a\xef\xbf\xbd");
	text_slack(out, sizeof(out), "@@here @HERE me@example", 60);
	assert_string_equal(out, "here HERE me@example");
}

static void values_have_their_units(void **state)
{
	char out[64];

	(void)state;
	text_value(out, sizeof(out), 0.0031, "seconds");
	assert_string_equal(out, "3.1 ms");
	text_value(out, sizeof(out), 1500, "bytes");
	assert_string_equal(out, "1.5 kB");
	text_value(out, sizeof(out), 12, "connections");
	assert_string_equal(out, "12");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slack_says_who_what_how_much_and_where),
		cmocka_unit_test(what_is_likely_wrong_is_said_in_a_line),
		cmocka_unit_test(pagerduty_has_its_actions_and_details),
		cmocka_unit_test(a_pod_may_be_called_anything),
		cmocka_unit_test(an_alert_without_words_still_is_a_message),
		cmocka_unit_test(random_names_stay_within_all_limits),
		cmocka_unit_test(text_is_cut_at_characters_not_at_bytes),
		cmocka_unit_test(values_have_their_units),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
