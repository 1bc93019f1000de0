/* The BPF programs: loaded, attached, listed and read. Two objects (sockets, processes) write one
 * ring buffer; the reader drains it on a timer, and only a ring that fills quickly wakes it before
 * that (tracer_fd).
 *
 * What the running kernel lacks is left out and told (tracer_missing), it does not fail the start,
 * unless nothing useful is left. Bounds: agent/bpf/event.h. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/bpf/event.h"

struct tracer_options {
	bool scoped;	       /* only these network namespaces, by inode */
	const uint32_t *netns; /* lent for the call */
	uint32_t netns_count;
	bool processes;
	bool run_stats; /* measure the programs' own run time: needs CAP_SYS_ADMIN */
	void (*record)(void *context, const struct mr_head *record);
	void *context;
};

enum { TRACER_WHY_BYTES = 512 };

struct tracer_cost {
	uint64_t run_ns, runs; /* of our programs since the start; 0 when not measured */
};

struct tracer;

/* 0, or -errno with one sentence in why that says what to do. */
int tracer_open(struct tracer **out, const struct tracer_options *options,
		char why[TRACER_WHY_BYTES]);
void tracer_free(struct tracer *tracer);

int tracer_fd(const struct tracer *tracer); /* readable: the ring is filling, drain now */
int tracer_drain(struct tracer *tracer);    /* records given to record(), or -errno */

/* Sockets and processes that were there before; the records are in the ring then. */
int tracer_list(struct tracer *tracer);

/* One pass over all tracked sockets; those that moved, or with roll_call all, are in the ring then.
 * cpu_ns: what it cost. */
int tracer_scan(struct tracer *tracer, bool roll_call, uint64_t *cpu_ns);

void tracer_lost(const struct tracer *tracer, uint64_t lost[MR_LOST_COUNTERS]);
uint64_t tracer_ring_bytes(const struct tracer *tracer); /* waiting in the ring */
struct tracer_cost tracer_cost(const struct tracer *tracer);

/* What this kernel lacks, a sentence each, "\n" between; empty if nothing. */
const char *tracer_missing(const struct tracer *tracer);
