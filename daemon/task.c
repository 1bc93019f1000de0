#include "daemon/task.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/heap.h"
#include "base/memory.h"
#include "daemon/networks.h"
#include "metadata/census.h"
#include "rules/rulebook.h"

/* jemalloc's own variable, here for all programs that run tasks. Freed pages are kept for a while
 * instead of given back and faulted in anew: fetched batches and panes come and go by the second,
 * and half of the client's cost was page faults. Huge pages are left to the kernel: they made
 * resident memory half as large again for no gain. */
const char *malloc_conf = "dirty_decay_ms:30000,muzzy_decay_ms:30000,metadata_thp:auto";

/* Panes that a log may run ahead of the pane at hand: lateness and a second of reserve. Enough to
 * keep reading while other tasks answer, small enough to bound what the mirror stores. */
enum { AHEAD_PANES = 16 };

/* Messages of one kind from one task, oldest first. */
struct queue {
	struct message *oldest, *newest;
};

/* All messages of one kind: a pane is there when every task's queue has it at its head. */
struct inbox {
	struct queue *queues; /* by source */
	uint32_t filled;      /* queues that are not empty */
};

/* Labels of all rounds of a pane for one ingest task, and the instances that they name. */
struct labels {
	struct label *items;
	struct instance *instances;
	size_t count, max, instances_count, instances_max;
	size_t round_ends[ROUNDS_MAX];
};

/* What one task told of rules in a pane. */
struct told_rules {
	uint64_t pane;
	uint64_t *words; /* as in struct half_bucket */
	size_t words_count;
};

struct task {
	struct task_options options;
	struct mirror *mirror;
	struct join *join;
	struct partial *partial;
	struct aggregate *aggregate;
	struct anomaly *anomaly;
	struct incidents *incidents; /* of all owners; NULL but for task 0 */
	struct names *join_names;    /* of the flows' instances */
	struct census *census;	     /* of the facts of all tasks, up to the join's pane */
	struct rulebook *rulebook;   /* of the rules of all tasks, up to the aggregate's pane */
	struct told_rules *rules;    /* of panes that the join had and the aggregate has not */
	size_t rules_count, rules_max;
	struct inbox inboxes[MESSAGE_KINDS];

	bool start_sent, started;
	uint32_t starts;
	uint64_t first_pane;
	bool waits_for_labels;
	uint32_t join_round; /* of the pane at hand: 0 before its first */
	uint64_t released;   /* the pane that it was let into last */
	uint64_t mirror_pane, join_pane, aggregate_pane, incident_pane; /* next to run */
	struct letter *lent; /* to the join's round at hand */

	/* Of the pane at hand, by receiver: NULL until the stage has something for it. */
	struct message **outgoing;
	struct message **outgoing_hops;
	struct labels *labels;	 /* by ingest task */
	const struct name **due; /* scratch */
	size_t due_max;
	struct alert *episodes; /* transitions of the pane at hand */
	size_t episodes_count, episodes_max;
};

/* --- inboxes --- */

static void inbox_put(struct inbox *inbox, struct message *message)
{
	struct queue *queue = &inbox->queues[message->source];

	message->letter.next = NULL;
	if (queue->newest) {
		queue->newest->letter.next = &message->letter;
	} else {
		queue->oldest = message;
		inbox->filled++;
	}
	queue->newest = message;
}

static struct message *inbox_take(struct inbox *inbox, uint32_t source, uint64_t pane)
{
	struct queue *queue = &inbox->queues[source];
	struct message *message = queue->oldest;

	assert(message && message->pane == pane);
	queue->oldest = (struct message *)message->letter.next;
	if (!queue->oldest) {
		queue->newest = NULL;
		inbox->filled--;
	}
	return message;
}

static bool inbox_full(const struct task *task, enum message_kind kind)
{
	return task->inboxes[kind].filled == task->options.tasks;
}

static void hand_over(struct task *task, struct message *message)
{
	task->options.send(task->options.send_context, message);
}

/* What the sinks are given next is of this pane; they work with memory of their own. */
static struct heap *leave(const struct task *task, uint64_t pane)
{
	const struct task_sinks *sinks = &task->options.sinks;
	struct heap *heap = memory_use(NULL);

	if (sinks->pane)
		sinks->pane(sinks->context, task->options.task, pane);
	return heap;
}

/* --- ingest --- */

/* The name that a message to a task must carry, or NULL. */
typedef const struct name *name_finder(struct task *task, uint64_t id, uint32_t destination);

static const struct name *find_due(struct task *task, uint64_t id, uint32_t destination)
{
	return names_due(mirror_names(task->mirror), id, destination, task->mirror_pane);
}

