/* A message as bytes is the same message again, and whatever else the bytes are is refused. */
#include "daemon/wire_message.h"

#include "tests/daemon/messages.h"

enum { TASKS = 4, SOURCE = 1, TASK = 2 };

static uint8_t *written(const struct message *message, size_t *length)
{
	*length = wire_message_size(message);
	uint8_t *bytes = malloc(*length);
	assert_non_null(bytes);
	wire_message_write(message, bytes);
	return bytes;
}

/* A copy that ends where it ends, so that a sanitizer sees whoever reads on. */
static struct message *read_exactly(const uint8_t *bytes, size_t length)
{
	uint8_t *copy = malloc(length ? length : 1);
	assert_non_null(copy);
	memcpy(copy, bytes, length);
	struct message *message = wire_message_read(copy, length, TASKS);
	free(copy);
	return message;
}

static void every_kind_comes_back_bit_for_bit(void **state)
{
	(void)state;
	for (int kind = 0; kind < MESSAGE_KINDS; kind++) {
		for (uint64_t pane = 40; pane < 44; pane++) {
			size_t length;
			struct message *message = made_message(kind, SOURCE, TASK, pane);
			uint8_t *bytes = written(message, &length);
			struct message *read = read_exactly(bytes, length);
			assert_non_null(read);
			expect_message(read, message);
			message_free(read);
			message_free(message);
			free(bytes);
		}
	}
}

static void empty_buckets_come_back(void **state)
{
	(void)state;
	for (int kind = 0; kind < MESSAGE_ROWS; kind++) {
		size_t length;
		struct message *message = message_new(kind, SOURCE, TASK, 5);
		uint8_t *bytes = written(message, &length);
		struct message *read = read_exactly(bytes, length);
		assert_non_null(read);
		expect_message(read, message);
		message_free(read);
		message_free(message);
		free(bytes);
	}
}

static void bytes_may_stand_anywhere(void **state)
{
	(void)state;
	for (int kind = 0; kind < MESSAGE_KINDS; kind++) {
		size_t length;
		struct message *message = made_message(kind, SOURCE, TASK, 40);
		uint8_t *bytes = written(message, &length);
		uint8_t *shifted = malloc(length + 8);
		for (size_t shift = 0; shift < 8; shift++) {
			memcpy(shifted + shift, bytes, length);
			struct message *read = wire_message_read(shifted + shift, length, TASKS);
			assert_non_null(read);
			expect_message(read, message);
			message_free(read);
		}
		message_free(message);
		free(shifted);
		free(bytes);
	}
}

static void whatever_is_cut_off_or_put_behind_is_refused(void **state)
{
	(void)state;
	for (int kind = 0; kind < MESSAGE_KINDS; kind++) {
		size_t length;
		struct message *message = made_message(kind, SOURCE, TASK, 40);
		uint8_t *bytes = written(message, &length);
		bytes = realloc(bytes, length + 8);
		memset(bytes + length, 0, 8);
		for (size_t cut = 0; cut < length + 8; cut++)
			if (cut != length)
				assert_null(read_exactly(bytes, cut));
		message_free(message);
		free(bytes);
	}
}

/* Any one byte of the header and of what stands before texts and structs: what comes of it is the
 * message with another number in it, or nothing. What is made of it is whole, which a sanitizer
 * sees. */
static void a_changed_byte_gives_a_whole_message_or_none(void **state)
{
	(void)state;
	size_t refused = 0, changes = 0;
	for (int kind = 0; kind < MESSAGE_KINDS; kind++) {
		size_t length;
		struct message *message = made_message(kind, SOURCE, TASK, 40);
		uint8_t *bytes = written(message, &length);
		for (size_t at = 0; at < length; at++) {
			static const uint8_t changed[] = {0xff, 0x01, 0x80};
			for (size_t i = 0; i < sizeof(changed); i++) {
				size_t again;
				bytes[at] ^= changed[i];
				struct message *read = read_exactly(bytes, length);
				bytes[at] ^= changed[i];
				changes++;
				refused += !read;
				if (!read)
					continue;
				free(written(read, &again)); /* reads all of it */
				assert_int_equal(again, length);
				message_free(read);
			}
		}
		message_free(message);
		free(bytes);
	}
	assert_in_range(refused, 500, changes - 500);
}

/* Where the fields of the header are (wire_message.c). */
enum {
	AT_LAYOUT = 4,
	AT_SOURCE = 8,
	AT_TASK = 12,
	AT_PANE = 16,
	AT_KIND = 24,
	AT_UNFINISHED = 25,
	AT_COUNTS = 32,
	AT_ROUND_ENDS = 104,
	AT_NAMES = 144,
	AT_TEXTS = 152,
	AT_ROWS = 160,
	HEADER = 168,
};

static void refused_with(const uint8_t *bytes, size_t length, size_t at, uint64_t value,
			 size_t size)
{
	uint8_t *changed = malloc(length);
	memcpy(changed, bytes, length);
	memcpy(changed + at, &value, size);
	assert_memory_not_equal(changed, bytes, length);
	assert_null(read_exactly(changed, length));
	free(changed);
}

