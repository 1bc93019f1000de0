/* The alert book: each episode's newest transition and what each receiver got of it, kept for
 * /alerts and for the flags on the map. Transitions and deliveries may come in any order and again;
 * the newest stands. A delivery may even come before its alert, as the topics are read one after
 * the other at the start.
 *
 * Bound: episodes_max; when full the oldest resolved episode leaves, else the oldest that only
 * deliveries are known of, else the oldest. RECEIVERS_MAX deliveries an episode. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "anomaly/alert.h"
#include "api/notify/delivery.h"
#include "base/identity.h"

enum { BOOK_RECEIVERS_MAX = 64 };

struct episode {
	char key[ALERT_KEY_TEXT];
	struct alert *alert;	 /* the newest transition; NULL: only deliveries are known */
	uint64_t client, server; /* name ids of its subject */
	uint64_t first_event_ns; /* newest deciding kernel event of the first transition; 0: not
				    seen */
	uint64_t first_sent_ns;	 /* first delivery of the first transition; 0: none */
	struct delivery *deliveries;
	uint32_t deliveries_count;
	uint64_t order; /* when it came to be known */
};

struct book;

struct book *book_new(uint32_t episodes_max);
void book_free(struct book *book);
void book_alert(struct book *book, const struct alert *alert);
void book_delivery(struct book *book, const struct delivery *delivery);

size_t book_count(const struct book *book);
/* In no order; index < book_count. */
const struct episode *book_at(const struct book *book, size_t index);
/* From kernel event to the first 2xx; 0 until then, or when the first transition was not seen. */
double episode_to_webhook_s(const struct episode *episode);
bool episode_firing(const struct episode *episode);
/* Whether a firing episode is about this edge. */
bool book_alerting(const struct book *book, const struct edge *edge);
