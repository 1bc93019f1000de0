#include "ingest/turn.h"

#include "base/clock.h"
#include "base/memory.h"
#include "ingest/state.h"

static void turns_push(struct turns *turns, uint32_t since)
{
	size_t others = sizeof(turns->at) - sizeof(turns->at[0]);
	if (turns->at[0] == since) { /* turned back before it was acted on */
		memmove(&turns->at[0], &turns->at[1], others);
		turns->at[TURNS_MAX - 1] = 0;
		return;
	}
	memmove(&turns->at[1], &turns->at[0], others);
	turns->at[0] = since;
}

/* The join forgets turns when a node is back for long, and then says that a side always counted: of
 * a pair that is known the turns themselves say more. */
void turns_label(struct turns *turns, const struct label *label, const struct place *before,
		 uint8_t *counts_from)
{
	uint32_t since = label->counts_since;
	bool same = before && *counts_from == before->counts_from;
	if (!before || before->joined != label->joined || (!label->joined && !since && !same))
		*turns = (struct turns){.at = {since}};
	else if (!since)
		*counts_from = before->counts_from;
	else if (!same)
		turns_push(turns, since);
}

/* ---- of halves ---- */

static struct turns *half_turns(const struct mirror *mirror, uint32_t index)
{
	return &mirror->pages.pages[index >> PAGE_SHIFT].turns[index & (PAGE_HALVES - 1)];
}

struct turns turns_of(const struct mirror *mirror, uint32_t index, const struct half *half)
{
	return half->turned ? *half_turns(mirror, index) : (struct turns){0};
}

/* Where its turns will be kept. */
static struct turns *turns_room(const struct mirror *mirror, uint32_t index)
{
	struct page *page = &mirror->pages.pages[index >> PAGE_SHIFT];
	if (!page->turns)
		page->turns = memory_zeroed(PAGE_HALVES, sizeof(*page->turns));
	return half_turns(mirror, index);
}

void turns_move(struct mirror *mirror, uint32_t from, uint32_t to)
{
	if (pages_at(&mirror->pages, from)->turned)
		*turns_room(mirror, to) = *half_turns(mirror, from);
}

void turns_set(struct mirror *mirror, uint32_t index, struct half *half, const struct turns *turns)
{
	if (!half->turned && !turns->at[0])
		return;
	if (half->gapped && turns_of(mirror, index, half).at[0] != turns->at[0])
		half->astride = 1;
	*turns_room(mirror, index) = *turns;
	half->turned = turns->at[0] != 0;
}

void turn_gap(struct mirror *mirror, uint32_t index, struct half *half, uint64_t since_ns)
{
	if (half->turned && half_turns(mirror, index)->at[0] > ten_of(since_ns))
		half->astride = 1;
}

static uint8_t half_counts_from(const struct half *half)
{
	return half->rules & RULE_COUNTS_FROM_SERVER ? SIDE_SERVER : SIDE_CLIENT;
}

enum part_kind turn_late(const struct mirror *mirror, uint32_t index, const struct half *half,
			 uint64_t time_ns)
{
	if (!half->turned)
		return PART_LATE;
	uint8_t now = half_counts_from(half);
	uint8_t then = turns_side(half_turns(mirror, index), now, ten_of(time_ns));
	return then == now ? PART_LATE : PART_TURNED;
}

enum part_kind turn_healed(const struct half *half, enum part_kind kind)
{
	uint8_t own = half->rules & RULE_SERVER_SIDE ? SIDE_SERVER : SIDE_CLIENT;
	return half_counts_from(half) == own ? PART_TURNED : kind;
}
