/* The silences that are known: of each id the one issued last, whether it is active, is yet to
 * begin or has expired. An incident is silenced while each of its open episodes is matched by one
 * that is active, be it by one or by several. An alert names at most ALERT_MEMBERS_MAX of its
 * episodes: these are looked at. What Millrace tells of itself (monitors millrace/...) is never
 * silenced.
 *
 * Bounds: silences_max that are active or pending; one above is refused, and counted. Of those that
 * have expired silencebook_forget() leaves as many, for keep_ns; until it is called there may be
 * SILENCEBOOK_SPARE times as many, then the one that ended first is forgotten. Pure; one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rules/silence.h"

enum { SILENCEBOOK_SPARE = 4 };

struct silencebook;

struct silencebook_stats {
	uint64_t active, pending, expired;
	uint64_t refused; /* without room */
};

struct silencebook *silencebook_new(uint32_t silences_max, uint64_t keep_ns);
void silencebook_free(struct silencebook *book);

/* now_ns: real time, here and below. False: a later one of its id is known, which is lost then, or
 * there is no room. */
bool silencebook_take(struct silencebook *book, const struct silence *silence, uint64_t now_ns);
/* The topic has something else under its key, or nothing: the one of this id, if any, is lost until
 * it is taken again. */
void silencebook_lose(struct silencebook *book, const char *id);
/* Of one that was not taken: whether it found no room, and so would come to stand by itself where
 * there is some. */
bool silencebook_is_homeless(const struct silencebook *book, const struct silence *silence);

/* Lent until the next is taken or one is forgotten. */
const struct silence *silencebook_find(const struct silencebook *book, const char *id);
size_t silencebook_count(const struct silencebook *book);
const struct silence *silencebook_at(const struct silencebook *book, size_t number); /* by id */
size_t silencebook_standing(const struct silencebook *book, uint64_t now_ns); /* not expired */
struct silencebook_stats silencebook_stats(const struct silencebook *book, uint64_t now_ns);

/* Until when the alert is silenced, or was last; 0: it never was. */
uint64_t silencebook_until(const struct silencebook *book, const struct alert *alert,
			   uint64_t now_ns);
/* Those that silence the alert now, by id: none if some episode is matched by none. Returns how
 * many, at most max. */
size_t silencebook_of(const struct silencebook *book, const struct alert *alert, uint64_t now_ns,
		      const struct silence **silences, size_t max);

/* When one begins or ends next; UINT64_MAX: none does. */
uint64_t silencebook_next(const struct silencebook *book, uint64_t now_ns);
/* Whether another may stand now than at since_ns: one began or ended, or the clock was set back. */
bool silencebook_moved(const struct silencebook *book, uint64_t since_ns, uint64_t now_ns);
/* Forgets those that ended more than keep_ns ago, and of more than silences_max those that ended
 * first; each is told before. */
void silencebook_forget(struct silencebook *book, uint64_t now_ns,
			void (*told)(void *context, const struct silence *silence), void *context);
