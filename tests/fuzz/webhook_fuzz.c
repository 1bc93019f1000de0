/* What a receiver may send back that we read: its Retry-After, and words that reach logs and
 * messages. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/notify/retry.h"
#include "api/notify/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char *text = strndup((const char *)bytes, length), out[64];
	size_t written;

	assert(retry_after_ms(text, 1767323045) <= 3600 * 1000);
	written = text_safe(out, sizeof(out), text, 20);
	assert(written < sizeof(out) && strlen(out) == written);
	written = text_slack(out, sizeof(out), text, 20);
	assert(written < sizeof(out) && strlen(out) == written && !strpbrk(out, "<>"));
	free(text);
	return 0;
}
