#include "tests/join/rig.h"

/* The topology of most tests: a client pod dials a virtual address; other nodes translate it step
 * by step. */
static struct tuple step(int number)
{
	static const char *const servers[] = {"10.96.0.1",  "172.16.0.1", "172.16.0.2",
					      "172.16.0.3", "172.16.0.4", "172.16.0.5",
					      "172.16.0.6"};
	return tuple_of("10.0.0.1", 40000, servers[number], (uint16_t)(80 + number));
}

static void close_both(struct rig *rig, const struct half_open *client,
		       const struct half_open *server)
{
	rig_close(rig, client, rig_now(rig));
	rig_close(rig, server, rig_now(rig));
}

static void a_key_mapped_on_its_own_node_needs_no_hop(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct half_open client = half_of(1, SIDE_CLIENT, step(1), rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, step(1), rig_now(rig));
	client.seen = step(0);
	rig_alias_with(rig,
		       alias_of(step(0), step(1), rig_now(rig))); /* told to the owners as well */
	rig_open(rig, client);
	rig_open(rig, server);
	rig_pane(rig);
	assert_labels_joined(rig);
	close_both(rig, &client, &server);
	rig_pane(rig);
	const struct flow *flow = rig_joined_flow(rig);
	struct tuple dialled = step(0), key = step(1);
	assert_true(address_equal(&flow->dialled, &dialled.server));
	assert_int_equal(flow->dialled_port, 80);
	assert_true(tuple_equal(&flow->canonical, &key));
	assert_int_equal(flow->hops, 0);
	rig_free(rig);
}

enum order { ALIAS_FIRST, SAME_PANE, ALIAS_LAST };

/* `hops` mappings by other nodes lie between the client and the server. */
static void chain(uint32_t tasks, int hops, enum order order)
{
	struct rig *rig = rig_new_with(tasks, 64, 64);
	struct half_open client = half_of(1, SIDE_CLIENT, step(0), rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, step(hops), rig_now(rig) + 1000);
	for (int told = 0; told < 2; told++) {
		for (int hop = 0; hop < hops && (order == ALIAS_LAST) == told; hop++)
			rig_alias_with(rig, alias_of(step(hop), step(hop + 1), client.opened_ns));
		if (order != SAME_PANE && told == 0)
			rig_panes(rig, order == ALIAS_FIRST ? 4 : 0);
		if (told == 0) {
			rig_open(rig, client);
			rig_open(rig, server);
			if (order == ALIAS_LAST)
				rig_panes(rig, 4);
		}
	}
	if (order == ALIAS_LAST) {
		assert_int_equal(rig->labels_seen[1], 1); /* from itself alone */
		assert_false(rig->labels[1].joined);
	}
	rig_pane(rig);
	assert_labels_joined(rig); /* each hop is a round of the same pane */
	assert_int_equal(rig_stats(rig).hops, hops);
	assert_int_equal(rig_stats(rig).opened, 2);
	assert_int_equal(rig_stats(rig).flows, 1);

	/* A key frame follows the half; its closing does, too. */
	client.flags = HALF_AGAIN;
	client.self = workload_id("renamed");
	rig_open(rig, client);
	rig_pane(rig);
	assert_int_equal(rig->labels[2].edge.client, name_id("renamed", 7));
	close_both(rig, &client, &server);
	rig_pane(rig);
	const struct flow *flow = rig_joined_flow(rig);
	struct tuple dialled = step(0), key = step(hops);
	assert_true(address_equal(&flow->dialled, &dialled.server));
	assert_true(tuple_equal(&flow->wire, &key));
	assert_int_equal(flow->hops, hops);
	assert_int_equal(rig_stats(rig).halves, 0);
	assert_int_equal(rig_stats(rig).closes_unknown, 0);
	rig_free(rig);
}

