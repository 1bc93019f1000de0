/* Against librdkafka's mock cluster: what is found of the outputs and the log of events. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <uv.h>

#include "daemon/survey.h"
#include "daemon/topics.h"

enum { TASKS = 4, WAIT_MS = 20000, BROKER = 1 };

static rd_kafka_t *producer;
static rd_kafka_mock_cluster_t *cluster;

static int start(void **state)
{
	static const char *const topics[] = {TOPIC_EVENTS, TOPIC_FLOWS, TOPIC_ROLLUPS,
					     TOPIC_ALERTS};
	char error[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	(void)state;
	assert_int_equal(rd_kafka_conf_set(conf, "linger.ms", "0", error, sizeof(error)),
			 RD_KAFKA_CONF_OK);
	producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	assert_non_null(producer);
	cluster = rd_kafka_mock_cluster_new(producer, 1);
	assert_non_null(cluster);
	rd_kafka_brokers_add(producer, rd_kafka_mock_cluster_bootstraps(cluster));
	for (int i = 0; i < 4; i++)
		rd_kafka_mock_topic_create(cluster, topics[i], TASKS, 1);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	rd_kafka_mock_cluster_destroy(cluster);
	rd_kafka_destroy(producer);
	return 0;
}

static void produce(const char *topic, uint32_t task, const char *number, const char *pane)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(2);

	if (number)
		rd_kafka_header_add(headers, "millrace-output", -1, number, -1);
	if (pane)
		rd_kafka_header_add(headers, "millrace-pane", -1, pane, -1);
	assert_int_equal(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic),
					   RD_KAFKA_V_PARTITION((int32_t)task),
					   RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
					   RD_KAFKA_V_VALUE((void *)"x", 1),
					   RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END),
			 RD_KAFKA_RESP_ERR_NO_ERROR);
}

static void number(const char *topic, uint32_t task, unsigned epoch, unsigned sequence)
{
	char text[64];

	snprintf(text, sizeof(text), "%u.%u.%u", epoch, task, sequence);
	produce(topic, task, text, NULL);
}

static void flush(void)
{
	assert_int_equal(rd_kafka_flush(producer, WAIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
}

static struct survey_options options_of(unsigned owned)
{
	return (struct survey_options){.brokers = rd_kafka_mock_cluster_bootstraps(cluster),
				       .group = "millraced",
				       .tasks = TASKS,
				       .owned = {{owned}},
				       .timeout_ms = WAIT_MS};
}

static void found(const struct survey_options *options, struct survey_task *tasks)
{
	char why[256] = "";
	int rc = survey(options, tasks, why, sizeof(why));

	if (rc)
		fail_msg("%d: %s", rc, why);
}

static void the_last_number_of_each_output_and_the_end_of_the_events_are_found(void **state)
{
	struct survey_options options = options_of(0xf);
	struct survey_task tasks[TASKS];

	(void)state;
	for (unsigned i = 0; i < 7; i++)
		produce(TOPIC_EVENTS, 1, NULL, NULL);
	for (unsigned i = 0; i < 30; i++)
		number(TOPIC_ROLLUPS, 2, 77, i);
	produce(TOPIC_FLOWS, 3, "78.3.5", "4242.9");
	flush();
	found(&options, tasks);
	assert_int_equal(tasks[0].high, 0);
	assert_int_equal(tasks[1].high, 7);
	assert_int_equal(tasks[1].committed, -1);
	assert_int_equal(tasks[2].last[IMAGE_ROLLUPS].epoch, 77);
	assert_int_equal(tasks[2].last[IMAGE_ROLLUPS].sequence, 29);
	assert_int_equal(tasks[2].last[IMAGE_ROLLUPS].pane, 0);
	assert_int_equal(tasks[2].last[IMAGE_FLOWS].epoch, 0);
	assert_int_equal(tasks[3].last[IMAGE_FLOWS].epoch, 78);
	assert_int_equal(tasks[3].last[IMAGE_FLOWS].sequence, 5);
	assert_int_equal(tasks[3].last[IMAGE_FLOWS].pane, 4242);
	assert_int_equal(tasks[3].last[IMAGE_FLOWS].place, 9);
}

static void only_what_is_owned_is_looked_at(void **state)
{
	struct survey_options options = options_of(0x6);
	struct survey_task tasks[TASKS];

	(void)state;
	for (uint32_t task = 0; task < TASKS; task++) {
		produce(TOPIC_EVENTS, task, NULL, NULL);
		number(TOPIC_ALERTS, task, 5, task);
	}
	produce(TOPIC_FLOWS, 3, NULL, NULL); /* it would be an error */
	flush();
	found(&options, tasks);
	for (uint32_t task = 0; task < TASKS; task++) {
		bool owned = task == 1 || task == 2;

		assert_int_equal(tasks[task].high, owned);
		assert_int_equal(tasks[task].last[IMAGE_ALERTS].epoch, owned ? 5 : 0);
	}
}

static void a_record_without_a_number_is_an_error(void **state)
{
	struct survey_options options = options_of(0xf);
	struct survey_task tasks[TASKS];
	char why[256];

	(void)state;
	produce(TOPIC_FLOWS, 3, NULL, NULL);
	flush();
	assert_int_equal(survey(&options, tasks, why, sizeof(why)), -EBADMSG);
	assert_non_null(strstr(why, "partition 3 of topic " TOPIC_FLOWS));
}

