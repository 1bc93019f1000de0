/* A bearer token (RFC 6750) with the times by which it is renewed: from a token endpoint's answer
 * (RFC 6749, section 5.1) or from a file. What a JWT says of itself (RFC 7519) is read, not
 * verified: the broker does that.
 *
 * Bounds: TOKEN_BYTES_MAX a token, TOKEN_ANSWER_MAX an answer. Pure, any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	TOKEN_BYTES_MAX = 16384,
	TOKEN_ANSWER_MAX = 65536,
	TOKEN_NAME_MAX = 256,
	TOKEN_WHY_BYTES = 256,
	TOKEN_OPAQUE_S = 60, /* a token that does not tell its end is asked for again after this */
};

struct token {
	char text[TOKEN_BYTES_MAX + 1];
	char principal[TOKEN_NAME_MAX + 1]; /* `sub` of a JWT, else the fallback */
	int64_t expires_ms;		    /* since 1970 */
};

/* bytes: JSON with access_token and, as it should, expires_in. 0; or -EINVAL and why, which holds
 * nothing of the token. */
int token_from_answer(struct token *token, const char *bytes, size_t length, const char *fallback,
		      int64_t now_ms, char why[TOKEN_WHY_BYTES]);
/* bytes: the token alone, with white space around it. */
int token_from_file(struct token *token, const char *bytes, size_t length, const char *fallback,
		    int64_t now_ms, char why[TOKEN_WHY_BYTES]);
