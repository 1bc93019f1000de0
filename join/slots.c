#include "join/slots.h"

#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"

void slots_init(struct slots *slots, uint32_t records_max)
{
	uint64_t buckets = 1;
	while (buckets * (SLOTS_WAYS * 3 / 4) < records_max)
		buckets *= 2;
	slots->buckets = memory_zeroed(buckets, sizeof(*slots->buckets));
	slots->mask = buckets - 1;
}

void slots_done(struct slots *slots)
{
	free(slots->buckets);
	*slots = (struct slots){0};
}

void slots_add(struct slots *slots, uint64_t hash, uint32_t record)
{
	for (uint64_t at = hash & slots->mask;; at = (at + 1) & slots->mask) {
		struct slots_bucket *bucket = &slots->buckets[at];
		for (int way = 0; way < SLOTS_WAYS; way++) {
			if (bucket->tag[way])
				continue;
			bucket->tag[way] = slots_tag(hash);
			bucket->record[way] = record;
			return;
		}
		bucket->passed++;
	}
}

void slots_remove(struct slots *slots, uint64_t hash, uint32_t record)
{
	uint8_t tag = slots_tag(hash);
	for (uint64_t at = hash & slots->mask;; at = (at + 1) & slots->mask) {
		struct slots_bucket *bucket = &slots->buckets[at];
		for (int way = 0; way < SLOTS_WAYS; way++) {
			if (bucket->tag[way] != tag || bucket->record[way] != record)
				continue;
			bucket->tag[way] = 0;
			return;
		}
		assert(bucket->passed > 0);
		bucket->passed--;
	}
}
