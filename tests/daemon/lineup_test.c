/* Instances that read the same records agree on each run, whatever happens to them: named rules,
 * and a seeded model of a group of Kafka with processes that come, go, stall and restart. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "daemon/lineup.h"

enum { TASKS = 4, SHAPE = 7, PANES_COUNT_AT = 56 };

/* --- records by hand --- */

static struct lineup_record record_of(uint64_t life, int64_t call, int32_t generation,
				      uint64_t tasks)
{
	struct lineup_record record = {
		.build = "build",
		.tasks_count = TASKS,
		.shape = SHAPE,
		.life = life,
		.call = call,
		.generation = generation,
		.tasks = {{tasks}},
	};

	snprintf(record.name, sizeof(record.name), "instance-%llu", (unsigned long long)life);
	return record;
}

static struct lineup *lineup_of(uint64_t life)
{
	struct lineup_record self = record_of(life, -1, -1, 0);

	return lineup_new(&self);
}

static enum lineup_news take(struct lineup *lineup, int64_t offset,
			     const struct lineup_record *record)
{
	const char *why = "not set";
	enum lineup_news news = lineup_take(lineup, offset, 1000 + (uint64_t)offset, record, &why);

	assert_null(why);
	return news;
}

static enum lineup_news call(struct lineup *lineup, int64_t offset, uint64_t life,
			     int32_t generation, uint64_t tasks)
{
	struct lineup_record record = record_of(life, -1, generation, tasks);

	return take(lineup, offset, &record);
}

static enum lineup_news answer(struct lineup *lineup, int64_t offset, int64_t to, uint64_t life,
			       int32_t generation, uint64_t tasks)
{
	struct lineup_record record = record_of(life, to, generation, tasks);

	return take(lineup, offset, &record);
}

static void a_call_that_covers_all_tasks_begins_a_run_by_itself(void **state)
{
	struct lineup *lineup = lineup_of(1);
	const struct lineup_run *run = lineup_run(lineup);

	(void)state;
	assert_int_equal(lineup_call(lineup), -1);
	assert_int_equal(run->number, -1);
	assert_int_equal(call(lineup, 50, 1, 3, 0xf), LINEUP_RUN);
	assert_int_equal(lineup_call(lineup), 50);
	assert_int_equal(run->number, 50);
	assert_int_equal(run->generation, 3);
	assert_int_equal(run->members_count, 1);
	assert_int_equal(run->members[0].life, 1);
	assert_string_equal(run->members[0].name, "instance-1");
	assert_int_equal(run->members[0].tasks.words[0], 0xf);
	/* Another's too, for who is not in it. */
	assert_int_equal(call(lineup, 51, 2, 4, 0xf), LINEUP_RUN);
	assert_int_equal(run->number, 51);
	lineup_free(lineup);
}

static void the_answer_that_completes_the_cover_begins_the_run_with_its_offset(void **state)
{
	struct lineup *lineup = lineup_of(1);
	const struct lineup_run *run = lineup_run(lineup);

	(void)state;
	assert_int_equal(call(lineup, 10, 2, 3, 0xc), LINEUP_CALLED);
	assert_int_equal(lineup_missing(lineup).words[0], 0x3);
	assert_int_equal(answer(lineup, 12, 10, 3, 3, 0x2), LINEUP_NOTHING);
	assert_int_equal(lineup_missing(lineup).words[0], 0x1);
	assert_int_equal(run->number, -1);
	assert_int_equal(answer(lineup, 15, 10, 1, 3, 0x1), LINEUP_RUN);
	assert_int_equal(lineup_missing(lineup).words[0], 0);
	assert_int_equal(run->number, 15);
	assert_int_equal(run->members_count, 3);
	assert_int_equal(run->members[0].life, 1); /* by first task */
	assert_int_equal(run->members[1].life, 3);
	assert_int_equal(run->members[2].life, 2);
	lineup_free(lineup);
}

static void an_own_call_is_no_news_and_anothers_is(void **state)
{
	struct lineup *lineup = lineup_of(1);

	(void)state;
	assert_int_equal(call(lineup, 1, 1, 3, 0x3), LINEUP_NOTHING);
	assert_int_equal(lineup_call(lineup), 1);
	assert_int_equal(call(lineup, 2, 2, 3, 0xc), LINEUP_CALLED);
	assert_int_equal(lineup_call(lineup), 2);
	lineup_free(lineup);
}

