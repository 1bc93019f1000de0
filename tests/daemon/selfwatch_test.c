/* When Millrace alerts about itself, told the time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/selfwatch.h"

enum { PUSHED_MAX = 64, START_S = 1000000 };

struct fixture {
	char folder[64], path[96];
	struct encoder *encoder;
	struct selfwatch *watch;
	struct alert pushed[PUSHED_MAX];
	size_t pushed_count, settled_count;
	struct notify_receiver_stats receiver;
	uint64_t now_s, steady_s, clock_s;
	bool running;
};

static void on_push(void *context, const struct alert *alert)
{
	struct fixture *fixture = context;

	assert_true(fixture->pushed_count < PUSHED_MAX);
	fixture->pushed[fixture->pushed_count++] = *alert;
}

static void on_settled(void *context, const struct delivery *delivery)
{
	assert_true(delivery->local);
	((struct fixture *)context)->settled_count++;
}

static void on_trouble(void *context, const char *sentence)
{
	(void)context;
	(void)sentence;
}

static void begin(struct fixture *fixture)
{
	struct receiver receiver = {.name = "team"};

	fixture->watch =
		selfwatch_new(&(struct selfwatch_options){.journal = fixture->path,
							  .journal_bytes = 65536,
							  .blind_after_ns = 30 * NS_PER_S,
							  .lag_max_ns = 60 * NS_PER_S,
							  .failing_after_ns = 900 * NS_PER_S,
							  .receivers = &receiver,
							  .receivers_count = 1,
							  .encoder = fixture->encoder,
							  .context = fixture,
							  .settled = on_settled,
							  .push = on_push,
							  .trouble = on_trouble});
	assert_non_null(fixture->watch);
	selfwatch_begin(fixture->watch);
}

static void restart(struct fixture *fixture)
{
	selfwatch_free(fixture->watch);
	fixture->pushed_count = fixture->settled_count = 0;
	begin(fixture);
}

/* Looks once a second; the log clock moves by so much. */
static void pass(struct fixture *fixture, uint64_t seconds, uint64_t clock_seconds)
{
	for (uint64_t i = 0; i < seconds; i++) {
		fixture->now_s++;
		fixture->steady_s++;
		fixture->clock_s += clock_seconds;
		selfwatch_look(fixture->watch,
			       &(struct selfwatch_view){.now_ns = fixture->now_s * NS_PER_S,
							.steady_ns = fixture->steady_s * NS_PER_S,
							.running = fixture->running,
							.clock_ns = fixture->clock_s * NS_PER_S,
							.receivers = &fixture->receiver,
							.receivers_count = 1});
	}
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/millrace-selfwatch-XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	snprintf(fixture->path, sizeof(fixture->path), "%s/journal", fixture->folder);
	fixture->encoder = encoder_new();
	fixture->receiver.name = "team";
	fixture->receiver.last_error = "";
	fixture->now_s = fixture->clock_s = START_S;
	fixture->steady_s = 1;
	fixture->running = true;
	begin(fixture);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	selfwatch_free(fixture->watch);
	encoder_free(fixture->encoder);
	unlink(fixture->path);
	rmdir(fixture->folder);
	free(fixture);
	return 0;
}

static void expect(const struct fixture *fixture, size_t at, const char *monitor, uint32_t state)
{
	assert_true(at < fixture->pushed_count);
	assert_string_equal(fixture->pushed[at].monitor, monitor);
	assert_int_equal(fixture->pushed[at].state, state);
	assert_int_equal(fixture->pushed[at].sequence, state == ALERT_FIRING ? 1 : 2);
}

static void while_the_clock_moves_there_is_nothing_to_tell(void **state)
{
	struct fixture *fixture = *state;

	pass(fixture, 1000, 1);
	assert_int_equal(fixture->pushed_count, 0);
	assert_true(selfwatch_sees(fixture->watch));
}

