/* What the tests of the exchange share: messages of every kind with made-up content, and whether
 * two are the same. */
#pragma once

#include "aggregate/bucket.h"
#include "daemon/bundle.h"
#include "daemon/message.h"
#include "tests/aggregate/world.h"

static inline void fill(void *memory, size_t bytes, uint32_t seed)
{
	for (size_t i = 0; i < bytes; i++)
		((uint8_t *)memory)[i] = (uint8_t)(hash_mix(seed * 1000003ULL + i) >> 32);
}

static const struct name made_names[] = {
	{.id = 7, .bytes = "shop/cart", .length = 9},
	{.id = 8, .bytes = "", .length = 0},
	{.id = 9, .bytes = "eu-west-1", .length = 9},
};

/* Every array has another length. */
static inline struct message *made_halves(enum message_kind kind, uint32_t source, uint32_t task,
					  uint64_t pane)
{
	const struct name *names[] = {&made_names[0], &made_names[1], &made_names[2]};
	struct half_open opens[3];
	struct half_close closes[2];
	struct nat_alias aliases[4];
	struct server_place servers[1];
	struct instance instances[5];
	struct hearing hearings[6];
	struct fact facts[7];
	struct address fact_addresses[8];
	uint64_t rules[9];
	fill(opens, sizeof(opens), (uint32_t)pane);
	fill(closes, sizeof(closes), (uint32_t)pane + 1);
	fill(aliases, sizeof(aliases), (uint32_t)pane + 2);
	fill(servers, sizeof(servers), (uint32_t)pane + 3);
	fill(instances, sizeof(instances), (uint32_t)pane + 4);
	fill(hearings, sizeof(hearings), (uint32_t)pane + 5);
	fill(facts, sizeof(facts), (uint32_t)pane + 6);
	fill(fact_addresses, sizeof(fact_addresses), (uint32_t)pane + 7);
	fill(rules, sizeof(rules), (uint32_t)pane + 8);
	struct half_bucket bucket = {
		.opens = opens,
		.opens_count = 3,
		.closes = closes,
		.closes_count = 2,
		.aliases = aliases,
		.aliases_count = 4,
		.servers = servers,
		.servers_count = 1,
		.instances = instances,
		.instances_count = 5,
		.hearings = hearings,
		.hearings_count = 6,
		.facts = facts,
		.facts_count = 7,
		.fact_addresses = fact_addresses,
		.fact_addresses_count = 8,
		.rules = rules,
		.rules_words = 9,
	};
	struct message *message = message_halves(kind, source, task, pane, &bucket, names, 3);
	message->unfinished = kind == MESSAGE_HOPS && pane % 2;
	return message;
}

static inline struct message *made_labels(uint32_t source, uint32_t task, uint64_t pane)
{
	const struct name *names[] = {&made_names[2]};
	struct label labels[7];
	struct instance instances[2];
	fill(labels, sizeof(labels), (uint32_t)pane);
	fill(instances, sizeof(instances), (uint32_t)pane + 1);
	struct label_bucket bucket = {
		.labels = labels, .instances = instances, .instances_count = 2};
	for (size_t i = 0; i < ROUNDS_MAX; i++)
		bucket.round_ends[i] = i == 0 ? 0 : i == 1 ? 3 : 7;
	return message_labels(source, task, pane, &bucket, names, 1);
}

/* Records of every shape: compact, with more, wide, and amendments. */
static inline struct partial_bucket *made_rows(uint64_t pane)
{
	struct names *names = names_new(10000, 1);
	struct roster *roster = roster_new(10000, 1);
	struct partial *partial = partial_new(&(struct partial_options){
		.owners = 1, .lanes_max = 100, .names = names, .roster = roster});
	for (uint32_t i = 0; i < 12; i++) {
		struct link link = world_link(names, i % 5, i, 10 + i % 3, i / 2, pane);
		struct delta delta = {.place = link_place(&link, roster, partial, pane),
				      .flags = DELTA_FIRST_IN_PANE | (i % 2 ? DELTA_OPENED : 0),
				      .connect_us = i % 3 ? 0 : 100 + i,
				      .traffic = {.tx_bytes = i % 4 ? 10 : 1ULL << 40},
				      .time_ns = pane_start(pane) + i};
		struct amendment amendment = {.window_start_ns = pane_start(pane),
					      .before = delta.place,
					      .after = delta.place,
					      .sum = {.traffic = {.rx_bytes = 5, .tx_bytes = i}},
					      .opened = 1};
		partial_push(partial, &delta, 1);
		if (i % 4 == 1)
			partial_amend(partial, &amendment, 1);
	}
	struct partial_bucket *bucket = partial_take(partial, 0, pane);
	assert_true(bucket->record_count > 12 && bucket->lane_count && bucket->instance_count &&
		    bucket->name_count);
	partial_free(partial);
	roster_free(roster);
	names_free(names);
	return bucket;
}

