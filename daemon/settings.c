#include "daemon/settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/notify/template.h"
#include "api/notify/webhook.h"
#include "base/address.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/patterns.h"

static const char *const comparisons[] = {"above", "below", NULL}; /* enum comparison */
static const char *const monitor_severities[] = {"info",     "warning", "error",
						 "critical", "auto",	NULL};
static const char *const monitor_metrics[] = {"connections_failed",
					      "failure_ratio",
					      "connections_opened",
					      "connections_reset",
					      "bytes",
					      "retransmit_ratio",
					      "connect_latency",
					      "rtt",
					      "dns_failure_ratio",
					      "dns_latency",
					      "clients_new",
					      "all",
					      NULL}; /* enum metric */
static const char *const protocols[] = {"any", "tcp", "udp", NULL};
static const uint8_t protocol_numbers[] = {0, 6, 17};
static const char *const severities[] = {"info", "warning", "error", "critical", NULL};
static const char *const receiver_types[] = {"slack", "pagerduty", "webhook", "alertmanager",
					     NULL}; /* enum receiver_kind */
static const char *const data_loss_choices[] = {"continue", "stop", NULL};
static const char *const kubernetes_sources[] = {"off", "in-cluster", "kubeconfig", NULL};
static const char *const carriers[] = {"memory", "kafka", NULL};
static const char *const per_choices[] = {"edge", "server", NULL};
static const char *const windows[] = {"250ms", "1s", "10s", "60s", "1h", NULL};
static const uint64_t windows_ns[] = {PANE_NS, NS_PER_S, 10 * NS_PER_S, 60 * NS_PER_S,
				      3600 * NS_PER_S};

#define MONITOR(member) CONFIG_FIELD(struct settings_monitor, member)

static const struct config_entry monitor_entries[] = {
	{.name = "name",
	 .type = CONFIG_STRING,
	 MONITOR(name),
	 .required = true,
	 .min = "1",
	 .max = "63",
	 .help = "Name of the monitor; part of each alert. At most 60 bytes with kind: burn_rate."},
	{.name = "kind",
	 .type = CONFIG_ENUM,
	 MONITOR(kind),
	 .choices = monitor_kind_names,
	 .fallback = "threshold",
	 .help = "threshold: a metric is beyond a number. burn_rate: a server uses up an error "
		 "budget of its own. baseline: what the built-in baselines tell of some edges. "
		 "new_edge: an edge that was not there before, or must not be. absence: nothing "
		 "passes any more."},
	{.name = "metric",
	 .type = CONFIG_ENUM,
	 MONITOR(metric),
	 .choices = monitor_metrics,
	 .fallback = "all",
	 .help = "With kind: threshold what is measured, required; clients_new only with per: "
		 "server. With kind: baseline whose, or all; connections_failed has none. Not with "
		 "other kinds."},
	{.name = "comparison",
	 .type = CONFIG_ENUM,
	 MONITOR(comparison),
	 .choices = comparisons,
	 .fallback = "above",
	 .help = "Fires when the value is above or below the threshold."},
	{.name = "threshold",
	 .type = CONFIG_DOUBLE,
	 MONITOR(threshold),
	 .fallback = "-1",
	 .help = "Required with kind: threshold, as the following up to window only with it: 0 or "
		 "more in the metric's unit: counts, ratios from 0 to 1, per second, or seconds. "
		 "-1: none."},
	{.name = "clear",
	 .type = CONFIG_DOUBLE,
	 MONITOR(clear),
	 .fallback = "-1",
	 .help = "Value that counts as quiet again, on the threshold's quiet side; -1: the "
		 "threshold itself."},
	{.name = "window",
	 .type = CONFIG_DURATION,
	 MONITOR(window_ns),
	 .fallback = "1s",
	 .min = "250ms",
	 .max = "60s",
	 .help = "Trailing window that is measured, in steps of 250ms; with zones or versions of "
		 "10s."},
	{.name = "clear_after",
	 .type = CONFIG_DURATION,
	 MONITOR(clear_after_ns),
	 .fallback = "0s",
	 .max = "1h",
	 .help = "Resolves after being quiet for this long, 250ms at least; 0s: 5s, with kind: "
		 "new_edge 5m. Not with kind: baseline."},
	{.name = "minimum",
	 .type = CONFIG_UINT,
	 MONITOR(minimum),
	 .fallback = "0",
	 .max = "1000000000",
	 .unit = "connections",
	 .help = "Silent while fewer connections were attempted in the window; 0: it also looks at "
		 "those that stay open for long."},
	{.name = "objective",
	 .type = CONFIG_DOUBLE,
	 MONITOR(objective),
	 .fallback = "0",
	 .min = "0",
	 .max = "0.99999",
	 .unit = "share of connections",
	 .help = "Required with kind: burn_rate, and only with it: what is to succeed, 0.5 or "
		 "more. "
		 "It takes the place of baselines.objective for the servers that match."},
	{.name = "sensitivity",
	 .type = CONFIG_DOUBLE,
	 MONITOR(sensitivity),
	 .fallback = "0",
	 .min = "0",
	 .max = "100",
	 .unit = "decades",
	 .help = "Only with kind: baseline: how rare a departure must be, 3 or more; 0: as "
		 "baselines.sensitivity."},
	{.name = "silent",
	 .type = CONFIG_BOOL,
	 MONITOR(silent),
	 .fallback = "false",
	 .help = "Only with kind: baseline: it tells nothing, whatever another monitor says."},
	{.name = "absent_for",
	 .type = CONFIG_DURATION,
	 MONITOR(absent_for_ns),
	 .fallback = "5m",
	 .max = "24h",
	 .help = "With kind: absence: so long a silence, 10s at least; who was not there for as "
		 "long "
		 "before is not missed."},
	{.name = "learn",
	 .type = CONFIG_DURATION,
	 MONITOR(learn_ns),
	 .fallback = "1h",
	 .max = "30d",
	 .help = "With kind: new_edge: edges that are seen in so long a time from the start on are "
		 "usual, and so is an edge that has been told for so long. 0s: none is usual, so "
		 "what "
		 "matches must not be."},
	{.name = "severity",
	 .type = CONFIG_ENUM,
	 MONITOR(severity),
	 .choices = monitor_severities,
	 .fallback = "auto",
	 .help = "Severity of its alerts. auto: error; with kind: baseline as without the monitor. "
		 "The slowest of the windows of burn_rate has warning at most."},
	{.name = "per",
	 .type = CONFIG_ENUM,
	 MONITOR(per),
	 .choices = per_choices,
	 .fallback = "edge",
	 .help = "One alert for each edge, or for each server workload and port over all its "
		 "clients. burn_rate is always per server, baseline and new_edge never."},
	{.name = "client",
	 .type = CONFIG_STRINGS,
	 MONITOR(client),
	 .single = true,
	 .help = "Only edges from workloads that match one of these patterns (* and ?) and none "
		 "that "
		 "has a ! before it; all by default. In all at most 511 bytes. Not with per: "
		 "server."},
	{.name = "server",
	 .type = CONFIG_STRINGS,
	 MONITOR(server),
	 .single = true,
	 .help = "Only edges to such workloads; likewise."},
	{.name = "client_namespace",
	 .type = CONFIG_STRINGS,
	 MONITOR(client_namespace),
	 .single = true,
	 .help = "Only edges from workloads whose namespace, what stands before the first / of "
		 "their name, matches; as all that follow, at most 127 bytes. Not with per: "
		 "server."},
	{.name = "server_namespace",
	 .type = CONFIG_STRINGS,
	 MONITOR(server_namespace),
	 .single = true,
	 .help = "Only edges to workloads of such namespaces."},
	{.name = "client_zone",
	 .type = CONFIG_STRINGS,
	 MONITOR(client_zone),
	 .single = true,
	 .help = "Only what of an edge comes from such zones. Zones and versions are looked at "
		 "once in ten seconds, with kind: threshold, burn_rate and absence."},
	{.name = "server_zone",
	 .type = CONFIG_STRINGS,
	 MONITOR(server_zone),
	 .single = true,
	 .help = "Only what of an edge goes to such zones."},
	{.name = "client_version",
	 .type = CONFIG_STRINGS,
	 MONITOR(client_version),
	 .single = true,
	 .help = "Only what of an edge comes from such versions."},
	{.name = "server_version",
	 .type = CONFIG_STRINGS,
	 MONITOR(server_version),
	 .single = true,
	 .help = "Only what of an edge goes to such versions."},
	{.name = "protocol",
	 .type = CONFIG_ENUM,
	 MONITOR(protocol),
	 .choices = protocols,
	 .fallback = "any",
	 .help = "Only edges of this protocol."},
	{.name = "port",
	 .type = CONFIG_UINT,
	 MONITOR(port),
	 .fallback = "0",
	 .max = "65535",
	 .help = "Only this server port; 0: all."},
};

