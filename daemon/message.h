/* What tasks tell each other: one message a sender, receiver, kind and pane, empty or not, so that
 * a receiver knows when it has all of a pane. This is the exchange's memory carrier: a message is
 * handed over whole.
 *
 * START  ingest -> every task   the first pane of this partition
 * HALVES ingest -> join         definitions, closes, aliases, instances and their names; facts of
 *                               metadata; rules
 * HOPS   join   -> join         re-keyed halves, read in the next round of the pane, one a round
 * LABELS join   -> ingest       what was decided, instances and their names
 * ROWS   ingest -> aggregate    partial rows
 * EPISODES anomaly -> incidents transitions of the pane, to task 0 alone */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aggregate/partial.h"
#include "anomaly/alert.h"
#include "base/name.h"
#include "daemon/mailbox.h"
#include "ingest/half.h"

struct heap;

enum message_kind {
	MESSAGE_START,
	MESSAGE_HALVES,
	MESSAGE_HOPS,
	MESSAGE_LABELS,
	MESSAGE_ROWS,
	MESSAGE_EPISODES,
	MESSAGE_KINDS,
};

/* Rounds of a pane's join: the first and one for each hop. */
enum { ROUNDS_MAX = 1 + HOPS_MAX };

/* All that one join task has for one ingest task in one pane. */
struct label_bucket {
	const struct label *labels; /* of the pane's rounds, one behind the other */
	size_t round_ends[ROUNDS_MAX];
	const struct instance *instances; /* of all rounds */
	size_t instances_count;
};

struct message {
	struct letter letter; /* first: a letter is a message */
	enum message_kind kind;
	uint32_t source, task; /* from, to */
	uint64_t pane;
	union {
		struct {
			struct half_bucket bucket; /* HALVES, HOPS: points into this allocation */
			bool unfinished; /* HOPS: the sender sent hops to somebody in this round */
		};
		struct label_bucket labelled; /* LABELS: points into this allocation */
		struct partial_bucket *rows;
		struct { /* EPISODES: behind this struct */
			const struct alert *episodes;
			size_t episodes_count;
		};
	};
	/* HALVES, HOPS, LABELS: names of the instances and facts told; bytes too. */
	const struct name *names;
	size_t names_count;
};

struct message *message_new(enum message_kind kind, uint32_t source, uint32_t task, uint64_t pane);

/* Both copy the bucket and the names' bytes. */
struct message *message_halves(enum message_kind kind, uint32_t source, uint32_t task,
			       uint64_t pane, const struct half_bucket *bucket,
			       const struct name *const *names, size_t names_count);
struct message *message_labels(uint32_t source, uint32_t task, uint64_t pane,
			       const struct label_bucket *bucket, const struct name *const *names,
			       size_t names_count);

/* episodes: struct alert, however aligned. */
struct message *message_episodes(uint32_t source, uint32_t task, uint64_t pane,
				 const void *episodes, size_t count);

/* A copy of HALVES or HOPS in the heap: messages themselves are the C library's memory, as they are
 * handed over. */
struct message *message_kept(const struct message *message, struct heap *heap);

/* Frees the rows too, unless they were taken (set to NULL). */
void message_free(struct message *message);
