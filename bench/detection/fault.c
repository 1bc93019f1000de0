#include "bench/detection/fault.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

enum { MODE_REFUSED, MODE_DEAF, MODE_RESET, MODES };

/* Shares by strength. */
static const double hit[STRENGTHS] = {1, 0.5, 0.25};
static const double hit_zone[STRENGTHS] = {1, 0.5, 0.2};
static const double hit_path[STRENGTHS] = {0.15, 0.06, 0.02};
static const double hit_edge[STRENGTHS] = {1, 0.6, 0.3};
static const double slow_volume[STRENGTHS] = {0.3, 0.5, 0.7};
static const double slow_syn[STRENGTHS] = {0.4, 0.2, 0.1};
static const double slow_resets[STRENGTHS] = {0.3, 0.1, 0.05};
static const double path_volume[STRENGTHS] = {0.5, 0.8, 0.95};
static const double path_slower[STRENGTHS] = {1.6, 1.3, 1.1};
static const double surge[STRENGTHS] = {8, 5, 3}, drop[STRENGTHS] = {0, 0.1, 0.25};

const char *fault_kind_name(enum fault_kind kind)
{
	static const char *const names[FAULT_KINDS] = {"version", "instance", "node",	  "zone",
						       "path",	  "policy",   "listener", "slow",
						       "dns",	  "traffic"};
	return names[kind];
}

static void fail(const struct fault *fault, struct effect *effect, double share)
{
	if (fault->mode == MODE_RESET) {
		effect->resets = share;
	} else {
		effect->fails = share;
		effect->reason =
			fault->mode == MODE_DEAF ? COUNTER_FAILED_TIMEOUT : COUNTER_FAILED_REFUSED;
	}
	effect->volume = 1 - share;
}

static void effect_of_node(const struct fault *fault, struct effect *effect)
{
	if (fault->mode == MODE_RESET) {
		effect->slower = 4 + 16 * hit[fault->strength];
		effect->syn_lost = 0.2 * hit[fault->strength];
		effect->lost = 0.05 * hit[fault->strength];
		effect->volume = 1 - 0.6 * hit[fault->strength];
		return;
	}
	effect->fails = hit[fault->strength];
	effect->reason = COUNTER_FAILED_TIMEOUT;
	effect->volume = 1 - hit[fault->strength];
}

static void effect_of_dns(const struct fault *fault, const struct town *town,
			  const struct link *link, struct effect *effect)
{
	double share = hit[fault->strength];
	if (town->workloads[link->server].role == ROLE_DNS) {
		effect->dns_fails = share;
		effect->dns_reason =
			fault->mode == MODE_DEAF ? COUNTER_DNS_TIMEOUTS : COUNTER_DNS_SERVFAIL;
		effect->volume = 1 + 2 * share;
	} else {
		effect->volume = 1 - 0.7 * share * link->habit.opens;
	}
}

/* The pair that it strikes, as far as zones and nodes tell. */
static bool strikes(const struct fault *fault, const struct link *link, const struct pod *client,
		    const struct pod *server)
{
	switch (fault->kind) {
	case FAULT_VERSION:
		return link->server == fault->server && server->instance.version == fault->version;
	case FAULT_INSTANCE:
		return server->instance.id == fault->pod;
	case FAULT_NODE:
		return server->node == fault->node || client->node == fault->node;
	case FAULT_ZONE:
		return (server->zone == fault->zones[0]) != (client->zone == fault->zones[0]);
	case FAULT_PATH:
		return (client->zone == fault->zones[0] && server->zone == fault->zones[1]) ||
		       (client->zone == fault->zones[1] && server->zone == fault->zones[0]);
	case FAULT_POLICY:
		return link->client == fault->client && link->server == fault->server;
	case FAULT_LISTENER:
	case FAULT_SLOW:
		return link->server == fault->server;
	case FAULT_TRAFFIC:
		return link->client == fault->client;
	default:
		return true;
	}
}

static bool awaits_silence(const struct effect *effect)
{
	return effect->fails > 0 && effect->reason == COUNTER_FAILED_TIMEOUT;
}

