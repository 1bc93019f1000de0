#include "tests/join/rig.h"

enum { TEN = PANES_PER_10S };

/* The first pane of ten seconds; the client's instances are on node "c", the server's on "s". */
static const struct tuple *key_of(void)
{
	static struct tuple key;
	key = tuple_of("10.0.0.1", 40000, "10.0.0.2", 80);
	return &key;
}

static void hear(struct rig *rig, const char *node, int what)
{
	const struct hearing hearing = {.node = name_id(node, 1), .what = what};
	for (uint32_t task = 0; task < rig->tasks; task++) {
		struct rig_events *events = &rig->pushed[task];
		RIG_APPEND(events, hearings, hearing);
	}
}

/* To the pane `at` panes behind the start of ten seconds, which is the next to be run. */
static void run_to(struct rig *rig, uint64_t at)
{
	while (rig->pane % TEN != at)
		rig_pane(rig);
}

static struct rig *pair_rig(struct half_open halves[2])
{
	struct rig *rig = rig_new();
	run_to(rig, 0);
	halves[0] = half_of(1, SIDE_CLIENT, *key_of(), rig_now(rig));
	halves[1] = half_of(2, SIDE_SERVER, *key_of(), rig_now(rig) + NS_PER_MS);
	rig_open(rig, halves[0]);
	rig_open(rig, halves[1]);
	rig_pane(rig);
	return rig;
}

static void expect_side(const struct rig *rig, enum side side, uint32_t since)
{
	for (int index = 1; index <= 2; index++) {
		assert_true(rig->labels[index].joined);
		assert_int_equal(rig->labels[index].counts_from, side);
		assert_int_equal(rig->labels[index].counts_since, since);
	}
}

static void the_other_half_counts_from_the_next_ten_seconds_on(void **state)
{
	struct half_open halves[2];
	struct rig *rig = pair_rig(halves);
	(void)state;
	hear(rig, "c", NODE_MUTE);
	run_to(rig, TEN - 1);
	expect_side(rig, SIDE_CLIENT, 0);
	rig_pane(rig); /* whose labels act on the next */
	expect_side(rig, SIDE_SERVER, ten_of_pane(rig->pane));
	assert_int_equal(rig->labels_seen[1], 2);
	rig_panes(rig, 2 * TEN);
	assert_int_equal(rig->labels_seen[1], 2);
	rig_free(rig);
}

static void it_counts_until_two_seconds_after_the_return(void **state)
{
	(void)state;
	for (uint32_t heard = TEN - 9; heard <= TEN - 8; heard++) {
		struct half_open halves[2];
		struct rig *rig = pair_rig(halves);
		hear(rig, "c", NODE_MUTE);
		rig_panes(rig, TEN);
		run_to(rig, heard);
		hear(rig, "c", NODE_HEARD);
		rig_pane(rig);
		run_to(rig, 0);
		bool back = heard == TEN - 9;
		assert_int_equal(rig->labels[1].counts_from, back ? SIDE_CLIENT : SIDE_SERVER);
		rig_panes(rig, TEN);
		expect_side(rig, SIDE_CLIENT, ten_of_pane(rig->pane) - back);
		rig_free(rig);
	}
}

static void a_node_that_is_heard_in_time_never_was_out(void **state)
{
	struct half_open halves[2];
	struct rig *rig = pair_rig(halves);
	(void)state;
	hear(rig, "c", NODE_MUTE);
	rig_panes(rig, 8);
	hear(rig, "c", NODE_HEARD);
	rig_panes(rig, 2 * TEN);
	expect_side(rig, SIDE_CLIENT, 0);
	assert_int_equal(rig->labels_seen[1], 1);
	rig_free(rig);
}

static void who_is_out_itself_does_not_take_over(void **state)
{
	struct half_open halves[2];
	struct rig *rig = pair_rig(halves);
	(void)state;
	hear(rig, "c", NODE_MUTE);
	hear(rig, "s", NODE_MUTE);
	rig_panes(rig, 2 * TEN);
	assert_int_equal(rig->labels_seen[1], 1);
	hear(rig, "s", NODE_HEARD);
	rig_panes(rig, TEN);
	expect_side(rig, SIDE_SERVER, ten_of_pane(rig->pane));
	rig_free(rig);
}

