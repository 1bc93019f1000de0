/*
 * One port that speaks HTTP/1.1, HTTP/2 (prior knowledge, or ALPN under TLS), gRPC and SSE.
 *
 * It knows nothing of what it serves: it is handed a route table. A handler gets a whole request
 * and answers now or later on the same loop; every bound below is enforced before the handler runs,
 * and each refusal has a counter. What a peer sends can end its stream or connection, never the
 * process. Everything happens on the loop's thread, and every call must come from it.
 *
 * A handler may keep `request` and `response` until it ends the response (send, problem, asset,
 * end, finish) or is told by its gone callback that the client left, whichever is first; afterwards
 * both are dead. A handler that returns without an answer must have set a gone callback (asserted).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uv_loop_s;
struct server;
struct response;

/* Zero in a bound means the default named beside it. */
struct server_options {
	const char *host; /* an address; NULL is 127.0.0.1 */
	uint16_t port;	  /* 0 picks one: server_port tells */
	int backlog;	  /* 512 */

	const char *certificate_file; /* PEM chain; with key_file it makes the port TLS */
	const char *key_file;
	const char *client_ca_file; /* requires client certificates signed by these */

	uint32_t connections_max;	      /* 1024 */
	uint32_t connections_per_address_max; /* 64; raise it behind a proxy */
	uint32_t streams_max;		      /* 100 concurrent a HTTP/2 connection */
	uint32_t header_bytes_max;	      /* 16 KiB, request line included */
	uint32_t body_max;		      /* 1 MiB a REST request */
	uint32_t message_max;		      /* 4 MiB a gRPC message, as in every gRPC library */
	uint64_t bodies_max;		      /* 64 MiB of request bodies in memory in all */
	uint32_t pending_max; /* 256 KiB unsent on a stream that should have paused */

	uint32_t header_timeout_ms; /* 5 s from connect or first byte to the end of the headers */
	uint32_t body_grace_ms;	    /* 5 s, after which a body must come at 1 KiB/s */
	uint32_t idle_timeout_ms;   /* 60 s without a request */
	uint32_t stall_timeout_ms;  /* 30 s in which a waiting byte could not be sent */
	uint32_t drain_timeout_ms;  /* 5 s for answers under way when closing */

	const uint8_t
		*descriptor_set; /* FileDescriptorSet for gRPC reflection, or NULL; lent for life */
	size_t descriptor_set_size;
};

struct request {
	const char *method;
	const char *path;    /* percent-decoded, starts with '/' */
	const char *rest;    /* what "*" of a prefix route matched, else "" */
	const char *query;   /* raw, without '?'; see request_parameter */
	const char *id;	     /* X-Request-Id, the client's or a fresh one */
	const char *peer;    /* address of the other end */
	const uint8_t *body; /* gRPC: one message without its 5 bytes of framing */
	size_t body_size;
	uint64_t deadline_ms; /* gRPC: on uv_now's clock, 0 for none; enforced by the server */
	bool grpc;
	bool secure; /* came over TLS */
};

/* The first header of that name (any case), or NULL. Obeys HTTP/2: the host is ":authority" or
 * "host". */
const char *request_header(const struct request *request, const char *name);

/* The index-th value of that key, decoded ('+' is a space), or NULL. A key alone has the value "".
 */
const char *request_parameter(const struct request *request, const char *key, size_t index);
/* All pairs in order, to find keys that nobody knows; false past the last. */
bool request_parameter_at(const struct request *request, size_t index, const char **key,
			  const char **value);

typedef void (*handler)(struct request *request, struct response *response, void *context);
typedef void (*response_callback)(struct response *response, void *context);

/* Answers at once. HEAD and 304 drop the body, keeping its length. The body is copied. */
void response_send(struct response *response, unsigned status, const char *content_type,
		   const void *body, size_t size);
/* RFC 9457 application/problem+json; detail may be NULL. */
void response_problem(struct response *response, unsigned status, const char *detail);
/* Adds a header to an answer not yet begun; the name in lower case. */
void response_header(struct response *response, const char *name, const char *value);

/* A static file, lent for the life of the server and not copied. Answers 304 when the client has
 * it. */
struct asset {
	const void *body;
	size_t size;
	const char *content_type;
	const char *etag;     /* quoted */
	const char *encoding; /* "gzip" or NULL; a client that refuses it gets 406 */
	bool immutable;	      /* the name changes with the content: cached for a year */
};
void response_asset(struct response *response, const struct request *request,
		    const struct asset *asset);

