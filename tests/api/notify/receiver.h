/* A webhook receiver that misbehaves as told, on the loop of the test. It answers its requests in
 * order from a script; past the script's end, with the last line of it. Every request is kept. One
 * thread. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
	RECEIVED_MAX = 4096,
	REQUEST_BYTES = 64 * 1024,
	RIG_WITHIN_MS = 20000, /* a test that waits longer has failed */
};

/* What is done with a request. */
struct line {
	const char *answer; /* bytes of the whole answer; NULL: silence */
	size_t filler;	    /* bytes 'x' that follow it */
	bool hang_up;	    /* close after the answer; without an answer: at once */
	bool reset;	    /* with a RST */
	uint64_t delay_ms;
};

struct received {
	char *body;
	uint64_t at_ms;
	char path[64];
};

struct rig {
	uv_loop_t loop;
	uv_tcp_t listener;
	uv_timer_t guard;
	const struct line *script;
	size_t lines, count, connections;
	int port;
	struct received received[RECEIVED_MAX];
};

struct peer {
	uv_tcp_t tcp;
	uv_timer_t delay;
	struct rig *rig;
	struct line line; /* of its latest request */
	size_t length;
	int handles;
	char bytes[REQUEST_BYTES + 1];
};

struct reply {
	uv_write_t write;
	struct peer *peer;
	char *bytes;
};

static void peer_gone(uv_handle_t *handle)
{
	struct peer *peer = handle->data;

	if (--peer->handles == 0)
		free(peer);
}

static void peer_close(struct peer *peer)
{
	if (uv_is_closing((uv_handle_t *)&peer->tcp))
		return;
	uv_close((uv_handle_t *)&peer->delay, peer_gone);
	if (!peer->line.reset || uv_tcp_close_reset(&peer->tcp, peer_gone))
		uv_close((uv_handle_t *)&peer->tcp, peer_gone);
}

static void peer_replied(uv_write_t *write, int status)
{
	struct reply *reply = (struct reply *)write;
	struct peer *peer = reply->peer;

	if (status < 0 || peer->line.hang_up || peer->line.reset)
		peer_close(peer);
	free(reply->bytes);
	free(reply);
}

static void peer_answer(uv_timer_t *timer)
{
	struct peer *peer = timer->data;
	const struct line *line = &peer->line;
	size_t length = line->answer ? strlen(line->answer) : 0;
	struct reply *reply;
	uv_buf_t buffer;

	if (!line->answer) {
		if (line->hang_up || line->reset)
			peer_close(peer);
		return;
	}
	reply = calloc(1, sizeof(*reply));
	reply->peer = peer;
	reply->bytes = malloc(length + line->filler);
	memcpy(reply->bytes, line->answer, length);
	memset(reply->bytes + length, 'x', line->filler);
	buffer = uv_buf_init(reply->bytes, (unsigned)(length + line->filler));
	assert(uv_write(&reply->write, (uv_stream_t *)&peer->tcp, &buffer, 1, peer_replied) == 0);
}

/* The end of the one request that is in the bytes, or NULL. */
static const char *request_end(const struct peer *peer, const char **body)
{
	const char *headers = strstr(peer->bytes, "\r\n\r\n");
	const char *length = strcasestr(peer->bytes, "\r\nContent-Length:");

	if (!headers || !length)
		return NULL;
	*body = headers + 4;
	const char *end = *body + strtoul(length + 17, NULL, 10);
	return end <= peer->bytes + peer->length ? end : NULL;
}

static void peer_request(struct peer *peer, const char *body, const char *end)
{
	struct rig *rig = peer->rig;
	struct received *received = &rig->received[rig->count];

	assert(rig->count < RECEIVED_MAX);
	received->body = strndup(body, (size_t)(end - body));
	received->at_ms = uv_now(&rig->loop);
	sscanf(peer->bytes, "POST %63s", received->path);
	peer->line = rig->script[rig->count < rig->lines ? rig->count : rig->lines - 1];
	rig->count++;
	peer->length = 0;
	if (peer->line.delay_ms)
		uv_timer_start(&peer->delay, peer_answer, peer->line.delay_ms, 0);
	else
		peer_answer(&peer->delay);
}

