/* One owner's anomaly stage: reads its aggregate's rows, keeps trailing windows and a baseline
 * (anomaly/baseline.h) per edge and per server workload and port, and emits the transitions of
 * episodes, of which the incidents (anomaly/incident.h) are made.
 *
 * Each pane: push the pane's rows, then advance. Threshold monitors look at trailing sums of panes;
 * baselines at trailing seconds. An episode fires in the pane in which its condition is met, is
 * updated at most every update_ns when its first suspect changes, and resolves after clear_ns of
 * quiet. What comes out depends on the rows of each pane alone, in the order of edges, not on how
 * they were split over pushes.
 *
 * Baselines. Openings, bytes, connect latency and failures are looked at each pane, over the
 * trailing 10 s and, of latency and failures, 1 s; round trips, retransmits, resets, lookups and
 * new clients once in ten seconds, each subject in its own pane of them. A signal fires when it
 * surprises by `sensitivity` decades, or by less than half of that if signals of other families of
 * the same subject agree (EVIDENCE_*): one weak departure is evidence and never told alone. A level
 * must last for two windows, unless it is 1.5 times as far.
 * It is quiet again when half of the way back from where it fired. One that flaps (its last 21
 * tens of seconds) stays open until it is calm. Silence is no chance when e^-M says so, M being the
 * openings that were to be expected in it, and when it is twice as long as any that ended before.
 * A server is watched so only while more than one edge leads to it: else its edge says the same.
 * Below warmup_samples nothing fires but what fails outright: at least half of 20 attempts.
 * A server also has its burn rates (anomaly/burn.h), of a monitor's objective if it has one.
 *
 * A monitor (anomaly/monitor.h) that is about zones or versions looks at a part of an edge or a
 * server, which is a subject of its own: the sums of the lanes that match, from rows of 10 s, in
 * the pane in which these end. Monitors of baselines have no episodes: they change what a plan asks
 * of the built-in rules. An edge is new from the pane of its first row on; when that was is known
 * of edges that have left, too (anomaly/seen.h). Who is to be missed stays for as long as that
 * takes and a day, with its names.
 *
 * Suspects are ranked from the CLIENT and SERVER rows: those of failures, resets, openings and
 * connect latency from the window's panes, at once; those of throughput, retransmits and round
 * trips from 10 s rows, so they follow as an update with the first 10 s that end after the episode
 * began.
 *
 * Silence. Counts and rates of a silent edge are 0: quiet for a monitor that looks for too much.
 * For what looks for too little (COMPARE_BELOW, a baseline's drop) it is 0 only if the edge was
 * seen a whole window ago and an agent of one of its nodes reported since it fell silent and within
 * 10 s; else nothing is known and the state is held. Nodes report by their rows here and by
 * anomaly_heard(); while that was never called, any row counts. Ratios and latencies of nothing are
 * unknown: quiet.
 *
 * Cost. A subject whose sums are within all limits, told by bounds, is not judged.
 *
 * Bounds: edges_max edges, and as many servers, and as many parts, which past it are counted in
 * parts_unwatched; past it an edge is watched only through its
 * server's sum, counted in unwatched. As many full detectors; past it a series stays in the small
 * tier, counted in held. An edge leaves after 2 min of silence, after 1 h if its baseline is warm
 * or it has a COMPARE_BELOW monitor, after longer if it may be missed; an episode still open then
 * resolves. Open episodes are never evicted; past episodes_max one is suppressed and counted. At
 * most 256 transitions a pane, 64 of them with ranked suspects: the rest follow in the next panes,
 * suspects as updates. Memory: 0.3 KB a subject, 0.2 to 0.5 KB its baseline and 256 bytes for each
 * full detector, 1.2 KB the burn rates of a server, 48 bytes for each pane with rows of the longest
 * window that a rule of this edge reads, so 2 KB at most with baselines and windows up to 10 s (96
 * bytes and up to 23 KB with monitors of resets, retransmits, lookups, clients or round trips over
 * 60 s), 4 bytes for each distinct connect time of a pane. Instance rows: 8 an edge, 112 bytes
 * each, and twice as many of 10 s, 56 bytes each. Pure; one thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "anomaly/alert.h"
#include "anomaly/monitor.h"

struct anomaly;

/* One signal's baseline as it is kept in millrace.baselines: the latest record of a key replaces
 * older ones. */
