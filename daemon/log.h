/* Log lines to standard error, logfmt: time, level, message. The rim logs; stages never do. What
 * could flood (a broker that is away, a receiver in trouble) goes through log_limited: at most one
 * line of a kind a LOG_PERIOD_NS, with the number of those left out. Any thread. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

#define LOG_PERIOD_NS 5000000000ULL

struct log_limit {
	_Atomic uint64_t next_ns;
	_Atomic uint64_t left_out;
};

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
