#include "daemon/inflow.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/bundle.h"
#include "daemon/wire_message.h"

/* A bundle whose run has not begun. */
struct held {
	struct held *next;
	int64_t run;
	uint32_t home, messages;
	size_t length;
	uint8_t bytes[];
};

struct inflow {
	uint32_t tasks;
	void (*on_messages)(void *context, struct message *messages);
	void *context;
	int64_t run;	    /* at hand; -1: none */
	int64_t last_run;   /* the run at hand or the one before */
	bool broken;	    /* the run at hand */
	bool begun;	    /* what was held for the run is to be handed over */
	uint32_t *homes;    /* by task */
	uint64_t *expected; /* numbers, by source and task */
	struct held *held, **held_end;
	size_t held_bytes;
	int64_t unheld_first, unheld_last; /* runs with messages that are not held; -1: none */
	char why[INFLOW_WHY_BYTES];	   /* the run is broken and nobody was told; "": no */
	struct inflow_stats stats;
};

struct inflow *inflow_new(uint32_t tasks,
			  void (*on_messages)(void *context, struct message *messages),
			  void *context)
{
	struct inflow *inflow = memory_zeroed(1, sizeof(*inflow));

	inflow->tasks = tasks;
	inflow->on_messages = on_messages;
	inflow->context = context;
	inflow->homes = memory_zeroed(tasks, sizeof(*inflow->homes));
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
	memory_free(inflow->homes);
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

void inflow_begin(struct inflow *inflow, int64_t run, const uint32_t *homes)
{
	assert(run >= 0);
	inflow->run = inflow->last_run = run;
	inflow->broken = false;
	inflow->why[0] = 0;
	inflow->begun = true;
	memcpy(inflow->homes, homes, inflow->tasks * sizeof(*homes));
	memset(inflow->expected, 0,
	       (size_t)inflow->tasks * inflow->tasks * sizeof(*inflow->expected));
	if (run >= inflow->unheld_first && run <= inflow->unheld_last)
		inflow_break(inflow, "messages that came before the run began were not held");
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

/* --- the run at hand --- */

static void miss(struct inflow *inflow, const struct bundle_place *place, uint64_t expected)
{
	char why[INFLOW_WHY_BYTES];

	inflow->stats.stale++;
	snprintf(why, sizeof(why), "messages %llu to %llu from task %u to task %u are missing",
		 (unsigned long long)expected, (unsigned long long)place->number - 1, place->source,
		 place->task);
	inflow_break(inflow, why);
}

static void refuse(struct inflow *inflow, const struct bundle_place *place)
{
	char why[INFLOW_WHY_BYTES];

	inflow->stats.refused++;
	snprintf(why, sizeof(why), "message %llu from task %u to task %u cannot be read",
		 (unsigned long long)place->number, place->source, place->task);
	inflow_break(inflow, why);
}

/* NULL: none, or between others than its place says, or for a task that is not at home there. */
static struct message *read_message(const struct inflow *inflow, uint32_t home,
				    const struct bundle_place *place, const uint8_t *bytes)
{
	struct message *message = NULL;

	if (inflow->homes[place->task] == home)
		message = wire_message_read(bytes, place->length, inflow->tasks);
	if (!message || (message->source == place->source && message->task == place->task))
		return message;
	message_free(message);
	return NULL;
}

/* NULL: it is not the next, or none. */
static struct message *take_next(struct inflow *inflow, uint32_t home,
				 const struct bundle_place *place, const uint8_t *bytes)
{
	uint64_t *expected = &inflow->expected[(size_t)place->source * inflow->tasks + place->task];
	struct message *message;

	if (place->number < *expected) {
		inflow->stats.repeated++;
		return NULL;
	}
	if (place->number > *expected) {
		miss(inflow, place, *expected);
		return NULL;
	}
	message = read_message(inflow, home, place, bytes);
	if (!message) {
		refuse(inflow, place);
		return NULL;
	}
	++*expected;
	inflow->stats.received++;
	inflow->stats.received_bytes += place->length;
	return message;
}

/* All that is whole of a bundle goes on at once. */
static void take_bundle(struct inflow *inflow, uint32_t home, struct bundle_reader *reader)
{
	struct letter *oldest = NULL, **end = &oldest;
	struct bundle_place place;
	const uint8_t *bytes;

	while ((bytes = bundle_next(reader, &place)) != NULL) {
		struct message *message = NULL;

		if (inflow->broken)
			inflow->stats.stale++;
		else
			message = take_next(inflow, home, &place, bytes);
		if (!message)
			continue;
		*end = &message->letter;
		end = &message->letter.next;
	}
	*end = NULL;
	if (oldest)
		inflow->on_messages(inflow->context, (struct message *)oldest);
}

/* --- runs that have not begun --- */

/* A run with messages that are not held is broken when it begins. */
static void spoil(struct inflow *inflow, int64_t run)
{
	if (inflow->unheld_first < 0 || run < inflow->unheld_first)
		inflow->unheld_first = run;
	if (run > inflow->unheld_last)
		inflow->unheld_last = run;
}

static void hold(struct inflow *inflow, uint32_t home, const struct bundle_reader *reader,
		 const uint8_t *bytes, size_t length)
{
	struct held *held;

	if (inflow->held_bytes + length > INFLOW_HELD_MAX) {
		inflow->stats.unheld += reader->messages;
		spoil(inflow, reader->run);
		return;
	}
	held = memory_resize(NULL, 1, sizeof(*held) + length);
	*held = (struct held){
		.run = reader->run, .home = home, .messages = reader->messages, .length = length};
	memcpy(held->bytes, bytes, length);
	*inflow->held_end = held;
	inflow->held_end = &held->next;
	inflow->held_bytes += length;
	inflow->stats.held += held->messages;
}

static void drop_held(struct inflow *inflow, struct held *held)
{
	inflow->held_bytes -= held->length;
	inflow->stats.held -= held->messages;
	memory_free(held);
}

/* --- all --- */

/* Of a bundle that is whole. */
static void take_of_run(struct inflow *inflow, uint32_t home, struct bundle_reader *reader,
			const uint8_t *bytes, size_t length)
{
	if (reader->run == inflow->run && !inflow->broken)
		take_bundle(inflow, home, reader);
	else if (reader->run > inflow->last_run)
		hold(inflow, home, reader, bytes, length);
	else
		inflow->stats.stale += reader->messages;
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
		struct bundle_reader reader;

		next = held->next;
		if (held->run > inflow->last_run) {
			held->next = NULL;
			*inflow->held_end = held;
			inflow->held_end = &held->next;
			continue;
		}
		bundle_open(&reader, held->bytes, held->length);
		take_of_run(inflow, held->home, &reader, held->bytes, held->length);
		drop_held(inflow, held);
	}
}

/* It is of a run, which misses it, whatever it was. */
static void take_ruin(struct inflow *inflow, int64_t run, size_t length)
{
	char why[INFLOW_WHY_BYTES];

	inflow->stats.refused++;
	snprintf(why, sizeof(why), "a bundle of %zu bytes cannot be read", length);
	if (run == inflow->run)
		inflow_break(inflow, why);
	else if (run > inflow->last_run)
		spoil(inflow, run);
}

void inflow_take(struct inflow *inflow, uint32_t home, const uint8_t *bytes, size_t length)
{
	struct bundle_reader reader;

	if (!bundle_open(&reader, bytes, length)) {
		inflow->stats.refused++;
		return;
	}
	inflow_take_held(inflow);
	if (bundle_whole(&reader, inflow->tasks))
		take_of_run(inflow, home, &reader, bytes, length);
	else
		take_ruin(inflow, reader.run, length);
}

struct inflow_stats inflow_stats(const struct inflow *inflow)
{
	return inflow->stats;
}
