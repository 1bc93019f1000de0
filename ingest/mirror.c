#include "ingest/mirror.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "ingest/state.h"

enum { EVENTS_MAX = 4194304 };

const char *mirror_reason_name(enum mirror_reason reason)
{
	static const char *const names[MIRROR_REASONS] = {
		[MIRROR_MALFORMED] = "malformed",
		[MIRROR_TRUNCATED] = "truncated",
		[MIRROR_OVERSIZED] = "oversized",
		[MIRROR_VERSION] = "version",
		[MIRROR_UNAUTHENTICATED] = "unauthenticated",
		[MIRROR_FIELD] = "field",
		[MIRROR_COLUMN_LENGTH] = "column_length",
		[MIRROR_CODEC] = "codec",
	};
	return (unsigned)reason < MIRROR_REASONS ? names[reason] : "unknown";
}

struct mirror *mirror_new(const struct mirror_options *options)
{
	assert(options->join_tasks > 0 && options->nodes_max > 0 && options->halves_max > 0);
	struct mirror *mirror = memory_zeroed(1, sizeof(*mirror));
	mirror->options = *options;
	mirror->decoder = decoder_new(&(struct decode_options){
		.record_bytes_max = options->record_bytes_max,
		.secret = options->secret,
		.secret_length = options->secret_length,
	});
	mirror->names = names_new(options->names_max, options->destinations);
	panes_init(&mirror->panes, options->events_max ? options->events_max : EVENTS_MAX);
	mirror->nodes = memory_zeroed(options->nodes_max, sizeof(struct node *));
	table_init(&mirror->node_ids, sizeof(uint64_t), 2 * sizeof(uint64_t));
	table_init(&mirror->servers_told, sizeof(struct server_key), sizeof(struct told_server));
	mirror->halves = memory_zeroed(options->halves_max, sizeof(*mirror->halves));
	mirror->labels = memory_zeroed(options->halves_max, sizeof(*mirror->labels));
	mirror->contributions =
		memory_zeroed(options->amendments_max, sizeof(*mirror->contributions));
	return mirror;
}

void mirror_free(struct mirror *mirror)
{
	if (!mirror)
		return;
	struct queue *queues[] = {
		&mirror->openings,     &mirror->closings,      &mirror->aliases,
		&mirror->parts,	       &mirror->leaving,       &mirror->changes,
		&mirror->sorted_opens, &mirror->sorted_closes, &mirror->owners,
		&mirror->deltas,       &mirror->amendments,    &mirror->task_opens,
		&mirror->task_closes,  &mirror->task_aliases,  &mirror->servers,
	};
	for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++)
		free(queues[i]->items);
	for (uint32_t i = 0; i < mirror->nodes_count; i++)
		if (mirror->nodes[i])
			node_free(mirror->nodes[i]);
	decoder_free(mirror->decoder);
	names_free(mirror->names);
	panes_done(&mirror->panes);
	table_done(&mirror->node_ids);
	table_done(&mirror->servers_told);
	free(mirror->nodes);
	free(mirror->halves);
	free(mirror->labels);
	free(mirror->contributions);
	free(mirror);
}

void *queue_room(struct queue *queue, size_t count, size_t size)
{
	if (count > queue->capacity || !queue->items) {
		queue->capacity = memory_grown(queue->capacity, count);
		queue->items = memory_resize(queue->items, queue->capacity, size);
	}
	return queue->items;
}

void *queue_add(struct queue *queue, size_t size)
{
	queue_room(queue, queue->count + 1, size);
	return (uint8_t *)queue->items + size * queue->count++;
}

/* ---- the clock ---- */

static void clock_advance(struct mirror *mirror, uint64_t append_ns)
{
	uint64_t step_ns = CLOCK_STEP_S * NS_PER_S;
	if (mirror->clock_ns == 0) {
		mirror->clock_ns = append_ns;
		mirror->first_pane = append_ns > mirror->options.lateness_ns
					     ? pane_of(append_ns - mirror->options.lateness_ns)
					     : 0;
		return;
	}
	if (append_ns > mirror->clock_ns + step_ns) {
		mirror->clock_ns += step_ns;
		mirror->stats.clock_steps++;
	} else if (append_ns > mirror->clock_ns) {
		mirror->clock_ns = append_ns;
	} else if (append_ns + step_ns < mirror->clock_ns) {
		mirror->stats.clock_steps++;
	}
}

