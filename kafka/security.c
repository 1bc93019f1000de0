#include "kafka/security.h"

#include <curl/curl.h>
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/disk.h"
#include "base/memory.h"
#include "base/real.h"
#include "kafka/fetch.h"
#include "kafka/token.h"

enum {
	PROPERTIES_MAX = 10,
	BACKOFF_MIN_MS = 500,
	BACKOFF_MAX_MS = 10000,
	LOOK_MS = 50, /* how late an end may be noticed while a failure is waited out */
	EXPIRES_SOON_S = 7 * 86400,
};

/* Of TLS 1.2, with forward secrecy and authenticated encryption: no older version can be agreed
 * on, as none has such a suite. Those of TLS 1.3 are not concerned. */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

/* A connection that is gone without a word (a machine lost power, a firewall forgot it) is held for
 * so long; librdkafka would for a minute, and as long nothing is read or written. */
#define ANSWER_WITHIN_MS "15000"

struct security {
	const struct kafka_options *options;
	void (*trouble)(void *context, const char *sentence);
	void *context;
	_Atomic uint64_t tokens, failures;
	_Atomic int64_t token_expires_ms, certificate_expires_ms;
	_Atomic bool failing;	/* to get a token; told */
	_Atomic int distrusted; /* X509_V_ERR_* of the broker's certificate that was told */
};

static int64_t now_ms(void)
{
	return (int64_t)(real_ns() / NS_PER_MS);
}

/* Before, the client repeated its nonce in its last message; Kafka 4 refuses that
 * (confluentinc/librdkafka#4895). */
#define SCRAM_RIGHT 0x02060100

/* ---- properties ---- */

struct property {
	const char *name, *value, *entry;
};

static const char *protocol(const struct kafka_options *options)
{
	bool sasl = options->mechanism != KAFKA_MECHANISM_NONE;
	return options->tls ? sasl ? "sasl_ssl" : "ssl" : sasl ? "sasl_plaintext" : NULL;
}

/* Those that the options speak of; value NULL: not set, so kafka.properties may say it. */
static void list(const struct kafka_options *options, struct property out[PROPERTIES_MAX])
{
	const char *mechanism = options->mechanism ? kafka_mechanisms[options->mechanism] : NULL;
	const struct property all[PROPERTIES_MAX] = {
		{"security.protocol", protocol(options),
		 options->tls ? "kafka.tls" : "kafka.sasl.mechanism"},
		{"ssl.ca.location", options->tls_ca, "kafka.tls_ca"},
		{"ssl.certificate.location", options->tls_certificate, "kafka.tls_certificate"},
		{"ssl.key.location", options->tls_key, "kafka.tls_key"},
		{"ssl.key.password", options->tls_key_password, "kafka.tls_key_password"},
		{"sasl.mechanisms", mechanism, "kafka.sasl.mechanism"},
		{"sasl.mechanism", mechanism, "kafka.sasl.mechanism"},
		{"sasl.username", options->username, "kafka.sasl.username"},
		{"sasl.password", options->password, "kafka.sasl.password"},
	};
	memcpy(out, all, sizeof(all));
}

const char *security_entry(const struct kafka_options *options, const char *property)
{
	struct property properties[PROPERTIES_MAX];
	/* Tokens are this module's: librdkafka's own ways to get one are not to be configured. */
	if (options->mechanism == KAFKA_OAUTHBEARER && strstr(property, "sasl.oauthbearer."))
		return "kafka.sasl.mechanism OAUTHBEARER, whose tokens kafka.oauth.* describes";
	list(options, properties);
	for (int i = 0; i < PROPERTIES_MAX && properties[i].name; i++)
		if (properties[i].value && strcmp(properties[i].name, property) == 0)
			return properties[i].entry;
	return NULL;
}

/* librdkafka's sentence may repeat the value, which may be a secret. */
static int set(rd_kafka_conf_t *conf, const char *name, const char *value, char *error, size_t size)
{
	char text[SECURITY_TEXT_BYTES];
	if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) == RD_KAFKA_CONF_OK)
		return 0;
	explicit_bzero(text, sizeof(text));
	snprintf(error, size, "librdkafka does not take %s as given", name);
	return -EINVAL;
}

