/* Whatever is repeated, late or early on the way: each run's messages are told once and in order,
 * or the run is broken. */
#include "daemon/inflow.h"

#include "tests/daemon/messages.h"

enum { TASKS = 3, HOME = 1, RUNS = 6, MESSAGES = 40, ROUNDS = 300 };

/* Tasks 1 and 2 are here. */
static const uint32_t homes[TASKS] = {0, HOME, HOME};

struct told {
	uint64_t next[TASKS][TASKS]; /* its number, which is its pane */
	uint64_t wrong;
};

static void on_messages(void *context, struct message *messages)
{
	struct told *told = context;
	for (struct letter *letter = &messages->letter, *next; letter; letter = next) {
		struct message *message = (struct message *)letter;
		next = letter->next;
		told->wrong += message->pane != told->next[message->source][message->task]++;
		message_free(message);
	}
}

static void give(struct inflow *inflow, int64_t run, uint32_t source, uint32_t task,
		 uint64_t number)
{
	size_t length;
	uint8_t *bytes =
		made_bundle(run, number, message_new(MESSAGE_START, source, task, number), &length);
	inflow_take(inflow, HOME, bytes, length);
	free(bytes);
}

static uint64_t pick(uint64_t *random, uint64_t below)
{
	*random += 0x9e3779b97f4a7c15ULL;
	return hash_mix(*random) % below;
}

/* One source's log of many runs, with repeats of the last record as a producer makes them; the
 * reader's runs begin late. In one of eight logs a record is missing. */
static void play(uint64_t seed, uint64_t *broken, uint64_t *held)
{
	uint64_t random = seed, expected_broken = 0;
	struct told told = {{{0}}, 0};
	struct inflow *inflow = inflow_new(TASKS, on_messages, &told);
	char why[INFLOW_WHY_BYTES];
	bool holed = pick(&random, 8) == 0;
	uint64_t hole_run = pick(&random, RUNS), hole = pick(&random, MESSAGES - 1);
	for (uint64_t run = 0; run < RUNS; run++) {
		uint64_t begins = pick(&random, MESSAGES);
		memset(&told.next, 0, sizeof(told.next));
		for (uint64_t number = 0; number < MESSAGES; number++) {
			if (number == begins)
				inflow_begin(inflow, (int64_t)run, homes);
			*held += inflow_stats(inflow).held;
			if (holed && run == hole_run && number == hole)
				continue;
			give(inflow, (int64_t)run, 0, 2, number);
			if (pick(&random, 4) == 0)
				give(inflow, (int64_t)run, 0, 2, number);
			if (run > 0 && pick(&random, 4) == 0)
				give(inflow, (int64_t)run - 1, 0, 2, pick(&random, MESSAGES));
		}
		bool breaks = holed && run == hole_run;
		expected_broken += breaks;
		if (told.wrong || told.next[0][2] != (breaks ? hole : MESSAGES) ||
		    inflow_broken(inflow, why) != breaks || inflow_broken(inflow, why) ||
		    inflow_stats(inflow).held)
			fail_msg("seed %llu, run %llu", (unsigned long long)seed,
				 (unsigned long long)run);
		inflow_end(inflow);
	}
	assert_int_equal(inflow_stats(inflow).broken, expected_broken);
	*broken += expected_broken;
	inflow_free(inflow);
}

static void each_run_is_told_once_and_in_order_or_broken(void **state)
{
	(void)state;
	uint64_t broken = 0, held = 0;
	for (uint64_t seed = 0; seed < ROUNDS; seed++)
		play(seed, &broken, &held);
	assert_true(broken > 0 && held > 0);
}

static void a_break_is_told_once_and_not_after_the_run(void **state)
{
	(void)state;
	struct told told = {{{0}}, 0};
	struct inflow *inflow = inflow_new(TASKS, on_messages, &told);
	char why[INFLOW_WHY_BYTES];
	inflow_break(inflow, "before there is a run");
	assert_false(inflow_broken(inflow, why));
	inflow_begin(inflow, 3, homes);
	inflow_break(inflow, "first");
	inflow_break(inflow, "second");
	assert_true(inflow_broken(inflow, why));
	assert_string_equal(why, "first");
	assert_false(inflow_broken(inflow, why));
	inflow_end(inflow);
	inflow_begin(inflow, 4, homes);
	assert_int_equal(inflow_run(inflow), 4);
	inflow_break(inflow, "again");
	inflow_end(inflow);
	assert_false(inflow_broken(inflow, why));
	assert_int_equal(inflow_stats(inflow).broken, 2);
	inflow_free(inflow);
}

