#include "api/http/parser.h"

#include <string.h>

#ifdef MILLRACE_LLHTTP
#include <llhttp.h>
typedef llhttp_t any_parser;
typedef llhttp_settings_t any_settings;
#else
#include <http_parser.h>
typedef http_parser any_parser;
typedef http_parser_settings any_settings;
#endif

/* The parsers hand out strings in fragments; these gather one field at a time. */
struct gathering {
	struct headers *headers;
	struct buffer target, name, value;
	bool valued; /* a value has begun: the next name starts a new field */
	bool full;
};

static void field_done(struct gathering *gathering)
{
	if (gathering->valued &&
	    !headers_add(gathering->headers, buffer_bytes(&gathering->name),
			 buffer_size(&gathering->name), buffer_bytes(&gathering->value),
			 buffer_size(&gathering->value)))
		gathering->full = true;
	buffer_clear(&gathering->name);
	buffer_clear(&gathering->value);
	gathering->valued = false;
}

static int on_url(any_parser *parser, const char *at, size_t size)
{
	buffer_append(&((struct gathering *)parser->data)->target, at, size);
	return 0;
}

static int on_name(any_parser *parser, const char *at, size_t size)
{
	struct gathering *gathering = parser->data;
	if (gathering->valued)
		field_done(gathering);
	buffer_append(&gathering->name, at, size);
	return 0;
}

static int on_value(any_parser *parser, const char *at, size_t size)
{
	struct gathering *gathering = parser->data;
	gathering->valued = true;
	buffer_append(&gathering->value, at, size);
	return 0;
}

static int on_headers_complete(any_parser *parser)
{
	field_done(parser->data);
	return 1; /* the body is not the parser's business */
}

static const char *method_name(const any_parser *parser)
{
#ifdef MILLRACE_LLHTTP
	return llhttp_method_name((llhttp_method_t)parser->method);
#else
	return http_method_str((enum http_method)parser->method);
#endif
}

/* Runs the parser over the whole head; false unless all of it was one request's. */
static bool execute(any_parser *parser, struct gathering *gathering, const uint8_t *head,
		    size_t size)
{
	any_settings settings = {
		.on_url = on_url,
		.on_header_field = on_name,
		.on_header_value = on_value,
		.on_headers_complete = on_headers_complete,
	};
#ifdef MILLRACE_LLHTTP
	llhttp_init(parser, HTTP_REQUEST, &settings);
	parser->data = gathering;
	llhttp_errno_t error = llhttp_execute(parser, (const char *)head, size);
	return error == HPE_OK || error == HPE_PAUSED_UPGRADE;
#else
	http_parser_init(parser, HTTP_REQUEST);
	parser->data = gathering;
	size_t parsed = http_parser_execute(parser, &settings, (const char *)head, size);
	return HTTP_PARSER_ERRNO(parser) == HPE_OK && parsed == size;
#endif
}

enum parser_result parser_head(const uint8_t *head, size_t size, struct headers *headers,
			       unsigned *minor)
{
	any_parser parser;
	struct gathering gathering = {.headers = headers};
	enum parser_result result = PARSER_MALFORMED;
	if (execute(&parser, &gathering, head, size) && parser.http_major == 1) {
		const char *method = method_name(&parser);
		*minor = parser.http_minor;
		result = PARSER_GOOD;
		if (!headers_add(headers, ":method", 7, method, strlen(method)) ||
		    !headers_add(headers, ":path", 5, buffer_bytes(&gathering.target),
				 buffer_size(&gathering.target)) ||
		    gathering.full)
			result = PARSER_TOO_MANY_HEADERS;
	}
	buffer_done(&gathering.target);
	buffer_done(&gathering.name);
	buffer_done(&gathering.value);
	return result;
}

const char *parser_status_text(unsigned status)
{
	switch (status) {
#define XX(code, name, text) \
	case code:           \
		return #text;
		HTTP_STATUS_MAP(XX)
#undef XX
	default:
		return "";
	}
}
