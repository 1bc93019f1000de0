#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"

struct receiver {
	char *url, *token;
	uint64_t retries;
	struct config_map headers;
	struct config_list routes;
};

struct route {
	char *match;
	bool stop;
};

struct settings {
	struct config_strings brokers;
	uint64_t linger_ns, rows, free_rows, buffer_bytes;
	double ratio;
	uint32_t codec;
	bool embedded;
	char *name, *password, *note;
	struct config_map labels;
	struct config_list receivers;
};

static const struct config_entry route_entries[] = {
	{.name = "match",
	 .type = CONFIG_STRING,
	 CONFIG_FIELD(struct route, match),
	 .help = "What it takes."},
	{.name = "stop",
	 .type = CONFIG_BOOL,
	 CONFIG_FIELD(struct route, stop),
	 .fallback = "true",
	 .help = "Whether it is the last."},
};
static const struct config_table route_table = {
	.entries = route_entries, .count = 2, .size = sizeof(struct route)};

static const struct config_entry receiver_entries[] = {
	{.name = "url",
	 .type = CONFIG_STRING,
	 CONFIG_FIELD(struct receiver, url),
	 .required = true,
	 .help = "Where to post."},
	{.name = "token",
	 .type = CONFIG_STRING,
	 CONFIG_FIELD(struct receiver, token),
	 .secret = true,
	 .help = "Its key."},
	{.name = "retry.max",
	 .type = CONFIG_UINT,
	 CONFIG_FIELD(struct receiver, retries),
	 .fallback = "3",
	 .max = "10",
	 .help = "Attempts."},
	{.name = "headers",
	 .type = CONFIG_MAP,
	 CONFIG_FIELD(struct receiver, headers),
	 .secret = true,
	 .help = "Sent along."},
	{.name = "routes",
	 .type = CONFIG_LIST,
	 CONFIG_FIELD(struct receiver, routes),
	 .table = &route_table,
	 .help = "What goes there."},
};
static const struct config_table receiver_table = {
	.entries = receiver_entries, .count = 5, .size = sizeof(struct receiver)};

static const char *const codecs[] = {"none", "lz4", "zstd", NULL};
static const struct config_entry entries[] = {
	{.name = "kafka.brokers",
	 .type = CONFIG_STRINGS,
	 CONFIG_FIELD(struct settings, brokers),
	 .fallback = "localhost:9092, other:9092",
	 .min = "1",
	 .max = "3",
	 .help = "Bootstrap servers."},
	{.name = "kafka.linger",
	 .type = CONFIG_DURATION,
	 CONFIG_FIELD(struct settings, linger_ns),
	 .fallback = "5ms",
	 .min = "1us",
	 .max = "1s",
	 .help = "How long a batch waits for more | company, at most, before it goes; a longer "
		 "wait compresses better "
		 "and delays every alert by as much."},
	{.name = "kafka.codec",
	 .type = CONFIG_ENUM,
	 CONFIG_FIELD(struct settings, codec),
	 .fallback = "zstd",
	 .choices = codecs,
	 .help = "Compression."},
	{.name = "kafka.tls.password",
	 .type = CONFIG_STRING,
	 CONFIG_FIELD(struct settings, password),
	 .secret = true,
	 .max = "20",
	 .help = "Of the key."},
	{.name = "rows",
	 .type = CONFIG_UINT,
	 CONFIG_FIELD(struct settings, rows),
	 .fallback = "100",
	 .min = "2",
	 .max = "1000",
	 .unit = "rows",
	 .help = "Rows kept."},
	{.name = "free.rows",
	 .type = CONFIG_UINT,
	 CONFIG_FIELD(struct settings, free_rows),
	 .help = "Unbounded."},
	{.name = "free.buffer",
	 .type = CONFIG_SIZE,
	 CONFIG_FIELD(struct settings, buffer_bytes),
	 .fallback = "64MiB",
	 .help = "Memory."},
	{.name = "ratio",
	 .type = CONFIG_DOUBLE,
	 CONFIG_FIELD(struct settings, ratio),
	 .fallback = "0.25",
	 .min = "-1",
	 .max = "1",
	 .help = "Share."},
	{.name = "embedded",
	 .type = CONFIG_BOOL,
	 CONFIG_FIELD(struct settings, embedded),
	 .fallback = "false",
	 .help = "For trials."},
	{.name = "name",
	 .type = CONFIG_STRING,
	 CONFIG_FIELD(struct settings, name),
	 .fallback = "mill ${race}",
	 .min = "1",
	 .help = "Its name."},
	{.name = "note",
	 .type = CONFIG_STRING,
	 CONFIG_FIELD(struct settings, note),
	 .help = "Free text."},
	{.name = "labels",
	 .type = CONFIG_MAP,
	 CONFIG_FIELD(struct settings, labels),
	 .max = "2",
	 .help = "Sent along."},
	{.name = "receivers",
	 .type = CONFIG_LIST,
	 CONFIG_FIELD(struct settings, receivers),
	 .table = &receiver_table,
	 .max = "2",
	 .help = "Who is told."},
};
static const struct config_table table = {.program = "milltest",
					  .env_prefix = "MILLTEST_",
					  .entries = entries,
					  .count = sizeof(entries) / sizeof(*entries),
					  .size = sizeof(struct settings)};

static char folder[] = "/tmp/config-test-XXXXXX";
static struct settings settings;
static struct config_error error;

