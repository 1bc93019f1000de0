#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/batch/seal.h"
#include "agent/controls.h"

#define S   (uint64_t)1000000000
#define NOW (1800000000 * S)

static const uint8_t secret[] = "the deployment's own key";
static const struct batch_label labels[] = {{"rack", "r7"}, {"team", "shop"}};
static const struct control_target target = {.node = "web-3",
					     .zone = "a",
					     .region = "r",
					     .role = "front",
					     .labels = labels,
					     .labels_count = 2};

static struct control record(const char *id, uint64_t issued_ns)
{
	struct control control = {.issued_ns = issued_ns, .expires_ns = issued_ns + 3600 * S};
	snprintf(control.id, sizeof(control.id), "%s", id);
	return control;
}

/* Whose records are obeyed; of one test at a time. */
static struct keys *trusted;

static bool give(struct controls *controls, const struct control *control, const uint8_t *key,
		 uint64_t append_ns, uint64_t now_ns)
{
	uint8_t bytes[CONTROL_BYTES_MAX];
	char why[CONTROLS_WHY_BYTES] = "";
	size_t length = control_write(control, key, bytes);
	assert_true(length > 0);
	bool taken = controls_take(controls, trusted, bytes, length, append_ns, now_ns, why);
	assert_true(taken == (why[0] == 0));
	return taken;
}

static struct controls *keyed(uint8_t key[SEAL_KEY_BYTES])
{
	assert_int_equal(seal_pipeline_key(secret, sizeof(secret), key), 0);
	if (!trusted) {
		trusted = keys_new();
		assert_int_equal(keys_add(trusted, "", secret, sizeof(secret)), 0);
	}
	return controls_new();
}

static struct controls *unkeyed(void)
{
	trusted = keys_new();
	return controls_new();
}

static void done(struct controls *controls)
{
	controls_free(controls);
	keys_free(trusted);
	trusted = NULL;
}

static void the_newest_that_selects_the_node_holds_until_it_expires_or_is_withdrawn(void **state)
{
	(void)state;
	struct controls *controls = unkeyed();
	struct control first = record("a", NOW), second = record("b", NOW + S),
		       other = record("c", NOW + 2 * S);
	first.settings.scan_period_ms = 2000;
	second.settings.scan_period_ms = 3000;
	second.expires_ns = NOW + 600 * S;
	snprintf(other.selector.nodes[0], CONTROL_TEXT_BYTES, "db-*");
	other.selector.nodes_count = 1;
	assert_null(controls_find(controls, &target, NOW));
	assert_true(give(controls, &second, NULL, NOW + S, NOW + 3 * S));
	assert_true(give(controls, &first, NULL, NOW, NOW + 3 * S));
	assert_true(give(controls, &other, NULL, NOW + 2 * S, NOW + 3 * S));
	assert_string_equal(controls_find(controls, &target, NOW + 3 * S)->id, "b");
	assert_int_equal(controls_find(controls, &target, NOW + 3 * S)->settings.scan_period_ms,
			 3000);
	assert_string_equal(controls_find(controls, &target, NOW + 600 * S)->id, "a");
	first.withdrawn = true;
	first.issued_ns = NOW + 700 * S;
	assert_true(give(controls, &first, NULL, NOW + 700 * S, NOW + 700 * S));
	assert_null(controls_find(controls, &target, NOW + 701 * S));
	done(controls);
}

