/* A node whose batches lie about themselves: every index, slot, count and length out of range, and
 * records changed at random. It may lose what is its own; an honest node beside it in the same
 * partition loses nothing, and nothing grows. MILLRACE_MUTATIONS says how many random changes are
 * tried (100,000). */
#include <malloc.h>

#include "agent/batch/wire.h"
#include "tests/conformance/run.h"

enum {
	NUMBER_NODE = 1,
	NUMBER_EPOCH = 5,
	NUMBER_ADDRESSES = 20,
	NUMBER_STRINGS = 21,
	NUMBER_CONTAINERS = 22, /* the first group of columns */
	NUMBER_EXITS = 28,	/* the last, */
	NUMBER_DNS = 30,	/* but for these */
	NUMBER_LISTENERS = 32,
	GROUPS = 10,
	FIELDS_MAX = 64,
	ELEMENTS_MAX = 64,
	RECORD_MAX = 1 << 16,
	HOSTILE_PER_HONEST = 64, /* records */
	RECORDS_A_SECOND = 1500, /* of the hostile node, so that time goes on with it */
	TAIL_S = 14,
	GROWTH_MAX = 8 << 20, /* bytes: what a node's lies may take of its tables */
};

struct field {
	uint32_t number, type;
	uint64_t value;
	const uint8_t *bytes;
	size_t length;
};

struct fields {
	struct field items[FIELDS_MAX];
	size_t count;
};

struct column {
	uint64_t items[ELEMENTS_MAX];
	size_t count;
};

#ifdef __SANITIZE_ADDRESS__ /* its heap is not malloc's */
size_t __sanitizer_get_current_allocated_bytes(void);

static size_t heap_in_use(void)
{
	return __sanitizer_get_current_allocated_bytes();
}
#else
static size_t heap_in_use(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}
#endif

/* Of the pipeline: what the run keeps of its outputs is not its. */
static size_t bytes_in_use(const struct run *run)
{
	return heap_in_use() - run->rows_max * sizeof(*run->rows) -
	       run->flows_max * sizeof(*run->flows);
}

/* --- reading and writing the wire format --- */

static uint64_t read_varint(const uint8_t **at)
{
	uint64_t value = 0;

	for (int shift = 0;; shift += 7) {
		uint8_t byte = *(*at)++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return value;
	}
}

static struct fields read_fields(const uint8_t *at, size_t length)
{
	const uint8_t *end = at + length;
	struct fields fields = {.count = 0};

	while (at < end) {
		struct field *field = &fields.items[fields.count++];
		uint64_t tag = read_varint(&at);

		assert_true(fields.count <= FIELDS_MAX);
		*field = (struct field){.number = (uint32_t)(tag >> 3), .type = tag & 7};
		if (field->type == WIRE_VARINT) {
			field->value = read_varint(&at);
		} else if (field->type == WIRE_FIXED64) {
			memcpy(&field->value, at, 8);
			at += 8;
		} else {
			assert_int_equal(field->type, WIRE_LENGTH);
			field->length = read_varint(&at);
			field->bytes = at;
			at += field->length;
		}
	}
	return fields;
}

static size_t write_fields(const struct fields *fields, uint8_t *bytes)
{
	uint8_t *at = bytes;

	for (size_t i = 0; i < fields->count; i++) {
		const struct field *field = &fields->items[i];

		at = wire_tag(at, field->number, field->type);
		if (field->type == WIRE_VARINT) {
			at = wire_varint(at, field->value);
		} else if (field->type == WIRE_FIXED64) {
			memcpy(at, &field->value, 8);
			at += 8;
		} else {
			at = wire_varint(at, field->length);
			memcpy(at, field->bytes, field->length);
			at += field->length;
		}
	}
	return (size_t)(at - bytes);
}

static struct column read_column(const struct field *field)
{
	const uint8_t *at = field->bytes, *end = at + field->length;
	struct column column = {.count = 0};

