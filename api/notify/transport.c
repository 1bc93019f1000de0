#include "api/notify/transport.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/address.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/real.h"
#include "fetch/multi.h"

/* Of all receivers: many may be at one host, and one that hangs must not hold the others' back.
 * Each has four requests under way at most, and there are 64 receivers. */
enum { CONNECTIONS_A_HOST = 4 * 64 };

struct post {
	struct post *next, **previous; /* those under way */
	struct transport *transport;
	CURL *easy;
	struct curl_slist *headers;
	transport_done done;
	void *context;
	uint64_t sent_ns;
	char error[CURL_ERROR_SIZE];
	char retry_after[64];
	size_t request_length, length; /* of the request's body, of the answer's */
	uint32_t sends;		       /* times that it was, or was to be, sent */
	bool refused_address;
	bool headed; /* the answer's headers came whole */
	bool full;   /* and more of its body than is read */
	char body[ANSWER_BYTES_MAX + 1];
};

struct transport {
	struct transport_options options;
	struct multi *multi;
	struct post *posts;
	void (*closed)(void *context);
	void *closed_context;
};

/* --- one request --- */

static void post_free(struct post *post)
{
	*post->previous = post->next;
	if (post->next)
		post->next->previous = post->previous;
	curl_multi_remove_handle(multi_curl(post->transport->multi), post->easy);
	curl_easy_cleanup(post->easy);
	curl_slist_free_all(post->headers);
	free(post);
}

static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
	struct post *post = context;
	size_t length = size * count;

	if (length > ANSWER_BYTES_MAX - post->length) {
		post->full = true;
		return 0; /* curl ends the request: the status has come, that is what counts */
	}
	memcpy(post->body + post->length, bytes, length);
	post->length += length;
	return length;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *context)
{
	static const char name[] = "retry-after:";
	struct post *post = context;
	size_t length = size * count, at = sizeof(name) - 1, copied = 0;

	if (length && (bytes[0] == '\r' || bytes[0] == '\n'))
		post->headed = true; /* the empty line; trailers may follow the body */
	else if (length > 5 && memcmp(bytes, "HTTP/", 5) == 0)
		post->headed = false; /* a status line, the last may have been 100 */
	if (length <= at || strncasecmp(bytes, name, at) != 0)
		return length;
	while (at < length && bytes[at] == ' ')
		at++;
	while (at < length && bytes[at] != '\r' && bytes[at] != '\n' &&
	       copied + 1 < sizeof(post->retry_after))
		post->retry_after[copied++] = bytes[at++];
	post->retry_after[copied] = '\0';
	return length;
}

static bool address_allowed(const struct transport *transport, const struct curl_sockaddr *to)
{
	struct address address;

	if (transport->options.allow_private)
		return true;
	if (to->family == AF_INET)
		address =
			address_v4(ntohl(((const struct sockaddr_in *)&to->addr)->sin_addr.s_addr));
	else if (to->family == AF_INET6)
		address = address_v6(((const struct sockaddr_in6 *)&to->addr)->sin6_addr.s6_addr);
	else
		return false;
	return address_class(&address) == ADDRESS_PUBLIC;
}

static curl_socket_t on_open(void *context, curlsocktype purpose, struct curl_sockaddr *to)
{
	struct post *post = context;

	(void)purpose;
	if (!address_allowed(post->transport, to)) {
		post->refused_address = true;
		return CURL_SOCKET_BAD;
	}
	return socket(to->family, to->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, to->protocol);
}

/* Before each time that the request is sent. When a kept connection ends without a word curl would
 * send it again on another; but the peer may have acted, and whoever posts decides and says so. */
static int on_send(void *context, char *to, char *from, int to_port, int from_port)
{
	struct post *post = context;

	(void)to;
	(void)from;
	(void)to_port;
	(void)from_port;
	return post->sends++ ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static void finish(void *request, CURLcode code)
{
	struct post *post = request;
	struct answer answer = {
		.sent_ns = post->sent_ns, .answered_ns = real_ns(), .body = post->body};
	transport_done done = post->done;
	void *context = post->context;
	curl_off_t uploaded = 0;

	curl_easy_getinfo(post->easy, CURLINFO_RESPONSE_CODE, &answer.status);
	curl_easy_getinfo(post->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
	answer.may_have_arrived = (size_t)uploaded >= post->request_length || post->sends > 1;
	/* What the peer cut short may be anything; what we cut short is an answer. */
	if (!post->headed || (code != CURLE_OK && !post->full))
		answer.status = 0;
	if (!answer.status)
		snprintf(answer.error, sizeof(answer.error), "%s",
			 post->refused_address
				 ? "its address is private; set notify.allow_private to use it"
			 : post->sends > 1  ? "the connection ended without an answer"
			 : post->error[0]   ? post->error
			 : code != CURLE_OK ? curl_easy_strerror(code)
					    : "the answer was cut in its headers");
	snprintf(answer.retry_after, sizeof(answer.retry_after), "%s", post->retry_after);
	post->body[post->length] = '\0';
	done(context, &answer);
	post_free(post);
}

void transport_post(struct transport *transport, const char *url, const char *const *headers,
		    const char *body, size_t length, transport_done done, void *context)
{
	struct post *post = memory_zeroed(1, sizeof(*post));
	CURL *easy = curl_easy_init();

	if (!easy)
		abort(); /* out of memory */
	post->transport = transport;
	post->easy = easy;
	post->done = done;
	post->context = context;
	post->request_length = length;
	post->sent_ns = real_ns();
	post->next = transport->posts;
	post->previous = &transport->posts;
	if (post->next)
		post->next->previous = &post->next;
	transport->posts = post;
	post->headers = curl_slist_append(NULL, "Content-Type: application/json");
	post->headers = curl_slist_append(post->headers, "Expect:");
	for (; headers && *headers; headers++)
		post->headers = curl_slist_append(post->headers, *headers);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, post);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR,
			 transport->options.allow_http ? "https,http" : "https");
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, post->headers);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
	curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "millrace/" MILLRACE_VERSION);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/* A look-up that outlives its request is left to its thread instead of holding the loop. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
			 (long)(transport->options.timeout_ns / NS_PER_MS));
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, post->error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, post);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, post);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_send);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, post);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, post);
	curl_multi_add_handle(multi_curl(transport->multi), easy);
}

struct transport *transport_new(const struct transport_options *options)
{
	struct transport *transport = memory_zeroed(1, sizeof(*transport));

	transport->options = *options;
	transport->multi = multi_new(options->loop, finish);
	curl_multi_setopt(multi_curl(transport->multi), CURLMOPT_MAX_HOST_CONNECTIONS,
			  (long)CONNECTIONS_A_HOST);
	return transport;
}

static void on_closed(void *context)
{
	struct transport *transport = context;
	void (*closed)(void *context) = transport->closed;
	void *closed_context = transport->closed_context;

	free(transport);
	closed(closed_context);
}

void transport_close(struct transport *transport, void (*closed)(void *context), void *context)
{
	transport->closed = closed;
	transport->closed_context = context;
	while (transport->posts) {
		transport->posts->done(transport->posts->context, NULL);
		post_free(transport->posts);
	}
	multi_close(transport->multi, on_closed, transport);
}
