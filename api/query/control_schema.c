#include "api/query/control_schema.h"

#include "api/http/json.h"
#include "api/query/openapi.h"

enum kind { TEXT, TEXTS, NUMBER, TEXT_MAP, FLAG_MAP, SCHEMA, SCHEMAS };

struct property {
	const char *name;
	enum kind kind;
	const char *help;
	const char *schema; /* SCHEMA and SCHEMAS: which */
	bool required;
};

struct object {
	const char *name;
	const struct property *properties;
	size_t count;
};

static const struct property selector[] = {
	{"node", TEXTS, .help = "Globs, at most 16: the node's id matches one."},
	{"zone", TEXT, .help = "Equal to the node's; so with the next two."},
	{"region", TEXT, .help = "Equal to the node's."},
	{"role", TEXT, .help = "Equal to the node's."},
	{"labels", TEXT_MAP, .help = "At most 8: the node has them all."},
};

static const struct property settings[] = {
	{"scan_period_s", NUMBER,
	 .help = "How often counters of open sockets are read, 0.1 to 15."},
	{"batch_interval_s", NUMBER, .help = "How long events are gathered, 0.01 to 2."},
	{"cpu_budget", NUMBER, .help = "Of the node's CPUs together, more than 0 to 1."},
	{"features", FLAG_MAP,
	 .help = "udp, dns, drops, nat, processes, cmdlines, owners: on or off."},
	{"scope_cgroups", TEXTS,
	 .help = "At most 16: of new connections, only those whose cgroup's path begins with one."},
};

static const struct property wish[] = {
	{"id", TEXT,
	 .help = "1 to 64 of a-z, 0-9 and -; a record of that id is replaced. Not given: one is "
		 "made."},
	{"for_s", NUMBER, .help = "How long it holds, 1 to 2592000; not given: 3600."},
	{"selector", SCHEMA, .help = "Which agents; not given: all.", .schema = "ControlSelector"},
	{"settings", SCHEMA, .help = "What they do differently; at least one setting.",
	 .schema = "ControlSettings", .required = true},
};

static const struct property record[] = {
	{"id", TEXT, .help = "Names it.", .required = true},
	{"issued_s", NUMBER, .help = "Seconds since 1970.", .required = true},
	{"expires_s", NUMBER, .help = "Seconds since 1970.", .required = true},
	{"author", TEXT, .help = "Address of who asked for it."},
	{"selector", SCHEMA, .help = "Which agents.", .schema = "ControlSelector",
	 .required = true},
	{"settings", SCHEMA, .help = "What they do differently.", .schema = "ControlSettings",
	 .required = true},
};

static const struct property list[] = {
	{"controls", SCHEMAS, .help = "Those that stand, the one issued last first.",
	 .schema = "Control", .required = true},
};

#define OBJECT(name, properties)                                               \
	{                                                                      \
		name, properties, sizeof(properties) / sizeof((properties)[0]) \
	}

static const struct object objects[] = {
	OBJECT("ControlSelector", selector),
	OBJECT("ControlSettings", settings),
	OBJECT("ControlWish", wish),
	OBJECT("Control", record),
	OBJECT("Controls", list),
};

/* --- schemas --- */

static void property_schema(struct json *json, const struct property *property)
{
	json_member_object(json, property->name);
	switch (property->kind) {
	case TEXT:
		json_member(json, "type", "string");
		break;
	case TEXTS:
		json_member(json, "type", "array");
		openapi_of_each(json, "items", "string");
		break;
	case NUMBER:
		json_member(json, "type", "number");
		break;
	case TEXT_MAP:
		json_member(json, "type", "object");
		openapi_of_each(json, "additionalProperties", "string");
		break;
	case FLAG_MAP:
		json_member(json, "type", "object");
		openapi_of_each(json, "additionalProperties", "boolean");
		break;
	case SCHEMA:
		openapi_reference(json, property->schema);
		break;
	case SCHEMAS:
		json_member(json, "type", "array");
		json_member_object(json, "items");
		openapi_reference(json, property->schema);
		json_object_end(json);
		break;
	}
	json_member(json, "description", property->help);
	json_object_end(json);
}

static void object_schema(struct json *json, const struct object *object)
{
	json_member_object(json, object->name);
	json_member(json, "type", "object");
	json_key(json, "additionalProperties");
	json_bool(json, false);
	json_key(json, "required");
	json_array_begin(json);
	for (size_t i = 0; i < object->count; i++) {
		if (object->properties[i].required)
			json_string(json, object->properties[i].name);
	}
	json_array_end(json);
	json_member_object(json, "properties");
	for (size_t i = 0; i < object->count; i++)
		property_schema(json, &object->properties[i]);
	json_object_end(json);
	json_object_end(json);
}

void control_schemas(struct json *json)
{
	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++)
		object_schema(json, &objects[i]);
}

/* --- paths --- */

static void unread(struct json *json)
{
	openapi_reply(json, "503", "The records have not been read yet.", "Problem");
}

static void list_operation(struct json *json)
{
	openapi_operation(json, "get", "Controls", "What agents are told to do differently.");
	json_key(json, "parameters");
	json_array_begin(json);
	json_array_end(json);
	json_member_object(json, "responses");
	openapi_reply(json, "200", "The answer.", "Controls");
	unread(json);
	json_object_end(json);
	json_object_end(json);
}

static void set_operation(struct json *json)
{
	openapi_operation(json, "post", "SetControl",
			  "Tells some agents to do differently for a while.");
	json_member_object(json, "requestBody");
	json_key(json, "required");
	json_bool(json, true);
	openapi_content(json, "application/json", "ControlWish");
	json_object_end(json);
	json_member_object(json, "responses");
	openapi_reply(json, "201", "The record as the log has it.", "Control");
	openapi_reply(json, "400", "detail says what is wrong.", "Problem");
	openapi_reply(json, "409", "256 records stand already.", "Problem");
	openapi_reply(json, "415", "application/json is wanted.", "Problem");
	openapi_refusals_of_writers(json);
	json_object_end(json);
	json_object_end(json);
}

static void unset_operation(struct json *json)
{
	openapi_operation(json, "delete", "UnsetControl", "Withdraws a record.");
	json_key(json, "parameters");
	json_array_begin(json);
	openapi_parameter(json, "id", "path", "Of the record.");
	json_array_end(json);
	json_member_object(json, "responses");
	openapi_reply(json, "200", "The record that was withdrawn.", "Control");
	openapi_reply(json, "404", "No such record stands.", "Problem");
	openapi_refusals_of_writers(json);
	json_object_end(json);
	json_object_end(json);
}

void control_paths(struct json *json)
{
	json_member_object(json, "/api/v1/agents/control");
	list_operation(json);
	set_operation(json);
	json_object_end(json);
	json_member_object(json, "/api/v1/agents/control/{id}");
	unset_operation(json);
	json_object_end(json);
}
