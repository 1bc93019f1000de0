#include "daemon/parcel.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct parcels {
	uint32_t task;
	struct names *told;
	const struct name **due; /* scratch */
	size_t due_count, due_max;
};

struct parcels *parcels_new(uint32_t task, uint32_t names_max)
{
	struct parcels *parcels = memory_zeroed(1, sizeof(*parcels));

	parcels->task = task;
	parcels->told = names_new(names_max, 1);
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

static const char *copied(const char *text)
{
	char *copy = strdup(text ? text : "");

	if (!copy)
		abort(); /* out of memory: the log holds what we had */
	return copy;
}

static void add_view(void *context, const struct mirror_node *node)
{
	struct views *views = context;

	if (views->count == views->max) {
		views->max = memory_grown(views->max, views->count + 1);
		views->views = memory_resize(views->views, views->max, sizeof(*views->views));
	}
	views->views[views->count++] = (struct agent_view){
		.node = copied(node->node),
		.zone = copied(node->zone),
		.region = copied(node->region),
		.role = copied(node->role),
		.version = copied(node->agent_version),
		.epoch = node->epoch,
		.last_seen_ns = node->last_append_ns,
		.clock_offset_ns = node->clock_offset_ns,
		.events = node->events,
		.lost = node->lost,
		.dropped_ring = node->dropped_ring,
		.dropped_netlink = node->dropped_netlink,
		.dropped_spool = node->dropped_spool,
		.sockets = node->sockets,
		.scan_period_ms = node->scan_period_ms,
	};
}

struct parcel *parcels_stats(struct parcels *parcels, const struct task_stats *stats,
			     const struct mirror *mirror)
{
	struct parcel *parcel = memory_zeroed(1, sizeof(*parcel));
	struct views views = {0};

	mirror_nodes(mirror, add_view, &views);
	parcel->kind = PARCEL_STATS;
	parcel->task = parcels->task;
	parcel->stats = *stats;
	parcel->agents = views.views;
	parcel->agents_count = views.count;
	return parcel;
}

void parcel_free(struct parcel *parcel)
{
	for (size_t i = 0; i < parcel->agents_count; i++) {
		free((char *)(uintptr_t)parcel->agents[i].node);
		free((char *)(uintptr_t)parcel->agents[i].zone);
		free((char *)(uintptr_t)parcel->agents[i].region);
		free((char *)(uintptr_t)parcel->agents[i].role);
		free((char *)(uintptr_t)parcel->agents[i].version);
	}
	free(parcel->agents);
	free(parcel);
}
