#include "daemon/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"

static void head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(FILE *out, const char *name, const char *type, const char *help, double value)
{
	head(out, name, type, help);
	fprintf(out, "%s %.17g\n", name, value);
}

/* Label values are names of ours or of the configuration, which may hold anything. */
static void label(FILE *out, const char *value)
{
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			fprintf(out, "\\%c", *value);
		else if (*value == '\n')
			fputs("\\n", out);
		else
			fputc(*value, out);
	}
}

static void histogram(FILE *out, const char *name, const char *help, const struct histogram *from)
{
	uint64_t sum = 0;

	head(out, name, "histogram", help);
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		sum += from->counts[i];
		fprintf(out, "%s_bucket{le=\"%g\"} %llu\n", name, histogram_bound(i),
			(unsigned long long)sum);
	}
	fprintf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9g\n%s_count %llu\n", name,
		(unsigned long long)from->count, name, from->sum, name,
		(unsigned long long)from->count);
}

/* A sum over tasks of one uint64_t in task_stats. */
struct total {
	const char *name, *type, *help;
	size_t offset;
};

#define TOTAL(field) offsetof(struct task_stats, field)

static const struct total totals[] = {
	{"millrace_records_total", "counter", "Records read from millrace.events.",
	 TOTAL(mirror.records)},
	{"millrace_record_bytes_total", "counter", "Bytes of those records.", TOTAL(mirror.bytes)},
	{"millrace_batches_empty_total", "counter", "Batches without events.",
	 TOTAL(mirror.heartbeats)},
	{"millrace_ticks_total", "counter", "Ticks of idle partitions.", TOTAL(mirror.ticks)},
	{"millrace_events_issued_total", "counter",
	 "Events that agents numbered: received - duplicate - quarantined + lost.",
	 TOTAL(mirror.issued)},
	{"millrace_events_received_total", "counter",
	 "Events that arrived: aggregated + pending + late + duplicate + quarantined + refused.",
	 TOTAL(mirror.events)},
	{"millrace_events_lost_total", "counter",
	 "Events that agents numbered and that are in no batch that was read.", TOTAL(mirror.lost)},
	{"millrace_events_duplicate_total", "counter", "Events of batches seen before.",
	 TOTAL(mirror.duplicate)},
	{"millrace_events_late_total", "counter", "Events of panes closed already.",
	 TOTAL(mirror.late)},
	{"millrace_events_future_total", "counter", "Events ahead of the log, clamped.",
	 TOTAL(mirror.future)},
	{"millrace_events_refused_total", "counter",
	 "Events that found a table full or no definition, or are of an agent's former start.",
	 TOTAL(mirror.refused)},
	{"millrace_events_aggregated_total", "counter", "Events that went into results.",
	 TOTAL(mirror.aggregated)},
	{"millrace_events_quarantined_total", "counter", "Events of records that were not read.",
	 TOTAL(mirror.quarantined)},
	{"millrace_events_pending", "gauge", "Events stored in open panes.", TOTAL(mirror.pending)},
	{"millrace_deadletters_suppressed_total", "counter",
	 "Records only counted, as their node had too many dead letters.",
	 TOTAL(mirror.deadletters_suppressed)},
	{"millrace_clock_steps_total", "counter", "Jumps of the brokers' clock.",
	 TOTAL(mirror.clock_steps)},
	{"millrace_nodes", "gauge", "Nodes known.", TOTAL(mirror.nodes)},
	{"millrace_sockets", "gauge", "Connection ends known.", TOTAL(mirror.halves)},
	{"millrace_sockets_adopted_total", "counter",
	 "Connection ends that went on when their agent started again.", TOTAL(mirror.adopted)},
	{"millrace_nat_entries", "gauge", "NAT entries known.", TOTAL(mirror.nats)},
	{"millrace_processes", "gauge", "Processes known.", TOTAL(mirror.processes)},
	{"millrace_containers", "gauge", "Containers and units known.", TOTAL(mirror.containers)},
	{"millrace_listeners", "gauge", "TCP listeners known.", TOTAL(mirror.listeners)},
	{"millrace_dns_answers", "gauge", "DNS answers known.", TOTAL(mirror.answers)},
	{"millrace_dns_answers_evicted_total", "counter",
	 "DNS answers that made room while somebody could still ask for them.",
	 TOTAL(mirror.answers_evicted)},
	{"millrace_sni_names_dropped_total", "counter",
	 "Names of TLS handshakes that came before their connection was labelled, and were not "
	 "kept.",
	 TOTAL(mirror.names_dropped)},
	{"millrace_metadata_waiting_refused_total", "counter",
	 "Records of metadata that came more at once than there is room.",
	 TOTAL(mirror.metadata_refused)},
	{"millrace_rules_refused_total", "counter",
	 "Rules in the log of events that were too long or more at once than there is room.",
	 TOTAL(mirror.rules_refused)},
	{"millrace_monitors_refused", "gauge",
	 "Monitors that tasks have no place for, as those that are gone still end their episodes.",
	 TOTAL(anomaly.monitors_refused)},
	{"millrace_metadata_refused_total", "counter",
	 "Tellings of pods, nodes, services and ranges that found no room in a task.",
	 TOTAL(census.refused)},
	{"millrace_metadata_outdated_total", "counter",
	 "Tellings of pods, nodes, services and ranges older than what a task knows.",
	 TOTAL(census.outdated)},
	{"millrace_metadata_expired_total", "counter",
	 "Pods, nodes, services and ranges that were not told again to a task.",
	 TOTAL(census.expired)},
	{"millrace_names_refused_total", "counter",
	 "Names that found limits.names reached: their ids are shown.",
	 TOTAL(mirror.names_refused)},
	{"millrace_instances_refused_total", "counter",
	 "Ends that found limits.instances reached: nobody's.", TOTAL(mirror.instances_refused)},
	{"millrace_owners_refused_total", "counter",
	 "Owners of sockets beyond 65,535 of one node: nobody's.", TOTAL(mirror.owners_refused)},
	{"millrace_sockets_missed_total", "counter",
	 "Connection ends that their agent, started again, cannot go on with.",
	 TOTAL(mirror.orphans_missed)},
	{"millrace_agents_facts_refused_total", "counter",
	 "Facts of nodes and states of agents that found no room.", TOTAL(mirror.about_refused)},
	{"millrace_happenings_lost_total", "counter",
	 "Restarts of containers, and kills for want of memory, that were never told as changes: "
	 "more than 256 of a task came within a second.",
	 TOTAL(mirror.happenings_lost)},
	{"millrace_amendments_dropped_total", "counter", "Windows that can no longer be amended.",
	 TOTAL(mirror.amendments_dropped)},
	{"millrace_unknown_fields_total", "counter",
	 "Fields of batches that this build does not know, passed over: their agents are newer.",
	 TOTAL(mirror.unknown_fields)},
	{"millrace_counters_backwards_total", "counter",
	 "Absolute counters below what was counted before: nothing moved.",
	 TOTAL(mirror.backwards)},
	{"millrace_join_halves", "gauge", "Connection ends in the join.", TOTAL(join.halves)},
	{"millrace_join_instances_refused_total", "counter",
	 "Ends that found limits.instances reached in a join task: nobody's.",
	 TOTAL(join.instances_refused)},
	{"millrace_join_flows", "gauge", "Flows in the join.", TOTAL(join.flows)},
	{"millrace_join_aliases", "gauge", "NAT mappings in the join.", TOTAL(join.aliases)},
	{"millrace_join_opened_total", "counter", "Connection ends that came.", TOTAL(join.opened)},
	{"millrace_join_paired_total", "counter", "Connection ends that found their peer.",
	 TOTAL(join.paired)},
	{"millrace_join_one_sided_total", "counter", "Connection ends told without peer.",
	 TOTAL(join.one_sided)},
	{"millrace_join_amended_total", "counter", "Flows told again after a late peer.",
	 TOTAL(join.amended)},
	{"millrace_join_hops_total", "counter", "Ends re-keyed through another node's NAT.",
	 TOTAL(join.hops)},
	{"millrace_join_hops_exhausted_total", "counter", "Ends with too many NAT mappings.",
	 TOTAL(join.hops_exhausted)},
	{"millrace_join_evicted_halves_total", "counter",
	 "Ends that left because the table was full.", TOTAL(join.evicted_halves)},
	{"millrace_join_evicted_aliases_total", "counter",
	 "Mappings that left because the table was full.", TOTAL(join.evicted_aliases)},
	{"millrace_join_closes_unknown_total", "counter", "Closings of ends not known.",
	 TOTAL(join.closes_unknown)},
	{"millrace_join_servers_refused_total", "counter",
	 "Tellings of listening servers that found no room: attempts there go by their address.",
	 TOTAL(join.servers_refused)},
	{"millrace_join_news_unknown_total", "counter", "Other owners of ends not known.",
	 TOTAL(join.news_unknown)},
	{"millrace_join_instances_unknown_total", "counter",
	 "Connection ends whose instance was not told, or found limits.instances reached: they are "
	 "nobody's.",
	 TOTAL(join.instances_unknown)},
	{"millrace_flows_total", "counter", "Flow records written.", TOTAL(join.flows_emitted)},
	{"millrace_flows_joined_total", "counter", "Of them, joined from both ends.",
	 TOTAL(join.flows_joined)},
	{"millrace_deltas_total", "counter", "Changes of connection ends, one a pane.",
	 TOTAL(partial.deltas)},
	{"millrace_deltas_dropped_total", "counter",
	 "Changes of connection ends of which nobody ever said whose they are.",
	 TOTAL(mirror.deltas_dropped)},
	{"millrace_partial_rows_total", "counter", "Partial rows.", TOTAL(partial.rows)},
	{"millrace_partial_rows_merged_total", "counter", "Partial rows that reached their owners.",
	 TOTAL(aggregate.merged)},
	{"millrace_partial_folded_total", "counter", "Changes folded into _other.",
	 TOTAL(partial.folded)},
	{"millrace_rows", "gauge", "Rows aggregated.", TOTAL(aggregate.rows)},
	{"millrace_edges", "gauge", "Edges aggregated.", TOTAL(aggregate.edges)},
	{"millrace_rows_folded_total", "counter", "Rows folded into _other.",
	 TOTAL(aggregate.folded)},
	{"millrace_rows_demoted_total", "counter",
	 "Rows that limits.rows made leave for busier ones: they are in _other from then on.",
	 TOTAL(aggregate.demoted)},
	{"millrace_rows_undescribed_total", "counter",
	 "Partial rows of which nobody told whose they are: in _other.",
	 TOTAL(aggregate.undescribed)},
	{"millrace_rollups_total", "counter", "Rollup rows written, all window lengths.",
	 TOTAL(aggregate.emitted)},
	{"millrace_rollups_amended_total", "counter", "Signed rows for closed windows.",
	 TOTAL(aggregate.amended)},
	{"millrace_rows_unnamed_total", "counter", "Rows written with a name missing.",
	 TOTAL(aggregate.unnamed)},
	{"millrace_rows_saturated_total", "counter",
	 "Samples beyond what a histogram's cell can hold, and sums at the end of their range.",
	 TOTAL(aggregate.saturated)},
	{"millrace_watched_edges", "gauge", "Edges that baselines and monitors watch.",
	 TOTAL(anomaly.edges)},
	{"millrace_rows_unwatched_total", "counter",
	 "Rows of 250 ms of edges that found limits.edges watched: they count in their servers' "
	 "sums.",
	 TOTAL(anomaly.unwatched)},
	{"millrace_part_rows_unwatched_total", "counter",
	 "Rows of zones and versions that monitors are about and that found limits.edges watched.",
	 TOTAL(anomaly.parts_unwatched)},
	{"millrace_seen_edges_evicted_total", "counter",
	 "Edges that left and were forgotten, as limits.edges had: they would be new again.",
	 TOTAL(anomaly.seen_evicted)},
	{"millrace_full_detectors", "gauge", "Series whose baseline is a full one.",
	 TOTAL(anomaly.detectors)},
	{"millrace_held_detectors_total", "counter",
	 "Series that were ripe for a full baseline when limits.edges were there.",
	 TOTAL(anomaly.held)},
	{"millrace_suspect_rows_dropped_total", "counter",
	 "Rows of instances and lanes in which no suspects are looked for, as limits.edges leaves "
	 "no room.",
	 TOTAL(anomaly.suspects_dropped)},
	{"millrace_episodes", "gauge", "Rules that hold on an edge or a server now.",
	 TOTAL(anomaly.episodes)},
	{"millrace_incidents", "gauge", "Alerts firing.", TOTAL(incidents.incidents)},
	{"millrace_alerts_fired_total", "counter", "Alerts that fired.", TOTAL(incidents.opened)},
	{"millrace_alerts_reopened_total", "counter",
	 "Alerts that fired again under their keys after they had resolved.",
	 TOTAL(incidents.reopened)},
	{"millrace_alerts_forgotten_total", "counter",
	 "Resolved alerts that could fire again under their keys no longer, as more resolved.",
	 TOTAL(incidents.forgotten)},
	{"millrace_alerts_updated_total", "counter", "Alerts that were told again.",
	 TOTAL(incidents.updated)},
	{"millrace_alerts_resolved_total", "counter", "Alerts that resolved.",
	 TOTAL(incidents.resolved)},
	{"millrace_episodes_suppressed_total", "counter",
	 "Episodes that found limits.episodes reached in their task: not told.",
	 TOTAL(anomaly.suppressed)},
	{"millrace_episodes_unlisted_total", "counter",
	 "Episodes that found limits.episodes reached in all tasks together: not told.",
	 TOTAL(incidents.unlisted)},
};

