#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/options.h"
#include "agent/syscalls.h"

static int load(struct agent_options *options, struct config_error *error, const char *setting)
{
	struct config_setting settings[] = {{.value = setting, .origin = "--set"}};
	struct config_sources sources = {.settings = settings, .settings_count = setting ? 1 : 0};
	return config_load(&agent_options_table, &sources, options, error);
}

static void labels_have_a_bound(void **state)
{
	(void)state;
	char key[] = "rack", empty[] = "", value[257], why[CONFIG_ERROR_BYTES];
	memset(value, 'x', sizeof(value) - 1);
	value[256] = 0;
	struct config_pair label = {.key = key, .value = value + 1};
	char node[] = "n";
	struct agent_options options = {.node = node, .labels = {.items = &label, .count = 1}};
	assert_int_equal(agent_options_finish(&options, why), 0);
	label.value = value;
	assert_int_equal(agent_options_finish(&options, why), -EINVAL);
	assert_non_null(strstr(why, "labels: rack"));
	label = (struct config_pair){.key = empty, .value = key};
	assert_int_equal(agent_options_finish(&options, why), -EINVAL);
}

static void ecs_is_asked_at_an_address_and_a_port(void **state)
{
	(void)state;
	char node[] = "n", why[CONFIG_ERROR_BYTES];
	static const char *const good[] = {"169.254.170.2:80", "[::1]:51679", ""};
	static const char *const bad[] = {"169.254.170.2", "http://169.254.170.2:80", "ecs:80",
					  "169.254.170.2:x", "169.254.170.2:65536"};
	struct agent_options options = {.node = node};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		options.ecs_endpoint = (char *)(uintptr_t)good[i];
		assert_int_equal(agent_options_finish(&options, why), 0);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		options.ecs_endpoint = (char *)(uintptr_t)bad[i];
		assert_int_equal(agent_options_finish(&options, why), -EINVAL);
		assert_non_null(strstr(why, "containers.ecs_endpoint"));
	}
}

static void an_absent_file_gives_the_documented_defaults(void **state)
{
	(void)state;
	struct agent_options options;
	struct config_error error;
	char why[CONFIG_ERROR_BYTES];
	assert_int_equal(load(&options, &error, NULL), 0);
	assert_int_equal(agent_options_finish(&options, why), 0);
	assert_true(strlen(options.node) > 0);
	assert_int_equal(options.brokers.count, 1);
	assert_string_equal(options.brokers.items[0], "127.0.0.1:9092");
	assert_string_equal(options.topic, "millrace.events");
	assert_string_equal(options.listen, "127.0.0.1:7471");
	assert_int_equal(options.batch_interval_ns, 100000000);
	assert_int_equal(options.scan_period_ns, 1000000000);
	assert_int_equal(options.key_frame_ns, 45000000000);
	assert_int_equal(options.spool_bytes, 64 << 20);
	assert_true(options.budget_cpu_percent == 0.5);
	assert_int_equal(options.cloud, AGENT_CLOUD_AUTO);
	assert_string_equal(options.control_topic, "millrace.control");
	assert_int_equal(options.labels.count, 0);
	assert_true(options.processes && options.conntrack && options.self_probe &&
		    options.run_stats && options.drop_capabilities && options.sni);
	assert_int_equal(options.sni_ports[0], 443);
	assert_int_equal(options.sni_ports[1], 8443);
	assert_int_equal(options.sni_ports[2], 0);
	assert_int_equal(options.seccomp, SYSCALLS_KILL);
	config_free(&agent_options_table, &options);
}

static void a_wrong_setting_is_refused(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"key_frame.period=60s",
		"batch.interval=0",
		"batch.interval=3s",
		"kafka.broker=a:1",
		"limits.sockets=1",
		"features.conntrack=perhaps",
		"key=short",
		"scan.cpu=0",
		"sni.ports=1,2,3,4,5,6,7,8,9",
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct agent_options options;
		struct config_error error;
		if (load(&options, &error, wrong[i]) == 0)
			fail_msg("%s was taken", wrong[i]);
		assert_true(error.count > 0);
	}
}

static void a_list_is_taken_with_commas(void **state)
{
	(void)state;
	struct agent_options options;
	struct config_error error;
	assert_int_equal(load(&options, &error, "scope.netns=blue,green"), 0);
	assert_int_equal(options.scope_netns.count, 2);
	assert_string_equal(options.scope_netns.items[1], "green");
	config_free(&agent_options_table, &options);
}

static void ports_are_numbers(void **state)
{
	(void)state;
	static const char *const good[] = {"sni.ports=", "sni.ports=1,65535",
					   "sni.ports=1,2,3,4,5,6,7,8"};
	static const char *const bad[] = {"sni.ports=0", "sni.ports=65536", "sni.ports=https",
					  "sni.ports=443x", "sni.ports=-1"};
	struct agent_options options;
	struct config_error error;
	char why[CONFIG_ERROR_BYTES];
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(load(&options, &error, good[i]), 0);
		assert_int_equal(agent_options_finish(&options, why), 0);
		assert_int_equal(options.sni_ports[7], i == 2 ? 8 : 0);
		assert_int_equal(options.sni_ports[0], i > 0);
		config_free(&agent_options_table, &options);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(load(&options, &error, bad[i]), 0);
		assert_int_equal(agent_options_finish(&options, why), -EINVAL);
		assert_non_null(strstr(why, "sni.ports"));
		config_free(&agent_options_table, &options);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ecs_is_asked_at_an_address_and_a_port),
		cmocka_unit_test(an_absent_file_gives_the_documented_defaults),
		cmocka_unit_test(labels_have_a_bound),
		cmocka_unit_test(a_wrong_setting_is_refused),
		cmocka_unit_test(a_list_is_taken_with_commas),
		cmocka_unit_test(ports_are_numbers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
