/* Truth, counted: an edge's lanes by the zones and versions of the two pods. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "bench/fleet/state.h"

static uint64_t lane_key(const struct fleet_lane *lane)
{
	return (uint64_t)lane->edge << 32 | (uint64_t)lane->client_zone << 24 |
	       (uint64_t)lane->server_zone << 16 | (uint64_t)lane->client_version << 8 |
	       lane->server_version;
}

static uint32_t lane_place(const struct lanes *lanes, uint64_t key)
{
	uint32_t place = (uint32_t)hash_mix(key) & lanes->mask;

	while (lanes->table[place] && lane_key(&lanes->items[lanes->table[place] - 1]) != key)
		place = (place + 1) & lanes->mask;
	return place;
}

static void grow(struct lanes *lanes)
{
	lanes->max = (uint32_t)memory_grown(lanes->max, lanes->count + 1);
	lanes->items = memory_resize(lanes->items, lanes->max, sizeof(*lanes->items));
	lanes->mask = 31;
	while (lanes->mask < lanes->max * 2)
		lanes->mask = lanes->mask * 2 + 1;
	free(lanes->table);
	lanes->table = memory_zeroed((size_t)lanes->mask + 1, sizeof(*lanes->table));
	for (uint32_t i = 0; i < lanes->count; i++)
		lanes->table[lane_place(lanes, lane_key(&lanes->items[i]))] = i + 1;
}

static uint8_t zone_of(const struct fleet *fleet, const struct pod *pod)
{
	return pod->node == NOBODY ? NO_ZONE : (uint8_t)fleet->nodes[pod->node].zone;
}

uint32_t fleet_lane(struct fleet *fleet, uint32_t edge, uint32_t client, uint32_t server)
{
	struct lanes *lanes = &fleet->lanes;
	struct fleet_lane lane = {.edge = edge,
				  .client_zone = zone_of(fleet, &fleet->pods[client]),
				  .server_zone = zone_of(fleet, &fleet->pods[server]),
				  .client_version = fleet->pods[client].version,
				  .server_version = fleet->pods[server].version};
	uint32_t place;

	if (lanes->count == lanes->max)
		grow(lanes);
	place = lane_place(lanes, lane_key(&lane));
	if (!lanes->table[place]) {
		lanes->items[lanes->count++] = lane;
		lanes->table[place] = lanes->count;
	}
	return lanes->table[place] - 1;
}

static void add_counts(struct truth_counts *sum, const struct truth_counts *counts)
{
	sum->existed += counts->existed;
	sum->opened += counts->opened;
	sum->failed += counts->failed;
	sum->closed += counts->closed;
	sum->tx_bytes += counts->tx_bytes;
	sum->rx_bytes += counts->rx_bytes;
}

/* Lanes hold the bytes of what is over; those of what lives are in the flows. */
static struct truth_counts *lanes_now(const struct fleet *fleet)
{
	const struct lanes *lanes = &fleet->lanes;
	struct truth_counts *counts = memory_zeroed(lanes->count, sizeof(*counts));

	for (uint32_t i = 0; i < lanes->count; i++)
		counts[i] = lanes->items[i].counts;
	for (uint32_t i = 0; i < fleet->flows_max; i++) {
		struct truth_counts moved;

		if (fleet->flows[i].state != FLOW_LIVE)
			continue;
		moved = fleet_flow_moved(fleet, &fleet->flows[i]);
		add_counts(&counts[fleet->flows[i].lane], &moved);
	}
	return counts;
}

struct truth_counts fleet_totals(const struct fleet *fleet)
{
	struct truth_counts *counts = lanes_now(fleet), sum = {0};

	for (uint32_t i = 0; i < fleet->lanes.count; i++)
		add_counts(&sum, &counts[i]);
	free(counts);
	return sum;
}

/* --- written --- */

static void write_counts(FILE *file, const struct truth_counts *counts)
{
	fprintf(file,
		"\"existed\":%llu,\"opened\":%llu,\"failed\":%llu,\"closed\":%llu,"
		"\"tx_bytes\":%llu,\"rx_bytes\":%llu}\n",
		(unsigned long long)counts->existed, (unsigned long long)counts->opened,
		(unsigned long long)counts->failed, (unsigned long long)counts->closed,
		(unsigned long long)counts->tx_bytes, (unsigned long long)counts->rx_bytes);
}

