/* What a parcel tells is the same behind its bytes, and bytes that are none make none. Bytes are
 * read from rooms of just their length, so that a step too far is seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/wire_parcel.h"

enum { TASKS = 4, TASK = 3, ROWS = 6, AGENTS = 3, HEAD_WORDS = 12, HEAD_COUNTS = 6 };

/* --- parcels --- */

static uint64_t named(struct names *names, char letter, size_t length)
{
	char text[NAME_MAX_BYTES];

	memset(text, letter, length);
	return names_put(names, text, length, 0);
}

static const struct sketch_cell two_cells[] = {{.index = 7, .count = 1},
					       {.index = 900, .count = UINT32_MAX}};
static const struct sketch_cell last_cell[] = {{.index = SKETCH_INDEXES - 1, .count = 3}};

static void lend(struct sketch_cell **cells, uint32_t *count, const struct sketch_cell *from,
		 uint32_t length)
{
	*cells = (struct sketch_cell *)(uintptr_t)from;
	*count = length;
}

/* Edges, an amendment of one, a lane and an instance; with both sketches, one of them, none. */
static void fill_rows(struct rollup rows[ROWS], struct names *names)
{
	for (size_t i = 0; i < ROWS; i++) {
		struct rollup *row = &rows[i];

		memset(row, 0, sizeof(*row));
		row->window_start_ns = 1700000000000000000 + i;
		row->window_ms = 10000;
		row->amendment = i == 1;
		row->edge = (struct edge){.id = 50 + i / 2,
					  .client = named(names, 'a', 1),
					  .server = named(names, 'b', NAME_MAX_BYTES),
					  .port = 443,
					  .protocol = 6};
		for (int counter = 0; counter < COUNTERS; counter++)
			row->counters[counter] = (i == 1 ? -1 : 1) * (int64_t)(100 * i + counter);
		row->min_rtt_us = (uint32_t)(30 + i);
		row->last_event_ns = 1700000001000000000 + i;
	}
	rows[4].scope = SCOPE_LANE;
	rows[4].lane = (struct lane){.id = 9, .client_zone = named(names, 'c', 7)};
	rows[5].scope = SCOPE_SERVER;
	rows[5].instance = (struct instance){
		.id = 10, .workload = rows[5].edge.server, .container = named(names, 'd', 100)};
	lend(&rows[0].connect, &rows[0].connect_cells, two_cells, 2);
	lend(&rows[0].srtt, &rows[0].srtt_cells, last_cell, 1);
	lend(&rows[1].srtt, &rows[1].srtt_cells, two_cells, 2);
	lend(&rows[5].connect, &rows[5].connect_cells, last_cell, 1);
}

static struct parcel *parcel_of_rows(void)
{
	struct names *names = names_new(64, 0);
	struct parcels *parcels = parcels_new(TASK, 64);
	struct rollup rows[ROWS];
	struct parcel *parcel;

	fill_rows(rows, names);
	parcel = parcels_rollups(parcels, rows, ROWS, names, 5);
	assert_int_equal(4, parcel->names_count);
	parcels_free(parcels);
	names_free(names);
	return parcel;
}

static struct parcel *parcel_of_none(void)
{
	struct parcels *parcels = parcels_new(TASK, 64);
	struct names *names = names_new(64, 0);
	struct parcel *parcel = parcels_rollups(parcels, NULL, 0, names, 5);

	parcels_free(parcels);
	names_free(names);
	return parcel;
}

static uint8_t *packed_about(const char *node, size_t *length)
{
	Millrace__V1__AgentResponse response;
	Millrace__V1__Agent agent;
	uint8_t *bytes;

	millrace__v1__agent_response__init(&response);
	millrace__v1__agent__init(&agent);
	response.agent = &agent;
	agent.node = (char *)(uintptr_t)node;
	agent.kernel = (char *)(uintptr_t) "6.1.0";
	*length = millrace__v1__agent_response__get_packed_size(&response);
	bytes = memory_resize(NULL, *length, 1);
	millrace__v1__agent_response__pack(&response, bytes);
	return bytes;
}

