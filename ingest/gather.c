/* A batch in runs. Times are microseconds from the batch's base time; a pane is a window of them,
 * so which events are a pane's is a matter of two comparisons, and mostly of none: the least and
 * the greatest time of a group tell that all of it is. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/vector.h"
#include "ingest/state.h"

/* A group's times, us from the base time. */
struct timed {
	const int64_t *at;
	size_t count;
	int64_t least, greatest;
};

struct gather {
	struct mirror *mirror;
	struct node *node;
	const Millrace__V1__Batch *batch;
	uint64_t append_ns;
	int64_t base_ns; /* the base time in the log's terms; kept within 2^62 */
	int64_t base_at; /* us: 0 but for a base time that had to be clamped */
	struct timed processes, nat, definitions, updates, dns, sni, drops, closes, exits,
		listeners;
	size_t bytes_max; /* of a run */
};

/* What one run takes of each group. */
struct window {
	int64_t from, until; /* us: [from, until) */
	int64_t base;	     /* us: of its rows' times */
	uint64_t pane;
	bool late;
};

/* What lies ahead of its own append time is the node's error; what lies ahead of the clock,
 * which goes on at most 10 s a record, waits there. */
static uint64_t clamp_time(const struct mirror *mirror, __int128 time_ns, uint64_t append_ns,
			   bool *future)
{
	*future = time_ns > (__int128)(append_ns + CLOCK_STEP_S * NS_PER_S);
	if (*future)
		time_ns = append_ns;
	if (time_ns > (__int128)(mirror->clock_ns + CLOCK_STEP_S * NS_PER_S))
		time_ns = mirror->clock_ns;
	return time_ns < 0 ? 0 : (uint64_t)time_ns;
}

/* ---- times ---- */

static int64_t ceil_us(__int128 ns)
{
	int64_t us = (int64_t)(ns / (int64_t)NS_PER_US);
	return us + (ns % (int64_t)NS_PER_US > 0);
}

/* us from the base time. */
static int64_t clamp_us(const struct gather *gather, int64_t at, bool *future)
{
	__int128 time_ns = (__int128)gather->base_ns + (__int128)at * (int64_t)NS_PER_US;
	uint64_t clamped = clamp_time(gather->mirror, time_ns, gather->append_ns, future);
	if (clamped < gather->node->floor_ns)
		clamped = gather->node->floor_ns;
	return (__int128)clamped == time_ns ? at : ceil_us((__int128)clamped - gather->base_ns);
}

static bool needs_clamp(const struct gather *gather, const struct timed *timed)
{
	bool future;
	return clamp_us(gather, timed->least, &future) != timed->least ||
	       clamp_us(gather, timed->greatest, &future) != timed->greatest;
}

static void clamp_all(struct gather *gather, struct timed *timed, int64_t *at)
{
	timed->least = INT64_MAX;
	timed->greatest = INT64_MIN;
	for (size_t i = 0; i < timed->count; i++) {
		bool future;
		at[i] = clamp_us(gather, at[i], &future);
		gather->mirror->stats.future += future;
		timed->least = at[i] < timed->least ? at[i] : timed->least;
		timed->greatest = at[i] > timed->greatest ? at[i] : timed->greatest;
	}
}

/* Running sums of the group's differences. */
static struct timed timed_of(struct gather *gather, const int64_t *dt_us, size_t count)
{
	struct queue *times = &gather->mirror->times;
	int64_t *at = (int64_t *)times->items + times->count;
	int64_t sum = 0, least = INT64_MAX, greatest = INT64_MIN;
	for (size_t i = 0; i < count; i++) {
		sum += dt_us[i];
		at[i] = sum;
		least = sum < least ? sum : least;
		greatest = sum > greatest ? sum : greatest;
	}
	times->count += count;
	struct timed timed = {at, count, least, greatest};
	if (count && needs_clamp(gather, &timed))
		clamp_all(gather, &timed, at);
	return timed;
}

/* ---- which events ---- */

