/* The session as a machine: bytes in, bytes out, the clock moved by hand. No socket, no sleep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/session.h"
#include "api/http/site.h"

struct fixture {
	struct site site;
	struct session session;
	struct buffer out;
	unsigned calls, gone;
	struct response *kept;
};

static void answer(struct request *request, struct response *response, void *context)
{
	struct fixture *fixture = context;
	fixture->calls++;
	response_send(response, 200, "text/plain", request->path, strlen(request->path));
}

static void body(struct request *request, struct response *response, void *context)
{
	struct fixture *fixture = context;
	fixture->calls++;
	response_send(response, 200, "text/plain", request->body, request->body_size);
}

static void on_gone(struct response *response, void *context)
{
	struct fixture *fixture = context;
	(void)response;
	fixture->gone++;
	fixture->kept = NULL;
}

static void keep(struct request *request, struct response *response, void *context)
{
	struct fixture *fixture = context;
	(void)request;
	fixture->calls++;
	fixture->kept = response;
	response_on_gone(response, on_gone, fixture);
}

static void begin(struct fixture *fixture)
{
	session_init(&fixture->session, &fixture->site, "192.0.2.1", false);
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	site_init(&fixture->site, &(struct server_options){0}, 1);
	fixture->site.now_ms = 1000000;
	static const struct {
		const char *method, *path;
		handler handle;
	} table[] = {{"GET", "/a", answer},   {"GET", "/b", answer},   {"GET", "/keep", keep},
		     {"POST", "/body", body}, {"GET", "/p/*", answer}, {"GET", "/p/q/*", answer}};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		routes_add(&fixture->site.routes, &(struct route){.method = table[i].method,
								  .path = table[i].path,
								  .handler = table[i].handle,
								  .context = fixture});
	begin(fixture);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	session_done(&fixture->session);
	uint64_t left = fixture->site.stats.body_bytes + fixture->site.stats.streams_open;
	buffer_done(&fixture->out);
	site_done(&fixture->site);
	free(fixture);
	return left != 0;
}

static void restart(struct fixture *fixture)
{
	session_done(&fixture->session);
	buffer_clear(&fixture->out);
	fixture->calls = 0;
	begin(fixture);
}

static const char *fetch(struct fixture *fixture)
{
	for (int i = 0; i < 64; i++)
		session_fetch(&fixture->session, &fixture->out, SIZE_MAX / 2);
	buffer_append(&fixture->out, "", 1);
	fixture->out.size--;
	return (const char *)buffer_bytes(&fixture->out);
}

static const char *feed(struct fixture *fixture, const void *bytes, size_t size)
{
	session_feed(&fixture->session, bytes, size);
	return fetch(fixture);
}

static const char *feed_text(struct fixture *fixture, const char *text)
{
	return feed(fixture, text, strlen(text));
}

/* As if the clock ran: ticks every 50 ms. */
static void advance(struct fixture *fixture, uint64_t ms)
{
	for (uint64_t end = fixture->site.now_ms + ms; fixture->site.now_ms < end;) {
		fixture->site.now_ms += 50;
		session_tick(&fixture->session);
		fetch(fixture);
	}
}

static unsigned count_of(const char *text, const char *part)
{
	unsigned count = 0;
	for (; (text = strstr(text, part)); text++)
		count++;
	return count;
}