struct baseline_record {
	struct edge edge; /* its id is the key together with metric; of a server's sum: client 0 */
	uint32_t metric;
	uint32_t samples;    /* windows of 10 s that the subject learned from */
	uint64_t window_ns;  /* end of the newest window in it */
	uint32_t state_size; /* bytes of its state, which tell what it is */
	uint8_t state[256];
};

struct anomaly_sinks {
	void *context;
	void (*alerts)(void *context, const struct alert *alerts, size_t count);
	/* Baselines that changed, spread over time: each live subject's once every
	 * baseline_save_ns while it is young, up to an hour apart later. */
	void (*baselines)(void *context, const struct baseline_record *records, size_t count,
			  const struct names *names);
};

struct anomaly_options {
	const struct monitor *monitors; /* copied */
	size_t monitors_count;
	bool baselines;		   /* built-in baselines and burn rates on */
	double sensitivity;	   /* decades that fire: 9 */
	uint32_t warmup_samples;   /* 10 s windows before a baseline may fire: 60 */
	double objective;	   /* share of a server's connections that are to succeed: 0.99;
				      0: no burn rates */
	uint64_t update_ns;	   /* 10 s */
	uint64_t baseline_save_ns; /* 60 s */
	uint32_t edges_max, episodes_max;
	struct anomaly_sinks sinks;
};

struct anomaly_stats {
	uint64_t edges, episodes; /* live now */
	uint64_t fired, resolved, updated, suppressed, unwatched;
	uint64_t monitors_refused; /* of those that should be in force: without a place, now */
	uint64_t detectors;	   /* full ones, now */
	uint64_t held;		   /* series that stayed in the small tier for want of room */
	uint64_t parts_unwatched; /* rows of zones and versions without room for a monitor's part */
	uint64_t seen_evicted;	  /* edges that have left and would be new again */
	uint64_t suspects_dropped; /* rows that found no room where suspects are looked for */
};

struct anomaly *anomaly_new(const struct anomaly_options *options);
void anomaly_free(struct anomaly *anomaly);
/* The stage is as another process left it, at the same addresses (base/heap.h). */
void anomaly_bind(struct anomaly *anomaly, const struct anomaly_sinks *sinks);
/* Rows of one window length as aggregate emits them; 250 ms rows drive detection and baselines,
 * 10 s rows the suspects of traffic. Rows that come sorted by edge are found by walking along. */
void anomaly_push(struct anomaly *anomaly, const struct rollup *rollups, size_t count,
		  const struct names *names);
void anomaly_advance(struct anomaly *anomaly, uint64_t now_ns);
/* From the next pane on these monitors are in force and no others; names are distinct. Open
 * episodes of those that stay, or take a monitor's name and measure the same, go on; others end in
 * that pane, or as soon as its transitions have room. A window has at first what its edge kept. One
 * that has no place, as those that are gone still end their episodes, gets the first that they
 * leave. It is a walk over all edges. */
void anomaly_watch(struct anomaly *anomaly, const struct monitor *monitors, size_t count);
/* Nodes (name ids) whose agents sent a batch in this pane; before advance. */
void anomaly_heard(struct anomaly *anomaly, const uint64_t *nodes, size_t count);
/* Before the first pane: episodes that still fire (alert_member). They go on under their keys, and
 * are told at once, so that the incidents know; one whose monitor is not in force waits for it
 * (anomaly_watch), up to the first pane, and is told then. Returns how many; one whose baseline or
 * names are gone is left. */
size_t anomaly_resume(struct anomaly *anomaly, const struct alert *alerts, size_t count);
/* Before the first pane: what millrace.baselines holds. known_ns: up to which a former process has
 * told all (0: none has). What is more than a day older it had forgotten itself, and is left: dead
 * edges would take the places of live ones. */
void anomaly_load(struct anomaly *anomaly, const struct baseline_record *records, size_t count,
		  uint64_t known_ns);
struct anomaly_stats anomaly_stats(const struct anomaly *anomaly);
