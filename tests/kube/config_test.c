/* Kubeconfigs and service accounts, as people and clusters write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kube/config.h"

struct fixture {
	char folder[64], path[128], why[KUBE_WHY_BYTES];
	struct kube_config config;
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/millrace-kube-XXXXXX");
	if (!mkdtemp(fixture->folder))
		return -1;
	snprintf(fixture->path, sizeof(fixture->path), "%s/config", fixture->folder);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	char command[128];
	kube_config_free(&fixture->config);
	snprintf(command, sizeof(command), "rm -r %s", fixture->folder);
	int status = system(command);
	free(fixture);
	return status;
}

static void put(struct fixture *fixture, const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", fixture->folder, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

/* A kubeconfig with these flow mappings as cluster and user. */
static int load(struct fixture *fixture, const char *cluster, const char *user)
{
	char text[4096];
	snprintf(text, sizeof(text),
		 "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
		 "clusters:\n- {name: other, cluster: {server: 'https://no'}}\n"
		 "- {name: c, cluster: %s}\n"
		 "contexts:\n- {name: here, context: {cluster: c, user: u}}\n"
		 "- {name: nobody, context: {cluster: c}}\n"
		 "users:\n- {name: u, user: %s}\n",
		 cluster, user);
	put(fixture, "config", text);
	return kube_config_load(fixture->path, NULL, &fixture->config, fixture->why);
}

#define CLUSTER "{server: 'https://10.0.0.1:6443/'}"

static void a_context_leads_to_its_cluster_and_its_user(void **state)
{
	struct fixture *fixture = *state;
	char ca[160];
	assert_int_equal(load(fixture,
			      "{server: 'https://10.0.0.1:6443/', certificate-authority: ca.crt, "
			      "insecure-skip-tls-verify: true}",
			      "{client-certificate: /x/c.crt, client-key: k.key}"),
			 0);
	snprintf(ca, sizeof(ca), "%s/ca.crt", fixture->folder);
	assert_string_equal(fixture->config.server, "https://10.0.0.1:6443");
	assert_string_equal(fixture->config.ca_path, ca);
	assert_true(fixture->config.insecure);
	assert_string_equal(fixture->config.certificate_path, "/x/c.crt");
	assert_non_null(strstr(fixture->config.key_path, "/k.key"));
	assert_null(fixture->config.token);
}

static void data_in_base64_win_over_files(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(load(fixture,
			      "{server: 'https://a', certificate-authority: ca.crt, "
			      "certificate-authority-data: "
			      "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCngKLS0tLS1FTkQgQ0VSVElGSUNBVEUt"
			      "LS0tLQo=}",
			      "{token: abc}"),
			 0);
	assert_null(fixture->config.ca_path);
	assert_string_equal(fixture->config.ca,
			    "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n");
	assert_false(fixture->config.insecure);
}

static void another_context_may_be_asked_for(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(load(fixture, CLUSTER, "{token: abc}"), 0);
	kube_config_free(&fixture->config);
	assert_int_equal(kube_config_load(fixture->path, "nobody", &fixture->config, fixture->why),
			 0);
	assert_null(fixture->config.token);
	kube_config_free(&fixture->config);
	assert_int_equal(kube_config_load(fixture->path, "gone", &fixture->config, fixture->why),
			 -EINVAL);
	assert_non_null(strstr(fixture->why, "there is no context gone"));
}

static void a_token_file_is_read_each_time(void **state)
{
	struct fixture *fixture = *state;
	static char token[KUBE_TOKEN_MAX + 1];
	assert_int_equal(load(fixture, CLUSTER, "{token: old, tokenFile: tok}"), 0);
	put(fixture, "tok", "first\n");
	assert_int_equal(kube_config_token(&fixture->config, token, fixture->why), 0);
	assert_string_equal(token, "first");
	put(fixture, "tok", "second");
	assert_int_equal(kube_config_token(&fixture->config, token, fixture->why), 0);
	assert_string_equal(token, "second");
	put(fixture, "tok", "sec\nond");
	assert_int_equal(kube_config_token(&fixture->config, token, fixture->why), -EINVAL);
	assert_string_equal(token, "");
	put(fixture, "tok", "");
	assert_int_equal(kube_config_token(&fixture->config, token, fixture->why), -EINVAL);
}

