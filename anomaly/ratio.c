#include "anomaly/ratio.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "anomaly/logarithm.h"
#include "base/memory.h"

struct ratio_sample {
	double value, weight;
};

struct ratios *ratios_new(const double *actual, const double *expected, uint32_t count)
{
	struct ratios *ratios = memory_zeroed(1, sizeof(*ratios));
	ratios->count = count;
	ratios->actual = actual;
	ratios->expected = expected;
	ratios->residual = memory_resize(NULL, count, sizeof(*ratios->residual));
	ratios->weight = memory_resize(NULL, count, sizeof(*ratios->weight));
	ratios->units = memory_resize(NULL, count, sizeof(*ratios->units));
	ratios->noise = memory_resize(NULL, count, sizeof(*ratios->noise));
	ratios->size = memory_resize(NULL, count, sizeof(*ratios->size));
	ratios->samples = memory_resize(NULL, count, sizeof(*ratios->samples));
	/* The square root's result is exact to the bit on every machine. */
	for (uint32_t i = 0; i < count; i++)
		ratios->weight[i] = sqrt(actual[i] + expected[i]);
	return ratios;
}

void ratios_free(struct ratios *ratios)
{
	memory_free(ratios->residual);
	memory_free(ratios->weight);
	memory_free(ratios->units);
	memory_free(ratios->noise);
	memory_free(ratios->size);
	memory_free(ratios->samples);
	memory_free(ratios);
}

static double absolute(double x)
{
	return x < 0 ? -x : x;
}

static double middle_of(double a, double b, double c)
{
	if (a < b)
		return b < c ? b : a < c ? c : a;
	return a < c ? a : b < c ? c : b;
}

/* The value at which that share of the weight is reached; moves the samples (quickselect). */
static double weighted_quantile(struct ratio_sample *samples, uint32_t count, double share)
{
	uint32_t low = 0, high = count;
	double below = 0, wanted = 0;
	for (uint32_t i = 0; i < count; i++)
		wanted += samples[i].weight;
	wanted *= share;
	for (;;) {
		double pivot = middle_of(samples[low].value, samples[low + (high - low) / 2].value,
					 samples[high - 1].value);
		double less_weight = 0, same_weight = 0;
		uint32_t less = low, more = high;
		for (uint32_t i = low; i < more;) {
			struct ratio_sample sample = samples[i];
			if (sample.value < pivot) {
				samples[i++] = samples[less];
				samples[less++] = sample;
				less_weight += sample.weight;
			} else if (sample.value > pivot) {
				samples[i] = samples[--more];
				samples[more] = sample;
			} else {
				same_weight += sample.weight;
				i++;
			}
		}
		if (below + less_weight > wanted && less > low) {
			high = less;
		} else if (below + less_weight + same_weight >= wanted || more == high) {
			return pivot;
		} else {
			below += less_weight + same_weight;
			low = more;
		}
	}
}

/* Sizes are classes of two octaves of what was expected. */
static uint8_t size_of(double value)
{
	uint64_t bits;
	memcpy(&bits, &value, sizeof(bits));
	int size = ((int)(bits >> 52 & 0x7ff) - 1023 + RATIO_SIZES / 2) / 2;
	return (uint8_t)(size < 0 ? 0 : size >= RATIO_SIZES ? RATIO_SIZES - 1 : size);
}

static void make_residuals(struct ratios *ratios, double factor)
{
	for (uint32_t i = 0; i < ratios->count; i++) {
		double v = ratios->actual[i], f = ratios->expected[i] * factor;
		ratios->residual[i] = 2 * (f - v) / (f + v);
		ratios->size[i] = size_of(f > 0 ? f : v);
	}
}

/* The middle of the shortest range that has this share of the residuals, and its width: causes may
 * move nearly half of the leaves to one side, which would move the median. */
