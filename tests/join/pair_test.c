#include <time.h>

#include "tests/join/rig.h"

static const char *const A = "10.0.0.1", *const B = "10.0.0.2";

static void two_halves_become_one_flow_in_the_pane_of_the_last_close(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple key = tuple_of(A, 40000, B, 80);
	struct half_open client = half_of(1, SIDE_CLIENT, key, rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, key, rig_now(rig) + NS_PER_MS);
	rig_open(rig, client);
	rig_open(rig, server);
	rig_pane(rig);
	assert_labels_joined(rig);
	assert_int_equal(rig->labels[1].edge.port, 80);
	assert_int_equal(rig_stats(rig).flows, 1);
	rig_close(rig, &client, rig_now(rig));
	rig_pane(rig);
	assert_int_equal(rig->flows_count, 0);
	rig_close(rig, &server, rig_now(rig));
	rig_pane(rig);
	const struct flow *flow = rig_joined_flow(rig);
	assert_true(flow->established && !flow->amended);
	assert_true(tuple_equal(&flow->canonical, &key));
	assert_true(address_equal(&flow->dialled, &key.server));
	assert_int_equal(flow->client.total.tx_bytes, 1001);
	assert_int_equal(flow->server.total.tx_bytes, 1002);
	assert_int_equal(flow->connect_us, 300);
	assert_int_equal(flow->opened_ns, client.opened_ns);
	assert_int_equal(rig_stats(rig).halves, 0);
	assert_int_equal(rig_stats(rig).paired, 2);
	assert_int_equal(rig->labels_seen[1], 1);
	rig_free(rig);
}

static void a_connection_of_one_pane_is_labelled_and_told_at_once(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple key = tuple_of("2001:db8::1", 40000, "2001:db8::2", 443);
	struct half_open client = half_of(1, SIDE_CLIENT, key, rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, key, rig_now(rig) + 1000);
	rig_close(rig, &client, rig_now(rig) + 5000);
	rig_close(rig, &server, rig_now(rig) + 5000);
	rig_open(rig, client);
	rig_open(rig, server);
	rig_pane(rig);
	rig_joined_flow(rig);
	assert_labels_joined(rig);
	rig_free(rig);
}

static void a_half_without_a_peer_is_told_one_sided_and_amended_when_it_comes(void **state)
{
	(void)state;
	for (int late = SIDE_CLIENT; late <= SIDE_SERVER; late++) {
		struct rig *rig = rig_new();
		struct tuple key = tuple_of(A, 40000, B, 80);
		struct half_open halves[2] = {half_of(1, SIDE_CLIENT, key, rig_now(rig)),
					      half_of(2, SIDE_SERVER, key, rig_now(rig) + 1000)};
		uint64_t closed_ns = rig_now(rig) + 100 * NS_PER_MS;
		uint32_t first = late == SIDE_CLIENT ? 2 : 1;
		rig_open(rig, halves[first - 1]);
		rig_close(rig, &halves[first - 1], closed_ns);
		rig_pane(rig);
		assert_false(rig->labels[first].joined);
		assert_false(rig->labels[first].final);
		assert_int_equal(rig->labels[first].counts_from,
				 first == 1 ? SIDE_CLIENT : SIDE_SERVER);
		rig_panes(rig, 7);
		assert_int_equal(rig->flows_count, 0);
		rig_pane(rig);
		assert_int_equal(rig->flows_count, 1);
		assert_false(rig->flows[0].joined);
		const struct flow_end *unseen =
			late == SIDE_CLIENT ? &rig->flows[0].client : &rig->flows[0].server;
		const char *text = late == SIDE_CLIENT ? A : B;
		assert_false(unseen->seen);
		assert_int_equal(unseen->instance.workload, name_id(text, strlen(text)));
		assert_int_equal(unseen->instance.resolution, RESOLUTION_ADDRESS);

		rig_seconds(rig, 60);
		rig_open(rig, halves[late]);
		rig_close(rig, &halves[late], closed_ns);
		rig_pane(rig);
		assert_true(rig_joined_flow(rig)->amended);
		assert_labels_joined(rig);
		assert_int_equal(rig_stats(rig).amended, 1);
		assert_int_equal(rig_stats(rig).halves, 0);
		rig_free(rig);
	}
}

