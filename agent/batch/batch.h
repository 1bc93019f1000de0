/* The builder of one events Batch (proto/millrace/v1/events.proto): the agent, the shop simulation
 * and the world generator put events in by kind and get the sealed bytes of one Kafka record out.
 *
 * Put events in any order; batch_seal groups them by kind and updates by slot. Addresses and
 * strings are put in the batch's dictionaries here. Bounded by batch_options; a put that would pass
 * a bound returns false and changes nothing: seal, send, put again. Nothing allocates after
 * batch_new. One thread.
 *
 * Times given are real time in ns; the wire has microseconds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/delta.h"

struct batch_options {
	uint32_t events_max; /* 16,384 */
	uint32_t bytes_max;  /* of the sealed record: 768 KiB, below Kafka's 1 MiB */
	const uint8_t *key;  /* 32 bytes, from seal_node_key(); NULL: no HMAC */
	/* Updates put one after another are of one scan while they are no later than this after its
	 * first, and get its time: they tell of the whole period since the scan before, and one
	 * time takes a byte an update less than many. 0: each keeps its own. */
	uint64_t scan_ns;
};

/* Who sends, and its counters: written into each batch's header. Lent for the call. */
struct batch_sender {
	const char *node;
	uint8_t boot_id[16];
	uint64_t epoch;
	const char *zone, *region, *role, *agent_version; /* NULL is empty */
	uint64_t dropped_ring, dropped_netlink, dropped_spool;
	uint32_t scan_period_ms;
};

enum batch_role { BATCH_ROLE_UNKNOWN, BATCH_ROLE_CLIENT, BATCH_ROLE_SERVER };

/* Numbers as DefinitionFlag. */
enum batch_definition_flag {
	BATCH_AGAIN = 1,
	BATCH_EXISTED = 2,
	BATCH_ROLE_GUESSED = 4,
	BATCH_SELF_PROBE = 8,
};

struct batch_container {
	uint64_t cgroup;
	const char *id, *name, *image, *pod, *namespace, *workload, *unit, *path,
		*version; /* NULL is empty */
};

struct batch_process {
	uint32_t pid, parent;
	uint64_t started_ns; /* boottime */
	uint64_t cgroup;
	const char *comm, *exe, *cmdline;
	uint64_t time_ns;
};

struct batch_nat {
	uint8_t protocol;
	bool ended;
	struct address original_source, original_destination, reply_source, reply_destination;
	uint16_t original_source_port, original_destination_port, reply_source_port,
		reply_destination_port;
	uint64_t time_ns;
};

struct batch_definition {
	uint32_t slot, generation;
	uint8_t protocol;
	uint8_t role;	/* enum batch_role */
	uint32_t flags; /* enum batch_definition_flag */
	struct address local, remote;
	uint16_t local_port, remote_port;
	uint32_t pid;
	uint64_t cgroup;
	uint64_t age_ns;      /* opened this long before time_ns */
	uint64_t connect_ns;  /* client; 0 if not seen */
	struct traffic total; /* absolute */
	uint32_t srtt_us, min_rtt_us;
	uint64_t time_ns;
};

struct batch_update {
	uint32_t slot;
	struct traffic moved; /* differences */
	uint32_t srtt_us;
	uint64_t time_ns;
};

struct batch_close {
	uint32_t slot;
	uint32_t reason; /* enum close_reason */
	uint32_t pid;
	struct traffic total; /* absolute */
	uint32_t min_rtt_us;
	uint64_t connect_ns;
	uint64_t time_ns;
};

struct batch_exit {
	uint32_t pid;
	uint64_t started_ns;
	uint32_t status, signal;
	uint64_t time_ns;
};

struct batch;

struct batch *batch_new(const struct batch_options *options);
void batch_free(struct batch *batch);
bool batch_container(struct batch *batch, const struct batch_container *container);
bool batch_process(struct batch *batch, const struct batch_process *process);
bool batch_nat(struct batch *batch, const struct batch_nat *nat);
bool batch_define(struct batch *batch, const struct batch_definition *definition);
/* A second update of a slot in one batch is added to the first. */
bool batch_update(struct batch *batch, const struct batch_update *update);
bool batch_close(struct batch *batch, const struct batch_close *close);
bool batch_exit(struct batch *batch, const struct batch_exit *exit);
uint32_t batch_events(const struct batch *batch);

/* Encodes, signs and clears. The bytes are lent until the next put. sequence and first_event are
 * kept by the batch and go on from seal to seal. An empty batch seals to a heartbeat (no events).
 */
struct batch_bytes {
	const uint8_t *bytes;
	size_t length;
	uint32_t events;
};
struct batch_bytes batch_seal(struct batch *batch, const struct batch_sender *sender,
			      uint64_t boottime_ns, uint64_t realtime_ns);
