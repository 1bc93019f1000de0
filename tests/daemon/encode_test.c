/* What millraced reads back is what it wrote; a tick is a record that the mirror takes; what has no
 * name is shown by its id. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/batch/keys.h"
#include "agent/batch/seal.h"
#include "base/clock.h"
#include "base/hash.h"
#include "daemon/encode.h"
#include "millrace/v1/events.pb-c.h"
#include "millrace/v1/flows.pb-c.h"
#include "millrace/v1/rollups.pb-c.h"

static const struct output_number number = {.epoch = 7, .task = 3, .sequence = 11};

static void an_alert_is_read_back_as_it_was(void **state)
{
	struct encoder *encoder = encoder_new();
	struct alert alert = {.sequence = 2,
			      .state = ALERT_RESOLVED,
			      .severity = ALERT_CRITICAL,
			      .subject = {.client = "shop/cart",
					  .server = "shop/redis",
					  .port = 6379,
					  .protocol = 6},
			      .value = 0.5,
			      .threshold = 0.05,
			      .expected = 0.01,
			      .usual_low = 0.002,
			      .usual_high = 0.03,
			      .score = 12.5,
			      .window_ms = 1000,
			      .started_ns = 1 * NS_PER_S,
			      .ended_ns = 9 * NS_PER_S,
			      .pane_end_ns = 10 * NS_PER_S,
			      .last_event_ns = 8 * NS_PER_S,
			      .completeness = 0.75,
			      .suspects_count = 1};
	struct alert back;
	struct encoded bytes;

	(void)state;
	strcpy(alert.monitor, "failures");
	strcpy(alert.metric, "failure_ratio");
	strcpy(alert.unit, "ratio");
	strcpy(alert.summary, "cart to redis fails");
	alert.cause = (struct change_event){.kind = CHANGE_DEPLOYED,
					    .time_ns = 11,
					    .workload = "shop/cart",
					    .before = "v3",
					    .after = "v4"};
	alert.suspects[0] = (struct suspect){
		.kind = SUSPECT_SERVER_ZONE, .share = 0.9, .excess = 3, .name = "b"};
	alert.diagnosis = (struct diagnosis){DIAGNOSIS_LOSSY_PATH, true, 30, 400, 0.01};
	alert_key(&alert);
	bytes = encode_alert(encoder, &number, &alert);
	memset(&back, 0xff, sizeof(back));
	assert_int_equal(0, decode_alert(bytes.bytes, bytes.length, &back));
	assert_string_equal(alert.key, back.key);
	assert_string_equal(alert.monitor, back.monitor);
	assert_string_equal(alert.subject.client, back.subject.client);
	assert_string_equal(alert.subject.server, back.subject.server);
	assert_int_equal(6379, back.subject.port);
	assert_int_equal(6, back.subject.protocol);
	assert_string_equal(alert.metric, back.metric);
	assert_string_equal(alert.unit, back.unit);
	assert_string_equal(alert.summary, back.summary);
	assert_int_equal(2, back.sequence);
	assert_int_equal(ALERT_RESOLVED, back.state);
	assert_int_equal(ALERT_CRITICAL, back.severity);
	assert_true(back.value == 0.5 && back.threshold == 0.05 && back.completeness == 0.75);
	assert_true(back.expected == 0.01 && back.score == 12.5);
	assert_true(back.usual_low == 0.002 && back.usual_high == 0.03);
	assert_int_equal(1000, back.window_ms);
	assert_int_equal(alert.started_ns, back.started_ns);
	assert_int_equal(alert.ended_ns, back.ended_ns);
	assert_int_equal(alert.pane_end_ns, back.pane_end_ns);
	assert_int_equal(alert.last_event_ns, back.last_event_ns);
	assert_int_equal(CHANGE_DEPLOYED, back.cause.kind);
	assert_int_equal(11, back.cause.time_ns);
	assert_string_equal("shop/cart", back.cause.workload);
	assert_string_equal("v3", back.cause.before);
	assert_string_equal("v4", back.cause.after);
	assert_int_equal(1, back.suspects_count);
	assert_int_equal(SUSPECT_SERVER_ZONE, back.suspects[0].kind);
	assert_string_equal("b", back.suspects[0].name);
	assert_int_equal(DIAGNOSIS_LOSSY_PATH, back.diagnosis.kind);
	assert_true(back.diagnosis.crossing && back.diagnosis.part == 30 &&
		    back.diagnosis.whole == 400 && back.diagnosis.usual == 0.01);
	assert_int_equal(-EBADMSG, decode_alert(bytes.bytes, bytes.length - 1, &back));
	assert_int_equal(-EBADMSG, decode_alert(bytes.bytes, 0, &back));
	encoder_free(encoder);
}

static void a_delivery_is_read_back_as_it_was(void **state)
{
	struct encoder *encoder = encoder_new();
	struct delivery delivery = {.receiver = "pager",
				    .key = "ABC",
				    .sequence = 4,
				    .state = ALERT_RESOLVED,
				    .delivered_ns = 5,
				    .sent_ns = 3,
				    .attempts = 6,
				    .resolve_owed = true,
				    .uncertain = true,
				    .severity = ALERT_ERROR,
				    .failed = true,
				    .error = "the receiver answered 500",
				    .handle = "C0123 1700000000.000100"};
	struct delivery back;
	struct encoded bytes = encode_delivery(encoder, &delivery);

	(void)state;
	assert_int_equal(0, decode_delivery(bytes.bytes, bytes.length, &back));
	assert_string_equal("pager", back.receiver);
	assert_string_equal("ABC", back.key);
	assert_int_equal(4, back.sequence);
	assert_int_equal(ALERT_RESOLVED, back.state);
	assert_int_equal(5, back.delivered_ns);
	assert_int_equal(3, back.sent_ns);
	assert_int_equal(6, back.attempts);
	assert_true(back.resolve_owed && back.uncertain && back.failed);
	assert_int_equal(ALERT_ERROR, back.severity);
	assert_string_equal(delivery.error, back.error);
	assert_string_equal(delivery.handle, back.handle);
	encoder_free(encoder);
}

static void what_was_given_up_is_in_its_dead_letter(void **state)
{
	struct encoder *encoder = encoder_new();
	struct alert alert = {.key = "ABC", .sequence = 2, .pane_end_ns = 7 * NS_PER_MS}, back;
	struct encoded bytes =
		encode_undelivered(encoder, "pager", &alert, &(struct notify_place){3, 42},
				   "expired", "not delivered within notify.life");
	Millrace__V1__DeadLetter *letter =
		millrace__v1__dead_letter__unpack(NULL, bytes.length, bytes.bytes);

	(void)state;
	assert_non_null(letter);
	assert_string_equal("millrace.alerts", letter->topic);
	assert_int_equal(3, letter->partition);
	assert_int_equal(42, letter->offset);
	assert_string_equal("expired", letter->reason);
	assert_string_equal("receiver pager: not delivered within notify.life", letter->detail);
	assert_int_equal(7, letter->time_ms);
	assert_int_equal(letter->size, letter->head.len);
	assert_int_equal(0, decode_alert(letter->head.data, letter->head.len, &back));
	assert_string_equal("ABC", back.key);
	assert_int_equal(2, back.sequence);
	millrace__v1__dead_letter__free_unpacked(letter, NULL);
	encoder_free(encoder);
}

static void a_baseline_is_read_back_as_it_was(void **state)
{
	struct encoder *encoder = encoder_new();
	struct names *names = names_new(16, 0);
	struct baseline_record record = {.edge = {.id = 0x1234,
						  .port = 80,
						  .protocol = 17,
						  .client = names_put(names, "a", 1, 1),
						  .server = names_put(names, "b", 1, 1)},
					 .metric = METRIC_FAILURE_RATIO,
					 .samples = 99,
					 .window_ns = 10 * NS_PER_S,
					 .state_size = 3,
					 .state = {7, 8, 9}};
	struct baseline_record back;
	struct encoded bytes = encode_baseline(encoder, &record, names);

	(void)state;
	assert_int_equal(0, decode_baseline(bytes.bytes, bytes.length, &back));
	assert_int_equal(record.edge.id, back.edge.id);
	assert_int_equal(record.edge.client, back.edge.client);
	assert_int_equal(record.edge.server, back.edge.server);
	assert_int_equal(80, back.edge.port);
	assert_int_equal(17, back.edge.protocol);
	assert_int_equal(record.metric, back.metric);
	assert_int_equal(99, back.samples);
	assert_int_equal(record.window_ns, back.window_ns);
	assert_int_equal(3, back.state_size);
	assert_memory_equal(record.state, back.state, sizeof(back.state));
	names_free(names);
	encoder_free(encoder);
}

static void on_halves(void *context, uint32_t join_task, const struct half_bucket *bucket)
{
	(void)context, (void)join_task, (void)bucket;
}

static void on_deltas(void *context, const struct delta *deltas, size_t count)
{
	(void)context, (void)deltas, (void)count;
}

static void on_amendments(void *context, const struct amendment *amendments, size_t count)
{
	(void)context, (void)amendments, (void)count;
}

static void on_lanes_hold(void *context, struct lane_wanted *wanted, size_t count)
{
	(void)context, (void)wanted, (void)count;
}

static void on_lane_drop(void *context, uint32_t lane)
{
	(void)context, (void)lane;
}

static void on_deadletter(void *context, const struct mirror_record *record,
			  enum mirror_reason reason, const char *detail, const char *node)
{
	(void)context, (void)record, (void)reason, (void)node;
	fail_msg("a tick became a dead letter: %s", detail);
}

static void check_tick(const char *secret)
{
	struct keys *keys = keys_new();

	if (secret)
		assert_int_equal(0, keys_add(keys, "", secret, strlen(secret)));

	struct mirror *mirror = mirror_new(
		&(struct mirror_options){.join_tasks = 1,
					 .lateness_ns = 500 * NS_PER_MS,
					 .keep_ns = 120 * NS_PER_S,
					 .nodes_max = 4,
					 .halves_max = 64,
					 .nats_max = 64,
					 .processes_max = 64,
					 .containers_max = 64,
					 .amendments_max = 64,
					 .names_max = 64,
					 .instances_max = 64,
					 .record_bytes_max = 1 << 20,
					 .destinations = 2,
					 .keys = keys,
					 .sinks = {NULL, on_halves, on_deltas, on_amendments,
						   on_lanes_hold, on_lane_drop, on_deadletter}});
	struct encoder *encoder = encoder_new();
	uint64_t now = 1700000000 * NS_PER_S;
	uint8_t key[SEAL_KEY_BYTES];

	if (secret)
		assert_int_equal(0,
				 seal_pipeline_key((const uint8_t *)secret, strlen(secret), key));

	struct encoded bytes = encode_tick(encoder, now, "", secret ? key : NULL);

	mirror_push(mirror, &(struct mirror_record){bytes.bytes, bytes.length, now, 0}, 1);
	assert_int_equal(1, mirror_stats(mirror).ticks);
	assert_int_equal(now, mirror_clock(mirror));
	encoder_free(encoder);
	mirror_free(mirror);
	keys_free(keys);
}

static void a_tick_moves_the_mirrors_clock_signed_or_not(void **state)
{
	(void)state;
	check_tick(NULL);
	check_tick("0123456789abcdef0123456789abcdef");
}

static void a_name_that_has_not_come_is_shown_by_its_id(void **state)
{
	struct encoder *encoder = encoder_new();
	struct names *names = names_new(16, 0);
	struct rollup rollup = {.window_start_ns = NS_PER_S,
				.window_ms = 1000,
				.edge = {.id = 1,
					 .client = names_put(names, "cart", 4, 1),
					 .server = 0xabc,
					 .port = 80,
					 .protocol = 6}};
	struct encoded bytes = encode_rollups(encoder, &number, &rollup, 1, names);
	Millrace__V1__Rollups *message =
		millrace__v1__rollups__unpack(NULL, bytes.length, bytes.bytes);

	(void)state;
	assert_non_null(message);
	assert_int_equal(1, message->n_rows);
	assert_int_equal(7, message->epoch);
	assert_string_equal("cart", message->rows[0]->edge->client);
	assert_string_equal("#0000000000000abc", message->rows[0]->edge->server);
	millrace__v1__rollups__free_unpacked(message, NULL);
	names_free(names);
	encoder_free(encoder);
}

/* --- written by hand, read by protobuf-c --- */

