/* What goes from an instance's tasks to those of other instances, by run, as inflow.h takes it in:
 * numbered from task to task, and gathered to one bundle for each worker and instance, which goes
 * when its worker's turn ends, or when it is full. An instance's home is the lowest of its tasks:
 * what is for it goes to that task's partition.
 *
 * Begin while nobody sends. Else any thread, though one at a time for a worker, and all messages of
 * one source by one worker. */
#pragma once

#include <stdint.h>

#include "daemon/message.h"

/* A bundle on its way. */
struct outflow_record {
	int64_t run;
	uint32_t home, messages;
	uint8_t *bytes; /* for free() by who takes it */
	size_t length;
};

struct outflow;

struct outflow *outflow_new(uint32_t tasks,
			    void (*on_record)(void *context, const struct outflow_record *record),
			    void *context);
void outflow_free(struct outflow *outflow);

/* homes: by task, of the instance that has it. */
void outflow_begin(struct outflow *outflow, int64_t run, const uint32_t *homes);
/* What has not gone does not go any more. */
void outflow_end(struct outflow *outflow);

/* Takes the message. worker: below the number of tasks. */
void outflow_send(struct outflow *outflow, uint32_t worker, struct message *message);
void outflow_flush(struct outflow *outflow, uint32_t worker);

/* Messages that there was no run for. */
uint64_t outflow_stale(const struct outflow *outflow);