static const char *path_of(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void write_file(const char *name, const void *bytes, size_t length)
{
	int file = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(file >= 0);
	assert_int_equal(write(file, bytes, length), length);
	close(file);
}

static int load_with(const char *name, const struct config_setting *flags, size_t count)
{
	struct config_sources sources = {
		.path = name ? path_of(name) : NULL, .settings = flags, .settings_count = count};

	return config_load(&table, &sources, &settings, &error);
}

static int load(const char *text)
{
	if (!text)
		return load_with(NULL, NULL, 0);
	write_file("c.yaml", text, strlen(text));
	return load_with("c.yaml", NULL, 0);
}

static void accept(const char *text)
{
	if (load(text) != 0)
		fail_msg("refused: %s", error.text);
	assert_int_equal(error.count, 0);
	assert_string_equal(error.text, "");
}

static void free_settings(void)
{
	config_free(&table, &settings);
}

static void assert_all_zero(void)
{
	static const struct settings zero;

	assert_memory_equal(&settings, &zero, sizeof(zero));
}

/* expected is without the file's folder. */
static void assert_told(const char *expected)
{
	char text[sizeof(error.text)] = "", *from, *to = text;

	for (from = error.text; *from;) {
		if (strncmp(from, folder, strlen(folder)) == 0)
			from += strlen(folder) + 1;
		else
			*to++ = *from++;
	}
	*to = '\0';
	assert_string_equal(text, expected);
	assert_int_equal(error.length, strlen(error.text));
	assert_all_zero();
}

static void refuse(const char *text, const char *expected)
{
	memset(&settings, 0x5a, sizeof(settings));
	if (load(text) != -EINVAL)
		fail_msg("accepted: %s", text);
	assert_told(expected);
}

static char *printed(void (*print)(FILE *, const struct config_table *))
{
	char *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);

	if (print)
		print(file, &table);
	else
		config_print_effective(file, &table, &settings);
	fclose(file);
	return text;
}

static void without_a_source_every_field_has_its_default(void **state)
{
	(void)state;
	accept(NULL);
	assert_int_equal(settings.brokers.count, 2);
	assert_string_equal(settings.brokers.items[0], "localhost:9092");
	assert_string_equal(settings.brokers.items[1], "other:9092");
	assert_int_equal(settings.linger_ns, 5000000);
	assert_int_equal(settings.codec, 2);
	assert_int_equal(settings.rows, 100);
	assert_int_equal(settings.free_rows, 0);
	assert_int_equal(settings.buffer_bytes, 64 << 20);
	assert_true(settings.ratio == 0.25);
	assert_false(settings.embedded);
	assert_string_equal(settings.name, "mill ${race}");
	assert_null(settings.password);
	assert_int_equal(settings.receivers.count, 0);
	free_settings();
	assert_all_zero();
}

static void a_file_fills_every_type(void **state)
{
	const struct receiver *receivers;
	const struct route *route;

	(void)state;
	accept("kafka:\n"
	       "  brokers: [a:1, 'b:2']\n"
	       "  linger: 250ms\n"
	       "  codec: lz4\n"
	       "  tls: {password: hush}\n"
	       "free.rows: '7' # a quoted number is a number\n"
	       "free.buffer: 1MB\n"
	       "ratio: -2.5e-1\n"
	       "embedded: true\n"
	       "name: null and void\n"
	       "note: \"\"\n"
	       "labels:\n  zone: eu-1a\n  5: true\n"
	       "receivers:\n"
	       "- url: http://one\n"
	       "  retry: {max: 10}\n"
	       "  headers: {Authorization: Bearer x}\n"
	       "  routes: [{match: a}, {match: b, stop: false}]\n"
	       "- {url: http://two}\n");
	assert_int_equal(settings.brokers.count, 2);
	assert_string_equal(settings.brokers.items[1], "b:2");
	assert_int_equal(settings.linger_ns, 250000000);
	assert_int_equal(settings.codec, 1);
	assert_string_equal(settings.password, "hush");
	assert_int_equal(settings.free_rows, 7);
	assert_int_equal(settings.buffer_bytes, 1000000);
	assert_true(settings.ratio == -0.25);
	assert_true(settings.embedded);
	assert_string_equal(settings.name, "null and void");
	assert_string_equal(settings.note, "");
	assert_int_equal(settings.labels.count, 2);
	assert_string_equal(settings.labels.items[1].key, "5");
	assert_string_equal(settings.labels.items[1].value, "true");
	assert_int_equal(settings.receivers.count, 2);
	receivers = settings.receivers.items;
	assert_string_equal(receivers[0].url, "http://one");
	assert_int_equal(receivers[0].retries, 10);
	assert_string_equal(receivers[0].headers.items[0].value, "Bearer x");
	route = receivers[0].routes.items;
	assert_int_equal(receivers[0].routes.count, 2);
	assert_true(route[0].stop);
	assert_string_equal(route[1].match, "b");
	assert_false(route[1].stop);
	assert_int_equal(receivers[1].retries, 3);
	free_settings();
}

static void an_empty_file_and_empty_sections_are_the_defaults(void **state)
{
	const char *const texts[] = {"", "# nothing\n", "---\n", "{}\n",
				     "kafka:\n  # brokers: []\nlabels:\nreceivers:\n"};

	(void)state;
	for (size_t at = 0; at < sizeof(texts) / sizeof(*texts); at++) {
		accept(texts[at]);
		assert_int_equal(settings.brokers.count, 2);
		free_settings();
	}
}

