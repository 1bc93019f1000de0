#include "anomaly/novelty.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/name.h"

#define START	 (1000000 * NS_PER_S)
#define WINDOW	 (10 * NS_PER_S)
#define LEARN_NS (600 * NS_PER_S)
#define GONE_NS	 (3600 * NS_PER_S)

enum { EDGES_MAX = 64, TOLD_MAX = 8 };

struct stand {
	struct novelty *novelty;
	struct names *names;
	uint64_t now_ns;
	struct change_event told[256];
	size_t count;
};

static void on_told(void *context, const struct change_event *change)
{
	struct stand *stand = context;
	assert_true(stand->count < 256);
	stand->told[stand->count++] = *change;
}

static const char *on_name(void *context, uint64_t id)
{
	const struct stand *stand = context;
	const struct name *name = names_get(stand->names, id);
	return name ? name->bytes : "";
}

static struct stand *stand_of(uint64_t edges_max)
{
	struct stand *stand = memory_zeroed(1, sizeof(*stand));
	stand->names = names_new(1024, 0);
	stand->now_ns = START;
	stand->novelty = novelty_new(&(struct novelty_options){.learn_ns = LEARN_NS,
							       .gone_ns = GONE_NS,
							       .edges_max = edges_max,
							       .told_max = TOLD_MAX,
							       .name = on_name,
							       .told = on_told,
							       .context = stand});
	return stand;
}

static struct stand *stand_new(void)
{
	return stand_of(EDGES_MAX);
}

static void stand_free(struct stand *stand)
{
	novelty_free(stand->novelty);
	names_free(stand->names);
	memory_free(stand);
}

static uint64_t put(struct stand *stand, const char *name)
{
	return names_put(stand->names, name, strlen(name), 1);
}

static struct rollup row_of(struct stand *stand, enum scope scope, const char *client,
			    const char *server)
{
	struct rollup row = {.window_start_ns = stand->now_ns,
			     .window_ms = 10000,
			     .scope = (uint8_t)scope,
			     .edge = {.client = put(stand, client),
				      .server = put(stand, server),
				      .port = 80,
				      .protocol = 6,
				      .client_resolution = RESOLUTION_WORKLOAD,
				      .server_resolution = RESOLUTION_WORKLOAD}};
	row.edge.id = edge_id(&row.edge);
	return row;
}

static void push_edge(struct stand *stand, const char *client, const char *server)
{
	const struct rollup row = row_of(stand, SCOPE_EDGE, client, server);
	novelty_push(stand->novelty, &row, 1);
}

static void push_version(struct stand *stand, const char *server, const char *version)
{
	struct rollup row = row_of(stand, SCOPE_LANE, "web", server);
	row.lane.server_version = put(stand, version);
	novelty_push(stand->novelty, &row, 1);
}

/* While it waits there is another's row. */
static void wait_ns(struct stand *stand, uint64_t ns)
{
	stand->now_ns += ns;
	push_edge(stand, "_other", "_other");
	novelty_advance(stand->novelty);
}

static void expect(const struct stand *stand, size_t number, uint32_t kind, const char *workload,
		   const char *before, const char *after)
{
	assert_true(number < stand->count);
	const struct change_event *change = &stand->told[number];
	assert_string_equal(change_kind_name(change->kind), change_kind_name(kind));
	assert_string_equal(change->workload, workload);
	assert_string_equal(change->before, before);
	assert_string_equal(change->after, after);
}

static void what_is_there_at_first_is_usual_and_what_comes_later_is_new_once(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_edge(stand, "web", "cart");
	wait_ns(stand, LEARN_NS - WINDOW);
	push_edge(stand, "web", "pay");
	assert_int_equal(stand->count, 0);
	wait_ns(stand, WINDOW);
	push_edge(stand, "web", "cart");
	push_edge(stand, "jobs", "cart");
	push_edge(stand, "jobs", "cart");
	assert_int_equal(stand->count, 1);
	expect(stand, 0, CHANGE_EDGE_APPEARED, "cart", "", "80/tcp");
	assert_string_equal(stand->told[0].instance, "jobs");
	assert_int_equal(stand->told[0].time_ns, stand->now_ns);
	stand_free(stand);
}

