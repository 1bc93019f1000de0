/* Kernel records into the real recorder and the real batch builder; the sealed bytes are read back
 * with protobuf-c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/processes.h"
#include "agent/recorder.h"
#include "base/clock.h"
#include "base/delta.h"
#include "base/hash.h"
#include "base/memory.h"
#include "millrace/v1/events.pb-c.h"

enum { BATCHES_MAX = 4096, TICKS = 20, TEXT_BYTES = 64 << 10, CGROUPS_MAX = 64 };

struct world {
	struct batch *batch;
	struct containers *containers;
	struct cgroups *cgroups;
	struct batch_sender sender;
	struct recorder *recorder;
	uint64_t now_ns;
	uint64_t behind_ns; /* the kernel's stamps of sockets that moved */
	Millrace__V1__Batch *sealed[BATCHES_MAX];
	size_t count;
};

static void on_sealed(void *context, const struct batch_bytes *bytes)
{
	struct world *world = context;
	assert_true(world->count < BATCHES_MAX);
	world->sealed[world->count] =
		millrace__v1__batch__unpack(NULL, bytes->length, bytes->bytes);
	assert_non_null(world->sealed[world->count++]);
}

static void at(struct world *world, uint64_t now_ns)
{
	world->now_ns = now_ns;
	recorder_clock(world->recorder, now_ns, 1700000000 * NS_PER_S + now_ns);
}

static struct world *begin(uint32_t sockets_max, uint32_t events_max)
{
	struct world *world = memory_zeroed(1, sizeof(*world));
	world->batch = batch_new(
		&(struct batch_options){.events_max = events_max, .bytes_max = 768 << 10});
	world->containers = containers_new(CGROUPS_MAX);
	world->cgroups = cgroups_new(&(struct cgroups_options){.cgroups_max = CGROUPS_MAX,
							       .containers = world->containers});
	world->sender.node = "n1";
	world->recorder = recorder_new(&(struct recorder_options){
		.batch = world->batch,
		.cgroups = world->cgroups,
		.containers = world->containers,
		.sockets_max = sockets_max,
		.processes_max = 64,
		.process_text_bytes = TEXT_BYTES,
		.tick_ns = 100 * NS_PER_MS,
		.key_frame_ns = TICKS * 100 * NS_PER_MS,
		.sender = &world->sender,
		.sealed = on_sealed,
		.context = world,
	});
	at(world, NS_PER_S);
	return world;
}

static void end(struct world *world)
{
	for (size_t i = 0; i < world->count; i++)
		millrace__v1__batch__free_unpacked(world->sealed[i], NULL);
	recorder_free(world->recorder);
	batch_free(world->batch);
	cgroups_free(world->cgroups);
	containers_free(world->containers);
	free(world);
}

static void push_open(struct world *world, uint64_t cookie, uint16_t kind, uint32_t reason)
{
	struct mr_open open = {
		.head = {.kind = kind, .pid = 7, .time_ns = world->now_ns},
		.cookie = cookie,
		.opened_ns = world->now_ns - 2000,
		.connect_ns = 2000,
		.local = {[10] = 0xff, 0xff, 10, 0, 0, 1},
		.remote = {[10] = 0xff, 0xff, 10, 0, 0, 2},
		.local_port = (uint16_t)(cookie & 0x7fff),
		.remote_port = 80,
		.role = MR_ROLE_CLIENT,
		.counters = {.tx_segments = 2, .rx_segments = 1, .reason = reason},
	};
	recorder_push(world->recorder, &open.head);
}

static void push_moved(struct world *world, uint16_t kind, uint64_t cookie, uint64_t bytes)
{
	struct mr_moved moved = {
		.head = {.kind = kind, .pid = 7, .time_ns = world->now_ns - world->behind_ns},
		.cookie = cookie,
		.counters = {.tx_bytes = bytes,
			     .rx_bytes = 3 * bytes,
			     .tx_segments = 3,
			     .reason = CLOSE_NORMAL},
	};
	recorder_push(world->recorder, &moved.head);
}

static void push_listen(struct world *world, uint64_t cookie, uint16_t flags, uint32_t backlog)
{
	struct mr_listen listen = {
		.head = {.kind = MR_LISTEN, .flags = flags, .pid = 7, .time_ns = world->now_ns},
		.cookie = cookie,
		.address = {[10] = 0xff, 0xff},
		.netns = 4026531840,
		.port = 8080,
		.backlog = backlog,
		.backlog_max = 1,
		.drops = 2 * backlog,
	};
	recorder_push(world->recorder, &listen.head);
}

