#include "bench/fleet/fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/batch/batch.h"
#include "agent/batch/seal.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/tuple.h"
#include "bench/fleet/hazard.h"
#include "bench/fleet/stamp.h"
#include "ingest/decode.h"
#include "millrace/v1/events.pb-c.h"

enum { NODES_MAX = 32, SLOTS_MAX = 2048, CGROUPS_MAX = 4096, TUPLES_MAX = 1 << 17, HOPS = 4 };

static const char secret[] = "a secret of the fleet's test";

/* --- a reader of batches: sums what they say, by the rules of events.proto --- */

struct socket {
	bool live, server;
	uint32_t generation;
	uint64_t cgroup;
	struct tuple seen; /* client to server, as this end has it */
	struct traffic first, last;
	uint64_t told_ns;
};

struct sums {
	char name[128];					     /* of the workload */
	uint64_t opened, failed, closed, tx_bytes, rx_bytes; /* the client's view */
};

/* From a tuple to what it becomes behind a node, or to itself if a server's socket has it. */
struct mapping {
	bool used;
	struct tuple from, to;
};

struct reader {
	char names[NODES_MAX][16];
	uint32_t partitions[NODES_MAX];
	uint64_t epochs[NODES_MAX], sequences[NODES_MAX], events[NODES_MAX];
	struct socket sockets[NODES_MAX][SLOTS_MAX];
	char workloads[NODES_MAX][CGROUPS_MAX][48];
	size_t nodes;
	struct sums clients[256], servers[256];
	struct sums client_total, server_total;
	struct mapping *mappings;
	uint64_t hash, batches, key_frames, existing, containers, unnamed, nat_ended;
	uint64_t longest_silence_ns, repeated_pids, wrapped;
	uint32_t highest_slot;
	uint32_t pids[1 << 16];
	struct decoder *decoder;
	bool strict; /* nothing was lost or reordered on the way */
	uint64_t append_ns[64];
};

static struct reader *reader_new(bool strict)
{
	struct reader *reader = memory_zeroed(1, sizeof(*reader));

	reader->strict = strict;
	reader->decoder = decoder_new(&(struct decode_options){.record_bytes_max = 1 << 20});
	reader->mappings = memory_zeroed(TUPLES_MAX, sizeof(*reader->mappings));
	return reader;
}

static void reader_free(struct reader *reader)
{
	decoder_free(reader->decoder);
	free(reader->mappings);
	free(reader);
}

static size_t node_at(struct reader *reader, const char *name)
{
	size_t node = 0;

	while (node < reader->nodes && strcmp(reader->names[node], name) != 0)
		node++;
	if (node == reader->nodes) {
		assert_true(node < NODES_MAX);
		snprintf(reader->names[node], sizeof(reader->names[node]), "%s", name);
		reader->partitions[node] = UINT32_MAX;
		reader->nodes++;
	}
	return node;
}

static struct mapping *mapping_at(struct reader *reader, const struct tuple *from)
{
	size_t place = tuple_hash(from) % TUPLES_MAX;

	while (reader->mappings[place].used && !tuple_equal(&reader->mappings[place].from, from))
		place = (place + 1) % TUPLES_MAX;
	return &reader->mappings[place];
}

static void map(struct reader *reader, const struct tuple *from, const struct tuple *to)
{
	*mapping_at(reader, from) = (struct mapping){true, *from, *to};
}

static struct sums *sums_of(struct sums *all, const char *name)
{
	size_t i = 0;

	while (all[i].name[0] && strcmp(all[i].name, name) != 0)
		i++;
	assert_true(i < 255);
	snprintf(all[i].name, sizeof(all[i].name), "%s", name);
	return &all[i];
}

/* The sums of all and of the workload that owns the half. */
static void owner_sums(struct reader *reader, size_t node, const struct socket *socket,
		       struct sums *sums[2])
{
	const char *name = reader->workloads[node][socket->cgroup % CGROUPS_MAX];

	reader->unnamed += !name[0];
	sums[0] = socket->server ? &reader->server_total : &reader->client_total;
	sums[1] = sums_of(socket->server ? reader->servers : reader->clients, name);
}

