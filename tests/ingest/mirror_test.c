#include "ingest/mirror.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/batch/batch.h"
#include "agent/batch/keys.h"
#include "agent/batch/seal.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "metadata/census.h"
#include "millrace/v1/events.pb-c.h"
#include "tests/support/ledger.h"

enum { TASKS = 4, SOURCE = 7 };

static const uint64_t start_ns = 1700000000 * NS_PER_S;
static const uint8_t secret[16] = "0123456789abcdef";
static const uint64_t lateness_ns = 500 * NS_PER_MS;

/* ---- a sink that keeps everything ---- */

enum { LANES = 4096, TOLD = 1024 };

struct lane_use {
	uint32_t client, server;
	uint16_t port;
	uint8_t protocol;
	uint32_t users;
};

static struct {
	struct half_open opens[65536];
	struct half_close closes[65536];
	struct nat_alias aliases[4096];
	struct delta deltas[65536];
	struct amendment amendments[4096];
	struct server_place servers[256]; /* that the first task was told of */
	struct hearing hearings[64];	  /* too */
	uint64_t hearing_panes[64];
	size_t opens_count, closes_count, aliases_count, deltas_count, amendments_count,
		servers_count, hearings_count;
	uint32_t open_tasks[65536], close_tasks[65536], alias_tasks[4096];
	size_t buckets, letters;
	char reason[256];
	struct lane_use lanes[LANES]; /* by number */
	uint64_t told[TASKS][TOLD];   /* ids of instances */
	size_t told_count[TASKS];
	uint64_t digest; /* of all that came, byte for byte */
} got;

static void digest(const void *bytes, size_t length)
{
	got.digest = hash_mix(got.digest * 31 + hash_bytes(bytes, length));
}

static bool told(uint32_t task, uint64_t id)
{
	for (size_t i = 0; i < got.told_count[task]; i++)
		if (got.told[task][i] == id)
			return true;
	return false;
}

static bool opened_in(const struct half_bucket *bucket, const struct half_ref *ref)
{
	for (size_t i = 0; i < bucket->opens_count; i++)
		if (memcmp(half_known(&bucket->opens[i]), ref, sizeof(*ref)) == 0)
			return true;
	return false;
}

/* Numbers of labels are the task's times a thousand and one: see label_of(). */
static uint32_t number_task(uint32_t number)
{
	return number % 1000 - 1;
}

static void take_opens(uint32_t task, const struct half_bucket *bucket)
{
	for (size_t i = 0; i < bucket->opens_count; i++) {
		const struct half_open *open = &bucket->opens[i];
		if (open->number)
			assert_int_equal(number_task(open->number), task);
		else
			assert_int_equal(hash_owner(tuple_hash(&open->key), TASKS), task);
		assert_true(told(task, open->self));
		got.open_tasks[got.opens_count % 65536] = task;
		got.opens[got.opens_count++ % 65536] = *open;
	}
}

static uint64_t pane;

/* Not in the digest: when a node was heard is a matter of the log's time. */
static void take_hearings(uint32_t task, const struct half_bucket *bucket)
{
	for (size_t i = 0; task == 0 && i < bucket->hearings_count; i++) {
		got.hearing_panes[got.hearings_count % 64] = pane;
		got.hearings[got.hearings_count++ % 64] = bucket->hearings[i];
	}
}

static void take_halves(void *context, uint32_t task, const struct half_bucket *bucket)
{
	(void)context;
	assert_true(task < TASKS);
	got.buckets++;
	for (size_t i = 0; i < bucket->instances_count; i++)
		if (!told(task, bucket->instances[i].id))
			got.told[task][got.told_count[task]++ % TOLD] = bucket->instances[i].id;
	take_opens(task, bucket);
	for (size_t i = 0; i < bucket->closes_count; i++) {
		if (bucket->closes[i].number)
			assert_int_equal(number_task(bucket->closes[i].number), task);
		else
			assert_true(opened_in(bucket, &bucket->closes[i].ref));
		got.close_tasks[got.closes_count % 65536] = task;
		got.closes[got.closes_count++ % 65536] = bucket->closes[i];
	}
	for (size_t i = 0; i < bucket->aliases_count; i++) {
		got.alias_tasks[got.aliases_count % 4096] = task;
		got.aliases[got.aliases_count++ % 4096] = bucket->aliases[i];
	}
	for (size_t i = 0; task == 0 && i < bucket->servers_count; i++)
		got.servers[got.servers_count++ % 256] = bucket->servers[i];
	take_hearings(task, bucket);
	digest(bucket->opens, bucket->opens_count * sizeof(*bucket->opens));
	digest(bucket->closes, bucket->closes_count * sizeof(*bucket->closes));
	digest(bucket->aliases, bucket->aliases_count * sizeof(*bucket->aliases));
	digest(bucket->servers, bucket->servers_count * sizeof(*bucket->servers));
	digest(bucket->instances, bucket->instances_count * sizeof(*bucket->instances));
}

static void take_deltas(void *context, const struct delta *deltas, size_t count)
{
	(void)context;
	digest(deltas, count * sizeof(*deltas));
	for (size_t i = 0; i < count; i++) {
		assert_true(got.lanes[deltas[i].place.lane].users > 0);
		got.deltas[got.deltas_count++ % 65536] = deltas[i];
	}
}

static void take_amendments(void *context, const struct amendment *amendments, size_t count)
{
	(void)context;
	digest(amendments, count * sizeof(*amendments));
	for (size_t i = 0; i < count; i++) {
		assert_true(got.lanes[amendments[i].before.lane].users > 0);
		assert_true(got.lanes[amendments[i].after.lane].users > 0);
		got.amendments[got.amendments_count++ % 4096] = amendments[i];
	}
}

static uint32_t hold_lane(const struct lane_wanted *wanted)
{
	uint32_t vacant = 0;
	for (uint32_t i = 1; i < LANES; i++) {
		struct lane_use *lane = &got.lanes[i];
		if (lane->users && lane->client == wanted->client &&
		    lane->server == wanted->server && lane->port == wanted->port &&
		    lane->protocol == wanted->protocol) {
			lane->users++;
			return i;
		}
		if (!lane->users && !vacant)
			vacant = i;
		if (!lane->users && !lane->port)
			break; /* never used: nor is what follows */
	}
	assert_int_not_equal(vacant, 0);
	got.lanes[vacant] = (struct lane_use){wanted->client, wanted->server, wanted->port,
					      wanted->protocol, 1};
	return vacant;
}

static void hold_lanes(void *context, struct lane_wanted *wanted, size_t count)
{
	(void)context;
	for (size_t i = 0; i < count; i++)
		wanted[i].lane = hold_lane(&wanted[i]);
}

static void drop_lane(void *context, uint32_t lane)
{
	(void)context;
	assert_true(got.lanes[lane].users > 0);
	got.lanes[lane].users--;
}

static void take_letter(void *context, const struct mirror_record *record,
			enum mirror_reason reason, const char *detail, const char *node)
{
	(void)context;
	(void)record;
	got.letters++;
	snprintf(got.reason, sizeof(got.reason), "%s: %s: %s", node, mirror_reason_name(reason),
		 detail);
}

static struct mirror_options small_options(void)
{
	return (struct mirror_options){
		.source = SOURCE,
		.join_tasks = TASKS,
		.lateness_ns = lateness_ns,
		.keep_ns = 120 * NS_PER_S,
		.nodes_max = 16,
		.halves_max = 256,
		.nats_max = 64,
		.processes_max = 64,
		.containers_max = 64,
		.amendments_max = 1024,
		.names_max = 1024,
		.instances_max = 1024,
		.destinations = TASKS,
		.record_bytes_max = 1048576,
		.sinks = {.halves = take_halves,
			  .deltas = take_deltas,
			  .amendments = take_amendments,
			  .lanes_hold = hold_lanes,
			  .lane_drop = drop_lane,
			  .deadletter = take_letter},
	};
}

/* ---- agents that send into a mirror ---- */

static struct mirror *mirror;
static uint64_t now_ns;
static enum { LABEL_FINAL, LABEL_PROVISIONAL, LABEL_NONE } labelling;
static size_t opens_labelled;

struct agent {
	struct batch *batch;
	struct batch_sender sender;
};

static struct agent agent_new(const char *node, uint8_t boot, uint64_t epoch)
{
	return (struct agent){
		.batch =
			batch_new(&(struct batch_options){.events_max = 4096, .bytes_max = 786432}),
		.sender = {.node = node, .boot_id = {boot}, .epoch = epoch, .zone = "eu-1a"},
	};
}

static void agent_free(struct agent *agent)
{
	batch_free(agent->batch);
}

static struct label label_of(const struct half_open *open, bool final)
{
	uint32_t task = open->number ? number_task(open->number)
				     : hash_owner(tuple_hash(&open->key), TASKS);
	struct label label = {
		.half = open->ref,
		.number = open->number ? open->number : (open->ref.index + 1) * 1000 + task + 1,
		.join_task = (uint16_t)task,
		.port = 80,
		.protocol = 6,
		.side = open->side,
		.counts_from = open->side,
		.final = final,
		.joined = final,
	};
	*(open->side == SIDE_CLIENT ? &label.client : &label.server) = open->self;
	return label;
}

static void label_opens(void)
{
	for (; opens_labelled < got.opens_count; opens_labelled++) {
		struct label label =
			label_of(&got.opens[opens_labelled % 65536], labelling == LABEL_FINAL);
		if (labelling != LABEL_NONE)
			mirror_labels(mirror, &label, 1, NULL, 0);
	}
}

static void close_ready(void)
{
	for (; mirror_ready(mirror, pane); pane++) {
		mirror_halves(mirror, pane);
		label_opens();
		mirror_deltas(mirror, pane);
	}
}

static int64_t offset; /* of all records; 0: the log is read from its first */

static void push_bytes(const uint8_t *bytes, size_t length)
{
	struct mirror_record record = {bytes, length, now_ns, offset};
	mirror_push(mirror, &record, 1);
	if (!pane)
		pane = mirror_first_pane(mirror);
	close_ready();
}

static void agent_send(struct agent *agent)
{
	struct batch_bytes sealed =
		batch_seal(agent->batch, &agent->sender, now_ns - start_ns, now_ns);
	push_bytes(sealed.bytes, sealed.length);
}

static void agent_lose(struct agent *agent)
{
	batch_seal(agent->batch, &agent->sender, now_ns - start_ns, now_ns);
}

/* Time passes while the agent sends heartbeats. */
static void pass(struct agent *agent, uint64_t ms)
{
	for (uint64_t until_ns = now_ns + ms * NS_PER_MS; now_ns < until_ns;) {
		now_ns += 250 * NS_PER_MS;
		agent_send(agent);
	}
}

static void begin(const struct mirror_options *options)
{
	memset(&got, 0, sizeof(got));
	mirror = mirror_new(options);
	now_ns = start_ns;
	offset = 0;
	pane = 0;
	opens_labelled = 0;
	labelling = LABEL_FINAL;
}

static int start(void **state)
{
	(void)state;
	struct mirror_options options = small_options();
	begin(&options);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	assert_ledger(mirror);
	mirror_free(mirror);
	return 0;
}

static const char *name_of(uint64_t id)
{
	const struct name *name = names_get(mirror_names(mirror), id);
	return name ? name->bytes : "?";
}

static struct batch_definition client(uint32_t slot, uint32_t generation)
{
	return (struct batch_definition){
		.slot = slot,
		.generation = generation,
		.protocol = 6,
		.role = BATCH_ROLE_CLIENT,
		.local = address_v4(0x0a000001),
		.remote = address_v4(0x0a000002),
		.local_port = (uint16_t)(40000 + slot),
		.remote_port = 80,
		.pid = 10,
		.connect_ns = NS_PER_MS,
		.age_ns = NS_PER_MS,
		.time_ns = now_ns,
	};
}

static void define(struct agent *agent, struct batch_definition definition)
{
	assert_true(batch_define(agent->batch, &definition));
}

static void update(struct agent *agent, uint32_t slot, uint64_t tx_bytes)
{
	assert_true(
		batch_update(agent->batch, &(struct batch_update){.slot = slot,
								  .moved = {.tx_bytes = tx_bytes},
								  .time_ns = now_ns}));
}

static void end(struct agent *agent, uint32_t slot, uint32_t reason, uint64_t tx_bytes)
{
	assert_true(batch_close(agent->batch, &(struct batch_close){.slot = slot,
								    .reason = reason,
								    .total = {.tx_bytes = tx_bytes},
								    .connect_ns = 3 * NS_PER_MS,
								    .time_ns = now_ns}));
}

static const struct instance *self_of(const struct half_open *open)
{
	struct roster *roster = mirror_roster(mirror);
	return roster_at(roster, roster_number(roster, open->self));
}

static uint64_t sum_tx(uint32_t with, uint32_t without)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < got.deltas_count; i++)
		if ((got.deltas[i].flags & with) == with && !(got.deltas[i].flags & without))
			sum += got.deltas[i].traffic.tx_bytes;
	return sum;
}

static size_t count_flag(uint32_t flag)
{
	size_t count = 0;
	for (size_t i = 0; i < got.deltas_count; i++)
		count += !!(got.deltas[i].flags & flag);
	return count;
}

/* ---- nodes that are not read ---- */

static void send_ahead(struct agent *agent, uint32_t events)
{
	for (uint32_t i = 0; i < events; i++) {
		struct batch_definition definition = client(i, 1);
		definition.time_ns += 11 * NS_PER_S;
		define(agent, definition);
	}
	agent_send(agent);
}

static void a_node_ahead_of_the_log_is_not_read_for_a_minute(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("b", 1, 1);
	pass(&b, 1000);
	send_ahead(&a, 99);
	pass(&b, 61000);
	send_ahead(&a, 99); /* in another minute */
	assert_int_equal(got.letters, 0);
	send_ahead(&a, 1);
	assert_int_equal(mirror_stats(mirror).future, 199);
	assert_int_equal(mirror_stats(mirror).quarantined, 0);
	for (int i = 0; i < 236; i++) { /* 59 s */
		update(&a, 1, 1);
		agent_send(&a);
		pass(&b, 250);
	}
	assert_int_equal(mirror_stats(mirror).quarantined, 236);
	assert_int_equal(mirror_stats(mirror).deadletters[MIRROR_QUARANTINED], 236);
	assert_in_range(got.letters, 59, 60);
	assert_int_equal(mirror_stats(mirror).deadletters_suppressed, 236 - got.letters);
	assert_string_equal(got.reason, "a: quarantined: the node's events lie ahead of the log");
	pass(&b, 1000);
	update(&a, 1, 1);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).quarantined, 236);
	agent_free(&a);
	agent_free(&b);
}

