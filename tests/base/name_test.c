#include "base/name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/hash.h"

static uint64_t put(struct names *names, const char *text, uint64_t pane)
{
	return names_put(names, text, strlen(text), pane);
}

static void a_name_is_found_by_its_id(void **state)
{
	(void)state;
	struct names *names = names_new(10, 0);
	uint64_t id = put(names, "shop/cart", 1);
	assert_int_equal(id, name_id("shop/cart", 9));
	assert_string_equal(names_get(names, id)->bytes, "shop/cart");
	assert_int_equal(names_get(names, id)->length, 9);
	assert_null(names_get(names, id + 1));
	assert_int_equal(put(names, "shop/cart", 2), id);
	assert_int_equal(names_stats(names).live, 1);
	names_free(names);
}

static void the_empty_name_is_zero_and_always_known(void **state)
{
	(void)state;
	struct names *names = names_new(1, 1);
	assert_int_equal(put(names, "", 1), 0);
	assert_int_equal(names_stats(names).live, 0);
	assert_string_equal(names_get(names, 0)->bytes, "");
	assert_null(names_due(names, 0, 0, 1));
	names_free(names);
}

static void a_long_name_is_cut_between_characters(void **state)
{
	(void)state;
	struct names *names = names_new(10, 0);
	char text[400];
	memset(text, 'a', sizeof(text));
	memcpy(text + 253, "\xe2\x82\xac", 3); /* its last byte is the 256th */
	uint64_t id = names_put(names, text, sizeof(text), 1);
	assert_int_equal(names_get(names, id)->length, 253);
	assert_int_equal(id, name_id(text, 253));
	assert_int_equal(id, name_id(text, sizeof(text)));

	memset(text, '\x80', sizeof(text)); /* no UTF-8 at all */
	id = names_put(names, text, sizeof(text), 1);
	assert_int_equal(names_get(names, id)->length, NAME_MAX_BYTES);
	names_free(names);
}

static void each_destination_is_sent_a_name_once_and_then_each_refresh(void **state)
{
	(void)state;
	struct names *names = names_new(10, 2);
	uint64_t id = put(names, "cart", 1), told[2] = {0}, last[2] = {0};
	for (uint64_t pane = 1; pane <= 10 * NAMES_REFRESH_PANES; pane++) {
		for (uint32_t reader = 0; reader < 2; reader++) {
			if (reader && pane % 7)
				continue; /* asks less often */
			const struct name *name = names_due(names, id, reader, pane);
			assert_null(names_due(names, id, reader, pane));
			if (!name)
				continue;
			assert_string_equal(name->bytes, "cart");
			assert_true(told[reader] < 2 ||
				    pane - last[reader] <= NAMES_REFRESH_PANES + 7);
			told[reader]++;
			last[reader] = pane;
		}
	}
	assert_in_range(told[0], 10, 11);
	assert_in_range(told[1], 10, 11);
	/* A name put for a pane that is still open is due in the one that closes now. */
	id = put(names, "later", 1000);
	assert_non_null(names_due(names, id, 0, 998));
	names_free(names);
}

static void a_full_table_refuses_and_counts(void **state)
{
	(void)state;
	struct names *names = names_new(2, 0);
	put(names, "a", 1);
	put(names, "b", 1);
	uint64_t id = put(names, "c", 1);
	assert_int_equal(id, name_id("c", 1));
	assert_null(names_get(names, id));
	assert_int_equal(names_stats(names).refused, 1);
	put(names, "a", 2);
	assert_int_equal(names_stats(names).refused, 1);
	names_free(names);
}

static void an_unused_name_is_forgotten(void **state)
{
	(void)state;
	struct names *names = names_new(10, 1);
	uint64_t a = put(names, "a", 1), b = put(names, "b", 1), c = put(names, "c", 1);
	names_due(names, b, 0, 5);
	put(names, "c", 7);
	names_advance(names, NAMES_KEEP_PANES);
	assert_non_null(names_get(names, a));
	names_advance(names, NAMES_KEEP_PANES + 1);
	assert_null(names_get(names, a));
	assert_non_null(names_get(names, b));
	names_advance(names, NAMES_KEEP_PANES + 5);
	assert_null(names_get(names, b));
	assert_non_null(names_get(names, c));
	assert_int_equal(names_stats(names).expired, 2);
	assert_int_equal(names_stats(names).live, 1);
	assert_int_equal(names_stats(names).bytes, 1);
	names_free(names);
}

/* Against a table of last uses: random puts and expiries, full probing chains, removal in their
 * middle. */
static void the_table_agrees_with_a_plain_list(void **state)
{
	(void)state;
	enum { NAMES = 200, MAX = 64 };
	struct names *names = names_new(MAX, 0);
	uint64_t used[NAMES] = {0}, live = 0, pane = 1;
	for (uint64_t step = 0; step < 20000; step++) {
		uint64_t word = hash_mix(step + 1);
		pane += word % 40;
		names_advance(names, pane);
		for (int i = 0; i < NAMES; i++) {
			if (used[i] && used[i] + NAMES_KEEP_PANES <= pane) {
				used[i] = 0;
				live--;
			}
		}
		char text[16];
		int which = (int)(word >> 32) % NAMES;
		which = which < 0 ? -which : which;
		snprintf(text, sizeof(text), "name %d", which);
		put(names, text, pane);
		if (used[which] || live < MAX) {
			live += !used[which];
			used[which] = pane;
		}
		assert_int_equal(names_stats(names).live, live);
		for (int i = 0; step % 50 == 0 && i < NAMES; i++) {
			int length = snprintf(text, sizeof(text), "name %d", i);
			const struct name *name = names_get(names, name_id(text, (size_t)length));
			assert_int_equal(name != NULL, used[i] != 0);
		}
	}
	names_free(names);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_is_found_by_its_id),
		cmocka_unit_test(the_empty_name_is_zero_and_always_known),
		cmocka_unit_test(a_long_name_is_cut_between_characters),
		cmocka_unit_test(each_destination_is_sent_a_name_once_and_then_each_refresh),
		cmocka_unit_test(a_full_table_refuses_and_counts),
		cmocka_unit_test(an_unused_name_is_forgotten),
		cmocka_unit_test(the_table_agrees_with_a_plain_list),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
