#include "agent/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

enum { NODE_MAX_BYTES = 253, KEY_MIN_BYTES = 16 };

#define FIELD(member) CONFIG_FIELD(struct agent_options, member)

static const struct config_entry entries[] = {
	{.name = "node",
	 .type = CONFIG_STRING,
	 FIELD(node),
	 .min = "1",
	 .max = "253",
	 .help = "The node's id, unique in the deployment. By default the host's name."},
	{.name = "zone",
	 .type = CONFIG_STRING,
	 FIELD(zone),
	 .max = "128",
	 .help = "The node's zone, a dimension of every edge."},
	{.name = "region",
	 .type = CONFIG_STRING,
	 FIELD(region),
	 .max = "128",
	 .help = "The node's region."},
	{.name = "role",
	 .type = CONFIG_STRING,
	 FIELD(role),
	 .max = "128",
	 .help = "What the node is for. Processes that no container or unit names are told apart "
		 "by it."},
	{.name = "kafka.brokers",
	 .type = CONFIG_STRINGS,
	 FIELD(brokers),
	 .fallback = "127.0.0.1:7472",
	 .min = "1",
	 .help = "Kafka brokers, host:port."},
	{.name = "kafka.topic",
	 .type = CONFIG_STRING,
	 FIELD(topic),
	 .fallback = "millrace.events",
	 .min = "1",
	 .max = "249",
	 .help = "The topic for events."},
	{.name = "kafka.properties",
	 .type = CONFIG_MAP,
	 FIELD(kafka_properties),
	 .secret = true,
	 .help = "Properties of librdkafka, over the agent's own: security.protocol, sasl.*, "
		 "ssl.*."},
	{.name = "kafka.spool",
	 .type = CONFIG_SIZE,
	 FIELD(spool_bytes),
	 .fallback = "64MiB",
	 .min = "1MiB",
	 .max = "16GiB",
	 .help = "Memory for batches while the brokers are away. When it is full the oldest go, "
		 "counted."},
	{.name = "key",
	 .type = CONFIG_STRING,
	 FIELD(key),
	 .secret = true,
	 .min = "16",
	 .max = "1024",
	 .help = "The deployment's key: batches are signed with the node's own key made from it. "
		 "As key_file."},
	{.name = "scope.netns",
	 .type = CONFIG_STRINGS,
	 FIELD(scope_netns),
	 .max = "1024",
	 .help = "Only these network namespaces: a name in /run/netns, a pid, or an inode number. "
		 "Empty: all."},
	{.name = "scope.cgroups",
	 .type = CONFIG_STRINGS,
	 FIELD(scope_cgroups),
	 .max = "64",
	 .help = "Only cgroups whose path begins with one of these. Empty: all."},
	{.name = "batch.interval",
	 .type = CONFIG_DURATION,
	 FIELD(batch_interval_ns),
	 .fallback = "100ms",
	 .min = "10ms",
	 .max = "5s",
	 .help = "How long events are gathered into one batch."},
	{.name = "scan.period",
	 .type = CONFIG_DURATION,
	 FIELD(scan_period_ns),
	 .fallback = "1s",
	 .min = "100ms",
	 .max = "15s",
	 .help = "How often counters of open sockets are read, unless scan.cpu makes it longer."},
	{.name = "scan.cpu",
	 .type = CONFIG_DOUBLE,
	 FIELD(scan_cpu_percent),
	 .fallback = "0.5",
	 .min = "0.01",
	 .max = "100",
	 .unit = "% of a core",
	 .help = "What reading them may cost: with very many sockets the period grows, to 15 s."},
	{.name = "key_frame.period",
	 .type = CONFIG_DURATION,
	 FIELD(key_frame_ns),
	 .fallback = "45s",
	 .min = "1s",
	 .max = "45s",
	 .help = "Every live object is told again at least this often; the pipeline forgets "
		 "others."},
	{.name = "listen",
	 .type = CONFIG_STRING,
	 FIELD(listen),
	 .fallback = "127.0.0.1:7471",
	 .help = "Address of /metrics, /healthz and /readyz. Empty: none."},
	{.name = "docker.root",
	 .type = CONFIG_STRING,
	 FIELD(docker_root),
	 .fallback = "/var/lib/docker",
	 .help = "Docker's data root: containers' names, images and compose labels are read "
		 "there."},
	{.name = "limits.sockets",
	 .type = CONFIG_UINT,
	 FIELD(sockets_max),
	 .fallback = "131072",
	 .min = "1024",
	 .max = "4194304",
	 .unit = "sockets",
	 .help = "Live sockets told of; 200 bytes each once used."},
	{.name = "limits.processes",
	 .type = CONFIG_UINT,
	 FIELD(processes_max),
	 .fallback = "32768",
	 .min = "64",
	 .max = "4194304",
	 .unit = "processes",
	 .help = "Processes known."},
	{.name = "limits.cgroups",
	 .type = CONFIG_UINT,
	 FIELD(cgroups_max),
	 .fallback = "4096",
	 .min = "64",
	 .max = "65536",
	 .unit = "cgroups",
	 .help = "Cgroups known; the least recently used goes first."},
	{.name = "limits.nat",
	 .type = CONFIG_UINT,
	 FIELD(nat_max),
	 .fallback = "65536",
	 .min = "1024",
	 .max = "4194304",
	 .unit = "entries",
	 .help = "NAT entries known."},
	{.name = "features.processes",
	 .type = CONFIG_BOOL,
	 FIELD(processes),
	 .fallback = "true",
	 .help = "Tell of processes: starts, programs, ends."},
	{.name = "features.conntrack",
	 .type = CONFIG_BOOL,
	 FIELD(conntrack),
	 .fallback = "true",
	 .help = "Tell of NAT, from conntrack."},
	{.name = "features.self_probe",
	 .type = CONFIG_BOOL,
	 FIELD(self_probe),
	 .fallback = "true",
	 .help = "A marked loopback connection every 5 s, which the pipeline measures its latency "
		 "with."},
	{.name = "features.run_stats",
	 .type = CONFIG_BOOL,
	 FIELD(run_stats),
	 .fallback = "true",
	 .help = "Measure the BPF programs' run time; costs 40 ns a run of every BPF program on "
		 "the host."},
};

const struct config_table agent_options_table = {
	.program = "millrace-agent",
	.env_prefix = "MILLRACE_",
	.entries = entries,
	.count = sizeof(entries) / sizeof(entries[0]),
	.size = sizeof(struct agent_options),
};

int agent_options_finish(struct agent_options *options, char why[CONFIG_ERROR_BYTES])
{
	if (!options->node) {
		char *name = memory_zeroed(NODE_MAX_BYTES + 1, 1);
		if (gethostname(name, NODE_MAX_BYTES) || !name[0]) {
			free(name);
			snprintf(why, CONFIG_ERROR_BYTES, "the host has no name: set `node`");
			return -EINVAL;
		}
		options->node = name;
	}
	if (options->key && strlen(options->key) < KEY_MIN_BYTES) {
		snprintf(why, CONFIG_ERROR_BYTES, "key: at least %d bytes are wanted",
			 KEY_MIN_BYTES);
		return -EINVAL;
	}
	return 0;
}