static void a_socket_that_was_disconnected_ends_with_what_was_known_of_it(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_open(world, 5, MR_OPEN, 0);
	push_moved(world, MR_UPDATE, 5, 100);
	struct mr_moved close = {
		.head = {.kind = MR_CLOSE, .pid = 7, .time_ns = world->now_ns},
		.cookie = 5,
		.counters = {.reason = CLOSE_RESET},
	};
	recorder_push(world->recorder, &close.head);
	recorder_seal(world->recorder);
	const Millrace__V1__Closes *told = world->sealed[0]->closes;
	assert_int_equal(told->n_slot, 1);
	assert_int_equal(told->tx_bytes[0], 100);
	assert_int_equal(told->rx_bytes[0], 300);
	assert_int_equal(told->tx_segments[0], 3);
	assert_int_equal(told->reason[0], CLOSE_RESET);
	end(world);
}

/* A ClientHello of TLS 1.2 without ciphers that asks for this name of 9 bytes. */
static void push_hello(struct world *world, uint64_t cookie, const char *name, size_t cut)
{
	static const uint8_t head[] = {22, 3, 1, 0, 62, 1, 0, 0, 58, 3, 3};
	static const uint8_t rest[] = {0, 0, 0, 0, 0, 18, 0, 0, 0, 14, 0, 12, 0, 0, 9};
	enum { REST = sizeof(head) + 32, NAME = REST + sizeof(rest), WHOLE = NAME + 9 };
	struct mr_message *hello = memory_zeroed(1, sizeof(*hello) + WHOLE);
	hello->head = (struct mr_head){.kind = MR_HELLO, .time_ns = world->now_ns};
	hello->cookie = cookie;
	hello->length = (uint16_t)(WHOLE - cut);
	memcpy(hello->message, head, sizeof(head));
	memcpy(hello->message + REST, rest, sizeof(rest));
	memcpy(hello->message + NAME, name, 9);
	recorder_push(world->recorder, &hello->head);
	free(hello);
}

static void what_a_handshake_asks_for_is_told_of_its_socket(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_open(world, 5, MR_OPEN, 0);
	push_hello(world, 5, "A.example", 0);
	push_hello(world, 5, "e.example", 0);
	push_hello(world, 6, "b.example", 0);
	push_hello(world, 5, "c example", 0);
	push_hello(world, 5, "d.example", 1);
	recorder_seal(world->recorder);
	const Millrace__V1__Sni *told = world->sealed[0]->sni;
	assert_int_equal(told->n_slot, 1);
	assert_int_equal(told->slot[0], world->sealed[0]->definitions->slot[0]);
	assert_string_equal(world->sealed[0]->strings[told->name[0]], "a.example");
	struct recorder_stats stats = recorder_stats(world->recorder);
	assert_int_equal(stats.sni, 1);
	assert_int_equal(stats.sni_unplaced, 1);
	assert_int_equal(stats.sni_repeated, 1);
	assert_int_equal(stats.sni_other, 1);
	assert_int_equal(stats.sni_cut, 1);
	assert_int_equal(stats.sni_malformed, 0);
	end(world);
}

static void a_listener_is_told_when_it_begins_moves_and_ends(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_listen(world, 9, 0, 0);
	push_listen(world, 9, 0, 2);
	push_listen(world, 9, MR_ENDED, 0);
	push_listen(world, 9, 0, 0); /* it listens anew */
	recorder_seal(world->recorder);
	const Millrace__V1__Listeners *told = world->sealed[0]->listeners;
	assert_int_equal(told->n_cookie, 4);
	const uint32_t flags[] = {0, BATCH_LISTENER_AGAIN,
				  BATCH_LISTENER_AGAIN | BATCH_LISTENER_ENDED, 0};
	assert_memory_equal(told->flags, flags, sizeof(flags));
	assert_int_equal(told->backlog[1], 2);
	assert_int_equal(told->drops[1], 4);
	assert_int_equal(told->port[0], 8080);
	assert_int_equal(told->pid[0], 7);
	assert_int_equal(recorder_stats(world->recorder).listeners, 1);
	end(world);
}

