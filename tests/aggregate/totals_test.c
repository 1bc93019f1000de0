/* Seeded properties of partial and aggregate together: nothing is lost or doubled, in any scope and
 * window, with and without the guard; and how deltas are spread over sources does not show.
 * MILLRACE_SEED repeats a failure. */
#include "aggregate/aggregate.h"

#include "aggregate/tally.h"
#include "tests/aggregate/world.h"

enum { DELTAS = 6000, PANES = 90, AMENDMENTS_EVERY = 9 };

static uint64_t seed_first(void)
{
	const char *text = getenv("MILLRACE_SEED");
	return text ? strtoull(text, NULL, 0) : 1;
}

static uint64_t next_random(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15ULL;
	return hash_mix(*state);
}

struct scenario {
	struct link links[DELTAS], others[DELTAS];
	struct delta deltas[DELTAS];
	struct amendment amendments[DELTAS];
	uint64_t panes[DELTAS];
	uint32_t sources[DELTAS];
	bool suspects[DELTAS]; /* panes tell of its lane and instances */
};

static struct link random_link(struct names *names, uint64_t *random, uint32_t services)
{
	uint64_t r = next_random(random);
	/* Squared: a few services have most of the traffic. */
	uint32_t client = (uint32_t)((r % services) * (r >> 8 & 0xff) >> 8);
	uint32_t server = (uint32_t)((r >> 16) % services);
	struct link link = world_link(names, client, r >> 40 & 7, server, r >> 43 & 7, PANE_0);
	link.side = r >> 50 & 1;
	link.counts_from = r >> 51 & 1;
	link.joined = r >> 52 & 1;
	return link;
}

static void scenario_delta(struct scenario *scenario, uint32_t i, uint64_t *random)
{
	uint64_t r = next_random(random), wide = next_random(random);
	struct delta *delta = &scenario->deltas[i];
	static const uint16_t kinds[] = {0, 0, 0, 0, 0, DELTA_LATE, DELTA_RECOVERED, DELTA_PROBE};
	*delta = (struct delta){
		.flags = kinds[r & 7],
		.traffic = {.tx_bytes = r >> 8 & 0xffff,
			    .rx_bytes = r >> 12 & 0xffff,
			    .tx_segments = r >> 20 & 0xff,
			    .rx_segments = r >> 22 & 0xff,
			    .retransmits = r >> 30 & 3},
		.srtt_us = (uint32_t)(r >> 32 & 0xfff),
		.min_rtt_us = (uint32_t)(r >> 33 & 0x7ff),
		.connect_us = r >> 36 & 0xfff,
		.time_ns = pane_start(scenario->panes[i]) + (r >> 40),
		.node_received = (uint32_t)(r >> 44 & 0xff),
		.node_lost = (uint32_t)(r >> 52 & 1),
	};
	/* What a compact record or row cannot hold, now and then. */
	if ((wide & 15) == 0)
		delta->traffic.tx_bytes = wide >> (wide >> 4 & 31) >> 12;
	if ((wide >> 9 & 15) == 0)
		delta->traffic.rx_bytes = 0x7ffffff0 + (wide >> 13 & 31);
	if ((wide >> 18 & 31) == 0)
		delta->srtt_us = (uint32_t)(wide >> 32);
	if ((wide >> 23 & 31) == 0)
		delta->node_received = (uint32_t)(wide >> 31);
	if (r >> 53 & 1)
		delta->flags |= DELTA_OPENED;
	if ((r >> 54 & 3) == 0) {
		delta->flags |= r >> 56 & 1 ? DELTA_CLOSED : DELTA_FAILED;
		delta->reason = (uint8_t)(1 + (r >> 57) % (CLOSE_REASONS - 1));
	}
	if (!(delta->flags & DELTA_LATE))
		delta->flags |= DELTA_FIRST_IN_PANE | DELTA_FIRST_IN_1S;
	delta->flags |= DELTA_FIRST_IN_10S;
	if (wide >> 28 & 1)
		delta->flags |= DELTA_FIRST_IN_60S;
	if ((wide >> 28 & 7) == 1)
		delta->flags |= DELTA_FIRST_IN_1H;
}

