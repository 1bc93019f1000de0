/* Finds a table's row by a 64-bit key: open addressing, at most half full, so a lookup is one or
 * two cache lines. The tables of the agent (sockets, listeners, processes, cgroups, NAT) keep
 * their rows in arrays and index them with this. Bounded when made; putting more than that is the
 * caller's bug. One thread. */
#pragma once

#include <stdint.h>

enum { INDEX_NONE = UINT32_MAX };

struct index_cell {
	uint64_t key;
	uint32_t row_after; /* row + 1; 0 is an empty cell */
};

struct index {
	struct index_cell *cells;
	uint32_t mask, count, max;
};

void index_init(struct index *index, uint32_t rows_max);
void index_done(struct index *index);
void index_clear(struct index *index);				 /* empty; its memory stays */
uint32_t index_get(const struct index *index, uint64_t key);	 /* INDEX_NONE if it is not here */
void index_put(struct index *index, uint64_t key, uint32_t row); /* the key must not be here */
void index_remove(struct index *index, uint64_t key);		 /* the key must be here */
