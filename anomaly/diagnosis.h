/* What is likely wrong on an edge, told from both of its ends: who saw what of the attempts, of
 * segments sent again, of round trips and lookups. Only where the evidence suffices; else nothing
 * is said, which is the usual case for what is merely unusual.
 *
 *   attempts that nobody answered, no agent at the server saw them | dropped: policy or route
 *   ... and no agent at the server tells of anything                | the server's node is gone
 *   attempts that were refused                                      | nobody listens
 *   attempts for which a router answered                            | no route
 *   segments that were sent again                                   | a lossy path
 *   round trips that last longer, little of it is lost              | a slow path
 *   connecting that lasts longer, round trips as usual              | a slow server
 *   bytes, and all of the above as usual                            | the clients
 *   lookups without a good answer                                   | DNS
 *
 * Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "anomaly/alert.h"

/* What both ends told of an edge, or of all edges to a server's port. */
struct end_sums {
	double attempts, failed, refused, unreachable;
	double connect_us, connects;
	double srtt_us, srtts;
	double retransmits, segments; /* either end's, and counted */
	double bytes, resets;
	double lookups, lookups_failed;
};

struct ends {
	struct end_sums panes; /* of attempts only, in the trailing panes */
	/* Of the newest ten seconds, and of those before: 0 where they are not there. */
	struct end_sums now, before;
	bool settled;	   /* the newest ten seconds lie within the episode */
	bool server_tells; /* an agent at the server saw traffic of any edge to it, there in */
	/* Of what is wrong, and of all: what passed between zones. */
	double bad_crossing, bad, crossing, all;
};

/* metric: enum metric. */
struct diagnosis diagnosis_of(const struct ends *ends, uint32_t metric);

enum { DIAGNOSIS_TEXT_MAX = 256 };
/* A sentence without a full stop; "" of none. */
void diagnosis_text(const struct diagnosis *diagnosis, char text[DIAGNOSIS_TEXT_MAX]);
