#include "bench/detection/score.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/map.h"
#include "base/clock.h"
#include "base/memory.h"

enum { STORY_MAX = 2048, STORY_LINKS = 6 };

struct told {
	uint64_t key, opened_pane, closed_pane; /* 0: it is open */
	struct alert first, settled;
	bool judged;
	char *story; /* verbose: what went on when it began */
};

/* Verbose: an episode that began. */
struct begun {
	uint64_t pane;
	struct alert_subject subject;
	char *summary;
};

struct score {
	const struct traffic *traffic;
	struct figures *figures;
	bool verbose;
	struct told *told;
	uint32_t told_count, told_capacity;
	struct map by_key;   /* of told, plus 1 */
	struct begun *begun; /* since the fault before */
	uint32_t begun_count, begun_capacity;
};

struct score *score_new(const struct traffic *traffic, struct figures *figures, bool verbose)
{
	struct score *score = memory_zeroed(1, sizeof(*score));
	score->traffic = traffic;
	score->figures = figures;
	score->verbose = verbose;
	return score;
}

static void forget_begun(struct score *score)
{
	for (uint32_t i = 0; i < score->begun_count; i++)
		memory_free(score->begun[i].summary);
	score->begun_count = 0;
}

void score_free(struct score *score)
{
	for (uint32_t i = 0; i < score->told_count; i++)
		memory_free(score->told[i].story);
	forget_begun(score);
	memory_free(score->begun);
	map_done(&score->by_key);
	memory_free(score->told);
	memory_free(score);
}

static struct told *told_add(struct score *score, uint64_t key, uint64_t pane)
{
	if (score->told_count == score->told_capacity) {
		score->told_capacity =
			(uint32_t)memory_grown(score->told_capacity, score->told_count + 1);
		score->told =
			memory_resize(score->told, score->told_capacity, sizeof(*score->told));
	}
	struct told *told = &score->told[score->told_count++];
	*told = (struct told){.key = key, .opened_pane = pane};
	map_put(&score->by_key, key, (void *)(uintptr_t)score->told_count);
	return told;
}

static uint64_t word_id(const char *text)
{
	return name_id(text, strlen(text));
}

static bool subject_has(const struct alert_subject *subject, const struct link *link)
{
	uint64_t client = word_id(subject->client), server = word_id(subject->server);
	return (!server || link->edge.server == server) && (!client || link->edge.client == client);
}

/* The busiest of its edges, and how it goes there. */
static char *story_of(const struct score *score, const struct alert_subject *subject, uint64_t pane)
{
	const struct town *town = score->traffic->town;
	char *story = memory_zeroed(1, STORY_MAX);
	size_t length = 0;
	for (uint32_t i = 0, told = 0; i < town->links_count; i++) {
		if (!subject_has(subject, &town->links[i]))
			continue;
		if (told++ == STORY_LINKS)
			break;
		length += traffic_describe(score->traffic, i, pane, story + length,
					   STORY_MAX - length);
	}
	return story;
}

static char *text_copy(const char *text)
{
	size_t size = strlen(text) + 1;
	return memcpy(memory_resize(NULL, size, 1), text, size);
}

void score_episodes(struct score *score, const struct alert *alerts, size_t count, uint64_t pane)
{
	for (size_t i = 0; score->verbose && i < count; i++) {
		if (alerts[i].sequence != 1)
			continue;
		if (score->begun_count == score->begun_capacity) {
			score->begun_capacity = (uint32_t)memory_grown(score->begun_capacity,
								       score->begun_count + 1);
			score->begun = memory_resize(score->begun, score->begun_capacity,
						     sizeof(*score->begun));
		}
		score->begun[score->begun_count++] =
			(struct begun){pane, alerts[i].subject, text_copy(alerts[i].summary)};
	}
}

void score_push(struct score *score, const struct alert *alerts, size_t count, uint64_t pane)
{
	for (size_t i = 0; i < count; i++) {
		const struct alert *alert = &alerts[i];
		uint64_t key = hash_bytes(alert->key, strlen(alert->key)) | 1;
		uint32_t number = (uint32_t)(uintptr_t)map_get(&score->by_key, key);
		struct told *told = number ? &score->told[number - 1] : NULL;
		if (!told) {
			told = told_add(score, key, pane);
			told->first = told->settled = *alert;
			if (score->verbose)
				told->story = story_of(score, &alert->subject, pane);
		} else if (alert->state == ALERT_FIRING &&
			   pane <= told->opened_pane + SCORE_SETTLE_S * PANES_PER_S) {
			told->settled = *alert;
		}
		told->closed_pane = alert->state == ALERT_RESOLVED ? pane : 0;
	}
}

/* --- whose it is --- */

