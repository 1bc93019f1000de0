/* millrace localize: which combinations of attributes explain a difference, of the rows of a CSV
 * file. Asks no server. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "anomaly/localize.h"
#include "api/cli/cli.h"
#include "api/cli/leaves.h"
#include "api/cli/sheet.h"
#include "base/memory.h"

enum { SETS_USUAL = 5, SET_TEXT_MAX = 1 << 16 };

static cJSON *combination_json(const struct leaves *leaves,
			       const struct localize_combination *combination)
{
	cJSON *object = cJSON_CreateObject();

	for (uint32_t i = 0; i < leaves_table(leaves)->attributes; i++) {
		if (combination->attributes >> i & 1)
			cJSON_AddStringToObject(object, leaves_attribute(leaves, i),
						leaves_value(leaves, combination->leaf, i));
	}
	return object;
}

static cJSON *set_json(const struct leaves *leaves, const struct localize_set *set)
{
	cJSON *object = cJSON_CreateObject();
	cJSON *combinations = cJSON_AddArrayToObject(object, "combinations");

	for (uint32_t i = 0; i < set->count; i++)
		cJSON_AddItemToArray(combinations, combination_json(leaves, &set->combinations[i]));
	cJSON_AddNumberToObject(object, "score", round(set->score * 1000) / 1000);
	cJSON_AddNumberToObject(object, "explained", round(set->explained * 10000) / 10000);
	return object;
}

static void print_json(cJSON *json)
{
	char *text = cJSON_PrintUnformatted(json);

	puts(text ? text : "null");
	cJSON_free(text);
	cJSON_Delete(json);
}

/* "zone=a version=v2; node=n7": a combination's values, and the set's combinations. */
static void print_set(const struct leaves *leaves, const struct localize_set *set, char *text,
		      size_t size)
{
	size_t length = 0;

	text[0] = '\0';
	for (uint32_t i = 0; i < set->count; i++) {
		const struct localize_combination *combination = &set->combinations[i];
		const char *before = i ? "; " : "";

		if (combination->attributes == 0)
			snprintf(text, size, "everything");
		for (uint32_t a = 0; a < leaves_table(leaves)->attributes && length < size; a++) {
			if (!(combination->attributes >> a & 1))
				continue;
			length += (size_t)snprintf(text + length, size - length, "%s%s=%s", before,
						   leaves_attribute(leaves, a),
						   leaves_value(leaves, combination->leaf, a));
			before = " ";
		}
	}
}

static void print_table(const struct cli *cli, const struct leaves *leaves,
			const struct localize_set *sets, uint32_t count)
{
	static const struct sheet_column columns[] = {
		{"SCORE", true}, {"EXPLAINED", true}, {"COMBINATIONS", false}};
	struct sheet sheet;
	char figure[FIGURE_MAX], *text = memory_zeroed(SET_TEXT_MAX, 1);

	sheet_init(&sheet, columns, sizeof(columns) / sizeof(columns[0]));
	for (uint32_t i = 0; i < count; i++) {
		print_set(leaves, &sets[i], text, SET_TEXT_MAX);
		sheet_addf(&sheet, "%.1f", sets[i].score);
		sheet_add(&sheet, figure_share(figure, sets[i].explained));
		sheet_add(&sheet, text);
	}
	sheet_print(&sheet, stdout, cli->colour);
	sheet_done(&sheet);
	memory_free(text);
}

static void print_sets(const struct cli *cli, const struct leaves *leaves,
		       const struct localize_set *sets, uint32_t count)
{
	if (cli->format == FORMAT_TABLE && count == 0) {
		fputs("Nothing departs from what was expected by more than chance.\n", stderr);
	} else if (cli->format == FORMAT_TABLE) {
		print_table(cli, leaves, sets, count);
	} else if (cli->format == FORMAT_JSONL) {
		for (uint32_t i = 0; i < count; i++)
			print_json(set_json(leaves, &sets[i]));
	} else {
		cJSON *object = cJSON_CreateObject();
		cJSON *list = cJSON_AddArrayToObject(object, "sets");

		for (uint32_t i = 0; i < count; i++)
			cJSON_AddItemToArray(list, set_json(leaves, &sets[i]));
		print_json(object);
	}
}

static int localize_file(const struct cli *cli, FILE *file, uint32_t top)
{
	struct localize_set sets[LOCALIZE_SETS_MAX];
	struct localize_report report;
	int status;
	struct leaves *leaves = leaves_read(cli, file, &status);

	if (!leaves)
		return status;
	print_sets(cli, leaves, sets, localize(leaves_table(leaves), sets, top, &report));
	leaves_free(leaves);
	return STATUS_DONE;
}

int command_localize(const struct cli *cli)
{
	char *end = NULL;
	unsigned long top = cli->top ? strtoul(cli->top, &end, 10) : SETS_USUAL;

	if (!cli->csv || !cli->actual || !cli->expected)
		return complain(STATUS_USAGE, "localize needs --csv FILE, --actual COLUMN and "
					      "--expected COLUMN");
	if ((end && *end) || top < 1 || top > LOCALIZE_SETS_MAX)
		return complain(STATUS_USAGE, "--top %s; it is 1 to %d", cli->top,
				LOCALIZE_SETS_MAX);

	bool piped = strcmp(cli->csv, "-") == 0;
	FILE *file = piped ? stdin : fopen(cli->csv, "r");

	if (!file)
		return complain(STATUS_FAILED, "%s: %s", cli->csv, strerror(errno));

	int status = localize_file(cli, file, (uint32_t)top);

	if (!piped)
		fclose(file);
	return status;
}
