/* Randomness of a seed: splitmix64, and log-normal values drawn from a table of quantiles, so that
 * a draw is a look-up and the same on every machine. Any thread, each its own. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"

struct dice {
	uint64_t state;
};

static inline uint64_t dice_roll(struct dice *dice)
{
	dice->state += 0x9e3779b97f4a7c15ULL;
	return hash_mix(dice->state);
}

/* 0 .. sides - 1, of the roll's high bits. */
static inline uint32_t dice_scale(uint64_t roll, uint32_t sides)
{
	return (uint32_t)(((roll >> 32) * sides) >> 32);
}

static inline uint32_t dice_below(struct dice *dice, uint32_t sides)
{
	return dice_scale(dice_roll(dice), sides);
}

static inline bool dice_permille(struct dice *dice, uint32_t permille)
{
	return dice_below(dice, 1000000) < permille * 1000;
}

enum { QUANTILES = 4096, SPREAD_BITS = 20 };

struct spread {
	uint32_t values[QUANTILES + 1];
};

/* ln(value) has a mean of ln(median) and this deviation; values above max are max. */
void spread_init(struct spread *spread, double median, double deviation, uint32_t max);
double spread_mean(const struct spread *spread);

/* From the lowest SPREAD_BITS bits. */
static inline uint32_t spread_at(const struct spread *spread, uint64_t bits)
{
	uint32_t quantile = (uint32_t)bits >> 8 & (QUANTILES - 1);
	uint32_t low = spread->values[quantile], high = spread->values[quantile + 1];

	return low + (uint32_t)((uint64_t)(high - low) * (bits & 0xff) >> 8);
}