static void add_bytes(struct reader *reader, size_t node, const struct socket *socket)
{
	struct sums *sums[2];
	uint64_t tx = socket->last.tx_bytes - socket->first.tx_bytes;
	uint64_t rx = socket->last.rx_bytes - socket->first.rx_bytes;

	owner_sums(reader, node, socket, sums);
	for (int i = 0; i < 2; i++) {
		sums[i]->tx_bytes += socket->server ? rx : tx;
		sums[i]->rx_bytes += socket->server ? tx : rx;
	}
}

static struct address address_at(const Millrace__V1__Batch *batch, uint32_t index)
{
	assert_true((index + 1) * sizeof(struct address) <= batch->addresses.len);
	return address_v6(batch->addresses.data + index * sizeof(struct address));
}

static void read_containers(struct reader *reader, size_t node, const Millrace__V1__Batch *batch)
{
	const Millrace__V1__Containers *c = batch->containers;

	for (size_t i = 0; c && i < c->n_cgroup; i++) {
		assert_true(c->cgroup[i] < CGROUPS_MAX);
		snprintf(reader->workloads[node][c->cgroup[i]], 48, "%s/%s",
			 batch->strings[c->namespace_[i]], batch->strings[c->workload[i]]);
		reader->containers++;
	}
}

static void read_processes(struct reader *reader, const Millrace__V1__Batch *batch)
{
	const Millrace__V1__Processes *p = batch->processes;

	for (size_t i = 0; p && i < p->n_pid; i++)
		reader->repeated_pids += reader->pids[p->pid[i] & 0xffff]++ > 0;
}

static void read_nat(struct reader *reader, const Millrace__V1__Batch *batch)
{
	const Millrace__V1__NatEntries *n = batch->nat;

	for (size_t i = 0; n && i < n->n_op; i++) {
		struct tuple from = {.client = address_at(batch, n->original_source[i]),
				     .server = address_at(batch, n->original_destination[i]),
				     .client_port = (uint16_t)n->original_source_port[i],
				     .server_port = (uint16_t)n->original_destination_port[i],
				     .protocol = (uint8_t)n->protocol[i]};
		struct tuple to = {.client = address_at(batch, n->reply_destination[i]),
				   .server = address_at(batch, n->reply_source[i]),
				   .client_port = (uint16_t)n->reply_destination_port[i],
				   .server_port = (uint16_t)n->reply_source_port[i],
				   .protocol = (uint8_t)n->protocol[i]};

		if (n->op[i] == MILLRACE__V1__NAT_OP__NAT_OP_ADD)
			map(reader, &from, &to);
		else
			reader->nat_ended++;
	}
}

static struct socket defined(const Millrace__V1__Batch *batch, size_t i)
{
	const Millrace__V1__Definitions *d = batch->definitions;
	struct address local = address_at(batch, d->local[i]);
	struct address remote = address_at(batch, d->remote[i]);
	bool server = d->role[i] == MILLRACE__V1__ROLE__ROLE_SERVER;

	return (struct socket){
		.live = true,
		.server = server,
		.generation = d->generation[i],
		.cgroup = d->cgroup[i],
		.seen = {.client = server ? remote : local,
			 .server = server ? local : remote,
			 .client_port = (uint16_t)(server ? d->remote_port[i] : d->local_port[i]),
			 .server_port = (uint16_t)(server ? d->local_port[i] : d->remote_port[i]),
			 .protocol = (uint8_t)d->protocol[i]},
		.last = {.tx_bytes = d->tx_bytes[i],
			 .rx_bytes = d->rx_bytes[i],
			 .tx_segments = d->tx_segments[i],
			 .rx_segments = d->rx_segments[i]},
		.told_ns = batch->sent_realtime_ns,
	};
}

static void begin(struct reader *reader, size_t node, struct socket *socket, bool existed)
{
	struct sums *sums[2];

	if (existed) {
		socket->first = socket->last;
		reader->existing++;
		return;
	}
	owner_sums(reader, node, socket, sums);
	for (int k = 0; k < 2; k++)
		sums[k]->opened++;
}

