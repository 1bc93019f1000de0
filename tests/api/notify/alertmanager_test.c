/* What Alertmanager is told: one alert by its labels, the former one's end when they change, and
 * never what it would refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cJSON.h>

#include "api/notify/alertmanager.h"
#include "api/notify/notify.h"
#include "base/clock.h"

enum { RANDOM_ALERTS = 10000 };

#define STARTED_NS (1767323045678 * NS_PER_MS) /* 2026-01-02T03:04:05.678Z */

static const struct receiver receiver = {.name = "am", .resolve_after_ns = 300 * NS_PER_S};

static struct alert plain(void)
{
	return (struct alert){.key = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567ABCDEFGHIJKLMNOPQRST",
			      .sequence = 1,
			      .severity = ALERT_CRITICAL,
			      .monitor = "errors",
			      .subject = {"shop/web", "shop/cart", 8080, 6},
			      .metric = "failure_ratio",
			      .unit = "ratio",
			      .value = 0.25,
			      .threshold = 0.05,
			      .started_ns = STARTED_NS,
			      .completeness = 0.995,
			      .summary = "shop/web to shop/cart: 25 % fail",
			      .suspects_count = 1,
			      .suspects = {{SUSPECT_SERVER_VERSION, 0.92, 3, "cart:2.1"}}};
}

static cJSON *body(const struct alert *alert, const struct item *item, uint64_t now_ns)
{
	const struct notice notice = {.alert = alert,
				      .receiver = &receiver,
				      .external_url = "https://millrace.example/",
				      .now_ns = now_ns,
				      .item = item};
	struct json json;
	size_t length;

	json_init(&json);
	body_alertmanager(&json, &notice);
	const char *text = json_text(&json, &length);
	cJSON *value = cJSON_ParseWithLength(text, length);

	assert_true(cJSON_IsArray(value));
	json_done(&json);
	return value;
}

static struct item *item_of(const struct alert *alert)
{
	return item_new(&(struct notice){.alert = alert, .receiver = &receiver});
}

static const char *word(const cJSON *alert, const char *object, const char *key)
{
	const cJSON *from = object ? cJSON_GetObjectItem(alert, object) : alert;
	const cJSON *value = cJSON_GetObjectItem(from, key);

	return value ? value->valuestring : NULL;
}

static void it_is_known_by_labels_and_says_what_there_is_to_say(void **state)
{
	const struct alert alert = plain();
	cJSON *list = body(&alert, NULL, STARTED_NS + NS_PER_S), *one = cJSON_GetArrayItem(list, 0);

	(void)state;
	assert_int_equal(cJSON_GetArraySize(list), 1);
	assert_string_equal(word(one, "labels", "alertname"), "errors");
	assert_string_equal(word(one, "labels", "severity"), "critical");
	assert_string_equal(word(one, "labels", "client"), "shop/web");
	assert_string_equal(word(one, "labels", "server"), "shop/cart");
	assert_string_equal(word(one, "labels", "namespace"), "shop");
	assert_string_equal(word(one, "labels", "port"), "8080");
	assert_string_equal(word(one, "labels", "incident"), alert.key);
	assert_string_equal(word(one, "annotations", "summary"), alert.summary);
	assert_string_equal(word(one, "annotations", "value"), "25 %");
	assert_string_equal(word(one, "annotations", "suspects"),
			    "server version cart:2.1: 92 % of the change");
	assert_string_equal(word(one, NULL, "startsAt"), "2026-01-02T03:04:05.678Z");
	assert_string_equal(word(one, NULL, "endsAt"), "2026-01-02T03:09:06.678Z");
	assert_non_null(strstr(word(one, NULL, "generatorURL"), "/api/v1/alerts?key=ABC"));
	cJSON_Delete(list);
}

static void its_end_is_of_the_labels_that_it_was_told_under(void **state)
{
	struct alert alert = plain();
	struct item *before = item_of(&alert);

	(void)state;
	alert.state = ALERT_RESOLVED;
	alert.severity = ALERT_INFO;
	alert.ended_ns = STARTED_NS + 2 * NS_PER_S;
	cJSON *list = body(&alert, before, STARTED_NS + 9 * NS_PER_S);
	cJSON *one = cJSON_GetArrayItem(list, 0);

	assert_int_equal(cJSON_GetArraySize(list), 1);
	assert_string_equal(word(one, "labels", "severity"), "critical");
	assert_string_equal(word(one, NULL, "endsAt"), "2026-01-02T03:04:07.678Z");
	cJSON_Delete(list);
	/* Nor before its begin, nor in what is future here. */
	alert.ended_ns = 1;
	list = body(&alert, before, STARTED_NS + 9 * NS_PER_S);
	assert_string_equal(word(cJSON_GetArrayItem(list, 0), NULL, "endsAt"),
			    "2026-01-02T03:04:05.678Z");
	cJSON_Delete(list);
	alert.ended_ns = UINT64_MAX / 2;
	list = body(&alert, before, STARTED_NS + 9 * NS_PER_S);
	assert_string_equal(word(cJSON_GetArrayItem(list, 0), NULL, "endsAt"),
			    "2026-01-02T03:04:14.678Z");
	cJSON_Delete(list);
	free(before);
}