static void what_two_parsers_could_read_differently_gets_400_and_the_end(void **state)
{
	struct fixture *fixture = *state;
#define POST	"POST /body HTTP/1.1\r\nHost: x\r\n"
#define GET	"GET /a HTTP/1.1\r\nHost: x\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
	static const char *const requests[] = {
		POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
		POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
		POST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		POST "Content-Length: 3, 3\r\n\r\nabc",
		POST "Content-Length: +3\r\n\r\nabc",
		POST "Content-Length: -3\r\n\r\nabc",
		POST "Content-Length: 0x3\r\n\r\nabc",
		POST "Content-Length: 3 4\r\n\r\nabc",
		POST "Content-Length:\r\n\r\nabc",
		POST "Content-Length: 99999999999999999999999\r\n\r\nabc",
		POST "Content-Length : 3\r\n\r\nabc",
		POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		POST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		POST "Transfer-Encoding:\x0b"
		     "chunked\r\n\r\n0\r\n\r\n",
		POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"POST /body HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		GET "X: a\r\n b\r\n\r\n",
		GET "X: a\r\n\tb\r\n\r\n",
		GET " X: a\r\n\r\n",
		GET "X: a\nY: b\r\n\r\n",
		GET "X: a\rY: b\r\n\r\n",
		GET "X: a\r\r\n\r\n",
		GET "X: \x01\r\n\r\n",
		GET "X: \x7f\r\n\r\n",
		GET "X y: a\r\n\r\n",
		GET ": a\r\n\r\n",
		GET "X\r\n\r\n",
		GET "Host: y\r\n\r\n",
		"GET /a HTTP/1.1\r\n\r\n",
		"GET /a HTTP/1.1\n\n",
		"GET /a HTTP/1.1\r\nHost: x\n\n",
		"GET /a HTTP/2.0\r\nHost: x\r\n\r\n",
		"GET /a HTTP/0.9\r\nHost: x\r\n\r\n",
		"GET /a\r\nHost: x\r\n\r\n",
		"GET a HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
		"G@T /a HTTP/1.1\r\nHost: x\r\n\r\n",
		"NONSENSE /a HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
		CHUNKED "3\nabc\r\n0\r\n\r\n",
		CHUNKED "3\r\nabc\n0\r\n\r\n",
		CHUNKED "3\r\nabc\r\n0\n\r\n",
		CHUNKED "3\r\nabcd\r\n0\r\n\r\n",
		CHUNKED "3 \r\nabc\r\n0\r\n\r\n",
		CHUNKED " 3\r\nabc\r\n0\r\n\r\n",
		CHUNKED "+3\r\nabc\r\n0\r\n\r\n",
		CHUNKED "-1\r\nabc\r\n0\r\n\r\n",
		CHUNKED "0x3\r\nabc\r\n0\r\n\r\n",
		CHUNKED "g\r\nabc\r\n0\r\n\r\n",
		CHUNKED "\r\nabc\r\n0\r\n\r\n",
		CHUNKED ";x\r\nabc\r\n0\r\n\r\n",
		CHUNKED "100000003\r\nabc\r\n0\r\n\r\n",
		CHUNKED "ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
		CHUNKED "10000000000000003\r\nabc\r\n0\r\n\r\n",
		CHUNKED "3;a\x01\r\nabc\r\n0\r\n\r\n",
		CHUNKED "0\r\nX: \x01\r\n\r\n",
		CHUNKED "0\r\nX: a\nY: b\r\n\r\n",
	};
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		const char *out = feed_text(fixture, requests[i]);
		if (strncmp(out, "HTTP/1.1 400 ", 13) ||
		    !strstr(out, "\r\nconnection: close\r\n") || fixture->calls ||
		    !session_over(&fixture->session))
			fail_msg("case %zu: %s\nanswered: %s", i, requests[i], out);
		feed_text(fixture, GET "\r\n");
		assert_int_equal(fixture->calls, 0); /* nothing after it is looked at */
		restart(fixture);
	}
}

