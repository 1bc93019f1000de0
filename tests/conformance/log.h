/* What agents would have told: sockets, NAT, processes and containers of some nodes, put down at
 * true times and sealed into the records that their agents would have sent, a batch each 100 ms.
 * Tests may then shift, lose, repeat or change the records. Places are text ("10.0.0.1:80",
 * "[fd00::1]:80"), times are ns since LOG_START_NS. Unbounded, one thread: for tests only. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/batch/batch.h"
#include "base/address.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/tuple.h"
#include "daemon/encode.h"
#include "millrace/v1/metadata.pb-c.h"

/* The start of a 10 s window. */
#define LOG_START_NS (1700000000ULL * NS_PER_S)
#define MS(n)	     ((uint64_t)(n)*NS_PER_MS)
#define SEC(n)	     ((uint64_t)(n)*NS_PER_S)

enum {
	LOG_NODES_MAX = 48,
	LOG_PID = 100, /* of the process that each node has from its beginning */
	LOG_FLUSH_S =
		34, /* of ticks behind the last event: ends all waits and windows up to 10 s */
};

struct log_node {
	char name[32], zone[32], comm[16];
	uint32_t partition;
	uint64_t from_ns, to_ns; /* its agent's first batch; none from to_ns on (0: to the end) */
	uint64_t delay_ns;	 /* from sealing to the log; 5 ms if not set */
	int64_t skew_ns;	 /* its wall clock less the true time */
	uint32_t slots;
};

enum log_kind {
	LOG_PROCESS,
	LOG_CONTAINER,
	LOG_NAT,
	LOG_DEFINE,
	LOG_UPDATE,
	LOG_CLOSE,
	LOG_EXIT,
	LOG_LOOKUP,
	LOG_NAME,
	LOG_DROP,
	LOG_LISTENER,
	LOG_RESTART, /* the agent begins anew; open = it says so before it forgets the batch */
	LOG_REBOOT,
	LOG_STEP, /* the wall clock jumps by skew_ns */
};

struct log_event {
	enum log_kind kind;
	uint32_t node;
	uint64_t at_ns;	  /* when it happened */
	uint64_t told_ns; /* when its agent puts it into a batch */
	size_t number;	  /* keeps the order of equal times */
	union {
		struct batch_process process;
		struct batch_container container;
		struct batch_nat nat;
		struct batch_definition definition;
		struct batch_update update;
		struct batch_close close;
		struct batch_exit exit;
		struct batch_dns lookup;
		struct batch_sni name;
		struct batch_drop drop;
		struct batch_listener listener;
		int64_t skew_ns;
	};
};

struct log_socket {
	uint32_t node;
	bool closed;
	uint64_t opened_ns, closed_ns;
	struct batch_definition definition; /* as last told */
	struct traffic total;
};

struct log_record {
	uint8_t *bytes;
	size_t length;
	uint32_t node, partition, events;
	uint64_t append_ns; /* absolute */
	size_t number;
};

/* A record of metadata, told to one partition and again each 45 s. */
struct log_told {
	uint64_t at_ns;
	uint32_t partition;
	uint8_t *bytes;
	size_t length;
};

struct log {
	uint32_t partitions;
	struct log_told *tolds;
	size_t tolds_count, tolds_max;
	struct log_node nodes[LOG_NODES_MAX];
	uint32_t nodes_count;
	struct log_event *events;
	size_t events_count, events_max;
	struct log_socket *sockets;
	size_t sockets_count, sockets_max;
	struct log_record *records;
	size_t records_count, records_max;
	uint64_t random;
	uint64_t end_ns; /* of the last event told */
	uint64_t flush_ns;
};