/* As a process with the group would have. */
static void commit(int64_t offset)
{
	char error[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_t *consumer;

	rd_kafka_conf_set(conf, "group.id", "millraced", NULL, 0);
	rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(cluster),
			  NULL, 0);
	consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
	assert_non_null(consumer);
	rd_kafka_topic_partition_list_add(list, TOPIC_EVENTS, 2)->offset = offset;
	assert_int_equal(rd_kafka_commit(consumer, list, 0), RD_KAFKA_RESP_ERR_NO_ERROR);
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_destroy(consumer);
}

static void who_misses_numbers_looks_behind_repeats(void **state)
{
	struct survey_options options = options_of(0xf);
	struct survey_task tasks[TASKS];

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		number(TOPIC_ROLLUPS, 2, 77, i);
	for (unsigned i = 0; i < 10; i++)
		number(TOPIC_ROLLUPS, 2, 77, i);
	flush();
	found(&options, tasks);
	assert_int_equal(tasks[2].last[IMAGE_ROLLUPS].sequence, 9);
	options.far = true; /* nothing was committed: there was no other */
	found(&options, tasks);
	assert_int_equal(tasks[2].last[IMAGE_ROLLUPS].sequence, 9);
	commit(1234);
	found(&options, tasks);
	assert_int_equal(tasks[2].last[IMAGE_ROLLUPS].sequence, 39);
	assert_int_equal(tasks[2].committed, 1234);
	assert_true(tasks[1].committed < 0);
}

static void a_topic_that_is_not_there_is_told(void **state)
{
	struct survey_options options = options_of(0xf);
	struct survey_task tasks[TASKS];
	char why[256];

	(void)state;
	rd_kafka_mock_topic_set_error(cluster, TOPIC_ALERTS,
				      RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
	options.timeout_ms = 1000;
	assert_int_equal(survey(&options, tasks, why, sizeof(why)), -EAGAIN);
	if (!strstr(why, TOPIC_ALERTS))
		fail_msg("%s", why);
}

static void who_may_not_look_is_told(void **state)
{
	struct survey_options options = options_of(0xf);
	struct survey_task tasks[TASKS];
	char why[256];

	(void)state;
	rd_kafka_mock_topic_set_error(cluster, TOPIC_ALERTS,
				      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
	assert_int_equal(survey(&options, tasks, why, sizeof(why)), -EACCES);
	if (!strstr(why, TOPIC_ALERTS))
		fail_msg("%s", why);
}

static void partitions_that_are_not_there_are_told(void **state)
{
	struct survey_options options = options_of(0xff);
	struct survey_task tasks[2 * TASKS];
	char why[256];

	(void)state;
	options.tasks = 2 * TASKS;
	options.timeout_ms = 1000;
	assert_int_equal(survey(&options, tasks, why, sizeof(why)), -EAGAIN);
	if (!strstr(why, "has 4 partitions"))
		fail_msg("%s", why);
}

static void a_broker_that_is_away_is_no_answer(void **state)
{
	struct survey_options options = options_of(0xf);
	struct survey_task tasks[TASKS];
	char why[256];

	(void)state;
	rd_kafka_mock_broker_set_down(cluster, BROKER);
	options.timeout_ms = 300;
	assert_int_equal(survey(&options, tasks, why, sizeof(why)), -EAGAIN);
	assert_true(why[0]);
	rd_kafka_mock_broker_set_up(cluster, BROKER);
	options.timeout_ms = WAIT_MS;
	found(&options, tasks);
}

static _Atomic bool cancelled;
static uint64_t cancelled_ns;

static void *cancel_soon(void *context)
{
	(void)context;
	usleep(300000);
	cancelled_ns = uv_hrtime();
	atomic_store(&cancelled, true);
	return NULL;
}

static void it_is_cancelled_whatever_it_waits_for(void **state)
{
	struct survey_options options = options_of(0xf);
	struct survey_task tasks[TASKS];
	char why[256];

	(void)state;
	rd_kafka_mock_broker_set_down(cluster, BROKER);
	options.cancelled = &cancelled;
	for (int far = 0; far < 2; far++) {
		pthread_t thread;

		options.far = far;
		atomic_store(&cancelled, false);
		assert_int_equal(pthread_create(&thread, NULL, cancel_soon, NULL), 0);
		assert_int_equal(survey(&options, tasks, why, sizeof(why)), -ECANCELED);
		pthread_join(thread, NULL);
		assert_in_range((uv_hrtime() - cancelled_ns) / 1000000, 0, 2000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
		TEST(the_last_number_of_each_output_and_the_end_of_the_events_are_found),
		TEST(only_what_is_owned_is_looked_at),
		TEST(a_record_without_a_number_is_an_error),
		TEST(who_misses_numbers_looks_behind_repeats),
		TEST(a_topic_that_is_not_there_is_told),
		TEST(who_may_not_look_is_told),
		TEST(partitions_that_are_not_there_are_told),
		TEST(a_broker_that_is_away_is_no_answer),
		TEST(it_is_cancelled_whatever_it_waits_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
