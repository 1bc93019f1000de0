/* What decoding a record of millrace.events costs, HMAC apart, and how large it is: one JSON line.
 * bench-decode [--json] [events a pass]. Records are what agent/batch makes of 100 ms of a busy
 * node: 405 updates of 3,842 sockets (Zipf(0.9)), read by one scan; 51 definitions, of which 9 are
 * key frames; 51 closes, 9 NAT mappings, 26 processes and the ends of 25; and of one ten times as
 * busy. The stock, portable and fast readers take turns at the same records; the least of ROUNDS
 * counts. Instructions need perf_event_open, the size on the wire zstd (null where they are not
 * there). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zstd.h>

#include "agent/batch/batch.h"
#include "agent/batch/seal.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "bench/drive/cost.h"
#include "ingest/decode.h"

enum {
	RECORDS = 32, /* of one size; enough that branches are not learned by heart */
	ROUNDS = 9,
	SOCKETS = 3842,
	UPDATES = 405,
	OPENED = 42,
	TOLD_AGAIN = 9,
	CLOSED = 51,
	TRANSLATED = 9,
	STARTED = 26,
	EXITED = 25,
	EVENTS = UPDATES + OPENED + TOLD_AGAIN + CLOSED + TRANSLATED + STARTED + EXITED,
	CONTAINERS = 30,
	PROGRAMS = 24,
	SCAN_NS = 400, /* the iterator spends on a socket */
	SCAN_AT_NS = 98 * NS_PER_MS,
	SCAN_MAX_NS = 5 * NS_PER_MS, /* as the agent has it */
	RECORD_BYTES_MAX = 768 * 1024,
	KAFKA_BATCH_BYTES = 61, /* a record batch's header, never compressed */
	READERS = 3,
};

static const char *const reader_names[READERS] = {"stock", "portable", "fast"};
static const enum decode_reader readers[READERS] = {DECODE_STOCK, DECODE_PORTABLE, DECODE_FAST};
static const uint8_t secret[16] = "0123456789abcdef";
static const char node_name[] = "ip-10-1-22-187.eu-central-1";

struct share {
	double ns, instructions; /* an event */
};

struct socket {
	struct address local, remote;
	uint16_t local_port, remote_port;
	uint32_t generation, pid, srtt_us;
	uint64_t cgroup;
	double bytes; /* median of an update */
	bool client, updated;
};

struct bench {
	uint32_t scale; /* times the node above */
	uint32_t sockets_count;
	struct socket *sockets; /* by slot */
	double *shares;		/* of a slot's activity, cumulated */
	uint32_t *scanned;	/* slots in a scan's order */
	uint32_t pid;
	uint64_t time_ns, random;
	struct batch *batch;
	uint8_t *records[RECORDS];
	size_t lengths[RECORDS];
	uint64_t wire_bytes; /* of all records, compressed */
};

static uint64_t bench_random(struct bench *bench)
{
	bench->random += 0x9e3779b97f4a7c15ULL;
	return hash_mix(bench->random);
}

static double bench_uniform(struct bench *bench)
{
	return ((double)(bench_random(bench) >> 11) + 0.5) * 0x1p-53;
}

static uint32_t bench_below(struct bench *bench, uint32_t bound)
{
	return (uint32_t)(bench_random(bench) % bound);
}

static double bench_log_normal(struct bench *bench, double median, double sigma)
{
	double normal = sqrt(-2 * log(bench_uniform(bench))) * cos(6.283185 * bench_uniform(bench));
	return median * exp(sigma * normal);
}

static uint64_t cgroup_of(uint32_t container)
{
	return 8000 + 37 * (uint64_t)container;
}

static struct address pod_address(struct bench *bench)
{
	return address_v4(0x0a2a0000 | bench_below(bench, 1000) << 8 |
			  (2 + bench_below(bench, 30)));
}

