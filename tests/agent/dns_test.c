/* Messages written by hand, byte by byte, and the same ones cut and bent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/dns.h"

struct wire {
	uint8_t bytes[1024];
	size_t length;
};

static void put8(struct wire *wire, unsigned value)
{
	wire->bytes[wire->length++] = (uint8_t)value;
}

static void put16(struct wire *wire, unsigned value)
{
	put8(wire, value >> 8);
	put8(wire, value);
}

static void put32(struct wire *wire, uint32_t value)
{
	put16(wire, value >> 16);
	put16(wire, value & 0xffff);
}

static void put_name(struct wire *wire, const char *name)
{
	while (*name) {
		size_t size = strcspn(name, ".");
		put8(wire, (unsigned)size);
		memcpy(wire->bytes + wire->length, name, size);
		wire->length += size;
		name += size + (name[size] == '.');
	}
	put8(wire, 0);
}

enum {
	QUESTION = 12, /* where the name asked for is */
	ANY = 255
};

static struct wire begin(unsigned flags, unsigned answers, unsigned additional, const char *name,
			 unsigned type)
{
	struct wire wire = {.length = 0};
	put16(&wire, 0x1234);
	put16(&wire, flags);
	put16(&wire, 1);
	put16(&wire, answers);
	put16(&wire, 0);
	put16(&wire, additional);
	put_name(&wire, name);
	put16(&wire, type);
	put16(&wire, 1);
	return wire;
}

static void put_record(struct wire *wire, unsigned type, uint32_t ttl, unsigned data_length)
{
	put16(wire, type);
	put16(wire, 1);
	put32(wire, ttl);
	put16(wire, data_length);
}

static enum dns_verdict read_it(const struct wire *wire, struct dns_message *message)
{
	/* on the heap, so that a byte too far is seen */
	uint8_t *bytes = malloc(wire->length ? wire->length : 1);
	assert_non_null(bytes);
	memcpy(bytes, wire->bytes, wire->length);
	enum dns_verdict verdict = dns_parse(bytes, wire->length, message);
	free(bytes);
	return verdict;
}

static void assert_text(const struct dns_name *name, const char *wanted)
{
	char text[DNS_TEXT_BYTES];
	dns_name_format(name, text);
	assert_string_equal(text, wanted);
}

static void assert_answer(const struct batch_answer *answer, const char *address, uint32_t ttl_s)
{
	char text[ADDRESS_TEXT_MAX];
	address_format(&answer->address, text);
	assert_string_equal(text, address);
	assert_int_equal(answer->ttl_s, ttl_s);
}

static struct wire chain(void)
{
	struct wire wire = begin(0x8180, 4, 0, "www.Example.com", DNS_A);
	/* out of order: the last alias first */
	put_name(&wire, "edge.example.net");
	put_record(&wire, DNS_A, 300, 4);
	put32(&wire, 0xc0000201);
	put_name(&wire, "CDN.example.com");
	put_record(&wire, DNS_CNAME, 20, 18);
	put_name(&wire, "edge.example.net");
	put16(&wire, 0xc000 | QUESTION);
	put_record(&wire, DNS_CNAME, 60, 6);
	put8(&wire, 3);
	put8(&wire, 'c'), put8(&wire, 'd'), put8(&wire, 'n');
	put16(&wire, 0xc000 | (QUESTION + 4)); /* .Example.com */
	put_name(&wire, "other.example.net");  /* nobody's alias */
	put_record(&wire, DNS_A, 1, 4);
	put32(&wire, 0xc0000202);
	return wire;
}

static void a_query_says_what_it_asks(void **state)
{
	(void)state;
	struct wire wire = begin(0x0100, 0, 0, "Shop.Example.COM", DNS_AAAA);
	struct dns_message message;
	assert_int_equal(read_it(&wire, &message), DNS_READ);
	assert_false(message.response);
	assert_true(message.asked);
	assert_int_equal(message.id, 0x1234);
	assert_int_equal(message.type, DNS_AAAA);
	assert_text(&message.name, "shop.example.com");
}

