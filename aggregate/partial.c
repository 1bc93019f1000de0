#include "aggregate/partial.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "aggregate/bucket.h"
#include "aggregate/other.h"
#include "aggregate/rows.h"
#include "base/hash.h"
#include "base/memory.h"

enum {
	PARTS = 3, /* a delta counts in its lane, its client's instance and its server's */
	/* Places of the sent cache for each row of a pane: a descriptor that loses its place is
	 * sent once more than needed, so the cache only has to be roomy. */
	SENT_PER_ROW = 2,
	SENT_MIN = 1024,
};

/* What an owner has been sent, and when: one place a hash, the newest stays. */
struct sent {
	uint64_t key;
	uint64_t pane; /* plus one; 0: nothing */
};

/* The next bucket's arrays, with room kept from bucket to bucket. */
struct packing {
	struct partial_bucket bucket;
	struct bucket_row *rows;
	int64_t *values;
	struct edge *edges;
	struct lane *lanes;
	struct instance *instances;
	struct sketch_cell *cells;
	uint8_t *name_lengths;
	char *name_bytes;
	size_t rows_capacity, values_capacity, edges_capacity, lanes_capacity, instances_capacity,
		cells_capacity, names_capacity, bytes_capacity;
};

struct partial {
	struct partial_options options;
	struct rows *rows;   /* one an owner */
	uint32_t rows_count; /* over all owners, `_other` rows left out */
	uint32_t owner;	     /* whose bucket is taken next */
	struct sent *sent;
	uint64_t sent_mask;
	struct packing packing;
	struct partial_stats stats;
};

struct partial *partial_new(const struct partial_options *options)
{
	assert(options->owners > 0 && options->names);
	struct partial *partial = memory_zeroed(1, sizeof(*partial));
	partial->options = *options;
	partial->rows = memory_zeroed(options->owners, sizeof(*partial->rows));
	for (uint32_t owner = 0; owner < options->owners; owner++)
		rows_init(&partial->rows[owner]);
	uint64_t sent = SENT_MIN;
	while (sent < SENT_PER_ROW * (uint64_t)options->rows_max)
		sent *= 2;
	partial->sent = memory_zeroed(sent, sizeof(*partial->sent));
	partial->sent_mask = sent - 1;
	return partial;
}

void partial_free(struct partial *partial)
{
	if (!partial)
		return;
	for (uint32_t owner = 0; owner < partial->options.owners; owner++)
		rows_done(&partial->rows[owner]);
	free(partial->rows);
	free(partial->sent);
	struct packing *packing = &partial->packing;
	free(packing->rows);
	free(packing->values);
	free(packing->edges);
	free(packing->lanes);
	free(packing->instances);
	free(packing->cells);
	free(packing->name_lengths);
	free(packing->name_bytes);
	free(partial);
}

/* --- adding --- */

static struct row_key part_key(const struct label *label, unsigned part, uint8_t kind,
			       uint64_t window_start_ns)
{
	static const uint8_t scopes[PARTS] = {SCOPE_LANE, SCOPE_CLIENT, SCOPE_SERVER};
	const uint64_t subs[PARTS] = {label->lane.id, label->client.id, label->server.id};
	return (struct row_key){
		.edge_id = label->edge.id,
		.sub_id = subs[part],
		.window_start_ns = window_start_ns,
		.scope = scopes[part],
		.kind = kind,
	};
}

static struct row_identity part_identity(const struct label *label, unsigned part)
{
	struct row_identity identity = {
		.edge = label->edge,
		.client_address = label->client_address,
		.server_address = label->server_address,
	};
	if (part == 0)
		identity.lane = label->lane;
	else
		identity.instance = part == 1 ? label->client : label->server;
	return identity;
}