static void collect_name(struct task *task, uint64_t id, uint32_t destination, name_finder *find,
			 size_t *count)
{
	const struct name *name = id ? find(task, id, destination) : NULL;

	if (!name)
		return;
	if (*count == task->due_max) {
		task->due_max = memory_grown(task->due_max, *count + 1);
		task->due = memory_resize(task->due, task->due_max, sizeof(*task->due));
	}
	task->due[(*count)++] = name;
}

static void collect_instance(struct task *task, const struct instance *instance,
			     uint32_t destination, name_finder *find, size_t *count)
{
	collect_name(task, instance->workload, destination, find, count);
	collect_name(task, instance->version, destination, find, count);
	collect_name(task, instance->zone, destination, find, count);
	collect_name(task, instance->node, destination, find, count);
	collect_name(task, instance->container, destination, find, count);
	collect_name(task, instance->process, destination, find, count);
}

static void collect_fact(struct task *task, const struct fact *fact, uint32_t destination,
			 name_finder *find, size_t *count)
{
	collect_name(task, fact->workload, destination, find, count);
	collect_name(task, fact->version, destination, find, count);
	collect_name(task, fact->zone, destination, find, count);
	collect_name(task, fact->node, destination, find, count);
	collect_name(task, fact->instance, destination, find, count);
	if (fact->kind == FACT_CHANGE)
		collect_name(task, fact->object, destination, find, count);
}

/* Names travel with the instances and facts that use them. */
static size_t collect_names(struct task *task, uint32_t destination, name_finder *find,
			    const struct half_bucket *bucket)
{
	size_t count = 0;

	for (size_t i = 0; i < bucket->instances_count; i++)
		collect_instance(task, &bucket->instances[i], destination, find, &count);
	for (size_t i = 0; i < bucket->servers_count; i++)
		collect_instance(task, &bucket->servers[i].instance, destination, find, &count);
	for (size_t i = 0; i < bucket->facts_count; i++)
		collect_fact(task, &bucket->facts[i], destination, find, &count);
	return count;
}

static void on_halves(void *context, uint32_t join_task, const struct half_bucket *bucket)
{
	struct task *task = context;
	size_t names = collect_names(task, join_task, find_due, bucket);

	assert(!task->outgoing[join_task]);
	task->outgoing[join_task] = message_halves(MESSAGE_HALVES, task->options.task, join_task,
						   task->mirror_pane, bucket, task->due, names);
}

static void on_deltas(void *context, const struct delta *deltas, size_t count)
{
	struct task *task = context;

	partial_push(task->partial, deltas, count);
}

static void on_amendments(void *context, const struct amendment *amendments, size_t count)
{
	struct task *task = context;

	partial_amend(task->partial, amendments, count);
}

static void on_lanes_hold(void *context, struct lane_wanted *wanted, size_t count)
{
	struct task *task = context;

	partial_lanes_hold(task->partial, wanted, count);
}

static void on_lane_drop(void *context, uint32_t lane)
{
	struct task *task = context;

	partial_lane_drop(task->partial, lane);
}

static void on_deadletter(void *context, const struct mirror_record *record,
			  enum mirror_reason reason, const char *detail, const char *node)
{
	struct task *task = context;
	struct heap *heap = memory_use(NULL);

	task->options.sinks.deadletter(task->options.sinks.context, task->options.task, record,
				       reason, detail, node);
	memory_use(heap);
}

/* Sends every task its message of the pane; those that the stage had nothing for get an empty one.
 */
static void send_outgoing(struct task *task, struct message **outgoing, enum message_kind kind,
			  uint64_t pane)
{
	for (uint32_t i = 0; i < task->options.tasks; i++) {
		struct message *message = outgoing[i];

		outgoing[i] = NULL;
		hand_over(task, message ? message : message_new(kind, task->options.task, i, pane));
	}
}

/* Whether the next pane is one to stand before. */
static bool holds(const struct task *task)
{
	uint32_t every = task->options.hold_panes;

	return every && task->mirror_pane % every == 0 && task->released != task->mirror_pane;
}

static bool run_halves(struct task *task)
{
	if (!task->started || task->waits_for_labels || holds(task) ||
	    !mirror_ready(task->mirror, task->mirror_pane))
		return false;
	mirror_halves(task->mirror, task->mirror_pane);
	census_settle(task->census);
	census_advance(task->census, pane_end(task->mirror_pane));
	send_outgoing(task, task->outgoing, MESSAGE_HALVES, task->mirror_pane);
	task->waits_for_labels = true;
	return true;
}

