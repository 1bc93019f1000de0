#include "agent/metrics.h"

#include <inttypes.h>

#include "base/clock.h"

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
	fprintf(file, "millrace_agent_%s %.12g\n", name, value);
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
	for (int loss = 0; loss < LOSSES; loss++)
		fprintf(file,
			"millrace_agent_dropped_events_total{where=\"%s\",kind=\"%s\"} %" PRIu64
			"\n",
			loss_place(loss), loss_kind(loss), metrics->losses.events[loss]);
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
	gauge(file, "listeners", "TCP listeners told of.", recorder->listeners);
	gauge(file, "processes", "Processes known.", recorder->processes);
}

static void write_processes(const struct recorder_stats *recorder, FILE *file)
{
	counter(file, "vanished_processes_total", "Processes gone without an end that was seen.",
		recorder->processes_vanished);
	counter(file, "arguments_unread_total",
		"Command lines that neither the kernel nor /proc gave.",
		recorder->arguments_unread);
	counter(file, "arguments_cut_total", "Command lines of more than 4,096 bytes.",
		recorder->arguments_cut);
	gauge(file, "process_text_bytes", "Bytes of paths and command lines kept.",
	      (double)recorder->process_text_bytes);
	counter(file, "process_texts_cut_total",
		"Command lines kept to 255 bytes because limits.process_text was reached.",
		recorder->process_texts_cut);
}

static void write_containers(const struct metrics *metrics, FILE *file)
{
	const struct cgroups_stats *cgroups = &metrics->cgroups;
	const struct containers_stats *containers = &metrics->containers;
	const struct inspector_stats *inspector = &metrics->inspector;
	gauge(file, "cgroups", "Cgroups known.", cgroups->live);
	counter(file, "cgroups_made_total", "Cgroups that the kernel told of as they were made.",
		cgroups->made);
	counter(file, "vanished_cgroups_total",
		"Cgroups gone without an end that was seen: a walk did not find them.",
		cgroups->vanished);
	counter(file, "cgroup_walks_total", "Times the cgroup trees were read.", cgroups->walks);
	counter(file, "cgroups_evicted_total",
		"Cgroups forgotten because limits.cgroups was reached.", cgroups->evicted);
	counter(file, "cgroups_unknown_total", "Times a cgroup was not known.", cgroups->unknown);
	counter(file, "cgroup_paths_cut_total", "Cgroup paths of more than 510 bytes.",
		cgroups->cut);
	gauge(file, "containers", "Containers known.", containers->live);
	gauge(file, "containers_wanted", "Of which no runtime has told yet.", containers->wanted);
	counter(file, "containers_described_total", "Descriptions by runtimes, changed ones again.",
		containers->told);
	counter(file, "containers_given_up_total",
		"Containers of which no runtime told within two minutes, or ECS no service.",
		containers->given_up);
	counter(file, "containers_evicted_total",
		"Containers forgotten because limits.cgroups was reached.", containers->evicted);
	counter(file, "container_labels_left_out_total",
		"Labels beyond 32 or 8 KiB of text a container.", containers->labels_left_out);
	counter(file, "container_files_read_total", "Times a runtime's files were looked through.",
		inspector->files_read);
	gauge(file, "docker_connected", "1 while Docker's event stream is open.",
	      inspector->docker.connected);
	counter(file, "docker_connects_total", "Times it was opened.", inspector->docker.connects);
	counter(file, "docker_events_total", "Events that Docker sent.", inspector->docker.events);
	counter(file, "docker_errors_total",
		"Answers of Docker that failed, were late or too long.", inspector->docker.errors);
	counter(file, "ecs_asked_total", "Times ECS's agent was asked for a container's service.",
		inspector->ecs_asked);
	counter(file, "ecs_errors_total",
		"Answers of ECS's agent that failed, were late or of another task.",
		inspector->ecs_errors);
}

