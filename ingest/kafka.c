#include "ingest/kafka.h"

#include <errno.h>
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/real.h"
#include "kafka/join.h"
#include "kafka/security.h"

/* A record batch that cannot be decompressed is fetched again for ever; after this many tries its
 * offset is passed over in growing steps. */
enum { BAD_TRIES_MAX = 3, BAD_STEP_MAX = 1024 };

struct partition {
	rd_kafka_queue_t *queue;
	rd_kafka_message_t *lent;
	int pipe[2];
	_Atomic int64_t next_offset; /* expected; -1: not known yet */
	_Atomic bool astray;	     /* the log does not have it: consumer_watch sees to it */
	_Atomic bool fresh;	     /* nothing was read yet of a log that took another's place */
	int64_t bad_step;
	int bad_tries;
};

struct consumer {
	struct security_client access; /* first: the client's opaque */
	struct consumer_options options;
	rd_kafka_t *kafka;
	rd_kafka_topic_partition_list_t *positions;
	struct partition *partitions;
	uint32_t first;	       /* of those that are owned */
	bool *owned;	       /* by partition; none before it is connected */
	const int64_t *begins; /* by partition; NULL: where the group left off */
	int64_t begins_ms;     /* by then they were read */
	uint64_t begins_ns;    /* or when; 0: neither */
	/* The watch's, by partition. */
	struct consumer_anchor *anchors;
	int64_t *highs; /* the logs' ends at the last watch; -1: none was */
	bool own_anchors;
	_Atomic uint64_t records, bytes, undecodable, wrong_time, losses, lost_offsets, errors;
	_Atomic bool stopped; /* by a loss */
	_Atomic uint64_t retention_ns;
	uint32_t watches; /* so far */
	_Atomic bool connected;
	_Atomic bool closing; /* nobody is told any more */
};

static const struct {
	const char *name, *value;
} defaults[] = {
	{"client.id", "millraced"},
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"auto.offset.reset", "error"},
	{"partition.assignment.strategy", "range"},
	{"session.timeout.ms", "10000"},
	{"max.poll.interval.ms", "60000"},
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
	/* Errors come by on_error; of what is milder there is a line a partition and second while a
	   coordinator is away. */
	{"log_level", "3"},
};

static void trouble(struct consumer *consumer, const char *sentence)
{
	atomic_fetch_add(&consumer->errors, 1);
	if (!atomic_load(&consumer->closing))
		consumer->options.trouble(consumer->options.context, sentence);
}

static void trouble_advised(struct consumer *consumer, const char *reason)
{
	const char *advice = security_advice(reason);
	char sentence[512];

	snprintf(sentence, sizeof(sentence), "%s%s%s", reason, advice[0] ? ": " : "", advice);
	trouble(consumer, sentence);
}

static void on_error(rd_kafka_t *kafka, int code, const char *reason, void *context)
{
	struct consumer *consumer = context;

	(void)kafka;
	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		atomic_store(&consumer->connected, false);
	trouble_advised(consumer, reason);
}

static bool set(rd_kafka_conf_t *conf, const char *name, const char *value, char *error,
		size_t size)
{
	return rd_kafka_conf_set(conf, name, value, error, size) == RD_KAFKA_CONF_OK;
}

/* Each partition's queue. Two seconds of the heaviest load by default: a full one stops fetching
 * for a second. */
static bool set_queue(rd_kafka_conf_t *conf, uint32_t mib, char *error, size_t size)
{
	char kbytes[16];

	snprintf(kbytes, sizeof(kbytes), "%u", (mib ? mib : 32) * 1024);
	return set(conf, "queued.max.messages.kbytes", kbytes, error, size);
}

