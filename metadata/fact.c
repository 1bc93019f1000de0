#include "metadata/fact.h"

#include <string.h>

/* Scope 0 of multicast is reserved (RFC 4291, section 2.7): no node sends to it. */
static const uint8_t prefix[8] = {0xff};

struct address fact_container(uint64_t id)
{
	struct address address;
	memcpy(address.bytes, prefix, sizeof(prefix));
	memcpy(address.bytes + sizeof(prefix), &id, sizeof(id));
	return address;
}

uint64_t fact_container_id(const struct address *address)
{
	uint64_t id;
	if (memcmp(address->bytes, prefix, sizeof(prefix)) != 0)
		return 0;
	memcpy(&id, address->bytes + sizeof(prefix), sizeof(id));
	return id;
}
