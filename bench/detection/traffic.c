#include "bench/detection/traffic.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

enum {
	/* A pane's requests beyond are drawn in so many lots, each of one pair of pods; of a fault
	   it matters whom they hit. */
	DRAWS_MAX = 8,
	FAULT_DRAWS_MAX = 32,
	SUSPICION_PANES = 40,
	LANES_MAX = 64, /* of an edge in ten seconds: pairs of zones and versions */
	PIECES_MAX = FAULT_DRAWS_MAX,
	EJECT_PANES = 20 * PANES_PER_S, /* until balancers turn from what fails */
	SLEEP_PANES = PANES_PER_10S,
	SEGMENT_BYTES = 1400,
};

#define EJECTED	       0.7  /* of what would go to a failing pod, by then */
#define RETRIES	       0.3  /* attempts a request at least where connections break */
#define RIPPLE	       0.5  /* of what is not answered is not asked either */
#define WAVE_DEVIATION 0.12 /* of the slow drift, in ln */
#define WAVE_S	       300.0
#define LOSS	       1e-4 /* of segments, every day */
#define BURST_HOURS    3.0

/* What one lot of requests gave. */
struct piece {
	uint32_t client, server; /* pods */
	bool client_seen, server_seen;
	uint32_t requests, opened, failed, resets;
	enum counter reason;
	uint64_t tx, rx;
	uint32_t tx_segments, rx_segments, client_retransmits, server_retransmits;
	uint32_t connect_us, srtt_us;
	uint32_t lookups, lookups_failed;
	enum counter lookup_reason;
};

struct lane_sums {
	struct lane lane;
	int64_t counters[COUNTERS];
};

/* An edge as it goes on. */
struct stream {
	uint64_t next_pane; /* nothing before */
	bool comes;	    /* something in it */
	double factor;	    /* of its rate, in these ten seconds */
	double wave, burst;
	uint64_t burst_until, suspicion_until;
	bool told, told_ten; /* a row in the pane before, and in the ten seconds */
	bool touched;	     /* anything in these ten seconds */
	int64_t ten[COUNTERS];
	struct sketch connect, srtt;
	uint64_t last_event_ns;
	/* With parts: of ten seconds. */
	bool parted;
	int64_t (*clients)[COUNTERS], (*servers)[COUNTERS];
	struct lane_sums *lanes;
	uint32_t lanes_count;
};

struct traffic *traffic_new(struct town *town)
{
	struct traffic *traffic = memory_zeroed(1, sizeof(*traffic));
	uint32_t links = town->links_count, workloads = town->workloads_count;
	traffic->town = town;
	traffic->rippled = memory_zeroed(links, sizeof(*traffic->rippled));
	traffic->streams = memory_zeroed(links, sizeof(*traffic->streams));
	traffic->asked = memory_zeroed(workloads, sizeof(double));
	traffic->answered = memory_zeroed(workloads, sizeof(double));
	traffic->ripples = memory_zeroed(workloads, sizeof(double));
	traffic->cells = memory_zeroed((size_t)links * PIECES_MAX, sizeof(*traffic->cells));
	for (uint32_t i = 0; i < links; i++) {
		struct stream *stream = &traffic->streams[i];
		stream->wave = WAVE_DEVIATION * chance_normal(&town->dice);
		stream->burst = stream->factor = 1;
		stream->clients = memory_zeroed(PODS_MAX, sizeof(*stream->clients));
		stream->servers = memory_zeroed(PODS_MAX, sizeof(*stream->servers));
		stream->lanes = memory_zeroed(LANES_MAX, sizeof(*stream->lanes));
	}
	return traffic;
}

void traffic_free(struct traffic *traffic)
{
	for (uint32_t i = 0; i < traffic->town->links_count; i++) {
		struct stream *stream = &traffic->streams[i];
		sketch_done(&stream->connect);
		sketch_done(&stream->srtt);
		memory_free(stream->clients);
		memory_free(stream->servers);
		memory_free(stream->lanes);
	}
	for (uint32_t i = 0; i < OWNERS; i++)
		memory_free(traffic->rows[i].rows);
	memory_free(traffic->streams);
	memory_free(traffic->rippled);
	memory_free(traffic->asked);
	memory_free(traffic->answered);
	memory_free(traffic->ripples);
	memory_free(traffic->cells);
	memory_free(traffic);
}

