#include "anomaly/subject.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static void subject_free(struct subject *subject)
{
	for (uint32_t i = 0; i < subject->watches_count; i++)
		free(subject->watches[i].episode);
	free(subject->watches);
	series_done(&subject->series);
	free(subject);
}

void roster_init(struct roster *roster, uint32_t subjects_max)
{
	*roster = (struct roster){.subjects_max = subjects_max};
}

void roster_done(struct roster *roster)
{
	for (uint32_t i = 0; i < roster->count; i++)
		subject_free(roster->sorted[i]);
	free(roster->sorted);
	map_done(&roster->map);
	*roster = (struct roster){0};
}

struct subject *roster_get(const struct roster *roster, uint64_t id)
{
	return map_get(&roster->map, id);
}

struct subject *roster_add(struct roster *roster, uint64_t id, const struct edge *edge)
{
	if (roster->count == roster->subjects_max)
		return NULL;
	if (roster->count == roster->capacity) {
		roster->capacity = (uint32_t)memory_grown(roster->capacity, roster->count + 1);
		roster->sorted =
			memory_resize(roster->sorted, roster->capacity, sizeof(struct subject *));
	}
	struct subject *subject = memory_zeroed(1, sizeof(*subject));
	subject->id = id;
	subject->edge = *edge;
	roster->sorted[roster->count++] = subject;
	map_put(&roster->map, id, subject);
	return subject;
}

static int compare_subjects(const void *a, const void *b)
{
	uint64_t left = (*(struct subject *const *)a)->id,
		 right = (*(struct subject *const *)b)->id;
	return (left > right) - (left < right);
}

/* Newcomers are sorted by themselves and merged from the back. */
void roster_sort(struct roster *roster)
{
	uint32_t fresh = roster->count - roster->walked;
	if (fresh == 0)
		return;
	struct subject **newcomers = memory_resize(NULL, fresh, sizeof(struct subject *));
	memcpy(newcomers, roster->sorted + roster->walked, fresh * sizeof(struct subject *));
	qsort(newcomers, fresh, sizeof(struct subject *), compare_subjects);
	uint32_t old = roster->walked, to = roster->count;
	while (fresh > 0) {
		if (old > 0 && roster->sorted[old - 1]->id > newcomers[fresh - 1]->id)
			roster->sorted[--to] = roster->sorted[--old];
		else
			roster->sorted[--to] = newcomers[--fresh];
	}
	free(newcomers);
	roster->walked = roster->count;
}

void roster_sweep(struct roster *roster)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < roster->count; i++) {
		struct subject *subject = roster->sorted[i];
		if (!subject->gone) {
			roster->sorted[kept++] = subject;
			continue;
		}
		if (subject->server)
			subject->server->links--;
		map_remove(&roster->map, subject->id);
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
