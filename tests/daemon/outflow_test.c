/* What is sent at one end comes out at the other, once and in order, in as few records as there are
 * turns of workers and instances. */
#include "daemon/outflow.h"

#include "daemon/bundle.h"
#include "daemon/inflow.h"
#include "tests/daemon/messages.h"

enum { TASKS = 6, HERE = 2, RECORDS_MAX = 8192 };

/* Tasks 0 and 1 are here; 2 and 4 are of one other instance, 3 and 5 of another. */
static const uint32_t homes[TASKS] = {0, 0, 2, 3, 2, 3};

struct wire_under_test {
	struct outflow_record records[RECORDS_MAX];
	size_t count;
	struct inflow *inflow;			   /* one for both instances: it is told which */
	uint64_t panes[TASKS][TASKS], told, wrong; /* next */
};

static void on_record(void *context, const struct outflow_record *record)
{
	struct wire_under_test *wire = context;
	assert_true(wire->count < RECORDS_MAX);
	wire->records[wire->count++] = *record;
}

static void on_messages(void *context, struct message *messages)
{
	struct wire_under_test *wire = context;
	for (struct letter *letter = &messages->letter, *next; letter; letter = next) {
		struct message *message = (struct message *)letter;
		next = letter->next;
		wire->wrong += message->pane != wire->panes[message->source][message->task]++;
		wire->told++;
		message_free(message);
	}
}

static void carry(struct wire_under_test *wire)
{
	for (size_t i = 0; i < wire->count; i++) {
		const struct outflow_record *record = &wire->records[i];
		if (wire->inflow)
			inflow_take(wire->inflow, record->home, record->bytes, record->length);
		free(record->bytes);
	}
	wire->count = 0;
}

static void send_start(struct outflow *outflow, uint32_t source, uint32_t task, uint64_t pane)
{
	outflow_send(outflow, source, message_new(MESSAGE_START, source, task, pane));
}

static void a_turn_is_one_record_for_each_instance(void **state)
{
	(void)state;
	static struct wire_under_test wire;
	memset(&wire, 0, sizeof(wire));
	struct outflow *outflow = outflow_new(TASKS, on_record, &wire);
	outflow_begin(outflow, 3, homes);
	outflow_flush(outflow, 0);
	assert_int_equal(wire.count, 0);
	for (uint32_t task = HERE; task < TASKS; task++)
		send_start(outflow, 0, task, 0);
	send_start(outflow, 1, 4, 0);
	assert_int_equal(wire.count, 0);
	outflow_flush(outflow, 0);
	assert_int_equal(wire.count, 2);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(wire.records[i].home, 2 + i);
		assert_int_equal(wire.records[i].messages, 2);
		assert_int_equal(wire.records[i].run, 3);
	}
	outflow_flush(outflow, 0);
	assert_int_equal(wire.count, 2);
	outflow_flush(outflow, 1);
	assert_int_equal(wire.count, 3);
	assert_int_equal(wire.records[2].home, 2);
	assert_int_equal(wire.records[2].messages, 1);
	carry(&wire);
	outflow_free(outflow);
}

static void a_full_bundle_goes_before_its_turn_ends(void **state)
{
	(void)state;
	static struct wire_under_test wire;
	memset(&wire, 0, sizeof(wire));
	struct outflow *outflow = outflow_new(TASKS, on_record, &wire);
	wire.inflow = inflow_new(TASKS, on_messages, &wire);
	outflow_begin(outflow, 3, homes);
	inflow_begin(wire.inflow, 3, homes);
	uint64_t pane = 0;
	while (wire.count < 3)
		send_start(outflow, 0, 4, pane++);
	for (size_t i = 0; i < 3; i++) {
		assert_true(wire.records[i].length <= BUNDLE_BYTES_MAX);
		assert_true(wire.records[i].length > BUNDLE_BYTES_MAX - 1024);
	}
	outflow_flush(outflow, 0);
	assert_int_equal(wire.count, 4);
	assert_int_equal(wire.records[3].messages, 1);
	carry(&wire);
	assert_int_equal(wire.told, pane);
	assert_int_equal(wire.wrong, 0);
	inflow_free(wire.inflow);
	outflow_free(outflow);
}