/* Indexes of the events of a window; NULL: all. */
static const uint32_t *pick(const struct gather *gather, const struct timed *timed,
			    const struct window *window, size_t *count)
{
	uint32_t *picks = gather->mirror->picks.items;
	uint64_t width = (uint64_t)window->until - (uint64_t)window->from;
	size_t picked = 0;
	*count = timed->count;
	if (!timed->count || (timed->least >= window->from && timed->greatest < window->until))
		return NULL;
	if (timed->greatest >= window->from && timed->least < window->until)
		for (size_t i = 0; i < timed->count; i++) {
			picks[picked] = (uint32_t)i;
			picked += (uint64_t)timed->at[i] - (uint64_t)window->from < width;
		}
	*count = picked;
	return picks;
}

static size_t picked_at(const uint32_t *picks, size_t i)
{
	return picks ? picks[i] : i;
}

/* A row's time. What came more than 71 minutes late is as late as that. */
static uint32_t row_time(const struct window *window, int64_t at)
{
	return at > window->base ? (uint32_t)(at - window->base) : 0;
}

/* ---- rows ---- */

static struct container_row *put_containers(const struct gather *gather,
					    const struct window *window, struct run *run,
					    struct container_row *row)
{
	const Millrace__V1__Containers *containers = gather->batch->containers;
	if (!containers || window->from > gather->base_at || window->until <= gather->base_at)
		return row;
	for (size_t i = 0; i < containers->n_cgroup; i++)
		owner_container(gather->mirror, gather->batch, i, row++);
	run->counts[RUN_CONTAINERS] = (uint32_t)containers->n_cgroup;
	return row;
}

static struct process_row *put_processes(const struct gather *gather, const struct window *window,
					 struct run *run, struct process_row *row)
{
	size_t count;
	const uint32_t *picks = pick(gather, &gather->processes, window, &count);
	struct process_names names[PROCESS_NAMES];
	for (size_t j = 0; count && j < PROCESS_NAMES; j++)
		names[j].known = false;
	for (size_t j = 0; j < count; j++, row++) {
		size_t i = picked_at(picks, j);
		owner_process(gather->mirror, gather->node, gather->batch, i, names, row);
		row->time_us = row_time(window, gather->processes.at[i]);
	}
	run->counts[RUN_PROCESSES] = (uint32_t)count;
	return row;
}

static struct address batch_address(const Millrace__V1__Batch *batch, uint32_t index)
{
	struct address address;
	memcpy(address.bytes, batch->addresses.data + 16 * (size_t)index, 16);
	return address;
}

static void nat_fill(const Millrace__V1__Batch *batch, size_t i, struct nat_row *row)
{
	const Millrace__V1__NatEntries *nat = batch->nat;
	*row = (struct nat_row){
		.from = {.client = batch_address(batch, nat->original_source[i]),
			 .server = batch_address(batch, nat->original_destination[i]),
			 .client_port = (uint16_t)nat->original_source_port[i],
			 .server_port = (uint16_t)nat->original_destination_port[i],
			 .protocol = (uint8_t)nat->protocol[i]},
		.to = {.client = batch_address(batch, nat->reply_destination[i]),
		       .server = batch_address(batch, nat->reply_source[i]),
		       .client_port = (uint16_t)nat->reply_destination_port[i],
		       .server_port = (uint16_t)nat->reply_source_port[i],
		       .protocol = (uint8_t)nat->protocol[i]},
	};
}

static struct nat_row *put_nats(const struct gather *gather, const struct window *window,
				uint32_t *rows, Millrace__V1__NatOp op, struct nat_row *row)
{
	size_t count;
	const uint32_t *picks = pick(gather, &gather->nat, window, &count);
	for (size_t j = 0; j < count; j++) {
		size_t i = picked_at(picks, j);
		if (gather->batch->nat->op[i] != op)
			continue;
		nat_fill(gather->batch, i, row);
		row++->time_us = row_time(window, gather->nat.at[i]);
		++*rows;
	}
	return row;
}

/* ---- definitions ---- */

/* Ports from the ephemeral range upwards belong to clients (Linux: 32768..60999). */
static enum side guess_side(uint32_t local_port, uint32_t remote_port)
{
	enum { EPHEMERAL_PORT = 32768 };
	return local_port < remote_port && local_port < EPHEMERAL_PORT ? SIDE_SERVER : SIDE_CLIENT;
}