static struct effect effect_full(const struct fault *fault, const struct town *town,
				 const struct link *link, const struct pod *client,
				 const struct pod *server)
{
	struct effect effect = {.volume = 1, .slower = 1};
	uint32_t strength = fault->strength;
	if (!strikes(fault, link, client, server))
		return effect;
	switch (fault->kind) {
	case FAULT_VERSION:
	case FAULT_INSTANCE:
		fail(fault, &effect, hit[strength]);
		break;
	case FAULT_NODE:
		effect_of_node(fault, &effect);
		break;
	case FAULT_ZONE:
		effect.fails = hit_zone[strength];
		effect.reason = fault->mode == MODE_REFUSED ? COUNTER_FAILED_UNREACHABLE
							    : COUNTER_FAILED_TIMEOUT;
		effect.volume = 1 - hit_zone[strength];
		break;
	case FAULT_PATH:
		effect.lost = hit_path[strength];
		effect.syn_lost = 2 * hit_path[strength];
		effect.volume = path_volume[strength];
		effect.slower = path_slower[strength];
		break;
	case FAULT_POLICY:
		effect.fails = hit_edge[strength];
		effect.reason = COUNTER_FAILED_TIMEOUT;
		effect.volume = 1 - hit_edge[strength] * link->habit.opens;
		break;
	case FAULT_LISTENER:
		effect.fails = hit_edge[strength];
		effect.reason = COUNTER_FAILED_REFUSED;
		effect.volume = 1 - hit_edge[strength];
		break;
	case FAULT_SLOW:
		effect.volume = slow_volume[strength];
		effect.syn_lost = slow_syn[strength];
		effect.resets = slow_resets[strength];
		break;
	case FAULT_DNS:
		effect_of_dns(fault, town, link, &effect);
		break;
	default:
		effect.volume = fault->mode == MODE_DEAF ? drop[strength] : surge[strength];
		break;
	}
	return effect;
}

struct effect fault_effect(const struct fault *fault, const struct town *town,
			   const struct link *link, uint32_t client_pod, uint32_t server_pod,
			   uint64_t pane)
{
	struct effect none = {.volume = 1, .slower = 1};
	uint64_t late = link->habit.timeout_panes;
	if (pane < fault->start_pane || pane >= fault->end_pane + late)
		return none;
	struct effect effect =
		effect_full(fault, town, link, &town->workloads[link->client].pods[client_pod],
			    &town->workloads[link->server].pods[server_pod]);
	/* Who gets no answer notices when it gives up. */
	if (awaits_silence(&effect) && pane < fault->start_pane + late) {
		effect.reason = COUNTER_ACTIVE;
		return effect;
	}
	if (pane < fault->end_pane)
		return effect;
	if (!awaits_silence(&effect))
		return none;
	effect.volume = 1;
	return effect;
}

double fault_touches(const struct fault *fault, const struct town *town, const struct link *link)
{
	const struct workload *client = &town->workloads[link->client];
	const struct workload *server = &town->workloads[link->server];
	double touched = 0, opens = link->habit.opens < 0.3 ? 0.3 : link->habit.opens;
	if (link->habit.period_s)
		return 0;
	for (uint32_t i = 0; i < client->pods_count; i++)
		for (uint32_t j = 0; j < server->pods_count; j++) {
			struct effect effect =
				effect_full(fault, town, link, &client->pods[i], &server->pods[j]);
			double off = effect.volume > 1 ? effect.volume - 1 : 1 - effect.volume;
			if (effect.fails > 0)
				off = opens * effect.fails;
			off += opens * (effect.syn_lost + effect.resets) + effect.dns_fails;
			touched += off;
		}
	return touched * link->habit.rate * 60 / (client->pods_count * server->pods_count);
}

bool fault_concerns(const struct fault *fault, const struct town *town, const struct link *link)
{
	if (fault->kind == FAULT_VERSION || fault->kind == FAULT_INSTANCE)
		return link->server == fault->server;
	return fault_touches(fault, town, link) > 0;
}

/* --- where --- */

static uint32_t pods_of_version(const struct workload *workload, uint64_t version)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < workload->pods_count; i++)
		count += workload->pods[i].instance.version == version;
	return count;
}

