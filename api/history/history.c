#include "api/history/history.h"

#include <stdlib.h>
#include <string.h>

#include "api/history/store.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
	/* Edges, and lanes and instances: about 100 bytes each and their names. */
	ENTRIES_MAX = 1 << 20,
	/* Rows deleted an advance, or twice what came since the last one if that is more: some
	 * tens of milliseconds, and pruning never falls behind. */
	SLICE_ROWS = 20000,
	PARTS_S_MAX = 10, /* the longest windows of lanes and instances */
	/* Dictionary entries looked at an advance. */
	SWEEP_ENTRIES = 8192,
};

struct history *history_new(const struct history_options *options, const char **error)
{
	struct history *history = memory_zeroed(1, sizeof(*history));

	history->options = *options;
	history->tables[LENGTH_1S] =
		(struct table){.seconds = 1, .keep_s = options->keep_1s_ns / NS_PER_S};
	history->tables[LENGTH_10S] =
		(struct table){.seconds = 10, .keep_s = options->keep_10s_ns / NS_PER_S};
	history->tables[LENGTH_60S] =
		(struct table){.seconds = 60, .keep_s = options->keep_60s_ns / NS_PER_S};
	history->tables[LENGTH_1H] =
		(struct table){.seconds = 3600, .keep_s = options->keep_1h_ns / NS_PER_S};
	dictionary_init(&history->dictionary, ENTRIES_MAX);
	history->sweep_edge = history->sweep_part = 1;
	if (!store_open(history, error)) {
		history_free(history);
		return NULL;
	}
	history->options.path = NULL; /* lent for the call */
	return history;
}

void history_free(struct history *history)
{
	if (!history)
		return;
	store_close(history);
	dictionary_done(&history->dictionary);
	row_done(&history->row);
	free(history->bytes.bytes);
	free(history);
}

/* --- writing --- */

static bool step(sqlite3_stmt *statement)
{
	int rc = sqlite3_step(statement);

	sqlite3_reset(statement);
	return rc == SQLITE_DONE || rc == SQLITE_ROW;
}

/* The transaction comes to nothing: what the dictionary believed saved may not be. */
static void roll_back(struct history *history)
{
	struct dictionary *dictionary = &history->dictionary;

	if (!sqlite3_get_autocommit(history->db)) /* a full disk may have done it already */
		step(history->rollback);
	for (uint32_t i = 1; i < dictionary->edge_places.next; i++)
		dictionary->edges[i].saved = false;
	for (uint32_t i = 1; i < dictionary->part_places.next; i++)
		dictionary->parts[i].saved = false;
	for (uint32_t i = 1; i < dictionary->text_places.next; i++)
		dictionary->texts[i].saved = false;
}

static bool save_names(struct history *history, const uint64_t *ids, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct text *text = ids[i] ? dictionary_text(&history->dictionary, ids[i]) : NULL;

		if (!text || text->saved || !text->known)
			continue;
		sqlite3_bind_int64(history->save_name, 1, (int64_t)text->id);
		sqlite3_bind_text(history->save_name, 2, text->bytes, -1, SQLITE_STATIC);
		if (!step(history->save_name))
			return false;
		text->saved = true;
	}
	return true;
}

static bool save(sqlite3_stmt *statement, const uint64_t *values, int count)
{
	for (int i = 0; i < count; i++)
		sqlite3_bind_int64(statement, i + 1, (int64_t)values[i]);
	return step(statement);
}

static bool save_edge(struct history *history, uint32_t number)
{
	struct entry *entry = &history->dictionary.edges[number];
	const struct edge *edge = &entry->edge;
	uint64_t ids[ENTRY_NAMES_MAX];

	if (entry->saved)
		return true;

	const uint64_t values[] = {number,
				   edge->id,
				   edge->client,
				   edge->server,
				   edge->port,
				   edge->protocol,
				   edge->client_resolution,
				   edge->server_resolution,
				   entry->first_ns / NS_PER_S};

	entry->saved = save(history->save_edge, values, 9) &&
		       save_names(history, ids, edge_names(edge, ids));
	return entry->saved;
}

static bool save_part(struct history *history, uint32_t number)
{
	struct entry *entry = &history->dictionary.parts[number];
	const struct part *part = &entry->part;
	uint64_t ids[ENTRY_NAMES_MAX] = {0};

	if (entry->saved)
		return true;

	unsigned count = part_names(part, ids);
	const uint64_t id = part->kind == PART_LANE ? part->lane.id : part->instance.id;
	const uint64_t resolution = part->kind == PART_LANE ? 0 : part->instance.resolution;
	const uint64_t values[] = {number,
				   part->kind,
				   id,
				   ids[0],
				   ids[1],
				   ids[2],
				   ids[3],
				   ids[4],
				   ids[5],
				   resolution,
				   entry->first_ns / NS_PER_S};

	entry->saved = save(history->save_part, values, 11) && save_names(history, ids, count);
	return entry->saved;
}

