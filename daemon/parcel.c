#include "daemon/parcel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/entropy.h"
#include "metadata/change.h"
#include "millrace/v1/events.pb-c.h"

struct parcels {
	uint32_t task;
	uint64_t happened; /* number of what befell containers next */
	struct names *told;
	const struct name **due; /* scratch */
	size_t due_count, due_max;
};

struct parcels *parcels_new(uint32_t task, uint32_t names_max)
{
	struct parcels *parcels = memory_zeroed(1, sizeof(*parcels));

	parcels->task = task;
	parcels->told = names_new(names_max, 1);
	names_seed(parcels->told, entropy_word());
	return parcels;
}

void parcels_free(struct parcels *parcels)
{
	names_free(parcels->told);
	free(parcels->due);
	free(parcels);
}

/* What the reader has, and was told lately, is most of all names: only others are looked for. */
static void collect(struct parcels *parcels, uint64_t id, const struct names *names, uint64_t pane)
{
	bool told = id && names_get(parcels->told, id);

	if (!id || (told && !names_due(parcels->told, id, 0, pane)))
		return;

	const struct name *name = names_get(names, id);

	if (!name)
		return;
	if (!told) {
		names_learn(parcels->told, name, pane);
		if (!names_due(parcels->told, id, 0, pane))
			return; /* no room to remember that it was sent */
	}
	if (parcels->due_count == parcels->due_max) {
		parcels->due_max = memory_grown(parcels->due_max, parcels->due_count + 1);
		parcels->due = memory_resize(parcels->due, parcels->due_max, sizeof(*parcels->due));
	}
	parcels->due[parcels->due_count++] = name;
}

static void collect_all(struct parcels *parcels, const uint64_t *ids, size_t count,
			const struct names *names, uint64_t pane)
{
	for (size_t i = 0; i < count; i++)
		collect(parcels, ids[i], names, pane);
}

/* before: the row before it, or NULL; rows of an edge follow each other. */
static void collect_row(struct parcels *parcels, const struct rollup *rollup,
			const struct rollup *before, const struct names *names, uint64_t pane)
{
	const uint64_t ends[] = {rollup->edge.client, rollup->edge.server};
	const uint64_t lane[] = {rollup->lane.client_zone, rollup->lane.server_zone,
				 rollup->lane.client_version, rollup->lane.server_version};
	const uint64_t instance[] = {rollup->instance.workload,	 rollup->instance.version,
				     rollup->instance.zone,	 rollup->instance.node,
				     rollup->instance.container, rollup->instance.process};

	if (!before || before->edge.id != rollup->edge.id)
		collect_all(parcels, ends, 2, names, pane);
	if (rollup->scope == SCOPE_LANE)
		collect_all(parcels, lane, 4, names, pane);
	if (rollup->scope == SCOPE_CLIENT || rollup->scope == SCOPE_SERVER)
		collect_all(parcels, instance, 6, names, pane);
}

static struct sketch_cell *copy_cells(struct sketch_cell **cursor, const struct sketch_cell *cells,
				      uint32_t count)
{
	struct sketch_cell *copy = *cursor;

	if (count)
		memcpy(copy, cells, count * sizeof(*cells));
	*cursor += count;
	return copy;
}

_Static_assert(2 * SKETCH_INDEXES <= CELLS_A_PARCEL, "any row fits");

size_t parcels_fit(const struct rollup *rollups, size_t count)
{
	uint64_t cells = 0;
	size_t some = 0;

	for (; some < count && some < ROWS_A_PARCEL; some++) {
		cells += (uint64_t)rollups[some].connect_cells + rollups[some].srtt_cells;
		if (cells > CELLS_A_PARCEL)
			break;
	}
	return some;
}

