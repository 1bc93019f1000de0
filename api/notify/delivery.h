/* What one receiver has got of one alert episode: the noun that the notifier emits, kept in
 * millrace.alerts.delivery. Plain data. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "anomaly/alert.h"

enum { DELIVERY_HANDLE_MAX = 64 };

struct delivery {
	char receiver[ALERT_MONITOR_MAX]; /* its name in the configuration */
	char key[ALERT_KEY_TEXT];	  /* dedup key of the episode */
	uint64_t sequence;     /* highest transition that is settled: delivered, or given up; 0:
				  none is */
	uint32_t state;	       /* enum alert_state of that transition */
	uint64_t delivered_ns; /* real time when the receiver answered 2xx, or when it was given up
				*/
	uint64_t sent_ns;      /* real time when the first byte of the last request was sent */
	uint32_t attempts;     /* tries for that transition */
	bool resolve_owed;     /* the receiver holds a firing of it: its end is to be told */
	uint32_t severity;     /* enum alert_severity: the last that the receiver has seen */
	bool uncertain;	       /* a firing may have been sent whose answer is not known */
	bool local;	       /* of an alert about Millrace itself: not in the outbox */
	bool failed;	       /* given up: error says why */
	char error[ALERT_TEXT_MAX];
	/* By what the receiver knows its message of the episode, if that can be changed; empty. */
	char handle[DELIVERY_HANDLE_MAX];
};

/* Else it only says that a firing may have been sent, or was not. */
static inline bool delivery_settles(const struct delivery *delivery)
{
	return delivery->failed || delivery->sent_ns;
}