static void what_is_not_signed_by_the_pipeline_is_refused(void **state)
{
	(void)state;
	uint8_t key[SEAL_KEY_BYTES], node[SEAL_KEY_BYTES], wrong[SEAL_KEY_BYTES];
	uint8_t bytes[CONTROL_BYTES_MAX];
	char why[CONTROLS_WHY_BYTES];
	struct controls *controls = keyed(key);
	struct control control = record("a", NOW);
	assert_int_equal(seal_node_key(secret, sizeof(secret), "web-3", node), 0);
	assert_int_equal(seal_pipeline_key((const uint8_t *)"another deployment's key", 24, wrong),
			 0);
	assert_false(give(controls, &control, NULL, NOW, NOW));
	assert_int_equal(controls_stats(controls).unsigned_, 1);
	assert_false(give(controls, &control, node, NOW, NOW));
	assert_false(give(controls, &control, wrong, NOW, NOW));
	assert_int_equal(controls_stats(controls).forged, 2);
	size_t length = control_write(&control, key, bytes);
	for (size_t i = 0; i < length; i++) { /* whatever byte is turned */
		bytes[i] ^= 0x40;
		assert_false(controls_take(controls, trusted, bytes, length, NOW, NOW, why));
		bytes[i] ^= 0x40;
	}
	for (size_t cut = 0; cut < length; cut++)
		assert_false(controls_take(controls, trusted, bytes, cut, NOW, NOW, why));
	assert_null(controls_find(controls, &target, NOW));
	assert_true(controls_take(controls, trusted, bytes, length, NOW, NOW, why));
	assert_non_null(controls_find(controls, &target, NOW));
	done(controls);
}

static void a_replay_is_refused_also_by_an_agent_that_never_saw_the_first(void **state)
{
	(void)state;
	uint8_t key[SEAL_KEY_BYTES];
	struct controls *controls = keyed(key), *fresh = keyed(key);
	struct control control = record("a", NOW), withdrawn = record("a", NOW + 10 * S);
	withdrawn.withdrawn = true;
	assert_true(give(controls, &control, key, NOW, NOW));
	assert_false(give(controls, &control, key, NOW, NOW)); /* the same again */
	assert_true(give(controls, &withdrawn, key, NOW + 10 * S, NOW + 10 * S));
	assert_false(give(controls, &control, key, NOW + 20 * S, NOW + 20 * S));
	assert_int_equal(controls_stats(controls).replayed, 2);
	assert_null(controls_find(controls, &target, NOW + 20 * S));
	assert_false(give(fresh, &control, key, NOW + 61 * S, NOW + 61 * S));
	assert_int_equal(controls_stats(fresh).replayed, 1);
	assert_true(
		give(fresh, &control, key, NOW + 60 * S, NOW + 3000 * S)); /* read late is not */
	done(controls);
	controls_free(fresh);
}

static void what_has_expired_or_lives_too_long_is_refused(void **state)
{
	(void)state;
	struct controls *controls = unkeyed();
	struct control control = record("a", NOW);
	assert_false(give(controls, &control, NULL, NOW, control.expires_ns));
	assert_int_equal(controls_stats(controls).expired, 1);
	control.expires_ns = NOW + CONTROL_LIFE_MAX_NS + 1;
	assert_false(give(controls, &control, NULL, NOW, NOW));
	control.expires_ns = NOW + CONTROL_LIFE_MAX_NS;
	assert_true(give(controls, &control, NULL, NOW, NOW));
	assert_int_equal(controls_stats(controls).malformed, 1);
	done(controls);
}

static void values_beyond_their_range_are_refused_whole(void **state)
{
	(void)state;
	struct controls *controls = unkeyed();
	struct control control = record("a", NOW);
	const struct control_settings bad[] = {
		{.scan_period_ms = 99},	     {.scan_period_ms = 15001}, {.batch_interval_ms = 9},
		{.batch_interval_ms = 2001}, {.cpu_budget = 1.01},	{.cpu_budget = -0.1}};
	const struct control_settings good[] = {
		{.scan_period_ms = 100},     {.scan_period_ms = 15000}, {.batch_interval_ms = 10},
		{.batch_interval_ms = 2000}, {.cpu_budget = 1},		{0}};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		control.settings = bad[i];
		assert_false(give(controls, &control, NULL, NOW, NOW));
		control.settings = good[i];
		control.issued_ns++;
		assert_true(give(controls, &control, NULL, NOW, NOW));
	}
	snprintf(control.id, sizeof(control.id), "../x");
	assert_false(give(controls, &control, NULL, NOW, NOW));
	done(controls);
}

