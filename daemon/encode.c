#include "daemon/encode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/batch/seal.h"
#include "api/query/alert_message.h"
#include "api/query/arena.h"
#include "base/clock.h"
#include "base/memory.h"
#include "daemon/bulk.h"
#include "millrace/v1/events.pb-c.h"

enum {
	SCHEMA_VERSION = 1,
	HEAD_BYTES_MAX = 4096,	    /* of a record that could not be read */
	DECODE_BYTES_MAX = 1 << 20, /* what unpacking one of our own small records may take */
};

struct encoder {
	struct bulk *bulk;
	struct arena arena; /* of one message */
	uint8_t *out;
	size_t out_max;
};

struct encoder *encoder_new(void)
{
	struct encoder *encoder = memory_zeroed(1, sizeof(*encoder));

	encoder->bulk = bulk_new();
	return encoder;
}

void encoder_free(struct encoder *encoder)
{
	if (!encoder)
		return;
	arena_done(&encoder->arena);
	free(encoder->out);
	bulk_free(encoder->bulk);
	free(encoder);
}

static uint8_t *out_room(struct encoder *encoder, size_t length)
{
	if (length > encoder->out_max) {
		encoder->out_max = memory_grown(encoder->out_max, length);
		encoder->out = memory_resize(encoder->out, encoder->out_max, 1);
	}
	return encoder->out;
}

static struct encoded packed(struct encoder *encoder, const ProtobufCMessage *message)
{
	size_t length = protobuf_c_message_get_packed_size(message);

	protobuf_c_message_pack(message, out_room(encoder, length));
	arena_clear(&encoder->arena);
	return (struct encoded){encoder->out, length};
}

/* A name, or "#" and its id where its bytes have not come. */
static char *named(struct arena *arena, const struct names *names, uint64_t id)
{
	const struct name *name = id ? names_get(names, id) : NULL;

	if (!id)
		return (char *)"";
	return name ? arena_text(arena, name->bytes) : arena_format(arena, "#%016" PRIx64, id);
}

/* --- flows and rollups --- */

struct encoded encode_flows(struct encoder *encoder, const struct output_number *number,
			    const struct flow *flows, size_t count, const struct names *names)
{
	return bulk_flows(encoder->bulk, number, flows, count, names);
}

struct encoded encode_rollups(struct encoder *encoder, const struct output_number *number,
			      const struct rollup *rollups, size_t count, const struct names *names)
{
	return bulk_rollups(encoder->bulk, number, rollups, count, names);
}

/* --- alerts, deliveries, baselines --- */

struct encoded encode_alert(struct encoder *encoder, const struct output_number *number,
			    const struct alert *alert)
{
	Millrace__V1__Alert *message = alert_message(&encoder->arena, alert);

	message->epoch = number->epoch;
	message->task = number->task;
	message->output = number->sequence;
	return packed(encoder, &message->base);
}

struct encoded encode_baseline(struct encoder *encoder, const struct baseline_record *record,
			       const struct names *names)
{
	Millrace__V1__Baseline message = MILLRACE__V1__BASELINE__INIT;
	struct arena *arena = &encoder->arena;

	message.edge_id = arena_format(arena, "%016" PRIx64, record->edge.id);
	message.client = named(arena, names, record->edge.client);
	message.server = named(arena, names, record->edge.server);
	message.port = record->edge.port;
	message.protocol = (char *)protocol_name(arena, record->edge.protocol);
	message.metric = (char *)metric_name(record->metric);
	message.samples = record->samples;
	message.window_ns = record->window_ns;
	message.state.data = (uint8_t *)record->state;
	message.state.len = record->state_size;
	return packed(encoder, &message.base);
}

struct encoded encode_delivery(struct encoder *encoder, const struct delivery *delivery)
{
	return packed(encoder, &delivery_message(&encoder->arena, delivery)->base);
}

/* --- what could not be read, ticks --- */

