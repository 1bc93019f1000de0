#include "daemon/shed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RETENTION_NS (100 * NS_PER_S)
#define BEHIND_NS    (51 * NS_PER_S)
#define BETWEEN_NS   (40 * NS_PER_S)
#define NEAR_NS	     (24 * NS_PER_S)

static void look_often(struct shed *shed, uint64_t lag_ns, int times, uint64_t *now_ns,
		       enum shed_step wanted)
{
	for (int i = 0; i < times; i++) {
		*now_ns += NS_PER_S;
		assert_int_equal(shed_look(shed, lag_ns, RETENTION_NS, *now_ns), wanted);
	}
}

static void a_lag_that_lasts_begins_it_and_its_end_ends_it(void **state)
{
	struct shed shed = {0};
	uint64_t now = NS_PER_S;

	(void)state;
	look_often(&shed, BEHIND_NS, SHED_LOOKS - 1, &now, SHED_NOTHING);
	look_often(&shed, BEHIND_NS, 1, &now, SHED_BEGIN);
	assert_int_equal(shed.level, 1);
	look_often(&shed, BEHIND_NS, 10, &now, SHED_NOTHING);
	look_often(&shed, BETWEEN_NS, 10, &now, SHED_NOTHING);
	look_often(&shed, NEAR_NS, SHED_LOOKS - 1, &now, SHED_NOTHING);
	look_often(&shed, NEAR_NS, 1, &now, SHED_END);
	assert_int_equal(shed.level, 0);
}

static void a_lag_of_a_moment_begins_nothing(void **state)
{
	struct shed shed = {0};
	uint64_t now = NS_PER_S;

	(void)state;
	for (int i = 0; i < 10; i++) {
		look_often(&shed, BEHIND_NS, SHED_LOOKS - 1, &now, SHED_NOTHING);
		look_often(&shed, BETWEEN_NS, 1, &now, SHED_NOTHING);
	}
}

static void what_lasts_is_told_again_before_it_expires(void **state)
{
	struct shed shed = {0};
	uint64_t now = NS_PER_S, told;

	(void)state;
	look_often(&shed, BEHIND_NS, SHED_LOOKS - 1, &now, SHED_NOTHING);
	look_often(&shed, BEHIND_NS, 1, &now, SHED_BEGIN);
	told = now;
	look_often(&shed, BEHIND_NS, SHED_RENEW_NS / NS_PER_S - 1, &now, SHED_NOTHING);
	look_often(&shed, BEHIND_NS, 1, &now, SHED_RENEW);
	assert_true(now < told + SHED_LIFE_NS);
}

static void a_log_without_retention_is_never_at_risk(void **state)
{
	struct shed shed = {0};

	(void)state;
	for (uint64_t now = 1; now < 10; now++)
		assert_int_equal(shed_look(&shed, UINT64_MAX / 2, 0, now * NS_PER_S), SHED_NOTHING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lag_that_lasts_begins_it_and_its_end_ends_it),
		cmocka_unit_test(a_lag_of_a_moment_begins_nothing),
		cmocka_unit_test(what_lasts_is_told_again_before_it_expires),
		cmocka_unit_test(a_log_without_retention_is_never_at_risk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
