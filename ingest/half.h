/* A half: one end of a flow, as its node's agent saw it. What ingest hands to the join: openings,
 * closings and NAT mappings, in buckets of one pane. Plain data; a bucket lends its arrays for the
 * call. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/delta.h"
#include "base/identity.h"
#include "base/label.h"
#include "base/tuple.h"
#include "metadata/fact.h"

enum half_flag {
	HALF_ROLE_GUESSED = 1, /* role from ports, not seen at the opening */
	HALF_AGAIN =
		2, /* announced again (key frame, other owner process): same half, newer identity */
	HALF_EXISTED = 4,    /* older than its agent: not a new connection */
	HALF_PROBE = 8,	     /* the agent's own marked connection */
	HALF_FAILED = 16,    /* never established; its close is in the same bucket */
	HALF_HOPPED = 32,    /* re-keyed through a NAT alias of another node */
	HALF_TOLD = 64,	     /* between join tasks: a one-sided flow of it was emitted before */
	HALF_VISITING = 128, /* between join tasks: role turned round, on trial (join.h) */
	HALF_MOVED = 256,    /* announced again, with its agent new: it was `former` until now */
	HALF_WAITS = 512,    /* its owner is a pod of which the cluster may still tell */
};

/* key is the tuple that both halves share: what the server's socket sees. A server half's key is
 * its own view. A client half's key is its own view mapped forward through the NAT entries known on
 * its node, and at most HOPS_MAX times more by the join through aliases of other nodes. */
struct half_open {
	struct half_ref ref;
	uint32_t number; /* HALF_AGAIN: of its label, in the join task that this goes to */
	uint8_t side;	 /* enum side */
	uint8_t hops;	 /* aliases followed so far */
	uint16_t flags;	 /* enum half_flag */
	struct tuple key;
	struct tuple seen;   /* as this half's socket has it: for a client, server = the address it
				dialled. Zero, as key is: of one with a number its owner is told, and
				whom   it sought */
	uint64_t opened_ns;  /* connect or SYN */
	uint64_t connect_us; /* client; 0 if not seen */
	uint32_t pid;
	uint32_t pad;
	uint64_t self;		/* id of the instance that owns this half */
	uint64_t sought;	/* and of that which its node's lookups, or its handshake, name at
				   the address that a client dialled; 0: none */
	struct half_ref former; /* HALF_MOVED: by which the join knows it, as do closes of the
				   same bucket */
};

/* By what the join knows the half, if it does. */
static inline const struct half_ref *half_known(const struct half_open *open)
{
	return open->flags & HALF_MOVED ? &open->former : &open->ref;
}

struct half_close {
	struct half_ref ref;
	uint32_t number; /* of its label, in the join task that this goes to; 0: its half_open is in
			    the same bucket */
	uint32_t reason; /* enum close_reason */
	uint32_t pid;
	uint32_t pad;
	uint64_t time_ns;
	struct traffic total; /* absolute */
	uint32_t min_rtt_us;
	uint32_t lost; /* events of its node known lost during its life */
};

enum nat_op { NAT_ADD, NAT_DELETE };

/* conntrack entry of one node: a client that sent `from` talks, past this node, as `to`. */
struct nat_alias {
	struct tuple from; /* original: source is the client */
	struct tuple to;   /* reply reversed */
	uint64_t time_ns;
	uint64_t node; /* name id */
	uint8_t op;    /* enum nat_op */
	uint8_t pad[7];
};

/* Where a server is: told to every join task when one of its halves is announced and again each
 * NAMES_REFRESH_PANES, so that an attempt which nobody answered still has a name at its far end.
 * Loopback addresses are not told: they mean another server on each node. */
struct server_key {
	struct address address;
	uint16_t port;
	uint8_t protocol;
	uint8_t pad; /* zero: compared as bytes */
	uint32_t scope;
};

struct server_place {
	struct server_key key;
	uint64_t time_ns; /* end of the pane in which it was told */
	struct instance instance;
};

/* A node that is no longer heard, or heard again, or whose task has forgotten it: told to every
 * join task, as the other ends of its connections take over its counting (join/failover.c). */
struct hearing {
	uint64_t node; /* name id */
	enum { NODE_MUTE, NODE_HEARD, NODE_GONE } what;
	uint32_t pad; /* zero: compared as bytes */
};

/* All that one task has for one join task in one pane. Facts go to the census of that task
 * (metadata/census.h), each with its addresses, which stand one fact's behind the other's. Rules
 * (Batch.rules) are not looked at on the way: of each a word with its length in bytes, then these,
 * filled up with zeros to whole words. */
struct half_bucket {
	const struct half_open *opens;
	const struct half_close *closes;
	const struct nat_alias *aliases;
	const struct server_place *servers;
	const struct instance
		*instances; /* that opens name and the receiver was not told of lately */
	const struct hearing *hearings; /* in the order in which they were heard of */
	const struct fact *facts;	/* too; to every task */
	const struct address *fact_addresses;
	const uint64_t *rules; /* to every task too */
	size_t opens_count, closes_count, aliases_count, servers_count, instances_count,
		hearings_count, facts_count, fact_addresses_count, rules_words;
};

enum { HOPS_MAX = 4 };
