/* The checker of the accounting identity (base/ledger.h), for tests that have a mirror at hand: it
 * is asked after each of them, whatever the test was about. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "ingest/mirror.h"

static inline void ledger_of_node(void *context, const struct mirror_node *node)
{
	struct ledger *sum = context;
	assert_int_equal(ledger_unexplained(&node->ledger), 0);
	ledger_add(sum, &node->ledger);
}

/* Of each node and of all, and all are the nodes' and the others'. */
static inline void assert_ledger(struct mirror *mirror)
{
	const struct mirror_stats stats = mirror_stats(mirror);
	const struct ledger all = mirror_ledger(&stats);
	struct ledger sum = stats.others;
	assert_int_equal(ledger_unexplained(&stats.others), 0);
	mirror_nodes(mirror, ledger_of_node, &sum);
	assert_int_equal(ledger_unexplained(&all), 0);
	assert_memory_equal(&sum, &all, sizeof(sum));
}
