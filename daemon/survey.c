#include "daemon/survey.h"

#include <errno.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "daemon/topics.h"
#include "kafka/security.h"

enum { POLL_MS = 50, HEADER_MAX = 64 };

/* So many of the last records are looked at, and so much longer for each that may take; so many
 * times more where they turn out to be none. */
enum { BACK = 1, BACK_FAR = 1000, BACK_MORE = 32, RECORD_MS = 30 };

enum { TOPICS_TRIES = 20 }; /* of POLL_MS */

static const char *const topics[] = {
	[IMAGE_FLOWS] = TOPIC_FLOWS,
	[IMAGE_ROLLUPS] = TOPIC_ROLLUPS,
	[IMAGE_ALERTS] = TOPIC_ALERTS,
	[SURVEY_OUTPUTS] = TOPIC_EVENTS,
};

/* A partition that is read from near its end to its end. */
struct way {
	int64_t back; /* from where, counted from the end */
	bool any;     /* records came */
	bool ended;
};

enum { TOPICS = SURVEY_OUTPUTS + 1, EVENTS = SURVEY_OUTPUTS };

struct look {
	struct security_client access; /* first: the client's opaque */
	const struct survey_options *options;
	rd_kafka_t *kafka;
	int64_t back;
	struct survey_task *tasks;
	struct way ways[TOPICS][IMAGE_TASKS_MAX];
	uint32_t missing; /* ways that have not ended */
	char *why;
	size_t size;
};

static bool set(rd_kafka_conf_t *conf, const char *name, const char *value, struct look *look)
{
	return rd_kafka_conf_set(conf, name, value, look->why, look->size) == RD_KAFKA_CONF_OK;
}

static rd_kafka_t *make_client(struct look *look)
{
	static const char *const settings[][2] = {
		{"client.id", "millraced"},
		{"enable.auto.commit", "false"},
		{"enable.partition.eof", "true"},
		/* Fewer are there than are looked at. */
		{"auto.offset.reset", "earliest"},
		/* A topic that is not there is told at once. */
		{"topic.metadata.propagation.max.ms", "0"},
		{"fetch.wait.max.ms", "20"},
		{"queued.min.messages", "10000"}, /* a full queue waits a second for its end */
		{"fetch.message.max.bytes", "1048576"},
		{"socket.nagle.disable", "true"},
		{"reconnect.backoff.ms", "50"},
		{"reconnect.backoff.max.ms", "1000"},
		{"log_level", "3"},
	};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *kafka = NULL;
	bool ok = set(conf, "bootstrap.servers", look->options->brokers, look) &&
		  set(conf, "group.id", look->options->group, look);

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && ok; i++)
		ok = set(conf, settings[i][0], settings[i][1], look);
	if (ok && !security_configure(&look->access, conf, look->why, look->size))
		kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, look->why, look->size);
	if (!kafka)
		rd_kafka_conf_destroy(conf);
	return kafka;
}

static bool is_refusal(rd_kafka_resp_err_t rc)
{
	return rc == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
	       rc == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
	       rc == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
}

static bool is_cancelled(const struct look *look)
{
	return look->options->cancelled && atomic_load(look->options->cancelled);
}

static int cancel(struct look *look)
{
	snprintf(look->why, look->size, "it was cancelled");
	return -ECANCELED;
}

/* --- what the group has committed --- */

/* NULL: none came, or it was cancelled. */
static rd_kafka_event_t *wait_event(struct look *look, rd_kafka_queue_t *queue)
{
	uint64_t deadline = uv_hrtime() + (uint64_t)look->options->timeout_ms * 1000000;
	rd_kafka_event_t *event = NULL;

	while (!event && !is_cancelled(look) && uv_hrtime() < deadline)
		event = rd_kafka_queue_poll(queue, POLL_MS);
	return event;
}

static rd_kafka_event_t *ask_committed(struct look *look, rd_kafka_queue_t *queue)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new((int)look->options->tasks);
	rd_kafka_ListConsumerGroupOffsets_t *question;
	rd_kafka_AdminOptions_t *options =
		rd_kafka_AdminOptions_new(look->kafka, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
	rd_kafka_event_t *event;

	for (uint32_t task = 0; task < look->options->tasks; task++) {
		if (task_set_has(&look->options->owned, task))
			rd_kafka_topic_partition_list_add(list, TOPIC_EVENTS, (int32_t)task);
	}
	question = rd_kafka_ListConsumerGroupOffsets_new(look->options->group, list);
	rd_kafka_AdminOptions_set_request_timeout(options, look->options->timeout_ms, NULL, 0);
	rd_kafka_ListConsumerGroupOffsets(look->kafka, &question, 1, options, queue);
	event = wait_event(look, queue);
	rd_kafka_ListConsumerGroupOffsets_destroy(question);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_topic_partition_list_destroy(list);
	return event;
}

