/* The service map. A window is read in three parts, no second of it twice:
 *
 *     start      first whole 10 s            last 10 s that is surely complete        end
 *       | 1 s rows |        10 s rows, with amendments         |        1 s rows       |
 *
 * so that it is as right as the closed windows are and at most a second or two behind. A 10 s
 * window counts as complete when 1 s windows a second later are there: tasks close it one after the
 * other. Where 1 s rows are no longer kept, the start moves back to a whole 10 s; where none are
 * told, the end is that of the last 10 s. Whole minutes and hours of the middle part are read from
 * their own rows, likewise in three parts each. Lanes are told in 10 s only. */
#include <stdlib.h>
#include <string.h>

#include "api/history/read.h"
#include "api/query/answer.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/name.h"

enum {
	TEN_S = 10,
	/* With no newer row than this the window ends now, not at the newest row: nothing happens,
	 * and rates must say so. */
	LAG_MAX_S = 5,
	/* Tasks close the same window within moments of each other. */
	SETTLED_S = 3,
	PARTS_MAX = 8,
	LANES_S = 600,
};

/* Window lengths, short to long. */
static const uint32_t lengths[] = {1, 10, 60, 3600};

enum { LENGTHS = sizeof(lengths) / sizeof(lengths[0]) };

struct span {
	uint64_t start_s, first_s, last_s, end_s; /* 1 s rows, 10 s rows, 1 s rows between them */
	uint32_t longer_s; /* the middle only from windows of this length and longer */
};

static uint64_t round_down(uint64_t time_s, uint64_t unit_s)
{
	return time_s / unit_s * unit_s;
}

static uint64_t round_up(uint64_t time_s, uint64_t unit_s)
{
	return round_down(time_s + unit_s - 1, unit_s);
}

static uint64_t floor_ten(uint64_t time_s)
{
	return round_down(time_s, TEN_S);
}

static bool kept_since(struct query *query, uint32_t window_s, uint64_t start_s)
{
	uint64_t keep_s = history_keep_ns(query->options.history, window_s * 1000) / NS_PER_S;

	return keep_s && start_s + keep_s >= query->options.now_ns() / NS_PER_S;
}

/* The end of the newest window of more than 10 s that all tasks have told. */
static uint64_t told_until(struct query *query, uint32_t window_s)
{
	uint64_t newest_s = history_newest_ns(query->options.history, window_s * 1000) / NS_PER_S;
	uint64_t newest_10s = history_newest_ns(query->options.history, 10000) / NS_PER_S;
	bool settled =
		newest_10s > newest_s || query->options.now_ns() / NS_PER_S >= newest_s + SETTLED_S;

	return settled || newest_s < window_s ? newest_s : newest_s - window_s;
}

static uint64_t end_of_window(struct query *query, double at_s)
{
	uint64_t now_s = query->options.now_ns() / NS_PER_S;
	uint64_t newest_s = history_newest_ns(query->options.history, 1000) / NS_PER_S;
	uint64_t end_s = at_s > 0 && at_s < (double)now_s ? (uint64_t)at_s : now_s;

	return newest_s < end_s && newest_s + LAG_MAX_S >= end_s ? newest_s : end_s;
}

static struct span find_span(struct query *query, const Millrace__V1__MapRequest *asked)
{
	struct history *history = query->options.history;
	uint64_t newest_1s = history_newest_ns(history, 1000) / NS_PER_S;
	uint64_t newest_10s = history_newest_ns(history, 10000) / NS_PER_S;
	uint64_t now_s = query->options.now_ns() / NS_PER_S;
	uint64_t keep_1s = history_keep_ns(history, 1000) / NS_PER_S;
	uint64_t window_s = (uint64_t)(asked->window_s + 0.5);
	struct span span = {.end_s = end_of_window(query, asked->at_s)};