void traffic_forget_ripples(struct traffic *traffic)
{
	memset(traffic->rippled, 0, traffic->town->links_count);
}

/* --- rates --- */

static double day_factor(const struct habit *habit, uint64_t second)
{
	/* 1970-01-01 was a Thursday. */
	uint64_t day = second / 86400 % 7;
	bool weekend = day == 2 || day == 3;
	double hour = (double)(second % 86400) / 3600;
	double wave = cos((hour - habit->peak_hour) * 6.283185307179586 / 24);
	return (1 + habit->day * wave) * (weekend ? habit->weekend : 1);
}

static double batch_factor(const struct habit *habit, uint64_t second)
{
	return habit->period_s && (second + habit->offset_s) % habit->period_s >= habit->run_s ? 0
											       : 1;
}

/* --- for people --- */

enum { FRESH_PANES = 120 * PANES_PER_S };

static uint32_t fresh_pods(const struct workload *workload, uint64_t pane)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < workload->pods_count; i++)
		count += workload->pods[i].since_pane + FRESH_PANES > pane;
	return count;
}

static uint32_t silent_pods(const struct town *town, const struct workload *workload)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < workload->pods_count; i++)
		count += town->node_silent[workload->pods[i].node];
	return count;
}

__attribute__((format(printf, 4, 5))) static void say(char *text, size_t size, size_t *length,
						      const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int more = vsnprintf(text + *length, size - *length, format, arguments);
	va_end(arguments);
	if (more > 0)
		*length += (size_t)more < size - *length ? (size_t)more : size - *length - 1;
}

size_t traffic_describe(const struct traffic *traffic, uint32_t number, uint64_t pane, char *text,
			size_t size)
{
	const struct town *town = traffic->town;
	const struct link *link = &town->links[number];
	const struct habit *habit = &link->habit;
	const struct stream *stream = &traffic->streams[number];
	const struct workload *client = &town->workloads[link->client];
	const struct workload *server = &town->workloads[link->server];
	size_t length = 0;
	if (size == 0)
		return 0;
	say(text, size, &length,
	    "    %s > %s: %.3g requests/s, %.2g connections each, %.3g + %.3g bytes, spread %u, "
	    "now times %.2f",
	    client->name, server->name, habit->rate, habit->opens, habit->tx, habit->rx,
	    habit->spread, stream->factor);
	if (stream->burst > 1)
		say(text, size, &length, "; burst times %.1f for %.0f s more", stream->burst,
		    ((double)stream->burst_until - (double)pane) / PANES_PER_S);
	if (habit->period_s)
		say(text, size, &length, "; batch job, %.0f s into its %u s of each %u s",
		    (double)((pane / PANES_PER_S + habit->offset_s) % habit->period_s),
		    habit->run_s, habit->period_s);
	if (habit->fails > 1e-3)
		say(text, size, &length, "; %.3g of the attempts fail every day", habit->fails);
	if (fresh_pods(client, pane) || fresh_pods(server, pane))
		say(text, size, &length, "; new pods: %u of %u clients, %u of %u servers",
		    fresh_pods(client, pane), client->pods_count, fresh_pods(server, pane),
		    server->pods_count);
	if (silent_pods(town, client) || silent_pods(town, server))
		say(text, size, &length, "; silent agents: of %u clients, of %u servers",
		    silent_pods(town, client), silent_pods(town, server));
	say(text, size, &length, "\n");
	return length;
}

/* --- the next ten seconds --- */

static void stream_turn(struct traffic *traffic, struct stream *stream, const struct link *link,
			uint64_t pane)
{
	struct dice *dice = &traffic->town->dice;
	const struct habit *habit = &link->habit;
	const double keep = exp(-10 / WAVE_S);
	uint64_t second = pane / PANES_PER_S;
	stream->wave =
		keep * stream->wave + sqrt(1 - keep * keep) * WAVE_DEVIATION * chance_normal(dice);
	if (pane >= stream->burst_until)
		stream->burst = 1;
	if (chance(dice, 10 / (BURST_HOURS * 3600))) {
		stream->burst = chance_scale(dice, 1.5, 4);
		stream->burst_until = pane + PANES_PER_S * (5 + dice_below(dice, 55));
	}
	stream->factor = exp(stream->wave) * stream->burst * day_factor(habit, second) *
			 batch_factor(habit, second) *
			 (1 - RIPPLE * traffic->ripples[link->server]);
}

