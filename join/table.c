#include "join/table.h"

#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"

void table_init(struct table *table, uint32_t records_max)
{
	uint64_t buckets = 1;
	while (buckets * (TABLE_WAYS * 3 / 4) < records_max)
		buckets *= 2;
	table->buckets = memory_zeroed(buckets, sizeof(*table->buckets));
	table->mask = buckets - 1;
}

void table_done(struct table *table)
{
	free(table->buckets);
	*table = (struct table){0};
}

void table_add(struct table *table, uint64_t hash, uint32_t record)
{
	for (uint64_t at = hash & table->mask;; at = (at + 1) & table->mask) {
		struct table_bucket *bucket = &table->buckets[at];
		for (int way = 0; way < TABLE_WAYS; way++) {
			if (bucket->tag[way])
				continue;
			bucket->tag[way] = table_tag(hash);
			bucket->record[way] = record;
			return;
		}
		bucket->passed++;
	}
}

void table_remove(struct table *table, uint64_t hash, uint32_t record)
{
	uint8_t tag = table_tag(hash);
	for (uint64_t at = hash & table->mask;; at = (at + 1) & table->mask) {
		struct table_bucket *bucket = &table->buckets[at];
		for (int way = 0; way < TABLE_WAYS; way++) {
			if (bucket->tag[way] != tag || bucket->record[way] != record)
				continue;
			bucket->tag[way] = 0;
			return;
		}
		assert(bucket->passed > 0);
		bucket->passed--;
	}
}
