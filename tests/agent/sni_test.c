/* ClientHellos as OpenSSL sent them, others written by hand, and all of them cut and bent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/sni.h"

struct wire {
	uint8_t bytes[4096];
	size_t length;
};

/* OpenSSL 3.0 with TLS 1.3, for www.example.org; its padding of 192 zeros left out here. */
static const char openssl13[] =
	"1603010200010001fc0303e1e35eedf1305f2bb4814b1bdaa2af6226f460a731c624c0eaddb8778a095a462080"
	"3f33864e519a52c7465c3a0f80822a971c4b7b9387a22e25faebfd8247b631003e130213031301c02cc030009f"
	"cca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c00"
	"35002f00ff0100017500000014001200000f7777772e6578616d706c652e6f7267000b000403000102000a0016"
	"0014001d0017001e0019001801000101010201030104002300000016000000170000000d002a00280403050306"
	"03080708080809080a080b080408050806040105010601030303010302040205020602002b0009080304030303"
	"020301002d00020101003300260024001d002064fa6a823cc6eb6df343232966e9780e536682abd003ceb12288"
	"60e710eaa869001500c0";

/* And for nobody. */
static const char openssl_nobody[] =
	"1603010200010001fc0303a5bdaebe488735c2e8c3ef2616e0d37e3ddbe0de2590e49acfd34f067311733d209f"
	"e8f4aa153bc998c3be586eda3edd9affbf95846c3e0db41bcbec10f2b58df5003e130213031301c02cc030009f"
	"cca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c00"
	"35002f00ff01000175000b000403000102000a00160014001d0017001e00190018010001010102010301040023"
	"00000016000000170000000d002a0028040305030603080708080809080a080b08040805080604010501060103"
	"0303010302040205020602002b0009080304030303020301002d00020101003300260024001d0020d1dfed2b51"
	"4e2ada3823fcd7975108c006eff2173e4a085894fb0f2d695e9d58001500d8";

/* With TLS 1.2, for Tls12.Example.ORG. */
static const char openssl12[] =
	"16030100d1010000cd0303ac6c2f4f46078fb111e91ac1f5117f248c2890732e7be1792ea91f53d67e71ea0000"
	"38c02cc030009fcca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d"
	"009c003d003c0035002f00ff0100006c000000160014000011546c7331322e4578616d706c652e4f5247000b00"
	"0403000102000a000c000a001d0017001e00190018002300000016000000170000000d002a0028040305030603"
	"080708080809080a080b080408050806040105010601030303010302040205020602";

static uint8_t digit(char of)
{
	return (uint8_t)(of <= '9' ? of - '0' : of - 'a' + 10);
}

