/* Which combinations of attributes explain a difference between what is and what was expected, for
 * any data: leaves (rows of attribute values with both figures) in, ranked sets of combinations
 * out. Each set is a whole explanation: its combinations together account for the difference. The
 * first is the best, the others are what explains next best.
 *
 * One of two methods is used, by the data (localize.c, choose_method): counts, where the sums of
 * many small leaves say what single ones cannot; ratios, else.
 *
 * Deterministic: ties go to the combination with fewer attributes, then to that whose attributes
 * have fewer values, then to the earlier attribute. Bounds: below; lattice.h says how many
 * attributes a combination may have. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "anomaly/lattice.h"

enum {
	LOCALIZE_LEAVES_MAX = 1 << 20, /* and so many values of an attribute */
	LOCALIZE_ATTRIBUTES_MAX = LATTICE_ATTRIBUTES_MAX,
	LOCALIZE_COMBINATIONS_MAX = 12, /* of one set */
	LOCALIZE_SETS_MAX = 50,
};

struct localize_leaves {
	uint32_t count, attributes;
	const uint32_t *values; /* of leaf i and attribute a at [i * attributes + a]: numbers that
				   stand for them */
	const double *actual, *expected; /* finite, 0 or more */
};

struct localize_combination {
	uint32_t attributes; /* a bit each; none: everything */
	uint32_t leaf;	     /* one that has its values */
};

struct localize_set {
	struct localize_combination combinations[LOCALIZE_COMBINATIONS_MAX];
	uint32_t count;
	double score;	  /* evidence in nats: e^score times as likely as chance */
	double explained; /* share of all differences that one ratio a combination accounts for */
};

enum localize_method { LOCALIZE_RATIOS, LOCALIZE_COUNTS };

struct localize_report {
	enum localize_method method;
	uint32_t layers; /* attributes that a combination may have */
	double factor;	 /* what all else is times what was expected */
};

/* Fills sets, at most sets_max and LOCALIZE_SETS_MAX, best first, and returns how many there are: 0
 * if nothing departs from what was expected by more than chance. */
uint32_t localize(const struct localize_leaves *leaves, struct localize_set *sets,
		  uint32_t sets_max, struct localize_report *report);
