#include "daemon/encode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/batch/seal.h"
#include "base/clock.h"
#include "base/memory.h"
#include "daemon/wire.h"
#include "millrace/v1/alerts.pb-c.h"
#include "millrace/v1/events.pb-c.h"

enum {
	SCHEMA_VERSION = 1,
	HEAD_BYTES_MAX = 4096,	    /* of a record that could not be read */
	DECODE_BYTES_MAX = 1 << 20, /* what unpacking one of our own small records may take */
	BLOCK_BYTES = 256 * 1024,   /* of scratch memory */
	/* Edges and instances whose encoding is remembered: as many as a task sees in turns. What
	 * is longer than a fragment is made anew each time. 3 MB an encoder if all are used. */
	EDGE_FRAGMENTS = 4096,
	INSTANCE_FRAGMENTS = 8192,
	FRAGMENT_BYTES = 244,
	/* Of a flow or a row: at most 14 names of 255 bytes, 5 addresses, all numbers. */
	THING_BYTES_MAX = 8192,
	CELL_BYTES_MAX = 7,
	HEX_DIGITS = 16,
	AHEAD = 2, /* rows whose fragments are fetched before their turn */
};

/* An edge or instance as the wire has it: ids are hashes of all that is in it but resolutions. */
struct fragment {
	uint64_t id; /* 0: free */
	uint16_t resolutions;
	uint8_t length;
	bool recent; /* of its pair's first: it was asked for last */
	uint8_t bytes[FRAGMENT_BYTES];
};

/* Scratch memory of one message: blocks that are kept and used again. */
struct block {
	struct block *next;
	size_t size, used;
	uint8_t bytes[];
};

struct octet {
	char text[4];
	uint32_t length;
};

struct encoder {
	struct octet octets[256];
	struct block *blocks;
	uint8_t *out;
	size_t out_max;
	struct wire wire;
	struct fragment *edges, *instances;
	struct wire counters; /* their names, as each record of rollups begins */
};

static void *scratch(struct encoder *encoder, size_t size)
{
	struct block *block = encoder->blocks;

	size = (size + 15) & ~(size_t)15;
	if (!block || block->size - block->used < size) {
		size_t bytes = size > BLOCK_BYTES ? size : BLOCK_BYTES;

		block = memory_zeroed(1, sizeof(*block) + bytes);
		block->size = bytes;
		block->next = encoder->blocks;
		encoder->blocks = block;
	}

	void *memory = block->bytes + block->used;

	block->used += size;
	memset(memory, 0, size);
	return memory;
}

/* Keeps one block, the newest. */
static void scratch_clear(struct encoder *encoder)
{
	struct block *block = encoder->blocks ? encoder->blocks->next : NULL;

	while (block) {
		struct block *next = block->next;

		free(block);
		block = next;
	}
	if (encoder->blocks) {
		encoder->blocks->next = NULL;
		encoder->blocks->used = 0;
	}
}

void encoder_free(struct encoder *encoder)
{
	if (!encoder)
		return;
	scratch_clear(encoder);
	free(encoder->blocks);
	free(encoder->out);
	free(encoder->edges);
	free(encoder->instances);
	free(encoder->wire.bytes);
	free(encoder->counters.bytes);
	free(encoder);
}

static uint8_t *out_room(struct encoder *encoder, size_t length)
{
	if (length > encoder->out_max) {
		encoder->out_max = memory_grown(encoder->out_max, length);
		encoder->out = memory_resize(encoder->out, encoder->out_max, 1);
	}
	return encoder->out;
}

static struct encoded packed(struct encoder *encoder, const ProtobufCMessage *message)
{
	size_t length = protobuf_c_message_get_packed_size(message);

	protobuf_c_message_pack(message, out_room(encoder, length));
	scratch_clear(encoder);
	return (struct encoded){encoder->out, length};
}

/* --- words --- */

static char *text(struct encoder *encoder, const char *from)
{
	size_t length = strlen(from) + 1;

	return memcpy(scratch(encoder, length), from, length);
}

static char *hex_id(struct encoder *encoder, uint64_t id)
{
	char *hex = scratch(encoder, 17);

	snprintf(hex, 17, "%016llx", (unsigned long long)id);
	return hex;
}

