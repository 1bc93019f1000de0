#include "ingest/decode.h"

#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/batch/seal.h"
#include "agent/batch/wire.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "ingest/columns.h"
#include "ingest/decode_arena.h"
#include "ingest/varint.h"

enum {
	ARENA_SLACK = 256 * 1024, /* what even a small record takes: tables of columns and groups */
	NODE_KEYS = 1024,	  /* cached; deriving one takes some us */
	FIELD_KNOWN_MAX = 38,
	FIELD_KEY_ID = 35, /* before the dictionaries, so that it is found at once */
	FIELD_HMAC = 127,
	FIELD_STRINGS = 21,
	FIELD_NODE_FACTS = 33,
	FIELD_AGENT_STATE = 34,
	FIELD_METADATA = 36,
	FIELD_RULES = 37,
	BOOT_ID_BYTES = 16,
	ADDRESS_BYTES = 16,
	V4_BYTES = 4,
};

struct node_key {
	int number; /* of the deployment's key */
	char node[DECODE_NODE_MAX + 1];
	uint8_t key[SEAL_KEY_BYTES];
};

struct decoder {
	struct decode_options options;
	struct decode_arena arena;
	varint_reader *reader; /* NULL: protobuf-c */
	struct columns columns;
	Millrace__V1__Batch batch;
	char **strings;		    /* the batch's dictionary: at most one a field */
	bool plain;		    /* the strings are ASCII, and none is too long */
	struct keys *keys;	    /* NULL: HMACs are not checked */
	struct node_key *node_keys; /* direct-mapped by the node id's hash and the key */
	uint8_t pipeline_keys[KEYS_MAX][SEAL_KEY_BYTES];
};

/* What was derived of former keys is forgotten with them. */
static void take_keys(struct decoder *decoder, const struct keys *keys)
{
	keys_free(decoder->keys);
	decoder->keys = keys_copy(keys);
	explicit_bzero(decoder->node_keys, NODE_KEYS * sizeof(*decoder->node_keys));
	for (size_t i = 0; i < keys_count(keys); i++)
		keys_pipeline_key(keys, i, decoder->pipeline_keys[i]);
}

struct decoder *decoder_new(const struct decode_options *options)
{
	struct decoder *decoder = memory_zeroed(1, sizeof(*decoder));
	decoder->options = *options;
	if (options->reader != DECODE_STOCK)
		decoder->reader = options->reader == DECODE_FAST ? varint_reader_here()
								 : varint_read_portable;
	decoder->strings = memory_zeroed(DECODE_FIELDS_MAX, sizeof(*decoder->strings));
	decode_arena_init(&decoder->arena,
			  (size_t)options->record_bytes_max * DECODE_AMPLIFICATION + ARENA_SLACK);
	if (options->keys && keys_count(options->keys)) {
		decoder->node_keys = memory_zeroed(NODE_KEYS, sizeof(*decoder->node_keys));
		take_keys(decoder, options->keys);
	}
	return decoder;
}

void decoder_keys(struct decoder *decoder, const struct keys *keys)
{
	if (decoder->keys && keys_count(keys))
		take_keys(decoder, keys);
}

void decoder_free(struct decoder *decoder)
{
	if (!decoder)
		return;
	decode_arena_done(&decoder->arena);
	memory_free(decoder->strings);
	if (decoder->keys)
		explicit_bzero(decoder->node_keys, NODE_KEYS * sizeof(*decoder->node_keys));
	memory_free(decoder->node_keys);
	keys_free(decoder->keys);
	explicit_bzero(decoder->pipeline_keys, sizeof(decoder->pipeline_keys));
	memory_free(decoder);
}

bool decoded_refuse(struct decoded *decoded, enum mirror_reason reason, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(decoded->detail, sizeof(decoded->detail), format, arguments);
	va_end(arguments);
	decoded->reason = reason;
	return false;
}

/* ---- scan: the wire format, without allocating ---- */

