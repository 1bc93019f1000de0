#include "base/address.h"

#include <arpa/inet.h>
#include <errno.h>

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

struct address address_v4(uint32_t host_order)
{
	struct address address;
	memcpy(address.bytes, v4_prefix, sizeof(v4_prefix));
	uint32_t network_order = htonl(host_order);
	memcpy(address.bytes + sizeof(v4_prefix), &network_order, sizeof(network_order));
	return address;
}

struct address address_v6(const uint8_t bytes[16])
{
	struct address address;
	memcpy(address.bytes, bytes, sizeof(address.bytes));
	return address;
}

bool address_is_v4(const struct address *address)
{
	return memcmp(address->bytes, v4_prefix, sizeof(v4_prefix)) == 0;
}

bool address_is_loopback(const struct address *address)
{
	static const uint8_t loopback[16] = {[15] = 1};
	if (address_is_v4(address))
		return address->bytes[12] == 127;
	return memcmp(address->bytes, loopback, sizeof(loopback)) == 0;
}

/* Whether the first bits are these. */
static bool has_prefix(const struct address *address, const struct address *prefix, unsigned bits)
{
	unsigned whole = bits / 8;
	if (memcmp(address->bytes, prefix->bytes, whole) != 0)
		return false;
	return bits % 8 == 0 ||
	       (address->bytes[whole] ^ prefix->bytes[whole]) >> (8 - bits % 8) == 0;
}

#define V4(a, b, c, d)                                       \
	{                                                    \
		{                                            \
			[10] = 0xff, [11] = 0xff, a, b, c, d \
		}                                            \
	}
#define V6(...)                     \
	{                           \
		{                   \
			__VA_ARGS__ \
		}                   \
	}

/* The first that it lies in; https://www.iana.org/assignments/iana-ipv4-special-registry and
 * iana-ipv6-special-registry. */
static const struct {
	struct address prefix;
	uint8_t bits, class;
} class_blocks[] = {
	{V4(127, 0, 0, 0), 104, ADDRESS_LOOPBACK},
	{V4(10, 0, 0, 0), 104, ADDRESS_PRIVATE},
	{V4(172, 16, 0, 0), 108, ADDRESS_PRIVATE},
	{V4(192, 168, 0, 0), 112, ADDRESS_PRIVATE},
	{V4(100, 64, 0, 0), 106, ADDRESS_PRIVATE},
	{V4(169, 254, 0, 0), 112, ADDRESS_LINK_LOCAL},
	{V4(0, 0, 0, 0), 104, ADDRESS_PRIVATE},
	{V4(192, 0, 0, 0), 120, ADDRESS_PRIVATE},
	{V4(192, 0, 2, 0), 120, ADDRESS_PRIVATE},
	{V4(198, 18, 0, 0), 111, ADDRESS_PRIVATE},
	{V4(198, 51, 100, 0), 120, ADDRESS_PRIVATE},
	{V4(203, 0, 113, 0), 120, ADDRESS_PRIVATE},
	{V4(224, 0, 0, 0), 100, ADDRESS_MULTICAST},
	{V4(255, 255, 255, 255), 128, ADDRESS_MULTICAST},
	{V4(240, 0, 0, 0), 100, ADDRESS_PRIVATE},
	{V4(0, 0, 0, 0), 96, ADDRESS_PUBLIC},
	{V6([15] = 1), 128, ADDRESS_LOOPBACK},
	{V6(0), 128, ADDRESS_PRIVATE},
	{V6(0xfe, 0x80), 10, ADDRESS_LINK_LOCAL},
	{V6(0xff), 8, ADDRESS_MULTICAST},
	{V6(0xfc), 7, ADDRESS_PRIVATE},
	{V6(0x01), 64, ADDRESS_PRIVATE}, /* discard only */
	{V6(0x20, 0x01, 0x0d, 0xb8), 32, ADDRESS_PRIVATE},
	{V6(0x3f, 0xff), 20, ADDRESS_PRIVATE},
	{V6(0x00, 0x64, 0xff, 0x9b, 0x00, 0x01), 48, ADDRESS_PRIVATE},
	{V6(0x5f), 16, ADDRESS_PRIVATE},
	{V6(0), 0, ADDRESS_PUBLIC},
};

enum address_class address_class(const struct address *address)
{
	size_t i = 0;
	while (!has_prefix(address, &class_blocks[i].prefix, class_blocks[i].bits))
		i++; /* the last takes all */
	return class_blocks[i].class;
}

static char *octet_format(uint8_t octet, char *text)
{
	if (octet >= 100)
		*text++ = (char)('0' + octet / 100);
	if (octet >= 10)
		*text++ = (char)('0' + octet / 10 % 10);
	*text++ = (char)('0' + octet % 10);
	return text;
}

/* Each end without an agent is named by its address, so the common kind is worth a loop: inet_ntop
 * goes through printf, ten times as long. */
static size_t v4_format(const uint8_t octets[4], char text[ADDRESS_TEXT_MAX])
{
	char *end = octet_format(octets[0], text);
	for (int i = 1; i < 4; i++) {
		*end++ = '.';
		end = octet_format(octets[i], end);
	}
	*end = '\0';
	return (size_t)(end - text);
}

size_t address_format(const struct address *address, char text[ADDRESS_TEXT_MAX])
{
	if (address_is_v4(address))
		return v4_format(address->bytes + sizeof(v4_prefix), text);
	inet_ntop(AF_INET6, address->bytes, text, ADDRESS_TEXT_MAX);
	return strlen(text);
}

int address_parse(const char *text, struct address *address)
{
	struct in_addr v4;
	if (inet_pton(AF_INET, text, &v4) == 1) {
		*address = address_v4(ntohl(v4.s_addr));
		return 0;
	}
	struct address v6;
	if (inet_pton(AF_INET6, text, v6.bytes) != 1)
		return -EINVAL;
	*address = v6;
	return 0;
}