/* A name, or "#" and its id where its bytes have not come. */
static char *named(struct encoder *encoder, const struct names *names, uint64_t id)
{
	const struct name *name = id ? names_get(names, id) : NULL;

	if (!id)
		return text(encoder, "");
	if (name)
		return text(encoder, name->bytes);

	char *unknown = scratch(encoder, 18);

	snprintf(unknown, 18, "#%016llx", (unsigned long long)id);
	return unknown;
}

static char *protocol_text(struct encoder *encoder, uint8_t protocol)
{
	char *number = scratch(encoder, 8);

	if (protocol == 6)
		return text(encoder, "tcp");
	if (protocol == 17)
		return text(encoder, "udp");
	if (protocol)
		snprintf(number, 8, "ip-%u", protocol);
	return number;
}

/* Of the close reasons, with their lengths: one is in each end of each flow. */
static const struct {
	const char *text;
	size_t length;
} reasons[CLOSE_REASONS] = {
#define REASON(word)                   \
	{                              \
		word, sizeof(word) - 1 \
	}
	[CLOSE_UNKNOWN] = REASON(""),
	[CLOSE_NORMAL] = REASON("normal"),
	[CLOSE_RESET] = REASON("reset"),
	[CLOSE_TIMEOUT] = REASON("timeout"),
	[CLOSE_REFUSED] = REASON("refused"),
	[CLOSE_CONNECT_TIMEOUT] = REASON("connect_timeout"),
	[CLOSE_UNREACHABLE] = REASON("unreachable"),
	[CLOSE_ABORTED] = REASON("aborted"),
	[CLOSE_VANISHED] = REASON("vanished"),
#undef REASON
};

/* --- words on the wire --- */

/* Eight hex digits, the first in the lowest byte: nibbles spread, then letters where they are above
 * nine. */
static uint64_t hex_digits(uint32_t value)
{
	uint64_t x = value;

	x = (x & 0x00000000ffff0000) << 16 | (x & 0x000000000000ffff);
	x = (x & 0x0000ff000000ff00) << 8 | (x & 0x000000ff000000ff);
	x = (x & 0x00f000f000f000f0) << 4 | (x & 0x000f000f000f000f);

	uint64_t letters = (x + 0x0606060606060606) >> 4 & 0x0101010101010101;

	return __builtin_bswap64(x + 0x3030303030303030 + letters * ('a' - '9' - 1));
}

static void write_hex(char to[HEX_DIGITS], uint64_t id)
{
	const uint64_t digits[] = {hex_digits((uint32_t)(id >> 32)), hex_digits((uint32_t)id)};

	memcpy(to, digits, sizeof(digits));
}

static uint8_t *put_id(uint8_t *at, unsigned field, uint64_t id)
{
	char hex[HEX_DIGITS];

	write_hex(hex, id);
	return put_text(at, field, hex, sizeof(hex));
}

/* As named() shows it; known becomes false if the name's bytes are not here. */
static uint8_t *put_name(uint8_t *at, unsigned field, const struct names *names, uint64_t id,
			 bool *known)
{
	const struct name *name = id ? names_get(names, id) : NULL;
	char unknown[1 + HEX_DIGITS] = "#";

	if (!id)
		return at;
	if (name)
		return put_text(at, field, name->bytes, name->length);
	*known = false;
	write_hex(unknown + 1, id);
	return put_text(at, field, unknown, sizeof(unknown));
}

static uint8_t *put_words(uint8_t *at, unsigned field, const char *words)
{
	return put_text(at, field, words, strlen(words));
}

static uint8_t *put_protocol(uint8_t *at, unsigned field, uint8_t protocol)
{
	char number[8];

	if (protocol == 6)
		return put_text(at, field, "tcp", 3);
	if (protocol == 17)
		return put_text(at, field, "udp", 3);
	if (!protocol)
		return at;
	return put_text(at, field, number,
			(size_t)snprintf(number, sizeof(number), "ip-%u", protocol));
}

/* A dot and up to three digits, at the end of four bytes. */
static void octets_init(struct octet octets[256])
{
	for (unsigned i = 0; i < 256; i++) {
		struct octet *octet = &octets[i];
		unsigned left = i;

		do {
			octet->text[3 - octet->length++] = (char)('0' + left % 10);
			left /= 10;
		} while (left);
		octet->text[3 - octet->length++] = '.';
	}
}

