#include "api/history/read.h"

#include <stdlib.h>

#include "api/history/store.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
	/* So many edges are looked up one by one; for more, reading the whole window is cheaper. */
	SEEK_EDGES_MAX = 64,
};

struct reading {
	struct history *history;
	const struct history_filter *filter;
	struct table *table;
	uint64_t rows, rows_max;
	void (*visit)(void *context, const struct rollup *rollup);
	void *context;
	uint32_t *edges; /* the matching ones, when few */
	size_t edges_count;
	bool seek;
	bool too_many;
};

static bool matches(const struct history_filter *filter, const struct edge *edge)
{
	return (!filter->client || edge->client == filter->client) &&
	       (!filter->server || edge->server == filter->server) &&
	       (!filter->port || edge->port == filter->port);
}

static void find_edges(struct reading *reading)
{
	const struct dictionary *dictionary = &reading->history->dictionary;
	const struct history_filter *filter = reading->filter;

	if (!filter->client && !filter->server && !filter->port)
		return;
	reading->edges = memory_zeroed(SEEK_EDGES_MAX, sizeof(*reading->edges));
	reading->seek = true;
	for (uint32_t i = 1; i < dictionary->edge_places.next; i++) {
		const struct entry *entry = &dictionary->edges[i];

		if (!entry->key || !matches(filter, &entry->edge))
			continue;
		if (reading->edges_count == SEEK_EDGES_MAX) {
			reading->seek = false;
			return;
		}
		reading->edges[reading->edges_count++] = i;
	}
}

static bool place_part(const struct dictionary *dictionary, uint64_t number, struct rollup *rollup)
{
	if (rollup->scope == SCOPE_EDGE)
		return true;
	if (number >= dictionary->part_places.next || !dictionary->parts[number].key)
		return false;

	const struct part *part = &dictionary->parts[number].part;

	if ((part->kind == PART_LANE) != (rollup->scope == SCOPE_LANE))
		return false;
	if (part->kind == PART_LANE)
		rollup->lane = part->lane;
	else
		rollup->instance = part->instance;
	return true;
}

/* A row that cannot be read, in a damaged file, is passed over. */
static void visit_row(struct reading *reading, sqlite3_stmt *statement, uint64_t start_s)
{
	struct history *history = reading->history;
	const struct dictionary *dictionary = &history->dictionary;
	uint64_t edge = (uint64_t)sqlite3_column_int64(statement, 0);
	struct rollup rollup = {.window_start_ns = start_s * NS_PER_S,
				.window_ms = reading->filter->window_ms,
				.scope = (uint8_t)reading->filter->scope};
	uint64_t end_ns = rollup.window_start_ns + reading->table->seconds * NS_PER_S;

	if (!edge || edge >= dictionary->edge_places.next || !dictionary->edges[edge].key)
		return;
	rollup.edge = dictionary->edges[edge].edge;
	if (!matches(reading->filter, &rollup.edge) ||
	    !place_part(dictionary, (uint64_t)sqlite3_column_int64(statement, 1), &rollup))
		return;

	const void *bytes = sqlite3_column_blob(statement, 2);
	size_t size = (size_t)sqlite3_column_bytes(statement, 2);

	if (!row_decode(bytes, size, end_ns, reading->filter->sketches, &history->row))
		return;
	row_lend(&history->row, &rollup);
	reading->visit(reading->context, &rollup);
}

static bool visit_all(struct reading *reading, sqlite3_stmt *statement, uint64_t start_s)
{
	int rc = SQLITE_DONE;

	while (!reading->too_many && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
		if (reading->rows == reading->rows_max) {
			reading->too_many = true;
			rc = SQLITE_DONE;
			break;
		}
		reading->rows++;
		visit_row(reading, statement, start_s);
	}
	sqlite3_reset(statement);
	return rc == SQLITE_DONE;
}

