#include "ingest/decode.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/batch/seal.h"
#include "agent/batch/wire.h"
#include "base/hash.h"
#include "base/memory.h"
#include "ingest/decode_arena.h"

enum {
	ARENA_SLACK = 256 * 1024, /* what even a small record takes: tables of columns and groups */
	KEYS = 1024,		  /* cached node keys; deriving one takes some us */
	FIELD_KNOWN_MAX = 28,
	FIELD_HMAC = 127,
	FIELD_STRINGS = 21,
	FIELD_GROUPS = 22, /* the first of seven */
	BOOT_ID_BYTES = 16,
	ADDRESS_BYTES = 16,
};

/* Times in ns must fit 63 bits; durations are kept far below, so that sums cannot overflow. */
static const uint64_t time_us_max = (uint64_t)INT64_MAX / 1000;
static const uint64_t duration_us_max = 1ULL << 52;

struct node_key {
	char node[DECODE_NODE_MAX + 1];
	uint8_t key[SEAL_KEY_BYTES];
};

struct decoder {
	struct decode_options options;
	struct decode_arena arena;
	struct node_key *keys; /* direct-mapped by the node id's hash */
	uint8_t *secret;
	uint8_t pipeline_key[SEAL_KEY_BYTES];
};

struct decoder *decoder_new(const struct decode_options *options)
{
	struct decoder *decoder = memory_zeroed(1, sizeof(*decoder));
	decoder->options = *options;
	decode_arena_init(&decoder->arena,
			  (size_t)options->record_bytes_max * DECODE_AMPLIFICATION + ARENA_SLACK);
	if (options->secret) {
		decoder->secret = memory_zeroed(options->secret_length, 1);
		memcpy(decoder->secret, options->secret, options->secret_length);
		decoder->keys = memory_zeroed(KEYS, sizeof(*decoder->keys));
	}
	return decoder;
}

void decoder_free(struct decoder *decoder)
{
	if (!decoder)
		return;
	decode_arena_done(&decoder->arena);
	free(decoder->keys);
	free(decoder->secret);
	free(decoder);
}

