#include "daemon/source.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "agent/batch/keys.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/real.h"
#include "daemon/topics.h"

/* Marks of how far the log was when: a position may be committed when its pane is closed. One a
 * pane suffices. */
enum { MARKS_MAX = 256 };

struct mark {
	uint64_t append_ns;
	int64_t offset; /* next after the record */
};

struct input {
	struct output_report tick_report; /* first: it is how the tick is told of */
	struct encoder *encoder;
	uint64_t last_record_ns; /* uv_hrtime */
	_Atomic bool tick_done;
	struct mark marks[MARKS_MAX];
	uint32_t oldest, count;
	int64_t position, committed; /* -1: none */
	uint64_t next_commit_ns;
};

struct source {
	struct consumer *consumer;
	struct outputs *outputs;
	const struct exits *exits;
	struct input *inputs;
	uint32_t partitions;
	const struct keyring *keyring;
};

static void remember(struct input *input, const struct mirror_record *record)
{
	struct mark *newest =
		input->count ? &input->marks[(input->oldest + input->count - 1) % MARKS_MAX] : NULL;

	/* Records of one pane share a mark; when marks run out the newest one stretches, which only
	 * commits later. */
	if (newest && (pane_of(newest->append_ns) >= pane_of(record->append_ns) ||
		       input->count == MARKS_MAX)) {
		newest->offset = record->offset + 1;
		if (record->append_ns > newest->append_ns)
			newest->append_ns = record->append_ns;
		return;
	}
	input->marks[(input->oldest + input->count++) % MARKS_MAX] =
		(struct mark){.append_ns = record->append_ns, .offset = record->offset + 1};
}

static bool next(void *context, uint32_t partition, struct mirror_record *record)
{
	struct source *source = context;
	struct input *input = &source->inputs[partition];

	/* The next turn asks again. */
	if (exits_full(source->exits))
		return false;
	if (!consumer_next(source->consumer, partition, record))
		return false;
	input->last_record_ns = uv_hrtime();
	remember(input, record);
	return true;
}

static int descriptor(void *context, uint32_t partition)
{
	struct source *source = context;

	return consumer_descriptor(source->consumer, partition);
}

/* On the service loop. A tick that failed is made anew. */
static void tick_told(struct output_report *report, int rc)
{
	(void)rc;
	atomic_store(&((struct input *)report)->tick_done, true);
}

static void tick(struct source *source, uint32_t partition, uint64_t now)
{
	struct input *input = &source->inputs[partition];
	struct encoded bytes;
	const struct keys *keys = keyring_of(source->keyring, partition);
	uint8_t key[SEAL_KEY_BYTES];
	bool sealed;

	if (now - input->last_record_ns < TICK_NS || !atomic_load(&input->tick_done))
		return;
	sealed = keys_signer(keys, key);
	bytes = encode_tick(input->encoder, real_ns(), sealed ? keys_id(keys, 0) : NULL,
			    sealed ? key : NULL);
	explicit_bzero(key, sizeof(key));
	atomic_store(&input->tick_done, false);
	if (!outputs_try(source->outputs, TOPIC_EVENTS, (int32_t)partition, NULL, 0, bytes,
			 &input->tick_report))
		atomic_store(&input->tick_done, true);
}

static void commit(struct source *source, uint32_t partition, uint64_t now, uint64_t pane)
{
	struct input *input = &source->inputs[partition];

	while (input->count && input->marks[input->oldest].append_ns < pane_end(pane)) {
		input->position = input->marks[input->oldest].offset;
		input->oldest = (input->oldest + 1) % MARKS_MAX;
		input->count--;
	}
	if (now < input->next_commit_ns || input->position == input->committed)
		return;
	consumer_commit(source->consumer, partition, input->position);
	input->committed = input->position;
	input->next_commit_ns = now + COMMIT_NS;
}

static void turn(void *context, uint32_t partition, uint64_t pane)
{
	struct source *source = context;
	uint64_t now = uv_hrtime();

	tick(source, partition, now);
	if (pane)
		commit(source, partition, now, pane);
}

struct source *source_new(struct consumer *consumer, struct outputs *outputs,
			  const struct exits *exits, uint32_t partitions,
			  const struct keyring *keyring)
{
	struct source *source = memory_zeroed(1, sizeof(*source));

	source->consumer = consumer;
	source->outputs = outputs;
	source->exits = exits;
	source->partitions = partitions;
	source->inputs = memory_zeroed(partitions, sizeof(*source->inputs));
	source->keyring = keyring;
	for (uint32_t i = 0; i < partitions; i++) {
		source->inputs[i].encoder = encoder_new();
		source->inputs[i].position = source->inputs[i].committed = -1;
		source->inputs[i].tick_report =
			(struct output_report){.told = tick_told, .of_tasks = true};
		atomic_init(&source->inputs[i].tick_done, true);
	}
	return source;
}

void source_free(struct source *source)
{
	for (uint32_t i = 0; i < source->partitions; i++)
		encoder_free(source->inputs[i].encoder);
	free(source->inputs);
	free(source);
}

struct pipeline_source source_callbacks(struct source *source)
{
	return (struct pipeline_source){source, next, descriptor, turn};
}
