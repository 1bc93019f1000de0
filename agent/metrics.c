#include "agent/metrics.h"

#include <inttypes.h>

static const char *const kinds[MR_LOST_COUNTERS] = {
	[0] = "other",		[MR_OPEN] = "open",	   [MR_FAIL] = "fail",
	[MR_UPDATE] = "update", [MR_CLOSE] = "close",	   [MR_OWNER] = "owner",
	[MR_FORK] = "fork",	[MR_TASK] = "task",	   [MR_EXEC] = "exec",
	[MR_EXIT] = "exit",	[MR_LOST_STATE] = "state",
};

static void head(FILE *file, const char *name, const char *type, const char *help)
{
	fprintf(file, "# HELP millrace_agent_%s %s\n# TYPE millrace_agent_%s %s\n", name, help,
		name, type);
}

static void counter(FILE *file, const char *name, const char *help, uint64_t value)
{
	head(file, name, "counter", help);
	fprintf(file, "millrace_agent_%s %" PRIu64 "\n", name, value);
}

static void gauge(FILE *file, const char *name, const char *help, double value)
{
	head(file, name, "gauge", help);
	fprintf(file, "millrace_agent_%s %.9g\n", name, value);
}

static void seconds(FILE *file, const char *name, const char *help, double value)
{
	head(file, name, "counter", help);
	fprintf(file, "millrace_agent_%s %.6f\n", name, value);
}

static void write_drops(const struct metrics *metrics, FILE *file)
{
	head(file, "dropped_events_total", "counter",
	     "Events that never reached Kafka, by where and kind.");
	for (int i = 1; i < MR_LOST_COUNTERS; i++)
		fprintf(file,
			"millrace_agent_dropped_events_total{where=\"ring\",kind=\"%s\"} %" PRIu64
			"\n",
			kinds[i], metrics->lost[i]);
	fprintf(file,
		"millrace_agent_dropped_events_total{where=\"table\",kind=\"socket\"} %" PRIu64 "\n"
		"millrace_agent_dropped_events_total{where=\"table\",kind=\"process\"} %" PRIu64
		"\n"
		"millrace_agent_dropped_events_total{where=\"netlink\",kind=\"overrun\"} %" PRIu64
		"\n"
		"millrace_agent_dropped_events_total{where=\"spool\",kind=\"any\"} %" PRIu64 "\n",
		metrics->recorder.sockets_refused, metrics->recorder.processes_refused,
		metrics->natwatch.overruns, metrics->publisher.spool.dropped_events);
}

static void write_events(const struct metrics *metrics, FILE *file)
{
	const struct recorder_stats *recorder = &metrics->recorder;
	counter(file, "records_total", "Records read from the kernel's ring buffer.",
		metrics->records);
	counter(file, "events_total", "Events sealed into batches.", recorder->events);
	counter(file, "batches_total", "Batches sealed.", recorder->batches);
	counter(file, "batch_bytes_total", "Bytes of sealed batches, before compression.",
		metrics->batch_bytes);
	counter(file, "definitions_total", "Socket definitions, key frames with them.",
		recorder->defined);
	counter(file, "updates_total", "Socket updates.", recorder->updated);
	counter(file, "closes_total", "Socket ends, failed connects with them.", recorder->closed);
	counter(file, "failed_connects_total", "Connects that were never established.",
		recorder->failed);
	counter(file, "vanished_sockets_total", "Sockets gone without a closing event.",
		recorder->vanished);
	counter(file, "unknown_sockets_total", "Updates and ends of sockets that were not told.",
		recorder->unknown_sockets);
	gauge(file, "sockets", "Live sockets told of.", recorder->sockets);
	gauge(file, "processes", "Processes known.", recorder->processes);
}

static void write_nat(const struct metrics *metrics, FILE *file)
{
	gauge(file, "nat_entries", "NAT entries known.", metrics->nat.live);
	counter(file, "nat_events_total", "Conntrack events with NAT.", metrics->natwatch.events);
	counter(file, "nat_refused_total", "NAT entries for which there was no room.",
		metrics->nat.refused);
	counter(file, "nat_swept_total", "NAT entries that ended in silence.", metrics->nat.swept);
	counter(file, "nat_unknown_namespace_total",
		"Conntrack events of an unknown network namespace.",
		metrics->natwatch.unknown_namespace);
	counter(file, "nat_malformed_total", "Conntrack messages that could not be read.",
		metrics->natwatch.malformed);
	counter(file, "nat_left_out_total", "Entries and namespaces beyond the bounds of a dump.",
		metrics->natwatch.left_out);
	counter(file, "conntrack_dumps_total", "Dumps of all namespaces' NAT.",
		metrics->natwatch.dumps);
	counter(file, "conntrack_dump_errors_total", "Dumps that failed in a namespace at least.",
		metrics->natwatch.dumps_failed);
}

static void write_kafka(const struct publisher_stats *publisher, FILE *file)
{
	counter(file, "delivered_batches_total", "Batches that Kafka has.",
		publisher->delivered_batches);
	counter(file, "delivered_bytes_total", "Their bytes, before compression.",
		publisher->delivered_bytes);
	counter(file, "publish_errors_total", "Failed deliveries and client errors.",
		publisher->failed);
	counter(file, "kafka_clients_total", "Times the Kafka client was made.",
		publisher->clients);
	counter(file, "dropped_batches_total", "Batches dropped because the spool was full.",
		publisher->spool.dropped_batches);
	gauge(file, "spool_batches", "Batches waiting for Kafka or on their way.",
	      publisher->spool.waiting + publisher->spool.sent);
	gauge(file, "spool_bytes", "Bytes waiting for Kafka.", (double)publisher->spool.bytes);
	gauge(file, "kafka_connected", "1 when the last word of the broker was good.",
	      publisher->connected);
}

void metrics_write(const struct metrics *metrics, const char *node, FILE *file)
{
	head(file, "info", "gauge", "The agent's version.");
	fprintf(file, "millrace_agent_info{version=\"%s\",node=\"%s\"} 1\n", MILLRACE_VERSION,
		node);
	write_events(metrics, file);
	write_drops(metrics, file);
	write_nat(metrics, file);
	write_kafka(&metrics->publisher, file);
	gauge(file, "ring_bytes", "Bytes waiting in the ring buffer.", (double)metrics->ring_bytes);
	gauge(file, "ring_peak_bytes", "Most bytes waiting since the last scrape.",
	      (double)metrics->ring_peak_bytes);
	gauge(file, "ring_size_bytes", "Size of the ring buffer.", MR_RING_BYTES);
	counter(file, "scans_total", "Scans of open sockets.", metrics->scans);
	counter(file, "scan_errors_total", "Scans that failed.", metrics->scans_failed);
	gauge(file, "scan_period_seconds", "Present period of scans.",
	      (double)metrics->scan_period_ms / 1e3);
	seconds(file, "cpu_seconds_total", "CPU time of the agent's own process.",
		metrics->cpu_seconds);
	seconds(file, "bpf_seconds_total", "Run time of its BPF programs; 0 when not measured.",
		(double)metrics->cost.run_ns / 1e9);
	counter(file, "bpf_runs_total", "Runs of its BPF programs; 0 when not measured.",
		metrics->cost.runs);
}
