#include "agent/lookups.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

#define ABANDONED_NS (500 * NS_PER_MS)

enum {
	NONE = 0, /* rows are numbered from 1 */
	/* Rows of a bucket, which each message walks: one on average when the table is full, but a
	 * program may ask any number of names with one id. */
	BUCKET_MAX = 32,
};

/* Each row is in three lists: its hash bucket's, its slot's, and by age.
 *
 *   oldest -> row -> row -> newest      older/newer: a query joins at the newest end
 *   buckets[(slot, id, sent)] -> row -> row      newest first
 *   slots[slot] -> row <-> row
 */
struct row {
	struct lookup lookup;
	uint32_t bucket_next;
	uint32_t slot_next, slot_before;
	uint32_t older, newer;
};

struct lookups {
	struct lookups_options options;
	struct row *rows;  /* [0] is not used */
	uint32_t *buckets; /* a power of two, at least as many as rows */
	uint32_t *slots;
	uint32_t mask, high, free; /* free: linked by bucket_next */
	uint32_t oldest, newest;
	struct lookups_stats stats;
};

struct lookups *lookups_new(const struct lookups_options *options)
{
	assert(options->lookups_max);
	struct lookups *lookups = memory_zeroed(1, sizeof(*lookups));
	lookups->options = *options;
	uint32_t buckets = 1;
	while (buckets < options->lookups_max)
		buckets *= 2;
	lookups->mask = buckets - 1;
	lookups->rows = memory_zeroed((size_t)options->lookups_max + 1, sizeof(*lookups->rows));
	lookups->buckets = memory_zeroed(buckets, sizeof(*lookups->buckets));
	lookups->slots = memory_zeroed(options->slots_max, sizeof(*lookups->slots));
	return lookups;
}

void lookups_free(struct lookups *lookups)
{
	if (!lookups)
		return;
	free(lookups->rows);
	free(lookups->buckets);
	free(lookups->slots);
	free(lookups);
}

static uint32_t *bucket_of(struct lookups *lookups, uint32_t slot, uint16_t id, bool sent)
{
	uint64_t hash = hash_mix((uint64_t)slot << 17 | (uint64_t)id << 1 | sent);
	return &lookups->buckets[hash & lookups->mask];
}

static void leave_bucket(struct lookups *lookups, uint32_t number)
{
	struct row *row = &lookups->rows[number];
	uint32_t *at = bucket_of(lookups, row->lookup.slot, row->lookup.id, row->lookup.sent);
	while (*at != number)
		at = &lookups->rows[*at].bucket_next;
	*at = row->bucket_next;
}

static void leave_slot(struct lookups *lookups, const struct row *row)
{
	struct row *rows = lookups->rows;
	if (row->slot_before)
		rows[row->slot_before].slot_next = row->slot_next;
	else
		lookups->slots[row->lookup.slot] = row->slot_next;
	if (row->slot_next)
		rows[row->slot_next].slot_before = row->slot_before;
}

static void leave_age(struct lookups *lookups, const struct row *row)
{
	struct row *rows = lookups->rows;
	*(row->older ? &rows[row->older].newer : &lookups->oldest) = row->newer;
	*(row->newer ? &rows[row->newer].older : &lookups->newest) = row->older;
}

static void drop(struct lookups *lookups, uint32_t number)
{
	struct row *row = &lookups->rows[number];
	leave_bucket(lookups, number);
	leave_slot(lookups, row);
	leave_age(lookups, row);
	row->bucket_next = lookups->free;
	lookups->free = number;
	lookups->stats.waiting--;
}

static void evict(struct lookups *lookups, uint32_t number)
{
	lookups->stats.evicted++;
	drop(lookups, number);
}

/* The oldest of a full bucket leaves. */
static void bound_bucket(struct lookups *lookups, uint32_t bucket)
{
	uint32_t rows = 0, last = NONE;
	for (uint32_t at = bucket; at; at = lookups->rows[at].bucket_next, rows++)
		last = at;
	if (rows == BUCKET_MAX)
		evict(lookups, last);
}

