#include "api/http/http2.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/session.h"
#include "api/http/site.h"
#include "api/http/stream.h"
#include "base/memory.h"

enum {
	STREAM_WINDOW = 65535,
	CONNECTION_WINDOW = 1 << 20,
	CONTINUATIONS_MAX = 8,
	SETTINGS_ENTRIES_MAX = 32,
	ACKS_MAX = 200,	    /* PING and SETTINGS answers waiting for a reader */
	RESETS_BURST = 200, /* then RESETS_PER_S */
	RESETS_PER_S = 33,  /* nghttp2's own default */
	CONTROL_PER_S = 100,
	CONTROL_BURST = 1000, /* a page that opens, a gRPC channel measuring its bandwidth */
	RESET_SAMPLE = 100,   /* streams before the share of resets means something */
	RESET_HALVING_MS = 10000,
};

struct http2 {
	nghttp2_session *nghttp2;
	struct session *session;
	uint64_t refilled_ms;
	int64_t control_tokens;
	uint64_t opened, reset; /* streams, halved every RESET_HALVING_MS */
	uint64_t halved_ms;
	unsigned shutdowns;
};

static void flooded(struct http2 *http2)
{
	http2->session->site->stats.floods++;
	nghttp2_session_terminate_session(http2->nghttp2, NGHTTP2_ENHANCE_YOUR_CALM);
	session_wake(http2->session);
}

static bool spend_control(struct http2 *http2)
{
	uint64_t now_ms = http2->session->site->now_ms;
	http2->control_tokens += (int64_t)((now_ms - http2->refilled_ms) * CONTROL_PER_S / 1000);
	if (now_ms - http2->refilled_ms >= 1000 / CONTROL_PER_S)
		http2->refilled_ms = now_ms;
	if (http2->control_tokens > CONTROL_BURST)
		http2->control_tokens = CONTROL_BURST;
	return --http2->control_tokens >= 0;
}

static void count_reset(struct http2 *http2)
{
	uint64_t now_ms = http2->session->site->now_ms;
	if (now_ms - http2->halved_ms > RESET_HALVING_MS) {
		http2->halved_ms = now_ms;
		http2->opened /= 2;
		http2->reset /= 2;
	}
	http2->reset++;
	if (http2->opened >= RESET_SAMPLE && http2->reset * 2 >= http2->opened)
		flooded(http2);
}

static struct stream *stream_at(nghttp2_session *nghttp2, int32_t id)
{
	return nghttp2_session_get_stream_user_data(nghttp2, id);
}

static int on_begin_headers(nghttp2_session *nghttp2, const nghttp2_frame *frame, void *context)
{
	struct http2 *http2 = context;
	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	struct stream *stream = stream_new(http2->session, frame->hd.stream_id);
	nghttp2_session_set_stream_user_data(nghttp2, frame->hd.stream_id, stream);
	http2->opened++;
	if (!http2->session->head_since_ms)
		http2->session->head_since_ms = http2->session->site->now_ms;
	return 0;
}

static int on_header(nghttp2_session *nghttp2, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
		     void *context)
{
	struct http2 *http2 = context;
	struct stream *stream = stream_at(nghttp2, frame->hd.stream_id);
	(void)flags;
	if (!stream || stream->head_complete)
		return 0; /* trailers of a request tell us nothing */
	stream->header_bytes += (uint32_t)(name_size + value_size + 32); /* RFC 9113, 6.5.2 */
	if (stream->header_bytes > http2->session->site->options.header_bytes_max ||
	    !headers_add(&stream->headers, name, name_size, value, value_size))
		stream->header_overflow = true;
	return 0;
}

static void recv_headers(struct http2 *http2, struct stream *stream, const nghttp2_frame *frame)
{
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		http2->session->head_since_ms = 0;
		stream->body_since_ms = http2->session->site->now_ms;
		stream_head(stream);
	}
}

static bool is_control(const nghttp2_frame *frame)
{
	switch (frame->hd.type) {
	case NGHTTP2_DATA:
		return !frame->hd.length && !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
	case NGHTTP2_PRIORITY:
	case NGHTTP2_RST_STREAM:
	case NGHTTP2_SETTINGS:
	case NGHTTP2_PING:
	case NGHTTP2_WINDOW_UPDATE:
		return true;
	default:
		return false;
	}
}

static int on_frame_recv(nghttp2_session *nghttp2, const nghttp2_frame *frame, void *context)
{
	struct http2 *http2 = context;
	if (is_control(frame) && !spend_control(http2)) {
		flooded(http2);
		return 0;
	}
	struct stream *stream =
		frame->hd.stream_id ? stream_at(nghttp2, frame->hd.stream_id) : NULL;
	if (!stream)
		return 0;
	if (frame->hd.type == NGHTTP2_RST_STREAM)
		count_reset(http2);
	if (frame->hd.type == NGHTTP2_HEADERS)
		recv_headers(http2, stream, frame);
	if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
	    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		stream_end(stream);
	return 0;
}

