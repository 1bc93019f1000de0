/* What the metadata endpoint of an ECS task (version 4) says of it. Each container has an address
 * of its own there, in its environment; the runtime's labels name the task's family, the endpoint
 * alone names its service. Who starts a container chooses its environment, so an answer counts only
 * for a container that it lists. Foreign bytes, read without trust. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/description.h"

enum { ECS_ANSWER_MAX_BYTES = 1 << 20 };

/* A variable "ECS_CONTAINER_METADATA_URI_V4=http://169.254.170.2/v4/<task>": what stands for the
 * task. False: it is another variable, or address. */
bool ecs_task_of(const char *variable, char task[DESCRIPTION_TASK_BYTES]);

/* The answer to GET /v4/<task>/task. False: it is not of a task that has this container. service:
 * empty for a task of none; of ECS agents before 1.63.1, for all. */
bool ecs_answer(const char *bytes, size_t length, const char *container,
		char service[DESCRIPTION_WORD_BYTES]);
