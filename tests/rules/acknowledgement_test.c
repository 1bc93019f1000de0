#include "rules/acknowledgements.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define T0 (1700000000 * NS_PER_S)

static struct acknowledgement of(const char *key, uint64_t issued_ns, uint64_t reopened_ns)
{
	struct acknowledgement one;

	memset(&one, 0, sizeof(one));
	snprintf(one.key, sizeof(one.key), "%s", key);
	one.issued_ns = T0 + issued_ns;
	one.reopened_ns = reopened_ns;
	strcpy(one.author, "192.0.2.7");
	strcpy(one.created_by, "ann");
	strcpy(one.comment, "looking");
	return one;
}

static struct alert alert_of(const char *key, uint64_t reopened_ns)
{
	struct alert alert = {.reopened_ns = reopened_ns};

	snprintf(alert.key, sizeof(alert.key), "%s", key);
	return alert;
}

static void what_is_written_is_read_if_it_is_signed(void **state)
{
	static const char secret[] = "the first deployment key!";
	struct keys *keys = keys_new(), *none = keys_new();
	uint8_t bytes[SILENCE_BYTES_MAX], key[SEAL_KEY_BYTES];
	struct acknowledgement one = of("KEY", 0, 7), read;
	char why[SILENCE_WHY_BYTES];
	size_t length = acknowledgement_write(&one, NULL, bytes);

	(void)state;
	assert_true(acknowledgement_accept(bytes, length, none, &read, why));
	assert_memory_equal(&read, &one, sizeof(one));
	assert_int_equal(keys_add(keys, "", secret, strlen(secret)), 0);
	assert_false(acknowledgement_accept(bytes, length, keys, &read, why));
	assert_string_equal(why, "not signed by the pipeline's key");
	keys_pipeline_key(keys, 0, key);
	length = acknowledgement_write(&one, key, bytes);
	assert_true(acknowledgement_accept(bytes, length, keys, &read, why));
	assert_memory_equal(read.mac, bytes + length - SEAL_MAC_BYTES, SEAL_MAC_BYTES);
	keys_free(keys);
	keys_free(none);
}

static void what_is_none_or_out_of_bounds_is_refused(void **state)
{
	uint8_t bytes[SILENCE_BYTES_MAX], key[SEAL_KEY_BYTES] = {1};
	struct keys *none = keys_new();
	struct acknowledgement one = of("KEY", 0, 0), read;
	struct silence silence = {
		.id = "a", .issued_ns = T0, .starts_ns = T0, .ends_ns = T0, .port = 1};
	char why[SILENCE_WHY_BYTES];

	(void)state;
	assert_false(acknowledgement_accept(bytes, silence_write(&silence, NULL, bytes), none,
					    &read, why));
	assert_string_equal(why, "id: that of an acknowledgement begins with acknowledgement/");
	assert_false(silence_read(bytes, acknowledgement_write(&one, NULL, bytes), &silence, why));
	strcpy(one.comment, "\xff");
	assert_false(acknowledgement_check(&one, why));
	one = of("KEY", 0, 0);
	strcpy(one.author, "\xff"); /* gRPC clients refuse the whole of an answer that has it */
	assert_false(acknowledgement_check(&one, why));
	one = of("", 0, 0);
	assert_false(acknowledgement_accept(bytes, acknowledgement_write(&one, NULL, bytes), none,
					    &read, why));
	one = of("KEY", 0, 0);
	memset(one.key, 'K', sizeof(one.key) - 1);
	memset(one.author, 'a', sizeof(one.author) - 1);
	memset(one.created_by, 'b', sizeof(one.created_by) - 1);
	memset(one.comment, 'c', sizeof(one.comment) - 1);
	assert_true(acknowledgement_accept(bytes, acknowledgement_write(&one, key, bytes), none,
					   &read, why));
	assert_string_equal(read.comment, one.comment);
	one.issued_ns = 0;
	assert_false(acknowledgement_check(&one, why));
	keys_free(none);
}

