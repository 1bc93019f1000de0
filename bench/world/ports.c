#include "bench/world/state.h"

#include <assert.h>

uint16_t ports_take(struct ports *ports)
{
	if (ports->used == PORT_COUNT)
		return 0;
	for (;;) {
		uint32_t port = ports->next;

		ports->next = (port + 1) % PORT_COUNT;
		if (ports->taken[port / 64] >> (port % 64) & 1)
			continue;
		ports->taken[port / 64] |= 1ULL << (port % 64);
		ports->used++;
		return (uint16_t)(PORT_FIRST + port);
	}
}

void ports_give(struct ports *ports, uint16_t port)
{
	uint32_t at = (uint32_t)port - PORT_FIRST;

	assert(ports->taken[at / 64] >> (at % 64) & 1);
	ports->taken[at / 64] &= ~(1ULL << (at % 64));
	ports->used--;
}