uint64_t mirror_clock(const struct mirror *mirror)
{
	return mirror->clock_ns;
}

bool mirror_ready(const struct mirror *mirror, uint64_t pane)
{
	return mirror->clock_ns && pane_end(pane) + mirror->options.lateness_ns <= mirror->clock_ns;
}

uint64_t mirror_first_pane(const struct mirror *mirror)
{
	return mirror->first_pane;
}

uint64_t mirror_open_pane(const struct mirror *mirror)
{
	if (mirror->clock_ns <= mirror->options.lateness_ns)
		return mirror->first_pane;
	uint64_t open = pane_of(mirror->clock_ns - mirror->options.lateness_ns);
	return open > mirror->first_pane ? open : mirror->first_pane;
}

/* ---- records ---- */

static void deadletter(struct mirror *mirror, const struct mirror_record *record,
		       enum mirror_reason reason, const char *detail, const char *node)
{
	const struct mirror_sinks *sinks = &mirror->options.sinks;
	mirror->stats.deadletters[reason]++;
	if (sinks->deadletter)
		sinks->deadletter(sinks->context, record, reason, detail, node);
}

static void push_record(struct mirror *mirror, struct mirror_record record)
{
	struct decoded *decoded = &mirror->decoded;
	if (record.append_ns > INT64_MAX / 2)
		record.append_ns =
			mirror->clock_ns; /* no time of this world: it does not move ours */
	mirror->stats.records++;
	mirror->stats.bytes += record.length;
	clock_advance(mirror, record.append_ns);
	intake_silence(mirror);
	if (!record.value) {
		deadletter(mirror, &record, MIRROR_CODEC, "the record batch cannot be decompressed",
			   "");
		return;
	}
	if (!mirror->clock_ns) {
		deadletter(mirror, &record, MIRROR_FIELD, "the first record has no append time",
			   "");
		return;
	}
	decoder_read(mirror->decoder, record.value, record.length, decoded);
	mirror->stats.unknown_fields += decoded->unknown_fields;
	if (!decoded->batch) {
		uint64_t events = decoded->events > DECODE_EVENTS_MAX ? 0 : decoded->events;
		mirror->stats.events += events;
		mirror->stats.quarantined += events;
		deadletter(mirror, &record, decoded->reason, decoded->detail, decoded->node);
		return;
	}
	if (decoded->tick)
		mirror->stats.ticks++;
	else
		intake_batch(mirror, &record);
}

void mirror_push(struct mirror *mirror, const struct mirror_record *records, size_t count)
{
	for (size_t i = 0; i < count; i++)
		push_record(mirror, records[i]);
}

/* ---- halves ---- */

static void half_unlinger(struct mirror *mirror, struct half *half)
{
	*(half->earlier ? &half_at(mirror, half->earlier - 1)->later : &mirror->linger_first) =
		half->later;
	*(half->later ? &half_at(mirror, half->later - 1)->earlier : &mirror->linger_last) =
		half->earlier;
	half->state &= (uint8_t)~HALF_LINGERING;
}

void half_linger(struct mirror *mirror, uint32_t index)
{
	struct half *half = half_at(mirror, index);
	half->earlier = mirror->linger_last;
	half->later = NONE;
	*(half->earlier ? &half_at(mirror, half->earlier - 1)->later : &mirror->linger_first) =
		index + 1;
	mirror->linger_last = index + 1;
	half->state |= HALF_LINGERING;
}

/* A closed half that waits for its final label makes room for a new one, the oldest first; not
 * while its last deltas or its amendments are still to go. */
static void half_evict(struct mirror *mirror)
{
	if (!mirror->linger_first)
		return;
	const struct half *oldest = half_at(mirror, mirror->linger_first - 1);
	bool busy = oldest->change != NONE;
	for (int kind = 0; kind < PART_KINDS; kind++)
		busy |= oldest->parts[kind] != NONE;
	if (!busy)
		half_give(mirror, mirror->linger_first - 1);
}

