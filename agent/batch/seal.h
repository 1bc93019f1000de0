/* The HMAC at the end of each batch: field 127 of Batch, always last, over all bytes before it.
 * The node's key is HKDF-SHA-256 (RFC 5869) of the deployment's key, no salt, info = "millrace.node
 * " + node id; the pipeline's own records (ticks) use info = "millrace.pipeline". Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEAL_KEY_BYTES = 32, SEAL_MAC_BYTES = 32, SEAL_TRAILER_BYTES = 3 + SEAL_MAC_BYTES };

/* secret: at least 16 bytes. Returns 0 or -EINVAL. */
int seal_node_key(const uint8_t *secret, size_t secret_length, const char *node,
		  uint8_t key[SEAL_KEY_BYTES]);
int seal_pipeline_key(const uint8_t *secret, size_t secret_length, uint8_t key[SEAL_KEY_BYTES]);

/* Appends the trailer to bytes[length..length + SEAL_TRAILER_BYTES). */
void seal_sign(const uint8_t key[SEAL_KEY_BYTES], uint8_t *bytes, size_t length);

/* Whether the record ends in a trailer that this key made. Constant time in the MAC. */
bool seal_check(const uint8_t key[SEAL_KEY_BYTES], const uint8_t *bytes, size_t length);
