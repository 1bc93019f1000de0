#include "agent/drops.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"

/* A program runs for less than a microsecond; the rest is for one that is preempted. */
#define SETTLE_NS (50 * NS_PER_MS)
#define EVERY_NS  NS_PER_S

enum { LOCATIONS_MAX = MR_DROP_LOCATIONS_MAX };

struct location {
	uint64_t address;
	char name[MR_DROP_LOCATION_BYTES];
};

struct drops {
	struct drops_options options;
	int rows[2], folded, counts, locations, switches; /* maps */
	int programs[2];
	unsigned programs_count;
	int cpus;
	struct mr_drop_switches now;
	uint64_t switched_ns;
	bool settling; /* the former generation's map is still to be read */
	struct mr_drop_key *keys;
	struct mr_drop_sum *sums;
	struct mr_drop_folded *folded_cpus, *folded_before;
	struct mr_drop_counts *counts_cpus;
	struct location *names; /* in the order seen */
	uint32_t names_count;
	struct drops_stats stats;
};

static int find_maps(struct drops *drops)
{
	const struct bpf_object *object = drops->options.object;
	drops->rows[0] = bpf_object__find_map_fd_by_name(object, "drops_even");
	drops->rows[1] = bpf_object__find_map_fd_by_name(object, "drops_odd");
	drops->folded = bpf_object__find_map_fd_by_name(object, "drop_folded");
	drops->counts = bpf_object__find_map_fd_by_name(object, "drop_counts");
	drops->locations = bpf_object__find_map_fd_by_name(object, "drop_locations");
	drops->switches = bpf_object__find_map_fd_by_name(object, ".bss");
	drops->cpus = libbpf_num_possible_cpus();
	if (drops->rows[0] < 0 || drops->rows[1] < 0 || drops->folded < 0 || drops->counts < 0 ||
	    drops->locations < 0 || drops->switches < 0 || drops->cpus <= 0)
		return -ENOENT;
	struct bpf_program *program;
	bpf_object__for_each_program(program, object)
	{
		int fd = bpf_program__fd(program);
		if (fd >= 0 && drops->programs_count < 2)
			drops->programs[drops->programs_count++] = fd;
	}
	return 0;
}

static int set_generation(struct drops *drops, uint32_t generation)
{
	uint32_t zero = 0;
	drops->now.generation = generation;
	drops->now.full = generation - 1;
	return bpf_map_update_elem(drops->switches, &zero, &drops->now, BPF_ANY) ? -errno : 0;
}

int drops_new(struct drops **out, const struct drops_options *options)
{
	struct drops *drops = memory_zeroed(1, sizeof(*drops));
	drops->options = *options;
	int error = find_maps(drops);
	if (!error) {
		memcpy(drops->now.ignored, options->reasons->ignored, sizeof(drops->now.ignored));
		drops->now.purge = options->reasons->purge;
		error = set_generation(drops, 2);
	}
	if (error) {
		free(drops);
		return error;
	}
	drops->keys = memory_zeroed(options->rows_max, sizeof(*drops->keys));
	drops->sums = memory_zeroed(options->rows_max, sizeof(*drops->sums));
	drops->folded_cpus = memory_zeroed((size_t)drops->cpus, sizeof(*drops->folded_cpus));
	drops->folded_before = memory_zeroed(MR_DROP_FOLDED, sizeof(*drops->folded_before));
	drops->counts_cpus = memory_zeroed((size_t)drops->cpus, sizeof(*drops->counts_cpus));
	drops->names = memory_zeroed(LOCATIONS_MAX, sizeof(*drops->names));
	*out = drops;
	return 0;
}

void drops_free(struct drops *drops)
{
	if (!drops)
		return;
	free(drops->keys);
	free(drops->sums);
	free(drops->folded_cpus);
	free(drops->folded_before);
	free(drops->counts_cpus);
	free(drops->names);
	free(drops);
}

/* Empty if it is not known (yet). */
static const char *location_name(struct drops *drops, uint64_t address)
{
	if (!address)
		return "";
	for (uint32_t i = 0; i < drops->names_count; i++)
		if (drops->names[i].address == address)
			return drops->names[i].name;
	struct location found = {.address = address};
	if (drops->names_count == LOCATIONS_MAX ||
	    bpf_map_lookup_elem(drops->locations, &address, found.name))
		return "";
	found.name[sizeof(found.name) - 1] = 0;
	found.name[strcspn(found.name, " ")] = 0; /* " [module]" */
	if (strncmp(found.name, "0x", 2) == 0)
		found.name[0] = 0; /* a kernel without symbols */
	drops->names[drops->names_count] = found;
	return drops->names[drops->names_count++].name;
}

