/* Alertmanager takes for over what is not told again in time, so what it was told of and still
 * fires is repeated: REPEATS times in resolve_after, some alerts a request, one request at a time.
 * What is in a request under way is not told of otherwise until that is answered: else an end might
 * come before a repeat. Bounded: REPEATED_MAX alerts a receiver; of more the end is told by time
 * alone, and that is counted. Belongs to the channel. */
#pragma once

#include "api/notify/channel.h"

enum { REPEATS = 5, REPEATED_MAX = 16384, REPEATED_AT_ONCE = 64 };

/* What the receiver has of the alert from now on. */
void repeat_keep(struct channel *channel, struct ticket *ticket, const struct alert *alert);
void repeat_forget(struct channel *channel, struct ticket *ticket);
/* Whether it is in the request under way. */
bool repeat_holds(const struct channel *channel, const struct ticket *ticket);
/* Once a second: begins what is due. */
void repeat_turn(struct channel *channel);
