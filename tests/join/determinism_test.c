/* A seeded world whose truth is known: whatever the order of events, their split into panes and the
 * number of tasks, the same flows come out, each half in exactly one of them. */
#include "tests/join/rig.h"

enum { WORLDS = 40, CONNECTIONS = 60, HALVES = 2 * CONNECTIONS, DELAY_PANES_MAX = 2, PANES = 40 };

struct connection {
	bool has_client, has_server, failed;
	int hops;
	struct half_open client, server;
	uint64_t client_closed_ns, server_closed_ns;
	struct nat_alias aliases[HOPS_MAX];
};

struct world {
	uint64_t seed, drawn;
	struct connection connections[CONNECTIONS];
};

static uint64_t draw(struct world *world, uint64_t below)
{
	return hash_mix(world->seed * 1000003 + ++world->drawn) % below;
}

static struct tuple fresh_tuple(struct world *world, uint32_t number, int hop)
{
	bool v6 = number % 5 == 0;
	char client[64], server[64];
	snprintf(client, sizeof(client), v6 ? "2001:db8::%x" : "10.0.0.%u",
		 1 + (unsigned)draw(world, 6));
	snprintf(server, sizeof(server), v6 ? "2001:db8:%x::%x" : "10.%u.1.%u", 1 + hop,
		 1 + (unsigned)draw(world, 6));
	return tuple_of(client, (uint16_t)(1024 + number * 8 + (uint32_t)hop), server, 80);
}

static void connection_draw(struct world *world, uint32_t i)
{
	struct connection *connection = &world->connections[i];
	const struct connection *before = i ? connection - 1 : NULL;
	/* Where ports are reused within the slack both halves are there: with one of each of two
	 * connections missing nobody could tell that the rest are not one. */
	bool reuse = before && before->has_client && before->has_server && draw(world, 3) == 0;
	uint64_t opened_ns = 4000 * PANE_NS + draw(world, 2000) * NS_PER_MS;
	struct tuple dialled, key;
	if (reuse) { /* the same ports 20 ms later, through the same mappings */
		opened_ns = before->client.opened_ns + 20 * NS_PER_MS;
		connection->hops = before->hops;
		memcpy(connection->aliases, before->aliases, sizeof(before->aliases));
		dialled = before->client.key;
		key = before->server.key;
	} else {
		connection->hops = draw(world, 2) ? (int)draw(world, HOPS_MAX + 1) : 0;
		key = dialled = fresh_tuple(world, i, 0);
		for (int hop = 0; hop < connection->hops; hop++) {
			struct tuple to = fresh_tuple(world, i, hop + 1);
			connection->aliases[hop] = alias_of(key, to, opened_ns);
			key = to;
		}
	}
	uint64_t kind = reuse ? 7 : draw(world, 8);
	connection->failed = kind == 0 && connection->hops == 0;
	connection->has_client = kind != 1;
	connection->has_server = kind != 2 && !connection->failed;
	connection->client = half_of(1 + 2 * i, SIDE_CLIENT, dialled, opened_ns);
	connection->server = half_of(2 + 2 * i, SIDE_SERVER, key, opened_ns + NS_PER_MS);
	connection->client.flags = connection->failed ? HALF_FAILED : 0;
	connection->client_closed_ns = opened_ns + 10 * NS_PER_MS;
	connection->server_closed_ns = opened_ns + 11 * NS_PER_MS;
}

static uint64_t arrival(struct world *world, uint64_t time_ns)
{
	return pane_of(time_ns) + draw(world, DELAY_PANES_MAX + 1);
}

/* Plays the world; `split` draws the panes and the order within them. */
struct event {
	uint64_t pane, order;
	int kind; /* 0 open, 1 close, 2 alias */
	struct half_open open;
	struct half_close close;
	struct nat_alias alias;
};

static int compare_arrivals(const void *left, const void *right)
{
	const struct event *a = left, *b = right;
	if (a->pane != b->pane)
		return a->pane < b->pane ? -1 : 1;
	return (a->order > b->order) - (a->order < b->order);
}

