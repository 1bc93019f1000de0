#include "api/query/control_schema.h"

#include "api/http/json.h"
#include "api/query/openapi.h"
#include "api/query/parameter.h"

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
	 .help = "udp, dns, sni, drops, nat, processes, cmdlines, owners: on or off."},
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

static const struct parameter one_parameters[] = {
	{"id", .type = PARAMETER_TEXT, .in_path = true, .help = "Of the record."},
};
static const struct parameters_table one_takes = {one_parameters, 1};

static const struct openapi_verb of_all[] = {
	{"get", "Controls", "What agents are told to do differently.",
	 .replies = {{"200", "The answer.", .schema = "Controls"},
		     OPENAPI_REFUSAL("503", "The records have not been read yet.")}},
	{"post", "SetControl", "Tells some agents to do differently for a while.",
	 .body = "ControlWish", .writes = true,
	 .replies = {{"201", "The record as the log has it.", .schema = "Control"},
		     OPENAPI_REFUSAL("400", "detail says what is wrong."),
		     OPENAPI_REFUSAL("409", "256 records stand already."),
		     OPENAPI_REFUSAL("415", "application/json is wanted.")}},
};

static const struct openapi_verb of_one[] = {
	{"delete", "UnsetControl", "Withdraws a record.", &one_takes, .writes = true,
	 .replies = {{"200", "The record that was withdrawn.", .schema = "Control"},
		     OPENAPI_REFUSAL("404", "No such record stands.")}},
};

void control_paths(struct json *json)
{
	openapi_path(json, "/api/v1/agents/control", of_all, sizeof(of_all) / sizeof(of_all[0]));
	openapi_path(json, "/api/v1/agents/control/{id}", of_one, 1);
}