/* The three rows of the label, made where missing if that keeps within rows_max. */
static bool partial_find(struct partial *partial, struct rows *rows, const struct label *label,
			 uint8_t kind, uint64_t window_start_ns, uint32_t places[PARTS],
			 bool bounded)
{
	struct row_key keys[PARTS];
	uint64_t hashes[PARTS];
	uint32_t missing = 0;
	for (unsigned part = 0; part < PARTS; part++) {
		keys[part] = part_key(label, part, kind, window_start_ns);
		hashes[part] = row_key_hash(&keys[part]);
		places[part] = rows_find(rows, &keys[part], hashes[part]);
		missing += places[part] == ROW_NONE;
	}
	if (missing == 0)
		return true;
	if (bounded && (uint64_t)partial->rows_count + missing > partial->options.rows_max)
		return false;
	for (unsigned part = 0; part < PARTS; part++) {
		if (places[part] != ROW_NONE)
			continue;
		struct row_identity identity = part_identity(label, part);
		places[part] = rows_create(rows, &keys[part], hashes[part], &identity);
	}
	if (bounded)
		partial->rows_count += missing;
	return true;
}

/* Rows of `_other` come on top of rows_max: three an owner, kind and amended window. A delta folds
 * whole, so the scopes of an edge agree. */
static struct rows *partial_place(struct partial *partial, const struct label *label, uint8_t kind,
				  uint64_t window_start_ns, uint32_t places[PARTS])
{
	struct rows *rows = &partial->rows[hash_owner(label->edge.server, partial->options.owners)];
	if (partial_find(partial, rows, label, kind, window_start_ns, places, true))
		return rows;
	struct label other = {
		.edge = other_edge(),
		.lane = other_lane(),
		.client = other_instance(other_id()),
		.server = other_instance(other_id()),
	};
	partial_find(partial, rows, &other, kind, window_start_ns, places, false);
	partial->stats.folded++;
	return rows;
}

static void partial_add(struct partial *partial, const struct delta *delta)
{
	uint8_t kind = delta->flags & (DELTA_LATE | DELTA_RECOVERED) ? ROW_LONG : ROW_PANE;
	uint32_t places[PARTS];
	struct rows *rows = partial_place(partial, delta->label, kind, 0, places);
	struct tally tally;
	tally_delta(&tally, delta);
	uint64_t connect_us = delta_connect_us(delta), srtt_us = delta_srtt_us(delta);
	uint32_t min_rtt_us = delta->flags & DELTA_PROBE ? 0 : delta->min_rtt_us;
	for (unsigned part = 0; part < PARTS; part++) {
		struct row *row = &rows->rows[places[part]];
		row_tally(row, &tally);
		if (delta->time_ns > row->last_event_ns)
			row->last_event_ns = delta->time_ns;
		if (min_rtt_us && (!row->min_rtt_us || min_rtt_us < row->min_rtt_us))
			row->min_rtt_us = min_rtt_us;
		if (connect_us)
			rows_sample(rows, places[part], DISTRIBUTION_CONNECT, connect_us * 1000);
		if (srtt_us)
			rows_sample(rows, places[part], DISTRIBUTION_SRTT, srtt_us * 1000);
	}
}

void partial_push(struct partial *partial, const struct delta *deltas, size_t count)
{
	for (size_t i = 0; i < count; i++)
		partial_add(partial, &deltas[i]);
	partial->stats.deltas += count;
}

static void partial_move(struct partial *partial, const struct amendment *amendment,
			 const struct label *label, int64_t sign)
{
	struct tally tally;
	tally_amendment(&tally, amendment, label, sign);
	if (tally.count == 0)
		return;
	uint32_t places[PARTS];
	struct rows *rows =
		partial_place(partial, label, ROW_AMEND, amendment->window_start_ns, places);
	for (unsigned part = 0; part < PARTS; part++)
		row_tally(&rows->rows[places[part]], &tally);
}

void partial_amend(struct partial *partial, const struct amendment *amendments, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		partial_move(partial, &amendments[i], amendments[i].before, -1);
		partial_move(partial, &amendments[i], amendments[i].after, 1);
	}
	partial->stats.amendments += count;
}

/* --- taking --- */

/* Room for `more` elements behind the first `count`. */
static void *packing_reserve(void *array, size_t *capacity, size_t count, size_t more, size_t size)
{
	if (count + more <= *capacity)
		return array;
	*capacity = memory_grown(*capacity, count + more);
	return memory_resize(array, *capacity, size);
}