static void with_other_labels_the_former_alert_ends(void **state)
{
	struct alert alert = plain();
	struct item *before = item_of(&alert);
	cJSON *list;

	(void)state;
	alert.value = 0.5; /* no label */
	list = body(&alert, before, STARTED_NS + NS_PER_S);
	assert_int_equal(cJSON_GetArraySize(list), 1);
	cJSON_Delete(list);
	snprintf(alert.subject.server, sizeof(alert.subject.server), "shop/database");
	list = body(&alert, before, STARTED_NS + NS_PER_S);
	assert_int_equal(cJSON_GetArraySize(list), 2);
	assert_string_equal(word(cJSON_GetArrayItem(list, 0), "labels", "server"), "shop/cart");
	assert_string_equal(word(cJSON_GetArrayItem(list, 0), NULL, "endsAt"),
			    "2026-01-02T03:04:06.678Z");
	assert_string_equal(word(cJSON_GetArrayItem(list, 1), "labels", "server"), "shop/database");
	assert_string_equal(word(cJSON_GetArrayItem(list, 1), NULL, "endsAt"),
			    "2026-01-02T03:09:06.678Z");
	cJSON_Delete(list);
	free(before);
}

static void it_may_have_words_of_its_own(void **state)
{
	const struct receiver own = {.title = "{{ stage }}: {{ server }}", .text = "see {{ key }}"};
	const struct alert alert = plain();
	struct item *item = item_new(&(struct notice){.alert = &alert, .receiver = &own});

	(void)state;
	item->text[item->length] = '\0';
	assert_non_null(strstr(item->text, "\"summary\":\"Firing: shop/cart\""));
	assert_non_null(strstr(item->text, "\"description\":\"see ABCDE"));
	free(item);
}

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void random_text(uint64_t *seed, char *text, size_t size)
{
	size_t length = next(seed) % size;

	for (size_t i = 0; i < length; i++)
		text[i] = (char)(next(seed) % 255 + 1);
	text[length] = '\0';
}

/* UTF-8, which cJSON does not ask for; no control characters; no value that is empty. */
static void values_are_texts(const cJSON *object)
{
	const cJSON *value;

	cJSON_ArrayForEach(value, object)
	{
		assert_true(cJSON_IsString(value));
		assert_in_range(strlen(value->valuestring), 1, 4095);
		for (const char *at = value->valuestring; *at; at++)
			assert_true((unsigned char)*at >= 0x20);
		assert_int_not_equal(mbstowcs(NULL, value->valuestring, 0), (size_t)-1);
	}
}

static void random_names_are_texts_and_never_empty(void **state)
{
	const char *given = getenv("MILLRACE_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : 0x9e3779b97f4a7c15;

	(void)state;
	print_message("MILLRACE_SEED=%#llx\n", (unsigned long long)seed);
	for (int i = 0; i < RANDOM_ALERTS; i++) {
		struct alert alert = plain();
		struct item *before = item_of(&alert);
		const cJSON *one;

		random_text(&seed, alert.monitor, sizeof(alert.monitor));
		random_text(&seed, alert.subject.client, sizeof(alert.subject.client));
		random_text(&seed, alert.subject.server, sizeof(alert.subject.server));
		random_text(&seed, alert.metric, sizeof(alert.metric));
		random_text(&seed, alert.summary, sizeof(alert.summary));
		random_text(&seed, alert.suspects[0].name, sizeof(alert.suspects[0].name));
		alert.suspects_count = ALERT_SUSPECTS_MAX;
		for (int n = 1; n < ALERT_SUSPECTS_MAX; n++)
			alert.suspects[n] = alert.suspects[0];
		cJSON *list = body(&alert, before, STARTED_NS + NS_PER_S);

		cJSON_ArrayForEach(one, list)
		{
			assert_true(word(one, "labels", "alertname")[0]);
			values_are_texts(cJSON_GetObjectItem(one, "labels"));
			values_are_texts(cJSON_GetObjectItem(one, "annotations"));
		}
		cJSON_Delete(list);
		free(before);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_known_by_labels_and_says_what_there_is_to_say),
		cmocka_unit_test(its_end_is_of_the_labels_that_it_was_told_under),
		cmocka_unit_test(with_other_labels_the_former_alert_ends),
		cmocka_unit_test(it_may_have_words_of_its_own),
		cmocka_unit_test(random_names_are_texts_and_never_empty),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
