/* Whether the census says who was at an address, and what that costs: one JSON line.
 * bench-metadata [--json] [flows]. First 1,000 pods share 50 addresses, of which one changes hands
 * each 100 ms; records come up to 30 s late, agents' clocks differ from the cluster's by up to
 * 20 ms. Each flow is asked for when all records of its time are there: `wrong` were given to
 * another pod, `ambiguous_share` to none. Then 10,000 pods of 500 deployments on 300 nodes, told as
 * records: `bytes_per_pod` is of the census and the names in it, in one task; `ns_per_definition`
 * the time to look up one end by its pod's uid and the other by its address, the least of
 * ROUNDS; `ns` the same of one look-up, by what finds it or that nothing does. `relabel` is what
 * one changed pod costs a join task with that many lone halves (bench/drive/relabel.h), also where
 * one of their clients is masqueraded. Last as many pods are listed from an API server on the
 * loopback (bench/drive/cluster.h), with all else that is watched: `first_sync_s` is from the first
 * request to when all kinds are complete and the last record is packed for Kafka, the least of
 * SYNCS. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/name.h"
#include "bench/drive/cluster.h"
#include "bench/drive/cost.h"
#include "bench/drive/lookups.h"
#include "bench/drive/relabel.h"
#include "kube/catalog/catalog.h"
#include "kube/watch.h"
#include "metadata/census.h"
#include "metadata/record.h"
#include "millrace/v1/metadata.pb-c.h"

enum {
	ADDRESSES = 50,
	PODS = 1000,
	LIVES = 10 * PODS, /* each pod comes and goes so often */
	PODS_ASKED = 10000,
	DEPLOYMENTS = 500,
	NODES = 300,
	RANGES = 100,
	SERVICES = 500,
	LONE_HALVES = 100000,
	ROUNDS = 9,
	LOOKUPS = 1 << 18,
	SYNCS = 3,
	SYNC_TIMEOUT_MS = 60000,
};

#define START_NS (1700000000 * NS_PER_S)
#define CHURN_NS (100 * NS_PER_MS)
#define LATE_NS	 (30 * NS_PER_S)
#define ERROR_NS (20 * NS_PER_MS)
#define GAP_NS	 (30 * NS_PER_MS)

static uint64_t state_of_random = 1;

static uint64_t below(uint64_t bound)
{
	state_of_random += 0x9e3779b97f4a7c15ULL;
	return hash_mix(state_of_random) % bound;
}

static struct address at(uint32_t low)
{
	return address_v4(0x0a000000 + low);
}

/* ---- who was it ---- */

struct life {
	uint64_t from_ns, until_ns;
	uint64_t told_ns[2]; /* that it began, that it ended */
};

struct outcome {
	uint64_t flows, wrong, ambiguous;
};

static struct life *lives_new(void)
{
	struct life *lives = memory_zeroed(LIVES, sizeof(*lives));
	for (uint32_t i = 0; i < LIVES; i++) {
		uint64_t begin_ns = START_NS + i * CHURN_NS,
			 end_ns = begin_ns + ADDRESSES * CHURN_NS;
		lives[i].from_ns = begin_ns;
		lives[i].until_ns = end_ns - below(GAP_NS);
		lives[i].told_ns[0] = lives[i].from_ns + below(LATE_NS);
		lives[i].told_ns[1] = lives[i].until_ns + below(LATE_NS);
	}
	return lives;
}

static void tell(struct census *census, const struct life *lives, uint32_t i, bool ended,
		 uint64_t now_ns)
{
	const struct address address = at(i % ADDRESSES);
	const struct fact fact = {
		.id = i + 1,
		.object = i + 1,
		.from_ns = lives[i].from_ns,
		.until_ns = ended ? lives[i].until_ns : UINT64_MAX,
		.observed_ns = ended ? lives[i].until_ns : lives[i].from_ns,
		.workload = i % PODS + 1,
		.kind = FACT_POD,
		.prefix = 128,
		.addresses_count = 1,
	};
	census_take(census, &fact, &address, now_ns);
}