static uint8_t *put_octet(uint8_t *at, const struct octet *octet)
{
	memcpy(at - sizeof(octet->text), octet->text, sizeof(octet->text));
	return at - octet->length;
}

/* Dotted quads are most of all texts here. */
static uint8_t *put_address(const struct encoder *encoder, uint8_t *at, unsigned field,
			    const struct address *address)
{
	const uint8_t *end = at;
	char words[ADDRESS_TEXT_MAX];

	if (!address_is_v4(address))
		return put_text(at, field, words, address_format(address, words));
	for (unsigned i = 15; i >= 12; i--)
		at = put_octet(at, &encoder->octets[address->bytes[i]]);
	return put_message(at + 1, field, end); /* no dot before the first */
}

/* --- edges and instances --- */

/* Two places for each id; of two that want the same both stay. */
struct fragments_pair {
	struct fragment *one, *other;
};

static struct fragments_pair fragments_of(struct fragment *fragments, uint64_t id, unsigned count)
{
	size_t at = id % (count / 2) * 2;

	return (struct fragments_pair){&fragments[at], &fragments[at + 1]};
}

static struct fragments_pair edge_fragments(const struct encoder *encoder, const struct edge *edge)
{
	return fragments_of(encoder->edges, edge->id, EDGE_FRAGMENTS);
}

static struct fragments_pair instance_fragments(const struct encoder *encoder,
						const struct instance *instance)
{
	return fragments_of(encoder->instances, instance->id, INSTANCE_FRAGMENTS);
}

static bool fragment_is(const struct fragment *fragment, uint64_t id, uint16_t resolutions)
{
	return fragment->id == id && fragment->resolutions == resolutions;
}

/* NULL if neither is it. */
static const struct fragment *fragment_find(struct fragments_pair pair, uint64_t id,
					    uint16_t resolutions)
{
	bool first = fragment_is(pair.one, id, resolutions);

	if (!first && !fragment_is(pair.other, id, resolutions))
		return NULL;
	if (pair.one->recent != first)
		pair.one->recent = first;
	return first ? pair.one : pair.other;
}

/* Remembers these bytes, in place of the less recent. */
static void fragment_keep(struct fragments_pair pair, uint64_t id, uint16_t resolutions,
			  const uint8_t *bytes, const uint8_t *end)
{
	struct fragment *fragment = pair.one->recent ? pair.other : pair.one;
	size_t length = (size_t)(end - bytes);

	if (length > FRAGMENT_BYTES)
		return;
	fragment->id = id;
	fragment->resolutions = resolutions;
	fragment->length = (uint8_t)length;
	pair.one->recent = fragment == pair.one;
	memcpy(fragment->bytes, bytes, length);
}

static void fragments_prefetch(struct fragments_pair pair)
{
	for (size_t at = 0; at < 2 * sizeof(*pair.one); at += 64)
		__builtin_prefetch((const char *)pair.one + at);
}

/* client, server: an end that no agent saw has no name but its address, unless a server was told of
 * there; NULL: the edge's own name. */
static uint8_t *put_edge_fields(const struct encoder *encoder, uint8_t *at, const struct edge *edge,
				const struct names *names, const struct address *client,
				const struct address *server, bool *known)
{
	at = put_words(at, 7, resolution_name(edge->server_resolution));
	at = put_words(at, 6, resolution_name(edge->client_resolution));
	at = put_protocol(at, 5, edge->protocol);
	at = put_number(at, 4, edge->port);
	at = server ? put_address(encoder, at, 3, server)
		    : put_name(at, 3, names, edge->server, known);
	at = client ? put_address(encoder, at, 2, client)
		    : put_name(at, 2, names, edge->client, known);
	return put_id(at, 1, edge->id);
}

static uint8_t *put_edge(struct encoder *encoder, uint8_t *at, unsigned field,
			 const struct edge *edge, const struct names *names,
			 const struct address *client, const struct address *server)
{
	struct fragments_pair pair = edge_fragments(encoder, edge);
	uint16_t resolutions = (uint16_t)(edge->client_resolution | edge->server_resolution << 8);
	bool known = edge->id && !client && !server;
	const struct fragment *fragment = known ? fragment_find(pair, edge->id, resolutions) : NULL;
	const uint8_t *end = at;

	if (fragment)
		return put_message(put_raw(at, fragment->bytes, fragment->length), field, end);
	at = put_edge_fields(encoder, at, edge, names, client, server, &known);
	if (known)
		fragment_keep(pair, edge->id, resolutions, at, end);
	return put_message(at, field, end);
}

