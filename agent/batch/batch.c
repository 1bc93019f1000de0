#include "agent/batch/batch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "agent/batch/dictionary.h"
#include "agent/batch/seal.h"
#include "agent/batch/wire.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/utf8.h"

enum {
	SCHEMA_VERSION = 1,
	TEXT_MAX = 1024,       /* a string's bytes, but for a command line's */
	COMM_MAX = 15,	       /* the kernel's TASK_COMM_LEN without its NUL */
	HEADER_TEXT_MAX = 255, /* node, zone, region, role, agent version, key id */
	/* What is written whatever the batch holds: 6 header texts of 3 + 255, 17 numbers of at
	 * most 2 + 10, tags and lengths of 3 dictionaries, 2 messages, 12 groups and 133 columns of
	 * at most 2 + 5, and the HMAC. */
	FRAME_BYTES =
		6 * (3 + HEADER_TEXT_MAX) + 17 * 12 + 18 + (17 + 133) * 7 + SEAL_TRAILER_BYTES,
	/* Facts and state: each text of at most 3 + 255 bytes and each number of 2 + 10, a label's
	 * two texts in a message of 3 more. */
	FACTS_BYTES = 6 * 258 + 3 * 12 + BATCH_LABELS_MAX * (2 * 258 + 3),
	STATE_BYTES = (3 + BATCH_FEATURES_MAX + BATCH_MISSING_MAX + 2 * BATCH_LOSSES_MAX) * 258 +
		      7 * 12 + BATCH_LOSSES_MAX * (3 + 12),
	MESSAGE_BYTES = FACTS_BYTES > STATE_BYTES ? FACTS_BYTES : STATE_BYTES,
	STRINGS_MAX = 11 + 2 * BATCH_LABELS_MAX, /* of one event: a container's */
	ADDRESSES_MAX = BATCH_ANSWERS_MAX,	 /* of one event: a lookup's */
	/* Puts are counted with the longest form of what depends on their order. */
	TIME_BYTES = WIRE_VARINT_MAX,
	CHANGE_BYTES = 5,
	ADDRESS_BYTES = 4, /* bytes_max holds fewer than 2^28 addresses */
	SPARSE_BYTES = 5 + 5,
	V4_BYTES = 4,
};

/* Of a row's address: it is in addresses_v6. */
static const uint32_t ADDRESS_V6 = 1U << 31;

/* Rows as the wire has them: times in us, strings and addresses as indexes. */
struct container_row {
	uint64_t cgroup;
	uint32_t id, name, image, pod, namespace, workload, unit, path, version, runtime, pod_uid;
	uint32_t labels, oom_kills;
};

struct label_row {
	uint32_t key, value;
};

struct process_row {
	uint64_t started_ns, cgroup, time_us;
	uint32_t pid, parent, comm, exe, cmdline, uid;
};

struct nat_row {
	uint64_t time_us;
	uint32_t protocol, op;
	uint32_t original_source, original_destination, reply_source, reply_destination;
	uint32_t original_source_port, original_destination_port;
	uint32_t reply_source_port, reply_destination_port;
	uint32_t zone, mark, netns;
};

struct definition_row {
	uint64_t cgroup, age_us, connect_us;
	struct traffic total;
	uint64_t time_us;
	uint32_t slot, generation, protocol, flags, role;
	uint32_t local, remote, local_port, remote_port, pid, srtt_us, min_rtt_us;
};

struct update_row {
	uint64_t tx_bytes, rx_bytes, time_us;
	uint32_t slot, tx_segments, rx_segments, retransmits, srtt_us;
	uint32_t zero_window;
	uint32_t place; /* in the table of slots */
};

struct close_row {
	struct traffic total;
	uint64_t connect_us, time_us;
	uint32_t slot, reason, pid, min_rtt_us, flags;
};

struct exit_row {
	uint64_t started_ns, time_us;
	uint32_t pid, status, signal;
};

struct dns_row {
	uint64_t latency_us, time_us;
	uint32_t slot, name, type, rcode, flags, answers;
};

struct answer_row {
	uint32_t address, ttl_s;
};

struct sni_row {
	uint64_t time_us;
	uint32_t slot, name;
};

struct drop_row {
	uint64_t packets, bytes, time_us;
	uint32_t reason, kind, protocol, source, destination, source_port, destination_port;
	uint32_t netns, socket, location;
};

struct listener_row {
	uint64_t cookie, cgroup, drops, time_us;
	uint32_t flags, address, port, netns, pid, backlog, backlog_max;
};

enum column_type {
	COLUMN_U32,
	COLUMN_U64,
	COLUMN_ADDRESS, /* index over both dictionaries */
	/* zigzag of the difference to the row before, */
	COLUMN_TIME,	/* the first to the base time */
	COLUMN_STARTED, /* the first to the sealing */
	COLUMN_CHANGE,	/* the first to 0; of 32 bits */
};

struct column {
	uint8_t field;
	uint8_t type; /* enum column_type */
	uint16_t offset;
};

struct group {
	uint8_t field;
	uint8_t columns_count;
	uint16_t row_size;
	const struct column *columns;
};

#define U32(field, row, member)                                 \
	{                                                       \
		field, COLUMN_U32, offsetof(struct row, member) \
	}
#define U64(field, row, member)                                 \
	{                                                       \
		field, COLUMN_U64, offsetof(struct row, member) \
	}
#define TIME(field, row, member)                                 \
	{                                                        \
		field, COLUMN_TIME, offsetof(struct row, member) \
	}

#define CHANGE(field, row, member)                                 \
	{                                                          \
		field, COLUMN_CHANGE, offsetof(struct row, member) \
	}
#define ADDRESS(field, row, member)                                 \
	{                                                           \
		field, COLUMN_ADDRESS, offsetof(struct row, member) \
	}
#define STARTED(field, row, member)                                 \
	{                                                           \
		field, COLUMN_STARTED, offsetof(struct row, member) \
	}

