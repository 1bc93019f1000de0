#include "api/query/openapi.h"

#include <stdio.h>
#include <string.h>

#include "api/http/json.h"
#include "api/query/parameter.h"

/* Of what writes into a topic. */
static const struct openapi_reply refusals[] = {
	OPENAPI_REFUSAL("401", "control.token is configured and was not shown."),
	OPENAPI_REFUSAL("403", "Without control.token only who asks from the same machine may."),
	OPENAPI_REFUSAL("503",
			"What stands has not been read yet, or too many changes wait for Kafka."),
	OPENAPI_REFUSAL("504", "Kafka did not take the change within 10 s; it may come yet."),
};

void openapi_reference(struct json *json, const char *schema)
{
	char path[128];

	snprintf(path, sizeof(path), "#/components/schemas/%s", schema);
	json_member(json, "$ref", path);
}

void openapi_of_each(struct json *json, const char *key, const char *type)
{
	json_member_object(json, key);
	json_member(json, "type", type);
	json_object_end(json);
}

static void put_media(struct json *json, const char *type, const char *schema)
{
	json_member_object(json, type);
	json_member_object(json, "schema");
	if (schema)
		openapi_reference(json, schema);
	else
		json_member(json, "type", strcmp(type, "application/json") ? "string" : "object");
	json_object_end(json);
	json_object_end(json);
}

static const char *type_of(const struct openapi_reply *reply)
{
	if (reply->type)
		return reply->type;
	return reply->schema && strcmp(reply->schema, "Problem") == 0 ? "application/problem+json"
								      : "application/json";
}

static void put_reply(struct json *json, const struct openapi_reply *reply)
{
	json_member_object(json, reply->status);
	json_member(json, "description", reply->description);
	json_member_object(json, "content");
	put_media(json, type_of(reply), reply->schema);
	json_object_end(json);
	json_object_end(json);
}

static void put_parameters(struct json *json, const struct parameters_table *parameters)
{
	const struct parameters_table none = {NULL, 0};

	json_key(json, "parameters");
	parameters_schema(json, parameters ? parameters : &none);
}

static void put_body(struct json *json, const struct openapi_verb *verb)
{
	if (!verb->body)
		return;
	json_member_object(json, "requestBody");
	json_key(json, "required");
	json_bool(json, !verb->body_optional);
	json_member_object(json, "content");
	put_media(json, "application/json", verb->body);
	if (verb->yaml)
		put_media(json, "application/yaml", verb->body);
	json_object_end(json);
	json_object_end(json);
}

static void put_replies(struct json *json, const struct openapi_verb *verb)
{
	json_member_object(json, "responses");
	for (size_t i = 0; i < OPENAPI_REPLIES_MAX && verb->replies[i].status; i++)
		put_reply(json, &verb->replies[i]);
	for (size_t i = 0; verb->writes && i < sizeof(refusals) / sizeof(refusals[0]); i++)
		put_reply(json, &refusals[i]);
	json_object_end(json);
}

void openapi_path(struct json *json, const char *path, const struct openapi_verb *verbs,
		  size_t count)
{
	json_member_object(json, path);
	for (size_t i = 0; i < count; i++) {
		json_member_object(json, verbs[i].verb);
		json_member(json, "operationId", verbs[i].id);
		json_member(json, "summary", verbs[i].summary);
		put_parameters(json, verbs[i].parameters);
		put_body(json, &verbs[i]);
		put_replies(json, &verbs[i]);
		json_object_end(json);
	}
	json_object_end(json);
}
