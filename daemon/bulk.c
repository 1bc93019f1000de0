#include "daemon/bulk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/wire.h"

enum {
	SCHEMA_VERSION = 1,
	/* Edges and instances whose encoding is remembered: as many as a task sees in turns. What
	 * is longer than a fragment is made anew each time. */
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

struct octet {
	char text[4];
	uint32_t length;
};

struct bulk {
	struct octet octets[256];
	struct wire wire;
	struct fragment *edges, *instances;
	struct wire counters; /* their names, as each record of rollups begins */
};

void bulk_free(struct bulk *bulk)
{
	if (!bulk)
		return;
	free(bulk->edges);
	free(bulk->instances);
	free(bulk->wire.bytes);
	free(bulk->counters.bytes);
	free(bulk);
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

/* Or "#" and its id in hex where the bytes have not come; known becomes false then. */
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
static uint8_t *put_address(const struct bulk *bulk, uint8_t *at, unsigned field,
			    const struct address *address)
{
	const uint8_t *end = at;
	char words[ADDRESS_TEXT_MAX];

	if (!address_is_v4(address))
		return put_text(at, field, words, address_format(address, words));
	for (unsigned i = 15; i >= 12; i--)
		at = put_octet(at, &bulk->octets[address->bytes[i]]);
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

static struct fragments_pair edge_fragments(const struct bulk *bulk, const struct edge *edge)
{
	return fragments_of(bulk->edges, edge->id, EDGE_FRAGMENTS);
}

static struct fragments_pair instance_fragments(const struct bulk *bulk,
						const struct instance *instance)
{
	return fragments_of(bulk->instances, instance->id, INSTANCE_FRAGMENTS);
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
static uint8_t *put_edge_fields(const struct bulk *bulk, uint8_t *at, const struct edge *edge,
				const struct names *names, const struct address *client,
				const struct address *server, bool *known)
{
	at = put_words(at, 7, resolution_name(edge->server_resolution));
	at = put_words(at, 6, resolution_name(edge->client_resolution));
	at = put_protocol(at, 5, edge->protocol);
	at = put_number(at, 4, edge->port);
	at = server ? put_address(bulk, at, 3, server)
		    : put_name(at, 3, names, edge->server, known);
	at = client ? put_address(bulk, at, 2, client)
		    : put_name(at, 2, names, edge->client, known);
	return put_id(at, 1, edge->id);
}

static uint8_t *put_edge(struct bulk *bulk, uint8_t *at, unsigned field, const struct edge *edge,
			 const struct names *names, const struct address *client,
			 const struct address *server)
{
	struct fragments_pair pair = edge_fragments(bulk, edge);
	uint16_t resolutions = (uint16_t)(edge->client_resolution | edge->server_resolution << 8);
	bool known = edge->id && !client && !server;
	const struct fragment *fragment = known ? fragment_find(pair, edge->id, resolutions) : NULL;
	const uint8_t *end = at;

	if (fragment)
		return put_message(put_raw(at, fragment->bytes, fragment->length), field, end);
	at = put_edge_fields(bulk, at, edge, names, client, server, &known);
	if (known)
		fragment_keep(pair, edge->id, resolutions, at, end);
	return put_message(at, field, end);
}

static uint8_t *put_instance(struct bulk *bulk, uint8_t *at, unsigned field,
			     const struct instance *instance, const struct names *names)
{
	struct fragments_pair pair = instance_fragments(bulk, instance);
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

struct bulk *bulk_new(void)
{
	struct bulk *bulk = memory_zeroed(1, sizeof(*bulk));

	bulk->edges = memory_zeroed(EDGE_FRAGMENTS, sizeof(*bulk->edges));
	bulk->instances = memory_zeroed(INSTANCE_FRAGMENTS, sizeof(*bulk->instances));
	octets_init(bulk->octets);
	for (unsigned i = COUNTERS; i > 0; i--) {
		const char *name = counter_info(i - 1)->name;

		wire_reserve(&bulk->counters, THING_BYTES_MAX);
		bulk->counters.at = put_text(bulk->counters.at, 5, name, strlen(name));
	}
	return bulk;
}

/* --- flows --- */

static bool end_is_address(const struct flow_end *end)
{
	return resolution_is_address(end->instance.resolution);
}

static uint8_t *put_end_instance(struct bulk *bulk, uint8_t *at, const struct flow_end *end,
				 const struct address *address, const struct names *names)
{
	const uint8_t *last = at;

	if (!end_is_address(end))
		return put_instance(bulk, at, 5, &end->instance, names);
	at = put_words(at, 7, resolution_name(end->instance.resolution));
	at = put_address(bulk, at, 1, address);
	return put_message(at, 5, last);
}

static uint8_t *put_end(struct bulk *bulk, uint8_t *at, unsigned field, const struct flow_end *end,
			const struct address *address, const struct names *names)
{
	const uint8_t *last = at;

	at = put_number(at, 12, end->lost);
	at = put_double(at, 11, end->min_rtt_us / 1e6);
	at = put_number(at, 10, end->total.retransmits);
	at = put_number(at, 9, end->total.rx_segments);
	at = put_number(at, 8, end->total.tx_segments);
	at = put_number(at, 7, end->total.rx_bytes);
	at = put_number(at, 6, end->total.tx_bytes);
	at = put_end_instance(bulk, at, end, address, names);
	at = put_number(at, 4, end->pid);
	if (end->reason < CLOSE_REASONS)
		at = put_text(at, 3, reasons[end->reason].text, reasons[end->reason].length);
	at = put_number(at, 2, end->closed);
	at = put_number(at, 1, end->seen);
	return put_message(at, field, last);
}

static uint8_t *put_flow(struct bulk *bulk, uint8_t *at, unsigned field, const struct flow *flow,
			 const struct names *names)
{
	const struct address *client = &flow->canonical.client, *server = &flow->canonical.server;
	const uint8_t *end = at;

	at = put_number(at, 20, flow->hops);
	at = put_end(bulk, at, 19, &flow->server, server, names);
	at = put_end(bulk, at, 18, &flow->client, client, names);
	at = put_edge(bulk, at, 17, &flow->edge, names,
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
	at = put_address(bulk, at, 8, &flow->wire.client);
	at = put_number(at, 7, flow->dialled_port);
	at = put_address(bulk, at, 6, &flow->dialled);
	at = put_number(at, 5, flow->canonical.server_port);
	at = put_address(bulk, at, 4, server);
	at = put_number(at, 3, flow->canonical.client_port);
	at = put_address(bulk, at, 2, client);
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

static void flow_prefetch(const struct bulk *bulk, const struct flow *flow)
{
	fragments_prefetch(edge_fragments(bulk, &flow->edge));
	fragments_prefetch(instance_fragments(bulk, &flow->client.instance));
	fragments_prefetch(instance_fragments(bulk, &flow->server.instance));
}

struct encoded bulk_flows(struct bulk *bulk, const struct output_number *number,
			  const struct flow *flows, size_t count, const struct names *names)
{
	struct wire *wire = &bulk->wire;

	wire_clear(wire);
	for (size_t i = count; i > 0; i--) {
		if (i > AHEAD)
			flow_prefetch(bulk, &flows[i - 1 - AHEAD]);
		wire_reserve(wire, THING_BYTES_MAX);
		wire->at = put_flow(bulk, wire->at, 5, &flows[i - 1], names);
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

static uint8_t *put_rollup(struct bulk *bulk, uint8_t *at, unsigned field,
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
		at = put_instance(bulk, at, 10, &rollup->instance, names);
	if (rollup->scope == SCOPE_LANE)
		at = put_lane(at, &rollup->lane, names);
	at = put_edge(bulk, at, 5, &rollup->edge, names, NULL, NULL);
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

struct encoded bulk_rollups(struct bulk *bulk, const struct output_number *number,
			    const struct rollup *rollups, size_t count, const struct names *names)
{
	struct wire *wire = &bulk->wire, *counters = &bulk->counters;

	wire_clear(wire);
	for (size_t i = count; i > 0; i--) {
		if (i > AHEAD)
			fragments_prefetch(
				instance_fragments(bulk, &rollups[i - 1 - AHEAD].instance));
		wire_reserve(wire, rollup_bytes_max(&rollups[i - 1]));
		wire->at = put_rollup(bulk, wire->at, 6, &rollups[i - 1], names);
	}
	wire_reserve(wire, THING_BYTES_MAX + wire_length(counters));
	wire->at = put_raw(wire->at, counters->at, wire_length(counters));
	return put_head(wire, number);
}
