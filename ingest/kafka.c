#include "ingest/kafka.h"

#include <errno.h>
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

/* A record batch that cannot be decompressed is fetched again for ever; after this many tries its
 * offset is passed over in growing steps. */
enum { BAD_TRIES_MAX = 3, BAD_STEP_MAX = 1024 };

struct partition {
	rd_kafka_queue_t *queue;
	rd_kafka_message_t *lent;
	int pipe[2];
	int64_t next_offset; /* expected */
	int64_t bad_step;
	int bad_tries;
};

struct consumer {
	struct consumer_options options;
	rd_kafka_t *kafka;
	rd_kafka_topic_partition_list_t *positions;
	struct partition *partitions;
	_Atomic uint64_t records, bytes, undecodable, wrong_time, lost_offsets, errors;
	_Atomic bool connected;
	_Atomic bool closing; /* nobody is told any more */
};

static const struct consumer_setting defaults[] = {
	{"client.id", "millraced"},
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"auto.offset.reset", "error"},
	{"partition.assignment.strategy", "range"},
	{"session.timeout.ms", "10000"},
	{"max.poll.interval.ms", "60000"},
	/* Two seconds of the heaviest load, each partition: a full queue stops fetching for a
	   second. */
	{"queued.max.messages.kbytes", "32768"},
	{"queued.min.messages", "100000"},
	{"fetch.max.bytes", "4194304"},
	{"receive.message.max.bytes", "16777216"},
	{"fetch.wait.max.ms", "20"},
	{"fetch.min.bytes", "1"},
	{"check.crcs", "true"},
	{"reconnect.backoff.ms", "50"},
	{"reconnect.backoff.max.ms", "1000"},
	{"topic.metadata.refresh.interval.ms", "30000"},
	{"fetch.error.backoff.ms", "100"},
	{"socket.nagle.disable", "true"},
	{"log.connection.close", "false"},
};

static void trouble(struct consumer *consumer, const char *sentence)
{
	atomic_fetch_add(&consumer->errors, 1);
	if (!atomic_load(&consumer->closing))
		consumer->options.trouble(consumer->options.context, sentence);
}

static void on_error(rd_kafka_t *kafka, int code, const char *reason, void *context)
{
	struct consumer *consumer = context;

	(void)kafka;
	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		atomic_store(&consumer->connected, false);
	trouble(consumer, reason);
}

static bool set(rd_kafka_conf_t *conf, const char *name, const char *value, char *error,
		size_t size)
{
	return rd_kafka_conf_set(conf, name, value, error, size) == RD_KAFKA_CONF_OK;
}

static rd_kafka_conf_t *make_conf(struct consumer *consumer, char *error, size_t size)
{
	const struct consumer_options *options = &consumer->options;
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	bool ok = set(conf, "bootstrap.servers", options->brokers, error, size) &&
		  set(conf, "group.id", options->group, error, size);

	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]) && ok; i++)
		ok = set(conf, defaults[i].name, defaults[i].value, error, size);
	for (size_t i = 0; i < options->settings_count && ok; i++)
		ok = set(conf, options->settings[i].name, options->settings[i].value, error, size);
	if (!ok) {
		rd_kafka_conf_destroy(conf);
		return NULL;
	}
	rd_kafka_conf_set_opaque(conf, consumer);
	rd_kafka_conf_set_error_cb(conf, on_error);
	return conf;
}

struct consumer *consumer_new(const struct consumer_options *options, char *error, size_t size)
{
	struct consumer *consumer = memory_zeroed(1, sizeof(*consumer));
	rd_kafka_conf_t *conf;

	consumer->options = *options;
	conf = make_conf(consumer, error, size);
	if (!conf) {
		free(consumer);
		return NULL;
	}
	consumer->kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, size);
	if (!consumer->kafka) {
		rd_kafka_conf_destroy(conf);
		free(consumer);
		return NULL;
	}
	consumer->partitions = memory_zeroed(options->partitions, sizeof(*consumer->partitions));
	return consumer;
}

/* --- where to begin --- */

