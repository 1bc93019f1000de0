#include "anomaly/localize.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/logarithm.h"
#include "anomaly/ratio.h"
#include "base/memory.h"

/* Chosen on public and generated data of many kinds. What naming a combination costs beyond the
 * choice among all, in nats. */
#define PRICE_NATS 7
/* Leaves are never quite as independent as the likelihood has it: parts in a combination's place
 * must say so much more than it does. */
#define PARTS 0.3
/* As counts scatter more than chance has it: a further combination must say so much of the first.
 */
#define FURTHER 0.2
/* Of counts, everything is named if single combinations say at most so much of what it does. */
#define WHOLE 0.7
/* Forecasts are often wrong by one factor; further from 1 than this it must pay. */
#define FACTOR_FREE 1.3

struct candidate {
	uint32_t element;
	double gain; /* with nothing taken */
};

struct explanation {
	uint32_t elements[LOCALIZE_COMBINATIONS_MAX], count;
	double first; /* the gain of the first */
	double score;
};

enum { EXPLANATIONS_MAX = 256, FORBIDDEN_NONE = UINT32_MAX };

struct explanations {
	struct explanation items[EXPLANATIONS_MAX];
	uint32_t count;
};

struct search {
	const struct localize_leaves *leaves;
	uint32_t count; /* leaves that say something */
	uint32_t *rows; /* which they are */
	double *actual, *expected;
	struct lattice *lattice;
	double *prices; /* of a cuboid's elements */
	enum localize_method method;
	struct ratios *ratios;
	double factor, actual_sum, expected_sum;
	uint8_t *taken; /* a leaf that is explained */
	struct candidate *candidates;
	uint32_t candidates_count;
	double *alone;	     /* an element's gain with nothing taken, if it is a candidate */
	double *gains;	     /* of candidates, beside what is taken */
	uint8_t *outdated;   /* a gain measured before the last was taken */
	struct moments rest; /* of what is not taken */
};

/* --- gains --- */

struct sums {
	double actual, expected;
};

/* Of the leaves that are not taken. */
static struct sums sums_of(const struct search *search, const uint32_t *leaves, uint32_t count)
{
	struct sums sums = {0};
	for (uint32_t i = 0; i < count; i++) {
		if (search->taken[leaves[i]])
			continue;
		sums.actual += search->actual[leaves[i]];
		sums.expected += search->expected[leaves[i]];
	}
	return sums;
}

/* The Poisson scan statistic: how much likelier K of M expected are at a rate of their own. */
static double count_gain(const struct search *search, const uint32_t *leaves, uint32_t count)
{
	struct sums sums = sums_of(search, leaves, count);
	double k = sums.actual, m = sums.expected;
	/* No rate but some count: as if a little had been expected. */
	m = m > 1e-3 ? m : 1e-3;
	double k_else = search->actual_sum - k, m_else = search->expected_sum - m;
	/* It must stick out of the rest on the side it is on. */
	if (m_else > 0 && (k > m ? k * m_else <= k_else * m : k * m_else >= k_else * m))
		return 0;
	return (k > 0 ? k * logarithm(k / m) : 0) - (k - m);
}

static double gain_of(const struct search *search, uint32_t element)
{
	uint32_t count;
	const uint32_t *leaves = lattice_leaves(search->lattice, element, &count);
	double gain = search->method == LOCALIZE_COUNTS
			      ? count_gain(search, leaves, count)
			      : ratios_gain(search->ratios, leaves, count, search->taken);
	return gain - search->prices[search->lattice->owners[element]];
}

static double choose(uint32_t n, uint32_t k)
{
	double ways = 1;
	for (uint32_t i = 0; i < k; i++)
		ways = ways * (n - i) / (i + 1);
	return ways;
}

/* To name one of its elements, one of so many cuboids of its layer, and a parameter; counts have no
 * noise of their own to be measured by, and pay for each attribute. */
static void set_prices(struct search *search)
{
	const struct lattice *lattice = search->lattice;
	search->prices = memory_zeroed(lattice->cuboids_count, sizeof(*search->prices));
	for (uint32_t c = 0; c < lattice->cuboids_count; c++) {
		const struct cuboid *cuboid = &lattice->cuboids[c];
		search->prices[c] =
			search->method == LOCALIZE_COUNTS
				? cuboid->layer * logarithm(cuboid->elements)
				: logarithm(cuboid->elements + 1) +
					  logarithm(choose(lattice->attributes, cuboid->layer)) +
					  PRICE_NATS;
	}
}

