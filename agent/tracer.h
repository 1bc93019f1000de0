/* The BPF programs: loaded, attached, listed and read. Five objects (agent/bpf/) share one ring
 * buffer; the reader drains it on a timer, and only a ring that fills quickly wakes it before that
 * (tracer_fd).
 *
 * What the running kernel lacks is left out and told (tracer_missing), it does not fail the start,
 * unless nothing useful is left. Bounds: agent/bpf/event.h. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/bpf/event.h"
#include "agent/reasons.h"

struct tracer_options {
	bool scoped;	       /* only these network namespaces, by inode */
	const uint32_t *netns; /* lent for the call */
	uint32_t netns_count;
	const char *cgroup2; /* where the v2 tree is mounted; NULL: nowhere. Lent for the call */
	bool processes;
	bool drops;
	uint32_t drop_rows_max; /* rows of dropped packets a second */
	bool udp, dns;		/* dns without udp: only the datagrams of lookups */
	/* MR_HELLO_PORTS dialled ports whose TLS handshakes are told, 0: none; NULL: of none. Lent
	 * for its life. */
	const uint16_t *sni_ports;
	uint32_t udp_peers_max; /* at least 1 */
	bool run_stats;		/* measure the programs' own run time: needs CAP_SYS_ADMIN */
	void (*record)(void *context, const struct mr_head *record);
	void *context;
};

enum { TRACER_WHY_BYTES = 512 };

struct tracer_cost {
	/* Of our programs since the start, but for iterators: they run within our own CPU time.
	 * Taken in samples and less what measuring adds to a run; 0 when not measured. */
	uint64_t run_ns, runs;
	uint64_t missed;    /* runs that the kernel left out: one was running on that CPU */
	uint64_t malformed; /* records that were not as long as their kind wants */
};

struct tracer;

/* 0, or -errno with one sentence in why that says what to do. */
int tracer_open(struct tracer **out, const struct tracer_options *options,
		char why[TRACER_WHY_BYTES]);
void tracer_free(struct tracer *tracer);

int tracer_fd(const struct tracer *tracer); /* readable: the ring is filling, drain now */
/* Gives records to record(), for so long at most. Whether the ring was empty then. */
bool tracer_drain(struct tracer *tracer, uint64_t slice_ns);
uint64_t tracer_records(const struct tracer *tracer); /* given so far */
/* Where the ring's end is now, and whether all before such a place was given. */
uint64_t tracer_mark(const struct tracer *tracer);
bool tracer_passed(const struct tracer *tracer, uint64_t mark);

/* Sockets and processes that were there before; the records are in the ring then. */
int tracer_list(struct tracer *tracer);

/* The processes alone, again, after records of theirs were lost. */
int tracer_list_processes(struct tracer *tracer);

struct tracer_scanned {
	uint64_t cpu_ns;      /* what it cost */
	uint32_t connections; /* TCP's that it visited and whose opening was told before */
	uint32_t guesses;     /* sockets and peers that moved and whose owner is a guess */
};

/* One pass over all tracked sockets and UDP peers; those that moved, or with roll_call all, are in
 * the ring then. */
int tracer_scan(struct tracer *tracer, bool roll_call, struct tracer_scanned *scanned);

void tracer_lost(const struct tracer *tracer, uint64_t lost[MR_LOST_COUNTERS]);
uint64_t tracer_ring_bytes(const struct tracer *tracer); /* waiting in the ring */
struct tracer_cost tracer_cost(const struct tracer *tracer);
bool tracer_measured(const struct tracer *tracer); /* whether run times are */
/* Run times are measured from the start, and then in samples: the first ends with the first call of
 * tracer_sample_end(). In any thread; waits for the keeper: what tracer_sample_begin() wants, or
 * -errno. */
int tracer_enable_stats(void);
void tracer_sample_begin(struct tracer *tracer, int stats_fd);
void tracer_sample_end(struct tracer *tracer);

/* The object of drop.bpf.c, which agent/drops.h reads; NULL: off. And what its reasons mean. */
const struct bpf_object *tracer_drops(const struct tracer *tracer);
const struct reasons *tracer_reasons(const struct tracer *tracer);

/* What this kernel lacks, a sentence each, "\n" between; empty if nothing. */
const char *tracer_missing(const struct tracer *tracer);

/* Objects and programs by name, program NULL for all of an object. Whether there is one that could
 * be attached. */
bool tracer_has(const struct tracer *tracer, const char *object, const char *program);
/* Attaches or detaches. 0 or the first -errno; the others are switched all the same. */
int tracer_switch(struct tracer *tracer, const char *object, const char *program, bool on);
/* The programs that see who sends and receives: attached at the start, and from then on as asked
 * (agent/claims.h). Both attaching (for the keeper) and detaching (for the kernel's readers) may
 * take long, so they are for another thread, one at a time: attach, then take them here; give them
 * here, then detach. 0 or the first -errno. */
int tracer_attach_claims(struct tracer *tracer);
/* Whether some are not wanted any more: to be detached. */
bool tracer_take_claims(struct tracer *tracer);
void tracer_give_claims(struct tracer *tracer);
void tracer_detach_claims(struct tracer *tracer);
/* What attached programs leave out: bits of enum mr_without. 0 or -errno. */
int tracer_leave_out(struct tracer *tracer, uint32_t without);

/* Programs that should be attached, those that are, and the name of the first that is not: somebody
 * detached it or put another in its place. */
struct tracer_links {
	uint32_t attached, wanted;
	char gone[32];
};
struct tracer_links tracer_links(const struct tracer *tracer);
/* Whether the link still leads to this program. */
bool link_holds(int link_fd, int program_fd);
