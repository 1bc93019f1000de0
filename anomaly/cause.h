/* What changed lately, and which of it an incident may come of: deployments, scaling, restarts,
 * nodes, as metadata and the pipeline itself tell them (metadata/change.h). One is picked for an
 * incident that happened at its place and before it: in the CAUSE_BEFORE_NS before the incident
 * began. It is a guess, and is said to be one.
 *
 * Of several the best is
 *
 *	1. what its suspects name: the version that came, the instance, the node;
 *	2. a change of the server, then of the client, of a suspect's node, of a member's server;
 *	3. a deployment rather than scaling or a node's change, these rather than an end for want of
 *	   memory, a restart, a new client;
 *	4. the latest before the incident.
 *
 * A change acts from the pane in which it was told. Told again it changes nothing; nor does what is
 * older than CAUSE_BEFORE_NS when it is told. Bound: the CAUSES_MAX newest, 1.6 KB each, and twice
 * as many told in panes that are not closed yet. Pure; one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "anomaly/alert.h"
#include "base/clock.h"
#include "metadata/change.h"

#define CAUSE_BEFORE_NS (600 * NS_PER_S)

enum { CAUSES_MAX = 1024 };

struct causes;

struct causes *causes_new(void);
void causes_free(struct causes *causes);
/* id: of its record. told_ns: end of the pane in which it was told; these rise. */
void causes_tell(struct causes *causes, uint64_t id, const struct change_event *change,
		 uint64_t told_ns);
/* Up to this pane's end; whether any came. */
bool causes_advance(struct causes *causes, uint64_t now_ns);
/* False: none is known. */
bool causes_pick(const struct causes *causes, const struct alert *alert,
		 struct change_event *cause);

/* "deployment shop/cart v3 → v4, 42 s before". */
void cause_text(const struct change_event *cause, uint64_t started_ns, char *text, size_t size);
