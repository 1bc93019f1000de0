/* What the node is, from its own files and system calls: no network. Texts are cut to their room.
 * Any thread. */
#pragma once

#include <stdint.h>

enum { FACT_BYTES = 256 };

struct facts {
	char kernel[FACT_BYTES], os[FACT_BYTES], architecture[FACT_BYTES];
	uint32_t cpus;
	uint64_t memory_bytes;
	uint64_t booted_ns; /* realtime */
};

/* root: "" or where another /etc is (tests). boottime and realtime are of the same moment. */
void facts_read(struct facts *facts, const char *root, uint64_t boottime_ns, uint64_t realtime_ns);
