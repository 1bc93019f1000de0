#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/conntrack.h"
#include "agent/nat.h"
#include "base/hash.h"

/* A NEW of TCP 10.77.1.2:43444 > 10.96.0.10:80, reply 10.77.2.2:8080 > 10.77.1.2:43444, as
 * Linux 6.18 sent it (the attributes behind CTA_STATUS left out). */
static const uint8_t new_dnat[] = {
	0x84,
	0,
	0,
	0,
	0,
	1,
	0,
	6,
	0,
	0,
	0,
	0,
	0,
	0,
	0,
	0,
	2,
	0,
	0,
	0,
	/* CTA_TUPLE_ORIG { CTA_TUPLE_IP, CTA_TUPLE_PROTO } */
	0x34,
	0,
	1,
	0x80,
	0x14,
	0,
	1,
	0x80,
	8,
	0,
	1,
	0,
	10,
	77,
	1,
	2,
	8,
	0,
	2,
	0,
	10,
	96,
	0,
	10,
	0x1c,
	0,
	2,
	0x80,
	5,
	0,
	1,
	0,
	6,
	0,
	0,
	0,
	6,
	0,
	2,
	0,
	0xa9,
	0xb4,
	0,
	0,
	6,
	0,
	3,
	0,
	0,
	80,
	0,
	0,
	/* CTA_TUPLE_REPLY */
	0x34,
	0,
	2,
	0x80,
	0x14,
	0,
	1,
	0x80,
	8,
	0,
	1,
	0,
	10,
	77,
	2,
	2,
	8,
	0,
	2,
	0,
	10,
	77,
	1,
	2,
	0x1c,
	0,
	2,
	0x80,
	5,
	0,
	1,
	0,
	6,
	0,
	0,
	0,
	6,
	0,
	2,
	0,
	0x1f,
	0x90,
	0,
	0,
	6,
	0,
	3,
	0,
	0xa9,
	0xb4,
	0,
	0,
	/* CTA_STATUS: confirmed, DST_NAT, both NAT done */
	8,
	0,
	3,
	0,
	0,
	0,
	0x01,
	0xa8,
};

enum { STATUS_AT = sizeof(new_dnat) - 4 };

/* The message with attributes more, behind CTA_STATUS. */
static size_t with_more(uint8_t *bytes, const uint8_t *more, size_t length)
{
	memcpy(bytes, new_dnat, sizeof(new_dnat));
	memcpy(bytes + sizeof(new_dnat), more, length);
	uint32_t whole = (uint32_t)(sizeof(new_dnat) + length);
	memcpy(bytes, &whole, sizeof(whole));
	return whole;
}

static enum conntrack_result read_one(const uint8_t *bytes, size_t length,
				      struct conntrack_entry *entry)
{
	int error = 0;
	return conntrack_next(&bytes, &length, entry, &error);
}

static void a_new_entry_with_nat_comes_out(void **state)
{
	(void)state;
	struct conntrack_entry entry;
	assert_int_equal(sizeof(new_dnat), 0x84);
	assert_int_equal(read_one(new_dnat, sizeof(new_dnat), &entry), CONNTRACK_ENTRY);
	char text[ADDRESS_TEXT_MAX];
	address_format(&entry.original.destination, text);
	assert_string_equal(text, "10.96.0.10");
	address_format(&entry.reply.source, text);
	assert_string_equal(text, "10.77.2.2");
	assert_int_equal(entry.original.source_port, 43444);
	assert_int_equal(entry.original.destination_port, 80);
	assert_int_equal(entry.reply.source_port, 8080);
	assert_int_equal(entry.protocol, 6);
	assert_false(entry.ended);
}

static void a_zone_and_a_mark_are_read(void **state)
{
	(void)state;
	/* CTA_MARK 0x2a, CTA_ZONE 11 */
	static const uint8_t more[] = {8, 0, 8, 0, 0, 0, 0, 0x2a, 6, 0, 18, 0, 0, 11, 0, 0};
	uint8_t bytes[sizeof(new_dnat) + sizeof(more)];
	struct conntrack_entry entry;
	size_t length = with_more(bytes, more, sizeof(more));
	assert_int_equal(read_one(bytes, length, &entry), CONNTRACK_ENTRY);
	assert_int_equal(entry.zone, 11);
	assert_int_equal(entry.mark, 0x2a);
	assert_int_equal(read_one(new_dnat, sizeof(new_dnat), &entry), CONNTRACK_ENTRY);
	assert_int_equal(entry.zone, 0);
	assert_int_equal(entry.mark, 0);
}

