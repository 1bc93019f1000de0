/* The head of a HTTP/1 request, by llhttp or by its predecessor http_parser, whichever the build
 * found. It is handed one whole head at a time, so fragments and bodies do not arise; framing and
 * strictness are http1.c's. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/http/headers.h"

enum parser_result { PARSER_GOOD, PARSER_MALFORMED, PARSER_TOO_MANY_HEADERS };

/* `head` ends with its empty line. Fills in ":method", ":path" and the fields, and the minor
 * version of HTTP/1. */
enum parser_result parser_head(const uint8_t *head, size_t size, struct headers *headers,
			       unsigned *minor);

/* The reason phrase, "" for codes without one. */
const char *parser_status_text(unsigned status);
