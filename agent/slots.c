#include "agent/slots.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "agent/index.h"
#include "base/hash.h"
#include "base/memory.h"

struct slots {
	struct slot *slots;
	struct index index, peers;
	uint32_t *free;	 /* a stack; numbers not yet used come from high */
	uint32_t *ended; /* free from the next batch on */
	uint32_t free_count, ended_count;
	uint32_t high, max;
	uint64_t refused;
};

struct slots *slots_new(uint32_t slots_max)
{
	struct slots *slots = memory_zeroed(1, sizeof(*slots));
	slots->slots = memory_zeroed(slots_max, sizeof(*slots->slots));
	slots->free = memory_zeroed(slots_max, sizeof(*slots->free));
	slots->ended = memory_zeroed(slots_max, sizeof(*slots->ended));
	slots->max = slots_max;
	index_init(&slots->index, slots_max);
	index_init(&slots->peers, slots_max);
	return slots;
}

void slots_free(struct slots *slots)
{
	if (!slots)
		return;
	index_done(&slots->index);
	index_done(&slots->peers);
	free(slots->slots);
	free(slots->free);
	free(slots->ended);
	free(slots);
}

struct slot *slots_get(struct slots *slots, uint64_t cookie)
{
	uint32_t number = index_get(&slots->index, cookie);
	return number == INDEX_NONE ? NULL : &slots->slots[number];
}

struct slot *slots_add(struct slots *slots, uint64_t cookie)
{
	assert(cookie);
	uint32_t number;
	if (slots->free_count) {
		number = slots->free[--slots->free_count];
	} else if (slots->high < slots->max) {
		number = slots->high++;
	} else {
		slots->refused++;
		return NULL;
	}
	struct slot *slot = &slots->slots[number];
	*slot = (struct slot){.cookie = cookie, .generation = slot->generation + 1};
	index_put(&slots->index, cookie, number);
	return slot;
}

/* SipHash: 64 bits keep all peers that a node ever has apart. */
static uint64_t peer_key(uint64_t socket, const struct address *remote, uint16_t remote_port)
{
	struct {
		uint64_t socket;
		struct address remote;
		uint64_t port;
	} name;
	memset(&name, 0, sizeof(name));
	name.socket = socket;
	name.remote = *remote;
	name.port = remote_port;
	return hash_bytes(&name, sizeof(name)) | 1;
}

void slots_put_peer(struct slots *slots, struct slot *slot, uint64_t socket)
{
	uint64_t key = peer_key(socket, &slot->remote, slot->remote_port);
	if (index_get(&slots->peers, key) != INDEX_NONE)
		return;
	slot->peer = key;
	index_put(&slots->peers, key, slots_number(slots, slot));
}

struct slot *slots_get_peer(struct slots *slots, uint64_t socket, const struct address *remote,
			    uint16_t remote_port)
{
	uint32_t number = index_get(&slots->peers, peer_key(socket, remote, remote_port));
	return number == INDEX_NONE ? NULL : &slots->slots[number];
}

void slots_end(struct slots *slots, struct slot *slot)
{
	index_remove(&slots->index, slot->cookie);
	if (slot->peer)
		index_remove(&slots->peers, slot->peer);
	slot->cookie = slot->peer = 0;
	slots->ended[slots->ended_count++] = slots_number(slots, slot);
}

void slots_release(struct slots *slots)
{
	while (slots->ended_count)
		slots->free[slots->free_count++] = slots->ended[--slots->ended_count];
}

uint32_t slots_number(const struct slots *slots, const struct slot *slot)
{
	return (uint32_t)(slot - slots->slots);
}

uint32_t slots_high(const struct slots *slots)
{
	return slots->high;
}

struct slot *slots_at(struct slots *slots, uint32_t number)
{
	return slots->slots[number].cookie ? &slots->slots[number] : NULL;
}

struct slots_stats slots_stats(const struct slots *slots)
{
	return (struct slots_stats){.live = slots->index.count, .refused = slots->refused};
}