/* What it unpacks it packs into the very same bytes: lengths, order, nothing twice. */
static void check_canonical(const ProtobufCMessage *message, struct encoded bytes)
{
	uint8_t *again = malloc(bytes.length);

	assert_int_equal(bytes.length, protobuf_c_message_get_packed_size(message));
	protobuf_c_message_pack(message, again);
	assert_memory_equal(bytes.bytes, again, bytes.length);
	free(again);
}

/* Of every width. */
static uint64_t random_number(uint64_t *random)
{
	uint64_t word = hash_mix(++*random);

	return word >> hash_mix(*random << 20) % 65 % 64;
}

static uint64_t random_name(uint64_t *random, struct names *names)
{
	uint64_t word = hash_mix(++*random);
	char text[256];
	int length = snprintf(text, sizeof(text), "%s-%u", word & 4 ? "short" : "a/name",
			      (unsigned)(word >> 20) % 50);

	if (word % 16 == 0)
		return 0;
	if (word % 16 == 1)
		return word; /* bytes that never came */
	if (word % 64 == 2) {
		memset(text, 'x', 255);
		length = 255;
	}
	return names_put(names, text, (size_t)length, 1);
}

static struct instance random_instance(uint64_t *random, struct names *names)
{
	struct instance instance = {.workload = random_name(random, names),
				    .version = random_name(random, names),
				    .zone = random_name(random, names),
				    .node = random_name(random, names),
				    .container = random_name(random, names),
				    .process = random_name(random, names)};

