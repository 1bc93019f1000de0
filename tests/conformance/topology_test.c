/* Every way in which NAT stands between a client and a server: which halves meet, under which
 * names, with what the client dialled, and each byte once. Each topology runs with its NAT told
 * before and after the sockets, by one node or by two, for short and for long connections, with
 * agents at both ends or at one. The count over all is printed as precision and recall. */
#include "tests/conformance/run.h"

enum {
	CLIENT_NODE,
	SERVER_NODE,
	THIRD_NODE,
	GATEWAY_NODE,
	NODES,
	CONNECTIONS = 4, /* at once, each by ports of its own */
	FIRST_SHIFTED_PORT = 40000,
	BYTES = 1000,
};

struct translation {
	uint32_t node;
	const char *from, *to, *reply_from, *reply_to;
};

struct topology {
	const char *name;
	const char *client, *dialled;	    /* as the client's socket sees them */
	const char *server, *server_peer;   /* as the server's socket does */
	bool one_node;			    /* the server is on the client's node too */
	struct translation translations[2]; /* in the order of the packet's way */
};

static const struct topology topologies[] = {
	{.name = "direct",
	 .client = "10.0.0.1:40000",
	 .dialled = "10.0.0.2:80",
	 .server = "10.0.0.2:80",
	 .server_peer = "10.0.0.1:40000"},
	{.name = "service address translated on the client's node",
	 .client = "10.244.1.5:40000",
	 .dialled = "10.96.0.1:80",
	 .server = "10.244.2.5:8080",
	 .server_peer = "10.244.1.5:40000",
	 .translations = {{CLIENT_NODE, "10.244.1.5:40000", "10.96.0.1:80", "10.244.2.5:8080",
			   "10.244.1.5:40000"}}},
	{.name = "service address translated on a third node",
	 .client = "10.0.0.1:40000",
	 .dialled = "10.96.0.1:80",
	 .server = "10.244.2.5:8080",
	 .server_peer = "10.0.0.1:40000",
	 .translations = {{THIRD_NODE, "10.0.0.1:40000", "10.96.0.1:80", "10.244.2.5:8080",
			   "10.0.0.1:40000"}}},
	{.name = "masqueraded on the client's node",
	 .client = "10.244.1.5:40000",
	 .dialled = "10.0.0.2:80",
	 .server = "10.0.0.2:80",
	 .server_peer = "10.0.0.1:61000",
	 .translations = {{CLIENT_NODE, "10.244.1.5:40000", "10.0.0.2:80", "10.0.0.2:80",
			   "10.0.0.1:61000"}}},
	{.name = "source translated by a gateway",
	 .client = "10.244.1.5:40000",
	 .dialled = "10.0.0.2:80",
	 .server = "10.0.0.2:80",
	 .server_peer = "10.0.0.4:61000",
	 .translations = {{GATEWAY_NODE, "10.244.1.5:40000", "10.0.0.2:80", "10.0.0.2:80",
			   "10.0.0.4:61000"}}},
	{.name = "node port on a third node, masqueraded there",
	 .client = "10.0.0.1:40000",
	 .dialled = "10.0.0.3:30080",
	 .server = "10.244.2.5:8080",
	 .server_peer = "10.0.0.3:61000",
	 .translations = {{THIRD_NODE, "10.0.0.1:40000", "10.0.0.3:30080", "10.244.2.5:8080",
			   "10.0.0.3:61000"}}},
	{.name = "node port on the client's own node",
	 .client = "10.0.0.1:40000",
	 .dialled = "10.0.0.1:30080",
	 .server = "10.244.2.5:8080",
	 .server_peer = "10.0.0.1:61000",
	 .translations = {{CLIENT_NODE, "10.0.0.1:40000", "10.0.0.1:30080", "10.244.2.5:8080",
			   "10.0.0.1:61000"}}},
	{.name = "node port on the server's node",
	 .client = "10.0.0.1:40000",
	 .dialled = "10.0.0.2:30080",
	 .server = "10.244.2.5:8080",
	 .server_peer = "10.244.2.1:61000",
	 .translations = {{SERVER_NODE, "10.0.0.1:40000", "10.0.0.2:30080", "10.244.2.5:8080",
			   "10.244.2.1:61000"}}},
	{.name = "hairpin: a service address to a pod on the same node",
	 .one_node = true,
	 .client = "10.244.1.5:40000",
	 .dialled = "10.96.0.1:80",
	 .server = "10.244.1.6:8080",
	 .server_peer = "10.244.1.5:40000",
	 .translations = {{CLIENT_NODE, "10.244.1.5:40000", "10.96.0.1:80", "10.244.1.6:8080",
			   "10.244.1.5:40000"}}},
	{.name = "hairpin to itself, masqueraded",
	 .one_node = true,
	 .client = "10.244.1.5:40000",
	 .dialled = "10.96.0.1:80",
	 .server = "10.244.1.5:8080",
	 .server_peer = "10.244.1.1:61000",
	 .translations = {{CLIENT_NODE, "10.244.1.5:40000", "10.96.0.1:80", "10.244.1.5:8080",
			   "10.244.1.1:61000"}}},
	{.name = "NAT gateway to another site",
	 .client = "10.0.0.1:40000",
	 .dialled = "198.51.100.7:443",
	 .server = "198.51.100.7:443",
	 .server_peer = "203.0.113.1:61000",
	 .translations = {{GATEWAY_NODE, "10.0.0.1:40000", "198.51.100.7:443", "198.51.100.7:443",
			   "203.0.113.1:61000"}}},
	{.name = "destination on the client's node, then source on a gateway",
	 .client = "10.244.1.5:40000",
	 .dialled = "10.96.0.1:80",
	 .server = "10.0.0.2:8080",
	 .server_peer = "10.0.0.4:61000",
	 .translations = {{CLIENT_NODE, "10.244.1.5:40000", "10.96.0.1:80", "10.0.0.2:8080",
			   "10.244.1.5:40000"},
			  {GATEWAY_NODE, "10.244.1.5:40000", "10.0.0.2:8080", "10.0.0.2:8080",
			   "10.0.0.4:61000"}}},
	{.name = "service address to node port to pod",
	 .client = "10.0.0.1:40000",
	 .dialled = "10.96.0.1:80",
	 .server = "10.244.2.5:8080",
	 .server_peer = "10.0.0.1:40000",
	 .translations = {{CLIENT_NODE, "10.0.0.1:40000", "10.96.0.1:80", "10.0.0.2:30080",
			   "10.0.0.1:40000"},
			  {SERVER_NODE, "10.0.0.1:40000", "10.0.0.2:30080", "10.244.2.5:8080",
			   "10.0.0.1:40000"}}},
	{.name = "host network at the client",
	 .client = "10.0.0.1:40000",
	 .dialled = "10.96.0.1:80",
	 .server = "10.244.2.5:8080",
	 .server_peer = "10.244.1.0:61000",
	 .translations = {{CLIENT_NODE, "10.0.0.1:40000", "10.96.0.1:80", "10.244.2.5:8080",
			   "10.244.1.0:61000"}}},
	{.name = "host network at the server",
	 .client = "10.244.1.5:40000",
	 .dialled = "10.96.0.1:80",
	 .server = "10.0.0.2:9100",
	 .server_peer = "10.0.0.1:61000",
	 .translations = {{CLIENT_NODE, "10.244.1.5:40000", "10.96.0.1:80", "10.0.0.2:9100",
			   "10.0.0.1:61000"}}},
	{.name = "host port to container",
	 .client = "10.0.0.1:40000",
	 .dialled = "10.0.0.2:8080",
	 .server = "172.17.0.2:80",
	 .server_peer = "10.0.0.1:40000",
	 .translations = {{SERVER_NODE, "10.0.0.1:40000", "10.0.0.2:8080", "172.17.0.2:80",
			   "10.0.0.1:40000"}}},
	{.name = "v4-mapped socket against an IPv4 one",
	 .client = "10.0.0.1:40000",
	 .dialled = "10.96.0.1:80",
	 .server = "[::ffff:10.244.2.5]:8080",
	 .server_peer = "[::ffff:10.0.0.1]:40000",
	 .translations = {{THIRD_NODE, "10.0.0.1:40000", "10.96.0.1:80", "10.244.2.5:8080",
			   "10.0.0.1:40000"}}},
	{.name = "IPv6 service address",
	 .client = "[fd00:1::5]:40000",
	 .dialled = "[fd00:96::1]:80",
	 .server = "[fd00:2::5]:8080",
	 .server_peer = "[fd00:1::5]:40000",
	 .translations = {{THIRD_NODE, "[fd00:1::5]:40000", "[fd00:96::1]:80", "[fd00:2::5]:8080",
			   "[fd00:1::5]:40000"}}},
};

