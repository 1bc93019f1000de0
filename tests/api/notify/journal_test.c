/* The write-ahead file: what a crash, a damaged disk or a full one leaves of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/notify/journal.h"

enum { RECORDS = 5, BYTES_MAX = 4096, KEPT_MAX = 512 };

struct fixture {
	char folder[64], path[96];
	char read[KEPT_MAX][128];
	size_t read_count;
	const char *keeps[KEPT_MAX];
	size_t keeps_count;
};

static void on_record(void *context, const uint8_t *bytes, size_t length)
{
	struct fixture *fixture = context;

	assert_true(fixture->read_count < KEPT_MAX && length < 128);
	memcpy(fixture->read[fixture->read_count], bytes, length);
	fixture->read[fixture->read_count++][length] = '\0';
}

/* What was read still counts, unless the test says what does. */
static void on_keep(void *context, struct journal *journal)
{
	struct fixture *fixture = context;

	for (size_t i = 0; i < fixture->read_count; i++)
		journal_keep(journal, (const uint8_t *)fixture->read[i], strlen(fixture->read[i]));
	for (size_t i = 0; i < fixture->keeps_count; i++)
		journal_keep(journal, (const uint8_t *)fixture->keeps[i],
			     strlen(fixture->keeps[i]));
}

static struct journal *opened(struct fixture *fixture, int *rc)
{
	fixture->read_count = 0;
	return journal_open(&(struct journal_options){.path = fixture->path,
						      .bytes_max = BYTES_MAX,
						      .context = fixture,
						      .record = on_record,
						      .keep = on_keep},
			    rc);
}

static int append(struct journal *journal, const char *text)
{
	return journal_append(journal, (const uint8_t *)text, strlen(text));
}

static void number_text(char text[16], unsigned number)
{
	snprintf(text, 16, "record %u", number);
}

static void fill(struct fixture *fixture)
{
	int rc;
	struct journal *journal = opened(fixture, &rc);

	assert_non_null(journal);
	for (unsigned i = 0; i < RECORDS; i++) {
		char text[16];

		number_text(text, i);
		assert_int_equal(append(journal, text), 0);
	}
	journal_close(journal);
}

static size_t load(const char *path, uint8_t *bytes, size_t max)
{
	FILE *file = fopen(path, "rb");
	size_t length;

	assert_non_null(file);
	length = fread(bytes, 1, max, file);
	fclose(file);
	return length;
}

