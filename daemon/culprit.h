/* Records that end the process, and how the pipeline gets past them. Before a task reads a record
 * its place is marked in a file that is mapped shared, and unmarked afterwards: two stores, no
 * system call, and the mark outlives the process. Who finds a mark at its start knows at which
 * record the last life ended. A record at which CULPRIT_CRASHES lives ended is written to a second
 * file, synced, before anything is read: from then on every life passes it over, so that what is
 * computed anew is the same.
 *
 * A record is known by partition, offset and append time, so an entry never fits another log's
 * record. Only the reading itself is marked: what ends the process later, when the record's pane
 * closes, names none. The files are this instance's: another host finds out for itself.
 *
 * Both files lie in the snapshots' folder. culprits_enter and culprits_leave on the task's thread,
 * one record of a task at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct consumer_anchor;
struct culprits;
struct mirror_record;

enum {
	CULPRIT_CRASHES = 3, /* lives that ended at one record before it is passed over */
	CULPRITS_MAX = 1024, /* records that are passed over; beyond them none is added */
};

struct culprits_options {
	const char *folder;
	uint64_t instance; /* of those that share the folder; 0: this one is alone */
	uint32_t tasks;
	void *context;
	/* A sentence for each mark that is found. */
	void (*told)(void *context, const char *sentence);
};

/* Reads what the last life left. NULL with *why (at most size bytes) when the files cannot be had.
 */
struct culprits *culprits_open(const struct culprits_options *options, char *why, size_t size);
void culprits_close(struct culprits *culprits);

/* Whether the record is to be passed over; else it is marked. */
bool culprits_enter(struct culprits *culprits, uint32_t task, const struct mirror_record *record);
void culprits_leave(struct culprits *culprits, uint32_t task);

/* By task: by what the last life knew the partition's log; in the mapped file. */
struct consumer_anchor *culprits_anchors(struct culprits *culprits);

/* Records that are passed over, of all partitions. */
size_t culprits_count(const struct culprits *culprits);