static void write_edge(const struct fleet *fleet, FILE *file, const char *type, uint32_t index)
{
	const struct fleet_edge *edge = &fleet->edges[index];
	char client[TEXT_MAX], server[TEXT_MAX];

	fleet_text_workload(fleet, edge->client, edge->flags & EDGE_IPV6, client);
	fleet_text_workload(fleet, edge->server, edge->flags & EDGE_IPV6, server);
	fprintf(file,
		"{\"type\":\"%s\",\"client\":\"%s\",\"server\":\"%s\",\"port\":%u,\"protocol\":%u,",
		type, client, server, edge->port, edge->flags & EDGE_UDP ? 17 : 6);
}

static void write_end(FILE *file, const char *end, uint32_t zone, uint32_t version)
{
	char zone_text[TEXT_MAX] = "", version_text[TEXT_MAX] = "";

	if (zone != NO_ZONE)
		fleet_text_zone(zone, zone_text);
	if (version != NO_VERSION)
		fleet_text_version(version, version_text);
	fprintf(file, "\"%s_zone\":\"%s\",\"%s_version\":\"%s\",", end, zone_text, end,
		version_text);
}

static void write_lane(const struct fleet *fleet, FILE *file, const struct fleet_lane *lane,
		       const struct truth_counts *counts)
{
	write_edge(fleet, file, "lane", lane->edge);
	write_end(file, "client", lane->client_zone, lane->client_version);
	write_end(file, "server", lane->server_zone, lane->server_version);
	write_counts(file, counts);
}

static void write_fault(const struct fleet *fleet, FILE *file, const struct fleet_fault *fault)
{
	static const char *const kinds[] = {"refuse", "slow", "drop"};
	const struct {
		const char *name;
		int32_t value;
		void (*text)(uint32_t value, char text[TEXT_MAX]);
	} dimensions[] = {
		{"version", fault->version, fleet_text_version},
		{"client_zone", fault->client_zone, fleet_text_zone},
		{"server_zone", fault->server_zone, fleet_text_zone},
	};
	char text[TEXT_MAX];

	fprintf(file, "{\"type\":\"fault\",\"kind\":\"%s\",\"from_ns\":%llu,\"to_ns\":%llu",
		kinds[fault->kind], (unsigned long long)(fleet->options.start_ns + fault->from_ns),
		(unsigned long long)(fleet->options.start_ns + fault->to_ns));
	if (fault->client != FLEET_ANY) {
		fleet_text_workload(fleet, (uint32_t)fault->client, false, text);
		fprintf(file, ",\"client\":\"%s\"", text);
	}
	if (fault->server != FLEET_ANY) {
		fleet_text_workload(fleet, (uint32_t)fault->server, false, text);
		fprintf(file, ",\"server\":\"%s\"", text);
	}
	if (fault->server_pod != FLEET_ANY) {
		fleet_text_pod(fleet, (uint32_t)fault->server_pod, text);
		fprintf(file, ",\"pod\":\"%s\"", text);
	}
	for (size_t i = 0; i < sizeof(dimensions) / sizeof(dimensions[0]); i++) {
		if (dimensions[i].value == FLEET_ANY)
			continue;
		dimensions[i].text((uint32_t)dimensions[i].value, text);
		fprintf(file, ",\"%s\":\"%s\"", dimensions[i].name, text);
	}
	fprintf(file, "}\n");
}

void fleet_truth(const struct fleet *fleet, FILE *file)
{
	struct truth_counts *lanes = lanes_now(fleet), total = {0};
	struct truth_counts *edges = memory_zeroed(fleet->options.edges, sizeof(*edges));

	for (uint32_t i = 0; i < fleet->lanes.count; i++) {
		add_counts(&edges[fleet->lanes.items[i].edge], &lanes[i]);
		add_counts(&total, &lanes[i]);
	}
	fprintf(file, "{\"type\":\"fleet\",");
	write_counts(file, &total);
	for (uint32_t i = 0; i < fleet->options.edges; i++) {
		static const struct truth_counts none;

		if (memcmp(&edges[i], &none, sizeof(none)) == 0)
			continue; /* nobody has used it */
		write_edge(fleet, file, "edge", i);
		write_counts(file, &edges[i]);
	}
	for (uint32_t i = 0; i < fleet->lanes.count; i++)
		write_lane(fleet, file, &fleet->lanes.items[i], &lanes[i]);
	for (uint32_t i = 0; i < fleet->options.faults_count; i++)
		write_fault(fleet, file, &fleet->options.faults[i]);
	free(lanes);
	free(edges);
}
