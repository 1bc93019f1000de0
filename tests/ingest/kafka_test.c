/* Against librdkafka's mock cluster: real protocol over loopback, and faults at will. */
#include "ingest/kafka.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/clock.h"
#include "kafka/security.h"

enum { PARTITIONS = 3, WAIT_MS = 20000, BROKER = 1 };

static rd_kafka_t *producer;
static rd_kafka_mock_cluster_t *cluster;
static _Atomic uint64_t troubles;
static const bool *owned; /* what the next consumer is given */
static struct consumer_anchor *anchors;

static void on_trouble(void *context, const char *sentence)
{
	(void)context;
	assert_true(sentence[0]);
	atomic_fetch_add(&troubles, 1);
}

static uint64_t monotonic_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS;
}

static int start(void **state)
{
	(void)state;
	char error[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	assert_int_equal(rd_kafka_conf_set(conf, "linger.ms", "0", error, sizeof(error)),
			 RD_KAFKA_CONF_OK);
	producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	assert_non_null(producer);
	cluster = rd_kafka_mock_cluster_new(producer, 1);
	assert_non_null(cluster);
	rd_kafka_brokers_add(producer, rd_kafka_mock_cluster_bootstraps(cluster));
	rd_kafka_mock_topic_create(cluster, "events", PARTITIONS, 1);
	atomic_store(&troubles, 0);
	owned = NULL;
	anchors = NULL;
	return 0;
}

static int stop(void **state)
{
	(void)state;
	rd_kafka_mock_cluster_destroy(cluster);
	rd_kafka_destroy(producer);
	return 0;
}

static void produce(int32_t partition, int number)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "record %d", number);
	assert_int_equal(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("events"),
					   RD_KAFKA_V_PARTITION(partition),
					   RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
					   RD_KAFKA_V_VALUE(text, (size_t)length), RD_KAFKA_V_END),
			 RD_KAFKA_RESP_ERR_NO_ERROR);
	assert_int_equal(rd_kafka_flush(producer, WAIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
}

static struct consumer *consumer_of(const char *brokers, const char *topic, uint32_t partitions)
{
	char error[256];
	struct consumer *consumer = consumer_new(
		&(struct consumer_options){
			.brokers = brokers,
			.topic = topic,
			.group = "millraced",
			.partitions = partitions,
			.owned = owned,
			.anchors = anchors,
			.accept_create_time = true,
			.rewind_ns = 120 * NS_PER_S,
			.trouble = on_trouble,
			.loss = on_trouble,
		},
		error, sizeof(error));
	if (!consumer)
		fail_msg("%s", error);
	return consumer;
}

static struct consumer *connected_at(const int64_t *positions, int64_t time_ms)
{
	char error[256] = "";
	struct consumer *consumer =
		consumer_of(rd_kafka_mock_cluster_bootstraps(cluster), "events", PARTITIONS);
	if (positions)
		consumer_begin_at(consumer, positions, time_ms);
	uint64_t until_ms = monotonic_ms() + WAIT_MS;
	while (consumer_connect(consumer, 1000, error, sizeof(error)) != 0)
		if (monotonic_ms() > until_ms)
			fail_msg("%s", error);
	return consumer;
}

static struct consumer *connected(void)
{
	return connected_at(NULL, 0);
}

/* Waits as a loop would: until the descriptor is readable, then for records until there are none.
 */
static bool wait_next(struct consumer *consumer, uint32_t partition, struct mirror_record *record)
{
	uint64_t until_ms = monotonic_ms() + WAIT_MS;
	while (!consumer_next(consumer, partition, record)) {
		struct pollfd fd = {.fd = consumer_descriptor(consumer, partition),
				    .events = POLLIN};
		char drained[64];
		if (monotonic_ms() > until_ms)
			return false;
		if (poll(&fd, 1, 1000) > 0)
			assert_true(read(fd.fd, drained, sizeof(drained)) > 0);
	}
	return true;
}

static void expect_record(struct consumer *consumer, uint32_t partition, int number)
{
	struct mirror_record record;
	char text[32];
	int length = snprintf(text, sizeof(text), "record %d", number);
	assert_true(wait_next(consumer, partition, &record));
	assert_int_equal(record.length, length);
	assert_memory_equal(record.value, text, record.length);
	assert_true(record.append_ns > 1600000000 * NS_PER_S);
}

static void each_partition_has_its_own_records_in_order(void **state)
{
	(void)state;
	for (int i = 0; i < 30; i++)
		produce(i % PARTITIONS, i);
	struct consumer *consumer = connected();
	struct mirror_record none;
	for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
		for (int i = 0; i < 10; i++)
			expect_record(consumer, partition, (int)partition + i * PARTITIONS);
		assert_false(consumer_next(consumer, partition, &none));
	}
	struct consumer_stats stats = consumer_stats(consumer);
	assert_int_equal(stats.records, 30);
	assert_int_equal(stats.bytes, 10 * 8 + 20 * 9);
	assert_true(stats.connected);
	assert_int_equal(stats.undecodable + stats.lost_offsets + stats.wrong_time, 0);
	consumer_close(consumer, 5000);
}

