/* Outputs as the public schema has them (proto/millrace/v1): stages' plain data to bytes and, for
 * the records that millraced reads back, bytes to plain data. Scratch memory is kept between calls;
 * bytes returned are lent until the next call. One thread an encoder. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "anomaly/alert.h"
#include "anomaly/anomaly.h"
#include "api/notify/notify.h"
#include "ingest/mirror.h"
#include "join/flow.h"

struct encoder;

struct encoded {
	const uint8_t *bytes;
	size_t length;
};

/* Numbers of an output: so that a reader can drop repeats. */
struct output_number {
	uint64_t epoch;
	uint32_t task;
	uint64_t sequence;
	/* Where it stands among what the task made of its kind in a pane: 0, 1, ... */
	uint64_t pane;
	uint32_t place;
	/* CRC-32C of the values of all that the task told of its kind in this epoch, up to and with
	 * this one. Of a record's number, not of what is encoded. */
	uint32_t digest;
};

struct encoder *encoder_new(void);
void encoder_free(struct encoder *encoder);

struct encoded encode_flows(struct encoder *encoder, const struct output_number *number,
			    const struct flow *flows, size_t count, const struct names *names);
struct encoded encode_rollups(struct encoder *encoder, const struct output_number *number,
			      const struct rollup *rollups, size_t count,
			      const struct names *names);
struct encoded encode_alert(struct encoder *encoder, const struct output_number *number,
			    const struct alert *alert);
struct encoded encode_baseline(struct encoder *encoder, const struct baseline_record *record,
			       const struct names *names);
struct encoded encode_delivery(struct encoder *encoder, const struct delivery *delivery);
struct encoded encode_deadletter(struct encoder *encoder, const char *topic, uint32_t partition,
				 const struct mirror_record *record, enum mirror_reason reason,
				 const char *detail, const char *node);
/* A notification that was given up, for the dead letters. */
struct encoded encode_undelivered(struct encoder *encoder, const char *receiver,
				  const struct alert *alert, const struct notify_place *place,
				  const char *reason, const char *sentence);
/* A tick for an idle partition; key (32 bytes) signs it, NULL: not signed. */
struct encoded encode_tick(struct encoder *encoder, uint64_t realtime_ns, const char *key_id,
			   const uint8_t *key);

/* Records of millrace.metadata and of millrace.rules for a partition of millrace.events; signed
 * likewise. */
struct encode_told {
	const struct encoded *metadata, *rules;
	size_t metadata_count, rules_count;
};
struct encoded encode_told(struct encoder *encoder, uint64_t realtime_ns,
			   const struct encode_told *told, const char *key_id, const uint8_t *key);

/* 0, or -EBADMSG: not such a record. */
int decode_alert(const uint8_t *bytes, size_t length, struct alert *alert);
int decode_delivery(const uint8_t *bytes, size_t length, struct delivery *delivery);
int decode_baseline(const uint8_t *bytes, size_t length, struct baseline_record *record);
