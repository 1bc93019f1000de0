#include "api/http/connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/site.h"
#include "api/http/tls.h"
#include "base/memory.h"

enum {
	FLUSH_ROUNDS = 8, /* full writes in a row before others get their turn */
	KEEPALIVE_S = 60, /* finds dead peers of silent streams */
};

static void connection_mark(void *context)
{
	struct connection *connection = context;
	if (connection->marked)
		return;
	connection->marked = true;
	connection->marked_next = connection->set->marked;
	connection->set->marked = connection;
}

static void unmark(struct connection *connection)
{
	struct connection **at = &connection->set->marked;
	while (*at && *at != connection)
		at = &(*at)->marked_next;
	if (*at)
		*at = connection->marked_next;
}

static void on_closed(uv_handle_t *handle)
{
	struct connection *connection = handle->data;
	struct connections *set = connection->set;
	unmark(connection);
	*connection->link = connection->next;
	if (connection->next)
		connection->next->link = connection->link;
	set->site->stats.connections_open--;
	tls_free(connection->tls);
	buffer_done(&connection->out);
	buffer_done(&connection->in_flight);
	buffer_done(&connection->plain);
	free(connection);
	if (!set->first && set->emptied)
		set->emptied(set->context);
}

static void connection_close(struct connection *connection)
{
	if (connection->closing)
		return;
	connection->closing = true;
	session_done(&connection->session);
	uv_close((uv_handle_t *)&connection->tcp, on_closed);
}

static void feed_tls(struct connection *connection, const uint8_t *bytes, size_t size)
{
	struct session *session = &connection->session;
	int result = tls_feed(connection->tls, bytes, size, &connection->plain);
	if (tls_ready(connection->tls) && !connection->negotiated) {
		connection->negotiated = true;
		if (tls_chose_http2(connection->tls))
			session_expect_http2(session);
	}
	session_feed(session, buffer_bytes(&connection->plain), buffer_size(&connection->plain));
	buffer_clear(&connection->plain);
	if (result == -ECONNRESET) {
		session_eof(session);
	} else if (result) {
		connection->set->site->stats.tls_failures++;
		session->broken = true;
	}
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
	struct connection *connection = handle->data;
	(void)suggested;
	buffer->base = (char *)connection->set->read_bytes;
	buffer->len = sizeof(connection->set->read_bytes);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer);

static void set_reading(struct connection *connection)
{
	bool wanted = !connection->ended &&
		      (connection->lingering ||
		       (!connection->writing && session_hungry(&connection->session)));
	if (wanted == connection->reading || connection->closing)
		return;
	connection->reading = wanted;
	if (wanted)
		uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read);
	else
		uv_read_stop((uv_stream_t *)&connection->tcp);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
	struct connection *connection = stream->data;
	const uint8_t *bytes = (const uint8_t *)buffer->base;
	if (size == 0)
		return;
	if (size < 0 && (connection->lingering || size != UV_EOF)) {
		connection_close(connection);
		return;
	}
	connection_mark(connection);
	if (size < 0) {
		connection->ended = true;
		set_reading(connection);
		session_eof(&connection->session);
		return;
	}
	connection->set->site->stats.received_bytes += (uint64_t)size;
	if (connection->lingering)
		return;
	if (connection->tls)
		feed_tls(connection, bytes, (size_t)size);
	else
		session_feed(&connection->session, bytes, (size_t)size);
}

static void on_written(uv_write_t *write, int status)
{
	struct connection *connection = write->data;
	connection->writing = false;
	buffer_clear(&connection->in_flight);
	if (status < 0)
		connection_close(connection);
	else
		connection_mark(connection);
}

/* True when the socket took it all. */
static bool send_out(struct connection *connection)
{
	struct buffer *out = &connection->out;
	uv_stream_t *stream = (uv_stream_t *)&connection->tcp;
	uv_buf_t piece =
		uv_buf_init((char *)(uintptr_t)buffer_bytes(out), (unsigned)buffer_size(out));
	connection->set->site->stats.sent_bytes += buffer_size(out);
	int sent = uv_try_write(stream, &piece, 1);
	if (sent < 0 && sent != UV_EAGAIN) {
		connection_close(connection);
		return false;
	}
	buffer_consume(out, sent > 0 ? (size_t)sent : 0);
	if (!buffer_size(out))
		return true;
	struct buffer empty = connection->in_flight;
	connection->in_flight = *out;
	*out = empty;
	piece = uv_buf_init((char *)(uintptr_t)buffer_bytes(&connection->in_flight),
			    (unsigned)buffer_size(&connection->in_flight));
	connection->writing = true;
	connection->write_since_ms = connection->set->site->now_ms;
	connection->write.data = connection;
	if (uv_write(&connection->write, stream, &piece, 1, on_written)) {
		connection->writing = false;
		connection_close(connection);
	}
	return false;
}

static void fill_out(struct connection *connection)
{
	struct buffer *plain = &connection->plain;
	if (!connection->tls) {
		session_fetch(&connection->session, &connection->out, WRITE_MAX);
		return;
	}
	if (tls_ready(connection->tls)) {
		session_fetch(&connection->session, plain, WRITE_MAX);
		tls_seal(connection->tls, buffer_bytes(plain), buffer_size(plain));
		buffer_clear(plain);
	}
	tls_drain(connection->tls, &connection->out);
}

