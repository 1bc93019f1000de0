#include "anomaly/baseline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "anomaly/monitor.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

enum { DAY = 8640, WARM = 60 };

#define FIRST_NS (1700000000 * NS_PER_S)

/* A baseline and its time. */
struct stand {
	struct baseline_clock clock;
	struct baseline *baseline;
	uint64_t window;
};

static struct stand stand_new(void)
{
	struct stand stand = {.baseline = memory_zeroed(1, sizeof(struct baseline))};
	baseline_clock_init(&stand.clock);
	baseline_clock_set(&stand.clock, FIRST_NS);
	return stand;
}

static bool learn(struct stand *stand, uint32_t signal, double value, bool room)
{
	uint64_t end_ns = FIRST_NS + ++stand->window * 10 * NS_PER_S;
	baseline_clock_set(&stand->clock, end_ns);
	stand->baseline->windows++;
	return baseline_learn_level(&stand->clock, stand->baseline, signal, 1, value, room);
}

static struct baseline_look look(const struct stand *stand, uint32_t signal, double value)
{
	return baseline_look_level(&stand->clock, stand->baseline, signal, 1, value, 1, WARM);
}

/* Between 0 and 1, of a number. */
static double chance(uint64_t number)
{
	return (double)(hash_mix(number) >> 11) / 9007199254740992.0;
}

/* About normal: the sum of twelve. */
static double noise(uint64_t number)
{
	double sum = -6;
	for (uint64_t i = 0; i < 12; i++)
		sum += chance(number * 12 + i);
	return sum;
}

static void learn_noise(struct stand *stand, uint32_t signal, double mean, double spread,
			uint32_t windows)
{
	for (uint32_t i = 0; i < windows; i++)
		learn(stand, signal, mean + spread * noise(stand->window), true);
}

static void a_level_knows_what_is_usual_and_what_is_not(void **state)
{
	(void)state;
	struct stand stand = stand_new();
	learn_noise(&stand, SIGNAL_BYTES, 2e6, 1e5, 200);
	struct baseline_look usual = look(&stand, SIGNAL_BYTES, 2.1e6);
	assert_true(usual.decades == 0);
	assert_true(usual.value > 209999 && usual.value < 210001); /* bytes/s */
	assert_true(usual.expected > 190000 && usual.expected < 210000);
	assert_true(usual.least > 150000 && usual.least < usual.expected);
	assert_true(usual.most < 250000 && usual.most > usual.expected);
	assert_true(look(&stand, SIGNAL_BYTES, 8e6).decades > 9);
	assert_true(look(&stand, SIGNAL_BYTES, 2e5).decades > 9);
	baseline_free(stand.baseline);
}

static void what_cannot_matter_does_not_surprise(void **state)
{
	(void)state;
	static const struct {
		uint32_t signal;
		double usual, high, low; /* the last that do not matter */
	} cases[] = {
		{SIGNAL_OPENED, 100, 220, 24},	       {SIGNAL_BYTES, 2e6, 4.02e6, 6.57e5},
		{SIGNAL_CONNECT_LATENCY, 2e6, 4e6, 0}, {SIGNAL_RTT, 2e6, 4e6, 0},
		{SIGNAL_RETRANSMITS, 0.001, 0.007, 0}, {SIGNAL_DNS_LATENCY, 2e6, 9e6, 0},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stand stand = stand_new();
		for (int window = 0; window < 200; window++)
			learn(&stand, cases[i].signal, cases[i].usual, true);
		assert_true(look(&stand, cases[i].signal, cases[i].high * 0.99).decades == 0);
		assert_true(look(&stand, cases[i].signal, cases[i].high * 1.03).decades > 3);
		assert_true(look(&stand, cases[i].signal, cases[i].low * 1.01).decades == 0);
		if (cases[i].low > 0)
			assert_true(look(&stand, cases[i].signal, cases[i].low * 0.9).decades > 3);
		baseline_free(stand.baseline);
	}
}

static void a_young_level_is_silent_and_then_says_less(void **state)
{
	(void)state;
	struct stand stand = stand_new();
	learn_noise(&stand, SIGNAL_BYTES, 2e6, 1e5, WARM - 1);
	assert_true(look(&stand, SIGNAL_BYTES, 1e7).decades == 0);
	learn_noise(&stand, SIGNAL_BYTES, 2e6, 1e5, 1);
	float young = look(&stand, SIGNAL_BYTES, 1e7).decades;
	learn_noise(&stand, SIGNAL_BYTES, 2e6, 1e5, 300);
	assert_true(young > 0 && young < look(&stand, SIGNAL_BYTES, 1e7).decades);
	baseline_free(stand.baseline);
}

