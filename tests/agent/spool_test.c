#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/spool.h"
#include "agent/text.h"

static uint8_t bytes[1000];

static void put(struct spool *spool, uint8_t name)
{
	bytes[0] = name;
	spool_put(spool, bytes, sizeof(bytes), 10);
}

static void records_leave_in_order_and_failed_ones_go_first_again(void **state)
{
	(void)state;
	struct spool *spool = spool_new(1 << 20);
	for (uint8_t name = 1; name <= 3; name++)
		put(spool, name);
	struct spooled *first = spool_next(spool);
	spool_sent(spool, first);
	struct spooled *second = spool_next(spool);
	spool_sent(spool, second);
	assert_int_equal(spool_next(spool)->bytes[0], 3);
	spool_failed(spool, second);
	spool_failed(spool, first);
	assert_int_equal(spool_next(spool)->bytes[0], 1);
	spool_sent(spool, first);
	spool_delivered(spool, first);
	assert_int_equal(spool_next(spool)->bytes[0], 2);
	assert_int_equal(spool_stats(spool).waiting, 2);
	spool_free(spool);
}

static void a_full_spool_drops_the_oldest_that_is_not_on_its_way(void **state)
{
	(void)state;
	struct spool *spool = spool_new(4 * (sizeof(struct spooled) + sizeof(bytes)));
	put(spool, 1);
	struct spooled *sent = spool_next(spool);
	spool_sent(spool, sent);
	for (uint8_t name = 2; name <= 6; name++)
		put(spool, name);
	assert_int_equal(spool_stats(spool).dropped_events, 20);
	assert_int_equal(spool_stats(spool).dropped_batches, 2);
	assert_int_equal(spool_next(spool)->bytes[0], 4);
	assert_int_equal(sent->bytes[0], 1);
	spool_failed(spool, sent);
	assert_int_equal(spool_next(spool)->bytes[0], 1);
	spool_free(spool);
}

enum { RECORD = sizeof(struct spooled) + sizeof(bytes) };

static void a_spool_is_full_only_beyond_its_last_byte(void **state)
{
	(void)state;
	struct spool *fits = spool_new(3 * RECORD), *short_of_one = spool_new(3 * RECORD - 1);
	for (uint8_t name = 1; name <= 3; name++) {
		put(fits, name);
		put(short_of_one, name);
	}
	assert_int_equal(spool_stats(fits).bytes, 3 * RECORD);
	assert_int_equal(spool_stats(fits).dropped_batches, 0);
	assert_int_equal(spool_stats(short_of_one).bytes, 2 * RECORD);
	assert_int_equal(spool_stats(short_of_one).dropped_batches, 1);
	assert_int_equal(spool_stats(short_of_one).dropped_events, 10);
	assert_int_equal(spool_next(short_of_one)->bytes[0], 2);
	spool_free(fits);
	spool_free(short_of_one);
}

static void what_is_larger_than_the_spool_is_dropped_and_counted(void **state)
{
	(void)state;
	struct spool *spool = spool_new(RECORD - 1);
	put(spool, 1);
	assert_null(spool_next(spool));
	assert_int_equal(spool_stats(spool).bytes, 0);
	assert_int_equal(spool_stats(spool).dropped_events, 10);
	spool_free(spool);
}

/* For as long as the broker is away: what comes in goes out at the other end, to the event. */
static void a_spool_without_a_broker_keeps_the_newest_and_its_size(void **state)
{
	(void)state;
	enum { ROUNDS = 10000, HELD = 16 };
	struct spool *spool = spool_new(HELD * RECORD);
	for (int i = 0; i < ROUNDS; i++) {
		put(spool, (uint8_t)(i % 251));
		assert_true(spool_stats(spool).bytes <= HELD * RECORD);
	}
	assert_int_equal(spool_stats(spool).waiting, HELD);
	assert_int_equal(spool_stats(spool).dropped_batches, ROUNDS - HELD);
	for (int i = ROUNDS - HELD; i < ROUNDS; i++) {
		struct spooled *record = spool_next(spool);
		assert_int_equal(record->bytes[0], i % 251);
		spool_sent(spool, record);
		spool_delivered(spool, record);
	}
	assert_null(spool_next(spool));
	assert_int_equal(spool_stats(spool).bytes, 0);
	spool_free(spool);
}

/* A client may still read what it was given: only what waits can go, even if that is the newest. */
static void what_is_on_its_way_stays_and_counts(void **state)
{
	(void)state;
	struct spool *spool = spool_new(2 * RECORD);
	for (uint8_t name = 1; name <= 2; name++) {
		put(spool, name);
		spool_sent(spool, spool_next(spool));
	}
	put(spool, 3);
	assert_null(spool_next(spool));
	assert_int_equal(spool_stats(spool).sent, 2);
	assert_int_equal(spool_stats(spool).bytes, 2 * RECORD);
	assert_int_equal(spool_stats(spool).dropped_batches, 1);
	spool_free(spool);
}

static void what_is_recalled_waits_in_its_old_order(void **state)
{
	(void)state;
	struct spool *spool = spool_new(1 << 20);
	for (uint8_t name = 1; name <= 4; name++)
		put(spool, name);
	for (int i = 0; i < 3; i++)
		spool_sent(spool, spool_next(spool));
	spool_recall(spool);
	assert_int_equal(spool_stats(spool).waiting, 4);
	assert_int_equal(spool_stats(spool).sent, 0);
	for (uint8_t name = 1; name <= 4; name++) {
		struct spooled *record = spool_next(spool);
		assert_int_equal(record->bytes[0], name);
		assert_int_equal(spool_stats(spool).events, 10 * (5 - name));
		spool_sent(spool, record);
		spool_delivered(spool, record);
	}
	assert_int_equal(spool_stats(spool).events, 0);
	spool_free(spool);
}

static void clean(const char *from, size_t length, size_t size, const char *expected)
{
	char to[64];
	assert_int_equal(text_clean(to, size, from, length), strlen(expected));
	assert_string_equal(to, expected);
}

static void foreign_text_becomes_utf8_and_is_never_cut_in_a_character(void **state)
{
	(void)state;
	clean("a\0b\0", 4, 64, "a b");
	clean("\xff\xc3\x28", 3, 64,
	      "?"
	      "?(");
	clean("\xc3\xa9\xc3\xa9", 4, 4, "\xc3\xa9");
	clean("\xed\xa0\x80", 3, 64, "???");
	clean("x\ny\x7f", 4, 64, "x?y?");
	clean("\xf0\x9f\x98\x80", 4, 64, "\xf0\x9f\x98\x80");
	clean("\xf0\x9f\x98", 3, 64, "???");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_leave_in_order_and_failed_ones_go_first_again),
		cmocka_unit_test(a_full_spool_drops_the_oldest_that_is_not_on_its_way),
		cmocka_unit_test(a_spool_is_full_only_beyond_its_last_byte),
		cmocka_unit_test(what_is_larger_than_the_spool_is_dropped_and_counted),
		cmocka_unit_test(a_spool_without_a_broker_keeps_the_newest_and_its_size),
		cmocka_unit_test(what_is_on_its_way_stays_and_counts),
		cmocka_unit_test(what_is_recalled_waits_in_its_old_order),
		cmocka_unit_test(foreign_text_becomes_utf8_and_is_never_cut_in_a_character),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