	if (window_s == 0)
		window_s = 1;
	span.start_s = span.end_s > window_s ? span.end_s - window_s : 0;
	/* Seconds may not be told at all: too many rows, or not wanted. */
	bool seconds = keep_1s && newest_1s >= newest_10s;

	if (!seconds && newest_10s + LAG_MAX_S + TEN_S >= span.end_s && newest_10s < span.end_s) {
		span.end_s = newest_10s;
		span.start_s = span.end_s > window_s ? span.end_s - window_s : 0;
	}
	if (!seconds || span.start_s + keep_1s < now_s)
		span.start_s = floor_ten(span.start_s);
	for (int i = 1; i + 1 < LENGTHS && !kept_since(query, lengths[i], span.start_s); i++) {
		if (kept_since(query, lengths[i + 1], span.start_s))
			span.start_s = round_down(span.start_s, lengths[i + 1]);
	}
	span.first_s = floor_ten(span.start_s + TEN_S - 1);
	/* A 10 s window takes the place of its seconds once all tasks have told it: when a later
	 * second came, or after a while when nothing happens any more. */
	span.last_s = newest_10s;
	if (newest_1s <= newest_10s && now_s < newest_10s + SETTLED_S)
		span.last_s = newest_10s > TEN_S ? newest_10s - TEN_S : 0;
	if (floor_ten(span.end_s) < span.last_s)
		span.last_s = floor_ten(span.end_s);
	/* Long ago there is nothing finer: the end takes in the 10 s window that it lies in. */
	if (span.last_s + keep_1s < now_s && span.last_s < span.end_s &&
	    span.last_s + TEN_S <= newest_10s) {
		span.last_s += TEN_S;
		span.end_s = span.last_s;
	}
	if (span.last_s < span.first_s)
		span.first_s = span.last_s = span.end_s;
	return span;
}

/* --- edges --- */

struct reading {
	struct groups *groups;
	uint64_t last_ns; /* end of the newest 10 s window, where the newest 1 s rows begin */
};

static void on_edge_row(void *context, const struct rollup *rollup)
{
	struct reading *reading = context;
	struct group *group = groups_get(reading->groups, rollup->edge.id, rollup);
	int64_t active = rollup->counters[COUNTER_ACTIVE];

	group_add(group, rollup);
	if (rollup->window_ms >= 10000 &&
	    rollup->window_start_ns + rollup->window_ms * NS_PER_MS == reading->last_ns)
		group->active_10s = active;
	if (rollup->window_ms == 1000 && rollup->window_start_ns >= reading->last_ns &&
	    active > group->active_1s)
		group->active_1s = active;
}

typedef void (*row_visitor)(void *context, const struct rollup *rollup);

/* Windows of one length in a row. */
struct part {
	uint32_t window_s;
	uint64_t start_s, end_s;
};

struct parts {
	struct part items[PARTS_MAX];
	size_t count;
};

static void add_part(struct parts *parts, uint32_t window_s, uint64_t start_s, uint64_t end_s)
{
	if (start_s < end_s)
		parts->items[parts->count++] = (struct part){window_s, start_s, end_s};
}

/* Whole windows of the next length in the middle, if there are any. The last of a span stays as it
 * is: it says who is active now. */
static void add_nested(struct query *query, struct parts *parts, int level, uint64_t start_s,
		       uint64_t end_s, uint32_t longer_s)
{
	uint32_t next_s = level + 1 < LENGTHS ? lengths[level + 1] : 0;

	if (next_s && history_keep_ns(query->options.history, next_s * 1000)) {
		bool whole = lengths[level] < longer_s;
		uint64_t told_s = told_until(query, next_s);
		uint64_t last_s = whole ? end_s : end_s - lengths[level];
		uint64_t from_s = round_up(start_s, next_s);
		uint64_t to_s = round_down(told_s < last_s ? told_s : last_s, next_s);

		if (from_s < to_s) {
			if (!whole)
				add_part(parts, lengths[level], start_s, from_s);
			add_nested(query, parts, level + 1, from_s, to_s, longer_s);
			if (!whole)
				add_part(parts, lengths[level], to_s, end_s);
			return;
		}
	}
	add_part(parts, lengths[level], start_s, end_s);
}

