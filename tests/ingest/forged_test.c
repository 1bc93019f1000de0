/* Records of somebody who has not the key, by the hundred thousand, and of who has it no
 * more. */
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
#include "tests/support/ledger.h"

enum { FORGED = 100000, RECORD_MAX = 4096, KEPT = 64 };

static const char secret[] = "the deployment's first key", second[] = "the deployment's second key",
		  wrong[] = "a key of somebody else, as long";

static struct mirror *mirror;
static struct batch *batch;
static struct batch_sender sender;
static uint64_t now_ns, letters, seed;
static struct {
	uint8_t bytes[RECORD_MAX];
	size_t length;
} kept[KEPT], forged;

static uint64_t below(uint64_t bound)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (seed >> 33) % bound;
}

static void take_halves(void *context, uint32_t task, const struct half_bucket *bucket)
{
	(void)context, (void)task, (void)bucket;
}

static void take_deltas(void *context, const struct delta *deltas, size_t count)
{
	(void)context, (void)deltas, (void)count;
}

static void take_amendments(void *context, const struct amendment *amendments, size_t count)
{
	(void)context, (void)amendments, (void)count;
}

static char last_detail[256];

static void take_letter(void *context, const struct mirror_record *record,
			enum mirror_reason reason, const char *detail, const char *node)
{
	(void)context, (void)record, (void)reason, (void)node;
	letters++;
	snprintf(last_detail, sizeof(last_detail), "%s", detail);
}

static struct keys *keys_of(const char *first_id, const char *first, const char *other_id,
			    const char *other)
{
	struct keys *keys = keys_new();
	assert_int_equal(keys_add(keys, first_id, first, strlen(first)), 0);
	if (other)
		assert_int_equal(keys_add(keys, other_id, other, strlen(other)), 0);
	return keys;
}

static void begin(struct keys *keys)
{
	mirror = mirror_new(&(struct mirror_options){
		.join_tasks = 1,
		.lateness_ns = 500 * NS_PER_MS,
		.keep_ns = 120 * NS_PER_S,
		.nodes_max = 16,
		.halves_max = 256,
		.nats_max = 64,
		.processes_max = 65536,
		.containers_max = 64,
		.amendments_max = 64,
		.names_max = 1024,
		.instances_max = 64,
		.destinations = 1,
		.record_bytes_max = 1 << 20,
		.keys = keys,
		.sinks = {.halves = take_halves,
			  .deltas = take_deltas,
			  .amendments = take_amendments,
			  .deadletter = take_letter},
	});
	keys_free(keys);
	now_ns = 1700000000 * NS_PER_S;
	letters = 0;
	batch = batch_new(&(struct batch_options){.events_max = 64, .bytes_max = 65536});
	sender = (struct batch_sender){.node = "node-a", .boot_id = {1}, .epoch = 7};
}

static void end(void)
{
	assert_ledger(mirror);
	mirror_free(mirror);
	batch_free(batch);
}

static void sign_as(const char *id, const char *key_secret)
{
	uint8_t key[SEAL_KEY_BYTES];
	assert_int_equal(
		seal_node_key((const uint8_t *)key_secret, strlen(key_secret), sender.node, key),
		0);
	batch_key(batch, key);
	sender.key_id = id;
}

/* One event a batch, so that what is accepted shows in every count. */
static struct batch_bytes sealed(void)
{
	now_ns += 10 * NS_PER_MS;
	assert_true(batch_exit(batch, &(struct batch_exit){.pid = 1 + (uint32_t)below(30000),
							   .started_ns = 1,
							   .time_ns = now_ns}));
	return batch_seal(batch, &sender, NS_PER_S, now_ns);
}

static void push(const uint8_t *bytes, size_t length)
{
	mirror_push(mirror, &(struct mirror_record){bytes, length, now_ns, 0}, 1);
}

/* Events that count: those that came, less those that were seen before or refused. */
static uint64_t accepted(void)
{
	struct mirror_stats s = mirror_stats(mirror);
	return s.events - s.duplicate - s.refused - s.quarantined;
}

static uint64_t refused(void)
{
	return mirror_stats(mirror).deadletters[MIRROR_UNAUTHENTICATED];
}

static void send_is(bool taken, const char *detail)
{
	uint64_t before = accepted(), unauthenticated = refused();
	struct batch_bytes bytes = sealed();
	push(bytes.bytes, bytes.length);
	if (accepted() != before + taken || refused() != unauthenticated + !taken)
		fail_msg("a batch with key_id '%s' was %s: %s", sender.key_id ? sender.key_id : "",
			 taken ? "refused" : "taken", last_detail);
	if (!taken)
		assert_non_null(strstr(last_detail, detail));
}

static void keep(size_t number, struct batch_bytes bytes)
{
	assert_true(bytes.length <= RECORD_MAX);
	memcpy(kept[number].bytes, bytes.bytes, bytes.length);
	kept[number].length = bytes.length;
}

