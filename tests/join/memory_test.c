/* What a joined flow costs in memory, and what comes by number. */
#include "tests/join/rig.h"

#include "base/heap.h"
#include "base/memory.h"

enum { FLOWS = 1000000, FLOWS_A_PANE = 2000, SERVERS = 500, CLIENTS = 2000 };

static struct half_open nth_half(uint32_t flow, enum side side, uint64_t opened_ns)
{
	struct tuple key = {.client = address_v4(0x0a000000 + flow % CLIENTS),
			    .server = address_v4(0x0a100000 + flow % SERVERS),
			    .client_port = (uint16_t)(1024 + flow / CLIENTS),
			    .server_port = 443,
			    .protocol = PROTOCOL_TCP};
	return half_of(flow * 2 + side, side, key, opened_ns);
}

static void ignore_labels(void *context, uint32_t source, const struct label *labels, size_t count,
			  const struct instance *instances, size_t instances_count)
{
	(void)context;
	(void)source;
	(void)labels;
	(void)count;
	(void)instances;
	(void)instances_count;
}

static struct join *join_alone(void)
{
	const struct join_options options = {
		.tasks = 1,
		.sources = 1,
		.halves_max = 2 * FLOWS,
		.aliases_max = 64,
		.instances_max = 1024,
		.one_sided_ns = 2 * NS_PER_S,
		.keep_ns = 120 * NS_PER_S,
		.sinks = {.labels = ignore_labels},
	};
	return join_new(&options);
}

/* A settled pair is a record of 56 bytes and its place in the index. */
static void a_joined_flow_costs_at_most_72_bytes(void **state)
{
	(void)state;
	struct join *join = join_alone();
	static struct half_open opens[2 * FLOWS_A_PANE];
	uint64_t pane = 4000;
	for (uint32_t flow = 0; flow < FLOWS; pane++) {
		for (uint32_t i = 0; i < FLOWS_A_PANE; i++, flow++)
			for (uint32_t side = 0; side < 2; side++)
				opens[2 * i + side] =
					nth_half(flow, (enum side)side, pane * PANE_NS);
		const struct half_bucket bucket = {.opens = opens, .opens_count = 2 * FLOWS_A_PANE};
		join_push(join, &bucket);
		join_advance(join, pane_end(pane));
	}
	struct join_stats stats = join_stats(join);
	assert_int_equal(stats.flows, FLOWS);
	assert_int_equal(stats.halves, 2 * FLOWS);
	double bytes = (double)stats.bytes / FLOWS;
	print_message("%.1f bytes a joined flow\n", bytes);
	assert_true(bytes <= 72);
	join_free(join);
}

enum { LABELS_KEPT = 4096 };

static void keep_numbers(void *context, uint32_t source, const struct label *labels, size_t count,
			 const struct instance *instances, size_t instances_count)
{
	uint32_t *numbers = context;
	(void)source, (void)instances, (void)instances_count;
	for (size_t i = 0; i < count; i++)
		numbers[labels[i].half.index % LABELS_KEPT] = labels[i].number;
}

static void ignore_flows(void *context, const struct flow *flows, size_t count)
{
	(void)context, (void)flows, (void)count;
}

/* Pairs that close before they settle leave nothing behind, though some are always young. */
static void pairs_that_never_settle_are_not_remembered(void **state)
{
	(void)state;
	enum { PANES = 4000, LIFE = 4, A_PANE = 8, HALVES = 2 * A_PANE };
	static uint32_t numbers[LABELS_KEPT];
	static struct half_open opens[HALVES];
	static struct half_close closes[HALVES];
	struct heap *heap = heap_new(1), *used = memory_use(heap);
	struct join *join = join_alone();
	size_t warm = 0;
	assert_non_null(heap);
	join_bind(join, &(struct join_sinks){
				.context = numbers, .labels = keep_numbers, .flows = ignore_flows});
	for (uint64_t pane = 4000; pane < 4000 + PANES; pane++) {
		for (uint32_t i = 0; i < HALVES; i++) {
			uint32_t flow = (uint32_t)(pane * A_PANE + i / 2);
			opens[i] = nth_half(flow, (enum side)(i % 2), pane * PANE_NS);
			const struct half_open over =
				nth_half(flow - LIFE * A_PANE, (enum side)(i % 2), 0);
			closes[i] = close_of(&over, pane * PANE_NS);
			closes[i].number = numbers[over.ref.index % LABELS_KEPT];
		}
		const struct half_bucket bucket = {.opens = opens,
						   .closes = closes,
						   .opens_count = HALVES,
						   .closes_count = pane < 4000 + LIFE ? 0 : HALVES};
		join_push(join, &bucket);
		join_advance(join, pane_end(pane));
		if (pane == 4000 + PANES / 10)
			warm = heap_bytes(heap);
	}
	assert_int_equal(join_stats(join).flows, LIFE * A_PANE);
	assert_int_equal(heap_bytes(heap), warm);
	join_free(join);
	memory_use(used);
	heap_free(heap);
}

static void a_close_or_news_by_a_number_of_another_half_changes_nothing(void **state)
{
	(void)state;
	struct rig *rig = rig_new_with(1, 64, 64);
	struct tuple key = tuple_of("10.0.0.1", 40000, "10.0.0.2", 80);
	struct half_open client = half_of(1, SIDE_CLIENT, key, rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, key, rig_now(rig));
	rig_open(rig, client);
	rig_open(rig, server);
	rig_pane(rig);
	static const uint32_t numbers[] = {1, 2, 5, 1000, UINT32_MAX};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct half_close close = close_of(&client, rig_now(rig));
		close.ref.generation++;
		close.number = i ? numbers[i] : rig->labels[1].number;
		RIG_APPEND(&rig->pushed[0], closes, close);
	}
	rig_pane(rig);
	assert_int_equal(rig_stats(rig).closes_unknown, 5);
	assert_int_equal(rig_stats(rig).halves, 2);
	rig_close(rig, &client, rig_now(rig));
	rig_close(rig, &client, rig_now(rig)); /* said twice */
	rig_close(rig, &server, rig_now(rig));
	rig_pane(rig);
	assert_int_equal(rig_stats(rig).closes_unknown, 6);
	rig_joined_flow(rig);
	rig_free(rig);
}