static void counts_that_run_over_are_refused(void **state)
{
	static const uint64_t counts[] = {
		UINT64_MAX,	UINT64_MAX / 8 + 1,  UINT64_MAX / 2 + 1,
		1ULL << 32,	1ULL << 61,	     UINT64_MAX / sizeof(struct half_open) + 1,
		UINT64_MAX - 8, (1ULL << 60) + 1000,
	};
	(void)state;
	for (int kind = 0; kind < MESSAGE_KINDS; kind++) {
		size_t length;
		struct message *message = made_message(kind, SOURCE, TASK, 40);
		uint8_t *bytes = written(message, &length);
		for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
			for (size_t at = AT_COUNTS; at < AT_ROUND_ENDS; at += 8)
				refused_with(bytes, length, at, counts[i], 8);
			for (size_t at = AT_NAMES; at < HEADER; at += 8)
				refused_with(bytes, length, at, counts[i], 8);
		}
		message_free(message);
		free(bytes);
	}
}

static void another_layout_task_or_kind_is_refused(void **state)
{
	(void)state;
	size_t length;
	struct message *message = made_message(MESSAGE_HOPS, SOURCE, TASK, 41);
	uint8_t *bytes = written(message, &length);
	refused_with(bytes, length, 0, 0, 4);
	refused_with(bytes, length, AT_LAYOUT, 1, 4);
	refused_with(bytes, length, AT_SOURCE, TASKS, 4);
	refused_with(bytes, length, AT_TASK, TASKS, 4);
	refused_with(bytes, length, AT_KIND, MESSAGE_KINDS, 1);
	refused_with(bytes, length, AT_KIND, 255, 1);
	refused_with(bytes, length, AT_KIND, MESSAGE_START, 1);
	refused_with(bytes, length, AT_KIND, MESSAGE_ROWS, 1);
	refused_with(bytes, length, AT_KIND, MESSAGE_HALVES, 1); /* which are never unfinished */
	refused_with(bytes, length, AT_UNFINISHED, 2, 1);
	message_free(message);
	free(bytes);
}

static void rounds_that_do_not_ascend_are_refused(void **state)
{
	(void)state;
	size_t length;
	struct message *message = made_message(MESSAGE_LABELS, SOURCE, TASK, 41);
	uint8_t *bytes = written(message, &length);
	refused_with(bytes, length, AT_ROUND_ENDS, 4, 8); /* the second is 3 */
	refused_with(bytes, length, AT_ROUND_ENDS + 16, 8, 8);
	refused_with(bytes, length, AT_ROUND_ENDS + 8 * (ROUNDS_MAX - 1), 8, 8);
	refused_with(bytes, length, AT_ROUND_ENDS + 8 * (ROUNDS_MAX - 1), 6, 8);
	message_free(message);
	free(bytes);
}

static void a_name_without_its_end_is_refused(void **state)
{
	(void)state;
	size_t length;
	struct message *message = made_message(MESSAGE_LABELS, SOURCE, TASK, 41);
	uint8_t *bytes = written(message, &length);
	size_t text = length - message->names[0].length - 1, told = text - 8;
	assert_memory_equal(bytes + text, message->names[0].bytes, message->names[0].length + 1);
	refused_with(bytes, length, length - 1, 'x', 1);
	refused_with(bytes, length, told, message->names[0].length + 1, 4);
	refused_with(bytes, length, told, message->names[0].length - 1, 4);
	refused_with(bytes, length, told, UINT32_MAX, 4);
	refused_with(bytes, length, told, 0, 4);
	message_free(message);
	free(bytes);
}

static void rows_that_do_not_add_up_are_refused(void **state)
{
	(void)state;
	size_t length;
	struct message *message = made_message(MESSAGE_ROWS, SOURCE, TASK, 41);
	uint8_t *bytes = written(message, &length);
	const struct partial_bucket *rows = message->rows;
	size_t first = HEADER + sizeof(*rows);
	refused_with(bytes, length, AT_PANE, 42, 8); /* of another pane than its rows */
	refused_with(bytes, length, HEADER + offsetof(struct partial_bucket, records_size),
		     rows->records_size + 8, 8);
	refused_with(bytes, length, HEADER + offsetof(struct partial_bucket, records_size),
		     UINT64_MAX - 7, 8);
	refused_with(bytes, length, HEADER + offsetof(struct partial_bucket, record_count),
		     rows->record_count + 1, 4);
	refused_with(bytes, length, HEADER + offsetof(struct partial_bucket, record_count),
		     rows->record_count - 1, 4);
	refused_with(bytes, length, HEADER + offsetof(struct partial_bucket, lane_count),
		     UINT32_MAX, 4);
	refused_with(bytes, length, HEADER + offsetof(struct partial_bucket, instance_count),
		     rows->instance_count + 1, 4);
	refused_with(bytes, length, HEADER + offsetof(struct partial_bucket, name_count),
		     UINT32_MAX, 4);
	refused_with(bytes, length, HEADER + offsetof(struct partial_bucket, size), length, 8);
	/* The first record is not what it was: what it announces is elsewhere. */
	refused_with(bytes, length, first + offsetof(struct record, bits), RECORD_AMEND, 4);
	message_free(message);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_comes_back_bit_for_bit),
		cmocka_unit_test(empty_buckets_come_back),
		cmocka_unit_test(bytes_may_stand_anywhere),
		cmocka_unit_test(whatever_is_cut_off_or_put_behind_is_refused),
		cmocka_unit_test(a_changed_byte_gives_a_whole_message_or_none),
		cmocka_unit_test(counts_that_run_over_are_refused),
		cmocka_unit_test(another_layout_task_or_kind_is_refused),
		cmocka_unit_test(rounds_that_do_not_ascend_are_refused),
		cmocka_unit_test(a_name_without_its_end_is_refused),
		cmocka_unit_test(rows_that_do_not_add_up_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
