/* The bodies that receivers get, as JSON into a writer. Slack: incoming webhook with Block Kit;
 * PagerDuty: Events API v2; other webhooks: the alert as the API gives it. Within their limits
 * whatever an alert holds. Pure. */
#pragma once

#include "anomaly/alert.h"
#include "api/http/json.h"

/* What such a message says. */
#define BODY_REPEAT "May repeat an earlier message: whether that one arrived is not known."

/* external_url: of this Millrace, for links; NULL: none. first: of its episode the receiver has not
 * heard before. repeat: it may have had this message before; it is said in it. */
void body_slack(struct json *json, const struct alert *alert, const char *external_url, bool first,
		bool repeat);
void body_pagerduty(struct json *json, const struct alert *alert, const char *routing_key,
		    const char *external_url);
void body_webhook(struct json *json, const struct alert *alert, const char *external_url);
