#include "bench/fleet/dice.h"

#include <math.h>

/* The standard normal distribution's quantile, by halving: made once a table. */
static double normal_quantile(double share)
{
	double low = -8, high = 8;

	for (int i = 0; i < 60; i++) {
		double middle = (low + high) / 2;

		if (0.5 * erfc(-middle * M_SQRT1_2) < share)
			low = middle;
		else
			high = middle;
	}
	return low;
}

void spread_init(struct spread *spread, double median, double deviation, uint32_t max)
{
	for (int i = 0; i <= QUANTILES; i++) {
		double share = (i + 0.5) / (QUANTILES + 1);
		double value = median * exp(deviation * normal_quantile(share));

		spread->values[i] = value < max ? (uint32_t)value : max;
	}
}

double spread_mean(const struct spread *spread)
{
	double sum = 0;

	for (int i = 0; i < QUANTILES; i++)
		sum += ((double)spread->values[i] + spread->values[i + 1]) / 2;
	return sum / QUANTILES;
}