/* What is told in the churn's step that begins now; at most LATE_NS old. */
static void tell_step(struct census *census, const struct life *lives, uint64_t now_ns)
{
	const uint64_t back = (LATE_NS + ADDRESSES * CHURN_NS) / CHURN_NS + 1;
	uint64_t last = (now_ns - START_NS) / CHURN_NS;
	for (uint64_t i = last > back ? last - back : 0; i <= last && i < LIVES; i++)
		for (int ended = 0; ended < 2; ended++)
			if (lives[i].told_ns[ended] >= now_ns &&
			    lives[i].told_ns[ended] < now_ns + CHURN_NS)
				tell(census, lives, (uint32_t)i, ended, now_ns + CHURN_NS);
}

static void ask(const struct census *census, const struct life *lives, uint64_t about_ns,
		struct outcome *outcome)
{
	uint64_t last = (about_ns - START_NS) / CHURN_NS;
	uint32_t i = (uint32_t)(last - below(ADDRESSES));
	uint64_t begun_ns = lives[i].from_ns + below(lives[i].until_ns - lives[i].from_ns);
	uint64_t seen_ns = begun_ns - ERROR_NS + 1 + below(2 * ERROR_NS - 1);
	const struct address address = at(i % ADDRESSES);
	const struct fact *fact;
	enum census_answer answer = census_address(census, &address, seen_ns, &fact);
	outcome->flows++;
	outcome->ambiguous += answer == CENSUS_AMBIGUOUS;
	outcome->wrong += answer == CENSUS_NONE || (answer == CENSUS_ONE && fact->id != i + 1);
}

static struct outcome bench_churn(uint64_t flows)
{
	const uint64_t settled_ns = LATE_NS + 2 * ADDRESSES * CHURN_NS;
	struct life *lives = lives_new();
	struct census *census = census_new(16 * PODS);
	struct outcome outcome = {0};
	const uint64_t steps = LIVES - 1, first = settled_ns / CHURN_NS + ADDRESSES;
	for (uint64_t step = 0; step < steps; step++) {
		uint64_t now_ns = START_NS + step * CHURN_NS;
		tell_step(census, lives, now_ns);
		census_advance(census, now_ns + CHURN_NS);
		census_settle(census);
		for (uint64_t i = 0; step >= first && i < flows / (steps - first) + 1; i++)
			ask(census, lives, now_ns - settled_ns, &outcome);
	}
	census_free(census);
	memory_free(lives);
	return outcome;
}

/* ---- what it costs ---- */

static void take_record(struct census *census, struct names *names,
			const Millrace__V1__Metadata *message)
{
	static uint8_t bytes[FACT_BYTES_MAX];
	static struct address addresses[FACT_ADDRESSES_MAX];
	struct fact fact;
	size_t length = millrace__v1__metadata__pack(message, bytes);
	enum record_reason reason = record_read(bytes, length, names, 1, &fact, addresses, NULL);
	if (reason != RECORD_GOOD) {
		fprintf(stderr, "bench-metadata: %s\n", record_reason_name(reason));
		exit(1);
	}
	census_take(census, &fact, addresses, START_NS);
}

static const char *text(char *buffer, size_t size, const char *format, uint32_t number)
{
	snprintf(buffer, size, "%s%05" PRIu32, format, number);
	return buffer;
}