static void pack_values(struct packing *packing, const struct row *row, struct bucket_row *packed)
{
	packing->values =
		packing_reserve(packing->values, &packing->values_capacity,
				packing->bucket.value_count, COLUMNS, sizeof(*packing->values));
	int64_t *values = packing->values + packing->bucket.value_count;
	for (unsigned column = 0; column < COLUMNS; column++) {
		if (row->columns[column] == 0)
			continue;
		packed->columns |= 1ULL << column;
		*values++ = row->columns[column];
	}
	packing->bucket.value_count = (uint32_t)(values - packing->values);
}

static void pack_sample(struct packing *packing, uint16_t index, uint32_t *cells)
{
	uint32_t count = packing->bucket.cell_count;
	if (*cells && packing->cells[count - 1].index == index) {
		packing->cells[count - 1].count++;
		return;
	}
	packing->cells = packing_reserve(packing->cells, &packing->cells_capacity, count, 1,
					 sizeof(*packing->cells));
	packing->cells[count] = (struct sketch_cell){.index = index, .count = 1};
	packing->bucket.cell_count++;
	(*cells)++;
}

/* The row's samples, which begin at *at in the sorted log. */
static void pack_cells(struct packing *packing, const struct rows *rows, uint32_t row, size_t *at,
		       struct bucket_row *packed)
{
	for (; *at < rows->samples_count && sample_row(rows->samples[*at]) == row; (*at)++) {
		uint64_t sample = rows->samples[*at];
		bool connect = sample_distribution(sample) == DISTRIBUTION_CONNECT;
		pack_sample(packing, sample_index(sample),
			    connect ? &packed->connect_cells : &packed->srtt_cells);
	}
}

static void pack_rows(struct packing *packing, const struct rows *rows)
{
	size_t sample = 0;
	packing->rows = packing_reserve(packing->rows, &packing->rows_capacity, 0, rows->count,
					sizeof(*packing->rows));
	for (uint32_t i = 0; i < rows->count; i++) {
		const struct row *row = &rows->rows[i];
		struct bucket_row *packed = &packing->rows[i];
		*packed = (struct bucket_row){
			.edge_id = row->key.edge_id,
			.sub_id = row->key.sub_id,
			.window_start_ns = row->key.window_start_ns,
			.last_event_ns = row->last_event_ns,
			.min_rtt_us = row->min_rtt_us,
			.scope = row->key.scope,
			.kind = row->key.kind,
		};
		pack_values(packing, row, packed);
		pack_cells(packing, rows, i, &sample, packed);
	}
	packing->bucket.row_count = rows->count;
}

static void pack_name(struct partial *partial, uint64_t id, uint64_t pane)
{
	struct packing *packing = &partial->packing;
	uint32_t destination = partial->owner + partial->options.names_offset;
	const struct name *name = names_due(partial->options.names, id, destination, pane);
	if (!name)
		return;
	packing->name_lengths =
		packing_reserve(packing->name_lengths, &packing->names_capacity,
				packing->bucket.name_count, 1, sizeof(*packing->name_lengths));
	packing->name_lengths[packing->bucket.name_count++] = (uint8_t)name->length;
	packing->name_bytes = packing_reserve(packing->name_bytes, &packing->bytes_capacity,
					      packing->bucket.byte_count, name->length, 1);
	memcpy(packing->name_bytes + packing->bucket.byte_count, name->bytes, name->length);
	packing->bucket.byte_count += name->length;
}

/* Whether the owner must be sent the descriptor now; marks it sent. */
static bool partial_due(struct partial *partial, uint64_t id, uint64_t pane)
{
	uint64_t key = hash_mix(id + partial->owner * 0x9e3779b97f4a7c15ULL);
	struct sent *sent = &partial->sent[key & partial->sent_mask];
	if (sent->pane && sent->key == key && pane + 1 - sent->pane < NAMES_REFRESH_PANES)
		return false;
	*sent = (struct sent){.key = key, .pane = pane + 1};
	return true;
}

/* A workload that is an address has no other source of its name. */
static void partial_put_address(struct partial *partial, const struct address *address,
				uint64_t pane)
{
	char text[ADDRESS_TEXT_MAX];
	names_put(partial->options.names, text, address_format(address, text), pane);
}

