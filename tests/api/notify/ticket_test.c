#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "api/notify/ticket.h"

static struct ticket *add(struct tickets *tickets, unsigned number, bool open)
{
	char key[ALERT_KEY_TEXT];
	struct ticket *ticket;

	snprintf(key, sizeof(key), "KEY%u", number);
	ticket = tickets_get(tickets, key);
	ticket->delivered = open;
	ticket->settled_ns = number;
	ticket_place(tickets, ticket, false, 0);
	return ticket;
}

static bool known(struct tickets *tickets, unsigned number)
{
	char key[ALERT_KEY_TEXT];

	snprintf(key, sizeof(key), "KEY%u", number);
	return tickets_find(tickets, key) != NULL;
}

static struct tickets *made(size_t closed_max, size_t open_max)
{
	struct tickets *tickets = calloc(1, sizeof(*tickets));

	tickets->closed_max = closed_max;
	tickets->open_max = open_max;
	return tickets;
}

static void unmake(struct tickets *tickets)
{
	tickets_done(tickets);
	free(tickets);
}

static void the_longest_closed_are_forgotten_and_the_open_are_not(void **state)
{
	struct tickets *tickets = made(10, 100);

	(void)state;
	for (unsigned i = 0; i < 50; i++)
		add(tickets, i, true);
	for (unsigned i = 50; i < 100; i++)
		add(tickets, 149 - i, false); /* as topics are read: in no order */
	tickets_sort(tickets);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(known(tickets, i), i < 50 || i >= 90);
	assert_int_equal(tickets->queues[HOME_OPEN].count, 50);
	assert_int_equal(tickets->forgotten, 0);
	unmake(tickets);
}

static void past_their_own_bound_open_ones_are_forgotten_and_counted(void **state)
{
	struct tickets *tickets = made(10, 20);

	(void)state;
	for (unsigned i = 0; i < 30; i++)
		add(tickets, i, true);
	assert_int_equal(tickets->forgotten, 10);
	assert_false(known(tickets, 9));
	assert_true(known(tickets, 10));
	unmake(tickets);
}

static void a_ticket_goes_through_its_homes(void **state)
{
	struct tickets *tickets = made(10, 10);
	struct ticket *ticket = add(tickets, 1, false);
	int64_t position = 100;

	(void)state;
	assert_int_equal(ticket->home, HOME_CLOSED);
	ticket->pending = calloc(1, sizeof(*ticket->pending));
	ticket->held_from = 42;
	ticket_place(tickets, ticket, true, 0);
	assert_int_equal(ticket->home, HOME_READY);
	assert_int_equal(tickets_pending(tickets), 1);
	tickets_hold(tickets, &position, 1);
	assert_int_equal(position, 42);
	ticket->silenced = true;
	ticket_place(tickets, ticket, true, 0);
	assert_int_equal(ticket->home, HOME_SILENCED);
	assert_int_equal(tickets_pending(tickets), 0);
	position = 100;
	tickets_hold(tickets, &position, 1);
	assert_int_equal(position, 100);
	ticket->unrecorded = 1; /* what was told before is not written down yet */
	tickets_hold(tickets, &position, 1);
	assert_int_equal(position, 42);
	ticket->unrecorded = 0;
	ticket->silenced = false;
	ticket->pending->state = ALERT_RESOLVED;
	ticket->in_flight = true;
	ticket_place(tickets, ticket, true, 0);
	assert_int_equal(ticket->home, HOME_FLYING);
	ticket->in_flight = false;
	ticket->due_ms = 10;
	ticket_place(tickets, ticket, true, 9);
	assert_int_equal(ticket->home, HOME_RESTING);
	ticket_place(tickets, ticket, true, 10);
	assert_int_equal(ticket->home, HOME_FIRST);
	free(ticket->pending);
	ticket->pending = NULL;
	ticket->unrecorded = 1;
	ticket_place(tickets, ticket, true, 10);
	assert_int_equal(ticket->home, HOME_UNRECORDED);
	assert_int_equal(tickets_pending(tickets), 0);
	ticket->unrecorded = 0;
	ticket->uncertain = true;
	ticket_place(tickets, ticket, true, 10);
	assert_int_equal(ticket->home, HOME_OPEN);
	position = 100;
	tickets_hold(tickets, &position, 1);
	assert_int_equal(position, 100);
	unmake(tickets);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_longest_closed_are_forgotten_and_the_open_are_not),
		cmocka_unit_test(past_their_own_bound_open_ones_are_forgotten_and_counted),
		cmocka_unit_test(a_ticket_goes_through_its_homes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
