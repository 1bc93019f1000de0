#include "anomaly/detector.h"

#include <string.h>

#include "anomaly/tail.h"

/* Where views stand; up, then down. */
enum {
	VIEW_LEVEL = 0,
	VIEW_STEP = 2,
	VIEW_SHIFT = 4,
	VIEW_SEASON = 10,
	VIEW_SMOOTH = 12,
	VIEW_RESTLESS = 16,
};

enum {
	PROFILE_BITS = 13,    /* a profile that was fitted */
	PROFILE_MAX = 32767,  /* and one that has grown since */
	CLIPPED_FROM = 50,    /* values: by then a spread is one */
	SPREADS_MAX = 30,     /* in smoothed ratios */
	ANCHOR_SPREADS = 64,  /* a mean further off loses digits */
	RECORD_RATIO_LOG = 20 /* octaves that a bonus grows for */
};

/* One look at one value. */
struct look {
	const struct detector_plan *plan;
	const struct detector_window *window;
	struct detector *detector;
	uint64_t bits; /* random */
	float x;       /* the value from the anchor */
	float pace;    /* of learning */
	float young;   /* least gain at this age */
	float least;   /* spread */
	bool season;   /* has a day behind it */
	union {
		float f[DETECTOR_VIEWS]; /* statistics */
		floats groups[DETECTOR_VIEWS / 4];
	};
	bool surprised;			/* is any view? */
	float surprise[DETECTOR_VIEWS]; /* set if so */
};

/* ---- season's profile */

static inline float unit_of(int exponent)
{
	return float_of((uint32_t)(exponent + 127) << 23);
}

static inline int16_t nearest(float units)
{
	return (int16_t)bounded((int32_t)(units < 0 ? units - 0.5f : units + 0.5f), -PROFILE_MAX,
				PROFILE_MAX);
}

/* All of the profile moved by -by, in a unit in which it and `most` have PROFILE_BITS. */
static void profile_fit(struct detector *detector, float by, float most)
{
	float unit = unit_of(detector->told.exponent);
	int16_t *profile = detector->profile[0];

	for (int i = 0; i < 48; i++)
		most = larger(most, magnitude((float)profile[i] * unit - by));

	int exponent = bounded((int32_t)(bits_of(most) >> 23) - 126 - PROFILE_BITS, -120, 120);
	float change = unit_of(-exponent);

	for (int i = 0; i < 48; i++)
		profile[i] = nearest(((float)profile[i] * unit - by) * change);
	detector->told.exponent = (int8_t)exponent;
}

/* Both hours that a value lies between go towards it by their shares of the change. */
static void profile_learn(struct detector *detector, const struct detector_window *window,
			  float change, uint64_t bits)
{
	int16_t *hour = &detector->profile[window->weekend][window->hour];
	int16_t *next = &detector->profile[window->weekend][window->next];
	float units = change * unit_of(-detector->told.exponent);
	float most = magnitude(units) + larger(magnitude((float)*hour), magnitude((float)*next));

	if (most >= PROFILE_MAX) {
		profile_fit(detector, 0, most * unit_of(detector->told.exponent));
		units = change * unit_of(-detector->told.exponent);
	}
	*hour = (int16_t)(*hour + rounded(units * (1.0f - window->share), bits));
	*next = (int16_t)(*next + rounded(units * window->share, bits >> 16));
}

/* ---- the day's work */

/* Differences are from now on from the mean of today. */
static void anchor_move(struct detector *detector)
{
	float anchor = detector->anchor + detector->level, by = anchor - detector->anchor;

	detector->anchor = anchor;
	detector->level -= by;
	detector->previous -= by;
	for (int i = 0; i < 3; i++)
		detector->fast[i] -= by;
	for (int i = 0; i < 2; i++) {
		detector->record[i][0] -= by;
		detector->record[i][1] -= by;
	}
	profile_fit(detector, by, 0);
}