/* The kept record's node is the first field: tag, length, name. */
static void forge(int kind, size_t from)
{
	uint8_t key[SEAL_KEY_BYTES];
	forged.length = kept[from].length;
	memcpy(forged.bytes, kept[from].bytes, forged.length);
	size_t body = forged.length - SEAL_TRAILER_BYTES;
	switch (kind) {
	case 0: /* another key */
		seal_node_key((const uint8_t *)wrong, strlen(wrong), "node-a", key);
		seal_sign(key, forged.bytes, body);
		break;
	case 1: /* another node's name, the MAC of this one */
		forged.bytes[2 + below(6)] ^= 1 + (uint8_t)below(15);
		break;
	case 2: /* another node's name, signed with this one's key, which is stolen */
		seal_node_key((const uint8_t *)secret, strlen(secret), "node-a", key);
		forged.bytes[7] = 'b';
		seal_sign(key, forged.bytes, body);
		break;
	case 3: /* the MAC cut */
		forged.length -= 1 + below(SEAL_MAC_BYTES);
		break;
	case 4: /* no MAC */
		forged.length = body;
		break;
	case 5: /* an empty one */
		forged.length = body + 3;
		forged.bytes[body + 2] = 0;
		break;
	case 6: /* a bit of it all */
		forged.bytes[below(forged.length)] ^= (uint8_t)(1 << below(8));
		break;
	case 7: /* events under the pipeline's key */
		seal_pipeline_key((const uint8_t *)secret, strlen(secret), key);
		seal_sign(key, forged.bytes, body);
		break;
	default: /* as it was: a replay */
		break;
	}
}

static void of_a_hundred_thousand_forged_records_none_is_accepted(void **state)
{
	(void)state;
	enum { KINDS = 9 };
	uint64_t told[KINDS] = {0};
	seed = 4;
	begin(keys_of("", secret, NULL, NULL));
	sign_as(NULL, secret);
	for (size_t i = 0; i < KEPT; i++) { /* of an older epoch: replays of it are known */
		struct batch_bytes bytes = sealed();
		keep(i, bytes);
		push(bytes.bytes, bytes.length);
	}
	assert_int_equal(accepted(), KEPT);
	for (int i = 0; i < FORGED; i++) {
		int kind = i % KINDS;
		uint64_t before = accepted(), unauthenticated = refused(),
			 nodes = mirror_stats(mirror).nodes;
		if (i == FORGED / 2) { /* the agent begins anew: a new epoch */
			sender.epoch = 8;
			batch_free(batch);
			batch = batch_new(
				&(struct batch_options){.events_max = 64, .bytes_max = 65536});
			sign_as(NULL, secret);
			send_is(true, "");
			before = accepted();
		}
		forge(kind, below(KEPT));
		push(forged.bytes, forged.length);
		if (accepted() != before || mirror_stats(mirror).nodes != nodes)
			fail_msg("seed 4, record %d, kind %d: accepted", i, kind);
		told[kind] += refused() - unauthenticated;
	}
	for (int kind = 0; kind < KINDS - 1; kind++) /* each counted for what it is */
		if (told[kind] < (uint64_t)(FORGED / KINDS))
			fail_msg("kind %d: %llu of %d are told as unauthenticated", kind,
				 (unsigned long long)told[kind], FORGED / KINDS);
	assert_int_equal(told[KINDS - 1], 0);
	struct mirror_stats s = mirror_stats(mirror);
	assert_true(s.duplicate + s.refused >= FORGED / KINDS);
	send_is(true, ""); /* the true agent was not harmed */
	end();
}

static void each_of_the_keys_is_accepted_until_it_is_taken_away(void **state)
{
	(void)state;
	begin(keys_of("2026", second, "", secret));
	sign_as(NULL, secret);
	send_is(true, "");
	sign_as("2026", second);
	send_is(true, "");
	struct keys *keys = keys_of("2026", second, NULL, NULL);
	mirror_keys(mirror, keys);
	keys_free(keys);
	send_is(true, "");
	sign_as(NULL, secret);
	send_is(false, "no key has the key_id");
	end();
}

static void an_empty_short_or_unknown_key_id_is_refused_and_counted(void **state)
{
	(void)state;
	begin(keys_of("2026", second, "2025", secret));
	const char *const ids[] = {
		NULL,	 "",	 "2",	  "202",
		"20266", "2027", "2026 ", "an id that is longer than any that may be configured"};
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		sign_as(ids[i], second);
		send_is(false, "no key has the key_id");
	}
	sign_as("2025", second); /* the right key under another's name */
	send_is(false, "missing or wrong");
	sign_as("2025", secret);
	send_is(true, "");
	assert_int_equal(refused(), sizeof(ids) / sizeof(ids[0]) + 1);
	assert_int_equal(letters, refused());
	end();
}

static void a_revoked_node_is_refused_whatever_it_signs_with(void **state)
{
	(void)state;
	begin(keys_of("2026", second, "", secret));
	sign_as("2026", second);
	send_is(true, "");
	struct keys *keys = keys_of("2026", second, "", secret);
	assert_int_equal(keys_revoke(keys, "node-b"), 0);
	mirror_keys(mirror, keys);
	send_is(true, "");
	assert_int_equal(keys_revoke(keys, "node-a"), 0);
	mirror_keys(mirror, keys);
	send_is(false, "node 'node-a' is revoked");
	sign_as(NULL, secret);
	send_is(false, "node 'node-a' is revoked");
	sender.node = "node-c";
	sign_as(NULL, secret);
	send_is(true, "");
	keys_free(keys);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_a_hundred_thousand_forged_records_none_is_accepted),
		cmocka_unit_test(each_of_the_keys_is_accepted_until_it_is_taken_away),
		cmocka_unit_test(an_empty_short_or_unknown_key_id_is_refused_and_counted),
		cmocka_unit_test(a_revoked_node_is_refused_whatever_it_signs_with),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
