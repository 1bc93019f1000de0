/* What the join decided of one half: made in join/, carried back to ingest/ by daemon/, and there
 * it names the rows that the half's deltas are added to. Plain data. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum side { SIDE_CLIENT, SIDE_SERVER };

/* A half's place in its ingest task. The generation tells a half from a later one in the same
 * place. */
struct half_ref {
	uint32_t index;
	uint16_t source; /* ingest task */
	uint16_t generation;
};

/* Instances go by id; who tells a label has told their descriptors (base/roster.h). */
struct label {
	struct half_ref half;
	uint32_t number;    /* of the half in its join task, which closes and news of it name */
	uint16_t join_task; /* where the half is now */
	uint16_t port;	    /* the edge's: the server's */
	uint8_t protocol;
	uint8_t side;		 /* enum side of this half */
	uint8_t counts_from;	 /* enum side whose half fills the counted columns */
	bool joined : 1;	 /* both halves are paired */
	bool final : 1;		 /* later labels act on what is to come only */
	uint32_t counts_since;	 /* the ten seconds (base/clock.h) from which on counts_from holds,
				    the other side before; 0: always */
	uint64_t client, server; /* instance ids */
};

/* A lane that a place to come needs: of two instances (numbers as in a place), a server's port and
 * protocol. */
struct lane_wanted {
	uint32_t client, server;
	uint16_t port;
	uint8_t protocol;
	uint8_t pad;
	uint32_t lane; /* the answer; 0: no room */
};

/* Which rows a delta counts in. lane numbers the pair of workloads, zones and versions with the
 * server's port and protocol in the ingest task's partial rows (0: no room, `_other`); client and
 * server number instances in the task's roster. */
struct place {
	uint32_t lane, client, server;
	uint8_t side, counts_from; /* enum side */
	bool joined;
	uint8_t pad;
};
