/* What /openapi.json says of control records, which daemon/control_api.c serves. Constant. */
#pragma once

struct json;

/* Members of "paths", and of "components"/"schemas". */
void control_paths(struct json *json);
void control_schemas(struct json *json);
