/* Where tasks begin, given snapshots in a folder and what librdkafka's mock cluster holds. */
#include "daemon/resume.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/clock.h"
#include "daemon/topics.h"

enum { TASKS = 4, EPOCH = 7, NEXT = 5, WAIT_MS = 20000, SHAPE = 3, DIGEST = 0x100 };

#define WARM_NS (120 * NS_PER_S)

struct rig {
	char folder[64];
	rd_kafka_t *producer;
	rd_kafka_mock_cluster_t *cluster;
	uint64_t written; /* rollups of each task before the next snapshot */
	uint32_t digest;  /* of those */
	char told[2048];
	int times;
};

static void produce_of(struct rig *rig, const char *topic, uint32_t task, unsigned epoch,
		       unsigned sequence, unsigned pane)
{
	char number[64], digest[16], place[64];

	snprintf(number, sizeof(number), "%u.%u.%u", epoch, task, sequence);
	snprintf(digest, sizeof(digest), "%08x", DIGEST + sequence);
	snprintf(place, sizeof(place), "%u.0", pane);
	assert_int_equal(
		rd_kafka_producev(
			rig->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION((int32_t)task),
			RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_VALUE((void *)"x", 1),
			RD_KAFKA_V_HEADER("millrace-output", number, strlen(number)),
			RD_KAFKA_V_HEADER("millrace-digest", digest, strlen(digest)),
			RD_KAFKA_V_HEADER("millrace-pane", place, strlen(place)), RD_KAFKA_V_END),
		RD_KAFKA_RESP_ERR_NO_ERROR);
	assert_int_equal(rd_kafka_flush(rig->producer, WAIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
}

static void produce(struct rig *rig, const char *topic, uint32_t task, unsigned epoch,
		    unsigned sequence)
{
	produce_of(rig, topic, task, epoch, sequence, 0);
}

static void commit(struct rig *rig, int32_t task)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_t *consumer;
	char error[256];

	rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(rig->cluster),
			  error, sizeof(error));
	rd_kafka_conf_set(conf, "group.id", "millraced", error, sizeof(error));
	consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
	rd_kafka_topic_partition_list_add(list, TOPIC_EVENTS, task)->offset = NEXT;
	assert_int_equal(rd_kafka_commit(consumer, list, 0), RD_KAFKA_RESP_ERR_NO_ERROR);
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_destroy(consumer);
}

/* Each task's log of events has NEXT records, and its rollups two. */
static void rig_init(struct rig *rig)
{
	static const char *const topics[] = {TOPIC_EVENTS, TOPIC_FLOWS, TOPIC_ROLLUPS,
					     TOPIC_ALERTS};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char error[256];

	*rig = (struct rig){
		.folder = "/tmp/millrace-resume-XXXXXX", .written = 1, .digest = DIGEST};
	assert_non_null(mkdtemp(rig->folder));
	rd_kafka_conf_set(conf, "linger.ms", "0", error, sizeof(error));
	rig->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	assert_non_null(rig->producer);
	rig->cluster = rd_kafka_mock_cluster_new(rig->producer, 1);
	assert_non_null(rig->cluster);
	rd_kafka_brokers_add(rig->producer, rd_kafka_mock_cluster_bootstraps(rig->cluster));
	for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++)
		rd_kafka_mock_topic_create(rig->cluster, topics[i], TASKS, 1);
	for (uint32_t task = 0; task < TASKS; task++) {
		for (unsigned i = 0; i < NEXT; i++)
			produce(rig, TOPIC_EVENTS, task, 0, i);
		for (unsigned i = 0; i < 2; i++)
			produce(rig, TOPIC_ROLLUPS, task, EPOCH, i);
	}
}

static void rig_done(struct rig *rig)
{
	char command[128];

	rd_kafka_mock_cluster_destroy(rig->cluster);
	rd_kafka_destroy(rig->producer);
	snprintf(command, sizeof(command), "rm -rf %s", rig->folder);
	assert_int_equal(system(command), 0);
}

static void on_told(void *context, const char *sentence)
{
	struct rig *rig = context;

	snprintf(rig->told, sizeof(rig->told), "%s", sentence);
	rig->times++;
}

/* As an instance would have left it: of its tasks. */
static void snapshot(const struct rig *rig, unsigned instance, uint64_t pane, struct task_set owned,
		     int64_t next)
{
	static struct image image;
	struct heap *heaps[TASKS] = {NULL};
	char path[128];
	int file;

	image = (struct image){.header = {.tasks = TASKS,
					  .shape = SHAPE,
					  .epoch = EPOCH,
					  .pane = pane,
					  .owned = owned}};
	image_build(image.header.build);
	for (uint32_t task = 0; task < TASKS; task++) {
		image.tasks[task].next = task_set_has(&owned, task) ? next : 1000;
		image.tasks[task].sequences[IMAGE_ROLLUPS] = rig->written;
		image.tasks[task].digests[IMAGE_ROLLUPS] = rig->digest;
		assert_non_null(heaps[task] = heap_new(task));
	}
	snprintf(path, sizeof(path), "%s/%020llu.%016x.snapshot", rig->folder,
		 (unsigned long long)pane, instance);
	file = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(image_write(file, &image, heaps), 0);
	close(file);
	for (uint32_t task = 0; task < TASKS; task++)
		heap_free(heaps[task]);
}