static void numbers_are_read_up_to_their_edges(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} sizes[] = {{"0", 0},
		     {"0TiB", 0},
		     {"17", 17},
		     {"17B", 17},
		     {"1kB", 1000},
		     {"1KiB", 1024},
		     {"1GB", 1000000000},
		     {"1GiB", 1 << 30},
		     {"1TB", 1000000000000},
		     {"16777215TiB", 16777215ULL << 40},
		     {"18446744073709551615", UINT64_MAX}},
	  durations[] = {{"1us", 1000},	     {"1000ns", 1000},	     {"1ms", 1000000},
			 {"1s", 1000000000}, {"1000ms", 1000000000}, {"999999999ns", 999999999}};
	char text[80];

	(void)state;
	for (size_t at = 0; at < sizeof(sizes) / sizeof(*sizes); at++) {
		snprintf(text, sizeof(text), "free.buffer: %s", sizes[at].text);
		accept(text);
		assert_int_equal(settings.buffer_bytes, sizes[at].value);
		free_settings();
	}
	for (size_t at = 0; at < sizeof(durations) / sizeof(*durations); at++) {
		snprintf(text, sizeof(text), "kafka.linger: %s", durations[at].text);
		accept(text);
		assert_int_equal(settings.linger_ns, durations[at].value);
		free_settings();
	}
	accept("free.rows: 18446744073709551615\nrows: 2\nratio: 1");
	assert_int_equal(settings.free_rows, UINT64_MAX);
	free_settings();
}

static void a_value_out_of_its_range_or_form_is_refused_with_its_place(void **state)
{
	static const char *const cases[][2] = {
		{"kafka:\n  linger: 5m\n",
		 "c.yaml:2:11: kafka.linger: 5m is more than the maximum 1s"},
		{"kafka.linger: 999ns",
		 "c.yaml:1:15: kafka.linger: 999ns is less than the minimum 1us"},
		{"kafka.linger: 0", "c.yaml:1:15: kafka.linger: 0 is less than the minimum 1us"},
		{"kafka.linger: 99999999999999999999d",
		 "c.yaml:1:15: kafka.linger: 99999999999999999999d is more than the maximum 1s"},
		{"kafka.linger: 5",
		 "c.yaml:1:15: kafka.linger: '5' is not a duration: want a whole number and one of "
		 "ns, us, ms, s, m, h, d, such as 250ms"},
		{"kafka.linger: 1.5s",
		 "c.yaml:1:15: kafka.linger: '1.5s' is not a duration: want a whole number and one "
		 "of ns, us, ms, s, m, h, d, such as 250ms"},
		{"free.buffer: 64M",
		 "c.yaml:1:14: free.buffer: '64M' is not a size: want a whole number and one of B, "
		 "kB, MB, GB, TB, KiB, MiB, GiB, TiB, such as 64MiB"},
		{"free.buffer: 16777216TiB", "c.yaml:1:14: free.buffer: 16777216TiB is too large"},
		{"free.rows: 18446744073709551616",
		 "c.yaml:1:12: free.rows: 18446744073709551616 is too large"},
		{"rows: 1", "c.yaml:1:7: rows: 1 is less than the minimum 2"},
		{"rows: 1001", "c.yaml:1:7: rows: 1001 is more than the maximum 1000"},
		{"rows: -5", "c.yaml:1:7: rows: '-5' is not a whole number"},
		{"rows: 0x10", "c.yaml:1:7: rows: '0x10' is not a whole number"},
		{"rows: ''", "c.yaml:1:7: rows: '' is not a whole number"},
		{"rows: \"1\\e[2J\"", "c.yaml:1:7: rows: '1?[2J' is not a whole number"},
		{"rows: \"5\\0\"", "c.yaml:1:7: rows: holds a NUL byte"},
		{"ratio: 1.01", "c.yaml:1:8: ratio: 1.01 is more than the maximum 1"},
		{"ratio: -1.01", "c.yaml:1:8: ratio: -1.01 is less than the minimum -1"},
		{"ratio: nan", "c.yaml:1:8: ratio: 'nan' is not a number"},
		{"ratio: 1e999", "c.yaml:1:8: ratio: 1e999 is too large"},
		{"ratio: 1-1", "c.yaml:1:8: ratio: '1-1' is not a number"},
		{"embedded: yes", "c.yaml:1:11: embedded: 'yes' is neither true nor false"},
		{"kafka: {codec: gzip}",
		 "c.yaml:1:16: kafka.codec: 'gzip' is none of none, lz4, zstd"},
		{"name: ''", "c.yaml:1:7: name: 0 bytes, less than the minimum 1"},
		{"kafka.brokers: []",
		 "c.yaml:1:16: kafka.brokers: 0 items, less than the minimum 1"},
		{"kafka.brokers: [a, b, c, d]",
		 "c.yaml:1:16: kafka.brokers: 4 items, more than the maximum 3"},
		{"kafka.brokers: [a, '']", "c.yaml:1:20: kafka.brokers[1]: an item is empty"},
		{"labels: {a: 1, b: 2, c: 3}",
		 "c.yaml:1:9: labels: 3 items, more than the maximum 2"},
		{"receivers: [{url: a}, {url: b}, {url: c}]",
		 "c.yaml:1:12: receivers: 3 items, more than the maximum 2"},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(*cases); at++)
		refuse(cases[at][0], cases[at][1]);
}

struct single {
	struct config_strings names;
};

static const struct config_entry single_entries[] = {
	{.name = "names",
	 .type = CONFIG_STRINGS,
	 CONFIG_FIELD(struct single, names),
	 .single = true,
	 .help = "Who."},
};
static const struct config_table single_table = {
	.program = "singled", .entries = single_entries, .count = 1, .size = sizeof(struct single)};