static rd_kafka_conf_t *make_conf(struct consumer *consumer, char *error, size_t size)
{
	const struct consumer_options *options = &consumer->options;
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	bool ok = set(conf, "bootstrap.servers", options->brokers, error, size) &&
		  set(conf, "group.id", options->group, error, size);

	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]) && ok; i++)
		ok = set(conf, defaults[i].name, defaults[i].value, error, size);
	ok = ok && set_queue(conf, options->fetched_mib, error, size);
	if (!ok || security_configure(&consumer->access, conf, error, size)) {
		rd_kafka_conf_destroy(conf);
		return NULL;
	}
	rd_kafka_conf_set_error_cb(conf, on_error);
	return conf;
}

struct consumer *consumer_new(const struct consumer_options *options, char *error, size_t size)
{
	struct consumer *consumer = memory_zeroed(1, sizeof(*consumer));
	rd_kafka_conf_t *conf;

	consumer->options = *options;
	consumer->access.security = options->security;
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
	security_begin(&consumer->access, consumer->kafka);
	consumer->partitions = memory_zeroed(options->partitions, sizeof(*consumer->partitions));
	consumer->owned = memory_zeroed(options->partitions, sizeof(*consumer->owned));
	consumer->highs = memory_zeroed(options->partitions, sizeof(*consumer->highs));
	consumer->own_anchors = !options->anchors;
	consumer->anchors = options->anchors;
	if (consumer->own_anchors)
		consumer->anchors = memory_zeroed(options->partitions, sizeof(*consumer->anchors));
	for (uint32_t i = 0; i < options->partitions; i++) {
		consumer->highs[i] = -1;
		if (consumer->own_anchors)
			consumer->anchors[i] = CONSUMER_NO_ANCHOR;
		consumer->partitions[i].pipe[0] = consumer->partitions[i].pipe[1] = -1;
	}
	return consumer;
}

/* --- where to begin --- */

static rd_kafka_resp_err_t count_partitions(struct consumer *consumer, int timeout_ms,
					    int *partitions)
{
	rd_kafka_topic_t *handle =
		rd_kafka_topic_new(consumer->kafka, consumer->options.topic, NULL);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t rc =
		rd_kafka_metadata(consumer->kafka, 0, handle, &metadata, timeout_ms);

	rd_kafka_topic_destroy(handle);
	if (rc)
		return rc;
	rc = metadata->topic_cnt ? metadata->topics[0].err
				 : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	*partitions = metadata->topic_cnt ? metadata->topics[0].partition_cnt : 0;
	rd_kafka_metadata_destroy(metadata);
	return rc;
}