static void a_listener_is_told_again_in_each_cycle_until_a_roll_call_misses_it(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_listen(world, 9, 0, 0);
	recorder_tick(world->recorder);
	size_t again = 0;
	for (int i = 0; i < TICKS; i++) {
		at(world, world->now_ns + 100 * NS_PER_MS);
		recorder_tick(world->recorder);
	}
	recorder_seal(world->recorder);
	for (size_t i = 1; i < world->count; i++)
		again += world->sealed[i]->listeners ? world->sealed[i]->listeners->n_cookie : 0;
	assert_true(again >= 1 && again <= 2);
	size_t before = world->count;
	recorder_roll_call(world->recorder);
	recorder_roll_called(world->recorder, world->now_ns);
	recorder_seal(world->recorder);
	assert_int_equal(world->sealed[before]->listeners->flags[0],
			 BATCH_LISTENER_AGAIN | BATCH_LISTENER_ENDED);
	assert_int_equal(recorder_stats(world->recorder).listeners, 0);
	end(world);
}

static void a_shut_window_is_told_though_nothing_moved_and_resets_with_the_end(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_open(world, 5, MR_OPEN, 0);
	struct mr_moved moved = {
		.head = {.kind = MR_UPDATE, .time_ns = world->now_ns},
		.cookie = 5,
		.counters = {.tx_segments = 2, .rx_segments = 1},
	};
	recorder_push(world->recorder, &moved.head); /* nothing to tell */
	recorder_seal(world->recorder);
	assert_null(world->sealed[0]->updates);
	moved.head.flags = MR_ZERO_WINDOW;
	recorder_push(world->recorder, &moved.head);
	moved.head.kind = MR_CLOSE;
	moved.head.flags = MR_RESET_RECEIVED | MR_RESET_SENT | MR_ZERO_WINDOW;
	recorder_push(world->recorder, &moved.head);
	recorder_seal(world->recorder);
	assert_int_equal(world->sealed[1]->updates->n_zero_window_index, 1);
	assert_int_equal(world->sealed[1]->closes->flags[0],
			 BATCH_RESET_RECEIVED | BATCH_RESET_SENT | BATCH_ZERO_WINDOW);
	end(world);
}

static void a_connection_is_defined_updated_by_differences_and_closed(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_open(world, 5, MR_OPEN, 0);
	push_moved(world, MR_UPDATE, 5, 100);
	push_moved(world, MR_UPDATE, 5, 150);
	push_moved(world, MR_CLOSE, 5, 175);
	recorder_seal(world->recorder);
	const Millrace__V1__Batch *batch = world->sealed[0];
	assert_int_equal(batch->definitions->n_slot, 1);
	assert_int_equal(batch->definitions->connect_us[0], 2);
	assert_int_equal(batch->definitions->n_tx_bytes, 0); /* zero */
	assert_int_equal(batch->updates->n_slot, 1);
	assert_int_equal(batch->updates->tx_bytes[0], 150);
	assert_int_equal(batch->updates->rx_bytes[0], 450);
	assert_int_equal(batch->closes->tx_bytes[0], 175);
	assert_int_equal(batch->closes->reason[0], MILLRACE__V1__CLOSE_REASON__CLOSE_REASON_NORMAL);
	end(world);
}

static void a_dropped_packet_names_its_socket_while_that_lives(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	const struct batch_drop drop = {.reason = "SOCKET_RCVBUFF",
					.location = "udp_queue",
					.protocol = 6,
					.packets = 3,
					.time_ns = world->now_ns};
	push_open(world, 5, MR_OPEN, 0);
	recorder_drop(world->recorder, &drop, 5);
	recorder_drop(world->recorder, &drop, 6); /* never heard of */
	recorder_drop(world->recorder, &drop, 0);
	push_moved(world, MR_CLOSE, 5, 175);
	recorder_drop(world->recorder, &drop, 5);
	recorder_seal(world->recorder);
	const Millrace__V1__Batch *batch = world->sealed[0];
	assert_int_equal(batch->drops->n_reason, 4);
	assert_int_equal(batch->drops->socket[0], 1 + batch->closes->slot[0]);
	for (size_t i = 1; i < batch->drops->n_socket; i++)
		assert_int_equal(batch->drops->socket[i], 0);
	int64_t later_us = batch->drops->n_dt_us ? batch->drops->dt_us[0] : 0;
	assert_int_equal(batch->base_time_us + (uint64_t)later_us,
			 (1700000000 * NS_PER_S + world->now_ns) / 1000);
	end(world);
}

