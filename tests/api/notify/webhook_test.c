#include "api/notify/webhook.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "anomaly/alert.h"
#include "base/clock.h"

/* Secrets are "whsec_" and base64 of 24, 64, 23 and 65 times 'k'; signatures were made with
 * Python's hmac. */
#define SECRET "whsec_a2tra2tra2tra2tra2tra2tra2tra2tr"
#define LONGEST                                              \
	"whsec_a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr" \
	"a2tra2tra2tra2tra2tra2tra2tra2tra2tra2traw=="

static const struct alert alert = {.key = "ABC", .sequence = 7};
static const char body[] = "{\"type\":\"alert.firing\"}";

static void a_message_has_its_id_its_time_and_a_signature_of_both_and_its_bytes(void **state)
{
	(void)state;
	struct webhook_headers headers;
	webhook_sign(&headers, SECRET, NULL, &alert, 1700000000 * NS_PER_S + 999999999, body,
		     strlen(body));
	assert_string_equal(headers.lines[0], "webhook-id: ABC-7");
	assert_string_equal(headers.lines[1], "webhook-timestamp: 1700000000");
	assert_string_equal(headers.lines[2],
			    "webhook-signature: v1,1WtZgBMsr1tVaLUBHAmRUbCh465PuhrUgX3uFczijt0=");
}

static void while_the_secret_is_changed_there_is_a_signature_of_each(void **state)
{
	(void)state;
	struct webhook_headers one, other, both;
	char expected[WEBHOOK_HEADER_BYTES];
	webhook_sign(&one, SECRET, NULL, &alert, NS_PER_S, body, strlen(body));
	webhook_sign(&other, LONGEST, NULL, &alert, NS_PER_S, body, strlen(body));
	webhook_sign(&both, LONGEST, SECRET, &alert, NS_PER_S, body, strlen(body));
	snprintf(expected, sizeof(expected), "%s%s", other.lines[2],
		 one.lines[2] + strlen("webhook-signature:"));
	assert_string_equal(both.lines[2], expected);
	assert_string_not_equal(one.lines[2], other.lines[2]);
}

static void what_is_no_secret_is_refused(void **state)
{
	(void)state;
	assert_true(webhook_secret_good(SECRET));
	assert_true(webhook_secret_good(LONGEST));
	static const char *const bad[] = {
		"",
		"whsec_",
		SECRET + 6,
		"whsec_a2tra2tra2tra2tra2tra2tra2tra2s=", /* 23 bytes */
		"whsec_a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr"
		"a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=", /* 65 */
		SECRET "!",
		"whsec_!2tra2tra2tra2tra2tra2tra2tra2tr",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (webhook_secret_good(bad[i]))
			fail_msg("%s", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_message_has_its_id_its_time_and_a_signature_of_both_and_its_bytes),
		cmocka_unit_test(while_the_secret_is_changed_there_is_a_signature_of_each),
		cmocka_unit_test(what_is_no_secret_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
