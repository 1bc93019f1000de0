/* Millrace's alerts about itself, which must reach people when Kafka is gone, and so go neither
 * through the pipeline nor through the outbox:
 *
 *   millrace/blind     the log clocks stand still, or the pipeline does not run
 *   millrace/lag       they move, and are behind
 *   millrace/receiver  a receiver fails, refuses for good, or notifications for it were given up
 *
 * Each is an episode like others: it fires, and resolves once its cause is away for some seconds.
 * What was told, and what receivers got of it, is kept in a journal (api/notify/journal.h), so that
 * a restart neither repeats nor forgets it. The service looks once a second; one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "anomaly/alert.h"
#include "api/notify/journal.h"
#include "api/notify/notify.h"
#include "daemon/encode.h"

struct selfwatch;

struct selfwatch_options {
	const char *journal; /* its path; NULL or empty: none is kept */
	size_t journal_bytes;
	uint64_t blind_after_ns, lag_max_ns, failing_after_ns;
	const struct receiver *receivers; /* lent for the call */
	size_t receivers_count;
	struct encoder *encoder; /* lent for the watch's life */
	void *context;
	/* At selfwatch_begin: what receivers got in an earlier life. */
	void (*settled)(void *context, const struct delivery *delivery);
	void (*push)(void *context, const struct alert *alert);
	void (*trouble)(void *context, const char *sentence); /* for the log */
};

/* What it looks at. */
struct selfwatch_view {
	uint64_t now_ns;    /* real time, of what is told and of the log's clock */
	uint64_t steady_ns; /* of a clock that nobody sets, for how long something lasts */
	bool running;	    /* the pipeline was started */
	uint64_t clock_ns;  /* the slowest log clock; 0: one has none yet */
	const struct notify_receiver_stats *receivers;
	size_t receivers_count;
};

struct selfwatch_stats {
	struct journal_stats journal;
	bool journal_open;
	bool blind, lagging;
	uint64_t fired;
};

/* NULL with the sentence told when the journal cannot be used. */
struct selfwatch *selfwatch_new(const struct selfwatch_options *options);
/* Tells what the journal holds. Once, before the first look. */
void selfwatch_begin(struct selfwatch *watch);
void selfwatch_look(struct selfwatch *watch, const struct selfwatch_view *view);
/* Keeps what became of an alert of its own: when it returns it is on the disk, if a disk there is.
 */
void selfwatch_keep(struct selfwatch *watch, const struct delivery *delivery);
/* Whether it sees: neither blind nor not yet running. For the heartbeat. */
bool selfwatch_sees(const struct selfwatch *watch);
struct selfwatch_stats selfwatch_stats(const struct selfwatch *watch);
void selfwatch_free(struct selfwatch *watch);
