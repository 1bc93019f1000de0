/* The history: what is stored is what was appended, until it is old. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "api/history/history.h"
#include "api/history/read.h"
#include "api/history/row.h"
#include "base/clock.h"

enum { START_S = 1800000000, EDGES = 8, PARTS = 4 };

struct world {
	struct names *names;
	struct history *history;
	uint64_t seed;
	unsigned troubles;
};

static uint64_t draw(struct world *world, uint64_t below)
{
	world->seed = world->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (world->seed >> 33) % below;
}

static void on_trouble(void *context, const char *sentence)
{
	struct world *world = context;

	assert_non_null(sentence);
	world->troubles++;
}

static void open_at(struct world *world, const char *path, uint64_t rows_max)
{
	struct history_options options = {.path = path,
					  .keep_1s_ns = 60 * NS_PER_S,
					  .keep_10s_ns = 600 * NS_PER_S,
					  .keep_60s_ns = 3600 * NS_PER_S,
					  .rows_max = rows_max,
					  .context = world,
					  .trouble = on_trouble};
	const char *error = NULL;

	world->history = history_new(&options, &error);
	if (!world->history)
		fail_msg("%s", error);
}

static void setup(struct world *world, const char *path, uint64_t rows_max)
{
	*world = (struct world){.names = names_new(10000, 0), .seed = 42};
	open_at(world, path, rows_max);
}

static void teardown(struct world *world)
{
	history_free(world->history);
	names_free(world->names);
}

static uint64_t name(struct world *world, const char *kind, uint64_t number)
{
	char text[64];
	int length = snprintf(text, sizeof(text), "%s-%llu", kind, (unsigned long long)number);

	return names_put(world->names, text, (size_t)length, 1);
}

static struct rollup row_of(struct world *world, uint64_t start_s, uint32_t window_s, uint64_t edge,
			    uint32_t scope, uint64_t part)
{
	struct rollup row = {.window_start_ns = start_s * NS_PER_S,
			     .window_ms = window_s * 1000,
			     .scope = (uint8_t)scope};

	row.edge = (struct edge){.client = name(world, "client", edge),
				 .server = name(world, "server", edge),
				 .port = (uint16_t)(80 + edge),
				 .protocol = 6};
	row.edge.id = edge_id(&row.edge);
	if (scope == SCOPE_LANE) {
		row.lane.client_zone = name(world, "zone", part);
		row.lane.id = lane_id(&row.lane);
	} else if (scope != SCOPE_EDGE) {
		row.instance.workload = row.edge.client;
		row.instance.node = name(world, "node", part);
		row.instance.id = instance_id(&row.instance);
	}
	return row;
}

/* --- what is appended is there --- */

struct sum {
	int64_t counters[COUNTERS];
	uint64_t connects, rows;
};

static void add(struct sum *sum, const struct rollup *row)
{
	for (int i = 0; i < COUNTERS; i++)
		sum->counters[i] += row->counters[i];
	sum->connects += sketch_total(row->connect, row->connect_cells);
	sum->rows++;
}

static void on_row(void *context, const struct rollup *row)
{
	add(context, row);
}

static struct sum read_all(struct world *world, uint32_t window_ms, uint32_t scope)
{
	const struct history_filter filter = {.window_ms = window_ms,
					      .end_ns = (START_S + 100000) * NS_PER_S,
					      .scope = scope,
					      .sketches = true};
	struct sum sum = {0};

	int64_t rows = history_read(world->history, &filter, 1000000, on_row, &sum);

	assert_int_equal(rows, sum.rows);
	return sum;
}

static void random_counters(struct world *world, struct rollup *row, bool signed_too)
{
	for (int i = 0; i < COUNTERS; i++) {
		if (draw(world, 3))
			continue;
		row->counters[i] = (int64_t)draw(world, 1ULL << draw(world, 31));
		if (signed_too && draw(world, 2))
			row->counters[i] = -row->counters[i];
	}
}