static void what_has_not_gone_when_its_run_ends_is_dropped_and_counted(void **state)
{
	(void)state;
	static struct wire_under_test wire;
	memset(&wire, 0, sizeof(wire));
	struct outflow *outflow = outflow_new(TASKS, on_record, &wire);
	send_start(outflow, 0, 2, 0); /* before there is one */
	assert_int_equal(outflow_stale(outflow), 1);
	outflow_begin(outflow, 3, homes);
	send_start(outflow, 0, 2, 0);
	send_start(outflow, 1, 3, 0);
	outflow_end(outflow);
	outflow_flush(outflow, 0);
	assert_int_equal(outflow_stale(outflow), 2);
	send_start(outflow, 0, 2, 0);
	assert_int_equal(outflow_stale(outflow), 3);
	outflow_begin(outflow, 4, homes); /* its worker was not there any more to flush */
	assert_int_equal(outflow_stale(outflow), 4);
	send_start(outflow, 0, 2, 0);
	outflow_flush(outflow, 0);
	outflow_flush(outflow, 1);
	assert_int_equal(wire.count, 1);
	assert_int_equal(wire.records[0].run, 4);
	assert_int_equal(wire.records[0].messages, 1);
	send_start(outflow, 0, 2, 1);
	carry(&wire);
	outflow_free(outflow);
}

static uint64_t pick(uint64_t *random, uint64_t below)
{
	*random += 0x9e3779b97f4a7c15ULL;
	return hash_mix(*random) % below;
}

/* Runs of random turns; at their ends everything has come, or was dropped with its run. */
static void play(uint64_t seed)
{
	static struct wire_under_test wire;
	uint64_t random = seed, sent = 0;
	memset(&wire, 0, sizeof(wire));
	struct outflow *outflow = outflow_new(TASKS, on_record, &wire);
	wire.inflow = inflow_new(TASKS, on_messages, &wire);
	for (int64_t run = 0; run < 4; run++) {
		uint64_t panes[TASKS][TASKS] = {{0}};
		memset(wire.panes, 0, sizeof(wire.panes));
		outflow_begin(outflow, run, homes);
		inflow_begin(wire.inflow, run, homes);
		for (uint64_t steps = pick(&random, 200); steps; steps--) {
			uint32_t source = (uint32_t)pick(&random, HERE);
			uint32_t task = HERE + (uint32_t)pick(&random, TASKS - HERE);
			uint64_t what = pick(&random, 10);
			if (what == 0)
				outflow_flush(outflow, source);
			if (what == 1)
				carry(&wire);
			if (what > 1)
				sent++;
			if (what > 1)
				send_start(outflow, source, task, panes[source][task]++);
		}
		if (pick(&random, 2)) {
			outflow_flush(outflow, 0);
			outflow_flush(outflow, 1);
		}
		carry(&wire);
		outflow_end(outflow);
		inflow_end(wire.inflow);
	}
	outflow_begin(outflow, 9, homes);
	struct inflow_stats in = inflow_stats(wire.inflow);
	if (wire.wrong || in.broken + in.repeated + in.stale + in.refused ||
	    sent != wire.told + outflow_stale(outflow))
		fail_msg("seed %llu: %llu wrong, %llu sent, %llu told, %llu stale",
			 (unsigned long long)seed, (unsigned long long)wire.wrong,
			 (unsigned long long)sent, (unsigned long long)wire.told,
			 (unsigned long long)outflow_stale(outflow));
	inflow_free(wire.inflow);
	outflow_free(outflow);
}

static void sent_is_told_in_order_or_dropped_with_its_run(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++)
		play(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_turn_is_one_record_for_each_instance),
		cmocka_unit_test(a_full_bundle_goes_before_its_turn_ends),
		cmocka_unit_test(what_has_not_gone_when_its_run_ends_is_dropped_and_counted),
		cmocka_unit_test(sent_is_told_in_order_or_dropped_with_its_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
