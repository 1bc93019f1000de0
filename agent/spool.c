#include "agent/spool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct spool {
	struct spooled ends;  /* a ring through this sentinel: after is the oldest */
	struct spooled *next; /* the oldest waiting, or the sentinel */
	uint64_t bytes_max;
	struct spool_stats stats;
};

struct spool *spool_new(uint64_t bytes_max)
{
	struct spool *spool = memory_zeroed(1, sizeof(*spool));
	spool->ends.before = spool->ends.after = &spool->ends;
	spool->next = &spool->ends;
	spool->bytes_max = bytes_max;
	return spool;
}

static uint64_t size(const struct spooled *record)
{
	return sizeof(*record) + record->length;
}

static void skip_sent(struct spool *spool)
{
	while (spool->next != &spool->ends && spool->next->sent)
		spool->next = spool->next->after;
}

static void unlink_record(struct spool *spool, struct spooled *record)
{
	record->before->after = record->after;
	record->after->before = record->before;
	if (spool->next == record)
		spool->next = record->after;
	skip_sent(spool);
	if (record->sent)
		spool->stats.sent--;
	else
		spool->stats.waiting--;
	spool->stats.bytes -= size(record);
	spool->stats.events -= record->events;
	free(record);
}

void spool_free(struct spool *spool)
{
	if (!spool)
		return;
	while (spool->ends.after != &spool->ends)
		unlink_record(spool, spool->ends.after);
	free(spool);
}

void spool_drop(struct spool *spool, struct spooled *record)
{
	assert(!record->sent);
	spool->stats.dropped_events += record->events;
	spool->stats.dropped_batches++;
	unlink_record(spool, record);
}

void spool_put(struct spool *spool, const uint8_t *bytes, size_t length, uint32_t events)
{
	struct spooled *record = memory_resize(NULL, 1, sizeof(*record) + length);
	*record = (struct spooled){.before = spool->ends.before,
				   .after = &spool->ends,
				   .events = events,
				   .length = length};
	memcpy(record->bytes, bytes, length);
	record->before->after = record;
	spool->ends.before = record;
	if (spool->next == &spool->ends)
		spool->next = record;
	spool->stats.waiting++;
	spool->stats.bytes += size(record);
	spool->stats.events += events;
	while (spool->stats.bytes > spool->bytes_max && spool->next != &spool->ends)
		spool_drop(spool, spool->next);
}

struct spooled *spool_next(const struct spool *spool)
{
	return spool->next == &spool->ends ? NULL : spool->next;
}

void spool_sent(struct spool *spool, struct spooled *record)
{
	assert(!record->sent);
	record->sent = true;
	spool->stats.waiting--;
	spool->stats.sent++;
	skip_sent(spool);
}

void spool_failed(struct spool *spool, struct spooled *record)
{
	assert(record->sent);
	record->sent = false;
	spool->stats.sent--;
	spool->stats.waiting++;
	spool->next = spool->ends.after;
	skip_sent(spool);
}

void spool_recall(struct spool *spool)
{
	for (struct spooled *record = spool->ends.after; record != &spool->ends;
	     record = record->after)
		record->sent = false;
	spool->stats.waiting += spool->stats.sent;
	spool->stats.sent = 0;
	spool->next = spool->ends.after;
}

void spool_delivered(struct spool *spool, struct spooled *record)
{
	assert(record->sent);
	unlink_record(spool, record);
}

struct spool_stats spool_stats(const struct spool *spool)
{
	return spool->stats;
}
