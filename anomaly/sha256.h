/* SHA-256 (FIPS 180-4) of a message given in parts: alert keys must be the same for everyone who
 * computes them from the same words, so a published function is used. Private to anomaly/, which
 * may link nothing but base/ and the C library. Pure; any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32 };

struct sha256 {
	uint32_t state[8];
	uint64_t length; /* bytes so far */
	uint8_t block[64];
};

void sha256_init(struct sha256 *sha256);
void sha256_push(struct sha256 *sha256, const void *bytes, size_t length);
void sha256_done(struct sha256 *sha256, uint8_t digest[SHA256_BYTES]);