static void a_look_learns_nothing_and_a_shorter_window_says_less(void **state)
{
	(void)state;
	struct stand stand = stand_new();
	uint8_t before[BASELINE_STATE_MAX], after[BASELINE_STATE_MAX];
	learn_noise(&stand, SIGNAL_CONNECT_LATENCY, 2e6, 1e5, 200);
	uint32_t length = baseline_save(stand.baseline, SIGNAL_CONNECT_LATENCY, before);
	struct baseline_look whole = look(&stand, SIGNAL_CONNECT_LATENCY, 6e6);
	struct baseline_look second = baseline_look_level(
		&stand.clock, stand.baseline, SIGNAL_CONNECT_LATENCY, 1, 6e6, 3.16, WARM);
	assert_true(second.decades > 0 && second.decades < whole.decades);
	assert_int_equal(length, baseline_save(stand.baseline, SIGNAL_CONNECT_LATENCY, after));
	assert_memory_equal(before, after, length);
	baseline_free(stand.baseline);
}

static void a_limit_is_where_the_decades_are(void **state)
{
	(void)state;
	struct stand stand = stand_new();
	learn_noise(&stand, SIGNAL_BYTES, 2e6, 1.5e5, 300);
	for (int up = 0; up < 2; up++) {
		struct baseline_look far = look(&stand, SIGNAL_BYTES, up ? 4e7 : 0);
		double limit = baseline_limit_level(&stand.clock, stand.baseline, SIGNAL_BYTES, 1,
						    &far, 1, far.decades - 1) *
			       10;
		double beyond = up ? limit * 1.02 : limit * 0.98,
		       within = 2e6 + (limit - 2e6) * 0.98;
		assert_true(look(&stand, SIGNAL_BYTES, beyond).decades >= far.decades - 1);
		assert_true(look(&stand, SIGNAL_BYTES, within).decades < far.decades - 1);
	}
	baseline_free(stand.baseline);
}

static void a_ripe_series_gets_a_full_detector_while_there_is_room(void **state)
{
	(void)state;
	struct stand stand = stand_new(), held = stand_new();
	uint8_t bytes[BASELINE_STATE_MAX];
	uint32_t made = 0;
	for (uint32_t i = 0; i < DETECTOR_PROMOTE + BASELINE_FULL_WINDOWS + 1; i++) {
		made += learn(&stand, SIGNAL_BYTES, 2e6 + 1e5 * noise(i), true);
		assert_false(learn(&held, SIGNAL_BYTES, 2e6 + 1e5 * noise(i), false));
		assert_int_equal(baseline_save(stand.baseline, SIGNAL_BYTES, bytes),
				 i < DETECTOR_PROMOTE + BASELINE_FULL_WINDOWS - 1
					 ? sizeof(struct detector_small)
					 : sizeof(struct detector));
	}
	assert_int_equal(made, 1);
	assert_int_equal(baseline_detectors(stand.baseline), 1);
	assert_int_equal(baseline_detectors(held.baseline), 0);
	assert_true(held.baseline->levels[SIGNAL_BYTES]->held);
	assert_true(look(&stand, SIGNAL_BYTES, 2e7).decades > 9);
	assert_true(look(&held, SIGNAL_BYTES, 2e7).decades > 9);
	baseline_free(stand.baseline);
	baseline_free(held.baseline);
}

/* --- shares --- */

static void learn_share(struct baseline *baseline, double bad, double all, uint32_t windows)
{
	for (uint32_t i = 0; i < windows; i++) {
		baseline_learn_share(baseline, SIGNAL_FAILED, (struct baseline_counts){bad, all},
				     false);
		baseline->windows++;
	}
}

static float share_decades(const struct baseline *baseline, double bad, double all)
{
	return baseline_look_share(baseline, SIGNAL_FAILED, (struct baseline_counts){bad, all},
				   WARM)
		.decades;
}

static void failures_are_weighed_by_how_many_were_to_be_expected(void **state)
{
	(void)state;
	static const struct {
		double bad, all; /* of the past, a window */
		double now_bad, now_all;
		bool told;
	} cases[] = {
		{0, 100, 4, 100, false},   /* too few */
		{0, 100, 5, 100, true},	   /* 5 where there were none in an hour */
		{0, 100, 19, 1000, false}, /* less than 2 % */
		{0, 100, 21, 1000, true},  {5, 100, 9, 100, false},   /* as so often */
		{5, 100, 30, 100, true},   {30, 100, 60, 100, false}, /* less than twice as many */
		{0, 0.1, 5, 5, true}, /* a quiet edge, all of five */
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct baseline baseline = {0};
		learn_share(&baseline, cases[i].bad, cases[i].all, 360);
		float decades = share_decades(&baseline, cases[i].now_bad, cases[i].now_all);
		assert_int_equal(decades >= 9, cases[i].told);
	}
}

