#include "bench/world/shop.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

enum {
	NODES = 20,
	ZONES = 3,
	GATEWAY = NODES, /* the node behind the 20 */
	REPLICAS_MAX = 4,
	REPLICA_STEP = 7, /* nodes between replicas: coprime to 20 and to 3, so zones differ */
	NODEPORT = 30080,
	NAME_MAX = 64,
	IMAGE_MAX = 96,
	CONNECTION_LIFE_MAX_S = 64, /* with lingering entries: sizes the world */
	SLOW_TIMES = 40,
};

static const char *const zones[ZONES] = {"zone-a", "zone-b", "zone-c"};

enum service_index {
	LOADGENERATOR,
	FRONTEND,
	AD,
	CART,
	CHECKOUT,
	CURRENCY,
	CATALOG,
	EMAIL,
	PAYMENT,
	RECOMMENDATION,
	SHIPPING,
	REDIS,
	SERVICES,
};

/* The last half of the replicas run `next` when it differs: a rollout under way. */
static const struct service {
	const char *name, *comm, *version, *next;
	uint16_t port;
	uint8_t replicas, node; /* of the first replica */
} services[SERVICES] = {
	[LOADGENERATOR] = {"loadgenerator", "locust", "v0.9.0", "v0.9.0", 0, 2, 0},
	[FRONTEND] = {"frontend", "frontend", "v0.9.0", "v0.9.1", 8080, 4, 1},
	[AD] = {"adservice", "java", "v0.9.0", "v0.9.0", 9555, 2, 2},
	[CART] = {"cartservice", "cartservice", "v0.9.0", "v0.9.1", 7070, 4, 5},
	[CHECKOUT] = {"checkoutservice", "checkoutservice", "v0.9.0", "v0.9.0", 5050, 3, 4},
	[CURRENCY] = {"currencyservice", "node", "v0.9.0", "v0.9.0", 7000, 3, 6},
	[CATALOG] = {"productcatalogservice", "server", "v0.9.0", "v0.9.0", 3550, 3, 7},
	[EMAIL] = {"emailservice", "python", "v0.9.0", "v0.9.0", 8080, 2, 8},
	[PAYMENT] = {"paymentservice", "node", "v0.9.0", "v0.9.0", 50051, 2, 9},
	[RECOMMENDATION] = {"recommendationservice", "python", "v0.9.0", "v0.9.0", 8080, 2, 10},
	[SHIPPING] = {"shippingservice", "shippingservice", "v0.9.0", "v0.9.0", 50051, 2, 11},
	[REDIS] = {"redis-cart", "redis-server", "7.2.4", "7.2.4", 6379, 2, 13},
};

/* weight: share of the connections; long_percent of them last seconds. */
static const struct call {
	uint8_t client, server, weight, long_percent;
} calls[] = {
	{LOADGENERATOR, FRONTEND, 20, 5},  {FRONTEND, AD, 6, 10},
	{FRONTEND, CART, 14, 10},	   {FRONTEND, CHECKOUT, 5, 10},
	{FRONTEND, CURRENCY, 10, 20},	   {FRONTEND, CATALOG, 12, 10},
	{FRONTEND, RECOMMENDATION, 6, 10}, {FRONTEND, SHIPPING, 4, 10},
	{CHECKOUT, CART, 3, 10},	   {CHECKOUT, CURRENCY, 3, 10},
	{CHECKOUT, EMAIL, 2, 0},	   {CHECKOUT, PAYMENT, 2, 0},
	{CHECKOUT, CATALOG, 3, 10},	   {CHECKOUT, SHIPPING, 2, 10},
	{RECOMMENDATION, CATALOG, 4, 20},  {CART, REDIS, 4, 60},
};

enum { CALLS = sizeof(calls) / sizeof(calls[0]) };

static const char *const fault_names[SHOP_FAULTS] = {"none", "cart-refused", "redis-slow",
						     "checkout-reset"};

struct replica {
	uint32_t program;
	uint8_t node;
	bool next; /* runs the service's next version */
	char pod[NAME_MAX], image[IMAGE_MAX], exe[NAME_MAX];
};

struct shop {
	struct shop_options options;
	struct world *world;
	struct replica replicas[SERVICES][REPLICAS_MAX];
	char node_names[NODES + 1][NAME_MAX];
	uint64_t random, ran_ns;
	uint64_t owed; /* connections times NS_PER_S that the rate has not yet given */
	uint32_t weights;
	enum shop_fault fault;
	uint64_t fault_ns, fault_connections;
};