static void push_cgroup(struct world *world, uint16_t kind, uint64_t id)
{
	struct mr_cgroup cgroup = {
		.head = {.kind = kind, .time_ns = world->now_ns}, .id = id, .path = "/short"};
	recorder_push(world->recorder, &cgroup.head);
}

static void a_cgroup_that_is_gone_is_forgotten_told_or_not(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_cgroup(world, MR_CGROUP, 5);
	push_cgroup(world, MR_CGROUP, 6);
	push_cgroup(world, MR_CGROUP_END, 6);
	for (int i = 0; i < 4 * TICKS; i++) {
		at(world, world->now_ns + 100 * NS_PER_MS);
		recorder_tick(world->recorder);
	}
	assert_int_equal(cgroups_stats(world->cgroups).live, 1);
	assert_non_null(cgroups_get(world->cgroups, 5, 0, world->now_ns));
	end(world);
}

static void push_peer(struct world *world, uint64_t number, uint64_t socket, uint16_t remote_port)
{
	struct mr_open open = {
		.head = {.kind = MR_OPEN, .pid = 7, .time_ns = world->now_ns},
		.cookie = MR_PEER | number,
		.socket = socket,
		.opened_ns = world->now_ns - 2000,
		.local = {[10] = 0xff, 0xff, 10, 0, 0, 1},
		.remote = {[10] = 0xff, 0xff, 10, 0, 0, 2},
		.local_port = 6001,
		.remote_port = remote_port,
		.protocol = 17,
	};
	recorder_push(world->recorder, &open.head);
}

static struct batch_drop datagram(uint64_t time_ns, uint16_t peer_port, bool from_peer)
{
	struct address here = address_v4(0x0a000001), there = address_v4(0x0a000002);
	return (struct batch_drop){
		.reason = "SOCKET_RCVBUFF",
		.location = "udp_queue",
		.protocol = 17,
		.source = from_peer ? there : here,
		.destination = from_peer ? here : there,
		.source_port = from_peer ? peer_port : 6001,
		.destination_port = from_peer ? 6001 : peer_port,
		.packets = 1,
		.time_ns = time_ns,
	};
}

static void a_dropped_datagram_names_the_peer_that_it_came_from_or_went_to(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	const struct {
		uint16_t peer_port;
		bool from_peer;
		uint64_t socket;
	} drops[] = {{80, true, 77},  {81, true, 77}, {80, false, 77},
		     {81, false, 77}, {80, true, 78}, {82, true, 77}};
	push_peer(world, 1, 77, 80);
	push_peer(world, 2, 77, 81);
	for (size_t i = 0; i < sizeof(drops) / sizeof(drops[0]); i++) {
		struct batch_drop drop =
			datagram(world->now_ns, drops[i].peer_port, drops[i].from_peer);
		recorder_drop(world->recorder, &drop, drops[i].socket);
	}
	push_moved(world, MR_CLOSE, MR_PEER | 1, 0);
	struct batch_drop drop = datagram(world->now_ns, 80, true);
	recorder_drop(world->recorder, &drop, 77);
	recorder_seal(world->recorder);
	const Millrace__V1__Batch *batch = world->sealed[0];
	assert_int_equal(batch->definitions->n_slot, 2);
	const uint32_t *slots = batch->definitions->slot;
	const uint32_t expected[] = {
		1 + slots[0], 1 + slots[1], 1 + slots[0], 1 + slots[1], 0, 0, 0};
	assert_int_equal(batch->drops->n_socket, 7);
	assert_memory_equal(batch->drops->socket, expected, sizeof(expected));
	assert_int_equal(batch->definitions->n_connect_us, 0); /* the socket's cookie is no time */
	push_peer(world, 3, 77, 80);			       /* again, in another slot */
	recorder_drop(world->recorder, &drop, 77);
	recorder_seal(world->recorder);
	batch = world->sealed[1];
	assert_int_equal(batch->drops->socket[0], 1 + batch->definitions->slot[0]);
	end(world);
}

static void a_failed_connect_is_a_definition_and_a_close_in_one(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_open(world, 5, MR_FAIL, CLOSE_REFUSED);
	recorder_seal(world->recorder);
	const Millrace__V1__Batch *batch = world->sealed[0];
	assert_int_equal(batch->definitions->n_connect_us, 0); /* zero */
	assert_int_equal(batch->closes->reason[0],
			 MILLRACE__V1__CLOSE_REASON__CLOSE_REASON_REFUSED);
	assert_int_equal(batch->closes->connect_us[0], 2);
	assert_int_equal(recorder_stats(world->recorder).sockets, 0);
	end(world);
}