static void socket_open(struct bench *bench, struct socket *socket)
{
	uint32_t container = bench_below(bench, CONTAINERS);
	bool client = bench_below(bench, 2);
	uint16_t service = (uint16_t[]){443, 8080, 5432, 6379, 9090}[bench_below(bench, 5)];
	uint16_t ephemeral = (uint16_t)(32768 + bench_below(bench, 28232));
	*socket = (struct socket){
		.local = address_v4(0x0a2a0b02 + container),
		.remote = pod_address(bench),
		.local_port = client ? ephemeral : service,
		.remote_port = client ? service : ephemeral,
		.generation = socket->generation + 1,
		.pid = 2000 + 700 * container,
		.srtt_us = (uint32_t)(100 * exp(log(50) * bench_uniform(bench))),
		.cgroup = cgroup_of(container),
		.bytes = bench_log_normal(bench, 600, 1.5),
		.client = client,
	};
}

static uint64_t segments_of(uint64_t bytes)
{
	return 1 + bytes / 1448;
}

static struct traffic traffic_of(struct bench *bench, double tx_median, double rx_median)
{
	struct traffic traffic = {
		.tx_bytes = (uint64_t)bench_log_normal(bench, tx_median, 1),
		.rx_bytes = (uint64_t)bench_log_normal(bench, rx_median, 1),
	};
	traffic.tx_segments = segments_of(traffic.tx_bytes);
	traffic.rx_segments = segments_of(traffic.rx_bytes);
	traffic.retransmits = bench_below(bench, 100) == 0;
	return traffic;
}

static uint32_t active_slot(struct bench *bench)
{
	double wanted = bench_uniform(bench);
	uint32_t low = 0, high = bench->sockets_count - 1;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (bench->shares[middle] < wanted)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void choose_active(struct bench *bench)
{
	for (uint32_t left = UPDATES * bench->scale; left > 0;) {
		struct socket *socket = &bench->sockets[active_slot(bench)];
		left -= !socket->updated;
		socket->updated = true;
	}
}

/* One scan reads all sockets, in an order that has nothing to do with their slots. */
static void put_updates(struct bench *bench)
{
	choose_active(bench);
	for (uint32_t i = 0; i < bench->sockets_count; i++) {
		uint32_t slot = bench->scanned[i];
		struct socket *socket = &bench->sockets[slot];
		if (!socket->updated)
			continue;
		socket->updated = false;
		batch_update(
			bench->batch,
			&(struct batch_update){
				.slot = slot,
				.moved = traffic_of(bench, socket->bytes, 2 * socket->bytes),
				.srtt_us = (uint32_t)bench_log_normal(bench, socket->srtt_us, 0.1),
				.time_ns = bench->time_ns + SCAN_AT_NS + i * (uint64_t)SCAN_NS,
			});
	}
}

static void put_definition(struct bench *bench, uint32_t slot, uint64_t time_ns, bool again)
{
	const struct socket *socket = &bench->sockets[slot];
	uint64_t connect_ns = socket->client ? socket->srtt_us * NS_PER_US : 0;
	struct batch_definition definition = {
		.slot = slot,
		.generation = socket->generation,
		.protocol = 6,
		.flags = again ? BATCH_AGAIN : 0,
		.role = socket->client ? BATCH_ROLE_CLIENT : BATCH_ROLE_SERVER,
		.local = socket->local,
		.remote = socket->remote,
		.local_port = socket->local_port,
		.remote_port = socket->remote_port,
		.pid = socket->pid,
		.cgroup = socket->cgroup,
		.age_ns = again ? (uint64_t)(60e9 * bench_uniform(bench)) : connect_ns + 20000,
		.connect_ns = connect_ns,
		.srtt_us = socket->srtt_us,
		/* a new socket has one sample, its handshake */
		.min_rtt_us = again ? socket->srtt_us * 4 / 5 : socket->srtt_us,
		.time_ns = time_ns,
	};
	if (again)
		definition.total = traffic_of(bench, 100 * socket->bytes, 200 * socket->bytes);
	batch_define(bench->batch, &definition);
}

/* The n-th of count events before the scan, evenly but for some jitter. */
static uint64_t event_time(struct bench *bench, uint32_t n, uint32_t count)
{
	uint64_t step = SCAN_AT_NS / count;
	return bench->time_ns + n * step + bench_random(bench) % step;
}

static void put_opened(struct bench *bench)
{
	uint32_t count = OPENED * bench->scale;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t slot = bench_below(bench, bench->sockets_count);
		socket_open(bench, &bench->sockets[slot]);
		put_definition(bench, slot, event_time(bench, i, count), false);
	}
}

