"""The columns of a row, by number: their names are public (docs/topics.md)."""

COUNTERS = ("client_tx_bytes client_rx_bytes server_tx_bytes server_rx_bytes client_retransmits server_retransmits "
            "tx_bytes rx_bytes tx_segments rx_segments retransmits opened closed failed failed_refused "
            "failed_timeout failed_unreachable failed_aborted resets timeouts joined active connect_us "
            "connect_count srtt_us srtt_count late_bytes late_connections recovered_bytes agent_received "
            "agent_issued dns_queries dns_nxdomain dns_servfail dns_refused dns_other dns_timeouts dns_us "
            "dns_count").split()
(CLIENT_TX, CLIENT_RX, SERVER_TX, SERVER_RX, CLIENT_RETRANSMITS, SERVER_RETRANSMITS, TX, RX, TX_SEGMENTS, RX_SEGMENTS,
 RETRANSMITS, OPENED, CLOSED, FAILED, FAILED_REFUSED, FAILED_TIMEOUT, FAILED_UNREACHABLE, FAILED_ABORTED, RESETS,
 TIMEOUTS, JOINED, ACTIVE, CONNECT_US, CONNECT_COUNT, SRTT_US, SRTT_COUNT, LATE_BYTES, LATE_CONNECTIONS,
 RECOVERED_BYTES, AGENT_RECEIVED, AGENT_ISSUED, DNS_QUERIES, DNS_NXDOMAIN, DNS_SERVFAIL, DNS_REFUSED, DNS_OTHER,
 DNS_TIMEOUTS, DNS_US, DNS_COUNT) = range(len(COUNTERS))

# Connection events: panes of lanes, clients and servers hold nothing else.
CONNECTION_EVENTS = frozenset((OPENED, CLOSED, FAILED, FAILED_REFUSED, FAILED_TIMEOUT, FAILED_UNREACHABLE,
                               FAILED_ABORTED, RESETS, TIMEOUTS, JOINED, CONNECT_US, CONNECT_COUNT))
# What makes an edge suspect.
SUSPECTS = frozenset((FAILED, RESETS, TIMEOUTS))
# And how complete what told of them is.
EVENT_COLUMNS = CONNECTION_EVENTS | {AGENT_RECEIVED, AGENT_ISSUED}
# What each end tells of itself, whoever counts.
OWN_COLUMNS = frozenset((CLIENT_TX, CLIENT_RX, SERVER_TX, SERVER_RX, CLIENT_RETRANSMITS, SERVER_RETRANSMITS,
                         AGENT_RECEIVED, AGENT_ISSUED))

BYTES = (CLIENT_TX, CLIENT_RX, SERVER_TX, SERVER_RX)
AGAINS = (CLIENT_RETRANSMITS, SERVER_RETRANSMITS)

# By reason of the close (CloseReason).
FAILURE_COUNTERS = {4: FAILED_REFUSED, 5: FAILED_TIMEOUT, 6: FAILED_UNREACHABLE, 7: FAILED_ABORTED}
# By the code of the answer: all that is no success; another code is DNS_OTHER.
RCODE_COUNTERS = {2: DNS_SERVFAIL, 3: DNS_NXDOMAIN, 5: DNS_REFUSED}
# What amendments leave where it was, while the gap "amended_samples" stands.
SAMPLES = frozenset((CONNECT_US, CONNECT_COUNT, SRTT_US, SRTT_COUNT, LATE_BYTES,
                     LATE_CONNECTIONS, RECOVERED_BYTES))
# Of these, what each end tells of itself: amendments change no sum over all edges.
OWN_SAMPLES = (CONNECT_US, CONNECT_COUNT, SRTT_US, SRTT_COUNT)

# Scopes of rows (Scope).
EDGE, LANE, CLIENT_ROW, SERVER_ROW = range(4)