struct parcel *parcels_rollups(struct parcels *parcels, const struct rollup *rollups, size_t count,
			       const struct names *names, uint64_t pane)
{
	size_t cells = 0, text = 0;

	parcels->due_count = 0;
	names_advance(parcels->told, pane);
	for (size_t i = 0; i < count; i++) {
		cells += rollups[i].connect_cells + rollups[i].srtt_cells;
		collect_row(parcels, &rollups[i], i ? &rollups[i - 1] : NULL, names, pane);
	}
	for (size_t i = 0; i < parcels->due_count; i++)
		text += parcels->due[i]->length + 1;

	/* One allocation: the parcel, rows, names, cells, then the names' bytes; alignment falls
	 * from piece to piece. */
	struct parcel *parcel = memory_resize(NULL,
					      sizeof(*parcel) + count * sizeof(*rollups) +
						      parcels->due_count * sizeof(struct name) +
						      cells * sizeof(struct sketch_cell) + text,
					      1);

	*parcel = (struct parcel){0};
	parcel->kind = PARCEL_ROLLUPS;
	parcel->task = parcels->task;
	parcel->rollups = (struct rollup *)(parcel + 1);
	parcel->rollups_count = count;
	parcel->names = (struct name *)(parcel->rollups + count);
	parcel->names_count = parcels->due_count;

	struct sketch_cell *cursor = (struct sketch_cell *)(parcel->names + parcel->names_count);

	for (size_t i = 0; i < count; i++) {
		parcel->rollups[i] = rollups[i];
		parcel->rollups[i].connect =
			copy_cells(&cursor, rollups[i].connect, rollups[i].connect_cells);
		parcel->rollups[i].srtt =
			copy_cells(&cursor, rollups[i].srtt, rollups[i].srtt_cells);
	}

	char *bytes = (char *)cursor;

	for (size_t i = 0; i < parcel->names_count; i++) {
		const struct name *name = parcels->due[i];

		parcel->names[i] =
			(struct name){.id = name->id, .bytes = bytes, .length = name->length};
		memcpy(bytes, name->bytes, name->length + 1);
		bytes += name->length + 1;
	}
	return parcel;
}

/* --- agents --- */

struct views {
	struct agent_view *views;
	size_t count, max;
};

/* A message of query.proto in the making, and what it points to. */
struct about {
	Millrace__V1__AgentResponse response;
	Millrace__V1__Agent agent;
	Millrace__V1__Ledger ledger; /* its losses alone */
	Millrace__V1__NodeFacts *facts;
	Millrace__V1__AgentState *state;
	struct shown_listener {
		Millrace__V1__Listener message;
		char address[ADDRESS_TEXT_MAX];
	} * listeners;
	char boot_id[2 * 16 + 1];
};

static void fill_node(struct about *about, const struct mirror_node *node)
{
	Millrace__V1__Agent *agent = &about->agent;

	agent->node = (char *)(uintptr_t)node->node;
	agent->zone = (char *)(uintptr_t)node->zone;
	agent->region = (char *)(uintptr_t)node->region;
	agent->role = (char *)(uintptr_t)node->role;
	agent->version = (char *)(uintptr_t)node->agent_version;
	for (size_t i = 0; i < sizeof(node->boot_id); i++)
		snprintf(about->boot_id + 2 * i, 3, "%02x", node->boot_id[i]);
	agent->boot_id = about->boot_id;
}

static void fill_facts(Millrace__V1__Agent *agent, const Millrace__V1__NodeFacts *facts)
{
	agent->booted_s = (double)facts->booted_us / 1e6;
	agent->kernel = facts->kernel;
	agent->os = facts->os;
	agent->architecture = facts->architecture;
	agent->cpus = facts->cpus;
	agent->memory_bytes = facts->memory_bytes;
	agent->cloud = facts->cloud;
	agent->instance_id = facts->instance_id;
	agent->instance_type = facts->instance_type;
	agent->n_labels = facts->n_labels;
	agent->labels = facts->labels;
}

static void fill_state(Millrace__V1__Agent *agent, const Millrace__V1__AgentState *state)
{
	agent->level = state->level;
	agent->degraded = state->degraded;
	agent->cpu_share = state->cpu_share;
	agent->cpu_budget = state->cpu_budget;
	agent->n_features = state->n_features;
	agent->features = state->features;
	agent->n_missing = state->n_missing;
	agent->missing = state->missing;
	agent->programs = state->programs;
	agent->programs_wanted = state->programs_wanted;
	agent->self_tests = state->self_tests;
	agent->self_tests_failed = state->self_tests_failed;
	agent->control_id = state->control_id;
	agent->control_error = state->control_error;
	agent->ledger->n_losses = state->n_losses;
	agent->ledger->losses = state->losses;
}

