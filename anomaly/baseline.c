#include "anomaly/baseline.h"

#include <string.h>

#include "anomaly/logarithm.h"
#include "anomaly/monitor.h"
#include "anomaly/tail.h"
#include "base/clock.h"
#include "base/memory.h"

/* Effects as reasoned: what is less does not matter to anybody, however sure it is. rise, drop:
 * times the expected (drop 0: a low value is no departure); floor, drop_floor: and so much besides;
 * of ten seconds in the unit of the sums. small: differences below it are not noticed. minimum:
 * observations that make a value. */
static const struct {
	uint32_t metric, family;
	double rise, drop, floor, drop_floor, small;
	uint64_t minimum;
	double unit; /* of the sums to the metric's */
} levels[SIGNAL_LEVELS] = {
	/* Twice: what capacity allows for by rule of thumb. 20: what a client that starts anew
	   opens besides. */
	[SIGNAL_OPENED] = {METRIC_CONNECTIONS_OPENED, FAMILY_VOLUME, 2, 3, 20, 10, 10, 0, 0.1},
	/* 2 kB/s: below that a single response makes the difference. */
	[SIGNAL_BYTES] = {METRIC_BYTES, FAMILY_VOLUME, 2, 3, 20000, 10000, 10000, 0, 0.1},
	/* 1 ms: what scheduling and interrupts alone do to a connect in one zone. 10: BASELINE_FEW
	   slow ones are half of them then. */
	[SIGNAL_CONNECT_LATENCY] = {METRIC_CONNECT_LATENCY, FAMILY_LATENCY, 1.5, 0, 1e6, 0, 1e6, 10,
				    1e-9},
	[SIGNAL_RTT] = {METRIC_RTT, FAMILY_LATENCY, 1.5, 0, 1e6, 0, 1e6, 10, 1e-9},
	/* 0.5 %: throughput goes as one over the root of what is lost (Mathis et al. 1997), so that
	   is a seventh of what 0.01 % leaves. Of an edge between all zones a path that loses 2 %.
	 */
	[SIGNAL_RETRANSMITS] = {METRIC_RETRANSMIT_RATIO, FAMILY_LATENCY, 2, 0, 0.005, 0, 0.02, 200,
				1},
	/* 5 ms: a resolver that asks another one. */
	[SIGNAL_DNS_LATENCY] = {METRIC_DNS_LATENCY, FAMILY_LATENCY, 2, 0, 5e6, 0, 5e6, 10, 1e-9},
};

/* bad_min: fewer are no news. ratio: so much of all, and twice what is expected besides. prior: of
 * a subject without history. cold: may surprise from the first second, if COLD_BAD of them are at
 * least half. */
static const struct {
	uint32_t metric, family;
	double bad_min, ratio, prior;
	bool cold;
} shares[SIGNAL_SHARES] = {
	[SIGNAL_FAILED - SIGNAL_LEVELS] = {METRIC_FAILURE_RATIO, FAMILY_FAILURE, BASELINE_FEW, 0.02,
					   0.01, true},
	[SIGNAL_RESETS - SIGNAL_LEVELS] = {METRIC_CONNECTIONS_RESET, FAMILY_FAILURE, BASELINE_FEW,
					   0.05, 0.05, false},
	[SIGNAL_DNS_FAILED - SIGNAL_LEVELS] = {METRIC_DNS_FAILURE_RATIO, FAMILY_FAILURE,
					       BASELINE_FEW, 0.05, 0.05, false},
	/* Of a window, not of connections: a ratio of 10 is ten in ten seconds. */
	[SIGNAL_CLIENTS - SIGNAL_LEVELS] = {METRIC_CLIENTS_NEW, FAMILY_VOLUME, 10, 10, 0.05, false},
};

#define LN_10	    2.302585092994046
#define PRIOR_COUNT 20.0
#define COLD_BAD    20.0
#define COLD_RATIO  0.5
/* Half in a day of windows; in an incident a tenth of the pace. */
#define SHARE_KEEP 0.99991978f
#define SHARE_SLOW 0.1f
/* A peak counts so much at most, so that an outage never hides the next one. */
#define PEAK_MAX 9.0f
/* A young tail is a guess: surprise counts less by 1 + YOUNG / windows. */
#define YOUNG_WINDOWS 15.0f
#define LIMIT_STEPS   24
/* What surprises so much is not learned at its pace, from its second window up to its last. */
#define STRAY_DECADES 8.0f