struct encoded encode_deadletter(struct encoder *encoder, const char *topic, uint32_t partition,
				 const struct mirror_record *record, enum mirror_reason reason,
				 const char *detail, const char *node)
{
	Millrace__V1__DeadLetter message = MILLRACE__V1__DEAD_LETTER__INIT;
	struct arena *arena = &encoder->arena;

	message.topic = arena_text(arena, topic);
	message.partition = (int32_t)partition;
	message.offset = record->offset;
	message.reason = arena_text(arena, mirror_reason_name(reason));
	message.detail = arena_text(arena, detail);
	message.node = arena_text(arena, node ? node : "");
	message.size = record->length;
	message.head.len = record->length < HEAD_BYTES_MAX ? record->length : HEAD_BYTES_MAX;
	message.head.data = (uint8_t *)(uintptr_t)record->value;
	message.time_ms = (int64_t)(record->append_ns / NS_PER_MS);
	return packed(encoder, &message.base);
}

struct encoded encode_undelivered(struct encoder *encoder, const char *receiver,
				  const struct alert *alert, const struct notify_place *place,
				  const char *reason, const char *sentence)
{
	Millrace__V1__DeadLetter message = MILLRACE__V1__DEAD_LETTER__INIT;
	struct arena *arena = &encoder->arena;
	struct encoded whole = encode_alert(encoder, &(struct output_number){0}, alert);
	uint8_t head[HEAD_BYTES_MAX];
	char detail[ALERT_TEXT_MAX];

	snprintf(detail, sizeof(detail), "receiver %s: %s", receiver, sentence);
	message.topic = arena_text(arena, "millrace.alerts");
	message.partition = place->partition;
	message.offset = place->offset;
	message.reason = arena_text(arena, reason);
	message.detail = arena_text(arena, detail);
	message.size = whole.length;
	message.head.len = whole.length < HEAD_BYTES_MAX ? whole.length : HEAD_BYTES_MAX;
	memcpy(head, whole.bytes, message.head.len);
	message.head.data = head;
	message.time_ms = (int64_t)(alert->pane_end_ns / NS_PER_MS);
	return packed(encoder, &message.base);
}

/* A batch of the pipeline's own. */
static struct encoded own_batch(struct encoder *encoder, Millrace__V1__Batch *message,
				uint64_t realtime_ns, const char *key_id, const uint8_t *key)
{
	struct encoded bytes;

	message->version = SCHEMA_VERSION;
	message->base_time_us = realtime_ns / NS_PER_US;
	message->sent_realtime_ns = realtime_ns;
	message->key_id = (char *)(uintptr_t)(key ? key_id : "");
	bytes = packed(encoder, &message->base);
	if (!key)
		return bytes;
	out_room(encoder, bytes.length + SEAL_TRAILER_BYTES);
	seal_sign(key, encoder->out, bytes.length);
	return (struct encoded){encoder->out, bytes.length + SEAL_TRAILER_BYTES};
}

struct encoded encode_tick(struct encoder *encoder, uint64_t realtime_ns, const char *key_id,
			   const uint8_t *key)
{
	Millrace__V1__Batch message = MILLRACE__V1__BATCH__INIT;

	message.kind = MILLRACE__V1__BATCH_KIND__BATCH_KIND_TICK;
	return own_batch(encoder, &message, realtime_ns, key_id, key);
}

static ProtobufCBinaryData *lend(const struct encoded *records, size_t count)
{
	ProtobufCBinaryData *lent = memory_zeroed(count, sizeof(*lent));

	for (size_t i = 0; i < count; i++)
		lent[i] = (ProtobufCBinaryData){records[i].length,
						(uint8_t *)(uintptr_t)records[i].bytes};
	return lent;
}

struct encoded encode_told(struct encoder *encoder, uint64_t realtime_ns,
			   const struct encode_told *told, const char *key_id, const uint8_t *key)
{
	Millrace__V1__Batch message = MILLRACE__V1__BATCH__INIT;
	struct encoded bytes;

	message.kind = MILLRACE__V1__BATCH_KIND__BATCH_KIND_METADATA;
	message.metadata = lend(told->metadata, told->metadata_count);
	message.n_metadata = told->metadata_count;
	message.rules = lend(told->rules, told->rules_count);
	message.n_rules = told->rules_count;
	bytes = own_batch(encoder, &message, realtime_ns, key_id, key);
	memory_free(message.metadata);
	memory_free(message.rules);
	return bytes;
}

