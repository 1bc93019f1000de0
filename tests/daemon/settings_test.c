/* The table's defaults are sound, and what is wrong is told in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/settings.h"

static struct config_error problem;

static int load(const char *value, struct settings *settings, char *error, size_t size)
{
	const struct config_setting setting = {.value = value, .origin = "--set"};
	const struct config_sources sources = {.settings = &setting,
					       .settings_count = value ? 1 : 0};
	int rc = config_load(&settings_table, &sources, settings, &problem);

	return rc ? rc : settings_check(settings, error, size);
}

static void the_defaults_are_sound(void **state)
{
	struct settings settings;
	struct monitor *monitors;
	char error[512];
	size_t count;

	(void)state;
	assert_int_equal(0, load(NULL, &settings, error, sizeof(error)));
	assert_string_equal("127.0.0.1:7470", settings.listen);
	assert_string_equal("127.0.0.1:7472", settings.embedded_listen);
	assert_int_equal(16, settings.tasks);
	monitors = settings_monitors(&settings, &count);
	assert_int_equal(settings.monitors.count, count);
	free(monitors);
	config_free(&settings_table, &settings);
}

static void problems_name_their_entry(void **state)
{
	static const struct {
		const char *value, *words;
	} wrong[] = {
		{"listen=nowhere", "listen"},  {"embedded.listen=1.2.3.4", "embedded.listen"},
		{"tls.certificate=/x", "tls"}, {"pipeline.tasks=0", "pipeline.tasks"},
		{"no.such=1", "no.such"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct settings settings;
		char error[512] = "";

		problem.text[0] = '\0';
		assert_int_not_equal(0, load(wrong[i].value, &settings, error, sizeof(error)));
		if (!strstr(error, wrong[i].words) && !strstr(problem.text, wrong[i].words))
			fail_msg("%s: \"%s\" \"%s\"", wrong[i].value, error, problem.text);
		config_free(&settings_table, &settings);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_defaults_are_sound),
		cmocka_unit_test(problems_name_their_entry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