static void read_definitions(struct reader *reader, size_t node, const Millrace__V1__Batch *batch)
{
	const Millrace__V1__Definitions *d = batch->definitions;
	uint64_t time_us = batch->base_time_us;

	for (size_t i = 0; d && i < d->n_slot; i++) {
		struct socket *socket = &reader->sockets[node][d->slot[i]];
		struct socket now = defined(batch, i);

		assert_true(d->slot[i] < SLOTS_MAX);
		time_us += (uint64_t)d->dt_us[i];
		assert_true(time_us * NS_PER_US <= batch->sent_realtime_ns);
		if (d->slot[i] > reader->highest_slot)
			reader->highest_slot = d->slot[i];
		if (d->flags[i] & BATCH_AGAIN) {
			assert_true(socket->live);
			assert_int_equal(socket->generation, now.generation);
			assert_int_equal(socket->last.tx_bytes, now.last.tx_bytes);
			assert_int_equal(socket->last.rx_segments & UINT32_MAX,
					 now.last.rx_segments);
			socket->told_ns = now.told_ns;
			reader->key_frames++;
			continue;
		}
		assert_false(socket->live);
		assert_true(now.generation > socket->generation);
		*socket = now;
		begin(reader, node, socket, d->flags[i] & BATCH_EXISTED);
		if (socket->server)
			map(reader, &socket->seen, &socket->seen);
	}
}

static void read_updates(struct reader *reader, size_t node, const Millrace__V1__Batch *batch)
{
	const Millrace__V1__Updates *u = batch->updates;
	uint32_t slot = 0;

	for (size_t i = 0; u && i < u->n_slot; i++) {
		struct socket *socket;

		assert_true(i == 0 || u->slot[i] > 0); /* ascending: one update a slot */
		slot += (uint32_t)u->slot[i];
		socket = &reader->sockets[node][slot];
		assert_true(socket->live);
		if (batch->sent_realtime_ns - socket->told_ns > reader->longest_silence_ns)
			reader->longest_silence_ns = batch->sent_realtime_ns - socket->told_ns;
		reader->wrapped += socket->last.tx_bytes + u->tx_bytes[i] < u->tx_bytes[i];
		socket->last.tx_bytes += u->tx_bytes[i];
		socket->last.rx_bytes += u->rx_bytes[i];
		socket->last.tx_segments += u->tx_segments[i];
		socket->last.rx_segments += u->rx_segments[i];
	}
}

static void read_closes(struct reader *reader, size_t node, const Millrace__V1__Batch *batch)
{
	const Millrace__V1__Closes *c = batch->closes;

	for (size_t i = 0; c && i < c->n_slot; i++) {
		struct socket *socket = &reader->sockets[node][c->slot[i]];
		bool failed = close_reason_is_failure(c->reason[i]);
		struct sums *sums[2];

		assert_true(socket->live);
		assert_int_equal(socket->last.tx_bytes, c->tx_bytes[i]);
		assert_int_equal(socket->last.rx_bytes, c->rx_bytes[i]);
		socket->live = false;
		owner_sums(reader, node, socket, sums);
		for (int k = 0; k < 2; k++) {
			sums[k]->closed += !failed;
			sums[k]->failed += failed;
			sums[k]->opened -= failed;
		}
		add_bytes(reader, node, socket);
	}
}

static void read_header(struct reader *reader, size_t node, const struct fleet_batch *raw,
			const Millrace__V1__Batch *batch)
{
	assert_string_equal(batch->node, reader->names[node]);
	assert_int_equal(batch->events, raw->events);
	if (reader->partitions[node] == UINT32_MAX)
		reader->partitions[node] = raw->partition;
	assert_int_equal(reader->partitions[node], raw->partition);
	assert_true(raw->append_ns >= reader->append_ns[raw->partition]);
	reader->append_ns[raw->partition] = raw->append_ns;
	if (!reader->strict)
		return;
	assert_true(raw->append_ns > batch->sent_realtime_ns);
	if (reader->epochs[node] != batch->epoch) {
		memset(reader->sockets[node], 0, sizeof(reader->sockets[node]));
		reader->sequences[node] = reader->events[node] = 0;
		reader->epochs[node] = batch->epoch;
	}
	assert_int_equal(batch->sequence, reader->sequences[node]++);
	assert_int_equal(batch->first_event, reader->events[node]);
	reader->events[node] += batch->events;
}

/* What the live sockets of an agent that ends moved: its successor begins from there. */
static void count_moved(struct reader *reader, size_t node)
{
	for (size_t slot = 0; slot < SLOTS_MAX; slot++)
		if (reader->sockets[node][slot].live)
			add_bytes(reader, node, &reader->sockets[node][slot]);
}

