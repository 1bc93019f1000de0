#include "api/query/monitor_schema.h"

#include "api/http/json.h"
#include "api/query/message_json.h"
#include "api/query/openapi.h"
#include "millrace/v1/monitors.pb-c.h"

static const struct parameter get_parameters[] = {
	{"name", .type = PARAMETER_TEXT, .in_path = true, .help = "Of the monitor."},
	{"test", "test", PARAMETER_FLAG, .help = "Also what it would say now."},
};

static const struct parameter put_parameters[] = {
	{"name", .type = PARAMETER_TEXT, .in_path = true,
	 .help = "Of the monitor, as in the document if there is one."},
	{"dry_run", "dry_run", PARAMETER_FLAG,
	 .help = "Only says what it would put in force; of one monitor, also what that would say "
		 "now."},
};

const struct parameters_table monitor_list_takes = {NULL, 0};
const struct parameters_table monitor_get_takes = {get_parameters, 2};
const struct parameters_table monitor_apply_takes = {put_parameters + 1, 1};
const struct parameters_table monitor_put_takes = {put_parameters, 2};
const struct parameters_table monitor_delete_takes = {put_parameters, 1};

void monitor_schemas(struct json *json)
{
	const ProtobufCMessageDescriptor *const messages[] = {
		&millrace__v1__monitor__descriptor,
		&millrace__v1__monitor_value__descriptor,
		&millrace__v1__monitor_trial__descriptor,
		&millrace__v1__monitor_state__descriptor,
		&millrace__v1__list_monitors_response__descriptor,
	};

	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		json_key(json, messages[i]->short_name);
		message_schema(json, messages[i]);
	}
	json_member_object(json, "MonitorDocument");
	json_member(json, "type", "object");
	json_member(json, "description",
		    "A monitor as in millraced's configuration, or {monitors: [...]} of at most "
		    "64; what is not given has the default of the configuration's reference.");
	json_object_end(json);
}

static void takes(struct json *json, const struct parameters_table *table)
{
	json_key(json, "parameters");
	parameters_schema(json, table);
}

/* As parameters_parse() refuses them. */
static void refusal_of_parameters(struct json *json)
{
	openapi_reply(json, "400",
		      "A parameter is wrong, or there is none of that name: detail "
		      "says which.",
		      "Problem");
}

static void unread(struct json *json)
{
	openapi_reply(json, "503", "The monitors have not been read yet.", "Problem");
}

static void list_operation(struct json *json)
{
	openapi_operation(json, "get", "ListMonitors",
			  "The monitors in force, those of the configuration first.");
	takes(json, &monitor_list_takes);
	json_member_object(json, "responses");
	openapi_reply(json, "200", "The answer.", "ListMonitorsResponse");
	refusal_of_parameters(json);
	unread(json);
	json_object_end(json);
	json_object_end(json);
}

static void get_operation(struct json *json)
{
	openapi_operation(json, "get", "GetMonitor", "One of them.");
	takes(json, &monitor_get_takes);
	json_member_object(json, "responses");
	openapi_reply(json, "200", "The answer.", "MonitorState");
	refusal_of_parameters(json);
	openapi_reply(json, "404", "No monitor of this name is in force.", "Problem");
	unread(json);
	json_object_end(json);
	json_object_end(json);
}

static void document(struct json *json)
{
	json_member_object(json, "requestBody");
	json_key(json, "required");
	json_bool(json, true);
	json_member_object(json, "content");
	openapi_media(json, "application/json", "MonitorDocument");
	openapi_media(json, "application/yaml", "MonitorDocument");
	json_object_end(json);
	json_object_end(json);
}

static void refusals(struct json *json)
{
	openapi_reply(json, "400", "detail says what is wrong, and on which line.", "Problem");
	openapi_reply(json, "409",
		      "It is a monitor of the configuration, 256 stand already, or others changed "
		      "monitors at the same time.",
		      "Problem");
	openapi_reply(json, "415", "application/yaml or application/json is wanted.", "Problem");
	openapi_refusals_of_writers(json);
}

static void apply_operation(struct json *json)
{
	openapi_operation(json, "post", "ApplyMonitors",
			  "Puts monitors in force, new ones or in the place of those with their "
			  "names.");
	takes(json, &monitor_apply_takes);
	document(json);
	json_member_object(json, "responses");
	openapi_reply(json, "200", "What is in force now.", "ListMonitorsResponse");
	refusals(json);
	json_object_end(json);
	json_object_end(json);
}

static void put_operation(struct json *json)
{
	openapi_operation(json, "put", "PutMonitor",
			  "Puts this monitor in force, new or in the place of the former.");
	takes(json, &monitor_put_takes);
	document(json);
	json_member_object(json, "responses");
	openapi_reply(json, "200", "What is in force now.", "MonitorState");
	refusals(json);
	json_object_end(json);
	json_object_end(json);
}

static void delete_operation(struct json *json)
{
	openapi_operation(json, "delete", "DeleteMonitor",
			  "Takes it out of force; its open episodes end.");
	takes(json, &monitor_delete_takes);
	json_member_object(json, "responses");
	openapi_reply(json, "200", "What was in force.", "MonitorState");
	refusal_of_parameters(json);
	openapi_reply(json, "404", "No monitor of this name is in force.", "Problem");
	openapi_reply(json, "409", "It is a monitor of the configuration.", "Problem");
	openapi_refusals_of_writers(json);
	json_object_end(json);
	json_object_end(json);
}

void monitor_paths(struct json *json)
{
	json_member_object(json, "/api/v1/monitors");
	list_operation(json);
	apply_operation(json);
	json_object_end(json);
	json_member_object(json, "/api/v1/monitors/{name}");
	get_operation(json);
	put_operation(json);
	delete_operation(json);
	json_object_end(json);
}
