#include "anomaly/incident.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "aggregate/other.h"
#include "anomaly/burn.h"
#include "anomaly/cause.h"
#include "anomaly/map.h"
#include "anomaly/metric.h"
#include "anomaly/summary.h"
#include "anomaly/witness.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/name.h"

#define TOGETHER_NS (2 * NS_PER_S)
/* What is merely slow or unusual is not told before it is known where: instances tell of it once in
 * ten seconds. */
#define RIPE_NS (12 * NS_PER_S)
/* Two faults seldom begin so close together; one often shows in places that nothing links. What is
 * slow or unusual takes longer to be sure of. */
#define SPREAD_NS      (30 * NS_PER_S)
#define SPREAD_MILD_NS (60 * NS_PER_S)
/* What has come to several servers, those who are seldom used notice so much later. */
#define SPREAD_WIDE_NS (120 * NS_PER_S)
/* What began longer ago neither draws new faults along a chain or a node, nor hides them: people
 * have seen it. */
#define LATELY_NS (300 * NS_PER_S)

/* Of a closed incident: what it named, and what ended last. */
enum { RULES_KEPT = 4 * ALERT_MEMBERS_MAX };

struct incident {
	uint64_t number; /* rising */
	uint64_t opened_ns;
	uint64_t update_ns; /* not told again before */
	uint64_t shared_ns; /* when it last took what has nothing to do with it but its time */
	uint64_t grown_ns;  /* when it last took any */
	uint64_t servers[INCIDENT_SERVERS_MIN]; /* of its episodes, the first so many */
	uint32_t servers_count;
	uint64_t monitor;	  /* of the first of them */
	uint32_t kind, told_kind; /* the gravest of its episodes so far; as it was told last */
	struct alert alert;	  /* as it was told last; not at all yet: sequence 0 */
	uint64_t trouble;	  /* its cause's, as it was told last */
	uint32_t episodes;	  /* open */
	bool changed;
	uint64_t closed_ns; /* 0: it is open. Else it may be opened again */
	uint64_t ended_ns;  /* when it closed last, and with what: that belongs to it */
	uint64_t rules[RULES_KEPT];
	uint32_t rules_count;
};

/* An episode: open, or ended in this pane. */
struct member {
	uint64_t id; /* of its key */
	/* Hashes; 0: none, and _other, which is many, is none. */
	uint64_t client, server, edge, domain;
	uint64_t rule; /* its monitor and edge: what is the same when it begins again */
	struct incident *incident;
	uint32_t kind; /* of what is wrong: enum kind */
	bool lookups;  /* which fail also for who cannot reach a server of names */
	bool budget;   /* looks back over hours */
	bool own;      /* a monitor of people's own */
	bool deep;     /* nobody that it calls is a member */
	bool repeats;  /* says of its server what another says better */
	bool ended;
	bool unconfirmed; /* resumed, and its owner has not told of it */
	struct alert alert;
};

/* What goes before when a cause is looked for. */
enum kind { KIND_FAILURE, KIND_LATENCY, KIND_VOLUME };

/* Members with the same key are linked if the key's run says so. */
struct link {
	uint64_t key;
	uint32_t member;
	uint32_t part; /* enum part */
};

enum part {
	PART_SERVER,	   /* the key is its server */
	PART_CHAIN_SERVER, /* likewise, for those who are its clients */
	PART_CHAIN_CLIENT, /* the key is its client: linked where somebody has that as server */
	PART_DOMAIN,
	PART_TOGETHER, /* the key is its client, and it began just now */
};

enum { LINKS_A_MEMBER = 6 };

struct incidents {
	struct incident_options options;
	struct incident **incidents; /* oldest first */
	uint32_t incidents_count, incidents_capacity;
	struct member **members; /* in the order in which they came */
	uint32_t members_count, members_capacity;
	uint32_t newcomers; /* of these, those without an incident yet */
	struct map by_id;
	struct causes *causes;
	uint64_t numbers; /* of incidents so far */
	bool resumed;	  /* some members may be unconfirmed */
	uint64_t now_ns;
	/* Scratch: links; the first member of each member's group, and the incident of that group;
	   ids; members by incident. */
	struct link *links;
	uint32_t links_count;
	uint32_t *first;
	struct incident **groups;
	bool *ripe; /* a group that has no incident may begin one */
	uint64_t *ids;
	struct member **sorted;
	uint32_t scratch_capacity;
	struct incident_stats stats;
};

struct incidents *incidents_new(const struct incident_options *options)
{
	struct incidents *incidents = memory_zeroed(1, sizeof(*incidents));
	incidents->options = *options;
	incidents->causes = causes_new();
	return incidents;
}

void incidents_bind(struct incidents *incidents, const struct incident_sinks *sinks)
{
	incidents->options.sinks = *sinks;
}