static void a_flood_of_rubbish_leaves_a_hundred_letters_a_second(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	pass(&a, 1000);
	for (int i = 0; i < 250; i++)
		push_bytes((const uint8_t *)"rubbish", 7);
	assert_int_equal(got.letters, 100);
	assert_int_equal(mirror_stats(mirror).deadletters_suppressed, 150);
	now_ns += NS_PER_S;
	push_bytes((const uint8_t *)"rubbish", 7);
	assert_int_equal(got.letters, 101);
	agent_free(&a);
}

/* ---- the life of a half ---- */

static void a_connection_opens_moves_bytes_and_ends(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	define(&a, client(3, 1));
	update(&a, 3, 100);
	agent_send(&a);
	pass(&a, 1000);
	update(&a, 3, 50);
	agent_send(&a);
	pass(&a, 1000);
	end(&a, 3, CLOSE_NORMAL, 170);
	agent_send(&a);
	pass(&a, 2000);

	assert_int_equal(got.opens_count, 1);
	assert_int_equal(got.opens[0].side, SIDE_CLIENT);
	assert_int_equal(got.opens[0].opened_ns, start_ns - NS_PER_MS);
	assert_string_equal(name_of(self_of(&got.opens[0])->node), "a");
	assert_string_equal(name_of(self_of(&got.opens[0])->zone), "eu-1a");
	assert_int_equal(got.closes_count, 1);
	assert_int_equal(got.closes[0].total.tx_bytes, 170);
	assert_memory_equal(&got.closes[0].ref, &got.opens[0].ref, sizeof(struct half_ref));
	assert_int_equal(got.deltas_count, 3);
	assert_int_equal(got.deltas[0].flags, DELTA_OPENED | DELTA_FIRST_IN_PANE |
						      DELTA_FIRST_IN_1S | DELTA_FIRST_IN_10S |
						      DELTA_FIRST_IN_60S | DELTA_FIRST_IN_1H);
	assert_int_equal(got.deltas[0].connect_us, 1000);
	assert_int_equal(got.deltas[2].flags & DELTA_CLOSED, DELTA_CLOSED);
	assert_int_equal(got.deltas[2].reason, CLOSE_NORMAL);
	assert_int_equal(sum_tx(0, 0), 170);
	assert_int_equal(mirror_stats(mirror).halves, 0); /* final label: it left */
	agent_free(&a);
}

static void each_join_task_gets_one_bucket_a_pane(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	agent_send(&a);
	uint64_t first = pane;
	pass(&a, 5000);
	assert_int_equal(got.buckets, (pane - first) * TASKS);
	agent_free(&a);
}

static void first_touches_are_told_per_window(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	define(&a, client(1, 1));
	agent_send(&a);
	for (int i = 0; i < 80; i++) {
		update(&a, 1, 1);
		agent_send(&a);
		now_ns += PANE_NS;
	}
	pass(&a, 1000);
	assert_int_equal(count_flag(DELTA_FIRST_IN_PANE), 80);
	assert_int_equal(count_flag(DELTA_FIRST_IN_1S), 20);
	assert_int_equal(count_flag(DELTA_FIRST_IN_10S), 2);
	assert_int_equal(count_flag(DELTA_FIRST_IN_60S), 1);
	assert_int_equal(count_flag(DELTA_FIRST_IN_1H), 1);
	agent_free(&a);
}

static void a_failed_attempt_never_opens(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	define(&a, client(1, 1));
	end(&a, 1, CLOSE_REFUSED, 0);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens[0].flags & HALF_FAILED, HALF_FAILED);
	assert_int_equal(got.deltas_count, 1);
	assert_int_equal(got.deltas[0].flags & (DELTA_OPENED | DELTA_CLOSED | DELTA_FAILED),
			 DELTA_FAILED);
	assert_int_equal(got.deltas[0].reason, CLOSE_REFUSED);
	assert_int_equal(got.deltas[0].connect_us, 3000);
	agent_free(&a);
}

static void the_past_of_an_old_socket_does_not_count(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct batch_definition old = client(1, 1);
	old.flags = BATCH_EXISTED;
	old.total.tx_bytes = 1000000;
	define(&a, old);
	update(&a, 1, 5);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(count_flag(DELTA_OPENED), 0);
	assert_int_equal(sum_tx(0, 0), 5);
	agent_free(&a);
}

static void a_key_frame_after_a_gap_recovers_what_was_lost(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	labelling = LABEL_PROVISIONAL;
	define(&a, client(1, 1));
	agent_send(&a);
	pass(&a, 1000);
	update(&a, 1, 70);
	agent_lose(&a);
	update(&a, 1, 5);
	agent_send(&a);
	struct batch_definition again = client(1, 1);
	again.flags = BATCH_AGAIN;
	again.total.tx_bytes = 75;
	define(&a, again);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(sum_tx(DELTA_RECOVERED, 0), 70);
	assert_int_equal(sum_tx(0, DELTA_RECOVERED), 5);
	assert_int_equal(mirror_stats(mirror).lost, 1);
	assert_int_equal(got.opens_count, 2);
	assert_int_equal(got.opens[1].flags & HALF_AGAIN, HALF_AGAIN);
	assert_int_equal(got.opens[1].number, label_of(&got.opens[0], false).number);
	uint32_t lost = 0;
	for (size_t i = 0; i < got.deltas_count; i++)
		lost += got.deltas[i].node_lost;
	assert_true(lost >= 1);
	agent_free(&a);
}

static void a_connection_whose_definition_was_lost_is_recovered_whole(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	agent_send(&a);
	now_ns += NS_PER_S;
	define(&a, client(1, 1));
	agent_lose(&a);
	update(&a, 1, 9); /* of a slot nobody knows yet */
	agent_send(&a);
	struct batch_definition again = client(1, 1);
	again.flags = BATCH_AGAIN;
	again.total.tx_bytes = 9;
	define(&a, again);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).refused, 1);
	assert_int_equal(count_flag(DELTA_OPENED), 1);
	assert_int_equal(sum_tx(DELTA_RECOVERED, 0), 9);
	agent_free(&a);
}

static void a_counter_that_goes_back_gives_no_negative_delta(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	define(&a, client(1, 1));
	update(&a, 1, 100);
	agent_send(&a);
	end(&a, 1, CLOSE_NORMAL, 40);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(sum_tx(0, 0), 100);
	agent_free(&a);
}

static void a_slot_given_away_without_a_close_ends_as_vanished(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	define(&a, client(1, 1));
	agent_send(&a);
	now_ns += NS_PER_S;
	define(&a, client(1, 2));
	update(&a, 1, 3);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 2);
	assert_int_equal(got.closes_count, 1);
	assert_int_equal(got.closes[0].reason, CLOSE_VANISHED);
	assert_int_equal(mirror_stats(mirror).halves, 1);
	agent_free(&a);
}

/* ---- nodes ---- */

static void a_batch_that_comes_twice_counts_once(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	define(&a, client(1, 1));
	agent_send(&a);
	update(&a, 1, 10);
	struct batch_bytes sealed = batch_seal(a.batch, &a.sender, 1, now_ns);
	push_bytes(sealed.bytes, sealed.length);
	push_bytes(sealed.bytes, sealed.length);
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).duplicate, 1);
	assert_int_equal(sum_tx(0, 0), 10);
	agent_free(&a);
}

static void what_is_missing_at_the_start_of_a_node_is_lost(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	define(&a, client(1, 1));
	define(&a, client(2, 1));
	agent_lose(&a);
	define(&a, client(3, 1));
	agent_send(&a);
	assert_int_equal(mirror_stats(mirror).lost, 2);
	assert_int_equal(mirror_stats(mirror).issued, 3);
	pass(&a, 1000);
	assert_int_equal(got.deltas_count, 1);
	assert_int_equal(got.deltas[0].node_lost, 2);
	agent_free(&a);
}

static void what_came_before_the_log_was_read_is_not_lost(void **state)
{
	(void)state;
	struct agent old = agent_new("old", 1, 1), young = agent_new("young", 1, 2);
	offset = 1000;
	define(&old, client(1, 1));
	agent_lose(&old);
	define(&old, client(2, 1));
	agent_send(&old);
	assert_int_equal(mirror_stats(mirror).lost, 0);
	pass(&old, 30000);
	define(&young, client(1, 1)); /* it began while the log was read */
	agent_lose(&young);
	agent_send(&young);
	assert_int_equal(mirror_stats(mirror).lost, 1);
	agent_free(&old);
	agent_free(&young);
}

static void what_a_forgotten_node_told_before_is_not_lost(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), other = agent_new("other", 1, 2);
	for (int i = 0; i < 10; i++) {
		define(&a, client(1, (uint32_t)i + 1));
		end(&a, 1, CLOSE_NORMAL, 0);
		pass(&a, 2000);
	}
	pass(&other, 300000);
	assert_int_equal(mirror_stats(mirror).nodes, 1);
	define(&a, client(1, 1));
	agent_send(&a);
	assert_int_equal(mirror_stats(mirror).nodes, 2);
	assert_int_equal(mirror_stats(mirror).lost, 0);
	agent_free(&a);
	agent_free(&other);
}

static void a_batch_that_comes_late_takes_its_loss_back(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	uint8_t kept[4096];
	define(&a, client(1, 1));
	agent_send(&a);
	update(&a, 1, 10);
	struct batch_bytes sealed = batch_seal(a.batch, &a.sender, 1, now_ns);
	memcpy(kept, sealed.bytes, sealed.length);
	size_t length = sealed.length;
	update(&a, 1, 20);
	agent_send(&a);
	assert_int_equal(mirror_stats(mirror).lost, 1);
	push_bytes(kept, length);
	assert_int_equal(mirror_stats(mirror).lost, 0);
	pass(&a, 1000);
	assert_int_equal(sum_tx(0, 0), 30);
	agent_free(&a);
}

/* ---- another start of the agent ---- */

/* As the next agent tells of the socket that the first one had in `was`. */
static struct batch_definition existed(uint32_t slot, uint32_t was, uint64_t tx_bytes)
{
	struct batch_definition definition = client(was, 1);
	definition.slot = slot;
	definition.flags = BATCH_EXISTED;
	definition.age_ns = definition.connect_ns = 0;
	definition.total.tx_bytes = tx_bytes;
	return definition;
}

/* The n-th opening that was told of the socket which the first agent had in `was`: openings come
 * task by task. */
static const struct half_open *told_of(uint32_t was, int n)
{
	for (size_t i = 0; i < got.opens_count; i++)
		if (got.opens[i].seen.client_port == 40000 + was && n-- == 0)
			return &got.opens[i];
	fail_msg("socket %u was not told of so often", was);
	return NULL;
}

/* The sockets of the slots up to count, each of which sent 10 bytes. */
static void define_up_to(struct agent *agent, uint32_t count)
{
	for (uint32_t slot = 0; slot < count; slot++) {
		define(agent, client(slot, 1));
		update(agent, slot, 10);
	}
	agent_send(agent);
}

static void a_socket_goes_on_under_its_nodes_next_agent(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), again = agent_new("a", 1, 2);
	define_up_to(&a, 2);
	pass(&a, 1000);
	define(&again, existed(7, 0, 25));
	update(&again, 7, 3);
	agent_send(&again);
	pass(&again, 1000);
	assert_int_equal(got.closes_count, 0);
	assert_int_equal(got.opens_count, 3);
	const struct half_open *moved = told_of(0, 1);
	assert_int_equal(moved->flags, HALF_AGAIN | HALF_MOVED);
	assert_memory_equal(&moved->former, &told_of(0, 0)->ref, sizeof(struct half_ref));
	assert_memory_not_equal(&moved->ref, &moved->former, sizeof(struct half_ref));
	assert_int_equal(sum_tx(0, 0), 20 + 15 + 3);
	assert_int_equal(sum_tx(DELTA_RECOVERED, 0), 15);
	assert_int_equal(count_flag(DELTA_OPENED), 2);
	assert_int_equal(mirror_stats(mirror).adopted, 1);
	/* a straggler of the first start changes nothing */
	update(&a, 0, 1000);
	agent_send(&a);
	end(&again, 7, CLOSE_NORMAL, 30);
	agent_send(&again);
	pass(&again, 1000);
	assert_int_equal(mirror_stats(mirror).refused, 1);
	assert_int_equal(got.closes_count, 1);
	assert_memory_equal(&got.closes[0].ref, &moved->ref, sizeof(struct half_ref));
	assert_int_equal(got.closes[0].total.tx_bytes, 30);
	assert_int_equal(sum_tx(0, 0), 10 + 30);
	agent_free(&a);
	agent_free(&again);
}

static void a_socket_that_no_later_agent_tells_of_ends_after_50_s(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("a", 1, 2), c = agent_new("a", 1, 3);
	define_up_to(&a, 3);
	pass(&a, 1000);
	agent_send(&b);
	uint64_t restart_ns = now_ns;
	pass(&b, 30000);
	define(&c, existed(0, 1, 10)); /* another start does not give more time */
	agent_send(&c);
	pass(&c, 19000);
	assert_int_equal(got.closes_count, 0);
	define(&c, existed(1, 2, 10));
	agent_send(&c);
	pass(&c, 2000);
	assert_int_equal(got.closes_count, 1);
	assert_int_equal(got.closes[0].reason, CLOSE_VANISHED);
	assert_memory_equal(&got.closes[0].ref, &told_of(0, 0)->ref, sizeof(struct half_ref));
	assert_in_range(got.closes[0].time_ns, restart_ns - NS_PER_S, restart_ns);
	define(&c, existed(2, 0, 10)); /* too late */
	agent_send(&c);
	pass(&c, 60000);
	assert_int_equal(mirror_stats(mirror).adopted, 2);
	assert_int_equal(mirror_stats(mirror).halves, 3);
	assert_int_equal(got.closes_count, 1);
	agent_free(&a);
	agent_free(&b);
	agent_free(&c);
}

