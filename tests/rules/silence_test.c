#include "rules/silence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "millrace/v1/silences.pb-c.h"

#define T0 (1700000000 * NS_PER_S)

static struct silence good(void)
{
	struct silence silence;

	memset(&silence, 0, sizeof(silence));
	strcpy(silence.id, "s-0123456789ab");
	silence.issued_ns = T0;
	silence.starts_ns = T0 + NS_PER_S;
	silence.ends_ns = T0 + 3600 * NS_PER_S;
	strcpy(silence.monitor, "baseline/*");
	strcpy(silence.client, "web-?");
	strcpy(silence.server, "shop/*");
	silence.port = 8080;
	silence.one_severity = true;
	silence.severity = ALERT_WARNING;
	strcpy(silence.author, "192.0.2.7");
	strcpy(silence.created_by, "ann");
	strcpy(silence.comment, "new disks \xe2\x80\x93 #4711");
	return silence;
}

static struct alert_member episode(const char *monitor, const char *client, const char *server,
				   uint16_t port, uint32_t severity)
{
	struct alert_member member = {.subject = {.port = port, .protocol = 6},
				      .severity = severity};

	snprintf(member.monitor, sizeof(member.monitor), "%s", monitor);
	snprintf(member.subject.client, sizeof(member.subject.client), "%s", client);
	snprintf(member.subject.server, sizeof(member.subject.server), "%s", server);
	return member;
}

static void what_is_written_is_read(void **state)
{
	uint8_t bytes[SILENCE_BYTES_MAX];
	struct silence silence = good(), read;

	(void)state;
	assert_true(silence_read(bytes, silence_write(&silence, NULL, bytes), &read, NULL));
	assert_memory_equal(&read, &silence, sizeof(silence));
	silence.one_severity = false;
	silence.severity = 0;
	silence.port = 0;
	memset(silence.monitor, 0, sizeof(silence.monitor));
	assert_true(silence_read(bytes, silence_write(&silence, NULL, bytes), &read, NULL));
	assert_memory_equal(&read, &silence, sizeof(silence));
}

static void the_longest_of_all_fits(void **state)
{
	uint8_t bytes[SILENCE_BYTES_MAX], key[SEAL_KEY_BYTES] = {1};
	struct silence silence = good(), read;

	(void)state;
	memset(silence.id, 'a', sizeof(silence.id) - 1);
	memset(silence.monitor, 'm', sizeof(silence.monitor) - 1);
	memset(silence.client, 'c', sizeof(silence.client) - 1);
	memset(silence.server, 's', sizeof(silence.server) - 1);
	memset(silence.author, 'b', sizeof(silence.author) - 1);
	memset(silence.created_by, 'd', sizeof(silence.created_by) - 1);
	memset(silence.comment, 'e', sizeof(silence.comment) - 1);
	assert_true(silence_read(bytes, silence_write(&silence, key, bytes), &read, NULL));
	assert_string_equal(read.comment, silence.comment);
	assert_string_equal(read.id, silence.id);
}

static void it_is_believed_of_whoever_has_one_of_the_keys(void **state)
{
	static const char secret[] = "the first deployment key!",
			  other[] = "somebody else's own key";
	struct keys *keys = keys_new(), *others = keys_new(), *none = keys_new();
	uint8_t bytes[SILENCE_BYTES_MAX], key[SEAL_KEY_BYTES];
	struct silence silence = good(), read;
	char why[SILENCE_WHY_BYTES];
	size_t length;

	(void)state;
	assert_int_equal(keys_add(keys, "", secret, strlen(secret)), 0);
	assert_int_equal(keys_add(others, "", other, strlen(other)), 0);
	keys_pipeline_key(keys, 0, key);
	length = silence_write(&silence, key, bytes);
	assert_true(silence_accept(bytes, length, keys, &read, why));
	assert_memory_equal(read.mac, bytes + length - SEAL_MAC_BYTES, SEAL_MAC_BYTES);
	assert_true(silence_accept(bytes, length, none, &read, why));
	assert_false(silence_accept(bytes, length, others, &read, why));
	assert_string_equal(why, "not signed by the pipeline's key");
	bytes[10] ^= 1;
	assert_false(silence_accept(bytes, length, keys, &read, why));
	keys_free(keys);
	keys_free(others);
	keys_free(none);
}

static void refused(struct silence silence, const char *words)
{
	uint8_t bytes[SILENCE_BYTES_MAX];
	char why[SILENCE_WHY_BYTES] = "";
	struct silence read;

	assert_false(silence_check(&silence, why));
	assert_non_null(strstr(why, words));
	/* Nor is it read by whoever holds to the same bounds. */
	assert_false(silence_read(bytes, silence_write(&silence, NULL, bytes), &read, NULL));
}

