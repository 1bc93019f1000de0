#include "daemon/watchdog.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define HANG_NS (3 * WATCHDOG_LOOK_NS)

static void wait_ns(uint64_t ns)
{
	const struct timespec time = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};

	nanosleep(&time, NULL);
}

static void hang(void)
{
	watchdog_begin();
	wait_ns(20 * HANG_NS);
}

static void get_on_slowly(void)
{
	watchdog_begin();
	for (int i = 0; i < 30; i++) {
		wait_ns(WATCHDOG_LOOK_NS / 3);
		watchdog_beat();
	}
	watchdog_end();
}

static void wait_between_turns(void)
{
	watchdog_begin();
	watchdog_end();
	wait_ns(4 * HANG_NS);
}

static void stand_still(void)
{
	watchdog_begin();
	raise(SIGSTOP); /* the whole process */
	watchdog_end();
}

/* How a process ends whose first of two threads does this: 0 or a signal. */
static int end_of(void (*work)(void), uint64_t hang_ns, uint64_t stopped_ns)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		const struct rlimit none = {0, 0};
		struct watchdog *watchdog = watchdog_new(2, hang_ns);

		setrlimit(RLIMIT_CORE, &none);
		if (!freopen("/dev/null", "w", stderr))
			_exit(2);
		watchdog_join(watchdog, 0);
		work();
		watchdog_free(watchdog);
		_exit(0);
	}
	if (stopped_ns) {
		assert_int_equal(waitpid(child, &status, WUNTRACED), child);
		assert_true(WIFSTOPPED(status));
		wait_ns(stopped_ns);
		kill(child, SIGCONT);
	}
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static void a_thread_that_does_not_get_on_ends_the_process(void **state)
{
	(void)state;
	assert_int_equal(end_of(hang, HANG_NS, 0), SIGABRT);
}

static void nothing_is_ended_where_that_is_configured(void **state)
{
	(void)state;
	assert_int_equal(end_of(hang, 0, 0), 0);
}

static void a_turn_that_is_long_but_gets_on_is_none(void **state)
{
	(void)state;
	assert_int_equal(end_of(get_on_slowly, HANG_NS, 0), 0);
}

static void a_thread_that_has_nothing_to_do_is_none(void **state)
{
	(void)state;
	assert_int_equal(end_of(wait_between_turns, HANG_NS, 0), 0);
}

static void a_process_that_was_stopped_is_none(void **state)
{
	(void)state;
	assert_int_equal(end_of(stand_still, HANG_NS, 4 * HANG_NS), 0);
}

static void long_turns_are_counted(void **state)
{
	struct watchdog *watchdog = watchdog_new(1, 0);
	struct watchdog_stats stats;

	(void)state;
	watchdog_join(watchdog, 0);
	watchdog_begin();
	watchdog_end();
	assert_int_equal(watchdog_stats(watchdog).turns, 0);
	watchdog_begin();
	wait_ns(WATCHDOG_STALL_NS + NS_PER_MS);
	watchdog_end();
	stats = watchdog_stats(watchdog);
	assert_int_equal(stats.turns, 1);
	assert_true(stats.longest_s > 0.1);
	watchdog_free(watchdog);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thread_that_does_not_get_on_ends_the_process),
		cmocka_unit_test(nothing_is_ended_where_that_is_configured),
		cmocka_unit_test(a_turn_that_is_long_but_gets_on_is_none),
		cmocka_unit_test(a_thread_that_has_nothing_to_do_is_none),
		cmocka_unit_test(a_process_that_was_stopped_is_none),
		cmocka_unit_test(long_turns_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
