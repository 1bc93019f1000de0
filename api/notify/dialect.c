#include "api/notify/dialect.h"

#include <string.h>

#include "api/notify/alertmanager.h"

/* Slack says 200 and the word ok; another 200 is a proxy's page. */
static bool slack_accepted(const struct answer *answer)
{
	return answer->status == 200 && strcmp(answer->body, "ok") == 0;
}

static bool pagerduty_accepted(const struct answer *answer)
{
	return answer->status == 202;
}

static bool alertmanager_accepted(const struct answer *answer)
{
	return answer->status == 200;
}

static bool webhook_accepted(const struct answer *answer)
{
	return answer->status >= 200 && answer->status < 300;
}

/* Slack allows 1 message a second, in short bursts more; PagerDuty about 120 a minute, over a
 * sliding minute: 100 and the burst stay below it. That a message may be a repeat is said where it
 * shows: PagerDuty drops one by its dedup key, a webhook knows it by its id. */
static const struct dialect dialects[] = {
	[RECEIVER_SLACK] = {.per_minute = 60,
			    .burst = 3,
			    .body = body_slack,
			    .accepted = slack_accepted},
	[RECEIVER_PAGERDUTY] = {.per_minute = 100,
				.burst = 10,
				.body = body_pagerduty,
				.accepted = pagerduty_accepted,
				.in_place = true,
				.ends_first = true,
				.stays = true},
	[RECEIVER_WEBHOOK] = {.per_minute = 600,
			      .burst = 50,
			      .body = body_webhook,
			      .accepted = webhook_accepted,
			      .in_place = true,
			      .stays = true},
	[RECEIVER_ALERTMANAGER] = {.per_minute = 600,
				   .burst = 50,
				   .body = body_alertmanager,
				   .accepted = alertmanager_accepted,
				   .in_place = true,
				   .stays = true,
				   .forgets = true,
				   .path = "/api/v2/alerts"},
};

const struct dialect *dialect_of(enum receiver_kind kind)
{
	return &dialects[kind];
}
