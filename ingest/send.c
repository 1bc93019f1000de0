/* What the join tasks hear of a pane, in the order in which it was applied: by node, sequence and
 * place in the batch. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ingest/state.h"

/* ---- when a node, or its boot, is done ---- */

/* The pane's mappings are all known, or about to be forgotten. */
static void send_keys(struct mirror *mirror, const struct node *node)
{
	struct opening *items = mirror->openings.items;
	struct opening *clients[TABLE_GROUP];
	size_t count = 0;
	for (size_t i = mirror->openings_done; i < mirror->openings.count; i++) {
		if (items[i].keyed)
			continue;
		items[i].open.key = items[i].open.seen;
		if (items[i].open.side == SIDE_CLIENT)
			clients[count++] = &items[i];
		if (count == TABLE_GROUP) {
			nat_keys(node, clients, count);
			count = 0;
		}
	}
	nat_keys(node, clients, count);
	for (size_t i = mirror->openings_done; i < mirror->openings.count; i++) {
		if (items[i].keyed)
			continue;
		items[i].keyed = true;
		items[i].task = place_task(mirror, &items[i].open.key);
	}
}

static void send_opening(struct mirror *mirror, struct node *node, uint32_t place)
{
	struct opening *opening = &((struct opening *)mirror->openings.items)[place - 1];
	struct half_open *open = &opening->open;
	const struct owner *owner = &node->owners[opening->owner];
	uint32_t *scratch = &mirror->scratch.openings[half_slot(&mirror->pages, open->ref.index)];
	open->pid = owner->pid;
	open->self = owner->self_id;
	opening->named.self = owner->self;
	opening->named.sought =
		open->side == SIDE_CLIENT && open->opened_ns
			? answer_find(mirror, node, open->pid, &open->seen.server, open->opened_ns)
			: 0;
	open->sought = roster_at(mirror->roster, opening->named.sought)->id;
	if (!open->number && open->side == SIDE_SERVER &&
	    !(open->flags & (HALF_ROLE_GUESSED | HALF_FAILED)))
		server_seen(mirror, node, opening->owner, &open->seen);
	owner_drop(mirror, node, opening->owner);
	if (*scratch != place)
		return; /* its half ended */
	*scratch = 0;
	pages_at(&mirror->pages, open->ref.index)->opening = 0;
}

void send_node(struct mirror *mirror, struct node *node)
{
	if (node->recheck)
		owners_recheck(mirror, node);
	send_keys(mirror, node);
	for (size_t i = mirror->openings_done; i < mirror->openings.count; i++)
		send_opening(mirror, node, (uint32_t)i + 1);
	for (size_t i = mirror->closings_done; i < mirror->closings.count; i++) {
		struct closing *closing = &((struct closing *)mirror->closings.items)[i];
		if (closing->opening)
			closing->task =
				((struct opening *)mirror->openings.items)[closing->opening - 1]
					.task;
	}
	mirror->openings_done = mirror->openings.count;
	mirror->closings_done = mirror->closings.count;
}

/* Closes whose halves have got their labels by now. */
void send_held(struct mirror *mirror)
{
	struct held_close *held = mirror->held_closes.items;
	size_t kept = 0;
	for (size_t i = 0; i < mirror->held_closes.count; i++) {
		if (held[i].state == HELD_READY) {
			struct closing *closing =
				queue_add(&mirror->closings, sizeof(struct closing));
			*closing = (struct closing){.close = held[i].close, .task = held[i].task};
		}
		if (held[i].state != HELD_WAITS)
			continue;
		held[kept] = held[i];
		mirror->lingers.items[held[kept].linger].close = (uint32_t)kept + 1;
		kept++;
	}
	mirror->held_closes.count = kept;
}

/* ---- when the pane is done ---- */

/* Where each task's share begins in an array that is sorted by task; ends after the last. */
struct shares {
	uint32_t *opens, *closes, *aliases;
};

static void add_up(uint32_t *counts, uint32_t tasks)
{
	uint32_t sum = 0;
	for (uint32_t i = 0; i <= tasks; i++) {
		uint32_t count = counts[i];
		counts[i] = sum;
		sum += count;
	}
}

/* The first of each share, then by adding each item moved on to its end, which is the next one's
 * first. */
