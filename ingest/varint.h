/* Packed varints (protobuf's wire format) into an array: a column. The portable reader takes eight
 * bytes at a time while all are values of one byte. The fast one looks at 32 bytes: values of one
 * byte are widened at once, of up to four bytes gathered by a table of shuffles (256 patterns of
 * eight bytes, 4 KiB), longer ones compacted with pext, one by one.
 *
 * Nothing is read from readable_end on, but what stands between a column's end and that may be.
 * Pure functions, any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum varint_type {
	VARINT_U32, /* and enums: longer varints lose their upper bits, as everywhere in protobuf */
	VARINT_U64,
	VARINT_S32, /* zigzag */
	VARINT_S64,
};

enum { VARINT_ROOM = 32 }; /* elements */

struct varint_packed {
	const uint8_t *bytes, *end, *readable_end;
	enum varint_type type;
	bool bounded; /* the largest is asked for */
};

struct varint_found {
	size_t count;
	uint64_t max; /* as on the wire: before zigzag is undone; if asked for */
};

/* values has room for (end - bytes) + VARINT_ROOM elements; what stands behind the count is not
 * defined. False if a varint is longer than ten bytes or not finished. */
typedef bool varint_reader(const struct varint_packed *packed, void *values,
			   struct varint_found *found);

varint_reader varint_read_portable;

/* The fastest that this processor can run. */
varint_reader *varint_reader_here(void);
