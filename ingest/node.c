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

struct node *node_new(const char *name, uint64_t name_id, uint32_t place)
{
	struct node *node = memory_zeroed(1, sizeof(*node));
	memcpy(node->name, name, strlen(name) + 1);
	node->name_id = name_id;
	node->place = place;
	node->incarnation = node->applied_incarnation = 1;
	node->owners = memory_zeroed(1, sizeof(*node->owners));
	node->owners_count = node->owners_capacity = 1;
	table_init(&node->nats, sizeof(struct tuple), sizeof(struct nat_entry));
	table_init(&node->processes, sizeof(uint64_t), sizeof(struct process_entry));
	table_init(&node->containers, sizeof(uint64_t), sizeof(struct container_entry));
	table_init(&node->owner_keys, sizeof(struct owner_key), sizeof(struct owner_entry));
	return node;
}

void node_free(struct node *node)
{
	orphans_free(node->orphans);
	free(node->index.pages);
	free(node->index.halves);
	free(node->owners);
	table_done(&node->nats);
	table_done(&node->processes);
	table_done(&node->containers);
	table_done(&node->owner_keys);
	free(node);
}

static bool window_get(const struct node *node, uint64_t sequence)
{
	uint64_t bit = sequence % WINDOW_BATCHES;
	return node->window[bit / 64] >> bit % 64 & 1;
}

static void window_set(struct node *node, uint64_t sequence, bool came)
{
	uint64_t bit = sequence % WINDOW_BATCHES, mask = 1ULL << bit % 64;
	if (came)
		node->window[bit / 64] |= mask;
	else
		node->window[bit / 64] &= ~mask;
}

bool node_sequence(struct node *node, uint64_t sequence)
{
	if (sequence < node->sequence_next) {
		bool gone = node->sequence_next - sequence > WINDOW_BATCHES;
		if (gone || window_get(node, sequence))
			return false;
		window_set(node, sequence, true);
		return true;
	}
	if (sequence - node->sequence_next >= WINDOW_BATCHES)
		memset(node->window, 0, sizeof(node->window));
	else
		for (uint64_t i = node->sequence_next; i < sequence; i++)
			window_set(node, i, false);
	window_set(node, sequence, true);
	node->sequence_next = sequence + 1;
	return true;
}

int64_t ledger_account(struct ledger *ledger, uint64_t first_event, uint32_t events,
		       uint64_t *issued)
{
	uint64_t issued_before = ledger->end_event - ledger->first_event;
	uint64_t lost_before = issued_before - ledger->received;
	if (first_event < ledger->first_event)
		ledger->first_event = first_event;
	if (first_event + events > ledger->end_event)
		ledger->end_event = first_event + events;
	ledger->received += events;
	/* An agent that numbers wrongly cannot have issued less than what came. */
	if (ledger->end_event - ledger->first_event < ledger->received)
		ledger->end_event = ledger->first_event + ledger->received;
	uint64_t issued_now = ledger->end_event - ledger->first_event;
	*issued = issued_now - issued_before;
	return (int64_t)(issued_now - ledger->received - lost_before);
}

void ledger_begin(struct ledger *ledger, uint64_t first_event, bool known)
{
	*ledger = (struct ledger){0};
	if (!known)
		ledger->first_event = ledger->end_event = first_event;
}

void node_begin(struct node *node, uint64_t epoch, uint64_t sequence, uint64_t first_event,
		bool known)
{
	memmove(&node->former_epochs[1], &node->former_epochs[0],
		sizeof(node->former_epochs) - sizeof(node->former_epochs[0]));
	node->former_epochs[0] = node->epoch;
	node->epoch = epoch;
	node->epochs++;
	memset(node->window, 0, sizeof(node->window));
	node->sequence_next = known ? 0 : sequence;
	ledger_begin(&node->ledger, first_event, known);
	node->dropped_ring = node->dropped_netlink = node->dropped_spool = 0;
}

bool node_had_epoch(const struct node *node, uint64_t epoch)
{
	for (int i = 0; i < FORMER_EPOCHS; i++)
		if (node->former_epochs[i] == epoch && epoch)
			return true;
	return false;
}

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
	uint64_t log_ns = append_ns - node->last_append_ns;
	uint64_t boot_ns = boottime_ns - node->sent_boottime_ns;
	uint64_t real_ns = realtime_ns - node->sent_realtime_ns;
	if (!node->sent_boottime_ns || !boottime_ns ||
	    apart(real_ns, boot_ns) <= CLOCK_JUMP_MS * NS_PER_MS ||
	    apart(boot_ns, log_ns) >= apart(real_ns, log_ns))
		return 0;
	return real_ns - boot_ns;
}

void node_clock_forget(struct node *node)
{
	memset(node->offset_bucket, 0, sizeof(node->offset_bucket));
	node->jumped_ns = node->sent_boottime_ns = node->floor_ns = 0;
}

void node_clock(struct node *node, uint64_t append_ns, uint64_t sent_boottime_ns,
		uint64_t sent_realtime_ns)
{
	uint64_t bucket = append_ns / (OFFSET_BUCKET_S * NS_PER_S) + 1;
	uint32_t at = (uint32_t)(bucket % OFFSET_BUCKETS);
	if (sent_realtime_ns == 0 || sent_realtime_ns > INT64_MAX)
		return; /* it does not tell */
	node->jumped_ns += clock_jump(node, append_ns, sent_boottime_ns, sent_realtime_ns);
	uint64_t end_ns = node->sent_realtime_ns + (uint64_t)node->offset_ns;
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