static void an_address_comes_through_its_aliases_with_the_smallest_ttl(void **state)
{
	(void)state;
	struct wire wire = chain();
	struct dns_message message;
	assert_int_equal(read_it(&wire, &message), DNS_READ);
	assert_int_equal(message.answers_count, 1);
	assert_answer(&message.answers[0], "192.0.2.1", 20);
}

static void a_message_cut_anywhere_keeps_what_is_whole(void **state)
{
	(void)state;
	struct wire whole = chain();
	struct dns_message message;
	size_t question = QUESTION + 17 + 4;
	for (size_t length = 0; length < whole.length; length++) {
		struct wire cut = whole;
		cut.length = length;
		assert_int_equal(read_it(&cut, &message),
				 length < question ? DNS_MALFORMED : DNS_READ);
		if (length >= question)
			assert_false(message.damaged); /* cut is not malformed */
	}
}

static void addresses_of_both_families_are_told_up_to_the_bound(void **state)
{
	(void)state;
	struct wire wire = begin(0x8180, 20, 0, "a.b", ANY);
	for (uint32_t i = 0; i < 20; i++) {
		put16(&wire, 0xc000 | QUESTION);
		put_record(&wire, i % 2 ? DNS_A : DNS_AAAA, i == 2 ? 0x80000001 : 100 + i,
			   i % 2 ? 4 : 16);
		for (int k = i % 2 ? 3 : 0; k < 4; k++)
			put32(&wire, 0x20010db8);
	}
	struct dns_message message;
	assert_int_equal(read_it(&wire, &message), DNS_READ);
	assert_int_equal(message.answers_count, BATCH_ANSWERS_MAX);
	assert_answer(&message.answers[0], "2001:db8:2001:db8:2001:db8:2001:db8", 100);
	assert_answer(&message.answers[1], "32.1.13.184", 101);
	assert_int_equal(message.answers[2].ttl_s, 0); /* RFC 2181: the top bit is none */
}

static void the_response_code_has_its_extended_bits(void **state)
{
	(void)state;
	struct wire wire = begin(0x8100 | 3, 0, 1, "x.y", DNS_A);
	put8(&wire, 0);
	put16(&wire, DNS_OPT);
	put16(&wire, 1232);
	put32(&wire, 1 << 24); /* BADVERS is 16 */
	put16(&wire, 0);
	struct dns_message message;
	assert_int_equal(read_it(&wire, &message), DNS_READ);
	assert_int_equal(message.rcode, 16 + 3);
	wire.length -= 11; /* out of reach */
	assert_int_equal(read_it(&wire, &message), DNS_READ);
	assert_int_equal(message.rcode, 3);
}

static void truncation_is_seen(void **state)
{
	(void)state;
	struct wire wire = begin(0x8380, 0, 0, "x.y", DNS_A);
	struct dns_message message;
	assert_int_equal(read_it(&wire, &message), DNS_READ);
	assert_true(message.truncated);
}

static void a_response_without_a_question_has_its_code(void **state)
{
	(void)state;
	struct wire wire = begin(0x8185, 0, 0, "x.y", DNS_A);
	wire.bytes[5] = 0;
	wire.length = QUESTION;
	struct dns_message message;
	assert_int_equal(read_it(&wire, &message), DNS_READ);
	assert_false(message.asked);
	assert_int_equal(message.rcode, 5);
	wire.bytes[2] = 0x01; /* a query for nothing */
	assert_int_equal(read_it(&wire, &message), DNS_OTHER);
}

static void other_operations_are_no_lookups(void **state)
{
	(void)state;
	struct wire wire = begin(0x2800, 0, 0, "x.y", 6); /* UPDATE */
	struct dns_message message;
	assert_int_equal(read_it(&wire, &message), DNS_OTHER);
}