static void day_begins(const struct detector_plan *plan, struct detector *detector,
		       const struct detector_window *window)
{
	uint8_t *days = &detector->days[window->weekend];

	if (*days < DETECTOR_DAYS)
		(*days)++;
	if (magnitude(detector->level) > ANCHOR_SPREADS * detector->spread)
		anchor_move(detector);
	else
		profile_fit(detector, 0, 0);
	if (window->day / plan->record_days != detector->day / plan->record_days) {
		memcpy(detector->record[1], detector->record[0], sizeof(detector->record[0]));
		detector->record[0][0] = detector->record[0][1] = detector->previous;
	}
	detector->day = window->day;
}

static void begin(const struct detector_plan *plan, struct detector *detector,
		  const struct detector_window *window, double value)
{
	*detector = (struct detector){
		.anchor = (float)value,
		.number = (uint16_t)window->number,
		.day = window->day,
		.restless = DECADES_ONE,
		.told = {.calm = UINT8_MAX, .exponent = -100},
	};
	detector->days[window->weekend] = 1;
	for (int i = 0; i < DETECTOR_VIEWS; i++) {
		detector->quantile[i] = (int16_t)(plan->params.quantile * DECADES_ONE);
		detector->excess[i] = (uint16_t)(plan->params.excess * EXCESS_ONE);
	}
}

/* ---- views */

static inline void put_both(struct look *look, int view, float f)
{
	look->f[view] = f;
	look->f[view + 1] = -f;
}

static inline float gain_now(const struct look *look, float gain)
{
	return larger(gain, look->young) * look->pace;
}

static void look_at_level(struct look *look)
{
	const struct detector_plan *plan = look->plan;
	struct detector *detector = look->detector;
	float a_spread = 1.0f / (detector->spread + look->least), off = look->x - detector->level;

	put_both(look, VIEW_LEVEL, off * a_spread);
	for (int i = 0; i < 3; i++) {
		average(&detector->fast[i], look->x, larger(plan->fast[i], look->young));
		put_both(look, VIEW_SHIFT + 2 * i,
			 (detector->fast[i] - detector->level) * a_spread);
	}
	if (detector->count >= CLIPPED_FROM)
		off = within(off, plan->params.clip * (detector->spread + look->least));
	detector->level += gain_now(look, plan->slow) * off;
	average(&detector->spread, magnitude(off), gain_now(look, plan->slow));
}

/* Before the level: from the fast mean as it was. */
static void look_at_change(struct look *look)
{
	const struct detector_plan *plan = look->plan;
	struct detector *detector = look->detector;
	float rough = detector->change + look->least, a_change = 1.0f / rough;
	float step = look->x - detector->previous;
	float from_fast = magnitude(look->x - detector->fast[0]) * a_change;
	float restless = (float)detector->restless * (1.0f / DECADES_ONE);
	bool gap = (uint16_t)(look->window->number - detector->number) > plan->params.gap_points;

	put_both(look, VIEW_STEP, gap ? 0 : step * a_change);
	average(&restless, smaller(from_fast, SPREADS_MAX), larger(plan->restless, look->young));
	look->f[VIEW_RESTLESS] = restless;
	look->f[VIEW_RESTLESS + 1] = 1.0f / (restless + 0.05f);
	detector->restless = (uint16_t)rounded(restless * DECADES_ONE, look->bits >> 8);
	if (detector->count >= CLIPPED_FROM)
		step = within(step, plan->params.clip * rough);
	average(&detector->change, magnitude(step), gain_now(look, plan->change));
	detector->previous = look->x;
}

/* What is usual at this moment, from the anchor. */
static inline float season_usual(const struct detector *detector,
				 const struct detector_window *window)
{
	const int16_t *profile = detector->profile[window->weekend];
	float share = window->share;

	return ((float)profile[window->hour] * (1.0f - share) +
		(float)profile[window->next] * share) *
	       unit_of(detector->told.exponent);
}

