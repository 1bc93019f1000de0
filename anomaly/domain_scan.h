/* The Poisson scan over the instances of one side: which values of which dimension have more of the
 * change than of the traffic, and by how much more than chance would give them. Bounds: those of
 * the leaves. Pure; any thread. */
#pragma once

#include "anomaly/domain_leaf.h"

/* A value of a dimension with all its leaves. */
struct domain_candidate {
	enum dimension dimension;
	uint64_t value, name, process;
	uint64_t leaves; /* sum of hashes: equal for equal sets */
	double change, traffic, active;
};

/* One side's totals of what is not yet explained. */
struct domain_totals {
	double change, traffic, active;
};

/* A suspect as compared with those of other sides. */
struct domain_ranked {
	double score;
	struct suspect suspect;
};

struct domain_totals domain_scan_totals(const struct domain_leaf *leaves, uint32_t count);
/* The Poisson scan statistic: how much better K bad of T are explained by a rate of their own than
 * by the side's, less the price of naming one of `values` values of one of so many kinds. */
double domain_scan_score(const struct domain_candidate *candidate,
			 const struct domain_totals *totals, uint32_t values);
/* Without its name. */
struct suspect domain_scan_suspect(const struct domain_candidate *candidate, uint32_t kind,
				   const struct domain_totals *whole);
/* Takes the best, removes its leaves, and again while something is gained; returns how many. side:
 * DOMAIN_CLIENT or DOMAIN_SERVER. */
uint32_t domain_scan_side(struct domain_leaf *leaves, uint32_t count, uint32_t side,
			  const struct names *names,
			  struct domain_ranked ranked[ALERT_SUSPECTS_MAX]);