static void a_half_follows_chains_of_mappings_told_before_with_or_after_it(void **state)
{
	(void)state;
	static const uint32_t tasks[] = {1, 4, 16};
	for (int t = 0; t < 3; t++)
		for (int hops = 1; hops <= HOPS_MAX; hops++)
			for (int order = ALIAS_FIRST; order <= ALIAS_LAST; order++)
				chain(tasks[t], hops, (enum order)order);
}

static void a_fifth_hop_is_not_taken(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	for (int hop = 0; hop < 6; hop++)
		rig_alias_with(rig, alias_of(step(hop), step(hop + 1), rig_now(rig)));
	struct half_open client = half_of(1, SIDE_CLIENT, step(0), rig_now(rig));
	rig_open(rig, client);
	rig_panes(rig, 8);
	assert_int_equal(rig_stats(rig).hops, HOPS_MAX);
	assert_int_equal(rig_stats(rig).hops_exhausted, 1);
	struct tuple last = step(HOPS_MAX);
	assert_true(address_equal(&rig->labels[1].server.address, &last.server));
	rig_close(rig, &client, rig_now(rig));
	rig_seconds(rig, 5);
	assert_int_equal(rig->flows_count, 1);
	rig_free(rig);
}

static void a_cycle_of_mappings_ends(void **state)
{
	(void)state;
	static const uint32_t tasks[] = {1, 4, 16};
	for (int length = 2; length <= 3; length++) {
		struct flow flows[3];
		for (int t = 0; t < 3; t++) {
			struct rig *rig = rig_new_with(tasks[t], 64, 64);
			for (int hop = 0; hop < length; hop++)
				rig_alias_with(rig, alias_of(step(hop), step((hop + 1) % length),
							     rig_now(rig)));
			struct half_open client = half_of(1, SIDE_CLIENT, step(0), rig_now(rig));
			rig_open(rig, client);
			rig_panes(rig, 8);
			assert_int_equal(rig_stats(rig).hops_exhausted, 1);
			assert_int_equal(rig_stats(rig).flows, 1);
			rig_close(rig, &client, rig_now(rig));
			rig_seconds(rig, 10);
			assert_int_equal(rig->flows_count, 1);
			flows[t] = rig->flows[0];
			rig_free(rig);
		}
		for (int t = 1; t < 3; t++) {
			assert_int_equal(flows[0].id, flows[t].id);
			assert_true(tuple_equal(&flows[0].wire, &flows[t].wire));
			assert_int_equal(flows[0].hops, flows[t].hops);
		}
	}
}

static void masquerade_by_a_gateway_keeps_the_true_client(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple pod = tuple_of("10.0.0.1", 40000, "93.184.216.34", 443);
	struct tuple node = tuple_of("192.0.2.1", 51000, "93.184.216.34", 443);
	struct half_open client = half_of(1, SIDE_CLIENT, pod, rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, node, rig_now(rig));
	rig_alias_with(rig, alias_of(pod, node, rig_now(rig)));
	rig_open(rig, client);
	rig_open(rig, server);
	rig_panes(rig, 2);
	close_both(rig, &client, &server);
	rig_panes(rig, 3);
	const struct flow *flow = rig_joined_flow(rig);
	assert_true(address_equal(&flow->canonical.client, &pod.client));
	assert_int_equal(flow->canonical.client_port, 40000);
	assert_true(tuple_equal(&flow->wire, &node));
	rig_free(rig);
}

static void a_lone_server_half_names_the_client_behind_the_mapping(void **state)
{
	(void)state;
	static const uint32_t tasks[] = {1, 4, 16};
	for (int t = 0; t < 3; t++) {
		struct rig *rig = rig_new_with(tasks[t], 64, 64);
		struct tuple pod = tuple_of("10.0.0.1", 40000, "10.96.0.1", 80);
		struct tuple node = tuple_of("192.0.2.1", 51000, "10.0.1.1", 8080);
		struct half_open server = half_of(2, SIDE_SERVER, node, rig_now(rig));
		rig_open(rig, server);
		rig_pane(rig);
		assert_int_equal(rig->labels[2].edge.client, name_id("192.0.2.1", 9));
		rig_alias_with(rig, alias_of(pod, node, rig_now(rig)));
		rig_pane(rig);
		assert_int_equal(rig->labels[2].edge.client, name_id("10.0.0.1", 8));
		assert_true(address_equal(&rig->labels[2].client.address, &pod.client));
		rig_close(rig, &server, rig_now(rig));
		rig_seconds(rig, 3);
		assert_true(address_equal(&rig->flows[0].canonical.client, &pod.client));
		assert_true(address_equal(&rig->flows[0].dialled, &pod.server));
		assert_int_equal(rig->flows[0].hops, 1);
		rig_free(rig);
	}
}

