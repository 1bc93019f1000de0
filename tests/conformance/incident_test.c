/* One fault, whatever number of edges and owners it touches, is one alert. */
#include "tests/conformance/run.h"

enum { PARTITIONS = 16, CALLERS = 30, ATTEMPTS = 3 };

static const struct monitor failures = {.name = "failures",
					.metric = METRIC_FAILURE_RATIO,
					.threshold = 0.5,
					.clear = 0.5,
					.window_ns = SEC(1),
					.clear_ns = SEC(2),
					.minimum = ATTEMPTS,
					.severity = ALERT_ERROR};

static struct run *run_watched(const struct log *log, uint64_t order)
{
	return run_with(log, &(struct run_options){
				     .order = order, .monitors = &failures, .monitors_count = 1});
}

/* Connects once, so that it is known who serves there, and fails later. */
static void caller(struct log *log, uint32_t node, uint32_t server, uint32_t number,
		   const char *place_of_server)
{
	char from[32];
	snprintf(from, sizeof(from), "10.0.1.%u:40000", number + 1);
	uint32_t client = log_connect(log, SEC(1) + MS(30), node, from, place_of_server);
	uint32_t accepted = log_accept(log, SEC(1) + MS(30), server, place_of_server, from);
	log_close_both(log, SEC(2) + MS(30), client, accepted);
	for (uint32_t i = 0; i < ATTEMPTS; i++) {
		snprintf(from, sizeof(from), "10.0.1.%u:%u", number + 1, 40001 + i);
		uint32_t attempt =
			log_connect(log, SEC(5) + MS(30 + i), node, from, place_of_server);
		log_close(log, SEC(5) + MS(60 + i), attempt, CLOSE_REFUSED);
	}
}

static struct log *callers_new(void)
{
	struct log *log = log_new(PARTITIONS);
	uint32_t server = log_node(log, "server", "db");
	for (uint32_t i = 0; i < CALLERS; i++) {
		char name[16], comm[16];
		snprintf(name, sizeof(name), "node-%u", i);
		snprintf(comm, sizeof(comm), "caller-%u", i);
		caller(log, log_node(log, name, comm), server, i, "10.0.0.1:5432");
	}
	log_seal(log);
	return log;
}

static void all_callers_of_a_server_that_fails_are_one_alert(void **state)
{
	(void)state;
	struct log *log = callers_new();
	struct run *run = run_watched(log, 0);
	assert_int_equal(run->alerts_count, 2);
	assert_int_equal(run->alerts[0].state, ALERT_FIRING);
	/* Each caller's, and that of all of them. */
	assert_int_equal(run->alerts[0].episodes, CALLERS + 1);
	assert_string_equal(run->alerts[0].subject.server, "db");
	assert_non_null(strstr(run->alerts[0].summary, "30 edges are affected"));
	assert_int_equal(run->alerts[1].state, ALERT_RESOLVED);
	assert_string_equal(run->alerts[1].key, run->alerts[0].key);
	assert_int_equal(run->alerts[1].sequence, 2);
	for (uint64_t order = 1; order <= 5; order++) {
		struct run *other = run_watched(log, order);
		run_expect_same(run, other);
		run_free(other);
	}
	run_free(run);
	log_free(log);
}

/* Each edge lives with another owner. */
static void a_chain_across_owners_is_named_by_its_end(void **state)
{
	(void)state;
	static const char *const comms[] = {"front", "web", "api", "db"};
	struct log *log = log_new(PARTITIONS);
	uint32_t nodes[4];
	for (uint32_t i = 0; i < 4; i++)
		nodes[i] = log_node(log, comms[i], comms[i]);
	for (uint32_t i = 0; i < 3; i++) {
		char server[32];
		snprintf(server, sizeof(server), "10.0.2.%u:80", i + 1);
		caller(log, nodes[i], nodes[i + 1], i, server);
	}
	log_seal(log);
	struct run *run = run_watched(log, 0);
	assert_int_equal(run->alerts_count, 2);
	assert_string_equal(run->alerts[0].subject.client, "api");
	assert_string_equal(run->alerts[0].subject.server, "db");
	assert_int_equal(run->alerts[0].members_count, 3);
	run_free(run);
	log_free(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_callers_of_a_server_that_fails_are_one_alert),
		cmocka_unit_test(a_chain_across_owners_is_named_by_its_end),
	};
	return cmocka_run_group_tests_name("conformance/incident", tests, NULL, NULL);
}
