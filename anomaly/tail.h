/* How rare a statistic is by its own past: a view's tail, for detector.c and detector_small.c, with
 * the arithmetic that both need.
 *
 * A view's tail is two numbers. The quantile q, as log2, goes up a little with each statistic f
 * beyond it and down a little less with each other, so that a fixed share stays below (stochastic
 * approximation). The excess is the mean of ln(f/q) beyond (Hill): the tail is taken as Pareto's,
 * p = (1 - share) (f/q)^(-1/excess).
 *
 * Operations are single and in a fixed order, and nothing comes from libm, so any machine gives the
 * same bits. Pure; any thread. */
#pragma once

#include <stdint.h>
#include <string.h>

#include "anomaly/detector.h"
#include "base/hash.h"
#include "base/vector.h"

typedef float floats __attribute__((vector_size(16)));
typedef int32_t ints __attribute__((vector_size(16)));
typedef uint32_t words __attribute__((vector_size(16)));
typedef int64_t longs __attribute__((vector_size(16)));
typedef int16_t shorts __attribute__((vector_size(16)));

enum {
	DECADES_ONE = 1024, /* also of a quantile's octaves and of smoothed ratios */
	EXCESS_ONE = 4096,
	HOUR_ONE = 16,	    /* of an hour's spread, an octave */
	FRACTION_BITS = 12, /* of a quantum, where a step is smaller */
	FRACTION = 1 << FRACTION_BITS,
	PLACE_SHIFT = 13,
	PLACE_OF_ONE = 127 << 10,
	QUANTILE_MAX = 30 * DECADES_ONE,
};

#define LOG10_2	      0.30103f
#define LN_2	      0.69314718f

#define FLOOR_SPREADS 16.0f

static inline float float_of(uint32_t bits)
{
	float x;
	memcpy(&x, &bits, sizeof(x));
	return x;
}