/* What of each workload's requests is not answered, its callers spare in part. */
static void turn_ripples(struct traffic *traffic)
{
	struct town *town = traffic->town;
	for (uint32_t i = 0; i < town->workloads_count; i++) {
		double asked = traffic->asked[i];
		double missing = asked > 20 ? 1 - traffic->answered[i] / asked : 0;
		/* Less is chance. */
		traffic->ripples[i] = traffic->fault && missing > 0.05 ? missing : 0;
		traffic->asked[i] = traffic->answered[i] = 0;
	}
	for (uint32_t i = 0; i < town->links_count; i++)
		traffic->rippled[i] |= traffic->ripples[town->links[i].server] > 0;
}

/* --- requests --- */

static uint32_t part_of(struct dice *dice, double amount)
{
	return (uint32_t)(amount + chance_share(dice));
}

static uint32_t few(struct dice *dice, double mean)
{
	return mean <= 0 ? 0 : mean < 0.02 ? chance(dice, mean) : chance_poisson(dice, mean);
}

static uint64_t draw_bytes(struct town *town, const struct link *link, double median,
			   uint32_t count)
{
	const struct spread *spread = &town->spreads[link->habit.spread];
	uint64_t bits = dice_roll(&town->dice) >> 44;
	double one = spread_at(spread, bits) * 1e-3;
	return (uint64_t)(median * (one + (count - 1) * town->spread_means[link->habit.spread]));
}

static struct effect draw_pair(struct traffic *traffic, const struct link *link, uint64_t pane,
			       struct piece *piece)
{
	struct town *town = traffic->town;
	const struct fault *fault = traffic->fault;
	struct effect effect = {.volume = 1, .slower = 1};
	piece->client = dice_below(&town->dice, town->workloads[link->client].pods_count);
	for (uint32_t tries = 0; tries < 2; tries++) {
		piece->server = dice_below(&town->dice, town->workloads[link->server].pods_count);
		if (!fault)
			return effect;
		effect = fault_effect(fault, town, link, piece->client, piece->server, pane);
		if (effect.fails <= 0 || pane < fault->start_pane + EJECT_PANES ||
		    !chance(&town->dice, EJECTED))
			break;
	}
	return effect;
}

static void draw_connections(struct town *town, const struct link *link,
			     const struct effect *effect, uint32_t requests, struct piece *piece)
{
	const struct habit *habit = &link->habit;
	struct dice *dice = &town->dice;
	double attempts = requests * habit->opens * (effect->volume > 1 ? effect->volume : 1);
	/* Who asks less because nothing is wrong at the other end opens less, too. */
	if (effect->fails <= 0 && effect->resets <= 0 && effect->syn_lost <= 0 &&
	    effect->volume < 1)
		attempts *= effect->volume;
	if ((effect->fails > 0 || effect->resets > 0) && habit->opens < RETRIES)
		attempts = requests * RETRIES;
	piece->opened = few(dice, attempts * (1 - effect->fails));
	piece->resets = few(dice, attempts * effect->resets);
	piece->reason = habit->refuses ? COUNTER_FAILED_REFUSED : COUNTER_FAILED_ABORTED;
	piece->failed = few(dice, attempts * habit->fails);
	/* COUNTER_ACTIVE: they still wait. */
	if (effect->fails > 0 && effect->reason != COUNTER_ACTIVE) {
		piece->failed = few(dice, attempts * effect->fails);
		piece->reason = effect->reason;
		/* Half of the programs are less patient than the kernel. */
		if (piece->reason == COUNTER_FAILED_TIMEOUT && (link->edge.id >> 9 & 1))
			piece->reason = COUNTER_FAILED_ABORTED;
	}
	double us = habit->connect_us * effect->slower *
		    spread_at(&town->spreads[1], dice_roll(dice) >> 44) * 1e-3;
	if (chance(dice, LOSS + effect->syn_lost))
		us += 1e6;
	piece->connect_us = (uint32_t)us;
}

