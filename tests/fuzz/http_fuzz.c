/*
 * Any bytes at a connection, HTTP/1 or HTTP/2, in any pieces, with time passing: nothing may crash,
 * leak, or stay open. The first byte chooses the piece size and whether the preface is given.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "api/http/session.h"
#include "api/http/site.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct response *kept;

static void on_gone(struct response *response, void *context)
{
	(void)response;
	(void)context;
	kept = NULL;
}

static void keep(struct request *request, struct response *response, void *context)
{
	(void)request;
	(void)context;
	if (kept) {
		response_problem(response, 503, "one is kept already");
		return;
	}
	kept = response;
	response_on_gone(response, on_gone, NULL);
}

static void echo(struct request *request, struct response *response, void *context)
{
	const char *key, *value;
	(void)context;
	for (size_t i = 0; request_parameter_at(request, i, &key, &value); i++)
		assert(strlen(key) + strlen(value) <= strlen(request->query));
	if (request->grpc) {
		response_message(response, request->body, request->body_size);
		response_finish(response, GRPC_OK, NULL);
		return;
	}
	response_send(response, 200, "text/plain", request->body, request->body_size);
}

static void add(struct site *site, const char *method, const char *path, handler handle)
{
	routes_add(&site->routes,
		   &(struct route){.method = method, .path = path, .handler = handle});
}

static void answer_kept(void)
{
	struct response *response = kept;
	if (!response)
		return;
	kept = NULL;
	response_on_gone(response, NULL, NULL);
	response_send(response, 200, "text/plain", "late", 4);
}

static void run(struct session *session, struct site *site, const uint8_t *bytes, size_t size,
		size_t piece)
{
	struct buffer out = {0};
	for (size_t at = 0; at < size && !session_over(session); at += piece) {
		session_feed(session, bytes + at, size - at < piece ? size - at : piece);
		session_fetch(session, &out, 4096);
		if (site->now_ms % 3 == 0)
			answer_kept();
		site->now_ms += 7;
		session_tick(session);
		buffer_clear(&out);
	}
	session_eof(session);
	session_fetch(session, &out, 4096);
	buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	static struct site site;
	struct session session;
	if (size < 1)
		return 0;
	site_init(&site, &(struct server_options){.body_max = 4096, .message_max = 4096}, 1);
	site.now_ms = 1000;
	add(&site, "GET", "/", keep);
	add(&site, "POST", "/*", echo);
	add(&site, "GET", "/a/*", echo);
	add(&site, "GRPC", "/s/m", echo);
	session_init(&session, &site, "::1", false);
	if (bytes[0] & 1)
		session_feed(&session, (const uint8_t *)preface, sizeof(preface) - 1);
	run(&session, &site, bytes + 1, size - 1, 1u + (bytes[0] >> 1) * 4u);
	session_done(&session);
	assert(!kept && !site.stats.streams_open && !site.stats.body_bytes);
	site_done(&site);
	return 0;
}
