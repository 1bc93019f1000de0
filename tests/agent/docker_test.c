/* The client of Docker's API against a server of real sockets that answers well, badly, slowly and
 * not at all. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/docker.h"

#define ID(digit)                                                                                 \
	digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit \
		digit
#define ID_A ID("aaaa")
#define ID_B ID("bbbb")
#define ID_C ID("cccc")

enum { EVENT_TOO_LONG = 70000, RUN_MS_MAX = 8000 };

struct server {
	int listener;
	char path[64];
	pthread_t thread;
	int streams;	     /* opened so far */
	int stream;	     /* the one that is open */
	const char *inspect; /* the answer; NULL: none ever */
	int many;	     /* listed beside the one */
};

static void send_all(int fd, const char *bytes, size_t length)
{
	while (length) {
		ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		bytes += n;
		length -= (size_t)n;
	}
}

static void send_text(int fd, const char *text)
{
	send_all(fd, text, strlen(text));
}

/* A chunk of a chunked body, sent in two pieces. */
static void send_chunk(int fd, const char *text)
{
	char head[32];
	size_t length = strlen(text), half = length / 2;
	snprintf(head, sizeof(head), "%zx\r\n", length);
	send_text(fd, head);
	send_all(fd, text, half);
	usleep(2000);
	send_text(fd, text + half);
	send_text(fd, "\r\n");
}

#define EVENT(action, id, name)                                                     \
	"{\"Type\":\"container\",\"Action\":\"" action "\",\"Actor\":{\"ID\":\"" id \
	"\",\"Attributes\":{\"name\":\"" name "\",\"image\":\"i\"}}}\n"