static void take_told(struct task *task, const struct message *message)
{
	for (size_t n = 0; n < message->names_count; n++)
		names_learn(mirror_names(task->mirror), &message->names[n], task->mirror_pane);
	mirror_labels(task->mirror, NULL, 0, message->labelled.instances,
		      message->labelled.instances_count);
}

/* Round by round, so that a half's last label stands whichever task decided it. */
static void take_labels(struct task *task)
{
	struct inbox *inbox = &task->inboxes[MESSAGE_LABELS];

	for (uint32_t i = 0; i < task->options.tasks; i++)
		take_told(task, inbox->queues[i].oldest);
	for (int round = 0; round < ROUNDS_MAX; round++) {
		for (uint32_t i = 0; i < task->options.tasks; i++) {
			const struct label_bucket *bucket = &inbox->queues[i].oldest->labelled;
			size_t begin = round ? bucket->round_ends[round - 1] : 0;

			mirror_labels(task->mirror, bucket->labels + begin,
				      bucket->round_ends[round] - begin, NULL, 0);
		}
	}
	for (uint32_t i = 0; i < task->options.tasks; i++)
		message_free(inbox_take(inbox, i, task->mirror_pane));
}

static bool run_labels(struct task *task)
{
	if (!task->waits_for_labels || !inbox_full(task, MESSAGE_LABELS))
		return false;
	take_labels(task);
	mirror_deltas(task->mirror, task->mirror_pane);
	for (uint32_t i = 0; i < task->options.tasks; i++) {
		struct message *message =
			message_new(MESSAGE_ROWS, task->options.task, i, task->mirror_pane);

		message->rows = partial_take(task->partial, i, task->mirror_pane);
		hand_over(task, message);
	}
	names_advance(mirror_names(task->mirror), task->mirror_pane);
	roster_advance(mirror_roster(task->mirror), mirror_names(task->mirror), task->mirror_pane);
	task->mirror_pane++;
	task->waits_for_labels = false;
	return true;
}

/* --- join --- */

static void on_labels(void *context, uint32_t source, const struct label *labels, size_t count,
		      const struct instance *instances, size_t instances_count)
{
	struct task *task = context;
	struct labels *kept = &task->labels[source];

	if (kept->count + count > kept->max) {
		kept->max = memory_grown(kept->max, kept->count + count);
		kept->items = memory_resize(kept->items, kept->max, sizeof(*kept->items));
	}
	if (kept->instances_count + instances_count > kept->instances_max) {
		kept->instances_max =
			memory_grown(kept->instances_max, kept->instances_count + instances_count);
		kept->instances = memory_resize(kept->instances, kept->instances_max,
						sizeof(*kept->instances));
	}
	if (count)
		memcpy(kept->items + kept->count, labels, count * sizeof(*labels));
	if (instances_count)
		memcpy(kept->instances + kept->instances_count, instances,
		       instances_count * sizeof(*instances));
	kept->count += count;
	kept->instances_count += instances_count;
}

/* Readers of the join's names: ingest tasks, then the join tasks that halves hop to. */
static const struct name *find_join_due(struct task *task, uint64_t id, uint32_t destination)
{
	return names_due(task->join_names, id, destination, task->join_pane);
}

/* A half that changes its owner takes its names along. */
static void on_hops(void *context, uint32_t join_task, const struct half_bucket *bucket)
{
	struct task *task = context;
	size_t count = collect_names(task, task->options.tasks + join_task, find_join_due, bucket);

	assert(!task->outgoing_hops[join_task]);
	task->outgoing_hops[join_task] = message_halves(MESSAGE_HOPS, task->options.task, join_task,
							task->join_pane, bucket, task->due, count);
}

static void on_flows(void *context, const struct flow *flows, size_t count)
{
	struct task *task = context;
	struct heap *heap = leave(task, task->join_pane);

	task->options.sinks.flows(task->options.sinks.context, task->options.task, flows, count,
				  task->join_names);
	memory_use(heap);
}

/* Both stages name instances by facts. */
static void learn_fact(struct task *task, const struct fact *fact)
{
	const uint64_t ids[] = {fact->workload, fact->version, fact->zone, fact->node,
				fact->instance};

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		const struct name *name = ids[i] ? names_get(task->join_names, ids[i]) : NULL;

		if (!name)
			continue;
		names_touch(task->join_names, ids[i], task->join_pane);
		names_learn(mirror_names(task->mirror), name, task->join_pane);
	}
}

static void put_text(const struct task *task, uint64_t id, char text[CHANGE_NAME_BYTES])
{
	const struct name *name = id ? names_get(task->join_names, id) : NULL;

	snprintf(text, CHANGE_NAME_BYTES, "%s", name ? name->bytes : "");
}

