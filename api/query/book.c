#include "api/query/book.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/name.h"

/* episodes is dense; slots index it by the key's hash, from 1, at most half full. */
struct book {
	struct episode *episodes;
	uint32_t count, episodes_max;
	uint32_t *queue;  /* a heap of indexes of episodes: before its children is who leaves before
			     them */
	uint32_t *places; /* in the queue, by index */
	uint32_t *slots;
	size_t slots_count;
	uint64_t order;
};

struct book *book_new(uint32_t episodes_max)
{
	struct book *book = memory_zeroed(1, sizeof(*book));

	book->episodes_max = episodes_max ? episodes_max : 1;
	book->episodes = memory_zeroed(book->episodes_max, sizeof(*book->episodes));
	book->queue = memory_zeroed(book->episodes_max, sizeof(*book->queue));
	book->places = memory_zeroed(book->episodes_max, sizeof(*book->places));
	book->slots_count = 16;
	while (book->slots_count < 2 * (size_t)book->episodes_max)
		book->slots_count *= 2;
	book->slots = memory_zeroed(book->slots_count, sizeof(*book->slots));
	return book;
}

static void episode_done(struct episode *episode)
{
	free(episode->alert);
	free(episode->deliveries);
}

void book_free(struct book *book)
{
	if (!book)
		return;
	for (uint32_t i = 0; i < book->count; i++)
		episode_done(&book->episodes[i]);
	free(book->episodes);
	free(book->queue);
	free(book->places);
	free(book->slots);
	free(book);
}

static size_t home_of(const struct book *book, const char *key)
{
	return hash_bytes(key, strlen(key)) & (book->slots_count - 1);
}

static size_t find_slot(const struct book *book, const char *key)
{
	size_t slot = home_of(book, key);

	while (book->slots[slot] && strcmp(book->episodes[book->slots[slot] - 1].key, key) != 0)
		slot = (slot + 1) & (book->slots_count - 1);
	return slot;
}

static void unindex(struct book *book, const char *key)
{
	size_t mask = book->slots_count - 1;
	size_t hole = find_slot(book, key);

	for (size_t slot = (hole + 1) & mask; book->slots[slot]; slot = (slot + 1) & mask) {
		size_t home = home_of(book, book->episodes[book->slots[slot] - 1].key);

		if (((slot - home) & mask) < ((slot - hole) & mask))
			continue;
		book->slots[hole] = book->slots[slot];
		hole = slot;
	}
	book->slots[hole] = 0;
}

/* Who leaves first: resolved, then without an alert, then firing; of each the oldest. */
static bool leaves_before(const struct episode *episode, const struct episode *other)
{
	int rank = !episode->alert ? 1 : episode_firing(episode) ? 2 : 0;
	int other_rank = !other->alert ? 1 : episode_firing(other) ? 2 : 0;

	if (rank != other_rank)
		return rank < other_rank;
	if (episode->alert && episode->alert->started_ns != other->alert->started_ns)
		return episode->alert->started_ns < other->alert->started_ns;
	return episode->order < other->order;
}

static bool place_before(const struct book *book, uint32_t place, uint32_t other)
{
	return leaves_before(&book->episodes[book->queue[place]],
			     &book->episodes[book->queue[other]]);
}

static void swap_places(struct book *book, uint32_t place, uint32_t other)
{
	uint32_t index = book->queue[place];

	book->queue[place] = book->queue[other];
	book->queue[other] = index;
	book->places[book->queue[place]] = place;
	book->places[index] = other;
}

/* Takes who stands there to where it belongs. */
static void settle(struct book *book, uint32_t place)
{
	while (place > 0 && place_before(book, place, (place - 1) / 2)) {
		swap_places(book, place, (place - 1) / 2);
		place = (place - 1) / 2;
	}
	for (;;) {
		uint32_t first = place;

		for (uint32_t child = 2 * place + 1; child <= 2 * place + 2; child++) {
			if (child < book->count && place_before(book, child, first))
				first = child;
		}
		if (first == place)
			return;
		swap_places(book, place, first);
		place = first;
	}
}