/* The spread of this hour alone. */
static inline float season_of_hour(const struct detector_plan *plan,
				   const struct detector *detector,
				   const struct detector_window *window)
{
	return plan->hour_ratio[detector->hour_spread[window->hour / 2] - INT8_MIN] *
	       detector->season_spread;
}

static inline float season_spread(const struct detector_plan *plan, const struct detector *detector,
				  float of_hour, float least)
{
	return detector->season_spread + least +
	       plan->params.hour_share * (of_hour - detector->season_spread);
}

static void look_at_season(struct look *look)
{
	const struct detector_plan *plan = look->plan;
	const struct detector_window *window = look->window;
	struct detector *detector = look->detector;
	int8_t *hour = &detector->hour_spread[window->hour / 2];
	uint32_t days = (uint32_t)detector->days[window->weekend] - 1;
	float of_hour = season_of_hour(plan, detector, window);
	float spread = season_spread(plan, detector, of_hour, look->least);
	float off = look->x - season_usual(detector, window), ratio = off / spread;

	look->season = days > 0;
	put_both(look, VIEW_SEASON, ratio);
	for (int i = 0; i < 2; i++) {
		float mean = (float)detector->smooth[i] * (1.0f / DECADES_ONE);
		put_both(look, VIEW_SMOOTH + 2 * i, mean);
		if (!look->season)
			continue;
		average(&mean, within(ratio, SPREADS_MAX), plan->smooth[i]);
		detector->smooth[i] = (int16_t)rounded(mean * DECADES_ONE, look->bits >> 16 * i);
		put_both(look, VIEW_SMOOTH + 2 * i, mean);
	}
	if (look->season) {
		off = within(off, plan->params.clip * spread);
		average(&detector->season_spread, magnitude(off),
			larger(plan->slow, gain_young(detector->season_count)) * look->pace);
		/* Towards the median, which is about so far within the mean. */
		if (look->bits >> 48 < plan->hour_chance)
			*hour = (int8_t)bounded(*hour + (magnitude(off) > 0.7f * of_hour ? 1 : -1),
						INT8_MIN, INT8_MAX);
		if (detector->season_count < UINT16_MAX)
			detector->season_count++;
	}

	profile_learn(detector, window, plan->day[days] * look->pace * off, look->bits >> 20);
}

/* A value beyond a view's quantile, as few are: the rest of the work. */
static void look_beyond(struct look *look, int view)
{
	const struct detector_plan *plan = look->plan;
	struct detector *detector = look->detector;
	bool seasonal = view >= VIEW_SEASON && view < VIEW_RESTLESS;
	uint32_t age = age_of(seasonal ? detector->season_count : detector->count);
	float octaves = quantile_rise(&detector->quantile[view], look->f[view], plan->up[age],
				      look->bits >> view >> 8);

	if (!look->surprised)
		memset(look->surprise, 0, sizeof(look->surprise));
	look->surprised = true;
	look->surprise[view] = excess_learn(plan, &detector->excess[view], octaves,
					    plan->excess[age] * look->pace, look->bits >> view);
}

/* By view: -1 for those of the season, which are closed before it has a day behind it. */
static const shorts seasonal = {0, 0, -1, -1, -1, -1, -1, -1};

static inline ints low_half(shorts x)
{
	return (ints)VECTOR_SHUFFLE(x, x, 0, 0, 1, 1, 2, 2, 3, 3) >> 16;
}

static inline ints high_half(shorts x)
{
	return (ints)VECTOR_SHUFFLE(x, x, 4, 4, 5, 5, 6, 6, 7, 7) >> 16;
}

