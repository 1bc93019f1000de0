/* The real maps of drop.bpf.c, filled from here instead of by the kernel. Needs root; else it is
 * skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include "agent/drops.h"
#include "base/clock.h"
#include "base/memory.h"

extern const char mr_bpf_drop[], mr_bpf_drop_end[];

enum { SKIPPED = 77, ROWS = 64, REASON = 3 };

struct told {
	struct batch_drop drop;
	uint64_t cookie;
	char reason[REASON_NAME_BYTES], location[MR_DROP_LOCATION_BYTES];
};

struct world {
	struct bpf_object *object;
	struct reasons reasons;
	struct drops *drops;
	struct told told[4 * ROWS];
	size_t count;
	uint64_t now_ns;
};

static void on_told(void *context, const struct batch_drop *drop, uint64_t cookie)
{
	struct world *world = context;
	assert_true(world->count < sizeof(world->told) / sizeof(world->told[0]));
	struct told *told = &world->told[world->count++];
	told->drop = *drop;
	told->cookie = cookie;
	snprintf(told->reason, sizeof(told->reason), "%s", drop->reason);
	snprintf(told->location, sizeof(told->location), "%s", drop->location);
}

static int begin(void **state)
{
	struct world *world = memory_zeroed(1, sizeof(*world));
	world->object =
		bpf_object__open_mem(mr_bpf_drop, (size_t)(mr_bpf_drop_end - mr_bpf_drop), NULL);
	struct bpf_program *program;
	bpf_object__for_each_program(program, world->object)
		bpf_program__set_autoload(program, false);
	bpf_map__set_max_entries(bpf_object__find_map_by_name(world->object, "drops_even"), ROWS);
	bpf_map__set_max_entries(bpf_object__find_map_by_name(world->object, "drops_odd"), ROWS);
	assert_int_equal(bpf_object__load(world->object), 0);
	snprintf(world->reasons.names[REASON], REASON_NAME_BYTES, "NO_SOCKET");
	world->reasons.ignored[1] = 5;
	world->reasons.purge = 7;
	assert_int_equal(drops_new(&world->drops,
				   &(struct drops_options){
					   .object = world->object,
					   .reasons = &world->reasons,
					   .rows_max = ROWS,
					   .told = on_told,
					   .context = world,
				   }),
			 0);
	world->now_ns = 100 * NS_PER_S;
	*state = world;
	return 0;
}

static int end(void **state)
{
	struct world *world = *state;
	drops_free(world->drops);
	bpf_object__close(world->object);
	free(world);
	return 0;
}

static int map_of(struct world *world, const char *name)
{
	return bpf_object__find_map_fd_by_name(world->object, name);
}

static struct mr_drop_switches switches_of(struct world *world)
{
	struct mr_drop_switches switches;
	uint32_t zero = 0;
	assert_int_equal(bpf_map_lookup_elem(map_of(world, ".bss"), &zero, &switches), 0);
	return switches;
}

/* As the kernel's program does: into the map of the present generation. */
static int drop(struct world *world, uint16_t port, uint64_t packets)
{
	struct mr_drop_key key = {.reason = REASON,
				  .location = 0xffffffff81000000,
				  .netns = 9,
				  .source = {[10] = 0xff, 0xff, 10, 0, 0, 1},
				  .destination = {[10] = 0xff, 0xff, 10, 0, 0, 2},
				  .source_port = port,
				  .destination_port = 80,
				  .protocol = 17};
	struct mr_drop_sum sum = {
		.packets = packets, .bytes = 100 * packets, .time_ns = 77, .cookie = 5};
	const char *map = switches_of(world).generation & 1 ? "drops_odd" : "drops_even";
	return bpf_map_update_elem(map_of(world, map), &key, &sum, BPF_ANY);
}

static void pass(struct world *world, uint64_t ns)
{
	for (uint64_t until = world->now_ns + ns; world->now_ns < until;) {
		world->now_ns += 100 * NS_PER_MS;
		drops_tick(world->drops, world->now_ns);
	}
}

static void a_row_is_told_once_with_all_that_is_known(void **state)
{
	struct world *world = *state;
	const char name[MR_DROP_LOCATION_BYTES] = "udp_queue_rcv_one_skb [udp]";
	uint64_t location = 0xffffffff81000000;
	bpf_map_update_elem(map_of(world, "drop_locations"), &location, name, BPF_ANY);
	drop(world, 1000, 3);
	pass(world, 5 * NS_PER_S);
	assert_int_equal(world->count, 1);
	const struct told *told = &world->told[0];
	assert_string_equal(told->reason, "NO_SOCKET");
	assert_string_equal(told->location, "udp_queue_rcv_one_skb");
	assert_int_equal(told->drop.packets, 3);
	assert_int_equal(told->drop.bytes, 300);
	assert_int_equal(told->drop.source_port, 1000);
	assert_int_equal(told->drop.netns, 9);
	assert_int_equal(told->drop.time_ns, 77);
	assert_int_equal(told->cookie, 5);
	char text[ADDRESS_TEXT_MAX];
	address_format(&told->drop.destination, text);
	assert_string_equal(text, "10.0.0.2");
	assert_int_equal(drops_stats(world->drops).packets, 3);
}

