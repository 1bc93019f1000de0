#include "api/notify/webhook.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/alert.h"
#include "base/clock.h"
#include "base/memory.h"

#define PREFIX "whsec_"

enum {
	PREFIX_LENGTH = sizeof(PREFIX) - 1,
	TEXT_MAX = (WEBHOOK_KEY_MAX + 2) / 3 * 4,
	MAC_BYTES = 32,
	MAC_TEXT_BYTES = 45, /* base64, with the NUL */
};

struct key {
	uint8_t bytes[TEXT_MAX / 4 * 3];
	size_t length;
};

static bool read_key(const char *secret, struct key *key)
{
	const char *text = secret + PREFIX_LENGTH;
	size_t length = strlen(secret);
	int decoded;

	if (strncmp(secret, PREFIX, PREFIX_LENGTH) != 0 || length - PREFIX_LENGTH > TEXT_MAX)
		return false;
	length -= PREFIX_LENGTH;
	if (length < 4 || length % 4)
		return false;
	decoded = EVP_DecodeBlock(key->bytes, (const uint8_t *)text, (int)length);
	if (decoded < 0)
		return false;
	/* The padding is decoded as zeros. */
	key->length = (size_t)decoded - (text[length - 1] == '=') - (text[length - 2] == '=');
	return key->length >= WEBHOOK_KEY_MIN && key->length <= WEBHOOK_KEY_MAX;
}

bool webhook_secret_good(const char *secret)
{
	struct key key;
	bool good = read_key(secret, &key);

	OPENSSL_cleanse(&key, sizeof(key));
	return good;
}

static void sign(const char *secret, const char *text, size_t length, char out[MAC_TEXT_BYTES])
{
	uint8_t mac[MAC_BYTES];
	struct key key;
	unsigned size = 0;
	bool good = read_key(secret, &key);

	assert(good); /* the configuration was checked */
	if (!HMAC(EVP_sha256(), key.bytes, (int)key.length, (const uint8_t *)text, length, mac,
		  &size))
		abort(); /* out of memory */
	EVP_EncodeBlock((uint8_t *)out, mac, MAC_BYTES);
	OPENSSL_cleanse(&key, sizeof(key));
}

void webhook_sign(struct webhook_headers *headers, const char *secret, const char *former,
		  const struct alert *alert, uint64_t now_ns, const char *body, size_t length)
{
	char id[ALERT_KEY_TEXT + 24], first[MAC_TEXT_BYTES], second[MAC_TEXT_BYTES] = "";
	unsigned long long now_s = now_ns / NS_PER_S;
	char *text = memory_resize(NULL, sizeof(id) + 24 + length, 1);
	size_t head;

	snprintf(id, sizeof(id), "%s-%llu", alert->key, (unsigned long long)alert->sequence);
	head = (size_t)snprintf(text, sizeof(id) + 24, "%s.%llu.", id, now_s);
	memcpy(text + head, body, length);
	sign(secret, text, head + length, first);
	if (former)
		sign(former, text, head + length, second);
	free(text);
	snprintf(headers->lines[0], WEBHOOK_HEADER_BYTES, "webhook-id: %s", id);
	snprintf(headers->lines[1], WEBHOOK_HEADER_BYTES, "webhook-timestamp: %llu", now_s);
	snprintf(headers->lines[2], WEBHOOK_HEADER_BYTES, "webhook-signature: v1,%s%s%s", first,
		 former ? " v1," : "", second);
}
