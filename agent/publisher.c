#include "agent/publisher.h"

#include <errno.h>
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

enum { SENT_MAX = 64 }; /* batches on their way: 6 s of ticks, at most 48 MiB at a batch's bound */
#define BACKOFF_MIN_NS (NS_PER_S / 2)
#define BACKOFF_MAX_NS (30 * NS_PER_S)

struct publisher {
	struct publisher_options options;
	struct spool *spool;
	rd_kafka_t *client;
	rd_kafka_queue_t *events;
	int event_fd;
	bool fatal;
	bool hold; /* a delivery failed: wait before the next */
	uint64_t retry_ns, backoff_ns;
	struct publisher_stats stats;
};

/* Idempotence keeps order over retries, zstd is a sixth of the bytes, 5 ms of linger
 * joins what one tick seals. message.timeout.ms bounds how long librdkafka itself keeps a batch. */
static const char *const defaults[][2] = {
	{"enable.idempotence", "true"},
	{"acks", "all"},
	{"linger.ms", "5"},
	{"compression.type", "zstd"},
	{"compression.level", "1"},
	{"queue.buffering.max.kbytes", "65536"},
	{"message.timeout.ms", "120000"},
	{"socket.nagle.disable", "true"},
	{"reconnect.backoff.max.ms", "1000"},
	{"partitioner",
	 "murmur2_random"}, /* as the Java client: every producer agrees on a node's partition */
	{"client.id", "millrace-agent"},
	{"log_level", "3"},
};

static void quiet(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
	(void)client, (void)level, (void)facility,
		(void)text; /* errors come as events, told once a change */
}

static int configure(const struct publisher *publisher, rd_kafka_conf_t *conf,
		     char why[PUBLISHER_WHY_BYTES])
{
	char text[256] = "";
	bool good = true;
	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
		good = good && rd_kafka_conf_set(conf, defaults[i][0], defaults[i][1], text,
						 sizeof(text)) == RD_KAFKA_CONF_OK;
	good = good && rd_kafka_conf_set(conf, "bootstrap.servers", publisher->options.brokers,
					 text, sizeof(text)) == RD_KAFKA_CONF_OK;
	for (size_t i = 0; good && i < publisher->options.properties_count; i++)
		good = rd_kafka_conf_set(conf, publisher->options.properties[2 * i],
					 publisher->options.properties[2 * i + 1], text,
					 sizeof(text)) == RD_KAFKA_CONF_OK;
	rd_kafka_conf_set_log_cb(conf, quiet);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
	if (!good)
		snprintf(why, PUBLISHER_WHY_BYTES, "kafka: %s", text);
	return good ? 0 : -EINVAL;
}

static int client_open(struct publisher *publisher, char why[PUBLISHER_WHY_BYTES])
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char text[256] = "";
	int error = configure(publisher, conf, why);
	if (!error) {
		publisher->client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
		if (!publisher->client) {
			snprintf(why, PUBLISHER_WHY_BYTES, "kafka: %s", text);
			error = -EINVAL;
		}
	}
	if (error) {
		rd_kafka_conf_destroy(conf);
		return error;
	}
	publisher->events = rd_kafka_queue_get_main(publisher->client);
	uint64_t one = 1;
	rd_kafka_queue_io_event_enable(publisher->events, publisher->event_fd, &one, sizeof(one));
	/* What came before that told nobody, and the queue tells only when it stops being empty. */
	eventfd_write(publisher->event_fd, one);
	publisher->stats.clients++;
	publisher->fatal = false;
	return 0;
}

int publisher_new(struct publisher **out, const struct publisher_options *options,
		  char why[PUBLISHER_WHY_BYTES])
{
	struct publisher *publisher = memory_zeroed(1, sizeof(*publisher));
	publisher->options = *options;
	publisher->spool = spool_new(options->spool_bytes_max);
	publisher->backoff_ns = BACKOFF_MIN_NS;
	publisher->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (publisher->event_fd < 0) {
		int error = -errno;
		snprintf(why, PUBLISHER_WHY_BYTES, "eventfd: %s", strerror(-error));
		publisher_free(publisher);
		return error;
	}
	int error = client_open(publisher, why);
	if (error) {
		publisher_free(publisher);
		return error;
	}
	*out = publisher;
	return 0;
}

/* The broker will never take this record: keeping it would hold up all behind it. */
static bool is_refused(rd_kafka_resp_err_t error)
{
	return error == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
	       error == RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE ||
	       error == RD_KAFKA_RESP_ERR_INVALID_RECORD;
}

static void take_reports(struct publisher *publisher, rd_kafka_event_t *event)
{
	const rd_kafka_message_t *message;
	while ((message = rd_kafka_event_message_next(event))) {
		struct spooled *record = message->_private;
		if (message->err) {
			publisher->stats.failed++;
			spool_failed(publisher->spool, record);
			if (is_refused(message->err))
				spool_drop(publisher->spool, record);
			publisher->hold = true;
			continue;
		}
		publisher->stats.delivered_batches++;
		publisher->stats.delivered_bytes += record->length;
		if (!publisher->stats.connected)
			fprintf(stderr, "millrace-agent: kafka: delivering to %s\n",
				publisher->options.brokers);
		publisher->stats.connected = true;
		publisher->backoff_ns = BACKOFF_MIN_NS;
		spool_delivered(publisher->spool, record);
	}
}

