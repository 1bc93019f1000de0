#include "daemon/embedded.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/memory.h"
#include "daemon/topics.h"

enum {
	FORWARD_BYTES = 16 * 1024, /* a bootstrap connection carries metadata requests only */
	FORWARDS_MAX = 256, /* connections at once; clients keep one or none after bootstrap */
	BACKLOG = 128,
};

/* One client of the forwarder: bytes read from either end are written to the other; reading stops
 * while a write is under way. */
struct pipe_end {
	uv_tcp_t tcp;
	struct forward *forward;
	struct pipe_end *other;
	uv_write_t write;
	char bytes[FORWARD_BYTES];
};

struct forward {
	struct pipe_end client, broker;
	uv_connect_t connect;
	struct embedded *embedded;
	int open; /* handles not yet closed */
	bool closing;
};

struct embedded {
	rd_kafka_t *kafka;
	rd_kafka_mock_cluster_t *cluster;
	uv_loop_t loop;
	uv_thread_t thread;
	uv_tcp_t listener;
	uv_async_t stop;
	struct sockaddr_in broker;
	int forwards;
};

static void on_closed(uv_handle_t *handle)
{
	struct pipe_end *end = handle->data;
	struct forward *forward = end->forward;

	if (--forward->open > 0)
		return;
	forward->embedded->forwards--;
	free(forward);
}

static void forward_close(struct forward *forward)
{
	if (forward->closing)
		return;
	forward->closing = true;
	uv_close((uv_handle_t *)&forward->client.tcp, on_closed);
	uv_close((uv_handle_t *)&forward->broker.tcp, on_closed);
}

static void on_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
	struct pipe_end *end = handle->data;

	(void)suggested;
	*buffer = uv_buf_init(end->bytes, FORWARD_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer);

static void on_written(uv_write_t *write, int status)
{
	struct pipe_end *end = write->data; /* whose bytes were written */

	if (status < 0 || uv_read_start((uv_stream_t *)&end->tcp, on_buffer, on_read) < 0)
		forward_close(end->forward);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
	struct pipe_end *end = stream->data;
	uv_buf_t bytes;

	if (length == 0)
		return;
	if (length < 0) {
		forward_close(end->forward);
		return;
	}
	uv_read_stop(stream);
	bytes = uv_buf_init(buffer->base, (unsigned)length);
	end->write.data = end;
	if (uv_write(&end->write, (uv_stream_t *)&end->other->tcp, &bytes, 1, on_written) < 0)
		forward_close(end->forward);
}

static void on_connected(uv_connect_t *connect, int status)
{
	struct forward *forward = connect->data;

	if (forward->closing)
		return;
	if (status < 0 ||
	    uv_read_start((uv_stream_t *)&forward->client.tcp, on_buffer, on_read) < 0 ||
	    uv_read_start((uv_stream_t *)&forward->broker.tcp, on_buffer, on_read) < 0)
		forward_close(forward);
}

static void end_init(struct pipe_end *end, struct forward *forward, struct pipe_end *other)
{
	uv_tcp_init(&forward->embedded->loop, &end->tcp);
	end->tcp.data = end;
	end->forward = forward;
	end->other = other;
}

static void on_client(uv_stream_t *listener, int status)
{
	struct embedded *embedded = listener->data;
	struct forward *forward;

	if (status < 0)
		return;
	forward = memory_zeroed(1, sizeof(*forward));
	forward->embedded = embedded;
	forward->open = 2;
	embedded->forwards++;
	end_init(&forward->client, forward, &forward->broker);
	end_init(&forward->broker, forward, &forward->client);
	forward->connect.data = forward;
	if (uv_accept(listener, (uv_stream_t *)&forward->client.tcp) < 0 ||
	    embedded->forwards > FORWARDS_MAX ||
	    uv_tcp_connect(&forward->connect, &forward->broker.tcp,
			   (struct sockaddr *)&embedded->broker, on_connected) < 0)
		forward_close(forward);
}

static void close_walk(uv_handle_t *handle, void *context)
{
	struct embedded *embedded = context;
	struct pipe_end *end = handle->data;

	if (uv_is_closing(handle))
		return;
	if (handle == (uv_handle_t *)&embedded->listener ||
	    handle == (uv_handle_t *)&embedded->stop)
		uv_close(handle, NULL);
	else
		forward_close(end->forward);
}

