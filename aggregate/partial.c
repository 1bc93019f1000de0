#include "aggregate/partial.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "aggregate/bucket.h"
#include "aggregate/hot.h"
#include "aggregate/lanes.h"
#include "aggregate/tally.h"
#include "base/memory.h"

enum {
	BLOCK_MIN = 1024,
	SPARE_TIMES =
		4, /* a block larger than this many times what is needed serves others better */
	/* The largest record that push and amend write. */
	RECORD_MAX =
		sizeof(struct record) + sizeof(struct record_amendment) + COLUMNS * sizeof(int64_t),
};

/* The next bucket of one owner, while it grows. */
struct outbox {
	char *block; /* begins with struct partial_bucket */
	size_t size; /* used */
	size_t capacity;
	size_t last; /* size of the bucket before: a guess at this one's */
	uint32_t records;
	uint32_t *due; /* instances to tell, by number */
	uint32_t due_count, due_capacity;
};

struct partial {
	struct partial_options options;
	struct lanes lanes;
	struct outbox *outboxes;
	struct partial_bucket **spares; /* to be reused: one an owner at most */
	uint32_t spares_count, spares_next;
	uint32_t owner; /* whose bucket is taken next */
	struct partial_stats stats;
};

struct partial *partial_new(const struct partial_options *options)
{
	assert(options->owners > 0 && options->names && options->roster);
	struct partial *partial = memory_zeroed(1, sizeof(*partial));
	partial->options = *options;
	lanes_init(&partial->lanes, options->roster, options->owners, options->lanes_max);
	partial->outboxes = memory_zeroed(options->owners, sizeof(*partial->outboxes));
	partial->spares = memory_zeroed(options->owners, sizeof(struct partial_bucket *));
	return partial;
}

void partial_free(struct partial *partial)
{
	if (!partial)
		return;
	for (uint32_t owner = 0; owner < partial->options.owners; owner++) {
		memory_free(partial->outboxes[owner].block);
		memory_free(partial->outboxes[owner].due);
	}
	for (uint32_t i = 0; i < partial->spares_count; i++)
		partial_bucket_free(partial->spares[i]);
	memory_free(partial->spares);
	memory_free(partial->outboxes);
	lanes_done(&partial->lanes);
	memory_free(partial);
}

void partial_lanes_hold(struct partial *partial, struct lane_wanted *wanted, size_t count)
{
	lanes_hold(&partial->lanes, wanted, count);
}

void partial_lane_drop(struct partial *partial, uint32_t lane)
{
	lanes_drop(&partial->lanes, lane);
}

/* --- adding --- */

/* The smallest spare that holds `size` and is not far too large; NULL: there is none. */
static struct partial_bucket *spare_take(struct partial *partial, size_t size)
{
	uint32_t best = UINT32_MAX;
	for (uint32_t i = 0; i < partial->spares_count; i++) {
		size_t capacity = partial->spares[i]->capacity;
		if (capacity >= size && capacity <= SPARE_TIMES * size &&
		    (best == UINT32_MAX || capacity < partial->spares[best]->capacity))
			best = i;
	}
	if (best == UINT32_MAX)
		return NULL;
	struct partial_bucket *spare = partial->spares[best];
	partial->spares[best] = partial->spares[--partial->spares_count];
	return spare;
}

/* When there are enough, one of them leaves: which are wanted is not known. */
void partial_reuse(struct partial *partial, struct partial_bucket *bucket)
{
	if (partial->spares_count < partial->options.owners) {
		partial->spares[partial->spares_count++] = bucket;
		return;
	}
	uint32_t next = partial->spares_next++ % partial->options.owners;
	partial_bucket_free(partial->spares[next]);
	partial->spares[next] = bucket;
}

void partial_settle(struct partial *partial)
{
	for (uint32_t i = 0; i < partial->spares_count; i++)
		partial_bucket_free(partial->spares[i]);
	partial->spares_count = partial->spares_next = 0;
}

/* Blocks are handed to others, so they are never a part of the state. */
static void *block_resize(void *block, size_t size)
{
	struct heap *heap = memory_use(NULL);
	void *resized = memory_resize(block, size, 1);
	memory_use(heap);
	return resized;
}

