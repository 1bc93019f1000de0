#include "api/query/chronicle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/name.h"
#include "metadata/change.h"

enum { CHANGES_MAX = 4 };

/* A deployment of the workload; of an edge the client. */
static void put(struct chronicle *chronicle, uint64_t key, uint64_t time_ns, const char *workload,
		const char *client)
{
	uint8_t bytes[512];
	Millrace__V1__Metadata record = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Change change = MILLRACE__V1__CHANGE__INIT;
	record.id = (char *)"/change/1/0";
	record.version = 1;
	record.from_ns = record.until_ns = change.time_ns = time_ns;
	record.change = &change;
	change.kind = (Millrace__V1__ChangeKind)(client ? CHANGE_EDGE_APPEARED : CHANGE_DEPLOYED);
	change.workload = (char *)workload;
	change.instance = (char *)(client ? client : "pod/main");
	chronicle_put(chronicle, key, bytes, millrace__v1__metadata__pack(&record, bytes));
}

struct seen {
	uint64_t times[16];
	size_t count;
};

static void on_change(void *context, const uint8_t *bytes, size_t length)
{
	struct seen *seen = context;
	Millrace__V1__Metadata *record = millrace__v1__metadata__unpack(NULL, length, bytes);
	seen->times[seen->count++] = record->from_ns;
	millrace__v1__metadata__free_unpacked(record, NULL);
}

static size_t read_all(const struct chronicle *chronicle, struct chronicle_choice choice,
		       size_t most, struct seen *seen)
{
	*seen = (struct seen){0};
	choice.until_ns = choice.until_ns ? choice.until_ns : UINT64_MAX;
	return chronicle_read(chronicle, &choice, most, on_change, seen);
}

static void changes_come_newest_first_and_as_many_as_are_wanted(void **state)
{
	(void)state;
	struct chronicle *chronicle = chronicle_new(CHANGES_MAX);
	struct seen seen;
	put(chronicle, 1, 100, "cart", NULL);
	put(chronicle, 2, 300, "cart", NULL);
	put(chronicle, 3, 200, "pay", NULL);
	put(chronicle, 2, 300, "cart", NULL); /* told again */
	assert_int_equal(read_all(chronicle, (struct chronicle_choice){0}, 2, &seen), 3);
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.times[0], 300);
	assert_int_equal(seen.times[1], 200);
	chronicle_drop(chronicle, 2);
	chronicle_drop(chronicle, 2);
	assert_int_equal(read_all(chronicle, (struct chronicle_choice){0}, 8, &seen), 2);
	assert_int_equal(seen.times[0], 200);
	chronicle_free(chronicle);
}

static void a_choice_is_of_workload_edge_kind_and_time(void **state)
{
	(void)state;
	struct chronicle *chronicle = chronicle_new(CHANGES_MAX);
	struct seen seen;
	put(chronicle, 1, 100, "cart", NULL);
	put(chronicle, 2, 200, "pay", "cart");
	put(chronicle, 3, 300, "pay", NULL);
	struct chronicle_choice choice = {.workload = name_id("cart", 4)};
	assert_int_equal(read_all(chronicle, choice, 8, &seen), 2);
	choice.kind = CHANGE_DEPLOYED;
	assert_int_equal(read_all(chronicle, choice, 8, &seen), 1);
	assert_int_equal(seen.times[0], 100);
	choice = (struct chronicle_choice){.from_ns = 101, .until_ns = 200};
	assert_int_equal(read_all(chronicle, choice, 8, &seen), 1);
	choice = (struct chronicle_choice){.workload = name_id("pod/main", 8)};
	assert_int_equal(read_all(chronicle, choice, 8, &seen), 0);
	chronicle_free(chronicle);
}

static void beyond_the_bound_the_oldest_leaves(void **state)
{
	(void)state;
	struct chronicle *chronicle = chronicle_new(CHANGES_MAX);
	struct seen seen;
	for (uint64_t i = 0; i < CHANGES_MAX; i++)
		put(chronicle, i + 1, 1000 - 10 * i, "cart", NULL);
	assert_int_equal(chronicle_stats(chronicle).evicted, 0);
	put(chronicle, 99, 2000, "cart", NULL);
	assert_int_equal(chronicle_stats(chronicle).evicted, 1);
	assert_int_equal(chronicle_stats(chronicle).changes, CHANGES_MAX);
	assert_int_equal(read_all(chronicle, (struct chronicle_choice){0}, 8, &seen), CHANGES_MAX);
	assert_int_equal(seen.times[0], 2000);
	assert_int_equal(seen.times[CHANGES_MAX - 1], 1000 - 10 * (CHANGES_MAX - 2));
	chronicle_put(chronicle, 7, (const uint8_t *)"\x0a\x05x", 3);
	assert_int_equal(chronicle_stats(chronicle).refused, 1);
	chronicle_free(chronicle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changes_come_newest_first_and_as_many_as_are_wanted),
		cmocka_unit_test(a_choice_is_of_workload_edge_kind_and_time),
		cmocka_unit_test(beyond_the_bound_the_oldest_leaves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
