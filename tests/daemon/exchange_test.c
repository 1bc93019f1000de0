/* Two instances over librdkafka's mock cluster: real protocol over loopback, and faults at will. */
#include "daemon/exchange.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "daemon/bundle.h"
#include "tests/daemon/messages.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

enum {
	TASKS = 4,
	PARTITIONS = TASKS + 1,
	WAIT_MS = 20000,
	TAKEN_MAX = 4096,
	BROKER = 1,
	FETCH = 1, /* numbers in Kafka's protocol */
	PRODUCE = 0
};

struct said {
	uint32_t kind;
	int64_t offset;
	uint64_t append_ms;
	uint8_t bytes[32];
	size_t length;
};

/* One instance, and what it was told. */
struct instance_under_test {
	struct exchange *exchange;
	pthread_mutex_t lock;
	struct message *messages[TAKEN_MAX];
	size_t messages_count;
	struct said said[TAKEN_MAX];
	size_t said_count;
	uint32_t broken, troubles;
	char why[512];
	_Atomic bool ended; /* no message may come */
};

/* Two instances have two tasks each. */
static const uint32_t homes[TASKS] = {0, 0, 2, 2};

static rd_kafka_t *host, *producer;
static rd_kafka_mock_cluster_t *cluster;
static struct instance_under_test one, two;

static void on_messages(void *context, struct message *messages)
{
	struct instance_under_test *instance = context;
	assert_false(atomic_load(&instance->ended));
	pthread_mutex_lock(&instance->lock);
	for (struct letter *letter = &messages->letter; letter; letter = letter->next) {
		assert_true(instance->messages_count < TAKEN_MAX);
		instance->messages[instance->messages_count++] = (struct message *)letter;
	}
	pthread_mutex_unlock(&instance->lock);
}

static void on_common(void *context, uint32_t kind, int64_t offset, uint64_t append_ms,
		      const uint8_t *bytes, size_t length)
{
	struct instance_under_test *instance = context;
	pthread_mutex_lock(&instance->lock);
	assert_true(instance->said_count < TAKEN_MAX);
	struct said *said = &instance->said[instance->said_count++];
	*said = (struct said){
		.kind = kind, .offset = offset, .append_ms = append_ms, .length = length};
	assert_true(length <= sizeof(said->bytes));
	memcpy(said->bytes, bytes, length);
	pthread_mutex_unlock(&instance->lock);
}

static void on_broken(void *context, const char *why)
{
	struct instance_under_test *instance = context;
	pthread_mutex_lock(&instance->lock);
	instance->broken++;
	snprintf(instance->why, sizeof(instance->why), "%s", why);
	pthread_mutex_unlock(&instance->lock);
}

static void on_trouble(void *context, const char *sentence)
{
	struct instance_under_test *instance = context;
	assert_true(sentence[0]);
	pthread_mutex_lock(&instance->lock);
	instance->troubles++;
	pthread_mutex_unlock(&instance->lock);
}

static void nap(uint32_t ms)
{
	const struct timespec pause = {.tv_nsec = (long)(ms * NS_PER_MS)};
	nanosleep(&pause, NULL);
}