static void take_pod(struct census *census, struct names *names, uint32_t number)
{
	char uid[64], name[64], workload[64], node[64], id[128];
	uint8_t address[4] = {10, (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number};
	ProtobufCBinaryData addresses[] = {{sizeof(address), address}};
	Millrace__V1__Metadata message = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Pod pod = MILLRACE__V1__POD__INIT;
	pod.uid = (char *)text(uid, sizeof(uid), "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3", number);
	pod.namespace_ = (char *)"production";
	pod.workload = (char *)text(workload, sizeof(workload), "service-", number % DEPLOYMENTS);
	snprintf(name, sizeof(name), "%s-7d9f8b6c5-%05" PRIu32, workload, number);
	pod.name = name;
	pod.node = (char *)text(node, sizeof(node), "ip-10-1-22-187.eu-central-", number % NODES);
	pod.version = (char *)text(id, sizeof(id), "v1.", number % DEPLOYMENTS);
	pod.address = addresses;
	pod.n_address = 1;
	char container_id[65];
	Millrace__V1__PodContainer container = MILLRACE__V1__POD_CONTAINER__INIT,
				   *containers[] = {&container};
	snprintf(container_id, sizeof(container_id), "%064" PRIx32, number);
	container.id = container_id;
	container.name = (char *)"main";
	pod.containers = containers;
	pod.n_containers = 1;
	char key[160];
	snprintf(key, sizeof(key), "/pod/%s/0", uid);
	message.id = key;
	message.version = 1;
	message.from_ns = START_NS - NS_PER_S;
	message.pod = &pod;
	take_record(census, names, &message);
}

static void take_range(struct census *census, struct names *names, uint32_t number)
{
	char key[64], name[64];
	uint8_t address[4] = {172, 16, (uint8_t)number, 0};
	Millrace__V1__Metadata message = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Range range = MILLRACE__V1__RANGE__INIT;
	range.address = (ProtobufCBinaryData){sizeof(address), address};
	range.prefix = 24;
	range.name = (char *)text(name, sizeof(name), "subnet-", number);
	message.id = (char *)text(key, sizeof(key), "/range/0/", number);
	message.version = 1;
	message.range = &range;
	take_record(census, names, &message);
}

static double lookups_ns(const struct census *census, const uint64_t *uids)
{
	const struct fact *fact;
	uint64_t found = 0;
	struct cost before = cost_now();
	for (uint32_t i = 0; i < LOOKUPS; i++) {
		uint32_t own = (uint32_t)(hash_mix(i) % PODS_ASKED);
		const struct address other = at((uint32_t)(hash_mix(~(uint64_t)i) % PODS_ASKED));
		found += census_pod(census, uids[own]) != NULL;
		found += census_address(census, &other, START_NS, &fact) == CENSUS_ONE;
	}
	if (found != 2 * LOOKUPS) {
		fprintf(stderr, "bench-metadata: %" PRIu64 " pods were not found\n",
			2 * LOOKUPS - found);
		exit(1);
	}
	return (double)cost_since(before).ns / LOOKUPS;
}

/* Where each kind stands: pods at `at`, the others behind. */
static struct address place_of(enum fact_kind kind, uint32_t number)
{
	static const uint32_t bases[] = {[FACT_NONE] = 0xcb007100,
					 [FACT_NODE] = 0xc0a80000,
					 [FACT_SERVICE] = 0xac140000,
					 [FACT_RANGE] = 0xac100000};
	return kind == FACT_POD ? at(number) : address_v4(bases[kind] + number);
}

static void take_places(struct census *census, enum fact_kind kind, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct address address = place_of(kind, i);
		const uint64_t id = (uint64_t)kind << 32 | i;
		const struct fact fact = {.id = id,
					  .object = id,
					  .until_ns = UINT64_MAX,
					  .workload = i + 1,
					  .kind = (uint8_t)kind,
					  .prefix = 128,
					  .addresses_count = 1};
		census_take(census, &fact, &address, START_NS);
		census_settle(census);
	}
}

static struct address place_of_container(uint32_t number)
{
	char id[65];
	snprintf(id, sizeof(id), "%064" PRIx32, number);
	return fact_container(hash_bytes(id, strlen(id)));
}

/* One look-up at one of so many addresses, each told of once. */
static double address_ns(const struct census *census, const struct address *places, uint32_t count,
			 enum census_answer expected)
{
	double least = 0;
	for (int round = 0; round < ROUNDS; round++) {
		const struct fact *fact;
		uint64_t found = 0;
		struct cost before = cost_now();
		for (uint32_t i = 0; i < LOOKUPS; i++)
			found += census_address(census, &places[hash_mix(i) % count], START_NS,
						&fact) == expected;
		double took = (double)cost_since(before).ns / LOOKUPS;
		if (found != LOOKUPS) {
			fprintf(stderr,
				"bench-metadata: %" PRIu64 " addresses were answered otherwise\n",
				LOOKUPS - found);
			exit(1);
		}
		if (least == 0 || took < least)
			least = took;
	}
	return least;
}

static double kind_ns(const struct census *census, enum fact_kind kind, uint32_t count)
{
	struct address *places = memory_zeroed(count, sizeof(*places));
	for (uint32_t i = 0; i < count; i++)
		places[i] = place_of(kind, i);
	double ns = address_ns(census, places, count, kind ? CENSUS_ONE : CENSUS_NONE);
	memory_free(places);
	return ns;
}

