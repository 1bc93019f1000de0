#include "daemon/cuts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { RUN = 7, FROM = 100, ONE = 11, TWO = 22, SPARE = 33 };

static struct cuts *begun(uint64_t from)
{
	static struct lineup_run run;
	struct cuts *cuts = cuts_new();

	run = (struct lineup_run){.number = RUN,
				  .from = {1, from},
				  .members_count = 3,
				  .members = {{.life = ONE, .tasks = {{1}}},
					      {.life = TWO, .tasks = {{2}}},
					      {.life = SPARE}}};
	assert_int_equal(cuts_common(cuts), 0);
	cuts_begin(cuts, &run);
	return cuts;
}

static void the_newest_that_all_owners_have_is_the_common_one(void **state)
{
	struct cuts *cuts = begun(FROM);

	(void)state;
	assert_int_equal(cuts_common(cuts), FROM);
	cuts_take(cuts, RUN, ONE, 110);
	cuts_take(cuts, RUN, ONE, 120);
	assert_int_equal(cuts_common(cuts), FROM);
	cuts_take(cuts, RUN, TWO, 120); /* which was busy before 110 */
	assert_int_equal(cuts_common(cuts), 120);
	cuts_take(cuts, RUN, TWO, 130);
	cuts_take(cuts, RUN, ONE, 130);
	assert_int_equal(cuts_common(cuts), 130);
	cuts_free(cuts);
}

static void what_one_may_have_let_go_is_not_common(void **state)
{
	struct cuts *cuts = begun(FROM);

	(void)state;
	for (uint64_t i = 1; i <= CUTS_KNOWN + 1; i++)
		cuts_take(cuts, RUN, ONE, FROM + i);
	cuts_take(cuts, RUN, TWO, FROM + 1);
	assert_int_equal(cuts_common(cuts), FROM);
	cuts_take(cuts, RUN, TWO, FROM + 2);
	assert_int_equal(cuts_common(cuts), FROM + 2);
	cuts_free(cuts);
}

static void of_another_run_and_of_no_owner_none_counts(void **state)
{
	struct cuts *cuts = begun(0);

	(void)state;
	assert_int_equal(cuts_common(cuts), 0);
	cuts_take(cuts, RUN - 1, ONE, 110);
	cuts_take(cuts, RUN, TWO, 110);
	cuts_take(cuts, RUN, SPARE, 110);
	assert_int_equal(cuts_common(cuts), 0);
	cuts_take(cuts, RUN, ONE, 110);
	assert_int_equal(cuts_common(cuts), 110);
	cuts_free(cuts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_newest_that_all_owners_have_is_the_common_one),
		cmocka_unit_test(what_one_may_have_let_go_is_not_common),
		cmocka_unit_test(of_another_run_and_of_no_owner_none_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
