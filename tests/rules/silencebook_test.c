#include "rules/silencebook.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROOM = 3 };
#define T0   (1700000000 * NS_PER_S)
#define KEEP (100 * NS_PER_S)

/* In seconds from T0. */
static struct silence silence_of(const char *id, uint64_t issued, uint64_t starts, uint64_t ends,
				 const char *server)
{
	struct silence silence = {.issued_ns = T0 + issued,
				  .starts_ns = T0 + starts * NS_PER_S,
				  .ends_ns = T0 + ends * NS_PER_S};

	snprintf(silence.id, sizeof(silence.id), "%s", id);
	snprintf(silence.server, sizeof(silence.server), "%s", server);
	return silence;
}

static bool take(struct silencebook *book, struct silence silence, uint64_t now)
{
	return silencebook_take(book, &silence, T0 + now * NS_PER_S);
}

static struct alert alert_of(size_t count, ...)
{
	struct alert alert = {.state = ALERT_FIRING, .monitor = "errors"};
	va_list servers;

	va_start(servers, count);
	for (size_t i = 0; i < count; i++) {
		struct alert_member *member = &alert.members[alert.members_count++];

		snprintf(member->monitor, sizeof(member->monitor), "errors");
		snprintf(member->subject.server, sizeof(member->subject.server), "%s",
			 va_arg(servers, const char *));
	}
	va_end(servers);
	alert.subject = alert.members[0].subject;
	alert.episodes = alert.members_count;
	return alert;
}

/* In seconds from T0; 0: never. */
static uint64_t until(const struct silencebook *book, const struct alert *alert, uint64_t now)
{
	uint64_t until_ns = silencebook_until(book, alert, T0 + now * NS_PER_S);

	return until_ns ? (until_ns - T0) / NS_PER_S : 0;
}

static void on_told(void *context, const struct silence *silence)
{
	char *told = context;

	strcat(told, silence->id);
	strcat(told, " ");
}

static void of_one_id_the_last_issued_stands(void **state)
{
	struct silencebook *book = silencebook_new(ROOM, KEEP);

	(void)state;
	assert_true(take(book, silence_of("a", 2, 0, 10, "x"), 1));
	assert_false(take(book, silence_of("a", 1, 0, 20, "x"), 1));
	assert_true(silencebook_find(book, "a")->ends_ns == T0 + 10 * NS_PER_S);
	assert_true(take(book, silence_of("a", 2, 0, 10, "x"), 1)); /* signed again */
	assert_true(take(book, silence_of("a", 3, 0, 1, "x"), 1));
	assert_int_equal(silencebook_standing(book, T0 + NS_PER_S), 0);
	assert_false(take(book, silence_of("a", 2, 0, 10, "x"), 1)); /* it does not come back */
	assert_null(silencebook_find(book, "b"));
	silencebook_free(book);
}

static void what_the_topic_has_no_more_is_lost_until_it_is_taken_again(void **state)
{
	struct silencebook *book = silencebook_new(ROOM, KEEP);

	(void)state;
	silencebook_lose(book, "a");
	assert_true(take(book, silence_of("a", 2, 0, 10, "x"), 1));
	assert_false(silencebook_find(book, "a")->lost);
	assert_false(take(book, silence_of("a", 1, 0, 90, "x"), 1)); /* an old one, once more */
	assert_true(silencebook_find(book, "a")->lost);
	assert_int_equal(silencebook_find(book, "a")->issued_ns, T0 + 2);
	assert_true(take(book, silence_of("a", 2, 0, 10, "x"), 1));
	assert_false(silencebook_find(book, "a")->lost);
	silencebook_lose(book, "a");
	silencebook_lose(book, "b");
	assert_true(silencebook_find(book, "a")->lost);
	silencebook_free(book);
}

static void what_found_no_room_is_told_from_what_is_older(void **state)
{
	struct silencebook *book = silencebook_new(1, KEEP);
	struct silence again = silence_of("old", 3, 0, 90, "x"), older = again;

	(void)state;
	assert_true(take(book, silence_of("old", 2, 0, 1, "x"), 5)); /* it has expired */
	assert_true(take(book, silence_of("a", 1, 0, 90, "x"), 5));
	assert_false(silencebook_take(book, &again, T0 + 5 * NS_PER_S));
	assert_true(silencebook_is_homeless(book, &again));
	older.issued_ns = T0 + 1;
	assert_false(silencebook_take(book, &older, T0 + 5 * NS_PER_S));
	assert_false(silencebook_is_homeless(book, &older));
	snprintf(again.id, sizeof(again.id), "new");
	assert_false(silencebook_take(book, &again, T0 + 5 * NS_PER_S));
	assert_true(silencebook_is_homeless(book, &again));
	silencebook_free(book);
}