	while (at < end) {
		assert_true(column.count < ELEMENTS_MAX);
		column.items[column.count++] = read_varint(&at);
	}
	return column;
}

static size_t write_column(const struct column *column, uint8_t *bytes)
{
	uint8_t *at = bytes;

	for (size_t i = 0; i < column->count; i++)
		at = wire_varint(at, column->items[i]);
	return (size_t)(at - bytes);
}

/* --- an honest pair beside a hostile node --- */

struct siege {
	struct log *honest;
	size_t next, next_tail; /* of its records; what closes the last windows */
	struct run *run;
	uint8_t *batch; /* what the hostile node changes */
	size_t batch_length;
	uint64_t epoch, random, append_ns;
	uint64_t sent;
};

/* What is told of sockets, besides what they move. */
static void hostile_more(struct log *log, uint32_t node, uint32_t i, uint32_t socket)
{
	static const struct batch_answer answers[] = {{{{0x20, 0x01, [15] = 9}}, 30},
						      {{{0x20, 0x01, [15] = 8}}, 30}};

	log_event(log, LOG_LOOKUP, node, MS(32))->lookup =
		(struct batch_dns){.slot = log->sockets[socket].definition.slot,
				   .name = "name.test",
				   .type = 1,
				   .rcode = i,
				   .flags = i == 2 ? BATCH_DNS_TIMEOUT : 0,
				   .latency_ns = MS(1),
				   .answers = answers,
				   .answers_count = i % 3};
	log_event(log, LOG_DROP, node, MS(33))->drop =
		(struct batch_drop){.reason = "NO_SOCKET",
				    .location = "tcp_v4_rcv",
				    .icmp = i & 1,
				    .protocol = PROTOCOL_TCP,
				    .source = answers[0].address,
				    .destination = answers[1].address,
				    .source_port = 1,
				    .destination_port = 2,
				    .packets = 3,
				    .bytes = 180,
				    .netns = 4,
				    .socket = i};
	log_event(log, LOG_LISTENER, node, MS(34))->listener =
		(struct batch_listener){.cookie = 1 + i,
					.flags = i == 5 ? BATCH_LISTENER_ENDED : 0,
					.address = answers[0].address,
					.port = 80,
					.netns = 4,
					.pid = 200,
					.cgroup = 70,
					.backlog = 1,
					.backlog_max = 128,
					.drops = 2};
}

/* One batch with every kind of event in it. */
static void hostile_batch(struct siege *siege)
{
	static const struct batch_label labels[] = {{"tier", "web"}, {"app", "shop"}};
	struct log *log = log_new(1);
	uint32_t node = log_node(log, "evil", "evil");
	char from[32];

	for (uint32_t i = 0; i < 6; i++) {
		snprintf(from, sizeof(from), "192.0.2.1:%u", 40000 + i);
		log_process(log, MS(10), node, 200 + i, "thing", 70 + i);
		log_container(log, MS(10), node,
			      &(struct batch_container){.cgroup = 70 + i,
							.id = "0123",
							.name = "name",
							.image = "image:1",
							.pod = "pod",
							.namespace = "space",
							.workload = "load",
							.unit = "unit.service",
							.path = "/system.slice/unit.service",
							.version = "2",
							.runtime = "docker",
							.pod_uid = "0-1",
							.labels = labels,
							.labels_count = 2});
		log_nat(log, MS(10), node, from, "192.0.2.9:80", "192.0.2.2:80", from);
		uint32_t socket = log_connect(log, MS(20), node, from, "192.0.2.9:80");

		log_event(log, LOG_UPDATE, node, MS(30))->update = (struct batch_update){
			.slot = i, .moved = {10, 20, 1, 2, 1}, .srtt_us = 100};
		if (i & 1)
			log_close(log, MS(40), socket, CLOSE_NORMAL);
		log_event(log, LOG_EXIT, node, MS(50))->exit =
			(struct batch_exit){.pid = 200 + i, .started_ns = 5};
		hostile_more(log, node, i, socket);
	}
	log_seal(log);
	for (size_t i = 0; i < log->records_count && !siege->batch; i++) {
		if (!log->records[i].events)
			continue;
		siege->batch_length = log->records[i].length;
		siege->batch = memory_zeroed(siege->batch_length, 1);
		memcpy(siege->batch, log->records[i].bytes, siege->batch_length);
	}
	log_free(log);
}

