#include "aggregate/sum.h"

#include <string.h>

static void sum_times(struct sum *sum, uint64_t last_event_ns, uint32_t min_rtt_us)
{
	if (last_event_ns > sum->last_event_ns)
		sum->last_event_ns = last_event_ns;
	if (min_rtt_us && (!sum->min_rtt_us || min_rtt_us < sum->min_rtt_us))
		sum->min_rtt_us = min_rtt_us;
}

uint64_t sum_add(struct sum *sum, const struct sum *shorter)
{
	int64_t active = sum->counters[COUNTER_ACTIVE];
	for (unsigned counter = 0; counter < COUNTERS; counter++)
		sum->counters[counter] += shorter->counters[counter];
	sum->counters[COUNTER_ACTIVE] = active;
	sum_times(sum, shorter->last_event_ns, shorter->min_rtt_us);
	return sketch_merge(&sum->connect, shorter->connect.cells, shorter->connect.count) +
	       sketch_merge(&sum->srtt, shorter->srtt.cells, shorter->srtt.count);
}

uint64_t sum_add_row(struct sum *sum, const struct bucket_row *row, const struct sketch_cell *cells)
{
	sum_times(sum, row->last_event_ns, row->min_rtt_us);
	uint64_t lost = 0;
	if (row->connect_cells)
		lost += sketch_merge(&sum->connect, cells, row->connect_cells);
	if (row->srtt_cells)
		lost += sketch_merge(&sum->srtt, cells + row->connect_cells, row->srtt_cells);
	return lost;
}

void sum_clear(struct sum *sum)
{
	memset(sum->counters, 0, sizeof(sum->counters));
	sum->last_event_ns = 0;
	sum->min_rtt_us = 0;
	sketch_clear(&sum->connect);
	sketch_clear(&sum->srtt);
}

void sum_done(struct sum *sum)
{
	sketch_done(&sum->connect);
	sketch_done(&sum->srtt);
}