static void a_peer_later_than_the_keeping_time_is_a_flow_of_its_own(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple key = tuple_of(A, 40000, B, 80);
	struct half_open client = half_of(1, SIDE_CLIENT, key, rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, key, rig_now(rig));
	rig_open(rig, client);
	rig_close(rig, &client, client.opened_ns + 1000);
	rig_seconds(rig, 123);
	assert_int_equal(rig_stats(rig).halves, 0);
	rig_open(rig, server);
	rig_close(rig, &server, server.opened_ns + 1000);
	rig_seconds(rig, 3);
	assert_int_equal(rig->flows_count, 2);
	assert_int_equal(rig_stats(rig).one_sided, 2);
	rig_free(rig);
}

static void a_failed_attempt_is_told_in_its_pane_and_never_pairs(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple key = tuple_of(A, 40000, B, 80);
	struct half_open failed = half_of(1, SIDE_CLIENT, key, rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, key, rig_now(rig));
	failed.flags = HALF_FAILED;
	struct half_close close = close_of(&failed, rig_now(rig) + 1000);
	close.reason = CLOSE_REFUSED;
	rig_open(rig, failed);
	rig_close_with(rig, &failed, close);
	rig_open(rig, server);
	rig_pane(rig);
	assert_int_equal(rig->flows_count, 1);
	assert_false(rig->flows[0].established);
	assert_int_equal(rig->flows[0].client.reason, CLOSE_REFUSED);
	assert_int_equal(rig->labels_seen[1], 1);
	assert_false(rig->labels[2].joined);
	rig_free(rig);
}

/* 1 ms apart, 0.8 ms long, over four panes; the servers' halves come `delay` panes after the
 * clients'. */
static void reuse(uint64_t delay_panes)
{
	enum { CONNECTIONS = 1000 };
	struct rig *rig = rig_new();
	struct tuple key = tuple_of(A, 40000, B, 80);
	uint64_t first_pane = rig->pane;
	for (uint64_t pane = 0; pane < 4 + delay_panes + 12; pane++) {
		for (uint32_t i = 0; i < CONNECTIONS; i++) {
			uint64_t opened_ns = first_pane * PANE_NS + i * NS_PER_MS;
			struct half_open client = half_of(1 + i, SIDE_CLIENT, key, opened_ns);
			struct half_open server =
				half_of(2001 + i, SIDE_SERVER, key, opened_ns + 300000);
			if (i / 250 == pane) {
				rig_open(rig, client);
				rig_close(rig, &client, opened_ns + 800000);
			}
			if (i / 250 + delay_panes == pane) {
				rig_open(rig, server);
				rig_close(rig, &server, opened_ns + 800000);
			}
		}
		rig_pane(rig);
	}
	assert_int_equal(rig->flows_count, CONNECTIONS);
	assert_int_equal(rig->flow_records, CONNECTIONS);
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		assert_true(rig->flows[i].joined);
		assert_int_equal(rig->flows[i].client.pid + 2000, rig->flows[i].server.pid);
	}
	assert_int_equal(rig_stats(rig).evicted_halves, 0);
	rig_free(rig);
}

static void a_port_reused_a_thousand_times_never_crosses(void **state)
{
	(void)state;
	reuse(0);
	reuse(1);
	reuse(5);
}

static double processor_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Processor time of a pane that brings this many halves of one key, a client's and a server's in
 * turn and equally far apart. They come in the order in which they opened, or in the opposite one:
 * then each of the first to look takes one who leaves it again for a nearer one. */
static double one_key_s(bool backwards)
{
	enum { HALVES = 1024 };
	struct rig *rig = rig_new_with(1, 4096, 16);
	struct tuple key = tuple_of(A, 40000, B, 80);
	for (uint32_t i = 0; i < HALVES; i++) {
		uint32_t at = backwards ? HALVES - i : 1 + i;
		rig_open(rig, half_of(at, at % 2 ? SIDE_CLIENT : SIDE_SERVER, key,
				      rig_now(rig) + at * 10000));
	}
	double before = processor_s();
	rig_pane(rig);
	double took = processor_s() - before;
	for (uint32_t i = 1; i <= HALVES; i++)
		assert_true(rig->labels[i].joined);
	rig_free(rig);
	return took;
}

static void many_halves_of_one_key_cost_the_same_in_whatever_order(void **state)
{
	(void)state;
	assert_true(one_key_s(true) < 16 * one_key_s(false));
}