static void a_hairpin_through_the_clients_own_service_joins(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple dialled = tuple_of("10.0.0.1", 40000, "10.96.0.1", 80);
	struct tuple hairpin = tuple_of("10.0.0.254", 61000, "10.0.0.1", 8080);
	struct half_open client = half_of(1, SIDE_CLIENT, dialled, rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, hairpin, rig_now(rig));
	rig_open(rig, client);
	rig_open(rig, server);
	rig_alias_with(rig, alias_of(dialled, hairpin, rig_now(rig)));
	rig_panes(rig, 2);
	assert_labels_joined(rig);
	close_both(rig, &client, &server);
	rig_panes(rig, 2);
	const struct flow *flow = rig_joined_flow(rig);
	assert_true(address_equal(&flow->canonical.client, &flow->canonical.server));
	rig_free(rig);
}

static void a_mapping_over_ipv6_works_alike(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct tuple dialled = tuple_of("2001:db8::1", 40000, "fd00::1", 80);
	struct tuple mapped = tuple_of("2001:db8::1", 40000, "2001:db8:1::5", 8080);
	struct half_open client = half_of(1, SIDE_CLIENT, dialled, rig_now(rig));
	rig_open(rig, client);
	rig_open(rig, half_of(2, SIDE_SERVER, mapped, rig_now(rig)));
	rig_pane(rig);
	rig_alias_with(rig, alias_of(dialled, mapped, rig_now(rig)));
	rig_panes(rig, 2);
	assert_labels_joined(rig);
	rig_free(rig);
}

static void a_reused_port_goes_to_the_backend_of_its_own_time(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	uint64_t start = rig_now(rig);
	for (uint32_t i = 0; i < 20; i++) {
		uint64_t opened_ns = start + i * 10 * NS_PER_MS;
		struct tuple backend =
			tuple_of("10.0.0.1", 40000, i % 2 ? "10.0.1.1" : "10.0.1.2", 80);
		struct half_open client = half_of(1 + i, SIDE_CLIENT, step(0), opened_ns);
		struct half_open server = half_of(101 + i, SIDE_SERVER, backend, opened_ns + 1000);
		struct nat_alias alias = alias_of(step(0), backend, opened_ns + 500);
		rig_open(rig, client);
		rig_open(rig, server);
		rig_close(rig, &client, opened_ns + 5 * NS_PER_MS);
		rig_close(rig, &server, opened_ns + 5 * NS_PER_MS);
		rig_alias_with(rig, alias);
		alias.op = NAT_DELETE;
		alias.time_ns = opened_ns + 6 * NS_PER_MS;
		rig_alias_with(rig, alias);
	}
	rig_panes(rig, 3);
	assert_int_equal(rig->flows_count, 20);
	for (size_t i = 0; i < rig->flows_count; i++)
		assert_int_equal(rig->flows[i].client.pid + 100, rig->flows[i].server.pid);
	rig_free(rig);
}

static void a_mapping_leaves_when_it_is_neither_told_nor_deleted_anew(void **state)
{
	(void)state;
	struct rig *rig = rig_new_with(1, 64, 64);
	rig_alias_with(rig, alias_of(step(0), step(1), rig_now(rig)));
	rig_seconds(rig, 100);
	rig_alias_with(rig, alias_of(step(0), step(1), rig_now(rig)));
	rig_seconds(rig, 119);
	assert_int_equal(rig_stats(rig).aliases, 1);
	rig_seconds(rig, 2);
	assert_int_equal(rig_stats(rig).aliases, 0);
	rig_free(rig);
}

