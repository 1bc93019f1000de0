#include "ingest/decode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/batch/seal.h"
#include "agent/batch/wire.h"

static const uint8_t secret[16] = "0123456789abcdef";

enum { RECORD_MAX = 65536 };

static uint8_t record[RECORD_MAX + 4096];
static size_t record_length;
static struct decoder *decoder;
static struct decoded decoded;

static int start(void **state)
{
	(void)state;
	FILE *file = fopen("tests/data/batch.pb", "rb");
	assert_non_null(file);
	record_length = fread(record, 1, RECORD_MAX, file);
	fclose(file);
	decoder = decoder_new(&(struct decode_options){.record_bytes_max = RECORD_MAX});
	return 0;
}

static int stop(void **state)
{
	(void)state;
	decoder_free(decoder);
	return 0;
}

static void use_secret(void)
{
	struct keys *keys = keys_new();
	decoder_free(decoder);
	assert_int_equal(keys_add(keys, "", secret, sizeof(secret)), 0);
	decoder =
		decoder_new(&(struct decode_options){.record_bytes_max = RECORD_MAX, .keys = keys});
	keys_free(keys);
}

static void refused(enum mirror_reason reason)
{
	decoder_read(decoder, record, record_length, &decoded);
	if (decoded.batch || decoded.reason != reason)
		fail_msg("%s instead of %s: %s", mirror_reason_name(decoded.reason),
			 mirror_reason_name(reason), decoded.detail);
	assert_true(decoded.detail[0]);
}

/* Packs the stored batch again after `change`. */
static void repack(void (*change)(Millrace__V1__Batch *batch))
{
	Millrace__V1__Batch *batch = millrace__v1__batch__unpack(NULL, record_length, record);
	assert_non_null(batch);
	change(batch);
	record_length = millrace__v1__batch__pack(batch, record);
	millrace__v1__batch__free_unpacked(batch, NULL);
}

static void the_stored_batch_is_read(void **state)
{
	(void)state;
	decoder_read(decoder, record, record_length, &decoded);
	assert_non_null(decoded.batch);
	assert_string_equal(decoded.node, "node-a");
	assert_int_equal(decoded.events, 18);
	assert_int_equal(decoded.unknown_fields, 0);
	assert_int_equal(decoded.batch->definitions->slot[1], 900);
	assert_false(decoded.tick);
}

static void a_record_that_ends_early_is_truncated_or_whole(void **state)
{
	(void)state;
	size_t whole = record_length, truncated = 0;
	for (size_t length = 1; length < whole; length++) {
		uint8_t *exact = malloc(length); /* so that ASan sees a read past the end */
		memcpy(exact, record, length);
		decoder_read(decoder, exact, length, &decoded);
		free(exact);
		truncated += decoded.reason == MIRROR_TRUNCATED;
		/* at a field's end it is a batch with fewer fields */
		assert_true(decoded.reason == MIRROR_TRUNCATED || decoded.reason == MIRROR_FIELD ||
			    decoded.batch);
	}
	assert_in_range(truncated, whole - 60, whole);
}

static void random_damage_never_breaks_the_reader(void **state)
{
	(void)state;
	static uint8_t damaged[RECORD_MAX];
	uint64_t seed = 42;
	size_t read = 0;
	for (int run = 0; run < 20000; run++) {
		memcpy(damaged, record, record_length);
		for (int i = 0; i < 3; i++) {
			seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
			damaged[(seed >> 33) % record_length] = (uint8_t)(seed >> 20);
		}
		decoder_read(decoder, damaged, record_length, &decoded);
		read += decoded.batch != NULL;
	}
	assert_in_range(read, 1, 19999);
}

static void another_wire_type_or_a_group_is_malformed(void **state)
{
	(void)state;
	record_length = (size_t)(wire_tag(record + record_length, 40, 3) - record);
	refused(MIRROR_MALFORMED);
	record_length = 0;
	record[record_length++] = 0; /* field 0 */
	refused(MIRROR_MALFORMED);
	memset(record, 0xff, 11);
	record_length = 11;
	refused(MIRROR_MALFORMED);
}

