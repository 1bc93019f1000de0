/* Flows and rollups as the public schema has them, of which there are as many as connections and
 * edges: written straight to the wire (wire.h), without message trees. Edges and instances are
 * remembered as the wire has them, so most names are copied in one piece with their neighbours.
 *
 * Bytes returned are lent until the next call. Bound: 3 MB of remembered pieces if all are used,
 * and the largest record. One thread. */
#pragma once

#include <stddef.h>

#include "daemon/encode.h"

struct bulk;

struct bulk *bulk_new(void);
void bulk_free(struct bulk *bulk);

struct encoded bulk_flows(struct bulk *bulk, const struct output_number *number,
			  const struct flow *flows, size_t count, const struct names *names);
struct encoded bulk_rollups(struct bulk *bulk, const struct output_number *number,
			    const struct rollup *rollups, size_t count, const struct names *names);
