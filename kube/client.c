#include "kube/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include "base/memory.h"
#include "base/real.h"
#include "fetch/multi.h"
#include "kube/body.h"

enum {
	TICK_MS = 500,
	CONNECT_MS = 10000,
	DEAD_MS = 15000, /* without a word of the peer's TCP */
	KEEPALIVE_S = 10,
	CA_CACHE_S = 60,	 /* the authority's file may change */
	ERROR_BODY_BYTES = 4096, /* kept of an answer that is none */
	URL_BYTES = 8192,
	RETRY_AFTER_MAX_S = 300,
};

#define ACCEPT "Accept: application/vnd.kubernetes.protobuf"

struct kube_call {
	struct kube_call *next, **previous;
	struct kube_client *client;
	struct kube_call_options options;
	CURL *easy;
	struct curl_slist *headers;
	uint64_t last_ms; /* when something came, by the loop's clock */
	uint64_t sent_ns;
	long status;	     /* of the head that came; 0: none yet */
	bool refused;	     /* no token could be read: nothing is sent */
	bool unwanted, idle; /* why it is cut, if it is */
	uint64_t date_s;     /* of its head; 0: none */
	uint32_t retry_after_s;
	char error[KUBE_ERROR_BYTES];
	char curl_error[CURL_ERROR_SIZE];
	size_t length;
	uint8_t body[ERROR_BODY_BYTES]; /* of an answer that is none */
};

struct kube_client {
	uv_loop_t *loop;
	const struct kube_config *config;
	struct multi *multi;
	uv_timer_t tick;
	struct kube_call *calls;
	unsigned handles;
	void (*closed)(void *context);
	void *closed_context;
};

void kube_call_end(struct kube_call *call)
{
	*call->previous = call->next;
	if (call->next)
		call->next->previous = call->previous;
	curl_multi_remove_handle(multi_curl(call->client->multi), call->easy);
	curl_easy_cleanup(call->easy);
	for (struct curl_slist *header = call->headers; header; header = header->next)
		OPENSSL_cleanse(header->data, strlen(header->data)); /* one is the token */
	curl_slist_free_all(call->headers);
	free(call);
}

/* ---- what comes ---- */

/* The header's value, or NULL if it is another. */
static const char *value_of(const char *line, size_t length, const char *name, char value[128])
{
	size_t at = strlen(name), copied = 0;
	if (length <= at || line[at] != ':' || strncasecmp(line, name, at) != 0)
		return NULL;
	for (at++; at < length && line[at] == ' ';)
		at++;
	while (at < length && line[at] != '\r' && line[at] != '\n' && copied + 1 < 128)
		value[copied++] = line[at++];
	value[copied] = '\0';
	return value;
}

/* The empty line behind the headers. Others may follow: a 100 or 103 was not the answer, and behind
 * a body there may be trailers. */
static void take_head(struct kube_call *call)
{
	long status = 0;
	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200 || call->status)
		return;
	call->status = status;
	call->options.head(call->options.context,
			   &(struct kube_head){status, call->date_s, call->sent_ns, real_ns()});
}

static size_t on_header(char *bytes, size_t size, size_t count, void *context)
{
	struct kube_call *call = context;
	size_t length = size * count;
	char value[128];
	call->last_ms = uv_now(call->client->loop);
	if (length && (bytes[0] == '\r' || bytes[0] == '\n')) {
		take_head(call);
	} else if (value_of(bytes, length, "date", value)) {
		time_t date = curl_getdate(value, NULL);
		call->date_s = date > 0 ? (uint64_t)date : 0;
	} else if (value_of(bytes, length, "retry-after", value)) {
		unsigned long seconds = strtoul(value, NULL, 10);
		call->retry_after_s =
			seconds < RETRY_AFTER_MAX_S ? (uint32_t)seconds : RETRY_AFTER_MAX_S;
	}
	return length;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
	struct kube_call *call = context;
	size_t length = size * count, room = sizeof(call->body) - call->length;
	call->last_ms = uv_now(call->client->loop);
	if (call->status == 200) {
		call->unwanted =
			!call->options.body(call->options.context, (uint8_t *)bytes, length);
		return call->unwanted ? 0 : length;
	}
	memcpy(call->body + call->length, bytes, length < room ? length : room);
	call->length += length < room ? length : room;
	return length <= room ? length : 0;
}

/* ---- how it ends ---- */

/* What the server says of its refusal. */
static void explain_status(struct kube_call *call, struct kube_answer *answer)
{
	struct kube_status status;
	kube_status_of_body(call->body, call->length, &status);
	snprintf(answer->error, sizeof(answer->error), "HTTP %ld%s%s", call->status,
		 status.message[0] ? ": " : "", status.message);
	if (!answer->retry_after_s)
		answer->retry_after_s = status.retry_after_s < RETRY_AFTER_MAX_S
						? status.retry_after_s
						: RETRY_AFTER_MAX_S;
}

static void finish(void *request, CURLcode code)
{
	struct kube_call *call = request;
	struct kube_answer answer = {.status = call->status,
				     .whole = code == CURLE_OK,
				     .idle = call->idle,
				     .retry_after_s = call->retry_after_s};
	if (call->idle)
		snprintf(answer.error, sizeof(answer.error), "no answer for %llu s",
			 (unsigned long long)call->options.idle_ms / 1000);
	else if (call->refused)
		snprintf(answer.error, sizeof(answer.error), "%s", call->error);
	else if (call->status && call->status != 200)
		explain_status(call, &answer);
	else if (code != CURLE_OK && !call->unwanted)
		snprintf(answer.error, sizeof(answer.error), "%s",
			 call->curl_error[0] ? call->curl_error : curl_easy_strerror(code));
	call->options.done(call->options.context, &answer);
	kube_call_end(call);
}