static void read_batch(void *context, const struct fleet_batch *raw)
{
	struct reader *reader = context;
	struct decoded decoded;
	const Millrace__V1__Batch *batch;
	size_t node;

	decoder_read(reader->decoder, raw->bytes, raw->length, &decoded);
	batch = decoded.batch;
	assert_non_null(batch);
	node = node_at(reader, batch->node);
	if (reader->strict && reader->epochs[node] && reader->epochs[node] != batch->epoch)
		count_moved(reader, node);
	read_header(reader, node, raw, batch);
	reader->batches++;
	reader->hash = hash_mix(reader->hash ^ hash_bytes(raw->bytes, raw->length));
	if (reader->strict) {
		read_containers(reader, node, batch);
		read_processes(reader, batch);
		read_nat(reader, batch);
		read_definitions(reader, node, batch);
		read_updates(reader, node, batch);
		read_closes(reader, node, batch);
	}
}

/* --- runs --- */

struct run {
	struct reader *reader;
	struct fleet *fleet;
};

static struct run run_for(struct fleet_options options, uint32_t ticks)
{
	struct run run = {.reader = reader_new(true)};

	options.batch = read_batch;
	options.context = run.reader;
	run.fleet = fleet_new(&options);
	fleet_run(run.fleet, ticks);
	return run;
}

static void run_end(struct run *run)
{
	fleet_free(run->fleet);
	reader_free(run->reader);
}

static void count_live(struct reader *reader)
{
	for (size_t node = 0; node < reader->nodes; node++)
		count_moved(reader, node);
}

static struct truth *truth_of(const struct fleet *fleet)
{
	char path[] = "/tmp/fleet-truth-XXXXXX", why[256] = "";
	int descriptor = mkstemp(path);
	FILE *file = fdopen(descriptor, "w");
	struct truth *truth;

	assert_non_null(file);
	fleet_truth(fleet, file);
	fclose(file);
	truth = truth_read(path, why, sizeof(why));
	if (!truth)
		fail_msg("%s", why);
	unlink(path);
	return truth;
}

/* --- the generator --- */

static void the_same_options_give_the_same_bytes(void **state)
{
	uint64_t hashes[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct fleet_options options = fleet_profile();
		struct run run;

		options.seed = i < 2 ? 7 : 8;
		run = run_for(options, 50);
		hashes[i] = run.reader->hash;
		run_end(&run);
	}
	assert_true(hashes[0] == hashes[1]);
	assert_true(hashes[0] != hashes[2]);
}

static void assert_share(uint64_t count, uint64_t all, double wanted_permille)
{
	double permille = 1000.0 * (double)count / (double)all;

	if (permille < wanted_permille - 10 || permille > wanted_permille + 10)
		fail_msg("%.1f thousandths, wanted %.1f", permille, wanted_permille);
}

static void the_mix_is_within_one_percent(void **state)
{
	struct fleet_options options = fleet_profile();
	struct run run = run_for(options, 100);
	struct fleet_stats before = fleet_stats(run.fleet), after;
	uint64_t all;

	(void)state;
	fleet_run(run.fleet, 600);
	after = fleet_stats(run.fleet);
	after.updates -= before.updates;
	after.opens -= before.opens;
	after.closes -= before.closes;
	after.nats -= before.nats;
	after.processes -= before.processes;
	all = after.updates + after.opens + after.closes + after.nats + after.processes;
	assert_share(after.updates, all, 715);
	assert_share(after.opens, all, 90);
	assert_share(after.closes, all, 90);
	assert_share(after.nats, all, 15);
	assert_share(after.processes, all, 90);
	assert_in_range(all, 280 * 20 * 60 * 97 / 100, 280 * 20 * 60 * 103 / 100);
	assert_in_range(after.live, 1900, 2100);
	assert_int_equal(after.refused, 0);
	run_end(&run);
}

static uint64_t truth_sum(const struct truth *truth, const char *client, const char *server,
			  size_t offset)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < truth->edges_count; i++) {
		const struct truth_row *row = &truth->edges[i];

		if ((!client || strcmp(row->client, client) == 0) &&
		    (!server || strcmp(row->server, server) == 0))
			sum += *(const uint64_t *)((const char *)&row->counts + offset);
	}
	return sum;
}

#define COUNTED(field) offsetof(struct truth_counts, field)