static void a_record_that_comes_later_wakes_the_descriptor(void **state)
{
	(void)state;
	struct consumer *consumer = connected();
	struct mirror_record none;
	assert_false(consumer_next(consumer, 1, &none));
	struct pollfd fd = {.fd = consumer_descriptor(consumer, 1), .events = POLLIN};
	produce(1, 5);
	assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
	expect_record(consumer, 1, 5);
	consumer_close(consumer, 5000);
}

static void reading_goes_on_where_it_was_committed(void **state)
{
	(void)state;
	for (int i = 0; i < 6; i++)
		produce(0, i);
	struct consumer *consumer = connected();
	for (int i = 0; i < 4; i++)
		expect_record(consumer, 0, i);
	consumer_commit(consumer, 0, 4);
	consumer_close(consumer, 5000);
	/* the commit is not waited for: it may arrive after the close */
	consumer = connected();
	struct mirror_record record;
	assert_true(wait_next(consumer, 0, &record));
	assert_in_range(record.offset, 0, 4);
	while (record.offset < 5)
		assert_true(wait_next(consumer, 0, &record));
	consumer_close(consumer, 5000);
}

static void a_broker_that_is_away_is_waited_for(void **state)
{
	(void)state;
	char error[256] = "";
	produce(2, 1);
	rd_kafka_mock_broker_set_down(cluster, BROKER);
	struct consumer *consumer =
		consumer_of(rd_kafka_mock_cluster_bootstraps(cluster), "events", PARTITIONS);
	assert_int_equal(consumer_connect(consumer, 300, error, sizeof(error)), -EAGAIN);
	assert_true(error[0]);
	rd_kafka_mock_broker_set_up(cluster, BROKER);
	uint64_t until_ms = monotonic_ms() + WAIT_MS;
	while (consumer_connect(consumer, 1000, error, sizeof(error)) != 0)
		assert_true(monotonic_ms() < until_ms);
	expect_record(consumer, 2, 1);
	consumer_close(consumer, 5000);
}

static void a_broker_that_leaves_and_returns_is_read_on(void **state)
{
	(void)state;
	produce(0, 1);
	struct consumer *consumer = connected();
	struct mirror_record none;
	expect_record(consumer, 0, 1);
	rd_kafka_mock_broker_set_down(cluster, BROKER);
	uint64_t until_ms = monotonic_ms() + WAIT_MS;
	while (atomic_load(&troubles) == 0) { /* it is told */
		consumer_next(consumer, 0, &none);
		assert_true(monotonic_ms() < until_ms);
	}
	rd_kafka_mock_broker_set_up(cluster, BROKER);
	produce(0, 2);
	expect_record(consumer, 0, 2);
	assert_true(consumer_stats(consumer).errors > 0);
	assert_true(consumer_stats(consumer).connected);
	consumer_close(consumer, 5000);
}

static void another_number_of_partitions_is_a_mistake(void **state)
{
	(void)state;
	char error[256] = "";
	struct consumer *consumer =
		consumer_of(rd_kafka_mock_cluster_bootstraps(cluster), "events", PARTITIONS + 1);
	int rc;
	while ((rc = consumer_connect(consumer, WAIT_MS, error, sizeof(error))) == -EAGAIN)
		;
	assert_int_equal(rc, -EINVAL);
	assert_non_null(strstr(error, "3 partitions"));
	consumer_close(consumer, 5000);
}

static void partitions_of_others_are_left_alone(void **state)
{
	(void)state;
	static const bool some[PARTITIONS] = {false, true, true};
	struct consumer_anchor kept[PARTITIONS] = {
		{1, 2, 3}, CONSUMER_NO_ANCHOR, CONSUMER_NO_ANCHOR};
	char what[256];
	owned = some;
	anchors = kept;
	for (int i = 0; i < 30; i++)
		produce(i % PARTITIONS, i);
	struct consumer *consumer = connected();
	for (uint32_t partition = 1; partition < PARTITIONS; partition++)
		for (int i = 0; i < 10; i++)
			expect_record(consumer, partition, (int)partition + i * PARTITIONS);
	assert_int_equal(consumer_watch(consumer, WAIT_MS, what, sizeof(what)),
			 CONSUMER_TOPIC_WELL);
	assert_int_equal(kept[0].time_ms, 1);
	assert_int_equal(kept[0].since_ms, 3);
	assert_int_equal(consumer_stats(consumer).records, 20);
	assert_int_equal(consumer_stats(consumer).losses, 0);
	rd_kafka_mock_broker_set_down(cluster, BROKER); /* told by the first that is owned */
	uint64_t until_ms = monotonic_ms() + WAIT_MS;
	struct mirror_record none;
	while (atomic_load(&troubles) == 0) {
		consumer_next(consumer, 1, &none);
		assert_true(monotonic_ms() < until_ms);
	}
	consumer_close(consumer, 5000);
}

