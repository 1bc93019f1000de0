/* A client of librdkafka whose threads' timers may be late. Before 2.4 a client's main thread runs
 * in circles for up to a millisecond before each of its timers, one a second at least, because it
 * sleeps whole milliseconds, rounded down (librdkafka #4671): for an agent 0.06 % of a core are
 * much. A sleep that ends late ends behind the timer. What comes by a queue or a socket wakes a
 * thread at once, as ever. Any thread. */
#pragma once

#include <librdkafka/rdkafka.h>
#include <stddef.h>

/* As rd_kafka_new(). */
rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *why, size_t size);
