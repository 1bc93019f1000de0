#include "metadata/change.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct change_event change_of(uint32_t kind, const char *workload, const char *node,
				     const char *instance, const char *before, const char *after)
{
	struct change_event change = {.time_ns = 1, .kind = kind};
	snprintf(change.workload, sizeof(change.workload), "%s", workload);
	snprintf(change.node, sizeof(change.node), "%s", node);
	snprintf(change.instance, sizeof(change.instance), "%s", instance);
	snprintf(change.before, sizeof(change.before), "%s", before);
	snprintf(change.after, sizeof(change.after), "%s", after);
	return change;
}

static void expect(struct change_event change, const char *wanted)
{
	char text[CHANGE_TEXT_BYTES];
	change_text(&change, text, sizeof(text));
	assert_string_equal(text, wanted);
}

static void a_change_is_a_phrase_that_names_what_was_done_to_whom(void **state)
{
	(void)state;
	expect(change_of(CHANGE_DEPLOYED, "shop/cart", "", "", "v3", "v4"),
	       "deployment shop/cart v3 → v4");
	expect(change_of(CHANGE_DEPLOYED, "shop/cart", "", "", "", "v4"),
	       "deployment shop/cart → v4");
	expect(change_of(CHANGE_SCALED, "shop/cart", "", "", "3", "5"),
	       "scaling shop/cart 3 → 5 replicas");
	expect(change_of(CHANGE_RESTARTED, "shop/cart", "n1", "cart-0/main", "1", "2"),
	       "restart of cart-0/main on n1");
	expect(change_of(CHANGE_OOM_KILLED, "shop/cart", "n1", "cart-0/main", "", ""),
	       "out of memory in cart-0/main on n1");
	expect(change_of(CHANGE_NODE_READY, "", "n1", "", "True", "False"),
	       "node n1 ready True → False");
	expect(change_of(CHANGE_NODE_ADDED, "", "n1", "", "", ""), "node n1 added");
	expect(change_of(CHANGE_NODE_REMOVED, "", "n1", "", "", ""), "node n1 removed");
	expect(change_of(CHANGE_NODE_CORDONED, "", "n1", "", "false", "true"),
	       "node n1 cordoned false → true");
	expect(change_of(CHANGE_EDGE_APPEARED, "shop/cart", "", "shop/web", "", "80/tcp"),
	       "new edge shop/web -> shop/cart:80/tcp");
	expect(change_of(CHANGE_EDGE_VANISHED, "shop/cart", "", "shop/web", "80/tcp", ""),
	       "edge shop/web -> shop/cart:80/tcp vanished");
}

static void a_reason_follows_where_it_explains_something(void **state)
{
	(void)state;
	struct change_event change = change_of(CHANGE_RESTARTED, "w", "", "p/c", "0", "1");
	snprintf(change.reason, sizeof(change.reason), "Error");
	expect(change, "restart of p/c (Error)");
	change.kind = CHANGE_OOM_KILLED;
	expect(change, "out of memory in p/c");
}

static void a_phrase_is_cut_at_a_character(void **state)
{
	(void)state;
	const struct change_event change = change_of(CHANGE_DEPLOYED, "cart", "", "", "1", "2");
	const char whole[] = "deployment cart 1 → 2";
	char text[sizeof(whole)];
	for (size_t size = 1; size <= sizeof(whole); size++) {
		change_text(&change, text, size);
		size_t length = strlen(text);
		assert_memory_equal(text, whole, length);
		bool inside = size == 20 || size == 21; /* of the arrow's three bytes */
		assert_int_equal(length, inside ? 18 : size - 1);
	}
}

static void kinds_have_names(void **state)
{
	(void)state;
	for (uint32_t kind = 1; kind < CHANGE_KINDS; kind++)
		assert_int_equal(change_kind_by_name(change_kind_name(kind)), kind);
	assert_int_equal(change_kind_by_name(""), CHANGE_NONE);
	assert_int_equal(change_kind_by_name("nothing"), CHANGE_NONE);
	assert_string_equal(change_kind_name(CHANGE_KINDS), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_change_is_a_phrase_that_names_what_was_done_to_whom),
		cmocka_unit_test(a_reason_follows_where_it_explains_something),
		cmocka_unit_test(a_phrase_is_cut_at_a_character),
		cmocka_unit_test(kinds_have_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
