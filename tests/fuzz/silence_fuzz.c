/* Records of millrace.silences, as a topic that anybody may write to has them: what is read is
 * within the bounds, and is read again from what is written of it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rules/silencebook.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	uint8_t written[SILENCE_BYTES_MAX];
	struct silence silence, again;
	if (!silence_read(bytes, length, &silence, NULL))
		return 0;
	memset(silence.mac, 0, sizeof(silence.mac)); /* it is written without */
	if (!silence_check(&silence, NULL) ||
	    !silence_read(written, silence_write(&silence, NULL, written), &again, NULL) ||
	    memcmp(&silence, &again, sizeof(silence)) != 0)
		abort();
	struct silencebook *book = silencebook_new(1, 0);
	if (!silencebook_take(book, &silence, silence.starts_ns))
		abort();
	silencebook_free(book);
	return 0;
}
