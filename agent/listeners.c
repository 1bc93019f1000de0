#include "agent/listeners.h"

#include <assert.h>
#include <stdlib.h>

#include "agent/index.h"
#include "base/memory.h"

struct listeners {
	struct listener *rows;
	struct index index;
	uint32_t *free; /* a stack; rows not yet used come from high */
	uint32_t free_count, high, max;
	uint64_t refused;
};

struct listeners *listeners_new(uint32_t listeners_max)
{
	struct listeners *listeners = memory_zeroed(1, sizeof(*listeners));
	listeners->rows = memory_zeroed(listeners_max, sizeof(*listeners->rows));
	listeners->free = memory_zeroed(listeners_max, sizeof(*listeners->free));
	listeners->max = listeners_max;
	index_init(&listeners->index, listeners_max);
	return listeners;
}

void listeners_free(struct listeners *listeners)
{
	if (!listeners)
		return;
	index_done(&listeners->index);
	free(listeners->rows);
	free(listeners->free);
	free(listeners);
}

struct listener *listeners_put(struct listeners *listeners, uint64_t cookie)
{
	assert(cookie);
	uint32_t row = index_get(&listeners->index, cookie);
	if (row != INDEX_NONE)
		return &listeners->rows[row];
	if (listeners->free_count) {
		row = listeners->free[--listeners->free_count];
	} else if (listeners->high < listeners->max) {
		row = listeners->high++;
	} else {
		listeners->refused++;
		return NULL;
	}
	listeners->rows[row] = (struct listener){.cookie = cookie};
	index_put(&listeners->index, cookie, row);
	return &listeners->rows[row];
}

void listeners_end(struct listeners *listeners, struct listener *listener)
{
	index_remove(&listeners->index, listener->cookie);
	listener->cookie = 0;
	listeners->free[listeners->free_count++] = (uint32_t)(listener - listeners->rows);
}

uint32_t listeners_high(const struct listeners *listeners)
{
	return listeners->high;
}

struct listener *listeners_at(struct listeners *listeners, uint32_t number)
{
	return listeners->rows[number].cookie ? &listeners->rows[number] : NULL;
}

uint32_t listeners_live(const struct listeners *listeners)
{
	return listeners->index.count;
}

uint64_t listeners_refused(const struct listeners *listeners)
{
	return listeners->refused;
}
