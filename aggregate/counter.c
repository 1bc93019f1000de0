#include "aggregate/rollup.h"

#include <assert.h>
#include <string.h>

static const struct counter_info counter_infos[COUNTERS] = {
	[COUNTER_CLIENT_TX_BYTES] = {"client_tx_bytes", "bytes",
				     "Payload that the client sent, as the client's node saw it"},
	[COUNTER_CLIENT_RX_BYTES] =
		{"client_rx_bytes", "bytes",
		 "Payload that the client received, as the client's node saw it"},
	[COUNTER_SERVER_TX_BYTES] =
		{"server_tx_bytes", "bytes",
		 "Payload from client to server, as the server's node received it"},
	[COUNTER_SERVER_RX_BYTES] = {"server_rx_bytes", "bytes",
				     "Payload from server to client, as the server's node sent it"},
	[COUNTER_CLIENT_RETRANSMITS] = {"client_retransmits", "segments",
					"Segments that the client sent again"},
	[COUNTER_SERVER_RETRANSMITS] = {"server_retransmits", "segments",
					"Segments that the server sent again"},
	[COUNTER_TX_BYTES] = {"tx_bytes", "bytes",
			      "Payload from client to server, counted once a connection"},
	[COUNTER_RX_BYTES] = {"rx_bytes", "bytes",
			      "Payload from server to client, counted once a connection"},
	[COUNTER_TX_SEGMENTS] = {"tx_segments", "segments",
				 "Segments from client to server, counted once a connection"},
	[COUNTER_RX_SEGMENTS] = {"rx_segments", "segments",
				 "Segments from server to client, counted once a connection"},
	[COUNTER_RETRANSMITS] = {"retransmits", "segments",
				 "Segments that the counted end sent again"},
	[COUNTER_OPENED] = {"opened", "connections", "Connections established"},
	[COUNTER_CLOSED] = {"closed", "connections", "Established connections that ended"},
	[COUNTER_FAILED] = {"failed", "connections", "Attempts that were never established"},
	[COUNTER_FAILED_REFUSED] = {"failed_refused", "connections",
				    "Attempts that the server's node refused"},
	[COUNTER_FAILED_TIMEOUT] = {"failed_timeout", "connections",
				    "Attempts that nobody answered in time"},
	[COUNTER_FAILED_UNREACHABLE] = {"failed_unreachable", "connections",
					"Attempts that the network called unreachable"},
	[COUNTER_FAILED_ABORTED] = {"failed_aborted", "connections",
				    "Attempts that the client gave up, or that failed otherwise"},
	[COUNTER_RESETS] = {"resets", "connections", "Established connections ended by a reset"},
	[COUNTER_TIMEOUTS] = {"timeouts", "connections",
			      "Established connections ended by exhausted retransmissions"},
	[COUNTER_JOINED] = {"joined", "connections",
			    "Of the connections established: both ends paired when counted"},
	[COUNTER_ACTIVE] = {"active", "connections",
			    "Distinct connections that did anything in the window"},
	[COUNTER_CONNECT_US] = {"connect_us", "microseconds",
				"Sum of the times to establish a connection"},
	[COUNTER_CONNECT_COUNT] = {"connect_count", "connections",
				   "Connections whose time to establish was measured"},
	[COUNTER_SRTT_US] = {"srtt_us", "microseconds", "Sum of the smoothed round-trip times"},
	[COUNTER_SRTT_COUNT] = {"srtt_count", "samples",
				"Smoothed round-trip times: one a connection and pane"},
	[COUNTER_LATE_BYTES] = {"late_bytes", "bytes",
				"Of tx_bytes and rx_bytes: came after its own pane was closed"},
	[COUNTER_LATE_CONNECTIONS] = {"late_connections", "connections",
				      "Of opened and failed: came after its own pane was closed"},
	[COUNTER_RECOVERED_BYTES] = {"recovered_bytes", "bytes",
				     "Of tx_bytes and rx_bytes: healed after a loss, and not late"},
	[COUNTER_AGENT_RECEIVED] = {"agent_received", "events",
				    "Events of the contributing agents that arrived"},
	[COUNTER_AGENT_ISSUED] =
		{"agent_issued", "events",
		 "Events of the contributing agents that arrived or are known lost"},
	[COUNTER_DNS_QUERIES] = {"dns_queries", "queries",
				 "DNS queries that were answered or timed out, counted once"},
	[COUNTER_DNS_NXDOMAIN] = {"dns_nxdomain", "queries",
				  "DNS queries answered with NXDOMAIN: no such name"},
	[COUNTER_DNS_SERVFAIL] = {"dns_servfail", "queries",
				  "DNS queries answered with SERVFAIL: the server could not tell"},
	[COUNTER_DNS_REFUSED] = {"dns_refused", "queries", "DNS queries answered with REFUSED"},
	[COUNTER_DNS_OTHER] = {"dns_other", "queries",
			       "DNS queries answered with any other code but NOERROR"},
	[COUNTER_DNS_TIMEOUTS] = {"dns_timeouts", "queries",
				  "DNS queries that nobody answered in time"},
	[COUNTER_DNS_US] = {"dns_us", "microseconds", "Sum of the times until DNS answers"},
	[COUNTER_DNS_COUNT] = {"dns_count", "queries", "DNS queries that were answered"},
};

const struct counter_info *counter_info(enum counter counter)
{
	assert(counter < COUNTERS);
	return &counter_infos[counter];
}

enum counter counter_by_name(const char *name)
{
	for (unsigned counter = 0; counter < COUNTERS; counter++)
		if (strcmp(counter_infos[counter].name, name) == 0)
			return counter;
	return COUNTERS;
}

double rollup_completeness(const struct rollup *rollup)
{
	int64_t received = rollup->counters[COUNTER_AGENT_RECEIVED];
	int64_t issued = rollup->counters[COUNTER_AGENT_ISSUED];
	/* Amendments are differences and may be negative: a share has no meaning there. */
	if (issued <= 0 || received >= issued)
		return 1;
	return received <= 0 ? 0 : (double)received / (double)issued;
}
