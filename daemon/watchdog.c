#include "daemon/watchdog.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/memory.h"
#include "daemon/log.h"

struct place {
	_Alignas(64) _Atomic uint64_t beats;
	_Atomic bool busy;
	_Atomic uint64_t stalls, longest_ns;
	uint64_t began_ns;
	/* The watchdog's. */
	uint64_t seen;
	uint32_t looks; /* in which nothing moved */
};

struct watchdog {
	struct place *places;
	uint32_t threads, looks_max; /* 0: never */
	pthread_t thread;
	pthread_mutex_t mutex; /* for the end alone */
	pthread_cond_t ended;
	bool ends;
};

static _Thread_local struct place *here;

/* Nobody sets it: a step would stretch a look, or cut one short. */
static uint64_t clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* --- the watched --- */

void watchdog_join(struct watchdog *watchdog, uint32_t thread)
{
	here = &watchdog->places[thread];
}

void watchdog_beat(void)
{
	if (here)
		atomic_store_explicit(&here->beats,
				      atomic_load_explicit(&here->beats, memory_order_relaxed) + 1,
				      memory_order_relaxed);
}

void watchdog_begin(void)
{
	if (!here)
		return;
	here->began_ns = clock_now();
	atomic_store_explicit(&here->busy, true, memory_order_relaxed);
}

void watchdog_end(void)
{
	uint64_t took;

	if (!here)
		return;
	watchdog_beat();
	atomic_store_explicit(&here->busy, false, memory_order_relaxed);
	took = clock_now() - here->began_ns;
	if (took > WATCHDOG_STALL_NS)
		atomic_fetch_add(&here->stalls, 1);
	if (took > atomic_load_explicit(&here->longest_ns, memory_order_relaxed))
		atomic_store(&here->longest_ns, took);
}

/* --- the watchdog --- */

static bool hangs(const struct watchdog *watchdog, struct place *place)
{
	uint64_t beats = atomic_load(&place->beats);

	if (!atomic_load(&place->busy) || beats != place->seen) {
		place->seen = beats;
		place->looks = 0;
		return false;
	}
	return ++place->looks > watchdog->looks_max;
}

static void look(struct watchdog *watchdog)
{
	for (uint32_t i = 0; i < watchdog->threads; i++) {
		if (!hangs(watchdog, &watchdog->places[i]))
			continue;
		log_line(
			LOG_LEVEL_ERROR,
			"worker %u does not get on for %.1f s: the process ends to be started anew "
			"(pipeline.hang_after)",
			i, (double)watchdog->looks_max * WATCHDOG_LOOK_NS / NS_PER_S);
		abort();
	}
}

static void *watch(void *context)
{
	struct watchdog *watchdog = context;

	pthread_mutex_lock(&watchdog->mutex);
	while (!watchdog->ends) {
		uint64_t until = clock_now() + WATCHDOG_LOOK_NS;
		struct timespec deadline = {.tv_sec = (time_t)(until / NS_PER_S),
					    .tv_nsec = (long)(until % NS_PER_S)};

		pthread_cond_timedwait(&watchdog->ended, &watchdog->mutex, &deadline);
		if (!watchdog->ends)
			look(watchdog);
	}
	pthread_mutex_unlock(&watchdog->mutex);
	return NULL;
}

static struct watchdog *release(struct watchdog *watchdog)
{
	free(watchdog->places);
	free(watchdog);
	return NULL;
}

struct watchdog *watchdog_new(uint32_t threads, uint64_t hang_ns)
{
	struct watchdog *watchdog = memory_zeroed(1, sizeof(*watchdog));
	pthread_condattr_t steady;

	watchdog->threads = threads;
	watchdog->looks_max = (uint32_t)(hang_ns / WATCHDOG_LOOK_NS);
	if (posix_memalign((void **)&watchdog->places, _Alignof(struct place),
			   threads * sizeof(struct place)))
		return release(watchdog);
	for (uint32_t i = 0; i < threads; i++)
		watchdog->places[i] = (struct place){0};
	pthread_mutex_init(&watchdog->mutex, NULL);
	pthread_condattr_init(&steady);
	pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
	pthread_cond_init(&watchdog->ended, &steady);
	pthread_condattr_destroy(&steady);
	watchdog->ends = watchdog->looks_max == 0;
	if (!watchdog->ends && pthread_create(&watchdog->thread, NULL, watch, watchdog))
		return release(watchdog);
	return watchdog;
}

void watchdog_free(struct watchdog *watchdog)
{
	if (!watchdog)
		return;
	pthread_mutex_lock(&watchdog->mutex);
	watchdog->ends = true;
	pthread_cond_signal(&watchdog->ended);
	pthread_mutex_unlock(&watchdog->mutex);
	if (watchdog->looks_max)
		pthread_join(watchdog->thread, NULL);
	pthread_cond_destroy(&watchdog->ended);
	pthread_mutex_destroy(&watchdog->mutex);
	release(watchdog);
}

struct watchdog_stats watchdog_stats(const struct watchdog *watchdog)
{
	struct watchdog_stats stats = {0};

	for (uint32_t i = 0; i < watchdog->threads; i++) {
		double longest_s = (double)atomic_load(&watchdog->places[i].longest_ns) / NS_PER_S;

		stats.turns += atomic_load(&watchdog->places[i].stalls);
		if (longest_s > stats.longest_s)
			stats.longest_s = longest_s;
	}
	return stats;
}
