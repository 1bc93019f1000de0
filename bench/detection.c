/* How often the anomaly stage finds a fault, how often what it tells is one, whether it names the
 * right place, and how often it cries in a week in which nothing is wrong. One JSON line:
 *
 *   bench-detection [--json] [--seeds N] [--seed FIRST] [--kinds KIND,KIND..] [--week-hours H]
 *                   [--weeks N] [--jobs N] [--verbose]
 *
 * Who tunes by it takes seeds of their own (--seed 100000), so that the default's figure stays an
 * honest one. 20 seeds and one week, cut to WEEK_HOURS, by default: within 15 minutes on two cores.
 *
 * A seed is a town (bench/detection/) of some 200 edges that lives for a warm-up of WARM_S and
 * then suffers each kind of fault in each strength once, in any order, for FAULT_S each, GAP_S
 * apart; beside them deployments, scaling, bursts, batch jobs and agents that start anew go on. The
 * rows go to OWNERS anomaly stages by server, as in the daemon, and their episodes to the
 * incidents.
 *
 *   recall: of the faults, those of which an incident began within SCORE_FOUND_S that names an edge
 *   that the fault touches, or one whose calls it makes fewer.
 *   precision: of all incidents in these towns, those that are of a fault.
 *   domain_top1: of the faults found, those whose place is the first suspect of the incident as
 * told SCORE_SETTLE_S after its first message; for a fault of a whole workload or edge, that it is
 *   named and no suspect is. domain_at_once: already in the first message.
 *   diagnosed: of the faults found, those of which it says what is likely wrong; diagnosed_rightly:
 * of these, those where that is what was done. incidents_per_fault: incidents of a fault, those of
 * its end too, a fault found. false_per_1e5_series_day: of weeks without faults, after a warm-up of
 *   the same length as above: incidents a series and day, times 10^5. A series is an edge's
 *   baseline of one metric. One incident in so many series-days is as fine as the figure can be.
 *   ns_per_point: CPU time of the stage an edge's row, of a pane or ten seconds, on one in
 *   METERED_TENS of the weeks' ten seconds. bytes_per_series: of the stages' heaps then.
 *
 * budgets: incidents that say that an error budget is used up (burn-rate/..) and nothing else, and
 *   are of no fault at hand: true by definition, as some edges here fail a little all day and
 *   faults before have used up some, and neither of a fault nor false.
 *
 * What fires again is counted again here: nothing reopens an incident. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "anomaly/anomaly.h"
#include "anomaly/incident.h"
#include "anomaly/map.h"
#include "base/clock.h"
#include "base/heap.h"
#include "base/memory.h"
#include "bench/detection/score.h"

enum {
	WARM_S = 3600,
	WEEK_HOURS = 120, /* a week's working days: 12 minutes of one core */
	FAULT_S = 180,
	GAP_S = 480,
	PARTS_S = 200, /* before a fault, so that what is usual is known */
	METERED_TENS = 16,
	JOBS_MAX = 64,
	SEEDS_MAX = 1000,
	WEEK_SCALE = 4, /* of a week's town */
	HEAP_NUMBER = 100,
	SEED_MAX = 1000000000,
};

/* A Monday, 00:00, some weeks ago in any log: the seed adds hours. */
#define FIRST_SECOND 1751241600ULL

struct bench {
	unsigned long seeds, weeks, jobs, seed;
	double week_hours;
	bool json, verbose, kinds[FAULT_KINDS];
	struct shared *shared;
};

/* By the processes. */
struct shared {
	atomic_ulong next;		       /* job that none has begun */
	struct figures figures[2 * SEEDS_MAX]; /* of each job: weeks, the longest, then seeds */
};

/* One town with its stages. */
struct stand {
	struct town *town;
	struct traffic *traffic;
	struct heap *heap;
	struct anomaly *owners[OWNERS];
	struct incidents *incidents;
	struct score *score;
	struct figures *figures;
	struct map series; /* baselines by edge and metric */
	uint64_t pane;
	bool metered;
};

static void on_episodes(void *context, const struct alert *alerts, size_t count)
{
	struct stand *stand = context;
	incidents_push(stand->incidents, alerts, count);
	struct heap *heap = memory_use(NULL);
	score_episodes(stand->score, alerts, count, stand->pane);
	memory_use(heap);
}

static void on_incidents(void *context, const struct alert *alerts, size_t count)
{
	struct stand *stand = context;
	struct heap *heap = memory_use(NULL);
	score_push(stand->score, alerts, count, stand->pane);
	memory_use(heap);
}

static void on_baselines(void *context, const struct baseline_record *records, size_t count,
			 const struct names *names)
{
	struct stand *stand = context;
	struct heap *heap = memory_use(NULL);
	(void)names;
	for (size_t i = 0; i < count; i++)
		map_put(&stand->series, hash_mix(records[i].edge.id + records[i].metric) | 1,
			stand);
	memory_use(heap);
}

