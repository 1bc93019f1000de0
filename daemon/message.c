#include "daemon/message.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static struct message *message_sized(enum message_kind kind, uint32_t source, uint32_t task,
				     uint64_t pane, size_t extra)
{
	struct message *message = memory_zeroed(1, sizeof(*message) + extra);

	message->kind = kind;
	message->source = source;
	message->task = task;
	message->pane = pane;
	return message;
}

struct message *message_new(enum message_kind kind, uint32_t source, uint32_t task, uint64_t pane)
{
	return message_sized(kind, source, task, pane, 0);
}

/* Copies an array to the cursor, which stays aligned for the structs of a bucket. */
static const void *append(uint8_t **cursor, const void *array, size_t bytes)
{
	void *copy = *cursor;

	if (bytes)
		memcpy(copy, array, bytes);
	*cursor += (bytes + 7) & ~(size_t)7;
	return copy;
}

struct message *message_halves(enum message_kind kind, uint32_t source, uint32_t task,
			       uint64_t pane, const struct half_bucket *bucket,
			       const struct name *const *names, size_t names_count)
{
	size_t opens = bucket->opens_count * sizeof(*bucket->opens);
	size_t closes = bucket->closes_count * sizeof(*bucket->closes);
	size_t aliases = bucket->aliases_count * sizeof(*bucket->aliases);
	size_t servers = bucket->servers_count * sizeof(*bucket->servers);
	size_t bytes = 0;

	for (size_t i = 0; i < names_count; i++)
		bytes += names[i]->length + 1;

	struct message *message =
		message_sized(kind, source, task, pane,
			      opens + closes + aliases + servers +
				      names_count * sizeof(struct name) + bytes + 32);
	uint8_t *cursor = (uint8_t *)(message + 1);

	message->bucket.opens = append(&cursor, bucket->opens, opens);
	message->bucket.closes = append(&cursor, bucket->closes, closes);
	message->bucket.aliases = append(&cursor, bucket->aliases, aliases);
	message->bucket.servers = append(&cursor, bucket->servers, servers);
	message->bucket.servers_count = bucket->servers_count;
	message->bucket.opens_count = bucket->opens_count;
	message->bucket.closes_count = bucket->closes_count;
	message->bucket.aliases_count = bucket->aliases_count;

	struct name *copies = (struct name *)cursor;
	char *text = (char *)(copies + names_count);

	for (size_t i = 0; i < names_count; i++) {
		copies[i] = (struct name){
			.id = names[i]->id, .bytes = text, .length = names[i]->length};
		memcpy(text, names[i]->bytes, names[i]->length + 1);
		text += names[i]->length + 1;
	}
	message->names = copies;
	message->names_count = names_count;
	return message;
}

struct message *message_labels(uint32_t source, uint32_t task, uint64_t pane,
			       const struct label *labels, const size_t round_ends[ROUNDS_MAX])
{
	size_t bytes = round_ends[ROUNDS_MAX - 1] * sizeof(*labels);
	struct message *message = message_sized(MESSAGE_LABELS, source, task, pane, bytes);

	message->labels = (struct label *)(message + 1);
	memcpy(message->round_ends, round_ends, sizeof(message->round_ends));
	if (bytes)
		memcpy(message->labels, labels, bytes);
	return message;
}

void message_free(struct message *message)
{
	if (message->kind == MESSAGE_ROWS && message->rows)
		partial_bucket_free(message->rows);
	free(message);
}