static void an_edge_has_vanished_when_it_is_silent_as_long_as_it_was_there(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_edge(stand, "web", "cart");
	push_edge(stand, "web", "seldom");
	for (int half = 0; half < 2; half++) {
		wait_ns(stand, GONE_NS / 2);
		push_edge(stand, "web", "cart");
	}
	uint64_t last_ns = stand->now_ns;
	wait_ns(stand, GONE_NS - 1);
	assert_int_equal(stand->count, 0);
	wait_ns(stand, 1);
	assert_int_equal(stand->count, 1);
	expect(stand, 0, CHANGE_EDGE_VANISHED, "cart", "80/tcp", "");
	assert_int_equal(stand->told[0].time_ns, last_ns);
	wait_ns(stand, 10 * GONE_NS);
	push_edge(stand, "web", "seldom"); /* that was never told gone */
	assert_int_equal(stand->count, 1);
	push_edge(stand, "web", "cart");
	assert_int_equal(stand->count, 2);
	expect(stand, 1, CHANGE_EDGE_APPEARED, "cart", "", "80/tcp");
	stand_free(stand);
}

static void a_version_is_new_to_a_workload_that_had_another(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_version(stand, "cart", "v3");
	wait_ns(stand, LEARN_NS);
	push_version(stand, "cart", "v3");
	push_version(stand, "fresh", "v1");
	assert_int_equal(stand->count, 0);
	push_version(stand, "cart", "v4");
	push_version(stand, "cart", "v3"); /* both serve while it is rolled out */
	push_version(stand, "cart", "v4");
	assert_int_equal(stand->count, 1);
	expect(stand, 0, CHANGE_DEPLOYED, "cart", "v3", "v4");
	/* Back again, when it was long gone. */
	for (int i = 0; i < 400; i++) {
		wait_ns(stand, WINDOW);
		push_version(stand, "cart", "v4");
	}
	push_version(stand, "cart", "v3");
	assert_int_equal(stand->count, 2);
	expect(stand, 1, CHANGE_DEPLOYED, "cart", "v4", "v3");
	stand_free(stand);
}

static void what_others_told_of_is_no_news(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_version(stand, "cart", "v3");
	wait_ns(stand, LEARN_NS);
	novelty_learn(stand->novelty, put(stand, "cart"), put(stand, "v4"), stand->now_ns);
	push_version(stand, "cart", "v4");
	assert_int_equal(stand->count, 0);
	const struct rollup known = row_of(stand, SCOPE_EDGE, "nightly", "cart");
	novelty_remember(stand->novelty, &known.edge, stand->now_ns);
	push_edge(stand, "nightly", "cart");
	assert_int_equal(stand->count, 0);
	stand_free(stand);
}

static void ends_that_are_not_ours_are_passed_over(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_edge(stand, "web", "cart");
	wait_ns(stand, LEARN_NS);
	struct rollup row = row_of(stand, SCOPE_EDGE, "198.51.100.7", "cart");
	row.edge.client_resolution = RESOLUTION_ADDRESS;
	novelty_push(stand->novelty, &row, 1);
	row.edge.client_resolution = RESOLUTION_RANGE;
	novelty_push(stand->novelty, &row, 1);
	row.edge.client_resolution = RESOLUTION_WORKLOAD;
	row.edge.server_resolution = RESOLUTION_AMBIGUOUS;
	novelty_push(stand->novelty, &row, 1);
	push_edge(stand, "_other", "cart");
	push_edge(stand, "web", "_other");
	row.edge.server_resolution = RESOLUTION_DNS;
	novelty_push(stand->novelty, &row, 1);
	row.edge.server_resolution = RESOLUTION_NETWORK;
	novelty_push(stand->novelty, &row, 1);
	assert_int_equal(stand->count, 0);
	row.edge.server_resolution = RESOLUTION_RANGE;
	novelty_push(stand->novelty, &row, 1);
	assert_int_equal(stand->count, 1);
	stand_free(stand);
}

static void other_windows_amendments_and_names_to_come_tell_nothing(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	push_edge(stand, "web", "cart");
	wait_ns(stand, LEARN_NS);
	struct rollup row = row_of(stand, SCOPE_EDGE, "jobs", "cart");
	row.window_ms = 60000;
	novelty_push(stand->novelty, &row, 1);
	row.window_ms = 10000;
	row.amendment = true;
	novelty_push(stand->novelty, &row, 1);
	row.amendment = false;
	row.edge.client = 12345; /* its bytes have not come */
	novelty_push(stand->novelty, &row, 1);
	assert_int_equal(stand->count, 0);
	row.edge.client = put(stand, "late");
	novelty_push(stand->novelty, &row, 1);
	assert_int_equal(stand->count, 1);
	stand_free(stand);
}