static void fill_listener(struct shown_listener *shown, const struct mirror_listener *listener)
{
	millrace__v1__listener__init(&shown->message);
	address_format(&listener->address, shown->address);
	shown->message.address = shown->address;
	shown->message.port = listener->port;
	shown->message.program = (char *)(uintptr_t)listener->program;
	shown->message.pid = listener->pid;
	shown->message.workload = (char *)(uintptr_t)listener->workload;
	shown->message.backlog = listener->backlog;
	shown->message.backlog_max = listener->backlog_max;
	shown->message.drops = listener->drops;
	shown->message.netns = listener->netns;
}

static void fill_listeners(struct about *about, const struct mirror_about *from)
{
	size_t count = from->listeners_count;

	about->listeners = memory_zeroed(count, sizeof(*about->listeners));
	about->response.listeners = memory_zeroed(count, sizeof(*about->response.listeners));
	about->response.n_listeners = count;
	for (size_t i = 0; i < count; i++) {
		fill_listener(&about->listeners[i], &from->listeners[i]);
		about->response.listeners[i] = &about->listeners[i].message;
	}
	about->agent.listeners = from->listeners_all;
	about->response.listeners_left_out = from->listeners_all - (uint32_t)count;
}

static void pack_about(struct agent_view *view, const struct mirror_node *node)
{
	const struct mirror_about *from = node->about;
	struct about about = {
		.facts = millrace__v1__node_facts__unpack(NULL, from->facts_length, from->facts),
		.state = millrace__v1__agent_state__unpack(NULL, from->state_length, from->state)};
	uint8_t *bytes;

	millrace__v1__agent_response__init(&about.response);
	millrace__v1__agent__init(&about.agent);
	millrace__v1__ledger__init(&about.ledger);
	about.response.agent = &about.agent;
	about.agent.ledger = &about.ledger;
	fill_node(&about, node);
	if (about.facts)
		fill_facts(&about.agent, about.facts);
	if (about.state)
		fill_state(&about.agent, about.state);
	fill_listeners(&about, from);
	view->about_length = millrace__v1__agent_response__get_packed_size(&about.response);
	bytes = memory_resize(NULL, view->about_length, 1);
	millrace__v1__agent_response__pack(&about.response, bytes);
	view->about = bytes;
	free(about.listeners);
	free(about.response.listeners);
	millrace__v1__node_facts__free_unpacked(about.facts, NULL);
	millrace__v1__agent_state__free_unpacked(about.state, NULL);
}

static const char *copied(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		abort(); /* out of memory: the log holds what we had */
	return copy;
}

static void add_view(void *context, const struct mirror_node *node)
{
	struct views *views = context;
	struct agent_view *view;

	if (views->count == views->max) {
		views->max = memory_grown(views->max, views->count + 1);
		views->views = memory_resize(views->views, views->max, sizeof(*views->views));
	}
	view = &views->views[views->count++];
	*view = (struct agent_view){
		.node = copied(node->node),
		.epoch = node->epoch,
		.last_seen_ns = node->last_append_ns,
		.told_ns = node->told_ns,
		.self_test_failed_ns = node->self_test_failed_ns,
		.clock_offset_ns = node->clock_offset_ns,
		.ledger = node->ledger,
		.minute = node->minute,
		.hour = node->hour,
		.sockets = node->sockets,
		.scan_period_ms = node->scan_period_ms,
	};
	if (node->about)
		pack_about(view, node);
}

static void add_change(void *context, const struct change_event *change)
{
	struct parcel *parcel = context;

	parcel->changes =
		memory_resize(parcel->changes, parcel->changes_count + 1, sizeof(*parcel->changes));
	parcel->changes[parcel->changes_count++] = *change;
}

struct parcel *parcels_stats(struct parcels *parcels, const struct task_stats *stats,
			     struct mirror *mirror)
{
	struct parcel *parcel = memory_zeroed(1, sizeof(*parcel));
	struct views views = {0};

	mirror_nodes(mirror, add_view, &views);
	parcel->kind = PARCEL_STATS;
	parcel->task = parcels->task;
	parcel->stats = *stats;
	parcel->agents = views.views;
	parcel->agents_count = views.count;
	parcels->happened = mirror_happenings(mirror, parcels->happened, add_change, parcel);
	return parcel;
}

void parcel_free(struct parcel *parcel)
{
	for (size_t i = 0; i < parcel->agents_count; i++) {
		free((char *)(uintptr_t)parcel->agents[i].node);
		free((uint8_t *)(uintptr_t)parcel->agents[i].about);
	}
	free(parcel->agents);
	free(parcel->changes);
	free(parcel);
}