static void past_the_bound_another_is_refused_and_counted(void **state)
{
	struct silencebook *book = silencebook_new(ROOM, KEEP);
	struct silencebook_stats stats;

	(void)state;
	assert_true(take(book, silence_of("a", 1, 0, 10, "x"), 1));
	assert_true(take(book, silence_of("b", 1, 5, 10, "x"), 1)); /* pending ones count */
	assert_true(take(book, silence_of("c", 1, 0, 10, "x"), 1));
	assert_false(take(book, silence_of("d", 1, 0, 10, "x"), 1));
	assert_true(take(book, silence_of("a", 2, 0, 12, "x"), 1)); /* it has a place */
	assert_true(take(book, silence_of("e", 2, 0, 1, "x"), 1)); /* and what expired needs none */
	stats = silencebook_stats(book, T0 + NS_PER_S);
	assert_int_equal(stats.active, 2);
	assert_int_equal(stats.pending, 1);
	assert_int_equal(stats.expired, 1);
	assert_int_equal(stats.refused, 1);
	assert_true(take(book, silence_of("b", 2, 1, 1, "x"), 1)); /* expired: its place is free */
	assert_true(take(book, silence_of("d", 1, 0, 10, "x"), 1));
	silencebook_free(book);
}

static void what_expired_long_ago_or_is_too_much_is_forgotten(void **state)
{
	struct silencebook *book = silencebook_new(ROOM, KEEP);
	char told[64] = "";

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		char id[2] = {(char)('a' + i), '\0'};

		assert_true(take(book, silence_of(id, 1, 0, 10 + i, "x"), 50));
	}
	assert_true(take(book, silence_of("z", 1, 0, 1000, "x"), 50));
	silencebook_forget(book, T0 + 50 * NS_PER_S, on_told, told);
	assert_string_equal(told, "a b ");
	told[0] = '\0';
	silencebook_forget(book, T0 + 113 * NS_PER_S, on_told, told);
	assert_string_equal(told, "c "); /* it ended at 12, and is kept for 100 */
	assert_int_equal(silencebook_count(book), 3);
	silencebook_free(book);
}

static void of_what_nobody_forgets_the_first_to_end_goes(void **state)
{
	struct silencebook *book = silencebook_new(ROOM, KEEP);

	(void)state;
	for (unsigned i = 0; i < ROOM * SILENCEBOOK_SPARE; i++) {
		char id[2] = {(char)('a' + i), '\0'};

		assert_true(take(book, silence_of(id, 1, 0, 40 - i, "x"), 50));
	}
	assert_int_equal(silencebook_count(book), ROOM * SILENCEBOOK_SPARE);
	assert_true(take(book, silence_of("0", 1, 0, 45, "x"), 50));
	assert_int_equal(silencebook_count(book), ROOM * SILENCEBOOK_SPARE);
	assert_null(silencebook_find(book, "l")); /* the twelfth */
	assert_non_null(silencebook_find(book, "k"));
	silencebook_free(book);
}

static void an_incident_is_silenced_while_each_of_its_episodes_is(void **state)
{
	struct silencebook *book = silencebook_new(ROOM, KEEP);
	struct alert cart = alert_of(1, "shop/cart"), both = alert_of(2, "shop/cart", "ops/db");
	const struct silence *of[4];

	(void)state;
	assert_int_equal(until(book, &cart, 1), 0);
	assert_true(take(book, silence_of("shop", 1, 2, 10, "shop/*"), 1));
	assert_int_equal(until(book, &cart, 1), 0); /* it is yet to begin */
	assert_int_equal(until(book, &cart, 2), 10);
	assert_int_equal(until(book, &both, 2), 0);
	assert_int_equal(silencebook_of(book, &both, T0 + 2 * NS_PER_S, of, 4), 0);
	assert_true(take(book, silence_of("db", 1, 2, 20, "ops/db"), 1));
	assert_int_equal(until(book, &both, 2), 10); /* by one each */
	assert_int_equal(silencebook_of(book, &both, T0 + 2 * NS_PER_S, of, 4), 2);
	assert_string_equal(of[0]->id, "db");
	assert_string_equal(of[1]->id, "shop");
	assert_int_equal(silencebook_of(book, &both, T0 + 2 * NS_PER_S, of, 1), 1);
	assert_int_equal(silencebook_of(book, &cart, T0 + 2 * NS_PER_S, of, 4), 1);
	/* When the first is over it was silenced until then. */
	assert_int_equal(until(book, &both, 15), 10);
	assert_int_equal(silencebook_of(book, &both, T0 + 15 * NS_PER_S, of, 4), 0);
	silencebook_free(book);
}

