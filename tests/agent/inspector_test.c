/* Descriptions of ECS's containers: Docker's word and the task endpoint's, both from servers of
 * real sockets. */
#include <arpa/inet.h>
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

#include "agent/inspector.h"
#include "base/clock.h"

#define ID "3f4e5d6c7b8a99887766554433221100ffeeddccbbaa99887766554433221100"
#define LABELS                                                                       \
	"\"com.amazonaws.ecs.cluster\":\"arn:aws:ecs:eu-central-1:1:cluster/blue\"," \
	"\"com.amazonaws.ecs.task-definition-family\":\"pay\","                      \
	"\"com.amazonaws.ecs.container-name\":\"api\""
#define TASK "{\"Family\":\"pay\",%s\"Containers\":[{\"DockerId\":\"" ID "\"}]}"

enum { RUN_MS_MAX = 8000, TICK_MS = 20, STEP_S = 1, SILENT_MAX = 64 };

/* Answers each connection's one request by what is asked for. */
struct server {
	int listener;
	pthread_t thread;
	pthread_mutex_t lock;
	const char *environment; /* of the container, as Docker tells; NULL: none */
	const char *task;	 /* the endpoint's answer; NULL: 404; "": none ever */
	char target[256];	 /* that the endpoint was asked for last */
	int asked;
	int stream;			      /* Docker's events; -1: not open */
	int silent[SILENT_MAX], silent_count; /* connections that get no answer */
	char docker[64];
	char endpoint[32];
	int endpoint_listener;
	pthread_t endpoint_thread;
};

static void send_text(int fd, const char *text)
{
	size_t length = strlen(text);
	while (length) {
		ssize_t n = send(fd, text, length, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		text += n;
		length -= (size_t)n;
	}
}

static bool receive(int fd, char *request, size_t size)
{
	size_t length = 0;
	request[0] = 0;
	while (!strstr(request, "\r\n\r\n") && length < size - 1) {
		ssize_t n = recv(fd, request + length, size - 1 - length, 0);
		if (n <= 0)
			return false;
		length += (size_t)n;
		request[length] = 0;
	}
	return true;
}

static void send_body(int fd, const char *body)
{
	char head[128];
	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
		 strlen(body));
	send_text(fd, head);
	send_text(fd, body);
}

static void answer_docker(struct server *server, int fd)
{
	char request[2048], body[2048];
	if (!receive(fd, request, sizeof(request))) {
		close(fd);
		return;
	}
	if (strncmp(request, "GET /events", 11) == 0) {
		send_text(fd, "HTTP/1.1 200 OK\r\n\r\n");
		pthread_mutex_lock(&server->lock);
		if (server->stream >= 0)
			close(server->stream);
		server->stream = fd;
		pthread_mutex_unlock(&server->lock);
		return;
	}
	if (strncmp(request, "GET /containers/json", 20) == 0) {
		send_body(fd,
			  "[{\"Id\":\"" ID
			  "\",\"Names\":[\"/x\"],\"Image\":\"pay:7\",\"Labels\":{" LABELS "}}]");
	} else {
		pthread_mutex_lock(&server->lock);
		snprintf(body, sizeof(body),
			 "{\"Id\":\"" ID "\",\"Name\":\"/x\",\"Config\":{\"Image\":\"pay:7\","
			 "\"Env\":[\"A=b\"%s%s%s],\"Labels\":{" LABELS "}}}",
			 server->environment ? ",\"" : "",
			 server->environment ? server->environment : "",
			 server->environment ? "\"" : "");
		pthread_mutex_unlock(&server->lock);
		send_body(fd, body);
	}
	close(fd);
}