static uint64_t sum(const struct metrics *metrics, size_t offset)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < metrics->tasks_count; i++)
		value += *(const uint64_t *)((const char *)&metrics->tasks[i] + offset);
	return value;
}

/* Task by task, so that no two hide each other. */
static uint64_t unexplained(const struct metrics *metrics)
{
	uint64_t events = 0;

	for (uint32_t i = 0; i < metrics->tasks_count; i++) {
		const struct ledger ledger = mirror_ledger(&metrics->tasks[i].mirror);

		events += ledger_unexplained(&ledger);
	}
	return events;
}

static void deadletters(FILE *out, const struct metrics *metrics)
{
	head(out, "millrace_deadletters_total", "counter",
	     "Records that were not read, by reason.");
	for (int reason = 0; reason < MIRROR_REASONS; reason++) {
		uint64_t value =
			sum(metrics, TOTAL(mirror.deadletters) + (size_t)reason * sizeof(uint64_t));

		fprintf(out, "millrace_deadletters_total{reason=\"%s\"} %llu\n",
			mirror_reason_name((enum mirror_reason)reason), (unsigned long long)value);
	}
}

/* Every task knows all. */
static void metadata(FILE *out, const struct metrics *metrics)
{
	uint64_t most = 0;

	for (uint32_t i = 0; i < metrics->tasks_count; i++) {
		if (metrics->tasks[i].census.facts > most)
			most = metrics->tasks[i].census.facts;
	}
	head(out, "millrace_metadata_objects", "gauge",
	     "Pods, nodes, services and ranges that a task knows, with those that ended lately.");
	fprintf(out, "millrace_metadata_objects %llu\n", (unsigned long long)most);
	head(out, "millrace_metadata_records_total", "counter",
	     "Records of metadata in the log of events, by what became of them: good, or why not.");
	for (int reason = 0; reason < RECORD_REASONS; reason++)
		fprintf(out, "millrace_metadata_records_total{reason=\"%s\"} %llu\n",
			record_reason_name((enum record_reason)reason),
			(unsigned long long)sum(metrics,
						TOTAL(mirror.metadata) +
							(size_t)reason * sizeof(uint64_t)));
}