/* As parcels_stats() makes it, each byte of each figure set; one agent is told of anew, and one has
 * no name. */
static struct parcel *parcel_of_agents(void)
{
	static const char *const nodes[AGENTS] = {"", "node-a", "node-b"};
	struct parcel *parcel = memory_zeroed(1, sizeof(*parcel));

	parcel->kind = PARCEL_STATS;
	parcel->task = TASK;
	memset(&parcel->stats, 0x2d, sizeof(parcel->stats));
	parcel->agents = memory_zeroed(AGENTS, sizeof(*parcel->agents));
	parcel->agents_count = AGENTS;
	for (size_t i = 0; i < AGENTS; i++) {
		struct agent_view *view = &parcel->agents[i];

		memset(view, (int)(0x41 + i), sizeof(*view));
		view->node = strdup(nodes[i]);
		view->about = NULL;
		view->about_length = 0;
	}
	parcel->agents[1].about = packed_about("node-a", &parcel->agents[1].about_length);
	parcel->changes = memory_zeroed(1, sizeof(*parcel->changes));
	parcel->changes_count = 1;
	*parcel->changes = (struct change_event){
		.time_ns = 7, .kind = CHANGE_RESTARTED, .workload = "shop/cart", .node = "node-a"};
	return parcel;
}

/* --- what is compared --- */

static void check_cells(const struct sketch_cell *one, uint32_t one_count,
			const struct sketch_cell *other, uint32_t other_count)
{
	assert_int_equal(one_count, other_count);
	for (uint32_t i = 0; i < one_count; i++) {
		assert_int_equal(one[i].index, other[i].index);
		assert_int_equal(one[i].count, other[i].count);
	}
}

static void check_row(const struct rollup *one, const struct rollup *other)
{
	struct rollup plain = *one, also = *other;

	check_cells(one->connect, one->connect_cells, other->connect, other->connect_cells);
	check_cells(one->srtt, one->srtt_cells, other->srtt, other->srtt_cells);
	plain.connect = plain.srtt = also.connect = also.srtt = NULL;
	assert_memory_equal(&plain, &also, sizeof(plain));
}

static void check_agent(const struct agent_view *one, const struct agent_view *other)
{
	struct agent_view plain = *one, also = *other;

	assert_string_equal(one->node, other->node);
	assert_int_equal(one->about_length, other->about_length);
	assert_int_equal(!one->about, !other->about);
	if (one->about)
		assert_memory_equal(one->about, other->about, one->about_length);
	plain.node = also.node = NULL;
	plain.about = also.about = NULL;
	assert_memory_equal(&plain, &also, sizeof(plain));
}

static void check_parcel(const struct parcel *one, const struct parcel *other)
{
	assert_int_equal(one->kind, other->kind);
	assert_int_equal(one->task, other->task);
	assert_int_equal(one->rollups_count, other->rollups_count);
	assert_int_equal(one->names_count, other->names_count);
	assert_int_equal(one->agents_count, other->agents_count);
	for (size_t i = 0; i < one->rollups_count; i++)
		check_row(&one->rollups[i], &other->rollups[i]);
	for (size_t i = 0; i < one->names_count; i++) {
		assert_int_equal(one->names[i].id, other->names[i].id);
		assert_int_equal(one->names[i].length, other->names[i].length);
		assert_string_equal(one->names[i].bytes, other->names[i].bytes);
	}
	assert_int_equal(one->changes_count, other->changes_count);
	if (one->changes_count)
		assert_memory_equal(one->changes, other->changes,
				    one->changes_count * sizeof(*one->changes));
	for (size_t i = 0; i < one->agents_count; i++)
		check_agent(&one->agents[i], &other->agents[i]);
	if (one->kind == PARCEL_STATS)
		assert_memory_equal(&one->stats, &other->stats, sizeof(one->stats));
}

