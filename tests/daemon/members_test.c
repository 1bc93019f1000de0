/* Who owns which tasks, by librdkafka's mock cluster; or by the broker that MILLRACE_KAFKA names,
 * which also knows static members (tests/pipeline/members_test.py). */
#include "daemon/members.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "kafka/security.h"

enum {
	TASKS = 16,
	WAIT_MS = 30000,
	LEFT_MS = 3000, /* well before a session's timeout */
	KEPT_MS = 1500,
	BROKER = 1,
	HEARTBEAT = 12, /* of Kafka's protocol */
	FETCH = 1,
	RECORDS = 100,
};

#define TOPIC "millrace.events"

static rd_kafka_t *producer;
static rd_kafka_mock_cluster_t *cluster; /* NULL: it is a real one */
static const char *brokers;
static char group[32];
static uint64_t session_ms;

/* --- requests on the wire --- */

static _Atomic uint64_t fetches;

/* In the place of the C library's, so that what librdkafka sends is seen: the first bytes are a
 * request's length and its kind. */
ssize_t sendmsg(int descriptor, const struct msghdr *message, int flags);
ssize_t sendmsg(int descriptor, const struct msghdr *message, int flags)
{
	const uint8_t *bytes = message->msg_iovlen ? message->msg_iov[0].iov_base : NULL;

	if (bytes && message->msg_iov[0].iov_len >= 8 && bytes[4] == 0 && bytes[5] == FETCH)
		atomic_fetch_add(&fetches, 1);
	return syscall(SYS_sendmsg, descriptor, message, flags);
}

/* --- instances --- */

struct instance {
	struct members *members;
	pthread_mutex_t lock;
	int32_t generation;
	struct task_set tasks;
	uint32_t changes;
	bool keeps, asked; /* what is revoked until it is told to release it */
	char fenced[256], trouble[256];
};

static void on_changed(void *context, int32_t generation, const struct task_set *tasks)
{
	struct instance *instance = context;

	pthread_mutex_lock(&instance->lock);
	instance->generation = generation;
	instance->tasks = *tasks;
	instance->changes++;
	pthread_mutex_unlock(&instance->lock);
}

static void on_revoked(void *context)
{
	struct instance *instance = context;

	pthread_mutex_lock(&instance->lock);
	instance->asked = true;
	if (!instance->keeps)
		members_release(instance->members);
	pthread_mutex_unlock(&instance->lock);
}

static void on_fenced(void *context, const char *why)
{
	struct instance *instance = context;

	pthread_mutex_lock(&instance->lock);
	snprintf(instance->fenced, sizeof(instance->fenced), "%s", why);
	pthread_mutex_unlock(&instance->lock);
}

static void on_trouble(void *context, const char *sentence)
{
	struct instance *instance = context;

	pthread_mutex_lock(&instance->lock);
	snprintf(instance->trouble, sizeof(instance->trouble), "%s", sentence);
	pthread_mutex_unlock(&instance->lock);
}

static void join_topic(struct instance *instance, const char *name, const char *topic)
{
	char error[256] = "";

	*instance = (struct instance){.generation = -2, .lock = PTHREAD_MUTEX_INITIALIZER};
	instance->members = members_new(
		&(struct members_options){
			.brokers = brokers,
			.topic = topic,
			.group = group,
			.instance = name,
			.session_ns = session_ms * NS_PER_MS,
			.tasks = TASKS,
			.context = instance,
			.changed = on_changed,
			.revoked = on_revoked,
			.fenced = on_fenced,
			.trouble = on_trouble,
		},
		error, sizeof(error));
	if (!instance->members)
		fail_msg("%s", error);
}

static void join(struct instance *instance, const char *name)
{
	join_topic(instance, name, TOPIC);
}

static uint64_t monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS;
}

static uint32_t owned(struct instance *instance)
{
	uint32_t count;

	pthread_mutex_lock(&instance->lock);
	count = task_set_count(&instance->tasks);
	pthread_mutex_unlock(&instance->lock);
	return count;
}