/* --- what is taken --- */

static void take_nothing(struct search *search)
{
	memset(search->taken, 0, search->count);
	if (search->method == LOCALIZE_RATIOS)
		search->rest = search->ratios->whole;
}

static void take(struct search *search, uint32_t element)
{
	uint32_t count;
	const uint32_t *leaves = lattice_leaves(search->lattice, element, &count);
	if (search->method == LOCALIZE_RATIOS)
		ratios_subtract(search->ratios, leaves, count, search->taken, &search->rest);
	for (uint32_t i = 0; i < count; i++)
		search->taken[leaves[i]] = 1;
}

/* --- candidates --- */

/* A cheap look: are the residuals shifted at all, beyond three standard errors? */
static bool worth_a_look(const struct search *search, uint32_t element)
{
	uint32_t count;
	const uint32_t *leaves = lattice_leaves(search->lattice, element, &count);
	double sum = 0;
	for (uint32_t i = 0; i < count; i++)
		sum += search->ratios->units[leaves[i]];
	return sum * sum >= 9.0 * count;
}

static int compare_candidates(const void *a, const void *b)
{
	const struct candidate *left = a, *right = b;
	if (left->gain != right->gain)
		return left->gain < right->gain ? 1 : -1;
	return left->element < right->element ? -1 : 1;
}

static void add_candidate(struct search *search, uint32_t element, double gain)
{
	search->candidates[search->candidates_count++] = (struct candidate){element, gain};
	search->alone[element] = gain;
}

static void list_candidates(struct search *search)
{
	bool ratios = search->method == LOCALIZE_RATIOS;
	take_nothing(search);
	search->candidates_count = 0;
	for (uint32_t element = 1; element < search->lattice->elements; element++) {
		if (ratios && !worth_a_look(search, element))
			continue;
		double gain = gain_of(search, element);
		if (gain > 0 && !lattice_redundant(search->lattice, element))
			add_candidate(search, element, gain);
	}
	qsort(search->candidates, search->candidates_count, sizeof(*search->candidates),
	      compare_candidates);
}

/* --- explanations --- */

/* Gains beside what is taken now are measured when they matter: what was gained before bounds them
 * well enough. */
static void take_and_outdate(struct search *search, uint32_t element)
{
	take(search, element);
	for (uint32_t i = 0; i < search->candidates_count; i++) {
		if (search->gains[i] <= 0)
			continue;
		uint32_t candidate = search->candidates[i].element;
		enum relation relation = lattice_relation(search->lattice, candidate, element);
		if (relation == RELATION_WITHIN)
			search->gains[i] = 0;
		search->outdated[i] |= relation == RELATION_CROSSING;
	}
}

/* Whether a gain is more than an odd shape of the noise makes of chance. */
static bool is_sure(struct search *search, uint32_t element)
{
	if (search->method == LOCALIZE_COUNTS)
		return true;
	uint32_t count;
	const uint32_t *leaves = lattice_leaves(search->lattice, element, &count);
	return ratios_evidence(search->ratios, leaves, count, search->taken, &search->rest) >
	       search->prices[search->lattice->owners[element]];
}

/* The best candidate beside what is taken, or -1. */
static int64_t best_candidate(struct search *search)
{
	for (;;) {
		uint32_t best = 0;
		for (uint32_t i = 1; i < search->candidates_count; i++)
			if (search->gains[i] > search->gains[best])
				best = i;
		if (search->candidates_count == 0 || search->gains[best] <= 0)
			return -1;
		uint32_t element = search->candidates[best].element;
		if (search->outdated[best]) {
			search->gains[best] = gain_of(search, element);
			search->outdated[best] = 0;
		} else if (is_sure(search, element)) {
			return best;
		} else {
			search->gains[best] = 0;
		}
	}
}

/* Takes the best candidate, and again of what is left, while something is gained. */
static struct explanation explain(struct search *search, uint32_t forbidden)
{
	struct explanation explanation = {0};
	take_nothing(search);
	memset(search->outdated, 0, search->candidates_count);
	for (uint32_t i = 0; i < search->candidates_count; i++)
		search->gains[i] =
			search->candidates[i].element == forbidden ? 0 : search->candidates[i].gain;
	while (explanation.count < LOCALIZE_COMBINATIONS_MAX) {
		int64_t best = best_candidate(search);
		if (best < 0 || (search->method == LOCALIZE_COUNTS &&
				 search->gains[best] < FURTHER * explanation.first))
			break;
		if (explanation.count == 0)
			explanation.first = search->gains[best];
		explanation.elements[explanation.count++] = search->candidates[best].element;
		explanation.score += search->gains[best];
		take_and_outdate(search, search->candidates[best].element);
	}
	return explanation;
}