static double densest(const struct ratios *ratios, double share, double *width)
{
	enum { CELLS = 4096 };
	uint32_t counts[CELLS] = {0}, sum = 0, within = 0, best = CELLS;
	double middle = 0;
	for (uint32_t i = 0; i < ratios->count; i++) {
		double cell = (ratios->residual[i] + 2) * (CELLS / 4);
		/* What came or went wholly is no change of all. */
		if (cell < 8 || cell >= CELLS - 8)
			continue;
		counts[(uint32_t)cell]++;
		sum++;
	}
	uint32_t wanted = (uint32_t)(share * sum) + 1;
	for (uint32_t first = 0, end = 0; sum && end < CELLS; end++) {
		within += counts[end];
		while (within - counts[first] >= wanted)
			within -= counts[first++];
		if (within < wanted || end + 1 - first >= best)
			continue;
		best = end + 1 - first;
		middle = (first + end + 1) * (2.0 / CELLS) - 2;
	}
	*width = best * (4.0 / CELLS);
	return middle;
}

double ratios_factor(struct ratios *ratios)
{
	double width, d;
	make_residuals(ratios, 1);
	d = densest(ratios, 0.3, &width);
	for (int round = 0; round < 3; round++) {
		uint32_t near = 0;
		for (uint32_t i = 0; i < ratios->count; i++)
			if (absolute(ratios->residual[i] - d) < 2 * width)
				ratios->samples[near++] =
					(struct ratio_sample){ratios->residual[i], 1};
		if (near)
			d = weighted_quantile(ratios->samples, near, 0.5);
	}
	return (2 - d) / (2 + d);
}

/* --- noise --- */

/* A forecast so good that its noise has no scale: the densities stay finite. */
#define SCALE_MIN 0.003

/* Scale of a Laplace distribution of which these are sizes: by its median or its tail, whichever
 * says more. */
static double scale_of(struct ratio_sample *samples, uint32_t count)
{
	double median = weighted_quantile(samples, count, 0.5) / 0.693,
	       tail = weighted_quantile(samples, count, 0.9) / 2.303;
	return median > tail ? median : tail;
}

/* Of the leaves whose class of size lies in [from, to]; a side with less than a tenth of them is
 * what a change of all has left. */
static double pooled_scale(struct ratios *ratios, int from, int to)
{
	uint32_t counts[2] = {0}, whole = 0;
	double scales[2] = {0, 0};
	for (int side = 0; side < 2; side++) {
		uint32_t count = 0;
		for (uint32_t i = 0; i < ratios->count; i++) {
			int size = ratios->size[i];
			if (size < from || size > to || (ratios->residual[i] > 0) != side)
				continue;
			ratios->samples[count++] =
				(struct ratio_sample){absolute(ratios->residual[i]), 1};
		}
		counts[side] = count;
		whole += count;
		scales[side] = count ? scale_of(ratios->samples, count) : 0;
	}
	bool above = counts[0] * 10 < whole || (counts[1] * 10 >= whole && scales[1] < scales[0]);
	return scales[above] > SCALE_MIN ? scales[above] : SCALE_MIN;
}

/* From the largest leaves down; classes with too few leaves to tell are pooled with smaller ones,
 * and the last of them take what is next to them. */
static void learn_scales(struct ratios *ratios)
{
	enum { ENOUGH = 200 };
	uint32_t counts[RATIO_SIZES] = {0}, pooled = 0;
	double scale = 0;
	for (uint32_t i = 0; i < ratios->count; i++)
		counts[ratios->size[i]]++;
	for (int size = RATIO_SIZES - 1, from = size; size >= 0; size--) {
		pooled += counts[size];
		if (pooled < ENOUGH && size > 0)
			continue;
		if (scale == 0 || pooled >= ENOUGH)
			scale = pooled_scale(ratios, size, from);
		for (; from >= size; from--)
			ratios->scale[from] = scale;
		pooled = 0;
	}
}

/* Where the classes of a residual's size in units of its scale begin. */
static const double tails[RATIO_TAILS] = {0, 1, 2, 3, 4, 6, 8, 12, 24, 64, 200, 1000};

static uint32_t tail_of(double units)
{
	uint32_t tail = RATIO_TAILS - 1;
	while (tail && units < tails[tail])
		tail--;
	return tail;
}

/* Which side, above or below, is the cleaner one of all. */
static bool cleaner_side(const struct ratios *ratios)
{
	double sums[2] = {0};
	uint32_t counts[2] = {0};
	for (uint32_t i = 0; i < ratios->count; i++) {
		double units = absolute(ratios->residual[i]) / ratios->scale[ratios->size[i]];
		bool side = ratios->residual[i] > 0;
		sums[side] += units > 10 ? 10 : units;
		counts[side]++;
	}
	if (counts[0] * 10 < ratios->count || counts[1] * 10 < ratios->count)
		return counts[1] > counts[0];
	return sums[1] * counts[0] < sums[0] * counts[1];
}