static void a_record_is_the_same_after_the_wire(void **state)
{
	(void)state;
	static struct control out, back;
	uint8_t bytes[CONTROL_BYTES_MAX], key[SEAL_KEY_BYTES];
	assert_int_equal(seal_pipeline_key(secret, sizeof(secret), key), 0);
	out = record("slow-web-7", NOW);
	snprintf(out.author, sizeof(out.author), "10.0.0.7");
	snprintf(out.selector.nodes[0], CONTROL_TEXT_BYTES, "web-*");
	snprintf(out.selector.nodes[1], CONTROL_TEXT_BYTES, "cache-?");
	out.selector.nodes_count = 2;
	snprintf(out.selector.zone, CONTROL_TEXT_BYTES, "a");
	snprintf(out.selector.region, CONTROL_TEXT_BYTES, "r");
	snprintf(out.selector.role, CONTROL_TEXT_BYTES, "front");
	snprintf(out.selector.labels[0].key, CONTROL_TEXT_BYTES, "rack");
	snprintf(out.selector.labels[0].value, CONTROL_TEXT_BYTES, "r7");
	out.selector.labels_count = 1;
	out.settings = (struct control_settings){.scan_period_ms = 5000,
						 .batch_interval_ms = 250,
						 .cpu_budget = 0.01,
						 .features_count = 2,
						 .features = {{"processes", false}, {"dns", true}},
						 .scoped = true,
						 .scope_count = 1,
						 .scope = {"/system.slice"}};
	size_t length = control_write(&out, key, bytes);
	struct keys *keys = keys_new();
	assert_int_equal(keys_add(keys, "", secret, sizeof(secret)), 0);
	assert_int_equal(control_accept(bytes, length, keys, &back, NULL), CONTROL_GOOD);
	assert_memory_equal(&out, &back, sizeof(out));
	keys_free(keys);
}

static void all_that_is_given_must_match(void **state)
{
	(void)state;
	struct control_selector selector = {0};
	assert_true(control_selects(&selector, &target));
	snprintf(selector.nodes[0], CONTROL_TEXT_BYTES, "db-*");
	selector.nodes_count = 1;
	assert_false(control_selects(&selector, &target));
	snprintf(selector.nodes[1], CONTROL_TEXT_BYTES, "w?b-*");
	selector.nodes_count = 2;
	assert_true(control_selects(&selector, &target));
	snprintf(selector.zone, CONTROL_TEXT_BYTES, "b");
	assert_false(control_selects(&selector, &target));
	snprintf(selector.zone, CONTROL_TEXT_BYTES, "a");
	snprintf(selector.role, CONTROL_TEXT_BYTES, "front");
	snprintf(selector.labels[0].key, CONTROL_TEXT_BYTES, "team");
	snprintf(selector.labels[0].value, CONTROL_TEXT_BYTES, "shop");
	selector.labels_count = 1;
	assert_true(control_selects(&selector, &target));
	snprintf(selector.labels[0].value, CONTROL_TEXT_BYTES, "bank");
	assert_false(control_selects(&selector, &target));
	const struct control_target unknown = {.node = "web-3"};
	assert_false(control_selects(&selector, &unknown));
}

static void when_there_is_no_room_the_first_to_expire_goes(void **state)
{
	(void)state;
	struct controls *controls = unkeyed();
	char id[32];
	for (unsigned i = 0; i <= CONTROLS_MAX; i++) {
		snprintf(id, sizeof(id), "r-%u", i);
		struct control control = record(id, NOW + i);
		control.expires_ns = NOW + 3600 * S - i;
		assert_true(give(controls, &control, NULL, NOW, NOW));
	}
	assert_int_equal(controls_stats(controls).standing, CONTROLS_MAX);
	assert_int_equal(controls_stats(controls).evicted, 1);
	assert_string_equal(controls_find(controls, &target, NOW)->id, id);
	done(controls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			the_newest_that_selects_the_node_holds_until_it_expires_or_is_withdrawn),
		cmocka_unit_test(what_is_not_signed_by_the_pipeline_is_refused),
		cmocka_unit_test(a_replay_is_refused_also_by_an_agent_that_never_saw_the_first),
		cmocka_unit_test(what_has_expired_or_lives_too_long_is_refused),
		cmocka_unit_test(values_beyond_their_range_are_refused_whole),
		cmocka_unit_test(a_record_is_the_same_after_the_wire),
		cmocka_unit_test(all_that_is_given_must_match),
		cmocka_unit_test(when_there_is_no_room_the_first_to_expire_goes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
