/* The agent's configuration. The table in options.c is its reference. Plain data. */
#pragma once

#include "config/config.h"

struct agent_options {
	char *node, *zone, *region, *role;
	struct config_strings brokers;
	char *topic;
	struct config_map kafka_properties;
	uint64_t spool_bytes;
	char *key;
	struct config_strings scope_netns, scope_cgroups;
	uint64_t batch_interval_ns, scan_period_ns, key_frame_ns;
	double scan_cpu_percent;
	char *listen;
	char *docker_root;
	uint64_t sockets_max, processes_max, cgroups_max, nat_max;
	bool processes, conntrack, self_probe, run_stats;
};

extern const struct config_table agent_options_table;

/* What the table cannot say: the node's name (its host's by default), key length. 0, or -EINVAL and
 * why. */
int agent_options_finish(struct agent_options *options, char why[CONFIG_ERROR_BYTES]);
