#include "daemon/message.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { ALIGNMENT = 8, BUCKET_ARRAYS = 9 };

static struct message *message_sized(enum message_kind kind, uint32_t source, uint32_t task,
				     uint64_t pane, size_t extra, struct heap *heap)
{
	struct heap *used = memory_use(heap);
	struct message *message = memory_resize(NULL, 1, sizeof(*message) + extra);

	memory_use(used);
	memset(message, 0, sizeof(*message));
	message->kind = kind;
	message->source = source;
	message->task = task;
	message->pane = pane;
	return message;
}

struct message *message_new(enum message_kind kind, uint32_t source, uint32_t task, uint64_t pane)
{
	return message_sized(kind, source, task, pane, 0, NULL);
}

/* Copies an array to the cursor, which stays aligned for the structs of a bucket. */
static const void *append(uint8_t **cursor, const void *array, size_t bytes)
{
	void *copy = *cursor;

	if (bytes)
		memcpy(copy, array, bytes);
	*cursor += (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
	return copy;
}

static size_t names_bytes(const struct name *const *names, size_t count)
{
	size_t bytes = count * sizeof(struct name);

	for (size_t i = 0; i < count; i++)
		bytes += names[i]->length + 1;
	return bytes;
}

static void append_names(struct message *message, uint8_t *cursor, const struct name *const *names,
			 size_t count)
{
	struct name *copies = (struct name *)cursor;
	char *text = (char *)(copies + count);

	for (size_t i = 0; i < count; i++) {
		copies[i] = (struct name){
			.id = names[i]->id, .bytes = text, .length = names[i]->length};
		memcpy(text, names[i]->bytes, names[i]->length + 1);
		text += names[i]->length + 1;
	}
	message->names = copies;
	message->names_count = count;
}

static struct message *halves_in(struct heap *heap, enum message_kind kind, uint32_t source,
				 uint32_t task, uint64_t pane, const struct half_bucket *bucket,
				 const struct name *const *names, size_t names_count)
{
	size_t opens = bucket->opens_count * sizeof(*bucket->opens);
	size_t closes = bucket->closes_count * sizeof(*bucket->closes);
	size_t aliases = bucket->aliases_count * sizeof(*bucket->aliases);
	size_t servers = bucket->servers_count * sizeof(*bucket->servers);
	size_t instances = bucket->instances_count * sizeof(*bucket->instances);
	size_t hearings = bucket->hearings_count * sizeof(*bucket->hearings);
	size_t facts = bucket->facts_count * sizeof(*bucket->facts);
	size_t fact_addresses = bucket->fact_addresses_count * sizeof(*bucket->fact_addresses);
	size_t rules = bucket->rules_words * sizeof(*bucket->rules);
	struct message *message = message_sized(
		kind, source, task, pane,
		opens + closes + aliases + servers + instances + hearings + facts + fact_addresses +
			rules + names_bytes(names, names_count) + BUCKET_ARRAYS * ALIGNMENT,
		heap);
	uint8_t *cursor = (uint8_t *)(message + 1);

	message->bucket = *bucket;
	message->bucket.opens = append(&cursor, bucket->opens, opens);
	message->bucket.closes = append(&cursor, bucket->closes, closes);
	message->bucket.aliases = append(&cursor, bucket->aliases, aliases);
	message->bucket.servers = append(&cursor, bucket->servers, servers);
	message->bucket.instances = append(&cursor, bucket->instances, instances);
	message->bucket.hearings = append(&cursor, bucket->hearings, hearings);
	message->bucket.facts = append(&cursor, bucket->facts, facts);
	message->bucket.fact_addresses = append(&cursor, bucket->fact_addresses, fact_addresses);
	message->bucket.rules = append(&cursor, bucket->rules, rules);
	append_names(message, cursor, names, names_count);
	return message;
}

struct message *message_halves(enum message_kind kind, uint32_t source, uint32_t task,
			       uint64_t pane, const struct half_bucket *bucket,
			       const struct name *const *names, size_t names_count)
{
	return halves_in(NULL, kind, source, task, pane, bucket, names, names_count);
}

struct message *message_kept(const struct message *message, struct heap *heap)
{
	const struct name **names =
		memory_resize(NULL, message->names_count, sizeof(struct name *));
	struct message *kept;

	for (size_t i = 0; i < message->names_count; i++)
		names[i] = &message->names[i];
	kept = halves_in(heap, message->kind, message->source, message->task, message->pane,
			 &message->bucket, names, message->names_count);
	kept->unfinished = message->unfinished;
	memory_free(names);
	return kept;
}

struct message *message_labels(uint32_t source, uint32_t task, uint64_t pane,
			       const struct label_bucket *bucket, const struct name *const *names,
			       size_t names_count)
{
	size_t labels = bucket->round_ends[ROUNDS_MAX - 1] * sizeof(*bucket->labels);
	size_t instances = bucket->instances_count * sizeof(*bucket->instances);
	struct message *message = message_sized(
		MESSAGE_LABELS, source, task, pane,
		labels + instances + names_bytes(names, names_count) + BUCKET_ARRAYS * ALIGNMENT,
		NULL);
	uint8_t *cursor = (uint8_t *)(message + 1);

	message->labelled = *bucket;
	message->labelled.labels = append(&cursor, bucket->labels, labels);
	message->labelled.instances = append(&cursor, bucket->instances, instances);
	append_names(message, cursor, names, names_count);
	return message;
}

struct message *message_episodes(uint32_t source, uint32_t task, uint64_t pane,
				 const void *episodes, size_t count)
{
	struct message *message = message_sized(MESSAGE_EPISODES, source, task, pane,
						count * sizeof(struct alert) + ALIGNMENT, NULL);
	uint8_t *cursor = (uint8_t *)(message + 1);

	message->episodes = append(&cursor, episodes, count * sizeof(struct alert));
	message->episodes_count = count;
	return message;
}

void message_free(struct message *message)
{
	if (message->kind == MESSAGE_ROWS && message->rows)
		partial_bucket_free(message->rows);
	memory_free(message);
}
