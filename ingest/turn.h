/* Which end's half counted when. The join turns a connection's counting over to the other end, and
 * back, at the starts of ten seconds; both halves are told the same turns. So each ten seconds of a
 * connection belong to one half, and what comes later is counted as its own time says. A half that
 * was never turned, as nearly all, has none; else its last TURNS_MAX, before which it counts as it
 * did before the oldest of them. Plain data. */
#pragma once

#include <stdint.h>

enum { TURNS_MAX = 4 };

/* From which ten seconds on (ten_of()) the other side counted than before, newest first; 0: none.
 */
struct turns {
	uint32_t at[TURNS_MAX];
};

/* counts_from: since the newest. */
static inline uint8_t turns_side(const struct turns *turns, uint8_t counts_from, uint32_t ten)
{
	for (int i = 0; i < TURNS_MAX && turns->at[i] > ten; i++)
		counts_from ^= 1;
	return counts_from;
}

struct label;
struct place;

/* What the label says of them. before: the half's place so far, or NULL; counts_from: in the place
 * to come, as the label has it. */
void turns_label(struct turns *turns, const struct label *label, const struct place *before,
		 uint8_t *counts_from);