/* Noise may lean to the other side: what is there counts to this part, beyond as many leaves as may
 * well be single causes. */
#define OTHER_SIDE    0.1
#define SINGLE_CAUSES 0.001

/* Log density of units on one side, at most as that nearer to 0: what was counted on the cleaner
 * side, and before that a few leaves of a Laplace distribution with a thin tail. */
static void learn_tails(const struct ratios *ratios, double density[RATIO_TAILS])
{
	static const double before[RATIO_TAILS] = {12.6,  4.65,	 1.71,	0.63,  0.32,  0.04,
						   0.014, 0.006, 0.004, 0.002, 0.002, 0.002};
	double counts[2][RATIO_TAILS] = {0}, whole = 0;
	bool clean = cleaner_side(ratios);
	for (uint32_t i = 0; i < ratios->count; i++) {
		double units = absolute(ratios->residual[i]) / ratios->scale[ratios->size[i]];
		counts[(ratios->residual[i] > 0) == clean][tail_of(units)]++;
	}
	for (uint32_t t = 0; t < RATIO_TAILS; t++) {
		double leaning = counts[0][t] - SINGLE_CAUSES * ratios->count;
		counts[1][t] += before[t] + (leaning > 0 ? OTHER_SIDE * leaning : 0);
		whole += counts[1][t];
	}
	for (uint32_t t = 0; t < RATIO_TAILS; t++) {
		double end = t + 1 < RATIO_TAILS ? tails[t + 1] : 2 / SCALE_MIN;
		density[t] = logarithm(counts[1][t] / whole / (end - tails[t]) / 2);
		if (t > 0 && density[t] > density[t - 1])
			density[t] = density[t - 1];
	}
}

/* However rare noise so large is, in nats. */
#define NOISE_MIN -20

void ratios_learn(struct ratios *ratios, double factor)
{
	double density[RATIO_TAILS], log_scale[RATIO_SIZES];
	make_residuals(ratios, factor);
	learn_scales(ratios);
	learn_tails(ratios, density);
	for (int size = 0; size < RATIO_SIZES; size++)
		log_scale[size] = logarithm(ratios->scale[size]);
	ratios->likelihood = 0;
	ratios->whole = (struct moments){0};
	for (uint32_t i = 0; i < ratios->count; i++) {
		uint8_t size = ratios->size[i];
		double units = ratios->residual[i] / ratios->scale[size];
		double noise = density[tail_of(absolute(units))] - log_scale[size];
		ratios->units[i] = units > RATIO_UNITS_MAX    ? RATIO_UNITS_MAX
				   : units < -RATIO_UNITS_MAX ? -RATIO_UNITS_MAX
							      : units;
		ratios->noise[i] = noise > NOISE_MIN ? noise : NOISE_MIN;
		ratios->likelihood += ratios->noise[i];
		ratios->whole.count++;
		ratios->whole.sum += ratios->units[i];
		ratios->whole.squares += ratios->units[i] * ratios->units[i];
	}
}

/* --- a gain --- */

/* A ratio of their own: Laplace round the weighted median, with the scale of noise by size times
 * how much these leaves scatter; and EXCEPTIONS of them anywhere in [-2, 2]. */
#define EXCEPTIONS    0.1
#define OWN_SCALE_MIN 0.03
#define OWN_SCALE_MAX 0.5
#define UNITS_MAX     50
/* What is gained by another scatter alone is nothing: at most so many times what the shift gains.
 */
#define SHIFT_TIMES 5

struct spread {
	double sums[RATIO_SIZES];
	uint32_t counts[RATIO_SIZES];
	double all; /* mean units, larger leaves weigh more */
};

struct bell {
	double sharpness[RATIO_SIZES],
		level[RATIO_SIZES]; /* log density: level - distance * sharpness */
};

static double median_of(struct ratios *ratios, const uint32_t *leaves, uint32_t count,
			const uint8_t *taken)
{
	uint32_t left = 0;
	for (uint32_t i = 0; i < count; i++)
		if (!taken[leaves[i]])
			ratios->samples[left++] = (struct ratio_sample){ratios->residual[leaves[i]],
									ratios->weight[leaves[i]]};
	return left ? weighted_quantile(ratios->samples, left, 0.5) : 0;
}