static void a_number_cut_off_within_a_group_is_malformed(void **state)
{
	(void)state;
	static const uint8_t bytes[] = {0x0a, 1, 'n', 0x10, 1, 0xd2, 1, 2, 0x0a, 5};
	memcpy(record, bytes, sizeof(bytes)); /* exits: a column of 5 bytes that are not there */
	record[5] = 0xe2;		      /* field 28 */
	record_length = sizeof(bytes);
	refused(MIRROR_MALFORMED);
}

static void raise_version(Millrace__V1__Batch *batch)
{
	batch->version = 2;
}

static void a_future_version_is_told(void **state)
{
	(void)state;
	repack(raise_version);
	refused(MIRROR_VERSION);
	assert_string_equal(decoded.detail, "version is 2, at most 1");
	assert_string_equal(decoded.node, "node-a");
	assert_int_equal(decoded.events, 18);
}

static void unknown_fields_are_counted_and_skipped(void **state)
{
	(void)state;
	uint8_t *at = wire_uint(record + record_length, 60, 7);
	at = wire_bytes(at, 61, "new", 3);
	record_length = (size_t)(at - record);
	decoder_read(decoder, record, record_length, &decoded);
	assert_non_null(decoded.batch);
	assert_int_equal(decoded.unknown_fields, 2);
}

static void an_oversized_record_is_refused_at_its_bound(void **state)
{
	(void)state;
	size_t filler = RECORD_MAX - record_length - 5;
	uint8_t *at = wire_varint(wire_tag(record + record_length, 60, WIRE_LENGTH), filler);
	memset(at, 0, filler);
	record_length = RECORD_MAX;
	assert_ptr_equal(at + filler, record + RECORD_MAX);
	decoder_read(decoder, record, record_length, &decoded);
	assert_non_null(decoded.batch);
	record_length++;
	refused(MIRROR_OVERSIZED);
}

/* Two bytes each on the wire, sixty times that in memory. */
static void empty_strings_cannot_amplify(void **state)
{
	(void)state;
	decoder_free(decoder);
	decoder = decoder_new(&(struct decode_options){.record_bytes_max = 1048576});
	size_t length = 1048575;
	uint8_t *bytes = malloc(length);
	for (size_t i = 0; i < length; i += 3)
		memcpy(bytes + i, "\xaa\x01", 3);
	decoder_read(decoder, bytes, length, &decoded);
	assert_null(decoded.batch);
	assert_int_equal(decoded.reason, MIRROR_OVERSIZED);
	free(bytes);
}

static void a_second_node_id_is_refused(void **state)
{
	(void)state;
	record_length = (size_t)(wire_bytes(record + record_length, 1, "node-b", 6) - record);
	refused(MIRROR_FIELD);
	assert_string_equal(decoded.detail, "field 1 stands twice");
}

static void a_second_group_of_the_last_kind_is_refused(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		record_length = (size_t)(wire_element(record + record_length, 38, "", 0) - record);
	refused(MIRROR_FIELD);
	assert_string_equal(decoded.detail, "field 38 stands twice");
}

static void bad_index(Millrace__V1__Batch *batch)
{
	batch->definitions->local[0] = 4;
}

static void bad_string(Millrace__V1__Batch *batch)
{
	batch->processes->exe[0] = (uint32_t)batch->n_strings;
}

static void bad_port(Millrace__V1__Batch *batch)
{
	batch->definitions->local_port[0] = 65536;
}

static void bad_role(Millrace__V1__Batch *batch)
{
	batch->definitions->role[0] = 3;
}

static void bad_reason(Millrace__V1__Batch *batch)
{
	batch->closes->reason[0] = 9;
}

static void bad_slot_order(Millrace__V1__Batch *batch)
{
	batch->updates->slot[1] = 0;
}

static void bad_slot(Millrace__V1__Batch *batch)
{
	batch->updates->slot[3] = DECODE_SLOTS_MAX;
}