static void definition_side(const Millrace__V1__Definitions *d, size_t i,
			    struct definition_row *row)
{
	uint32_t flags = d->flags[i];
	bool guessed = flags & MILLRACE__V1__DEFINITION_FLAG__DEFINITION_FLAG_ROLE_GUESSED;
	if (d->role[i] == MILLRACE__V1__ROLE__ROLE_CLIENT)
		row->side = SIDE_CLIENT;
	else if (d->role[i] == MILLRACE__V1__ROLE__ROLE_SERVER)
		row->side = SIDE_SERVER;
	else
		row->side = guess_side(d->local_port[i], d->remote_port[i]);
	guessed |= d->role[i] == MILLRACE__V1__ROLE__ROLE_UNKNOWN;
	row->flags = guessed ? HALF_ROLE_GUESSED : 0;
	row->flags |= flags & MILLRACE__V1__DEFINITION_FLAG__DEFINITION_FLAG_AGAIN ? HALF_AGAIN : 0;
	row->flags |=
		flags & MILLRACE__V1__DEFINITION_FLAG__DEFINITION_FLAG_EXISTED ? HALF_EXISTED : 0;
	row->flags |=
		flags & MILLRACE__V1__DEFINITION_FLAG__DEFINITION_FLAG_SELF_PROBE ? HALF_PROBE : 0;
}

static void definition_tuple(const struct gather *gather, size_t i, enum side side,
			     struct tuple *tuple)
{
	const Millrace__V1__Definitions *d = gather->batch->definitions;
	bool client = side == SIDE_CLIENT;
	struct address *local = client ? &tuple->client : &tuple->server;
	struct address *remote = client ? &tuple->server : &tuple->client;
	*tuple = (struct tuple){
		.client_port = (uint16_t)(client ? d->local_port[i] : d->remote_port[i]),
		.server_port = (uint16_t)(client ? d->remote_port[i] : d->local_port[i]),
		.protocol = (uint8_t)d->protocol[i],
	};
	*local = batch_address(gather->batch, d->local[i]);
	*remote = batch_address(gather->batch, d->remote[i]);
	/* Each node has its own loopback network. */
	if (address_is_loopback(local) && address_is_loopback(remote))
		tuple->scope = (uint32_t)gather->node->name_id | 1;
}

static struct definition_row *put_definitions(const struct gather *gather,
					      const struct window *window, struct run *run,
					      struct definition_row *row)
{
	const Millrace__V1__Definitions *d = gather->batch->definitions;
	size_t count;
	const uint32_t *picks = pick(gather, &gather->definitions, window, &count);
	for (size_t j = 0; j < count; j++, row++) {
		size_t i = picked_at(picks, j);
		definition_side(d, i, row);
		definition_tuple(gather, i, row->side, &row->seen);
		row->slot = d->slot[i];
		row->generation = d->generation[i];
		row->time_us = row_time(window, gather->definitions.at[i]);
		row->pid = d->pid[i];
		row->srtt_us = d->srtt_us[i];
		row->min_rtt_us = d->min_rtt_us[i];
		row->cgroup = d->cgroup[i];
		row->age_ns = d->age_us[i] * NS_PER_US;
		row->connect_us = d->connect_us[i];
		row->total = (struct traffic){d->tx_bytes[i], d->rx_bytes[i], d->tx_segments[i],
					      d->rx_segments[i], d->retransmits[i]};
	}
	run->counts[RUN_DEFINITIONS] = (uint32_t)count;
	return row;
}

/* ---- updates ---- */

typedef uint32_t four __attribute__((vector_size(16)));

/* The low words less `less`, four at a time, as this is done for every update. Returns the bits of
 * all high words. */
static uint32_t narrow(uint32_t *to, const uint64_t *from, size_t count, uint32_t less)
{
	four high = {0};
	uint32_t bits = 0;
	size_t i = 0;
	for (; i + 4 <= count; i += 4) {
		four first, second;
		memcpy(&first, from + i, sizeof(first));
		memcpy(&second, from + i + 2, sizeof(second));
		high |= VECTOR_SHUFFLE(first, second, 1, 3, 5, 7);
		four low = VECTOR_SHUFFLE(first, second, 0, 2, 4, 6) - less;
		memcpy(to + i, &low, sizeof(low));
	}
	for (; i < count; i++) {
		bits |= (uint32_t)(from[i] >> 32);
		to[i] = (uint32_t)from[i] - less;
	}
	return bits | high[0] | high[1] | high[2] | high[3];
}

