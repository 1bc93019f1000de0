/* What the join tasks hear of a pane, in the order in which it was applied: by node, sequence and
 * place in the batch. */
#include "base/memory.h"
#include "ingest/state.h"

/* ---- to a task ---- */

static void send_close(struct mirror *mirror, uint32_t task, const struct half_close *close)
{
	*(struct half_close *)queue_add(&mirror->outboxes[task].closes, sizeof(*close)) = *close;
}

/* The descriptor of whom an opening names, if the task was not told of it lately. */
static void send_instance(struct mirror *mirror, uint32_t task, uint32_t number)
{
	if (roster_due(mirror->roster, number, task, mirror->pane))
		*(struct instance *)queue_add(&mirror->outboxes[task].instances,
					      sizeof(struct instance)) =
			*roster_at(mirror->roster, number);
}

static void send_open(struct mirror *mirror, uint32_t task, const struct half_open *open,
		      uint32_t self)
{
	*(struct half_open *)queue_add(&mirror->outboxes[task].opens, sizeof(*open)) = *open;
	send_instance(mirror, task, self);
}

/* To the owners of both keys. */
void send_alias(struct mirror *mirror, const struct nat_alias *alias)
{
	const uint32_t tasks[] = {place_task(mirror, &alias->from), place_task(mirror, &alias->to)};
	for (int i = 0; i < (tasks[0] == tasks[1] ? 1 : 2); i++)
		*(struct nat_alias *)queue_add(&mirror->outboxes[tasks[i]].aliases,
					       sizeof(*alias)) = *alias;
}

/* ---- when a node, or its boot, is done ---- */

/* The pane's mappings are all known, or about to be forgotten. */
static void send_keys(struct mirror *mirror, const struct node *node)
{
	struct opening *items = mirror->openings.items;
	struct opening *clients[TABLE_GROUP];
	size_t count = 0;
	for (size_t i = 0; i < mirror->openings.count; i++) {
		if (!items[i].open.seen.protocol)
			continue; /* its number alone is told */
		items[i].open.key = items[i].open.seen;
		if (items[i].open.side == SIDE_CLIENT)
			clients[count++] = &items[i];
		if (count == TABLE_GROUP) {
			nat_keys(node, clients, count);
			count = 0;
		}
	}
	nat_keys(node, clients, count);
}

/* That its owner waits was learnt behind its end, in the same pane. */
static void ended_waits(struct mirror *mirror, struct node *node, const struct opening *opening)
{
	const struct half_ref *ref = &opening->open.ref;
	struct linger *linger = lingers_find(&mirror->lingers, ref->index, ref->generation);
	if (linger && !linger->waits)
		owner_awaited(mirror, node, opening->owner,
			      (uint32_t)(linger - mirror->lingers.items));
}

static void send_opening(struct mirror *mirror, struct node *node, uint32_t place)
{
	struct opening *opening = &((struct opening *)mirror->openings.items)[place - 1];
	struct half_open *open = &opening->open;
	const struct owner *owner = &node->owners[opening->owner];
	uint32_t *scratch = &mirror->scratch.openings[half_slot(&mirror->pages, open->ref.index)];
	if (!opening->keyed)
		opening->task = hash_owner(opening->mapped ? tuple_hash(&open->key) : opening->hash,
					   mirror->options.join_tasks);
	open->pid = owner->pid;
	open->self = owner->self_id;
	open->flags |= owner->waits ? HALF_WAITS : 0;
	uint32_t sought =
		open->side == SIDE_CLIENT && open->opened_ns
			? answer_find(mirror, node, open->pid, &open->seen.server, open->opened_ns)
			: 0;
	if (!sought)
		sought = opening->asked;
	open->sought = roster_at(mirror->roster, sought)->id;
	send_open(mirror, opening->task, open, owner->self);
	send_instance(mirror, opening->task, sought);
	if (!open->number && open->side == SIDE_SERVER &&
	    !(open->flags & (HALF_ROLE_GUESSED | HALF_FAILED)))
		server_seen(mirror, node, opening->owner, &open->seen);
	bool ended = *scratch != place;
	if (ended && owner->waits)
		ended_waits(mirror, node, opening);
	owner_drop(mirror, node, opening->owner);
	if (ended)
		return;
	*scratch = 0;
	pages_at(&mirror->pages, open->ref.index)->opening = 0;
}