static void no_map_is_read_while_it_may_be_written(void **state)
{
	struct world *world = *state;
	uint32_t before = switches_of(world).generation;
	drops_tick(world->drops, world->now_ns += NS_PER_S); /* the maps change places */
	assert_int_equal(switches_of(world).generation, before + 1);
	drops_tick(world->drops, world->now_ns += 10 * NS_PER_MS);
	drop(world, 1000, 1);					   /* into the new one */
	drops_tick(world->drops, world->now_ns += 90 * NS_PER_MS); /* reads the old one */
	assert_int_equal(world->count, 0);
	pass(world, 2 * NS_PER_S);
	assert_int_equal(world->count, 1);
}

static void all_rows_of_a_full_map_are_told(void **state)
{
	struct world *world = *state;
	for (int second = 0; second < 3; second++) {
		world->count = 0;
		for (uint16_t port = 0; port < ROWS; port++)
			assert_int_equal(drop(world, port, 1), 0);
		assert_int_not_equal(drop(world, ROWS, 1), 0); /* the bound */
		pass(world, 2 * NS_PER_S);
		assert_int_equal(world->count, ROWS);
	}
}

static void fold(struct world *world, uint32_t reason, uint64_t packets)
{
	int cpus = libbpf_num_possible_cpus();
	struct mr_drop_folded *folded = memory_zeroed((size_t)cpus, sizeof(*folded));
	struct mr_drop_counts *counts = memory_zeroed((size_t)cpus, sizeof(*counts));
	uint32_t zero = 0;
	bpf_map_lookup_elem(map_of(world, "drop_folded"), &reason, folded);
	bpf_map_lookup_elem(map_of(world, "drop_counts"), &zero, counts);
	folded[cpus - 1].packets += packets;
	folded[cpus - 1].bytes += 40 * packets;
	counts[0].folded += packets;
	counts[0].not_ip += 2;
	bpf_map_update_elem(map_of(world, "drop_folded"), &reason, folded, BPF_ANY);
	bpf_map_update_elem(map_of(world, "drop_counts"), &zero, counts, BPF_ANY);
	free(folded);
	free(counts);
}

static void what_found_no_room_is_told_by_its_reason_as_differences(void **state)
{
	struct world *world = *state;
	fold(world, REASON, 1000);
	pass(world, 2 * NS_PER_S);
	fold(world, REASON, 24);
	fold(world, MR_DROP_ICMP_REASON(0, 3, 3), 7);
	pass(world, 2 * NS_PER_S);
	pass(world, 2 * NS_PER_S);
	assert_int_equal(world->count, 3);
	assert_int_equal(world->told[0].drop.packets, 1000);
	assert_int_equal(world->told[1].drop.packets, 24);
	assert_int_equal(world->told[1].drop.bytes, 24 * 40);
	assert_string_equal(world->told[1].reason, "NO_SOCKET");
	assert_string_equal(world->told[1].location, "");
	assert_int_equal(world->told[1].drop.protocol, 0);
	assert_string_equal(world->told[2].reason, "port_unreachable");
	assert_true(world->told[2].drop.icmp);
	assert_int_equal(drops_stats(world->drops).folded, 1031);
	assert_int_equal(drops_stats(world->drops).not_ip, 6);
}

static void the_program_knows_what_is_no_loss_and_that_no_map_is_full(void **state)
{
	struct world *world = *state;
	for (int second = 0; second < 3; second++) {
		struct mr_drop_switches switches = switches_of(world);
		assert_int_equal(switches.ignored[1], 5);
		assert_int_equal(switches.purge, 7);
		assert_int_not_equal(switches.full, switches.generation);
		pass(world, 1100 * NS_PER_MS);
	}
}

static void the_end_tells_what_both_maps_hold(void **state)
{
	struct world *world = *state;
	drop(world, 1, 1);
	drops_tick(world->drops, world->now_ns += NS_PER_S);
	drop(world, 2, 1); /* the first is not read yet */
	drops_finish(world->drops, world->now_ns);
	assert_int_equal(world->count, 2);
}

int main(void)
{
	if (geteuid() != 0 || access("/sys/kernel/btf/vmlinux", R_OK) != 0) {
		printf("skipped: needs root and a kernel with BTF\n");
		return SKIPPED;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_row_is_told_once_with_all_that_is_known, begin,
						end),
		cmocka_unit_test_setup_teardown(no_map_is_read_while_it_may_be_written, begin, end),
		cmocka_unit_test_setup_teardown(all_rows_of_a_full_map_are_told, begin, end),
		cmocka_unit_test_setup_teardown(
			what_found_no_room_is_told_by_its_reason_as_differences, begin, end),
		cmocka_unit_test_setup_teardown(
			the_program_knows_what_is_no_loss_and_that_no_map_is_full, begin, end),
		cmocka_unit_test_setup_teardown(the_end_tells_what_both_maps_hold, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