/* What happened is for the incidents alone. */
static void take_change(struct task *task, const struct fact *fact)
{
	struct change_event change = {.time_ns = fact->from_ns, .kind = fact->change};

	if (!task->incidents)
		return;
	put_text(task, fact->workload, change.workload);
	put_text(task, fact->node, change.node);
	put_text(task, fact->instance, change.instance);
	put_text(task, fact->before, change.before);
	put_text(task, fact->after, change.after);
	put_text(task, fact->object, change.reason);
	incidents_change(task->incidents, fact->id, &change, pane_end(task->join_pane));
}

static void take_facts(struct task *task, const struct half_bucket *bucket)
{
	const struct address *addresses = bucket->fact_addresses;

	for (size_t i = 0; i < bucket->facts_count; i++) {
		const struct fact *fact = &bucket->facts[i];

		if (fact->kind == FACT_CHANGE) {
			take_change(task, fact);
			continue;
		}
		learn_fact(task, fact);
		census_take(task->census, fact, addresses, pane_end(task->join_pane));
		addresses += fact->addresses_count;
	}
}

static bool on_network(void *context, const struct address *address, struct instance *instance)
{
	struct task *task = context;
	struct network network;

	if (!networks_find(task->options.networks, address, &network))
		return false;
	if (network.name[0]) {
		instance->resolution = RESOLUTION_NETWORK;
		instance->workload = names_put(task->join_names, network.name, strlen(network.name),
					       task->join_pane);
	}
	instance->zone = names_put(task->join_names, network.country, strlen(network.country),
				   task->join_pane);
	return true;
}

/* Ends of which nobody knows more are named by the join itself. */
static void name_strangers(struct task *task)
{
	for (uint32_t resolution = RESOLUTION_PUBLIC; resolution <= RESOLUTION_MULTICAST;
	     resolution++) {
		const char *name = resolution_name(resolution);

		names_put(task->join_names, name, strlen(name), task->join_pane);
	}
}

/* The stages behind the aggregate are told of them in their turn, as the join may be ahead. */
static void keep_rules(struct task *task, const struct half_bucket *bucket)
{
	struct told_rules *told;

	if (!bucket->rules_words)
		return;
	if (task->rules_count == task->rules_max) {
		task->rules_max = memory_grown(task->rules_max, task->rules_count + 1);
		task->rules = memory_resize(task->rules, task->rules_max, sizeof(*task->rules));
	}
	told = &task->rules[task->rules_count++];
	told->pane = task->join_pane;
	told->words_count = bucket->rules_words;
	told->words = memory_resize(NULL, bucket->rules_words, sizeof(*told->words));
	memcpy(told->words, bucket->rules, bucket->rules_words * sizeof(*told->words));
}

static void push_halves(struct task *task, enum message_kind kind, uint64_t pane)
{
	for (uint32_t i = 0; i < task->options.tasks; i++) {
		struct message *message = inbox_take(&task->inboxes[kind], i, pane);

		for (size_t n = 0; n < message->names_count; n++)
			names_learn(task->join_names, &message->names[n], task->join_pane);
		take_facts(task, &message->bucket);
		keep_rules(task, &message->bucket);
		join_push(task->join, &message->bucket);
		message->letter.next = task->lent;
		task->lent = &message->letter;
	}
}

/* The join reads the messages where they are. */
static void free_lent(struct task *task)
{
	while (task->lent) {
		struct letter *next = task->lent->next;

		message_free((struct message *)task->lent);
		task->lent = next;
	}
}

static void end_round(struct task *task)
{
	for (uint32_t i = 0; i < task->options.tasks; i++) {
		for (uint32_t round = task->join_round; round < ROUNDS_MAX; round++)
			task->labels[i].round_ends[round] = task->labels[i].count;
	}
	task->join_round++;
}

static void send_hops(struct task *task)
{
	bool unfinished = join_unfinished(task->join);

	for (uint32_t i = 0; i < task->options.tasks; i++) {
		struct message *message = task->outgoing_hops[i];

		task->outgoing_hops[i] = NULL;
		if (!message)
			message = message_new(MESSAGE_HOPS, task->options.task, i, task->join_pane);
		message->unfinished = unfinished;
		hand_over(task, message);
	}
}

static struct message *labels_message(struct task *task, uint32_t source)
{
	const struct labels *labels = &task->labels[source];
	struct label_bucket bucket = {.labels = labels->items,
				      .instances = labels->instances,
				      .instances_count = labels->instances_count};
	size_t names = 0;

