#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* From an implementation of our own in another language, itself checked with the paper's vector for
 * 2-4. */
static void hashes_agree_with_siphash_1_3(void **state)
{
	(void)state;
	static const struct {
		size_t length;
		uint64_t hash;
	} vectors[] = {
		{0, 0xabac0158050fc4dcULL},  {1, 0xc9f49bf37d57ca93ULL},
		{7, 0xd3927d989bb11140ULL},  {8, 0x369095118d299a8eULL},
		{9, 0x25a48eb36c063de4ULL},  {15, 0xd320d86d2a519956ULL},
		{16, 0xcc4fdd1a7d908b66ULL}, {44, 0xc2ca1cedfaf8876bULL},
		{63, 0x9d199062b7bbb3a8ULL}, {300, 0x4016a23bda5a2224ULL},
	};
	uint8_t bytes[300];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		assert_int_equal(hash_bytes(bytes, vectors[i].length), vectors[i].hash);
}

static void an_unaligned_start_changes_nothing(void **state)
{
	(void)state;
	uint8_t bytes[64] = {0};
	for (size_t i = 0; i < 44; i++)
		bytes[i + 3] = (uint8_t)i;
	assert_int_equal(hash_bytes(bytes + 3, 44), 0xc2ca1cedfaf8876bULL);
}

static void owners_share_evenly_and_stay_in_range(void **state)
{
	(void)state;
	uint32_t owned[16] = {0};
	for (uint64_t i = 0; i < 160000; i++) {
		uint32_t owner = hash_owner(hash_bytes(&i, sizeof(i)), 16);
		assert_in_range(owner, 0, 15);
		owned[owner]++;
	}
	for (int i = 0; i < 16; i++)
		assert_in_range(owned[i], 9500, 10500);
	assert_int_equal(hash_owner(UINT64_MAX, 1), 0);
	assert_int_equal(hash_owner(UINT64_MAX, 7), 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes_agree_with_siphash_1_3),
		cmocka_unit_test(an_unaligned_start_changes_nothing),
		cmocka_unit_test(owners_share_evenly_and_stay_in_range),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
