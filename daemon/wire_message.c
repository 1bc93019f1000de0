#include "daemon/wire_message.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/memory.h"
#include "daemon/wire_name.h"

#define WIRE_MAGIC 0x4d58524dU /* "MRXM" */

enum { WIRE_ARRAYS = 9, WIRE_VERSION = 3 };

struct wire_header {
	uint32_t magic, layout;
	uint32_t source, task;
	uint64_t pane;
	uint8_t kind;	    /* enum message_kind */
	uint8_t unfinished; /* 0, 1 */
	uint8_t pad[6];
	uint64_t counts[WIRE_ARRAYS];	 /* of the arrays' elements */
	uint64_t round_ends[ROUNDS_MAX]; /* LABELS; the last one is the first array's count */
	uint64_t names, texts_bytes, rows_bytes;
};

static const size_t half_sizes[WIRE_ARRAYS] = {
	sizeof(struct half_open),    sizeof(struct half_close), sizeof(struct nat_alias),
	sizeof(struct server_place), sizeof(struct instance),	sizeof(struct hearing),
	sizeof(struct fact),	     sizeof(struct address),	sizeof(uint64_t)};
static const size_t label_sizes[WIRE_ARRAYS] = {sizeof(struct label), sizeof(struct instance)};
static const size_t episode_sizes[WIRE_ARRAYS] = {sizeof(struct alert)};
static const size_t no_sizes[WIRE_ARRAYS];

_Static_assert(sizeof(struct half_open) % 8 == 0 && sizeof(struct half_close) % 8 == 0 &&
		       sizeof(struct nat_alias) % 8 == 0 && sizeof(struct server_place) % 8 == 0 &&
		       sizeof(struct instance) % 8 == 0 && sizeof(struct hearing) % 8 == 0 &&
		       sizeof(struct fact) % 8 == 0 && sizeof(struct address) % 8 == 0 &&
		       sizeof(struct label) % 8 == 0 && sizeof(struct alert) % 8 == 0 &&
		       sizeof(struct wire_name) % 8 == 0 && sizeof(struct wire_header) % 8 == 0,
	       "one array behind the other stays aligned");

static uint32_t layout(void)
{
	static const uint32_t versions[] = {WIRE_VERSION, sizeof(struct wire_header)};
	uint32_t crc = crc32c(0, versions, sizeof(versions));

	crc = crc32c(crc, half_sizes, sizeof(half_sizes));
	crc = crc32c(crc, label_sizes, sizeof(label_sizes));
	return crc32c(crc, episode_sizes, sizeof(episode_sizes));
}

static const size_t *sizes_of(unsigned kind)
{
	if (kind == MESSAGE_HALVES || kind == MESSAGE_HOPS)
		return half_sizes;
	if (kind == MESSAGE_LABELS)
		return label_sizes;
	return kind == MESSAGE_EPISODES ? episode_sizes : no_sizes;
}

/* --- writing --- */

static void fill_halves(const struct half_bucket *bucket, uint64_t counts[WIRE_ARRAYS],
			const void *arrays[WIRE_ARRAYS])
{
	const uint64_t told[WIRE_ARRAYS] = {
		bucket->opens_count,   bucket->closes_count,	     bucket->aliases_count,
		bucket->servers_count, bucket->instances_count,	     bucket->hearings_count,
		bucket->facts_count,   bucket->fact_addresses_count, bucket->rules_words};
	const void *const elements[WIRE_ARRAYS] = {
		bucket->opens,	 bucket->closes,	 bucket->aliases,
		bucket->servers, bucket->instances,	 bucket->hearings,
		bucket->facts,	 bucket->fact_addresses, bucket->rules};

	memcpy(counts, told, sizeof(told));
	memcpy(arrays, elements, sizeof(elements));
}

static void fill_labels(const struct label_bucket *bucket, struct wire_header *header,
			const void *arrays[WIRE_ARRAYS])
{
	for (int i = 0; i < ROUNDS_MAX; i++)
		header->round_ends[i] = bucket->round_ends[i];
	header->counts[0] = bucket->round_ends[ROUNDS_MAX - 1];
	header->counts[1] = bucket->instances_count;
	arrays[0] = bucket->labels;
	arrays[1] = bucket->instances;
}