/* Where windows of 10 s begin that say who and where parts are: the newest may be as old as two of
 * them. */
static uint64_t parts_since(uint64_t start_s)
{
	uint64_t ten_s = floor_ten(start_s);

	return ten_s > 2 * TEN_S ? ten_s - 2 * TEN_S : 0;
}

/* Lanes: those of the span, of at most LANES_S: they say only who is where. */
static struct parts parts_of(struct query *query, const struct span *span, uint32_t scope)
{
	struct parts parts = {0};

	if (scope != SCOPE_EDGE) {
		uint64_t start_s = span->start_s;

		if (start_s + LANES_S < span->end_s)
			start_s = span->end_s - LANES_S;
		add_part(&parts, TEN_S, parts_since(start_s), span->end_s);
		return parts;
	}
	add_part(&parts, 1, span->start_s, span->first_s);
	if (span->first_s < span->last_s)
		add_nested(query, &parts, 1, span->first_s, span->last_s, span->longer_s);
	add_part(&parts, 1, span->last_s, span->end_s);
	return parts;
}

/* True if all could be read. */
static bool read_span(struct query *query, const struct span *span, uint32_t scope, bool sketches,
		      row_visitor visit, void *context, struct refusal *refusal)
{
	const struct parts parts = parts_of(query, span, scope);
	uint64_t left = query->options.read_rows_max;

	for (size_t i = 0; i < parts.count; i++) {
		const struct part *part = &parts.items[i];
		const struct history_filter filter = {.window_ms = part->window_s * 1000,
						      .start_ns = part->start_s * NS_PER_S,
						      .end_ns = part->end_s * NS_PER_S,
						      .scope = scope,
						      .sketches = sketches};
		int64_t rows = history_read(query->options.history, &filter, left, visit, context);

		if (refuse_rows(query, rows, refusal))
			return false;
		left -= (uint64_t)rows;
	}
	return true;
}

/* --- selection --- */

struct zone_filter {
	struct groups *groups;
	uint64_t zone;
};

static void on_lane_row(void *context, const struct rollup *rollup)
{
	struct zone_filter *filter = context;
	struct group *group = groups_find(filter->groups, rollup->edge.id);

	if (group &&
	    (rollup->lane.client_zone == filter->zone || rollup->lane.server_zone == filter->zone))
		group->chosen = true;
}

static uint64_t id_of(const char *name)
{
	return name_id(name, strlen(name));
}

/* A workload on the map: hops is its distance from the selection. */
struct node {
	uint64_t workload;
	uint32_t hops;
	uint8_t resolution;
	bool alerting;
	uint32_t instances;
	uint64_t *zones, *versions; /* ids, sorted later */
	size_t zones_count, versions_count, zones_room, versions_room;
};

struct map {
	struct query *query;
	struct groups groups;
	uint64_t *alerting; /* servers of alerts that fire, sorted; the query's arena */
	size_t alerting_count;
	struct node *nodes; /* found by a scan of `order`, sorted by workload id */
	size_t nodes_count, nodes_room;
};

static int by_workload(const void *one, const void *other)
{
	const struct node *a = one, *b = other;

	return a->workload < b->workload ? -1 : a->workload > b->workload;
}

static struct node *find_node(struct map *map, uint64_t workload)
{
	struct node wanted = {.workload = workload};

	return map->nodes_count ? bsearch(&wanted, map->nodes, map->nodes_count,
					  sizeof(*map->nodes), by_workload)
				: NULL;
}

/* Distances from the selection by rounds over the edges, at most 8. What is folded into `_other`
 * has everything for a neighbour, so it is an end and no way through. */
struct distances {
	struct groups hops; /* key: workload; `hops` its distance */
};