static void relay(FILE *out, const struct relay_stats *stats)
{
	head(out, "millrace_relay_read_total", "counter",
	     "Records of millrace.metadata that were read, by what became of them.");
	for (int reason = 0; reason < RECORD_REASONS; reason++)
		fprintf(out, "millrace_relay_read_total{reason=\"%s\"} %llu\n",
			record_reason_name((enum record_reason)reason),
			(unsigned long long)stats->read[reason]);
	head(out, "millrace_relay_records", "gauge",
	     "Records of millrace.metadata that hold, as this instance has read them.");
	fprintf(out, "millrace_relay_records %llu\n", (unsigned long long)stats->records);
	head(out, "millrace_relay_unwatched", "gauge",
	     "Of them, of clusters that nobody watches any more: they are not told to tasks.");
	fprintf(out, "millrace_relay_unwatched %llu\n", (unsigned long long)stats->unwatched);
	head(out, "millrace_relay_rules", "gauge",
	     "Rules that hold or ended lately, as this instance has read them.");
	fprintf(out, "millrace_relay_rules %llu\n", (unsigned long long)stats->rules);
	head(out, "millrace_relay_rules_refused_total", "counter",
	     "Records of millrace.rules that are no rule, or that no key in force has signed.");
	fprintf(out, "millrace_relay_rules_refused_total %llu\n",
		(unsigned long long)stats->rules_refused);
	head(out, "millrace_relay_refused_total", "counter",
	     "Records of millrace.metadata or millrace.rules that found no room.");
	fprintf(out, "millrace_relay_refused_total %llu\n", (unsigned long long)stats->refused);
	head(out, "millrace_relay_told_total", "counter",
	     "Records of metadata and rules put into the log of events.");
	fprintf(out, "millrace_relay_told_total %llu\n", (unsigned long long)stats->told);
	head(out, "millrace_relay_failed_total", "counter",
	     "Batches of them that Kafka did not take; they are told again.");
	fprintf(out, "millrace_relay_failed_total %llu\n", (unsigned long long)stats->failed);
}