static void the_longest_token_is_read_and_a_longer_one_refused(void **state)
{
	struct fixture *fixture = *state;
	static char token[KUBE_TOKEN_MAX + 1], text[KUBE_TOKEN_MAX + 2];
	assert_int_equal(load(fixture, CLUSTER, "{tokenFile: tok}"), 0);
	memset(text, 'a', KUBE_TOKEN_MAX);
	put(fixture, "tok", text);
	assert_int_equal(kube_config_token(&fixture->config, token, fixture->why), 0);
	text[KUBE_TOKEN_MAX] = 'a';
	put(fixture, "tok", text);
	assert_int_equal(kube_config_token(&fixture->config, token, fixture->why), -EFBIG);
}

static void what_is_not_supported_is_refused_in_words(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		const char *cluster, *user, *said;
	} lines[] = {
		{CLUSTER, "{exec: {command: aws}}", "which Millrace does not run"},
		{CLUSTER, "{auth-provider: {name: gcp}}", "auth-provider is not supported"},
		{CLUSTER, "{username: a, password: b}", "the user has a password"},
		{CLUSTER, "{client-certificate: a}", "go together"},
		{CLUSTER, "{token: \"a\\nb\"}", "token is none"},
		{CLUSTER, "{client-key-data: '!!'}", "no PEM in base64"},
		{CLUSTER, "{client-key-data: YWJj}", "no PEM in base64"},
		{"{server: 'https://a', proxy-url: 'http://p'}", "{}", "proxy-url is not"},
		{"{server: 'https://a', tls-server-name: b}", "{}", "tls-server-name is not"},
		{"{server: 'ftp://a'}", "{}", "is no https://host:port"},
		{"{}", "{}", "is no https://host:port"},
		{"[]", "{}", "is no https://host:port"},
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		assert_true(load(fixture, lines[i].cluster, lines[i].user) < 0);
		if (!strstr(fixture->why, lines[i].said))
			fail_msg("%s: %s", lines[i].said, fixture->why);
		assert_null(fixture->config.server);
	}
	assert_int_equal(load(fixture, CLUSTER, "{username: '', exec: null, token: t}"), 0);
}

static void what_is_no_kubeconfig_is_refused_with_its_place(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		const char *text, *said;
	} lines[] = {
		{"a: [b", "not YAML"},
		{"", "names no current-context"},
		{"- a", "names no current-context"},
		{"current-context: x", "there is no context x"},
		{"a: &a [*a, *a]\ncurrent-context: x\ncontexts: *a\n", "not YAML"},
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		put(fixture, "config", lines[i].text);
		assert_true(kube_config_load(fixture->path, NULL, &fixture->config, fixture->why) <
			    0);
		if (i < 4 && !strstr(fixture->why, lines[i].said))
			fail_msg("%s: %s", lines[i].said, fixture->why);
	}
	assert_int_equal(kube_config_load("/no/such/file", NULL, &fixture->config, fixture->why),
			 -ENOENT);
}

static void in_a_pod_the_environment_says_where_the_server_is(void **state)
{
	struct fixture *fixture = *state;
	setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
	setenv("KUBERNETES_SERVICE_PORT", "443", 1);
	put(fixture, "token", "abc");
	assert_int_equal(kube_config_in_cluster(fixture->folder, &fixture->config, fixture->why),
			 0);
	assert_string_equal(fixture->config.server, "https://[fd00::1]:443");
	assert_non_null(strstr(fixture->config.ca_path, "/ca.crt"));
	kube_config_free(&fixture->config);
	setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
	assert_int_equal(kube_config_in_cluster(fixture->folder, &fixture->config, fixture->why),
			 0);
	assert_string_equal(fixture->config.server, "https://10.96.0.1:443");
	kube_config_free(&fixture->config);
	assert_int_equal(kube_config_in_cluster("/no/such", &fixture->config, fixture->why),
			 -ENOENT);
	assert_non_null(strstr(fixture->why, "/no/such/token"));
	unsetenv("KUBERNETES_SERVICE_HOST");
	assert_int_equal(kube_config_in_cluster(fixture->folder, &fixture->config, fixture->why),
			 -ENOENT);
	assert_non_null(strstr(fixture->why, "not in a cluster"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_context_leads_to_its_cluster_and_its_user),
		TEST(data_in_base64_win_over_files),
		TEST(another_context_may_be_asked_for),
		TEST(a_token_file_is_read_each_time),
		TEST(the_longest_token_is_read_and_a_longer_one_refused),
		TEST(what_is_not_supported_is_refused_in_words),
		TEST(what_is_no_kubeconfig_is_refused_with_its_place),
		TEST(in_a_pod_the_environment_says_where_the_server_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
