/* Any bytes as a token endpoint's answer and as a token file. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kafka/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct token *token = memory_zeroed(1, sizeof(*token));
	char why[TOKEN_WHY_BYTES] = "";
	const int64_t now_ms = 1700000000000;
	for (int file = 0; file < 2; file++) {
		int error =
			file ? token_from_file(token, (const char *)bytes, length, "c", now_ms, why)
			     : token_from_answer(token, (const char *)bytes, length, "c", now_ms,
						 why);
		assert(error ? why[0] != 0 : token->expires_ms > now_ms && token->text[0]);
	}
	free(token);
	return 0;
}
