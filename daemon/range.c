#include "daemon/range.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "millrace/v1/metadata.pb-c.h"

enum { V4_BYTES = 4, V6_BYTES = 16, PREFIX_DIGITS = 3 };

static unsigned bits_of(const struct address *address)
{
	return address_is_v4(address) ? 8 * V4_BYTES : 8 * V6_BYTES;
}

static const uint8_t *own_bytes(const struct address *address)
{
	return address->bytes + (address_is_v4(address) ? V6_BYTES - V4_BYTES : 0);
}

static const char *prefix_parse(const char *text, struct range *range)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long prefix = strtoul(text, NULL, 10);

	if (!digits || digits > PREFIX_DIGITS || text[digits] || prefix > bits_of(&range->address))
		return "the prefix is a number from 0 to 32, or to 128 of IPv6";
	range->prefix = (uint8_t)prefix;
	for (unsigned bit = range->prefix; bit < bits_of(&range->address); bit++) {
		if (own_bytes(&range->address)[bit / 8] >> (7 - bit % 8) & 1)
			return "bits are set beyond the prefix";
	}
	return NULL;
}

const char *range_parse(const char *cidr, struct range *range)
{
	const char *slash = strchr(cidr, '/');
	size_t length = slash ? (size_t)(slash - cidr) : strlen(cidr);
	char host[ADDRESS_TEXT_MAX];

	if (length >= sizeof(host))
		return "it is no address with a prefix, such as 10.0.0.0/8";
	memcpy(host, cidr, length);
	host[length] = '\0';
	if (address_parse(host, &range->address))
		return "it is no address with a prefix, such as 10.0.0.0/8";
	if (strchr(host, ':') && address_is_v4(&range->address))
		return "an IPv4 address is written as such: 10.0.0.0/8";
	range->prefix = (uint8_t)bits_of(&range->address);
	return slash ? prefix_parse(slash + 1, range) : NULL;
}

uint8_t *range_pack(const struct range *range, uint64_t observed_ns, size_t *length)
{
	Millrace__V1__Metadata record = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Range said = MILLRACE__V1__RANGE__INIT;
	char text[ADDRESS_TEXT_MAX], id[ADDRESS_TEXT_MAX + 32];

	address_format(&range->address, text);
	snprintf(id, sizeof(id), "networks/range/%s/%u/0", text, range->prefix);
	said.address.data = (uint8_t *)own_bytes(&range->address);
	said.address.len = bits_of(&range->address) / 8;
	said.prefix = range->prefix;
	said.name = (char *)range->name;
	said.zone = (char *)range->zone;
	record.id = id;
	record.version = 1;
	record.cluster = (char *)"networks";
	record.observed_ns = observed_ns;
	record.range = &said;
	*length = millrace__v1__metadata__get_packed_size(&record);
	uint8_t *bytes = memory_resize(NULL, *length, 1);

	millrace__v1__metadata__pack(&record, bytes);
	return bytes;
}
