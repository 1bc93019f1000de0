/* NAT as a node knows it: the mappings of its clients, and what the join hears of them. Keys are
 * made when all of the pane's mappings are known (send_keys). */
#include "base/clock.h"
#include "ingest/state.h"

/* Whether the mapping is the connection's. */
static bool nat_holds(const struct nat_entry *nat, const struct half_open *open)
{
	uint64_t opened_ns = open->opened_ns;
	if (tuple_equal(&nat->to, &open->seen))
		return false;
	if (nat->ended_ns && opened_ns > nat->ended_ns + NAT_AFTERLIFE_S * NS_PER_S)
		return false;
	/* A mapping is made by a connection's first packet: one that was there long before belonged
	 * to an earlier connection with the same ports, and ours comes in another batch. The join
	 * waits for it. */
	if (nat->began_ns + NAT_SLACK_NS < opened_ns)
		return false;
	/* The port was used again and led elsewhere: which connection is whose, the join finds by
	 * the times of all mappings. */
	return nat->turned_ns + NAT_SLACK_NS < opened_ns;
}

/* Hop by hop for all of them, so that they wait for memory together. */
void nat_keys(const struct node *node, struct half_open **opens, size_t count)
{
	for (int hops = 0; hops < HOPS_MAX && count; hops++) {
		const void *keys[TABLE_GROUP];
		uint32_t hashes[TABLE_GROUP];
		size_t mapped = 0;
		for (size_t i = 0; i < count; i++)
			keys[i] = &opens[i]->key;
		table_prefetch(&node->nats, keys, hashes, count);
		for (size_t i = 0; i < count; i++) {
			struct half_open *open = opens[i];
			const struct nat_entry *nat =
				table_find_hashed(&node->nats, &open->key, hashes[i]);
			if (!nat || !nat_holds(nat, open))
				continue;
			open->key = nat->to;
			opens[mapped++] = open;
		}
		count = mapped;
	}
}

static void nat_note(struct nat_entry *entry, const struct nat_row *row, uint64_t time_ns)
{
	bool turned = entry->began_ns && !tuple_equal(&entry->to, &row->to);
	if (!entry->began_ns || entry->ended_ns || turned)
		entry->began_ns = time_ns;
	if (turned)
		entry->turned_ns = time_ns;
	entry->to = row->to;
	entry->ended_ns = 0;
	entry->seen_ns = time_ns;
}

static void nat_tell(struct mirror *mirror, const struct node *node, const struct nat_row *row,
		     uint64_t time_ns, enum nat_op op)
{
	*(struct sent_alias *)queue_add(&mirror->aliases, sizeof(struct sent_alias)) =
		(struct sent_alias){
			.alias = {.from = row->from,
				  .to = row->to,
				  .time_ns = time_ns,
				  .node = node->name_id,
				  .op = (uint8_t)op},
			.tasks = {place_task(mirror, &row->from), place_task(mirror, &row->to)},
		};
}

static void apply_nat(struct apply *apply, const struct nat_row *row)
{
	struct mirror *mirror = apply->mirror;
	uint64_t time_ns = run_time(apply->run, row->time_us);
	if (tuple_equal(&row->from, &row->to))
		return; /* tracked, but not translated */
	struct nat_entry *entry = table_admit(&apply->node->nats, &row->from, &mirror->stats.nats,
					      mirror->options.nats_max);
	if (!entry) {
		apply->refused++;
		return;
	}
	nat_note(entry, row, time_ns);
	/* Told again each time: the same mapping may be that of a later connection, which the join
	 * knows by a telling since its opening. */
	nat_tell(mirror, apply->node, row, time_ns, NAT_ADD);
}

static void apply_nat_end(struct apply *apply, const struct nat_row *row)
{
	uint64_t time_ns = run_time(apply->run, row->time_us);
	if (tuple_equal(&row->from, &row->to))
		return;
	struct nat_entry *entry = table_find(&apply->node->nats, &row->from);
	if (entry) {
		entry->to = row->to;
		entry->ended_ns = entry->seen_ns = time_ns;
	}
	nat_tell(apply->mirror, apply->node, row, time_ns, NAT_DELETE);
}

void apply_nats(struct apply *apply, const struct nat_row *rows, size_t count, bool ended)
{
	for (size_t i = 0; i < count; i++) {
		if (i % TABLE_GROUP == 0)
			table_prefetch_rows(&apply->node->nats, &rows[i], sizeof(*rows), count - i);
		if (ended)
			apply_nat_end(apply, &rows[i]);
		else
			apply_nat(apply, &rows[i]);
	}
}