enum { TOPOLOGIES = sizeof(topologies) / sizeof(topologies[0]) };

enum agents { AGENTS_BOTH, AGENTS_CLIENT, AGENTS_SERVER, AGENTS_CHOICES };

/* NAT is told so long after the sockets were, though made before them, unless an agent found it in
 * a dump of the table. */
static const int told_ms[] = {-20, 20, 400, 1500};

enum { TIMINGS = sizeof(told_ms) / sizeof(told_ms[0]) };

struct variant {
	const struct topology *topology;
	enum agents agents;
	int told_ms;
	bool twice;  /* another node tells the same translations */
	bool untold; /* nobody tells of the translations: a fault that the count must find */
	bool brief;  /* closed 2 ms after it was opened; else 4 s, and NAT was dumped */
};

/* --- the log of a variant --- */

/* The place of connection k: ports from FIRST_SHIFTED_PORT on are its own. */
static const char *shifted(const char *text, uint32_t k)
{
	struct endpoint here = place(text);

	if (here.port >= FIRST_SHIFTED_PORT)
		here.port = (uint16_t)(here.port + k);
	return place_text(&here.address, here.port);
}

static bool has_agent(const struct variant *variant, uint32_t node)
{
	if (variant->topology->one_node && node == SERVER_NODE)
		return false; /* its only node is the client's */
	if (variant->agents == AGENTS_CLIENT && node == SERVER_NODE)
		return false;
	return variant->agents != AGENTS_SERVER || node != CLIENT_NODE ||
	       variant->topology->one_node;
}