struct scan {
	const uint8_t *at, *end;
	bool inner; /* of a group: its end is not the record's */
	struct decoded *decoded;
	struct decoder *decoder; /* NULL: nothing is kept of what is scanned */
	uint32_t fields;
};

struct field {
	uint32_t number, type;
	uint64_t value;	      /* of a varint */
	const uint8_t *bytes; /* of a length-delimited field */
	size_t length;
};

static bool scan_ends(struct scan *scan, const char *what)
{
	if (scan->inner)
		return decoded_refuse(scan->decoded, MIRROR_MALFORMED, "a group ends within %s",
				      what);
	return decoded_refuse(scan->decoded, MIRROR_TRUNCATED, "the record ends within %s", what);
}

static bool scan_varint(struct scan *scan, const char *what, uint64_t *value)
{
	*value = 0;
	for (unsigned shift = 0; shift < 7 * WIRE_VARINT_MAX; shift += 7) {
		if (scan->at == scan->end)
			return scan_ends(scan, what);
		uint8_t byte = *scan->at++;
		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return true;
	}
	return decoded_refuse(scan->decoded, MIRROR_MALFORMED, "%s is longer than %d bytes", what,
			      WIRE_VARINT_MAX);
}

static bool scan_skip(struct scan *scan, uint64_t length, struct field *field)
{
	if (length > (uint64_t)(scan->end - scan->at))
		return scan_ends(scan, "a field's value");
	field->bytes = scan->at;
	field->length = length;
	scan->at += length;
	return true;
}

static bool scan_any_field(struct scan *scan, struct field *field)
{
	uint64_t tag, length;
	if (!scan_varint(scan, "a tag", &tag))
		return false;
	if (tag >> 3 == 0 || tag > UINT32_MAX)
		return decoded_refuse(scan->decoded, MIRROR_MALFORMED, "tag %llu names no field",
				      (unsigned long long)tag);
	*field = (struct field){.number = (uint32_t)(tag >> 3), .type = tag & 7};
	switch (field->type) {
	case WIRE_VARINT:
		return scan_varint(scan, "a number", &field->value);
	case WIRE_FIXED64:
		return scan_skip(scan, 8, field);
	case WIRE_FIXED32:
		return scan_skip(scan, 4, field);
	case WIRE_LENGTH:
		return scan_varint(scan, "a length", &length) && scan_skip(scan, length, field);
	}
	return decoded_refuse(scan->decoded, MIRROR_MALFORMED, "field %u has wire type %u",
			      field->number, field->type);
}

/* Nearly all fields are length-delimited, with a tag and a length of one or two bytes each. */
static inline bool scan_field(struct scan *scan, struct field *field)
{
	if (++scan->fields > DECODE_FIELDS_MAX)
		return decoded_refuse(scan->decoded, MIRROR_OVERSIZED, "more than %d fields",
				      DECODE_FIELDS_MAX);
	const uint8_t *at = scan->at;
	if (scan->end - at < 4)
		return scan_any_field(scan, field);
	uint32_t tag = *at++;
	if (tag >= 0x80)
		tag = (tag & 0x7f) | (uint32_t)*at++ << 7;
	uint32_t length = *at++;
	if (length >= 0x80)
		length = (length & 0x7f) | (uint32_t)*at++ << 7;
	/* what has three bytes is too large here */
	if ((tag & 7) != WIRE_LENGTH || tag < 8 || tag >= 1 << 14 || length >= 1 << 14 ||
	    length > scan->end - at)
		return scan_any_field(scan, field);
	*field = (struct field){tag >> 3, WIRE_LENGTH, 0, at, length};
	scan->at = at + length;
	return true;
}

/* A higher number than the last column's is a newer agent's. */
static bool scan_group(struct scan *outer, const struct field *group)
{
	struct scan scan = {group->bytes,   group->bytes + group->length,
			    true,	    outer->decoded,
			    outer->decoder, outer->fields};
	struct columns *columns = &scan.decoder->columns;
	unsigned number = columns_group(group->number);
	struct field field;
	columns_begin(columns, number);
	while (scan.at != scan.end) {
		if (!scan_field(&scan, &field))
			return false;
		if (!columns_put(columns, number, field.number,
				 field.type == WIRE_LENGTH ? field.bytes : NULL, field.length))
			scan.decoded->unknown_fields++;
	}
	outer->fields = scan.fields;
	return true;
}