static void end_idle(struct kube_call *call)
{
	/* Who uses the connection last closes it. */
	curl_easy_setopt(call->easy, CURLOPT_FORBID_REUSE, 1L);
	call->idle = true;
	finish(call, CURLE_OPERATION_TIMEDOUT);
}

/* Ending one may begin or end others, so each look begins anew. */
static void on_tick(uv_timer_t *tick)
{
	struct kube_client *client = tick->data;
	struct kube_call *call = client->calls;
	while (call) {
		if (call->refused ||
		    uv_now(client->loop) - call->last_ms >= call->options.idle_ms) {
			if (call->refused)
				finish(call, CURLE_OK);
			else
				end_idle(call);
			call = client->calls;
		} else {
			call = call->next;
		}
	}
}

/* ---- how it begins ---- */

static int on_socket(void *context, curl_socket_t socket, curlsocktype purpose)
{
	int dead_ms = DEAD_MS;
	(void)context, (void)purpose;
	setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof(dead_ms));
	return CURL_SOCKOPT_OK;
}

static void set_pem(CURL *easy, CURLoption option, const char *pem)
{
	struct curl_blob blob = {(void *)(uintptr_t)pem, strlen(pem), CURL_BLOB_NOCOPY};
	curl_easy_setopt(easy, option, &blob);
}

static void set_tls(CURL *easy, const struct kube_config *config)
{
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, config->insecure ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, config->insecure ? 0L : 2L);
	curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, (long)CA_CACHE_S);
	if (config->ca)
		set_pem(easy, CURLOPT_CAINFO_BLOB, config->ca);
	else if (config->ca_path)
		curl_easy_setopt(easy, CURLOPT_CAINFO, config->ca_path);
	if (config->certificate)
		set_pem(easy, CURLOPT_SSLCERT_BLOB, config->certificate);
	else if (config->certificate_path)
		curl_easy_setopt(easy, CURLOPT_SSLCERT, config->certificate_path);
	if (config->key)
		set_pem(easy, CURLOPT_SSLKEY_BLOB, config->key);
	else if (config->key_path)
		curl_easy_setopt(easy, CURLOPT_SSLKEY, config->key_path);
}

static void set_headers(struct kube_call *call)
{
	char why[KUBE_WHY_BYTES], *token = memory_zeroed(1, KUBE_TOKEN_MAX + 1);
	size_t size = KUBE_TOKEN_MAX + 64;
	char *header = memory_zeroed(1, size);
	int error = kube_config_token(call->client->config, token, why);
	call->headers =
		curl_slist_append(NULL, call->options.watch ? ACCEPT ";stream=watch" : ACCEPT);
	if (error == 0) {
		snprintf(header, size, "Authorization: Bearer %s", token);
		call->headers = curl_slist_append(call->headers, header);
	} else if (error != -ENOENT || call->client->config->token_path) {
		call->refused = true;
		snprintf(call->error, sizeof(call->error), "%s", why);
	}
	OPENSSL_cleanse(header, size);
	OPENSSL_cleanse(token, KUBE_TOKEN_MAX);
	free(header);
	free(token);
}

static void set_options(struct kube_call *call)
{
	CURL *easy = call->easy;
	char url[URL_BYTES];
	snprintf(url, sizeof(url), "%s%s", call->client->config->server, call->options.target);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https,http");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, call->options.fresh ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "millrace/" MILLRACE_VERSION);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/* A look-up that outlives its request is left to its thread instead of holding the loop. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_S);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_S);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->curl_error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
	set_tls(easy, call->client->config);
}

struct kube_call *kube_client_get(struct kube_client *client,
				  const struct kube_call_options *options)
{
	struct kube_call *call = memory_zeroed(1, sizeof(*call));
	call->client = client;
	call->options = *options;
	call->easy = curl_easy_init();
	if (!call->easy)
		abort();	      /* out of memory */
	uv_update_time(client->loop); /* much may have been done since it last looked */
	call->last_ms = uv_now(client->loop);
	call->sent_ns = real_ns();
	call->next = client->calls;
	call->previous = &client->calls;
	if (call->next)
		call->next->previous = &call->next;
	client->calls = call;
	set_headers(call);
	set_options(call);
	call->options.target = NULL; /* was lent */
	if (!call->refused)
		curl_multi_add_handle(multi_curl(client->multi), call->easy);
	return call;
}

/* ---- */

struct kube_client *kube_client_new(uv_loop_t *loop, const struct kube_config *config)
{
	struct kube_client *client = memory_zeroed(1, sizeof(*client));
	client->loop = loop;
	client->config = config;
	client->multi = multi_new(loop, finish);
	client->handles = 2;
	uv_timer_init(loop, &client->tick);
	client->tick.data = client;
	uv_timer_start(&client->tick, on_tick, TICK_MS, TICK_MS);
	return client;
}

static void on_part_closed(void *context)
{
	struct kube_client *client = context;
	void (*closed)(void *context) = client->closed;
	void *closed_context = client->closed_context;
	if (--client->handles)
		return;
	free(client);
	closed(closed_context);
}

static void on_tick_closed(uv_handle_t *handle)
{
	on_part_closed(handle->data);
}

void kube_client_close(struct kube_client *client, void (*closed)(void *context), void *context)
{
	client->closed = closed;
	client->closed_context = context;
	while (client->calls)
		kube_call_end(client->calls);
	multi_close(client->multi, on_part_closed, client);
	uv_close((uv_handle_t *)&client->tick, on_tick_closed);
}
