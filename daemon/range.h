/* A range of addresses as configuration names it (networks.ranges), and the record of
 * millrace.metadata that says so. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/address.h"

struct range {
	struct address address; /* nothing is set beyond the prefix */
	uint8_t prefix;		/* bits of its own family: 0..32 or 0..128 */
	const char *name;	/* empty: addresses in it go by themselves */
	const char *zone;	/* may be empty */
};

/* "10.0.0.0/8", "2001:db8::/32"; an address alone is a range of one. NULL, or why not. */
const char *range_parse(const char *cidr, struct range *range);

/* A Metadata, packed, which the caller frees; it holds at all times, as it was learnt at
 * observed_ns. Its id is that of the addresses, so another name takes the place of the former. */
uint8_t *range_pack(const struct range *range, uint64_t observed_ns, size_t *length);