/* A block about as large as the one before; with room, so that it is large enough the next time. */
static void outbox_open(struct partial *partial, struct outbox *outbox)
{
	size_t guess = outbox->last + outbox->last / 8 + BLOCK_MIN;
	struct partial_bucket *spare = spare_take(partial, guess);
	outbox->block = (char *)spare;
	outbox->capacity = spare ? spare->capacity : guess + guess / 4;
	outbox->size = sizeof(struct partial_bucket);
	if (!spare)
		outbox->block = block_resize(NULL, outbox->capacity);
}

static __attribute__((noinline)) void outbox_grow(struct partial *partial, struct outbox *outbox,
						  size_t more)
{
	if (!outbox->block)
		outbox_open(partial, outbox);
	size_t capacity = outbox->capacity;
	while (outbox->size + more > outbox->capacity)
		outbox->capacity *= 2;
	if (outbox->capacity > capacity)
		outbox->block = block_resize(outbox->block, outbox->capacity);
}

/* Room for `more` bytes behind what is there. */
static inline void *outbox_room(struct partial *partial, struct outbox *outbox, size_t more)
{
	if (outbox->size + more > outbox->capacity)
		outbox_grow(partial, outbox, more);
	return outbox->block + outbox->size;
}

static void outbox_due(struct outbox *outbox, uint32_t instance)
{
	if (outbox->due_count == outbox->due_capacity) {
		outbox->due_capacity =
			(uint32_t)memory_grown(outbox->due_capacity, outbox->due_count + 1);
		outbox->due =
			memory_resize(outbox->due, outbox->due_capacity, sizeof(*outbox->due));
	}
	outbox->due[outbox->due_count++] = instance;
}

/* A place's instances are told with the bucket that names them first. */
static __attribute__((noinline)) void partial_introduce(struct partial *partial,
							const struct place *place, uint32_t owner)
{
	if (lanes_tell(&partial->lanes, place->client, owner))
		outbox_due(&partial->outboxes[owner], place->client);
	if (lanes_tell(&partial->lanes, place->server, owner))
		outbox_due(&partial->outboxes[owner], place->server);
}

static inline struct outbox *partial_outbox(struct partial *partial, const struct place *place)
{
	uint32_t owner = lane_owner_of(&partial->lanes, place->lane);
	if (__builtin_expect(!lanes_told(&partial->lanes, place->client, place->server, owner), 0))
		partial_introduce(partial, place, owner);
	return &partial->outboxes[owner];
}

/* What a half fills, by its place's side, counts_from and joined (each 0 or 1). */
struct share {
	columns4 columns;
	uint32_t flags; /* those that mean something where it does not count */
	uint32_t bits;
	uint32_t counted;
	uint32_t pad;
};

#define ALL UINT32_MAX
#define COUNTED(flags)                                                     \
	{                                                                  \
		{ALL, ALL, ALL, ALL}, ALL, RECORD_COUNTS | (flags), ALL, 0 \
	}
#define SEEN(flags)                                                                     \
	{                                                                               \
		{ALL, ALL, 0, 0}, RECORD_LONG | DELTA_PROBE | DELTA_LOOKUP, flags, 0, 0 \
	}
static const struct share shares[8] = {
	COUNTED(0),
	SEEN(RECORD_SERVER),
	SEEN(0),
	COUNTED(RECORD_SERVER),
	COUNTED(RECORD_JOINED),
	SEEN(RECORD_SERVER | RECORD_JOINED),
	SEEN(RECORD_JOINED),
	COUNTED(RECORD_SERVER | RECORD_JOINED),
};

static inline const struct share *place_share(const struct place *place)
{
	return &shares[place->side | place->counts_from << 1 | place->joined << 2];
}

static bool delta_is_wide(const struct delta *delta)
{
	const struct traffic *traffic = &delta->traffic;
	return (traffic->tx_bytes | traffic->rx_bytes | traffic->tx_segments |
		traffic->rx_segments | traffic->retransmits | delta_connect_us(delta) |
		delta->srtt_us | delta->node_received | delta->node_lost) > RECORD_COLUMN_MAX;
}