static int check_topic(struct consumer *consumer, int timeout_ms, char *error, size_t size)
{
	const struct consumer_options *options = &consumer->options;
	rd_kafka_topic_t *handle = rd_kafka_topic_new(consumer->kafka, options->topic, NULL);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t rc =
		rd_kafka_metadata(consumer->kafka, 0, handle, &metadata, timeout_ms);
	int partitions = 0;

	rd_kafka_topic_destroy(handle);
	if (rc == RD_KAFKA_RESP_ERR_NO_ERROR) {
		rc = metadata->topic_cnt ? metadata->topics[0].err
					 : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
		partitions = metadata->topic_cnt ? metadata->topics[0].partition_cnt : 0;
		rd_kafka_metadata_destroy(metadata);
	}
	if (rc) {
		snprintf(error, size, "topic %s at %s: %s", options->topic, options->brokers,
			 rd_kafka_err2str(rc));
		return -EAGAIN;
	}
	if (partitions != (int)options->partitions) {
		snprintf(error, size,
			 "topic %s has %d partitions and pipeline.tasks is %u: make them equal",
			 options->topic, partitions, options->partitions);
		return -EINVAL;
	}
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS;
}

/* Partitions without a committed offset begin where the log was rewind_ns ago. */
static rd_kafka_resp_err_t rewind_missing(struct consumer *consumer, int timeout_ms)
{
	rd_kafka_topic_partition_list_t *list = consumer->positions;
	rd_kafka_topic_partition_list_t *times = rd_kafka_topic_partition_list_new(list->cnt);
	rd_kafka_resp_err_t rc = RD_KAFKA_RESP_ERR_NO_ERROR;
	int64_t from_ms = (int64_t)(now_ms() - consumer->options.rewind_ns / NS_PER_MS);

	for (int i = 0; i < list->cnt; i++) {
		if (list->elems[i].offset < 0)
			rd_kafka_topic_partition_list_add(times, list->elems[i].topic,
							  list->elems[i].partition)
				->offset = from_ms;
	}
	/* A broker of create time (the embedded one) cannot look times up: there the beginning is
	 * near enough. */
	if (times->cnt && !consumer->options.accept_create_time)
		rc = rd_kafka_offsets_for_times(consumer->kafka, times, timeout_ms);
	for (int i = 0; i < times->cnt && !rc; i++) {
		rd_kafka_topic_partition_t *position = rd_kafka_topic_partition_list_find(
			list, times->elems[i].topic, times->elems[i].partition);

		/* No record is that young: all that comes from now on. */
		if (consumer->options.accept_create_time || times->elems[i].err)
			position->offset = RD_KAFKA_OFFSET_BEGINNING;
		else
			position->offset = times->elems[i].offset >= 0 ? times->elems[i].offset
								       : RD_KAFKA_OFFSET_END;
	}
	rd_kafka_topic_partition_list_destroy(times);
	return rc;
}

/* What was committed may have been deleted since: begin where the log begins, and say so. */
static rd_kafka_resp_err_t check_ranges(struct consumer *consumer, int timeout_ms)
{
	for (int i = 0; i < consumer->positions->cnt; i++) {
		rd_kafka_topic_partition_t *position = &consumer->positions->elems[i];
		int64_t low, high;
		rd_kafka_resp_err_t rc = rd_kafka_query_watermark_offsets(
			consumer->kafka, position->topic, position->partition, &low, &high,
			timeout_ms);
		char sentence[256];

		if (rc)
			return rc;
		if (position->offset == RD_KAFKA_OFFSET_END)
			position->offset = high;
		if (position->offset < 0 || (position->offset >= low && position->offset <= high))
			continue;
		snprintf(sentence, sizeof(sentence),
			 "partition %d: the position %lld is outside of the log (%lld to %lld); "
			 "reading goes on at %s",
			 position->partition, (long long)position->offset, (long long)low,
			 (long long)high, position->offset < low ? "its beginning" : "its end");
		if (position->offset < low)
			atomic_fetch_add(&consumer->lost_offsets,
					 (uint64_t)(low - position->offset));
		position->offset = position->offset < low ? low : high;
		trouble(consumer, sentence);
	}
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static int find_positions(struct consumer *consumer, int timeout_ms, char *error, size_t size)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new((int)consumer->options.partitions);
	rd_kafka_resp_err_t rc;

	for (uint32_t i = 0; i < consumer->options.partitions; i++)
		rd_kafka_topic_partition_list_add(list, consumer->options.topic, (int32_t)i);
	if (consumer->positions)
		rd_kafka_topic_partition_list_destroy(consumer->positions);
	consumer->positions = list;
	rc = rd_kafka_committed(consumer->kafka, list, timeout_ms);
	if (!rc)
		rc = rewind_missing(consumer, timeout_ms);
	if (!rc)
		rc = check_ranges(consumer, timeout_ms);
	if (!rc)
		return 0;
	snprintf(error, size, "positions of group %s in %s: %s", consumer->options.group,
		 consumer->options.topic, rd_kafka_err2str(rc));
	return -EAGAIN;
}