static rd_kafka_resp_err_t take_committed(struct look *look, rd_kafka_event_t *event)
{
	const rd_kafka_topic_partition_list_t *list;
	const rd_kafka_group_result_t **groups;
	size_t count;

	if (!event)
		return RD_KAFKA_RESP_ERR__TIMED_OUT;
	if (rd_kafka_event_error(event))
		return rd_kafka_event_error(event);
	groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
		rd_kafka_event_ListConsumerGroupOffsets_result(event), &count);
	if (count != 1)
		return RD_KAFKA_RESP_ERR__BAD_MSG;
	if (rd_kafka_group_result_error(groups[0]))
		return rd_kafka_error_code(rd_kafka_group_result_error(groups[0]));
	list = rd_kafka_group_result_partitions(groups[0]);
	for (int i = 0; i < list->cnt; i++) {
		const rd_kafka_topic_partition_t *position = &list->elems[i];

		if (position->err)
			return position->err;
		look->tasks[position->partition].committed = position->offset;
		if (position->offset >= 0)
			look->back = BACK_FAR;
	}
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static int find_committed(struct look *look)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(look->kafka);
	rd_kafka_event_t *event = ask_committed(look, queue);
	rd_kafka_resp_err_t rc = take_committed(look, event);

	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_queue_destroy(queue);
	if (rc == RD_KAFKA_RESP_ERR_NO_ERROR)
		return 0;
	if (is_cancelled(look))
		return cancel(look);
	snprintf(look->why, look->size, "positions of group %s: %s", look->options->group,
		 rd_kafka_err2str(rc));
	return is_refusal(rc) ? -EACCES : -EAGAIN;
}

/* --- the ends --- */

/* A header's text; "" without one. */
static const char *header_of(const rd_kafka_message_t *message, const char *name,
			     char text[HEADER_MAX])
{
	rd_kafka_headers_t *headers;
	const void *value;
	size_t length;

	text[0] = '\0';
	if (rd_kafka_message_headers(message, &headers) ||
	    rd_kafka_header_get_last(headers, name, &value, &length) || length >= HEADER_MAX)
		return text;
	memcpy(text, value, length);
	text[length] = '\0';
	return text;
}

static int topic_of(const rd_kafka_message_t *message)
{
	const char *name = rd_kafka_topic_name(message->rkt);
	int topic = 0;

	while (strcmp(topics[topic], name) != 0)
		topic++;
	return topic;
}

static int take_number(struct look *look, const rd_kafka_message_t *message, int output)
{
	struct survey_last *last = &look->tasks[message->partition].last[output];
	struct survey_last here = {.digest = -1};
	char text[HEADER_MAX];
	unsigned number, digest;

	if (sscanf(header_of(message, "millrace-output", text), "%" SCNu64 ".%u.%" SCNu64,
		   &here.epoch, &number, &here.sequence) != 3 ||
	    number != (unsigned)message->partition) {
		snprintf(look->why, look->size,
			 "partition %" PRId32
			 " of topic %s: one of its last records has no number of this task",
			 message->partition, topics[output]);
		return -EBADMSG;
	}
	if (sscanf(header_of(message, "millrace-pane", text), "%" SCNu64 ".%" SCNu32, &here.pane,
		   &here.place) != 2)
		here.pane = 0;
	if (sscanf(header_of(message, "millrace-digest", text), "%8x", &digest) == 1)
		here.digest = digest;
	if (here.epoch > last->epoch ||
	    (here.epoch == last->epoch && here.sequence >= last->sequence))
		*last = here;
	return 0;
}

/* Nothing came though the partition has offsets: from further back, if there is any further. */
static void look_further(struct look *look, const rd_kafka_message_t *end, struct way *way)
{
	rd_kafka_error_t *error;
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

	way->back = way->back * BACK_MORE < end->offset ? way->back * BACK_MORE : end->offset;
	rd_kafka_topic_partition_list_add(list, rd_kafka_topic_name(end->rkt), end->partition)
		->offset = end->offset - way->back;
	error = rd_kafka_seek_partitions(look->kafka, list, 0);
	if (error)
		rd_kafka_error_destroy(error);
	rd_kafka_topic_partition_list_destroy(list);
}

static void take_end(struct look *look, const rd_kafka_message_t *end, int topic)
{
	struct way *way = &look->ways[topic][end->partition];

	if (way->ended)
		return;
	if (topic == EVENTS) {
		look->tasks[end->partition].high = end->offset;
	} else if (!way->any && way->back < end->offset) {
		look_further(look, end, way);
		return;
	}
	way->ended = true;
	look->missing--;
}

static int take_error(struct look *look, const rd_kafka_message_t *message)
{
	snprintf(look->why, look->size, "partition %" PRId32 " of topic %s: %s", message->partition,
		 message->rkt ? rd_kafka_topic_name(message->rkt) : "",
		 rd_kafka_message_errstr(message));
	return is_refusal(message->err) ? -EACCES : 0;
}

/* 0: it is well, whatever it was. */
static int take_message(struct look *look, const rd_kafka_message_t *message)
{
	int topic = message->rkt ? topic_of(message) : EVENTS;

	if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
		take_end(look, message, topic);
		return 0;
	}
	if (message->err)
		return take_error(look, message);
	look->ways[topic][message->partition].any = true;
	return topic == EVENTS || look->ways[topic][message->partition].ended
		       ? 0
		       : take_number(look, message, topic);
}

