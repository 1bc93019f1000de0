/* Against librdkafka's mock cluster: when what was written counts as settled. */
#include "daemon/outputs.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "daemon/topics.h"

enum { DELIVERIES = 8, ROUND_TRIP_MS = 50, WITHIN_MS = 20000, PRODUCE = 0 /* request */ };

static const char word[] = "word";
static const struct encoded value = {(const uint8_t *)word, sizeof(word)};

static rd_kafka_t *producer;
static rd_kafka_mock_cluster_t *cluster;
static struct outputs *outputs;

/* A delivery after whose acknowledgement the next is written. */
struct stream {
	struct output_report report; /* first */
	uint64_t told;
	bool ends;
};

static void on_told(struct output_report *report, int rc)
{
	struct stream *stream = (struct stream *)report;

	assert_int_equal(rc, 0);
	stream->told++;
	if (!stream->ends)
		assert_true(outputs_try(outputs, TOPIC_DELIVERY, 0, "k", 1, value, report));
}

static void on_trouble(void *context, const char *sentence)
{
	(void)context;
	print_message("%s\n", sentence);
}

static _Atomic unsigned ends;
static char sentence_told[512];

static void on_refused(void *context, const char *sentence)
{
	(void)context;
	if (atomic_fetch_add(&ends, 1) == 0)
		snprintf(sentence_told, sizeof(sentence_told), "%s", sentence);
}

static void open_outputs(void)
{
	char error[256];

	outputs = outputs_new(
		&(struct outputs_options){.brokers = rd_kafka_mock_cluster_bootstraps(cluster),
					  .trouble = on_trouble,
					  .refused = on_refused},
		error, sizeof(error));
	assert_non_null(outputs);
}

static int start(void **state)
{
	char error[256];

	(void)state;
	atomic_store(&ends, 0);
	producer = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), error, sizeof(error));
	assert_non_null(producer);
	cluster = rd_kafka_mock_cluster_new(producer, 1);
	assert_non_null(cluster);
	rd_kafka_mock_topic_create(cluster, TOPIC_DELIVERY, 1, 1);
	rd_kafka_mock_topic_create(cluster, TOPIC_ROLLUPS, 1, 1);
	open_outputs();
	rd_kafka_mock_broker_set_rtt(cluster, 1, ROUND_TRIP_MS);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	outputs_close(outputs, WITHIN_MS);
	rd_kafka_mock_cluster_destroy(cluster);
	rd_kafka_destroy(producer);
	return 0;
}

static void turn(void)
{
	const struct timespec pause = {.tv_nsec = (long)NS_PER_MS};

	outputs_poll(outputs);
	nanosleep(&pause, NULL);
}

static void what_tasks_wrote_is_settled_whatever_else_is_always_under_way(void **state)
{
	struct stream streams[DELIVERIES] = {0};
	struct stream tick = {.report = {.told = on_told, .of_tasks = true}};
	int turns = 0;

	(void)state;
	assert_true(outputs_settled(outputs));
	for (int i = 0; i < DELIVERIES; i++) {
		streams[i].report.told = on_told;
		on_told(&streams[i].report, 0);
		turn();
	}
	assert_true(outputs_settled(outputs));
	outputs_write(outputs, TOPIC_ROLLUPS, 0, "k", 1, value, NULL);
	assert_false(outputs_settled(outputs));
	while (!outputs_settled(outputs) && turns++ < WITHIN_MS)
		turn();
	assert_true(outputs_settled(outputs));
	/* A tick's report lies in what is freed when the tasks have settled. */
	tick.ends = true;
	assert_true(outputs_try(outputs, TOPIC_DELIVERY, 0, "k", 1, value, &tick.report));
	assert_false(outputs_settled(outputs));
	while (!outputs_settled(outputs) && turns++ < WITHIN_MS)
		turn();
	assert_int_equal(tick.told, 1);
	assert_true(outputs_stats(outputs).waiting > 0);
	for (int i = 0; i < DELIVERIES; i++)
		streams[i].ends = true;
	while (outputs_stats(outputs).waiting && turns++ < WITHIN_MS)
		turn();
	for (int i = 0; i < DELIVERIES; i++)
		assert_true(streams[i].told > 1);
}

