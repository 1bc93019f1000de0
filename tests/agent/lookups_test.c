#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/lookups.h"
#include "base/clock.h"
#include "base/memory.h"

enum { TOLD_MAX = 4096, SLOTS = 8 };
#define TIMEOUT_NS (5 * NS_PER_S)

struct told {
	struct lookup lookup;
	bool answered;
	uint64_t waited_ns;
};

struct world {
	struct lookups *lookups;
	struct told told[TOLD_MAX];
	size_t count;
};

static void on_told(void *context, const struct lookup *lookup, const struct dns_message *answer,
		    uint64_t ended_ns)
{
	struct world *world = context;
	assert_true(world->count < TOLD_MAX);
	world->told[world->count++] =
		(struct told){*lookup, answer != NULL, ended_ns - lookup->asked_ns};
}

static struct world *begin(uint32_t lookups_max)
{
	struct world *world = memory_zeroed(1, sizeof(*world));
	world->lookups = lookups_new(&(struct lookups_options){
		.lookups_max = lookups_max,
		.slots_max = SLOTS,
		.timeout_ns = TIMEOUT_NS,
		.told = on_told,
		.context = world,
	});
	return world;
}

static void end(struct world *world)
{
	lookups_free(world->lookups);
	free(world);
}

static struct dns_message message(uint16_t id, char name, bool response)
{
	return (struct dns_message){
		.id = id,
		.asked = true,
		.response = response,
		.type = DNS_A,
		.name = {.length = 3, .bytes = {1, (uint8_t)name, 0}},
	};
}

static void ask(struct world *world, uint32_t slot, uint16_t id, char name, uint64_t time_ns)
{
	struct dns_message query = message(id, name, false);
	lookups_push(world->lookups, slot, true, &query, time_ns);
}

static void answer(struct world *world, uint32_t slot, uint16_t id, char name, uint64_t time_ns)
{
	struct dns_message response = message(id, name, true);
	lookups_push(world->lookups, slot, false, &response, time_ns);
}

static void an_answer_ends_the_lookup_with_its_latency(void **state)
{
	(void)state;
	struct world *world = begin(4);
	ask(world, 3, 7, 'a', 1000);
	answer(world, 3, 7, 'a', 51000);
	assert_int_equal(world->count, 1);
	assert_true(world->told[0].answered);
	assert_int_equal(world->told[0].waited_ns, 50000);
	assert_int_equal(world->told[0].lookup.slot, 3);
	answer(world, 3, 7, 'a', 52000); /* again */
	assert_int_equal(world->count, 1);
	assert_int_equal(lookups_stats(world->lookups).unmatched, 1);
	assert_int_equal(lookups_stats(world->lookups).waiting, 0);
	end(world);
}

static void a_query_asked_again_is_one_lookup_from_the_first_time_on(void **state)
{
	(void)state;
	struct world *world = begin(4);
	ask(world, 0, 7, 'a', 1000);
	ask(world, 0, 7, 'a', 2000);
	answer(world, 0, 7, 'a', 4000);
	assert_int_equal(world->told[0].waited_ns, 3000);
	assert_int_equal(lookups_stats(world->lookups).repeated, 1);
	end(world);
}

static void the_same_id_for_another_question_is_another_lookup(void **state)
{
	(void)state;
	struct world *world = begin(4);
	ask(world, 0, 7, 'a', 1000);
	ask(world, 0, 7, 'b', 2000);
	ask(world, 1, 7, 'a', 2500); /* another socket */
	answer(world, 0, 7, 'b', 3000);
	answer(world, 0, 7, 'a', 4000);
	assert_int_equal(world->count, 2);
	assert_int_equal(world->told[0].lookup.name.bytes[1], 'b');
	assert_int_equal(world->told[0].waited_ns, 1000);
	assert_int_equal(world->told[1].waited_ns, 3000);
	ask(world, 0, 7, 'b', 5000); /* an id used again */
	answer(world, 0, 7, 'b', 5500);
	assert_int_equal(world->told[2].waited_ns, 500);
	assert_int_equal(lookups_stats(world->lookups).waiting, 1);
	end(world);
}

static void directions_are_apart(void **state)
{
	(void)state;
	struct world *world = begin(4);
	ask(world, 0, 7, 'a', 1000);
	struct dns_message response = message(7, 'a', true);
	lookups_push(world->lookups, 0, true, &response, 2000); /* ours, to their query */
	assert_int_equal(world->count, 0);
	answer(world, 0, 7, 'a', 3000);
	assert_int_equal(world->count, 1);
	end(world);
}

static void an_answer_without_a_question_is_the_oldest_ones(void **state)
{
	(void)state;
	struct world *world = begin(4);
	ask(world, 0, 7, 'a', 1000);
	ask(world, 0, 7, 'b', 2000);
	struct dns_message bare = {.id = 7, .response = true, .rcode = 1};
	lookups_push(world->lookups, 0, false, &bare, 3000);
	assert_int_equal(world->told[0].lookup.name.bytes[1], 'a');
	end(world);
}