const struct config_table settings_monitor_table = {
	.entries = monitor_entries,
	.count = sizeof(monitor_entries) / sizeof(monitor_entries[0]),
	.size = sizeof(struct settings_monitor),
};

#define RECEIVER(member) CONFIG_FIELD(struct settings_receiver, member)

static const struct config_entry receiver_entries[] = {
	{.name = "name",
	 .type = CONFIG_STRING,
	 RECEIVER(name),
	 .required = true,
	 .min = "1",
	 .max = "63",
	 .help = "Name of the receiver, in metrics and in the API."},
	{.name = "type",
	 .type = CONFIG_ENUM,
	 RECEIVER(type),
	 .choices = receiver_types,
	 .required = true,
	 .help = "slack: incoming webhook, or a bot with its token; pagerduty: Events API v2; "
		 "alertmanager: its API v2; "
		 "webhook: any other, signed."},
	{.name = "url",
	 .type = CONFIG_STRING,
	 RECEIVER(url),
	 .secret = true,
	 .help = "The webhook's URL; the Alertmanager's, before its /api. PagerDuty: "
		 "https://events.pagerduty.com/v2/enqueue by default; Slack's bot: "
		 "https://slack.com/api."},
	{.name = "token",
	 .type = CONFIG_STRING,
	 RECEIVER(token),
	 .secret = true,
	 .max = "512",
	 .help = "Of Slack's bot (xoxb-...), with the scope chat:write; with channel, in place of "
		 "a "
		 "webhook's url."},
	{.name = "channel",
	 .type = CONFIG_STRING,
	 RECEIVER(channel),
	 .min = "1",
	 .max = "80",
	 .help = "Where the bot writes: the channel's id, or #name of a public one."},
	{.name = "routing_key",
	 .type = CONFIG_STRING,
	 RECEIVER(routing_key),
	 .secret = true,
	 .help = "PagerDuty's integration key, 32 characters."},
	{.name = "secret",
	 .type = CONFIG_STRING,
	 RECEIVER(secret),
	 .secret = true,
	 .help = "Of a webhook: signs its messages; whsec_ and 24 to 64 random bytes in base64."},
	{.name = "former_secret",
	 .type = CONFIG_STRING,
	 RECEIVER(former_secret),
	 .secret = true,
	 .help = "Of a webhook: signs too, while receivers change to another secret."},
	{.name = "title",
	 .type = CONFIG_STRING,
	 RECEIVER(title),
	 .max = "255",
	 .help = "What a message is headed with, with {{ field }} for what the alert has; "
		 "alerts.md "
		 "lists the fields."},
	{.name = "text",
	 .type = CONFIG_STRING,
	 RECEIVER(text),
	 .max = "2047",
	 .help = "What it says below that, likewise, in place of the summary."},
	{.name = "severity",
	 .type = CONFIG_ENUM,
	 RECEIVER(severity),
	 .choices = severities,
	 .fallback = "info",
	 .help = "Alerts of lesser severity are not sent."},
	{.name = "match.monitor",
	 .type = CONFIG_STRINGS,
	 RECEIVER(match[ROUTE_MONITOR]),
	 .max = "64",
	 .help = "Only incidents with an episode of a monitor that matches one of these "
		 "patterns (* and ?; ! before one excludes); all by default."},
	{.name = "match.client",
	 .type = CONFIG_STRINGS,
	 RECEIVER(match[ROUTE_CLIENT]),
	 .max = "64",
	 .help = "Only with an episode whose client workload matches; that of all "
		 "clients is empty."},
	{.name = "match.server",
	 .type = CONFIG_STRINGS,
	 RECEIVER(match[ROUTE_SERVER]),
	 .max = "64",
	 .help = "Only with an episode whose server workload matches."},
	{.name = "match.namespace",
	 .type = CONFIG_STRINGS,
	 RECEIVER(match[ROUTE_NAMESPACE]),
	 .max = "64",
	 .help = "Only with an episode whose server is of such a namespace: what stands "
		 "before the / of its name."},
	{.name = "match.cause_only",
	 .type = CONFIG_BOOL,
	 RECEIVER(cause_only),
	 .fallback = "false",
	 .help = "Only the episode that names the incident counts, not the others that it tells "
		 "of."},
	{.name = "self_alerts",
	 .type = CONFIG_BOOL,
	 RECEIVER(self_alerts),
	 .fallback = "false",
	 .help = "Also send alerts about Millrace itself: blind, behind, a receiver that fails."},
	{.name = "per_minute",
	 .type = CONFIG_UINT,
	 RECEIVER(per_minute),
	 .fallback = "0",
	 .max = "60000",
	 .unit = "messages a minute",
	 .help = "The pace; 0: what the service allows: 60 for slack, 50 for its bot, 100 for "
		 "pagerduty; 600 for webhook and alertmanager."},
	{.name = "burst",
	 .type = CONFIG_UINT,
	 RECEIVER(burst),
	 .fallback = "0",
	 .max = "1000",
	 .unit = "messages",
	 .help = "So many at once after a rest; 0: 3 for slack, 10 for pagerduty, 50 for webhook "
		 "and alertmanager."},
	{.name = "resolve_after",
	 .type = CONFIG_DURATION,
	 RECEIVER(resolve_after_ns),
	 .fallback = "5m",
	 .min = "10s",
	 .max = "24h",
	 .help = "Of an alertmanager: it takes for over what it was not told of for so long; what "
		 "fires is told again five times as often."},
};

static const struct config_table receiver_table = {
	.entries = receiver_entries,
	.count = sizeof(receiver_entries) / sizeof(receiver_entries[0]),
	.size = sizeof(struct settings_receiver),
};