static bool node_is_valid(const uint8_t *node, size_t length)
{
	static const bool allowed[UINT8_MAX + 1] = {
		['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['.'] = true,
		['_'] = true,	      [':'] = true,	    ['-'] = true,
	};
	if (length == 0 || length > DECODE_NODE_MAX)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!allowed[node[i]])
			return false;
	return true;
}

struct header {
	uint64_t version, kind;
	bool groups; /* any */
};

enum header_type {
	HEADER_U32,
	HEADER_U64,
	HEADER_FIXED64,
	HEADER_BYTES,
	HEADER_TEXT,
	HEADER_FACTS,
	HEADER_STATE,
};

struct header_field {
	uint8_t type, wire_type;
	uint16_t offset; /* in Batch */
};

#define HEADER(type, wire_type, member)                                \
	{                                                              \
		type, wire_type, offsetof(Millrace__V1__Batch, member) \
	}
#define HEADER_U32(member)     HEADER(HEADER_U32, WIRE_VARINT, member)
#define HEADER_U64(member)     HEADER(HEADER_U64, WIRE_VARINT, member)
#define HEADER_FIXED64(member) HEADER(HEADER_FIXED64, WIRE_FIXED64, member)
#define HEADER_BYTES(member)   HEADER(HEADER_BYTES, WIRE_LENGTH, member)
#define HEADER_TEXT(member)    HEADER(HEADER_TEXT, WIRE_LENGTH, member)

static const struct header_field header_fields[FIELD_KNOWN_MAX + 1] = {
	[1] = HEADER_TEXT(node),
	[2] = HEADER_U32(version),
	[3] = HEADER_U32(kind),
	[4] = HEADER_BYTES(boot_id),
	[5] = HEADER_FIXED64(epoch),
	[6] = HEADER_U64(sequence),
	[7] = HEADER_U64(first_event),
	[8] = HEADER_U32(events),
	[9] = HEADER_FIXED64(base_time_us),
	[10] = HEADER_FIXED64(sent_boottime_ns),
	[11] = HEADER_FIXED64(sent_realtime_ns),
	[12] = HEADER_U64(dropped_ring),
	[13] = HEADER_U64(dropped_netlink),
	[14] = HEADER_U64(dropped_spool),
	[15] = HEADER_TEXT(zone),
	[16] = HEADER_TEXT(region),
	[17] = HEADER_TEXT(role),
	[18] = HEADER_TEXT(agent_version),
	[19] = HEADER_U32(scan_period_ms),
	[20] = HEADER_BYTES(addresses),
	[29] = HEADER_BYTES(addresses_v4),
	[FIELD_NODE_FACTS] = HEADER(HEADER_FACTS, WIRE_LENGTH, node_facts),
	[FIELD_AGENT_STATE] = HEADER(HEADER_STATE, WIRE_LENGTH, agent_state),
	[35] = HEADER_TEXT(key_id),
};
static const struct header_field header_hmac = HEADER_BYTES(hmac);

/* The record goes on behind the text for a word at least, so that it can be read by words. Returns
 * them or-ed, without what is not of the text. */
static uint64_t copy_words(char *copy, const uint8_t *text, size_t length)
{
	uint64_t seen = 0, word;
	size_t i = 0;
	for (; i + sizeof(word) <= length; i += sizeof(word)) {
		memcpy(&word, text + i, sizeof(word));
		memcpy(copy + i, &word, sizeof(word));
		seen |= word;
	}
	if (i < length) {
		memcpy(&word, text + i, sizeof(word));
		memcpy(copy + i, &word, sizeof(word));
		seen |= le64toh(word) << (8 * (sizeof(word) - (length - i)));
	}
	return seen;
}

