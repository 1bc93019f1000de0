#include "daemon/tail.h"

#include <assert.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kafka/security.h"

enum {
	METADATA_TIMEOUT_MS = 1000,
	COMMITTED_TIMEOUT_MS = 5000, /* the first one waits until the group has its coordinator */
	BACKOFF_MIN_MS = 100,
	BACKOFF_MAX_MS = 2000,
	RECORDS_A_TURN = 512, /* before other work on the loop has its turn */
	POLL_MS = 100,	      /* should a wake-up be missed */
	TOPICS_MAX = 4,
};

struct tail {
	struct security_client access; /* first: the client's opaque */
	struct tail_options options;
	rd_kafka_t *kafka;
	rd_kafka_queue_t *queue;
	int pipe[2];
	uv_poll_t readable;
	uv_timer_t timer;
	uv_work_t work;
	rd_kafka_topic_partition_list_t
		*found; /* by the work, NULL: not found; opaque is set at its end */
	bool *fresh;	/* by partition of the one topic: no position was committed */
	char problem[256];
	uint64_t backoff_ms;
	int ends_missing; /* partitions not yet read to their end */
	bool assigned, working, closing;
	int handles;
};

static bool set(rd_kafka_conf_t *conf, const char *name, const char *value, char *error,
		size_t size)
{
	return rd_kafka_conf_set(conf, name, value, error, size) == RD_KAFKA_CONF_OK;
}

static rd_kafka_conf_t *make_conf(struct tail *tail, char *error, size_t size)
{
	static const char *const settings[][2] = {
		{"client.id", "millraced"},
		{"enable.auto.commit", "false"},
		{"enable.auto.offset.store", "false"},
		{"enable.partition.eof", "true"},
		{"auto.offset.reset", "earliest"},
		{"check.crcs", "true"},
		{"receive.message.max.bytes", "16777216"},
		{"fetch.max.bytes", "4194304"},
		{"fetch.wait.max.ms", "100"},
		{"fetch.error.backoff.ms", "100"},
		{"reconnect.backoff.ms", "50"},
		{"reconnect.backoff.max.ms", "1000"},
		{"socket.nagle.disable", "true"},
		{"log_level", "3"},
	};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	bool ok = set(conf, "bootstrap.servers", tail->options.brokers, error, size);

	/* librdkafka wants one also where nothing is committed. */
	if (ok)
		ok = set(conf, "group.id",
			 tail->options.group ? tail->options.group : "millrace-state", error, size);
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && ok; i++)
		ok = set(conf, settings[i][0], settings[i][1], error, size);
	if (ok && !security_configure(&tail->access, conf, error, size))
		return conf;
	rd_kafka_conf_destroy(conf);
	return NULL;
}

/* --- finding the topics, on a thread of the pool --- */

static bool find_topic(struct tail *tail, const char *topic, rd_kafka_topic_partition_list_t *list)
{
	rd_kafka_topic_t *handle = rd_kafka_topic_new(tail->kafka, topic, NULL);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t rc =
		rd_kafka_metadata(tail->kafka, 0, handle, &metadata, METADATA_TIMEOUT_MS);

	rd_kafka_topic_destroy(handle);
	if (rc) {
		snprintf(tail->problem, sizeof(tail->problem), "topic %s: %s", topic,
			 rd_kafka_err2str(rc));
		return false;
	}

	const struct rd_kafka_metadata_topic *found = &metadata->topics[0];
	bool ok = metadata->topic_cnt == 1 && !found->err && found->partition_cnt > 0;

	if (!ok)
		snprintf(tail->problem, sizeof(tail->problem), "topic %s: %s", topic,
			 rd_kafka_err2str(metadata->topic_cnt
						  ? found->err
						  : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART));
	for (int i = 0; ok && i < found->partition_cnt; i++)
		rd_kafka_topic_partition_list_add(list, topic, i)->offset =
			RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_metadata_destroy(metadata);
	return ok;
}

