/* A flow: one connection, put together from its halves. What the join emits when a connection is
 * over. Plain data. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/delta.h"
#include "base/identity.h"
#include "base/tuple.h"

struct flow_end {
	bool seen;		  /* an agent saw this half */
	bool closed;		  /* and saw it end: total and reason are set */
	uint32_t reason;	  /* enum close_reason */
	uint32_t pid;		  /* at the close, else at the last announcement */
	struct instance instance; /* of an unseen end: the server told of at that address, else its
				     address */
	struct traffic total;	  /* absolute, over the connection's life */
	uint32_t min_rtt_us;
	uint32_t lost; /* events of its node known lost during its life: 0 means exact */
};

struct flow {
	uint64_t id; /* hash of one half's own view, node and opening time (the client's, or that of
		      * the half told first): unique, the same in each replay and in the amended
		      * record */
	struct tuple canonical; /* true client -> the server's own socket address */
	struct tuple
		wire; /* as the server's socket sees it: the client may be a translated address */
	struct address dialled; /* what the client dialled; the server's address if it is the same
				   or unknown */
	uint16_t dialled_port;
	bool joined;	  /* both halves seen and paired */
	bool established; /* false: an attempt that failed */
	bool amended;	  /* this flow was emitted before, one-sided; this record replaces it */
	uint8_t hops; /* NAT mappings between dialled and server address that other nodes told */
	uint64_t opened_ns, closed_ns;
	uint64_t connect_us; /* 0 if not seen */
	struct edge edge;
	struct flow_end client, server;
};
