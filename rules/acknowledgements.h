/* The acknowledgements that are known: of each incident the one issued last. Bound: of more than
 * max acknowledgements_forget() forgets those issued first, and so what is older than
 * ACKNOWLEDGEMENT_KEEP_NS; until it is called there may be ACKNOWLEDGEMENTS_SPARE times as many,
 * then the one issued first is not kept. A table by key, in whose order nothing is shown. Pure; one
 * thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "rules/acknowledgement.h"

/* As long as what receivers were told is kept (millrace.alerts.delivery). */
#define ACKNOWLEDGEMENT_KEEP_NS (90 * 86400 * NS_PER_S)

enum { ACKNOWLEDGEMENTS_SPARE = 2 };

struct acknowledgements;

struct acknowledgements *acknowledgements_new(uint32_t max);
void acknowledgements_free(struct acknowledgements *known);

/* False: a later one of its incident is known, which is lost then, or it was issued before all of
 * as many as there may be. */
bool acknowledgements_take(struct acknowledgements *known, const struct acknowledgement *one);
/* As silencebook_lose: key is that of the incident. */
void acknowledgements_lose(struct acknowledgements *known, const char *key);
/* That of the incident as it is; NULL: it has none. Lent until the next is taken. */
const struct acknowledgement *acknowledgements_of(const struct acknowledgements *known,
						  const struct alert *alert);
size_t acknowledgements_count(const struct acknowledgements *known);
const struct acknowledgement *acknowledgements_at(const struct acknowledgements *known,
						  size_t number);
/* Forgets what is too old or too much; each is told before. now_ns: real time. */
void acknowledgements_forget(struct acknowledgements *known, uint64_t now_ns,
			     void (*told)(void *context, const struct acknowledgement *one),
			     void *context);
