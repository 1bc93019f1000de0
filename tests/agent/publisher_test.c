/* Against librdkafka's mock cluster: real protocol over loopback, and faults at will. What was put
 * is read back from the topic. */
#include "agent/publisher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/clock.h"
#include "kafka/security.h"

enum { BROKER = 1, WAIT_MS = 20000, PRODUCE = 0 /* its number in Kafka's protocol */ };

static rd_kafka_t *host;
static rd_kafka_mock_cluster_t *cluster;
static struct publisher *publisher;
static struct security *security;

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static int start(void **state)
{
	(void)state;
	char error[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_conf_set(conf, "log_level", "3", error, sizeof(error));
	host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	assert_non_null(host);
	cluster = rd_kafka_mock_cluster_new(host, 1);
	assert_non_null(cluster);
	rd_kafka_mock_topic_create(cluster, "events", 1, 1);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	publisher_free(publisher);
	security_free(security);
	publisher = NULL;
	security = NULL;
	rd_kafka_mock_cluster_destroy(cluster);
	rd_kafka_destroy(host);
	return 0;
}

/* properties: of librdkafka, in pairs. */
static void open_publisher(uint64_t spool_bytes, const char *const (*properties)[2], size_t count)
{
	static struct config_pair pairs[8];
	static struct kafka_options kafka;
	char why[PUBLISHER_WHY_BYTES];
	for (size_t i = 0; i < count; i++)
		pairs[i] = (struct config_pair){.key = (char *)properties[i][0],
						.value = (char *)properties[i][1]};
	kafka = (struct kafka_options){.properties = {.items = pairs, .count = count}};
	security = security_new(&kafka, NULL, NULL);
	if (publisher_new(&publisher,
			  &(struct publisher_options){
				  .brokers = rd_kafka_mock_cluster_bootstraps(cluster),
				  .topic = "events",
				  .key = "node",
				  .spool_bytes_max = spool_bytes,
				  .security = security,
			  },
			  why))
		fail_msg("%s", why);
}

static void put(uint32_t number)
{
	publisher_put(publisher, (const uint8_t *)&number, sizeof(number), 10);
}

static void turn(void)
{
	const struct timespec tick = {.tv_nsec = 10 * NS_PER_MS};
	publisher_poll(publisher, now_ns());
	nanosleep(&tick, NULL);
}

static struct spool_stats spool(void)
{
	return publisher_stats(publisher).spool;
}

static void deliver_all(void)
{
	for (int turns = 0; spool().waiting + spool().sent; turns++) {
		assert_true(turns < WAIT_MS / 10);
		turn();
	}
}

/* The topic's records in the order of the log, each its number; returns how many. */
static uint32_t read_back(uint32_t *numbers, uint32_t max)
{
	char error[256];
	uint32_t count = 0;
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(cluster),
			  error, sizeof(error));
	rd_kafka_conf_set(conf, "group.id", "test", error, sizeof(error));
	rd_kafka_conf_set(conf, "enable.partition.eof", "true", error, sizeof(error));
	rd_kafka_t *consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
	assert_non_null(consumer);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, "events", 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
	assert_int_equal(rd_kafka_assign(consumer, list), RD_KAFKA_RESP_ERR_NO_ERROR);
	for (bool end = false; !end;) {
		rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, WAIT_MS);
		assert_non_null(message);
		end = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
		if (!message->err) {
			assert_true(count < max);
			assert_int_equal(message->len, sizeof(*numbers));
			memcpy(&numbers[count++], message->payload, sizeof(*numbers));
		}
		rd_kafka_message_destroy(message);
	}
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_consumer_close(consumer);
	rd_kafka_destroy(consumer);
	return count;
}

static void expect_in_order(uint32_t count)
{
	uint32_t *numbers = calloc(count + 1, sizeof(*numbers));
	assert_int_equal(read_back(numbers, count + 1), count);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(numbers[i], i);
	free(numbers);
}

/* The broker is not ready for the first request and late with the second, which it does not write;
 * whatever comes beside it then, it would take: to a broker any number is a new producer's first.
 */
static void a_first_batch_whose_answer_is_a_timeout_is_not_taken_for_delivered(void **state)
{
	(void)state;
	rd_kafka_mock_push_request_errors(cluster, PRODUCE, 2,
					  RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
					  RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT);
	open_publisher(1 << 20, NULL, 0);
	for (uint32_t number = 0; number < 100; number++) {
		put(number);
		turn();
	}
	deliver_all();
	expect_in_order(100);
	assert_int_equal(publisher_stats(publisher).delivered_batches, 100);
}

