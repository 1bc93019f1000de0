/* Pieces of the OpenAPI document that what is no query needs: what changes something. Pure; any
 * thread. */
#pragma once

struct json;

/* A schema of the document by its name. */
void openapi_reference(struct json *json, const char *schema);
/* "key": {"type": type}. */
void openapi_of_each(struct json *json, const char *key, const char *type);
/* "type": {"schema": ...}, and the same as the only content. */
void openapi_media(struct json *json, const char *type, const char *schema);
void openapi_content(struct json *json, const char *type, const char *schema);
void openapi_reply(struct json *json, const char *status, const char *description,
		   const char *schema);
/* Opens it. */
void openapi_operation(struct json *json, const char *verb, const char *id, const char *summary);
void openapi_refusals_of_writers(struct json *json);
void openapi_parameter(struct json *json, const char *name, const char *in, const char *help);