static void wide_fill(struct record_wide *wide, const struct delta *delta, uint32_t counted)
{
	const struct traffic *traffic = &delta->traffic;
	unsigned side = delta->place.side;
	*wide = (struct record_wide){
		.retransmits = traffic->retransmits,
		.connect_us = delta_connect_us(delta),
		.srtt_us = delta->srtt_us,
		.received = delta->node_received,
		.lost = delta->node_lost,
	};
	wide->bytes[side] = traffic->tx_bytes;
	wide->bytes[side ^ 1] = traffic->rx_bytes;
	if (counted) {
		wide->segments[side] = traffic->tx_segments;
		wide->segments[side ^ 1] = traffic->rx_segments;
	}
}

/* What is seldom: probes, lookups, failures, retransmits, times to connect, and what does not fit.
 * The record has its place, bits and times. */
static __attribute__((noinline)) size_t record_rare(struct record *record,
						    const struct delta *delta)
{
	if (delta->flags & DELTA_PROBE) {
		record->bits &= ~(uint32_t)(RECORD_EVENTS | RECORD_ACTIVE | RECORD_LONG);
		memset(record->columns, 0, sizeof(record->columns));
		record->received = record->lost = record->srtt_us = record->min_rtt_us = 0;
		return sizeof(*record);
	}
	if (delta->flags & DELTA_LOOKUP) {
		record->bits |= RECORD_MORE;
		memcpy(record + 1, &(struct record_more){.connect_us = delta->connect_us},
		       sizeof(struct record_more));
		return sizeof(*record) + sizeof(struct record_more);
	}
	/* A failed attempt never was an active connection. */
	if (delta->flags & DELTA_FAILED)
		record->bits &= ~(uint32_t)RECORD_ACTIVE;
	if (delta_is_wide(delta)) {
		record->bits |= RECORD_WIDE;
		memset(record->columns, 0, sizeof(record->columns));
		record->received = record->lost = record->srtt_us = 0;
		wide_fill((struct record_wide *)(record + 1), delta,
			  place_share(&delta->place)->counted);
		return sizeof(*record) + sizeof(struct record_wide);
	}
	struct record_more more = {
		.connect_us = delta_connect_us(delta),
		.retransmits = (uint32_t)delta->traffic.retransmits,
	};
	if (!more.connect_us && !more.retransmits)
		return sizeof(*record);
	record->bits |= RECORD_MORE;
	memcpy(record + 1, &more, sizeof(more));
	return sizeof(*record) + sizeof(more);
}

typedef columns2 __attribute__((aligned(8), may_alias)) loose2;
typedef columns4 __attribute__((aligned(8), may_alias)) loose4;
_Static_assert(offsetof(struct delta, node_received) == offsetof(struct delta, time_ns) + 8 &&
		       offsetof(struct delta, node_lost) == offsetof(struct delta, time_ns) + 12 &&
		       offsetof(struct record, received) == offsetof(struct record, time_ns) + 8 &&
		       offsetof(struct record, lost) == offsetof(struct record, time_ns) + 12,
	       "the time and the node's events are moved as one");

/* Both halves of four 64-bit counters at once: the low ones are the record's, the high ones must be
 * 0. A server's half speaks of server to client first. */
