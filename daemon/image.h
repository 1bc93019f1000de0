/* A snapshot as a file: the heaps of the tasks that one instance owned as they stood before one
 * pane, and where in the log and in the outputs that was. Good for the very program that wrote it
 * (build) and the same settings of size (shape), as it holds memory as it is.
 *
 *	header | task x tasks | crc | piece ... | end
 *	piece:  number, length, offset, crc, head's crc, bytes
 *		of one heap, what is all zeros left out; a heap's head comes first, heaps in order
 *
 * Nothing here allocates, so it may be written by a child that was forked off threads. Not a format
 * for anyone else: little-endian, host layout, never sent. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"
#include "daemon/task_set.h"

enum { IMAGE_BUILD_BYTES = 20, IMAGE_TASKS_MAX = TASK_SET_MAX };

enum image_output { IMAGE_FLOWS, IMAGE_ROLLUPS, IMAGE_ALERTS, IMAGE_DEADLETTERS, IMAGE_OUTPUTS };

struct image_task {
	int64_t next; /* offset of the record that is read next; -1: none was */
	uint64_t sequences[IMAGE_OUTPUTS]; /* the next output's numbers */
	uint32_t digests[IMAGE_OUTPUTS];   /* of all before it */
};

struct image_header {
	uint8_t build[IMAGE_BUILD_BYTES]; /* of the program */
	uint32_t tasks;
	uint64_t shape;	       /* of the settings that decide what state looks like */
	uint64_t epoch;	       /* of the pipeline */
	uint64_t pane;	       /* the first that is not in it */
	struct task_set owned; /* tasks that it holds */
};

struct image {
	struct image_header header;
	struct image_task tasks[IMAGE_TASKS_MAX]; /* those of others say nothing */
};

/* The build id of the running program; all zeros if it has none. */
void image_build(uint8_t build[IMAGE_BUILD_BYTES]);

/* Writes, past the kernel's cache if the file system can and the descriptor stands at a whole page,
 * and syncs. 0 or -errno. Leaves the descriptor open. Of the heaps, by task, only those that
 * are owned are looked at. */
int image_write(int descriptor, const struct image *image, struct heap *const *heaps);

/* What the file is of, checked; pieces are not looked at. 0; -errno; -EBADMSG with why (static
 * text) if it is none of this program's. */
int image_read_header(int descriptor, struct image *image, const char **why);
/* The rest: the wanted tasks, some of those that the file holds, into heaps just made. What is of
 * others is passed over and not checked. As above; then the heaps are of no use. */
int image_read(int descriptor, const struct image *image, const struct task_set *wanted,
	       struct heap *const *heaps, const char **why);
