#include "metadata/census.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"

#define SECOND NS_PER_S
#define NOW    (1000 * SECOND)

static struct address at(uint32_t low)
{
	return address_v4(0x0a000000 + low);
}

/* until 0: it still holds. workload tells facts apart. */
static struct fact fact_of(enum fact_kind kind, uint64_t object, uint64_t id, uint64_t from_ns,
			   uint64_t until_ns)
{
	return (struct fact){
		.id = id,
		.object = object,
		.from_ns = from_ns,
		.until_ns = until_ns ? until_ns : UINT64_MAX,
		.observed_ns = 1,
		.workload = id,
		.kind = (uint8_t)kind,
		.prefix = 128,
		.addresses_count = 1,
	};
}

static void take(struct census *census, struct fact fact, struct address address)
{
	census_take(census, &fact, &address, NOW);
}

static void expect_one(const struct census *census, struct address address, uint64_t time_ns,
		       uint64_t id)
{
	const struct fact *fact;
	assert_int_equal(census_address(census, &address, time_ns, &fact), CENSUS_ONE);
	assert_int_equal(fact->id, id);
}

static void expect(const struct census *census, struct address address, uint64_t time_ns,
		   enum census_answer answer)
{
	const struct fact *fact;
	assert_int_equal(census_address(census, &address, time_ns, &fact), answer);
	assert_null(fact);
}

static void an_address_is_whose_it_was_when_the_flow_began(void **state)
{
	(void)state;
	struct census *census = census_new(16);
	take(census, fact_of(FACT_POD, 1, 101, 900 * SECOND, 950 * SECOND), at(5));
	take(census, fact_of(FACT_POD, 2, 102, 960 * SECOND, 0), at(5));
	expect_one(census, at(5), 900 * SECOND, 101);
	expect_one(census, at(5), 949 * SECOND, 101);
	expect_one(census, at(5), 960 * SECOND, 102);
	expect_one(census, at(5), 5000 * SECOND, 102);
	expect(census, at(6), 940 * SECOND, CENSUS_NONE);
	census_free(census);
}

static void between_two_holders_or_under_both_it_is_ambiguous(void **state)
{
	(void)state;
	struct census *census = census_new(16);
	take(census, fact_of(FACT_POD, 1, 101, 900 * SECOND, 950 * SECOND), at(5));
	take(census, fact_of(FACT_POD, 2, 102, 960 * SECOND, 980 * SECOND), at(5));
	take(census, fact_of(FACT_POD, 3, 103, 970 * SECOND, 0), at(5));
	expect(census, at(5), 899 * SECOND, CENSUS_AMBIGUOUS);
	expect(census, at(5), 955 * SECOND, CENSUS_AMBIGUOUS);
	expect_one(census, at(5), 965 * SECOND, 102);
	expect(census, at(5), 975 * SECOND, CENSUS_AMBIGUOUS);
	expect_one(census, at(5), 985 * SECOND, 103);
	census_free(census);
}

static void within_the_clocks_slack_of_a_change_of_hands_nobody_is_guessed(void **state)
{
	(void)state;
	struct census *census = census_new(16);
	take(census, fact_of(FACT_POD, 1, 101, 900 * SECOND, 950 * SECOND), at(5));
	expect_one(census, at(5), 900 * SECOND - CENSUS_SLACK_NS, 101);
	expect(census, at(5), 900 * SECOND - CENSUS_SLACK_NS - 1, CENSUS_AMBIGUOUS);
	expect_one(census, at(5), 950 * SECOND + CENSUS_SLACK_NS - 1, 101);
	expect(census, at(5), 950 * SECOND + CENSUS_SLACK_NS, CENSUS_AMBIGUOUS);
	take(census, fact_of(FACT_POD, 2, 102, 950 * SECOND, 0), at(5));
	expect_one(census, at(5), 950 * SECOND - CENSUS_SLACK_NS - 1, 101);
	expect(census, at(5), 950 * SECOND - CENSUS_SLACK_NS, CENSUS_AMBIGUOUS);
	expect(census, at(5), 950 * SECOND + CENSUS_SLACK_NS - 1, CENSUS_AMBIGUOUS);
	expect_one(census, at(5), 950 * SECOND + CENSUS_SLACK_NS, 102);
	census_free(census);
}

