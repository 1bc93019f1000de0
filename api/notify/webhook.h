/* Signed webhooks as Standard Webhooks has them (standardwebhooks.com): the headers that let
 * whoever has the secret tell that a message is ours, whole and fresh. While a secret is changed a
 * message has a signature of each. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct alert;

enum {
	WEBHOOK_KEY_MIN = 24, /* bytes of a secret, behind "whsec_" in base64 */
	WEBHOOK_KEY_MAX = 64,
	WEBHOOK_HEADERS = 3,
	WEBHOOK_HEADER_BYTES = 256,
};

struct webhook_headers {
	char lines[WEBHOOK_HEADERS][WEBHOOK_HEADER_BYTES]; /* webhook-id: ..., and so on */
};

/* Whether it is a secret: whsec_ and 24 to 64 bytes in base64. */
bool webhook_secret_good(const char *secret);

/* former: NULL, or the secret before. The id is the same each time that a transition is sent, the
 * time is not. */
void webhook_sign(struct webhook_headers *headers, const char *secret, const char *former,
		  const struct alert *alert, uint64_t now_ns, const char *body, size_t length);
