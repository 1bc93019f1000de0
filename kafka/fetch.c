#include "kafka/fetch.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t on_body(char *bytes, size_t one, size_t count, void *context)
{
	struct fetched *fetched = context;
	size_t room = sizeof(fetched->bytes) - fetched->length;
	if (one * count > room)
		return 0; /* ends the transfer */
	memcpy(fetched->bytes + fetched->length, bytes, one * count);
	fetched->length += one * count;
	return one * count;
}

static int on_progress(void *context, curl_off_t down_all, curl_off_t down, curl_off_t up_all,
		       curl_off_t up)
{
	const _Atomic bool *ending = context;
	(void)down_all, (void)down, (void)up_all, (void)up;
	return atomic_load(ending);
}

/* NAME=VALUE of a form, escaped. */
static void add(FILE *file, CURL *curl, const char *name, const char *value)
{
	char *escaped = value ? curl_easy_escape(curl, value, 0) : NULL;
	if (escaped)
		fprintf(file, "&%s=%s", name, escaped);
	curl_free(escaped);
}

static char *form(CURL *curl, const struct kafka_options *options)
{
	char *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);
	if (!file)
		return NULL;
	fprintf(file, "grant_type=client_credentials");
	add(file, curl, "scope", options->scope);
	add(file, curl, "audience", options->audience);
	fclose(file);
	return text;
}

/* RFC 6749, section 2.3.1: user and password of HTTP Basic are escaped first. */
static void log_in(CURL *curl, const struct kafka_options *options)
{
	char *id = curl_easy_escape(curl, options->client_id, 0);
	char *secret = curl_easy_escape(curl, options->client_secret, 0);
	curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
	curl_easy_setopt(curl, CURLOPT_USERNAME, id);
	curl_easy_setopt(curl, CURLOPT_PASSWORD, secret);
	if (secret)
		explicit_bzero(secret, strlen(secret));
	curl_free(id);
	curl_free(secret);
}

static void limit(CURL *curl, const struct kafka_options *options)
{
	curl_easy_setopt(curl, CURLOPT_URL, options->token_url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR,
			 options->tls_insecure ? "http,https" : "https");
	curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* the environment's proxy is not asked */
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)FETCH_TIMEOUT_MS);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)FETCH_CONNECT_MS);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "millrace/" MILLRACE_VERSION);
	if (options->token_ca)
		curl_easy_setopt(curl, CURLOPT_CAINFO, options->token_ca);
}

/* What the endpoint says of its refusal (section 5.2), in its own word. */
static void refusal(const struct fetched *fetched, long status, char why[TOKEN_WHY_BYTES])
{
	cJSON *answer = cJSON_ParseWithLength(fetched->bytes, fetched->length);
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(answer, "error");
	char word[64] = "";
	if (cJSON_IsString(error))
		snprintf(word, sizeof(word), "%s", error->valuestring);
	for (char *at = word; *at; at++)
		if (*at < ' ' || *at > '~')
			*at = '?';
	snprintf(why, TOKEN_WHY_BYTES, "it answers with status %ld%s%s%s", status,
		 word[0] ? " " : "", word,
		 status == 400 || status == 401 || status == 403
			 ? ": see kafka.oauth.client_id, client_secret, scope and audience"
			 : "");
	cJSON_Delete(answer);
}

static int perform(CURL *curl, struct fetched *fetched, const _Atomic bool *ending,
		   char why[TOKEN_WHY_BYTES])
{
	char text[CURL_ERROR_SIZE] = "";
	long status = 0;
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text);
	CURLcode code = curl_easy_perform(curl);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
	if (atomic_load(ending))
		return -ECANCELED;
	if (code == CURLE_WRITE_ERROR) {
		snprintf(why, TOKEN_WHY_BYTES, "its answer is longer than %d bytes",
			 TOKEN_ANSWER_MAX);
		return -EIO;
	}
	if (code != CURLE_OK) {
		snprintf(why, TOKEN_WHY_BYTES, "%s", text[0] ? text : curl_easy_strerror(code));
		return -EIO;
	}
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (status == 200)
		return 0;
	refusal(fetched, status, why);
	return -EIO;
}

int fetch_token(const struct kafka_options *options, const _Atomic bool *ending,
		struct fetched *fetched, char why[TOKEN_WHY_BYTES])
{
	CURL *curl = curl_easy_init();
	char *body = curl ? form(curl, options) : NULL;
	int error = -ENOMEM;
	snprintf(why, TOKEN_WHY_BYTES, "out of memory");
	fetched->length = 0;
	if (body) {
		limit(curl, options);
		log_in(curl, options);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
		curl_easy_setopt(curl, CURLOPT_WRITEDATA, fetched);
		curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
		curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
		curl_easy_setopt(curl, CURLOPT_XFERINFODATA, (void *)(uintptr_t)ending);
		error = perform(curl, fetched, ending, why);
	}
	free(body);
	curl_easy_cleanup(curl);
	return error;
}