static inline size_t record_fill(struct record *record, const struct delta *delta, uint32_t lane)
{
	const struct place *place = &delta->place;
	const struct share *share = place_share(place);
	columns4 bytes = (columns4) * (const loose2 *)&delta->traffic.tx_bytes;
	columns4 segments = (columns4) * (const loose2 *)&delta->traffic.tx_segments;
	columns4 low = VECTOR_SHUFFLE(bytes, segments, 0, 2, 4, 6);
	columns4 high = VECTOR_SHUFFLE(bytes, segments, 1, 3, 5, 7);
	columns4 turned = VECTOR_SHUFFLE(low, low, 1, 0, 3, 2);
	columns4 server = (columns4){0} - place->side;
	high |= low >> 31;
	columns2 over = (columns2)high;
	low ^= (low ^ turned) & server;
	record->lane = lane;
	record->client = place->client;
	record->server = place->server;
	record->bits = (delta->flags & share->flags) | share->bits |
		       (uint32_t)delta->reason << RECORD_REASON_SHIFT;
	*(loose4 *)record->columns = low & share->columns;
	*(loose2 *)&record->time_ns = *(const loose2 *)&delta->time_ns;
	record->srtt_us = delta->srtt_us;
	record->min_rtt_us = delta->min_rtt_us;
	uint64_t rare = over[0] | over[1] | delta->traffic.retransmits | delta->connect_us |
			(delta->flags & (DELTA_PROBE | DELTA_FAILED | DELTA_LOOKUP)) |
			(delta->srtt_us | delta->node_received | delta->node_lost) >> 31;
	return __builtin_expect(rare != 0, 0) ? record_rare(record, delta) : sizeof(*record);
}

VECTOR_CLONES void partial_push(struct partial *partial, const struct delta *deltas, size_t count)
{
	uint32_t owner_bits = partial->lanes.owner_bits;
	for (const struct delta *delta = deltas; delta < deltas + count; delta++) {
		struct outbox *outbox = partial_outbox(partial, &delta->place);
		struct record *record = outbox_room(partial, outbox, RECORD_MAX);
		uint32_t lane = delta->place.lane >> owner_bits;
		outbox->size += record_fill(record, delta, lane);
		outbox->records++;
		partial->stats.folded += !lane;
	}
	partial->stats.deltas += count;
}

static void partial_move(struct partial *partial, const struct amendment *amendment,
			 const struct place *place, int64_t sign)
{
	struct tally tally;
	tally_amendment(&tally, amendment, place, sign);
	if (tally.count == 0)
		return;
	int64_t values[COLUMNS] = {0};
	for (uint32_t i = 0; i < tally.count; i++)
		value_add(&values[tally.columns[i]], tally.values[i]);

	struct outbox *outbox = partial_outbox(partial, place);
	struct record *record = outbox_room(partial, outbox, RECORD_MAX);
	struct record_amendment *moved = (struct record_amendment *)(record + 1);
	*record = (struct record){
		.lane = lane_place(&partial->lanes, place->lane),
		.client = place->client,
		.server = place->server,
		.bits = RECORD_AMEND,
	};
	*moved = (struct record_amendment){.window_start_ns = amendment->window_start_ns};
	uint32_t count = 0;
	for (unsigned column = 0; column < COLUMNS; column++) {
		if (!values[column])
			continue;
		moved->columns |= 1ULL << column;
		moved->values[count++] = values[column];
	}
	outbox->size += sizeof(*record) + sizeof(*moved) + count * sizeof(moved->values[0]);
	outbox->records++;
}

void partial_amend(struct partial *partial, const struct amendment *amendments, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		partial_move(partial, &amendments[i], &amendments[i].before, -1);
		partial_move(partial, &amendments[i], &amendments[i].after, 1);
	}
	partial->stats.amendments += count;
}

/* --- taking --- */

/* The names that are due, gathered while descriptors are written: they stand behind them. */
struct naming {
	struct partial *partial;
	uint64_t pane;
	const struct name **names;
	uint32_t count;
	size_t capacity;
};

static void naming_add(struct naming *naming, uint64_t id)
{
	const struct partial_options *options = &naming->partial->options;
	const struct name *name = names_due(
		options->names, id, naming->partial->owner + options->names_offset, naming->pane);
	if (!name)
		return;
	if (naming->count == naming->capacity) {
		naming->capacity = memory_grown(naming->capacity, naming->count + 1);
		naming->names =
			memory_resize(naming->names, naming->capacity, sizeof(*naming->names));
	}
	naming->names[naming->count++] = name;
}

