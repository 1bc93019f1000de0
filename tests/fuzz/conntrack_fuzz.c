/* Conntrack's netlink messages. A datagram from the kernel, read as natwatch reads it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "agent/conntrack.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct conntrack_entry entry;
	int error;
	while (length) {
		size_t before = length;
		if (conntrack_next(&bytes, &length, &entry, &error) == CONNTRACK_BAD)
			break;
		if (length >= before)
			abort(); /* no progress: the agent would hang */
	}
	return 0;
}