void send_named(struct mirror *mirror, const struct linger *linger, uint32_t pid, uint32_t self)
{
	const struct half_open open = {
		.ref = {linger->half, (uint16_t)mirror->options.source, linger->generation},
		.number = linger->number,
		.side = linger->place.side,
		.flags = HALF_AGAIN,
		.pid = pid,
		.self = roster_at(mirror->roster, self)->id,
	};
	send_open(mirror, linger->join_task, &open, self);
}

void send_node(struct mirror *mirror, struct node *node)
{
	if (owners_due(mirror, node))
		owners_recheck(mirror, node);
	send_keys(mirror, node);
	const struct opening *openings = mirror->openings.items;
	const struct closing *closings = mirror->closings.items;
	for (size_t i = 0; i < mirror->openings.count; i++)
		send_opening(mirror, node, (uint32_t)i + 1);
	for (size_t i = 0; i < mirror->closings.count; i++)
		send_close(mirror, openings[closings[i].opening - 1].task, &closings[i].close);
	mirror->openings.count = mirror->closings.count = 0;
}

/* Closes whose halves have got their labels by now. */
void send_held(struct mirror *mirror)
{
	struct held_close *held = mirror->held_closes.items;
	size_t kept = 0;
	for (size_t i = 0; i < mirror->held_closes.count; i++) {
		if (held[i].state == HELD_READY)
			send_close(mirror, held[i].task, &held[i].close);
		if (held[i].state != HELD_WAITS)
			continue;
		held[kept] = held[i];
		mirror->lingers.items[held[kept].linger].close = (uint32_t)kept + 1;
		kept++;
	}
	mirror->held_closes.count = kept;
}

/* ---- when the pane is done ---- */

void send_all(struct mirror *mirror)
{
	const struct mirror_sinks *sinks = &mirror->options.sinks;
	for (uint32_t task = 0; task < mirror->options.join_tasks; task++) {
		struct outbox *outbox = &mirror->outboxes[task];
		struct half_bucket bucket = {
			.opens = outbox->opens.items,
			.closes = outbox->closes.items,
			.aliases = outbox->aliases.items,
			.servers = mirror->servers.items,
			.instances = outbox->instances.items,
			.opens_count = outbox->opens.count,
			.closes_count = outbox->closes.count,
			.aliases_count = outbox->aliases.count,
			.servers_count = mirror->servers.count,
			.instances_count = outbox->instances.count,
			.hearings = mirror->hearings.items,
			.hearings_count = mirror->hearings.count,
			.facts = mirror->facts.items,
			.facts_count = mirror->facts.count,
			.fact_addresses = mirror->fact_addresses.items,
			.fact_addresses_count = mirror->fact_addresses.count,
			.rules = mirror->rules.items,
			.rules_words = mirror->rules.count,
		};
		sinks->halves(sinks->context, task, &bucket);
		outbox->opens.count = outbox->closes.count = 0;
		outbox->aliases.count = outbox->instances.count = 0;
	}
}

void outboxes_done(struct mirror *mirror)
{
	for (uint32_t task = 0; task < mirror->options.join_tasks; task++) {
		struct outbox *outbox = &mirror->outboxes[task];
		memory_free(outbox->opens.items);
		memory_free(outbox->closes.items);
		memory_free(outbox->aliases.items);
		memory_free(outbox->instances.items);
	}
	memory_free(mirror->outboxes);
}
