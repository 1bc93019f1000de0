/* The bodies that receivers get, as JSON into a writer. Slack: incoming webhook with Block Kit;
 * PagerDuty: Events API v2; other webhooks: the alert as the API gives it. Within their limits
 * whatever an alert holds. Pure. */
#pragma once

#include "anomaly/alert.h"
#include "api/http/json.h"

struct receiver;

/* What such a message says. */
#define BODY_REPEAT "May repeat an earlier message: whether that one arrived is not known."

#define BODY_TEST "A test of this receiver: nothing is wrong."

/* What a message is made of. */
struct notice {
	const struct alert *alert;
	const struct receiver *receiver;
	const char *external_url; /* of this Millrace, for links; NULL: none */
	bool repeat; /* the receiver may have had this message before; it is said in it */
	bool test;   /* somebody tries the receiver; it is said in it */
};

void body_slack(struct json *json, const struct notice *notice);
void body_pagerduty(struct json *json, const struct notice *notice);
void body_webhook(struct json *json, const struct notice *notice);
