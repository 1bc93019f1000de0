/* Whether the census says who was at an address, and what that costs: one JSON line.
 * bench-metadata [--json] [flows]. First 1,000 pods share 50 addresses, of which one changes hands
 * each 100 ms; records come up to 30 s late, agents' clocks differ from the cluster's by up to
 * 20 ms. Each flow is asked for when all records of its time are there: `wrong` were given to
 * another pod, `ambiguous_share` to none. Then 10,000 pods of 500 deployments on 300 nodes, told as
 * records: `bytes_per_pod` is of the census and the names in it, in one task; `ns_per_definition`
 * the time to look up one end by its pod's uid and the other by its address, the least of ROUNDS.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/name.h"
#include "bench/drive/cost.h"
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
	ROUNDS = 9,
	LOOKUPS = 1 << 18,
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
	enum record_reason reason = record_read(bytes, length, names, 1, &fact, addresses);
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

static void bench_pods(double *bytes, double *ns)
{
	struct census *census = census_new(2 * PODS_ASKED);
	struct names *names = names_new(8 * PODS_ASKED, 0);
	uint64_t *uids = memory_zeroed(PODS_ASKED, sizeof(*uids));
	for (uint32_t i = 0; i < PODS_ASKED; i++) {
		char uid[64];
		text(uid, sizeof(uid), "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3", i);
		uids[i] = hash_bytes(uid, strlen(uid));
		take_pod(census, names, i);
		census_settle(census);
	}
	*bytes = (double)(census_stats(census).bytes + names_stats(names).bytes) / PODS_ASKED;
	for (uint32_t i = 0; i < RANGES; i++)
		take_range(census, names, i);
	*ns = 0;
	for (int round = 0; round < ROUNDS; round++) {
		double took = lookups_ns(census, uids);
		if (*ns == 0 || took < *ns)
			*ns = took;
	}
	memory_free(uids);
	names_free(names);
	census_free(census);
}

int main(int argc, char **argv)
{
	uint64_t flows = 1000000;
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--json") != 0)
			flows = strtoull(argv[i], NULL, 10);
	struct outcome outcome = bench_churn(flows);
	double bytes, ns;
	bench_pods(&bytes, &ns);
	printf("{\"bench\":\"metadata\",\"flows\":%" PRIu64 ",\"wrong\":%" PRIu64
	       ",\"ambiguous_share\":%.5f,\"bytes_per_pod\":%.1f,\"ns_per_definition\":%.1f}\n",
	       outcome.flows, outcome.wrong, (double)outcome.ambiguous / (double)outcome.flows,
	       bytes, ns);
	return outcome.wrong != 0;
}
