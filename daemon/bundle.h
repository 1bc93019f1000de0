/* Messages from the tasks of one worker to those of one other instance, as the bytes of one record:
 * of one run (daemon/lineup.h), in the order in which they were put in.
 *
 *	struct bundle_head | struct bundle_place | message | struct bundle_place | message ...
 *
 * A message (daemon/wire_message.h) is written where it stays, and the bytes are handed on whole. A
 * bundle takes BUNDLE_BYTES_MAX, or one message that is larger. Reading believes no count and no
 * length. Pure; one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/message.h"

/* Where a record's own price is nothing any more, and an eighth of what the topic takes. */
enum { BUNDLE_BYTES_MAX = 4 << 20 };

struct bundle_head {
	uint32_t magic;
	uint32_t messages; /* at least one */
	int64_t run;
};
#define BUNDLE_MAGIC 0x424d524dU /* "MRMB" */

struct bundle_place {
	uint32_t source, task;
	uint64_t number; /* of this source for this task, in the run: 0, 1, 2 .. */
	uint64_t length; /* of the message */
};

/* Zeroed: nothing is in it. */
struct bundle {
	uint8_t *bytes;
	size_t length, size;
	size_t size_next; /* as much as the last one took */
};

/* False, and nothing is done: it has no room behind what is there. One that is empty takes any.
 * run: the same until it is taken. */
bool bundle_put(struct bundle *bundle, int64_t run, uint64_t number, const struct message *message);
/* How many messages are in it. */
uint32_t bundle_messages(const struct bundle *bundle);
/* The record's bytes, for free() by the caller; the bundle is empty then. NULL: it was. */
uint8_t *bundle_take(struct bundle *bundle, size_t *length);
void bundle_clear(struct bundle *bundle);

/* What is still to be read of a record. */
struct bundle_reader {
	int64_t run;
	uint32_t messages;
	const uint8_t *at;
	size_t left;
};

/* The bytes are lent, and may stand anywhere. False: they do not begin as a bundle does. */
bool bundle_open(struct bundle_reader *reader, const uint8_t *bytes, size_t length);
/* Of one that was opened: whether it is as many messages as it says, and nothing else, each between
 * two of so many tasks. What the messages are is not looked at. */
bool bundle_whole(const struct bundle_reader *reader, uint32_t tasks);
/* Of one that is whole: the next message's bytes; NULL: that was all. */
const uint8_t *bundle_next(struct bundle_reader *reader, struct bundle_place *place);