static void a_mark_waits_for_what_came_before_it_alone(void **state)
{
	struct stream stream = {.report.told = on_told};
	uint32_t mark;
	int turns = 0;

	(void)state;
	outputs_write(outputs, TOPIC_ROLLUPS, 0, "k", 1, value, NULL);
	mark = outputs_mark(outputs);
	on_told(&stream.report, 0);
	assert_false(outputs_acknowledged(outputs, mark));
	while (!outputs_acknowledged(outputs, mark) && turns++ < WITHIN_MS)
		turn();
	assert_true(outputs_acknowledged(outputs, mark));
	assert_false(outputs_acknowledged(outputs, mark + 1));
	stream.ends = true;
	while (outputs_stats(outputs).waiting && turns++ < WITHIN_MS)
		turn();
	assert_true(outputs_acknowledged(outputs, mark + 1));
}

static void at_a_hole_the_process_ends_and_no_snapshot_counts(void **state)
{
	const struct output_number number = {.epoch = 1, .pane = 2};
	uint32_t mark;
	int turns = 0;

	(void)state;
	rd_kafka_mock_push_request_errors(cluster, PRODUCE, 1,
					  RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	outputs_write(outputs, TOPIC_ROLLUPS, 0, "k", 1, value, &number);
	mark = outputs_mark(outputs);
	while (!atomic_load(&ends) && turns++ < WITHIN_MS)
		turn();
	assert_int_equal(atomic_load(&ends), 1);
	assert_non_null(strstr(sentence_told, "for partition 0 of topic " TOPIC_ROLLUPS));
	assert_non_null(strstr(sentence_told, "max.message.bytes"));
	while (outputs_stats(outputs).waiting && turns++ < WITHIN_MS)
		turn();
	for (int i = 0; i < 100; i++)
		turn();
	assert_int_equal(outputs_stats(outputs).failed, 1);
	assert_false(outputs_acknowledged(outputs, mark));
	/* One of a partition that its topic does not have is refused at once. */
	outputs_write(outputs, TOPIC_ROLLUPS, 7, "k", 1, value, &number);
	assert_true(atomic_load(&ends) > 1);
}

static void what_may_have_holes_ends_nothing(void **state)
{
	const struct output_number number = {.epoch = 1, .pane = 2};
	uint32_t mark;
	int turns = 0;

	(void)state;
	rd_kafka_mock_push_request_errors(cluster, PRODUCE, 2,
					  RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
					  RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
	outputs_write(outputs, TOPIC_ROLLUPS, 0, "k", 1, value, NULL);
	outputs_write(outputs, TOPIC_DELIVERY, -1, "k", 1, value, &number); /* as dead letters */
	mark = outputs_mark(outputs);
	while (!outputs_acknowledged(outputs, mark) && turns++ < WITHIN_MS)
		turn();
	assert_true(outputs_acknowledged(outputs, mark));
	assert_true(outputs_stats(outputs).failed > 0);
	assert_int_equal(atomic_load(&ends), 0);
}

static void what_is_left_behind_at_the_end_is_no_hole(void **state)
{
	const struct output_number number = {.epoch = 1, .pane = 2};

	(void)state;
	rd_kafka_mock_broker_set_down(cluster, 1);
	outputs_write(outputs, TOPIC_ROLLUPS, 0, "k", 1, value, &number);
	assert_int_equal(outputs_close(outputs, 100), 1);
	assert_int_equal(atomic_load(&ends), 0);
	rd_kafka_mock_broker_set_up(cluster, 1);
	open_outputs();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
	const struct CMUnitTest tests[] = {
		TEST(what_tasks_wrote_is_settled_whatever_else_is_always_under_way),
		TEST(a_mark_waits_for_what_came_before_it_alone),
		TEST(at_a_hole_the_process_ends_and_no_snapshot_counts),
		TEST(what_may_have_holes_ends_nothing),
		TEST(what_is_left_behind_at_the_end_is_no_hole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
