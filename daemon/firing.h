/* The alerts that still fire, as the log of their transitions tells it: of each the newest
 * transition, whatever repeats come behind it. On one thread; grows with the keys in the log. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "anomaly/alert.h"
#include "api/notify/notify.h"

struct firing;

struct firing_alert {
	struct alert alert;
	struct notify_place place; /* of the transition */
};

struct firing *firing_new(void);
void firing_free(struct firing *firing);
/* Whether it is newer than what was known of its key. */
bool firing_take(struct firing *firing, const struct alert *alert,
		 const struct notify_place *place);
/* Those that fire, in the order in which they were first told. NULL after the last: *at begins with
 * 0 and is the function's. */
const struct firing_alert *firing_next(const struct firing *firing, size_t *at);