static void a_newer_call_makes_older_answers_void(void **state)
{
	struct lineup *lineup = lineup_of(1);

	(void)state;
	call(lineup, 1, 2, 3, 0x3);
	call(lineup, 2, 3, 3, 0x4);
	assert_int_equal(answer(lineup, 3, 1, 4, 3, 0xc), LINEUP_NOTHING);
	assert_int_equal(lineup_missing(lineup).words[0], 0xb);
	assert_int_equal(answer(lineup, 4, 2, 4, 3, 0x8), LINEUP_NOTHING);
	assert_int_equal(answer(lineup, 5, 2, 2, 3, 0x3), LINEUP_RUN);
	assert_int_equal(lineup_run(lineup)->number, 5);
	lineup_free(lineup);
}

static void answers_to_a_call_that_was_not_read_or_that_has_its_run_are_void(void **state)
{
	struct lineup *lineup = lineup_of(1);

	(void)state;
	assert_int_equal(answer(lineup, 1, 0, 2, 3, 0xf), LINEUP_NOTHING);
	assert_int_equal(lineup_call(lineup), -1);
	assert_int_equal(call(lineup, 2, 2, 3, 0xf), LINEUP_RUN);
	assert_int_equal(answer(lineup, 3, 2, 3, 4, 0xf), LINEUP_NOTHING);
	assert_int_equal(answer(lineup, 4, 2, 2, 3, 0xf), LINEUP_NOTHING);
	assert_int_equal(lineup_run(lineup)->number, 2);
	assert_int_equal(lineup_missing(lineup).words[0], 0);
	lineup_free(lineup);
}

static void only_the_highest_generation_covers(void **state)
{
	struct lineup *lineup = lineup_of(9);

	(void)state;
	assert_int_equal(call(lineup, 1, 1, 3, 0x3), LINEUP_CALLED);
	assert_int_equal(answer(lineup, 2, 1, 2, 4, 0xc), LINEUP_NOTHING);
	assert_int_equal(lineup_missing(lineup).words[0], 0x3);
	assert_int_equal(answer(lineup, 3, 1, 3, 3, 0x3), LINEUP_NOTHING);
	/* A newer answer of the same process. */
	assert_int_equal(answer(lineup, 4, 1, 1, 4, 0x3), LINEUP_RUN);
	assert_int_equal(lineup_run(lineup)->generation, 4);
	assert_int_equal(lineup_run(lineup)->members_count, 2);
	lineup_free(lineup);
}

static void a_call_of_a_lower_generation_supersedes_but_its_tasks_do_not_count(void **state)
{
	struct lineup *lineup = lineup_of(9);

	(void)state;
	call(lineup, 1, 1, 6, 0x3);
	assert_int_equal(answer(lineup, 2, 1, 2, 6, 0x4), LINEUP_NOTHING);
	assert_int_equal(call(lineup, 3, 3, 5, 0xe), LINEUP_CALLED);
	assert_int_equal(lineup_call(lineup), 3);
	assert_int_equal(answer(lineup, 4, 3, 1, 6, 0x3), LINEUP_NOTHING);
	assert_int_equal(lineup_missing(lineup).words[0], 0xc);
	assert_int_equal(answer(lineup, 5, 3, 2, 6, 0xc), LINEUP_RUN);
	assert_int_equal(lineup_run(lineup)->members_count, 2);
	assert_int_equal(lineup_run(lineup)->generation, 6);
	lineup_free(lineup);
}

static void tasks_that_two_own_begin_nothing_until_one_answers_anew(void **state)
{
	struct lineup *lineup = lineup_of(9);

	(void)state;
	call(lineup, 1, 1, 3, 0x7);
	assert_int_equal(answer(lineup, 2, 1, 2, 3, 0xc), LINEUP_NOTHING);
	assert_int_equal(lineup_missing(lineup).words[0], 0x4);
	assert_int_equal(answer(lineup, 3, 1, 2, 3, 0x8), LINEUP_RUN);
	lineup_free(lineup);
}

static void who_owns_nothing_is_listed_last_and_asks_for_no_snapshot(void **state)
{
	struct lineup *lineup = lineup_of(9);
	struct lineup_record owner = record_of(1, 1, 3, 0xf);
	const struct lineup_run *run = lineup_run(lineup);

	(void)state;
	owner.panes_count = 1;
	owner.panes[0] = (struct lineup_pane){.epoch = 5, .pane = 77};
	call(lineup, 1, 2, 3, 0);
	answer(lineup, 2, 1, 8, -1, 0); /* no member of the group */
	answer(lineup, 3, 1, 7, 2, 0);	/* an older one */
	assert_int_equal(take(lineup, 4, &owner), LINEUP_RUN);
	assert_int_equal(run->members_count, 2);
	assert_int_equal(run->members[0].life, 1);
	assert_int_equal(run->members[1].life, 2);
	assert_int_equal(run->from.pane, 77);
	lineup_free(lineup);
}

