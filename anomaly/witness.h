/* What the episodes of an incident agree on. Each names suspects of its own edge; where a node
 * went, every edge names another instance first and the node beside it. What most of them name
 * comes first. Pure; any thread. */
#pragma once

#include <stdint.h>

#include "anomaly/alert.h"

enum { WITNESSES_MAX = 256 };

/* Brings what two witnesses or more name, each once, and what says the most of their changes in all
 * (a share beyond that of the traffic), to the front of the alert's suspects; of what is nearly as
 * much, that which the alert itself names first. witnesses: WITNESSES_MAX at most. */
void witness_agree(struct alert *alert, const struct alert *const *witnesses, uint32_t count);
