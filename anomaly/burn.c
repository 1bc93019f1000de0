#include "anomaly/burn.h"

#include "base/clock.h"

enum { RING_MINUTES, RING_HOURS };

static const uint64_t bucket_ns[] = {300 * NS_PER_S, 3600 * NS_PER_S};

/* quiet: below this share of the rate. */
#define CLEAR_SHARE 0.5

static const struct {
	const char *name;
	double burn;
	uint32_t ring, buckets;		    /* of the long window */
	uint32_t short_ring, short_buckets; /* and of the short one */
} rates[BURN_RATES] = {
	{"1h", 14.4, RING_MINUTES, 12, RING_MINUTES, 1},
	{"6h", 6, RING_MINUTES, 72, RING_MINUTES, 6},
	{"3d", 1, RING_HOURS, 72, RING_MINUTES, 72},
};

static void ring_turn(struct burn_ring *ring, uint64_t number)
{
	for (uint32_t turned = 0; ring->newest < number && turned < BURN_BUCKETS; turned++) {
		ring->newest++;
		ring->failed[ring->newest % BURN_BUCKETS] = 0;
		ring->all[ring->newest % BURN_BUCKETS] = 0;
	}
	/* What is left of a long gap: all buckets are empty. */
	ring->newest = ring->newest < number ? number : ring->newest;
}

static uint32_t sum_up(uint32_t to, uint64_t more)
{
	return more < UINT32_MAX - to ? to + (uint32_t)more : UINT32_MAX;
}

void burn_add(struct burn *burn, uint64_t now_ns, uint64_t failed, uint64_t all)
{
	if (burn->since_ns == 0)
		burn->since_ns = now_ns;
	for (uint32_t i = 0; i < 2; i++) {
		struct burn_ring *ring = &burn->rings[i];
		ring_turn(ring, (now_ns - 1) / bucket_ns[i]);
		uint32_t at = ring->newest % BURN_BUCKETS;
		ring->failed[at] = sum_up(ring->failed[at], failed);
		ring->all[at] = sum_up(ring->all[at], all);
	}
}

/* So many whole buckets and the one under way. */
static void ring_sums(const struct burn_ring *ring, uint32_t buckets, uint64_t *failed,
		      uint64_t *all)
{
	*failed = *all = 0;
	for (uint32_t i = 0; i <= buckets; i++) {
		uint32_t at = (uint32_t)((ring->newest + BURN_BUCKETS - i) % BURN_BUCKETS);
		*failed += ring->failed[at];
		*all += ring->all[at];
	}
}

struct burn_look burn_look(const struct burn *burn, uint32_t rate, double objective,
			   uint64_t now_ns)
{
	uint64_t window_ns = burn_window_ns(rate);
	uint64_t short_failed, short_all;
	struct burn_look look = {
		.quiet = true, .window_ns = window_ns, .limit = rates[rate].burn * (1 - objective)};
	ring_sums(&burn->rings[rates[rate].ring], rates[rate].buckets, &look.failed, &look.all);
	ring_sums(&burn->rings[rates[rate].short_ring], rates[rate].short_buckets, &short_failed,
		  &short_all);
	/* More than all cannot fail. */
	look.limit = look.limit < CLEAR_SHARE ? look.limit : CLEAR_SHARE;
	look.ratio = look.all ? (double)look.failed / (double)look.all : 0;
	look.known = look.all > 0 && now_ns - burn->since_ns >= window_ns / 2;
	double lately = short_all ? (double)short_failed / (double)short_all : 0;
	if (!look.known) {
		bool whole = now_ns - burn->since_ns >=
			     bucket_ns[rates[rate].short_ring] * rates[rate].short_buckets;
		look.lasting = !whole || (short_all && lately > look.limit * CLEAR_SHARE);
		return look;
	}
	look.fire =
		look.ratio > look.limit && lately > look.limit && short_failed >= BURN_FAILED_MIN;
	look.quiet = look.ratio <= look.limit * CLEAR_SHARE || lately <= look.limit * CLEAR_SHARE;
	return look;
}

uint64_t burn_window_ns(uint32_t rate)
{
	return bucket_ns[rates[rate].ring] * rates[rate].buckets;
}

uint64_t burn_kept_ns(void)
{
	return bucket_ns[RING_HOURS] * BURN_BUCKETS;
}

const char *burn_name(uint32_t rate)
{
	return rates[rate].name;
}

bool burn_pages(uint32_t rate)
{
	return rates[rate].burn > 1;
}