/* Moves the delta, a few panes later. */
static void scenario_amendment(struct scenario *scenario, uint32_t i)
{
	struct delta *delta = &scenario->deltas[i];
	const struct link *link = &scenario->links[i];
	uint64_t start_ns = pane_start(scenario->panes[i]);
	struct amendment *amendment = &scenario->amendments[i];
	*amendment = (struct amendment){
		.window_start_ns = start_ns - start_ns % (10 * NS_PER_S),
		.sum = *delta,
		.opened = (delta->flags & DELTA_OPENED) != 0,
		.closed = (delta->flags & DELTA_CLOSED) != 0,
		.resets = delta->flags & DELTA_CLOSED && delta->reason == CLOSE_RESET,
	};
	if (delta->flags & DELTA_FAILED)
		amendment->failed[delta->reason] = 1;
	scenario->others[i].side = link->side;
	scenario->others[i].counts_from = link->counts_from;
	scenario->others[i].joined = link->joined;
	delta->place = (struct place){
		.side = link->side, .counts_from = link->counts_from, .joined = link->joined};
}

/* In time, and told by the half that counts. */
static bool delta_is_trouble(const struct delta *delta)
{
	static const uint16_t elsewhere = DELTA_LATE | DELTA_RECOVERED | DELTA_PROBE;
	bool broke = delta->flags & DELTA_CLOSED &&
		     (delta->reason == CLOSE_RESET || delta->reason == CLOSE_TIMEOUT);
	return !(delta->flags & elsewhere) && delta->place.side == delta->place.counts_from &&
	       (broke || delta->flags & DELTA_FAILED);
}

static void scenario_suspect(struct scenario *scenario)
{
	enum { SUSPICION = 40 };
	for (uint32_t i = 0; i < DELTAS; i++)
		for (uint32_t j = i; delta_is_trouble(&scenario->deltas[i]) && j-- > 0;)
			if (scenario->panes[j] != scenario->panes[i])
				break;
			else if (scenario->links[j].edge.id == scenario->links[i].edge.id)
				scenario->suspects[j] = true;
	for (uint32_t i = 0; i < DELTAS; i++)
		for (uint32_t j = i; delta_is_trouble(&scenario->deltas[i]) && j < DELTAS; j++)
			if (scenario->panes[j] > scenario->panes[i] + SUSPICION)
				break;
			else if (scenario->links[j].edge.id == scenario->links[i].edge.id)
				scenario->suspects[j] = true;
}

static struct scenario *scenario_new(uint64_t seed, uint32_t services)
{
	uint64_t random = hash_mix(seed);
	struct scenario *scenario = memory_zeroed(1, sizeof(*scenario));
	struct names *names = names_new(100000, 0);
	for (uint32_t i = 0; i < DELTAS; i++) {
		scenario->links[i] = random_link(names, &random, services);
		scenario->others[i] = random_link(names, &random, services);
		scenario->panes[i] = PANE_0 + (uint64_t)i * PANES / DELTAS;
		scenario->sources[i] = (uint32_t)next_random(&random);
		scenario_delta(scenario, i, &random);
		scenario_amendment(scenario, i);
	}
	scenario_suspect(scenario);
	names_free(names);
	return scenario;
}

/* Plays it; every source knows every name, as its nodes would have told it. */
static void scenario_play(const struct scenario *scenario, struct world *world, bool amend)
{
	for (uint32_t source = 0; source < world->sources; source++)
		for (uint32_t service = 0; service < 30; service++)
			for (uint32_t replica = 0; replica < 8; replica++)
				world_instance(world->names[source], service, replica, PANE_0);
	uint32_t pushed = 0, amended = 0;
	for (uint64_t pane = PANE_0; pane < PANE_0 + PANES + 80; pane++) {
		for (; pushed < DELTAS && scenario->panes[pushed] == pane; pushed++)
			world_push_from(world, scenario->sources[pushed] % world->sources,
					&scenario->links[pushed], scenario->deltas[pushed]);
		for (; amend && amended < DELTAS && scenario->panes[amended] + 30 == pane;
		     amended++)
			if (amended % AMENDMENTS_EVERY == 0)
				world_amend(world, scenario->sources[amended] % world->sources,
					    &scenario->links[amended], &scenario->others[amended],
					    scenario->amendments[amended]);
		world_close(world);
	}
	aggregate_advance(world->aggregate, UINT64_MAX);
}

static void add_tally(int64_t *totals, const struct delta *delta, bool life_only)
{
	struct tally all, traffic;
	tally_delta(&all, delta);
	tally_traffic(&traffic, delta);
	for (uint32_t i = life_only ? traffic.count : 0; i < all.count; i++)
		totals[all.columns[i]] += all.values[i];
}

/* What the deltas fill, for each window length: of shorter ones without what is late or healed; of
 * parts' panes, connection events. */
