#include "ingest/mirror.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "ingest/state.h"

enum {
	EVENTS_MAX = 4194304,
	LISTENERS_MAX = 65536,
	ANSWERS_MAX = 65536,
	NODES_MAX = 65536, /* a delta in the making has 16 bits for its node */
	HALVES_A_PAGE_MIN =
		32, /* on average, besides two pages a node: agents number slots densely */
};

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
		[MIRROR_QUARANTINED] = "quarantined",
		[MIRROR_CRASHED] = "crashed",
	};
	return (unsigned)reason < MIRROR_REASONS ? names[reason] : "unknown";
}

/* Not a part of the state: it holds keys, and nothing from record to record. */
static struct decoder *new_decoder(const struct mirror *mirror, const struct keys *keys)
{
	struct heap *heap = memory_use(NULL);
	struct decoder *decoder = decoder_new(&(struct decode_options){
		.record_bytes_max = mirror->options.record_bytes_max,
		.keys = keys,
	});
	memory_use(heap);
	return decoder;
}

struct mirror *mirror_new(const struct mirror_options *options)
{
	assert(options->join_tasks > 0 && options->join_tasks <= options->destinations);
	assert(options->nodes_max > 0 && options->nodes_max <= NODES_MAX);
	assert(options->halves_max > 0 && options->instances_max <= INSTANCES_MAX);
	struct mirror *mirror = memory_zeroed(1, sizeof(*mirror));
	mirror->options = *options;
	if (!options->listeners_max)
		mirror->options.listeners_max = LISTENERS_MAX;
	if (!options->answers_max)
		mirror->options.answers_max = ANSWERS_MAX;
	mirror->decoder = new_decoder(mirror, options->keys);
	mirror->names = names_new(options->names_max, options->destinations);
	names_seed(mirror->names, options->seed);
	panes_init(&mirror->panes, options->events_max ? options->events_max : EVENTS_MAX);
	mirror->nodes = memory_zeroed(options->nodes_max, sizeof(struct node *));
	table_init(&mirror->node_ids, sizeof(uint64_t), 2 * sizeof(uint64_t));
	departed_init(&mirror->departed);
	pods_init(&mirror->pods);
	answers_init(&mirror->answers, mirror->options.answers_max);
	table_init(&mirror->servers_told, sizeof(struct server_key), sizeof(struct told_server));
	mirror->roster = roster_new(options->instances_max, options->destinations);
	struct table *tables[] = {&mirror->node_ids, &mirror->departed, &mirror->pods,
				  &mirror->answers.keys, &mirror->servers_told};
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		table_seed(tables[i], options->seed);
	roster_seed(mirror->roster, options->seed);
	pages_init(&mirror->pages,
		   options->halves_max / HALVES_A_PAGE_MIN + 2 * options->nodes_max);
	/* Memory that is not touched costs nothing: nodes have a few thousand slots. Orphans' are
	 * as many again. */
	for (int kind = 0; kind < PART_KINDS; kind++)
		mirror->scratch.parts[kind] = memory_zeroed(2 * DECODE_SLOTS_MAX, sizeof(uint32_t));
	mirror->scratch.openings = memory_zeroed(2 * DECODE_SLOTS_MAX, sizeof(uint32_t));
	mirror->scratch.lookups = memory_zeroed(2 * DECODE_SLOTS_MAX, sizeof(uint32_t));
	mirror->scratch.defined = memory_zeroed(DECODE_SLOTS_MAX, sizeof(uint32_t));
	mirror->outboxes = memory_zeroed(options->join_tasks, sizeof(*mirror->outboxes));
	mirror->contributions =
		memory_zeroed(options->amendments_max, sizeof(*mirror->contributions));
	return mirror;
}

void mirror_bind(struct mirror *mirror, const struct mirror_sinks *sinks, const struct keys *keys)
{
	mirror->options.sinks = *sinks;
	mirror->options.keys = NULL;
	mirror->decoder = new_decoder(mirror, keys);
	mirror->decoded = (struct decoded){0};
	for (uint32_t i = 0; i < mirror->nodes_count; i++) {
		if (mirror->nodes[i])
			mirror->nodes[i]->news = true; /* who is shown them now knows none */
	}
}

