/* The table of the API's methods: for each its REST path, its gRPC path, what it takes, what it
 * gives and who answers. Routes, checks and /openapi.json all come from it. Constant. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "api/query/answer.h"
#include "api/query/parameter.h"

struct json;

enum {
	METHODS = QUERY_ROUTES,
	/* Of a gRPC request: a few names and numbers. Unpacking may take ten times as much. */
	METHOD_REQUEST_MAX = 8192,
};

struct method {
	const char *path, *rpc;
	const char *summary;
	const char *route; /* NULL: the path; else one that ends in "*", for a parameter in it */
	const ProtobufCMessageDescriptor *request, *response;
	struct parameters_table parameters;
	answer answer;
};

extern const struct method methods[METHODS];

/* The OpenAPI 3.1 document of these, of control records, monitors, silences and of /healthz,
 * /readyz, /metrics and itself. */
void methods_openapi(struct json *json);
