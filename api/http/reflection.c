#include "api/http/reflection.h"

#include <stdbool.h>
#include <string.h>

#include "api/http/field.h"
#include "api/http/route.h"
#include "api/http/site.h"

/* Field numbers of descriptor.proto and reflection.proto. */
enum {
	SET_FILE = 1,
	FILE_NAME = 1,
	FILE_PACKAGE = 2,
	FILE_DEPENDENCY = 3,
	FILE_MESSAGE = 4,
	FILE_ENUM = 5,
	FILE_SERVICE = 6,
	NAMED_NAME = 1, /* of messages, enums, services and methods alike */
	MESSAGE_NESTED = 3,
	MESSAGE_ENUM = 4,
	SERVICE_METHOD = 2,
	REQUEST_FILE_BY_NAME = 3,
	REQUEST_FILE_BY_SYMBOL = 4,
	REQUEST_EXTENSION = 5,
	REQUEST_EXTENSION_NUMBERS = 6,
	REQUEST_LIST_SERVICES = 7,
	RESPONSE_ORIGINAL = 2,
	RESPONSE_FILES = 4,
	RESPONSE_SERVICES = 6,
	RESPONSE_ERROR = 7,
	NESTING_MAX = 8, /* messages in messages; ours nest once */
};

/* A run of text that is not terminated. */
struct span {
	const char *text;
	size_t size;
};

struct files {
	struct field entries[REFLECTION_FILES_MAX];
	size_t count;
};

static struct span field_text(const struct field *field)
{
	return (struct span){(const char *)field->bytes, field->bytes ? field->size : 0};
}

static bool span_equal(struct span a, struct span b)
{
	return a.size == b.size && (!a.size || !memcmp(a.text, b.text, a.size));
}

/* The first field of that number inside a message. */
static struct span member_text(const struct field *message, uint32_t number)
{
	struct fields fields = field_inside(message);
	struct field field;
	while (fields_next(&fields, &field))
		if (field.number == number && field.bytes)
			return field_text(&field);
	return (struct span){NULL, 0};
}

static struct fields set_of(const struct site *site)
{
	const uint8_t *set = site->options.descriptor_set;
	return (struct fields){.at = set,
			       .end = set ? set + site->options.descriptor_set_size : NULL};
}

static bool next_file(struct fields *set, struct field *file)
{
	while (fields_next(set, file))
		if (file->number == SET_FILE && file->bytes)
			return true;
	return false;
}

/* If `symbol` starts with the name as a whole component, drops it and its dot. */
static bool symbol_enter(struct span *symbol, struct span name)
{
	if (!name.size)
		return true;
	if (symbol->size < name.size || memcmp(symbol->text, name.text, name.size))
		return false;
	if (symbol->size > name.size && symbol->text[name.size] != '.')
		return false;
	size_t dropped = name.size + (symbol->size > name.size);
	symbol->text += dropped;
	symbol->size -= dropped;
	return true;
}

static bool is_scope(uint32_t number, bool in_file, bool in_service)
{
	if (in_file)
		return number == FILE_MESSAGE || number == FILE_ENUM || number == FILE_SERVICE;
	return in_service ? number == SERVICE_METHOD
			  : number == MESSAGE_NESTED || number == MESSAGE_ENUM;
}

/* Whether the file declares what is left of the symbol once its package is dropped. */
static bool file_declares(const struct field *file, struct span symbol)
{
	struct field scope = *file;
	bool in_service = false;
	if (!symbol_enter(&symbol, member_text(file, FILE_PACKAGE)))
		return false;
	for (int depth = 0; symbol.size && depth < NESTING_MAX; depth++) {
		struct fields fields = field_inside(&scope);
		struct field member;
		bool found = false;
		while (!found && fields_next(&fields, &member)) {
			struct span rest = symbol;
			if (!is_scope(member.number, !depth, in_service) || !member.bytes ||
			    !member_text(&member, NAMED_NAME).size ||
			    !symbol_enter(&rest, member_text(&member, NAMED_NAME)))
				continue;
			found = true;
			symbol = rest;
			in_service = !depth && member.number == FILE_SERVICE;
			scope = member;
		}
		if (!found)
			return false;
		if (!symbol.size)
			return true;
	}
	return false;
}

static void files_add(struct files *files, const struct site *site, struct span name)
{
	struct fields set = set_of(site);
	struct field file;
	for (size_t i = 0; i < files->count; i++)
		if (span_equal(member_text(&files->entries[i], FILE_NAME), name))
			return;
	while (files->count < REFLECTION_FILES_MAX && next_file(&set, &file)) {
		if (!span_equal(member_text(&file, FILE_NAME), name))
			continue;
		files->entries[files->count++] = file;
		return;
	}
}

