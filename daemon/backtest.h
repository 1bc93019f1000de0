/* millraced --backtest: what monitors would have said of a time that is past. The log of events of
 * that time goes through the tasks that millraced runs (run_task_options), with these monitors
 * alone in force, and what comes out is printed as JSON beside what millrace.alerts says was told.
 * Nothing is written anywhere: no output, position, snapshot or port.
 *
 * Read is more than is asked for. For pipeline.keep before anything is watched the tasks only learn
 * what there is, as after a start without a snapshot; then the monitors watch for as long as they
 * go back (monitor_back_ns), their clear_after and incidents.reopen_within, and what they would
 * have said then counts only if it still held at the beginning of the range. Where retention took
 * the beginning the range begins when all can speak (monitor_blind_ns).
 *
 * It runs at the lowest priority, takes as much memory as a pipeline with these settings, and ends
 * when Kafka gives nothing for half a minute. */
#pragma once

#include <stdint.h>

struct config_sources;
struct settings;

struct backtest_options {
	const struct settings *settings;
	const struct config_sources *sources;
	const char *monitor; /* name of one in force; NULL: those of the file */
	const char *file;    /* - is stdin */
	uint64_t from_ns, to_ns;
};

/* The status of the process: 0; 1: it failed, and why was told; 2: the file's monitors are no good;
 * 3: Kafka does not answer. */
int backtest_run(const struct backtest_options *options);
