/* What /openapi.json says of /api/v1/monitors, which daemon/monitors_api.c serves. Constant. */
#pragma once

struct json;

void monitor_schemas(struct json *json);
void monitor_paths(struct json *json);
