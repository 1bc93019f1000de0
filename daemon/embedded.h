/* The embedded broker, for trials: librdkafka's mock cluster, real Kafka protocol, memory only, one
 * broker, with Millrace's topics made. It listens where the system lets it; a small forwarder at
 * host:port is its bootstrap address, from which clients learn the other. It has no log time of its
 * own: records keep their producer's time (create time). Each partition keeps its last 5 MiB. Runs
 * on threads of its own; start and stop anywhere. */
#pragma once

#include <stdint.h>

struct embedded;

struct embedded_options {
	const char *host;
	uint16_t port;
	uint32_t partitions; /* of millrace.events and of the topics with a partition a task */
};

/* NULL with *error set (to -errno) when the address cannot be had. */
struct embedded *embedded_start(const struct embedded_options *options, int *error);
void embedded_stop(struct embedded *embedded);
const char *embedded_bootstrap(const struct embedded *embedded); /* of the broker itself */
