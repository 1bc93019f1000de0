/* millrace backtest --csv: the detector over a file of anyone's, a row in and a row out. Row i of
 * the output depends on rows up to i alone: even the interval is found from the rows so far. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/detector.h"
#include "api/cli/cli.h"
#include "api/cli/csv.h"
#include "base/clock.h"
#include "base/timestamp.h"

enum {
	LEARNED_FIRST = 8, /* values that are kept until the interval is known */
	STEPS = 63,	   /* newest times between rows, whose median is the interval */
	GAP_STEPS = 2,	   /* from so many intervals between rows there is a gap */
};

struct value {
	int64_t time_ns;
	double value;
};

struct counts {
	uint64_t rows, detections, missing, unreadable, refused, untimed, same_time, earlier, gaps;
};

struct backtest {
	struct csv *csv;
	int time_column, value_column;
	struct detector_alert_params alert;
	struct detector_plan plan;
	struct detector detector;
	int64_t newest_ns;
	bool timed; /* newest_ns is a row's */
	int64_t steps_ns[STEPS];
	size_t steps; /* ever */
	struct value first[LEARNED_FIRST];
	size_t first_count;
	struct counts counts;
};

static int compare_steps(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
	return (left > right) - (left < right);
}

/* The median of the newest steps; a second while there is none. */
static uint64_t interval_of(const struct backtest *backtest)
{
	size_t count = backtest->steps < STEPS ? backtest->steps : STEPS;
	int64_t sorted[STEPS];

	if (count == 0)
		return NS_PER_S;
	memcpy(sorted, backtest->steps_ns, count * sizeof(sorted[0]));
	qsort(sorted, count, sizeof(sorted[0]), compare_steps);
	return (uint64_t)sorted[count / 2];
}

static void plan(struct backtest *backtest, uint64_t interval_ns)
{
	detector_plan_init(&backtest->plan, &detector_defaults, &backtest->alert, interval_ns);
}

/* Looked at whenever all steps are new: another interval by half changes the half-lives in points.
 */
static void plan_again(struct backtest *backtest)
{
	uint64_t interval_ns = interval_of(backtest), was_ns = backtest->plan.interval_ns;

	if (interval_ns > was_ns + was_ns / 2 || interval_ns < was_ns - was_ns / 3)
		plan(backtest, interval_ns);
}

/* When the row counts as observed: its own time, or that of the newest row where it has none that
 * is later. */
static int64_t time_of(struct backtest *backtest, const char *text)
{
	struct counts *counts = &backtest->counts;
	int64_t time_ns;

	if (!timestamp_read(text, &time_ns)) {
		counts->untimed++;
		return backtest->newest_ns;
	}
	if (backtest->timed && time_ns <= backtest->newest_ns) {
		counts->same_time += time_ns == backtest->newest_ns;
		counts->earlier += time_ns < backtest->newest_ns;
		return backtest->newest_ns;
	}
	if (backtest->timed) {
		int64_t step_ns = time_ns - backtest->newest_ns;

		counts->gaps += backtest->plan.interval_ns > 0 &&
				(uint64_t)step_ns / GAP_STEPS >= backtest->plan.interval_ns;
		backtest->steps_ns[backtest->steps++ % STEPS] = step_ns;
		if (backtest->plan.interval_ns > 0 && backtest->steps % STEPS == 0)
			plan_again(backtest);
	}
	backtest->timed = true;
	backtest->newest_ns = time_ns;
	return time_ns;
}

static bool value_of(struct backtest *backtest, const char *text, double *value)
{
	static const char *const nothing[] = {"", "-", "na", "n/a", "null", "none", "nan"};
	char *end;

	text += strspn(text, " \t");
	for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++) {
		if (strcasecmp(text, nothing[i]) == 0) {
			backtest->counts.missing++;
			return false;
		}
	}
	*value = strtod(text, &end);
	if (end == text || end[strspn(end, " \t")]) {
		backtest->counts.unreadable++;
		return false;
	}
	if (!detector_accepts(*value)) {
		backtest->counts.refused++;
		return false;
	}
	return true;
}

static struct detection step(struct backtest *backtest, const struct value *value)
{
	struct detector_window window = detector_window_at(&backtest->plan, value->time_ns);
	float surprise =
		detector_step(&backtest->plan, &backtest->detector, 0, &window, value->value);

	return detector_alert(&backtest->plan, &backtest->detector, surprise);
}