static int32_t generation(struct instance *instance)
{
	int32_t generation;

	pthread_mutex_lock(&instance->lock);
	generation = instance->generation;
	pthread_mutex_unlock(&instance->lock);
	return generation;
}

static bool waited(struct instance *instance, uint32_t tasks, uint64_t within_ms)
{
	uint64_t until_ms = monotonic_ms() + within_ms;

	while (owned(instance) != tasks) {
		if (monotonic_ms() > until_ms)
			return false;
		usleep(2000);
	}
	return true;
}

static void wait_owned(struct instance *instance, uint32_t tasks)
{
	if (!waited(instance, tasks, WAIT_MS))
		fail_msg("owns %u of %u tasks; %s%s", owned(instance), tasks, instance->trouble,
			 instance->fenced);
}

static uint32_t changes_of(struct instance *instance)
{
	uint32_t changes;

	pthread_mutex_lock(&instance->lock);
	changes = instance->changes;
	pthread_mutex_unlock(&instance->lock);
	return changes;
}

static void wait_changes(struct instance *instance, uint32_t changes)
{
	uint64_t until_ms = monotonic_ms() + WAIT_MS;

	while (changes_of(instance) < changes) {
		assert_true(monotonic_ms() < until_ms);
		usleep(2000);
	}
}

static bool is_fenced(struct instance *instance)
{
	bool is;

	pthread_mutex_lock(&instance->lock);
	is = instance->fenced[0];
	pthread_mutex_unlock(&instance->lock);
	return is;
}

static void wait_fenced(struct instance *instance)
{
	uint64_t until_ms = monotonic_ms() + WAIT_MS;

	while (!is_fenced(instance)) {
		assert_true(monotonic_ms() < until_ms);
		usleep(2000);
	}
}

static void wait_generation(struct instance *instance)
{
	uint64_t until_ms = monotonic_ms() + WAIT_MS;

	while (generation(instance) <= 0) {
		assert_true(monotonic_ms() < until_ms);
		usleep(2000);
	}
}

static void leave(struct instance *instance)
{
	assert_true(members_close(instance->members, true, WAIT_MS));
}

static void stop_without_leaving(struct instance *instance)
{
	assert_true(members_close(instance->members, false, WAIT_MS));
}

/* --- the cluster --- */

