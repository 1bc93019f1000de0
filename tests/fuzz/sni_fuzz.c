/* TLS handshakes of anybody, cut anywhere. What is read of one must be a host's name. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/sni.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char name[SNI_TEXT_BYTES], less[SNI_TEXT_BYTES];
	memset(name, 0xff, sizeof(name));
	enum sni_verdict verdict = sni_parse(bytes, length, name);
	if (verdict != SNI_NAME)
		return 0;
	size_t named = strnlen(name, sizeof(name));
	if (!named || named == sizeof(name) ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != named)
		abort();
	/* A cut hello names nobody or the same. */
	for (size_t cut = length > 64 ? length - 64 : 0; cut < length; cut++) {
		verdict = sni_parse(bytes, cut, less);
		if (verdict != SNI_CUT && (verdict != SNI_NAME || strcmp(name, less) != 0))
			abort();
	}
	return 0;
}
