/* The control topic's client: one that cannot be made is told; one whose files of TLS change is
 * made anew and goes on where it was. The broker is librdkafka's mock cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <librdkafka/rdkafka.h>

#include <librdkafka/rdkafka_mock.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/controlwatch.h"
#include "kafka/security.h"

enum { WITHIN_MS = 30000 };

static void trouble(void *context, const char *sentence)
{
	(void)context, (void)sentence;
}

static void on_record(void *context, const uint8_t *value, size_t length, uint64_t append_ns)
{
	(void)context, (void)value, (void)length, (void)append_ns;
	fail();
}

/* What it says, or "" if it could be opened. */
static const char *open_with(const char *name, const char *value)
{
	static char why[CONTROLWATCH_WHY_BYTES];
	char key[64], text[64];
	snprintf(key, sizeof(key), "%s", name);
	snprintf(text, sizeof(text), "%s", value);
	struct config_pair pair = {.key = key, .value = text};
	struct kafka_options options = {.properties = {.items = &pair, .count = 1}};
	struct security *security = security_new(&options, trouble, NULL);
	struct controlwatch *watch = NULL;
	uv_loop_t loop;
	assert_int_equal(uv_loop_init(&loop), 0);
	why[0] = 0;
	int error = controlwatch_open(&watch,
				      &(struct controlwatch_options){
					      .loop = &loop,
					      .brokers = "127.0.0.1:1",
					      .topic = "millrace.control",
					      .security = security,
					      .record = on_record,
				      },
				      why);
	assert_int_equal(error, why[0] ? -EINVAL : 0);
	controlwatch_close(watch);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	security_free(security);
	return why;
}

static void properties_that_a_consumer_refuses_are_told(void **state)
{
	(void)state;
	/* good for a producer; a fetch would be smaller than a message */
	assert_non_null(strstr(open_with("message.max.bytes", "4000000"), "fetch.max.bytes"));
	assert_non_null(strstr(open_with("no.such.property", "1"), "no.such.property"));
}

static void give(const char *brokers, const char *value)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char text[256];
	assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", brokers, text, sizeof(text)),
			 RD_KAFKA_CONF_OK);
	rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	assert_non_null(producer);
	assert_int_equal(
		rd_kafka_producev(
			producer, RD_KAFKA_V_TOPIC("millrace.control"), RD_KAFKA_V_PARTITION(0),
			RD_KAFKA_V_VALUE((void *)(uintptr_t)value, strlen(value)), RD_KAFKA_V_END),
		0);
	assert_int_equal(rd_kafka_flush(producer, WITHIN_MS), 0);
	rd_kafka_destroy(producer);
}

static void put_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void keep_record(void *context, const uint8_t *value, size_t length, uint64_t append_ns)
{
	char *all = context;
	(void)append_ns;
	strncat(all, (const char *)value, length);
}

/* Runs the loop until so many records have come by so many clients. */
static void run_until(uv_loop_t *loop, const struct controlwatch *watch, uint64_t records,
		      uint64_t clients)
{
	uint64_t until_ms = uv_now(loop) + WITHIN_MS;
	while (controlwatch_stats(watch).records < records ||
	       controlwatch_stats(watch).clients < clients) {
		uv_run(loop, UV_RUN_ONCE); /* its timer comes each second */
		assert_true(uv_now(loop) < until_ms);
	}
}

static void files_that_change_make_the_client_anew_where_it_was(void **state)
{
	(void)state;
	char path[] = "/tmp/millrace-controlwatch-XXXXXX", text[CONTROLWATCH_WHY_BYTES],
	     all[64] = "";
	close(mkstemp(path));
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	assert_int_equal(rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", text, sizeof(text)),
			 RD_KAFKA_CONF_OK);
	rd_kafka_t *host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	rd_kafka_mock_cluster_t *cluster = rd_kafka_handle_mock_cluster(host);
	const char *brokers = rd_kafka_mock_cluster_bootstraps(cluster);
	assert_int_equal(rd_kafka_mock_topic_create(cluster, "millrace.control", 1, 1), 0);
	struct kafka_options options = {.tls_ca = path};
	struct security *security = security_new(&options, trouble, NULL);
	struct controlwatch *watch;
	uv_loop_t loop;
	assert_int_equal(uv_loop_init(&loop), 0);
	give(brokers, "first ");
	assert_int_equal(controlwatch_open(&watch,
					   &(struct controlwatch_options){
						   .loop = &loop,
						   .brokers = brokers,
						   .topic = "millrace.control",
						   .security = security,
						   .record = keep_record,
						   .context = all,
					   },
					   text),
			 0);
	run_until(&loop, watch, 1, 1);
	put_file(path, "renewed");
	run_until(&loop, watch, 1, 2);
	give(brokers, "second");
	run_until(&loop, watch, 2, 2);
	assert_string_equal(all, "first second");
	assert_int_equal(controlwatch_stats(watch).clients, 2);
	controlwatch_close(watch);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	security_free(security);
	rd_kafka_destroy(host);
	unlink(path);
}

static void a_broker_that_is_away_is_no_reason(void **state)
{
	(void)state;
	assert_string_equal(open_with("client.id", "other"), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(properties_that_a_consumer_refuses_are_told),
		cmocka_unit_test(a_broker_that_is_away_is_no_reason),
		cmocka_unit_test(files_that_change_make_the_client_anew_where_it_was),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
