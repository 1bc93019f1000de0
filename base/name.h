/* Names are known by number: a name's id is the hash of its bytes, so every task gives a name the
 * same id without asking anyone. Ids travel in definitions, labels and rows; the bytes travel
 * apart, once to each reader and again every NAMES_REFRESH_PANES (base/tellings.h), and are
 * forgotten NAMES_KEEP_PANES after the last time. The table is bounded: when it is full the name is
 * not kept, the refusal is counted and readers print the id. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	NAME_MAX_BYTES = 255,
	NAMES_REFRESH_PANES = 240, /* 60 s of 250 ms panes */
	NAMES_KEEP_PANES = 720,	   /* 180 s */
};

struct name {
	uint64_t id;	   /* 0 is the empty name: "unknown" */
	const char *bytes; /* NUL-terminated, not counted in length */
	uint32_t length;
};

uint64_t name_id(const char *bytes, size_t length); /* 0 if and only if length is 0 */

struct names;
struct names_stats {
	uint64_t live, bytes, refused, expired;
};

/* destinations: how many readers names_due keeps apart (0 if it is never called). */
struct names *names_new(uint32_t names_max, uint32_t destinations);
/* Before the first name: without the seed nobody makes ids that stand in each other's way. */
void names_seed(struct names *names, uint64_t seed);
void names_free(struct names *names);

/* Keeps a copy and marks it used in this pane. Longer names are cut at NAME_MAX_BYTES before
 * hashing, at a UTF-8 boundary. Returns the id. */
uint64_t names_put(struct names *names, const char *bytes, size_t length, uint64_t pane);

/* As names_put, of what another task's names told: id and length are as names_put made them. */
void names_learn(struct names *names, const struct name *name, uint64_t pane);

/* NULL if the name is not here. Lent until it is forgotten. */
const struct name *names_get(const struct names *names, uint64_t id);

/* The name if `destination` must be sent it now: it was not in this period of NAMES_REFRESH_PANES.
 * Marks it sent and used. NULL if there is nothing to send. */
const struct name *names_due(struct names *names, uint64_t id, uint32_t destination, uint64_t pane);

/* Marks the name used in this pane, if it is here. */
void names_touch(struct names *names, uint64_t id, uint64_t pane);

/* Forgets what was last used NAMES_KEEP_PANES before pane. */
void names_advance(struct names *names, uint64_t pane);
struct names_stats names_stats(const struct names *names);
