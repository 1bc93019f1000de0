#include "base/slots.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { BUCKETS = 4, RECORDS_MAX = 38 }; /* of an index that has not grown yet */

static uint64_t hashes[64]; /* by record */
static uint32_t records;

static uint64_t hash_of(const void *context, uint32_t record)
{
	(void)context;
	return hashes[record];
}

static bool matches(const void *context, uint32_t record, const void *wanted)
{
	(void)context;
	return hashes[record] == *(const uint64_t *)wanted;
}

static uint64_t hash_at(uint32_t bucket, uint32_t number)
{
	return (uint64_t)(number + 1) << 32 | bucket << 30;
}

static void fill(struct slots *slots, uint32_t bucket, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t record = ++records;
		hashes[record] = hash_at(bucket, record);
		slots_add(slots, hashes[record], record);
	}
}

/* Each bucket was full when one more came, which went on to the next. */
static void a_search_ends_where_every_bucket_was_passed(void **state)
{
	(void)state;
	struct slots slots;
	slots_init(&slots, hash_of, NULL, NULL);
	fill(&slots, 0, SLOTS_WAYS + 1);
	fill(&slots, 1, SLOTS_WAYS);
	fill(&slots, 2, SLOTS_WAYS);
	for (uint32_t record = 1; record < SLOTS_WAYS; record++)
		slots_remove(&slots, hashes[record], record);
	fill(&slots, 3, SLOTS_WAYS);
	assert_int_equal(slots.buckets_count, BUCKETS);
	assert_int_equal(slots.records, RECORDS_MAX);
	for (uint32_t bucket = 0; bucket < BUCKETS; bucket++) {
		assert_int_equal(slots.buckets[bucket].passed, 1);
		uint64_t missing = hash_at(bucket, 200);
		assert_int_equal(slots_find(&slots, missing, matches, NULL, &missing), 0);
	}
	for (uint32_t record = SLOTS_WAYS; record <= records; record++)
		assert_int_equal(slots_find(&slots, hashes[record], matches, NULL, &hashes[record]),
				 record);
	slots_done(&slots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_search_ends_where_every_bucket_was_passed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
