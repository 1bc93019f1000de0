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
const struct parameters_table monitor_send_takes = {NULL, 0};

void monitor_schemas(struct json *json)
{
	const ProtobufCMessageDescriptor *const messages[] = {
		&millrace__v1__monitor__descriptor,
		&millrace__v1__monitor_value__descriptor,
		&millrace__v1__monitor_trial__descriptor,
		&millrace__v1__monitor_state__descriptor,
		&millrace__v1__list_monitors_response__descriptor,
		&millrace__v1__receiver_test__descriptor,
		&millrace__v1__send_test_response__descriptor,
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
	json_member_object(json, "SendTestRequest");
	json_member(json, "type", "object");
	json_member_object(json, "properties");
	openapi_of_each(json, "monitor", "string");
	openapi_of_each(json, "receiver", "string");
	json_object_end(json);
	json_key(json, "required");
	json_array_begin(json);
	json_string(json, "monitor");
	json_array_end(json);
	json_object_end(json);
}

#define WRONG_PARAMETER        \
	OPENAPI_REFUSAL("400", \
			"A parameter is wrong, or there is none of that name: detail says which.")
#define WRONG_DOCUMENT OPENAPI_REFUSAL("400", "detail says what is wrong, and on which line.")
#define NONE	       OPENAPI_REFUSAL("404", "No monitor of this name is in force.")
#define CONFLICT                                                                              \
	OPENAPI_REFUSAL("409", "It is a monitor of the configuration, 256 stand already, or " \
			       "others changed monitors at the same time.")
#define WRONG_TYPE OPENAPI_REFUSAL("415", "application/yaml or application/json is wanted.")
#define UNREAD	   OPENAPI_REFUSAL("503", "The monitors have not been read yet.")

static const struct openapi_verb of_all[] = {
	{"get", "ListMonitors", "The monitors in force, those of the configuration first.",
	 &monitor_list_takes,
	 .replies = {{"200", "The answer.", .schema = "ListMonitorsResponse"},
		     WRONG_PARAMETER,
		     UNREAD}},
	{"post", "ApplyMonitors",
	 "Puts monitors in force, new ones or in the place of those with their names.",
	 &monitor_apply_takes, .body = "MonitorDocument", .yaml = true, .writes = true,
	 .replies = {{"200", "What is in force now.", .schema = "ListMonitorsResponse"},
		     WRONG_DOCUMENT,
		     CONFLICT,
		     WRONG_TYPE}},
};

static const struct openapi_verb of_one[] = {
	{"get", "GetMonitor", "One of them.", &monitor_get_takes,
	 .replies =
		 {{"200", "The answer.", .schema = "MonitorState"}, WRONG_PARAMETER, NONE, UNREAD}},
	{"put", "PutMonitor", "Puts this monitor in force, new or in the place of the former.",
	 &monitor_put_takes, .body = "MonitorDocument", .yaml = true, .writes = true,
	 .replies = {{"200", "What is in force now.", .schema = "MonitorState"},
		     WRONG_DOCUMENT,
		     CONFLICT,
		     WRONG_TYPE}},
	{"delete", "DeleteMonitor", "Takes it out of force; its open episodes end.",
	 &monitor_delete_takes, .writes = true,
	 .replies = {{"200", "What was in force.", .schema = "MonitorState"},
		     WRONG_PARAMETER,
		     NONE,
		     OPENAPI_REFUSAL("409", "It is a monitor of the configuration.")}},
};

static const struct openapi_verb of_tests[] = {
	{"post", "SendTest",
	 "Sends a test notification of a monitor through receivers, and says what they answered.",
	 &monitor_send_takes, .body = "SendTestRequest",
	 .replies = {{"200", "What became of it.", .schema = "SendTestResponse"},
		     OPENAPI_REFUSAL("400", "detail says what is wrong."),
		     OPENAPI_REFUSAL("401", "control.token is configured and was not shown."),
		     OPENAPI_REFUSAL("403", "Without control.token only who asks from the same "
					    "machine may."),
		     OPENAPI_REFUSAL("404", "There is no such monitor, or no such receiver."),
		     OPENAPI_REFUSAL("415", "application/json is wanted."),
		     OPENAPI_REFUSAL("429", "Tests are sent six times a minute at most."),
		     UNREAD}},
};

void monitor_paths(struct json *json)
{
	openapi_path(json, "/api/v1/receivers/test", of_tests, 1);
	openapi_path(json, "/api/v1/monitors", of_all, sizeof(of_all) / sizeof(of_all[0]));
	openapi_path(json, "/api/v1/monitors/{name}", of_one, sizeof(of_one) / sizeof(of_one[0]));
}