static double container_ns(const struct census *census)
{
	struct address *places = memory_zeroed(PODS_ASKED, sizeof(*places));
	for (uint32_t i = 0; i < PODS_ASKED; i++)
		places[i] = place_of_container(i);
	double ns = address_ns(census, places, PODS_ASKED, CENSUS_ONE);
	memory_free(places);
	return ns;
}

static double uid_ns(const struct census *census, const uint64_t *uids)
{
	double least = 0;
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t found = 0;
		struct cost before = cost_now();
		for (uint32_t i = 0; i < LOOKUPS; i++)
			found += census_pod(census, uids[hash_mix(i) % PODS_ASKED]) != NULL;
		double took = (double)cost_since(before).ns / LOOKUPS;
		if (found == LOOKUPS && (least == 0 || took < least))
			least = took;
	}
	return least;
}

/* Of one look-up. */
struct kinds_ns {
	double uid, container, pod, node, service, range, nobody;
};

struct pods_cost {
	double bytes, ns;
	struct kinds_ns kinds;
};

static struct kinds_ns bench_kinds(struct census *census, const uint64_t *uids)
{
	take_places(census, FACT_NODE, NODES);
	take_places(census, FACT_SERVICE, SERVICES);
	return (struct kinds_ns){
		.uid = uid_ns(census, uids),
		.container = container_ns(census),
		.pod = kind_ns(census, FACT_POD, PODS_ASKED),
		.node = kind_ns(census, FACT_NODE, NODES),
		.service = kind_ns(census, FACT_SERVICE, SERVICES),
		.range = kind_ns(census, FACT_RANGE, 256 * RANGES),
		.nobody = kind_ns(census, FACT_NONE, 256),
	};
}

static struct pods_cost bench_pods(void)
{
	struct census *census = census_new(2 * PODS_ASKED);
	struct names *names = names_new(8 * PODS_ASKED, 0);
	uint64_t *uids = memory_zeroed(PODS_ASKED, sizeof(*uids));
	struct pods_cost cost = {0};
	for (uint32_t i = 0; i < PODS_ASKED; i++) {
		char uid[64];
		text(uid, sizeof(uid), "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3", i);
		uids[i] = hash_bytes(uid, strlen(uid));
		take_pod(census, names, i);
		census_settle(census);
	}
	cost.bytes = (double)(census_stats(census).bytes + names_stats(names).bytes) / PODS_ASKED;
	for (uint32_t i = 0; i < RANGES; i++)
		take_range(census, names, i);
	for (int round = 0; round < ROUNDS; round++) {
		double took = lookups_ns(census, uids);
		if (cost.ns == 0 || took < cost.ns)
			cost.ns = took;
	}
	cost.kinds = bench_kinds(census, uids);
	memory_free(uids);
	names_free(names);
	census_free(census);
	return cost;
}

/* ---- the first list ---- */

struct sync {
	struct catalog *catalog;
	uv_loop_t loop;
	uint32_t synced;  /* a bit for each kind */
	uint64_t records; /* of pods */
	uint8_t bytes[CATALOG_RECORD_MAX];
};

static void on_record(void *context, const char *id, const Millrace__V1__Metadata *record)
{
	struct sync *sync = context;
	(void)id;
	if (record && record->pod)
		sync->records++;
	if (record)
		millrace__v1__metadata__pack(record, sync->bytes);
}

static void on_changed(void *context, const struct kube_object *object)
{
	struct sync *sync = context;
	catalog_put(sync->catalog, object, START_NS);
}

static void on_deleted(void *context, enum kube_kind kind, const char *uid,
		       const struct kube_object *object)
{
	struct sync *sync = context;
	catalog_remove(sync->catalog, kind, uid, object, START_NS);
}

static void on_synced(void *context, enum kube_kind kind)
{
	struct sync *sync = context;
	catalog_synced(sync->catalog, kind, START_NS);
	sync->synced |= 1u << kind;
	if (sync->synced != (1u << KUBE_KINDS) - 1)
		return;
	catalog_advance(sync->catalog, START_NS);
	uv_stop(&sync->loop);
}

static void on_timeout(uv_timer_t *timer)
{
	(void)timer;
	fprintf(stderr, "bench-metadata: the first list does not end\n");
	exit(1);
}

static void on_closed(void *context)
{
	(void)context;
}

