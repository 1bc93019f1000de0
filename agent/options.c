#include "agent/options.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/hostport.h"
#include "base/memory.h"

enum { NODE_MAX_BYTES = 253, LABEL_MAX_BYTES = 255 };

static const char *const clouds[] = {"auto", "off", "aws", "gcp", "azure", NULL};

#define FIELD(member) CONFIG_FIELD(struct agent_options, member)

static const char *const seccomp_modes[] = {"kill", "log", "off", NULL}; /* enum syscalls_mode */

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
	{.name = "labels",
	 .type = CONFIG_MAP,
	 FIELD(labels),
	 .max = "32",
	 .help = "Labels of the node: told with its facts, and what control records may select it "
		 "by. At most 255 bytes each."},
	{.name = "cloud.provider",
	 .type = CONFIG_ENUM,
	 FIELD(cloud),
	 .choices = clouds,
	 .fallback = "auto",
	 .help = "Whose metadata service says zone, region and instance. auto: the one that the "
		 "firmware or cloud-init names; elsewhere nobody is asked. What is configured as "
		 "zone and region wins."},
	{.name = "cloud.endpoint",
	 .type = CONFIG_STRING,
	 FIELD(cloud_endpoint),
	 .max = "256",
	 .help = "Address of the metadata service, http://host:port. By default the cloud's own, "
		 "http://169.254.169.254."},
	{.name = "kafka.brokers",
	 .type = CONFIG_STRINGS,
	 FIELD(brokers),
	 .fallback = "127.0.0.1:9092",
	 .min = "1",
	 .help = "Kafka brokers, host:port."},
	{.name = "kafka.topic",
	 .type = CONFIG_STRING,
	 FIELD(topic),
	 .fallback = "millrace.events",
	 .min = "1",
	 .max = "249",
	 .help = "The topic for events."},
	KAFKA_OPTIONS_ENTRIES(struct agent_options, kafka),
	{.name = "kafka.spool",
	 .type = CONFIG_SIZE,
	 FIELD(spool_bytes),
	 .fallback = "64MiB",
	 .min = "1MiB",
	 .max = "16GiB",
	 .help = "Memory for batches while the brokers are away. When it is full the oldest go, "
		 "counted."},
	{.name = "control.topic",
	 .type = CONFIG_STRING,
	 FIELD(control_topic),
	 .fallback = "millrace.control",
	 .max = "249",
	 .help = "The topic of control records, which change the agent's settings for a while. "
		 "Empty: none are obeyed."},
	{.name = "budget.cpu",
	 .type = CONFIG_DOUBLE,
	 FIELD(budget_cpu_percent),
	 .fallback = "0.5",
	 .min = "0",
	 .max = "100",
	 .unit = "% of the node's CPUs",
	 .help = "What the agent and its BPF programs may cost together, over 10 s. Beyond it the "
		 "agent leaves out one thing after another, and says what. 0: no bound."},
	SIGNING_KEY_ENTRIES(struct agent_options, signing),
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
	 .max = "2s", /* the pipeline takes who is not heard for 3 s for dead */
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
	 .max = "255",
	 .help = "Docker's data root: what its socket does not tell of a container is read there. "
		 "Empty: it is not."},
	{.name = "containers.docker_socket",
	 .type = CONFIG_STRING,
	 FIELD(docker_socket),
	 .fallback = "/run/docker.sock",
	 .max = "107",
	 .help = "Docker's API: containers' names, images and labels. Empty: it is not asked."},
	{.name = "containers.containerd_root",
	 .type = CONFIG_STRING,
	 FIELD(containerd_root),
	 .fallback = "/run/containerd",
	 .max = "255",
	 .help = "containerd's state: names, images and pods of its containers are read there. "
		 "Empty: they are not."},
	{.name = "containers.storage_root",
	 .type = CONFIG_STRING,
	 FIELD(storage_root),
	 .fallback = "/var/lib/containers/storage",
	 .max = "255",
	 .help = "Where podman and CRI-O list their containers; rootless ones are looked for in "
		 "their users' homes. Empty: not read."},
	{.name = "containers.storage_run",
	 .type = CONFIG_STRING,
	 FIELD(storage_run),
	 .fallback = "/run/containers/storage",
	 .max = "255",
	 .help = "Where they keep the state of those that run. Empty: not read."},
	{.name = "containers.ecs_endpoint",
	 .type = CONFIG_STRING,
	 FIELD(ecs_endpoint),
	 .fallback = "169.254.170.2:80",
	 .max = "63",
	 .help = "Where ECS's agent answers for task metadata (version 4), address:port: it is "
		 "asked "
		 "for the service of a container with ECS's labels. Empty: it is not, and such "
		 "containers go by their task's family."},
	{.name = "containers.labels",
	 .type = CONFIG_STRINGS,
	 FIELD(container_labels),
	 .max = "64",
	 .help = "Labels of containers that are told: those that begin with one of these. Empty: "
		 "all, up to 32 a container."},
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
	{.name = "limits.process_text",
	 .type = CONFIG_SIZE,
	 FIELD(process_text_bytes),
	 .fallback = "8MiB",
	 .min = "0",
	 .max = "1GiB",
	 .help = "Memory for processes' paths and command lines, which are told again in key "
		 "frames. Beyond it a command line is told whole once and kept to 255 bytes."},
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
	{.name = "limits.drops",
	 .type = CONFIG_UINT,
	 FIELD(drops_max),
	 .fallback = "4096",
	 .min = "16",
	 .max = "262144",
	 .unit = "rows",
	 .help = "Rows of dropped packets and ICMP errors a second, one a reason, place and tuple; "
		 "300 bytes of kernel memory each. Packets beyond are told by their reason alone."},
	{.name = "limits.udp_peers",
	 .type = CONFIG_UINT,
	 FIELD(udp_peers_max),
	 .fallback = "131072",
	 .min = "1024",
	 .max = "4194304",
	 .unit = "peers",
	 .help = "UDP peers counted at once, over all sockets; 200 bytes of kernel memory each "
		 "once used, and a socket's place. Datagrams of further ones are counted as "
		 "dropped."},
	{.name = "limits.lookups",
	 .type = CONFIG_UINT,
	 FIELD(lookups_max),
	 .fallback = "16384",
	 .min = "16",
	 .max = "1048576",
	 .unit = "lookups",
	 .help = "Name lookups that wait for their answer at once; 304 bytes each once used. "
		 "When it is full the oldest leaves, counted."},
	{.name = "nat.buffer",
	 .type = CONFIG_SIZE,
	 FIELD(nat_buffer_bytes),
	 .fallback = "8MiB",
	 .min = "4KiB",
	 .max = "256MiB",
	 .help = "Socket buffer for conntrack's events. What does not fit is counted and mended by "
		 "a dump."},
	{.name = "features.drops",
	 .type = CONFIG_BOOL,
	 FIELD(drops),
	 .fallback = "true",
	 .help = "Tell of packets that the kernel drops, and of ICMP errors that come."},
	{.name = "features.udp",
	 .type = CONFIG_BOOL,
	 FIELD(udp),
	 .fallback = "true",
	 .help = "Tell of UDP, by peer."},
	{.name = "features.dns",
	 .type = CONFIG_BOOL,
	 FIELD(dns),
	 .fallback = "true",
	 .help = "Tell of name lookups, UDP and TCP port 53: names, answers, latency, failures."},
	{.name = "features.sni",
	 .type = CONFIG_BOOL,
	 FIELD(sni),
	 .fallback = "true",
	 .help = "Tell of the names that TLS handshakes ask for (SNI), at sni.ports."},
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
	 .help = "Measure the BPF programs' run time, 0.3 s of 6.1; costs 40 to 80 ns a run of "
		 "every BPF program on the host then."},
	{.name = "dns.timeout",
	 .type = CONFIG_DURATION,
	 FIELD(dns_timeout_ns),
	 .fallback = "5s",
	 .min = "100ms",
	 .max = "60s",
	 .help = "A name lookup without an answer for so long has timed out."},
	{.name = "sni.ports",
	 .type = CONFIG_STRINGS,
	 FIELD(sni_port_texts),
	 .fallback = "443,8443",
	 .max = "8", /* AGENT_SNI_PORTS_MAX */
	 .help = "Ports, at most 8, whose dialled TCP connections are looked at for a TLS "
		 "handshake; "
		 "empty: none."},
	{.name = "security.drop_capabilities",
	 .type = CONFIG_BOOL,
	 FIELD(drop_capabilities),
	 .fallback = "true",
	 .help = "Give all capabilities away once everything is attached; one thread keeps what "
		 "entering other network namespaces takes."},
	{.name = "security.seccomp",
	 .type = CONFIG_ENUM,
	 FIELD(seccomp),
	 .choices = seccomp_modes,
	 .fallback = "kill",
	 .help = "What happens when the running agent makes a system call that it never needs: "
		 "kill it, log that to the kernel's audit log, or off."},
};