static void records_of_one_object_do_not_rival_each_other(void **state)
{
	(void)state;
	struct census *census = census_new(16);
	take(census, fact_of(FACT_POD, 1, 108, 900 * SECOND, 950 * SECOND), at(5));
	take(census, fact_of(FACT_POD, 1, 102, 950 * SECOND, 0), at(5));
	expect_one(census, at(5), 950 * SECOND - 1, 108);
	expect_one(census, at(5), 950 * SECOND, 102);
	assert_int_equal(census_pod(census, 1)->id, 102);
	take(census, fact_of(FACT_POD, 1, 108, 900 * SECOND, 950 * SECOND), at(5));
	assert_int_equal(census_pod(census, 1)->id, 102);
	census_free(census);
}

static void pods_come_before_nodes_before_services_before_ranges(void **state)
{
	(void)state;
	struct census *census = census_new(16);
	take(census, fact_of(FACT_RANGE, 4, 104, 900 * SECOND, 0), at(5));
	expect_one(census, at(5), NOW, 104);
	take(census, fact_of(FACT_SERVICE, 3, 103, 900 * SECOND, 0), at(5));
	expect_one(census, at(5), NOW, 103);
	take(census, fact_of(FACT_NODE, 2, 102, 900 * SECOND, 0), at(5));
	expect_one(census, at(5), NOW, 102);
	take(census, fact_of(FACT_POD, 1, 101, 900 * SECOND, 0), at(5));
	expect_one(census, at(5), NOW, 101);
	assert_int_equal(census_node(census, 2)->id, 102);
	assert_null(census_node(census, 1));
	assert_null(census_pod(census, 0));
	census_free(census);
}

static void a_range_is_no_cluster(void **state)
{
	static const enum fact_kind kinds[] = {FACT_POD, FACT_NODE, FACT_SERVICE};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct census *census = census_new(16);
		take(census, fact_of(FACT_RANGE, 4, 104, 900 * SECOND, 0), at(5));
		assert_false(census_has_cluster(census));
		take(census, fact_of(kinds[i], 1, 101, 900 * SECOND, 0), at(6));
		assert_true(census_has_cluster(census));
		for (int pane = 0; pane < 64; pane++)
			census_advance(census, NOW + 2 * CENSUS_KEEP_NS);
		assert_false(census_has_cluster(census));
		take(census, fact_of(FACT_RANGE, 4, 104, 900 * SECOND, 0), at(5));
		assert_false(census_has_cluster(census));
		census_free(census);
	}
}

static void take_range(struct census *census, uint64_t id, uint32_t address, uint8_t prefix)
{
	struct fact fact = fact_of(FACT_RANGE, id, id, 900 * SECOND, 0);
	fact.prefix = (uint8_t)(96 + prefix);
	take(census, fact, at(address));
}

static void of_ranges_the_longest_prefix_answers(void **state)
{
	(void)state;
	struct census *census = census_new(16);
	take_range(census, 1, 0x000000, 8);
	take_range(census, 2, 0x010000, 16);
	take_range(census, 3, 0x010200, 24);
	take_range(census, 4, 0x010203, 32);
	expect_one(census, at(0x010203), NOW, 4);
	expect_one(census, at(0x010204), NOW, 3);
	expect_one(census, at(0x010304), NOW, 2);
	expect_one(census, at(0x020304), NOW, 1);
	expect(census, address_v4(0x0b000000), NOW, CENSUS_NONE);
	take_range(census, 5, 0x010200, 24);
	expect(census, at(0x010204), NOW, CENSUS_AMBIGUOUS);
	expect(census, at(0x010203), 800 * SECOND, CENSUS_NONE);
	census_free(census);
}