static uint8_t *put_instance(struct encoder *encoder, uint8_t *at, unsigned field,
			     const struct instance *instance, const struct names *names)
{
	struct fragments_pair pair = instance_fragments(encoder, instance);
	uint16_t resolutions = (uint16_t)instance->resolution;
	bool known = instance->id != 0;
	const struct fragment *fragment =
		known ? fragment_find(pair, instance->id, resolutions) : NULL;
	const uint8_t *end = at;

	if (fragment)
		return put_message(put_raw(at, fragment->bytes, fragment->length), field, end);
	at = put_words(at, 7, resolution_name(instance->resolution));
	at = put_name(at, 6, names, instance->process, &known);
	at = put_name(at, 5, names, instance->container, &known);
	at = put_name(at, 4, names, instance->node, &known);
	at = put_name(at, 3, names, instance->zone, &known);
	at = put_name(at, 2, names, instance->version, &known);
	at = put_name(at, 1, names, instance->workload, &known);
	if (known)
		fragment_keep(pair, instance->id, resolutions, at, end);
	return put_message(at, field, end);
}

struct encoder *encoder_new(void)
{
	struct encoder *encoder = memory_zeroed(1, sizeof(*encoder));

	encoder->edges = memory_zeroed(EDGE_FRAGMENTS, sizeof(*encoder->edges));
	encoder->instances = memory_zeroed(INSTANCE_FRAGMENTS, sizeof(*encoder->instances));
	octets_init(encoder->octets);
	for (unsigned i = COUNTERS; i > 0; i--) {
		const char *name = counter_info(i - 1)->name;

		wire_reserve(&encoder->counters, THING_BYTES_MAX);
		encoder->counters.at = put_text(encoder->counters.at, 5, name, strlen(name));
	}
	return encoder;
}

/* --- flows --- */

static bool end_is_address(const struct flow_end *end)
{
	return end->instance.resolution == RESOLUTION_ADDRESS;
}

static uint8_t *put_end_instance(struct encoder *encoder, uint8_t *at, const struct flow_end *end,
				 const struct address *address, const struct names *names)
{
	const uint8_t *last = at;

	if (!end_is_address(end))
		return put_instance(encoder, at, 5, &end->instance, names);
	at = put_words(at, 7, resolution_name(RESOLUTION_ADDRESS));
	at = put_address(encoder, at, 1, address);
	return put_message(at, 5, last);
}

static uint8_t *put_end(struct encoder *encoder, uint8_t *at, unsigned field,
			const struct flow_end *end, const struct address *address,
			const struct names *names)
{
	const uint8_t *last = at;

	at = put_number(at, 12, end->lost);
	at = put_double(at, 11, end->min_rtt_us / 1e6);
	at = put_number(at, 10, end->total.retransmits);
	at = put_number(at, 9, end->total.rx_segments);
	at = put_number(at, 8, end->total.tx_segments);
	at = put_number(at, 7, end->total.rx_bytes);
	at = put_number(at, 6, end->total.tx_bytes);
	at = put_end_instance(encoder, at, end, address, names);
	at = put_number(at, 4, end->pid);
	if (end->reason < CLOSE_REASONS)
		at = put_text(at, 3, reasons[end->reason].text, reasons[end->reason].length);
	at = put_number(at, 2, end->closed);
	at = put_number(at, 1, end->seen);
	return put_message(at, field, last);
}

