#include "daemon/outputs.h"

#include <assert.h>
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/memory.h"
#include "daemon/watchdog.h"
#include "daemon/topics.h"
#include "kafka/security.h"

#define QUEUE_KBYTES "65536" /* half a minute of the heaviest rollups; tasks wait beyond it */

enum { PURGE_TIMEOUT_MS = 500, SENTENCE_BYTES = 512 };

/* Between two looks at a full queue: short against a pane, long against the look. */
#define FULL_WAIT_NS (5 * NS_PER_MS)

static const char *const topics[] = {
	TOPIC_EVENTS,	 TOPIC_FLOWS,	   TOPIC_ROLLUPS, TOPIC_ALERTS, TOPIC_DELIVERY,
	TOPIC_BASELINES, TOPIC_DEADLETTER, TOPIC_CONTROL, TOPIC_RULES,	TOPIC_SILENCES};

enum { TOPICS = sizeof(topics) / sizeof(topics[0]) };

struct outputs {
	struct security_client access; /* first: the client's opaque */
	struct outputs_options options;
	rd_kafka_t *kafka;
	rd_kafka_queue_t *queue;
	rd_kafka_topic_t *topics[TOPICS]; /* held, so that what is known of them stays */
	int pipe[2]; /* librdkafka writes a byte when the queue stops being empty */
	_Atomic uint64_t written, bytes, refused;
	_Atomic bool released; /* nobody waits any more */
	_Atomic bool ended;    /* a record was dropped since: what is numbered after it is, too */
	_Atomic uint32_t marks;
	_Atomic uint64_t unacknowledged[2]; /* of those before an odd mark, and an even one */
	_Atomic uint64_t unsettled;	    /* of those that tasks have written */
	uint64_t delivered, failed;
};

static const char *const settings[][2] = {
	{"client.id", "millraced"},
	{"acks", "all"},
	{"enable.idempotence", "false"},
	{"max.in.flight.requests.per.connection", "1"},
	{"message.send.max.retries", "2147483647"},
	{"message.timeout.ms", "0"},
	{"retry.backoff.ms", "100"},
	{"reconnect.backoff.ms", "50"},
	{"reconnect.backoff.max.ms", "1000"},
	{"linger.ms", "5"},
	{"compression.type", "zstd"},
	{"queue.buffering.max.kbytes", QUEUE_KBYTES},
	{"queue.buffering.max.messages", "200000"},
	{"socket.nagle.disable", "true"},
	{"topic.metadata.refresh.interval.ms", "30000"},
	{"log.connection.close", "false"},
};

static bool set(rd_kafka_conf_t *conf, const char *name, const char *value, char *error,
		size_t size)
{
	return rd_kafka_conf_set(conf, name, value, error, size) == RD_KAFKA_CONF_OK;
}

static rd_kafka_conf_t *make_conf(struct outputs *outputs, char *error, size_t size)
{
	const struct outputs_options *options = &outputs->options;
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	bool ok = set(conf, "bootstrap.servers", options->brokers, error, size);

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && ok; i++)
		ok = set(conf, settings[i][0], settings[i][1], error, size);
	if (ok && !security_configure(&outputs->access, conf, error, size)) {
		rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR |
						       RD_KAFKA_EVENT_LOG);
		return conf;
	}
	rd_kafka_conf_destroy(conf);
	return NULL;
}

/* What comes back with a report: whom to tell, and in its lowest bits before which mark it was,
 * whether a task wrote it, and whether it is one of those that have no holes. */
enum { TICKET_MARK = 1, TICKET_TASK = 2, TICKET_WHOLE = 4, TICKET_BITS = 7 };

/* --- what is refused --- */

/* What is to be done; "": nothing is known. */
static const char *advice_of(rd_kafka_resp_err_t rc)
{
	switch (rc) {
	case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
		return "; allow millraced to write to it";
	case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
	case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
	case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
		return "; make it as deploy/kafka/topics says";
	case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
		return "; set its max.message.bytes to 1048576 or more";
	default:
		return "";
	}
}

/* partition: negative when it is not known. */
static void say_refused(char sentence[SENTENCE_BYTES], const char *topic, int32_t partition,
			size_t length, rd_kafka_resp_err_t rc)
{
	char place[32] = "";

	if (partition >= 0)
		snprintf(place, sizeof(place), " partition %d of", partition);
	snprintf(sentence, SENTENCE_BYTES, "a record of %zu bytes for%s topic %s was refused: %s%s",
		 length, place, topic, rd_kafka_err2str(rc), advice_of(rc));
}