static void copy_all(const Millrace__V1__Updates *updates, size_t count,
		     const struct update_columns *columns)
{
	memcpy(columns->slot, updates->slot, count * sizeof(uint32_t));
	memcpy(columns->srtt_us, updates->srtt_us, count * sizeof(uint32_t));
	memcpy(columns->tx_segments, updates->tx_segments, count * sizeof(uint32_t));
	memcpy(columns->rx_segments, updates->rx_segments, count * sizeof(uint32_t));
}

/* All updates of the batch are the window's. */
static void *put_all_updates(const struct gather *gather, const struct window *window,
			     struct run *run, void *at)
{
	const Millrace__V1__Updates *updates = gather->batch->updates;
	size_t count = gather->updates.count;
	struct update_columns columns = update_columns(at, count, false);
	copy_all(updates, count, &columns);
	if (gather->updates.least >= window->base)
		narrow(columns.time_us, (const uint64_t *)gather->updates.at, count,
		       (uint32_t)window->base);
	else
		for (size_t i = 0; i < count; i++)
			columns.time_us[i] = row_time(window, gather->updates.at[i]);
	uint32_t bits = narrow(columns.tx_bytes, updates->tx_bytes, count, 0);
	bits |= narrow(columns.rx_bytes, updates->rx_bytes, count, 0);
	if (bits) {
		run->flags |= RUN_WIDE;
		columns = update_columns(at, count, true);
		memcpy(columns.tx_bytes, updates->tx_bytes, count * sizeof(uint64_t));
		memcpy(columns.rx_bytes, updates->rx_bytes, count * sizeof(uint64_t));
	}
	return columns.end;
}

static uint64_t pick_bytes(const Millrace__V1__Updates *updates, const uint32_t *picks,
			   size_t count, const struct update_columns *columns)
{
	uint32_t *tx_bytes = columns->tx_bytes, *rx_bytes = columns->rx_bytes;
	uint64_t bits = 0;
	for (size_t j = 0; j < count; j++) {
		uint64_t tx = updates->tx_bytes[picks[j]], rx = updates->rx_bytes[picks[j]];
		bits |= tx | rx;
		tx_bytes[j] = (uint32_t)tx;
		rx_bytes[j] = (uint32_t)rx;
	}
	return bits;
}

static void pick_wide(const Millrace__V1__Updates *updates, const uint32_t *picks, size_t count,
		      const struct update_columns *columns)
{
	uint64_t *tx_bytes = columns->tx_bytes, *rx_bytes = columns->rx_bytes;
	for (size_t j = 0; j < count; j++) {
		tx_bytes[j] = updates->tx_bytes[picks[j]];
		rx_bytes[j] = updates->rx_bytes[picks[j]];
	}
}

/* Slots are differences to the one before: of those that are left out the sum. */
static void pick_slots(const Millrace__V1__Updates *updates, const uint32_t *picks, size_t count,
		       int32_t *slots)
{
	uint32_t slot = 0, before = 0;
	size_t next = 0;
	for (size_t j = 0; j < count; j++) {
		for (; next <= picks[j]; next++)
			slot += (uint32_t)updates->slot[next];
		slots[j] = (int32_t)(slot - before);
		before = slot;
	}
}

static void *put_some_updates(const struct gather *gather, const struct window *window,
			      struct run *run, const uint32_t *picks, size_t count, void *at)
{
	const Millrace__V1__Updates *updates = gather->batch->updates;
	struct update_columns columns = update_columns(at, count, false);
	pick_slots(updates, picks, count, columns.slot);
	for (size_t j = 0; j < count; j++) {
		uint32_t i = picks[j];
		columns.time_us[j] = row_time(window, gather->updates.at[i]);
		columns.srtt_us[j] = updates->srtt_us[i];
		columns.tx_segments[j] = updates->tx_segments[i];
		columns.rx_segments[j] = updates->rx_segments[i];
	}
	if (pick_bytes(updates, picks, count, &columns) >> 32) {
		run->flags |= RUN_WIDE;
		columns = update_columns(at, count, true);
		pick_wide(updates, picks, count, &columns);
	}
	return columns.end;
}

static void *put_updates(const struct gather *gather, const struct window *window, struct run *run,
			 void *at)
{
	size_t count;
	const uint32_t *picks = pick(gather, &gather->updates, window, &count);
	run->counts[RUN_UPDATES] = (uint32_t)count;
	if (!count)
		return at;
	if (picks)
		return put_some_updates(gather, window, run, picks, count, at);
	return put_all_updates(gather, window, run, at);
}