/* Half of the pods become the next version's. */
static void roll_out(struct fault *fault, struct town *town)
{
	struct workload *workload = &town->workloads[fault->server];
	workload->version++;
	workload->next_pane = 0;
	for (uint32_t i = 0; i < workload->pods_count / 2; i++)
		town_replace(town, workload, i);
	fault->version = workload->pods[0].instance.version;
}

static void roll_back(struct fault *fault, struct town *town)
{
	struct workload *workload = &town->workloads[fault->server];
	workload->version--;
	for (uint32_t i = 0; i < workload->pods_count; i++)
		if (workload->pods[i].instance.version == fault->version)
			town_replace(town, workload, i);
}

void fault_live(struct fault *fault, struct town *town, uint64_t pane)
{
	if (fault->kind == FAULT_VERSION && pane == fault->start_pane)
		roll_out(fault, town);
	if (fault->kind == FAULT_VERSION && pane == fault->end_pane)
		roll_back(fault, town);
	/* A dead node's agent is dead too. */
	if (fault->kind == FAULT_NODE && fault->mode != MODE_RESET && fault->strength == 0 &&
	    pane == fault->start_pane)
		town->silent_until[fault->node] = fault->end_pane;
}

/* Where the town has no place for a kind, another is drawn: more than one pod, node and so on. */
static bool place_serves(const struct fault *fault, const struct town *town)
{
	const struct workload *server = &town->workloads[fault->server];
	if (server->role == ROLE_DNS || server->role == ROLE_GATEWAY || server->role == ROLE_BATCH)
		return false;
	if (fault->kind == FAULT_TRAFFIC)
		return town->workloads[fault->client].role != ROLE_BATCH;
	return server->pods_count >= 3 && server->next_pane == 0;
}

static void draw_place(struct fault *fault, struct town *town)
{
	struct dice *dice = &town->dice;
	const struct link *link = &town->links[dice_below(dice, town->links_count)];
	const struct workload *server = &town->workloads[link->server];
	fault->client = link->client;
	fault->server = link->server;
	const struct pod *pod = &server->pods[dice_below(dice, server->pods_count)];
	fault->pod = pod->instance.id;
	fault->pod_name = pod->instance.container;
	fault->node = pod->node;
	fault->zones[0] = dice_below(dice, ZONES);
	fault->zones[1] = (fault->zones[0] + 1 + dice_below(dice, ZONES - 1)) % ZONES;
	/* Half of its pods stand for those of the version to come. */
	if (fault->kind == FAULT_VERSION)
		fault->version = server->pods[0].instance.version;
}

static double touched_by(const struct fault *fault, const struct town *town)
{
	double touched = 0;
	for (uint32_t i = 0; i < town->links_count; i++)
		touched += fault_touches(fault, town, &town->links[i]);
	if (fault->kind == FAULT_VERSION)
		touched *= 0.5 / pods_of_version(&town->workloads[fault->server], fault->version) *
			   town->workloads[fault->server].pods_count;
	return touched;
}

struct fault fault_draw(struct town *town, enum fault_kind kind, uint32_t strength,
			uint64_t start_pane, uint64_t end_pane)
{
	struct fault fault = {.kind = kind,
			      .strength = strength,
			      .mode = dice_below(&town->dice, MODES),
			      .start_pane = start_pane,
			      .end_pane = end_pane};
	for (uint32_t tries = 0; tries < 1000; tries++) {
		draw_place(&fault, town);
		if (place_serves(&fault, town) && touched_by(&fault, town) >= FAULT_TOUCHED_MIN)
			break;
	}
	return fault;
}

/* --- is it named --- */

static bool name_is(uint64_t id, const char *text)
{
	return name_id(text, strlen(text)) == id;
}

static bool zone_named(const struct fault *fault, const struct town *town,
		       const struct suspect *suspect)
{
	return (suspect->kind == SUSPECT_CLIENT_ZONE || suspect->kind == SUSPECT_SERVER_ZONE ||
		suspect->kind == SUSPECT_ZONE) &&
	       name_is(town->zones[fault->zones[0]], suspect->name);
}

