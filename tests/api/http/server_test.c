/* The server on real sockets: limits, last answers, closing. The clients are plain sockets,
 * non-blocking, in the loop's own thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "api/http/server.h"

struct fixture {
	uv_loop_t loop;
	struct server *server;
	unsigned gone;
	bool closed;
};

static void hello(struct request *request, struct response *response, void *context)
{
	(void)request;
	(void)context;
	response_send(response, 200, "text/plain", "hello", 5);
}

static void on_gone(struct response *response, void *context)
{
	(void)response;
	((struct fixture *)context)->gone++;
}

static void never(struct request *request, struct response *response, void *context)
{
	(void)request;
	response_on_gone(response, on_gone, context);
}

static void start(struct fixture *fixture, struct server_options options)
{
	uv_loop_init(&fixture->loop);
	assert_int_equal(server_new(&fixture->loop, &options, &fixture->server), 0);
	assert_int_equal(server_route(fixture->server, "GET", "/", hello, NULL), 0);
	assert_int_equal(server_route(fixture->server, "GET", "/never", never, fixture), 0);
	assert_int_equal(server_listen(fixture->server), 0);
	assert_int_not_equal(server_port(fixture->server), 0);
}

static void on_closed(void *context)
{
	((struct fixture *)context)->closed = true;
}

static void stop(struct fixture *fixture)
{
	server_close(fixture->server, on_closed, fixture);
	uv_run(&fixture->loop, UV_RUN_DEFAULT);
	assert_true(fixture->closed);
	assert_int_equal(uv_loop_close(&fixture->loop), 0);
}

static int dial(const struct fixture *fixture)
{
	struct sockaddr_in name = {.sin_family = AF_INET,
				   .sin_port = htons(server_port(fixture->server)),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

/* Runs the loop until the peer has ended or `part` has come; the text read so far. */
static const char *hear(struct fixture *fixture, int fd, const char *part, bool *ended)
{
	static char text[65536];
	size_t size = 0;
	uint64_t end = uv_hrtime() + 10 * UINT64_C(1000000000);
	*ended = false;
	text[0] = 0;
	while (!*ended && (!part || !strstr(text, part)) && uv_hrtime() < end) {
		uv_run(&fixture->loop, UV_RUN_NOWAIT);
		ssize_t got = read(fd, text + size, sizeof(text) - 1 - size);
		*ended = got == 0 || (got < 0 && errno != EAGAIN);
		size += got > 0 ? (size_t)got : 0;
		text[size] = 0;
	}
	return text;
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static const char get[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

static void connections_beyond_an_address_share_are_closed_and_counted(void **state)
{
	struct fixture fixture = {0};
	bool ended;
	int fds[4];
	(void)state;
	start(&fixture, (struct server_options){.connections_per_address_max = 2});
	for (int i = 0; i < 4; i++)
		fds[i] = dial(&fixture);
	for (int i = 0; i < 4; i++) {
		if (i < 2)
			say(fds[i], get);
		const char *text = hear(&fixture, fds[i], "hello", &ended);
		assert_int_equal(ended, i >= 2);
		assert_int_equal(strstr(text, "hello") != NULL, i < 2);
	}
	assert_int_equal(server_stats(fixture.server).refused_per_address, 2);
	close(fds[0]);
	while (server_stats(fixture.server).connections_open > 1)
		uv_run(&fixture.loop, UV_RUN_ONCE);
	int again = dial(&fixture);
	say(again, get);
	assert_non_null(strstr(hear(&fixture, again, "hello", &ended), "hello"));
	for (int i = 1; i < 4; i++)
		close(fds[i]);
	close(again);
	stop(&fixture);
}

static void connections_beyond_the_whole_are_closed_and_counted(void **state)
{
	struct fixture fixture = {0};
	bool ended;
	(void)state;
	start(&fixture, (struct server_options){.connections_max = 1});
	int first = dial(&fixture), second = dial(&fixture);
	hear(&fixture, second, NULL, &ended);
	assert_true(ended);
	say(first, get);
	assert_non_null(strstr(hear(&fixture, first, "hello", &ended), "hello"));
	assert_int_equal(server_stats(fixture.server).refused_connections_max, 1);
	close(first);
	close(second);
	stop(&fixture);
}

static void a_refusal_reaches_a_client_that_is_still_sending(void **state)
{
	struct fixture fixture = {0};
	bool ended;
	char junk[4096];
	(void)state;
	start(&fixture, (struct server_options){.body_max = 10});
	int fd = dial(&fixture);
	memset(junk, 'x', sizeof(junk));
	say(fd, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
	for (int i = 0; i < 20; i++) {
		assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
		uv_run(&fixture.loop, UV_RUN_NOWAIT);
	}
	assert_non_null(strstr(hear(&fixture, fd, NULL, &ended), "HTTP/1.1 413 "));
	assert_true(ended);
	close(fd);
	stop(&fixture);
}

static void closing_ends_even_what_never_answers(void **state)
{
	struct fixture fixture = {0};
	(void)state;
	start(&fixture, (struct server_options){.drain_timeout_ms = 200});
	int fd = dial(&fixture);
	say(fd, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
	while (!server_stats(fixture.server).streams_open)
		uv_run(&fixture.loop, UV_RUN_ONCE);
	stop(&fixture);
	assert_int_equal(fixture.gone, 1);
	close(fd);
}

static void running_out_of_descriptors_is_survived(void **state)
{
	struct fixture fixture = {0};
	struct rlimit before, small;
	bool ended;
	int fds[64], count = 0;
	(void)state;
	start(&fixture, (struct server_options){0});
	getrlimit(RLIMIT_NOFILE, &before);
	int waiting = dial(&fixture), refused = dial(&fixture);
	uv_run(&fixture.loop, UV_RUN_NOWAIT);
	int late = dial(&fixture);
	small = before;
	small.rlim_cur = (rlim_t)late + 3;
	setrlimit(RLIMIT_NOFILE, &small);
	while (count < 64 && (fds[count] = dup(0)) >= 0)
		count++;
	for (int i = 0; i < 20; i++)
		uv_run(&fixture.loop, UV_RUN_NOWAIT);
	while (count)
		close(fds[--count]);
	setrlimit(RLIMIT_NOFILE, &before);
	say(waiting, get);
	assert_non_null(strstr(hear(&fixture, waiting, "hello", &ended), "hello"));
	int again = dial(&fixture);
	say(again, get);
	assert_non_null(strstr(hear(&fixture, again, "hello", &ended), "hello"));
	close(waiting);
	close(refused);
	close(late);
	close(again);
	stop(&fixture);
}

static void a_certificate_that_does_not_load_is_refused(void **state)
{
	uv_loop_t loop;
	struct server *server;
	(void)state;
	uv_loop_init(&loop);
	assert_int_equal(server_new(&loop,
				    &(struct server_options){.certificate_file = "/nonexistent",
							     .key_file = "/nonexistent"},
				    &server),
			 -EINVAL);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connections_beyond_an_address_share_are_closed_and_counted),
		cmocka_unit_test(connections_beyond_the_whole_are_closed_and_counted),
		cmocka_unit_test(a_refusal_reaches_a_client_that_is_still_sending),
		cmocka_unit_test(closing_ends_even_what_never_answers),
		cmocka_unit_test(running_out_of_descriptors_is_survived),
		cmocka_unit_test(a_certificate_that_does_not_load_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
