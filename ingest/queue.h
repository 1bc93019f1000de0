/* A growing array that is emptied and filled again, pane after pane; its memory stays. One thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct queue {
	void *items;
	size_t count, capacity;
};

/* Room for count items in all; those that are there stay. */
void *queue_room(struct queue *queue, size_t count, size_t size);

/* One item more, not set. */
static inline void *queue_add(struct queue *queue, size_t size)
{
	if (__builtin_expect(queue->count == queue->capacity, 0))
		queue_room(queue, queue->count + 1, size);
	return (uint8_t *)queue->items + size * queue->count++;
}