/* Of a candidate, when the explanation's elements are taken: as alone, if none has leaves of it. */
static double gain_beside(const struct search *search, uint32_t element,
			  const struct explanation *explanation)
{
	for (uint32_t i = 0; i < explanation->count; i++) {
		uint32_t other = explanation->elements[i];
		if (lattice_relation(search->lattice, element, other) != RELATION_APART)
			return gain_of(search, element);
	}
	return search->alone[element];
}

/* Of these candidates in this order; those that gain nothing are left out. */
static struct explanation evaluate(struct search *search, const uint32_t *elements, uint32_t count)
{
	struct explanation explanation = {0};
	take_nothing(search);
	for (uint32_t i = 0; i < count; i++) {
		double gain = gain_beside(search, elements[i], &explanation);
		if (gain <= 0 || !is_sure(search, elements[i]))
			continue;
		if (explanation.count == 0)
			explanation.first = gain;
		explanation.elements[explanation.count++] = elements[i];
		explanation.score += gain;
		take(search, elements[i]);
	}
	return explanation;
}

static bool same_elements(const struct explanation *a, const struct explanation *b)
{
	uint32_t found = 0;
	for (uint32_t i = 0; i < a->count; i++)
		for (uint32_t k = 0; k < b->count; k++)
			found += a->elements[i] == b->elements[k];
	return a->count == b->count && found == a->count;
}

static void remember(struct explanations *explanations, const struct explanation *explanation)
{
	if (explanation->count == 0 || explanation->score <= 0)
		return;
	for (uint32_t i = 0; i < explanations->count; i++) {
		struct explanation *known = &explanations->items[i];
		if (!same_elements(known, explanation))
			continue;
		if (explanation->score > known->score)
			*known = *explanation;
		return;
	}
	if (explanations->count < EXPLANATIONS_MAX)
		explanations->items[explanations->count++] = *explanation;
}

/* Would it be said better without one of its own? */
static struct explanation improve(struct search *search, struct explanations *explanations,
				  struct explanation best)
{
	enum { ROUNDS = 4 };
	for (uint32_t round = 0; round < ROUNDS; round++) {
		struct explanation better = best;
		for (uint32_t i = 0; i < best.count; i++) {
			struct explanation other = explain(search, best.elements[i]);
			other.score -= PARTS * search->alone[best.elements[i]];
			remember(explanations, &other);
			if (other.score > better.score)
				better = other;
		}
		if (better.score <= best.score)
			break;
		best = better;
	}
	return best;
}

/* The best with another candidate in place of one of its own. */
static void replace(struct search *search, struct explanations *explanations,
		    const struct explanation *best, uint32_t candidate)
{
	for (uint32_t i = 0; i < best->count; i++) {
		uint32_t elements[LOCALIZE_COMBINATIONS_MAX], count = 0;
		elements[count++] = candidate;
		for (uint32_t k = 0; k < best->count; k++)
			if (k != i)
				elements[count++] = best->elements[k];
		struct explanation other = evaluate(search, elements, count);
		other.score -= PARTS * search->alone[best->elements[i]];
		remember(explanations, &other);
	}
}

/* What else it may be: the best candidates alone, and in place of one of the best's own. */
static void vary(struct search *search, struct explanations *explanations,
		 const struct explanation *best, uint32_t candidates)
{
	for (uint32_t c = 0; c < search->candidates_count && c < candidates; c++) {
		struct explanation alone = evaluate(search, &search->candidates[c].element, 1);
		remember(explanations, &alone);
		replace(search, explanations, best, search->candidates[c].element);
	}
}

static int compare_explanations(const void *a, const void *b)
{
	const struct explanation *left = a, *right = b;
	if (left->score != right->score)
		return left->score < right->score ? 1 : -1;
	if (left->count != right->count)
		return left->count < right->count ? -1 : 1;
	return memcmp(left->elements, right->elements, sizeof(left->elements));
}

static struct explanations *find_explanations(struct search *search, uint32_t wanted)
{
	struct explanations *explanations = memory_zeroed(1, sizeof(*explanations));
	list_candidates(search);
	struct explanation best = explain(search, FORBIDDEN_NONE);
	remember(explanations, &best);
	best = improve(search, explanations, best);
	vary(search, explanations, &best, wanted + 2);
	qsort(explanations->items, explanations->count, sizeof(explanations->items[0]),
	      compare_explanations);
	return explanations;
}