static void an_alert_without_members_is_its_own_episode_and_eight_are_looked_at(void **state)
{
	struct silencebook *book = silencebook_new(ROOM, KEEP);
	struct alert alone = alert_of(1, "shop/cart");
	struct alert many = alert_of(8, "shop/a", "shop/b", "shop/c", "shop/d", "shop/e", "shop/f",
				     "shop/g", "shop/h");

	(void)state;
	alone.members_count = 0;
	many.episodes = 30;
	assert_true(take(book, silence_of("shop", 1, 0, 10, "shop/*"), 1));
	assert_int_equal(until(book, &alone, 1), 10);
	assert_int_equal(until(book, &many, 1), 10);
	strcpy(many.members[7].subject.server, "ops/db");
	assert_int_equal(until(book, &many, 1), 0);
	silencebook_free(book);
}

static void what_millrace_tells_of_itself_is_never_silenced(void **state)
{
	struct silencebook *book = silencebook_new(ROOM, KEEP);
	struct alert blind = {.monitor = "millrace/blind"};

	(void)state;
	assert_true(take(book, silence_of("all", 1, 0, 10, "*"), 1));
	assert_int_equal(until(book, &blind, 1), 0);
	silencebook_free(book);
}

static void the_next_moment_is_a_beginning_or_an_end(void **state)
{
	struct silencebook *book = silencebook_new(ROOM, KEEP);

	(void)state;
	assert_true(silencebook_next(book, T0) == UINT64_MAX);
	assert_true(take(book, silence_of("a", 1, 5, 10, "x"), 1));
	assert_true(take(book, silence_of("b", 1, 0, 8, "x"), 1));
	assert_true(silencebook_next(book, T0 + NS_PER_S) == T0 + 5 * NS_PER_S);
	assert_true(silencebook_next(book, T0 + 5 * NS_PER_S) == T0 + 8 * NS_PER_S);
	assert_true(silencebook_next(book, T0 + 8 * NS_PER_S) == T0 + 10 * NS_PER_S);
	assert_true(silencebook_next(book, T0 + 10 * NS_PER_S) == UINT64_MAX);
	silencebook_free(book);
}

static void what_begins_or_ends_between_two_looks_is_noticed_and_a_clock_set_back_too(void **state)
{
	struct silencebook *book = silencebook_new(ROOM, KEEP);

	(void)state;
	assert_false(silencebook_moved(book, T0, T0 + 99 * NS_PER_S));
	assert_true(take(book, silence_of("a", 1, 5, 10, "x"), 1));
	assert_false(silencebook_moved(book, T0, T0 + 5 * NS_PER_S - 1));
	assert_true(silencebook_moved(book, T0, T0 + 5 * NS_PER_S));
	assert_true(silencebook_moved(book, T0 + 5 * NS_PER_S - 1, T0 + 5 * NS_PER_S));
	assert_false(silencebook_moved(book, T0 + 5 * NS_PER_S, T0 + 10 * NS_PER_S - 1));
	assert_true(silencebook_moved(book, T0 + 10 * NS_PER_S - 1, T0 + 10 * NS_PER_S + 1));
	assert_false(silencebook_moved(book, T0 + 10 * NS_PER_S, T0 + 20 * NS_PER_S));
	assert_true(silencebook_moved(book, T0 + 11 * NS_PER_S, T0 + 9 * NS_PER_S));
	silencebook_free(book);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_one_id_the_last_issued_stands),
		cmocka_unit_test(what_the_topic_has_no_more_is_lost_until_it_is_taken_again),
		cmocka_unit_test(what_found_no_room_is_told_from_what_is_older),
		cmocka_unit_test(past_the_bound_another_is_refused_and_counted),
		cmocka_unit_test(what_expired_long_ago_or_is_too_much_is_forgotten),
		cmocka_unit_test(of_what_nobody_forgets_the_first_to_end_goes),
		cmocka_unit_test(an_incident_is_silenced_while_each_of_its_episodes_is),
		cmocka_unit_test(
			an_alert_without_members_is_its_own_episode_and_eight_are_looked_at),
		cmocka_unit_test(what_millrace_tells_of_itself_is_never_silenced),
		cmocka_unit_test(the_next_moment_is_a_beginning_or_an_end),
		cmocka_unit_test(
			what_begins_or_ends_between_two_looks_is_noticed_and_a_clock_set_back_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