static void assert_workloads(const struct truth *truth, const struct sums *all, bool server)
{
	for (size_t i = 0; all[i].name[0]; i++) {
		const char *a = server ? NULL : all[i].name, *b = server ? all[i].name : NULL;

		assert_int_equal(all[i].tx_bytes, truth_sum(truth, a, b, COUNTED(tx_bytes)));
		assert_int_equal(all[i].rx_bytes, truth_sum(truth, a, b, COUNTED(rx_bytes)));
		assert_int_equal(all[i].opened, truth_sum(truth, a, b, COUNTED(opened)));
		assert_int_equal(all[i].closed, truth_sum(truth, a, b, COUNTED(closed)));
		if (!server)
			assert_int_equal(all[i].failed, truth_sum(truth, a, b, COUNTED(failed)));
	}
}

/* Without ends that no agent sees, every client half is a connection. */
static struct fleet_options inner_profile(void)
{
	struct fleet_options options = fleet_profile();

	options.external = 0;
	options.replaced_per_minute = 20;
	return options;
}

static void truth_is_what_the_batches_tell(void **state)
{
	struct run run = run_for(inner_profile(), 600);
	struct truth *truth = truth_of(run.fleet);
	struct truth_counts totals = fleet_totals(run.fleet);

	(void)state;
	count_live(run.reader);
	assert_int_equal(run.reader->unnamed, 0);
	assert_true(fleet_stats(run.fleet).replaced > 0);
	assert_memory_equal(&totals, &truth->total, sizeof(totals));
	assert_int_equal(run.reader->client_total.opened, totals.opened);
	assert_int_equal(run.reader->client_total.failed, totals.failed);
	assert_int_equal(run.reader->client_total.closed, totals.closed);
	assert_int_equal(run.reader->client_total.tx_bytes, totals.tx_bytes);
	assert_int_equal(run.reader->server_total.rx_bytes, totals.rx_bytes);
	assert_workloads(truth, run.reader->clients, false);
	assert_workloads(truth, run.reader->servers, true);
	truth_free(truth);
	run_end(&run);
}

static void lanes_sum_to_their_edges(void **state)
{
	struct run run = run_for(fleet_profile(), 100);
	struct truth *truth = truth_of(run.fleet);
	uint64_t edges = 0, lanes = 0, external = 0;

	(void)state;
	for (size_t i = 0; i < truth->lanes_count; i++)
		lanes += truth->lanes[i].counts.rx_bytes;
	for (size_t i = 0; i < truth->edges_count; i++) {
		const struct truth_row *row = &truth->edges[i];

		edges += row->counts.rx_bytes;
		external += !strchr(row->client, '/') || !strchr(row->server, '/');
		assert_ptr_equal(
			truth_edge(truth, row->client, row->server, row->port, row->protocol), row);
	}
	assert_int_equal(edges, lanes);
	assert_int_equal(edges, truth->total.rx_bytes);
	assert_in_range(external, 20, 40); /* 98 of 1,000 of 300 edges */
	truth_free(truth);
	run_end(&run);
}

/* The server's socket that a client's tuple reaches through all NAT, if one does. */
static bool reaches_server(struct reader *reader, struct tuple tuple)
{
	for (int hop = 0; hop <= HOPS; hop++) {
		const struct mapping *mapping = mapping_at(reader, &tuple);

		if (!mapping->used)
			return false;
		if (tuple_equal(&mapping->to, &tuple))
			return true;
		tuple = mapping->to;
	}
	return false;
}

static void every_pair_meets_through_its_nat(void **state)
{
	struct fleet_options options = fleet_profile();
	struct run run;
	uint32_t live = 0, met = 0, ipv6 = 0, udp = 0;

	(void)state;
	options.ipv6 = 300;
	run = run_for(options, 60);
	for (size_t node = 0; node < run.reader->nodes; node++) {
		for (size_t slot = 0; slot < SLOTS_MAX; slot++) {
			const struct socket *socket = &run.reader->sockets[node][slot];

			if (!socket->live || socket->server)
				continue;
			live++;
			met += reaches_server(run.reader, socket->seen);
			ipv6 += !address_is_v4(&socket->seen.client);
			udp += socket->seen.protocol == PROTOCOL_UDP;
		}
	}
	assert_int_equal(met, fleet_stats(run.fleet).live_pairs);
	assert_true(live > met);
	assert_in_range(ipv6 * 100 / live, 20, 40);
	assert_in_range(udp * 100 / live, 2, 9);
	run_end(&run);
}

