/* What the services that change something share: a message as the answer by REST or by gRPC, and
 * what a request may say. The service loop's thread. */
#pragma once

#include <stdbool.h>
#include <protobuf-c/protobuf-c.h>

struct arena;
struct parameters_table;
struct request;
struct response;

void reply_message(struct response *response, const ProtobufCMessage *message);
/* False: it says what is not known here, or is no YAML or JSON, and was refused. arena: for the
 * texts of parameters; NULL where there are none. */
bool reply_takes(const struct parameters_table *table, const struct request *request,
		 struct response *response, struct arena *arena, ProtobufCMessage *message);
bool reply_is_document(const struct request *request, struct response *response);