static int on_data_chunk(nghttp2_session *nghttp2, uint8_t flags, int32_t id, const uint8_t *bytes,
			 size_t size, void *context)
{
	struct stream *stream = stream_at(nghttp2, id);
	struct http2 *http2 = context;
	(void)flags;
	if (!stream)
		return 0;
	stream_body(stream, bytes, size);
	if (stream->outpaced &&
	    stream->body_total - stream->outpaced_total > http2->session->site->options.body_max)
		http2_reset(http2, stream);
	return 0;
}

static int on_stream_close(nghttp2_session *nghttp2, int32_t id, uint32_t error, void *context)
{
	struct stream *stream = stream_at(nghttp2, id);
	struct http2 *http2 = context;
	(void)error;
	if (!stream)
		return 0;
	if (!stream->head_complete)
		http2->session->head_since_ms = 0;
	nghttp2_session_set_stream_user_data(nghttp2, id, NULL);
	stream_free(stream);
	return 0;
}

static int on_invalid_frame(nghttp2_session *nghttp2, const nghttp2_frame *frame, int error,
			    void *context)
{
	struct http2 *http2 = context;
	(void)nghttp2;
	(void)frame;
	(void)error;
	http2->session->site->stats.malformed++;
	return 0;
}

/*
 * An answer that did not wait for the request's end leaves the stream half open. A reset would be
 * allowed at once (RFC 9113, 8.1), but curl 7.88 then loses the answer if it still sends, so what
 * comes is dropped for a while: until the request ends, body_max or body_grace_ms.
 */
static void outpaced(struct http2 *http2, struct stream *stream)
{
	if (stream->body_complete)
		return;
	stream->outpaced = true;
	stream->outpaced_ms = http2->session->site->now_ms;
	stream->outpaced_total = stream->body_total;
}

static int on_frame_send(nghttp2_session *nghttp2, const nghttp2_frame *frame, void *context)
{
	struct http2 *http2 = context;
	struct stream *stream =
		frame->hd.stream_id ? stream_at(nghttp2, frame->hd.stream_id) : NULL;
	if (frame->hd.type == NGHTTP2_DATA && http2->control_tokens < CONTROL_BURST)
		http2->control_tokens +=
			2; /* a window update for the stream, one for the connection */
	if (stream && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
	    (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS))
		outpaced(http2, stream);
	return 0;
}

static nghttp2_nv pair(const char *name, const char *value)
{
	return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
			    .namelen = strlen(name),
			    .value = (uint8_t *)(uintptr_t)value,
			    .valuelen = strlen(value)};
}

static void status_text(const struct response *response, char text[static 4])
{
	snprintf(text, 4, "%u", (unsigned)response->grpc_status % 100);
}

static int submit_trailer(nghttp2_session *nghttp2, int32_t id, const struct response *response)
{
	char status[4];
	status_text(response, status);
	nghttp2_nv trailer[2] = {pair("grpc-status", status)};
	size_t count = 1;
	if (response->grpc_message)
		trailer[count++] = pair("grpc-message", response->grpc_message);
	return nghttp2_submit_trailer(nghttp2, id, trailer, count);
}

static ssize_t read_body(nghttp2_session *nghttp2, int32_t id, uint8_t *out, size_t size,
			 uint32_t *flags, nghttp2_data_source *source, void *context)
{
	struct stream *stream = source->ptr;
	struct response *response = &stream->response;
	(void)context;
	size_t taken = response_take(response, out, size);
	if (response_complete(response)) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (response->trailers) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			if (submit_trailer(nghttp2, id, response))
				return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		}
	} else if (!taken) {
		stream->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	return (ssize_t)taken;
}

static void submit(struct http2 *http2, struct stream *stream)
{
	struct response *response = &stream->response;
	nghttp2_nv fields[HEADERS_MAX + 4];
	char status[4], length[24], grpc_status[4];
	size_t count = 0;
	bool only_trailers = response->trailers && response_complete(response);
	bool headless = response->status == 204 || response->status == 304;
	snprintf(status, sizeof(status), "%u", response->status % 1000);
	fields[count++] = pair(":status", status);
	for (size_t i = 0; i < response->headers.count; i++)
		fields[count++] = pair(headers_name(&response->headers, i),
				       headers_value(&response->headers, i));
	if (!response->streaming && !response->trailers && !headless) {
		snprintf(length, sizeof(length), "%zu", response->length);
		fields[count++] = pair("content-length", length);
	}
	if (only_trailers) {
		status_text(response, grpc_status);
		fields[count++] = pair("grpc-status", grpc_status);
		if (response->grpc_message)
			fields[count++] = pair("grpc-message", response->grpc_message);
	}
	nghttp2_data_provider body = {.source.ptr = stream, .read_callback = read_body};
	bool empty = only_trailers || response->bodiless || response_complete(response);
	stream->submitted = true;
	if (nghttp2_submit_response(http2->nghttp2, stream->id, fields, count,
				    empty ? NULL : &body))
		http2_reset(http2, stream);
}

