#include "anomaly/detector.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "anomaly/sha256.h"
#include "base/clock.h"
#include "base/hash.h"

#define DAY_NS (24 * 3600 * (int64_t)NS_PER_S)
/* A Monday, at midnight. */
#define BEGIN_NS (19723 * DAY_NS)

struct stream {
	struct detector_plan plan;
	struct detector detector;
	uint64_t key;
	int64_t time_ns;
};

static struct stream stream_of(uint64_t interval_s)
{
	struct stream stream = {.key = 7, .time_ns = BEGIN_NS};
	detector_plan_init(&stream.plan, &detector_defaults, &detector_alert_defaults,
			   interval_s * NS_PER_S);
	return stream;
}

static float stream_step(struct stream *stream, double value)
{
	struct detector_window window = detector_window_at(&stream->plan, stream->time_ns);
	stream->time_ns += (int64_t)stream->plan.interval_ns;
	return detector_step(&stream->plan, &stream->detector, stream->key, &window, value);
}

static struct detection stream_judge(struct stream *stream, double value)
{
	float surprise = stream_step(stream, value);
	return detector_alert(&stream->plan, &stream->detector, surprise);
}

/* About normal, mean 0, deviation 1; of a seed and a number. */
static double noise(uint64_t seed, uint64_t number)
{
	double sum = 0;
	for (uint64_t i = 0; i < 12; i++)
		sum += (double)(hash_mix(seed << 40 ^ number << 4 ^ i) >> 11) * 0x1p-53;
	return sum - 6;
}

static uint32_t detections_of(struct stream *stream, uint64_t seed, uint32_t count, double mean,
			      double deviation)
{
	uint32_t detections = 0;
	for (uint32_t i = 0; i < count; i++)
		detections += stream_judge(stream, mean + deviation * noise(seed, i)).fired;
	return detections;
}

static void a_state_has_256_bytes_and_a_small_one_32(void **state)
{
	(void)state;
	assert_int_equal(sizeof(struct detector), 256);
	assert_int_equal(sizeof(struct detector_small), 32);
}

/* A month of a series with a season, spikes, gaps and heavy noise. */
static double wild(uint64_t seed, uint32_t i)
{
	double value = 50 + 20 * (double)(i % 144 < 72 ? i % 144 : 144 - i % 144) / 72;
	value += 3 * noise(seed, i);
	if (hash_mix(seed ^ i) % 97 == 0)
		value *= 1 + 1e3 / (double)(1 + hash_mix(i) % 1000);
	return hash_mix(seed + i) % 1009 == 0 ? -1e12 : value;
}

static void digest_of(uint64_t seed, bool restores, uint8_t digest[SHA256_BYTES])
{
	struct stream stream = stream_of(600);
	struct sha256 sha;
	sha256_init(&sha);
	for (uint32_t i = 0; i < 30 * 144; i++) {
		struct detection detection = stream_judge(&stream, wild(seed, i));
		float score = detection.score;
		if (i % 50 == 0)
			stream.time_ns += (int64_t)(hash_mix(i) % 20) * 600 * (int64_t)NS_PER_S;
		sha256_push(&sha, &score, sizeof(score));
		if (restores && hash_mix(seed * 31 + i) % 100 == 0) {
			uint8_t bytes[sizeof(struct detector)];
			memcpy(bytes, &stream.detector, sizeof(bytes));
			memset(&stream.detector, 0xaa, sizeof(stream.detector));
			detector_plan_init(&stream.plan, &detector_defaults,
					   &detector_alert_defaults, 600 * NS_PER_S);
			memcpy(&stream.detector, bytes, sizeof(bytes));
		}
	}
	sha256_push(&sha, &stream.detector, sizeof(stream.detector));
	sha256_done(&sha, digest);
}

static void a_state_saved_and_restored_gives_the_same_bits(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		uint8_t straight[SHA256_BYTES], restored[SHA256_BYTES];
		digest_of(seed, false, straight);
		digest_of(seed, true, restored);
		if (memcmp(straight, restored, sizeof(straight)) != 0)
			fail_msg("seed %lu", (unsigned long)seed);
	}
}

