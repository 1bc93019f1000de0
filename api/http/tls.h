/*
 * TLS by OpenSSL over two memory BIOs: ciphertext in, plain bytes out, and back; no socket.
 *
 * TLS 1.2 with ECDHE and AEAD, or 1.3; no renegotiation, compression or tickets (their keys would
 * want rotating); ALPN offers h2, then http/1.1. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/http/buffer.h"

struct ssl_st;
struct ssl_ctx_st;
struct tls;

/* Returns 0, or -EINVAL when a file does not load or the key does not fit. */
int tls_context_new(const char *certificate_file, const char *key_file, const char *client_ca_file,
		    struct ssl_ctx_st **context);
void tls_context_free(struct ssl_ctx_st *context);

struct tls *tls_new(struct ssl_ctx_st *context); /* keeps the context alive */
void tls_free(struct tls *tls);
/* Appends what could be decrypted. Returns 0, -ECONNRESET once the peer has closed, or -EPROTO. */
int tls_feed(struct tls *tls, const uint8_t *bytes, size_t size, struct buffer *plain);
/* Encrypts all of it; only when ready. */
void tls_seal(struct tls *tls, const uint8_t *plain, size_t size);
/* Moves the ciphertext that waits, the handshake's included, to the end of out. */
void tls_drain(struct tls *tls, struct buffer *out);
bool tls_ready(const struct tls *tls);
bool tls_chose_http2(const struct tls *tls);
/* Queues close_notify. */
void tls_close(struct tls *tls);
