#include "api/query/message_json.h"

#include <ctype.h>
#include <string.h>

#include "api/http/json.h"

/* The prefix is the enum's name in capitals: AlertState, ALERT_STATE_. */
void enum_word(const ProtobufCEnumDescriptor *descriptor, const ProtobufCEnumValue *value,
	       char word[ENUM_WORD_MAX])
{
	const char *name = value->name, *of = descriptor->short_name;
	const char *at = name;
	size_t length = 0;

	for (const char *letter = of; *letter; letter++) {
		if (letter != of && isupper((unsigned char)*letter) && *at == '_')
			at++;
		if (*at != toupper((unsigned char)*letter)) {
			at = name;
			break;
		}
		at++;
	}
	if (at != name && *at == '_')
		at++;
	for (; *at && length + 1 < ENUM_WORD_MAX; at++)
		word[length++] = (char)tolower((unsigned char)*at);
	word[length] = '\0';
}

static void write_enum(struct json *json, const ProtobufCEnumDescriptor *descriptor, int32_t number)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(descriptor, number);
	char word[ENUM_WORD_MAX];

	if (!value) {
		json_int(json, number);
		return;
	}
	enum_word(descriptor, value, word);
	json_string(json, word);
}

static void write_value(struct json *json, const ProtobufCFieldDescriptor *field, const void *at)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		json_int(json, *(const int32_t *)at);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		json_int(json, *(const int64_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		json_uint(json, *(const uint32_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		json_uint(json, *(const uint64_t *)at);
		break;
	case PROTOBUF_C_TYPE_FLOAT:
		json_double(json, (double)*(const float *)at);
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		json_double(json, *(const double *)at);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		json_bool(json, *(const protobuf_c_boolean *)at);
		break;
	case PROTOBUF_C_TYPE_ENUM:
		write_enum(json, field->descriptor, *(const int32_t *)at);
		break;
	case PROTOBUF_C_TYPE_STRING:
		json_string(json, *(const char *const *)at);
		break;
	case PROTOBUF_C_TYPE_BYTES:
		json_null(json); /* the query schema has none */
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		if (*(const ProtobufCMessage *const *)at)
			message_json(json, *(const ProtobufCMessage *const *)at);
		else
			json_null(json);
		break;
	}
}

static size_t value_size(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return 4;
	}
}

void message_json(struct json *json, const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *descriptor = message->descriptor;

	json_object_begin(json);
	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
		const char *at = (const char *)message + field->offset;

		json_key(json, field->name);
		if (field->label != PROTOBUF_C_LABEL_REPEATED) {
			write_value(json, field, at);
			continue;
		}

		size_t count = *(const size_t *)((const char *)message + field->quantifier_offset);
		const char *values = *(const char *const *)at;

		json_array_begin(json);
		for (size_t n = 0; n < count; n++)
			write_value(json, field, values + n * value_size(field->type));
		json_array_end(json);
	}
	json_object_end(json);
}

/* --- schema --- */

static void reference(struct json *json, const ProtobufCMessageDescriptor *descriptor)
{
	char path[128] = "#/components/schemas/";

	strncat(path, descriptor->short_name, sizeof(path) - strlen(path) - 1);
	json_member(json, "$ref", path);
}

static void enum_schema(struct json *json, const ProtobufCEnumDescriptor *descriptor)
{
	json_member(json, "type", "string");
	json_key(json, "enum");
	json_array_begin(json);
	for (unsigned i = 0; i < descriptor->n_values; i++) {
		char word[ENUM_WORD_MAX];

		enum_word(descriptor, &descriptor->values[i], word);
		json_string(json, word);
	}
	json_array_end(json);
}

/* The members of a schema object that describe one value of the field. */
static void value_schema(struct json *json, const ProtobufCFieldDescriptor *field, bool nullable)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		json_member(json, "type", "string");
		break;
	case PROTOBUF_C_TYPE_BOOL:
		json_member(json, "type", "boolean");
		break;
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
		json_member(json, "type", "number");
		break;
	case PROTOBUF_C_TYPE_ENUM:
		enum_schema(json, field->descriptor);
		break;
	case PROTOBUF_C_TYPE_BYTES:
		json_member(json, "type", "null");
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		if (!nullable) {
			reference(json, field->descriptor);
			break;
		}
		json_key(json, "oneOf");
		json_array_begin(json);
		json_object_begin(json);
		reference(json, field->descriptor);
		json_object_end(json);
		json_object_begin(json);
		json_member(json, "type", "null");
		json_object_end(json);
		json_array_end(json);
		break;
	default:
		json_member(json, "type", "integer");
		break;
	}
}

void message_schema(struct json *json, const ProtobufCMessageDescriptor *descriptor)
{
	json_object_begin(json);
	json_member(json, "type", "object");
	json_key(json, "additionalProperties");
	json_bool(json, false);
	json_key(json, "required");
	json_array_begin(json);
	for (unsigned i = 0; i < descriptor->n_fields; i++)
		json_string(json, descriptor->fields[i].name);
	json_array_end(json);
	json_key(json, "properties");
	json_object_begin(json);
	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];

		json_key(json, field->name);
		json_object_begin(json);
		if (field->label == PROTOBUF_C_LABEL_REPEATED) {
			json_member(json, "type", "array");
			json_key(json, "items");
			json_object_begin(json);
			value_schema(json, field, false);
			json_object_end(json);
		} else {
			value_schema(json, field, true);
		}
		json_object_end(json);
	}
	json_object_end(json);
	json_object_end(json);
}
