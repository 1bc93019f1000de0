#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/nat.h"
#include "base/hash.h"
#include "base/tuple.h"

enum { TOLD_MAX = 4096 };

struct world {
	struct nat *nat;
	struct conntrack_entry told[TOLD_MAX];
	size_t count;
};

static void on_told(void *context, const struct conntrack_entry *entry)
{
	struct world *world = context;
	assert_true(world->count < TOLD_MAX);
	world->told[world->count++] = *entry;
}

static void begin(struct world *world, uint32_t entries_max)
{
	world->count = 0;
	world->nat = nat_new(&(struct nat_options){
		.entries_max = entries_max, .told = on_told, .context = world});
}

static struct conntrack_entry entry_of(uint32_t netns, uint16_t zone, uint16_t port)
{
	struct conntrack_entry entry;
	memset(&entry, 0, sizeof(entry)); /* its padding, too: replies are compared whole */
	entry.netns = netns;
	entry.zone = zone;
	entry.protocol = PROTOCOL_TCP;
	entry.original = (struct conntrack_tuple){.source = address_v4(0x0a000001),
						  .destination = address_v4(0x0a600001),
						  .source_port = port,
						  .destination_port = 80};
	entry.reply.source = address_v4(0x0a000002);
	entry.reply.destination = address_v4(0x0a000001);
	entry.reply.source_port = 8080;
	entry.reply.destination_port = port;
	return entry;
}

static bool all(void *context, uint32_t netns)
{
	(void)context, (void)netns;
	return true;
}

/* The rest of a dump, some rows a call. */
static bool sweep(struct nat *nat, uint64_t began_ns)
{
	while (nat_sweep(nat, 3, began_ns, all, NULL))
		;
	return nat_dump_ends(nat);
}

static void the_same_tuple_in_two_zones_is_two_entries(void **state)
{
	static struct world world;
	(void)state;
	begin(&world, 8);
	struct conntrack_entry one = entry_of(1, 11, 5), other = entry_of(1, 12, 5);
	nat_put(world.nat, &one, 1);
	nat_put(world.nat, &other, 1);
	assert_int_equal(nat_stats(world.nat).live, 2);
	one.ended = true;
	nat_put(world.nat, &one, 2);
	assert_int_equal(nat_stats(world.nat).live, 1);
	assert_int_equal(world.told[2].zone, 11);
	nat_free(world.nat);
}

static void a_mark_that_changes_is_told_again(void **state)
{
	static struct world world;
	(void)state;
	begin(&world, 8);
	struct conntrack_entry entry = entry_of(1, 0, 5);
	nat_put(world.nat, &entry, 1);
	entry.mark = 7;
	nat_put(world.nat, &entry, 2);
	nat_put(world.nat, &entry, 3);
	assert_int_equal(world.count, 2);
	assert_int_equal(world.told[1].mark, 7);
	assert_false(world.told[1].ended);
	nat_free(world.nat);
}

static void what_ended_while_a_dump_ran_does_not_come_back_with_it(void **state)
{
	static struct world world;
	(void)state;
	begin(&world, 8);
	struct conntrack_entry entry = entry_of(1, 0, 5), end = entry;
	end.ended = true;
	nat_put(world.nat, &entry, 1);
	nat_dump_begins(world.nat);
	nat_put(world.nat, &end, 11);
	nat_dumped(world.nat, &entry, 10, 12); /* it was read before it ended */
	assert_true(sweep(world.nat, 10));
	assert_int_equal(nat_stats(world.nat).live, 0);
	nat_dump_begins(world.nat); /* but the next dump may have it again */
	nat_dumped(world.nat, &entry, 20, 21);
	assert_true(sweep(world.nat, 20));
	assert_int_equal(nat_stats(world.nat).live, 1);
	assert_int_equal(nat_stats(world.nat).found, 1);
	nat_free(world.nat);
}

static void an_event_is_newer_than_the_dump_that_began_before_it(void **state)
{
	static struct world world;
	(void)state;
	begin(&world, 8);
	struct conntrack_entry dumped = entry_of(1, 0, 5), now = dumped;
	now.reply.source_port = 9090;
	nat_dump_begins(world.nat);
	nat_put(world.nat, &now, 11);
	nat_dumped(world.nat, &dumped, 10, 12);
	sweep(world.nat, 10);
	assert_int_equal(world.count, 1);
	assert_int_equal(world.told[0].reply.source_port, 9090);
	nat_free(world.nat);
}

