/* Reads the topic millrace.control from its beginning and hands on each record as it comes: one
 * consumer with assign(), in no group, woken by librdkafka through a descriptor; no thread of ours.
 * The topic may come to be later, the broker be away: librdkafka tries again by itself, and after
 * an offset that is gone it reads from the beginning again. When the files of TLS change the client
 * is made anew, and goes on where it was. The loop's thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct security;

struct controlwatch_options {
	uv_loop_t *loop;
	const char *brokers, *topic; /* lent for its life, as what follows */
	struct security *security;
	/* value NULL: a tombstone. append_ns: the record's time in the log; 0 if it has none. */
	void (*record)(void *context, const uint8_t *value, size_t length, uint64_t append_ns);
	void *context;
};

struct controlwatch_stats {
	uint64_t records, errors, clients;
	bool caught_up; /* all that there was has been read */
};

enum { CONTROLWATCH_WHY_BYTES = 512 };

struct controlwatch;
int controlwatch_open(struct controlwatch **out, const struct controlwatch_options *options,
		      char why[CONTROLWATCH_WHY_BYTES]); /* 0 or -errno */
struct controlwatch_stats controlwatch_stats(const struct controlwatch *controlwatch);
/* The loop must run until its handles are gone. Frees itself then. */
void controlwatch_close(struct controlwatch *controlwatch);