static void a_key_frame_adopts_what_a_lost_definition_did_not(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("a", 1, 2);
	define_up_to(&a, 1);
	pass(&a, 1000);
	define(&b, existed(0, 0, 20));
	agent_lose(&b);
	pass(&b, 45000);
	struct batch_definition again = existed(0, 0, 50);
	again.flags |= BATCH_AGAIN;
	define(&b, again);
	agent_send(&b);
	pass(&b, 10000);
	assert_int_equal(got.closes_count, 0);
	assert_int_equal(sum_tx(DELTA_RECOVERED, 0), 40);
	agent_free(&a);
	agent_free(&b);
}

static void a_port_that_was_used_again_is_no_socket_of_before(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("a", 1, 2);
	define_up_to(&a, 3);
	pass(&a, 1000);
	define(&b, existed(0, 0, 9)); /* less than was counted */
	struct batch_definition fresh = client(1, 1);
	fresh.slot = 2; /* opened under the new agent's eyes */
	define(&b, fresh);
	struct batch_definition other = existed(1, 2, 10);
	other.role = BATCH_ROLE_SERVER;
	define(&b, other);
	agent_send(&b);
	pass(&b, 1000);
	assert_int_equal(mirror_stats(mirror).adopted, 0);
	assert_int_equal(got.closes_count, 2);
	assert_int_equal(sum_tx(0, 0), 30);
	pass(&b, 50000); /* nobody was the third */
	assert_int_equal(got.closes_count, 3);
	agent_free(&a);
	agent_free(&b);
}

static void define_pod(struct agent *agent, uint32_t slot, uint32_t flags, uint32_t pid,
		       uint64_t tx_bytes)
{
	struct batch_definition definition = existed(slot, 0, tx_bytes);
	definition.local = definition.remote = address_v4(0x7f000001);
	definition.flags = flags;
	definition.pid = pid;
	define(agent, definition);
}

/* Two pods' loopbacks: nobody tells in which network namespace a socket is. */
static void sockets_that_were_seen_alike_are_told_apart_by_their_owners(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("a", 1, 2), c = agent_new("a", 1, 3);
	for (uint32_t i = 0; i < 2; i++)
		define_pod(&a, i, 0, 10 + i, 100 * i);
	agent_send(&a);
	pass(&a, 1000);
	define_pod(&b, 0, BATCH_EXISTED, 11, 100);
	define_pod(&b, 1, BATCH_EXISTED, 10, 0);
	agent_send(&b);
	pass(&b, 1000);
	assert_int_equal(mirror_stats(mirror).adopted, 2);
	assert_memory_equal(&got.opens[2].former, &got.opens[1].ref, sizeof(struct half_ref));
	assert_memory_equal(&got.opens[3].former, &got.opens[0].ref, sizeof(struct half_ref));
	define_pod(&c, 0, BATCH_EXISTED, 12, 100); /* whose? */
	agent_send(&c);
	pass(&c, 1000);
	assert_int_equal(mirror_stats(mirror).adopted, 2);
	assert_int_equal(got.closes_count, 0);
	assert_int_equal(mirror_stats(mirror).halves, 3);
	agent_free(&a);
	agent_free(&b);
	agent_free(&c);
}

static void another_boot_ends_what_waited_for_its_next_agent(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("a", 1, 2), c = agent_new("a", 2, 3);
	define_up_to(&a, 2);
	pass(&a, 1000);
	define(&b, existed(0, 1, 10));
	agent_send(&b);
	pass(&b, 1000);
	assert_int_equal(got.closes_count, 0);
	define(&c, existed(0, 0, 10));
	agent_send(&c);
	pass(&c, 1000);
	assert_int_equal(got.closes_count, 2);
	assert_int_equal(mirror_stats(mirror).adopted, 1);
	assert_int_equal(mirror_stats(mirror).halves, 1);
	agent_free(&a);
	agent_free(&b);
	agent_free(&c);
}

/* All in one pane: the join hears of each half once, by the name that it has in the end. */
static void a_socket_may_open_go_on_and_end_within_a_pane(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("a", 1, 2), c = agent_new("a", 1, 3);
	now_ns = (now_ns / PANE_NS + 8) * PANE_NS;
	define_up_to(&a, 2);
	define(&b, existed(1, 0, 15));
	define(&b, existed(0, 1, 10));
	agent_send(&b);
	define(&c, existed(0, 0, 20));
	define(&c, existed(1, 1, 10));
	agent_send(&c);
	end(&c, 0, CLOSE_NORMAL, 21);
	agent_send(&c);
	pass(&c, 1000);
	assert_int_equal(got.opens_count, 2);
	assert_int_equal(got.closes_count, 1);
	assert_memory_equal(&got.closes[0].ref, half_known(told_of(0, 0)), sizeof(struct half_ref));
	assert_int_equal(sum_tx(0, 0), 21 + 10);
	update(&c, 1, 5);
	agent_send(&c);
	pass(&c, 1000);
	assert_int_equal(sum_tx(0, 0), 26 + 10);
	assert_int_equal(mirror_stats(mirror).halves, 1);
	agent_free(&a);
	agent_free(&b);
	agent_free(&c);
}

/* What a half gave under a label that may change goes along. */
static void what_is_provisional_before_a_restart_is_amended_after_it(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("a", 1, 2);
	labelling = LABEL_PROVISIONAL;
	define_up_to(&a, 1);
	pass(&a, 1000);
	define(&b, existed(70, 0, 25));
	agent_send(&b);
	pass(&b, 1000);
	struct label label = label_of(&got.opens[1], true);
	label.port = 8080;
	mirror_labels(mirror, &label, 1, NULL, 0);
	pass(&b, 1000);
	assert_int_equal(got.amendments_count, 1);
	assert_int_equal(got.amendments[0].sum.traffic.tx_bytes, 25);
	agent_free(&a);
	agent_free(&b);
}

static void sockets_of_many_pages_go_on_in_any_order(void **state)
{
	(void)state;
	enum { SOCKETS = 200 };
	struct agent a = agent_new("a", 1, 1), b = agent_new("a", 1, 2);
	define_up_to(&a, SOCKETS);
	pass(&a, 1000);
	for (uint32_t i = 0; i < SOCKETS; i++)
		define(&b, existed(i, (i * 37 + 11) % SOCKETS, 10 + i));
	agent_send(&b);
	pass(&b, 51000);
	assert_int_equal(mirror_stats(mirror).adopted, SOCKETS);
	assert_int_equal(mirror_stats(mirror).halves, SOCKETS);
	assert_int_equal(got.closes_count, 0);
	assert_int_equal(sum_tx(DELTA_RECOVERED, 0), SOCKETS * (SOCKETS - 1) / 2);
	agent_free(&a);
	agent_free(&b);
}

/* The sockets so far, some of them at other slots than before, and five new ones. */
static void start_again(struct agent *agent, uint32_t sockets, bool tells)
{
	for (uint32_t i = 0; i < sockets + 5; i++) {
		struct batch_definition d = i < sockets ? existed(0, i, 10) : client(i, 1);
		d.slot = (i + 3 * sockets) % (sockets + 5);
		d.total.tx_bytes = 10;
		if (tells || i >= sockets)
			define(agent, d);
	}
	agent_send(agent);
	pass(agent, 250);
}

static void an_agent_that_keeps_starting_keeps_its_sockets(void **state)
{
	(void)state;
	enum { STARTS = 40 };
	for (uint32_t every = 1; every <= 4; every += 3) { /* which of its starts lives to tell */
		uint32_t sockets = 0, adopted = 0;
		stop(NULL);
		start(NULL);
		for (uint32_t i = 0; i < STARTS; i++, sockets += 5) {
			struct agent a = agent_new("a", 1, 1 + i);
			bool tells = i % every == every - 1;
			start_again(&a, sockets, tells);
			adopted += tells ? sockets : 0;
			if (i == STARTS - 1)
				pass(&a, 60000);
			agent_free(&a);
		}
		assert_int_equal(mirror_stats(mirror).adopted, adopted);
		assert_int_equal(mirror_stats(mirror).halves, sockets);
		assert_int_equal(got.closes_count, 0);
		assert_int_equal(sum_tx(0, 0), 10 * sockets);
	}
}

/* ---- silence ---- */

static void a_silent_node_is_gone_after_two_minutes(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("b", 1, 1);
	define(&a, client(1, 1));
	agent_send(&a);
	pass(&b, 119000);
	assert_int_equal(got.closes_count, 0);
	pass(&b, 2000);
	assert_int_equal(got.closes_count, 1);
	assert_int_equal(got.closes[0].reason, CLOSE_VANISHED);
	pass(&b, 11000);
	assert_int_equal(mirror_stats(mirror).nodes, 1);
	/* and if it comes back, what it had is not counted again */
	struct batch_definition again = client(1, 1);
	again.flags = BATCH_AGAIN;
	again.age_ns = 130 * NS_PER_S;
	again.total.tx_bytes = 500;
	define(&a, again);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 2);
	assert_int_equal(sum_tx(0, 0), 0);
	agent_free(&a);
	agent_free(&b);
}

static size_t hearings_of(const char *node, int what)
{
	size_t count = 0;
	for (size_t i = 0; i < got.hearings_count; i++)
		count += got.hearings[i].node == name_id(node, strlen(node)) &&
			 (int)got.hearings[i].what == what;
	return count;
}

static void a_node_is_mute_until_what_it_tells_is_up_to_date(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("b", 1, 1);
	agent_send(&a);
	pass(&b, 3000);
	assert_int_equal(hearings_of("a", NODE_HEARD), 1); /* it is new */
	assert_int_equal(hearings_of("a", NODE_MUTE), 0);
	pass(&b, 1000);
	assert_int_equal(hearings_of("a", NODE_MUTE), 1);
	/* In the pane that was the oldest open one as the third second was over. */
	assert_int_equal(got.hearing_panes[got.hearings_count - 1],
			 pane_of(start_ns + 3 * NS_PER_S - lateness_ns));
	struct batch_bytes spooled = batch_seal(a.batch, &a.sender, 1, now_ns - 3500 * NS_PER_MS);
	push_bytes(spooled.bytes, spooled.length);
	pass(&b, 1000);
	assert_int_equal(hearings_of("a", NODE_HEARD), 1);
	agent_send(&a);
	pass(&b, 1000);
	assert_int_equal(hearings_of("a", NODE_HEARD), 2);
	assert_int_equal(hearings_of("a", NODE_MUTE), 1);
	assert_int_equal(hearings_of("b", NODE_MUTE), 0);
	agent_free(&a);
	agent_free(&b);
}

static void a_node_that_is_forgotten_is_told_of(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("b", 1, 1);
	agent_send(&a);
	pass(&b, 140000);
	assert_int_equal(mirror_stats(mirror).nodes, 1);
	assert_int_equal(hearings_of("a", NODE_MUTE), 1);
	assert_int_equal(hearings_of("a", NODE_GONE), 1);
	agent_free(&a);
	agent_free(&b);
}

static void a_wrong_clock_is_corrected_from_the_log(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	now_ns += 5 * NS_PER_S;
	for (int i = 0; i < 8; i++) {
		now_ns -= 5 * NS_PER_S; /* its clock is 5 s behind the log's */
		define(&a, client((uint32_t)i, 1));
		struct batch_bytes sealed = batch_seal(a.batch, &a.sender, 1, now_ns);
		now_ns += 5 * NS_PER_S + 250 * NS_PER_MS;
		push_bytes(sealed.bytes, sealed.length);
	}
	pass(&a, 2000);
	assert_int_equal(mirror_stats(mirror).late, 0);
	assert_int_equal(got.opens_count, 8);
	for (size_t i = 0; i < 8; i++)
		assert_true(got.opens[i].opened_ns > start_ns + 4 * NS_PER_S);
	agent_free(&a);
}

static void times_of_the_future_are_clamped(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct batch_definition ahead = client(1, 1);
	ahead.time_ns = now_ns + 11 * NS_PER_S;
	define(&a, ahead);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).future, 1);
	assert_int_equal(got.opens_count, 1);
	assert_int_equal(got.opens[0].opened_ns, start_ns - ahead.age_ns);
	agent_free(&a);
}

/* As if all before had been sent. */
static void send_numbered(struct agent *agent, uint64_t first_event)
{
	static uint8_t bytes[4096];
	struct batch_bytes sealed =
		batch_seal(agent->batch, &agent->sender, now_ns - start_ns, now_ns);
	Millrace__V1__Batch *told = millrace__v1__batch__unpack(NULL, sealed.length, sealed.bytes);
	assert_non_null(told);
	told->first_event = first_event;
	assert_true(millrace__v1__batch__get_packed_size(told) <= sizeof(bytes));
	size_t length = millrace__v1__batch__pack(told, bytes);
	millrace__v1__batch__free_unpacked(told, NULL);
	push_bytes(bytes, length);
}

static void a_pane_may_lose_more_events_than_can_be_counted(void **state)
{
	(void)state;
	for (uint64_t epoch = 1; epoch <= 3; epoch++) {
		struct agent a = agent_new("a", 1, epoch);
		define(&a, client((uint32_t)epoch, 1));
		send_numbered(&a, INT64_MAX - 1);
		agent_free(&a);
	}
	struct agent b = agent_new("b", 1, 1);
	pass(&b, 1000);
	assert_int_equal(got.opens_count, 3);
	assert_true(got.deltas_count > 0);
	for (size_t i = 0; i < got.deltas_count; i++) {
		assert_int_equal(got.deltas[i].node_lost, UINT32_MAX);
		assert_int_equal(got.deltas[i].node_received, 3);
	}
	agent_free(&b);
}

static void an_event_of_a_closed_pane_is_late(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	define(&a, client(1, 1));
	agent_send(&a);
	pass(&a, 2000);
	uint64_t old_ns = now_ns - 1500 * NS_PER_MS;
	assert_true(batch_update(
		a.batch,
		&(struct batch_update){.slot = 1, .moved.tx_bytes = 44, .time_ns = old_ns}));
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).late, 1);
	assert_int_equal(sum_tx(DELTA_LATE, 0), 44);
	agent_free(&a);
}

