/* Requests that are answered when the record that they made comes back from its topic. A response
 * that is gone is forgotten, one that waits for WAITING_S is answered 504. Bounded: WAITING_MAX.
 * The loop's thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct response;

enum { WAITING_MAX = 16, WAITING_S = 10 };

struct waiter {
	struct response *response; /* NULL: free */
	uint64_t issued_ns;	   /* of the record */
	uint64_t until_ns;	   /* uv_hrtime */
	void *what;		   /* whoever made it knows */
};

struct waiting {
	uv_timer_t timer;
	const char *late; /* what 504 says; lent */
	struct waiter waiters[WAITING_MAX];
};

void waiting_init(struct waiting *waiting, uv_loop_t *loop, const char *late);
/* what: from the heap, taken over. False: too many wait; what is freed, the response answered. */
bool waiting_add(struct waiting *waiting, struct response *response, uint64_t issued_ns,
		 void *what);
/* The one after that one (NULL: the first) which waits; NULL: there is none. */
struct waiter *waiting_next(struct waiting *waiting, const struct waiter *after);
/* For whoever answers the response now. Returns what, which is theirs again. */
void *waiting_end(struct waiter *waiter);
/* The loop must run until its handle is gone; those that wait still go with their responses. */
void waiting_close(struct waiting *waiting);
/* Frees what is left. */
void waiting_done(struct waiting *waiting);
