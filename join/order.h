/* An order in time of records that are too big to be moved: places with their times are sorted, in
 * linear time. Records of the same time are put in an order of their own by the caller. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct order_place {
	uint64_t time_ns;
	uint32_t index; /* of the record */
	uint32_t tie;	/* which of two of the same time is first, as far as these bits say */
};

/* places: room for twice as many; their first `count` are sorted, in one half or the other, which
 * is returned. compare: as qsort's, of two records' numbers; only asked about equal times and ties.
 */
const struct order_place *order_by_time(struct order_place *places, size_t count,
					int (*compare)(const void *context, uint32_t a, uint32_t b),
					const void *context);