static void tell_refused(struct outputs *outputs, const char *topic, int32_t partition,
			 size_t length, rd_kafka_resp_err_t rc)
{
	char sentence[SENTENCE_BYTES];

	say_refused(sentence, topic, partition, length, rc);
	outputs->options.trouble(outputs->options.context, sentence);
}

/* By Kafka, for good: it is not only left behind at the end, or without room yet. */
static bool is_refused(const rd_kafka_message_t *message)
{
	return message->err && message->err != RD_KAFKA_RESP_ERR__PURGE_QUEUE &&
	       message->err != RD_KAFKA_RESP_ERR__PURGE_INFLIGHT &&
	       message->err != RD_KAFKA_RESP_ERR__DESTROY &&
	       message->err != RD_KAFKA_RESP_ERR__QUEUE_FULL;
}

static bool is_hole(const rd_kafka_message_t *message)
{
	return is_refused(message) && ((uintptr_t)message->_private & TICKET_WHOLE);
}

static void end_at(struct outputs *outputs, const char *topic, int32_t partition, size_t length,
		   rd_kafka_resp_err_t rc)
{
	char sentence[SENTENCE_BYTES];

	say_refused(sentence, topic, partition, length, rc);
	outputs->options.refused(outputs->options.context, sentence);
}

/* On the client's own thread, before it sends what comes behind: a report would come too late. It
 * may hold locks of the client's, so nothing is asked of it here. */
static rd_kafka_resp_err_t on_acknowledgement(rd_kafka_t *kafka, rd_kafka_message_t *message,
					      void *context)
{
	struct outputs *outputs = context;

	(void)kafka;
	if (is_hole(message))
		end_at(outputs, rd_kafka_topic_name(message->rkt), message->partition, message->len,
		       message->err);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *kafka, const rd_kafka_conf_t *conf, void *context,
				  char *error, size_t size)
{
	(void)conf;
	(void)error;
	(void)size;
	return rd_kafka_interceptor_add_on_acknowledgement(kafka, "outputs", on_acknowledgement,
							   context);
}

/* --- life --- */

struct outputs *outputs_new(const struct outputs_options *options, char *error, size_t size)
{
	struct outputs *outputs = memory_zeroed(1, sizeof(*outputs));
	rd_kafka_conf_t *conf;

	outputs->options = *options;
	outputs->access.security = options->security;
	conf = make_conf(outputs, error, size);
	if (!conf) {
		free(outputs);
		return NULL;
	}
	rd_kafka_conf_interceptor_add_on_new(conf, "outputs", on_new, outputs);
	outputs->kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, size);
	if (!outputs->kafka) {
		rd_kafka_conf_destroy(conf);
		free(outputs);
		return NULL;
	}
	security_begin(&outputs->access, outputs->kafka);
	if (uv_pipe(outputs->pipe, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE)) {
		snprintf(error, size, "no descriptors left for a pipe");
		security_end(&outputs->access);
		rd_kafka_destroy(outputs->kafka);
		free(outputs);
		return NULL;
	}
	outputs->queue = rd_kafka_queue_get_main(outputs->kafka);
	rd_kafka_queue_io_event_enable(outputs->queue, outputs->pipe[1], "1", 1);
	/* What came before that told nobody, and the queue tells only when it stops being empty. */
	if (write(outputs->pipe[1], "1", 1) != 1)
		abort(); /* a fresh pipe takes a byte */
	return outputs;
}

static void *ticket_of(struct output_report *report, uint32_t mark, bool by_task, bool whole)
{
	assert(((uintptr_t)report & TICKET_BITS) == 0);
	return (void *)((uintptr_t)report | (mark & TICKET_MARK) | (by_task ? TICKET_TASK : 0) |
			(whole ? TICKET_WHOLE : 0));
}

static void count_in(struct outputs *outputs, uintptr_t ticket)
{
	atomic_fetch_add(&outputs->unacknowledged[ticket & TICKET_MARK], 1);
	if (ticket & TICKET_TASK)
		atomic_fetch_add(&outputs->unsettled, 1);
}

static void count_out(struct outputs *outputs, uintptr_t ticket)
{
	atomic_fetch_sub(&outputs->unacknowledged[ticket & TICKET_MARK], 1);
	if (ticket & TICKET_TASK)
		atomic_fetch_sub(&outputs->unsettled, 1);
}

