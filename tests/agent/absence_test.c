#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/absence.h"

static void all_that_is_known_and_visited_is_there(void **state)
{
	(void)state;
	struct absence absence = {0};
	for (int i = 0; i < 10; i++)
		assert_false(absence_push(&absence, 100, 100, 0));
}

static void what_ended_meanwhile_is_not_absent(void **state)
{
	(void)state;
	struct absence absence = {0};
	for (int i = 0; i < 10; i++)
		assert_false(absence_push(&absence, 100, 93, 7));
}

static void one_scan_may_have_met_an_end_on_its_way(void **state)
{
	(void)state;
	struct absence absence = {0};
	for (int i = 0; i < 10; i++) {
		assert_false(absence_push(&absence, 100, 99, 0));
		assert_false(absence_push(&absence, 99, 99, 0));
	}
}

static void one_socket_that_stays_away_is_noticed_in_the_second_scan(void **state)
{
	(void)state;
	struct absence absence = {0};
	assert_false(absence_push(&absence, 100, 99, 0));
	assert_true(absence_push(&absence, 100, 99, 0));
	assert_true(absence_push(&absence, 110, 102, 7)); /* until it is mended */
	assert_false(absence_push(&absence, 109, 102, 7));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_is_known_and_visited_is_there),
		cmocka_unit_test(what_ended_meanwhile_is_not_absent),
		cmocka_unit_test(one_scan_may_have_met_an_end_on_its_way),
		cmocka_unit_test(one_socket_that_stays_away_is_noticed_in_the_second_scan),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
