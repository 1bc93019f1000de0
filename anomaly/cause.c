#include "anomaly/cause.h"

#include <stdio.h>
#include <string.h>

#include "aggregate/other.h"
#include "base/memory.h"

enum { WAITING_MAX = 2 * CAUSES_MAX };

struct told {
	uint64_t id, told_ns;
	struct change_event change;
};

struct causes {
	struct told *ring; /* grows up to CAUSES_MAX; then the oldest gives its place */
	uint32_t count, capacity;
	/* Told in panes that are not closed yet, in their order. */
	struct told *waiting;
	uint32_t waiting_count, waiting_capacity;
};

struct causes *causes_new(void)
{
	return memory_zeroed(1, sizeof(struct causes));
}

void causes_free(struct causes *causes)
{
	if (!causes)
		return;
	memory_free(causes->ring);
	memory_free(causes->waiting);
	memory_free(causes);
}

void causes_tell(struct causes *causes, uint64_t id, const struct change_event *change,
		 uint64_t told_ns)
{
	if (causes->waiting_count == WAITING_MAX)
		return; /* it is told again within a minute */
	if (causes->waiting_count == causes->waiting_capacity) {
		causes->waiting_capacity =
			(uint32_t)memory_grown(causes->waiting_capacity, causes->waiting_count + 1);
		causes->waiting = memory_resize(causes->waiting, causes->waiting_capacity,
						sizeof(struct told));
	}
	causes->waiting[causes->waiting_count++] =
		(struct told){.id = id, .told_ns = told_ns, .change = *change};
}

static bool is_known(const struct causes *causes, uint64_t id)
{
	for (uint32_t i = 0; i < causes->count; i++)
		if (causes->ring[i].id == id)
			return true;
	return false;
}

static bool is_older(const struct told *one, const struct told *other)
{
	return one->change.time_ns != other->change.time_ns
		       ? one->change.time_ns < other->change.time_ns
		       : one->id < other->id;
}

/* Where there is no room it takes the place of the oldest, unless it is that itself: else what is
 * told again would come and go for ever. */
static bool keep(struct causes *causes, const struct told *told)
{
	if (causes->count == causes->capacity && causes->capacity < CAUSES_MAX) {
		uint32_t capacity =
			(uint32_t)memory_grown(causes->capacity, (size_t)causes->count + 1);
		causes->capacity = capacity < CAUSES_MAX ? capacity : CAUSES_MAX;
		causes->ring = memory_resize(causes->ring, causes->capacity, sizeof(struct told));
	}
	if (causes->count < causes->capacity) {
		causes->ring[causes->count++] = *told;
		return true;
	}
	struct told *oldest = &causes->ring[0];
	for (uint32_t i = 1; i < causes->count; i++)
		if (is_older(&causes->ring[i], oldest))
			oldest = &causes->ring[i];
	if (is_older(told, oldest))
		return false;
	*oldest = *told;
	return true;
}

bool causes_advance(struct causes *causes, uint64_t now_ns)
{
	uint32_t taken = 0;
	bool any = false;
	for (; taken < causes->waiting_count && causes->waiting[taken].told_ns <= now_ns; taken++) {
		const struct told *told = &causes->waiting[taken];
		if (told->change.time_ns + CAUSE_BEFORE_NS >= now_ns && !is_known(causes, told->id))
			any |= keep(causes, told);
	}
	causes->waiting_count -= taken;
	if (taken && causes->waiting_count)
		memmove(causes->waiting, causes->waiting + taken,
			causes->waiting_count * sizeof(struct told));
	return any;
}

/* --- which it is --- */

static bool is_same(const char *one, const char *other)
{
	return one[0] && strcmp(one, other) == 0 && strcmp(one, OTHER_NAME) != 0;
}

/* A pod's name is that of all its containers, "pod/container". */
static bool is_instance(const char *name, const char *instance)
{
	size_t length = strlen(name);
	return length && strncmp(name, instance, length) == 0 &&
	       (instance[length] == '\0' || instance[length] == '/');
}

