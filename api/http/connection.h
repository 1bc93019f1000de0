/*
 * A session on a socket: libuv reads and writes, TLS between them when there is a certificate.
 *
 * Whoever has output marks its connection; all marked ones are flushed once each loop turn, just
 * before the loop would sleep, so nothing is sent from inside a handler. At most WRITE_MAX bytes
 * are under way for a connection, and while the socket is full nothing is read from it. One thread.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "api/http/buffer.h"
#include "api/http/session.h"
#include "base/address.h"

enum {
	WRITE_MAX = 64 << 10, /* a few TLS records; larger gains nothing on loopback */
	LINGER_MS = 1000,     /* for the peer to read a last answer before its input resets it */
};

struct ssl_ctx_st;
struct tls;

struct connection {
	struct connections *set;
	struct connection *next, **link;
	struct connection *marked_next;
	uv_tcp_t tcp;
	uv_write_t write;
	uv_shutdown_t shutdown;
	struct session session;
	struct tls *tls; /* NULL in clear text */
	struct address address;
	struct buffer out;	 /* to be sent next */
	struct buffer in_flight; /* libuv's until written */
	struct buffer plain;	 /* decrypted, or to be encrypted */
	uint64_t write_since_ms;
	uint64_t linger_since_ms;
	bool marked, reading, writing, closing, lingering, negotiated;
	bool ended; /* the peer has closed its side */
};

/* All connections of a server. */
struct connections {
	uv_loop_t *loop;
	struct site *site;
	struct ssl_ctx_st *tls; /* for new connections, or NULL */
	struct connection *first;
	struct connection *marked;
	uint8_t read_bytes[64 << 10]; /* one read at a time, consumed before the next */
	void (*emptied)(void *context);
	void *context;
};

/* Takes one connection from the listener, or refuses it by the limits. */
void connections_accept(struct connections *set, uv_stream_t *listener);
void connections_flush(struct connections *set);
void connections_tick(struct connections *set);
void connections_drain(struct connections *set);
void connections_close(struct connections *set);