static void events(FILE *out, const struct herald_stats *herald,
		   const struct chronicle_stats *chronicle)
{
	head(out, "millrace_events", "gauge", "Changes that are kept and shown.");
	fprintf(out, "millrace_events %llu\n", (unsigned long long)chronicle->changes);
	head(out, "millrace_events_evicted_total", "counter",
	     "Changes that left before metadata.keep, as there are metadata.changes.");
	fprintf(out, "millrace_events_evicted_total %llu\n",
		(unsigned long long)chronicle->evicted);
	head(out, "millrace_events_told_total", "counter",
	     "Changes that this instance saw in the pipeline and wrote to millrace.metadata.");
	for (uint32_t kind = 1; kind < CHANGE_KINDS; kind++)
		fprintf(out, "millrace_events_told_total{kind=\"%s\"} %llu\n",
			change_kind_name(kind), (unsigned long long)herald->told[kind]);
	head(out, "millrace_events_failed_total", "counter",
	     "Of them, those that Kafka did not take.");
	fprintf(out, "millrace_events_failed_total %llu\n", (unsigned long long)herald->failed);
	head(out, "millrace_events_left_out_total", "counter",
	     "Edges and versions that were new or vanished and not told: too many in a minute.");
	fprintf(out, "millrace_events_left_out_total %llu\n",
		(unsigned long long)herald->novelty.left_out);
	head(out, "millrace_events_forgotten_total", "counter",
	     "Edges and versions forgotten for want of room (limits.edges): they are new again.");
	fprintf(out, "millrace_events_forgotten_total %llu\n",
		(unsigned long long)herald->novelty.evicted);
}

struct kind_row {
	const char *name, *type, *help;
	size_t offset; /* in struct kube_status_of_kind */
};

#define OF_KIND(member) offsetof(struct kube_status_of_kind, member)

static const struct kind_row kind_rows[] = {
	{"millrace_kubernetes_lists_total", "counter", "Lists of objects begun.", OF_KIND(lists)},
	{"millrace_kubernetes_watches_total", "counter", "Watches begun.", OF_KIND(watches)},
	{"millrace_kubernetes_events_total", "counter", "Events that watches brought.",
	 OF_KIND(events)},
	{"millrace_kubernetes_expired_total", "counter",
	 "Times that the version to go on from was too old, so that a list was needed.",
	 OF_KIND(expired)},
	{"millrace_kubernetes_stalled_total", "counter", "Watches cut because nothing came.",
	 OF_KIND(stalled)},
	{"millrace_kubernetes_failures_total", "counter",
	 "Requests that ended otherwise than they should.", OF_KIND(failures)},
	{"millrace_kubernetes_refused_total", "counter", "Objects beyond kubernetes.objects.",
	 OF_KIND(refused)},
};

static uint64_t kind_value(const struct kube_status_of_kind *status, size_t offset)
{
	return *(const uint64_t *)((const char *)status + offset);
}

/* Where another instance watches all is 0. */
static void kubernetes(FILE *out, const struct watcher_stats *stats)
{
	head(out, "millrace_kubernetes_watching", "gauge",
	     "1 in the instance that watches the cluster.");
	fprintf(out, "millrace_kubernetes_watching %d\n", stats->watches);
	head(out, "millrace_kubernetes_synced", "gauge",
	     "1 when all objects of the kind were listed.");
	for (int kind = 0; kind < KUBE_KINDS; kind++)
		fprintf(out, "millrace_kubernetes_synced{kind=\"%s\"} %d\n",
			kube_kind_name((enum kube_kind)kind), stats->kinds[kind].synced);
	head(out, "millrace_kubernetes_objects", "gauge", "Objects known.");
	for (int kind = 0; kind < KUBE_KINDS; kind++)
		fprintf(out, "millrace_kubernetes_objects{kind=\"%s\"} %u\n",
			kube_kind_name((enum kube_kind)kind), stats->kinds[kind].objects);
	for (size_t i = 0; i < sizeof(kind_rows) / sizeof(kind_rows[0]); i++) {
		head(out, kind_rows[i].name, kind_rows[i].type, kind_rows[i].help);
		for (int kind = 0; kind < KUBE_KINDS; kind++)
			fprintf(out, "%s{kind=\"%s\"} %llu\n", kind_rows[i].name,
				kube_kind_name((enum kube_kind)kind),
				(unsigned long long)kind_value(&stats->kinds[kind],
							       kind_rows[i].offset));
	}
	one(out, "millrace_kubernetes_skew_seconds", "gauge",
	    "How far the API server's clock is ahead; 0 while both may agree.",
	    (double)stats->skew_ns / 1e9);
	one(out, "millrace_kubernetes_bytes", "gauge", "Kept of the cluster's objects.",
	    (double)stats->catalog.bytes);
	one(out, "millrace_metadata_written_total", "counter",
	    "Records handed to Kafka for millrace.metadata.", (double)stats->written);
	one(out, "millrace_metadata_failed_total", "counter",
	    "Of these not taken; the watch begins again and writes what is missing.",
	    (double)stats->failed);
}

