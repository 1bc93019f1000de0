/* A rollup: what passed over an edge, or a part of it, in one window. The noun that aggregate
 * emits. Edges have all windows; lanes and instances have 10 s windows, and 250 ms windows of
 * connection events only, while their edge is under suspicion (aggregate.h has the table). Smoothed
 * round-trip times have a sketch in edges' windows of 10 s and longer, sums and counts everywhere
 * else; both ends' are samples.
 * Counters are columns of one table (counter.h names them for people); distributions are sketches.
 * Plain data. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/identity.h"
#include "base/name.h"
#include "base/sketch.h"

/* What a row is about. */
enum scope {
	SCOPE_EDGE,   /* the whole edge */
	SCOPE_LANE,   /* one pair of zones and versions */
	SCOPE_CLIENT, /* one client instance */
	SCOPE_SERVER, /* one server instance */
	SCOPES,
};

enum counter {
	/* As one end's agent saw it. tx: client to server; rx: server to client. */
	COUNTER_CLIENT_TX_BYTES,
	COUNTER_CLIENT_RX_BYTES,
	COUNTER_SERVER_TX_BYTES,
	COUNTER_SERVER_RX_BYTES,
	COUNTER_CLIENT_RETRANSMITS, /* segments the client sent again */
	COUNTER_SERVER_RETRANSMITS,
	/* Counted: of each connection and pane exactly one half's view, so sums never double. */
	COUNTER_TX_BYTES,
	COUNTER_RX_BYTES,
	COUNTER_TX_SEGMENTS,
	COUNTER_RX_SEGMENTS,
	COUNTER_RETRANSMITS,
	COUNTER_OPENED, /* connections established */
	COUNTER_CLOSED,
	COUNTER_FAILED, /* attempts that were never established: sum of the next four */
	COUNTER_FAILED_REFUSED,
	COUNTER_FAILED_TIMEOUT,
	COUNTER_FAILED_UNREACHABLE,
	COUNTER_FAILED_ABORTED,
	COUNTER_RESETS,	  /* established connections ended by RST */
	COUNTER_TIMEOUTS, /* established connections ended by exhausted retransmissions */
	COUNTER_JOINED,	  /* of COUNTER_OPENED: both halves paired when counted */
	COUNTER_ACTIVE,	  /* distinct connections, no failed attempts, that did anything in this
			     window */
	/* For averages; quantiles come from the sketches. */
	COUNTER_CONNECT_US,
	COUNTER_CONNECT_COUNT,
	COUNTER_SRTT_US,
	COUNTER_SRTT_COUNT,
	/* Not in monitored rates (panes and 1 s windows have 0 here). */
	COUNTER_LATE_BYTES, /* in TX/RX_BYTES of 10 s windows and longer too */
	COUNTER_LATE_CONNECTIONS,
	COUNTER_RECOVERED_BYTES, /* healed after a loss; in TX/RX_BYTES of 10 s windows and longer
				    too */
	/* Completeness = received / issued. */
	COUNTER_AGENT_RECEIVED,
	COUNTER_AGENT_ISSUED,
	/* DNS lookups that passed over the edge, of the half that counts. Seldom: from here on
	 * compact rows have nothing (hot.h). */
	COUNTER_DNS_QUERIES, /* lookups that ended, whichever way */
	COUNTER_DNS_NXDOMAIN,
	COUNTER_DNS_SERVFAIL,
	COUNTER_DNS_REFUSED,
	COUNTER_DNS_OTHER, /* answered with any other code that is no success */
	COUNTER_DNS_TIMEOUTS,
	COUNTER_DNS_US,	   /* sum of the times until the answers, */
	COUNTER_DNS_COUNT, /* of which there were so many */
	COUNTERS,
};

struct rollup {
	uint64_t window_start_ns;
	uint32_t window_ms; /* 250, 1000, 10000, 60000, 3600000; parts of an edge: 250, 10000 */
	uint8_t scope;	    /* enum scope */
	bool amendment;	    /* signed difference to a window emitted before */
	uint16_t pad;
	struct edge edge;
	struct lane lane;	  /* scope LANE; else zeros */
	struct instance instance; /* scope CLIENT or SERVER; else zeros */
	int64_t counters[COUNTERS];
	uint32_t min_rtt_us;		    /* 0 if none */
	struct sketch_cell *connect, *srtt; /* of ns; lent for the call; sorted by index */
	uint32_t connect_cells, srtt_cells;
	uint64_t last_event_ns; /* newest event time in it: for the latency histograms */
};

/* Returns whether value stopped at an end of its range. */
static inline bool value_add(int64_t *value, int64_t more)
{
	if (__builtin_expect(!__builtin_add_overflow(*value, more, value), 1))
		return false;
	*value = more < 0 ? INT64_MIN : INT64_MAX;
	return true;
}

/* Two counters that a reader takes together. */
static inline int64_t counters_both(int64_t one, int64_t other)
{
	value_add(&one, other);
	return one;
}

/* Lookups that failed. That a name does not exist is an answer: search lists ask for many that do
 * not. */
static inline int64_t rollup_dns_failed(const int64_t counters[COUNTERS])
{
	return counters_both(
		counters_both(counters[COUNTER_DNS_SERVFAIL], counters[COUNTER_DNS_REFUSED]),
		counters_both(counters[COUNTER_DNS_OTHER], counters[COUNTER_DNS_TIMEOUTS]));
}

/* The connection-level failure share of a row and the like are derived by readers; this is the one
 * table of what a counter is called, its unit and its help text. */
struct counter_info {
	const char *name; /* tx_bytes, failed_refused, ... */
	const char *unit; /* bytes, connections, segments, microseconds */
	const char *help;
};
const struct counter_info *counter_info(enum counter counter);
/* COUNTERS if there is none of that name. */
enum counter counter_by_name(const char *name);

/* completeness 0..1 of a row: 1 where nothing is known to be missing. */
double rollup_completeness(const struct rollup *rollup);