static int check_topic(struct consumer *consumer, int timeout_ms, char *error, size_t size)
{
	const struct consumer_options *options = &consumer->options;
	int partitions = 0;
	rd_kafka_resp_err_t rc = count_partitions(consumer, timeout_ms, &partitions);

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

/* Of the log, by the place in consumer.positions. */
struct ends {
	int64_t low, high;
};

static rd_kafka_resp_err_t ask_ends(struct consumer *consumer, struct ends *ends, int timeout_ms)
{
	const rd_kafka_topic_partition_list_t *list = consumer->positions;
	rd_kafka_resp_err_t rc = RD_KAFKA_RESP_ERR_NO_ERROR;

	for (int i = 0; i < list->cnt && !rc; i++)
		rc = rd_kafka_query_watermark_offsets(consumer->kafka, list->elems[i].topic,
						      list->elems[i].partition, &ends[i].low,
						      &ends[i].high, timeout_ms);
	return rc;
}

/* Partitions without a committed offset begin where the log was rewind_ns ago. */
static rd_kafka_resp_err_t rewind_missing(struct consumer *consumer, int timeout_ms)
{
	rd_kafka_topic_partition_list_t *list = consumer->positions;
	rd_kafka_topic_partition_list_t *times = rd_kafka_topic_partition_list_new(list->cnt);
	rd_kafka_resp_err_t rc = RD_KAFKA_RESP_ERR_NO_ERROR;
	uint64_t from_ms = consumer->begins_ns ? consumer->begins_ns / NS_PER_MS
					       : real_ns() / NS_PER_MS -
							 consumer->options.rewind_ns / NS_PER_MS;

	for (int i = 0; i < list->cnt; i++) {
		if (list->elems[i].offset < 0)
			rd_kafka_topic_partition_list_add(times, list->elems[i].topic,
							  list->elems[i].partition)
				->offset = (int64_t)from_ms;
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

/* Records that are gone, from `from` to before `to`; to is below from where the log ends before the
 * position: it was cut, or is another. */
static void tell_loss(struct consumer *consumer, int32_t partition, int64_t from, int64_t to,
		      const char *why)
{
	bool ends = consumer->options.stop_on_loss;
	char sentence[320];

	atomic_fetch_add(&consumer->losses, 1);
	if (to > from)
		atomic_fetch_add(&consumer->lost_offsets, (uint64_t)(to - from));
	snprintf(sentence, sizeof(sentence),
		 "data loss in partition %d of %s: from %lld to %lld: %s; %s "
		 "(pipeline.on_data_loss)",
		 partition, consumer->options.topic, (long long)from, (long long)to, why,
		 ends ? "reading ends" : "reading goes on");
	if (ends)
		atomic_store(&consumer->stopped, true);
	if (!atomic_load(&consumer->closing))
		consumer->options.loss(consumer->options.context, sentence);
}

/* By partition the offset of the first record at or after anchors' times; -1: none, or not asked.
 */
static rd_kafka_resp_err_t ask_times(struct consumer *consumer, int64_t *offsets, int timeout_ms)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new((int)consumer->options.partitions);
	rd_kafka_resp_err_t rc = RD_KAFKA_RESP_ERR_NO_ERROR;

	for (uint32_t i = 0; i < consumer->options.partitions; i++) {
		offsets[i] = -1;
		if (consumer->owned[i] && consumer->anchors[i].time_ms >= 0)
			rd_kafka_topic_partition_list_add(list, consumer->options.topic, (int)i)
				->offset = consumer->anchors[i].time_ms;
	}
	if (list->cnt)
		rc = rd_kafka_offsets_for_times(consumer->kafka, list, timeout_ms);
	for (int i = 0; i < list->cnt && !rc; i++) {
		if (list->elems[i].err)
			rc = list->elems[i].err;
		else
			offsets[list->elems[i].partition] = list->elems[i].offset;
	}
	rd_kafka_topic_partition_list_destroy(list);
	return rc;
}

static bool is_cast(const struct consumer_anchor *anchor)
{
	return anchor->time_ms >= 0 && anchor->offset >= 0;
}

/* From which offset on the log is not what it was when its anchor was cast; -1: from none. offset:
 * the first at or after the anchor's time now. */
static int64_t changed_from(const struct consumer_anchor *anchor, int64_t offset, int64_t high)
{
	if (!is_cast(anchor))
		return -1;
	if (offset < 0)
		return high <= anchor->offset ? high : -1;
	return offset < anchor->offset ? offset : -1;
}

/* A log made anew has no record of before the anchor's time; one that was cut has. */
static bool is_other(const struct consumer_anchor *anchor, int64_t high_before, int64_t changed,
		     int64_t low, int64_t high)
{
	if (!is_cast(anchor))
		return low == 0 && high < high_before; /* all that is known is how long it was */
	return changed >= 0 && changed <= low;
}

/* Of a log that was cut, until it is cast again. */
static void forget_anchor(struct consumer_anchor *anchor)
{
	anchor->time_ms = anchor->offset = -1;
}

/* From now on until something is read of it no position is known to be of this log. */
static void forget_log(struct consumer *consumer, uint32_t number)
{
	consumer->anchors[number].since_ms = INT64_MAX; /* first: a kill may come between */
	consumer->anchors[number] = (struct consumer_anchor){-1, -1, INT64_MAX};
}

/* Where it is to begin was so in a log whose place this one took since. */
static bool begins_elsewhere(const struct consumer *consumer, uint32_t number)
{
	return consumer->begins && consumer->begins[number] >= 0 &&
	       consumer->anchors[number].since_ms > consumer->begins_ms;
}

/* What was committed may have been deleted since: begin where the log begins, and say so. */
static void check_range(struct consumer *consumer, rd_kafka_topic_partition_t *position,
			int64_t offset, int64_t low, int64_t high)
{
	uint32_t number = (uint32_t)position->partition;
	struct consumer_anchor *anchor = &consumer->anchors[number];
	int64_t changed = changed_from(anchor, offset, high);
	bool other = is_other(anchor, -1, changed, low, high), below;

	if (position->offset == RD_KAFKA_OFFSET_END)
		position->offset = high;
	if (other || begins_elsewhere(consumer, number)) {
		tell_loss(consumer, position->partition, position->offset, low,
			  "it is another log: the topic was deleted and made anew");
		position->offset = low;
	}
	if (other) {
		forget_log(consumer, number);
	} else if (changed >= 0) {
		forget_anchor(anchor);
		if (position->offset > changed) {
			tell_loss(consumer, position->partition, position->offset, changed,
				  "the log was cut");
			position->offset = changed;
		}
	}
	if (position->offset < 0 || (position->offset >= low && position->offset <= high))
		return;
	below = position->offset < low;
	tell_loss(consumer, position->partition, position->offset, below ? low : high,
		  below ? "the log begins after them"
			: "the log ends before: it was cut, or is another");
	position->offset = below ? low : high;
}

static void check_ranges(struct consumer *consumer, const struct ends *ends, const int64_t *offsets)
{
	for (int i = 0; i < consumer->positions->cnt; i++) {
		rd_kafka_topic_partition_t *position = &consumer->positions->elems[i];

		check_range(consumer, position, offsets[position->partition], ends[i].low,
			    ends[i].high);
	}
}

static void take_positions(struct consumer *consumer)
{
	const int64_t *positions = consumer->begins;

	for (int i = 0; positions && i < consumer->positions->cnt; i++) {
		rd_kafka_topic_partition_t *position = &consumer->positions->elems[i];

		if (positions[position->partition] >= 0)
			position->offset = positions[position->partition];
	}
}

/* Then the group's coordinator need not be waited for, which may be away for longer than the log.
 */
static bool knows_all(const struct consumer *consumer)
{
	for (uint32_t i = 0; consumer->begins && i < consumer->options.partitions; i++) {
		if (consumer->owned[i] && consumer->begins[i] < 0)
			return false;
	}
	return consumer->begins || consumer->begins_ns;
}

static int find_positions(struct consumer *consumer, int timeout_ms, char *error, size_t size)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new((int)consumer->options.partitions);
	int64_t *offsets = memory_zeroed(consumer->options.partitions, sizeof(*offsets));
	struct ends *ends = memory_zeroed(consumer->options.partitions, sizeof(*ends));
	rd_kafka_resp_err_t rc;

	for (uint32_t i = 0; i < consumer->options.partitions; i++) {
		if (consumer->owned[i])
			rd_kafka_topic_partition_list_add(list, consumer->options.topic,
							  (int32_t)i);
	}
	if (consumer->positions)
		rd_kafka_topic_partition_list_destroy(consumer->positions);
	consumer->positions = list;
	rc = knows_all(consumer) ? RD_KAFKA_RESP_ERR_NO_ERROR
				 : rd_kafka_committed(consumer->kafka, list, timeout_ms);
	take_positions(consumer);
	/* The ends first: what comes between the questions is behind them, and so is read. All
	 * answers before any is used: what is half known is asked for again from the start. */
	if (!rc)
		rc = ask_ends(consumer, ends, timeout_ms);
	if (!rc)
		rc = rewind_missing(consumer, timeout_ms);
	if (!rc)
		rc = ask_times(consumer, offsets, timeout_ms);
	if (!rc)
		check_ranges(consumer, ends, offsets);
	free(ends);
	free(offsets);
	if (atomic_load(&consumer->stopped)) {
		snprintf(error, size,
			 "topic %s lost records before they were read, and on_data_loss is stop: "
			 "the lines before say which",
			 consumer->options.topic);
		return -EINVAL;
	}
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
	atomic_store(&partition->next_offset, -1);
	atomic_store(&partition->fresh, consumer->anchors[number].since_ms == INT64_MAX);
	return 0;
}

void consumer_begin_at(struct consumer *consumer, const int64_t *positions, int64_t time_ms)
{
	consumer->begins = positions;
	consumer->begins_ms = time_ms;
}

void consumer_begin_when(struct consumer *consumer, uint64_t time_ns)
{
	consumer->begins_ns = time_ns;
}

static void take_owned(struct consumer *consumer)
{
	consumer->first = consumer->options.partitions;
	for (uint32_t i = consumer->options.partitions; i-- > 0;) {
		consumer->owned[i] = !consumer->options.owned || consumer->options.owned[i];
		if (consumer->owned[i])
			consumer->first = i;
	}
}

int consumer_connect(struct consumer *consumer, int timeout_ms, char *error, size_t size)
{
	int rc = check_topic(consumer, timeout_ms, error, size);

	take_owned(consumer);
	if (rc == 0)
		rc = find_positions(consumer, timeout_ms, error, size);
	for (uint32_t i = 0; rc == 0 && i < consumer->options.partitions; i++) {
		rc = consumer->owned[i] ? open_partition(consumer, i) : 0;
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
		/* Retention overtook us, or the log was cut or made anew. */
		atomic_store(&partition->astray, true);
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
	if (atomic_load_explicit(&consumer->stopped, memory_order_relaxed))
		return false;
	/* The main queue carries errors of the client; one partition serves it for all. */
	if (number == consumer->first)
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
		if (atomic_load_explicit(&partition->fresh, memory_order_acquire)) {
			consumer->anchors[number].since_ms =
				(int64_t)(record->append_ns / NS_PER_MS);
			atomic_store(&partition->fresh, false);
		}
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

/* --- the topic as time goes by --- */

static bool any_astray(const struct consumer *consumer)
{
	for (uint32_t i = 0; i < consumer->options.partitions; i++) {
		if (atomic_load_explicit(&consumer->partitions[i].astray, memory_order_relaxed))
			return true;
	}
	return false;
}

/* A partition whose position the log does not have is not fetched any more, and a seek alone does
 * not change that: it is given up and taken anew. What was fetched before of it is dropped. */
static void fetch_from(struct consumer *consumer, uint32_t number, int64_t offset)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_error_t *error;

	rd_kafka_topic_partition_list_add(list, consumer->options.topic, (int32_t)number)->offset =
		offset;
	error = rd_kafka_incremental_unassign(consumer->kafka, list);
	if (!error)
		error = rd_kafka_incremental_assign(consumer->kafka, list);
	if (error) {
		trouble(consumer, rd_kafka_error_string(error));
		rd_kafka_error_destroy(error);
	}
	rd_kafka_topic_partition_list_destroy(list);
}

static void go_on_at(struct consumer *consumer, uint32_t number, int64_t offset)
{
	struct partition *partition = &consumer->partitions[number];

	atomic_store(&partition->next_offset, offset);
	atomic_store(&partition->astray, false);
	if (!atomic_load(&consumer->stopped))
		fetch_from(consumer, number, offset);
}

/* What was fetched of it may be gone. What was not read yet of before the cut still is to be. */
static void take_cut(struct consumer *consumer, uint32_t number, int64_t next, int64_t from)
{
	tell_loss(consumer, (int32_t)number, next > from ? next : from, from, "the log was cut");
	forget_anchor(&consumer->anchors[number]);
	if (next >= 0)
		go_on_at(consumer, number, next < from ? next : from);
}

/* before: the next offset as it was before high was asked for, since reading goes on meanwhile. */
static void check_partition(struct consumer *consumer, uint32_t number, int64_t offset,
			    int64_t before, int64_t low, int64_t high)
{
	struct partition *partition = &consumer->partitions[number];
	struct consumer_anchor *anchor = &consumer->anchors[number];
	int64_t next = atomic_load(&partition->next_offset);
	int64_t changed = changed_from(anchor, offset, high);

	if (is_other(anchor, consumer->highs[number], changed, low, high)) {
		tell_loss(consumer, (int32_t)number, next, low,
			  "it is another log: the topic was deleted and made anew");
		forget_log(consumer, number);
		go_on_at(consumer, number, low);
		atomic_store(&partition->fresh, true);
	} else if (next >= 0 && next < low) {
		tell_loss(consumer, (int32_t)number, next, low,
			  "retention took them before they were read");
		go_on_at(consumer, number, low);
	} else if (changed >= 0 || before > high) {
		take_cut(consumer, number, next, changed >= 0 ? changed : high);
	} else if (atomic_load(&partition->astray)) {
		go_on_at(consumer, number, next >= 0 ? next : low);
	}
	consumer->highs[number] = high;
}

/* A time that the log has passed, and that is not so near to its end that another log could have
 * the same answer. */
enum { ANCHOR_BEFORE_MS = 1000 };

static rd_kafka_resp_err_t cast_anchors(struct consumer *consumer, int64_t *offsets, int timeout_ms)
{
	int64_t time_ms = (int64_t)(real_ns() / NS_PER_MS) - ANCHOR_BEFORE_MS;
	rd_kafka_resp_err_t rc;

	for (uint32_t i = 0; i < consumer->options.partitions; i++) {
		if (consumer->owned[i])
			consumer->anchors[i].time_ms = time_ms;
	}
	rc = ask_times(consumer, offsets, timeout_ms);
	for (uint32_t i = 0; i < consumer->options.partitions; i++) {
		if (!consumer->owned[i])
			continue;
		/* The first of all records says nothing: any log's answer may be 0. */
		consumer->anchors[i].offset = rc || offsets[i] <= 0 ? -1 : offsets[i];
	}
	return rc;
}

static rd_kafka_resp_err_t check_partitions(struct consumer *consumer, int timeout_ms)
{
	int64_t *offsets = memory_zeroed(consumer->options.partitions, sizeof(*offsets));
	rd_kafka_resp_err_t rc = RD_KAFKA_RESP_ERR_NO_ERROR;

	/* Create times are not in order: they say nothing of the log. */
	if (!consumer->options.accept_create_time)
		rc = ask_times(consumer, offsets, timeout_ms);
	for (uint32_t i = 0; i < consumer->options.partitions && !rc; i++) {
		int64_t before = atomic_load(&consumer->partitions[i].next_offset), low, high;

		if (!consumer->owned[i])
			continue;
		rc = rd_kafka_query_watermark_offsets(consumer->kafka, consumer->options.topic,
						      (int32_t)i, &low, &high, timeout_ms);
		if (!rc)
			check_partition(consumer, i, offsets[i], before, low, high);
	}
	if (!rc && !consumer->options.accept_create_time)
		rc = cast_anchors(consumer, offsets, timeout_ms);
	free(offsets);
	return rc;
}

static uint64_t retention_of(const rd_kafka_event_t *event)
{
	const rd_kafka_DescribeConfigs_result_t *result =
		rd_kafka_event_DescribeConfigs_result((rd_kafka_event_t *)event);
	const rd_kafka_ConfigResource_t **resources;
	const rd_kafka_ConfigEntry_t **entries;
	size_t count = 0;

	resources = result ? rd_kafka_DescribeConfigs_result_resources(result, &count) : NULL;
	if (count != 1)
		return 0;
	entries = rd_kafka_ConfigResource_configs(resources[0], &count);
	for (size_t i = 0; i < count; i++) {
		const char *value = rd_kafka_ConfigEntry_value(entries[i]);
		long long ms = value ? strtoll(value, NULL, 10) : 0;

		if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), "retention.ms") == 0)
			return ms > 0 ? (uint64_t)ms * NS_PER_MS : 0;
	}
	return 0;
}

