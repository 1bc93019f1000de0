/* The whole pipeline over a log in memory: what comes out is the same to the byte with 1, 2 and 4
 * workers, and with 1, 2 and 3 instances that share its tasks; and each connection is in it once,
 * joined. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/batch/batch.h"
#include "base/clock.h"
#include "base/memory.h"
#include "daemon/encode.h"
#include "daemon/inflow.h"
#include "daemon/outflow.h"
#include "daemon/pipeline.h"
#include "tests/support/ledger.h"

enum {
	PARTITIONS = 8,
	NODES = 12,
	SECONDS = 14,
	CONNECTIONS = 3000,
	FLUSH_SECONDS = 30, /* of ticks behind the last event: closes all windows and waits */
	INSTANCES_MAX = 3,
};

#define START_NS (1700000000ULL * NS_PER_S)

struct logged {
	uint8_t *bytes;
	size_t length;
	uint64_t append_ns;
};

struct partition_log {
	struct logged *records;
	size_t count, max;
};

struct output {
	uint8_t *bytes;
	size_t length, max;
};

/* One instance's part of a run. What it sends is with the others at once. */
struct instance_under_test {
	struct run *run;
	struct pipeline *pipeline;
	struct outflow *outflow;
	struct inflow *inflow;
	pthread_mutex_t lock; /* for the inflow */
};

struct run {
	struct instance_under_test instances[INSTANCES_MAX];
	uint32_t instances_count;
	_Atomic uint64_t messages, records; /* between instances */
	const struct partition_log *logs;
	size_t next[PARTITIONS];
	_Atomic uint64_t pane[PARTITIONS];
	struct output outputs[PARTITIONS];
	struct encoder *encoders[PARTITIONS];
	uint64_t flows[PARTITIONS], joined[PARTITIONS];
	uint64_t tx_bytes[PARTITIONS], opened[PARTITIONS];
	uint64_t unnamed[PARTITIONS]; /* opened in 1 s rows whose client or server is an address */
};

/* --- the log --- */

static uint64_t seed = 42;

static uint64_t random_u64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void log_append(struct partition_log *log, const uint8_t *bytes, size_t length,
		       uint64_t append_ns)
{
	if (log->count == log->max) {
		log->max = memory_grown(log->max, log->count + 1);
		log->records = memory_resize(log->records, log->max, sizeof(*log->records));
	}
	struct logged *record = &log->records[log->count++];

	record->bytes = memory_zeroed(1, length);
	memcpy(record->bytes, bytes, length);
	record->length = length;
	record->append_ns = append_ns;
}

struct connection {
	uint32_t client, server; /* nodes */
	uint32_t slot;
	uint16_t port;
	uint64_t opened_ns, closed_ns;
	uint64_t tx, rx;
	bool by_service;  /* dialled a service address */
	uint32_t gateway; /* the node that translates it: the client's own or any other */
};

static struct address node_address(uint32_t node)
{
	return address_v4(0x0a000001 + node);
}

static struct connection connections[CONNECTIONS];
static uint64_t expected_tx;

static void make_connections(void)
{
	uint32_t slots[NODES] = {0};

	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		struct connection *connection = &connections[i];

		connection->client = (uint32_t)(random_u64() % NODES);
		connection->server =
			(uint32_t)((connection->client + 1 + random_u64() % (NODES - 1)) % NODES);
		connection->opened_ns = START_NS + random_u64() % ((SECONDS - 3) * NS_PER_S);
		connection->closed_ns =
			connection->opened_ns + 1000000 + random_u64() % (2 * NS_PER_S);
		connection->port = (uint16_t)(32768 + i);
		connection->tx = 1 + random_u64() % 100000;
		connection->rx = random_u64() % 100000;
		connection->by_service = random_u64() % 3 == 0;
		connection->gateway = i % 2 ? connection->client : (uint32_t)(random_u64() % NODES);
		connection->slot = slots[connection->client]++;
		expected_tx += connection->tx;
	}
}