static uint8_t *put_flow(struct encoder *encoder, uint8_t *at, unsigned field,
			 const struct flow *flow, const struct names *names)
{
	const struct address *client = &flow->canonical.client, *server = &flow->canonical.server;
	const uint8_t *end = at;

	at = put_number(at, 20, flow->hops);
	at = put_end(encoder, at, 19, &flow->server, server, names);
	at = put_end(encoder, at, 18, &flow->client, client, names);
	at = put_edge(encoder, at, 17, &flow->edge, names,
		      end_is_address(&flow->client) ? client : NULL,
		      end_is_address(&flow->server) ? server : NULL);
	at = put_double(at, 16, (double)flow->connect_us / 1e6);
	at = put_fixed64(at, 15, flow->closed_ns);
	at = put_fixed64(at, 14, flow->opened_ns);
	at = put_number(at, 13, flow->amended);
	at = put_number(at, 12, flow->established);
	at = put_number(at, 11, flow->joined);
	at = put_protocol(at, 10, flow->canonical.protocol);
	at = put_number(at, 9, flow->wire.client_port);
	at = put_address(encoder, at, 8, &flow->wire.client);
	at = put_number(at, 7, flow->dialled_port);
	at = put_address(encoder, at, 6, &flow->dialled);
	at = put_number(at, 5, flow->canonical.server_port);
	at = put_address(encoder, at, 4, server);
	at = put_number(at, 3, flow->canonical.client_port);
	at = put_address(encoder, at, 2, client);
	at = put_id(at, 1, flow->id);
	return put_message(at, field, end);
}

/* What each record begins with. */
static struct encoded put_head(struct wire *wire, const struct output_number *number)
{
	wire->at = put_number(wire->at, 4, number->sequence);
	wire->at = put_number(wire->at, 3, number->task);
	wire->at = put_number(wire->at, 2, number->epoch);
	wire->at = put_number(wire->at, 1, SCHEMA_VERSION);
	return (struct encoded){wire->at, wire_length(wire)};
}

static void flow_prefetch(const struct encoder *encoder, const struct flow *flow)
{
	fragments_prefetch(edge_fragments(encoder, &flow->edge));
	fragments_prefetch(instance_fragments(encoder, &flow->client.instance));
	fragments_prefetch(instance_fragments(encoder, &flow->server.instance));
}

struct encoded encode_flows(struct encoder *encoder, const struct output_number *number,
			    const struct flow *flows, size_t count, const struct names *names)
{
	struct wire *wire = &encoder->wire;

	wire_clear(wire);
	for (size_t i = count; i > 0; i--) {
		if (i > AHEAD)
			flow_prefetch(encoder, &flows[i - 1 - AHEAD]);
		wire_reserve(wire, THING_BYTES_MAX);
		wire->at = put_flow(encoder, wire->at, 5, &flows[i - 1], names);
	}
	wire_reserve(wire, THING_BYTES_MAX);
	return put_head(wire, number);
}

/* --- rollups --- */

static uint8_t *put_sketch(uint8_t *at, unsigned field, const struct sketch_cell *cells,
			   uint32_t count)
{
	const uint8_t *end = at, *last = at;

	if (!count)
		return at;
	for (uint32_t i = count; i > 0; i--)
		at = put_varint(at, cells[i - 1].count);
	last = at = put_message(at, 2, last);
	for (uint32_t i = count; i > 0; i--)
		at = put_varint(at, cells[i - 1].index);
	return put_message(put_message(at, 1, last), field, end);
}

_Static_assert(COUNTERS <= 64, "the mask of counters is one word, a number one byte");

static uint8_t *put_counters(uint8_t *at, const int64_t *counters)
{
	const uint8_t *end = at;
	uint64_t mask = 0;

	for (unsigned i = COUNTERS; i > 0; i--) {
		int64_t value = counters[i - 1];

		if (!value)
			continue;
		mask |= 1ULL << (i - 1);
		at = put_varint(at, (uint64_t)value << 1 ^ (uint64_t)(value >> 63));
	}
	if (!mask)
		return at;
	end = at = put_message(at, 12, end);
	for (; mask; mask &= ~(1ULL << (63 - (unsigned)__builtin_clzll(mask))))
		*--at = (uint8_t)(63 - (unsigned)__builtin_clzll(mask));
	return put_message(at, 11, end);
}

static uint8_t *put_lane(uint8_t *at, const struct lane *lane, const struct names *names)
{
	bool known;

	at = put_name(at, 9, names, lane->server_version, &known);
	at = put_name(at, 8, names, lane->client_version, &known);
	at = put_name(at, 7, names, lane->server_zone, &known);
	return put_name(at, 6, names, lane->client_zone, &known);
}