#define RANGE(member) CONFIG_FIELD(struct settings_range, member)

static const struct config_entry range_entries[] = {
	{.name = "cidr",
	 .type = CONFIG_STRING,
	 RANGE(cidr),
	 .required = true,
	 .min = "1",
	 .max = "49",
	 .help = "The addresses: 10.20.0.0/16, 2001:db8::/32; one alone is a range of one."},
	{.name = "name",
	 .type = CONFIG_STRING,
	 RANGE(name),
	 .max = "255",
	 .help = "What peers in it are called: a load balancer, a gateway, the office. Several may "
		 "share one; without a name each address goes by itself."},
	{.name = "zone",
	 .type = CONFIG_STRING,
	 RANGE(zone),
	 .max = "255",
	 .help = "The zone that it is in."},
};

static const struct config_table range_table = {
	.entries = range_entries,
	.count = sizeof(range_entries) / sizeof(range_entries[0]),
	.size = sizeof(struct settings_range),
};

#define SETTING(member) CONFIG_FIELD(struct settings, member)

static const struct config_entry entries[] = {
	{.name = "listen",
	 .type = CONFIG_STRING,
	 SETTING(listen),
	 .fallback = "127.0.0.1:7470",
	 .help = "Address of the API, gRPC and metrics."},
	{.name = "external_url",
	 .type = CONFIG_STRING,
	 SETTING(external_url),
	 .max = "1024",
	 .help = "How people reach that address: messages link to their alert at the API, as "
		 "JSON."},
	{.name = "tls.certificate",
	 .type = CONFIG_STRING,
	 SETTING(tls_certificate),
	 .help = "PEM file with the certificate chain; TLS is on when it is given."},
	{.name = "tls.key",
	 .type = CONFIG_STRING,
	 SETTING(tls_key),
	 .help = "PEM file with its private key."},
	{.name = "kafka.brokers",
	 .type = CONFIG_STRINGS,
	 SETTING(kafka_brokers),
	 .fallback = "127.0.0.1:9092",
	 .min = "1",
	 .max = "64",
	 .help = "Bootstrap addresses of the Kafka cluster."},
	{.name = "kafka.group",
	 .type = CONFIG_STRING,
	 SETTING(kafka_group),
	 .fallback = "millrace",
	 .min = "1",
	 .max = "200",
	 .help = "Consumer group under which positions are kept."},
	KAFKA_OPTIONS_ENTRIES(struct settings, kafka),
	{.name = "kafka.accept_create_time",
	 .type = CONFIG_BOOL,
	 SETTING(kafka_create_time),
	 .fallback = "false",
	 .help = "Take a topic whose records carry their producers' time instead of the broker's."},
	{.name = "embedded.listen",
	 .type = CONFIG_STRING,
	 SETTING(embedded_listen),
	 .fallback = "127.0.0.1:7472",
	 .help = "With --embedded: where the embedded broker listens; kafka.brokers of agents that "
		 "report to it."},
	{.name = "pipeline.workers",
	 .type = CONFIG_UINT,
	 SETTING(workers),
	 .fallback = "0",
	 .max = "256",
	 .unit = "threads",
	 .help = "Worker threads; 0: one for each processor. Results do not depend on it."},
	{.name = "pipeline.tasks",
	 .type = CONFIG_UINT,
	 SETTING(tasks),
	 .fallback = "16",
	 .min = "1",
	 .max = "256",
	 .unit = "partitions",
	 .help = "Partitions of millrace.events, and tasks: fixed while a pipeline lives."},
	{.name = "pipeline.lateness",
	 .type = CONFIG_DURATION,
	 SETTING(lateness_ns),
	 .fallback = "500ms",
	 .min = "0",
	 .max = "10s",
	 .help = "How long a pane waits for late events after its end."},
	{.name = "pipeline.on_data_loss",
	 .type = CONFIG_ENUM,
	 SETTING(on_data_loss),
	 .choices = data_loss_choices,
	 .fallback = "continue",
	 .help = "When the log of events lost records before they were read (retention, a cut log, "
		 "a "
		 "topic made anew): go on with what there is, or end with an error. Either way it "
		 "is "
		 "told and counted."},
	{.name = "pipeline.hang_after",
	 .type = CONFIG_DURATION,
	 SETTING(hang_ns),
	 .fallback = "5s",
	 .min = "0",
	 .max = "10m",
	 .help = "A worker that does not get on for this long ends the process, so that it is "
		 "started anew; 0: never."},
	{.name = "pipeline.keep",
	 .type = CONFIG_DURATION,
	 SETTING(keep_ns),
	 .fallback = "120s",
	 .min = "10s",
	 .max = "1h",
	 .help = "How long one end of a connection is kept for its other end to come."},
	{.name = "pipeline.one_sided",
	 .type = CONFIG_DURATION,
	 SETTING(one_sided_ns),
	 .fallback = "2s",
	 .min = "250ms",
	 .max = "60s",
	 .help = "An ended connection seen from one end only is told after this."},
	{.name = "limits.fetched",
	 .type = CONFIG_UINT,
	 SETTING(fetched_mib),
	 .fallback = "32",
	 .min = "1",
	 .max = "1024",
	 .unit = "MiB a task",
	 .help = "Records fetched and not yet read: two seconds of the heaviest load, as fetching "
		 "pauses for a second when it is full."},
	{.name = "limits.nodes",
	 .type = CONFIG_UINT,
	 SETTING(nodes_max),
	 .fallback = "4096",
	 .min = "1",
	 .max = "65536",
	 .unit = "nodes a task",
	 .help = "Nodes known at once."},
	{.name = "limits.sockets",
	 .type = CONFIG_UINT,
	 SETTING(halves_max),
	 .fallback = "524288",
	 .min = "16",
	 .max = "33554432",
	 .unit = "sockets a task",
	 .help = "Connection ends known at once."},
	{.name = "limits.nat_entries",
	 .type = CONFIG_UINT,
	 SETTING(nats_max),
	 .fallback = "524288",
	 .min = "16",
	 .max = "33554432",
	 .unit = "entries a task",
	 .help = "NAT entries known at once."},
	{.name = "limits.processes",
	 .type = CONFIG_UINT,
	 SETTING(processes_max),
	 .fallback = "524288",
	 .min = "16",
	 .max = "33554432",
	 .unit = "processes a task",
	 .help = "Processes known at once."},
	{.name = "limits.containers",
	 .type = CONFIG_UINT,
	 SETTING(containers_max),
	 .fallback = "65536",
	 .min = "16",
	 .max = "33554432",
	 .unit = "containers a task",
	 .help = "Containers and units known at once."},
	{.name = "limits.metadata",
	 .type = CONFIG_UINT,
	 SETTING(facts_max),
	 .fallback = "65536",
	 .min = "16",
	 .max = "33554432",
	 .unit = "objects a task",
	 .help = "Pods, nodes, services and ranges known at once, with those that ended in the "
		 "last "
		 "two minutes; each task knows all."},
	{.name = "limits.listeners",
	 .type = CONFIG_UINT,
	 SETTING(listeners_max),
	 .fallback = "65536",
	 .min = "16",
	 .max = "33554432",
	 .unit = "listeners a task",
	 .help = "TCP listeners of nodes known at once."},
	{.name = "limits.answers",
	 .type = CONFIG_UINT,
	 SETTING(answers_max),
	 .fallback = "65536",
	 .min = "16",
	 .max = "33554432",
	 .unit = "answers a task",
	 .help = "DNS answers known at once, for the names of ends without agent; each counts "
		 "twice, once for its process and once for its node. The oldest makes room."},
	{.name = "limits.amendments",
	 .type = CONFIG_UINT,
	 SETTING(amendments_max),
	 .fallback = "65536",
	 .min = "16",
	 .max = "33554432",
	 .unit = "windows a task",
	 .help = "10 s contributions that can still be moved: of ends without peer, or that wait "
		 "for their pod's record."},
	{.name = "limits.events",
	 .type = CONFIG_UINT,
	 SETTING(events_max),
	 .fallback = "4194304",
	 .min = "1024",
	 .max = "268435456",
	 .unit = "events a task",
	 .help = "Events that wait in open panes."},
	{.name = "limits.names",
	 .type = CONFIG_UINT,
	 SETTING(names_max),
	 .fallback = "262144",
	 .min = "64",
	 .max = "33554432",
	 .unit = "names a task",
	 .help = "Names of workloads, instances, nodes, ... known at once."},
	/* Of numbers of 24 bits: ingest/page.h, and aggregate/lanes.h with 256 tasks. */
	{.name = "limits.instances",
	 .type = CONFIG_UINT,
	 SETTING(instances_max),
	 .fallback = "262144",
	 .min = "64",
	 .max = "16000000",
	 .unit = "instances a task",
	 .help = "Replicas of workloads and addresses without agent known at once."},
	{.name = "limits.lanes",
	 .type = CONFIG_UINT,
	 SETTING(lanes_max),
	 .fallback = "262144",
	 .min = "16",
	 .max = "16000000",
	 .unit = "lanes a task",
	 .help = "Pairs of workloads with their zones, versions and port that the sockets of a "
		 "task belong to; the rest is folded into _other, totals stay exact."},
	{.name = "limits.rows",
	 .type = CONFIG_UINT,
	 SETTING(rows_max),
	 .fallback = "524288",
	 .min = "16",
	 .max = "33554432",
	 .unit = "rows a task",
	 .help = "Rows (edges, lanes, instances) aggregated at once; the "
		 "rest is folded into _other, totals stay exact."},
	{.name = "limits.edges",
	 .type = CONFIG_UINT,
	 SETTING(edges_max),
	 .fallback = "65536",
	 .min = "16",
	 .max = "33554432",
	 .unit = "edges a task",
	 .help = "Edges that baselines and monitors watch, as many servers, and as many series "
		 "with a full baseline. Of more edges only their servers' sums are watched, and "
		 "that is counted."},
	{.name = "limits.episodes",
	 .type = CONFIG_UINT,
	 SETTING(episodes_max),
	 .fallback = "4096",
	 .min = "1",
	 .max = "1000000",
	 .unit = "episodes a task",
	 .help = "Rules that hold on an edge or a server at once, in a task and in all "
		 "together; the rest is not told, and counted."},
	{.name = "kubernetes.source",
	 .type = CONFIG_ENUM,
	 SETTING(kubernetes),
	 .choices = kubernetes_sources,
	 .fallback = "off",
	 .help = "Where to learn of a Kubernetes cluster's pods, nodes and services. in-cluster: "
		 "as "
		 "this pod's service account; kubeconfig: as that file says. One instance watches, "
		 "the one that runs task 0; give all the same."},
	{.name = "kubernetes.kubeconfig",
	 .type = CONFIG_STRING,
	 SETTING(kubeconfig),
	 .min = "1",
	 .max = "4095",
	 .help = "The file, for kubernetes.source: kubeconfig."},
	{.name = "kubernetes.context",
	 .type = CONFIG_STRING,
	 SETTING(kubernetes_context),
	 .min = "1",
	 .max = "255",
	 .help = "The file's context to use; its current one if this is not set."},
	{.name = "kubernetes.cluster",
	 .type = CONFIG_STRING,
	 SETTING(kubernetes_cluster),
	 .fallback = "",
	 .max = "255",
	 .help = "The cluster's name, part of the keys in millrace.metadata."},
	{.name = "kubernetes.labels",
	 .type = CONFIG_STRINGS,
	 SETTING(kubernetes_labels),
	 .max = "32",
	 .help = "Labels of pods and nodes that are kept in millrace.metadata; * and ? match."},
	{.name = "kubernetes.annotations",
	 .type = CONFIG_STRINGS,
	 SETTING(kubernetes_annotations),
	 .max = "32",
	 .help = "Annotations, likewise."},
	{.name = "kubernetes.objects",
	 .type = CONFIG_UINT,
	 SETTING(kubernetes_objects_max),
	 .fallback = "200000",
	 .min = "1",
	 .max = "10000000",
	 .unit = "objects of a kind",
	 .help = "Pods, nodes, services, endpoint slices, replica sets, jobs and namespaces known "
		 "at once, of each."},
	{.name = "metadata.keep",
	 .type = CONFIG_DURATION,
	 SETTING(metadata_keep_ns),
	 .fallback = "1h",
	 .min = "5m",
	 .max = "30d",
	 .help = "How long millrace.metadata keeps the record of what is gone and of what changed; "
		 "and how long what holds in a cluster is believed when nobody watches it any "
		 "more."},
	{.name = "metadata.changes",
	 .type = CONFIG_UINT,
	 SETTING(changes_max),
	 .fallback = "10000",
	 .min = "16",
	 .max = "1000000",
	 .unit = "changes",
	 .help = "Deployments, restarts and other changes that are kept and shown at once."},
	{.name = "events.learn",
	 .type = CONFIG_DURATION,
	 SETTING(events_learn_ns),
	 .fallback = "10m",
	 .min = "10s",
	 .max = "1d",
	 .help = "How long after a start edges and versions are taken for usual; what comes later "
		 "is told as new."},
	{.name = "events.gone",
	 .type = CONFIG_DURATION,
	 SETTING(events_gone_ns),
	 .fallback = "1h",
	 .min = "20s",
	 .max = "30d",
	 .help = "An edge that was there as long and is silent as long has vanished; a version "
		 "that comes back later is told again."},
	{.name = "networks.ranges",
	 .type = CONFIG_LIST,
	 SETTING(ranges),
	 .table = &range_table,
	 .max = "4096",
	 .help = "Names for addresses that no agent and no cluster tells of; the longest prefix "
		 "wins."},
	{.name = "networks.asn_database",
	 .type = CONFIG_STRING,
	 SETTING(asn_database),
	 .min = "1",
	 .help = "A file in MaxMind's format, such as GeoLite2-ASN.mmdb: public addresses that "
		 "nothing else names go by their autonomous system. Read at the start."},
	{.name = "networks.country_database",
	 .type = CONFIG_STRING,
	 SETTING(country_database),
	 .min = "1",
	 .help = "Likewise, such as GeoLite2-Country.mmdb: their country is their zone."},
	SIGNING_KEY_ENTRIES(struct settings, signing),
	SIGNING_REVOKED_ENTRIES(struct settings, signing),
	{.name = "control.token",
	 .type = CONFIG_STRING,
	 SETTING(control_token),
	 .secret = true,
	 .min = "16",
	 .max = "1024",
	 .help = "Who shows it (Authorization: Bearer) may change what agents do and which "
		 "monitors are in force, and silence and acknowledge alerts. Without it only who "
		 "asks from this "
		 "machine may."},
	{.name = "exchange.carrier",
	 .type = CONFIG_ENUM,
	 SETTING(carrier),
	 .choices = carriers,
	 .fallback = "memory",
	 .help = "How tasks reach each other. memory: this process runs them all. kafka: several "
		 "processes share them, with the same settings and kafka.group."},
	{.name = "exchange.instance",
	 .type = CONFIG_STRING,
	 SETTING(instance),
	 .fallback = "",
	 .max = "63",
	 .help = "What this process is called among those that share the tasks; each its own, and "
		 "the same after a restart. Empty: the host's name."},
	{.name = "exchange.session_timeout",
	 .type = CONFIG_DURATION,
	 SETTING(session_ns),
	 .fallback = "10s",
	 .min = "6s",
	 .max = "5m",
	 .help = "Without a sign of life for so long its tasks go to others. The brokers must "
		 "allow "
		 "it (group.min.session.timeout.ms, group.max.session.timeout.ms)."},
	{.name = "snapshots.folder",
	 .type = CONFIG_STRING,
	 SETTING(snapshots_folder),
	 .fallback = "",
	 .help = "Folder for the pipeline's state, so that a restart goes on where it was, with "
		 "the same output to the byte. One for each process, or one that the instances of "
		 "exchange.carrier: kafka share. Empty: each start begins anew."},
	{.name = "snapshots.period",
	 .type = CONFIG_DURATION,
	 SETTING(snapshots_period_ns),
	 .fallback = "10s",
	 .min = "1s",
	 .max = "1h",
	 .help = "How often its state is written there."},
	{.name = "snapshots.share",
	 .type = CONFIG_DOUBLE,
	 SETTING(snapshots_share),
	 .fallback = "0.1",
	 .min = "0",
	 .max = "1",
	 .unit = "share of a processor",
	 .help = "That writing it may take, in the long run: a large state is written less often "
		 "than snapshots.period says, down to an eighth. 0: always as often."},
	{.name = "history.path",
	 .type = CONFIG_STRING,
	 SETTING(history_path),
	 .fallback = "",
	 .help = "SQLite file of the time series; empty: in memory, lost with the process."},
	{.name = "history.keep_1s",
	 .type = CONFIG_DURATION,
	 SETTING(history_1s_ns),
	 .fallback = "10m",
	 .min = "0s",
	 .max = "6h",
	 .help = "How long 1 s series of edges are kept; 0s: not at all."},
	{.name = "history.keep_10s",
	 .type = CONFIG_DURATION,
	 SETTING(history_10s_ns),
	 .fallback = "6h",
	 .min = "10m",
	 .max = "30d",
	 .help = "How long 10 s series are kept."},
	{.name = "history.keep_60s",
	 .type = CONFIG_DURATION,
	 SETTING(history_60s_ns),
	 .fallback = "2d",
	 .min = "0s",
	 .max = "90d",
	 .help = "How long 60 s series of edges are kept; 0s: not at all."},
	{.name = "history.keep_1h",
	 .type = CONFIG_DURATION,
	 SETTING(history_1h_ns),
	 .fallback = "90d",
	 .min = "0s",
	 .max = "1000d",
	 .help = "How long 1 h series of edges are kept; 0s: not at all."},
	{.name = "history.rows",
	 .type = CONFIG_UINT,
	 SETTING(history_rows_max),
	 .fallback = "20000000",
	 .min = "100000",
	 .max = "2000000000",
	 .unit = "rows a window length",
	 .help = "Past it the oldest leave before their time. A row takes 60 to 110 bytes."},
	{.name = "history.rows_a_second",
	 .type = CONFIG_UINT,
	 SETTING(history_rate),
	 .fallback = "40000",
	 .min = "100",
	 .max = "1000000",
	 .unit = "rows a second",
	 .help = "Half for 1 s series, of all edges or of none, half for the busiest lanes and "
		 "instances. Longer series of edges are always stored. A row costs 3 us."},
	{.name = "rollups.finest",
	 .type = CONFIG_ENUM,
	 SETTING(rollups_finest),
	 .choices = windows,
	 .fallback = "1s",
	 .help = "The shortest windows written to millrace.rollups. A row takes about 300 bytes "
		 "before compression."},
	{.name = "baselines.enabled",
	 .type = CONFIG_BOOL,
	 SETTING(baselines),
	 .fallback = "true",
	 .help = "Alert on departures from each edge's own past."},
	{.name = "baselines.sensitivity",
	 .type = CONFIG_DOUBLE,
	 SETTING(baselines_sensitivity),
	 .fallback = "9",
	 .min = "3",
	 .max = "100",
	 .unit = "decades",
	 .help = "How rare a departure must be: 9 is once in 10^9 windows of 10 s. Less tells "
		 "more."},
	{.name = "baselines.warmup",
	 .type = CONFIG_UINT,
	 SETTING(baselines_warmup),
	 .fallback = "60",
	 .min = "30",
	 .max = "10000",
	 .unit = "windows of 10 s",
	 .help = "What a baseline must have seen before it may alert."},
	{.name = "baselines.objective",
	 .type = CONFIG_DOUBLE,
	 SETTING(baselines_objective),
	 .fallback = "0.99",
	 .min = "0",
	 .max = "0.99999",
	 .unit = "share of connections",
	 .help = "What is to succeed of the connections to a server, for alerts on burn rates. 0: "
		 "no such alerts."},
	{.name = "incidents.reopen_within",
	 .type = CONFIG_DURATION,
	 SETTING(reopen_ns),
	 .fallback = "5m",
	 .max = "1h",
	 .help = "What begins again within this time of its incident's end opens that again, under "
		 "its key; 0: it is a new one."},
	{.name = "notify.allow_http",
	 .type = CONFIG_BOOL,
	 SETTING(allow_http),
	 .fallback = "false",
	 .help = "Take receivers with http: URLs."},
	{.name = "notify.allow_private",
	 .type = CONFIG_BOOL,
	 SETTING(allow_private),
	 .fallback = "false",
	 .help = "Take receivers on loopback and private addresses."},
	{.name = "notify.timeout",
	 .type = CONFIG_DURATION,
	 SETTING(notify_timeout_ns),
	 .fallback = "10s",
	 .min = "100ms",
	 .max = "30s",
	 .help = "Longest time of one request."},
	{.name = "notify.life",
	 .type = CONFIG_DURATION,
	 SETTING(notify_life_ns),
	 .fallback = "24h",
	 .min = "1m",
	 .max = "7d",
	 .help = "A notification that cannot be delivered is given up after this."},
	{.name = "notify.pending",
	 .type = CONFIG_UINT,
	 SETTING(notify_pending_max),
	 .fallback = "10000",
	 .min = "1",
	 .max = "1000000",
	 .unit = "notifications a receiver",
	 .help = "Notifications that may wait; past it the oldest is given up."},
	{.name = "notify.retry_min",
	 .type = CONFIG_DURATION,
	 SETTING(notify_retry_min_ns),
	 .fallback = "1s",
	 .min = "10ms",
	 .max = "1m",
	 .help = "The first wait before a notification is sent again, at most; each failure "
		 "doubles it. With full jitter, so a tenth of it at least."},
	{.name = "notify.retry_max",
	 .type = CONFIG_DURATION,
	 SETTING(notify_retry_max_ns),
	 .fallback = "5m",
	 .min = "10ms",
	 .max = "1h",
	 .help = "The longest such wait. A receiver's own Retry-After is obeyed up to an hour."},
	{.name = "notify.breaker_failures",
	 .type = CONFIG_UINT,
	 SETTING(notify_breaker_failures),
	 .fallback = "5",
	 .min = "1",
	 .max = "1000",
	 .unit = "failures in a row",
	 .help = "After so many nothing is sent to a receiver but one probe at a time."},
	{.name = "notify.journal",
	 .type = CONFIG_STRING,
	 SETTING(notify_journal),
	 .fallback = "",
	 .help = "File in which alerts about Millrace itself are kept over a restart; empty: they "
		 "are not. They are sent also while Kafka is away."},
	{.name = "notify.journal_size",
	 .type = CONFIG_SIZE,
	 SETTING(notify_journal_bytes),
	 .fallback = "1MiB",
	 .min = "64KiB",
	 .max = "64MiB",
	 .help = "Largest size of that file; when it is full it is written anew with what counts."},
	{.name = "notify.blind_after",
	 .type = CONFIG_DURATION,
	 SETTING(notify_blind_after_ns),
	 .fallback = "30s",
	 .min = "1s",
	 .max = "1h",
	 .help = "Nothing was read from Kafka for this long: the alert millrace/blind."},
	{.name = "notify.lag_max",
	 .type = CONFIG_DURATION,
	 SETTING(notify_lag_max_ns),
	 .fallback = "60s",
	 .min = "1s",
	 .max = "1d",
	 .help = "Further behind than this: the alert millrace/lag."},
	{.name = "notify.failing_after",
	 .type = CONFIG_DURATION,
	 SETTING(notify_failing_after_ns),
	 .fallback = "15m",
	 .min = "1s",
	 .max = "1d",
	 .help = "A receiver that takes nothing for this long: the alert millrace/receiver."},
	{.name = "notify.heartbeat_url",
	 .type = CONFIG_STRING,
	 SETTING(notify_heartbeat_url),
	 .secret = true,
	 .help = "Called while Millrace sees; a service that expects the calls tells people when "
		 "they stop (a dead man's switch)."},
	{.name = "notify.heartbeat_period",
	 .type = CONFIG_DURATION,
	 SETTING(notify_heartbeat_period_ns),
	 .fallback = "60s",
	 .min = "1s",
	 .max = "1h",
	 .help = "How often."},
	{.name = "silences.max",
	 .type = CONFIG_UINT,
	 SETTING(silences_max),
	 .fallback = "256",
	 .min = "1",
	 .max = "4096",
	 .unit = "silences",
	 .help = "Silences that may be active or pending; another is refused. As many that have "
		 "expired are kept."},
	{.name = "silences.keep",
	 .type = CONFIG_DURATION,
	 SETTING(silences_keep_ns),
	 .fallback = "5d",
	 .min = "1s",
	 .max = "366d",
	 .help = "How long a silence that has expired stays listed."},
	{.name = "silences.acknowledgements",
	 .type = CONFIG_UINT,
	 SETTING(acknowledgements_max),
	 .fallback = "1024",
	 .min = "1",
	 .max = "4096",
	 .unit = "incidents",
	 .help = "Incidents whose acknowledgement is kept; past it the oldest is forgotten."},
	{.name = "monitors",
	 .type = CONFIG_LIST,
	 SETTING(monitors),
	 .table = &settings_monitor_table,
	 .max = "256",
	 .help = "Monitors: what people want to be told of, beside what departs from its "
		 "baseline, and what baselines tell."},
	{.name = "receivers",
	 .type = CONFIG_LIST,
	 SETTING(receivers),
	 .table = &receiver_table,
	 .max = "64",
	 .help = "Where alerts are sent."},
};