/* --- reading back --- */

/* protobuf-c copies what it unpacks; our own records are small, and what is not small is not ours.
 */
static void *bounded_alloc(void *budget, size_t size)
{
	size_t *left = budget;

	if (size > *left)
		return NULL;
	*left -= size;
	return malloc(size);
}

static void bounded_free(void *budget, void *memory)
{
	(void)budget;
	free(memory);
}

static void *unpacked(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
		      size_t length)
{
	size_t left = DECODE_BYTES_MAX;
	ProtobufCAllocator allocator = {bounded_alloc, bounded_free, &left};

	return length > DECODE_BYTES_MAX
		       ? NULL
		       : protobuf_c_message_unpack(descriptor, &allocator, length, bytes);
}

static void cut(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from);
}

static uint8_t protocol_number(const char *word)
{
	if (strcmp(word, "tcp") == 0)
		return 6;
	if (strcmp(word, "udp") == 0)
		return 17;
	return strncmp(word, "ip-", 3) == 0 ? (uint8_t)strtoul(word + 3, NULL, 10) : 0;
}

static uint32_t suspect_kind(const char *word)
{
	uint32_t kind = 0;

	while (kind < SUSPECT_KINDS && strcmp(suspect_kind_name(kind), word) != 0)
		kind++;
	return kind;
}

static void read_suspects(struct alert *alert, const Millrace__V1__Alert *message)
{
	for (size_t i = 0; i < message->n_suspects && alert->suspects_count < ALERT_SUSPECTS_MAX;
	     i++) {
		const Millrace__V1__Suspect *from = message->suspects[i];
		struct suspect *to = &alert->suspects[alert->suspects_count];

		to->kind = suspect_kind(from->kind);
		if (to->kind == SUSPECT_KINDS)
			continue;
		to->share = from->share;
		to->excess = from->excess;
		cut(to->name, sizeof(to->name), from->name);
		alert->suspects_count++;
	}
}

static void read_diagnosis(struct alert *alert, const Millrace__V1__Diagnosis *from)
{
	uint32_t kind = 0;

	while (from && kind < DIAGNOSES && strcmp(diagnosis_name(kind), from->kind) != 0)
		kind++;
	if (!from || kind == DIAGNOSES)
		return;
	alert->diagnosis = (struct diagnosis){.kind = kind,
					      .crossing = from->crossing,
					      .part = from->part,
					      .whole = from->whole,
					      .usual = from->usual};
}

static void read_members(struct alert *alert, const Millrace__V1__Alert *message)
{
	for (size_t i = 0; i < message->n_members && i < ALERT_MEMBERS_MAX; i++) {
		const Millrace__V1__AlertMember *from = message->members[i];
		struct alert_member *to = &alert->members[alert->members_count++];

		to->subject.port = (uint16_t)from->port;
		to->subject.protocol = protocol_number(from->protocol);
		to->severity = from->severity;
		to->started_ns = from->started_ns;
		cut(to->monitor, sizeof(to->monitor), from->monitor);
		cut(to->subject.client, sizeof(to->subject.client), from->client);
		cut(to->subject.server, sizeof(to->subject.server), from->server);
		cut(to->metric, sizeof(to->metric), from->metric);
	}
}

static void read_cause(struct change_event *cause, const Millrace__V1__LikelyCause *message)
{
	if (!message)
		return;
	cause->kind = change_kind_by_name(message->kind);
	cause->time_ns = message->time_ns;
	cut(cause->workload, sizeof(cause->workload), message->workload);
	cut(cause->node, sizeof(cause->node), message->node);
	cut(cause->instance, sizeof(cause->instance), message->instance);
	cut(cause->before, sizeof(cause->before), message->before);
	cut(cause->after, sizeof(cause->after), message->after);
	cut(cause->reason, sizeof(cause->reason), message->reason);
}