static bool read_window(struct reading *reading, uint64_t start_s)
{
	const struct dictionary *dictionary = &reading->history->dictionary;
	sqlite3_stmt *statement = reading->seek ? reading->table->seek : reading->table->scan;
	uint64_t start_ns = start_s * NS_PER_S;

	sqlite3_bind_int64(statement, 1, (int64_t)start_s);
	sqlite3_bind_int(statement, 2, (int)reading->filter->scope);
	if (!reading->seek)
		return visit_all(reading, statement, start_s);
	for (size_t i = 0; i < reading->edges_count; i++) {
		const struct entry *entry = &dictionary->edges[reading->edges[i]];

		if (start_ns < entry->first_ns)
			continue;
		sqlite3_bind_int64(statement, 3, reading->edges[i]);
		if (!visit_all(reading, statement, start_s))
			return false;
	}
	return true;
}

int64_t history_read(struct history *history, const struct history_filter *filter,
		     uint64_t rows_max, void (*visit)(void *context, const struct rollup *rollup),
		     void *context)
{
	struct reading reading = {.history = history,
				  .filter = filter,
				  .table = history_table(history, filter->window_ms),
				  .rows_max = rows_max,
				  .visit = visit,
				  .context = context};
	bool well = true;
	int rc = SQLITE_DONE;

	if (!reading.table)
		return 0;
	find_edges(&reading);
	sqlite3_bind_int64(history->window_list, 1, reading.table->seconds);
	sqlite3_bind_int64(history->window_list, 2,
			   (int64_t)((filter->start_ns + NS_PER_S - 1) / NS_PER_S));
	sqlite3_bind_int64(history->window_list, 3,
			   (int64_t)((filter->end_ns + NS_PER_S - 1) / NS_PER_S));
	while (well && !reading.too_many && (rc = sqlite3_step(history->window_list)) == SQLITE_ROW)
		well = read_window(&reading,
				   (uint64_t)sqlite3_column_int64(history->window_list, 0));
	sqlite3_reset(history->window_list);
	free(reading.edges);
	if (reading.too_many)
		return HISTORY_TOO_MANY;
	return well && rc == SQLITE_DONE ? (int64_t)reading.rows : HISTORY_BROKEN;
}

uint64_t history_newest_ns(struct history *history, uint32_t window_ms)
{
	const struct table *table = history_table(history, window_ms);

	return table ? table->newest_s * NS_PER_S : 0;
}

uint64_t history_keep_ns(struct history *history, uint32_t window_ms)
{
	const struct table *table = history_table(history, window_ms);

	return table ? table->keep_s * NS_PER_S : 0;
}

const char *history_name(const struct history *history, uint64_t id)
{
	const struct text *text = id ? dictionary_text(&history->dictionary, id) : NULL;

	return text && text->bytes ? text->bytes : "";
}

static bool seen(const struct entry *entry, uint64_t since_ns, uint64_t until_ns)
{
	return entry->key && entry->first_ns < until_ns && entry->last_ns >= since_ns;
}

void history_known(const struct history *history, uint64_t since_ns, uint64_t until_ns,
		   const struct history_visitor *visitor)
{
	const struct dictionary *dictionary = &history->dictionary;

	for (uint32_t i = 1; visitor->edge && i < dictionary->edge_places.next; i++) {
		if (seen(&dictionary->edges[i], since_ns, until_ns))
			visitor->edge(visitor->context, &dictionary->edges[i].edge);
	}
	for (uint32_t i = 1; i < dictionary->part_places.next; i++) {
		const struct part *part = &dictionary->parts[i].part;

		if (!seen(&dictionary->parts[i], since_ns, until_ns))
			continue;
		if (part->kind == PART_LANE && visitor->lane)
			visitor->lane(visitor->context, &part->lane);
		if (part->kind == PART_INSTANCE && visitor->instance)
			visitor->instance(visitor->context, &part->instance);
	}
}
