#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/listeners.h"

static void a_row_is_found_until_it_ends_and_then_given_away_clean(void **state)
{
	(void)state;
	struct listeners *listeners = listeners_new(4);
	struct listener *listener = listeners_put(listeners, 7);
	listener->told_ns = 5;
	assert_ptr_equal(listeners_put(listeners, 7), listener);
	listeners_end(listeners, listener);
	assert_null(listeners_at(listeners, 0));
	assert_ptr_equal(listeners_put(listeners, 8), listener);
	assert_int_equal(listener->told_ns, 0);
	assert_int_equal(listeners_live(listeners), 1);
	assert_int_equal(listeners_high(listeners), 1);
	listeners_free(listeners);
}

static void a_full_table_refuses_and_counts(void **state)
{
	(void)state;
	struct listeners *listeners = listeners_new(2);
	struct listener *first = listeners_put(listeners, 1);
	assert_non_null(listeners_put(listeners, 2));
	assert_null(listeners_put(listeners, 3));
	assert_int_equal(listeners_refused(listeners), 1);
	listeners_end(listeners, first);
	assert_non_null(listeners_put(listeners, 3));
	assert_int_equal(listeners_live(listeners), 2);
	listeners_free(listeners);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_row_is_found_until_it_ends_and_then_given_away_clean),
		cmocka_unit_test(a_full_table_refuses_and_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
