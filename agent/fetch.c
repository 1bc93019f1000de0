#include "agent/fetch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef MILLRACE_LLHTTP
#include <llhttp.h>
typedef llhttp_t any_parser;
typedef llhttp_settings_t any_settings;
#else
#include <http_parser.h>
typedef http_parser any_parser;
typedef http_parser_settings any_settings;
#endif

#include "base/memory.h"

enum { TARGET_BYTES = 512, READ_BYTES = 16384 };

struct fetch {
	struct fetch_options options;
	union {
		uv_stream_t stream;
		uv_pipe_t pipe;
		uv_tcp_t tcp;
	};
	uv_timer_t timer;
	uv_connect_t connect;
	uv_write_t write;
	unsigned handles; /* not yet closed */
	bool closed, whole;
	int error;
	any_parser parser;
	char request[TARGET_BYTES + 64];
	char *body;
	size_t length, capacity;
	char room[READ_BYTES];
};

static void on_closed(uv_handle_t *handle)
{
	struct fetch *fetch = handle->data;
	if (--fetch->handles)
		return;
	free(fetch->body);
	free(fetch);
}

void fetch_close(struct fetch *fetch)
{
	if (!fetch || fetch->closed)
		return;
	fetch->closed = true;
	uv_close((uv_handle_t *)&fetch->stream, on_closed);
	uv_close((uv_handle_t *)&fetch->timer, on_closed);
}

static void finish(struct fetch *fetch, int error)
{
	if (fetch->closed)
		return;
	fetch_close(fetch);
	fetch->options.done(fetch->options.context, error, error ? 0 : fetch->parser.status_code,
			    fetch->body, fetch->length);
}

static int on_head(any_parser *parser)
{
	struct fetch *fetch = parser->data;
	if (fetch->options.bytes_max || parser->status_code != 200)
		return 0;
	uv_timer_stop(&fetch->timer);
	fetch->options.began(fetch->options.context);
	return 0;
}

static int on_body(any_parser *parser, const char *bytes, size_t length)
{
	struct fetch *fetch = parser->data;
	if (fetch->closed)
		return 0;
	if (!fetch->options.bytes_max) {
		if (parser->status_code == 200)
			fetch->options.part(fetch->options.context, bytes, length);
		return 0;
	}
	if (length > fetch->options.bytes_max - fetch->length) {
		fetch->error = -EMSGSIZE;
		return 1;
	}
	if (fetch->length + length > fetch->capacity) {
		fetch->capacity = memory_grown(fetch->capacity, fetch->length + length);
		fetch->body = memory_resize(fetch->body, fetch->capacity, 1);
	}
	memcpy(fetch->body + fetch->length, bytes, length);
	fetch->length += length;
	return 0;
}

static int on_whole(any_parser *parser)
{
	((struct fetch *)parser->data)->whole = true;
	return 0;
}

static const any_settings settings = {
	.on_headers_complete = on_head, .on_body = on_body, .on_message_complete = on_whole};

/* length 0: the peer has closed. False: it is no HTTP, or more than wanted. */
static bool parse(struct fetch *fetch, size_t length)
{
#ifdef MILLRACE_LLHTTP
	if (!length)
		return llhttp_finish(&fetch->parser) == HPE_OK;
	return llhttp_execute(&fetch->parser, fetch->room, length) == HPE_OK;
#else
	http_parser_execute(&fetch->parser, &settings, fetch->room, length);
	return fetch->parser.http_errno == HPE_OK;
#endif
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct fetch *fetch = stream->data;
	(void)buffer;
	if (n == 0)
		return;
	if (n < 0 && n != UV_EOF) {
		finish(fetch, (int)n);
		return;
	}
	bool good = parse(fetch, n > 0 ? (size_t)n : 0);
	if (fetch->closed)
		return;
	if (!good)
		finish(fetch, fetch->error ? fetch->error : -EBADMSG);
	else if (fetch->whole)
		finish(fetch, 0);
	else if (n == UV_EOF)
		finish(fetch, -ECONNRESET);
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
	struct fetch *fetch = handle->data;
	(void)suggested;
	*buffer = uv_buf_init(fetch->room, sizeof(fetch->room));
}

static void on_written(uv_write_t *write, int status)
{
	if (status)
		finish(write->data, status);
}

static void on_connected(uv_connect_t *connect, int status)
{
	struct fetch *fetch = connect->data;
	if (fetch->closed)
		return;
	if (status) {
		finish(fetch, status);
		return;
	}
	uv_buf_t request = uv_buf_init(fetch->request, (unsigned)strlen(fetch->request));
	uv_write(&fetch->write, &fetch->stream, &request, 1, on_written);
	uv_read_start(&fetch->stream, on_room, on_read);
}

static void on_timeout(uv_timer_t *timer)
{
	struct fetch *fetch = timer->data;
	finish(fetch, fetch->error ? fetch->error : -ETIMEDOUT);
}

/* What fails at once is told from the loop, like all else. */
static void begin(struct fetch *fetch)
{
	const struct fetch_options *options = &fetch->options;
	if (options->socket)
		uv_pipe_connect(&fetch->connect, &fetch->pipe, options->socket, on_connected);
	else
		fetch->error = uv_tcp_connect(&fetch->connect, &fetch->tcp, options->address,
					      on_connected);
	uv_timer_start(&fetch->timer, on_timeout, fetch->error ? 0 : options->timeout_ms, 0);
}

struct fetch *fetch_open(const struct fetch_options *options)
{
	struct fetch *fetch = memory_zeroed(1, sizeof(*fetch));
	fetch->options = *options;
	fetch->handles = 2;
	snprintf(fetch->request, sizeof(fetch->request),
		 "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		 options->target);
#ifdef MILLRACE_LLHTTP
	llhttp_init(&fetch->parser, HTTP_RESPONSE, &settings);
#else
	http_parser_init(&fetch->parser, HTTP_RESPONSE);
#endif
	if (options->socket)
		uv_pipe_init(options->loop, &fetch->pipe, 0);
	else
		uv_tcp_init(options->loop, &fetch->tcp);
	uv_timer_init(options->loop, &fetch->timer);
	fetch->stream.data = fetch->timer.data = fetch->connect.data = fetch->write.data = fetch;
	fetch->parser.data = fetch;
	begin(fetch);
	return fetch;
}