static void tell(struct drops *drops, const struct mr_drop_key *key, const struct mr_drop_sum *sum)
{
	char text[REASON_NAME_BYTES];
	struct batch_drop drop = {
		.reason = reason_name(drops->options.reasons, key->reason, text),
		.location = location_name(drops, key->location),
		.icmp = key->icmp,
		.protocol = key->protocol,
		.source = address_v6(key->source),
		.destination = address_v6(key->destination),
		.source_port = key->source_port,
		.destination_port = key->destination_port,
		.packets = sum->packets,
		.bytes = sum->bytes,
		.netns = key->netns,
		.time_ns = sum->time_ns,
	};
	drops->options.told(drops->options.context, &drop, sum->cookie);
	drops->stats.rows++;
	if (key->icmp)
		drops->stats.icmp_errors += sum->packets;
	else
		drops->stats.packets += sum->packets;
}

static void read_rows(struct drops *drops, int map)
{
	uint64_t at[8]; /* the kernel's place in the map: 4 bytes for a hash */
	for (bool more = true, first = true; more; first = false) {
		uint32_t count = drops->options.rows_max;
		int error = bpf_map_lookup_and_delete_batch(map, first ? NULL : at, at, drops->keys,
							    drops->sums, &count, NULL)
				    ? -errno
				    : 0;
		if (error && error != -ENOENT) {
			drops->stats.errors++;
			return;
		}
		for (uint32_t i = 0; i < count; i++)
			if (drops->sums[i].packets)
				tell(drops, &drops->keys[i], &drops->sums[i]);
		more = !error;
	}
}

/* What found no room, by reason: absolute counters, told as differences. */
static void read_folded(struct drops *drops, uint64_t boottime_ns)
{
	for (uint32_t reason = 0; reason < MR_DROP_FOLDED; reason++) {
		if (bpf_map_lookup_elem(drops->folded, &reason, drops->folded_cpus)) {
			drops->stats.errors++;
			return;
		}
		struct mr_drop_folded sum = {0}, *before = &drops->folded_before[reason];
		for (int cpu = 0; cpu < drops->cpus; cpu++) {
			sum.packets += drops->folded_cpus[cpu].packets;
			sum.bytes += drops->folded_cpus[cpu].bytes;
		}
		if (sum.packets == before->packets)
			continue;
		tell(drops, &(struct mr_drop_key){.reason = reason, .icmp = reason >= MR_DROP_ICMP},
		     &(struct mr_drop_sum){.packets = sum.packets - before->packets,
					   .bytes = sum.bytes - before->bytes,
					   .time_ns = boottime_ns});
		*before = sum;
	}
}

static void read_counts(struct drops *drops, uint64_t boottime_ns)
{
	uint32_t zero = 0;
	if (bpf_map_lookup_elem(drops->counts, &zero, drops->counts_cpus)) {
		drops->stats.errors++;
		return;
	}
	uint64_t folded = 0, not_ip = 0, missed = 0;
	for (int cpu = 0; cpu < drops->cpus; cpu++) {
		folded += drops->counts_cpus[cpu].folded;
		not_ip += drops->counts_cpus[cpu].not_ip;
	}
	for (unsigned i = 0; i < drops->programs_count; i++) {
		struct bpf_prog_info info = {0};
		uint32_t length = sizeof(info);
		if (bpf_obj_get_info_by_fd(drops->programs[i], &info, &length) == 0)
			missed += info.recursion_misses;
	}
	if (folded != drops->stats.folded)
		read_folded(drops, boottime_ns);
	drops->stats.folded = folded;
	drops->stats.not_ip = not_ip;
	drops->stats.missed = missed;
}

static void read_settled(struct drops *drops, uint64_t boottime_ns)
{
	read_rows(drops, drops->rows[(drops->now.generation - 1) & 1]);
	read_counts(drops, boottime_ns);
	drops->settling = false;
}

static void change_maps(struct drops *drops, uint64_t boottime_ns)
{
	if (set_generation(drops, drops->now.generation + 1)) {
		drops->stats.errors++;
		drops->now.generation--;
		return;
	}
	drops->switched_ns = boottime_ns;
	drops->settling = true;
}

void drops_tick(struct drops *drops, uint64_t boottime_ns)
{
	if (drops->settling) {
		if (boottime_ns - drops->switched_ns >= SETTLE_NS)
			read_settled(drops, boottime_ns);
	} else if (boottime_ns - drops->switched_ns >= EVERY_NS) {
		change_maps(drops, boottime_ns);
	}
}

void drops_finish(struct drops *drops, uint64_t boottime_ns)
{
	const struct timespec settle = {.tv_nsec = SETTLE_NS};
	for (int map = 0; map < 2; map++) {
		if (!drops->settling)
			change_maps(drops, boottime_ns);
		nanosleep(&settle, NULL);
		if (drops->settling)
			read_settled(drops, boottime_ns);
	}
}

struct drops_stats drops_stats(const struct drops *drops)
{
	return drops->stats;
}
