/* The live sockets of this node, each in a slot: a small number that batches name it by. A slot
 * holds the facts of its definition, so key frames need nothing from the kernel, and the counters
 * told last, which updates are the differences to.
 *
 * A slot that ended is given away again only after slots_release (the batch was sealed): no slot is
 * two sockets in one batch. The generation goes up each time. Bounded by slots_new; when full,
 * slots_add refuses and counts. The memory is touched only as slots are used: 160 bytes and 32 of
 * index each, twice for UDP. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/delta.h"

struct slot {
	uint64_t cookie; /* 0: free */
	uint64_t peer;	 /* key of a UDP peer; 0: not found by its peer */
	uint32_t generation;
	uint32_t pid, told_pid; /* the latter in its last definition */
	struct address local, remote;
	uint16_t local_port, remote_port;
	uint8_t protocol;
	uint8_t role;  /* enum batch_role */
	uint8_t flags; /* enum batch_definition_flag, without BATCH_AGAIN */
	bool redefine; /* waits to be defined again at the next batch's start */
	bool present;  /* answered the roll call */
	bool named;    /* its handshake's name was told */
	uint64_t cgroup;
	uint64_t opened_ns; /* boottime */
	uint64_t connect_ns;
	struct traffic total; /* as told last */
	uint32_t srtt_us, min_rtt_us;
	uint64_t told_ns; /* boottime of the last event */
};

struct slots;
struct slots_stats {
	uint32_t live;
	uint64_t refused; /* sockets that found no slot */
};

struct slots *slots_new(uint32_t slots_max);
void slots_free(struct slots *slots);
struct slot *slots_get(struct slots *slots, uint64_t cookie); /* NULL: unknown */
struct slot *slots_add(struct slots *slots,
		       uint64_t cookie); /* cleared; NULL: full. The cookie is not here. */
/* A UDP socket has a slot for each peer: this one is found by the socket's cookie and its remote
 * end, unless another is. */
void slots_put_peer(struct slots *slots, struct slot *slot, uint64_t socket);
struct slot *slots_get_peer(struct slots *slots, uint64_t socket, const struct address *remote,
			    uint16_t remote_port); /* NULL: unknown */
void slots_end(struct slots *slots, struct slot *slot);
void slots_release(struct slots *slots);
uint32_t slots_number(const struct slots *slots, const struct slot *slot);
uint32_t slots_high(const struct slots *slots);		     /* every live slot's number is below */
struct slot *slots_at(struct slots *slots, uint32_t number); /* NULL: free */
struct slots_stats slots_stats(const struct slots *slots);