/* Its boottime goes with the log, its realtime is set. */
static void expect_clock_set(int64_t by_ns)
{
	struct agent a = agent_new("a", 1, 1);
	uint64_t wrong_ns = 0, begun_ns = now_ns;
	got.deltas_count = 0;
	for (int i = 0; i < 40; i++) {
		uint64_t at_ns = now_ns;
		wrong_ns = i < 10 ? 0 : i < 30 ? (uint64_t)by_ns : 0;
		now_ns += wrong_ns;
		if (i == 0)
			define(&a, client(1, 1));
		else
			update(&a, 1, 1);
		struct batch_bytes sealed =
			batch_seal(a.batch, &a.sender, 90 * NS_PER_S + at_ns - start_ns, now_ns);
		now_ns = at_ns;
		push_bytes(sealed.bytes, sealed.length);
		now_ns += 250 * NS_PER_MS;
	}
	pass(&a, 1000);
	assert_int_equal(got.deltas_count, 40);
	for (size_t i = 0; i < 40; i++)
		assert_int_equal(got.deltas[i].time_ns, begun_ns + i * 250 * NS_PER_MS);
	agent_free(&a);
}

static void a_clock_that_is_set_moves_no_event(void **state)
{
	(void)state;
	static const int64_t by_s[] = {2, -2, 3600, -3600, 1000000000};
	for (size_t i = 0; i < sizeof(by_s) / sizeof(by_s[0]); i++) {
		expect_clock_set(by_s[i] * (int64_t)NS_PER_S);
		assert_int_equal(mirror_stats(mirror).late, 0);
		assert_int_equal(mirror_stats(mirror).future, 0);
		mirror_free(mirror);
		start(state);
	}
}

/* A suspended machine's clocks both go on; what was learnt of them holds. */
static void a_suspended_machine_has_the_same_clock_afterwards(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	for (int i = 0; i < 8; i++) {
		uint64_t at_ns = now_ns;
		now_ns -= 5 * NS_PER_S; /* 5 s behind the log's */
		if (i == 0)
			define(&a, client(1, 1));
		else
			update(&a, 1, 1);
		struct batch_bytes sealed =
			batch_seal(a.batch, &a.sender, NS_PER_S + at_ns - start_ns, now_ns);
		now_ns = at_ns;
		push_bytes(sealed.bytes, sealed.length);
		now_ns += (i == 3 ? 40000 : 250) * NS_PER_MS;
	}
	struct agent b = agent_new("b", 1, 1);
	pass(&b, 41000);
	assert_int_equal(got.deltas_count, 8);
	assert_int_equal(got.deltas[7].time_ns - got.deltas[0].time_ns,
			 40000 * NS_PER_MS + 6 * 250 * NS_PER_MS);
	assert_int_equal(mirror_stats(mirror).late, 0);
	agent_free(&a);
	agent_free(&b);
}

/* An agent that cannot tell its boottime is taken by its realtime. */
static void a_boottime_that_stands_still_sets_no_clock(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	define(&a, client(1, 1));
	for (int i = 0; i < 40; i++) {
		update(&a, 1, 1);
		struct batch_bytes sealed = batch_seal(a.batch, &a.sender, 1, now_ns);
		push_bytes(sealed.bytes, sealed.length);
		now_ns += 2 * NS_PER_S;
	}
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).late, 0);
	agent_free(&a);
}

static void the_clock_steps_at_most_ten_seconds_a_record(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	agent_send(&a);
	now_ns += 3600 * NS_PER_S;
	agent_send(&a);
	assert_int_equal(mirror_clock(mirror), start_ns + 10 * NS_PER_S);
	now_ns = start_ns;
	agent_send(&a);
	assert_int_equal(mirror_clock(mirror), start_ns + 10 * NS_PER_S);
	agent_free(&a);
}

/* ---- who owns it ---- */

static void describe(struct agent *agent, struct batch_container container)
{
	assert_true(batch_container(agent->batch, &container));
}

static void expect_owner(const struct half_open *open, const char *workload,
			 enum resolution resolution, const char *version)
{
	assert_string_equal(name_of(self_of(open)->workload), workload);
	assert_int_equal(self_of(open)->resolution, resolution);
	assert_string_equal(name_of(self_of(open)->version), version);
	assert_int_equal(open->self, instance_id(self_of(open)));
}

static void the_workload_is_the_best_name_known(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	a.sender.role = "db";
	describe(&a, (struct batch_container){.cgroup = 1,
					      .namespace = "shop",
					      .workload = "cart",
					      .pod = "cart-0",
					      .name = "app",
					      .image = "reg:5000/shop/cart:1.2@sha256:abc"});
	describe(&a, (struct batch_container){.cgroup = 2,
					      .name = "web",
					      .image = "reg:5000/web@sha256:0123456789abcdef"});
	describe(&a, (struct batch_container){.cgroup = 3,
					      .unit = "ssh.service",
					      .path = "/system.slice/ssh.service",
					      .version = "v9"});
	describe(&a, (struct batch_container){.cgroup = 4,
					      .unit = "session-1.scope",
					      .path = "/user.slice/session-1.scope"});
	assert_true(batch_process(a.batch, &(struct batch_process){.pid = 10,
								   .comm = "cm",
								   .exe = "/usr/bin/redis",
								   .time_ns = now_ns}));
	for (uint32_t i = 1; i <= 5; i++) {
		struct batch_definition d = client(i, 1);
		d.cgroup = i;
		d.pid = i < 5 ? 10 : 0;
		d.time_ns += i * NS_PER_US;
		d.local_port = 40000; /* one key, so one join task: order is seen */
		define(&a, d);
	}
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 5);
	expect_owner(&got.opens[0], "shop/cart", RESOLUTION_WORKLOAD, "1.2");
	assert_string_equal(name_of(self_of(&got.opens[0])->container), "cart-0");
	assert_string_equal(name_of(self_of(&got.opens[0])->process), "redis");
	expect_owner(&got.opens[1], "web", RESOLUTION_CONTAINER, "sha256:0123456789ab");
	expect_owner(&got.opens[2], "ssh", RESOLUTION_UNIT, "v9");
	expect_owner(&got.opens[3], "redis@db", RESOLUTION_PROCESS, "");
	expect_owner(&got.opens[4], "a", RESOLUTION_NODE, "");
	agent_free(&a);
}

static void late_metadata_announces_the_half_again(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct batch_definition d = client(1, 1);
	d.cgroup = 77;
	define(&a, d);
	agent_send(&a);
	pass(&a, 1000);
	describe(&a, (struct batch_container){.cgroup = 77, .workload = "cart"});
	describe(&a, (struct batch_container){.cgroup = 78, .workload = "other"});
	agent_send(&a);
	pass(&a, 1000);
	describe(&a, (struct batch_container){.cgroup = 77, .workload = "cart"}); /* no news */
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 2);
	expect_owner(&got.opens[0], "a", RESOLUTION_NODE, "");
	expect_owner(&got.opens[1], "cart", RESOLUTION_WORKLOAD, "");
	assert_int_equal(got.opens[1].flags & HALF_AGAIN, HALF_AGAIN);
	agent_free(&a);
}

/* ---- what the cluster tells of it ---- */

static void tell_census(struct census *census, enum fact_kind kind, const char *object)
{
	const struct fact fact = {
		.id = name_id(object, strlen(object)),
		.object = hash_bytes(object, strlen(object)),
		.until_ns = UINT64_MAX,
		.observed_ns = 1,
		.workload = name_id(object, strlen(object)),
		.kind = (uint8_t)kind,
	};
	census_take(census, &fact, NULL, now_ns);
}

/* Of two sockets of the pod one has ended. */
static struct agent agent_of_pod(struct census *census)
{
	struct mirror_options options = small_options();
	mirror_free(mirror);
	options.census = census;
	begin(&options);
	labelling = LABEL_PROVISIONAL;
	struct agent a = agent_new("a", 1, 1);
	describe(&a, (struct batch_container){.cgroup = 77, .name = "app", .pod_uid = "u1"});
	for (uint32_t slot = 1; slot <= 2; slot++) {
		struct batch_definition d = client(slot, 1);
		d.cgroup = 77;
		define(&a, d);
	}
	agent_send(&a);
	pass(&a, 1000);
	end(&a, 2, CLOSE_NORMAL, 7);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 2);
	return a;
}

static void of_a_pod_without_a_cluster_nothing_is_waited_for(void **state)
{
	(void)state;
	struct census *census = census_new(16);
	tell_census(census, FACT_RANGE, "10.0.0.0/8");
	struct agent a = agent_of_pod(census);
	assert_int_equal(got.opens[0].flags & HALF_WAITS, 0);
	pass(&a, 125000);
	assert_int_equal(got.opens_count, 2);
	agent_free(&a);
	census_free(census);
}

static void a_pods_record_names_its_halves_the_ended_too(void **state)
{
	(void)state;
	struct census *census = census_new(16);
	tell_census(census, FACT_POD, "other");
	struct agent a = agent_of_pod(census);
	for (int i = 0; i < 2; i++) {
		expect_owner(&got.opens[i], "app", RESOLUTION_CONTAINER, "");
		assert_int_equal(got.opens[i].flags & HALF_WAITS, HALF_WAITS);
	}
	pass(&a, 30000);
	assert_int_equal(got.opens_count, 2);
	tell_census(census, FACT_POD, "u1");
	pass(&a, 500);
	census_settle(census);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 4);
	uint64_t closed = 0;
	for (int i = 2; i < 4; i++) {
		assert_int_equal(self_of(&got.opens[i])->workload, name_id("u1", 2));
		assert_int_equal(got.opens[i].flags, HALF_AGAIN);
		assert_int_not_equal(got.opens[i].number, 0);
	}
	for (size_t i = 0; i < got.amendments_count; i++)
		closed += got.amendments[i].closed;
	assert_int_equal(closed, 1);
	agent_free(&a);
	census_free(census);
}

static void a_pods_record_is_waited_for_for_two_minutes(void **state)
{
	(void)state;
	struct census *census = census_new(16);
	tell_census(census, FACT_POD, "other");
	struct agent a = agent_of_pod(census);
	uint64_t began_ns = start_ns;
	while (now_ns < began_ns + 120 * NS_PER_S)
		pass(&a, 250);
	assert_int_equal(got.opens_count, 2);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 4);
	for (int i = 2; i < 4; i++) {
		expect_owner(&got.opens[i], "app", RESOLUTION_CONTAINER, "");
		assert_int_equal(got.opens[i].flags, HALF_AGAIN);
	}
	assert_int_equal(got.amendments_count, 0);
	struct batch_definition d = client(3, 1);
	d.cgroup = 77;
	define(&a, d);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 5);
	assert_int_equal(got.opens[4].flags & HALF_WAITS, 0);
	agent_free(&a);
	census_free(census);
}

static struct batch_definition served(uint16_t port)
{
	struct batch_definition definition = client(port, 1);
	definition.role = BATCH_ROLE_SERVER;
	definition.local_port = port;
	definition.cgroup = 77;
	return definition;
}

/* All in one pane, as a spool brings it: the same cgroup is a container of each boot. */
static void a_boot_that_is_over_keeps_its_names(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("a", 2, 2);
	now_ns = (now_ns / PANE_NS + 8) * PANE_NS;
	describe(&a, (struct batch_container){.cgroup = 77, .workload = "cart"});
	define(&a, served(80));
	agent_send(&a);
	describe(&b, (struct batch_container){.cgroup = 77, .workload = "shop"});
	define(&b, served(81));
	agent_send(&b);
	pass(&b, 1000);
	assert_int_equal(got.opens_count, 2);
	for (size_t i = 0; i < 2; i++)
		expect_owner(&got.opens[i], got.opens[i].seen.server_port == 80 ? "cart" : "shop",
			     RESOLUTION_WORKLOAD, "");
	assert_int_equal(got.servers_count, 2);
	assert_int_equal(got.servers[0].key.port, 80);
	assert_string_equal(name_of(got.servers[0].instance.workload), "cart");
	assert_int_equal(got.servers[1].key.port, 81);
	assert_string_equal(name_of(got.servers[1].instance.workload), "shop");
	agent_free(&a);
	agent_free(&b);
}

/* Whoever serves there now has not told yet; its process has the pid of another. */
static void a_new_boot_does_not_rename_where_the_former_served(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("a", 2, 2);
	describe(&a, (struct batch_container){.cgroup = 77, .workload = "cart"});
	define(&a, served(80));
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.servers_count, 1);
	define(&b, served(81));
	agent_send(&b);
	pass(&b, 1000);
	describe(&b, (struct batch_container){.cgroup = 77, .workload = "shop"});
	agent_send(&b);
	pass(&b, 1000);
	assert_int_equal(got.servers_count, 3);
	assert_int_equal(got.servers[1].key.port, 81);
	assert_int_equal(got.servers[1].instance.resolution, RESOLUTION_NODE);
	assert_int_equal(got.servers[2].key.port, 81);
	assert_string_equal(name_of(got.servers[2].instance.workload), "shop");
	agent_free(&a);
	agent_free(&b);
}

/* ---- NAT ---- */

static struct batch_nat vip_nat(bool ended)
{
	return (struct batch_nat){
		.protocol = 6,
		.ended = ended,
		.original_source = address_v4(0x0a000001),
		.original_source_port = 40001,
		.original_destination = address_v4(0x0a000002),
		.original_destination_port = 80,
		.reply_source = address_v4(0x0a000009),
		.reply_source_port = 8080,
		.reply_destination = address_v4(0x0a000001),
		.reply_destination_port = 40001,
		.time_ns = now_ns,
	};
}

static void a_client_is_keyed_by_where_its_node_sends_it(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct batch_nat nat = vip_nat(false);
	assert_true(batch_nat(a.batch, &nat));
	define(&a, client(1, 1));
	agent_send(&a);
	pass(&a, 1000);
	struct address server = address_v4(0x0a000009), dialled = address_v4(0x0a000002);
	assert_true(address_equal(&got.opens[0].key.server, &server));
	assert_int_equal(got.opens[0].key.server_port, 8080);
	assert_true(address_equal(&got.opens[0].seen.server, &dialled));
	/* the owners of both tuples hear of the mapping */
	uint32_t from = hash_owner(tuple_hash(&got.opens[0].seen), TASKS);
	uint32_t to = hash_owner(tuple_hash(&got.opens[0].key), TASKS);
	assert_int_equal(got.aliases_count, from == to ? 1 : 2);
	for (size_t i = 0; i < got.aliases_count; i++)
		assert_true(got.alias_tasks[i] == from || got.alias_tasks[i] == to);
	assert_int_equal(got.aliases[0].op, NAT_ADD);
	agent_free(&a);
}