static void sums_are_those_of_what_was_appended_amendments_included(void **state)
{
	struct sum wanted[2][SCOPES] = {0};
	struct sketch_cell cells[3];
	struct world world;

	(void)state;
	setup(&world, NULL, 1000000);
	print_message("seed %llu\n", (unsigned long long)world.seed);
	for (int i = 0; i < 20000; i++) {
		bool ten = draw(&world, 2), amendment = ten && draw(&world, 3) == 0;
		uint32_t seconds = ten ? 10 : 1, scope = (uint32_t)draw(&world, SCOPES);
		struct rollup row = row_of(&world, START_S + draw(&world, 30) * seconds, seconds,
					   draw(&world, EDGES), scope, draw(&world, PARTS));

		row.amendment = amendment;
		random_counters(&world, &row, amendment);
		if (!amendment) {
			for (uint16_t n = 0; n < 3; n++)
				cells[n] = (struct sketch_cell){
					(uint16_t)(n * 1000 + draw(&world, 1000)),
					1 + (uint32_t)draw(&world, 100)};
			row.connect = cells;
			row.connect_cells = (uint32_t)draw(&world, 4);
		}
		history_append(world.history, &row, 1, world.names);
		add(&wanted[ten][scope], &row);
	}
	for (uint32_t ten = 0; ten < 2; ten++) {
		for (uint32_t scope = 0; scope < SCOPES; scope++) {
			struct sum found = read_all(&world, ten ? 10000 : 1000, scope);

			for (int i = 0; i < COUNTERS; i++)
				assert_int_equal(found.counters[i], wanted[ten][scope].counters[i]);
			assert_int_equal(found.connects, wanted[ten][scope].connects);
			assert_true(found.rows <= 30 * EDGES * PARTS);
		}
	}

	struct history_stats stats = history_stats(world.history);

	assert_int_equal(stats.appended + stats.amended, 20000);
	assert_int_equal(stats.failed, 0);
	teardown(&world);
}

static void other_windows_are_passed_over(void **state)
{
	struct world world;

	(void)state;
	setup(&world, NULL, 1000);

	struct rollup row = row_of(&world, START_S, 1, 0, SCOPE_EDGE, 0);

	row.window_ms = 250;
	history_append(world.history, &row, 1, world.names);
	assert_int_equal(history_stats(world.history).appended, 0);
	assert_int_equal(history_stats(world.history).rows_1s, 0);
	teardown(&world);
}

static void on_check(void *context, const struct rollup *row)
{
	struct world *world = context;

	assert_string_equal(history_name(world->history, row->edge.client), "client-3");
	assert_int_equal(row->edge.port, 83);
	assert_int_equal(row->window_ms, 1000);
	assert_string_equal(history_name(world->history, row->instance.node), "node-1");
	assert_int_equal(row->min_rtt_us, 77);
	assert_int_equal(row->last_event_ns, row->window_start_ns + 5);
	assert_int_equal(row->srtt_cells, 1);
	assert_int_equal(row->srtt[0].index, 3000);
	assert_int_equal(row->srtt[0].count, UINT32_MAX);
	world->seed++;
}

static void a_row_comes_back_as_it_was_by_any_filter(void **state)
{
	struct sketch_cell cell = {3000, UINT32_MAX};
	struct world world;

	(void)state;
	setup(&world, NULL, 1000);
	for (uint64_t edge = 0; edge < EDGES; edge++) {
		struct rollup row = row_of(&world, START_S, 1, edge, SCOPE_CLIENT, 1);

		row.min_rtt_us = 77;
		row.last_event_ns = row.window_start_ns + 5;
		row.srtt = &cell;
		row.srtt_cells = 1;
		row.counters[COUNTER_FAILED] = -1;
		history_append(world.history, &row, 1, world.names);
	}

	struct history_filter filter = {.window_ms = 1000,
					.start_ns = START_S * NS_PER_S,
					.end_ns = (START_S + 1) * NS_PER_S,
					.scope = SCOPE_CLIENT,
					.sketches = true};
	struct history_filter filters[4] = {filter, filter, filter, filter};

	filters[0].client = name(&world, "client", 3);
	filters[1].server = name(&world, "server", 3);
	filters[2].port = 83;
	filters[3].client = filters[0].client;
	filters[3].port = 84;
	world.seed = 0;
	for (int i = 0; i < 4; i++)
		assert_int_equal(history_read(world.history, &filters[i], 10, on_check, &world),
				 i < 3);
	assert_int_equal(world.seed, 3);
	assert_int_equal(history_read(world.history, &filter, EDGES - 1, on_row, &(struct sum){0}),
			 HISTORY_TOO_MANY);
	filter.start_ns++;
	assert_int_equal(history_read(world.history, &filter, 10, on_check, &world), 0);
	teardown(&world);
}

