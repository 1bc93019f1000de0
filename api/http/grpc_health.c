#include "api/http/grpc_health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/field.h"
#include "api/http/route.h"
#include "api/http/site.h"
#include "base/memory.h"

enum serving_status { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };

struct health_watch {
	char name[HEALTH_NAME_MAX + 1];
	struct grpc_health *health;
	struct response *response;
	enum serving_status told;
	struct health_watch *next, **link;
};

static enum serving_status status_of(const struct grpc_health *health, const char *name)
{
	for (size_t i = 0; i < health->count; i++)
		if (!strcmp(health->services[i].name, name))
			return health->services[i].serving ? SERVING : NOT_SERVING;
	return SERVICE_UNKNOWN;
}

static void send_status(struct response *response, enum serving_status status)
{
	struct buffer message = {0};
	field_put_varint(&message, 1, status);
	response_message(response, buffer_bytes(&message), buffer_size(&message));
	buffer_done(&message);
}

/* HealthCheckRequest{string service = 1}; false when malformed or longer than any name of ours. */
static bool read_request(const struct request *request, char name[static HEALTH_NAME_MAX + 1])
{
	struct fields fields = {.at = request->body, .end = request->body + request->body_size};
	struct field field;
	*name = 0;
	while (fields_next(&fields, &field)) {
		if (field.number != 1)
			continue;
		if (!field.bytes || field.size > HEALTH_NAME_MAX)
			return false;
		snprintf(name, HEALTH_NAME_MAX + 1, "%.*s", (int)field.size,
			 (const char *)field.bytes);
	}
	return !fields.malformed;
}

static void check(struct request *request, struct response *response, void *context)
{
	const struct grpc_health *health = context;
	char name[HEALTH_NAME_MAX + 1];
	enum serving_status status = SERVICE_UNKNOWN;
	if (!read_request(request, name)) {
		response_finish(response, GRPC_INVALID_ARGUMENT, "malformed request");
		return;
	}
	status = status_of(health, name);
	if (status == SERVICE_UNKNOWN) {
		response_finish(response, GRPC_NOT_FOUND, "unknown service");
		return;
	}
	send_status(response, status);
	response_finish(response, GRPC_OK, NULL);
}

static void watch_free(struct health_watch *watch)
{
	*watch->link = watch->next;
	if (watch->next)
		watch->next->link = watch->link;
	watch->health->watch_count--;
	free(watch);
}

static void watch_gone(struct response *response, void *context)
{
	(void)response;
	watch_free(context);
}

static void watch_tell(struct health_watch *watch)
{
	enum serving_status status = status_of(watch->health, watch->name);
	if (status == watch->told)
		return;
	watch->told = status;
	send_status(watch->response, status);
}

static void watch_begin(struct request *request, struct response *response, void *context)
{
	struct grpc_health *health = context;
	char name[HEALTH_NAME_MAX + 1];
	if (!read_request(request, name)) {
		response_finish(response, GRPC_INVALID_ARGUMENT, "malformed request");
		return;
	}
	if (health->watch_count == HEALTH_WATCHES_MAX) {
		response_finish(response, GRPC_RESOURCE_EXHAUSTED, "too many watchers");
		return;
	}
	struct health_watch *watch = memory_zeroed(1, sizeof(*watch));
	memcpy(watch->name, name, sizeof(name));
	watch->health = health;
	watch->response = response;
	watch->next = health->watches;
	watch->link = &health->watches;
	if (watch->next)
		watch->next->link = &watch->next;
	health->watches = watch;
	health->watch_count++;
	response_on_gone(response, watch_gone, watch);
	watch_tell(watch);
}

void grpc_health_init(struct grpc_health *health, struct site *site)
{
	routes_add(&site->routes, &(struct route){.method = "GRPC",
						  .path = "/grpc.health.v1.Health/Check",
						  .handler = check,
						  .context = health});
	routes_add(&site->routes, &(struct route){.method = "GRPC",
						  .path = "/grpc.health.v1.Health/Watch",
						  .handler = watch_begin,
						  .context = health});
	grpc_health_set(health, "", true);
}

void grpc_health_done(struct grpc_health *health)
{
	while (health->watches)
		watch_free(health->watches);
}

bool grpc_health_set(struct grpc_health *health, const char *name, bool serving)
{
	size_t at = 0;
	while (at < health->count && strcmp(health->services[at].name, name))
		at++;
	if (at == HEALTH_SERVICES_MAX || strlen(name) > HEALTH_NAME_MAX)
		return false;
	if (at == health->count)
		memcpy(health->services[health->count++].name, name, strlen(name) + 1);
	health->services[at].serving = serving;
	for (struct health_watch *watch = health->watches; watch; watch = watch->next)
		watch_tell(watch);
	return true;
}

void grpc_health_stop(struct grpc_health *health)
{
	for (size_t i = 0; i < health->count; i++)
		health->services[i].serving = false;
	while (health->watches) {
		struct health_watch *watch = health->watches;
		struct response *response = watch->response;
		watch_tell(watch);
		watch_free(watch);
		response_finish(response, GRPC_UNAVAILABLE, "the server is closing");
	}
}