static bool names_it(const struct alert *alert, const struct suspect *suspect,
		     const struct change_event *change)
{
	const struct alert_subject *subject = &alert->subject;
	switch (suspect->kind) {
	case SUSPECT_CLIENT_VERSION:
		return is_same(suspect->name, change->after) &&
		       is_same(subject->client, change->workload);
	case SUSPECT_SERVER_VERSION:
		return is_same(suspect->name, change->after) &&
		       is_same(subject->server, change->workload);
	case SUSPECT_CLIENT_INSTANCE:
	case SUSPECT_SERVER_INSTANCE:
		return is_instance(suspect->name, change->instance);
	case SUSPECT_CLIENT_NODE:
	case SUSPECT_SERVER_NODE:
		return is_same(suspect->name, change->node);
	default:
		return false;
	}
}

enum nearness { NEAR_NAMED, NEAR_SERVER, NEAR_CLIENT, NEAR_NODE, NEAR_MEMBER, NEAR_NOT };

static enum nearness nearness_of(const struct alert *alert, const struct change_event *change)
{
	for (uint32_t i = 0; i < alert->suspects_count; i++)
		if (names_it(alert, &alert->suspects[i], change))
			return alert->suspects[i].share >= 0.5 ? NEAR_NAMED : NEAR_NODE;
	if (is_same(alert->subject.server, change->workload))
		return NEAR_SERVER;
	if (is_same(alert->subject.client, change->workload))
		return NEAR_CLIENT;
	for (uint32_t i = 0; i < alert->members_count; i++)
		if (is_same(alert->members[i].subject.server, change->workload))
			return NEAR_MEMBER;
	return NEAR_NOT;
}

/* The lower the likelier. That an edge vanished comes of faults, it makes none. */
static int weight_of(uint32_t kind)
{
	static const int weights[CHANGE_KINDS] = {
		[CHANGE_NONE] = -1,	    [CHANGE_DEPLOYED] = 0,	 [CHANGE_SCALED] = 1,
		[CHANGE_RESTARTED] = 3,	    [CHANGE_OOM_KILLED] = 2,	 [CHANGE_NODE_READY] = 1,
		[CHANGE_NODE_ADDED] = 1,    [CHANGE_NODE_REMOVED] = 1,	 [CHANGE_NODE_CORDONED] = 1,
		[CHANGE_EDGE_APPEARED] = 4, [CHANGE_EDGE_VANISHED] = -1,
	};
	return kind < CHANGE_KINDS ? weights[kind] : -1;
}

struct rank {
	int nearness, weight;
	const struct told *told;
};

static bool is_better(const struct rank *one, const struct rank *other)
{
	if (!other->told || one->nearness != other->nearness)
		return !other->told || one->nearness < other->nearness;
	if (one->weight != other->weight)
		return one->weight < other->weight;
	if (one->told->change.time_ns != other->told->change.time_ns)
		return one->told->change.time_ns > other->told->change.time_ns;
	return one->told->id < other->told->id;
}

bool causes_pick(const struct causes *causes, const struct alert *alert, struct change_event *cause)
{
	struct rank best = {0};
	for (uint32_t i = 0; i < causes->count; i++) {
		const struct change_event *change = &causes->ring[i].change;
		struct rank rank = {.weight = weight_of(change->kind), .told = &causes->ring[i]};
		if (rank.weight < 0 || change->time_ns > alert->started_ns ||
		    change->time_ns + CAUSE_BEFORE_NS < alert->started_ns)
			continue;
		rank.nearness = nearness_of(alert, change);
		if (rank.nearness != NEAR_NOT && is_better(&rank, &best))
			best = rank;
	}
	if (best.told)
		*cause = best.told->change;
	return best.told != NULL;
}

void cause_text(const struct change_event *cause, uint64_t started_ns, char *text, size_t size)
{
	char phrase[CHANGE_TEXT_BYTES];
	uint64_t before_s = (started_ns - cause->time_ns) / NS_PER_S;
	change_text(cause, phrase, sizeof(phrase));
	if (before_s < 120)
		snprintf(text, size, "%s, %u s before", phrase, (unsigned)before_s);
	else
		snprintf(text, size, "%s, %u min before", phrase, (unsigned)(before_s / 60));
}