static void a_newer_telling_takes_the_place_of_an_older_one(void **state)
{
	(void)state;
	struct census *census = census_new(16);
	struct fact fact = fact_of(FACT_POD, 1, 101, 900 * SECOND, 0);
	take(census, fact, at(5));
	fact.observed_ns = 2;
	take(census, fact, at(6));
	expect(census, at(5), NOW, CENSUS_NONE);
	expect_one(census, at(6), NOW, 101);
	fact.observed_ns = 1;
	take(census, fact, at(5));
	expect_one(census, at(6), NOW, 101);
	assert_int_equal(census_stats(census).outdated, 1);
	assert_int_equal(census_stats(census).facts, 1);
	assert_int_equal(census_stats(census).addresses, 1);
	census_free(census);
}

static void advance(struct census *census, uint64_t now_ns)
{
	for (int pane = 0; pane < 64; pane++)
		census_advance(census, now_ns);
}

static void what_ended_stays_for_late_flows_and_then_leaves(void **state)
{
	(void)state;
	struct census *census = census_new(16);
	uint64_t ended = NOW - 10 * SECOND;
	take(census, fact_of(FACT_POD, 1, 101, 900 * SECOND, ended), at(5));
	advance(census, ended + CENSUS_LATE_NS - 1);
	expect_one(census, at(5), ended - SECOND, 101);
	advance(census, ended + CENSUS_LATE_NS);
	expect(census, at(5), ended - SECOND, CENSUS_NONE);
	assert_int_equal(census_stats(census).expired, 0);
	/* told so late, it makes what stood there end, and does not come back */
	take(census, fact_of(FACT_POD, 2, 102, 800 * SECOND, 0), at(6));
	take(census, fact_of(FACT_POD, 2, 102, 800 * SECOND, NOW - CENSUS_LATE_NS), at(6));
	expect(census, at(6), NOW, CENSUS_NONE);
	assert_null(census_pod(census, 2));
	assert_int_equal(census_stats(census).facts, 0);
	census_free(census);
}

static void what_is_not_told_again_is_not_believed(void **state)
{
	(void)state;
	struct census *census = census_new(16);
	struct fact fact = fact_of(FACT_POD, 1, 101, 900 * SECOND, 0);
	const struct address address = at(5);
	take(census, fact, address);
	advance(census, NOW + CENSUS_KEEP_NS - 1);
	census_take(census, &fact, &address, NOW + 100 * SECOND);
	advance(census, NOW + CENSUS_KEEP_NS);
	expect_one(census, at(5), NOW, 101);
	advance(census, NOW + 100 * SECOND + CENSUS_KEEP_NS);
	expect(census, at(5), NOW, CENSUS_NONE);
	assert_int_equal(census_stats(census).expired, 1);
	census_free(census);
}

static void a_full_book_refuses_newcomers_until_there_is_room(void **state)
{
	(void)state;
	struct census *census = census_new(4);
	for (uint64_t id = 1; id <= 5; id++)
		take(census, fact_of(FACT_POD, id, id, 900 * SECOND, 0), at((uint32_t)id));
	expect_one(census, at(4), NOW, 4);
	expect(census, at(5), NOW, CENSUS_NONE);
	assert_int_equal(census_stats(census).refused, 1);
	struct fact ended = fact_of(FACT_POD, 2, 2, 800 * SECOND, NOW - CENSUS_LATE_NS);
	take(census, ended, at(2));
	take(census, fact_of(FACT_POD, 5, 5, 900 * SECOND, 0), at(5));
	expect_one(census, at(5), NOW, 5);
	/* four times as many addresses as facts, for all together */
	struct address many[14];
	struct fact wide = fact_of(FACT_SERVICE, 1, 1, 900 * SECOND, 0);
	for (uint32_t i = 0; i < 14; i++)
		many[i] = at(11 + i);
	wide.addresses_count = 14;
	census_take(census, &wide, many, NOW);
	expect(census, at(11), NOW, CENSUS_NONE);
	wide.addresses_count = 13;
	census_take(census, &wide, many, NOW);
	expect_one(census, at(11), NOW, 1);
	assert_int_equal(census_stats(census).addresses, 16);
	census_free(census);
}

