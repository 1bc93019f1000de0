/* Kernel records into the real recorder and the real batch builder; the sealed bytes are read back
 * with protobuf-c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/recorder.h"
#include "base/clock.h"
#include "base/delta.h"
#include "base/hash.h"
#include "base/memory.h"
#include "millrace/v1/events.pb-c.h"

enum { BATCHES_MAX = 4096, TICKS = 20 };

struct world {
	struct batch *batch;
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
	world->cgroups = cgroups_new(
		&(struct cgroups_options){.cgroups_max = 64, .docker_root = "/nowhere"});
	world->sender.node = "n1";
	world->recorder = recorder_new(&(struct recorder_options){
		.batch = world->batch,
		.cgroups = world->cgroups,
		.sockets_max = sockets_max,
		.processes_max = 64,
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

static void push_task(struct world *world, uint16_t kind, uint32_t pid, uint32_t parent,
		      const char *path)
{
	struct mr_exec exec = {
		.task = {.head = {.kind = kind, .pid = pid, .time_ns = world->now_ns},
			 .started_ns = pid * 1000,
			 .parent = parent,
			 .comm = "worker"},
		.arguments_length = 9,
		.arguments = "web\0-p\08\0",
	};
	snprintf(exec.path, sizeof(exec.path), "%s", path);
	recorder_push(world->recorder, &exec.task.head);
}

static void a_fork_is_told_when_a_socket_names_it_with_its_parents_program(void **state)
{
	(void)state;
	struct world *world = begin(16, 1000);
	push_task(world, MR_EXEC, 6, 1, "/usr/bin/web");
	push_task(world, MR_FORK, 7, 6, "");
	push_task(world, MR_FORK, 8, 6, "");
	push_open(world, 5, MR_OPEN, 0);
	struct mr_exit gone = {.head = {.kind = MR_EXIT, .pid = 8, .time_ns = world->now_ns},
			       .started_ns = 8000};
	recorder_push(world->recorder, &gone.head);
	gone = (struct mr_exit){.head = {.kind = MR_EXIT, .pid = 7, .time_ns = world->now_ns},
				.started_ns = 7000,
				.code = 3 << 8};
	recorder_push(world->recorder, &gone.head);
	recorder_seal(world->recorder);
	const Millrace__V1__Batch *batch = world->sealed[0];
	assert_int_equal(batch->processes->n_pid_change, 2);
	assert_int_equal(batch->processes->pid_change[0] + batch->processes->pid_change[1], 7);
	assert_string_equal(batch->strings[batch->processes->exe[1]], "/usr/bin/web");
	assert_string_equal(batch->strings[batch->processes->cmdline[1]], "web -p 8");
	assert_int_equal(batch->exits->n_pid_change, 1);
	assert_int_equal(batch->exits->status[0], 3);
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
		cmocka_unit_test(a_connection_is_defined_updated_by_differences_and_closed),
		cmocka_unit_test(a_failed_connect_is_a_definition_and_a_close_in_one),
		cmocka_unit_test(a_better_owner_is_told_at_the_next_batchs_start),
		cmocka_unit_test(every_socket_is_told_again_within_a_key_frame_spread_evenly),
		cmocka_unit_test(what_comes_after_a_key_frame_is_told_with_no_earlier_time),
		cmocka_unit_test(an_idle_agent_says_once_a_second_that_it_lives),
		cmocka_unit_test(sockets_that_miss_a_roll_call_have_vanished),
		cmocka_unit_test(a_fork_is_told_when_a_socket_names_it_with_its_parents_program),
		cmocka_unit_test(batches_say_what_the_kernel_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
