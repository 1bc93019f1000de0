#include "aggregate/tally.h"

#include <stdio.h>

#include "tests/aggregate/world.h"

static int64_t tallied(const struct tally *tally, unsigned column)
{
	for (uint32_t i = 0; i < tally->count; i++)
		if (tally->columns[i] == column)
			return tally->values[i];
	return 0;
}

static const struct traffic traffic = {
	.tx_bytes = 1000, .rx_bytes = 200, .tx_segments = 10, .rx_segments = 4, .retransmits = 3};

static void a_client_half_fills_client_columns_as_they_are(void **state)
{
	(void)state;
	struct place place = {.side = SIDE_CLIENT, .counts_from = SIDE_CLIENT};
	struct delta delta = {.place = place, .traffic = traffic};
	struct tally tally;
	tally_delta(&tally, &delta);
	assert_int_equal(tallied(&tally, COUNTER_CLIENT_TX_BYTES), 1000);
	assert_int_equal(tallied(&tally, COUNTER_CLIENT_RX_BYTES), 200);
	assert_int_equal(tallied(&tally, COUNTER_CLIENT_RETRANSMITS), 3);
	assert_int_equal(tallied(&tally, COUNTER_TX_BYTES), 1000);
	assert_int_equal(tallied(&tally, COUNTER_RX_BYTES), 200);
	assert_int_equal(tallied(&tally, COUNTER_TX_SEGMENTS), 10);
	assert_int_equal(tallied(&tally, COUNTER_RX_SEGMENTS), 4);
	assert_int_equal(tallied(&tally, COUNTER_RETRANSMITS), 3);
	assert_int_equal(tally.count, 8);
}

static void a_server_half_is_turned_round(void **state)
{
	(void)state;
	struct place place = {.side = SIDE_SERVER, .counts_from = SIDE_SERVER};
	struct delta delta = {.place = place, .traffic = traffic};
	struct tally tally;
	tally_delta(&tally, &delta);
	assert_int_equal(tallied(&tally, COUNTER_SERVER_TX_BYTES), 200);
	assert_int_equal(tallied(&tally, COUNTER_SERVER_RX_BYTES), 1000);
	assert_int_equal(tallied(&tally, COUNTER_SERVER_RETRANSMITS), 3);
	assert_int_equal(tallied(&tally, COUNTER_TX_BYTES), 200);
	assert_int_equal(tallied(&tally, COUNTER_RX_BYTES), 1000);
	assert_int_equal(tallied(&tally, COUNTER_TX_SEGMENTS), 4);
	assert_int_equal(tallied(&tally, COUNTER_RX_SEGMENTS), 10);
	assert_int_equal(tallied(&tally, COUNTER_RETRANSMITS), 3);
	assert_int_equal(tally.count, 8);
}

static void a_half_that_does_not_count_fills_its_side_its_round_trips_and_completeness(void **state)
{
	(void)state;
	struct place place = {.side = SIDE_SERVER, .counts_from = SIDE_CLIENT, .joined = true};
	struct delta delta = {.place = place,
			      .flags = DELTA_OPENED | DELTA_CLOSED | DELTA_FIRST_IN_PANE,
			      .reason = CLOSE_RESET,
			      .traffic = traffic,
			      .srtt_us = 5,
			      .node_received = 9,
			      .node_lost = 1};
	struct tally tally;
	tally_delta(&tally, &delta);
	assert_int_equal(tallied(&tally, COUNTER_SERVER_TX_BYTES), 200);
	assert_int_equal(tallied(&tally, COUNTER_AGENT_RECEIVED), 9);
	assert_int_equal(tallied(&tally, COUNTER_AGENT_ISSUED), 10);
	assert_int_equal(tallied(&tally, COUNTER_SRTT_US), 5);
	assert_int_equal(tallied(&tally, COUNTER_SRTT_COUNT), 1);
	assert_int_equal(tally.count, 7);
	assert_int_equal(delta_srtt_us(&delta), 5);
}

static void connect_time_comes_from_the_client_whoever_counts(void **state)
{
	(void)state;
	struct place place = {.side = SIDE_CLIENT, .counts_from = SIDE_SERVER};
	struct delta delta = {.place = place, .flags = DELTA_OPENED, .connect_us = 77};
	struct tally tally;
	tally_delta(&tally, &delta);
	assert_int_equal(tallied(&tally, COUNTER_CONNECT_US), 77);
	assert_int_equal(tallied(&tally, COUNTER_CONNECT_COUNT), 1);
	assert_int_equal(tally.count, 2);
	delta.flags = DELTA_FAILED;
	delta.reason = CLOSE_REFUSED;
	assert_int_equal(delta_connect_us(&delta), 0);
}

static void every_end_has_its_column(void **state)
{
	(void)state;
	static const struct {
		uint32_t flags, reason;
		unsigned total, column;
	} cases[] = {
		{DELTA_FAILED, CLOSE_REFUSED, COUNTER_FAILED, COUNTER_FAILED_REFUSED},
		{DELTA_FAILED, CLOSE_CONNECT_TIMEOUT, COUNTER_FAILED, COUNTER_FAILED_TIMEOUT},
		{DELTA_FAILED, CLOSE_UNREACHABLE, COUNTER_FAILED, COUNTER_FAILED_UNREACHABLE},
		{DELTA_FAILED, CLOSE_ABORTED, COUNTER_FAILED, COUNTER_FAILED_ABORTED},
		{DELTA_FAILED, CLOSE_UNKNOWN, COUNTER_FAILED, COUNTER_FAILED_ABORTED},
		{DELTA_CLOSED, CLOSE_RESET, COUNTER_CLOSED, COUNTER_RESETS},
		{DELTA_CLOSED, CLOSE_TIMEOUT, COUNTER_CLOSED, COUNTER_TIMEOUTS},
	};
	struct place place = {.side = SIDE_CLIENT, .counts_from = SIDE_CLIENT};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct delta delta = {
			.place = place, .flags = cases[i].flags, .reason = cases[i].reason};
		struct tally tally;
		tally_delta(&tally, &delta);
		assert_int_equal(tallied(&tally, cases[i].total), 1);
		assert_int_equal(tallied(&tally, cases[i].column), 1);
		assert_int_equal(tally.count, 2);
	}
}

