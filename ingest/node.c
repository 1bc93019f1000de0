#include "ingest/node.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

enum {
	OFFSET_BUCKET_S = 5,
	CLOCK_JUMP_MS = 1000, /* less between two batches is a clock that is steered */
	OFFSET_APPLIED_MS =
		50, /* a smaller one is the path's delay rather than the clock's error */
};

struct node *node_new(const char *name, uint64_t name_id, uint32_t place, uint64_t seed)
{
	struct node *node = memory_zeroed(1, sizeof(*node));
	memcpy(node->name, name, strlen(name) + 1);
	node->name_id = name_id;
	node->place = place;
	node->incarnation = node->applied_incarnation = 1;
	node->news = true;
	node->owners = memory_zeroed(1, sizeof(*node->owners));
	node->owners_count = node->owners_capacity = 1;
	table_init(&node->nats, sizeof(struct tuple), sizeof(struct nat_entry));
	table_init(&node->processes, sizeof(uint64_t), sizeof(struct process_entry));
	table_init(&node->containers, sizeof(uint64_t), sizeof(struct container_entry));
	table_init(&node->listeners, sizeof(uint64_t), sizeof(struct listener_entry));
	table_init(&node->owner_keys, sizeof(struct owner_key), sizeof(struct owner_entry));
	struct table *tables[] = {&node->nats, &node->processes, &node->containers,
				  &node->listeners, &node->owner_keys};
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		table_seed(tables[i], seed);
	return node;
}

void node_free(struct node *node)
{
	orphans_free(node->orphans);
	memory_free(node->index.pages);
	memory_free(node->index.halves);
	memory_free(node->owners);
	memory_free(node->standing.former);
	table_done(&node->nats);
	table_done(&node->processes);
	table_done(&node->containers);
	table_done(&node->listeners);
	memory_free(node->facts.bytes);
	memory_free(node->state.bytes);
	table_done(&node->owner_keys);
	memory_free(node);
}

static bool window_get(const struct numbering *numbering, uint64_t sequence)
{
	uint64_t bit = sequence % WINDOW_BATCHES;
	return numbering->window[bit / 64] >> bit % 64 & 1;
}

static void window_set(struct numbering *numbering, uint64_t sequence, bool came)
{
	uint64_t bit = sequence % WINDOW_BATCHES, mask = 1ULL << bit % 64;
	if (came)
		numbering->window[bit / 64] |= mask;
	else
		numbering->window[bit / 64] &= ~mask;
}

bool numbering_take(struct numbering *numbering, uint64_t sequence)
{
	if (sequence < numbering->sequence_next) {
		bool gone = numbering->sequence_next - sequence > WINDOW_BATCHES;
		if (gone || window_get(numbering, sequence))
			return false;
		window_set(numbering, sequence, true);
		return true;
	}
	if (sequence - numbering->sequence_next >= WINDOW_BATCHES)
		memset(numbering->window, 0, sizeof(numbering->window));
	else
		for (uint64_t i = numbering->sequence_next; i < sequence; i++)
			window_set(numbering, i, false);
	window_set(numbering, sequence, true);
	numbering->sequence_next = sequence + 1;
	return true;
}

int64_t numbered_count(struct numbered *numbered, uint64_t first_event, uint32_t events,
		       uint64_t *issued)
{
	uint64_t issued_before = numbered->end_event - numbered->first_event;
	uint64_t lost_before = issued_before - numbered->received;
	if (first_event < numbered->first_event)
		numbered->first_event = first_event;
	if (first_event + events > numbered->end_event)
		numbered->end_event = first_event + events;
	numbered->received += events;
	/* An agent that numbers wrongly cannot have issued less than what came. */
	if (numbered->end_event - numbered->first_event < numbered->received)
		numbered->end_event = numbered->first_event + numbered->received;
	uint64_t issued_now = numbered->end_event - numbered->first_event;
	*issued = issued_now - issued_before;
	return (int64_t)(issued_now - numbered->received - lost_before);
}

void numbered_begin(struct numbered *numbered, uint64_t first_event, bool whole)
{
	*numbered = (struct numbered){0};
	if (!whole)
		numbered->first_event = numbered->end_event = first_event;
}

/* What came of the epoch before is remembered, for its stragglers. */
static void numbering_retire(struct node *node)
{
	if (!node->standing.former)
		node->standing.former =
			memory_zeroed(FORMER_EPOCHS, sizeof(*node->standing.former));
	memmove(&node->standing.former[1], &node->standing.former[0],
		(FORMER_EPOCHS - 1) * sizeof(*node->standing.former));
	node->standing.former[0] = node->standing.numbering;
}

void node_begin(struct node *node, uint64_t epoch, uint64_t sequence, uint64_t first_event,
		bool whole)
{
	if (node->standing.epochs)
		numbering_retire(node);
	node->standing.epochs++;
	node->standing.whole = whole;
	node->standing.numbering = (struct numbering){
		.epoch = epoch,
		.sequence_next = whole ? 0 : sequence,
	};
	numbered_begin(&node->standing.numbering.numbered, first_event, whole);
	node->standing.dropped = (struct dropped){0};
}

struct numbering *node_former(struct node *node, uint64_t epoch)
{
	for (int i = 0; node->standing.former && epoch && i < FORMER_EPOCHS; i++)
		if (node->standing.former[i].epoch == epoch)
			return &node->standing.former[i];
	return NULL;
}

