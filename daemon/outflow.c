#include "daemon/outflow.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/bundle.h"

/* Of one worker. */
struct sender {
	struct bundle *bundles; /* by home */
	bool any;		/* is in them */
};

struct outflow {
	uint32_t tasks;
	void (*on_record)(void *context, const struct outflow_record *record);
	void *context;
	_Atomic int64_t run; /* at hand; -1: none */
	uint32_t *homes;     /* by task */
	uint64_t *numbers;   /* of the next messages, by source and task */
	struct sender *senders;
	_Atomic uint64_t stale;
};

struct outflow *outflow_new(uint32_t tasks,
			    void (*on_record)(void *context, const struct outflow_record *record),
			    void *context)
{
	struct outflow *outflow = memory_zeroed(1, sizeof(*outflow));

	outflow->tasks = tasks;
	outflow->on_record = on_record;
	outflow->context = context;
	outflow->run = -1;
	outflow->homes = memory_zeroed(tasks, sizeof(*outflow->homes));
	outflow->numbers = memory_zeroed((size_t)tasks * tasks, sizeof(*outflow->numbers));
	outflow->senders = memory_zeroed(tasks, sizeof(*outflow->senders));
	for (uint32_t i = 0; i < tasks; i++)
		outflow->senders[i].bundles = memory_zeroed(tasks, sizeof(struct bundle));
	return outflow;
}

static void count_stale(struct outflow *outflow, uint32_t messages)
{
	atomic_fetch_add_explicit(&outflow->stale, messages, memory_order_relaxed);
}

static void drop(struct outflow *outflow, struct sender *sender)
{
	for (uint32_t home = 0; home < outflow->tasks; home++) {
		count_stale(outflow, bundle_messages(&sender->bundles[home]));
		bundle_clear(&sender->bundles[home]);
	}
	sender->any = false;
}

void outflow_free(struct outflow *outflow)
{
	for (uint32_t i = 0; i < outflow->tasks; i++) {
		drop(outflow, &outflow->senders[i]);
		memory_free(outflow->senders[i].bundles);
	}
	memory_free(outflow->senders);
	memory_free(outflow->numbers);
	memory_free(outflow->homes);
	memory_free(outflow);
}

void outflow_begin(struct outflow *outflow, int64_t run, const uint32_t *homes)
{
	assert(run >= 0);
	for (uint32_t i = 0; i < outflow->tasks; i++)
		drop(outflow, &outflow->senders[i]);
	memcpy(outflow->homes, homes, outflow->tasks * sizeof(*homes));
	memset(outflow->numbers, 0,
	       (size_t)outflow->tasks * outflow->tasks * sizeof(*outflow->numbers));
	atomic_store(&outflow->run, run);
}

void outflow_end(struct outflow *outflow)
{
	atomic_store(&outflow->run, -1);
}

static void hand_on(struct outflow *outflow, int64_t run, struct bundle *bundle, uint32_t home)
{
	struct outflow_record record = {
		.run = run, .home = home, .messages = bundle_messages(bundle)};

	record.bytes = bundle_take(bundle, &record.length);
	if (record.bytes)
		outflow->on_record(outflow->context, &record);
}

void outflow_send(struct outflow *outflow, uint32_t worker, struct message *message)
{
	int64_t run = atomic_load(&outflow->run);
	struct sender *sender = &outflow->senders[worker];
	uint32_t home;
	uint64_t number;

	assert(message->source < outflow->tasks && message->task < outflow->tasks &&
	       worker < outflow->tasks);
	if (run < 0) {
		count_stale(outflow, 1);
		message_free(message);
		return;
	}
	home = outflow->homes[message->task];
	number = outflow->numbers[(size_t)message->source * outflow->tasks + message->task]++;
	if (!bundle_put(&sender->bundles[home], run, number, message)) {
		hand_on(outflow, run, &sender->bundles[home], home);
		bundle_put(&sender->bundles[home], run, number, message);
	}
	sender->any = true;
	message_free(message);
}

void outflow_flush(struct outflow *outflow, uint32_t worker)
{
	int64_t run = atomic_load(&outflow->run);
	struct sender *sender = &outflow->senders[worker];

	if (!sender->any)
		return;
	if (run < 0) {
		drop(outflow, sender);
		return;
	}
	for (uint32_t home = 0; home < outflow->tasks; home++)
		hand_on(outflow, run, &sender->bundles[home], home);
	sender->any = false;
}

uint64_t outflow_stale(const struct outflow *outflow)
{
	return atomic_load(&outflow->stale);
}