static void a_mapping_of_a_later_batch_of_the_pane_is_in_the_key(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	define(&a, client(1, 1));
	agent_send(&a);
	struct batch_nat nat = vip_nat(false);
	assert_true(batch_nat(a.batch, &nat));
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 1);
	assert_int_equal(got.opens[0].key.server_port, 8080);
	agent_free(&a);
}

/* From the first key the join follows the alias by itself: the half goes by its label's number. */
static void a_mapping_after_the_pane_leaves_the_half_where_it_is(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	labelling = LABEL_PROVISIONAL;
	define(&a, client(1, 1));
	agent_send(&a);
	pass(&a, 1000);
	struct batch_nat nat = vip_nat(false);
	assert_true(batch_nat(a.batch, &nat));
	agent_send(&a);
	pass(&a, 1000);
	struct batch_definition again = client(1, 1);
	again.flags = BATCH_AGAIN;
	define(&a, again);
	agent_send(&a);
	pass(&a, 1000);
	end(&a, 1, CLOSE_NORMAL, 0);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 2);
	assert_int_equal(got.open_tasks[1], got.open_tasks[0]);
	assert_int_equal(got.close_tasks[0], got.open_tasks[0]);
	assert_memory_equal(&got.opens[1].ref, &got.opens[0].ref, sizeof(struct half_ref));
	uint32_t owner = hash_owner(tuple_hash(&got.opens[0].key), TASKS);
	assert_true(got.alias_tasks[0] == owner || got.alias_tasks[1] == owner);
	assert_true(tuple_equal(&got.aliases[0].from, &got.opens[0].key));
	agent_free(&a);
}

static void a_mapping_that_ended_is_not_for_new_connections(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct batch_nat nat = vip_nat(false), gone = vip_nat(true);
	assert_true(batch_nat(a.batch, &nat));
	assert_true(batch_nat(a.batch, &gone));
	agent_send(&a);
	pass(&a, 3000);
	define(&a, client(1, 1));
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens[0].key.server_port, 80);
	agent_free(&a);
}

/* The port was used for three connections, of which the first tells no mapping. */
static void a_mapping_is_of_the_connections_that_live_when_it_is_told(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct batch_definition over = client(1, 1), first = client(1, 2), second = client(1, 3);
	over.time_ns = now_ns - 200 * NS_PER_MS;
	first.time_ns = now_ns - 100 * NS_PER_MS;
	struct batch_nat nat = vip_nat(false);
	nat.time_ns = first.time_ns;
	define(&a, over);
	assert_true(
		batch_close(a.batch, &(struct batch_close){.slot = 1,
							   .reason = CLOSE_NORMAL,
							   .time_ns = over.time_ns + NS_PER_MS}));
	agent_send(&a);
	assert_true(batch_nat(a.batch, &nat));
	define(&a, first);
	agent_send(&a);
	end(&a, 1, CLOSE_NORMAL, 0);
	nat.time_ns = now_ns;
	assert_true(batch_nat(a.batch, &nat)); /* stands, and is the next one's as well */
	agent_send(&a);
	define(&a, second);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 3);
	for (size_t i = 0; i < got.opens_count; i++)
		assert_int_equal(got.opens[i].key.server_port,
				 got.opens[i].opened_ns + over.age_ns == over.time_ns ? 80 : 8080);
	agent_free(&a);
}

static void a_circle_of_mappings_ends(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct batch_nat there = vip_nat(false), back = vip_nat(false);
	back.original_destination = there.reply_source;
	back.original_destination_port = there.reply_source_port;
	back.reply_source = there.original_destination;
	back.reply_source_port = there.original_destination_port;
	assert_true(batch_nat(a.batch, &there));
	assert_true(batch_nat(a.batch, &back));
	define(&a, client(1, 1));
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 1);
	assert_int_equal(got.opens[0].key.server_port, 8080);
	agent_free(&a);
}

static void loopback_is_a_network_of_its_own_on_each_node(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("b", 1, 1);
	struct batch_definition d = client(1, 1);
	d.local = d.remote = address_v4(0x7f000001);
	define(&a, d);
	define(&b, d);
	agent_send(&a);
	agent_send(&b);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 2);
	assert_int_not_equal(got.opens[0].key.scope, got.opens[1].key.scope);
	agent_free(&a);
	agent_free(&b);
}

/* ---- labels ---- */

static void a_delta_waits_for_its_label(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	labelling = LABEL_NONE;
	define(&a, client(1, 1));
	update(&a, 1, 5);
	agent_send(&a);
	pass(&a, 1000);
	update(&a, 1, 6);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.deltas_count, 0);
	struct label label = label_of(&got.opens[0], true);
	mirror_labels(mirror, &label, 1, NULL, 0);
	pass(&a, 250);
	assert_int_equal(got.deltas_count, 1);
	assert_int_equal(got.deltas[0].traffic.tx_bytes, 11);
	assert_int_equal(got.deltas[0].flags & DELTA_OPENED, DELTA_OPENED);
	agent_free(&a);
}

static void a_changed_label_moves_each_windows_sum(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	labelling = LABEL_PROVISIONAL;
	define(&a, client(1, 1));
	update(&a, 1, 5);
	agent_send(&a);
	pass(&a, 12000);
	update(&a, 1, 7);
	end(&a, 1, CLOSE_RESET, 12);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).halves, 1); /* ended, but its label is not final */
	struct label label = label_of(&got.opens[0], true);
	struct instance peer = {.id = 99, .resolution = RESOLUTION_ADDRESS};
	peer.address = address_v4(0x0a000002);
	label.server = 99;
	mirror_labels(mirror, &label, 1, &peer, 1);
	assert_string_equal(name_of(name_id("10.0.0.2", 8)), "10.0.0.2");
	pass(&a, 250);
	assert_int_equal(got.amendments_count, 2);
	uint64_t tx_bytes = 0;
	uint32_t opened = 0, closed = 0, resets = 0;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(got.amendments[i].window_start_ns % (10 * NS_PER_S), 0);
		assert_int_equal(got.amendments[i].before.server, 0);
		assert_int_equal(got.amendments[i].after.server,
				 roster_number(mirror_roster(mirror), 99));
		tx_bytes += got.amendments[i].sum.traffic.tx_bytes;
		opened += got.amendments[i].opened;
		closed += got.amendments[i].closed;
		resets += got.amendments[i].resets;
	}
	assert_int_equal(tx_bytes, 12);
	assert_int_equal(opened, 1);
	assert_int_equal(closed, 1);
	assert_int_equal(resets, 1);
	assert_int_equal(mirror_stats(mirror).halves, 0);
	agent_free(&a);
}

static void a_half_without_a_final_label_leaves_after_its_time(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	labelling = LABEL_PROVISIONAL;
	define(&a, client(1, 1));
	end(&a, 1, CLOSE_NORMAL, 12);
	agent_send(&a);
	pass(&a, 119000);
	assert_int_equal(mirror_stats(mirror).halves, 1);
	pass(&a, 3000);
	assert_int_equal(mirror_stats(mirror).halves, 0);
	/* a label that comes now finds nothing */
	struct label label = label_of(&got.opens[0], true);
	mirror_labels(mirror, &label, 1, NULL, 0);
	agent_free(&a);
}

static void contributions_past_the_bound_drop_the_oldest(void **state)
{
	(void)state;
	mirror_free(mirror);
	struct mirror_options options = small_options();
	options.amendments_max = 2;
	begin(&options);
	labelling = LABEL_PROVISIONAL;
	struct agent a = agent_new("a", 1, 1);
	for (uint32_t i = 0; i < 3; i++) {
		define(&a, client(i, 1));
		update(&a, i, 1 + i);
	}
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).amendments_dropped, 1);
	for (size_t i = 0; i < 3; i++) {
		struct label label = label_of(&got.opens[i], true);
		mirror_labels(mirror, &label, 1, NULL, 0);
	}
	pass(&a, 250);
	assert_int_equal(got.amendments_count, 2);
	agent_free(&a);
}

/* ---- slots, counters, key frames ---- */

static void a_slot_is_free_while_its_last_half_waits_for_its_label(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	labelling = LABEL_PROVISIONAL;
	define(&a, client(1, 1));
	update(&a, 1, 5);
	agent_send(&a);
	now_ns += 100 * NS_PER_MS;
	end(&a, 1, CLOSE_NORMAL, 5);
	agent_send(&a);
	now_ns += 100 * NS_PER_MS;
	define(&a, client(1, 2));
	update(&a, 1, 70);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 2);
	assert_int_equal(got.opens[0].ref.index, got.opens[1].ref.index);
	assert_int_not_equal(got.opens[0].ref.generation, got.opens[1].ref.generation);
	assert_int_equal(got.closes_count, 1);
	assert_memory_equal(&got.closes[0].ref, &got.opens[0].ref, sizeof(struct half_ref));
	assert_int_equal(mirror_stats(mirror).halves, 2);
	struct label label = label_of(&got.opens[0], true);
	mirror_labels(mirror, &label, 1, NULL, 0);
	pass(&a, 250);
	assert_int_equal(got.amendments_count, 1);
	assert_int_equal(got.amendments[0].sum.traffic.tx_bytes, 5);
	assert_int_equal(mirror_stats(mirror).halves, 1);
	agent_free(&a);
}

/* Batches may be applied out of order where they meet panes: what the former owner of a slot did
 * must not count for the new one. */
static void what_a_slots_former_owner_did_is_not_the_new_ones(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	define(&a, client(1, 1));
	agent_send(&a);
	now_ns = (now_ns / PANE_NS + 8) * PANE_NS; /* a pane begins */
	end(&a, 1, CLOSE_NORMAL, 9);
	agent_send(&a);
	struct batch_definition next = client(1, 2);
	next.time_ns -= NS_PER_MS; /* and yet it is before the close */
	define(&a, next);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 2);
	assert_int_equal(got.closes_count, 1);
	assert_int_equal(got.closes[0].reason, CLOSE_VANISHED);
	assert_memory_equal(&got.closes[0].ref, &got.opens[0].ref, sizeof(struct half_ref));
	assert_int_equal(mirror_stats(mirror).refused, 1);
	agent_free(&a);
}

static void look_up(struct agent *agent, uint32_t slot, uint64_t time_ns)
{
	assert_true(batch_dns(agent->batch, &(struct batch_dns){.slot = slot,
								.name = "shop.test",
								.latency_ns = NS_PER_MS,
								.time_ns = time_ns}));
}

/* Of two sockets that have the slot one after the other, the close of the first and the definition
 * of the second are lost; then a batch tells of a lookup, and later of the second again. */
static void look_up_before_a_key_frame(uint64_t before_ns)
{
	struct agent a = agent_new("a", 1, 1);
	define(&a, client(1, 1));
	agent_send(&a);
	now_ns = (now_ns / PANE_NS + 8) * PANE_NS;
	end(&a, 1, CLOSE_NORMAL, 0);
	define(&a, client(1, 2));
	agent_lose(&a);
	pass(&a, 2000);
	struct batch_definition again = client(1, 2);
	again.flags = BATCH_AGAIN;
	look_up(&a, 1, now_ns - before_ns);
	define(&a, again);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 2);
	assert_int_equal(count_flag(DELTA_LOOKUP), 0);
	assert_int_equal(mirror_stats(mirror).refused, 1);
	agent_free(&a);
}

static void a_lookup_is_not_of_the_socket_that_had_the_slot_before_its_batch(void **state)
{
	(void)state;
	look_up_before_a_key_frame(20 * NS_PER_MS); /* a pane began between them */
}

static void a_late_lookup_is_not_of_the_socket_that_had_the_slot_before_its_batch(void **state)
{
	(void)state;
	look_up_before_a_key_frame(1500 * NS_PER_MS);
}

static void a_lookup_is_of_the_socket_that_a_key_frame_tells_again_later(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	define(&a, client(1, 0x10002));
	agent_send(&a);
	now_ns = (now_ns / PANE_NS + 8) * PANE_NS;
	struct batch_definition again = client(1, 0x10002);
	again.flags = BATCH_AGAIN;
	look_up(&a, 1, now_ns - 20 * NS_PER_MS);
	look_up(&a, 1, now_ns - 1500 * NS_PER_MS);
	define(&a, again);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(count_flag(DELTA_LOOKUP), 2);
	assert_int_equal(mirror_stats(mirror).refused, 0);
	agent_free(&a);
}

static void ask(struct agent *agent, uint32_t slot, const char *name)
{
	assert_true(batch_sni(
		agent->batch,
		&(struct batch_sni){.slot = slot, .name = name, .time_ns = now_ns - NS_PER_MS}));
}

static void a_name_goes_along_with_its_opening(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	now_ns = (now_ns / PANE_NS + 8) * PANE_NS + 9 * NS_PER_MS;
	define(&a, client(1, 1));
	agent_send(&a);
	ask(&a, 1, "pay.example");
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 1);
	assert_true(got.opens[0].sought);
	assert_true(told(got.open_tasks[0], got.opens[0].sought));
	assert_int_equal(mirror_stats(mirror).aggregated, 2);
	agent_free(&a);
}

static void a_later_name_is_told_by_the_number_of_its_label(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	labelling = LABEL_PROVISIONAL;
	define(&a, client(1, 1));
	agent_send(&a);
	pass(&a, 1000);
	ask(&a, 1, "pay.example");
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 2);
	assert_false(got.opens[0].sought);
	assert_true(got.opens[1].number && got.opens[1].sought && !got.opens[1].seen.protocol);
	assert_int_equal(got.opens[1].self, got.opens[0].self);
	agent_free(&a);
}

static void who_has_met_the_far_end_needs_no_name(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	define(&a, client(1, 1));
	agent_send(&a);
	pass(&a, 1000);
	ask(&a, 1, "pay.example");
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 1);
	assert_int_equal(mirror_stats(mirror).refused, 0);
	agent_free(&a);
}