	memcpy(bucket.round_ends, labels->round_ends, sizeof(bucket.round_ends));
	for (size_t i = 0; i < bucket.instances_count; i++)
		collect_instance(task, &bucket.instances[i], source, find_join_due, &names);
	return message_labels(task->options.task, source, task->join_pane, &bucket, task->due,
			      names);
}

static void send_labels(struct task *task)
{
	for (uint32_t i = 0; i < task->options.tasks; i++) {
		hand_over(task, labels_message(task, i));
		task->labels[i].count = task->labels[i].instances_count = 0;
	}
}

static void run_round(struct task *task)
{
	join_advance(task->join, pane_end(task->join_pane));
	free_lent(task);
	send_hops(task);
	end_round(task);
}

/* Every task reads the same flags, so all go on to the next round or none does. */
static bool any_unfinished(const struct task *task)
{
	for (uint32_t i = 0; i < task->options.tasks; i++) {
		if (task->inboxes[MESSAGE_HOPS].queues[i].oldest->unfinished)
			return true;
	}
	return false;
}

/* The first round of a pane: hops left from the last pane's rounds, then what ingest tells. */
static bool run_join(struct task *task)
{
	bool has_hops = task->started && task->join_pane > task->first_pane;

	if (!task->started || task->join_round || !inbox_full(task, MESSAGE_HALVES) ||
	    (has_hops && !inbox_full(task, MESSAGE_HOPS)))
		return false;
	if (has_hops)
		push_halves(task, MESSAGE_HOPS, task->join_pane - 1);
	push_halves(task, MESSAGE_HALVES, task->join_pane);
	name_strangers(task);
	run_round(task);
	return true;
}

/* Further rounds, while anybody sent hops; then the pane's labels. */
static bool run_rounds(struct task *task)
{
	if (!task->join_round || !inbox_full(task, MESSAGE_HOPS))
		return false;
	if (any_unfinished(task) && task->join_round < ROUNDS_MAX) {
		push_halves(task, MESSAGE_HOPS, task->join_pane);
		run_round(task);
		return true;
	}
	send_labels(task);
	roster_advance(join_roster(task->join), task->join_names, task->join_pane);
	names_advance(task->join_names, task->join_pane);
	task->join_pane++;
	task->join_round = 0;
	return true;
}

/* --- aggregate and anomaly --- */

static void on_rollups(void *context, const struct rollup *rollups, size_t count,
		       const struct names *names)
{
	struct task *task = context;
	struct heap *heap;

	if (task->aggregate_pane > task->options.known_pane)
		anomaly_push(task->anomaly, rollups, count, names);
	heap = leave(task, task->aggregate_pane);
	task->options.sinks.rollups(task->options.sinks.context, task->options.task, rollups, count,
				    names);
	memory_use(heap);
}

static void on_episodes(void *context, const struct alert *alerts, size_t count)
{
	struct task *task = context;

	if (task->episodes_count + count > task->episodes_max) {
		task->episodes_max = memory_grown(task->episodes_max, task->episodes_count + count);
		task->episodes =
			memory_resize(task->episodes, task->episodes_max, sizeof(*task->episodes));
	}
	memcpy(task->episodes + task->episodes_count, alerts, count * sizeof(*alerts));
	task->episodes_count += count;
}

static void on_alerts(void *context, const struct alert *alerts, size_t count)
{
	struct task *task = context;
	struct heap *heap = leave(task, task->incident_pane);

	task->options.sinks.alerts(task->options.sinks.context, task->options.task, alerts, count);
	memory_use(heap);
}

static void on_baselines(void *context, const struct baseline_record *records, size_t count,
			 const struct names *names)
{
	struct task *task = context;
	struct heap *heap = memory_use(NULL);

	task->options.sinks.baselines(task->options.sinks.context, task->options.task, records,
				      count, names);
	memory_use(heap);
}

/* Seldom many, so what they took is given back. */
static void send_episodes(struct task *task)
{
	hand_over(task, message_episodes(task->options.task, INCIDENTS_TASK, task->aggregate_pane,
					 task->episodes, task->episodes_count));
	memory_free(task->episodes);
	task->episodes = NULL;
	task->episodes_count = task->episodes_max = 0;
}

/* Whether other monitors are in force now. What no reader takes goes no further: whoever wrote it
 * to the topic was told (daemon/relay.c). */