__attribute__((format(printf, 3, 4))) static bool
refuse(struct decoded *decoded, enum mirror_reason reason, const char *format, ...)
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
		return refuse(scan->decoded, MIRROR_MALFORMED, "a group ends within %s", what);
	return refuse(scan->decoded, MIRROR_TRUNCATED, "the record ends within %s", what);
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
	return refuse(scan->decoded, MIRROR_MALFORMED, "%s is longer than %d bytes", what,
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

static bool scan_field(struct scan *scan, struct field *field)
{
	uint64_t tag, length;
	if (++scan->fields > DECODE_FIELDS_MAX)
		return refuse(scan->decoded, MIRROR_OVERSIZED, "more than %d fields",
			      DECODE_FIELDS_MAX);
	if (!scan_varint(scan, "a tag", &tag))
		return false;
	if (tag >> 3 == 0 || tag > UINT32_MAX)
		return refuse(scan->decoded, MIRROR_MALFORMED, "tag %llu names no field",
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
	return refuse(scan->decoded, MIRROR_MALFORMED, "field %u has wire type %u", field->number,
		      field->type);
}

/* Columns of the groups 22 to 28; a higher number is a newer agent's. */
static const uint8_t group_columns[] = {10, 8, 11, 21, 9, 11, 5};

static bool scan_group(struct scan *outer, const struct field *group)
{
	struct scan scan = {group->bytes, group->bytes + group->length, true, outer->decoded,
			    outer->fields};
	struct field field;
	while (scan.at != scan.end) {
		if (!scan_field(&scan, &field))
			return false;
		if (field.number > group_columns[group->number - FIELD_GROUPS])
			scan.decoded->unknown_fields++;
	}
	outer->fields = scan.fields;
	return true;
}

static bool node_is_valid(const uint8_t *node, size_t length)
{
	if (length == 0 || length > DECODE_NODE_MAX)
		return false;
	for (size_t i = 0; i < length; i++) {
		uint8_t c = node[i];
		bool alphanumeric =
			(c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
		if (!alphanumeric && (c == 0 || !strchr("._:-", c)))
			return false;
	}
	return true;
}

struct header {
	uint64_t version, kind;
	bool groups; /* any */
};

/* A field that protobuf would let a second one override: the key was chosen by the first node id,
 * so there must be no second. Only strings may repeat. */
static bool scan_once(struct decoded *decoded, uint32_t *seen, uint32_t number)
{
	if (number > FIELD_KNOWN_MAX || number == FIELD_STRINGS)
		return true;
	if (*seen >> number & 1)
		return refuse(decoded, MIRROR_FIELD, "field %u stands twice", number);
	*seen |= 1u << number;
	return true;
}

static bool scan_top(struct scan *scan, const struct field *field, struct header *header)
{
	uint32_t number = field->number;
	if (number >= FIELD_GROUPS && number <= FIELD_KNOWN_MAX) {
		header->groups = true;
		if (field->type != WIRE_LENGTH)
			return refuse(scan->decoded, MIRROR_MALFORMED, "field %u has wire type %u",
				      number, field->type);
		return scan_group(scan, field);
	}
	if (number == 2)
		header->version = field->value;
	else if (number == 3)
		header->kind = field->value;
	else if (number == 8)
		scan->decoded->events = field->value;
	else if (number > FIELD_KNOWN_MAX && number != FIELD_HMAC)
		scan->decoded->unknown_fields++;
	return true;
}

static bool scan_record(const uint8_t *bytes, size_t length, struct decoded *decoded,
			struct header *header)
{
	struct scan scan = {bytes, bytes + length, false, decoded, 0};
	struct field field;
	uint32_t seen = 0;
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
	struct scan scan = {bytes, bytes + length, false, &ignored, 0};
	struct field field;
	node[0] = 0;
	if (length == 0 || !scan_field(&scan, &field) || field.number != 1 ||
	    field.type != WIRE_LENGTH || !node_is_valid(field.bytes, field.length))
		return;
	memcpy(node, field.bytes, field.length);
	node[field.length] = 0;
}

/* ---- authentication ---- */

static const uint8_t *decoder_key(struct decoder *decoder, const char *node)
{
	struct node_key *key = &decoder->keys[hash_bytes(node, strlen(node)) % KEYS];
	if (strcmp(key->node, node) == 0)
		return key->key;
	if (seal_node_key(decoder->secret, decoder->options.secret_length, node, key->key) != 0) {
		key->node[0] = 0;
		return NULL;
	}
	memcpy(key->node, node, strlen(node) + 1);
	return key->key;
}

/* A node's key signs events, the pipeline's ticks; neither may speak for the other. */
static bool authenticate(struct decoder *decoder, const uint8_t *bytes, size_t length,
			 struct decoded *decoded, bool *pipeline)
{
	const uint8_t *key = decoded->node[0] ? decoder_key(decoder, decoded->node) : NULL;
	if (key && seal_check(key, bytes, length))
		return true;
	*pipeline = seal_pipeline_key(decoder->secret, decoder->options.secret_length,
				      decoder->pipeline_key) == 0 &&
		    seal_check(decoder->pipeline_key, bytes, length);
	if (*pipeline)
		return true;
	return refuse(decoded, MIRROR_UNAUTHENTICATED, "the HMAC of node '%s' is %s", decoded->node,
		      length < SEAL_TRAILER_BYTES ? "missing" : "missing or wrong");
}

/* ---- validation of what was unpacked ---- */

enum check {
	CHECK_NONE,
	CHECK_STRING,
	CHECK_ADDRESS,
	CHECK_MAX,	/* of 32 bits, at most column.max */
	CHECK_DURATION, /* of 64 bits, us */
	CHECK_TIME,	/* running sum stays a time */
};

struct column_check {
	const char *name;
	uint16_t count, values; /* offsets in the group's message */
	uint8_t check;
	uint32_t max;
};

struct group_check {
	const char *name;
	uint16_t offset; /* of the pointer in Batch */
	uint16_t columns_count;
	const struct column_check *columns;
};

#define COLUMN(Group, member, check, max)                                   \
	{                                                                   \
#member, offsetof(Millrace__V1__##Group, n_##member),       \
			offsetof(Millrace__V1__##Group, member), check, max \
	}
#define ANY(Group, member)	COLUMN(Group, member, CHECK_NONE, 0)
#define STRING(Group, member)	COLUMN(Group, member, CHECK_STRING, 0)
#define ADDRESS(Group, member)	COLUMN(Group, member, CHECK_ADDRESS, 0)
#define MAX(Group, member, max) COLUMN(Group, member, CHECK_MAX, max)
#define DURATION(Group, member) COLUMN(Group, member, CHECK_DURATION, 0)
#define TIME(Group)		COLUMN(Group, dt_us, CHECK_TIME, 0)

static const struct column_check container_checks[] = {
	ANY(Containers, cgroup),      STRING(Containers, id),	STRING(Containers, name),
	STRING(Containers, image),    STRING(Containers, pod),	STRING(Containers, namespace_),
	STRING(Containers, workload), STRING(Containers, unit), STRING(Containers, path),
	STRING(Containers, version),
};

static const struct column_check process_checks[] = {
	ANY(Processes, pid),	    ANY(Processes, parent),  ANY(Processes, started_ns),
	ANY(Processes, cgroup),	    STRING(Processes, comm), STRING(Processes, exe),
	STRING(Processes, cmdline), TIME(Processes),
};

static const struct column_check nat_checks[] = {
	MAX(NatEntries, protocol, UINT8_MAX),
	MAX(NatEntries, op, MILLRACE__V1__NAT_OP__NAT_OP_DELETE),
	ADDRESS(NatEntries, original_source),
	ADDRESS(NatEntries, original_destination),
	MAX(NatEntries, original_source_port, UINT16_MAX),
	MAX(NatEntries, original_destination_port, UINT16_MAX),
	ADDRESS(NatEntries, reply_source),
	ADDRESS(NatEntries, reply_destination),
	MAX(NatEntries, reply_source_port, UINT16_MAX),
	MAX(NatEntries, reply_destination_port, UINT16_MAX),
	TIME(NatEntries),
};

static const struct column_check definition_checks[] = {
	MAX(Definitions, slot, DECODE_SLOTS_MAX - 1),
	ANY(Definitions, generation),
	MAX(Definitions, protocol, UINT8_MAX),
	ANY(Definitions, flags),
	MAX(Definitions, role, MILLRACE__V1__ROLE__ROLE_SERVER),
	ADDRESS(Definitions, local),
	ADDRESS(Definitions, remote),
	MAX(Definitions, local_port, UINT16_MAX),
	MAX(Definitions, remote_port, UINT16_MAX),
	ANY(Definitions, pid),
	ANY(Definitions, cgroup),
	DURATION(Definitions, age_us),
	DURATION(Definitions, connect_us),
	ANY(Definitions, tx_bytes),
	ANY(Definitions, rx_bytes),
	ANY(Definitions, tx_segments),
	ANY(Definitions, rx_segments),
	ANY(Definitions, retransmits),
	ANY(Definitions, srtt_us),
	ANY(Definitions, min_rtt_us),
	TIME(Definitions),
};

static const struct column_check update_checks[] = {
	ANY(Updates, slot),
	ANY(Updates, tx_bytes),
	ANY(Updates, rx_bytes),
	ANY(Updates, tx_segments),
	ANY(Updates, rx_segments),
	ANY(Updates, srtt_us),
	TIME(Updates),
};

static const struct column_check close_checks[] = {
	MAX(Closes, slot, DECODE_SLOTS_MAX - 1),
	MAX(Closes, reason, MILLRACE__V1__CLOSE_REASON__CLOSE_REASON_VANISHED),
	ANY(Closes, pid),
	ANY(Closes, tx_bytes),
	ANY(Closes, rx_bytes),
	ANY(Closes, tx_segments),
	ANY(Closes, rx_segments),
	ANY(Closes, retransmits),
	ANY(Closes, min_rtt_us),
	DURATION(Closes, connect_us),
	TIME(Closes),
};

static const struct column_check exit_checks[] = {
	ANY(Exits, pid), ANY(Exits, started_ns), ANY(Exits, status), ANY(Exits, signal),
	TIME(Exits),
};

#define GROUP(member, checks)                                      \
	{                                                          \
#member, offsetof(Millrace__V1__Batch, member),    \
			sizeof(checks) / sizeof(checks[0]), checks \
	}

static const struct group_check group_checks[] = {
	GROUP(containers, container_checks),
	GROUP(processes, process_checks),
	GROUP(nat, nat_checks),
	GROUP(definitions, definition_checks),
	GROUP(updates, update_checks),
	GROUP(closes, close_checks),
	GROUP(exits, exit_checks),
};

struct validation {
	const Millrace__V1__Batch *batch;
	struct decoded *decoded;
	const struct group_check *group;
	uint64_t events;
};

static size_t column_count(const void *group, const struct column_check *column)
{
	return *(const size_t *)((const char *)group + column->count);
}

static const void *column_values(const void *group, const struct column_check *column)
{
	return *(const void *const *)((const char *)group + column->values);
}

static bool refuse_value(struct validation *v, const char *column, size_t i, uint64_t value,
			 uint64_t max)
{
	return refuse(v->decoded, MIRROR_FIELD, "%s.%s[%zu] is %llu, at most %llu", v->group->name,
		      column, i, (unsigned long long)value, (unsigned long long)max);
}

static bool check_u32(struct validation *v, const struct column_check *column,
		      const uint32_t *values, size_t count, uint64_t limit)
{
	for (size_t i = 0; i < count; i++) {
		if (values[i] < limit)
			continue;
		if (limit == 0)
			return refuse(v->decoded, MIRROR_FIELD,
				      "%s.%s[%zu]: the dictionary is empty", v->group->name,
				      column->name, i);
		return refuse_value(v, column->name, i, values[i], limit - 1);
	}
	return true;
}

static bool check_durations(struct validation *v, const struct column_check *column,
			    const uint64_t *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (values[i] > duration_us_max)
			return refuse_value(v, column->name, i, values[i], duration_us_max);
	return true;
}

static bool check_times(struct validation *v, const struct column_check *column,
			const int64_t *values, size_t count)
{
	int64_t time_us = (int64_t)v->batch->base_time_us;
	for (size_t i = 0; i < count; i++)
		if (__builtin_add_overflow(time_us, values[i], &time_us) || time_us < 0 ||
		    (uint64_t)time_us > time_us_max)
			return refuse(v->decoded, MIRROR_FIELD, "%s.%s[%zu]: the sum is no time",
				      v->group->name, column->name, i);
	return true;
}

static bool check_column(struct validation *v, const struct column_check *column,
			 const void *values, size_t count)
{
	switch (column->check) {
	case CHECK_STRING:
		return check_u32(v, column, values, count, v->batch->n_strings);
	case CHECK_ADDRESS:
		return check_u32(v, column, values, count, v->batch->addresses.len / ADDRESS_BYTES);
	case CHECK_MAX:
		return check_u32(v, column, values, count, (uint64_t)column->max + 1);
	case CHECK_DURATION:
		return check_durations(v, column, values, count);
	case CHECK_TIME:
		return check_times(v, column, values, count);
	}
	return true;
}

static bool check_group(struct validation *v, const void *group)
{
	size_t count = column_count(group, &v->group->columns[0]);
	for (int i = 0; i < v->group->columns_count; i++) {
		const struct column_check *column = &v->group->columns[i];
		if (column_count(group, column) != count)
			return refuse(v->decoded, MIRROR_COLUMN_LENGTH,
				      "%s.%s has %zu elements, %s has %zu", v->group->name,
				      column->name, column_count(group, column),
				      v->group->columns[0].name, count);
		if (!check_column(v, column, column_values(group, column), count))
			return false;
	}
	v->events += count;
	return true;
}

static bool check_update_slots(struct validation *v, const Millrace__V1__Updates *updates)
{
	int64_t slot = -1;
	for (size_t i = 0; i < updates->n_slot; i++) {
		int64_t next = (i ? slot : 0) + updates->slot[i];
		if (next <= slot || next >= DECODE_SLOTS_MAX)
			return refuse(v->decoded, MIRROR_FIELD,
				      "updates.slot[%zu]: slot %lld after %lld, at most %d", i,
				      (long long)next, (long long)slot, DECODE_SLOTS_MAX - 1);
		slot = next;
	}
	return true;
}

static bool check_retransmits(struct validation *v, const Millrace__V1__Updates *updates)
{
	if (updates->n_retransmits != updates->n_retransmits_index)
		return refuse(v->decoded, MIRROR_COLUMN_LENGTH,
			      "updates.retransmits has %zu elements, its index %zu",
			      updates->n_retransmits, updates->n_retransmits_index);
	uint64_t index = 0;
	for (size_t i = 0; i < updates->n_retransmits_index; i++) {
		index += updates->retransmits_index[i];
		if (index >= updates->n_slot || (i && updates->retransmits_index[i] == 0))
			return refuse_value(v, "retransmits_index", i, index,
					    updates->n_slot ? updates->n_slot - 1 : 0);
	}
	return true;
}

/* RFC 3629. */
static bool text_is_utf8(const char *text)
{
	const uint8_t *at = (const uint8_t *)text;
	while (*at) {
		uint8_t lead = *at++;
		if (lead < 0x80)
			continue;
		int follow = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
		if (lead < 0xc2 || lead > 0xf4)
			return false;
		if ((lead == 0xe0 && *at < 0xa0) || (lead == 0xed && *at > 0x9f) ||
		    (lead == 0xf0 && *at < 0x90) || (lead == 0xf4 && *at > 0x8f))
			return false;
		for (; follow > 0; follow--, at++)
			if ((*at & 0xc0) != 0x80)
				return false;
	}
	return true;
}

static bool check_text(struct decoded *decoded, const char *name, const char *text, size_t max)
{
	if (strnlen(text, max + 1) > max)
		return refuse(decoded, MIRROR_FIELD, "%s is longer than %zu bytes", name, max);
	if (!text_is_utf8(text))
		return refuse(decoded, MIRROR_FIELD, "%s is not UTF-8", name);
	return true;
}

static bool check_strings(const Millrace__V1__Batch *batch, struct decoded *decoded)
{
	for (size_t i = 0; i < batch->n_strings; i++)
		if (!check_text(decoded, "a string", batch->strings[i], DECODE_STRING_MAX))
			return false;
	if (batch->n_strings && batch->strings[0][0])
		return refuse(decoded, MIRROR_FIELD, "strings[0] is not empty");
	return check_text(decoded, "zone", batch->zone, NAME_MAX_BYTES) &&
	       check_text(decoded, "region", batch->region, NAME_MAX_BYTES) &&
	       check_text(decoded, "role", batch->role, NAME_MAX_BYTES) &&
	       check_text(decoded, "agent_version", batch->agent_version, NAME_MAX_BYTES);
}

static bool check_header(const Millrace__V1__Batch *batch, struct decoded *decoded)
{
	if (!decoded->node[0] || strcmp(batch->node, decoded->node) != 0)
		return refuse(decoded, MIRROR_FIELD,
			      "node is not the first field, or not 1..%d bytes of [A-Za-z0-9._:-]",
			      DECODE_NODE_MAX);
	if (batch->boot_id.len != BOOT_ID_BYTES)
		return refuse(decoded, MIRROR_FIELD, "boot_id has %zu bytes, not %d",
			      batch->boot_id.len, BOOT_ID_BYTES);
	if (batch->addresses.len % ADDRESS_BYTES != 0)
		return refuse(decoded, MIRROR_FIELD,
			      "addresses has %zu bytes, not a multiple of %d", batch->addresses.len,
			      ADDRESS_BYTES);
	if (batch->base_time_us > time_us_max)
		return refuse(decoded, MIRROR_FIELD, "base_time_us is no time");
	if (batch->events > DECODE_EVENTS_MAX)
		return refuse(decoded, MIRROR_OVERSIZED, "%u events, at most %d", batch->events,
			      DECODE_EVENTS_MAX);
	uint64_t end;
	if (__builtin_add_overflow(batch->first_event, (uint64_t)batch->events, &end) ||
	    end > INT64_MAX || batch->sequence > INT64_MAX)
		return refuse(decoded, MIRROR_FIELD, "first_event or sequence is over 2^63");
	return true;
}

static bool validate(const Millrace__V1__Batch *batch, struct decoded *decoded)
{
	if (!check_header(batch, decoded) || !check_strings(batch, decoded))
		return false;
	struct validation v = {batch, decoded, NULL, 0};
	for (size_t i = 0; i < sizeof(group_checks) / sizeof(group_checks[0]); i++) {
		v.group = &group_checks[i];
		const void *group = *(const void *const *)((const char *)batch + v.group->offset);
		if (group && !check_group(&v, group))
			return false;
	}
	v.group = &group_checks[4];
	if (batch->updates &&
	    (!check_update_slots(&v, batch->updates) || !check_retransmits(&v, batch->updates)))
		return false;
	if (v.events != batch->events)
		return refuse(decoded, MIRROR_FIELD, "events is %u, the groups hold %llu",
			      batch->events, (unsigned long long)v.events);
	return true;
}

/* ---- */

static const Millrace__V1__Batch *unpack(struct decoder *decoder, const uint8_t *bytes,
					 size_t length, struct decoded *decoded)
{
	decode_arena_clear(&decoder->arena);
	const Millrace__V1__Batch *batch =
		millrace__v1__batch__unpack(&decoder->arena.allocator, length, bytes);
	if (!batch && decoder->arena.exhausted)
		refuse(decoded, MIRROR_OVERSIZED, "it takes more than %zu bytes of memory",
		       decoder->arena.size);
	else if (!batch)
		refuse(decoded, MIRROR_MALFORMED,
		       "a column is broken, or a field has another type");
	return batch;
}

static bool check_kind(const struct header *header, struct decoded *decoded, bool pipeline,
		       bool secret)
{
	decoded->tick = header->kind == MILLRACE__V1__BATCH_KIND__BATCH_KIND_TICK;
	if (header->version > DECODE_SCHEMA_VERSION)
		return refuse(decoded, MIRROR_VERSION, "version is %llu, at most %d",
			      (unsigned long long)header->version, DECODE_SCHEMA_VERSION);
	if (header->version == 0)
		return refuse(decoded, MIRROR_FIELD, "version is missing");
	if (secret && pipeline != decoded->tick)
		return refuse(decoded, MIRROR_UNAUTHENTICATED, "%s signed with the %s's key",
			      decoded->tick ? "a tick" : "events", pipeline ? "pipeline" : "node");
	if (decoded->tick && header->groups)
		return refuse(decoded, MIRROR_FIELD, "a tick holds events");
	return true;
}

void decoder_read(struct decoder *decoder, const uint8_t *bytes, size_t length,
		  struct decoded *decoded)
{
	*decoded = (struct decoded){.reason = MIRROR_REASONS};
	bool pipeline = false;
	read_node(bytes, length, decoded->node);
	if (length > decoder->options.record_bytes_max) {
		refuse(decoded, MIRROR_OVERSIZED, "%zu bytes, at most %u", length,
		       decoder->options.record_bytes_max);
		return;
	}
	if (decoder->secret && !authenticate(decoder, bytes, length, decoded, &pipeline))
		return;
	struct header header = {0};
	if (!scan_record(bytes, length, decoded, &header) ||
	    !check_kind(&header, decoded, pipeline, decoder->secret != NULL))
		return;
	const Millrace__V1__Batch *batch = unpack(decoder, bytes, length, decoded);
	if (batch && (decoded->tick || validate(batch, decoded)))
		decoded->batch = batch;
}
