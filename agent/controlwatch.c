#include "agent/controlwatch.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/client.h"
#include "base/clock.h"
#include "base/memory.h"
#include "kafka/security.h"

enum {
	RECORDS_A_TURN = 64,
	POLL_MS = 1000,	 /* should a wake-up be missed, and for more than a turn's records */
	FILES_EVERY = 5, /* polls, after which the files of TLS are looked at */
};

struct controlwatch {
	struct security_client access; /* first: the client's opaque */
	struct controlwatch_options options;
	rd_kafka_t *client;
	rd_kafka_queue_t *queue;
	int64_t offset; /* of the next record */
	uint64_t files; /* of TLS, as the client has read them */
	unsigned polls;
	int event_fd;
	uv_poll_t poll;
	uv_timer_t timer;
	unsigned handles;
	struct controlwatch_stats stats;
};

/* Thousands of agents wait at one partition for records that come once a week: a fetch waits as
 * long as brokers allow, and takes little memory. */
static const char *const defaults[][2] = {
	{"client.id", "millrace-agent-control"},
	{"group.id", "millrace-agent-control"}, /* librdkafka wants one; nothing is committed */
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"enable.partition.eof", "true"},
	{"auto.offset.reset", "earliest"},
	{"allow.auto.create.topics", "false"},
	{"check.crcs", "true"},
	{"queued.max.messages.kbytes", "2048"},
	{"fetch.max.bytes", "1048576"},
	{"receive.message.max.bytes", "8388608"},
	{"fetch.wait.max.ms", "5000"},
	{"fetch.error.backoff.ms", "1000"},
	{"topic.metadata.refresh.interval.ms", "60000"},
	{"reconnect.backoff.max.ms", "10000"},
	{"socket.nagle.disable", "true"},
	{"log_level", "3"},
};

static void quiet(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
	(void)client, (void)level, (void)facility, (void)text; /* errors are counted */
}

/* Properties of producers alone are not for this client: librdkafka only warns of them. */
static int configure(struct controlwatch *watch, rd_kafka_conf_t *conf,
		     char why[CONTROLWATCH_WHY_BYTES])
{
	const struct controlwatch_options *options = &watch->options;
	char text[256] = "";
	bool good = true;
	for (size_t i = 0; good && i < sizeof(defaults) / sizeof(defaults[0]); i++)
		good = rd_kafka_conf_set(conf, defaults[i][0], defaults[i][1], text,
					 sizeof(text)) == RD_KAFKA_CONF_OK;
	good = good && rd_kafka_conf_set(conf, "bootstrap.servers", options->brokers, text,
					 sizeof(text)) == RD_KAFKA_CONF_OK;
	good = good && !security_configure(&watch->access, conf, text, sizeof(text));
	rd_kafka_conf_set_log_cb(conf, quiet);
	if (!good)
		snprintf(why, CONTROLWATCH_WHY_BYTES, "kafka: %s", text);
	return good ? 0 : -EINVAL;
}

static int open_client(struct controlwatch *watch, char why[CONTROLWATCH_WHY_BYTES])
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char text[256] = "";
	int error = configure(watch, conf, why);
	if (!error) {
		watch->client = client_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
		if (!watch->client) {
			snprintf(why, CONTROLWATCH_WHY_BYTES, "kafka: %s", text);
			error = -EINVAL;
		}
	}
	if (error) {
		rd_kafka_conf_destroy(conf);
		return error;
	}
	watch->files = security_files(watch->options.security);
	watch->stats.clients++;
	security_begin(&watch->access, watch->client);
	rd_kafka_poll_set_consumer(watch->client);
	watch->queue = rd_kafka_queue_get_consumer(watch->client);
	uint64_t one = 1;
	rd_kafka_queue_io_event_enable(watch->queue, watch->event_fd, &one, sizeof(one));
	eventfd_write(watch->event_fd, one); /* what came before that told nobody */
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, watch->options.topic, 0)->offset = watch->offset;
	rd_kafka_resp_err_t code = rd_kafka_assign(watch->client, list);
	rd_kafka_topic_partition_list_destroy(list);
	if (code)
		snprintf(why, CONTROLWATCH_WHY_BYTES, "kafka: %s", rd_kafka_err2str(code));
	return code ? -EINVAL : 0;
}