/* Who may not ask (an ACL), or asks a broker that does not know, does without. */
static void ask_retention(struct consumer *consumer, int timeout_ms)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(consumer->kafka);
	rd_kafka_ConfigResource_t *resource =
		rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, consumer->options.topic);
	rd_kafka_AdminOptions_t *options =
		rd_kafka_AdminOptions_new(consumer->kafka, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	rd_kafka_event_t *event;
	char error[128];

	rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, error, sizeof(error));
	rd_kafka_DescribeConfigs(consumer->kafka, &resource, 1, options, queue);
	event = rd_kafka_queue_poll(queue, timeout_ms);
	if (event && !rd_kafka_event_error(event))
		atomic_store(&consumer->retention_ns, retention_of(event));
	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_ConfigResource_destroy(resource);
	rd_kafka_queue_destroy(queue);
}

/* Between two questions what the topic's retention is, in watches: it seldom changes. */
enum { RETENTION_WATCHES = 6 };

enum consumer_topic consumer_watch(struct consumer *consumer, int timeout_ms, char *what,
				   size_t size)
{
	const char *topic = consumer->options.topic;
	int partitions;
	rd_kafka_resp_err_t rc = count_partitions(consumer, timeout_ms, &partitions);

	if (rc == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
	    rc == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC) {
		snprintf(what, size, "topic %s was deleted; make it anew with %u partitions", topic,
			 consumer->options.partitions);
		return CONSUMER_TOPIC_GONE;
	}
	if (!rc && (uint32_t)partitions >= consumer->options.partitions)
		rc = check_partitions(consumer, timeout_ms);
	if (rc) {
		snprintf(what, size, "topic %s: %s", topic, rd_kafka_err2str(rc));
		return CONSUMER_TOPIC_UNKNOWN;
	}
	if (!consumer->options.accept_create_time && consumer->watches++ % RETENTION_WATCHES == 0)
		ask_retention(consumer, timeout_ms);
	if ((uint32_t)partitions == consumer->options.partitions)
		return CONSUMER_TOPIC_WELL;
	snprintf(
		what, size,
		"topic %s has %d partitions now and pipeline.tasks is %u: what is in the others is "
		"not read",
		topic, partitions, consumer->options.partitions);
	return CONSUMER_TOPIC_GROWN;
}