/* Few updates have retransmits: they go by slot. */
static struct retransmit_row *put_retransmits(const struct gather *gather,
					      const struct window *window, struct run *run,
					      struct retransmit_row *row)
{
	const Millrace__V1__Updates *updates = gather->batch->updates;
	uint32_t slot = 0, index = 0;
	size_t next = 0;
	for (size_t i = 0; updates && i < updates->n_retransmits; i++) {
		index += updates->retransmits_index[i];
		for (; next <= index; next++)
			slot += (uint32_t)updates->slot[next];
		int64_t at = gather->updates.at[index];
		if (at < window->from || at >= window->until)
			continue;
		*row++ = (struct retransmit_row){.slot = slot,
						 .retransmits = updates->retransmits[i],
						 .time_us = row_time(window, at)};
		run->counts[RUN_RETRANSMITS]++;
	}
	return row;
}

/* ---- lookups, listeners ---- */

static enum lookup_result lookup_result(const Millrace__V1__Dns *dns, size_t i)
{
	static const uint8_t results[] = {LOOKUP_NOERROR,  LOOKUP_OTHER, LOOKUP_SERVFAIL,
					  LOOKUP_NXDOMAIN, LOOKUP_OTHER, LOOKUP_REFUSED};
	if (dns->flags[i] & MILLRACE__V1__DNS_FLAG__DNS_FLAG_TIMEOUT)
		return LOOKUP_TIMEOUT;
	return dns->rcode[i] < sizeof(results) ? results[dns->rcode[i]] : LOOKUP_OTHER;
}

/* Which slots the batch defines, for its lookups and names; or takes that back. */
static void mark_defined(const struct gather *gather, bool defined)
{
	const Millrace__V1__Definitions *d = gather->batch->definitions;
	bool wanted = gather->dns.count || gather->sni.count;
	for (size_t i = 0; wanted && d && i < d->n_slot; i++)
		gather->mirror->scratch.defined[d->slot[i]] = defined ? (uint32_t)i + 1 : 0;
}

/* A name that a host can have: what else stands in an answer names nobody, and cannot be taken for
 * "namespace/name", "executable@role", an address, or a word that Millrace itself calls ends by. */
static bool is_host_name(const char *name)
{
	size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.");
	struct address address;
	if (!length || length > NAME_MAX_BYTES || name[length] || name[0] == '_' ||
	    address_parse(name, &address) == 0)
		return false;
	for (uint32_t resolution = RESOLUTION_PUBLIC; resolution <= RESOLUTION_MULTICAST;
	     resolution++)
		if (strcmp(name, resolution_name(resolution)) == 0)
			return false;
	return true;
}

static void name_lookup(const struct gather *gather, size_t i, struct lookup_row *row)
{
	const Millrace__V1__Dns *dns = gather->batch->dns;
	const char *name = gather->batch->strings[dns->name[i]];
	if (!dns->answers[i] || row->result != LOOKUP_NOERROR || !is_host_name(name))
		return;
	row->answers = (uint8_t)dns->answers[i];
	row->name = names_put(gather->mirror->names, name, strlen(name),
			      mirror_open_pane(gather->mirror));
}

/* Of the lookups that the window takes. */
static struct answer_row *put_answers(const struct gather *gather, const struct window *window,
				      struct run *run, const struct lookup_row *lookups,
				      struct answer_row *row)
{
	const Millrace__V1__Dns *dns = gather->batch->dns;
	size_t count, event = 0, first = 0;
	const uint32_t *picks = pick(gather, &gather->dns, window, &count);
	for (size_t j = 0; j < count; j++) {
		for (size_t i = picked_at(picks, j); event < i; event++)
			first += dns->answers[event];
		for (size_t at = first; at < first + lookups[j].answers; at++, row++) {
			*row = (struct answer_row){
				.address = batch_address(gather->batch, dns->answers_address[at]),
				.ttl_s = dns->answers_ttl_s[at]};
			run->counts[RUN_ANSWERS]++;
		}
	}
	return row;
}