enum { HONEST_CONNECTIONS = 60 };

static void honest_log(struct siege *siege, uint64_t records)
{
	struct log *log = log_new(1);
	uint32_t a = log_node(log, "a", "shop"), b = log_node(log, "b", "web");
	char from[32];

	for (uint32_t i = 0; i < HONEST_CONNECTIONS; i++) {
		uint64_t at = SEC(2) + MS(500 * i);

		snprintf(from, sizeof(from), "10.0.0.1:%u", 40000 + i);
		uint32_t client = log_connect(log, at, a, from, "10.0.0.2:80");
		uint32_t server = log_accept(log, at, b, "10.0.0.2:80", from);

		log_exchange(log, at + MS(100), client, server, 1000, 10);
		log_close_both(log, at + MS(300), client, server);
	}
	log->flush_ns = SEC(TAIL_S + records / RECORDS_A_SECOND);
	log_seal(log);
	siege->honest = log;
	while (siege->next_tail < log->records_count &&
	       log->records[siege->next_tail].append_ns <
		       LOG_START_NS + log->end_ns + log->flush_ns - SEC(TAIL_S))
		siege->next_tail++;
}

/* records: how many the hostile node will send. */
static struct siege siege_begin(uint64_t records)
{
	struct siege siege = {.epoch = 1 << 20, .random = 0x2545f4914f6cdd1dULL};

	hostile_batch(&siege);
	honest_log(&siege, records);
	siege.run = run_new(1, &(struct run_options){.unprinted = true});
	return siege;
}

/* The honest nodes' next record. False: there is none. */
static bool siege_go_on(struct siege *siege)
{
	const struct log_record *record = &siege->honest->records[siege->next];

	if (siege->next == siege->honest->records_count)
		return false;
	siege->append_ns = record->append_ns;
	run_record(siege->run, 0, record->bytes, record->length, record->append_ns);
	run_settle(siege->run);
	siege->next++;
	return true;
}

static void siege_send(struct siege *siege, const uint8_t *bytes, size_t length)
{
	siege->sent++;
	run_record(siege->run, 0, bytes, length, siege->append_ns);
	run_settle(siege->run);
	if (siege->sent % HOSTILE_PER_HONEST == 0 && siege->next < siege->next_tail)
		siege_go_on(siege);
}

static uint64_t siege_random(struct siege *siege)
{
	siege->random ^= siege->random << 13;
	siege->random ^= siege->random >> 7;
	siege->random ^= siege->random << 17;
	return siege->random;
}

static void siege_end(struct siege *siege)
{
	struct run *run = siege->run;
	uint32_t joined = 0;

	while (siege_go_on(siege))
		;
	run_check_accounts(run);
	for (size_t i = 0; i < run->flows_count; i++) {
		const struct run_flow *flow = &run->flows[i];

		joined += flow->flow.joined && !strcmp(flow->edge_client, "shop") &&
			  !strcmp(flow->edge_server, "web");
	}
	assert_int_equal(joined, HONEST_CONNECTIONS);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_TX_BYTES), 1000 * HONEST_CONNECTIONS);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_RX_BYTES), 10 * HONEST_CONNECTIONS);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_OPENED), HONEST_CONNECTIONS);
	assert_int_equal(run_edge(run, "shop", "web", COUNTER_JOINED), HONEST_CONNECTIONS);
	for (size_t i = 0; i < run->rows_count; i++)
		if (!strcmp(run->rows[i].client, "shop"))
			assert_true(rollup_completeness(&run->rows[i].row) == 1);
	run_free(run);
	log_free(siege->honest);
	free(siege->batch);
}