static void one_string_may_be_a_list_of_one(void **state)
{
	static const struct {
		const char *text;
		size_t count;
	} cases[] = {
		{"names: a", 1},  {"names: 'a, b'", 1}, {"names: [a]", 1}, {"names: [a, b]", 2},
		{"names: []", 0}, {"names: ''", 0},	{"names:", 0},	   {"{}", 0},
	};
	struct single single;

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(*cases); at++) {
		assert_int_equal(0, config_read(&single_table, "line", cases[at].text,
						strlen(cases[at].text), &single, &error));
		assert_int_equal(cases[at].count, single.names.count);
		if (cases[at].count == 1)
			assert_memory_equal("a", single.names.items[0], 1);
		config_free(&single_table, &single);
	}
	assert_int_not_equal(
		0, config_read(&single_table, "line", "names: {a: b}", 13, &single, &error));
}

static void the_wrong_kind_of_value_is_refused(void **state)
{
	static const char *const cases[][2] = {
		{"rows: [1]", "c.yaml:1:7: rows: want a whole number, not a list"},
		{"rows:", "c.yaml:1:6: rows: want a whole number, not nothing"},
		{"name: ~", "c.yaml:1:7: name: want a string, not nothing"},
		{"name: {a: b}", "c.yaml:1:7: name: want a string, not a section"},
		{"kafka: 5", "c.yaml:1:8: kafka: want a section, not a single value"},
		{"kafka.linger: {a: [b, c]}",
		 "c.yaml:1:15: kafka.linger: want a duration such as 250ms, not a section"},
		{"kafka.brokers: a:9092",
		 "c.yaml:1:16: kafka.brokers: want a list of strings, not a single value"},
		{"kafka.brokers: [[a]]",
		 "c.yaml:1:17: kafka.brokers[0]: want a string, not a list"},
		{"labels: [a]", "c.yaml:1:9: labels: want a map of strings, not a list"},
		{"labels: {a: [b]}", "c.yaml:1:13: labels: want a string, not a list"},
		{"labels: {[a]: b}", "c.yaml:1:10: labels: a key is not a word"},
		{"receivers: {url: a}",
		 "c.yaml:1:12: receivers: want a list of sections, not a section"},
		{"receivers: [a]", "c.yaml:1:13: receivers[0]: want a section, not a single value"},
		{"- a", "c.yaml:1:1: want sections, not a list"},
		{"[a]: b", "c.yaml:1:1: a key is not a word"},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(*cases); at++)
		refuse(cases[at][0], cases[at][1]);
}

static void an_unknown_key_is_refused_with_the_nearest_known(void **state)
{
	static const char *const cases[][2] = {
		{"kafka:\n  broker: [a]\n",
		 "c.yaml:2:3: kafka.broker: unknown; did you mean kafka.brokers?"},
		{"linger: 1ms", "c.yaml:1:1: linger: unknown; did you mean kafka.linger?"},
		{"entirely: {else: [1, {a: b}]}", "c.yaml:1:1: entirely: unknown"},
		{"name_file: x", "c.yaml:1:1: name_file: unknown"},
		{"receivers: [{url: a, tokn: b}]",
		 "c.yaml:1:22: receivers[0].tokn: unknown; did you mean receivers[0].token?"},
		{"'': 1", "c.yaml:1:1: : unknown"},
		{"kafka.: {brokers: [a]}", "c.yaml:1:1: kafka.: unknown"},
	};
	char name[3 * CONFIG_NAME_MAX_BYTES];

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(*cases); at++)
		refuse(cases[at][0], cases[at][1]);
	memset(name, 'x', sizeof(name) - 1);
	memcpy(name + sizeof(name) - 5, ": 1", 4);
	assert_int_equal(load(name), -EINVAL);
	assert_non_null(strstr(error.text, "xxx...: unknown"));
}

static void what_is_written_twice_is_refused(void **state)
{
	(void)state;
	refuse("rows: 5\nrows: 6\n", "c.yaml:2:1: rows: written twice; the first is in line 1");
	refuse("kafka:\n  linger: 1ms\nkafka.linger: 2ms\n",
	       "c.yaml:3:1: kafka.linger: written twice; the first is in line 2");
	refuse("kafka:\n  linger: 1ms\nkafka:\n  codec: lz4\n",
	       "c.yaml:3:1: kafka: written twice; sections are written once");
	refuse("kafka:\n  tls: {}\n  tls: {}\n",
	       "c.yaml:3:3: kafka.tls: written twice; sections are written once");
	refuse("labels: {a: 1, a: 2}", "c.yaml:1:19: labels: 'a' is written twice");
	refuse("kafka.tls:\n  password: a\n  password_file: /b\n",
	       "c.yaml:3:3: kafka.tls.password_file: written twice; the first is in line 2");
}

static void what_must_be_given_is_asked_for(void **state)
{
	(void)state;
	refuse("receivers:\n- url: a\n- token: b\n",
	       "c.yaml:3:3: receivers[1].url: required, and not given");
	/* One whose value is wrong was given. */
	refuse("receivers: [{url: []}]",
	       "c.yaml:1:19: receivers[0].url: want a string, not a list");
}

