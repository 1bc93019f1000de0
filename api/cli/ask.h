/* One request of the API. Bounded: ASK_BYTES_MAX of answer, ASK_TIMEOUT_S. Main thread only. */
#pragma once

#include <stddef.h>

#include "api/cli/cli.h"

enum {
	ASK_BYTES_MAX = 64 << 20, /* the largest answers are some megabytes */
	ASK_TIMEOUT_S = 30,
	ASK_PATH_MAX = 4096,
};

struct reply {
	long code;  /* of HTTP */
	char *body; /* NUL-terminated; the caller frees it */
	size_t size;
};

/* STATUS_DONE for any answer; else the trouble has been told. */
int ask(const struct cli *cli, const char *path, struct reply *reply);

/* Another method, with a body of JSON or YAML or NULL, showing MILLRACE_TOKEN's value if there is
 * one. Parses: *document is the caller's. An answer that is no 200 or 201 is told. */
int ask_change(const struct cli *cli, const char *method, const char *path, const char *body,
	       struct cJSON **document, char **answer);

/* Asks and parses: *document is the caller's, to cJSON_Delete; *body as it came, to free (may be
 * NULL when not wanted). An answer that is no 200 is told. */
int ask_json(const struct cli *cli, const char *path, struct cJSON **document, char **body);

/* Prints what was answered: parsed, and as it came. Its exit status. */
typedef int (*ask_print)(const struct cli *cli, const struct cJSON *document, const char *body);
/* Asks, or changes, and prints the answer. */
int ask_and_print(const struct cli *cli, const char *path, ask_print print);
int change_and_print(const struct cli *cli, const char *method, const char *path, const char *body,
		     ask_print print);

/* A path with a query string; values are escaped. A NULL value adds nothing. */
struct path {
	char text[ASK_PATH_MAX];
	bool asked; /* has a '?' */
};
void path_begin(struct path *path, const char *text);
void path_add(struct path *path, const char *key, const char *value);