/* The hostile batch's fields under a new epoch, so that it is no duplicate. */
static struct fields siege_fields(struct siege *siege)
{
	struct fields fields = read_fields(siege->batch, siege->batch_length);

	for (size_t i = 0; i < fields.count; i++)
		if (fields.items[i].number == NUMBER_EPOCH)
			fields.items[i].value = siege->epoch++;
	return fields;
}

static void send_fields(struct siege *siege, const struct fields *fields)
{
	static uint8_t record[RECORD_MAX];

	siege_send(siege, record, write_fields(fields, record));
}

static const uint64_t extremes[] = {
	0,
	1,
	2,
	127,
	128,
	4096,
	65535,
	65536,
	0x7fffffff,
	0x80000000,
	0xffffffff,
	0x100000000,
	1ULL << 40,
	1ULL << 62,
	0x7fffffffffffffff,
	1ULL << 63,
	UINT64_MAX - 1,
	UINT64_MAX,
};

enum { EXTREMES = sizeof(extremes) / sizeof(extremes[0]) };

/* --- tests --- */

static void an_honest_node_has_what_it_sent_without_any_siege(void **state)
{
	struct siege siege = siege_begin(10000);

	(void)state;
	siege_end(&siege);
}

static void each_number_of_the_header_may_be_anything(void **state)
{
	struct siege siege = siege_begin(10000);
	size_t count = read_fields(siege.batch, siege.batch_length).count;

	(void)state;
	for (size_t i = 0; i < count; i++) {
		for (int n = 0; n < EXTREMES; n++) {
			struct fields fields = siege_fields(&siege);

			if (fields.items[i].type == WIRE_LENGTH)
				break;
			fields.items[i].value = extremes[n];
			send_fields(&siege, &fields);
		}
	}
	siege_end(&siege);
}

static void each_text_and_dictionary_may_have_any_length(void **state)
{
	static const size_t lengths[] = {0, 1, 15, 17, 31, 253, 254, 4096, 60000};
	static uint8_t bytes[RECORD_MAX];
	struct siege siege = siege_begin(10000);
	size_t count = read_fields(siege.batch, siege.batch_length).count;

	(void)state;
	for (size_t i = 0; i < count; i++) {
		for (size_t n = 0; n < sizeof(lengths) / sizeof(lengths[0]); n++) {
			for (int fill = 0; fill < 3; fill++) {
				struct fields fields = siege_fields(&siege);

				if (fields.items[i].type != WIRE_LENGTH)
					continue;
				memset(bytes, (const int[]){0, 'x', 0xff}[fill], lengths[n]);
				fields.items[i].bytes = bytes;
				fields.items[i].length = lengths[n];
				send_fields(&siege, &fields);
			}
		}
	}
	siege_end(&siege);
}

/* Sends the batch with one column of one group replaced. */
static void send_with_column(struct siege *siege, struct fields *fields, size_t group,
			     const struct fields *columns, size_t at, const struct column *column)
{
	static uint8_t column_bytes[RECORD_MAX], group_bytes[RECORD_MAX];
	struct fields changed = *columns;

	changed.items[at].bytes = column_bytes;
	changed.items[at].length = write_column(column, column_bytes);
	fields->items[group].bytes = group_bytes;
	fields->items[group].length = write_fields(&changed, group_bytes);
	send_fields(siege, fields);
}

static void change_elements(struct siege *siege, size_t group, size_t at)
{
	for (int n = 0; n < EXTREMES; n++) {
		for (int which = 0; which < 4; which++) {
			struct fields fields = siege_fields(siege);
			struct fields columns =
				read_fields(fields.items[group].bytes, fields.items[group].length);
			struct column column = read_column(&columns.items[at]);
			size_t last = column.count - 1;

			/* The first, one in the middle, the last, all. */
			for (size_t i = 0; i < column.count; i++)
				if (which == 3 || i == (size_t[]){0, last / 2, last}[which])
					column.items[i] = extremes[n];
			send_with_column(siege, &fields, group, &columns, at, &column);
		}
	}
}

