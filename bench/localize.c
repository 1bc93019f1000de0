/* What finding the cause of a difference costs, and how often it is right: one JSON line.
 * bench-localize [--json] [cases]. A case has 20,000 leaves of 4 attributes (10 x 25 x 10 x 8
 * values) and 1 to 3 causes of 1 to 3 attributes each, which leave 0 to 50 % of what was expected.
 * Cases take turns: values with 1, 10 and 25 % of noise, and counts of 5 and of 50 a leaf by
 * chance. `exact` is the share of cases in which the first set is the causes and nothing else, `f1`
 * that of single combinations (harmonic mean of right ones among those named and among the true).
 * Of each case's times the least of ROUNDS counts; `ms` is their mean, `slowest_ms` the worst.
 * Instructions need perf_event_open (null where it is not there). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/localize.h"
#include "base/hash.h"
#include "base/memory.h"
#include "bench/drive/cost.h"

enum { ATTRIBUTES = 4, LEAVES = 20000, CAUSES_MAX = 3, ROUNDS = 5, KINDS = 5, ANY = -1 };

static const uint32_t dims[ATTRIBUTES] = {10, 25, 10, 8};

struct cause {
	int values[ATTRIBUTES];
	double left; /* of what was expected */
};

struct bench {
	uint32_t *values;
	double actual[LEAVES], expected[LEAVES];
	struct cause causes[CAUSES_MAX];
	uint32_t causes_count;
	uint64_t random;
	/* of all cases */
	uint32_t cases, exact, named, true_causes, right;
	double ms, slowest_ms, instructions;
};

static double uniform(struct bench *bench)
{
	bench->random += 0x9e3779b97f4a7c15ULL;
	return ((double)(hash_mix(bench->random) >> 11) + 0.5) * 0x1p-53;
}

static double normal(struct bench *bench)
{
	return sqrt(-2 * log(uniform(bench))) * cos(6.283185307179586 * uniform(bench));
}

static double poisson(struct bench *bench, double mean)
{
	double product = uniform(bench), end = exp(-mean);
	uint32_t count = 0;
	for (; product > end; count++)
		product *= uniform(bench);
	return count;
}

static void make_leaves(struct bench *bench)
{
	bench->values = memory_zeroed((size_t)LEAVES * ATTRIBUTES, sizeof(*bench->values));
	for (uint32_t i = 0; i < LEAVES; i++)
		for (uint32_t a = 0, rest = i; a < ATTRIBUTES; rest /= dims[a++])
			bench->values[(size_t)i * ATTRIBUTES + a] = rest % dims[a];
}

static bool hits(const struct bench *bench, uint32_t leaf, const struct cause *cause)
{
	for (uint32_t a = 0; a < ATTRIBUTES; a++)
		if (cause->values[a] != ANY &&
		    bench->values[(size_t)leaf * ATTRIBUTES + a] != (uint32_t)cause->values[a])
			return false;
	return true;
}

/* No cause within another. */
static bool contained(const struct cause *a, const struct cause *b)
{
	for (uint32_t i = 0; i < ATTRIBUTES; i++)
		if (b->values[i] != ANY && a->values[i] != b->values[i])
			return false;
	return true;
}

static struct cause draw_cause(struct bench *bench)
{
	struct cause cause = {{ANY, ANY, ANY, ANY}, 0.5 * uniform(bench)};
	uint32_t left = 1 + (uint32_t)(uniform(bench) * 3);
	while (left > 0) {
		uint32_t a = (uint32_t)(uniform(bench) * ATTRIBUTES);
		left -= cause.values[a] == ANY;
		cause.values[a] = (int)(uniform(bench) * dims[a]);
	}
	return cause;
}

static void draw_causes(struct bench *bench)
{
	uint32_t wanted = 1 + (uint32_t)(uniform(bench) * CAUSES_MAX);
	bench->causes_count = 0;
	while (bench->causes_count < wanted) {
		struct cause cause = draw_cause(bench);
		bool apart = true;
		for (uint32_t i = 0; i < bench->causes_count; i++)
			apart &= !contained(&cause, &bench->causes[i]) &&
				 !contained(&bench->causes[i], &cause);
		if (apart)
			bench->causes[bench->causes_count++] = cause;
	}
}

