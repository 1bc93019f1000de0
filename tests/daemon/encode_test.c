/* What millraced reads back is what it wrote; a tick is a record that the mirror takes; what has no
 * name is shown by its id. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/batch/seal.h"
#include "base/clock.h"
#include "daemon/encode.h"
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
			      .baseline_median = 0.01,
			      .baseline_mad = 0.002,
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
	alert.suspects[0] = (struct suspect){
		.kind = SUSPECT_SERVER_ZONE, .share = 0.9, .excess = 3, .name = "b"};
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
	assert_true(back.baseline_median == 0.01 && back.baseline_mad == 0.002);
	assert_int_equal(1000, back.window_ms);
	assert_int_equal(alert.started_ns, back.started_ns);
	assert_int_equal(alert.ended_ns, back.ended_ns);
	assert_int_equal(alert.pane_end_ns, back.pane_end_ns);
	assert_int_equal(alert.last_event_ns, back.last_event_ns);
	assert_int_equal(1, back.suspects_count);
	assert_int_equal(SUSPECT_SERVER_ZONE, back.suspects[0].kind);
	assert_string_equal("b", back.suspects[0].name);
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
				    .severity = ALERT_ERROR,
				    .failed = true,
				    .error = "the receiver answered 500"};
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
	assert_true(back.resolve_owed && back.failed);
	assert_int_equal(ALERT_ERROR, back.severity);
	assert_string_equal(delivery.error, back.error);
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
					 .median = 250000,
					 .mad = 1000};
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
	assert_int_equal(250000, back.median);
	assert_int_equal(1000, back.mad);
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

static uint32_t on_lane_hold(void *context, uint32_t client, uint32_t server, uint16_t port,
			     uint8_t protocol)
{
	(void)context, (void)client, (void)server, (void)port, (void)protocol;
	return 0;
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
					 .secret = (const uint8_t *)secret,
					 .secret_length = secret ? strlen(secret) : 0,
					 .sinks = {NULL, on_halves, on_deltas, on_amendments,
						   on_lane_hold, on_lane_drop, on_deadletter}});
	struct encoder *encoder = encoder_new();
	uint64_t now = 1700000000 * NS_PER_S;
	uint8_t key[SEAL_KEY_BYTES];

	if (secret)
		assert_int_equal(0,
				 seal_pipeline_key((const uint8_t *)secret, strlen(secret), key));

	struct encoded bytes = encode_tick(encoder, now, secret ? key : NULL);

	mirror_push(mirror, &(struct mirror_record){bytes.bytes, bytes.length, now, 0}, 1);
	assert_int_equal(1, mirror_stats(mirror).ticks);
	assert_int_equal(now, mirror_clock(mirror));
	encoder_free(encoder);
	mirror_free(mirror);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_alert_is_read_back_as_it_was),
		cmocka_unit_test(a_delivery_is_read_back_as_it_was),
		cmocka_unit_test(a_baseline_is_read_back_as_it_was),
		cmocka_unit_test(a_tick_moves_the_mirrors_clock_signed_or_not),
		cmocka_unit_test(a_name_that_has_not_come_is_shown_by_its_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