static inline uint32_t bits_of(float x)
{
	uint32_t bits;
	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

static inline float magnitude(float x)
{
	return __builtin_fabsf(x);
}

static inline float smaller(float a, float b)
{
	return a < b ? a : b;
}

static inline float larger(float a, float b)
{
	return a > b ? a : b;
}

static inline float within(float x, float bound)
{
	return larger(smaller(x, bound), -bound);
}

static inline int32_t bounded(int32_t x, int32_t least, int32_t most)
{
	return x < least ? least : x > most ? most : x;
}

static inline void average(float *mean, float x, float gain)
{
	*mean += gain * (x - *mean);
}

/* Of four normal numbers > 0, within 1e-6: of m in [0.71, 1.41] a polynomial times m - 1. */
static inline floats log2_of(floats x)
{
	ints shifted = (ints)x - 0x3f3504f3;
	floats whole = __builtin_convertvector(shifted >> 23, floats);
	floats t = (floats)((shifted & 0x7fffff) + 0x3f3504f3) - 1.0f;
	floats p = 0.17212873f * t - 0.26950627f;
	p = p * t + 0.29563360f;
	p = p * t - 0.35935065f;
	p = p * t + 0.48062915f;
	p = p * t - 0.72136404f;
	p = p * t + 1.44269643f;
	return whole + t * p;
}

static inline float log2_of_one(float x)
{
	return log2_of((floats){x, x, x, x})[0];
}

/* |x| < 126; within 1e-6 of itself. */
static inline float exp2_of(float x)
{
	int32_t whole = (int32_t)(x < 0 ? x - 0.5f : x + 0.5f);
	float t = x - (float)whole;
	float p = 0.00134004f * t + 0.00967604f;
	p = p * t + 0.05550327f;
	p = p * t + 0.24022107f;
	p = p * t + 0.69314721f;
	p = p * t + 1.0f;
	return p * float_of((uint32_t)(whole + 127) << 23);
}

/* x quanta as a whole number, the upper neighbour as often as it is near. |x| < 2^18. */
static inline int32_t rounded(float x, uint64_t bits)
{
	return ((int32_t)(x * FRACTION) + (int32_t)(bits % FRACTION)) >> FRACTION_BITS;
}

/* Half octaves of the count of values: what the plan's tables go by. */
static inline uint32_t age_of(uint32_t count)
{
	uint32_t age = (bits_of((float)(count + 1)) >> 22) - (127 << 1);
	return age < DETECTOR_AGES ? age : DETECTOR_AGES - 1;
}

/* Four numbers of random bits from the one before. */
static inline words random_next(words random)
{
	random ^= random << 13;
	random ^= random >> 17;
	random ^= random << 5;
	return random;
}

static inline words random_first(uint64_t bits)
{
	uint32_t seed = (uint32_t)(bits >> 24) | 1;
	return (words){seed, seed * 0x9e3779b1u, seed * 0x85ebca6bu, seed * 0xc2b2ae35u};
}

/* Where a statistic stands: 1024 times its log2, linear between powers of two as a float's bits
 * are. Growing in f as log2 is, and within 0.09 octaves of it, it serves a quantile as well and
 * costs nothing. Not above 0: below every quantile. */
static inline int32_t place_of(float f)
{
	return ((int32_t)bits_of(f) >> PLACE_SHIFT) - PLACE_OF_ONE;
}

/* The statistic that stands there. */
static inline float at_place(int32_t place)
{
	return float_of((uint32_t)(place + PLACE_OF_ONE) << PLACE_SHIFT);
}

static inline ints places_of(floats f)
{
	return ((ints)f >> PLACE_SHIFT) - PLACE_OF_ONE;
}

static inline shorts eight_of(int32_t x)
{
	int16_t one = (int16_t)x;
	return (shorts){one, one, one, one, one, one, one, one};
}

/* Eight quantiles go down by whole quanta and a fraction, rounded by random bits. */
static inline shorts quantiles_fall(shorts quantiles, shorts whole, shorts fraction, shorts least,
				    words random)
{
	shorts next = quantiles - whole + (((shorts)random & (FRACTION - 1)) < fraction);
	shorts under = next < least;
	return (next & ~under) | (least & under);
}

static inline int16_t quantile_fall(const struct detector_plan *plan, int16_t quantile, int32_t by,
				    uint64_t bits)
{
	int32_t next = (quantile * FRACTION - by + (int32_t)(bits % FRACTION)) >> FRACTION_BITS;
	return (int16_t)(next < plan->quantile_min ? plan->quantile_min : next);
}

/* Of a statistic beyond it, it goes up. Returns by how many octaves f was beyond. */
static inline float quantile_rise(int16_t *quantile, float f, int32_t by, uint64_t bits)
{
	float at = at_place(*quantile);
	floats logs = log2_of((floats){f, at, 1, 1});
	int32_t next = (*quantile * FRACTION + by + (int32_t)(bits % FRACTION)) >> FRACTION_BITS;
	*quantile = (int16_t)(next < QUANTILE_MAX ? next : QUANTILE_MAX);
	return larger(logs[0] - logs[1], 0);
}

/* The surprise so many octaves beyond the quantile, in decades; the excess learns of it. */
static inline float excess_learn(const struct detector_plan *plan, uint16_t *excess, float octaves,
				 float gain, uint64_t bits)
{
	float mean = (float)*excess * (1.0f / EXCESS_ONE);
	float by = smaller(octaves * LN_2, 6.0f * mean + 0.3f) - mean;
	int32_t next = *excess + rounded(gain * by * EXCESS_ONE, bits);

	*excess = (uint16_t)bounded(next, EXCESS_ONE / 50, UINT16_MAX);
	return smaller(plan->at_quantile + octaves * LOG10_2 / mean, plan->params.surprise_max);
}

/* ---- what both tiers do alike */

/* Random bits of a series and a window. */
static inline uint64_t detector_bits(uint64_t key, const struct detector_window *window)
{
	return hash_mix(key ^ (window->number + 1) * 0x9e3779b97f4a7c15ULL);
}

/* The gain of a plain mean; 0 when any half-life has taken over. */
static inline float gain_young(uint32_t count)
{
	return count < 1 << 14 ? 1.0f / (float)(count + 1) : 0;
}

/* What is added to a spread, so that a quiet series does not cry at each ripple: a share of the
 * mean, but not more than FLOOR_SPREADS spreads, as a series far from zero is not quiet for that.
 * Differences below the last term are not expected to matter. */
static inline float spread_least(const struct detector_plan *plan, float mean, float spread)
{
	return smaller(plan->params.floor * magnitude(mean), FLOOR_SPREADS * spread) + 1e-12f;
}

/* Of learning: slow while the series surprises, but not for longer than an incident may be. */
static inline float detector_pace(const struct detector_plan *plan, uint16_t incident)
{
	return (incident & 1) && incident >> 1 < plan->incident_points ? plan->params.incident_pace
								       : 1.0f;
}

static inline uint16_t detector_incident(const struct detector_plan *plan, uint16_t incident,
					 float surprise)
{
	bool surprised = surprise >= plan->params.incident;
	int32_t slow = (incident >> 1) + (surprised ? 1 : -1);

	return (uint16_t)(bounded(slow, 0, DETECTOR_INCIDENT_MAX) << 1 | surprised);
}

/* Of foreign bytes. */
static inline bool floats_sound(const float *values, size_t count, float least)
{
	for (size_t i = 0; i < count; i++)
		if (!(values[i] >= least && values[i] <= 1e30f))
			return false;
	return true;
}

static inline bool excess_sound(const uint16_t *excess, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (excess[i] < EXCESS_ONE / 50)
			return false;
	return true;
}

struct detection detector_tell(const struct detector_plan *plan, struct detector_told *told,
			       uint32_t count, float surprise);
