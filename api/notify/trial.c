/* A test of a receiver: the real request to the real address, and what is answered. */
#include <stdio.h>
#include <stdlib.h>

#include "api/notify/channel.h"
#include "api/notify/text.h"
#include "base/clock.h"
#include "base/memory.h"

enum { WORDS_CHARACTERS = 60 }; /* of an answer's body */

struct trial {
	struct channel *channel;
	struct alert alert;
	struct notify_trial result;
	uint64_t began_ns; /* uv_hrtime */
	notify_tried told;
	void *context;
};

static void on_answer(void *context, const struct answer *answer);

static void finish(struct trial *trial)
{
	trial->result.took_ns = uv_hrtime() - trial->began_ns;
	trial->told(trial->context, &trial->result);
	free(trial);
}

static void send_trial(struct trial *trial)
{
	struct channel *channel = trial->channel;
	const struct notice notice = {.alert = &trial->alert,
				      .receiver = &channel->receiver,
				      .test = true,
				      .now_ns = channel->options->now_ns()};
	struct json json;
	const char *body;
	size_t length;

	json_init(&json);
	channel->dialect->body(&json, &notice);
	body = json_text(&json, &length);
	channel_post(channel, &notice, body, length, on_answer, trial);
	json_done(&json);
}

static void say_why(struct notify_trial *result, const struct answer *answer, bool end)
{
	const char *what = end ? "of its end: " : "";
	char words[ANSWER_ERROR_MAX - 64];

	text_safe(words, sizeof(words), answer->body, WORDS_CHARACTERS);
	if (answer->status)
		snprintf(result->error, sizeof(result->error), "%sthe receiver answered %ld: %s",
			 what, answer->status, words);
	else
		snprintf(result->error, sizeof(result->error), "%s%.200s", what, answer->error);
}

static void on_answer(void *context, const struct answer *answer)
{
	struct trial *trial = context;
	const struct dialect *dialect = trial->channel->dialect;
	bool end = trial->alert.state == ALERT_RESOLVED;

	if (!answer) {
		trial->told(trial->context, NULL);
		free(trial);
		return;
	}
	trial->result.status = answer->status;
	trial->result.taken = dialect->judge(answer) == VERDICT_TAKEN;
	if (!trial->result.taken)
		say_why(&trial->result, answer, end);
	if (!trial->result.taken || !dialect->stays || end) {
		finish(trial);
		return;
	}
	trial->alert.state = ALERT_RESOLVED;
	trial->alert.sequence++;
	trial->alert.ended_ns = trial->alert.pane_end_ns = trial->channel->options->now_ns();
	send_trial(trial);
}

void channel_try(struct channel *channel, const struct alert *alert, notify_tried told,
		 void *context)
{
	struct trial *trial = memory_zeroed(1, sizeof(*trial));
	uint64_t now = uv_now(channel->loop), wait;

	trial->channel = channel;
	trial->alert = *alert;
	trial->told = told;
	trial->context = context;
	trial->began_ns = uv_hrtime();
	wait = channel->paused_until_ms > now ? channel->paused_until_ms - now
					      : pace_take(&channel->pace, now);
	if (wait) {
		snprintf(trial->result.error, sizeof(trial->result.error),
			 "its pace allows no more, or it asked for a rest: try again in %.1f s",
			 (double)wait / 1000);
		finish(trial);
		return;
	}
	trial->result.sent = true;
	channel->stats.tested++;
	send_trial(trial);
}
