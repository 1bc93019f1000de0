#include "aggregate/hot.h"

#define ALL UINT32_MAX

const columns4 hot_side_masks[4] = {
	{ALL, ALL, 0, 0}, {0, 0, ALL, ALL}, {ALL, ALL, 0, 0}, {0, 0, ALL, ALL}};
const columns4 hot_counted_masks[4] = {
	{0, 0, 0, 0}, {0, 0, 0, 0}, {ALL, ALL, ALL, ALL}, {ALL, ALL, ALL, ALL}};

static void life_spill(struct life *life, struct sum *sum)
{
	static const uint8_t columns[2][4] = {
		{COUNTER_OPENED, COUNTER_CLOSED, COUNTER_JOINED, COUNTER_CONNECT_COUNT},
		{COUNTER_CONNECT_US, COUNTER_RESETS, COUNTER_RETRANSMITS, COUNTER_AGENT_ISSUED},
	};
	for (unsigned i = 0; i < 4; i++) {
		column_add(sum, columns[0][i], life->ends[i]);
		column_add(sum, columns[1][i], life->rest[i]);
	}
	column_add(sum, COUNTER_CLIENT_RETRANSMITS, (int64_t)(life->retransmits & UINT32_MAX));
	column_add(sum, COUNTER_SERVER_RETRANSMITS, (int64_t)(life->retransmits >> 32));
	life->ends = life->rest = (columns4){0};
	life->retransmits = 0;
}

void hot_spill(struct hot *hot, struct life *life, struct sum *sum, unsigned active)
{
	static const uint8_t columns[2][4] = {
		{COUNTER_CLIENT_TX_BYTES, COUNTER_CLIENT_RX_BYTES, COUNTER_SERVER_TX_BYTES,
		 COUNTER_SERVER_RX_BYTES},
		{COUNTER_TX_BYTES, COUNTER_RX_BYTES, COUNTER_TX_SEGMENTS, COUNTER_RX_SEGMENTS},
	};
	for (unsigned i = 0; i < 4; i++) {
		column_add(sum, columns[0][i], hot->side[i]);
		column_add(sum, columns[1][i], hot->counted[i]);
	}
	column_add(sum, COUNTER_AGENT_RECEIVED, hot->other[0]);
	column_add(sum, COUNTER_AGENT_ISSUED, hot->other[0]);
	column_add(sum, COUNTER_SRTT_US, hot->other[1]);
	column_add(sum, COUNTER_SRTT_COUNT, hot->other[2]);
	if (active < COLUMNS)
		column_add(sum, active, hot->other[3]);
	if (hot->last_event_ns)
		sum_add_times(sum, hot->last_event_ns, hot_min_rtt_us(hot));
	hot->side = hot->counted = hot->other = (columns4){0};
	life_spill(life, sum);
}