static void a_name_waits_for_the_label_of_its_half(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	labelling = LABEL_NONE;
	for (uint32_t slot = 1; slot <= 3; slot++)
		define(&a, client(slot, 1));
	agent_send(&a);
	pass(&a, 1000);
	for (uint32_t slot = 1; slot <= 3; slot++)
		ask(&a, slot, "pay.example");
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 3);
	struct label label = label_of(&got.opens[0], false);
	mirror_labels(mirror, &label, 1, NULL, 0);
	end(&a, 2, CLOSE_NORMAL, 9);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 4);
	assert_memory_equal(&got.opens[3].ref, &got.opens[0].ref, sizeof(struct half_ref));
	assert_int_equal(got.opens[3].number, label.number);
	assert_true(got.opens[3].sought);
	assert_int_equal(mirror_stats(mirror).names_dropped, 1); /* of who ended */
	pass(&a, 8000);
	assert_int_equal(mirror_stats(mirror).names_dropped, 1);
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).names_dropped, 2); /* 10 s are over */
	assert_int_equal(got.opens_count, 4);
	agent_free(&a);
}

static void names_that_wait_have_a_bound(void **state)
{
	(void)state;
	enum { MAX = 16384, ONCE = 4096 };
	struct agent a = agent_new("a", 1, 1);
	labelling = LABEL_NONE;
	define(&a, client(1, 1));
	agent_send(&a);
	pass(&a, 1000);
	for (int i = 0; i < MAX; i++) {
		ask(&a, 1, "pay.example");
		if (i % ONCE == ONCE - 1)
			agent_send(&a);
	}
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).names_dropped, 0);
	ask(&a, 1, "pay.example");
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).names_dropped, 1);
	agent_free(&a);
}

static void a_name_is_not_of_the_socket_that_had_the_slot_before_its_batch(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	labelling = LABEL_PROVISIONAL;
	define(&a, client(1, 1));
	agent_send(&a);
	now_ns = (now_ns / PANE_NS + 8) * PANE_NS;
	struct batch_definition next = client(1, 2);
	ask(&a, 1, "pay.example"); /* in the pane before */
	define(&a, next);
	agent_send(&a);
	pass(&a, 2000);
	assert_int_equal(got.opens_count, 2);
	assert_false(got.opens[0].sought || got.opens[1].sought);
	assert_int_equal(mirror_stats(mirror).refused, 1);
	agent_free(&a);
}

static void counters_are_healed_across_their_edges(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct batch_definition d = client(1, 1);
	d.flags = BATCH_EXISTED;
	d.total = (struct traffic){(1ULL << 40) - 10, (1ULL << 40) - 10, (1ULL << 32) - 5,
				   (1ULL << 32) - 5, (1ULL << 25) - 2};
	define(&a, d);
	agent_send(&a);
	pass(&a, 1000);
	struct batch_update up = {
		.slot = 1, .moved = {30, 3, 10, 1, 4}, .srtt_us = 1, .time_ns = now_ns};
	assert_true(batch_update(a.batch, &up));
	agent_send(&a);
	agent_lose(&a);
	update(&a, 1, 7);
	agent_lose(&a);
	d.flags = BATCH_AGAIN;
	d.time_ns = now_ns;
	d.total = (struct traffic){(1ULL << 40) + 27, (1ULL << 40) + 3, (1ULL << 32) + 9,
				   (1ULL << 32) + 1, (1ULL << 25) + 4};
	define(&a, d);
	agent_send(&a);
	pass(&a, 1000);
	struct traffic normal = {0}, healed = {0};
	for (size_t i = 0; i < got.deltas_count; i++) {
		const struct delta *delta = &got.deltas[i];
		struct traffic *sum = delta->flags & DELTA_RECOVERED ? &healed : &normal;
		sum->tx_bytes += delta->traffic.tx_bytes;
		sum->rx_bytes += delta->traffic.rx_bytes;
		sum->tx_segments += delta->traffic.tx_segments;
		sum->rx_segments += delta->traffic.rx_segments;
		sum->retransmits += delta->traffic.retransmits;
	}
	assert_memory_equal(&normal, &((struct traffic){30, 3, 10, 1, 4}), sizeof(normal));
	assert_memory_equal(&healed, &((struct traffic){7, 10, 4, 5, 2}), sizeof(healed));
	assert_int_equal(mirror_stats(mirror).backwards, 0);
	d.total.tx_bytes -= 1;
	d.time_ns = now_ns;
	define(&a, d);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).backwards, 1);
	assert_int_equal(sum_tx(0, 0), 37);
	agent_free(&a);
}

static void great_updates_and_batches_over_panes_count_whole(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	now_ns = (now_ns / PANE_NS + 4) * PANE_NS - 50 * NS_PER_MS;
	for (uint32_t slot = 1; slot <= 9; slot++)
		define(&a, client(slot, 1));
	agent_send(&a);
	now_ns += 50 * NS_PER_MS;
	for (uint32_t slot = 1; slot <= 9; slot++) {
		struct batch_update up = {
			.slot = slot,
			.moved = {.tx_bytes = slot == 4 ? 5ULL << 32 : slot, .retransmits = slot},
			.time_ns = now_ns + slot % 3 * PANE_NS,
		};
		assert_true(batch_update(a.batch, &up));
	}
	agent_send(&a);
	pass(&a, 2000);
	uint64_t retransmits = 0;
	for (size_t i = 0; i < got.deltas_count; i++)
		retransmits += got.deltas[i].traffic.retransmits;
	assert_int_equal(sum_tx(0, 0), 45 - 4 + (5ULL << 32));
	assert_int_equal(retransmits, 45);
	assert_int_equal(got.deltas_count, 18);
	agent_free(&a);
}

static void a_key_frame_of_a_joined_half_is_silent_until_its_owner_changes(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct batch_definition d = client(1, 1);
	define(&a, d);
	describe(&a, (struct batch_container){.cgroup = 77, .workload = "cart"});
	agent_send(&a);
	pass(&a, 1000);
	d.flags = BATCH_AGAIN;
	d.time_ns = now_ns;
	define(&a, d);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 1);
	d.cgroup = 77;
	d.time_ns = now_ns;
	define(&a, d);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.opens_count, 2);
	expect_owner(&got.opens[1], "cart", RESOLUTION_WORKLOAD, "");
	assert_int_equal(got.opens[1].number, label_of(&got.opens[0], true).number);
	agent_free(&a);
}

static void a_close_waits_for_the_label_that_says_where_it_goes(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	labelling = LABEL_NONE;
	define(&a, client(1, 1));
	agent_send(&a);
	pass(&a, 1000);
	end(&a, 1, CLOSE_NORMAL, 3);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.closes_count, 0);
	struct label label = label_of(&got.opens[0], true);
	mirror_labels(mirror, &label, 1, NULL, 0);
	pass(&a, 500);
	assert_int_equal(got.closes_count, 1);
	assert_int_equal(got.closes[0].number, label.number);
	assert_int_equal(got.close_tasks[0], label.join_task);
	assert_int_equal(sum_tx(DELTA_CLOSED, 0), 3);
	assert_int_equal(mirror_stats(mirror).halves, 0);
	agent_free(&a);
}

static void a_server_is_told_once_and_again_each_minute(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct batch_definition d = client(1, 1);
	d.role = BATCH_ROLE_SERVER;
	d.local_port = 80;
	define(&a, d);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(got.servers_count, 1);
	assert_int_equal(got.servers[0].key.port, 80);
	assert_string_equal(name_of(got.servers[0].instance.workload), "a");
	d.flags = BATCH_AGAIN;
	for (int i = 0; i < 2; i++) {
		pass(&a, 31000);
		d.time_ns = now_ns;
		define(&a, d);
		agent_send(&a);
		pass(&a, 1000);
		assert_int_equal(got.servers_count, 1 + i);
	}
	agent_free(&a);
}

/* Whether it ended in the pane of a key frame or not must make no difference. */
static void a_server_that_ended_keeps_the_name_it_was_told_under(void **state)
{
	(void)state;
	for (int again = 0; again < 2; again++) {
		struct agent a = agent_new(again ? "b" : "a", 1, 1);
		struct batch_definition d = client(1, 1);
		d.role = BATCH_ROLE_SERVER;
		d.local_port = 80;
		d.cgroup = 77;
		labelling = LABEL_PROVISIONAL;
		define(&a, d);
		agent_send(&a);
		pass(&a, 1000);
		d.flags = BATCH_AGAIN;
		d.time_ns = now_ns;
		if (again)
			define(&a, d);
		describe(&a, (struct batch_container){.cgroup = 77, .workload = "cart"});
		end(&a, 1, CLOSE_NORMAL, 0);
		agent_send(&a);
		pass(&a, 1000);
		assert_int_equal(got.servers_count, 1 + again);
		assert_int_equal(got.servers[again].instance.resolution, RESOLUTION_NODE);
		agent_free(&a);
	}
}

/* ---- bounds ---- */

static void events_past_the_bound_are_refused_until_a_pane_closes(void **state)
{
	(void)state;
	mirror_free(mirror);
	struct mirror_options options = small_options();
	options.events_max = 3;
	begin(&options);
	struct agent a = agent_new("a", 1, 1);
	for (uint32_t i = 1; i <= 3; i++)
		define(&a, client(i, 1));
	agent_send(&a);
	assert_int_equal(mirror_stats(mirror).refused, 0);
	assert_int_equal(mirror_stats(mirror).pending, 3);
	update(&a, 1, 5);
	agent_send(&a);
	assert_int_equal(mirror_stats(mirror).refused, 1);
	pass(&a, 1000);
	update(&a, 1, 6);
	agent_send(&a);
	pass(&a, 1000);
	assert_int_equal(mirror_stats(mirror).refused, 1);
	assert_int_equal(sum_tx(0, 0), 6);
	agent_free(&a);
}

static void the_oldest_that_waits_for_its_label_makes_room(void **state)
{
	(void)state;
	mirror_free(mirror);
	struct mirror_options options = small_options();
	options.halves_max = 2;
	begin(&options);
	labelling = LABEL_PROVISIONAL;
	struct agent a = agent_new("a", 1, 1);
	for (uint32_t i = 1; i <= 3; i++) {
		define(&a, client(i, 1));
		agent_send(&a);
		pass(&a, 1000);
		end(&a, i, CLOSE_NORMAL, i);
		agent_send(&a);
		pass(&a, 1000);
	}
	assert_int_equal(got.closes_count, 3);
	assert_int_equal(mirror_stats(mirror).halves, 2);
	assert_int_equal(mirror_stats(mirror).refused, 0);
	assert_int_equal(sum_tx(0, 0), 6);
	agent_free(&a);
}

static void full_tables_refuse_and_count(void **state)
{
	(void)state;
	mirror_free(mirror);
	struct mirror_options options = small_options();
	options.halves_max = 2;
	options.nodes_max = 1;
	options.containers_max = 1;
	options.processes_max = 1;
	options.nats_max = 1;
	begin(&options);
	struct agent a = agent_new("a", 1, 1), b = agent_new("b", 1, 1);
	for (uint32_t i = 0; i < 3; i++) {
		struct batch_nat nat = vip_nat(false);
		nat.original_source_port = (uint16_t)i;
		define(&a, client(i, 1));
		describe(&a, (struct batch_container){.cgroup = 1 + i});
		assert_true(batch_nat(a.batch, &nat));
		assert_true(batch_process(
			a.batch, &(struct batch_process){.pid = 1 + i, .time_ns = now_ns}));
	}
	agent_send(&a);
	define(&b, client(1, 1));
	agent_send(&b);
	pass(&a, 1000);
	struct mirror_stats stats = mirror_stats(mirror);
	assert_int_equal(stats.halves, 2);
	assert_int_equal(stats.nodes, 1);
	assert_int_equal(stats.containers, 1);
	assert_int_equal(stats.processes, 1);
	assert_int_equal(stats.nats, 1);
	assert_int_equal(stats.refused, 1 + 1 + 2 + 2 + 2);
	agent_free(&a);
	agent_free(&b);
}

static void an_unreadable_record_is_a_dead_letter(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	agent_send(&a);
	push_bytes((const uint8_t *)"\x0a\x01z\x10\x02", 5);
	assert_int_equal(got.letters, 1);
	assert_string_equal(got.reason, "z: version: version is 2, at most 1");
	push_bytes(NULL, 0);
	assert_int_equal(mirror_stats(mirror).deadletters[MIRROR_CODEC], 1);
	agent_free(&a);
}

static void a_record_that_is_passed_over_moves_the_clock_and_is_told_and_no_more(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	agent_send(&a);
	struct mirror_stats before = mirror_stats(mirror);
	struct batch_bytes sealed = batch_seal(a.batch, &a.sender, 1, now_ns);
	struct mirror_record record = {sealed.bytes, sealed.length, now_ns + NS_PER_S, 7};
	mirror_pass_over(mirror, &record);
	struct mirror_stats after = mirror_stats(mirror);
	assert_int_equal(mirror_clock(mirror), now_ns + NS_PER_S);
	assert_int_equal(after.records, before.records + 1);
	assert_int_equal(after.events, before.events);
	assert_int_equal(after.deadletters[MIRROR_CRASHED], 1);
	assert_int_equal(got.letters, 1);
	assert_string_equal(got.reason, ": crashed: reading it ended the process three times");
	agent_free(&a);
}

static void a_record_without_a_time_does_not_move_the_clock(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct batch_bytes sealed = batch_seal(a.batch, &a.sender, 1, now_ns);
	struct mirror_record timeless = {sealed.bytes, sealed.length, 0, 0};
	mirror_push(mirror, &timeless, 1);
	assert_int_equal(mirror_clock(mirror), 0);
	assert_int_equal(got.letters, 1);
	timeless.append_ns = UINT64_MAX;
	mirror_push(mirror, &timeless, 1);
	assert_int_equal(mirror_clock(mirror), 0);
	agent_send(&a);
	mirror_push(mirror, &timeless, 1);
	assert_int_equal(mirror_clock(mirror), start_ns);
	agent_free(&a);
}

