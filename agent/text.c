#include "agent/text.h"

#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

size_t text_clean(char *to, size_t size, const char *bytes, size_t length)
{
	size_t out = 0;
	for (size_t in = 0; in < length;) {
		size_t n = utf8_length((const uint8_t *)bytes + in, length - in);
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