static void put_again(struct bench *bench)
{
	uint32_t first = bench_below(bench, bench->sockets_count - TOLD_AGAIN * bench->scale);
	for (uint32_t i = 0; i < TOLD_AGAIN * bench->scale; i++)
		put_definition(bench, first + i, bench->time_ns + 100 * NS_PER_MS, true);
}

static void put_closes(struct bench *bench)
{
	uint32_t count = CLOSED * bench->scale;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t slot = bench_below(bench, bench->sockets_count);
		const struct socket *socket = &bench->sockets[slot];
		batch_close(
			bench->batch,
			&(struct batch_close){
				.slot = slot,
				.reason = bench_below(bench, 20) ? CLOSE_NORMAL : CLOSE_RESET,
				.total = traffic_of(bench, 4 * socket->bytes, 8 * socket->bytes),
				.min_rtt_us = socket->srtt_us * 4 / 5,
				.time_ns = event_time(bench, i, count),
			});
	}
}

static void put_nats(struct bench *bench)
{
	uint32_t count = TRANSLATED * bench->scale;
	for (uint32_t i = 0; i < count; i++) {
		struct address local = address_v4(0x0a2a0b02 + bench_below(bench, CONTAINERS));
		uint16_t port = (uint16_t)(32768 + bench_below(bench, 28232));
		batch_nat(bench->batch, &(struct batch_nat){
						.protocol = 6,
						.original_source = local,
						.original_destination = address_v4(
							0x0a600000 | bench_below(bench, 200)),
						.reply_source = pod_address(bench),
						.reply_destination = local,
						.original_source_port = port,
						.original_destination_port = 80,
						.reply_source_port = 8080,
						.reply_destination_port = port,
						.time_ns = event_time(bench, i, count),
					});
	}
}

static void put_processes(struct bench *bench)
{
	uint32_t count = STARTED * bench->scale;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t container = bench_below(bench, CONTAINERS);
		/* few programs are started most of the time: probes, shells */
		uint32_t program = bench_below(bench, 1 + bench_below(bench, PROGRAMS));
		char comm[16], exe[64], cmdline[128];
		snprintf(comm, sizeof(comm), "probe-%u", program);
		snprintf(exe, sizeof(exe), "/usr/local/bin/probe-%u", program);
		snprintf(cmdline, sizeof(cmdline), "probe-%u --timeout 1s --port %u", program,
			 8080 + program);
		bench->pid += 1 + bench_below(bench, 3);
		uint64_t time_ns = event_time(bench, i, count);
		uint64_t forked_ns = (uint64_t)bench_log_normal(bench, 400e3, 0.5);
		batch_process(bench->batch,
			      &(struct batch_process){
				      .pid = bench->pid,
				      .parent = 2000 + 700 * container,
				      .started_ns = time_ns - forked_ns - 1690000000 * NS_PER_S,
				      .cgroup = cgroup_of(container),
				      .comm = comm,
				      .exe = exe,
				      .cmdline = cmdline,
				      .time_ns = time_ns,
			      });
	}
}

static void put_exits(struct bench *bench)
{
	uint32_t count = EXITED * bench->scale;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t time_ns = event_time(bench, i, count);
		/* most live for some ms, as the processes that were told do */
		uint64_t lived_ns = (uint64_t)bench_log_normal(bench, 30e6, 1.5);
		batch_exit(bench->batch,
			   &(struct batch_exit){
				   .pid = bench->pid - bench_below(bench, 100),
				   .started_ns = time_ns - lived_ns - 1690000000 * NS_PER_S,
				   .status = bench_below(bench, 20) == 0,
				   .time_ns = time_ns,
			   });
	}
}

/* What Kafka stores of a record batch that holds this record alone, packed as librdkafka does it:
 * as a stream, of which the length is not known before. */
