/* Who stands at an end of a flow, in name ids (base/name.h). Plain data that ingest fills, join
 * puts together and aggregate groups by. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"

/* How a workload's name was found; published per end as `resolution`. Numbers stand in stored
 * history: new ones are added at the end. */
enum resolution {
	RESOLUTION_UNKNOWN,
	RESOLUTION_WORKLOAD,  /* the container runtime or cluster names the owner */
	RESOLUTION_CONTAINER, /* container name and image */
	RESOLUTION_UNIT,      /* systemd unit */
	RESOLUTION_PROCESS,   /* executable on its node's role */
	RESOLUTION_NODE,      /* socket without a known owner */
	RESOLUTION_ADDRESS,   /* no agent at this end: its address, */
	RESOLUTION_POD,	      /* or the pod that held it when the flow began, */
	RESOLUTION_SERVICE,   /* the service whose address it is, */
	RESOLUTION_HOST,      /* the cluster's node, */
	RESOLUTION_RANGE,     /* the configured range that it lies in; */
	RESOLUTION_AMBIGUOUS, /* its address: more than one may have held it, or who did is not told
			       */
	RESOLUTION_DNS,	      /* the name for which this process was given its address, */
	RESOLUTION_NODE_DNS,  /* or another process of its node was; */
	RESOLUTION_NETWORK,   /* the autonomous system whose address it is; */
	RESOLUTION_PUBLIC,    /* no more than what kind of address it has */
	RESOLUTION_LINK_LOCAL,
	RESOLUTION_LOOPBACK,
	RESOLUTION_MULTICAST,
	RESOLUTION_SNI, /* the name that its client asked for as TLS began */
	RESOLUTIONS,
};

/* One replica of a workload: what a failure can be concentrated in. */
struct instance {
	uint64_t id;	   /* instance_id() of the rest */
	uint64_t workload; /* "namespace/name", or "name" */
	uint64_t version;
	uint64_t zone;
	uint64_t node;
	uint64_t container;  /* pod or container name */
	uint64_t process;    /* executable name */
	uint32_t resolution; /* enum resolution */
	uint32_t pad;
	/* Where resolution_is_address: the end's, of which workload is the text's name; else
	 * zeros. Not hashed. */
	struct address address;
};

/* Client workload -> server workload, server port, protocol. */
struct edge {
	uint64_t id;	 /* edge_id() of the rest */
	uint64_t client; /* workload */
	uint64_t server; /* workload */
	uint16_t port;
	uint8_t protocol;
	uint8_t client_resolution, server_resolution;
	uint8_t pad[3];
};

/* The dimensions of an edge that its traffic is split by. */
struct lane {
	uint64_t id; /* lane_id() of the rest */
	uint64_t client_zone, server_zone;
	uint64_t client_version, server_version;
};

/* Hashes of the identifying members; never 0. Resolutions do not take part, but for that of names
 * that another process asked for. */
uint64_t instance_id(const struct instance *instance);
uint64_t edge_id(const struct edge *edge);
uint64_t lane_id(const struct lane *lane);
const char *resolution_name(uint32_t resolution); /* "workload", "container", ... */
/* Of an address that nobody is known at. All but RESOLUTION_ADDRESS are called by their own name:
 * addresses of the public internet are too many to be a workload each. */
enum resolution resolution_of_address(const struct address *address);
/* Of two that gave the same name the one that knew more. */
uint32_t resolution_better(uint32_t one, uint32_t other);

static inline bool resolution_is_address(uint32_t resolution)
{
	return resolution == RESOLUTION_ADDRESS || resolution == RESOLUTION_AMBIGUOUS;
}