void mirror_free(struct mirror *mirror)
{
	if (!mirror)
		return;
	struct queue *queues[] = {
		&mirror->times,	     &mirror->picks,	      &mirror->deltas,
		&mirror->parts,	     &mirror->made,	      &mirror->openings,
		&mirror->closings,   &mirror->held_closes,    &mirror->servers,
		&mirror->changes,    &mirror->released,	      &mirror->leaving,
		&mirror->amendments, &mirror->counts,	      &mirror->kept_deltas,
		&mirror->kept_parts, &mirror->waiting,	      &mirror->found,
		&mirror->news,	     &mirror->hearings,	      &mirror->lookups,
		&mirror->shown,	     &mirror->facts_waiting,  &mirror->addresses_waiting,
		&mirror->facts,	     &mirror->fact_addresses, &mirror->rules_waiting,
		&mirror->rules,	     &mirror->names_held,
	};
	for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++)
		memory_free(queues[i]->items);
	for (uint32_t i = 0; i < mirror->nodes_count; i++)
		if (mirror->nodes[i])
			node_free(mirror->nodes[i]);
	decoder_free(mirror->decoder);
	outboxes_done(mirror);
	names_free(mirror->names);
	panes_done(&mirror->panes);
	table_done(&mirror->node_ids);
	departed_done(&mirror->departed);
	table_done(&mirror->pods);
	answers_done(&mirror->answers);
	table_done(&mirror->servers_told);
	memory_free(mirror->nodes);
	pages_done(&mirror->pages);
	lingers_done(&mirror->lingers);
	roster_free(mirror->roster);
	for (int kind = 0; kind < PART_KINDS; kind++)
		memory_free(mirror->scratch.parts[kind]);
	memory_free(mirror->scratch.openings);
	memory_free(mirror->scratch.lookups);
	memory_free(mirror->scratch.defined);
	memory_free(mirror->contributions);
	memory_free(mirror->happenings);
	memory_free(mirror);
}

void mirror_keys(struct mirror *mirror, const struct keys *keys)
{
	decoder_keys(mirror->decoder, keys);
}

/* ---- the clock ---- */