static void every_socket_is_told_again_within_45_s(void **state)
{
	struct run run = run_for(fleet_profile(), 1000);

	(void)state;
	assert_true(run.reader->key_frames > 2000);
	assert_in_range(run.reader->longest_silence_ns, 40 * NS_PER_S, 45 * NS_PER_S);
	run_end(&run);
}

static void slots_stay_dense(void **state)
{
	struct run run = run_for(fleet_profile(), 200);
	uint32_t highest = run.reader->highest_slot;

	(void)state;
	fleet_run(run.fleet, 600);
	assert_true(run.reader->highest_slot < highest + highest / 3);
	run_end(&run);
}

static void a_node_stays_in_its_partition(void **state)
{
	struct run run = run_for(fleet_profile(), 50);
	uint32_t used = 0;

	(void)state;
	for (size_t node = 0; node < run.reader->nodes; node++)
		used |= 1U << run.reader->partitions[node];
	assert_int_equal(run.reader->nodes, 20);
	assert_int_equal(used, 15);
	/* murmur2 as the Java client has it, worked out apart from any library */
	assert_int_equal(run.reader->partitions[node_at(run.reader, "node-00000")], 3);
	run_end(&run);
}

static void an_idle_fleet_sends_heartbeats(void **state)
{
	struct run run = run_for(fleet_profile(), 20);
	struct fleet_stats before = fleet_stats(run.fleet), after;

	(void)state;
	fleet_idle(run.fleet, 50);
	after = fleet_stats(run.fleet);
	assert_int_equal(after.events, before.events);
	assert_in_range(after.heartbeats - before.heartbeats, 20 * 4, 20 * 5);
	run_end(&run);
}

static void a_version_that_refuses_fails_alone(void **state)
{
	struct fleet_options options = fleet_profile();
	struct run run;
	struct truth *truth;
	uint64_t canary = 0, others = 0;

	(void)state;
	options.canaries = 500;
	options.faults_count = 1;
	options.faults[0] = (struct fleet_fault){.kind = FLEET_REFUSE,
						 .to_ns = 60 * NS_PER_S,
						 .client = FLEET_ANY,
						 .server = FLEET_ANY,
						 .server_pod = FLEET_ANY,
						 .version = 1,
						 .client_zone = FLEET_ANY,
						 .server_zone = 2};
	run = run_for(options, 300);
	truth = truth_of(run.fleet);
	for (size_t i = 0; i < truth->lanes_count; i++) {
		const struct truth_row *lane = &truth->lanes[i];
		bool hit = strcmp(lane->server_version, "v1.1.0") == 0 &&
			   strcmp(lane->server_zone, "zone-c") == 0 && lane->client_zone[0];

		*(hit ? &canary : &others) += lane->counts.failed;
		if (hit)
			assert_int_equal(lane->counts.opened, 0);
	}
	assert_true(canary > 50);
	assert_true(others < 60); /* one in a thousand fails by itself */
	truth_free(truth);
	run_end(&run);
}

/* --- hazards that agents make --- */

static void a_restarted_agent_tells_everything_again(void **state)
{
	struct fleet_options options = inner_profile();
	struct run run;
	struct truth_counts totals;

	(void)state;
	options.restarts_per_hour = 120;
	run = run_for(options, 300);
	totals = fleet_totals(run.fleet);
	count_live(run.reader);
	assert_in_range(fleet_stats(run.fleet).restarts, 19, 20);
	assert_true(run.reader->existing > 20 * 100 + 2000);
	assert_int_equal(run.reader->client_total.tx_bytes, totals.tx_bytes);
	assert_int_equal(run.reader->server_total.rx_bytes, totals.rx_bytes);
	run_end(&run);
}

static void names_may_come_late(void **state)
{
	struct fleet_options options = inner_profile();
	struct run run;

	(void)state;
	options.late_metadata = 500;
	options.late_metadata_ns = 3 * NS_PER_S;
	run = run_for(options, 20);
	assert_in_range(run.reader->containers, 200, 400); /* of 600 pods */
	assert_true(run.reader->unnamed > 0);
	fleet_run(run.fleet, 15);
	assert_true(run.reader->containers >= 600);
	run_end(&run);
}

static void tuples_and_pids_come_again(void **state)
{
	struct fleet_options options = fleet_profile();
	struct run run;

	(void)state;
	options.reused_tuples = 500;
	options.reused_pids = true;
	run = run_for(options, 100);
	assert_true(fleet_stats(run.fleet).reused > 500);
	assert_true(run.reader->repeated_pids > 1000);
	run_end(&run);
}