static void tell_translations(struct log *log, const struct variant *variant, uint32_t k,
			      uint64_t at_ns)
{
	for (int i = 0; i < 2 && variant->topology->translations[i].from; i++) {
		const struct translation *t = &variant->topology->translations[i];

		for (int again = 0; again <= variant->twice; again++) {
			uint32_t node = again ? (t->node + 1) % NODES : t->node;

			if (!has_agent(variant, node) || variant->untold)
				continue;
			log_nat(log, at_ns + MS(again), node, shifted(t->from, k),
				shifted(t->to, k), shifted(t->reply_from, k),
				shifted(t->reply_to, k));
			if (variant->brief && variant->told_ms > 0)
				log_tell_later(log, MS(variant->told_ms));
		}
	}
}

static void tell_traffic(struct log *log, const struct variant *variant, uint32_t socket,
			 bool client, uint64_t at_ns, uint64_t bytes)
{
	uint64_t tx = client ? bytes : 7, rx = client ? 7 : bytes;

	if (variant->brief) {
		log_send_untold(log, socket, tx, rx);
		log_close(log, at_ns + MS(2), socket, CLOSE_NORMAL);
		return;
	}
	log_send(log, at_ns + MS(100), socket, tx / 2, rx / 2);
	log_send(log, at_ns + SEC(3), socket, tx - tx / 2, rx - rx / 2);
	log_close(log, at_ns + SEC(4), socket, CLOSE_NORMAL);
}

static void tell_connection(struct log *log, const struct variant *variant, uint32_t k)
{
	const struct topology *topology = variant->topology;
	uint64_t at_ns = SEC(2) + MS(3 * k);
	uint32_t server_node = topology->one_node ? CLIENT_NODE : SERVER_NODE;

	if (variant->agents != AGENTS_SERVER) {
		uint32_t socket = log_connect(log, at_ns, CLIENT_NODE, shifted(topology->client, k),
					      shifted(topology->dialled, k));

		tell_traffic(log, variant, socket, true, at_ns, BYTES + k);
	}
	if (variant->agents != AGENTS_CLIENT) {
		uint32_t socket = log_open_as(
			log, at_ns, server_node, BATCH_ROLE_SERVER, shifted(topology->server, k),
			shifted(topology->server_peer, k), topology->one_node ? 200 : LOG_PID);

		tell_traffic(log, variant, socket, false, at_ns, BYTES + k);
	}
	tell_translations(log, variant, k,
			  variant->brief && variant->told_ms > 0
				  ? at_ns - MS(5)
				  : (uint64_t)((int64_t)at_ns + variant->told_ms * 1000000));
}

static struct log *variant_log(const struct variant *variant)
{
	static const char *const names[NODES] = {"client-node", "server-node", "third-node",
						 "gateway-node"};
	struct log *log = log_new(4);