static void on_stop(uv_async_t *async)
{
	uv_walk(async->loop, close_walk, async->data);
}

static void run(void *context)
{
	struct embedded *embedded = context;

	uv_run(&embedded->loop, UV_RUN_DEFAULT);
}

/* --- the cluster --- */

static int create_topics(struct embedded *embedded, uint32_t partitions)
{
	static const struct {
		const char *name;
		uint32_t partitions; /* 0: one a task */
	} topics[] = {
		{TOPIC_EVENTS, 0},     {TOPIC_METADATA, 1},  {TOPIC_EXCHANGE, 0},
		{TOPIC_FLOWS, 0},      {TOPIC_ROLLUPS, 0},   {TOPIC_ALERTS, 0},
		{TOPIC_DELIVERY, 0},   {TOPIC_BASELINES, 0}, {TOPIC_CONTROL, 1},
		{TOPIC_DEADLETTER, 1}, {TOPIC_RULES, 1},     {TOPIC_SILENCES, 1},
	};

	for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
		int count = (int)(topics[i].partitions ? topics[i].partitions : partitions);

		if (rd_kafka_mock_topic_create(embedded->cluster, topics[i].name, count, 1))
			return -ENOMEM;
	}
	return 0;
}

static int start_cluster(struct embedded *embedded, uint32_t partitions)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char text[256];

	/* The cluster needs a client to live in; a mock of its own would only cost a thread more.
	 */
	rd_kafka_conf_set(conf, "log_level", "3", text, sizeof(text));
	embedded->kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	if (!embedded->kafka)
		return -ENOMEM;
	embedded->cluster = rd_kafka_mock_cluster_new(embedded->kafka, 1);
	if (!embedded->cluster)
		return -ENOMEM;
	return create_topics(embedded, partitions);
}

static int broker_address(struct embedded *embedded)
{
	const char *bootstraps = rd_kafka_mock_cluster_bootstraps(embedded->cluster);
	const char *colon = strrchr(bootstraps, ':');

	return colon ? uv_ip4_addr("127.0.0.1", atoi(colon + 1), &embedded->broker) : -EINVAL;
}

static int start_forwarder(struct embedded *embedded, const struct embedded_options *options)
{
	struct sockaddr_storage address;
	int rc = uv_ip4_addr(options->host, options->port, (struct sockaddr_in *)&address);

	if (rc)
		rc = uv_ip6_addr(options->host, options->port, (struct sockaddr_in6 *)&address);
	if (rc == 0)
		rc = uv_tcp_bind(&embedded->listener, (struct sockaddr *)&address, 0);
	if (rc == 0)
		rc = uv_listen((uv_stream_t *)&embedded->listener, BACKLOG, on_client);
	return rc;
}

struct embedded *embedded_start(const struct embedded_options *options, int *error)
{
	struct embedded *embedded = memory_zeroed(1, sizeof(*embedded));
	int rc;

	uv_loop_init(&embedded->loop);
	uv_tcp_init(&embedded->loop, &embedded->listener);
	uv_async_init(&embedded->loop, &embedded->stop, on_stop);
	embedded->listener.data = embedded->stop.data = embedded;
	rc = start_cluster(embedded, options->partitions);
	if (rc == 0)
		rc = broker_address(embedded);
	if (rc == 0)
		rc = start_forwarder(embedded, options);
	if (rc)
		on_stop(&embedded->stop);
	if (uv_thread_create(&embedded->thread, run, embedded))
		abort(); /* no thread at start: nothing can run */
	if (rc == 0)
		return embedded;
	uv_thread_join(&embedded->thread);
	if (embedded->cluster)
		rd_kafka_mock_cluster_destroy(embedded->cluster);
	if (embedded->kafka)
		rd_kafka_destroy(embedded->kafka);
	uv_loop_close(&embedded->loop);
	free(embedded);
	*error = rc;
	return NULL;
}

void embedded_stop(struct embedded *embedded)
{
	uv_async_send(&embedded->stop);
	uv_thread_join(&embedded->thread);
	uv_loop_close(&embedded->loop);
	rd_kafka_mock_cluster_destroy(embedded->cluster);
	rd_kafka_destroy(embedded->kafka);
	free(embedded);
}

const char *embedded_bootstrap(const struct embedded *embedded)
{
	return rd_kafka_mock_cluster_bootstraps(embedded->cluster);
}