static void any_source_may_give_what_is_required(void **state)
{
	static const struct config_entry one[] = {{.name = "kafka.topic",
						   .type = CONFIG_STRING,
						   CONFIG_FIELD(struct route, match),
						   .required = true,
						   .help = "Topic."}};
	static const struct config_table required = {.program = "milltest",
						     .env_prefix = "MILLTEST_",
						     .entries = one,
						     .count = 1,
						     .size = sizeof(struct route)};
	const struct config_setting flag = {.value = "kafka.topic=flag", .origin = "--set"};
	struct config_sources none = {0}, flags = {.settings = &flag, .settings_count = 1};
	struct route route;

	(void)state;
	assert_int_equal(config_load(&required, &none, &route, &error), -EINVAL);
	assert_string_equal(error.text, "milltest: kafka.topic: required, and not given");
	assert_int_equal(config_load(&required, &flags, &route, &error), 0);
	assert_string_equal(route.match, "flag");
	config_free(&required, &route);
	setenv("MILLTEST_KAFKA_TOPIC", "variable", 1);
	assert_int_equal(config_load(&required, &none, &route, &error), 0);
	assert_string_equal(route.match, "variable");
	config_free(&required, &route);
	unsetenv("MILLTEST_KAFKA_TOPIC");
}

static void yaml_beyond_a_configuration_is_refused(void **state)
{
	static const char *const cases[][2] = {
		{"name: &a b", "c.yaml:1:7: anchors and aliases are not accepted"},
		{"kafka: &a {linger: 1ms}", "c.yaml:1:8: anchors and aliases are not accepted"},
		{"name: *a", "c.yaml:1:7: anchors and aliases are not accepted"},
		{"rows: !!int 5", "c.yaml:1:7: tags are not accepted"},
		{"rows: 5\n---\nrows: 6\n",
		 "c.yaml:2:1: a second document; a configuration is one"},
		{"x: [[[[[[[[[[[[1]]]]]]]]]]]]",
		 "c.yaml:1:1: x: unknown\nc.yaml:1:15: sections within sections too deep"},
		{"kafka.brokers: [1",
		 "c.yaml:2:1: not YAML: did not find expected ',' or ']', while "
		 "parsing a flow sequence"},
		{"rows: \"\\q\"", "c.yaml:1:8: not YAML: found unknown escape character, while "
				  "parsing a quoted scalar"},
		{"\trows: 5", "c.yaml:1:1: not YAML: found character that cannot start any token, "
			      "while scanning for the next token"},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(cases) / sizeof(*cases); at++)
		refuse(cases[at][0], cases[at][1]);
	assert_int_equal(load("rows: \xff"), -EINVAL);
	assert_non_null(strstr(error.text, "not YAML: invalid leading UTF-8 octet"));
}

static void every_problem_is_told_up_to_a_bound(void **state)
{
	char text[1024] = "", expected[64];

	(void)state;
	refuse("rows: x\nnam: y\nreceivers: [{}]\n",
	       "c.yaml:1:7: rows: 'x' is not a whole number\n"
	       "c.yaml:2:1: nam: unknown; did you mean name?\n"
	       "c.yaml:3:13: receivers[0].url: required, and not given");
	assert_int_equal(error.count, 3);
	for (int at = 0; at < 25; at++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "unknown%d: 1\n", at);
	assert_int_equal(load(text), -EINVAL);
	assert_int_equal(error.count, 25);
	snprintf(expected, sizeof(expected),
		 "/c.yaml:20:1: unknown19: unknown\nand 5 more problems");
	assert_non_null(strstr(error.text, expected));
}

static void a_file_that_is_not_there_or_too_large_is_refused(void **state)
{
	char *large = malloc(CONFIG_FILE_MAX_BYTES + 1);

	(void)state;
	assert_int_equal(load_with("absent.yaml", NULL, 0), -ENOENT);
	assert_told("absent.yaml: cannot read: No such file or directory");
	assert_int_equal(load_with(".", NULL, 0), -EISDIR);
	memset(large, '#', CONFIG_FILE_MAX_BYTES + 1);
	write_file("large.yaml", large, CONFIG_FILE_MAX_BYTES);
	assert_int_equal(load_with("large.yaml", NULL, 0), 0);
	free_settings();
	write_file("large.yaml", large, CONFIG_FILE_MAX_BYTES + 1);
	assert_int_equal(load_with("large.yaml", NULL, 0), -EFBIG);
	assert_told("large.yaml: more than the 1048576 bytes that a configuration may have");
	free(large);
}

static void strings_and_lists_have_their_bounds(void **state)
{
	char *text = malloc(CONFIG_STRING_MAX_BYTES + 64);
	size_t length = (size_t)sprintf(text, "note: ");

	(void)state;
	memset(text + length, 'n', CONFIG_STRING_MAX_BYTES + 1);
	text[length + CONFIG_STRING_MAX_BYTES] = '\0';
	accept(text);
	assert_int_equal(strlen(settings.note), CONFIG_STRING_MAX_BYTES);
	free_settings();
	strcat(text, "n");
	refuse(text, "c.yaml:1:7: note: 65537 bytes, more than the 65536 that a string may have");
	text[length + CONFIG_STRING_MAX_BYTES] = '\0';
	setenv("LONG", text + length, 1);
	refuse("note: ${LONG}x",
	       "c.yaml:1:7: note: more than the 65536 bytes that a string may have");
	unsetenv("LONG");
	strcpy(text, "kafka.brokers: [");
	for (int at = 0; at < CONFIG_ITEMS_MAX; at++)
		strcat(text + at * 2, "a,");
	strcat(text, "a]");
	refuse(text,
	       "c.yaml:1:8209: kafka.brokers[4096]: more than the 4096 items that it may have\n"
	       "c.yaml:1:16: kafka.brokers: 4097 items, more than the maximum 3");
	free(text);
}