static void objects_not_announced_again_are_forgotten(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct batch_nat nat = vip_nat(false);
	describe(&a, (struct batch_container){.cgroup = 1});
	assert_true(batch_nat(a.batch, &nat));
	assert_true(batch_process(a.batch, &(struct batch_process){.pid = 1, .time_ns = now_ns}));
	agent_send(&a);
	pass(&a, 119000);
	assert_int_equal(mirror_stats(mirror).nats, 1);
	pass(&a, 13000);
	assert_int_equal(mirror_stats(mirror).nats, 0);
	assert_int_equal(mirror_stats(mirror).processes, 0);
	assert_int_equal(mirror_stats(mirror).containers, 0);
	agent_free(&a);
}

/* As of a spool that is delivered at once. */
static void send_late(struct agent *agent, uint64_t sent_ms, uint64_t append_ms)
{
	uint64_t sent_ns = start_ns + sent_ms * NS_PER_MS;
	now_ns = start_ns + append_ms * NS_PER_MS;
	struct batch_bytes sealed =
		batch_seal(agent->batch, &agent->sender, NS_PER_S + sent_ms * NS_PER_MS, sent_ns);
	push_bytes(sealed.bytes, sealed.length);
}

static void a_new_boot_begins_where_the_former_ended(void **state)
{
	(void)state;
	struct agent before = agent_new("a", 1, 1), after = agent_new("a", 2, 2);
	struct agent other = agent_new("b", 3, 3);
	send_late(&other, 0, 0);
	struct batch_definition first = client(1, 1);
	first.time_ns = start_ns;
	define(&before, first);
	send_late(&before, 0, 6000); /* 6 s before the log, as far as is known */
	struct batch_definition second = client(1, 1);
	second.time_ns = start_ns + 4200 * NS_PER_MS;
	define(&after, second);
	send_late(&after, 5000, 6100); /* 1.1 s before it, so its events seem to be older */
	for (uint64_t ms = 6200; ms < 9000; ms += 100)
		send_late(&other, ms, ms);
	assert_int_equal(mirror_stats(mirror).refused, 0);
	assert_int_equal(got.opens_count, 2);
	assert_int_equal(got.closes_count, 1);
	assert_int_equal(got.closes[0].reason, CLOSE_VANISHED);
	agent_free(&before);
	agent_free(&after);
	agent_free(&other);
}

static void see_node(void *context, const struct mirror_node *node)
{
	char *text = context;
	snprintf(text + strlen(text), 256 - strlen(text), "%s/%s/%llu/%llu/%u ", node->node,
		 node->zone, (unsigned long long)node->ledger.received,
		 (unsigned long long)node->ledger.lost, node->sockets);
}

static void nodes_are_told_by_name(void **state)
{
	(void)state;
	struct agent b = agent_new("b", 1, 1), a = agent_new("a", 1, 1);
	char text[256] = "";
	define(&b, client(1, 1));
	agent_send(&b);
	update(&b, 1, 1);
	agent_lose(&b);
	agent_send(&b);
	agent_send(&a);
	pass(&a, 1000);
	mirror_nodes(mirror, see_node, text);
	assert_string_equal(text, "a/eu-1a/0/0/0 b/eu-1a/1/1/1 ");
	agent_free(&a);
	agent_free(&b);
}

/* ---- the loss ledger ---- */

struct shown {
	const char *node;
	struct mirror_node found;
};

static void show_node(void *context, const struct mirror_node *node)
{
	struct shown *shown = context;
	if (strcmp(node->node, shown->node) == 0)
		shown->found = *node;
}

static struct mirror_node node_shown(const char *name)
{
	struct shown shown = {.node = name};
	mirror_nodes(mirror, show_node, &shown);
	return shown.found;
}

/* Its record was kept when it was sealed, and comes now. */
struct kept {
	uint8_t bytes[4096];
	size_t length;
};

static void agent_keep(struct agent *agent, struct kept *kept)
{
	struct batch_bytes sealed =
		batch_seal(agent->batch, &agent->sender, now_ns - start_ns, now_ns);
	assert_true(sealed.length <= sizeof(kept->bytes));
	memcpy(kept->bytes, sealed.bytes, sealed.length);
	kept->length = sealed.length;
}

static void a_node_that_was_forgotten_goes_on_with_its_numbers(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), b = agent_new("b", 1, 2);
	struct kept kept;
	define(&a, client(1, 1));
	a.sender.dropped_ring = 5;
	agent_keep(&a, &kept);
	push_bytes(kept.bytes, kept.length);
	pass(&b, 150000);
	assert_int_equal(mirror_stats(mirror).nodes, 1);
	assert_int_equal(mirror_stats(mirror).others.received, 1);
	assert_ledger(mirror);
	define(&a, client(2, 1));
	define(&a, client(3, 1));
	agent_lose(&a); /* while nobody knew it */
	define(&a, client(4, 1));
	a.sender.dropped_ring = 7;
	agent_send(&a);
	push_bytes(kept.bytes, kept.length); /* and comes again */
	pass(&a, 1000);
	struct mirror_node node = node_shown("a");
	assert_int_equal(node.ledger.issued, 4);
	assert_int_equal(node.ledger.lost, 2);
	assert_int_equal(node.ledger.duplicate, 1);
	assert_int_equal(node.ledger.dropped_ring, 7);
	assert_int_equal(mirror_stats(mirror).others.received, 0);
	assert_int_equal(node.minute.issued, 3);
	assert_int_equal(node.minute.received, 1);
	agent_free(&a);
	agent_free(&b);
}

static void what_comes_of_a_former_start_is_counted_once(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1), again = agent_new("a", 1, 2);
	struct kept came, strayed;
	define(&a, client(1, 1));
	agent_keep(&a, &came);
	push_bytes(came.bytes, came.length);
	define(&a, client(2, 1));
	agent_keep(&a, &strayed);
	define(&a, client(3, 1));
	agent_send(&a);
	assert_int_equal(mirror_stats(mirror).lost, 1);
	agent_send(&again);
	push_bytes(strayed.bytes, strayed.length); /* it was not lost */
	push_bytes(came.bytes, came.length);	   /* it was here */
	push_bytes(strayed.bytes, strayed.length);
	assert_int_equal(mirror_stats(mirror).lost, 0);
	assert_int_equal(mirror_stats(mirror).refused, 1);
	assert_int_equal(mirror_stats(mirror).duplicate, 2);
	assert_int_equal(node_shown("a").ledger.issued, 3);
	agent_free(&a);
	agent_free(&again);
}

static void what_was_dropped_before_the_log_was_read_is_not_counted(void **state)
{
	(void)state;
	struct agent old = agent_new("old", 1, 1);
	offset = 1000;
	agent_lose(&old);
	old.sender.dropped_ring = 100;
	old.sender.dropped_spool = 20;
	agent_send(&old);
	old.sender.dropped_ring = 103;
	agent_send(&old);
	assert_int_equal(mirror_stats(mirror).dropped_ring, 3);
	assert_int_equal(mirror_stats(mirror).dropped_spool, 0);
	agent_free(&old);
}

static void a_batch_that_comes_late_is_issued_once(void **state)
{
	(void)state;
	struct agent a = agent_new("a", 1, 1);
	struct kept kept;
	define(&a, client(1, 1));
	agent_send(&a);
	update(&a, 1, 1);
	agent_keep(&a, &kept);
	update(&a, 1, 1);
	agent_send(&a);
	pass(&a, 2000);
	struct mirror_node node = node_shown("a");
	assert_int_equal(node.minute.issued, 3);
	assert_int_equal(node.minute.received, 2);
	push_bytes(kept.bytes, kept.length);
	pass(&a, 2000);
	node = node_shown("a");
	assert_int_equal(node.ledger.late, 1);
	assert_int_equal(node.ledger.lost, 0);
	assert_int_equal(node.minute.issued, 3); /* it did not come in time */
	assert_int_equal(node.minute.received, 2);
	pass(&a, 70000);
	node = node_shown("a");
	assert_int_equal(node.minute.issued, 0);
	assert_int_equal(node.hour.issued, 3);
	assert_int_equal(node.hour.received, 2);
	agent_free(&a);
}

/* ---- any input ---- */

static uint64_t random_seed;

static uint64_t random_below(uint64_t below)
{
	random_seed ^= random_seed << 13;
	random_seed ^= random_seed >> 7;
	random_seed ^= random_seed << 17;
	return random_seed % below;
}

enum { WORLD_NODES = 5, WORLD_SLOTS = 40 };

struct world_node {
	struct agent agent;
	char name[16];
	uint8_t boot;
	int64_t skew_ns;
	uint32_t shift; /* where its agent begins to number sockets */
	bool open[WORLD_SLOTS];
	bool ended[WORLD_SLOTS]; /* in the present batch: not to be used again before it is out */
	uint32_t generation[WORLD_SLOTS];
	uint64_t total[WORLD_SLOTS];
};

static struct {
	struct world_node nodes[WORLD_NODES];
	uint8_t key[SEAL_KEY_BYTES];
	bool sealed;	   /* without a seal, damage may make any value */
	uint64_t tx_bytes; /* that all sockets sent */
	uint8_t kept[65536];
	size_t kept_length; /* a record that will come later */
} world;

static void world_start(struct world_node *node)
{
	node->agent = agent_new(node->name, node->boot, 1 + random_below(1ULL << 60));
	if (!world.sealed)
		return;
	batch_free(node->agent.batch);
	assert_int_equal(seal_node_key(secret, sizeof(secret), node->name, world.key), 0);
	node->agent.batch = batch_new(
		&(struct batch_options){.events_max = 4096, .bytes_max = 786432, .key = world.key});
}

static uint32_t world_slot(const struct world_node *node, uint32_t socket)
{
	return (socket + node->shift) % WORLD_SLOTS;
}

static void world_restart(struct world_node *node, bool rebooted)
{
	agent_free(&node->agent);
	node->boot += rebooted;
	node->shift = (uint32_t)random_below(WORLD_SLOTS);
	world_start(node);
	for (uint32_t i = 0; i < WORLD_SLOTS; i++) {
		struct batch_definition d = client(i, node->generation[i]);
		node->open[i] &= !rebooted;
		if (!node->open[i])
			continue;
		d.slot = world_slot(node, i);
		d.flags = BATCH_EXISTED;
		d.total.tx_bytes = node->total[i];
		define(&node->agent, d);
	}
}

static void world_open(struct world_node *node, uint32_t slot)
{
	node->open[slot] = true;
	node->generation[slot]++;
	node->total[slot] = 0;
	struct batch_definition d = client(slot, node->generation[slot]);
	d.slot = world_slot(node, slot);
	define(&node->agent, d);
}

static void world_key_frame(struct world_node *node, uint32_t slot)
{
	struct batch_definition d = client(slot, node->generation[slot]);
	d.slot = world_slot(node, slot);
	d.flags = BATCH_AGAIN;
	d.total.tx_bytes = node->total[slot];
	define(&node->agent, d);
}

static void world_end(struct world_node *node, uint32_t slot)
{
	end(&node->agent, world_slot(node, slot), 1 + (uint32_t)random_below(8), node->total[slot]);
	node->open[slot] = false;
	node->ended[slot] = true;
}

static void world_event(struct world_node *node)
{
	uint32_t slot = (uint32_t)random_below(WORLD_SLOTS);
	uint64_t real_ns = now_ns, tx_bytes = random_below(1000);
	now_ns = (uint64_t)((int64_t)now_ns + node->skew_ns) - random_below(900 * NS_PER_MS);
	if (node->ended[slot]) {
		/* waits */
	} else if (!node->open[slot]) {
		world_open(node, slot);
	} else if (random_below(8) == 0) {
		world_end(node, slot);
	} else {
		node->total[slot] += tx_bytes;
		world.tx_bytes += tx_bytes;
		update(&node->agent, world_slot(node, slot), tx_bytes);
	}
	now_ns = real_ns;
}

static void world_damage(const uint8_t *bytes, size_t length)
{
	uint8_t *broken = memory_zeroed(length, 1);
	memcpy(broken, bytes, length);
	broken[random_below(length)] ^= (uint8_t)(1 + random_below(255));
	push_bytes(broken, length);
	free(broken);
}

static void world_deliver(struct world_node *node)
{
	struct batch_bytes sealed = batch_seal(node->agent.batch, &node->agent.sender, 1,
					       (uint64_t)((int64_t)now_ns + node->skew_ns));
	uint64_t fate = random_below(20);
	memset(node->ended, 0, sizeof(node->ended));
	if (fate == 0)
		return; /* lost */
	if (fate == 1 && sealed.length < sizeof(world.kept) && !world.kept_length) {
		memcpy(world.kept, sealed.bytes, sealed.length);
		world.kept_length = sealed.length;
		return;
	}
	if (fate == 2) {
		world_damage(sealed.bytes, sealed.length);
		return;
	}
	push_bytes(sealed.bytes, sealed.length);
	if (fate == 3)
		push_bytes(sealed.bytes, sealed.length);
}

static void world_step(struct world_node *node)
{
	for (uint64_t events = random_below(30); events > 0; events--)
		world_event(node);
	world_deliver(node);
	for (uint32_t i = 0; i < WORLD_SLOTS; i++)
		if (node->open[i] && random_below(20) == 0)
			world_key_frame(node, i);
	world_deliver(node);
	if (random_below(10) == 0 && world.kept_length) {
		push_bytes(world.kept, world.kept_length);
		world.kept_length = 0;
	}
	if (random_below(150) == 0)
		world_restart(node, random_below(2));
}

static void world_begin(uint64_t run)
{
	struct mirror_options options = small_options();
	mirror_free(mirror);
	memset(&world, 0, sizeof(world));
	world.sealed = run % 2;
	options.halves_max = run % 3 ? 256 : 40;
	options.keep_ns = 5 * NS_PER_S;
	options.amendments_max = run % 2 ? 1024 : 16;
	struct keys *keys = keys_new();
	if (world.sealed)
		assert_int_equal(keys_add(keys, "", secret, sizeof(secret)), 0);
	options.keys = keys;
	begin(&options);
	keys_free(keys);
	labelling = (int)(run % 3);
	random_seed = run * 0x9e3779b97f4a7c15ULL;
	for (int i = 0; i < WORLD_NODES; i++) {
		struct world_node *node = &world.nodes[i];
		snprintf(node->name, sizeof(node->name), "n%d", i);
		node->skew_ns = (int64_t)random_below(10 * NS_PER_S) - (int64_t)(5 * NS_PER_S);
		node->boot = 1;
		world_start(node);
	}
}

