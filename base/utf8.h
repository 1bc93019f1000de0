/* Characters of UTF-8 as RFC 3629 has them. Pure; any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Bytes of the well-formed character at text, of which `left` may be read, at least one; 0 if there
 * is none. It reads no byte after one that does not belong to the character: of a text that ends in
 * NUL any `left` may be given. */
static inline size_t utf8_length(const uint8_t *text, size_t left)
{
	uint8_t lead = text[0];
	if (lead < 0x80)
		return 1;
	size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
	if (lead < 0xc2 || lead > 0xf4 || length > left)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	if ((lead == 0xe0 && text[1] < 0xa0) || (lead == 0xf0 && text[1] < 0x90))
		return 0; /* overlong */
	if ((lead == 0xed && text[1] > 0x9f) || (lead == 0xf4 && text[1] > 0x8f))
		return 0; /* a surrogate, or beyond U+10FFFF */
	return length;
}
