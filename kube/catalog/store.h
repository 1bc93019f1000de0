/* Records of one size, found by a 64-bit key that they begin with: the hash of what names them, as
 * names' ids are (base/name.h), never 0. A record stays where it is until it is removed; its number
 * is good that long, and never 0. Bounded by records_max; memory is touched as it is used. Pure;
 * one thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/slots.h"

struct store {
	struct slots index;
	uint8_t *records;
	uint32_t record_size, records_max;
	uint32_t fresh; /* numbers from here on were never taken */
	uint32_t free;	/* head of those given back */
	uint32_t live;
};

/* Must not move afterwards: its index points back at it. */
void store_init(struct store *store, uint32_t record_size, uint32_t records_max);
void store_done(struct store *store);

/* A key for the NUL-terminated text. */
uint64_t store_key(const char *text);

/* NULL: there is none. */
void *store_find(const struct store *store, uint64_t key);
/* A new record, zeroed but for its key, which is not there yet; NULL: the store is full. */
void *store_add(struct store *store, uint64_t key);
void store_remove(struct store *store, void *record);

/* All records, in no order that means anything: the one after `record`, the first after NULL. The
 * record that was given last may have been removed. */
void *store_next(const struct store *store, const void *record);
size_t store_bytes(const struct store *store);

static inline void *store_at(const struct store *store, uint32_t number)
{
	return store->records + (uint64_t)number * store->record_size;
}

static inline uint32_t store_number(const struct store *store, const void *record)
{
	return (uint32_t)((size_t)((const uint8_t *)record - store->records) / store->record_size);
}