int security_set(const struct kafka_options *options, rd_kafka_conf_t *conf, char *error,
		 size_t size)
{
	struct property properties[PROPERTIES_MAX];
	int result = set(conf, "ssl.cipher.suites", CIPHERS, error, size);
	list(options, properties);
	for (int i = 0; i < PROPERTIES_MAX && properties[i].name && !result; i++)
		if (properties[i].value)
			result = set(conf, properties[i].name, properties[i].value, error, size);
	return result;
}

/* ---- tokens, on a client's background thread ---- */

static int read_token_file(const char *path, struct fetched *fetched, char why[TOKEN_WHY_BYTES])
{
	FILE *file = fopen(path, "re");
	if (file)
		fetched->length = fread(fetched->bytes, 1, sizeof(fetched->bytes), file);
	if (file && !ferror(file)) {
		fclose(file);
		return 0;
	}
	snprintf(why, TOKEN_WHY_BYTES, "cannot read %s: %s", path, strerror(errno));
	if (file)
		fclose(file);
	return -EIO;
}

static int get_token(struct security_client *client, struct token *token, char why[TOKEN_WHY_BYTES])
{
	const struct kafka_options *options = client->security->options;
	struct fetched *fetched = memory_zeroed(1, sizeof(*fetched));
	const char *fallback = options->client_id ? options->client_id : "millrace";
	int error = options->token_file ? read_token_file(options->token_file, fetched, why)
					: fetch_token(options, &client->ending, fetched, why);
	if (!error)
		error = options->token_file
				? token_from_file(token, fetched->bytes, fetched->length, fallback,
						  now_ms(), why)
				: token_from_answer(token, fetched->bytes, fetched->length,
						    fallback, now_ms(), why);
	explicit_bzero(fetched, sizeof(*fetched));
	free(fetched);
	return error;
}

static int hand_over(const struct security *security, rd_kafka_t *kafka, const struct token *token,
		     char why[TOKEN_WHY_BYTES])
{
	const struct config_map *map = &security->options->extensions;
	const char **extensions = memory_zeroed(map->count * 2, sizeof(*extensions));
	char text[SECURITY_TEXT_BYTES];
	for (size_t i = 0; i < map->count; i++) {
		extensions[2 * i] = map->items[i].key;
		extensions[2 * i + 1] = map->items[i].value;
	}
	rd_kafka_resp_err_t error = rd_kafka_oauthbearer_set_token(
		kafka, token->text, token->expires_ms, token->principal, extensions, map->count * 2,
		text, sizeof(text));
	free(extensions);
	if (error) /* its text may hold the token */
		snprintf(why, TOKEN_WHY_BYTES,
			 "librdkafka does not take the token or "
			 "kafka.oauth.extensions: %s",
			 rd_kafka_err2name(error));
	explicit_bzero(text, sizeof(text));
	return error ? -EINVAL : 0;
}

static void tell(const struct security *security, const char *sentence)
{
	security->trouble(security->context, sentence);
}

static void token_failed(struct security *security, const char *why)
{
	char sentence[SECURITY_TEXT_BYTES];
	const struct kafka_options *options = security->options;
	atomic_fetch_add(&security->failures, 1);
	if (atomic_exchange(&security->failing, true))
		return;
	snprintf(sentence, sizeof(sentence),
		 "no OAUTHBEARER token from %s: %s; it is asked for again until it comes",
		 options->token_file ? "kafka.oauth.token_file" : options->token_url, why);
	tell(security, sentence);
}

static void token_came(struct security *security, const struct token *token)
{
	atomic_fetch_add(&security->tokens, 1);
	atomic_store(&security->token_expires_ms, token->expires_ms);
	if (atomic_exchange(&security->failing, false))
		tell(security, "OAUTHBEARER tokens come again");
}

static void wait_ms(const struct security_client *client, uint32_t ms)
{
	for (uint32_t waited = 0; waited < ms && !atomic_load(&client->ending); waited += LOOK_MS)
		nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * (long)NS_PER_MS}, NULL);
}

