#include "daemon/writer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kafka/security.h"

enum {
	WARM_MS = 1000,
	PURGE_MS = 500,
	WHY_BYTES = 320,
};

#define RETRY_NS (500 * NS_PER_MS)

struct client {
	struct security_client access; /* first: librdkafka's opaque */
	rd_kafka_t *kafka;
	rd_kafka_queue_t *queue;
	rd_kafka_topic_t *topic; /* held, so that what is known of it stays */
};

struct writer {
	struct writer_options options;
	pthread_rwlock_t lock; /* written to when the client is made again */
	struct client *client;
	bool fatal;	   /* the client is of no more use; writer_turn's */
	uint64_t retry_ns; /* not before then: making it again */
	_Atomic uint64_t records, bytes, failed;
};

static void count(_Atomic uint64_t *counter, uint64_t more)
{
	atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

/* --- the client --- */

/* Repeats cost a run nothing and holes cost it all, so it retries for ever; what is under way is
 * bounded by the tasks, which are at most two panes ahead of one another. All replicas acknowledge:
 * nobody reads a record before they have it, so less would be no faster, and what a leader alone
 * had would be missed by nobody if all tasks wait for it. No record lingers for others: a bundle
 * is a worker's turn already. lz4, as most of a bundle is zeros, which any compression finds, and
 * who waits for it waits for its compression, too. */
static const char *const settings[][2] = {
	{"client.id", "millraced"},
	{"acks", "all"},
	{"enable.idempotence", "true"},
	{"message.timeout.ms", "0"},
	{"linger.ms", "0"},
	{"compression.type", "lz4"},
	{"message.max.bytes", "33554432"},
	{"queue.buffering.max.kbytes", "262144"},
	{"queue.buffering.max.messages", "1000000"},
	{"delivery.report.only.error", "true"},
	{"retry.backoff.ms", "50"},
	{"reconnect.backoff.ms", "50"},
	{"reconnect.backoff.max.ms", "1000"},
	{"socket.nagle.disable", "true"},
	{"topic.metadata.refresh.interval.ms", "30000"},
	{"log.connection.close", "false"},
	{"log_level", "3"},
	{NULL, NULL},
};

static struct client *client_new(struct writer *writer, char *error, size_t size)
{
	const struct writer_options *options = &writer->options;
	struct client *client = memory_zeroed(1, sizeof(*client));
	rd_kafka_conf_t *conf = security_conf(&client->access, options->security, options->brokers,
					      settings, error, size);

	if (conf) {
		rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
		client->kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, size);
		if (!client->kafka)
			rd_kafka_conf_destroy(conf);
	}
	if (!client->kafka) {
		memory_free(client);
		return NULL;
	}
	security_begin(&client->access, client->kafka);
	client->topic = rd_kafka_topic_new(client->kafka, options->topic, NULL);
	client->queue = rd_kafka_queue_get_main(client->kafka);
	rd_kafka_queue_io_event_enable(client->queue, options->wake, &(uint64_t){1},
				       sizeof(uint64_t));
	eventfd_write(options->wake, 1); /* what came before that told nobody */
	return client;
}

/* What comes back with a report: the run; NULL: it was for all. */
static void *ticket_of(int64_t run)
{
	return (void *)(uintptr_t)(run + 1);
}

static void take_failure(struct writer *writer, const rd_kafka_message_t *message)
{
	int64_t run = (int64_t)(uintptr_t)message->_private - 1;
	char why[WHY_BYTES];

	count(&writer->failed, 1);
	snprintf(why, sizeof(why), "a record of %zu bytes for partition %d of %s was refused: %s",
		 message->len, message->partition, writer->options.topic,
		 rd_kafka_err2str(message->err));
	writer->options.lost(writer->options.context, run, why);
}

static void take_event(struct writer *writer, rd_kafka_event_t *event)
{
	const rd_kafka_message_t *message;

	if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) {
		while ((message = rd_kafka_event_message_next(event)) != NULL) {
			if (message->err)
				take_failure(writer, message);
		}
	} else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR) {
		writer->fatal = writer->fatal || rd_kafka_event_error_is_fatal(event);
		writer->options.trouble(writer->options.context,
					rd_kafka_event_error_string(event));
	}
}

static void take_events(struct writer *writer, const struct client *client, int timeout_ms)
{
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(client->queue, timeout_ms)) != NULL) {
		take_event(writer, event);
		rd_kafka_event_destroy(event);
	}
}