void incidents_free(struct incidents *incidents)
{
	if (!incidents)
		return;
	for (uint32_t i = 0; i < incidents->incidents_count; i++)
		memory_free(incidents->incidents[i]);
	for (uint32_t i = 0; i < incidents->members_count; i++)
		memory_free(incidents->members[i]);
	memory_free(incidents->incidents);
	memory_free(incidents->members);
	memory_free(incidents->links);
	memory_free(incidents->first);
	memory_free(incidents->groups);
	memory_free(incidents->ripe);
	memory_free(incidents->ids);
	memory_free(incidents->sorted);
	causes_free(incidents->causes);
	map_done(&incidents->by_id);
	memory_free(incidents);
}

/* --- members --- */

static uint64_t text_id(const char *text)
{
	return name_id(text, strlen(text));
}

static uint64_t id_of(const struct alert *alert)
{
	return hash_bytes(alert->key, strlen(alert->key)) | 1;
}

static uint32_t kind_of(const struct alert *alert)
{
	switch (metric_by_name(alert->metric)) {
	case METRIC_CONNECTIONS_FAILED:
	case METRIC_FAILURE_RATIO:
	case METRIC_CONNECTIONS_RESET:
	case METRIC_DNS_FAILURE_RATIO:
		return KIND_FAILURE;
	case METRIC_CONNECT_LATENCY:
	case METRIC_RTT:
	case METRIC_RETRANSMIT_RATIO:
	case METRIC_DNS_LATENCY:
		return KIND_LATENCY;
	default:
		return KIND_VOLUME;
	}
}

/* A node, a zone or a path that has at least half of the change, whichever side it is on: the first
 * that is named, be it beside an instance that is all that this edge has there. */
static uint64_t domain_of(const struct alert *alert)
{
	for (uint32_t i = 0; i < alert->suspects_count; i++) {
		const struct suspect *suspect = &alert->suspects[i];
		if (suspect->share < 0.5)
			continue;
		switch (suspect->kind) {
		case SUSPECT_CLIENT_NODE:
		case SUSPECT_SERVER_NODE:
			return hash_mix(text_id(suspect->name) + 1);
		case SUSPECT_CLIENT_ZONE:
		case SUSPECT_SERVER_ZONE:
		case SUSPECT_ZONE:
			return hash_mix(text_id(suspect->name) + 2);
		case SUSPECT_PATH:
			return hash_mix(text_id(suspect->name) + 5);
		default:
			break;
		}
	}
	return 0;
}

static uint64_t subject_id(const char *workload)
{
	bool one = workload[0] && strcmp(workload, OTHER_NAME) != 0;
	return one ? text_id(workload) : 0;
}

static uint64_t rule_of(const char *monitor, const struct alert_subject *subject)
{
	const struct edge edge = {.client = text_id(subject->client),
				  .server = text_id(subject->server),
				  .port = subject->port,
				  .protocol = subject->protocol};
	return hash_mix(edge_id(&edge) ^ hash_mix(text_id(monitor)));
}

static bool is_built_in_budget(const struct alert *alert)
{
	return strncmp(alert->monitor, "burn-rate/", 10) == 0;
}

/* A burn rate, also of an objective of people's own: nothing else that fails has such windows. */
static bool is_budget(const struct alert *alert)
{
	return is_built_in_budget(alert) ||
	       (metric_by_name(alert->metric) == METRIC_FAILURE_RATIO &&
		alert->window_ms >= burn_window_ns(0) / NS_PER_MS);
}

static void member_take(struct member *member, const struct alert *alert)
{
	const struct alert_subject *subject = &alert->subject;
	member->alert = *alert;
	member->client = subject_id(subject->client);
	member->server = subject_id(subject->server);
	const struct edge edge = {.client = text_id(subject->client),
				  .server = text_id(subject->server),
				  .port = subject->port,
				  .protocol = subject->protocol};
	member->edge = edge_id(&edge);
	member->rule = rule_of(alert->monitor, subject);
	member->kind = kind_of(alert);
	member->lookups = metric_by_name(alert->metric) == METRIC_DNS_FAILURE_RATIO;
	member->budget = is_budget(alert);
	member->own = !is_built_in_budget(alert) && strncmp(alert->monitor, "baseline/", 9) != 0;
	member->domain = domain_of(alert);
}

static struct member *member_add(struct incidents *incidents, const struct alert *alert)
{
	if (incidents->members_count == incidents->options.episodes_max) {
		incidents->stats.unlisted += alert->sequence == 1;
		return NULL;
	}
	if (incidents->members_count == incidents->members_capacity) {
		incidents->members_capacity = (uint32_t)memory_grown(incidents->members_capacity,
								     incidents->members_count + 1);
		incidents->members = memory_resize(incidents->members, incidents->members_capacity,
						   sizeof(struct member *));
	}
	struct member *member = memory_zeroed(1, sizeof(*member));
	member->id = id_of(alert);
	member_take(member, alert);
	incidents->members[incidents->members_count++] = member;
	map_put(&incidents->by_id, member->id, member);
	incidents->stats.episodes++;
	return member;
}

