/* How this program comes into Kafka, as both programs configure it: TLS and SASL. Plain data and
 * its part of the configuration's table; kafka/security.h makes a client's settings of it. */
#pragma once

#include "config/config.h"

enum kafka_mechanism { /* index in kafka_mechanisms */
		       KAFKA_MECHANISM_NONE,
		       KAFKA_PLAIN,
		       KAFKA_SCRAM_SHA_256,
		       KAFKA_SCRAM_SHA_512,
		       KAFKA_OAUTHBEARER,
};

extern const char *const kafka_mechanisms[]; /* NULL at the end */

struct kafka_options {
	bool tls, tls_insecure;
	char *tls_ca, *tls_certificate, *tls_key, *tls_key_password;
	uint32_t mechanism; /* enum kafka_mechanism */
	char *username, *password;
	char *token_url, *client_id, *client_secret, *scope, *audience, *token_file, *token_ca;
	struct config_map extensions;
	struct config_map properties; /* librdkafka's own, over everything else */
};

/* 0; or -EINVAL with what is wrong and what to do: options that contradict each other or
 * kafka.properties, files that are not there or no PEM, a key that is not the certificate's.
 * Nothing is connected to. An expired certificate is no mistake of the configuration: security_new
 * warns. */
int kafka_options_check(const struct kafka_options *options, char why[CONFIG_ERROR_BYTES]);

/* The entries, to stand among a program's other kafka.* entries; member is the struct
 * kafka_options in the program's struct. */
#define KAFKA_OPTIONS_ENTRIES(whole, member)                                                      \
	{.name = "kafka.tls",                                                                     \
	 .type = CONFIG_BOOL,                                                                     \
	 CONFIG_FIELD(whole, member.tls),                                                         \
	 .fallback = "false",                                                                     \
	 .help = "Speak TLS (1.2 or newer) to the brokers, and verify their names."},             \
		{.name = "kafka.tls_ca",                                                          \
		 .type = CONFIG_STRING,                                                           \
		 CONFIG_FIELD(whole, member.tls_ca),                                              \
		 .min = "1",                                                                      \
		 .help = "PEM file of the authorities that may vouch for a broker. By default "   \
			 "the "                                                                   \
			 "system's."},                                                            \
		{.name = "kafka.tls_certificate",                                                 \
		 .type = CONFIG_STRING,                                                           \
		 CONFIG_FIELD(whole, member.tls_certificate),                                     \
		 .min = "1",                                                                      \
		 .help = "PEM file of this program's own certificate and chain, where brokers "   \
			 "ask "                                                                   \
			 "for one (mTLS)."},                                                      \
		{.name = "kafka.tls_key",                                                         \
		 .type = CONFIG_STRING,                                                           \
		 CONFIG_FIELD(whole, member.tls_key),                                             \
		 .min = "1",                                                                      \
		 .help = "PEM file of its private key."},                                         \
		{.name = "kafka.tls_key_password",                                                \
		 .type = CONFIG_STRING,                                                           \
		 CONFIG_FIELD(whole, member.tls_key_password),                                    \
		 .secret = true,                                                                  \
		 .help = "Passphrase of that key."},                                              \
		{.name = "kafka.tls_insecure",                                                    \
		 .type = CONFIG_BOOL,                                                             \
		 CONFIG_FIELD(whole, member.tls_insecure),                                        \
		 .fallback = "false",                                                             \
		 .help = "For trials: kafka.properties may turn verification off, passwords and " \
			 "tokens may travel without TLS."},                                       \
		{.name = "kafka.sasl.mechanism",                                                  \
		 .type = CONFIG_ENUM,                                                             \
		 CONFIG_FIELD(whole, member.mechanism),                                           \
		 .choices = kafka_mechanisms,                                                     \
		 .fallback = "none",                                                              \
		 .help = "How to log in."},                                                       \
		{.name = "kafka.sasl.username",                                                   \
		 .type = CONFIG_STRING,                                                           \
		 CONFIG_FIELD(whole, member.username),                                            \
		 .min = "1",                                                                      \
		 .help = "User for PLAIN and SCRAM."},                                            \
		{.name = "kafka.sasl.password",                                                   \
		 .type = CONFIG_STRING,                                                           \
		 CONFIG_FIELD(whole, member.password),                                            \
		 .secret = true,                                                                  \
		 .min = "1",                                                                      \
		 .help = "Its password."},                                                        \
		{.name = "kafka.oauth.token_url",                                                 \
		 .type = CONFIG_STRING,                                                           \
		 CONFIG_FIELD(whole, member.token_url),                                           \
		 .min = "1",                                                                      \
		 .help = "OAUTHBEARER: where a token is given for client_id and client_secret "   \
			 "(OAuth 2.0 client credentials)."},                                      \
		{.name = "kafka.oauth.token_ca",                                                  \
		 .type = CONFIG_STRING,                                                           \
		 CONFIG_FIELD(whole, member.token_ca),                                            \
		 .min = "1",                                                                      \
		 .help = "PEM file of the authorities for token_url. By default the system's."},  \
		{.name = "kafka.oauth.client_id",                                                 \
		 .type = CONFIG_STRING,                                                           \
		 CONFIG_FIELD(whole, member.client_id),                                           \
		 .min = "1",                                                                      \
		 .help = "OAUTHBEARER: who asks for the token."},                                 \
		{.name = "kafka.oauth.client_secret",                                             \
		 .type = CONFIG_STRING,                                                           \
		 CONFIG_FIELD(whole, member.client_secret),                                       \
		 .secret = true,                                                                  \
		 .min = "1",                                                                      \
		 .help = "OAUTHBEARER: its secret."},                                             \
		{.name = "kafka.oauth.scope",                                                     \
		 .type = CONFIG_STRING,                                                           \
		 CONFIG_FIELD(whole, member.scope),                                               \
		 .min = "1",                                                                      \
		 .help = "OAUTHBEARER: scope to ask for."},                                       \
		{.name = "kafka.oauth.audience",                                                  \
		 .type = CONFIG_STRING,                                                           \
		 CONFIG_FIELD(whole, member.audience),                                            \
		 .min = "1",                                                                      \
		 .help = "OAUTHBEARER: audience to ask for."},                                    \
		{.name = "kafka.oauth.extensions",                                                \
		 .type = CONFIG_MAP,                                                              \
		 CONFIG_FIELD(whole, member.extensions),                                          \
		 .max = "32",                                                                     \
		 .help = "OAUTHBEARER: SASL extensions sent with the token, such as "             \
			 "logicalCluster."},                                                      \
		{.name = "kafka.oauth.token_file",                                                \
		 .type = CONFIG_STRING,                                                           \
		 CONFIG_FIELD(whole, member.token_file),                                          \
		 .min = "1",                                                                      \
		 .help = "OAUTHBEARER: a file that always holds a fresh token, such as a "        \
			 "projected "                                                             \
			 "Kubernetes token, instead of token_url. Read anew before the token "    \
			 "expires."},                                                             \
	{                                                                                         \
		.name = "kafka.properties", .type = CONFIG_MAP,                                   \
		CONFIG_FIELD(whole, member.properties), .secret = true, .max = "64",              \
		.help = "More properties of librdkafka, over all others, for all clients of the " \
			"process. What contradicts an entry above is refused."                    \
	}