/* whole: its length on the wire, zeros behind what is written. */
static struct wire recorded(const char *hex, size_t whole)
{
	struct wire wire = {.length = whole};
	for (size_t i = 0; hex[2 * i]; i++)
		wire.bytes[i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
	return wire;
}

static void put8(struct wire *wire, unsigned value)
{
	wire->bytes[wire->length++] = (uint8_t)value;
}

static void put16(struct wire *wire, unsigned value)
{
	put8(wire, value >> 8);
	put8(wire, value & 0xff);
}

static void set16(struct wire *wire, size_t at, size_t value)
{
	wire->bytes[at] = (uint8_t)(value >> 8);
	wire->bytes[at + 1] = (uint8_t)value;
}

enum { RECORD_LENGTH = 3, HELLO_LENGTH = 7, EXTENSIONS = 5 + 4 + 34 + 1 + 4 + 2 };

/* As far as its extensions, whose lengths are() sets. */
static struct wire begin(void)
{
	struct wire wire = {.length = 0};
	put8(&wire, 22);
	put16(&wire, 0x0301);
	put16(&wire, 0);
	put8(&wire, 1);
	put8(&wire, 0);
	put16(&wire, 0);
	wire.length += 34; /* version and random */
	put8(&wire, 0);	   /* no session */
	put16(&wire, 2);
	put16(&wire, 0x1301);
	put8(&wire, 1);
	put8(&wire, 0);
	assert_int_equal(wire.length, EXTENSIONS);
	put16(&wire, 0);
	return wire;
}

static void end(struct wire *wire)
{
	set16(wire, RECORD_LENGTH, wire->length - 5);
	set16(wire, HELLO_LENGTH, wire->length - 9);
	set16(wire, EXTENSIONS, wire->length - EXTENSIONS - 2);
}

static void put_extension(struct wire *wire, unsigned type, size_t length)
{
	put16(wire, type);
	put16(wire, (unsigned)length);
	wire->length += length;
}

static void put_name(struct wire *wire, const char *name, size_t length)
{
	put16(wire, 0);
	put16(wire, (unsigned)length + 5);
	put16(wire, (unsigned)length + 3);
	put8(wire, 0);
	put16(wire, (unsigned)length);
	memcpy(wire->bytes + wire->length, name, length);
	wire->length += length;
}

static struct wire asking_for(const char *name)
{
	struct wire wire = begin();
	put_name(&wire, name, strlen(name));
	end(&wire);
	return wire;
}

static enum sni_verdict verdict_of(const struct wire *wire)
{
	char name[SNI_TEXT_BYTES];
	/* its own memory, so that what is read beyond is found */
	uint8_t *bytes = malloc(wire->length ? wire->length : 1);
	memcpy(bytes, wire->bytes, wire->length);
	enum sni_verdict verdict = sni_parse(bytes, wire->length, name);
	free(bytes);
	return verdict;
}

static void assert_names(const struct wire *wire, const char *wanted)
{
	char name[SNI_TEXT_BYTES];
	assert_int_equal(sni_parse(wire->bytes, wire->length, name), SNI_NAME);
	assert_string_equal(name, wanted);
}

static void what_openssl_sends_is_read(void **state)
{
	(void)state;
	struct wire wire = recorded(openssl13, 517);
	assert_names(&wire, "www.example.org");
	wire = recorded(openssl12, 214);
	assert_names(&wire, "tls12.example.org");
	wire = recorded(openssl_nobody, 517);
	assert_int_equal(verdict_of(&wire), SNI_NONE);
}

static void a_hello_may_be_cut_anywhere(void **state)
{
	(void)state;
	struct wire wire = recorded(openssl13, 517), nobody = recorded(openssl_nobody, 517);
	for (size_t length = 0; length < 517; length++) {
		wire.length = nobody.length = length;
		enum sni_verdict verdict = verdict_of(&wire);
		assert_int_equal(verdict, length < 168 ? SNI_CUT : SNI_NAME);
		assert_int_equal(verdict_of(&nobody), SNI_CUT);
	}
}

/* As browsers send them: RFC 8701's values, the order of extensions shuffled, keys of 1,216 bytes.
 */
static void grease_and_large_keys_are_passed_over(void **state)
{
	(void)state;
	struct wire wire = begin();
	put_extension(&wire, 0x0a0a, 0);
	put_extension(&wire, 51, 1263);
	put_extension(&wire, 0xfafa, 1);
	put_name(&wire, "cdn.example", 11);
	put_extension(&wire, 0x2a2a, 0);
	end(&wire);
	assert_names(&wire, "cdn.example");
}

/* The inner name is for the server alone. */
static void an_encrypted_hello_shows_its_outer_name(void **state)
{
	(void)state;
	struct wire wire = begin();
	put_extension(&wire, 0xfe0d, 250);
	put_name(&wire, "front.example", 13);
	end(&wire);
	assert_names(&wire, "front.example");
}

static void records_are_joined(void **state)
{
	(void)state;
	struct wire whole = asking_for("in.two.records.example"), wire;
	for (size_t first = 1; first < whole.length - 5; first++) {
		wire = (struct wire){.length = 5};
		memcpy(wire.bytes, whole.bytes, 5 + first);
		set16(&wire, RECORD_LENGTH, first);
		wire.length += first;
		memcpy(wire.bytes + wire.length, whole.bytes, 3);
		wire.length += 3;
		put16(&wire, (unsigned)(whole.length - 5 - first));
		memcpy(wire.bytes + wire.length, whole.bytes + 5 + first, whole.length - 5 - first);
		wire.length += whole.length - 5 - first;
		assert_names(&wire, "in.two.records.example");
	}
	wire.bytes[wire.length - 6] = 23; /* the last one's kind */
	assert_int_equal(verdict_of(&wire), SNI_MALFORMED);
}

static void names_are_hosts(void **state)
{
	static const char *const others[] = {
		"a b.example", "p\303\244y.example", "a/b", "a@b", "*.example", ".", "[::1]",
		"a\\b"};
	(void)state;
	struct wire wire = asking_for("UPPER-case_1.example.");
	assert_names(&wire, "upper-case_1.example");
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		wire = asking_for(others[i]);
		assert_int_equal(verdict_of(&wire), SNI_OTHER);
	}
	wire = begin();
	put_name(&wire, "a\0b", 3);
	end(&wire);
	assert_int_equal(verdict_of(&wire), SNI_OTHER);
}

static void a_name_has_at_most_253_bytes(void **state)
{
	char name[300];
	(void)state;
	memset(name, 'a', sizeof(name));
	for (size_t length = 0; length < sizeof(name); length++) {
		struct wire wire = begin();
		put_name(&wire, name, length);
		end(&wire);
		assert_int_equal(verdict_of(&wire),
				 length && length < SNI_TEXT_BYTES ? SNI_NAME : SNI_OTHER);
	}
	name[SNI_TEXT_BYTES - 1] = '.';
	struct wire wire = begin();
	put_name(&wire, name, SNI_TEXT_BYTES);
	end(&wire);
	assert_int_equal(verdict_of(&wire), SNI_NAME);
}

