/* Which border of zones stands out among lanes: between two, or between one and all others. These
 * are no partition of the lanes, so the scan over values of a dimension finds them not. Bounds:
 * DOMAIN_ZONES_MAX zones. Pure; any thread. */
#pragma once

#include "anomaly/domain_scan.h"

/* At most one; returns how many. */
uint32_t domain_border_rank(const struct domain_leaf *leaves, uint32_t count,
			    const struct names *names, struct domain_ranked *ranked);
