/* Who listens on a node. Kept to be shown: no edge comes of it. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/heap.h"
#include "base/memory.h"
#include "ingest/state.h"

static bool entry_same(const struct listener_entry *entry, const struct listener_row *row)
{
	return address_equal(&entry->address, &row->address) && entry->cgroup == row->cgroup &&
	       entry->drops == row->drops && entry->netns == row->netns && entry->pid == row->pid &&
	       entry->backlog == row->backlog && entry->backlog_max == row->backlog_max &&
	       entry->port == row->port;
}

static void listener_end(struct apply *apply, struct listener_entry *entry)
{
	if (!entry)
		return;
	table_remove(&apply->node->listeners, entry);
	apply->mirror->stats.listeners--;
	apply->node->news = true;
}

static void apply_listener(struct apply *apply, const struct listener_row *row)
{
	struct mirror *mirror = apply->mirror;
	struct node *node = apply->node;
	uint64_t time_ns = run_time(apply->run, row->time_us);
	struct listener_entry *entry = table_find(&node->listeners, &row->cookie);
	if (entry && entry->seen_ns > time_ns)
		return; /* a later word of it came before */
	if (row->ended) {
		listener_end(apply, entry);
		return;
	}
	entry = table_admit(&node->listeners, &row->cookie, &mirror->stats.listeners,
			    mirror->options.listeners_max);
	if (!entry) {
		apply->refused++;
		return;
	}
	node->news |= !entry->seen_ns || !entry_same(entry, row);
	*entry = (struct listener_entry){
		.cookie = row->cookie,
		.cgroup = row->cgroup,
		.drops = row->drops,
		.seen_ns = time_ns,
		.address = row->address,
		.netns = row->netns,
		.pid = row->pid,
		.backlog = row->backlog,
		.backlog_max = row->backlog_max,
		.port = row->port,
	};
}

void apply_listeners(struct apply *apply, const struct listener_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		apply_listener(apply, &rows[i]);
}

/* Those that dropped most first, then by where they listen. */
static int compare_listeners(const void *a, const void *b)
{
	const struct listener_entry *one = *(struct listener_entry *const *)a;
	const struct listener_entry *other = *(struct listener_entry *const *)b;
	int order = memcmp(&one->address, &other->address, sizeof(one->address));
	if (one->drops != other->drops)
		return one->drops < other->drops ? 1 : -1;
	if (one->port != other->port)
		return one->port < other->port ? -1 : 1;
	if (order)
		return order;
	if (one->netns != other->netns)
		return one->netns < other->netns ? -1 : 1;
	return one->cookie < other->cookie ? -1 : one->cookie > other->cookie;
}

static const char *text_of(const struct mirror *mirror, uint64_t id)
{
	const struct name *name = names_get(mirror->names, id);
	return name ? name->bytes : "";
}

static void show_listener(struct mirror *mirror, const struct node *node,
			  const struct listener_entry *entry)
{
	uint64_t program, workload;
	owner_names(mirror, node, entry->pid, entry->cgroup, &program, &workload);
	*(struct mirror_listener *)queue_add(&mirror->shown, sizeof(struct mirror_listener)) =
		(struct mirror_listener){
			.address = entry->address,
			.port = entry->port,
			.netns = entry->netns,
			.pid = entry->pid,
			.program = text_of(mirror, program),
			.workload = text_of(mirror, workload),
			.backlog = entry->backlog,
			.backlog_max = entry->backlog_max,
			.drops = entry->drops,
		};
}

void listeners_show(struct mirror *mirror, const struct node *node)
{
	const struct table *listeners = &node->listeners;
	struct heap *heap = memory_use(heap_of(mirror)); /* lists are asked for from outside */
	const struct listener_entry **sorted =
		queue_room(&mirror->counts, listeners->count, sizeof(*sorted));
	for (uint32_t i = 0; i < listeners->count; i++)
		sorted[i] = table_at(listeners, i);
	if (listeners->count)
		qsort(sorted, listeners->count, sizeof(*sorted), compare_listeners);
	mirror->shown.count = 0;
	for (uint32_t i = 0; i < listeners->count && i < MIRROR_LISTENERS_SHOWN; i++)
		show_listener(mirror, node, sorted[i]);
	memory_use(heap);
}
