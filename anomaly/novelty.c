#include "anomaly/novelty.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "aggregate/other.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/table.h"

enum { WINDOW_MS = 10000, EDGES_A_LOOK = 1000, EVICT_LOOKS = 64 };

#define MINUTE_NS (60 * NS_PER_S)

struct seen_edge {
	uint64_t id;
	uint64_t client, server;
	uint64_t first_ns, last_ns; /* of its present life */
	uint16_t port;
	uint8_t protocol;
	bool gone, vanished; /* vanished: and that is told when it comes back */
};

struct version_key {
	uint64_t workload, version;
};

struct seen_version {
	struct version_key key;
	uint64_t last_ns;
};

struct seen_workload {
	uint64_t workload;
	uint64_t version; /* the last that was new */
};

struct novelty {
	struct novelty_options options;
	struct table edges, versions, workloads;
	uint64_t learns_until_ns; /* 0: no row came yet */
	uint64_t clock_ns;	  /* of the newest row */
	uint64_t minute, told_in_minute;
	uint32_t hand; /* of the look for what vanished */
	uint32_t evict_hand;
	struct novelty_stats stats;
};

struct novelty *novelty_new(const struct novelty_options *options)
{
	struct novelty *novelty = memory_zeroed(1, sizeof(*novelty));
	novelty->options = *options;
	table_init(&novelty->edges, sizeof(uint64_t), sizeof(struct seen_edge));
	table_init(&novelty->versions, sizeof(struct version_key), sizeof(struct seen_version));
	table_init(&novelty->workloads, sizeof(uint64_t), sizeof(struct seen_workload));
	return novelty;
}

void novelty_free(struct novelty *novelty)
{
	if (!novelty)
		return;
	table_done(&novelty->edges);
	table_done(&novelty->versions);
	table_done(&novelty->workloads);
	memory_free(novelty);
}

/* --- telling --- */

static const char *name_of(const struct novelty *novelty, uint64_t id)
{
	return id ? novelty->options.name(novelty->options.context, id) : "";
}

static bool put_name(const struct novelty *novelty, uint64_t id, char text[CHANGE_NAME_BYTES])
{
	return snprintf(text, CHANGE_NAME_BYTES, "%s", name_of(novelty, id)) > 0;
}

static bool may_tell(struct novelty *novelty)
{
	if (novelty->clock_ns / MINUTE_NS != novelty->minute)
		novelty->told_in_minute = 0;
	novelty->minute = novelty->clock_ns / MINUTE_NS;
	if (novelty->told_in_minute == novelty->options.told_max) {
		novelty->stats.left_out++;
		return false;
	}
	novelty->told_in_minute++;
	novelty->stats.told++;
	return true;
}

static void tell(struct novelty *novelty, const struct change_event *change)
{
	if (may_tell(novelty))
		novelty->options.told(novelty->options.context, change);
}

/* 8080/tcp */
static void put_port(const struct seen_edge *edge, char text[CHANGE_NAME_BYTES])
{
	const char *protocol = edge->protocol == 6 ? "tcp" : edge->protocol == 17 ? "udp" : NULL;
	if (protocol)
		snprintf(text, CHANGE_NAME_BYTES, "%u/%s", edge->port, protocol);
	else
		snprintf(text, CHANGE_NAME_BYTES, "%u/ip-%u", edge->port, edge->protocol);
}

static void tell_edge(struct novelty *novelty, const struct seen_edge *edge, uint32_t kind,
		      uint64_t time_ns)
{
	struct change_event change = {.time_ns = time_ns, .kind = kind};
	put_port(edge, kind == CHANGE_EDGE_APPEARED ? change.after : change.before);
	if (put_name(novelty, edge->client, change.instance) &&
	    put_name(novelty, edge->server, change.workload))
		tell(novelty, &change);
}

static void tell_version(struct novelty *novelty, const struct version_key *key, uint64_t before,
			 uint64_t time_ns)
{
	struct change_event change = {.time_ns = time_ns, .kind = CHANGE_DEPLOYED};
	if (put_name(novelty, key->workload, change.workload) &&
	    put_name(novelty, before, change.before) &&
	    put_name(novelty, key->version, change.after))
		tell(novelty, &change);
}

/* --- room --- */

static uint64_t time_at(const void *entry, size_t offset)
{
	return *(const uint64_t *)((const uint8_t *)entry + offset);
}

/* Of some of the table's entries the one that was silent for longest gives its place. last_at:
 * where an entry has the time at which it was last seen. */
static void evict(struct novelty *novelty, struct table *table, size_t last_at)
{
	void *oldest = NULL;
	for (uint32_t i = 0; i < EVICT_LOOKS && i < table->count; i++) {
		novelty->evict_hand = (novelty->evict_hand + 1) % table->count;
		void *entry = table_at(table, novelty->evict_hand);
		if (!oldest || time_at(entry, last_at) < time_at(oldest, last_at))
			oldest = entry;
	}
	table_remove(table, oldest);
	novelty->stats.evicted++;
}

/* --- edges --- */

static bool is_ours(uint32_t resolution)
{
	return resolution != RESOLUTION_UNKNOWN && resolution <= RESOLUTION_HOST &&
	       !resolution_is_address(resolution);
}

static bool is_other(const struct edge *edge)
{
	static const char other[] = OTHER_NAME;
	uint64_t id = name_id(other, sizeof(other) - 1);
	return edge->client == id || edge->server == id;
}

bool novelty_is_watched(const struct edge *edge)
{
	bool server_is_known =
		is_ours(edge->server_resolution) || edge->server_resolution == RESOLUTION_RANGE;
	return is_ours(edge->client_resolution) && server_is_known && edge->server &&
	       !is_other(edge);
}

