/* Foreign bytes into validated columns. A record is scanned without allocating (wire format, sizes,
 * version), its HMAC is checked when a secret is configured, and only then protobuf-c unpacks it
 * into an arena; then every column length, index, enum, port, time and running sum is checked, so
 * that who reads the result need not.
 *
 * Bounds: record_bytes_max bytes a record, FIELDS_MAX wire fields, EVENTS_MAX events, SLOTS_MAX
 * slots; the arena is DECODE_AMPLIFICATION times record_bytes_max, made once. The scan enters only
 * the groups, which hold no messages: two levels deep, whatever a record claims. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/mirror.h"
#include "millrace/v1/events.pb-c.h"

enum {
	DECODE_SCHEMA_VERSION = 1,
	DECODE_FIELDS_MAX = 100000, /* protobuf-c takes about 100 bytes a field */
	DECODE_EVENTS_MAX = 65536,
	DECODE_SLOTS_MAX = 1 << 20, /* live sockets of one node */
	DECODE_NODE_MAX = 253,
	DECODE_STRING_MAX = 4096,
	DECODE_AMPLIFICATION = 8, /* a packed uint64 of one byte takes eight */
	DECODE_DETAIL_MAX = 192,
};

struct decode_options {
	uint32_t record_bytes_max;
	const uint8_t *secret; /* NULL: HMACs are not checked */
	size_t secret_length;
};

/* What a record is, or why it is none. */
struct decoded {
	const Millrace__V1__Batch *batch; /* lent until the next decode; NULL: refused */
	bool tick; /* the pipeline's own; batch is set, its groups are not to be read */
	enum mirror_reason reason; /* if refused */
	char detail[DECODE_DETAIL_MAX];
	char node[DECODE_NODE_MAX + 1]; /* empty if unreadable */
	uint64_t events;		/* as the record claims, also if refused; 0 if unreadable */
	uint32_t unknown_fields;	/* of a newer agent: skipped */
};

struct decoder;

struct decoder *decoder_new(const struct decode_options *options);
void decoder_free(struct decoder *decoder);
void decoder_read(struct decoder *decoder, const uint8_t *bytes, size_t length,
		  struct decoded *decoded);
