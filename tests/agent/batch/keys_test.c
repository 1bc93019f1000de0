#include "agent/batch/keys.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char secret[] = "0123456789abcdef";

static void ids_and_secrets_are_held_to_their_bounds(void **state)
{
	(void)state;
	struct keys *keys = keys_new();
	char id[KEYS_ID_MAX + 2];
	memset(id, 'x', sizeof(id) - 1);
	id[sizeof(id) - 1] = 0;
	assert_int_equal(keys_add(keys, id, secret, 16), -EINVAL);
	assert_int_equal(keys_add(keys, id + 1, secret, 16), 0);
	assert_int_equal(keys_add(keys, "a b", secret, 16), -EINVAL);
	assert_int_equal(keys_add(keys, "a", secret, 15), -EINVAL);
	assert_int_equal(keys_add(keys, "a", secret, 16), 0);
	assert_int_equal(keys_add(keys, "a", "another key of 16", 16), -EEXIST);
	assert_int_equal(keys_find(keys, "a", 1), 1);
	assert_int_equal(keys_find(keys, "", 0), -1);
	assert_int_equal(keys_find(keys, "ab", 1), 1);
	while (keys_count(keys) < KEYS_MAX) {
		snprintf(id, sizeof(id), "k%zu", keys_count(keys));
		assert_int_equal(keys_add(keys, id, secret, 16), 0);
	}
	assert_int_equal(keys_add(keys, "more", secret, 16), -ENOSPC);
	keys_free(keys);
}

static void a_copy_is_the_same_until_something_changes(void **state)
{
	(void)state;
	struct keys *keys = keys_new();
	keys_add(keys, "a", secret, 16);
	keys_revoke(keys, "node-z");
	keys_revoke(keys, "node-a");
	keys_revoke(keys, "node-a");
	struct keys *copy = keys_copy(keys);
	assert_true(keys_same(keys, copy));
	keys_revoke(copy, "node-m");
	assert_false(keys_same(keys, copy));
	keys_revoke(keys, "node-m");
	assert_true(keys_same(keys, copy));
	keys_add(keys, "b", secret, 16);
	assert_false(keys_same(keys, copy));
	keys_add(copy, "b", "0123456789abcdeF", 16);
	assert_false(keys_same(keys, copy));
	keys_free(copy);
	keys_free(keys);
}

static void the_revoked_are_found_at_the_bound_and_none_else(void **state)
{
	(void)state;
	struct keys *keys = keys_new();
	char node[32];
	for (int i = 0; i < KEYS_REVOKED_MAX; i++) {
		snprintf(node, sizeof(node), "node-%d", i * 7919 % KEYS_REVOKED_MAX);
		assert_int_equal(keys_revoke(keys, node), 0);
	}
	assert_int_equal(keys_revoke(keys, "one-more"), -ENOSPC);
	for (int i = 0; i < KEYS_REVOKED_MAX; i++) {
		snprintf(node, sizeof(node), "node-%d", i);
		assert_true(keys_revoked(keys, node));
		snprintf(node, sizeof(node), "node-%dx", i);
		assert_false(keys_revoked(keys, node));
	}
	keys_free(keys);
}

static void the_first_key_signs_and_each_is_believed(void **state)
{
	(void)state;
	static const char text[] = "a record";
	struct keys *none = keys_new(), *former = keys_new(), *both = keys_new(),
		    *other = keys_new();
	uint8_t key[SEAL_KEY_BYTES], wanted[SEAL_KEY_BYTES];
	uint8_t bytes[sizeof(text) + SEAL_TRAILER_BYTES];
	keys_add(former, "old", "the former secret", 17);
	keys_add(both, "new", secret, 16);
	keys_add(both, "old", "the former secret", 17);
	keys_add(other, "old", "another's secret.", 17);
	assert_false(keys_signer(none, key));
	assert_true(keys_signer(both, key));
	assert_int_equal(seal_pipeline_key((const uint8_t *)secret, 16, wanted), 0);
	assert_memory_equal(key, wanted, sizeof(key));
	assert_true(keys_signer(former, key));
	memcpy(bytes, text, sizeof(text));
	assert_true(keys_sealed(none, bytes, sizeof(text)));
	assert_false(keys_sealed(both, bytes, sizeof(text)));
	seal_sign(key, bytes, sizeof(text));
	assert_true(keys_sealed(none, bytes, sizeof(bytes)));
	assert_true(keys_sealed(former, bytes, sizeof(bytes)));
	assert_true(keys_sealed(both, bytes, sizeof(bytes)));
	assert_false(keys_sealed(other, bytes, sizeof(bytes)));
	bytes[0] ^= 1;
	assert_false(keys_sealed(both, bytes, sizeof(bytes)));
	keys_free(none);
	keys_free(former);
	keys_free(both);
	keys_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_and_secrets_are_held_to_their_bounds),
		cmocka_unit_test(a_copy_is_the_same_until_something_changes),
		cmocka_unit_test(the_first_key_signs_and_each_is_believed),
		cmocka_unit_test(the_revoked_are_found_at_the_bound_and_none_else),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
