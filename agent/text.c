#include "agent/text.h"

#include <stdint.h>
#include <string.h>

/* Bytes of the well-formed character at the start of bytes; 0 if there is none. */
static size_t character_length(const uint8_t *bytes, size_t length)
{
	uint8_t first = bytes[0];
	size_t need = first < 0x80   ? 1
		      : first < 0xc2 ? 0
		      : first < 0xe0 ? 2
		      : first < 0xf0 ? 3
		      : first < 0xf5 ? 4
				     : 0;
	if (need == 0 || need > length)
		return 0;
	for (size_t i = 1; i < need; i++)
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
	if ((first == 0xe0 && bytes[1] < 0xa0) || (first == 0xed && bytes[1] > 0x9f) ||
	    (first == 0xf0 && bytes[1] < 0x90) || (first == 0xf4 && bytes[1] > 0x8f))
		return 0; /* overlong, surrogate, beyond U+10FFFF */
	return need;
}

size_t text_clean(char *to, size_t size, const char *bytes, size_t length)
{
	size_t out = 0;
	for (size_t in = 0; in < length;) {
		size_t n = character_length((const uint8_t *)bytes + in, length - in);
		if (out + (n ? n : 1) > size - 1)
			break;
		uint8_t byte = (uint8_t)bytes[in];
		if (n <= 1) {
			to[out++] = byte == 0				    ? ' '
				    : n == 0 || byte < 0x20 || byte == 0x7f ? '?'
									    : (char)byte;
			in++;
			continue;
		}
		memcpy(to + out, bytes + in, n);
		out += n;
		in += n;
	}
	while (out && to[out - 1] == ' ')
		out--;
	to[out] = 0;
	return out;
}