static void change_length(struct siege *siege, size_t group, size_t at)
{
	for (int how = 0; how < 3; how++) {
		struct fields fields = siege_fields(siege);
		struct fields columns =
			read_fields(fields.items[group].bytes, fields.items[group].length);
		struct column column = read_column(&columns.items[at]);

		column.count = how == 0 ? 0 : how == 1 ? column.count - 1 : column.count + 1;
		send_with_column(siege, &fields, group, &columns, at, &column);
	}
}

static void each_index_slot_and_count_may_be_anything(void **state)
{
	struct siege siege = siege_begin(10000);
	struct fields fields = read_fields(siege.batch, siege.batch_length);
	uint32_t groups = 0;

	(void)state;
	for (size_t group = 0; group < fields.count; group++) {
		const struct field *field = &fields.items[group];

		if ((field->number < NUMBER_CONTAINERS || field->number > NUMBER_EXITS) &&
		    (field->number < NUMBER_DNS || field->number > NUMBER_LISTENERS))
			continue;
		groups++;
		for (size_t at = 0; at < read_fields(field->bytes, field->length).count; at++) {
			change_elements(&siege, group, at);
			change_length(&siege, group, at);
		}
	}
	assert_int_equal(groups, GROUPS);
	print_message("%llu batches, %llu to the dead letters\n", (unsigned long long)siege.sent,
		      (unsigned long long)siege.run->deadletters_count);
	siege_end(&siege);
}

static void groups_and_columns_may_come_twice_or_not_at_all(void **state)
{
	struct siege siege = siege_begin(10000);
	size_t count = read_fields(siege.batch, siege.batch_length).count;

	(void)state;
	for (size_t i = 0; i < count; i++) {
		struct fields without = siege_fields(&siege), twice = siege_fields(&siege);

		without.items[i] = without.items[--without.count];
		send_fields(&siege, &without);
		assert_true(twice.count < FIELDS_MAX);
		twice.items[twice.count++] = twice.items[i];
		send_fields(&siege, &twice);
	}
	siege_end(&siege);
}

static void the_far_slots_of_many_nodes_take_no_more_than_their_share(void **state)
{
	struct siege siege = siege_begin(10000);
	struct batch *batch = agent_batch();
	char name[32];

	(void)state;
	while (siege.next < 100)
		siege_go_on(&siege);
	size_t before = bytes_in_use(siege.run);

	for (uint32_t node = 0; node < 200; node++) {
		struct batch_sender sender = {.node = name, .boot_id = {1}, .epoch = 9};

		snprintf(name, sizeof(name), "far-%u", node);
		for (uint32_t bit = 4; bit < 32; bit++)
			assert_true(batch_define(
				batch,
				&(struct batch_definition){.slot = (1u << bit) - 1,
							   .generation = 1,
							   .protocol = PROTOCOL_TCP,
							   .role = BATCH_ROLE_CLIENT,
							   .local = address_v4(0xc0000200 + node),
							   .remote = address_v4(0xc0000300),
							   .local_port = (uint16_t)bit,
							   .remote_port = 80,
							   .time_ns = siege.append_ns}));
		struct batch_bytes sealed = batch_seal(batch, &sender, SEC(2000), siege.append_ns);

		siege_send(&siege, sealed.bytes, sealed.length);
	}
	assert_true(bytes_in_use(siege.run) < before + GROWTH_MAX);
	batch_free(batch);
	siege_end(&siege);
}

