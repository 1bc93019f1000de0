/* How surprising one value of one series is, from 256 bytes of its past.
 *
 * Several cheap views look at each value: its distance from the slow mean, its step from the value
 * before, three fast means against the slow one, its distance from what is usual at this hour of
 * weekdays or weekends, that distance smoothed, and how restless the series is. Each view learns
 * the tail of its own statistic and tells how rare what it sees is, in decades (-log10 p): one unit
 * for every shape of series. The surprise is the most surprised group of views plus a share of the
 * others, plus a bonus beyond everything seen in the last week or two (a thousand values or two).
 *
 *     value -> 18 statistics f -> each: log2 f against its own quantile q; beyond it a Pareto tail
 *              p = (1 - tail_share) (f/q)^(-1/excess) -> groups -> surprise
 *
 * The alert layer stands apart: it tells a surprise once and is deaf to what is not more surprising
 * for a while. Its thresholds change nothing that is learned.
 *
 * Cold start: the first value is only learned; no view says a word before view_young values, when
 * its tail begins to be its own (a tail that is young learns fast), and the alert layer is silent
 * for its young. Season is learned from the first day and says nothing before season_days of its
 * kind (weekday or weekend, UTC) are over.
 *
 * Half-lives are held in seconds and turned to points by the series' interval, within bounds in
 * points: an hourly series has no past of minutes. In an incident learning is slower, but for an
 * hour at most.
 *
 * Determinism: single float operations in a fixed order, own log2 and exp2, no libm. Where a step
 * is smaller than the state's quantum it is rounded at random, with bits hashed from the series'
 * key and the window. The state is plain bytes; all zero is a new series; saved and restored it
 * gives the same bits.
 *
 * Bounds: sizeof(struct detector) and sizeof(struct detector_small), constant time a value. Values
 * that detector_accepts refuses must not be stepped; whoever feeds counts them. Pure; any thread,
 * one at a time for a state. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Half-life in seconds, but so many points at least and at most. */
struct detector_span {
	float seconds, points_min, points_max;
};

struct detector_params {
	struct detector_span slow;    /* mean and spread */
	struct detector_span change;  /* mean step */
	struct detector_span fast[3]; /* shifts of level */
	struct detector_span smooth[2];
	struct detector_span restless;
	float tail_share;   /* below the quantile */
	float tail_rate;    /* of the quantile's search */
	float tail_prior;   /* values that the initial quantile counts for */
	float quantile;	    /* the initial one, log2 */
	float quantile_min; /* log2 */
	float excess;	    /* the initial one */
	float excess_half;  /* half-life of the mean excess, in values beyond the quantile */
	float excess_prior; /* values beyond it that the initial excess counts for */
	float floor;	    /* of spreads: share of the mean */
	float clip;	    /* spreads a value may be off and be learned as it is */
	float sum_share;    /* of the less surprised groups */
	float surprise_max; /* decades of one view */
	float day_prior;    /* how fast a profile's gain falls with the days seen */
	float day_gain;	    /* its least gain, a day */
	float hour_share;   /* of the hour's own spread */
	float weight_level, weight_step, weight_shift, weight_season, weight_smooth,
		weight_restless;
	float weight_small;  /* of the small tier's view */
	float weight_record; /* bonus for a value beyond all that was seen */
	float record_points; /* a record counts for a week or for so many values, then as long again
			      */
	float record_share;  /* how far beyond, of the range, is the whole bonus */
	float incident;	     /* surprise from which learning is slow */
	float incident_s;    /* for so long at most */
	float incident_pace; /* share of the usual pace */
	uint32_t view_young, season_young, season_days;
	uint32_t gap_points; /* a step over a longer gap is none */
};

/* The alert layer's own. It holds against each surprise a share of the greatest one lately, so that
 * an episode is told when it begins and not all the while, nor at its end. */
struct detector_alert_params {
	float threshold;	    /* decades of what is left that are a detection */
	float share;		    /* of the greatest surprise lately */
	struct detector_span decay; /* half-life of that */
	float again;		    /* more than threshold, right behind a detection ... */
	struct detector_span calm;  /* ... and less and less for so long; 255 points at most */
	uint32_t young;		    /* values before the first detection */
};

#define DETECTOR_THRESHOLD_MIN 0.5
#define DETECTOR_THRESHOLD_MAX 20.0

struct detection {
	float score; /* 0 to 1: decades that are left, d, as d / (d + the shipped threshold) */
	bool fired;
};

extern const struct detector_params detector_defaults;
extern const struct detector_alert_params detector_alert_defaults;

enum { DETECTOR_VIEWS = 18, DETECTOR_AGES = 32, DETECTOR_DAYS = 32, DETECTOR_INCIDENT_MAX = 30000 };

