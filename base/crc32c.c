#include "base/crc32c.h"

#include <stdbool.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78U /* reversed */

static uint32_t one_byte(uint32_t crc, uint8_t byte)
{
	crc ^= byte;
	for (int bit = 0; bit < 8; bit++)
		crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t words(uint32_t crc, const uint8_t **bytes,
							size_t *length)
{
	uint64_t sum = crc;

	for (; *length >= 8; *bytes += 8, *length -= 8) {
		uint64_t word;

		memcpy(&word, *bytes, sizeof(word));
		sum = __builtin_ia32_crc32di(sum, word);
	}
	return (uint32_t)sum;
}

static bool has_words(void)
{
	return __builtin_cpu_supports("sse4.2");
}
#else
static uint32_t words(uint32_t crc, const uint8_t **bytes, size_t *length)
{
	(void)bytes;
	(void)length;
	return crc;
}

static bool has_words(void)
{
	return false;
}
#endif

uint32_t crc32c(uint32_t crc, const void *memory, size_t length)
{
	const uint8_t *bytes = memory;

	crc = ~crc;
	if (has_words())
		crc = words(crc, &bytes, &length);
	while (length--)
		crc = one_byte(crc, *bytes++);
	return ~crc;
}