static void on_shutdown(uv_shutdown_t *shutdown, int status)
{
	struct connection *connection = shutdown->data;
	if (status < 0)
		connection_close(connection);
}

/*
 * All is sent. Closing now would answer input still on its way with a reset, which can overtake the
 * answer; so say that we are done and read on for a moment.
 */
static void linger(struct connection *connection)
{
	if (connection->lingering || connection->closing)
		return;
	if (connection->session.broken || connection->ended) {
		connection_close(connection);
		return;
	}
	connection->lingering = true;
	connection->linger_since_ms = connection->set->site->now_ms;
	connection->shutdown.data = connection;
	if (connection->tls) {
		tls_close(connection->tls);
		tls_drain(connection->tls, &connection->out);
		if (buffer_size(&connection->out) && !send_out(connection))
			return; /* the linger's end closes it */
	}
	if (uv_shutdown(&connection->shutdown, (uv_stream_t *)&connection->tcp, on_shutdown))
		connection_close(connection);
}

static void flush(struct connection *connection)
{
	int round = 0;
	if (connection->closing || connection->lingering)
		return;
	for (; !connection->writing && round < FLUSH_ROUNDS; round++) {
		fill_out(connection);
		if (!buffer_size(&connection->out) || !send_out(connection))
			break;
	}
	if (connection->closing)
		return;
	if (round == FLUSH_ROUNDS)
		connection_mark(connection);
	else if (!connection->writing && session_over(&connection->session))
		linger(connection);
	set_reading(connection);
}

void connections_flush(struct connections *set)
{
	struct connection *connection = set->marked;
	set->marked = NULL;
	/* Flushing closes nothing at once and marks anew on set->marked: the old chain stays whole.
	 */
	while (connection) {
		struct connection *next = connection->marked_next;
		connection->marked = false;
		flush(connection);
		connection = next;
	}
}

static bool stalled(const struct connection *connection)
{
	const struct site *site = connection->set->site;
	return connection->writing &&
	       site->now_ms - connection->write_since_ms > site->options.stall_timeout_ms;
}

void connections_tick(struct connections *set)
{
	uint64_t now_ms = set->site->now_ms;
	for (struct connection *at = set->first; at; at = at->next) {
		if (at->closing)
			continue;
		if (at->lingering) {
			if (now_ms - at->linger_since_ms > LINGER_MS)
				connection_close(at);
			continue;
		}
		session_tick(&at->session);
		if (stalled(at)) {
			set->site->stats.stall_timeouts++;
			connection_close(at);
		} else if (session_over(&at->session)) {
			connection_mark(at);
		}
	}
}

void connections_drain(struct connections *set)
{
	for (struct connection *at = set->first; at; at = at->next)
		if (!at->closing)
			session_drain(&at->session);
}

void connections_close(struct connections *set)
{
	for (struct connection *at = set->first; at; at = at->next)
		connection_close(at);
}

static struct address peer_address(const uv_tcp_t *tcp)
{
	struct sockaddr_storage name = {0};
	int size = sizeof(name);
	if (uv_tcp_getpeername(tcp, (struct sockaddr *)&name, &size))
		return address_v4(0);
	if (name.ss_family == AF_INET6)
		return address_v6(((struct sockaddr_in6 *)&name)->sin6_addr.s6_addr);
	return address_v4(ntohl(((struct sockaddr_in *)&name)->sin_addr.s_addr));
}

static bool within_limits(const struct connections *set, const struct connection *connection)
{
	struct site *site = set->site;
	uint32_t same = 0;
	if (site->stats.connections_open > site->options.connections_max) {
		site->stats.refused_connections_max++;
		return false;
	}
	for (const struct connection *at = set->first; at; at = at->next)
		same += !at->closing && address_equal(&at->address, &connection->address);
	if (same > site->options.connections_per_address_max) {
		site->stats.refused_per_address++;
		return false;
	}
	return true;
}

static struct connection *connection_new(struct connections *set)
{
	struct connection *connection = memory_zeroed(1, sizeof(*connection));
	connection->set = set;
	connection->tcp.data = connection;
	connection->next = set->first;
	connection->link = &set->first;
	if (connection->next)
		connection->next->link = &connection->next;
	set->first = connection;
	uv_tcp_init(set->loop, &connection->tcp);
	set->site->stats.connections_open++;
	set->site->stats.connections_total++;
	return connection;
}

void connections_accept(struct connections *set, uv_stream_t *listener)
{
	struct connection *connection = connection_new(set);
	char peer[ADDRESS_TEXT_MAX];
	int error = uv_accept(listener, (uv_stream_t *)&connection->tcp);
	connection->address = peer_address(&connection->tcp);
	address_format(&connection->address, peer);
	session_init(&connection->session, set->site, peer, set->tls != NULL);
	connection->session.wake = connection_mark;
	connection->session.wake_context = connection;
	if (set->tls)
		connection->tls = tls_new(set->tls);
	if (error)
		set->site->stats.accept_errors++;
	if (error || !within_limits(set, connection)) {
		connection_close(connection);
		return;
	}
	uv_tcp_nodelay(&connection->tcp, 1);
	uv_tcp_keepalive(&connection->tcp, 1, KEEPALIVE_S);
	set_reading(connection);
}
