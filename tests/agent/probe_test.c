/* The self-probe with strangers on its listener, over real sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/probe.h"

enum { STRANGERS = 12 /* more than the listener's backlog */ };

static uv_loop_t loop;
static struct probe *probe;

static int begin(void **state)
{
	(void)state;
	return uv_loop_init(&loop) || probe_open(&probe, &loop, 0);
}

static int end(void **state)
{
	(void)state;
	probe_close(probe);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop);
}

static void turn(void)
{
	for (int i = 0; i < 10; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
}

static int call(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(probe_port(probe))};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int caller = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (connect(caller, (struct sockaddr *)&address, sizeof(address)))
		assert_int_equal(errno, EINPROGRESS);
	turn();
	return caller;
}

/* The probe ended this connection; else it is held, or not even accepted. */
static bool is_ended(int caller)
{
	struct pollfd poll_in = {.fd = caller, .events = POLLIN};
	char byte;
	turn();
	return poll(&poll_in, 1, 0) == 1 && recv(caller, &byte, 1, 0) <= 0;
}

static void a_stranger_is_held_until_the_next_probe(void **state)
{
	(void)state;
	int stranger = call();
	assert_false(is_ended(stranger));
	probe_connect(probe);
	assert_true(is_ended(stranger));
	close(stranger);
}

static void strangers_do_not_shut_the_probe_out(void **state)
{
	(void)state;
	int strangers[STRANGERS];
	for (int i = 0; i < STRANGERS; i++)
		strangers[i] = call();
	for (int i = 1; i < STRANGERS; i++)
		assert_true(is_ended(strangers[i])); /* it sits in no backlog */
	for (int i = 0; i < STRANGERS; i++) {
		probe_connect(probe);
		turn();
	}
	int next = call();
	assert_false(is_ended(next));
	close(next);
	for (int i = 0; i < STRANGERS; i++)
		close(strangers[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_stranger_is_held_until_the_next_probe, begin,
						end),
		cmocka_unit_test_setup_teardown(strangers_do_not_shut_the_probe_out, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
