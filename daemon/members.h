/* Which tasks this instance owns: a member of the consumer group `<group>.instances`, which shares
 * the partitions of millrace.events among its members (eager, range; static membership, so that a
 * restart within the session's timeout changes nothing). Nothing is fetched through it.
 *
 * A thread of its own polls and calls what is in the options: who does not return for
 * MEMBERS_HANG_MS is taken for dead by the group. Heartbeats go on whatever the loops do. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/task_set.h"

struct members;
struct security;

enum {
	MEMBERS_HANG_MS = 60000,
	MEMBERS_RELEASE_MS = 40000, /* the group waits no longer for what is to be released */
	MEMBERS_FENCES_MAX = 3,	    /* in a row, of which each is within five minutes */
};

struct members_options {
	const char *brokers;
	struct security *security; /* NULL: plain; lent */
	const char *topic;	   /* whose partitions are shared */
	const char *group;	   /* ".instances" is added */
	const char *instance;	   /* group.instance.id */
	uint64_t session_ns; /* without a sign of life an instance is out after it; the brokers
				bound it, from 6 s to 30 min by default */
	uint32_t tasks;
	void *context;
	/* What is owned from now on. With each assignment, and between two: none, with the
	 * generation that ends. generation -1, none: it is no member any more, others may have its
	 * tasks already. */
	void (*changed)(void *context, int32_t generation, const struct task_set *tasks);
	/* After none were told: they are wanted back, and others get them only after
	 * members_release(). Not where it is no member any more. */
	void (*revoked)(void *context);
	/* It will never be a member again, so this process must end: another one uses the same
	 * instance, which fenced it more than MEMBERS_FENCES_MAX times in a row, or the brokers
	 * know no static membership. Once, after it was told that it owns none; why: a sentence. */
	void (*fenced)(void *context, const char *why);
	void (*trouble)(void *context, const char *sentence); /* for the log; any thread */
};

struct members_stats {
	uint64_t rebalances; /* assignments */
	int32_t generation;  /* -1: no member */
	uint32_t owned;
};

/* NULL with error told when librdkafka refuses the settings. */
struct members *members_new(const struct members_options *options, char *error, size_t size);
/* Nothing is done any more for the tasks that were revoked. Any thread. */
void members_release(struct members *members);
struct members_stats members_stats(struct members *members);
/* Nobody is told any more. leave: its tasks go to others at once, unless it is just joining or the
 * group's coordinator does not answer; else they are its own until the session's timeout, and a
 * process with the same instance has them again. Waits at most timeout_ms for the group; what takes
 * longer is left to a thread, and security must live on. false: it was. */
bool members_close(struct members *members, bool leave, int timeout_ms);
