/* Keys that a stranger chose so that they meet in the join's tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hash.h"
#include "join/state.h"

enum { KEYS = 1000 };

static struct join *join_of(uint64_t seed)
{
	return join_new(&(struct join_options){.tasks = 1,
					       .sources = 1,
					       .halves_max = 16,
					       .aliases_max = 16,
					       .instances_max = 16,
					       .seed = seed,
					       .one_sided_ns = 2 * NS_PER_S,
					       .keep_ns = 120 * NS_PER_S});
}

/* Whose second word makes nothing of the first one: as good as any that somebody may find. */
static struct tuple crafted(const struct join *known, uint64_t number)
{
	struct tuple key = {.server_port = 80, .client_port = 40000, .protocol = PROTOCOL_TCP};
	const uint64_t words[] = {number, known->secrets[1]};
	memcpy(&key.client, words, sizeof(words));
	return key;
}

static void who_does_not_know_the_seed_makes_no_keys_meet(void **state)
{
	(void)state;
	struct join *known = join_of(1), *other = join_of(2);
	struct tuple first = crafted(known, 1);
	uint32_t met = 0;
	for (uint64_t i = 2; i <= KEYS; i++) {
		struct tuple key = crafted(known, i);
		assert_int_equal(key_hash(known, &key), key_hash(known, &first));
		met += (key_hash(other, &key) & UINT16_MAX) ==
		       (key_hash(other, &first) & UINT16_MAX);
	}
	assert_true(met < 5);
	join_free(known);
	join_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_does_not_know_the_seed_makes_no_keys_meet),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
