#include "bench/drive/lookups.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "bench/drive/cost.h"
#include "daemon/networks.h"
#include "ingest/state.h"

enum {
	ROUNDS = 5,
	LOOKUPS = 1 << 17,
	PID = 7,
	OTHER_PID = 8,
	/* GeoLite2-ASN: some 75,000 systems in 500,000 prefixes of IPv4. */
	SYSTEMS = 60000,
	PREFIX_BITS = 18,
	V4_DEPTH = 96,
	RECORD_BYTES = 104, /* of a system, at most */
};

#define START_NS (1700000000 * NS_PER_S)

static void fail(const char *what)
{
	fprintf(stderr, "bench-metadata: %s\n", what);
	exit(1);
}

/* ---- answers ---- */

struct asked {
	struct mirror *mirror;
	struct node *node;
	uint32_t count;
};

static struct address answer_of(uint32_t number)
{
	return address_v4(0x5b000000 + number);
}

static void tell_answers(const struct asked *asked)
{
	const struct run run = {.base_ns = START_NS};
	struct apply apply = {.mirror = asked->mirror, .node = asked->node, .run = &run};
	for (uint32_t i = 0; i < asked->count; i++) {
		const struct lookup_row lookup = {.answers = 1, .name = hash_mix(i % 500 + 1)};
		const struct answer_row row = {.address = answer_of(i), .ttl_s = 3600};
		answers_take(&apply, PID, &lookup, &row);
	}
}

static double answers_ns(const struct asked *asked, uint32_t pid)
{
	double least = 0;
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t found = 0;
		struct cost before = cost_now();
		for (uint32_t i = 0; i < LOOKUPS; i++) {
			const struct address address =
				answer_of((uint32_t)(hash_mix(i) % asked->count));
			found += answer_find(asked->mirror, asked->node, pid, &address,
					     START_NS + NS_PER_S) != 0;
		}
		double took = (double)cost_since(before).ns / LOOKUPS;
		if (found != LOOKUPS)
			fail("a name that was asked for is not found");
		least = least == 0 || took < least ? took : least;
	}
	return least;
}

static void measure_answers(struct lookups_cost *cost, uint32_t answers)
{
	struct asked asked = {.mirror = memory_zeroed(1, sizeof(*asked.mirror)),
			      .node = memory_zeroed(1, sizeof(*asked.node)),
			      .count = answers};
	asked.node->name_id = 1;
	asked.mirror->roster = roster_new(4 * answers, 0);
	answers_init(&asked.mirror->answers, 2 * answers);
	tell_answers(&asked);
	cost->dns_ns = answers_ns(&asked, PID);
	cost->node_dns_ns = answers_ns(&asked, OTHER_PID);
	answers_done(&asked.mirror->answers);
	roster_free(asked.mirror->roster);
	memory_free(asked.node);
	memory_free(asked.mirror);
}

/* ---- networks ---- */

/* MaxMind's format (https://maxmind.github.io/MaxMind-DB/): a tree of records of 24 bits, each a
 * node, or nothing, or where its data is. */
struct writer {
	FILE *file;
	uint8_t *data;
	uint32_t length;
	uint32_t *systems; /* where each one's data begins */
};

static void put_text(struct writer *writer, const char *text)
{
	size_t length = strlen(text);
	uint8_t *at = writer->data + writer->length;
	*at++ = (uint8_t)(2 << 5 | (length < 29 ? length : 29));
	if (length >= 29)
		*at++ = (uint8_t)(length - 29);
	memcpy(at, text, length);
	writer->length = (uint32_t)(at + length - writer->data);
}

/* type: 5 for 16 bits, 6 for 32. */
static void put_number(struct writer *writer, unsigned type, uint32_t number)
{
	unsigned bytes = type == 5 ? 2 : 4;
	writer->data[writer->length++] = (uint8_t)(type << 5 | bytes);
	while (bytes--)
		writer->data[writer->length++] = (uint8_t)(number >> 8 * bytes);
}

static void put_map(struct writer *writer, unsigned pairs)
{
	writer->data[writer->length++] = (uint8_t)(7 << 5 | pairs);
}

static void put_systems(struct writer *writer)
{
	for (uint32_t i = 0; i < SYSTEMS; i++) {
		char name[64];
		snprintf(name, sizeof(name), "Example Networks of System %u", i);
		writer->systems[i] = writer->length;
		put_map(writer, 2);
		put_text(writer, "autonomous_system_number");
		put_number(writer, 6, 64496 + i);
		put_text(writer, "autonomous_system_organization");
		put_text(writer, name);
	}
}