static void a_better_owner_is_told_at_the_next_batchs_start(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_open(world, 5, MR_OPEN, 0);
	struct mr_owner owner = {.head = {.kind = MR_OWNER, .pid = 99, .time_ns = world->now_ns},
				 .cookie = 5};
	recorder_push(world->recorder, &owner.head);
	push_moved(world, MR_UPDATE, 5, 100);
	recorder_tick(world->recorder);
	recorder_seal(world->recorder);
	assert_int_equal(world->sealed[0]->definitions->n_slot, 1);
	assert_int_equal(world->sealed[0]->definitions->pid[0], 7);
	const Millrace__V1__Definitions *again = world->sealed[1]->definitions;
	assert_int_equal(again->pid[0], 99);
	assert_int_equal(again->tx_bytes[0], 100);
	assert_int_equal(again->flags[0], MILLRACE__V1__DEFINITION_FLAG__DEFINITION_FLAG_AGAIN);
	end(world);
}

static void every_socket_is_told_again_within_a_key_frame_spread_evenly(void **state)
{
	(void)state;
	enum { SOCKETS = 100 };
	struct world *world = begin(128, 1000);
	for (uint64_t cookie = 1; cookie <= SOCKETS; cookie++)
		push_open(world, cookie, MR_OPEN, 0);
	recorder_seal(world->recorder);
	unsigned told[SOCKETS] = {0};
	size_t first = world->count;
	for (int tick = 0; tick < TICKS; tick++) {
		at(world, world->now_ns + 100 * NS_PER_MS);
		recorder_tick(world->recorder);
	}
	recorder_seal(world->recorder);
	for (size_t i = first; i < world->count; i++) {
		const Millrace__V1__Definitions *again = world->sealed[i]->definitions;
		assert_true(!again || again->n_slot <= 2 * SOCKETS / TICKS);
		for (size_t k = 0; again && k < again->n_slot; k++)
			told[again->slot[k]]++;
	}
	for (int i = 0; i < SOCKETS; i++)
		assert_in_range(told[i], 1, 2);
	end(world);
}

static void later(uint64_t time_us, uint64_t *last_us)
{
	assert_true(time_us >= *last_us);
	*last_us = time_us;
}

/* A key frame's counters are those told before it, so what is told after it must not look older: a
 * reader that sorts by time would take the key frame's for a step back. */
static void what_comes_after_a_key_frame_is_told_with_no_earlier_time(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_open(world, 5, MR_OPEN, 0);
	world->behind_ns = NS_PER_MS;
	for (int tick = 0; tick < 2 * TICKS; tick++) {
		at(world, world->now_ns + 100 * NS_PER_MS);
		recorder_tick(world->recorder);
		push_moved(world, MR_UPDATE, 5, 100 + (uint64_t)tick);
	}
	push_moved(world, MR_CLOSE, 5, 200);
	recorder_seal(world->recorder);
	uint64_t last_us = 0, again = 0;
	for (size_t i = 0; i < world->count; i++) {
		const Millrace__V1__Batch *batch = world->sealed[i];
		const Millrace__V1__Definitions *d = batch->definitions;
		const Millrace__V1__Updates *u = batch->updates;
		const Millrace__V1__Closes *c = batch->closes;
		if (d && d->n_slot)
			later(batch->base_time_us + (uint64_t)(d->n_dt_us ? d->dt_us[0] : 0),
			      &last_us);
		if (u && u->n_slot)
			later(batch->base_time_us + (uint64_t)(u->n_dt_us ? u->dt_us[0] : 0),
			      &last_us);
		if (c && c->n_slot)
			later(batch->base_time_us + (uint64_t)(c->n_dt_us ? c->dt_us[0] : 0),
			      &last_us);
		again += d && d->n_flags;
	}
	assert_true(again >= 2);
	end(world);
}

static void an_idle_agent_says_once_a_second_that_it_lives(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	recorder_seal(world->recorder);
	for (int tick = 0; tick < 30; tick++) {
		at(world, world->now_ns + 100 * NS_PER_MS);
		recorder_tick(world->recorder);
	}
	assert_int_equal(world->count, 4);
	assert_int_equal(world->sealed[3]->events, 0);
	end(world);
}