static void draw_lookups(struct town *town, const struct effect *effect, uint32_t requests,
			 struct piece *piece)
{
	piece->lookups = piece->requests;
	piece->lookups_failed = few(&town->dice, piece->requests * effect->dns_fails);
	piece->lookup_reason = effect->dns_reason;
	/* Who cannot reach a server of names waits for it in vain. */
	if (effect->fails > 0) {
		piece->lookups = piece->requests + few(&town->dice, requests * effect->fails);
		piece->lookups_failed = piece->lookups - piece->requests;
		piece->lookup_reason = COUNTER_DNS_TIMEOUTS;
	}
	if (piece->lookups_failed > piece->lookups)
		piece->lookups_failed = piece->lookups;
}

static struct piece draw_lot(struct traffic *traffic, const struct link *link, uint32_t requests,
			     uint64_t pane)
{
	struct town *town = traffic->town;
	struct dice *dice = &town->dice;
	struct piece piece = {0};
	struct effect effect = draw_pair(traffic, link, pane, &piece);
	const struct workload *client = &town->workloads[link->client];
	const struct workload *server = &town->workloads[link->server];
	piece.client_seen = !town->node_silent[client->pods[piece.client].node];
	piece.server_seen = !town->node_silent[server->pods[piece.server].node];
	piece.requests = part_of(dice, requests * effect.volume);
	if (link->edge.port == DNS_PORT)
		draw_lookups(town, &effect, requests, &piece);
	else
		draw_connections(town, link, &effect, requests, &piece);
	if (piece.requests) {
		piece.tx = draw_bytes(town, link, link->habit.tx, piece.requests);
		piece.rx = draw_bytes(town, link, link->habit.rx, piece.requests);
		piece.tx_segments = piece.requests + (uint32_t)(piece.tx / SEGMENT_BYTES);
		piece.rx_segments = piece.requests + (uint32_t)(piece.rx / SEGMENT_BYTES);
		piece.client_retransmits = few(dice, piece.tx_segments * (LOSS + effect.lost));
		piece.server_retransmits = few(dice, piece.rx_segments * (LOSS + effect.lost));
		piece.srtt_us =
			(uint32_t)(link->habit.srtt_us * effect.slower *
				   spread_at(&town->spreads[0], dice_roll(dice) >> 44) * 1e-3);
	}
	traffic->asked[link->client] += requests;
	traffic->answered[link->client] +=
		effect.volume < 1 ? piece.requests - piece.lookups_failed
				  : requests - (double)requests * piece.lookups_failed /
						       (piece.requests ? piece.requests : 1);
	/* Nobody tells of what neither end's agent saw, nor of SYNs that never came. */
	if (!piece.client_seen)
		piece.failed = 0;
	if (!piece.client_seen && !piece.server_seen)
		piece = (struct piece){.client = piece.client, .server = piece.server};
	return piece;
}

/* --- sums --- */

