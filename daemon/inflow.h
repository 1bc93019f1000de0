/* What comes for an instance's tasks from those of other instances, by run (daemon/lineup.h): in
 * its order and once, or the run is broken. Messages of an earlier run are dropped, those of a
 * later one held until it begins, INFLOW_HELD_MAX bytes of them; a run that had more is broken when
 * it begins. From each task to each task they are numbered: a repeat is dropped, a gap breaks the
 * run. Pure; one thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/message.h"

enum { INFLOW_HELD_MAX = 64 << 20, INFLOW_WHY_BYTES = 320 };

/* Before each message as bytes (daemon/wire_message.h). */
struct envelope {
	uint32_t magic, source, task, pad;
	int64_t run;
	uint64_t number; /* of this source for this task, in the run: 0, 1, 2 .. */
};
#define ENVELOPE_MAGIC 0x454d524dU /* "MRME" */

struct inflow_stats {
	uint64_t received, received_bytes;
	uint64_t repeated, stale; /* dropped: had before; of an earlier run, or a broken one */
	uint64_t held;		  /* now */
	uint64_t unheld;	  /* dropped: no room */
	uint64_t refused;	  /* no message of this build */
	uint64_t broken;	  /* runs */
};

struct inflow;

/* on_message takes the message. */
struct inflow *inflow_new(uint32_t tasks,
			  void (*on_message)(void *context, struct message *message),
			  void *context);
void inflow_free(struct inflow *inflow);

void inflow_begin(struct inflow *inflow, int64_t run);
void inflow_end(struct inflow *inflow);
/* The run at hand; -1: none. */
int64_t inflow_run(const struct inflow *inflow);

/* A record's bytes, envelope and all, of the partition of that task. */
void inflow_take(struct inflow *inflow, uint32_t task, const uint8_t *bytes, size_t length);
/* Hands over what was held for the run at hand. To be called after inflow_begin, whenever that
 * suits who is told; inflow_take does, too. */
void inflow_take_held(struct inflow *inflow);

/* For a reason that others know of; nothing if there is no run, or it is broken. */
void inflow_break(struct inflow *inflow, const char *why);
/* Once a run that is broken, with why; not any more after its end. */
bool inflow_broken(struct inflow *inflow, char why[INFLOW_WHY_BYTES]);
struct inflow_stats inflow_stats(const struct inflow *inflow);
