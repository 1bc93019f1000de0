/* What changed, for /events: records of changes as millrace.metadata holds them, as long as it
 * does. Bound: changes_max, some 0.4 KB each; then the oldest leaves, and is counted. One thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "millrace/v1/metadata.pb-c.h"

struct chronicle;

/* Name ids; 0: any. */
struct chronicle_choice {
	uint64_t workload, node;
	uint32_t kind; /* enum change_kind */
	uint64_t from_ns, until_ns;
};

struct chronicle *chronicle_new(uint32_t changes_max);
void chronicle_free(struct chronicle *chronicle);
/* key: hash of the record's id. What is no change is counted as refused. */
void chronicle_put(struct chronicle *chronicle, uint64_t key, const uint8_t *bytes, size_t length);
void chronicle_drop(struct chronicle *chronicle, uint64_t key);

/* How many there are of that choice; `told` is called for the newest `most`, newest first. */
size_t chronicle_read(const struct chronicle *chronicle, const struct chronicle_choice *choice,
		      size_t most, void (*told)(void *context, const uint8_t *bytes, size_t length),
		      void *context);

struct chronicle_stats {
	uint64_t changes; /* known now */
	uint64_t evicted, refused;
};
struct chronicle_stats chronicle_stats(const struct chronicle *chronicle);