	instance.id = instance_id(&instance);
	/* Ids do not tell resolutions apart. */
	instance.resolution = (uint32_t)(hash_mix(++*random) % (RESOLUTION_AMBIGUOUS + 1));
	return instance;
}

static struct edge random_edge(uint64_t *random, struct names *names)
{
	struct edge edge = {.client = random_name(random, names),
			    .server = random_name(random, names),
			    .port = (uint16_t)random_number(random),
			    .protocol = (uint8_t)(hash_mix(++*random) % 3 ? 6 : *random % 20)};

	edge.id = edge_id(&edge);
	edge.client_resolution = (uint8_t)(hash_mix(++*random) % 3);
	edge.server_resolution = (uint8_t)(hash_mix(++*random) % 3);
	return edge;
}

static struct address random_address(uint64_t *random)
{
	uint64_t word = hash_mix(++*random);
	struct address address = address_v4((uint32_t)word);

	if (word >> 62 == 0)
		memcpy(address.bytes, &word, sizeof(word));
	return address;
}

static void check_name(const char *text, const struct names *names, uint64_t id)
{
	const struct name *name = id ? names_get(names, id) : NULL;
	char unknown[18];

	snprintf(unknown, sizeof(unknown), "#%016llx", (unsigned long long)id);
	assert_string_equal(text, name ? name->bytes : id ? unknown : "");
}