/* Stays until there is a token: librdkafka would come again only after 10 s. */
static void on_refresh(rd_kafka_t *kafka, const char *config, void *opaque)
{
	struct security_client *client = opaque;
	struct token *token = memory_zeroed(1, sizeof(*token));
	char why[TOKEN_WHY_BYTES] = "";
	uint32_t backoff_ms = BACKOFF_MIN_MS;
	bool had = false;
	(void)config;
	while (!had && !atomic_load(&client->ending)) {
		had = !get_token(client, token, why) &&
		      !hand_over(client->security, kafka, token, why);
		if (had || atomic_load(&client->ending))
			break;
		token_failed(client->security, why);
		wait_ms(client, backoff_ms);
		backoff_ms = backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : backoff_ms * 2;
	}
	if (had)
		token_came(client->security, token);
	else
		rd_kafka_oauthbearer_set_token_failure(kafka, "the client ends");
	explicit_bzero(token, sizeof(*token));
	free(token);
}

/* ---- the broker's certificate, on librdkafka's thread ---- */

static const char *distrust(int error)
{
	switch (error) {
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return "is for another name: give the broker a certificate with the name by which "
		       "it is called, or call it by the certificate's name in kafka.brokers and "
		       "in its advertised.listeners";
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return "has expired: renew it on the broker; is the clock right here?";
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return "is not valid yet: is the clock right here?";
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		return "is not from an authority that is trusted here: kafka.tls_ca must hold the "
		       "one that signed it";
	default:
		return "cannot be trusted: see kafka.tls_ca";
	}
}

static int on_certificate(rd_kafka_t *kafka, const char *broker, int32_t id, int *x509_error,
			  int depth, const char *bytes, size_t length, char *error, size_t size,
			  void *opaque)
{
	struct security *security = ((struct security_client *)opaque)->security;
	int code = *x509_error;
	char sentence[SECURITY_TEXT_BYTES];
	(void)kafka, (void)id, (void)depth, (void)bytes, (void)length;
	if (code == X509_V_OK)
		return 1;
	snprintf(error, size, "%s", X509_verify_cert_error_string(code));
	if (security->options->tls_insecure || atomic_exchange(&security->distrusted, code) == code)
		return 0;
	snprintf(sentence, sizeof(sentence), "%s: not connected, its certificate %s (%s)", broker,
		 distrust(code), error);
	tell(security, sentence);
	return 0;
}

/* ---- this program's certificate ---- */

static int64_t certificate_expires_ms(const struct kafka_options *options)
{
	FILE *file = options->tls_certificate ? fopen(options->tls_certificate, "re") : NULL;
	X509 *certificate = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
	struct tm end = {0};
	int64_t expires_ms = 0;
	if (certificate && ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1)
		expires_ms = (int64_t)timegm(&end) * 1000;
	X509_free(certificate);
	if (file)
		fclose(file);
	return expires_ms;
}

static void look_at_certificate(struct security *security)
{
	const char *path = security->options->tls_certificate;
	char sentence[SECURITY_TEXT_BYTES];
	atomic_store(&security->certificate_expires_ms, certificate_expires_ms(security->options));
	int64_t left_ms = atomic_load(&security->certificate_expires_ms) - now_ms();
	if (!path || left_ms > (int64_t)EXPIRES_SOON_S * 1000)
		return;
	if (left_ms <= 0)
		snprintf(sentence, sizeof(sentence),
			 "kafka.tls_certificate %s has expired: brokers refuse it until it is "
			 "renewed",
			 path);
	else
		snprintf(sentence, sizeof(sentence),
			 "kafka.tls_certificate %s expires in %lld hours: renew it", path,
			 (long long)(left_ms / 3600000));
	tell(security, sentence);
}

uint64_t security_files(const struct security *security)
{
	const struct kafka_options *options = security->options;
	const char *const paths[] = {options->tls_ca, options->tls_certificate, options->tls_key};

	return disk_stamp(paths, sizeof(paths) / sizeof(paths[0]));
}

/* ---- life ---- */

struct security *security_new(const struct kafka_options *options,
			      void (*trouble)(void *context, const char *sentence), void *context)
{
	struct security *security = memory_zeroed(1, sizeof(*security));
	curl_global_init(CURL_GLOBAL_DEFAULT); /* counted; before there are threads */
	security->options = options;
	security->trouble = trouble;
	security->context = context;
	return security;
}

