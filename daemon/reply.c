#include "daemon/reply.h"

#include <stdint.h>
#include <stdlib.h>

#include "api/http/json.h"
#include "api/http/server.h"
#include "api/query/message_json.h"
#include "base/memory.h"

static void reply_packed(struct response *response, const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = memory_resize(NULL, size, 1);

	protobuf_c_message_pack(message, bytes);
	response_message(response, bytes, size);
	response_finish(response, GRPC_OK, NULL);
	free(bytes);
}

void reply_message(struct response *response, const ProtobufCMessage *message)
{
	struct json json;
	const char *text;
	size_t size;

	if (response_by_grpc(response)) {
		reply_packed(response, message);
		return;
	}
	json_init(&json);
	message_json(&json, message);
	text = json_text(&json, &size);
	response_header(response, "cache-control", "no-store");
	response_send(response, 200, "application/json", text, size);
	json_done(&json);
}