static void reach(struct distances *distances, uint64_t workload, uint32_t hops)
{
	static const struct rollup none;
	bool known = groups_find(&distances->hops, workload) != NULL;
	struct group *group = groups_get(&distances->hops, workload, &none);

	if (!known)
		group->hops = hops;
}

static bool at_distance(const struct distances *distances, uint64_t workload, uint32_t hops,
			uint64_t selection)
{
	const struct group *group = groups_find(&distances->hops, workload);

	return group && group->hops == hops &&
	       (workload == selection || workload != id_of("_other"));
}

static void select_round(struct map *map, struct distances *distances, uint32_t round,
			 uint64_t selection)
{
	for (size_t i = 0; i < map->groups.count; i++) {
		struct group *group = map->groups.items[i];
		bool client = at_distance(distances, group->edge.client, round, selection);
		bool server = at_distance(distances, group->edge.server, round, selection);

		if (!client && !server)
			continue;
		group->hops = 1; /* reached */
		reach(distances, group->edge.client, round + 1);
		reach(distances, group->edge.server, round + 1);
	}
}

static void select_edges(struct map *map, struct distances *distances,
			 const Millrace__V1__MapRequest *asked)
{
	uint64_t selection = id_of(asked->workload);

	if (!selection) {
		for (size_t i = 0; i < map->groups.count; i++)
			map->groups.items[i]->hops = 1;
		return;
	}
	reach(distances, selection, 0);
	for (uint32_t round = 0; round < asked->hops; round++)
		select_round(map, distances, round, selection);
}

static int64_t bytes_of(const struct group *group)
{
	return counters_both(group->counters[COUNTER_TX_BYTES], group->counters[COUNTER_RX_BYTES]);
}

static int by_id(const void *one, const void *other)
{
	const uint64_t *a = one, *b = other;

	return *a < *b ? -1 : *a > *b;
}

static void find_alerting(struct map *map)
{
	const struct book *book = map->query->book;

	map->alerting = arena_take(&map->query->arena, book_count(book), sizeof(*map->alerting));
	for (size_t i = 0; i < book_count(book); i++) {
		if (episode_firing(book_at(book, i)))
			map->alerting[map->alerting_count++] = book_at(book, i)->server;
	}
	if (map->alerting_count)
		qsort(map->alerting, map->alerting_count, sizeof(*map->alerting), by_id);
}

/* Edges are many and so are the book's alerts: only an edge whose server has one that fires is
 * looked for among them. */
static bool alerts(const struct map *map, const struct edge *edge)
{
	return map->alerting_count &&
	       bsearch(&edge->server, map->alerting, map->alerting_count, sizeof(*map->alerting),
		       by_id) &&
	       book_alerting(map->query->book, edge);
}

/* An edge over which nothing gets passes no bytes, so bytes alone would leave it out first. */
static uint8_t trouble_of(const struct group *group)
{
	int64_t failed = group->counters[COUNTER_FAILED];

	if (group->alerting || (failed > 0 && failed >= group->counters[COUNTER_OPENED]))
		return 2;
	return failed > 0;
}

static int broken_first(const void *one, const void *other)
{
	const struct group *a = *(const struct group *const *)one;
	const struct group *b = *(const struct group *const *)other;

	if (trouble_of(a) != trouble_of(b))
		return trouble_of(a) < trouble_of(b) ? 1 : -1;
	if (bytes_of(a) != bytes_of(b))
		return bytes_of(a) < bytes_of(b) ? 1 : -1;
	return a->key < b->key ? -1 : a->key > b->key;
}

/* Nothing passed, or all that did was moved to another edge: averages and completeness are not
 * moved. */
static bool is_empty(const struct group *group)
{
	for (unsigned i = 0; i <= COUNTER_JOINED; i++) {
		if (group->counters[i] > 0)
			return false;
	}
	return true;
}

/* --- nodes --- */