static void a_full_alias_table_loses_the_oldest(void **state)
{
	(void)state;
	struct rig *rig = rig_new_with(1, 64, 4);
	for (int hop = 0; hop < 5; hop++) {
		rig_alias_with(rig, alias_of(step(hop), step(hop + 1), rig_now(rig)));
		rig_pane(rig);
	}
	assert_int_equal(rig_stats(rig).aliases, 4);
	assert_int_equal(rig_stats(rig).evicted_aliases, 1);
	rig_open(rig, half_of(1, SIDE_CLIENT, step(0), rig_now(rig)));
	rig_open(rig, half_of(3, SIDE_CLIENT, step(4), rig_now(rig)));
	rig_panes(rig, 2);
	assert_int_equal(rig_stats(rig).hops, 1);
	rig_free(rig);
}

static void a_told_half_that_goes_on_is_amended_under_its_first_id(void **state)
{
	(void)state;
	struct rig *rig = rig_new();
	struct half_open client = half_of(1, SIDE_CLIENT, step(0), rig_now(rig));
	struct half_open server = half_of(2, SIDE_SERVER, step(1), rig_now(rig) + 1000);
	rig_open(rig, client);
	rig_close(rig, &client, rig_now(rig) + 2000);
	rig_seconds(rig, 5);
	assert_int_equal(rig->flows_count, 1);
	rig_alias_with(rig, alias_of(step(0), step(1), client.opened_ns));
	rig_open(rig, server);
	rig_close(rig, &server, client.opened_ns + 3000);
	rig_panes(rig, 3);
	assert_true(rig_joined_flow(rig)->amended);
	assert_int_equal(rig->flow_records, 2);
	rig_free(rig);
}

/* Panes until a guessed role was tried and its half, closed at once, is told as one-sided. */
static uint64_t panes_until_told(int hops)
{
	struct rig *rig = rig_new_with(1, 64, 64);
	struct half_open client = half_of(1, SIDE_CLIENT, step(0), rig_now(rig));
	client.flags = HALF_ROLE_GUESSED;
	for (int hop = 0; hop < hops; hop++)
		rig_alias_with(rig, alias_of(step(hop), step(hop + 1), client.opened_ns));
	rig_open(rig, client);
	rig_close(rig, &client, rig_now(rig));
	uint64_t first = rig->pane;
	while (rig->flows_count == 0)
		rig_pane(rig);
	uint64_t panes = rig->pane - first;
	rig_free(rig);
	return panes;
}

static void a_trial_lasts_as_long_however_many_hops_came_before(void **state)
{
	(void)state;
	uint64_t panes = panes_until_told(1);
	for (int hops = 2; hops <= 4; hops++)
		assert_int_equal(panes_until_told(hops), panes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_trial_lasts_as_long_however_many_hops_came_before),
		cmocka_unit_test(a_key_mapped_on_its_own_node_needs_no_hop),
		cmocka_unit_test(a_half_follows_chains_of_mappings_told_before_with_or_after_it),
		cmocka_unit_test(a_fifth_hop_is_not_taken),
		cmocka_unit_test(a_cycle_of_mappings_ends),
		cmocka_unit_test(masquerade_by_a_gateway_keeps_the_true_client),
		cmocka_unit_test(a_lone_server_half_names_the_client_behind_the_mapping),
		cmocka_unit_test(a_hairpin_through_the_clients_own_service_joins),
		cmocka_unit_test(a_mapping_over_ipv6_works_alike),
		cmocka_unit_test(a_reused_port_goes_to_the_backend_of_its_own_time),
		cmocka_unit_test(a_mapping_leaves_when_it_is_neither_told_nor_deleted_anew),
		cmocka_unit_test(a_full_alias_table_loses_the_oldest),
		cmocka_unit_test(a_told_half_that_goes_on_is_amended_under_its_first_id),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
