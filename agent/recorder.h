/* Kernel records in, sealed batches out: keeps the node's objects (sockets in slots, listeners,
 * processes, cgroups, lookups that wait), turns absolute counters into differences, tells
 * everything again in key frames, and puts events into the batch.
 *
 * Order within a batch: a reader applies definitions before updates, so a socket is defined again
 * only at a batch's start, never after an update of the same batch; recorder_tick does that. A
 * batch is sealed each tick and when it is full. Bounded by its options; what does not fit is
 * counted in recorder_stats. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/batch/batch.h"
#include "agent/bpf/event.h"
#include "agent/cgroups.h"
#include "agent/lookups.h"

struct recorder_options {
	struct batch *batch;	       /* lent for its life */
	struct cgroups *cgroups;       /* lent for its life */
	struct containers *containers; /* lent for its life */
	uint32_t sockets_max, processes_max;
	uint64_t process_text_bytes; /* see agent/processes.h */
	uint32_t lookups_max;	     /* 0: none are told */
	uint64_t lookup_timeout_ns;
	uint64_t tick_ns;	     /* how often recorder_tick is called */
	uint64_t key_frame_ns;	     /* everything is told again at least this often */
	struct batch_sender *sender; /* lent for its life: read at each seal */
	void (*sealed)(void *context, const struct batch_bytes *bytes);
	void *context;
};

struct recorder_stats {
	uint64_t events, batches, defined, updated, closed, failed;
	uint64_t sockets_refused, processes_refused, listeners_refused; /* no room in the table */
	uint64_t unknown_sockets; /* updates and closes of sockets that were never told */
	uint64_t vanished;	  /* sockets that a roll call missed */
	uint64_t own_openings;	  /* of the agent's own marked connections, the client's end */
	uint64_t arguments_unread, arguments_cut; /* not all of an exec's could be told */
	uint64_t processes_vanished;		  /* gone without an end, found by a listing */
	uint64_t process_text_bytes, process_texts_cut;
	uint32_t sockets, processes, listeners;
	uint32_t connections; /* TCP's among the sockets */
	struct lookups_stats lookups;
	uint64_t dns_malformed; /* messages that cannot be read, or not to their end */
	uint64_t dns_other;	/* messages that are no lookup */
	uint64_t dns_unplaced;	/* messages of sockets that are not told */
	uint64_t sni;		/* names in TLS handshakes, told */
	uint64_t sni_without;	/* handshakes that ask for none, */
	uint64_t sni_cut;	/* or for one that is beyond what is at hand, */
	uint64_t sni_other;	/* or for one that no host has */
	uint64_t sni_malformed;
	uint64_t sni_repeated; /* of sockets whose name was told: sent again, or the server asked */
	uint64_t sni_unplaced; /* of sockets that are not told, or that a server has */
};

struct recorder;
struct recorder *recorder_new(const struct recorder_options *options);
void recorder_free(struct recorder *recorder);

/* Now, by both clocks: what record times are converted with. Before records of this time are
 * pushed. */
void recorder_clock(struct recorder *recorder, uint64_t boottime_ns, uint64_t realtime_ns);
void recorder_push(struct recorder *recorder, const struct mr_head *record);
void recorder_nat(struct recorder *recorder, const struct batch_nat *nat);
/* Told with the next batch. */
void recorder_facts(struct recorder *recorder, const struct batch_facts *facts);
void recorder_state(struct recorder *recorder, const struct batch_state *state);
/* Another interval between ticks. */
void recorder_pace(struct recorder *recorder, uint64_t tick_ns);
/* Processes are not seen any more: none is told again. */
void recorder_forget_processes(struct recorder *recorder);
/* time_ns: boottime. cookie: of the socket that the packet was of or for; 0: none known. A UDP
 * socket has a slot for each peer: the packet's other end tells which. */
void recorder_drop(struct recorder *recorder, const struct batch_drop *drop, uint64_t cookie);

/* Seals what there is (an empty batch once a second: the heartbeat) and begins the next with what
 * is due again. */
void recorder_tick(struct recorder *recorder);
/* Ticks within which everything is told again. */
uint32_t recorder_cycle_ticks(const struct recorder *recorder);
void recorder_seal(struct recorder *recorder);

/* Sockets and listeners that no record names between the two calls end, sockets as vanished.
 * started_ns: when the scan began. */
void recorder_roll_call(struct recorder *recorder);
void recorder_roll_called(struct recorder *recorder, uint64_t started_ns);

/* A runtime told of this container: its cgroups are told again. */
void recorder_described(struct recorder *recorder, const char *id);

/* Processes that no MR_TASK names between the two calls are gone; which way is not known, so no end
 * is told. */
void recorder_process_call(struct recorder *recorder);
void recorder_process_called(struct recorder *recorder, uint64_t started_ns);

/* The agent's own marked connections: those of its own process with this port at either end; 0:
 * none. */
void recorder_probe_port(struct recorder *recorder, uint16_t port);
struct recorder_stats recorder_stats(const struct recorder *recorder);