static void pointers_that_loop_or_lead_on_are_refused(void **state)
{
	(void)state;
	struct dns_message message;
	for (unsigned target = QUESTION; target < QUESTION + 6; target++) {
		struct wire wire = begin(0x0100, 0, 0, "", DNS_A);
		wire.length = QUESTION;
		put8(&wire, 1), put8(&wire, 'x');
		put16(&wire, 0xc000 | target);
		put32(&wire, 0x00010001);
		assert_int_equal(read_it(&wire, &message), DNS_MALFORMED);
	}
	/* an answer's name that points at itself, and two that point at each other */
	for (unsigned target = 0; target < 3; target += 2) {
		struct wire wire = begin(0x8180, 1, 0, "x.y", DNS_A);
		size_t at = wire.length;
		put16(&wire, 0xc000 | (unsigned)(at + target));
		put16(&wire, 0xc000 | (unsigned)at);
		put32(&wire, 0);
		put32(&wire, 0);
		assert_int_equal(read_it(&wire, &message), DNS_READ);
		assert_true(message.damaged);
	}
}

static void a_name_is_at_most_255_bytes(void **state)
{
	(void)state;
	struct dns_message message;
	for (unsigned last = 61; last <= 62; last++) {
		struct wire wire = begin(0x0100, 0, 0, "", DNS_A);
		wire.length = QUESTION;
		for (int label = 0; label < 4; label++) {
			unsigned size = label < 3 ? 63 : last;
			put8(&wire, size);
			memset(wire.bytes + wire.length, 'a', size);
			wire.length += size;
		}
		put8(&wire, 0);
		put32(&wire, 0x00010001);
		assert_int_equal(read_it(&wire, &message), last == 61 ? DNS_READ : DNS_MALFORMED);
	}
}

static void labels_longer_than_63_bytes_are_refused(void **state)
{
	(void)state;
	struct wire wire = begin(0x0100, 0, 0, "x.y", DNS_A);
	struct dns_message message;
	wire.bytes[QUESTION] = 64;
	assert_int_equal(read_it(&wire, &message), DNS_MALFORMED);
}

static void bytes_that_nobody_can_read_are_escaped(void **state)
{
	(void)state;
	struct dns_name name = {.length = 8, .bytes = {4, 'a', '.', '\\', 0xff, 1, ' ', 0}};
	assert_text(&name, "a\\046\\092\\255.\\032");
	assert_text(&(struct dns_name){.length = 1}, ".");
	name.length = 0;
	for (int label = 0; label < 3; label++) {
		name.bytes[name.length++] = 63;
		memset(name.bytes + name.length, 0x80, 63);
		name.length += 63;
	}
	name.bytes[name.length++] = 61;
	memset(name.bytes + name.length, 0x80, 61);
	name.length += 61;
	name.bytes[name.length++] = 0;
	assert_int_equal(name.length, DNS_NAME_BYTES);
	char text[DNS_TEXT_BYTES];
	dns_name_format(&name, text);
	assert_int_equal(strlen(text), 250 * 4 + 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_query_says_what_it_asks),
		cmocka_unit_test(an_address_comes_through_its_aliases_with_the_smallest_ttl),
		cmocka_unit_test(a_message_cut_anywhere_keeps_what_is_whole),
		cmocka_unit_test(addresses_of_both_families_are_told_up_to_the_bound),
		cmocka_unit_test(the_response_code_has_its_extended_bits),
		cmocka_unit_test(truncation_is_seen),
		cmocka_unit_test(a_response_without_a_question_has_its_code),
		cmocka_unit_test(other_operations_are_no_lookups),
		cmocka_unit_test(pointers_that_loop_or_lead_on_are_refused),
		cmocka_unit_test(a_name_is_at_most_255_bytes),
		cmocka_unit_test(labels_longer_than_63_bytes_are_refused),
		cmocka_unit_test(bytes_that_nobody_can_read_are_escaped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
