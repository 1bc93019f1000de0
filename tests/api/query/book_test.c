/* The alert book: the newest stands, whatever the order, and it is bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/query/book.h"
#include "base/clock.h"
#include "base/name.h"

static struct alert alert_of(unsigned episode, uint64_t sequence, uint32_t state)
{
	struct alert alert = {.sequence = sequence,
			      .state = state,
			      .started_ns = (100 + episode) * NS_PER_S,
			      .last_event_ns = (100 + episode) * NS_PER_S - 1000 + sequence};

	snprintf(alert.key, sizeof(alert.key), "key-%u", episode);
	snprintf(alert.subject.server, sizeof(alert.subject.server), "server-%u", episode);
	return alert;
}

static struct delivery delivery_of(unsigned episode, const char *receiver, uint64_t sequence,
				   uint64_t sent_ns)
{
	struct delivery delivery = {.sequence = sequence, .sent_ns = sent_ns};

	snprintf(delivery.receiver, sizeof(delivery.receiver), "%s", receiver);
	snprintf(delivery.key, sizeof(delivery.key), "key-%u", episode);
	return delivery;
}

static void any_order_gives_the_same_book(void **state)
{
	struct alert alerts[] = {alert_of(1, 1, ALERT_FIRING), alert_of(1, 2, ALERT_FIRING),
				 alert_of(1, 3, ALERT_RESOLVED)};
	struct delivery deliveries[] = {delivery_of(1, "a", 1, 200 * NS_PER_S),
					delivery_of(1, "b", 1, 150 * NS_PER_S),
					delivery_of(1, "a", 3, 300 * NS_PER_S)};

	(void)state;
	for (unsigned seed = 1; seed <= 200; seed++) {
		struct book *book = book_new(10);
		unsigned order = seed;

		for (int i = 0; i < 60; i++) {
			order = order * 1103515245 + 12345;

			unsigned which = order / 65536 % 6;

			if (i >= 54) /* each once at least */
				which = (unsigned)i - 54;
			if (which < 3)
				book_alert(book, &alerts[which]);
			else
				book_delivery(book, &deliveries[which - 3]);
		}
		assert_int_equal(book_count(book), 1);

		const struct episode *episode = book_at(book, 0);

		assert_int_equal(episode->alert->sequence, 3);
		assert_false(episode_firing(episode));
		assert_int_equal(episode->deliveries_count, 2);
		assert_int_equal(episode->first_sent_ns, 150 * NS_PER_S);
		assert_true(episode_to_webhook_s(episode) > 48.9);
		assert_true(episode_to_webhook_s(episode) < 49.1);
		for (int i = 0; i < 2; i++) {
			const struct delivery *delivery = &episode->deliveries[i];

			assert_int_equal(delivery->sequence,
					 strcmp(delivery->receiver, "a") == 0 ? 3 : 1);
		}
		book_free(book);
	}
}

static void the_oldest_resolved_leaves_a_full_book_first(void **state)
{
	struct book *book = book_new(4);
	bool found[6] = {0};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct alert alert =
			alert_of(i, 1, i == 1 || i == 2 ? ALERT_RESOLVED : ALERT_FIRING);

		book_alert(book, &alert);
	}
	for (unsigned i = 4; i < 6; i++) {
		struct alert alert = alert_of(i, 1, ALERT_FIRING);

		book_alert(book, &alert);
	}
	assert_int_equal(book_count(book), 4);
	for (size_t i = 0; i < 4; i++)
		found[atoi(book_at(book, i)->key + 4)] = true;
	assert_true(found[0] && found[3] && found[4] && found[5]);
	for (unsigned i = 6; i < 1000; i++) { /* and it goes on */
		struct alert alert = alert_of(i, 1, i % 3 ? ALERT_FIRING : ALERT_RESOLVED);

		book_alert(book, &alert);
		book_alert(book, &alert);
		assert_int_equal(book_count(book), 4);
	}
	book_free(book);
}

enum { MODEL_MAX = 37, MODEL_KEYS = 120 };

struct modelled {
	unsigned key;
	uint64_t sequence; /* 0: no alert */
	bool firing;
	uint64_t started_ns, order;
};

static int model_rank(const struct modelled *one)
{
	return !one->sequence ? 1 : one->firing ? 2 : 0;
}

static bool model_before(const struct modelled *one, const struct modelled *other)
{
	if (model_rank(one) != model_rank(other))
		return model_rank(one) < model_rank(other);
	if (one->sequence && one->started_ns != other->started_ns)
		return one->started_ns < other->started_ns;
	return one->order < other->order;
}