static void world_check(uint64_t run, int step)
{
	struct mirror_stats s = mirror_stats(mirror);
	if (s.events !=
		    s.aggregated + s.pending + s.late + s.duplicate + s.quarantined + s.refused ||
	    s.issued != s.events - s.duplicate - s.quarantined + s.lost || s.lost > 1ULL << 62 ||
	    s.halves > 256)
		fail_msg("seed %llu, step %d: not accounted for", (unsigned long long)run, step);
}

/* Loss, duplicates, disorder, damage, skew and restarts: whatever comes, every event is accounted
 * for, no byte is counted that was not sent, and each half ends at most once. */
static void every_event_is_accounted_for(void **state)
{
	(void)state;
	uint64_t deltas = 0;
	for (uint64_t run = 1; run <= 60; run++) {
		world_begin(run);
		for (int step = 0; step < 400; step++) {
			world_step(&world.nodes[random_below(WORLD_NODES)]);
			now_ns += random_below(100 * NS_PER_MS);
			world_check(run, step);
		}
		assert_true(got.deltas_count < 65536);
		if (world.sealed && sum_tx(0, 0) > world.tx_bytes)
			fail_msg("seed %llu: %llu bytes counted, %llu sent",
				 (unsigned long long)run, (unsigned long long)sum_tx(0, 0),
				 (unsigned long long)world.tx_bytes);
		if (got.closes_count > got.opens_count)
			fail_msg("seed %llu: more ends than openings", (unsigned long long)run);
		deltas += got.deltas_count;
		for (int i = 0; i < WORLD_NODES; i++)
			agent_free(&world.nodes[i].agent);
	}
	assert_in_range(deltas, 10000, UINT64_MAX);
}

/* ---- any order ---- */

enum { ORDER_NODES = 3, ORDER_SLOTS = 12, ORDER_BATCHES = 60, ORDER_RECORDS = 512 };

struct order_record {
	uint8_t bytes[4096];
	size_t length;
	uint64_t sent_ns, append_ns;
};

static struct {
	struct order_record records[ORDER_RECORDS];
	size_t count;
	uint64_t tx_bytes;
} order;

struct order_node {
	struct agent agent;
	bool open[ORDER_SLOTS], ended[ORDER_SLOTS];
	uint32_t generation[ORDER_SLOTS];
	uint64_t total[ORDER_SLOTS];
};

static void order_slot(struct order_node *node, uint32_t slot)
{
	uint64_t fate = random_below(10), tx_bytes = random_below(1000);
	struct batch_definition d = client(slot, node->generation[slot]);
	if (!node->open[slot] && !node->ended[slot]) {
		node->open[slot] = true;
		node->total[slot] = 0;
		d.generation = ++node->generation[slot];
		d.role = slot % 2 ? BATCH_ROLE_CLIENT : BATCH_ROLE_SERVER;
		d.pid = 10 + slot % 3;
		define(&node->agent, d);
	} else if (node->open[slot] && fate < 6) {
		node->total[slot] += tx_bytes;
		order.tx_bytes += tx_bytes;
		update(&node->agent, slot, tx_bytes);
	} else if (node->open[slot] && fate == 6) {
		d.flags = BATCH_AGAIN;
		d.total.tx_bytes = node->total[slot];
		d.role = slot % 2 ? BATCH_ROLE_CLIENT : BATCH_ROLE_SERVER;
		d.pid = 10 + slot % 3;
		define(&node->agent, d);
		node->ended[slot] = true; /* no update after its counters */
	} else if (node->open[slot] && fate == 7) {
		end(&node->agent, slot, 1 + (uint32_t)random_below(8), node->total[slot]);
		node->open[slot] = false;
		node->ended[slot] = true;
	}
}

static void order_batch(struct order_node *node)
{
	struct batch_nat nat = vip_nat(random_below(2));
	memset(node->ended, 0, sizeof(node->ended));
	for (uint32_t i = 0; i < 6; i++) {
		now_ns += 10 * NS_PER_MS;
		order_slot(node, i * 2 + (uint32_t)random_below(2));
	}
	if (random_below(4) == 0)
		assert_true(batch_nat(node->agent.batch, &nat));
	if (random_below(4) == 0)
		assert_true(batch_process(node->agent.batch,
					  &(struct batch_process){.pid = 10,
								  .comm = "x",
								  .started_ns = random_below(3),
								  .time_ns = now_ns}));
	struct batch_bytes sealed = batch_seal(node->agent.batch, &node->agent.sender, 1, now_ns);
	struct order_record *record = &order.records[order.count++];
	assert_true(sealed.length <= sizeof(record->bytes));
	memcpy(record->bytes, sealed.bytes, sealed.length);
	record->length = sealed.length;
	record->sent_ns = now_ns;
}

/* Batches of some nodes, 60 ms each, of which some get lost. */
static void order_world(uint64_t run, bool lossy)
{
	struct order_node nodes[ORDER_NODES] = {0};
	random_seed = run * 0x9e3779b97f4a7c15ULL;
	order.count = 0;
	order.tx_bytes = 0;
	now_ns = start_ns;
	for (int i = 0; i < ORDER_NODES; i++) {
		const char *names[ORDER_NODES] = {"b", "c", "a"};
		nodes[i].agent = agent_new(names[i], 1, 1);
	}
	for (int batch = 0; batch < ORDER_BATCHES; batch++)
		for (int i = 0; i < ORDER_NODES; i++) {
			now_ns = start_ns + (uint64_t)batch * 60 * NS_PER_MS;
			order_batch(&nodes[i]);
			if (lossy && batch && random_below(10) == 0)
				order.count--;
		}
	for (int i = 0; i < ORDER_NODES; i++)
		agent_free(&nodes[i].agent);
}

static int compare_appends(const void *a, const void *b)
{
	const struct order_record *first = a, *second = b;
	return first->append_ns < second->append_ns ? -1 : first->append_ns > second->append_ns;
}

/* Each record comes up to delay_ms after it was sent; the nodes' first ones come at once, so that
 * their clocks are known. */
static uint64_t order_digest(uint64_t run, uint64_t delay_ms)
{
	struct mirror_options options = small_options();
	mirror_free(mirror);
	begin(&options);
	labelling = run % 3 ? LABEL_FINAL : LABEL_PROVISIONAL;
	random_seed = run + delay_ms + 1;
	for (size_t i = 0; i < order.count; i++) {
		struct order_record *record = &order.records[i];
		record->append_ns = record->sent_ns + i;
		if (i >= ORDER_NODES)
			record->append_ns += random_below(delay_ms * NS_PER_MS + 1);
	}
	qsort(order.records, order.count, sizeof(order.records[0]), compare_appends);
	for (size_t i = 0; i < order.count; i++) {
		now_ns = order.records[i].append_ns;
		push_bytes(order.records[i].bytes, order.records[i].length);
	}
	struct agent ticker = agent_new("t", 1, 1);
	now_ns = start_ns + 30 * NS_PER_S;
	for (int i = 0; i < 4; i++, now_ns += NS_PER_S)
		agent_send(&ticker);
	agent_free(&ticker);
	assert_ledger(mirror);
	assert_int_equal(mirror_stats(mirror).late, 0);
	return got.digest;
}

/* The order in which records come within the lateness does not show: not in the buckets, not in the
 * deltas, not in what is counted as lost. And bytes in are bytes out. */
static void disorder_within_lateness_leaves_no_trace(void **state)
{
	(void)state;
	for (uint64_t run = 1; run <= 60; run++) {
		bool lossy = run % 2;
		order_world(run, lossy);
		uint64_t expected = order_digest(run, 0);
		struct mirror_stats before = mirror_stats(mirror);
		uint64_t sum = sum_tx(0, 0);
		if (!lossy && (sum != order.tx_bytes || before.refused))
			fail_msg("seed %llu: %llu bytes in, %llu out", (unsigned long long)run,
				 (unsigned long long)order.tx_bytes, (unsigned long long)sum);
		uint64_t digest_now = order_digest(run, 400);
		struct mirror_stats after = mirror_stats(mirror);
		if (digest_now != expected || before.lost != after.lost ||
		    before.refused != after.refused)
			fail_msg("seed %llu: the order shows", (unsigned long long)run);
		assert_true(got.deltas_count > 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
		TEST(a_node_ahead_of_the_log_is_not_read_for_a_minute),
		TEST(a_flood_of_rubbish_leaves_a_hundred_letters_a_second),
		TEST(a_connection_opens_moves_bytes_and_ends),
		TEST(each_join_task_gets_one_bucket_a_pane),
		TEST(first_touches_are_told_per_window),
		TEST(a_failed_attempt_never_opens),
		TEST(the_past_of_an_old_socket_does_not_count),
		TEST(a_key_frame_after_a_gap_recovers_what_was_lost),
		TEST(a_connection_whose_definition_was_lost_is_recovered_whole),
		TEST(a_counter_that_goes_back_gives_no_negative_delta),
		TEST(a_slot_given_away_without_a_close_ends_as_vanished),
		TEST(a_batch_that_comes_twice_counts_once),
		TEST(what_is_missing_at_the_start_of_a_node_is_lost),
		TEST(what_came_before_the_log_was_read_is_not_lost),
		TEST(what_a_forgotten_node_told_before_is_not_lost),
		TEST(a_batch_that_comes_late_takes_its_loss_back),
		TEST(a_socket_goes_on_under_its_nodes_next_agent),
		TEST(a_socket_that_no_later_agent_tells_of_ends_after_50_s),
		TEST(a_key_frame_adopts_what_a_lost_definition_did_not),
		TEST(a_port_that_was_used_again_is_no_socket_of_before),
		TEST(sockets_that_were_seen_alike_are_told_apart_by_their_owners),
		TEST(another_boot_ends_what_waited_for_its_next_agent),
		TEST(a_socket_may_open_go_on_and_end_within_a_pane),
		TEST(what_is_provisional_before_a_restart_is_amended_after_it),
		TEST(sockets_of_many_pages_go_on_in_any_order),
		TEST(an_agent_that_keeps_starting_keeps_its_sockets),
		TEST(a_silent_node_is_gone_after_two_minutes),
		TEST(a_node_is_mute_until_what_it_tells_is_up_to_date),
		TEST(a_node_that_is_forgotten_is_told_of),
		TEST(a_wrong_clock_is_corrected_from_the_log),
		TEST(times_of_the_future_are_clamped),
		TEST(a_pane_may_lose_more_events_than_can_be_counted),
		TEST(an_event_of_a_closed_pane_is_late),
		TEST(a_clock_that_is_set_moves_no_event),
		TEST(a_suspended_machine_has_the_same_clock_afterwards),
		TEST(a_boottime_that_stands_still_sets_no_clock),
		TEST(the_clock_steps_at_most_ten_seconds_a_record),
		TEST(the_workload_is_the_best_name_known),
		TEST(late_metadata_announces_the_half_again),
		TEST(of_a_pod_without_a_cluster_nothing_is_waited_for),
		TEST(a_pods_record_names_its_halves_the_ended_too),
		TEST(a_pods_record_is_waited_for_for_two_minutes),
		TEST(a_boot_that_is_over_keeps_its_names),
		TEST(a_new_boot_does_not_rename_where_the_former_served),
		TEST(a_client_is_keyed_by_where_its_node_sends_it),
		TEST(a_mapping_of_a_later_batch_of_the_pane_is_in_the_key),
		TEST(a_mapping_after_the_pane_leaves_the_half_where_it_is),
		TEST(a_mapping_that_ended_is_not_for_new_connections),
		TEST(a_mapping_is_of_the_connections_that_live_when_it_is_told),
		TEST(a_circle_of_mappings_ends),
		TEST(loopback_is_a_network_of_its_own_on_each_node),
		TEST(a_delta_waits_for_its_label),
		TEST(a_changed_label_moves_each_windows_sum),
		TEST(a_half_without_a_final_label_leaves_after_its_time),
		TEST(contributions_past_the_bound_drop_the_oldest),
		TEST(a_slot_is_free_while_its_last_half_waits_for_its_label),
		TEST(what_a_slots_former_owner_did_is_not_the_new_ones),
		TEST(a_lookup_is_not_of_the_socket_that_had_the_slot_before_its_batch),
		TEST(a_late_lookup_is_not_of_the_socket_that_had_the_slot_before_its_batch),
		TEST(a_lookup_is_of_the_socket_that_a_key_frame_tells_again_later),
		TEST(a_name_goes_along_with_its_opening),
		TEST(a_later_name_is_told_by_the_number_of_its_label),
		TEST(who_has_met_the_far_end_needs_no_name),
		TEST(a_name_waits_for_the_label_of_its_half),
		TEST(names_that_wait_have_a_bound),
		TEST(a_name_is_not_of_the_socket_that_had_the_slot_before_its_batch),
		TEST(counters_are_healed_across_their_edges),
		TEST(great_updates_and_batches_over_panes_count_whole),
		TEST(a_key_frame_of_a_joined_half_is_silent_until_its_owner_changes),
		TEST(a_close_waits_for_the_label_that_says_where_it_goes),
		TEST(a_server_is_told_once_and_again_each_minute),
		TEST(a_server_that_ended_keeps_the_name_it_was_told_under),
		TEST(events_past_the_bound_are_refused_until_a_pane_closes),
		TEST(the_oldest_that_waits_for_its_label_makes_room),
		TEST(full_tables_refuse_and_count),
		TEST(an_unreadable_record_is_a_dead_letter),
		TEST(a_record_that_is_passed_over_moves_the_clock_and_is_told_and_no_more),
		TEST(a_record_without_a_time_does_not_move_the_clock),
		TEST(objects_not_announced_again_are_forgotten),
		TEST(nodes_are_told_by_name),
		TEST(a_new_boot_begins_where_the_former_ended),
		TEST(a_node_that_was_forgotten_goes_on_with_its_numbers),
		TEST(what_comes_of_a_former_start_is_counted_once),
		TEST(what_was_dropped_before_the_log_was_read_is_not_counted),
		TEST(a_batch_that_comes_late_is_issued_once),
		TEST(every_event_is_accounted_for),
		TEST(disorder_within_lateness_leaves_no_trace),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