static void what_comes_while_the_topic_is_missing_is_delivered_when_it_is_made(void **state)
{
	static const char *const soon[][2] = {{"topic.metadata.propagation.max.ms", "1"},
					      {"topic.metadata.refresh.fast.interval.ms", "50"}};
	(void)state;
	rd_kafka_mock_topic_set_error(cluster, "events", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
	open_publisher(1 << 20, soon, 2);
	for (uint32_t number = 0; number < 40; number++) {
		put(number);
		turn();
	}
	for (int turns = 0; !publisher_stats(publisher).failed; turns++) {
		assert_true(turns < WAIT_MS / 10);
		turn();
	}
	assert_int_equal(spool().waiting + spool().sent, 40);
	assert_int_equal(publisher_stats(publisher).delivered_batches, 0);
	rd_kafka_mock_topic_set_error(cluster, "events", RD_KAFKA_RESP_ERR_NO_ERROR);
	deliver_all();
	expect_in_order(40);
	assert_int_equal(spool().dropped_batches, 0);
}

/* The client takes no more, at once and each time it is asked. */
static void a_flush_ends_in_time_and_what_it_left_is_counted(void **state)
{
	static const char *const one[][2] = {{"queue.buffering.max.messages", "1"}};
	(void)state;
	open_publisher(1 << 20, one, 1);
	put(0);
	deliver_all();
	rd_kafka_mock_broker_set_down(cluster, BROKER);
	for (uint32_t number = 1; number < 4; number++)
		put(number);
	assert_false(publisher_flush(publisher, 300));
	assert_int_equal(spool().waiting + spool().sent, 3);
	assert_int_equal(spool().events, 30);
	rd_kafka_mock_broker_set_up(cluster, BROKER);
	assert_true(publisher_flush(publisher, WAIT_MS));
	assert_int_equal(spool().events, 0);
	expect_in_order(4);
}

/* Each number of [0, count) once, in any order. */
static void expect_each_once(uint32_t count)
{
	uint32_t *numbers = calloc(count + 1, sizeof(*numbers));
	bool *there = calloc(count, sizeof(*there));
	uint32_t got = read_back(numbers, count + 1);
	uint32_t wrong = got != count;
	for (uint32_t i = 0; i < got; i++) {
		wrong += numbers[i] >= count || there[numbers[i]];
		if (numbers[i] < count)
			there[numbers[i]] = true;
	}
	free(numbers);
	free(there);
	assert_int_equal(wrong, 0);
}

/* The client sends together what waits, and the broker answers for all of it at once; what the
 * client took meanwhile may be in the log before it. */
static void one_batch_too_large_takes_none_along(void **state)
{
	(void)state;
	open_publisher(1 << 20, NULL, 0);
	put(0);
	deliver_all();
	rd_kafka_mock_push_request_errors(cluster, PRODUCE, 1,
					  RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	for (uint32_t number = 1; number < 30; number++)
		put(number);
	deliver_all();
	assert_int_equal(spool().dropped_batches, 0);
	expect_each_once(30);
}

static void a_batch_that_is_refused_alone_is_dropped_and_counted(void **state)
{
	uint32_t numbers[4];
	(void)state;
	open_publisher(1 << 20, NULL, 0);
	rd_kafka_mock_push_request_errors(cluster, PRODUCE, 2, /* of all, then of the first */
					  RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
					  RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	for (uint32_t number = 0; number < 3; number++)
		put(number);
	deliver_all();
	assert_int_equal(spool().dropped_batches, 1);
	assert_int_equal(spool().dropped_events, 10);
	assert_int_equal(read_back(numbers, 4), 2);
	assert_int_equal(numbers[0], 1);
}

/* What was put is delivered, dropped or still here, whatever the broker does, and the log has every
 * batch that is said to be delivered. */
static void nothing_is_lost_uncounted_while_the_broker_fails_in_many_ways(void **state)
{
	static const rd_kafka_resp_err_t errors[] = {
		RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
		RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
		RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
		RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
		RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
		RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
		RD_KAFKA_RESP_ERR__TRANSPORT,
	};
	enum { KINDS = sizeof(errors) / sizeof(errors[0]), BATCHES = 300, ROOM = 100 };
	bool there[BATCHES] = {false};
	uint32_t numbers[4 * BATCHES], missing = 0;
	uint64_t delivered = 0;
	unsigned kind = 0;
	(void)state;
	open_publisher(ROOM * (sizeof(struct spooled) + sizeof(uint32_t)), NULL, 0);
	for (uint32_t number = 0; number < BATCHES; number++) {
		if (kind < KINDS && publisher_stats(publisher).delivered_batches > delivered) {
			delivered = publisher_stats(publisher).delivered_batches;
			rd_kafka_mock_push_request_errors(cluster, PRODUCE, 1, errors[kind++]);
		}
		if (number == BATCHES / 3)
			rd_kafka_mock_broker_set_down(cluster, BROKER);
		if (number == BATCHES / 2)
			rd_kafka_mock_broker_set_up(cluster, BROKER);
		put(number);
		turn();
		assert_int_equal(publisher_stats(publisher).delivered_batches +
					 spool().dropped_batches + spool().waiting + spool().sent,
				 number + 1);
	}
	deliver_all();
	assert_true(spool().dropped_batches > 0);
	uint32_t count = read_back(numbers, 4 * BATCHES);
	for (uint32_t i = 0; i < count; i++)
		there[numbers[i]] = true;
	for (uint32_t number = 0; number < BATCHES; number++)
		missing += !there[number];
	assert_int_equal(missing, spool().dropped_batches);
	assert_int_equal(spool().dropped_events, 10 * missing);
	assert_int_equal(publisher_stats(publisher).delivered_batches, BATCHES - missing);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
	const struct CMUnitTest tests[] = {
		TEST(a_first_batch_whose_answer_is_a_timeout_is_not_taken_for_delivered),
		TEST(what_comes_while_the_topic_is_missing_is_delivered_when_it_is_made),
		TEST(a_flush_ends_in_time_and_what_it_left_is_counted),
		TEST(one_batch_too_large_takes_none_along),
		TEST(a_batch_that_is_refused_alone_is_dropped_and_counted),
		TEST(nothing_is_lost_uncounted_while_the_broker_fails_in_many_ways),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