/* `CT --zone-orig 11` puts it into the original tuple, `--zone-reply` into the other. */
static void a_zone_of_one_direction_counts_if_it_is_the_original(void **state)
{
	(void)state;
	enum { ORIGINAL_AT = 20, REPLY_AT = 72, TUPLE_BYTES = 0x34, ZONE_BYTES = 8 };
	static const uint8_t zone[ZONE_BYTES] = {6, 0, 3, 0, 0, 11, 0, 0};
	for (int reply = 0; reply < 2; reply++) {
		uint8_t bytes[sizeof(new_dnat) + ZONE_BYTES];
		size_t at = reply ? REPLY_AT : ORIGINAL_AT, behind = at + TUPLE_BYTES;
		memcpy(bytes, new_dnat, behind);
		memcpy(bytes + behind, zone, ZONE_BYTES);
		memcpy(bytes + behind + ZONE_BYTES, new_dnat + behind, sizeof(new_dnat) - behind);
		bytes[0] = sizeof(bytes);
		bytes[at] = TUPLE_BYTES + ZONE_BYTES;
		struct conntrack_entry entry;
		assert_int_equal(read_one(bytes, sizeof(bytes), &entry), CONNTRACK_ENTRY);
		assert_int_equal(entry.zone, reply ? 0 : 11);
		assert_int_equal(entry.original.source_port, 43444);
		assert_int_equal(entry.reply.source_port, 8080);
	}
}

static void a_destroy_ends(void **state)
{
	(void)state;
	uint8_t bytes[sizeof(new_dnat)];
	struct conntrack_entry entry;
	memcpy(bytes, new_dnat, sizeof(bytes));
	bytes[4] = 2;
	assert_int_equal(read_one(bytes, sizeof(bytes), &entry), CONNTRACK_ENTRY);
	assert_true(entry.ended);
}

static void without_nat_or_with_another_protocol_nothing_comes_out(void **state)
{
	(void)state;
	uint8_t bytes[sizeof(new_dnat)];
	struct conntrack_entry entry;
	memcpy(bytes, new_dnat, sizeof(bytes));
	bytes[STATUS_AT + 3] = 0x08;
	assert_int_equal(read_one(bytes, sizeof(bytes), &entry), CONNTRACK_OTHER);
	memcpy(bytes, new_dnat, sizeof(bytes));
	bytes[52] = bytes[104] = 132; /* SCTP in both tuples */
	assert_int_equal(read_one(bytes, sizeof(bytes), &entry), CONNTRACK_OTHER);
}

static void a_dump_ends_and_an_error_is_told(void **state)
{
	(void)state;
	struct conntrack_entry entry;
	int error = 0;
	uint8_t done[20] = {20, 0, 0, 0, 3, 0}, refused[36] = {36, 0, 0, 0, 2, 0};
	const uint8_t *bytes = done;
	size_t length = sizeof(done);
	assert_int_equal(conntrack_next(&bytes, &length, &entry, &error), CONNTRACK_DONE);
	int32_t permission = -1;
	memcpy(refused + 16, &permission, sizeof(permission));
	bytes = refused;
	length = sizeof(refused);
	assert_int_equal(conntrack_next(&bytes, &length, &entry, &error), CONNTRACK_ERROR);
	assert_int_equal(error, -1);
}

/* Seeded: every message with any byte changed, and every cut of it, is read to an end within its
 * bytes (ASan) and takes at least a header each step. */
static void hostile_bytes_are_read_to_an_end(void **state)
{
	(void)state;
	uint64_t seed = 7;
	for (int round = 0; round < 50000; round++) {
		seed = hash_mix(seed + 1);
		size_t length =
			seed % 4 == 0 ? (seed >> 8) % (sizeof(new_dnat) + 1) : sizeof(new_dnat);
		uint8_t *copy = test_malloc(length + 1);
		memcpy(copy, new_dnat, length);
		for (uint64_t changes = seed >> 60; changes && length; changes--) {
			seed = hash_mix(seed + 1);
			copy[seed % length] = (uint8_t)(seed >> 32);
		}
		uint8_t *exact = test_malloc(length ? length : 1);
		memcpy(exact, copy, length);
		const uint8_t *at = exact;
		size_t left = length;
		struct conntrack_entry entry;
		int error;
		while (left) {
			size_t before = left;
			if (conntrack_next(&at, &left, &entry, &error) == CONNTRACK_BAD)
				break;
			assert_true(before - left >= 16 && at + left == exact + length);
		}
		test_free(exact);
		test_free(copy);
	}
}

