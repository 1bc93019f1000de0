/* The deployment's keys while they are rotated: the first signs, each of them is accepted until it
 * is taken away; a batch names the key of its HMAC by its id. And the nodes that are refused
 * whatever they sign. The simple form, one key without rotation, has the empty id.
 *
 * Bounds: KEYS_MAX keys, KEYS_REVOKED_MAX nodes. Plain data, copied by who keeps it; whoever shares
 * one between threads hands over whole copies. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/batch/seal.h"

enum {
	KEYS_MAX = 8,
	KEYS_ID_MAX = 32, /* [A-Za-z0-9._-] */
	KEYS_SECRET_MIN = 16,
	KEYS_REVOKED_MAX = 4096,
};

struct keys;

/* No keys: HMACs are neither made nor checked. */
struct keys *keys_new(void);
struct keys *keys_copy(const struct keys *keys);
void keys_free(struct keys *keys); /* wipes */
bool keys_same(const struct keys *a, const struct keys *b);

/* At the end. 0; -EINVAL: the id is not 0..KEYS_ID_MAX of its letters or the secret too short;
 * -EEXIST: the id is taken; -ENOSPC. */
int keys_add(struct keys *keys, const char *id, const void *secret, size_t length);
/* 0 or -ENOSPC. */
int keys_revoke(struct keys *keys, const char *node);

size_t keys_count(const struct keys *keys);
const char *keys_id(const struct keys *keys, size_t number);
/* The place of the key with this id, -1: none. */
int keys_find(const struct keys *keys, const char *id, size_t length);
bool keys_revoked(const struct keys *keys, const char *node);

/* Key number's key of this node, or of the pipeline. 0 or -EINVAL. */
int keys_node_key(const struct keys *keys, size_t number, const char *node,
		  uint8_t key[SEAL_KEY_BYTES]);
int keys_pipeline_key(const struct keys *keys, size_t number, uint8_t key[SEAL_KEY_BYTES]);

/* The pipeline's key that signs, the first key's; to wipe. False: nothing is signed. */
bool keys_signer(const struct keys *keys, uint8_t key[SEAL_KEY_BYTES]);
/* Whether any of the pipeline's keys signed the record; without keys it is not looked at. */
bool keys_sealed(const struct keys *keys, const uint8_t *bytes, size_t length);