static void check_id(const char *text, uint64_t id)
{
	char hex[17];

	snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)id);
	assert_string_equal(text, hex);
}

static void check_edge(const Millrace__V1__Edge *message, const struct edge *edge,
		       const struct names *names)
{
	char protocol[8] = "";

	if (edge->protocol)
		snprintf(protocol, sizeof(protocol), "ip-%u", edge->protocol);
	check_id(message->id, edge->id);
	check_name(message->client, names, edge->client);
	check_name(message->server, names, edge->server);
	assert_int_equal(message->port, edge->port);
	assert_string_equal(message->protocol, edge->protocol == 6    ? "tcp"
					       : edge->protocol == 17 ? "udp"
								      : protocol);
	assert_string_equal(message->client_resolution, resolution_name(edge->client_resolution));
	assert_string_equal(message->server_resolution, resolution_name(edge->server_resolution));
}

static void check_instance(const Millrace__V1__Instance *message, const struct instance *instance,
			   const struct names *names)
{
	check_name(message->workload, names, instance->workload);
	check_name(message->version, names, instance->version);
	check_name(message->zone, names, instance->zone);
	check_name(message->node, names, instance->node);
	check_name(message->container, names, instance->container);
	check_name(message->process, names, instance->process);
	assert_string_equal(message->resolution, resolution_name(instance->resolution));
}

static void check_address(const char *text, const struct address *address)
{
	char words[ADDRESS_TEXT_MAX];

	address_format(address, words);
	assert_string_equal(text, words);
}