static uint8_t *put_rollup(struct encoder *encoder, uint8_t *at, unsigned field,
			   const struct rollup *rollup, const struct names *names)
{
	const uint8_t *end = at;

	at = put_fixed64(at, 17, rollup->last_event_ns);
	at = put_double(at, 16, rollup_completeness(rollup));
	at = put_number(at, 15, rollup->min_rtt_us);
	at = put_sketch(at, 14, rollup->srtt, rollup->srtt_cells);
	at = put_sketch(at, 13, rollup->connect, rollup->connect_cells);
	at = put_counters(at, rollup->counters);
	if (rollup->scope == SCOPE_CLIENT || rollup->scope == SCOPE_SERVER)
		at = put_instance(encoder, at, 10, &rollup->instance, names);
	if (rollup->scope == SCOPE_LANE)
		at = put_lane(at, &rollup->lane, names);
	at = put_edge(encoder, at, 5, &rollup->edge, names, NULL, NULL);
	at = put_number(at, 4, rollup->amendment);
	at = put_number(at, 3, rollup->scope);
	at = put_number(at, 2, rollup->window_ms);
	at = put_fixed64(at, 1, rollup->window_start_ns);
	return put_message(at, field, end);
}

static size_t rollup_bytes_max(const struct rollup *rollup)
{
	return THING_BYTES_MAX +
	       CELL_BYTES_MAX * ((size_t)rollup->connect_cells + rollup->srtt_cells);
}

struct encoded encode_rollups(struct encoder *encoder, const struct output_number *number,
			      const struct rollup *rollups, size_t count, const struct names *names)
{
	struct wire *wire = &encoder->wire, *counters = &encoder->counters;

	wire_clear(wire);
	for (size_t i = count; i > 0; i--) {
		if (i > AHEAD)
			fragments_prefetch(
				instance_fragments(encoder, &rollups[i - 1 - AHEAD].instance));
		wire_reserve(wire, rollup_bytes_max(&rollups[i - 1]));
		wire->at = put_rollup(encoder, wire->at, 6, &rollups[i - 1], names);
	}
	wire_reserve(wire, THING_BYTES_MAX + wire_length(counters));
	wire->at = put_raw(wire->at, counters->at, wire_length(counters));
	return put_head(wire, number);
}

/* --- alerts, deliveries, baselines --- */

static Millrace__V1__Suspect *suspect_message(struct encoder *encoder,
					      const struct suspect *suspect)
{
	Millrace__V1__Suspect *message = scratch(encoder, sizeof(*message));

	millrace__v1__suspect__init(message);
	message->kind = text(encoder, suspect_kind_name(suspect->kind));
	message->name = text(encoder, suspect->name);
	message->share = suspect->share;
	message->excess = suspect->excess;
	return message;
}

struct encoded encode_alert(struct encoder *encoder, const struct output_number *number,
			    const struct alert *alert)
{
	Millrace__V1__Alert message = MILLRACE__V1__ALERT__INIT;

	message.version = SCHEMA_VERSION;
	message.key = text(encoder, alert->key);
	message.sequence = alert->sequence;
	message.state = (Millrace__V1__AlertState)alert->state;
	message.severity = (Millrace__V1__Severity)alert->severity;
	message.monitor = text(encoder, alert->monitor);
	message.client = text(encoder, alert->subject.client);
	message.server = text(encoder, alert->subject.server);
	message.port = alert->subject.port;
	message.protocol = protocol_text(encoder, alert->subject.protocol);
	message.metric = text(encoder, alert->metric);
	message.unit = text(encoder, alert->unit);
	message.value = alert->value;
	message.threshold = alert->threshold;
	message.baseline_median = alert->baseline_median;
	message.baseline_mad = alert->baseline_mad;
	message.window_ms = alert->window_ms;
	message.started_ns = alert->started_ns;
	message.ended_ns = alert->ended_ns;
	message.pane_end_ns = alert->pane_end_ns;
	message.last_event_ns = alert->last_event_ns;
	message.completeness = alert->completeness;
	message.summary = text(encoder, alert->summary);
	message.n_suspects = alert->suspects_count;
	message.suspects = scratch(encoder, alert->suspects_count * sizeof(*message.suspects));
	for (uint32_t i = 0; i < alert->suspects_count; i++)
		message.suspects[i] = suspect_message(encoder, &alert->suspects[i]);
	message.epoch = number->epoch;
	message.task = number->task;
	message.output = number->sequence;
	return packed(encoder, &message.base);
}