static void counts_beyond_any_sum_do_not_turn_negative(void **state)
{
	struct siege siege = siege_begin(10000);
	struct batch *batch = agent_batch();
	struct batch_sender sender = {.node = "vast", .boot_id = {1}, .epoch = 9};

	(void)state;
	while (siege.next < 100)
		siege_go_on(&siege);
	assert_true(batch_define(batch, &(struct batch_definition){.generation = 1,
								   .protocol = PROTOCOL_TCP,
								   .role = BATCH_ROLE_CLIENT,
								   .local = address_v4(0xc0000201),
								   .remote = address_v4(0xc0000202),
								   .local_port = 40000,
								   .remote_port = 80,
								   .time_ns = siege.append_ns}));
	for (int i = 0; i < 6; i++) {
		assert_true(batch_update(
			batch, &(struct batch_update){.moved = {.tx_bytes = 3ULL << 61,
								.rx_bytes = UINT64_MAX,
								.tx_segments = UINT32_MAX},
						      .srtt_us = UINT32_MAX,
						      .time_ns = siege.append_ns}));
		struct batch_bytes sealed = batch_seal(batch, &sender, SEC(2000), siege.append_ns);

		siege_send(&siege, sealed.bytes, sealed.length);
		siege_go_on(&siege);
	}
	batch_free(batch);
	while (siege_go_on(&siege))
		;
	for (size_t i = 0; i < siege.run->rows_count; i++)
		for (int n = 0; n < COUNTERS; n++)
			assert_true(siege.run->rows[i].row.amendment ||
				    siege.run->rows[i].row.counters[n] >= 0);
	siege_end(&siege);
}

/* Somewhere in the record a few bytes differ, are missing or are too many. */
static size_t mutate(struct siege *siege, uint8_t *record)
{
	struct fields fields = siege_fields(siege);
	size_t length = write_fields(&fields, record);
	uint64_t how = siege_random(siege) % 8;
	size_t at = siege_random(siege) % length;

	for (uint64_t i = 0; i < 1 + siege_random(siege) % 4; i++)
		record[siege_random(siege) % length] ^= (uint8_t)(1u << siege_random(siege) % 8);
	if (how == 0)
		return at; /* cut */
	if (how == 1) {	   /* a piece goes */
		size_t gone = 1 + siege_random(siege) % (length - at);

		memmove(record + at, record + at + gone, length - at - gone);
		return length - gone;
	}
	if (how == 2) { /* a piece comes again */
		size_t piece = 1 + siege_random(siege) % (length - at);

		memmove(record + at + piece, record + at, length - at);
		return length + piece;
	}
	for (size_t i = at; how == 3 && i < at + 9 && i < length; i++)
		record[i] = 0xff;
	return length;
}

static void no_change_of_bytes_does_any_harm(void **state)
{
	static uint8_t record[RECORD_MAX];
	const char *text = getenv("MILLRACE_MUTATIONS");
	uint64_t mutations = text ? strtoull(text, NULL, 10) : 100000;
	struct siege siege = siege_begin(mutations);
	size_t warm = 0;

	(void)state;
	for (uint64_t i = 0; i < mutations; i++) {
		if (i == mutations / 4)
			warm = bytes_in_use(siege.run);
		siege_send(&siege, record, mutate(&siege, record));
	}
	print_message(
		"%llu records, %llu to the dead letters, %lld KiB more than after a quarter\n",
		(unsigned long long)siege.sent, (unsigned long long)siege.run->deadletters_count,
		((long long)bytes_in_use(siege.run) - (long long)warm) / 1024);
	assert_true(bytes_in_use(siege.run) < warm + GROWTH_MAX);
	siege_end(&siege);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_honest_node_has_what_it_sent_without_any_siege),
		cmocka_unit_test(each_number_of_the_header_may_be_anything),
		cmocka_unit_test(each_text_and_dictionary_may_have_any_length),
		cmocka_unit_test(each_index_slot_and_count_may_be_anything),
		cmocka_unit_test(groups_and_columns_may_come_twice_or_not_at_all),
		cmocka_unit_test(the_far_slots_of_many_nodes_take_no_more_than_their_share),
		cmocka_unit_test(counts_beyond_any_sum_do_not_turn_negative),
		cmocka_unit_test(no_change_of_bytes_does_any_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
