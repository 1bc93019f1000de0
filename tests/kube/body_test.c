/* Pages and watches taken apart, however they come, and whatever they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "kube/body.h"
#include "tests/kube/message.h"

enum { OBJECT_MAX = 8192 };

struct seen {
	char text[1024]; /* of each object: the event's letter, its name */
	size_t count, stop_after;
	char version[KUBE_VERSION_MAX + 1];
	struct kube_status status;
};

static bool on_object(void *context, enum kube_event event, const uint8_t *bytes, size_t length)
{
	struct seen *seen = context;
	size_t used = strlen(seen->text);
	seen->count++;
	if (event == KUBE_ERROR)
		assert_true(kube_status_read(bytes, length, &seen->status));
	else
		assert_true(kube_version_of(bytes, length, seen->version));
	snprintf(seen->text + used, sizeof(seen->text) - used, "%c%s ", "LAMDBE"[event],
		 event == KUBE_ERROR ? seen->status.message : seen->version);
	return seen->count != seen->stop_after;
}

static struct kube_body body_of(struct seen *seen, bool watch)
{
	struct kube_body body;
	*seen = (struct seen){0};
	kube_body_init(&body, &(struct kube_body_options){.watch = watch,
							  .object_bytes_max = OBJECT_MAX,
							  .object = on_object,
							  .context = seen});
	return body;
}

static struct message object(const char *version)
{
	struct message object = {0};
	message_put(&object, 1, message_meta("web-1", "uid", version));
	return object;
}

static struct message page(const char *version, const char *next, int items)
{
	struct message list = {0}, meta = message_of_text(2, version);
	char number[16];
	if (next)
		message_text(&meta, 3, next);
	message_put(&list, 1, meta);
	for (int i = 0; i < items; i++) {
		snprintf(number, sizeof(number), "%d", i);
		message_put(&list, 2, object(number));
	}
	return message_wrapped(list);
}

static void join(struct message *stream, struct message more)
{
	message_grow(stream, more.length);
	memcpy(stream->bytes + stream->length, more.bytes, more.length);
	stream->length += more.length;
	free(more.bytes);
}

static struct message stream(void)
{
	struct message stream = {0}, status = message_of_text(3, "too old");
	message_number(&status, 6, 410);
	join(&stream, message_frame("ADDED", object("11")));
	join(&stream, message_frame("MODIFIED", object("12")));
	join(&stream, message_frame("DELETED", object("13")));
	join(&stream, message_frame("BOOKMARK", object("14")));
	join(&stream, message_frame("NEWER", object("15")));
	join(&stream, message_frame("ERROR", status));
	return stream;
}

/* In two parts that meet at `at`; from memory of exactly their size, so that a byte read beyond
 * shows. */
static bool push_cut(struct kube_body *body, const struct message *message, size_t at)
{
	uint8_t *first = malloc(at + !at), *second = malloc(message->length - at + 1);
	memcpy(first, message->bytes, at);
	memcpy(second, message->bytes + at, message->length - at);
	bool good = kube_body_push(body, first, at) &&
		    kube_body_push(body, second, message->length - at);
	free(first);
	free(second);
	return good;
}

static void a_page_is_the_same_wherever_it_is_cut(void **state)
{
	struct message message = page("77", "tok", 3);
	struct seen seen;
	(void)state;
	for (size_t at = 0; at <= message.length; at++) {
		struct kube_body body = body_of(&seen, false);
		assert_true(push_cut(&body, &message, at));
		assert_true(kube_body_is_whole(&body));
		assert_string_equal(seen.text, "L0 L1 L2 ");
		assert_string_equal(body.resource_version, "77");
		assert_string_equal(body.next, "tok");
		kube_body_done(&body);
	}
	free(message.bytes);
}

static void a_watch_is_the_same_wherever_it_is_cut(void **state)
{
	struct message message = stream();
	struct seen seen;
	(void)state;
	for (size_t at = 0; at <= message.length; at++) {
		struct kube_body body = body_of(&seen, true);
		assert_true(push_cut(&body, &message, at));
		assert_true(kube_body_is_whole(&body));
		assert_string_equal(seen.text, "A11 M12 D13 B14 Etoo old ");
		assert_int_equal(seen.status.code, 410);
		kube_body_done(&body);
	}
	free(message.bytes);
}

static void what_comes_byte_by_byte_is_whole_only_at_its_end(void **state)
{
	struct message message = page("77", NULL, 2);
	struct seen seen;
	struct kube_body body = body_of(&seen, false);
	(void)state;
	for (size_t i = 0; i < message.length; i++) {
		bool tail = i >= message.length - 4; /* two empty fields behind the list */
		assert_true(kube_body_is_whole(&body) == (tail && (message.length - i) % 2 == 0));
		assert_true(kube_body_push(&body, message.bytes + i, 1));
	}
	assert_true(kube_body_is_whole(&body));
	assert_string_equal(body.next, "");
	kube_body_done(&body);
	free(message.bytes);
}

static void an_object_at_the_bound_is_read_and_a_larger_one_is_passed_over(void **state)
{
	(void)state;
	for (int more = 0; more < 2; more++) {
		struct message large = object("1"), list = {0};
		struct seen seen;
		struct kube_body body = body_of(&seen, false);
		char *filling = calloc(1, OBJECT_MAX);
		message_bytes(&large, 99, filling, OBJECT_MAX - large.length - 4 + (size_t)more);
		assert_int_equal(large.length, OBJECT_MAX + more);
		message_put(&list, 1, message_of_text(2, "77"));
		message_put(&list, 2, large);
		message_put(&list, 2, object("2"));
		struct message message = message_wrapped(list);
		assert_true(push_cut(&body, &message, message.length / 2));
		assert_true(kube_body_is_whole(&body));
		assert_string_equal(seen.text, more ? "L2 " : "L1 L2 ");
		assert_int_equal(body.oversized, more);
		kube_body_done(&body);
		free(message.bytes);
		free(filling);
	}
}