static void put_process(struct batch *batch, uint32_t node)
{
	char comm[16];

	snprintf(comm, sizeof(comm), "service-%u", node % 5);
	assert_true(batch_process(batch, &(struct batch_process){.pid = 100,
								 .parent = 1,
								 .started_ns = 5,
								 .comm = comm,
								 .exe = comm,
								 .cmdline = comm,
								 .time_ns = START_NS}));
}

static void put_nat(struct batch *batch, const struct connection *connection)
{
	struct address client = node_address(connection->client),
		       server = node_address(connection->server);

	assert_true(batch_nat(batch, &(struct batch_nat){.protocol = 6,
							 .original_source = client,
							 .original_destination = address_v4(
								 0x0a600000 + connection->server),
							 .original_source_port = connection->port,
							 .original_destination_port = 80,
							 .reply_source = server,
							 .reply_destination = client,
							 .reply_source_port = 8080,
							 .reply_destination_port = connection->port,
							 .time_ns = connection->opened_ns}));
}

static void put_open(struct batch *batch, const struct connection *connection, bool client,
		     uint32_t slot)
{
	struct address service = address_v4(0x0a600000 + connection->server);
	struct address local = node_address(client ? connection->client : connection->server);
	struct address remote = node_address(client ? connection->server : connection->client);

	if (client && connection->by_service)
		remote = service;
	assert_true(batch_define(
		batch, &(struct batch_definition){
			       .slot = slot,
			       .generation = 1,
			       .protocol = 6,
			       .role = client ? BATCH_ROLE_CLIENT : BATCH_ROLE_SERVER,
			       .local = local,
			       .remote = remote,
			       .local_port = client ? connection->port : 8080,
			       .remote_port = client ? (connection->by_service ? 80 : 8080)
						     : connection->port,
			       .pid = 100,
			       .age_ns = 200000,
			       .connect_ns = client ? 200000 : 0,
			       .time_ns = connection->opened_ns}));
}

static void put_close(struct batch *batch, const struct connection *connection, bool client,
		      uint32_t slot)
{
	struct traffic total = {.tx_bytes = client ? connection->tx : connection->rx,
				.rx_bytes = client ? connection->rx : connection->tx,
				.tx_segments = 3,
				.rx_segments = 3};

	assert_true(batch_close(batch, &(struct batch_close){.slot = slot,
							     .reason = CLOSE_NORMAL,
							     .total = total,
							     .min_rtt_us = 90,
							     .time_ns = connection->closed_ns}));
}

/* One node's batches: every 100 ms what happened in it. */
static void log_node(uint32_t node, struct partition_log *log)
{
	struct batch *batch =
		batch_new(&(struct batch_options){.events_max = 16384, .bytes_max = 768 * 1024});
	char name[32];
	struct batch_sender sender = {
		.node = name, .epoch = 7 + node, .zone = node % 2 ? "zone-a" : "zone-b"};

	snprintf(name, sizeof(name), "node-%u", node);
	sender.boot_id[0] = (uint8_t)(node + 1);
	put_process(batch, node);
	for (uint64_t at = START_NS; at < START_NS + SECONDS * NS_PER_S; at += 100 * NS_PER_MS) {
		uint64_t end = at + 100 * NS_PER_MS;

		for (uint32_t i = 0; i < CONNECTIONS; i++) {
			const struct connection *connection = &connections[i];

			if (connection->by_service && connection->gateway == node &&
			    connection->opened_ns >= at && connection->opened_ns < end)
				put_nat(batch, connection);
			for (int client = 0; client < 2; client++) {
				/* Slots of servers lie above those of clients; no slot is used
				 * twice. */
				uint32_t slot = client ? connection->slot : CONNECTIONS + i;

				if ((client ? connection->client : connection->server) != node)
					continue;
				if (connection->opened_ns >= at && connection->opened_ns < end)
					put_open(batch, connection, client, slot);
				if (connection->closed_ns >= at && connection->closed_ns < end)
					put_close(batch, connection, client, slot);
			}
		}

		struct batch_bytes sealed = batch_seal(batch, &sender, end - START_NS, end);

		log_append(log, sealed.bytes, sealed.length, end + (node + 1) * 3 * NS_PER_MS);
	}
	batch_free(batch);
}