/* The client finds the ends by itself, of all partitions at once. */
static void begin_ways(struct look *look)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(
		(int)(task_set_count(&look->options->owned) * TOPICS));

	for (uint32_t task = 0; task < look->options->tasks; task++) {
		for (int topic = 0; topic < TOPICS; topic++) {
			if (!task_set_has(&look->options->owned, task))
				continue;
			look->ways[topic][task].back = look->back;
			look->missing++;
			rd_kafka_topic_partition_list_add(list, topics[topic], (int32_t)task)
				->offset = topic == EVENTS ? RD_KAFKA_OFFSET_END
							   : RD_KAFKA_OFFSET_TAIL(look->back);
		}
	}
	if (list->cnt)
		rd_kafka_assign(look->kafka, list);
	rd_kafka_topic_partition_list_destroy(list);
}

/* If nothing is known of why. */
static int say_missing(struct look *look)
{
	if (look->why[0] == '\0')
		snprintf(look->why, look->size,
			 "the ends of %" PRIu32
			 " partitions of the outputs and of the events were not read in time",
			 look->missing);
	return -EAGAIN;
}

static int read_ends(struct look *look)
{
	uint64_t wait_ms = (uint64_t)look->options->timeout_ms + (uint64_t)look->back * RECORD_MS;
	uint64_t deadline = uv_hrtime() + wait_ms * 1000000;
	int rc = 0;

	look->why[0] = '\0';
	begin_ways(look);
	while (look->missing && rc == 0) {
		rd_kafka_message_t *message = rd_kafka_consumer_poll(look->kafka, POLL_MS);

		if (message && (!message->err || message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF))
			deadline = uv_hrtime() + wait_ms * 1000000;
		if (message) {
			rc = take_message(look, message);
			rd_kafka_message_destroy(message);
		}
		if (rc == 0 && is_cancelled(look))
			rc = cancel(look);
		if (rc == 0 && look->missing && uv_hrtime() >= deadline)
			rc = say_missing(look);
	}
	return rc;
}

static int check_topic(struct look *look, const struct rd_kafka_metadata_topic *topic)
{
	if (topic->err) {
		snprintf(look->why, look->size, "topic %s: %s", topic->topic,
			 rd_kafka_err2str(topic->err));
		return is_refusal(topic->err) ? -EACCES : -EAGAIN;
	}
	if (topic->partition_cnt >= (int)look->options->tasks)
		return 0;
	snprintf(look->why, look->size, "topic %s has %d partitions and pipeline.tasks is %" PRIu32,
		 topic->topic, topic->partition_cnt, look->options->tasks);
	return -EAGAIN;
}

/* In short questions, so that it can be cancelled. NULL: none was answered as soon. */
static const struct rd_kafka_metadata *ask_topics(struct look *look)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_topic_t *handles[TOPICS];
	rd_kafka_resp_err_t rc = RD_KAFKA_RESP_ERR__TIMED_OUT;

	for (int topic = 0; topic < TOPICS; topic++)
		handles[topic] = rd_kafka_topic_new(look->kafka, topics[topic], NULL);
	for (int i = 0; i < TOPICS_TRIES && rc && !is_cancelled(look); i++)
		rc = rd_kafka_metadata(look->kafka, 0, NULL, &metadata, POLL_MS);
	for (int topic = 0; topic < TOPICS; topic++)
		rd_kafka_topic_destroy(handles[topic]);
	return rc ? NULL : metadata;
}

/* Who asks for a partition whose leader is not known waits half a second; and of a topic that is
 * not there or may not be read nothing is told then. Without an answer that is all there is to it.
 */
static int find_leaders(struct look *look)
{
	const struct rd_kafka_metadata *metadata = ask_topics(look);
	int rc = 0;

	for (int i = 0; metadata && i < metadata->topic_cnt && rc == 0; i++)
		rc = check_topic(look, &metadata->topics[i]);
	if (metadata)
		rd_kafka_metadata_destroy(metadata);
	return rc;
}

int survey(const struct survey_options *options, struct survey_task *tasks, char *why, size_t size)
{
	struct look look = {.access = {.security = options->security},
			    .options = options,
			    .tasks = tasks,
			    .back = BACK,
			    .why = why,
			    .size = size};
	int rc;

	memset(tasks, 0, options->tasks * sizeof(*tasks));
	for (uint32_t task = 0; task < options->tasks; task++)
		tasks[task].committed = -1;
	look.kafka = make_client(&look);
	if (!look.kafka)
		return -EAGAIN;
	security_begin(&look.access, look.kafka);
	rd_kafka_poll_set_consumer(look.kafka);
	rc = find_leaders(&look);
	/* A coordinator may be away for longer than the logs: only who needs it waits for it. */
	if (rc == 0 && options->far)
		rc = find_committed(&look);
	if (rc == 0)
		rc = read_ends(&look);
	security_end(&look.access);
	rd_kafka_destroy_flags(look.kafka, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	return rc;
}
