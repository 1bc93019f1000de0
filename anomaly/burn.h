/* How fast a server spends its error budget: burn = failure ratio / (1 - objective), over two
 * windows at once, a long one that makes it sure and a short one that says that it goes on
 * (the SRE workbook's multi-window, multi-burn-rate alerts).
 *
 *     burn   long and short window    of 30 days' budget gone    severity
 *     14.4   1 h and 5 min            2 %                        error
 *     6      6 h and 30 min           5 %                        error
 *     1      3 d and 6 h              10 %                       warning
 *
 * Counts lie in two rings, of 5 minutes for 6 hours and of an hour for 3 days; a window ends with
 * the bucket under way, which comes on top of it. A long window is judged from half its length on,
 * and only with BURN_FAILED_MIN failures in the short one; what was open when the rings began anew
 * ends by the short one alone, once that is whole.
 *
 * Bound: sizeof(struct burn), 1.2 KB a server; constant time an addition. Pure; one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { BURN_RATES = 3, BURN_BUCKETS = 73, BURN_FAILED_MIN = 20 };

struct burn_ring {
	uint64_t newest; /* number of the bucket under way */
	uint32_t failed[BURN_BUCKETS], all[BURN_BUCKETS];
};

struct burn {
	uint64_t since_ns; /* of the first addition; 0: none */
	struct burn_ring rings[2];
};

struct burn_look {
	bool known;
	bool fire, quiet;
	bool lasting;	    /* not known, but nothing says that what was open before is over */
	uint64_t window_ns; /* the long one */
	uint64_t failed, all;
	double ratio, limit; /* of the long window */
};

void burn_add(struct burn *burn, uint64_t now_ns, uint64_t failed, uint64_t all);
/* After an addition of the same moment. objective: 0.99 of the connections are to be good. */
struct burn_look burn_look(const struct burn *burn, uint32_t rate, double objective,
			   uint64_t now_ns);
const char *burn_name(uint32_t rate); /* 1h, 6h, 3d */
/* The long window, without the bucket under way: of rate 0 the shortest. */
uint64_t burn_window_ns(uint32_t rate);
uint64_t burn_kept_ns(void);	/* the longest of them, with that bucket */
bool burn_pages(uint32_t rate); /* it leaves hours, not days */