/* --- methods --- */

static int compare_doubles(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;
	return (left > right) - (left < right);
}

/* Whether chance alone moves the leaves by a good part: half of them expect SMALL at most, and half
 * of all that is expected lies in leaves of LARGE at most. */
static bool leaves_are_small(const struct search *search)
{
	enum { SMALL = 50, LARGE = 2000 };
	double *sizes = memory_resize(NULL, search->count, sizeof(*sizes)), below = 0;
	memcpy(sizes, search->expected, search->count * sizeof(*sizes));
	qsort(sizes, search->count, sizeof(*sizes), compare_doubles);
	bool small = sizes[search->count / 2] <= SMALL;
	for (uint32_t i = 0; i < search->count && sizes[i] <= LARGE; i++)
		below += sizes[i];
	memory_free(sizes);
	return small && 2 * below >= search->expected_sum;
}

/* Counts, if all are whole numbers and the leaves are small. */
static enum localize_method choose_method(const struct search *search)
{
	for (uint32_t i = 0; i < search->count; i++)
		if (search->actual[i] >= 0x1p53 ||
		    search->actual[i] != (double)(uint64_t)search->actual[i])
			return LOCALIZE_RATIOS;
	return leaves_are_small(search) ? LOCALIZE_COUNTS : LOCALIZE_RATIOS;
}

static struct explanations *by_ratio(struct search *search, double factor, uint32_t wanted,
				     double *total)
{
	ratios_learn(search->ratios, factor);
	struct explanations *explanations = find_explanations(search, wanted);
	*total = search->ratios->likelihood +
		 (explanations->count ? explanations->items[0].score : 0);
	return explanations;
}

/* What most leaves are times what was expected is taken for how things are, and what differs from
 * it is explained; unless that factor is large, and the leaves are told better by what was
 * expected.
 */
static struct explanations *with_factor(struct search *search, uint32_t wanted)
{
	double factor = ratios_factor(search->ratios), total, expected_total;
	struct explanations *explanations = by_ratio(search, factor, wanted, &total);
	search->factor = factor;
	if (factor > 1 / FACTOR_FREE && factor < FACTOR_FREE)
		return explanations;
	struct explanations *expected = by_ratio(search, 1, wanted, &expected_total);
	bool better = expected_total >= total - PRICE_NATS;
	memory_free(better ? explanations : expected);
	if (better)
		search->factor = 1;
	return better ? expected : explanations;
}

/* If no combination differs from the rest, it is everything that differs from what was expected, if
 * anything does. */
static struct explanations *by_ratios(struct search *search, uint32_t wanted)
{
	search->ratios = ratios_new(search->actual, search->expected, search->count);
	struct explanations *explanations = with_factor(search, wanted);
	if (explanations->count > 0)
		return explanations;
	struct explanation whole = {.count = 1};
	ratios_learn(search->ratios, 1);
	take_nothing(search);
	whole.score = gain_of(search, 0);
	remember(explanations, &whole);
	search->factor = 1;
	return explanations;
}

static struct explanations *by_counts(struct search *search, uint32_t wanted)
{
	struct explanations *explanations = find_explanations(search, wanted);
	struct explanation whole;
	take_nothing(search);
	whole = (struct explanation){.count = 1, .score = gain_of(search, 0) - PRICE_NATS};
	if (explanations->count == 0 || explanations->items[0].first < WHOLE * whole.score)
		remember(explanations, &whole);
	qsort(explanations->items, explanations->count, sizeof(explanations->items[0]),
	      compare_explanations);
	return explanations;
}

/* --- in and out --- */

/* A leaf in which nothing was expected and nothing is says nothing. */
static void gather(struct search *search)
{
	const struct localize_leaves *leaves = search->leaves;
	search->rows = memory_resize(NULL, leaves->count, sizeof(*search->rows));
	search->actual = memory_resize(NULL, leaves->count, sizeof(*search->actual));
	search->expected = memory_resize(NULL, leaves->count, sizeof(*search->expected));
	for (uint32_t i = 0; i < leaves->count; i++) {
		double v = leaves->actual[i], f = leaves->expected[i];
		if (v <= 0 && f <= 0)
			continue;
		search->rows[search->count] = i;
		search->actual[search->count] = v;
		search->expected[search->count] = f;
		search->actual_sum += v;
		search->expected_sum += f;
		search->count++;
	}
}