void outputs_warm(struct outputs *outputs, int timeout_ms)
{
	for (int i = 0; i < TOPICS; i++) {
		const struct rd_kafka_metadata *metadata;

		if (!outputs->topics[i])
			outputs->topics[i] = rd_kafka_topic_new(outputs->kafka, topics[i], NULL);
		/* One that is not there is told when something is written to it. */
		if (outputs->topics[i] &&
		    rd_kafka_metadata(outputs->kafka, 0, outputs->topics[i], &metadata,
				      timeout_ms) == RD_KAFKA_RESP_ERR_NO_ERROR)
			rd_kafka_metadata_destroy(metadata);
	}
}

static rd_kafka_resp_err_t produce(struct outputs *outputs, const char *topic, int32_t partition,
				   const char *key, size_t key_length, struct encoded value,
				   const struct output_number *number, struct output_report *report,
				   bool by_task)
{
	void *opaque =
		ticket_of(report, atomic_load(&outputs->marks), by_task, number && partition >= 0);
	char header[64], place[64], digest[16];
	int length = 0, place_length = 0, digest_length = 0;
	rd_kafka_resp_err_t rc;

	count_in(outputs, (uintptr_t)opaque);
	if (number) {
		length = snprintf(header, sizeof(header), "%llu.%u.%llu",
				  (unsigned long long)number->epoch, number->task,
				  (unsigned long long)number->sequence);
		place_length = snprintf(place, sizeof(place), "%llu.%u",
					(unsigned long long)number->pane, number->place);
		digest_length = snprintf(digest, sizeof(digest), "%08x", number->digest);
	}
	if (number)
		rc = rd_kafka_producev(
			outputs->kafka, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
			RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, key_length),
			RD_KAFKA_V_VALUE((void *)(uintptr_t)value.bytes, value.length),
			RD_KAFKA_V_HEADER("millrace-output", header, length),
			RD_KAFKA_V_HEADER("millrace-pane", place, place_length),
			RD_KAFKA_V_HEADER("millrace-digest", digest, digest_length),
			RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_END);
	else
		rc = rd_kafka_producev(
			outputs->kafka, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
			RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, key_length),
			RD_KAFKA_V_VALUE((void *)(uintptr_t)value.bytes, value.length),
			RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_END);
	if (rc == RD_KAFKA_RESP_ERR_NO_ERROR) {
		atomic_fetch_add_explicit(&outputs->written, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&outputs->bytes, value.length, memory_order_relaxed);
	} else {
		count_out(outputs, (uintptr_t)opaque);
	}
	return rc;
}

static void refuse(struct outputs *outputs, const char *topic, size_t length,
		   rd_kafka_resp_err_t rc)
{
	atomic_fetch_add_explicit(&outputs->refused, 1, memory_order_relaxed);
	tell_refused(outputs, topic, -1, length, rc);
}