static void counters_pass_their_limits(void **state)
{
	struct fleet_options options = inner_profile();
	struct run run;

	(void)state;
	options.wrapped = 200;
	run = run_for(options, 600);
	count_live(run.reader);
	assert_true(run.reader->wrapped > 10);
	assert_int_equal(run.reader->client_total.tx_bytes, fleet_totals(run.fleet).tx_bytes);
	run_end(&run);
}

/* --- hazards of the way --- */

struct way {
	struct reader *reader;
	struct hazard *hazard;
	struct fleet *fleet;
};

static void push_hazard(void *context, const struct fleet_batch *batch)
{
	hazard_push(((struct way *)context)->hazard, batch);
}

static void way_begin(struct way *way, struct hazard_options hazards, uint32_t ticks)
{
	struct fleet_options options = fleet_profile();

	way->reader = reader_new(false);
	hazards.batch = read_batch;
	hazards.context = way->reader;
	way->hazard = hazard_new(&hazards);
	options.secret = hazards.secret;
	options.batch = push_hazard;
	options.context = way;
	way->fleet = fleet_new(&options);
	for (uint32_t i = 0; i < ticks; i++) {
		fleet_run(way->fleet, 1);
		hazard_tick(way->hazard);
	}
}

static void way_end(struct way *way)
{
	fleet_free(way->fleet);
	hazard_free(way->hazard);
	reader_free(way->reader);
}

static void batches_are_lost_sent_twice_and_late_at_their_rates(void **state)
{
	struct way way;
	struct hazard_stats stats;
	uint64_t sealed;

	(void)state;
	way_begin(
		&way,
		(struct hazard_options){.late = 100, .late_ticks = 4, .duplicate = 50, .lost = 20},
		500);
	for (int i = 0; i < 5; i++)
		hazard_tick(way.hazard);
	stats = hazard_stats(way.hazard);
	sealed = fleet_stats(way.fleet).batches;
	assert_int_equal(stats.batches, sealed - stats.lost + stats.duplicates);
	assert_int_equal(way.reader->batches, stats.batches);
	assert_in_range(stats.lost, sealed * 15 / 1000, sealed * 25 / 1000);
	assert_in_range(stats.late, sealed * 85 / 1000, sealed * 115 / 1000);
	assert_in_range(stats.duplicates, sealed * 40 / 1000, sealed * 60 / 1000);
	assert_true(stats.lost_events > 0);
	way_end(&way);
}

static void without_hazards_the_way_changes_nothing(void **state)
{
	struct run run = run_for(fleet_profile(), 50);
	struct way way;

	(void)state;
	way_begin(&way, (struct hazard_options){0}, 50);
	assert_true(way.reader->hash == run.reader->hash);
	way_end(&way);
	run_end(&run);
}

struct clocks {
	struct hazard *hazard;
	uint8_t key[SEAL_KEY_BYTES];
	int64_t least_ns, most_ns;
	uint64_t wrong_marks;
};

/* Append times are right: the difference is the clock's fault. */
static void read_clock(void *context, const struct fleet_batch *raw)
{
	struct clocks *clocks = context;
	Millrace__V1__Batch *batch = millrace__v1__batch__unpack(NULL, raw->length, raw->bytes);
	int64_t off_ns;

	assert_non_null(batch);
	off_ns = (int64_t)(batch->sent_realtime_ns - raw->append_ns);
	assert_true(batch->base_time_us * NS_PER_US <= batch->sent_realtime_ns);
	assert_true(batch->base_time_us * NS_PER_US + NS_PER_S > batch->sent_realtime_ns);
	if (off_ns < clocks->least_ns)
		clocks->least_ns = off_ns;
	if (off_ns > clocks->most_ns)
		clocks->most_ns = off_ns;
	assert_int_equal(
		seal_node_key((const uint8_t *)secret, strlen(secret), batch->node, clocks->key),
		0);
	clocks->wrong_marks += !seal_check(clocks->key, raw->bytes, raw->length);
	millrace__v1__batch__free_unpacked(batch, NULL);
}

static void push_clock(void *context, const struct fleet_batch *batch)
{
	hazard_push(((struct clocks *)context)->hazard, batch);
}

