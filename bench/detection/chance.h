/* Draws for the detection bench beyond bench/fleet/dice.h: real numbers. Each town has its own
 * dice. Any thread, each its own. */
#pragma once

#include <math.h>

#include "bench/fleet/dice.h"

/* 0 < x < 1 */
static inline double chance_share(struct dice *dice)
{
	return ((double)(dice_roll(dice) >> 11) + 0.5) * 0x1p-53;
}

static inline bool chance(struct dice *dice, double share)
{
	return chance_share(dice) < share;
}

static inline double chance_between(struct dice *dice, double low, double high)
{
	return low + (high - low) * chance_share(dice);
}

/* As likely in each octave. */
static inline double chance_scale(struct dice *dice, double low, double high)
{
	return low * pow(high / low, chance_share(dice));
}

/* Of the standard normal distribution, by twelve dice of 16 sides' worth: the far tails are a
 * matter of sizes here, which have their own. */
static inline double chance_normal(struct dice *dice)
{
	double sum = 0;
	for (int i = 0; i < 3; i++) {
		uint64_t roll = dice_roll(dice);
		for (int k = 0; k < 4; k++, roll >>= 16)
			sum += (double)(roll & 0xffff);
	}
	return sum / 65536 - 6;
}

static inline uint32_t chance_poisson(struct dice *dice, double mean)
{
	if (mean > 16) {
		double count = mean + sqrt(mean) * chance_normal(dice) + 0.5;
		return count > 0 ? (uint32_t)count : 0;
	}
	double product = chance_share(dice), end = exp(-mean);
	uint32_t count = 0;
	for (; product > end; count++)
		product *= chance_share(dice);
	return count;
}
