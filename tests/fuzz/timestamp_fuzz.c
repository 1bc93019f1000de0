/* Any text as a time: what is read lies within the range of 64 bits of nanoseconds. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/timestamp.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char *text = strndup((const char *)bytes, length);
	int64_t time_ns = 0;

	assert(text);
	if (timestamp_read(text, &time_ns))
		assert(time_ns / 1000000000 >= -9200000000 && time_ns / 1000000000 <= 9200000000);
	free(text);
	return 0;
}
