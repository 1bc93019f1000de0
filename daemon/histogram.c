#include "daemon/histogram.h"

/* Finest about a second, where the promise of two is kept or broken. */
static const double bounds[HISTOGRAM_BUCKETS] = {0.05, 0.1, 0.25, 0.5, 0.75, 0.8, 0.85, 0.9,
						 0.95, 1,   1.05, 1.1, 1.15, 1.2, 1.25, 1.5,
						 1.75, 2,   2.5,  5,   10,   30};

double histogram_bound(int bucket)
{
	return bounds[bucket];
}

void histogram_observe(struct histogram *histogram, double seconds)
{
	int bucket = 0;

	while (bucket < HISTOGRAM_BUCKETS && seconds > bounds[bucket])
		bucket++;
	histogram->counts[bucket]++;
	histogram->count++;
	histogram->sum += seconds;
}

void histogram_add(struct histogram *histogram, const struct histogram *other)
{
	for (int bucket = 0; bucket <= HISTOGRAM_BUCKETS; bucket++)
		histogram->counts[bucket] += other->counts[bucket];
	histogram->count += other->count;
	histogram->sum += other->sum;
}