static void bad_time(Millrace__V1__Batch *batch)
{
	batch->exits->dt_us[0] = -(int64_t)batch->base_time_us - 1;
}

static void bad_time_sum(Millrace__V1__Batch *batch)
{
	batch->exits->dt_us[0] = INT64_MAX;
}

static void bad_retransmit(Millrace__V1__Batch *batch)
{
	batch->updates->retransmits_index[1] = 4;
}

static void bad_boot(Millrace__V1__Batch *batch)
{
	batch->boot_id.len = 15;
}

static void bad_addresses(Millrace__V1__Batch *batch)
{
	batch->addresses.len--;
}

static void bad_utf8(Millrace__V1__Batch *batch)
{
	batch->strings[2][0] = (char)0xc0;
}

static void bad_node(Millrace__V1__Batch *batch)
{
	batch->node[0] = ' ';
}

static void bad_lookup_slot(Millrace__V1__Batch *batch)
{
	batch->dns->slot[1] = DECODE_SLOTS_MAX;
}

static void bad_lookup_name(Millrace__V1__Batch *batch)
{
	batch->dns->name[0] = (uint32_t)batch->n_strings;
}

static void bad_name_slot(Millrace__V1__Batch *batch)
{
	batch->sni->slot[0] = DECODE_SLOTS_MAX;
}

static void bad_name(Millrace__V1__Batch *batch)
{
	batch->sni->name[0] = (uint32_t)batch->n_strings;
}

static void bad_name_time(Millrace__V1__Batch *batch)
{
	batch->sni->dt_us[0] = INT64_MAX;
}

static void bad_rcode(Millrace__V1__Batch *batch)
{
	batch->dns->rcode[1] = DECODE_RCODE_MAX + 1;
}

static void bad_answers(Millrace__V1__Batch *batch)
{
	batch->dns->answers[0] = DECODE_ANSWERS_MAX + 1;
}

static void bad_answer(Millrace__V1__Batch *batch)
{
	batch->dns->answers_address[1] = 4;
}

static void bad_label(Millrace__V1__Batch *batch)
{
	batch->containers->labels_key[0] = (uint32_t)batch->n_strings;
}

static void bad_drop_reason(Millrace__V1__Batch *batch)
{
	batch->drops->reason[0] = (uint32_t)batch->n_strings;
}

static void bad_drop_socket(Millrace__V1__Batch *batch)
{
	batch->drops->socket[0] = DECODE_SLOTS_MAX + 1;
}

static void bad_listener_port(Millrace__V1__Batch *batch)
{
	batch->listeners->port[0] = 65536;
}

static void bad_zero_window(Millrace__V1__Batch *batch)
{
	static uint32_t indexes[] = {0, 4};
	batch->updates->zero_window_index = indexes;
	batch->updates->n_zero_window_index = 2;
}

static void bad_share(Millrace__V1__Batch *batch)
{
	batch->agent_state->cpu_share = __builtin_nan("");
}

static void bad_boot_time(Millrace__V1__Batch *batch)
{
	batch->node_facts->booted_us = UINT64_MAX;
}

static void bad_fact(Millrace__V1__Batch *batch)
{
	batch->node_facts->labels[0]->value[0] = (char)0xff;
}

static void bad_events(Millrace__V1__Batch *batch)
{
	batch->events++;
}

static void values_out_of_range_are_told(void **state)
{
	static void (*const changes[])(Millrace__V1__Batch *) = {
		bad_index,	 bad_string,	  bad_port,	   bad_role,
		bad_reason,	 bad_slot,	  bad_slot_order,  bad_time,
		bad_time_sum,	 bad_retransmit,  bad_boot,	   bad_addresses,
		bad_utf8,	 bad_node,	  bad_events,	   bad_lookup_slot,
		bad_lookup_name, bad_rcode,	  bad_answers,	   bad_answer,
		bad_label,	 bad_drop_reason, bad_drop_socket, bad_listener_port,
		bad_share,	 bad_boot_time,	  bad_fact,	   bad_name_slot,
		bad_name,	 bad_name_time,
	};
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		stop(state);
		start(state);
		repack(changes[i]);
		refused(MIRROR_FIELD);
	}
}