static int by_time(const void *a, const void *b)
{
	const struct logged *one = a, *other = b;

	return (one->append_ns > other->append_ns) - (one->append_ns < other->append_ns);
}

static void make_logs(struct partition_log *logs)
{
	struct encoder *encoder = encoder_new();

	make_connections();
	for (uint32_t node = 0; node < NODES; node++)
		log_node(node, &logs[node % PARTITIONS]);
	for (uint32_t i = 0; i < PARTITIONS; i++) {
		uint64_t end = START_NS + (SECONDS + FLUSH_SECONDS) * NS_PER_S;

		for (uint64_t at = START_NS + SECONDS * NS_PER_S; at < end; at += 125 * NS_PER_MS) {
			struct encoded tick = encode_tick(encoder, at, NULL, NULL);

			log_append(&logs[i], tick.bytes, tick.length, at + 50 * NS_PER_MS);
		}
		qsort(logs[i].records, logs[i].count, sizeof(*logs[i].records), by_time);
	}
	encoder_free(encoder);
}

/* --- a run --- */

static bool next(void *context, uint32_t partition, struct mirror_record *record)
{
	struct run *run = context;
	const struct partition_log *log = &run->logs[partition];
	size_t at = run->next[partition];

	if (at == log->count)
		return false;
	run->next[partition]++;
	*record = (struct mirror_record){log->records[at].bytes, log->records[at].length,
					 log->records[at].append_ns, (int64_t)at};
	return true;
}

static void turn(void *context, uint32_t partition, uint64_t pane)
{
	struct run *run = context;

	atomic_store(&run->pane[partition], pane);
}

static void output_append(struct output *output, struct encoded encoded)
{
	if (output->length + encoded.length > output->max) {
		output->max = memory_grown(output->max, output->length + encoded.length);
		output->bytes = memory_resize(output->bytes, output->max, 1);
	}
	memcpy(output->bytes + output->length, encoded.bytes, encoded.length);
	output->length += encoded.length;
}

static void on_flows(void *context, uint32_t task, const struct flow *flows, size_t count,
		     const struct names *names)
{
	struct run *run = context;

	for (size_t i = 0; i < count; i++) {
		run->flows[task]++;
		run->joined[task] += flows[i].joined;
	}
	output_append(&run->outputs[task],
		      encode_flows(run->encoders[task],
				   &(struct output_number){.epoch = 1, .task = task}, flows, count,
				   names));
}

static void on_rollups(void *context, uint32_t task, const struct rollup *rollups, size_t count,
		       const struct names *names)
{
	struct run *run = context;

	for (size_t i = 0; i < count; i++) {
		if (rollups[i].scope == SCOPE_EDGE && rollups[i].window_ms == 1000 &&
		    (rollups[i].edge.client_resolution == RESOLUTION_ADDRESS ||
		     rollups[i].edge.server_resolution == RESOLUTION_ADDRESS))
			run->unnamed[task] += (uint64_t)rollups[i].counters[COUNTER_OPENED];
		if (rollups[i].scope != SCOPE_EDGE || rollups[i].window_ms != 10000)
			continue;
		run->tx_bytes[task] += (uint64_t)rollups[i].counters[COUNTER_TX_BYTES];
		run->opened[task] += (uint64_t)rollups[i].counters[COUNTER_OPENED];
	}
	output_append(&run->outputs[task],
		      encode_rollups(run->encoders[task],
				     &(struct output_number){.epoch = 1, .task = task}, rollups,
				     count, names));
}

static void on_alerts(void *context, uint32_t task, const struct alert *alerts, size_t count)
{
	struct run *run = context;

	for (size_t i = 0; i < count; i++)
		output_append(&run->outputs[task],
			      encode_alert(run->encoders[task],
					   &(struct output_number){.epoch = 1, .task = task},
					   &alerts[i]));
}

static void on_baselines(void *context, uint32_t task, const struct baseline_record *records,
			 size_t count, const struct names *names)
{
	struct run *run = context;

	for (size_t i = 0; i < count; i++)
		output_append(&run->outputs[task],
			      encode_baseline(run->encoders[task], &records[i], names));
}