static void only_what_fails_outright_is_told_before_the_warm_up(void **state)
{
	(void)state;
	struct baseline baseline = {0};
	assert_true(share_decades(&baseline, 20, 20) >= 9);
	assert_true(share_decades(&baseline, 20, 40) >= 9);
	assert_true(share_decades(&baseline, 19, 19) == 0);
	assert_true(share_decades(&baseline, 20, 41) == 0);
	learn_share(&baseline, 0, 100, WARM);
	assert_true(share_decades(&baseline, 19, 41) >= 9);
}

static void own_bursts_are_taken_off_but_never_hide_an_outage(void **state)
{
	(void)state;
	struct baseline baseline = {0}, calm = {0};
	for (int i = 0; i < 720; i++) {
		learn_share(&baseline, i % 60 == 59 ? 8 : 0, 100, 1);
		learn_share(&calm, 0, 100, 1);
	}
	assert_true(share_decades(&calm, 10, 100) >= 9);
	assert_true(share_decades(&baseline, 10, 100) < 9);
	assert_true(share_decades(&baseline, 60, 100) >= 9);
}

static void a_limit_of_a_share_is_where_the_decades_are(void **state)
{
	(void)state;
	struct baseline baseline = {0};
	learn_share(&baseline, 2, 100, 360);
	struct baseline_counts counts = {80, 100};
	struct baseline_look seen = baseline_look_share(&baseline, SIGNAL_FAILED, counts, WARM);
	double limit = baseline_limit_share(&baseline, SIGNAL_FAILED, counts, &seen, 9) * 100;
	assert_true(share_decades(&baseline, limit * 1.01, 100) >= 9);
	assert_true(share_decades(&baseline, limit * 0.99, 100) < 9);
	/* As a ratio. */
	assert_true(seen.value == 0.8 && seen.expected > 0.019 && seen.expected < 0.021);
}

/* --- states --- */

static void a_state_is_read_back_as_it_was(void **state)
{
	(void)state;
	struct stand stand = stand_new();
	uint8_t bytes[BASELINE_STATE_MAX], again[BASELINE_STATE_MAX];
	static const uint32_t signals[] = {SIGNAL_BYTES, SIGNAL_RTT, SIGNAL_FAILED};
	learn_noise(&stand, SIGNAL_BYTES, 2e6, 1e5, DETECTOR_PROMOTE + 200);
	learn_noise(&stand, SIGNAL_RTT, 2e6, 1e5, 100);
	learn_share(stand.baseline, 1, 100, 10);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct baseline *back = memory_zeroed(1, sizeof(*back));
		uint32_t length = baseline_save(stand.baseline, signals[i], bytes);
		assert_true(length > 0);
		assert_true(baseline_load(back, signals[i], bytes, length, true));
		assert_int_equal(length, baseline_save(back, signals[i], again));
		assert_memory_equal(bytes, again, length);
		baseline_free(back);
	}
	assert_int_equal(0, baseline_save(stand.baseline, SIGNAL_OPENED, bytes));
	baseline_free(stand.baseline);
}

static void foreign_states_are_not_believed(void **state)
{
	(void)state;
	struct baseline *baseline = memory_zeroed(1, sizeof(*baseline));
	uint8_t bytes[BASELINE_STATE_MAX] = {0};
	/* Never learned, and of a length that none has. */
	assert_false(baseline_load(baseline, SIGNAL_BYTES, bytes, sizeof(struct detector), true));
	assert_false(
		baseline_load(baseline, SIGNAL_BYTES, bytes, sizeof(struct detector_small), true));
	assert_false(baseline_load(baseline, SIGNAL_BYTES, bytes, 7, true));
	assert_false(baseline_load(baseline, SIGNAL_FAILED, bytes, 7, true));
	/* No numbers. */
	memset(bytes, 0xff, sizeof(bytes));
	assert_false(baseline_load(baseline, SIGNAL_BYTES, bytes, sizeof(struct detector), true));
	assert_false(
		baseline_load(baseline, SIGNAL_BYTES, bytes, sizeof(struct detector_small), true));
	assert_false(baseline_load(baseline, SIGNAL_FAILED, bytes, sizeof(struct share), true));
	for (uint32_t i = 0; i < SIGNAL_LEVELS; i++)
		assert_null(baseline->levels[i]);
	baseline_free(baseline);
}

