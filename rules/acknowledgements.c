#include "rules/acknowledgements.h"

#include <string.h>

#include "base/memory.h"
#include "base/table.h"

struct entry {
	char key[ALERT_KEY_TEXT]; /* with zeros to its end */
	struct acknowledgement *one;
};

struct acknowledgements {
	struct table table;
	uint32_t max;
};

struct acknowledgements *acknowledgements_new(uint32_t max)
{
	struct acknowledgements *known = memory_zeroed(1, sizeof(*known));

	known->max = max;
	table_init(&known->table, ALERT_KEY_TEXT, sizeof(struct entry));
	return known;
}

void acknowledgements_free(struct acknowledgements *known)
{
	if (!known)
		return;
	for (uint32_t i = 0; i < known->table.count; i++)
		memory_free(((struct entry *)table_at(&known->table, i))->one);
	table_done(&known->table);
	memory_free(known);
}

static struct entry *find(const struct acknowledgements *known, const char *key)
{
	char whole[ALERT_KEY_TEXT] = "";

	memcpy(whole, key, strnlen(key, sizeof(whole) - 1));
	return table_find(&known->table, whole);
}

static void take_out(struct acknowledgements *known, struct entry *entry)
{
	memory_free(entry->one);
	table_remove(&known->table, entry);
}

/* Of several that were issued at one time the one whose key comes first. */
static bool is_before(const struct acknowledgement *one, const struct acknowledgement *other)
{
	if (one->issued_ns != other->issued_ns)
		return one->issued_ns < other->issued_ns;
	return strcmp(one->key, other->key) < 0;
}

static struct entry *find_first(const struct acknowledgements *known)
{
	struct entry *first = table_at(&known->table, 0);

	for (uint32_t i = 1; i < known->table.count; i++) {
		struct entry *entry = table_at(&known->table, i);

		if (is_before(entry->one, first->one))
			first = entry;
	}
	return first;
}

/* Room for one that is new, unless all that are there are newer. */
static bool make_room(struct acknowledgements *known, const struct acknowledgement *one)
{
	struct entry *first;

	if (known->table.count < (size_t)known->max * ACKNOWLEDGEMENTS_SPARE)
		return true;
	first = find_first(known);
	if (is_before(one, first->one))
		return false;
	take_out(known, first);
	return true;
}

bool acknowledgements_take(struct acknowledgements *known, const struct acknowledgement *one)
{
	struct entry *entry = find(known, one->key);

	if (entry && entry->one->issued_ns > one->issued_ns) {
		entry->one->lost = true;
		return false;
	}
	if (!entry) {
		char key[ALERT_KEY_TEXT] = "";

		if (!make_room(known, one))
			return false;
		memcpy(key, one->key, strnlen(one->key, sizeof(key) - 1));
		entry = table_put(&known->table, key);
		entry->one = memory_zeroed(1, sizeof(*entry->one));
	}
	*entry->one = *one;
	return true;
}

void acknowledgements_lose(struct acknowledgements *known, const char *key)
{
	struct entry *entry = find(known, key);

	if (entry)
		entry->one->lost = true;
}

const struct acknowledgement *acknowledgements_of(const struct acknowledgements *known,
						  const struct alert *alert)
{
	const struct entry *entry = find(known, alert->key);

	return entry && acknowledgement_holds(entry->one, alert) ? entry->one : NULL;
}

size_t acknowledgements_count(const struct acknowledgements *known)
{
	return known->table.count;
}

const struct acknowledgement *acknowledgements_at(const struct acknowledgements *known,
						  size_t number)
{
	return ((struct entry *)table_at(&known->table, (uint32_t)number))->one;
}

void acknowledgements_forget(struct acknowledgements *known, uint64_t now_ns,
			     void (*told)(void *context, const struct acknowledgement *one),
			     void *context)
{
	for (uint32_t i = known->table.count; i-- > 0;) {
		struct entry *entry = table_at(&known->table, i);

		if (entry->one->issued_ns + ACKNOWLEDGEMENT_KEEP_NS >= now_ns)
			continue;
		told(context, entry->one);
		take_out(known, entry);
	}
	while (known->table.count > known->max) {
		struct entry *first = find_first(known);

		told(context, first->one);
		take_out(known, first);
	}
}