static const struct column container_columns[] = {
	U64(1, container_row, cgroup),	 U32(2, container_row, id),
	U32(3, container_row, name),	 U32(4, container_row, image),
	U32(5, container_row, pod),	 U32(6, container_row, namespace),
	U32(7, container_row, workload), U32(8, container_row, unit),
	U32(9, container_row, path),	 U32(10, container_row, version),
	U32(11, container_row, runtime), U32(12, container_row, pod_uid),
	U32(13, container_row, labels),	 U32(16, container_row, oom_kills),
};

static const struct column label_columns[] = {
	U32(14, label_row, key),
	U32(15, label_row, value),
};

static const struct column process_columns[] = {
	CHANGE(10, process_row, pid),  U32(2, process_row, parent),
	U64(4, process_row, cgroup),   U32(5, process_row, comm),
	U32(6, process_row, exe),      U32(7, process_row, cmdline),
	TIME(8, process_row, time_us), STARTED(9, process_row, started_ns),
	U32(11, process_row, uid),
};

static const struct column nat_columns[] = {
	U32(1, nat_row, protocol),
	U32(2, nat_row, op),
	ADDRESS(3, nat_row, original_source),
	ADDRESS(4, nat_row, original_destination),
	U32(5, nat_row, original_source_port),
	U32(6, nat_row, original_destination_port),
	ADDRESS(7, nat_row, reply_source),
	ADDRESS(8, nat_row, reply_destination),
	U32(9, nat_row, reply_source_port),
	U32(10, nat_row, reply_destination_port),
	TIME(11, nat_row, time_us),
	U32(12, nat_row, zone),
	U32(13, nat_row, mark),
	U32(14, nat_row, netns),
};

static const struct column definition_columns[] = {
	U32(1, definition_row, slot),
	U32(2, definition_row, generation),
	U32(3, definition_row, protocol),
	U32(4, definition_row, flags),
	U32(5, definition_row, role),
	ADDRESS(6, definition_row, local),
	ADDRESS(7, definition_row, remote),
	U32(8, definition_row, local_port),
	U32(9, definition_row, remote_port),
	U32(10, definition_row, pid),
	U64(11, definition_row, cgroup),
	U64(12, definition_row, age_us),
	U64(13, definition_row, connect_us),
	U64(14, definition_row, total.tx_bytes),
	U64(15, definition_row, total.rx_bytes),
	U64(16, definition_row, total.tx_segments),
	U64(17, definition_row, total.rx_segments),
	U64(18, definition_row, total.retransmits),
	U32(19, definition_row, srtt_us),
	U32(20, definition_row, min_rtt_us),
	TIME(21, definition_row, time_us),
};

static const struct column update_columns[] = {
	CHANGE(1, update_row, slot),	 U64(2, update_row, tx_bytes),
	U64(3, update_row, rx_bytes),	 U32(4, update_row, tx_segments),
	U32(5, update_row, rx_segments), U32(6, update_row, srtt_us),
	TIME(7, update_row, time_us),
};

enum { UPDATES_RETRANSMITS_INDEX = 8, UPDATES_RETRANSMITS = 9, UPDATES_ZERO_WINDOW_INDEX = 10 };

static const struct column close_columns[] = {
	U32(1, close_row, slot),
	U32(2, close_row, reason),
	U32(3, close_row, pid),
	U64(4, close_row, total.tx_bytes),
	U64(5, close_row, total.rx_bytes),
	U64(6, close_row, total.tx_segments),
	U64(7, close_row, total.rx_segments),
	U64(8, close_row, total.retransmits),
	U32(9, close_row, min_rtt_us),
	U64(10, close_row, connect_us),
	TIME(11, close_row, time_us),
	U32(12, close_row, flags),
};

static const struct column exit_columns[] = {
	CHANGE(7, exit_row, pid),   U32(3, exit_row, status),	      U32(4, exit_row, signal),
	TIME(5, exit_row, time_us), STARTED(6, exit_row, started_ns),
};

static const struct column dns_columns[] = {
	U32(1, dns_row, slot),	  U32(2, dns_row, name),     U32(3, dns_row, type),
	U32(4, dns_row, rcode),	  U32(5, dns_row, flags),    U64(6, dns_row, latency_us),
	U32(7, dns_row, answers), TIME(8, dns_row, time_us),
};

static const struct column answer_columns[] = {
	ADDRESS(9, answer_row, address),
	U32(10, answer_row, ttl_s),
};

static const struct column sni_columns[] = {
	U32(1, sni_row, slot),
	U32(2, sni_row, name),
	TIME(3, sni_row, time_us),
};

static const struct column drop_columns[] = {
	U32(1, drop_row, reason),
	U32(2, drop_row, kind),
	U32(3, drop_row, protocol),
	ADDRESS(4, drop_row, source),
	ADDRESS(5, drop_row, destination),
	U32(6, drop_row, source_port),
	U32(7, drop_row, destination_port),
	U64(8, drop_row, packets),
	U64(9, drop_row, bytes),
	U32(10, drop_row, netns),
	U32(11, drop_row, socket),
	U32(12, drop_row, location),
	TIME(13, drop_row, time_us),
};

static const struct column listener_columns[] = {
	U64(1, listener_row, cookie),	   U32(2, listener_row, flags),
	ADDRESS(3, listener_row, address), U32(4, listener_row, port),
	U32(5, listener_row, netns),	   U32(6, listener_row, pid),
	U64(7, listener_row, cgroup),	   U32(8, listener_row, backlog),
	U32(9, listener_row, backlog_max), U64(10, listener_row, drops),
	TIME(11, listener_row, time_us),
};

/* A group's elements (of which each of its events has any number) are written in its message. */
enum group_kind {
	CONTAINERS,
	PROCESSES,
	NATS,
	DEFINITIONS,
	UPDATES,
	CLOSES,
	EXITS,
	DNS,
	DROPS,
	LISTENERS,
	SNI,
	GROUPS,
	LABELS = GROUPS,
	ANSWERS,
	ROWS,
};