/* Whether the batch defines the slot, and in which generation. */
static bool defined_by(const struct gather *gather, uint32_t slot, uint16_t *generation)
{
	uint32_t definition = gather->mirror->scratch.defined[slot];
	if (definition)
		*generation =
			generation_folded(gather->batch->definitions->generation[definition - 1]);
	return definition;
}

static void *put_lookups(const struct gather *gather, const struct window *window, struct run *run,
			 struct lookup_row *row)
{
	const Millrace__V1__Dns *dns = gather->batch->dns;
	const struct lookup_row *first = row;
	size_t count;
	const uint32_t *picks = pick(gather, &gather->dns, window, &count);
	for (size_t j = 0; j < count; j++) {
		size_t i = picked_at(picks, j);
		*row = (struct lookup_row){.slot = dns->slot[i],
					   .time_us = row_time(window, gather->dns.at[i]),
					   .result = (uint16_t)lookup_result(dns, i),
					   .latency_us = dns->latency_us[i]};
		name_lookup(gather, i, row);
		row->defined = defined_by(gather, row->slot, &row->generation);
		row++;
	}
	run->counts[RUN_LOOKUPS] = (uint32_t)count;
	return put_answers(gather, window, run, first, (struct answer_row *)row);
}

static void *put_names(const struct gather *gather, const struct window *window, struct run *run,
		       struct name_row *row)
{
	const Millrace__V1__Sni *sni = gather->batch->sni;
	size_t count;
	const uint32_t *picks = pick(gather, &gather->sni, window, &count);
	for (size_t j = 0; j < count; j++) {
		size_t i = picked_at(picks, j);
		const char *name = gather->batch->strings[sni->name[i]];
		*row = (struct name_row){.slot = sni->slot[i],
					 .time_us = row_time(window, gather->sni.at[i])};
		row->defined = defined_by(gather, row->slot, &row->generation);
		if (is_host_name(name))
			row->name = names_put(gather->mirror->names, name, strlen(name),
					      mirror_open_pane(gather->mirror));
		row++;
	}
	run->counts[RUN_NAMES] = (uint32_t)count;
	return row;
}

static struct listener_row *put_listeners(const struct gather *gather, const struct window *window,
					  struct run *run, struct listener_row *row)
{
	const Millrace__V1__Listeners *listeners = gather->batch->listeners;
	size_t count;
	const uint32_t *picks = pick(gather, &gather->listeners, window, &count);
	for (size_t j = 0; j < count; j++) {
		size_t i = picked_at(picks, j);
		*row++ = (struct listener_row){
			.cookie = listeners->cookie[i],
			.cgroup = listeners->cgroup[i],
			.drops = listeners->drops[i],
			.address = batch_address(gather->batch, listeners->address[i]),
			.netns = listeners->netns[i],
			.pid = listeners->pid[i],
			.backlog = listeners->backlog[i],
			.backlog_max = listeners->backlog_max[i],
			.time_us = row_time(window, gather->listeners.at[i]),
			.port = (uint16_t)listeners->port[i],
			.ended = listeners->flags[i] &
				 MILLRACE__V1__LISTENER_FLAG__LISTENER_FLAG_ENDED,
		};
	}
	run->counts[RUN_LISTENERS] = (uint32_t)count;
	return row;
}

/* ---- closes ---- */

static struct close_row *put_closes(const struct gather *gather, const struct window *window,
				    struct run *run, struct close_row *row)
{
	const Millrace__V1__Closes *closes = gather->batch->closes;
	size_t count;
	const uint32_t *picks = pick(gather, &gather->closes, window, &count);
	for (size_t j = 0; j < count; j++) {
		size_t i = picked_at(picks, j);
		*row++ = (struct close_row){
			.slot = closes->slot[i],
			.time_us = row_time(window, gather->closes.at[i]),
			.reason = closes->reason[i],
			.pid = closes->pid[i],
			.min_rtt_us = closes->min_rtt_us[i],
			.connect_us = closes->connect_us[i],
			.total = {closes->tx_bytes[i], closes->rx_bytes[i], closes->tx_segments[i],
				  closes->rx_segments[i], closes->retransmits[i]},
		};
	}
	run->counts[RUN_CLOSES] = (uint32_t)count;
	return row;
}