static void evict(struct book *book)
{
	uint32_t leaving = book->queue[0], last = --book->count;

	swap_places(book, 0, last);
	settle(book, 0);
	unindex(book, book->episodes[leaving].key);
	episode_done(&book->episodes[leaving]);
	if (leaving != last) {
		book->slots[find_slot(book, book->episodes[last].key)] = leaving + 1;
		book->episodes[leaving] = book->episodes[last];
		book->places[leaving] = book->places[last];
		book->queue[book->places[leaving]] = leaving;
	}
}

static struct episode *episode_of(struct book *book, const char *key)
{
	size_t slot = find_slot(book, key);

	if (book->slots[slot])
		return &book->episodes[book->slots[slot] - 1];
	if (book->count == book->episodes_max) {
		evict(book);
		slot = find_slot(book, key);
	}
	book->slots[slot] = ++book->count;

	struct episode *episode = &book->episodes[book->count - 1];

	*episode = (struct episode){.order = book->order++};
	memcpy(episode->key, key, strlen(key) + 1);
	book->queue[book->count - 1] = book->places[book->count - 1] = book->count - 1;
	settle(book, book->count - 1);
	return episode;
}

static uint64_t id_of(const char *name)
{
	return name_id(name, strlen(name));
}

void book_alert(struct book *book, const struct alert *alert)
{
	struct episode *episode = episode_of(book, alert->key);

	if (alert->sequence == 1)
		episode->first_event_ns = alert->last_event_ns;
	if (episode->alert && episode->alert->sequence >= alert->sequence)
		return;
	if (!episode->alert)
		episode->alert = memory_zeroed(1, sizeof(*alert));
	*episode->alert = *alert;
	episode->client = id_of(alert->subject.client);
	episode->server = id_of(alert->subject.server);
	settle(book, book->places[episode - book->episodes]);
}

static struct delivery *delivery_of(struct episode *episode, const char *receiver)
{
	for (uint32_t i = 0; i < episode->deliveries_count; i++) {
		if (strcmp(episode->deliveries[i].receiver, receiver) == 0)
			return &episode->deliveries[i];
	}
	if (episode->deliveries_count == BOOK_RECEIVERS_MAX)
		return NULL;
	episode->deliveries = memory_resize(episode->deliveries, episode->deliveries_count + 1,
					    sizeof(*episode->deliveries));

	struct delivery *delivery = &episode->deliveries[episode->deliveries_count++];

	*delivery = (struct delivery){0};
	return delivery;
}

void book_delivery(struct book *book, const struct delivery *delivery)
{
	struct episode *episode = episode_of(book, delivery->key);
	struct delivery *kept = delivery_of(episode, delivery->receiver);

	if (kept && kept->sequence <= delivery->sequence)
		*kept = *delivery;
	if (delivery->sequence == 1 && !delivery->failed &&
	    (!episode->first_sent_ns || delivery->sent_ns < episode->first_sent_ns))
		episode->first_sent_ns = delivery->sent_ns;
}

size_t book_count(const struct book *book)
{
	return book->count;
}

const struct episode *book_at(const struct book *book, size_t index)
{
	return &book->episodes[index];
}

double episode_to_webhook_s(const struct episode *episode)
{
	if (!episode->first_sent_ns || !episode->first_event_ns ||
	    episode->first_sent_ns < episode->first_event_ns)
		return 0;
	return (double)(episode->first_sent_ns - episode->first_event_ns) / 1e9;
}

bool episode_firing(const struct episode *episode)
{
	return episode->alert && episode->alert->state == ALERT_FIRING;
}

bool book_alerting(const struct book *book, const struct edge *edge)
{
	for (uint32_t i = 0; i < book->count; i++) {
		const struct episode *episode = &book->episodes[i];

		if (!episode_firing(episode) || episode->server != edge->server ||
		    (episode->client && episode->client != edge->client))
			continue;

		const struct alert_subject *subject = &episode->alert->subject;

		if ((!subject->port || subject->port == edge->port) &&
		    (!subject->protocol || subject->protocol == edge->protocol))
			return true;
	}
	return false;
}