static bool read_rules(struct task *task, const struct told_rules *told)
{
	bool changed = false;
	size_t at = 0;

	while (at < told->words_count) {
		size_t length = told->words[at];
		size_t words = (length + sizeof(uint64_t) - 1) / sizeof(uint64_t);
		struct rule rule;

		if (words > told->words_count - at - 1)
			break;
		if (rule_read((const uint8_t *)&told->words[at + 1], length, &rule, NULL))
			changed |= rulebook_take(task->rulebook, &rule, pane_end(told->pane));
		at += 1 + words;
	}
	return changed;
}

static void take_rules(struct task *task)
{
	size_t taken = 0, count;
	bool changed = false;

	while (taken < task->rules_count && task->rules[taken].pane <= task->aggregate_pane) {
		changed |= read_rules(task, &task->rules[taken]);
		memory_free(task->rules[taken++].words);
	}
	if (!taken)
		return;
	task->rules_count -= taken;
	memmove(task->rules, task->rules + taken, task->rules_count * sizeof(*task->rules));
	if (changed) {
		const struct monitor *monitors = rulebook_monitors(task->rulebook, &count);

		anomaly_watch(task->anomaly, monitors, count);
	}
}

static bool run_aggregate(struct task *task)
{
	if (!task->started || !inbox_full(task, MESSAGE_ROWS))
		return false;
	take_rules(task);
	for (uint32_t i = 0; i < task->options.tasks; i++) {
		struct message *message =
			inbox_take(&task->inboxes[MESSAGE_ROWS], i, task->aggregate_pane);

		aggregate_push(task->aggregate, i, message->rows);
		partial_reuse(task->partial, message->rows);
		message->rows = NULL;
		message_free(message);
	}
	aggregate_advance(task->aggregate, pane_end(task->aggregate_pane));
	if (task->aggregate_pane > task->options.known_pane)
		anomaly_advance(task->anomaly, pane_end(task->aggregate_pane));
	send_episodes(task);
	task->aggregate_pane++;
	return true;
}

static bool run_incidents(struct task *task)
{
	if (!task->incidents || !task->started || !inbox_full(task, MESSAGE_EPISODES))
		return false;
	for (uint32_t i = 0; i < task->options.tasks; i++) {
		struct message *message =
			inbox_take(&task->inboxes[MESSAGE_EPISODES], i, task->incident_pane);

		incidents_push(task->incidents, message->episodes, message->episodes_count);
		message_free(message);
	}
	if (task->incident_pane > task->options.known_pane)
		incidents_advance(task->incidents, pane_end(task->incident_pane));
	task->incident_pane++;
	return true;
}

/* --- the task --- */

static void announce_start(struct task *task)
{
	if (task->start_sent || !mirror_clock(task->mirror))
		return;
	task->start_sent = true;
	for (uint32_t i = 0; i < task->options.tasks; i++)
		hand_over(task, message_new(MESSAGE_START, task->options.task, i,
					    mirror_first_pane(task->mirror)));
}

static void receive_start(struct task *task, struct message *message)
{
	if (task->starts == 0 || message->pane < task->first_pane)
		task->first_pane = message->pane;
	message_free(message);
	if (++task->starts < task->options.tasks)
		return;
	task->mirror_pane = task->join_pane = task->aggregate_pane = task->first_pane;
	task->incident_pane = task->first_pane;
	task->started = true;
}

void task_receive(struct task *task, struct message *message)
{
	struct heap *heap = memory_use(task->options.heap);

	if (message->kind == MESSAGE_START)
		receive_start(task, message);
	else
		inbox_put(&task->inboxes[message->kind], message);
	memory_use(heap);
}

bool task_hungry(const struct task *task)
{
	uint64_t clock = mirror_clock(task->mirror);

	if (!clock)
		return true;
	if (mirror_crowded(task->mirror) && mirror_ready(task->mirror, task->mirror_pane))
		return false;
	return task->started &&
	       pane_of(clock) <=
		       task->mirror_pane + AHEAD_PANES + task->options.mirror.lateness_ns / PANE_NS;
}

void task_records(struct task *task, const struct mirror_record *records, size_t count)
{
	struct heap *heap = memory_use(task->options.heap);

	mirror_push(task->mirror, records, count);
	announce_start(task);
	memory_use(heap);
}

void task_pass_over(struct task *task, const struct mirror_record *record)
{
	struct heap *heap = memory_use(task->options.heap);

	mirror_pass_over(task->mirror, record);
	announce_start(task);
	memory_use(heap);
}

bool task_run(struct task *task)
{
	struct heap *heap = memory_use(task->options.heap);
	bool any = false;

	/* Downstream first: what is nearest to leaving is done before more comes in. */
	while (run_incidents(task) || run_aggregate(task) || run_labels(task) || run_rounds(task) ||
	       run_join(task) || run_halves(task))
		any = true;
	memory_use(heap);
	return any;
}

