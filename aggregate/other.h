/* The identities that stand for everything without a row of its own: each member that was folded
 * away is named
 * `_other`. Pure; any thread. */
#pragma once

#include <stdint.h>

#include "base/identity.h"

#define OTHER_NAME "_other"

uint64_t other_id(void); /* name_id of OTHER_NAME */

/* Everything folded of one server workload: `_other` -> server, port 0, protocol 0. */
struct edge other_edge_of(const struct edge *edge);
struct edge other_edge(void); /* `_other` -> `_other` */
struct lane other_lane(void);
struct instance other_instance(uint64_t workload);
