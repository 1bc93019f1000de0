#include "aggregate/tally.h"

static void tally_add(struct tally *tally, unsigned column, int64_t value)
{
	if (value == 0)
		return;
	tally->columns[tally->count] = (uint8_t)column;
	tally->values[tally->count++] = value;
}

/* Rows speak of client to server and back; a half speaks of sent and received. */
static struct traffic traffic_from_client(const struct traffic *traffic, uint8_t side)
{
	if (side == SIDE_CLIENT)
		return *traffic;
	return (struct traffic){
		.tx_bytes = traffic->rx_bytes,
		.rx_bytes = traffic->tx_bytes,
		.tx_segments = traffic->rx_segments,
		.rx_segments = traffic->tx_segments,
		.retransmits = traffic->retransmits,
	};
}

static void tally_side(struct tally *tally, const struct traffic *traffic, uint8_t side,
		       int64_t sign)
{
	bool client = side == SIDE_CLIENT;
	tally_add(tally, client ? COUNTER_CLIENT_TX_BYTES : COUNTER_SERVER_TX_BYTES,
		  sign * tally_value(traffic->tx_bytes));
	tally_add(tally, client ? COUNTER_CLIENT_RX_BYTES : COUNTER_SERVER_RX_BYTES,
		  sign * tally_value(traffic->rx_bytes));
	tally_add(tally, client ? COUNTER_CLIENT_RETRANSMITS : COUNTER_SERVER_RETRANSMITS,
		  sign * tally_value(traffic->retransmits));
}

static void tally_counted(struct tally *tally, const struct traffic *traffic, int64_t sign)
{
	tally_add(tally, COUNTER_TX_BYTES, sign * tally_value(traffic->tx_bytes));
	tally_add(tally, COUNTER_RX_BYTES, sign * tally_value(traffic->rx_bytes));
	tally_add(tally, COUNTER_TX_SEGMENTS, sign * tally_value(traffic->tx_segments));
	tally_add(tally, COUNTER_RX_SEGMENTS, sign * tally_value(traffic->rx_segments));
	tally_add(tally, COUNTER_RETRANSMITS, sign * tally_value(traffic->retransmits));
}

enum counter failure_counter(unsigned reason)
{
	switch (reason) {
	case CLOSE_REFUSED:
		return COUNTER_FAILED_REFUSED;
	case CLOSE_CONNECT_TIMEOUT:
		return COUNTER_FAILED_TIMEOUT;
	case CLOSE_UNREACHABLE:
		return COUNTER_FAILED_UNREACHABLE;
	default:
		return COUNTER_FAILED_ABORTED;
	}
}

static void tally_life(struct tally *tally, const struct delta *delta)
{
	if (delta->flags & DELTA_OPENED) {
		tally_add(tally, COUNTER_OPENED, 1);
		tally_add(tally, COUNTER_JOINED, delta->place.joined);
	}
	if (delta->flags & DELTA_CLOSED) {
		tally_add(tally, COUNTER_CLOSED, 1);
		tally_add(tally, COUNTER_RESETS, delta->reason == CLOSE_RESET);
		tally_add(tally, COUNTER_TIMEOUTS, delta->reason == CLOSE_TIMEOUT);
	}
	if (delta->flags & DELTA_FAILED) {
		tally_add(tally, COUNTER_FAILED, 1);
		tally_add(tally, failure_counter(delta->reason), 1);
	}
}