static void drops(FILE *out, const struct metrics *metrics)
{
	head(out, "millrace_agents_dropped_total", "counter",
	     "Events that agents say they lost, by place: in the ring or a table of theirs and in "
	     "netlink they were never numbered; those of the spool are of "
	     "millrace_events_lost_total.");
	fprintf(out, "millrace_agents_dropped_total{place=\"ring\"} %llu\n",
		(unsigned long long)sum(metrics, TOTAL(mirror.dropped_ring)));
	fprintf(out, "millrace_agents_dropped_total{place=\"netlink\"} %llu\n",
		(unsigned long long)sum(metrics, TOTAL(mirror.dropped_netlink)));
	fprintf(out, "millrace_agents_dropped_total{place=\"spool\"} %llu\n",
		(unsigned long long)sum(metrics, TOTAL(mirror.dropped_spool)));
}

/* What each receiver has of something. */
static void of_receivers(FILE *out, const char *name, const char *type, const char *help,
			 const struct notifier_stats *notifier, size_t offset)
{
	head(out, name, type, help);
	for (size_t i = 0; i < notifier->receivers_count; i++) {
		const char *at = (const char *)&notifier->receivers[i] + offset;

		fprintf(out, "%s{receiver=\"", name);
		label(out, notifier->receivers[i].name);
		fprintf(out, "\"} %llu\n", (unsigned long long)*(const uint64_t *)at);
	}
}

#define OF_RECEIVER(member) offsetof(struct notify_receiver_stats, member)

static void failed_notifications(FILE *out, const struct notifier_stats *notifier)
{
	head(out, "millrace_notifications_failed_total", "counter",
	     "Notifications given up, by reason: refused, gone, expired or crowded.");
	for (size_t i = 0; i < notifier->receivers_count; i++) {
		for (int reason = 0; reason < NOTIFY_FAILURES; reason++) {
			fprintf(out, "millrace_notifications_failed_total{receiver=\"");
			label(out, notifier->receivers[i].name);
			fprintf(out, "\",reason=\"%s\"} %llu\n",
				notify_failure_name((enum notify_failure)reason),
				(unsigned long long)notifier->receivers[i].failed[reason]);
		}
	}
}

static double age_s(uint64_t since_ns, uint64_t now_ns)
{
	return since_ns && now_ns > since_ns ? (double)(now_ns - since_ns) / 1e9 : 0;
}

static void receiver_states(FILE *out, const struct notifier_stats *notifier, uint64_t now_ns)
{
	head(out, "millrace_receiver_disabled", "gauge",
	     "1 when the receiver refused for good and nothing more is sent to it.");
	for (size_t i = 0; i < notifier->receivers_count; i++) {
		fprintf(out, "millrace_receiver_disabled{receiver=\"");
		label(out, notifier->receivers[i].name);
		fprintf(out, "\"} %d\n", notifier->receivers[i].disabled);
	}
	head(out, "millrace_receiver_breaker", "gauge",
	     "Of the receiver's circuit breaker: 0 closed, 1 open, 2 half open.");
	for (size_t i = 0; i < notifier->receivers_count; i++) {
		fprintf(out, "millrace_receiver_breaker{receiver=\"");
		label(out, notifier->receivers[i].name);
		fprintf(out, "\"} %d\n", (int)notifier->receivers[i].breaker);
	}
	head(out, "millrace_receiver_failing_seconds", "gauge",
	     "For how long all tries failed while notifications wait; 0: they do not.");
	for (size_t i = 0; i < notifier->receivers_count; i++) {
		fprintf(out, "millrace_receiver_failing_seconds{receiver=\"");
		label(out, notifier->receivers[i].name);
		fprintf(out, "\"} %.3f\n", age_s(notifier->receivers[i].failing_since_ns, now_ns));
	}
	head(out, "millrace_receiver_delivered_timestamp_seconds", "gauge",
	     "When the receiver last took a notification; 0: not since the start.");
	for (size_t i = 0; i < notifier->receivers_count; i++) {
		fprintf(out, "millrace_receiver_delivered_timestamp_seconds{receiver=\"");
		label(out, notifier->receivers[i].name);
		fprintf(out, "\"} %.3f\n", (double)notifier->receivers[i].delivered_ns / 1e9);
	}
}

static void receivers(FILE *out, const struct notifier_stats *notifier, uint64_t now_ns)
{
	of_receivers(out, "millrace_notifications_total", "counter", "Notifications delivered.",
		     notifier, OF_RECEIVER(sent));
	failed_notifications(out, notifier);
	of_receivers(out, "millrace_notifications_retried_total", "counter",
		     "Attempts that failed and are made again.", notifier, OF_RECEIVER(retried));
	of_receivers(out, "millrace_notifications_superseded_total", "counter",
		     "Replaced by a newer transition before they went out.", notifier,
		     OF_RECEIVER(superseded));
	of_receivers(out, "millrace_notifications_pending", "gauge", "Notifications waiting.",
		     notifier, OF_RECEIVER(pending));
	of_receivers(out, "millrace_notifications_unrecorded", "gauge",
		     "Alerts whose delivery Kafka does not have yet.", notifier,
		     OF_RECEIVER(unrecorded));
	of_receivers(out, "millrace_notifications_open", "gauge",
		     "Alerts of which the receiver holds a firing: their end is owed.", notifier,
		     OF_RECEIVER(open));
	of_receivers(out, "millrace_notifications_forgotten_total", "counter",
		     "Alerts whose end will not be told as too many were open.", notifier,
		     OF_RECEIVER(forgotten));
	of_receivers(out, "millrace_notifications_tested_total", "counter",
		     "Test notifications that somebody had sent.", notifier, OF_RECEIVER(tested));
	of_receivers(out, "millrace_notifications_repeated_total", "counter",
		     "Times that a firing alert was told again to a receiver that forgets.",
		     notifier, OF_RECEIVER(repeated));
	of_receivers(out, "millrace_notifications_unrepeated_total", "counter",
		     "Alerts that are not told again, as more than 16384 of the receiver fire.",
		     notifier, OF_RECEIVER(unrepeated));
	of_receivers(out, "millrace_receiver_breaker_opened_total", "counter",
		     "Times that the receiver's circuit breaker opened.", notifier,
		     OF_RECEIVER(breaker_opened));
	of_receivers(out, "millrace_notifications_silenced_total", "counter",
		     "Firings and updates that were held back as their alert was silenced.",
		     notifier, OF_RECEIVER(silenced));
	of_receivers(out, "millrace_notifications_silenced", "gauge",
		     "Of them, held back now: sent when the alert is silenced no more and fires.",
		     notifier, OF_RECEIVER(silenced_now));
	receiver_states(out, notifier, now_ns);
}