static void write_record(const struct writer *writer, uint32_t record)
{
	const uint8_t bytes[] = {(uint8_t)(record >> 16), (uint8_t)(record >> 8), (uint8_t)record};
	fwrite(bytes, 1, sizeof(bytes), writer->file);
}

/* A path of V4_DEPTH zeros, then all prefixes of PREFIX_BITS: node n of that part has the nodes
 * 2 n + 1 and 2 n + 2 below it. */
static uint32_t write_tree(const struct writer *writer)
{
	const uint32_t inner = (1U << PREFIX_BITS) - 1, nodes = V4_DEPTH + inner;
	for (uint32_t depth = 0; depth < V4_DEPTH; depth++) {
		write_record(writer, depth + 1);
		write_record(writer, nodes);
	}
	for (uint32_t node = 0; node < inner; node++) {
		for (uint32_t side = 1; side <= 2; side++) {
			uint32_t below = 2 * node + side;
			uint32_t system = (uint32_t)(hash_mix(below) % SYSTEMS);
			write_record(writer, below < inner ? V4_DEPTH + below
							   : nodes + 16 + writer->systems[system]);
		}
	}
	return nodes;
}

static void put_metadata(struct writer *writer, uint32_t nodes)
{
	static const struct {
		const char *name;
		uint32_t value;
	} numbers[] = {{"binary_format_major_version", 2},
		       {"binary_format_minor_version", 0},
		       {"ip_version", 6},
		       {"record_size", 24}};
	put_map(writer, 9);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		put_text(writer, numbers[i].name);
		put_number(writer, 5, numbers[i].value);
	}
	put_text(writer, "build_epoch"); /* 64 bits in one byte */
	memcpy(writer->data + writer->length, "\x01\x02\x01", 3);
	writer->length += 3;
	put_text(writer, "node_count");
	put_number(writer, 6, nodes);
	put_text(writer, "database_type");
	put_text(writer, "GeoLite2-ASN");
	put_text(writer, "description");
	put_map(writer, 0);
	put_text(writer, "languages"); /* an array of none */
	memcpy(writer->data + writer->length, "\x00\x04", 2);
	writer->length += 2;
}

static void write_networks(const char *path)
{
	static const uint8_t between[16], mark[] = "\xab\xcd\xefMaxMind.com";
	struct writer writer = {.file = fopen(path, "w"),
				.data = memory_zeroed(SYSTEMS + 16, RECORD_BYTES),
				.systems = memory_zeroed(SYSTEMS, sizeof(uint32_t))};
	if (!writer.file)
		fail("no room for a database of networks");
	put_systems(&writer);
	uint32_t nodes = write_tree(&writer);
	fwrite(between, 1, sizeof(between), writer.file);
	fwrite(writer.data, 1, writer.length, writer.file);
	fwrite(mark, 1, sizeof(mark) - 1, writer.file);
	writer.length = 0;
	put_metadata(&writer, nodes);
	fwrite(writer.data, 1, writer.length, writer.file);
	if (fclose(writer.file) != 0)
		fail("no room for a database of networks");
	memory_free(writer.data);
	memory_free(writer.systems);
}

static double networks_ns(const struct networks *networks)
{
	double least = 0;
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t found = 0;
		struct cost before = cost_now();
		for (uint32_t i = 0; i < LOOKUPS; i++) {
			struct network network;
			const struct address address = address_v4((uint32_t)hash_mix(i));
			found += networks_find(networks, &address, &network);
		}
		double took = (double)cost_since(before).ns / LOOKUPS;
		if (found != LOOKUPS)
			fail("a network is not found");
		least = least == 0 || took < least ? took : least;
	}
	return least;
}

static void measure_networks(struct lookups_cost *cost)
{
	char path[] = "/tmp/millrace-bench-networks-XXXXXX", error[256];
	int fd = mkstemp(path);
	if (fd < 0)
		fail("no room for a database of networks");
	close(fd);
	write_networks(path);
	struct networks *networks = networks_open(path, NULL, error, sizeof(error));
	unlink(path);
	if (!networks)
		fail(error);
	cost->network_ns = networks_ns(networks);
	networks_free(networks);
}

struct lookups_cost lookups_measure(uint32_t answers)
{
	struct lookups_cost cost;
	measure_answers(&cost, answers);
	measure_networks(&cost);
	return cost;
}