static void short_column(Millrace__V1__Batch *batch)
{
	batch->definitions->n_rx_bytes--;
}

static void short_answers(Millrace__V1__Batch *batch)
{
	batch->dns->n_answers_ttl_s--;
}

static void short_names(Millrace__V1__Batch *batch)
{
	free(batch->sni->name);
	batch->sni->name = calloc(2, sizeof(*batch->sni->name));
	batch->sni->n_name = 2;
}

static void uncounted_labels(Millrace__V1__Batch *batch)
{
	batch->containers->labels[2] = 0;
}

static void short_sparse(Millrace__V1__Batch *batch)
{
	batch->updates->n_retransmits--;
}

static void columns_of_unequal_length_are_told(void **state)
{
	repack(short_column);
	refused(MIRROR_COLUMN_LENGTH);
	assert_string_equal(decoded.detail, "definitions.rx_bytes has 1 elements, slot has 2");
	stop(state);
	start(state);
	repack(short_sparse);
	refused(MIRROR_COLUMN_LENGTH);
	stop(state);
	start(state);
	repack(short_answers);
	refused(MIRROR_COLUMN_LENGTH);
	assert_string_equal(decoded.detail, "dns.answers_ttl_s has 1 elements, answers counts 2");
	stop(state);
	start(state);
	repack(short_names);
	refused(MIRROR_COLUMN_LENGTH);
	assert_string_equal(decoded.detail, "sni.name has 2 elements, slot has 1");
	stop(state);
	start(state);
	repack(uncounted_labels);
	refused(MIRROR_COLUMN_LENGTH);
	assert_string_equal(decoded.detail,
			    "containers.labels_key has 1 elements, labels counts 0");
}

static void elements_belong_to_their_events(void **state)
{
	(void)state;
	decoder_read(decoder, record, record_length, &decoded);
	assert_non_null(decoded.batch);
	const Millrace__V1__Dns *dns = decoded.batch->dns;
	assert_int_equal(dns->n_slot, 2);
	assert_int_equal(dns->answers[0], 2);
	assert_int_equal(dns->answers[1], 0);
	assert_int_equal(dns->n_answers_address, 2);
	assert_int_equal(dns->answers_ttl_s[1], 60);
	const Millrace__V1__Containers *containers = decoded.batch->containers;
	assert_int_equal(containers->n_labels, 3);
	assert_int_equal(containers->n_labels_key, 1);
	assert_string_equal(decoded.batch->strings[containers->labels_key[0]], "tier");
}

static void drop_answers(Millrace__V1__Batch *batch)
{
	batch->dns->n_answers_address = batch->dns->n_answers_ttl_s = 0;
}

static void absent_elements_are_zeros_too(void **state)
{
	(void)state;
	repack(drop_answers);
	decoder_read(decoder, record, record_length, &decoded);
	assert_non_null(decoded.batch);
	assert_int_equal(decoded.batch->dns->n_answers_ttl_s, 2);
	assert_int_equal(decoded.batch->dns->answers_ttl_s[1], 0);
}