#define GROUP(field, noun)                                                 \
	{                                                                  \
		field, sizeof(noun##_columns) / sizeof(noun##_columns[0]), \
			sizeof(struct noun##_row), noun##_columns          \
	}

static const struct group groups[ROWS] = {
	[CONTAINERS] = GROUP(22, container),
	[PROCESSES] = GROUP(23, process),
	[NATS] = GROUP(24, nat),
	[DEFINITIONS] = GROUP(25, definition),
	[UPDATES] = GROUP(26, update),
	[CLOSES] = GROUP(27, close),
	[EXITS] = GROUP(28, exit),
	[DNS] = GROUP(30, dns),
	[DROPS] = GROUP(31, drop),
	[LISTENERS] = GROUP(32, listener),
	[SNI] = GROUP(38, sni),
	[LABELS] = GROUP(0, label),
	[ANSWERS] = GROUP(0, answer),
};

/* Of a message that is no columns, written when it was put. */
struct message {
	uint8_t bytes[MESSAGE_BYTES];
	size_t length;
};

/*
 * rows: one array a group, of events_max rows, of elements so many times what an event can have;
 * pages that no event touches cost nothing.
 * slots: open addressing by slot to its update + 1; order: updates sorted by slot, made when
 * sealing. cost: bytes that the puts so far can take on the wire at most, dictionaries included.
 */
struct batch {
	struct batch_options options;
	uint8_t key[SEAL_KEY_BYTES];
	uint8_t *rows[ROWS];
	uint32_t counts[ROWS];
	struct message facts, state;
	uint32_t events;
	size_t cost;
	uint64_t base_time_us;
	uint64_t defined_us; /* time of the last definition, of whatever batch */
	uint64_t scan_us;    /* of the present scan */
	uint64_t sequence, first_event;
	struct dictionary addresses_v4, addresses_v6, strings;
	uint32_t *slots;
	uint32_t slots_mask;
	uint64_t *order, *order_scratch; /* slot << 32 | update */
	uint8_t *bytes;
};

struct batch *batch_new(const struct batch_options *options)
{
	assert(options->events_max > 0 && options->bytes_max > FRAME_BYTES);
	struct batch *batch = memory_zeroed(1, sizeof(*batch));
	batch->options = *options;
	if (options->key) {
		memcpy(batch->key, options->key, sizeof(batch->key));
		batch->options.key = batch->key;
	}
	for (int kind = 0; kind < GROUPS; kind++)
		batch->rows[kind] = memory_zeroed(options->events_max, groups[kind].row_size);
	/* An element takes at least 2 bytes on the wire. */
	batch->rows[LABELS] =
		memory_zeroed(options->bytes_max / 2 + BATCH_LABELS_MAX, groups[LABELS].row_size);
	batch->rows[ANSWERS] =
		memory_zeroed(options->bytes_max / 2 + BATCH_ANSWERS_MAX, groups[ANSWERS].row_size);
	/* Each entry takes its bytes on the wire, so bytes_max bounds the dictionaries; one event
	 * adds at most its own addresses and strings before it is known not to fit. */
	batch_dictionary_init(&batch->addresses_v4, options->bytes_max / V4_BYTES + ADDRESSES_MAX,
			      options->bytes_max + ADDRESSES_MAX * V4_BYTES);
	batch_dictionary_init(&batch->addresses_v6,
			      options->bytes_max / sizeof(struct address) + ADDRESSES_MAX,
			      options->bytes_max + ADDRESSES_MAX * sizeof(struct address));
	batch_dictionary_init(&batch->strings, options->bytes_max / 2 + STRINGS_MAX,
			      options->bytes_max + STRINGS_MAX * TEXT_MAX);
	batch_dictionary_put(&batch->strings, "", 0);
	batch->slots_mask = 15;
	while (batch->slots_mask + 1 < 2 * (uint64_t)options->events_max)
		batch->slots_mask = batch->slots_mask * 2 + 1;
	batch->slots = memory_zeroed((size_t)batch->slots_mask + 1, sizeof(*batch->slots));
	batch->order = memory_zeroed(options->events_max, sizeof(*batch->order));
	batch->order_scratch = memory_zeroed(options->events_max, sizeof(*batch->order_scratch));
	/* Columns are written behind room for their lengths before they move up. */
	batch->bytes = memory_zeroed((size_t)options->bytes_max + 2 * WIRE_LENGTH_MAX, 1);
	batch->cost = FRAME_BYTES;
	batch->base_time_us = UINT64_MAX;
	return batch;
}

void batch_free(struct batch *batch)
{
	if (!batch)
		return;
	for (int kind = 0; kind < ROWS; kind++)
		free(batch->rows[kind]);
	batch_dictionary_done(&batch->addresses_v4);
	batch_dictionary_done(&batch->addresses_v6);
	batch_dictionary_done(&batch->strings);
	free(batch->slots);
	free(batch->order);
	free(batch->order_scratch);
	free(batch->bytes);
	free(batch);
}

uint32_t batch_events(const struct batch *batch)
{
	return batch->events;
}

/* What a put has added to the dictionaries, so that it can be taken back. */
struct mark {
	uint32_t addresses_v4, addresses_v6, strings;
};

static struct mark batch_mark(const struct batch *batch)
{
	return (struct mark){batch->addresses_v4.count, batch->addresses_v6.count,
			     batch->strings.count};
}

static uint32_t put_address(struct batch *batch, const struct address *address)
{
	if (address_is_v4(address))
		return batch_dictionary_put(&batch->addresses_v4,
					    address->bytes + sizeof(*address) - V4_BYTES, V4_BYTES);
	return ADDRESS_V6 |
	       batch_dictionary_put(&batch->addresses_v6, address->bytes, sizeof(address->bytes));
}

/* The kernel's names are any bytes, proto3 strings are UTF-8: what is none becomes '?'. Cuts at
 * length_max. The length; no NUL follows. */
static size_t write_utf8(char *clean, size_t length_max, const char *text)
{
	/* Three bytes more, to tell a character that is cut by the bound from one that is broken.
	 */
	size_t left = text ? strnlen(text, length_max + 4) : 0;
	size_t length = 0;
	while (left > 0) {
		size_t character = utf8_length((const uint8_t *)text, left);
		size_t taken = character ? character : 1;
		if (length + taken > length_max)
			break;
		if (character)
			memcpy(clean + length, text, character);
		else
			clean[length] = '?';
		length += taken;
		text += taken;
		left -= taken;
	}
	return length;
}

static uint32_t put_text(struct batch *batch, const char *text, size_t length_max)
{
	char clean[BATCH_CMDLINE_MAX];
	return batch_dictionary_put(&batch->strings, clean, write_utf8(clean, length_max, text));
}

static uint64_t column_value(const struct column *column, const void *row)
{
	const uint8_t *at = (const uint8_t *)row + column->offset;
	bool wide = column->type == COLUMN_U64 || column->type == COLUMN_TIME ||
		    column->type == COLUMN_STARTED;
	return wide ? *(const uint64_t *)at : *(const uint32_t *)at;
}

static size_t row_cost(const struct group *group, const void *row)
{
	size_t cost = 0;
	for (int i = 0; i < group->columns_count; i++) {
		const struct column *column = &group->columns[i];
		if (column->type == COLUMN_TIME || column->type == COLUMN_STARTED)
			cost += TIME_BYTES;
		else if (column->type == COLUMN_CHANGE)
			cost += CHANGE_BYTES;
		else if (column->type == COLUMN_ADDRESS)
			cost += ADDRESS_BYTES;
		else
			cost += wire_varint_size(column_value(column, row));
	}
	return cost;
}

static size_t dictionaries_cost(const struct batch *batch, struct mark since)
{
	size_t cost = (batch->addresses_v4.count - since.addresses_v4) * V4_BYTES +
		      (batch->addresses_v6.count - since.addresses_v6) * sizeof(struct address);
	for (uint32_t i = since.strings; i < batch->strings.count; i++) {
		size_t length = batch->strings.ends[i] - batch_dictionary_start(&batch->strings, i);
		cost += 2 + wire_varint_size(length) + length;
	}
	return cost;
}

static void base_time_put(struct batch *batch, uint64_t time_us)
{
	if (time_us < batch->base_time_us)
		batch->base_time_us = time_us;
}

/* Adds a row of which the dictionary entries are in since `mark`. */
static bool batch_put(struct batch *batch, enum group_kind kind, const void *row, size_t extra,
		      struct mark mark)
{
	size_t cost = row_cost(&groups[kind], row) + extra + dictionaries_cost(batch, mark);
	if (batch->events == batch->options.events_max ||
	    batch->cost + cost > batch->options.bytes_max) {
		batch_dictionary_cut(&batch->addresses_v4, mark.addresses_v4);
		batch_dictionary_cut(&batch->addresses_v6, mark.addresses_v6);
		batch_dictionary_cut(&batch->strings, mark.strings);
		return false;
	}
	size_t row_size = groups[kind].row_size;
	memcpy(batch->rows[kind] + batch->counts[kind] * row_size, row, row_size);
	batch->counts[kind]++;
	batch->events++;
	batch->cost += cost;
	return true;
}

static bool batch_put_timed(struct batch *batch, enum group_kind kind, const void *row,
			    uint64_t time_us, struct mark mark)
{
	if (!batch_put(batch, kind, row, 0, mark))
		return false;
	base_time_put(batch, time_us);
	return true;
}

/* Puts element `number` of an event behind the group's; they count once the event is in. Returns
 * its cost. */
static size_t element_put(struct batch *batch, enum group_kind kind, uint32_t number,
			  const void *row)
{
	size_t size = groups[kind].row_size;
	memcpy(batch->rows[kind] + (batch->counts[kind] + number) * size, row, size);
	return row_cost(&groups[kind], row);
}

bool batch_container(struct batch *batch, const struct batch_container *container)
{
	struct mark mark = batch_mark(batch);
	struct container_row row = {
		.cgroup = container->cgroup,
		.id = put_text(batch, container->id, TEXT_MAX),
		.name = put_text(batch, container->name, TEXT_MAX),
		.image = put_text(batch, container->image, TEXT_MAX),
		.pod = put_text(batch, container->pod, TEXT_MAX),
		.namespace = put_text(batch, container->namespace, TEXT_MAX),
		.workload = put_text(batch, container->workload, TEXT_MAX),
		.unit = put_text(batch, container->unit, TEXT_MAX),
		.path = put_text(batch, container->path, TEXT_MAX),
		.version = put_text(batch, container->version, TEXT_MAX),
		.runtime = put_text(batch, container->runtime, TEXT_MAX),
		.pod_uid = put_text(batch, container->pod_uid, TEXT_MAX),
		.labels = container->labels_count < BATCH_LABELS_MAX ? container->labels_count
								     : BATCH_LABELS_MAX,
		.oom_kills = container->oom_kills,
	};
	size_t elements_cost = 0;
	for (uint32_t i = 0; i < row.labels; i++) {
		struct label_row label = {
			.key = put_text(batch, container->labels[i].key, TEXT_MAX),
			.value = put_text(batch, container->labels[i].value, TEXT_MAX),
		};
		elements_cost += element_put(batch, LABELS, i, &label);
	}
	if (!batch_put(batch, CONTAINERS, &row, elements_cost, mark))
		return false;
	batch->counts[LABELS] += row.labels;
	return true;
}

bool batch_process(struct batch *batch, const struct batch_process *process)
{
	struct mark mark = batch_mark(batch);
	struct process_row row = {
		.pid = process->pid,
		.parent = process->parent,
		.started_ns = process->started_ns,
		.cgroup = process->cgroup,
		.comm = put_text(batch, process->comm, COMM_MAX),
		.exe = put_text(batch, process->exe, TEXT_MAX),
		.cmdline = put_text(batch, process->cmdline, BATCH_CMDLINE_MAX),
		.uid = process->uid,
		.time_us = process->time_ns / NS_PER_US,
	};
	return batch_put_timed(batch, PROCESSES, &row, row.time_us, mark);
}

bool batch_nat(struct batch *batch, const struct batch_nat *nat)
{
	struct mark mark = batch_mark(batch);
	struct nat_row row = {
		.protocol = nat->protocol,
		.op = nat->ended,
		.original_source = put_address(batch, &nat->original_source),
		.original_destination = put_address(batch, &nat->original_destination),
		.reply_source = put_address(batch, &nat->reply_source),
		.reply_destination = put_address(batch, &nat->reply_destination),
		.original_source_port = nat->original_source_port,
		.original_destination_port = nat->original_destination_port,
		.reply_source_port = nat->reply_source_port,
		.reply_destination_port = nat->reply_destination_port,
		.zone = nat->zone,
		.mark = nat->mark,
		.netns = nat->netns,
		.time_us = nat->time_ns / NS_PER_US,
	};
	return batch_put_timed(batch, NATS, &row, row.time_us, mark);
}

bool batch_define(struct batch *batch, const struct batch_definition *definition)
{
	struct mark mark = batch_mark(batch);
	struct definition_row row = {
		.slot = definition->slot,
		.generation = definition->generation,
		.protocol = definition->protocol,
		.flags = definition->flags,
		.role = definition->role,
		.local = put_address(batch, &definition->local),
		.remote = put_address(batch, &definition->remote),
		.local_port = definition->local_port,
		.remote_port = definition->remote_port,
		.pid = definition->pid,
		.cgroup = definition->cgroup,
		.age_us = definition->age_ns / NS_PER_US,
		.connect_us = definition->connect_ns / NS_PER_US,
		.total = definition->total,
		.srtt_us = definition->srtt_us,
		.min_rtt_us = definition->min_rtt_us,
		.time_us = definition->time_ns / NS_PER_US,
	};
	if (!batch_put_timed(batch, DEFINITIONS, &row, row.time_us, mark))
		return false;
	batch->defined_us = row.time_us;
	return true;
}

/* The wire has 32 bits for segments moved; what does not fit comes with the next absolute. */
static uint32_t clamp_u32(uint64_t value)
{
	return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* The time of the scan that read the update: of its first update, or of the definition that came in
 * between, which might be the socket's. */
static uint64_t scan_time(struct batch *batch, uint64_t time_us)
{
	uint64_t scan_us = batch->scan_us;
	if (time_us < scan_us || time_us - scan_us > batch->options.scan_ns / NS_PER_US)
		scan_us = time_us;
	if (scan_us < batch->defined_us)
		scan_us = batch->defined_us < time_us ? batch->defined_us : time_us;
	return scan_us;
}

static size_t update_cost(const struct update_row *row)
{
	return row_cost(&groups[UPDATES], row) + (row->retransmits ? SPARSE_BYTES : 0) +
	       (row->zero_window ? SPARSE_BYTES : 0);
}

/* The slot's place in the table: where its update is, or an empty one. */
static uint32_t slot_place(const struct batch *batch, uint32_t slot)
{
	const struct update_row *updates = (const struct update_row *)batch->rows[UPDATES];
	uint32_t place = (uint32_t)hash_mix(slot) & batch->slots_mask;
	while (batch->slots[place] && updates[batch->slots[place] - 1].slot != slot)
		place = (place + 1) & batch->slots_mask;
	return place;
}

static bool update_merge(struct batch *batch, struct update_row *row,
			 const struct batch_update *update)
{
	struct update_row sum = *row;
	sum.tx_bytes += update->moved.tx_bytes;
	sum.rx_bytes += update->moved.rx_bytes;
	sum.tx_segments = clamp_u32(sum.tx_segments + update->moved.tx_segments);
	sum.rx_segments = clamp_u32(sum.rx_segments + update->moved.rx_segments);
	sum.retransmits = clamp_u32(sum.retransmits + update->moved.retransmits);
	if (update->srtt_us)
		sum.srtt_us = update->srtt_us;
	sum.zero_window = update->zero_window;
	if (update->time_ns / NS_PER_US > sum.time_us)
		sum.time_us = update->time_ns / NS_PER_US;
	size_t cost = batch->cost - update_cost(row) + update_cost(&sum);
	if (cost > batch->options.bytes_max)
		return false;
	batch->cost = cost;
	*row = sum;
	return true;
}

bool batch_update(struct batch *batch, const struct batch_update *update)
{
	uint32_t place = slot_place(batch, update->slot);
	struct update_row *updates = (struct update_row *)batch->rows[UPDATES];
	if (batch->slots[place])
		return update_merge(batch, &updates[batch->slots[place] - 1], update);
	struct update_row row = {
		.slot = update->slot,
		.tx_bytes = update->moved.tx_bytes,
		.rx_bytes = update->moved.rx_bytes,
		.tx_segments = clamp_u32(update->moved.tx_segments),
		.rx_segments = clamp_u32(update->moved.rx_segments),
		.retransmits = clamp_u32(update->moved.retransmits),
		.srtt_us = update->srtt_us,
		.zero_window = update->zero_window,
		.time_us = scan_time(batch, update->time_ns / NS_PER_US),
		.place = place,
	};
	size_t sparse = update_cost(&row) - row_cost(&groups[UPDATES], &row);
	if (!batch_put(batch, UPDATES, &row, sparse, batch_mark(batch)))
		return false;
	batch->slots[place] = batch->counts[UPDATES];
	batch->scan_us = row.time_us;
	base_time_put(batch, row.time_us);
	return true;
}

bool batch_close(struct batch *batch, const struct batch_close *close)
{
	struct close_row row = {
		.slot = close->slot,
		.reason = close->reason,
		.pid = close->pid,
		.total = close->total,
		.min_rtt_us = close->min_rtt_us,
		.connect_us = close->connect_ns / NS_PER_US,
		.flags = close->flags,
		.time_us = close->time_ns / NS_PER_US,
	};
	return batch_put_timed(batch, CLOSES, &row, row.time_us, batch_mark(batch));
}

bool batch_exit(struct batch *batch, const struct batch_exit *exit)
{
	struct exit_row row = {
		.pid = exit->pid,
		.started_ns = exit->started_ns,
		.status = exit->status,
		.signal = exit->signal,
		.time_us = exit->time_ns / NS_PER_US,
	};
	return batch_put_timed(batch, EXITS, &row, row.time_us, batch_mark(batch));
}

bool batch_dns(struct batch *batch, const struct batch_dns *dns)
{
	struct mark mark = batch_mark(batch);
	struct dns_row row = {
		.slot = dns->slot,
		.name = put_text(batch, dns->name, TEXT_MAX),
		.type = dns->type,
		.rcode = dns->rcode,
		.flags = dns->flags,
		.latency_us = dns->latency_ns / NS_PER_US,
		.answers = dns->answers_count < BATCH_ANSWERS_MAX ? dns->answers_count
								  : BATCH_ANSWERS_MAX,
		.time_us = dns->time_ns / NS_PER_US,
	};
	size_t elements_cost = 0;
	for (uint32_t i = 0; i < row.answers; i++) {
		struct answer_row answer = {
			.address = put_address(batch, &dns->answers[i].address),
			.ttl_s = dns->answers[i].ttl_s,
		};
		elements_cost += element_put(batch, ANSWERS, i, &answer);
	}
	if (!batch_put(batch, DNS, &row, elements_cost, mark))
		return false;
	batch->counts[ANSWERS] += row.answers;
	base_time_put(batch, row.time_us);
	return true;
}

bool batch_sni(struct batch *batch, const struct batch_sni *sni)
{
	struct mark mark = batch_mark(batch);
	struct sni_row row = {
		.slot = sni->slot,
		.name = put_text(batch, sni->name, TEXT_MAX),
		.time_us = sni->time_ns / NS_PER_US,
	};
	return batch_put_timed(batch, SNI, &row, row.time_us, mark);
}

bool batch_drop(struct batch *batch, const struct batch_drop *drop)
{
	struct mark mark = batch_mark(batch);
	struct drop_row row = {
		.reason = put_text(batch, drop->reason, TEXT_MAX),
		.kind = drop->icmp,
		.protocol = drop->protocol,
		.source = put_address(batch, &drop->source),
		.destination = put_address(batch, &drop->destination),
		.source_port = drop->source_port,
		.destination_port = drop->destination_port,
		.packets = drop->packets,
		.bytes = drop->bytes,
		.netns = drop->netns,
		.socket = drop->socket,
		.location = put_text(batch, drop->location, TEXT_MAX),
		.time_us = drop->time_ns / NS_PER_US,
	};
	return batch_put_timed(batch, DROPS, &row, row.time_us, mark);
}

bool batch_listener(struct batch *batch, const struct batch_listener *listener)
{
	struct mark mark = batch_mark(batch);
	struct listener_row row = {
		.cookie = listener->cookie,
		.flags = listener->flags,
		.address = put_address(batch, &listener->address),
		.port = listener->port,
		.netns = listener->netns,
		.pid = listener->pid,
		.cgroup = listener->cgroup,
		.backlog = listener->backlog,
		.backlog_max = listener->backlog_max,
		.drops = listener->drops,
		.time_us = listener->time_ns / NS_PER_US,
	};
	return batch_put_timed(batch, LISTENERS, &row, row.time_us, mark);
}

static uint8_t *write_text(uint8_t *at, uint32_t field, const char *text)
{
	char clean[HEADER_TEXT_MAX];
	return wire_bytes(at, field, clean, write_utf8(clean, HEADER_TEXT_MAX, text));
}

/* An element of a repeated field is written when it is empty, too. */
static uint8_t *write_texts(uint8_t *at, uint32_t field, const char *const *texts, uint32_t count)
{
	char clean[HEADER_TEXT_MAX];
	for (uint32_t i = 0; i < count; i++)
		at = wire_element(at, field, clean, write_utf8(clean, HEADER_TEXT_MAX, texts[i]));
	return at;
}

static uint8_t *write_double(uint8_t *at, uint32_t field, double value)
{
	uint64_t bits;
	memcpy(&bits, &value, sizeof(bits));
	return wire_fixed64(at, field, bits);
}

static uint8_t *write_labels(uint8_t *at, uint32_t field, const struct batch_label *labels,
			     uint32_t count)
{
	for (uint32_t i = 0; i < count && i < BATCH_LABELS_MAX; i++) {
		uint8_t *mark = wire_tag(at, field, WIRE_LENGTH);
		uint8_t *end = wire_content(mark);
		end = write_text(end, 1, labels[i].key);
		end = write_text(end, 2, labels[i].value);
		at = wire_end(mark, end);
	}
	return at;
}

/* What was written into scratch becomes the message, if there is room for it. */
static bool message_put(struct batch *batch, struct message *message,
			const uint8_t scratch[MESSAGE_BYTES], const uint8_t *end)
{
	size_t length = (size_t)(end - scratch);
	size_t cost = batch->cost - message->length + length;
	if (cost > batch->options.bytes_max)
		return false;
	batch->cost = cost;
	memcpy(message->bytes, scratch, length);
	message->length = length;
	return true;
}

bool batch_facts(struct batch *batch, const struct batch_facts *facts)
{
	uint8_t scratch[MESSAGE_BYTES + WIRE_LENGTH_MAX], *at = scratch;
	at = write_text(at, 1, facts->kernel);
	at = write_text(at, 2, facts->os);
	at = write_text(at, 3, facts->architecture);
	at = wire_uint(at, 4, facts->cpus);
	at = wire_uint(at, 5, facts->memory_bytes);
	at = wire_uint(at, 6, facts->booted_ns / NS_PER_US);
	at = write_text(at, 7, facts->cloud);
	at = write_text(at, 8, facts->instance_id);
	at = write_text(at, 9, facts->instance_type);
	at = write_labels(at, 10, facts->labels, facts->labels_count);
	return message_put(batch, &batch->facts, scratch, at);
}

static uint32_t clamp_count(uint32_t count, uint32_t max)
{
	return count < max ? count : max;
}

static uint8_t *write_losses(uint8_t *at, uint32_t field, const struct batch_loss *losses,
			     uint32_t count)
{
	for (uint32_t i = 0; i < clamp_count(count, BATCH_LOSSES_MAX); i++) {
		uint8_t *mark = wire_tag(at, field, WIRE_LENGTH);
		uint8_t *end = wire_content(mark);
		end = write_text(end, 1, losses[i].place);
		end = write_text(end, 2, losses[i].kind);
		end = wire_uint(end, 3, losses[i].events);
		at = wire_end(mark, end);
	}
	return at;
}

bool batch_state(struct batch *batch, const struct batch_state *state)
{
	uint8_t scratch[MESSAGE_BYTES + WIRE_LENGTH_MAX], *at = scratch;
	at = wire_uint(at, 1, state->level);
	at = write_text(at, 2, state->degraded);
	at = write_double(at, 3, state->cpu_share);
	at = write_double(at, 4, state->cpu_budget);
	at = write_texts(at, 5, state->features,
			 clamp_count(state->features_count, BATCH_FEATURES_MAX));
	at = write_texts(at, 6, state->missing,
			 clamp_count(state->missing_count, BATCH_MISSING_MAX));
	at = write_text(at, 7, state->control_id);
	at = write_text(at, 8, state->control_error);
	at = wire_uint(at, 9, state->programs);
	at = wire_uint(at, 10, state->programs_wanted);
	at = wire_uint(at, 11, state->self_tests);
	at = wire_uint(at, 12, state->self_tests_failed);
	at = write_losses(at, 13, state->losses, state->losses_count);
	return message_put(batch, &batch->state, scratch, at);
}

/* Radix sort by slot, a byte a pass; passes in which all keys agree are skipped. qsort may
 * allocate. */
static const uint64_t *batch_sort(struct batch *batch)
{
	const struct update_row *updates = (const struct update_row *)batch->rows[UPDATES];
	uint32_t count = batch->counts[UPDATES];
	uint64_t *from = batch->order, *to = batch->order_scratch;
	for (uint32_t i = 0; i < count; i++)
		from[i] = (uint64_t)updates[i].slot << 32 | i;
	for (unsigned shift = 32; shift < 64; shift += 8) {
		uint32_t starts[257] = {0};
		for (uint32_t i = 0; i < count; i++)
			starts[(from[i] >> shift & 0xff) + 1]++;
		if (count == 0 || starts[(from[0] >> shift & 0xff) + 1] == count)
			continue;
		for (int digit = 1; digit < 257; digit++)
			starts[digit] += starts[digit - 1];
		for (uint32_t i = 0; i < count; i++)
			to[starts[from[i] >> shift & 0xff]++] = from[i];
		uint64_t *swap = from;
		from = to;
		to = swap;
	}
	return from;
}

/* What the columns of a group share when they are written. */
struct writing {
	const struct group *group;
	const uint8_t *rows;
	const uint64_t *order; /* NULL: of puts */
	uint32_t count;
	uint32_t v4_count; /* addresses */
	uint64_t time_us, boottime_ns;
};

/* What the first row's difference is to. */
static uint64_t column_base(const struct writing *writing, const struct column *column)
{
	if (column->type == COLUMN_TIME)
		return writing->time_us;
	return column->type == COLUMN_STARTED ? writing->boottime_ns : 0;
}

static uint64_t column_number(const struct writing *writing, const struct column *column,
			      uint64_t value, uint64_t before)
{
	switch (column->type) {
	case COLUMN_TIME:
	case COLUMN_STARTED:
		return wire_zigzag((int64_t)(value - before));
	case COLUMN_CHANGE: /* wraps at 32 bits, as the reader's sum does */
		return wire_zigzag((int32_t)(value - before));
	case COLUMN_ADDRESS:
		return value & ADDRESS_V6 ? (value ^ ADDRESS_V6) + writing->v4_count : value;
	}
	return value;
}

/* A column of zeros is left out, but not the group's first, which tells the number of events, nor
 * one that stands for another. */
static bool column_is_needed(const struct writing *writing, const struct column *column)
{
	return column == writing->group->columns || column->type == COLUMN_STARTED;
}

static uint8_t *write_column(uint8_t *at, const struct writing *writing,
			     const struct column *column)
{
	uint8_t *mark = wire_tag(at, column->field, WIRE_LENGTH);
	uint8_t *end = wire_content(mark);
	uint64_t before = column_base(writing, column), seen = 0;
	for (uint32_t i = 0; i < writing->count; i++) {
		uint32_t row = writing->order ? (uint32_t)writing->order[i] : i;
		uint64_t value =
			column_value(column, writing->rows + row * writing->group->row_size);
		uint64_t number = column_number(writing, column, value, before);
		end = wire_varint(end, number);
		seen |= number;
		before = value;
	}
	return seen || column_is_needed(writing, column) ? wire_end(mark, end) : at;
}

static uint8_t *write_retransmits(uint8_t *at, const struct batch *batch, const uint64_t *order)
{
	const struct update_row *updates = (const struct update_row *)batch->rows[UPDATES];
	uint8_t *mark = wire_tag(at, UPDATES_RETRANSMITS_INDEX, WIRE_LENGTH);
	uint8_t *end = wire_content(mark);
	uint32_t before = 0, found = 0;
	for (uint32_t i = 0; i < batch->counts[UPDATES]; i++) {
		if (!updates[(uint32_t)order[i]].retransmits)
			continue;
		end = wire_varint(end, i - before);
		before = i;
		found++;
	}
	if (!found)
		return at;
	at = wire_end(mark, end);
	mark = wire_tag(at, UPDATES_RETRANSMITS, WIRE_LENGTH);
	end = wire_content(mark);
	for (uint32_t i = 0; i < batch->counts[UPDATES]; i++) {
		uint32_t retransmits = updates[(uint32_t)order[i]].retransmits;
		if (retransmits)
			end = wire_varint(end, retransmits);
	}
	return wire_end(mark, end);
}

static uint8_t *write_zero_windows(uint8_t *at, const struct batch *batch, const uint64_t *order)
{
	const struct update_row *updates = (const struct update_row *)batch->rows[UPDATES];
	uint8_t *mark = wire_tag(at, UPDATES_ZERO_WINDOW_INDEX, WIRE_LENGTH);
	uint8_t *content = wire_content(mark), *end = content;
	uint32_t before = 0;
	for (uint32_t i = 0; i < batch->counts[UPDATES]; i++) {
		if (!updates[(uint32_t)order[i]].zero_window)
			continue;
		end = wire_varint(end, i - before);
		before = i;
	}
	return end == content ? at : wire_end(mark, end);
}

/* The columns of one kind's rows, into a message that is begun. */
static uint8_t *write_columns(uint8_t *at, const struct writing *writing)
{
	for (int i = 0; i < writing->group->columns_count; i++)
		at = write_column(at, writing, &writing->group->columns[i]);
	return at;
}

static uint8_t *write_elements(uint8_t *at, struct batch *batch, enum group_kind kind)
{
	struct writing writing = {
		.group = &groups[kind],
		.rows = batch->rows[kind],
		.count = batch->counts[kind],
		.v4_count = batch->addresses_v4.count,
	};
	return writing.count ? write_columns(at, &writing) : at;
}

static uint8_t *write_group(uint8_t *at, struct batch *batch, enum group_kind kind,
			    uint64_t base_time_us, uint64_t boottime_ns)
{
	struct writing writing = {
		.group = &groups[kind],
		.rows = batch->rows[kind],
		.order = kind == UPDATES ? batch_sort(batch) : NULL,
		.count = batch->counts[kind],
		.v4_count = batch->addresses_v4.count,
		.time_us = base_time_us,
		.boottime_ns = boottime_ns,
	};
	if (writing.count == 0)
		return at;
	uint8_t *mark = wire_tag(at, writing.group->field, WIRE_LENGTH);
	uint8_t *end = wire_content(mark);
	end = write_columns(end, &writing);
	if (kind == UPDATES) {
		end = write_retransmits(end, batch, writing.order);
		end = write_zero_windows(end, batch, writing.order);
	}
	if (kind == CONTAINERS)
		end = write_elements(end, batch, LABELS);
	if (kind == DNS)
		end = write_elements(end, batch, ANSWERS);
	return wire_end(mark, end);
}

static uint8_t *write_header(uint8_t *at, const struct batch *batch,
			     const struct batch_sender *sender, uint64_t base_time_us,
			     uint64_t boottime_ns, uint64_t realtime_ns)
{
	at = write_text(at, 1, sender->node);
	at = wire_uint(at, 2, SCHEMA_VERSION);
	at = wire_bytes(at, 4, sender->boot_id, sizeof(sender->boot_id));
	at = wire_fixed64(at, 5, sender->epoch);
	at = wire_uint(at, 6, batch->sequence);
	at = wire_uint(at, 7, batch->first_event);
	at = wire_uint(at, 8, batch->events);
	at = wire_fixed64(at, 9, base_time_us);
	at = wire_fixed64(at, 10, boottime_ns);
	at = wire_fixed64(at, 11, realtime_ns);
	at = wire_uint(at, 12, sender->dropped_ring);
	at = wire_uint(at, 13, sender->dropped_netlink);
	at = wire_uint(at, 14, sender->dropped_spool);
	at = write_text(at, 15, sender->zone);
	at = write_text(at, 16, sender->region);
	at = write_text(at, 17, sender->role);
	at = write_text(at, 18, sender->agent_version);
	at = wire_uint(at, 19, sender->scan_period_ms);
	return write_text(at, 35, sender->key_id);
}

static uint8_t *write_dictionaries(uint8_t *at, const struct batch *batch)
{
	at = wire_bytes(at, 20, batch->addresses_v6.bytes,
			batch_dictionary_bytes(&batch->addresses_v6));
	at = wire_bytes(at, 29, batch->addresses_v4.bytes,
			batch_dictionary_bytes(&batch->addresses_v4));
	if (batch->strings.count == 1)
		return at; /* nothing refers to a string */
	for (uint32_t i = 0; i < batch->strings.count; i++) {
		uint32_t start = batch_dictionary_start(&batch->strings, i);
		at = wire_element(at, 21, batch->strings.bytes + start,
				  batch->strings.ends[i] - start);
	}
	return at;
}

static void batch_clear(struct batch *batch)
{
	const struct update_row *updates = (const struct update_row *)batch->rows[UPDATES];
	for (uint32_t i = 0; i < batch->counts[UPDATES]; i++)
		batch->slots[updates[i].place] = 0;
	memset(batch->counts, 0, sizeof(batch->counts));
	batch_dictionary_cut(&batch->addresses_v4, 0);
	batch_dictionary_cut(&batch->addresses_v6, 0);
	batch_dictionary_cut(&batch->strings, 1);
	batch->events = 0;
	batch->cost = FRAME_BYTES;
	batch->base_time_us = UINT64_MAX;
	batch->scan_us = 0;
	batch->facts.length = batch->state.length = 0;
}

void batch_key(struct batch *batch, const uint8_t *key)
{
	if (key)
		memcpy(batch->key, key, sizeof(batch->key));
	batch->options.key = key ? batch->key : NULL;
}

struct batch_bytes batch_seal(struct batch *batch, const struct batch_sender *sender,
			      uint64_t boottime_ns, uint64_t realtime_ns)
{
	uint64_t base_time_us = batch->base_time_us;
	if (base_time_us == UINT64_MAX)
		base_time_us = realtime_ns / NS_PER_US;
	uint8_t *at =
		write_header(batch->bytes, batch, sender, base_time_us, boottime_ns, realtime_ns);
	at = write_dictionaries(at, batch);
	for (int kind = 0; kind < GROUPS; kind++)
		at = write_group(at, batch, kind, base_time_us, boottime_ns);
	at = wire_bytes(at, 33, batch->facts.bytes, batch->facts.length);
	at = wire_bytes(at, 34, batch->state.bytes, batch->state.length);
	size_t length = (size_t)(at - batch->bytes);
	if (batch->options.key) {
		seal_sign(batch->key, batch->bytes, length);
		length += SEAL_TRAILER_BYTES;
	}
	assert(length <= batch->options.bytes_max);
	struct batch_bytes sealed = {batch->bytes, length, batch->events};
	batch->sequence++;
	batch->first_event += batch->events;
	batch_clear(batch);
	return sealed;
}