/* A copy that ends with a NUL, or NULL. */
static char *copy_text(struct decoder *decoder, const struct field *field, const uint8_t *end)
{
	size_t length = field->length;
	char *copy = decode_arena_take(&decoder->arena, length + sizeof(uint64_t));
	if (!copy)
		return NULL;
	if ((size_t)(end - field->bytes) >= length + sizeof(uint64_t)) {
		uint64_t seen = copy_words(copy, field->bytes, length);
		if (seen & 0x8080808080808080 || length > DECODE_STRING_MAX)
			decoder->plain = false;
	} else {
		memcpy(copy, field->bytes, length);
		decoder->plain = false;
	}
	copy[length] = 0;
	return copy;
}

static bool string_put(struct scan *scan, const struct field *field)
{
	struct decoder *decoder = scan->decoder;
	char *text = field->type == WIRE_LENGTH ? copy_text(decoder, field, scan->end) : NULL;
	decoder->strings[decoder->batch.n_strings++] = text;
	return text != NULL;
}

/* Keeps the field for the batch. False: leave the record to protobuf-c. */
static bool header_put(struct scan *scan, const struct field *field)
{
	if (field->number == FIELD_METADATA || field->number == FIELD_RULES)
		return false; /* rare, and no agent's */
	if (field->number > FIELD_KNOWN_MAX && field->number != FIELD_HMAC)
		return true;
	const struct header_field *header =
		field->number == FIELD_HMAC ? &header_hmac : &header_fields[field->number];
	void *member = (char *)&scan->decoder->batch + header->offset;
	if (field->type != header->wire_type)
		return false;
	switch (header->type) {
	case HEADER_U32:
		*(uint32_t *)member = (uint32_t)field->value;
		return true;
	case HEADER_U64:
		*(uint64_t *)member = field->value;
		return true;
	case HEADER_FIXED64: {
		uint64_t word;
		memcpy(&word, field->bytes, sizeof(word));
		*(uint64_t *)member = le64toh(word);
		return true;
	}
	case HEADER_BYTES: {
		uint8_t *copy = decode_arena_take(&scan->decoder->arena, field->length);
		if (copy)
			memcpy(copy, field->bytes, field->length);
		*(ProtobufCBinaryData *)member = (ProtobufCBinaryData){field->length, copy};
		return copy != NULL;
	}
	case HEADER_TEXT:
		*(char **)member = copy_text(scan->decoder, field, scan->end);
		return *(char **)member != NULL;
	case HEADER_FACTS:
		return (scan->decoder->batch.node_facts = millrace__v1__node_facts__unpack(
				&scan->decoder->arena.allocator, field->length, field->bytes));
	case HEADER_STATE:
		return (scan->decoder->batch.agent_state = millrace__v1__agent_state__unpack(
				&scan->decoder->arena.allocator, field->length, field->bytes));
	}
	return false;
}

/* A field that protobuf would let a second one override: the key was chosen by the first node id,
 * so there must be no second. Only strings, metadata and rules may repeat. */
static bool scan_once(struct decoded *decoded, uint64_t *seen, uint32_t number)
{
	if (number > FIELD_KNOWN_MAX || number == FIELD_STRINGS || number == FIELD_METADATA ||
	    number == FIELD_RULES)
		return true;
	if (*seen >> number & 1)
		return decoded_refuse(decoded, MIRROR_FIELD, "field %u stands twice", number);
	*seen |= 1ULL << number;
	return true;
}

