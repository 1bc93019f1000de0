#include "api/http/tls.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct tls {
	SSL *ssl;
	BIO *in, *out;
};

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_size,
			   const unsigned char *in, unsigned in_size, void *context)
{
	static const unsigned char ours[] = "\x02h2\x08http/1.1";
	unsigned char *chosen;
	(void)ssl;
	(void)context;
	if (SSL_select_next_proto(&chosen, out_size, ours, sizeof(ours) - 1, in, in_size) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static void harden(SSL_CTX *context)
{
	SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					     SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE |
					     SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_num_tickets(context, 0);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20");
	SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
}

static bool load(SSL_CTX *context, const char *certificate_file, const char *key_file,
		 const char *client_ca_file)
{
	if (SSL_CTX_use_certificate_chain_file(context, certificate_file) != 1 ||
	    SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(context) != 1)
		return false;
	if (!client_ca_file)
		return true;
	if (SSL_CTX_load_verify_locations(context, client_ca_file, NULL) != 1)
		return false;
	SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(client_ca_file));
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return true;
}

int tls_context_new(const char *certificate_file, const char *key_file, const char *client_ca_file,
		    struct ssl_ctx_st **context)
{
	SSL_CTX *made = SSL_CTX_new(TLS_server_method());
	if (!made)
		return -ENOMEM;
	harden(made);
	bool loaded = key_file && load(made, certificate_file, key_file, client_ca_file);
	ERR_clear_error();
	if (!loaded) {
		SSL_CTX_free(made);
		return -EINVAL;
	}
	*context = made;
	return 0;
}

void tls_context_free(struct ssl_ctx_st *context)
{
	SSL_CTX_free(context);
}

struct tls *tls_new(struct ssl_ctx_st *context)
{
	struct tls *tls = memory_zeroed(1, sizeof(*tls));
	tls->ssl = SSL_new(context);
	tls->in = BIO_new(BIO_s_mem());
	tls->out = BIO_new(BIO_s_mem());
	if (!tls->ssl || !tls->in || !tls->out)
		abort();
	SSL_set_bio(tls->ssl, tls->in, tls->out);
	SSL_set_accept_state(tls->ssl);
	return tls;
}

void tls_free(struct tls *tls)
{
	if (!tls)
		return;
	SSL_free(tls->ssl); /* and both BIOs */
	free(tls);
}

static int feed_result(struct tls *tls, int result)
{
	int error = SSL_get_error(tls->ssl, result);
	ERR_clear_error();
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
		return 0;
	return error == SSL_ERROR_ZERO_RETURN ? -ECONNRESET : -EPROTO;
}

int tls_feed(struct tls *tls, const uint8_t *bytes, size_t size, struct buffer *plain)
{
	int written = BIO_write(tls->in, bytes, (int)size);
	assert(written == (int)size); /* memory BIOs take all */
	if (!SSL_is_init_finished(tls->ssl)) {
		int result = SSL_accept(tls->ssl);
		if (result != 1)
			return feed_result(tls, result);
	}
	for (;;) {
		enum { RECORD = 16384 };
		int result = SSL_read(tls->ssl, buffer_reserve(plain, RECORD), RECORD);
		if (result <= 0)
			return feed_result(tls, result);
		buffer_grow(plain, (size_t)result);
	}
}

void tls_seal(struct tls *tls, const uint8_t *plain, size_t size)
{
	assert(tls_ready(tls) && size <= INT32_MAX);
	if (size && SSL_write(tls->ssl, plain, (int)size) != (int)size)
		ERR_clear_error(); /* the connection failed while reading and is on its way out */
}

void tls_drain(struct tls *tls, struct buffer *out)
{
	size_t size = BIO_ctrl_pending(tls->out);
	if (!size)
		return;
	int moved = BIO_read(tls->out, buffer_reserve(out, size), (int)size);
	if (moved > 0)
		buffer_grow(out, (size_t)moved);
}

bool tls_ready(const struct tls *tls)
{
	return SSL_is_init_finished(tls->ssl);
}

bool tls_chose_http2(const struct tls *tls)
{
	const unsigned char *name;
	unsigned size;
	SSL_get0_alpn_selected(tls->ssl, &name, &size);
	return size == 2 && !memcmp(name, "h2", 2);
}

void tls_close(struct tls *tls)
{
	if (tls_ready(tls))
		SSL_shutdown(tls->ssl);
	ERR_clear_error();
}
