/* CRC32C as RFC 3720, appendix B.4, and the polynomial itself tell it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/hash.h"

static void the_vectors_of_rfc_3720_come_out(void **state)
{
	/* A SCSI Read (10) command PDU. */
	static const uint8_t read10[48] = {
		0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
		0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18, 0x28, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
	uint8_t bytes[32];

	(void)state;
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
	for (uint8_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = i;
	assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
	for (uint8_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(31 - i);
	assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x113fdb5c);
	assert_int_equal(crc32c(0, read10, sizeof(read10)), 0xd9963a56);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283); /* the usual check value */
	assert_int_equal(crc32c(0, "", 0), 0);
}

/* Bit by bit, with the polynomial as the RFC writes it, unreflected. */
static uint32_t slow(const uint8_t *bytes, size_t length)
{
	uint32_t crc = 0xffffffff, reversed = 0;

	for (size_t bit = 0; bit < length * 8; bit++) {
		uint32_t top = crc >> 31 ^ (bytes[bit / 8] >> bit % 8 & 1);

		crc = crc << 1 ^ (top ? 0x1edc6f41 : 0);
	}
	for (int bit = 0; bit < 32; bit++)
		reversed |= (crc >> bit & 1) << (31 - bit);
	return ~reversed;
}

static void any_length_at_any_alignment_is_the_polynomials(void **state)
{
	uint8_t bytes[128];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)hash_mix(i);
	for (size_t at = 0; at < 9; at++)
		for (size_t length = 0; at + length <= sizeof(bytes); length++)
			assert_int_equal(crc32c(0, bytes + at, length), slow(bytes + at, length));
}

static void pieces_give_what_the_whole_gives(void **state)
{
	uint8_t bytes[300];
	uint32_t whole;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)hash_mix(i + 1000);
	whole = crc32c(0, bytes, sizeof(bytes));
	for (size_t a = 0; a <= sizeof(bytes); a += 7) {
		for (size_t b = a; b <= sizeof(bytes); b += 11) {
			uint32_t crc = crc32c(0, bytes, a);

			crc = crc32c(crc, bytes + a, b - a);
			crc = crc32c(crc, bytes + b, sizeof(bytes) - b);
			assert_int_equal(crc, whole);
		}
	}
}

static void every_flipped_bit_shows(void **state)
{
	uint8_t bytes[64] = {1, 2, 3};
	uint32_t whole = crc32c(0, bytes, sizeof(bytes));

	(void)state;
	for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(crc32c(0, bytes, sizeof(bytes)), whole);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vectors_of_rfc_3720_come_out),
		cmocka_unit_test(any_length_at_any_alignment_is_the_polynomials),
		cmocka_unit_test(pieces_give_what_the_whole_gives),
		cmocka_unit_test(every_flipped_bit_shows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
