/* The agent's configuration. The table in options.c is its reference. Plain data. */
#pragma once

#include "config/config.h"
#include "kafka/options.h"
#include "kafka/signing.h"

enum agent_cloud {
	AGENT_CLOUD_AUTO,
	AGENT_CLOUD_OFF,
	AGENT_CLOUD_AWS, /* in the order of enum cloud */
	AGENT_CLOUD_GCP,
	AGENT_CLOUD_AZURE,
};

enum { AGENT_SNI_PORTS_MAX = 8 };

struct agent_options {
	char *node, *zone, *region, *role;
	struct config_strings brokers;
	char *topic;
	struct kafka_options kafka;
	uint64_t spool_bytes;
	struct signing_options signing;
	struct config_strings scope_netns, scope_cgroups;
	uint64_t batch_interval_ns, scan_period_ns, key_frame_ns;
	double scan_cpu_percent;
	char *listen;
	char *docker_root, *docker_socket, *containerd_root, *storage_root, *storage_run;
	char *ecs_endpoint;
	struct config_strings container_labels;
	uint64_t sockets_max, processes_max, cgroups_max, nat_max, drops_max;
	uint64_t udp_peers_max, lookups_max, dns_timeout_ns;
	uint64_t nat_buffer_bytes;
	struct config_map labels;
	uint32_t cloud; /* enum agent_cloud */
	char *cloud_endpoint;
	double budget_cpu_percent; /* of all CPUs; 0: none */
	char *control_topic;
	uint64_t process_text_bytes;
	bool processes, conntrack, drops, udp, dns, sni, self_probe, run_stats;
	struct config_strings sni_port_texts;
	uint16_t sni_ports[AGENT_SNI_PORTS_MAX]; /* 0: none; by agent_options_finish() */
	bool drop_capabilities;
	uint32_t seccomp; /* enum syscalls_mode */
};

extern const struct config_table agent_options_table;

/* What the table cannot say: the node's name (its host's by default), lengths of keys and labels,
 * ports.
 * 0, or -EINVAL and why. */
int agent_options_finish(struct agent_options *options, char why[CONFIG_ERROR_BYTES]);