#define LOG_GROW(owner, items)                                                                  \
	do {                                                                                    \
		if ((owner)->items##_count == (owner)->items##_max) {                           \
			(owner)->items##_max =                                                  \
				memory_grown((owner)->items##_max, (owner)->items##_count + 1); \
			(owner)->items = memory_resize((owner)->items, (owner)->items##_max,    \
						       sizeof(*(owner)->items));                \
		}                                                                               \
	} while (0)

static inline struct log *log_new(uint32_t partitions)
{
	struct log *log = memory_zeroed(1, sizeof(*log));

	log->partitions = partitions;
	log->random = 88172645463325252ULL;
	log->flush_ns = SEC(LOG_FLUSH_S);
	return log;
}

static inline void log_free_records(struct log *log)
{
	for (size_t i = 0; i < log->records_count; i++)
		free(log->records[i].bytes);
	log->records_count = 0;
}

static inline void log_free(struct log *log)
{
	log_free_records(log);
	for (size_t i = 0; i < log->tolds_count; i++)
		free(log->tolds[i].bytes);
	free(log->tolds);
	free(log->records);
	free(log->events);
	free(log->sockets);
	free(log);
}

static inline uint64_t log_random(struct log *log)
{
	log->random ^= log->random << 13;
	log->random ^= log->random >> 7;
	log->random ^= log->random << 17;
	return log->random;
}

/* --- places --- */

struct endpoint {
	struct address address;
	uint16_t port;
};

static inline struct endpoint place(const char *text)
{
	char host[64];
	const char *colon = strrchr(text, ':');
	bool bracketed = text[0] == '[';
	struct endpoint place;

	assert_non_null(colon);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text) - 2 * bracketed, text + bracketed);
	if (address_parse(host, &place.address))
		fail_msg("no place: %s", text);
	place.port = (uint16_t)strtoul(colon + 1, NULL, 10);
	return place;
}