static void peer_room(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
	struct peer *peer = handle->data;

	(void)size;
	*buffer = uv_buf_init(peer->bytes + peer->length, (unsigned)(REQUEST_BYTES - peer->length));
}

static void peer_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
	struct peer *peer = stream->data;
	const char *body = NULL, *end;

	(void)buffer;
	if (length < 0) {
		peer_close(peer);
		return;
	}
	peer->length += (size_t)length;
	peer->bytes[peer->length] = '\0';
	end = request_end(peer, &body);
	if (end)
		peer_request(peer, body, end);
}

static void rig_accept(uv_stream_t *listener, int status)
{
	struct rig *rig = listener->data;
	struct peer *peer = calloc(1, sizeof(*peer));

	assert(status == 0);
	rig->connections++;
	peer->rig = rig;
	peer->handles = 2;
	peer->tcp.data = peer->delay.data = peer;
	uv_tcp_init(&rig->loop, &peer->tcp);
	uv_timer_init(&rig->loop, &peer->delay);
	assert(uv_accept(listener, (uv_stream_t *)&peer->tcp) == 0);
	uv_read_start((uv_stream_t *)&peer->tcp, peer_room, peer_read);
}

/* So that the loop looks at its condition even when nothing else happens. */
static void rig_tick(uv_timer_t *timer)
{
	(void)timer;
}

static void rig_script(struct rig *rig, const struct line *script, size_t lines)
{
	rig->script = script;
	rig->lines = lines;
}

static void rig_init(struct rig *rig)
{
	struct sockaddr_in address;
	int length = sizeof(address);

	memset(rig, 0, sizeof(*rig));
	uv_loop_init(&rig->loop);
	uv_tcp_init(&rig->loop, &rig->listener);
	uv_timer_init(&rig->loop, &rig->guard);
	rig->listener.data = rig->guard.data = rig;
	uv_ip4_addr("127.0.0.1", 0, &address);
	assert(uv_tcp_bind(&rig->listener, (struct sockaddr *)&address, 0) == 0);
	assert(uv_listen((uv_stream_t *)&rig->listener, 128, rig_accept) == 0);
	uv_tcp_getsockname(&rig->listener, (struct sockaddr *)&address, &length);
	rig->port = ntohs(address.sin_port);
}

static bool rig_run(struct rig *rig, uint64_t within_ms, bool (*condition)(void *), void *context)
{
	uv_update_time(&rig->loop);
	uint64_t until = uv_now(&rig->loop) + within_ms;

	uv_timer_start(&rig->guard, rig_tick, 5, 5);
	while (!(condition && condition(context)) && uv_now(&rig->loop) < until)
		uv_run(&rig->loop, UV_RUN_ONCE);
	uv_timer_stop(&rig->guard);
	return condition && condition(context);
}

/* Runs the loop until the condition holds; false when it does not in time. */
static bool rig_until(struct rig *rig, bool (*condition)(void *context), void *context)
{
	return rig_run(rig, RIG_WITHIN_MS, condition, context);
}

/* Runs the loop for a while, to see that nothing more happens. */
static void rig_run_for(struct rig *rig, uint64_t time_ms)
{
	rig_run(rig, time_ms, NULL, NULL);
}

static void rig_close_handle(uv_handle_t *handle, void *rig)
{
	if (!uv_is_closing(handle) && handle->data != rig)
		peer_close(handle->data);
}

/* After everything else on the loop was closed. */
static void rig_done(struct rig *rig)
{
	uv_walk(&rig->loop, rig_close_handle, rig);
	uv_close((uv_handle_t *)&rig->listener, NULL);
	uv_close((uv_handle_t *)&rig->guard, NULL);
	uv_run(&rig->loop, UV_RUN_DEFAULT);
	assert(uv_loop_close(&rig->loop) == 0);
	for (size_t i = 0; i < rig->count; i++)
		free(rig->received[i].body);
}