static struct exit_row *put_exits(const struct gather *gather, const struct window *window,
				  struct run *run, struct exit_row *row)
{
	const Millrace__V1__Exits *exits = gather->batch->exits;
	size_t count;
	const uint32_t *picks = pick(gather, &gather->exits, window, &count);
	for (size_t j = 0; j < count; j++) {
		size_t i = picked_at(picks, j);
		*row++ = (struct exit_row){.pid = exits->pid[i],
					   .started_ns = exits->started_ns[i],
					   .time_us = row_time(window, gather->exits.at[i])};
	}
	run->counts[RUN_EXITS] = (uint32_t)count;
	return row;
}

/* ---- runs ---- */

/* Writes the window's rows behind the header; returns the run's length. */
static size_t put_groups(const struct gather *gather, const struct window *window, struct run *run)
{
	void *at = put_containers(gather, window, run, (struct container_row *)(run + 1));
	at = put_processes(gather, window, run, at);
	at = put_nats(gather, window, &run->counts[RUN_NATS], MILLRACE__V1__NAT_OP__NAT_OP_ADD, at);
	at = put_definitions(gather, window, run, at);
	at = put_updates(gather, window, run, at);
	at = put_retransmits(gather, window, run, at);
	at = put_lookups(gather, window, run, at);
	at = put_names(gather, window, run, at);
	size_t drops;
	pick(gather, &gather->drops, window, &drops);
	run->counts[RUN_DROPS] = (uint32_t)drops;
	at = put_closes(gather, window, run, at);
	at = put_nats(gather, window, &run->counts[RUN_NAT_ENDS],
		      MILLRACE__V1__NAT_OP__NAT_OP_DELETE, at);
	at = put_exits(gather, window, run, at);
	at = put_listeners(gather, window, run, at);
	return (size_t)((uint8_t *)at - (uint8_t *)run);
}

/* Returns whether there was something to keep. What finds no room leaves its header if that
 * accounts for the batch. */
static bool put_run(struct gather *gather, const struct window *window, const struct run *header)
{
	struct mirror *mirror = gather->mirror;
	struct panes *panes = &mirror->panes;
	struct run *run = panes_room(panes, window->pane, gather->bytes_max);
	if (!run) {
		struct run *aside = memory_zeroed(1, gather->bytes_max);
		put_groups(gather, window, aside);
		count_events(&mirror->stats.refused, &gather->node->standing.ledger.refused,
			     run_events(aside));
		memory_free(aside);
		return false;
	}
	*run = *header;
	run->flags |= window->late ? RUN_LATE : 0;
	run->base_ns = (uint64_t)(gather->base_ns + window->base * (int64_t)NS_PER_US);
	size_t length = put_groups(gather, window, run);
	uint64_t events = run_events(run);
	if (panes->pending + events > panes->events_max) {
		count_events(&mirror->stats.refused, &gather->node->standing.ledger.refused,
			     events);
		memset(run->counts, 0, sizeof(run->counts));
		length = sizeof(*run);
		events = 0;
	}
	if (!events && !(run->flags & RUN_FIRST))
		return false;
	panes_keep(panes, window->pane, length, events);
	gather->node->pending++;
	gather->node->standing.ledger.pending += events;
	return true;
}

static int64_t pane_start_us(const struct gather *gather, uint64_t pane)
{
	return ceil_us((__int128)pane * PANE_NS - gather->base_ns);
}

static void least_greatest(const struct gather *gather, int64_t *least, int64_t *greatest)
{
	const struct timed *groups[] = {&gather->processes, &gather->nat,   &gather->definitions,
					&gather->updates,   &gather->dns,   &gather->drops,
					&gather->closes,    &gather->exits, &gather->listeners,
					&gather->sni};
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		if (!groups[i]->count)
			continue;
		*least = groups[i]->least < *least ? groups[i]->least : *least;
		*greatest = groups[i]->greatest > *greatest ? groups[i]->greatest : *greatest;
	}
}