static void who_owns_nothing_yet_in_a_newer_generation_makes_the_others_wait(void **state)
{
	struct lineup *lineup = lineup_of(9);

	(void)state;
	call(lineup, 1, 2, 4, 0);
	assert_int_equal(answer(lineup, 2, 1, 1, 3, 0xf), LINEUP_NOTHING);
	assert_int_equal(lineup_missing(lineup).words[0], 0xf);
	assert_int_equal(answer(lineup, 3, 1, 1, 4, 0xf), LINEUP_RUN);
	lineup_free(lineup);
}

static struct lineup_run run_of(const struct lineup_pane *ones, uint32_t ones_count,
				const struct lineup_pane *others, uint32_t others_count)
{
	struct lineup *lineup = lineup_of(9);
	struct lineup_record one = record_of(1, -1, 3, 0x3), other = record_of(2, 10, 3, 0xc);
	struct lineup_run run;

	one.panes_count = ones_count;
	memcpy(one.panes, ones, ones_count * sizeof(*ones));
	one.epoch_min = 40;
	other.panes_count = others_count;
	memcpy(other.panes, others, others_count * sizeof(*others));
	assert_int_equal(take(lineup, 10, &one), LINEUP_CALLED);
	assert_int_equal(take(lineup, 11, &other), LINEUP_RUN);
	run = *lineup_run(lineup);
	lineup_free(lineup);
	return run;
}

static void a_run_goes_on_from_the_newest_pane_that_all_have(void **state)
{
	static const struct lineup_pane ones[] = {{5, 100}, {5, 80}, {5, 60}, {4, 200}};
	static const struct lineup_pane others[] = {{5, 60}, {5, 90}, {5, 80}, {4, 200}, {4, 100}};
	struct lineup_run run = run_of(ones, 4, others, 5);

	(void)state;
	assert_int_equal(run.from.epoch, 5);
	assert_int_equal(run.from.pane, 80);
	/* An earlier epoch is older, whatever its panes; and a pane is its epoch's. */
	run = run_of(ones, 1, others, 5);
	assert_int_equal(run.from.pane, 0);
	run = run_of(ones, 4, others + 3, 2);
	assert_int_equal(run.from.epoch, 4);
	assert_int_equal(run.from.pane, 200);
}

static void a_run_without_a_common_pane_begins_anew_above_all_epochs(void **state)
{
	static const struct lineup_pane panes[] = {{5, 100}, {6, 100}};
	struct lineup *lineup = lineup_of(9);
	struct lineup_record record = record_of(1, -1, 3, 0xf), low = record_of(2, 30, 2, 0xf);
	struct lineup_run run = run_of(panes, 1, panes + 1, 1);

	(void)state;
	assert_int_equal(run.from.pane, 0);
	assert_int_equal(run.from.epoch, 1011); /* when the record was appended */
	record.epoch_min = 5000;
	assert_int_equal(take(lineup, 20, &record), LINEUP_RUN);
	assert_int_equal(lineup_run(lineup)->from.epoch, 5000);
	/* Also above the epochs of who does not take part. */
	record.tasks.words[0] = 0;
	assert_int_equal(take(lineup, 30, &record), LINEUP_CALLED);
	low.epoch_min = 7000;
	assert_int_equal(take(lineup, 31, &low), LINEUP_NOTHING);
	assert_int_equal(answer(lineup, 32, 30, 3, 3, 0xf), LINEUP_RUN);
	assert_int_equal(lineup_run(lineup)->from.epoch, 7000);
	lineup_free(lineup);
}

static void another_build_or_other_settings_never_take_part_and_it_is_said_why(void **state)
{
	struct lineup *lineup = lineup_of(9);
	struct lineup_record others[3];
	const char *why;

	(void)state;
	for (int i = 0; i < 3; i++)
		others[i] = record_of(1, -1, 8, 0xf);
	others[0].build[19] = 1;
	others[1].tasks_count = TASKS + 1;
	others[2].shape++;
	call(lineup, 1, 2, 3, 0x3);
	for (int i = 0; i < 6; i++) {
		struct lineup_record *other = &others[i % 3];

		other->call = i < 3 ? -1 : 1;
		why = NULL;
		assert_int_equal(lineup_take(lineup, 2 + i, 0, other, &why), LINEUP_NOTHING);
		assert_non_null(why);
		assert_non_null(strstr(why, i % 3 == 0	 ? "build"
					    : i % 3 == 1 ? "pipeline.tasks"
							 : "settings"));
	}
	assert_int_equal(lineup_call(lineup), 1);
	assert_int_equal(answer(lineup, 9, 1, 3, 3, 0xc), LINEUP_RUN);
	lineup_free(lineup);
}

