/* The bodies that receivers get, as JSON into a writer. Slack: incoming webhook with Block Kit;
 * PagerDuty: Events API v2; other webhooks: the alert as the API gives it. Within their limits
 * whatever an alert holds. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "anomaly/alert.h"
#include "api/http/json.h"

struct item;
struct receiver;

/* What such a message says. */
#define BODY_REPEAT "May repeat an earlier message: whether that one arrived is not known."

#define BODY_TEST   "A test of this receiver: nothing is wrong."

/* What a message is made of. */
struct notice {
	const struct alert *alert;
	const struct receiver *receiver;
	const char *external_url; /* of this Millrace, for links; NULL: none */
	bool first;		  /* of its episode the receiver has not heard before */
	bool repeat;	 /* the receiver may have had this message before; it is said in it */
	bool test;	 /* somebody tries the receiver; it is said in it */
	uint64_t now_ns; /* real time */
	const struct item *item; /* Alertmanager: what it has of the alert; NULL: not known */
	/* Slack's bot: where its message of the alert is; NULL: there is none. A reply to it rather
	 * than its change; and one that the whole channel sees. */
	const char *handle;
	bool reply, loud;
};

/* Words that several of them have: what a message says of its episode (Firing, Update, ...), an
 * alert's address, and "server version a: 92 % of the change".
 * Of foreign bytes as they came. */
/* The receiver's own title, which says of a test that it is one. False: it has none, or that is
 * empty of this alert. */
bool body_title(char *out, size_t size, size_t characters, const struct notice *notice,
		bool mrkdwn);
const char *body_stage(const struct notice *notice);
void body_link(char *out, size_t size, const struct alert *alert, const char *external_url);
void body_suspect(char *out, size_t size, const struct suspect *suspect);

void body_slack(struct json *json, const struct notice *notice);
void body_slack_bot(struct json *json, const struct notice *notice);
void body_pagerduty(struct json *json, const struct notice *notice);
void body_webhook(struct json *json, const struct notice *notice);