static size_t wire_bytes(const uint8_t *record, size_t length)
{
	static uint8_t plain[RECORD_BYTES_MAX + 64], packed[RECORD_BYTES_MAX + 8192];
	/* length, attributes, two differences, then the key: its length, itself; the value's
	 * length */
	size_t head = 9 + sizeof(node_name);
	memset(plain, 1, head);
	memcpy(plain + 6, node_name, sizeof(node_name));
	memcpy(plain + head, record, length);
	plain[head + length] = 0; /* no headers */
	ZSTD_inBuffer in = {plain, head + length + 1, 0};
	ZSTD_outBuffer out = {packed, sizeof(packed), 0};
	ZSTD_CStream *stream = ZSTD_createCStream();
	ZSTD_initCStream(stream, 1);
	ZSTD_compressStream(stream, &out, &in);
	ZSTD_endStream(stream, &out);
	ZSTD_freeCStream(stream);
	return KAFKA_BATCH_BYTES + out.pos;
}

static void bench_record(struct bench *bench, uint32_t number)
{
	static const struct batch_sender sender = {
		.node = node_name,
		.boot_id = {0x8e, 0x11, 0x5c, 0xd0, 0x3f, 0x42, 0x4b, 0x9a, 0xa7, 0x30, 0x64, 0xee,
			    0x0b, 0x91, 0x2d, 0xf6},
		.epoch = 0x94d049bb133111eb,
		.zone = "eu-central-1a",
		.region = "eu-central-1",
		.role = "worker",
		.agent_version = MILLRACE_VERSION,
		.scan_period_ms = 100,
	};
	put_opened(bench);
	put_closes(bench);
	put_nats(bench);
	put_processes(bench);
	put_exits(bench);
	put_updates(bench);
	put_again(bench);
	bench->time_ns += 100 * NS_PER_MS;
	struct batch_bytes sealed = batch_seal(
		bench->batch, &sender, bench->time_ns - 1690000000 * NS_PER_S, bench->time_ns);
	bench->records[number] = memory_zeroed(sealed.length, 1);
	memcpy(bench->records[number], sealed.bytes, sealed.length);
	bench->lengths[number] = sealed.length;
	bench->wire_bytes += wire_bytes(sealed.bytes, sealed.length);
}

static void bench_shuffle(struct bench *bench)
{
	for (uint32_t slot = 0; slot < bench->sockets_count; slot++) {
		uint32_t other = bench_below(bench, slot + 1);
		bench->scanned[slot] = bench->scanned[other];
		bench->scanned[other] = slot;
	}
}

static void bench_init(struct bench *bench, uint32_t scale)
{
	*bench = (struct bench){
		.scale = scale,
		.sockets_count = SOCKETS * scale,
		.pid = 1200000,
		.time_ns = 1700000000 * NS_PER_S,
	};
	bench->sockets = memory_zeroed(bench->sockets_count, sizeof(*bench->sockets));
	bench->shares = memory_zeroed(bench->sockets_count, sizeof(*bench->shares));
	bench->scanned = memory_zeroed(bench->sockets_count, sizeof(*bench->scanned));
	bench_shuffle(bench);
	double sum = 0;
	for (uint32_t slot = 0; slot < bench->sockets_count; slot++) {
		socket_open(bench, &bench->sockets[slot]);
		sum += pow(1 + bench_below(bench, bench->sockets_count), -0.9);
		bench->shares[slot] = sum;
	}
	for (uint32_t slot = 0; slot < bench->sockets_count; slot++)
		bench->shares[slot] /= sum;
	uint8_t key[SEAL_KEY_BYTES];
	seal_node_key(secret, sizeof(secret), node_name, key);
	bench->batch = batch_new(&(struct batch_options){.events_max = 16384,
							 .bytes_max = RECORD_BYTES_MAX,
							 .key = key,
							 .scan_ns = SCAN_MAX_NS});
	for (uint32_t i = 0; i < RECORDS; i++)
		bench_record(bench, i);
}

