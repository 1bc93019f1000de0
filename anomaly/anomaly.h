/* One owner's anomaly stage: reads its aggregate's rows, keeps trailing windows and a baseline
 * (running median and MAD, in integers) per edge for failures, latency and throughput, and emits
 * the transitions of episodes, of which the incidents (anomaly/incident.h) are made.
 *
 * Each pane: push the pane's rows, then advance. Threshold monitors look at trailing sums of panes;
 * baselines at trailing seconds. An episode fires in the pane in which its condition is met, is
 * updated at most every update_ns when its first suspect changes, and resolves after clear_ns of
 * quiet. A baseline never fires below its warm-up. What comes out depends on the rows of each pane
 * alone, in the order of edges, not on how they were split over pushes.
 *
 * Suspects are ranked from the CLIENT and SERVER rows: those of failures, resets, openings and
 * connect latency from the window's panes, at once; those of throughput, retransmits and round
 * trips from 10 s rows, so they follow as an update with the first 10 s that end after the episode
 * began.
 *
 * Silence. Counts and rates of a silent edge are 0: quiet for a monitor that looks for too much.
 * For one that looks for too little (COMPARE_BELOW, a baseline's drop) it is 0 only if the edge was
 * seen a whole window ago and an agent of one of its nodes reported since it fell silent and within
 * 10 s; else nothing is known and the state is held. Nodes report by their rows here and by
 * anomaly_heard(); while that was never called, any row counts. Ratios and latencies of nothing are
 * unknown: quiet.
 *
 * Cost. An edge whose sums are within all limits, told by bounds, is not judged: about 500
 * instructions an edge and pane with traffic, its instances' and 10 s rows included.
 *
 * Bounds: edges_max edges; past it an edge is watched only through its server's sum, counted in
 * unwatched. An edge leaves after 2 min of silence, after 1 h if it has a baseline or a
 * COMPARE_BELOW monitor; an episode still open then resolves. Open episodes are never evicted; past
 * episodes_max one is suppressed and counted. At most 256 transitions a pane, 64 of them with
 * ranked suspects: the rest follow in the next panes, suspects as updates. Memory: 0.4 KB an edge
 * and 40 bytes for each pane with rows of the longest window that a rule of this edge reads, so 2
 * KB at most with baselines and windows up to 10 s (64 bytes and up to 16 KB with monitors of
 * resets, retransmits or round trips over 60 s), 4 bytes for each distinct connect time of a pane,
 * and nothing but the 0.4 KB while it is silent. Instance rows: 8 an edge, 112 bytes each, and
 * twice as many of 10 s, 56 bytes each. Pure; one thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "anomaly/alert.h"
#include "anomaly/monitor.h"

struct anomaly;

/* A baseline as it is kept in millrace.baselines: the latest record of a key replaces older ones.
 */
struct baseline_record {
	struct edge edge; /* its id is the key together with metric */
	uint32_t metric;
	uint32_t samples;
	uint64_t window_ns;  /* end of the newest window in it */
	int64_t median, mad; /* in millionths of the metric's unit */
};

struct anomaly_sinks {
	void *context;
	void (*alerts)(void *context, const struct alert *alerts, size_t count);
	/* Baselines that changed, spread over time: each live edge's about once every
	 * baseline_save_ns. */
	void (*baselines)(void *context, const struct baseline_record *records, size_t count,
			  const struct names *names);
};

struct anomaly_options {
	const struct monitor *monitors; /* copied */
	size_t monitors_count;
	bool baselines;		   /* built-in baseline monitors on */
	double sensitivity;	   /* deviations (MADs) that fire: 6 */
	uint32_t warmup_samples;   /* 10 s windows before a baseline may fire: 30 */
	uint64_t update_ns;	   /* 10 s */
	uint64_t baseline_save_ns; /* 60 s */
	uint32_t edges_max, episodes_max;
	struct anomaly_sinks sinks;
};

struct anomaly_stats {
	uint64_t edges, episodes; /* live now */
	uint64_t fired, resolved, updated, suppressed, unwatched;
	uint64_t monitors_refused; /* of those that should be in force: above MONITORS_MAX */
};

struct anomaly *anomaly_new(const struct anomaly_options *options);
void anomaly_free(struct anomaly *anomaly);
/* The stage is as another process left it, at the same addresses (base/heap.h). */
void anomaly_bind(struct anomaly *anomaly, const struct anomaly_sinks *sinks);
/* Rows of one window length as aggregate emits them; 250 ms rows drive detection, 10 s rows the
 * baselines and the suspects of traffic. Rows that come sorted by edge are found by walking along.
 */
void anomaly_push(struct anomaly *anomaly, const struct rollup *rollups, size_t count,
		  const struct names *names);
void anomaly_advance(struct anomaly *anomaly, uint64_t now_ns);
/* From the next pane on these monitors are in force and no others; names are distinct. Open
 * episodes of those that stay, or take a monitor's name and measure the same, go on; others end in
 * that pane, or as soon as its transitions have room. A window has at first what its edge kept. It
 * is a walk over all edges. */
void anomaly_watch(struct anomaly *anomaly, const struct monitor *monitors, size_t count);
/* Nodes (name ids) whose agents sent a batch in this pane; before advance. */
void anomaly_heard(struct anomaly *anomaly, const uint64_t *nodes, size_t count);
/* Before the first pane: episodes that still fire (alert_member). They go on under their keys, and
 * are told with the first pane's transitions, so that the incidents know. One whose monitor is not
 * known waits for it until then. Returns how many; one whose baseline or names are gone is left. */
size_t anomaly_resume(struct anomaly *anomaly, const struct alert *alerts, size_t count);
/* Before the first pane: what millrace.baselines holds. */
void anomaly_load(struct anomaly *anomaly, const struct baseline_record *records, size_t count);
struct anomaly_stats anomaly_stats(const struct anomaly *anomaly);
