#include "kafka/options.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "kafka/security.h"

const char *const kafka_mechanisms[] = {"none",		 "PLAIN",	"SCRAM-SHA-256",
					"SCRAM-SHA-512", "OAUTHBEARER", NULL};

__attribute__((format(printf, 2, 3))) static int refuse(char why[CONFIG_ERROR_BYTES],
							const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(why, CONFIG_ERROR_BYTES, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

/* ---- options against each other ---- */

static int check_tls(const struct kafka_options *options, char why[CONFIG_ERROR_BYTES])
{
	const struct {
		const char *name, *value;
	} needs_tls[] = {
		{"kafka.tls_ca", options->tls_ca},
		{"kafka.tls_certificate", options->tls_certificate},
		{"kafka.tls_key", options->tls_key},
		{"kafka.tls_key_password", options->tls_key_password},
	};
	for (size_t i = 0; i < sizeof(needs_tls) / sizeof(needs_tls[0]); i++)
		if (needs_tls[i].value && !options->tls)
			return refuse(why, "%s has no effect without TLS: set kafka.tls: true",
				      needs_tls[i].name);
	if (!options->tls_certificate != !options->tls_key)
		return refuse(why, "kafka.tls_certificate and kafka.tls_key go together: give both "
				   "or neither");
	if (options->tls_key_password && !options->tls_key)
		return refuse(why, "kafka.tls_key_password is of no key: set kafka.tls_key");
	return 0;
}

static int check_login(const struct kafka_options *options, char why[CONFIG_ERROR_BYTES])
{
	bool password =
		options->mechanism >= KAFKA_PLAIN && options->mechanism <= KAFKA_SCRAM_SHA_512;
	const char *name = kafka_mechanisms[options->mechanism];
	if (password && (!options->username || !options->password))
		return refuse(why,
			      "kafka.sasl.mechanism %s needs kafka.sasl.username and "
			      "kafka.sasl.password (or password_file)",
			      name);
	if (!password && (options->username || options->password))
		return refuse(why,
			      "kafka.sasl.username and kafka.sasl.password are for PLAIN and "
			      "SCRAM: kafka.sasl.mechanism is %s",
			      name);
	/* SCRAM's password never travels. */
	if ((options->mechanism == KAFKA_PLAIN || options->mechanism == KAFKA_OAUTHBEARER) &&
	    !options->tls && !options->tls_insecure)
		return refuse(why,
			      "kafka.sasl.mechanism %s would send the %s in clear text: set "
			      "kafka.tls: true, or, for a trial, kafka.tls_insecure: true",
			      name, options->mechanism == KAFKA_PLAIN ? "password" : "token");
	return 0;
}

static bool is_url(const char *url, const char *scheme)
{
	size_t length = strlen(scheme);
	return strncasecmp(url, scheme, length) == 0 && url[length] && url[length] != '/';
}

static int check_token(const struct kafka_options *options, char why[CONFIG_ERROR_BYTES])
{
	const char *url = options->token_url;
	bool any = url || options->token_file || options->client_id || options->client_secret ||
		   options->scope || options->audience || options->token_ca ||
		   options->extensions.count;
	if (options->mechanism != KAFKA_OAUTHBEARER)
		return any ? refuse(why,
				    "kafka.oauth.* is for OAUTHBEARER: kafka.sasl.mechanism is "
				    "%s",
				    kafka_mechanisms[options->mechanism])
			   : 0;
	if (!url == !options->token_file)
		return refuse(why,
			      "kafka.sasl.mechanism OAUTHBEARER needs either "
			      "kafka.oauth.token_url or kafka.oauth.token_file%s",
			      url ? ", not both" : "");
	if (options->token_file && (options->client_id || options->client_secret ||
				    options->scope || options->audience || options->token_ca))
		return refuse(why, "kafka.oauth.token_file already holds the token: client_id, "
				   "client_secret, scope, audience and token_ca go with token_url");
	if (url && (!options->client_id || !options->client_secret))
		return refuse(why, "kafka.oauth.token_url needs kafka.oauth.client_id and "
				   "kafka.oauth.client_secret (or client_secret_file)");
	if (url && !is_url(url, "https://") && !(is_url(url, "http://") && options->tls_insecure))
		return refuse(why,
			      "kafka.oauth.token_url must begin with https://: the client's "
			      "secret goes there (kafka.tls_insecure allows http:// for a trial)");
	for (size_t i = 0; i < options->extensions.count; i++) /* RFC 7628, section 3.1 */
		if (strcmp(options->extensions.items[i].key, "auth") == 0)
			return refuse(why, "kafka.oauth.extensions: the name auth is taken");
	return 0;
}

/* ---- files ---- */

static FILE *open_pem(const char *name, const char *path, char why[CONFIG_ERROR_BYTES])
{
	FILE *file = fopen(path, "re");
	if (!file)
		refuse(why, "%s: cannot read %s: %s", name, path, strerror(errno));
	return file;
}

static X509 *read_certificate(const char *name, const char *path, char why[CONFIG_ERROR_BYTES])
{
	FILE *file = open_pem(name, path, why);
	if (!file)
		return NULL;
	X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
	fclose(file);
	ERR_clear_error();
	if (!certificate)
		refuse(why, "%s: %s holds no certificate in PEM (-----BEGIN CERTIFICATE-----)",
		       name, path);
	return certificate;
}

static int give_password(char *buffer, int size, int writing, void *context)
{
	const char *password = context;
	(void)writing;
	if (!password || strlen(password) > (size_t)size)
		return -1; /* OpenSSL's own would ask the terminal */
	memcpy(buffer, password, strlen(password));
	return (int)strlen(password);
}

static EVP_PKEY *read_key(const struct kafka_options *options, char why[CONFIG_ERROR_BYTES])
{
	FILE *file = open_pem("kafka.tls_key", options->tls_key, why);
	if (!file)
		return NULL;
	EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, give_password, options->tls_key_password);
	fclose(file);
	ERR_clear_error();
	if (!key)
		refuse(why, "kafka.tls_key: %s holds no private key in PEM that %s opens",
		       options->tls_key,
		       options->tls_key_password ? "kafka.tls_key_password"
						 : "no passphrase (see kafka.tls_key_password)");
	return key;
}

static int check_files(const struct kafka_options *options, char why[CONFIG_ERROR_BYTES])
{
	const struct {
		const char *name, *path;
	} authorities[] = {{"kafka.tls_ca", options->tls_ca},
			   {"kafka.oauth.token_ca", options->token_ca}};
	for (size_t i = 0; i < 2; i++) {
		X509 *ca = authorities[i].path
				   ? read_certificate(authorities[i].name, authorities[i].path, why)
				   : NULL;
		if (authorities[i].path && !ca)
			return -EINVAL;
		X509_free(ca);
	}
	if (!options->tls_certificate)
		return 0;
	X509 *certificate =
		read_certificate("kafka.tls_certificate", options->tls_certificate, why);
	EVP_PKEY *key = certificate ? read_key(options, why) : NULL;
	int error = key ? 0 : -EINVAL;
	if (key && X509_check_private_key(certificate, key) != 1)
		error = refuse(why, "kafka.tls_key %s is not the key of kafka.tls_certificate %s",
			       options->tls_key, options->tls_certificate);
	ERR_clear_error();
	X509_free(certificate);
	EVP_PKEY_free(key);
	return error;
}

/* ---- librdkafka's own properties ---- */

static bool is_no(const char *value)
{
	return !strcasecmp(value, "false") || !strcasecmp(value, "f") || !strcmp(value, "0");
}

static int check_verification(const struct kafka_options *options, const struct config_pair *pair,
			      char why[CONFIG_ERROR_BYTES])
{
	bool name = !strcmp(pair->key, "ssl.endpoint.identification.algorithm") &&
		    !strcasecmp(pair->value, "none");
	bool all = !strcmp(pair->key, "enable.ssl.certificate.verification") && is_no(pair->value);
	if ((!name && !all) || options->tls_insecure)
		return 0;
	return refuse(why,
		      "kafka.properties: %s=%s lets anybody pose as a broker: give the brokers "
		      "certificates with the names in kafka.brokers, or, for a trial, set "
		      "kafka.tls_insecure: true",
		      pair->key, pair->value);
}

/* What an entry has set may not be said otherwise. Values may be secrets: they are not told. */
static int check_contradiction(const rd_kafka_conf_t *ours, const struct kafka_options *options,
			       const struct config_pair *pair, char why[CONFIG_ERROR_BYTES])
{
	const char *entry = security_entry(options, pair->key);
	char set[512] = "";
	size_t size = sizeof(set);
	if (!entry)
		return 0;
	if (rd_kafka_conf_get(ours, pair->key, set, &size) == RD_KAFKA_CONF_OK &&
	    strcasecmp(set, pair->value) == 0)
		return 0;
	return refuse(why, "kafka.properties: %s contradicts %s: remove one of them", pair->key,
		      entry);
}

static int check_properties(const struct kafka_options *options, char why[CONFIG_ERROR_BYTES])
{
	rd_kafka_conf_t *ours = rd_kafka_conf_new(), *all = rd_kafka_conf_new();
	char text[512];
	int error = security_set(options, ours, text, sizeof(text));
	if (error)
		refuse(why, "kafka: %s", text);
	for (size_t i = 0; i < options->properties.count && !error; i++) {
		const struct config_pair *pair = &options->properties.items[i];
		/* Its sentence may repeat the value, which may be a password. */
		if (rd_kafka_conf_set(all, pair->key, pair->value, text, sizeof(text)) !=
		    RD_KAFKA_CONF_OK)
			error = refuse(why,
				       "kafka.properties: librdkafka does not take %s as given",
				       pair->key);
		if (!error)
			error = check_verification(options, pair, why);
		if (!error)
			error = check_contradiction(ours, options, pair, why);
	}
	rd_kafka_conf_destroy(ours);
	rd_kafka_conf_destroy(all);
	return error;
}

int kafka_options_check(const struct kafka_options *options, char why[CONFIG_ERROR_BYTES])
{
	int error = check_tls(options, why);
	if (!error)
		error = check_login(options, why);
	if (!error)
		error = check_token(options, why);
	if (!error)
		error = check_files(options, why);
	if (!error)
		error = check_properties(options, why);
	return error;
}
