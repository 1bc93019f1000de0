#include "daemon/wire.h"

uint8_t *wire_put_long(uint8_t *at, uint64_t value)
{
	unsigned length = (70 - (unsigned)__builtin_clzll(value)) / 7;
	if (length > 8) {
		at -= length;
		for (unsigned i = 0; i < length; i++, value >>= 7)
			at[i] = (uint8_t)(value | (i + 1 < length ? 0x80 : 0));
		return at;
	}
	uint64_t more = 0x8080808080808080 >> (72 - 8 * length);
	value = (value & 0x000000000fffffff) | (value & 0x00fffffff0000000) << 4;
	value = (value & 0x00003fff00003fff) | (value & 0x0fffc0000fffc000) << 2;
	value = (value & 0x007f007f007f007f) | (value & 0x3f803f803f803f80) << 1;
	value = (value | more) << (64 - 8 * length);
	memcpy(at - sizeof(value), &value, sizeof(value));
	return at - length;
}