enum { STRAY_WINDOWS_MIN = 30, STRAY_WINDOWS_MAX = 360, STRAY_LEARNED = 4 };

uint32_t signal_metric(uint32_t signal)
{
	return signal < SIGNAL_LEVELS ? levels[signal].metric
				      : shares[signal - SIGNAL_LEVELS].metric;
}

uint32_t signal_by_metric(uint32_t metric)
{
	uint32_t signal = 0;
	while (signal < SIGNALS && signal_metric(signal) != metric)
		signal++;
	return signal;
}

uint32_t signal_family(uint32_t signal)
{
	return signal < SIGNAL_LEVELS ? levels[signal].family
				      : shares[signal - SIGNAL_LEVELS].family;
}

bool signal_is_calm(uint32_t signal)
{
	return signal > SIGNAL_CONNECT_LATENCY && signal != SIGNAL_FAILED;
}

/* The detector's parameters but for two: what is rarer than labelled series could show still counts
 * for more, so views are not cut off where they are offline; and what is too little to matter is
 * told by guards, so spreads need less of a floor. */
void baseline_clock_init(struct baseline_clock *clock)
{
	struct detector_params params = detector_defaults;
	params.surprise_max = 12;
	params.floor = 0.02f;
	detector_plan_init(&clock->plan, &params, &detector_alert_defaults,
			   BASELINE_WINDOW_S * NS_PER_S);
}

void baseline_clock_set(struct baseline_clock *clock, uint64_t window_end_ns)
{
	clock->window = detector_window_at(&clock->plan,
					   (int64_t)(window_end_ns - BASELINE_WINDOW_S * NS_PER_S));
}

void baseline_clear(struct baseline *baseline)
{
	for (uint32_t i = 0; i < SIGNAL_LEVELS; i++) {
		if (baseline->levels[i])
			memory_free(baseline->levels[i]->full);
		memory_free(baseline->levels[i]);
		baseline->levels[i] = NULL;
	}
}

void baseline_free(struct baseline *baseline)
{
	if (!baseline)
		return;
	baseline_clear(baseline);
	memory_free(baseline);
}

uint32_t baseline_detectors(const struct baseline *baseline)
{
	uint32_t count = 0;
	for (uint32_t i = 0; baseline && i < SIGNAL_LEVELS; i++)
		count += baseline->levels[i] && baseline->levels[i]->full;
	return count;
}

/* --- values --- */

bool baseline_level_value(uint32_t signal, const struct window_sums *sums, double p95_ns,
			  double *value)
{
	uint64_t minimum = levels[signal].minimum;
	switch (signal) {
	case SIGNAL_OPENED:
		*value = (double)sums->opened;
		return true;
	case SIGNAL_BYTES:
		*value = (double)sums->bytes;
		return true;
	case SIGNAL_CONNECT_LATENCY:
		*value = p95_ns;
		return sums->connects >= minimum;
	case SIGNAL_RTT:
		*value = sums->srtt_count ? (double)sums->srtt_us * 1e3 / (double)sums->srtt_count
					  : 0;
		return sums->srtt_count >= minimum;
	case SIGNAL_RETRANSMITS:
		*value = sums->segments ? (double)sums->retransmits / (double)sums->segments : 0;
		return sums->segments >= minimum;
	default:
		*value = sums->dns_count ? (double)sums->dns_us * 1e3 / (double)sums->dns_count : 0;
		return sums->dns_count >= minimum;
	}
}

struct baseline_counts baseline_counts(uint32_t signal, const struct window_sums *sums)
{
	switch (signal) {
	case SIGNAL_FAILED:
		return (struct baseline_counts){(double)sums->failed,
						(double)(sums->opened + sums->failed)};
	case SIGNAL_RESETS:
		return (struct baseline_counts){(double)sums->resets,
						(double)(sums->opened + sums->resets)};
	case SIGNAL_DNS_FAILED:
		return (struct baseline_counts){(double)sums->dns_failed,
						(double)sums->dns_queries};
	default:
		return (struct baseline_counts){(double)sums->clients_new, 1};
	}
}

