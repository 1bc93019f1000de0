/* Over a real server: who waits, who left, who waited too long. */
#include "daemon/waiting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/http/server.h"
#include "base/memory.h"

static const char get[] = "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n";

struct fixture {
	uv_loop_t loop;
	struct server *server;
	struct waiting waiting;
	uint64_t issued_ns; /* the last */
};

static void serve(struct request *request, struct response *response, void *context)
{
	struct fixture *fixture = context;
	(void)request;
	waiting_add(&fixture->waiting, response, ++fixture->issued_ns, memory_zeroed(1, 8));
}

static void start(struct fixture *fixture)
{
	const struct server_options options = {.drain_timeout_ms = 100};
	*fixture = (struct fixture){0};
	uv_loop_init(&fixture->loop);
	waiting_init(&fixture->waiting, &fixture->loop, "it is late");
	assert_int_equal(server_new(&fixture->loop, &options, &fixture->server), 0);
	assert_int_equal(server_route(fixture->server, "GET", "/wait", serve, fixture), 0);
	assert_int_equal(server_listen(fixture->server), 0);
}

static void stop(struct fixture *fixture)
{
	server_close(fixture->server, NULL, NULL);
	waiting_close(&fixture->waiting);
	uv_run(&fixture->loop, UV_RUN_DEFAULT);
	waiting_done(&fixture->waiting);
	assert_int_equal(uv_loop_close(&fixture->loop), 0);
}

static size_t count_of(struct fixture *fixture)
{
	size_t count = 0;
	struct waiter *waiter = NULL;
	while ((waiter = waiting_next(&fixture->waiting, waiter)))
		count++;
	return count;
}

static void run_until(struct fixture *fixture, size_t count)
{
	uint64_t end = uv_hrtime() + 10 * UINT64_C(1000000000);
	while (count_of(fixture) != count && uv_hrtime() < end)
		uv_run(&fixture->loop, UV_RUN_NOWAIT);
	assert_int_equal(count_of(fixture), count);
}

static int ask(const struct fixture *fixture)
{
	struct sockaddr_in name = {.sin_family = AF_INET,
				   .sin_port = htons(server_port(fixture->server)),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(write(fd, get, strlen(get)), strlen(get));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void hear(struct fixture *fixture, int fd, const char *part)
{
	char text[4096] = "";
	size_t size = 0;
	uint64_t end = uv_hrtime() + 10 * UINT64_C(1000000000);
	while (!strstr(text, part) && uv_hrtime() < end) {
		uv_run(&fixture->loop, UV_RUN_NOWAIT);
		ssize_t got = read(fd, text + size, sizeof(text) - 1 - size);
		size += got > 0 ? (size_t)got : 0;
		text[size] = 0;
	}
	assert_non_null(strstr(text, part));
	close(fd);
}

static void each_is_answered_by_who_finds_it(void **state)
{
	struct fixture fixture;
	(void)state;
	start(&fixture);
	int first = ask(&fixture);
	run_until(&fixture, 1);
	int second = ask(&fixture);
	run_until(&fixture, 2);
	struct waiter *waiter =
		waiting_next(&fixture.waiting, waiting_next(&fixture.waiting, NULL));
	struct response *response = waiter->response;
	assert_int_equal(waiter->issued_ns, 2);
	assert_null(waiting_next(&fixture.waiting, waiter));
	free(waiting_end(waiter));
	response_send(response, 200, "text/plain", "back", 4);
	hear(&fixture, second, "back");
	assert_int_equal(waiting_next(&fixture.waiting, NULL)->issued_ns, 1);
	assert_int_equal(count_of(&fixture), 1);
	close(first);
	run_until(&fixture, 0);
	stop(&fixture);
}

static void more_than_can_wait_are_refused_until_one_leaves(void **state)
{
	struct fixture fixture;
	int fds[WAITING_MAX];
	(void)state;
	start(&fixture);
	for (size_t i = 0; i < WAITING_MAX; i++)
		fds[i] = ask(&fixture);
	run_until(&fixture, WAITING_MAX);
	hear(&fixture, ask(&fixture), "HTTP/1.1 503");
	close(fds[3]);
	run_until(&fixture, WAITING_MAX - 1);
	fds[3] = ask(&fixture);
	run_until(&fixture, WAITING_MAX);
	stop(&fixture);
	for (size_t i = 0; i < WAITING_MAX; i++)
		close(fds[i]);
}

static void who_waits_too_long_is_told_so(void **state)
{
	struct fixture fixture;
	(void)state;
	start(&fixture);
	int first = ask(&fixture);
	run_until(&fixture, 1);
	int second = ask(&fixture);
	run_until(&fixture, 2);
	waiting_next(&fixture.waiting, NULL)->until_ns = 0;
	hear(&fixture, first, "HTTP/1.1 504");
	assert_int_equal(waiting_next(&fixture.waiting, NULL)->issued_ns, 2);
	close(second);
	stop(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_is_answered_by_who_finds_it),
		cmocka_unit_test(more_than_can_wait_are_refused_until_one_leaves),
		cmocka_unit_test(who_waits_too_long_is_told_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
