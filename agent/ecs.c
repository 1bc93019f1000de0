#include "agent/ecs.h"

#include <cjson/cJSON.h>
#include <string.h>

static const char variable_begins[] = "ECS_CONTAINER_METADATA_URI_V4=http://169.254.170.2/v4/";
static const char task_letters[] =
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";

bool ecs_task_of(const char *variable, char task[DESCRIPTION_TASK_BYTES])
{
	size_t begins = sizeof(variable_begins) - 1;
	if (strncmp(variable, variable_begins, begins) != 0)
		return false;
	const char *text = variable + begins;
	size_t length = strspn(text, task_letters);
	if (!length || length >= DESCRIPTION_TASK_BYTES || text[length])
		return false;
	memcpy(task, text, length + 1);
	return true;
}

static bool has_container(const cJSON *containers, const char *id)
{
	const cJSON *container;
	cJSON_ArrayForEach(container, containers)
	{
		const char *other = cJSON_GetStringValue(
			cJSON_GetObjectItemCaseSensitive(container, "DockerId"));
		if (other && strcmp(other, id) == 0)
			return true;
	}
	return false;
}

bool ecs_answer(const char *bytes, size_t length, const char *container,
		char service[DESCRIPTION_WORD_BYTES])
{
	cJSON *task = cJSON_ParseWithLength(bytes, length);
	const cJSON *containers = cJSON_GetObjectItemCaseSensitive(task, "Containers");
	const char *name =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(task, "ServiceName"));
	bool good = cJSON_IsArray(containers) && has_container(containers, container);
	service[0] = 0;
	if (good && name && strlen(name) < DESCRIPTION_WORD_BYTES)
		memcpy(service, name, strlen(name) + 1);
	cJSON_Delete(task);
	return good;
}