static double sync_once(const struct cluster *cluster)
{
	static struct sync sync;
	struct kube_config config = {.server = (char *)(uintptr_t)cluster_url(cluster)};
	uv_timer_t timer;
	sync = (struct sync){.catalog = catalog_new(&(struct catalog_options){
				     .cluster = "", .sink = on_record, .context = &sync})};
	uv_loop_init(&sync.loop);
	uv_timer_init(&sync.loop, &timer);
	uv_timer_start(&timer, on_timeout, SYNC_TIMEOUT_MS, 0);
	uint64_t begun_ns = uv_hrtime();
	struct kube_watch *watch = kube_watch_new(
		&(struct kube_watch_options){.loop = &sync.loop,
					     .config = &config,
					     .kinds = (1u << KUBE_KINDS) - 1,
					     .objects_max = 2 * PODS_ASKED,
					     .page = KUBE_PAGE,
					     .stall_ms = KUBE_STALL_MS,
					     .retry_min_ms = KUBE_RETRY_MIN_MS,
					     .retry_max_ms = KUBE_RETRY_MAX_MS,
					     .sink = {on_changed, on_deleted, on_synced, &sync}});
	uv_run(&sync.loop, UV_RUN_DEFAULT);
	double took = (double)(uv_hrtime() - begun_ns) / (double)NS_PER_S;
	/* Those whose replica set came after them are told again. */
	if (sync.records < PODS_ASKED) {
		fprintf(stderr, "bench-metadata: %" PRIu64 " pods were told\n", sync.records);
		exit(1);
	}
	uv_close((uv_handle_t *)&timer, NULL);
	kube_watch_close(watch, on_closed, NULL);
	uv_run(&sync.loop, UV_RUN_DEFAULT);
	uv_loop_close(&sync.loop);
	catalog_free(sync.catalog);
	return took;
}

static double bench_sync(void)
{
	struct cluster *cluster = cluster_new(&(struct cluster_options){
		.pods = PODS_ASKED, .deployments = DEPLOYMENTS, .nodes = NODES, .page = KUBE_PAGE});
	double least = 0;
	for (int i = 0; i < SYNCS; i++) {
		double took = sync_once(cluster);
		if (least == 0 || took < least)
			least = took;
	}
	cluster_free(cluster);
	return least;
}

static void print_kinds(const struct kinds_ns *kinds, const struct lookups_cost *lookups)
{
	printf(",\"ns\":{\"pod_uid\":%.1f,\"container\":%.1f,\"pod\":%.1f,\"node\":%.1f"
	       ",\"service\":%.1f,\"range\":%.1f,\"nobody\":%.1f,\"dns\":%.1f"
	       ",\"node_dns\":%.1f,\"network\":%.1f}",
	       kinds->uid, kinds->container, kinds->pod, kinds->node, kinds->service, kinds->range,
	       kinds->nobody, lookups->dns_ns, lookups->node_dns_ns, lookups->network_ns);
}

static void print_relabel(const char *name, bool mapped)
{
	const struct relabel relabel = relabel_measure(PODS_ASKED, LONE_HALVES, mapped);
	printf(",\"%s\":{\"halves\":%d,\"labels\":%.1f,\"us\":%.0f}", name, LONE_HALVES,
	       relabel.labels, relabel.ns / 1000);
}

int main(int argc, char **argv)
{
	uint64_t flows = 1000000;
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--json") != 0)
			flows = strtoull(argv[i], NULL, 10);
	struct outcome outcome = bench_churn(flows);
	const struct pods_cost pods = bench_pods();
	const struct lookups_cost lookups = lookups_measure(PODS_ASKED);
	double sync_s = bench_sync();
	printf("{\"bench\":\"metadata\",\"flows\":%" PRIu64 ",\"wrong\":%" PRIu64
	       ",\"ambiguous_share\":%.5f,\"first_sync_s\":%.3f,\"bytes_per_pod\":%.1f"
	       ",\"ns_per_definition\":%.1f",
	       outcome.flows, outcome.wrong, (double)outcome.ambiguous / (double)outcome.flows,
	       sync_s, pods.bytes, pods.ns);
	print_kinds(&pods.kinds, &lookups);
	print_relabel("relabel", false);
	print_relabel("relabel_masqueraded", true);
	printf("}\n");
	return outcome.wrong != 0;
}