static struct wire_header header_of(const struct message *message, const void *arrays[WIRE_ARRAYS])
{
	struct wire_header header = {
		.magic = WIRE_MAGIC,
		.layout = layout(),
		.source = message->source,
		.task = message->task,
		.pane = message->pane,
		.kind = (uint8_t)message->kind,
		.unfinished = message->kind == MESSAGE_HOPS && message->unfinished,
		.names = message->names_count,
	};

	memset(arrays, 0, WIRE_ARRAYS * sizeof(*arrays));
	header.texts_bytes = wire_names_texts(message->names, message->names_count);
	if (message->kind == MESSAGE_HALVES || message->kind == MESSAGE_HOPS) {
		fill_halves(&message->bucket, header.counts, arrays);
	} else if (message->kind == MESSAGE_LABELS) {
		fill_labels(&message->labelled, &header, arrays);
	} else if (message->kind == MESSAGE_EPISODES) {
		header.counts[0] = message->episodes_count;
		arrays[0] = message->episodes;
	} else if (message->kind == MESSAGE_ROWS) {
		size_t length;

		partial_bucket_bytes(message->rows, &length);
		header.rows_bytes = length;
	}
	return header;
}

/* Of a header that was checked, or made here. */
static size_t size_of(const struct wire_header *header)
{
	const size_t *sizes = sizes_of(header->kind);
	size_t size = sizeof(*header) + header->names * sizeof(struct wire_name) +
		      header->texts_bytes + header->rows_bytes;

	for (int i = 0; i < WIRE_ARRAYS; i++)
		size += header->counts[i] * sizes[i];
	return size;
}

size_t wire_message_size(const struct message *message)
{
	const void *arrays[WIRE_ARRAYS];
	struct wire_header header = header_of(message, arrays);

	return size_of(&header);
}

void wire_message_write(const struct message *message, uint8_t *bytes)
{
	const void *arrays[WIRE_ARRAYS];
	struct wire_header header = header_of(message, arrays);
	const size_t *sizes = sizes_of(header.kind);
	uint8_t *at = wire_append(bytes, &header, sizeof(header));
	size_t length;

	for (int i = 0; i < WIRE_ARRAYS; i++)
		at = wire_append(at, arrays[i], header.counts[i] * sizes[i]);
	at = wire_names_append(at, message->names, message->names_count);
	if (message->kind == MESSAGE_ROWS) {
		const void *rows = partial_bucket_bytes(message->rows, &length);

		at = wire_append(at, rows, length);
	}
	assert(at == bytes + size_of(&header));
}

/* --- reading --- */

static bool rounds_ascend(const struct wire_header *header)
{
	for (int i = 1; i < ROUNDS_MAX; i++) {
		if (header->round_ends[i] < header->round_ends[i - 1])
			return false;
	}
	return header->round_ends[ROUNDS_MAX - 1] == header->counts[0];
}

/* What a kind does not have is not there. */
static bool kind_is_right(const struct wire_header *header)
{
	const size_t *sizes = sizes_of(header->kind);
	bool told = sizes == half_sizes || sizes == label_sizes;

	for (int i = 0; i < WIRE_ARRAYS; i++) {
		if (!sizes[i] && header->counts[i])
			return false;
	}
	return header->kind < MESSAGE_KINDS &&
	       header->unfinished <= (header->kind == MESSAGE_HOPS ? 1 : 0) &&
	       (told || (!header->names && !header->texts_bytes)) &&
	       (header->kind == MESSAGE_ROWS || !header->rows_bytes) &&
	       (header->kind != MESSAGE_LABELS || rounds_ascend(header));
}

/* Takes count elements from what is left. */
static bool take(size_t *left, uint64_t count, size_t size)
{
	if (count > *left / size)
		return false;
	*left -= count * size;
	return true;
}

static bool sizes_fit(const struct wire_header *header, size_t length)
{
	const size_t *sizes = sizes_of(header->kind);
	size_t left = length - sizeof(*header);
	bool fit = true;

	for (int i = 0; i < WIRE_ARRAYS && fit; i++)
		fit = !sizes[i] || take(&left, header->counts[i], sizes[i]);
	return fit && take(&left, header->names, sizeof(struct wire_name)) &&
	       take(&left, header->texts_bytes, 1) && take(&left, header->rows_bytes, 1) &&
	       left == 0;
}

