/* An IP address as every part of Millrace holds it: 16 bytes in network order, IPv4 as
 * ::ffff:a.b.c.d. A v4-mapped IPv6 socket and an IPv4 socket therefore have the same address. Plain
 * data, any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct address {
	uint8_t bytes[16];
};

enum { ADDRESS_TEXT_MAX = 46 }; /* longest text with its NUL, as INET6_ADDRSTRLEN */

struct address address_v4(uint32_t host_order);
struct address address_v6(const uint8_t bytes[16]); /* network order */
bool address_is_v4(const struct address *address);
bool address_is_loopback(const struct address *address);

/* Where an address can be reached from. Private is what has no meaning outside (RFC 1918, 6598,
 * 4193), and the blocks that IANA's special-purpose registries call not globally reachable. */
enum address_class {
	ADDRESS_PRIVATE,
	ADDRESS_PUBLIC,
	ADDRESS_LINK_LOCAL,
	ADDRESS_LOOPBACK,
	ADDRESS_MULTICAST, /* with broadcast */
};

enum address_class address_class(const struct address *address);

/* Writes the RFC 5952 text (dotted quad for IPv4) and returns its length. */
size_t address_format(const struct address *address, char text[ADDRESS_TEXT_MAX]);

/* Returns 0, or -EINVAL when text is no address. */
int address_parse(const char *text, struct address *address);

static inline bool address_equal(const struct address *a, const struct address *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}