void outputs_write(struct outputs *outputs, const char *topic, int32_t partition, const char *key,
		   size_t key_length, struct encoded value, const struct output_number *number)
{
	const struct timespec pause = {.tv_nsec = (long)FULL_WAIT_NS};
	rd_kafka_resp_err_t rc;

	/* librdkafka's own waiting (RD_KAFKA_MSG_F_BLOCK) could not be ended: room comes from
	 * delivery reports, and who takes them may be waiting for this thread to stop. */
	if (atomic_load_explicit(&outputs->ended, memory_order_relaxed))
		return;
	while ((rc = produce(outputs, topic, partition, key, key_length, value, number, NULL,
			     true)) == RD_KAFKA_RESP_ERR__QUEUE_FULL &&
	       !atomic_load(&outputs->released)) {
		watchdog_beat();
		nanosleep(&pause, NULL);
	}
	if (rc == RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	/* After release the log of outputs ends here: it must have no hole, so that the next life
	 * goes on after its last record. Else it is a record that cannot be taken: it is larger
	 * than message.max.bytes, or its topic or partition is not there. */
	if (rc == RD_KAFKA_RESP_ERR__QUEUE_FULL)
		atomic_store(&outputs->ended, true);
	else if (number && partition >= 0)
		end_at(outputs, topic, partition, value.length, rc);
	refuse(outputs, topic, value.length, rc);
}

void outputs_offer(struct outputs *outputs, const char *topic, const char *key, size_t key_length,
		   struct encoded value)
{
	rd_kafka_resp_err_t rc =
		produce(outputs, topic, -1, key, key_length, value, NULL, NULL, false);

	if (rc)
		refuse(outputs, topic, value.length, rc);
}

bool outputs_try(struct outputs *outputs, const char *topic, int32_t partition, const char *key,
		 size_t key_length, struct encoded value, struct output_report *report)
{
	rd_kafka_resp_err_t rc = produce(outputs, topic, partition, key, key_length, value, NULL,
					 report, report->of_tasks);

	if (rc == RD_KAFKA_RESP_ERR__QUEUE_FULL)
		return false;
	if (rc) {
		refuse(outputs, topic, value.length, rc);
		report->told(report, -EIO);
	}
	return true;
}

uint32_t outputs_mark(struct outputs *outputs)
{
	return atomic_fetch_add(&outputs->marks, 1);
}

bool outputs_acknowledged(const struct outputs *outputs, uint32_t mark)
{
	return atomic_load(&outputs->unacknowledged[mark & 1]) == 0;
}

bool outputs_settled(const struct outputs *outputs)
{
	return atomic_load(&outputs->unsettled) == 0;
}

void outputs_release(struct outputs *outputs)
{
	atomic_store(&outputs->released, true);
}

int outputs_descriptor(struct outputs *outputs)
{
	return outputs->pipe[0];
}

static void take_report(struct outputs *outputs, rd_kafka_event_t *event)
{
	const rd_kafka_message_t *message;

	while ((message = rd_kafka_event_message_next(event)) != NULL) {
		uintptr_t ticket = (uintptr_t)message->_private;
		struct output_report *report =
			(struct output_report *)(ticket & ~(uintptr_t)TICKET_BITS);

		if (message->err)
			outputs->failed++;
		else
			outputs->delivered++;
		if (is_refused(message))
			tell_refused(outputs, rd_kafka_topic_name(message->rkt), message->partition,
				     message->len, message->err);
		if (report)
			report->told(report, message->err ? -EIO : 0);
		if (is_hole(message))
			continue;	    /* no snapshot counts from here on */
		count_out(outputs, ticket); /* who has waited for it may free the report */
	}
}

static void trouble(struct outputs *outputs, const char *reason)
{
	const char *advice = security_advice(reason);
	char sentence[512];

	snprintf(sentence, sizeof(sentence), "%s%s%s", reason, advice[0] ? ": " : "", advice);
	outputs->options.trouble(outputs->options.context, sentence);
}

void outputs_poll(struct outputs *outputs)
{
	char bytes[64];
	rd_kafka_event_t *event;

	while (read(outputs->pipe[0], bytes, sizeof(bytes)) == sizeof(bytes))
		;
	while ((event = rd_kafka_queue_poll(outputs->queue, 0)) != NULL) {
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
			take_report(outputs, event);
		else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
			trouble(outputs, rd_kafka_event_error_string(event));
		rd_kafka_event_destroy(event);
	}
}

struct outputs_stats outputs_stats(struct outputs *outputs)
{
	uint64_t refused = atomic_load_explicit(&outputs->refused, memory_order_relaxed);

	return (struct outputs_stats){
		.written = atomic_load_explicit(&outputs->written, memory_order_relaxed) + refused,
		.bytes = atomic_load_explicit(&outputs->bytes, memory_order_relaxed),
		.delivered = outputs->delivered,
		.failed = outputs->failed + refused,
		.waiting = (uint64_t)rd_kafka_outq_len(outputs->kafka),
	};
}

uint64_t outputs_close(struct outputs *outputs, int timeout_ms)
{
	uint64_t deadline = uv_hrtime() + (uint64_t)timeout_ms * 1000000;
	uint64_t left;

	security_end(&outputs->access);
	/* rd_kafka_flush would not serve delivery reports that come as events. */
	while ((left = (uint64_t)rd_kafka_outq_len(outputs->kafka)) > 0 && uv_hrtime() < deadline) {
		rd_kafka_event_t *event = rd_kafka_queue_poll(outputs->queue, 10);

		if (event && rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
			take_report(outputs, event);
		if (event)
			rd_kafka_event_destroy(event);
	}
	rd_kafka_purge(outputs->kafka, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	/* Who waits for a report is told, too. */
	deadline = uv_hrtime() + (uint64_t)PURGE_TIMEOUT_MS * 1000000;
	while (rd_kafka_outq_len(outputs->kafka) > 0 && uv_hrtime() < deadline) {
		rd_kafka_event_t *event = rd_kafka_queue_poll(outputs->queue, 10);

		if (event && rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
			take_report(outputs, event);
		if (event)
			rd_kafka_event_destroy(event);
	}
	for (int i = 0; i < TOPICS; i++) {
		if (outputs->topics[i])
			rd_kafka_topic_destroy(outputs->topics[i]);
	}
	rd_kafka_queue_destroy(outputs->queue);
	rd_kafka_destroy(outputs->kafka);
	close(outputs->pipe[0]);
	close(outputs->pipe[1]);
	free(outputs);
	return left;
}
