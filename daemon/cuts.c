#include "daemon/cuts.h"

#include "base/memory.h"

struct owner {
	uint64_t life;
	uint64_t panes[CUTS_KNOWN]; /* the last ones; 0: none */
	uint64_t next;
};

struct cuts {
	int64_t run;
	uint64_t common;
	size_t owners_count;
	struct owner owners[LINEUP_MEMBERS_MAX];
};

struct cuts *cuts_new(void)
{
	struct cuts *cuts = memory_zeroed(1, sizeof(*cuts));

	cuts->run = -1;
	return cuts;
}

void cuts_free(struct cuts *cuts)
{
	memory_free(cuts);
}

void cuts_begin(struct cuts *cuts, const struct lineup_run *run)
{
	cuts->run = run->number;
	cuts->common = run->from.pane;
	cuts->owners_count = 0;
	for (size_t i = 0; i < run->members_count; i++) {
		if (task_set_count(&run->members[i].tasks) > 0)
			cuts->owners[cuts->owners_count++] =
				(struct owner){.life = run->members[i].life};
	}
}

static bool has(const struct owner *owner, uint64_t pane)
{
	for (size_t i = 0; i < CUTS_KNOWN; i++) {
		if (owner->panes[i] == pane)
			return true;
	}
	return false;
}

static bool all_have(const struct cuts *cuts, uint64_t pane)
{
	for (size_t i = 0; i < cuts->owners_count; i++) {
		if (!has(&cuts->owners[i], pane))
			return false;
	}
	return true;
}

void cuts_take(struct cuts *cuts, int64_t run, uint64_t life, uint64_t pane)
{
	if (run != cuts->run)
		return;
	for (size_t i = 0; i < cuts->owners_count; i++) {
		struct owner *owner = &cuts->owners[i];

		if (owner->life == life)
			owner->panes[owner->next++ % CUTS_KNOWN] = pane;
	}
	if (pane > cuts->common && all_have(cuts, pane))
		cuts->common = pane;
}

uint64_t cuts_common(const struct cuts *cuts)
{
	return cuts->common;
}
