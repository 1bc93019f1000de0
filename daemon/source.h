/* The pipeline's source on Kafka: a consumer's partitions, and the ticks that move an idle
 * partition's log clock. A partition from which nothing came for TICK_NS gets a tick record, one
 * under way at a time, so while a broker is away nothing piles up. Positions are committed every
 * COMMIT_NS: up to the first record that an open pane may need. */
#pragma once

#include <stdint.h>

#include "daemon/exit.h"
#include "daemon/keyring.h"
#include "daemon/outputs.h"
#include "daemon/pipeline.h"
#include "ingest/kafka.h"

#define TICK_NS	  (125 * NS_PER_MS)
#define COMMIT_NS (5 * NS_PER_S)

struct source;

/* Ticks are signed with the keyring's first key. consumer, outputs, exits and keyring are lent;
 * while exits are full no record is given. */
struct source *source_new(struct consumer *consumer, struct outputs *outputs,
			  const struct exits *exits, uint32_t partitions,
			  const struct keyring *keyring);
void source_free(struct source *source);
struct pipeline_source source_callbacks(struct source *source);