/* Whatever bytes are taken, steps and looks of them end well. */
static void what_is_believed_can_be_stepped(void **state)
{
	(void)state;
	uint32_t taken = 0;
	for (uint64_t seed = 0; seed < 20000; seed++) {
		struct stand stand = stand_new();
		uint8_t bytes[BASELINE_STATE_MAX];
		uint32_t length =
			seed % 2 ? sizeof(struct detector) : sizeof(struct detector_small);
		learn_noise(&stand, SIGNAL_RTT, 2e6, 1e5, 30);
		if (seed % 2) {
			struct detector full = {0};
			detector_step(&stand.clock.plan, &full, 1, &stand.clock.window, 5);
			memcpy(bytes, &full, sizeof(full));
		} else {
			baseline_save(stand.baseline, SIGNAL_RTT, bytes);
		}
		for (int i = 0; i < 6; i++)
			bytes[hash_mix(seed * 8 + (uint64_t)i) % length] =
				(uint8_t)hash_mix(seed + (uint64_t)i);
		if (baseline_load(stand.baseline, SIGNAL_RTT, bytes, length, true)) {
			taken++;
			learn_noise(&stand, SIGNAL_RTT, 2e6, 1e5, 30);
			look(&stand, SIGNAL_RTT, 1e9);
		}
		baseline_free(stand.baseline);
	}
	assert_true(taken > 1000);
}

/* --- false alarms --- */

enum shape { SHAPE_NORMAL, SHAPE_SKEWED, SHAPE_BURSTS, SHAPE_DAY, SHAPE_STEPS, SHAPES };

/* A value around 1. */
static double shape_value(enum shape shape, uint64_t series, uint32_t window)
{
	uint64_t number = series * 1000003 + window;
	double one = noise(number);
	switch (shape) {
	case SHAPE_NORMAL:
		return 1 + 0.1 * one;
	case SHAPE_SKEWED: { /* e^x, by its series */
		double x = 0.5 * one, e = 1, term = 1;
		for (int i = 1; i < 12; i++)
			e += term *= x / i;
		return e;
	}
	case SHAPE_BURSTS:
		return chance(number) < 0.02 ? 1 + 10 * chance(number + 77) : 1 + 0.1 * one;
	case SHAPE_DAY: {
		double at = (double)(window % DAY) / DAY;
		return 0.4 + 4 * at * (1 - at) + 0.05 * one;
	}
	default: /* another level each two hours */
		return 0.7 + 0.6 * chance(series * 7919 + window / 720) + 0.05 * one;
	}
}

/* At most 2 incidents a day of 10^5 series: none may be seen in this sample of 200 days. What
 * counts is what anomaly.c tells: of more traffic, evidence for seven windows in a row; of all
 * else, surprise twice in a row. */
static void a_day_without_a_fault_is_silent(void **state)
{
	(void)state;
	static const struct {
		uint32_t signal;
		double usual;
	} kinds[] = {{SIGNAL_BYTES, 3e6},
		     {SIGNAL_OPENED, 400},
		     {SIGNAL_CONNECT_LATENCY, 5e6},
		     {SIGNAL_RTT, 3e6}};
	for (uint32_t kind = 0; kind < 4; kind++) {
		for (uint32_t series = 0; series < 5 * SHAPES; series++) {
			struct stand stand = stand_new();
			uint32_t signal = kinds[kind].signal, surprises = 0, rises = 0;
			bool volume = signal == SIGNAL_BYTES || signal == SIGNAL_OPENED;
			for (uint32_t window = 0; window < 2 * DAY; window++) {
				double value = kinds[kind].usual *
					       shape_value(series % SHAPES, series, window);
				struct baseline_look seen =
					look(&stand, signal, value > 0 ? value : 0);
				bool rise = volume && seen.value > seen.expected;
				surprises = seen.decades >= 9 && !rise ? surprises + 1 : 0;
				rises = seen.decades >= 4 && rise ? rises + 1 : 0;
				if (surprises >= 2 || rises >= 7)
					fail_msg("signal %u shape %u series %u window %u: %g",
						 signal, series % SHAPES, series, window,
						 (double)seen.decades);
				learn(&stand, signal, value > 0 ? value : 0, true);
			}
			baseline_free(stand.baseline);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_level_knows_what_is_usual_and_what_is_not),
		cmocka_unit_test(what_cannot_matter_does_not_surprise),
		cmocka_unit_test(a_young_level_is_silent_and_then_says_less),
		cmocka_unit_test(a_look_learns_nothing_and_a_shorter_window_says_less),
		cmocka_unit_test(a_limit_is_where_the_decades_are),
		cmocka_unit_test(a_ripe_series_gets_a_full_detector_while_there_is_room),
		cmocka_unit_test(failures_are_weighed_by_how_many_were_to_be_expected),
		cmocka_unit_test(only_what_fails_outright_is_told_before_the_warm_up),
		cmocka_unit_test(own_bursts_are_taken_off_but_never_hide_an_outage),
		cmocka_unit_test(a_limit_of_a_share_is_where_the_decades_are),
		cmocka_unit_test(a_state_is_read_back_as_it_was),
		cmocka_unit_test(foreign_states_are_not_believed),
		cmocka_unit_test(what_is_believed_can_be_stepped),
		cmocka_unit_test(a_day_without_a_fault_is_silent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