static void noise_alone_is_seldom_detected(void **state)
{
	(void)state;
	static const uint64_t intervals_s[] = {1, 10, 60, 300, 3600};
	for (size_t i = 0; i < 5; i++) {
		uint32_t detections = 0;
		for (uint64_t seed = 1; seed <= 10; seed++) {
			struct stream stream = stream_of(intervals_s[i]);
			detections += detections_of(&stream, seed, 5000, 100, 10);
		}
		if (detections > 100) /* of 50,000 values: two in a thousand */
			fail_msg("%u detections at %lu s", detections,
				 (unsigned long)intervals_s[i]);
	}
}

static void a_spike_and_a_drop_are_detected_at_once_whatever_the_scale(void **state)
{
	(void)state;
	static const double scales[] = {1e-6, 1, 1e9};
	for (int i = 0; i < 3; i++) {
		for (uint64_t seed = 1; seed <= 10; seed++) {
			struct stream stream = stream_of(10);
			double up = 200 * scales[i], down = 0;
			detections_of(&stream, seed, 1000, 100 * scales[i], 5 * scales[i]);
			struct stream other = stream;
			if (!stream_judge(&stream, up).fired || !stream_judge(&other, down).fired)
				fail_msg("seed %lu scale %g", (unsigned long)seed, scales[i]);
		}
	}
}

/* Small differences of large numbers. */
static void a_series_far_from_zero_is_seen_in_its_own_scale(void **state)
{
	(void)state;
	struct stream stream = stream_of(60);
	detections_of(&stream, 3, 3 * 1440, 1e9, 1);
	assert_true(stream_judge(&stream, 1e9 + 40).fired);
}

static void an_episode_is_told_when_it_begins_and_not_all_the_while(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct stream stream = stream_of(60);
		detections_of(&stream, seed, 1000, 100, 3);
		assert_true(stream_judge(&stream, 160).fired);
		uint32_t again = detections_of(&stream, seed + 100, 15, 160, 3);
		if (again > 0)
			fail_msg("seed %lu: %u more", (unsigned long)seed, again);
	}
}

static void a_new_series_is_silent_and_then_is_not(void **state)
{
	(void)state;
	struct stream stream = stream_of(60);
	for (uint32_t i = 0; i + 1 < detector_alert_defaults.young; i++)
		assert_false(stream_judge(&stream, i % 10 == 0 ? 1e6 : 1).fired);
	stream = stream_of(60);
	detections_of(&stream, 1, detector_alert_defaults.young, 100, 1);
	assert_true(stream_judge(&stream, 1000).fired);
}

static void a_constant_series_that_changes_is_detected(void **state)
{
	(void)state;
	static const double levels[] = {0, 42, -1e6};
	for (int i = 0; i < 3; i++) {
		struct stream stream = stream_of(10);
		assert_int_equal(detections_of(&stream, 1, 3000, levels[i], 0), 0);
		assert_true(stream_judge(&stream, levels[i] + 1e4).fired);
	}
}

/* What is usual at night is news at noon, to the view of the season alone. */
static void the_hour_decides_what_is_usual(void **state)
{
	(void)state;
	struct detector_params params = detector_defaults;
	params.weight_level = params.weight_step = params.weight_shift = 0;
	params.weight_restless = params.weight_record = 0;
	params.weight_season = 1;
	float at_night = 0, at_noon = 0;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct stream stream = stream_of(300);
		detector_plan_init(&stream.plan, &params, &detector_alert_defaults, 300 * NS_PER_S);
		for (uint32_t i = 0; i < 10 * 288 + 150;
		     i++) { /* to the second Thursday, past noon */
			double hour = i / 12.0, of_day = hour - 24 * (double)(i / 288);
			bool changed = i >= 10 * 288 + 140;
			float surprise = stream_step(&stream, (changed	     ? 100
							       : of_day < 12 ? 100 + 75 * of_day
									     : 1900 - 75 * of_day) +
								      5 * noise(seed, i));
			at_noon += changed ? surprise : 0;
			at_night += i >= 10 * 288 && i < 10 * 288 + 10 ? surprise : 0;
		}
	}
	assert_true(at_noon > 50);
	assert_true(at_night < 20);
}