/* The names at `bytes`, in an array that the caller frees; their texts are lent. NULL: a text is
 * not as long as its name says. */
static struct name *read_names(const struct wire_header *header, const uint8_t *bytes)
{
	const char *texts = (const char *)bytes + header->names * sizeof(struct wire_name);
	struct name *names = memory_resize(NULL, header->names, sizeof(*names));

	if (wire_names_read(names, header->names, bytes, texts, header->texts_bytes))
		return names;
	memory_free(names);
	return NULL;
}

static struct message *make_halves(const struct wire_header *header,
				   const void *const arrays[WIRE_ARRAYS],
				   const struct name *const *names)
{
	struct half_bucket bucket = {
		.opens = arrays[0],
		.closes = arrays[1],
		.aliases = arrays[2],
		.servers = arrays[3],
		.instances = arrays[4],
		.hearings = arrays[5],
		.facts = arrays[6],
		.fact_addresses = arrays[7],
		.rules = arrays[8],
		.opens_count = header->counts[0],
		.closes_count = header->counts[1],
		.aliases_count = header->counts[2],
		.servers_count = header->counts[3],
		.instances_count = header->counts[4],
		.hearings_count = header->counts[5],
		.facts_count = header->counts[6],
		.fact_addresses_count = header->counts[7],
		.rules_words = header->counts[8],
	};
	struct message *message = message_halves(header->kind, header->source, header->task,
						 header->pane, &bucket, names, header->names);

	message->unfinished = header->unfinished;
	return message;
}

static struct message *make_labels(const struct wire_header *header,
				   const void *const arrays[WIRE_ARRAYS],
				   const struct name *const *names)
{
	struct label_bucket bucket = {
		.labels = arrays[0], .instances = arrays[1], .instances_count = header->counts[1]};

	for (int i = 0; i < ROUNDS_MAX; i++)
		bucket.round_ends[i] = header->round_ends[i];
	return message_labels(header->source, header->task, header->pane, &bucket, names,
			      header->names);
}

/* The arrays are only copied from, so they need not be aligned. */
static struct message *read_told(const struct wire_header *header, const uint8_t *bytes)
{
	const size_t *sizes = sizes_of(header->kind);
	const void *arrays[WIRE_ARRAYS];
	const struct name **lent;
	struct message *message;
	struct name *names;

	for (int i = 0; i < WIRE_ARRAYS; i++) {
		arrays[i] = bytes;
		bytes += header->counts[i] * sizes[i];
	}
	names = read_names(header, bytes);
	if (!names)
		return NULL;
	lent = memory_resize(NULL, header->names, sizeof(struct name *));
	for (size_t i = 0; i < header->names; i++)
		lent[i] = &names[i];
	message = header->kind == MESSAGE_LABELS ? make_labels(header, arrays, lent)
						 : make_halves(header, arrays, lent);
	memory_free(lent);
	memory_free(names);
	return message;
}

static struct message *read_rows(const struct wire_header *header, const uint8_t *bytes)
{
	struct partial_bucket *rows = partial_bucket_from(bytes, header->rows_bytes, header->pane);
	struct message *message;

	if (!rows)
		return NULL;
	message = message_new(MESSAGE_ROWS, header->source, header->task, header->pane);
	message->rows = rows;
	return message;
}

struct message *wire_message_read(const uint8_t *bytes, size_t length, uint32_t tasks)
{
	struct wire_header header;

	if (length < sizeof(header))
		return NULL;
	memcpy(&header, bytes, sizeof(header));
	if (header.magic != WIRE_MAGIC || header.layout != layout() || header.source >= tasks ||
	    header.task >= tasks || !kind_is_right(&header) || !sizes_fit(&header, length))
		return NULL;
	bytes += sizeof(header);
	if (header.kind == MESSAGE_START)
		return message_new(MESSAGE_START, header.source, header.task, header.pane);
	if (header.kind == MESSAGE_EPISODES)
		return message_episodes(header.source, header.task, header.pane, bytes,
					header.counts[0]);
	return header.kind == MESSAGE_ROWS ? read_rows(&header, bytes) : read_told(&header, bytes);
}
