#include "agent/batch/keys.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct secret {
	char id[KEYS_ID_MAX + 1];
	uint8_t *bytes;
	size_t length;
};

struct keys {
	struct secret secrets[KEYS_MAX];
	size_t count;
	char **revoked; /* sorted */
	size_t revoked_count;
};

struct keys *keys_new(void)
{
	return memory_zeroed(1, sizeof(struct keys));
}

struct keys *keys_copy(const struct keys *keys)
{
	struct keys *copy = keys_new();
	for (size_t i = 0; i < keys->count; i++)
		keys_add(copy, keys->secrets[i].id, keys->secrets[i].bytes,
			 keys->secrets[i].length);
	for (size_t i = 0; i < keys->revoked_count; i++)
		keys_revoke(copy, keys->revoked[i]);
	return copy;
}

void keys_free(struct keys *keys)
{
	if (!keys)
		return;
	for (size_t i = 0; i < keys->count; i++) {
		explicit_bzero(keys->secrets[i].bytes, keys->secrets[i].length);
		free(keys->secrets[i].bytes);
	}
	for (size_t i = 0; i < keys->revoked_count; i++)
		free(keys->revoked[i]);
	free(keys->revoked);
	free(keys);
}

bool keys_same(const struct keys *a, const struct keys *b)
{
	if (a->count != b->count || a->revoked_count != b->revoked_count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct secret *one = &a->secrets[i], *other = &b->secrets[i];
		if (strcmp(one->id, other->id) != 0 || one->length != other->length ||
		    memcmp(one->bytes, other->bytes, one->length) != 0)
			return false;
	}
	for (size_t i = 0; i < a->revoked_count; i++)
		if (strcmp(a->revoked[i], b->revoked[i]) != 0)
			return false;
	return true;
}

static bool id_is_valid(const char *id)
{
	size_t length = strnlen(id, KEYS_ID_MAX + 1);
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)id[i]) && !strchr("._-", id[i]))
			return false;
	return length <= KEYS_ID_MAX;
}

int keys_add(struct keys *keys, const char *id, const void *secret, size_t length)
{
	if (!id_is_valid(id) || length < KEYS_SECRET_MIN)
		return -EINVAL;
	if (keys_find(keys, id, strlen(id)) >= 0)
		return -EEXIST;
	if (keys->count == KEYS_MAX)
		return -ENOSPC;
	struct secret *added = &keys->secrets[keys->count++];
	memcpy(added->id, id, strlen(id) + 1);
	added->bytes = memory_zeroed(length, 1);
	added->length = length;
	memcpy(added->bytes, secret, length);
	return 0;
}

/* The place of the node, or where it would stand. */
static size_t place(const struct keys *keys, const char *node)
{
	size_t low = 0, high = keys->revoked_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (strcmp(keys->revoked[middle], node) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool keys_revoked(const struct keys *keys, const char *node)
{
	size_t at = place(keys, node);
	return at < keys->revoked_count && strcmp(keys->revoked[at], node) == 0;
}

int keys_revoke(struct keys *keys, const char *node)
{
	size_t at = place(keys, node), length = strlen(node);
	if (keys_revoked(keys, node))
		return 0;
	if (keys->revoked_count == KEYS_REVOKED_MAX)
		return -ENOSPC;
	keys->revoked = memory_resize(keys->revoked, keys->revoked_count + 1, sizeof(char *));
	memmove(keys->revoked + at + 1, keys->revoked + at,
		(keys->revoked_count - at) * sizeof(char *));
	keys->revoked[at] = memory_zeroed(length + 1, 1);
	memcpy(keys->revoked[at], node, length);
	keys->revoked_count++;
	return 0;
}

size_t keys_count(const struct keys *keys)
{
	return keys->count;
}

const char *keys_id(const struct keys *keys, size_t number)
{
	return keys->secrets[number].id;
}

int keys_find(const struct keys *keys, const char *id, size_t length)
{
	for (size_t i = 0; i < keys->count; i++)
		if (strlen(keys->secrets[i].id) == length &&
		    memcmp(keys->secrets[i].id, id, length) == 0)
			return (int)i;
	return -1;
}

int keys_node_key(const struct keys *keys, size_t number, const char *node,
		  uint8_t key[SEAL_KEY_BYTES])
{
	const struct secret *secret = &keys->secrets[number];
	return seal_node_key(secret->bytes, secret->length, node, key);
}

int keys_pipeline_key(const struct keys *keys, size_t number, uint8_t key[SEAL_KEY_BYTES])
{
	const struct secret *secret = &keys->secrets[number];
	return seal_pipeline_key(secret->bytes, secret->length, key);
}

bool keys_signer(const struct keys *keys, uint8_t key[SEAL_KEY_BYTES])
{
	return keys->count && keys_pipeline_key(keys, 0, key) == 0;
}

bool keys_sealed(const struct keys *keys, const uint8_t *bytes, size_t length)
{
	bool sealed = keys->count == 0;
	for (size_t i = 0; i < keys->count && !sealed; i++) {
		uint8_t key[SEAL_KEY_BYTES];
		sealed = keys_pipeline_key(keys, i, key) == 0 && seal_check(key, bytes, length);
		explicit_bzero(key, sizeof(key));
	}
	return sealed;
}