static struct shares count_shares(struct mirror *mirror)
{
	uint32_t tasks = mirror->options.join_tasks;
	uint32_t *counts =
		queue_room(&mirror->counts, 3 * (size_t)(tasks + 1), sizeof(struct node *));
	struct shares shares = {counts, counts + tasks + 1, counts + 2 * (tasks + 1)};
	const struct opening *openings = mirror->openings.items;
	const struct closing *closings = mirror->closings.items;
	const struct sent_alias *aliases = mirror->aliases.items;
	memset(counts, 0, 3 * (size_t)(tasks + 1) * sizeof(*counts));
	for (size_t i = 0; i < mirror->openings.count; i++)
		shares.opens[openings[i].task]++;
	for (size_t i = 0; i < mirror->closings.count; i++)
		shares.closes[closings[i].task]++;
	for (size_t i = 0; i < mirror->aliases.count; i++) {
		shares.aliases[aliases[i].tasks[0]]++;
		shares.aliases[aliases[i].tasks[1]] += aliases[i].tasks[0] != aliases[i].tasks[1];
	}
	add_up(shares.opens, tasks);
	add_up(shares.closes, tasks);
	add_up(shares.aliases, tasks);
	return shares;
}

static void share_out(struct mirror *mirror, const struct shares *shares)
{
	const struct opening *openings = mirror->openings.items;
	const struct closing *closings = mirror->closings.items;
	const struct sent_alias *aliases = mirror->aliases.items;
	struct half_open *opens =
		queue_room(&mirror->task_opens, mirror->openings.count, sizeof(*opens));
	struct opening_names *named =
		queue_room(&mirror->task_named, mirror->openings.count, sizeof(*named));
	struct half_close *closes =
		queue_room(&mirror->task_closes, mirror->closings.count, sizeof(*closes));
	struct nat_alias *shared =
		queue_room(&mirror->task_aliases, 2 * mirror->aliases.count, sizeof(*shared));
	for (size_t i = 0; i < mirror->openings.count; i++) {
		uint32_t at = shares->opens[openings[i].task]++;
		opens[at] = openings[i].open;
		named[at] = openings[i].named;
	}
	for (size_t i = 0; i < mirror->closings.count; i++)
		closes[shares->closes[closings[i].task]++] = closings[i].close;
	for (size_t i = 0; i < mirror->aliases.count; i++) {
		shared[shares->aliases[aliases[i].tasks[0]]++] = aliases[i].alias;
		if (aliases[i].tasks[0] != aliases[i].tasks[1])
			shared[shares->aliases[aliases[i].tasks[1]]++] = aliases[i].alias;
	}
}

static void task_instance(struct mirror *mirror, uint32_t task, uint32_t number)
{
	if (roster_due(mirror->roster, number, task, mirror->pane))
		*(struct instance *)queue_add(&mirror->task_instances, sizeof(struct instance)) =
			*roster_at(mirror->roster, number);
}

/* Descriptors that the task was not told of lately. */
static void task_instances(struct mirror *mirror, uint32_t task, uint32_t first, uint32_t end)
{
	const struct opening_names *named = mirror->task_named.items;
	mirror->task_instances.count = 0;
	for (uint32_t i = first; i < end; i++) {
		task_instance(mirror, task, named[i].self);
		task_instance(mirror, task, named[i].sought);
	}
}

void send_all(struct mirror *mirror)
{
	const struct mirror_sinks *sinks = &mirror->options.sinks;
	struct shares shares = count_shares(mirror);
	uint32_t opens = 0, closes = 0, aliases = 0;
	share_out(mirror, &shares);
	for (uint32_t task = 0; task < mirror->options.join_tasks; task++) {
		task_instances(mirror, task, opens, shares.opens[task]);
		struct half_bucket bucket = {
			.opens = (struct half_open *)mirror->task_opens.items + opens,
			.closes = (struct half_close *)mirror->task_closes.items + closes,
			.aliases = (struct nat_alias *)mirror->task_aliases.items + aliases,
			.servers = mirror->servers.items,
			.instances = mirror->task_instances.items,
			.opens_count = shares.opens[task] - opens,
			.closes_count = shares.closes[task] - closes,
			.aliases_count = shares.aliases[task] - aliases,
			.servers_count = mirror->servers.count,
			.instances_count = mirror->task_instances.count,
			.hearings = mirror->hearings.items,
			.hearings_count = mirror->hearings.count,
			.facts = mirror->facts.items,
			.facts_count = mirror->facts.count,
			.fact_addresses = mirror->fact_addresses.items,
			.fact_addresses_count = mirror->fact_addresses.count,
			.rules = mirror->rules.items,
			.rules_words = mirror->rules.count,
		};
		opens = shares.opens[task];
		closes = shares.closes[task];
		aliases = shares.aliases[task];
		sinks->halves(sinks->context, task, &bucket);
	}
}