static void a_nul_or_an_overlong_line_is_refused(void **state)
{
	struct fixture *fixture = *state;
	static const char nul[] = "GET /a HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n";
	char line[9000];
	assert_memory_equal(feed(fixture, nul, sizeof(nul) - 1), "HTTP/1.1 400", 12);
	restart(fixture);
	memset(line, 'a', sizeof(line));
	memcpy(line, "GET /", 5);
	assert_memory_equal(feed(fixture, line, sizeof(line)), "HTTP/1.1 400", 12);
	restart(fixture);
	feed_text(fixture, "GET /a HTTP/1.1\r\nHost: x\r\n");
	for (int i = 0; i < 20; i++)
		feed_text(fixture,
			  "X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
	assert_int_equal(buffer_size(&fixture->out), 0);
	for (int i = 0; i < 300; i++)
		feed_text(fixture,
			  "X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
	assert_memory_equal(buffer_bytes(&fixture->out), "HTTP/1.1 431", 12);
	assert_int_equal(fixture->site.stats.header_overflows, 1);
}

static void any_cut_of_the_input_gives_the_same_output(void **state)
{
	struct fixture *fixture = *state;
	static const char input[] =
		"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" POST
		"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: "
		"v\r\n\r\n" POST "Content-Length: 4\r\n\r\nfour\r\nGET /p/q/r HTTP/1.1\r\nHost: "
		"x\r\nX-Request-Id: i\r\n\r\n"
		"HEAD /b HTTP/1.1\r\nHost: x\r\nX-Request-Id: j\r\n\r\n"
		"GET http://h/b?q HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" GET "\r\n";
	fixture->site.request_ids = 5;
	char *whole = strdup(feed(fixture, input, sizeof(input) - 1));
	assert_int_equal(fixture->calls, 6);
	assert_int_equal(count_of(whole, "HTTP/1.1 200 OK\r\n"), 6);
	assert_non_null(strstr(whole, "\r\n\r\nabcdeHTTP"));
	assert_true(session_over(&fixture->session));
	for (size_t cut = 1; cut < sizeof(input) - 1; cut++) {
		restart(fixture);
		fixture->site.request_ids = 5;
		feed(fixture, input, cut);
		assert_string_equal(feed(fixture, input + cut, sizeof(input) - 1 - cut), whole);
	}
	restart(fixture);
	fixture->site.request_ids = 5;
	for (size_t at = 0; at < sizeof(input) - 1; at++)
		feed(fixture, input + at, 1);
	assert_string_equal(fetch(fixture), whole);
	free(whole);
}

static void a_pipelined_request_waits_for_the_answer_before_it(void **state)
{
	struct fixture *fixture = *state;
	feed_text(fixture, "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n" GET "\r\n");
	assert_int_equal(fixture->calls, 1);
	response_send(fixture->kept, 200, "text/plain", "first", 5);
	const char *out = fetch(fixture);
	assert_int_equal(fixture->calls, 2);
	assert_true(strstr(out, "first") < strstr(out, "/a"));
	char junk[4096];
	memset(junk, 'x', sizeof(junk));
	feed_text(fixture, "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n");
	for (int i = 0; i < 16; i++)
		session_feed(&fixture->session, (const uint8_t *)junk, sizeof(junk));
	assert_false(session_hungry(&fixture->session));
}

static void an_awaited_body_is_invited_once(void **state)
{
	struct fixture *fixture = *state;
	const char *out =
		feed_text(fixture, POST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	assert_string_equal(out, "HTTP/1.1 100 Continue\r\n\r\n");
	out = feed_text(fixture, "ab");
	assert_int_equal(count_of(out, "100 Continue"), 1);
	assert_non_null(strstr(out, "HTTP/1.1 200 OK"));
	restart(fixture);
	out = feed_text(fixture, POST "Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n");
	assert_memory_equal(out, "HTTP/1.1 413", 12);
}

static void slow_headers_slow_bodies_and_idlers_are_sent_away(void **state)
{
	struct fixture *fixture = *state;
	advance(fixture, 5200); /* said nothing at all */
	assert_true(session_over(&fixture->session));
	restart(fixture);
	feed_text(fixture, "GET /a HT");
	advance(fixture, 4900);
	assert_int_equal(buffer_size(&fixture->out), 0);
	advance(fixture, 300);
	assert_memory_equal(buffer_bytes(&fixture->out), "HTTP/1.1 408", 12);
	assert_int_equal(fixture->site.stats.header_timeouts, 2);
	restart(fixture);
	feed_text(fixture, POST "Content-Length: 5000\r\n\r\n");
	for (int i = 0; i < 70 && !buffer_size(&fixture->out); i++) {
		feed_text(fixture, "xx");
		advance(fixture, 100);
	}
	assert_memory_equal(buffer_bytes(&fixture->out), "HTTP/1.1 408", 12);
	assert_true(session_over(&fixture->session));
	assert_int_equal(fixture->site.stats.body_timeouts, 1);
	restart(fixture);
	feed_text(fixture, GET "\r\n");
	advance(fixture, 59000);
	assert_false(session_over(&fixture->session));
	advance(fixture, 1200);
	assert_true(session_over(&fixture->session));
	assert_int_equal(fixture->site.stats.idle_timeouts, 1);
}

static void the_end_of_input_abandons_what_is_unanswered(void **state)
{
	struct fixture *fixture = *state;
	feed_text(fixture, "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n");
	session_eof(&fixture->session);
	assert_int_equal(fixture->gone, 1);
	assert_true(session_over(&fixture->session));
	restart(fixture);
	session_feed(&fixture->session, (const uint8_t *)GET "\r\n", strlen(GET "\r\n"));
	session_eof(&fixture->session);
	assert_false(session_over(&fixture->session));
	assert_non_null(strstr(fetch(fixture), "200 OK"));
	assert_true(session_over(&fixture->session));
}

static void a_stream_that_nobody_reads_ends_at_its_bound_or_its_time(void **state)
{
	struct fixture *fixture = *state;
	static char piece[60 << 10];
	feed_text(fixture, "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n");
	response_begin(fixture->kept, 200, "text/plain");
	assert_true(response_write(fixture->kept, piece, sizeof(piece)));
	assert_false(response_write(fixture->kept, piece, sizeof(piece)));
	for (uint64_t end = fixture->site.now_ms + 31000; fixture->site.now_ms < end;) {
		fixture->site.now_ms += 50;
		session_tick(&fixture->session);
	}
	assert_int_equal(fixture->gone, 1);
	assert_int_equal(fixture->site.stats.stall_timeouts, 1);
	assert_true(session_over(&fixture->session));
	restart(fixture);
	feed_text(fixture, "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n");
	response_begin(fixture->kept, 200, "text/plain");
	for (int i = 0; i < 6; i++)
		response_write(fixture->kept, piece, sizeof(piece));
	assert_int_equal(fixture->gone, 1); /* never from inside a write */
	fetch(fixture);
	assert_int_equal(fixture->gone, 2);
	assert_int_equal(fixture->site.stats.slow_clients, 1);
	assert_true(session_over(&fixture->session));
}

/* HTTP/2 by hand. */
static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static void frame(struct buffer *out, uint8_t type, uint8_t flags, uint32_t stream,
		  const void *payload, size_t size)
{
	const uint8_t head[9] = {(uint8_t)(size >> 16),
				 (uint8_t)(size >> 8),
				 (uint8_t)size,
				 type,
				 flags,
				 (uint8_t)(stream >> 24),
				 (uint8_t)(stream >> 16),
				 (uint8_t)(stream >> 8),
				 (uint8_t)stream};
	buffer_append(out, head, sizeof(head));
	buffer_append(out, payload, size);
}

static void open_http2(struct buffer *input)
{
	buffer_append(input, preface, sizeof(preface) - 1);
	frame(input, 4, 0, 0, NULL, 0);
}

/* GET, http, "/keep", in HPACK without indexing */
static const char get_keep[] = "\x82\x86\x04\x05/keep\x01\x01x";

/* The error code of a GOAWAY in the output, or -1. */
static int64_t goaway(struct fixture *fixture)
{
	const uint8_t *at = buffer_bytes(&fixture->out), *end = at + buffer_size(&fixture->out);
	int64_t code = -1;
	while (end - at >= 9) {
		size_t size = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];
		if (at[3] == 7)
			code = at[9 + 7];
		at += 9 + size;
	}
	return code;
}

static void rapid_resets_are_answered_with_goaway(void **state)
{
	struct fixture *fixture = *state;
	struct buffer input = {0};
	static const uint8_t cancel[4] = {0, 0, 0, 8};
	open_http2(&input);
	for (uint32_t id = 1; id < 2000; id += 2) {
		frame(&input, 1, 5, id, get_keep, sizeof(get_keep) - 1);
		frame(&input, 3, 0, id, cancel, sizeof(cancel));
	}
	feed(fixture, buffer_bytes(&input), buffer_size(&input));
	assert_int_equal(goaway(fixture), 11);
	assert_true(fixture->calls <= 200);
	assert_int_equal(fixture->gone, fixture->calls);
	assert_true(fixture->site.stats.floods >= 1);
	assert_true(session_over(&fixture->session));
	buffer_done(&input);
}

static void control_frames_beyond_their_rate_are_answered_with_goaway(void **state)
{
	struct fixture *fixture = *state;
	struct {
		uint8_t type, flags, stream;
		const char *payload;
		size_t size;
	} floods[] = {{6, 0, 0, "12345678", 8},
		      {4, 0, 0, "", 0},
		      {8, 0, 0, "\0\0\0\1", 4},
		      {2, 0, 9, "\0\0\0\0\0", 5}};
	for (size_t i = 0; i < sizeof(floods) / sizeof(floods[0]); i++) {
		struct buffer input = {0};
		uint64_t before = fixture->site.stats.floods;
		open_http2(&input);
		feed(fixture, buffer_bytes(&input), buffer_size(&input));
		buffer_clear(&input);
		for (int second = 0; second < 20; second++) { /* within the rate */
			for (int n = 0; n < 60; n++)
				frame(&input, floods[i].type, floods[i].flags, floods[i].stream,
				      floods[i].payload, floods[i].size);
			feed(fixture, buffer_bytes(&input), buffer_size(&input));
			buffer_clear(&input);
			fixture->site.now_ms += 1000;
		}
		assert_int_equal(fixture->site.stats.floods, before);
		for (int n = 0; n < 3000 && !session_over(&fixture->session); n++) {
			frame(&input, floods[i].type, floods[i].flags, floods[i].stream,
			      floods[i].payload, floods[i].size);
			feed(fixture, buffer_bytes(&input), buffer_size(&input));
			buffer_clear(&input);
		}
		assert_int_equal(fixture->site.stats.floods, before + 1);
		assert_int_equal(goaway(fixture), 11);
		assert_true(session_over(&fixture->session));
		buffer_done(&input);
		restart(fixture);
	}
}

static void endless_continuations_end_the_connection(void **state)
{
	struct fixture *fixture = *state;
	struct buffer input = {0};
	open_http2(&input);
	frame(&input, 1, 1, 1, get_keep, sizeof(get_keep) - 1);
	for (int i = 0; i < 12; i++)
		frame(&input, 9, 0, 1, "\x00\x01x\x01y", 5);
	feed(fixture, buffer_bytes(&input), buffer_size(&input));
	assert_true(session_over(&fixture->session));
	assert_int_equal(fixture->calls, 0);
	restart(fixture);
	buffer_clear(&input);
	open_http2(&input);
	frame(&input, 1, 1, 1, get_keep, sizeof(get_keep) - 1); /* and its end never comes */
	feed(fixture, buffer_bytes(&input), buffer_size(&input));
	advance(fixture, 5200);
	assert_true(session_over(&fixture->session));
	buffer_done(&input);
}

static void a_closed_window_ends_a_stream_in_its_time(void **state)
{
	struct fixture *fixture = *state;
	struct buffer input = {0};
	buffer_append(&input, preface, sizeof(preface) - 1);
	frame(&input, 4, 0, 0, "\0\4\0\0\0\0", 6); /* INITIAL_WINDOW_SIZE 0 */
	frame(&input, 1, 5, 1, get_keep, sizeof(get_keep) - 1);
	feed(fixture, buffer_bytes(&input), buffer_size(&input));
	response_begin(fixture->kept, 200, "text/plain");
	response_write(fixture->kept, "x", 1);
	advance(fixture, 29000);
	assert_int_equal(fixture->gone, 0);
	advance(fixture, 1500);
	assert_int_equal(fixture->gone, 1);
	assert_int_equal(fixture->site.stats.stall_timeouts, 1);
	assert_int_equal(fixture->site.stats.streams_open, 0);
	buffer_done(&input);
}

/* Whether the output has a frame of this type. */
static bool has_frame(struct fixture *fixture, uint8_t type)
{
	const uint8_t *at = buffer_bytes(&fixture->out), *end = at + buffer_size(&fixture->out);
	for (; end - at >= 9; at += 9 + ((size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2]))
		if (at[3] == type)
			return true;
	return false;
}

static void an_early_answer_lets_the_request_run_out_for_a_while(void **state)
{
	struct fixture *fixture = *state;
	struct buffer input = {0};
	static const char post[] = "\x83\x86\x04\x05/nope\x01\x01x"
				   "\x0f\x10\x10"
				   "application/grpc";
	open_http2(&input);
	frame(&input, 1, 4, 1, post, sizeof(post) - 1);
	frame(&input, 1, 4, 3, post, sizeof(post) - 1);
	feed(fixture, buffer_bytes(&input), buffer_size(&input));
	assert_true(has_frame(fixture, 1)); /* the trailers are out, unimplemented */
	assert_false(has_frame(fixture, 3));
	assert_int_equal(fixture->site.stats.streams_open, 2);
	buffer_clear(&input);
	frame(&input, 0, 1, 1, "late", 4);
	feed(fixture, buffer_bytes(&input), buffer_size(&input));
	assert_int_equal(fixture->site.stats.streams_open, 1);
	assert_false(has_frame(fixture, 3));
	advance(fixture, 5200);
	assert_true(has_frame(fixture, 3));
	assert_int_equal(fixture->site.stats.streams_open, 0);
	buffer_done(&input);
}

static void a_drained_session_says_goaway_and_finishes_its_streams(void **state)
{
	struct fixture *fixture = *state;
	struct buffer input = {0};
	open_http2(&input);
	frame(&input, 1, 5, 1, get_keep, sizeof(get_keep) - 1);
	feed(fixture, buffer_bytes(&input), buffer_size(&input));
	session_drain(&fixture->session);
	advance(fixture, 200);
	assert_int_equal(goaway(fixture), 0);
	assert_false(session_over(&fixture->session));
	response_send(fixture->kept, 200, "text/plain", "x", 1);
	fetch(fixture);
	assert_true(session_over(&fixture->session));
	buffer_done(&input);
}

static void bodies_in_memory_are_bounded_over_all_connections(void **state)
{
	struct fixture *fixture = *state;
	fixture->site.options.bodies_max = 10;
	const char *out = feed_text(fixture, POST "Content-Length: 11\r\n\r\nhello world");
	assert_memory_equal(out, "HTTP/1.1 503", 12);
	restart(fixture);
	out = feed_text(fixture, POST "Content-Length: 10\r\n\r\nhelloworld");
	assert_memory_equal(out, "HTTP/1.1 200", 12);
	assert_int_equal(fixture->site.stats.body_bytes, 0);
}

#define sentence(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		sentence(what_two_parsers_could_read_differently_gets_400_and_the_end),
		sentence(a_nul_or_an_overlong_line_is_refused),
		sentence(any_cut_of_the_input_gives_the_same_output),
		sentence(a_pipelined_request_waits_for_the_answer_before_it),
		sentence(an_awaited_body_is_invited_once),
		sentence(slow_headers_slow_bodies_and_idlers_are_sent_away),
		sentence(the_end_of_input_abandons_what_is_unanswered),
		sentence(a_stream_that_nobody_reads_ends_at_its_bound_or_its_time),
		sentence(rapid_resets_are_answered_with_goaway),
		sentence(control_frames_beyond_their_rate_are_answered_with_goaway),
		sentence(endless_continuations_end_the_connection),
		sentence(a_closed_window_ends_a_stream_in_its_time),
		sentence(an_early_answer_lets_the_request_run_out_for_a_while),
		sentence(a_drained_session_says_goaway_and_finishes_its_streams),
		sentence(bodies_in_memory_are_bounded_over_all_connections),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