static void see(struct entry *entry, uint64_t time_ns)
{
	if (!entry->first_ns || time_ns < entry->first_ns)
		entry->first_ns = time_ns;
	if (time_ns > entry->last_ns)
		entry->last_ns = time_ns;
}

/* An append on its way: what is counted only if it is committed. */
struct append {
	struct history *history;
	const struct names *names;
	struct table *table; /* of the window whose rows are being counted */
	uint64_t start_s;
	uint64_t rows;
	uint64_t table_rows[LENGTHS], newest_s[LENGTHS];
	uint64_t appended, amended, repeated, refused;
};

static bool count_window(struct append *append)
{
	struct history *history = append->history;

	if (!append->rows)
		return true;
	append->table_rows[append->table - history->tables] += append->rows;

	const uint64_t values[] = {append->table->seconds, append->start_s, append->rows};

	append->rows = 0;
	return save(history->window_add, values, 3);
}

static void bind_key(sqlite3_stmt *statement, uint64_t start_s, uint32_t scope, uint32_t edge,
		     uint32_t part)
{
	sqlite3_bind_int64(statement, 1, (int64_t)start_s);
	sqlite3_bind_int(statement, 2, (int)scope);
	sqlite3_bind_int64(statement, 3, edge);
	sqlite3_bind_int64(statement, 4, part);
}

/* To a row that is there already. */
static bool add_to_row(struct history *history, struct table *table, const struct rollup *rollup,
		       uint32_t edge, uint32_t part)
{
	uint64_t start_s = rollup->window_start_ns / NS_PER_S;
	struct row *row = &history->row;
	struct rollup sum = *rollup;
	bool readable = false;

	bind_key(table->select, start_s, rollup->scope, edge, part);
	if (sqlite3_step(table->select) == SQLITE_ROW) {
		const void *bytes = sqlite3_column_blob(table->select, 0);
		size_t size = (size_t)sqlite3_column_bytes(table->select, 0);

		readable =
			row_decode(bytes, size, rollup->window_start_ns + table->seconds * NS_PER_S,
				   true, row);
	}
	sqlite3_reset(table->select);
	if (readable) {
		row_add(row, rollup);
		row_lend(row, &sum);
	}
	row_encode(&history->bytes, &sum);
	bind_key(table->update, start_s, rollup->scope, edge, part);
	sqlite3_bind_blob(table->update, 5, history->bytes.bytes, (int)history->bytes.size,
			  SQLITE_STATIC);
	return step(table->update);
}

static bool insert_row(struct append *append, struct table *table, const struct rollup *rollup,
		       uint32_t edge, uint32_t part)
{
	struct history *history = append->history;
	uint64_t start_s = rollup->window_start_ns / NS_PER_S;

	row_encode(&history->bytes, rollup);
	bind_key(table->insert, start_s, rollup->scope, edge, part);
	sqlite3_bind_blob(table->insert, 5, history->bytes.bytes, (int)history->bytes.size,
			  SQLITE_STATIC);
	if (!step(table->insert))
		return false;
	append->amended += rollup->amendment;
	append->appended += !rollup->amendment;
	if (sqlite3_changes(history->db)) {
		append->rows++;
		return true;
	}
	if (rollup->amendment || start_s + table->seconds > table->opened_s)
		return add_to_row(history, table, rollup, edge, part);
	append->repeated++;
	return true;
}

static uint32_t find_part(struct append *append, const struct rollup *rollup)
{
	struct part part = {.kind = PART_INSTANCE, .instance = rollup->instance};

	if (rollup->scope == SCOPE_LANE)
		part = (struct part){.kind = PART_LANE, .lane = rollup->lane};
	return dictionary_part(&append->history->dictionary, &part, append->names);
}

static bool append_row(struct append *append, const struct rollup *rollup)
{
	struct history *history = append->history;
	struct dictionary *dictionary = &history->dictionary;
	struct table *table = history_table(history, rollup->window_ms);
	uint64_t start_s = rollup->window_start_ns / NS_PER_S;

	if (!table || rollup->scope >= SCOPES ||
	    (rollup->scope != SCOPE_EDGE && table->seconds > PARTS_S_MAX))
		return true;
	if (table != append->table || start_s != append->start_s) {
		if (!count_window(append))
			return false;
		append->table = table;
		append->start_s = start_s;
	}

	uint32_t edge = dictionary_edge(dictionary, &rollup->edge, append->names);
	uint32_t part = rollup->scope == SCOPE_EDGE ? 0 : find_part(append, rollup);

	if (!edge || (!part && rollup->scope != SCOPE_EDGE)) {
		append->refused++;
		return true;
	}
	see(&dictionary->edges[edge], rollup->window_start_ns);
	if (part)
		see(&dictionary->parts[part], rollup->window_start_ns);

	uint64_t *newest_s = &append->newest_s[table - history->tables];

	if (!rollup->amendment && start_s + table->seconds > *newest_s)
		*newest_s = start_s + table->seconds;
	return save_edge(history, edge) && (!part || save_part(history, part)) &&
	       insert_row(append, table, rollup, edge, part);
}

