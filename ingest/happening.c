/* What befell containers, as their agents tell: the last of it, for the service, which writes it to
 * millrace.metadata. Nothing that is computed reads it here. */
#include <stdio.h>

#include "base/memory.h"
#include "ingest/state.h"
#include "metadata/change.h"

void happenings_add(struct mirror *mirror, const struct happening *happening)
{
	if (!mirror->happenings)
		mirror->happenings = memory_zeroed(HAPPENINGS_MAX, sizeof(struct happening));
	if (mirror->happenings_count - mirror->happenings_told == HAPPENINGS_MAX) {
		mirror->stats.happenings_lost++;
		mirror->happenings_told++;
	}
	mirror->happenings[mirror->happenings_count++ % HAPPENINGS_MAX] = *happening;
}

/* False: the name has left since. */
static bool put_text(const struct mirror *mirror, uint64_t id, char text[CHANGE_NAME_BYTES])
{
	const struct name *name = id ? names_get(mirror->names, id) : NULL;
	snprintf(text, CHANGE_NAME_BYTES, "%s", name ? name->bytes : "");
	return !id || name;
}

uint64_t mirror_happenings(struct mirror *mirror, uint64_t from,
			   void (*each)(void *context, const struct change_event *change),
			   void *context)
{
	uint64_t count = mirror->happenings_count;
	uint64_t first = count > HAPPENINGS_MAX ? count - HAPPENINGS_MAX : 0;
	for (uint64_t i = from > first ? from : first; i < count; i++) {
		const struct happening *happening = &mirror->happenings[i % HAPPENINGS_MAX];
		struct change_event change = {.time_ns = happening->time_ns,
					      .kind = happening->kind};
		/* Without its names it would be another change than the one that was told in time.
		 */
		if (put_text(mirror, happening->workload, change.workload) &&
		    put_text(mirror, happening->container, change.instance) &&
		    put_text(mirror, happening->node, change.node))
			each(context, &change);
	}
	return mirror->happenings_told = count;
}
