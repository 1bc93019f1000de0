/* The parameters, turned to gains a point. */
#include "anomaly/tail.h"

const struct detector_params detector_defaults = {
	.slow = {19000, 190, 24000},
	.change = {2200, 40, 350},
	.fast = {{200, 0.25f, 110}, {2000, 1.2f, 550}, {1700, 42, 550}},
	.smooth = {{330, 4, 400}, {1500, 16, 1000}},
	.restless = {800, 7.7f, 250},
	.tail_share = 0.973f,
	.tail_rate = 0.0143f,
	.tail_prior = 30,
	.quantile = 0.83f,
	.quantile_min = -8,
	.excess = 0.2f,
	.excess_half = 52,
	.excess_prior = 20,
	.floor = 0.068f,
	.clip = 33,
	.sum_share = 0.82f,
	.surprise_max = 4.3f,
	.day_prior = 0.38f,
	.day_gain = 0.092f,
	.hour_share = 0.31f,
	.weight_level = 1.17f,
	.weight_step = 1.36f,
	.weight_shift = 0.25f,
	.weight_season = 0.5f,
	.weight_smooth = 0.1f,
	.weight_restless = 0.054f,
	.weight_small = 1.85f,
	.weight_record = 1.4f,
	.record_points = 1000,
	.record_share = 0.0088f,
	.incident = 2.9f,
	.incident_s = 3600,
	.incident_pace = 0.33f,
	.view_young = 22,
	.season_young = 100,
	.season_days = 1,
	.gap_points = 10,
};

const struct detector_alert_params detector_alert_defaults = {
	.threshold = 5.4f,
	.share = 0.39f,
	.decay = {84, 1.4f, 10},
	.again = 1,
	.calm = {3600, 20, 255},
	.young = 50,
};

/* The share of the way that an average goes to each value, to forget half in so many. */
static float gain_of(float half_life)
{
	return 1.0f - exp2_of(-1.0f / half_life);
}

static float points_of(const struct detector_span *span, float interval_s)
{
	return larger(smaller(span->seconds / interval_s, span->points_max), span->points_min);
}

static float gain_of_span(const struct detector_span *span, float interval_s)
{
	return gain_of(points_of(span, interval_s));
}

static void plan_tails(struct detector_plan *plan)
{
	const struct detector_params *params = &plan->params;
	float beyond_share = 1.0f - params->tail_share;

	plan->at_quantile = -log2_of_one(beyond_share) * LOG10_2;
	plan->quantile_min = (int32_t)(params->quantile_min * DECADES_ONE);
	for (uint32_t age = 0; age < DETECTOR_AGES; age++) {
		float count = exp2_of((float)age * 0.5f);
		float rate = larger(params->tail_rate,
				    params->tail_prior / (count + params->tail_prior));
		float up = log2_of_one(1.0f + rate * params->tail_share);
		float down = log2_of_one(1.0f - rate * beyond_share);

		plan->up[age] = (int32_t)(up * DECADES_ONE * FRACTION);
		plan->down[age] = (int32_t)(-down * DECADES_ONE * FRACTION);
		plan->excess[age] = larger(gain_of(params->excess_half),
					   1.0f / (params->excess_prior + count * beyond_share));
	}
}

static void plan_season(struct detector_plan *plan, float interval_s)
{
	const struct detector_params *params = &plan->params;
	float an_hour = larger(3600.0f / interval_s, 1.0f);

	for (uint32_t day = 0; day < DETECTOR_DAYS; day++) {
		float gain =
			larger(1.0f / (params->day_prior * (float)day + 1.0f), params->day_gain);
		/* What is left of the past after a day's values of an hour. */
		float left = larger(1.0f - gain, 1.0f / 1024);

		plan->day[day] = 1.0f - exp2_of(log2_of_one(left) / an_hour);
	}
	for (int32_t spread = INT8_MIN; spread <= INT8_MAX; spread++)
		plan->hour_ratio[spread - INT8_MIN] = exp2_of((float)spread * (1.0f / HOUR_ONE));
	/* Four steps a day, of a quarter of an octave together. */
	plan->hour_chance = (uint32_t)(smaller(4.0f / an_hour, 1.0f) * 65536.0f);
}

void detector_plan_init(struct detector_plan *plan, const struct detector_params *params,
			const struct detector_alert_params *alert, uint64_t interval_ns)
{
	float interval_s = (float)interval_ns * 1e-9f;

	memset(plan, 0, sizeof(*plan));
	plan->params = *params;
	plan->alert = *alert;
	plan->interval_ns = interval_ns;
	plan->slow = gain_of_span(&params->slow, interval_s);
	plan->change = gain_of_span(&params->change, interval_s);
	for (int i = 0; i < 3; i++)
		plan->fast[i] = gain_of_span(&params->fast[i], interval_s);
	for (int i = 0; i < 2; i++)
		plan->smooth[i] = gain_of_span(&params->smooth[i], interval_s);
	plan->restless = gain_of_span(&params->restless, interval_s);
	plan->incident_points =
		(uint32_t)smaller(params->incident_s / interval_s, DETECTOR_INCIDENT_MAX);
	plan->decay = 1.0f - gain_of_span(&alert->decay, interval_s);
	plan->record_days = (uint16_t)smaller(larger(7, params->record_points * interval_s / 86400),
					      UINT16_MAX);
	plan->calm = points_of(&alert->calm, interval_s);
	plan_tails(plan);
	plan_season(plan, interval_s);
}

#define HOUR_NS 3600000000000LL

enum { DAYS_BEFORE = 106752 }; /* 1970: no time of 64 bits is before that */

struct detector_window detector_window_at(const struct detector_plan *plan, int64_t time_ns)
{
	uint64_t since = (uint64_t)time_ns + (uint64_t)24 * HOUR_NS * DAYS_BEFORE;
	uint64_t hours = since / HOUR_NS, day = hours / 24;
	uint64_t weekday = (day + 7 - DAYS_BEFORE % 7 + 4) % 7; /* 1970 began on a Thursday */

	return (struct detector_window){
		.number = since / plan->interval_ns,
		.day = (uint16_t)(day - DAYS_BEFORE),
		.weekend = weekday == 0 || weekday == 6,
		.hour = (uint8_t)(hours % 24),
		.next = (uint8_t)((hours + 1) % 24),
		.share = (float)(since % HOUR_NS) * (1.0f / (float)HOUR_NS),
	};
}

bool detector_accepts(double value)
{
	return value >= -1e30 && value <= 1e30;
}

struct detection detector_tell(const struct detector_plan *plan, struct detector_told *told,
			       uint32_t count, float surprise)
{
	const struct detector_alert_params *alert = &plan->alert;
	float lately = (float)told->decades * (1.0f / DECADES_ONE) * plan->decay;
	float left = larger(surprise - alert->share * lately, 0);
	float calm = smaller((float)told->calm / plan->calm, 1.0f);
	bool old = count >= alert->young;
	struct detection detection = {
		.score = old && left > 0 ? left / (left + detector_alert_defaults.threshold) : 0,
		.fired = old && left >= alert->threshold + alert->again * (1.0f - calm),
	};

	told->decades = (uint16_t)(larger(surprise, lately) * DECADES_ONE);
	if (detection.fired)
		told->calm = 0;
	else if (told->calm < UINT8_MAX)
		told->calm++;
	return detection;
}