static uint64_t draw(struct shop *shop, uint64_t below)
{
	shop->random += 0x9e3779b97f4a7c15ULL; /* splitmix64's step */
	return hash_mix(shop->random) % below;
}

static uint64_t between(struct shop *shop, uint64_t low, uint64_t high)
{
	return low + draw(shop, high - low + 1);
}

static const char *zone_of(uint32_t node)
{
	return zones[node % ZONES];
}

static void add_nodes(struct shop *shop)
{
	for (uint32_t i = 0; i <= NODES; i++) {
		const char *format = i == GATEWAY ? "gateway-%02u" : "node-%02u";

		snprintf(shop->node_names[i], NAME_MAX, format, i);
		world_node_add(shop->world,
			       &(struct world_node){.name = shop->node_names[i],
						    .zone = zone_of(i),
						    .region = "region-1",
						    .role = i == GATEWAY ? "gateway" : "worker",
						    .address = address_v4(0x0a00000a + i)});
	}
}

static void add_replica(struct shop *shop, uint32_t index, uint32_t number)
{
	const struct service *service = &services[index];
	struct replica *replica = &shop->replicas[index][number];
	uint32_t set = (uint32_t)hash_mix(index + 1);

	replica->node = (uint8_t)((service->node + number * REPLICA_STEP) % NODES);
	replica->next =
		number >= service->replicas / 2U && strcmp(service->version, service->next) != 0;
	snprintf(replica->pod, NAME_MAX, "%s-%08x-%u", service->name, set, number);
	snprintf(replica->image, IMAGE_MAX, "registry.example/shop/%s:%s", service->name,
		 replica->next ? service->next : service->version);
	snprintf(replica->exe, NAME_MAX, "/usr/bin/%s", service->comm);
	replica->program = world_program_add(
		shop->world,
		&(struct world_program){.node = replica->node,
					.address = address_v4(0x0af40000 + replica->node * 256U +
							      2 + index * REPLICAS_MAX + number),
					.workload = service->name,
					.namespace = "shop",
					.pod = replica->pod,
					.container = service->name,
					.image = replica->image,
					.comm = service->comm,
					.exe = replica->exe});
}

struct shop *shop_new(const struct shop_options *options)
{
	struct shop *shop = memory_zeroed(1, sizeof(*shop));

	shop->options = *options;
	shop->random = options->seed;
	shop->ran_ns = options->start_ns;
	shop->world = world_new(&(struct world_options){
		.seed = options->seed,
		.start_ns = options->start_ns,
		.nodes_max = NODES + 1,
		.programs_max = SERVICES * REPLICAS_MAX,
		.edges_max = CALLS,
		.connections_max = options->rate * CONNECTION_LIFE_MAX_S + 1,
		.batch = options->batch,
		.context = options->context});
	add_nodes(shop);
	for (uint32_t i = 0; i < SERVICES; i++)
		for (uint32_t n = 0; n < services[i].replicas; n++)
			add_replica(shop, i, n);
	for (size_t i = 0; i < CALLS; i++)
		shop->weights += calls[i].weight;
	return shop;
}

void shop_free(struct shop *shop)
{
	if (!shop)
		return;
	world_free(shop->world);
	free(shop);
}

struct world *shop_world(struct shop *shop)
{
	return shop->world;
}

static uint32_t pick_call(struct shop *shop)
{
	uint64_t at = draw(shop, shop->weights);
	uint32_t call = 0;

	while (at >= calls[call].weight)
		at -= calls[call++].weight;
	return call;
}

static enum world_nat pick_nat(struct shop *shop, const struct call *call)
{
	uint64_t percent = draw(shop, 100);

	if (call->client == LOADGENERATOR)
		return percent < 40 ? WORLD_NODEPORT : WORLD_DNAT;
	if (percent < 8)
		return WORLD_DIRECT; /* a headless service */
	return percent < 20 ? WORLD_MASQUERADE : WORLD_DNAT;
}

static uint32_t pick_rtt_us(struct shop *shop, uint32_t client_node, uint32_t server_node)
{
	if (client_node == server_node)
		return (uint32_t)between(shop, 40, 80);
	if (zone_of(client_node) == zone_of(server_node))
		return (uint32_t)between(shop, 180, 320);
	return (uint32_t)between(shop, 700, 1300);
}

static void pick_course(struct shop *shop, const struct call *call,
			struct world_connection *connection)
{
	bool is_long = draw(shop, 100) < call->long_percent;