static void each_begins_at_its_own_position(void **state)
{
	(void)state;
	static const bool some[PARTITIONS] = {false, true, false};
	static const int64_t positions[PARTITIONS] = {1, 3, -1};
	owned = some;
	for (int i = 0; i < 5; i++)
		produce(1, i);
	struct consumer *consumer = connected_at(positions, 0);
	expect_record(consumer, 1, 3);
	expect_record(consumer, 1, 4);
	consumer_close(consumer, 5000);
}

/* A process that is killed when it has just begun to read another log begins from a snapshot of the
 * one before. */
static void a_position_of_a_log_that_another_took_the_place_of_is_not_applied(void **state)
{
	(void)state;
	static const int64_t positions[PARTITIONS] = {2, 2, 2};
	struct consumer_anchor kept[PARTITIONS] = {
		{-1, -1, 5000}, {-1, -1, INT64_MAX}, CONSUMER_NO_ANCHOR};
	anchors = kept;
	for (int i = 0; i < 4 * PARTITIONS; i++)
		produce(i % PARTITIONS, i);
	struct consumer *consumer = connected_at(positions, 4999);
	expect_record(consumer, 0, 0);
	expect_record(consumer, 1, 1);
	expect_record(consumer, 2, 2 + 2 * PARTITIONS);
	assert_int_equal(consumer_stats(consumer).losses, 2);
	assert_int_equal(kept[0].since_ms, 5000);
	assert_in_range(kept[1].since_ms, 1600000000000, INT64_MAX - 1);
	assert_int_equal(kept[2].since_ms, -1);
	consumer_close(consumer, 5000);
	/* One that was taken after that is of it. */
	consumer = connected_at(positions, kept[1].since_ms);
	for (uint32_t partition = 0; partition < PARTITIONS; partition++)
		expect_record(consumer, partition, (int)partition + 2 * PARTITIONS);
	assert_int_equal(consumer_stats(consumer).losses, 0);
	consumer_close(consumer, 5000);
}

/* The mock answers no time, as a log does that has nothing since. */
static void a_log_that_was_cut_is_read_on_where_it_was_cut(void **state)
{
	(void)state;
	static const int64_t positions[PARTITIONS] = {9, 2, 2};
	struct consumer_anchor kept[PARTITIONS] = {{1000, 8, -1}, {1000, 8, -1}, {1000, 3, -1}};
	anchors = kept;
	for (int i = 0; i < 4 * PARTITIONS; i++)
		produce(i % PARTITIONS, i);
	struct consumer *consumer = connected_at(positions, 0);
	produce(0, 99);
	expect_record(consumer, 0, 99); /* what it holds was read */
	expect_record(consumer, 1, 1 + 2 * PARTITIONS);
	expect_record(consumer, 2, 2 + 2 * PARTITIONS);
	assert_int_equal(consumer_stats(consumer).losses, 1);
	assert_int_equal(kept[0].offset, -1);
	assert_int_equal(kept[0].since_ms, -1);
	assert_int_equal(kept[2].offset, 3);
	consumer_close(consumer, 5000);
}

static void closing_does_not_wait_for_a_broker(void **state)
{
	(void)state;
	produce(0, 1);
	struct consumer *consumer = connected();
	expect_record(consumer, 0, 1);
	rd_kafka_mock_broker_set_down(cluster, BROKER);
	consumer_commit(consumer, 0, 1);
	uint64_t from_ms = monotonic_ms();
	consumer_close(consumer, 1000);
	assert_in_range(monotonic_ms() - from_ms, 0, 5000);
}

static void a_bad_setting_is_told(void **state)
{
	(void)state;
	char error[256] = "";
	struct config_pair bad = {(char *)"no.such.setting", (char *)"1"};
	struct kafka_options kafka = {.properties = {&bad, 1}};
	struct security *security = security_new(&kafka, on_trouble, NULL);
	assert_null(consumer_new(&(struct consumer_options){.brokers = "127.0.0.1:1",
							    .topic = "events",
							    .group = "millraced",
							    .security = security,
							    .partitions = 1,
							    .trouble = on_trouble},
				 error, sizeof(error)));
	assert_non_null(strstr(error, "no.such.setting"));
	security_free(security);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
		TEST(each_partition_has_its_own_records_in_order),
		TEST(a_record_that_comes_later_wakes_the_descriptor),
		TEST(reading_goes_on_where_it_was_committed),
		TEST(a_broker_that_is_away_is_waited_for),
		TEST(a_broker_that_leaves_and_returns_is_read_on),
		TEST(another_number_of_partitions_is_a_mistake),
		TEST(partitions_of_others_are_left_alone),
		TEST(each_begins_at_its_own_position),
		TEST(a_position_of_a_log_that_another_took_the_place_of_is_not_applied),
		TEST(a_log_that_was_cut_is_read_on_where_it_was_cut),
		TEST(closing_does_not_wait_for_a_broker),
		TEST(a_bad_setting_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