static inline const char *place_text(const struct address *address, uint16_t port)
{
	static char texts[8][64];
	static unsigned next;
	char host[ADDRESS_TEXT_MAX];
	char *text = texts[next++ % 8];

	address_format(address, host);
	snprintf(text, sizeof(texts[0]), strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
	return text;
}

/* --- what is told --- */

static inline struct log_event *log_event(struct log *log, enum log_kind kind, uint32_t node,
					  uint64_t at_ns)
{
	LOG_GROW(log, events);
	struct log_event *event = &log->events[log->events_count];

	assert_true(node < log->nodes_count);
	*event = (struct log_event){.kind = kind,
				    .node = node,
				    .at_ns = at_ns,
				    .told_ns = at_ns,
				    .number = log->events_count++};
	if (at_ns > log->end_ns)
		log->end_ns = at_ns;
	return event;
}

/* The last event is known to its agent so much later only. */
static inline void log_tell_later(struct log *log, uint64_t delay_ns)
{
	struct log_event *event = &log->events[log->events_count - 1];

	event->told_ns += delay_ns;
	if (event->told_ns > log->end_ns)
		log->end_ns = event->told_ns;
}

/* comm: lent for the life of the log. */
static inline void log_process(struct log *log, uint64_t at_ns, uint32_t node, uint32_t pid,
			       const char *comm, uint64_t cgroup)
{
	log_event(log, LOG_PROCESS, node, at_ns)->process =
		(struct batch_process){.pid = pid,
				       .parent = 1,
				       .started_ns = 1000 + at_ns,
				       .cgroup = cgroup,
				       .comm = comm,
				       .exe = comm,
				       .cmdline = comm};
}

static inline void log_container(struct log *log, uint64_t at_ns, uint32_t node,
				 const struct batch_container *container)
{
	log_event(log, LOG_CONTAINER, node, at_ns)->container = *container;
}

/* A node with an agent; its process LOG_PID is called comm, which is the workload of its sockets.
 */
static inline uint32_t log_node(struct log *log, const char *name, const char *comm)
{
	uint32_t number = log->nodes_count++;
	struct log_node *node = &log->nodes[number];

	assert_true(number < LOG_NODES_MAX);
	*node = (struct log_node){.partition = number % log->partitions, .delay_ns = MS(5)};
	snprintf(node->name, sizeof(node->name), "%s", name);
	snprintf(node->comm, sizeof(node->comm), "%s", comm);
	log_process(log, 0, number, LOG_PID, node->comm, 0);
	return number;
}

static inline void log_nat_event(struct log *log, uint64_t at_ns, uint32_t node,
				 const char *original_from, const char *original_to,
				 const char *reply_from, const char *reply_to, bool ended)
{
	struct endpoint from = place(original_from), to = place(original_to);
	struct endpoint back_from = place(reply_from), back_to = place(reply_to);

	log_event(log, LOG_NAT, node, at_ns)->nat =
		(struct batch_nat){.protocol = PROTOCOL_TCP,
				   .ended = ended,
				   .original_source = from.address,
				   .original_destination = to.address,
				   .reply_source = back_from.address,
				   .reply_destination = back_to.address,
				   .original_source_port = from.port,
				   .original_destination_port = to.port,
				   .reply_source_port = back_from.port,
				   .reply_destination_port = back_to.port};
}

/* As conntrack prints it: the original source and destination, then the reply's. */
static inline void log_nat(struct log *log, uint64_t at_ns, uint32_t node, const char *from,
			   const char *to, const char *reply_from, const char *reply_to)
{
	log_nat_event(log, at_ns, node, from, to, reply_from, reply_to, false);
}

static inline uint32_t log_take_slot(struct log *log, uint32_t node, uint64_t at_ns,
				     uint32_t *generation)
{
	/* A slot is free from the batch after its close on; the oldest closed one goes first. */
	for (size_t i = 0; i < log->sockets_count; i++) {
		struct log_socket *socket = &log->sockets[i];

		if (socket->node != node || !socket->closed ||
		    socket->closed_ns / MS(100) >= at_ns / MS(100) ||
		    socket->definition.slot == UINT32_MAX)
			continue;
		uint32_t slot = socket->definition.slot;
		*generation = socket->definition.generation + 1;
		socket->definition.slot = UINT32_MAX;
		return slot;
	}
	*generation = 1;
	return log->nodes[node].slots++;
}

static inline uint32_t log_define(struct log *log, uint64_t at_ns, uint32_t node,
				  const struct batch_definition *definition)
{
	LOG_GROW(log, sockets);
	uint32_t number = (uint32_t)log->sockets_count;
	struct batch_definition told = *definition;

	told.slot = log_take_slot(log, node, at_ns, &told.generation);
	if (!told.pid)
		told.pid = LOG_PID;
	if (!told.protocol)
		told.protocol = PROTOCOL_TCP;
	log->sockets[log->sockets_count++] = (struct log_socket){.node = node,
								 .opened_ns = at_ns - told.age_ns,
								 .definition = told,
								 .total = told.total};
	log_event(log, LOG_DEFINE, node, at_ns)->definition = told;
	return number;
}

static inline uint32_t log_open_as(struct log *log, uint64_t at_ns, uint32_t node,
				   enum batch_role role, const char *local, const char *remote,
				   uint32_t pid)
{
	struct endpoint here = place(local), there = place(remote);
	bool client = role == BATCH_ROLE_CLIENT;

	return log_define(log, at_ns, node,
			  &(struct batch_definition){.role = (uint8_t)role,
						     .local = here.address,
						     .remote = there.address,
						     .local_port = here.port,
						     .remote_port = there.port,
						     .pid = pid,
						     .age_ns = 200 * NS_PER_US,
						     .connect_ns = client ? 200 * NS_PER_US : 0});
}

/* A socket that connected, as its node sees it. */
static inline uint32_t log_connect(struct log *log, uint64_t at_ns, uint32_t node,
				   const char *local, const char *remote)
{
	return log_open_as(log, at_ns, node, BATCH_ROLE_CLIENT, local, remote, LOG_PID);
}

/* A socket that accepted; remote is the client as this node sees it. */
static inline uint32_t log_accept(struct log *log, uint64_t at_ns, uint32_t node, const char *local,
				  const char *remote)
{
	return log_open_as(log, at_ns, node, BATCH_ROLE_SERVER, local, remote, LOG_PID);
}

static inline void log_send(struct log *log, uint64_t at_ns, uint32_t number, uint64_t tx,
			    uint64_t rx)
{
	struct log_socket *socket = &log->sockets[number];
	struct traffic moved = {
		.tx_bytes = tx, .rx_bytes = rx, .tx_segments = tx != 0, .rx_segments = rx != 0};

	socket->total.tx_bytes += moved.tx_bytes;
	socket->total.rx_bytes += moved.rx_bytes;
	socket->total.tx_segments += moved.tx_segments;
	socket->total.rx_segments += moved.rx_segments;
	log_event(log, LOG_UPDATE, socket->node, at_ns)->update =
		(struct batch_update){.slot = socket->definition.slot, .moved = moved};
}

static inline void log_rtt(struct log *log, uint64_t at_ns, uint32_t number, uint32_t srtt_us)
{
	struct log_socket *socket = &log->sockets[number];

	log_event(log, LOG_UPDATE, socket->node, at_ns)->update =
		(struct batch_update){.slot = socket->definition.slot, .srtt_us = srtt_us};
}

/* What was sent without any update: the next absolute tells it. */
static inline void log_send_untold(struct log *log, uint32_t number, uint64_t tx, uint64_t rx)
{
	log->sockets[number].total.tx_bytes += tx;
	log->sockets[number].total.rx_bytes += rx;
}

static inline void log_again_flagged(struct log *log, uint64_t at_ns, uint32_t number,
				     uint32_t flags)
{
	struct log_socket *socket = &log->sockets[number];
	struct batch_definition again = socket->definition;

	again.flags |= flags;
	again.age_ns = at_ns - socket->opened_ns;
	again.total = socket->total;
	log_event(log, LOG_DEFINE, socket->node, at_ns)->definition = again;
}

/* A key frame: the socket is defined again with its absolute counters. Not in a batch with an
 * update of it: readers apply definitions first. */
static inline void log_again(struct log *log, uint64_t at_ns, uint32_t number)
{
	log_again_flagged(log, at_ns, number, BATCH_AGAIN);
}

static inline void log_close(struct log *log, uint64_t at_ns, uint32_t number, uint32_t reason)
{
	struct log_socket *socket = &log->sockets[number];

	socket->closed = true;
	socket->closed_ns = at_ns;
	log_event(log, LOG_CLOSE, socket->node, at_ns)->close =
		(struct batch_close){.slot = socket->definition.slot,
				     .reason = reason,
				     .total = socket->total,
				     .min_rtt_us = 90};
}

/* Both ends of a connection tell of the same bytes. */
static inline void log_exchange(struct log *log, uint64_t at_ns, uint32_t client, uint32_t server,
				uint64_t tx, uint64_t rx)
{
	log_send(log, at_ns, client, tx, rx);
	log_send(log, at_ns, server, rx, tx);
}

static inline void log_close_both(struct log *log, uint64_t at_ns, uint32_t client, uint32_t server)
{
	log_close(log, at_ns, client, CLOSE_NORMAL);
	log_close(log, at_ns, server, CLOSE_NORMAL);
}

/* The agent of a node starts again: its next batches have a new epoch and slots of their own.
 * Events of the batch at hand are sent before. */
static inline void log_restart(struct log *log, uint64_t at_ns, uint32_t node)
{
	log_event(log, LOG_RESTART, node, at_ns);
	log->nodes[node].slots = 0;
	for (size_t i = 0; i < log->sockets_count; i++)
		if (log->sockets[i].node == node && log->sockets[i].closed)
			log->sockets[i].definition.slot = UINT32_MAX;
}

/* The agent that started again tells of a socket that was there before it. */
static inline void log_existed(struct log *log, uint64_t at_ns, uint32_t number)
{
	struct log_socket *socket = &log->sockets[number];
	struct batch_definition *told = &socket->definition;

	told->slot = log_take_slot(log, socket->node, at_ns, &told->generation);
	told->flags |= BATCH_EXISTED;
	told->age_ns = told->connect_ns = 0;
	told->total = socket->total;
	log_event(log, LOG_DEFINE, socket->node, at_ns)->definition = *told;
}

static inline void log_reboot(struct log *log, uint64_t at_ns, uint32_t node)
{
	log_event(log, LOG_REBOOT, node, at_ns);
}

static inline void log_step(struct log *log, uint64_t at_ns, uint32_t node, int64_t skew_ns)
{
	log_event(log, LOG_STEP, node, at_ns)->skew_ns = skew_ns;
}

static inline void log_metadata(struct log *log, uint64_t at_ns, uint32_t partition,
				const Millrace__V1__Metadata *metadata)
{
	LOG_GROW(log, tolds);
	struct log_told *told = &log->tolds[log->tolds_count++];

	*told = (struct log_told){.at_ns = at_ns,
				  .partition = partition,
				  .length = millrace__v1__metadata__get_packed_size(metadata)};
	told->bytes = memory_zeroed(told->length, 1);
	millrace__v1__metadata__pack(metadata, told->bytes);
	if (at_ns > log->end_ns)
		log->end_ns = at_ns;
}

/* --- sealing --- */

static inline void log_append(struct log *log, uint32_t node, uint32_t partition,
			      const struct batch_bytes *sealed, uint64_t append_ns)
{
	LOG_GROW(log, records);
	struct log_record *record = &log->records[log->records_count];

	*record = (struct log_record){.bytes = memory_zeroed(sealed->length, 1),
				      .length = sealed->length,
				      .node = node,
				      .partition = partition,
				      .events = sealed->events,
				      .append_ns = append_ns,
				      .number = log->records_count++};
	memcpy(record->bytes, sealed->bytes, sealed->length);
}

struct log_agent {
	struct log *log;
	uint32_t node;
	struct batch *batch;
	struct batch_sender sender;
	int64_t skew_ns;
};

static inline void agent_seal(struct log_agent *agent, uint64_t at_ns)
{
	const struct log_node *node = &agent->log->nodes[agent->node];
	uint64_t now_ns = LOG_START_NS + at_ns;
	struct batch_bytes sealed = batch_seal(agent->batch, &agent->sender, SEC(1000) + at_ns,
					       now_ns + (uint64_t)agent->skew_ns);

	log_append(agent->log, agent->node, node->partition, &sealed, now_ns + node->delay_ns);
}

static inline bool agent_put(struct log_agent *agent, const struct log_event *told)
{
	struct log_event event = *told;
	uint64_t time_ns = LOG_START_NS + event.at_ns + (uint64_t)agent->skew_ns;

	switch (event.kind) {
	case LOG_PROCESS:
		event.process.time_ns = time_ns;
		return batch_process(agent->batch, &event.process);
	case LOG_CONTAINER:
		return batch_container(agent->batch, &event.container);
	case LOG_NAT:
		event.nat.time_ns = time_ns;
		return batch_nat(agent->batch, &event.nat);
	case LOG_DEFINE:
		event.definition.time_ns = time_ns;
		return batch_define(agent->batch, &event.definition);
	case LOG_UPDATE:
		event.update.time_ns = time_ns;
		return batch_update(agent->batch, &event.update);
	case LOG_CLOSE:
		event.close.time_ns = time_ns;
		return batch_close(agent->batch, &event.close);
	case LOG_EXIT:
		event.exit.time_ns = time_ns;
		return batch_exit(agent->batch, &event.exit);
	case LOG_LOOKUP:
		event.lookup.time_ns = time_ns;
		return batch_dns(agent->batch, &event.lookup);
	case LOG_NAME:
		event.name.time_ns = time_ns;
		return batch_sni(agent->batch, &event.name);
	case LOG_DROP:
		event.drop.time_ns = time_ns;
		return batch_drop(agent->batch, &event.drop);
	case LOG_LISTENER:
		event.listener.time_ns = time_ns;
		return batch_listener(agent->batch, &event.listener);
	default:
		return true;
	}
}

static inline struct batch *agent_batch(void)
{
	return batch_new(&(struct batch_options){.events_max = 16384, .bytes_max = 768 * 1024});
}

static inline void agent_begin_anew(struct log_agent *agent, uint64_t at_ns, bool reboot)
{
	if (batch_events(agent->batch))
		agent_seal(agent, at_ns);
	batch_free(agent->batch);
	agent->batch = agent_batch();
	agent->sender.epoch += 1000;
	agent->sender.boot_id[1] += reboot;
}

static inline void agent_tell(struct log_agent *agent, const struct log_event *event)
{
	if (event->kind == LOG_STEP)
		agent->skew_ns = event->skew_ns;
	if (event->kind == LOG_RESTART || event->kind == LOG_REBOOT)
		agent_begin_anew(agent, event->at_ns, event->kind == LOG_REBOOT);
	if (agent_put(agent, event))
		return;
	agent_seal(agent, event->at_ns);
	assert_true(agent_put(agent, event));
}

/* One node's batches: every 100 ms what happened in it; an empty one is a heartbeat. */
static inline void log_seal_node(struct log *log, uint32_t number)
{
	const struct log_node *node = &log->nodes[number];
	struct log_agent agent = {.log = log,
				  .node = number,
				  .batch = agent_batch(),
				  .skew_ns = node->skew_ns,
				  .sender = {.node = node->name,
					     .boot_id = {(uint8_t)(number + 1)},
					     .epoch = 7 + number,
					     .zone = node->zone}};
	uint64_t end_ns = node->to_ns ? node->to_ns : log->end_ns + log->flush_ns;
	size_t next = 0;

	for (uint64_t at = node->from_ns; at < end_ns; at += MS(100)) {
		for (; next < log->events_count && log->events[next].told_ns < at + MS(100); next++)
			if (log->events[next].node == number)
				agent_tell(&agent, &log->events[next]);
		agent_seal(&agent, at + MS(100));
	}
	batch_free(agent.batch);
}

/* Each partition's clock goes on whoever is silent: heartbeats of a node of its own. */
static inline void log_seal_ticks(struct log *log, uint32_t partition)
{
	struct batch *batch = agent_batch();
	char name[32];
	struct batch_sender sender = {.node = name, .epoch = 1};

	snprintf(name, sizeof(name), "tick-%u", partition);
	sender.boot_id[0] = 0xff;
	for (uint64_t at = 0; at < log->end_ns + log->flush_ns; at += MS(125)) {
		uint64_t now_ns = LOG_START_NS + at;
		struct batch_bytes sealed = batch_seal(batch, &sender, SEC(1000) + at, now_ns);

		log_append(log, UINT32_MAX, partition, &sealed, now_ns);
	}
	batch_free(batch);
}

static inline void log_seal_metadata(struct log *log)
{
	struct encoder *encoder = encoder_new();

	for (size_t i = 0; i < log->tolds_count; i++) {
		const struct log_told *told = &log->tolds[i];
		const struct encoded record = {told->bytes, told->length};

		for (uint64_t at = told->at_ns; at < log->end_ns + log->flush_ns; at += SEC(45)) {
			uint64_t now_ns = LOG_START_NS + at;
			const struct encode_told batch = {.metadata = &record, .metadata_count = 1};
			struct encoded sealed = encode_told(encoder, now_ns, &batch, NULL, NULL);

			log_append(log, UINT32_MAX, told->partition,
				   &(struct batch_bytes){sealed.bytes, sealed.length, 0}, now_ns);
		}
	}
	encoder_free(encoder);
}

static inline int log_compare_events(const void *a, const void *b)
{
	const struct log_event *one = a, *other = b;

	if (one->told_ns != other->told_ns)
		return one->told_ns < other->told_ns ? -1 : 1;
	return one->number < other->number ? -1 : one->number > other->number;
}

static inline int log_compare_records(const void *a, const void *b)
{
	const struct log_record *one = a, *other = b;

	if (one->append_ns != other->append_ns)
		return one->append_ns < other->append_ns ? -1 : 1;
	return one->number < other->number ? -1 : one->number > other->number;
}

/* In the order of the log: after append times were changed, too. */
static inline void log_sort(struct log *log)
{
	qsort(log->records, log->records_count, sizeof(*log->records), log_compare_records);
}

/* Makes the records anew from what was told. */
static inline void log_seal(struct log *log)
{
	log_free_records(log);
	qsort(log->events, log->events_count, sizeof(*log->events), log_compare_events);
	for (uint32_t node = 0; node < log->nodes_count; node++)
		log_seal_node(log, node);
	for (uint32_t partition = 0; partition < log->partitions; partition++)
		log_seal_ticks(log, partition);
	log_seal_metadata(log);
	log_sort(log);
}

/* --- changes to the records --- */

static inline void log_repeat(struct log *log, size_t i, uint64_t append_ns)
{
	struct log_record record = log->records[i];

	log_append(log, record.node, record.partition,
		   &(struct batch_bytes){record.bytes, record.length, record.events}, append_ns);
}

static inline void log_drop(struct log *log, size_t i)
{
	free(log->records[i].bytes);
	log->records_count--;
	memmove(&log->records[i], &log->records[i + 1],
		(log->records_count - i) * sizeof(*log->records));
}
