/* Numbers for instances: stable while held, told once a reader and period, bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/name.h"
#include "base/roster.h"

static struct instance instance(uint64_t n)
{
	struct instance made = {.workload = n, .zone = n / 3, .node = n / 7};
	made.id = instance_id(&made);
	return made;
}

static void an_instance_keeps_its_number_while_it_is_held(void **state)
{
	(void)state;
	struct roster *roster = roster_new(1000, 2);
	uint32_t numbers[500];
	for (uint64_t i = 0; i < 500; i++) {
		struct instance made = instance(i + 1);
		numbers[i] = roster_put(roster, &made, 10);
		if (i % 2)
			roster_hold(roster, numbers[i]);
	}
	for (uint64_t pane = 10; pane < 10 + NAMES_KEEP_PANES + 200; pane++)
		roster_advance(roster, NULL, pane);
	for (uint64_t i = 0; i < 500; i++) {
		struct instance made = instance(i + 1);
		assert_int_equal(roster_number(roster, made.id), i % 2 ? numbers[i] : 0);
		if (i % 2)
			assert_memory_equal(roster_at(roster, numbers[i]), &made, sizeof(made));
	}
	assert_int_equal(roster_stats(roster).live, 250);
	assert_int_equal(roster_stats(roster).expired, 250);
	roster_free(roster);
}

static void names_of_what_is_held_stay_known(void **state)
{
	(void)state;
	struct names *names = names_new(10, 0);
	struct roster *roster = roster_new(10, 0);
	struct instance held = {.workload = names_put(names, "cart", 4, 1)};
	struct instance idle = {.workload = names_put(names, "mail", 4, 1)};
	held.id = instance_id(&held);
	idle.id = instance_id(&idle);
	roster_hold(roster, roster_put(roster, &held, 1));
	roster_put(roster, &idle, 1);
	for (uint64_t pane = 1; pane < 4 * NAMES_KEEP_PANES; pane++) {
		roster_advance(roster, names, pane);
		names_advance(names, pane);
	}
	assert_non_null(names_get(names, held.workload));
	assert_null(names_get(names, idle.workload));
	roster_free(roster);
	names_free(names);
}

static void each_reader_is_told_once_a_period_and_of_changes(void **state)
{
	(void)state;
	struct roster *roster = roster_new(10, 2);
	struct instance made = instance(1);
	uint32_t number = roster_put(roster, &made, NAMES_REFRESH_PANES);
	assert_true(roster_due(roster, number, 0, NAMES_REFRESH_PANES));
	assert_false(roster_due(roster, number, 0, NAMES_REFRESH_PANES + 1));
	assert_true(roster_due(roster, number, 1, NAMES_REFRESH_PANES + 1));
	assert_true(roster_due(roster, number, 0, 2 * NAMES_REFRESH_PANES));
	made.resolution = RESOLUTION_UNIT;
	assert_int_equal(roster_put(roster, &made, 2 * NAMES_REFRESH_PANES), number);
	assert_true(roster_due(roster, number, 0, 2 * NAMES_REFRESH_PANES));
	assert_false(roster_due(roster, 0, 0, 0));
	roster_free(roster);
}

static void a_full_roster_refuses_the_newcomer_and_counts_it(void **state)
{
	(void)state;
	struct roster *roster = roster_new(2, 0);
	for (uint64_t i = 1; i <= 3; i++) {
		struct instance made = instance(i);
		assert_int_equal(roster_put(roster, &made, 1) != 0, i <= 2);
	}
	assert_int_equal(roster_stats(roster).refused, 1);
	assert_int_equal(roster_at(roster, 0)->id, 0);
	roster_free(roster);
}

static void numbers_come_again_only_after_they_were_forgotten(void **state)
{
	(void)state;
	enum { MAX = 64 };
	uint64_t seed = 7, pane = 0;
	struct roster *roster = roster_new(MAX, 0);
	uint64_t held[4 * MAX] = {0}; /* id by number */
	for (int step = 0; step < 20000; step++, pane += 13) {
		seed += 0x9e3779b97f4a7c15ULL;
		struct instance made = instance(1 + hash_mix(seed) % (3 * MAX));
		uint32_t number = roster_put(roster, &made, pane);
		if (number) {
			assert_true(held[number] == 0 || held[number] == made.id ||
				    roster_number(roster, held[number]) != number);
			held[number] = made.id;
		}
		roster_advance(roster, NULL, pane);
		assert_true(roster_stats(roster).live <= MAX);
	}
	assert_true(roster_stats(roster).expired > 1000);
	roster_free(roster);
}

/* Ids that have one home under the first secret; under another they are spread. */
static void ids_that_were_chosen_to_meet_do_not_without_the_seed(void **state)
{
	(void)state;
	struct roster *known = roster_new(1, 0), *other = roster_new(1, 0);
	uint32_t chosen = 0, met = 0;
	roster_seed(other, 1);
	for (uint64_t id = 1; chosen < 1000; id++) {
		if (roster_home(known, id))
			continue;
		chosen++;
		met += roster_home(other, id) == 0;
	}
	assert_true(met < chosen / 8);
	roster_free(known);
	roster_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_instance_keeps_its_number_while_it_is_held),
		cmocka_unit_test(names_of_what_is_held_stay_known),
		cmocka_unit_test(each_reader_is_told_once_a_period_and_of_changes),
		cmocka_unit_test(a_full_roster_refuses_the_newcomer_and_counts_it),
		cmocka_unit_test(numbers_come_again_only_after_they_were_forgotten),
		cmocka_unit_test(ids_that_were_chosen_to_meet_do_not_without_the_seed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