/* Parameters for one interval, shared by its series. */
struct detector_plan {
	struct detector_params params;
	struct detector_alert_params alert;
	uint64_t interval_ns;
	float slow, change, fast[3], smooth[2], restless; /* gains a point */
	float at_quantile;				  /* decades there */
	int32_t quantile_min;
	int32_t up[DETECTOR_AGES], down[DETECTOR_AGES]; /* quantile's steps by age */
	float excess[DETECTOR_AGES];			/* gain by age */
	float day[DETECTOR_DAYS];			/* gain a point by days seen */
	uint32_t hour_chance;				/* that an hour's spread moves, of 2^16 */
	float hour_ratio[UINT8_MAX + 1];		/* by an hour's spread, from INT8_MIN */
	uint32_t incident_points;
	uint16_t record_days;
	float decay, calm; /* of the alert layer */
};

/* A moment on the plan's clock, the same for all series. */
struct detector_window {
	uint64_t number; /* of intervals */
	uint16_t day;	 /* since 1970, its low bits */
	bool weekend;
	uint8_t hour, next; /* of the day, between which it lies */
	float share;	    /* of next */
};

/* The alert layer's state. */
struct detector_told {
	uint16_t decades; /* the greatest surprise lately, Q6.10 */
	uint8_t calm;	  /* values since a detection */
	int8_t exponent;  /* not the alert layer's, but there is room: the unit of a profile */
};

struct detector {
	float anchor; /* levels, records and profile are differences from it */
	float level, spread, change, previous;
	float fast[3];
	float season_spread;
	float record[2]
		    [2]; /* least and greatest, of this week or record_days and the ones before */
	uint16_t count;	 /* of values, UINT16_MAX for more; so season_count */
	uint16_t season_count; /* since a profile's first day was over */
	uint16_t number, day;  /* of the newest window, low bits */
	uint16_t incident;     /* bit 0: surprised; values learned slowly of late */
	uint16_t restless;     /* Q6.10 */
	int16_t smooth[2];     /* Q6.10 */
	struct detector_told told;
	int16_t profile[2][24];		  /* of weekdays and weekends, in units */
	int8_t hour_spread[12];		  /* of two hours each, sixteenths of an octave */
	int16_t quantile[DETECTOR_VIEWS]; /* log2, Q6.10 */
	uint16_t excess[DETECTOR_VIEWS];  /* natural log, Q4.12 */
	uint8_t days[2];		  /* of weekdays and weekends that began */
	uint8_t unused[2];
};

_Static_assert(sizeof(struct detector) <= 256, "the full tier's state");

/* The small tier, for series that are many and seldom heard of: the distance from the slow mean
 * alone, the same unit and the same alert layer. */
struct detector_small {
	float anchor, level, spread;
	uint16_t count, number, incident;
	uint16_t steady; /* values without a long gap between, DETECTOR_PROMOTE at most */
	int16_t quantile[2];
	uint16_t excess[2];
	struct detector_told told;
};

_Static_assert(sizeof(struct detector_small) <= 32, "the small tier's state");

void detector_plan_init(struct detector_plan *plan, const struct detector_params *params,
			const struct detector_alert_params *alert, uint64_t interval_ns);
struct detector_window detector_window_at(const struct detector_plan *plan, int64_t time_ns);

/* Finite and within +-1e30. */
bool detector_accepts(double value);

/* Decades of surprise of this value, which is learned. key: the series'; time should not go back.
 */
float detector_step(const struct detector_plan *plan, struct detector *detector, uint64_t key,
		    const struct detector_window *window, double value);
float detector_small_step(const struct detector_plan *plan, struct detector_small *small,
			  uint64_t key, const struct detector_window *window, double value);

/* The surprise of a value that is not learned. */
float detector_peek(const struct detector_plan *plan, const struct detector *detector, uint64_t key,
		    const struct detector_window *window, double value);
float detector_small_peek(const struct detector_plan *plan, const struct detector_small *small,
			  uint64_t key, const struct detector_window *window, double value);

/* What is expected, at this hour once the season speaks, and between which values a share of
 * tail_share to either side lies. */
struct detector_usual {
	double expected, least, most;
};
struct detector_usual detector_usual(const struct detector_plan *plan,
				     const struct detector *detector,
				     const struct detector_window *window);
struct detector_usual detector_small_usual(const struct detector_plan *plan,
					   const struct detector_small *small);

/* Whether foreign bytes are a state that steps could have left. */
bool detector_sound(const struct detector *detector);
bool detector_small_sound(const struct detector_small *small);

/* Brings a state near that is stepped soon: all of it is read and written. */
static inline void detector_prefetch(const struct detector *detector)
{
	for (size_t i = 0; i < sizeof(*detector); i += 64)
		__builtin_prefetch((const char *)detector + i, 1);
}

/* What the alert layer makes of the surprise that was just told, once for each step. */
struct detection detector_alert(const struct detector_plan *plan, struct detector *detector,
				float surprise);
struct detection detector_small_alert(const struct detector_plan *plan,
				      struct detector_small *small, float surprise);

/* A series moves up when DETECTOR_PROMOTE values came, none of them after a gap of as many windows:
 * an hour of steady traffic in windows of 10 s. Whoever holds the states asks in the order of keys
 * while it has room, so the tiers too follow from the input alone. The small state is then given
 * back: a full one learns its 18 views' tails from the start, as a new series does. */
enum { DETECTOR_PROMOTE = 360 };
bool detector_small_is_ripe(const struct detector_small *small);
