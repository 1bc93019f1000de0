#include "api/cli/ask.h"

#include <curl/curl.h>
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void path_begin(struct path *path, const char *text)
{
	snprintf(path->text, sizeof(path->text), "%s", text);
	path->asked = false;
}

void path_add(struct path *path, const char *key, const char *value)
{
	size_t length = strlen(path->text);

	if (!value)
		return;

	char *escaped = curl_easy_escape(NULL, value, 0);

	snprintf(path->text + length, sizeof(path->text) - length, "%c%s=%s",
		 path->asked ? '&' : '?', key, escaped ? escaped : "");
	path->asked = true;
	curl_free(escaped);
}

static size_t on_bytes(char *bytes, size_t one, size_t size, void *context)
{
	struct reply *reply = context;

	(void)one;
	if (reply->size + size > ASK_BYTES_MAX)
		return 0; /* curl ends the transfer */
	reply->body = memory_resize(reply->body, reply->size + size + 1, 1);
	memcpy(reply->body + reply->size, bytes, size);
	reply->size += size;
	reply->body[reply->size] = '\0';
	return size;
}

static int unreachable(const struct cli *cli, const char *why)
{
	return complain(STATUS_UNREACHABLE,
			"%s does not answer: %s\n"
			"Start millraced, or name its address with --server or MILLRACE_SERVER.",
			cli->server, why);
}

static int untrusted(const struct cli *cli, const char *why)
{
	return complain(STATUS_UNREACHABLE,
			"%s is not trusted: %s\n"
			"Name the file of its authority with --ca, and the server as its "
			"certificate does.",
			cli->server, why);
}

/* What a change adds to a GET. */
struct change {
	const char *method, *body;
};

static struct curl_slist *change_headers(const struct change *change)
{
	const char *token = getenv("MILLRACE_TOKEN");
	/* Our own bodies are JSON; what people write may be YAML. */
	const char *type = !change->body	    ? "Expect:"
			   : change->body[0] == '{' ? "Content-Type: application/json"
						    : "Content-Type: application/yaml";
	struct curl_slist *headers = curl_slist_append(NULL, type);
	char line[2048];

	if (!token || !*token)
		return headers;
	snprintf(line, sizeof(line), "Authorization: Bearer %s", token);
	return curl_slist_append(headers, line);
}

static int perform(const struct cli *cli, const char *path, const struct change *change,
		   struct reply *reply)
{
	char url[ASK_PATH_MAX + 512], why[CURL_ERROR_SIZE] = "";
	CURL *curl = curl_easy_init();
	struct curl_slist *headers = change ? change_headers(change) : NULL;
	size_t length = strlen(cli->server);

	*reply = (struct reply){0};
	if (!curl)
		return complain(STATUS_FAILED, "libcurl does not start");
	while (length && cli->server[length - 1] == '/')
		length--;
	snprintf(url, sizeof(url), "%.*s%s", (int)length, cli->server, path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)ASK_TIMEOUT_S);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 5L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "millrace/" MILLRACE_VERSION);
	if (cli->ca)
		curl_easy_setopt(curl, CURLOPT_CAINFO, cli->ca);
	if (change) {
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, change->method);
		curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	}
	if (change && change->body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, change->body);

	CURLcode rc = curl_easy_perform(curl);

	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply->code);
	curl_easy_cleanup(curl);
	curl_slist_free_all(headers);
	if (rc == CURLE_OK) {
		if (!reply->body)
			reply->body = memory_zeroed(1, 1);
		return STATUS_DONE;
	}
	free(reply->body);
	reply->body = NULL;
	if (rc == CURLE_URL_MALFORMAT || rc == CURLE_UNSUPPORTED_PROTOCOL)
		return complain(STATUS_USAGE,
				"--server %s is no address; write it as http://127.0.0.1:7470",
				cli->server);
	if (rc == CURLE_SSL_CACERT_BADFILE)
		return complain(STATUS_USAGE, "--ca %s: %s", cli->ca, why);
	if (rc == CURLE_PEER_FAILED_VERIFICATION)
		return untrusted(cli, why);
	return unreachable(cli, why[0] ? why : curl_easy_strerror(rc));
}

int ask(const struct cli *cli, const char *path, struct reply *reply)
{
	return perform(cli, path, NULL, reply);
}

/* What the server says of it, or its number alone. */
static int refused(const struct cli *cli, const struct reply *reply)
{
	cJSON *problem = cJSON_Parse(reply->body);
	const cJSON *detail = cJSON_GetObjectItemCaseSensitive(problem, "detail");
	int status;

	if (cJSON_IsString(detail))
		status = complain(reply->code == 400 ? STATUS_USAGE : STATUS_FAILED, "%s",
				  detail->valuestring);
	else
		status = complain(STATUS_FAILED,
				  "%s answers %ld; is it millraced? Check --server, and the log of "
				  "millraced",
				  cli->server, reply->code);
	cJSON_Delete(problem);
	return status;
}

int ask_json(const struct cli *cli, const char *path, struct cJSON **document, char **body)
{
	struct reply reply;
	int status = ask(cli, path, &reply);

	*document = NULL;
	if (status != STATUS_DONE)
		return status;
	if (reply.code == 200)
		*document = cJSON_Parse(reply.body);
	if (reply.code != 200)
		status = refused(cli, &reply);
	else if (!*document)
		status = complain(STATUS_FAILED,
				  "%s does not answer in JSON; is it millraced? Check --server",
				  cli->server);
	if (status == STATUS_DONE && body)
		*body = reply.body;
	else
		free(reply.body);
	return status;
}

int ask_change(const struct cli *cli, const char *method, const char *path, const char *body,
	       struct cJSON **document, char **answer)
{
	const struct change change = {method, body};
	struct reply reply;
	int status = perform(cli, path, &change, &reply);

	*document = NULL;
	if (status != STATUS_DONE)
		return status;
	if (reply.code == 200 || reply.code == 201)
		*document = cJSON_Parse(reply.body);
	if (reply.code != 200 && reply.code != 201)
		status = refused(cli, &reply);
	else if (!*document)
		status = complain(STATUS_FAILED,
				  "%s does not answer in JSON; is it millraced? Check --server",
				  cli->server);
	if (status == STATUS_DONE && answer)
		*answer = reply.body;
	else
		free(reply.body);
	return status;
}

static int print_and_free(const struct cli *cli, int status, cJSON *document, char *body,
			  ask_print print)
{
	if (status != STATUS_DONE)
		return status;
	status = print(cli, document, body);
	free(body);
	cJSON_Delete(document);
	return status;
}

int ask_and_print(const struct cli *cli, const char *path, ask_print print)
{
	cJSON *document = NULL;
	char *body = NULL;
	int status = ask_json(cli, path, &document, &body);

	return print_and_free(cli, status, document, body, print);
}

int change_and_print(const struct cli *cli, const char *method, const char *path, const char *body,
		     ask_print print)
{
	cJSON *document = NULL;
	char *answer = NULL;
	int status = ask_change(cli, method, path, body, &document, &answer);

	return print_and_free(cli, status, document, answer, print);
}
