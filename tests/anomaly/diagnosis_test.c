#include "anomaly/diagnosis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "anomaly/monitor.h"

/* Ten seconds of an edge that is well: 100 connections of 1 ms, round trips of 500 us, one segment
 * in 10,000 sent again. */
static struct end_sums well(void)
{
	return (struct end_sums){.attempts = 100,
				 .connect_us = 100000,
				 .connects = 100,
				 .srtt_us = 500 * 400,
				 .srtts = 400,
				 .segments = 20000,
				 .retransmits = 2,
				 .bytes = 1e7};
}

static struct ends quiet(void)
{
	return (struct ends){
		.now = well(), .before = well(), .settled = true, .server_tells = true};
}

static uint32_t kind_of(const struct ends *ends, uint32_t metric)
{
	return diagnosis_of(ends, metric).kind;
}

static void nothing_is_said_of_what_is_well(void **state)
{
	struct ends ends = quiet(), none = {0};
	(void)state;
	for (uint32_t metric = 0; metric < METRICS; metric++) {
		assert_int_equal(kind_of(&ends, metric), DIAGNOSIS_NONE);
		assert_int_equal(kind_of(&none, metric), DIAGNOSIS_NONE);
	}
}

static void what_nobody_answers_is_dropped_if_the_server_s_agents_report(void **state)
{
	struct ends ends = quiet();
	struct diagnosis diagnosis;
	(void)state;
	ends.panes = (struct end_sums){.attempts = 50, .failed = 40};
	diagnosis = diagnosis_of(&ends, METRIC_CONNECTIONS_FAILED);
	assert_int_equal(diagnosis.kind, DIAGNOSIS_DROPPED);
	assert_true(diagnosis.part == 40 && diagnosis.whole == 50);
	ends.server_tells = false;
	assert_int_equal(kind_of(&ends, METRIC_CONNECTIONS_FAILED), DIAGNOSIS_SERVER_GONE);
	/* What was heard of the server before it failed says nothing of now. */
	ends.settled = false;
	assert_int_equal(kind_of(&ends, METRIC_CONNECTIONS_FAILED), DIAGNOSIS_NONE);
}

static void what_is_refused_reached_a_host_on_which_nobody_listens(void **state)
{
	struct ends ends = {.panes = {.attempts = 50, .failed = 20, .refused = 20}};
	(void)state;
	assert_int_equal(kind_of(&ends, METRIC_FAILURE_RATIO), DIAGNOSIS_NO_LISTENER);
	ends.panes.refused = 10; /* some of this, some of that */
	assert_int_equal(kind_of(&ends, METRIC_FAILURE_RATIO), DIAGNOSIS_NONE);
	ends.panes = (struct end_sums){.attempts = 4, .failed = 4, .refused = 4};
	assert_int_equal(kind_of(&ends, METRIC_FAILURE_RATIO), DIAGNOSIS_NONE);
	ends.panes = (struct end_sums){.attempts = 20, .failed = 10, .unreachable = 10};
	assert_int_equal(kind_of(&ends, METRIC_FAILURE_RATIO), DIAGNOSIS_NO_ROUTE);
	/* As many as ever. */
	ends.before = (struct end_sums){.attempts = 40, .failed = 15};
	assert_int_equal(kind_of(&ends, METRIC_BYTES), DIAGNOSIS_NONE);
}

static void segments_sent_again_are_the_path_and_slow_accepting_is_the_server(void **state)
{
	struct ends ends = quiet();
	(void)state;
	ends.now.retransmits = 600;
	assert_int_equal(kind_of(&ends, METRIC_BYTES), DIAGNOSIS_LOSSY_PATH);
	ends.before.retransmits = 300; /* as ever on this edge */
	assert_int_equal(kind_of(&ends, METRIC_RETRANSMIT_RATIO), DIAGNOSIS_NONE);
	ends = quiet();
	ends.now.srtt_us *= 3;
	assert_int_equal(kind_of(&ends, METRIC_RTT), DIAGNOSIS_SLOW_PATH);
	ends = quiet();
	ends.now.connect_us *= 50;
	assert_int_equal(kind_of(&ends, METRIC_CONNECT_LATENCY), DIAGNOSIS_SLOW_SERVER);
	ends.now.srtts = 0; /* nobody measured the path */
	assert_int_equal(kind_of(&ends, METRIC_CONNECT_LATENCY), DIAGNOSIS_NONE);
}

static void clients_are_blamed_for_traffic_only_if_all_else_is_well(void **state)
{
	struct ends ends = quiet();
	(void)state;
	ends.now.bytes /= 10;
	assert_int_equal(kind_of(&ends, METRIC_BYTES), DIAGNOSIS_CLIENTS);
	assert_int_equal(kind_of(&ends, METRIC_RTT), DIAGNOSIS_NONE);
	ends.now.resets = 30;
	assert_int_equal(kind_of(&ends, METRIC_BYTES), DIAGNOSIS_NONE);
}

static void lookups_that_fail_are_dns(void **state)
{
	struct ends ends = quiet();
	struct diagnosis diagnosis;
	(void)state;
	ends.now.lookups = 200;
	ends.now.lookups_failed = 100;
	ends.before.lookups = 200;
	diagnosis = diagnosis_of(&ends, METRIC_BYTES);
	assert_int_equal(diagnosis.kind, DIAGNOSIS_DNS);
	assert_true(diagnosis.part == 100 && diagnosis.whole == 200 && diagnosis.usual == 0);
}

static void it_is_between_zones_if_nothing_within_one_is_wrong(void **state)
{
	struct ends ends = {.panes = {.attempts = 90, .failed = 20, .refused = 20},
			    .bad = 20,
			    .bad_crossing = 20,
			    .all = 90,
			    .crossing = 60};
	(void)state;
	assert_true(diagnosis_of(&ends, METRIC_CONNECTIONS_FAILED).crossing);
	ends.crossing = 90; /* all of it passes between zones */
	assert_false(diagnosis_of(&ends, METRIC_CONNECTIONS_FAILED).crossing);
	ends.crossing = 60;
	ends.bad_crossing = 15;
	assert_false(diagnosis_of(&ends, METRIC_CONNECTIONS_FAILED).crossing);
}

static void each_has_a_name_and_a_sentence_that_fits(void **state)
{
	char text[DIAGNOSIS_TEXT_MAX];
	struct diagnosis diagnosis = {.crossing = true, .part = 1e15, .whole = 1e15, .usual = 1e15};
	(void)state;
	for (diagnosis.kind = 0; diagnosis.kind < DIAGNOSES; diagnosis.kind++) {
		diagnosis_text(&diagnosis, text);
		assert_string_not_equal(diagnosis_name(diagnosis.kind), "unknown");
		assert_int_equal(text[0] == '\0', diagnosis.kind == DIAGNOSIS_NONE);
		if (diagnosis.kind)
			assert_non_null(strstr(text, "between zones"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_said_of_what_is_well),
		cmocka_unit_test(what_nobody_answers_is_dropped_if_the_server_s_agents_report),
		cmocka_unit_test(what_is_refused_reached_a_host_on_which_nobody_listens),
		cmocka_unit_test(segments_sent_again_are_the_path_and_slow_accepting_is_the_server),
		cmocka_unit_test(clients_are_blamed_for_traffic_only_if_all_else_is_well),
		cmocka_unit_test(lookups_that_fail_are_dns),
		cmocka_unit_test(it_is_between_zones_if_nothing_within_one_is_wrong),
		cmocka_unit_test(each_has_a_name_and_a_sentence_that_fits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
