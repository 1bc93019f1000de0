/* The readers of a record against each other: the same verdict, reason and detail, and the same
 * bytes when the batch is packed again. The record is copied to memory of exactly its size. */
#include <stdlib.h>
#include <string.h>

#include "ingest/decode.h"

enum { RECORD_BYTES_MAX = 16384, PACKED_BYTES_MAX = 4 << 20 };

struct reading {
	struct decoder *decoder;
	struct decoded decoded;
	uint8_t *packed;
	size_t length;
};

static void reading_init(struct reading *reading, enum decode_reader reader)
{
	reading->decoder = decoder_new(
		&(struct decode_options){.record_bytes_max = RECORD_BYTES_MAX, .reader = reader});
	reading->packed = malloc(PACKED_BYTES_MAX);
}

/* What is not of the schema stays with protobuf-c alone. */
static void forget_unknown(ProtobufCMessage *message)
{
	if (message)
		message->n_unknown_fields = 0;
}

static void reading_make(struct reading *reading, const uint8_t *bytes, size_t length)
{
	decoder_read(reading->decoder, bytes, length, &reading->decoded);
	reading->length = 0;
	if (!reading->decoded.batch)
		return;
	Millrace__V1__Batch batch = *reading->decoded.batch;
	forget_unknown(&batch.base);
	forget_unknown((ProtobufCMessage *)batch.containers);
	forget_unknown((ProtobufCMessage *)batch.processes);
	forget_unknown((ProtobufCMessage *)batch.nat);
	forget_unknown((ProtobufCMessage *)batch.definitions);
	forget_unknown((ProtobufCMessage *)batch.updates);
	forget_unknown((ProtobufCMessage *)batch.closes);
	forget_unknown((ProtobufCMessage *)batch.exits);
	forget_unknown((ProtobufCMessage *)batch.dns);
	forget_unknown((ProtobufCMessage *)batch.drops);
	forget_unknown((ProtobufCMessage *)batch.listeners);
	forget_unknown((ProtobufCMessage *)batch.sni);
	if (millrace__v1__batch__get_packed_size(&batch) > PACKED_BYTES_MAX)
		abort();
	reading->length = millrace__v1__batch__pack(&batch, reading->packed);
}

static void must_equal(const struct reading *a, const struct reading *b)
{
	if (!a->decoded.batch != !b->decoded.batch || a->decoded.tick != b->decoded.tick ||
	    a->decoded.metadata != b->decoded.metadata || a->decoded.reason != b->decoded.reason ||
	    a->decoded.events != b->decoded.events ||
	    a->decoded.unknown_fields != b->decoded.unknown_fields ||
	    strcmp(a->decoded.detail, b->decoded.detail) != 0 ||
	    strcmp(a->decoded.node, b->decoded.node) != 0)
		abort();
	if (a->length != b->length || memcmp(a->packed, b->packed, a->length) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct reading stock, portable, fast;
	if (!stock.decoder) {
		reading_init(&stock, DECODE_STOCK);
		reading_init(&portable, DECODE_PORTABLE);
		reading_init(&fast, DECODE_FAST);
	}
	uint8_t *exact = malloc(length ? length : 1);
	memcpy(exact, bytes, length);
	reading_make(&stock, exact, length);
	reading_make(&portable, exact, length);
	reading_make(&fast, exact, length);
	must_equal(&portable, &fast);
	/* protobuf-c keeps unknown fields, so it may run out of memory alone */
	if (stock.decoded.reason != MIRROR_OVERSIZED)
		must_equal(&stock, &fast);
	free(exact);
	return 0;
}
