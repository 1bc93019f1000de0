/* The writer against Python's json: an independent reader decides whether the text is right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/json.h"

/* Reads lines "<kind> <hex of what went in> <json that came out>", exits 1 at the first wrong one.
 */
static const char python_reader[] =
	"python3 -c '\n"
	"import json, struct, sys\n"
	"n = 0\n"
	"for line in sys.stdin.buffer:\n"
	"    kind, raw, text = line.decode().rstrip(chr(10)).split(chr(32), 2)\n"
	"    raw = bytes.fromhex(raw[1:])\n"
	"    if kind == \"s\": good = json.loads(text) == raw.decode(\"utf-8\", \"replace\")\n"
	"    else:\n"
	"        value = struct.unpack(\"<d\", raw)[0]\n"
	"        if value != value or value in (float(\"inf\"), -float(\"inf\")): good = text == "
	"\"null\"\n"
	"        else: good = (float(text) == value and len([c for c in "
	"text.split(\"e\")[0].lstrip(\"-0.\") if c.isdigit()])"
	" <= max(15, len([c for c in repr(value).split(\"e\")[0].lstrip(\"-0.\") if "
	"c.isdigit()])))\n"
	"    if not good: sys.exit(f\"wrong: {kind} {raw!r} {text}\")\n"
	"    n += 1\n"
	"sys.exit(0 if n == int(sys.argv[1]) else \"lines missing\")' %u";

static FILE *reader_open(unsigned lines)
{
	char command[2048];
	snprintf(command, sizeof(command), python_reader, lines);
	FILE *reader = popen(command, "w");
	assert_non_null(reader);
	return reader;
}

static void reader_line(FILE *reader, char kind, const void *raw, size_t size, struct json *json)
{
	size_t length;
	const char *text = json_text(json, &length);
	fprintf(reader, "%c x", kind);
	for (size_t i = 0; i < size; i++)
		fprintf(reader, "%02x", ((const uint8_t *)raw)[i]);
	fprintf(reader, " %.*s\n", (int)length, text);
}

static uint64_t next_random(uint64_t *state)
{
	*state += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = *state;
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void any_bytes_read_back_as_python_replaces_them(void **state)
{
	(void)state;
	enum { LINES = 20000 };
	/* Bytes that begin, continue and break sequences are drawn more often than chance would. */
	static const uint8_t telling[] = {0x00, 0x1f, '"',  '\\', 0x7f, 0x80, 0xbf,
					  0xc0, 0xc2, 0xe0, 0xa0, 0xed, 0x9f, 0xef,
					  0xbb, 0xf0, 0x90, 0xf4, 0x8f, 0xf5};
	uint64_t seed = 7;
	struct json json;
	json_init(&json);
	FILE *reader = reader_open(LINES);
	for (int line = 0; line < LINES; line++) {
		uint8_t raw[24];
		size_t size = next_random(&seed) % sizeof(raw);
		for (size_t i = 0; i < size; i++) {
			uint64_t draw = next_random(&seed);
			raw[i] = draw & 1 ? telling[(draw >> 8) % sizeof(telling)]
					  : (uint8_t)(draw >> 8);
		}
		json_done(&json);
		json_init(&json);
		json_string_n(&json, raw, size);
		reader_line(reader, 's', raw, size, &json);
	}
	assert_int_equal(pclose(reader), 0);
	json_done(&json);
}

static void any_double_reads_back_exactly_in_the_fewest_digits(void **state)
{
	(void)state;
	enum { LINES = 20000 };
	static const double telling[] = {
		0.0, -0.0,     0.1,	  1.0 / 3, 5e-324, 1e308, 1e22, 123456789012345678.0,
		NAN, INFINITY, -INFINITY, 1e-310,  2.5,	   100,	  0.3};
	uint64_t seed = 11;
	struct json json;
	json_init(&json);
	FILE *reader = reader_open(LINES);
	for (size_t line = 0; line < LINES; line++) {
		uint64_t bits = next_random(&seed);
		double value;
		memcpy(&value, &bits, sizeof(value));
		if (line < sizeof(telling) / sizeof(telling[0]))
			value = telling[line];
		else if (line % 2)
			value = (double)(int64_t)(bits >> 20) / 1000;
		json_done(&json);
		json_init(&json);
		json_double(&json, value);
		reader_line(reader, 'd', &value, sizeof(value), &json);
	}
	assert_int_equal(pclose(reader), 0);
	json_done(&json);
}

static void nesting_places_its_own_commas(void **state)
{
	(void)state;
	struct json json;
	json_init(&json);
	json_object_begin(&json);
	json_key(&json, "a");
	json_array_begin(&json);
	json_uint(&json, UINT64_MAX);
	json_int(&json, INT64_MIN);
	json_object_begin(&json);
	json_object_end(&json);
	json_array_begin(&json);
	json_array_end(&json);
	json_array_end(&json);
	json_key(&json, "b\"");
	json_bool(&json, true);
	json_key(&json, "c");
	json_string(&json, NULL);
	json_key(&json, "d");
	json_string(&json, "x\n\x01");
	json_key(&json, "e");
	json_raw(&json, "[1]", 3);
	json_object_end(&json);
	size_t size;
	const char *text = json_text(&json, &size);
	static const char want[] =
		"{\"a\":[18446744073709551615,-9223372036854775808,{},[]],\"b\\\"\":true,"
		"\"c\":null,\"d\":\"x\\n\\u0001\",\"e\":[1]}";
	assert_int_equal(size, sizeof(want) - 1);
	assert_memory_equal(text, want, size);
	json_done(&json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nesting_places_its_own_commas),
		cmocka_unit_test(any_bytes_read_back_as_python_replaces_them),
		cmocka_unit_test(any_double_reads_back_exactly_in_the_fewest_digits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
