/* What a receiver may send back that we read: its Retry-After, words that reach logs and messages,
 * and what Slack says of a bot's message. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/notify/retry.h"
#include "api/notify/slack.h"
#include "api/notify/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char *text = strndup((const char *)bytes, length), out[64];
	size_t written;

	assert(retry_after_ms(text, 1767323045) <= 3600 * 1000);
	written = text_safe(out, sizeof(out), text, 20);
	assert(written < sizeof(out) && strlen(out) == written);
	written = text_slack(out, sizeof(out), text, 20);
	assert(written < sizeof(out) && strlen(out) == written && !strpbrk(out, "<>"));
	const struct answer answer = {.status = 200, .body = text};
	char handle[SLACK_HANDLE_MAX], channel[SLACK_HANDLE_MAX], time[SLACK_HANDLE_MAX];

	assert(slack_judge(&answer) <= VERDICT_GONE);
	if (slack_handle(&answer, handle))
		assert(slack_handle_parts(handle, channel, time));
	slack_handle_parts(text, channel, time);
	free(text);
	return 0;
}