struct told {
	unsigned begun, ended;
};

static void count(void *context, const struct conntrack_entry *entry)
{
	struct told *told = context;
	if (entry->ended)
		told->ended++;
	else
		told->begun++;
}

static bool everywhere(void *context, uint32_t netns)
{
	(void)context;
	return netns != 9;
}

static struct conntrack_entry entry_of(uint32_t netns, uint16_t port)
{
	struct conntrack_entry entry;
	assert_int_equal(read_one(new_dnat, sizeof(new_dnat), &entry), CONNTRACK_ENTRY);
	entry.netns = netns;
	entry.original.source_port = port;
	return entry;
}

static void an_entry_is_told_once_and_swept_when_no_dump_has_it(void **state)
{
	(void)state;
	struct told told = {0};
	struct nat *nat =
		nat_new(&(struct nat_options){.entries_max = 8, .told = count, .context = &told});
	struct conntrack_entry a = entry_of(1, 1), b = entry_of(1, 2), elsewhere = entry_of(9, 1);
	nat_put(nat, &a, 10);
	nat_put(nat, &a, 11);
	nat_put(nat, &b, 10);
	nat_put(nat, &elsewhere, 10);
	assert_int_equal(told.begun, 3);
	nat_put(nat, &a, 21); /* a dump that began at 20 has only a */
	assert_false(nat_sweep(nat, UINT32_MAX, 20, everywhere, NULL));
	assert_true(nat_dump_ends(nat));
	assert_int_equal(told.ended, 1);
	assert_int_equal(nat_stats(nat).live, 2);
	a.ended = true;
	nat_put(nat, &a, 30);
	nat_put(nat, &a, 31);
	assert_int_equal(told.ended, 2);
	nat_free(nat);
}

static void a_tuple_that_leads_elsewhere_now_ends_first(void **state)
{
	(void)state;
	struct told told = {0};
	struct nat *nat =
		nat_new(&(struct nat_options){.entries_max = 8, .told = count, .context = &told});
	struct conntrack_entry a = entry_of(1, 1);
	nat_put(nat, &a, 10);
	a.reply.source_port = 9090;
	nat_put(nat, &a, 11);
	assert_int_equal(told.begun, 2);
	assert_int_equal(told.ended, 1);
	nat_free(nat);
}

static void key_frames_tell_each_entry_once_a_cycle(void **state)
{
	(void)state;
	struct told told = {0};
	struct nat *nat =
		nat_new(&(struct nat_options){.entries_max = 100, .told = count, .context = &told});
	for (uint16_t port = 0; port < 100; port++) {
		struct conntrack_entry entry = entry_of(1, port);
		nat_put(nat, &entry, 1);
	}
	struct conntrack_entry beyond = entry_of(1, 100);
	nat_put(nat, &beyond, 1);
	assert_int_equal(nat_stats(nat).refused, 1);
	told.begun = 0;
	for (int tick = 0; tick < 450; tick++)
		nat_again(nat, 450);
	assert_int_equal(told.begun, 100);
	nat_free(nat);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_entry_with_nat_comes_out),
		cmocka_unit_test(a_zone_and_a_mark_are_read),
		cmocka_unit_test(a_zone_of_one_direction_counts_if_it_is_the_original),
		cmocka_unit_test(a_destroy_ends),
		cmocka_unit_test(without_nat_or_with_another_protocol_nothing_comes_out),
		cmocka_unit_test(a_dump_ends_and_an_error_is_told),
		cmocka_unit_test(hostile_bytes_are_read_to_an_end),
		cmocka_unit_test(an_entry_is_told_once_and_swept_when_no_dump_has_it),
		cmocka_unit_test(a_tuple_that_leads_elsewhere_now_ends_first),
		cmocka_unit_test(key_frames_tell_each_entry_once_a_cycle),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