static struct rig *play(const struct world *drawn, uint32_t tasks, uint64_t split)
{
	struct world world = *drawn;
	world.drawn = split << 32;
	struct event *events = calloc(CONNECTIONS * (4 + HOPS_MAX), sizeof(*events));
	size_t count = 0;
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		struct connection *connection = &world.connections[i];
		for (int side = 0; side < 2; side++) {
			if (side == SIDE_CLIENT ? !connection->has_client : !connection->has_server)
				continue;
			struct half_open *open =
				side == SIDE_CLIENT ? &connection->client : &connection->server;
			uint64_t closed_ns = side == SIDE_CLIENT ? connection->client_closed_ns
								 : connection->server_closed_ns;
			uint64_t pane = arrival(&world, open->opened_ns);
			events[count++] = (struct event){.pane = pane,
							 .order = draw(&world, 1 << 20),
							 .kind = 0,
							 .open = *open};
			uint64_t close_pane =
				connection->failed ? pane : arrival(&world, closed_ns);
			events[count++] =
				(struct event){.pane = close_pane < pane ? pane : close_pane,
					       .order = draw(&world, 1 << 20),
					       .kind = 1,
					       .open = *open,
					       .close = close_of(open, closed_ns)};
		}
		for (int hop = 0; hop < connection->hops; hop++)
			events[count++] = (struct event){
				.pane = arrival(&world, connection->aliases[hop].time_ns),
				.order = draw(&world, 1 << 20),
				.kind = 2,
				.alias = connection->aliases[hop]};
	}
	qsort(events, count, sizeof(*events), compare_arrivals);
	struct rig *rig = rig_new_with(tasks, 512, 512);
	for (size_t i = 0, pane = 0; pane < PANES; pane++) {
		for (; i < count && events[i].pane == rig->pane; i++) {
			if (events[i].kind == 0)
				rig_open(rig, events[i].open);
			else if (events[i].kind == 1)
				rig_close_with(rig, &events[i].open, events[i].close);
			else
				rig_alias_with(rig, events[i].alias);
		}
		rig_pane(rig);
	}
	free(events);
	return rig;
}

static const struct flow *flow_of_half(const struct rig *rig, uint32_t pid)
{
	const struct flow *found = NULL;
	for (size_t i = 0; i < rig->flows_count; i++) {
		const struct flow *flow = &rig->flows[i];
		if ((flow->client.seen && flow->client.pid == pid) ||
		    (flow->server.seen && flow->server.pid == pid)) {
			assert_null(found); /* in no second flow */
			found = flow;
		}
	}
	return found;
}

static uint64_t assert_true_flows(const struct world *world, const struct rig *rig)
{
	size_t expected = 0;
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		const struct connection *connection = &world->connections[i];
		const struct flow *client = flow_of_half(rig, 1 + 2 * i),
				  *server = flow_of_half(rig, 2 + 2 * i);
		expected += connection->has_client || connection->has_server;
		assert_int_equal(client != NULL, connection->has_client);
		assert_int_equal(server != NULL, connection->has_server);
		const struct flow *flow = client ? client : server;
		if (!flow)
			continue;
		if (client && server)
			assert_ptr_equal(client, server);
		assert_int_equal(flow->joined, client && server);
		assert_int_equal(flow->established, !connection->failed);
		assert_true(tuple_equal(&flow->wire, &connection->server.key));
		assert_true(
			address_equal(&flow->canonical.client, &connection->client.seen.client) ||
			(!client && connection->hops > 1));
		bytes += client ? flow->client.total.tx_bytes : 0;
		bytes += server ? flow->server.total.tx_bytes : 0;
	}
	assert_int_equal(rig->flows_count, expected);
	assert_int_equal(rig->flow_records,
			 expected); /* nothing came so late as to need an amendment */
	return bytes;
}

static void assert_same_flows(const struct rig *a, const struct rig *b)
{
	assert_int_equal(a->flows_count, b->flows_count);
	for (size_t i = 0; i < a->flows_count; i++) {
		const struct flow *left = &a->flows[i], *right = NULL;
		for (size_t j = 0; j < b->flows_count; j++)
			if (b->flows[j].id == left->id)
				right = &b->flows[j];
		assert_non_null(right);
		assert_true(tuple_equal(&left->canonical, &right->canonical));
		assert_true(tuple_equal(&left->wire, &right->wire));
		assert_true(address_equal(&left->dialled, &right->dialled));
		assert_int_equal(left->hops, right->hops);
		assert_int_equal(left->edge.id, right->edge.id);
		assert_int_equal(left->opened_ns, right->opened_ns);
		assert_int_equal(left->closed_ns, right->closed_ns);
		assert_int_equal(left->client.total.tx_bytes, right->client.total.tx_bytes);
		assert_int_equal(left->server.total.tx_bytes, right->server.total.tx_bytes);
	}
}

static void assert_same_labels(const struct rig *a, const struct rig *b)
{
	for (int i = 1; i <= HALVES; i++) {
		const struct rig_label *left = &a->labels[i], *right = &b->labels[i];
		assert_int_equal(left->joined, right->joined);
		assert_int_equal(left->side, right->side);
		assert_int_equal(left->counts_from, right->counts_from);
		assert_int_equal(left->edge.id, right->edge.id);
		assert_int_equal(left->client.id, right->client.id);
		assert_int_equal(left->server.id, right->server.id);
	}
}

