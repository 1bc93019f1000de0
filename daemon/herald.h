/* Tells in millrace.metadata what the pipeline itself sees happen: edges that appear and vanish and
 * versions that are new (anomaly/novelty.h), containers that began anew or ran out of memory (as
 * agents tell, daemon/parcel.h). All instances look, the one that owns task 0 tells; who follows it
 * tells what itself has seen in the last two minutes, 64 changes at most. A record's id is made of
 * what it says, so telling it twice is telling it once; the relay takes it back.
 *
 * It is an observer, not a part of what is computed: its records come into the log of events as all
 * metadata does, and from there on they are what was known at that time. The service loop's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "anomaly/novelty.h"
#include "metadata/change.h"

struct herald;
struct history;
struct outputs;

enum { HERALD_CHANGES_A_MINUTE = 60 }; /* of novelty's; nobody reads more */

struct herald_options {
	struct outputs *outputs; /* lent, as the cluster's name */
	const char *cluster;
	uint64_t learn_ns, gone_ns;
	uint64_t edges_max;
	struct history *history; /* knows names, and edges from before */
};

struct herald_stats {
	struct novelty_stats novelty;
	uint64_t told[CHANGE_KINDS]; /* handed to Kafka */
	uint64_t failed;	     /* that it did not take */
};

struct herald *herald_new(const struct herald_options *options);
void herald_free(struct herald *herald); /* when the outputs are closed */
void herald_lead(struct herald *herald, bool leads);
/* After the history has them. */
void herald_rows(struct herald *herald, const struct rollup *rollups, size_t count);
void herald_change(struct herald *herald, const struct change_event *change);
/* A record of the topic: a deployment that somebody told of is no news. */
void herald_read(struct herald *herald, const uint8_t *bytes, size_t length);
void herald_turn(struct herald *herald); /* once a second */
struct herald_stats herald_stats(const struct herald *herald);