static void store(const char *path, const uint8_t *bytes, size_t length)
{
	FILE *file = fopen(path, "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/millrace-journal-XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	snprintf(fixture->path, sizeof(fixture->path), "%s/journal", fixture->folder);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	char other[128];

	snprintf(other, sizeof(other), "%s.new", fixture->path);
	unlink(other);
	unlink(fixture->path);
	rmdir(fixture->folder);
	free(fixture);
	return 0;
}

static void expect_first(const struct fixture *fixture, size_t count)
{
	assert_int_equal(fixture->read_count, count);
	for (unsigned i = 0; i < count; i++) {
		char text[16];

		number_text(text, i);
		assert_string_equal(fixture->read[i], text);
	}
}

static void what_was_appended_is_read_back_in_order(void **state)
{
	struct fixture *fixture = *state;
	struct journal *journal;
	struct stat status;
	int rc;

	fill(fixture);
	journal = opened(fixture, &rc);
	assert_non_null(journal);
	expect_first(fixture, RECORDS);
	assert_int_equal(journal_stats(journal).cut, 0);
	assert_int_equal(stat(fixture->path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	assert_int_equal(status.st_size, journal_stats(journal).bytes);
	journal_close(journal);
}

/* A crash may leave any length of the last write. */
static void cut_at_any_length_its_whole_records_are_read_and_it_goes_on(void **state)
{
	struct fixture *fixture = *state;
	uint8_t bytes[BYTES_MAX];
	size_t length;

	fill(fixture);
	length = load(fixture->path, bytes, sizeof(bytes));
	for (size_t cut = 0; cut <= length; cut++) {
		int rc;
		struct journal *journal;
		size_t whole = cut >= 4 ? (cut - 4) / (8 + 8) : 0;

		store(fixture->path, bytes, cut);
		journal = opened(fixture, &rc);
		assert_non_null(journal);
		expect_first(fixture, whole);
		assert_int_equal(append(journal, "after"), 0);
		journal_close(journal);
		journal = opened(fixture, &rc);
		assert_int_equal(fixture->read_count, whole + 1);
		assert_string_equal(fixture->read[whole], "after");
		journal_close(journal);
	}
}

static void a_damaged_byte_costs_its_record_and_those_after_it_and_is_told(void **state)
{
	struct fixture *fixture = *state;
	uint8_t bytes[BYTES_MAX];
	size_t length;

	fill(fixture);
	length = load(fixture->path, bytes, sizeof(bytes));
	for (size_t at = 4; at < length; at++) {
		for (int bit = 0; bit < 8; bit++) {
			int rc;
			struct journal *journal;

			bytes[at] ^= (uint8_t)(1 << bit);
			store(fixture->path, bytes, length);
			journal = opened(fixture, &rc);
			assert_non_null(journal);
			expect_first(fixture, (at - 4) / 16);
			assert_int_equal(journal_stats(journal).cut,
					 length - 4 - (at - 4) / 16 * 16);
			journal_close(journal);
			bytes[at] ^= (uint8_t)(1 << bit);
		}
	}
}

static void another_file_is_refused_and_left_alone(void **state)
{
	struct fixture *fixture = *state;
	const char *text = "[receivers]\n";
	uint8_t bytes[64];
	int rc;

	store(fixture->path, (const uint8_t *)text, strlen(text));
	assert_null(opened(fixture, &rc));
	assert_int_equal(rc, -EBADMSG);
	assert_int_equal(load(fixture->path, bytes, sizeof(bytes)), strlen(text));
	assert_memory_equal(bytes, text, strlen(text));
}

static void a_folder_that_is_not_there_is_an_error(void **state)
{
	struct fixture *fixture = *state;
	int rc;

	snprintf(fixture->path, sizeof(fixture->path), "%s/no/journal", fixture->folder);
	assert_null(opened(fixture, &rc));
	assert_int_equal(rc, -ENOENT);
}

static void it_never_grows_past_its_bound_and_keeps_what_counts(void **state)
{
	struct fixture *fixture = *state;
	int rc;
	struct journal *journal = opened(fixture, &rc);
	struct stat status;

	fixture->keeps[fixture->keeps_count++] = "this counts";
	for (unsigned i = 0; i < 10000; i++) {
		assert_int_equal(append(journal, "this does not"), 0);
		assert_int_equal(stat(fixture->path, &status), 0);
		assert_true(status.st_size <= BYTES_MAX);
	}
	assert_true(journal_stats(journal).rewritten > 10);
	journal_close(journal);
	fixture->keeps_count = 0;
	journal = opened(fixture, &rc);
	assert_string_equal(fixture->read[0], "this counts");
	journal_close(journal);
}

static void what_counts_too_much_is_left_out_and_counted(void **state)
{
	struct fixture *fixture = *state;
	static char large[1200];
	int rc;
	struct journal *journal = opened(fixture, &rc);

	memset(large, 'x', sizeof(large) - 1);
	for (int i = 0; i < 6; i++)
		fixture->keeps[fixture->keeps_count++] = large;
	for (int i = 0; i < 4; i++)
		append(journal, large);
	assert_true(journal_stats(journal).failed >= 3);
	assert_true(journal_stats(journal).bytes <= BYTES_MAX);
	journal_close(journal);
}

static void a_record_past_the_bound_is_refused(void **state)
{
	struct fixture *fixture = *state;
	uint8_t *large = calloc(1, JOURNAL_RECORD_MAX + 1);
	int rc;
	struct journal *journal = opened(fixture, &rc);

	assert_int_equal(journal_append(journal, large, JOURNAL_RECORD_MAX + 1), -EMSGSIZE);
	assert_int_equal(journal_append(journal, large, BYTES_MAX), -ENOSPC);
	assert_int_equal(append(journal, "small"), 0);
	assert_int_equal(journal_stats(journal).failed, 2);
	journal_close(journal);
	free(large);
}

/* The disk is gone and comes back: each append tries anew, and begins with what counts. */
static void after_a_failure_it_begins_anew(void **state)
{
	struct fixture *fixture = *state;
	char away[128];
	int rc;
	struct journal *journal = opened(fixture, &rc);
	char large[128];

	memset(large, 'y', sizeof(large));
	large[100] = '\0';
	snprintf(away, sizeof(away), "%s.away", fixture->folder);
	fixture->keeps[fixture->keeps_count++] = "this counts";
	assert_int_equal(rename(fixture->folder, away), 0);
	/* The open file goes on until it is full; the next cannot be made. */
	for (rc = 0; rc == 0;)
		rc = append(journal, large);
	assert_int_equal(rc, -ENOENT);
	assert_int_equal(append(journal, "lost"), -ENOENT);
	assert_int_equal(rename(away, fixture->folder), 0);
	assert_int_equal(append(journal, "after"), 0);
	journal_close(journal);
	fixture->keeps_count = 0;
	journal = opened(fixture, &rc);
	assert_int_equal(fixture->read_count, 2);
	assert_string_equal(fixture->read[0], "this counts");
	assert_string_equal(fixture->read[1], "after");
	journal_close(journal);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_was_appended_is_read_back_in_order),
		TEST(cut_at_any_length_its_whole_records_are_read_and_it_goes_on),
		TEST(a_damaged_byte_costs_its_record_and_those_after_it_and_is_told),
		TEST(another_file_is_refused_and_left_alone),
		TEST(a_folder_that_is_not_there_is_an_error),
		TEST(it_never_grows_past_its_bound_and_keeps_what_counts),
		TEST(what_counts_too_much_is_left_out_and_counted),
		TEST(a_record_past_the_bound_is_refused),
		TEST(after_a_failure_it_begins_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
