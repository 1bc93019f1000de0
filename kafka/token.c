#include "kafka/token.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define LIFE_S_MAX 31536000.0 /* a year: who says more does not mean it */

static int fail(char why[TOKEN_WHY_BYTES], const char *sentence)
{
	snprintf(why, TOKEN_WHY_BYTES, "%s", sentence);
	return -EINVAL;
}

static int digit(char letter)
{
	if (letter >= 'A' && letter <= 'Z')
		return letter - 'A';
	if (letter >= 'a' && letter <= 'z')
		return letter - 'a' + 26;
	if (letter >= '0' && letter <= '9')
		return letter - '0' + 52;
	return letter == '-' ? 62 : letter == '_' ? 63 : -1;
}

/* base64url without padding, RFC 4648 section 5. Bytes written, or -1. */
static int decode(const char *text, size_t length, char *out)
{
	uint32_t bits = 0;
	int held = 0, written = 0;
	for (size_t i = 0; i < length; i++) {
		int value = digit(text[i]);
		if (value < 0)
			return -1;
		bits = (bits << 6 | (uint32_t)value) & 0xffff;
		held += 6;
		if (held < 8)
			continue;
		held -= 8;
		out[written++] = (char)(bits >> held);
	}
	return written;
}

/* A JWT's claims; NULL when it is none. */
static cJSON *claims(const char *text)
{
	const char *begin = strchr(text, '.');
	const char *end = begin ? strchr(begin + 1, '.') : NULL;
	if (!end || strchr(end + 1, '.'))
		return NULL;
	size_t length = (size_t)(end - begin - 1);
	char *bytes = memory_zeroed(length + 1, 1);
	int decoded = decode(begin + 1, length, bytes);
	cJSON *parsed = decoded > 0 ? cJSON_ParseWithLength(bytes, (size_t)decoded) : NULL;
	free(bytes);
	return parsed;
}

static void take_claims(struct token *token, bool *expires)
{
	cJSON *parsed = claims(token->text);
	const cJSON *sub = cJSON_GetObjectItemCaseSensitive(parsed, "sub");
	const cJSON *exp = cJSON_GetObjectItemCaseSensitive(parsed, "exp");
	if (cJSON_IsString(sub) && sub->valuestring[0] &&
	    strlen(sub->valuestring) <= TOKEN_NAME_MAX)
		snprintf(token->principal, sizeof(token->principal), "%s", sub->valuestring);
	*expires = cJSON_IsNumber(exp) && exp->valuedouble > 0 && exp->valuedouble < 1e11;
	if (*expires)
		token->expires_ms = (int64_t)(exp->valuedouble * 1000);
	cJSON_Delete(parsed);
}

/* RFC 6750, section 2.1: what may stand behind "Bearer". */
static int take_text(struct token *token, const char *text, size_t length,
		     char why[TOKEN_WHY_BYTES])
{
	if (length == 0)
		return fail(why, "the token is empty");
	if (length > TOKEN_BYTES_MAX)
		return fail(why, "the token is longer than 16384 bytes");
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)text[i]) && !(text[i] && strchr("-._~+/=", text[i])))
			return fail(why, "the token has a character that no bearer token has");
	memcpy(token->text, text, length);
	token->text[length] = 0;
	return 0;
}

static int take_life(struct token *token, double life_s, int64_t now_ms, char why[TOKEN_WHY_BYTES])
{
	bool expires;
	take_claims(token, &expires);
	/* The endpoint's word counts from now and so needs no common clock. */
	if (life_s > 0)
		token->expires_ms =
			now_ms + (int64_t)(1000 * (life_s < LIFE_S_MAX ? life_s : LIFE_S_MAX));
	else if (!expires)
		token->expires_ms = now_ms + TOKEN_OPAQUE_S * 1000;
	if (token->expires_ms <= now_ms)
		return fail(why, "the token has already expired: is the clock right?");
	return 0;
}

static int take_answer(struct token *token, const cJSON *answer, int64_t now_ms,
		       char why[TOKEN_WHY_BYTES])
{
	const cJSON *text = cJSON_GetObjectItemCaseSensitive(answer, "access_token");
	const cJSON *life = cJSON_GetObjectItemCaseSensitive(answer, "expires_in");
	if (!cJSON_IsObject(answer))
		return fail(why, "the answer is no JSON object");
	if (!cJSON_IsString(text))
		return fail(why, "the answer has no access_token");
	if (life &&
	    (!cJSON_IsNumber(life) || !isfinite(life->valuedouble) || life->valuedouble <= 0))
		return fail(why, "the answer's expires_in is no number of seconds");
	int error = take_text(token, text->valuestring, strlen(text->valuestring), why);
	return error ? error : take_life(token, life ? life->valuedouble : 0, now_ms, why);
}

static void begin(struct token *token, const char *fallback)
{
	token->text[0] = 0;
	token->expires_ms = 0;
	snprintf(token->principal, sizeof(token->principal), "%s", fallback);
}

int token_from_answer(struct token *token, const char *bytes, size_t length, const char *fallback,
		      int64_t now_ms, char why[TOKEN_WHY_BYTES])
{
	begin(token, fallback);
	if (length > TOKEN_ANSWER_MAX)
		return fail(why, "the answer is longer than 65536 bytes");
	cJSON *answer = cJSON_ParseWithLength(bytes, length);
	int error = take_answer(token, answer, now_ms, why);
	cJSON_Delete(answer);
	return error;
}

int token_from_file(struct token *token, const char *bytes, size_t length, const char *fallback,
		    int64_t now_ms, char why[TOKEN_WHY_BYTES])
{
	begin(token, fallback);
	while (length && isspace((unsigned char)bytes[length - 1]))
		length--;
	while (length && isspace((unsigned char)bytes[0]))
		bytes++, length--;
	int error = take_text(token, bytes, length, why);
	return error ? error : take_life(token, 0, now_ms, why);
}