/* One run a pane; what is late goes to the oldest open one. The first accounts for the batch. */
static void put_runs(struct gather *gather, int64_t least, int64_t greatest,
		     const struct run *header)
{
	const uint64_t open = mirror_open_pane(gather->mirror);
	const int64_t open_us = pane_start_us(gather, open);
	struct run next = *header;
	next.batch_ns = (uint64_t)(gather->base_ns + gather->base_at * (int64_t)NS_PER_US);
	struct window window = {.from = least, .until = open_us, .pane = open, .late = true};
	next.flags |= RUN_FIRST;
	if (least < open_us) {
		window.base = open_us - least > UINT32_MAX ? open_us - UINT32_MAX : least;
		put_run(gather, &window, &next);
		next.flags &= ~(uint32_t)RUN_FIRST;
		least = open_us;
	}
	window.late = false;
	while (least <= greatest) {
		__int128 least_ns = (__int128)least * (int64_t)NS_PER_US + gather->base_ns;
		window.pane = pane_of((uint64_t)least_ns);
		window.from = window.base = pane_start_us(gather, window.pane);
		window.until = least = pane_start_us(gather, window.pane + 1);
		if (put_run(gather, &window, &next))
			next.flags &= ~(uint32_t)RUN_FIRST;
	}
}

static size_t bytes_max(const Millrace__V1__Batch *batch)
{
	size_t bytes = sizeof(struct run);
	bytes += batch->containers ? batch->containers->n_cgroup * sizeof(struct container_row) : 0;
	bytes += batch->processes ? batch->processes->n_pid * sizeof(struct process_row) : 0;
	bytes += batch->nat ? batch->nat->n_protocol * sizeof(struct nat_row) : 0;
	bytes +=
		batch->definitions ? batch->definitions->n_slot * sizeof(struct definition_row) : 0;
	bytes += batch->closes ? batch->closes->n_slot * sizeof(struct close_row) : 0;
	bytes += batch->exits ? batch->exits->n_pid * sizeof(struct exit_row) : 0;
	bytes += batch->dns ? batch->dns->n_slot * sizeof(struct lookup_row) +
				      batch->dns->n_answers_address * sizeof(struct answer_row)
			    : 0;
	bytes += batch->sni ? batch->sni->n_slot * sizeof(struct name_row) : 0;
	bytes += batch->listeners ? batch->listeners->n_cookie * sizeof(struct listener_row) : 0;
	if (batch->updates)
		bytes += (batch->updates->n_slot + 1) * 9 * sizeof(uint32_t) +
			 batch->updates->n_retransmits * sizeof(struct retransmit_row);
	return bytes;
}

static int64_t base_time(const struct node *node, const Millrace__V1__Batch *batch)
{
	const __int128 bound = (__int128)1 << 62;
	__int128 base_ns = (__int128)batch->base_time_us * NS_PER_US + node->offset_ns;
	return (int64_t)(base_ns > bound ? bound : base_ns < -bound ? -bound : base_ns);
}

#define TIMED(gather, group, column)                                                \
	((gather)->batch->group ? timed_of((gather), (gather)->batch->group->dt_us, \
					   (gather)->batch->group->n_##column)      \
				: (struct timed){0})

void gather_batch(struct mirror *mirror, struct node *node, const Millrace__V1__Batch *batch,
		  uint64_t append_ns, const struct run *header)
{
	struct gather gather = {
		.mirror = mirror,
		.node = node,
		.batch = batch,
		.append_ns = append_ns,
		.base_ns = base_time(node, batch),
		.bytes_max = bytes_max(batch),
	};
	mirror->times.count = 0;
	queue_room(&mirror->times, batch->events, sizeof(int64_t));
	queue_room(&mirror->picks, (size_t)batch->events + 1, sizeof(uint32_t));
	gather.processes = TIMED(&gather, processes, dt_us);
	gather.nat = TIMED(&gather, nat, dt_us);
	gather.definitions = TIMED(&gather, definitions, dt_us);
	gather.updates = TIMED(&gather, updates, dt_us);
	gather.closes = TIMED(&gather, closes, dt_us);
	gather.exits = TIMED(&gather, exits, dt_us);
	gather.dns = TIMED(&gather, dns, dt_us);
	gather.sni = TIMED(&gather, sni, dt_us);
	gather.drops = TIMED(&gather, drops, dt_us);
	gather.listeners = TIMED(&gather, listeners, dt_us);
	/* The batch itself, and its containers, are of its base time. */
	bool future;
	gather.base_at = clamp_us(&gather, 0, &future);
	if (future && batch->containers)
		mirror->stats.future += batch->containers->n_cgroup;
	int64_t least = gather.base_at, greatest = gather.base_at;
	least_greatest(&gather, &least, &greatest);
	mark_defined(&gather, true);
	put_runs(&gather, least, greatest, header);
	mark_defined(&gather, false);
}
