/* TLS and SASL for Kafka's clients of one process. A client of librdkafka starts with a struct
 * security_client, which becomes its opaque: librdkafka's threads find their way by it.
 *
 *   security_configure(&client->access, conf, ...)   after the client's own defaults
 *   rd_kafka_new(...); security_begin(&client->access, kafka)
 *   security_end(&client->access); rd_kafka_destroy(kafka)
 *
 * OAUTHBEARER tokens come by OAuth 2.0's client credentials or from a file, on the background
 * thread that librdkafka has for each client: renewed after four fifths of their life, a failure is
 * tried again after 0.5 s, doubling to 10 s, until security_end. What goes wrong is told once, and
 * told when it is over.
 *
 * Bounds: a request takes FETCH_TIMEOUT_MS at most and its answer TOKEN_ANSWER_MAX bytes. Any
 * thread; the options are lent for the security's life, which is longer than its clients'. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kafka/options.h"

typedef struct rd_kafka_s rd_kafka_t; /* librdkafka's own words, so that this header is light */
typedef struct rd_kafka_conf_s rd_kafka_conf_t;

struct security;

struct security_client {
	struct security *security; /* NULL: neither TLS nor SASL nor properties */
	_Atomic bool ending;
};

struct security_stats {
	uint64_t tokens, failures;
	int64_t token_expires_ms;	/* since 1970; 0: none was had */
	int64_t certificate_expires_ms; /* this program's own; 0: it has none */
};

enum { SECURITY_TEXT_BYTES = 512 };

/* trouble: for the log, one sentence, from any thread. */
struct security *security_new(const struct kafka_options *options,
			      void (*trouble)(void *context, const char *sentence), void *context);
void security_free(struct security *security);

/* Sets the client's opaque, too, and how long it waits for an answer. 0; or -EINVAL with
 * librdkafka's sentence, without a value. */
int security_configure(struct security_client *client, rd_kafka_conf_t *conf, char *error,
		       size_t size);
/* A whole configuration: brokers and the client's own defaults, a list up to {NULL, NULL}, then
 * security, which is lent, by security_configure. NULL with a sentence, without a value. */
rd_kafka_conf_t *security_conf(struct security_client *client, struct security *security,
			       const char *brokers, const char *const (*defaults)[2], char *error,
			       size_t size);
/* After rd_kafka_new. Tells when this program's certificate has expired or soon will. */
void security_begin(struct security_client *client, rd_kafka_t *kafka);
/* Fetches stop; then the client may be destroyed. */
void security_end(struct security_client *client);

/* Changes when a file of TLS changes: clients that are made anew read it. */
uint64_t security_files(const struct security *security);
struct security_stats security_stats(struct security *security);

/* What to do about what librdkafka says; "" when there is nothing to add. */
const char *security_advice(const char *text);

/* For the configuration's check: the options as librdkafka's properties, without a client's
 * callbacks; and the entry that has the say on a property, NULL if none was given. */
int security_set(const struct kafka_options *options, rd_kafka_conf_t *conf, char *error,
		 size_t size);
const char *security_entry(const struct kafka_options *options, const char *property);
