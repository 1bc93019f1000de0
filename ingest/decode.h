/* Foreign bytes into validated columns. A record's HMAC is checked when there are keys, by the one
 * that it names; then one scan checks the wire format, sizes and version, reads the header and
 * notes where the packed columns lie (ingest/columns.h), which are then read into an arena. A
 * record as no encoder of ours writes it, though protobuf allows it, is unpacked by protobuf-c
 * instead. At last every column length, index, enum, port, time and running sum is checked, so that
 * who reads the result need not.
 *
 * All columns of a group have the group's number of elements, also those that the record left out;
 * these are zeros in memory that batches share: nothing may be written to a batch.
 *
 * Bounds: record_bytes_max bytes a record, FIELDS_MAX wire fields, EVENTS_MAX events, SLOTS_MAX
 * slots; the arena is DECODE_AMPLIFICATION times record_bytes_max, made once. The scan enters only
 * the groups, which hold no messages; protobuf-c reads what the node and its agent say of
 * themselves, ABOUT_BYTES_MAX each: three levels deep, whatever a record claims. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/batch/keys.h"
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
	DECODE_ELEMENTS_MAX = 1 << 19, /* labels of all containers, answers of all lookups */
	DECODE_LABELS_MAX = 32,	       /* of a container, of a node */
	DECODE_ANSWERS_MAX = 16,       /* of a lookup */
	DECODE_RCODE_MAX = 0xfff,      /* RFC 6891: twelve bits */
	DECODE_FEATURES_MAX = 16,
	DECODE_MISSING_MAX = 32,
	DECODE_LOSSES_MAX = 64,
	DECODE_ABOUT_BYTES_MAX = 65536, /* of the node's facts, of the agent's state */
	DECODE_SHARE_MAX = 1 << 20,	/* above 1 only by an error of measurement */
};

/* Times in ns must fit 63 bits; durations are kept far below, so that sums cannot overflow. */
#define DECODE_TIME_US_MAX     ((uint64_t)INT64_MAX / 1000)
#define DECODE_DURATION_US_MAX (1ULL << 52)

/* All give the same of the same bytes; the others are there to be compared with. */
enum decode_reader {
	DECODE_FAST,	 /* as this processor can */
	DECODE_PORTABLE, /* as any can */
	DECODE_STOCK,	 /* protobuf-c; the others leave to it what no encoder of ours writes */
};

struct decode_options {
	uint32_t record_bytes_max;
	enum decode_reader reader;
	const struct keys *keys; /* copied; NULL or none in it: HMACs are not checked */
};

/* What a record is, or why it is none. */
struct decoded {
	const Millrace__V1__Batch *batch; /* lent until the next decode; NULL: refused */
	/* The pipeline's own; batch is set, its groups are not to be read. */
	bool tick, metadata;
	enum mirror_reason reason; /* if refused */
	char detail[DECODE_DETAIL_MAX];
	char node[DECODE_NODE_MAX + 1]; /* empty if unreadable */
	uint64_t events;		/* as the record claims, also if refused; 0 if unreadable */
	uint32_t unknown_fields;	/* of a newer agent: skipped */
};

struct decoder;

struct decoder *decoder_new(const struct decode_options *options);
void decoder_free(struct decoder *decoder);
/* From the next record on. Whether HMACs are checked at all does not change. */
void decoder_keys(struct decoder *decoder, const struct keys *keys);
void decoder_read(struct decoder *decoder, const uint8_t *bytes, size_t length,
		  struct decoded *decoded);

/* Says why there is no batch; false. */
__attribute__((format(printf, 3, 4))) bool
decoded_refuse(struct decoded *decoded, enum mirror_reason reason, const char *format, ...);
