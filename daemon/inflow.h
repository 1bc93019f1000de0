/* What comes for an instance's tasks from those of other instances, by run (daemon/lineup.h), as
 * outflow.h sends it: in its order and once, or the run is broken. Messages of an earlier run are
 * dropped, those of a later one held until it begins, INFLOW_HELD_MAX bytes of them; a run that had
 * more is broken when it begins. From each task to each task they are numbered: a repeat is
 * dropped, a gap breaks the run. Pure; one thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/message.h"

enum { INFLOW_HELD_MAX = 64 << 20, INFLOW_WHY_BYTES = 320 };

struct inflow_stats {
	uint64_t received, received_bytes;
	uint64_t repeated, stale; /* dropped: had before; of an earlier run, or a broken one */
	uint64_t held;		  /* now */
	uint64_t unheld;	  /* dropped: no room */
	uint64_t refused; /* records that are no bundle, messages that are none of this build */
	uint64_t broken;  /* runs */
};

struct inflow;

/* on_messages takes the messages of a bundle, a list by their letters, oldest first. */
struct inflow *inflow_new(uint32_t tasks,
			  void (*on_messages)(void *context, struct message *messages),
			  void *context);
void inflow_free(struct inflow *inflow);

/* homes: by task, the partition that its messages come by. */
void inflow_begin(struct inflow *inflow, int64_t run, const uint32_t *homes);
void inflow_end(struct inflow *inflow);
/* The run at hand; -1: none. */
int64_t inflow_run(const struct inflow *inflow);

/* A record's bytes, of the partition of that task. */
void inflow_take(struct inflow *inflow, uint32_t home, const uint8_t *bytes, size_t length);
/* Hands over what was held for the run at hand. To be called after inflow_begin, whenever that
 * suits who is told; inflow_take does, too. */
void inflow_take_held(struct inflow *inflow);

/* For a reason that others know of; nothing if there is no run, or it is broken. */
void inflow_break(struct inflow *inflow, const char *why);
/* Once a run that is broken, with why; not any more after its end. */
bool inflow_broken(struct inflow *inflow, char why[INFLOW_WHY_BYTES]);
struct inflow_stats inflow_stats(const struct inflow *inflow);
