/* Records of millrace.rules, as a topic that anybody may write to has them: what is read is within
 * the bounds, and is read again from what is written of it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rules/rulebook.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	uint8_t written[RULE_BYTES_MAX];
	struct rule rule, again;
	if (!rule_read(bytes, length, &rule, NULL))
		return 0;
	if (!rule_check(&rule, NULL) ||
	    !rule_read(written, rule_write(&rule, NULL, written), &again, NULL) ||
	    memcmp(&rule, &again, sizeof(rule)) != 0)
		abort();
	struct rulebook *book = rulebook_new(NULL, 0, 1);
	if (rulebook_take(book, &rule, rule.issued_ns) == rule.withdrawn)
		abort();
	rulebook_free(book);
	return 0;
}
