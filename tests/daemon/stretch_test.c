/* Against librdkafka's mock cluster, which cannot look times up: there a stretch begins with the
 * log. That it begins at its time is asked of a real Kafka (tests/pipeline/backtest_test.py). */
#include "daemon/stretch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/clock.h"
#include "daemon/topics.h"

enum { PARTITIONS = 2, WAIT_MS = 20000, NEXT_TRIES = 2000, TURNS_MAX = 64 };

#define T0	 (1800000000 * NS_PER_S)
#define LATENESS (500 * NS_PER_MS)

static rd_kafka_t *producer;
static rd_kafka_mock_cluster_t *cluster;

static int start(void **state)
{
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
	rd_kafka_mock_topic_create(cluster, TOPIC_EVENTS, PARTITIONS, 1);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	rd_kafka_mock_cluster_destroy(cluster);
	rd_kafka_destroy(producer);
	return 0;
}

static void produce(int32_t partition, uint64_t seconds)
{
	assert_int_equal(
		rd_kafka_producev(
			producer, RD_KAFKA_V_TOPIC(TOPIC_EVENTS), RD_KAFKA_V_PARTITION(partition),
			RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_VALUE((void *)"x", 1),
			RD_KAFKA_V_TIMESTAMP((int64_t)((T0 + seconds * NS_PER_S) / NS_PER_MS)),
			RD_KAFKA_V_END),
		RD_KAFKA_RESP_ERR_NO_ERROR);
	assert_int_equal(rd_kafka_flush(producer, WAIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
}

static void on_trouble(void *context, const char *sentence)
{
	(void)context, (void)sentence;
}

static struct stretch_options options_of(uint64_t begin_s, uint64_t stop_s)
{
	return (struct stretch_options){.brokers = rd_kafka_mock_cluster_bootstraps(cluster),
					.group = "millraced",
					.partitions = PARTITIONS,
					.lateness_ns = LATENESS,
					.accept_create_time = true,
					.begin_ns = T0 + begin_s * NS_PER_S,
					.stop_ns = T0 + stop_s * NS_PER_S,
					.timeout_ms = WAIT_MS,
					.trouble = on_trouble};
}

static struct stretch *open_stretch(const struct stretch_options *options)
{
	char error[512] = "";
	int reason;
	struct stretch *stretch = stretch_open(options, &reason, error, sizeof(error));

	if (!stretch)
		fail_msg("%d: %s", reason, error);
	return stretch;
}

/* Seconds of the next record's time behind T0; -1: none comes. */
static int64_t next_of(struct stretch *stretch, uint32_t partition)
{
	struct pipeline_source source = stretch_source(stretch);
	struct mirror_record record;

	for (int i = 0; i < NEXT_TRIES; i++) {
		if (source.next(source.context, partition, &record))
			return (int64_t)((record.append_ns - T0) / NS_PER_S);
		if (stretch_over(stretch))
			break;
		usleep(500);
	}
	return -1;
}

static void close_until(struct stretch *stretch, uint32_t partition, uint64_t pane)
{
	struct pipeline_source source = stretch_source(stretch);

	source.turn(source.context, partition, pane);
}

static void it_ends_with_the_first_record_at_its_end_and_gives_no_more(void **state)
{
	struct stretch_options options = options_of(0, 10);
	struct stretch *stretch;

	(void)state;
	for (int32_t partition = 0; partition < PARTITIONS; partition++) {
		produce(partition, 1);
		produce(partition, 9);
		produce(partition, 12);
		produce(partition, 13);
	}
	stretch = open_stretch(&options);
	for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
		assert_int_equal(next_of(stretch, partition), 1);
		assert_int_equal(next_of(stretch, partition), 9);
		assert_false(stretch_over(stretch));
		assert_int_equal(next_of(stretch, partition), 12);
		close_until(stretch, partition, pane_of(options.stop_ns));
		assert_int_equal(next_of(stretch, partition), -1);
	}
	assert_true(stretch_over(stretch));
	/* The panes that a clock at the stop closes, and two less. */
	assert_int_equal(stretch_end_ns(stretch), options.stop_ns - LATENESS - 2 * PANE_NS);
	assert_true(stretch_close(stretch));
}

static void it_ends_where_the_log_does_and_no_later_than_its_slowest_partition(void **state)
{
	struct stretch_options options = options_of(0, 100);
	struct stretch *stretch;

	(void)state;
	produce(0, 1);
	produce(0, 8);
	produce(1, 1);
	produce(1, 6);
	stretch = open_stretch(&options);
	produce(1, 7); /* comes too late to be of it */
	for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
		next_of(stretch, partition);
		next_of(stretch, partition);
		assert_false(stretch_over(stretch));
		close_until(stretch, partition, pane_of(T0 + 6 * NS_PER_S - LATENESS) - 1);
	}
	assert_true(stretch_over(stretch));
	assert_int_equal(stretch_end_ns(stretch), T0 + 6 * NS_PER_S - LATENESS - 2 * PANE_NS);
	assert_true(stretch_close(stretch));
}