static void sockets_that_miss_a_roll_call_have_vanished(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_open(world, 1, MR_OPEN, 0);
	push_open(world, 2, MR_OPEN, 0);
	at(world, 2 * NS_PER_S);
	recorder_roll_call(world->recorder);
	push_moved(world, MR_UPDATE, 2, 0); /* answers, though it did not move */
	push_open(world, 3, MR_OPEN, 0);
	recorder_roll_called(world->recorder, 2 * NS_PER_S - NS_PER_MS);
	recorder_seal(world->recorder);
	const Millrace__V1__Closes *closes = world->sealed[0]->closes;
	assert_int_equal(closes->n_slot, 1);
	assert_int_equal(closes->slot[0], 0);
	assert_int_equal(closes->reason[0], MILLRACE__V1__CLOSE_REASON__CLOSE_REASON_VANISHED);
	assert_int_equal(recorder_stats(world->recorder).sockets, 2);
	end(world);
}

static void push_fork(struct world *world, uint32_t pid, uint32_t parent)
{
	struct mr_task fork = {.head = {.kind = MR_FORK, .pid = pid, .time_ns = world->now_ns},
			       .started_ns = pid * 1000,
			       .parent = parent,
			       .comm = "worker"};
	recorder_push(world->recorder, &fork.head);
}

/* path: its parts, the file's name first, each ending in NUL. */
static void push_exec(struct world *world, uint32_t pid, const char *path, size_t path_length,
		      const char *arguments, size_t arguments_length)
{
	struct mr_exec *exec = memory_zeroed(1, sizeof(*exec) + path_length + arguments_length);
	exec->task =
		(struct mr_task){.head = {.kind = MR_EXEC, .pid = pid, .time_ns = world->now_ns},
				 .started_ns = pid * 1000,
				 .parent = 1,
				 .uid = 33,
				 .comm = "worker"};
	exec->path_length = (uint32_t)path_length;
	exec->arguments_length = (uint32_t)arguments_length;
	memcpy(exec->text, path, path_length);
	memcpy(exec->text + path_length, arguments, arguments_length);
	recorder_push(world->recorder, &exec->task.head);
	free(exec);
}

static void push_exit(struct world *world, uint32_t pid, uint32_t code)
{
	struct mr_exit end = {.head = {.kind = MR_EXIT, .pid = pid, .time_ns = world->now_ns},
			      .started_ns = pid * 1000,
			      .code = code};
	recorder_push(world->recorder, &end.head);
}

#define WEB_PATH      "web\0bin\0usr"
#define WEB_ARGUMENTS "web\0-p\08"

static void a_fork_is_told_when_a_socket_names_it_with_its_parents_program(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_exec(world, 6, WEB_PATH, sizeof(WEB_PATH), WEB_ARGUMENTS, sizeof(WEB_ARGUMENTS));
	push_fork(world, 7, 6);
	push_open(world, 5, MR_OPEN, 0);
	push_exit(world, 7, 3 << 8);
	recorder_seal(world->recorder);
	const Millrace__V1__Batch *batch = world->sealed[0];
	assert_int_equal(batch->processes->n_pid_change, 2);
	assert_int_equal(batch->processes->pid_change[0] + batch->processes->pid_change[1], 7);
	assert_int_equal(batch->processes->uid[0], 33);
	assert_string_equal(batch->strings[batch->processes->exe[1]], "/usr/bin/web");
	assert_string_equal(batch->strings[batch->processes->cmdline[1]], "web -p 8");
	assert_int_equal(batch->exits->n_pid_change, 1);
	assert_int_equal(batch->exits->status[0], 3);
	end(world);
}

static void a_fork_that_executes_nothing_is_told_when_it_ends_or_is_due(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_exec(world, 6, WEB_PATH, sizeof(WEB_PATH), WEB_ARGUMENTS, sizeof(WEB_ARGUMENTS));
	push_fork(world, 7, 6);
	push_fork(world, 8, 6);
	push_exit(world, 7, 9);
	recorder_seal(world->recorder);
	assert_int_equal(world->sealed[0]->processes->n_pid_change, 2);
	assert_int_equal(world->sealed[0]->exits->signal[0], 9);
	for (int i = 0; i < TICKS; i++)
		recorder_tick(world->recorder);
	recorder_seal(world->recorder);
	bool told = false;
	for (size_t i = 1; i < world->count; i++) {
		const Millrace__V1__Processes *group = world->sealed[i]->processes;
		int32_t pid = 0;
		for (size_t j = 0; group && j < group->n_pid_change; j++) {
			pid += group->pid_change[j];
			told = told || pid == 8;
		}
	}
	assert_true(told);
	end(world);
}

