/* When the programs that see who sends and receives are attached. They tell the owner of a
 * connection that a listener's process accepted or handed on, and cost each request a run at both
 * ends; once all owners are known they tell nothing. So they are attached for a while after a scan
 * that found connections which moved and whose owner is a guess, and while such are found again and
 * again, ever more rarely. Plain data; one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CLAIMS_FIRST_NS	   (UINT64_C(5) * 1000000000) /* from the start */
#define CLAIMS_NS	   (UINT64_C(200) * 1000000)  /* each time */
#define CLAIMS_WAIT_MIN_NS (UINT64_C(800) * 1000000)  /* in between: so long at first */
#define CLAIMS_WAIT_MAX_NS (UINT64_C(8) * 1000000000) /* and at most, while owners are guesses */
/* For connections that nobody had open when they were listed: no scan sees these. */
#define CLAIMS_ANYWAY_NS (UINT64_C(60) * 1000000000)

struct claims {
	bool on;
	uint64_t end_ns;   /* while on */
	uint64_t ended_ns; /* while off */
	uint64_t wait_ns;
};

/* The programs were attached with the others. */
void claims_init(struct claims *claims, uint64_t now_ns);
/* After a scan that found so many owners to be guesses. Whether the programs are to be attached
 * now; claims_began() says that they are. */
bool claims_due(struct claims *claims, uint64_t now_ns, uint32_t guesses);
void claims_began(struct claims *claims, uint64_t now_ns);
/* Whether they are to be detached now; if so they count as detached. */
bool claims_over(struct claims *claims, uint64_t now_ns);