static void one_huge_value_does_not_blind_the_profile(void **state)
{
	(void)state;
	struct stream stream = stream_of(300), spoiled;
	detections_of(&stream, 1, 5 * 288, 100, 5);
	spoiled = stream;
	stream_step(&stream, 100);
	stream_step(&spoiled, 1e25);
	detections_of(&stream, 2, 20 * 288, 100, 5);
	detections_of(&spoiled, 2, 20 * 288, 100, 5);
	float straight = stream_step(&stream, 150), after = stream_step(&spoiled, 150);
	assert_true(after > 0.7f * straight);
}

/* The greatest value is one for two weeks and then no more. */
static void what_was_seen_is_forgotten_after_two_weeks(void **state)
{
	(void)state;
	struct stream stream = stream_of(600);
	detections_of(&stream, 1, 100, 100, 1);
	stream_step(&stream, 500);
	assert_true(stream.detector.record[0][1] > 300);
	detections_of(&stream, 2, 144 * 22, 100, 1);
	assert_true(stream.detector.record[0][1] < 100 && stream.detector.record[1][1] < 100);
}

static void learning_is_slow_in_an_incident_for_an_hour_at_most(void **state)
{
	(void)state;
	struct stream stream = stream_of(10);
	detections_of(&stream, 1, 5000, 100, 1);
	struct stream other = stream;
	struct detector_params params = detector_defaults;
	params.incident_pace = 1;
	detector_plan_init(&other.plan, &params, &detector_alert_defaults, 10 * NS_PER_S);
	for (uint64_t i = 0; i < 5000; i++) {
		stream_step(&stream, 200 + noise(1, i));
		stream_step(&other, 200 + noise(1, i));
		if (i == 100)
			assert_true(stream.detector.level < 0.5f * other.detector.level);
	}
	assert_true(stream.detector.level > 0.9f * other.detector.level);
}

/* Rounding bits differ from window to window: a constant series does not repeat one rounding. */
static void quantiles_of_a_constant_series_fall_at_their_rate(void **state)
{
	(void)state;
	struct stream stream = stream_of(1);
	detections_of(&stream, 1, 40000, 5, 0);
	for (int i = 0; i < 10; i++)
		assert_true(stream.detector.quantile[i] < -1000);
}

static void values_that_are_no_numbers_are_refused(void **state)
{
	(void)state;
	assert_false(detector_accepts(0.0 / 0.0));
	assert_false(detector_accepts(1.0 / 0.0));
	assert_false(detector_accepts(-1.0 / 0.0));
	assert_false(detector_accepts(1.01e30));
	assert_true(detector_accepts(1e30) && detector_accepts(-1e30) && detector_accepts(0));
}

/* Hostile numbers leave every field within its bounds, and surprises finite. */
static void any_accepted_values_leave_a_sound_state(void **state)
{
	(void)state;
	static const double values[] = {0, -0.0, 1e30, -1e30, 1e-30, 1, -1, 1e-300, 3e15, 7};
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct stream stream = stream_of(1 + hash_mix(seed) % 100000);
		for (uint64_t i = 0; i < 500; i++) {
			uint64_t draw = hash_mix(seed << 32 | i);
			if (draw % 50 == 0)
				stream.time_ns += (int64_t)(draw % (100 * (uint64_t)DAY_NS));
			float surprise = stream_step(&stream, values[draw / 64 % (seed % 9 + 2)] *
								      (double)(draw >> 60));
			if (!(surprise >= 0 && surprise < 100))
				fail_msg("seed %lu: %g", (unsigned long)seed, (double)surprise);
		}
	}
}

