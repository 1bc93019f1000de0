/* grpc.reflection v1 and v1alpha (the same messages) over the FileDescriptorSet of the options:
 * list of services, file by name, file containing a symbol, each file with what it imports.
 * An answer has at most REFLECTION_FILES_MAX files. One thread.
 * Source: grpc/src/proto/grpc/reflection/v1/reflection.proto. */
#pragma once

struct site;

enum { REFLECTION_FILES_MAX = 64 };

void reflection_register(struct site *site);