static void stand_init(struct stand *stand, uint64_t seed, double scale, const struct bench *bench,
		       struct figures *figures)
{
	*stand = (struct stand){.town = town_new(seed, scale), .figures = figures};
	stand->pane = (FIRST_SECOND + hash_mix(seed) % 168 * 3600) * PANES_PER_S;
	stand->traffic = traffic_new(stand->town);
	stand->score = score_new(stand->traffic, figures, bench->verbose);
	stand->heap = heap_new(HEAP_NUMBER);
	if (!stand->heap) {
		perror("bench-detection: heap");
		exit(1);
	}
	memory_use(stand->heap);
	for (uint32_t i = 0; i < OWNERS; i++)
		stand->owners[i] = anomaly_new(&(struct anomaly_options){
			.baselines = true,
			.sensitivity = 9,
			.warmup_samples = 60,
			.objective = 0.99,
			.update_ns = 10 * NS_PER_S,
			.baseline_save_ns = 60 * NS_PER_S,
			.edges_max = 10000,
			.episodes_max = 10000,
			.sinks = {stand, on_episodes, on_baselines},
		});
	stand->incidents = incidents_new(&(struct incident_options){
		.update_ns = 10 * NS_PER_S,
		.episodes_max = 10000,
		.sinks = {stand, on_incidents},
	});
	memory_use(NULL);
}

static void stand_done(struct stand *stand)
{
	for (uint32_t i = 0; i < OWNERS; i++)
		anomaly_free(stand->owners[i]);
	incidents_free(stand->incidents);
	heap_free(stand->heap);
	score_free(stand->score);
	map_done(&stand->series);
	traffic_free(stand->traffic);
	town_free(stand->town);
}

static uint64_t thread_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void stand_stages(struct stand *stand)
{
	struct traffic *traffic = stand->traffic;
	memory_use(stand->heap);
	for (uint32_t i = 0; i < OWNERS; i++) {
		anomaly_push(stand->owners[i], traffic->rows[i].rows, traffic->rows[i].count,
			     stand->town->names);
		anomaly_advance(stand->owners[i], pane_end(stand->pane));
	}
	incidents_advance(stand->incidents, pane_end(stand->pane));
	memory_use(NULL);
}

static void stand_pane(struct stand *stand)
{
	struct traffic *traffic = stand->traffic;
	bool metered = stand->metered && stand->pane / PANES_PER_10S % METERED_TENS == 0;
	uint64_t rows = traffic->edge_rows;
	town_live(stand->town, stand->pane);
	traffic_pane(traffic, stand->pane);
	uint64_t before = metered ? thread_ns() : 0;
	stand_stages(stand);
	if (metered) {
		stand->figures->stage_ns += thread_ns() - before;
		stand->figures->stage_rows += traffic->edge_rows - rows;
	}
	stand->pane++;
}

static void stand_run(struct stand *stand, uint64_t seconds)
{
	for (uint64_t panes = seconds * PANES_PER_S; panes > 0; panes--)
		stand_pane(stand);
}

/* --- a seed --- */

static void run_fault(struct stand *stand, enum fault_kind kind, uint32_t strength)
{
	uint64_t end = stand->pane + FAULT_S * PANES_PER_S;
	stand->traffic->parts = true;
	stand_run(stand, PARTS_S);
	end += PARTS_S * PANES_PER_S;
	struct fault fault = fault_draw(stand->town, kind, strength, stand->pane, end);
	score_fault(stand->score, NULL);
	traffic_forget_ripples(stand->traffic);
	stand->traffic->fault = &fault;
	for (uint32_t i = 0; i < (FAULT_S + SCORE_AFTER_S) * PANES_PER_S; i++) {
		fault_live(&fault, stand->town, stand->pane);
		stand_pane(stand);
	}
	stand->traffic->fault = NULL;
	score_fault(stand->score, &fault);
	stand->traffic->parts = false;
	stand_run(stand, GAP_S - SCORE_AFTER_S - PARTS_S);
}

static void run_seed(const struct bench *bench, uint64_t seed, struct figures *figures)
{
	struct stand stand;
	uint32_t order[FAULT_KINDS * STRENGTHS], count = 0;
	stand_init(&stand, seed, 1, bench, figures);
	for (uint32_t i = 0; i < FAULT_KINDS * STRENGTHS; i++)
		if (bench->kinds[i / STRENGTHS])
			order[count++] = i;
	stand_run(&stand, WARM_S);
	score_fault(stand.score, NULL);
	for (; count > 0; count--) {
		uint32_t at = dice_below(&stand.town->dice, count), drawn = order[at];
		order[at] = order[count - 1];
		run_fault(&stand, drawn / STRENGTHS, drawn % STRENGTHS);
		figures->hours += (FAULT_S + GAP_S) / 3600.0;
	}
	score_fault(stand.score, NULL);
	figures->hours += WARM_S / 3600.0;
	stand_done(&stand);
}

/* --- a week --- */