const struct config_table settings_table = {
	.program = "millraced",
	.env_prefix = "MILLRACE_",
	.entries = entries,
	.count = sizeof(entries) / sizeof(entries[0]),
	.size = sizeof(struct settings),
};

/* ADDRESS:PORT or [ADDRESS]:PORT, an IP address. */
static int check_address(const char *name, const char *text, char *error, size_t size)
{
	const char *colon = strrchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : 0;
	char host[ADDRESS_TEXT_MAX], *end = NULL;
	struct address address;

	if (length > 2 && text[0] == '[' && text[length - 1] == ']') {
		text++;
		length -= 2;
	}
	if (length && length < sizeof(host) && isdigit((unsigned char)colon[1])) {
		snprintf(host, sizeof(host), "%.*s", (int)length, text);
		if (strtoul(colon + 1, &end, 10) <= UINT16_MAX && *end == '\0' &&
		    address_parse(host, &address) == 0)
			return 0;
	}
	snprintf(error, size, "%s: %s is no address with a port, such as 127.0.0.1:7470", name,
		 text);
	return -EINVAL;
}

static int check_kafka(const struct settings *settings, char *error, size_t size)
{
	char why[CONFIG_ERROR_BYTES];
	struct keys *keys = NULL;
	int rc = kafka_options_check(&settings->kafka, why);

	if (rc == 0)
		rc = signing_keys(&settings->signing, &keys, why);
	keys_free(keys);
	if (rc)
		snprintf(error, size, "%s", why);
	return rc;
}

