#include "agent/publisher.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/client.h"
#include "agent/clocks.h"
#include "base/clock.h"
#include "base/memory.h"
#include "kafka/security.h"

enum {
	SENT_MAX = 64, /* batches on their way: 6 s of ticks, at most 48 MiB at a batch's bound */
	REPORTS_MS = 1000, /* for the reports of a client that is closed; they need no broker */
};
#define FILES_EVERY_NS (5 * NS_PER_S)
#define BACKOFF_MIN_NS (NS_PER_S / 2)
#define BACKOFF_MAX_NS (30 * NS_PER_S)

struct publisher {
	struct security_client access; /* first: the client's opaque */
	struct publisher_options options;
	struct spool *spool;
	rd_kafka_t *client;
	rd_kafka_queue_t *events;
	bool fatal;
	bool hold;   /* a delivery failed: wait before the next */
	bool singly; /* a request was refused: one batch at a time until one is delivered */
	uint64_t retry_ns, backoff_ns;
	uint64_t files, files_ns; /* of TLS, as the client has read them; looked at last */
	char told[256];		  /* the last error told */
	struct publisher_stats stats;
};

/* Idempotence keeps order over retries, zstd is a sixth of the bytes. No linger, a
 * wake-up more: what one tick seals goes as two requests at most. message.timeout.ms bounds how
 * long librdkafka itself keeps a batch.
 *
 * One request at a time, or batches get lost in silence: when a request is answered with a time-out
 * and the next one succeeds, librdkafka takes the first for delivered, as a broker refuses a number
 * that does not follow. But a broker takes a new producer's first number whatever it is (KIP-360).
 * What waits goes as one request, so this costs no throughput that counts here. */
static const char *const defaults[][2] = {
	{"enable.idempotence", "true"},
	{"acks", "all"},
	{"max.in.flight", "1"},
	{"linger.ms", "0"},
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

static int configure(struct publisher *publisher, rd_kafka_conf_t *conf,
		     char why[PUBLISHER_WHY_BYTES])
{
	char text[256] = "";
	bool good = true;
	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
		good = good && rd_kafka_conf_set(conf, defaults[i][0], defaults[i][1], text,
						 sizeof(text)) == RD_KAFKA_CONF_OK;
	good = good && rd_kafka_conf_set(conf, "bootstrap.servers", publisher->options.brokers,
					 text, sizeof(text)) == RD_KAFKA_CONF_OK;
	good = good && !security_configure(&publisher->access, conf, text, sizeof(text));
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
		publisher->client = client_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
		if (!publisher->client) {
			snprintf(why, PUBLISHER_WHY_BYTES, "kafka: %s", text);
			error = -EINVAL;
		}
	}
	if (error) {
		rd_kafka_conf_destroy(conf);
		return error;
	}
	publisher->files = security_files(publisher->access.security);
	security_begin(&publisher->access, publisher->client);
	publisher->events = rd_kafka_queue_get_main(publisher->client);
	publisher->stats.clients++;
	publisher->fatal = false;
	return 0;
}