struct consumer_stats consumer_stats(struct consumer *consumer)
{
	return (struct consumer_stats){
		.records = atomic_load(&consumer->records),
		.bytes = atomic_load(&consumer->bytes),
		.undecodable = atomic_load(&consumer->undecodable),
		.wrong_time = atomic_load(&consumer->wrong_time),
		.losses = atomic_load(&consumer->losses),
		.lost_offsets = atomic_load(&consumer->lost_offsets),
		.retention_ns = atomic_load(&consumer->retention_ns),
		.stopped = atomic_load(&consumer->stopped),
		.astray = any_astray(consumer),
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
	pthread_t thread;

	if (pthread_create(&thread, NULL, destroy, consumer))
		return false;
	return join_within(thread, timeout_ms);
}

bool consumer_close(struct consumer *consumer, int timeout_ms)
{
	atomic_store(&consumer->closing, true);
	security_end(&consumer->access);
	for (uint32_t i = 0; i < consumer->options.partitions; i++) {
		give_back(&consumer->partitions[i]);
		if (consumer->partitions[i].queue)
			rd_kafka_queue_destroy(consumer->partitions[i].queue);
	}
	rd_kafka_assign(consumer->kafka, NULL);
	if (!destroy_within(consumer, timeout_ms))
		return false; /* the client's threads still use what is left */
	for (uint32_t i = 0; i < consumer->options.partitions; i++) {
		if (consumer->partitions[i].pipe[0] >= 0) {
			close(consumer->partitions[i].pipe[0]);
			close(consumer->partitions[i].pipe[1]);
		}
	}
	if (consumer->positions)
		rd_kafka_topic_partition_list_destroy(consumer->positions);
	if (consumer->own_anchors)
		free(consumer->anchors);
	free(consumer->highs);
	free(consumer->owned);
	free(consumer->partitions);
	free(consumer);
	return true;
}