static int check_url(const struct settings_receiver *receiver, bool allow_http, char *error,
		     size_t size)
{
	bool http = receiver->url && strncmp(receiver->url, "http://", 7) == 0;

	if (!receiver->url || strncmp(receiver->url, "https://", 8) == 0 || (http && allow_http))
		return 0;
	snprintf(error, size, "receivers: %s: its url must begin with https:%s", receiver->name,
		 http ? "; set notify.allow_http to use http:" : "");
	return -EINVAL;
}

static int check_webhook(const struct settings_receiver *receiver, char *error, size_t size)
{
	if (receiver->url && receiver->secret && webhook_secret_good(receiver->secret) &&
	    (!receiver->former_secret || webhook_secret_good(receiver->former_secret)))
		return 0;
	snprintf(error, size,
		 "receivers: %s needs url, and secret (or url_file, secret_file): whsec_ and 24 to "
		 "64 random bytes in base64, as former_secret if there is one; make one with: echo "
		 "whsec_$(openssl rand -base64 32)",
		 receiver->name);
	return -EINVAL;
}

static int check_slack(const struct settings_receiver *receiver, char *error, size_t size)
{
	const char *token = receiver->token;

	if (!token && !receiver->channel && receiver->url)
		return 0;
	/* It is a header's line. */
	if (token && receiver->channel && token[0] && !strpbrk(token, " \t\r\n"))
		return 0;
	snprintf(
		error, size,
		"receivers: %s needs url (or url_file), Slack's incoming webhook; or a bot's token "
		"(or token_file), one word, and channel",
		receiver->name);
	return -EINVAL;
}