static void add_piece(int64_t *counters, const struct piece *piece)
{
	if (piece->client_seen) {
		counters[COUNTER_CLIENT_TX_BYTES] += (int64_t)piece->tx;
		counters[COUNTER_CLIENT_RX_BYTES] += (int64_t)piece->rx;
		counters[COUNTER_CLIENT_RETRANSMITS] += piece->client_retransmits;
	}
	if (piece->server_seen) {
		counters[COUNTER_SERVER_TX_BYTES] += (int64_t)piece->tx;
		counters[COUNTER_SERVER_RX_BYTES] += (int64_t)piece->rx;
		counters[COUNTER_SERVER_RETRANSMITS] += piece->server_retransmits;
	}
	counters[COUNTER_TX_BYTES] += (int64_t)piece->tx;
	counters[COUNTER_RX_BYTES] += (int64_t)piece->rx;
	counters[COUNTER_TX_SEGMENTS] += piece->tx_segments;
	counters[COUNTER_RX_SEGMENTS] += piece->rx_segments;
	counters[COUNTER_RETRANSMITS] +=
		piece->client_seen ? piece->client_retransmits : piece->server_retransmits;
	counters[COUNTER_OPENED] += piece->opened;
	counters[COUNTER_CLOSED] += piece->opened;
	counters[COUNTER_FAILED] += piece->failed;
	counters[piece->reason] += piece->failed;
	counters[COUNTER_RESETS] += piece->resets;
	counters[COUNTER_JOINED] += piece->client_seen && piece->server_seen ? piece->opened : 0;
	counters[COUNTER_ACTIVE] += piece->requests > 0;
	counters[COUNTER_CONNECT_US] +=
		piece->client_seen ? (int64_t)piece->connect_us * piece->opened : 0;
	counters[COUNTER_CONNECT_COUNT] += piece->client_seen ? piece->opened : 0;
	counters[COUNTER_SRTT_US] += piece->srtt_us;
	counters[COUNTER_SRTT_COUNT] += piece->srtt_us > 0;
	counters[COUNTER_AGENT_RECEIVED] += 2;
	counters[COUNTER_AGENT_ISSUED] += 2;
	if (piece->lookups == 0)
		return;
	counters[COUNTER_DNS_QUERIES] += piece->lookups;
	if (piece->lookups_failed)
		counters[piece->lookup_reason] += piece->lookups_failed;
	counters[COUNTER_DNS_COUNT] += piece->lookups - piece->lookups_failed;
	counters[COUNTER_DNS_US] +=
		(int64_t)piece->srtt_us * (piece->lookups - piece->lookups_failed);
}

/* The connection events alone, as panes of parts tell them. */
static void add_events(int64_t *counters, const struct piece *piece)
{
	struct piece events = *piece;
	int64_t all[COUNTERS] = {0};
	events.tx = events.rx = 0;
	events.requests = 0;
	events.tx_segments = events.rx_segments = events.srtt_us = events.lookups = 0;
	events.client_retransmits = events.server_retransmits = 0;
	add_piece(all, &events);
	for (uint32_t i = 0; i < COUNTERS; i++)
		counters[i] += all[i];
}

static struct rollup *add_row(struct traffic *traffic, const struct link *link, uint64_t pane,
			      uint32_t window_ms, uint8_t scope)
{
	struct traffic_rows *rows = &traffic->rows[link->edge.server % OWNERS];
	if (rows->count == rows->capacity) {
		rows->capacity = (uint32_t)memory_grown(rows->capacity, rows->count + 1);
		rows->rows = memory_resize(rows->rows, rows->capacity, sizeof(*rows->rows));
	}
	struct rollup *row = &rows->rows[rows->count++];
	*row = (struct rollup){.window_start_ns = pane_end(pane) - window_ms * NS_PER_MS,
			       .window_ms = window_ms,
			       .scope = scope,
			       .edge = link->edge};
	traffic->edge_rows += scope == SCOPE_EDGE;
	return row;
}

/* --- parts --- */

static struct lane lane_of(const struct town *town, const struct link *link,
			   const struct piece *piece)
{
	const struct pod *client = &town->workloads[link->client].pods[piece->client];
	const struct pod *server = &town->workloads[link->server].pods[piece->server];
	struct lane lane = {.client_zone = client->instance.zone,
			    .server_zone = server->instance.zone,
			    .client_version = client->instance.version,
			    .server_version = server->instance.version};
	lane.id = lane_id(&lane);
	return lane;
}

static int64_t *lane_sums(struct lane_sums *lanes, uint32_t *count, const struct lane *lane)
{
	uint32_t at = 0;
	while (at < *count && lanes[at].lane.id != lane->id)
		at++;
	/* Beyond, into the last: versions that are rolled out meanwhile. */
	if (at == LANES_MAX)
		return lanes[LANES_MAX - 1].counters;
	if (at == *count) {
		lanes[(*count)++] = (struct lane_sums){.lane = *lane};
	}
	return lanes[at].counters;
}

