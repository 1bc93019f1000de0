/* A task's outputs under their numbers and digests, into librdkafka's mock cluster. */
#include "daemon/exit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/crc32c.h"
#include "daemon/encode.h"
#include "daemon/topics.h"

enum { TASKS = 2, TASK = 1, EPOCH = 7, OUTPUTS = 3, WAIT_MS = 20000 };

struct rig {
	rd_kafka_t *client;
	rd_kafka_mock_cluster_t *cluster;
	struct outputs *outputs;
};

static char told[512];
static int times;

static void on_difference(const char *sentence)
{
	snprintf(told, sizeof(told), "%s", sentence);
	times++;
}

static void on_trouble(void *context, const char *sentence)
{
	(void)context;
	(void)sentence;
}

static void rig_init(struct rig *rig)
{
	char error[256];

	rig->client = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), error, sizeof(error));
	rig->cluster = rd_kafka_mock_cluster_new(rig->client, 1);
	assert_non_null(rig->cluster);
	rd_kafka_mock_topic_create(rig->cluster, TOPIC_ALERTS, TASKS, 1);
	rig->outputs = outputs_new(
		&(struct outputs_options){.brokers = rd_kafka_mock_cluster_bootstraps(rig->cluster),
					  .trouble = on_trouble},
		error, sizeof(error));
	assert_non_null(rig->outputs);
	times = 0;
}

static void rig_done(struct rig *rig)
{
	assert_int_equal(outputs_close(rig->outputs, WAIT_MS), 0);
	rd_kafka_mock_cluster_destroy(rig->cluster);
	rd_kafka_destroy(rig->client);
}

static struct alert alert_of(unsigned i)
{
	struct alert alert = {.sequence = 1, .started_ns = i + 1};

	snprintf(alert.key, sizeof(alert.key), "key-%u", i);
	return alert;
}

/* What the digest must be, by the words of docs/topics.md. */
static uint32_t digest_of(unsigned outputs)
{
	struct encoder *encoder = encoder_new();
	uint32_t digest = 0;

	for (unsigned i = 0; i < outputs; i++) {
		struct output_number number = {.epoch = EPOCH, .task = TASK, .sequence = i};
		struct alert alert = alert_of(i);
		struct encoded value = encode_alert(encoder, &number, &alert);

		digest = crc32c(digest, value.bytes, value.length);
	}
	encoder_free(encoder);
	return digest;
}

/* A life that goes on after `next` outputs, of which an earlier one wrote `written` in all, and
 * tells the rest of OUTPUTS. */
static struct image_task live(struct rig *rig, unsigned next, unsigned written,
			      int64_t written_digest)
{
	struct exit_numbers numbers[TASKS] = {
		[TASK] = {.next = {[IMAGE_ALERTS] = next},
			  .written = {[IMAGE_ALERTS] = written},
			  .digests = {[IMAGE_ALERTS] = digest_of(next)},
			  .written_digest = {[IMAGE_ALERTS] = written_digest}}};
	struct exits *exits = exits_new(&(struct exits_options){.differs = on_difference,
								.outputs = rig->outputs,
								.tasks = TASKS,
								.names_max = 16,
								.epoch = EPOCH,
								.numbers = numbers});
	struct task_sinks sinks = exits_sinks(exits);
	struct image_task image;

	for (unsigned i = next; i < OUTPUTS; i++) {
		struct alert alert = alert_of(i);

		sinks.pane(sinks.context, TASK, 100 + i);
		sinks.alerts(sinks.context, TASK, &alert, 1);
	}
	assert_int_equal(exits_differing(exits), times);
	exits_numbers(exits, TASK, &image);
	exits_free(exits);
	return image;
}

/* A life that goes on after one of `written` outputs, the last of which came out of pane `last`.
 * Its own come out of these panes. */
static struct image_task live_differing(struct rig *rig, unsigned written, uint64_t last,
					const unsigned *panes, size_t count)
{
	struct exit_numbers numbers[TASKS] = {
		[TASK] = {.next = {[IMAGE_ALERTS] = 1},
			  .written = {[IMAGE_ALERTS] = written},
			  .digests = {[IMAGE_ALERTS] = digest_of(1)},
			  .written_digest = {[IMAGE_ALERTS] = digest_of(written)},
			  .last = {[IMAGE_ALERTS] = {last, 1}}}};
	struct exits *exits = exits_new(&(struct exits_options){.differs = on_difference,
								.outputs = rig->outputs,
								.tasks = TASKS,
								.names_max = 16,
								.epoch = EPOCH,
								.numbers = numbers});
	struct task_sinks sinks = exits_sinks(exits);
	struct image_task image;

	for (size_t i = 0; i < count; i++) {
		struct alert alert = alert_of(panes[i] - 100);

		sinks.pane(sinks.context, TASK, panes[i]);
		sinks.alerts(sinks.context, TASK, &alert, 1);
	}
	assert_int_equal(exits_differing(exits), times);
	exits_numbers(exits, TASK, &image);
	exits_free(exits);
	return image;
}