static void measure_spread(const struct ratios *ratios, const uint32_t *leaves, uint32_t count,
			   const uint8_t *taken, double centre, struct spread *spread)
{
	enum { BEFORE = 3 }; /* leaves that scatter as noise does */
	double sum = 0, weights = 0;
	uint32_t left = 0;
	*spread = (struct spread){0};
	for (uint32_t i = 0; i < count; i++) {
		uint32_t leaf = leaves[i];
		if (taken[leaf])
			continue;
		uint8_t size = ratios->size[leaf];
		double units = absolute(ratios->residual[leaf] - centre) / ratios->scale[size];
		units = units < UNITS_MAX ? units : UNITS_MAX;
		spread->sums[size] += units;
		spread->counts[size]++;
		sum += ratios->weight[leaf] * units;
		weights += ratios->weight[leaf];
		left++;
	}
	spread->all = (left * sum / weights + BEFORE) / (left + BEFORE);
}

/* Small leaves scatter more than large ones where values are whole numbers: each size has its own
 * spread, as far as there are leaves to tell. */
static void shape_bell(const struct ratios *ratios, const struct spread *spread, struct bell *bell)
{
	enum { BEFORE = 5 }; /* leaves that scatter as all of these do */
	for (int size = 0; size < RATIO_SIZES; size++) {
		if (spread->counts[size] == 0)
			continue;
		double own = (spread->sums[size] + BEFORE * spread->all) /
			     (spread->counts[size] + BEFORE);
		double scale = own * ratios->scale[size];
		scale = scale < OWN_SCALE_MIN	? OWN_SCALE_MIN
			: scale > OWN_SCALE_MAX ? OWN_SCALE_MAX
						: scale;
		bell->sharpness[size] = 1 / scale;
		bell->level[size] = logarithm((1 - EXCEPTIONS) / (2 * scale));
	}
}

double ratios_gain(struct ratios *ratios, const uint32_t *leaves, uint32_t count,
		   const uint8_t *taken)
{
	double exception = logarithm(EXCEPTIONS / 4.0);
	double centre = median_of(ratios, leaves, count, taken), gain = 0, shift = 0;
	struct spread spread;
	struct bell bell;
	if (centre == 0)
		return 0;
	measure_spread(ratios, leaves, count, taken, centre, &spread);
	shape_bell(ratios, &spread, &bell);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t leaf = leaves[i];
		if (taken[leaf])
			continue;
		double level = bell.level[ratios->size[leaf]],
		       sharpness = bell.sharpness[ratios->size[leaf]], d = ratios->residual[leaf];
		double here = level - absolute(d - centre) * sharpness;
		double usual = level - absolute(d) * sharpness;
		here = here > exception ? here : exception;
		usual = usual > exception ? usual : exception;
		gain += here - ratios->noise[leaf];
		shift += here - usual;
	}
	return gain < SHIFT_TIMES * shift ? gain : SHIFT_TIMES * shift;
}

void ratios_subtract(const struct ratios *ratios, const uint32_t *leaves, uint32_t count,
		     const uint8_t *taken, struct moments *moments)
{
	for (uint32_t i = 0; i < count; i++) {
		if (taken[leaves[i]])
			continue;
		double units = ratios->units[leaves[i]];
		moments->count--;
		moments->sum -= units;
		moments->squares -= units * units;
	}
}

double ratios_evidence(const struct ratios *ratios, const uint32_t *leaves, uint32_t count,
		       const uint8_t *taken, const struct moments *all)
{
	struct moments rest = *all;
	ratios_subtract(ratios, leaves, count, taken, &rest);
	double own = all->count - rest.count;
	/* Nothing to compare with. */
	if (rest.count < 2)
		return own;
	double mean = rest.sum / rest.count;
	double variance = rest.squares / rest.count - mean * mean;
	double off = (all->sum - rest.sum) / own - mean;
	/* With a leaf's worth of doubt, for others that have no noise at all. */
	return off * off * own / (2 * ((variance > 0 ? variance : 0) + 1 / rest.count));
}
