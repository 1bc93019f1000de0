#include "agent/probe.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"

struct probe {
	uv_tcp_t server, accepted, client;
	uv_timer_t timer;
	uv_connect_t connect;
	unsigned open; /* handles of this probe that are not closed */
	bool accepting, connecting;
	uint16_t port;
	char nothing[16];
};

static void on_closed(uv_handle_t *handle)
{
	struct probe *probe = handle->data;
	if (handle == (uv_handle_t *)&probe->accepted)
		probe->accepting = false;
	if (handle == (uv_handle_t *)&probe->client)
		probe->connecting = false;
	if (--probe->open == 0)
		free(probe);
}

static void end(uv_tcp_t *tcp)
{
	if (!uv_is_closing((uv_handle_t *)tcp))
		uv_close((uv_handle_t *)tcp, on_closed);
}

static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
	struct probe *probe = handle->data;
	(void)suggested;
	*buffer = uv_buf_init(probe->nothing, sizeof(probe->nothing));
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
	(void)buffer;
	if (length < 0)
		end((uv_tcp_t *)stream);
}

static void on_turned_away(uv_handle_t *handle)
{
	free(handle);
}

/* libuv hears of no further connection before this one is accepted. */
static void turn_away(uv_stream_t *server)
{
	uv_tcp_t *stranger = memory_zeroed(1, sizeof(*stranger));
	uv_tcp_init(server->loop, stranger);
	uv_accept(server, (uv_stream_t *)stranger);
	uv_close((uv_handle_t *)stranger, on_turned_away);
}

static void on_connection(uv_stream_t *server, int status)
{
	struct probe *probe = server->data;
	if (status < 0)
		return;
	if (probe->accepting) {
		turn_away(server);
		return;
	}
	uv_tcp_init(server->loop, &probe->accepted);
	probe->accepted.data = probe;
	probe->accepting = true;
	probe->open++;
	if (uv_accept(server, (uv_stream_t *)&probe->accepted) ||
	    uv_read_start((uv_stream_t *)&probe->accepted, on_allocate, on_read))
		end(&probe->accepted);
}

static void on_connected(uv_connect_t *connect, int status)
{
	struct probe *probe = connect->data;
	(void)status;
	end(&probe->client);
}

void probe_connect(struct probe *probe)
{
	if (probe->accepting)
		end(&probe->accepted); /* nobody may sit on the listener */
	if (probe->connecting)
		return;
	struct sockaddr_in address;
	uv_ip4_addr("127.0.0.1", probe->port, &address);
	uv_tcp_init(probe->timer.loop, &probe->client);
	probe->client.data = probe;
	probe->connecting = true;
	probe->open++;
	probe->connect.data = probe;
	if (uv_tcp_connect(&probe->connect, &probe->client, (struct sockaddr *)&address,
			   on_connected))
		end(&probe->client);
}

static void on_timer(uv_timer_t *timer)
{
	probe_connect(timer->data);
}

int probe_open(struct probe **out, uv_loop_t *loop, uint64_t period_ms)
{
	struct probe *probe = memory_zeroed(1, sizeof(*probe));
	struct sockaddr_in address;
	int length = sizeof(address);
	probe->server.data = probe->timer.data = probe;
	probe->open = 2;
	uv_tcp_init(loop, &probe->server);
	uv_timer_init(loop, &probe->timer);
	uv_ip4_addr("127.0.0.1", 0, &address);
	int error = uv_tcp_bind(&probe->server, (struct sockaddr *)&address, 0);
	if (!error)
		error = uv_listen((uv_stream_t *)&probe->server, 4, on_connection);
	if (!error)
		error = uv_tcp_getsockname(&probe->server, (struct sockaddr *)&address, &length);
	if (error) {
		probe_close(probe);
		return error;
	}
	probe->port = ntohs(address.sin_port);
	if (period_ms)
		uv_timer_start(&probe->timer, on_timer, period_ms, period_ms);
	*out = probe;
	return 0;
}

uint16_t probe_port(const struct probe *probe)
{
	return probe->port;
}

void probe_close(struct probe *probe)
{
	if (!probe)
		return;
	uv_close((uv_handle_t *)&probe->server, on_closed);
	uv_close((uv_handle_t *)&probe->timer, on_closed);
	if (probe->accepting)
		end(&probe->accepted);
	if (probe->connecting)
		end(&probe->client);
}