static void more_elements_than_any_batch_has_are_oversized(void **state)
{
	enum { EVENTS = DECODE_ELEMENTS_MAX / DECODE_ANSWERS_MAX };
	static uint8_t answers[2 * EVENTS], group[2 * EVENTS + 16];
	for (uint32_t more = 0; more <= 1; more++) {
		uint32_t events = EVENTS + more;
		stop(state);
		start(state);
		memset(answers, DECODE_ANSWERS_MAX, EVENTS);
		answers[EVENTS] = 1;
		uint8_t *at = wire_bytes(group, 7, answers, events);
		static uint8_t slots[EVENTS + 1];
		uint8_t *end = wire_bytes(at, 1, slots, events);
		record_length = 0;
		static const uint8_t boot[16];
		uint8_t *to = wire_bytes(record, 1, "n", 1);
		to = wire_uint(to, 2, 1);
		to = wire_bytes(to, 4, boot, sizeof(boot));
		to = wire_uint(to, 8, events);
		to = wire_bytes(to, 20, boot, sizeof(boot)); /* one address */
		static uint8_t large[1 << 18];
		size_t head = (size_t)(to - record);
		memcpy(large, record, head);
		to = wire_bytes(large + head, 30, group, (size_t)(end - group));
		decoder_free(decoder);
		decoder = decoder_new(&(struct decode_options){.record_bytes_max = 1 << 20});
		decoder_read(decoder, large, (size_t)(to - large), &decoded);
		if (!more && !decoded.batch)
			fail_msg("%s", decoded.detail);
		assert_true(!more == !!decoded.batch);
		if (more)
			assert_int_equal(decoded.reason, MIRROR_OVERSIZED);
	}
}

static void many_missing(Millrace__V1__Batch *batch)
{
	static char *texts[DECODE_MISSING_MAX + 1], no[] = "no";
	for (size_t i = 0; i <= DECODE_MISSING_MAX; i++)
		texts[i] = no;
	batch->agent_state->missing = texts;
	batch->agent_state->n_missing = DECODE_MISSING_MAX + 1;
}

static void what_a_node_says_of_itself_is_bounded(void **state)
{
	(void)state;
	decoder_read(decoder, record, record_length, &decoded);
	assert_non_null(decoded.batch);
	assert_string_equal(decoded.batch->node_facts->labels[0]->value, "web");
	assert_string_equal(decoded.batch->agent_state->missing[0], "no conntrack here");
	Millrace__V1__Batch *batch = millrace__v1__batch__unpack(NULL, record_length, record);
	char **texts = batch->agent_state->missing;
	size_t count = batch->agent_state->n_missing;
	many_missing(batch);
	record_length = millrace__v1__batch__pack(batch, record);
	batch->agent_state->missing = texts;
	batch->agent_state->n_missing = count;
	millrace__v1__batch__free_unpacked(batch, NULL);
	refused(MIRROR_OVERSIZED);
	assert_string_equal(decoded.detail, "33 agent_state.missing, at most 32");
}

static void more_losses_than_there_are_places_are_oversized(void **state)
{
	(void)state;
	Millrace__V1__Batch *batch = millrace__v1__batch__unpack(NULL, record_length, record);
	Millrace__V1__Loss loss = MILLRACE__V1__LOSS__INIT, *losses[DECODE_LOSSES_MAX + 1];
	loss.place = (char *)"ring";
	loss.kind = (char *)"open";
	loss.events = 3;
	for (size_t i = 0; i < DECODE_LOSSES_MAX + 1; i++)
		losses[i] = &loss;
	batch->agent_state->losses = losses;
	batch->agent_state->n_losses = DECODE_LOSSES_MAX;
	record_length = millrace__v1__batch__pack(batch, record);
	decoder_read(decoder, record, record_length, &decoded);
	assert_non_null(decoded.batch);
	assert_string_equal(decoded.batch->agent_state->losses[63]->kind, "open");
	batch->agent_state->n_losses++;
	record_length = millrace__v1__batch__pack(batch, record);
	batch->agent_state->losses = NULL;
	batch->agent_state->n_losses = 0;
	millrace__v1__batch__free_unpacked(batch, NULL);
	refused(MIRROR_OVERSIZED);
	assert_string_equal(decoded.detail, "65 agent_state.losses, at most 64");
}

static void a_dictionary_of_the_empty_string_need_not_be_told(void **state)
{
	(void)state;
	static const uint8_t boot[16], containers[] = {0x0a, 1, 7};
	uint8_t *at = wire_bytes(record, 1, "n", 1);
	at = wire_uint(at, 2, 1);
	at = wire_bytes(at, 4, boot, sizeof(boot));
	at = wire_uint(at, 8, 1);
	at = wire_bytes(at, 22, containers, sizeof(containers));
	record_length = (size_t)(at - record);
	decoder_read(decoder, record, record_length, &decoded);
	assert_non_null(decoded.batch);
	assert_string_equal(decoded.batch->strings[decoded.batch->containers->name[0]], "");
}

