/* Conntrack's netlink messages (uapi/linux/netfilter/nfnetlink_conntrack.h): written by the kernel,
 * read without trust. Only entries with NAT, of TCP and UDP, IPv4 and IPv6 come out. Pure; any
 * thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"

struct conntrack_tuple {
	struct address source, destination;
	uint16_t source_port, destination_port;
};

struct conntrack_entry {
	uint32_t netns; /* inode of its network namespace; the reader of the socket knows */
	uint32_t mark;
	uint16_t zone; /* of the original direction: zones may be of one direction only */
	uint8_t protocol;
	bool ended; /* DESTROY */
	struct conntrack_tuple original, reply;
};

enum conntrack_result {
	CONNTRACK_ENTRY, /* *entry is filled */
	CONNTRACK_OTHER, /* another message, protocol, or no NAT */
	CONNTRACK_DONE,	 /* the end of a dump */
	CONNTRACK_ERROR, /* the kernel refused the request; -errno in *error */
	CONNTRACK_BAD,	 /* malformed: the rest of the datagram is not to be read */
};

/* One message off *bytes, which moves past it. */
enum conntrack_result conntrack_next(const uint8_t **bytes, size_t *length,
				     struct conntrack_entry *entry, int *error);

/* A request for all entries of the socket's namespace, all families. Returns its length. */
enum { CONNTRACK_REQUEST_BYTES = 20 };
size_t conntrack_dump_request(uint8_t request[CONNTRACK_REQUEST_BYTES], uint32_t sequence);