static bool path_named(const struct fault *fault, const struct suspect *suspect)
{
	uint32_t a = fault->zones[0], b = fault->zones[1];
	char text[32];
	snprintf(text, sizeof(text), "zone-%c - zone-%c", 'a' + (int)(a < b ? a : b),
		 'a' + (int)(a < b ? b : a));
	return suspect->kind == SUSPECT_PATH && strcmp(suspect->name, text) == 0;
}

static bool named_part(const struct fault *fault, const struct town *town,
		       const struct alert *alert)
{
	const struct suspect *suspect = &alert->suspects[0];
	const struct workload *server = &town->workloads[fault->server];
	bool mine = name_is(server->id, alert->subject.server);
	bool outbound = name_is(server->id, alert->subject.client);
	if (alert->suspects_count == 0)
		return false;
	switch (fault->kind) {
	case FAULT_VERSION:
		return name_is(fault->version, suspect->name) &&
		       ((mine && suspect->kind == SUSPECT_SERVER_VERSION) ||
			(outbound && suspect->kind == SUSPECT_CLIENT_VERSION));
	case FAULT_INSTANCE:
		return name_is(fault->pod_name, suspect->name);
	case FAULT_NODE:
		return (suspect->kind == SUSPECT_CLIENT_NODE ||
			suspect->kind == SUSPECT_SERVER_NODE) &&
		       name_is(town->nodes[fault->node], suspect->name);
	case FAULT_ZONE:
		return zone_named(fault, town, suspect);
	default:
		return path_named(fault, suspect);
	}
}

bool fault_named(const struct fault *fault, const struct town *town, const struct alert *alert)
{
	const struct alert_subject *subject = &alert->subject;
	bool server = name_is(town->workloads[fault->server].id, subject->server);
	bool client = name_is(town->workloads[fault->client].id, subject->client);
	bool whole = alert->suspects_count == 0;
	switch (fault->kind) {
	case FAULT_POLICY:
		return whole && server && client;
	case FAULT_LISTENER:
	case FAULT_SLOW:
		return whole && server;
	case FAULT_DNS:
		return whole && subject->port == DNS_PORT;
	case FAULT_TRAFFIC:
		return whole && client;
	default:
		return named_part(fault, town, alert);
	}
}

/* Of attempts that fail by this: from one end only what was refused can be told from a dead host.
 */
static bool diagnosed_by_mode(uint32_t mode, uint32_t kind)
{
	return mode == MODE_DEAF      ? kind == DIAGNOSIS_DROPPED || kind == DIAGNOSIS_SERVER_GONE
	       : mode == MODE_REFUSED ? kind == DIAGNOSIS_NO_LISTENER
				      : kind == DIAGNOSIS_SLOW_SERVER;
}

bool fault_diagnosed(const struct fault *fault, const struct diagnosis *diagnosis)
{
	uint32_t kind = diagnosis->kind;
	switch (fault->kind) {
	case FAULT_VERSION:
	case FAULT_INSTANCE:
		return diagnosed_by_mode(fault->mode, kind);
	case FAULT_NODE:
		return fault->mode == MODE_RESET
			       ? kind == DIAGNOSIS_LOSSY_PATH || kind == DIAGNOSIS_SLOW_PATH
			       : diagnosed_by_mode(MODE_DEAF, kind);
	case FAULT_ZONE:
		return fault->mode == MODE_REFUSED ? kind == DIAGNOSIS_NO_ROUTE
						   : diagnosed_by_mode(MODE_DEAF, kind);
	case FAULT_PATH:
		return kind == DIAGNOSIS_LOSSY_PATH;
	case FAULT_POLICY:
		return kind == DIAGNOSIS_DROPPED;
	case FAULT_LISTENER:
		return kind == DIAGNOSIS_NO_LISTENER;
	case FAULT_SLOW:
		return kind == DIAGNOSIS_SLOW_SERVER;
	case FAULT_DNS:
		return kind == DIAGNOSIS_DNS;
	default:
		return kind == DIAGNOSIS_CLIENTS;
	}
}
