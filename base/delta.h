/* What one half did in one pane, under its label: the unit that ingest hands to aggregate/partial
 * at the close of each pane. At most one delta a half, pane and kind, and one for each DNS lookup.
 * Plain data. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/label.h"

/* How a connection ended; numbers as CloseReason in events.proto. */
enum close_reason {
	CLOSE_UNKNOWN,
	CLOSE_NORMAL,
	CLOSE_RESET,
	CLOSE_TIMEOUT,
	CLOSE_REFUSED,
	CLOSE_CONNECT_TIMEOUT,
	CLOSE_UNREACHABLE,
	CLOSE_ABORTED,
	CLOSE_VANISHED,
	CLOSE_REASONS,
};

/* Never established: the definition and the close tell of a failed attempt. */
static inline bool close_reason_is_failure(unsigned reason)
{
	return reason >= CLOSE_REFUSED && reason <= CLOSE_ABORTED;
}

/* How a DNS lookup ended: the answer's code, or that none came. */
enum lookup_result {
	LOOKUP_NOERROR,
	LOOKUP_NXDOMAIN,
	LOOKUP_SERVFAIL,
	LOOKUP_REFUSED,
	LOOKUP_OTHER, /* any other code */
	LOOKUP_TIMEOUT,
	LOOKUP_RESULTS,
};

/* Lookups by result, and the time that answers took. */
struct lookup_counts {
	uint32_t results[LOOKUP_RESULTS];
	uint64_t latency_us;
};

/* A half's counters, absolute or as differences. Bytes are payload; tx is sent by this half. */
struct traffic {
	uint64_t tx_bytes, rx_bytes;
	uint64_t tx_segments, rx_segments;
	uint64_t retransmits; /* segments */
};

enum delta_flag {
	DELTA_OPENED = 1, /* established in this pane */
	DELTA_CLOSED = 2, /* an established connection ended; reason says how */
	DELTA_FAILED = 4, /* an attempt failed; reason says how */
	DELTA_FIRST_IN_PANE =
		8, /* first touch of the half in the pane, its second, its ten seconds: */
	DELTA_FIRST_IN_1S =
		16, /* distinct connections are counted here, as they do not add over panes */
	DELTA_FIRST_IN_10S = 32,
	DELTA_FIRST_IN_60S = 512,
	DELTA_FIRST_IN_1H = 1024,
	DELTA_LATE = 64, /* its own pane was closed already: counts in 10 s windows and longer */
	DELTA_RECOVERED = 128, /* healed after a loss: in totals, not in monitored rates */
	DELTA_PROBE = 256,     /* the agent's own marked connection */
	DELTA_LOOKUP = 2048,   /* one DNS lookup, and nothing else: reason is its result, connect_us
				  the time until its answer, 0 if none came */
};

struct delta {
	struct place place;
	uint16_t flags;		/* enum delta_flag */
	uint16_t reason;	/* enum close_reason, with DELTA_CLOSED or DELTA_FAILED; enum
				   lookup_result, with DELTA_LOOKUP */
	uint32_t srtt_us;	/* last smoothed round-trip time in the pane; 0 if none */
	struct traffic traffic; /* differences */
	uint64_t connect_us;	/* with DELTA_OPENED or DELTA_FAILED at the client; 0 if not seen;
				   with DELTA_LOOKUP */
	uint64_t time_ns;	/* event time of the half's last event in the pane: for the latency
				   histograms */
	uint32_t node_received; /* events of the half's node that arrived in the pane, */
	uint32_t node_lost;	/* and those known lost: the row's completeness */
	uint32_t min_rtt_us;	/* 0 if none */
	uint32_t pad;		/* zero: deltas are compared as bytes */
};

/* A label changed: what the half gave to the old label's rows within one 10 s window moves to the
 * new one's. */
struct amendment {
	uint64_t window_start_ns; /* of the 10 s window */
	struct place before, after;
	struct delta sum;	 /* of the window; its place is not read */
	uint32_t opened, closed; /* connections in sum */
	uint32_t failed[CLOSE_REASONS];
	uint32_t resets;
	struct lookup_counts lookups;
};