static void the_environment_is_put_into_strings_only(void **state)
{
	(void)state;
	setenv("ZONE", "eu: [1]", 1);
	accept("note: <${ZONE}> $${ZONE} $ZONE $$ $\nkafka.brokers: ['${ZONE}']\nlabels: {z: "
	       "'${ZONE}'}\n");
	assert_string_equal(settings.note, "<eu: [1]> ${ZONE} $ZONE $$ $");
	assert_string_equal(settings.brokers.items[0], "eu: [1]");
	assert_string_equal(settings.labels.items[0].value, "eu: [1]");
	free_settings();
	refuse("rows: ${ZONE}", "c.yaml:1:7: rows: '${ZONE}' is not a whole number");
	unsetenv("ZONE");
	refuse("note: ${ZONE}", "c.yaml:1:7: note: ${ZONE} is not in the environment");
	refuse("note: ${ZONE",
	       "c.yaml:1:7: note: ${ wants a variable's name and }; a plain ${ is written $${");
	refuse("note: ${}",
	       "c.yaml:1:7: note: ${ wants a variable's name and }; a plain ${ is written $${");
	refuse("note: ${1A}",
	       "c.yaml:1:7: note: ${ wants a variable's name and }; a plain ${ is written $${");
}

static void a_flag_wins_over_the_environment_and_that_over_the_file(void **state)
{
	const struct config_setting flags[] = {
		{.value = "rows=30", .origin = "--set"},
		{.name = "note", .value = "a=b", .origin = "--note"},
		{.value = "kafka.brokers=x:1 ,y:2", .origin = "--set"}};
	const char *file = "rows: 10\nkafka: {codec: lz4, brokers: [z]}\n";

	(void)state;
	write_file("c.yaml", file, strlen(file));
	setenv("MILLTEST_ROWS", "20", 1);
	setenv("MILLTEST_KAFKA_CODEC", "none", 1);
	setenv("MILLTEST_KAFKA_BROKERS", "q:1", 1);
	setenv("MILLTEST_NOTE", "", 1);
	setenv("MILLTEST_SERVICE_HOST", "10.0.0.1", 1);
	assert_int_equal(load_with("c.yaml", NULL, 0), 0);
	assert_int_equal(settings.rows, 20);
	assert_int_equal(settings.codec, 0);
	assert_null(settings.note);
	assert_int_equal(settings.brokers.count, 1);
	assert_string_equal(settings.brokers.items[0], "q:1");
	free_settings();
	assert_int_equal(load_with("c.yaml", flags, 3), 0);
	assert_int_equal(settings.rows, 30);
	assert_string_equal(settings.note, "a=b");
	assert_int_equal(settings.brokers.count, 2);
	assert_string_equal(settings.brokers.items[0], "x:1");
	free_settings();
	setenv("MILLTEST_ROWS", "many", 1);
	setenv("MILLTEST_KAFKA_BROKERS", "a,,b", 1);
	assert_int_equal(load_with("c.yaml", flags, 3), -EINVAL);
	assert_told("MILLTEST_KAFKA_BROKERS: an item is empty\nMILLTEST_ROWS: 'many' is not a "
		    "whole number");
	unsetenv("MILLTEST_ROWS");
	unsetenv("MILLTEST_KAFKA_CODEC");
	unsetenv("MILLTEST_KAFKA_BROKERS");
	unsetenv("MILLTEST_NOTE");
	unsetenv("MILLTEST_SERVICE_HOST");
}

static void a_wrong_flag_is_refused_without_telling_its_value(void **state)
{
	const struct config_setting flags[] = {{.value = "hunter2", .origin = "--set"},
					       {.value = "kafka.lnger=1ms", .origin = "--set"},
					       {.value = "labels=a", .origin = "--set"},
					       {.value = "receivers=", .origin = "--set"},
					       {.value = "rows=x", .origin = "--set"},
					       {.value = "kafka.brokers= ", .origin = "--set"}};

	(void)state;
	assert_int_equal(load_with(NULL, flags, 6), -EINVAL);
	assert_told("--set: wants name=value\n"
		    "--set: kafka.lnger: unknown; did you mean kafka.linger?\n"
		    "--set: labels: a map of strings can be given in the file only\n"
		    "--set: receivers: a list of sections can be given in the file only\n"
		    "--set: rows: 'x' is not a whole number\n"
		    "--set: kafka.brokers: 0 items, less than the minimum 1");
}