static void it_holds_until_the_incident_is_opened_again(void **state)
{
	struct acknowledgements *known = acknowledgements_new(2);
	struct acknowledgement one = of("KEY", 1, 0), older = of("KEY", 0, 9);
	struct alert alert = alert_of("KEY", 0), other = alert_of("KEY2", 0);

	(void)state;
	assert_true(acknowledgements_take(known, &one));
	assert_false(acknowledgements_take(known, &older));
	assert_true(acknowledgements_take(known, &one)); /* signed again */
	assert_string_equal(acknowledgements_of(known, &alert)->created_by, "ann");
	assert_null(acknowledgements_of(known, &other));
	alert.reopened_ns = 5;
	assert_null(acknowledgements_of(known, &alert));
	one = of("KEY", 2, 5);
	assert_true(acknowledgements_take(known, &one));
	assert_non_null(acknowledgements_of(known, &alert));
	acknowledgements_free(known);
}

static void on_told(void *context, const struct acknowledgement *one)
{
	strcat(context, one->key);
}

static void past_the_bound_the_oldest_is_forgotten_and_what_is_too_old_too(void **state)
{
	struct acknowledgements *known = acknowledgements_new(2);
	struct acknowledgement first = of("A", 2, 0), second = of("B", 1, 0), third = of("C", 3, 0);
	struct alert a = alert_of("A", 0), b = alert_of("B", 0), c = alert_of("C", 0);
	char told[16] = "";

	(void)state;
	assert_true(acknowledgements_take(known, &first));
	assert_true(acknowledgements_take(known, &second));
	assert_true(acknowledgements_take(known, &third));
	acknowledgements_forget(known, T0, on_told, told);
	assert_string_equal(told, "B"); /* and so it can be taken back from the topic */
	told[0] = '\0';
	assert_non_null(acknowledgements_of(known, &a));
	assert_null(acknowledgements_of(known, &b));
	assert_non_null(acknowledgements_of(known, &c));
	acknowledgements_forget(known, T0 + 2 + ACKNOWLEDGEMENT_KEEP_NS, on_told, told);
	assert_string_equal(told, "");
	acknowledgements_forget(known, T0 + 3 + ACKNOWLEDGEMENT_KEEP_NS, on_told, told);
	assert_string_equal(told, "A");
	assert_int_equal(acknowledgements_count(known), 1);
	acknowledgements_free(known);
}

static void what_nobody_forgets_is_bounded_whatever_order_it_is_read_in(void **state)
{
	static const unsigned orders[][5] = {{1, 2, 3, 4, 5}, {5, 4, 3, 2, 1}, {3, 5, 1, 2, 4}};

	(void)state;
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		struct acknowledgements *known = acknowledgements_new(2);

		for (size_t n = 0; n < 5; n++) {
			char key[2] = {(char)('A' + orders[i][n]), '\0'};
			struct acknowledgement one = of(key, orders[i][n], 0);

			acknowledgements_take(known, &one);
		}
		assert_int_equal(acknowledgements_count(known), 2 * ACKNOWLEDGEMENTS_SPARE);
		for (unsigned n = 1; n <= 5; n++) {
			char key[2] = {(char)('A' + n), '\0'};
			struct alert alert = alert_of(key, 0);

			assert_true((acknowledgements_of(known, &alert) == NULL) == (n == 1));
		}
		acknowledgements_free(known);
	}
}

static void what_the_topic_has_no_more_is_lost_until_it_is_taken_again(void **state)
{
	struct acknowledgements *known = acknowledgements_new(2);
	struct acknowledgement one = of("KEY", 1, 0), older = of("KEY", 0, 9);

	(void)state;
	acknowledgements_lose(known, "KEY");
	assert_true(acknowledgements_take(known, &one));
	assert_false(acknowledgements_at(known, 0)->lost);
	acknowledgements_lose(known, "KEY");
	assert_true(acknowledgements_at(known, 0)->lost);
	assert_true(acknowledgements_take(known, &one));
	assert_false(acknowledgements_at(known, 0)->lost);
	assert_false(acknowledgements_take(known, &older));
	assert_true(acknowledgements_at(known, 0)->lost);
	acknowledgements_free(known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_if_it_is_signed),
		cmocka_unit_test(what_is_none_or_out_of_bounds_is_refused),
		cmocka_unit_test(it_holds_until_the_incident_is_opened_again),
		cmocka_unit_test(past_the_bound_the_oldest_is_forgotten_and_what_is_too_old_too),
		cmocka_unit_test(what_nobody_forgets_is_bounded_whatever_order_it_is_read_in),
		cmocka_unit_test(what_the_topic_has_no_more_is_lost_until_it_is_taken_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