/* Processor time of a pane that brings news of one mapping of a key with so many lone halves. */
static double news_s(uint32_t halves)
{
	struct rig *rig = rig_new_with(1, 4096, 16);
	struct tuple key = tuple_of(A, 40000, B, 80), to = tuple_of(A, 40000, "10.0.0.3", 80);
	double least = 0;
	for (uint32_t i = 1; i <= halves; i++)
		rig_open(rig, half_of(i, SIDE_CLIENT, key, rig_now(rig) + i));
	uint64_t told_ns = rig_now(rig) - 60 * NS_PER_S;
	rig_pane(rig);
	for (uint32_t i = 0; i < 8; i++) {
		rig_alias_with(rig, alias_of(key, to, told_ns + i * NS_PER_MS));
		double before = processor_s();
		rig_pane(rig);
		double took = processor_s() - before;
		least = least == 0 || took < least ? took : least;
	}
	rig_free(rig);
	return least;
}

static void news_of_a_key_make_none_of_its_halves_look_for_a_peer(void **state)
{
	(void)state;
	assert_true(news_s(2000) < 20 * news_s(200));
}

static void a_nearer_peer_takes_over_before_the_pair_settles(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple key = tuple_of(A, 40000, B, 80);
	uint64_t now = rig_now(rig);
	struct half_open stale = half_of(3, SIDE_SERVER, key, now - 60 * NS_PER_S);
	struct half_open client = half_of(1, SIDE_CLIENT, key, now);
	struct half_open server = half_of(2, SIDE_SERVER, key, now + 1000);
	rig_open(rig, stale);
	rig_open(rig, client);
	rig_pane(rig);
	assert_true(rig->labels[3].joined);
	rig_open(rig, server);
	rig_pane(rig);
	assert_labels_joined(rig);
	assert_false(rig->labels[3].joined);
	rig_free(rig);
}

static void a_peer_that_never_closes_does_not_hold_the_flow_for_ever(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple key = tuple_of(A, 40000, B, 80);
	struct half_open client = half_of(1, SIDE_CLIENT, key, rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, key, rig_now(rig));
	rig_open(rig, client);
	rig_open(rig, server);
	rig_seconds(rig, 5);
	rig_close(rig, &client, rig_now(rig));
	rig_seconds(rig, 119);
	assert_int_equal(rig->flows_count, 0);
	rig_seconds(rig, 2);
	const struct flow *flow = rig_joined_flow(rig);
	assert_true(flow->client.closed);
	assert_false(flow->server.closed);
	rig_close(rig, &server, rig_now(rig));
	rig_seconds(rig, 10);
	assert_int_equal(rig->flow_records, 1);
	assert_int_equal(rig_stats(rig).halves, 0);
	rig_free(rig);
}

static void a_new_identity_labels_both_halves_anew_and_the_same_one_none(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple key = tuple_of(A, 40000, B, 80);
	struct half_open client = half_of(1, SIDE_CLIENT, key, rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, key, rig_now(rig));
	rig_open(rig, client);
	rig_open(rig, server);
	rig_pane(rig);
	client.flags = HALF_AGAIN;
	rig_open(rig, client);
	rig_pane(rig);
	assert_int_equal(rig->labels_seen[1], 1);
	client.self = workload_id("renamed");
	rig_open(rig, client);
	rig_pane(rig);
	assert_int_equal(rig->labels_seen[1], 2);
	assert_int_equal(rig->labels_seen[2], 2);
	assert_int_equal(rig->labels[2].edge.client, name_id("renamed", 7));
	assert_int_equal(rig_stats(rig).opened, 2);

	struct half_open healed = half_of(5, SIDE_CLIENT, tuple_of(A, 1, B, 2), rig_now(rig));
	healed.flags = HALF_AGAIN | HALF_EXISTED;
	rig_open(rig, healed);
	rig_pane(rig);
	assert_int_equal(rig->labels_seen[5], 1);
	rig_free(rig);
}

