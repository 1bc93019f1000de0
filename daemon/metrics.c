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
	{"millrace_heartbeats_total", "counter", "Batches without events.",
	 TOTAL(mirror.heartbeats)},
	{"millrace_ticks_total", "counter", "Ticks of idle partitions.", TOTAL(mirror.ticks)},
	{"millrace_events_issued_total", "counter", "Events that agents numbered.",
	 TOTAL(mirror.issued)},
	{"millrace_events_received_total", "counter", "Events that arrived.", TOTAL(mirror.events)},
	{"millrace_events_lost_total", "counter", "Events missing in agents' numbering.",
	 TOTAL(mirror.lost)},
	{"millrace_events_duplicate_total", "counter", "Events of batches seen before.",
	 TOTAL(mirror.duplicate)},
	{"millrace_events_late_total", "counter", "Events of panes closed already.",
	 TOTAL(mirror.late)},
	{"millrace_events_future_total", "counter", "Events ahead of the log, clamped.",
	 TOTAL(mirror.future)},
	{"millrace_events_refused_total", "counter",
	 "Events that found a table full or no definition.", TOTAL(mirror.refused)},
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
	{"millrace_amendments_dropped_total", "counter", "Windows that can no longer be amended.",
	 TOTAL(mirror.amendments_dropped)},
	{"millrace_counters_backwards_total", "counter",
	 "Absolute counters below what was counted before: nothing moved.",
	 TOTAL(mirror.backwards)},
	{"millrace_join_halves", "gauge", "Connection ends in the join.", TOTAL(join.halves)},
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
	{"millrace_flows_total", "counter", "Flow records written.", TOTAL(join.flows_emitted)},
	{"millrace_flows_joined_total", "counter", "Of them, joined from both ends.",
	 TOTAL(join.flows_joined)},
	{"millrace_deltas_total", "counter", "Changes of connection ends, one a pane.",
	 TOTAL(partial.deltas)},
	{"millrace_partial_rows_total", "counter", "Partial rows.", TOTAL(partial.rows)},
	{"millrace_partial_folded_total", "counter", "Changes folded into _other.",
	 TOTAL(partial.folded)},
	{"millrace_rows", "gauge", "Rows aggregated.", TOTAL(aggregate.rows)},
	{"millrace_edges", "gauge", "Edges aggregated.", TOTAL(aggregate.edges)},
	{"millrace_rows_folded_total", "counter", "Rows folded into _other.",
	 TOTAL(aggregate.folded)},
	{"millrace_rollups_total", "counter", "Rollup rows written, all window lengths.",
	 TOTAL(aggregate.emitted)},
	{"millrace_rollups_amended_total", "counter", "Signed rows for closed windows.",
	 TOTAL(aggregate.amended)},
	{"millrace_rows_unnamed_total", "counter", "Rows written with a name missing.",
	 TOTAL(aggregate.unnamed)},
	{"millrace_watched_edges", "gauge", "Edges with a baseline.", TOTAL(anomaly.edges)},
	{"millrace_episodes", "gauge", "Alerts firing.", TOTAL(anomaly.episodes)},
	{"millrace_alerts_fired_total", "counter", "Alerts that fired.", TOTAL(anomaly.fired)},
	{"millrace_alerts_resolved_total", "counter", "Alerts that resolved.",
	 TOTAL(anomaly.resolved)},
	{"millrace_alerts_suppressed_total", "counter", "Alerts past the bound.",
	 TOTAL(anomaly.suppressed)},
};

static uint64_t sum(const struct metrics *metrics, size_t offset)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < metrics->tasks_count; i++)
		value += *(const uint64_t *)((const char *)&metrics->tasks[i] + offset);
	return value;
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

static void drops(FILE *out, const struct metrics *metrics)
{
	head(out, "millrace_agent_dropped_total", "counter",
	     "Events that agents say they lost, by place.");
	fprintf(out, "millrace_agent_dropped_total{place=\"ring\"} %llu\n",
		(unsigned long long)sum(metrics, TOTAL(mirror.dropped_ring)));
	fprintf(out, "millrace_agent_dropped_total{place=\"netlink\"} %llu\n",
		(unsigned long long)sum(metrics, TOTAL(mirror.dropped_netlink)));
	fprintf(out, "millrace_agent_dropped_total{place=\"spool\"} %llu\n",
		(unsigned long long)sum(metrics, TOTAL(mirror.dropped_spool)));
}

