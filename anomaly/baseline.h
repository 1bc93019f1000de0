/* What is usual of one subject, and how far from it a window is. Ten signals, of two kinds:
 *
 *   levels (a rate, a latency, a ratio of what always happens a little) have a detector
 *     (anomaly/detector.h) over windows of 10 s: the small tier from the first value on, the full
 *     one beside it once the series is ripe. Values are taken in octaves: their noise grows with
 *     them;
 *
 *   shares (what fails of what is tried) have a history of both: K of n against the M = n p0 that
 *     was to be expected, p0 = (k0 + 20 P) / (n0 + 20), surprise by K ln(K/M) - (K - M), in decades
 *     as the detector's. What the subject's own bursts reach by themselves (its peak) is taken off.
 *
 * A look does not learn. What is looked at is beyond what could matter at all (at least so many
 * times the expected, and so much more) or it does not surprise; so a pane is a comparison of the
 * trailing sums with two numbers, and the detector is asked only beyond them. A shorter window than
 * 10 s is looked at with its distance from the expected divided by sqrt(10 s / window).
 *
 * Bound: sizeof(struct baseline), 48 bytes for each level that was ever observed and 256 more for a
 * full one. Deterministic as the detector is; pure; one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "anomaly/detector.h"
#include "anomaly/series.h"

enum {
	BASELINE_WINDOW_S = 10,
	/* A full detector speaks for its series from this age; before, the small one does. */
	BASELINE_FULL_WINDOWS = 360,
	BASELINE_STATE_MAX = 256,
	/* Fewer that fail, are slow or were lost may be one packet's fate. */
	BASELINE_FEW = 5,
};

enum signal {
	/* Levels. The first three are looked at each pane, as are failures. */
	SIGNAL_OPENED,
	SIGNAL_BYTES,
	SIGNAL_CONNECT_LATENCY,
	SIGNAL_RTT,
	SIGNAL_RETRANSMITS,
	SIGNAL_DNS_LATENCY,
	SIGNAL_LEVELS,
	/* Shares. */
	SIGNAL_FAILED = SIGNAL_LEVELS,
	SIGNAL_RESETS,
	SIGNAL_DNS_FAILED,
	SIGNAL_CLIENTS, /* new ones, of a server */
	SIGNALS,
	SIGNAL_SHARES = SIGNALS - SIGNAL_LEVELS,
};

/* Signals of one family go up and down together and are evidence once. */
enum signal_family { FAMILY_FAILURE, FAMILY_LATENCY, FAMILY_VOLUME, SIGNAL_FAMILIES };

struct level {
	struct detector_small small;
	struct detector *full; /* NULL: not ripe, or no room */
	bool held;	       /* ripe without room: counted */
	uint16_t strays;       /* windows in a row that surprised */
};

struct share {
	float bad, all; /* fading sums */
	float peak;	/* decades that quiet windows reach */
};

struct baseline {
	struct level *levels[SIGNAL_LEVELS];
	struct share shares[SIGNAL_SHARES];
	struct transport calm;	     /* of the ten seconds under way */
	float held[SIGNAL_FAMILIES]; /* evidence of what is looked at once in ten seconds */
	uint32_t windows;	     /* learned */
	uint32_t saved;		     /* of these, when it was saved */
};

/* The plan of all series and the window that lies before us. */
struct baseline_clock {
	struct detector_plan plan;
	struct detector_window window;
};

struct baseline_look {
	float decades; /* of surprise; 0: as usual, or not far enough from it to matter */
	double value, expected, least, most; /* the usual: least to most; metric's unit */
};

/* What a share is told of: so many bad of all. */
struct baseline_counts {
	double bad, all;
};

uint32_t signal_metric(uint32_t signal);
uint32_t signal_by_metric(uint32_t metric); /* SIGNALS if there is none */
uint32_t signal_family(uint32_t signal);
/* Looked at at the end of ten seconds only. */
bool signal_is_calm(uint32_t signal);

void baseline_clock_init(struct baseline_clock *clock);
void baseline_clock_set(struct baseline_clock *clock, uint64_t window_end_ns);

/* Gives back what it holds; free itself too. */
void baseline_clear(struct baseline *baseline);
void baseline_free(struct baseline *baseline);
/* Full detectors that it has. */
uint32_t baseline_detectors(const struct baseline *baseline);

/* Of a level: the value of ten seconds. False if there is no value: too little was observed. */
bool baseline_level_value(uint32_t signal, const struct window_sums *sums, double p95_ns,
			  double *value);
/* Of a share. */
struct baseline_counts baseline_counts(uint32_t signal, const struct window_sums *sums);

/* In the units of the sums of ten seconds (ns for the latency of connects), what is nearer to the
 * expected than could matter; all that there is while nothing is known. */
struct baseline_guard {
	double low, high;
};
struct baseline_guard baseline_guard(const struct baseline_clock *clock,
				     const struct baseline *baseline, uint32_t signal);

/* shorter: ten seconds are so many windows like this. warm: windows before it may surprise. */
struct baseline_look baseline_look_level(const struct baseline_clock *clock,
					 const struct baseline *baseline, uint32_t signal,
					 uint64_t key, double value, double shorter, uint32_t warm);
struct baseline_look baseline_look_share(const struct baseline *baseline, uint32_t signal,
					 struct baseline_counts counts, uint32_t warm);
/* Between the look's expected and its value: where a look has so many decades. */
double baseline_limit_level(const struct baseline_clock *clock, const struct baseline *baseline,
			    uint32_t signal, uint64_t key, const struct baseline_look *look,
			    double shorter, float decades);
double baseline_limit_share(const struct baseline *baseline, uint32_t signal,
			    struct baseline_counts counts, const struct baseline_look *look,
			    float decades);

/* What surprises again and again is learned once in four windows, for an hour: the first one is
 * learned, as one that strays by itself must be. room: a full detector may be made. Returns whether
 * it was. */
bool baseline_learn_level(const struct baseline_clock *clock, struct baseline *baseline,
			  uint32_t signal, uint64_t key, double value, bool room);
/* slow: in an incident. */
void baseline_learn_share(struct baseline *baseline, uint32_t signal, struct baseline_counts counts,
			  bool slow);

/* The state of a signal as bytes: how many, 0 if there is none. */
uint32_t baseline_save(const struct baseline *baseline, uint32_t signal,
		       uint8_t state[BASELINE_STATE_MAX]);
/* False if they are none that learning gives. */
bool baseline_load(struct baseline *baseline, uint32_t signal, const uint8_t *state,
		   uint32_t length, bool room);