uint32_t half_take(struct mirror *mirror, struct node *node)
{
	if (!mirror->halves_free && mirror->halves_used == mirror->options.halves_max)
		half_evict(mirror);
	uint32_t index;
	if (mirror->halves_free) {
		index = mirror->halves_free - 1;
		mirror->halves_free = half_at(mirror, index)->later;
	} else if (mirror->halves_used < mirror->options.halves_max) {
		index = mirror->halves_used++;
	} else {
		return NONE;
	}
	struct half *half = half_at(mirror, index);
	*half = (struct half){
		.generation = half->generation,
		.node = node->index,
		.incarnation = node->incarnation,
		.older = node->halves,
	};
	if (node->halves)
		half_at(mirror, node->halves - 1)->newer = index + 1;
	node->halves = index + 1;
	mirror->stats.halves++;
	return index + 1;
}

void half_give(struct mirror *mirror, uint32_t index)
{
	struct half *half = half_at(mirror, index);
	struct node *node = mirror->nodes[half->node];
	if (half->state & HALF_LINGERING)
		half_unlinger(mirror, half);
	outcome_forget(mirror, half);
	*(half->newer ? &half_at(mirror, half->newer - 1)->older : &node->halves) = half->older;
	if (half->older)
		half_at(mirror, half->older - 1)->newer = half->newer;
	half->generation++;
	half->state = 0;
	half->later = mirror->halves_free;
	mirror->halves_free = index + 1;
	mirror->stats.halves--;
}

/* ---- nodes ---- */

void node_leave(struct mirror *mirror, struct node *node)
{
	mirror->slots_count -= node->slots_count;
	mirror->stats.nats -= node->nats.count;
	mirror->stats.processes -= node->processes.count;
	mirror->stats.containers -= node->containers.count;
	mirror->stats.nodes--;
	table_remove(&mirror->node_ids, table_find(&mirror->node_ids, &node->name_id));
	mirror->nodes[node->index] = NULL;
	node_free(node);
}

static int compare_nodes(const void *a, const void *b)
{
	const struct node *const *first = a, *const *second = b;
	return strcmp((*first)->name, (*second)->name);
}

static const char *name_text(const struct mirror *mirror, uint64_t id)
{
	const struct name *name = names_get(mirror->names, id);
	return name ? name->bytes : "";
}

void mirror_nodes(const struct mirror *mirror,
		  void (*each)(void *context, const struct mirror_node *node), void *context)
{
	const struct node **sorted = memory_zeroed(mirror->nodes_count, sizeof(*sorted));
	size_t count = 0;
	for (uint32_t i = 0; i < mirror->nodes_count; i++)
		if (mirror->nodes[i])
			sorted[count++] = mirror->nodes[i];
	qsort(sorted, count, sizeof(*sorted), compare_nodes);
	for (size_t i = 0; i < count; i++) {
		const struct node *node = sorted[i];
		struct mirror_node view = {
			.node = node->name,
			.zone = name_text(mirror, node->zone),
			.region = name_text(mirror, node->region),
			.role = name_text(mirror, node->role),
			.agent_version = name_text(mirror, node->agent_version),
			.epoch = node->epoch,
			.last_append_ns = node->last_append_ns,
			.clock_offset_ns = node->offset_ns,
			.events = node->events,
			.lost = node->lost,
			.dropped_ring = node->dropped_ring,
			.dropped_netlink = node->dropped_netlink,
			.dropped_spool = node->dropped_spool,
			.sockets = node->sockets,
			.scan_period_ms = node->scan_period_ms,
		};
		memcpy(view.boot_id, node->boot_id, sizeof(view.boot_id));
		each(context, &view);
	}
	free(sorted);
}

struct names *mirror_names(struct mirror *mirror)
{
	return mirror->names;
}

struct mirror_stats mirror_stats(const struct mirror *mirror)
{
	struct mirror_stats stats = mirror->stats;
	stats.pending = mirror->panes.pending;
	return stats;
}
