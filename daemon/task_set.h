/* Which of the pipeline's tasks: those that an instance owns, or has a snapshot of. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"

enum { TASK_SET_MAX = HEAP_NUMBERS };

struct task_set {
	uint64_t words[TASK_SET_MAX / 64];
};

static inline bool task_set_has(const struct task_set *set, uint32_t task)
{
	return set->words[task / 64] >> (task % 64) & 1;
}

static inline void task_set_add(struct task_set *set, uint32_t task)
{
	set->words[task / 64] |= 1ULL << (task % 64);
}

static inline void task_set_drop(struct task_set *set, uint32_t task)
{
	set->words[task / 64] &= ~(1ULL << (task % 64));
}

/* The lowest; TASK_SET_MAX: it is empty. */
static inline uint32_t task_set_first(const struct task_set *set)
{
	for (uint32_t i = 0; i < TASK_SET_MAX / 64; i++) {
		if (set->words[i])
			return i * 64 + (uint32_t)__builtin_ctzll(set->words[i]);
	}
	return TASK_SET_MAX;
}

static inline uint32_t task_set_count(const struct task_set *set)
{
	uint32_t count = 0;

	for (unsigned i = 0; i < TASK_SET_MAX / 64; i++)
		count += (uint32_t)__builtin_popcountll(set->words[i]);
	return count;
}

/* Whether all of a are in b. */
static inline bool task_set_within(const struct task_set *a, const struct task_set *b)
{
	uint64_t beyond = 0;

	for (unsigned i = 0; i < TASK_SET_MAX / 64; i++)
		beyond |= a->words[i] & ~b->words[i];
	return beyond == 0;
}

static inline bool task_set_equal(const struct task_set *a, const struct task_set *b)
{
	return task_set_within(a, b) && task_set_within(b, a);
}

static inline bool task_set_meets(const struct task_set *a, const struct task_set *b)
{
	uint64_t both = 0;

	for (unsigned i = 0; i < TASK_SET_MAX / 64; i++)
		both |= a->words[i] & b->words[i];
	return both != 0;
}

static inline void task_set_join(struct task_set *set, const struct task_set *more)
{
	for (unsigned i = 0; i < TASK_SET_MAX / 64; i++)
		set->words[i] |= more->words[i];
}

/* 0 to tasks - 1. */
static inline struct task_set task_set_all(uint32_t tasks)
{
	struct task_set set = {{0}};

	for (uint32_t i = 0; i < tasks; i++)
		task_set_add(&set, i);
	return set;
}