static int check_template(const char *name, const char *what, const char *template, char *error,
			  size_t size)
{
	const char *why = template ? template_check(template) : NULL;

	if (why)
		snprintf(error, size, "receivers: %s: %s: %s", name, what, why);
	return why ? -EINVAL : 0;
}

static int check_match(const struct settings_receiver *receiver, char *error, size_t size)
{
	static const char *const fields[ROUTE_FIELDS] = {"monitor", "client", "server",
							 "namespace"};

	for (size_t field = 0; field < ROUTE_FIELDS; field++) {
		const struct config_strings *patterns = &receiver->match[field];

		for (size_t i = 0; i < patterns->count; i++) {
			const char *why = route_check(patterns->items[i]);

			if (!why)
				continue;
			snprintf(error, size, "receivers: %s: match.%s: %s", receiver->name,
				 fields[field], why);
			return -EINVAL;
		}
	}
	return 0;
}

static int check_receiver(const struct settings_receiver *receiver, bool allow_http, char *error,
			  size_t size)
{
	if (check_match(receiver, error, size) < 0 ||
	    check_template(receiver->name, "title", receiver->title, error, size) < 0 ||
	    check_template(receiver->name, "text", receiver->text, error, size) < 0)
		return -EINVAL;
	if (receiver->type == RECEIVER_SLACK && check_slack(receiver, error, size) < 0)
		return -EINVAL;
	if (receiver->type == RECEIVER_PAGERDUTY &&
	    (!receiver->routing_key || strlen(receiver->routing_key) != 32)) {
		snprintf(error, size,
			 "receivers: %s needs routing_key (or routing_key_file), the integration "
			 "key of 32 characters",
			 receiver->name);
		return -EINVAL;
	}
	if (receiver->type == RECEIVER_WEBHOOK && check_webhook(receiver, error, size) < 0)
		return -EINVAL;
	if (receiver->type == RECEIVER_ALERTMANAGER &&
	    (!receiver->url || strstr(receiver->url, "/api/v2") || strpbrk(receiver->url, "?#"))) {
		snprintf(error, size,
			 "receivers: %s needs url (or url_file), the Alertmanager's address "
			 "without /api/v2/alerts, which is put behind it, and without ? or # (as "
			 "in /#/alerts)",
			 receiver->name);
		return -EINVAL;
	}
	return check_url(receiver, allow_http, error, size);
}