static bool subject_touched(const struct score *score, const struct fault *fault,
			    const struct alert_subject *subject)
{
	const struct town *town = score->traffic->town;
	for (uint32_t i = 0; i < town->links_count; i++) {
		const struct link *link = &town->links[i];
		if (!subject_has(subject, link))
			continue;
		if (score->traffic->rippled[i] || fault_concerns(fault, town, link))
			return true;
	}
	return false;
}

static bool concerns(const struct score *score, const struct fault *fault,
		     const struct alert *alert)
{
	bool touched = subject_touched(score, fault, &alert->subject);
	for (uint32_t i = 0; i < alert->members_count && !touched; i++)
		touched = subject_touched(score, fault, &alert->members[i].subject);
	return touched;
}

static void print_told(const struct told *told, const struct fault *fault, const char *verdict)
{
	const struct alert *alert = &told->settled;
	double since = fault ? (double)fault->start_pane : 0;
	fprintf(stderr, "%s: %s %u, %s at %.1f s of %.1f decades, %s, %u episodes: %s\n", verdict,
		fault ? fault_kind_name(fault->kind) : "none", fault ? fault->strength : 0,
		told->first.monitor, ((double)told->opened_pane - since) / PANES_PER_S,
		told->first.score, diagnosis_name(alert->diagnosis.kind), alert->episodes,
		alert->summary);
	for (uint32_t i = 0; i < alert->suspects_count; i++)
		fprintf(stderr, "    %s %s %.2f %.1f\n", suspect_kind_name(alert->suspects[i].kind),
			alert->suspects[i].name, alert->suspects[i].share,
			alert->suspects[i].excess);
}

static void print_story(const struct told *told)
{
	for (uint32_t i = 1; i < told->settled.members_count; i++)
		fprintf(stderr, "    also %s of %s > %s\n", told->settled.members[i].monitor,
			told->settled.members[i].subject.client,
			told->settled.members[i].subject.server);
	fputs(told->story, stderr);
}

/* That an error budget is used up is a sum that comes out, whoever failed and however long ago. */
static bool is_budget(const struct told *told)
{
	const struct alert *alert = &told->settled;
	bool budget = strncmp(told->first.monitor, "burn-rate/", 10) == 0;
	for (uint32_t i = 0; i < alert->members_count; i++)
		budget &= strncmp(alert->members[i].monitor, "burn-rate/", 10) == 0;
	return budget;
}

static void count_false(struct score *score, const struct told *told)
{
	score->figures->false_metrics[metric_by_name(told->first.metric)]++;
	if (!score->verbose)
		return;
	print_told(told, NULL, "false");
	print_story(told);
}

/* What it made, and where that may have gone to. */
static void print_missed(const struct score *score, const struct fault *fault)
{
	const struct town *town = score->traffic->town;
	double touched = 0;
	for (uint32_t i = 0; i < town->links_count; i++)
		touched += fault_touches(fault, town, &town->links[i]);
	fprintf(stderr, "missed: %s %u mode %u %s > %s, %.0f a minute\n",
		fault_kind_name(fault->kind), fault->strength, fault->mode,
		town->workloads[fault->client].name, town->workloads[fault->server].name, touched);
	for (uint32_t i = 0; i < town->links_count; i++) {
		char text[STORY_MAX];
		/* The pods that a version had are gone by now. */
		if (touched > 0 ? fault_touches(fault, town, &town->links[i]) < touched / 8
				: !fault_concerns(fault, town, &town->links[i]))
			continue;
		traffic_describe(score->traffic, i, fault->end_pane, text, sizeof(text));
		fputs(text, stderr);
	}
	for (uint32_t i = 0; i < score->begun_count; i++) {
		const struct begun *begun = &score->begun[i];
		if (begun->pane >= fault->start_pane &&
		    subject_touched(score, fault, &begun->subject))
			fprintf(stderr, "    episode at %.1f s: %s\n",
				(double)(begun->pane - fault->start_pane) / PANES_PER_S,
				begun->summary);
	}
	for (uint32_t i = 0; i < score->told_count; i++) {
		const struct told *told = &score->told[i];
		if (told->opened_pane < fault->start_pane &&
		    (!told->closed_pane || told->closed_pane > fault->start_pane) &&
		    concerns(score, fault, &told->settled))
			fprintf(stderr, "    was open: %s: %s\n", told->first.monitor,
				told->settled.summary);
	}
}