static void the_small_tier_sees_a_spike_and_forgives_noise(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct stream stream = stream_of(10);
		struct detector_small small = {0};
		uint32_t detections = 0;
		for (uint32_t i = 0; i < 3000; i++) {
			struct detector_window window =
				detector_window_at(&stream.plan, stream.time_ns);
			double value = i == 2999 ? 300 : 100 + 5 * noise(seed, i);
			float surprise =
				detector_small_step(&stream.plan, &small, seed, &window, value);
			bool fired = detector_small_alert(&stream.plan, &small, surprise).fired;
			detections += fired;
			if (fired != (i == 2999) && i == 2999)
				fail_msg("seed %lu: no detection", (unsigned long)seed);
			stream.time_ns += 10 * (int64_t)NS_PER_S;
		}
		assert_in_range(detections, 1, 4);
	}
}

static void a_steady_series_is_ripe_for_the_full_tier_and_a_sparse_one_is_not(void **state)
{
	(void)state;
	struct stream stream = stream_of(10);
	struct detector_small steady = {0}, sparse = {0};
	for (uint32_t i = 0; i < DETECTOR_PROMOTE; i++) {
		assert_false(detector_small_is_ripe(&steady));
		struct detector_window window = detector_window_at(&stream.plan, stream.time_ns);
		detector_small_step(&stream.plan, &steady, 1, &window, 1);
		window.number += i * 1000ULL;
		detector_small_step(&stream.plan, &sparse, 1, &window, 1);
		stream.time_ns += 10 * (int64_t)NS_PER_S;
	}
	assert_true(detector_small_is_ripe(&steady));
	assert_false(detector_small_is_ripe(&sparse));
}

static void a_window_knows_its_hour_and_whether_it_is_weekend(void **state)
{
	(void)state;
	struct stream stream = stream_of(60);
	struct detector_window window =
		detector_window_at(&stream.plan, BEGIN_NS + 23 * DAY_NS / 24 + DAY_NS / 48);
	assert_int_equal(window.hour, 23);
	assert_int_equal(window.next, 0);
	assert_true(window.share > 0.49f && window.share < 0.51f);
	for (int day = -28; day < 28; day++) {
		window = detector_window_at(&stream.plan, BEGIN_NS + day * DAY_NS);
		assert_int_equal(window.weekend, (day + 28) % 7 >= 5);
		assert_int_equal(window.hour, 0);
	}
	assert_int_equal(detector_window_at(&stream.plan, -1).hour, 23);
	detector_window_at(&stream.plan, INT64_MIN);
	detector_window_at(&stream.plan, INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_state_has_256_bytes_and_a_small_one_32),
		cmocka_unit_test(a_state_saved_and_restored_gives_the_same_bits),
		cmocka_unit_test(noise_alone_is_seldom_detected),
		cmocka_unit_test(a_spike_and_a_drop_are_detected_at_once_whatever_the_scale),
		cmocka_unit_test(a_series_far_from_zero_is_seen_in_its_own_scale),
		cmocka_unit_test(an_episode_is_told_when_it_begins_and_not_all_the_while),
		cmocka_unit_test(a_new_series_is_silent_and_then_is_not),
		cmocka_unit_test(a_constant_series_that_changes_is_detected),
		cmocka_unit_test(the_hour_decides_what_is_usual),
		cmocka_unit_test(one_huge_value_does_not_blind_the_profile),
		cmocka_unit_test(what_was_seen_is_forgotten_after_two_weeks),
		cmocka_unit_test(learning_is_slow_in_an_incident_for_an_hour_at_most),
		cmocka_unit_test(quantiles_of_a_constant_series_fall_at_their_rate),
		cmocka_unit_test(values_that_are_no_numbers_are_refused),
		cmocka_unit_test(any_accepted_values_leave_a_sound_state),
		cmocka_unit_test(the_small_tier_sees_a_spike_and_forgives_noise),
		cmocka_unit_test(a_steady_series_is_ripe_for_the_full_tier_and_a_sparse_one_is_not),
		cmocka_unit_test(a_window_knows_its_hour_and_whether_it_is_weekend),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
