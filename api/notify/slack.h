/* Slack's Web API, as a bot speaks it: what an answer means (it is 200 for errors too), and where a
 * message of ours is, so that it can be changed. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "api/notify/dialect.h"

enum { SLACK_HANDLE_MAX = DELIVERY_HANDLE_MAX };

enum verdict slack_judge(const struct answer *answer);
/* "C0123 1700000000.000100", the channel and the time by which Slack knows the message that was
 * answered; false: the answer does not say. */
bool slack_handle(const struct answer *answer, char handle[SLACK_HANDLE_MAX]);
/* Its parts, whoever kept it: false if it is none. */
bool slack_handle_parts(const char *handle, char channel[SLACK_HANDLE_MAX],
			char time[SLACK_HANDLE_MAX]);
/* Which method a notice needs: a message, or the change of one. */
const char *slack_method(const struct notice *notice);