static int open_partition(struct consumer *consumer, uint32_t number)
{
	struct partition *partition = &consumer->partitions[number];

	if (pipe2(partition->pipe, O_NONBLOCK | O_CLOEXEC))
		return -errno;
	partition->queue = rd_kafka_queue_get_partition(consumer->kafka, consumer->options.topic,
							(int32_t)number);
	if (!partition->queue)
		return -EAGAIN;
	rd_kafka_queue_forward(partition->queue, NULL);
	rd_kafka_queue_io_event_enable(partition->queue, partition->pipe[1], "1", 1);
	partition->next_offset = -1;
	return 0;
}

int consumer_connect(struct consumer *consumer, int timeout_ms, char *error, size_t size)
{
	int rc = check_topic(consumer, timeout_ms, error, size);

	if (rc == 0)
		rc = find_positions(consumer, timeout_ms, error, size);
	for (uint32_t i = 0; rc == 0 && i < consumer->options.partitions; i++) {
		rc = open_partition(consumer, i);
		if (rc)
			snprintf(error, size, "partition %u: %s", i, strerror(-rc));
	}
	if (rc)
		return rc;
	rd_kafka_assign(consumer->kafka, consumer->positions);
	atomic_store(&consumer->connected, true);
	return 0;
}

int consumer_descriptor(const struct consumer *consumer, uint32_t partition)
{
	return consumer->partitions[partition].pipe[0];
}

/* --- records --- */

static void give_back(struct partition *partition)
{
	if (partition->lent)
		rd_kafka_message_destroy(partition->lent);
	partition->lent = NULL;
}

static void seek_to(struct consumer *consumer, uint32_t number, int64_t offset)
{
	rd_kafka_topic_t *topic =
		rd_kafka_topic_new(consumer->kafka, consumer->options.topic, NULL);

	rd_kafka_seek(topic, (int32_t)number, offset, 0);
	rd_kafka_topic_destroy(topic);
}

/* Returns whether the message stands for a record batch that was given up. */
static bool take_error(struct consumer *consumer, uint32_t number,
		       const rd_kafka_message_t *message)
{
	struct partition *partition = &consumer->partitions[number];
	char sentence[256];

	snprintf(sentence, sizeof(sentence), "partition %u at offset %lld: %s", number,
		 (long long)message->offset, rd_kafka_message_errstr(message));
	trouble(consumer, sentence);
	if (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
	    message->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE) {
		/* Retention or truncation overtook us: what is left is read. */
		int64_t low = 0, high = 0;

		rd_kafka_get_watermark_offsets(consumer->kafka, consumer->options.topic,
					       (int32_t)number, &low, &high);
		if (partition->next_offset >= 0 && low > partition->next_offset)
			atomic_fetch_add(&consumer->lost_offsets,
					 (uint64_t)(low - partition->next_offset));
		seek_to(consumer, number, RD_KAFKA_OFFSET_BEGINNING);
		return false;
	}
	if (message->err != RD_KAFKA_RESP_ERR__BAD_COMPRESSION &&
	    message->err != RD_KAFKA_RESP_ERR__BAD_MSG)
		return false;
	if (++partition->bad_tries < BAD_TRIES_MAX)
		return false;
	partition->bad_tries = 0;
	partition->bad_step = partition->bad_step ? partition->bad_step * 2 : 1;
	if (partition->bad_step > BAD_STEP_MAX)
		partition->bad_step = BAD_STEP_MAX;
	/* From where the last step ended: a batch may hold more records than the largest step. */
	partition->next_offset =
		(partition->next_offset > 0 ? partition->next_offset : 0) + partition->bad_step;
	seek_to(consumer, number, partition->next_offset);
	atomic_fetch_add(&consumer->undecodable, 1);
	return true;
}

static void fill(struct consumer *consumer, const rd_kafka_message_t *message,
		 struct mirror_record *record)
{
	rd_kafka_timestamp_type_t type;
	int64_t time_ms = rd_kafka_message_timestamp(message, &type);