static void a_last_record_far_behind_is_given_again_until_its_panes_are_closed(void **state)
{
	struct stretch_options options = options_of(0, 4000);
	struct pipeline_source source;
	struct mirror_record record;
	struct stretch *stretch;
	unsigned given = 0;

	(void)state;
	for (int32_t partition = 0; partition < PARTITIONS; partition++) {
		produce(partition, 1);
		produce(partition, 3600);
	}
	stretch = open_stretch(&options);
	source = stretch_source(stretch);
	for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
		next_of(stretch, partition);
		next_of(stretch, partition);
	}
	assert_false(source.next(source.context, 0, &record)); /* none before the next turn */
	for (unsigned turn = 0; turn < TURNS_MAX; turn++) {
		close_until(stretch, 0, pane_of(T0 + NS_PER_S) + turn);
		while (source.next(source.context, 0, &record)) {
			assert_int_equal(record.append_ns, T0 + 3600 * NS_PER_S);
			assert_true(record.length > 0);
			given++;
		}
	}
	assert_int_equal(given, 8 * TURNS_MAX);
	assert_false(stretch_over(stretch));
	for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
		close_until(stretch, partition, pane_of(T0 + 3600 * NS_PER_S));
		assert_false(source.next(source.context, partition, &record));
	}
	assert_true(stretch_over(stretch));
	assert_int_equal(stretch_records(stretch), 2 * PARTITIONS); /* each once */
	assert_true(stretch_close(stretch));
}

static void where_the_log_begins_is_found(void **state)
{
	struct stretch_options options = options_of(0, 100);
	struct stretch *stretch;

	(void)state;
	produce(0, 1);
	produce(1, 20);
	stretch = open_stretch(&options);
	assert_int_equal(stretch_found(stretch).first_ns, T0 + 20 * NS_PER_S);
	assert_false(stretch_found(stretch).cut); /* it is the log's own beginning */
	assert_true(stretch_close(stretch));
	options = options_of(20, 100);
	stretch = open_stretch(&options);
	assert_int_equal(stretch_found(stretch).first_ns, 0);
	assert_true(stretch_close(stretch));
}

static void refuses(const struct stretch_options *options, int wanted, const char *word)
{
	char error[512] = "";
	int reason = 0;

	assert_null(stretch_open(options, &reason, error, sizeof(error)));
	assert_int_equal(reason, wanted);
	if (!strstr(error, word))
		fail_msg("\"%s\" does not say \"%s\"", error, word);
}

static void what_is_not_there_is_said(void **state)
{
	struct stretch_options options = options_of(0, 100);

	(void)state;
	produce(0, 1);
	refuses(&options, -ENODATA, "partition 1 of millrace.events holds nothing");
	options.partitions = PARTITIONS + 1;
	refuses(&options, -EINVAL, "has 2 partitions and pipeline.tasks is 3");
	options.brokers = "127.0.0.1:1";
	options.timeout_ms = 100;
	refuses(&options, -EAGAIN, "127.0.0.1:1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
		TEST(it_ends_with_the_first_record_at_its_end_and_gives_no_more),
		TEST(it_ends_where_the_log_does_and_no_later_than_its_slowest_partition),
		TEST(a_last_record_far_behind_is_given_again_until_its_panes_are_closed),
		TEST(where_the_log_begins_is_found),
		TEST(what_is_not_there_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