static void command_lines_are_told_whole_and_kept_within_their_bound(void **state)
{
	(void)state;
	enum { MANY = 60 };
	struct world *world = begin(16, 1000);
	char arguments[MR_ARGUMENTS_BYTES];
	memset(arguments, 'a', sizeof(arguments));
	arguments[sizeof(arguments) - 1] = 0;
	for (uint32_t pid = 2; pid < 2 + MANY; pid++)
		push_exec(world, pid, WEB_PATH, sizeof(WEB_PATH), arguments, sizeof(arguments));
	recorder_seal(world->recorder);
	const Millrace__V1__Batch *batch = world->sealed[0];
	assert_int_equal(batch->processes->n_cmdline, MANY);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(strlen(batch->strings[batch->processes->cmdline[i]]), 4096);
	struct recorder_stats stats = recorder_stats(world->recorder);
	uint64_t whole = TEXT_BYTES / 4200;
	assert_true(stats.process_text_bytes <= TEXT_BYTES + MANY * PROCESS_SHORT_BYTES);
	assert_true(stats.process_texts_cut >= MANY - whole - 1 &&
		    stats.process_texts_cut < MANY - whole + 2);
	for (uint32_t pid = 2; pid < 2 + MANY; pid++)
		push_exit(world, pid, 0);
	assert_int_equal(recorder_stats(world->recorder).process_text_bytes, 0);
	end(world);
}

static void arguments_that_could_not_be_read_are_read_from_proc_or_counted(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	struct mr_exec exec = {.task = {.head = {.kind = MR_EXEC,
						 .flags = MR_ARGUMENTS_UNREAD,
						 .time_ns = world->now_ns},
					.started_ns = 1}};
	exec.task.head.pid = (uint32_t)getpid();
	recorder_push(world->recorder, &exec.task.head);
	assert_int_equal(recorder_stats(world->recorder).arguments_unread, 0);
	exec.task.head.pid = INT32_MAX; /* nobody's */
	recorder_push(world->recorder, &exec.task.head);
	assert_int_equal(recorder_stats(world->recorder).arguments_unread, 1);
	recorder_seal(world->recorder);
	const Millrace__V1__Batch *batch = world->sealed[0];
	assert_non_null(
		strstr(batch->strings[batch->processes->cmdline[0]], "test-agent-recorder"));
	end(world);
}

static void who_a_listing_does_not_name_is_gone_without_an_end(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_fork(world, 7, 6);
	push_fork(world, 8, 6);
	recorder_process_call(world->recorder);
	struct mr_task task = {.head = {.kind = MR_TASK, .pid = 8, .time_ns = world->now_ns},
			       .started_ns = 8000};
	recorder_push(world->recorder, &task.head);
	recorder_process_called(world->recorder, NS_PER_S);
	struct recorder_stats stats = recorder_stats(world->recorder);
	assert_int_equal(stats.processes, 1);
	assert_int_equal(stats.processes_vanished, 1);
	end(world);
}

/* Seeded: through small batches and a small table, what the batches say of every socket
 * (definitions are absolute, updates differences since the last event, in the reader's order) is
 * what the kernel said; no slot is two sockets in one batch; every refused socket is counted. */