static inline void look_at_four(struct look *look, int first, ints quantile, ints closed)
{
	ints beyond = (places_of(look->groups[first / 4]) > quantile) & ~closed;
	longs any = (longs)beyond;

	if (!(any[0] | any[1]))
		return;
	for (int i = 0; i < 4; i++) {
		if (!beyond[i])
			continue;
		look->detector->quantile[first + i] = (int16_t)quantile[i];
		look_beyond(look, first + i);
	}
}

/* The first 16 views eight at a time, then restless up and down. A quantile that is to rise falls
 * first and is put back. */
static void look_at_tails(struct look *look)
{
	const struct detector_plan *plan = look->plan;
	struct detector *detector = look->detector;
	int32_t fall = plan->down[age_of(detector->count)];
	int32_t season_fall = look->season ? plan->down[age_of(detector->season_count)] : 0;
	int32_t closed = look->season ? 0 : -1;
	words random = random_first(look->bits);
	shorts before[2], least = eight_of(plan->quantile_min);

	memcpy(before, detector->quantile, sizeof(before));
	for (int half = 0; half < 2; half++) {
		shorts season = half ? seasonal : (shorts){0};
		shorts whole = (eight_of(fall >> FRACTION_BITS) & ~season) |
			       (eight_of(season_fall >> FRACTION_BITS) & season);
		shorts fraction = (eight_of(fall % FRACTION) & ~season) |
				  (eight_of(season_fall % FRACTION) & season);
		shorts after = quantiles_fall(before[half], whole, fraction, least, random);
		random = random_next(random);
		memcpy(&detector->quantile[8 * half], &after, sizeof(after));
	}
	look_at_four(look, 0, low_half(before[0]), (ints){0});
	look_at_four(look, 4, high_half(before[0]), (ints){0});
	look_at_four(look, 8, low_half(before[1]), (ints){0, 0, closed, closed});
	look_at_four(look, 12, high_half(before[1]), (ints){closed, closed, closed, closed});
	for (int view = VIEW_RESTLESS; view < DETECTOR_VIEWS; view++) {
		if (place_of(look->f[view]) > detector->quantile[view])
			look_beyond(look, view);
		else
			detector->quantile[view] = quantile_fall(plan, detector->quantile[view],
								 fall, look->bits >> 12 >> view);
	}
}

/* ---- all views together */

static inline float most_of(const struct look *look, int view, int count)
{
	float most = look->surprise[view];

	for (int i = view + 1; i < view + count; i++)
		most = larger(most, look->surprise[i]);
	return most;
}

/* 0 within all that was seen, 1 at record_share of its range beyond; more grows slowly. */
static float beyond_record(const struct look *look)
{
	const struct detector *detector = look->detector;
	float least = smaller(detector->record[0][0], detector->record[1][0]);
	float most = larger(detector->record[0][1], detector->record[1][1]);
	float over = larger(look->x - most, least - look->x);
	float whole = (most - least + look->least) * look->plan->params.record_share;

	if (over <= 0)
		return 0;
	if (over <= whole)
		return over / whole;
	return 1.0f + 0.1f * LOG10_2 * log2_of_one(smaller(over / whole, 1 << RECORD_RATIO_LOG));
}

static void record_learn(struct detector *detector, float x)
{
	float *record = detector->record[0];

	record[0] = smaller(record[0], x);
	record[1] = larger(record[1], x);
}

static bool season_is_open(const struct detector_plan *plan, const struct detector *detector,
			   const struct detector_window *window)
{
	return detector->days[window->weekend] > plan->params.season_days &&
	       detector->season_count >= plan->params.season_young;
}