static void prepare(struct http2 *http2, struct stream *stream)
{
	struct response *response = &stream->response;
	if (response->cut && !response->bodiless) {
		response->cut = false;
		http2_reset(http2, stream);
	} else if (response->begun && !stream->submitted) {
		submit(http2, stream);
	} else if (stream->deferred && (response_pending(response) || response->ended)) {
		stream->deferred = false;
		nghttp2_session_resume_data(http2->nghttp2, stream->id);
	}
}

void http2_fetch(struct http2 *http2, struct buffer *out, size_t max)
{
	for (struct stream *stream = http2->session->streams; stream; stream = stream->next)
		prepare(http2, stream);
	while (buffer_size(out) < max) {
		const uint8_t *bytes;
		ssize_t size = nghttp2_session_mem_send(http2->nghttp2, &bytes);
		if (size < 0)
			http2->session->broken = true;
		if (size <= 0)
			return;
		buffer_append(out, bytes, (size_t)size);
	}
	session_wake(http2->session); /* there may be more */
}

bool http2_feed(struct http2 *http2, const uint8_t *bytes, size_t size)
{
	ssize_t used = nghttp2_session_mem_recv(http2->nghttp2, bytes, size);
	session_wake(http2->session);
	if (used >= 0)
		return true;
	if (used == NGHTTP2_ERR_FLOODED)
		http2->session->site->stats.floods++;
	else
		http2->session->site->stats.malformed++;
	return false;
}

void http2_reset(struct http2 *http2, const struct stream *stream)
{
	nghttp2_submit_rst_stream(http2->nghttp2, NGHTTP2_FLAG_NONE, stream->id,
				  stream->outpaced ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
	session_wake(http2->session);
}

void http2_shutdown(struct http2 *http2)
{
	if (!http2->shutdowns)
		nghttp2_submit_shutdown_notice(http2->nghttp2);
	else if (http2->shutdowns == 1)
		nghttp2_submit_goaway(http2->nghttp2, NGHTTP2_FLAG_NONE,
				      nghttp2_session_get_last_proc_stream_id(http2->nghttp2),
				      NGHTTP2_NO_ERROR, NULL, 0);
	if (http2->shutdowns < 2)
		http2->shutdowns++;
	session_wake(http2->session);
}

bool http2_over(const struct http2 *http2)
{
	return !nghttp2_session_want_read(http2->nghttp2) &&
	       !nghttp2_session_want_write(http2->nghttp2);
}

static nghttp2_session_callbacks *callbacks_new(void)
{
	nghttp2_session_callbacks *callbacks;
	if (nghttp2_session_callbacks_new(&callbacks))
		abort();
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
	return callbacks;
}

static nghttp2_option *option_new(void)
{
	nghttp2_option *option;
	if (nghttp2_option_new(&option))
		abort();
	nghttp2_option_set_stream_reset_rate_limit(option, RESETS_BURST, RESETS_PER_S);
	nghttp2_option_set_max_continuations(option, CONTINUATIONS_MAX);
	nghttp2_option_set_max_settings(option, SETTINGS_ENTRIES_MAX);
	nghttp2_option_set_max_outbound_ack(option, ACKS_MAX);
	nghttp2_option_set_no_closed_streams(option, 1);
	return option;
}

struct http2 *http2_new(struct session *session)
{
	struct http2 *http2 = memory_zeroed(1, sizeof(*http2));
	struct site *site = session->site;
	nghttp2_session_callbacks *callbacks = callbacks_new();
	nghttp2_option *option = option_new();
	http2->session = session;
	http2->control_tokens = CONTROL_BURST;
	http2->refilled_ms = http2->halved_ms = site->now_ms;
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, site->options.streams_max},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, site->options.header_bytes_max},
	};
	if (nghttp2_session_server_new2(&http2->nghttp2, callbacks, http2, option) ||
	    nghttp2_submit_settings(http2->nghttp2, NGHTTP2_FLAG_NONE, settings,
				    sizeof(settings) / sizeof(settings[0])) ||
	    nghttp2_session_set_local_window_size(http2->nghttp2, NGHTTP2_FLAG_NONE, 0,
						  CONNECTION_WINDOW))
		abort(); /* only memory can fail here */
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(callbacks);
	return http2;
}

void http2_free(struct http2 *http2)
{
	if (!http2)
		return;
	nghttp2_session_del(http2->nghttp2);
	free(http2);
}