static void clocks_are_wrong_and_jump_under_right_signatures(void **state)
{
	struct clocks clocks = {0};
	struct fleet_options options = fleet_profile();
	struct fleet *fleet;

	(void)state;
	clocks.hazard = hazard_new(&(struct hazard_options){.skew_ns = 2 * NS_PER_S,
							    .jumps_per_hour = 120,
							    .jump_ns = 3600 * NS_PER_S,
							    .secret = secret,
							    .batch = read_clock,
							    .context = &clocks});
	options.secret = secret;
	options.batch = push_clock;
	options.context = &clocks;
	fleet = fleet_new(&options);
	fleet_run(fleet, 1);
	assert_true(clocks.least_ns < -(int64_t)NS_PER_S && clocks.most_ns > (int64_t)NS_PER_S);
	assert_true(clocks.least_ns > -3 * (int64_t)NS_PER_S);
	for (int i = 0; i < 200; i++) {
		hazard_tick(clocks.hazard);
		fleet_run(fleet, 1);
	}
	assert_true(hazard_stats(clocks.hazard).jumps > 3);
	assert_true(clocks.most_ns > 3000 * (int64_t)NS_PER_S ||
		    clocks.least_ns < -3000 * (int64_t)NS_PER_S);
	assert_int_equal(clocks.wrong_marks, 0);
	fleet_free(fleet);
	hazard_free(clocks.hazard);
}

/* --- logs --- */

static void add_to_log(void *context, const struct fleet_batch *batch)
{
	fleet_log_add(context, batch);
}

static uint64_t log_hash(const struct fleet_log *log)
{
	struct fleet_cursor cursor = {0};
	struct fleet_batch batch;
	uint64_t hash = 0;

	while (fleet_log_next(log, &cursor, &batch))
		hash = hash_mix(hash ^ hash_bytes(batch.bytes, batch.length) ^ batch.append_ns ^
				batch.partition ^ hash_bytes(batch.node, batch.node_length));
	return hash;
}

static void a_log_comes_back_from_its_file(void **state)
{
	struct fleet_options options = fleet_profile();
	struct fleet_log *log = fleet_log_new(options.partitions), *back;
	char path[] = "/tmp/fleet-log-XXXXXX", why[256] = "";
	struct fleet *fleet;

	(void)state;
	close(mkstemp(path));
	options.batch = add_to_log;
	options.context = log;
	fleet = fleet_new(&options);
	fleet_run(fleet, 20);
	assert_int_equal(fleet_log_events(log), fleet_stats(fleet).events);
	assert_int_equal(fleet_log_save(log, path), 0);
	back = fleet_log_open(path, why, sizeof(why));
	assert_non_null(back);
	assert_true(log_hash(back) == log_hash(log));
	assert_int_equal(fleet_log_events(back), fleet_log_events(log));
	assert_int_equal(fleet_log_partitions(back), 4);
	fleet_log_free(back);
	assert_int_equal(truncate(path, 5000), 0);
	assert_null(fleet_log_open(path, why, sizeof(why)));
	assert_non_null(strstr(why, "not a whole log"));
	unlink(path);
	fleet_log_clear(log);
	assert_int_equal(fleet_log_events(log), 0);
	fleet_log_free(log);
	fleet_free(fleet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_options_give_the_same_bytes),
		cmocka_unit_test(the_mix_is_within_one_percent),
		cmocka_unit_test(truth_is_what_the_batches_tell),
		cmocka_unit_test(lanes_sum_to_their_edges),
		cmocka_unit_test(every_pair_meets_through_its_nat),
		cmocka_unit_test(every_socket_is_told_again_within_45_s),
		cmocka_unit_test(slots_stay_dense),
		cmocka_unit_test(a_node_stays_in_its_partition),
		cmocka_unit_test(an_idle_fleet_sends_heartbeats),
		cmocka_unit_test(a_version_that_refuses_fails_alone),
		cmocka_unit_test(a_restarted_agent_tells_everything_again),
		cmocka_unit_test(names_may_come_late),
		cmocka_unit_test(tuples_and_pids_come_again),
		cmocka_unit_test(counters_pass_their_limits),
		cmocka_unit_test(batches_are_lost_sent_twice_and_late_at_their_rates),
		cmocka_unit_test(without_hazards_the_way_changes_nothing),
		cmocka_unit_test(clocks_are_wrong_and_jump_under_right_signatures),
		cmocka_unit_test(a_log_comes_back_from_its_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