static void opened_joined_srtt_and_active_are_counted(void **state)
{
	(void)state;
	struct place place = {.side = SIDE_CLIENT, .counts_from = SIDE_CLIENT, .joined = true};
	struct delta delta = {.place = place,
			      .flags = DELTA_OPENED | DELTA_FIRST_IN_PANE | DELTA_FIRST_IN_10S,
			      .srtt_us = 40};
	struct tally tally;
	tally_delta(&tally, &delta);
	assert_int_equal(tallied(&tally, COUNTER_OPENED), 1);
	assert_int_equal(tallied(&tally, COUNTER_JOINED), 1);
	assert_int_equal(tallied(&tally, COUNTER_ACTIVE), 1);
	assert_int_equal(tallied(&tally, COLUMN_ACTIVE_1S), 0);
	assert_int_equal(tallied(&tally, COLUMN_ACTIVE_10S), 1);
	assert_int_equal(tallied(&tally, COUNTER_SRTT_US), 40);
	assert_int_equal(tallied(&tally, COUNTER_SRTT_COUNT), 1);
}

static void a_byte_is_late_or_recovered_but_not_both(void **state)
{
	(void)state;
	struct place place = {.side = SIDE_CLIENT, .counts_from = SIDE_CLIENT};
	struct delta delta = {.place = place,
			      .flags = DELTA_LATE | DELTA_RECOVERED | DELTA_OPENED,
			      .traffic = traffic};
	struct tally tally;
	tally_delta(&tally, &delta);
	assert_int_equal(tallied(&tally, COUNTER_LATE_BYTES), 1200);
	assert_int_equal(tallied(&tally, COUNTER_LATE_CONNECTIONS), 1);
	assert_int_equal(tallied(&tally, COUNTER_RECOVERED_BYTES), 0);
	delta.flags = DELTA_RECOVERED;
	tally_delta(&tally, &delta);
	assert_int_equal(tallied(&tally, COUNTER_LATE_BYTES), 0);
	assert_int_equal(tallied(&tally, COUNTER_RECOVERED_BYTES), 1200);
}

static void a_probe_fills_nothing(void **state)
{
	(void)state;
	struct place place = {.side = SIDE_CLIENT, .counts_from = SIDE_CLIENT};
	struct delta delta = {.place = place,
			      .flags = DELTA_PROBE | DELTA_OPENED,
			      .traffic = traffic,
			      .connect_us = 4,
			      .srtt_us = 5,
			      .node_received = 7};
	struct tally tally;
	tally_delta(&tally, &delta);
	assert_int_equal(tally.count, 0);
	assert_int_equal(delta_connect_us(&delta) + delta_srtt_us(&delta), 0);
}

/* What the deltas of a window filled, their amendment takes away again, distributions and path
 * samples apart. */
static void an_amendment_takes_what_its_deltas_gave(void **state)
{
	(void)state;
	struct place place = {.side = SIDE_CLIENT, .counts_from = SIDE_CLIENT, .joined = true};
	struct delta delta = {.place = place,
			      .flags = DELTA_OPENED | DELTA_CLOSED | DELTA_FIRST_IN_10S,
			      .reason = CLOSE_TIMEOUT,
			      .traffic = traffic,
			      .connect_us = 31,
			      .node_received = 5,
			      .node_lost = 2};
	struct amendment amendment = {.sum = delta, .opened = 1, .closed = 1};
	struct tally given, taken;
	tally_delta(&given, &delta);
	tally_amendment(&taken, &amendment, &place, -1);
	assert_int_equal(given.count, taken.count);
	for (unsigned column = 0; column < COLUMNS; column++)
		assert_int_equal(tallied(&given, column), -tallied(&taken, column));

	delta.flags = DELTA_FAILED;
	amendment = (struct amendment){.sum = delta};
	for (unsigned reason = CLOSE_REFUSED; reason <= CLOSE_ABORTED; reason++) {
		delta.reason = amendment.sum.reason = reason;
		amendment.failed[reason] = 1;
		tally_delta(&given, &delta);
		tally_amendment(&taken, &amendment, &place, -1);
		for (unsigned column = 0; column < COLUMNS; column++)
			assert_int_equal(tallied(&given, column), -tallied(&taken, column));
		amendment.failed[reason] = 0;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_client_half_fills_client_columns_as_they_are),
		cmocka_unit_test(a_server_half_is_turned_round),
		cmocka_unit_test(
			a_half_that_does_not_count_fills_its_side_its_round_trips_and_completeness),
		cmocka_unit_test(connect_time_comes_from_the_client_whoever_counts),
		cmocka_unit_test(every_end_has_its_column),
		cmocka_unit_test(opened_joined_srtt_and_active_are_counted),
		cmocka_unit_test(a_byte_is_late_or_recovered_but_not_both),
		cmocka_unit_test(a_probe_fills_nothing),
		cmocka_unit_test(an_amendment_takes_what_its_deltas_gave),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