static void find(struct score *score, const struct fault *fault, const struct told *told)
{
	struct figures_fault *figures = &score->figures->faults[fault->kind][fault->strength];
	const struct town *town = score->traffic->town;
	bool named = fault_named(fault, town, &told->settled);
	figures->found++;
	figures->named += named;
	figures->said += told->settled.diagnosis.kind != DIAGNOSIS_NONE;
	figures->said_rightly += fault_diagnosed(fault, &told->settled.diagnosis);
	figures->named_at_once += fault_named(fault, town, &told->first);
	if (figures->times_count < SCORE_TIMES_MAX)
		figures->times_s[figures->times_count++] =
			(float)(told->opened_pane - fault->start_pane) / PANES_PER_S;
	if (score->verbose)
		print_told(told, fault, named ? "named" : "found");
}

void score_fault(struct score *score, const struct fault *fault)
{
	struct figures_fault *figures =
		fault ? &score->figures->faults[fault->kind][fault->strength] : NULL;
	bool found = false;
	for (uint32_t i = 0; i < score->told_count; i++) {
		struct told *told = &score->told[i];
		bool mine = fault && told->opened_pane >= fault->start_pane &&
			    told->opened_pane < fault->end_pane + SCORE_AFTER_S * PANES_PER_S &&
			    concerns(score, fault, &told->settled);
		if (told->judged)
			continue;
		told->judged = true;
		if (!mine && is_budget(told)) {
			score->figures->budgets++;
			continue;
		}
		score->figures->opened++;
		score->figures->of_faults += mine;
		if (!mine) {
			count_false(score, told);
			continue;
		}
		figures->incidents++;
		if (!found &&
		    told->opened_pane <= fault->start_pane + SCORE_FOUND_S * PANES_PER_S) {
			found = true;
			find(score, fault, told);
		} else if (score->verbose) {
			print_told(told, fault, "again");
		}
	}
	if (figures)
		figures->faults++;
	if (score->verbose && fault && !found)
		print_missed(score, fault);
	forget_begun(score);
}

void score_week(struct score *score)
{
	for (uint32_t i = 0; i < score->told_count; i++) {
		if (score->told[i].judged)
			continue;
		score->told[i].judged = true;
		if (is_budget(&score->told[i])) {
			score->figures->budgets++;
			continue;
		}
		score->figures->false_week++;
		count_false(score, &score->told[i]);
	}
}

/* --- figures --- */

static void add_fault(struct figures_fault *sum, const struct figures_fault *more)
{
	sum->faults += more->faults;
	sum->found += more->found;
	sum->named += more->named;
	sum->named_at_once += more->named_at_once;
	sum->incidents += more->incidents;
	sum->said += more->said;
	sum->said_rightly += more->said_rightly;
	for (uint32_t i = 0; i < more->times_count && sum->times_count < SCORE_TIMES_MAX; i++)
		sum->times_s[sum->times_count++] = more->times_s[i];
}

void figures_add(struct figures *sum, const struct figures *more)
{
	for (uint32_t i = 0; i < FAULT_KINDS; i++)
		for (uint32_t k = 0; k < STRENGTHS; k++)
			add_fault(&sum->faults[i][k], &more->faults[i][k]);
	sum->opened += more->opened;
	sum->of_faults += more->of_faults;
	sum->false_week += more->false_week;
	sum->budgets += more->budgets;
	for (uint32_t i = 0; i <= METRICS; i++)
		sum->false_metrics[i] += more->false_metrics[i];
	sum->series_days += more->series_days;
	sum->hours += more->hours;
	sum->stage_ns += more->stage_ns;
	sum->stage_rows += more->stage_rows;
	sum->heap_bytes += more->heap_bytes;
	sum->series += more->series;
}

static double share(double part, double whole)
{
	return whole > 0 ? part / whole : 0;
}

static int compare_times(const void *a, const void *b)
{
	float left = *(const float *)a, right = *(const float *)b;
	return (left > right) - (left < right);
}

static double quantile(const float *times, uint32_t count, double q)
{
	uint32_t at = (uint32_t)(q * count);
	return count ? times[at < count ? at : count - 1] : 0;
}

/* All strengths of a kind, all kinds of a strength, or all. */
static struct figures_fault sum_of(const struct figures *figures, uint32_t kind, uint32_t strength)
{
	struct figures_fault sum = {0};
	for (uint32_t i = 0; i < FAULT_KINDS; i++)
		for (uint32_t k = 0; k < STRENGTHS; k++)
			if ((kind == FAULT_KINDS || kind == i) &&
			    (strength == STRENGTHS || strength == k))
				add_fault(&sum, &figures->faults[i][k]);
	return sum;
}

struct times {
	double p50, p99;
};