	if (type != RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME && !consumer->options.accept_create_time &&
	    atomic_fetch_add(&consumer->wrong_time, 1) == 0)
		trouble(consumer, "records carry their producers' time: set "
				  "message.timestamp.type=LogAppendTime on the "
				  "topic, or kafka.accept_create_time");
	*record = (struct mirror_record){
		.value = message->payload,
		.length = message->len,
		.append_ns = time_ms > 0 ? (uint64_t)time_ms * NS_PER_MS : 0,
		.offset = message->offset,
	};
}

bool consumer_next(struct consumer *consumer, uint32_t number, struct mirror_record *record)
{
	struct partition *partition = &consumer->partitions[number];
	rd_kafka_message_t *message;

	give_back(partition);
	/* The main queue carries errors of the client; one partition serves it for all. */
	if (number == 0)
		rd_kafka_poll(consumer->kafka, 0);
	while ((message = rd_kafka_consume_queue(partition->queue, 0)) != NULL) {
		if (message->err) {
			bool given_up = take_error(consumer, number, message);

			rd_kafka_message_destroy(message);
			if (!given_up)
				continue;
			*record = (struct mirror_record){.offset = partition->next_offset - 1};
			return true;
		}
		partition->lent = message;
		partition->next_offset = message->offset + 1;
		partition->bad_tries = 0;
		partition->bad_step = 0;
		fill(consumer, message, record);
		atomic_store_explicit(&consumer->connected, true, memory_order_relaxed);
		atomic_fetch_add_explicit(&consumer->records, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&consumer->bytes, message->len, memory_order_relaxed);
		return true;
	}
	return false;
}

void consumer_commit(struct consumer *consumer, uint32_t partition, int64_t offset)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

	rd_kafka_topic_partition_list_add(list, consumer->options.topic, (int32_t)partition)
		->offset = offset;
	/* Asynchronous; a commit that fails is followed by the next one. */
	rd_kafka_commit(consumer->kafka, list, 1);
	rd_kafka_topic_partition_list_destroy(list);
}

struct consumer_stats consumer_stats(struct consumer *consumer)
{
	return (struct consumer_stats){
		.records = atomic_load(&consumer->records),
		.bytes = atomic_load(&consumer->bytes),
		.undecodable = atomic_load(&consumer->undecodable),
		.wrong_time = atomic_load(&consumer->wrong_time),
		.lost_offsets = atomic_load(&consumer->lost_offsets),
		.errors = atomic_load(&consumer->errors),
		.connected = atomic_load(&consumer->connected),
	};
}

/* Destroying waits for a commit under way, and so for a broker that may never answer; correctness
 * does not need it. */
static void *destroy(void *context)
{
	struct consumer *consumer = context;

	rd_kafka_destroy_flags(consumer->kafka, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	return NULL;
}

/* Whether it came to its end within timeout_ms; else it is left to go on by itself. */
static bool destroy_within(struct consumer *consumer, int timeout_ms)
{
	struct timespec until;
	pthread_t thread;

	if (pthread_create(&thread, NULL, destroy, consumer))
		return false;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += timeout_ms % 1000 * (long)NS_PER_MS;
	if (until.tv_nsec >= (long)NS_PER_S) {
		until.tv_sec++;
		until.tv_nsec -= (long)NS_PER_S;
	}
	if (pthread_timedjoin_np(thread, NULL, &until) == 0)
		return true;
	pthread_detach(thread);
	return false;
}

void consumer_close(struct consumer *consumer, int timeout_ms)
{
	atomic_store(&consumer->closing, true);
	for (uint32_t i = 0; i < consumer->options.partitions; i++) {
		give_back(&consumer->partitions[i]);
		if (consumer->partitions[i].queue)
			rd_kafka_queue_destroy(consumer->partitions[i].queue);
	}
	rd_kafka_assign(consumer->kafka, NULL);
	if (!destroy_within(consumer, timeout_ms))
		return; /* the client's threads still use what is left */
	for (uint32_t i = 0; i < consumer->options.partitions; i++) {
		if (consumer->partitions[i].queue) {
			close(consumer->partitions[i].pipe[0]);
			close(consumer->partitions[i].pipe[1]);
		}
	}
	if (consumer->positions)
		rd_kafka_topic_partition_list_destroy(consumer->positions);
	free(consumer->partitions);
	free(consumer);
}
