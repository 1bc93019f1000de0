/* Nodes that were not heard for so long that they were forgotten, as far as the loss ledger needs
 * them: which of their events came, and what became of these. Who comes back goes on with its
 * numbers, so what it lost meanwhile is known and nothing is counted twice, and what its processes
 * were answered before stays void. Bounded: DEPARTED_MAX; then the one that was heard longest ago
 * leaves for good, and is a new node if it comes back. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "ingest/state.h"

enum { DEPARTED_MAX = 1024 };

struct departed {
	uint64_t name; /* id */
	struct standing standing;
};

void departed_init(struct table *departed)
{
	table_init(departed, sizeof(uint64_t), sizeof(struct departed));
}

void departed_done(struct table *departed)
{
	for (uint32_t i = 0; i < departed->count; i++) {
		struct departed *entry = table_at(departed, i);
		memory_free(entry->standing.former);
	}
	table_done(departed);
}

static struct departed *longest_gone(const struct table *departed)
{
	struct departed *found = table_at(departed, 0);
	for (uint32_t i = 1; i < departed->count; i++) {
		struct departed *entry = table_at(departed, i);
		uint64_t heard = entry->standing.last_append_ns;
		if (heard < found->standing.last_append_ns ||
		    (heard == found->standing.last_append_ns && entry->name < found->name))
			found = entry;
	}
	return found;
}

void departed_keep(struct mirror *mirror, struct node *node)
{
	if (mirror->departed.count == DEPARTED_MAX) {
		struct departed *gone = longest_gone(&mirror->departed);
		if (gone->standing.last_append_ns > mirror->forgotten_ns)
			mirror->forgotten_ns = gone->standing.last_append_ns;
		memory_free(gone->standing.former);
		table_remove(&mirror->departed, gone);
	}
	struct departed *entry = table_put(&mirror->departed, &node->name_id);
	entry->standing = node->standing;
	node->standing.former = NULL;
	ledger_add(&mirror->stats.others, &node->standing.ledger);
}

/* All that came was applied before it left. */
static void resume_applied(struct node *node)
{
	const struct standing *standing = &node->standing;
	node->applied_epoch = standing->epochs;
	node->applied = standing->numbering.numbered;
	node->applied_sequence = standing->numbering.sequence_next - 1;
	node->applied_dropped = standing->dropped.ring + standing->dropped.spool;
}

void departed_return(struct mirror *mirror, struct node *node)
{
	struct departed *entry = table_find(&mirror->departed, &node->name_id);
	if (!entry) { /* it may have been one of those that left for good */
		if (mirror->forgotten_ns)
			node->standing.answers_since_ns =
				mirror->forgotten_ns + CLOCK_STEP_S * NS_PER_S;
		return;
	}
	node->standing = entry->standing;
	table_remove(&mirror->departed, entry);
	ledger_subtract(&mirror->stats.others, &node->standing.ledger);
	resume_applied(node);
}