static void a_half_that_moved_goes_on_as_it_was(void **state)
{
	(void)state;
	for (int together = 0; together < 2; together++) {
		struct rig *rig = rig_new();
		struct tuple key = tuple_of(A, 40000, B, 80);
		struct half_open client = half_of(1, SIDE_CLIENT, key, rig_now(rig));
		struct half_open server = half_of(2, SIDE_SERVER, key, rig_now(rig));
		rig_open(rig, client);
		rig_open(rig, server);
		rig_pane(rig);
		if (together) /* a close of the same bucket knows the former place */
			rig_close(rig, &client, rig_now(rig));
		struct half_open moved = rig_move(rig, &client, 3);
		rig_pane(rig);
		assert_int_equal(rig_stats(rig).opened, 2);
		assert_int_equal(rig->labels_seen[1] + rig->labels_seen[3], 2);
		if (!together)
			rig_close(rig, &moved, rig_now(rig));
		server.self = workload_id("renamed");
		server.flags = HALF_AGAIN;
		rig_open(rig, server);
		rig_close(rig, &server, rig_now(rig));
		rig_pane(rig);
		assert_int_equal(rig_stats(rig).closes_unknown, 0);
		rig_joined_flow(rig);
		assert_int_equal(rig_stats(rig).halves, 0);
		rig_free(rig);
	}
}

/* All that ingest knows of it comes in one bucket. */
static void a_half_may_open_move_and_close_at_once(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple key = tuple_of(A, 40000, B, 80);
	struct half_open client = half_of(1, SIDE_CLIENT, key, rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, key, rig_now(rig));
	client.flags = HALF_MOVED;
	client.former = (struct half_ref){.index = 5};
	struct half_close close = close_of(&client, rig_now(rig));
	close.ref = client.former;
	rig_open(rig, client);
	rig_close_with(rig, &client, close);
	rig_open(rig, server);
	rig_pane(rig);
	rig_close(rig, &server, rig_now(rig));
	rig_pane(rig);
	assert_int_equal(rig_stats(rig).closes_unknown, 0);
	rig_joined_flow(rig);
	rig_free(rig);
}

static void a_lone_half_gets_a_final_label_after_the_keeping_time(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	rig_open(rig, half_of(1, SIDE_CLIENT, tuple_of(A, 40000, B, 80), rig_now(rig)));
	rig_seconds(rig, 119);
	assert_int_equal(rig->labels_seen[1], 1);
	rig_seconds(rig, 2);
	assert_int_equal(rig->labels_seen[1], 2);
	assert_true(rig->labels[1].final);
	assert_false(rig->labels[1].joined);
	rig_free(rig);
}

static void a_full_table_loses_the_oldest_closed_half_first_and_tells_it(void **state)
{
	(void)state;
	struct rig *rig = rig_new_with(1, 8, 8);
	struct half_open first = half_of(1, SIDE_CLIENT, tuple_of(A, 1, B, 80), rig_now(rig));
	rig_open(rig, first);
	rig_pane(rig);
	for (uint16_t i = 2; i <= 8; i++)
		rig_open(rig, half_of(i, SIDE_CLIENT, tuple_of(A, i, B, 80), rig_now(rig)));
	struct half_open fourth = half_of(4, SIDE_CLIENT, tuple_of(A, 4, B, 80), rig_now(rig));
	rig_close(rig, &fourth, rig_now(rig));
	rig_pane(rig);
	assert_int_equal(rig_stats(rig).evicted_halves, 0);
	rig_open(rig, half_of(9, SIDE_CLIENT, tuple_of(A, 9, B, 80), rig_now(rig)));
	rig_pane(rig);
	assert_int_equal(rig_stats(rig).evicted_halves, 1);
	assert_int_equal(rig->flows_count, 1);
	assert_int_equal(rig->flows[0].client.pid, 4);
	rig_open(rig, half_of(10, SIDE_CLIENT, tuple_of(A, 10, B, 80), rig_now(rig)));
	rig_pane(rig);
	assert_int_equal(rig_stats(rig).evicted_halves, 2);
	rig_close(rig, &first, rig_now(rig)); /* it left as the oldest of the lone ones */
	rig_pane(rig);
	assert_int_equal(rig_stats(rig).closes_unknown, 1);
	assert_int_equal(rig_stats(rig).halves, 8);
	rig_free(rig);
}

static void a_drain_tells_all_that_closed(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct half_open client = half_of(1, SIDE_CLIENT, tuple_of(A, 40000, B, 80), rig_now(rig));
	rig_open(rig, client);
	rig_close(rig, &client, rig_now(rig));
	rig_advance_to(rig, UINT64_MAX);
	assert_int_equal(rig->flows_count, 1);
	rig_free(rig);
}

/* Which of the two says what, whether the guess was wrong, and whether the other one knows its role
 * for sure. */