static void what_is_out_of_bounds_is_refused_at_the_edge(void **state)
{
	struct silence silence = good();

	(void)state;
	silence.ends_ns = silence.starts_ns + SILENCE_LENGTH_MAX;
	assert_true(silence_check(&silence, NULL));
	silence.ends_ns++;
	refused(silence, "366 days");
	silence.ends_ns = silence.starts_ns;
	assert_true(silence_check(&silence, NULL)); /* expired before it began */
	silence.ends_ns--;
	refused(silence, "before starts_at");
	silence = good();
	strcpy(silence.id, "no_id");
	refused(silence, "a-z, 0-9");
	silence.id[0] = '\0';
	refused(silence, "1 to 64");
	silence = good();
	silence.issued_ns = 0;
	refused(silence, "issued_ns");
	silence = good();
	strcpy(silence.author, "\xff"); /* gRPC clients refuse the whole of an answer that has it */
	refused(silence, "UTF-8");
	silence.author[0] = '\0';
	strcpy(silence.comment, "\xff");
	assert_false(silence_check(&silence, NULL));
	memset(&silence, 0, sizeof(silence));
	strcpy(silence.id, "all");
	silence.issued_ns = silence.starts_ns = silence.ends_ns = T0;
	refused(silence, "at least one of");
	silence.port = 1;
	assert_true(silence_check(&silence, NULL));
}

static void a_record_that_is_none_is_refused(void **state)
{
	Millrace__V1__SilenceRecord message = MILLRACE__V1__SILENCE_RECORD__INIT;
	Millrace__V1__SilenceRule rule = MILLRACE__V1__SILENCE_RULE__INIT;
	uint8_t bytes[SILENCE_BYTES_MAX] = {0xff};
	char why[SILENCE_WHY_BYTES];
	struct silence read;

	(void)state;
	assert_false(silence_read(bytes, 1, &read, why));
	assert_false(silence_read(bytes, SILENCE_BYTES_MAX + 1, &read, why));
	assert_string_equal(why, "longer than 4 KiB");
	message.id = (char *)"silence/a";
	message.version = 2;
	message.issued_ns = rule.starts_ns = rule.ends_ns = T0;
	rule.port = 1;
	message.silence = &rule;
	assert_false(silence_read(bytes, millrace__v1__silence_record__pack(&message, bytes), &read,
				  why));
	assert_string_equal(why, "its version is not known here");
	message.version = 1;
	assert_true(silence_read(bytes, millrace__v1__silence_record__pack(&message, bytes), &read,
				 why));
	rule.port = 65536;
	assert_false(silence_read(bytes, millrace__v1__silence_record__pack(&message, bytes), &read,
				  why));
	rule.port = 1;
	rule.severity = (char *)"fatal";
	assert_false(silence_read(bytes, millrace__v1__silence_record__pack(&message, bytes), &read,
				  why));
	rule.severity = (char *)"";
	message.id = (char *)"monitor/a";
	assert_false(silence_read(bytes, millrace__v1__silence_record__pack(&message, bytes), &read,
				  why));
	message.id = (char *)"silence/a";
	message.silence = NULL;
	assert_false(silence_read(bytes, millrace__v1__silence_record__pack(&message, bytes), &read,
				  why));
}

static void an_episode_matches_if_all_that_is_given_does(void **state)
{
	struct silence silence = good();
	struct alert_member member =
		episode("baseline/rtt", "web-1", "shop/cart", 8080, ALERT_WARNING);

	(void)state;
	assert_true(silence_matches(&silence, &member));
	member = episode("errors", "web-1", "shop/cart", 8080, ALERT_WARNING);
	assert_false(silence_matches(&silence, &member));
	member = episode("baseline/rtt", "web-12", "shop/cart", 8080, ALERT_WARNING);
	assert_false(silence_matches(&silence, &member));
	member = episode("baseline/rtt", "web-1", "ops/cart", 8080, ALERT_WARNING);
	assert_false(silence_matches(&silence, &member));
	member = episode("baseline/rtt", "web-1", "shop/cart", 8081, ALERT_WARNING);
	assert_false(silence_matches(&silence, &member));
	member = episode("baseline/rtt", "web-1", "shop/cart", 8080, ALERT_ERROR);
	assert_false(silence_matches(&silence, &member));
	memset(&silence, 0, sizeof(silence));
	silence.one_severity = true; /* info */
	assert_false(silence_matches(&silence, &member));
	member.severity = ALERT_INFO;
	assert_true(silence_matches(&silence, &member));
}

static void it_is_pending_then_active_then_expired(void **state)
{
	struct silence silence = good();

	(void)state;
	assert_int_equal(silence_state(&silence, silence.starts_ns - 1), SILENCE_PENDING);
	assert_int_equal(silence_state(&silence, silence.starts_ns), SILENCE_ACTIVE);
	assert_int_equal(silence_state(&silence, silence.ends_ns - 1), SILENCE_ACTIVE);
	assert_int_equal(silence_state(&silence, silence.ends_ns), SILENCE_EXPIRED);
	assert_string_equal(silence_state_name(SILENCE_PENDING), "pending");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(the_longest_of_all_fits),
		cmocka_unit_test(it_is_believed_of_whoever_has_one_of_the_keys),
		cmocka_unit_test(what_is_out_of_bounds_is_refused_at_the_edge),
		cmocka_unit_test(a_record_that_is_none_is_refused),
		cmocka_unit_test(an_episode_matches_if_all_that_is_given_does),
		cmocka_unit_test(it_is_pending_then_active_then_expired),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
