#include "api/notify/dialect.h"

#include <string.h>

#include "api/notify/alertmanager.h"
#include "api/notify/slack.h"

enum verdict verdict_by_status(const struct answer *answer, bool taken)
{
	long status = answer->status;

	if (taken)
		return VERDICT_TAKEN;
	/* The hook is gone or forbidden: nothing will ever be taken there. */
	if (status == 403 || status == 404 || status == 410)
		return VERDICT_GONE;
	return status >= 300 && status < 500 && status != 408 && status != 429 ? VERDICT_REFUSED
									       : VERDICT_LATER;
}

/* Slack says 200 and the word ok; another 200 is a proxy's page. */
static enum verdict hook_judge(const struct answer *answer)
{
	return verdict_by_status(answer, answer->status == 200 && strcmp(answer->body, "ok") == 0);
}

static enum verdict pagerduty_judge(const struct answer *answer)
{
	return verdict_by_status(answer, answer->status == 202);
}

static enum verdict alertmanager_judge(const struct answer *answer)
{
	return verdict_by_status(answer, answer->status == 200);
}

static enum verdict webhook_judge(const struct answer *answer)
{
	return verdict_by_status(answer, answer->status >= 200 && answer->status < 300);
}

/* Slack allows 1 message a second, in short bursts more, and some 50 changes a minute; PagerDuty
 * about 120 a minute, over a sliding minute: 100 and the burst stay below it. That a message may be
 * a repeat is said where it shows: PagerDuty drops one by its dedup key, a webhook knows it by its
 * id. */
static const struct dialect dialects[] = {
	[RECEIVER_SLACK] = {.per_minute = 60, .burst = 3, .body = body_slack, .judge = hook_judge},
	[RECEIVER_PAGERDUTY] = {.per_minute = 100,
				.burst = 10,
				.body = body_pagerduty,
				.judge = pagerduty_judge,
				.in_place = true,
				.ends_first = true,
				.quiet = true,
				.stays = true},
	[RECEIVER_WEBHOOK] = {.per_minute = 600,
			      .burst = 50,
			      .body = body_webhook,
			      .judge = webhook_judge,
			      .in_place = true,
			      .stays = true},
	[RECEIVER_ALERTMANAGER] = {.per_minute = 600,
				   .burst = 50,
				   .body = body_alertmanager,
				   .judge = alertmanager_judge,
				   .in_place = true,
				   .quiet = true,
				   .stays = true,
				   .forgets = true,
				   .path = "/api/v2/alerts"},
	[RECEIVER_SLACK_BOT] = {.per_minute = 50,
				.burst = 3,
				.body = body_slack_bot,
				.judge = slack_judge,
				.in_place = true,
				.method = slack_method,
				.handle = slack_handle},
};

const struct dialect *dialect_of(enum receiver_kind kind)
{
	return &dialects[kind];
}