static bool scan_top(struct scan *scan, const struct field *field, struct header *header)
{
	uint32_t number = field->number;
	if (number == FIELD_STRINGS && !scan->decoder->columns.unusual) {
		scan->decoder->columns.unusual = !string_put(scan, field);
		return true;
	}
	if (columns_group(number) != COLUMNS_GROUPS) {
		header->groups = true;
		if (field->type != WIRE_LENGTH)
			return decoded_refuse(scan->decoded, MIRROR_MALFORMED,
					      "field %u has wire type %u", number, field->type);
		return scan_group(scan, field);
	}
	if ((number == FIELD_NODE_FACTS || number == FIELD_AGENT_STATE) &&
	    field->length > DECODE_ABOUT_BYTES_MAX)
		return decoded_refuse(scan->decoded, MIRROR_OVERSIZED,
				      "field %u has %zu bytes, at most %d", number, field->length,
				      DECODE_ABOUT_BYTES_MAX);
	if (number == 2)
		header->version = field->value;
	else if (number == 3)
		header->kind = field->value;
	else if (number == 8)
		scan->decoded->events = field->value;
	else if (number > FIELD_KNOWN_MAX && number != FIELD_HMAC)
		scan->decoded->unknown_fields++;
	if (!scan->decoder->columns.unusual && !header_put(scan, field))
		scan->decoder->columns.unusual = true;
	return true;
}

static bool scan_record(struct decoder *decoder, const uint8_t *bytes, size_t length,
			struct decoded *decoded, struct header *header)
{
	struct scan scan = {bytes, bytes + length, false, decoded, decoder, 0};
	struct field field;
	uint64_t seen = 0;
	while (scan.at != scan.end) {
		if (!scan_field(&scan, &field) || !scan_once(decoded, &seen, field.number) ||
		    !scan_top(&scan, &field, header))
			return false;
	}
	return true;
}

/* The node id is the first field written: known before anything else is read. */
static void read_node(const uint8_t *bytes, size_t length, char node[DECODE_NODE_MAX + 1])
{
	struct decoded ignored;
	struct scan scan = {bytes, bytes + length, false, &ignored, NULL, 0};
	struct field field;
	node[0] = 0;
	if (length == 0 || !scan_field(&scan, &field) || field.number != 1 ||
	    field.type != WIRE_LENGTH || !node_is_valid(field.bytes, field.length))
		return;
	memcpy(node, field.bytes, field.length);
	node[field.length] = 0;
}

/* ---- authentication ---- */

/* The place of the key that the record names, -1 if there is none of that id. */
static int named_key(const struct decoder *decoder, const uint8_t *bytes, size_t length)
{
	struct decoded ignored;
	struct scan scan = {bytes, bytes + length, false, &ignored, NULL, 0};
	struct field field;
	while (scan.at < scan.end && scan_field(&scan, &field)) {
		if (field.number == FIELD_KEY_ID && field.type == WIRE_LENGTH)
			return keys_find(decoder->keys, (const char *)field.bytes, field.length);
		if (field.number >= 20)
			break;
	}
	return keys_find(decoder->keys, "", 0);
}

static const uint8_t *node_key(struct decoder *decoder, int number, const char *node)
{
	uint64_t hash = hash_bytes(node, strlen(node)) + (uint64_t)number;
	struct node_key *key = &decoder->node_keys[hash % NODE_KEYS];
	if (key->number == number && strcmp(key->node, node) == 0)
		return key->key;
	if (keys_node_key(decoder->keys, (size_t)number, node, key->key) != 0) {
		key->node[0] = 0;
		return NULL;
	}
	key->number = number;
	memcpy(key->node, node, strlen(node) + 1);
	return key->key;
}

/* A node's key signs events, the pipeline's ticks; neither may speak for the other. */
static bool authenticate(struct decoder *decoder, const uint8_t *bytes, size_t length,
			 struct decoded *decoded, bool *pipeline)
{
	const char *node = decoded->node;
	int number = named_key(decoder, bytes, length);
	if (number < 0)
		return decoded_refuse(decoded, MIRROR_UNAUTHENTICATED,
				      "no key has the key_id of node '%s', or it names none", node);
	if (node[0] && keys_revoked(decoder->keys, node))
		return decoded_refuse(decoded, MIRROR_UNAUTHENTICATED, "node '%s' is revoked",
				      node);
	const uint8_t *key = node[0] ? node_key(decoder, number, node) : NULL;
	if (key && seal_check(key, bytes, length))
		return true;
	*pipeline = seal_check(decoder->pipeline_keys[number], bytes, length);
	if (*pipeline)
		return true;
	return decoded_refuse(decoded, MIRROR_UNAUTHENTICATED, "the HMAC of node '%s' is %s", node,
			      length < SEAL_TRAILER_BYTES ? "missing" : "missing or wrong");
}