static void silences(FILE *out, const struct silences_stats *stats)
{
	one(out, "millrace_silences_active", "gauge", "Silences in force.",
	    (double)stats->known.active);
	one(out, "millrace_silences_pending", "gauge", "Silences that are yet to begin.",
	    (double)stats->known.pending);
	one(out, "millrace_silences_expired", "gauge",
	    "Silences that have expired and are still listed.", (double)stats->known.expired);
	one(out, "millrace_acknowledgements", "gauge",
	    "Incidents whose acknowledgement is known, over or not.",
	    (double)stats->acknowledgements);
	one(out, "millrace_silences_malformed_total", "counter",
	    "Records of millrace.silences that are none, or that no key in force has signed.",
	    (double)stats->malformed);
	one(out, "millrace_silences_refused_total", "counter",
	    "Records of millrace.silences that found no room.", (double)stats->known.refused);
}

static void notifier(FILE *out, const struct notifier_stats *stats, uint64_t now_ns)
{
	const struct journal_stats *journal = &stats->self.journal;

	receivers(out, stats, now_ns);
	one(out, "millrace_outbox_read_total", "counter", "Transitions read from millrace.alerts.",
	    (double)stats->read);
	one(out, "millrace_outbox_undecodable_total", "counter",
	    "Records of millrace.alerts that are no transition: passed over.",
	    (double)stats->undecodable);
	one(out, "millrace_alerts_unrouted_total", "counter",
	    "Alerts that began and that no receiver was for, by its match or severity.",
	    (double)stats->unrouted);
	one(out, "millrace_outbox_behind", "gauge",
	    "Records of millrace.alerts that a restart would read again.", (double)stats->behind);
	one(out, "millrace_deliveries_unheld_total", "counter",
	    "Records of deliveries that Kafka refused for good: a restart may repeat these.",
	    (double)stats->unheld);
	one(out, "millrace_self_alerts_total", "counter",
	    "Alerts about Millrace itself that fired.", (double)stats->self.fired);
	one(out, "millrace_self_blind", "gauge",
	    "1 while nothing is read from Kafka, beyond notify.blind_after.", stats->self.blind);
	one(out, "millrace_self_journal_size_bytes", "gauge", "Size of notify.journal.",
	    (double)journal->bytes);
	one(out, "millrace_self_journal_failed_total", "counter",
	    "Records that notify.journal could not take.", (double)journal->failed);
	one(out, "millrace_self_journal_cut_bytes", "gauge",
	    "Damaged bytes at the journal's end that the start dropped.", (double)journal->cut);
	one(out, "millrace_heartbeats_total", "counter", "Heartbeats that were answered well.",
	    (double)stats->heartbeat.sent);
	one(out, "millrace_heartbeats_failed_total", "counter", "Heartbeats that were not.",
	    (double)stats->heartbeat.failed);
	one(out, "millrace_heartbeats_withheld_total", "counter",
	    "Periods without a heartbeat as Millrace did not see.",
	    (double)stats->heartbeat.withheld);
}

