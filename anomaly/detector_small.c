/* The small tier: one view, the distance from a slow mean. */
#include "anomaly/tail.h"

enum { CLIPPED_FROM = 50 };

static void begin(const struct detector_plan *plan, struct detector_small *small,
		  const struct detector_window *window, double value)
{
	*small = (struct detector_small){.anchor = (float)value,
					 .number = (uint16_t)window->number,
					 .told = {.calm = UINT8_MAX}};
	for (int i = 0; i < 2; i++) {
		small->quantile[i] = (int16_t)(plan->params.quantile * DECADES_ONE);
		small->excess[i] = (uint16_t)(plan->params.excess * EXCESS_ONE);
	}
}

/* The surprise of a distance, in spreads; up and down are views of their own. */
static float look_at_tails(const struct detector_plan *plan, struct detector_small *small, float f,
			   float pace, uint64_t bits)
{
	uint32_t age = age_of(small->count);
	float surprise = 0;

	for (int i = 0; i < 2; i++) {
		float of_side = i ? -f : f;

		if (place_of(of_side) > small->quantile[i])
			surprise = excess_learn(plan, &small->excess[i],
						quantile_rise(&small->quantile[i], of_side,
							      plan->up[age], bits >> 12),
						plan->excess[age] * pace, bits);
		else
			small->quantile[i] = quantile_fall(plan, small->quantile[i],
							   plan->down[age], bits >> 24 >> 12 * i);
	}
	return plan->params.weight_small * surprise;
}

float detector_small_step(const struct detector_plan *plan, struct detector_small *small,
			  uint64_t key, const struct detector_window *window, double value)
{
	if (small->count == 0)
		begin(plan, small, window, value);

	uint64_t bits = detector_bits(key, window);
	float pace = detector_pace(plan, small->incident);
	float gain = larger(plan->slow, gain_young(small->count)) * pace;
	float least = spread_least(plan, small->anchor + small->level, small->spread);
	float wide = small->spread + least;
	float off = (float)(value - (double)small->anchor) - small->level;
	float surprise = look_at_tails(plan, small, off / wide, pace, bits);

	if (small->count >= CLIPPED_FROM)
		off = within(off, plan->params.clip * wide);
	small->level += gain * off;
	average(&small->spread, magnitude(off), gain);
	if (small->count < plan->params.view_young)
		surprise = 0;
	small->incident = detector_incident(plan, small->incident, surprise);
	if ((uint16_t)(window->number - small->number) > DETECTOR_PROMOTE)
		small->steady = 0;
	if (small->steady < DETECTOR_PROMOTE)
		small->steady++;
	small->number = (uint16_t)window->number;
	if (small->count < UINT16_MAX)
		small->count++;
	return surprise;
}

struct detection detector_small_alert(const struct detector_plan *plan,
				      struct detector_small *small, float surprise)
{
	return detector_tell(plan, &small->told, small->count, surprise);
}

bool detector_small_is_ripe(const struct detector_small *small)
{
	return small->steady >= DETECTOR_PROMOTE;
}

float detector_small_peek(const struct detector_plan *plan, const struct detector_small *small,
			  uint64_t key, const struct detector_window *window, double value)
{
	struct detector_small copy = *small;

	return detector_small_step(plan, &copy, key, window, value);
}

struct detector_usual detector_small_usual(const struct detector_plan *plan,
					   const struct detector_small *small)
{
	double mean = (double)small->anchor + (double)small->level;
	float wide =
		small->spread + spread_least(plan, small->anchor + small->level, small->spread);

	return (struct detector_usual){
		.expected = mean,
		.least = mean - (double)(at_place(small->quantile[1]) * wide),
		.most = mean + (double)(at_place(small->quantile[0]) * wide),
	};
}

bool detector_small_sound(const struct detector_small *small)
{
	return floats_sound(&small->anchor, 1, -1e30f) && floats_sound(&small->level, 1, -1e30f) &&
	       floats_sound(&small->spread, 1, 0) && excess_sound(small->excess, 2) &&
	       small->steady <= DETECTOR_PROMOTE && small->count > 0;
}
