#include "api/query/openapi.h"

#include <stdio.h>
#include <string.h>

#include "api/http/json.h"

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

void openapi_media(struct json *json, const char *type, const char *schema)
{
	json_member_object(json, type);
	json_member_object(json, "schema");
	openapi_reference(json, schema);
	json_object_end(json);
	json_object_end(json);
}

void openapi_content(struct json *json, const char *type, const char *schema)
{
	json_member_object(json, "content");
	openapi_media(json, type, schema);
	json_object_end(json);
}

void openapi_reply(struct json *json, const char *status, const char *description,
		   const char *schema)
{
	json_member_object(json, status);
	json_member(json, "description", description);
	openapi_content(json,
			strcmp(schema, "Problem") ? "application/json" : "application/problem+json",
			schema);
	json_object_end(json);
}

void openapi_operation(struct json *json, const char *verb, const char *id, const char *summary)
{
	json_member_object(json, verb);
	json_member(json, "operationId", id);
	json_member(json, "summary", summary);
}

void openapi_refusals_of_writers(struct json *json)
{
	openapi_reply(json, "401", "control.token is configured and was not shown.", "Problem");
	openapi_reply(json, "403", "Without control.token only who asks from the same machine may.",
		      "Problem");
	openapi_reply(json, "503",
		      "What stands has not been read yet, or too many changes wait for Kafka.",
		      "Problem");
	openapi_reply(json, "504", "Kafka did not take the change within 10 s; it may come yet.",
		      "Problem");
}

void openapi_parameter(struct json *json, const char *name, const char *in, const char *help)
{
	json_object_begin(json);
	json_member(json, "name", name);
	json_member(json, "in", in);
	json_member(json, "description", help);
	if (strcmp(in, "path") == 0) {
		json_key(json, "required");
		json_bool(json, true);
	}
	openapi_of_each(json, "schema", "string");
	json_object_end(json);
}