/*
 * A stream. write, event and message return whether the client keeps up: on false wait for the
 * writable callback (called once each time the stream has drained). A producer that goes on
 * regardless is cut off at pending_max and told by its gone callback.
 */
void response_begin(struct response *response, unsigned status, const char *content_type);
bool response_write(struct response *response, const void *bytes, size_t size);
/* One server-sent event; name and id may be NULL; data is split at line ends as the format wants.
 */
bool response_event(struct response *response, const char *name, const char *id, const void *data,
		    size_t size);
bool response_writable(const struct response *response);
void response_on_writable(struct response *response, response_callback callback, void *context);
/* The client has gone, its deadline has passed, or the server closes: make no further call. */
void response_on_gone(struct response *response, response_callback callback, void *context);
void response_end(struct response *response);

enum grpc_status {
	GRPC_OK,
	GRPC_CANCELLED,
	GRPC_UNKNOWN,
	GRPC_INVALID_ARGUMENT,
	GRPC_DEADLINE_EXCEEDED,
	GRPC_NOT_FOUND,
	GRPC_ALREADY_EXISTS,
	GRPC_PERMISSION_DENIED,
	GRPC_RESOURCE_EXHAUSTED,
	GRPC_FAILED_PRECONDITION,
	GRPC_ABORTED,
	GRPC_OUT_OF_RANGE,
	GRPC_UNIMPLEMENTED,
	GRPC_INTERNAL,
	GRPC_UNAVAILABLE,
	GRPC_DATA_LOSS,
	GRPC_UNAUTHENTICATED,
};
/* gRPC: any number of messages (framed here), then the status; message may be NULL. */
bool response_message(struct response *response, const void *bytes, size_t size);
void response_finish(struct response *response, enum grpc_status status, const char *message);

/* Whether the request came by gRPC. */
bool response_by_grpc(const struct response *response);
/* A problem, or by gRPC the status that stands for it: 400, 401, 403, 404, 409, 429, 503 or
 * 504. */
void response_refuse(struct response *response, unsigned status, const char *detail);

/* Returns 0 and the server, or -errno (-EINVAL: the certificate or key does not load). */
int server_new(struct uv_loop_s *loop, const struct server_options *options,
	       struct server **server);
/* A path that ends in "/" + "*" takes all below it; the longest match wins. GET also serves HEAD.
 * -ENOSPC past 128 routes. The strings are lent for life. */
int server_route(struct server *server, const char *method, const char *path, handler handle,
		 void *context);
/* A method with one request message: unary or server streaming. Its service becomes SERVING. */
int server_grpc(struct server *server, const char *path, handler handle, void *context);
/* What grpc.health.v1 says of a service; "" is the whole server. Watchers are told. */
void server_health(struct server *server, const char *service, bool serving);
int server_listen(struct server *server);
uint16_t server_port(const struct server *server);
/* Loads certificate and key again; connections under way keep theirs. On failure the old ones stay.
 */
int server_reload_certificate(struct server *server);
/* Stops listening, says GOAWAY, lets answers finish within drain_timeout_ms, frees the server, then
 * calls. */
void server_close(struct server *server, void (*closed)(void *context), void *context);

struct server_stats {
	uint64_t connections_open;
	uint64_t connections_total;
	uint64_t refused_connections_max; /* closed at accept: connections_max */
	uint64_t refused_per_address;	  /* closed at accept: connections_per_address_max */
	uint64_t accept_errors;		  /* out of descriptors, mostly */
	uint64_t tls_failures;
	uint64_t streams_open;
	uint64_t requests_http1, requests_http2, requests_grpc;
	uint64_t responses[6];	   /* by hundreds: [2] is 2xx; gRPC by the HTTP status */
	uint64_t grpc_errors;	   /* finished with a status other than OK */
	uint64_t malformed;	   /* refused with 400 or a protocol error */
	uint64_t header_overflows; /* 431 */
	uint64_t body_overflows;   /* 413, RESOURCE_EXHAUSTED, or bodies_max */
	uint64_t header_timeouts, body_timeouts, idle_timeouts, stall_timeouts;
	uint64_t deadlines_exceeded;
	uint64_t slow_clients; /* streams cut off at pending_max */
	uint64_t floods;       /* connections sent away for resets or control frames */
	uint64_t clients_gone; /* left before their answer was complete */
	uint64_t body_bytes;   /* request bodies in memory now */
	uint64_t received_bytes, sent_bytes;
};
struct server_stats server_stats(const struct server *server);
