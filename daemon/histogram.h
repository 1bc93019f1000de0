/* How long something took, in cumulative buckets of seconds as Prometheus wants them. Its own
 * thread's; a copy may travel. */
#pragma once

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 22 };

struct histogram {
	uint64_t counts[HISTOGRAM_BUCKETS + 1]; /* the last: above all bounds */
	uint64_t count;
	double sum;
};

double histogram_bound(int bucket);
void histogram_observe(struct histogram *histogram, double seconds);
void histogram_add(struct histogram *histogram, const struct histogram *other);
