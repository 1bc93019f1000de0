#include "ingest/columns.h"

#include <string.h>

enum {
	ADDRESS_BYTES = 16,
	LANES = 4,
};

enum check {
	CHECK_NONE,
	CHECK_STRING,
	CHECK_ADDRESS,
	CHECK_MAX,	/* of 32 bits, at most column.max */
	CHECK_DURATION, /* of 64 bits, us */
	CHECK_TIME,	/* running sum stays a time */
};

/* How many elements a column has. */
enum length {
	LENGTH_EVENTS,	 /* one an event */
	LENGTH_ELEMENTS, /* as many for each event as the group's column of counts says */
	LENGTH_OTHER,	 /* looked at apart */
};

struct column {
	const char *name;
	uint16_t count, values; /* offsets in the group's message */
	uint8_t type;		/* enum varint_type */
	uint8_t check;
	uint8_t length; /* enum length */
	uint32_t max;
};

struct group {
	const char *name;
	const ProtobufCMessageDescriptor *descriptor;
	uint16_t message; /* offset in struct columns */
	uint16_t pointer; /* offset in Batch */
	uint8_t columns_count;
	uint8_t counts; /* the column of counts; 0: none */
	const struct column *columns;
};

#define COLUMN(Group, member, check, length, max)                                    \
	{                                                                            \
#member, offsetof(Millrace__V1__##Group, n_##member),                \
			offsetof(Millrace__V1__##Group, member),                     \
			_Generic(((Millrace__V1__##Group *)NULL)->member, uint64_t * \
				 : VARINT_U64, int32_t *                             \
				 : VARINT_S32, int64_t *                             \
				 : VARINT_S64, default                               \
				 : VARINT_U32),                                      \
			check, length, max                                           \
	}
#define ANY(Group, member)	COLUMN(Group, member, CHECK_NONE, LENGTH_EVENTS, 0)
#define STRING(Group, member)	COLUMN(Group, member, CHECK_STRING, LENGTH_EVENTS, 0)
#define ADDRESS(Group, member)	COLUMN(Group, member, CHECK_ADDRESS, LENGTH_EVENTS, 0)
#define MAX(Group, member, max) COLUMN(Group, member, CHECK_MAX, LENGTH_EVENTS, max)
#define DURATION(Group, member) COLUMN(Group, member, CHECK_DURATION, LENGTH_EVENTS, 0)
#define TIME(Group)		COLUMN(Group, dt_us, CHECK_TIME, LENGTH_EVENTS, 0)
#define OTHER(Group, member)	COLUMN(Group, member, CHECK_NONE, LENGTH_OTHER, 0)

enum { CONTAINER_LABELS = 12, DNS_ANSWERS = 6 };

static const struct column container_columns[] = {
	ANY(Containers, cgroup),
	STRING(Containers, id),
	STRING(Containers, name),
	STRING(Containers, image),
	STRING(Containers, pod),
	STRING(Containers, namespace_),
	STRING(Containers, workload),
	STRING(Containers, unit),
	STRING(Containers, path),
	STRING(Containers, version),
	STRING(Containers, runtime),
	STRING(Containers, pod_uid),
	[CONTAINER_LABELS] = MAX(Containers, labels, DECODE_LABELS_MAX),
	COLUMN(Containers, labels_key, CHECK_STRING, LENGTH_ELEMENTS, 0),
	COLUMN(Containers, labels_value, CHECK_STRING, LENGTH_ELEMENTS, 0),
	ANY(Containers, oom_kills),
};

static const struct column process_columns[] = {
	ANY(Processes, pid),
	ANY(Processes, parent),
	ANY(Processes, started_ns),
	ANY(Processes, cgroup),
	STRING(Processes, comm),
	STRING(Processes, exe),
	STRING(Processes, cmdline),
	TIME(Processes),
	/* instead of started_ns and pid */
	OTHER(Processes, started_change_ns),
	OTHER(Processes, pid_change),
	ANY(Processes, uid),
};

static const struct column nat_columns[] = {
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
	ANY(NatEntries, zone),
	ANY(NatEntries, mark),
	ANY(NatEntries, netns),
};

static const struct column definition_columns[] = {
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

static const struct column update_columns[] = {
	ANY(Updates, slot),
	ANY(Updates, tx_bytes),
	ANY(Updates, rx_bytes),
	ANY(Updates, tx_segments),
	ANY(Updates, rx_segments),
	ANY(Updates, srtt_us),
	TIME(Updates),
	/* sparse: not of the group's length */
	OTHER(Updates, retransmits_index),
	OTHER(Updates, retransmits),
	OTHER(Updates, zero_window_index),
};

enum { UPDATES = 4 };

static const struct column close_columns[] = {
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
	ANY(Closes, flags),
};

static const struct column exit_columns[] = {
	ANY(Exits, pid),
	ANY(Exits, started_ns),
	ANY(Exits, status),
	ANY(Exits, signal),
	TIME(Exits),
	OTHER(Exits, started_change_ns),
	OTHER(Exits, pid_change),
};

static const struct column dns_columns[] = {
	MAX(Dns, slot, DECODE_SLOTS_MAX - 1),
	STRING(Dns, name),
	MAX(Dns, type, UINT16_MAX),
	MAX(Dns, rcode, DECODE_RCODE_MAX),
	ANY(Dns, flags),
	DURATION(Dns, latency_us),
	[DNS_ANSWERS] = MAX(Dns, answers, DECODE_ANSWERS_MAX),
	TIME(Dns),
	COLUMN(Dns, answers_address, CHECK_ADDRESS, LENGTH_ELEMENTS, 0),
	COLUMN(Dns, answers_ttl_s, CHECK_NONE, LENGTH_ELEMENTS, 0),
};

static const struct column sni_columns[] = {
	MAX(Sni, slot, DECODE_SLOTS_MAX - 1),
	STRING(Sni, name),
	TIME(Sni),
};

static const struct column drop_columns[] = {
	STRING(Drops, reason),
	MAX(Drops, kind, MILLRACE__V1__DROP_KIND__DROP_KIND_ICMP),
	MAX(Drops, protocol, UINT8_MAX),
	ADDRESS(Drops, source),
	ADDRESS(Drops, destination),
	MAX(Drops, source_port, UINT16_MAX),
	MAX(Drops, destination_port, UINT16_MAX),
	ANY(Drops, packets),
	ANY(Drops, bytes),
	ANY(Drops, netns),
	MAX(Drops, socket, DECODE_SLOTS_MAX),
	STRING(Drops, location),
	TIME(Drops),
};

static const struct column listener_columns[] = {
	ANY(Listeners, cookie),
	ANY(Listeners, flags),
	ADDRESS(Listeners, address),
	MAX(Listeners, port, UINT16_MAX),
	ANY(Listeners, netns),
	ANY(Listeners, pid),
	ANY(Listeners, cgroup),
	ANY(Listeners, backlog),
	ANY(Listeners, backlog_max),
	ANY(Listeners, drops),
	TIME(Listeners),
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define GROUP(noun, Message, table, counts)                                                    \
	{                                                                                      \
#noun, &millrace__v1__##Message##__descriptor, offsetof(struct columns, noun), \
			offsetof(Millrace__V1__Batch, noun), COUNT(table), counts, table       \
	}

static const struct group groups[COLUMNS_GROUPS] = {
	GROUP(containers, containers, container_columns, CONTAINER_LABELS),
	GROUP(processes, processes, process_columns, 0),
	GROUP(nat, nat_entries, nat_columns, 0),
	GROUP(definitions, definitions, definition_columns, 0),
	[UPDATES] = GROUP(updates, updates, update_columns, 0),
	GROUP(closes, closes, close_columns, 0),
	GROUP(exits, exits, exit_columns, 0),
	GROUP(dns, dns, dns_columns, DNS_ANSWERS),
	GROUP(drops, drops, drop_columns, 0),
	GROUP(listeners, listeners, listener_columns, 0),
	GROUP(sni, sni, sni_columns, 0),
};

const uint8_t columns_fields[COLUMNS_GROUPS] = {
	COUNT(container_columns),  COUNT(process_columns), COUNT(nat_columns),
	COUNT(definition_columns), COUNT(update_columns),  COUNT(close_columns),
	COUNT(exit_columns),	   COUNT(dns_columns),	   COUNT(drop_columns),
	COUNT(listener_columns),   COUNT(sni_columns),
};

/* What absent columns hold; only ever read. Elements are of 32 bits. */
static uint64_t zeros[DECODE_ELEMENTS_MAX / 2];

_Static_assert(DECODE_ELEMENTS_MAX / 2 >= DECODE_EVENTS_MAX, "zeros for all events");

/* ---- reading ---- */

void columns_clear(struct columns *columns)
{
	columns->read = columns->unusual = false;
	memset(columns->present, 0, sizeof(columns->present));
}

void columns_begin(struct columns *columns, unsigned group)
{
	columns->present[group] = true;
	memset(columns->places[group], 0, sizeof(columns->places[group]));
}

static size_t value_size(enum varint_type type)
{
	return type == VARINT_U32 || type == VARINT_S32 ? 4 : 8;
}

static bool read_column(const struct column *column, const struct columns_place *place,
			varint_reader *reader, const uint8_t *readable_end,
			struct decode_arena *arena, char *message, uint64_t *max)
{
	size_t size = value_size(column->type);
	void *values = decode_arena_take(arena, (place->length + VARINT_ROOM) * size);
	struct varint_packed packed = {
		.bytes = place->bytes,
		.end = place->bytes + place->length,
		.readable_end = readable_end,
		.type = column->type,
		/* of slots' differences, too */
		.bounded = column->check != CHECK_NONE || column->type == VARINT_S32,
	};
	struct varint_found found;
	if (!values || !reader(&packed, values, &found))
		return false;
	decode_arena_cut(arena, values, found.count * size);
	*(size_t *)(message + column->count) = found.count;
	*(void **)(message + column->values) = values;
	*max = found.max;
	return true;
}

static bool read_group(struct columns *columns, unsigned number, varint_reader *reader,
		       const uint8_t *readable_end, struct decode_arena *arena, char *message)
{
	const struct group *group = &groups[number];
	group->descriptor->message_init((ProtobufCMessage *)message);
	for (unsigned i = 0; i < columns_fields[number]; i++) {
		const struct columns_place *place = &columns->places[number][i];
		columns->max[number][i] = 0;
		if (place->length && !read_column(&group->columns[i], place, reader, readable_end,
						  arena, message, &columns->max[number][i]))
			return false;
	}
	return true;
}

bool columns_read(struct columns *columns, varint_reader *reader, const uint8_t *readable_end,
		  struct decode_arena *arena, Millrace__V1__Batch *batch)
{
	for (unsigned i = 0; i < COLUMNS_GROUPS; i++) {
		char *message = (char *)columns + groups[i].message;
		if (!columns->present[i])
			continue;
		if (!read_group(columns, i, reader, readable_end, arena, message))
			return false;
		*(void **)((char *)batch + groups[i].pointer) = message;
	}
	columns->read = true;
	return true;
}

/* ---- checking ---- */

struct validation {
	const Millrace__V1__Batch *batch;
	struct decoded *decoded;
	const struct group *group;
	const uint64_t *max; /* of the group's columns; NULL: not known */
	uint64_t events;
};

static size_t column_count(const void *group, const struct column *column)
{
	return *(const size_t *)((const char *)group + column->count);
}

static const void *column_values(const void *group, const struct column *column)
{
	return *(const void *const *)((const char *)group + column->values);
}

static bool refuse_value(struct validation *v, const char *column, size_t i, uint64_t value,
			 uint64_t max)
{
	return decoded_refuse(v->decoded, MIRROR_FIELD, "%s.%s[%zu] is %llu, at most %llu",
			      v->group->name, column, i, (unsigned long long)value,
			      (unsigned long long)max);
}

static bool check_u32(struct validation *v, const struct column *column, const uint32_t *values,
		      size_t count, uint64_t limit)
{
	for (size_t i = 0; i < count; i++) {
		if (values[i] < limit)
			continue;
		if (limit == 0)
			return decoded_refuse(v->decoded, MIRROR_FIELD,
					      "%s.%s[%zu]: the dictionary is empty", v->group->name,
					      column->name, i);
		return refuse_value(v, column->name, i, values[i], limit - 1);
	}
	return true;
}

static bool check_durations(struct validation *v, const struct column *column,
			    const uint64_t *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (values[i] > DECODE_DURATION_US_MAX)
			return refuse_value(v, column->name, i, values[i], DECODE_DURATION_US_MAX);
	return true;
}

static bool check_times(struct validation *v, const struct column *column, const int64_t *values,
			size_t count)
{
	int64_t time_us = (int64_t)v->batch->base_time_us;
	for (size_t i = 0; i < count; i++)
		if (__builtin_add_overflow(time_us, values[i], &time_us) || time_us < 0 ||
		    (uint64_t)time_us > DECODE_TIME_US_MAX)
			return decoded_refuse(v->decoded, MIRROR_FIELD,
					      "%s.%s[%zu]: the sum is no time", v->group->name,
					      column->name, i);
	return true;
}

/* Whether the largest number alone shows that the column keeps its bound. */
static bool max_is_within(const struct validation *v, const struct column *column, uint64_t max,
			  size_t count)
{
	switch (column->check) {
	case CHECK_STRING:
		return max < v->batch->n_strings;
	case CHECK_ADDRESS:
		return max < v->batch->addresses.len / ADDRESS_BYTES;
	case CHECK_MAX:
		return max <= column->max;
	case CHECK_DURATION:
		return max <= DECODE_DURATION_US_MAX;
	case CHECK_TIME: {
		/* all differences together, each rounded up from its zigzag */
		uint64_t away_us;
		return !__builtin_mul_overflow(max / 2 + 1, count, &away_us) &&
		       away_us <= v->batch->base_time_us &&
		       away_us <= DECODE_TIME_US_MAX - v->batch->base_time_us;
	}
	}
	return true;
}

static bool check_column(struct validation *v, const struct column *column, const void *values,
			 size_t count)
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

/* A column that is not there has zeros. */
static bool fill_column(struct validation *v, const struct column *column, size_t count,
			char *message)
{
	if (count > DECODE_EVENTS_MAX && column->length == LENGTH_EVENTS)
		return decoded_refuse(v->decoded, MIRROR_OVERSIZED, "%s has %zu events, at most %d",
				      v->group->name, count, DECODE_EVENTS_MAX);
	*(size_t *)(message + column->count) = count;
	*(void **)(message + column->values) = zeros;
	return true;
}

static bool check_length(struct validation *v, const struct column *column, size_t count,
			 const struct column *counted, char *message)
{
	if (count > 0 && column_count(message, column) == 0)
		return fill_column(v, column, count, message);
	if (column_count(message, column) == count)
		return true;
	return decoded_refuse(
		v->decoded, MIRROR_COLUMN_LENGTH,
		column->length == LENGTH_ELEMENTS ? "%s.%s has %zu elements, %s counts %zu"
						  : "%s.%s has %zu elements, %s has %zu",
		v->group->name, column->name, column_count(message, column), counted->name, count);
}

/* How many elements the group's column of counts, which was checked, announces. */
static bool sum_elements(struct validation *v, const char *message, size_t *sum)
{
	const struct column *counts = &v->group->columns[v->group->counts];
	const uint32_t *values = column_values(message, counts);
	*sum = 0;
	if (values != (const uint32_t *)zeros)
		for (size_t i = 0; i < column_count(message, counts); i++)
			*sum += values[i];
	return *sum <= DECODE_ELEMENTS_MAX ||
	       decoded_refuse(v->decoded, MIRROR_OVERSIZED, "%s.%s counts %zu, at most %d",
			      v->group->name, counts->name, *sum, DECODE_ELEMENTS_MAX);
}

/* The column of counts stands before those whose elements it counts. */
static bool check_group(struct validation *v, char *message)
{
	const struct group *group = v->group;
	const struct column *first = &group->columns[0], *counts = &group->columns[group->counts];
	const size_t events = column_count(message, first);
	size_t elements = 0;
	for (int i = 0; i < group->columns_count; i++) {
		const struct column *column = &group->columns[i];
		const bool of_elements = column->length == LENGTH_ELEMENTS;
		const size_t count = of_elements ? elements : events;
		if (column->length == LENGTH_OTHER)
			continue;
		if (!check_length(v, column, count, of_elements ? counts : first, message))
			return false;
		if (!(v->max && max_is_within(v, column, v->max[i], count)) &&
		    !check_column(v, column, column_values(message, column), count))
			return false;
		if (i > 0 && i == group->counts && !sum_elements(v, message, &elements))
			return false;
	}
	v->events += events;
	return true;
}

typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));

/* Whether the slots certainly ascend, if `max` is the largest of the differences' zigzags. */
static bool slots_ascend(const int32_t *slots, size_t count, uint64_t max)
{
	uint64_t sum = 0;
	lanes low = {0}, sums = {0};
	size_t i = 1;
	if (count == 0 || slots[0] < 0 || max / 2 * count > INT32_MAX)
		return false;
	for (; i + LANES <= count; i += LANES) {
		lanes four;
		memcpy(&four, slots + i, sizeof(four));
		low |= four | (four - 1); /* the upper bit of what is not above zero */
		sums += four;
	}
	for (; i < count; i++) {
		low[0] |= (uint32_t)slots[i] | ((uint32_t)slots[i] - 1);
		sums[0] += (uint32_t)slots[i];
	}
	uint32_t lowest = 0;
	for (int lane = 0; lane < LANES; lane++) {
		sum += sums[lane];
		lowest |= low[lane];
	}
	return (int32_t)lowest >= 0 && sum + (uint32_t)slots[0] < DECODE_SLOTS_MAX;
}

static bool check_update_slots(struct validation *v, const Millrace__V1__Updates *updates)
{
	int64_t slot = -1;
	if (v->max && slots_ascend(updates->slot, updates->n_slot, v->max[0]))
		return true;
	for (size_t i = 0; i < updates->n_slot; i++) {
		int64_t next = (i ? slot : 0) + updates->slot[i];
		if (next <= slot || next >= DECODE_SLOTS_MAX)
			return decoded_refuse(v->decoded, MIRROR_FIELD,
					      "updates.slot[%zu]: slot %lld after %lld, at most %d",
					      i, (long long)next, (long long)slot,
					      DECODE_SLOTS_MAX - 1);
		slot = next;
	}
	return true;
}

/* A sparse column's indexes: each the difference to the one before it. */
static bool check_indexes(struct validation *v, const char *column, const uint32_t *indexes,
			  size_t count, size_t updates)
{
	uint64_t index = 0;
	for (size_t i = 0; i < count; i++) {
		index += indexes[i];
		if (index >= updates || (i && indexes[i] == 0))
			return refuse_value(v, column, i, index, updates ? updates - 1 : 0);
	}
	return true;
}

static bool check_sparse(struct validation *v, const Millrace__V1__Updates *updates)
{
	if (updates->n_retransmits != updates->n_retransmits_index)
		return decoded_refuse(v->decoded, MIRROR_COLUMN_LENGTH,
				      "updates.retransmits has %zu elements, its index %zu",
				      updates->n_retransmits, updates->n_retransmits_index);
	return check_indexes(v, "retransmits_index", updates->retransmits_index,
			     updates->n_retransmits_index, updates->n_slot) &&
	       check_indexes(v, "zero_window_index", updates->zero_window_index,
			     updates->n_zero_window_index, updates->n_slot);
}

/* The columns that stand for others become these, in the same memory. */
static bool restore_started(struct decoded *decoded, uint64_t started_ns, size_t *changes_count,
			    int64_t **changes_ns, size_t *count, uint64_t **values)
{
	if (*changes_count == 0)
		return true;
	if (*count)
		return decoded_refuse(decoded, MIRROR_FIELD,
				      "started_ns stands beside started_change_ns");
	*values = (uint64_t *)*changes_ns;
	*count = *changes_count;
	*changes_ns = NULL;
	*changes_count = 0;
	for (size_t i = 0; i < *count; i++)
		(*values)[i] = started_ns += (*values)[i];
	return true;
}

static bool restore_pids(struct decoded *decoded, size_t *changes_count, int32_t **changes,
			 size_t *count, uint32_t **values)
{
	uint32_t pid = 0;
	if (*changes_count == 0)
		return true;
	if (*count)
		return decoded_refuse(decoded, MIRROR_FIELD, "pid stands beside pid_change");
	*values = (uint32_t *)*changes;
	*count = *changes_count;
	*changes = NULL;
	*changes_count = 0;
	for (size_t i = 0; i < *count; i++)
		(*values)[i] = pid += (*values)[i];
	return true;
}

#define RESTORE(decoded, base_ns, group)                                                      \
	(restore_started(decoded, base_ns, &(group)->n_started_change_ns,                     \
			 &(group)->started_change_ns, &(group)->n_started_ns,                 \
			 &(group)->started_ns) &&                                             \
	 restore_pids(decoded, &(group)->n_pid_change, &(group)->pid_change, &(group)->n_pid, \
		      &(group)->pid))

static bool restore(Millrace__V1__Batch *batch, struct decoded *decoded)
{
	uint64_t base_ns = batch->sent_boottime_ns;
	return (!batch->processes || RESTORE(decoded, base_ns, batch->processes)) &&
	       (!batch->exits || RESTORE(decoded, base_ns, batch->exits));
}

bool columns_check(const struct columns *columns, Millrace__V1__Batch *batch,
		   struct decoded *decoded)
{
	struct validation v = {.batch = batch, .decoded = decoded};
	if (!restore(batch, decoded))
		return false;
	for (unsigned i = 0; i < COLUMNS_GROUPS; i++) {
		v.group = &groups[i];
		v.max = columns->read ? columns->max[i] : NULL;
		char *message = *(char **)((char *)batch + v.group->pointer);
		if (message && !check_group(&v, message))
			return false;
	}
	v.group = &groups[UPDATES];
	v.max = columns->read ? columns->max[UPDATES] : NULL;
	if (batch->updates &&
	    (!check_update_slots(&v, batch->updates) || !check_sparse(&v, batch->updates)))
		return false;
	if (v.events != batch->events)
		return decoded_refuse(decoded, MIRROR_FIELD, "events is %u, the groups hold %llu",
				      batch->events, (unsigned long long)v.events);
	return true;
}