/* Where the group left off; what was committed may be gone since, then the log's beginning. */
static bool find_positions(struct tail *tail, rd_kafka_topic_partition_list_t *list)
{
	rd_kafka_resp_err_t rc = rd_kafka_committed(tail->kafka, list, COMMITTED_TIMEOUT_MS);

	for (int i = 0; i < list->cnt && !rc; i++)
		rc = list->elems[i].err;
	if (rc) {
		snprintf(tail->problem, sizeof(tail->problem), "positions of group %s: %s",
			 tail->options.group, rd_kafka_err2str(rc));
		return false;
	}
	free(tail->fresh);
	tail->fresh = memory_zeroed((size_t)list->cnt, sizeof(*tail->fresh));
	for (int i = 0; i < list->cnt; i++) {
		tail->fresh[i] = list->elems[i].offset < 0;
		if (tail->fresh[i])
			list->elems[i].offset = RD_KAFKA_OFFSET_BEGINNING;
	}
	return true;
}

static void find(uv_work_t *work)
{
	struct tail *tail = work->data;
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
	bool ok = true;

	for (const char *const *topic = tail->options.topics; *topic && ok; topic++)
		ok = find_topic(tail, *topic, list);
	if (ok && tail->options.group)
		ok = find_positions(tail, list);
	if (ok) {
		tail->found = list;
		return;
	}
	rd_kafka_topic_partition_list_destroy(list);
}

/* --- on the loop --- */

static void *destroy(void *context)
{
	struct tail *tail = context;

	if (tail->found)
		rd_kafka_topic_partition_list_destroy(tail->found);
	rd_kafka_queue_destroy(tail->queue);
	/* A member of no group, so there is nothing to leave. */
	rd_kafka_destroy_flags(tail->kafka, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	close(tail->pipe[0]);
	close(tail->pipe[1]);
	free(tail->fresh);
	free(tail);
	return NULL;
}

/* Destroying waits for a commit under way, and so for a broker that may never answer: a tail that
 * commits is left to a thread, which the process does not wait for. */
static void finish(struct tail *tail)
{
	pthread_t thread;

	if (!tail->closing || tail->working || tail->handles)
		return;
	if (tail->options.group && pthread_create(&thread, NULL, destroy, tail) == 0)
		pthread_detach(thread);
	else
		destroy(tail);
}

static void on_timer(uv_timer_t *timer);

static void found(uv_work_t *work, int status)
{
	struct tail *tail = work->data;

	(void)status;
	tail->working = false;
	if (tail->closing) {
		finish(tail);
		return;
	}
	if (!tail->found) {
		tail->options.trouble(tail->options.context, tail->problem);
		uv_timer_start(&tail->timer, on_timer, tail->backoff_ms, 0);
		tail->backoff_ms = tail->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS
									 : tail->backoff_ms * 2;
		return;
	}
	tail->ends_missing = tail->found->cnt;
	rd_kafka_assign(tail->kafka, tail->found);
	tail->assigned = true;
	uv_timer_start(&tail->timer, on_timer, POLL_MS, POLL_MS);
}

/* A partition that grows reaches an end again and again; its first one counts. */
static void take_end(struct tail *tail, const rd_kafka_message_t *message)
{
	rd_kafka_topic_partition_t *partition = rd_kafka_topic_partition_list_find(
		tail->found, rd_kafka_topic_name(message->rkt), message->partition);

	if (!partition || partition->opaque)
		return;
	partition->opaque = tail;
	if (--tail->ends_missing == 0 && tail->options.caught_up)
		tail->options.caught_up(tail->options.context);
}

static void take(struct tail *tail, const rd_kafka_message_t *message)
{
	struct tail_record record;

	if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
		take_end(tail, message);
		return;
	}
	if (message->err) {
		tail->options.trouble(tail->options.context, rd_kafka_message_errstr(message));
		return;
	}
	record = (struct tail_record){
		.topic = rd_kafka_topic_name(message->rkt),
		.key = message->key,
		.key_length = message->key_len,
		.value = message->payload,
		.length = message->len,
		.append_ns = (uint64_t)rd_kafka_message_timestamp(message, NULL) * NS_PER_MS,
		.partition = message->partition,
		.offset = message->offset,
		.fresh = tail->fresh && tail->fresh[message->partition],
	};
	tail->options.record(tail->options.context, &record);
}

