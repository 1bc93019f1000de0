/* Equal records kept once, counted by their users and known by number: a mapping's tuples, a
 * server's address and port. A number is good until its last user drops it; it is taken again
 * later, so it must never order output. Number 0 is nobody. Bounded by records_max at the start,
 * which the caller derives from its own bounds; memory is touched only as it is used. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slots.h"

struct intern {
	struct slots table;
	uint8_t *records;
	uint32_t *users; /* of a free number: the next free one */
	uint64_t (*hash)(const void *context, const void *record);
	const void *context;
	uint32_t record_size;
	uint32_t records_max;
	uint32_t fresh; /* numbers from here on were never taken */
	uint32_t free;	/* head of the numbers given back */
	uint32_t live;
};

/* Must not move afterwards: its index points back at it. */
void intern_init(struct intern *intern, uint32_t record_size, uint32_t records_max,
		 uint64_t (*hash)(const void *context, const void *record), const void *context);
/* The table, and the context with it, is as another process left it. */
void intern_bind(struct intern *intern, uint64_t (*hash)(const void *context, const void *record));
void intern_done(struct intern *intern);

/* The record's number, or 0 if nobody holds it. hash is that of the record. */
uint32_t intern_find(const struct intern *intern, const void *record, uint64_t hash);

/* The record's number with one more user. */
uint32_t intern_hold(struct intern *intern, const void *record);

/* One user less. Returns whether it was the last. */
bool intern_drop(struct intern *intern, uint32_t number);

static inline const void *intern_at(const struct intern *intern, uint32_t number)
{
	return intern->records + (uint64_t)number * intern->record_size;
}
