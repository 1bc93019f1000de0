#include "agent/features.h"

#include <stdlib.h>
#include <string.h>

#include "agent/bpf/event.h"
#include "agent/tracer.h"
#include "base/memory.h"

enum { PROGRAMS_MAX = 4 };

/* How each is put on and off: programs of an object (none named: all), or bits, or both; the rest
 * is options.switched. Features that share an object take its programs away together: while one of
 * them is on, the other's bits alone keep it out. */
static const struct row {
	const char *name;
	const char *object;
	const char *programs[PROGRAMS_MAX];
	uint32_t without;   /* bits set while it is off */
	enum feature needs; /* off when that is; FEATURES: nothing */
} rows[FEATURES] = {
	[FEATURE_OWNERS] = {"owners", "mr_socket", {"on_send", "on_receive"}, 0, FEATURES},
	[FEATURE_PROCESSES] = {"processes", "mr_process", {0}, 0, FEATURES},
	[FEATURE_CMDLINES] = {"cmdlines", NULL, {0}, MR_WITHOUT_CMDLINES, FEATURE_PROCESSES},
	[FEATURE_NAT] = {"nat", NULL, {0}, 0, FEATURES},
	[FEATURE_UDP] = {"udp", "mr_datagram", {0}, MR_WITHOUT_UDP, FEATURES},
	[FEATURE_DNS] = {"dns", "mr_datagram", {0}, MR_WITHOUT_DNS, FEATURES},
	[FEATURE_SNI] = {"sni", "mr_datagram", {0}, MR_WITHOUT_SNI, FEATURES},
	[FEATURE_DROPS] = {"drops", "mr_drop", {0}, 0, FEATURES},
};

/* The declared order (docs/agent.md): what helps least with finding out who talks to whom first. */
static const struct step {
	enum feature feature; /* FEATURES: none, a longer scan period */
	uint32_t scan_factor; /* 0: to its bound */
	const char *sentence;
} steps[] = {
	{FEATURES, 4, "counters of open sockets are read four times as rarely"},
	{FEATURE_DROPS, 4, "dropped packets are not told"},
	{FEATURE_SNI, 4, "names in TLS handshakes are not told"},
	{FEATURE_DNS, 4, "DNS lookups are not told"},
	{FEATURE_CMDLINES, 4, "command lines are not told"},
	{FEATURE_UDP, 4, "UDP is not told"},
	{FEATURE_OWNERS, 4,
	 "owners of sockets are known only from who connects, listens or closes"},
	{FEATURES, 0, "counters of open sockets are read every 15 s"},
	{FEATURE_PROCESSES, 0, "processes are not told"},
};
enum { STEPS = sizeof(steps) / sizeof(steps[0]) };

struct features {
	struct features_options options;
	uint32_t possible, controlled_off, on; /* bits by feature */
	uint32_t level;
};

static uint32_t bit(enum feature feature)
{
	return 1U << feature;
}

static bool programs_there(const struct tracer *tracer, const struct row *row)
{
	if (!row->object)
		return true;
	if (!row->programs[0])
		return tracer_has(tracer, row->object, NULL);
	for (int i = 0; i < PROGRAMS_MAX && row->programs[i]; i++)
		if (tracer_has(tracer, row->object, row->programs[i]))
			return true;
	return false;
}

struct features *features_new(const struct features_options *options)
{
	struct features *features = memory_zeroed(1, sizeof(*features));
	features->options = *options;
	for (int i = 0; i < FEATURES; i++)
		if (options->configured[i] && programs_there(options->tracer, &rows[i]))
			features->possible |= bit((enum feature)i);
	for (int i = 0; i < FEATURES; i++)
		if (rows[i].needs != FEATURES && !(features->possible & bit(rows[i].needs)))
			features->possible &= ~bit((enum feature)i);
	features->on = features->possible; /* as the agent started */
	return features;
}

void features_free(struct features *features)
{
	free(features);
}

const char *feature_name(enum feature feature)
{
	return rows[feature].name;
}

bool feature_parse(const char *name, enum feature *feature)
{
	for (int i = 0; i < FEATURES; i++) {
		if (strcmp(rows[i].name, name) == 0) {
			*feature = (enum feature)i;
			return true;
		}
	}
	return false;
}