	log->flush_ns = SEC(14);
	for (uint32_t i = 0; i < NODES; i++)
		log_node(log, names[i], i == CLIENT_NODE ? "shop" : i == SERVER_NODE ? "web" : "-");
	if (variant->topology->one_node)
		log_process(log, 0, CLIENT_NODE, 200, "web", 0);
	for (uint32_t k = 0; k < CONNECTIONS; k++)
		tell_connection(log, variant, k);
	log_seal(log);
	return log;
}

/* --- the verdict --- */

struct score {
	uint32_t expected; /* pairs of halves */
	uint32_t joined;   /* flows that claim to be pairs */
	uint32_t right;	   /* of these: the right two halves */
	uint32_t wrong;	   /* variants in which anything was not as it should be */
};

static uint32_t trouble(const struct variant *variant, const char *what, const char *got)
{
	if (variant->untold)
		return 1;
	print_error("%s; agents %s, NAT told %d ms after the sockets%s, %s: %s: %s\n",
		    variant->topology->name,
		    variant->agents == AGENTS_BOTH     ? "at both ends"
		    : variant->agents == AGENTS_CLIENT ? "at the client"
						       : "at the server",
		    variant->told_ms, variant->twice ? " by two nodes" : "",
		    variant->brief ? "brief" : "long", what, got);
	return 1;
}

static uint32_t same_place(const struct variant *variant, const char *what,
			   const struct address *address, uint16_t port, const char *expected)
{
	struct endpoint right = place(expected);

	if (address_equal(address, &right.address) && port == right.port)
		return 0;
	return trouble(variant, what, place_text(address, port));
}

/* Whether the translations hide the client from the server's view and nobody tells of them. */
static bool translations_are_told(const struct variant *variant)
{
	for (int i = 0; i < 2 && variant->topology->translations[i].from; i++)
		if (!has_agent(variant, variant->topology->translations[i].node) &&
		    !(variant->twice &&
		      has_agent(variant, (variant->topology->translations[i].node + 1) % NODES)))
			return false;
	return true;
}

static uint32_t check_places(const struct variant *variant, const struct flow *flow, uint32_t k)
{
	const struct topology *topology = variant->topology;
	bool told = variant->agents == AGENTS_BOTH || translations_are_told(variant);
	uint32_t wrong = 0;

	if (variant->agents != AGENTS_SERVER || told)
		wrong += same_place(variant, "client", &flow->canonical.client,
				    flow->canonical.client_port, shifted(topology->client, k));
	if (variant->agents != AGENTS_CLIENT || told)
		wrong += same_place(variant, "server", &flow->canonical.server,
				    flow->canonical.server_port, shifted(topology->server, k));
	if (variant->agents != AGENTS_CLIENT)
		wrong += same_place(variant, "client on the wire", &flow->wire.client,
				    flow->wire.client_port, shifted(topology->server_peer, k));
	if (variant->agents != AGENTS_SERVER)
		wrong += same_place(variant, "dialled", &flow->dialled, flow->dialled_port,
				    shifted(topology->dialled, k));
	return wrong;
}

static uint32_t check_pair(const struct variant *variant, const struct run_flow *seen, uint32_t k,
			   struct score *score)
{
	const struct flow *flow = &seen->flow;
	uint64_t bytes = BYTES + k;
	bool both = variant->agents == AGENTS_BOTH;
	bool right = flow->client.total.tx_bytes == bytes && flow->server.total.rx_bytes == bytes &&
		     !strcmp(seen->edge_client, "shop") && !strcmp(seen->edge_server, "web");

	score->joined += flow->joined;
	score->right += flow->joined && right;
	if (both && (!flow->joined || !right))
		return trouble(variant, "not joined, but", seen->edge_server);
	if (!both && flow->joined)
		return trouble(variant, "joined", seen->edge_server);
	return 0;
}