static void pack_edge(struct partial *partial, const struct row_identity *identity, uint64_t pane)
{
	struct packing *packing = &partial->packing;
	const struct edge *edge = &identity->edge;
	if (!partial_due(partial, edge->id, pane))
		return;
	if (edge->client_resolution == RESOLUTION_ADDRESS)
		partial_put_address(partial, &identity->client_address, pane);
	if (edge->server_resolution == RESOLUTION_ADDRESS)
		partial_put_address(partial, &identity->server_address, pane);
	packing->edges = packing_reserve(packing->edges, &packing->edges_capacity,
					 packing->bucket.edge_count, 1, sizeof(*packing->edges));
	packing->edges[packing->bucket.edge_count++] = *edge;
	pack_name(partial, edge->client, pane);
	pack_name(partial, edge->server, pane);
}

static void pack_lane(struct partial *partial, const struct lane *lane, uint64_t pane)
{
	struct packing *packing = &partial->packing;
	if (!partial_due(partial, lane->id, pane))
		return;
	packing->lanes = packing_reserve(packing->lanes, &packing->lanes_capacity,
					 packing->bucket.lane_count, 1, sizeof(*packing->lanes));
	packing->lanes[packing->bucket.lane_count++] = *lane;
	pack_name(partial, lane->client_zone, pane);
	pack_name(partial, lane->server_zone, pane);
	pack_name(partial, lane->client_version, pane);
	pack_name(partial, lane->server_version, pane);
}

static void pack_instance(struct partial *partial, const struct instance *instance,
			  const struct address *address, uint64_t pane)
{
	struct packing *packing = &partial->packing;
	if (!partial_due(partial, instance->id, pane))
		return;
	if (instance->resolution == RESOLUTION_ADDRESS)
		partial_put_address(partial, address, pane);
	packing->instances =
		packing_reserve(packing->instances, &packing->instances_capacity,
				packing->bucket.instance_count, 1, sizeof(*packing->instances));
	packing->instances[packing->bucket.instance_count++] = *instance;
	pack_name(partial, instance->workload, pane);
	pack_name(partial, instance->version, pane);
	pack_name(partial, instance->zone, pane);
	pack_name(partial, instance->node, pane);
	pack_name(partial, instance->container, pane);
	pack_name(partial, instance->process, pane);
}

static void pack_identity(struct partial *partial, uint8_t scope,
			  const struct row_identity *identity, uint64_t pane)
{
	pack_edge(partial, identity, pane);
	if (scope == SCOPE_LANE)
		pack_lane(partial, &identity->lane, pane);
	else
		pack_instance(partial, &identity->instance,
			      scope == SCOPE_CLIENT ? &identity->client_address
						    : &identity->server_address,
			      pane);
}

struct partial_bucket *partial_take(struct partial *partial, uint32_t owner, uint64_t pane)
{
	assert(owner == partial->owner);
	struct packing *packing = &partial->packing;
	struct rows *rows = &partial->rows[owner];
	packing->bucket = (struct partial_bucket){.pane = pane};
	rows_sort_samples(rows);
	pack_rows(packing, rows);
	for (uint32_t i = 0; i < rows->count; i++)
		pack_identity(partial, rows->rows[i].key.scope, &rows->identities[i], pane);

	packing->bucket.rows = packing->rows;
	packing->bucket.values = packing->values;
	packing->bucket.edges = packing->edges;
	packing->bucket.lanes = packing->lanes;
	packing->bucket.instances = packing->instances;
	packing->bucket.cells = packing->cells;
	packing->bucket.name_lengths = packing->name_lengths;
	packing->bucket.name_bytes = packing->name_bytes;
	struct partial_bucket *bucket = bucket_copy(&packing->bucket);

	partial->stats.rows += rows->count;
	rows_clear(rows);
	partial->owner = (owner + 1) % partial->options.owners;
	if (partial->owner == 0)
		partial->rows_count = 0;
	return bucket;
}

struct partial_stats partial_stats(const struct partial *partial)
{
	return partial->stats;
}