static int find(struct rig *rig, struct task_set owned, const struct lineup_pane *from,
		struct resume *resume)
{
	char why[256] = "";
	struct resume_options options = {
		.folder = rig->folder,
		.warm_ns = WARM_NS,
		.shape = SHAPE,
		.tasks = TASKS,
		.owned = owned,
		.from = from,
		.brokers = rd_kafka_mock_cluster_bootstraps(rig->cluster),
		.group = "millraced",
		.timeout_ms = WAIT_MS,
		.context = rig,
		.told = on_told,
	};
	int rc;

	rig->times = 0;
	rc = resume_find(&options, resume, why, sizeof(why));
	if (rc && rc != -ENOENT)
		fail_msg("%d: %s", rc, why);
	for (uint32_t task = 0; task < TASKS; task++)
		assert_int_equal(resume->heaps[task] != NULL,
				 rc == 0 && task_set_has(&owned, task));
	return rc;
}

static const struct task_set all = {{0xf}}, some = {{0x6}}, others = {{0x9}};

static void the_owned_tasks_go_on_from_what_two_instances_left(void **state)
{
	static struct resume resume;
	struct rig rig;

	(void)state;
	rig_init(&rig);
	snapshot(&rig, 1, 40, some, NEXT);
	snapshot(&rig, 2, 40, others, NEXT - 1);
	snapshot(&rig, 1, 44, some, NEXT);
	assert_int_equal(find(&rig, some, NULL, &resume), 0);
	assert_true(resume.goes_on);
	assert_int_equal(resume.pane, 44);
	assert_int_equal(resume.next[1], NEXT);
	assert_int_equal(resume.next[0], -1);
	assert_int_equal(resume.numbers[1].next[IMAGE_ROLLUPS], 1);
	assert_int_equal(resume.numbers[1].written[IMAGE_ROLLUPS], 2);
	assert_int_equal(resume.numbers[1].digests[IMAGE_ROLLUPS], DIGEST);
	assert_int_equal(resume.numbers[1].written_digest[IMAGE_ROLLUPS], DIGEST + 1);
	assert_int_equal(resume.numbers[1].last[IMAGE_ROLLUPS].pane, 0); /* it does not say */
	resume_done(&resume, TASKS);
	produce_of(&rig, TOPIC_ROLLUPS, 1, EPOCH, 2, 45);
	assert_int_equal(find(&rig, all, NULL, &resume), 0);
	assert_int_equal(resume.numbers[1].last[IMAGE_ROLLUPS].pane, 45);
	assert_int_equal(resume.numbers[1].last[IMAGE_ROLLUPS].count, 1);
	assert_int_equal(resume.pane, 40);
	assert_int_equal(resume.next[0], NEXT - 1);
	assert_int_equal(resume.next[1], NEXT);
	resume_done(&resume, TASKS);
	rig_done(&rig);
}

static void a_snapshot_of_a_life_that_told_something_else_does_not_fit(void **state)
{
	static struct resume resume;
	struct rig rig;

	(void)state;
	rig_init(&rig);
	rig.written = 2;
	rig.digest = DIGEST + 1;
	snapshot(&rig, 1, 40, all, NEXT);
	rig.digest++;
	snapshot(&rig, 1, 44, all, NEXT);
	assert_int_equal(find(&rig, all, NULL, &resume), 0);
	assert_true(resume.goes_on);
	assert_int_equal(resume.pane, 40);
	assert_non_null(strstr(rig.told, "the outputs hold something else"));
	resume_done(&resume, TASKS);
	rig_done(&rig);
}

