/* A log of sealed batches: in memory, or a file of the same bytes. Bytes are lent until the log is
 * freed or cleared.
 *
 * The file, little-endian, without padding:
 *
 *   header:  8 bytes "MRFLEET1", u32 partitions, u32 0
 *   record:  u32 value bytes, u32 events, u64 append time in ns, u16 partition, u16 key bytes,
 *            u32 0, then the key (the node), then the value (one Batch)
 *
 * Records are in the order of their append times. Memory comes in chunks of 16 MB; a file is
 * mapped. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One record of the topic, as a publisher would send it. */
struct fleet_batch {
	const char *node; /* the key; ends in NUL only where its maker says so */
	uint32_t node_length;
	uint32_t partition;
	uint64_t append_ns;
	const uint8_t *bytes;
	size_t length;
	uint32_t events;
};

struct fleet_log;

struct fleet_log *fleet_log_new(uint32_t partitions);
/* NULL with a sentence in why: no such file, or not a whole log. */
struct fleet_log *fleet_log_open(const char *path, char *why, size_t size);
void fleet_log_free(struct fleet_log *log);
void fleet_log_clear(struct fleet_log *log); /* of one in memory: its chunks are used again */
void fleet_log_add(struct fleet_log *log, const struct fleet_batch *batch);
int fleet_log_save(const struct fleet_log *log, const char *path); /* 0 or -errno */

/* Where a reader stands; zeros stand at the beginning. */
struct fleet_cursor {
	size_t chunk, at;
};
bool fleet_log_next(const struct fleet_log *log, struct fleet_cursor *cursor,
		    struct fleet_batch *batch);

uint32_t fleet_log_partitions(const struct fleet_log *log);
uint64_t fleet_log_records(const struct fleet_log *log);
uint64_t fleet_log_events(const struct fleet_log *log);
uint64_t fleet_log_bytes(const struct fleet_log *log); /* of values */
uint64_t fleet_log_size(const struct fleet_log *log);  /* of memory or file */

/* A file that is written as it comes. NULL, errno set. */
struct fleet_writer;
struct fleet_writer *fleet_writer_open(const char *path, uint32_t partitions);
void fleet_writer_add(struct fleet_writer *writer, const struct fleet_batch *batch);
int fleet_writer_close(struct fleet_writer *writer); /* 0 or -errno of the first failure */
