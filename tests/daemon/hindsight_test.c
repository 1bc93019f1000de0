#include "daemon/hindsight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "api/http/json.h"
#include "base/clock.h"

#define FROM 1000
#define TO   2000

static struct hindsight *hindsight_of(uint32_t incidents_max, uint32_t told_max)
{
	return hindsight_new(&(struct hindsight_options){.from_ns = FROM * NS_PER_S,
							 .to_ns = TO * NS_PER_S,
							 .incidents_max = incidents_max,
							 .told_max = told_max});
}

/* A transition at `at` of what began at `started`; ended when at is its end. */
static struct alert alert_of(const char *key, const char *server, unsigned started, unsigned at,
			     unsigned sequence, bool ends)
{
	struct alert alert = {.sequence = sequence,
			      .state = ends ? ALERT_RESOLVED : ALERT_FIRING,
			      .severity = ALERT_WARNING,
			      .value = 10.0 + sequence,
			      .started_ns = started * NS_PER_S,
			      .ended_ns = ends ? at * NS_PER_S : 0,
			      .pane_end_ns = at * NS_PER_S};

	snprintf(alert.key, sizeof(alert.key), "%s", key);
	snprintf(alert.monitor, sizeof(alert.monitor), "of %s", key);
	snprintf(alert.subject.server, sizeof(alert.subject.server), "%s", server);
	return alert;
}

static void find(struct hindsight *hindsight, const char *key, const char *server, unsigned started,
		 unsigned ended)
{
	struct alert alert = alert_of(key, server, started, started, 1, false);

	hindsight_found(hindsight, &alert);
	alert = alert_of(key, server, started, ended, 2, true);
	if (ended)
		hindsight_found(hindsight, &alert);
}

static void tell(struct hindsight *hindsight, const char *key, const char *server, unsigned started,
		 unsigned ended)
{
	struct alert alert = alert_of(key, server, started, started, 1, false);

	hindsight_told(hindsight, &alert);
	alert = alert_of(key, server, started, ended, 2, true);
	if (ended)
		hindsight_told(hindsight, &alert);
}

static char *text_of(const struct hindsight *hindsight)
{
	struct json json;
	const char *text;
	char *copy;
	size_t size;

	json_init(&json);
	json_object_begin(&json);
	hindsight_json(hindsight, &json);
	json_object_end(&json);
	text = json_text(&json, &size);
	copy = strndup(text, size);
	json_done(&json);
	return copy;
}

/* Of a hindsight that is finished and freed here. */
static cJSON *finished(struct hindsight *hindsight, unsigned from, unsigned end)
{
	char *text;
	cJSON *document;

	hindsight_finish(hindsight, from * NS_PER_S, end * NS_PER_S);
	text = text_of(hindsight);
	document = cJSON_Parse(text);
	assert_non_null(document);
	free(text);
	hindsight_free(hindsight);
	return document;
}

static double number(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	assert_non_null(item);
	return item->valuedouble;
}

static double summed(const cJSON *document, const char *name)
{
	return number(cJSON_GetObjectItemCaseSensitive(document, "summary"), name);
}

static const cJSON *incident(const cJSON *document, int at)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(document, "incidents");

	assert_true(at < cJSON_GetArraySize(list));
	return cJSON_GetArrayItem(list, at);
}

static const char *key_of(const cJSON *item)
{
	const cJSON *alert = cJSON_GetObjectItemCaseSensitive(item, "alert");

	return cJSON_GetObjectItemCaseSensitive(alert, "key")->valuestring;
}

static void expect_count(const cJSON *document, int count)
{
	assert_int_equal(
		cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(document, "incidents")), count);
	assert_int_equal((int)summed(document, "incidents"), count);
}

static void an_incident_has_its_first_value_and_its_newest_state(void **state)
{
	struct hindsight *hindsight = hindsight_of(8, 8);
	struct alert alert = alert_of("a", "api", 1100, 1100, 1, false);
	cJSON *document;

	(void)state;
	hindsight_found(hindsight, &alert);
	alert = alert_of("a", "api", 1100, 1110, 2, false);
	hindsight_found(hindsight, &alert);
	alert = alert_of("a", "api", 1100, 1130, 3, true);
	hindsight_found(hindsight, &alert);
	document = finished(hindsight, FROM, TO);
	expect_count(document, 1);
	assert_float_equal(number(incident(document, 0), "value"), 11, 0);
	assert_float_equal(number(incident(document, 0), "lasted_s"), 30, 0);
	assert_float_equal(number(cJSON_GetObjectItemCaseSensitive(incident(document, 0), "alert"),
				  "sequence"),
			   3, 0);
	assert_float_equal(summed(document, "seconds"), 30, 0);
	cJSON_Delete(document);
}

