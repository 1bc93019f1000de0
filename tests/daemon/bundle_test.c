/* Messages that were put into a bundle come out of its bytes, and whatever else the bytes are is
 * refused. */
#include "daemon/bundle.h"

#include "daemon/wire_message.h"
#include "tests/daemon/messages.h"

enum { TASKS = 4, SOURCE = 1, RUN = 7 };

static void put(struct bundle *bundle, uint64_t number, struct message *message)
{
	assert_true(bundle_put(bundle, RUN, number, message));
	message_free(message);
}

static uint8_t *taken(struct bundle *bundle, size_t *length)
{
	uint8_t *bytes = bundle_take(bundle, length);
	assert_non_null(bytes);
	return bytes;
}

/* A copy that ends where it ends, so that a sanitizer sees whoever reads on. */
static bool is_whole(const uint8_t *bytes, size_t length, uint32_t tasks)
{
	struct bundle_reader reader;
	struct bundle_place place;
	uint8_t *copy = malloc(length ? length : 1);
	assert_non_null(copy);
	memcpy(copy, bytes, length);
	bool whole = bundle_open(&reader, copy, length) && bundle_whole(&reader, tasks);
	uint32_t messages = 0;
	while (whole && bundle_next(&reader, &place))
		messages++;
	assert_true(!whole || messages == reader.messages);
	free(copy);
	return whole;
}

static void all_kinds_come_out_as_they_were_put_in(void **state)
{
	(void)state;
	struct bundle bundle = {0};
	for (uint32_t task = 0; task < TASKS; task++)
		for (int kind = 0; kind < MESSAGE_KINDS; kind++)
			put(&bundle, 100 + (uint64_t)kind, made_message(kind, SOURCE, task, 40));
	assert_int_equal(bundle_messages(&bundle), TASKS * MESSAGE_KINDS);
	size_t length;
	uint8_t *bytes = taken(&bundle, &length);
	uint8_t *shifted = malloc(length + 8);
	for (size_t shift = 0; shift < 8; shift++) {
		struct bundle_reader reader;
		struct bundle_place place;
		memcpy(shifted + shift, bytes, length);
		assert_true(bundle_open(&reader, shifted + shift, length));
		assert_true(bundle_whole(&reader, TASKS));
		assert_int_equal(reader.run, RUN);
		for (uint32_t i = 0; i < TASKS * MESSAGE_KINDS; i++) {
			const uint8_t *found = bundle_next(&reader, &place);
			assert_non_null(found);
			assert_int_equal(place.source, SOURCE);
			assert_int_equal(place.task, i / MESSAGE_KINDS);
			assert_int_equal(place.number, 100 + i % MESSAGE_KINDS);
			struct message *read = wire_message_read(found, place.length, TASKS);
			struct message *made =
				made_message(i % MESSAGE_KINDS, SOURCE, place.task, 40);
			assert_non_null(read);
			expect_message(read, made);
			message_free(read);
			message_free(made);
		}
		assert_null(bundle_next(&reader, &place));
	}
	free(shifted);
	free(bytes);
}

static void an_empty_one_is_no_record(void **state)
{
	(void)state;
	struct bundle bundle = {0};
	size_t length;
	assert_int_equal(bundle_messages(&bundle), 0);
	assert_null(bundle_take(&bundle, &length));
	put(&bundle, 0, message_new(MESSAGE_START, SOURCE, 0, 1));
	free(taken(&bundle, &length));
	assert_int_equal(bundle_messages(&bundle), 0);
	assert_null(bundle_take(&bundle, &length));
	put(&bundle, 0, message_new(MESSAGE_START, SOURCE, 0, 1));
	bundle_clear(&bundle);
	assert_int_equal(bundle_messages(&bundle), 0);
	assert_null(bundle_take(&bundle, &length));

	const struct bundle_head head = {.magic = BUNDLE_MAGIC, .run = RUN};
	assert_false(is_whole((const uint8_t *)&head, sizeof(head), TASKS));
	assert_false(is_whole((const uint8_t *)&head, 0, TASKS));
}

/* HALVES of so many bytes at least. */
static struct message *large(size_t bytes)
{
	size_t count = bytes / sizeof(struct half_open) + 1;
	struct half_open *opens = calloc(count, sizeof(*opens));
	struct half_bucket bucket = {.opens = opens, .opens_count = count};
	struct message *message = message_halves(MESSAGE_HALVES, SOURCE, 2, 40, &bucket, NULL, 0);
	free(opens);
	return message;
}