static void take(struct controlwatch *watch, const rd_kafka_message_t *message)
{
	if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
		watch->stats.caught_up = true;
		return;
	}
	if (message->err) {
		watch->stats.errors++;
		return;
	}
	rd_kafka_timestamp_type_t type;
	int64_t time_ms = rd_kafka_message_timestamp(message, &type);
	watch->stats.records++;
	watch->offset = message->offset + 1;
	watch->options.record(watch->options.context, message->payload, message->len,
			      type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || time_ms < 0
				      ? 0
				      : (uint64_t)time_ms * NS_PER_MS);
}

static void drain(struct controlwatch *watch)
{
	uint64_t wakes;
	while (read(watch->event_fd, &wakes, sizeof(wakes)) > 0)
		;
	for (int i = 0; watch->client && i < RECORDS_A_TURN; i++) {
		rd_kafka_message_t *message = rd_kafka_consumer_poll(watch->client, 0);
		if (!message)
			return;
		take(watch, message);
		rd_kafka_message_destroy(message);
	}
	if (watch->client)
		eventfd_write(watch->event_fd, 1); /* more waits: the rest at the next turn */
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status, (void)events;
	drain(poll->data);
}

static void close_client(struct controlwatch *watch)
{
	if (watch->queue) {
		rd_kafka_queue_io_event_enable(watch->queue, -1, NULL, 0);
		rd_kafka_queue_destroy(watch->queue);
	}
	if (watch->client) {
		security_end(&watch->access);
		/* in no group, so there is nothing to leave, and no broker to wait for */
		rd_kafka_destroy_flags(watch->client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	}
	watch->queue = NULL;
	watch->client = NULL;
}

/* A certificate that was renewed is wanted before the old one expires. */
static void look_at_files(struct controlwatch *watch)
{
	char why[CONTROLWATCH_WHY_BYTES];
	if (++watch->polls % FILES_EVERY ||
	    (watch->client && security_files(watch->options.security) == watch->files))
		return;
	close_client(watch);
	if (open_client(watch, why)) {
		watch->stats.errors++; /* again at the next look */
		close_client(watch);
	}
}

static void on_timer(uv_timer_t *timer)
{
	drain(timer->data);
	look_at_files(timer->data);
}

static void release(struct controlwatch *watch)
{
	close_client(watch);
	if (watch->event_fd >= 0)
		close(watch->event_fd);
	free(watch);
}

static void on_closed(uv_handle_t *handle)
{
	struct controlwatch *watch = handle->data;
	if (--watch->handles == 0)
		release(watch);
}

int controlwatch_open(struct controlwatch **out, const struct controlwatch_options *options,
		      char why[CONTROLWATCH_WHY_BYTES])
{
	struct controlwatch *watch = memory_zeroed(1, sizeof(*watch));
	watch->options = *options;
	watch->access.security = options->security;
	watch->offset = RD_KAFKA_OFFSET_BEGINNING;
	watch->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int error = watch->event_fd < 0 ? -errno : 0;
	if (error)
		snprintf(why, CONTROLWATCH_WHY_BYTES, "eventfd: %s", strerror(-error));
	else
		error = open_client(watch, why);
	if (error) {
		release(watch);
		return error;
	}
	uv_poll_init(options->loop, &watch->poll, watch->event_fd);
	uv_timer_init(options->loop, &watch->timer);
	watch->handles = 2;
	watch->poll.data = watch->timer.data = watch;
	uv_poll_start(&watch->poll, UV_READABLE, on_readable);
	uv_timer_start(&watch->timer, on_timer, POLL_MS, POLL_MS);
	*out = watch;
	return 0;
}

struct controlwatch_stats controlwatch_stats(const struct controlwatch *controlwatch)
{
	return controlwatch->stats;
}

void controlwatch_close(struct controlwatch *controlwatch)
{
	if (!controlwatch)
		return;
	uv_close((uv_handle_t *)&controlwatch->poll, on_closed);
	uv_close((uv_handle_t *)&controlwatch->timer, on_closed);
}