struct encoded encode_baseline(struct encoder *encoder, const struct baseline_record *record,
			       const struct names *names)
{
	Millrace__V1__Baseline message = MILLRACE__V1__BASELINE__INIT;

	message.edge_id = hex_id(encoder, record->edge.id);
	message.client = named(encoder, names, record->edge.client);
	message.server = named(encoder, names, record->edge.server);
	message.port = record->edge.port;
	message.protocol = protocol_text(encoder, record->edge.protocol);
	message.metric = text(encoder, metric_name(record->metric));
	message.samples = record->samples;
	message.window_ns = record->window_ns;
	message.median_millionths = record->median;
	message.mad_millionths = record->mad;
	return packed(encoder, &message.base);
}

struct encoded encode_delivery(struct encoder *encoder, const struct delivery *delivery)
{
	Millrace__V1__Delivery message = MILLRACE__V1__DELIVERY__INIT;

	message.receiver = text(encoder, delivery->receiver);
	message.key = text(encoder, delivery->key);
	message.sequence = delivery->sequence;
	message.state = (Millrace__V1__AlertState)delivery->state;
	message.delivered_ns = delivery->delivered_ns;
	message.sent_ns = delivery->sent_ns;
	message.resolve_owed = delivery->resolve_owed;
	message.severity = (Millrace__V1__Severity)delivery->severity;
	message.attempts = delivery->attempts;
	message.failed = delivery->failed;
	message.error = text(encoder, delivery->error);
	return packed(encoder, &message.base);
}

/* --- what could not be read, ticks --- */

struct encoded encode_deadletter(struct encoder *encoder, const char *topic, uint32_t partition,
				 const struct mirror_record *record, enum mirror_reason reason,
				 const char *detail, const char *node)
{
	Millrace__V1__DeadLetter message = MILLRACE__V1__DEAD_LETTER__INIT;

	message.topic = text(encoder, topic);
	message.partition = (int32_t)partition;
	message.offset = record->offset;
	message.reason = text(encoder, mirror_reason_name(reason));
	message.detail = text(encoder, detail);
	message.node = text(encoder, node ? node : "");
	message.size = record->length;
	message.head.len = record->length < HEAD_BYTES_MAX ? record->length : HEAD_BYTES_MAX;
	message.head.data = (uint8_t *)(uintptr_t)record->value;
	message.time_ms = (int64_t)(record->append_ns / NS_PER_MS);
	return packed(encoder, &message.base);
}

struct encoded encode_tick(struct encoder *encoder, uint64_t realtime_ns, const uint8_t *key)
{
	Millrace__V1__Batch message = MILLRACE__V1__BATCH__INIT;
	struct encoded bytes;

	message.version = SCHEMA_VERSION;
	message.kind = MILLRACE__V1__BATCH_KIND__BATCH_KIND_TICK;
	message.base_time_us = realtime_ns / NS_PER_US;
	message.sent_realtime_ns = realtime_ns;
	bytes = packed(encoder, &message.base);
	if (!key)
		return bytes;
	out_room(encoder, bytes.length + SEAL_TRAILER_BYTES);
	seal_sign(key, encoder->out, bytes.length);
	return (struct encoded){encoder->out, bytes.length + SEAL_TRAILER_BYTES};
}

/* --- reading back --- */

/* protobuf-c copies what it unpacks; our own records are small, and what is not small is not ours.
 */
static void *bounded_alloc(void *budget, size_t size)
{
	size_t *left = budget;

	if (size > *left)
		return NULL;
	*left -= size;
	return malloc(size);
}

static void bounded_free(void *budget, void *memory)
{
	(void)budget;
	free(memory);
}

static void *unpacked(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
		      size_t length)
{
	size_t left = DECODE_BYTES_MAX;
	ProtobufCAllocator allocator = {bounded_alloc, bounded_free, &left};

	return length > DECODE_BYTES_MAX
		       ? NULL
		       : protobuf_c_message_unpack(descriptor, &allocator, length, bytes);
}

static void cut(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from);
}

static uint8_t protocol_number(const char *word)
{
	if (strcmp(word, "tcp") == 0)
		return 6;
	if (strcmp(word, "udp") == 0)
		return 17;
	return strncmp(word, "ip-", 3) == 0 ? (uint8_t)strtoul(word + 3, NULL, 10) : 0;
}

static uint32_t suspect_kind(const char *word)
{
	uint32_t kind = 0;

	while (kind < SUSPECT_KINDS && strcmp(suspect_kind_name(kind), word) != 0)
		kind++;
	return kind;
}

