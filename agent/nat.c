#include "agent/nat.h"

#include <stdlib.h>
#include <string.h>

#include "agent/index.h"
#include "base/hash.h"
#include "base/memory.h"

struct row {
	struct conntrack_entry entry;
	uint64_t seen_ns; /* 0: free */
	uint64_t key;
};

struct nat {
	struct nat_options options;
	struct row *rows;
	struct index index;
	bool dumping, forgot;
	struct index ended; /* keys that ended while a dump runs; row 0 */
	uint32_t *free;
	uint32_t free_count, high, cursor;
	uint32_t swept; /* rows, by the dump that runs */
	uint64_t carry;
	struct nat_stats stats;
};

struct nat *nat_new(const struct nat_options *options)
{
	struct nat *nat = memory_zeroed(1, sizeof(*nat));
	nat->options = *options;
	nat->rows = memory_zeroed(options->entries_max, sizeof(*nat->rows));
	nat->free = memory_zeroed(options->entries_max, sizeof(*nat->free));
	index_init(&nat->index, options->entries_max);
	index_init(&nat->ended, options->entries_max);
	return nat;
}

void nat_free(struct nat *nat)
{
	if (!nat)
		return;
	index_done(&nat->index);
	index_done(&nat->ended);
	free(nat->rows);
	free(nat->free);
	free(nat);
}

/* SipHash of what names an entry: 64 bits keep 65,536 entries apart for longer than any node runs.
 */
static uint64_t key_of(const struct conntrack_entry *entry)
{
	struct {
		uint32_t netns;
		uint16_t zone, protocol;
		struct conntrack_tuple original;
	} name;
	memset(&name, 0, sizeof(name));
	name.netns = entry->netns;
	name.zone = entry->zone;
	name.protocol = entry->protocol;
	name.original = entry->original;
	return hash_bytes(&name, sizeof(name));
}

static void end(struct nat *nat, struct row *row)
{
	row->entry.ended = true;
	nat->options.told(nat->options.context, &row->entry);
	index_remove(&nat->index, row->key);
	row->seen_ns = 0;
	nat->free[nat->free_count++] = (uint32_t)(row - nat->rows);
}

static struct row *add(struct nat *nat, uint64_t key)
{
	uint32_t number;
	if (nat->free_count) {
		number = nat->free[--nat->free_count];
	} else if (nat->high < nat->options.entries_max) {
		number = nat->high++;
	} else {
		nat->stats.refused++;
		return NULL;
	}
	index_put(&nat->index, key, number);
	nat->rows[number].key = key;
	return &nat->rows[number];
}

static void remember_end(struct nat *nat, uint64_t key)
{
	if (!nat->dumping || index_get(&nat->ended, key) != INDEX_NONE)
		return;
	if (nat->ended.count < nat->ended.max)
		index_put(&nat->ended, key, 0);
	else
		nat->forgot = true;
}

/* As nat_put for an entry that is there; row: where it is known, or NULL. */
static void put(struct nat *nat, const struct conntrack_entry *entry, uint64_t key, struct row *row,
		uint64_t now_ns)
{
	bool same = row && memcmp(&row->entry.reply, &entry->reply, sizeof(entry->reply)) == 0;
	if (row && !same)
		end(nat, row); /* its end was lost: the tuple has another destination now */
	if (!same)
		row = add(nat, key);
	if (!row)
		return;
	bool again = !same || row->entry.mark != entry->mark;
	row->entry = *entry;
	row->seen_ns = now_ns;
	if (again)
		nat->options.told(nat->options.context, entry);
}

void nat_put(struct nat *nat, const struct conntrack_entry *entry, uint64_t now_ns)
{
	uint64_t key = key_of(entry);
	uint32_t number = index_get(&nat->index, key);
	struct row *row = number == INDEX_NONE ? NULL : &nat->rows[number];
	if (entry->ended) {
		remember_end(nat, key);
		if (row)
			end(nat, row);
		return;
	}
	put(nat, entry, key, row, now_ns);
}

void nat_dump_begins(struct nat *nat)
{
	nat->dumping = true;
	nat->forgot = false;
	nat->swept = 0;
}

void nat_dumped(struct nat *nat, const struct conntrack_entry *entry, uint64_t began_ns,
		uint64_t now_ns)
{
	uint64_t key = key_of(entry);
	uint32_t number = index_get(&nat->index, key);
	struct row *row = number == INDEX_NONE ? NULL : &nat->rows[number];
	if (row && row->seen_ns >= began_ns)
		return;
	if (index_get(&nat->ended, key) != INDEX_NONE)
		return;
	nat->stats.found += !row;
	put(nat, entry, key, row, now_ns);
}

void nat_dump_fails(struct nat *nat)
{
	nat->dumping = false;
	index_clear(&nat->ended);
}

void nat_forget(struct nat *nat, bool (*is_gone)(void *context, uint32_t netns), void *context)
{
	for (uint32_t i = 0; i < nat->high; i++)
		if (nat->rows[i].seen_ns && is_gone(context, nat->rows[i].entry.netns))
			end(nat, &nat->rows[i]);
}

bool nat_sweep(struct nat *nat, uint32_t rows, uint64_t began_ns,
	       bool (*dumped)(void *context, uint32_t netns), void *context)
{
	for (; rows && nat->swept < nat->high; rows--) {
		struct row *row = &nat->rows[nat->swept++];
		if (!row->seen_ns || row->seen_ns >= began_ns || !dumped(context, row->entry.netns))
			continue;
		nat->stats.swept++;
		end(nat, row);
	}
	return nat->swept < nat->high;
}

bool nat_dump_ends(struct nat *nat)
{
	nat_dump_fails(nat);
	return !nat->forgot;
}

void nat_again(struct nat *nat, uint32_t calls)
{
	nat->carry += nat->high;
	for (uint64_t n = nat->carry / calls; n; n--) {
		if (nat->cursor >= nat->high)
			nat->cursor = 0;
		const struct row *row = &nat->rows[nat->cursor++];
		if (row->seen_ns)
			nat->options.told(nat->options.context, &row->entry);
	}
	nat->carry %= calls;
}

struct nat_stats nat_stats(const struct nat *nat)
{
	struct nat_stats stats = nat->stats;
	stats.live = nat->index.count;
	return stats;
}