static void a_storm_is_told_up_to_its_bound_a_minute_and_counted(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	char name[16];
	push_edge(stand, "web", "cart");
	wait_ns(stand, LEARN_NS);
	for (int i = 0; i < TOLD_MAX + 3; i++) {
		snprintf(name, sizeof(name), "new%d", i);
		push_edge(stand, name, "cart");
	}
	assert_int_equal(stand->count, TOLD_MAX);
	assert_int_equal(novelty_stats(stand->novelty).left_out, 3);
	wait_ns(stand, 60 * NS_PER_S);
	push_edge(stand, "one more", "cart");
	assert_int_equal(stand->count, TOLD_MAX + 1);
	stand_free(stand);
}

static void what_vanished_an_hour_ago_counts_in_the_minute_in_which_it_is_told(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	char name[16];
	for (int half = 0; half < 3; half++) {
		for (int i = 0; i < TOLD_MAX + 5; i++) {
			snprintf(name, sizeof(name), "old%d", i);
			push_edge(stand, name, "cart");
		}
		wait_ns(stand, GONE_NS / 2);
	}
	stand->now_ns += GONE_NS;
	for (int i = 0; i < TOLD_MAX; i++) {
		snprintf(name, sizeof(name), "new%d", i);
		push_edge(stand, name, "cart");
		novelty_advance(stand->novelty);
	}
	assert_int_equal(stand->count, TOLD_MAX);
	stand_free(stand);
}

static void at_the_bound_the_longest_silent_edge_gives_its_place(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	char name[16];
	for (int i = 0; i < EDGES_MAX; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		push_edge(stand, "web", name);
		stand->now_ns += i == 0 ? WINDOW : 0;
	}
	assert_int_equal(novelty_stats(stand->novelty).edges, EDGES_MAX);
	assert_int_equal(novelty_stats(stand->novelty).evicted, 0);
	push_edge(stand, "web", "another");
	assert_int_equal(novelty_stats(stand->novelty).edges, EDGES_MAX);
	assert_int_equal(novelty_stats(stand->novelty).evicted, 1);
	stand->now_ns += LEARN_NS;
	push_edge(stand, "web", "s1");
	assert_int_equal(stand->count, 0);
	push_edge(stand, "web", "s0"); /* which was forgotten */
	assert_int_equal(stand->count, 1);
	stand_free(stand);
}

static void at_the_bound_the_longest_silent_version_gives_its_place(void **state)
{
	(void)state;
	struct stand *stand = stand_new();
	char version[16];
	for (int i = 0; i < EDGES_MAX; i++) {
		snprintf(version, sizeof(version), "v%d", i);
		push_version(stand, "cart", version);
		stand->now_ns += i == 0 ? WINDOW : 0;
	}
	push_version(stand, "cart", "another");
	assert_int_equal(novelty_stats(stand->novelty).versions, EDGES_MAX);
	assert_int_equal(novelty_stats(stand->novelty).evicted, 1);
	stand->now_ns += LEARN_NS;
	push_version(stand, "cart", "v1");
	assert_int_equal(stand->count, 0);
	push_version(stand, "cart", "v0"); /* which was forgotten */
	assert_int_equal(stand->count, 1);
	expect(stand, 0, CHANGE_DEPLOYED, "cart", "another", "v0");
	stand_free(stand);
}

/* 256 tasks of 33,554,432 edges each are allowed together. */
static void the_bound_may_be_beyond_32_bits(void **state)
{
	(void)state;
	struct stand *stand = stand_of(1ULL << 33);
	push_edge(stand, "web", "cart");
	push_edge(stand, "web", "pay");
	push_version(stand, "cart", "v1");
	assert_int_equal(novelty_stats(stand->novelty).edges, 2);
	assert_int_equal(novelty_stats(stand->novelty).evicted, 0);
	stand_free(stand);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_there_at_first_is_usual_and_what_comes_later_is_new_once),
		cmocka_unit_test(an_edge_has_vanished_when_it_is_silent_as_long_as_it_was_there),
		cmocka_unit_test(a_version_is_new_to_a_workload_that_had_another),
		cmocka_unit_test(what_others_told_of_is_no_news),
		cmocka_unit_test(ends_that_are_not_ours_are_passed_over),
		cmocka_unit_test(other_windows_amendments_and_names_to_come_tell_nothing),
		cmocka_unit_test(a_storm_is_told_up_to_its_bound_a_minute_and_counted),
		cmocka_unit_test(
			what_vanished_an_hour_ago_counts_in_the_minute_in_which_it_is_told),
		cmocka_unit_test(at_the_bound_the_longest_silent_edge_gives_its_place),
		cmocka_unit_test(at_the_bound_the_longest_silent_version_gives_its_place),
		cmocka_unit_test(the_bound_may_be_beyond_32_bits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
