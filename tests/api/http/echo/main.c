/*
 * A server that answers what it is asked, for independent clients (grpc_test.py, curl_test.py).
 * Prints its port, then serves until SIGTERM. Arguments: [certificate key].
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "api/http/json.h"
#include "api/http/server.h"

extern const uint8_t mr_descriptors[], mr_descriptors_end[];

static struct server *server;
static unsigned gone_count;

static void echo(struct request *request, struct response *response, void *context)
{
	struct json json;
	size_t size;
	const char *key, *value;
	(void)context;
	json_init(&json);
	json_object_begin(&json);
	json_key(&json, "method");
	json_string(&json, request->method);
	json_key(&json, "path");
	json_string(&json, request->path);
	json_key(&json, "rest");
	json_string(&json, request->rest);
	json_key(&json, "peer");
	json_string(&json, request->peer);
	json_key(&json, "secure");
	json_bool(&json, request->secure);
	json_key(&json, "host");
	json_string(&json, request_header(request, "host"));
	json_key(&json, "parameters");
	json_array_begin(&json);
	for (size_t i = 0; request_parameter_at(request, i, &key, &value); i++) {
		json_array_begin(&json);
		json_string(&json, key);
		json_string(&json, value);
		json_array_end(&json);
	}
	json_array_end(&json);
	json_key(&json, "body");
	json_string_n(&json, request->body, request->body_size);
	json_object_end(&json);
	const char *text = json_text(&json, &size);
	response_send(response, 200, "application/json", text, size);
	json_done(&json);
}

static void page(struct request *request, struct response *response, void *context)
{
	static const char html[] = "<!doctype html><title>echo</title>";
	const struct asset asset = {.body = html,
				    .size = sizeof(html) - 1,
				    .content_type = "text/html; charset=utf-8",
				    .etag = "\"e1\""};
	(void)context;
	response_asset(response, request, &asset);
}

/* Produces `left` pieces as the client takes them. */
struct producer {
	struct response *response;
	uv_timer_t timer;
	unsigned left;
	bool grpc, events;
	bool rude; /* does not wait for the client */
};

static void producer_free(uv_handle_t *timer)
{
	free(timer->data);
}

static void producer_gone(struct response *response, void *context)
{
	struct producer *producer = context;
	(void)response;
	gone_count++;
	uv_close((uv_handle_t *)&producer->timer, producer_free);
}

static bool produce_one(struct producer *producer)
{
	static uint8_t piece[4096];
	if (producer->grpc)
		return response_message(producer->response, piece, sizeof(piece));
	if (producer->events)
		return response_event(producer->response, "tick", "7", "a\nb", 3);
	return response_write(producer->response, piece, sizeof(piece));
}

static void produce(struct response *response, void *context)
{
	struct producer *producer = context;
	bool keeps_up = true;
	while (producer->left && (keeps_up || producer->rude)) {
		producer->left--;
		keeps_up = produce_one(producer);
	}
	if (producer->left || producer->rude)
		return;
	if (producer->grpc)
		response_finish(response, GRPC_OK, NULL);
	else
		response_end(response);
	uv_close((uv_handle_t *)&producer->timer, producer_free);
}

static void producer_start(uv_timer_t *timer)
{
	struct producer *producer = timer->data;
	produce(producer->response, producer);
}

/* Begins a turn of the loop later, as real handlers do. */
static void producer_new(struct response *response, struct producer settings)
{
	struct producer *producer = malloc(sizeof(*producer));
	*producer = settings;
	producer->response = response;
	response_on_gone(response, producer_gone, producer);
	response_on_writable(response, produce, producer);
	uv_timer_init(uv_default_loop(), &producer->timer);
	producer->timer.data = producer;
	uv_timer_start(&producer->timer, producer_start, 5, 0);
}

static unsigned wanted(const struct request *request, unsigned otherwise)
{
	const char *count = request_parameter(request, "count", 0);
	return count ? (unsigned)strtoul(count, NULL, 10) : otherwise;
}

static void stream(struct request *request, struct response *response, void *context)
{
	struct producer settings = {.left = wanted(request, 4),
				    .rude = request_parameter(request, "rude", 0) != NULL};
	(void)context;
	response_begin(response, 200, "application/octet-stream");
	producer_new(response, settings);
}

static void events(struct request *request, struct response *response, void *context)
{
	struct producer settings = {.left = wanted(request, 3), .events = true};
	(void)context;
	response_begin(response, 200, "text/event-stream");
	producer_new(response, settings);
}

