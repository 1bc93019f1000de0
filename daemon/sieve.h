/* Which rows the history is handed, so that storing them costs a bounded share of the service's
 * thread however many there are. Always: edges in windows of 10 s and longer, and what amends them.
 * Seconds of edges while all tasks together have at most half of rows_a_second; else none of them,
 * as a second that lacks some edges would be a wrong one: readers use 10 s windows then. Lanes and
 * instances (10 s) up to the other half, a task its share: the busiest, by a bound on their
 * connections that the window before gives. Panes never.
 *
 * What is left out is counted and still in millrace.rollups. Nothing here decides what leaves for
 * Kafka, so it need not be the same in each run. Any thread, one at a time a task. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "aggregate/rollup.h"

struct sieve;

struct sieve *sieve_new(uint32_t tasks, uint64_t rows_a_second);
void sieve_free(struct sieve *sieve);

/* Copies the chosen ones, in their order; chosen has room for count. Returns how many. */
size_t sieve_choose(struct sieve *sieve, uint32_t task, const struct rollup *rollups, size_t count,
		    struct rollup *chosen);
uint64_t sieve_left_out(const struct sieve *sieve); /* any thread */
