#include "daemon/hindsight.h"

#include <stdlib.h>
#include <string.h>

#include "api/http/json.h"
#include "api/query/alert_message.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

/* So long a transition waits until it is known whether its pane still counts: more panes are closed
 * than are told of. */
#define WAIT_NS (2 * NS_PER_S)

enum { OVERLAPS_SHOWN = 8, SERVERS_MAX = 1 + ALERT_MEMBERS_MAX };

struct incident {
	struct alert newest;
	double value;	    /* when it first fired */
	uint64_t *overlaps; /* numbers of those that were told */
	size_t overlaps_count;
};

/* What was told, as far as it is asked for. */
struct told {
	char key[ALERT_KEY_TEXT], monitor[ALERT_MONITOR_MAX];
	uint64_t sequence, started_ns, ended_ns;
	uint64_t servers[SERVERS_MAX]; /* hashes of the names, of all that it ever named first */
	uint32_t servers_count;
};

struct hindsight {
	struct hindsight_options options;
	uint64_t from_ns, end_ns;
	struct alert *waiting; /* oldest first */
	size_t waiting_count, waiting_max;
	struct incident *incidents; /* in the order in which they began */
	size_t count, max;
	struct told *told;
	size_t told_count, told_room;
	uint32_t *slots; /* number of a told one + 1, by its key's hash; 0: none */
	size_t slots_count;
	uint64_t left_out, told_left_out;
};

struct hindsight *hindsight_new(const struct hindsight_options *options)
{
	struct hindsight *hindsight = memory_zeroed(1, sizeof(*hindsight));

	hindsight->options = *options;
	hindsight->from_ns = options->from_ns;
	hindsight->end_ns = options->to_ns;
	/* At most half of them are used. */
	for (hindsight->slots_count = 2; hindsight->slots_count < 2 * (size_t)options->told_max;)
		hindsight->slots_count *= 2;
	hindsight->slots = memory_zeroed(hindsight->slots_count, sizeof(*hindsight->slots));
	return hindsight;
}

void hindsight_free(struct hindsight *hindsight)
{
	for (size_t i = 0; i < hindsight->count; i++)
		free(hindsight->incidents[i].overlaps);
	free(hindsight->incidents);
	free(hindsight->waiting);
	free(hindsight->slots);
	free(hindsight->told);
	free(hindsight);
}

/* --- what the replay finds --- */

static struct incident *incident_of(struct hindsight *hindsight, const struct alert *alert)
{
	/* The newest are the likeliest. */
	for (size_t i = hindsight->count; i-- > 0;) {
		if (strcmp(hindsight->incidents[i].newest.key, alert->key) == 0)
			return &hindsight->incidents[i];
	}
	if (hindsight->count == hindsight->options.incidents_max) {
		hindsight->left_out += alert->sequence == 1;
		return NULL;
	}
	if (hindsight->count == hindsight->max) {
		hindsight->max = memory_grown(hindsight->max, hindsight->count + 1);
		hindsight->incidents = memory_resize(hindsight->incidents, hindsight->max,
						     sizeof(*hindsight->incidents));
	}
	hindsight->incidents[hindsight->count] = (struct incident){.value = alert->value};
	return &hindsight->incidents[hindsight->count++];
}

/* Up to a pane's end. */
static void take_waiting(struct hindsight *hindsight, uint64_t until_ns)
{
	size_t taken = 0;

	while (taken < hindsight->waiting_count &&
	       hindsight->waiting[taken].pane_end_ns <= until_ns) {
		const struct alert *alert = &hindsight->waiting[taken++];
		struct incident *incident = incident_of(hindsight, alert);

		if (incident)
			incident->newest = *alert;
	}
	if (!taken)
		return;
	hindsight->waiting_count -= taken;
	memmove(hindsight->waiting, hindsight->waiting + taken,
		hindsight->waiting_count * sizeof(*hindsight->waiting));
}

void hindsight_found(struct hindsight *hindsight, const struct alert *alert)
{
	if (alert->pane_end_ns > hindsight->options.to_ns)
		return;
	if (alert->pane_end_ns > WAIT_NS)
		take_waiting(hindsight, alert->pane_end_ns - WAIT_NS);
	if (hindsight->waiting_count == hindsight->waiting_max) {
		hindsight->waiting_max =
			memory_grown(hindsight->waiting_max, hindsight->waiting_count + 1);
		hindsight->waiting = memory_resize(hindsight->waiting, hindsight->waiting_max,
						   sizeof(*hindsight->waiting));
	}
	hindsight->waiting[hindsight->waiting_count++] = *alert;
}

