#include "kube/catalog/store.h"

#include <assert.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

/* A record given back: key 0, then the next free number. */
struct vacant {
	uint64_t key;
	uint32_t next;
};

static uint64_t key_of(const void *record)
{
	uint64_t key;
	memcpy(&key, record, sizeof(key));
	return key;
}

static uint64_t hash_of(const void *context, uint32_t number)
{
	return key_of(store_at(context, number));
}

static bool matches(const void *context, uint32_t number, const void *wanted)
{
	return hash_of(context, number) == key_of(wanted);
}

void store_init(struct store *store, uint32_t record_size, uint32_t records_max)
{
	assert(record_size >= sizeof(struct vacant));
	*store = (struct store){.record_size = record_size, .records_max = records_max, .fresh = 1};
	slots_init(&store->index, hash_of, NULL, store);
	store->records = memory_zeroed((size_t)records_max + 1, record_size);
}

void store_done(struct store *store)
{
	slots_done(&store->index);
	memory_free(store->records);
}

uint64_t store_key(const char *text)
{
	uint64_t key = hash_bytes(text, strlen(text));
	return key ? key : 1;
}

void *store_find(const struct store *store, uint64_t key)
{
	uint32_t number = slots_find(&store->index, key, matches, store, &key);
	return number ? store_at(store, number) : NULL;
}

void *store_add(struct store *store, uint64_t key)
{
	if (store->live == store->records_max)
		return NULL;
	uint32_t number = store->free;
	if (number)
		store->free = ((struct vacant *)store_at(store, number))->next;
	else
		number = store->fresh++;
	void *record = store_at(store, number);
	memset(record, 0, store->record_size);
	memcpy(record, &key, sizeof(key));
	slots_add(&store->index, key, number);
	store->live++;
	return record;
}

void store_remove(struct store *store, void *record)
{
	uint32_t number = store_number(store, record);
	slots_remove(&store->index, key_of(record), number);
	*(struct vacant *)record = (struct vacant){.next = store->free};
	store->free = number;
	store->live--;
}

void *store_next(const struct store *store, const void *record)
{
	for (uint32_t number = record ? store_number(store, record) + 1 : 1; number < store->fresh;
	     number++)
		if (hash_of(store, number))
			return store_at(store, number);
	return NULL;
}

size_t store_bytes(const struct store *store)
{
	return slots_bytes(&store->index) + (size_t)store->fresh * store->record_size;
}