static void answer_task(struct server *server, int fd)
{
	char request[2048];
	if (!receive(fd, request, sizeof(request))) {
		close(fd);
		return;
	}
	pthread_mutex_lock(&server->lock);
	const char *task = server->task;
	snprintf(server->target, sizeof(server->target), "%.*s", (int)strcspn(request, "\r"),
		 request);
	server->asked++;
	pthread_mutex_unlock(&server->lock);
	if (task && !task[0] && server->silent_count < SILENT_MAX) {
		server->silent[server->silent_count++] = fd;
		return;
	}
	if (task)
		send_body(fd, task);
	else
		send_text(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
	close(fd);
}

static void *serve_docker(void *context)
{
	struct server *server = context;
	int fd;
	while ((fd = accept(server->listener, NULL, NULL)) >= 0)
		answer_docker(server, fd);
	return NULL;
}

static void *serve_tasks(void *context)
{
	struct server *server = context;
	int fd;
	while ((fd = accept(server->endpoint_listener, NULL, NULL)) >= 0)
		answer_task(server, fd);
	return NULL;
}

static void server_start(struct server *server)
{
	struct sockaddr_un path = {.sun_family = AF_UNIX};
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	*server = (struct server){.stream = -1, .lock = PTHREAD_MUTEX_INITIALIZER};
	snprintf(server->docker, sizeof(server->docker), "/tmp/millrace-inspector-%d.sock",
		 getpid());
	snprintf(path.sun_path, sizeof(path.sun_path), "%s", server->docker);
	unlink(server->docker);
	server->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_return_code(bind(server->listener, (void *)&path, sizeof(path)), errno);
	assert_return_code(listen(server->listener, 8), errno);
	server->endpoint_listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_return_code(bind(server->endpoint_listener, (void *)&address, sizeof(address)),
			   errno);
	assert_return_code(listen(server->endpoint_listener, 8), errno);
	assert_return_code(getsockname(server->endpoint_listener, (void *)&address, &size), errno);
	snprintf(server->endpoint, sizeof(server->endpoint), "127.0.0.1:%u",
		 ntohs(address.sin_port));
	pthread_create(&server->thread, NULL, serve_docker, server);
	pthread_create(&server->endpoint_thread, NULL, serve_tasks, server);
}

static void endpoint_stop(struct server *server)
{
	if (server->endpoint_listener < 0)
		return;
	shutdown(server->endpoint_listener, SHUT_RDWR);
	pthread_join(server->endpoint_thread, NULL);
	for (int i = 0; i < server->silent_count; i++)
		close(server->silent[i]);
	close(server->endpoint_listener);
	server->endpoint_listener = -1;
}

static void server_stop(struct server *server)
{
	endpoint_stop(server);
	shutdown(server->listener, SHUT_RDWR);
	pthread_join(server->thread, NULL);
	close(server->listener);
	if (server->stream >= 0)
		close(server->stream);
	unlink(server->docker);
}

static void say(struct server *server, const char *environment, const char *task)
{
	pthread_mutex_lock(&server->lock);
	server->environment = environment;
	server->task = task;
	pthread_mutex_unlock(&server->lock);
}

static int asked(struct server *server)
{
	pthread_mutex_lock(&server->lock);
	int times = server->asked;
	pthread_mutex_unlock(&server->lock);
	return times;
}

static void tell_event(struct server *server, const char *event)
{
	pthread_mutex_lock(&server->lock);
	send_text(server->stream, event);
	pthread_mutex_unlock(&server->lock);
}

struct client {
	uv_loop_t loop;
	uv_timer_t tick, limit;
	struct containers *containers;
	struct inspector *inspector;
	uint64_t now_ns;
	int described;
	const char *wanted; /* workload that is waited for */
};

static const char *workload(struct client *client)
{
	const struct description *known = containers_get(client->containers, ID, client->now_ns);
	return known ? description_get(known, DESCRIPTION_WORKLOAD) : "";
}

static void on_described(void *context, const char *id)
{
	struct client *client = context;
	assert_string_equal(id, ID);
	client->described++;
}

/* Time goes fifty times as fast as it does, so that waits pass. */
static void on_tick(uv_timer_t *timer)
{
	struct client *client = timer->data;
	client->now_ns += STEP_S * NS_PER_S;
	inspector_tick(client->inspector, client->now_ns);
	if (client->wanted && strcmp(workload(client), client->wanted) == 0)
		uv_stop(&client->loop);
}

static void on_limit(uv_timer_t *timer)
{
	struct client *client = timer->data;
	fail_msg("not within %d ms: %s", RUN_MS_MAX, client->wanted ? client->wanted : "");
}

static void client_start(struct client *client, const struct server *server, const char *endpoint)
{
	*client = (struct client){.now_ns = NS_PER_S};
	uv_loop_init(&client->loop);
	uv_timer_init(&client->loop, &client->tick);
	uv_timer_init(&client->loop, &client->limit);
	client->tick.data = client->limit.data = client;
	uv_timer_start(&client->tick, on_tick, TICK_MS, TICK_MS);
	client->containers = containers_new(4);
	client->inspector =
		inspector_open(&(struct inspector_options){.loop = &client->loop,
							   .containers = client->containers,
							   .docker_socket = server->docker,
							   .ecs_endpoint = endpoint,
							   .described = on_described,
							   .context = client});
}

static void run_until(struct client *client, const char *wanted)
{
	client->wanted = wanted;
	uv_timer_start(&client->limit, on_limit, RUN_MS_MAX, 0);
	uv_run(&client->loop, UV_RUN_DEFAULT);
	uv_timer_stop(&client->limit);
}

static void on_past(uv_timer_t *timer)
{
	uv_stop(&((struct client *)timer->data)->loop);
}

static void run_for(struct client *client, uint64_t ms)
{
	client->wanted = NULL;
	uv_timer_start(&client->limit, on_past, ms, 0);
	uv_run(&client->loop, UV_RUN_DEFAULT);
	uv_timer_stop(&client->limit);
}

static void client_stop(struct client *client)
{
	inspector_close(client->inspector);
	uv_close((uv_handle_t *)&client->tick, NULL);
	uv_close((uv_handle_t *)&client->limit, NULL);
	uv_run(&client->loop, UV_RUN_DEFAULT);
	assert_return_code(uv_loop_close(&client->loop), 0);
	containers_free(client->containers);
}

static const char environment[] =
	"ECS_CONTAINER_METADATA_URI_V4=http://169.254.170.2/v4/cbbc3a62-ae0f-12";
static char of_a_service[512], of_none[512];

static void an_ecs_container_goes_by_its_service(void **state)
{
	(void)state;
	struct server server;
	struct client client;
	server_start(&server);
	say(&server, environment, of_a_service);
	client_start(&client, &server, server.endpoint);
	run_until(&client, "checkout");
	assert_int_equal(asked(&server), 1);
	assert_string_equal(server.target, "GET /v4/cbbc3a62-ae0f-12/task HTTP/1.1");
	const struct description *known = containers_get(client.containers, ID, client.now_ns);
	assert_string_equal(description_get(known, DESCRIPTION_NAMESPACE), "blue");
	assert_string_equal(description_get(known, DESCRIPTION_NAME), "api");
	assert_false(known->partial);
	assert_int_equal(containers_stats(client.containers).wanted, 0);
	assert_int_equal(inspector_stats(client.inspector).ecs_asked, 1);
	assert_int_equal(inspector_stats(client.inspector).ecs_errors, 0);
	client_stop(&client);
	server_stop(&server);
}

static void a_later_word_of_dockers_leaves_the_service(void **state)
{
	(void)state;
	struct server server;
	struct client client;
	server_start(&server);
	say(&server, environment, of_a_service);
	client_start(&client, &server, server.endpoint);
	run_until(&client, "checkout");
	tell_event(&server,
		   "{\"Type\":\"container\",\"Action\":\"rename\",\"Actor\":{\"ID\":\"" ID
		   "\",\"Attributes\":{\"name\":\"y\",\"image\":\"pay:8\"," LABELS "}}}\n");
	run_for(&client, 200);
	const struct description *known = containers_get(client.containers, ID, client.now_ns);
	assert_string_equal(description_get(known, DESCRIPTION_IMAGE), "pay:8");
	assert_string_equal(description_get(known, DESCRIPTION_WORKLOAD), "checkout");
	assert_int_equal(inspector_stats(client.inspector).ecs_asked, 1);
	client_stop(&client);
	server_stop(&server);
}

static void a_task_of_no_service_goes_by_its_family_and_is_asked_for_once(void **state)
{
	(void)state;
	struct server server;
	struct client client;
	server_start(&server);
	say(&server, environment, of_none);
	client_start(&client, &server, server.endpoint);
	run_for(&client, 400);
	assert_string_equal(workload(&client), "pay");
	assert_int_equal(containers_stats(client.containers).wanted, 0);
	assert_int_equal(inspector_stats(client.inspector).ecs_asked, 1);
	client_stop(&client);
	server_stop(&server);
}

/* The family meanwhile; the service once it is there. */
static void an_endpoint_that_does_not_know_the_task_yet_is_asked_again(void **state)
{
	(void)state;
	struct server server;
	struct client client;
	server_start(&server);
	say(&server, environment, NULL);
	client_start(&client, &server, server.endpoint);
	run_until(&client, "pay");
	run_for(&client, 100);
	assert_true(inspector_stats(client.inspector).ecs_errors > 0);
	assert_int_equal(containers_stats(client.containers).wanted, 1);
	say(&server, environment, of_a_service);
	run_until(&client, "checkout");
	assert_int_equal(containers_stats(client.containers).wanted, 0);
	client_stop(&client);
	server_stop(&server);
}

/* All tries pass while it rests or fails; then it is given up, and goes by its family. */
static void an_endpoint_that_is_not_there_is_given_up(void **state)
{
	(void)state;
	struct server server;
	struct client client;
	server_start(&server);
	say(&server, environment, of_a_service);
	endpoint_stop(&server);
	client_start(&client, &server, server.endpoint);
	run_until(&client, "pay");
	for (int i = 0; i < 40 && !containers_stats(client.containers).given_up; i++)
		run_for(&client, 200);
	assert_int_equal(containers_stats(client.containers).given_up, 1);
	assert_int_equal(containers_stats(client.containers).wanted, 0);
	assert_true(inspector_stats(client.inspector).ecs_errors < CONTAINERS_TRIES);
	assert_string_equal(workload(&client), "pay");
	client_stop(&client);
	server_stop(&server);
}

static void a_silent_endpoint_is_not_waited_for(void **state)
{
	(void)state;
	struct server server;
	struct client client;
	server_start(&server);
	say(&server, environment, "");
	client_start(&client, &server, server.endpoint);
	for (int i = 0; i < 100 && !inspector_stats(client.inspector).ecs_errors; i++)
		run_for(&client, 50);
	assert_int_equal(inspector_stats(client.inspector).ecs_errors, 1);
	assert_string_equal(workload(&client), "pay");
	say(&server, environment, of_a_service);
	run_until(&client, "checkout");
	client_stop(&client);
	server_stop(&server);
}

static void without_an_endpoint_or_its_variable_nobody_is_asked(void **state)
{
	(void)state;
	for (int configured = 0; configured < 2; configured++) {
		struct server server;
		struct client client;
		server_start(&server);
		say(&server, configured ? NULL : environment, of_a_service);
		client_start(&client, &server, configured ? server.endpoint : "");
		run_until(&client, "pay");
		run_for(&client, 200);
		assert_int_equal(asked(&server), 0);
		assert_int_equal(containers_stats(client.containers).wanted, 0);
		assert_int_equal(client.described, 1);
		client_stop(&client);
		server_stop(&server);
	}
}

static void it_may_be_closed_while_the_endpoint_is_asked(void **state)
{
	(void)state;
	struct server server;
	server_start(&server);
	say(&server, environment, "");
	for (int turns = 1; turns < 40; turns += 3) {
		struct client client;
		client_start(&client, &server, server.endpoint);
		for (int i = 0; i < turns; i++)
			uv_run(&client.loop, UV_RUN_ONCE);
		client_stop(&client);
	}
	server_stop(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ecs_container_goes_by_its_service),
		cmocka_unit_test(a_later_word_of_dockers_leaves_the_service),
		cmocka_unit_test(a_task_of_no_service_goes_by_its_family_and_is_asked_for_once),
		cmocka_unit_test(an_endpoint_that_does_not_know_the_task_yet_is_asked_again),
		cmocka_unit_test(an_endpoint_that_is_not_there_is_given_up),
		cmocka_unit_test(a_silent_endpoint_is_not_waited_for),
		cmocka_unit_test(without_an_endpoint_or_its_variable_nobody_is_asked),
		cmocka_unit_test(it_may_be_closed_while_the_endpoint_is_asked),
	};
	snprintf(of_a_service, sizeof(of_a_service), TASK, "\"ServiceName\":\"checkout\",");
	snprintf(of_none, sizeof(of_none), TASK, "");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
