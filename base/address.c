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

static uint32_t address_v4_host_order(const struct address *address)
{
	uint32_t network_order;
	memcpy(&network_order, address->bytes + sizeof(v4_prefix), sizeof(network_order));
	return ntohl(network_order);
}

bool address_is_loopback(const struct address *address)
{
	static const uint8_t loopback[16] = {[15] = 1};
	if (address_is_v4(address))
		return address->bytes[12] == 127;
	return memcmp(address->bytes, loopback, sizeof(loopback)) == 0;
}

bool address_is_private(const struct address *address)
{
	static const struct {
		uint32_t net, mask;
	} nets[] = {
		{0x0a000000, 0xff000000}, /* 10/8, 172.16/12, 192.168/16: RFC 1918 */
		{0xac100000, 0xfff00000}, {0xc0a80000, 0xffff0000},
		{0x64400000, 0xffc00000}, /* 100.64/10, carrier-grade NAT: RFC 6598 */
		{0xa9fe0000, 0xffff0000}, /* 169.254/16, link-local: RFC 3927 */
	};
	if (address_is_loopback(address))
		return true;
	if (!address_is_v4(address)) {
		bool unique_local = (address->bytes[0] & 0xfe) == 0xfc; /* fc00::/7, RFC 4193 */
		bool link_local = address->bytes[0] == 0xfe && (address->bytes[1] & 0xc0) == 0x80;
		return unique_local || link_local;
	}
	uint32_t v4 = address_v4_host_order(address);
	for (size_t i = 0; i < sizeof(nets) / sizeof(nets[0]); i++)
		if ((v4 & nets[i].mask) == nets[i].net)
			return true;
	return false;
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
