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
	const char *key_id; /* of the HMAC's key while keys are rotated; NULL is empty */
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

/* Numbers as CloseFlag. */
enum batch_close_flag {
	BATCH_RESET_RECEIVED = 1,
	BATCH_RESET_SENT = 2,
	BATCH_ZERO_WINDOW = 4,
};

/* Numbers as DnsFlag. */
enum batch_dns_flag { BATCH_DNS_TIMEOUT = 1, BATCH_DNS_TRUNCATED = 2 };

/* Numbers as ListenerFlag. */
enum batch_listener_flag { BATCH_LISTENER_AGAIN = 1, BATCH_LISTENER_ENDED = 2 };

enum {
	BATCH_LABELS_MAX = 32,	/* of a container or a node */
	BATCH_ANSWERS_MAX = 16, /* of a lookup */
	BATCH_MISSING_MAX = 32, /* sentences */
	BATCH_FEATURES_MAX = 16,
	BATCH_LOSSES_MAX = 32,
	BATCH_CMDLINE_MAX = 4096,
};

struct batch_label {
	const char *key, *value;
};

struct batch_container {
	uint64_t cgroup;
	const char *id, *name, *image, *pod, *namespace, *workload, *unit, *path, *version,
		*runtime, *pod_uid; /* NULL is empty */
	uint32_t oom_kills;
	const struct batch_label *labels;
	uint32_t labels_count; /* those beyond BATCH_LABELS_MAX are left out */
};

struct batch_process {
	uint32_t pid, parent;
	uint64_t started_ns; /* boottime */
	uint64_t cgroup;
	uint32_t uid;
	const char *comm, *exe, *cmdline;
	uint64_t time_ns;
};

struct batch_nat {
	uint8_t protocol;
	bool ended;
	struct address original_source, original_destination, reply_source, reply_destination;
	uint16_t original_source_port, original_destination_port, reply_source_port,
		reply_destination_port;
	uint32_t zone, mark, netns;
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
	bool zero_window; /* the peer's receive window is shut */
	uint64_t time_ns;
};

struct batch_close {
	uint32_t slot;
	uint32_t reason; /* enum close_reason */
	uint32_t pid;
	struct traffic total; /* absolute */
	uint32_t min_rtt_us;
	uint64_t connect_ns;
	uint32_t flags; /* enum batch_close_flag */
	uint64_t time_ns;
};

struct batch_exit {
	uint32_t pid;
	uint64_t started_ns;
	uint32_t status, signal;
	uint64_t time_ns;
};

struct batch_answer {
	struct address address;
	uint32_t ttl_s;
};

struct batch_dns {
	uint32_t slot;
	const char *name;
	uint32_t type, rcode, flags; /* enum batch_dns_flag */
	uint64_t latency_ns;
	const struct batch_answer *answers;
	uint32_t answers_count; /* those beyond BATCH_ANSWERS_MAX are left out */
	uint64_t time_ns;
};

struct batch_sni {
	uint32_t slot;
	const char *name;
	uint64_t time_ns;
};

struct batch_drop {
	const char *reason, *location;
	bool icmp;
	uint8_t protocol;
	struct address source, destination;
	uint16_t source_port, destination_port;
	uint64_t packets, bytes;
	uint32_t netns;
	uint32_t socket; /* 1 + slot; 0: none known */
	uint64_t time_ns;
};

struct batch_listener {
	uint64_t cookie;
	uint32_t flags; /* enum batch_listener_flag */
	struct address address;
	uint16_t port;
	uint32_t netns, pid;
	uint64_t cgroup;
	uint32_t backlog, backlog_max;
	uint64_t drops;
	uint64_t time_ns;
};

struct batch_facts {
	const char *kernel, *os, *architecture; /* NULL is empty, here and below */
	uint32_t cpus;
	uint64_t memory_bytes, booted_ns;
	const char *cloud, *instance_id, *instance_type;
	const struct batch_label *labels;
	uint32_t labels_count;
};

/* What was lost since the agent began. */
struct batch_loss {
	const char *place, *kind;
	uint64_t events;
};

struct batch_state {
	uint32_t level;
	const char *degraded;
	double cpu_share, cpu_budget;
	const char *const *features;
	uint32_t features_count;
	const char *const *missing;
	uint32_t missing_count;
	const char *control_id, *control_error;
	uint32_t programs, programs_wanted;
	uint64_t self_tests, self_tests_failed;
	const struct batch_loss *losses;
	uint32_t losses_count; /* those beyond BATCH_LOSSES_MAX are left out */
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
bool batch_dns(struct batch *batch, const struct batch_dns *dns);
bool batch_sni(struct batch *batch, const struct batch_sni *sni);
bool batch_drop(struct batch *batch, const struct batch_drop *drop);
bool batch_listener(struct batch *batch, const struct batch_listener *listener);
/* The node's facts and the agent's state are no events: a later put in one batch replaces the
 * earlier, and a batch of nothing else is a heartbeat. Texts beyond 255 bytes are cut. */
bool batch_facts(struct batch *batch, const struct batch_facts *facts);
bool batch_state(struct batch *batch, const struct batch_state *state);
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
/* From the next seal on; NULL: no HMAC. Copied. */
void batch_key(struct batch *batch, const uint8_t *key);
