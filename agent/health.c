#include "agent/health.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/hostport.h"
#include "base/memory.h"

enum {
	CONNECTIONS_MAX = 16, /* two scrapers, a kubelet and an operator */
	REQUEST_BYTES = 4096,
	TIMEOUT_MS = 5000,
};

struct health {
	struct health_options options;
	uv_tcp_t server;
	struct connection *connections; /* open ones */
	unsigned count;
	bool closed; /* the server is; connections may still be closing */
};

struct connection {
	uv_tcp_t tcp;
	uv_timer_t timer;
	uv_write_t write;
	struct health *health;
	struct connection *before, *after;
	unsigned handles; /* not yet closed */
	size_t length;
	char request[REQUEST_BYTES];
	char *answer;
};

static void release(struct health *health)
{
	if (health->closed && !health->count)
		free(health);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct connection *connection = handle->data;
	if (--connection->handles)
		return;
	struct health *health = connection->health;
	health->count--;
	free(connection->answer);
	free(connection);
	release(health);
}

static void connection_close(struct connection *connection)
{
	if (uv_is_closing((uv_handle_t *)&connection->tcp))
		return;
	if (connection->before)
		connection->before->after = connection->after;
	else
		connection->health->connections = connection->after;
	if (connection->after)
		connection->after->before = connection->before;
	uv_close((uv_handle_t *)&connection->tcp, on_handle_closed);
	uv_close((uv_handle_t *)&connection->timer, on_handle_closed);
}

static void on_timeout(uv_timer_t *timer)
{
	connection_close(timer->data);
}

static void on_written(uv_write_t *write, int status)
{
	(void)status;
	connection_close(write->data);
}

static const char *reason(int status)
{
	return status == 200   ? "OK"
	       : status == 404 ? "Not Found"
	       : status == 405 ? "Method Not Allowed"
	       : status == 400 ? "Bad Request"
			       : "Service Unavailable";
}

static void answer(struct connection *connection, int status, const char *body, size_t body_length)
{
	size_t size = body_length + 256;
	connection->answer = memory_zeroed(size, 1);
	int head = snprintf(
		connection->answer, size,
		"HTTP/1.1 %d %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
		"Content-Length: %zu\r\nConnection: close\r\n\r\n",
		status, reason(status), body_length);
	memcpy(connection->answer + head, body, body_length);
	uv_buf_t buffer = uv_buf_init(connection->answer, (unsigned)((size_t)head + body_length));
	connection->write.data = connection;
	if (uv_write(&connection->write, (uv_stream_t *)&connection->tcp, &buffer, 1, on_written))
		connection_close(connection);
}

/* "GET /path?query HTTP/1.1": the rest of the request means nothing here. */
static void take_request(struct connection *connection)
{
	char *line = connection->request;
	char *end = strstr(line, "\r\n");
	uv_read_stop((uv_stream_t *)&connection->tcp);
	*end = 0;
	char *path = strchr(line, ' ');
	char *version = path ? strchr(path + 1, ' ') : NULL;
	if (!version || strncmp(version, " HTTP/1.", 8) != 0) {
		answer(connection, 400, "", 0);
		return;
	}
	*path++ = 0;
	*version = 0;
	path[strcspn(path, "?")] = 0;
	if (strcmp(line, "GET") != 0) {
		answer(connection, 405, "", 0);
		return;
	}
	char *body = NULL;
	size_t body_length = 0;
	FILE *file = open_memstream(&body, &body_length);
	if (!file) {
		connection_close(connection);
		return;
	}
	struct health_options *options = &connection->health->options;
	int status = options->answer(options->context, path, file);
	if (fclose(file) == 0)
		answer(connection, status, body, body_length);
	else
		connection_close(connection);
	free(body);
}

static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
	struct connection *connection = handle->data;
	(void)suggested;
	/* the last byte stays 0, so that the request is a string */
	*buffer = uv_buf_init(connection->request + connection->length,
			      (unsigned)(REQUEST_BYTES - 1 - connection->length));
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
	struct connection *connection = stream->data;
	(void)buffer;
	if (length < 0) {
		connection_close(connection);
		return;
	}
	connection->length += (size_t)length;
	if (strstr(connection->request, "\r\n\r\n"))
		take_request(connection);
	else if (connection->length == REQUEST_BYTES - 1)
		connection_close(connection);
}

static void on_connection(uv_stream_t *server, int status)
{
	struct health *health = server->data;
	if (status < 0)
		return;
	struct connection *connection = memory_zeroed(1, sizeof(*connection));
	connection->health = health;
	connection->handles = 2;
	connection->tcp.data = connection->timer.data = connection;
	uv_tcp_init(health->options.loop, &connection->tcp);
	uv_timer_init(health->options.loop, &connection->timer);
	connection->after = health->connections;
	if (connection->after)
		connection->after->before = connection;
	health->connections = connection;
	health->count++;
	if (uv_accept(server, (uv_stream_t *)&connection->tcp) || health->count > CONNECTIONS_MAX ||
	    uv_read_start((uv_stream_t *)&connection->tcp, on_allocate, on_read)) {
		connection_close(connection);
		return;
	}
	uv_timer_start(&connection->timer, on_timeout, TIMEOUT_MS, 0);
}

static void on_server_closed(uv_handle_t *handle)
{
	struct health *health = handle->data;
	health->closed = true;
	release(health);
}

int health_open(struct health **out, const struct health_options *options)
{
	struct sockaddr_storage address;
	int error = hostport_parse(options->listen, &address);
	if (error)
		return error;
	struct health *health = memory_zeroed(1, sizeof(*health));
	health->options = *options;
	health->server.data = health;
	uv_tcp_init(options->loop, &health->server);
	error = uv_tcp_bind(&health->server, (struct sockaddr *)&address, 0);
	if (!error)
		error = uv_listen((uv_stream_t *)&health->server, CONNECTIONS_MAX, on_connection);
	if (error) {
		health_close(health);
		return error;
	}
	*out = health;
	return 0;
}

void health_close(struct health *health)
{
	if (!health)
		return;
	while (health->connections)
		connection_close(health->connections);
	uv_close((uv_handle_t *)&health->server, on_server_closed);
}