/* ---- validation of what was unpacked ---- */

static bool text_is_utf8(const char *text)
{
	for (const uint8_t *at = (const uint8_t *)text; *at;) {
		size_t length = utf8_length(at, 4);
		if (!length)
			return false;
		at += length;
	}
	return true;
}

static bool check_text(struct decoded *decoded, const char *name, const char *text, size_t max)
{
	if (strnlen(text, max + 1) > max)
		return decoded_refuse(decoded, MIRROR_FIELD, "%s is longer than %zu bytes", name,
				      max);
	if (!text_is_utf8(text))
		return decoded_refuse(decoded, MIRROR_FIELD, "%s is not UTF-8", name);
	return true;
}

/* The dictionary need not be written for the empty string alone. */
static void give_empty_string(Millrace__V1__Batch *batch)
{
	static char empty[] = "";
	static char *const dictionary[] = {empty};
	if (batch->n_strings)
		return;
	batch->strings = (char **)dictionary;
	batch->n_strings = 1;
}

static bool check_strings(Millrace__V1__Batch *batch, bool plain, struct decoded *decoded)
{
	give_empty_string(batch);
	for (size_t i = 0; !plain && i < batch->n_strings; i++)
		if (!check_text(decoded, "a string", batch->strings[i], DECODE_STRING_MAX))
			return false;
	if (batch->strings[0][0])
		return decoded_refuse(decoded, MIRROR_FIELD, "strings[0] is not empty");
	return check_text(decoded, "zone", batch->zone, NAME_MAX_BYTES) &&
	       check_text(decoded, "region", batch->region, NAME_MAX_BYTES) &&
	       check_text(decoded, "role", batch->role, NAME_MAX_BYTES) &&
	       check_text(decoded, "agent_version", batch->agent_version, NAME_MAX_BYTES) &&
	       check_text(decoded, "key_id", batch->key_id, NAME_MAX_BYTES);
}

static bool check_count(struct decoded *decoded, const char *name, size_t count, size_t max)
{
	return count <= max ||
	       decoded_refuse(decoded, MIRROR_OVERSIZED, "%zu %s, at most %zu", count, name, max);
}

static bool check_texts(struct decoded *decoded, const char *name, char *const *texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!check_text(decoded, name, texts[i], NAME_MAX_BYTES))
			return false;
	return true;
}

static bool check_facts(const Millrace__V1__NodeFacts *facts, struct decoded *decoded)
{
	char *const texts[] = {facts->kernel, facts->os,	  facts->architecture,
			       facts->cloud,  facts->instance_id, facts->instance_type};
	if (!check_count(decoded, "node_facts.labels", facts->n_labels, DECODE_LABELS_MAX) ||
	    !check_texts(decoded, "a text of node_facts", texts, sizeof(texts) / sizeof(texts[0])))
		return false;
	for (size_t i = 0; i < facts->n_labels; i++)
		if (!check_text(decoded, "a label's key", facts->labels[i]->key, NAME_MAX_BYTES) ||
		    !check_text(decoded, "a label's value", facts->labels[i]->value,
				NAME_MAX_BYTES))
			return false;
	return facts->booted_us <= DECODE_TIME_US_MAX ||
	       decoded_refuse(decoded, MIRROR_FIELD, "node_facts.booted_us is no time");
}

