#include "api/cli/listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

const char *time_text(char text[FIGURE_MAX], double seconds)
{
	time_t time = (time_t)seconds;
	struct tm tm;

	snprintf(text, FIGURE_MAX, "-");
	if (seconds > 0 && gmtime_r(&time, &tm))
		strftime(text, FIGURE_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return text;
}

void add_time(struct sheet *sheet, double seconds)
{
	char text[FIGURE_MAX];

	sheet_add(sheet, time_text(text, seconds));
}

int list(const struct cli *cli, const struct path *path, const struct listing *listing)
{
	cJSON *document;
	const cJSON *items, *item;
	struct sheet sheet;
	char *body;
	int status = ask_json(cli, path->text, &document, &body);

	if (status != STATUS_DONE)
		return status;
	items = list_of(document, listing->member);
	sheet_init(&sheet, listing->columns, listing->columns_count);
	cJSON_ArrayForEach(item, items) listing->add(&sheet, item);
	if (cli->format != FORMAT_TABLE)
		print_document(cli, body, items);
	else if (sheet.count)
		sheet_print(&sheet, stdout, cli->colour);
	else
		fprintf(stderr, "%s\n", listing->empty);
	if (cli->format == FORMAT_TABLE && listing->left_out &&
	    number_of(document, listing->left_out) > 0)
		fprintf(stderr, "%.0f more %s; --limit shows them.\n",
			number_of(document, listing->left_out), listing->member);
	sheet_done(&sheet);
	free(body);
	cJSON_Delete(document);
	return STATUS_DONE;
}
