#include "daemon/firing.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

struct known {
	char key[ALERT_KEY_TEXT];
	uint64_t sequence;
	struct firing_alert *fires; /* NULL: it does not */
};

struct firing {
	struct known *known; /* in the order in which they came */
	size_t count, max;
	uint32_t *slots; /* number of a known one + 1, by its key's hash; 0: none */
	size_t slots_count;
};

struct firing *firing_new(void)
{
	return memory_zeroed(1, sizeof(struct firing));
}

void firing_free(struct firing *firing)
{
	if (!firing)
		return;
	for (size_t i = 0; i < firing->count; i++)
		free(firing->known[i].fires);
	free(firing->known);
	free(firing->slots);
	free(firing);
}

/* The slot of the key, or the free one where it belongs. */
static uint32_t *slot_of(const struct firing *firing, const char *key)
{
	size_t mask = firing->slots_count - 1, at = hash_bytes(key, strlen(key)) & mask;

	while (firing->slots[at] && strcmp(firing->known[firing->slots[at] - 1].key, key) != 0)
		at = (at + 1) & mask;
	return &firing->slots[at];
}

/* At most half of the slots are used. */
static void make_room(struct firing *firing)
{
	if (firing->count == firing->max) {
		firing->max = memory_grown(firing->max, firing->count + 1);
		firing->known = memory_resize(firing->known, firing->max, sizeof(*firing->known));
	}
	if (2 * (firing->count + 1) <= firing->slots_count)
		return;
	free(firing->slots);
	firing->slots_count = firing->slots_count ? 2 * firing->slots_count : 64;
	firing->slots = memory_zeroed(firing->slots_count, sizeof(*firing->slots));
	for (size_t i = 0; i < firing->count; i++)
		*slot_of(firing, firing->known[i].key) = (uint32_t)i + 1;
}

static struct known *known_of(struct firing *firing, const char *key)
{
	uint32_t *slot;

	make_room(firing);
	slot = slot_of(firing, key);
	if (!*slot) {
		struct known *known = &firing->known[firing->count];

		*known = (struct known){0};
		memcpy(known->key, key, strlen(key));
		*slot = (uint32_t)++firing->count;
	}
	return &firing->known[*slot - 1];
}

bool firing_take(struct firing *firing, const struct alert *alert, const struct notify_place *place)
{
	struct known *known = known_of(firing, alert->key);

	if (alert->sequence <= known->sequence)
		return false;
	known->sequence = alert->sequence;
	if (alert->state != ALERT_FIRING) {
		free(known->fires);
		known->fires = NULL;
		return true;
	}
	if (!known->fires)
		known->fires = memory_zeroed(1, sizeof(*known->fires));
	*known->fires = (struct firing_alert){*alert, *place};
	return true;
}

const struct firing_alert *firing_next(const struct firing *firing, size_t *at)
{
	while (*at < firing->count) {
		const struct known *known = &firing->known[(*at)++];

		if (known->fires)
			return known->fires;
	}
	return NULL;
}