/* Reads a copy that may go before the parcel does, and stands at an odd address. */
static int decode(const uint8_t *bytes, size_t length, struct parcel **parcel)
{
	uint8_t *room = malloc(length + 1);
	int rc;

	if (length)
		memcpy(room + 1, bytes, length);
	rc = parcel_decode(room + 1, length, TASKS, parcel);
	free(room);
	return rc;
}

static void check_refused(const uint8_t *bytes, size_t length)
{
	struct parcel *parcel;

	assert_int_equal(-EBADMSG, decode(bytes, length, &parcel));
	assert_null(parcel);
}

/* Takes the parcel. */
static void check_round_trip(struct parcel *parcel)
{
	size_t length;
	uint8_t *bytes = parcel_encode(parcel, &length);
	struct parcel *again;

	assert_int_equal(0, decode(bytes, length, &again));
	check_parcel(parcel, again);
	parcel_free(again);
	parcel_free(parcel);
	free(bytes);
}

static uint8_t *taken_bytes(struct parcel *parcel, size_t *length)
{
	uint8_t *bytes = parcel_encode(parcel, length);

	parcel_free(parcel);
	return bytes;
}

/* --- tests --- */

static void rows_and_names_are_the_same_behind_their_bytes(void **state)
{
	(void)state;
	check_round_trip(parcel_of_rows());
}

static void names_of_any_length_are_the_same_behind_their_bytes(void **state)
{
	char longest[NAME_MAX_BYTES + 1] = {0};
	struct name names[] = {{.id = 0, .bytes = ""},
			       {.id = 1, .bytes = longest, .length = NAME_MAX_BYTES},
			       {.id = UINT64_MAX, .bytes = "x", .length = 1}};
	struct parcel parcel = {.task = TASK, .names = names, .names_count = 3};
	struct parcel *again;
	size_t length;
	uint8_t *bytes;

	(void)state;
	memset(longest, 'n', NAME_MAX_BYTES);
	bytes = parcel_encode(&parcel, &length);
	assert_int_equal(0, decode(bytes, length, &again));
	check_parcel(&parcel, again);
	parcel_free(again);
	free(bytes);
}

static void counters_and_agents_are_the_same_behind_their_bytes(void **state)
{
	(void)state;
	check_round_trip(parcel_of_agents());
}

static void parcels_may_be_empty(void **state)
{
	struct parcel *parcel = memory_zeroed(1, sizeof(*parcel));

	(void)state;
	check_round_trip(parcel_of_none());
	parcel->kind = PARCEL_STATS;
	check_round_trip(parcel);
}

static void check_prefixes(struct parcel *parcel)
{
	size_t length;
	uint8_t *bytes = taken_bytes(parcel, &length);

	for (size_t some = 0; some < length; some++)
		check_refused(bytes, some);
	bytes = memory_resize(bytes, length + 1, 1);
	bytes[length] = 0;
	check_refused(bytes, length + 1);
	free(bytes);
}

static void what_is_cut_short_or_goes_on_is_refused(void **state)
{
	(void)state;
	check_prefixes(parcel_of_rows());
	check_prefixes(parcel_of_agents());
	check_prefixes(parcel_of_none());
}

/* Magic, layout, eight sizes, kind and task, then six counts of eight bytes. */
static void check_head(struct parcel *parcel)
{
	static const uint64_t changes[] = {1, 2, 1ULL << 31, 1ULL << 40, 1ULL << 61, UINT64_MAX};
	size_t length;
	uint8_t *bytes = taken_bytes(parcel, &length);

	for (size_t i = 0; i < HEAD_WORDS; i++) {
		bytes[4 * i] ^= 0x55;
		check_refused(bytes, length);
		bytes[4 * i] ^= 0x55;
	}
	for (size_t i = 0; i < HEAD_COUNTS; i++) {
		uint8_t *at = bytes + 4 * HEAD_WORDS + 8 * i;

		for (size_t j = 0; j < sizeof(changes) / sizeof(changes[0]); j++) {
			uint64_t count, changed;

			memcpy(&count, at, sizeof(count));
			changed = count + changes[j];
			memcpy(at, &changed, sizeof(changed));
			check_refused(bytes, length);
			memcpy(at, &count, sizeof(count));
		}
	}
	free(bytes);
}