/* --- standing still --- */

bool task_held(const struct task *task)
{
	return task->started && !task->waits_for_labels && holds(task) && task->join_round == 0 &&
	       task->join_pane == task->mirror_pane && task->aggregate_pane == task->mirror_pane &&
	       (!task->incidents || task->incident_pane == task->mirror_pane);
}

/* What is under way while all stand: the last round's hops, which the next pane reads. */
void task_settle(struct task *task)
{
	struct inbox *hops = &task->inboxes[MESSAGE_HOPS];

	assert(task_held(task));
	partial_settle(task->partial);
	if (!task->options.heap || !inbox_full(task, MESSAGE_HOPS))
		return;
	for (uint32_t i = 0; i < task->options.tasks; i++) {
		struct message *message = inbox_take(hops, i, task->join_pane - 1);

		inbox_put(hops, message_kept(message, task->options.heap));
		message_free(message);
	}
}

void task_release(struct task *task)
{
	task->released = task->mirror_pane;
}

/* --- life --- */

/* What a stage calls: of the process, so set anew when a task is restored. */
static struct mirror_sinks mirror_sinks_of(struct task *task)
{
	return (struct mirror_sinks){task,	    on_halves,	  on_deltas,	on_amendments,
				     on_lanes_hold, on_lane_drop, on_deadletter};
}

static struct join_sinks join_sinks_of(struct task *task)
{
	return (struct join_sinks){task, on_labels, on_hops, on_flows,
				   task->options.networks ? on_network : NULL};
}

static struct aggregate_sinks aggregate_sinks_of(struct task *task)
{
	return (struct aggregate_sinks){task, on_rollups};
}

static struct anomaly_sinks anomaly_sinks_of(struct task *task)
{
	return (struct anomaly_sinks){task, on_episodes, on_baselines};
}

static struct incident_sinks incident_sinks_of(struct task *task)
{
	return (struct incident_sinks){task, on_alerts};
}

static void make_stages(struct task *task)
{
	const struct task_options *options = &task->options;
	uint32_t tasks = options->tasks;
	struct mirror_options mirror = options->mirror;
	struct join_options join = options->join;
	struct aggregate_options aggregate = options->aggregate;
	struct anomaly_options anomaly = options->anomaly;

	task->census = census_new(options->facts_max);

	mirror.seed = join.seed = aggregate.seed = options->seed;
	mirror.source = options->task;
	mirror.join_tasks = tasks;
	mirror.destinations = 2 * tasks; /* join tasks, then aggregate tasks */
	mirror.sinks = mirror_sinks_of(task);
	mirror.census = task->census;
	task->mirror = mirror_new(&mirror);

	join.task = options->task;
	join.tasks = tasks;
	join.sources = tasks;
	join.sinks = join_sinks_of(task);
	join.census = task->census;
	task->join = join_new(&join);
	task->join_names = names_new(mirror.names_max, 2 * tasks);
	names_seed(task->join_names, options->seed);

	task->partial = partial_new(&(struct partial_options){.owners = tasks,
							      .lanes_max = options->lanes_max,
							      .names = mirror_names(task->mirror),
							      .roster = mirror_roster(task->mirror),
							      .names_offset = tasks});

	aggregate.sources = tasks;
	aggregate.sinks = aggregate_sinks_of(task);
	task->aggregate = aggregate_new(&aggregate);

	task->rulebook = rulebook_new(anomaly.monitors, anomaly.monitors_count, options->rules_max);

	anomaly.sinks = anomaly_sinks_of(task);
	task->anomaly = anomaly_new(&anomaly);
	if (options->task == INCIDENTS_TASK)
		task->incidents = incidents_new(
			&(struct incident_options){.update_ns = anomaly.update_ns,
						   .reopen_ns = options->reopen_ns,
						   .episodes_max = anomaly.episodes_max,
						   .sinks = incident_sinks_of(task)});
}

struct task *task_new(const struct task_options *options)
{
	struct heap *heap = memory_use(options->heap);
	struct task *task = memory_zeroed(1, sizeof(*task));
	uint32_t tasks = options->tasks;

	task->options = *options;
	task->outgoing = memory_zeroed(tasks, sizeof(struct message *));
	task->outgoing_hops = memory_zeroed(tasks, sizeof(struct message *));
	task->labels = memory_zeroed(tasks, sizeof(*task->labels));
	for (int kind = 0; kind < MESSAGE_KINDS; kind++)
		task->inboxes[kind].queues = memory_zeroed(tasks, sizeof(struct queue));
	make_stages(task);
	if (options->heap)
		heap_set_root(options->heap, task);
	memory_use(heap);
	return task;
}