static void order_panes_and_tasks_change_nothing(void **state)
{
	(void)state;
	static const uint32_t tasks[] = {1, 4, 16};
	for (uint64_t seed = 1; seed <= WORLDS; seed++) {
		print_message("seed %llu\r", (unsigned long long)seed);
		struct world world = {.seed = seed};
		uint64_t bytes = 0;
		for (uint32_t i = 0; i < CONNECTIONS; i++) {
			connection_draw(&world, i);
			const struct connection *connection = &world.connections[i];
			bytes += connection->has_client ? 1000 + connection->client.ref.index : 0;
			bytes += connection->has_server ? 1000 + connection->server.ref.index : 0;
		}
		struct rig *first = play(&world, 1, 1);
		assert_int_equal(assert_true_flows(&world, first), bytes);
		for (int t = 0; t < 3; t++) {
			for (uint64_t split = 1; split <= 3; split++) {
				struct rig *rig = play(&world, tasks[t], split);
				assert_int_equal(assert_true_flows(&world, rig), bytes);
				assert_same_flows(first, rig);
				assert_same_labels(first, rig);
				rig_free(rig);
			}
		}
		rig_free(first);
	}
}

/* The same pushes give the same calls in the same order: rigs keep flows in the order of their
 * coming. */
static void a_replay_gives_the_same_records_in_the_same_order(void **state)
{
	(void)state;
	struct world world = {.seed = 99};
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		connection_draw(&world, i);
	struct rig *first = play(&world, 4, 7), *second = play(&world, 4, 7);
	assert_int_equal(first->label_calls, second->label_calls);
	assert_int_equal(first->flows_count, second->flows_count);
	for (size_t i = 0; i < first->flows_count; i++)
		assert_int_equal(first->flows[i].id, second->flows[i].id);
	assert_memory_equal(first->labels_seen, second->labels_seen, sizeof(first->labels_seen));
	rig_free(first);
	rig_free(second);
}

/* Few tuples, tiny tables, senseless events: bounds hold, links hold (ASan and the asserts watch),
 * and a drain after the last close leaves only halves that never closed. */
static void nonsense_at_the_bounds_breaks_nothing(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 30; seed++) {
		print_message("seed %llu\r", (unsigned long long)seed);
		struct world world = {.seed = seed};
		uint32_t halves_max = 1 + (uint32_t)draw(&world, 40),
			 tasks = 1 + (uint32_t)draw(&world, 3);
		struct rig *rig = rig_new_with(tasks, halves_max, 1 + (uint32_t)draw(&world, 8));
		rig->nonsense = true;
		for (uint32_t step = 0; step < 3000; step++) {
			struct tuple key = tuple_of("10.0.0.1", (uint16_t)(1 + draw(&world, 3)),
						    "10.0.0.1", (uint16_t)(1 + draw(&world, 3)));
			struct tuple to = tuple_of("10.0.0.1", (uint16_t)(1 + draw(&world, 3)),
						   "10.0.0.1", (uint16_t)(1 + draw(&world, 3)));
			struct half_open open =
				half_of(1 + (uint32_t)draw(&world, 60), (enum side)draw(&world, 2),
					key, rig_now(rig) - draw(&world, 3 * NS_PER_S));
			open.ref.generation = (uint16_t)draw(&world, 2);
			open.flags = (uint16_t)(draw(&world, 2) * HALF_ROLE_GUESSED |
						draw(&world, 2) * HALF_AGAIN |
						(draw(&world, 3) == 0) * HALF_WAITS |
						(draw(&world, 9) == 0) * HALF_FAILED);
			open.self = workload_id(draw(&world, 2) ? "this" : "that");
			struct nat_alias alias = alias_of(key, to, rig_now(rig));
			alias.op = (uint8_t)(draw(&world, 3) == 0);
			uint64_t kind = draw(&world, 10);
			if (kind < 5)
				rig_open(rig, open);
			else if (kind < 9)
				rig_close(rig, &open, rig_now(rig));
			else
				rig_alias_with(rig, alias);
			if (draw(&world, 4) == 0)
				rig_panes(rig, draw(&world, 30) ? 1 : 600);
			assert_true(rig_stats(rig).halves <= (uint64_t)halves_max * tasks);
		}
		for (int i = 0; i < 8; i++)
			rig_advance_to(rig, UINT64_MAX);
		rig_free(rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nonsense_at_the_bounds_breaks_nothing),
		cmocka_unit_test(order_panes_and_tasks_change_nothing),
		cmocka_unit_test(a_replay_gives_the_same_records_in_the_same_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