static void read_suspects(struct alert *alert, const Millrace__V1__Alert *message)
{
	for (size_t i = 0; i < message->n_suspects && alert->suspects_count < ALERT_SUSPECTS_MAX;
	     i++) {
		const Millrace__V1__Suspect *from = message->suspects[i];
		struct suspect *to = &alert->suspects[alert->suspects_count];

		to->kind = suspect_kind(from->kind);
		if (to->kind == SUSPECT_KINDS)
			continue;
		to->share = from->share;
		to->excess = from->excess;
		cut(to->name, sizeof(to->name), from->name);
		alert->suspects_count++;
	}
}

int decode_alert(const uint8_t *bytes, size_t length, struct alert *alert)
{
	Millrace__V1__Alert *message = unpacked(&millrace__v1__alert__descriptor, bytes, length);

	if (!message)
		return -EBADMSG;
	*alert = (struct alert){
		.sequence = message->sequence,
		.state = message->state,
		.severity = message->severity,
		.subject = {.port = (uint16_t)message->port,
			    .protocol = protocol_number(message->protocol)},
		.value = message->value,
		.threshold = message->threshold,
		.baseline_median = message->baseline_median,
		.baseline_mad = message->baseline_mad,
		.window_ms = message->window_ms,
		.started_ns = message->started_ns,
		.ended_ns = message->ended_ns,
		.pane_end_ns = message->pane_end_ns,
		.last_event_ns = message->last_event_ns,
		.completeness = message->completeness,
	};
	cut(alert->key, sizeof(alert->key), message->key);
	cut(alert->monitor, sizeof(alert->monitor), message->monitor);
	cut(alert->subject.client, sizeof(alert->subject.client), message->client);
	cut(alert->subject.server, sizeof(alert->subject.server), message->server);
	cut(alert->metric, sizeof(alert->metric), message->metric);
	cut(alert->unit, sizeof(alert->unit), message->unit);
	cut(alert->summary, sizeof(alert->summary), message->summary);
	read_suspects(alert, message);

	int rc = message->version == SCHEMA_VERSION && alert->key[0] &&
				 alert->state <= ALERT_RESOLVED
			 ? 0
			 : -EBADMSG;

	millrace__v1__alert__free_unpacked(message, NULL);
	return rc;
}

int decode_delivery(const uint8_t *bytes, size_t length, struct delivery *delivery)
{
	Millrace__V1__Delivery *message =
		unpacked(&millrace__v1__delivery__descriptor, bytes, length);

	if (!message)
		return -EBADMSG;
	*delivery = (struct delivery){
		.sequence = message->sequence,
		.state = message->state,
		.delivered_ns = message->delivered_ns,
		.sent_ns = message->sent_ns,
		.attempts = message->attempts,
		.resolve_owed = message->resolve_owed,
		.severity = message->severity,
		.failed = message->failed,
	};
	cut(delivery->receiver, sizeof(delivery->receiver), message->receiver);
	cut(delivery->key, sizeof(delivery->key), message->key);
	cut(delivery->error, sizeof(delivery->error), message->error);
	millrace__v1__delivery__free_unpacked(message, NULL);
	return delivery->receiver[0] && delivery->key[0] ? 0 : -EBADMSG;
}

int decode_baseline(const uint8_t *bytes, size_t length, struct baseline_record *record)
{
	Millrace__V1__Baseline *message =
		unpacked(&millrace__v1__baseline__descriptor, bytes, length);
	char *end = NULL;

	if (!message)
		return -EBADMSG;
	*record = (struct baseline_record){
		.edge = {.id = strtoull(message->edge_id, &end, 16),
			 .client = name_id(message->client, strlen(message->client)),
			 .server = name_id(message->server, strlen(message->server)),
			 .port = (uint16_t)message->port,
			 .protocol = protocol_number(message->protocol)},
		.metric = metric_by_name(message->metric),
		.samples = message->samples,
		.window_ns = message->window_ns,
		.median = message->median_millionths,
		.mad = message->mad_millionths,
	};

	int rc = end && *end == '\0' && record->edge.id && record->metric < METRICS ? 0 : -EBADMSG;

	millrace__v1__baseline__free_unpacked(message, NULL);
	return rc;
}