static void more_ends_than_can_be_remembered_ask_for_another_dump(void **state)
{
	static struct world world;
	(void)state;
	begin(&world, 16);
	nat_dump_begins(world.nat);
	for (uint16_t port = 0; port < 17; port++) {
		struct conntrack_entry end = entry_of(1, 0, port);
		end.ended = true;
		nat_put(world.nat, &end, 1);
	}
	assert_false(sweep(world.nat, 0));
	nat_dump_begins(world.nat);
	assert_true(sweep(world.nat, 0));
	nat_free(world.nat);
}

static bool is_two(void *context, uint32_t netns)
{
	(void)context;
	return netns == 2;
}

static void entries_of_a_namespace_that_is_gone_end(void **state)
{
	static struct world world;
	(void)state;
	begin(&world, 8);
	for (uint32_t netns = 1; netns < 4; netns++) {
		struct conntrack_entry entry = entry_of(netns, 0, 5);
		nat_put(world.nat, &entry, 1);
	}
	nat_forget(world.nat, is_two, NULL);
	assert_int_equal(nat_stats(world.nat).live, 2);
	assert_int_equal(world.told[3].netns, 2);
	assert_true(world.told[3].ended);
	nat_free(world.nat);
}

/* An event: some entry begins, or ends. */
static void change(struct world *world, bool truth[64], uint64_t *seed, uint64_t now)
{
	*seed = hash_mix(*seed + 1);
	uint16_t port = *seed % 64;
	struct conntrack_entry entry = entry_of(1, 0, port);
	truth[port] = !truth[port];
	entry.ended = !truth[port];
	nat_put(world->nat, &entry, now);
}

/* Seeded: entries come, go and are dumped; events are lost at random and a dump that begins after
 * the last loss leaves the table as the truth is. */
static void a_dump_after_losses_leaves_the_truth(void **state)
{
	static struct world world;
	(void)state;
	uint64_t seed = 3;
	for (int round = 0; round < 200; round++) {
		begin(&world, 256);
		bool truth[64] = {false};
		uint64_t now = 1;
		for (int step = 0; step < 200; step++, now++) {
			seed = hash_mix(seed + 1);
			uint16_t port = seed % 64;
			struct conntrack_entry entry = entry_of(1, 0, port);
			truth[port] = !truth[port];
			entry.ended = !truth[port];
			if (seed >> 32 & 1)
				nat_put(world.nat, &entry, now);
		}
		uint64_t began = now++;
		nat_dump_begins(world.nat);
		bool read[64];
		memcpy(read, truth, sizeof(read)); /* what the dump reads */
		for (int step = 0; step < 25; step++, now++)
			change(&world, truth, &seed, now);
		for (uint16_t port = 0; port < 64; port++) { /* taken and swept among events */
			struct conntrack_entry entry = entry_of(1, 0, port);
			if (read[port])
				nat_dumped(world.nat, &entry, began, now++);
			if (port % 3 == 0)
				change(&world, truth, &seed, now++);
		}
		while (nat_sweep(world.nat, 3, began, all, NULL))
			change(&world, truth, &seed, now++);
		assert_true(nat_dump_ends(world.nat));
		bool told[64] = {false};
		for (size_t i = 0; i < world.count; i++)
			told[world.told[i].original.source_port] = !world.told[i].ended;
		assert_memory_equal(told, truth, sizeof(truth));
		nat_free(world.nat);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_tuple_in_two_zones_is_two_entries),
		cmocka_unit_test(a_mark_that_changes_is_told_again),
		cmocka_unit_test(what_ended_while_a_dump_ran_does_not_come_back_with_it),
		cmocka_unit_test(an_event_is_newer_than_the_dump_that_began_before_it),
		cmocka_unit_test(more_ends_than_can_be_remembered_ask_for_another_dump),
		cmocka_unit_test(entries_of_a_namespace_that_is_gone_end),
		cmocka_unit_test(a_dump_after_losses_leaves_the_truth),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