static void add_node(struct map *map, const struct distances *distances, uint64_t workload,
		     uint8_t resolution)
{
	const struct group *distance = groups_find(&distances->hops, workload);

	if (map->nodes_count == map->nodes_room) {
		map->nodes_room = memory_grown(map->nodes_room, map->nodes_count + 1);
		map->nodes = memory_resize(map->nodes, map->nodes_room, sizeof(*map->nodes));
	}
	map->nodes[map->nodes_count++] = (struct node){.workload = workload,
						       .hops = distance ? distance->hops : 0,
						       .resolution = resolution};
}

static void once_each(struct map *map)
{
	size_t kept = 0;

	if (map->nodes_count)
		qsort(map->nodes, map->nodes_count, sizeof(*map->nodes), by_workload);
	for (size_t i = 0; i < map->nodes_count; i++) {
		if (!kept || map->nodes[kept - 1].workload != map->nodes[i].workload)
			map->nodes[kept++] = map->nodes[i];
	}
	map->nodes_count = kept;
}

static void add_id(uint64_t **ids, size_t *count, size_t *room, uint64_t id)
{
	if (!id)
		return;
	for (size_t i = 0; i < *count; i++) {
		if ((*ids)[i] == id)
			return;
	}
	if (*count == *room) {
		*room = memory_grown(*room, *count + 1);
		*ids = memory_resize(*ids, *room, sizeof(**ids));
	}
	(*ids)[(*count)++] = id;
}

static void on_instance(void *context, const struct instance *instance)
{
	struct node *node = find_node(context, instance->workload);

	if (!node)
		return;
	node->instances++;
	add_id(&node->zones, &node->zones_count, &node->zones_room, instance->zone);
	add_id(&node->versions, &node->versions_count, &node->versions_room, instance->version);
}

static int by_text(const void *one, const void *other)
{
	return strcmp(*(char *const *)one, *(char *const *)other);
}

static char **names_of(struct query *query, const uint64_t *ids, size_t count)
{
	char **names = arena_take(&query->arena, count, sizeof(*names));

	for (size_t i = 0; i < count; i++)
		names[i] = answer_name(query, ids[i]);
	qsort(names, count, sizeof(*names), by_text);
	return names;
}

static Millrace__V1__MapNode *node_message(struct query *query, const struct node *node)
{
	Millrace__V1__MapNode *message = arena_take(&query->arena, 1, sizeof(*message));

	millrace__v1__map_node__init(message);
	message->workload = answer_name(query, node->workload);
	message->resolution = (char *)resolution_name(node->resolution);
	message->hops = node->hops;
	message->n_zones = node->zones_count;
	message->zones = names_of(query, node->zones, node->zones_count);
	message->n_versions = node->versions_count;
	message->versions = names_of(query, node->versions, node->versions_count);
	message->instances = node->instances;
	message->alerting = node->alerting;
	return message;
}

static int by_name(const void *one, const void *other)
{
	const Millrace__V1__MapNode *const *a = one, *const *b = other;

	return strcmp((*a)->workload, (*b)->workload);
}

/* --- the answer --- */

static uint64_t total(const struct group *group, enum counter counter)
{
	return group->counters[counter] > 0 ? (uint64_t)group->counters[counter] : 0;
}

static void set_totals(Millrace__V1__MapEdge *message, const struct group *group)
{
	message->tx_bytes = total(group, COUNTER_TX_BYTES);
	message->rx_bytes = total(group, COUNTER_RX_BYTES);
	message->opened = total(group, COUNTER_OPENED);
	message->failed = total(group, COUNTER_FAILED);
	message->joined = total(group, COUNTER_JOINED);
	message->closed = total(group, COUNTER_CLOSED);
	message->client_tx_bytes = total(group, COUNTER_CLIENT_TX_BYTES);
	message->client_rx_bytes = total(group, COUNTER_CLIENT_RX_BYTES);
	message->server_tx_bytes = total(group, COUNTER_SERVER_TX_BYTES);
	message->server_rx_bytes = total(group, COUNTER_SERVER_RX_BYTES);
	message->active = (uint64_t)(group->active_10s > group->active_1s ? group->active_10s
									  : group->active_1s);
}