static void member_end(struct incidents *incidents, struct member *member)
{
	member->ended = true;
	incidents->stats.episodes--;
	if (!member->incident)
		return;
	member->incident->episodes--;
	member->incident->changed = true;
}

void incidents_push(struct incidents *incidents, const struct alert *alerts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct alert *alert = &alerts[i];
		struct member *member = map_get(&incidents->by_id, id_of(alert));
		if (!member && alert->state == ALERT_FIRING) {
			incidents->newcomers += member_add(incidents, alert) != NULL;
			continue;
		}
		if (!member || member->ended)
			continue;
		member_take(member, alert);
		member->unconfirmed = false;
		if (member->incident)
			member->incident->changed = true;
		if (alert->state == ALERT_RESOLVED)
			member_end(incidents, member);
	}
}

/* --- what belongs together --- */

static void scratch_reserve(struct incidents *incidents)
{
	uint32_t count = incidents->members_count;
	if (count <= incidents->scratch_capacity)
		return;
	uint32_t capacity = (uint32_t)memory_grown(incidents->scratch_capacity, count);
	incidents->links = memory_resize(incidents->links, (size_t)LINKS_A_MEMBER * capacity,
					 sizeof(*incidents->links));
	incidents->first = memory_resize(incidents->first, capacity, sizeof(*incidents->first));
	incidents->groups = memory_resize(incidents->groups, capacity, sizeof(*incidents->groups));
	incidents->ripe = memory_resize(incidents->ripe, capacity, sizeof(*incidents->ripe));
	incidents->ids = memory_resize(incidents->ids, capacity, sizeof(*incidents->ids));
	incidents->sorted = memory_resize(incidents->sorted, capacity, sizeof(*incidents->sorted));
	incidents->scratch_capacity = capacity;
}

static uint32_t link_member(const struct member *member, uint32_t number, uint64_t now_ns,
			    struct link *links)
{
	uint64_t client = member->client, server = member->server;
	bool lately = member->alert.started_ns + LATELY_NS > now_ns;
	/* That more or less passes is no fault that others would suffer from. */
	bool chain = lately && member->kind != KIND_VOLUME && client != server;
	uint32_t count = 0;
	if (member->ended)
		return 0;
	/* Hours that used up a budget are not why something fails now. */
	if (server && (lately || !member->budget))
		links[count++] = (struct link){hash_mix(server), number, PART_SERVER};
	if (server && member->budget)
		links[count++] = (struct link){hash_mix(server + 6), number, PART_SERVER};
	if (server && chain)
		links[count++] = (struct link){hash_mix(server + 4), number, PART_CHAIN_SERVER};
	if (client && chain)
		links[count++] = (struct link){hash_mix(client + 4), number, PART_CHAIN_CLIENT};
	if (member->domain && lately)
		links[count++] = (struct link){member->domain, number, PART_DOMAIN};
	if (client && member->alert.started_ns + TOGETHER_NS > now_ns)
		links[count++] = (struct link){hash_mix(client + 3), number, PART_TOGETHER};
	return count;
}

static int compare_links(const void *a, const void *b)
{
	const struct link *left = a, *right = b;
	if (left->key != right->key)
		return left->key < right->key ? -1 : 1;
	if (left->member != right->member)
		return left->member < right->member ? -1 : 1;
	return (int)left->part - (int)right->part;
}