static inline struct message *made_message(enum message_kind kind, uint32_t source, uint32_t task,
					   uint64_t pane)
{
	if (kind == MESSAGE_HALVES || kind == MESSAGE_HOPS)
		return made_halves(kind, source, task, pane);
	if (kind == MESSAGE_LABELS)
		return made_labels(source, task, pane);
	struct message *message = message_new(kind, source, task, pane);
	if (kind == MESSAGE_ROWS)
		message->rows = made_rows(pane);
	return message;
}

/* The bytes of a bundle with one message, which is taken; the caller frees them. */
static inline uint8_t *made_bundle(int64_t run, uint64_t number, struct message *message,
				   size_t *length)
{
	struct bundle bundle = {0};
	assert_true(bundle_put(&bundle, run, number, message));
	message_free(message);
	return bundle_take(&bundle, length);
}

static inline void expect_array(const void *a, size_t a_count, const void *b, size_t b_count,
				size_t size)
{
	assert_int_equal(a_count, b_count);
	assert_true((uintptr_t)a % 8 == 0);
	assert_memory_equal(a, b, a_count * size);
}

#define EXPECT_ARRAY(a, b, field)                                                    \
	expect_array((a)->field, (a)->field##_count, (b)->field, (b)->field##_count, \
		     sizeof(*(a)->field))

static inline void expect_halves(const struct half_bucket *a, const struct half_bucket *b)
{
	EXPECT_ARRAY(a, b, opens);
	EXPECT_ARRAY(a, b, closes);
	EXPECT_ARRAY(a, b, aliases);
	EXPECT_ARRAY(a, b, servers);
	EXPECT_ARRAY(a, b, instances);
	EXPECT_ARRAY(a, b, hearings);
}

static inline void expect_labels(const struct label_bucket *a, const struct label_bucket *b)
{
	for (size_t i = 0; i < ROUNDS_MAX; i++)
		assert_int_equal(a->round_ends[i], b->round_ends[i]);
	expect_array(a->labels, a->round_ends[ROUNDS_MAX - 1], b->labels,
		     b->round_ends[ROUNDS_MAX - 1], sizeof(*a->labels));
	EXPECT_ARRAY(a, b, instances);
}

static inline void expect_rows(const struct partial_bucket *a, const struct partial_bucket *b)
{
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->capacity, a->size);
	assert_int_equal(a->pane, b->pane);
	assert_int_equal(a->record_count, b->record_count);
	assert_memory_equal(a + 1, b + 1, a->size - sizeof(*a));
}

static inline void expect_message(const struct message *a, const struct message *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->source, b->source);
	assert_int_equal(a->task, b->task);
	assert_int_equal(a->pane, b->pane);
	assert_int_equal(a->names_count, b->names_count);
	for (size_t i = 0; i < a->names_count; i++) {
		assert_int_equal(a->names[i].id, b->names[i].id);
		assert_int_equal(a->names[i].length, b->names[i].length);
		assert_string_equal(a->names[i].bytes, b->names[i].bytes);
	}
	if (a->kind == MESSAGE_HALVES || a->kind == MESSAGE_HOPS) {
		assert_int_equal(a->unfinished, b->unfinished);
		expect_halves(&a->bucket, &b->bucket);
	} else if (a->kind == MESSAGE_LABELS) {
		expect_labels(&a->labelled, &b->labelled);
	} else if (a->kind == MESSAGE_ROWS) {
		expect_rows(a->rows, b->rows);
	}
}