static void a_name_that_comes_late_is_told_from_then_on(void **state)
{
	struct names *none = names_new(1, 0);
	struct world world;

	(void)state;
	setup(&world, NULL, 1000);

	struct rollup row = row_of(&world, START_S, 1, 3, SCOPE_EDGE, 0);

	history_append(world.history, &row, 1, none);
	assert_int_equal(history_name(world.history, row.edge.client)[0], '#');
	row.window_start_ns += NS_PER_S;
	history_append(world.history, &row, 1, world.names);
	assert_string_equal(history_name(world.history, row.edge.client), "client-3");
	names_free(none);
	teardown(&world);
}

/* --- leaving --- */

static void append_seconds(struct world *world, uint64_t from_s, uint64_t seconds)
{
	for (uint64_t second = from_s; second < from_s + seconds; second++) {
		for (uint64_t edge = 0; edge < EDGES; edge++) {
			struct rollup row = row_of(world, second, 1, edge, SCOPE_EDGE, 0);

			row.counters[COUNTER_OPENED] = 1;
			history_append(world->history, &row, 1, world->names);
		}
	}
}

static void rows_leave_when_their_time_is_over_and_their_names_with_them(void **state)
{
	struct world world;

	(void)state;
	setup(&world, NULL, 1000000);
	append_seconds(&world, START_S, 100);
	history_advance(world.history, (START_S + 100) * NS_PER_S);
	assert_int_equal(history_stats(world.history).rows_1s, 60 * EDGES);
	assert_int_equal(history_stats(world.history).deleted, 40 * EDGES);
	assert_int_equal(read_all(&world, 1000, SCOPE_EDGE).rows, 60 * EDGES);

	struct rollup row = row_of(&world, START_S, 1, 3, SCOPE_EDGE, 0);

	assert_string_equal(history_name(world.history, row.edge.client), "client-3");
	history_advance(world.history, (START_S + 200) * NS_PER_S);
	assert_int_equal(history_stats(world.history).rows_1s, 0);
	assert_string_equal(history_name(world.history, row.edge.client), "");
	append_seconds(&world, START_S + 300, 1); /* places are used again */
	assert_int_equal(read_all(&world, 1000, SCOPE_EDGE).rows, EDGES);
	assert_string_equal(history_name(world.history, row.edge.client), "client-3");
	teardown(&world);
}

static void a_full_table_lets_its_oldest_rows_go_early(void **state)
{
	struct world world;

	(void)state;
	setup(&world, NULL, 50);
	for (uint64_t second = 0; second < 30; second++) {
		append_seconds(&world, START_S + second, 1);
		assert_true(history_stats(world.history).rows_1s <= 50);
	}
	assert_int_equal(history_stats(world.history).left_early, 30 * EDGES - 50);
	assert_int_equal(read_all(&world, 1000, SCOPE_EDGE).rows, 50);
	teardown(&world);
}

/* --- files --- */

static char folder[] = "/tmp/millrace-history-XXXXXX";

