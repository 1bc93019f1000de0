#include "ingest/varint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/batch/wire.h"

enum { VALUES_MAX = 300, RUNS = 20000 };

static uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Mostly of `bits` bits, now and then of any. */
static uint64_t random_value(uint64_t *seed, unsigned bits)
{
	uint64_t value = random_next(seed);
	return random_next(seed) % 64 == 0 ? value >> random_next(seed) % 64 : value >> (64 - bits);
}

static uint64_t expected(enum varint_type type, uint64_t value)
{
	switch (type) {
	case VARINT_U32:
		return (uint32_t)value;
	case VARINT_U64:
		return value;
	case VARINT_S32:
		value = (uint32_t)value;
		return (uint32_t)(value >> 1 ^ -(value & 1));
	case VARINT_S64:
		return value >> 1 ^ -(value & 1);
	}
	return 0;
}

static uint64_t element(enum varint_type type, const void *values, size_t i)
{
	if (type == VARINT_U32 || type == VARINT_S32)
		return ((const uint32_t *)values)[i];
	return ((const uint64_t *)values)[i];
}

/* Bytes of exactly the column's size, so that ASan sees a read past their end. */
static void check(varint_reader *reader, enum varint_type type, const uint64_t *values,
		  size_t count, const uint8_t *bytes, size_t length)
{
	uint8_t *exact = malloc(length ? length : 1);
	memcpy(exact, bytes, length);
	void *read = malloc((length + VARINT_ROOM) * 8);
	struct varint_found found;
	assert_true(
		reader(&(struct varint_packed){exact, exact + length, exact + length, type, true},
		       read, &found));
	assert_int_equal(found.count, count);
	uint64_t max = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t wire =
			type == VARINT_U32 || type == VARINT_S32 ? (uint32_t)values[i] : values[i];
		max = wire > max ? wire : max;
		if (element(type, read, i) != expected(type, values[i]))
			fail_msg("type %d, element %zu of %zu", (int)type, i, count);
	}
	assert_true(found.max == max);
	free(read);
	free(exact);
}

static void what_is_written_is_read(void **state)
{
	(void)state;
	static uint64_t values[VALUES_MAX];
	static uint8_t bytes[VALUES_MAX * WIRE_VARINT_MAX];
	for (uint64_t run = 1; run <= RUNS; run++) {
		uint64_t seed = run * 0x9e3779b97f4a7c15;
		size_t count = random_next(&seed) % VALUES_MAX;
		unsigned bits = 1 + (unsigned)(random_next(&seed) % 64);
		uint8_t *at = bytes;
		for (size_t i = 0; i < count; i++)
			at = wire_varint(at, values[i] = random_value(&seed, bits));
		for (int type = VARINT_U32; type <= VARINT_S64; type++) {
			check(varint_read_portable, (enum varint_type)type, values, count, bytes,
			      (size_t)(at - bytes));
			check(varint_reader_here(), (enum varint_type)type, values, count, bytes,
			      (size_t)(at - bytes));
		}
	}
}

static void refused(const char *bytes, size_t length)
{
	uint64_t values[64 + VARINT_ROOM];
	struct varint_found found;
	struct varint_packed packed = {(const uint8_t *)bytes, (const uint8_t *)bytes + length,
				       (const uint8_t *)bytes + length, VARINT_U64, true};
	assert_false(varint_read_portable(&packed, values, &found));
	assert_false(varint_reader_here()(&packed, values, &found));
}

static void a_number_without_an_end_is_refused(void **state)
{
	(void)state;
	refused("\x80", 1);
	refused("\x01\x02\xff", 3);
	refused("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
	char endless[50];
	memset(endless, 0xff, sizeof(endless));
	endless[49] = 1;
	refused(endless, sizeof(endless));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(a_number_without_an_end_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
