/* The end of a client of Kafka, which may wait for a broker: on a thread, and for not longer than
 * this. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

/* Whether the thread has ended in time; else it goes on by itself, and nobody may join it. */
bool join_within(pthread_t thread, int timeout_ms);