static void expect_totals(const struct scenario *scenario, enum window window, unsigned scope,
			  int64_t totals[COLUMNS])
{
	bool events = window == WINDOW_PANE && scope != SCOPE_EDGE;
	memset(totals, 0, COLUMNS * sizeof(*totals));
	for (uint32_t i = 0; i < DELTAS; i++) {
		const struct delta *delta = &scenario->deltas[i];
		if (window < WINDOW_10S && delta->flags & (DELTA_LATE | DELTA_RECOVERED))
			continue;
		if (events && !scenario->suspects[i])
			continue;
		add_tally(totals, delta, events);
		bool counts = delta->place.side == delta->place.counts_from;
		bool life = counts && delta->flags & (DELTA_OPENED | DELTA_CLOSED | DELTA_FAILED);
		if (!events || delta->flags & DELTA_PROBE || !(life || delta_connect_us(delta)))
			continue;
		totals[COUNTER_AGENT_RECEIVED] += delta->node_received;
		totals[COUNTER_AGENT_ISSUED] += (int64_t)delta->node_received + delta->node_lost;
	}
	static const unsigned active[] = {COUNTER_ACTIVE, COLUMN_ACTIVE_1S, COLUMN_ACTIVE_10S,
					  COLUMN_ACTIVE_60S, COLUMN_ACTIVE_1H};
	totals[COUNTER_ACTIVE] = totals[active[window]];
}

static const uint32_t windows_ms[WINDOWS] = {250, 1000, 10000, 60000, 3600000};

/* A difference of the totals to the deltas, seen by name. Returns whether all is well, and prints
 * what is not. */
static bool totals_agree(const struct scenario *scenario, const struct world *world, uint64_t seed,
			 bool folded)
{
	bool good = true;
	for (unsigned scope = 0; scope < SCOPES; scope++) {
		for (enum window window = 0; window < WINDOWS; window++) {
			if (scope != SCOPE_EDGE && window != WINDOW_PANE && window != WINDOW_10S)
				continue;
			/* What is under suspicion is what stands for the edge. */
			if (scope != SCOPE_EDGE && window == WINDOW_PANE && folded)
				continue;
			int64_t totals[COLUMNS];
			expect_totals(scenario, window, scope, totals);
			for (unsigned counter = 0; counter < COUNTERS; counter++) {
				int64_t sum = collection_sum(&world->collection, windows_ms[window],
							     scope, counter);
				if (sum == totals[counter])
					continue;
				print_error("seed %llu: scope %u, %u ms, %s: %lld, not %lld\n",
					    (unsigned long long)seed, scope, windows_ms[window],
					    counter_info(counter)->name, (long long)sum,
					    (long long)totals[counter]);
				good = false;
			}
		}
	}
	return good;
}

/* Every sample is in exactly one cell of each window that tells its distribution. */
static bool sketches_agree(const struct world *world, uint64_t seed)
{
	const struct collection *collection = &world->collection;
	for (size_t i = 0; i < collection->count; i++) {
		const struct rollup *rollup = &collection->rollups[i];
		uint64_t connect = sketch_total(rollup->connect, rollup->connect_cells);
		uint64_t srtt = sketch_total(rollup->srtt, rollup->srtt_cells);
		bool long_edge = rollup->scope == SCOPE_EDGE && rollup->window_ms >= 10000;
		/* Amendments move counts and leave samples. */
		if (rollup->amendment)
			continue;
		if (connect == (uint64_t)rollup->counters[COUNTER_CONNECT_COUNT] &&
		    srtt == (long_edge ? (uint64_t)rollup->counters[COUNTER_SRTT_COUNT] : 0))
			continue;
		print_error(
			"seed %llu: %u ms: %llu of %lld connect times, %llu of %lld RTTs\n",
			(unsigned long long)seed, rollup->window_ms, (unsigned long long)connect,
			(long long)rollup->counters[COUNTER_CONNECT_COUNT],
			(unsigned long long)srtt, (long long)rollup->counters[COUNTER_SRTT_COUNT]);
		return false;
	}
	return true;
}

/* An edge's row comes right before those of its lanes, of the same window; in panes these tell of
 * connections only. */
static bool edges_are_sums_of_their_lanes(const struct world *world)
{
	const struct collection *collection = &world->collection;
	for (size_t i = 0; i < collection->count;) {
		const struct rollup *edge = &collection->rollups[i++];
		if (edge->scope != SCOPE_EDGE || edge->window_ms != 10000)
			continue;
		int64_t sums[COUNTERS] = {0};
		for (; i < collection->count; i++) {
			const struct rollup *lane = &collection->rollups[i];
			if (lane->scope != SCOPE_LANE || lane->edge.id != edge->edge.id ||
			    lane->window_ms != edge->window_ms ||
			    lane->window_start_ns != edge->window_start_ns ||
			    lane->amendment != edge->amendment)
				break;
			for (unsigned counter = 0; counter < COUNTERS; counter++)
				sums[counter] += lane->counters[counter];
		}
		if (memcmp(sums, edge->counters, sizeof(sums)) != 0)
			return false;
	}
	return true;
}

