#include "join/intern.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static uint64_t intern_hash_of(const void *context, uint32_t record)
{
	const struct intern *intern = context;
	return intern->hash(intern->context, intern_at(intern, record));
}

void intern_init(struct intern *intern, uint32_t record_size, uint32_t records_max,
		 uint64_t (*hash)(const void *context, const void *record), const void *context)
{
	*intern = (struct intern){.hash = hash,
				  .context = context,
				  .record_size = record_size,
				  .records_max = records_max,
				  .fresh = 1};
	slots_init(&intern->table, intern_hash_of, NULL, intern);
	intern->records = memory_zeroed((size_t)records_max + 1, record_size);
	intern->users = memory_zeroed((size_t)records_max + 1, sizeof(*intern->users));
}

void intern_bind(struct intern *intern, uint64_t (*hash)(const void *context, const void *record))
{
	intern->hash = hash;
	slots_bind(&intern->table, intern_hash_of, NULL, intern);
}

void intern_done(struct intern *intern)
{
	slots_done(&intern->table);
	memory_free(intern->records);
	memory_free(intern->users);
}

static bool intern_matches(const void *context, uint32_t record, const void *wanted)
{
	const struct intern *intern = context;
	return memcmp(intern_at(intern, record), wanted, intern->record_size) == 0;
}

uint32_t intern_find(const struct intern *intern, const void *record, uint64_t hash)
{
	return slots_find(&intern->table, hash, intern_matches, intern, record);
}

uint32_t intern_hold(struct intern *intern, const void *record)
{
	uint64_t hash = intern->hash(intern->context, record);
	uint32_t number = intern_find(intern, record, hash);
	if (number) {
		intern->users[number]++;
		return number;
	}
	assert(intern->live < intern->records_max);
	number = intern->free;
	if (number)
		intern->free = intern->users[number];
	else
		number = intern->fresh++;
	memcpy(intern->records + (uint64_t)number * intern->record_size, record,
	       intern->record_size);
	intern->users[number] = 1;
	intern->live++;
	slots_add(&intern->table, hash, number);
	return number;
}

bool intern_drop(struct intern *intern, uint32_t number)
{
	assert(intern->users[number] > 0);
	if (--intern->users[number] > 0)
		return false;
	slots_remove(&intern->table, intern_hash_of(intern, number), number);
	intern->users[number] = intern->free;
	intern->free = number;
	intern->live--;
	return true;
}