static void bench_done(struct bench *bench)
{
	for (uint32_t i = 0; i < RECORDS; i++)
		free(bench->records[i]);
	batch_free(bench->batch);
	free(bench->sockets);
	free(bench->shares);
	free(bench->scanned);
}

static double bench_events(const struct bench *bench)
{
	return (double)EVENTS * bench->scale * RECORDS;
}

static void share_keep_least(struct share *least, struct cost cost, double events)
{
	double ns = (double)cost.ns / events;
	if (least->ns == 0 || ns < least->ns)
		*least = (struct share){ns, (double)cost.instructions / events};
}

static void bench_decode(const struct bench *bench, struct decoder *decoder)
{
	struct decoded decoded;
	for (uint32_t i = 0; i < RECORDS; i++) {
		decoder_read(decoder, bench->records[i], bench->lengths[i], &decoded);
		if (!decoded.batch) {
			fprintf(stderr, "bench-decode: %s\n", decoded.detail);
			exit(1);
		}
	}
}

static void bench_readers(const struct bench *bench, uint32_t passes, struct share costs[READERS])
{
	for (int reader = 0; reader < READERS * ROUNDS; reader++) {
		struct decoder *decoder = decoder_new(&(struct decode_options){
			.record_bytes_max = RECORD_BYTES_MAX, .reader = readers[reader % READERS]});
		bench_decode(bench, decoder); /* touches the arena */
		struct cost before = cost_now();
		for (uint32_t pass = 0; pass < passes; pass++)
			bench_decode(bench, decoder);
		share_keep_least(&costs[reader % READERS], cost_since(before),
				 passes * bench_events(bench));
		decoder_free(decoder);
	}
}

static struct share bench_hmac(const struct bench *bench, uint32_t passes)
{
	uint8_t key[SEAL_KEY_BYTES];
	struct share least = {0};
	seal_node_key(secret, sizeof(secret), node_name, key);
	for (int round = 0; round < ROUNDS; round++) {
		struct cost before = cost_now();
		for (uint32_t i = 0; i < passes * RECORDS; i++)
			if (!seal_check(key, bench->records[i % RECORDS],
					bench->lengths[i % RECORDS]))
				exit(1);
		share_keep_least(&least, cost_since(before), passes * bench_events(bench));
	}
	return least;
}

static void print_share(const char *name, struct share share)
{
	printf("\"%s\":{\"ns_per_event\":%.2f,\"instructions_per_event\":", name, share.ns);
	if (cost_counts_instructions())
		printf("%.1f}", share.instructions);
	else
		printf("null}");
}

static void bench_print(const struct bench *bench, const struct share costs[READERS],
			struct share hmac)
{
	size_t bytes = 0;
	for (uint32_t i = 0; i < RECORDS; i++)
		bytes += bench->lengths[i];
	printf("{\"events\":%u,\"bytes_per_event\":%.2f,\"wire_bytes_per_event\":%.2f,",
	       EVENTS * bench->scale, (double)bytes / bench_events(bench),
	       (double)bench->wire_bytes / bench_events(bench));
	for (int reader = 0; reader < READERS; reader++) {
		print_share(reader_names[reader], costs[reader]);
		printf(",");
	}
	print_share("hmac", hmac);
	printf("}");
}

int main(int argc, char **argv)
{
	int first = argc > 1 && strcmp(argv[1], "--json") == 0 ? 2 : 1;
	uint64_t events = first < argc ? strtoull(argv[first], NULL, 10) : 2000000;
	if (events == 0) {
		fprintf(stderr, "usage: bench-decode [--json] [events a pass]\n");
		return 2;
	}
	printf("{\"bench\":\"decode\",\"records\":[");
	for (uint32_t scale = 1; scale <= 10; scale *= 10) {
		struct bench bench;
		struct share costs[READERS] = {{0}};
		bench_init(&bench, scale);
		uint32_t passes = (uint32_t)(events / (EVENTS * RECORDS * scale)) + 1;
		bench_readers(&bench, passes, costs);
		printf(scale > 1 ? "," : "");
		bench_print(&bench, costs, bench_hmac(&bench, passes));
		bench_done(&bench);
	}
	printf("]}\n");
	return 0;
}