static void more_processes_than_can_take_part_are_left_out_and_it_is_said(void **state)
{
	struct lineup *lineup = lineup_of(9);
	struct lineup_record late = record_of(5000, 1, 3, 0xf);
	const char *why;

	(void)state;
	call(lineup, 1, 1, 3, 0);
	for (uint64_t life = 2; life <= LINEUP_MEMBERS_MAX; life++)
		assert_int_equal(answer(lineup, (int64_t)life, 1, life, 3, 0), LINEUP_NOTHING);
	assert_int_equal(lineup_take(lineup, 1000, 0, &late, &why), LINEUP_NOTHING);
	assert_non_null(why);
	assert_int_equal(answer(lineup, 1001, 1, 7, 3, 0xf), LINEUP_RUN);
	assert_int_equal(lineup_run(lineup)->members_count, LINEUP_MEMBERS_MAX);
	lineup_free(lineup);
}

/* --- bytes --- */

static struct lineup_record full_record(void)
{
	struct lineup_record record = record_of(0x1122334455667788, 1LL << 40, 12, 0);

	memset(record.build, 0xab, sizeof(record.build));
	record.tasks_count = IMAGE_TASKS_MAX;
	task_set_add(&record.tasks, 0);
	task_set_add(&record.tasks, IMAGE_TASKS_MAX - 1);
	record.epoch_min = UINT64_MAX;
	record.panes_count = LINEUP_PANES;
	for (uint32_t i = 0; i < LINEUP_PANES; i++)
		record.panes[i] = (struct lineup_pane){i * 1000, i + 1};
	snprintf(record.name, sizeof(record.name), "\xc3\xbc%060d", 0);
	return record;
}

static void a_record_is_read_back_as_it_was(void **state)
{
	struct lineup_record before = full_record(), after;
	uint8_t bytes[LINEUP_RECORD_MAX];
	size_t length = lineup_encode(&before, bytes);

	(void)state;
	memset(&after, 0x55, sizeof(after));
	assert_true(length <= LINEUP_RECORD_MAX);
	assert_int_equal(lineup_decode(bytes, length, &after), 0);
	assert_memory_equal(&before, &after, sizeof(before));
	before = record_of(1, -1, -1, 0);
	length = lineup_encode(&before, bytes);
	assert_int_equal(lineup_decode(bytes, length, &after), 0);
	assert_memory_equal(&before, &after, sizeof(before));
}

static bool refused(const struct lineup_record *record)
{
	uint8_t bytes[LINEUP_RECORD_MAX];
	struct lineup_record after;
	size_t length = lineup_encode(record, bytes);

	return lineup_decode(bytes, length, &after) == -EBADMSG;
}

static void records_of_another_length_or_kind_are_refused(void **state)
{
	struct lineup_record record = full_record(), after;
	uint8_t bytes[LINEUP_RECORD_MAX + 1] = {0};
	size_t length = lineup_encode(&record, bytes);

	(void)state;
	for (size_t wrong = 0; wrong <= LINEUP_RECORD_MAX + 1; wrong++) {
		/* Its own memory, so that reading on is seen. */
		uint8_t *copy = malloc(wrong ? wrong : 1);

		memcpy(copy, bytes, wrong);
		assert_int_equal(lineup_decode(copy, wrong, &after),
				 wrong == length ? 0 : -EBADMSG);
		free(copy);
	}
	for (size_t i = 0; i < 4; i++) {
		bytes[i] ^= 1;
		assert_int_equal(lineup_decode(bytes, length, &after), -EBADMSG);
		bytes[i] ^= 1;
	}
}

