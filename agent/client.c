#include "agent/client.h"

#include <sys/prctl.h>

#include "base/clock.h"

/* Above a tick of any kernel (10 ms): sleeps of idle processors end at their latest moment, others'
 * at a tick before it. */
#define SLACK_NS (20 * NS_PER_MS)

/* Threads have the slack of who started them. */
rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *why, size_t size)
{
	int before = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
	prctl(PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0);
	rd_kafka_t *client = rd_kafka_new(type, conf, why, size);
	if (before > 0)
		prctl(PR_SET_TIMERSLACK, (unsigned long)before, 0, 0, 0);
	return client;
}
