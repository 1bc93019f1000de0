#include "anomaly/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"

/* Against a plain array as long as the key space. */
static void it_holds_what_an_array_would(void **state)
{
	(void)state;
	enum { KEYS = 400, STEPS = 20000 };
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct map map = {0};
		uintptr_t truth[KEYS + 1] = {0};
		size_t live = 0;
		for (uint64_t i = 0; i < STEPS; i++) {
			uint64_t word = hash_mix(seed << 32 | i), key = 1 + word % KEYS;
			if (word >> 56 == 0) { /* begins anew */
				map_done(&map);
				memset(truth, 0, sizeof(truth));
				live = 0;
			}
			if (word >> 61 == 1) {
				live -= truth[key] != 0;
				truth[key] = 0;
				map_remove(&map, key);
			} else {
				live += !truth[key];
				truth[key] = (uintptr_t)(i + 1);
				map_put(&map, key, (void *)truth[key]);
			}
			uint64_t other = 1 + (word >> 20) % KEYS;
			if ((uintptr_t)map_get(&map, other) != truth[other] || map.count != live)
				fail_msg("seed %lu step %lu", (unsigned long)seed,
					 (unsigned long)i);
		}
		map_done(&map);
	}
}

static void an_empty_map_has_nothing(void **state)
{
	(void)state;
	struct map map = {0};
	assert_null(map_get(&map, 7));
	map_put(&map, 7, &map);
	assert_ptr_equal(map_get(&map, 7), &map);
	assert_null(map_get(&map, 8));
	map_done(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_holds_what_an_array_would),
		cmocka_unit_test(an_empty_map_has_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
