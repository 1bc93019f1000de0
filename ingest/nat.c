/* NAT as a node knows it: the mappings of its clients, and what the join hears of them. Keys are
 * made when all of the pane's mappings are known (send_keys). */
#include "base/clock.h"
#include "ingest/state.h"

/* Whether the mapping is certainly that of a connection with this life. A mapping is made by the
 * first packet: one that was last told of before belonged to an earlier connection with the same
 * ports, and ours comes in another batch; one that began when all was over is a later one's. Where
 * a port was used again and led elsewhere, it is the times of all mappings that tell whose is
 * which. What is left open here the join finds. */
static bool nat_covers(const struct nat_entry *nat, uint64_t opened_ns, uint64_t closed_ns)
{
	return nat->told_ns + NAT_SLACK_NS >= opened_ns &&
	       nat->began_ns - NAT_SLACK_NS <= closed_ns &&
	       (!nat->ended_ns || opened_ns <= nat->ended_ns + NAT_SLACK_NS) &&
	       nat->turned_ns + NAT_SLACK_NS < opened_ns;
}

/* Hop by hop for all of them, so that they wait for memory together. */
void nat_keys(const struct node *node, struct opening **openings, size_t count)
{
	for (int hops = 0; hops < HOPS_MAX && count; hops++) {
		const void *keys[TABLE_GROUP];
		uint32_t hashes[TABLE_GROUP];
		size_t mapped = 0;
		for (size_t i = 0; i < count; i++)
			keys[i] = &openings[i]->open.key;
		table_prefetch(&node->nats, keys, hashes, count);
		for (size_t i = 0; i < count; i++) {
			struct opening *opening = openings[i];
			struct half_open *open = &opening->open;
			const struct nat_entry *nat =
				table_find_hashed(&node->nats, &open->key, hashes[i]);
			if (!nat || tuple_equal(&nat->to, &open->seen) ||
			    !nat_covers(nat, open->opened_ns, opening->closed_ns))
				continue;
			open->key = nat->to;
			opening->mapped = true;
			openings[mapped++] = opening;
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
	entry->told_ns = entry->seen_ns = time_ns;
}

/* A batch tells what begins before what ends: an end before the last telling is that of an earlier
 * mapping of the same ports. */
static void nat_note_end(struct nat_entry *entry, const struct nat_row *row, uint64_t time_ns)
{
	if (time_ns >= entry->told_ns)
		entry->ended_ns = entry->seen_ns = time_ns;
	else if (tuple_equal(&entry->to, &row->to))
		entry->began_ns = entry->told_ns;
}

static void nat_tell(struct mirror *mirror, const struct node *node, const struct nat_row *row,
		     uint64_t time_ns, enum nat_op op)
{
	const struct nat_alias alias = {
		.from = row->from,
		.to = row->to,
		.time_ns = time_ns,
		.node = node->name_id,
		.op = (uint8_t)op,
	};
	send_alias(mirror, &alias);
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
	if (entry)
		nat_note_end(entry, row, time_ns);
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
