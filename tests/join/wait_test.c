/* While the cluster may still tell of the pod at an end of a pair, what it did can be moved: its
 * labels are not final until that is told, or until it is too late. */
#include "tests/join/rig.h"

static struct rig *rig;
static struct half_open client, server;

static void meet(unsigned client_flags, unsigned server_flags)
{
	struct tuple key = tuple_of("10.0.0.1", 1001, "10.0.0.2", 80);

	rig = rig_new();
	client = half_of(1, SIDE_CLIENT, key, rig_now(rig));
	server = half_of(2, SIDE_SERVER, key, rig_now(rig));
	client.flags = (uint16_t)client_flags;
	server.flags = (uint16_t)server_flags;
	rig_open(rig, client);
	rig_open(rig, server);
	rig_pane(rig);
}

static void tell(const struct half_open *half, const char *name, unsigned flags)
{
	struct half_open again = *half;

	again.flags = (uint16_t)(HALF_AGAIN | flags);
	again.self = workload_id(name);
	rig_open(rig, again);
	rig_pane(rig);
}

static void part(void)
{
	rig_close(rig, &client, rig_now(rig));
	rig_close(rig, &server, rig_now(rig));
	rig_pane(rig);
}

static void assert_labels(const char *client_name, bool final)
{
	for (int half = 1; half <= 2; half++) {
		assert_true(rig->labels[half].joined);
		assert_int_equal(rig->labels[half].final, final);
		assert_int_equal(rig->labels[half].edge.client,
				 name_id(client_name, strlen(client_name)));
	}
}

static void who_waits_for_nothing_has_a_final_label_at_once(void **state)
{
	(void)state;
	meet(0, 0);
	assert_labels("client", true);
	uint32_t seen = rig->labels_seen[1];
	rig_seconds(rig, 130);
	assert_int_equal(rig->labels_seen[1], seen);
	part();
	assert_int_equal(rig_stats(rig).halves, 0);
	rig_free(rig);
}

static void a_record_makes_the_labels_of_both_ends_final(void **state)
{
	(void)state;
	meet(HALF_WAITS, 0);
	assert_labels("client", false);
	rig_seconds(rig, 15); /* it has settled by now */
	assert_labels("client", false);
	tell(&client, "pod", 0);
	assert_labels("pod", true);
	part();
	assert_int_equal(rig_stats(rig).halves, 0);
	assert_int_equal(rig->flow_records, 1);
	rig_free(rig);
}

static void what_the_record_of_one_end_leaves_open_the_other_ends_decides(void **state)
{
	(void)state;
	meet(HALF_WAITS, HALF_WAITS);
	tell(&client, "pod", 0);
	assert_labels("pod", false);
	tell(&server, "server", 0);
	assert_labels("pod", true);
	rig_free(rig);
}

static void what_is_over_is_told_once_and_still_named(void **state)
{
	(void)state;
	meet(HALF_WAITS, 0);
	part();
	assert_int_equal(rig->flow_records, 1);
	assert_int_equal(rig_stats(rig).halves, 2);
	assert_labels("client", false);
	rig_seconds(rig, 30);
	tell(&client, "pod", 0);
	assert_labels("pod", true);
	assert_int_equal(rig->flow_records, 1); /* a flow that was told keeps its name */
	assert_int_equal(rig_stats(rig).halves, 0);
	assert_int_equal(rig_stats(rig).news_unknown, 0);
	rig_free(rig);
}

static void an_attempt_that_failed_is_named_too(void **state)
{
	(void)state;
	for (int told = 0; told < 2; told++) {
		meet(0, 0);
		rig_free(rig);
		rig = rig_new();
		client.flags = HALF_FAILED | HALF_WAITS;
		rig_open(rig, client);
		rig_close(rig, &client, rig_now(rig));
		rig_pane(rig);
		assert_int_equal(rig->flow_records, 1);
		assert_int_equal(rig_stats(rig).halves, 1);
		if (told)
			tell(&client, "pod", 0);
		else
			rig_seconds(rig, 121);
		assert_int_equal(rig->labels[1].edge.client,
				 told ? name_id("pod", 3) : name_id("client", 6));
		assert_int_equal(rig->flow_records, 1);
		assert_int_equal(rig_stats(rig).halves, 0);
		rig_free(rig);
	}
}

/* Who said that it waits is not heard any more. */
static void after_two_minutes_the_labels_are_final_as_they_are(void **state)
{
	(void)state;
	for (int over = 0; over < 2; over++) {
		meet(HALF_WAITS, 0);
		if (over)
			part();
		else
			rig_seconds(rig, 2);
		rig_panes(rig, 120 * PANES_PER_S - 1);
		assert_labels("client", false);
		rig_panes(rig, 2);
		assert_labels("client", true);
		assert_int_equal(rig_stats(rig).halves, over ? 0 : 2);
		rig_free(rig);
	}
}