static Millrace__V1__MapEdge *map_edge_message(struct query *query, const struct group *group,
					       double seconds)
{
	Millrace__V1__MapEdge *message = arena_take(&query->arena, 1, sizeof(*message));

	millrace__v1__map_edge__init(message);
	message->edge = edge_message(query, &group->edge);
	set_totals(message, group);
	message->tx_bytes_per_s = (double)message->tx_bytes / seconds;
	message->rx_bytes_per_s = (double)message->rx_bytes / seconds;
	message->connections_per_s = (double)message->opened / seconds;
	message->failures_per_s = (double)message->failed / seconds;
	message->resets_per_s = (double)total(group, COUNTER_RESETS) / seconds;
	group_failure_ratio(group, &message->failure_ratio);
	group_retransmit_ratio(group, &message->retransmit_ratio);
	group_connect_quantile(group, 0.5, &message->connect_p50_s);
	group_connect_quantile(group, 0.99, &message->connect_p99_s);
	group_srtt_avg(group, &message->srtt_avg_s);
	group_joined_ratio(group, &message->joined_ratio);
	group_completeness(group, &message->completeness);
	message->alerting = group->alerting;
	return message;
}

/* Kept edges to the front: those that alert or of which half fails, then others of which some
 * fail, then the rest; of each the busiest first. Returns how many there are. */
static size_t rank_edges(struct map *map, bool by_zone)
{
	struct groups *groups = &map->groups;
	size_t kept = 0;

	find_alerting(map);
	for (size_t i = 0; i < groups->count; i++) {
		struct group *group = groups->items[i];

		if (!group->hops || (by_zone && !group->chosen) || is_empty(group))
			continue;
		group->alerting = alerts(map, &group->edge);
		groups->items[i] = groups->items[kept];
		groups->items[kept++] = group;
	}
	if (kept)
		qsort(groups->items, kept, sizeof(struct group *), broken_first);
	return kept;
}

static void collect_nodes(struct map *map, const struct distances *distances, size_t edges,
			  const struct span *span)
{
	const struct history_visitor visitor = {.context = map, .instance = on_instance};

	for (size_t i = 0; i < edges; i++) {
		const struct edge *edge = &map->groups.items[i]->edge;

		add_node(map, distances, edge->client, edge->client_resolution);
		add_node(map, distances, edge->server, edge->server_resolution);
	}
	once_each(map);
	history_known(map->query->options.history, parts_since(span->start_s) * NS_PER_S,
		      span->end_s * NS_PER_S, &visitor);
}

static void flag_nodes(struct map *map)
{
	const struct book *book = map->query->book;

	for (size_t i = 0; i < book_count(book); i++) {
		const struct episode *episode = book_at(book, i);
		struct node *client, *server;

		if (!episode_firing(episode))
			continue;
		client = find_node(map, episode->client);
		server = find_node(map, episode->server);
		if (client)
			client->alerting = true;
		if (server)
			server->alerting = true;
	}
}

static void flag_ends(struct map *map, const struct edge *edge)
{
	find_node(map, edge->client)->alerting = true;
	find_node(map, edge->server)->alerting = true;
}

