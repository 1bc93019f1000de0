/* More keys than anyone has room for: each connection comes from an address that was never seen
 * before. Sums stay exact, memory stays within what was configured, and what is kept apart does not
 * depend on the order in which tasks run or on the sizes of their tables. MILLRACE_KEYS says how
 * many (1,000,000). */
#include <malloc.h>
#include <time.h>

#include "tests/conformance/run.h"

enum {
	TASKS = 4,
	CONNECTIONS_A_BATCH = 2500,
	BATCHES_A_SECOND = 10,
	BYTES = 100,
	ROWS_MAX = 4096,
};

static size_t bytes_in_use(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

struct flood {
	uint64_t keys, sent;
	struct run *run;
	size_t half_bytes, most_bytes; /* in use */
};

static void put_connection(struct batch *batch, uint32_t slot, uint32_t key, uint64_t at_ns)
{
	struct endpoint server = place("10.0.0.2:80");

	assert_true(batch_define(batch,
				 &(struct batch_definition){.slot = slot,
							    .generation = key + 1,
							    .protocol = PROTOCOL_TCP,
							    .role = BATCH_ROLE_SERVER,
							    .local = server.address,
							    .remote = address_v4(0x0b000000 + key),
							    .local_port = server.port,
							    .remote_port = 40000,
							    .pid = LOG_PID,
							    .age_ns = 1000,
							    .time_ns = at_ns}));
	assert_true(batch_close(
		batch, &(struct batch_close){.slot = slot,
					     .reason = CLOSE_NORMAL,
					     .total = {.tx_bytes = BYTES, .tx_segments = 1},
					     .time_ns = at_ns + 1000}));
}

/* One node's next batch; without keys left it is a heartbeat. */
static void flood_batch(struct flood *flood, uint32_t node, struct batch *batch, uint64_t tick)
{
	char name[16];
	struct batch_sender sender = {.node = name, .boot_id = {(uint8_t)node}, .epoch = 5};
	uint64_t end_ns = LOG_START_NS + (tick + 1) * MS(1000 / BATCHES_A_SECOND);

	snprintf(name, sizeof(name), "node-%u", node);
	if (tick == 0)
		assert_true(batch_process(batch, &(struct batch_process){.pid = LOG_PID,
									 .started_ns = 1,
									 .comm = "web",
									 .exe = "web",
									 .cmdline = "web",
									 .time_ns = LOG_START_NS}));
	for (uint32_t i = 0; i < CONNECTIONS_A_BATCH && flood->sent < flood->keys; i++)
		put_connection(batch, i, (uint32_t)flood->sent++, end_ns - MS(60));

	struct batch_bytes sealed = batch_seal(batch, &sender, SEC(1000) + end_ns, end_ns);

	run_record(flood->run, node, sealed.bytes, sealed.length, end_ns + MS(5));
}

static struct flood flood_run(uint64_t keys, const struct run_options *options)
{
	struct flood flood = {.keys = keys, .run = run_new(TASKS, options)};
	struct batch *batch = agent_batch();
	uint64_t flush = 0;

	for (uint64_t tick = 0; flush < (uint64_t)LOG_FLUSH_S * BATCHES_A_SECOND; tick++) {
		flush += flood.sent == keys;
		for (uint32_t node = 0; node < TASKS; node++)
			flood_batch(&flood, node, batch, tick);
		run_settle(flood.run);

		size_t bytes = bytes_in_use();

		if (flood.sent < keys / 2)
			flood.half_bytes = bytes;
		if (bytes > flood.most_bytes)
			flood.most_bytes = bytes;
	}
	batch_free(batch);
	run_check_accounts(flood.run);
	return flood;
}

static uint64_t keys_wanted(void)
{
	const char *text = getenv("MILLRACE_KEYS");

	return text ? strtoull(text, NULL, 10) : 1000000;
}

static void expect_exact(const struct flood *flood)
{
	const struct run *run = flood->run;

	assert_int_equal(run->ingest.refused, 0);
	assert_int_equal(run->sums.flows, flood->keys);
	for (int scope = 0; scope < SCOPES; scope++) {
		const int64_t *counters = run->sums.counters[scope];

		assert_int_equal(counters[COUNTER_OPENED], flood->keys);
		assert_int_equal(counters[COUNTER_CLOSED], flood->keys);
		assert_int_equal(counters[COUNTER_RX_BYTES], flood->keys * BYTES);
		assert_int_equal(counters[COUNTER_SERVER_RX_BYTES], flood->keys * BYTES);
	}
}

static void more_keys_than_rows_fold_into_others_and_sums_stay_exact(void **state)
{
	uint64_t keys = keys_wanted();
	struct run_options options = {.halves_max = 65536, .rows_max = ROWS_MAX, .summed = true};
	clock_t began = clock();
	struct flood flood = flood_run(keys, &options);

	(void)state;
	print_message(
		"%llu keys, %llu rows out, %.1f s of CPU; %zu MiB after half of them, %zu MiB at "
		"most\n",
		(unsigned long long)keys, (unsigned long long)flood.run->sums.rows,
		(double)(clock() - began) / CLOCKS_PER_SEC, flood.half_bytes >> 20,
		flood.most_bytes >> 20);
	expect_exact(&flood);
	for (uint32_t i = 0; i < TASKS; i++) {
		assert_true(flood.run->stats[i].aggregate.rows <= ROWS_MAX);
		assert_true(flood.run->stats[i].join.halves <= 65536);
		assert_true(flood.run->stats[i].mirror.halves <= 65536);
	}
	assert_true(flood.most_bytes <= flood.half_bytes + flood.half_bytes / 10);
	run_free(flood.run);
}

static void what_is_folded_does_not_depend_on_the_order_of_tasks_or_the_size_of_tables(void **state)
{
	uint64_t keys = keys_wanted() / 4;
	uint32_t halves_max = 65536;

	/* What a full table refuses depends on its size, of course: these have room for all. */
	while (halves_max < keys / TASKS)
		halves_max *= 2;

	struct flood one = flood_run(keys, &(struct run_options){.halves_max = halves_max,
								 .rows_max = ROWS_MAX,
								 .summed = true});

	(void)state;
	for (uint64_t seed = 1; seed <= 2; seed++) {
		struct flood other =
			flood_run(keys, &(struct run_options){.halves_max = halves_max << seed,
							      .rows_max = ROWS_MAX,
							      .order = seed,
							      .summed = true});

		expect_exact(&other);
		assert_int_equal(one.run->sums.rows, other.run->sums.rows);
		assert_int_equal(one.run->sums.hash, other.run->sums.hash);
		run_free(other.run);
	}
	run_free(one.run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(more_keys_than_rows_fold_into_others_and_sums_stay_exact),
		cmocka_unit_test(
			what_is_folded_does_not_depend_on_the_order_of_tasks_or_the_size_of_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