int publisher_new(struct publisher **out, const struct publisher_options *options,
		  char why[PUBLISHER_WHY_BYTES])
{
	struct publisher *publisher = memory_zeroed(1, sizeof(*publisher));
	publisher->options = *options;
	publisher->access.security = options->security;
	publisher->spool = spool_new(options->spool_bytes_max);
	publisher->backoff_ns = BACKOFF_MIN_NS;
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

/* Batches that wait go to the broker together, and its answer is for all of them: only who was
 * refused alone is dropped. */
static void take_failure(struct publisher *publisher, struct spooled *record,
			 rd_kafka_resp_err_t error)
{
	publisher->stats.failed++;
	spool_failed(publisher->spool, record);
	if (!is_refused(error))
		publisher->hold = true;
	else if (record->alone)
		spool_drop(publisher->spool, record);
	else
		publisher->singly = true;
}

static void take_reports(struct publisher *publisher, rd_kafka_event_t *event)
{
	const rd_kafka_message_t *message;
	while ((message = rd_kafka_event_message_next(event))) {
		struct spooled *record = message->_private;
		if (message->err) {
			take_failure(publisher, record, message->err);
			continue;
		}
		publisher->stats.delivered_batches++;
		publisher->stats.delivered_bytes += record->length;
		if (!publisher->stats.connected)
			fprintf(stderr, "millrace-agent: kafka: delivering to %s\n",
				publisher->options.brokers);
		publisher->stats.connected = true;
		publisher->singly = false;
		publisher->told[0] = 0;
		publisher->backoff_ns = BACKOFF_MIN_NS;
		spool_delivered(publisher->spool, record);
	}
}

/* librdkafka's sentences name the broker first and end with how often and how long, which differs
 * each time. "All brokers are down" adds nothing to why one is. */
static bool same_trouble(const char *told, const char *text)
{
	const char *first = strstr(told, ": "), *second = strstr(text, ": ");
	size_t length = second ? strcspn(second, "(") : 0;
	return (first && second && strncmp(first, second, length) == 0) ||
	       (told[0] && strstr(text, "brokers are down"));
}

static void tell(struct publisher *publisher, const char *text)
{
	const char *advice = security_advice(text);
	if (same_trouble(publisher->told, text) && !publisher->fatal)
		return;
	snprintf(publisher->told, sizeof(publisher->told), "%s", text);
	fprintf(stderr, "millrace-agent: kafka: %s%s%s\n", text, advice[0] ? ": " : "", advice);
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
	tell(publisher, rd_kafka_event_error_string(event));
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

static void handle_next(struct publisher *publisher)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(publisher->events, 10);
	if (!event)
		return;
	handle(publisher, event);
	rd_kafka_event_destroy(event);
}

/* What is on its way comes back with a report as a rule, delivered or not, and what does not waits
 * again all the same: it may reach Kafka twice then, but not never. */
static void client_close(struct publisher *publisher)
{
	if (!publisher->client)
		return;
	security_end(&publisher->access);
	rd_kafka_purge(publisher->client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	for (uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + REPORTS_MS * NS_PER_MS;
	     rd_kafka_outq_len(publisher->client) > 0 && clock_ns(CLOCK_MONOTONIC) < end_ns;)
		handle_next(publisher);
	rd_kafka_queue_destroy(publisher->events);
	rd_kafka_destroy(publisher->client);
	publisher->client = NULL;
	publisher->events = NULL;
	spool_recall(publisher->spool);
}

void publisher_free(struct publisher *publisher)
{
	if (!publisher)
		return;
	client_close(publisher);
	spool_free(publisher->spool);
	free(publisher);
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
	record->alone = publisher->singly;
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
	       spool_stats(publisher->spool).sent < (publisher->singly ? 1 : SENT_MAX) &&
	       (record = spool_next(publisher->spool))) {
		rd_kafka_resp_err_t error = send_one(publisher, record);
		if (!error)
			continue;
		publisher->stats.failed++;
		if (!is_refused(error)) {
			back_off(publisher, now_ns);
			return;
		}
		spool_drop(publisher->spool, record);
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

/* A certificate that was renewed is wanted before the old one expires. */
static bool files_changed(struct publisher *publisher, uint64_t now_ns)
{
	if (now_ns < publisher->files_ns + FILES_EVERY_NS || now_ns == UINT64_MAX)
		return false;
	publisher->files_ns = now_ns;
	return security_files(publisher->access.security) != publisher->files;
}

void publisher_poll(struct publisher *publisher, uint64_t now_ns)
{
	drain(publisher);
	if (publisher->hold)
		back_off(publisher, now_ns);
	publisher->hold = false;
	if ((publisher->fatal || !publisher->client) && now_ns >= publisher->retry_ns) {
		renew(publisher, now_ns);
	} else if (files_changed(publisher, now_ns)) {
		fprintf(stderr,
			"millrace-agent: kafka: the files of TLS have changed: read anew\n");
		renew(publisher, now_ns);
	}
	send_waiting(publisher, now_ns);
}

void publisher_put(struct publisher *publisher, const uint8_t *bytes, size_t length,
		   uint32_t events)
{
	spool_put(publisher->spool, bytes, length, events);
}

bool publisher_flush(struct publisher *publisher, uint64_t wait_ms)
{
	for (uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + wait_ms * NS_PER_MS;;) {
		publisher_poll(publisher, UINT64_MAX);
		struct spool_stats spool = spool_stats(publisher->spool);
		if (!spool.waiting && !spool.sent)
			return true;
		if (clock_ns(CLOCK_MONOTONIC) >= end_ns || !publisher->events)
			return false;
		handle_next(publisher);
	}
}

struct publisher_stats publisher_stats(const struct publisher *publisher)
{
	struct publisher_stats stats = publisher->stats;
	stats.spool = spool_stats(publisher->spool);
	return stats;
}