static void on_deadletter(void *context, uint32_t task, const struct mirror_record *record,
			  enum mirror_reason reason, const char *detail, const char *node)
{
	(void)context;
	(void)record;
	(void)node;
	fail_msg("task %u: %s: %s", task, mirror_reason_name(reason), detail);
}

/* Tasks go round the instances, so an instance's number is the lowest of its tasks. */
static uint32_t home_of(const struct run *run, uint32_t task)
{
	return task % run->instances_count;
}

static void on_record(void *context, const struct outflow_record *record)
{
	const struct instance_under_test *from = context;
	struct instance_under_test *to = &from->run->instances[record->home];

	assert_ptr_not_equal(from, to);
	atomic_fetch_add(&from->run->records, 1);
	atomic_fetch_add(&from->run->messages, record->messages);
	pthread_mutex_lock(&to->lock);
	inflow_take(to->inflow, record->home, record->bytes, record->length);
	pthread_mutex_unlock(&to->lock);
	free(record->bytes);
}

static void on_messages(void *context, struct message *messages)
{
	const struct instance_under_test *instance = context;

	pipeline_deliver(instance->pipeline, messages);
}

static void on_send(void *context, uint32_t worker, struct message *message)
{
	const struct instance_under_test *instance = context;

	outflow_send(instance->outflow, worker, message);
}

static void on_flush(void *context, uint32_t worker)
{
	const struct instance_under_test *instance = context;

	outflow_flush(instance->outflow, worker);
}

static struct pipeline_options options_of(struct run *run, uint32_t workers)
{
	return (struct pipeline_options){
		.workers = workers,
		.task = {.tasks = PARTITIONS,
			 .mirror = {.lateness_ns = 500 * NS_PER_MS,
				    .keep_ns = 120 * NS_PER_S,
				    .nodes_max = 64,
				    .halves_max = 8192,
				    .nats_max = 4096,
				    .processes_max = 1024,
				    .containers_max = 64,
				    .amendments_max = 4096,
				    .names_max = 4096,
				    .instances_max = 4096,
				    .record_bytes_max = 1 << 20},
			 .join = {.halves_max = 8192,
				  .aliases_max = 4096,
				  .instances_max = 4096,
				  .one_sided_ns = 2 * NS_PER_S,
				  .keep_ns = 120 * NS_PER_S},
			 .lanes_max = 4096,
			 .aggregate = {.rows_max = 8192, .names_max = 4096},
			 .anomaly = {.baselines = true,
				     .sensitivity = 6,
				     .warmup_samples = 30,
				     .update_ns = 10 * NS_PER_S,
				     .baseline_save_ns = 10 * NS_PER_S,
				     .edges_max = 1024,
				     .episodes_max = 64},
			 .sinks = {run, on_flows, on_rollups, on_alerts, on_baselines,
				   on_deadletter}},
		.source = {run, next, NULL, turn},
	};
}

static void make_instance(struct run *run, uint32_t number, uint32_t workers)
{
	struct instance_under_test *instance = &run->instances[number];
	struct pipeline_options options = options_of(run, workers);
	uint32_t homes[PARTITIONS];

	for (uint32_t i = 0; i < PARTITIONS; i++) {
		homes[i] = home_of(run, i);
		if (homes[i] == number)
			task_set_add(&options.owned, i);
	}
	options.elsewhere = (struct pipeline_elsewhere){instance, on_send, on_flush};
	instance->run = run;
	pthread_mutex_init(&instance->lock, NULL);
	instance->outflow = outflow_new(PARTITIONS, on_record, instance);
	instance->inflow = inflow_new(PARTITIONS, on_messages, instance);
	outflow_begin(instance->outflow, 1, homes);
	inflow_begin(instance->inflow, 1, homes);
	instance->pipeline = pipeline_new(&options);
}

/* Nothing comes any more: the others still run. */
static void end_inflow(struct instance_under_test *instance)
{
	struct inflow_stats stats;

	pthread_mutex_lock(&instance->lock);
	stats = inflow_stats(instance->inflow);
	assert_int_equal(stats.broken + stats.refused + stats.repeated + stats.stale, 0);
	inflow_end(instance->inflow);
	pthread_mutex_unlock(&instance->lock);
}

