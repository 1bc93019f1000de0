#include "api/http/server.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <uv.h>

#include "api/http/connection.h"
#include "api/http/site.h"
#include "api/http/tls.h"
#include "base/memory.h"

enum { TICK_MS = 50 }; /* timeouts are late by this at most, gRPC deadlines included */

struct server {
	struct site site;
	struct connections connections;
	uv_tcp_t listener;
	uv_timer_t tick;
	uv_prepare_t prepare; /* flushes before the loop sleeps */
	uv_idle_t idle;	      /* keeps it from sleeping while output is left */
	unsigned handles;     /* open, of the four above */
	uint64_t closing_since_ms;
	time_t date_s;
	bool closing;
	void (*closed)(void *context);
	void *closed_context;
};

static void set_time(struct server *server)
{
	struct site *site = &server->site;
	time_t now_s = time(NULL);
	struct tm parts;
	site->now_ms = uv_now(server->connections.loop);
	if (now_s == server->date_s)
		return;
	server->date_s = now_s;
	gmtime_r(&now_s, &parts);
	strftime(site->date, sizeof(site->date), "%a, %d %b %Y %H:%M:%S GMT", &parts);
}

static void on_tick(uv_timer_t *timer)
{
	struct server *server = timer->data;
	set_time(server);
	connections_tick(&server->connections);
	if (server->closing &&
	    server->site.now_ms - server->closing_since_ms > server->site.options.drain_timeout_ms)
		connections_close(&server->connections);
}

static void on_idle(uv_idle_t *idle)
{
	(void)idle;
}

static void on_prepare(uv_prepare_t *prepare)
{
	struct server *server = prepare->data;
	set_time(server);
	connections_flush(&server->connections);
	if (server->connections.marked)
		uv_idle_start(&server->idle, on_idle);
	else
		uv_idle_stop(&server->idle);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct server *server = listener->data;
	set_time(server);
	/* Out of descriptors libuv has dropped the caller by its reserved one (O-23). */
	if (status < 0)
		server->site.stats.accept_errors++;
	else
		connections_accept(&server->connections, listener);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct server *server = handle->data;
	if (--server->handles)
		return;
	void (*closed)(void *) = server->closed;
	void *context = server->closed_context;
	tls_context_free(server->connections.tls);
	site_done(&server->site);
	free(server);
	if (closed)
		closed(context);
}

static void close_handles(void *context)
{
	struct server *server = context;
	if (!server->closing)
		return;
	server->connections.emptied = NULL;
	uv_close((uv_handle_t *)&server->tick, on_handle_closed);
	uv_close((uv_handle_t *)&server->prepare, on_handle_closed);
	uv_close((uv_handle_t *)&server->idle, on_handle_closed);
}

static uint64_t random_start(void)
{
	uint64_t start = 0;
	if (getrandom(&start, sizeof(start), 0) != sizeof(start))
		start = (uint64_t)time(NULL) << 32;
	return start;
}

int server_new(struct uv_loop_s *loop, const struct server_options *options, struct server **out)
{
	struct ssl_ctx_st *tls = NULL;
	if (options->certificate_file) {
		int error = tls_context_new(options->certificate_file, options->key_file,
					    options->client_ca_file, &tls);
		if (error)
			return error;
	}
	struct server *server = memory_zeroed(1, sizeof(*server));
	site_init(&server->site, options, random_start());
	server->connections.loop = loop;
	server->connections.site = &server->site;
	server->connections.tls = tls;
	server->connections.emptied = close_handles;
	server->connections.context = server;
	uv_tcp_init(loop, &server->listener);
	uv_timer_init(loop, &server->tick);
	uv_prepare_init(loop, &server->prepare);
	uv_idle_init(loop, &server->idle);
	server->handles = 4;
	server->listener.data = server->tick.data = server;
	server->prepare.data = server->idle.data = server;
	set_time(server);
	*out = server;
	return 0;
}

int server_route(struct server *server, const char *method, const char *path, handler handle,
		 void *context)
{
	return routes_add(&server->site.routes, &(struct route){.method = method,
								.path = path,
								.handler = handle,
								.context = context});
}

/* "/package.Service/Method" makes "package.Service" known to health. */
static int register_service(struct server *server, const char *path)
{
	char name[HEALTH_NAME_MAX + 1];
	size_t size = strcspn(path + 1, "/");
	if (*path != '/' || size > HEALTH_NAME_MAX)
		return -EINVAL;
	memcpy(name, path + 1, size);
	name[size] = 0;
	return grpc_health_set(&server->site.health, name, true) ? 0 : -ENOSPC;
}

int server_grpc(struct server *server, const char *path, handler handle, void *context)
{
	int error = register_service(server, path);
	return error ? error : server_route(server, "GRPC", path, handle, context);
}

void server_health(struct server *server, const char *service, bool serving)
{
	if (server->closing)
		return;
	bool known = grpc_health_set(&server->site.health, service, serving);
	assert(known);
}

static int parse_host(const char *host, uint16_t port, struct sockaddr_storage *name)
{
	if (!uv_ip4_addr(host, port, (struct sockaddr_in *)name))
		return 0;
	return uv_ip6_addr(host, port, (struct sockaddr_in6 *)name);
}

int server_listen(struct server *server)
{
	const struct server_options *options = &server->site.options;
	struct sockaddr_storage name;
	int error = parse_host(options->host, options->port, &name);
	if (!error)
		error = uv_tcp_bind(&server->listener, (struct sockaddr *)&name, 0);
	if (!error)
		error = uv_listen((uv_stream_t *)&server->listener, options->backlog,
				  on_connection);
	if (error)
		return error;
	uv_timer_start(&server->tick, on_tick, TICK_MS, TICK_MS);
	uv_prepare_start(&server->prepare, on_prepare);
	return 0;
}

uint16_t server_port(const struct server *server)
{
	struct sockaddr_storage name = {0};
	int size = sizeof(name);
	if (uv_tcp_getsockname(&server->listener, (struct sockaddr *)&name, &size))
		return 0;
	/* The port stands at the same place in both families. */
	return ntohs(((struct sockaddr_in *)&name)->sin_port);
}

int server_reload_certificate(struct server *server)
{
	const struct server_options *options = &server->site.options;
	struct ssl_ctx_st *tls;
	if (!options->certificate_file)
		return -EINVAL;
	int error = tls_context_new(options->certificate_file, options->key_file,
				    options->client_ca_file, &tls);
	if (error)
		return error;
	tls_context_free(server->connections.tls);
	server->connections.tls = tls;
	return 0;
}

void server_close(struct server *server, void (*closed)(void *context), void *context)
{
	assert(!server->closing);
	server->closing = true;
	server->closed = closed;
	server->closed_context = context;
	server->closing_since_ms = uv_now(server->connections.loop);
	uv_close((uv_handle_t *)&server->listener, on_handle_closed);
	grpc_health_stop(&server->site.health);
	connections_drain(&server->connections);
	if (!server->connections.first)
		close_handles(server);
}

struct server_stats server_stats(const struct server *server)
{
	return server->site.stats;
}
