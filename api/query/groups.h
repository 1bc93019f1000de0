/* Sums of rows under a key, in the order in which keys first came: what the map and the series are
 * made of. Bounded by the rows read for one answer. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "base/sketch.h"

struct point {
	uint64_t start_ns;
	double value;
};

struct group {
	uint64_t key;
	struct edge edge; /* of the first row, as are the next two */
	struct lane lane;
	struct instance instance;
	int64_t counters[COUNTERS];
	struct sketch connect, srtt;
	uint32_t min_rtt_us;
	uint64_t rows;
	/* The map. */
	int64_t active_10s, active_1s;
	uint32_t hops;
	bool chosen, alerting;
	/* Series: the sums above are those of the step that begins here. */
	uint64_t start_ns;
	struct point *points;
	size_t points_count, points_room;
	double total;
};

/* {0} is an empty one. */
struct groups {
	struct group **items;
	size_t count, room;
	uint32_t *slots;
	size_t slots_count;
};

/* The group, made if need be; pointers stay. */
struct group *groups_get(struct groups *groups, uint64_t key, const struct rollup *rollup);
struct group *groups_find(const struct groups *groups, uint64_t key); /* or NULL */
void groups_done(struct groups *groups);

void group_add(struct group *group, const struct rollup *rollup);
void group_clear(struct group *group); /* the sums */

/* Ratios of the sums; false, and 0, of nothing. */
bool group_failure_ratio(const struct group *group, double *ratio);
bool group_joined_ratio(const struct group *group, double *ratio);
bool group_retransmit_ratio(const struct group *group, double *ratio);
bool group_completeness(const struct group *group, double *ratio);
bool group_connect_quantile(const struct group *group, double q, double *seconds);
bool group_srtt_quantile(const struct group *group, double q, double *seconds);
bool group_connect_avg(const struct group *group, double *seconds);
bool group_srtt_avg(const struct group *group, double *seconds);
