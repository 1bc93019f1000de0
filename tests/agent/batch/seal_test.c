#include "agent/batch/seal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t secret[16] = "0123456789abcdef";

/* Computed with Python's hmac module: HKDF-SHA-256 with an empty salt (RFC 5869). */
static const uint8_t node_a_key[SEAL_KEY_BYTES] = {
	0x45, 0xba, 0xd6, 0x0f, 0x2c, 0x88, 0xfc, 0x5d, 0xa5, 0xa7, 0x64,
	0x13, 0x8b, 0x41, 0x10, 0x23, 0xac, 0x68, 0x3c, 0xd4, 0xc6, 0x41,
	0xbc, 0x7b, 0x28, 0x4a, 0x63, 0x85, 0x22, 0x4f, 0x25, 0x3d,
};

static void the_node_key_is_hkdf_of_secret_and_node(void **state)
{
	(void)state;
	uint8_t key[SEAL_KEY_BYTES];
	assert_int_equal(seal_node_key(secret, sizeof(secret), "node-a", key), 0);
	assert_memory_equal(key, node_a_key, sizeof(key));
}

static void the_pipeline_has_a_key_of_its_own(void **state)
{
	(void)state;
	uint8_t node[SEAL_KEY_BYTES], pipeline[SEAL_KEY_BYTES];
	assert_int_equal(seal_node_key(secret, sizeof(secret), "pipeline", node), 0);
	assert_int_equal(seal_pipeline_key(secret, sizeof(secret), pipeline), 0);
	assert_memory_not_equal(node, pipeline, sizeof(node));
}

static void a_short_secret_or_a_bad_node_id_gives_no_key(void **state)
{
	(void)state;
	uint8_t key[SEAL_KEY_BYTES];
	char endless[1024];
	memset(endless, 'n', sizeof(endless) - 1);
	endless[sizeof(endless) - 1] = 0;
	assert_int_equal(seal_node_key(secret, 15, "node-a", key), -EINVAL);
	assert_int_equal(seal_pipeline_key(secret, 15, key), -EINVAL);
	assert_int_equal(seal_node_key(secret, sizeof(secret), "", key), -EINVAL);
	assert_int_equal(seal_node_key(secret, sizeof(secret), endless, key), -EINVAL);
}

static void a_change_anywhere_breaks_the_seal(void **state)
{
	(void)state;
	uint8_t key[SEAL_KEY_BYTES], bytes[40 + SEAL_TRAILER_BYTES];
	for (size_t i = 0; i < 40; i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(seal_node_key(secret, sizeof(secret), "node-a", key), 0);
	seal_sign(key, bytes, 40);
	assert_true(seal_check(key, bytes, sizeof(bytes)));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] ^= 0x10;
		assert_false(seal_check(key, bytes, sizeof(bytes)));
		bytes[i] ^= 0x10;
	}
	for (size_t length = 0; length < sizeof(bytes); length++)
		assert_false(seal_check(key, bytes, length));
	key[0] ^= 1;
	assert_false(seal_check(key, bytes, sizeof(bytes)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_node_key_is_hkdf_of_secret_and_node),
		cmocka_unit_test(the_pipeline_has_a_key_of_its_own),
		cmocka_unit_test(a_short_secret_or_a_bad_node_id_gives_no_key),
		cmocka_unit_test(a_change_anywhere_breaks_the_seal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