/* It stands in messages: an Alertmanager refuses an alert whose link is none. */
static int check_external_url(const struct settings *settings, char *error, size_t size)
{
	const char *url = settings->external_url;
	const char *host = url ? strstr(url, "://") : NULL;

	if (!url || !url[0] ||
	    ((strncmp(url, "https:", 6) == 0 || strncmp(url, "http:", 5) == 0) && host && host[3] &&
	     host[3] != '/' && !strpbrk(url, "?#<>|\"\\^`{} \t\r\n")))
		return 0;
	snprintf(
		error, size,
		"external_url must be https:// or http:// and a host, with no ? or # and no blank; "
		"/api/v1/alerts is put behind it");
	return -EINVAL;
}

/* One URL that stands alone. */
static int check_heartbeat(const struct settings *settings, char *error, size_t size)
{
	const char *url = settings->notify_heartbeat_url;
	bool http = url && strncmp(url, "http://", 7) == 0;

	if (!url || !url[0] || strncmp(url, "https://", 8) == 0 || (http && settings->allow_http))
		return 0;
	snprintf(error, size, "notify.heartbeat_url must begin with https:%s",
		 http ? "; set notify.allow_http to use http:" : "");
	return -EINVAL;
}

static int check_notify(const struct settings *settings, char *error, size_t size)
{
	if (settings->notify_retry_max_ns < settings->notify_retry_min_ns) {
		snprintf(error, size, "notify.retry_max is less than notify.retry_min");
		return -EINVAL;
	}
	return check_heartbeat(settings, error, size);
}

static int check_kubernetes(const struct settings *settings, char *error, size_t size)
{
	bool by_file = strcmp(kubernetes_sources[settings->kubernetes], "kubeconfig") == 0;

	if (by_file == (settings->kubeconfig != NULL) && (by_file || !settings->kubernetes_context))
		return 0;
	snprintf(error, size,
		 "kubernetes.kubeconfig and kubernetes.context go with kubernetes.source: "
		 "kubeconfig; give the file and that, or none of them");
	return -EINVAL;
}

/* The filters as monitor_filters has them. */
static const struct config_strings *filter_of(const struct settings_monitor *from, size_t filter)
{
	const struct config_strings *const filters[MONITOR_FILTERS] = {
		&from->client,		 &from->server,	       &from->client_namespace,
		&from->server_namespace, &from->client_zone,   &from->server_zone,
		&from->client_version,	 &from->server_version};

	return filters[filter];
}

/* The first pattern that is none or finds no room; NULL: there is no such. */
static const char *take_filter(const struct config_strings *from, struct monitor *to, size_t filter)
{
	for (size_t i = 0; i < from->count; i++) {
		if (!patterns_add((char *)to + monitor_filters[filter].offset,
				  monitor_filters[filter].size, from->items[i]))
			return from->items[i];
	}
	return NULL;
}

int settings_check_monitor(const struct settings_monitor *from, char *error, size_t size)
{
	const struct monitor monitor = settings_monitor(from);
	const char *why = monitor_check(&monitor);
	struct monitor scratch;

	memset(&scratch, 0, sizeof(scratch));
	for (size_t i = 0; i < MONITOR_FILTERS; i++) {
		const char *wrong = take_filter(filter_of(from, i), &scratch, i);

		if (!wrong)
			continue;
		snprintf(error, size,
			 "monitors: %s: %s: \"%.64s\": a pattern is a line of text, not a ! alone, "
			 "and all of them together are at most %zu bytes",
			 from->name, monitor_filters[i].name, wrong, monitor_filters[i].size - 1);
		return -EINVAL;
	}

	if (why)
		snprintf(error, size, "monitors: %s: %s", from->name, why);
	return why ? -EINVAL : 0;
}

static int check_range(const struct settings_range *ranges, size_t i, char *error, size_t size)
{
	struct range range, other;
	const char *why = range_parse(ranges[i].cidr, &range);

	if (why) {
		snprintf(error, size, "networks.ranges: %s: %s", ranges[i].cidr, why);
		return -EINVAL;
	}
	for (size_t n = 0; n < i; n++) {
		if (range_parse(ranges[n].cidr, &other) == NULL && other.prefix == range.prefix &&
		    address_equal(&other.address, &range.address)) {
			snprintf(error, size, "networks.ranges: %s is given twice", ranges[i].cidr);
			return -EINVAL;
		}
	}
	return 0;
}

static int check_names(const struct config_list *list, size_t stride, const char *what, char *error,
		       size_t size)
{
	/* The name is the first member of both structs. */
	for (size_t i = 0; i < list->count; i++) {
		for (size_t n = 0; n < i; n++) {
			const char *one = *(char **)((char *)list->items + i * stride);
			const char *other = *(char **)((char *)list->items + n * stride);

			if (strcmp(one, other) == 0) {
				snprintf(error, size, "%s: the name %s is given twice", what, one);
				return -EINVAL;
			}
		}
	}
	return 0;
}