/* The first of the key, or where it would be. */
static uint32_t link_find(const struct link *links, uint32_t count, uint64_t key)
{
	uint32_t low = 0, high = count;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (links[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int compare_ids(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
	return left < right ? -1 : left > right;
}

static uint32_t distinct(uint64_t *ids, uint32_t count)
{
	uint32_t kept = 0;
	qsort(ids, count, sizeof(*ids), compare_ids);
	for (uint32_t i = 0; i < count; i++)
		kept += i == 0 || ids[i] != ids[i - 1];
	return kept;
}

/* Whether the members of a run of one key belong together. */
static bool run_links(struct incidents *incidents, const struct link *run, uint32_t count)
{
	bool serves = false;
	if (run->part == PART_TOGETHER) {
		for (uint32_t i = 0; i < count; i++)
			incidents->ids[i] = incidents->members[run[i].member]->server;
		return distinct(incidents->ids, count) >= INCIDENT_SERVERS_MIN;
	}
	for (uint32_t i = 0; i < count; i++)
		serves |= run[i].part != PART_CHAIN_CLIENT;
	return serves;
}

/* The lowest member of the group, which stands for it. */
static uint32_t first_of(uint32_t *first, uint32_t member)
{
	while (first[member] != member) {
		first[member] = first[first[member]];
		member = first[member];
	}
	return member;
}

static void join(uint32_t *first, uint32_t a, uint32_t b)
{
	a = first_of(first, a);
	b = first_of(first, b);
	if (a < b)
		first[b] = a;
	else
		first[a] = b;
}

static void link_all(struct incidents *incidents)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < incidents->members_count; i++) {
		incidents->first[i] = i;
		count += link_member(incidents->members[i], i, incidents->now_ns,
				     incidents->links + count);
	}
	incidents->links_count = count;
	qsort(incidents->links, count, sizeof(*incidents->links), compare_links);
	for (uint32_t begin = 0, end; begin < count; begin = end) {
		const struct link *run = &incidents->links[begin];
		for (end = begin + 1; end < count && incidents->links[end].key == run->key; end++)
			;
		if (!run_links(incidents, run, end - begin))
			continue;
		for (uint32_t i = begin + 1; i < end; i++)
			join(incidents->first, run->member, incidents->links[i].member);
	}
}

/* --- incidents and their newcomers --- */

static struct incident *incident_add(struct incidents *incidents, uint64_t opened_ns)
{
	struct incident *incident = memory_zeroed(1, sizeof(*incident));
	if (incidents->incidents_count == incidents->incidents_capacity) {
		incidents->incidents_capacity = (uint32_t)memory_grown(
			incidents->incidents_capacity, incidents->incidents_count + 1);
		incidents->incidents =
			memory_resize(incidents->incidents, incidents->incidents_capacity,
				      sizeof(struct incident *));
	}
	incident->number = ++incidents->numbers;
	incident->opened_ns = opened_ns;
	incident->kind = incident->told_kind = KIND_VOLUME;
	incidents->incidents[incidents->incidents_count++] = incident;
	incidents->stats.incidents++;
	return incident;
}

static void admit(struct incident *incident, struct member *member, uint64_t now_ns)
{
	uint32_t at = 0;
	member->incident = incident;
	incident->episodes++;
	incident->changed = true;
	incident->grown_ns = now_ns;
	if (!incident->monitor)
		incident->monitor = text_id(member->alert.monitor);
	if (member->kind < incident->kind)
		incident->kind = member->kind;
	while (at < incident->servers_count && incident->servers[at] != member->server)
		at++;
	if (member->server && at == incident->servers_count && at < INCIDENT_SERVERS_MIN)
		incident->servers[incident->servers_count++] = member->server;
}

/* Failures, and what people asked for themselves, at once; anything else once it is known where it
 * is, or that this is not known. */
static bool is_ripe(const struct member *member, uint64_t now_ns)
{
	return member->kind == KIND_FAILURE || member->own || member->budget ||
	       member->alert.suspects_count || member->alert.started_ns + RIPE_NS <= now_ns;
}

/* The oldest incident of each group that has one, and which others may begin one. */
static void find_groups(struct incidents *incidents)
{
	memset(incidents->groups, 0, incidents->members_count * sizeof(*incidents->groups));
	memset(incidents->ripe, 0, incidents->members_count * sizeof(*incidents->ripe));
	for (uint32_t i = 0; i < incidents->members_count; i++) {
		const struct member *member = incidents->members[i];
		uint32_t first = first_of(incidents->first, i);
		struct incident **group = &incidents->groups[first];
		if (!member->incident)
			incidents->ripe[first] |=
				!member->ended && is_ripe(member, incidents->now_ns);
		else if (!*group || member->incident->number < (*group)->number)
			*group = member->incident;
	}
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Whether it takes what nothing but time links to it. More or less traffic is what failures bring
 * about, and seldom why there are any; and what people asked for by a name of their own is told
 * under another's only where that is wide. */
static bool takes(const struct incident *incident, const struct member *member, uint64_t now_ns)
{
	uint64_t spread_ns = member->kind == KIND_FAILURE ? SPREAD_NS : SPREAD_MILD_NS;
	bool wide = incident->servers_count == INCIDENT_SERVERS_MIN;
	if (incident->closed_ns || incident->episodes == 0 ||
	    (incident->kind == KIND_VOLUME && member->kind != KIND_VOLUME) ||
	    (member->own && !wide && incident->monitor != text_id(member->alert.monitor)) ||
	    incident->opened_ns + LATELY_NS <= now_ns)
		return false;
	return later(incident->opened_ns, incident->shared_ns) + spread_ns > now_ns ||
	       (wide && incident->grown_ns + SPREAD_WIDE_NS > now_ns);
}

/* Of traffic that is unusual: the incident of what fails or is slow at one of its ends, lately. */
static struct incident *effect_of(const struct incidents *incidents, uint64_t workload)
{
	uint64_t key = hash_mix(workload + 4);
	uint32_t count = incidents->links_count;
	uint32_t at = link_find(incidents->links, count, key);
	for (; workload && at < count && incidents->links[at].key == key; at++) {
		uint32_t member = incidents->links[at].member;
		struct incident *incident = incidents->groups[first_of(incidents->first, member)];
		if (incident && incident->episodes)
			return incident;
	}
	return NULL;
}

/* The oldest open incident that a newcomer without one may belong to; NULL: it begins its own. */
static struct incident *taker_of(const struct incidents *incidents, const struct member *member)
{
	struct incident *taker = NULL;
	bool effect = member->kind == KIND_VOLUME && !member->own;
	if (effect)
		taker = effect_of(incidents, member->server);
	if (effect && !taker)
		taker = effect_of(incidents, member->client);
	if (taker)
		return taker;
	for (uint32_t i = 0; i < incidents->incidents_count; i++) {
		struct incident *incident = incidents->incidents[i];
		if (!takes(incident, member, incidents->now_ns))
			continue;
		incident->shared_ns = incidents->now_ns;
		return incident;
	}
	return NULL;
}

/* The newest, closed or open again. */
static struct incident *ended_with(const struct incidents *incidents, uint64_t rule)
{
	for (uint32_t i = incidents->incidents_count; i-- > 0;) {
		struct incident *incident = incidents->incidents[i];
		bool old = incident->ended_ns + incidents->options.reopen_ns <= incidents->now_ns;
		for (uint32_t k = 0; !old && k < incident->rules_count; k++)
			if (incident->rules[k] == rule)
				return incident;
	}
	return NULL;
}

/* Groups with an episode that begins again go on in the incident that it ended with. */
static void reopen(struct incidents *incidents)
{
	for (uint32_t i = 0; i < incidents->members_count; i++) {
		const struct member *member = incidents->members[i];
		struct incident **group = &incidents->groups[first_of(incidents->first, i)];
		struct incident *incident = *group || member->incident || member->ended
						    ? NULL
						    : ended_with(incidents, member->rule);
		if (!incident)
			continue;
		*group = incident;
		if (!incident->closed_ns)
			continue;
		incident->closed_ns = 0;
		incidents->stats.closed--;
		incidents->stats.incidents++;
	}
}

/* To the incident of their group, or to one that takes them, or to a new one. What fails goes
 * first: what else begins in this pane may come of it. */
static void admit_newcomers(struct incidents *incidents)
{
	find_groups(incidents);
	reopen(incidents);
	for (uint32_t kind = KIND_FAILURE; kind <= KIND_VOLUME; kind++)
		for (uint32_t i = 0; i < incidents->members_count; i++) {
			struct member *member = incidents->members[i];
			uint32_t first = first_of(incidents->first, i);
			struct incident **group = &incidents->groups[first];
			/* It was over before anybody heard of it. */
			if (member->incident || member->ended || member->kind != kind ||
			    (!*group && !incidents->ripe[first]))
				continue;
			if (!*group)
				*group = taker_of(incidents, member);
			if (!*group)
				*group = incident_add(incidents, incidents->now_ns);
			admit(*group, member, incidents->now_ns);
		}
}

/* --- what is told --- */

static int compare_causes(const void *a, const void *b)
{
	const struct member *left = *(struct member *const *)a, *right = *(struct member *const *)b;
	if (left->incident != right->incident)
		return left->incident->number < right->incident->number ? -1 : 1;
	if (left->ended != right->ended)
		return left->ended ? 1 : -1;
	if (left->deep != right->deep)
		return left->deep ? -1 : 1;
	if (left->kind != right->kind)
		return left->kind < right->kind ? -1 : 1;
	if (left->lookups != right->lookups)
		return left->lookups ? 1 : -1;
	if (left->repeats != right->repeats)
		return left->repeats ? 1 : -1;
	if (left->alert.severity != right->alert.severity)
		return left->alert.severity > right->alert.severity ? -1 : 1;
	if (left->alert.started_ns != right->alert.started_ns)
		return left->alert.started_ns < right->alert.started_ns ? -1 : 1;
	return strcmp(left->alert.key, right->alert.key);
}

/* What is wrong where. Of all that says the same, an edge or its server's sum, one ends first: that
 * another names the incident then is no news. */
static uint64_t trouble_of(const struct member *member)
{
	return hash_mix((member->server ? member->server : member->edge) + member->kind);
}

static bool is_sum(const struct member *member)
{
	return !member->alert.subject.client[0];
}

/* Of the links, which are sorted, the members of one key: whether they are of one edge, of several,
 * or none. */
static uint32_t edges_in(struct member *const *members, const struct link *links, uint32_t count,
			 uint64_t key)
{
	uint32_t first = link_find(links, count, key), at = first;
	for (; at < count && links[at].key == key; at++)
		if (members[links[at].member]->edge != members[links[first].member]->edge)
			return 2;
	return at > first;
}

/* Of one edge and its server's sum the edge says more; of several the sum does. */
static void mark_repeats(struct incidents *incidents, struct member **members, uint32_t count)
{
	struct link *links = incidents->links;
	uint64_t *ids = incidents->ids;
	uint32_t edges = 0, sums = 0;
	for (uint32_t i = 0; i < count; i++)
		if (!members[i]->ended && !is_sum(members[i]))
			links[edges++] = (struct link){.key = trouble_of(members[i]), .member = i};
	qsort(links, edges, sizeof(*links), compare_links);
	for (uint32_t i = 0; i < count; i++) {
		if (members[i]->ended || !is_sum(members[i]))
			continue;
		uint64_t trouble = trouble_of(members[i]);
		members[i]->repeats = edges_in(members, links, edges, trouble) == 1;
		if (!members[i]->repeats)
			ids[sums++] = trouble;
	}
	qsort(ids, sums, sizeof(*ids), compare_ids);
	for (uint32_t i = 0; i < edges; i++)
		members[links[i].member]->repeats =
			bsearch(&links[i].key, ids, sums, sizeof(*ids), compare_ids) != NULL;
}

/* Members of incidents in which something changed, by incident, causes first. */
static uint32_t sort_members(struct incidents *incidents)
{
	uint32_t count = 0, clients;
	for (uint32_t i = 0; i < incidents->members_count; i++) {
		struct member *member = incidents->members[i];
		member->deep = member->repeats = false;
		if (member->incident && member->incident->changed)
			incidents->sorted[count++] = member;
	}
	qsort(incidents->sorted, count, sizeof(struct member *), compare_causes);
	for (uint32_t begin = 0, end; begin < count; begin = end) {
		const struct incident *incident = incidents->sorted[begin]->incident;
		clients = 0;
		for (end = begin; end < count && incidents->sorted[end]->incident == incident;
		     end++) {
			const struct member *member = incidents->sorted[end];
			if (!member->ended && member->client != member->server)
				incidents->ids[clients++] = member->client;
		}
		qsort(incidents->ids, clients, sizeof(*incidents->ids), compare_ids);
		for (uint32_t i = begin; i < end; i++)
			incidents->sorted[i]->deep =
				!bsearch(&incidents->sorted[i]->server, incidents->ids, clients,
					 sizeof(*incidents->ids), compare_ids);
		mark_repeats(incidents, incidents->sorted + begin, end - begin);
	}
	qsort(incidents->sorted, count, sizeof(struct member *), compare_causes);
	return count;
}

static struct alert_member member_words(const struct alert *alert)
{
	struct alert_member words = {.subject = alert->subject,
				     .severity = alert->severity,
				     .started_ns = alert->started_ns};
	memcpy(words.monitor, alert->monitor, sizeof(words.monitor));
	memcpy(words.metric, alert->metric, sizeof(words.metric));
	return words;
}

/* The highest so far. */
static uint32_t severity_of(const struct incident *incident, struct member *const *members,
			    uint32_t count)
{
	uint32_t severity = incident->alert.severity;
	for (uint32_t i = 0; i < count; i++)
		if (members[i]->alert.severity > severity)
			severity = members[i]->alert.severity;
	return severity;
}

/* What its open members agree on; long ago ended ones are gone. */
static void agree(struct alert *alert, struct member *const *members, uint32_t count)
{
	const struct alert *witnesses[WITNESSES_MAX] = {NULL};
	uint32_t open = 0;
	for (uint32_t i = 0; i < count && open < WITNESSES_MAX; i++)
		if (!members[i]->ended)
			witnesses[open++] = &members[i]->alert;
	witness_agree(alert, witnesses, open);
}

/* A cause that is too small to be diagnosed is what another is that says the same: its server's
 * sum, mostly. */
static void diagnose(struct alert *alert, struct member *const *members, uint32_t count)
{
	for (uint32_t i = 1; i < count && !alert->diagnosis.kind; i++)
		if (!members[i]->ended && trouble_of(members[i]) == trouble_of(members[0]))
			alert->diagnosis = members[i]->alert.diagnosis;
}

/* The incident as its cause tells it. */
static struct alert compose(const struct incidents *incidents, const struct incident *incident,
			    struct member *const *members, uint32_t count)
{
	const struct alert *told = &incident->alert;
	/* A resumed cause of which its owner has measured nothing yet stays as it was told. */
	struct alert alert = members[0]->alert.summary[0] ? members[0]->alert : *told;
	if (told->sequence) {
		memcpy(alert.key, told->key, sizeof(alert.key));
		alert.started_ns = told->started_ns;
		alert.reopened_ns =
			told->state == ALERT_RESOLVED ? incidents->now_ns : told->reopened_ns;
	}
	alert.severity = severity_of(incident, members, count);
	alert.sequence = told->sequence + 1;
	alert.pane_end_ns = incidents->now_ns;
	alert.state = incident->episodes ? ALERT_FIRING : ALERT_RESOLVED;
	alert.ended_ns = incident->episodes ? 0 : incidents->now_ns;
	alert.episodes = incident->episodes;
	alert.members_count = 0;
	alert.cause = told->cause;
	agree(&alert, members, count);
	diagnose(&alert, members, count);
	for (uint32_t i = 0; i < count; i++) {
		const struct alert *member = &members[i]->alert;
		alert.last_event_ns = member->last_event_ns > alert.last_event_ns
					      ? member->last_event_ns
					      : alert.last_event_ns;
		if (!members[i]->ended && alert.members_count < ALERT_MEMBERS_MAX)
			alert.members[alert.members_count++] = member_words(member);
	}
	if (!alert.cause.kind)
		causes_pick(incidents->causes, &alert, &alert.cause);
	return alert;
}

/* A first suspect or diagnosis is news, none any more is not. */
static bool worth_telling(const struct incident *incident, const struct alert *alert,
			  const struct member *cause)
{
	const struct alert *told = &incident->alert;
	return alert->state != told->state || alert->severity > told->severity ||
	       trouble_of(cause) != incident->trouble || alert->episodes >= 2 * told->episodes ||
	       alert->cause.kind != told->cause.kind ||
	       (alert->suspects_count && !alert_same_suspect(alert, told)) ||
	       (alert->diagnosis.kind && !alert_same_diagnosis(alert, told));
}

/* A sum over clients is no edge beside theirs. */
static uint32_t edges_of(struct incidents *incidents, struct member *const *members, uint32_t count)
{
	uint32_t open = 0;
	for (uint32_t i = 0; i < count; i++)
		if (!members[i]->ended && members[i]->alert.subject.client[0])
			incidents->ids[open++] = members[i]->edge;
	return distinct(incidents->ids, open);
}

static void keep_rule(struct incident *incident, uint64_t rule)
{
	if (incident->rules_count < RULES_KEPT)
		incident->rules[incident->rules_count++] = rule;
}

/* Told as it was last while it fired. */
static void incident_close(struct incidents *incidents, struct incident *incident,
			   struct member *const *members, uint32_t count)
{
	const struct alert *told = &incident->alert;
	incident->closed_ns = incident->ended_ns = incidents->now_ns;
	incident->rules_count = 0;
	for (uint32_t i = 0; i < told->members_count; i++)
		keep_rule(incident, rule_of(told->members[i].monitor, &told->members[i].subject));
	for (uint32_t i = 0; i < count; i++)
		keep_rule(incident, members[i]->rule);
	incidents->stats.incidents--;
	incidents->stats.closed++;
}

static void tell(struct incidents *incidents, struct incident *incident,
		 struct member *const *members, uint32_t count)
{
	const struct incident_sinks *sinks = &incidents->options.sinks;
	struct alert alert;
	bool first = incident->alert.sequence == 0;
	/* Who hears of severe ones only must not wait, nor miss it if it is soon over. */
	bool severer = severity_of(incident, members, count) > incident->alert.severity;
	bool again = incident->alert.state == ALERT_RESOLVED;
	/* What was slow or unusual fails now. */
	severer |= incident->kind == KIND_FAILURE && incident->told_kind != KIND_FAILURE;
	if (!first && incident->episodes && !severer && !again &&
	    incidents->now_ns < incident->update_ns)
		return;
	incident->changed = false;
	alert = compose(incidents, incident, members, count);
	if (!first && !worth_telling(incident, &alert, members[0]))
		return;
	if (members[0]->alert.summary[0] || alert.state == ALERT_RESOLVED)
		summary_tell(&alert, edges_of(incidents, members, count));
	if (incident->episodes == 0)
		incident_close(incidents, incident, members, count);
	incident->alert = alert;
	incident->trouble = trouble_of(members[0]);
	incident->told_kind = incident->kind;
	incident->update_ns = incidents->now_ns + incidents->options.update_ns;
	incidents->stats.opened += first;
	incidents->stats.reopened += again;
	incidents->stats.updated += !first && incident->episodes && !again;
	incidents->stats.resolved += incident->episodes == 0;
	sinks->alerts(sinks->context, &alert, 1);
}

static void tell_all(struct incidents *incidents)
{
	uint32_t count = sort_members(incidents);
	for (uint32_t begin = 0, end; begin < count; begin = end) {
		struct incident *incident = incidents->sorted[begin]->incident;
		for (end = begin + 1; end < count && incidents->sorted[end]->incident == incident;
		     end++)
			;
		tell(incidents, incident, incidents->sorted + begin, end - begin);
	}
}

/* --- the pane --- */

void incidents_change(struct incidents *incidents, uint64_t id, const struct change_event *change,
		      uint64_t told_ns)
{
	causes_tell(incidents->causes, id, change, told_ns);
}

/* Those of which nobody knows what they come of are looked at again. */
static void take_changes(struct incidents *incidents)
{
	bool any = causes_advance(incidents->causes, incidents->now_ns);
	for (uint32_t i = 0; any && i < incidents->incidents_count; i++)
		incidents->incidents[i]->changed |= !incidents->incidents[i]->closed_ns &&
						    !incidents->incidents[i]->alert.cause.kind;
}

/* What ended leaves. */
static void sweep(struct incidents *incidents)
{
	uint32_t kept = 0;
	incidents->newcomers = 0;
	for (uint32_t i = 0; i < incidents->members_count; i++) {
		struct member *member = incidents->members[i];
		if (!member->ended) {
			incidents->members[kept++] = member;
			incidents->newcomers += member->incident == NULL;
			continue;
		}
		map_remove(&incidents->by_id, member->id);
		memory_free(member);
	}
	incidents->members_count = kept;
}

/* Closed incidents that nothing opened again in time, and of more than are kept the oldest. */
static void forget_closed(struct incidents *incidents)
{
	uint32_t kept = 0;
	if (incidents->stats.closed == 0)
		return;
	for (uint32_t i = 0; i < incidents->incidents_count; i++) {
		struct incident *incident = incidents->incidents[i];
		bool old = incident->closed_ns + incidents->options.reopen_ns <= incidents->now_ns;
		if (!incident->closed_ns ||
		    (!old && incidents->stats.closed <= INCIDENTS_CLOSED_MAX)) {
			incidents->incidents[kept++] = incident;
			continue;
		}
		incidents->stats.forgotten += !old;
		incidents->stats.closed--;
		memory_free(incident);
	}
	incidents->incidents_count = kept;
}

/* Nobody goes on with them: their monitors are gone. Owners tell of what they resumed before any
 * pane is looked at here, or as soon as the log says their monitors, whatever they know from
 * before.
 */
static void end_unconfirmed(struct incidents *incidents)
{
	for (uint32_t i = 0; incidents->resumed && i < incidents->members_count; i++)
		if (incidents->members[i]->unconfirmed && !incidents->members[i]->ended)
			member_end(incidents, incidents->members[i]);
	incidents->resumed = false;
}

void incidents_advance(struct incidents *incidents, uint64_t now_ns)
{
	bool changed = incidents->newcomers != 0;
	incidents->now_ns = now_ns;
	forget_closed(incidents);
	end_unconfirmed(incidents);
	take_changes(incidents);
	for (uint32_t i = 0; i < incidents->incidents_count; i++)
		changed |= incidents->incidents[i]->changed;
	if (!changed)
		return;
	scratch_reserve(incidents);
	if (incidents->newcomers) {
		link_all(incidents);
		admit_newcomers(incidents);
	}
	tell_all(incidents);
	sweep(incidents);
}

/* --- going on --- */

static void resume_member(struct incidents *incidents, struct incident *incident, uint32_t number)
{
	struct alert alert = alert_member(&incident->alert, number);
	if (map_get(&incidents->by_id, id_of(&alert)))
		return;
	struct member *member = member_add(incidents, &alert);
	if (!member)
		return;
	member->unconfirmed = true;
	admit(incident, member, alert.pane_end_ns);
	if (number == 0)
		incident->trouble = trouble_of(member);
}

bool incidents_resume(struct incidents *incidents, const struct alert *alert)
{
	if (alert->state != ALERT_FIRING || alert->members_count == 0 ||
	    alert->members_count > ALERT_MEMBERS_MAX ||
	    incidents->members_count == incidents->options.episodes_max)
		return false;
	struct incident *incident = incident_add(incidents, alert->started_ns);
	incident->alert = *alert;
	incident->update_ns = alert->pane_end_ns + incidents->options.update_ns;
	for (uint32_t i = 0; i < alert->members_count; i++)
		resume_member(incidents, incident, i);
	incident->told_kind = incident->kind;
	incident->changed = false;
	incidents->resumed = true;
	if (incident->episodes)
		return true;
	/* Another incident has them all. */
	incidents->incidents_count--;
	incidents->stats.incidents--;
	memory_free(incident);
	return false;
}

struct incident_stats incidents_stats(const struct incidents *incidents)
{
	return incidents->stats;
}
