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
};

enum { FACT_ADDRESSES_MAX = 64 };

struct fact {
	uint64_t id;	 /* of the record: the hash of its id; a newer one takes its place */
	uint64_t object; /* hash of the uid; of a node the name id of its name; of a range the id */
	uint64_t from_ns, until_ns; /* holds in [from, until); UINT64_MAX: it still does */
	uint64_t observed_ns;
	uint64_t workload; /* "namespace/name"; 0: only the address says who it is */
	uint64_t version, zone;
	uint64_t node;	   /* the name of the node that a pod is on */
	uint64_t instance; /* the pod's name */
	uint8_t kind;	   /* enum fact_kind */
	uint8_t prefix;	   /* of its addresses: bits of 128 that count */
	uint16_t addresses_count;
	uint32_t pad; /* zero: compared as bytes */
};
