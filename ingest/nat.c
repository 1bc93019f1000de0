/* NAT as a node knows it: the mappings of its clients, and what the join hears of them. Keys are
 * made when all of the pane's mappings are known (send_keys). */
#include "base/clock.h"
#include "ingest/state.h"

/* From the first key the join follows aliases by itself. */
struct tuple nat_key(const struct node *node, const struct tuple *seen, uint64_t opened_ns)
{
	struct tuple key = *seen;
	for (int hops = 0; hops < HOPS_MAX; hops++) {
		const struct nat_entry *nat = table_find(&node->nats, &key);
		if (!nat || tuple_equal(&nat->to, seen))
			break;
		if (nat->ended_ns && opened_ns > nat->ended_ns + NAT_AFTERLIFE_S * NS_PER_S)
			break;
		/* A mapping is made by a connection's first packet: one that was there long before
		 * belonged to an earlier connection with the same ports, and ours comes in another
		 * batch. The join waits for it. */
		if (nat->began_ns + NAT_SLACK_NS < opened_ns)
			break;
		key = nat->to;
	}
	return key;
}

static void apply_nat(struct apply *apply, const struct nat_row *row, bool ended)
{
	struct mirror *mirror = apply->mirror;
	struct node *node = apply->node;
	uint64_t time_ns = run_time(apply->run, row->time_us);
	if (tuple_equal(&row->from, &row->to))
		return; /* tracked, but not translated */
	struct nat_entry *entry = ended ? table_find(&node->nats, &row->from)
					: table_admit(&node->nats, &row->from, &mirror->stats.nats,
						      mirror->options.nats_max);
	if (!entry && !ended) {
		apply->refused++;
		return;
	}
	if (entry) {
		if (!ended &&
		    (!entry->began_ns || entry->ended_ns || !tuple_equal(&entry->to, &row->to)))
			entry->began_ns = time_ns;
		entry->to = row->to;
		entry->ended_ns = ended ? time_ns : 0;
		entry->seen_ns = time_ns;
	}
	*(struct sent_alias *)queue_add(&mirror->aliases, sizeof(struct sent_alias)) =
		(struct sent_alias){
			.alias = {.from = row->from,
				  .to = row->to,
				  .time_ns = time_ns,
				  .node = node->name_id,
				  .op = ended ? NAT_DELETE : NAT_ADD},
			.tasks = {place_task(mirror, &row->from), place_task(mirror, &row->to)},
		};
}

void apply_nats(struct apply *apply, const struct nat_row *rows, size_t count, bool ended)
{
	for (size_t i = 0; i < count; i++)
		apply_nat(apply, &rows[i], ended);
}
