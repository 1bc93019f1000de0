#include "api/history/store.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

enum {
	SCHEMA_VERSION = 1,
	/* Of SQLite's cache: the newest windows' pages, so that appending reads nothing. */
	CACHE_KIB = 32 * 1024,
	/* At 4 KiB a page: 16 MiB of log between two checkpoints. */
	CHECKPOINT_PAGES = 4096,
	/* After a start, who was active is looked up in this much of the newest rows. */
	RECENT_S = 60,
};

static _Thread_local char sentence[512];

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS window(length INTEGER, start INTEGER, rows INTEGER,"
	" PRIMARY KEY(length, start)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS rows_1s(start INTEGER, scope INTEGER, edge INTEGER,"
	" part INTEGER, row BLOB, PRIMARY KEY(start, scope, edge, part)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS rows_10s(start INTEGER, scope INTEGER, edge INTEGER,"
	" part INTEGER, row BLOB, PRIMARY KEY(start, scope, edge, part)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS rows_60s(start INTEGER, scope INTEGER, edge INTEGER,"
	" part INTEGER, row BLOB, PRIMARY KEY(start, scope, edge, part)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS rows_1h(start INTEGER, scope INTEGER, edge INTEGER,"
	" part INTEGER, row BLOB, PRIMARY KEY(start, scope, edge, part)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS name(id INTEGER PRIMARY KEY, bytes TEXT);"
	"CREATE TABLE IF NOT EXISTS edge(number INTEGER PRIMARY KEY, id INTEGER UNIQUE, client "
	"INTEGER,"
	" server INTEGER, port INTEGER, protocol INTEGER, client_resolution INTEGER,"
	" server_resolution INTEGER, first INTEGER);"
	"CREATE TABLE IF NOT EXISTS part(number INTEGER PRIMARY KEY, kind INTEGER, id INTEGER,"
	" a INTEGER, b INTEGER, c INTEGER, d INTEGER, e INTEGER, f INTEGER, resolution INTEGER,"
	" first INTEGER, UNIQUE(kind, id));";

static bool execute(struct history *history, const char *sql)
{
	return sqlite3_exec(history->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static sqlite3_stmt *prepare(struct history *history, const char *sql)
{
	sqlite3_stmt *statement = NULL;

	sqlite3_prepare_v3(history->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL);
	return statement;
}

static bool prepare_table(struct history *history, struct table *table, const char *name)
{
	static const struct {
		const char *sql; /* %s: the table */
		size_t offset;
	} statements[] = {
		{"INSERT OR IGNORE INTO %s VALUES(?,?,?,?,?)", offsetof(struct table, insert)},
		{"SELECT row FROM %s WHERE start=? AND scope=? AND edge=? AND part=?",
		 offsetof(struct table, select)},
		{"UPDATE %s SET row=?5 WHERE start=?1 AND scope=?2 AND edge=?3 AND part=?4",
		 offsetof(struct table, update)},
		{"SELECT edge, part, row FROM %s WHERE start=? AND scope=?"
		 " ORDER BY edge, part",
		 offsetof(struct table, scan)},
		{"SELECT edge, part, row FROM %s WHERE start=? AND scope=? AND edge=?"
		 " ORDER BY part",
		 offsetof(struct table, seek)},
		{"SELECT scope, edge, part FROM %s WHERE start=? ORDER BY scope, edge, part"
		 " LIMIT 1 OFFSET ?",
		 offsetof(struct table, boundary)},
		{"DELETE FROM %s WHERE start=? AND (scope, edge, part) < (?,?,?)",
		 offsetof(struct table, delete_some)},
		{"DELETE FROM %s WHERE start=?", offsetof(struct table, delete_all)},
	};
	char sql[256];

	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
		sqlite3_stmt **to = (sqlite3_stmt **)((char *)table + statements[i].offset);

		snprintf(sql, sizeof(sql), statements[i].sql, name);
		*to = prepare(history, sql);
		if (!*to)
			return false;
	}
	return true;
}

static bool prepare_all(struct history *history)
{
	static const struct {
		const char *sql;
		size_t offset;
	} statements[] = {
		{"BEGIN IMMEDIATE", offsetof(struct history, begin)},
		{"COMMIT", offsetof(struct history, commit)},
		{"ROLLBACK", offsetof(struct history, rollback)},
		{"INSERT INTO window VALUES(?,?,?) ON CONFLICT DO UPDATE SET"
		 " rows = rows + excluded.rows",
		 offsetof(struct history, window_add)},
		{"DELETE FROM window WHERE length=? AND start=?",
		 offsetof(struct history, window_remove)},
		{"SELECT start, rows FROM window WHERE length=? ORDER BY start LIMIT 1",
		 offsetof(struct history, window_oldest)},
		{"SELECT start FROM window WHERE length=? AND start>=? AND start<? ORDER BY start",
		 offsetof(struct history, window_list)},
		{"SELECT min(start) FROM window", offsetof(struct history, oldest)},
		{"SELECT min(start) FROM window WHERE length<=10",
		 offsetof(struct history, oldest_part)},
		{"INSERT OR REPLACE INTO name VALUES(?,?)", offsetof(struct history, save_name)},
		{"INSERT OR REPLACE INTO edge VALUES(?,?,?,?,?,?,?,?,?)",
		 offsetof(struct history, save_edge)},
		{"INSERT OR REPLACE INTO part VALUES(?,?,?,?,?,?,?,?,?,?,?)",
		 offsetof(struct history, save_part)},
		{"DELETE FROM edge WHERE number=?", offsetof(struct history, remove_edge)},
		{"DELETE FROM part WHERE number=?", offsetof(struct history, remove_part)},
		{"DELETE FROM name WHERE id=?", offsetof(struct history, remove_name)},
		{"PRAGMA page_count", offsetof(struct history, page_count)},
	};

	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
		sqlite3_stmt **to = (sqlite3_stmt **)((char *)history + statements[i].offset);

		*to = prepare(history, statements[i].sql);
		if (!*to)
			return false;
	}
	static const char *const names[LENGTHS] = {"rows_1s", "rows_10s", "rows_60s", "rows_1h"};

	for (int i = 0; i < LENGTHS; i++) {
		if (!prepare_table(history, &history->tables[i], names[i]))
			return false;
	}
	return true;
}

static int64_t number(struct history *history, const char *sql)
{
	sqlite3_stmt *statement = prepare(history, sql);
	int64_t value = 0;

	if (statement && sqlite3_step(statement) == SQLITE_ROW)
		value = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return value;
}

/* Rows hold counters by number, so another set of counters is another schema. */
static bool check_version(struct history *history)
{
	int64_t wanted = SCHEMA_VERSION * 1000 + COUNTERS;
	int64_t found = number(history, "PRAGMA user_version");
	char sql[64];

	if (found != 0 && found != wanted) {
		snprintf(sentence, sizeof(sentence),
			 "the file was written by another version of millraced; move it away to "
			 "begin a new history");
		return false;
	}
	snprintf(sql, sizeof(sql), "PRAGMA user_version=%lld", (long long)wanted);
	return found == wanted || execute(history, sql);
}

static bool configure(struct history *history)
{
	char sql[256];

	/* One process owns the file: no shared memory beside it, and a second one is refused. A
	 * crash of the machine may lose the last seconds, never the file. */
	snprintf(
		sql, sizeof(sql),
		"PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
		"PRAGMA temp_store=MEMORY; PRAGMA cache_size=-%d; PRAGMA wal_autocheckpoint=%d;",
		CACHE_KIB, CHECKPOINT_PAGES);
	return execute(history, sql) && execute(history, schema) && check_version(history);
}

/* --- what the file has --- */

static uint64_t column(sqlite3_stmt *statement, int index)
{
	return (uint64_t)sqlite3_column_int64(statement, index);
}

static void load_names(struct history *history)
{
	sqlite3_stmt *statement = prepare(history, "SELECT id, bytes FROM name");

	while (sqlite3_step(statement) == SQLITE_ROW) {
		const char *bytes = (const char *)sqlite3_column_text(statement, 1);

		if (bytes)
			dictionary_load_text(&history->dictionary, column(statement, 0), bytes,
					     (size_t)sqlite3_column_bytes(statement, 1));
	}
	sqlite3_finalize(statement);
}

static void load_edges(struct history *history, uint64_t last_ns)
{
	sqlite3_stmt *statement = prepare(history, "SELECT * FROM edge");

	while (sqlite3_step(statement) == SQLITE_ROW) {
		struct entry entry = {.saved = true, .last_ns = last_ns};

		entry.edge = (struct edge){
			.id = column(statement, 1),
			.client = column(statement, 2),
			.server = column(statement, 3),
			.port = (uint16_t)column(statement, 4),
			.protocol = (uint8_t)column(statement, 5),
			.client_resolution = (uint8_t)column(statement, 6),
			.server_resolution = (uint8_t)column(statement, 7),
		};
		entry.first_ns = column(statement, 8) * NS_PER_S;
		dictionary_load_edge(&history->dictionary, (uint32_t)column(statement, 0), &entry);
	}
	sqlite3_finalize(statement);
}

static void load_parts(struct history *history, uint64_t last_ns)
{
	sqlite3_stmt *statement = prepare(history, "SELECT * FROM part");

	while (sqlite3_step(statement) == SQLITE_ROW) {
		struct entry entry = {.saved = true, .last_ns = last_ns};
		struct part *part = &entry.part;
		uint64_t id = column(statement, 2), a = column(statement, 3);
		uint64_t b = column(statement, 4), c = column(statement, 5);
		uint64_t d = column(statement, 6);

		part->kind = (uint8_t)column(statement, 1);
		if (part->kind == PART_LANE)
			part->lane = (struct lane){id, a, b, c, d};
		else
			part->instance = (struct instance){id,
							   a,
							   b,
							   c,
							   d,
							   column(statement, 7),
							   column(statement, 8),
							   (uint32_t)column(statement, 9),
							   0,
							   {{0}}};
		entry.first_ns = column(statement, 10) * NS_PER_S;
		if (part->kind == PART_LANE || part->kind == PART_INSTANCE)
			dictionary_load_part(&history->dictionary, (uint32_t)column(statement, 0),
					     &entry);
	}
	sqlite3_finalize(statement);
}

static void see(struct entry *entries, uint32_t next, uint64_t number, uint64_t time_ns)
{
	if (number && number < next && entries[number].last_ns < time_ns)
		entries[number].last_ns = time_ns;
}

/* Who was active in the newest rows; of others only that they were before. */
static void load_activity(struct history *history, uint64_t since_s)
{
	struct dictionary *dictionary = &history->dictionary;
	sqlite3_stmt *statement =
		prepare(history, "SELECT start, edge, part FROM rows_10s WHERE start >= ?");

	sqlite3_bind_int64(statement, 1, (int64_t)since_s);
	while (sqlite3_step(statement) == SQLITE_ROW) {
		uint64_t time_ns = column(statement, 0) * NS_PER_S;

		see(dictionary->edges, dictionary->edge_places.next, column(statement, 1), time_ns);
		see(dictionary->parts, dictionary->part_places.next, column(statement, 2), time_ns);
	}
	sqlite3_finalize(statement);
}

static void load_table(struct history *history, struct table *table)
{
	char sql[128];

	snprintf(sql, sizeof(sql), "SELECT sum(rows) FROM window WHERE length=%u", table->seconds);
	table->rows = (uint64_t)number(history, sql);
	snprintf(sql, sizeof(sql), "SELECT max(start) FROM window WHERE length=%u", table->seconds);
	table->newest_s = (uint64_t)number(history, sql);
	if (table->rows)
		table->newest_s += table->seconds;
	table->opened_s = table->newest_s;
}

static void load(struct history *history)
{
	for (int i = 0; i < LENGTHS; i++)
		load_table(history, &history->tables[i]);

	uint64_t newest_s = history->tables[LENGTH_10S].newest_s;
	uint64_t since_s = newest_s > RECENT_S ? newest_s - RECENT_S : 0;

	load_names(history);
	load_edges(history, since_s * NS_PER_S);
	load_parts(history, since_s * NS_PER_S);
	load_activity(history, since_s);
	dictionary_loaded(&history->dictionary);
}

bool store_open(struct history *history, const char **error)
{
	const char *path = history->options.path;
	bool file = path && *path;

	sentence[0] = '\0';
	if (sqlite3_open_v2(file ? path : ":memory:", &history->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK ||
	    !configure(history) || !prepare_all(history)) {
		if (!sentence[0])
			snprintf(sentence, sizeof(sentence),
				 "%s; check that the folder exists, may be written, and that no "
				 "other millraced uses the file",
				 sqlite3_errmsg(history->db));
		*error = sentence;
		return false;
	}
	history->page_bytes = (uint64_t)number(history, "PRAGMA page_size");
	load(history);
	return true;
}

void store_close(struct history *history)
{
	sqlite3_stmt *statement;

	while ((statement = sqlite3_next_stmt(history->db, NULL)))
		sqlite3_finalize(statement);
	sqlite3_close(history->db);
}

void history_trouble(struct history *history, uint64_t rows)
{
	history->stats.failed += rows;
	if (history->troubled || !history->options.trouble)
		return;
	history->troubled = true;
	snprintf(sentence, sizeof(sentence), "rows are not stored: %s",
		 sqlite3_errmsg(history->db));
	history->options.trouble(history->options.context, sentence);
}