static void records_that_contradict_themselves_are_refused(void **state)
{
	struct lineup_record good = record_of(1, 5, 3, 0xf), bad;
	uint8_t bytes[LINEUP_RECORD_MAX];
	struct lineup_record after;
	size_t length;

	(void)state;
	assert_false(refused(&good));
	bad = good, bad.tasks_count = 0, bad.tasks.words[0] = 0;
	assert_true(refused(&bad));
	bad = good, bad.tasks_count = IMAGE_TASKS_MAX + 1;
	assert_true(refused(&bad));
	bad = good, bad.tasks_count = 3; /* and it owns task 3 */
	assert_true(refused(&bad));
	bad = good, bad.call = -2;
	assert_true(refused(&bad));
	bad = good, bad.generation = -2;
	assert_true(refused(&bad));
	bad = good, bad.generation = -1; /* with tasks */
	assert_true(refused(&bad));
	bad = good, bad.panes_count = 1; /* pane 0 */
	assert_true(refused(&bad));
	bad = good, bad.name[0] = 0;
	assert_true(refused(&bad));
	bad = good, bad.name[3] = '\n';
	assert_true(refused(&bad));
	bad = good, bad.name[3] = (char)0xff;
	assert_true(refused(&bad));
	/* What cannot be written: too many panes, a name without an end. */
	length = lineup_encode(&good, bytes);
	bytes[PANES_COUNT_AT] = LINEUP_PANES + 1;
	assert_int_equal(lineup_decode(bytes, length, &after), -EBADMSG);
	bytes[PANES_COUNT_AT] = 0;
	memset(bytes + length - LINEUP_NAME_BYTES, 'a', LINEUP_NAME_BYTES);
	assert_int_equal(lineup_decode(bytes, length, &after), -EBADMSG);
	bytes[length - 1] = 0;
	assert_int_equal(lineup_decode(bytes, length, &after), 0);
	bytes[length - 2] = 0, bytes[length - 1] = 'a'; /* something behind the end */
	assert_int_equal(lineup_decode(bytes, length, &after), -EBADMSG);
}

/* --- a model of the group --- */

enum {
	PROCESSES = 5,
	LOG_MAX = 4000,
	PENDING_MAX = 64,
	STEPS = 250,
	SEEDS = 300,
	QUIET_MAX = 2000, /* steps until a run must have formed */
};

struct logged {
	uint8_t bytes[LINEUP_RECORD_MAX];
	size_t length;
	uint64_t append_ms;
};

struct assignment {
	int32_t generation;
	struct task_set tasks;
};

/* A place for processes: a name, with one life after the other. */
struct process {
	bool alive;
	bool member;		  /* as the group sees it, alive or not */
	struct lineup_record now; /* what it knows and would say */
	struct lineup *lineup;
	size_t next;	 /* offset that it reads next */
	int64_t running; /* run; -1: it stands */
	bool called;	 /* its own newest call is not read yet */
	struct assignment pending[PENDING_MAX];
	size_t pending_first, pending_count;
	struct task_set given; /* by the group, in its present generation */
};

struct world {
	uint64_t state;
	uint32_t tasks, processes;
	int32_t generation;
	uint64_t lives, now_ms;
	struct process process[PROCESSES];
	struct logged *log;
	size_t log_count;
	int64_t newest_run;
};

static uint64_t any(struct world *world, uint64_t below)
{
	world->state += 0x9e3779b97f4a7c15;
	return hash_mix(world->state) % below;
}

static void append(struct world *world, struct process *process, int64_t to)
{
	struct logged *logged = &world->log[world->log_count++];

	assert_true(world->log_count < LOG_MAX);
	process->now.call = to;
	logged->length = lineup_encode(&process->now, logged->bytes);
	world->now_ms += any(world, 50);
	logged->append_ms = world->now_ms;
}

/* It finds whatever snapshots there are. */
static void look_for_panes(struct world *world, struct process *process)
{
	process->now.panes_count = 0;
	for (uint64_t pane = 10; pane > 10 - 2 * LINEUP_PANES / 3; pane--) {
		if (any(world, 3) == 0)
			continue;
		process->now.panes[process->now.panes_count++] =
			(struct lineup_pane){.epoch = 1 + any(world, 2), .pane = pane};
	}
	process->now.epoch_min = any(world, 2) ? world->now_ms + any(world, 200) : 0;
}

static void make_call(struct world *world, struct process *process)
{
	process->running = -1;
	process->called = true;
	look_for_panes(world, process);
	append(world, process, -1);
}

static void push(struct process *process, int32_t generation, struct task_set tasks)
{
	size_t at = (process->pending_first + process->pending_count) % PENDING_MAX;

	assert_true(process->pending_count < PENDING_MAX);
	process->pending[at] = (struct assignment){generation, tasks};
	process->pending_count++;
}

/* By range, as Kafka's. Members learn of it when they come to it; the dead never. */
static void rebalance(struct world *world)
{
	uint32_t members = 0, number = 0, first = 0;

	for (uint32_t i = 0; i < world->processes; i++)
		members += world->process[i].member;
	world->generation++;
	for (uint32_t i = 0; i < world->processes; i++) {
		struct process *process = &world->process[i];
		uint32_t count;

		if (!process->member)
			continue;
		count = world->tasks / members + (number++ < world->tasks % members);
		process->given = (struct task_set){{0}};
		for (uint32_t task = first; task < first + count; task++)
			task_set_add(&process->given, task);
		first += count;
		if (process->alive && any(world, 2))
			push(process, world->generation - 1, (struct task_set){{0}});
		if (process->alive)
			push(process, world->generation, process->given);
	}
}