/* What it could not deliver is counted, as far as it says so in time. */
static void client_destroy(struct writer *writer, struct client *client)
{
	uint64_t deadline_ns = uv_hrtime() + PURGE_MS * NS_PER_MS;

	security_end(&client->access);
	rd_kafka_purge(client->kafka, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	do
		take_events(writer, client, 10);
	while (rd_kafka_outq_len(client->kafka) > 0 && uv_hrtime() < deadline_ns);
	rd_kafka_queue_destroy(client->queue);
	rd_kafka_topic_destroy(client->topic);
	rd_kafka_destroy(client->kafka);
	memory_free(client);
}

static void warm(const struct client *client, int timeout_ms)
{
	const struct rd_kafka_metadata *metadata;

	if (rd_kafka_metadata(client->kafka, 0, client->topic, &metadata, timeout_ms) ==
	    RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_metadata_destroy(metadata);
}

static void renew(struct writer *writer)
{
	struct client *old = writer->client, *fresh;
	char error[256] = "", why[WHY_BYTES];

	if (uv_hrtime() < writer->retry_ns)
		return;
	fresh = client_new(writer, error, sizeof(error));
	if (!fresh) {
		writer->options.trouble(writer->options.context, error);
		writer->retry_ns = uv_hrtime() + RETRY_NS;
		return;
	}
	warm(fresh, WARM_MS);
	pthread_rwlock_wrlock(&writer->lock);
	writer->client = fresh;
	pthread_rwlock_unlock(&writer->lock);
	rd_kafka_fatal_error(old->kafka, error, sizeof(error));
	snprintf(why, sizeof(why), "the producer for %s was made again: %s", writer->options.topic,
		 error);
	client_destroy(writer, old);
	writer->fatal = false;
	writer->options.renewed(writer->options.context, why);
}

/* --- for its owner --- */

struct writer *writer_new(const struct writer_options *options, char *error, size_t size)
{
	struct writer *writer = memory_zeroed(1, sizeof(*writer));

	writer->options = *options;
	pthread_rwlock_init(&writer->lock, NULL);
	writer->client = client_new(writer, error, size);
	if (writer->client)
		return writer;
	writer_free(writer);
	return NULL;
}

void writer_free(struct writer *writer)
{
	if (writer->client)
		client_destroy(writer, writer->client);
	pthread_rwlock_destroy(&writer->lock);
	memory_free(writer);
}

rd_kafka_resp_err_t writer_put(struct writer *writer, uint32_t partition, uint8_t *bytes,
			       size_t length, int64_t run)
{
	rd_kafka_resp_err_t rc = RD_KAFKA_RESP_ERR_NO_ERROR;

	pthread_rwlock_rdlock(&writer->lock);
	if (rd_kafka_produce(writer->client->topic, (int32_t)partition, RD_KAFKA_MSG_F_FREE, bytes,
			     length, NULL, 0, ticket_of(run)))
		rc = rd_kafka_last_error();
	pthread_rwlock_unlock(&writer->lock);
	if (rc) {
		memory_free(bytes);
		count(&writer->failed, 1);
		return rc;
	}
	count(&writer->records, 1);
	count(&writer->bytes, length);
	return rc;
}

void writer_turn(struct writer *writer)
{
	take_events(writer, writer->client, 0);
	if (writer->fatal)
		renew(writer);
}

void writer_warm(struct writer *writer, int timeout_ms)
{
	pthread_rwlock_rdlock(&writer->lock);
	warm(writer->client, timeout_ms);
	pthread_rwlock_unlock(&writer->lock);
}

rd_kafka_resp_err_t writer_ends(struct writer *writer, uint32_t partition, int64_t *low,
				int64_t *high, int timeout_ms)
{
	rd_kafka_resp_err_t rc;

	pthread_rwlock_rdlock(&writer->lock);
	rc = rd_kafka_query_watermark_offsets(writer->client->kafka, writer->options.topic,
					      (int32_t)partition, low, high, timeout_ms);
	pthread_rwlock_unlock(&writer->lock);
	return rc;
}

int writer_queued(struct writer *writer)
{
	int length;

	pthread_rwlock_rdlock(&writer->lock);
	length = rd_kafka_outq_len(writer->client->kafka);
	pthread_rwlock_unlock(&writer->lock);
	return length;
}

struct writer_stats writer_stats(const struct writer *writer)
{
	return (struct writer_stats){.records = atomic_load(&writer->records),
				     .bytes = atomic_load(&writer->bytes),
				     .failed = atomic_load(&writer->failed)};
}
