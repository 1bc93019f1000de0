#include "api/query/silence_schema.h"

#include "api/http/json.h"
#include "api/query/message_json.h"
#include "api/query/openapi.h"
#include "millrace/v1/silences.pb-c.h"

static const char *const states[] = {"active", "pending", "expired", NULL};

static const struct parameter list_parameters[] = {
	{"state", "state", PARAMETER_CHOICE, .choices = states, .help = "Empty: all."},
};

static const struct parameter one_parameters[] = {
	{"id", .type = PARAMETER_TEXT, .in_path = true, .help = "Of the silence."},
};

static const struct parameter add_parameters[] = {
	{"dry_run", "dry_run", PARAMETER_FLAG,
	 .help = "Only says what it would be, and which incidents it would silence now."},
};

static const struct parameter acknowledge_parameters[] = {
	{"key", .type = PARAMETER_TEXT, .in_path = true,
	 .help = "Of the alert, or enough of its beginning: 4 characters at least."},
};

const struct parameters_table acknowledge_takes = {acknowledge_parameters, 1};
const struct parameters_table silence_list_takes = {list_parameters, 1};
const struct parameters_table silence_get_takes = {one_parameters, 1};
const struct parameters_table silence_add_takes = {add_parameters, 1};
const struct parameters_table silence_expire_takes = {one_parameters, 1};

static void put_property(struct json *json, const char *name, const char *type, const char *help)
{
	json_member_object(json, name);
	json_member(json, "type", type);
	json_member(json, "description", help);
	json_object_end(json);
}

struct property {
	const char *name, *type, *help;
};

static void put_properties(struct json *json, const struct property *properties, size_t count)
{
	json_member_object(json, "properties");
	for (size_t i = 0; i < count; i++)
		put_property(json, properties[i].name, properties[i].type, properties[i].help);
	json_object_end(json);
}

static void acknowledge_schema(struct json *json)
{
	static const struct property properties[] = {
		{"created_by", "string", "Who; 255 bytes."},
		{"comment", "string", "What is done about it; 1,024 bytes."},
	};

	json_member_object(json, "AcknowledgeDocument");
	json_member(json, "type", "object");
	put_properties(json, properties, sizeof(properties) / sizeof(properties[0]));
	json_object_end(json);
}

static void document_schema(struct json *json)
{
	static const struct property properties[] = {
		{"id", "string",
		 "1 to 64 bytes of a-z, 0-9 and -; the silence of that id is changed. Not given: "
		 "one is made."},
		{"monitor", "string", "Glob (* and ?) on the monitor's name."},
		{"client", "string", "Glob on the client workload."},
		{"server", "string", "Glob on the server workload."},
		{"port", "integer", "Server port."},
		{"severity", "string", "Of the episode: info, warning, error or critical."},
		{"starts_at", "string",
		 "RFC 3339, or seconds since 1970. Not given: now, or as it is of the one that is "
		 "changed."},
		{"ends_at", "string", "Likewise; this or duration."},
		{"duration", "string", "From its beginning, such as 30m, 2h or 1d."},
		{"created_by", "string", "Who wants it; 255 bytes."},
		{"comment", "string", "Why; 1,024 bytes."},
	};

	json_member_object(json, "SilenceDocument");
	json_member(json, "type", "object");
	json_member(json, "description",
		    "At least one of monitor, client, server, port and severity is given: an "
		    "episode matches if all that is given does.");
	put_properties(json, properties, sizeof(properties) / sizeof(properties[0]));
	json_object_end(json);
}

void silence_schemas(struct json *json)
{
	const ProtobufCMessageDescriptor *const messages[] = {
		&millrace__v1__silence__descriptor,
		&millrace__v1__silence_state__descriptor,
		&millrace__v1__list_silences_response__descriptor,
	};

	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		json_key(json, messages[i]->short_name);
		message_schema(json, messages[i]);
	}
	document_schema(json);
	acknowledge_schema(json);
}

#define WRONG_PARAMETER        \
	OPENAPI_REFUSAL("400", \
			"A parameter is wrong, or there is none of that name: detail says which.")
#define WRONG_DOCUMENT OPENAPI_REFUSAL("400", "detail says what is wrong, and on which line.")
#define NONE	       OPENAPI_REFUSAL("404", "There is no silence of this id.")
#define WRONG_TYPE     OPENAPI_REFUSAL("415", "application/yaml or application/json is wanted.")
#define UNREAD	       OPENAPI_REFUSAL("503", "The silences have not been read yet.")

static const struct openapi_verb of_all[] = {
	{"get", "ListSilences", "Active, pending and lately expired; of each the first to end.",
	 &silence_list_takes,
	 .replies = {{"200", "The answer.", .schema = "ListSilencesResponse"},
		     WRONG_PARAMETER,
		     UNREAD}},
	{"post", "AddSilence", "Begins a silence, or changes the one with its id.",
	 &silence_add_takes, .body = "SilenceDocument", .yaml = true, .writes = true,
	 .replies = {{"200", "As it stands now.", .schema = "SilenceState"},
		     WRONG_DOCUMENT,
		     OPENAPI_REFUSAL("409", "silences.max are active or pending already."),
		     WRONG_TYPE}},
};

static const struct openapi_verb of_one[] = {
	{"get", "GetSilence", "One of them.", &silence_get_takes,
	 .replies =
		 {{"200", "The answer.", .schema = "SilenceState"}, WRONG_PARAMETER, NONE, UNREAD}},
	{"delete", "ExpireSilence", "Ends it now; it stays listed as expired.",
	 &silence_expire_takes, .writes = true,
	 .replies = {{"200", "As it ended.", .schema = "SilenceState"},
		     WRONG_PARAMETER,
		     NONE,
		     OPENAPI_REFUSAL("409", "It has expired already.")}},
};

static const struct openapi_verb of_alert[] = {
	{"post", "Acknowledge",
	 "Says that somebody attends to an alert that fires: its updates notify nobody.",
	 &acknowledge_takes, .body = "AcknowledgeDocument", .body_optional = true, .yaml = true,
	 .writes = true,
	 .replies = {{"200", "As it stands now.", .schema = "Acknowledgement"},
		     WRONG_DOCUMENT,
		     OPENAPI_REFUSAL("404", "No alert has this key."),
		     OPENAPI_REFUSAL("409", "It has resolved."),
		     WRONG_TYPE}},
};

void silence_paths(struct json *json)
{
	openapi_path(json, "/api/v1/alerts/{key}/ack", of_alert, 1);
	openapi_path(json, "/api/v1/silences", of_all, sizeof(of_all) / sizeof(of_all[0]));
	openapi_path(json, "/api/v1/silences/{id}", of_one, sizeof(of_one) / sizeof(of_one[0]));
}