static float surprise_of(const struct look *look)
{
	const struct detector_params *params = &look->plan->params;

	float record = params->weight_record * beyond_record(look);

	if (look->detector->count < params->view_young)
		return 0;
	if (!look->surprised)
		return record;

	float values = larger(params->weight_level * most_of(look, VIEW_LEVEL, 2),
			      params->weight_step * most_of(look, VIEW_STEP, 2));
	float shift = params->weight_shift * most_of(look, VIEW_SHIFT, 6);
	float restless = params->weight_restless * most_of(look, VIEW_RESTLESS, 2);
	float season = season_is_open(look->plan, look->detector, look->window)
			       ? larger(params->weight_season * most_of(look, VIEW_SEASON, 2),
					params->weight_smooth * most_of(look, VIEW_SMOOTH, 4))
			       : 0;
	float most = larger(larger(values, shift), larger(season, restless));
	float sum = values + shift + season + restless;

	return (1.0f - params->sum_share) * most + params->sum_share * sum + record;
}

float detector_step(const struct detector_plan *plan, struct detector *detector, uint64_t key,
		    const struct detector_window *window, double value)
{
	if (detector->count == 0)
		begin(plan, detector, window, value);
	else if (window->day != detector->day)
		day_begins(plan, detector, window);

	struct look look;

	look.plan = plan;
	look.window = window;
	look.detector = detector;
	look.bits = detector_bits(key, window);
	look.x = (float)(value - (double)detector->anchor);
	look.pace = detector_pace(plan, detector->incident);
	look.young = gain_young(detector->count);
	look.least = spread_least(plan, detector->anchor + detector->level, detector->spread);
	look.surprised = false;
	look_at_change(&look);
	look_at_level(&look);
	look_at_season(&look);
	look_at_tails(&look);

	float surprise = surprise_of(&look);

	record_learn(detector, look.x);
	detector->incident = detector_incident(plan, detector->incident, surprise);
	detector->number = (uint16_t)window->number;
	if (detector->count < UINT16_MAX)
		detector->count++;
	return surprise;
}

struct detection detector_alert(const struct detector_plan *plan, struct detector *detector,
				float surprise)
{
	return detector_tell(plan, &detector->told, detector->count, surprise);
}

float detector_peek(const struct detector_plan *plan, const struct detector *detector, uint64_t key,
		    const struct detector_window *window, double value)
{
	struct detector copy = *detector;

	return detector_step(plan, &copy, key, window, value);
}

struct detector_usual detector_usual(const struct detector_plan *plan,
				     const struct detector *detector,
				     const struct detector_window *window)
{
	float least = spread_least(plan, detector->anchor + detector->level, detector->spread);
	float mean = detector->level, spread = detector->spread + least;
	int view = VIEW_LEVEL;

	if (season_is_open(plan, detector, window)) {
		float of_hour = season_of_hour(plan, detector, window);

		mean = season_usual(detector, window);
		spread = season_spread(plan, detector, of_hour, least);
		view = VIEW_SEASON;
	}
	double expected = (double)detector->anchor + (double)mean;

	return (struct detector_usual){
		.expected = expected,
		.least = expected - (double)(at_place(detector->quantile[view + 1]) * spread),
		.most = expected + (double)(at_place(detector->quantile[view]) * spread),
	};
}

bool detector_sound(const struct detector *detector)
{
	const float signed_ones[] = {detector->anchor,	     detector->level,
				     detector->previous,     detector->fast[0],
				     detector->fast[1],	     detector->fast[2],
				     detector->record[0][0], detector->record[0][1],
				     detector->record[1][0], detector->record[1][1]};
	const float spreads[] = {detector->spread, detector->change, detector->season_spread};
	uint32_t weekday = (detector->day + 4u) % 7;
	bool weekend = weekday == 0 || weekday == 6;

	return floats_sound(signed_ones, sizeof(signed_ones) / sizeof(*signed_ones), -1e30f) &&
	       floats_sound(spreads, sizeof(spreads) / sizeof(*spreads), 0) &&
	       excess_sound(detector->excess, DETECTOR_VIEWS) && detector->told.exponent >= -120 &&
	       detector->told.exponent <= 120 && detector->days[0] <= DETECTOR_DAYS &&
	       detector->days[1] <= DETECTOR_DAYS && detector->days[weekend] > 0 &&
	       detector->count > 0;
}
