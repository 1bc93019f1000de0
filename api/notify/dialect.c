#include "api/notify/dialect.h"

#include <string.h>

#include "api/notify/body.h"

static void slack_body(struct json *json, const struct alert *alert,
		       const struct receiver *receiver, const char *external_url, bool first,
		       bool repeat)
{
	(void)receiver;
	body_slack(json, alert, external_url, first, repeat);
}

/* Slack says 200 and the word ok; another 200 is a proxy's page. */
static bool slack_accepted(const struct answer *answer)
{
	return answer->status == 200 && strcmp(answer->body, "ok") == 0;
}

/* A repeat is dropped by its dedup key, so there is nothing to say of it. */
static void pagerduty_body(struct json *json, const struct alert *alert,
			   const struct receiver *receiver, const char *external_url, bool first,
			   bool repeat)
{
	(void)first;
	(void)repeat;
	body_pagerduty(json, alert, receiver->routing_key, external_url);
}

static bool pagerduty_accepted(const struct answer *answer)
{
	return answer->status == 202;
}

/* A repeat has the same webhook-id. */
static void webhook_body(struct json *json, const struct alert *alert,
			 const struct receiver *receiver, const char *external_url, bool first,
			 bool repeat)
{
	(void)receiver;
	(void)first;
	(void)repeat;
	body_webhook(json, alert, external_url);
}

static bool webhook_accepted(const struct answer *answer)
{
	return answer->status >= 200 && answer->status < 300;
}

/* Slack allows 1 message a second, in short bursts more; PagerDuty about 120 a minute, over a
 * sliding minute: 100 and the burst stay below it. */
static const struct dialect dialects[] = {
	[RECEIVER_SLACK] = {60, 3, slack_body, slack_accepted, false, false, false},
	[RECEIVER_PAGERDUTY] = {100, 10, pagerduty_body, pagerduty_accepted, true, true, true},
	[RECEIVER_WEBHOOK] = {600, 50, webhook_body, webhook_accepted, true, false, false},
};

const struct dialect *dialect_of(enum receiver_kind kind)
{
	return &dialects[kind];
}
