/* Join tasks tied together as daemon/ does it, and what came out of them: each half's last label,
 * each flow's last record. Everything by value and small: for tests only. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/name.h"
#include "join/join.h"

enum { RIG_TASKS_MAX = 16, RIG_INDEXES = 8192, RIG_INSTANCES = 256, RIG_ROUNDS = 1 + HOPS_MAX };

struct rig_events {
	struct half_open *opens;
	struct half_close *closes;
	struct nat_alias *aliases;
	struct instance *instances;
	struct hearing *hearings;
	size_t opens_count, closes_count, aliases_count, instances_count, hearings_count;
};

/* A label with what its ids stand for. */
struct rig_label {
	struct half_ref half;
	uint32_t number, join_task;
	enum side side, counts_from;
	uint32_t counts_since;
	bool joined, final;
	struct edge edge;
	struct instance client, server;
};

struct rig {
	uint32_t tasks;
	uint64_t pane, rounds;
	bool nonsense; /* events that no agent sends: one half under several keys, ids that meet */
	struct join *joins[RIG_TASKS_MAX];
	struct rig_events pushed[RIG_TASKS_MAX];   /* for the next pane, by task */
	struct rig_events hopped[RIG_TASKS_MAX];   /* the same, from other tasks */
	struct rig_events lent[2 * RIG_TASKS_MAX]; /* to the joins, until they have advanced */
	size_t lent_count;
	struct instance told[RIG_INSTANCES]; /* what an ingest task knows by now */
	size_t told_count;
	struct rig_label labels[RIG_INDEXES]; /* by half index; source 0 in all tests */
	uint32_t labels_seen[RIG_INDEXES];    /* panes with a label */
	struct flow *flows;		      /* latest of each id, in order of first record */
	size_t flows_count, flow_records, label_calls;
	uint64_t labelled_in_round[RIG_INDEXES], labelled_in_pane[RIG_INDEXES];
	uint64_t opened_in_pane[RIG_INDEXES];
};