static void start(struct world *world, struct process *process)
{
	char name[LINEUP_NAME_BYTES];

	process->alive = true;
	memcpy(name, process->now.name, sizeof(name));
	process->now = (struct lineup_record){
		.build = "build",
		.tasks_count = world->tasks,
		.shape = SHAPE,
		.life = ++world->lives,
		.generation = -1,
	};
	memcpy(process->now.name, name, sizeof(name));
	process->lineup = lineup_new(&process->now);
	process->next = world->log_count;
	process->running = -1;
	process->called = false;
	process->pending_count = 0;
	if (process->member) { /* static: it has what it had */
		push(process, world->generation, process->given);
		return;
	}
	process->member = true;
	rebalance(world);
}

static void die(struct process *process)
{
	process->alive = false;
	lineup_free(process->lineup);
	process->lineup = NULL;
}

/* The group gives it up: it is dead, or stalls. It may go on for long before it learns. */
static void expel(struct world *world, struct process *process)
{
	process->member = false;
	rebalance(world);
	if (process->alive)
		push(process, -1, (struct task_set){{0}});
}

static void rejoin(struct world *world, struct process *process)
{
	process->member = true;
	rebalance(world);
}

static bool deliver(struct world *world, struct process *process)
{
	struct assignment assignment;

	if (!process->alive || !process->pending_count)
		return false;
	assignment = process->pending[process->pending_first++ % PENDING_MAX];
	process->pending_first %= PENDING_MAX;
	process->pending_count--;
	process->now.generation = assignment.generation;
	process->now.tasks = assignment.tasks;
	make_call(world, process);
	return true;
}

static const struct lineup_member *find_member(const struct lineup_run *run, uint64_t life)
{
	for (size_t i = 0; i < run->members_count; i++) {
		if (run->members[i].life == life)
			return &run->members[i];
	}
	return NULL;
}

static void on_run(struct world *world, struct process *process)
{
	const struct lineup_run *run = lineup_run(process->lineup);
	const struct lineup_member *self = find_member(run, process->now.life);
	bool owns = task_set_count(&process->now.tasks) > 0;

	process->running = -1;
	if (self && run->generation == process->now.generation &&
	    memcmp(&self->tasks, &process->now.tasks, sizeof(self->tasks)) == 0)
		process->running = run->number;
	else if (owns && run->generation <= process->now.generation && !process->called)
		make_call(world, process);
}

static void take_logged(struct lineup *lineup, const struct world *world, size_t offset,
			enum lineup_news *news, struct lineup_record *record)
{
	const struct logged *logged = &world->log[offset];
	const char *why;

	assert_int_equal(lineup_decode(logged->bytes, logged->length, record), 0);
	*news = lineup_take(lineup, (int64_t)offset, logged->append_ms, record, &why);
	assert_null(why);
}

static bool read_next(struct world *world, struct process *process)
{
	struct lineup_record record;
	enum lineup_news news;
	size_t offset = process->next;

	if (!process->alive || offset == world->log_count)
		return false;
	process->next++;
	take_logged(process->lineup, world, offset, &news, &record);
	if (record.life == process->now.life && record.call == -1)
		process->called = false;
	if (news == LINEUP_RUN) {
		on_run(world, process);
	} else if (news == LINEUP_CALLED) {
		assert_int_equal(lineup_call(process->lineup), offset);
		process->running = -1;
		look_for_panes(world, process);
		append(world, process, (int64_t)offset);
		if (any(world, 8) == 0) { /* it finds more, and says so */
			look_for_panes(world, process);
			append(world, process, (int64_t)offset);
		}
	}
	return true;
}

static void disturb(struct world *world, struct process *process)
{
	switch (any(world, 40)) {
	case 0:
	case 1:
		if (process->alive)
			die(process);
		return;
	case 2:
		if (process->member)
			expel(world, process);
		return;
	case 3: /* the exchange broke */
		if (process->alive && process->running >= 0)
			make_call(world, process);
		return;
	case 4:
		if (process->alive && !process->member)
			rejoin(world, process);
		return;
	case 5:
	case 6:
		if (!process->alive)
			start(world, process);
		return;
	default:
		return;
	}
}

static void one_step(struct world *world, bool noise)
{
	struct process *process = &world->process[any(world, world->processes)];

	if (noise)
		disturb(world, process);
	if (any(world, noise ? 6 : 2) == 0)
		deliver(world, process);
	else
		read_next(world, process);
}

/* --- what must hold, from the log alone --- */

struct seen {
	size_t count;
	int64_t calls[LOG_MAX];
	struct lineup_run *runs;
};

