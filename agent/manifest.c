#include "agent/manifest.h"

#include <cjson/cJSON.h>
#include <string.h>

#include "agent/ecs.h"

static const char *text_of(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static const cJSON *part_of(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

static void take_labels(const cJSON *labels, const struct label_choice *choice,
			struct description *out)
{
	const cJSON *label;
	cJSON_ArrayForEach(label, labels)
	{
		const char *value = cJSON_GetStringValue(label);
		if (label->string && value)
			description_label(out, choice, label->string, value);
	}
}

/* Docker's names begin with '/'. */
static void set_name(struct description *out, const char *name)
{
	if (name)
		description_set(out, DESCRIPTION_NAME, name + (name[0] == '/'));
}

static void set_docker(struct description *out)
{
	if (!description_get(out, DESCRIPTION_RUNTIME)[0])
		description_set(out, DESCRIPTION_RUNTIME, "docker");
}

static void take_environment(const cJSON *variables, struct description *out)
{
	const cJSON *variable;
	cJSON_ArrayForEach(variable, variables)
	{
		const char *text = cJSON_GetStringValue(variable);
		if (text && ecs_task_of(text, out->task))
			return;
	}
}

static bool is_id(const char *id)
{
	return id && strlen(id) == 64 && strspn(id, "0123456789abcdef") == 64;
}

bool manifest_inspect(const char *bytes, size_t length, const struct label_choice *choice,
		      struct description *out)
{
	cJSON *json = cJSON_ParseWithLength(bytes, length);
	const cJSON *config = part_of(json, "Config");
	const char *id = text_of(json, "Id") ? text_of(json, "Id") : text_of(json, "ID");
	bool good = is_id(id) && cJSON_IsObject(config);
	if (good) {
		description_init(out, id);
		set_name(out, text_of(json, "Name"));
		description_set(out, DESCRIPTION_IMAGE, text_of(config, "Image"));
		take_labels(part_of(config, "Labels"), choice, out);
		set_docker(out);
		take_environment(part_of(config, "Env"), out);
		out->inspected = true;
	}
	cJSON_Delete(json);
	return good;
}

bool manifest_list(const char *bytes, size_t length, const struct label_choice *choice,
		   struct description *scratch,
		   void (*each)(void *context, const struct description *description),
		   void *context)
{
	cJSON *json = cJSON_ParseWithLength(bytes, length);
	bool good = cJSON_IsArray(json);
	const cJSON *rows = good ? json : NULL, *row;
	cJSON_ArrayForEach(row, rows)
	{
		if (!is_id(text_of(row, "Id")))
			continue;
		description_init(scratch, text_of(row, "Id"));
		set_name(scratch,
			 cJSON_GetStringValue(cJSON_GetArrayItem(part_of(row, "Names"), 0)));
		description_set(scratch, DESCRIPTION_IMAGE, text_of(row, "Image"));
		take_labels(part_of(row, "Labels"), choice, scratch);
		set_docker(scratch);
		each(context, scratch);
	}
	cJSON_Delete(json);
	return good;
}

/* An event's attributes are the labels and some words of Docker's own. */
static void take_attributes(const cJSON *attributes, const struct label_choice *choice,
			    struct description *out)
{
	const cJSON *attribute;
	set_name(out, text_of(attributes, "name"));
	description_set(out, DESCRIPTION_IMAGE, text_of(attributes, "image"));
	cJSON_ArrayForEach(attribute, attributes)
	{
		const char *key = attribute->string, *value = cJSON_GetStringValue(attribute);
		if (key && value && strcmp(key, "name") && strcmp(key, "image") &&
		    strcmp(key, "oldName"))
			description_label(out, choice, key, value);
	}
}

bool manifest_event(const char *bytes, size_t length, const struct label_choice *choice,
		    struct description *out)
{
	cJSON *json = cJSON_ParseWithLength(bytes, length);
	const cJSON *actor = part_of(json, "Actor");
	const char *id = text_of(actor, "ID"), *type = text_of(json, "Type"),
		   *action = text_of(json, "Action");
	bool good = is_id(id) && type && action && strcmp(type, "container") == 0 &&
		    (strcmp(action, "create") == 0 || strcmp(action, "start") == 0 ||
		     strcmp(action, "rename") == 0 || strcmp(action, "oom") == 0);
	if (good) {
		description_init(out, id);
		take_attributes(part_of(actor, "Attributes"), choice, out);
		set_docker(out);
		out->oom_kills = strcmp(action, "oom") == 0;
	}
	cJSON_Delete(json);
	return good;
}

/* CRI-O writes the labels as JSON into an annotation. */
static void take_crio_labels(const char *text, const struct label_choice *choice,
			     struct description *out)
{
	cJSON *labels = cJSON_Parse(text);
	take_labels(cJSON_IsObject(labels) ? labels : NULL, choice, out);
	cJSON_Delete(labels);
}

bool manifest_bundle(const char *bytes, size_t length, const struct label_choice *choice,
		     struct description *out)
{
	cJSON *json = cJSON_ParseWithLength(bytes, length);
	const cJSON *annotations = part_of(json, "annotations"), *annotation;
	bool found = false;
	cJSON_ArrayForEach(annotation, annotations)
	{
		const char *key = annotation->string, *value = cJSON_GetStringValue(annotation);
		if (!key || !value)
			continue;
		if (description_known(out, key, value))
			found = true;
		if (strcmp(key, "io.kubernetes.cri-o.Labels") == 0)
			take_crio_labels(value, choice, out);
	}
	cJSON_Delete(json);
	return found;
}

/* The entry's metadata is JSON in a string. A pod's container has better names than storage has. */
static void take_metadata(const char *text, struct description *out)
{
	cJSON *metadata = cJSON_Parse(text);
	if (!description_get(out, DESCRIPTION_IMAGE)[0])
		description_set(out, DESCRIPTION_IMAGE, text_of(metadata, "image-name"));
	if (!description_get(out, DESCRIPTION_NAME)[0])
		description_set(out, DESCRIPTION_NAME, text_of(metadata, "name"));
	cJSON_Delete(metadata);
}

bool manifest_storage(const char *bytes, size_t length, struct description *out)
{
	cJSON *json = cJSON_ParseWithLength(bytes, length);
	const cJSON *rows = cJSON_IsArray(json) ? json : NULL, *row;
	bool found = false;
	cJSON_ArrayForEach(row, rows)
	{
		const char *id = text_of(row, "id"), *metadata = text_of(row, "metadata");
		if (!id || strcmp(id, out->id) != 0)
			continue;
		found = true;
		if (metadata)
			take_metadata(metadata, out);
		const char *name =
			cJSON_GetStringValue(cJSON_GetArrayItem(part_of(row, "names"), 0));
		if (!description_get(out, DESCRIPTION_NAME)[0])
			description_set(out, DESCRIPTION_NAME, name);
		break;
	}
	cJSON_Delete(json);
	return found;
}
