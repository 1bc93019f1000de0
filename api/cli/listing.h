/* A list of the API's as a table, or as JSON. Main thread only. */
#pragma once

#include "api/cli/ask.h"
#include "api/cli/document.h"
#include "api/cli/sheet.h"

struct listing {
	const char *member; /* where it is in the answer */
	const struct sheet_column *columns;
	size_t columns_count;
	void (*add)(struct sheet *sheet, const cJSON *item);
	const char *empty;    /* why there may be nothing */
	const char *left_out; /* the member that counts what is past the limit; NULL: none */
};

int list(const struct cli *cli, const struct path *path, const struct listing *listing);

/* 2026-01-31T12:00:00Z, of seconds since 1970; "-" for 0. */
const char *time_text(char text[FIGURE_MAX], double seconds);
void add_time(struct sheet *sheet, double seconds);