enum { THINGS = 300, CELLS = 40 };

static struct rollup random_rollup(uint64_t *random, struct names *names, struct sketch_cell *cells)
{
	struct rollup rollup = {.window_start_ns = random_number(random),
				.window_ms = 10000,
				.scope = (uint8_t)(hash_mix(++*random) % SCOPES),
				.amendment = *random % 3 == 0,
				.edge = random_edge(random, names),
				.lane = {.client_zone = random_name(random, names),
					 .server_zone = random_name(random, names),
					 .client_version = random_name(random, names),
					 .server_version = random_name(random, names)},
				.instance = random_instance(random, names),
				.min_rtt_us = (uint32_t)random_number(random),
				.connect = cells,
				.srtt = cells + CELLS / 2,
				.connect_cells = (uint32_t)(hash_mix(++*random) % (CELLS / 2)),
				.srtt_cells = (uint32_t)(hash_mix(++*random) % (CELLS / 2)),
				.last_event_ns = random_number(random)};

	for (unsigned i = 0; i < COUNTERS; i++)
		if (hash_mix(++*random) % 3)
			rollup.counters[i] = (int64_t)random_number(random);
	for (unsigned i = 0; i < CELLS; i++)
		cells[i] = (struct sketch_cell){(uint16_t)(i * 90),
						(uint32_t)random_number(random) | 1};
	return rollup;
}

static void check_cells(const Millrace__V1__Sketch *message, const struct sketch_cell *cells,
			uint32_t count)
{
	assert_int_equal(message != NULL, count > 0);
	if (!count)
		return;
	assert_int_equal(message->n_index, count);
	assert_int_equal(message->n_count, count);
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(message->index[i], cells[i].index);
		assert_int_equal(message->count[i], cells[i].count);
	}
}

static void check_rollup(const Millrace__V1__Rollup *message, const struct rollup *rollup,
			 const struct names *names)
{
	bool of_instance = rollup->scope == SCOPE_CLIENT || rollup->scope == SCOPE_SERVER;
	size_t at = 0;

	assert_int_equal(message->window_start_ns, rollup->window_start_ns);
	assert_int_equal(message->window_ms, rollup->window_ms);
	assert_int_equal(message->scope, rollup->scope);
	assert_int_equal(message->amendment, rollup->amendment);
	check_edge(message->edge, &rollup->edge, names);
	if (rollup->scope == SCOPE_LANE) {
		check_name(message->client_zone, names, rollup->lane.client_zone);
		check_name(message->server_zone, names, rollup->lane.server_zone);
		check_name(message->client_version, names, rollup->lane.client_version);
		check_name(message->server_version, names, rollup->lane.server_version);
	}
	assert_int_equal(message->instance != NULL, of_instance);
	if (of_instance)
		check_instance(message->instance, &rollup->instance, names);
	for (unsigned i = 0; i < COUNTERS; i++) {
		if (!rollup->counters[i])
			continue;
		assert_true(at < message->n_counter && at < message->n_value);
		assert_int_equal(message->counter[at], i);
		assert_int_equal(message->value[at++], rollup->counters[i]);
	}
	assert_true(at == message->n_counter && at == message->n_value);
	check_cells(message->connect, rollup->connect, rollup->connect_cells);
	check_cells(message->srtt, rollup->srtt, rollup->srtt_cells);
	assert_int_equal(message->min_rtt_us, rollup->min_rtt_us);
	assert_true(message->completeness == rollup_completeness(rollup));
	assert_int_equal(message->last_event_ns, rollup->last_event_ns);
}

