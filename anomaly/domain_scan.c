#include "anomaly/domain_scan.h"

#include <stdlib.h>

#include "anomaly/logarithm.h"
#include "anomaly/name_text.h"
#include "base/hash.h"
#include "base/memory.h"

struct domain_totals domain_scan_totals(const struct domain_leaf *leaves, uint32_t count)
{
	struct domain_totals totals = {0};
	for (uint32_t i = 0; i < count; i++) {
		if (leaves[i].explained)
			continue;
		totals.change += leaves[i].change;
		totals.traffic += leaves[i].traffic;
		totals.active += leaves[i].active;
	}
	return totals;
}

double domain_scan_score(const struct domain_candidate *candidate,
			 const struct domain_totals *totals, uint32_t values)
{
	enum { EXCESS_PER_CENT_MIN = 125 };
	double share = candidate->traffic / totals->traffic;
	/* Few attempts tell little of who makes them: so do the connections that they made. */
	if (totals->active > 0 && candidate->active / totals->active > share)
		share = candidate->active / totals->active;
	double expected = totals->change * share;
	if (candidate->change * 100 < expected * EXCESS_PER_CENT_MIN || candidate->change <= 0)
		return 0;
	/* No traffic and yet some change cannot be: but never divide by it. */
	if (expected < 1e-3)
		expected = 1e-3;
	double gain = candidate->change * logarithm(candidate->change / expected) -
		      (candidate->change - expected);
	return gain - logarithm(values) - logarithm(SUSPECT_KINDS);
}

struct keyed_leaf {
	uint64_t value;
	uint32_t leaf;
};

static int compare_keyed(const void *a, const void *b)
{
	const struct keyed_leaf *left = a, *right = b;
	int order = compare_words(left->value, right->value);
	return order ? order : compare_words(left->leaf, right->leaf);
}

/* One candidate for each value of the dimension that an unexplained leaf has. */
static uint32_t list_candidates(const struct domain_leaf *leaves, uint32_t count,
				enum dimension dimension, struct keyed_leaf *keyed,
				struct domain_candidate *candidates)
{
	uint32_t keys = 0, listed = 0;
	for (uint32_t i = 0; i < count; i++)
		if (!leaves[i].explained)
			keyed[keys++] =
				(struct keyed_leaf){leaves[i].instance.values[dimension], i};
	qsort(keyed, keys, sizeof(*keyed), compare_keyed);
	for (uint32_t i = 0; i < keys; i++) {
		const struct domain_leaf *leaf = &leaves[keyed[i].leaf];
		if (listed == 0 || candidates[listed - 1].value != keyed[i].value)
			candidates[listed++] =
				(struct domain_candidate){.dimension = dimension,
							  .value = keyed[i].value,
							  .name = leaf->instance.name,
							  .process = leaf->instance.process};
		struct domain_candidate *candidate = &candidates[listed - 1];
		candidate->leaves += hash_mix(leaf->instance.values[DIMENSION_INSTANCE]);
		candidate->change += leaf->change;
		candidate->traffic += leaf->traffic;
		candidate->active += leaf->active;
	}
	return listed;
}

/* The best of all dimensions first, then the values of other dimensions with the very same leaves:
 * the most specific stands for its class, but a version that a single instance has, which is more
 * than that it is an instance. */
struct finding {
	double score;
	uint32_t count;
	struct domain_candidate names[DIMENSIONS];
};

static bool candidate_named(const struct domain_candidate *candidate)
{
	return candidate->dimension == DIMENSION_INSTANCE ? candidate->name != 0
							  : candidate->value != 0;
}

static struct finding find_best(const struct domain_leaf *leaves, uint32_t count,
				const struct domain_totals *totals, struct keyed_leaf *keyed,
				struct domain_candidate *candidates)
{
	struct finding finding = {0};
	uint32_t listed[DIMENSIONS], from = 0;
	uint64_t best_leaves = 0;
	for (uint32_t d = 0; d < DIMENSIONS; from += listed[d++]) {
		listed[d] = list_candidates(leaves, count, d, keyed, candidates + from);
		for (uint32_t i = from; i < from + listed[d]; i++) {
			double score = domain_scan_score(&candidates[i], totals, listed[d]);
			if (score > finding.score && candidate_named(&candidates[i])) {
				finding.score = score;
				best_leaves = candidates[i].leaves;
			}
		}
	}
	for (uint32_t i = 0; finding.score > 0 && i < from; i++)
		if (candidates[i].leaves == best_leaves && candidate_named(&candidates[i]) &&
		    finding.count < DIMENSIONS)
			finding.names[finding.count++] = candidates[i];
	if (finding.count > 1 && finding.names[0].dimension == DIMENSION_INSTANCE &&
	    finding.names[1].dimension == DIMENSION_VERSION) {
		struct domain_candidate version = finding.names[1];
		finding.names[1] = finding.names[0];
		finding.names[0] = version;
	}
	return finding;
}

static const uint8_t suspect_kinds[2][DIMENSIONS] = {
	{SUSPECT_CLIENT_INSTANCE, SUSPECT_CLIENT_VERSION, SUSPECT_CLIENT_NODE, SUSPECT_CLIENT_ZONE},
	{SUSPECT_SERVER_INSTANCE, SUSPECT_SERVER_VERSION, SUSPECT_SERVER_NODE, SUSPECT_SERVER_ZONE},
};

struct suspect domain_scan_suspect(const struct domain_candidate *candidate, uint32_t kind,
				   const struct domain_totals *whole)
{
	struct suspect suspect = {.kind = kind, .share = candidate->change / whole->change};
	double traffic = candidate->traffic / whole->traffic;
	/* New here and without usual traffic: as much as one unit of it would give. */
	suspect.excess = suspect.share / (traffic > 0 ? traffic : 1 / whole->traffic);
	return suspect;
}

static void explain(struct domain_leaf *leaves, uint32_t count,
		    const struct domain_candidate *candidate)
{
	for (uint32_t i = 0; i < count; i++)
		leaves[i].explained |=
			leaves[i].instance.values[candidate->dimension] == candidate->value;
}

uint32_t domain_scan_side(struct domain_leaf *leaves, uint32_t count, uint32_t side,
			  const struct names *names,
			  struct domain_ranked ranked[ALERT_SUSPECTS_MAX])
{
	uint32_t found = 0;
	struct domain_totals whole = domain_scan_totals(leaves, count), left = whole;
	if (whole.change <= 0 || whole.traffic <= 0)
		return 0;
	struct keyed_leaf *keyed = memory_resize(NULL, count, sizeof(*keyed));
	struct domain_candidate *candidates =
		memory_resize(NULL, (size_t)count * DIMENSIONS, sizeof(*candidates));
	while (found < ALERT_SUSPECTS_MAX && left.change > 0 && left.traffic > 0) {
		struct finding finding = find_best(leaves, count, &left, keyed, candidates);
		if (finding.count == 0)
			break;
		for (uint32_t i = 0; i < finding.count && found < ALERT_SUSPECTS_MAX; i++) {
			const struct domain_candidate *candidate = &finding.names[i];
			uint32_t kind = suspect_kinds[side][candidate->dimension];
			ranked[found].score = finding.score;
			ranked[found].suspect = domain_scan_suspect(candidate, kind, &whole);
			name_text(names,
				  candidate->dimension == DIMENSION_INSTANCE ? candidate->name
									     : candidate->value,
				  ranked[found++].suspect.name);
		}
		explain(leaves, count, &finding.names[0]);
		left = domain_scan_totals(leaves, count);
	}
	memory_free(candidates);
	memory_free(keyed);
	return found;
}
