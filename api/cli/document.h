/* Reading the API's answers: members that are missing or of another type read as empty, so a newer
 * or older server cannot upset the client. Pure; any thread. */
#pragma once

#include <cjson/cJSON.h>

#include "api/cli/cli.h"

const char *text_of(const cJSON *object, const char *name);
double number_of(const cJSON *object, const char *name);
bool flag_of(const cJSON *object, const char *name);
const cJSON *list_of(const cJSON *object, const char *name); /* may be NULL: no items */

/* For -o json and jsonl: the whole body as it came, or each item of the list on a line. */
void print_document(const struct cli *cli, const char *body, const cJSON *list);

/* "client -> server:port". */
void edge_text(const cJSON *edge, char *text, size_t size);
