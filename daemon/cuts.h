/* Which snapshots the owners of a run's tasks have in common, as each says what it has in the
 * common partition: what a run that begins now would go on from. All read the same and know the
 * same. Pure, on one thread.
 *
 * Of each owner the last CUTS_KNOWN count, for it keeps no more for sure (daemon/snapshot.h): as
 * many as an answer names, less the common one and what it may have written meanwhile. Who is
 * slower by more than that leaves the common one where it is, and that one all keep. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/lineup.h"

enum { CUTS_KNOWN = LINEUP_PANES - 3 };

struct cuts;

struct cuts *cuts_new(void);
void cuts_free(struct cuts *cuts);
/* A run has begun: all its owners have the pane that it is from. */
void cuts_begin(struct cuts *cuts, const struct lineup_run *run);
/* An owner of this run has one, newer than what it said before. */
void cuts_take(struct cuts *cuts, int64_t run, uint64_t life, uint64_t pane);
/* The newest common one; 0: none yet. */
uint64_t cuts_common(const struct cuts *cuts);
