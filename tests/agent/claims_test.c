#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/claims.h"

#define MS UINT64_C(1000000)
#define S  (1000 * MS)

static struct claims detached(uint64_t now_ns)
{
	struct claims claims;
	claims_init(&claims, now_ns - CLAIMS_FIRST_NS);
	assert_true(claims_over(&claims, now_ns));
	return claims;
}

static void they_are_attached_from_the_start_for_a_while(void **state)
{
	(void)state;
	struct claims claims;
	claims_init(&claims, 100 * S);
	assert_false(claims_due(&claims, 101 * S, 5));
	assert_false(claims_over(&claims, 105 * S - 1));
	assert_true(claims_over(&claims, 105 * S));
	assert_false(claims_over(&claims, 106 * S));
}

static void a_guessed_owner_attaches_them_at_the_next_scan(void **state)
{
	(void)state;
	struct claims claims = detached(100 * S);
	assert_false(claims_due(&claims, 101 * S, 0));
	assert_true(claims_due(&claims, 102 * S, 1));
	claims_began(&claims, 102 * S);
	assert_false(claims_over(&claims, 102 * S + CLAIMS_NS - 1));
	assert_true(claims_over(&claims, 102 * S + CLAIMS_NS));
}

static void guesses_that_go_on_attach_them_ever_more_rarely(void **state)
{
	(void)state;
	struct claims claims = detached(100 * S);
	uint64_t on_ns = 0;
	for (uint64_t ms = 0; ms < 100000; ms += 100) {
		uint64_t now_ns = 100 * S + ms * MS;
		if (ms % 1000 == 0 && claims_due(&claims, now_ns, 1))
			claims_began(&claims, now_ns);
		on_ns += claims.on ? 100 * MS : 0;
		claims_over(&claims, now_ns + 100 * MS);
	}
	assert_in_range(on_ns, 2 * S, 4 * S); /* of 100 */
}

static void whoever_comes_after_a_rest_does_not_wait(void **state)
{
	(void)state;
	struct claims claims = detached(100 * S);
	uint64_t now_ns = 100 * S;
	for (int i = 0; i < 10; i++) {
		now_ns += 10 * S;
		assert_true(claims_due(&claims, now_ns, 1));
		claims_began(&claims, now_ns);
		assert_true(claims_over(&claims, now_ns + CLAIMS_NS));
	}
	assert_false(claims_due(&claims, now_ns + 2 * S, 1));
	assert_false(claims_due(&claims, now_ns + 9 * S, 0));
	assert_true(claims_due(&claims, now_ns + 10 * S, 1));
	claims_began(&claims, now_ns + 10 * S);
	assert_true(claims_over(&claims, now_ns + 11 * S));
	assert_true(claims_due(&claims, now_ns + 13 * S, 1));
}

static void connections_that_no_scan_sees_are_looked_for_once_a_minute(void **state)
{
	(void)state;
	struct claims claims = detached(100 * S);
	assert_false(claims_due(&claims, 159 * S, 0));
	assert_true(claims_due(&claims, 160 * S, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(they_are_attached_from_the_start_for_a_while),
		cmocka_unit_test(a_guessed_owner_attaches_them_at_the_next_scan),
		cmocka_unit_test(guesses_that_go_on_attach_them_ever_more_rarely),
		cmocka_unit_test(whoever_comes_after_a_rest_does_not_wait),
		cmocka_unit_test(connections_that_no_scan_sees_are_looked_for_once_a_minute),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