static void a_version_or_token_at_its_bound_is_taken_and_a_longer_one_breaks_the_page(void **state)
{
	char text[KUBE_CONTINUE_MAX + 2];
	(void)state;
	memset(text, '7', sizeof(text));
	for (size_t more = 0; more < 2; more++) {
		struct seen seen;
		struct kube_body body = body_of(&seen, false);
		text[KUBE_CONTINUE_MAX + more] = '\0';
		struct message message = page("77", text, 1);
		assert_true(kube_body_push(&body, message.bytes, message.length) == !more);
		kube_body_done(&body);
		free(message.bytes);
		body = body_of(&seen, false);
		text[KUBE_VERSION_MAX + more] = '\0';
		message = page(text, NULL, 1);
		assert_true(kube_body_push(&body, message.bytes, message.length) == !more);
		kube_body_done(&body);
		free(message.bytes);
		memset(text, '7', sizeof(text));
	}
}

static void a_frame_that_claims_gigabytes_takes_no_memory(void **state)
{
	struct seen seen;
	struct kube_body body = body_of(&seen, true);
	uint8_t claim[] = {0xff, 0xff, 0xff, 0xff, 1, 2, 3};
	(void)state;
	assert_true(kube_body_push(&body, claim, sizeof(claim)));
	assert_false(kube_body_is_whole(&body));
	assert_int_equal(body.gathered_capacity, 0);
	assert_int_equal(body.oversized, 1);
	kube_body_done(&body);
}

static void what_is_no_page_and_no_watch_breaks_it(void **state)
{
	static const char json[] = "{\"kind\":\"PodList\",\"apiVersion\":\"v1\"}";
	struct seen seen;
	struct message no_version = page("", NULL, 1);
	(void)state;
	struct kube_body body = body_of(&seen, false);
	assert_false(kube_body_push(&body, (const uint8_t *)json, sizeof(json)));
	assert_false(kube_body_push(&body, (const uint8_t *)"k8s", 4)); /* for good */
	assert_false(kube_body_is_whole(&body));
	body = body_of(&seen, true);
	assert_false(kube_body_push(&body, (const uint8_t *)"\0\0\0\3abc", 7));
	body = body_of(&seen, true);
	assert_false(kube_body_push(&body, (const uint8_t *)"\0\0\0\0", 4));
	body = body_of(&seen, false);
	assert_false(kube_body_push(&body, no_version.bytes, no_version.length));
	free(no_version.bytes);
}

static void an_item_that_ends_behind_its_list_is_told_to_nobody_wherever_it_is_cut(void **state)
{
	static uint8_t bytes[] = "k8s\0\x12\x08\x12\x07\x0a\x05\x32\x03"
				 "123";
	struct seen seen;
	(void)state;
	for (uint8_t list = 0; list < 10; list++) {
		struct message message = {.bytes = bytes, .length = sizeof(bytes) - 1};
		bytes[5] = list;
		for (size_t at = 0; at <= message.length; at++) {
			struct kube_body body = body_of(&seen, false);
			assert_true(push_cut(&body, &message, at) == (list == 9));
			assert_int_equal(seen.count, list == 9);
			kube_body_done(&body);
		}
	}
}

static void nothing_more_is_told_to_whom_it_was_enough(void **state)
{
	struct message message = stream();
	struct seen seen;
	struct kube_body body = body_of(&seen, true);
	(void)state;
	seen.stop_after = 2;
	assert_false(kube_body_push(&body, message.bytes, message.length));
	assert_string_equal(seen.text, "A11 M12 ");
	kube_body_done(&body);
	free(message.bytes);
}

static void refusals_say_why_in_protobuf_and_in_words(void **state)
{
	struct message status = message_of_text(3, "pods is forbidden"), details = {0};
	struct kube_status read;
	(void)state;
	message_number(&details, 5, 7);
	message_put(&status, 5, details);
	message_number(&status, 6, 403);
	struct message wrapped = message_wrapped(status);
	kube_status_of_body(wrapped.bytes, wrapped.length, &read);
	assert_int_equal(read.code, 403);
	assert_int_equal(read.retry_after_s, 7);
	assert_string_equal(read.message, "pods is forbidden");
	kube_status_of_body((const uint8_t *)"Too many requests\n", 18, &read);
	assert_int_equal(read.code, 0);
	assert_string_equal(read.message, "Too many requests?");
	kube_status_of_body(wrapped.bytes, 0, &read);
	assert_string_equal(read.message, "");
	free(wrapped.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_is_the_same_wherever_it_is_cut),
		cmocka_unit_test(a_watch_is_the_same_wherever_it_is_cut),
		cmocka_unit_test(what_comes_byte_by_byte_is_whole_only_at_its_end),
		cmocka_unit_test(an_object_at_the_bound_is_read_and_a_larger_one_is_passed_over),
		cmocka_unit_test(
			a_version_or_token_at_its_bound_is_taken_and_a_longer_one_breaks_the_page),
		cmocka_unit_test(a_frame_that_claims_gigabytes_takes_no_memory),
		cmocka_unit_test(what_is_no_page_and_no_watch_breaks_it),
		cmocka_unit_test(
			an_item_that_ends_behind_its_list_is_told_to_nobody_wherever_it_is_cut),
		cmocka_unit_test(nothing_more_is_told_to_whom_it_was_enough),
		cmocka_unit_test(refusals_say_why_in_protobuf_and_in_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
