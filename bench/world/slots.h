/* Slots as an agent gives them to its sockets: small dense numbers, the one freed last given first.
 * A slot that ended is given again only after world_slots_release (its batch was sealed), so that
 * no slot is two sockets in one batch; the generation goes up each time. Grows with the sockets
 * that live at once; zeros are empty. One thread. */
#pragma once

#include <stdint.h>

struct slots {
	uint32_t *generations;
	uint32_t *freed; /* [0, free_count) may be given; then as many ended since the last seal */
	uint32_t count, capacity, free_count, ended_count;
};

uint32_t world_slots_take(struct slots *slots, uint32_t *generation);
void world_slots_end(struct slots *slots, uint32_t slot);
void world_slots_release(struct slots *slots);
void world_slots_done(struct slots *slots);