#define RIG_APPEND(events, noun, item)                                                    \
	do {                                                                              \
		struct rig_events *e_ = (events);                                         \
		e_->noun = realloc(e_->noun, (e_->noun##_count + 1) * sizeof(*e_->noun)); \
		e_->noun[e_->noun##_count++] = (item);                                    \
	} while (0)

static inline const struct instance *rig_told(const struct rig *rig, uint64_t id)
{
	for (size_t i = 0; i < rig->told_count; i++)
		if (rig->told[i].id == id)
			return &rig->told[i];
	return NULL;
}

static inline void rig_tell(struct rig *rig, const struct instance *instance)
{
	if (rig_told(rig, instance->id))
		return;
	assert_true(rig->told_count < RIG_INSTANCES);
	rig->told[rig->told_count++] = *instance;
}

static inline struct rig_label rig_label_of(const struct rig *rig, const struct label *label)
{
	const struct instance *client = rig_told(rig, label->client),
			      *server = rig_told(rig, label->server);
	assert_true(client && server); /* descriptors come with or before the label */
	struct rig_label known = {
		.half = label->half,
		.number = label->number,
		.join_task = label->join_task,
		.side = label->side,
		.counts_from = label->counts_from,
		.counts_since = label->counts_since,
		.joined = label->joined,
		.final = label->final,
		.edge = {.client = client->workload,
			 .server = server->workload,
			 .port = label->port,
			 .protocol = label->protocol},
		.client = *client,
		.server = *server,
	};
	known.edge.id = edge_id(&known.edge);
	return known;
}

static inline void rig_labels(void *context, uint32_t source, const struct label *labels,
			      size_t count, const struct instance *instances,
			      size_t instances_count)
{
	struct rig *rig = context;
	rig->label_calls++;
	for (size_t i = 0; i < instances_count; i++)
		rig_tell(rig, &instances[i]);
	for (size_t i = 0; i < count; i++) {
		uint32_t index = labels[i].half.index;
		assert_int_equal(labels[i].half.source, source);
		assert_true(index < RIG_INDEXES);
		assert_true(labels[i].number != 0 && labels[i].join_task < rig->tasks);
		assert_true(rig->nonsense || rig->labelled_in_round[index] != rig->rounds);
		rig->labelled_in_round[index] = rig->rounds;
		rig->labels_seen[index] += rig->labelled_in_pane[index] != rig->pane;
		rig->labelled_in_pane[index] = rig->pane;
		rig->labels[index] = rig_label_of(rig, &labels[i]);
	}
}

static inline void rig_flows(void *context, const struct flow *flows, size_t count)
{
	struct rig *rig = context;
	for (size_t i = 0; i < count; i++) {
		size_t at = 0;
		while (at < rig->flows_count && rig->flows[at].id != flows[i].id)
			at++;
		assert_true(rig->nonsense || flows[i].amended == (at < rig->flows_count));
		if (at == rig->flows_count)
			rig->flows = realloc(rig->flows, ++rig->flows_count * sizeof(*rig->flows));
		rig->flows[at] = flows[i];
		rig->flow_records++;
	}
}

static inline void rig_hops(void *context, uint32_t task, const struct half_bucket *bucket)
{
	struct rig *rig = context;
	for (size_t i = 0; i < bucket->opens_count; i++)
		RIG_APPEND(&rig->hopped[task], opens, bucket->opens[i]);
	for (size_t i = 0; i < bucket->closes_count; i++)
		RIG_APPEND(&rig->hopped[task], closes, bucket->closes[i]);
	for (size_t i = 0; i < bucket->instances_count; i++)
		RIG_APPEND(&rig->hopped[task], instances, bucket->instances[i]);
}

static inline struct rig *rig_new_of(uint32_t tasks, uint32_t halves_max, uint32_t aliases_max,
				     const struct census *census)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	rig->tasks = tasks;
	rig->pane = 4000;
	for (uint32_t task = 0; task < tasks; task++) {
		const struct join_options options = {
			.tasks = tasks,
			.task = task,
			.sources = 1,
			.halves_max = halves_max,
			.aliases_max = aliases_max,
			.instances_max = 1024,
			.census = census,
			.one_sided_ns = 2 * NS_PER_S,
			.keep_ns = 120 * NS_PER_S,
			.sinks = {rig, rig_labels, rig_hops, rig_flows},
		};
		rig->joins[task] = join_new(&options);
	}
	return rig;
}

static inline struct rig *rig_new_with(uint32_t tasks, uint32_t halves_max, uint32_t aliases_max)
{
	return rig_new_of(tasks, halves_max, aliases_max, NULL);
}

static inline struct rig *rig_new(void)
{
	return rig_new_with(4, 4096, 1024);
}

static inline void rig_events_clear(struct rig_events *events)
{
	free(events->opens);
	free(events->closes);
	free(events->aliases);
	free(events->instances);
	free(events->hearings);
	*events = (struct rig_events){0};
}

static inline void rig_free(struct rig *rig)
{
	for (uint32_t task = 0; task < rig->tasks; task++) {
		join_free(rig->joins[task]);
		rig_events_clear(&rig->pushed[task]);
		rig_events_clear(&rig->hopped[task]);
	}
	free(rig->flows);
	free(rig);
}

static inline struct rig_events *rig_owner(struct rig *rig, const struct tuple *key)
{
	return &rig->pushed[hash_owner(tuple_hash(key), rig->tasks)];
}

/* Where ingest sends news of the half, and the number that it gives. */
static inline struct rig_events *rig_home(struct rig *rig, const struct half_open *open,
					  uint32_t *number)
{
	const struct half_ref *ref = half_known(open);
	const struct rig_label *label = &rig->labels[ref->index];
	bool labelled = rig->labels_seen[ref->index] &&
			memcmp(&label->half, ref, sizeof(*ref)) == 0 &&
			rig->opened_in_pane[ref->index] != rig->pane;
	*number = labelled ? label->number : 0;
	return labelled ? &rig->pushed[label->join_task] : rig_owner(rig, &open->key);
}

/* The workloads that tests speak of. */
static struct instance rig_workloads[RIG_INSTANCES];
static size_t rig_workloads_count;

static inline void rig_open(struct rig *rig, struct half_open open)
{
	struct rig_events *events = rig_owner(rig, &open.key);
	if (open.flags & HALF_AGAIN)
		events = rig_home(rig, &open, &open.number);
	else
		rig->opened_in_pane[open.ref.index] = rig->pane;
	for (size_t i = 0; i < rig_workloads_count; i++) {
		if (rig_workloads[i].id != open.self)
			continue;
		rig_tell(rig, &rig_workloads[i]);
		RIG_APPEND(events, instances, rig_workloads[i]);
	}
	RIG_APPEND(events, opens, open);
}

/* The half has another place; returns it as it is from the next pane on. */
static inline struct half_open rig_move(struct rig *rig, const struct half_open *open,
					uint32_t index)
{
	struct half_open moved = *open;
	moved.former = open->ref;
	moved.ref.index = index;
	moved.flags |= HALF_AGAIN | HALF_MOVED;
	rig_open(rig, moved);
	rig->labels[index] = rig->labels[open->ref.index];
	rig->labels[index].half = moved.ref;
	rig->labels_seen[index] = rig->labels_seen[open->ref.index];
	moved.flags = open->flags;
	return moved;
}

static inline void rig_close_with(struct rig *rig, const struct half_open *open,
				  struct half_close close)
{
	struct rig_events *events = rig_home(rig, open, &close.number);
	RIG_APPEND(events, closes, close);
}

static inline void rig_alias_with(struct rig *rig, struct nat_alias alias)
{
	struct rig_events *from = rig_owner(rig, &alias.from), *to = rig_owner(rig, &alias.to);
	RIG_APPEND(from, aliases, alias);
	if (to != from)
		RIG_APPEND(to, aliases, alias);
}

static inline void rig_push(struct rig *rig, uint32_t task, struct rig_events *events)
{
	const struct half_bucket bucket = {.opens = events->opens,
					   .closes = events->closes,
					   .aliases = events->aliases,
					   .instances = events->instances,
					   .hearings = events->hearings,
					   .hearings_count = events->hearings_count,
					   .instances_count = events->instances_count,
					   .opens_count = events->opens_count,
					   .closes_count = events->closes_count,
					   .aliases_count = events->aliases_count};
	join_push(rig->joins[task], &bucket);
	rig->lent[rig->lent_count++] = *events;
	*events = (struct rig_events){0};
}

static inline bool rig_unfinished(const struct rig *rig)
{
	bool unfinished = false;
	for (uint32_t task = 0; task < rig->tasks; task++)
		unfinished |= join_unfinished(rig->joins[task]);
	return unfinished;
}

static inline void rig_advance_to(struct rig *rig, uint64_t now_ns)
{
	for (uint32_t task = 0; task < rig->tasks; task++)
		rig_push(rig, task, &rig->hopped[task]);
	for (int round = 0; round == 0 || (round < RIG_ROUNDS && rig_unfinished(rig)); round++) {
		rig->rounds++;
		for (uint32_t task = 0; task < rig->tasks; task++)
			rig_push(rig, task, round ? &rig->hopped[task] : &rig->pushed[task]);
		for (uint32_t task = 0; task < rig->tasks; task++)
			join_advance(rig->joins[task], now_ns);
		while (rig->lent_count)
			rig_events_clear(&rig->lent[--rig->lent_count]);
	}
}

static inline void rig_pane(struct rig *rig)
{
	rig_advance_to(rig, pane_end(rig->pane));
	rig->pane++;
}

static inline void rig_panes(struct rig *rig, uint64_t count)
{
	while (count--)
		rig_pane(rig);
}

static inline void rig_seconds(struct rig *rig, uint64_t seconds)
{
	rig_panes(rig, seconds * PANES_PER_S);
}

/* Now, as a time within the pane that the next rig_pane() closes. */
static inline uint64_t rig_now(const struct rig *rig)
{
	return rig->pane * PANE_NS;
}

static inline struct join_stats rig_stats(const struct rig *rig)
{
	struct join_stats sum = {0};
	for (uint32_t task = 0; task < rig->tasks; task++) {
		struct join_stats stats = join_stats(rig->joins[task]);
		for (size_t i = 0; i < sizeof(sum) / sizeof(uint64_t); i++)
			((uint64_t *)&sum)[i] += ((uint64_t *)&stats)[i];
	}
	return sum;
}

/* "10.0.0.1", 40000, ... */
static inline struct tuple tuple_of(const char *client, uint16_t client_port, const char *server,
				    uint16_t server_port)
{
	struct tuple tuple = {
		.client_port = client_port, .server_port = server_port, .protocol = PROTOCOL_TCP};
	assert_int_equal(address_parse(client, &tuple.client), 0);
	assert_int_equal(address_parse(server, &tuple.server), 0);
	return tuple;
}

static inline struct tuple tuple_back(struct tuple tuple)
{
	struct tuple back = tuple;
	back.client = tuple.server;
	back.server = tuple.client;
	back.client_port = tuple.server_port;
	back.server_port = tuple.client_port;
	return back;
}

static inline struct instance workload(const char *name)
{
	struct instance instance = {.workload = name_id(name, strlen(name)),
				    .node = name_id(name, 1),
				    .resolution = RESOLUTION_WORKLOAD};
	instance.id = instance_id(&instance);
	return instance;
}

static inline uint64_t workload_id(const char *name)
{
	struct instance instance = workload(name);
	for (size_t i = 0; i < rig_workloads_count; i++)
		if (rig_workloads[i].id == instance.id)
			return instance.id;
	assert_true(rig_workloads_count < RIG_INSTANCES);
	rig_workloads[rig_workloads_count++] = instance;
	return instance.id;
}

/* A half of workload "client" or "server" whose own view is its key; index names it in assertions.
 */
static inline struct half_open half_of(uint32_t index, enum side side, struct tuple key,
				       uint64_t opened_ns)
{
	return (struct half_open){
		.ref = {.index = index, .generation = 1},
		.side = side,
		.key = key,
		.seen = key,
		.opened_ns = opened_ns,
		.connect_us = side == SIDE_CLIENT ? 300 : 0,
		.pid = index,
		.self = workload_id(side == SIDE_CLIENT ? "client" : "server"),
	};
}

static inline struct half_close close_of(const struct half_open *open, uint64_t time_ns)
{
	return (struct half_close){
		.ref = open->ref,
		.reason = CLOSE_NORMAL,
		.pid = open->pid,
		.time_ns = time_ns,
		.total = {.tx_bytes = 1000 + open->ref.index, .rx_bytes = 2000},
	};
}

static inline void rig_close(struct rig *rig, const struct half_open *open, uint64_t time_ns)
{
	rig_close_with(rig, open, close_of(open, time_ns));
}

static inline struct nat_alias alias_of(struct tuple from, struct tuple to, uint64_t time_ns)
{
	return (struct nat_alias){
		.from = from, .to = to, .time_ns = time_ns, .node = 7, .op = NAT_ADD};
}

/* The only flow, joined of halves 1 (client) and 2 (server). */
static inline const struct flow *rig_joined_flow(const struct rig *rig)
{
	assert_int_equal(rig->flows_count, 1);
	assert_true(rig->flows[0].joined);
	assert_int_equal(rig->flows[0].client.pid, 1);
	assert_int_equal(rig->flows[0].server.pid, 2);
	return &rig->flows[0];
}

static inline void assert_labels_joined(const struct rig *rig)
{
	for (int index = 1; index <= 2; index++) {
		assert_true(rig->labels[index].joined);
		assert_true(rig->labels[index].final);
		assert_int_equal(rig->labels[index].edge.client, name_id("client", 6));
		assert_int_equal(rig->labels[index].edge.server, name_id("server", 6));
		assert_int_equal(rig->labels[index].counts_from, SIDE_CLIENT);
	}
	assert_int_equal(rig->labels[1].side, SIDE_CLIENT);
	assert_int_equal(rig->labels[2].side, SIDE_SERVER);
	assert_int_equal(rig->labels[1].edge.id, rig->labels[2].edge.id);
}
