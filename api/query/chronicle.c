#include "api/query/chronicle.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/table.h"
#include "metadata/change.h"
#include "metadata/record.h"

struct event {
	uint64_t key; /* first: the table's */
	uint64_t time_ns;
	uint64_t workload, other, node; /* name ids; other: an edge's client */
	uint8_t *bytes;
	uint32_t length;
	uint32_t kind;
};

struct chronicle {
	struct table events;
	uint32_t changes_max;
	struct chronicle_stats stats;
};

struct chronicle *chronicle_new(uint32_t changes_max)
{
	struct chronicle *chronicle = memory_zeroed(1, sizeof(*chronicle));

	table_init(&chronicle->events, sizeof(uint64_t), sizeof(struct event));
	chronicle->changes_max = changes_max;
	return chronicle;
}

static struct event *event_at(const struct chronicle *chronicle, uint32_t number)
{
	return table_at(&chronicle->events, number);
}

void chronicle_free(struct chronicle *chronicle)
{
	if (!chronicle)
		return;
	for (uint32_t i = 0; i < chronicle->events.count; i++)
		memory_free(event_at(chronicle, i)->bytes);
	table_done(&chronicle->events);
	memory_free(chronicle);
}

static void forget(struct chronicle *chronicle, struct event *event)
{
	memory_free(event->bytes);
	table_remove(&chronicle->events, event);
}

static bool is_newer(const struct event *one, const struct event *other)
{
	if (one->time_ns != other->time_ns)
		return one->time_ns > other->time_ns;
	return one->key > other->key;
}

static void evict(struct chronicle *chronicle)
{
	struct event *oldest = event_at(chronicle, 0);

	for (uint32_t i = 1; i < chronicle->events.count; i++)
		if (is_newer(oldest, event_at(chronicle, i)))
			oldest = event_at(chronicle, i);
	forget(chronicle, oldest);
	chronicle->stats.evicted++;
}

void chronicle_put(struct chronicle *chronicle, uint64_t key, const uint8_t *bytes, size_t length)
{
	struct address addresses[FACT_ADDRESSES_MAX];
	struct fact fact;
	struct event *event;

	if (record_read(bytes, length, NULL, 0, &fact, addresses, NULL) != RECORD_GOOD ||
	    fact.kind != FACT_CHANGE) {
		chronicle->stats.refused++;
		return;
	}
	event = table_find(&chronicle->events, &key);
	if (!event && chronicle->events.count == chronicle->changes_max)
		evict(chronicle);
	if (!event)
		event = table_put(&chronicle->events, &key);
	event->bytes = memory_resize(event->bytes, length, 1);
	memcpy(event->bytes, bytes, length);
	event->length = (uint32_t)length;
	event->time_ns = fact.from_ns;
	event->workload = fact.workload;
	event->other = fact.change >= CHANGE_EDGE_APPEARED ? fact.instance : 0;
	event->node = fact.node;
	event->kind = fact.change;
}

void chronicle_drop(struct chronicle *chronicle, uint64_t key)
{
	struct event *event = table_find(&chronicle->events, &key);

	if (event)
		forget(chronicle, event);
}

static bool is_chosen(const struct event *event, const struct chronicle_choice *choice)
{
	return (!choice->workload || event->workload == choice->workload ||
		event->other == choice->workload) &&
	       (!choice->node || event->node == choice->node) &&
	       (!choice->kind || event->kind == choice->kind) &&
	       event->time_ns >= choice->from_ns && event->time_ns <= choice->until_ns;
}

static int newest_first(const void *one, const void *other)
{
	const struct event *const *a = one, *const *b = other;

	return is_newer(*a, *b) ? -1 : is_newer(*b, *a);
}

size_t chronicle_read(const struct chronicle *chronicle, const struct chronicle_choice *choice,
		      size_t most, void (*told)(void *context, const uint8_t *bytes, size_t length),
		      void *context)
{
	uint32_t count = 0;
	const struct event **chosen =
		memory_zeroed(chronicle->events.count, sizeof(const struct event *));

	for (uint32_t i = 0; i < chronicle->events.count; i++)
		if (is_chosen(event_at(chronicle, i), choice))
			chosen[count++] = event_at(chronicle, i);
	if (count)
		qsort(chosen, count, sizeof(const struct event *), newest_first);
	for (uint32_t i = 0; i < count && i < most; i++)
		told(context, chosen[i]->bytes, chosen[i]->length);
	memory_free(chosen);
	return count;
}

struct chronicle_stats chronicle_stats(const struct chronicle *chronicle)
{
	struct chronicle_stats stats = chronicle->stats;

	stats.changes = chronicle->events.count;
	return stats;
}