static void the_pane_that_is_asked_for_is_the_one_or_none(void **state)
{
	static struct resume resume;
	struct rig rig;

	(void)state;
	rig_init(&rig);
	for (uint64_t pane = 40; pane <= 48; pane += 4)
		snapshot(&rig, 1, pane, all, pane == 44 ? NEXT + 1 : NEXT);
	assert_int_equal(find(&rig, some, &(struct lineup_pane){EPOCH, 40}, &resume), 0);
	assert_true(resume.goes_on);
	assert_int_equal(resume.pane, 40);
	assert_int_equal(resume.epoch, EPOCH);
	resume_done(&resume, TASKS);
	assert_int_equal(find(&rig, some, &(struct lineup_pane){EPOCH, 41}, &resume), -ENOENT);
	assert_non_null(strstr(rig.told, "cannot begin from pane 41 of epoch 7"));
	assert_int_equal(find(&rig, some, &(struct lineup_pane){EPOCH + 1, 40}, &resume), -ENOENT);
	/* The log of events ends before it. */
	assert_int_equal(find(&rig, some, &(struct lineup_pane){EPOCH, 44}, &resume), -ENOENT);
	assert_true(rig.times > 1);
	/* Another's tasks do not matter; ours do. */
	produce(&rig, TOPIC_FLOWS, 0, EPOCH + 1, 0);
	assert_int_equal(find(&rig, some, &(struct lineup_pane){EPOCH, 48}, &resume), 0);
	resume_done(&resume, TASKS);
	assert_int_equal(find(&rig, all, &(struct lineup_pane){EPOCH, 48}, &resume), -ENOENT);
	rig_done(&rig);
}

static void who_must_begin_anew_does_with_a_newer_epoch_alone(void **state)
{
	static struct resume resume;
	struct rig rig;

	(void)state;
	rig_init(&rig);
	snapshot(&rig, 1, 40, all, NEXT);
	assert_int_equal(find(&rig, some, &(struct lineup_pane){EPOCH + 1, 0}, &resume), 0);
	assert_false(resume.goes_on);
	assert_int_equal(resume.epoch, EPOCH + 1);
	assert_int_equal(resume.newest_epoch, EPOCH);
	assert_true(resume.has_heaps);
	resume_done(&resume, TASKS);
	assert_int_equal(find(&rig, some, &(struct lineup_pane){EPOCH, 0}, &resume), -ENOENT);
	assert_non_null(strstr(rig.told, "another pipeline has written"));
	rig_done(&rig);
}

static void who_begin_anew_together_read_from_when_one_alone_would(void **state)
{
	const struct lineup_pane anew = {EPOCH + 1, 0};
	static struct resume one, two, alone;
	struct resume_reach reach;
	struct rig rig;

	(void)state;
	rig_init(&rig);
	commit(&rig, 0); /* of others: nobody had got as far with some */
	for (uint32_t task = 0; task < TASKS; task++)
		produce_of(&rig, TOPIC_ROLLUPS, task, EPOCH, 2, 4000 + 100 * task);
	assert_int_equal(find(&rig, all, NULL, &alone), 0);
	assert_true(alone.follows);
	assert_int_equal(alone.begin_ns, 4000 * PANE_NS - WARM_NS);
	resume_done(&alone, TASKS);

	assert_int_equal(find(&rig, some, &anew, &one), 0);
	assert_int_equal(find(&rig, others, &anew, &two), 0);
	assert_false(one.follows || two.follows);
	assert_int_equal(one.reach.oldest, 4100);
	assert_int_equal(two.reach.newest, 4300);
	assert_true(!one.reach.read_before && two.reach.read_before);
	reach = one.reach;
	resume_join(&reach, &two.reach);
	resume_follow(&one, &reach, WARM_NS);
	resume_follow(&two, &reach, WARM_NS);
	assert_true(one.follows && two.follows);
	assert_int_equal(one.begin_ns, alone.begin_ns);
	assert_int_equal(two.begin_ns, alone.begin_ns);
	for (uint32_t task = 0; task < TASKS; task++) {
		const struct resume *owner = task_set_has(&some, task) ? &one : &two;

		assert_int_equal(owner->known[task], alone.known[task]);
		assert_int_equal(owner->numbers[task].told[IMAGE_ROLLUPS].pane, 4000 + 100 * task);
	}
	resume_done(&one, TASKS);
	resume_done(&two, TASKS);
	rig_done(&rig);
}

static void what_a_group_that_never_read_finds_is_not_gone_on_with(void **state)
{
	static struct resume resume;
	struct rig rig;

	(void)state;
	rig_init(&rig);
	produce_of(&rig, TOPIC_ROLLUPS, 1, EPOCH, 2, 4000);
	assert_int_equal(find(&rig, all, NULL, &resume), 0);
	assert_false(resume.follows);
	assert_int_equal(resume.known[1], 0);
	assert_int_equal(resume.numbers[1].told[IMAGE_ROLLUPS].pane, 0);
	assert_int_equal(resume.newest_epoch, EPOCH);
	resume_done(&resume, TASKS);
	rig_done(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_owned_tasks_go_on_from_what_two_instances_left),
		cmocka_unit_test(a_snapshot_of_a_life_that_told_something_else_does_not_fit),
		cmocka_unit_test(the_pane_that_is_asked_for_is_the_one_or_none),
		cmocka_unit_test(who_must_begin_anew_does_with_a_newer_epoch_alone),
		cmocka_unit_test(who_begin_anew_together_read_from_when_one_alone_would),
		cmocka_unit_test(what_a_group_that_never_read_finds_is_not_gone_on_with),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