static bool append_rows(struct append *append, const struct rollup *rollups, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!append_row(append, &rollups[i]))
			return false;
	}
	return count_window(append);
}

static void append_done(struct history *history, const struct append *append)
{
	for (int i = 0; i < LENGTHS; i++) {
		struct table *table = &history->tables[i];

		table->rows += append->table_rows[i];
		table->told += append->table_rows[i];
		if (append->newest_s[i] > table->newest_s)
			table->newest_s = append->newest_s[i];
	}
	history->stats.appended += append->appended;
	history->stats.amended += append->amended;
	history->stats.repeated += append->repeated;
	history->stats.refused += append->refused;
	history->stats.failed += append->refused;
}

static size_t storable(struct history *history, const struct rollup *rollups, size_t count)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		found += history_table(history, rollups[i].window_ms) != NULL;
	return found;
}

/* --- deleting --- */

struct cut {
	uint64_t start_s, rows;
	bool found;
};

static struct cut oldest_window(struct history *history, const struct table *table)
{
	struct cut cut = {0};

	sqlite3_bind_int64(history->window_oldest, 1, table->seconds);
	if (sqlite3_step(history->window_oldest) == SQLITE_ROW) {
		cut.found = true;
		cut.start_s = (uint64_t)sqlite3_column_int64(history->window_oldest, 0);
		cut.rows = (uint64_t)sqlite3_column_int64(history->window_oldest, 1);
	}
	sqlite3_reset(history->window_oldest);
	return cut;
}

/* The first `most` rows of a window; all if it has no more. False: the database failed. */
static bool delete_rows(struct history *history, struct table *table, const struct cut *cut,
			uint64_t most, uint64_t *deleted)
{
	sqlite3_stmt *statement = table->delete_all;
	bool whole = true;

	if (most < cut->rows) {
		sqlite3_bind_int64(table->boundary, 1, (int64_t)cut->start_s);
		sqlite3_bind_int64(table->boundary, 2, (int64_t)most);
		whole = sqlite3_step(table->boundary) != SQLITE_ROW;
		for (int i = 0; !whole && i < 3; i++)
			sqlite3_bind_int64(table->delete_some, i + 2,
					   sqlite3_column_int64(table->boundary, i));
		sqlite3_reset(table->boundary);
		if (!whole)
			statement = table->delete_some;
	}
	sqlite3_bind_int64(statement, 1, (int64_t)cut->start_s);
	if (!step(statement))
		return false;
	*deleted = (uint64_t)sqlite3_changes(history->db);

	const uint64_t values[] = {table->seconds, cut->start_s, -*deleted};

	return whole ? save(history->window_remove, values, 2)
		     : save(history->window_add, values, 3);
}

/* Oldest first, up to `most` rows of windows that end by until_s. */
static bool prune(struct history *history, struct table *table, uint64_t until_s, uint64_t most,
		  uint64_t *gone)
{
	while (*gone < most) {
		struct cut cut = oldest_window(history, table);
		uint64_t deleted = 0;

		if (!cut.found || cut.start_s + table->seconds > until_s)
			break;
		if (!delete_rows(history, table, &cut, most - *gone, &deleted))
			return false;
		*gone += deleted;
	}
	return true;
}

static void prune_done(struct history *history, struct table *table, uint64_t gone)
{
	table->rows -= gone < table->rows ? gone : table->rows;
	history->stats.deleted += gone;
}

/* Past rows_max the oldest rows leave at once: a table is never larger. */
static void keep_bound(struct history *history, struct table *table)
{
	uint64_t gone = 0;

	if (!history->options.rows_max || table->rows <= history->options.rows_max)
		return;
	if (step(history->begin) &&
	    prune(history, table, UINT64_MAX / 2, table->rows - history->options.rows_max, &gone) &&
	    step(history->commit)) {
		prune_done(history, table, gone);
		history->stats.left_early += gone;
		return;
	}
	history_trouble(history, 0);
	roll_back(history);
}

void history_append(struct history *history, const struct rollup *rollups, size_t count,
		    const struct names *names)
{
	struct append append = {.history = history, .names = names};
	size_t rows = storable(history, rollups, count);

	if (!rows)
		return;
	if (!step(history->begin) || !append_rows(&append, rollups, count) ||
	    !step(history->commit)) {
		history_trouble(history, rows);
		roll_back(history);
		return;
	}
	history->troubled = false;
	append_done(history, &append);
	for (int i = 0; i < LENGTHS; i++)
		keep_bound(history, &history->tables[i]);
}

