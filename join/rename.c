/* What the census is told of an address after a flow there began: halves that have no other name
 * for their far end are labelled again, those whose label may still be amended (STAGE_ALONE, and
 * closed ones for keep_ns). Only these are looked at, in the panes in which an address is told of
 * that some label asked for. */
#include "base/memory.h"
#include "join/state.h"
#include "metadata/census.h"

void renames_done(struct join *join)
{
	memory_free(join->renamed.items);
}

static void host_rename(struct join *join, const struct address *address, uint8_t protocol)
{
	const struct host wanted = {.address = *address, .protocol = protocol};
	uint32_t number = host_find(join, &wanted);
	struct host *host = host_at(join, number);
	if (!number || !host->asked || host->renamed)
		return;
	host->renamed = 1;
	*(uint32_t *)array_add(&join->renamed, sizeof(uint32_t)) = number;
}

/* Whether an end may be named anew whose host is not found by the change: it is in a range, or the
 * client of a mapping. */
static bool changes_take(struct join *join)
{
	size_t count;
	const struct census_change *changes = census_changes(join->options.census, &count);
	bool others = false;
	for (size_t i = 0; i < count; i++) {
		if (changes[i].prefix == UINT8_MAX)
			continue;
		others |= join->mapped_asked || changes[i].prefix < 128;
		if (changes[i].prefix < 128)
			continue;
		host_rename(join, &changes[i].address, PROTOCOL_TCP);
		host_rename(join, &changes[i].address, PROTOCOL_UDP);
	}
	return others;
}

static void stage_rename(struct join *join, enum stage stage, bool all)
{
	for (uint32_t at = join->stages[stage].oldest; at;) {
		const struct connection *connection = connection_at(join, at);
		unsigned side = half_is_here(connection, SIDE_CLIENT) ? SIDE_CLIENT : SIDE_SERVER;
		if (all || host_at(join, connection->hosts[side ^ 1])->renamed)
			half_change(join, number_of(at, side));
		at = detail_of(join, connection)->newer;
	}
}

void renames_take(struct join *join)
{
	if (!join->options.census)
		return;
	bool others = changes_take(join);
	if (!others && !join->renamed.count)
		return;
	stage_rename(join, STAGE_ALONE, others);
	stage_rename(join, STAGE_FRESH, others);
	stage_rename(join, STAGE_TOLD, others);
	const uint32_t *renamed = join->renamed.items;
	for (size_t i = 0; i < join->renamed.count; i++)
		host_at(join, renamed[i])->renamed = 0;
	join->renamed.count = 0;
}
