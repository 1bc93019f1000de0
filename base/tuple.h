/* A connection's five values, seen from its client: who opened it, to where.
 * scope separates networks whose addresses overlap; 0 is the one shared network. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"

enum protocol { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };

struct tuple {
	struct address client;
	struct address server;
	uint16_t client_port;
	uint16_t server_port;
	uint8_t protocol;
	uint8_t pad[3]; /* zero: tuples are hashed and compared as bytes */
	uint32_t scope;
};

_Static_assert(sizeof(struct tuple) == 44, "a tuple has no hidden padding");

uint64_t tuple_hash(const struct tuple *tuple);

static inline bool tuple_equal(const struct tuple *a, const struct tuple *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}