void tally_lookups(struct tally *tally, const struct lookup_counts *lookups, int64_t sign)
{
	static const uint8_t failures[][2] = {
		{LOOKUP_NXDOMAIN, COUNTER_DNS_NXDOMAIN}, {LOOKUP_SERVFAIL, COUNTER_DNS_SERVFAIL},
		{LOOKUP_REFUSED, COUNTER_DNS_REFUSED},	 {LOOKUP_OTHER, COUNTER_DNS_OTHER},
		{LOOKUP_TIMEOUT, COUNTER_DNS_TIMEOUTS},
	};
	int64_t queries = 0;
	for (unsigned result = 0; result < LOOKUP_RESULTS; result++)
		queries += lookups->results[result];
	tally_add(tally, COUNTER_DNS_QUERIES, sign * queries);
	for (unsigned i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
		tally_add(tally, failures[i][1], sign * (int64_t)lookups->results[failures[i][0]]);
	tally_add(tally, COUNTER_DNS_US, sign * tally_value(lookups->latency_us));
	tally_add(tally, COUNTER_DNS_COUNT,
		  sign * (queries - (int64_t)lookups->results[LOOKUP_TIMEOUT]));
}

/* Each byte is late or recovered, never both: late goes first. */
static void tally_long(struct tally *tally, const struct delta *delta)
{
	int64_t bytes = tally_value(delta->traffic.tx_bytes);
	value_add(&bytes, tally_value(delta->traffic.rx_bytes));
	if (delta->flags & DELTA_LATE) {
		bool opened = delta->flags & DELTA_OPENED, failed = delta->flags & DELTA_FAILED;
		tally_add(tally, COUNTER_LATE_BYTES, bytes);
		tally_add(tally, COUNTER_LATE_CONNECTIONS, opened + failed);
	} else if (delta->flags & DELTA_RECOVERED) {
		tally_add(tally, COUNTER_RECOVERED_BYTES, bytes);
	}
}

/* A failed attempt never was a connection. Columns of windows that the row does not reach are never
 * read. */
static void tally_active(struct tally *tally, uint32_t flags)
{
	if (flags & DELTA_FAILED)
		return;
	tally_add(tally, COUNTER_ACTIVE, (flags & DELTA_FIRST_IN_PANE) != 0);
	tally_add(tally, COLUMN_ACTIVE_1S, (flags & DELTA_FIRST_IN_1S) != 0);
	tally_add(tally, COLUMN_ACTIVE_10S, (flags & DELTA_FIRST_IN_10S) != 0);
	tally_add(tally, COLUMN_ACTIVE_60S, (flags & DELTA_FIRST_IN_60S) != 0);
	tally_add(tally, COLUMN_ACTIVE_1H, (flags & DELTA_FIRST_IN_1H) != 0);
}

static void tally_connect(struct tally *tally, uint64_t connect_us, int64_t count)
{
	int64_t sum;
	if (__builtin_mul_overflow(tally_value(connect_us), count, &sum))
		sum = count < 0 ? INT64_MIN : INT64_MAX;
	tally_add(tally, COUNTER_CONNECT_US, sum);
	tally_add(tally, COUNTER_CONNECT_COUNT, count);
}

void tally_traffic(struct tally *tally, const struct delta *delta)
{
	tally->count = 0;
	if (delta->flags & DELTA_PROBE)
		return;
	const struct place *place = &delta->place;
	struct traffic traffic = traffic_from_client(&delta->traffic, place->side);
	tally_side(tally, &traffic, place->side, 1);
	tally_add(tally, COUNTER_AGENT_RECEIVED, delta->node_received);
	tally_add(tally, COUNTER_AGENT_ISSUED, (int64_t)delta->node_received + delta->node_lost);
	tally_add(tally, COUNTER_SRTT_US, delta->srtt_us);
	tally_add(tally, COUNTER_SRTT_COUNT, delta->srtt_us != 0);
	if (delta->flags & DELTA_LOOKUP) {
		struct lookup_counts lookups = {.latency_us = delta->connect_us};
		lookups.results[delta->reason] = 1;
		if (place->counts_from == place->side)
			tally_lookups(tally, &lookups, 1);
		return;
	}
	if (place->counts_from != place->side)
		return;
	tally_counted(tally, &traffic, 1);
	tally_long(tally, delta);
	tally_active(tally, delta->flags);
}

void tally_delta(struct tally *tally, const struct delta *delta)
{
	tally_traffic(tally, delta);
	if (delta_connect_us(delta))
		tally_connect(tally, delta_connect_us(delta), 1);
	if (delta->place.counts_from == delta->place.side && !(delta->flags & DELTA_PROBE))
		tally_life(tally, delta);
}

void tally_into(const struct tally *tally, struct sum *sum)
{
	for (uint32_t i = 0; i < tally->count; i++)
		column_add(sum, tally->columns[i], tally->values[i]);
}

static void tally_lives(struct tally *tally, const struct amendment *amendment,
			const struct place *place, int64_t sign)
{
	int64_t reasons[COUNTERS] = {0}, failed = 0;
	for (unsigned reason = 0; reason < CLOSE_REASONS; reason++) {
		reasons[failure_counter(reason)] += amendment->failed[reason];
		failed += amendment->failed[reason];
	}
	tally_add(tally, COUNTER_OPENED, sign * amendment->opened);
	tally_add(tally, COUNTER_JOINED, place->joined ? sign * amendment->opened : 0);
	tally_add(tally, COUNTER_CLOSED, sign * amendment->closed);
	tally_add(tally, COUNTER_RESETS, sign * amendment->resets);
	tally_add(tally, COUNTER_TIMEOUTS,
		  amendment->sum.reason == CLOSE_TIMEOUT ? sign * amendment->closed : 0);
	tally_add(tally, COUNTER_FAILED, sign * failed);
	for (unsigned counter = COUNTER_FAILED_REFUSED; counter <= COUNTER_FAILED_ABORTED;
	     counter++)
		tally_add(tally, counter, sign * reasons[counter]);
}

void tally_amendment(struct tally *tally, const struct amendment *amendment,
		     const struct place *place, int64_t sign)
{
	const struct delta *sum = &amendment->sum;
	tally->count = 0;
	if (sum->flags & DELTA_PROBE)
		return;
	struct traffic traffic = traffic_from_client(&sum->traffic, place->side);
	tally_side(tally, &traffic, place->side, sign);
	tally_add(tally, COUNTER_AGENT_RECEIVED, sign * sum->node_received);
	tally_add(tally, COUNTER_AGENT_ISSUED,
		  sign * ((int64_t)sum->node_received + sum->node_lost));
	if (place->side == SIDE_CLIENT && sum->connect_us && amendment->opened)
		tally_connect(tally, sum->connect_us, sign * amendment->opened);
	if (place->counts_from != place->side)
		return;
	tally_counted(tally, &traffic, sign);
	tally_lookups(tally, &amendment->lookups, sign);
	tally_lives(tally, amendment, place, sign);
	if (sum->flags & DELTA_FAILED)
		return;
	tally_add(tally, COLUMN_ACTIVE_10S, sum->flags & DELTA_FIRST_IN_10S ? sign : 0);
	tally_add(tally, COLUMN_ACTIVE_60S, sum->flags & DELTA_FIRST_IN_60S ? sign : 0);
	tally_add(tally, COLUMN_ACTIVE_1H, sum->flags & DELTA_FIRST_IN_1H ? sign : 0);
}
