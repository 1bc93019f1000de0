/* Texts kept once, counted by their users and known by number: what thousands of pods have in
 * common. 0 is the empty text. When the table is full a new text is not kept, which is counted, and
 * counts as empty. Pure; one thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kube/catalog/store.h"

struct texts {
	struct store store;
	size_t bytes; /* of the texts themselves, as the allocator rounds them */
	uint64_t refused;
};

/* Must not move afterwards. */
void texts_init(struct texts *texts, uint32_t texts_max);
void texts_done(struct texts *texts);

/* The number of a text with one more user. */
uint32_t texts_hold(struct texts *texts, const char *text);
void texts_drop(struct texts *texts, uint32_t number);
/* What stood at `place` is dropped for this one. */
void texts_set(struct texts *texts, uint32_t *place, const char *text);
/* Lent until its last user drops it. */
const char *texts_get(const struct texts *texts, uint32_t number);
size_t texts_bytes(const struct texts *texts);