static void rollups_are_what_protobuf_c_would_have_written(void **state)
{
	static struct rollup rollups[THINGS];
	static struct sketch_cell cells[THINGS][CELLS];
	struct encoder *encoder = encoder_new();
	struct names *names = names_new(4096, 0);

	(void)state;
	for (uint64_t seed = 1, random; seed <= 20; seed++) {
		random = seed << 40;
		for (unsigned i = 0; i < THINGS; i++)
			rollups[i] = random_rollup(&random, names, cells[i]);

		struct encoded bytes = encode_rollups(encoder, &number, rollups, THINGS, names);
		Millrace__V1__Rollups *message =
			millrace__v1__rollups__unpack(NULL, bytes.length, bytes.bytes);

		assert_non_null(message);
		check_canonical(&message->base, bytes);
		assert_int_equal(message->version, 1);
		assert_int_equal(message->epoch, number.epoch);
		assert_int_equal(message->task, number.task);
		assert_int_equal(message->sequence, number.sequence);
		assert_int_equal(message->n_counters, COUNTERS);
		for (unsigned i = 0; i < COUNTERS; i++)
			assert_string_equal(message->counters[i], counter_info(i)->name);
		assert_int_equal(message->n_rows, THINGS);
		for (unsigned i = 0; i < THINGS; i++)
			check_rollup(message->rows[i], &rollups[i], names);
		millrace__v1__rollups__free_unpacked(message, NULL);
	}
	names_free(names);
	encoder_free(encoder);
}

static struct flow_end random_end(uint64_t *random, struct names *names)
{
	struct flow_end end = {.seen = *random % 2,
			       .closed = *random % 3 == 0,
			       .reason = (uint32_t)(hash_mix(++*random) % (CLOSE_REASONS + 1)),
			       .pid = (uint32_t)random_number(random),
			       .instance = random_instance(random, names),
			       .min_rtt_us = (uint32_t)random_number(random),
			       .lost = (uint32_t)random_number(random)};

	end.total.tx_bytes = random_number(random);
	end.total.rx_bytes = random_number(random);
	end.total.tx_segments = random_number(random);
	end.total.rx_segments = random_number(random);
	end.total.retransmits = random_number(random);
	return end;
}

static struct flow random_flow(uint64_t *random, struct names *names)
{
	struct flow flow = {.id = random_number(random),
			    .canonical = {.client = random_address(random),
					  .server = random_address(random),
					  .client_port = (uint16_t)random_number(random),
					  .server_port = (uint16_t)random_number(random),
					  .protocol = *random % 2 ? 6 : 17},
			    .wire = {.client = random_address(random),
				     .client_port = (uint16_t)random_number(random)},
			    .dialled = random_address(random),
			    .dialled_port = (uint16_t)random_number(random),
			    .joined = *random % 2,
			    .established = *random % 3 == 0,
			    .amended = *random % 5 == 0,
			    .hops = *random % 4,
			    .opened_ns = random_number(random),
			    .closed_ns = random_number(random),
			    .connect_us = random_number(random),
			    .edge = random_edge(random, names)};

	flow.client = random_end(random, names);
	flow.server = random_end(random, names);
	return flow;
}

static void check_end(const Millrace__V1__FlowEnd *message, const struct flow_end *end,
		      const struct address *address, const struct names *names)
{
	assert_int_equal(message->seen, end->seen);
	assert_int_equal(message->closed, end->closed);
	assert_int_equal(message->reason[0] != 0,
			 end->reason != CLOSE_UNKNOWN && end->reason < CLOSE_REASONS);
	assert_int_equal(message->pid, end->pid);
	if (resolution_is_address(end->instance.resolution))
		check_address(message->instance->workload, address);
	else
		check_instance(message->instance, &end->instance, names);
	assert_int_equal(message->tx_bytes, end->total.tx_bytes);
	assert_int_equal(message->rx_bytes, end->total.rx_bytes);
	assert_int_equal(message->tx_segments, end->total.tx_segments);
	assert_int_equal(message->rx_segments, end->total.rx_segments);
	assert_int_equal(message->retransmits, end->total.retransmits);
	assert_true(message->min_rtt_s == end->min_rtt_us / 1e6);
	assert_int_equal(message->lost, end->lost);
}