/* Of each process the last answer to the call up to the run. */
static size_t answers_to(const struct world *world, int64_t call, int64_t until,
			 struct lineup_record *answers)
{
	size_t count = 0;

	for (int64_t offset = call; offset <= until; offset++) {
		const struct logged *logged = &world->log[offset];
		struct lineup_record record;
		size_t number = 0;

		assert_int_equal(lineup_decode(logged->bytes, logged->length, &record), 0);
		if (offset != call && record.call != call)
			continue;
		while (number < count && answers[number].life != record.life)
			number++;
		answers[number] = record;
		count += number == count;
	}
	return count;
}

static bool has(const struct lineup_record *record, const struct lineup_pane *pane)
{
	for (uint32_t i = 0; i < record->panes_count; i++) {
		if (memcmp(&record->panes[i], pane, sizeof(*pane)) == 0)
			return true;
	}
	return false;
}

static void check_from(const struct lineup_run *run, const struct lineup_record *answers,
		       size_t count, uint64_t append_ms)
{
	struct lineup_pane best = {0};

	for (uint64_t epoch = 1; epoch <= 2; epoch++) {
		for (uint64_t pane = 1; pane <= 10; pane++) {
			struct lineup_pane tried = {epoch, pane};
			bool all = true;

			for (size_t i = 0; i < count; i++) {
				if (answers[i].generation == run->generation &&
				    task_set_count(&answers[i].tasks))
					all &= has(&answers[i], &tried);
			}
			if (all)
				best = tried;
		}
	}
	assert_int_equal(run->from.pane, best.pane);
	if (best.pane) {
		assert_int_equal(run->from.epoch, best.epoch);
		return;
	}
	best.epoch = append_ms;
	for (size_t i = 0; i < count; i++) {
		if (answers[i].epoch_min > best.epoch)
			best.epoch = answers[i].epoch_min;
	}
	assert_int_equal(run->from.epoch, best.epoch);
}

static void check_run(const struct world *world, const struct lineup_run *run, int64_t call)
{
	static struct lineup_record answers[LOG_MAX];
	size_t count = answers_to(world, call, run->number, answers);
	struct task_set covered = {{0}};
	int32_t highest = -1;

	for (size_t i = 0; i < count; i++) {
		if (answers[i].generation > highest)
			highest = answers[i].generation;
	}
	assert_int_equal(run->generation, highest);
	for (size_t i = 0; i < run->members_count; i++) {
		const struct lineup_member *member = &run->members[i];
		size_t number = 0;

		while (number < count && answers[number].life != member->life)
			number++;
		assert_true(number < count);
		assert_int_equal(answers[number].generation, highest);
		assert_memory_equal(&answers[number].tasks, &member->tasks, sizeof(member->tasks));
		assert_false(task_set_meets(&covered, &member->tasks));
		task_set_join(&covered, &member->tasks);
	}
	assert_int_equal(task_set_count(&covered), world->tasks);
	check_from(run, answers, count, world->log[run->number].append_ms);
}

/* Whoever begins to read at `from` sees these. */
static void read_all(const struct world *world, size_t from, uint64_t life, struct seen *seen)
{
	struct lineup_record self = {
		.build = "build", .tasks_count = world->tasks, .shape = SHAPE, .life = life};
	struct lineup *lineup = lineup_new(&self);

	seen->count = 0;
	for (size_t offset = from; offset < world->log_count; offset++) {
		struct lineup_record record;
		enum lineup_news news;

		take_logged(lineup, world, offset, &news, &record);
		if (news != LINEUP_RUN)
			continue;
		seen->calls[seen->count] = lineup_call(lineup);
		seen->runs[seen->count++] = *lineup_run(lineup);
	}
	lineup_free(lineup);
}

static size_t check_agreement(const struct world *world)
{
	static struct seen all, part;
	size_t runs;

	all.runs = malloc(world->log_count * sizeof(*all.runs));
	part.runs = malloc(world->log_count * sizeof(*part.runs));
	read_all(world, 0, 1, &all);
	runs = all.count;
	for (size_t i = 0; i < all.count; i++)
		check_run(world, &all.runs[i], all.calls[i]);
	/* From the middle, by others: all runs of the calls from there on, and no other. */
	for (size_t from = 0; from < world->log_count; from += 1 + world->log_count / 40) {
		size_t first = 0;

		while (first < all.count && all.calls[first] < (int64_t)from)
			first++;
		read_all(world, from, 2 + from % 7, &part);
		assert_int_equal(part.count, all.count - first);
		assert_memory_equal(part.runs, all.runs + first, part.count * sizeof(*part.runs));
	}
	free(all.runs);
	free(part.runs);
	return runs;
}