static void receiver_gauge(FILE *out, const char *name,
			   const struct notify_receiver_stats *receiver, uint64_t value)
{
	fprintf(out, "%s{receiver=\"", name);
	label(out, receiver->name);
	fprintf(out, "\"} %llu\n", (unsigned long long)value);
}

static void receivers(FILE *out, const struct metrics *metrics)
{
	static const struct {
		const char *name, *help;
		size_t offset;
	} counters[] = {
		{"millrace_notifications_total", "Notifications delivered.",
		 offsetof(struct notify_receiver_stats, sent)},
		{"millrace_notifications_failed_total", "Notifications given up.",
		 offsetof(struct notify_receiver_stats, failed)},
		{"millrace_notifications_retried_total", "Attempts made again.",
		 offsetof(struct notify_receiver_stats, retried)},
		{"millrace_notifications_superseded_total",
		 "Replaced by a newer transition before they went out.",
		 offsetof(struct notify_receiver_stats, superseded)},
		{"millrace_notifications_dropped_total",
		 "Of those given up: the oldest when more waited than notify.pending.",
		 offsetof(struct notify_receiver_stats, dropped)},
	};

	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		head(out, counters[i].name, "counter", counters[i].help);
		for (size_t n = 0; n < metrics->receivers_count; n++) {
			const char *at = (const char *)&metrics->receivers[n] + counters[i].offset;

			fprintf(out, "%s{receiver=\"", counters[i].name);
			label(out, metrics->receivers[n].name);
			fprintf(out, "\"} %llu\n", (unsigned long long)*(const uint64_t *)at);
		}
	}
	head(out, "millrace_notifications_pending", "gauge", "Notifications waiting.");
	for (size_t n = 0; n < metrics->receivers_count; n++)
		receiver_gauge(out, "millrace_notifications_pending", &metrics->receivers[n],
			       metrics->receivers[n].pending);
	head(out, "millrace_receiver_disabled", "gauge",
	     "1 when the receiver refused for good and nothing more is sent to it.");
	for (size_t n = 0; n < metrics->receivers_count; n++)
		receiver_gauge(out, "millrace_receiver_disabled", &metrics->receivers[n],
			       metrics->receivers[n].disabled);
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
	uint64_t oldest = metrics->now_ns;

	for (uint32_t i = 0; i < metrics->tasks_count; i++) {
		if (metrics->tasks[i].clock_ns < oldest)
			oldest = metrics->tasks[i].clock_ns;
	}
	if (!oldest)
		oldest = metrics->started_ns;
	return (double)(metrics->now_ns - oldest) / 1e9;
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
	one(out, "millrace_agents", "gauge", "Agents known.", (double)metrics->agents);
	for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]); i++)
		one(out, totals[i].name, totals[i].type, totals[i].help,
		    (double)sum(metrics, totals[i].offset));
	deadletters(out, metrics);
	drops(out, metrics);
	one(out, "millrace_outputs_total", "counter", "Records handed to Kafka's producer.",
	    (double)metrics->outputs.written);
	one(out, "millrace_outputs_delivered_total", "counter", "Records that Kafka has.",
	    (double)metrics->outputs.delivered);
	one(out, "millrace_outputs_failed_total", "counter", "Records that Kafka refused for good.",
	    (double)metrics->outputs.failed);
	one(out, "millrace_outputs_waiting", "gauge", "Records waiting for Kafka.",
	    (double)metrics->outputs.waiting);
	one(out, "millrace_history_rows", "gauge", "Rows in the history.",
	    (double)(metrics->history.rows_1s + metrics->history.rows_10s +
		     metrics->history.rows_60s + metrics->history.rows_1h));
	one(out, "millrace_history_failed_total", "counter", "Rows that could not be stored.",
	    (double)metrics->history.failed);
	one(out, "millrace_history_left_out_total", "counter",
	    "Rows that the history was not handed: more than history.rows_a_second.",
	    (double)metrics->history_left_out);
	receivers(out, metrics);
	histogram(out, "millrace_event_to_webhook_seconds",
		  "From the newest deciding kernel event to the start of the request that a "
		  "receiver took.",
		  metrics->event_to_webhook);
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