static void a_sparse_index_stays_within_the_updates(void **state)
{
	(void)state;
	Millrace__V1__Batch *batch = millrace__v1__batch__unpack(NULL, record_length, record);
	bad_zero_window(batch);
	record_length = millrace__v1__batch__pack(batch, record);
	batch->updates->zero_window_index = NULL;
	batch->updates->n_zero_window_index = 0;
	millrace__v1__batch__free_unpacked(batch, NULL);
	refused(MIRROR_FIELD);
	assert_string_equal(decoded.detail, "updates.zero_window_index[1] is 4, at most 3");
}

static void drop_columns(Millrace__V1__Batch *batch)
{
	batch->definitions->n_tx_bytes = 0;
	batch->definitions->n_local = 0;
	batch->updates->n_dt_us = 0;
}

static void an_absent_column_is_read_as_zeros(void **state)
{
	(void)state;
	repack(drop_columns);
	decoder_read(decoder, record, record_length, &decoded);
	assert_non_null(decoded.batch);
	const Millrace__V1__Definitions *definitions = decoded.batch->definitions;
	assert_int_equal(definitions->n_tx_bytes, definitions->n_slot);
	assert_int_equal(definitions->n_local, definitions->n_slot);
	assert_int_equal(decoded.batch->updates->n_dt_us, decoded.batch->updates->n_slot);
	for (size_t i = 0; i < definitions->n_slot; i++)
		assert_true(definitions->tx_bytes[i] == 0 && definitions->local[i] == 0);
}

static void drop_addresses(Millrace__V1__Batch *batch)
{
	batch->addresses.len = batch->addresses_v4.len = 0;
	batch->definitions->n_local = batch->definitions->n_remote = 0;
}

static void zeros_are_held_to_the_bounds_too(void **state)
{
	(void)state;
	repack(drop_addresses);
	refused(MIRROR_FIELD);
}

static void ipv4_stands_before_ipv6_in_one_dictionary(void **state)
{
	(void)state;
	static const uint8_t first[16] = {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 2};
	decoder_read(decoder, record, record_length, &decoded);
	const Millrace__V1__Batch *batch = decoded.batch;
	assert_int_equal(batch->addresses_v4.len, 0);
	assert_int_equal(batch->addresses.len, 4 * 16);
	assert_memory_equal(batch->addresses.data + 16 * batch->nat->reply_source[0], first, 16);
	assert_int_equal(batch->addresses.data[16UL * batch->definitions->local[1]], 0x20);
}

static void pids_and_starts_are_restored(void **state)
{
	(void)state;
	decoder_read(decoder, record, record_length, &decoded);
	assert_int_equal(decoded.batch->processes->n_pid, 1);
	assert_int_equal(decoded.batch->processes->pid[0], 10);
	assert_int_equal(decoded.batch->exits->pid[0], 10);
	assert_int_equal(decoded.batch->exits->started_ns[0], 5000000000);
	assert_int_equal(decoded.batch->exits->n_started_change_ns, 0);
}

static uint32_t a_pid = 1;

static void both_pids(Millrace__V1__Batch *batch)
{
	batch->exits->n_pid = 1;
	batch->exits->pid = memcpy(malloc(sizeof(a_pid)), &a_pid, sizeof(a_pid));
}

static void a_column_stands_once(void **state)
{
	(void)state;
	repack(both_pids);
	refused(MIRROR_FIELD);
	assert_string_equal(decoded.detail, "pid stands beside pid_change");
}