/* As the detector sees a value, and back: in octaves, above `small` of the signal, below which
 * nothing matters. Noise that grows with the value, as that of traffic and of latency does, is the
 * same noise then at any hour, and a drop to nothing as far as a rise. */
static double state_of(uint32_t signal, double value)
{
	double times = 1 + (value > 0 ? value : 0) / levels[signal].small;
	return (double)log2_of_one((float)(times < 1e30 ? times : 1e30));
}

static double value_of(uint32_t signal, double state)
{
	float octaves = (float)(state < 100 ? state : 100);
	return octaves > 0 ? ((double)exp2_of(octaves) - 1) * levels[signal].small : 0;
}

/* --- levels --- */

static bool full_speaks(const struct level *level)
{
	return level->full && level->full->count >= BASELINE_FULL_WINDOWS;
}

static uint32_t level_age(const struct level *level)
{
	return full_speaks(level) ? level->full->count : level->small.count;
}

static struct detector_usual level_usual(const struct baseline_clock *clock,
					 const struct level *level)
{
	return full_speaks(level) ? detector_usual(&clock->plan, level->full, &clock->window)
				  : detector_small_usual(&clock->plan, &level->small);
}

static float level_peek(const struct baseline_clock *clock, const struct level *level, uint64_t key,
			double state)
{
	float decades = full_speaks(level) ? detector_peek(&clock->plan, level->full, key,
							   &clock->window, state)
					   : detector_small_peek(&clock->plan, &level->small, key,
								 &clock->window, state);
	return decades / (1 + YOUNG_WINDOWS / (float)(level_age(level) + 1));
}

/* What could matter, given what is expected. */
static struct baseline_guard guard_of(uint32_t signal, double expected)
{
	struct baseline_guard guard = {
		.low = 0, .high = expected * levels[signal].rise + levels[signal].floor};
	if (levels[signal].drop > 0)
		guard.low = expected / levels[signal].drop - levels[signal].drop_floor;
	return guard;
}

struct baseline_guard baseline_guard(const struct baseline_clock *clock,
				     const struct baseline *baseline, uint32_t signal)
{
	const struct level *level = baseline ? baseline->levels[signal] : NULL;
	if (!level || level_age(level) == 0)
		return (struct baseline_guard){0, 1e30};
	return guard_of(signal, value_of(signal, level_usual(clock, level).expected));
}

struct baseline_look baseline_look_level(const struct baseline_clock *clock,
					 const struct baseline *baseline, uint32_t signal,
					 uint64_t key, double value, double shorter, uint32_t warm)
{
	const struct level *level = baseline->levels[signal];
	double unit = levels[signal].unit;
	struct baseline_look look = {.value = value * unit};
	if (!level || level_age(level) == 0)
		return look;
	struct detector_usual usual = level_usual(clock, level);
	double expected = value_of(signal, usual.expected);
	struct baseline_guard guard = guard_of(signal, expected);
	look.expected = expected * unit;
	look.least = value_of(signal, usual.least) * unit;
	look.most = value_of(signal, usual.most) * unit;
	if (level_age(level) < warm || (value <= guard.high && value >= guard.low))
		return look;
	double state = state_of(signal, value);
	look.decades =
		level_peek(clock, level, key, usual.expected + (state - usual.expected) / shorter);
	return look;
}

double baseline_limit_level(const struct baseline_clock *clock, const struct baseline *baseline,
			    uint32_t signal, uint64_t key, const struct baseline_look *look,
			    double shorter, float decades)
{
	const struct level *level = baseline->levels[signal];
	double unit = levels[signal].unit;
	double expected = state_of(signal, look->expected / unit);
	double from = expected, to = state_of(signal, look->value / unit);
	for (int i = 0; i < LIMIT_STEPS; i++) {
		double middle = (from + to) / 2;
		double seen = expected + (middle - expected) / shorter;
		if (level_peek(clock, level, key, seen) >= decades)
			to = middle;
		else
			from = middle;
	}
	/* Or where it begins to matter, if that is further. */
	struct baseline_guard guard = guard_of(signal, look->expected / unit);
	double limit = value_of(signal, to);
	if (look->value > look->expected)
		return (limit > guard.high ? limit : guard.high) * unit;
	limit = limit < guard.low ? limit : guard.low;
	return limit > 0 ? limit * unit : 0;
}