static void drain(struct tail *tail)
{
	char bytes[64];

	while (read(tail->pipe[0], bytes, sizeof(bytes)) == sizeof(bytes))
		;
	for (int i = 0; i < RECORDS_A_TURN && !tail->closing; i++) {
		rd_kafka_message_t *message = rd_kafka_consumer_poll(tail->kafka, 0);

		if (!message)
			return;
		take(tail, message);
		rd_kafka_message_destroy(message);
	}
	/* The descriptor tells of an empty queue's first record only, and this one is not empty.
	 * Not at once: timers that are due run before descriptors are looked at. */
	if (tail->assigned && !tail->closing)
		uv_timer_start(&tail->timer, on_timer, 1, POLL_MS);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	drain(poll->data);
}

static void on_timer(uv_timer_t *timer)
{
	struct tail *tail = timer->data;

	if (tail->assigned) {
		drain(tail);
		return;
	}
	tail->working = true;
	uv_queue_work(tail->options.loop, &tail->work, find, found);
}

struct tail *tail_new(const struct tail_options *options, char *error, size_t size)
{
	struct tail *tail = memory_zeroed(1, sizeof(*tail));
	rd_kafka_conf_t *conf;
	rd_kafka_t *kafka;

	tail->options = *options;
	tail->access.security = options->security;
	conf = make_conf(tail, error, size);
	kafka = conf ? rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, size) : NULL;
	if (!kafka) {
		if (conf)
			rd_kafka_conf_destroy(conf);
		free(tail);
		return NULL;
	}
	security_begin(&tail->access, kafka);
	rd_kafka_poll_set_consumer(kafka);
	tail->kafka = kafka;
	tail->backoff_ms = BACKOFF_MIN_MS;
	tail->queue = rd_kafka_queue_get_consumer(kafka);
	if (uv_pipe(tail->pipe, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE)) {
		snprintf(error, size, "no descriptors left for a pipe");
		security_end(&tail->access);
		rd_kafka_queue_destroy(tail->queue);
		rd_kafka_destroy(kafka);
		free(tail);
		return NULL;
	}
	rd_kafka_queue_io_event_enable(tail->queue, tail->pipe[1], "1", 1);
	/* What came before that told nobody, and the queue tells only when it stops being empty. */
	if (write(tail->pipe[1], "1", 1) != 1)
		abort(); /* a fresh pipe takes a byte */
	uv_poll_init(options->loop, &tail->readable, tail->pipe[0]);
	uv_timer_init(options->loop, &tail->timer);
	tail->handles = 2;
	tail->readable.data = tail->timer.data = tail->work.data = tail;
	uv_poll_start(&tail->readable, UV_READABLE, on_readable);
	uv_timer_start(&tail->timer, on_timer, 0, 0);
	return tail;
}

void tail_commit(struct tail *tail, int32_t partition, int64_t offset)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

	assert(tail->options.group);
	rd_kafka_topic_partition_list_add(list, tail->options.topics[0], partition)->offset =
		offset;
	rd_kafka_commit(tail->kafka, list, 1);
	rd_kafka_topic_partition_list_destroy(list);
}

static void on_closed(uv_handle_t *handle)
{
	struct tail *tail = handle->data;

	tail->handles--;
	finish(tail);
}

void tail_close(struct tail *tail)
{
	tail->closing = true;
	security_end(&tail->access);
	uv_close((uv_handle_t *)&tail->readable, on_closed);
	uv_close((uv_handle_t *)&tail->timer, on_closed);
}
