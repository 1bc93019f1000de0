/* The OpenAPI document's paths, from tables of what each verb takes and answers. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct json;
struct parameters_table;

enum { OPENAPI_REPLIES_MAX = 8 };

struct openapi_reply {
	const char *status, *description;
	const char *schema; /* of the document, by its name; NULL: no more is said than the type */
	const char *type;   /* NULL: JSON, of a Problem as problems are */
};

#define OPENAPI_REFUSAL(status, why)             \
	{                                        \
		status, why, .schema = "Problem" \
	}

struct openapi_verb {
	const char *verb, *id, *summary;
	const struct parameters_table *parameters; /* NULL: none */
	const char *body; /* the schema of what is sent, as JSON; NULL: nothing is */
	bool body_optional;
	bool yaml;   /* or as YAML */
	bool writes; /* into a topic: refused also as all that do are */
	struct openapi_reply replies[OPENAPI_REPLIES_MAX]; /* up to one without a status */
};

void openapi_path(struct json *json, const char *path, const struct openapi_verb *verbs,
		  size_t count);

/* A schema of the document by its name. */
void openapi_reference(struct json *json, const char *schema);
/* "key": {"type": type}. */
void openapi_of_each(struct json *json, const char *key, const char *type);
