/* Snapshots of the tasks that an instance owns: taken while all of them stand, so they cost what a
 * fork costs; a child writes and syncs the file, and it counts only when Kafka has acknowledged
 * every output that was made before it.
 *
 *	cut ── fork ──► child: file.new, written, synced ──┐
 *	   └─ outputs_mark ──► all before it acknowledged ─┴─► file.new becomes file, older ones go
 *
 * Instances may share a folder, or have one each: a file is <pane>.<instance>.snapshot, and one
 * instance may go on from what another wrote. Kept are the two newest of an instance, the one that
 * is needed (the newest that all instances have), and those between them, as many as there may be;
 * with an instance's own older files go all that are as old, whoever left them.
 *
 * A process holds a lock on <instance>.lock as long as it lives: another of the same name would
 * write and remove the same files.
 *
 * A snapshot that fails is told, counted and forgotten; the next cut tries again. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/image.h"
#include "daemon/lineup.h"

#define SNAPSHOT_PERIODS_MAX 8

struct snapshots;

struct snapshots_options {
	uv_loop_t *loop;
	const char *folder; /* made if it is missing, for its owner alone */
	uint64_t period_ns; /* at most one in this time */
	double share;	/* of one processor, at most, for what one costs: a large state is written
			   less often, down to one in SNAPSHOT_PERIODS_MAX; 0: no matter */
	bool every_cut; /* a period is one of panes, and each cut at its multiples takes one if the
			   last counted: instances must cut before the same panes. Those that
			   are too costly take each 2nd, 4th or 8th, so what all have stays. */
	uint64_t instance; /* that it is among those that share the tasks */
	uint32_t kept;	   /* at most, more than 2; 0: 2 */
	void *context;
	/* Called in the cut: a mark of all outputs so far. And from any thread: whether Kafka has
	 * those up to the mark, without which there is no next one. */
	uint32_t (*mark)(void *context);
	bool (*acknowledged)(void *context, uint32_t mark);
	/* On the loop: it counts. NULL: nobody is told. */
	void (*counted)(void *context, const struct image_header *header);
	void (*trouble)(void *context, const char *sentence); /* for the log, on the loop */
};

struct snapshots_stats {
	uint64_t taken, failed;
	uint64_t bytes;	   /* of the newest */
	uint64_t pane;	   /* of the newest; 0: none yet */
	double stood_s;	   /* how long tasks stood for the newest */
	double duration_s; /* from the cut until it counted */
	double cost_s;	   /* processor time of its writing, and how long tasks stood */
};

/* NULL with why, to stand after "the folder ", when it is no good or another process uses it. */
struct snapshots *snapshots_new(const struct snapshots_options *options, char *why, size_t size);

/* In a cut, from any thread, one at a time: while nothing in the heaps changes. Does nothing when
 * none is due. */
void snapshots_cut(struct snapshots *snapshots, const struct image *image,
		   struct heap *const *heaps);
/* This pane stays until another is needed; 0: none is known. On the loop. */
void snapshots_need(struct snapshots *snapshots, uint64_t pane);
/* Whether one is due before this pane, so that its image is worth making. */
bool snapshots_due(const struct snapshots *snapshots, uint64_t pane);
struct snapshots_stats snapshots_stats(const struct snapshots *snapshots);

/* Stops what is under way; handles are gone when the loop has run on. Then it may be freed. */
void snapshots_close(struct snapshots *snapshots);
void snapshots_free(struct snapshots *snapshots);

/* What is to go on: these tasks, all before one pane, from one or several files of the folder that
 * are of this build, shape, number of tasks, and one epoch. fits (NULL: all do) gets what they are
 * together, the wanted tasks alone, and tells why not. told (NULL: nobody) gets a sentence for each
 * file or pane that was passed over. */
struct snapshots_wanted {
	const char *folder;
	uint64_t shape;
	uint32_t tasks;	       /* of the pipeline */
	struct task_set owned; /* those wanted */
	bool (*fits)(void *context, const struct image *image, const char **why);
	void *context; /* of fits */
	void (*told)(void *context, const char *sentence);
	void *told_context;
};

/* From the newest pane that fits, or from this one alone (NULL: the newest). heaps, by task: those
 * of the wanted tasks, made here. 0; -ENOENT: there is none that fits, and no heap is left. */
int snapshots_load(const struct snapshots_wanted *wanted, const struct lineup_pane *from,
		   struct image *image, struct heap **heaps);

/* From which they could go on as far as headers tell, newest first; at most max. Returns how many.
 */
size_t snapshots_panes(const struct snapshots_wanted *wanted, struct lineup_pane *panes,
		       size_t max);
