#include "join/intern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hash.h"

enum { RECORDS = 90, VALUES = 200 };

static uint64_t same_bucket(const void *context, const void *value)
{
	(void)context;
	return (*(const uint64_t *)value % 3) << 32; /* all in bucket 0, three tags: the longest
							way round */
}

static uint64_t well_spread(const void *context, const void *value)
{
	(void)context;
	return hash_mix(*(const uint64_t *)value + 1);
}

/* Against plain counters, long enough for every bucket to have been full and empty many times. */
static void agrees_with_counters(uint64_t (*hash)(const void *context, const void *value))
{
	struct intern intern;
	uint32_t users[VALUES] = {0}, numbers[VALUES] = {0}, live = 0;
	intern_init(&intern, sizeof(uint64_t), RECORDS, hash, NULL);
	for (uint64_t step = 0; step < 200000; step++) {
		uint64_t word = hash_mix(step + 77), value = word % VALUES;
		if (word >> 63 && (users[value] || live < RECORDS)) {
			uint32_t number = intern_hold(&intern, &value);
			assert_int_equal(*(const uint64_t *)intern_at(&intern, number), value);
			assert_true(!users[value] || numbers[value] == number);
			live += !users[value]++;
			numbers[value] = number;
		} else if (users[value]) {
			bool last = intern_drop(&intern, numbers[value]);
			assert_int_equal(last, --users[value] == 0);
			live -= last;
		}
		uint64_t other = (word >> 32) % VALUES;
		uint32_t found = intern_find(&intern, &other, hash(NULL, &other));
		assert_int_equal(found, users[other] ? numbers[other] : 0);
		assert_int_equal(intern.live, live);
	}
	for (uint64_t value = 0; value < VALUES; value++)
		while (users[value]--)
			intern_drop(&intern, numbers[value]);
	for (uint32_t at = 0; at < intern.table.buckets_count;
	     at++) /* churn leaves no marks behind */
		assert_int_equal(intern.table.buckets[at].passed, 0);
	intern_done(&intern);
}

static void records_are_found_as_long_as_somebody_holds_them(void **state)
{
	(void)state;
	agrees_with_counters(well_spread);
	agrees_with_counters(same_bucket);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_found_as_long_as_somebody_holds_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