static void free_instance(struct instance_under_test *instance)
{
	pipeline_free(instance->pipeline);
	inflow_free(instance->inflow);
	outflow_free(instance->outflow);
	pthread_mutex_destroy(&instance->lock);
}

static struct run *run_with(const struct partition_log *logs, uint32_t instances, uint32_t workers)
{
	struct run *run = memory_zeroed(1, sizeof(*run));
	uint64_t last_pane = pane_of(START_NS + (SECONDS + FLUSH_SECONDS - 2) * NS_PER_S);

	run->logs = logs;
	run->instances_count = instances;
	for (int i = 0; i < PARTITIONS; i++)
		run->encoders[i] = encoder_new();
	for (uint32_t i = 0; i < instances; i++)
		make_instance(run, i, workers);
	for (uint32_t i = 0; i < instances; i++)
		assert_int_equal(pipeline_start(run->instances[i].pipeline), 0);
	for (int i = 0; i < PARTITIONS; i++) {
		for (int waited = 0; atomic_load(&run->pane[i]) < last_pane; waited++) {
			assert_true(waited < 6000);
			usleep(10000);
		}
	}
	for (uint32_t i = 0; i < instances; i++)
		end_inflow(&run->instances[i]);
	for (uint32_t i = 0; i < instances; i++)
		pipeline_stop(run->instances[i].pipeline);
	for (uint32_t i = 0; i < PARTITIONS; i++)
		assert_ledger(
			task_mirror(pipeline_task(run->instances[home_of(run, i)].pipeline, i)));
	for (uint32_t i = 0; i < instances; i++)
		free_instance(&run->instances[i]);
	return run;
}

static void run_free(struct run *run)
{
	for (int i = 0; i < PARTITIONS; i++) {
		encoder_free(run->encoders[i]);
		free(run->outputs[i].bytes);
	}
	free(run);
}

static void expect_same(const struct run *one, const struct run *other)
{
	for (int i = 0; i < PARTITIONS; i++) {
		size_t common = one->outputs[i].length < other->outputs[i].length
					? one->outputs[i].length
					: other->outputs[i].length;

		/* The runs end some panes apart, so one output may be longer at its end. */
		assert_true(common > 1000);
		assert_memory_equal(one->outputs[i].bytes, other->outputs[i].bytes, common);
	}
}

static void outputs_are_the_same_with_1_2_and_4_workers_and_1_2_and_3_instances(void **state)
{
	struct partition_log logs[PARTITIONS] = {0};
	struct run *one, *other;
	uint64_t flows = 0, joined = 0, tx = 0, opened = 0, unnamed = 0;

	(void)state;
	make_logs(logs);
	one = run_with(logs, 1, 1);
	for (int i = 0; i < PARTITIONS; i++) {
		flows += one->flows[i];
		joined += one->joined[i];
		tx += one->tx_bytes[i];
		opened += one->opened[i];
		unnamed += one->unnamed[i];
	}
	assert_int_equal(flows, CONNECTIONS);
	assert_int_equal(joined, CONNECTIONS);
	assert_int_equal(opened, CONNECTIONS);
	assert_int_equal(tx, expected_tx);
	/* Both ends begin in the same pane here, so even the first rows name both, through whatever
	 * node's NAT. */
	assert_int_equal(unnamed, 0);
	for (uint32_t workers = 2; workers <= 4; workers *= 2) {
		other = run_with(logs, 1, workers);
		expect_same(one, other);
		assert_int_equal(other->records, 0);
		run_free(other);
	}
	for (uint32_t instances = 2; instances <= INSTANCES_MAX; instances++) {
		other = run_with(logs, instances, 4 - instances);
		expect_same(one, other);
		assert_true(other->records > 0 && other->messages > 2 * other->records);
		run_free(other);
	}
	run_free(one);
	for (int i = 0; i < PARTITIONS; i++) {
		for (size_t n = 0; n < logs[i].count; n++)
			free(logs[i].records[n].bytes);
		free(logs[i].records);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			outputs_are_the_same_with_1_2_and_4_workers_and_1_2_and_3_instances),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