static void a_wrongly_guessed_role_is_turned_round_by_its_peer(void **state)
{
	(void)state;
	for (int variant = 0; variant < 8; variant++) {
		struct rig *rig = rig_new();
		bool swapped = variant & 1, server_guesses = variant & 2, both_guess = variant & 4;
		struct tuple key =
			swapped ? tuple_of(B, 40000, A, 40001) : tuple_of(A, 40000, B, 40001);
		struct half_open halves[2] = {half_of(1, SIDE_CLIENT, key, rig_now(rig)),
					      half_of(2, SIDE_SERVER, key, rig_now(rig))};
		struct half_open *wrong = &halves[server_guesses];
		wrong->side ^= 1;
		wrong->key = wrong->seen = tuple_back(key);
		wrong->flags = HALF_ROLE_GUESSED;
		if (both_guess)
			halves[!server_guesses].flags = HALF_ROLE_GUESSED;
		rig_open(rig, halves[0]);
		rig_open(rig, halves[1]);
		rig_seconds(rig, 3);
		assert_true(rig->labels[1].joined && rig->labels[2].joined);
		assert_int_not_equal(rig->labels[1].side, rig->labels[2].side);
		if (!both_guess)
			assert_labels_joined(rig);
		rig_close(rig, &halves[0], rig_now(rig));
		rig_close(rig, &halves[1], rig_now(rig));
		rig_seconds(rig, 1);
		assert_int_equal(rig->flows_count, 1);
		assert_true(rig->flows[0].joined);
		assert_int_equal(rig_stats(rig).halves, 0);
		rig_free(rig);
	}
}

static void a_guessed_roles_trial_goes_on_when_its_half_moves(void **state)
{
	(void)state;
	for (uint64_t before = 1; before < 10; before++) {
		struct rig *rig = rig_new();
		struct tuple key = tuple_of(A, 40000, B, 40001);
		struct half_open guesser = half_of(1, SIDE_SERVER, tuple_back(key), rig_now(rig));
		struct half_open peer = half_of(2, SIDE_SERVER, key, rig_now(rig));
		guesser.flags = HALF_ROLE_GUESSED;
		rig_open(rig, guesser);
		rig_open(rig, peer);
		rig_panes(rig, before);
		guesser = rig_move(rig, &guesser, 3);
		rig_seconds(rig, 3);
		assert_true(rig->labels[3].joined && rig->labels[2].joined);
		assert_int_equal(rig->labels[3].side, SIDE_CLIENT);
		assert_int_equal(rig_stats(rig).halves, 2);
		rig_free(rig);
	}
}

static void a_guess_that_nobody_contradicts_stands(void **state)
{
	(void)state;
	for (int swapped = 0; swapped < 2; swapped++) {
		struct rig *rig = rig_new();
		struct tuple key = swapped ? tuple_of(B, 40000, A, 80) : tuple_of(A, 40000, B, 80);
		struct half_open client = half_of(1, SIDE_CLIENT, key, rig_now(rig));
		client.flags = HALF_ROLE_GUESSED | HALF_EXISTED;
		rig_open(rig, client);
		rig_seconds(rig, 5);
		assert_int_equal(rig->labels[1].side, SIDE_CLIENT);
		assert_int_equal(rig->labels[1].edge.client, name_id("client", 6));
		rig_open(rig, half_of(2, SIDE_SERVER, key, rig_now(rig)));
		rig_pane(rig);
		assert_labels_joined(rig);
		assert_int_equal(rig_stats(rig).halves, 2);
		rig_free(rig);
	}
}

/* Nobody answered, but the address was a server's a moment ago. */
static void a_refused_attempt_has_the_name_of_the_server_told_of_at_its_address(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple key = tuple_of("10.0.0.1", 40000, "10.0.0.2", 80);
	struct half_open client = half_of(1, SIDE_CLIENT, key, rig_now(rig));
	struct server_place place = {
		.key = {.address = key.server, .port = 80, .protocol = key.protocol},
		.time_ns = rig_now(rig) + PANE_NS,
		.instance = workload("shop")};
	const struct half_bucket told = {.servers = &place, .servers_count = 1};
	for (uint32_t task = 0; task < rig->tasks; task++)
		join_push(rig->joins[task], &told);
	client.flags |= HALF_FAILED;
	rig_open(rig, client);
	struct half_close close = close_of(&client, rig_now(rig));
	close.reason = CLOSE_REFUSED;
	rig_close_with(rig, &client, close);
	rig_pane(rig);
	assert_int_equal(rig->flows_count, 1);
	assert_int_equal(rig->flows[0].edge.server, place.instance.workload);
	assert_int_equal(rig->flows[0].server.instance.id, place.instance.id);
	assert_false(rig->flows[0].server.seen);
	rig_free(rig);
}

