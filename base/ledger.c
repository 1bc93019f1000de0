#include "base/ledger.h"

#include <stddef.h>

enum { LEDGER_TERMS = sizeof(struct ledger) / sizeof(uint64_t) };

void ledger_add(struct ledger *sum, const struct ledger *part)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)part;
	for (size_t i = 0; i < LEDGER_TERMS; i++)
		to[i] += from[i];
}

void ledger_subtract(struct ledger *sum, const struct ledger *part)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)part;
	for (size_t i = 0; i < LEDGER_TERMS; i++)
		to[i] -= from[i];
}

static uint64_t apart(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

uint64_t ledger_unexplained(const struct ledger *ledger)
{
	uint64_t taken = ledger->duplicate + ledger->quarantined;
	return apart(ledger->issued + taken, ledger->received + ledger->lost) +
	       apart(ledger->received,
		     ledger->aggregated + ledger->pending + ledger->late + ledger->refused + taken);
}
