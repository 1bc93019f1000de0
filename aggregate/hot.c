#include "aggregate/hot.h"

#define ALL UINT32_MAX

const columns4 hot_side_masks[4] = {
	{ALL, ALL, 0, 0}, {0, 0, ALL, ALL}, {ALL, ALL, 0, 0}, {0, 0, ALL, ALL}};
const columns4 hot_counted_masks[4] = {
	{0, 0, 0, 0}, {0, 0, 0, 0}, {ALL, ALL, ALL, ALL}, {ALL, ALL, ALL, ALL}};

void hot_spill(struct hot *hot, struct sum *sum, unsigned active)
{
	int64_t *values = sum->values;
	values[COUNTER_CLIENT_TX_BYTES] += hot->side[0];
	values[COUNTER_CLIENT_RX_BYTES] += hot->side[1];
	values[COUNTER_SERVER_TX_BYTES] += hot->side[2];
	values[COUNTER_SERVER_RX_BYTES] += hot->side[3];
	values[COUNTER_TX_BYTES] += hot->counted[0];
	values[COUNTER_RX_BYTES] += hot->counted[1];
	values[COUNTER_TX_SEGMENTS] += hot->counted[2];
	values[COUNTER_RX_SEGMENTS] += hot->counted[3];
	values[COUNTER_AGENT_RECEIVED] += hot->other[0];
	values[COUNTER_AGENT_ISSUED] += hot->other[0];
	values[COUNTER_SRTT_US] += hot->other[1];
	values[COUNTER_SRTT_COUNT] += hot->other[2];
	if (active < COLUMNS)
		values[active] += hot->other[3];
	if (hot->last_event_ns)
		sum_add_times(sum, hot->last_event_ns, hot_min_rtt_us(hot));
	hot->side = hot->counted = hot->other = (columns4){0};
}
