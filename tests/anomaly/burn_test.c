#include "anomaly/burn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

#define FIRST_NS  (1700000000 * NS_PER_S)
#define STEP_NS	  (10 * NS_PER_S)
#define HOUR_NS	  (3600 * NS_PER_S)
#define OBJECTIVE 0.99
#define PER_STEP  100

struct life {
	struct burn burn;
	uint64_t now_ns;
};

static void live(struct life *life, uint64_t time_ns, uint64_t failed)
{
	for (uint64_t end_ns = life->now_ns + time_ns; life->now_ns < end_ns;) {
		life->now_ns += STEP_NS;
		burn_add(&life->burn, life->now_ns, failed, PER_STEP);
	}
}

static struct life life_of(uint64_t time_ns, uint64_t failed)
{
	struct life life = {.now_ns = FIRST_NS};
	live(&life, time_ns, failed);
	return life;
}

static struct burn_look look(const struct life *life, uint32_t rate)
{
	return burn_look(&life->burn, rate, OBJECTIVE, life->now_ns);
}

static void each_rate_fires_at_its_share_of_the_budget(void **state)
{
	(void)state;
	static const struct {
		uint64_t failed; /* of 100 */
		uint64_t time_ns;
		bool fires[BURN_RATES];
	} cases[] = {
		{0, 72 * HOUR_NS, {false, false, false}},
		{1, 72 * HOUR_NS, {false, false, false}}, /* as was allowed */
		{2, 72 * HOUR_NS, {false, false, true}},
		{7, 72 * HOUR_NS, {false, true, true}},
		{15, 72 * HOUR_NS, {true, true, true}},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct life life = life_of(cases[i].time_ns, cases[i].failed);
		for (uint32_t rate = 0; rate < BURN_RATES; rate++) {
			struct burn_look seen = look(&life, rate);
			assert_true(seen.known);
			assert_int_equal(seen.fire, cases[i].fires[rate]);
			assert_true(seen.ratio == (double)cases[i].failed / 100);
		}
	}
}

static void the_short_window_says_when_it_is_over(void **state)
{
	(void)state;
	struct life life = life_of(2 * HOUR_NS, 20);
	assert_true(look(&life, 0).fire);
	live(&life, HOUR_NS / 4, 0);
	struct burn_look seen = look(&life, 0);
	assert_false(seen.fire);
	assert_true(seen.quiet && seen.ratio > 0.144);
}

static void a_short_outage_is_none_of_the_budgets(void **state)
{
	(void)state;
	struct life life = life_of(72 * HOUR_NS, 0);
	live(&life, 60 * NS_PER_S, 100);
	for (uint32_t rate = 0; rate < BURN_RATES; rate++)
		assert_false(look(&life, rate).fire);
	live(&life, 600 * NS_PER_S, 100);
	assert_true(look(&life, 0).fire);
	assert_false(look(&life, 1).fire || look(&life, 2).fire);
}

static void half_of_a_window_must_have_been_seen_and_some_failures(void **state)
{
	(void)state;
	struct life life = life_of(HOUR_NS / 2 - STEP_NS, 20);
	assert_false(look(&life, 0).known);
	live(&life, 2 * STEP_NS, 20);
	assert_true(look(&life, 0).fire);
	struct life few = {.now_ns = FIRST_NS};
	for (int minute = 0; minute < 120; minute++) {
		few.now_ns += 60 * NS_PER_S;
		burn_add(&few.burn, few.now_ns, 1, 1);
	}
	assert_true(look(&few, 0).known && !look(&few, 0).fire);
}

static void what_was_open_lasts_until_the_short_window_says_otherwise(void **state)
{
	(void)state;
	struct life life = life_of(240 * NS_PER_S, 0);
	assert_true(look(&life, 0).lasting && !look(&life, 0).known);
	live(&life, 60 * NS_PER_S + STEP_NS, 0);
	assert_false(look(&life, 0).lasting);
	assert_true(look(&life, 1).lasting);
	life = life_of(600 * NS_PER_S, 20);
	assert_true(look(&life, 0).lasting && look(&life, 0).quiet);
	live(&life, 600 * NS_PER_S, 0);
	assert_false(look(&life, 0).lasting);
	struct life none = {.now_ns = FIRST_NS};
	assert_false(look(&none, 0).lasting);
}

static void a_long_gap_leaves_nothing_behind(void **state)
{
	(void)state;
	struct life life = life_of(72 * HOUR_NS, 50);
	life.now_ns += 400 * HOUR_NS;
	live(&life, HOUR_NS, 0);
	for (uint32_t rate = 0; rate < BURN_RATES; rate++) {
		assert_int_equal(look(&life, rate).failed, 0);
		assert_int_equal(look(&life, rate).all, 360 * PER_STEP);
	}
}

static void a_lax_objective_has_limits_that_can_be_reached(void **state)
{
	(void)state;
	struct life life = life_of(2 * HOUR_NS, 60);
	struct burn_look seen = burn_look(&life.burn, 0, 0.5, life.now_ns);
	assert_true(seen.fire && seen.limit == 0.5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_rate_fires_at_its_share_of_the_budget),
		cmocka_unit_test(the_short_window_says_when_it_is_over),
		cmocka_unit_test(a_short_outage_is_none_of_the_budgets),
		cmocka_unit_test(half_of_a_window_must_have_been_seen_and_some_failures),
		cmocka_unit_test(what_was_open_lasts_until_the_short_window_says_otherwise),
		cmocka_unit_test(a_long_gap_leaves_nothing_behind),
		cmocka_unit_test(a_lax_objective_has_limits_that_can_be_reached),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