static struct modelled *model_of(struct modelled model[MODEL_MAX], size_t *count, unsigned key,
				 uint64_t order)
{
	size_t at = 0, first = 0;

	while (at < *count && model[at].key != key)
		at++;
	if (at == *count && *count == MODEL_MAX) {
		for (size_t i = 1; i < *count; i++) {
			if (model_before(&model[i], &model[first]))
				first = i;
		}
		at = first;
		model[at].key = UINT32_MAX;
	}
	if (at == *count)
		model[(*count)++].key = UINT32_MAX;
	if (model[at].key != key)
		model[at] = (struct modelled){.key = key, .order = order};
	return &model[at];
}

static void whoever_leaves_is_the_first_by_the_rule_whatever_came(void **state)
{
	struct book *book = book_new(MODEL_MAX);
	struct modelled model[MODEL_MAX];
	uint32_t dice = 7;
	size_t count = 0;

	(void)state;
	for (uint64_t i = 1; i <= 20000; i++) {
		dice = dice * 1664525 + 1013904223;

		unsigned key = (dice >> 8) % MODEL_KEYS, what = dice >> 24;
		struct modelled *one = model_of(model, &count, key, i);

		if (what % 4 == 0) {
			struct delivery delivery = delivery_of(key, "a", 1, i);

			book_delivery(book, &delivery);
		} else {
			struct alert alert =
				alert_of(key, i, what % 3 ? ALERT_FIRING : ALERT_RESOLVED);

			alert.started_ns = key * 7919 % 50;
			book_alert(book, &alert);
			one->sequence = i;
			one->firing = alert.state == ALERT_FIRING;
			one->started_ns = alert.started_ns;
		}
		assert_int_equal(book_count(book), count);
		for (size_t at = 0; at < count; at++) {
			const struct episode *episode = book_at(book, at);
			size_t known = 0;

			while (known < count &&
			       model[known].key != (unsigned)atoi(episode->key + 4))
				known++;
			assert_true(known < count);
			assert_int_equal(episode->alert ? episode->alert->sequence : 0,
					 model[known].sequence);
		}
	}
	book_free(book);
}

static void a_failed_delivery_and_a_clock_behind_give_no_latency(void **state)
{
	struct book *book = book_new(4);
	struct delivery failed = delivery_of(1, "a", 1, 200 * NS_PER_S);
	struct delivery early = delivery_of(2, "a", 1, 1 * NS_PER_S);

	(void)state;
	for (unsigned i = 1; i < 3; i++) {
		struct alert alert = alert_of(i, 1, ALERT_FIRING);

		book_alert(book, &alert);
	}
	failed.failed = true;
	book_delivery(book, &failed);
	book_delivery(book, &early);
	for (size_t i = 0; i < 2; i++)
		assert_true(episode_to_webhook_s(book_at(book, i)) == 0);
	book_free(book);
}

static void an_edge_is_alerting_when_a_firing_episode_is_about_it(void **state)
{
	struct book *book = book_new(4);
	struct alert alert = alert_of(1, 1, ALERT_FIRING);
	struct edge edge = {.client = name_id("web", 3),
			    .server = name_id("server-1", 8),
			    .port = 80,
			    .protocol = 6};

	(void)state;
	alert.subject.port = 80;
	book_alert(book, &alert);
	assert_true(book_alerting(book, &edge)); /* all clients, all protocols */
	edge.port = 81;
	assert_false(book_alerting(book, &edge));
	edge.port = 80;
	snprintf(alert.subject.client, sizeof(alert.subject.client), "other");
	alert.sequence = 2;
	book_alert(book, &alert);
	assert_false(book_alerting(book, &edge));
	edge.client = name_id("other", 5);
	assert_true(book_alerting(book, &edge));
	alert.sequence = 3;
	alert.state = ALERT_RESOLVED;
	book_alert(book, &alert);
	assert_false(book_alerting(book, &edge));
	book_free(book);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_order_gives_the_same_book),
		cmocka_unit_test(the_oldest_resolved_leaves_a_full_book_first),
		cmocka_unit_test(whoever_leaves_is_the_first_by_the_rule_whatever_came),
		cmocka_unit_test(a_failed_delivery_and_a_clock_behind_give_no_latency),
		cmocka_unit_test(an_edge_is_alerting_when_a_firing_episode_is_about_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
