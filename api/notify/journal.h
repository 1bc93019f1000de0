/* A write-ahead file for alerts about Millrace itself, for when Kafka is gone. What was appended is
 * on the disk when journal_append returns; a torn or damaged tail, as a crash or a disk leaves it,
 * is cut off at the next start and counted.
 *
 *   "MRJ1", then records:  length (u32) | CRC32C of length and bytes (u32) | bytes     little
 * endian
 *
 * Bound: bytes_max; a journal that is full asks its owner for what still counts and writes that
 * into a new file in its place (write, fsync, rename, fsync of the folder). A file whose fsync
 * failed is never written again: a new one is tried at the next append. One thread; a call blocks
 * for the disk. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;

struct journal_options {
	const char *path;
	size_t bytes_max; /* 1 MiB */
	void *context;
	/* At journal_open: each record, oldest first. */
	void (*record)(void *context, const uint8_t *bytes, size_t length);
	/* Appends, by journal_keep, all that still counts. */
	void (*keep)(void *context, struct journal *journal);
};

struct journal_stats {
	uint64_t bytes;	    /* of the file */
	uint64_t appended;  /* records */
	uint64_t rewritten; /* files that took the place of full or failed ones */
	uint64_t failed;    /* records that could not be written */
	uint64_t cut;	    /* bytes of a damaged tail that were dropped at the start */
};

enum { JOURNAL_RECORD_MAX = 64 * 1024 };

/* NULL with *rc negative when the file cannot be made or is none of ours: it is not touched then.
 */
struct journal *journal_open(const struct journal_options *options, int *rc);
/* 0, or a negative errno: the record is not kept. */
int journal_append(struct journal *journal, const uint8_t *bytes, size_t length);
/* From the callback keep only. */
void journal_keep(struct journal *journal, const uint8_t *bytes, size_t length);
struct journal_stats journal_stats(const struct journal *journal);
void journal_close(struct journal *journal);

/* Calls record for each whole record; returns how many bytes of them there are, from the start of
 * the file; 0: it is no journal. Pure. */
size_t journal_scan(const uint8_t *bytes, size_t length, void *context,
		    void (*record)(void *context, const uint8_t *bytes, size_t length));