int settings_check(const struct settings *settings, char *error, size_t size)
{
	const struct settings_monitor *monitors = settings->monitors.items;
	const struct settings_receiver *receivers = settings->receivers.items;
	int rc = check_address("listen", settings->listen, error, size);

	if (rc == 0)
		rc = check_address("embedded.listen", settings->embedded_listen, error, size);
	if (rc == 0)
		rc = check_kafka(settings, error, size);
	if (rc == 0)
		rc = check_external_url(settings, error, size);
	if (rc == 0)
		rc = check_notify(settings, error, size);
	if (rc == 0)
		rc = check_kubernetes(settings, error, size);
	for (size_t i = 0; i < settings->ranges.count && rc == 0; i++)
		rc = check_range(settings->ranges.items, i, error, size);
	for (size_t i = 0; i < settings->monitors.count && rc == 0; i++)
		rc = settings_check_monitor(&monitors[i], error, size);
	for (size_t i = 0; i < settings->receivers.count && rc == 0; i++)
		rc = check_receiver(&receivers[i], settings->allow_http, error, size);
	if (rc == 0)
		rc = check_names(&settings->monitors, sizeof(*monitors), "monitors", error, size);
	if (rc == 0)
		rc = check_names(&settings->receivers, sizeof(*receivers), "receivers", error,
				 size);
	if (rc == 0 && !settings->tls_certificate != !settings->tls_key) {
		snprintf(error, size, "tls: certificate and key go together; give both or neither");
		rc = -EINVAL;
	}
	return rc;
}

struct monitor settings_monitor(const struct settings_monitor *from)
{
	struct monitor to;

	memset(&to, 0, sizeof(to)); /* it is hashed and compared as bytes */
	snprintf(to.name, sizeof(to.name), "%s", from->name);
	to.kind = from->kind;
	to.metric = from->metric;
	to.comparison = from->comparison;
	to.threshold = from->threshold;
	/* Without one, of other kinds, there is none. */
	if (to.threshold < 0 && to.kind != MONITOR_THRESHOLD)
		to.threshold = 0;
	to.clear = from->clear < 0 ? to.threshold : from->clear;
	to.window_ns = from->window_ns;
	to.clear_ns = from->clear_after_ns	    ? from->clear_after_ns
		      : to.kind == MONITOR_NEW_EDGE ? MONITOR_EDGE_CLEAR_NS
						    : MONITOR_CLEAR_NS;
	to.minimum = from->minimum;
	to.objective = from->objective;
	to.sensitivity = from->sensitivity;
	to.silent = from->silent;
	to.absent_ns = from->absent_for_ns;
	if (to.kind != MONITOR_ABSENCE && to.absent_ns == MONITOR_ABSENT_NS)
		to.absent_ns = 0;
	to.learn_ns = from->learn_ns;
	if (to.kind != MONITOR_NEW_EDGE && to.learn_ns == MONITOR_LEARN_NS)
		to.learn_ns = 0;
	to.severity = from->severity;
	if (to.severity == MONITOR_SEVERITY_OWN && to.kind != MONITOR_BASELINE)
		to.severity = ALERT_ERROR;
	to.per_server = from->per == 1 || to.kind == MONITOR_BURN_RATE;
	for (size_t i = 0; i < MONITOR_FILTERS; i++)
		take_filter(filter_of(from, i), &to, i);
	to.protocol = protocol_numbers[from->protocol];
	to.port = (uint16_t)from->port;
	return to;
}

const char *settings_severity_name(uint32_t severity)
{
	return monitor_severities[severity];
}

const char *settings_protocol_name(uint8_t protocol)
{
	size_t at = 0;

	while (at + 1 < sizeof(protocol_numbers) && protocol_numbers[at] != protocol)
		at++;
	return protocols[at];
}

const char *settings_metric_name(uint32_t metric)
{
	return monitor_metrics[metric];
}

uint64_t settings_finest_ns(const struct settings *settings)
{
	return windows_ns[settings->rollups_finest];
}

struct monitor *settings_monitors(const struct settings *settings, size_t *count)
{
	const struct settings_monitor *from = settings->monitors.items;
	struct monitor *monitors = memory_zeroed(settings->monitors.count, sizeof(*monitors));

	*count = settings->monitors.count;
	for (size_t i = 0; i < *count; i++)
		monitors[i] = settings_monitor(&from[i]);
	return monitors;
}

static bool is_bot(const struct settings_receiver *receiver)
{
	return receiver->type == RECEIVER_SLACK && receiver->token;
}

struct receiver *settings_receivers(const struct settings *settings, size_t *count)
{
	const struct settings_receiver *from = settings->receivers.items;
	struct receiver *receivers = memory_zeroed(settings->receivers.count, sizeof(*receivers));

	*count = settings->receivers.count;
	for (size_t i = 0; i < *count; i++, from++) {
		receivers[i] = (struct receiver){
			.name = from->name,
			.kind = is_bot(from) ? RECEIVER_SLACK_BOT : from->type,
			.url = from->url      ? from->url
			       : is_bot(from) ? "https://slack.com/api"
					      : "https://events.pagerduty.com/v2/enqueue",
			.token = is_bot(from) ? from->token : NULL,
			.channel = from->channel,
			.title = from->title,
			.text = from->text,
			.routing_key = from->routing_key,
			.secret = from->type == RECEIVER_WEBHOOK ? from->secret : NULL,
			.former_secret = from->former_secret,
			.severity_min = from->severity,
			.self_alerts = from->self_alerts,
			.per_minute = (uint32_t)from->per_minute,
			.burst = (uint32_t)from->burst,
			.resolve_after_ns = from->resolve_after_ns,
		};
		receivers[i].route.cause_only = from->cause_only;
		for (size_t field = 0; field < ROUTE_FIELDS; field++)
			receivers[i].route.fields[field] = (struct route_patterns){
				(const char *const *)from->match[field].items,
				from->match[field].count};
	}
	return receivers;
}

struct range *settings_ranges(const struct settings *settings, size_t *count)
{
	const struct settings_range *from = settings->ranges.items;
	struct range *ranges = memory_zeroed(settings->ranges.count, sizeof(*ranges));

	*count = settings->ranges.count;
	for (size_t i = 0; i < *count; i++) {
		range_parse(from[i].cidr, &ranges[i]); /* as settings_check did */
		ranges[i].name = from[i].name ? from[i].name : "";
		ranges[i].zone = from[i].zone ? from[i].zone : "";
	}
	return ranges;
}

char *settings_brokers(const struct settings *settings)
{
	const struct config_strings *brokers = &settings->kafka_brokers;
	size_t length = 1;
	char *joined;

	for (size_t i = 0; i < brokers->count; i++)
		length += strlen(brokers->items[i]) + 1;
	joined = memory_zeroed(1, length);
	for (size_t i = 0; i < brokers->count; i++) {
		if (i)
			strncat(joined, ",", length - strlen(joined) - 1);
		strncat(joined, brokers->items[i], length - strlen(joined) - 1);
	}
	return joined;
}