int decode_alert(const uint8_t *bytes, size_t length, struct alert *alert)
{
	Millrace__V1__Alert *message = unpacked(&millrace__v1__alert__descriptor, bytes, length);

	if (!message)
		return -EBADMSG;
	*alert = (struct alert){
		.sequence = message->sequence,
		.state = message->state,
		.severity = message->severity,
		.subject = {.port = (uint16_t)message->port,
			    .protocol = protocol_number(message->protocol)},
		.value = message->value,
		.threshold = message->threshold,
		.expected = message->expected,
		.usual_low = message->usual_low,
		.usual_high = message->usual_high,
		.score = message->score,
		.window_ms = message->window_ms,
		.started_ns = message->started_ns,
		.ended_ns = message->ended_ns,
		.reopened_ns = message->reopened_ns,
		.pane_end_ns = message->pane_end_ns,
		.last_event_ns = message->last_event_ns,
		.completeness = message->completeness,
		.episodes = message->episodes,
	};
	cut(alert->key, sizeof(alert->key), message->key);
	cut(alert->monitor, sizeof(alert->monitor), message->monitor);
	cut(alert->subject.client, sizeof(alert->subject.client), message->client);
	cut(alert->subject.server, sizeof(alert->subject.server), message->server);
	cut(alert->metric, sizeof(alert->metric), message->metric);
	cut(alert->unit, sizeof(alert->unit), message->unit);
	cut(alert->summary, sizeof(alert->summary), message->summary);
	read_suspects(alert, message);
	read_members(alert, message);
	read_cause(&alert->cause, message->likely_cause);
	read_diagnosis(alert, message->diagnosis);

	int rc =
		message->version == ALERT_VERSION && alert->key[0] && alert->state <= ALERT_RESOLVED
			? 0
			: -EBADMSG;

	millrace__v1__alert__free_unpacked(message, NULL);
	return rc;
}

int decode_delivery(const uint8_t *bytes, size_t length, struct delivery *delivery)
{
	Millrace__V1__Delivery *message =
		unpacked(&millrace__v1__delivery__descriptor, bytes, length);

	if (!message)
		return -EBADMSG;
	*delivery = (struct delivery){
		.sequence = message->sequence,
		.state = message->state,
		.delivered_ns = message->delivered_ns,
		.sent_ns = message->sent_ns,
		.attempts = message->attempts,
		.resolve_owed = message->resolve_owed,
		.severity = message->severity,
		.uncertain = message->uncertain,
		.failed = message->failed,
	};
	cut(delivery->receiver, sizeof(delivery->receiver), message->receiver);
	cut(delivery->key, sizeof(delivery->key), message->key);
	cut(delivery->error, sizeof(delivery->error), message->error);
	cut(delivery->handle, sizeof(delivery->handle), message->handle);
	millrace__v1__delivery__free_unpacked(message, NULL);
	return delivery->receiver[0] && delivery->key[0] ? 0 : -EBADMSG;
}

int decode_baseline(const uint8_t *bytes, size_t length, struct baseline_record *record)
{
	Millrace__V1__Baseline *message =
		unpacked(&millrace__v1__baseline__descriptor, bytes, length);
	char *end = NULL;

	if (!message)
		return -EBADMSG;
	*record = (struct baseline_record){
		.edge = {.id = strtoull(message->edge_id, &end, 16),
			 .client = name_id(message->client, strlen(message->client)),
			 .server = name_id(message->server, strlen(message->server)),
			 .port = (uint16_t)message->port,
			 .protocol = protocol_number(message->protocol)},
		.metric = metric_by_name(message->metric),
		.samples = message->samples,
		.window_ns = message->window_ns,
	};

	bool fits = message->state.len <= sizeof(record->state);
	int rc = end && *end == '\0' && record->edge.id && record->metric < METRICS && fits
			 ? 0
			 : -EBADMSG;

	if (rc == 0 && message->state.len) {
		record->state_size = (uint32_t)message->state.len;
		memcpy(record->state, message->state.data, message->state.len);
	}

	millrace__v1__baseline__free_unpacked(message, NULL);
	return rc;
}