static void what_has_no_room_is_left_for_the_next(void **state)
{
	(void)state;
	struct bundle bundle = {0};
	struct message *message = message_new(MESSAGE_START, SOURCE, 2, 1);
	size_t each = sizeof(struct bundle_place) + wire_message_size(message), length;
	uint64_t fit = (BUNDLE_BYTES_MAX - sizeof(struct bundle_head)) / each, number = 0;
	while (bundle_put(&bundle, RUN, number, message))
		number++;
	assert_int_equal(number, fit);
	assert_false(bundle_put(&bundle, RUN, number, message));
	assert_int_equal(bundle_messages(&bundle), fit);
	uint8_t *bytes = taken(&bundle, &length);
	assert_int_equal(length, sizeof(struct bundle_head) + fit * each);
	assert_true(is_whole(bytes, length, TASKS));
	free(bytes);
	assert_true(bundle_put(&bundle, RUN, number, message));
	bytes = taken(&bundle, &length);
	assert_int_equal(length, sizeof(struct bundle_head) + each);
	assert_true(is_whole(bytes, length, TASKS));
	free(bytes);
	message_free(message);
}

static void a_message_over_the_bound_goes_alone(void **state)
{
	(void)state;
	struct bundle bundle = {0};
	struct message *message = large(2 * BUNDLE_BYTES_MAX);
	size_t length;
	put(&bundle, 0, message_new(MESSAGE_START, SOURCE, 2, 1));
	assert_false(bundle_put(&bundle, RUN, 1, message));
	free(taken(&bundle, &length));
	assert_true(bundle_put(&bundle, RUN, 1, message));
	message_free(message);
	message = message_new(MESSAGE_START, SOURCE, 2, 1);
	assert_false(bundle_put(&bundle, RUN, 2, message));
	message_free(message);
	assert_int_equal(bundle_messages(&bundle), 1);
	uint8_t *bytes = taken(&bundle, &length);
	assert_true(length > 2 * BUNDLE_BYTES_MAX);
	assert_true(is_whole(bytes, length, TASKS));
	free(bytes);
}

static void a_bundle_that_is_cut_short_or_goes_on_is_refused(void **state)
{
	(void)state;
	struct bundle bundle = {0};
	size_t length;
	for (uint32_t i = 0; i < 3; i++)
		put(&bundle, i, made_message(MESSAGE_LABELS, SOURCE, i, 40));
	uint8_t *bytes = taken(&bundle, &length);
	bytes = memory_resize(bytes, length + 64, 1);
	memset(bytes + length, 0, 64);
	for (size_t cut = 0; cut < length; cut++)
		assert_false(is_whole(bytes, cut, TASKS));
	assert_true(is_whole(bytes, length, TASKS));
	for (size_t more = 1; more <= 64; more++)
		assert_false(is_whole(bytes, length + more, TASKS));
	free(bytes);
}

static void a_hostile_head_or_place_is_refused(void **state)
{
	(void)state;
	struct bundle bundle = {0};
	size_t length;
	for (uint32_t i = 0; i < 3; i++)
		put(&bundle, i, made_message(MESSAGE_LABELS, SOURCE, i, 40));
	uint8_t *bytes = taken(&bundle, &length);
	struct bundle_head *head = (struct bundle_head *)bytes, right = *head;
	struct bundle_place *place = (struct bundle_place *)(head + 1), at = *place;
	assert_true(is_whole(bytes, length, TASKS));
	assert_false(is_whole(bytes, length, 2)); /* the third is for task 2 */
	assert_false(is_whole(bytes, length, 1)); /* and all are from task 1 */
	head->magic++;
	assert_false(is_whole(bytes, length, TASKS));
	*head = right;
	head->run = -1;
	assert_false(is_whole(bytes, length, TASKS));
	static const uint32_t counts[] = {0, 1, 2, 4, UINT32_MAX};
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		*head = right;
		head->messages = counts[i];
		assert_false(is_whole(bytes, length, TASKS));
	}
	*head = right;
	const uint64_t lengths[] = {0,
				    at.length - 1,
				    at.length + 1,
				    length,
				    1 << 30,
				    UINT64_MAX,
				    UINT64_MAX - sizeof(at) + 1};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		place->length = lengths[i];
		assert_false(is_whole(bytes, length, TASKS));
	}
	*place = at;
	assert_true(is_whole(bytes, length, TASKS));
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_kinds_come_out_as_they_were_put_in),
		cmocka_unit_test(an_empty_one_is_no_record),
		cmocka_unit_test(what_has_no_room_is_left_for_the_next),
		cmocka_unit_test(a_message_over_the_bound_goes_alone),
		cmocka_unit_test(a_bundle_that_is_cut_short_or_goes_on_is_refused),
		cmocka_unit_test(a_hostile_head_or_place_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
