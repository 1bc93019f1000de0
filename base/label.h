/* What the join decided of one half: made in join/, carried back to ingest/ by daemon/, and there
 * it names the rows that the half's deltas are added to. Plain data. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/identity.h"

enum side { SIDE_CLIENT, SIDE_SERVER };

/* A half's place in its ingest task. The generation tells a half from a later one in the same
 * place. */
struct half_ref {
	uint32_t source; /* ingest task */
	uint32_t index;
	uint32_t generation;
};

struct label {
	struct half_ref half;
	uint8_t side;	     /* enum side of this half */
	uint8_t counts_from; /* enum side whose half fills the counted columns */
	bool joined;	     /* both halves are paired */
	bool final;	     /* no later label will change this one */
	struct edge edge;
	struct lane lane;
	struct instance client, server;
	/* An end without an agent: its name is this address's text; ingest makes it where it is
	 * needed. */
	struct address client_address, server_address;
};
