#include "daemon/reply.h"

#include <stdlib.h>
#include <strings.h>

#include "api/http/json.h"
#include "api/http/server.h"
#include "api/query/message_json.h"
#include "api/query/parameter.h"
#include "base/memory.h"

void reply_message(struct response *response, const ProtobufCMessage *message)
{
	struct json json;
	size_t size;

	if (response_by_grpc(response)) {
		uint8_t *bytes;

		size = protobuf_c_message_get_packed_size(message);
		bytes = memory_resize(NULL, size, 1);
		protobuf_c_message_pack(message, bytes);
		response_message(response, bytes, size);
		response_finish(response, GRPC_OK, NULL);
		free(bytes);
		return;
	}
	json_init(&json);
	message_json(&json, message);
	const char *text = json_text(&json, &size);

	response_header(response, "cache-control", "no-store");
	response_send(response, 200, "application/json", text, size);
	json_done(&json);
}

bool reply_takes(const struct parameters_table *table, const struct request *request,
		 struct response *response, struct arena *arena, ProtobufCMessage *message)
{
	struct refusal refusal;

	if (parameters_parse(table, request, arena, message, &refusal))
		return true;
	response_refuse(response, 400, refusal.detail);
	return false;
}

bool reply_is_document(const struct request *request, struct response *response)
{
	const char *type = request_header(request, "content-type");

	if (type && (strncasecmp(type, "application/json", 16) == 0 ||
		     strncasecmp(type, "application/yaml", 16) == 0))
		return true;
	response_problem(response, 415, "application/yaml or application/json is wanted");
	return false;
}
