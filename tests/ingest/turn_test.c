#include "ingest/turn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/label.h"

/* Applies a label; returns the side that counts then. */
static uint8_t take(struct turns *turns, struct place *place, uint8_t side, bool joined,
		    uint32_t since)
{
	const struct label label = {.counts_from = side, .joined = joined, .counts_since = since};
	uint8_t counts_from = side;
	turns_label(turns, &label, place, &counts_from);
	place->counts_from = counts_from;
	place->joined = joined;
	return counts_from;
}

static void a_half_that_never_turned_counts_as_it_does(void **state)
{
	(void)state;
	const struct turns none = {0};
	assert_int_equal(turns_side(&none, SIDE_CLIENT, 0), SIDE_CLIENT);
	assert_int_equal(turns_side(&none, SIDE_SERVER, UINT32_MAX), SIDE_SERVER);
}

static void each_ten_seconds_have_the_side_of_their_turn(void **state)
{
	(void)state;
	struct turns turns = {0};
	struct place place = {.counts_from = SIDE_CLIENT, .joined = true};
	assert_int_equal(take(&turns, &place, SIDE_SERVER, true, 100), SIDE_SERVER);
	assert_int_equal(take(&turns, &place, SIDE_CLIENT, true, 110), SIDE_CLIENT);
	assert_int_equal(turns_side(&turns, SIDE_CLIENT, 99), SIDE_CLIENT);
	assert_int_equal(turns_side(&turns, SIDE_CLIENT, 100), SIDE_SERVER);
	assert_int_equal(turns_side(&turns, SIDE_CLIENT, 109), SIDE_SERVER);
	assert_int_equal(turns_side(&turns, SIDE_CLIENT, 110), SIDE_CLIENT);
}

static void before_the_oldest_turn_that_is_known_nothing_turned(void **state)
{
	(void)state;
	struct turns turns = {0};
	struct place place = {.counts_from = SIDE_CLIENT, .joined = true};
	for (uint32_t i = 1; i <= TURNS_MAX + 1; i++)
		take(&turns, &place, i % 2 ? SIDE_SERVER : SIDE_CLIENT, true, 100 * i);
	assert_int_equal(turns.at[0], 100 * (TURNS_MAX + 1));
	assert_int_equal(turns_side(&turns, SIDE_SERVER, 250), SIDE_CLIENT);
	assert_int_equal(turns_side(&turns, SIDE_SERVER, 199), SIDE_SERVER);
	assert_int_equal(turns_side(&turns, SIDE_SERVER, 50), SIDE_SERVER);
}

static void a_turn_that_is_taken_back_leaves_no_trace(void **state)
{
	(void)state;
	struct turns turns = {0};
	struct place place = {.counts_from = SIDE_CLIENT, .joined = true};
	take(&turns, &place, SIDE_SERVER, true, 100);
	assert_int_equal(take(&turns, &place, SIDE_CLIENT, true, 100), SIDE_CLIENT);
	assert_int_equal(turns.at[0], 0);
}

static void a_pair_knows_its_turns_longer_than_the_join(void **state)
{
	(void)state;
	struct turns turns = {0};
	struct place place = {.counts_from = SIDE_CLIENT, .joined = true};
	take(&turns, &place, SIDE_SERVER, true, 100);
	take(&turns, &place, SIDE_CLIENT, true, 101);
	assert_int_equal(take(&turns, &place, SIDE_CLIENT, true, 0), SIDE_CLIENT);
	assert_int_equal(turns_side(&turns, SIDE_CLIENT, 100), SIDE_SERVER);
}

static void a_half_that_met_another_has_the_pairs_turns(void **state)
{
	(void)state;
	struct turns turns = {0};
	struct place place = {.counts_from = SIDE_SERVER, .joined = false};
	assert_int_equal(take(&turns, &place, SIDE_SERVER, true, 100), SIDE_SERVER);
	assert_int_equal(turns_side(&turns, SIDE_SERVER, 99), SIDE_CLIENT);
	assert_int_equal(take(&turns, &place, SIDE_SERVER, false, 0), SIDE_SERVER);
	assert_int_equal(turns_side(&turns, SIDE_SERVER, 99), SIDE_SERVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_half_that_never_turned_counts_as_it_does),
		cmocka_unit_test(each_ten_seconds_have_the_side_of_their_turn),
		cmocka_unit_test(before_the_oldest_turn_that_is_known_nothing_turned),
		cmocka_unit_test(a_turn_that_is_taken_back_leaves_no_trace),
		cmocka_unit_test(a_pair_knows_its_turns_longer_than_the_join),
		cmocka_unit_test(a_half_that_met_another_has_the_pairs_turns),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