static void clock_advance(struct mirror *mirror, uint64_t append_ns, int64_t offset)
{
	uint64_t step_ns = CLOCK_STEP_S * NS_PER_S;
	if (mirror->clock_ns == 0) {
		mirror->clock_ns = mirror->began_ns = append_ns;
		mirror->whole = offset == 0;
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

bool mirror_crowded(const struct mirror *mirror)
{
	return mirror->panes.pending > mirror->panes.events_max / 2;
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

static struct node *node_named(const struct mirror *mirror, const char *name)
{
	const struct {
		uint64_t id;
		uint32_t index;
	} * entry;
	uint64_t id = name_id(name, strlen(name));
	entry = table_find(&mirror->node_ids, &id);
	return entry ? mirror->nodes[entry->index] : NULL;
}

/* Whoever sends nothing but rubbish must not fill the topic (O-15); of a quarantined node one a
 * second tells enough. */
static bool letter_goes(struct letters *letters, uint64_t clock_ns, enum mirror_reason reason)
{
	uint64_t second = clock_ns / NS_PER_S;
	if (letters->second != second)
		*letters = (struct letters){.second = second};
	if (letters->count == LETTERS_MAX || (reason == MIRROR_QUARANTINED && letters->quarantined))
		return false;
	letters->count++;
	letters->quarantined |= reason == MIRROR_QUARANTINED;
	return true;
}

void deadletter(struct mirror *mirror, const struct mirror_record *record,
		enum mirror_reason reason, const char *detail, const char *node)
{
	const struct mirror_sinks *sinks = &mirror->options.sinks;
	mirror->stats.deadletters[reason]++;
	struct node *known = node_named(mirror, node);
	struct letters *letters = known ? &known->letters : &mirror->letters;
	if (!letter_goes(letters, mirror->clock_ns, reason))
		mirror->stats.deadletters_suppressed++;
	else if (sinks->deadletter)
		sinks->deadletter(sinks->context, record, reason, detail, node);
}

/* Whoever wrote it: the node that it names, if there is one, shows it. */
static void quarantine_unread(struct mirror *mirror, const char *name, uint64_t events)
{
	struct node *node = node_named(mirror, name);
	struct ledger *ledger = node ? &node->standing.ledger : &mirror->stats.others;
	count_events(&mirror->stats.events, &ledger->received, events);
	count_events(&mirror->stats.quarantined, &ledger->quarantined, events);
}

/* What every record does, whatever it holds. */
static void take_record(struct mirror *mirror, struct mirror_record *record)
{
	if (record->append_ns > INT64_MAX / 2)
		record->append_ns =
			mirror->clock_ns; /* no time of this world: it does not move ours */
	mirror->stats.records++;
	mirror->stats.bytes += record->length;
	clock_advance(mirror, record->append_ns, record->offset);
	intake_silence(mirror);
}

void mirror_pass_over(struct mirror *mirror, const struct mirror_record *passed)
{
	struct mirror_record record = *passed;
	take_record(mirror, &record);
	deadletter(mirror, &record, MIRROR_CRASHED, "reading it ended the process three times", "");
}

/* What the pipeline itself has to say. */
static void own_take(struct mirror *mirror, const Millrace__V1__Batch *batch)
{
	metadata_take(mirror, batch);
	rules_take(mirror, batch);
}

static void push_record(struct mirror *mirror, struct mirror_record record)
{
	struct decoded *decoded = &mirror->decoded;
	take_record(mirror, &record);
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
	struct heap *heap = memory_use(NULL); /* the decoder's is not kept */
	decoder_read(mirror->decoder, record.value, record.length, decoded);
	memory_use(heap);
	mirror->stats.unknown_fields += decoded->unknown_fields;
	if (!decoded->batch) {
		uint64_t events = decoded->events > DECODE_EVENTS_MAX ? 0 : decoded->events;
		quarantine_unread(mirror, decoded->node, events);
		deadletter(mirror, &record, decoded->reason, decoded->detail, decoded->node);
		return;
	}
	if (decoded->tick)
		mirror->stats.ticks++;
	else if (decoded->metadata)
		own_take(mirror, decoded->batch);
	else
		intake_batch(mirror, &record);
}

void mirror_push(struct mirror *mirror, const struct mirror_record *records, size_t count)
{
	for (size_t i = 0; i < count; i++)
		push_record(mirror, records[i]);
}

/* ---- nodes ---- */

void node_leave(struct mirror *mirror, struct node *node)
{
	mirror->stats.nats -= node->nats.count;
	mirror->stats.processes -= node->processes.count;
	mirror->stats.containers -= node->containers.count;
	mirror->stats.listeners -= node->listeners.count;
	about_forget(mirror, node);
	mirror->stats.nodes--;
	mute_gone(mirror, node);
	departed_keep(mirror, node);
	table_remove(&mirror->node_ids, table_find(&mirror->node_ids, &node->name_id));
	mirror->nodes[node->place] = NULL;
	mirror->ranks_stale = true;
	node_free(node);
}

static int compare_nodes(const void *a, const void *b)
{
	const struct node *const *first = a, *const *second = b;
	return strcmp((*first)->name, (*second)->name);
}

size_t nodes_by_name(const struct mirror *mirror, struct node **sorted)
{
	size_t count = 0;
	for (uint32_t i = 0; i < mirror->nodes_count; i++)
		if (mirror->nodes[i])
			sorted[count++] = mirror->nodes[i];
	qsort(sorted, count, sizeof(*sorted), compare_nodes);
	return count;
}

static const char *name_text(const struct mirror *mirror, uint64_t id)
{
	const struct name *name = names_get(mirror->names, id);
	return name ? name->bytes : "";
}

static struct mirror_about node_about(struct mirror *mirror, const struct node *node)
{
	listeners_show(mirror, node);
	return (struct mirror_about){
		.facts = node->facts.bytes,
		.state = node->state.bytes,
		.facts_length = node->facts.length,
		.state_length = node->state.length,
		.listeners = mirror->shown.items,
		.listeners_count = mirror->shown.count,
		.listeners_all = node->listeners.count,
	};
}

void mirror_nodes(struct mirror *mirror,
		  void (*each)(void *context, const struct mirror_node *node), void *context)
{
	struct node **sorted = memory_zeroed(mirror->nodes_count, sizeof(*sorted));
	size_t count = nodes_by_name(mirror, sorted);
	for (size_t i = 0; i < count; i++) {
		struct node *node = sorted[i];
		struct mirror_about about = {0};
		if (node->news)
			about = node_about(mirror, node);
		struct mirror_node view = {
			.node = node->name,
			.zone = name_text(mirror, node->zone),
			.region = name_text(mirror, node->region),
			.role = name_text(mirror, node->role),
			.agent_version = name_text(mirror, node->agent_version),
			.epoch = node->standing.numbering.epoch,
			.last_append_ns = node->standing.last_append_ns,
			.told_ns = node->told_ns,
			.self_test_failed_ns = node->self_test_failed_ns,
			.clock_offset_ns = node->offset_ns,
			.ledger = node->standing.ledger,
			.minute = node_minute(node, mirror->pane),
			.hour = node_hour(node, mirror->pane),
			.sockets = node->sockets,
			.scan_period_ms = node->scan_period_ms,
			.about = node->news ? &about : NULL,
		};
		node->news = false;
		memcpy(view.boot_id, node->standing.boot_id, sizeof(view.boot_id));
		each(context, &view);
	}
	memory_free(sorted);
}

struct names *mirror_names(struct mirror *mirror)
{
	return mirror->names;
}

struct roster *mirror_roster(struct mirror *mirror)
{
	return mirror->roster;
}

struct mirror_stats mirror_stats(const struct mirror *mirror)
{
	struct mirror_stats stats = mirror->stats;
	stats.pending = mirror->panes.pending;
	stats.names_refused = names_stats(mirror->names).refused;
	stats.instances_refused = roster_stats(mirror->roster).refused;
	return stats;
}

struct ledger mirror_ledger(const struct mirror_stats *stats)
{
	return (struct ledger){
		.issued = stats->issued,
		.received = stats->events,
		.lost = stats->lost,
		.duplicate = stats->duplicate,
		.quarantined = stats->quarantined,
		.refused = stats->refused,
		.late = stats->late,
		.pending = stats->pending,
		.aggregated = stats->aggregated,
		.dropped_ring = stats->dropped_ring,
		.dropped_netlink = stats->dropped_netlink,
		.dropped_spool = stats->dropped_spool,
	};
}