static bool check_state(const Millrace__V1__AgentState *state, struct decoded *decoded)
{
	char *const texts[] = {state->degraded, state->control_id, state->control_error};
	/* NaN is not above zero either */
	if (!(state->cpu_share >= 0 && state->cpu_share < DECODE_SHARE_MAX &&
	      state->cpu_budget >= 0 && state->cpu_budget < DECODE_SHARE_MAX))
		return decoded_refuse(decoded, MIRROR_FIELD, "agent_state: no CPU share");
	if (!check_count(decoded, "agent_state.losses", state->n_losses, DECODE_LOSSES_MAX))
		return false;
	for (size_t i = 0; i < state->n_losses; i++)
		if (!check_text(decoded, "a loss's place", state->losses[i]->place,
				NAME_MAX_BYTES) ||
		    !check_text(decoded, "a loss's kind", state->losses[i]->kind, NAME_MAX_BYTES))
			return false;
	return check_count(decoded, "agent_state.features", state->n_features,
			   DECODE_FEATURES_MAX) &&
	       check_count(decoded, "agent_state.missing", state->n_missing, DECODE_MISSING_MAX) &&
	       check_texts(decoded, "a text of agent_state", texts,
			   sizeof(texts) / sizeof(texts[0])) &&
	       check_texts(decoded, "a feature", state->features, state->n_features) &&
	       check_texts(decoded, "a missing thing", state->missing, state->n_missing);
}

static bool check_header(const Millrace__V1__Batch *batch, struct decoded *decoded)
{
	if (!decoded->node[0] || strcmp(batch->node, decoded->node) != 0)
		return decoded_refuse(
			decoded, MIRROR_FIELD,
			"node is not the first field, or not 1..%d bytes of [A-Za-z0-9._:-]",
			DECODE_NODE_MAX);
	if (batch->boot_id.len != BOOT_ID_BYTES)
		return decoded_refuse(decoded, MIRROR_FIELD, "boot_id has %zu bytes, not %d",
				      batch->boot_id.len, BOOT_ID_BYTES);
	if (batch->addresses.len % ADDRESS_BYTES != 0)
		return decoded_refuse(decoded, MIRROR_FIELD,
				      "addresses has %zu bytes, not a multiple of %d",
				      batch->addresses.len, ADDRESS_BYTES);
	if (batch->addresses_v4.len % V4_BYTES != 0)
		return decoded_refuse(decoded, MIRROR_FIELD,
				      "addresses_v4 has %zu bytes, not a multiple of %d",
				      batch->addresses_v4.len, V4_BYTES);
	if (batch->base_time_us > DECODE_TIME_US_MAX)
		return decoded_refuse(decoded, MIRROR_FIELD, "base_time_us is no time");
	if (batch->events > DECODE_EVENTS_MAX)
		return decoded_refuse(decoded, MIRROR_OVERSIZED, "%u events, at most %d",
				      batch->events, DECODE_EVENTS_MAX);
	uint64_t end;
	if (__builtin_add_overflow(batch->first_event, (uint64_t)batch->events, &end) ||
	    end > INT64_MAX || batch->sequence > INT64_MAX)
		return decoded_refuse(decoded, MIRROR_FIELD,
				      "first_event or sequence is over 2^63");
	return true;
}

static bool refuse_memory(const struct decoder *decoder, struct decoded *decoded)
{
	return decoded_refuse(decoded, MIRROR_OVERSIZED, "it takes more than %zu bytes of memory",
			      decoder->arena.size);
}

/* One dictionary of both, 16 bytes each. */
static bool join_addresses(struct decoder *decoder, Millrace__V1__Batch *batch,
			   struct decoded *decoded)
{
	static const uint8_t mapped[ADDRESS_BYTES] = {[10] = 0xff, [11] = 0xff};
	ProtobufCBinaryData v4 = batch->addresses_v4, v6 = batch->addresses;
	size_t v4_length = v4.len / V4_BYTES * ADDRESS_BYTES;
	if (v4.len == 0)
		return true;
	uint8_t *joined = decode_arena_take(&decoder->arena, v4_length + v6.len);
	if (!joined)
		return refuse_memory(decoder, decoded);
	uint8_t *at = joined;
	for (const uint8_t *from = v4.data; from < v4.data + v4.len; from += V4_BYTES) {
		memcpy(at, mapped, sizeof(mapped));
		memcpy(at + ADDRESS_BYTES - V4_BYTES, from, V4_BYTES);
		at += ADDRESS_BYTES;
	}
	if (v6.len)
		memcpy(at, v6.data, v6.len);
	batch->addresses = (ProtobufCBinaryData){v4_length + v6.len, joined};
	batch->addresses_v4 = (ProtobufCBinaryData){0};
	return true;
}