const struct config_table agent_options_table = {
	.program = "millrace-agent",
	.env_prefix = "MILLRACE_",
	.entries = entries,
	.count = sizeof(entries) / sizeof(entries[0]),
	.size = sizeof(struct agent_options),
};

static int check_labels(const struct config_map *labels, char why[CONFIG_ERROR_BYTES])
{
	for (size_t i = 0; i < labels->count; i++) {
		const struct config_pair *label = &labels->items[i];
		if (label->key[0] && strlen(label->key) <= LABEL_MAX_BYTES &&
		    strlen(label->value) <= LABEL_MAX_BYTES)
			continue;
		snprintf(why, CONFIG_ERROR_BYTES,
			 "labels: %.40s: a key has 1 to %d bytes, a value at most %d", label->key,
			 LABEL_MAX_BYTES, LABEL_MAX_BYTES);
		return -EINVAL;
	}
	return 0;
}

static int check_endpoint(const char *endpoint, char why[CONFIG_ERROR_BYTES])
{
	struct sockaddr_storage address;
	if (!endpoint || !endpoint[0] || hostport_parse(endpoint, &address) == 0)
		return 0;
	snprintf(why, CONFIG_ERROR_BYTES,
		 "containers.ecs_endpoint: %.63s: must be an address and a port, as "
		 "169.254.170.2:80, or empty",
		 endpoint);
	return -EINVAL;
}

static int check_sni_ports(struct agent_options *options, char why[CONFIG_ERROR_BYTES])
{
	const struct config_strings *texts = &options->sni_port_texts;
	memset(options->sni_ports, 0, sizeof(options->sni_ports));
	assert(texts->count <= AGENT_SNI_PORTS_MAX);
	for (size_t i = 0; i < texts->count; i++) {
		char *end;
		const char *text = texts->items[i];
		unsigned long port = strtoul(text, &end, 10);
		if (text[0] < '0' || text[0] > '9' || *end || port < 1 || port > UINT16_MAX) {
			snprintf(why, CONFIG_ERROR_BYTES, "sni.ports: %.40s is no port", text);
			return -EINVAL;
		}
		options->sni_ports[i] = (uint16_t)port;
	}
	return 0;
}

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
	struct keys *keys;
	if (signing_keys(&options->signing, &keys, why))
		return -EINVAL;
	keys_free(keys);
	int error = check_labels(&options->labels, why);
	if (!error)
		error = check_endpoint(options->ecs_endpoint, why);
	if (!error)
		error = check_sni_ports(options, why);
	return error ? error : kafka_options_check(&options->kafka, why);
}