/* The same long after: the address may be anybody's. */
static void a_server_not_told_of_lately_is_an_address_again(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple key = tuple_of("10.0.0.1", 40000, "10.0.0.2", 80);
	struct server_place place = {
		.key = {.address = key.server, .port = 80, .protocol = key.protocol},
		.time_ns = rig_now(rig) + PANE_NS,
		.instance = workload("shop")};
	const struct half_bucket told = {.servers = &place, .servers_count = 1};
	for (uint32_t task = 0; task < rig->tasks; task++)
		join_push(rig->joins[task], &told);
	rig_seconds(rig, 181);
	struct half_open client = half_of(1, SIDE_CLIENT, key, rig_now(rig));
	client.flags |= HALF_FAILED;
	rig_open(rig, client);
	rig_close(rig, &client, rig_now(rig));
	rig_pane(rig);
	assert_int_equal(rig->flows_count, 1);
	assert_int_equal(rig->flows[0].server.instance.resolution, RESOLUTION_ADDRESS);
	rig_free(rig);
}

/* Its rows are to say what its flow says. */
static void a_lone_half_is_labelled_anew_with_the_server_that_its_flow_names(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple key = tuple_of("10.0.0.1", 40000, "10.0.0.2", 80);
	struct half_open client = half_of(1, SIDE_CLIENT, key, rig_now(rig));
	rig_open(rig, client);
	rig_close(rig, &client, rig_now(rig) + 1000);
	rig_pane(rig);
	assert_int_equal(rig->labels[1].server.resolution, RESOLUTION_ADDRESS);
	struct server_place place = {
		.key = {.address = key.server, .port = 80, .protocol = key.protocol},
		.time_ns = rig_now(rig) + PANE_NS,
		.instance = workload("shop")};
	const struct half_bucket told = {.servers = &place, .servers_count = 1};
	for (uint32_t task = 0; task < rig->tasks; task++)
		join_push(rig->joins[task], &told);
	rig_seconds(rig, 3);
	assert_int_equal(rig->flows_count, 1);
	assert_int_equal(rig->flows[0].server.instance.id, place.instance.id);
	assert_int_equal(rig->labels[1].server.id, place.instance.id);
	assert_int_equal(rig->labels_seen[1], 2);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lone_half_is_labelled_anew_with_the_server_that_its_flow_names),
		cmocka_unit_test(
			a_refused_attempt_has_the_name_of_the_server_told_of_at_its_address),
		cmocka_unit_test(a_server_not_told_of_lately_is_an_address_again),
		cmocka_unit_test(two_halves_become_one_flow_in_the_pane_of_the_last_close),
		cmocka_unit_test(a_connection_of_one_pane_is_labelled_and_told_at_once),
		cmocka_unit_test(a_half_without_a_peer_is_told_one_sided_and_amended_when_it_comes),
		cmocka_unit_test(a_peer_later_than_the_keeping_time_is_a_flow_of_its_own),
		cmocka_unit_test(a_failed_attempt_is_told_in_its_pane_and_never_pairs),
		cmocka_unit_test(a_port_reused_a_thousand_times_never_crosses),
		cmocka_unit_test(many_halves_of_one_key_cost_the_same_in_whatever_order),
		cmocka_unit_test(news_of_a_key_make_none_of_its_halves_look_for_a_peer),
		cmocka_unit_test(a_nearer_peer_takes_over_before_the_pair_settles),
		cmocka_unit_test(a_peer_that_never_closes_does_not_hold_the_flow_for_ever),
		cmocka_unit_test(a_new_identity_labels_both_halves_anew_and_the_same_one_none),
		cmocka_unit_test(a_lone_half_gets_a_final_label_after_the_keeping_time),
		cmocka_unit_test(a_full_table_loses_the_oldest_closed_half_first_and_tells_it),
		cmocka_unit_test(a_drain_tells_all_that_closed),
		cmocka_unit_test(a_wrongly_guessed_role_is_turned_round_by_its_peer),
		cmocka_unit_test(a_half_that_moved_goes_on_as_it_was),
		cmocka_unit_test(a_half_may_open_move_and_close_at_once),
		cmocka_unit_test(a_guessed_roles_trial_goes_on_when_its_half_moves),
		cmocka_unit_test(a_guess_that_nobody_contradicts_stands),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