static uint32_t check_sums(const struct variant *variant, const struct run *run)
{
	int64_t expected = CONNECTIONS * BYTES + CONNECTIONS * (CONNECTIONS - 1) / 2;
	enum counter column = variant->agents == AGENTS_SERVER ? COUNTER_SERVER_TX_BYTES
							       : COUNTER_CLIENT_TX_BYTES;
	const char *client = variant->agents == AGENTS_SERVER ? NULL : "shop";
	const char *server = variant->agents == AGENTS_CLIENT ? NULL : "web";
	uint32_t wrong = 0;
	char text[64];

	for (enum scope scope = SCOPE_EDGE; scope < SCOPES; scope++) {
		int64_t edge = run_sum(run, scope, 10000, client, server, COUNTER_TX_BYTES);
		int64_t all = run_sum(run, scope, 10000, NULL, NULL, COUNTER_TX_BYTES);
		int64_t view = run_sum(run, scope, 10000, client, server, column);
		int64_t opened = run_sum(run, scope, 10000, client, server, COUNTER_OPENED);

		snprintf(text, sizeof(text), "%lld of %lld, %lld seen, %lld opened",
			 (long long)edge, (long long)all, (long long)view, (long long)opened);
		if (edge != expected || all != expected || view != expected ||
		    opened != CONNECTIONS)
			wrong += trouble(variant, "bytes of the edge", text);
	}
	return wrong;
}

static const struct run_flow *find_flow(const struct variant *variant, const struct run *run,
					uint32_t k)
{
	uint64_t bytes = BYTES + k;

	for (size_t i = 0; i < run->flows_count; i++) {
		const struct run_flow *seen = &run->flows[i];
		bool is = variant->agents == AGENTS_SERVER
				  ? seen->flow.server.total.rx_bytes == bytes
				  : seen->flow.client.total.tx_bytes == bytes;

		if (is && !seen->replaced)
			return seen;
	}
	return NULL;
}

static void run_variant(const struct variant *variant, struct score *score)
{
	struct log *log = variant_log(variant);
	struct run *run = run_with(log, &(struct run_options){.unprinted = true});
	uint32_t wrong = 0;

	if (run_count_flows(run, NULL, NULL) != CONNECTIONS)
		wrong += trouble(variant, "flows", "another number than connections");
	for (uint32_t k = 0; k < CONNECTIONS; k++) {
		const struct run_flow *flow = find_flow(variant, run, k);

		score->expected += variant->agents == AGENTS_BOTH;
		wrong += flow ? check_pair(variant, flow, k, score) +
					 check_places(variant, &flow->flow, k)
			      : trouble(variant, "flow", "none");
	}
	wrong += check_sums(variant, run);
	score->wrong += wrong != 0;
	run_free(run);
	log_free(log);
}

static struct score run_topologies(enum agents agents)
{
	struct score score = {0};

	for (uint32_t i = 0; i < TOPOLOGIES * TIMINGS * 4; i++) {
		struct variant variant = {.topology = &topologies[i / 4 / TIMINGS],
					  .agents = agents,
					  .told_ms = told_ms[i / 4 % TIMINGS],
					  .twice = i & 1,
					  .brief = i & 2};

		/* One node only: both ends or none have its agent. */
		if (variant.topology->one_node && agents != AGENTS_BOTH)
			continue;
		run_variant(&variant, &score);
	}
	return score;
}

static void both_ends_meet_through_every_kind_of_nat(void **state)
{
	struct score score = run_topologies(AGENTS_BOTH);

	(void)state;
	print_message("%d topologies, %u connections: precision %.3f, recall %.3f\n", TOPOLOGIES,
		      score.expected, score.joined ? (double)score.right / score.joined : 0.0,
		      (double)score.right / score.expected);
	assert_int_equal(score.right, score.expected);
	assert_int_equal(score.joined, score.expected);
	assert_int_equal(score.wrong, 0);
}

static void a_client_without_a_peer_is_counted_once_through_every_kind_of_nat(void **state)
{
	(void)state;
	assert_int_equal(run_topologies(AGENTS_CLIENT).wrong, 0);
}

static void a_server_without_a_peer_is_counted_once_through_every_kind_of_nat(void **state)
{
	(void)state;
	assert_int_equal(run_topologies(AGENTS_SERVER).wrong, 0);
}

static void the_count_finds_ends_that_did_not_meet(void **state)
{
	struct score score = {0};

	(void)state;
	for (uint32_t i = 1; i < TOPOLOGIES; i++)
		run_variant(&(struct variant){.topology = &topologies[i], .untold = true}, &score);
	assert_int_equal(score.right, 0);
	assert_int_equal(score.joined, 0);
	assert_int_equal(score.wrong, TOPOLOGIES - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_meet_through_every_kind_of_nat),
		cmocka_unit_test(a_client_without_a_peer_is_counted_once_through_every_kind_of_nat),
		cmocka_unit_test(a_server_without_a_peer_is_counted_once_through_every_kind_of_nat),
		cmocka_unit_test(the_count_finds_ends_that_did_not_meet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