static void a_label_that_is_final_is_not_taken_back(void **state)
{
	(void)state;
	meet(0, 0);
	tell(&client, "container", HALF_WAITS);
	assert_labels("container", true);
	rig_free(rig);
}

/* Whoever is told first in the pane. */
static void who_waits_from_the_pane_on_in_which_the_peer_comes_waits(void **state)
{
	struct half_open again;

	(void)state;
	meet(0, 0);
	rig_free(rig);
	rig = rig_new();
	rig_open(rig, client);
	rig_pane(rig);
	rig_open(rig, server);
	again = client;
	again.flags = HALF_AGAIN | HALF_WAITS;
	rig_open(rig, again);
	rig_pane(rig);
	assert_labels("client", false);
	rig_free(rig);
}

/* Whoever is told first in the pane. */
static void where_one_ceases_to_wait_and_the_other_begins_the_pair_waits(void **state)
{
	struct half_open again;

	(void)state;
	for (int order = 0; order < 2; order++) {
		meet(0, HALF_WAITS);
		rig_seconds(rig, 3);
		for (int turn = 0; turn < 2; turn++) {
			again = turn == order ? server : client;
			again.flags = turn == order ? HALF_AGAIN : HALF_AGAIN | HALF_WAITS;
			rig_open(rig, again);
		}
		rig_pane(rig);
		assert_labels("client", false);
		tell(&client, "pod", 0);
		assert_labels("pod", true);
		tell(&client, "container", HALF_WAITS);
		assert_labels("container", true);
		rig_free(rig);
	}
}

static void a_pair_that_is_over_makes_room_first(void **state)
{
	struct half_open late;

	(void)state;
	meet(HALF_WAITS, 0);
	rig_free(rig);
	rig = rig_new_with(1, 2, 16);
	rig_open(rig, client);
	rig_open(rig, server);
	rig_pane(rig);
	part();
	late = half_of(3, SIDE_CLIENT, tuple_of("10.0.0.1", 1002, "10.0.0.2", 80), rig_now(rig));
	rig_open(rig, late);
	rig_pane(rig);
	assert_labels("client", true);
	assert_int_equal(rig_stats(rig).evicted_halves, 2);
	assert_int_equal(rig_stats(rig).halves, 1);
	assert_int_equal(rig->flow_records, 1);
	rig_free(rig);
}

/* Else what both gave while they waited would count: a label of the one that is left alone says
 * that it does. */
static void a_pair_that_waits_and_makes_room_has_its_final_label_first(void **state)
{
	(void)state;
	for (int ways = 0; ways < 4; ways++) {
		bool closed = ways & 1, told = ways & 2;
		struct half_open late;

		meet(HALF_WAITS, 0);
		rig_free(rig);
		rig = rig_new_with(1, 2, 16);
		rig_open(rig, client);
		rig_open(rig, server);
		rig_pane(rig);
		if (closed)
			rig_close(rig, &client, rig_now(rig));
		rig_pane(rig);
		if (told) {
			struct half_open again = client;

			again.flags = HALF_AGAIN;
			again.self = workload_id("pod");
			rig_open(rig, again);
		}
		late = half_of(3, SIDE_CLIENT, tuple_of("10.0.0.1", 1002, "10.0.0.2", 80),
			       rig_now(rig));
		rig_open(rig, late);
		rig_pane(rig);
		assert_labels(told ? "pod" : "client", true);
		assert_true(rig_stats(rig).evicted_halves > 0);
		rig_free(rig);
	}
}

/* The next connection of the same ports is another. */
static void a_reused_key_does_not_meet_a_pair_that_is_over(void **state)
{
	struct half_open next;

	(void)state;
	meet(HALF_WAITS, 0);
	part();
	next = half_of(3, SIDE_CLIENT, client.key, rig_now(rig));
	rig_open(rig, next);
	rig_pane(rig);
	assert_false(rig->labels[3].joined);
	tell(&client, "pod", 0);
	assert_labels("pod", true);
	assert_int_equal(rig_stats(rig).halves, 1);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_waits_for_nothing_has_a_final_label_at_once),
		cmocka_unit_test(a_record_makes_the_labels_of_both_ends_final),
		cmocka_unit_test(what_the_record_of_one_end_leaves_open_the_other_ends_decides),
		cmocka_unit_test(what_is_over_is_told_once_and_still_named),
		cmocka_unit_test(an_attempt_that_failed_is_named_too),
		cmocka_unit_test(after_two_minutes_the_labels_are_final_as_they_are),
		cmocka_unit_test(a_label_that_is_final_is_not_taken_back),
		cmocka_unit_test(who_waits_from_the_pane_on_in_which_the_peer_comes_waits),
		cmocka_unit_test(where_one_ceases_to_wait_and_the_other_begins_the_pair_waits),
		cmocka_unit_test(a_pair_that_is_over_makes_room_first),
		cmocka_unit_test(a_pair_that_waits_and_makes_room_has_its_final_label_first),
		cmocka_unit_test(a_reused_key_does_not_meet_a_pair_that_is_over),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
