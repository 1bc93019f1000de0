#include "bench/world/topic.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { FULL_POLL_MS = 20, FULL_POLLS_MAX = 50, READY_MS = 15000 };

struct topic {
	rd_kafka_t *client;
	char *name;
	struct topic_stats stats;
};

/* The agent's own choices (agent/publisher.c). */
static const char *const properties[][2] = {
	{"enable.idempotence", "true"},
	{"acks", "all"},
	{"linger.ms", "5"},
	{"compression.type", "zstd"},
	{"compression.level", "1"},
	{"message.timeout.ms", "30000"},
	{"socket.nagle.disable", "true"},
	{"partitioner", "murmur2_random"},
	{"client.id", "millrace-bench"},
	{"log_level", "3"},
};

static void on_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
	struct topic *topic = opaque;

	(void)client;
	if (message->err)
		topic->stats.failed++;
	else
		topic->stats.delivered++;
}

struct topic *topic_open(const char *brokers, const char *name, char *why, size_t size)
{
	struct topic *topic = memory_zeroed(1, sizeof(*topic));
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t error;
	bool good = rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, size) ==
		    RD_KAFKA_CONF_OK;

	for (size_t i = 0; good && i < sizeof(properties) / sizeof(properties[0]); i++)
		good = rd_kafka_conf_set(conf, properties[i][0], properties[i][1], why, size) ==
		       RD_KAFKA_CONF_OK;
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	rd_kafka_conf_set_opaque(conf, topic);
	if (good)
		topic->client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, size);
	if (!topic->client) {
		rd_kafka_conf_destroy(conf);
		free(topic);
		return NULL;
	}
	topic->name = strdup(name);
	error = rd_kafka_metadata(topic->client, 1, NULL, &metadata, READY_MS);
	if (error) {
		snprintf(why, size, "%s: %s", brokers, rd_kafka_err2str(error));
		topic_close(topic);
		return NULL;
	}
	rd_kafka_metadata_destroy(metadata);
	return topic;
}

void topic_send(struct topic *topic, const char *key, const struct batch_bytes *bytes)
{
	topic->stats.sent++;
	for (int polls = 0; polls <= FULL_POLLS_MAX; polls++) {
		rd_kafka_resp_err_t error =
			rd_kafka_producev(topic->client, RD_KAFKA_V_TOPIC(topic->name),
					  RD_KAFKA_V_KEY(key, strlen(key)),
					  RD_KAFKA_V_VALUE((void *)bytes->bytes, bytes->length),
					  RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
		bool full = error == RD_KAFKA_RESP_ERR__QUEUE_FULL;

		rd_kafka_poll(topic->client, full ? FULL_POLL_MS : 0);
		if (!error)
			return;
		if (!full)
			break;
	}
	topic->stats.dropped++;
}

void topic_flush(struct topic *topic, int wait_ms)
{
	rd_kafka_flush(topic->client, wait_ms);
}

void topic_close(struct topic *topic)
{
	rd_kafka_destroy(topic->client);
	free(topic->name);
	free(topic);
}

struct topic_stats topic_stats(const struct topic *topic)
{
	return topic->stats;
}
