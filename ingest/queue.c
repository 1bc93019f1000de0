#include "ingest/queue.h"

#include "base/memory.h"

void *queue_room(struct queue *queue, size_t count, size_t size)
{
	if (count > queue->capacity || !queue->items) {
		queue->capacity = memory_grown(queue->capacity, count);
		queue->items = memory_resize(queue->items, queue->capacity, size);
	}
	return queue->items;
}