static void a_set_clock_neither_makes_blindness_nor_hides_it(void **state)
{
	struct fixture *fixture = *state;

	pass(fixture, 10, 1);
	pass(fixture, 5, 0);
	fixture->now_s += 3600;
	fixture->clock_s += 3600; /* the brokers' is set, too */
	pass(fixture, 20, 1);
	assert_int_equal(fixture->pushed_count, 0);
	fixture->now_s -= 7200;
	pass(fixture, 29, 0);
	assert_int_equal(fixture->pushed_count, 0);
	assert_true(selfwatch_sees(fixture->watch));
	pass(fixture, 1, 0);
	assert_int_equal(fixture->pushed_count, 1);
	assert_int_equal(fixture->pushed[0].started_ns, fixture->now_s * NS_PER_S);
	assert_false(selfwatch_sees(fixture->watch));
	fixture->clock_s += 7200;
	fixture->now_s += 7200;
	pass(fixture, 10, 1);
	assert_int_equal(fixture->pushed_count, 1);
	pass(fixture, 1, 1);
	assert_int_equal(fixture->pushed_count, 2);
}

static void a_set_clock_does_not_make_a_receivers_trouble_longer(void **state)
{
	struct fixture *fixture = *state;

	fixture->receiver.failing_since_ns = fixture->now_s * NS_PER_S;
	pass(fixture, 1, 1);
	fixture->now_s += 3600;
	fixture->clock_s += 3600;
	pass(fixture, 899, 1);
	assert_int_equal(fixture->pushed_count, 0);
	fixture->now_s -= 3600;
	pass(fixture, 1, 1);
	assert_int_equal(fixture->pushed_count, 1);
}

static void a_clock_that_stands_still_for_thirty_seconds_is_blindness(void **state)
{
	struct fixture *fixture = *state;

	pass(fixture, 10, 1);
	pass(fixture, 29, 0);
	assert_int_equal(fixture->pushed_count, 0);
	pass(fixture, 1, 0);
	assert_int_equal(fixture->pushed_count, 1);
	expect(fixture, 0, "millrace/blind", ALERT_FIRING);
	assert_int_equal(fixture->pushed[0].severity, ALERT_CRITICAL);
	assert_false(selfwatch_sees(fixture->watch));
	pass(fixture, 100, 0);
	assert_int_equal(fixture->pushed_count, 1); /* once, and no lag beside it */
}

static void a_pipeline_that_never_began_is_blindness_too(void **state)
{
	struct fixture *fixture = *state;

	fixture->running = false;
	fixture->clock_s = 0;
	pass(fixture, 31, 0);
	expect(fixture, 0, "millrace/blind", ALERT_FIRING);
}

static void it_is_over_when_the_clock_has_moved_for_ten_seconds(void **state)
{
	struct fixture *fixture = *state;

	pass(fixture, 10, 1);
	pass(fixture, 40, 0);
	pass(fixture, 10, 5);
	assert_int_equal(fixture->pushed_count, 1);
	pass(fixture, 5, 0); /* a moment's pause is no return of it */
	pass(fixture, 1, 1);
	expect(fixture, 1, "millrace/blind", ALERT_RESOLVED);
	assert_string_equal(fixture->pushed[0].key, fixture->pushed[1].key);
	assert_true(selfwatch_sees(fixture->watch));
}

static void a_backlog_of_more_than_a_minute_is_told(void **state)
{
	struct fixture *fixture = *state;

	pass(fixture, 5, 1);
	fixture->now_s += 61; /* it moves on, behind */
	pass(fixture, 5, 1);
	assert_int_equal(fixture->pushed_count, 0); /* it may pass by itself */
	pass(fixture, 1, 1);
	expect(fixture, fixture->pushed_count - 1, "millrace/lag", ALERT_FIRING);
	pass(fixture, 60, 2);
	expect(fixture, fixture->pushed_count - 1, "millrace/lag", ALERT_RESOLVED);
}

static void a_receiver_is_told_of_when_it_fails_for_fifteen_minutes(void **state)
{
	struct fixture *fixture = *state;

	pass(fixture, 1, 1);
	fixture->receiver.failing_since_ns = fixture->now_s * NS_PER_S;
	pass(fixture, 900, 1);
	assert_int_equal(fixture->pushed_count, 0);
	pass(fixture, 1, 1);
	expect(fixture, 0, "millrace/receiver", ALERT_FIRING);
	assert_string_equal(fixture->pushed[0].subject.server, "team");
	fixture->receiver.failing_since_ns = 0;
	pass(fixture, 11, 1);
	expect(fixture, 1, "millrace/receiver", ALERT_RESOLVED);
}

