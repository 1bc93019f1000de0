#include "anomaly/witness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void add(struct alert *alert, uint32_t kind, const char *name, double share)
{
	struct suspect *suspect = &alert->suspects[alert->suspects_count++];
	suspect->kind = kind;
	suspect->share = share;
	suspect->excess = 4;
	snprintf(suspect->name, sizeof(suspect->name), "%s", name);
}

static void a_node_that_all_name_beside_their_instances_comes_first(void **state)
{
	struct alert cart = {0}, web = {0}, from = {0}, told;
	const struct alert *witnesses[] = {&cart, &web, &from};
	(void)state;
	add(&cart, SUSPECT_SERVER_INSTANCE, "cart-1", 1);
	add(&cart, SUSPECT_SERVER_NODE, "n7", 1);
	add(&web, SUSPECT_SERVER_INSTANCE, "web-3", 1);
	add(&web, SUSPECT_SERVER_NODE, "n7", 1);
	add(&from, SUSPECT_CLIENT_NODE, "n7", 0.8);
	told = cart;
	witness_agree(&told, witnesses, 3);
	assert_int_equal(told.suspects_count, 2);
	assert_int_equal(told.suspects[0].kind, SUSPECT_SERVER_NODE);
	assert_string_equal(told.suspects[0].name, "n7");
	assert_string_equal(told.suspects[1].name, "cart-1");
}

static void an_instance_stays_first_when_its_node_says_no_more(void **state)
{
	struct alert a = {0}, b = {0}, told;
	const struct alert *witnesses[] = {&a, &b};
	(void)state;
	add(&a, SUSPECT_SERVER_INSTANCE, "cart-1", 1);
	add(&a, SUSPECT_SERVER_NODE, "n7", 1);
	b = a;
	told = a;
	witness_agree(&told, witnesses, 2);
	assert_string_equal(told.suspects[0].name, "cart-1");
	assert_string_equal(told.suspects[1].name, "n7");
}

/* At its end and between the ends: that is said once. */
static void a_witness_counts_once_for_a_zone(void **state)
{
	struct alert a = {0}, b = {0}, told;
	const struct alert *witnesses[] = {&a, &b};
	(void)state;
	add(&a, SUSPECT_SERVER_NODE, "n7", 1);
	add(&a, SUSPECT_SERVER_ZONE, "z", 1);
	add(&a, SUSPECT_ZONE, "z", 0.85);
	b = a;
	told = a;
	witness_agree(&told, witnesses, 2);
	assert_int_equal(told.suspects[0].kind, SUSPECT_SERVER_NODE);
	/* Nor does one say it for two. */
	witness_agree(&told, witnesses, 1);
	assert_int_equal(told.suspects[0].kind, SUSPECT_SERVER_NODE);
}

static void one_witness_changes_nothing_and_small_shares_do_not_count(void **state)
{
	struct alert a = {0}, b = {0}, told = {0};
	const struct alert *witnesses[] = {&a, &b};
	(void)state;
	add(&a, SUSPECT_SERVER_ZONE, "z", 0.3);
	add(&b, SUSPECT_SERVER_ZONE, "z", 0.3);
	witness_agree(&told, witnesses, 2);
	assert_int_equal(told.suspects_count, 0);
	add(&a, SUSPECT_SERVER_VERSION, "v2", 1);
	witness_agree(&told, witnesses, 2);
	assert_int_equal(told.suspects_count, 0);
}

static void what_the_cause_did_not_name_is_taken_from_those_who_did(void **state)
{
	struct alert full = {0}, b = {0}, c = {0};
	const struct alert *witnesses[] = {&full, &b, &c};
	(void)state;
	for (uint32_t i = 0; i < ALERT_SUSPECTS_MAX; i++) {
		char name[16];
		snprintf(name, sizeof(name), "pod-%u", i);
		add(&full, SUSPECT_SERVER_INSTANCE, name, 0.2);
	}
	add(&b, SUSPECT_CLIENT_ZONE, "z", 0.9);
	add(&c, SUSPECT_SERVER_ZONE, "z", 0.9);
	witness_agree(&full, witnesses, 3);
	assert_int_equal(full.suspects_count, ALERT_SUSPECTS_MAX);
	assert_string_equal(full.suspects[0].name, "z");
	assert_string_equal(full.suspects[ALERT_SUSPECTS_MAX - 1].name, "pod-3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_that_all_name_beside_their_instances_comes_first),
		cmocka_unit_test(an_instance_stays_first_when_its_node_says_no_more),
		cmocka_unit_test(a_witness_counts_once_for_a_zone),
		cmocka_unit_test(one_witness_changes_nothing_and_small_shares_do_not_count),
		cmocka_unit_test(what_the_cause_did_not_name_is_taken_from_those_who_did),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