static struct detection judge(struct backtest *backtest, const struct value *value)
{
	if (backtest->plan.interval_ns > 0)
		return step(backtest, value);
	backtest->first[backtest->first_count++] = *value;
	if (backtest->first_count == LEARNED_FIRST) {
		plan(backtest, interval_of(backtest));
		for (size_t i = 0; i < LEARNED_FIRST; i++)
			step(backtest, &backtest->first[i]);
	}
	return (struct detection){0};
}

static void read_row(struct backtest *backtest)
{
	const char *time = csv_field(backtest->csv, (size_t)backtest->time_column);
	const char *text = csv_field(backtest->csv, (size_t)backtest->value_column);
	struct value value = {.time_ns = time_of(backtest, time)};
	struct detection detection = {0};

	if (value_of(backtest, text, &value.value))
		detection = judge(backtest, &value);
	backtest->counts.rows++;
	backtest->counts.detections += detection.fired;
	csv_write(stdout, time);
	putchar(',');
	csv_write(stdout, text);
	printf(",%.6f,%d\n", (double)detection.score, detection.fired);
}

static void tell(const char *what, uint64_t count)
{
	if (count > 0)
		fprintf(stderr, "; %" PRIu64 " %s", count, what);
}

static void tell_counts(const struct backtest *backtest)
{
	const struct counts *counts = &backtest->counts;
	double interval_s = (double)interval_of(backtest) / (double)NS_PER_S;

	fprintf(stderr, "millrace: %" PRIu64 " rows, %" PRIu64 " detections", counts->rows,
		counts->detections);
	if (backtest->steps > 0)
		fprintf(stderr, "; interval %g s", interval_s);
	tell("gaps", counts->gaps);
	tell("values missing", counts->missing);
	tell("values that are no number", counts->unreadable);
	tell("values not finite or beyond 1e30", counts->refused);
	tell("rows at the time of the row before", counts->same_time);
	tell("rows earlier than one before", counts->earlier);
	tell("times that cannot be read", counts->untimed);
	fputc('\n', stderr);
}

static int run(struct backtest *backtest, const struct cli *cli)
{
	int status = csv_read_header(backtest->csv);

	if (status < 0)
		return complain(STATUS_FAILED, "%s", csv_error(backtest->csv));
	backtest->time_column = csv_find(backtest->csv, cli->time_column);
	if (backtest->time_column < 0)
		return complain(STATUS_USAGE, "%s", csv_error(backtest->csv));
	backtest->value_column = csv_find(backtest->csv, cli->value_column);
	if (backtest->value_column < 0)
		return complain(STATUS_USAGE, "%s", csv_error(backtest->csv));
	puts("timestamp,value,score,detection");
	while ((status = csv_next(backtest->csv)) == 1 && !ferror(stdout))
		read_row(backtest);
	tell_counts(backtest);
	if (status < 0)
		return complain(STATUS_FAILED, "%s", csv_error(backtest->csv));
	return STATUS_DONE;
}

static bool read_sensitivity(const char *text, float *threshold)
{
	char *end;
	double value = strtod(text, &end);

	*threshold = (float)value;
	return end != text && !*end && value >= DETECTOR_THRESHOLD_MIN &&
	       value <= DETECTOR_THRESHOLD_MAX;
}

int command_backtest(const struct cli *cli)
{
	struct backtest backtest = {.alert = detector_alert_defaults};

	if (!cli->csv)
		return replay_log(cli);
	if (cli->operands_count || cli->file || cli->from || cli->to || cli->config ||
	    cli->settings.count)
		return complain(STATUS_USAGE, "backtest --csv asks nothing of millraced: MONITOR, "
					      "--file, --from, --to, --config and --set belong to "
					      "a backtest of the log");
	if (!cli->time_column || !cli->value_column)
		return complain(STATUS_USAGE, "backtest --csv needs --time-column NAME and "
					      "--value-column NAME");
	if (cli->sensitivity && !read_sensitivity(cli->sensitivity, &backtest.alert.threshold))
		return complain(STATUS_USAGE, "--sensitivity %s; accepted: %g to %g decades",
				cli->sensitivity, DETECTOR_THRESHOLD_MIN, DETECTOR_THRESHOLD_MAX);

	bool standard = strcmp(cli->csv, "-") == 0;
	FILE *file = standard ? stdin : fopen(cli->csv, "re");

	if (!file)
		return complain(STATUS_FAILED, "%s cannot be opened: %s", cli->csv,
				strerror(errno));
	backtest.csv = csv_new(file, standard ? "stdin" : cli->csv);

	int status = run(&backtest, cli);

	csv_free(backtest.csv);
	if (!standard)
		fclose(file);
	return status;
}