static void a_secret_comes_from_its_file_without_the_last_newline(void **state)
{
	char variable[300];
	struct config_setting flag = {.value = variable, .origin = "--set"};

	(void)state;
	write_file("secret", "two\nlines\r\n", 11);
	accept("kafka.tls.password_file: secret\n"); /* beside the configuration */
	assert_string_equal(settings.password, "two\nlines");
	free_settings();
	setenv("MILLTEST_KAFKA_TLS_PASSWORD_FILE", path_of("secret"), 1);
	accept("kafka.tls.password: other\n");
	assert_string_equal(settings.password, "two\nlines");
	free_settings();
	setenv("MILLTEST_KAFKA_TLS_PASSWORD", "x", 1);
	refuse("", "MILLTEST_KAFKA_TLS_PASSWORD: given twice: MILLTEST_KAFKA_TLS_PASSWORD_FILE is "
		   "set too");
	unsetenv("MILLTEST_KAFKA_TLS_PASSWORD_FILE");
	unsetenv("MILLTEST_KAFKA_TLS_PASSWORD");
	snprintf(variable, sizeof(variable), "kafka.tls.password_file=%s", path_of("secret"));
	assert_int_equal(load_with(NULL, &flag, 1), 0);
	assert_string_equal(settings.password, "two\nlines");
	free_settings();

	refuse("kafka.tls.password_file: /absent/secret",
	       "c.yaml:1:26: kafka.tls.password_file: cannot read /absent/secret: No such file or "
	       "directory");
	write_file("secret", "\n", 1);
	refuse("receivers: [{url: a, token_file: secret}]",
	       "c.yaml:1:34: receivers[0].token_file: secret is empty");
	write_file("secret", "a\0b", 3);
	refuse("kafka.tls.password_file: secret",
	       "c.yaml:1:26: kafka.tls.password_file: secret holds a NUL byte");
	write_file("secret", "hunter2hunter2hunter2", 21);
	refuse("kafka.tls.password_file: secret",
	       "c.yaml:1:26: kafka.tls.password_file: 21 bytes, more than the maximum 20");
	refuse("kafka.tls.password: hunter2hunter2hunter2",
	       "c.yaml:1:21: kafka.tls.password: 21 bytes, more than the maximum 20");
}

static void what_is_in_force_is_printed_without_its_secrets(void **state)
{
	char *text;

	(void)state;
	setenv("MILLTEST_KAFKA_TLS_PASSWORD", "hunter2", 1);
	accept("name: \"a\\\"\\\\\\n$${b}\"\n"
	       "kafka.linger: 60us\n"
	       "labels: {a: b}\n"
	       "receivers: [{url: u, token: hunter2, headers: {Authorization: hunter2}, routes: "
	       "[{match: m}]}]\n");
	unsetenv("MILLTEST_KAFKA_TLS_PASSWORD");
	text = printed(NULL);
	assert_string_equal(text, "kafka:\n"
				  "  brokers: [\"localhost:9092\", \"other:9092\"]\n"
				  "  linger: 60us\n"
				  "  codec: zstd\n"
				  "  tls:\n"
				  "    password: <secret>\n"
				  "rows: 100\n"
				  "free:\n"
				  "  rows: 0\n"
				  "  buffer: 64MiB\n"
				  "ratio: 0.25\n"
				  "embedded: false\n"
				  "name: \"a\\\"\\\\\\x0a$${b}\"\n"
				  "labels:\n"
				  "  \"a\": \"b\"\n"
				  "receivers:\n"
				  "  -\n"
				  "    url: \"u\"\n"
				  "    token: <secret>\n"
				  "    retry:\n"
				  "      max: 3\n"
				  "    headers:\n"
				  "      \"Authorization\": <secret>\n"
				  "    routes:\n"
				  "      -\n"
				  "        match: \"m\"\n"
				  "        stop: true\n");
	free_settings();
	/* It is a file: what it says reads back to the same, but for the secrets. */
	accept(text);
	assert_string_equal(settings.name, "a\"\\\n${b}");
	assert_string_equal(settings.password, "<secret>");
	free(text);
	free_settings();
}

static void the_printed_defaults_are_a_file_that_is_the_defaults(void **state)
{
	char *defaults, *of_none, *of_defaults;

	(void)state;
	defaults = printed(config_print_defaults);
	accept(NULL);
	of_none = printed(NULL);
	free_settings();
	accept(defaults);
	of_defaults = printed(NULL);
	free_settings();
	assert_string_equal(of_none, of_defaults);
	assert_non_null(strstr(defaults, "# The configuration of milltest."));
	assert_non_null(strstr(defaults,
			       "kafka:\n"
			       "  # Bootstrap servers.\n"
			       "  # list of strings, 1 to 3 items; MILLTEST_KAFKA_BROKERS\n"
			       "  brokers: [\"localhost:9092\", \"other:9092\"]\n"));
	assert_non_null(strstr(defaults, "  tls:\n"
					 "    # Of the key.\n"
					 "    # string, at most 20 bytes, secret; "
					 "MILLTEST_KAFKA_TLS_PASSWORD; or password_file: a path\n"
					 "    # password: \"\"\n"));
	assert_non_null(strstr(defaults, "# receivers:\n#   - # each item has:\n"));
	free(defaults);
	free(of_none);
	free(of_defaults);
}

static void help_and_reference_name_every_entry(void **state)
{
	char *help = printed(config_print_help), *markdown = printed(config_print_markdown);

	(void)state;
	for (size_t at = 0; at < table.count; at++) {
		assert_non_null(strstr(help, entries[at].name));
		assert_non_null(strstr(markdown, entries[at].name));
	}
	assert_non_null(strstr(
		help,
		"  rows  whole number of rows, 2 to 1000, default 100\n        Rows kept.\n"));
	assert_non_null(strstr(
		markdown,
		"| `kafka.codec` | one of none, lz4, zstd | `zstd` | `MILLTEST_KAFKA_CODEC` | "
		"Compression. |\n"));
	assert_non_null(strstr(markdown, "more \\| company"));
	assert_non_null(strstr(
		markdown,
		"| `receivers[].token`, `receivers[].token_file` | string, secret |  |  | "));
	for (const char *line = help; *line; line = strchr(line, '\n') + 1)
		assert_true(strcspn(line, "\n") <= 100);
	free(help);
	free(markdown);
}

/* What a reload may meet: a good file with bytes changed, dropped or doubled is taken whole or not
 * at all. */