static void totals_are_those_of_the_deltas_in_each_scope_and_window(void **state)
{
	(void)state;
	for (uint64_t seed = seed_first(); seed < seed_first() + 5; seed++) {
		struct scenario *scenario = scenario_new(seed, 30);
		struct world world;
		world_init(&world, 3, 100000, 100000);
		scenario_play(scenario, &world, seed & 1);
		assert_true(totals_agree(scenario, &world, seed, false));
		assert_true(edges_are_sums_of_their_lanes(&world));
		assert_true(seed & 1 || sketches_agree(&world, seed));
		struct aggregate_stats stats = aggregate_stats(world.aggregate);
		assert_int_equal(stats.folded, 0);
		assert_int_equal(stats.undescribed, 0);
		assert_int_equal(stats.unnamed, 0);
		assert_true(!(seed & 1) || stats.amended > 0);
		world_done(&world);
		free(scenario);
	}
}

static void totals_stay_exact_when_the_guard_folds(void **state)
{
	(void)state;
	for (uint64_t seed = seed_first(); seed < seed_first() + 6; seed++) {
		struct scenario *scenario = scenario_new(seed, 30);
		struct world world;
		uint32_t rows_max = (uint32_t)(16 << seed % 6); /* 16 to 512 */
		world_init(&world, 2, seed % 3 == 0 ? 30 : 100000, rows_max);
		scenario_play(scenario, &world, seed & 1);
		assert_true(totals_agree(scenario, &world, seed, true));
		struct aggregate_stats stats = aggregate_stats(world.aggregate);
		assert_true(stats.folded > 0);
		assert_true(stats.rows <= rows_max);
		for (uint32_t source = 0; source < 2; source++)
			assert_true((partial_stats(world.partials[source]).folded > 0) ==
				    (seed % 3 == 0));
		world_done(&world);
		free(scenario);
	}
}

static bool same_rollup(const struct rollup *a, const struct rollup *b)
{
	struct rollup left = *a, right = *b;
	left.connect = right.connect = left.srtt = right.srtt = NULL;
	if (memcmp(&left, &right, sizeof(left)) != 0)
		return false;
	for (uint32_t i = 0; i < a->connect_cells; i++)
		if (a->connect[i].index != b->connect[i].index ||
		    a->connect[i].count != b->connect[i].count)
			return false;
	for (uint32_t i = 0; i < a->srtt_cells; i++)
		if (a->srtt[i].index != b->srtt[i].index || a->srtt[i].count != b->srtt[i].count)
			return false;
	return true;
}

static void how_deltas_are_spread_over_sources_does_not_show(void **state)
{
	(void)state;
	for (uint64_t seed = seed_first(); seed < seed_first() + 3; seed++) {
		struct scenario *scenario = scenario_new(seed, 20);
		struct world one, many;
		world_init(&one, 1, 100000, 100000);
		world_init(&many, 8, 100000, 100000);
		scenario_play(scenario, &one, true);
		scenario_play(scenario, &many, true);
		if (one.collection.count != many.collection.count)
			print_error("seed %llu\n", (unsigned long long)seed);
		assert_int_equal(one.collection.count, many.collection.count);
		for (size_t i = 0; i < one.collection.count; i++) {
			bool same = same_rollup(&one.collection.rollups[i],
						&many.collection.rollups[i]);
			if (!same)
				print_error("seed %llu, row %zu\n", (unsigned long long)seed, i);
			assert_true(same);
		}
		world_done(&one);
		world_done(&many);
		free(scenario);
	}
}

static void the_same_log_folds_the_same_way(void **state)
{
	(void)state;
	struct scenario *scenario = scenario_new(seed_first(), 30);
	struct world first, second;
	world_init(&first, 2, 200, 300);
	world_init(&second, 2, 200, 300);
	scenario_play(scenario, &first, true);
	scenario_play(scenario, &second, true);
	assert_true(aggregate_stats(first.aggregate).folded > 0);
	assert_int_equal(first.collection.count, second.collection.count);
	for (size_t i = 0; i < first.collection.count; i++)
		assert_true(
			same_rollup(&first.collection.rollups[i], &second.collection.rollups[i]));
	world_done(&first);
	world_done(&second);
	free(scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(totals_are_those_of_the_deltas_in_each_scope_and_window),
		cmocka_unit_test(totals_stay_exact_when_the_guard_folds),
		cmocka_unit_test(how_deltas_are_spread_over_sources_does_not_show),
		cmocka_unit_test(the_same_log_folds_the_same_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
