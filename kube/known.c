#include "kube/known.h"

#include <assert.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "kube/object.h"

enum { SLOTS_MIN = 64 };

struct entry {
	uint64_t version; /* hash */
	uint32_t round;
	char uid[KUBE_UID_MAX + 1]; /* empty: a free slot */
};

/* Linear probing over a power of two of slots, at most three quarters of them in use. */
struct kube_known {
	struct entry *slots;
	uint32_t mask, count, max;
};

struct kube_known *kube_known_new(uint32_t max)
{
	struct kube_known *known = memory_zeroed(1, sizeof(*known));
	known->slots = memory_zeroed(SLOTS_MIN, sizeof(*known->slots));
	known->mask = SLOTS_MIN - 1;
	known->max = max;
	return known;
}

void kube_known_free(struct kube_known *known)
{
	if (!known)
		return;
	memory_free(known->slots);
	memory_free(known);
}

uint32_t kube_known_count(const struct kube_known *known)
{
	return known->count;
}

static uint32_t home_of(const struct kube_known *known, const char *uid)
{
	return (uint32_t)hash_bytes(uid, strlen(uid)) & known->mask;
}

/* The uid's slot, or the free one where it would be. */
static struct entry *slot_of(const struct kube_known *known, const char *uid)
{
	uint32_t at = home_of(known, uid);
	while (known->slots[at].uid[0] && strcmp(known->slots[at].uid, uid) != 0)
		at = (at + 1) & known->mask;
	return &known->slots[at];
}

static void grow(struct kube_known *known)
{
	struct entry *former = known->slots;
	uint32_t slots = known->mask + 1;
	known->slots = memory_zeroed(2 * (size_t)slots, sizeof(*former));
	known->mask = 2 * slots - 1;
	for (uint32_t i = 0; i < slots; i++)
		if (former[i].uid[0])
			*slot_of(known, former[i].uid) = former[i];
	memory_free(former);
}

enum kube_news kube_known_put(struct kube_known *known, const char *uid, const char *version,
			      uint32_t round)
{
	uint64_t hash = hash_bytes(version, strlen(version));
	struct entry *entry = slot_of(known, uid);
	assert(uid[0] && strlen(uid) <= KUBE_UID_MAX);
	if (entry->uid[0]) {
		bool same = entry->version == hash;
		entry->version = hash;
		entry->round = round;
		return same ? KUBE_NEWS_SAME : KUBE_NEWS_CHANGED;
	}
	if (known->count == known->max)
		return KUBE_NEWS_FULL;
	if (4 * (uint64_t)(known->count + 1) > 3 * (uint64_t)(known->mask + 1)) {
		grow(known);
		entry = slot_of(known, uid);
	}
	memcpy(entry->uid, uid, strlen(uid) + 1);
	entry->version = hash;
	entry->round = round;
	known->count++;
	return KUBE_NEWS_ADDED;
}

/* What stands behind a slot that becomes free moves up, unless it is nearer to its home as it is.
 */
static void free_slot(struct kube_known *known, uint32_t hole)
{
	for (uint32_t at = (hole + 1) & known->mask; known->slots[at].uid[0];
	     at = (at + 1) & known->mask) {
		uint32_t home = home_of(known, known->slots[at].uid);
		if (((at - home) & known->mask) < ((at - hole) & known->mask))
			continue;
		known->slots[hole] = known->slots[at];
		hole = at;
	}
	known->slots[hole].uid[0] = '\0';
	known->count--;
}

bool kube_known_drop(struct kube_known *known, const char *uid)
{
	struct entry *entry = slot_of(known, uid);
	if (!entry->uid[0])
		return false;
	free_slot(known, (uint32_t)(entry - known->slots));
	return true;
}

void kube_known_sweep(struct kube_known *known, uint32_t round,
		      void (*gone)(void *context, const char *uid), void *context)
{
	char uid[KUBE_UID_MAX + 1];
	for (uint32_t at = 0; at <= known->mask;) {
		struct entry *entry = &known->slots[at];
		if (!entry->uid[0] || entry->round == round) {
			at++;
			continue;
		}
		memcpy(uid, entry->uid, sizeof(uid));
		free_slot(known, at); /* another may stand there now: looked at next */
		gone(context, uid);
	}
}