static struct times times_of(const struct figures *figures, uint32_t kind)
{
	static float all[SCORE_TIMES_MAX * STRENGTHS * FAULT_KINDS];
	uint32_t count = 0;
	for (uint32_t i = 0; i < FAULT_KINDS; i++)
		for (uint32_t k = 0; k < STRENGTHS && (kind == i || kind == FAULT_KINDS); k++) {
			const struct figures_fault *from = &figures->faults[i][k];
			memcpy(all + count, from->times_s, from->times_count * sizeof(*all));
			count += from->times_count;
		}
	qsort(all, count, sizeof(*all), compare_times);
	return (struct times){quantile(all, count, 0.5), quantile(all, count, 0.99)};
}

static void print_kind(const struct figures *figures, uint32_t kind, bool json)
{
	const char *name = kind < FAULT_KINDS ? fault_kind_name(kind) : "all";
	struct figures_fault sum = sum_of(figures, kind, STRENGTHS);
	struct times times = times_of(figures, kind);
	double recall[STRENGTHS];
	if (sum.faults == 0)
		return;
	for (uint32_t k = 0; k < STRENGTHS; k++) {
		struct figures_fault of = sum_of(figures, kind, k);
		recall[k] = share(of.found, of.faults);
	}
	printf(json ? "\"%s\":{\"faults\":%u,\"recall\":%.3f,\"recall_by_strength\":"
		      "[%.3f,%.3f,%.3f],\"domain_top1\":%.3f,\"domain_at_once\":%.3f,"
		      "\"incidents_per_fault\":%.3f,\"diagnosed\":%.3f,\"diagnosed_rightly\":%.3f,"
		      "\"seconds_p50\":%.2f,\"seconds_p99\":%.2f}"
		    : "%-9s %6u %7.3f  %5.2f %5.2f %5.2f %7.3f %8.3f %9.3f %5.2f %5.2f %7.2f "
		      "%7.2f\n",
	       name, sum.faults, share(sum.found, sum.faults), recall[0], recall[1], recall[2],
	       share(sum.named, sum.found), share(sum.named_at_once, sum.found),
	       share(sum.incidents, sum.found), share(sum.said, sum.found),
	       share(sum.said_rightly, sum.said), times.p50, times.p99);
}

static void print_table(const struct figures *figures)
{
	printf("fault     faults  recall strong   mid  weak   named  at once incidents"
	       "   why right   p50 s   p99 s\n");
	for (uint32_t kind = 0; kind <= FAULT_KINDS; kind++)
		print_kind(figures, kind, false);
	printf("false, by metric:");
	for (uint32_t i = 0; i <= METRICS; i++)
		if (figures->false_metrics[i])
			printf(" %s %u", metric_name(i), figures->false_metrics[i]);
	printf("\n");
}

void figures_print(struct figures *figures, bool json, double seconds)
{
	struct figures_fault sum = sum_of(figures, FAULT_KINDS, STRENGTHS);
	double per_day = share(1e5 * figures->false_week, figures->series_days);
	if (!json)
		print_table(figures);
	printf(json ? "{\"bench\":\"detection\",\"recall\":%.4f,\"precision\":%.4f,"
		      "\"domain_top1\":%.4f,\"domain_at_once\":%.4f,\"incidents_per_fault\":%.4f,"
		      "\"false_per_1e5_series_day\":%.2f,\"ns_per_point\":%.1f,"
		      "\"bytes_per_series\":%.0f,\"faults\":%u,\"found\":%u,\"incidents\":%u,"
		      "\"of_faults\":%u,\"fault_hours\":%.1f,\"false_week\":%u,"
		      "\"budgets\":%u,\"series_days\":%.0f,\"seconds\":%.0f"
		    : "recall %.4f, precision %.4f, domain first %.4f (at once %.4f), incidents a "
		      "fault %.4f,\nfalse per 10^5 series and day %.2f, %.1f ns a point, %.0f "
		      "bytes "
		      "a series\n(%u faults, %u found; %u incidents, %u of faults, in %.1f hours; "
		      "%u false and %u of budgets alone in %.0f series-days without faults; "
		      "%.0f s)\n",
	       share(sum.found, sum.faults), share(figures->of_faults, figures->opened),
	       share(sum.named, sum.found), share(sum.named_at_once, sum.found),
	       share(sum.incidents, sum.found), per_day,
	       share((double)figures->stage_ns, (double)figures->stage_rows),
	       share((double)figures->heap_bytes, (double)figures->series), sum.faults, sum.found,
	       figures->opened, figures->of_faults, figures->hours, figures->false_week,
	       figures->budgets, figures->series_days, seconds);
	if (!json)
		return;
	printf(",\"kinds\":{");
	for (uint32_t kind = 0, first = 1; kind < FAULT_KINDS; kind++) {
		if (sum_of(figures, kind, STRENGTHS).faults == 0)
			continue;
		printf(first ? "" : ",");
		print_kind(figures, kind, true);
		first = 0;
	}
	printf("}}\n");
}