/* Never answers: for clients that leave, deadlines and closing. */
static void count_gone(struct response *response, void *context)
{
	(void)response;
	(void)context;
	gone_count++;
}

static void never(struct request *request, struct response *response, void *context)
{
	(void)request;
	response_on_gone(response, count_gone, context);
}

/* The status is three digits. */
static void refuse(struct response *response, const char *status)
{
	char text[4] = {status[0], status[1], status[2]};
	response_refuse(response, (unsigned)strtoul(text, NULL, 10), "so it is");
}

static void refused(struct request *request, struct response *response, void *context)
{
	(void)context;
	refuse(response, request->rest);
}

static void grpc_echo(struct request *request, struct response *response, void *context)
{
	(void)context;
	if (request->body_size == 4 && !memcmp(request->body, "fail", 4)) {
		response_finish(response, GRPC_NOT_FOUND, "no 100% \xc3\xbc");
		return;
	}
	if (request->body_size == 10 && !memcmp(request->body, "refuse ", 7)) {
		refuse(response, (const char *)request->body + 7);
		return;
	}
	response_message(response, request->body, request->body_size);
	response_finish(response, GRPC_OK, NULL);
}

/* The message is the number of messages wanted, in decimal. */
static void grpc_repeat(struct request *request, struct response *response, void *context)
{
	char text[16] = "";
	(void)context;
	if (request->body_size < sizeof(text))
		memcpy(text, request->body, request->body_size);
	producer_new(response,
		     (struct producer){.left = (unsigned)strtoul(text, NULL, 10), .grpc = true});
}

static void health(struct request *request, struct response *response, void *context)
{
	const char *serving = request_parameter(request, "serving", 0);
	(void)context;
	server_health(server, "echo.Echo", serving && !strcmp(serving, "true"));
	response_send(response, 204, NULL, NULL, 0);
}

static void stats(struct request *request, struct response *response, void *context)
{
	struct server_stats now = server_stats(server);
	char text[256];
	(void)request;
	(void)context;
	int size =
		snprintf(text, sizeof(text),
			 "{\"gone\":%u,\"slow_clients\":%llu,\"streams_open\":%llu,\"floods\":%llu,"
			 "\"body_bytes\":%llu}",
			 gone_count, (unsigned long long)now.slow_clients,
			 (unsigned long long)now.streams_open, (unsigned long long)now.floods,
			 (unsigned long long)now.body_bytes);
	response_send(response, 200, "application/json", text, (size_t)size);
}

static void on_signal(uv_signal_t *signal, int number)
{
	(void)number;
	uv_close((uv_handle_t *)signal, NULL);
	server_close(server, NULL, NULL);
}

static void routes(void)
{
	server_route(server, "GET", "/echo", echo, NULL);
	server_route(server, "POST", "/echo", echo, NULL);
	server_route(server, "GET", "/ui/*", echo, NULL);
	server_route(server, "GET", "/page", page, NULL);
	server_route(server, "GET", "/stream", stream, NULL);
	server_route(server, "GET", "/events", events, NULL);
	server_route(server, "GET", "/never", never, NULL);
	server_route(server, "GET", "/refused/*", refused, NULL);
	server_route(server, "POST", "/health", health, NULL);
	server_route(server, "GET", "/stats", stats, NULL);
	server_grpc(server, "/echo.Echo/Unary", grpc_echo, NULL);
	server_grpc(server, "/echo.Echo/Repeat", grpc_repeat, NULL);
	server_grpc(server, "/echo.Echo/Never", never, NULL);
}

int main(int count, char **arguments)
{
	uv_signal_t term;
	struct server_options options = {
		.certificate_file = count > 2 ? arguments[1] : NULL,
		.key_file = count > 2 ? arguments[2] : NULL,
		.drain_timeout_ms = 1000,
		.descriptor_set = mr_descriptors,
		.descriptor_set_size = (size_t)(mr_descriptors_end - mr_descriptors),
	};
	signal(SIGPIPE, SIG_IGN);
	int error = server_new(uv_default_loop(), &options, &server);
	if (error) {
		fprintf(stderr, "http-echo: %s\n", strerror(-error));
		return 1;
	}
	routes();
	error = server_listen(server);
	if (error) {
		fprintf(stderr, "http-echo: %s\n", uv_strerror(error));
		return 1;
	}
	uv_signal_init(uv_default_loop(), &term);
	uv_signal_start(&term, on_signal, SIGTERM);
	printf("%u\n", server_port(server));
	fflush(stdout);
	uv_run(uv_default_loop(), UV_RUN_DEFAULT);
	uv_loop_close(uv_default_loop());
	return 0;
}
