#include "daemon/outputs.h"

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

#define QUEUE_KBYTES "65536" /* half a minute of the heaviest rollups; tasks wait beyond it */

/* Between two looks at a full queue: short against a pane, long against the look. */
#define FULL_WAIT_NS (5 * NS_PER_MS)

struct outputs {
	struct outputs_options options;
	rd_kafka_t *kafka;
	rd_kafka_queue_t *queue;
	int pipe[2]; /* librdkafka writes a byte when the queue stops being empty */
	_Atomic uint64_t written, bytes, refused;
	_Atomic bool released; /* nobody waits any more */
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

static rd_kafka_conf_t *make_conf(const struct outputs_options *options, char *error, size_t size)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	bool ok = set(conf, "bootstrap.servers", options->brokers, error, size);

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && ok; i++)
		ok = set(conf, settings[i][0], settings[i][1], error, size);
	for (size_t i = 0; options->kafka_options && i < options->kafka_options->count && ok; i++)
		ok = set(conf, options->kafka_options->items[i].key,
			 options->kafka_options->items[i].value, error, size);
	if (ok) {
		rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR |
						       RD_KAFKA_EVENT_LOG);
		return conf;
	}
	rd_kafka_conf_destroy(conf);
	return NULL;
}

struct outputs *outputs_new(const struct outputs_options *options, char *error, size_t size)
{
	struct outputs *outputs = memory_zeroed(1, sizeof(*outputs));
	rd_kafka_conf_t *conf = make_conf(options, error, size);

	outputs->options = *options;
	if (!conf) {
		free(outputs);
		return NULL;
	}
	outputs->kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, size);
	if (!outputs->kafka) {
		rd_kafka_conf_destroy(conf);
		free(outputs);
		return NULL;
	}
	if (uv_pipe(outputs->pipe, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE)) {
		snprintf(error, size, "no descriptors left for a pipe");
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

static rd_kafka_resp_err_t produce(struct outputs *outputs, const char *topic, int32_t partition,
				   const char *key, size_t key_length, struct encoded value,
				   const struct output_number *number, void *opaque)
{
	char header[64];
	int length = 0;
	rd_kafka_resp_err_t rc;

	if (number)
		length = snprintf(header, sizeof(header), "%llu.%u.%llu",
				  (unsigned long long)number->epoch, number->task,
				  (unsigned long long)number->sequence);
	if (number)
		rc = rd_kafka_producev(
			outputs->kafka, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
			RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, key_length),
			RD_KAFKA_V_VALUE((void *)(uintptr_t)value.bytes, value.length),
			RD_KAFKA_V_HEADER("millrace-output", header, length),
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
	}
	return rc;
}

static void refuse(struct outputs *outputs, const char *topic, size_t length,
		   rd_kafka_resp_err_t rc)
{
	char sentence[256];

	atomic_fetch_add_explicit(&outputs->refused, 1, memory_order_relaxed);
	snprintf(sentence, sizeof(sentence), "a record of %zu bytes for topic %s was refused: %s",
		 length, topic, rd_kafka_err2str(rc));
	outputs->options.trouble(outputs->options.context, sentence);
}

void outputs_write(struct outputs *outputs, const char *topic, int32_t partition, const char *key,
		   size_t key_length, struct encoded value, const struct output_number *number)
{
	const struct timespec pause = {.tv_nsec = (long)FULL_WAIT_NS};
	rd_kafka_resp_err_t rc;

	/* librdkafka's own waiting (RD_KAFKA_MSG_F_BLOCK) could not be ended: room comes from
	 * delivery reports, and who takes them may be waiting for this thread to stop. */
	while ((rc = produce(outputs, topic, partition, key, key_length, value, number, NULL)) ==
		       RD_KAFKA_RESP_ERR__QUEUE_FULL &&
	       !atomic_load(&outputs->released))
		nanosleep(&pause, NULL);
	/* After release, or a record that can never be taken (larger than message.max.bytes,
	 * unknown partition). */
	if (rc)
		refuse(outputs, topic, value.length, rc);
}

void outputs_offer(struct outputs *outputs, const char *topic, const char *key, size_t key_length,
		   struct encoded value)
{
	rd_kafka_resp_err_t rc = produce(outputs, topic, -1, key, key_length, value, NULL, NULL);

	if (rc)
		refuse(outputs, topic, value.length, rc);
}

bool outputs_try(struct outputs *outputs, const char *topic, int32_t partition,
		 struct encoded value, _Atomic bool *done)
{
	return produce(outputs, topic, partition, NULL, 0, value, NULL, done) ==
	       RD_KAFKA_RESP_ERR_NO_ERROR;
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
		_Atomic bool *done = message->_private;

		if (message->err)
			outputs->failed++;
		else
			outputs->delivered++;
		if (done)
			atomic_store(done, true);
	}
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
			outputs->options.trouble(outputs->options.context,
						 rd_kafka_event_error_string(event));
		rd_kafka_event_destroy(event);
	}
}

struct outputs_stats outputs_stats(struct outputs *outputs)
{
	return (struct outputs_stats){
		.written = atomic_load_explicit(&outputs->written, memory_order_relaxed),
		.bytes = atomic_load_explicit(&outputs->bytes, memory_order_relaxed),
		.delivered = outputs->delivered,
		.failed = outputs->failed +
			  atomic_load_explicit(&outputs->refused, memory_order_relaxed),
		.waiting = (uint64_t)rd_kafka_outq_len(outputs->kafka),
	};
}

uint64_t outputs_close(struct outputs *outputs, int timeout_ms)
{
	uint64_t deadline = uv_hrtime() + (uint64_t)timeout_ms * 1000000;
	uint64_t left;

	/* rd_kafka_flush would not serve delivery reports that come as events. */
	while ((left = (uint64_t)rd_kafka_outq_len(outputs->kafka)) > 0 && uv_hrtime() < deadline) {
		rd_kafka_event_t *event = rd_kafka_queue_poll(outputs->queue, 10);

		if (event && rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
			take_report(outputs, event);
		if (event)
			rd_kafka_event_destroy(event);
	}
	rd_kafka_purge(outputs->kafka, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	rd_kafka_queue_destroy(outputs->queue);
	rd_kafka_destroy(outputs->kafka);
	close(outputs->pipe[0]);
	close(outputs->pipe[1]);
	free(outputs);
	return left;
}