static bool validate(struct decoder *decoder, Millrace__V1__Batch *batch, struct decoded *decoded)
{
	return check_header(batch, decoded) && join_addresses(decoder, batch, decoded) &&
	       check_strings(batch, decoder->columns.read && decoder->plain, decoded) &&
	       (!batch->node_facts || check_facts(batch->node_facts, decoded)) &&
	       (!batch->agent_state || check_state(batch->agent_state, decoded)) &&
	       columns_check(&decoder->columns, batch, decoded);
}

/* ---- */

static void decoder_clear(struct decoder *decoder)
{
	decode_arena_clear(&decoder->arena);
	columns_clear(&decoder->columns);
	decoder->columns.unusual = !decoder->reader;
	millrace__v1__batch__init(&decoder->batch);
	decoder->batch.strings = decoder->strings;
	decoder->plain = true;
}

static Millrace__V1__Batch *unpack(struct decoder *decoder, const uint8_t *bytes, size_t length,
				   struct decoded *decoded)
{
	if (!decoder->columns.unusual &&
	    columns_read(&decoder->columns, decoder->reader, bytes + length, &decoder->arena,
			 &decoder->batch))
		return &decoder->batch;
	decode_arena_clear(&decoder->arena);
	Millrace__V1__Batch *batch =
		millrace__v1__batch__unpack(&decoder->arena.allocator, length, bytes);
	if (!batch && decoder->arena.exhausted)
		refuse_memory(decoder, decoded);
	else if (!batch)
		decoded_refuse(decoded, MIRROR_MALFORMED,
			       "a column is broken, or a field has another type");
	return batch;
}

static bool check_kind(const struct header *header, struct decoded *decoded, bool pipeline,
		       bool secret)
{
	decoded->tick = header->kind == MILLRACE__V1__BATCH_KIND__BATCH_KIND_TICK;
	decoded->metadata = header->kind == MILLRACE__V1__BATCH_KIND__BATCH_KIND_METADATA;
	bool own = decoded->tick || decoded->metadata;
	const char *what = decoded->tick ? "a tick" : decoded->metadata ? "metadata" : "events";
	if (header->version > DECODE_SCHEMA_VERSION)
		return decoded_refuse(decoded, MIRROR_VERSION, "version is %llu, at most %d",
				      (unsigned long long)header->version, DECODE_SCHEMA_VERSION);
	if (header->version == 0)
		return decoded_refuse(decoded, MIRROR_FIELD, "version is missing");
	if (secret && pipeline != own)
		return decoded_refuse(decoded, MIRROR_UNAUTHENTICATED,
				      "%s signed with the %s's key", what,
				      pipeline ? "pipeline" : "node");
	if (own && header->groups)
		return decoded_refuse(decoded, MIRROR_FIELD, "%s with events", what);
	return true;
}

void decoder_read(struct decoder *decoder, const uint8_t *bytes, size_t length,
		  struct decoded *decoded)
{
	*decoded = (struct decoded){.reason = MIRROR_REASONS};
	bool pipeline = false;
	read_node(bytes, length, decoded->node);
	if (length > decoder->options.record_bytes_max) {
		decoded_refuse(decoded, MIRROR_OVERSIZED, "%zu bytes, at most %u", length,
			       decoder->options.record_bytes_max);
		return;
	}
	if (decoder->keys && !authenticate(decoder, bytes, length, decoded, &pipeline))
		return;
	struct header header = {0};
	decoder_clear(decoder);
	if (!scan_record(decoder, bytes, length, decoded, &header) ||
	    !check_kind(&header, decoded, pipeline, decoder->keys != NULL))
		return;
	Millrace__V1__Batch *batch = unpack(decoder, bytes, length, decoded);
	if (batch && (decoded->tick || decoded->metadata || validate(decoder, batch, decoded)))
		decoded->batch = batch;
}