static void emit_parts(struct traffic *traffic, const struct link *link, uint64_t pane,
		       uint32_t window_ms, int64_t (*clients)[COUNTERS],
		       int64_t (*servers)[COUNTERS], const struct lane_sums *lanes,
		       uint32_t lanes_count)
{
	const struct town *town = traffic->town;
	const struct workload *ends[2] = {&town->workloads[link->client],
					  &town->workloads[link->server]};
	for (uint32_t i = 0; i < lanes_count; i++) {
		struct rollup *row = add_row(traffic, link, pane, window_ms, SCOPE_LANE);
		row->lane = lanes[i].lane;
		memcpy(row->counters, lanes[i].counters, sizeof(row->counters));
	}
	for (uint32_t side = 0; side < 2; side++) {
		int64_t(*sums)[COUNTERS] = side ? servers : clients;
		for (uint32_t i = 0; i < PODS_MAX; i++) {
			/* Received of: something was. */
			if (sums[i][COUNTER_AGENT_RECEIVED] == 0)
				continue;
			struct rollup *row = add_row(traffic, link, pane, window_ms,
						     side ? SCOPE_SERVER : SCOPE_CLIENT);
			row->instance = ends[side]->pods[i].instance;
			memcpy(row->counters, sums[i], sizeof(row->counters));
		}
	}
}

static void tell_suspicion(struct traffic *traffic, const struct link *link, uint64_t pane,
			   const struct piece *pieces, uint32_t count)
{
	int64_t clients[PODS_MAX][COUNTERS] = {0}, servers[PODS_MAX][COUNTERS] = {0};
	struct lane_sums lanes[PIECES_MAX];
	uint32_t lanes_count = 0;
	for (uint32_t i = 0; i < count; i++) {
		const struct piece *piece = &pieces[i];
		if (piece->opened + piece->failed + piece->resets == 0)
			continue;
		struct lane lane = lane_of(traffic->town, link, piece);
		add_events(clients[piece->client], piece);
		add_events(servers[piece->server], piece);
		add_events(lane_sums(lanes, &lanes_count, &lane), piece);
	}
	emit_parts(traffic, link, pane, 250, clients, servers, lanes, lanes_count);
}

/* --- panes --- */

static void keep_sum(struct traffic *traffic, struct stream *stream, const struct link *link,
		     const struct piece *piece)
{
	add_piece(stream->ten, piece);
	if (piece->opened && piece->client_seen)
		sketch_add(&stream->connect, (uint64_t)piece->connect_us * NS_PER_US,
			   piece->opened);
	if (piece->srtt_us)
		sketch_add(&stream->srtt, (uint64_t)piece->srtt_us * NS_PER_US, 1);
	if (!traffic->parts)
		return;
	stream->parted = true;
	struct lane lane = lane_of(traffic->town, link, piece);
	add_piece(stream->clients[piece->client], piece);
	add_piece(stream->servers[piece->server], piece);
	add_piece(lane_sums(stream->lanes, &stream->lanes_count, &lane), piece);
}

/* Cells in the order of indexes, none twice. */
static uint32_t put_cell(struct sketch_cell *cells, uint32_t count, uint32_t index, uint32_t times)
{
	uint32_t at = count;
	while (at > 0 && cells[at - 1].index >= index)
		at--;
	if (at < count && cells[at].index == index) {
		cells[at].count += times;
		return count;
	}
	memmove(&cells[at + 1], &cells[at], (count - at) * sizeof(*cells));
	cells[at] = (struct sketch_cell){(uint16_t)index, times};
	return count + 1;
}

static void tell_pane(struct traffic *traffic, struct stream *stream, const struct link *link,
		      uint64_t pane, const struct piece *pieces, uint32_t count)
{
	struct rollup *row = add_row(traffic, link, pane, 250, SCOPE_EDGE);
	row->connect = traffic->cells + traffic->cells_used;
	for (uint32_t i = 0; i < count; i++) {
		const struct piece *piece = &pieces[i];
		add_piece(row->counters, piece);
		keep_sum(traffic, stream, link, piece);
		if (piece->opened && piece->client_seen)
			row->connect_cells =
				put_cell(row->connect, row->connect_cells,
					 sketch_index((uint64_t)piece->connect_us * NS_PER_US),
					 piece->opened);
	}
	traffic->cells_used += row->connect_cells;
	row->last_event_ns = stream->last_event_ns = pane_end(pane) - NS_PER_MS;
	if (row->counters[COUNTER_FAILED] || row->counters[COUNTER_RESETS])
		stream->suspicion_until = pane + SUSPICION_PANES;
	if (traffic->parts && pane <= stream->suspicion_until && stream->suspicion_until)
		tell_suspicion(traffic, link, pane, pieces, count);
	stream->told = stream->touched = true;
}

