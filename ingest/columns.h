/* The groups of a Batch: packed columns of equal length, and columns that hold as many elements for
 * each event as another column says (labels, answers). While a record is scanned, columns_put
 * notes where each column lies; columns_read then makes their arrays, and columns_check holds every
 * length, index, enum, port, time and running sum to its bound, whoever made the arrays.
 *
 * A column that is not there has zeros for elements: columns_check points it at an array of zeros
 * that all batches share, so nothing may be written there.
 *
 * What columns_read does not take (unpacked elements, a column in pieces, broken numbers) is left
 * to protobuf-c, which accepts it or not. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/decode.h"
#include "ingest/decode_arena.h"
#include "ingest/varint.h"

enum {
	COLUMNS_GROUPS = 11,
	COLUMNS_MAX = 21, /* the highest field number of a column */
};

struct columns_place {
	const uint8_t *bytes; /* NULL: it is not there */
	size_t length;
};

struct columns {
	bool read;    /* columns_read made the arrays: max is known */
	bool unusual; /* for protobuf-c */
	bool present[COLUMNS_GROUPS];
	struct columns_place places[COLUMNS_GROUPS][COLUMNS_MAX];
	uint64_t max[COLUMNS_GROUPS][COLUMNS_MAX]; /* as on the wire: before zigzag is undone */
	Millrace__V1__Containers containers;
	Millrace__V1__Processes processes;
	Millrace__V1__NatEntries nat;
	Millrace__V1__Definitions definitions;
	Millrace__V1__Updates updates;
	Millrace__V1__Closes closes;
	Millrace__V1__Exits exits;
	Millrace__V1__Dns dns;
	Millrace__V1__Drops drops;
	Millrace__V1__Listeners listeners;
	Millrace__V1__Sni sni;
};

/* The group whose field number in Batch this is; COLUMNS_GROUPS: none. */
static inline unsigned columns_group(uint32_t number)
{
	enum {
		FIRST = 22,
		LAST = 28,
		MORE_FIRST = 30,
		MORE_LAST = 32,
		SNI = 38
	}; /* 29 is a dictionary */
	if (number >= FIRST && number <= LAST)
		return number - FIRST;
	if (number >= MORE_FIRST && number <= MORE_LAST)
		return number - MORE_FIRST + LAST + 1 - FIRST;
	return number == SNI ? COLUMNS_GROUPS - 1 : COLUMNS_GROUPS;
}

void columns_clear(struct columns *columns);

/* The group is in the record. */
void columns_begin(struct columns *columns, unsigned group);

/* Of the schema, by group: fields 1 to this. */
extern const uint8_t columns_fields[COLUMNS_GROUPS];

/* A field of it, `bytes` NULL if it is not length-delimited. False: the schema has none such. */
static inline bool columns_put(struct columns *columns, unsigned group, uint32_t number,
			       const uint8_t *bytes, size_t length)
{
	if (number > columns_fields[group])
		return false;
	struct columns_place *place = &columns->places[group][number - 1];
	columns->unusual |= !bytes || place->bytes;
	*place = (struct columns_place){bytes, length};
	return true;
}

/* Makes the groups of batch from what was put. readable_end: of the record. False: leave it to
 * protobuf-c. */
bool columns_read(struct columns *columns, varint_reader *reader, const uint8_t *readable_end,
		  struct decode_arena *arena, Millrace__V1__Batch *batch);

/* Bounds of all groups and the number of events; gives absent columns their zeros. */
bool columns_check(const struct columns *columns, Millrace__V1__Batch *batch,
		   struct decoded *decoded);
