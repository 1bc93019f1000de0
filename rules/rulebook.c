#include "rules/rulebook.h"

#include <string.h>

#include "base/memory.h"

struct rulebook {
	struct rule **rules; /* by id */
	uint32_t count, capacity, rules_max;
	uint32_t standing;
	struct monitor *monitors; /* in force */
	uint32_t own, monitors_count;
	uint64_t refused;
};

struct rulebook *rulebook_new(const struct monitor *own, size_t own_count, uint32_t rules_max)
{
	struct rulebook *book = memory_zeroed(1, sizeof(*book));
	book->rules_max = rules_max;
	book->own = book->monitors_count = (uint32_t)own_count;
	book->monitors = memory_resize(NULL, own_count, sizeof(*book->monitors));
	if (own_count)
		memcpy(book->monitors, own, own_count * sizeof(*own));
	return book;
}

void rulebook_free(struct rulebook *book)
{
	if (!book)
		return;
	for (uint32_t i = 0; i < book->count; i++)
		memory_free(book->rules[i]);
	memory_free(book->rules);
	memory_free(book->monitors);
	memory_free(book);
}

/* Where the id is or would be. */
static uint32_t place_of(const struct rulebook *book, const char *id, bool *found)
{
	uint32_t low = 0, high = book->count;
	*found = false;
	while (low < high && !*found) {
		uint32_t middle = (low + high) / 2;
		int order = strcmp(book->rules[middle]->id, id);
		*found = order == 0;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return *found ? high : low;
}

static void take_out(struct rulebook *book, uint32_t place)
{
	memory_free(book->rules[place]);
	memmove(&book->rules[place], &book->rules[place + 1],
		(--book->count - place) * sizeof(*book->rules));
}

static void forget(struct rulebook *book, uint64_t now_ns)
{
	for (uint32_t i = book->count; i-- > 0;) {
		const struct rule *rule = book->rules[i];
		if (rule->withdrawn && rule->issued_ns + RULEBOOK_FORGET_NS < now_ns)
			take_out(book, i);
	}
}

static struct rule *put_in(struct rulebook *book, uint32_t place)
{
	if (book->count == book->capacity) {
		book->capacity = (uint32_t)memory_grown(book->capacity, book->count + 1);
		book->rules = memory_resize(book->rules, book->capacity, sizeof(*book->rules));
	}
	memmove(&book->rules[place + 1], &book->rules[place],
		(book->count++ - place) * sizeof(*book->rules));
	return book->rules[place] = memory_zeroed(1, sizeof(struct rule));
}

static bool is_own(const struct rulebook *book, const char *name)
{
	for (uint32_t i = 0; i < book->own; i++)
		if (strcmp(book->monitors[i].name, name) == 0)
			return true;
	return false;
}

static void gather(struct rulebook *book)
{
	book->standing = 0;
	book->monitors_count = book->own;
	book->monitors =
		memory_resize(book->monitors, book->own + book->count, sizeof(*book->monitors));
	for (uint32_t i = 0; i < book->count; i++) {
		const struct rule *rule = book->rules[i];
		if (rule->withdrawn)
			continue;
		book->standing++;
		if (!is_own(book, rule->monitor.name))
			book->monitors[book->monitors_count++] = rule->monitor;
	}
}

/* Of more withdrawn ones than are remembered, the one that was withdrawn first. */
static void forget_first(struct rulebook *book)
{
	uint32_t first = UINT32_MAX;
	if (book->count - book->standing <= book->rules_max)
		return;
	for (uint32_t i = 0; i < book->count; i++)
		if (book->rules[i]->withdrawn &&
		    (first == UINT32_MAX ||
		     book->rules[i]->issued_ns < book->rules[first]->issued_ns))
			first = i;
	take_out(book, first);
}

bool rulebook_take(struct rulebook *book, const struct rule *rule, uint64_t now_ns)
{
	bool found;
	forget(book, now_ns);
	uint32_t place = place_of(book, rule->id, &found);
	struct rule *known = found ? book->rules[place] : NULL;
	bool stood = known && !known->withdrawn;
	if (known && known->issued_ns >= rule->issued_ns)
		return false;
	if (!known && rule->withdrawn && rule->issued_ns + RULEBOOK_FORGET_NS < now_ns)
		return false;
	if (!stood && !rule->withdrawn && rulebook_full(book)) {
		book->refused++;
		return false;
	}
	if (!known)
		known = put_in(book, place);
	*known = *rule;
	gather(book);
	forget_first(book);
	return stood || !rule->withdrawn;
}

const struct rule *rulebook_find(const struct rulebook *book, const char *id)
{
	bool found;
	uint32_t place = place_of(book, id, &found);
	return found ? book->rules[place] : NULL;
}

uint32_t rulebook_standing(const struct rulebook *book)
{
	return book->standing;
}

bool rulebook_full(const struct rulebook *book)
{
	return book->standing >= book->rules_max;
}

const struct monitor *rulebook_monitors(const struct rulebook *book, size_t *count)
{
	*count = book->monitors_count;
	return book->monitors;
}

size_t rulebook_own(const struct rulebook *book)
{
	return book->own;
}

uint64_t rulebook_refused(const struct rulebook *book)
{
	return book->refused;
}