/* Their names come with the instances that deltas name beside them. */
static void take_lanes(struct partial *partial, struct outbox *outbox)
{
	struct lanes *lanes = &partial->lanes;
	struct lane_owner *owner = &lanes->owners[partial->owner];
	struct bucket_lane *told = outbox_room(partial, outbox, owner->due_count * sizeof(*told));
	uint32_t count = 0;
	for (uint32_t i = 0; i < owner->due_count; i++) {
		struct bucket_lane *lane = &told[count];
		*lane = (struct bucket_lane){.number = lane_place(lanes, owner->due[i])};
		count += lane_describe(lanes, owner->due[i], &lane->edge, &lane->lane);
	}
	owner->due_count = 0;
	outbox->size += count * sizeof(*told);
	((struct partial_bucket *)outbox->block)->lane_count = count;
}

static void name_instance(struct naming *naming, const struct instance *instance)
{
	naming_add(naming, instance->workload);
	naming_add(naming, instance->version);
	naming_add(naming, instance->zone);
	naming_add(naming, instance->node);
	naming_add(naming, instance->container);
	naming_add(naming, instance->process);
}

/* A workload that is an address has no other source of its name. */
static void put_addresses(struct naming *naming, const struct outbox *outbox)
{
	const struct partial_options *options = &naming->partial->options;
	for (uint32_t i = 0; i < outbox->due_count; i++) {
		const struct instance *instance = roster_at(options->roster, outbox->due[i]);
		char text[ADDRESS_TEXT_MAX];
		if (resolution_is_address(instance->resolution))
			names_put(options->names, text, address_format(&instance->address, text),
				  naming->pane);
	}
}

static void take_instances(struct naming *naming, struct outbox *outbox)
{
	const struct partial_options *options = &naming->partial->options;
	struct bucket_instance *told =
		outbox_room(naming->partial, outbox, outbox->due_count * sizeof(*told));
	uint32_t count = 0, destination = naming->partial->owner + options->names_offset;
	for (uint32_t i = 0; i < outbox->due_count; i++) {
		uint32_t number = outbox->due[i];
		const struct instance *instance = roster_at(options->roster, number);
		if (!instance->id ||
		    !roster_due(options->roster, number, destination, naming->pane))
			continue;
		told[count++] = (struct bucket_instance){.number = number, .instance = *instance};
		name_instance(naming, instance);
	}
	outbox->due_count = 0;
	outbox->size += count * sizeof(*told);
	((struct partial_bucket *)outbox->block)->instance_count = count;
}

static void take_names(struct naming *naming, struct outbox *outbox)
{
	size_t size = naming->count;
	for (uint32_t i = 0; i < naming->count; i++)
		size += naming->names[i]->length;
	char *lengths = outbox_room(naming->partial, outbox, size),
	     *bytes = lengths + naming->count;
	for (uint32_t i = 0; i < naming->count; i++) {
		const struct name *name = naming->names[i];
		lengths[i] = (char)(uint8_t)name->length;
		memcpy(bytes, name->bytes, name->length);
		bytes += name->length;
	}
	outbox->size += size;
	((struct partial_bucket *)outbox->block)->name_count = naming->count;
	memory_free(naming->names);
}

struct partial_bucket *partial_take(struct partial *partial, uint32_t owner, uint64_t pane)
{
	assert(owner == partial->owner);
	struct outbox *outbox = &partial->outboxes[owner];
	struct naming naming = {.partial = partial, .pane = pane};
	outbox_room(partial, outbox, BLOCK_MIN / 2);
	*(struct partial_bucket *)outbox->block = (struct partial_bucket){
		.pane = pane,
		.records_size = outbox->size - sizeof(struct partial_bucket),
		.record_count = outbox->records,
	};
	put_addresses(&naming, outbox);
	take_lanes(partial, outbox);
	take_instances(&naming, outbox);
	take_names(&naming, outbox);

	struct partial_bucket *bucket = (struct partial_bucket *)outbox->block;
	bucket->size = outbox->size;
	bucket->capacity = outbox->capacity;
	partial->stats.rows += outbox->records;
	*outbox = (struct outbox){
		.last = outbox->size, .due = outbox->due, .due_capacity = outbox->due_capacity};
	partial->owner = (owner + 1) % partial->options.owners;
	if (partial->owner == 0)
		lanes_settle(&partial->lanes, pane);
	return bucket;
}

struct partial_stats partial_stats(const struct partial *partial)
{
	return partial->stats;
}
