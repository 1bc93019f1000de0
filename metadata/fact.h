/* What metadata says, in name ids (base/name.h): which object stood where, and when. Plain data:
 * one record of millrace.metadata (record.h) as ingest hands it to all tasks, and as the census
 * keeps it. */
#pragma once

#include <stdint.h>

#include "base/address.h"

/* The first that is there says who is at an address. */
enum fact_kind {
	FACT_NONE, /* a record that says nothing of who is where */
	FACT_POD,
	FACT_NODE,
	FACT_SERVICE,
	FACT_RANGE,
	FACT_CHANGE, /* what happened, which is of nobody's address */
};

/* Those of a service; of a pod its own and its containers' (fact_container). */
enum { FACT_ADDRESSES_MAX = 72 };

struct fact {
	uint64_t id; /* of the record: the hash of its id; a newer one takes its place */
	/* Hash of the uid; of a node the name id of its name; of a range the id; of a change the
	 * name id of its reason. */
	uint64_t object;
	uint64_t from_ns, until_ns; /* holds in [from, until); UINT64_MAX: it still does */
	uint64_t observed_ns;
	uint64_t workload; /* "namespace/name"; 0: only the address says who it is */
	union {
		uint64_t version, after;
	};
	union {
		uint64_t zone, before;
	};
	uint64_t node;	   /* the name of the node that a pod is on */
	uint64_t instance; /* the pod's name; of a change pod/container, or the other end */
	uint8_t kind;	   /* enum fact_kind */
	union {
		uint8_t prefix; /* of its addresses: bits of 128 that count */
		uint8_t change; /* enum change_kind (metadata/change.h) */
	};
	uint16_t addresses_count;
	uint32_t pad; /* zero: compared as bytes */
};

/* Where a container stands among addresses, so that who it was is asked as of these: an
 * address that no packet has, since ff00::/16 is a multicast scope that no node sends to. */
struct address fact_container(uint64_t id);		   /* hash of the container's id */
uint64_t fact_container_id(const struct address *address); /* 0: it is no container */