static void a_foreign_head_or_another_count_is_refused(void **state)
{
	(void)state;
	check_head(parcel_of_rows());
	check_head(parcel_of_agents());
	check_head(parcel_of_none());
}

static void a_task_that_there_is_not_is_refused(void **state)
{
	size_t length;
	uint8_t *bytes = taken_bytes(parcel_of_rows(), &length);
	struct parcel *parcel;

	(void)state;
	assert_int_equal(-EBADMSG, parcel_decode(bytes, length, TASK, &parcel));
	assert_int_equal(0, parcel_decode(bytes, length, TASK + 1, &parcel));
	parcel_free(parcel);
	free(bytes);
}

enum { AT_ROWS = 4 * HEAD_WORDS + 8 * HEAD_COUNTS };

/* Refused when `size` bytes at `at` are these, and taken as they were. */
static void check_change(const void *change, size_t size, size_t at)
{
	size_t length;
	uint8_t *bytes = taken_bytes(parcel_of_rows(), &length);
	struct parcel *parcel;

	assert_int_equal(0, decode(bytes, length, &parcel));
	parcel_free(parcel);
	assert_memory_not_equal(bytes + at, change, size);
	memcpy(bytes + at, change, size);
	check_refused(bytes, length);
	free(bytes);
}

static void rows_that_no_reader_could_use_are_refused(void **state)
{
	static const uint8_t scope = SCOPES, amendment = 2;
	static const uint32_t cells[] = {0, 1, 3, 4, UINT32_MAX};

	(void)state;
	check_change(&scope, 1, AT_ROWS + offsetof(struct rollup, scope));
	check_change(&amendment, 1, AT_ROWS + offsetof(struct rollup, amendment));
	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
		check_change(&cells[i], sizeof(cells[i]),
			     AT_ROWS + offsetof(struct rollup, connect_cells));
}

static void cells_that_are_no_sketch_are_refused(void **state)
{
	static const uint16_t before = 6, same = 7, outside = SKETCH_INDEXES;
	static const uint32_t none = 0;
	size_t at = AT_ROWS + ROWS * sizeof(struct rollup);
	size_t second = at + sizeof(struct sketch_cell) + offsetof(struct sketch_cell, index);

	(void)state;
	check_change(&before, sizeof(before), second);
	check_change(&same, sizeof(same), second);
	check_change(&outside, sizeof(outside), second);
	check_change(&none, sizeof(none), at + offsetof(struct sketch_cell, count));
}

static void texts_that_are_nobodys_are_refused(void **state)
{
	struct parcel *parcels[] = {parcel_of_rows(), parcel_of_agents(), parcel_of_none()};

	(void)state;
	for (size_t i = 0; i < sizeof(parcels) / sizeof(parcels[0]); i++) {
		size_t length;
		uint8_t *bytes = taken_bytes(parcels[i], &length);
		uint64_t text_bytes;

		memcpy(&text_bytes, bytes + AT_ROWS - sizeof(text_bytes), sizeof(text_bytes));
		text_bytes++;
		memcpy(bytes + AT_ROWS - sizeof(text_bytes), &text_bytes, sizeof(text_bytes));
		bytes = memory_resize(bytes, length + 1, 1);
		bytes[length] = 0;
		check_refused(bytes, length + 1);
		free(bytes);
	}
}

/* It would read behind the parcel. */
static void a_row_has_no_cells_but_those_of_its_parcel(void **state)
{
	struct rollup row = {.window_ms = 10000};
	struct parcel parcel = {.rollups = &row, .rollups_count = 1};
	const uint32_t one = 1;
	size_t length;
	uint8_t *bytes = parcel_encode(&parcel, &length);
	struct parcel *again;

	(void)state;
	assert_int_equal(0, decode(bytes, length, &again));
	parcel_free(again);
	memcpy(bytes + AT_ROWS + offsetof(struct rollup, srtt_cells), &one, sizeof(one));
	check_refused(bytes, length);
	free(bytes);
}