static void process(FILE *out, const struct metrics *metrics)
{
	struct rusage usage;
	long pages = 0;
	FILE *statm = fopen("/proc/self/statm", "re");

	if (statm) {
		if (fscanf(statm, "%*s %ld", &pages) != 1)
			pages = 0;
		fclose(statm);
	}
	getrusage(RUSAGE_SELF, &usage);
	one(out, "process_cpu_seconds_total", "counter", "CPU time of millraced, user and system.",
	    (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
		    (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	one(out, "process_resident_memory_bytes", "gauge", "Resident memory.",
	    (double)pages * (double)sysconf(_SC_PAGESIZE));
	one(out, "process_start_time_seconds", "gauge", "Start, seconds since 1970.",
	    (double)metrics->started_ns / 1e9);
}

/* How far the slowest task's log clock is behind real time; since the start while one has none. */
static double lag(const struct metrics *metrics)
{
	uint64_t clock_ns = metrics->clock_ns ? metrics->clock_ns : metrics->started_ns;

	return clock_ns < metrics->now_ns ? (double)(metrics->now_ns - clock_ns) / 1e9 : 0;
}

static void server(FILE *out, const struct server_stats *stats)
{
	head(out, "millrace_http_requests_total", "counter", "Requests, by protocol.");
	fprintf(out, "millrace_http_requests_total{protocol=\"http1\"} %llu\n",
		(unsigned long long)stats->requests_http1);
	fprintf(out, "millrace_http_requests_total{protocol=\"http2\"} %llu\n",
		(unsigned long long)stats->requests_http2);
	fprintf(out, "millrace_http_requests_total{protocol=\"grpc\"} %llu\n",
		(unsigned long long)stats->requests_grpc);
	head(out, "millrace_http_responses_total", "counter", "Responses, by class of status.");
	for (int i = 1; i < 6; i++)
		fprintf(out, "millrace_http_responses_total{class=\"%dxx\"} %llu\n", i,
			(unsigned long long)stats->responses[i]);
	one(out, "millrace_http_connections", "gauge", "Open connections.",
	    (double)stats->connections_open);
	one(out, "millrace_http_malformed_total", "counter", "Requests refused as malformed.",
	    (double)stats->malformed);
}

static void instances(FILE *out, const struct metrics *metrics)
{
	const struct instances_stats *stats = &metrics->instances;
	const struct exchange_stats *exchange = &stats->exchange;

	one(out, "millrace_tasks_owned", "gauge", "Tasks of the pipeline that run in this process.",
	    metrics->owned);
	one(out, "millrace_instances", "gauge",
	    "Processes that share the tasks now; 0: this one is alone, or they line up.",
	    stats->instances);
	one(out, "millrace_runs_total", "counter",
	    "Times that the pipeline began here with others: each change of who owns what.",
	    (double)stats->runs);
	one(out, "millrace_rebalances_total", "counter",
	    "Assignments of tasks that the consumer group made to this process.",
	    (double)stats->members.rebalances);
	one(out, "millrace_exchange_sent_total", "counter", "Messages to tasks of other processes.",
	    (double)exchange->sent);
	one(out, "millrace_exchange_sent_records_total", "counter",
	    "Records that they went in, and those for all processes.",
	    (double)exchange->sent_records);
	one(out, "millrace_exchange_sent_bytes_total", "counter", "Bytes of these records.",
	    (double)exchange->sent_bytes);
	one(out, "millrace_exchange_received_total", "counter",
	    "Messages from tasks of other processes.", (double)exchange->received);
	one(out, "millrace_exchange_received_bytes_total", "counter", "Their bytes.",
	    (double)exchange->received_bytes);
	one(out, "millrace_exchange_dropped_total", "counter",
	    "Messages dropped: they had come before, or were of a run that is over.",
	    (double)(exchange->repeated + exchange->stale));
	one(out, "millrace_exchange_held", "gauge", "Messages of a run that has not begun here.",
	    (double)exchange->held);
	one(out, "millrace_exchange_unheld_total", "counter",
	    "Messages of such a run that found no room: that run is begun again.",
	    (double)exchange->unheld);
	one(out, "millrace_exchange_refused_total", "counter",
	    "Records of millrace.exchange, or messages in them, that are none of this build.",
	    (double)exchange->refused);
	one(out, "millrace_exchange_failed_total", "counter",
	    "Records for millrace.exchange that Kafka refused.", (double)exchange->failed);
	one(out, "millrace_runs_broken_total", "counter",
	    "Runs that were begun again because messages were missing.", (double)exchange->broken);
}

static void snapshots(FILE *out, const struct snapshots_stats *stats)
{
	one(out, "millrace_snapshots_total", "counter",
	    "Snapshots of the pipeline's state that count.", (double)stats->taken);
	one(out, "millrace_snapshots_failed_total", "counter",
	    "Snapshots that could not be written; the log says why.", (double)stats->failed);
	one(out, "millrace_snapshot_bytes", "gauge", "Size of the newest; 0: none was taken.",
	    (double)stats->bytes);
	one(out, "millrace_snapshot_timestamp_seconds", "gauge",
	    "Up to when the newest has all events, seconds since 1970; 0: none was taken.",
	    (double)(stats->pane * PANE_NS) / 1e9);
	one(out, "millrace_snapshot_stall_seconds", "gauge",
	    "How long the tasks stood still for the newest.", stats->stood_s);
	one(out, "millrace_snapshot_duration_seconds", "gauge",
	    "From its beginning until it was written and all outputs before it were acknowledged.",
	    stats->duration_s);
	one(out, "millrace_snapshot_cost_seconds", "gauge",
	    "Processor time of the process that wrote the newest, and how long the tasks stood.",
	    stats->cost_s);
}

static void faults(FILE *out, const struct metrics *metrics)
{
	one(out, "millrace_data_losses_total", "counter",
	    "Times that the log of events had lost records before they were read; the log says "
	    "which.",
	    (double)metrics->consumer.losses);
	one(out, "millrace_data_lost_records_total", "counter",
	    "Records so lost, as far as offsets tell: where retention took them.",
	    (double)metrics->consumer.lost_offsets);
	one(out, "millrace_retention_seconds", "gauge",
	    "Retention of the log of events; 0: not known, or without end.",
	    (double)metrics->consumer.retention_ns / 1e9);
	one(out, "millrace_shed_level", "gauge",
	    "1 while the lag was more than half of the retention, so that agents are to send less.",
	    metrics->shed);
	one(out, "millrace_descriptors_exhausted_total", "counter",
	    "Seconds in which hardly any file descriptor was left, so that callers were turned "
	    "away.",
	    (double)metrics->descriptors_exhausted);
	one(out, "millrace_records_passed_over", "gauge",
	    "Records that are not read as they ended the process three times.",
	    (double)metrics->passed_over);
	one(out, "millrace_worker_stalls_total", "counter",
	    "Turns of a worker's loop that took longer than 100 ms.",
	    (double)metrics->watchdog.turns);
	one(out, "millrace_worker_stall_longest_seconds", "gauge",
	    "The longest turn of a worker's loop since the start.", metrics->watchdog.longest_s);
}

static void agents(FILE *out, const struct agents_stats *stats)
{
	uint64_t all = 0;

	for (int state = 0; state < AGENT_STATES; state++)
		all += stats->states[state];
	one(out, "millrace_agents", "gauge",
	    "Agents listed: those that report, and those that did within the last hour.",
	    (double)all);
	head(out, "millrace_agents_state", "gauge",
	     "Agents, by state: live, degraded, behind or silent.");
	for (int state = 0; state < AGENT_STATES; state++)
		fprintf(out, "millrace_agents_state{state=\"%s\"} %llu\n",
			agent_state_name((enum agent_state)state),
			(unsigned long long)stats->states[state]);
	one(out, "millrace_agents_self_test_failing", "gauge",
	    "Agents of which a self-test failed in the last 60 s: they do not see what they "
	    "should.",
	    (double)stats->self_test_failing);
	one(out, "millrace_agents_control_pending", "gauge",
	    "Agents that have not yet said that they apply the control record that selects them, "
	    "or that they apply none any more.",
	    (double)stats->control_pending);
	one(out, "millrace_agents_control_refused", "gauge",
	    "Agents that say why they refused a control record.", (double)stats->control_refused);
	one(out, "millrace_agents_evicted_total", "counter",
	    "Silent agents that left the list before their hour, as too many were silent.",
	    (double)stats->evicted);
}

char *metrics_text(const struct metrics *metrics, size_t *length)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, length);
	struct histogram to_pane = {0};

	if (!out)
		abort(); /* out of memory */
	head(out, "millrace_build_info", "gauge", "Always 1; the version is a label.");
	fprintf(out, "millrace_build_info{version=\"%s\"} 1\n", MILLRACE_VERSION);
	one(out, "millrace_ready", "gauge", "1 when the pipeline runs.", metrics->ready);
	for (uint32_t i = 0; i < metrics->tasks_count; i++)
		histogram_add(&to_pane, &metrics->tasks[i].event_to_pane);
	one(out, "millrace_lag_seconds", "gauge", "Real time less the slowest task's log clock.",
	    lag(metrics));
	agents(out, &metrics->agents);
	for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]); i++)
		one(out, totals[i].name, totals[i].type, totals[i].help,
		    (double)sum(metrics, totals[i].offset));
	one(out, "millrace_events_unexplained", "gauge",
	    "By how many events the loss ledger fails to balance: anything but 0 is a bug.",
	    (double)unexplained(metrics));
	deadletters(out, metrics);
	metadata(out, metrics);
	relay(out, &metrics->relay);
	events(out, &metrics->herald, &metrics->chronicle);
	kubernetes(out, metrics->watcher);
	drops(out, metrics);
	one(out, "millrace_key_changes_total", "counter",
	    "Times other keys or revoked nodes were taken.", (double)metrics->keyring.changes);
	one(out, "millrace_key_reload_errors_total", "counter",
	    "Configurations whose keys could not be used.", (double)metrics->keyring.failures);
	one(out, "millrace_kafka_tokens_total", "counter", "OAUTHBEARER tokens had.",
	    (double)metrics->security.tokens);
	one(out, "millrace_kafka_token_errors_total", "counter", "Failed tries to get one.",
	    (double)metrics->security.failures);
	one(out, "millrace_kafka_token_expires_timestamp_seconds", "gauge",
	    "When the newest token expires; 0: none was had.",
	    (double)metrics->security.token_expires_ms / 1000);
	one(out, "millrace_kafka_certificate_expires_timestamp_seconds", "gauge",
	    "When kafka.tls_certificate expires; 0: none is given.",
	    (double)metrics->security.certificate_expires_ms / 1000);
	one(out, "millrace_outputs_total", "counter", "Records handed to Kafka's producer.",
	    (double)metrics->outputs.written);
	one(out, "millrace_outputs_delivered_total", "counter", "Records that Kafka has.",
	    (double)metrics->outputs.delivered);
	one(out, "millrace_outputs_failed_total", "counter", "Records that Kafka refused for good.",
	    (double)metrics->outputs.failed);
	one(out, "millrace_outputs_differing", "gauge",
	    "Tasks and kinds of output of which an earlier life told something else than what the "
	    "same log gives now.",
	    (double)metrics->differing);
	one(out, "millrace_outputs_waiting", "gauge", "Records waiting for Kafka.",
	    (double)metrics->outputs.waiting);
	instances(out, metrics);
	snapshots(out, &metrics->snapshots);
	faults(out, metrics);
	one(out, "millrace_history_rows", "gauge", "Rows in the history.",
	    (double)(metrics->history.rows_1s + metrics->history.rows_10s +
		     metrics->history.rows_60s + metrics->history.rows_1h));
	one(out, "millrace_history_failed_total", "counter", "Rows that could not be stored.",
	    (double)metrics->history.failed);
	one(out, "millrace_history_left_out_total", "counter",
	    "Rows that the history was not handed: more than history.rows_a_second.",
	    (double)metrics->history_left_out);
	one(out, "millrace_history_left_early_total", "counter",
	    "Rows that left the history before their time: it had history.rows.",
	    (double)metrics->history.left_early);
	notifier(out, metrics->notifier, metrics->now_ns);
	silences(out, &metrics->silences);
	histogram(out, "millrace_event_to_webhook_seconds",
		  "From the newest deciding kernel event to the start of the request that a "
		  "receiver took.",
		  metrics->notifier->event_to_webhook);
	histogram(out, "millrace_event_to_rollup_seconds",
		  "From the newest kernel event in the rows of edges (1 s, else 10 s) to the "
		  "service.",
		  metrics->event_to_rollup);
	histogram(out, "millrace_event_to_pane_seconds",
		  "From the start of a 250 ms pane, so from its earliest kernel event, until its "
		  "rows have passed the anomaly stage; one observation a task and pane.",
		  &to_pane);
	server(out, &metrics->server);
	process(out, metrics);
	fclose(out);
	return text;
}