static const ProtobufCMessage *map_response(struct map *map, const struct distances *distances,
					    const struct span *span,
					    const Millrace__V1__MapRequest *asked)
{
	struct query *query = map->query;
	struct arena *arena = &query->arena;
	Millrace__V1__MapResponse *message = arena_take(arena, 1, sizeof(*message));
	size_t found = rank_edges(map, *asked->zone != '\0');
	double seconds = (double)(span->end_s - span->start_s);

	millrace__v1__map_response__init(message);
	message->start_s = (double)span->start_s;
	message->end_s = (double)span->end_s;
	message->n_edges = found < asked->limit ? found : asked->limit;
	message->edges_left_out = (uint32_t)(found - message->n_edges);
	message->edges = arena_take(arena, message->n_edges, sizeof(*message->edges));
	collect_nodes(map, distances, message->n_edges, span);
	flag_nodes(map);
	for (size_t i = 0; i < message->n_edges; i++) {
		const struct group *group = map->groups.items[i];

		message->edges[i] = map_edge_message(query, group, seconds);
		if (message->edges[i]->alerting)
			flag_ends(map, &group->edge);
	}
	message->n_nodes = map->nodes_count;
	message->nodes = arena_take(arena, map->nodes_count, sizeof(*message->nodes));
	for (size_t i = 0; i < map->nodes_count; i++)
		message->nodes[i] = node_message(query, &map->nodes[i]);
	qsort(message->nodes, message->n_nodes, sizeof(*message->nodes), by_name);
	return &message->base;
}

static void map_done(struct map *map)
{
	for (size_t i = 0; i < map->nodes_count; i++) {
		free(map->nodes[i].zones);
		free(map->nodes[i].versions);
	}
	free(map->nodes);
	groups_done(&map->groups);
}

/* The same length, rounded up, in closed windows of unit_s and longer. */
static struct span coarse(struct query *query, const struct span *span, uint32_t unit_s)
{
	uint64_t end_s = span->last_s > span->first_s ? span->last_s : floor_ten(span->end_s);
	uint64_t length_s = round_up(span->end_s - span->start_s, unit_s);

	if (unit_s > TEN_S) {
		uint64_t told_s = told_until(query, unit_s);

		end_s = round_down(told_s < end_s ? told_s : end_s, unit_s);
	}

	uint64_t start_s = end_s > length_s ? end_s - length_s : 0;

	return (struct span){start_s, start_s, end_s, end_s, unit_s};
}

/* An hour is no answer to a question about a minute. */
static bool fits(struct query *query, const struct span *span, uint32_t unit_s)
{
	return history_newest_ns(query->options.history, unit_s * 1000) &&
	       (unit_s <= 60 || span->end_s - span->start_s >= unit_s);
}

static const ProtobufCMessage *map_of_span(struct query *query, const struct span *span,
					   const Millrace__V1__MapRequest *asked,
					   struct refusal *refusal)
{
	struct map map = {.query = query};
	struct distances distances = {0};
	struct reading reading = {.groups = &map.groups, .last_ns = span->last_s * NS_PER_S};
	struct zone_filter zone = {.groups = &map.groups, .zone = id_of(asked->zone)};
	const ProtobufCMessage *message = NULL;

	if (read_span(query, span, SCOPE_EDGE, true, on_edge_row, &reading, refusal) &&
	    (!zone.zone ||
	     read_span(query, span, SCOPE_LANE, false, on_lane_row, &zone, refusal))) {
		select_edges(&map, &distances, asked);
		message = map_response(&map, &distances, span, asked);
	}
	groups_done(&distances.hops);
	map_done(&map);
	return message;
}

const ProtobufCMessage *answer_map(struct query *query, const ProtobufCMessage *request,
				   struct refusal *refusal)
{
	const Millrace__V1__MapRequest *asked = (const Millrace__V1__MapRequest *)request;
	struct span span = find_span(query, asked);
	const ProtobufCMessage *message = map_of_span(query, &span, asked, refusal);

	for (int i = 1; i < LENGTHS && !message && refusal->kind == REFUSED_TOO_MUCH; i++) {
		struct span longer = coarse(query, &span, lengths[i]);

		if (!fits(query, &span, lengths[i]))
			continue;
		*refusal = (struct refusal){0};
		message = map_of_span(query, &longer, asked, refusal);
	}
	return message;
}