/* --- who is no longer in any row --- */

static uint64_t oldest_row_ns(sqlite3_stmt *oldest)
{
	uint64_t oldest_ns = UINT64_MAX;

	if (sqlite3_step(oldest) == SQLITE_ROW && sqlite3_column_type(oldest, 0) != SQLITE_NULL)
		oldest_ns = (uint64_t)sqlite3_column_int64(oldest, 0) * NS_PER_S;
	sqlite3_reset(oldest);
	return oldest_ns;
}

static bool forget_names(struct history *history, const uint64_t *ids, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct text *text = ids[i] ? dictionary_text(&history->dictionary, ids[i]) : NULL;

		if (text && text->references == 1 && text->saved &&
		    !save(history->remove_name, &ids[i], 1))
			return false;
	}
	return true;
}

static bool sweep_edges(struct history *history, uint64_t oldest_ns)
{
	struct dictionary *dictionary = &history->dictionary;
	uint64_t ids[ENTRY_NAMES_MAX];

	uint32_t next = dictionary->edge_places.next;

	for (uint32_t i = 0; i < SWEEP_ENTRIES && i < next; i++) {
		uint64_t number = history->sweep_edge;

		history->sweep_edge = number + 1 < next ? (uint32_t)number + 1 : 1;
		if (number >= next)
			continue;

		struct entry *entry = &dictionary->edges[number];

		if (!entry->key || entry->last_ns >= oldest_ns)
			continue;
		if (!forget_names(history, ids, edge_names(&entry->edge, ids)) ||
		    !save(history->remove_edge, &number, 1))
			return false;
		dictionary_remove_edge(dictionary, (uint32_t)number);
	}
	return true;
}

static bool sweep_parts(struct history *history, uint64_t oldest_ns)
{
	struct dictionary *dictionary = &history->dictionary;
	uint64_t ids[ENTRY_NAMES_MAX];

	uint32_t next = dictionary->part_places.next;

	for (uint32_t i = 0; i < SWEEP_ENTRIES && i < next; i++) {
		uint64_t number = history->sweep_part;

		history->sweep_part = number + 1 < next ? (uint32_t)number + 1 : 1;
		if (number >= next)
			continue;

		struct entry *entry = &dictionary->parts[number];

		if (!entry->key || entry->last_ns >= oldest_ns)
			continue;
		if (!forget_names(history, ids, part_names(&entry->part, ids)) ||
		    !save(history->remove_part, &number, 1))
			return false;
		dictionary_remove_part(dictionary, (uint32_t)number);
	}
	return true;
}

static bool advance(struct history *history, uint64_t now_s, uint64_t gone[LENGTHS])
{
	for (int i = 0; i < LENGTHS; i++) {
		struct table *table = &history->tables[i];
		uint64_t until_s = now_s > table->keep_s ? now_s - table->keep_s : 0;
		uint64_t most = table->told * 2 > SLICE_ROWS ? table->told * 2 : SLICE_ROWS;

		if (!prune(history, table, until_s, most, &gone[i]))
			return false;
	}

	/* Lanes and instances come and go with each release: they are in no minute or hour. */
	return sweep_edges(history, oldest_row_ns(history->oldest)) &&
	       sweep_parts(history, oldest_row_ns(history->oldest_part));
}

void history_advance(struct history *history, uint64_t now_ns)
{
	uint64_t gone[LENGTHS] = {0};

	if (!step(history->begin) || !advance(history, now_ns / NS_PER_S, gone) ||
	    !step(history->commit)) {
		history_trouble(history, 0);
		roll_back(history);
		return;
	}
	for (int i = 0; i < LENGTHS; i++) {
		prune_done(history, &history->tables[i], gone[i]);
		history->tables[i].told = 0;
	}
}

struct history_stats history_stats(const struct history *history)
{
	struct history_stats stats = history->stats;

	stats.rows_1s = history->tables[LENGTH_1S].rows;
	stats.rows_10s = history->tables[LENGTH_10S].rows;
	stats.rows_60s = history->tables[LENGTH_60S].rows;
	stats.rows_1h = history->tables[LENGTH_1H].rows;
	for (int i = 0; i < LENGTHS; i++) {
		uint64_t newest_ns = history->tables[i].newest_s * NS_PER_S;

		if (newest_ns > stats.newest_ns)
			stats.newest_ns = newest_ns;
	}
	if (sqlite3_step(history->page_count) == SQLITE_ROW)
		stats.bytes = (uint64_t)sqlite3_column_int64(history->page_count, 0) *
			      history->page_bytes;
	sqlite3_reset(history->page_count);
	return stats;
}