/* A key frame of a half that was evicted, sent to the task of its last label. */
static void news_of_a_half_that_left_begin_it_anew_at_its_keys_owner(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple key = tuple_of("10.0.0.1", 40000, "10.0.0.2", 80);
	uint32_t owner = hash_owner(tuple_hash(&key), rig->tasks), other = owner ? 0 : 1;
	struct half_open again = half_of(1, SIDE_CLIENT, key, rig_now(rig));
	again.flags = HALF_AGAIN;
	again.number = 77;
	RIG_APPEND(&rig->pushed[other], opens, again);
	for (size_t i = 0; i < rig_workloads_count; i++) {
		RIG_APPEND(&rig->pushed[other], instances, rig_workloads[i]);
		rig_tell(rig, &rig_workloads[i]);
	}
	rig_pane(rig);
	assert_int_equal(rig->labels[1].join_task, owner);
	assert_int_equal(rig->labels[1].edge.client, name_id("client", 6));
	rig_close(rig, &again, rig_now(rig));
	rig_seconds(rig, 3);
	assert_int_equal(rig_stats(rig).closes_unknown, 0);
	assert_int_equal(rig->flows_count, 1);
	rig_free(rig);
}

/* Its own key is not told with another owner. */
static void another_owner_of_a_half_that_left_is_nobodys_news(void **state)
{
	(void)state;
	struct rig *rig = rig_new_with(1, 64, 64);
	struct tuple key = tuple_of("10.0.0.1", 40000, "10.0.0.2", 80);
	struct half_open client = half_of(1, SIDE_CLIENT, key, rig_now(rig)),
			 server = half_of(2, SIDE_SERVER, key, rig_now(rig));
	client.flags = server.flags = HALF_AGAIN;
	client.number = 76;
	server.number = 77;
	client.key = client.seen = server.key = server.seen = (struct tuple){0};
	RIG_APPEND(&rig->pushed[0], opens, client);
	RIG_APPEND(&rig->pushed[0], opens, server);
	rig_pane(rig);
	assert_int_equal(rig_stats(rig).news_unknown, 2);
	assert_int_equal(rig_stats(rig).halves, 0);
	rig_free(rig);
}

static void a_half_whose_owner_nobody_told_of_is_nobodys(void **state)
{
	(void)state;
	struct join *join = join_alone();
	struct half_open open = nth_half(1, SIDE_CLIENT, 4000 * PANE_NS);
	const struct half_bucket bucket = {.opens = &open, .opens_count = 1};
	join_push(join, &bucket);
	join_advance(join, pane_end(4000));
	assert_int_equal(join_stats(join).instances_unknown, 1);
	assert_int_equal(join_stats(join).halves, 1);
	join_free(join);
}

/* One server socket, a half for each peer. */
static void udp_halves_pair_like_tcp_and_apart_from_it(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	for (uint32_t i = 0; i < 20; i++) {
		struct tuple key = tuple_of("10.0.0.1", (uint16_t)(40000 + i / 2), "10.0.0.2", 53);
		key.protocol = i % 2 ? PROTOCOL_UDP : PROTOCOL_TCP;
		rig_open(rig, half_of(1 + i, SIDE_CLIENT, key, rig_now(rig)));
		if (i % 2)
			rig_open(rig, half_of(101 + i, SIDE_SERVER, key, rig_now(rig)));
	}
	rig_pane(rig);
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(rig->labels[1 + i].joined, i % 2);
	rig_free(rig);
}

/* The detail that a settled pair has given away comes back with the first close. */
static void a_settled_pair_still_knows_what_its_client_dialled(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple key = tuple_of("10.0.0.1", 40000, "10.0.0.2", 8080);
	struct tuple dialled = tuple_of("10.0.0.1", 40000, "10.96.0.1", 80);
	struct half_open client = half_of(1, SIDE_CLIENT, key, rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, key, rig_now(rig) + NS_PER_MS);
	client.seen = dialled;
	rig_open(rig, client);
	rig_open(rig, server);
	rig_seconds(rig, 5);
	rig_close(rig, &client, rig_now(rig));
	rig_seconds(rig, 5);
	rig_close(rig, &server, rig_now(rig));
	rig_pane(rig);
	const struct flow *flow = rig_joined_flow(rig);
	assert_true(address_equal(&flow->dialled, &dialled.server));
	assert_int_equal(flow->dialled_port, 80);
	assert_int_equal(flow->connect_us, 300);
	assert_int_equal(flow->opened_ns, client.opened_ns);
	assert_int_equal(rig_stats(rig).halves, 0);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_joined_flow_costs_at_most_72_bytes),
		cmocka_unit_test(pairs_that_never_settle_are_not_remembered),
		cmocka_unit_test(a_close_or_news_by_a_number_of_another_half_changes_nothing),
		cmocka_unit_test(news_of_a_half_that_left_begin_it_anew_at_its_keys_owner),
		cmocka_unit_test(another_owner_of_a_half_that_left_is_nobodys_news),
		cmocka_unit_test(a_half_whose_owner_nobody_told_of_is_nobodys),
		cmocka_unit_test(udp_halves_pair_like_tcp_and_apart_from_it),
		cmocka_unit_test(a_settled_pair_still_knows_what_its_client_dialled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