	if (is_long) {
		connection->life_ns = between(shop, 4, 55) * NS_PER_S;
		connection->tx_bytes = between(shop, 20000, 400000);
		connection->rx_bytes = between(shop, 50000, 2000000);
	} else {
		connection->life_ns = between(shop, 3000, 250000) * NS_PER_US;
		connection->tx_bytes = between(shop, 200, 2000);
		connection->rx_bytes = between(shop, 400, 30000);
	}
}

/* When a kernel sees the fault for the first time; the clients' and servers' clocks are one. */
static void note_fault(struct shop *shop, uint64_t event_ns)
{
	shop->fault_connections++;
	if (!shop->fault_ns || event_ns < shop->fault_ns)
		shop->fault_ns = event_ns;
}

static void apply_fault(struct shop *shop, const struct call *call, const struct replica *server,
			struct world_connection *connection)
{
	uint64_t answered_ns = connection->opened_ns + connection->connect_ns;

	switch (shop->fault) {
	case SHOP_CART_REFUSED:
		if (call->server != CART || !server->next || zone_of(server->node) != zones[1])
			return;
		connection->reason = CLOSE_REFUSED;
		note_fault(shop, answered_ns);
		break;
	case SHOP_REDIS_SLOW:
		if (call->server != REDIS)
			return;
		connection->srtt_us *= SLOW_TIMES;
		connection->connect_ns *= SLOW_TIMES;
		note_fault(shop, connection->opened_ns + connection->connect_ns);
		break;
	case SHOP_CHECKOUT_RESET:
		if (call->server != CHECKOUT || draw(shop, 2) == 0)
			return;
		connection->reason = CLOSE_RESET;
		note_fault(shop, answered_ns + connection->life_ns);
		break;
	case SHOP_HEALTHY:
	case SHOP_FAULTS:
		break;
	}
}

static void open_one(struct shop *shop, uint64_t opened_ns)
{
	uint32_t edge = pick_call(shop);
	const struct call *call = &calls[edge];
	const struct replica *client =
		&shop->replicas[call->client][draw(shop, services[call->client].replicas)];
	const struct replica *server =
		&shop->replicas[call->server][draw(shop, services[call->server].replicas)];
	struct world_connection connection = {
		.client = client->program,
		.server = server->program,
		.edge = edge,
		.nat = pick_nat(shop, call),
		.gateway = GATEWAY,
		.dialled = address_v4(0x0a600001 + call->server),
		.dialled_port = services[call->server].port,
		.server_port = services[call->server].port,
		.opened_ns = opened_ns,
		.srtt_us = pick_rtt_us(shop, client->node, server->node),
		.retransmits_ppm = zone_of(client->node) == zone_of(server->node) ? 200 : 1000,
		.reason = CLOSE_NORMAL,
	};

	if (connection.nat == WORLD_NODEPORT)
		connection.dialled_port = NODEPORT;
	connection.connect_ns = (connection.srtt_us + between(shop, 5, 60)) * NS_PER_US;
	pick_course(shop, call, &connection);
	apply_fault(shop, call, server, &connection);
	world_open(shop->world, &connection);
}

void shop_run(struct shop *shop, uint64_t now_ns)
{
	while (shop->ran_ns + WORLD_TICK_NS <= now_ns) {
		shop->owed += shop->options.rate * WORLD_TICK_NS;
		for (; shop->owed >= NS_PER_S; shop->owed -= NS_PER_S)
			open_one(shop, shop->ran_ns + draw(shop, WORLD_TICK_NS));
		shop->ran_ns += WORLD_TICK_NS;
		world_advance(shop->world, shop->ran_ns);
	}
}

void shop_set_fault(struct shop *shop, enum shop_fault fault)
{
	shop->fault = fault;
}

uint64_t shop_fault_ns(const struct shop *shop)
{
	return shop->fault_ns;
}

uint64_t shop_fault_connections(const struct shop *shop)
{
	return shop->fault_connections;
}

enum shop_fault shop_fault_by_name(const char *name)
{
	enum shop_fault fault = 0;

	while (fault < SHOP_FAULTS && strcmp(name, fault_names[fault]) != 0)
		fault++;
	return fault;
}

const char *shop_fault_name(enum shop_fault fault)
{
	return fault_names[fault];
}

size_t shop_edges(void)
{
	return CALLS;
}

struct shop_edge shop_edge(size_t edge)
{
	const struct call *call = &calls[edge];

	assert(edge < CALLS);
	return (struct shop_edge){.client = services[call->client].name,
				  .server = services[call->server].name,
				  .port = services[call->server].port};
}
