#include "api/cli/document.h"

#include <stdio.h>

const char *text_of(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsString(item) ? item->valuestring : "";
}

double number_of(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

bool flag_of(const cJSON *object, const char *name)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name));
}

const cJSON *list_of(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsArray(item) ? item : NULL;
}

/* Numbers beyond 2^53 are in the body alone exact, so -o json never prints them anew. A line of
 * jsonl is parsed and printed again; times in ns lose what a double cannot hold, as anywhere in
 * JSON. */
void print_document(const struct cli *cli, const char *body, const cJSON *list)
{
	const cJSON *item;

	if (cli->format == FORMAT_JSON) {
		puts(body);
		return;
	}
	cJSON_ArrayForEach(item, list)
	{
		char *line = cJSON_PrintUnformatted(item);

		puts(line ? line : "null");
		cJSON_free(line);
	}
}

void edge_text(const cJSON *edge, char *text, size_t size)
{
	snprintf(text, size, "%s -> %s:%.0f", text_of(edge, "client"), text_of(edge, "server"),
		 number_of(edge, "port"));
}
