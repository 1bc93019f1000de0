/* Leaves of a ranking: what each instance, or lane, that a query asks for has of the change and of
 * the traffic, from rows of the log. Bounds: as many as the log has rows. Pure; one thread. */
#pragma once

#include "anomaly/domain_log.h"

/* An instance in a ranking: how much of the change and of the traffic is its own. */
struct domain_leaf {
	struct domain_instance instance;
	double change, traffic;
	double before;	/* the change in the usual time, */
	double count;	/* of so much traffic; */
	double earlier; /* and in the time before that */
	double usual;	/* the traffic of the newest 10 s, where panes tell of the change */
	double active, was_active; /* connections in the newest 10 s, and in the usual time */
	uint8_t side;
	bool explained;
};

/* Told by instances in windows of 10 s alone. */
static inline bool metric_is_long(uint32_t metric)
{
	return metric != METRIC_CONNECTIONS_FAILED && metric != METRIC_FAILURE_RATIO &&
	       metric != METRIC_CONNECTIONS_RESET;
}

static inline bool metric_is_volume(uint32_t metric)
{
	return metric == METRIC_BYTES || metric == METRIC_CONNECTIONS_OPENED;
}

static inline bool metric_is_of_lookups(uint32_t metric)
{
	return metric == METRIC_DNS_FAILURE_RATIO || metric == METRIC_DNS_LATENCY;
}

/* Into log->leaves, by side and instance, one of each, and returns how many. usual: ten seconds of
 * before the episode; NULL: nothing is compared with them. */
uint32_t domain_leaf_gather(struct domain_log *log, const struct domain_query *query,
			    const struct domain_window *usual);
/* Brings the changes of one side to the scale of counts, for domain_scan.h. follows: there is
 * something usual. */
void domain_leaf_scale(struct domain_leaf *leaves, uint32_t count, const struct domain_query *query,
		       bool follows);
