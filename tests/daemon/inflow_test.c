/* Whatever is repeated, late or early on the way: each run's messages are told once and in order,
 * or the run is broken. */
#include "daemon/inflow.h"

#include "daemon/wire_message.h"
#include "tests/daemon/messages.h"

enum { TASKS = 3, RUNS = 6, MESSAGES = 40, ROUNDS = 300 };

struct told {
	uint64_t next[TASKS][TASKS]; /* its number, which is its pane */
	uint64_t wrong;
};

static void on_message(void *context, struct message *message)
{
	struct told *told = context;
	told->wrong += message->pane != told->next[message->source][message->task]++;
	message_free(message);
}

static void give(struct inflow *inflow, int64_t run, uint32_t source, uint32_t task,
		 uint64_t number)
{
	struct message *message = message_new(MESSAGE_START, source, task, number);
	struct envelope envelope = {.magic = ENVELOPE_MAGIC,
				    .source = source,
				    .task = task,
				    .run = run,
				    .number = number};
	uint8_t bytes[1024];
	size_t length = sizeof(envelope) + wire_message_size(message);
	assert_true(length <= sizeof(bytes));
	memcpy(bytes, &envelope, sizeof(envelope));
	wire_message_write(message, bytes + sizeof(envelope));
	inflow_take(inflow, task, bytes, length);
	message_free(message);
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
	struct inflow *inflow = inflow_new(TASKS, on_message, &told);
	char why[INFLOW_WHY_BYTES];
	bool holed = pick(&random, 8) == 0;
	uint64_t hole_run = pick(&random, RUNS), hole = pick(&random, MESSAGES - 1);
	for (uint64_t run = 0; run < RUNS; run++) {
		uint64_t begins = pick(&random, MESSAGES);
		memset(&told.next, 0, sizeof(told.next));
		for (uint64_t number = 0; number < MESSAGES; number++) {
			if (number == begins)
				inflow_begin(inflow, (int64_t)run);
			*held += inflow_stats(inflow).held;
			if (holed && run == hole_run && number == hole)
				continue;
			give(inflow, (int64_t)run, 1, 2, number);
			if (pick(&random, 4) == 0)
				give(inflow, (int64_t)run, 1, 2, number);
			if (run > 0 && pick(&random, 4) == 0)
				give(inflow, (int64_t)run - 1, 1, 2, pick(&random, MESSAGES));
		}
		bool breaks = holed && run == hole_run;
		expected_broken += breaks;
		if (told.wrong || told.next[1][2] != (breaks ? hole : MESSAGES) ||
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
	struct inflow *inflow = inflow_new(TASKS, on_message, &told);
	char why[INFLOW_WHY_BYTES];
	inflow_break(inflow, "before there is a run");
	assert_false(inflow_broken(inflow, why));
	inflow_begin(inflow, 3);
	inflow_break(inflow, "first");
	inflow_break(inflow, "second");
	assert_true(inflow_broken(inflow, why));
	assert_string_equal(why, "first");
	assert_false(inflow_broken(inflow, why));
	inflow_end(inflow);
	inflow_begin(inflow, 4);
	assert_int_equal(inflow_run(inflow), 4);
	inflow_break(inflow, "again");
	inflow_end(inflow);
	assert_false(inflow_broken(inflow, why));
	assert_int_equal(inflow_stats(inflow).broken, 2);
	inflow_free(inflow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_run_is_told_once_and_in_order_or_broken),
		cmocka_unit_test(a_break_is_told_once_and_not_after_the_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