static void a_name_that_is_too_long_is_refused(void **state)
{
	char text[NAME_MAX_BYTES + 2] = {0};
	struct name name = {.id = 1, .bytes = text, .length = NAME_MAX_BYTES + 1};
	struct parcel parcel = {.names = &name, .names_count = 1};
	size_t length;
	uint8_t *bytes;

	(void)state;
	memset(text, 'n', NAME_MAX_BYTES + 1);
	bytes = parcel_encode(&parcel, &length);
	check_refused(bytes, length);
	free(bytes);
}

static void a_change_has_a_kind_and_texts_that_end(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct parcel *parcel = parcel_of_agents();
		size_t length;

		if (i == 0)
			parcel->changes->kind = CHANGE_KINDS;
		else
			memset(parcel->changes->reason, 'x', sizeof(parcel->changes->reason));
		uint8_t *bytes = taken_bytes(parcel, &length);

		check_refused(bytes, length);
		free(bytes);
	}
}

/* The last agent's name ends the bytes. */
static void a_node_is_named_by_a_whole_text(void **state)
{
	size_t length;
	uint8_t *bytes = taken_bytes(parcel_of_agents(), &length);

	(void)state;
	assert_string_equal("node-b", (char *)bytes + length - sizeof("node-b"));
	bytes[length - 3] = 0;
	check_refused(bytes, length);
	free(bytes);
}

static void what_tells_of_no_agent_is_refused(void **state)
{
	struct parcel *parcel = parcel_of_agents();
	struct agent_view *view = &parcel->agents[1];
	Millrace__V1__AgentResponse response;
	size_t length;
	uint8_t *bytes;

	(void)state;
	millrace__v1__agent_response__init(&response);
	response.listeners_left_out = 1;
	view->about_length =
		millrace__v1__agent_response__pack(&response, (uint8_t *)(uintptr_t)view->about);
	bytes = taken_bytes(parcel, &length);
	check_refused(bytes, length);
	free(bytes);
}

/* The list of agents takes it for a bug of its own if it cannot read this. */
static void what_an_agent_is_must_be_readable(void **state)
{
	struct parcel *parcel = parcel_of_agents();
	struct agent_view *view = &parcel->agents[1];
	size_t length;
	uint8_t *bytes;

	(void)state;
	memset((uint8_t *)(uintptr_t)view->about, 0xff, view->about_length);
	bytes = taken_bytes(parcel, &length);
	check_refused(bytes, length);
	free(bytes);
}

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* What is taken nevertheless is a whole parcel. */
static void check_flips(struct parcel *parcel, uint64_t seed, size_t *taken)
{
	size_t length;
	uint8_t *bytes = taken_bytes(parcel, &length);

	for (int i = 0; i < 5000; i++) {
		size_t at = next(&seed) % length;
		uint8_t was = bytes[at];
		struct parcel *found;

		bytes[at] = (uint8_t)next(&seed);
		if (decode(bytes, length, &found) == 0) {
			check_round_trip(found);
			++*taken;
		}
		bytes[at] = was;
	}
	free(bytes);
}

static void changed_bytes_are_refused_or_make_a_whole_parcel(void **state)
{
	uint64_t seed = 20261122;
	size_t taken = 0;

	(void)state;
	printf("seed %llu\n", (unsigned long long)seed);
	check_flips(parcel_of_rows(), seed, &taken);
	check_flips(parcel_of_agents(), seed, &taken);
	assert_in_range(taken, 1, 2 * 5000 - 1);
}

/* --- how large it gets --- */