static void one_address_has_so_many_holders_and_no_more(void **state)
{
	(void)state;
	enum { PLACES_MAX = 1024 };
	struct census *census = census_new(2 * PLACES_MAX);
	for (uint64_t i = 0; i <= PLACES_MAX; i++)
		take(census,
		     fact_of(FACT_POD, i + 1, i + 1, 900 * SECOND + i * NS_PER_S / 20,
			     900 * SECOND + (i + 1) * NS_PER_S / 20),
		     at(5));
	assert_int_equal(census_stats(census).addresses, PLACES_MAX);
	assert_int_equal(census_stats(census).refused, 1);
	expect_one(census, at(5), 900 * SECOND + NS_PER_S / 40, 1);
	advance(census, NOW + CENSUS_KEEP_NS);
	advance(census, NOW + CENSUS_KEEP_NS);
	assert_int_equal(census_stats(census).addresses, 0);
	expect(census, at(5), NOW, CENSUS_NONE);
	census_free(census);
}

static void changes_name_what_is_to_be_asked_again(void **state)
{
	(void)state;
	struct census *census = census_new(16);
	size_t count;
	struct fact fact = fact_of(FACT_POD, 1, 101, 900 * SECOND, 0);
	take(census, fact, at(5));
	const struct census_change *changes = census_changes(census, &count);
	assert_int_equal(count, 2);
	assert_int_equal(changes[0].object, 1);
	assert_int_equal(changes[0].prefix, UINT8_MAX);
	const struct address fifth = at(5);
	assert_true(address_equal(&changes[1].address, &fifth));
	assert_int_equal(changes[1].prefix, 128);
	census_settle(census);
	fact.observed_ns = 7;
	take(census, fact, at(5)); /* told again */
	census_changes(census, &count);
	assert_int_equal(count, 0);
	fact.until_ns = NOW;
	take(census, fact, at(6)); /* before and after */
	census_changes(census, &count);
	assert_int_equal(count, 4);
	census_free(census);
}

/* ---- against the obvious ---- */

enum { STEPS = 4000, IDS = 40, OBJECTS = 12, ADDRESSES = 6, SEEDS = 8 };

struct telling {
	struct fact fact; /* id 0: none */
	struct address address;
	uint64_t told_ns;
};

struct model {
	struct telling tellings[IDS + 1];
	uint64_t random;
};

static uint64_t below(struct model *model, uint64_t bound)
{
	model->random += 0x9e3779b97f4a7c15ULL;
	return hash_mix(model->random) % bound;
}

static bool has_prefix(const struct address *address, const struct address *of, unsigned prefix)
{
	for (unsigned bit = 0; bit < prefix; bit++)
		if ((address->bytes[bit / 8] ^ of->bytes[bit / 8]) >> (7 - bit % 8) & 1)
			return false;
	return true;
}

static bool near(const struct fact *fact, uint64_t time_ns)
{
	return time_ns + CENSUS_SLACK_NS >= fact->from_ns &&
	       (fact->until_ns == UINT64_MAX || time_ns < fact->until_ns + CENSUS_SLACK_NS);
}

/* The id of the one who held; 0: ambiguous; UINT64_MAX: nobody is known. Objects rival, ids of one
 * object may be any. */
static uint64_t model_object(const struct model *model, const struct address *address,
			     uint64_t time_ns)
{
	for (unsigned prefix = 129; prefix-- > 0;) {
		for (int kind = FACT_POD; kind <= FACT_RANGE; kind++) {
			uint64_t object = 0;
			for (int i = 1; i <= IDS; i++) {
				const struct telling *telling = &model->tellings[i];
				if (!telling->fact.id || telling->fact.kind != kind ||
				    telling->fact.prefix != prefix ||
				    !has_prefix(address, &telling->address, prefix) ||
				    !near(&telling->fact, time_ns))
					continue;
				if (object && object != telling->fact.object)
					return 0;
				object = telling->fact.object;
			}
			if (object)
				return object;
		}
		for (int i = 1; i <= IDS; i++) {
			const struct telling *telling = &model->tellings[i];
			if (telling->fact.id && telling->fact.kind != FACT_RANGE &&
			    telling->fact.prefix == prefix &&
			    has_prefix(address, &telling->address, prefix))
				return 0;
		}
	}
	return UINT64_MAX;
}