static void check_flow(const Millrace__V1__Flow *message, const struct flow *flow,
		       const struct names *names)
{
	check_id(message->id, flow->id);
	check_address(message->client_address, &flow->canonical.client);
	check_address(message->server_address, &flow->canonical.server);
	check_address(message->dialled_address, &flow->dialled);
	check_address(message->wire_client_address, &flow->wire.client);
	assert_int_equal(message->client_port, flow->canonical.client_port);
	assert_int_equal(message->server_port, flow->canonical.server_port);
	assert_int_equal(message->dialled_port, flow->dialled_port);
	assert_int_equal(message->wire_client_port, flow->wire.client_port);
	assert_string_equal(message->protocol, flow->canonical.protocol == 6 ? "tcp" : "udp");
	assert_int_equal(message->joined, flow->joined);
	assert_int_equal(message->established, flow->established);
	assert_int_equal(message->amended, flow->amended);
	assert_int_equal(message->hops, flow->hops);
	assert_int_equal(message->opened_ns, flow->opened_ns);
	assert_int_equal(message->closed_ns, flow->closed_ns);
	assert_true(message->connect_s == (double)flow->connect_us / 1e6);
	check_end(message->client, &flow->client, &flow->canonical.client, names);
	check_end(message->server, &flow->server, &flow->canonical.server, names);
	if (resolution_is_address(flow->client.instance.resolution))
		check_address(message->edge->client, &flow->canonical.client);
	else
		check_name(message->edge->client, names, flow->edge.client);
	if (resolution_is_address(flow->server.instance.resolution))
		check_address(message->edge->server, &flow->canonical.server);
	else
		check_name(message->edge->server, names, flow->edge.server);
	if (!resolution_is_address(flow->client.instance.resolution) &&
	    !resolution_is_address(flow->server.instance.resolution))
		check_edge(message->edge, &flow->edge, names);
}

static void flows_are_what_protobuf_c_would_have_written(void **state)
{
	static struct flow flows[THINGS];
	struct encoder *encoder = encoder_new();
	struct names *names = names_new(4096, 0);

	(void)state;
	for (uint64_t seed = 1, random; seed <= 20; seed++) {
		random = seed << 40;
		for (unsigned i = 0; i < THINGS; i++)
			flows[i] = i % 3 == 2 ? flows[i - 2] : random_flow(&random, names);

		struct encoded bytes = encode_flows(encoder, &number, flows, THINGS, names);
		Millrace__V1__Flows *message =
			millrace__v1__flows__unpack(NULL, bytes.length, bytes.bytes);

		assert_non_null(message);
		check_canonical(&message->base, bytes);
		assert_int_equal(message->sequence, number.sequence);
		assert_int_equal(message->n_flows, THINGS);
		for (unsigned i = 0; i < THINGS; i++)
			check_flow(message->flows[i], &flows[i], names);
		millrace__v1__flows__free_unpacked(message, NULL);
	}
	names_free(names);
	encoder_free(encoder);
}

/* Nothing of a name that was unknown is remembered. */
static void a_name_that_comes_is_shown_from_then_on(void **state)
{
	struct encoder *encoder = encoder_new();
	struct names *names = names_new(16, 0);
	struct rollup rollup = {.window_ms = 1000,
				.scope = SCOPE_CLIENT,
				.edge = {.client = name_id("cart", 4), .port = 80, .protocol = 6},
				.instance = {.workload = name_id("cart", 4)}};

	(void)state;
	rollup.edge.id = edge_id(&rollup.edge);
	rollup.instance.id = instance_id(&rollup.instance);
	for (int come = 0; come < 3; come++) {
		struct encoded bytes = encode_rollups(encoder, &number, &rollup, 1, names);
		Millrace__V1__Rollups *message =
			millrace__v1__rollups__unpack(NULL, bytes.length, bytes.bytes);

		assert_non_null(message);
		check_rollup(message->rows[0], &rollup, names);
		assert_int_equal(come > 0, message->rows[0]->edge->client[0] == 'c');
		millrace__v1__rollups__free_unpacked(message, NULL);
		names_put(names, "cart", 4, 1);
	}
	names_free(names);
	encoder_free(encoder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_alert_is_read_back_as_it_was),
		cmocka_unit_test(a_delivery_is_read_back_as_it_was),
		cmocka_unit_test(what_was_given_up_is_in_its_dead_letter),
		cmocka_unit_test(a_baseline_is_read_back_as_it_was),
		cmocka_unit_test(a_tick_moves_the_mirrors_clock_signed_or_not),
		cmocka_unit_test(a_name_that_has_not_come_is_shown_by_its_id),
		cmocka_unit_test(a_name_that_comes_is_shown_from_then_on),
		cmocka_unit_test(rollups_are_what_protobuf_c_would_have_written),
		cmocka_unit_test(flows_are_what_protobuf_c_would_have_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
