#include "daemon/inflow.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/wire_message.h"

/* A message whose run has not begun. */
struct held {
	struct held *next;
	struct envelope envelope;
	size_t length;
	uint8_t bytes[];
};

struct inflow {
	uint32_t tasks;
	void (*on_message)(void *context, struct message *message);
	void *context;
	int64_t run;	    /* at hand; -1: none */
	int64_t last_run;   /* the run at hand or the one before */
	bool broken;	    /* the run at hand */
	bool begun;	    /* what was held for the run is to be handed over */
	uint64_t *expected; /* numbers, by source and task */
	struct held *held, **held_end;
	size_t held_bytes;
	int64_t unheld_first, unheld_last; /* runs with messages that had no room; -1: none */
	char why[INFLOW_WHY_BYTES];	   /* the run is broken and nobody was told; "": no */
	struct inflow_stats stats;
};

struct inflow *inflow_new(uint32_t tasks,
			  void (*on_message)(void *context, struct message *message), void *context)
{
	struct inflow *inflow = memory_zeroed(1, sizeof(*inflow));

	inflow->tasks = tasks;
	inflow->on_message = on_message;
	inflow->context = context;
	inflow->expected = memory_zeroed((size_t)tasks * tasks, sizeof(*inflow->expected));
	inflow->run = inflow->last_run = -1;
	inflow->unheld_first = inflow->unheld_last = -1;
	inflow->held_end = &inflow->held;
	return inflow;
}

void inflow_free(struct inflow *inflow)
{
	struct held *next;

	for (struct held *held = inflow->held; held; held = next) {
		next = held->next;
		memory_free(held);
	}
	memory_free(inflow->expected);
	memory_free(inflow);
}

void inflow_break(struct inflow *inflow, const char *why)
{
	if (inflow->run < 0 || inflow->broken)
		return;
	inflow->broken = true;
	inflow->stats.broken++;
	snprintf(inflow->why, sizeof(inflow->why), "%s", why);
}

bool inflow_broken(struct inflow *inflow, char why[INFLOW_WHY_BYTES])
{
	if (!inflow->why[0])
		return false;
	memcpy(why, inflow->why, INFLOW_WHY_BYTES);
	inflow->why[0] = 0;
	return true;
}

void inflow_begin(struct inflow *inflow, int64_t run)
{
	assert(run >= 0);
	inflow->run = inflow->last_run = run;
	inflow->broken = false;
	inflow->why[0] = 0;
	inflow->begun = true;
	memset(inflow->expected, 0,
	       (size_t)inflow->tasks * inflow->tasks * sizeof(*inflow->expected));
	if (run >= inflow->unheld_first && run <= inflow->unheld_last)
		inflow_break(inflow, "more messages came before the run began than are held");
	if (run >= inflow->unheld_last)
		inflow->unheld_first = inflow->unheld_last = -1;
}

void inflow_end(struct inflow *inflow)
{
	inflow->run = -1;
	inflow->why[0] = 0;
}

int64_t inflow_run(const struct inflow *inflow)
{
	return inflow->run;
}

static void miss(struct inflow *inflow, const struct envelope *envelope, uint64_t expected)
{
	char why[INFLOW_WHY_BYTES];

	inflow->stats.stale++;
	snprintf(why, sizeof(why), "messages %llu to %llu from task %u to task %u are missing",
		 (unsigned long long)expected, (unsigned long long)envelope->number - 1,
		 envelope->source, envelope->task);
	inflow_break(inflow, why);
}

static void refuse(struct inflow *inflow, const struct envelope *envelope)
{
	char why[INFLOW_WHY_BYTES];

	inflow->stats.refused++;
	snprintf(why, sizeof(why), "message %llu from task %u to task %u cannot be read",
		 (unsigned long long)envelope->number, envelope->source, envelope->task);
	inflow_break(inflow, why);
}

/* NULL: none, or between others than the envelope says. */
static struct message *read_message(const struct inflow *inflow, const struct envelope *envelope,
				    const uint8_t *bytes, size_t length)
{
	struct message *message = wire_message_read(bytes, length, inflow->tasks);

	if (!message || (message->source == envelope->source && message->task == envelope->task))
		return message;
	message_free(message);
	return NULL;
}

/* The run at hand is whole so far. */
static void take_next(struct inflow *inflow, const struct envelope *envelope, const uint8_t *bytes,
		      size_t length)
{
	uint64_t *expected = &inflow->expected[envelope->source * inflow->tasks + envelope->task];
	struct message *message;

	if (envelope->number < *expected) {
		inflow->stats.repeated++;
		return;
	}
	if (envelope->number > *expected) {
		miss(inflow, envelope, *expected);
		return;
	}
	message = read_message(inflow, envelope, bytes, length);
	if (!message) {
		refuse(inflow, envelope);
		return;
	}
	++*expected;
	inflow->stats.received++;
	inflow->stats.received_bytes += length;
	inflow->on_message(inflow->context, message);
}

static void hold(struct inflow *inflow, const struct envelope *envelope, const uint8_t *bytes,
		 size_t length)
{
	struct held *held;

	if (inflow->held_bytes + length > INFLOW_HELD_MAX) {
		inflow->stats.unheld++;
		if (inflow->unheld_first < 0 || envelope->run < inflow->unheld_first)
			inflow->unheld_first = envelope->run;
		if (envelope->run > inflow->unheld_last)
			inflow->unheld_last = envelope->run;
		return;
	}
	held = memory_resize(NULL, 1, sizeof(*held) + length);
	*held = (struct held){.envelope = *envelope, .length = length};
	memcpy(held->bytes, bytes, length);
	*inflow->held_end = held;
	inflow->held_end = &held->next;
	inflow->held_bytes += length;
	inflow->stats.held++;
}

static void take_of_run(struct inflow *inflow, const struct envelope *envelope,
			const uint8_t *bytes, size_t length)
{
	if (envelope->run == inflow->run && !inflow->broken)
		take_next(inflow, envelope, bytes, length);
	else if (envelope->run > inflow->last_run)
		hold(inflow, envelope, bytes, length);
	else
		inflow->stats.stale++;
}

static void drop_held(struct inflow *inflow, struct held *held)
{
	inflow->held_bytes -= held->length;
	inflow->stats.held--;
	memory_free(held);
}

/* In the order in which it came. What is for later runs stays. */
void inflow_take_held(struct inflow *inflow)
{
	struct held *held = inflow->held, *next;

	if (!inflow->begun)
		return;
	inflow->begun = false;
	inflow->held = NULL;
	inflow->held_end = &inflow->held;
	for (; held; held = next) {
		next = held->next;
		if (held->envelope.run > inflow->last_run) {
			held->next = NULL;
			*inflow->held_end = held;
			inflow->held_end = &held->next;
			continue;
		}
		take_of_run(inflow, &held->envelope, held->bytes, held->length);
		drop_held(inflow, held);
	}
}

void inflow_take(struct inflow *inflow, uint32_t task, const uint8_t *bytes, size_t length)
{
	struct envelope envelope;

	if (length >= sizeof(envelope))
		memcpy(&envelope, bytes, sizeof(envelope));
	if (length < sizeof(envelope) || envelope.magic != ENVELOPE_MAGIC ||
	    envelope.task != task || envelope.source >= inflow->tasks || envelope.run < 0) {
		inflow->stats.refused++;
		return;
	}
	inflow_take_held(inflow);
	take_of_run(inflow, &envelope, bytes + sizeof(envelope), length - sizeof(envelope));
}

struct inflow_stats inflow_stats(const struct inflow *inflow)
{
	return inflow->stats;
}