/* When something may come next. */
static void stream_wait(struct traffic *traffic, struct stream *stream, double mean, uint64_t pane)
{
	double gap = mean > 0 ? -log(chance_share(&traffic->town->dice)) / mean : SLEEP_PANES;
	stream->comes = gap < SLEEP_PANES;
	stream->next_pane = pane + 1 + (stream->comes ? (uint64_t)gap : SLEEP_PANES - 1);
}

static void stream_pane(struct traffic *traffic, struct stream *stream, const struct link *link,
			uint64_t pane)
{
	struct dice *dice = &traffic->town->dice;
	struct piece pieces[PIECES_MAX];
	uint32_t count = 0, requests = 0;
	if (pane >= stream->next_pane) {
		double mean = link->habit.rate * stream->factor / PANES_PER_S;
		bool dense = mean > 0.5;
		requests = dense ? chance_poisson(dice, mean) : stream->comes;
		stream->next_pane = pane + 1;
		stream->comes = true;
		if (!dense)
			stream_wait(traffic, stream, mean, pane);
	}
	uint32_t most = traffic->fault ? FAULT_DRAWS_MAX : DRAWS_MAX;
	for (uint32_t lots = requests < most ? requests : most; lots > 0; lots--) {
		uint32_t lot = requests / lots;
		requests -= lot;
		pieces[count] = draw_lot(traffic, link, lot, pane);
		count += pieces[count].client_seen || pieces[count].server_seen;
	}
	if (count) {
		tell_pane(traffic, stream, link, pane, pieces, count);
	} else if (stream->told) {
		add_row(traffic, link, pane, 250, SCOPE_EDGE);
		stream->told = false;
	}
}

static void tell_ten(struct traffic *traffic, struct stream *stream, const struct link *link,
		     uint64_t pane)
{
	struct rollup *row;
	if (!stream->touched && !stream->told_ten)
		return;
	stream->told_ten = stream->touched;
	row = add_row(traffic, link, pane, 10000, SCOPE_EDGE);
	memcpy(row->counters, stream->ten, sizeof(row->counters));
	row->connect = stream->connect.cells;
	row->connect_cells = stream->connect.count;
	row->srtt = stream->srtt.cells;
	row->srtt_cells = stream->srtt.count;
	row->last_event_ns = stream->last_event_ns;
	if (stream->parted)
		emit_parts(traffic, link, pane, 10000, stream->clients, stream->servers,
			   stream->lanes, stream->lanes_count);
}

static void stream_clear(struct stream *stream)
{
	stream->touched = false;
	memset(stream->ten, 0, sizeof(stream->ten));
	sketch_clear(&stream->connect);
	sketch_clear(&stream->srtt);
	stream->lanes_count = 0;
	if (!stream->parted)
		return;
	stream->parted = false;
	memset(stream->clients, 0, PODS_MAX * sizeof(*stream->clients));
	memset(stream->servers, 0, PODS_MAX * sizeof(*stream->servers));
}

void traffic_pane(struct traffic *traffic, uint64_t pane)
{
	struct town *town = traffic->town;
	bool first = pane % PANES_PER_10S == 0, last = (pane + 1) % PANES_PER_10S == 0;
	traffic->cells_used = 0;
	for (uint32_t i = 0; i < OWNERS; i++)
		traffic->rows[i].count = 0;
	if (first)
		turn_ripples(traffic);
	for (uint32_t i = 0; i < town->links_count; i++) {
		struct stream *stream = &traffic->streams[i];
		if (first) {
			if (stream->touched)
				stream_clear(stream);
			stream_turn(traffic, stream, &town->links[i], pane);
		}
		if (pane >= stream->next_pane || stream->told)
			stream_pane(traffic, stream, &town->links[i], pane);
	}
	for (uint32_t i = 0; last && i < town->links_count; i++)
		tell_ten(traffic, &traffic->streams[i], &town->links[i], pane);
}
