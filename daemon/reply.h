/* A message as the answer to a request: JSON, or by gRPC as it is. The service loop's thread. */
#pragma once

#include <protobuf-c/protobuf-c.h>

struct response;

void reply_message(struct response *response, const ProtobufCMessage *message);