/* The group `exits` alone, as an odd encoder would write it. */
static void write_exits(const char *group, size_t length, uint32_t events)
{
	uint8_t *at = wire_bytes(record, 1, "n", 1);
	at = wire_uint(at, 2, 1);
	at = wire_bytes(at, 4, "0123456789abcdef", 16);
	at = wire_uint(at, 8, events);
	at = wire_fixed64(at, 9, 1700000000000000);
	at = wire_bytes(at, 28, group, length);
	record_length = (size_t)(at - record);
}

static void odd_but_valid_columns_are_read(void **state)
{
	(void)state;
	/* pid in two pieces, status unpacked, started_ns with a needlessly long varint */
	write_exits("\x0a\x01\x05\x0a\x02\x80\x01\x18\x07\x18\x08\x12\x03\x81\x00\x09", 16, 2);
	decoder_read(decoder, record, record_length, &decoded);
	assert_non_null(decoded.batch);
	const Millrace__V1__Exits *exits = decoded.batch->exits;
	assert_int_equal(exits->n_pid, 2);
	assert_int_equal(exits->pid[1], 128);
	assert_int_equal(exits->status[1], 8);
	assert_int_equal(exits->started_ns[0], 1);
	assert_int_equal(exits->n_signal, 2);
}

static void a_broken_column_is_malformed(void **state)
{
	(void)state;
	write_exits("\x0a\x02\x05\x85", 4, 2);
	refused(MIRROR_MALFORMED);
	write_exits("\x0a\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13, 1);
	refused(MIRROR_MALFORMED);
}

static void the_hmac_is_checked_before_anything_else(void **state)
{
	(void)state;
	use_secret();
	decoder_read(decoder, record, record_length, &decoded);
	assert_non_null(decoded.batch);
	record[record_length / 2] ^= 1;
	refused(MIRROR_UNAUTHENTICATED);
	record[record_length / 2] ^= 1;
	record_length -= SEAL_TRAILER_BYTES;
	refused(MIRROR_UNAUTHENTICATED);
	record_length += SEAL_TRAILER_BYTES;
	record[7] = 'b'; /* node-b, signed with node-a's key */
	refused(MIRROR_UNAUTHENTICATED);
}

static size_t write_tick(const char *node, const uint8_t *key)
{
	uint8_t *at = wire_bytes(record, 1, node, strlen(node));
	at = wire_uint(at, 2, 1);
	at = wire_uint(at, 3, 1);
	seal_sign(key, record, (size_t)(at - record));
	return (size_t)(at - record) + SEAL_TRAILER_BYTES;
}

static void ticks_are_the_pipelines_alone(void **state)
{
	(void)state;
	uint8_t pipeline[SEAL_KEY_BYTES], node[SEAL_KEY_BYTES];
	seal_pipeline_key(secret, sizeof(secret), pipeline);
	seal_node_key(secret, sizeof(secret), "node-a", node);
	use_secret();
	/* events under the pipeline's key */
	seal_sign(pipeline, record, record_length - SEAL_TRAILER_BYTES);
	refused(MIRROR_UNAUTHENTICATED);
	record_length = write_tick("", pipeline);
	decoder_read(decoder, record, record_length, &decoded);
	assert_non_null(decoded.batch);
	assert_true(decoded.tick);
	record_length = write_tick("node-a", node);
	refused(MIRROR_UNAUTHENTICATED);
}

static size_t write_metadata(const uint8_t *key, bool with_group)
{
	uint8_t *at = wire_bytes(record, 1, "", 0);
	at = wire_uint(at, 2, 1);
	at = wire_uint(at, 3, 2);
	at = wire_bytes(at, 36, "first", 5);
	at = wire_bytes(at, 36, "second", 6);
	at = wire_bytes(at, 36, "third", 5);
	if (with_group)
		at = wire_bytes(at, 25, "\x0a\x00", 2);
	seal_sign(key, record, (size_t)(at - record));
	return (size_t)(at - record) + SEAL_TRAILER_BYTES;
}

static void metadata_is_the_pipelines_and_comes_record_by_record(void **state)
{
	(void)state;
	uint8_t pipeline[SEAL_KEY_BYTES], node[SEAL_KEY_BYTES];
	seal_pipeline_key(secret, sizeof(secret), pipeline);
	seal_node_key(secret, sizeof(secret), "node-a", node);
	use_secret();
	record_length = write_metadata(pipeline, false);
	decoder_read(decoder, record, record_length, &decoded);
	assert_non_null(decoded.batch);
	assert_true(decoded.metadata);
	assert_false(decoded.tick);
	assert_int_equal(decoded.unknown_fields, 0);
	assert_int_equal(decoded.batch->n_metadata, 3);
	assert_int_equal(decoded.batch->metadata[1].len, 6);
	assert_memory_equal(decoded.batch->metadata[2].data, "third", 5);
	record_length = write_metadata(pipeline, true);
	refused(MIRROR_FIELD);
	record_length = write_metadata(node, false);
	refused(MIRROR_UNAUTHENTICATED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_stored_batch_is_read, start, stop),
		cmocka_unit_test_setup_teardown(a_record_that_ends_early_is_truncated_or_whole,
						start, stop),
		cmocka_unit_test_setup_teardown(random_damage_never_breaks_the_reader, start, stop),
		cmocka_unit_test_setup_teardown(another_wire_type_or_a_group_is_malformed, start,
						stop),
		cmocka_unit_test_setup_teardown(a_number_cut_off_within_a_group_is_malformed, start,
						stop),
		cmocka_unit_test_setup_teardown(a_future_version_is_told, start, stop),
		cmocka_unit_test_setup_teardown(unknown_fields_are_counted_and_skipped, start,
						stop),
		cmocka_unit_test_setup_teardown(an_oversized_record_is_refused_at_its_bound, start,
						stop),
		cmocka_unit_test_setup_teardown(empty_strings_cannot_amplify, start, stop),
		cmocka_unit_test_setup_teardown(a_second_node_id_is_refused, start, stop),
		cmocka_unit_test_setup_teardown(a_second_group_of_the_last_kind_is_refused, start,
						stop),
		cmocka_unit_test_setup_teardown(values_out_of_range_are_told, start, stop),
		cmocka_unit_test_setup_teardown(columns_of_unequal_length_are_told, start, stop),
		cmocka_unit_test_setup_teardown(an_absent_column_is_read_as_zeros, start, stop),
		cmocka_unit_test_setup_teardown(elements_belong_to_their_events, start, stop),
		cmocka_unit_test_setup_teardown(absent_elements_are_zeros_too, start, stop),
		cmocka_unit_test_setup_teardown(more_elements_than_any_batch_has_are_oversized,
						start, stop),
		cmocka_unit_test_setup_teardown(what_a_node_says_of_itself_is_bounded, start, stop),
		cmocka_unit_test_setup_teardown(more_losses_than_there_are_places_are_oversized,
						start, stop),
		cmocka_unit_test_setup_teardown(a_dictionary_of_the_empty_string_need_not_be_told,
						start, stop),
		cmocka_unit_test_setup_teardown(a_sparse_index_stays_within_the_updates, start,
						stop),
		cmocka_unit_test_setup_teardown(zeros_are_held_to_the_bounds_too, start, stop),
		cmocka_unit_test_setup_teardown(ipv4_stands_before_ipv6_in_one_dictionary, start,
						stop),
		cmocka_unit_test_setup_teardown(pids_and_starts_are_restored, start, stop),
		cmocka_unit_test_setup_teardown(a_column_stands_once, start, stop),
		cmocka_unit_test_setup_teardown(odd_but_valid_columns_are_read, start, stop),
		cmocka_unit_test_setup_teardown(a_broken_column_is_malformed, start, stop),
		cmocka_unit_test_setup_teardown(the_hmac_is_checked_before_anything_else, start,
						stop),
		cmocka_unit_test_setup_teardown(ticks_are_the_pipelines_alone, start, stop),
		cmocka_unit_test_setup_teardown(
			metadata_is_the_pipelines_and_comes_record_by_record, start, stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