static struct seen_edge *edge_add(struct novelty *novelty, const struct edge *edge,
				  uint64_t time_ns)
{
	if (novelty->edges.count == novelty->options.edges_max)
		evict(novelty, &novelty->edges, offsetof(struct seen_edge, last_ns));
	struct seen_edge *seen = table_put(&novelty->edges, &edge->id);
	*seen = (struct seen_edge){.id = edge->id,
				   .client = edge->client,
				   .server = edge->server,
				   .first_ns = time_ns,
				   .last_ns = time_ns,
				   .port = edge->port,
				   .protocol = edge->protocol};
	return seen;
}

static void edge_seen(struct novelty *novelty, const struct rollup *rollup)
{
	uint64_t time_ns = rollup->window_start_ns;
	struct seen_edge *seen = table_find(&novelty->edges, &rollup->edge.id);
	bool news = time_ns >= novelty->learns_until_ns && (!seen || seen->vanished);
	if (!novelty_is_watched(&rollup->edge))
		return;
	/* Names may come after the row: then the next one tells. */
	if (news && (!name_of(novelty, rollup->edge.client)[0] ||
		     !name_of(novelty, rollup->edge.server)[0]))
		return;
	if (!seen)
		seen = edge_add(novelty, &rollup->edge, time_ns);
	if (seen->gone)
		seen->first_ns = time_ns;
	seen->gone = seen->vanished = false;
	seen->last_ns = time_ns > seen->last_ns ? time_ns : seen->last_ns;
	if (news)
		tell_edge(novelty, seen, CHANGE_EDGE_APPEARED, time_ns);
}

void novelty_remember(struct novelty *novelty, const struct edge *edge, uint64_t time_ns)
{
	if (novelty_is_watched(edge) && !table_find(&novelty->edges, &edge->id))
		edge_add(novelty, edge, time_ns);
}

void novelty_advance(struct novelty *novelty)
{
	uint64_t gone_ns = novelty->options.gone_ns, now_ns = novelty->clock_ns;
	for (int i = 0; i < EDGES_A_LOOK && i < (int)novelty->edges.count; i++) {
		novelty->hand = (novelty->hand + 1) % novelty->edges.count;
		struct seen_edge *edge = table_at(&novelty->edges, novelty->hand);
		if (edge->gone || edge->last_ns + gone_ns > now_ns)
			continue;
		edge->gone = true;
		edge->vanished = edge->last_ns - edge->first_ns >= gone_ns;
		if (edge->vanished)
			tell_edge(novelty, edge, CHANGE_EDGE_VANISHED, edge->last_ns);
	}
}

/* --- versions --- */

/* Seen at that time. Whether it is new, and instead of which: 0 if it is the first. */
static bool version_put(struct novelty *novelty, const struct version_key *key, uint64_t time_ns,
			uint64_t *before)
{
	struct seen_version *seen = table_find(&novelty->versions, key);
	bool is_new = !seen || seen->last_ns + novelty->options.gone_ns <= time_ns;
	if (!seen && novelty->versions.count == novelty->options.edges_max)
		evict(novelty, &novelty->versions, offsetof(struct seen_version, last_ns));
	if (!seen)
		seen = table_put(&novelty->versions, key);
	if (time_ns > seen->last_ns)
		seen->last_ns = time_ns;
	struct seen_workload *workload = table_find(&novelty->workloads, &key->workload);
	*before = workload ? workload->version : 0;
	if (!is_new)
		return false;
	if (!workload && novelty->workloads.count == novelty->options.edges_max)
		table_clear(&novelty->workloads); /* all are learnt anew */
	workload = table_put(&novelty->workloads, &key->workload);
	workload->version = key->version;
	return *before != key->version;
}

void novelty_learn(struct novelty *novelty, uint64_t workload, uint64_t version, uint64_t time_ns)
{
	const struct version_key key = {workload, version};
	uint64_t before;
	if (workload && version)
		version_put(novelty, &key, time_ns, &before);
}

static void version_seen(struct novelty *novelty, uint64_t workload, uint64_t version,
			 uint64_t time_ns)
{
	const struct version_key key = {workload, version};
	uint64_t before;
	if (!name_of(novelty, workload)[0] || !name_of(novelty, version)[0])
		return;
	if (version_put(novelty, &key, time_ns, &before) && before &&
	    time_ns >= novelty->learns_until_ns)
		tell_version(novelty, &key, before, time_ns);
}

/* --- rows --- */

void novelty_push(struct novelty *novelty, const struct rollup *rollups, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct rollup *rollup = &rollups[i];
		const struct edge *edge = &rollup->edge;
		if (rollup->window_ms != WINDOW_MS || rollup->amendment)
			continue;
		if (rollup->window_start_ns > novelty->clock_ns)
			novelty->clock_ns = rollup->window_start_ns;
		if (!novelty->learns_until_ns)
			novelty->learns_until_ns =
				rollup->window_start_ns + novelty->options.learn_ns;
		if (rollup->scope == SCOPE_EDGE)
			edge_seen(novelty, rollup);
		if (rollup->scope != SCOPE_LANE || is_other(edge))
			continue;
		version_seen(novelty, edge->client, rollup->lane.client_version,
			     rollup->window_start_ns);
		version_seen(novelty, edge->server, rollup->lane.server_version,
			     rollup->window_start_ns);
	}
}

struct novelty_stats novelty_stats(const struct novelty *novelty)
{
	struct novelty_stats stats = novelty->stats;
	stats.edges = novelty->edges.count;
	stats.versions = novelty->versions.count;
	return stats;
}