/* --- what was told --- */

static void add_server(struct told *told, const char *server)
{
	uint64_t hash = hash_bytes(server, strlen(server));

	for (uint32_t i = 0; i < told->servers_count; i++) {
		if (told->servers[i] == hash)
			return;
	}
	if (told->servers_count < SERVERS_MAX)
		told->servers[told->servers_count++] = hash;
}

static void take_told(struct told *told, const struct alert *alert)
{
	add_server(told, alert->subject.server);
	for (uint32_t i = 0; i < alert->members_count; i++)
		add_server(told, alert->members[i].subject.server);
	if (alert->sequence <= told->sequence)
		return;
	told->sequence = alert->sequence;
	memcpy(told->monitor, alert->monitor, sizeof(told->monitor));
	told->started_ns = alert->started_ns;
	told->ended_ns = alert->state == ALERT_RESOLVED ? alert->ended_ns : 0;
}

/* The slot of the key, or the free one where it belongs. */
static uint32_t *slot_of(const struct hindsight *hindsight, const char *key)
{
	size_t mask = hindsight->slots_count - 1, at = hash_bytes(key, strlen(key)) & mask;

	while (hindsight->slots[at] &&
	       strcmp(hindsight->told[hindsight->slots[at] - 1].key, key) != 0)
		at = (at + 1) & mask;
	return &hindsight->slots[at];
}

static struct told *told_of(struct hindsight *hindsight, const char *key)
{
	uint32_t *slot = slot_of(hindsight, key);

	if (*slot)
		return &hindsight->told[*slot - 1];
	if (hindsight->told_count == hindsight->options.told_max) {
		hindsight->told_left_out++;
		return NULL;
	}
	if (hindsight->told_count == hindsight->told_room) {
		hindsight->told_room =
			memory_grown(hindsight->told_room, hindsight->told_count + 1);
		hindsight->told = memory_resize(hindsight->told, hindsight->told_room,
						sizeof(*hindsight->told));
	}
	struct told *told = &hindsight->told[hindsight->told_count++];

	*slot = (uint32_t)hindsight->told_count;
	*told = (struct told){.sequence = 0};
	memcpy(told->key, key, strlen(key));
	return told;
}

void hindsight_told(struct hindsight *hindsight, const struct alert *alert)
{
	struct told *told;

	if (alert->started_ns >= hindsight->options.to_ns)
		return;
	told = told_of(hindsight, alert->key);
	if (told)
		take_told(told, alert);
}

/* --- both --- */

static bool was_open(uint64_t started_ns, uint64_t ended_ns, uint64_t from_ns, uint64_t end_ns)
{
	return started_ns < end_ns && (ended_ns == 0 || ended_ns > from_ns);
}

static int compare_told(const void *a, const void *b)
{
	const struct told *left = a, *right = b;

	if (left->started_ns != right->started_ns)
		return left->started_ns < right->started_ns ? -1 : 1;
	return strcmp(left->key, right->key);
}

static bool overlaps(const struct hindsight *hindsight, const struct incident *incident,
		     const struct told *told)
{
	const struct alert *alert = &incident->newest;
	uint64_t end_ns = alert->ended_ns ? alert->ended_ns : hindsight->end_ns;
	struct told servers = {0};

	if (!was_open(told->started_ns, told->ended_ns, alert->started_ns, end_ns))
		return false;
	add_server(&servers, alert->subject.server);
	for (uint32_t i = 0; i < alert->members_count; i++)
		add_server(&servers, alert->members[i].subject.server);
	for (uint32_t i = 0; i < servers.servers_count; i++) {
		for (uint32_t n = 0; n < told->servers_count; n++) {
			if (servers.servers[i] == told->servers[n])
				return true;
		}
	}
	return false;
}

static void find_overlaps(const struct hindsight *hindsight, struct incident *incident)
{
	size_t max = 0;

	for (size_t i = 0; i < hindsight->told_count; i++) {
		if (!overlaps(hindsight, incident, &hindsight->told[i]))
			continue;
		if (incident->overlaps_count == max) {
			max = memory_grown(max, incident->overlaps_count + 1);
			incident->overlaps =
				memory_resize(incident->overlaps, max, sizeof(*incident->overlaps));
		}
		incident->overlaps[incident->overlaps_count++] = i;
	}
}