/* All know the same run, and it is the group's; who owns tasks is in it. */
static void check_settled(struct world *world)
{
	for (uint32_t i = 0; i < world->processes; i++) {
		struct process *process = &world->process[i];
		const struct lineup_run *run = lineup_run(process->lineup);

		assert_true(process->alive && process->member);
		assert_int_equal(run->generation, world->generation);
		assert_int_equal(run->number, lineup_run(world->process[0].lineup)->number);
		assert_int_equal(lineup_missing(process->lineup).words[0], 0);
		if (task_set_count(&process->given))
			assert_int_equal(process->running, run->number);
	}
}

static void settle(struct world *world)
{
	bool moved = true;

	for (uint32_t i = 0; i < world->processes; i++) {
		if (!world->process[i].alive)
			start(world, &world->process[i]);
		else if (!world->process[i].member)
			rejoin(world, &world->process[i]);
	}
	for (int i = 0; i < QUIET_MAX; i++)
		one_step(world, false);
	while (moved) {
		moved = false;
		for (uint32_t i = 0; i < world->processes; i++) {
			moved |= deliver(world, &world->process[i]);
			moved |= read_next(world, &world->process[i]);
		}
	}
	check_settled(world);
}

static size_t simulate(uint64_t seed)
{
	struct world *world = calloc(1, sizeof(*world));
	size_t runs;

	world->state = hash_mix(seed);
	world->log = calloc(LOG_MAX, sizeof(*world->log));
	world->tasks = 1 + (uint32_t)any(world, 16);
	world->processes = 1 + (uint32_t)any(world, PROCESSES);
	world->now_ms = 1000;
	for (uint32_t i = 0; i < world->processes; i++) {
		snprintf(world->process[i].now.name, LINEUP_NAME_BYTES, "process-%u", i);
		if (any(world, 2))
			start(world, &world->process[i]);
	}
	for (int i = 0; i < STEPS; i++)
		one_step(world, true);
	settle(world);
	runs = check_agreement(world);
	for (uint32_t i = 0; i < world->processes; i++)
		die(&world->process[i]);
	free(world->log);
	free(world);
	return runs;
}

static uint64_t seed_now = SEEDS;

static int tell_seed(void **state)
{
	(void)state;
	if (seed_now < SEEDS)
		printf("# failed with MILLRACE_SEED=%llu\n", (unsigned long long)seed_now);
	return 0;
}

static void whatever_happens_all_agree_and_a_run_forms_once_it_is_quiet(void **state)
{
	const char *given = getenv("MILLRACE_SEED");
	size_t runs = 0;

	(void)state;
	if (given) {
		simulate(strtoull(given, NULL, 10));
		return;
	}
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		seed_now = seed;
		runs += simulate(seed);
	}
	seed_now = SEEDS;
	printf("# %zu runs of %d seeds\n", runs, SEEDS);
	assert_true(runs > 3 * SEEDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_that_covers_all_tasks_begins_a_run_by_itself),
		cmocka_unit_test(
			the_answer_that_completes_the_cover_begins_the_run_with_its_offset),
		cmocka_unit_test(an_own_call_is_no_news_and_anothers_is),
		cmocka_unit_test(a_newer_call_makes_older_answers_void),
		cmocka_unit_test(answers_to_a_call_that_was_not_read_or_that_has_its_run_are_void),
		cmocka_unit_test(only_the_highest_generation_covers),
		cmocka_unit_test(
			a_call_of_a_lower_generation_supersedes_but_its_tasks_do_not_count),
		cmocka_unit_test(tasks_that_two_own_begin_nothing_until_one_answers_anew),
		cmocka_unit_test(who_owns_nothing_is_listed_last_and_asks_for_no_snapshot),
		cmocka_unit_test(who_owns_nothing_yet_in_a_newer_generation_makes_the_others_wait),
		cmocka_unit_test(a_run_goes_on_from_the_newest_pane_that_all_have),
		cmocka_unit_test(a_run_without_a_common_pane_begins_anew_above_all_epochs),
		cmocka_unit_test(
			another_build_or_other_settings_never_take_part_and_it_is_said_why),
		cmocka_unit_test(more_processes_than_can_take_part_are_left_out_and_it_is_said),
		cmocka_unit_test(a_record_is_read_back_as_it_was),
		cmocka_unit_test(records_of_another_length_or_kind_are_refused),
		cmocka_unit_test(records_that_contradict_themselves_are_refused),
		cmocka_unit_test_teardown(
			whatever_happens_all_agree_and_a_run_forms_once_it_is_quiet, tell_seed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