/* Of two tasks, alternately, with these numbers. */
static uint8_t *bundle_of(int64_t run, const uint64_t *numbers, uint32_t count, size_t *length)
{
	struct bundle bundle = {0};
	for (uint32_t i = 0; i < count; i++) {
		struct message *message = message_new(MESSAGE_START, 0, HOME + i % 2, numbers[i]);
		assert_true(bundle_put(&bundle, run, numbers[i], message));
		message_free(message);
	}
	return bundle_take(&bundle, length);
}

static void a_bundle_is_told_at_once_up_to_a_gap(void **state)
{
	(void)state;
	static const uint64_t whole[] = {0, 0, 1, 1, 2}, gap[] = {3, 1, 5, 2, 6};
	struct told told = {{{0}}, 0};
	struct inflow *inflow = inflow_new(TASKS, on_messages, &told);
	size_t length;
	inflow_begin(inflow, 3, homes);
	uint8_t *bytes = bundle_of(3, whole, 5, &length);
	inflow_take(inflow, HOME, bytes, length);
	free(bytes);
	assert_int_equal(told.next[0][1], 3);
	assert_int_equal(told.next[0][2], 2);
	bytes = bundle_of(3, gap, 5, &length); /* a repeat, then 4 is missing */
	inflow_take(inflow, HOME, bytes, length);
	free(bytes);
	assert_int_equal(told.next[0][1], 4);
	assert_int_equal(told.next[0][2], 2);
	assert_int_equal(told.wrong, 0);
	struct inflow_stats stats = inflow_stats(inflow);
	assert_int_equal(stats.received, 6);
	assert_int_equal(stats.repeated, 1);
	assert_int_equal(stats.stale, 3);
	assert_int_equal(stats.broken, 1);
	inflow_free(inflow);
}

/* Where it would be handed to a task that does not run here. */
static void a_message_for_a_task_with_another_home_breaks_the_run(void **state)
{
	(void)state;
	struct told told = {{{0}}, 0};
	struct inflow *inflow = inflow_new(TASKS, on_messages, &told);
	char why[INFLOW_WHY_BYTES];
	inflow_begin(inflow, 3, homes);
	give(inflow, 3, 1, 0, 0);
	assert_true(inflow_broken(inflow, why));
	assert_string_equal(why, "message 0 from task 1 to task 0 cannot be read");
	assert_int_equal(inflow_stats(inflow).refused, 1);
	assert_int_equal(told.next[1][0], 0);
	inflow_free(inflow);
}

static void a_bundle_that_is_ruined_breaks_its_run_also_before_it_begins(void **state)
{
	(void)state;
	struct told told = {{{0}}, 0};
	struct inflow *inflow = inflow_new(TASKS, on_messages, &told);
	char why[INFLOW_WHY_BYTES];
	size_t length;
	uint8_t *bytes = made_bundle(4, 0, message_new(MESSAGE_START, 0, HOME, 0), &length);
	inflow_begin(inflow, 3, homes);
	inflow_take(inflow, HOME, bytes, length - 1);
	assert_int_equal(inflow_stats(inflow).refused, 1);
	assert_false(inflow_broken(inflow, why));
	inflow_end(inflow);
	inflow_begin(inflow, 4, homes);
	assert_true(inflow_broken(inflow, why));
	inflow_end(inflow);
	inflow_begin(inflow, 5, homes);
	inflow_take(inflow, HOME, bytes, length - 1); /* of a run that is over */
	assert_int_equal(inflow_stats(inflow).refused, 2);
	assert_false(inflow_broken(inflow, why));
	free(bytes);
	inflow_free(inflow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_run_is_told_once_and_in_order_or_broken),
		cmocka_unit_test(a_break_is_told_once_and_not_after_the_run),
		cmocka_unit_test(a_bundle_is_told_at_once_up_to_a_gap),
		cmocka_unit_test(a_message_for_a_task_with_another_home_breaks_the_run),
		cmocka_unit_test(a_bundle_that_is_ruined_breaks_its_run_also_before_it_begins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
