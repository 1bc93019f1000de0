/* Writes a small database in MaxMind's format (https://maxmind.github.io/MaxMind-DB/): a tree over
 * 128 bits with records of 24, in which ::/96 is IPv4. For tests. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/address.h"

enum { MMDB_NODES_MAX = 2048, MMDB_DATA_MAX = 4096, MMDB_NOTHING = 0xffffff, MMDB_DATA = 0x800000 };

struct mmdb {
	uint32_t records[MMDB_NODES_MAX][2]; /* node; MMDB_DATA | offset; MMDB_NOTHING */
	uint32_t nodes;
	uint8_t data[MMDB_DATA_MAX];
	size_t length;
};

static inline void mmdb_init(struct mmdb *mmdb)
{
	*mmdb = (struct mmdb){.records = {{MMDB_NOTHING, MMDB_NOTHING}}, .nodes = 1};
}

static inline void mmdb_byte(struct mmdb *mmdb, unsigned byte)
{
	mmdb->data[mmdb->length++] = (uint8_t)byte;
}

static inline void mmdb_map(struct mmdb *mmdb, unsigned pairs)
{
	mmdb_byte(mmdb, 7 << 5 | pairs);
}

static inline void mmdb_text(struct mmdb *mmdb, const char *text)
{
	size_t length = strlen(text);

	mmdb_byte(mmdb, 2 << 5 | (length < 29 ? (unsigned)length : 29));
	if (length >= 29)
		mmdb_byte(mmdb, (unsigned)length - 29);
	memcpy(mmdb->data + mmdb->length, text, length);
	mmdb->length += length;
}

/* type: 5 for 16 bits, 6 for 32. */
static inline void mmdb_number(struct mmdb *mmdb, unsigned type, uint32_t number)
{
	unsigned bytes = type == 5 ? 2 : 4;

	mmdb_byte(mmdb, type << 5 | bytes);
	while (bytes--)
		mmdb_byte(mmdb, number >> 8 * bytes & 0xff);
}

/* The prefix leads to the data at this offset. bits: of 128, with the 96 of IPv4. */
static inline void mmdb_put(struct mmdb *mmdb, const char *address, unsigned bits, size_t offset)
{
	struct address prefix;
	uint32_t node = 0;

	assert_int_equal(address_parse(address, &prefix), 0);
	if (address_is_v4(&prefix))
		memset(prefix.bytes, 0, 12);
	for (unsigned bit = 0; bit + 1 < bits; bit++) {
		uint32_t *next = &mmdb->records[node][prefix.bytes[bit / 8] >> (7 - bit % 8) & 1];

		if (*next == MMDB_NOTHING) {
			*next = mmdb->nodes++;
			assert_true(*next < MMDB_NODES_MAX);
			mmdb->records[*next][0] = mmdb->records[*next][1] = MMDB_NOTHING;
		}
		node = *next;
	}
	unsigned last = bits - 1;
	mmdb->records[node][prefix.bytes[last / 8] >> (7 - last % 8) & 1] =
		MMDB_DATA | (uint32_t)offset;
}

static inline void mmdb_write(struct mmdb *mmdb, const char *path, const char *type)
{
	static const char *const words[] = {"binary_format_major_version",
					    "2",
					    "binary_format_minor_version",
					    "0",
					    "ip_version",
					    "6",
					    "record_size",
					    "24"};
	static const uint8_t between[16], mark[] = "\xab\xcd\xefMaxMind.com";
	FILE *file = fopen(path, "w");
	size_t begin = mmdb->length;

	assert_non_null(file);
	for (uint32_t node = 0; node < mmdb->nodes; node++) {
		for (int side = 0; side < 2; side++) {
			uint32_t record = mmdb->records[node][side];

			if (record == MMDB_NOTHING)
				record = mmdb->nodes;
			else if (record & MMDB_DATA)
				record = mmdb->nodes + 16 + (record & ~(uint32_t)MMDB_DATA);
			const uint8_t bytes[] = {(uint8_t)(record >> 16), (uint8_t)(record >> 8),
						 (uint8_t)record};
			fwrite(bytes, 1, sizeof(bytes), file);
		}
	}
	fwrite(between, 1, sizeof(between), file);
	fwrite(mmdb->data, 1, begin, file);
	fwrite(mark, 1, sizeof(mark) - 1, file);
	mmdb_map(mmdb, 9);
	mmdb_text(mmdb, "build_epoch"); /* 64 bits in one byte */
	mmdb_byte(mmdb, 1);
	mmdb_byte(mmdb, 2);
	mmdb_byte(mmdb, 1);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i += 2) {
		mmdb_text(mmdb, words[i]);
		mmdb_number(mmdb, 5, (uint32_t)strtoul(words[i + 1], NULL, 10));
	}
	mmdb_text(mmdb, "node_count");
	mmdb_number(mmdb, 6, mmdb->nodes);
	mmdb_text(mmdb, "database_type");
	mmdb_text(mmdb, type);
	mmdb_text(mmdb, "description");
	mmdb_map(mmdb, 0);
	mmdb_text(mmdb, "languages"); /* an array of none */
	mmdb_byte(mmdb, 0);
	mmdb_byte(mmdb, 4);
	fwrite(mmdb->data + begin, 1, mmdb->length - begin, file);
	mmdb->length = begin;
	fclose(file);
}

/* What GeoLite2-ASN says of a network; owner may be NULL. */
static inline void mmdb_put_asn(struct mmdb *mmdb, const char *address, unsigned bits,
				uint32_t number, const char *owner)
{
	mmdb_put(mmdb, address, bits, mmdb->length);
	mmdb_map(mmdb, owner ? 2 : 1);
	mmdb_text(mmdb, "autonomous_system_number");
	mmdb_number(mmdb, 6, number);
	if (!owner)
		return;
	mmdb_text(mmdb, "autonomous_system_organization");
	mmdb_text(mmdb, owner);
}

/* What GeoLite2-Country does. */
static inline void mmdb_put_country(struct mmdb *mmdb, const char *address, unsigned bits,
				    const char *code)
{
	mmdb_put(mmdb, address, bits, mmdb->length);
	mmdb_map(mmdb, 1);
	mmdb_text(mmdb, "country");
	mmdb_map(mmdb, 1);
	mmdb_text(mmdb, "iso_code");
	mmdb_text(mmdb, code);
}
