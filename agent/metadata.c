#include "agent/metadata.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

enum { URL_BYTES = 512, TOKEN_BYTES = 256, QUESTIONS_MAX = 3 };

static const char service[] = "http://169.254.169.254"; /* of all three */

/* As documented by each. */
static const struct {
	const char *header;
	const char *paths[QUESTIONS_MAX];
} clouds[CLOUDS] = {
	[CLOUD_AWS] = {NULL, {"/latest/dynamic/instance-identity/document"}},
	[CLOUD_GCP] = {"Metadata-Flavor: Google",
		       {"/computeMetadata/v1/instance/zone", "/computeMetadata/v1/instance/id",
			"/computeMetadata/v1/instance/machine-type"}},
	[CLOUD_AZURE] = {"Metadata: true",
			 {"/metadata/instance/compute?api-version=2021-02-01&format=json"}},
};
static const char token_path[] = "/latest/api/token";
static const char token_wish[] = "X-aws-ec2-metadata-token-ttl-seconds: 60";

struct metadata {
	struct metadata_options options;
	uv_work_t work;
	struct cloud_facts facts;
	bool found, closed;
	uint64_t until_ns;
	char why[METADATA_WHY_BYTES];
	char token[TOKEN_BYTES + 32]; /* as a header */
	size_t length;
	char answer[CLOUD_ANSWER_MAX_BYTES];
};

static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
	struct metadata *metadata = context;
	size_t length = size * count;
	if (length > sizeof(metadata->answer) - metadata->length)
		return 0; /* curl ends the transfer */
	memcpy(metadata->answer + metadata->length, bytes, length);
	metadata->length += length;
	return length;
}

static void set(CURL *easy, struct metadata *metadata, const char *url, long left_ms,
		struct curl_slist *headers)
{
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, left_ms);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "millrace-agent/" MILLRACE_VERSION);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, metadata);
}

/* Whether the service said 200; the answer is in metadata then. header may be NULL. */
static bool ask(struct metadata *metadata, const char *method, const char *path, const char *header)
{
	char url[URL_BYTES];
	uint64_t now_ns = uv_hrtime();
	CURL *easy = curl_easy_init();
	if (!easy || now_ns + NS_PER_MS >= metadata->until_ns) {
		snprintf(metadata->why, sizeof(metadata->why), "no answer within 1 s");
		curl_easy_cleanup(easy);
		return false;
	}
	struct curl_slist *headers = header ? curl_slist_append(NULL, header) : NULL;
	snprintf(url, sizeof(url), "%s%s",
		 metadata->options.endpoint ? metadata->options.endpoint : service, path);
	metadata->length = 0;
	set(easy, metadata, url, (long)((metadata->until_ns - now_ns) / NS_PER_MS), headers);
	if (strcmp(method, "GET") != 0)
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
	CURLcode code = curl_easy_perform(easy);
	long status = 0;
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(easy);
	curl_slist_free_all(headers);
	if (code == CURLE_OK && status == 200)
		return true;
	if (code == CURLE_OK)
		snprintf(metadata->why, sizeof(metadata->why), "%s answers %ld", path, status);
	else
		snprintf(metadata->why, sizeof(metadata->why), "%s: %s", path,
			 code == CURLE_WRITE_ERROR ? "the answer is too long"
						   : curl_easy_strerror(code));
	return false;
}

/* A container is one hop further away than its node: with the default hop limit of 1 the token's
 * answer never comes. */
static bool ask_token(struct metadata *metadata)
{
	if (!ask(metadata, "PUT", token_path, token_wish)) {
		size_t length = strlen(metadata->why);
		snprintf(metadata->why + length, sizeof(metadata->why) - length,
			 "; from a container the instance's metadata hop limit must be 2");
		return false;
	}
	size_t length = 0;
	while (length < metadata->length && metadata->answer[length] > ' ' &&
	       metadata->answer[length] <= '~')
		length++;
	if (!length || length != metadata->length || length > TOKEN_BYTES) {
		snprintf(metadata->why, sizeof(metadata->why), "%s answers no token", token_path);
		return false;
	}
	snprintf(metadata->token, sizeof(metadata->token), "X-aws-ec2-metadata-token: %.*s",
		 (int)length, metadata->answer);
	return true;
}

static void run(uv_work_t *work)
{
	struct metadata *metadata = work->data;
	enum cloud cloud = metadata->options.cloud;
	const char *header = clouds[cloud].header;
	metadata->until_ns = uv_hrtime() + METADATA_WITHIN_MS * NS_PER_MS;
	if (cloud == CLOUD_AWS) {
		if (!ask_token(metadata))
			return;
		header = metadata->token;
	}
	for (unsigned i = 0; i < QUESTIONS_MAX && clouds[cloud].paths[i]; i++) {
		if (!ask(metadata, "GET", clouds[cloud].paths[i], header))
			return;
		if (cloud_answer(cloud, i, metadata->answer, metadata->length, &metadata->facts))
			metadata->found = true;
		else
			snprintf(metadata->why, sizeof(metadata->why),
				 "the answer to %s is not what %s documents",
				 clouds[cloud].paths[i], cloud_name(cloud));
	}
}

static void ran(uv_work_t *work, int status)
{
	struct metadata *metadata = work->data;
	(void)status;
	if (!metadata->closed)
		metadata->options.done(metadata->options.context, metadata->found, &metadata->facts,
				       metadata->why);
	free(metadata);
}

int metadata_ask(struct metadata **out, const struct metadata_options *options)
{
	static bool started;
	if (!started && curl_global_init(CURL_GLOBAL_NOTHING)) /* plain HTTP: no TLS to set up */
		return UV_ENOMEM;
	started = true;
	struct metadata *metadata = memory_zeroed(1, sizeof(*metadata));
	metadata->options = *options;
	metadata->facts = options->known;
	metadata->work.data = metadata;
	int error = uv_queue_work(options->loop, &metadata->work, run, ran);
	if (error) {
		free(metadata);
		return error;
	}
	*out = metadata;
	return 0;
}

void metadata_close(struct metadata *metadata)
{
	if (metadata)
		metadata->closed = true;
}