static void only_what_was_open_within_the_range_counts_and_as_much_of_it(void **state)
{
	struct hindsight *hindsight = hindsight_of(8, 8);
	cJSON *document;

	(void)state;
	find(hindsight, "before", "api", 900, 1000);
	find(hindsight, "over its beginning", "api", 950, 1010);
	find(hindsight, "within", "api", 1500, 1520);
	find(hindsight, "over its end", "api", 1990, 2010);
	find(hindsight, "after", "api", 2001, 2005);
	document = finished(hindsight, FROM, TO + 100);
	expect_count(document, 3);
	assert_string_equal(key_of(incident(document, 0)), "over its beginning");
	assert_true(cJSON_IsTrue(
		cJSON_GetObjectItemCaseSensitive(incident(document, 0), "began_before")));
	assert_float_equal(number(incident(document, 0), "lasted_s"), 10, 0);
	assert_false(cJSON_IsTrue(
		cJSON_GetObjectItemCaseSensitive(incident(document, 1), "began_before")));
	assert_string_equal(key_of(incident(document, 2)), "over its end");
	assert_float_equal(number(incident(document, 2), "lasted_s"), 10, 0);
	assert_float_equal(summed(document, "firing"), 1, 0);
	assert_float_equal(summed(document, "seconds"), 40, 0);
	assert_float_equal(summed(document, "longest_s"), 20, 0);
	cJSON_Delete(document);
}

/* How much more than the end was found is chance. */
static void what_comes_behind_the_end_changes_nothing(void **state)
{
	char *texts[2];

	(void)state;
	for (int more = 0; more < 2; more++) {
		struct hindsight *hindsight = hindsight_of(8, 8);

		find(hindsight, "a", "api", 1100, 1200);
		find(hindsight, "b", "api", 1499, 0);
		if (more) {
			struct alert alert = alert_of("b", "api", 1499, 1501, 2, true);

			hindsight_found(hindsight, &alert);
			find(hindsight, "c", "api", 1501, 0);
		}
		hindsight_finish(hindsight, FROM * NS_PER_S, 1500 * NS_PER_S);
		texts[more] = text_of(hindsight);
		hindsight_free(hindsight);
	}
	assert_string_equal(texts[0], texts[1]);
	assert_non_null(strstr(texts[0], "\"firing\":1"));
	free(texts[0]);
	free(texts[1]);
}

static void what_was_told_overlaps_at_the_same_server_at_the_same_time(void **state)
{
	struct hindsight *hindsight = hindsight_of(8, 8);
	struct alert alert;
	cJSON *document, *told;

	(void)state;
	tell(hindsight, "another server", "db", 1100, 1200);
	tell(hindsight, "earlier", "api", 1000, 1100);
	tell(hindsight, "later", "api", 1200, 1210);
	tell(hindsight, "long before", "api", 100, 200);
	tell(hindsight, "within", "api", 1150, 1160);
	tell(hindsight, "that still fires", "api", 1190, 0);
	/* One of its episodes was there at some time. */
	alert = alert_of("by an episode", "db", 1120, 1120, 1, false);
	alert.members_count = 1;
	snprintf(alert.members[0].subject.server, ALERT_NAME_MAX, "api");
	hindsight_told(hindsight, &alert);
	alert = alert_of("by an episode", "db", 1120, 1130, 2, true);
	hindsight_told(hindsight, &alert);
	find(hindsight, "a", "api", 1100, 1200);
	find(hindsight, "b", "cache", 1100, 1200);
	document = finished(hindsight, FROM, TO);
	expect_count(document, 2);
	told = cJSON_GetObjectItemCaseSensitive(incident(document, 0), "told");
	assert_int_equal(cJSON_GetArraySize(told), 3);
	for (int i = 0; i < 3; i++) {
		static const char *const wanted[] = {"by an episode", "within", "that still fires"};

		assert_string_equal(
			cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(told, i), "key")
				->valuestring,
			wanted[i]);
	}
	told = cJSON_GetObjectItemCaseSensitive(incident(document, 1), "told");
	assert_int_equal(cJSON_GetArraySize(told), 0);
	assert_float_equal(summed(document, "overlapping"), 1, 0);
	assert_float_equal(summed(document, "told"), 6, 0); /* all but the one of long before */
	cJSON_Delete(document);
}

static void repeats_of_what_was_told_change_nothing(void **state)
{
	struct hindsight *hindsight = hindsight_of(8, 8);
	struct alert alert = alert_of("ended", "api", 900, 900, 1, false);
	cJSON *document;

	(void)state;
	tell(hindsight, "ended", "api", 900, 950);
	hindsight_told(hindsight, &alert);
	document = finished(hindsight, FROM, TO);
	assert_float_equal(summed(document, "told"), 0, 0);
	cJSON_Delete(document);
}

static void beyond_its_bounds_is_counted(void **state)
{
	struct hindsight *hindsight = hindsight_of(2, 3);
	cJSON *document;
	char key[8];

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		snprintf(key, sizeof(key), "k%u", i);
		find(hindsight, key, "api", 1100 + 10 * i, 1105 + 10 * i);
		tell(hindsight, key, "api", 1100 + 10 * i, 1105 + 10 * i);
	}
	document = finished(hindsight, FROM, TO);
	expect_count(document, 2);
	assert_float_equal(summed(document, "left_out"), 3, 0);
	assert_float_equal(summed(document, "told"), 3, 0);
	assert_float_equal(summed(document, "told_left_out"), 4, 0);
	cJSON_Delete(document);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_incident_has_its_first_value_and_its_newest_state),
		cmocka_unit_test(only_what_was_open_within_the_range_counts_and_as_much_of_it),
		cmocka_unit_test(what_comes_behind_the_end_changes_nothing),
		cmocka_unit_test(what_was_told_overlaps_at_the_same_server_at_the_same_time),
		cmocka_unit_test(repeats_of_what_was_told_change_nothing),
		cmocka_unit_test(beyond_its_bounds_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