static void silence_is_a_timeout_after_the_configured_time(void **state)
{
	(void)state;
	struct world *world = begin(4);
	ask(world, 0, 7, 'a', NS_PER_S);
	lookups_expire(world->lookups, NS_PER_S + TIMEOUT_NS - 1);
	assert_int_equal(world->count, 0);
	lookups_expire(world->lookups, NS_PER_S + TIMEOUT_NS);
	assert_int_equal(world->count, 1);
	assert_false(world->told[0].answered);
	assert_int_equal(world->told[0].waited_ns, TIMEOUT_NS);
	answer(world, 0, 7, 'a', NS_PER_S + TIMEOUT_NS + 1);
	assert_int_equal(lookups_stats(world->lookups).unmatched, 1);
	end(world);
}

static void who_closes_late_gave_up_and_who_closes_soon_had_no_need(void **state)
{
	(void)state;
	struct world *world = begin(4);
	ask(world, 0, 1, 'a', NS_PER_S);
	ask(world, 0, 2, 'b', 2 * NS_PER_S);
	ask(world, 1, 3, 'c', 2 * NS_PER_S);
	lookups_end(world->lookups, 0, 2 * NS_PER_S + 1000);
	assert_int_equal(world->count, 1);
	assert_false(world->told[0].answered);
	assert_int_equal(world->told[0].lookup.id, 1);
	assert_int_equal(lookups_stats(world->lookups).abandoned, 1);
	assert_int_equal(lookups_stats(world->lookups).waiting, 1);
	end(world);
}

static void a_full_table_loses_its_oldest_and_counts_it(void **state)
{
	(void)state;
	struct world *world = begin(3);
	for (uint16_t i = 0; i < 5; i++)
		ask(world, i, i, 'a', 1000 + i);
	assert_int_equal(lookups_stats(world->lookups).evicted, 2);
	for (uint16_t i = 0; i < 5; i++)
		answer(world, i, i, 'a', 2000);
	assert_int_equal(world->count, 3);
	assert_int_equal(lookups_stats(world->lookups).unmatched, 2);
	end(world);
}

/* One socket, one id, any number of names: what a message costs stays bounded. */
static void of_many_names_with_one_id_the_oldest_is_lost_and_counted(void **state)
{
	(void)state;
	enum { KEPT = 32, NAMES = 40 };
	struct world *world = begin(1024);
	ask(world, 1, 7, 'a', 999); /* another socket's */
	for (int i = 0; i < NAMES; i++)
		ask(world, 0, 7, (char)('0' + i), 1000 + (uint64_t)i);
	assert_int_equal(lookups_stats(world->lookups).waiting, 1 + KEPT);
	assert_int_equal(lookups_stats(world->lookups).evicted, NAMES - KEPT);
	for (int i = 0; i < NAMES; i++)
		answer(world, 0, 7, (char)('0' + i), 5000);
	assert_int_equal(world->count, KEPT);
	assert_int_equal(world->told[0].lookup.name.bytes[1], '0' + NAMES - KEPT);
	answer(world, 1, 7, 'a', 6000);
	assert_int_equal(world->count, KEPT + 1);
	end(world);
}

/* asked = told + repeated + abandoned + evicted + waiting, whatever happens. */
static void every_query_ends_in_one_place(void **state)
{
	(void)state;
	uint64_t seed = 20261121, asked = 0, now = NS_PER_S;
	struct world *world = begin(16);
	for (int step = 0; step < 4000; step++) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		uint32_t r = (uint32_t)(seed >> 33);
		now += r % 400 * NS_PER_MS / 4;
		uint32_t slot = r / 7 % SLOTS;
		uint16_t id = r / 64 % 8;
		char name = (char)('a' + r / 512 % 2);
		switch (r % 5) {
		case 0:
			lookups_end(world->lookups, slot, now);
			break;
		case 1:
			answer(world, slot, id, name, now);
			break;
		default:
			ask(world, slot, id, name, now);
			asked++;
		}
		struct lookups_stats stats = lookups_stats(world->lookups);
		assert_true(stats.waiting <= 16);
		assert_int_equal(stats.answered + stats.timeouts, world->count);
		assert_int_equal(asked, world->count + stats.repeated + stats.abandoned +
						stats.evicted + stats.waiting);
	}
	assert_true(lookups_stats(world->lookups).evicted > 0);
	assert_true(lookups_stats(world->lookups).abandoned > 0);
	assert_true(lookups_stats(world->lookups).answered > 0);
	assert_true(lookups_stats(world->lookups).timeouts > 0);
	end(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_ends_the_lookup_with_its_latency),
		cmocka_unit_test(a_query_asked_again_is_one_lookup_from_the_first_time_on),
		cmocka_unit_test(the_same_id_for_another_question_is_another_lookup),
		cmocka_unit_test(directions_are_apart),
		cmocka_unit_test(an_answer_without_a_question_is_the_oldest_ones),
		cmocka_unit_test(silence_is_a_timeout_after_the_configured_time),
		cmocka_unit_test(who_closes_late_gave_up_and_who_closes_soon_had_no_need),
		cmocka_unit_test(a_full_table_loses_its_oldest_and_counts_it),
		cmocka_unit_test(of_many_names_with_one_id_the_oldest_is_lost_and_counted),
		cmocka_unit_test(every_query_ends_in_one_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
