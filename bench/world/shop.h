/* The simulated shop: the call graph of Google's Online Boutique (microservices-demo) in 3 zones on
 * 20 nodes and a gateway, each service with 2 to 4 replicas behind a virtual address. Connections
 * come at an even rate, most of them short, some for up to a minute; round trips grow with the
 * distance of the zones. One of three faults can be switched on and off.
 *
 * A function of its seed and of the calls. Bounded by the world it makes. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/world/world.h"

enum shop_fault {
	SHOP_HEALTHY,
	SHOP_CART_REFUSED,   /* cartservice v0.9.1 refuses in zone b */
	SHOP_REDIS_SLOW,     /* redis-cart answers 40 times later */
	SHOP_CHECKOUT_RESET, /* every other connection to checkoutservice is reset */
	SHOP_FAULTS,
};

struct shop;

struct shop_options {
	uint64_t seed, start_ns;
	uint32_t rate; /* connections a second, over all edges */
	void (*batch)(void *context, const char *node, const struct batch_bytes *bytes);
	void *context;
};

struct shop_edge {
	const char *client, *server;
	uint16_t port;
};

struct shop *shop_new(const struct shop_options *options);
void shop_free(struct shop *shop);
struct world *shop_world(struct shop *shop); /* lent */

/* Opens what comes between the ticks done and now_ns, and advances the world to now_ns. */
void shop_run(struct shop *shop, uint64_t now_ns);

/* From the next tick on. */
void shop_set_fault(struct shop *shop, enum shop_fault fault);
/* When the first event of a fault is seen by a kernel (a refusal, a reset, a slow handshake), and
 * how many connections were hit; 0 before. Known as soon as it is certain, up to a life before. */
uint64_t shop_fault_ns(const struct shop *shop);
uint64_t shop_fault_connections(const struct shop *shop);
/* SHOP_FAULTS if there is none of that name. */
enum shop_fault shop_fault_by_name(const char *name);
const char *shop_fault_name(enum shop_fault fault);

size_t shop_edges(void);
struct shop_edge shop_edge(size_t edge);
