/* What /openapi.json says of /api/v1/monitors, which daemon/monitors_api.c serves, and of
 * /api/v1/receivers/test, which daemon/receivers_api.c does. Constant. */
#pragma once

#include "api/query/parameter.h"

struct json;

/* What a request of each kind may say beside its body, also for who serves it. */
extern const struct parameters_table monitor_list_takes, monitor_get_takes, monitor_apply_takes,
	monitor_put_takes, monitor_delete_takes, monitor_send_takes;

void monitor_schemas(struct json *json);
void monitor_paths(struct json *json);