static void a_damaged_file_is_taken_whole_or_not_at_all(void **state)
{
	enum { MUTANTS = 100000 };
	static const char good[] =
		"kafka:\n  brokers: [a:1, b:2]\n  linger: 5ms\n  tls: {password: p}\nrows: 10\n"
		"labels: {a: b}\nreceivers:\n- url: x\n  headers: {h: v}\n  routes: [{match: a}]\n";
	static const char bytes[] = " \n\t:-[]{},'\"&*!#|>%@`$\\019azx\xc3\xa9\xff";
	char text[sizeof(good)], path[64];
	struct config_sources sources = {.path = path};
	int file = memfd_create("mutant", MFD_CLOEXEC);
	size_t taken = 0;

	(void)state;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	for (uint64_t seed = 1; seed <= MUTANTS; seed++) {
		size_t length = sizeof(good) - 1;
		int result;

		memcpy(text, good, sizeof(good));
		for (uint64_t word = hash_mix(seed), step = 0; step <= seed % 3;
		     step++, word = hash_mix(word + 1))
			text[word % length] = bytes[(word >> 32) % (sizeof(bytes) - 1)];
		if (seed % 16 == 0)
			length = hash_mix(seed + MUTANTS) % length;
		assert_int_equal(pwrite(file, text, length, 0), length);
		assert_int_equal(ftruncate(file, (off_t)length), 0);
		result = config_load(&table, &sources, &settings, &error);
		if ((result == 0) != (error.count == 0) || (result == 0) != (error.length == 0))
			fail_msg("seed %llu: %d with %zu problems", (unsigned long long)seed,
				 result, error.count);
		taken += result == 0;
		if (result == 0)
			free_settings();
		assert_all_zero();
	}
	close(file);
	assert_in_range(taken, MUTANTS / 100, MUTANTS * 99 / 100);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	static const char *const names[] = {"c.yaml", "large.yaml", "secret"};

	(void)state;
	for (size_t at = 0; at < sizeof(names) / sizeof(*names); at++)
		unlink(path_of(names[at]));
	return rmdir(folder);
}

static void a_text_of_somebody_elses_sees_nothing_of_this_process(void **state)
{
	static const char text[] = "note: \"${HOME} $${x}\"\nrows: 7\n";
	static const char wrong[] = "rows: 7\nratio: 3\n";

	(void)state;
	setenv("MILLTEST_NAME", "elsewhere", 1);
	assert_int_equal(config_read(&table, "told", text, strlen(text), &settings, &error), 0);
	assert_string_equal(settings.note, "${HOME} $${x}");
	assert_string_equal(settings.name, "mill ${race}");
	assert_int_equal(settings.rows, 7);
	config_free(&table, &settings);
	unsetenv("MILLTEST_NAME");
	assert_int_equal(config_read(&table, "told", wrong, strlen(wrong), &settings, &error),
			 -EINVAL);
	assert_non_null(strstr(error.text, "told:2:"));
	assert_null(settings.name);
}

static void what_a_text_begins_with_is_its_first_key(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool begins;
	} cases[] = {
		{"monitors: []\n", true},
		{"# a comment\n---\nmonitors:\n  - {name: a}\n", true},
		{"{\"monitors\": [", true}, /* what is wrong behind it is told by who reads it */
		{"name: monitors\nmonitors: []\n", false},
		{"# monitors\nname: a\n", false},
		{"monitors", false},
		{"[monitors]", false},
		{"", false},
		{"{", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(
			config_begins_with(cases[i].text, strlen(cases[i].text), "monitors"),
			cases[i].begins);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_source_every_field_has_its_default),
		cmocka_unit_test(a_file_fills_every_type),
		cmocka_unit_test(an_empty_file_and_empty_sections_are_the_defaults),
		cmocka_unit_test(numbers_are_read_up_to_their_edges),
		cmocka_unit_test(a_value_out_of_its_range_or_form_is_refused_with_its_place),
		cmocka_unit_test(one_string_may_be_a_list_of_one),
		cmocka_unit_test(the_wrong_kind_of_value_is_refused),
		cmocka_unit_test(an_unknown_key_is_refused_with_the_nearest_known),
		cmocka_unit_test(what_is_written_twice_is_refused),
		cmocka_unit_test(what_must_be_given_is_asked_for),
		cmocka_unit_test(any_source_may_give_what_is_required),
		cmocka_unit_test(yaml_beyond_a_configuration_is_refused),
		cmocka_unit_test(every_problem_is_told_up_to_a_bound),
		cmocka_unit_test(a_file_that_is_not_there_or_too_large_is_refused),
		cmocka_unit_test(strings_and_lists_have_their_bounds),
		cmocka_unit_test(the_environment_is_put_into_strings_only),
		cmocka_unit_test(a_flag_wins_over_the_environment_and_that_over_the_file),
		cmocka_unit_test(a_wrong_flag_is_refused_without_telling_its_value),
		cmocka_unit_test(a_secret_comes_from_its_file_without_the_last_newline),
		cmocka_unit_test(what_is_in_force_is_printed_without_its_secrets),
		cmocka_unit_test(the_printed_defaults_are_a_file_that_is_the_defaults),
		cmocka_unit_test(help_and_reference_name_every_entry),
		cmocka_unit_test(a_damaged_file_is_taken_whole_or_not_at_all),
		cmocka_unit_test(a_text_of_somebody_elses_sees_nothing_of_this_process),
		cmocka_unit_test(what_a_text_begins_with_is_its_first_key),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