static void batches_say_what_the_kernel_said(void **state)
{
	(void)state;
	enum { SOCKETS = 40, SLOTS = 24, STEPS = 4000 };
	struct world *world = begin(SLOTS, 13);
	uint64_t seed = 42, sent[SOCKETS] = {0}, closed_sum = 0, opened = 0;
	bool open[SOCKETS] = {0}, known[SOCKETS] = {0};
	for (int step = 0; step < STEPS; step++) {
		seed = hash_mix(seed + 1);
		uint32_t i = (uint32_t)(seed % SOCKETS);
		at(world, world->now_ns + 10 * NS_PER_MS);
		if (!open[i]) {
			uint64_t refused = recorder_stats(world->recorder).sockets_refused;
			sent[i] = 0;
			push_open(world, i + 1, MR_OPEN, 0);
			open[i] = true;
			known[i] = recorder_stats(world->recorder).sockets_refused == refused;
			opened += known[i];
		} else if (seed >> 62) {
			push_moved(world, MR_UPDATE, i + 1, sent[i] += seed >> 50);
		} else {
			push_moved(world, MR_CLOSE, i + 1, sent[i]);
			closed_sum += known[i] ? sent[i] : 0;
			open[i] = false;
		}
		if (step % 10 == 0)
			recorder_tick(world->recorder);
	}
	recorder_seal(world->recorder);

	uint64_t total[SLOTS] = {0}, read_sum = 0, events = 0, defined = 0;
	for (size_t b = 0; b < world->count; b++) {
		const Millrace__V1__Batch *batch = world->sealed[b];
		bool in_batch[SLOTS] = {0};
		assert_int_equal(batch->sequence, b);
		assert_int_equal(batch->first_event, events);
		events += batch->events;
		const Millrace__V1__Definitions *d = batch->definitions;
		for (size_t k = 0; d && k < d->n_slot; k++) {
			/* columns of zeros are left out */
			uint64_t tx_bytes = d->n_tx_bytes ? d->tx_bytes[k] : 0;
			bool again =
				d->n_flags &&
				d->flags[k] & MILLRACE__V1__DEFINITION_FLAG__DEFINITION_FLAG_AGAIN;
			assert_false(in_batch[d->slot[k]]);
			in_batch[d->slot[k]] = true;
			if (again)
				assert_int_equal(tx_bytes, total[d->slot[k]]);
			total[d->slot[k]] = tx_bytes;
			defined += !again;
		}
		const Millrace__V1__Updates *u = batch->updates;
		int32_t slot = 0;
		for (size_t k = 0; u && k < u->n_slot; k++) {
			slot += u->slot[k];
			total[slot] += u->tx_bytes[k];
		}
		const Millrace__V1__Closes *c = batch->closes;
		for (size_t k = 0; c && k < c->n_slot; k++) {
			uint64_t tx_bytes = c->n_tx_bytes ? c->tx_bytes[k] : 0;
			assert_int_equal(tx_bytes, total[c->slot[k]]);
			read_sum += tx_bytes;
		}
	}
	if (read_sum != closed_sum)
		print_error("seed 42\n");
	assert_int_equal(read_sum, closed_sum);
	assert_int_equal(defined, opened);
	assert_true(recorder_stats(world->recorder).sockets_refused > 0);
	end(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_socket_that_was_disconnected_ends_with_what_was_known_of_it),
		cmocka_unit_test(what_a_handshake_asks_for_is_told_of_its_socket),
		cmocka_unit_test(a_listener_is_told_when_it_begins_moves_and_ends),
		cmocka_unit_test(
			a_listener_is_told_again_in_each_cycle_until_a_roll_call_misses_it),
		cmocka_unit_test(
			a_shut_window_is_told_though_nothing_moved_and_resets_with_the_end),
		cmocka_unit_test(a_connection_is_defined_updated_by_differences_and_closed),
		cmocka_unit_test(a_dropped_packet_names_its_socket_while_that_lives),
		cmocka_unit_test(a_cgroup_that_is_gone_is_forgotten_told_or_not),
		cmocka_unit_test(a_failed_connect_is_a_definition_and_a_close_in_one),
		cmocka_unit_test(a_dropped_datagram_names_the_peer_that_it_came_from_or_went_to),
		cmocka_unit_test(a_better_owner_is_told_at_the_next_batchs_start),
		cmocka_unit_test(every_socket_is_told_again_within_a_key_frame_spread_evenly),
		cmocka_unit_test(what_comes_after_a_key_frame_is_told_with_no_earlier_time),
		cmocka_unit_test(an_idle_agent_says_once_a_second_that_it_lives),
		cmocka_unit_test(sockets_that_miss_a_roll_call_have_vanished),
		cmocka_unit_test(a_fork_is_told_when_a_socket_names_it_with_its_parents_program),
		cmocka_unit_test(a_fork_that_executes_nothing_is_told_when_it_ends_or_is_due),
		cmocka_unit_test(command_lines_are_told_whole_and_kept_within_their_bound),
		cmocka_unit_test(arguments_that_could_not_be_read_are_read_from_proc_or_counted),
		cmocka_unit_test(who_a_listing_does_not_name_is_gone_without_an_end),
		cmocka_unit_test(batches_say_what_the_kernel_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