/* What another instance, that stood no more, had sent of the pane at hand: it sends it again, and
 * the memory was the process's. */
static void forget_ahead(struct task *task)
{
	for (int kind = 0; kind < MESSAGE_KINDS; kind++) {
		struct inbox *inbox = &task->inboxes[kind];

		if (kind == MESSAGE_HOPS)
			continue;
		memset(inbox->queues, 0, task->options.tasks * sizeof(*inbox->queues));
		inbox->filled = 0;
	}
}

struct task *task_restore(const struct task_options *options)
{
	struct heap *heap = memory_use(options->heap);
	struct task *task = heap_root(options->heap);
	struct mirror_sinks mirror = mirror_sinks_of(task);
	struct join_sinks join = join_sinks_of(task);
	struct aggregate_sinks aggregate = aggregate_sinks_of(task);
	struct anomaly_sinks anomaly = anomaly_sinks_of(task);
	struct incident_sinks incidents = incident_sinks_of(task);

	assert(task->options.tasks == options->tasks && task->options.task == options->task);
	task->options = *options;
	forget_ahead(task);
	mirror_bind(task->mirror, &mirror, options->mirror.keys);
	join_bind(task->join, &join);
	aggregate_bind(task->aggregate, &aggregate);
	anomaly_bind(task->anomaly, &anomaly);
	if (task->incidents)
		incidents_bind(task->incidents, &incidents);
	memory_use(heap);
	return task;
}

static void inbox_done(struct inbox *inbox, uint32_t tasks)
{
	for (uint32_t i = 0; i < tasks; i++) {
		struct message *message = inbox->queues[i].oldest;

		while (message) {
			struct message *next = (struct message *)message->letter.next;

			message_free(message);
			message = next;
		}
	}
	memory_free(inbox->queues);
}

static void free_labels(struct labels *labels)
{
	memory_free(labels->items);
	memory_free(labels->instances);
}

void task_free(struct task *task)
{
	struct heap *heap = memory_use(task->options.heap);

	for (int kind = 0; kind < MESSAGE_KINDS; kind++)
		inbox_done(&task->inboxes[kind], task->options.tasks);
	incidents_free(task->incidents);
	anomaly_free(task->anomaly);
	aggregate_free(task->aggregate);
	partial_free(task->partial);
	join_free(task->join);
	names_free(task->join_names);
	mirror_free(task->mirror);
	census_free(task->census);
	rulebook_free(task->rulebook);
	for (size_t i = 0; i < task->rules_count; i++)
		memory_free(task->rules[i].words);
	memory_free(task->rules);
	memory_free(task->outgoing);
	memory_free(task->outgoing_hops);
	for (uint32_t i = 0; i < task->options.tasks; i++)
		free_labels(&task->labels[i]);
	memory_free(task->labels);
	memory_free(task->due);
	memory_free(task->episodes);
	memory_free(task);
	memory_use(heap);
}

void task_load(struct task *task, const struct baseline_record *records, size_t count)
{
	struct heap *heap = memory_use(task->options.heap);

	anomaly_load(task->anomaly, records, count, pane_end(task->options.known_pane));
	memory_use(heap);
}

size_t task_resume(struct task *task, const struct alert *alerts, size_t count)
{
	struct heap *heap = memory_use(task->options.heap);
	size_t resumed = anomaly_resume(task->anomaly, alerts, count);

	memory_use(heap);
	return resumed;
}

bool task_resume_incident(struct task *task, const struct alert *alert)
{
	struct heap *heap = memory_use(task->options.heap);
	bool resumed = incidents_resume(task->incidents, alert);

	memory_use(heap);
	return resumed;
}

struct mirror *task_mirror(struct task *task)
{
	return task->mirror;
}

uint64_t task_pane(const struct task *task)
{
	return task->started ? task->aggregate_pane : 0;
}

struct task_stats task_stats(const struct task *task)
{
	return (struct task_stats){
		.pane = task->started && task->aggregate_pane > task->first_pane
				? task->aggregate_pane - 1
				: 0,
		.clock_ns = mirror_clock(task->mirror),
		.mirror = mirror_stats(task->mirror),
		.census = census_stats(task->census),
		.join = join_stats(task->join),
		.partial = partial_stats(task->partial),
		.aggregate = aggregate_stats(task->aggregate),
		.anomaly = anomaly_stats(task->anomaly),
		.incidents = task->incidents ? incidents_stats(task->incidents)
					     : (struct incident_stats){0},
	};
}
