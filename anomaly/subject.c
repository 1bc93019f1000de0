#include "anomaly/subject.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* So many steps before halving is cheaper. */
enum { STEPS_MAX = 16 };

static void subject_free(struct subject *subject)
{
	for (uint32_t i = 0; subject->states && i < subject->plan->watches_count; i++)
		memory_free(subject->states[i].episode);
	memory_free(subject->states);
	baseline_free(subject->baseline);
	memory_free(subject->burn);
	memory_free(subject->words);
	series_done(&subject->series);
	memory_free(subject);
}

void roster_init(struct roster *roster, uint32_t subjects_max)
{
	*roster = (struct roster){.subjects_max = subjects_max};
}

void roster_done(struct roster *roster)
{
	for (uint32_t i = 0; i < roster->count; i++)
		subject_free(roster->sorted[i].subject);
	memory_free(roster->sorted);
	map_done(&roster->fresh);
	*roster = (struct roster){0};
}

/* The first place whose id is not below. */
static uint32_t roster_place(const struct roster *roster, uint64_t id)
{
	const struct roster_entry *sorted = roster->sorted;
	uint32_t low = roster->cursor, high = roster->walked;
	if (low >= high || sorted[low].id > id)
		low = 0;
	for (uint32_t steps = 0; low < high && steps < STEPS_MAX; steps++, low++)
		if (sorted[low].id >= id)
			return low;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (sorted[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct subject *roster_get(struct roster *roster, uint64_t id)
{
	uint32_t place = roster_place(roster, id);
	roster->cursor = place;
	if (place < roster->walked && roster->sorted[place].id == id)
		return roster->sorted[place].subject;
	return roster->fresh.count ? map_get(&roster->fresh, id) : NULL;
}

struct subject *roster_add(struct roster *roster, uint64_t id, const struct edge *edge)
{
	if (roster->count == roster->subjects_max)
		return NULL;
	if (roster->count == roster->capacity) {
		roster->capacity = (uint32_t)memory_grown(roster->capacity, roster->count + 1);
		roster->sorted =
			memory_resize(roster->sorted, roster->capacity, sizeof(*roster->sorted));
	}
	struct subject *subject = memory_zeroed(1, sizeof(*subject));
	subject->id = id;
	subject->edge = *edge;
	roster->sorted[roster->count++] = (struct roster_entry){id, subject};
	map_put(&roster->fresh, id, subject);
	return subject;
}

static int compare_entries(const void *a, const void *b)
{
	uint64_t left = ((const struct roster_entry *)a)->id,
		 right = ((const struct roster_entry *)b)->id;
	return (left > right) - (left < right);
}

/* Newcomers are sorted by themselves and merged from the back. */
void roster_sort(struct roster *roster)
{
	struct roster_entry *sorted = roster->sorted;
	uint32_t fresh = roster->count - roster->walked;
	roster->cursor = 0;
	if (fresh == 0)
		return;
	struct roster_entry *newcomers = memory_resize(NULL, fresh, sizeof(*newcomers));
	memcpy(newcomers, sorted + roster->walked, fresh * sizeof(*newcomers));
	qsort(newcomers, fresh, sizeof(*newcomers), compare_entries);
	uint32_t old = roster->walked, to = roster->count;
	while (fresh > 0) {
		if (old > 0 && sorted[old - 1].id > newcomers[fresh - 1].id)
			sorted[--to] = sorted[--old];
		else
			sorted[--to] = newcomers[--fresh];
	}
	memory_free(newcomers);
	map_done(&roster->fresh);
	roster->walked = roster->count;
}

void roster_sweep(struct roster *roster)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < roster->count; i++) {
		struct subject *subject = roster->sorted[i].subject;
		if (!subject->gone) {
			roster->sorted[kept++] = roster->sorted[i];
			continue;
		}
		if (subject->server)
			subject->server->links--;
		subject_free(subject);
	}
	roster->count = roster->walked = kept;
}

void subject_heard(struct subject *subject, uint64_t node)
{
	for (uint32_t i = 0; i < SUBJECT_NODES; i++)
		if (subject->nodes[i] == node)
			return;
	subject->nodes[subject->nodes_next++ % SUBJECT_NODES] = node;
}