static void halves_that_meet_during_it_are_told_since_when(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	run_to(rig, 0);
	struct half_open client = half_of(1, SIDE_CLIENT, *key_of(), rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, *key_of(), rig_now(rig));
	rig_open(rig, client);
	hear(rig, "c", NODE_MUTE);
	rig_panes(rig, TEN);
	assert_int_equal(rig->labels[1].counts_from, SIDE_CLIENT);
	rig_open(rig, server);
	uint32_t since = ten_of_pane(rig->pane);
	rig_panes(rig, 4);
	expect_side(rig, SIDE_SERVER, since);
	rig_free(rig);
}

static void a_half_that_had_ended_before_takes_no_part(void **state)
{
	(void)state;
	for (int closed = 0; closed < 2; closed++) {
		struct half_open halves[2];
		struct rig *rig = pair_rig(halves);
		rig_panes(rig, 12);
		rig_close(rig, &halves[closed], rig_now(rig));
		hear(rig, "c", NODE_MUTE);
		rig_panes(rig, 2 * TEN);
		expect_side(rig, SIDE_CLIENT, 0);
		rig_free(rig);
	}
}

/* The agent of the client began anew: its half vanished, and is told again as another. */
static void the_new_half_of_a_new_agent_waits_for_the_end_of_the_turn(void **state)
{
	struct half_open halves[2];
	struct rig *rig = pair_rig(halves);
	(void)state;
	rig_panes(rig, 12);
	hear(rig, "c", NODE_MUTE);
	rig_panes(rig, TEN);
	uint32_t since = ten_of_pane(rig->pane);
	struct half_close vanished = close_of(&halves[0], rig_now(rig));
	vanished.reason = CLOSE_VANISHED;
	rig_close_with(rig, &halves[0], vanished);
	struct half_open anew = half_of(3, SIDE_CLIENT, *key_of(), rig_now(rig));
	anew.flags = HALF_EXISTED;
	rig_open(rig, anew);
	hear(rig, "c", NODE_HEARD);
	rig_pane(rig);
	assert_false(rig->labels[3].joined);
	assert_int_equal(rig->labels[3].counts_from, SIDE_SERVER);
	assert_int_equal(rig->labels[3].counts_since, since);
	assert_int_equal(rig->labels[2].counts_from, SIDE_SERVER);
	run_to(rig, 0);
	assert_int_equal(rig->labels[3].counts_from, SIDE_CLIENT);
	assert_int_equal(rig->labels[3].counts_since, ten_of_pane(rig->pane));
	assert_int_equal(rig->labels[2].counts_from, SIDE_CLIENT);
	rig_free(rig);
}

static void what_a_turn_was_is_forgotten_when_nobody_can_ask(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	hear(rig, "c", NODE_MUTE);
	rig_panes(rig, 2 * TEN);
	hear(rig, "c", NODE_HEARD);
	rig_panes(rig, TEN);
	struct half_open client = half_of(1, SIDE_CLIENT, *key_of(), rig_now(rig) - 60 * NS_PER_S);
	struct half_open server = half_of(2, SIDE_SERVER, *key_of(), rig_now(rig) - 60 * NS_PER_S);
	rig_open(rig, client);
	rig_open(rig, server);
	rig_pane(rig);
	assert_true(rig->labels[1].counts_since > 0);
	rig_seconds(rig, 160);
	client.flags = HALF_AGAIN;
	client.self = workload_id("c2");
	rig_open(rig, client);
	rig_pane(rig);
	expect_side(rig, SIDE_CLIENT, 0);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_other_half_counts_from_the_next_ten_seconds_on),
		cmocka_unit_test(it_counts_until_two_seconds_after_the_return),
		cmocka_unit_test(a_node_that_is_heard_in_time_never_was_out),
		cmocka_unit_test(who_is_out_itself_does_not_take_over),
		cmocka_unit_test(halves_that_meet_during_it_are_told_since_when),
		cmocka_unit_test(a_half_that_had_ended_before_takes_no_part),
		cmocka_unit_test(the_new_half_of_a_new_agent_waits_for_the_end_of_the_turn),
		cmocka_unit_test(what_a_turn_was_is_forgotten_when_nobody_can_ask),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
