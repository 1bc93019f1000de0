/* What /openapi.json says of /api/v1/silences, which daemon/silences_api.c serves, and of
 * /api/v1/alerts/{key}/ack, which daemon/acknowledge_api.c does. Constant. */
#pragma once

#include "api/query/parameter.h"

struct json;

/* What a request of each kind may say beside its body, also for who serves it. */
extern const struct parameters_table silence_list_takes, silence_get_takes, silence_add_takes,
	silence_expire_takes, acknowledge_takes;

void silence_schemas(struct json *json);
void silence_paths(struct json *json);