static void in_folder(char path[128], const char *file)
{
	snprintf(path, 128, "%s/%s", folder, file);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[160];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

static void a_file_keeps_rows_and_names_and_passes_over_what_is_told_again(void **state)
{
	struct world world;
	char path[128];

	(void)state;
	in_folder(path, "kept.db");
	setup(&world, path, 1000000);
	append_seconds(&world, START_S, 20);

	struct rollup amended = row_of(&world, START_S + 3, 1, 3, SCOPE_EDGE, 0);

	amended.amendment = true;
	amended.counters[COUNTER_OPENED] = 5;
	history_append(world.history, &amended, 1, world.names);
	history_free(world.history);
	open_at(&world, path, 1000000);
	assert_int_equal(history_stats(world.history).rows_1s, 20 * EDGES);
	assert_int_equal(history_newest_ns(world.history, 1000), (START_S + 20) * NS_PER_S);
	assert_string_equal(history_name(world.history, amended.edge.client), "client-3");
	append_seconds(&world, START_S + 15, 10); /* the log is read again from a little before */
	assert_int_equal(history_stats(world.history).repeated, 5 * EDGES);
	history_append(world.history, &amended, 1, world.names); /* news of an old window */

	struct sum sum = read_all(&world, 1000, SCOPE_EDGE);

	assert_int_equal(sum.rows, 25 * EDGES);
	assert_int_equal(sum.counters[COUNTER_OPENED], 25 * EDGES + 10);
	teardown(&world);
}

static void a_file_that_cannot_be_used_is_told(void **state)
{
	struct history_options options = {.path = "/nonexistent/history.db"};
	const char *error = NULL;
	char path[128];
	FILE *file;

	(void)state;
	assert_null(history_new(&options, &error));
	assert_non_null(strstr(error, "unable to open"));
	in_folder(path, "text.db");
	file = fopen(path, "w");
	for (int i = 0; i < 1000; i++)
		fputs("this is no database\n", file);
	fclose(file);
	options.path = path;
	assert_null(history_new(&options, &error));
	assert_non_null(strstr(error, "not a database"));
}

static void one_process_owns_the_file(void **state)
{
	struct history_options options = {0};
	const char *error = NULL;
	struct world world;
	char path[128];

	(void)state;
	in_folder(path, "owned.db");
	setup(&world, path, 1000);
	append_seconds(&world, START_S, 1);
	options.path = path;
	assert_null(history_new(&options, &error));
	assert_non_null(strstr(error, "locked"));
	teardown(&world);
}

static void a_full_disk_is_counted_and_told_once_and_reading_goes_on(void **state)
{
	struct rlimit limit, before;
	struct world world;
	char path[128];

	(void)state;
	in_folder(path, "full.db");
	setup(&world, path, 1000000);
	append_seconds(&world, START_S, 5);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = before;
	limit.rlim_cur = 4096; /* nothing can be written any more */
	setrlimit(RLIMIT_FSIZE, &limit);
	append_seconds(&world, START_S + 5, 5);
	assert_int_equal(history_stats(world.history).failed, 5 * EDGES);
	assert_int_equal(world.troubles, 1);
	assert_int_equal(read_all(&world, 1000, SCOPE_EDGE).rows, 5 * EDGES);
	setrlimit(RLIMIT_FSIZE, &before);
	append_seconds(&world, START_S + 10, 5);
	assert_int_equal(history_stats(world.history).failed, 5 * EDGES);
	assert_int_equal(read_all(&world, 1000, SCOPE_EDGE).rows, 10 * EDGES);
	teardown(&world);

	setup(&world, path, 1000000); /* and so does the file */
	assert_int_equal(read_all(&world, 1000, SCOPE_EDGE).rows, 10 * EDGES);
	assert_int_equal(history_stats(world.history).rows_1s, 10 * EDGES);
	teardown(&world);
}

/* --- stored bytes --- */

static void damaged_rows_are_refused(void **state)
{
	struct sketch_cell cells[] = {{5, 1}, {700, 90000}, {3775, 3}};
	struct rollup rollup = {.window_start_ns = START_S * NS_PER_S,
				.window_ms = 1000,
				.connect = cells,
				.connect_cells = 3,
				.counters = {1, -1, INT64_MAX, INT64_MIN}};
	uint64_t end_ns = rollup.window_start_ns + NS_PER_S;
	struct row_bytes bytes = {0};
	struct row row = {0};
	uint64_t refused = 0;

	(void)state;
	row_encode(&bytes, &rollup);
	assert_true(row_decode(bytes.bytes, bytes.size, end_ns, true, &row));
	assert_memory_equal(row.counters, rollup.counters, sizeof(row.counters));
	assert_int_equal(row.connect.count, 3);
	for (size_t size = 0; size < bytes.size; size++) {
		uint8_t *exact = malloc(size ? size : 1); /* a step past the end is seen */

		memcpy(exact, bytes.bytes, size);
		assert_false(row_decode(exact, size, end_ns, true, &row));
		free(exact);
	}
	for (size_t bit = 0; bit < bytes.size * 8; bit++) {
		bytes.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		refused += !row_decode(bytes.bytes, bytes.size, end_ns, true, &row);
		assert_true(row.connect.count <= SKETCH_INDEXES);
		bytes.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(refused > 0);
	row_done(&row);
	free(bytes.bytes);
}

static void minutes_are_kept_for_their_time_and_hours_not_at_all(void **state)
{
	struct world world;

	(void)state;
	setup(&world, NULL, 0);
	for (uint64_t minute = 0; minute < 120; minute++) {
		struct rollup row =
			row_of(&world, START_S + minute * 60, 60, minute % EDGES, SCOPE_EDGE, 0);

		history_append(world.history, &row, 1, world.names);
		row.window_ms = 3600000;
		history_append(world.history, &row, 1, world.names);
		history_advance(world.history, (START_S + minute * 60 + 60) * NS_PER_S);
	}
	assert_int_equal(history_stats(world.history).rows_60s, 60);
	assert_int_equal(history_stats(world.history).rows_1h, 0);
	assert_int_equal(history_newest_ns(world.history, 60000), (START_S + 7200) * NS_PER_S);
	assert_int_equal(history_keep_ns(world.history, 3600000), 0);
	assert_int_equal(read_all(&world, 60000, SCOPE_EDGE).rows, 60);
	teardown(&world);
}

static void count_instance(void *context, const struct instance *instance)
{
	(void)instance;
	++*(unsigned *)context;
}

static void instances_leave_with_their_ten_seconds_though_their_edges_stay(void **state)
{
	struct world world;
	unsigned known = 0;
	const struct history_visitor visitor = {.context = &known, .instance = count_instance};

	(void)state;
	setup(&world, NULL, 0);
	for (uint64_t minute = 0; minute < 30; minute++) {
		struct rollup rows[] = {
			row_of(&world, START_S + minute * 60, 60, 1, SCOPE_EDGE, 0),
			row_of(&world, START_S + minute * 60, 10, 1, SCOPE_CLIENT, minute),
			row_of(&world, START_S + minute * 60, 60, 1, SCOPE_CLIENT, minute),
		};

		history_append(world.history, rows, 3, world.names);
		history_advance(world.history, (START_S + minute * 60 + 60) * NS_PER_S);
	}
	history_known(world.history, 0, UINT64_MAX, &visitor);
	assert_in_range(known, 9, 11); /* of ten minutes */
	assert_int_equal(read_all(&world, 60000, SCOPE_EDGE).rows, 30);
	assert_int_equal(read_all(&world, 60000, SCOPE_CLIENT).rows, 0);
	teardown(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(minutes_are_kept_for_their_time_and_hours_not_at_all),
		cmocka_unit_test(instances_leave_with_their_ten_seconds_though_their_edges_stay),
		cmocka_unit_test(sums_are_those_of_what_was_appended_amendments_included),
		cmocka_unit_test(other_windows_are_passed_over),
		cmocka_unit_test(a_row_comes_back_as_it_was_by_any_filter),
		cmocka_unit_test(a_name_that_comes_late_is_told_from_then_on),
		cmocka_unit_test(rows_leave_when_their_time_is_over_and_their_names_with_them),
		cmocka_unit_test(a_full_table_lets_its_oldest_rows_go_early),
		cmocka_unit_test(a_file_keeps_rows_and_names_and_passes_over_what_is_told_again),
		cmocka_unit_test(a_file_that_cannot_be_used_is_told),
		cmocka_unit_test(one_process_owns_the_file),
		cmocka_unit_test(a_full_disk_is_counted_and_told_once_and_reading_goes_on),
		cmocka_unit_test(damaged_rows_are_refused),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