/* Waits for a condition. */
#define UNTIL(condition)                                                                   \
	do {                                                                               \
		uint32_t waited = 0;                                                       \
		while (!(condition)) {                                                     \
			if (waited++ > WAIT_MS / 2)                                        \
				fail_msg("line %d: never came: %s", __LINE__, #condition); \
			nap(2);                                                            \
		}                                                                          \
	} while (0)

static size_t messages_of(struct instance_under_test *instance)
{
	pthread_mutex_lock(&instance->lock);
	size_t count = instance->messages_count;
	pthread_mutex_unlock(&instance->lock);
	return count;
}

static size_t said_to(struct instance_under_test *instance)
{
	pthread_mutex_lock(&instance->lock);
	size_t count = instance->said_count;
	pthread_mutex_unlock(&instance->lock);
	return count;
}

static uint32_t breaks_of(struct instance_under_test *instance)
{
	pthread_mutex_lock(&instance->lock);
	uint32_t count = instance->broken;
	pthread_mutex_unlock(&instance->lock);
	return count;
}

static struct exchange_stats stats_of(struct instance_under_test *instance)
{
	return exchange_stats(instance->exchange);
}

static void make(struct instance_under_test *instance, const char *topic)
{
	char error[256];
	memset(instance, 0, sizeof(*instance));
	pthread_mutex_init(&instance->lock, NULL);
	instance->exchange = exchange_new(
		&(struct exchange_options){
			.brokers = rd_kafka_mock_cluster_bootstraps(cluster),
			.topic = topic,
			.tasks = TASKS,
			.context = instance,
			.on_messages = on_messages,
			.on_common = on_common,
			.on_broken = on_broken,
			.trouble = on_trouble,
		},
		error, sizeof(error));
	if (!instance->exchange)
		fail_msg("%s", error);
}

static void own(struct instance_under_test *instance, uint32_t first, uint32_t end)
{
	char why[256];
	struct task_set tasks = {{0}};
	for (uint32_t i = first; i < end; i++)
		task_set_add(&tasks, i);
	if (exchange_own(instance->exchange, &tasks, WAIT_MS, why, sizeof(why)))
		fail_msg("%s", why);
}

static void open_instance(struct instance_under_test *instance, uint32_t first, uint32_t end)
{
	char why[256];
	make(instance, "exchange");
	if (exchange_open(instance->exchange, WAIT_MS, why, sizeof(why)))
		fail_msg("%s", why);
	own(instance, first, end);
}

static void close_instance(struct instance_under_test *instance)
{
	if (!instance->exchange)
		return;
	exchange_close(instance->exchange, 5000);
	for (size_t i = 0; i < instance->messages_count; i++)
		message_free(instance->messages[i]);
	pthread_mutex_destroy(&instance->lock);
	instance->exchange = NULL;
}

static rd_kafka_t *client(void)
{
	char error[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_conf_set(conf, "log_level", "3", error, sizeof(error));
	rd_kafka_conf_set(conf, "linger.ms", "0", error, sizeof(error));
	rd_kafka_conf_set(conf, "compression.type", "zstd", error, sizeof(error));
	rd_kafka_conf_set(conf, "message.max.bytes", "33554432", error, sizeof(error));
	rd_kafka_t *made = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	assert_non_null(made);
	return made;
}

static int start(void **state)
{
	(void)state;
	host = client();
	cluster = rd_kafka_mock_cluster_new(host, 1);
	assert_non_null(cluster);
	rd_kafka_mock_topic_create(cluster, "exchange", PARTITIONS, 1);
	producer = client();
	rd_kafka_brokers_add(producer, rd_kafka_mock_cluster_bootstraps(cluster));
	return 0;
}

static int stop(void **state)
{
	(void)state;
	close_instance(&one);
	close_instance(&two);
	rd_kafka_destroy(producer);
	rd_kafka_mock_cluster_destroy(cluster);
	rd_kafka_destroy(host);
	return 0;
}

/* By another client than an instance's. */
static void produce(int32_t partition, const void *bytes, size_t length)
{
	assert_int_equal(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("exchange"),
					   RD_KAFKA_V_PARTITION(partition),
					   RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
					   RD_KAFKA_V_VALUE((void *)(uintptr_t)bytes, length),
					   RD_KAFKA_V_END),
			 RD_KAFKA_RESP_ERR_NO_ERROR);
	assert_int_equal(rd_kafka_flush(producer, WAIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* A bundle of one message, by hand. */
static void produce_start(int64_t run, uint64_t number, uint32_t source, uint32_t task,
			  uint64_t pane)
{
	size_t length;
	uint8_t *bytes =
		made_bundle(run, number, message_new(MESSAGE_START, source, task, pane), &length);
	produce((int32_t)homes[task], bytes, length);
	free(bytes);
}

/* In a turn of its own. */
static void send_start(uint32_t source, uint32_t task, uint64_t pane)
{
	exchange_send(one.exchange, source, message_new(MESSAGE_START, source, task, pane));
	exchange_flush(one.exchange, source);
}

static void begin(int64_t run)
{
	exchange_begin(one.exchange, run, homes);
	exchange_begin(two.exchange, run, homes);
}

static void all_kinds_arrive_bit_for_bit_and_in_order(void **state)
{
	(void)state;
	enum { PANES = 6 };
	open_instance(&one, 0, 2);
	open_instance(&two, 2, 4);
	begin(10);
	for (uint64_t pane = 0; pane < PANES; pane++) {
		for (int kind = 0; kind < MESSAGE_KINDS; kind++)
			for (uint32_t task = 2; task < 4; task++)
				exchange_send(one.exchange, 0,
					      made_message(kind, 1, task, 40 + pane));
		exchange_flush(one.exchange, 0);
	}
	UNTIL(messages_of(&two) == PANES * MESSAGE_KINDS * 2);
	uint64_t next[TASKS] = {0};
	for (size_t i = 0; i < two.messages_count; i++) {
		const struct message *got = two.messages[i];
		uint64_t number = next[got->task]++;
		struct message *made = made_message((enum message_kind)(number % MESSAGE_KINDS), 1,
						    got->task, 40 + number / MESSAGE_KINDS);
		expect_message(got, made);
		message_free(made);
	}
	assert_int_equal(next[2], PANES * MESSAGE_KINDS);
	struct exchange_stats sent = stats_of(&one), received = stats_of(&two);
	assert_int_equal(sent.sent, PANES * MESSAGE_KINDS * 2);
	assert_int_equal(sent.sent_records, PANES);
	assert_int_equal(received.received, PANES * MESSAGE_KINDS * 2);
	assert_true(received.received_bytes > 0);
	assert_int_equal(messages_of(&one), 0);
	assert_int_equal(sent.failed + received.repeated + received.stale + received.held +
				 received.refused + received.broken + received.unheld,
			 0);
}

struct source {
	uint32_t number;
	uint32_t count;
};

static void *send_all(void *context)
{
	const struct source *source = context;
	for (uint32_t i = 0; i < source->count; i++)
		for (uint32_t task = 2; task < 4; task++)
			send_start(source->number, task, i);
	return NULL;
}

static void the_order_of_each_source_stays_while_several_threads_send(void **state)
{
	(void)state;
	enum { COUNT = 500 };
	pthread_t threads[2];
	struct source sources[2] = {{0, COUNT}, {1, COUNT}};
	uint64_t next[TASKS][TASKS] = {{0}};
	open_instance(&one, 0, 2);
	open_instance(&two, 2, 4);
	begin(10);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, send_all, &sources[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	UNTIL(messages_of(&two) == 4 * COUNT);
	for (size_t i = 0; i < two.messages_count; i++) {
		const struct message *message = two.messages[i];
		assert_int_equal(message->pane, next[message->source][message->task]++);
	}
	assert_int_equal(stats_of(&two).broken, 0);
}

static void messages_of_an_older_run_are_dropped(void **state)
{
	(void)state;
	open_instance(&two, 2, 4);
	exchange_begin(two.exchange, 11, homes);
	produce_start(10, 0, 0, 2, 1);
	produce_start(11, 0, 0, 2, 2);
	produce_start(10, 1, 0, 2, 3);
	produce_start(11, 1, 0, 2, 4);
	UNTIL(messages_of(&two) == 2);
	assert_int_equal(two.messages[0]->pane, 2);
	assert_int_equal(two.messages[1]->pane, 4);
	assert_int_equal(stats_of(&two).stale, 2);
	assert_int_equal(breaks_of(&two), 0);
}

static void messages_of_a_newer_run_are_held_until_it_begins(void **state)
{
	(void)state;
	open_instance(&two, 2, 4);
	for (uint64_t number = 0; number < 5; number++) {
		produce_start(12, number, 0, 2, 100 + number);
		produce_start(11, number, 0, 2, number);
		produce_start(10, number, 0, 2, 200 + number);
	}
	UNTIL(stats_of(&two).held == 15);
	assert_int_equal(messages_of(&two), 0);
	exchange_begin(two.exchange, 11, homes);
	produce_start(11, 5, 0, 2, 5);
	UNTIL(messages_of(&two) == 6);
	for (uint64_t i = 0; i < 6; i++)
		assert_int_equal(two.messages[i]->pane, i);
	assert_int_equal(stats_of(&two).held, 5);
	assert_int_equal(stats_of(&two).stale, 5);
	exchange_end(two.exchange);
	exchange_begin(two.exchange, 12, homes);
	UNTIL(messages_of(&two) == 11);
	for (uint64_t i = 0; i < 5; i++)
		assert_int_equal(two.messages[6 + i]->pane, 100 + i);
	assert_int_equal(stats_of(&two).held, 0);
	assert_int_equal(breaks_of(&two), 0);
}

static void a_run_for_which_too_much_came_early_is_broken_when_it_begins(void **state)
{
	(void)state;
	enum { BYTES = 8 << 20 };
	uint8_t *bytes = calloc(1, BYTES);
	const struct bundle_head head = {.magic = BUNDLE_MAGIC, .messages = 1, .run = 11};
	struct bundle_place place = {.task = 2, .length = BYTES - sizeof(head) - sizeof(place)};
	open_instance(&two, 2, 4);
	for (; place.number < 9; place.number++) {
		memcpy(bytes, &head, sizeof(head));
		memcpy(bytes + sizeof(head), &place, sizeof(place));
		produce(2, bytes, BYTES);
	}
	free(bytes);
	UNTIL(stats_of(&two).held + stats_of(&two).unheld == 9);
	assert_int_equal(stats_of(&two).held, 8);
	exchange_begin(two.exchange, 11, homes);
	UNTIL(breaks_of(&two) == 1);
	assert_non_null(strstr(two.why, "held"));
	UNTIL(stats_of(&two).held == 0);
	exchange_end(two.exchange);
	exchange_begin(two.exchange, 12, homes);
	produce_start(12, 0, 0, 2, 7);
	UNTIL(messages_of(&two) == 1);
	assert_int_equal(breaks_of(&two), 1);
}

static void repeats_are_dropped(void **state)
{
	(void)state;
	open_instance(&two, 2, 4);
	exchange_begin(two.exchange, 10, homes);
	produce_start(10, 0, 0, 2, 0);
	produce_start(10, 0, 0, 2, 50);
	produce_start(10, 1, 0, 2, 1);
	produce_start(10, 0, 0, 2, 51);
	produce_start(10, 0, 1, 2, 2); /* another source has its own numbers */
	produce_start(10, 0, 0, 3, 3);
	UNTIL(messages_of(&two) == 4);
	assert_int_equal(stats_of(&two).repeated, 2);
	for (size_t i = 0; i < 4; i++)
		assert_true(two.messages[i]->pane < 4);
	assert_int_equal(breaks_of(&two), 0);
}

static void a_gap_breaks_the_run_once(void **state)
{
	(void)state;
	open_instance(&two, 2, 4);
	exchange_begin(two.exchange, 10, homes);
	produce_start(10, 0, 0, 2, 0);
	produce_start(10, 2, 0, 2, 2);
	produce_start(10, 3, 0, 2, 3);
	produce_start(10, 1, 0, 2, 1);
	produce_start(10, 7, 1, 2, 7);
	UNTIL(stats_of(&two).stale == 4);
	UNTIL(breaks_of(&two) == 1);
	assert_string_equal(two.why, "messages 1 to 1 from task 0 to task 2 are missing");
	assert_int_equal(messages_of(&two), 1);
	exchange_end(two.exchange);
	exchange_begin(two.exchange, 11, homes);
	produce_start(11, 0, 0, 2, 0);
	UNTIL(messages_of(&two) == 2);
	assert_int_equal(breaks_of(&two), 1);
	assert_int_equal(stats_of(&two).broken, 1);
	produce_start(11, 2, 0, 2, 0);
	UNTIL(breaks_of(&two) == 2);
}

static void what_comes_after_the_end_is_not_told(void **state)
{
	(void)state;
	open_instance(&one, 0, 2);
	open_instance(&two, 2, 4);
	begin(10);
	for (uint64_t i = 0; i < 400; i++)
		send_start(0, 2, i);
	UNTIL(messages_of(&two) > 0);
	exchange_end(two.exchange);
	atomic_store(&two.ended, true);
	size_t before = messages_of(&two);
	UNTIL(before + stats_of(&two).stale == 400);
	assert_int_equal(messages_of(&two), before);
	exchange_end(one.exchange);
	send_start(0, 2, 0);
	assert_int_equal(stats_of(&one).stale, 1);
	assert_int_equal(stats_of(&one).sent, 400);
}

static void say(struct instance_under_test *instance, uint32_t number)
{
	exchange_say(instance->exchange, number % 3, (const uint8_t *)&number, sizeof(number));
}

/* Both own other tasks again and again meanwhile. */
static void all_are_told_the_same_in_the_same_order_whoever_owns_what(void **state)
{
	(void)state;
	enum { COUNT = 300 };
	open_instance(&one, 0, 2);
	open_instance(&two, 2, 4);
	for (uint32_t i = 0; i < COUNT; i++) {
		say(&one, i);
		say(&two, 10000 + i);
		if (i % 10 == 3)
			own(&one, 0, i / 10 % 5);
		if (i % 10 == 7)
			own(&two, i / 10 % 5, 4);
	}
	UNTIL(said_to(&one) == 2 * COUNT && said_to(&two) == 2 * COUNT);
	nap(300); /* were there more */
	assert_int_equal(said_to(&one), 2 * COUNT);
	assert_int_equal(said_to(&two), 2 * COUNT);
	assert_memory_equal(one.said, two.said, 2 * COUNT * sizeof(one.said[0]));
	uint32_t next[2] = {0, 10000};
	for (size_t i = 0; i < 2 * COUNT; i++) {
		uint32_t number;
		assert_int_equal(one.said[i].offset, i);
		assert_true(one.said[i].append_ms > 0);
		assert_int_equal(one.said[i].length, sizeof(number));
		memcpy(&number, one.said[i].bytes, sizeof(number));
		assert_int_equal(one.said[i].kind, number % 3);
		assert_int_equal(number, next[number >= 10000]++);
	}
	assert_int_equal(breaks_of(&one) + breaks_of(&two), 0);
}

static void messages_are_read_from_where_their_task_was_taken(void **state)
{
	(void)state;
	produce_start(10, 0, 0, 2, 0); /* before anybody owns it */
	open_instance(&two, 3, 4);
	produce_start(10, 0, 0, 2, 1);
	own(&two, 2, 4);
	exchange_begin(two.exchange, 10, homes);
	produce_start(10, 0, 0, 2, 2);
	produce_start(10, 0, 0, 1, 3); /* not ours */
	produce_start(10, 1, 0, 2, 4);
	UNTIL(messages_of(&two) == 2);
	nap(100);
	assert_int_equal(messages_of(&two), 2);
	assert_int_equal(two.messages[0]->pane, 2);
	assert_int_equal(two.messages[1]->pane, 4);
}

static void hostile_bytes_are_refused_and_counted(void **state)
{
	(void)state;
	size_t length;
	uint8_t *bytes = made_bundle(10, 0, made_message(MESSAGE_LABELS, 0, 2, 40), &length);
	open_instance(&two, 2, 4);
	for (size_t cut = 1; cut < sizeof(struct bundle_head); cut++)
		produce(2, bytes, cut);
	produce(TASKS, bytes, length); /* not for all */
	produce(TASKS, "short", 5);
	size_t refused = sizeof(struct bundle_head) - 1 + 2;
	UNTIL(stats_of(&two).refused == refused);
	/* What has a right beginning belongs to a run, and is missed there. */
	int64_t run = 10;
	for (size_t cut = sizeof(struct bundle_head); cut < length; cut += 37, run++) {
		exchange_begin(two.exchange, run, homes);
		memcpy(bytes + offsetof(struct bundle_head, run), &run, sizeof(run));
		produce(2, bytes, cut);
		refused++;
		UNTIL(stats_of(&two).refused == refused);
		UNTIL(breaks_of(&two) == run - 9);
		assert_non_null(strstr(two.why, "cannot be read"));
		exchange_end(two.exchange);
	}
	exchange_begin(two.exchange, run, homes);
	memcpy(bytes + offsetof(struct bundle_head, run), &run, sizeof(run));
	produce(2, bytes, length);
	UNTIL(messages_of(&two) == 1);
	assert_int_equal(stats_of(&two).refused, refused);
	free(bytes);
}

static int opened(struct instance_under_test *instance, char *why, size_t size)
{
	int rc;
	for (int tries = 0;
	     (rc = exchange_open(instance->exchange, 5000, why, size)) == -EAGAIN && tries < 4;
	     tries++)
		;
	return rc;
}

static void a_topic_without_a_common_partition_is_a_mistake(void **state)
{
	(void)state;
	char why[256] = "";
	rd_kafka_mock_topic_create(cluster, "sixteen", TASKS, 1);
	make(&one, "sixteen");
	assert_int_equal(opened(&one, why, sizeof(why)), -EINVAL);
	assert_string_equal(why, "topic sixteen has 4 partitions and must have 5: one for each of "
				 "the 4 tasks (pipeline.tasks) and one for all");
}

static void a_broker_that_is_away_is_waited_for(void **state)
{
	(void)state;
	char why[256] = "";
	rd_kafka_mock_broker_set_down(cluster, BROKER);
	make(&one, "exchange");
	assert_int_equal(exchange_open(one.exchange, 300, why, sizeof(why)), -EAGAIN);
	assert_non_null(strstr(why, "exchange"));
	rd_kafka_mock_broker_set_up(cluster, BROKER);
	assert_int_equal(opened(&one, why, sizeof(why)), 0);
	say(&one, 1);
	UNTIL(said_to(&one) == 1);
}

static void nothing_is_missed_while_the_broker_leaves_and_returns(void **state)
{
	(void)state;
	open_instance(&one, 0, 2);
	open_instance(&two, 2, 4);
	begin(10);
	send_start(0, 2, 0);
	UNTIL(messages_of(&two) == 1);
	rd_kafka_mock_broker_set_down(cluster, BROKER);
	for (uint64_t i = 1; i < 50; i++)
		send_start(0, 2, i);
	say(&one, 1);
	nap(300);
	rd_kafka_mock_broker_set_up(cluster, BROKER);
	UNTIL(messages_of(&two) == 50 && said_to(&two) == 1);
	for (uint64_t i = 0; i < 50; i++)
		assert_int_equal(two.messages[i]->pane, i);
	assert_int_equal(breaks_of(&one) + breaks_of(&two), 0);
}

/* The broker has lost what came before, so it says: the producer is of no more use. */
static void a_producer_that_ends_is_made_again_and_the_run_is_broken(void **state)
{
	(void)state;
	open_instance(&one, 0, 2);
	open_instance(&two, 2, 4);
	begin(10);
	send_start(0, 2, 0);
	UNTIL(messages_of(&two) == 1);
	rd_kafka_mock_push_request_errors(cluster, PRODUCE, 1,
					  RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
	send_start(0, 2, 1);
	UNTIL(breaks_of(&one) >= 1);
	assert_int_equal(stats_of(&one).broken, 1);
	exchange_end(one.exchange);
	exchange_end(two.exchange);
	say(&one, 5);
	UNTIL(said_to(&one) == 1 && said_to(&two) == 1);
	begin(11);
	send_start(0, 2, 8);
	UNTIL(messages_of(&two) == 2);
	assert_int_equal(two.messages[1]->pane, 8);
}

static void a_message_that_kafka_refuses_breaks_the_run(void **state)
{
	(void)state;
	open_instance(&one, 0, 2);
	exchange_begin(one.exchange, 10, homes);
	rd_kafka_mock_push_request_errors(cluster, PRODUCE, 1,
					  RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	send_start(0, 2, 1);
	UNTIL(breaks_of(&one) == 1);
	assert_non_null(strstr(one.why, "refused"));
	assert_int_equal(stats_of(&one).failed, 1);
}

static void a_place_that_the_log_does_not_have_breaks_the_run_and_is_found_again(void **state)
{
	(void)state;
	open_instance(&two, 2, 4);
	exchange_begin(two.exchange, 10, homes);
	say(&two, 1);
	UNTIL(said_to(&two) == 1);
	rd_kafka_mock_push_request_errors(cluster, FETCH, 1, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE);
	UNTIL(breaks_of(&two) >= 1);
	assert_non_null(strstr(two.why, "lost its place"));
	say(&two, 2);
	UNTIL(said_to(&two) == 2);
	exchange_end(two.exchange);
	exchange_begin(two.exchange, 11, homes);
	produce_start(11, 0, 0, 2, 0);
	produce_start(11, 0, 0, 3, 1);
	UNTIL(messages_of(&two) == 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_kinds_arrive_bit_for_bit_and_in_order),
		TEST(the_order_of_each_source_stays_while_several_threads_send),
		TEST(messages_of_an_older_run_are_dropped),
		TEST(messages_of_a_newer_run_are_held_until_it_begins),
		TEST(a_run_for_which_too_much_came_early_is_broken_when_it_begins),
		TEST(repeats_are_dropped),
		TEST(a_gap_breaks_the_run_once),
		TEST(what_comes_after_the_end_is_not_told),
		TEST(all_are_told_the_same_in_the_same_order_whoever_owns_what),
		TEST(messages_are_read_from_where_their_task_was_taken),
		TEST(hostile_bytes_are_refused_and_counted),
		TEST(a_topic_without_a_common_partition_is_a_mistake),
		TEST(a_broker_that_is_away_is_waited_for),
		TEST(nothing_is_missed_while_the_broker_leaves_and_returns),
		TEST(a_producer_that_ends_is_made_again_and_the_run_is_broken),
		TEST(a_message_that_kafka_refuses_breaks_the_run),
		TEST(a_place_that_the_log_does_not_have_breaks_the_run_and_is_found_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