/* Each of an instance, with eight of the longest names that no other row has. */
static void fill_largest(struct rollup *rows, struct names *names, struct sketch_cell *cells,
			 uint32_t count)
{
	uint64_t *ids[8];
	char text[NAME_MAX_BYTES + 1];
	unsigned number = 0;

	for (size_t i = 0; i < ROWS_A_PARCEL; i++) {
		struct rollup *row = &rows[i];

		*row = (struct rollup){.window_ms = 10000, .scope = SCOPE_CLIENT};
		row->edge.id = i + 1;
		ids[0] = &row->edge.client, ids[1] = &row->edge.server;
		ids[2] = &row->instance.workload, ids[3] = &row->instance.version;
		ids[4] = &row->instance.zone, ids[5] = &row->instance.node;
		ids[6] = &row->instance.container, ids[7] = &row->instance.process;
		for (size_t j = 0; j < 8; j++) {
			snprintf(text, sizeof(text), "%0*u", NAME_MAX_BYTES, number++);
			*ids[j] = names_put(names, text, NAME_MAX_BYTES, 0);
		}
		lend(&row->connect, &row->connect_cells, cells, count);
		lend(&row->srtt, &row->srtt_cells, cells, count);
	}
}

/* Rows with sketches of so many cells; returns how many of them one parcel takes. */
static size_t check_largest(uint32_t count)
{
	struct names *names = names_new(8 * ROWS_A_PARCEL, 0);
	struct parcels *parcels = parcels_new(TASK, 8 * ROWS_A_PARCEL);
	struct rollup *rows = memory_zeroed(ROWS_A_PARCEL, sizeof(*rows));
	struct sketch_cell *cells = memory_zeroed(SKETCH_INDEXES, sizeof(*cells));
	struct parcel *parcel, *again;
	size_t length, some;
	uint8_t *bytes;

	for (size_t i = 0; i < SKETCH_INDEXES; i++)
		cells[i] = (struct sketch_cell){.index = (uint16_t)i, .count = UINT32_MAX};
	fill_largest(rows, names, cells, count);
	some = parcels_fit(rows, ROWS_A_PARCEL);
	parcel = parcels_rollups(parcels, rows, some, names, 5);
	assert_int_equal(8 * some, parcel->names_count);
	bytes = parcel_encode(parcel, &length);
	assert_in_range(length, 1 << 20, WIRE_PARCEL_ROWS_MAX - 1);
	assert_int_equal(0, parcel_decode(bytes, length, TASKS, &again));
	check_parcel(parcel, again);
	parcel_free(again);
	parcel_free(parcel);
	free(bytes);
	free(cells);
	free(rows);
	parcels_free(parcels);
	names_free(names);
	return some;
}

static void as_many_rows_as_a_parcel_takes_fit_in_a_record(void **state)
{
	(void)state;
	assert_int_equal(ROWS_A_PARCEL, check_largest(CELLS_A_PARCEL / ROWS_A_PARCEL / 2));
	assert_int_equal(CELLS_A_PARCEL / (2 * SKETCH_INDEXES), check_largest(SKETCH_INDEXES));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_and_names_are_the_same_behind_their_bytes),
		cmocka_unit_test(names_of_any_length_are_the_same_behind_their_bytes),
		cmocka_unit_test(counters_and_agents_are_the_same_behind_their_bytes),
		cmocka_unit_test(parcels_may_be_empty),
		cmocka_unit_test(what_is_cut_short_or_goes_on_is_refused),
		cmocka_unit_test(a_foreign_head_or_another_count_is_refused),
		cmocka_unit_test(a_task_that_there_is_not_is_refused),
		cmocka_unit_test(rows_that_no_reader_could_use_are_refused),
		cmocka_unit_test(cells_that_are_no_sketch_are_refused),
		cmocka_unit_test(texts_that_are_nobodys_are_refused),
		cmocka_unit_test(a_row_has_no_cells_but_those_of_its_parcel),
		cmocka_unit_test(a_name_that_is_too_long_is_refused),
		cmocka_unit_test(a_change_has_a_kind_and_texts_that_end),
		cmocka_unit_test(a_node_is_named_by_a_whole_text),
		cmocka_unit_test(what_tells_of_no_agent_is_refused),
		cmocka_unit_test(what_an_agent_is_must_be_readable),
		cmocka_unit_test(changed_bytes_are_refused_or_make_a_whole_parcel),
		cmocka_unit_test(as_many_rows_as_a_parcel_takes_fit_in_a_record),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
