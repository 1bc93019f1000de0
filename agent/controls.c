#include "agent/controls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct controls {
	struct control *records[CONTROLS_MAX]; /* in no order */
	struct control read;		       /* the record being looked at */
	struct controls_stats stats;
};

struct controls *controls_new(void)
{
	return memory_zeroed(1, sizeof(struct controls));
}

void controls_free(struct controls *controls)
{
	if (!controls)
		return;
	for (uint32_t i = 0; i < controls->stats.standing; i++)
		free(controls->records[i]);
	free(controls);
}

static void leave(struct controls *controls, uint32_t at)
{
	free(controls->records[at]);
	controls->records[at] = controls->records[--controls->stats.standing];
}

/* Withdrawn ones too: until they expire they keep earlier ones of their id out. */
static void forget_expired(struct controls *controls, uint64_t now_ns)
{
	for (uint32_t i = controls->stats.standing; i-- > 0;)
		if (controls->records[i]->expires_ns <= now_ns)
			leave(controls, i);
}

static bool refuse(uint64_t *counter, const char *id, const char *what,
		   char why[CONTROLS_WHY_BYTES])
{
	(*counter)++;
	snprintf(why, CONTROLS_WHY_BYTES, "control record %s refused: %s", id[0] ? id : "(no id)",
		 what);
	return false;
}

static uint32_t place_of(const struct controls *controls, const char *id)
{
	uint32_t at = 0;
	while (at < controls->stats.standing && strcmp(controls->records[at]->id, id) != 0)
		at++;
	return at;
}

static void make_room(struct controls *controls)
{
	uint32_t first = 0;
	if (controls->stats.standing < CONTROLS_MAX)
		return;
	for (uint32_t i = 1; i < controls->stats.standing; i++)
		if (controls->records[i]->expires_ns < controls->records[first]->expires_ns)
			first = i;
	leave(controls, first);
	controls->stats.evicted++;
}

static void keep(struct controls *controls)
{
	uint32_t at = place_of(controls, controls->read.id);
	if (at == controls->stats.standing) {
		make_room(controls);
		at = controls->stats.standing++;
		controls->records[at] = memory_zeroed(1, sizeof(struct control));
	}
	*controls->records[at] = controls->read;
	controls->stats.taken++;
}

static bool far(uint64_t a, uint64_t b)
{
	return (a > b ? a - b : b - a) > CONTROLS_SKEW_NS;
}

bool controls_take(struct controls *controls, const struct keys *keys, const uint8_t *bytes,
		   size_t length, uint64_t append_ns, uint64_t now_ns, char why[CONTROLS_WHY_BYTES])
{
	struct controls_stats *stats = &controls->stats;
	char what[CONTROL_WHY_BYTES];
	const struct control *read = &controls->read;
	switch (control_accept(bytes, length, keys, &controls->read, what)) {
	case CONTROL_MALFORMED:
		return refuse(&stats->malformed, "", what, why);
	case CONTROL_UNSIGNED:
		return refuse(&stats->unsigned_, "", what, why);
	case CONTROL_FORGED:
		return refuse(&stats->forged, "", what, why);
	case CONTROL_GOOD:
		break;
	}
	forget_expired(controls, now_ns);
	if (read->expires_ns <= now_ns)
		return refuse(&stats->expired, read->id, "it has expired", why);
	if (append_ns && far(append_ns, read->issued_ns))
		return refuse(&stats->replayed, read->id,
			      "it came to the log more than 60 s from when it was issued", why);
	uint32_t at = place_of(controls, read->id);
	if (at < stats->standing && controls->records[at]->issued_ns >= read->issued_ns)
		return refuse(&stats->replayed, read->id, "a later one of its id is known", why);
	keep(controls);
	return true;
}

static bool later(const struct control *a, const struct control *b)
{
	return a->issued_ns != b->issued_ns ? a->issued_ns > b->issued_ns
					    : strcmp(a->id, b->id) > 0;
}

const struct control *controls_find(struct controls *controls, const struct control_target *target,
				    uint64_t now_ns)
{
	const struct control *found = NULL;
	forget_expired(controls, now_ns);
	for (uint32_t i = 0; i < controls->stats.standing; i++) {
		const struct control *record = controls->records[i];
		if (record->withdrawn || !control_selects(&record->selector, target))
			continue;
		if (!found || later(record, found))
			found = record;
	}
	return found;
}

struct controls_stats controls_stats(const struct controls *controls)
{
	return controls->stats;
}
