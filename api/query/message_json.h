/* A protobuf message as JSON, by its descriptor: field names as in the schema, every field written
 * whatever its value, 64-bit numbers as JSON numbers, enum values as lower-case words without their
 * prefix ("firing"), a message that is not there as null. Nesting is the schema's, which has no
 * cycles (checked in tests). Pure; any thread. */
#pragma once

#include <protobuf-c/protobuf-c.h>

struct json;

void message_json(struct json *json, const ProtobufCMessage *message);
/* The JSON Schema of such messages; messages in it are {"$ref": "#/components/schemas/<Name>"}. */
void message_schema(struct json *json, const ProtobufCMessageDescriptor *descriptor);

enum { ENUM_WORD_MAX = 64 };
/* "firing" of ALERT_STATE_FIRING. */
void enum_word(const ProtobufCEnumDescriptor *descriptor, const ProtobufCEnumValue *value,
	       char word[ENUM_WORD_MAX]);
