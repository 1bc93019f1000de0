/* What is refused before anything connects, and what it says; files are made by openssl. */
#include "kafka/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct program {
	struct kafka_options kafka;
};

static const struct config_entry entries[] = {KAFKA_OPTIONS_ENTRIES(struct program, kafka)};
static const struct config_table table = {.program = "program",
					  .entries = entries,
					  .count = sizeof(entries) / sizeof(entries[0]),
					  .size = sizeof(struct program)};

static char folder[] = "/tmp/millrace-options-XXXXXX";

/* In text: @ is the folder with the certificates. */
static int check(const char *text, char why[CONFIG_ERROR_BYTES])
{
	struct config_error *error = calloc(1, sizeof(*error));
	struct program program;
	char path[128];
	snprintf(path, sizeof(path), "%s/config.yaml", folder);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file, "kafka:\n");
	for (const char *at = text; *at; at++)
		*at == '@' ? fprintf(file, "%s", folder) : fputc(*at, file);
	fclose(file);
	if (config_load(&table, &(struct config_sources){.path = path}, &program, error))
		fail_msg("%s\n%s", text, error->text);
	free(error);
	why[0] = 0;
	int result = kafka_options_check(&program.kafka, why);
	config_free(&table, &program);
	return result;
}

static void take(const char *text)
{
	char why[CONFIG_ERROR_BYTES];
	if (check(text, why))
		fail_msg("%s\nrefused: %s", text, why);
}

static void refuse(const char *text, const char *because)
{
	char why[CONFIG_ERROR_BYTES];
	if (!check(text, why))
		fail_msg("%s\nwas taken", text);
	if (!strstr(why, because))
		fail_msg("%s\n%s\nnot: %s", text, why, because);
	assert_null(strstr(why, "hunter2"));
}

static void shell(const char *format)
{
	char line[1024];
	snprintf(line, sizeof(line), format, folder);
	assert_int_equal(system(line), 0);
}

static int start(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(folder));
	shell("cd %s && for n in a b; do openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "
	      "/CN=$n "
	      "-keyout $n.key -out $n.pem 2>/dev/null || exit 1; done; openssl pkey -in a.key "
	      "-aes256 "
	      "-passout pass:hunter2 -out locked.key && echo text > text.pem");
	return 0;
}

static int stop(void **state)
{
	(void)state;
	shell("rm -r %s");
	return 0;
}

#define CERTIFICATE "  tls: true\n  tls_certificate: @/a.pem\n"
#define TOKEN	    "  tls: true\n  sasl.mechanism: OAUTHBEARER\n"

static void what_goes_together_is_taken(void **state)
{
	(void)state;
	take("  tls: false\n");
	take("  tls: true\n");
	take("  tls: true\n  tls_ca: @/b.pem\n  tls_certificate: @/a.pem\n  tls_key: @/a.key\n");
	take(CERTIFICATE "  tls_key: @/locked.key\n  tls_key_password: hunter2\n");
	take("  tls: true\n  sasl.mechanism: PLAIN\n  sasl.username: u\n  sasl.password: p\n");
	take("  sasl.mechanism: SCRAM-SHA-512\n  sasl.username: u\n  sasl.password: p\n");
	take(TOKEN "  oauth.token_file: /run/token\n  oauth.extensions: {a: b}\n");
	take(TOKEN
	     "  oauth: {token_url: 'https://idp/t', client_id: i, client_secret: s, scope: x, "
	     "audience: y, token_ca: @/a.pem}\n");
	take("  properties: {linger.ms: '7', security.protocol: ssl}\n");
}

static void what_contradicts_itself_is_refused_with_what_to_do(void **state)
{
	(void)state;
	refuse("  tls_ca: @/a.pem\n",
	       "kafka.tls_ca has no effect without TLS: set kafka.tls: true");
	refuse(CERTIFICATE, "kafka.tls_certificate and kafka.tls_key go together");
	refuse("  tls: true\n  tls_key_password: hunter2\n", "is of no key: set kafka.tls_key");
	refuse("  tls: true\n  sasl.mechanism: PLAIN\n  sasl.username: u\n",
	       "needs kafka.sasl.username and kafka.sasl.password");
	refuse("  sasl.mechanism: PLAIN\n  sasl.username: u\n  sasl.password: hunter2\n",
	       "would send the password in clear text: set kafka.tls: true");
	refuse("  sasl.mechanism: OAUTHBEARER\n  oauth.token_file: /t\n",
	       "would send the token in clear text");
	refuse("  sasl.username: u\n", "kafka.sasl.mechanism is none");
	refuse("  oauth.client_id: u\n", "kafka.oauth.* is for OAUTHBEARER");
	refuse(TOKEN, "needs either kafka.oauth.token_url or kafka.oauth.token_file");
	refuse(TOKEN "  oauth: {token_url: 'https://idp/t', token_file: /t}\n", "not both");
	refuse(TOKEN "  oauth: {token_file: /t, scope: x}\n", "go with token_url");
	refuse(TOKEN "  oauth: {token_url: 'https://idp/t', client_id: u}\n",
	       "kafka.oauth.client_secret (or client_secret_file)");
	refuse(TOKEN "  oauth: {token_url: 'http://idp/t', client_id: u, client_secret: s}\n",
	       "must begin with https://");
	refuse(TOKEN "  oauth: {token_file: /t, extensions: {auth: x}}\n",
	       "the name auth is taken");
}

static void files_are_read_before_anything_connects(void **state)
{
	(void)state;
	refuse("  tls: true\n  tls_ca: @/absent.pem\n", "No such file or directory");
	refuse("  tls: true\n  tls_ca: @/text.pem\n", "holds no certificate in PEM");
	refuse(CERTIFICATE "  tls_key: @/a.pem\n", "holds no private key in PEM");
	refuse(CERTIFICATE "  tls_key: @/b.key\n", "is not the key of kafka.tls_certificate");
	refuse(CERTIFICATE "  tls_key: @/locked.key\n", "see kafka.tls_key_password");
	refuse(CERTIFICATE "  tls_key: @/locked.key\n  tls_key_password: hunter3\n",
	       "that kafka.tls_key_password opens");
}

static void properties_may_not_undo_what_an_entry_says(void **state)
{
	(void)state;
	refuse("  tls: true\n  properties: {security.protocol: plaintext}\n",
	       "security.protocol contradicts kafka.tls: remove one of them");
	take("  tls: true\n  properties: {security.protocol: SSL}\n");
	refuse("  tls: true\n  sasl: {mechanism: PLAIN, username: u, password: hunter2}\n"
	       "  properties: {sasl.password: hunter22}\n",
	       "sasl.password contradicts kafka.sasl.password");
	refuse("  tls: true\n  properties: {ssl.endpoint.identification.algorithm: none}\n",
	       "lets anybody pose as a broker");
	refuse("  tls: true\n  properties: {enable.ssl.certificate.verification: 'false'}\n",
	       "set kafka.tls_insecure: true");
	take("  tls: true\n  tls_insecure: true\n"
	     "  properties: {ssl.endpoint.identification.algorithm: none}\n");
	refuse(TOKEN "  oauth.token_file: /t\n"
		     "  properties: {enable.sasl.oauthbearer.unsecure.jwt: 'true'}\n",
	       "whose tokens kafka.oauth.* describes");
	refuse("  properties: {no.such: hunter2}\n", "librdkafka does not take no.such as given");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_goes_together_is_taken),
		cmocka_unit_test(what_contradicts_itself_is_refused_with_what_to_do),
		cmocka_unit_test(files_are_read_before_anything_connects),
		cmocka_unit_test(properties_may_not_undo_what_an_entry_says),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