static void keep_those_within(struct hindsight *hindsight)
{
	size_t kept = 0, told = 0;

	for (size_t i = 0; i < hindsight->count; i++) {
		const struct alert *alert = &hindsight->incidents[i].newest;

		if (was_open(alert->started_ns, alert->ended_ns, hindsight->from_ns,
			     hindsight->end_ns))
			hindsight->incidents[kept++] = hindsight->incidents[i];
	}
	for (size_t i = 0; i < hindsight->told_count; i++) {
		if (was_open(hindsight->told[i].started_ns, hindsight->told[i].ended_ns,
			     hindsight->from_ns, hindsight->end_ns))
			hindsight->told[told++] = hindsight->told[i];
	}
	hindsight->count = kept;
	hindsight->told_count = told;
}

void hindsight_finish(struct hindsight *hindsight, uint64_t from_ns, uint64_t end_ns)
{
	hindsight->from_ns = from_ns;
	if (end_ns < hindsight->end_ns)
		hindsight->end_ns = end_ns;
	take_waiting(hindsight, hindsight->end_ns);
	keep_those_within(hindsight);
	if (hindsight->told_count)
		qsort(hindsight->told, hindsight->told_count, sizeof(*hindsight->told),
		      compare_told);
	for (size_t i = 0; i < hindsight->count; i++)
		find_overlaps(hindsight, &hindsight->incidents[i]);
}

/* --- what is printed --- */

/* Of what lies in the range. */
static double seconds_of(const struct hindsight *hindsight, const struct incident *incident)
{
	const struct alert *alert = &incident->newest;
	uint64_t begin_ns = alert->started_ns, end_ns = alert->ended_ns;

	if (begin_ns < hindsight->from_ns)
		begin_ns = hindsight->from_ns;
	if (!end_ns)
		end_ns = hindsight->end_ns;
	return (double)(end_ns - begin_ns) / (double)NS_PER_S;
}

static void put_told(struct json *json, const struct told *told)
{
	json_object_begin(json);
	json_member(json, "key", told->key);
	json_member(json, "monitor", told->monitor);
	json_key(json, "started_ns");
	json_uint(json, told->started_ns);
	json_key(json, "ended_ns");
	json_uint(json, told->ended_ns);
	json_object_end(json);
}

static void put_incident(const struct hindsight *hindsight, struct json *json,
			 const struct incident *incident)
{
	json_object_begin(json);
	json_key(json, "alert");
	alert_json(json, &incident->newest);
	json_key(json, "value");
	json_double(json, incident->value);
	json_key(json, "lasted_s");
	json_double(json, seconds_of(hindsight, incident));
	json_key(json, "began_before");
	json_bool(json, incident->newest.started_ns < hindsight->from_ns);
	json_key(json, "told");
	json_array_begin(json);
	for (size_t i = 0; i < incident->overlaps_count && i < OVERLAPS_SHOWN; i++)
		put_told(json, &hindsight->told[incident->overlaps[i]]);
	json_array_end(json);
	json_object_end(json);
}

static void put_number(struct json *json, const char *name, uint64_t value)
{
	json_key(json, name);
	json_uint(json, value);
}

static void put_summary(const struct hindsight *hindsight, struct json *json)
{
	double seconds = 0, longest = 0;
	uint64_t firing = 0, overlapping = 0;

	for (size_t i = 0; i < hindsight->count; i++) {
		const struct incident *incident = &hindsight->incidents[i];
		double lasted = seconds_of(hindsight, incident);

		seconds += lasted;
		longest = lasted > longest ? lasted : longest;
		firing += incident->newest.ended_ns == 0;
		overlapping += incident->overlaps_count > 0;
	}
	json_member_object(json, "summary");
	put_number(json, "incidents", hindsight->count);
	put_number(json, "firing", firing);
	put_number(json, "left_out", hindsight->left_out);
	json_key(json, "seconds");
	json_double(json, seconds);
	json_key(json, "longest_s");
	json_double(json, longest);
	put_number(json, "overlapping", overlapping);
	put_number(json, "told", hindsight->told_count);
	put_number(json, "told_left_out", hindsight->told_left_out);
	json_object_end(json);
}

void hindsight_json(const struct hindsight *hindsight, struct json *json)
{
	json_key(json, "incidents");
	json_array_begin(json);
	for (size_t i = 0; i < hindsight->count; i++)
		put_incident(hindsight, json, &hindsight->incidents[i]);
	json_array_end(json);
	put_summary(hindsight, json);
}