static void handle(struct publisher *publisher, rd_kafka_event_t *event)
{
	if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) {
		take_reports(publisher, event);
		return;
	}
	if (rd_kafka_event_type(event) != RD_KAFKA_EVENT_ERROR)
		return;
	if (rd_kafka_event_error_is_fatal(event))
		publisher->fatal = true;
	if (publisher->stats.connected || publisher->fatal || !publisher->stats.failed)
		fprintf(stderr, "millrace-agent: kafka: %s\n", rd_kafka_event_error_string(event));
	publisher->stats.failed++;
	publisher->stats.connected = false;
}

static void drain(struct publisher *publisher)
{
	rd_kafka_event_t *event;
	while (publisher->events && (event = rd_kafka_queue_poll(publisher->events, 0))) {
		handle(publisher, event);
		rd_kafka_event_destroy(event);
	}
}

/* Every record on its way comes back with a report, so none refers to the client afterwards. */
static void client_close(struct publisher *publisher)
{
	if (!publisher->client)
		return;
	rd_kafka_purge(publisher->client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	for (int i = 0; i < 100 && rd_kafka_outq_len(publisher->client) > 0; i++) {
		rd_kafka_event_t *event = rd_kafka_queue_poll(publisher->events, 10);
		if (event) {
			handle(publisher, event);
			rd_kafka_event_destroy(event);
		}
	}
	rd_kafka_queue_io_event_enable(publisher->events, -1, NULL, 0);
	rd_kafka_queue_destroy(publisher->events);
	rd_kafka_destroy(publisher->client);
	publisher->client = NULL;
	publisher->events = NULL;
}

void publisher_free(struct publisher *publisher)
{
	if (!publisher)
		return;
	client_close(publisher);
	if (publisher->event_fd >= 0)
		close(publisher->event_fd);
	spool_free(publisher->spool);
	free(publisher);
}

int publisher_fd(const struct publisher *publisher)
{
	return publisher->event_fd;
}

static rd_kafka_resp_err_t send_one(struct publisher *publisher, struct spooled *record)
{
	rd_kafka_resp_err_t error = rd_kafka_producev(
		publisher->client, RD_KAFKA_V_TOPIC(publisher->options.topic),
		RD_KAFKA_V_KEY(publisher->options.key, strlen(publisher->options.key)),
		RD_KAFKA_V_VALUE(record->bytes, record->length), RD_KAFKA_V_OPAQUE(record),
		RD_KAFKA_V_END);
	if (!error)
		spool_sent(publisher->spool, record);
	return error;
}

static void back_off(struct publisher *publisher, uint64_t now_ns)
{
	publisher->retry_ns = now_ns + publisher->backoff_ns;
	publisher->backoff_ns = publisher->backoff_ns * 2 > BACKOFF_MAX_NS
					? BACKOFF_MAX_NS
					: publisher->backoff_ns * 2;
}

static void send_waiting(struct publisher *publisher, uint64_t now_ns)
{
	struct spooled *record;
	while (publisher->client && !publisher->fatal && now_ns >= publisher->retry_ns &&
	       spool_stats(publisher->spool).sent < SENT_MAX &&
	       (record = spool_next(publisher->spool))) {
		rd_kafka_resp_err_t error = send_one(publisher, record);
		if (!error)
			continue;
		publisher->stats.failed++;
		if (is_refused(error))
			spool_drop(publisher->spool, record);
		else
			back_off(publisher, now_ns);
	}
}

static void renew(struct publisher *publisher, uint64_t now_ns)
{
	char why[PUBLISHER_WHY_BYTES];
	client_close(publisher);
	if (client_open(publisher, why))
		fprintf(stderr, "millrace-agent: %s\n", why);
	back_off(publisher, now_ns);
}

void publisher_poll(struct publisher *publisher, uint64_t now_ns)
{
	uint64_t wakes;
	while (read(publisher->event_fd, &wakes, sizeof(wakes)) > 0)
		;
	drain(publisher);
	if (publisher->hold)
		back_off(publisher, now_ns);
	publisher->hold = false;
	if ((publisher->fatal || !publisher->client) && now_ns >= publisher->retry_ns)
		renew(publisher, now_ns);
	send_waiting(publisher, now_ns);
}

void publisher_put(struct publisher *publisher, const uint8_t *bytes, size_t length,
		   uint32_t events)
{
	spool_put(publisher->spool, bytes, length, events);
}

bool publisher_flush(struct publisher *publisher, uint64_t wait_ms)
{
	for (uint64_t waited = 0;; waited += 10) {
		publisher_poll(publisher, UINT64_MAX);
		struct spool_stats spool = spool_stats(publisher->spool);
		if (!spool.waiting && !spool.sent)
			return true;
		if (waited >= wait_ms || !publisher->events)
			return false;
		rd_kafka_event_t *event = rd_kafka_queue_poll(publisher->events, 10);
		if (event) {
			handle(publisher, event);
			rd_kafka_event_destroy(event);
		}
	}
}

struct publisher_stats publisher_stats(const struct publisher *publisher)
{
	struct publisher_stats stats = publisher->stats;
	stats.spool = spool_stats(publisher->spool);
	return stats;
}