void security_free(struct security *security)
{
	if (!security)
		return;
	curl_global_cleanup();
	free(security);
}

int security_configure(struct security_client *client, rd_kafka_conf_t *conf, char *error,
		       size_t size)
{
	rd_kafka_conf_set_opaque(conf, client);
	atomic_store(&client->ending, false);
	int result = set(conf, "socket.timeout.ms", ANSWER_WITHIN_MS, error, size);
	if (!client->security || result)
		return result;
	const struct kafka_options *options = client->security->options;
	result = security_set(options, conf, error, size);
	for (size_t i = 0; i < options->properties.count && !result; i++)
		result = set(conf, options->properties.items[i].key,
			     options->properties.items[i].value, error, size);
	if (!result && options->tls)
		rd_kafka_conf_set_ssl_cert_verify_cb(conf, on_certificate);
	if (!result && options->mechanism == KAFKA_OAUTHBEARER) {
		rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, on_refresh);
		rd_kafka_conf_enable_sasl_queue(conf, 1);
	}
	return result;
}

rd_kafka_conf_t *security_conf(struct security_client *client, struct security *security,
			       const char *brokers, const char *const (*defaults)[2], char *error,
			       size_t size)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	int result = set(conf, "bootstrap.servers", brokers, error, size);

	for (; (*defaults)[0] && !result; defaults++)
		result = set(conf, (*defaults)[0], (*defaults)[1], error, size);
	client->security = security;
	if (!result && !security_configure(client, conf, error, size))
		return conf;
	rd_kafka_conf_destroy(conf);
	return NULL;
}

void security_begin(struct security_client *client, rd_kafka_t *kafka)
{
	if (!client->security)
		return;
	look_at_certificate(client->security);
	if (client->security->options->mechanism == KAFKA_OAUTHBEARER)
		rd_kafka_error_destroy(rd_kafka_sasl_background_callbacks_enable(kafka));
}

void security_end(struct security_client *client)
{
	atomic_store(&client->ending, true);
}

struct security_stats security_stats(struct security *security)
{
	return (struct security_stats){
		.tokens = atomic_load(&security->tokens),
		.failures = atomic_load(&security->failures),
		.token_expires_ms = atomic_load(&security->token_expires_ms),
		.certificate_expires_ms = atomic_load(&security->certificate_expires_ms),
	};
}

const char *security_advice(const char *text)
{
	static const struct {
		const char *says, *advice;
	} known[] = {
		{"alert certificate expired",
		 "the broker refuses kafka.tls_certificate: it has expired, renew it"},
		{"alert unknown ca",
		 "the broker does not know the authority of kafka.tls_certificate"},
		{"alert certificate required",
		 "the broker asks for a certificate: set kafka.tls_certificate and kafka.tls_key"},
		{"alert bad certificate",
		 "the broker refuses kafka.tls_certificate, or asks for one"},
		{"alert certificate unknown", "the broker refuses kafka.tls_certificate: has it "
					      "expired, is its authority known there?"},
		{"alert handshake failure",
		 "the broker wants another TLS than 1.2 or newer, or asks for a certificate"},
		{"wrong version number", "the broker does not speak TLS at this port"},
		{"Invalid username or password", "see kafka.sasl.username and kafka.sasl.password"},
		{"invalid_token", "the broker does not accept the token: see its audience, scope "
				  "and issuer, and the clocks"},
		{"Unsupported SASL mechanism",
		 "the broker's listener has other mechanisms: see kafka.sasl.mechanism"},
	};
	if (strcasestr(text, "invalid credentials"))
		return strstr(text, "SCRAM") && rd_kafka_version() < SCRAM_RIGHT
			       ? "see kafka.sasl.username and kafka.sasl.password; with brokers of "
				 "Kafka 4 SCRAM needs librdkafka 2.6.1 or newer, which this is "
				 "not: "
				 "use mTLS, OAUTHBEARER or PLAIN over TLS"
			       : "see kafka.sasl.username and kafka.sasl.password";
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcasestr(text, known[i].says))
			return known[i].advice;
	return "";
}
