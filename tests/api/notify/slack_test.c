/* What Slack's Web API answers, and what it means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "api/notify/slack.h"
#include "api/notify/transport.h"

static enum verdict judged(long status, const char *body)
{
	return slack_judge(&(struct answer){.status = status, .body = body});
}

static void each_word_says_whether_it_will_ever_take_it(void **state)
{
	static const struct {
		const char *word;
		enum verdict verdict;
	} words[] = {
		{"ratelimited", VERDICT_LATER},	      {"internal_error", VERDICT_LATER},
		{"update_failed", VERDICT_LATER},     {"external_channel_migrating", VERDICT_LATER},
		{"team_added_to_org", VERDICT_LATER}, {"message_not_found", VERDICT_ANEW},
		{"is_inactive", VERDICT_ANEW},	      {"channel_not_found", VERDICT_GONE},
		{"token_revoked", VERDICT_GONE},      {"msg_too_long", VERDICT_REFUSED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		char body[128];

		snprintf(body, sizeof(body), "{\"ok\":false,\"error\":\"%s\"}", words[i].word);
		if (judged(200, body) != words[i].verdict)
			fail_msg("%s: %d", words[i].word, judged(200, body));
	}
	assert_int_equal(judged(200, "{\"ok\":true}"), VERDICT_TAKEN);
	assert_int_equal(judged(200, "<html>"), VERDICT_LATER);
	assert_int_equal(judged(200, "{\"ok\":\"true\"}"), VERDICT_LATER);
	assert_int_equal(judged(200, ""), VERDICT_LATER);
	assert_int_equal(judged(500, "{\"ok\":true}"), VERDICT_LATER);
	assert_int_equal(judged(404, "{\"ok\":true}"), VERDICT_GONE);
}

/* It comes back in requests, so nothing but what Slack gives is kept. */
static void only_a_channel_and_a_time_are_a_handle(void **state)
{
	static const char *const wrong[] = {
		"{\"channel\":\"C0123\"}",
		"{\"channel\":\"#ops\",\"ts\":\"1700000000.000100\"}",
		"{\"channel\":\"C0123\",\"ts\":\"1700000000\"}",
		"{\"channel\":\"C0123\",\"ts\":\"1700000000.0001000\"}",
		"{\"channel\":\"C0123\",\"ts\":1700000000.000100}",
		"{\"channel\":\"CCCCCCCCCCCCCCCCCCCCCCCCC\",\"ts\":\"1.000100\"}",
		"[]"};
	char handle[SLACK_HANDLE_MAX], channel[SLACK_HANDLE_MAX], at[SLACK_HANDLE_MAX];

	(void)state;
	assert_true(slack_handle(
		&(struct answer){.body = "{\"channel\":\"C0123\",\"ts\":\"1700000000.000100\"}"},
		handle));
	assert_string_equal(handle, "C0123 1700000000.000100");
	assert_true(slack_handle_parts(handle, channel, at));
	assert_string_equal(channel, "C0123");
	assert_string_equal(at, "1700000000.000100");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(slack_handle(&(struct answer){.body = wrong[i]}, handle));
	assert_false(slack_handle_parts(NULL, channel, at));
	assert_false(slack_handle_parts("C0123", channel, at));
	assert_false(slack_handle_parts("C0123 1700000000.000100 x", channel, at));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_word_says_whether_it_will_ever_take_it),
		cmocka_unit_test(only_a_channel_and_a_time_are_a_handle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