bool baseline_learn_level(const struct baseline_clock *clock, struct baseline *baseline,
			  uint32_t signal, uint64_t key, double value, bool room)
{
	struct level *level = baseline->levels[signal];
	double state = state_of(signal, value);
	bool made = false;
	if (!level)
		level = baseline->levels[signal] = memory_zeroed(1, sizeof(*level));
	struct baseline_look look =
		baseline_look_level(clock, baseline, signal, key, value, 1, STRAY_WINDOWS_MIN);
	level->strays = look.decades < STRAY_DECADES	    ? 0
			: level->strays < STRAY_WINDOWS_MAX ? level->strays + 1
							    : STRAY_WINDOWS_MAX;
	if (level->strays > 1 && level->strays < STRAY_WINDOWS_MAX &&
	    level->strays % STRAY_LEARNED != 0)
		return false;
	if (!level->full && detector_small_is_ripe(&level->small)) {
		level->held = !room;
		made = room;
		if (room)
			level->full = memory_zeroed(1, sizeof(*level->full));
	}
	if (!full_speaks(level))
		detector_small_step(&clock->plan, &level->small, key, &clock->window, state);
	if (level->full)
		detector_step(&clock->plan, level->full, key, &clock->window, state);
	return made;
}

/* --- shares --- */

static double share_expected(const struct share *share, uint32_t signal)
{
	double prior = shares[signal - SIGNAL_LEVELS].prior;
	return ((double)share->bad + PRIOR_COUNT * prior) / ((double)share->all + PRIOR_COUNT);
}

static float share_decades(const struct share *share, uint32_t signal,
			   struct baseline_counts counts)
{
	double expected = counts.all * share_expected(share, signal);
	if (counts.bad <= expected)
		return 0;
	return (float)((counts.bad * logarithm(counts.bad / expected) - (counts.bad - expected)) /
		       LN_10);
}

/* Whether it could matter. */
static bool share_matters(const struct share *share, uint32_t signal, struct baseline_counts counts)
{
	double ratio = shares[signal - SIGNAL_LEVELS].ratio;
	return counts.bad >= shares[signal - SIGNAL_LEVELS].bad_min &&
	       counts.bad >= (ratio + 2 * share_expected(share, signal)) * counts.all;
}

/* Without a past: what fails outright. */
static bool share_matters_cold(uint32_t signal, struct baseline_counts counts)
{
	return shares[signal - SIGNAL_LEVELS].cold && counts.bad >= COLD_BAD &&
	       counts.bad >= COLD_RATIO * counts.all;
}

/* A count is told as it is, a ratio as one. */
static double share_unit(uint32_t signal, struct baseline_counts counts)
{
	uint32_t metric = signal_metric(signal);
	if (metric == METRIC_CONNECTIONS_RESET || metric == METRIC_CLIENTS_NEW)
		return 1;
	return counts.all > 0 ? 1 / counts.all : 0;
}

struct baseline_look baseline_look_share(const struct baseline *baseline, uint32_t signal,
					 struct baseline_counts counts, uint32_t warm)
{
	/* What little was learned before the warm-up is not gone by: two that began at different
	 * times agree. */
	bool cold = baseline->windows < warm;
	const struct share *share =
		cold ? &(struct share){0} : &baseline->shares[signal - SIGNAL_LEVELS];
	double unit = share_unit(signal, counts);
	double expected = share_expected(share, signal) * counts.all;
	double most = shares[signal - SIGNAL_LEVELS].bad_min;
	struct baseline_look look = {.value = counts.bad * unit, .expected = expected * unit};
	most = expected > most ? expected : most;
	look.most = (most < counts.all || unit == 1 ? most : counts.all) * unit;
	if (cold ? !share_matters_cold(signal, counts) : !share_matters(share, signal, counts))
		return look;
	float decades = share_decades(share, signal, counts) - share->peak;
	look.decades = decades > 0 ? decades : 0;
	return look;
}

