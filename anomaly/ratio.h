/* Leaves as ratios of what is to what was expected, for localize.c: leaves with one cause change by
 * about the same ratio (generalised ripple effect), all others scatter round the usual one.
 *
 * A leaf's residual is d = 2 (F - v) / (F + v), from -2 (never expected) to 2 (gone); F is the
 * expected value times one factor for all leaves, as forecasts are often wrong by one. The noise of
 * d is learned from the data by the leaves' size, each size from its cleaner side (of d above and
 * below 0), because causes mostly pull to one. Pure; one thread. */
#pragma once

#include <stdint.h>

enum { RATIO_SIZES = 40, RATIO_TAILS = 12, RATIO_UNITS_MAX = 10 };

/* Of residuals in units. */
struct moments {
	double count, sum, squares;
};

struct ratios {
	uint32_t count;
	const double *actual, *expected;
	double *residual, *weight;
	double *units; /* the residual in units of its scale, within RATIO_UNITS_MAX */
	double *noise; /* log density of the residual if nothing is wrong */
	uint8_t *size; /* class of size */
	double scale[RATIO_SIZES];
	struct moments whole;	      /* of all leaves */
	double likelihood;	      /* the log of the noise's density, of all leaves */
	struct ratio_sample *samples; /* room for one gain */
};

/* The arrays are lent. Call ratios_learn before the rest. */
struct ratios *ratios_new(const double *actual, const double *expected, uint32_t count);
void ratios_free(struct ratios *ratios);

/* What most leaves are times what was expected: the median. */
double ratios_factor(struct ratios *ratios);

/* Noise, if F is so many times the expected value. */
void ratios_learn(struct ratios *ratios, double factor);

/* How much better (in nats) those of the leaves that are not taken are told by a ratio of their own
 * than by noise. */
double ratios_gain(struct ratios *ratios, const uint32_t *leaves, uint32_t count,
		   const uint8_t *taken);

/* Takes those of the leaves that are not taken from the moments. */
void ratios_subtract(const struct ratios *ratios, const uint32_t *leaves, uint32_t count,
		     const uint8_t *taken, struct moments *moments);

/* Evidence (in nats) that the mean residual of those leaves is another than that of all others that
 * are not taken, whatever noise looks like: half the square of its standard errors. all: of
 * those and of these. */
double ratios_evidence(const struct ratios *ratios, const uint32_t *leaves, uint32_t count,
		       const uint8_t *taken, const struct moments *all);