static void write_nat(const struct metrics *metrics, FILE *file)
{
	gauge(file, "nat_entries", "NAT entries known.", metrics->nat.live);
	counter(file, "nat_events_total", "Conntrack events with NAT.", metrics->natwatch.events);
	counter(file, "nat_overruns_total", "Times that conntrack's events did not fit nat.buffer.",
		metrics->natwatch.overruns);
	counter(file, "nat_resyncs_total", "Dumps because of such overruns.",
		metrics->natwatch.resyncs);
	counter(file, "nat_found_total", "NAT entries first seen by a dump: their event was lost.",
		metrics->nat.found);
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

static void write_lookups(const struct recorder_stats *recorder, FILE *file)
{
	const struct lookups_stats *lookups = &recorder->lookups;
	counter(file, "lookups_total", "Name lookups told that were answered, at either end.",
		lookups->answered);
	counter(file, "lookup_timeouts_total", "Name lookups told that got no answer.",
		lookups->timeouts);
	gauge(file, "lookups_waiting", "Name lookups that wait for their answer.",
	      lookups->waiting);
	head(file, "lookups_untold_total", "counter",
	     "DNS messages and lookups that nothing is told of, by why.");
	const struct {
		const char *why;
		uint64_t count;
	} rows[] = {
		{"repeated", lookups->repeated},	{"unmatched", lookups->unmatched},
		{"abandoned", lookups->abandoned},	{"evicted", lookups->evicted},
		{"malformed", recorder->dns_malformed}, {"other", recorder->dns_other},
		{"unplaced", recorder->dns_unplaced},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		fprintf(file, "millrace_agent_lookups_untold_total{why=\"%s\"} %" PRIu64 "\n",
			rows[i].why, rows[i].count);
}

static void write_names(const struct recorder_stats *recorder, FILE *file)
{
	counter(file, "sni_total", "Names in TLS handshakes told.", recorder->sni);
	head(file, "sni_untold_total", "counter",
	     "TLS handshakes that nothing is told of, by why.");
	const struct {
		const char *why;
		uint64_t count;
	} rows[] = {
		{"none", recorder->sni_without},	{"cut", recorder->sni_cut},
		{"other", recorder->sni_other},		{"repeated", recorder->sni_repeated},
		{"malformed", recorder->sni_malformed}, {"unplaced", recorder->sni_unplaced},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		fprintf(file, "millrace_agent_sni_untold_total{why=\"%s\"} %" PRIu64 "\n",
			rows[i].why, rows[i].count);
}

static void write_packets(const struct drops_stats *drops, FILE *file)
{
	counter(file, "dropped_packets_total", "IP packets that the kernel dropped.",
		drops->packets);
	counter(file, "icmp_errors_total", "ICMP errors that came.", drops->icmp_errors);
	counter(file, "drop_rows_total", "Rows of dropped packets and ICMP errors told.",
		drops->rows);
	counter(file, "drops_folded_total",
		"Dropped packets told by their reason alone: more tuples than limits.drops.",
		drops->folded);
	counter(file, "drops_not_ip_total", "Freed buffers that held no IP packet: not told.",
		drops->not_ip);
	counter(file, "drop_read_errors_total", "Reads of the drop maps that failed.",
		drops->errors);
}

static void write_kafka(const struct metrics *metrics, FILE *file)
{
	const struct publisher_stats *publisher = &metrics->publisher;
	counter(file, "delivered_batches_total", "Batches that Kafka has.",
		publisher->delivered_batches);
	counter(file, "delivered_bytes_total", "Their bytes, before compression.",
		publisher->delivered_bytes);
	counter(file, "publish_errors_total", "Failed deliveries and client errors.",
		publisher->failed);
	counter(file, "kafka_clients_total", "Times the Kafka client was made.",
		publisher->clients);
	counter(file, "dropped_batches_total",
		"Batches dropped because the spool was full or the broker refused them.",
		publisher->spool.dropped_batches);
	gauge(file, "spool_batches", "Batches waiting for Kafka or on their way.",
	      publisher->spool.waiting + publisher->spool.sent);
	gauge(file, "spool_bytes", "Bytes waiting for Kafka.", (double)publisher->spool.bytes);
	counter(file, "kafka_tokens_total", "OAUTHBEARER tokens had.", metrics->security.tokens);
	counter(file, "kafka_token_errors_total", "Failed tries to get one.",
		metrics->security.failures);
	gauge(file, "kafka_token_expires_timestamp_seconds",
	      "When the newest token expires; 0: none was had.",
	      (double)metrics->security.token_expires_ms / 1000);
	gauge(file, "kafka_certificate_expires_timestamp_seconds",
	      "When kafka.tls_certificate expires; 0: none is given.",
	      (double)metrics->security.certificate_expires_ms / 1000);
	gauge(file, "kafka_connected", "1 when the last word of the broker was good.",
	      publisher->connected);
}

static void write_control(const struct controls_stats *controls, FILE *file)
{
	counter(file, "control_records_total", "Control records taken.", controls->taken);
	head(file, "control_refused_total", "counter", "Control records refused, by reason.");
	fprintf(file,
		"millrace_agent_control_refused_total{reason=\"malformed\"} %" PRIu64 "\n"
		"millrace_agent_control_refused_total{reason=\"unsigned\"} %" PRIu64 "\n"
		"millrace_agent_control_refused_total{reason=\"forged\"} %" PRIu64 "\n"
		"millrace_agent_control_refused_total{reason=\"expired\"} %" PRIu64 "\n"
		"millrace_agent_control_refused_total{reason=\"replayed\"} %" PRIu64 "\n"
		"millrace_agent_control_refused_total{reason=\"no_room\"} %" PRIu64 "\n",
		controls->malformed, controls->unsigned_, controls->forged, controls->expired,
		controls->replayed, controls->evicted);
}

static void write_self(const struct self_stats *self, FILE *file)
{
	gauge(file, "cpu_share",
	      "Share of the node's CPUs that the agent and its BPF programs took over the last 10 "
	      "s.",
	      self->cpu_share);
	gauge(file, "cpu_budget", "Its bound; 0 when there is none.", self->cpu_budget);
	gauge(file, "level", "Steps taken back to keep the budget.", self->level);
	counter(file, "steps_down_total", "Steps taken back.", self->steps_down);
	counter(file, "steps_up_total", "Steps taken up again.", self->steps_up);
	counter(file, "windows_over_budget_total",
		"Windows of 10 s that cost more than the budget.", self->windows_over);
	gauge(file, "programs", "BPF programs attached.", self->links.attached);
	gauge(file, "programs_wanted", "BPF programs that should be.", self->links.wanted);
	counter(file, "self_tests_total",
		"Loopback connections made to see whether the programs still see.",
		self->self_tests);
	counter(file, "self_tests_failed_total",
		"Self-tests of which nothing came out of the ring buffer within 5 s.",
		self->self_tests_failed);
	gauge(file, "controlled", "1 when a control record is applied.", self->controlled);
	write_control(&self->controls, file);
	counter(file, "control_errors_total", "Errors of the control topic's client.",
		self->controlwatch.errors);
	counter(file, "control_clients_total", "Times that client was made.",
		self->controlwatch.clients);
	counter(file, "metadata_asked_total", "Times the cloud's metadata service was asked.",
		self->metadata_asked);
	counter(file, "metadata_failed_total",
		"Times it gave no answer within 1 s, or no good one.", self->metadata_failed);
}

void metrics_write(const struct metrics *metrics, const char *node, FILE *file)
{
	head(file, "info", "gauge", "The agent's version.");
	fprintf(file, "millrace_agent_info{version=\"%s\",node=\"%s\"} 1\n", MILLRACE_VERSION,
		node);
	write_events(metrics, file);
	write_processes(&metrics->recorder, file);
	write_containers(metrics, file);
	write_drops(metrics, file);
	write_nat(metrics, file);
	write_packets(&metrics->drops, file);
	write_lookups(&metrics->recorder, file);
	write_names(&metrics->recorder, file);
	write_kafka(metrics, file);
	counter(file, "key_changes_total", "Times other keys were taken.", metrics->signer.changes);
	counter(file, "key_reload_errors_total", "Configurations whose keys could not be used.",
		metrics->signer.failures);
	gauge(file, "late_peak_seconds",
	      "How late a batch began at most since the last scrape: the loop was held up.",
	      (double)metrics->late_peak_ns / NS_PER_S);
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
	seconds(file, "bpf_seconds_total",
		"Run time of its BPF programs, from samples of 0.3 s; 0 when not measured.",
		(double)metrics->cost.run_ns / 1e9);
	counter(file, "bpf_runs_total",
		"Runs of its BPF programs, from samples; 0 when not measured.", metrics->cost.runs);
	write_self(&metrics->self, file);
	counter(file, "bpf_missed_runs_total",
		"Runs that the kernel left out because the program was running on that CPU.",
		metrics->cost.missed);
	counter(file, "malformed_records_total",
		"Records of the ring buffer that were not as long as they said.",
		metrics->cost.malformed);
}