static void model_take(struct model *model, struct census *census, uint64_t now_ns)
{
	uint64_t id = 1 + below(model, IDS);
	struct telling *telling = &model->tellings[id];
	struct fact fact = fact_of(id % 10 ? FACT_POD : FACT_RANGE, 1 + id % OBJECTS, id,
				   now_ns - below(model, 40) * SECOND / 8, 0);
	struct address address = at((uint32_t)below(model, ADDRESSES));
	if (fact.kind == FACT_RANGE) {
		fact.object = id;
		fact.prefix = (uint8_t)(120 + below(model, 9));
		address.bytes[15] &= (uint8_t)(0xff00 >> (fact.prefix - 120));
	}
	if (below(model, 2))
		fact.until_ns = fact.from_ns + below(model, 40) * SECOND / 8;
	fact.observed_ns = now_ns - below(model, 2) * SECOND;
	census_take(census, &fact, &address, now_ns);
	if (telling->fact.id && fact.observed_ns < telling->fact.observed_ns)
		return;
	*telling = (struct telling){fact, address, now_ns};
}

/* Those that are over or not believed are let go by both. */
static void model_advance(struct model *model, struct census *census, uint64_t now_ns)
{
	advance(census, now_ns);
	for (int i = 1; i <= IDS; i++) {
		struct telling *telling = &model->tellings[i];
		if (telling->told_ns + CENSUS_KEEP_NS <= now_ns ||
		    (telling->fact.until_ns != UINT64_MAX &&
		     telling->fact.until_ns + CENSUS_LATE_NS <= now_ns))
			*telling = (struct telling){0};
	}
}

static void answers_are_those_of_a_list_looked_through(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct model model = {.random = seed};
		struct census *census = census_new(2 * IDS);
		uint64_t now_ns = NOW, answers[3] = {0};
		for (int step = 0; step < STEPS; step++) {
			now_ns += below(&model, 2) * SECOND;
			if (below(&model, 3) == 0)
				model_take(&model, census, now_ns);
			model_advance(&model, census, now_ns);
			struct address address = at((uint32_t)below(&model, ADDRESSES + 2));
			uint64_t time_ns = now_ns - below(&model, 80) * SECOND / 8;
			const struct fact *fact;
			enum census_answer answer =
				census_address(census, &address, time_ns, &fact);
			uint64_t object = answer == CENSUS_ONE	       ? fact->object
					  : answer == CENSUS_AMBIGUOUS ? 0
								       : UINT64_MAX;
			uint64_t wanted = model_object(&model, &address, time_ns);
			answers[answer]++;
			if (object != wanted)
				fail_msg("seed %lu, step %d: %lu, not %lu", seed, step, object,
					 wanted);
		}
		for (int i = 0; i < 3; i++)
			assert_true(answers[i] > STEPS / 50);
		census_free(census);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_is_whose_it_was_when_the_flow_began),
		cmocka_unit_test(between_two_holders_or_under_both_it_is_ambiguous),
		cmocka_unit_test(within_the_clocks_slack_of_a_change_of_hands_nobody_is_guessed),
		cmocka_unit_test(records_of_one_object_do_not_rival_each_other),
		cmocka_unit_test(pods_come_before_nodes_before_services_before_ranges),
		cmocka_unit_test(a_range_is_no_cluster),
		cmocka_unit_test(of_ranges_the_longest_prefix_answers),
		cmocka_unit_test(a_newer_telling_takes_the_place_of_an_older_one),
		cmocka_unit_test(what_ended_stays_for_late_flows_and_then_leaves),
		cmocka_unit_test(what_is_not_told_again_is_not_believed),
		cmocka_unit_test(a_full_book_refuses_newcomers_until_there_is_room),
		cmocka_unit_test(one_address_has_so_many_holders_and_no_more),
		cmocka_unit_test(changes_name_what_is_to_be_asked_again),
		cmocka_unit_test(answers_are_those_of_a_list_looked_through),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