/* ---- completeness ---- */

static void arrived_add(struct arrived *arrived, uint64_t window, uint64_t received, uint64_t lost)
{
	if (arrived->window != window)
		*arrived = (struct arrived){.window = window};
	arrived->arrival.received += received;
	arrived->arrival.issued += received + lost;
}

static struct arrival arrived_last(const struct arrived *ring, uint64_t count, uint64_t newest)
{
	struct arrival sum = {0};
	for (uint64_t i = 0; i < count; i++) {
		if (ring[i].window + count <= newest)
			continue;
		sum.received += ring[i].arrival.received;
		sum.issued += ring[i].arrival.issued;
	}
	return sum;
}

void node_arrived(struct node *node, uint64_t pane, uint64_t received, uint64_t lost)
{
	uint64_t ten = pane / PANES_PER_10S, minute = ten / MINUTE_TENS;
	arrived_add(&node->minute[ten % MINUTE_TENS], ten, received, lost);
	arrived_add(&node->hour[minute % HOUR_MINUTES], minute, received, lost);
}

struct arrival node_minute(const struct node *node, uint64_t pane)
{
	return arrived_last(node->minute, MINUTE_TENS, pane / PANES_PER_10S);
}

struct arrival node_hour(const struct node *node, uint64_t pane)
{
	return arrived_last(node->hour, HOUR_MINUTES, pane / PANES_PER_10S / MINUTE_TENS);
}

/* ---- clock ---- */

static uint64_t apart(uint64_t a, uint64_t b)
{
	int64_t difference = (int64_t)(a - b);
	return difference < 0 ? -(uint64_t)difference : (uint64_t)difference;
}

/* By how much the clock was set since the last batch; signed, modulo 2^64. An agent whose boottime
 * is further from the log than its realtime is not believed. */
static uint64_t clock_jump(const struct node *node, uint64_t append_ns, uint64_t boottime_ns,
			   uint64_t realtime_ns)
{
	uint64_t log_ns = append_ns - node->standing.last_append_ns;
	uint64_t boot_ns = boottime_ns - node->sent_boottime_ns;
	uint64_t real_ns = realtime_ns - node->sent_realtime_ns;
	if (!node->sent_boottime_ns || !boottime_ns ||
	    apart(real_ns, boot_ns) <= CLOCK_JUMP_MS * NS_PER_MS ||
	    apart(boot_ns, log_ns) >= apart(real_ns, log_ns))
		return 0;
	return real_ns - boot_ns;
}

/* The end of its last batch, in the log's terms; it was heard. */
static uint64_t clock_end(const struct node *node)
{
	return node->sent_realtime_ns + (uint64_t)node->offset_ns;
}

void node_clock_forget(struct node *node)
{
	if (node->sent_boottime_ns && clock_end(node) > node->floor_ns)
		node->floor_ns = clock_end(node);
	memset(node->offset_bucket, 0, sizeof(node->offset_bucket));
	node->jumped_ns = node->sent_boottime_ns = 0;
}

void node_clock(struct node *node, uint64_t append_ns, uint64_t sent_boottime_ns,
		uint64_t sent_realtime_ns)
{
	uint64_t bucket = append_ns / (OFFSET_BUCKET_S * NS_PER_S) + 1;
	uint32_t at = (uint32_t)(bucket % OFFSET_BUCKETS);
	if (sent_realtime_ns == 0 || sent_realtime_ns > INT64_MAX)
		return; /* it does not tell */
	node->jumped_ns += clock_jump(node, append_ns, sent_boottime_ns, sent_realtime_ns);
	uint64_t end_ns = clock_end(node);
	int64_t before_ns = node->sent_boottime_ns ? node->offset_ns : INT64_MIN;
	node->sent_boottime_ns = sent_boottime_ns;
	node->sent_realtime_ns = sent_realtime_ns;
	int64_t sample = (int64_t)(append_ns - (sent_realtime_ns - node->jumped_ns));
	if (node->offset_bucket[at] != bucket || sample < node->offset_minimum[at])
		node->offset_minimum[at] = sample;
	node->offset_bucket[at] = bucket;
	int64_t minimum = sample;
	for (int i = 0; i < OFFSET_BUCKETS; i++)
		if (node->offset_bucket[i] + OFFSET_BUCKETS > bucket &&
		    node->offset_bucket[i] <= bucket && node->offset_minimum[i] < minimum)
			minimum = node->offset_minimum[i];
	bool applied = minimum > (int64_t)(OFFSET_APPLIED_MS * NS_PER_MS) ||
		       minimum < -(int64_t)(OFFSET_APPLIED_MS * NS_PER_MS);
	node->offset_ns = (int64_t)((applied ? (uint64_t)minimum : 0) - node->jumped_ns);
	if (node->offset_ns < before_ns && end_ns > node->floor_ns)
		node->floor_ns = end_ns;
}

void node_want(struct node *node, uint64_t id)
{
	uint64_t bit = hash_mix(id) % (WANTED_WORDS * 64);
	node->wanted[bit / 64] |= 1ULL << bit % 64;
}

bool node_wanted(const struct node *node, uint64_t id)
{
	uint64_t bit = hash_mix(id) % (WANTED_WORDS * 64);
	return node->wanted[bit / 64] >> bit % 64 & 1;
}
