/* Conntrack's netlink messages. A datagram from the kernel, read as natwatch reads it; what comes
 * out goes into a table, as an event and as a dump's entry. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "agent/conntrack.h"
#include "agent/nat.h"

enum { ENTRIES_MAX = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

struct told {
	uint64_t begun, ended;
};

static void count(void *context, const struct conntrack_entry *entry)
{
	struct told *told = context;
	if (entry->ended)
		told->ended++;
	else
		told->begun++;
}

static bool everywhere(void *context, uint32_t netns)
{
	(void)context, (void)netns;
	return true;
}

/* What a reader of the told rows counts as live is what the table holds. */
static void put(struct nat *nat, const struct told *told, const struct conntrack_entry *entry,
		uint64_t now_ns)
{
	if (entry->protocol == 0)
		abort();
	nat_put(nat, entry, now_ns);
	if (entry->mark & 1 && !entry->ended)
		nat_dumped(nat, entry, now_ns + 1, now_ns + 2);
	if (told->ended > told->begun || nat_stats(nat).live > ENTRIES_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct conntrack_entry entry;
	int error;
	struct told told = {0};
	struct nat *nat = nat_new(
		&(struct nat_options){.entries_max = ENTRIES_MAX, .told = count, .context = &told});
	nat_dump_begins(nat);
	for (uint64_t now_ns = 10; length; now_ns += 10) {
		size_t before = length;
		enum conntrack_result result = conntrack_next(&bytes, &length, &entry, &error);
		if (result == CONNTRACK_BAD)
			break;
		if (length >= before)
			abort(); /* no progress: the agent would hang */
		if (result == CONNTRACK_ENTRY)
			put(nat, &told, &entry, now_ns);
	}
	nat_sweep(nat, UINT32_MAX, UINT64_MAX, everywhere, NULL);
	nat_dump_ends(nat);
	if (nat_stats(nat).live)
		abort();
	nat_free(nat);
	return 0;
}
