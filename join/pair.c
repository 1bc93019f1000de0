/* Pairing is a stable matching: a half takes the candidate whose opening is nearest, away from
 * another if need be, who then seeks again. Nearness is a total order (ties by refs) and the same
 * from both sides, so the result is the same in whatever order the halves came. A pair settles when
 * it is told or one_sided_ns old. */
#include "join/state.h"

static bool half_may_pair(const struct half *half)
{
	return half_is_live(half) && !half->settled && !(half->flags & HALF_FAILED);
}

static bool lives_touch(const struct join *join, const struct half *a, const struct half *b,
			uint64_t slack_ns)
{
	uint64_t a_closed_ns = half_closed_ns(join, a), b_closed_ns = half_closed_ns(join, b);
	bool a_lasts =
		a_closed_ns > UINT64_MAX - slack_ns || b->opened_ns <= a_closed_ns + slack_ns;
	bool b_lasts =
		b_closed_ns > UINT64_MAX - slack_ns || a->opened_ns <= b_closed_ns + slack_ns;
	return a_lasts && b_lasts;
}

static uint64_t opening_distance(const struct half *a, const struct half *b)
{
	return a->opened_ns > b->opened_ns ? a->opened_ns - b->opened_ns
					   : b->opened_ns - a->opened_ns;
}

bool halves_certain(const struct join *join, const struct half *a, const struct half *b)
{
	return lives_touch(join, a, b, 0) && opening_distance(a, b) <= PAIR_SLACK_NS;
}

static int compare_refs(const struct half_ref *a, const struct half_ref *b)
{
	if (a->source != b->source)
		return a->source < b->source ? -1 : 1;
	if (a->index != b->index)
		return a->index < b->index ? -1 : 1;
	return (a->generation > b->generation) - (a->generation < b->generation);
}

/* Whether half is nearer to a than to b, two halves of the other side. */
static bool nearer(const struct half *half, const struct half *a, const struct half *b)
{
	uint64_t to_a = opening_distance(half, a), to_b = opening_distance(half, b);
	if (to_a != to_b)
		return to_a < to_b;
	/* Pairs are ordered by (distance, client ref, server ref); with one end in common the other
	 * decides. */
	return compare_refs(&a->ref, &b->ref) < 0;
}

static bool would_pair(const struct join *join, const struct half *half,
		       const struct half *candidate)
{
	if (candidate->side == half->side || !half_may_pair(candidate))
		return false;
	if ((half->flags & HALF_TOLD) && (candidate->flags & HALF_TOLD))
		return false; /* both were told as flows of their own: one of those would be left
				 over */
	if (!lives_touch(join, half, candidate, PAIR_SLACK_NS))
		return false;
	return !candidate->peer || nearer(candidate, half, &join->halves[candidate->peer]);
}

static void seek_again(struct join *join, uint32_t number)
{
	*(uint32_t *)array_add(&join->seekers, sizeof(uint32_t)) = number;
}

void half_part(struct join *join, uint32_t number)
{
	struct half *half = &join->halves[number];
	uint32_t peer = half->peer;
	if (!peer)
		return;
	half->peer = 0;
	join->halves[peer].peer = 0;
	join->pairs--;
	half_change(join, number);
	half_change(join, peer);
	seek_again(join, peer);
}

static void half_take(struct join *join, uint32_t number, uint32_t peer)
{
	half_part(join, number);
	half_part(join, peer);
	join->halves[number].peer = peer;
	join->halves[peer].peer = number;
	join->pairs++;
	/* A peer confirms a guessed role. */
	join->halves[number].flags &= (uint16_t) ~(HALF_ROLE_GUESSED | HALF_VISITING);
	join->halves[peer].flags &= (uint16_t) ~(HALF_ROLE_GUESSED | HALF_VISITING);
	half_change(join, number);
	half_change(join, peer);
}

static void half_seek(struct join *join, uint32_t number)
{
	const struct half *half = &join->halves[number];
	if (!half_may_pair(half))
		return;
	if (half->peer && !lives_touch(join, half, &join->halves[half->peer], PAIR_SLACK_NS))
		half_part(join, number); /* its close showed that they never met */
	uint32_t best = half->peer;
	for (uint32_t at = join->chains[half->key].halves; at; at = join->halves[at].next_of_key) {
		const struct half *candidate = &join->halves[at];
		if (at == half->peer || !would_pair(join, half, candidate))
			continue;
		if (!best || nearer(half, candidate, &join->halves[best]))
			best = at;
	}
	if (best != half->peer)
		half_take(join, number, best);
}

void pairs_seek(struct join *join)
{
	/* Grows while it runs: who is left by a peer comes again. */
	for (size_t i = 0; i < join->seekers.count; i++)
		half_seek(join, ((uint32_t *)join->seekers.items)[i]);
	join->seekers.count = 0;
}
