#include "daemon/sieve.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

enum {
	LEVELS = 65, /* of a row's connections: bits of their number */
	SECONDS = 16,
	COUNT_BITS = 24,
	/* Tasks are panes apart at most, so a second this old has been told by all. */
	SETTLED_S = 2,
	PARTS_S = 10,
};

/* Of one task: its lanes and instances. */
struct sieve_task {
	uint64_t window_ns; /* start of the newest */
	uint64_t taken;
	/* Rows of higher levels are taken, and of this one a share of 2^32: always the same ones,
	 * so that their series have no gaps. */
	unsigned level;
	uint64_t share;
	uint64_t seen[LEVELS];
};

struct sieve {
	uint64_t seconds_max, parts_max;   /* all tasks' in a second; a task's in ten */
	_Atomic uint64_t seconds[SECONDS]; /* second << COUNT_BITS | its rows so far */
	_Atomic uint64_t left_out;
	struct sieve_task *tasks;
};

struct sieve *sieve_new(uint32_t tasks, uint64_t rows_a_second)
{
	struct sieve *sieve = memory_zeroed(1, sizeof(*sieve));

	sieve->seconds_max = rows_a_second / 2;
	sieve->parts_max = rows_a_second / 2 * PARTS_S / tasks;
	sieve->tasks = memory_zeroed(tasks, sizeof(*sieve->tasks));
	return sieve;
}

void sieve_free(struct sieve *sieve)
{
	if (!sieve)
		return;
	free(sieve->tasks);
	free(sieve);
}

/* --- seconds --- */

static void count_second(struct sieve *sieve, uint64_t second)
{
	_Atomic uint64_t *slot = &sieve->seconds[second % SECONDS];
	uint64_t old = atomic_load_explicit(slot, memory_order_relaxed), next;

	do {
		if (old >> COUNT_BITS > second)
			return;
		next = old >> COUNT_BITS == second ? old + 1 : second << COUNT_BITS | 1;
	} while (!atomic_compare_exchange_weak(slot, &old, next));
}

static bool seconds_fit(const struct sieve *sieve, uint64_t second)
{
	uint64_t settled = second - SETTLED_S;
	uint64_t slot =
		atomic_load_explicit(&sieve->seconds[settled % SECONDS], memory_order_relaxed);

	return slot >> COUNT_BITS != settled ||
	       (slot & ((1ULL << COUNT_BITS) - 1)) <= sieve->seconds_max;
}

/* --- lanes and instances --- */

static unsigned part_level(const struct rollup *rollup)
{
	int64_t weight =
		counters_both(rollup->counters[COUNTER_ACTIVE], rollup->counters[COUNTER_FAILED]);

	return weight > 0 ? 64 - (unsigned)__builtin_clzll((uint64_t)weight) : 0;
}

/* As many as would have been right for the window before. */
static void begin_window(struct sieve_task *task, uint64_t window_ns, uint64_t parts_max)
{
	uint64_t left = parts_max;
	unsigned level = LEVELS - 1;

	while (level > 0 && task->seen[level] <= left)
		left -= task->seen[level--];

	uint64_t seen = task->seen[level];

	*task = (struct sieve_task){.window_ns = window_ns,
				    .level = level,
				    .share = seen > left ? (left << 32) / seen : 1ULL << 32};
}

static bool choose_part(const struct sieve *sieve, struct sieve_task *task,
			const struct rollup *rollup)
{
	uint64_t id = rollup->scope == SCOPE_LANE ? rollup->lane.id : rollup->instance.id;
	unsigned level = part_level(rollup);

	if (rollup->window_start_ns > task->window_ns)
		begin_window(task, rollup->window_start_ns, sieve->parts_max);
	task->seen[level]++;
	if (level < task->level || task->taken >= 2 * sieve->parts_max)
		return false;
	if (level == task->level && hash_mix(rollup->edge.id ^ id) >> 32 >= task->share)
		return false;
	task->taken++;
	return true;
}

static bool choose(struct sieve *sieve, uint32_t task, const struct rollup *rollup)
{
	uint64_t second = rollup->window_start_ns / NS_PER_S;

	if (rollup->window_ms < 1000)
		return false;
	if (rollup->amendment || (rollup->scope == SCOPE_EDGE && rollup->window_ms > 1000))
		return true;
	if (rollup->scope != SCOPE_EDGE)
		return choose_part(sieve, &sieve->tasks[task], rollup);
	count_second(sieve, second);
	return seconds_fit(sieve, second);
}

size_t sieve_choose(struct sieve *sieve, uint32_t task, const struct rollup *rollups, size_t count,
		    struct rollup *chosen)
{
	size_t taken = 0;
	uint64_t panes = 0;

	for (size_t i = 0; i < count; i++) {
		panes += rollups[i].window_ms < 1000;
		if (choose(sieve, task, &rollups[i]))
			chosen[taken++] = rollups[i];
	}
	atomic_fetch_add_explicit(&sieve->left_out, count - taken - panes, memory_order_relaxed);
	return taken;
}

uint64_t sieve_left_out(const struct sieve *sieve)
{
	return atomic_load_explicit(&sieve->left_out, memory_order_relaxed);
}