static void stream(struct server *server, int fd)
{
	send_text(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	if (server->streams++) { /* the second stays open and silent */
		server->stream = fd;
		return;
	}
	char *long_line = malloc(EVENT_TOO_LONG + 2);
	memset(long_line, 'x', EVENT_TOO_LONG);
	memcpy(long_line + EVENT_TOO_LONG, "\n", 2);
	send_chunk(fd, EVENT("start", ID_A, "first"));
	send_chunk(fd, long_line);
	send_chunk(fd, "{malformed\n" EVENT("rename", ID_A, "second") "\n");
	usleep(200000); /* the list is answered before the stream breaks */
	free(long_line);
	close(fd);
}

static void answer(struct server *server, int fd)
{
	char request[2048] = "";
	size_t length = 0;
	while (!strstr(request, "\r\n\r\n") && length < sizeof(request) - 1) {
		ssize_t n = recv(fd, request + length, sizeof(request) - 1 - length, 0);
		if (n <= 0)
			break;
		length += (size_t)n;
	}
	if (strncmp(request, "GET /events", 11) == 0) {
		stream(server, fd);
		return;
	}
	if (strncmp(request, "GET /containers/json", 20) == 0) {
		char entry[160];
		send_text(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[");
		for (int i = 0; i < server->many; i++) {
			snprintf(entry, sizeof(entry), "{\"Id\":\"%064x\",\"Names\":[\"/many\"]},",
				 i);
			send_text(fd, entry);
		}
		send_text(fd, "{\"Id\":\"" ID_B "\",\"Names\":[\"/listed\"]}]");
	} else if (server->inspect) {
		send_text(fd, server->inspect);
	} else {
		usleep(2500000); /* longer than the client waits */
	}
	close(fd);
}

struct request {
	struct server *server;
	int fd;
};

static void *answer_one(void *context)
{
	struct request *request = context;
	answer(request->server, request->fd);
	free(request);
	return NULL;
}

static void *serve(void *context)
{
	struct server *server = context;
	int fd;
	while ((fd = accept(server->listener, NULL, NULL)) >= 0) {
		struct request *request = malloc(sizeof(*request));
		pthread_t thread;
		*request = (struct request){server, fd};
		pthread_create(&thread, NULL, answer_one, request);
		pthread_detach(thread);
	}
	return NULL;
}

static void server_start(struct server *server)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	*server = (struct server){.stream = -1};
	snprintf(server->path, sizeof(server->path), "/tmp/millrace-docker-%d.sock", getpid());
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", server->path);
	unlink(server->path);
	server->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_return_code(bind(server->listener, (void *)&address, sizeof(address)), errno);
	assert_return_code(listen(server->listener, 8), errno);
	pthread_create(&server->thread, NULL, serve, server);
}

static void server_stop(struct server *server)
{
	shutdown(server->listener, SHUT_RDWR);
	pthread_join(server->thread, NULL);
	close(server->listener);
	if (server->stream >= 0)
		close(server->stream);
	unlink(server->path);
}

struct client {
	uv_loop_t loop;
	struct docker *docker;
	int told, lists, answers, known;
	int many, turns, many_turns; /* of the loop; in which many were told of */
	char names[8][32];
	int stop_after_lists, stop_after_answers;
};

static void on_told(void *context, const struct description *description)
{
	struct client *client = context;
	if (strcmp(description_get(description, DESCRIPTION_NAME), "many") == 0) {
		static int last_turn;
		client->many_turns += !client->many++ || client->turns != last_turn;
		last_turn = client->turns;
		return;
	}
	assert_true(client->told < 8);
	snprintf(client->names[client->told++], sizeof(client->names[0]), "%s",
		 description_get(description, DESCRIPTION_NAME));
}

static void stop(struct client *client)
{
	uv_stop(&client->loop);
}

static void on_connected(void *context)
{
	struct client *client = context;
	if (++client->lists == client->stop_after_lists)
		stop(client);
}

static void on_answered(void *context, bool known)
{
	struct client *client = context;
	client->known += known;
	if (++client->answers == client->stop_after_answers)
		stop(client);
}

static void on_limit(uv_timer_t *timer)
{
	(void)timer;
	fail_msg("not within %d ms", RUN_MS_MAX);
}

static void run(struct client *client)
{
	uv_timer_t limit;
	uv_timer_init(&client->loop, &limit);
	uv_timer_start(&limit, on_limit, RUN_MS_MAX, 0);
	uv_run(&client->loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&limit, NULL);
	uv_run(&client->loop, UV_RUN_NOWAIT);
}

static void client_start(struct client *client, const char *socket)
{
	*client = (struct client){0};
	uv_loop_init(&client->loop);
	client->docker = docker_open(&(struct docker_options){.loop = &client->loop,
							      .socket = socket,
							      .told = on_told,
							      .connected = on_connected,
							      .context = client});
}

static void client_stop(struct client *client)
{
	docker_close(client->docker);
	uv_run(&client->loop, UV_RUN_DEFAULT);
	assert_return_code(uv_loop_close(&client->loop), 0);
}

static bool was_told(const struct client *client, const char *name)
{
	for (int i = 0; i < client->told; i++)
		if (strcmp(client->names[i], name) == 0)
			return true;
	return false;
}

static void a_stream_in_pieces_is_read_bad_lines_are_left_out_and_its_end_is_mended(void **state)
{
	(void)state;
	struct server server;
	struct client client;
	server_start(&server);
	client_start(&client, server.path);
	client.stop_after_lists = 2; /* again after the stream broke */
	run(&client);
	assert_true(was_told(&client, "first") && was_told(&client, "second"));
	assert_true(was_told(&client, "listed"));
	struct docker_stats stats = docker_stats(client.docker);
	assert_true(stats.connected);
	assert_int_equal(stats.connects, 2);
	assert_int_equal(stats.events, 3); /* the malformed one with them */
	assert_int_equal(stats.errors, 2); /* the long line, the end */
	client_stop(&client);
	server_stop(&server);
}

static void on_turn(uv_prepare_t *prepare)
{
	((struct client *)prepare->data)->turns++;
}

/* A node's 400 containers, some a turn. */
static void a_long_list_lets_the_loop_go_on(void **state)
{
	enum { MANY = 400 };
	(void)state;
	struct server server;
	struct client client;
	uv_prepare_t prepare;
	server_start(&server);
	server.streams = 1; /* it stays open */
	server.many = MANY;
	client_start(&client, server.path);
	uv_prepare_init(&client.loop, &prepare);
	prepare.data = &client;
	uv_prepare_start(&prepare, on_turn);
	client.stop_after_lists = 1;
	run(&client);
	assert_int_equal(client.many, MANY);
	assert_true(was_told(&client, "listed"));
	assert_true(client.many_turns > MANY / 32);
	uv_close((uv_handle_t *)&prepare, NULL);
	client_stop(&client);
	server_stop(&server);
}

/* Whether its list is still being read, or told. */
static void a_client_may_be_closed_at_any_time(void **state)
{
	(void)state;
	struct server server;
	server_start(&server);
	server.streams = 1;
	server.many = 2000;
	for (int turns = 1; turns < 200; turns += 7) {
		struct client client;
		client_start(&client, server.path);
		for (int i = 0; i < turns; i++)
			uv_run(&client.loop, UV_RUN_NOWAIT);
		client_stop(&client);
	}
	server_stop(&server);
}

static void whoever_answers_badly_or_not_at_all_is_not_waited_for(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{\"Id\"",
		"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"Id\"",
		"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n",
		"SSH-2.0-x\r\n\r\n",
		"",
		NULL, /* silence */
		"HTTP/1.1 200 OK\r\n\r\n{\"Id\":\"" ID_C "\",\"Name\":\"/c\",\"Config\":{}}",
	};
	enum { COUNT = sizeof(answers) / sizeof(answers[0]) };
	(void)state;
	struct server server;
	struct client client;
	server_start(&server);
	client_start(&client, server.path);
	for (int i = 0; i < COUNT; i++) {
		server.inspect = answers[i];
		client.stop_after_answers = i + 1;
		docker_inspect(client.docker, ID_C, on_answered);
		run(&client);
		assert_int_equal(client.known, i == COUNT - 1);
	}
	assert_true(was_told(&client, "c"));
	assert_true(docker_stats(client.docker).errors >= COUNT - 2); /* 404 is an answer */
	client_stop(&client);
	server_stop(&server);
}

static void a_daemon_that_is_not_there_is_no_error(void **state)
{
	(void)state;
	struct client client;
	client_start(&client, "/nonexistent/docker.sock");
	uv_run(&client.loop, UV_RUN_ONCE);
	uv_run(&client.loop, UV_RUN_NOWAIT);
	assert_false(docker_connected(client.docker));
	assert_int_equal(docker_stats(client.docker).errors, 0);
	client_stop(&client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_stream_in_pieces_is_read_bad_lines_are_left_out_and_its_end_is_mended),
		cmocka_unit_test(a_long_list_lets_the_loop_go_on),
		cmocka_unit_test(a_client_may_be_closed_at_any_time),
		cmocka_unit_test(whoever_answers_badly_or_not_at_all_is_not_waited_for),
		cmocka_unit_test(a_daemon_that_is_not_there_is_no_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
