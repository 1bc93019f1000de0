#include "api/notify/slack.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "api/notify/body.h"
#include "api/notify/transport.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS	"0123456789"

/* What it means when Slack says no; any other word: it will never take this one. */
static const struct {
	const char *word;
	enum verdict verdict;
} errors[] = {
	{"ratelimited", VERDICT_LATER},
	{"rate_limited", VERDICT_LATER},
	{"internal_error", VERDICT_LATER},
	{"fatal_error", VERDICT_LATER},
	{"service_unavailable", VERDICT_LATER},
	{"request_timeout", VERDICT_LATER},
	{"accesslimited", VERDICT_LATER},
	{"update_failed", VERDICT_LATER},
	{"external_channel_migrating", VERDICT_LATER},
	{"team_added_to_org", VERDICT_LATER},
	{"message_not_found", VERDICT_ANEW},
	{"thread_not_found", VERDICT_ANEW},
	{"cant_update_message", VERDICT_ANEW},
	{"edit_window_closed", VERDICT_ANEW},
	{"is_inactive", VERDICT_ANEW},
	{"channel_not_found", VERDICT_GONE},
	{"not_in_channel", VERDICT_GONE},
	{"is_archived", VERDICT_GONE},
	{"restricted_action", VERDICT_GONE},
	{"invalid_auth", VERDICT_GONE},
	{"not_authed", VERDICT_GONE},
	{"account_inactive", VERDICT_GONE},
	{"token_revoked", VERDICT_GONE},
	{"token_expired", VERDICT_GONE},
	{"not_allowed_token_type", VERDICT_GONE},
	{"missing_scope", VERDICT_GONE},
	{"no_permission", VERDICT_GONE},
	{"access_denied", VERDICT_GONE},
	{"ekm_access_denied", VERDICT_GONE},
	{"org_login_required", VERDICT_GONE},
	{"team_access_not_granted", VERDICT_GONE},
};

static enum verdict verdict_of(const char *word)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		if (strcmp(errors[i].word, word) == 0)
			return errors[i].verdict;
	}
	return VERDICT_REFUSED;
}

static const char *text_at(const cJSON *object, const char *key)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, key);

	return cJSON_IsString(value) ? value->valuestring : NULL;
}

enum verdict slack_judge(const struct answer *answer)
{
	enum verdict verdict = VERDICT_LATER; /* another 200 is a proxy's page */
	const char *word;
	cJSON *said;

	if (answer->status != 200)
		return verdict_by_status(answer, false);
	said = cJSON_Parse(answer->body);
	word = text_at(said, "error");
	if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(said, "ok")))
		verdict = VERDICT_TAKEN;
	else if (word)
		verdict = verdict_of(word);
	cJSON_Delete(said);
	return verdict;
}

static bool is_channel(const char *text)
{
	size_t length = strlen(text);

	return length && length <= 24 && strspn(text, LETTERS DIGITS) == length;
}

/* Seconds, a dot, six digits. */
static bool is_time(const char *text)
{
	size_t seconds = strspn(text, DIGITS);

	return seconds && seconds <= 20 && text[seconds] == '.' &&
	       strspn(text + seconds + 1, DIGITS) == 6 && text[seconds + 7] == '\0';
}

bool slack_handle(const struct answer *answer, char handle[SLACK_HANDLE_MAX])
{
	cJSON *said = cJSON_Parse(answer->body);
	const char *channel = text_at(said, "channel"), *time = text_at(said, "ts");
	bool good = channel && time && is_channel(channel) && is_time(time);

	if (good)
		snprintf(handle, SLACK_HANDLE_MAX, "%s %s", channel, time);
	cJSON_Delete(said);
	return good;
}

bool slack_handle_parts(const char *handle, char channel[SLACK_HANDLE_MAX],
			char time[SLACK_HANDLE_MAX])
{
	const char *space = handle ? strchr(handle, ' ') : NULL;

	if (!space || strlen(handle) >= SLACK_HANDLE_MAX)
		return false;
	snprintf(channel, SLACK_HANDLE_MAX, "%.*s", (int)(space - handle), handle);
	snprintf(time, SLACK_HANDLE_MAX, "%s", space + 1);
	return is_channel(channel) && is_time(time);
}

const char *slack_method(const struct notice *notice)
{
	char channel[SLACK_HANDLE_MAX], time[SLACK_HANDLE_MAX];

	return !notice->reply && slack_handle_parts(notice->handle, channel, time)
		       ? "/chat.update"
		       : "/chat.postMessage";
}