double baseline_limit_share(const struct baseline *baseline, uint32_t signal,
			    struct baseline_counts counts, const struct baseline_look *look,
			    float decades)
{
	const struct share *share = &baseline->shares[signal - SIGNAL_LEVELS];
	double unit = share_unit(signal, counts), from = look->expected / unit, to = counts.bad;
	double least = (shares[signal - SIGNAL_LEVELS].ratio + 2 * share_expected(share, signal)) *
		       counts.all;
	if (unit <= 0)
		return look->value;
	for (int i = 0; i < LIMIT_STEPS; i++) {
		struct baseline_counts middle = {(from + to) / 2, counts.all};
		if (share_decades(share, signal, middle) - share->peak >= decades)
			to = middle.bad;
		else
			from = middle.bad;
	}
	to = to > least ? to : least;
	return (to < counts.bad ? to : counts.bad) * unit;
}

void baseline_learn_share(struct baseline *baseline, uint32_t signal, struct baseline_counts counts,
			  bool slow)
{
	struct share *share = &baseline->shares[signal - SIGNAL_LEVELS];
	float pace = slow ? SHARE_SLOW : 1.0f;
	float decades = share_decades(share, signal, counts);
	share->peak *= SHARE_KEEP;
	if (!slow && decades > share->peak && baseline->windows > 0)
		share->peak = decades < PEAK_MAX ? decades : PEAK_MAX;
	share->bad = share->bad * SHARE_KEEP + pace * (float)counts.bad;
	share->all = share->all * SHARE_KEEP + pace * (float)counts.all;
}

/* --- states as bytes --- */

uint32_t baseline_save(const struct baseline *baseline, uint32_t signal,
		       uint8_t state[BASELINE_STATE_MAX])
{
	const void *from;
	uint32_t length;
	if (signal >= SIGNAL_LEVELS) {
		from = &baseline->shares[signal - SIGNAL_LEVELS];
		length = sizeof(struct share);
	} else {
		const struct level *level = baseline->levels[signal];
		if (!level || level_age(level) == 0)
			return 0;
		from = full_speaks(level) ? (const void *)level->full : &level->small;
		length = full_speaks(level) ? sizeof(*level->full) : sizeof(level->small);
	}
	memcpy(state, from, length);
	return length;
}

static bool load_share(struct share *share, const uint8_t *state, uint32_t length)
{
	struct share loaded;
	if (length != sizeof(loaded))
		return false;
	memcpy(&loaded, state, sizeof(loaded));
	if (!(loaded.bad >= 0 && loaded.bad <= 1e30f && loaded.all >= 0 && loaded.all <= 1e30f &&
	      loaded.peak >= 0 && loaded.peak <= PEAK_MAX))
		return false;
	*share = loaded;
	return true;
}

static bool load_level(struct level **to, const uint8_t *state, uint32_t length, bool room)
{
	struct level loaded = {0};
	struct detector full;
	if (length == sizeof(full)) {
		memcpy(&full, state, sizeof(full));
		if (!room || !detector_sound(&full))
			return false;
	} else {
		if (length != sizeof(loaded.small))
			return false;
		memcpy(&loaded.small, state, sizeof(loaded.small));
		if (!detector_small_sound(&loaded.small))
			return false;
	}
	if (!*to)
		*to = memory_zeroed(1, sizeof(**to));
	(*to)->small = loaded.small;
	if (length != sizeof(full))
		return true;
	if (!(*to)->full)
		(*to)->full = memory_zeroed(1, sizeof(full));
	*(*to)->full = full;
	return true;
}

bool baseline_load(struct baseline *baseline, uint32_t signal, const uint8_t *state,
		   uint32_t length, bool room)
{
	if (signal >= SIGNAL_LEVELS)
		return load_share(&baseline->shares[signal - SIGNAL_LEVELS], state, length);
	return load_level(&baseline->levels[signal], state, length, room);
}
