/* Parcels as bytes, for the exchange: what an instance's tasks tell people goes to the other
 * instances, of the same build.
 *
 *   head | struct rollup ... | struct sketch_cell ... | struct wire_name ... | texts   of ROLLUPS
 *   head | struct task_stats | struct wire_agent ... | texts and what agents are       of STATS
 *
 * The structs stand there as they are in memory, pointers excepted: what they point to stands in
 * the order of its owners. The head tells the structs' sizes, so that a build with other ones is
 * told from ours. Reading believes no length and no number that is used as an index, and takes
 * counters as they are. Any thread.
 *
 * A row takes about 0.5 KiB, its names, when all of them are told and of the longest, 2.1 KiB, a
 * cell of its sketches 8 bytes. ROWS_A_PARCEL rows with CELLS_A_PARCEL cells (daemon/parcel.h) stay
 * below WIRE_PARCEL_ROWS_MAX. What agents are has no such bound: it is seldom told, but at once of
 * all agents of a task that begins. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "daemon/parcel.h"

enum { WIRE_PARCEL_ROWS_MAX = 30 << 20 };

/* The caller frees the bytes. */
uint8_t *parcel_encode(const struct parcel *parcel, size_t *length);

/* 0 with a parcel as parcels_rollups() and parcels_stats() make them; -EBADMSG: it is none of this
 * build of one of so many tasks. bytes may stand anywhere. */
int parcel_decode(const uint8_t *bytes, size_t length, uint32_t tasks, struct parcel **out);