static void make_lattice(struct search *search)
{
	uint32_t attributes = search->leaves->attributes;
	uint32_t *values = memory_resize(NULL, (size_t)search->count * attributes, sizeof(*values));
	for (uint32_t i = 0; i < search->count; i++)
		memcpy(values + (size_t)i * attributes,
		       search->leaves->values + (size_t)search->rows[i] * attributes,
		       attributes * sizeof(*values));
	search->lattice = lattice_new(values, search->count, attributes);
	memory_free(values);
	search->taken = memory_zeroed(search->count, 1);
	search->candidates =
		memory_resize(NULL, search->lattice->elements, sizeof(*search->candidates));
	search->alone = memory_zeroed(search->lattice->elements, sizeof(*search->alone));
	search->gains = memory_resize(NULL, search->lattice->elements, sizeof(*search->gains));
	search->outdated = memory_zeroed(search->lattice->elements, 1);
}

static double absolute(double x)
{
	return x < 0 ? -x : x;
}

/* How far the leaves that are not taken are off in all, if they are expected `factor` times. */
static double deviation(const struct search *search, const uint32_t *leaves, uint32_t count,
			double factor)
{
	double sum = 0;
	for (uint32_t i = 0; i < count; i++)
		if (!search->taken[leaves[i]])
			sum += absolute(search->actual[leaves[i]] -
					factor * search->expected[leaves[i]]);
	return sum;
}

/* The element's own factor, of what is not taken of it. */
static double own_factor(const struct search *search, const uint32_t *leaves, uint32_t count)
{
	struct sums sums = sums_of(search, leaves, count);
	return sums.expected > 0 ? sums.actual / sums.expected : 1;
}

/* What of all deviation goes when each element has its own factor. */
static double explained_share(struct search *search, const struct explanation *explanation)
{
	uint32_t count;
	const uint32_t *leaves = lattice_leaves(search->lattice, 0, &count);
	take_nothing(search);
	double whole = deviation(search, leaves, count, search->factor), gone = 0;
	for (uint32_t i = 0; i < explanation->count; i++) {
		leaves = lattice_leaves(search->lattice, explanation->elements[i], &count);
		gone += deviation(search, leaves, count, search->factor) -
			deviation(search, leaves, count, own_factor(search, leaves, count));
		take(search, explanation->elements[i]);
	}
	return whole > 0 && gone > 0 ? gone / whole : 0;
}

static void tell(struct search *search, const struct explanation *explanation,
		 struct localize_set *set)
{
	*set = (struct localize_set){.count = explanation->count,
				     .score = explanation->score,
				     .explained = explained_share(search, explanation)};
	for (uint32_t i = 0; i < explanation->count; i++) {
		uint32_t count, element = explanation->elements[i];
		const uint32_t *leaves = lattice_leaves(search->lattice, element, &count);
		set->combinations[i] = (struct localize_combination){
			.attributes = lattice_cuboid(search->lattice, element)->mask,
			.leaf = search->rows[leaves[0]],
		};
	}
}

static void search_free(struct search *search)
{
	if (search->lattice)
		lattice_free(search->lattice);
	if (search->ratios)
		ratios_free(search->ratios);
	memory_free(search->rows);
	memory_free(search->actual);
	memory_free(search->expected);
	memory_free(search->prices);
	memory_free(search->taken);
	memory_free(search->candidates);
	memory_free(search->alone);
	memory_free(search->gains);
	memory_free(search->outdated);
}

uint32_t localize(const struct localize_leaves *leaves, struct localize_set *sets,
		  uint32_t sets_max, struct localize_report *report)
{
	struct search search = {.leaves = leaves, .factor = 1};
	uint32_t wanted = sets_max < LOCALIZE_SETS_MAX ? sets_max : LOCALIZE_SETS_MAX, found = 0;
	assert(leaves->count <= LOCALIZE_LEAVES_MAX);
	gather(&search);
	if (search.count > 0) {
		make_lattice(&search);
		search.method = choose_method(&search);
		set_prices(&search);
		struct explanations *explanations = search.method == LOCALIZE_COUNTS
							    ? by_counts(&search, wanted)
							    : by_ratios(&search, wanted);
		for (; found < explanations->count && found < wanted; found++)
			tell(&search, &explanations->items[found], &sets[found]);
		memory_free(explanations);
		report->layers = search.lattice->layers;
	}
	report->method = search.method;
	report->factor = search.factor;
	search_free(&search);
	return found;
}
