/* Dropped packets and ICMP errors, read from the maps of drop.bpf.c and told as rows of a reason,
 * a place and a tuple.
 *
 * The programs fill one of two maps; once a second the other becomes the one to fill, and the first
 * is emptied when no program can still be writing to it. So no packet is counted twice or never.
 * Bounded by rows_max rows a second; packets beyond are told by their reason alone, in rows without
 * a tuple, so sums by reason stay whole. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/batch/batch.h"
#include "agent/reasons.h"

struct bpf_object;
struct drops_options {
	const struct bpf_object *object; /* of drop.bpf.c, loaded; lent for its life */
	const struct reasons *reasons;	 /* lent for its life */
	uint32_t rows_max;		 /* the maps' size */
	/* time_ns: boottime. cookie: of the socket here; 0: none known. */
	void (*told)(void *context, const struct batch_drop *drop, uint64_t cookie);
	void *context;
};

struct drops_stats {
	uint64_t rows; /* told */
	uint64_t packets, icmp_errors;
	uint64_t folded; /* packets told by their reason alone */
	uint64_t not_ip; /* freed buffers without an IP packet: not told */
	uint64_t missed; /* calls of the programs that the kernel left out: not told */
	uint64_t errors; /* reads of the maps that failed */
};

struct drops;
int drops_new(struct drops **out, const struct drops_options *options); /* 0 or -errno */
void drops_free(struct drops *drops);
void drops_tick(struct drops *drops, uint64_t boottime_ns); /* some times a second */
/* What there is, at the end: waits for programs that are still writing (some ms). */
void drops_finish(struct drops *drops, uint64_t boottime_ns);
struct drops_stats drops_stats(const struct drops *drops);