static uint32_t take_row(struct lookups *lookups)
{
	if (!lookups->free && lookups->high == lookups->options.lookups_max)
		evict(lookups, lookups->oldest);
	uint32_t number = lookups->free;
	if (!number)
		return ++lookups->high;
	lookups->free = lookups->rows[number].bucket_next;
	return number;
}

static void add(struct lookups *lookups, const struct lookup *lookup)
{
	uint32_t *bucket = bucket_of(lookups, lookup->slot, lookup->id, lookup->sent);
	bound_bucket(lookups, *bucket);
	uint32_t number = take_row(lookups);
	struct row *row = &lookups->rows[number];
	uint32_t *slot = &lookups->slots[lookup->slot];
	*row = (struct row){
		.lookup = *lookup,
		.bucket_next = *bucket,
		.slot_next = *slot,
		.older = lookups->newest,
	};
	if (*slot)
		lookups->rows[*slot].slot_before = number;
	*(row->older ? &lookups->rows[row->older].newer : &lookups->oldest) = number;
	*bucket = *slot = lookups->newest = number;
	lookups->stats.waiting++;
}

static bool fits(const struct lookup *lookup, uint32_t slot, bool sent,
		 const struct dns_message *message)
{
	return lookup->slot == slot && lookup->sent == sent && lookup->id == message->id &&
	       (!message->asked ||
		(lookup->type == message->type && dns_name_equal(&lookup->name, &message->name)));
}

/* sent: of the query. The oldest that fits is the last in its bucket. */
static uint32_t find(struct lookups *lookups, uint32_t slot, bool sent,
		     const struct dns_message *message)
{
	uint32_t found = NONE;
	for (uint32_t at = *bucket_of(lookups, slot, message->id, sent); at;
	     at = lookups->rows[at].bucket_next)
		if (fits(&lookups->rows[at].lookup, slot, sent, message))
			found = at;
	return found;
}

static void tell(struct lookups *lookups, uint32_t number, const struct dns_message *answer,
		 uint64_t ended_ns)
{
	const struct lookups_options *options = &lookups->options;
	options->told(options->context, &lookups->rows[number].lookup, answer, ended_ns);
	drop(lookups, number);
}

static void push_query(struct lookups *lookups, uint32_t slot, bool sent,
		       const struct dns_message *message, uint64_t time_ns)
{
	if (find(lookups, slot, sent, message)) {
		lookups->stats.repeated++;
		return;
	}
	add(lookups, &(struct lookup){
			     .asked_ns = time_ns,
			     .slot = slot,
			     .sent = sent,
			     .id = message->id,
			     .type = message->type,
			     .name = message->name,
		     });
}

void lookups_push(struct lookups *lookups, uint32_t slot, bool sent,
		  const struct dns_message *message, uint64_t time_ns)
{
	assert(slot < lookups->options.slots_max);
	lookups_expire(lookups, time_ns);
	if (!message->response) {
		push_query(lookups, slot, sent, message, time_ns);
		return;
	}
	uint32_t number = find(lookups, slot, !sent, message);
	if (!number) {
		lookups->stats.unmatched++;
		return;
	}
	lookups->stats.answered++;
	tell(lookups, number, message, time_ns);
}

void lookups_end(struct lookups *lookups, uint32_t slot, uint64_t time_ns)
{
	uint32_t number;
	while ((number = lookups->slots[slot])) {
		uint64_t asked_ns = lookups->rows[number].lookup.asked_ns;
		if (time_ns < asked_ns + ABANDONED_NS) {
			lookups->stats.abandoned++;
			drop(lookups, number);
			continue;
		}
		lookups->stats.timeouts++;
		tell(lookups, number, NULL, time_ns);
	}
}

/* Processors stamp queries a little out of order: the oldest is as old as the order says. */
void lookups_expire(struct lookups *lookups, uint64_t now_ns)
{
	while (lookups->oldest) {
		uint64_t ends_ns = lookups->rows[lookups->oldest].lookup.asked_ns +
				   lookups->options.timeout_ns;
		if (ends_ns > now_ns)
			return;
		lookups->stats.timeouts++;
		tell(lookups, lookups->oldest, NULL, ends_ns);
	}
}

struct lookups_stats lookups_stats(const struct lookups *lookups)
{
	return lookups->stats;
}
