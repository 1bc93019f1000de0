/* Sealed batches that wait for the broker, oldest first. A record is waiting, or sent and waiting
 * for its delivery report; it leaves when delivered. Bounded by bytes: when full, the oldest
 * records that are not on their way go, and their events are counted as dropped; the pipeline sees
 * the gap in the sequence numbers. So of what was put: delivered + dropped + waiting + sent, at any
 * time. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spooled {
	struct spooled *before, *after;
	uint32_t events;
	bool sent;
	bool alone; /* its sender's: nothing else was on its way */
	size_t length;
	uint8_t bytes[];
};

struct spool_stats {
	uint64_t dropped_events, dropped_batches;
	uint64_t bytes, events; /* of those here */
	uint32_t waiting, sent;
};

struct spool;
struct spool *spool_new(uint64_t bytes_max);
void spool_free(struct spool *spool);
void spool_put(struct spool *spool, const uint8_t *bytes, size_t length,
	       uint32_t events); /* copies */
/* The oldest waiting record; NULL: none. It stays in the spool. */
struct spooled *spool_next(const struct spool *spool);
void spool_sent(struct spool *spool, struct spooled *record);
void spool_failed(struct spool *spool, struct spooled *record); /* waits again, in its old place */
void spool_recall(struct spool *spool); /* as failed: all that is sent; no report comes any more */
void spool_drop(struct spool *spool, struct spooled *record); /* it waits; counted as dropped */
void spool_delivered(struct spool *spool, struct spooled *record);
struct spool_stats spool_stats(const struct spool *spool);
