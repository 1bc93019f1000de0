/* A message holds copies: the sender's arrays and names may go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "daemon/message.h"

static void halves_and_names_are_copied(void **state)
{
	struct half_open opens[3];
	char text[] = "shop/cart";
	struct name name = {.id = 5, .bytes = text, .length = sizeof(text) - 1};
	const struct name *names[] = {&name};
	struct half_bucket bucket = {.opens = opens, .opens_count = 3};
	struct message *message;

	(void)state;
	memset(opens, 0x5a, sizeof(opens));
	message = message_halves(MESSAGE_HALVES, 1, 2, 40, &bucket, names, 1);
	memset(opens, 0, sizeof(opens));
	memset(text, 0, sizeof(text));
	assert_int_equal(MESSAGE_HALVES, message->kind);
	assert_int_equal(1, message->source);
	assert_int_equal(2, message->task);
	assert_int_equal(40, message->pane);
	assert_int_equal(3, message->bucket.opens_count);
	assert_int_equal(0, message->bucket.closes_count);
	for (size_t i = 0; i < sizeof(opens); i++)
		assert_int_equal(0x5a, ((const uint8_t *)message->bucket.opens)[i]);
	assert_int_equal(1, message->names_count);
	assert_int_equal(5, message->names[0].id);
	assert_string_equal("shop/cart", message->names[0].bytes);
	message_free(message);
}

static void labels_are_copied_with_the_ends_of_their_rounds(void **state)
{
	struct label labels[2];
	struct instance instance;
	struct name name = {.id = 5, .bytes = "cart", .length = 4};
	const struct name *names[] = {&name};
	struct label_bucket bucket = {
		.labels = labels, .instances = &instance, .instances_count = 1};
	struct message *message;

	(void)state;
	memset(labels, 0x3c, sizeof(labels));
	memset(&instance, 0x3d, sizeof(instance));
	for (size_t i = 0; i < ROUNDS_MAX; i++)
		bucket.round_ends[i] = i ? 2 : 1;
	message = message_labels(3, 4, 41, &bucket, names, 1);
	memset(labels, 0, sizeof(labels));
	memset(&instance, 0, sizeof(instance));
	assert_int_equal(MESSAGE_LABELS, message->kind);
	assert_int_equal(1, message->labelled.round_ends[0]);
	assert_int_equal(2, message->labelled.round_ends[ROUNDS_MAX - 1]);
	for (size_t i = 0; i < sizeof(labels); i++)
		assert_int_equal(0x3c, ((const uint8_t *)message->labelled.labels)[i]);
	assert_int_equal(1, message->labelled.instances_count);
	assert_int_equal(0x3d, *(const uint8_t *)message->labelled.instances);
	assert_string_equal("cart", message->names[0].bytes);
	message_free(message);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(halves_and_names_are_copied),
		cmocka_unit_test(labels_are_copied_with_the_ends_of_their_rounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
