/* What the census is told of an address after a flow there began: halves that have no other name
 * for their far end are labelled again, those whose label may still be amended (STAGE_ALONE, and
 * closed ones for keep_ns). Only these are looked at, in the panes in which an address is told of
 * that some label asked for; and only those are labelled whose far end it is. */
#include <stdlib.h>

#include "base/memory.h"
#include "join/state.h"
#include "metadata/census.h"

/* More of them in one pane, and all halves are labelled, once: to look through them for each half
 * would cost more. */
enum { RANGES_FEW = 16 };

struct range {
	struct address address;
	uint32_t prefix;
};

void renames_done(struct join *join)
{
	memory_free(join->renamed.items);
	memory_free(join->renamed_addresses.items);
	memory_free(join->renamed_ranges.items);
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

static int compare_addresses(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct address));
}

/* By host where one is known by the changed address. The client of a mapping need not be, and who
 * is in a range is found by no address. */
static void changes_take(struct join *join)
{
	size_t count;
	const struct census_change *changes = census_changes(join->options.census, &count);
	for (size_t i = 0; i < count; i++) {
		const struct census_change *change = &changes[i];
		if (change->prefix == UINT8_MAX)
			continue;
		if (change->prefix < 128) {
			*(struct range *)array_add(&join->renamed_ranges, sizeof(struct range)) =
				(struct range){change->address, change->prefix};
			continue;
		}
		host_rename(join, &change->address, PROTOCOL_TCP);
		host_rename(join, &change->address, PROTOCOL_UDP);
		if (join->mapped_asked)
			*(struct address *)array_add(&join->renamed_addresses,
						     sizeof(struct address)) = change->address;
	}
	if (join->renamed_addresses.count)
		qsort(join->renamed_addresses.items, join->renamed_addresses.count,
		      sizeof(struct address), compare_addresses);
}

static bool range_has(const struct range *range, const struct address *address)
{
	uint32_t whole = range->prefix / 8, rest = range->prefix % 8;
	if (memcmp(range->address.bytes, address->bytes, whole) != 0)
		return false;
	return !rest || !((range->address.bytes[whole] ^ address->bytes[whole]) >> (8 - rest));
}

static bool is_in_range(const struct join *join, const struct address *address)
{
	const struct range *ranges = join->renamed_ranges.items;
	bool found = join->renamed_ranges.count > RANGES_FEW;
	for (size_t i = 0; !found && i < join->renamed_ranges.count; i++)
		found = range_has(&ranges[i], address);
	return found;
}

static bool is_renamed(const struct join *join, const struct address *address)
{
	return is_in_range(join, address) ||
	       (join->renamed_addresses.count &&
		bsearch(address, join->renamed_addresses.items, join->renamed_addresses.count,
			sizeof(struct address), compare_addresses));
}

/* Whether the census was told more of who is at the far end of this lone half. */
static bool far_end_is_renamed(const struct join *join, const struct connection *connection,
			       unsigned side)
{
	const struct host *far = host_at(join, connection->hosts[side ^ 1]);
	if (far->renamed || is_in_range(join, &far->address))
		return true;
	const struct tuple *mapped =
		side == SIDE_SERVER && join->mapped_asked ? client_mapped(join, connection) : NULL;
	return mapped && is_renamed(join, &mapped->client);
}

static void stage_rename(struct join *join, enum stage stage)
{
	for (uint32_t at = join->stages[stage].oldest; at;) {
		const struct connection *connection = connection_at(join, at);
		unsigned side = half_is_here(connection, SIDE_CLIENT) ? SIDE_CLIENT : SIDE_SERVER;
		if (far_end_is_renamed(join, connection, side))
			half_change(join, number_of(at, side));
		at = detail_of(join, connection)->newer;
	}
}

void renames_take(struct join *join)
{
	if (!join->options.census)
		return;
	changes_take(join);
	if (!join->renamed.count && !join->renamed_addresses.count && !join->renamed_ranges.count)
		return;
	stage_rename(join, STAGE_ALONE);
	stage_rename(join, STAGE_FRESH);
	stage_rename(join, STAGE_TOLD);
	const uint32_t *renamed = join->renamed.items;
	for (size_t i = 0; i < join->renamed.count; i++)
		host_at(join, renamed[i])->renamed = 0;
	join->renamed.count = join->renamed_addresses.count = join->renamed_ranges.count = 0;
}
