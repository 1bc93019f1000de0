/* The write-ahead file as a crash, a disk or somebody else may have left it. */
#include <assert.h>

#include "api/notify/journal.h"

struct seen {
	size_t records, bytes;
};

static void on_record(void *context, const uint8_t *bytes, size_t length)
{
	struct seen *seen = context;
	uint8_t sum = 0;

	assert(length <= JOURNAL_RECORD_MAX);
	for (size_t i = 0; i < length; i++)
		sum ^= bytes[i]; /* all of it is there to be read */
	seen->records += 1 + (sum > 255);
	seen->bytes += length;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct seen seen = {0};
	size_t whole = journal_scan(bytes, length, &seen, on_record);

	assert(whole <= length);
	assert(whole == 0 || whole == 4 + seen.records * 8 + seen.bytes);
	return 0;
}