static void a_receiver_that_refuses_for_good_or_misses_something_is_told_at_once(void **state)
{
	struct fixture *fixture = *state;

	pass(fixture, 1, 1);
	fixture->receiver.failed[NOTIFY_EXPIRED] = 1;
	pass(fixture, 1, 1);
	expect(fixture, 0, "millrace/receiver", ALERT_FIRING);
	assert_non_null(strstr(fixture->pushed[0].summary, "millrace.deadletter"));
	pass(fixture, 920, 1);
	expect(fixture, 1, "millrace/receiver", ALERT_RESOLVED);
	fixture->receiver.disabled = true;
	pass(fixture, 1, 1);
	expect(fixture, 2, "millrace/receiver", ALERT_FIRING);
	assert_string_not_equal(fixture->pushed[0].key, fixture->pushed[2].key);
}

static void settle_one(struct fixture *fixture, const struct alert *alert)
{
	struct delivery delivery = {.receiver = "team",
				    .sequence = alert->sequence,
				    .sent_ns = 1,
				    .local = true,
				    .resolve_owed = true};

	memcpy(delivery.key, alert->key, sizeof(delivery.key));
	selfwatch_keep(fixture->watch, &delivery);
}

static void a_restart_goes_on_with_what_fires_and_with_what_was_delivered(void **state)
{
	struct fixture *fixture = *state;
	char key[ALERT_KEY_TEXT];

	pass(fixture, 31, 0);
	expect(fixture, 0, "millrace/blind", ALERT_FIRING);
	memcpy(key, fixture->pushed[0].key, sizeof(key));
	settle_one(fixture, &fixture->pushed[0]);
	restart(fixture);
	assert_int_equal(fixture->settled_count, 1);
	expect(fixture, 0, "millrace/blind",
	       ALERT_FIRING); /* the notifier knows that it was told */
	assert_string_equal(fixture->pushed[0].key, key);
	fixture->clock_s = 0; /* nothing was read in this life */
	pass(fixture, 60, 0);
	assert_int_equal(fixture->pushed_count, 1); /* the same episode, not another */
	fixture->clock_s = fixture->now_s;
	pass(fixture, 11, 1);
	expect(fixture, 1, "millrace/blind", ALERT_RESOLVED);
	assert_string_equal(fixture->pushed[1].key, key);
	restart(fixture);
	assert_int_equal(fixture->pushed_count, 2); /* both stages, in order */
	expect(fixture, 0, "millrace/blind", ALERT_FIRING);
	expect(fixture, 1, "millrace/blind", ALERT_RESOLVED);
}

static void the_journal_stays_small_over_many_episodes(void **state)
{
	struct fixture *fixture = *state;

	pass(fixture, 1, 1);
	for (int i = 0; i < 400; i++) {
		fixture->pushed_count = 0;
		fixture->receiver.disabled = i % 2 == 0;
		pass(fixture, 12, 1);
		settle_one(fixture, &fixture->pushed[0]);
	}
	assert_true(selfwatch_stats(fixture->watch).journal.bytes <= 65536);
	assert_int_equal(selfwatch_stats(fixture->watch).journal.failed, 0);
	assert_true(selfwatch_stats(fixture->watch).journal.rewritten > 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(while_the_clock_moves_there_is_nothing_to_tell),
		TEST(a_set_clock_neither_makes_blindness_nor_hides_it),
		TEST(a_set_clock_does_not_make_a_receivers_trouble_longer),
		TEST(a_clock_that_stands_still_for_thirty_seconds_is_blindness),
		TEST(a_pipeline_that_never_began_is_blindness_too),
		TEST(it_is_over_when_the_clock_has_moved_for_ten_seconds),
		TEST(a_backlog_of_more_than_a_minute_is_told),
		TEST(a_receiver_is_told_of_when_it_fails_for_fifteen_minutes),
		TEST(a_receiver_that_refuses_for_good_or_misses_something_is_told_at_once),
		TEST(a_restart_goes_on_with_what_fires_and_with_what_was_delivered),
		TEST(the_journal_stays_small_over_many_episodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
