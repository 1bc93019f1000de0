/* A record of millrace.metadata into a fact. Whoever writes to the topic is not trusted: every
 * length, count, prefix, interval and text is checked before anything is used, and a record is
 * taken whole or refused for one reason. Bounds: FACT_BYTES_MAX bytes, FACT_MEMORY_MAX of
 * memory while it is read. Pure; any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "metadata/fact.h"

struct names;

enum {
	FACT_BYTES_MAX = 65536,
	FACT_MEMORY_MAX = 1 << 20,
	RECORD_ID_MAX = 512,
	RECORD_TEXT_MAX = 1024,
	RECORD_POD_ADDRESSES_MAX = 8, /* of a node as well */
	RECORD_CONTAINERS_MAX = 64,
	RECORD_SERVICE_ADDRESSES_MAX = 64,
	RECORD_PORTS_MAX = 256,
	RECORD_LABELS_MAX = 32,
};

enum record_reason {
	RECORD_GOOD,
	RECORD_OVERSIZED, /* bytes, or the memory that they ask for */
	RECORD_MALFORMED, /* not a Metadata */
	RECORD_VERSION,
	RECORD_KIND,	 /* says nothing, or more than one thing */
	RECORD_ID,	 /* not cluster/kind/uid/number of what it says */
	RECORD_INTERVAL, /* ends before it begins, or is no time */
	RECORD_TEXT,	 /* too long, or not UTF-8; or a name is missing */
	RECORD_COUNT,	 /* more elements than there may be */
	RECORD_ADDRESS,	 /* neither 4 nor 16 bytes */
	RECORD_PREFIX,	 /* longer than the address, or shorter than what is set of it */
	RECORD_REASONS,
};

/* Behind the cluster's name, the id of the record that says that the cluster is watched. */
#define RECORD_WATCH_SUFFIX "/watch/watch/0"

/* What it says, and at which addresses (in no order, none twice). Names are put as used in this
 * pane; NULL: they are only numbered. Of kinds that say nothing of who is where the fact is
 * FACT_NONE. watch: hash of the id that says that its cluster is watched; 0 of what holds whether
 * anybody watches or not. It may be NULL, and is no part of the fact, which tasks keep. */
enum record_reason record_read(const uint8_t *bytes, size_t length, struct names *names,
			       uint64_t pane, struct fact *fact,
			       struct address addresses[FACT_ADDRESSES_MAX], uint64_t *watch);
const char *record_reason_name(enum record_reason reason);