static double left_of(const struct bench *bench, uint32_t leaf)
{
	for (uint32_t i = 0; i < bench->causes_count; i++)
		if (hits(bench, leaf, &bench->causes[i]))
			return bench->causes[i].left;
	return 1;
}

static void make_case(struct bench *bench, uint32_t number)
{
	static const double noises[] = {0.01, 0.1, 0.25}, means[] = {5, 50};
	uint32_t kind = number % KINDS;
	draw_causes(bench);
	for (uint32_t i = 0; i < LEAVES; i++) {
		double usual = -log(uniform(bench)), left = left_of(bench, i);
		if (kind < 3) {
			double off = 1 + noises[kind] * normal(bench);
			bench->expected[i] = 100 * usual;
			bench->actual[i] = 100 * usual * left * (off > 0 ? off : 0);
		} else {
			bench->expected[i] = means[kind - 3] * usual;
			bench->actual[i] = poisson(bench, means[kind - 3] * usual * left);
		}
	}
}

static uint32_t count_right(const struct bench *bench, const struct localize_set *set)
{
	uint32_t right = 0;
	for (uint32_t i = 0; i < set->count; i++)
		for (uint32_t k = 0; k < bench->causes_count; k++) {
			const struct localize_combination *combination = &set->combinations[i];
			uint32_t mask = 0;
			for (uint32_t a = 0; a < ATTRIBUTES; a++)
				mask |= (uint32_t)(bench->causes[k].values[a] != ANY) << a;
			right += combination->attributes == mask &&
				 hits(bench, combination->leaf, &bench->causes[k]);
		}
	return right;
}

static void run_case(struct bench *bench)
{
	struct localize_leaves leaves = {.count = LEAVES,
					 .attributes = ATTRIBUTES,
					 .values = bench->values,
					 .actual = bench->actual,
					 .expected = bench->expected};
	struct localize_set sets[5] = {0};
	struct localize_report report;
	struct cost least = {UINT64_MAX, UINT64_MAX};
	for (uint32_t round = 0; round < ROUNDS; round++) {
		struct cost before = cost_now();
		localize(&leaves, sets, 5, &report);
		struct cost cost = cost_since(before);
		least.ns = cost.ns < least.ns ? cost.ns : least.ns;
		least.instructions = cost.instructions < least.instructions ? cost.instructions
									    : least.instructions;
	}
	double ms = (double)least.ns / 1e6;
	uint32_t right = count_right(bench, &sets[0]);
	bench->ms += ms;
	bench->slowest_ms = ms > bench->slowest_ms ? ms : bench->slowest_ms;
	bench->instructions += (double)least.instructions;
	bench->right += right;
	bench->named += sets[0].count;
	bench->true_causes += bench->causes_count;
	bench->exact += right == bench->causes_count && right == sets[0].count;
	bench->cases++;
}

static void print_figures(const struct bench *bench, bool json)
{
	char instructions[32] = "null";
	if (cost_counts_instructions())
		snprintf(instructions, sizeof(instructions), "%.0f",
			 bench->instructions / bench->cases);
	printf(json ? "{\"bench\":\"localize\",\"leaves\":%u,\"cases\":%u,\"ms\":%.2f,"
		      "\"slowest_ms\":%.2f,\"instructions\":%s,\"exact\":%.3f,\"f1\":%.3f}\n"
		    : "%u leaves, %u cases: %.2f ms, slowest %.2f ms, %s instructions, "
		      "exact %.3f, F1 %.3f\n",
	       LEAVES, bench->cases, bench->ms / bench->cases, bench->slowest_ms, instructions,
	       (double)bench->exact / bench->cases,
	       2.0 * bench->right / (bench->named + bench->true_causes));
}

int main(int argc, char **argv)
{
	bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
	unsigned long cases = argc > 1 + json ? strtoul(argv[1 + json], NULL, 10) : 100;
	if (cases == 0 || cases > 100000) {
		fprintf(stderr, "usage: bench-localize [--json] [cases]\n");
		return 2;
	}
	struct bench *bench = memory_zeroed(1, sizeof(*bench));
	bench->random = 1;
	make_leaves(bench);
	for (uint32_t i = 0; i < cases; i++) {
		make_case(bench, i);
		run_case(bench);
	}
	print_figures(bench, json);
	memory_free(bench->values);
	memory_free(bench);
	return 0;
}