static const char *header_of(const rd_kafka_message_t *message, const char *name)
{
	rd_kafka_headers_t *headers;
	const void *value;
	size_t length;

	assert_int_equal(rd_kafka_message_headers(message, &headers), 0);
	assert_int_equal(rd_kafka_header_get_last(headers, name, &value, &length), 0);
	return value; /* librdkafka ends it with a NUL */
}

static void each_record_says_the_digest_of_all_up_to_it(void **state)
{
	char error[256], number[64], digest[16];
	struct rig rig;

	(void)state;
	rig_init(&rig);
	struct image_task image = live(&rig, 0, 0, -1);
	assert_int_equal(image.sequences[IMAGE_ALERTS], OUTPUTS);
	assert_int_equal(image.digests[IMAGE_ALERTS], digest_of(OUTPUTS));

	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(rig.cluster),
			  error, sizeof(error));
	rd_kafka_t *reader = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
	rd_kafka_topic_t *topic = rd_kafka_topic_new(reader, TOPIC_ALERTS, NULL);
	rd_kafka_consume_start(topic, TASK, RD_KAFKA_OFFSET_BEGINNING);
	for (unsigned i = 0; i < OUTPUTS; i++) {
		rd_kafka_message_t *message = rd_kafka_consume(topic, TASK, WAIT_MS);

		assert_non_null(message);
		assert_int_equal(message->err, 0);
		snprintf(number, sizeof(number), "%d.%d.%u", EPOCH, TASK, i);
		snprintf(digest, sizeof(digest), "%08x", digest_of(i + 1));
		assert_string_equal(header_of(message, "millrace-output"), number);
		assert_string_equal(header_of(message, "millrace-digest"), digest);
		rd_kafka_message_destroy(message);
	}
	rd_kafka_consume_stop(topic, TASK);
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(reader);
	rig_done(&rig);
}

static void what_an_earlier_life_told_is_compared_once_and_not_written(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig);
	struct image_task image = live(&rig, 1, 2, digest_of(2));
	assert_int_equal(times, 0);
	assert_int_equal(image.digests[IMAGE_ALERTS], digest_of(OUTPUTS));
	assert_int_equal(outputs_stats(rig.outputs).written, 1);

	live(&rig, 1, 2, -1); /* of an older program: it does not say */
	assert_int_equal(times, 0);
	live(&rig, 1, 2, digest_of(2) ^ 1);
	assert_int_equal(times, 1);
	assert_non_null(strstr(told, "partition 1 of topic millrace.alerts holds something else"));
	assert_non_null(strstr(told, "up to record 7.1.1 "));
	rig_done(&rig);
}

static void what_comes_of_later_panes_is_written_though_fewer_came_of_those_before(void **state)
{
	static const unsigned panes[] = {102, 103};
	struct rig rig;

	(void)state;
	rig_init(&rig);
	struct image_task image = live_differing(&rig, 3, 102, panes, 2);
	assert_int_equal(outputs_stats(rig.outputs).written, 1);
	assert_int_equal(image.sequences[IMAGE_ALERTS], 4);
	assert_int_equal(image.digests[IMAGE_ALERTS], digest_of(4)); /* of what the topic holds */
	assert_int_equal(times, 1);
	assert_non_null(strstr(told, "fewer records"));
	rig_done(&rig);
}

static void what_comes_of_panes_that_were_written_is_not_written_though_it_is_more(void **state)
{
	static const unsigned panes[] = {101, 102, 104};
	struct rig rig;

	(void)state;
	rig_init(&rig);
	struct image_task image = live_differing(&rig, 2, 103, panes, 3);
	assert_int_equal(outputs_stats(rig.outputs).written, 1);
	assert_int_equal(image.sequences[IMAGE_ALERTS], 3);
	assert_int_equal(times, 1);
	assert_non_null(strstr(told, "more records"));
	rig_done(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_record_says_the_digest_of_all_up_to_it),
		cmocka_unit_test(what_an_earlier_life_told_is_compared_once_and_not_written),
		cmocka_unit_test(
			what_comes_of_later_panes_is_written_though_fewer_came_of_those_before),
		cmocka_unit_test(
			what_comes_of_panes_that_were_written_is_not_written_though_it_is_more),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