static void other_kinds_of_names_are_passed_over(void **state)
{
	(void)state;
	struct wire wire = begin();
	put16(&wire, 0);
	put16(&wire, 2 + 3 + 2 + 3 + 4);
	put16(&wire, 3 + 2 + 3 + 4);
	put8(&wire, 7);
	put16(&wire, 2);
	put16(&wire, 0x4141);
	put8(&wire, 0);
	put16(&wire, 4);
	put16(&wire, 0x612e);
	put16(&wire, 0x6262);
	end(&wire);
	assert_names(&wire, "a.bb");
}

static void what_is_no_hello_is_malformed(void **state)
{
	(void)state;
	struct wire wire = asking_for("a.example");
	wire.bytes[0] = 23;
	assert_int_equal(verdict_of(&wire), SNI_MALFORMED);
	wire = asking_for("a.example");
	wire.bytes[1] = 2;
	assert_int_equal(verdict_of(&wire), SNI_MALFORMED);
	wire = asking_for("a.example");
	wire.bytes[5] = 2; /* a ServerHello */
	assert_int_equal(verdict_of(&wire), SNI_MALFORMED);
}

/* Each length of one hello says each number in turn. */
static void hostile_lengths_are_refused(void **state)
{
	static const size_t lengths[] = {RECORD_LENGTH,	 HELLO_LENGTH,	 EXTENSIONS,
					 EXTENSIONS + 4, EXTENSIONS + 6, EXTENSIONS + 9};
	(void)state;
	for (size_t at = 0; at < sizeof(lengths) / sizeof(lengths[0]); at++) {
		struct wire good = asking_for("a.example");
		size_t right = (size_t)good.bytes[lengths[at]] << 8 | good.bytes[lengths[at] + 1];
		for (size_t wrong = 0; wrong <= UINT16_MAX; wrong++) {
			struct wire wire = good;
			if (wrong == right)
				continue;
			set16(&wire, lengths[at], wrong);
			/* A shorter name is one all the same, as long as the list says so. */
			assert_true(verdict_of(&wire) != SNI_NAME || lengths[at] == RECORD_LENGTH ||
				    lengths[at] == EXTENSIONS + 9);
		}
	}
	struct wire wire = asking_for("a.example");
	wire.bytes[6] = 1; /* a hello of 64 KiB and more */
	assert_int_equal(verdict_of(&wire), SNI_MALFORMED);
	wire = asking_for("a.example");
	wire.bytes[5 + 4 + 34] = 33; /* a session's name has 32 bytes */
	assert_int_equal(verdict_of(&wire), SNI_MALFORMED);
}

static void a_hello_without_extensions_asks_for_none(void **state)
{
	(void)state;
	struct wire wire = begin();
	wire.length -= 2;
	set16(&wire, RECORD_LENGTH, wire.length - 5);
	set16(&wire, HELLO_LENGTH, wire.length - 9);
	assert_int_equal(verdict_of(&wire), SNI_NONE);
	wire = begin();
	end(&wire);
	assert_int_equal(verdict_of(&wire), SNI_NONE);
	wire = begin();
	put_extension(&wire, 0, 0); /* as servers answer */
	end(&wire);
	assert_int_equal(verdict_of(&wire), SNI_MALFORMED);
}

static void any_bytes_may_come(void **state)
{
	(void)state;
	srand(7);
	for (int turn = 0; turn < 200000; turn++) {
		struct wire wire = asking_for("some.host.example");
		for (int flips = rand() % 4; flips >= 0; flips--)
			wire.bytes[(size_t)rand() % wire.length] = (uint8_t)rand();
		verdict_of(&wire);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_openssl_sends_is_read),
		cmocka_unit_test(a_hello_may_be_cut_anywhere),
		cmocka_unit_test(grease_and_large_keys_are_passed_over),
		cmocka_unit_test(an_encrypted_hello_shows_its_outer_name),
		cmocka_unit_test(records_are_joined),
		cmocka_unit_test(names_are_hosts),
		cmocka_unit_test(a_name_has_at_most_253_bytes),
		cmocka_unit_test(other_kinds_of_names_are_passed_over),
		cmocka_unit_test(what_is_no_hello_is_malformed),
		cmocka_unit_test(hostile_lengths_are_refused),
		cmocka_unit_test(a_hello_without_extensions_asks_for_none),
		cmocka_unit_test(any_bytes_may_come),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
