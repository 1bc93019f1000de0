/* Which readers were told of each of some numbered things in the present period: everything is told
 * to each reader once and again every NAMES_REFRESH_PANES. A period begins with another pane for
 * each number, so that what many readers need is not told all at once. A number's words are its
 * period and a bit a reader: 8 bytes for 32 readers. Not for two threads at once. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/name.h"

struct tellings {
	uint32_t *words;
	uint32_t numbers, stride;
};

static inline struct tellings tellings_of(uint32_t readers)
{
	return (struct tellings){.stride = 1 + (readers + 31) / 32};
}

static inline void tellings_done(struct tellings *tellings)
{
	memory_free(tellings->words);
	*tellings = (struct tellings){0};
}

/* The number is another thing's now: nobody was told of it. */
static inline void tellings_clear(struct tellings *tellings, uint32_t number)
{
	if (number >= tellings->numbers) {
		tellings->numbers = (uint32_t)memory_grown(tellings->numbers, (size_t)number + 1);
		tellings->words =
			memory_resize(tellings->words, (size_t)tellings->numbers * tellings->stride,
				      sizeof(*tellings->words));
	}
	tellings->words[(size_t)number * tellings->stride] = 0;
}

/* Marks the reader told. Returns whether it was not yet, in this period: it must be told now. */
static inline bool tellings_mark(struct tellings *tellings, uint32_t number, uint32_t reader,
				 uint64_t pane)
{
	uint32_t *words = &tellings->words[(size_t)number * tellings->stride];
	uint32_t period = (uint32_t)((pane + number) / NAMES_REFRESH_PANES) + 1;
	uint32_t *word = &words[1 + reader / 32], bit = 1U << reader % 32;
	if (words[0] != period) {
		words[0] = period;
		memset(words + 1, 0, (tellings->stride - 1) * sizeof(*words));
	}
	bool due = !(*word & bit);
	*word |= bit;
	return due;
}