bool feature_possible(const struct features *features, enum feature feature)
{
	return features->possible & bit(feature);
}

bool feature_on(const struct features *features, enum feature feature)
{
	return features->on & bit(feature);
}

void features_control(struct features *features, uint32_t off)
{
	features->controlled_off = off;
}

static bool means_something(const struct features *features, const struct step *step)
{
	return step->feature == FEATURES || feature_possible(features, step->feature);
}

uint32_t features_steps(const struct features *features)
{
	uint32_t count = 0;
	for (int i = 0; i < STEPS; i++)
		count += means_something(features, &steps[i]);
	return count;
}

void features_level(struct features *features, uint32_t level)
{
	features->level = level;
}

/* The steps taken, one a call. */
static const struct step *next_taken(const struct features *features, int *at, uint32_t *left)
{
	while (*left && *at < STEPS) {
		const struct step *step = &steps[(*at)++];
		if (!means_something(features, step))
			continue;
		(*left)--;
		return step;
	}
	return NULL;
}

uint32_t features_scan_factor(const struct features *features)
{
	uint32_t factor = 1, left = features->level;
	const struct step *step;
	for (int at = 0; (step = next_taken(features, &at, &left));)
		factor = step->scan_factor;
	return factor;
}

/* A longer period is told once, the longest. */
void features_degraded(const struct features *features, FILE *file)
{
	bool longest = features_scan_factor(features) == 0, first = true;
	uint32_t left = features->level;
	const struct step *step;
	for (int at = 0; (step = next_taken(features, &at, &left));) {
		if (longest && step->feature == FEATURES && step->scan_factor)
			continue;
		fprintf(file, "%s%s", first ? "to keep the CPU budget " : "; ", step->sentence);
		first = false;
	}
}

static uint32_t taken_back(const struct features *features)
{
	uint32_t off = 0, left = features->level;
	const struct step *step;
	for (int at = 0; (step = next_taken(features, &at, &left));)
		if (step->feature != FEATURES)
			off |= bit(step->feature);
	return off;
}

static uint32_t wanted(const struct features *features)
{
	uint32_t on = features->possible & ~features->controlled_off & ~taken_back(features);
	for (int i = 0; i < FEATURES; i++)
		if (rows[i].needs != FEATURES && !(on & bit(rows[i].needs)))
			on &= ~bit((enum feature)i);
	return on;
}

/* Whether a feature that is on needs this object whole. */
static bool is_in_use(const char *object, uint32_t on)
{
	for (int i = 0; i < FEATURES; i++)
		if (on & bit((enum feature)i) && rows[i].object && !rows[i].programs[0] &&
		    strcmp(rows[i].object, object) == 0)
			return true;
	return false;
}

/* on: all that will be, this feature too if it is. */
static int switch_programs(struct features *features, const struct row *row, uint32_t on)
{
	struct tracer *tracer = features->options.tracer;
	bool now = on & bit((enum feature)(row - rows));
	int error = 0;
	if (!row->object)
		return 0;
	if (!row->programs[0])
		return tracer_switch(tracer, row->object, NULL, is_in_use(row->object, on));
	for (int i = 0; i < PROGRAMS_MAX && row->programs[i]; i++) {
		int failed = tracer_switch(tracer, row->object, row->programs[i], now);
		error = error ? error : failed;
	}
	return error;
}

static int set_bits(struct features *features, uint32_t on)
{
	uint32_t without = 0;
	for (int i = 0; i < FEATURES; i++)
		if (!(on & bit((enum feature)i)))
			without |= rows[i].without;
	return tracer_leave_out(features->options.tracer, without);
}

/* A feature that could not be put on counts as off, so it is tried again. */
int features_apply(struct features *features)
{
	uint32_t on = wanted(features), changed = on ^ features->on;
	int error = changed ? set_bits(features, on) : 0;
	for (int i = 0; i < FEATURES; i++) {
		bool now = on & bit((enum feature)i);
		if (!(changed & bit((enum feature)i)))
			continue;
		int failed = switch_programs(features, &rows[i], on);
		if (!failed)
			failed = features->options.switched(features->options.context,
							    (enum feature)i, now);
		if (failed && now)
			on &= ~bit((enum feature)i);
		error = error ? error : failed;
	}
	features->on = on;
	return error;
}