/* Adds what the listed files import, and what those import, without recursion. */
static void files_close(struct files *files, const struct site *site)
{
	for (size_t i = 0; i < files->count; i++) {
		struct fields fields = field_inside(&files->entries[i]);
		struct field field;
		while (fields_next(&fields, &field))
			if (field.number == FILE_DEPENDENCY && field.bytes)
				files_add(files, site, field_text(&field));
	}
}

static void answer_error(struct buffer *out, enum grpc_status status, const char *message)
{
	struct buffer error = {0};
	field_put_varint(&error, 1, status);
	field_put_bytes(&error, 2, message, strlen(message));
	field_put_bytes(out, RESPONSE_ERROR, buffer_bytes(&error), buffer_size(&error));
	buffer_done(&error);
}

static void answer_files(struct buffer *out, const struct site *site, struct files *files)
{
	struct buffer answer = {0};
	if (!files->count) {
		answer_error(out, GRPC_NOT_FOUND, "not found");
		return;
	}
	files_close(files, site);
	for (size_t i = 0; i < files->count; i++)
		field_put_bytes(&answer, 1, files->entries[i].bytes, files->entries[i].size);
	field_put_bytes(out, RESPONSE_FILES, buffer_bytes(&answer), buffer_size(&answer));
	buffer_done(&answer);
}

static void answer_symbol(struct buffer *out, const struct site *site, struct span symbol)
{
	struct files files = {.count = 0};
	struct fields set = set_of(site);
	struct field file;
	while (!files.count && next_file(&set, &file))
		if (symbol.size && file_declares(&file, symbol))
			files.entries[files.count++] = file;
	answer_files(out, site, &files);
}

static void answer_name(struct buffer *out, const struct site *site, struct span name)
{
	struct files files = {.count = 0};
	files_add(&files, site, name);
	answer_files(out, site, &files);
}

/* A path "/package.Service/Method" names its service; each is listed at its first method. */
static struct span service_of(const struct route *route)
{
	if (strcmp(route->method, "GRPC"))
		return (struct span){NULL, 0};
	return (struct span){route->path + 1, strcspn(route->path + 1, "/")};
}

static void answer_services(struct buffer *out, const struct site *site)
{
	struct buffer list = {0}, service = {0};
	const struct routes *routes = &site->routes;
	for (size_t i = 0; i < routes->count; i++) {
		struct span name = service_of(&routes->entries[i]);
		size_t first = 0;
		while (!span_equal(service_of(&routes->entries[first]), name))
			first++;
		if (!name.size || first != i)
			continue;
		buffer_clear(&service);
		field_put_bytes(&service, 1, name.text, name.size);
		field_put_bytes(&list, 1, buffer_bytes(&service), buffer_size(&service));
	}
	field_put_bytes(out, RESPONSE_SERVICES, buffer_bytes(&list), buffer_size(&list));
	buffer_done(&service);
	buffer_done(&list);
}

static void answer(struct buffer *out, const struct site *site, const struct field *question)
{
	switch (question->number) {
	case REQUEST_FILE_BY_NAME:
		answer_name(out, site, field_text(question));
		break;
	case REQUEST_FILE_BY_SYMBOL:
		answer_symbol(out, site, field_text(question));
		break;
	case REQUEST_LIST_SERVICES:
		answer_services(out, site);
		break;
	case REQUEST_EXTENSION:
	case REQUEST_EXTENSION_NUMBERS:
		answer_error(out, GRPC_NOT_FOUND, "proto3 has no extensions");
		break;
	default:
		answer_error(out, GRPC_INVALID_ARGUMENT, "no question");
	}
}

/* Called for each message of the stream; a reader that does not keep up is cut off at pending_max.
 */
static void info(struct request *request, struct response *response, void *context)
{
	const struct site *site = context;
	struct fields fields = {.at = request->body, .end = request->body + request->body_size};
	struct field field, question = {0};
	struct buffer out = {0};
	while (fields_next(&fields, &field))
		if (field.number >= REQUEST_FILE_BY_NAME && field.number <= REQUEST_LIST_SERVICES)
			question = field;
	field_put_bytes(&out, RESPONSE_ORIGINAL, request->body, request->body_size);
	answer(&out, site, &question);
	response_message(response, buffer_bytes(&out), buffer_size(&out));
	buffer_done(&out);
}

void reflection_register(struct site *site)
{
	static const char *const paths[] = {
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
	};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		routes_add(&site->routes, &(struct route){.method = "GRPC",
							  .path = paths[i],
							  .handler = info,
							  .context = site,
							  .each_message = true});
}