static int start(void **state)
{
	static int number;
	char error[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	(void)state;
	brokers = getenv("MILLRACE_KAFKA");
	/* A real one allows no shorter one; the mock throws out who waits for longer than that for
	 * others to join, which takes 3 s. */
	session_ms = brokers ? 6000 : 4000;
	if (brokers)
		rd_kafka_conf_set(conf, "bootstrap.servers", brokers, error, sizeof(error));
	producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	assert_non_null(producer);
	cluster = NULL;
	snprintf(group, sizeof(group), "group-%d", ++number);
	if (brokers)
		return 0;
	cluster = rd_kafka_mock_cluster_new(producer, 1);
	assert_non_null(cluster);
	brokers = rd_kafka_mock_cluster_bootstraps(cluster);
	rd_kafka_brokers_add(producer, brokers);
	rd_kafka_mock_topic_create(cluster, TOPIC, TASKS, 1);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	if (cluster)
		rd_kafka_mock_cluster_destroy(cluster);
	rd_kafka_destroy(producer);
	return 0;
}

/* --- tests --- */

static void one_has_all_two_have_a_half_each_and_who_is_left_has_all_again(void **state)
{
	static struct instance one, two;
	struct members_stats stats;
	uint64_t begin_ms;
	uint32_t changes;
	int32_t first;

	(void)state;
	join(&one, "one");
	assert_int_equal(members_stats(one.members).generation, -1);
	wait_owned(&one, TASKS);
	first = generation(&one);
	assert_true(first > 0);
	changes = one.changes;
	join(&two, "two");
	wait_owned(&one, 0); /* which is given up before the other one has it */
	assert_int_equal(owned(&two), 0);
	assert_int_equal(one.changes, changes + 1);
	assert_int_equal(generation(&one), first);
	wait_owned(&two, TASKS / 2);
	wait_owned(&one, TASKS / 2);
	assert_int_equal(generation(&one), generation(&two));
	assert_true(generation(&one) > first);
	assert_false(task_set_meets(&one.tasks, &two.tasks));
	assert_true(task_set_has(&one.tasks, 0)); /* a range each */
	assert_true(task_set_has(&one.tasks, TASKS / 2 - 1));
	stats = members_stats(one.members);
	assert_int_equal(stats.owned, TASKS / 2);
	assert_int_equal(stats.generation, generation(&one));
	assert_true(stats.rebalances >= 2);

	first = generation(&two);
	begin_ms = monotonic_ms();
	leave(&one);
	assert_true(monotonic_ms() - begin_ms < LEFT_MS);
	wait_owned(&two, TASKS);
	assert_true(generation(&two) > first);
	/* At once, that is without a session's timeout; the mock waits for one before it elects. */
	if (!cluster)
		assert_true(monotonic_ms() - begin_ms < LEFT_MS);
	leave(&two);
}

static void keep(struct instance *instance, bool keeps)
{
	pthread_mutex_lock(&instance->lock);
	instance->keeps = keeps;
	pthread_mutex_unlock(&instance->lock);
}

static void others_have_a_task_only_when_it_was_released(void **state)
{
	static struct instance one, two;

	(void)state;
	session_ms += KEPT_MS + LEFT_MS; /* for the mock, as above */
	join(&one, "one");
	wait_owned(&one, TASKS);
	keep(&one, true);
	join(&two, "two");
	wait_owned(&one, 0);
	assert_false(waited(&two, TASKS / 2, KEPT_MS));
	assert_true(one.asked);
	assert_int_equal(owned(&two), 0);
	keep(&one, false); /* a slow machine may ask again */
	members_release(one.members);
	wait_owned(&two, TASKS / 2);
	wait_owned(&one, TASKS / 2);
	leave(&one);
	leave(&two);
}

static void consume(uint32_t records)
{
	char error[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_t *kafka;

	rd_kafka_conf_set(conf, "bootstrap.servers", brokers, error, sizeof(error));
	rd_kafka_conf_set(conf, "group.id", "other", error, sizeof(error));
	kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
	assert_non_null(kafka);
	rd_kafka_topic_partition_list_add(list, TOPIC, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_assign(kafka, list);
	rd_kafka_topic_partition_list_destroy(list);
	while (records) {
		rd_kafka_message_t *message = rd_kafka_consumer_poll(kafka, WAIT_MS);

		assert_non_null(message);
		records -= message->err == 0;
		rd_kafka_message_destroy(message);
	}
	rd_kafka_consumer_close(kafka);
	rd_kafka_destroy(kafka);
}

static void nothing_is_fetched(void **state)
{
	static struct instance one;
	uint64_t before;
	char text[] = "record";

	(void)state;
	for (int i = 0; i < RECORDS; i++)
		assert_int_equal(rd_kafka_producev(
					 producer, RD_KAFKA_V_TOPIC(TOPIC), RD_KAFKA_V_PARTITION(0),
					 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
					 RD_KAFKA_V_VALUE(text, sizeof(text)), RD_KAFKA_V_END),
				 RD_KAFKA_RESP_ERR_NO_ERROR);
	assert_int_equal(rd_kafka_flush(producer, WAIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
	before = atomic_load(&fetches);
	join(&one, "one");
	wait_owned(&one, TASKS);
	sleep(2); /* some heartbeats long: one that fetches does so at once, and every 500 ms */
	assert_int_equal(atomic_load(&fetches), before);
	assert_string_equal(one.trouble, "");
	leave(&one);
	assert_int_equal(atomic_load(&fetches), before);
	/* Who does is seen. */
	consume(RECORDS);
	assert_true(atomic_load(&fetches) > before);
}

static void more_instances_than_can_own_tasks_are_told_that_they_own_none(void **state)
{
	static const char *const names[] = {"one", "two", "three"};
	static struct instance instances[3];
	uint32_t sum = 0;

	(void)state;
	if (!cluster)
		skip();
	rd_kafka_mock_topic_create(cluster, "small", 2, 1);
	for (int i = 0; i < 3; i++)
		join_topic(&instances[i], names[i], "small");
	for (int i = 0; i < 3; i++)
		wait_generation(&instances[i]);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(generation(&instances[i]), generation(&instances[0]));
		assert_true(owned(&instances[i]) <= 1);
		sum += owned(&instances[i]);
	}
	assert_int_equal(sum, 2);
	for (int i = 0; i < 3; i++)
		stop_without_leaving(&instances[i]);
}

static void partitions_beyond_the_tasks_are_told_and_left_out(void **state)
{
	static struct instance one;

	(void)state;
	if (!cluster)
		skip();
	rd_kafka_mock_topic_create(cluster, "large", TASKS + 1, 1);
	join_topic(&one, "one", "large");
	wait_owned(&one, TASKS);
	assert_non_null(strstr(one.trouble, "pipeline.tasks is 16"));
	leave(&one);
}

static void who_does_not_leave_keeps_its_tasks_until_the_sessions_timeout(void **state)
{
	static struct instance one, two;
	uint64_t begin_ms;

	(void)state;
	join(&one, "one");
	wait_owned(&one, TASKS);
	join(&two, "two");
	wait_owned(&two, TASKS / 2);
	begin_ms = monotonic_ms();
	stop_without_leaving(&one);
	assert_true(monotonic_ms() - begin_ms < 1000);
	assert_false(waited(&two, TASKS, session_ms / 2));
	wait_owned(&two, TASKS);
	leave(&two);
}

static void a_restart_within_the_sessions_timeout_changes_nothing(void **state)
{
	static struct instance one, two, again;
	struct task_set before;
	uint32_t changes;
	int32_t held;

	(void)state;
	if (cluster) /* which takes each process for a new member */
		skip();
	join(&one, "one");
	wait_owned(&one, TASKS);
	join(&two, "two");
	wait_owned(&two, TASKS / 2);
	wait_owned(&one, TASKS / 2);
	before = one.tasks;
	held = generation(&one);
	changes = two.changes;
	stop_without_leaving(&one);
	join(&again, "one");
	wait_owned(&again, TASKS / 2);
	assert_memory_equal(&again.tasks, &before, sizeof(before));
	assert_int_equal(generation(&again), held);
	sleep((unsigned)session_ms / 1000 + 2);
	assert_int_equal(two.changes, changes);
	assert_int_equal(again.changes, 1);
	leave(&again);
	leave(&two);
}

static void a_second_process_of_an_instance_fences_the_first(void **state)
{
	static struct instance one, again;

	(void)state;
	if (cluster)
		skip();
	join(&one, "one");
	wait_owned(&one, TASKS);
	join(&again, "one");
	wait_owned(&again, TASKS);
	wait_fenced(&one);
	assert_non_null(strstr(one.fenced, "another process uses the instance one"));
	assert_int_equal(owned(&one), 0);
	assert_int_equal(generation(&one), -1);
	leave(&one); /* it must not take the place from the other */
	sleep((unsigned)session_ms / 1000 + 2);
	assert_int_equal(owned(&again), TASKS);
	assert_string_equal(again.fenced, "");
	leave(&again);
}

static void who_fenced_itself_joins_again(void **state)
{
	static struct instance one;
	uint32_t changes;

	(void)state;
	if (!cluster)
		skip();
	join(&one, "one");
	wait_owned(&one, TASKS);
	changes = changes_of(&one);
	rd_kafka_mock_push_request_errors(cluster, HEARTBEAT, 1,
					  RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID);
	wait_changes(&one, changes + 2); /* nothing is owned, and all again */
	wait_owned(&one, TASKS);
	assert_string_equal(one.fenced, "");
	assert_true(generation(&one) >= 0);
	leave(&one);
}

static void who_is_fenced_again_and_again_is_told_so_and_owns_nothing(void **state)
{
	static struct instance one;

	(void)state;
	if (!cluster)
		skip();
	join(&one, "one");
	wait_owned(&one, TASKS);
	for (int i = 0; i <= MEMBERS_FENCES_MAX; i++)
		rd_kafka_mock_push_request_errors(cluster, HEARTBEAT, 1,
						  RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID);
	wait_fenced(&one);
	assert_non_null(strstr(one.fenced, "another process uses the instance one"));
	assert_int_equal(owned(&one), 0);
	assert_int_equal(generation(&one), -1);
	assert_int_equal(members_stats(one.members).generation, -1);
	leave(&one);
}

static void who_hears_nothing_of_the_group_for_the_session_owns_nothing_any_more(void **state)
{
	static struct instance one;
	int32_t before;

	(void)state;
	if (!cluster)
		skip();
	join(&one, "one");
	wait_owned(&one, TASKS);
	before = generation(&one);
	rd_kafka_mock_broker_set_down(cluster, BROKER);
	wait_owned(&one, 0);
	assert_int_equal(generation(&one), -1);
	assert_true(one.trouble[0]);
	rd_kafka_mock_broker_set_up(cluster, BROKER);
	wait_owned(&one, TASKS);
	assert_true(generation(&one) > before);
	leave(&one);
}

static void leaving_a_broker_that_is_away_ends_in_time(void **state)
{
	static struct instance one, two;
	uint64_t begin_ms;

	(void)state;
	if (!cluster)
		skip();
	join(&one, "one");
	wait_owned(&one, TASKS);
	rd_kafka_mock_broker_set_rtt(cluster, BROKER, 60000);
	begin_ms = monotonic_ms();
	assert_false(members_close(one.members, true, 300)); /* a thread goes on */
	assert_in_range(monotonic_ms() - begin_ms, 290, 2000);
	rd_kafka_mock_broker_set_rtt(cluster, BROKER, 0);
	rd_kafka_mock_broker_set_down(cluster, BROKER);
	join(&two, "two"); /* which never joins */
	begin_ms = monotonic_ms();
	leave(&two);
	assert_true(monotonic_ms() - begin_ms < LEFT_MS);
}

static void settings_that_librdkafka_does_not_take_are_told(void **state)
{
	char error[256] = "";
	static struct instance one = {0};

	(void)state;
	assert_null(members_new(
		&(struct members_options){
			.brokers = brokers,
			.topic = TOPIC,
			.group = group,
			.instance = "one",
			.session_ns = 7200 * NS_PER_S,
			.tasks = TASKS,
			.context = &one,
			.changed = on_changed,
			.revoked = on_revoked,
			.fenced = on_fenced,
			.trouble = on_trouble,
		},
		error, sizeof(error)));
	assert_non_null(strstr(error, "session.timeout.ms"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
	const struct CMUnitTest tests[] = {
		TEST(one_has_all_two_have_a_half_each_and_who_is_left_has_all_again),
		TEST(others_have_a_task_only_when_it_was_released),
		TEST(nothing_is_fetched),
		TEST(more_instances_than_can_own_tasks_are_told_that_they_own_none),
		TEST(partitions_beyond_the_tasks_are_told_and_left_out),
		TEST(who_does_not_leave_keeps_its_tasks_until_the_sessions_timeout),
		TEST(a_restart_within_the_sessions_timeout_changes_nothing),
		TEST(a_second_process_of_an_instance_fences_the_first),
		TEST(who_fenced_itself_joins_again),
		TEST(who_is_fenced_again_and_again_is_told_so_and_owns_nothing),
		TEST(who_hears_nothing_of_the_group_for_the_session_owns_nothing_any_more),
		TEST(leaving_a_broker_that_is_away_ends_in_time),
		TEST(settings_that_librdkafka_does_not_take_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
