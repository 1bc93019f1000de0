/* The sum and sketches of a long window (a minute, an hour) between two additions: a string of
 * varints, as an edge has two of them and each is touched once in 10 s at most. A few bytes a
 * column and cell instead of eight. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "aggregate/sum.h"
#include "base/sketch.h"

struct thawed {
	struct sum sum;
	struct sketch connect, srtt;
};

struct frozen {
	uint8_t *bytes; /* NULL: nothing was added */
	uint32_t size;
};

/* Makes thawed what is frozen; its sketches' memory is kept. */
void frozen_thaw(const struct frozen *frozen, struct thawed *thawed);
void frozen_freeze(struct frozen *frozen, const struct thawed *thawed);
void frozen_clear(struct frozen *frozen);
/* Returns the samples that did not fit their cells. */
uint64_t thawed_add(struct thawed *thawed, const struct thawed *other);
void thawed_clear(struct thawed *thawed);
void thawed_done(struct thawed *thawed);