static void run_week(const struct bench *bench, uint64_t seed, struct figures *figures)
{
	struct stand stand;
	stand_init(&stand, seed, WEEK_SCALE, bench, figures);
	stand_run(&stand, WARM_S);
	score_week(stand.score);
	figures->false_week = 0;
	stand.metered = true;
	stand_run(&stand, (uint64_t)(bench->week_hours * 3600));
	score_week(stand.score);
	figures->series = stand.series.count;
	figures->series_days = stand.series.count * bench->week_hours / 24;
	figures->heap_bytes = heap_bytes(stand.heap);
	stand_done(&stand);
}

/* --- all --- */

static void run_job(const struct bench *bench, unsigned long job)
{
	if (job < bench->weeks)
		run_week(bench, bench->seed + SEEDS_MAX + job, &bench->shared->figures[job]);
	else
		run_seed(bench, bench->seed + job - bench->weeks, &bench->shared->figures[job]);
}

/* Processes, as the stages of one keep to one heap and its meter to one thread. */
static bool run_all(const struct bench *bench, unsigned long count)
{
	bool well = true;
	unsigned long jobs = bench->jobs < count ? bench->jobs : count;
	for (unsigned long child = 0; child < jobs; child++) {
		pid_t pid = fork();
		if (pid < 0) {
			perror("bench-detection: fork");
			exit(1);
		}
		if (pid > 0)
			continue;
		for (unsigned long job; (job = bench->shared->next++) < count;)
			run_job(bench, job);
		_exit(0);
	}
	for (unsigned long child = 0; child < jobs; child++) {
		int status;
		well &= wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	}
	return well;
}

static bool read_kinds(struct bench *bench, char *text)
{
	memset(bench->kinds, 0, sizeof(bench->kinds));
	char *rest = NULL;
	for (char *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
		uint32_t kind = 0;
		while (kind < FAULT_KINDS && strcmp(fault_kind_name(kind), word) != 0)
			kind++;
		if (kind == FAULT_KINDS)
			return false;
		bench->kinds[kind] = true;
	}
	return true;
}

static bool read_number(const char *text, double most, double *number)
{
	char *end;
	if (!text)
		return false;
	*number = strtod(text, &end);
	return end != text && *end == '\0' && *number >= 0 && *number <= most;
}

static bool read_flag(struct bench *bench, const char *flag, char *value)
{
	double number = 0;
	if (strcmp(flag, "--kinds") == 0)
		return value && read_kinds(bench, value);
	if (strcmp(flag, "--week-hours") == 0)
		return read_number(value, 24 * 365, &bench->week_hours);
	if (!read_number(value, strcmp(flag, "--seed") == 0 ? SEED_MAX : SEEDS_MAX, &number))
		return false;
	if (strcmp(flag, "--seeds") == 0)
		bench->seeds = (unsigned long)number;
	else if (strcmp(flag, "--seed") == 0)
		bench->seed = (unsigned long)number;
	else if (strcmp(flag, "--weeks") == 0)
		bench->weeks = (unsigned long)number;
	else if (strcmp(flag, "--jobs") == 0 && number >= 1 && number <= JOBS_MAX)
		bench->jobs = (unsigned long)number;
	else
		return false;
	return true;
}

static bool read_flags(struct bench *bench, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			bench->json = true;
		else if (strcmp(argv[i], "--verbose") == 0)
			bench->verbose = true;
		else if (i + 1 == argc || !read_flag(bench, argv[i], argv[i + 1]))
			return false;
		else
			i++;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct bench bench = {.seeds = 20, .weeks = 1, .week_hours = WEEK_HOURS};
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct timespec begin, end;
	struct figures sum = {0};
	bench.jobs = cores < 1 ? 1 : cores > JOBS_MAX ? JOBS_MAX : (unsigned long)cores;
	memset(bench.kinds, true, sizeof(bench.kinds));
	if (!read_flags(&bench, argc, argv)) {
		fprintf(stderr,
			"usage: bench-detection [--json] [--seeds N] [--seed FIRST] "
			"[--kinds KIND,KIND..] [--week-hours H] [--weeks N] [--jobs N] "
			"[--verbose]\n"
			"default: 20 seeds from 0, 1 week of 120 hours (168 take 17 minutes of a "
			"core), a job a core\n");
		return 2;
	}
	unsigned long count = bench.seeds + bench.weeks;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	bench.shared = mmap(NULL, sizeof(*bench.shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (bench.shared == MAP_FAILED) {
		perror("bench-detection: mmap");
		return 1;
	}
	if (!run_all(&bench, count))
		return 1;
	for (unsigned long i = 0; i < count; i++)
		figures_add(&sum, &bench.shared->figures[i]);
	clock_gettime(CLOCK_MONOTONIC, &end);
	figures_print(&sum, bench.json,
		      (double)(end.tv_sec - begin.tv_sec) +
			      (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
	munmap(bench.shared, sizeof(*bench.shared));
	return 0;
}
