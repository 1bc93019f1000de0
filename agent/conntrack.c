#include "agent/conntrack.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/tuple.h"

/* IPS_SRC_NAT | IPS_DST_NAT of uapi/linux/netfilter/nf_conntrack_common.h */
enum { STATUS_NAT = 0x10 | 0x20 };

struct span {
	const uint8_t *bytes;
	size_t length;
};

/* One attribute off the span. false: none left, or its length is a lie. */
static bool next_attribute(struct span *span, uint16_t *type, struct span *value)
{
	struct nlattr head;
	if (span->length < sizeof(head))
		return false;
	memcpy(&head, span->bytes, sizeof(head));
	if (head.nla_len < sizeof(head) || head.nla_len > span->length)
		return false;
	*type = head.nla_type & NLA_TYPE_MASK;
	*value = (struct span){span->bytes + sizeof(head), head.nla_len - sizeof(head)};
	size_t taken = NLA_ALIGN(head.nla_len);
	taken = taken < span->length ? taken : span->length;
	span->bytes += taken;
	span->length -= taken;
	return true;
}

static void read_addresses(struct span span, struct conntrack_tuple *tuple, unsigned *seen)
{
	uint16_t type;
	struct span value;
	while (next_attribute(&span, &type, &value)) {
		struct address *address =
			type == CTA_IP_V4_SRC || type == CTA_IP_V6_SRC	 ? &tuple->source
			: type == CTA_IP_V4_DST || type == CTA_IP_V6_DST ? &tuple->destination
									 : NULL;
		if (!address)
			continue;
		if (value.length == 4) {
			uint32_t v4;
			memcpy(&v4, value.bytes, sizeof(v4));
			*address = address_v4(ntohl(v4));
		} else if (value.length == 16) {
			*address = address_v6(value.bytes);
		} else {
			continue;
		}
		*seen |= address == &tuple->source ? 1 : 2;
	}
}

static void read_ports(struct span span, struct conntrack_tuple *tuple, uint8_t *protocol,
		       unsigned *seen)
{
	uint16_t type;
	struct span value;
	while (next_attribute(&span, &type, &value)) {
		uint16_t port = 0;
		if (value.length >= sizeof(port))
			memcpy(&port, value.bytes, sizeof(port));
		if (type == CTA_PROTO_NUM && value.length >= 1) {
			*protocol = value.bytes[0];
			*seen |= 4;
		} else if (type == CTA_PROTO_SRC_PORT && value.length >= 2) {
			tuple->source_port = ntohs(port);
			*seen |= 8;
		} else if (type == CTA_PROTO_DST_PORT && value.length >= 2) {
			tuple->destination_port = ntohs(port);
			*seen |= 16;
		}
	}
}

/* CTA_ZONE and CTA_TUPLE_ZONE: 16 bits in network order. */
static void read_zone(struct span value, uint16_t *zone)
{
	uint16_t number;
	if (value.length != sizeof(number))
		return;
	memcpy(&number, value.bytes, sizeof(number));
	*zone = ntohs(number);
}

static bool read_tuple(struct span span, struct conntrack_tuple *tuple, uint8_t *protocol,
		       uint16_t *zone)
{
	uint16_t type;
	struct span value;
	unsigned seen = 0;
	while (next_attribute(&span, &type, &value)) {
		if (type == CTA_TUPLE_IP)
			read_addresses(value, tuple, &seen);
		else if (type == CTA_TUPLE_PROTO)
			read_ports(value, tuple, protocol, &seen);
		else if (type == CTA_TUPLE_ZONE)
			read_zone(value, zone);
	}
	return seen == 31;
}

static enum conntrack_result read_entry(struct span span, struct conntrack_entry *entry)
{
	uint16_t type;
	struct span value;
	uint32_t status = 0, mark = 0;
	uint16_t reply_zone;
	bool original = false, reply = false;
	uint8_t reply_protocol = 0;
	while (next_attribute(&span, &type, &value)) {
		if (type == CTA_TUPLE_ORIG)
			original =
				read_tuple(value, &entry->original, &entry->protocol, &entry->zone);
		else if (type == CTA_TUPLE_REPLY)
			reply = read_tuple(value, &entry->reply, &reply_protocol, &reply_zone);
		else if (type == CTA_STATUS && value.length == sizeof(status))
			memcpy(&status, value.bytes, sizeof(status));
		else if (type == CTA_MARK && value.length == sizeof(mark))
			memcpy(&mark, value.bytes, sizeof(mark));
		else if (type == CTA_ZONE)
			read_zone(value, &entry->zone);
	}
	entry->mark = ntohl(mark);
	if (!original || !reply || !(ntohl(status) & STATUS_NAT) ||
	    reply_protocol != entry->protocol)
		return CONNTRACK_OTHER;
	if (entry->protocol != PROTOCOL_TCP && entry->protocol != PROTOCOL_UDP)
		return CONNTRACK_OTHER;
	return CONNTRACK_ENTRY;
}

static enum conntrack_result read_message(const struct nlmsghdr *header, struct span body,
					  struct conntrack_entry *entry, int *error)
{
	if (header->nlmsg_type == NLMSG_DONE)
		return CONNTRACK_DONE;
	if (header->nlmsg_type == NLMSG_ERROR) {
		*error = 0;
		if (body.length >= sizeof(*error))
			memcpy(error, body.bytes, sizeof(*error));
		return *error ? CONNTRACK_ERROR : CONNTRACK_OTHER;
	}
	if (header->nlmsg_type >> 8 != NFNL_SUBSYS_CTNETLINK)
		return CONNTRACK_OTHER;
	uint8_t message = header->nlmsg_type & 0xff;
	if ((message != IPCTNL_MSG_CT_NEW && message != IPCTNL_MSG_CT_DELETE) ||
	    body.length < sizeof(struct nfgenmsg))
		return CONNTRACK_OTHER;
	entry->ended = message == IPCTNL_MSG_CT_DELETE;
	size_t skip = NLMSG_ALIGN(sizeof(struct nfgenmsg));
	return read_entry((struct span){body.bytes + skip, body.length - skip}, entry);
}

enum conntrack_result conntrack_next(const uint8_t **bytes, size_t *length,
				     struct conntrack_entry *entry, int *error)
{
	struct nlmsghdr header;
	if (*length < sizeof(header))
		return CONNTRACK_BAD;
	memcpy(&header, *bytes, sizeof(header));
	if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > *length)
		return CONNTRACK_BAD;
	memset(entry, 0, sizeof(*entry));
	struct span body = {*bytes + sizeof(header), header.nlmsg_len - sizeof(header)};
	size_t taken = NLMSG_ALIGN(header.nlmsg_len);
	taken = taken < *length ? taken : *length;
	*bytes += taken;
	*length -= taken;
	return read_message(&header, body, entry, error);
}

size_t conntrack_dump_request(uint8_t request[CONNTRACK_REQUEST_BYTES], uint32_t sequence)
{
	struct nlmsghdr header = {
		.nlmsg_len = CONNTRACK_REQUEST_BYTES,
		.nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		.nlmsg_seq = sequence,
	};
	struct nfgenmsg generic = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0};
	memcpy(request, &header, sizeof(header));
	memcpy(request + sizeof(header), &generic, sizeof(generic));
	return CONNTRACK_REQUEST_BYTES;
}
