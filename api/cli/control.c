/* millrace agents set, unset and control: what agents are told to do differently for a while. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/listing.h"

#define CONTROL_PATH "/api/v1/agents/control"

static const struct sheet_column columns[] = {
	{"ID", false}, {"ISSUED", false}, {"EXPIRES", false}, {"FOR", false}, {"SETTINGS", false},
};

/* An object's members as name=value, a space between. */
static void add_members(struct sheet *sheet, const cJSON *object, const char *none)
{
	const cJSON *item;
	char text[512] = "";
	size_t length = 0;

	cJSON_ArrayForEach(item, object)
	{
		char *value = cJSON_PrintUnformatted(item);

		if (value && length < sizeof(text))
			length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s=%s",
						   length ? " " : "", item->string, value);
		cJSON_free(value);
	}
	sheet_add(sheet, length ? text : none);
}

static void add_record(struct sheet *sheet, const cJSON *record)
{
	sheet_add(sheet, text_of(record, "id"));
	add_time(sheet, number_of(record, "issued_s"));
	add_time(sheet, number_of(record, "expires_s"));
	add_members(sheet, cJSON_GetObjectItemCaseSensitive(record, "selector"), "all agents");
	add_members(sheet, cJSON_GetObjectItemCaseSensitive(record, "settings"), "-");
}

static void print_records(const struct cli *cli, const cJSON *records, const cJSON *one)
{
	const cJSON *record;
	struct sheet sheet;

	sheet_init(&sheet, columns, sizeof(columns) / sizeof(columns[0]));
	cJSON_ArrayForEach(record, records) add_record(&sheet, record);
	if (one)
		add_record(&sheet, one);
	if (sheet.count)
		sheet_print(&sheet, stdout, cli->colour);
	else
		fputs("No control records: agents do as they are configured.\n", stderr);
	sheet_done(&sheet);
}

static int show(const struct cli *cli)
{
	cJSON *document;
	char *body;
	int status = ask_json(cli, CONTROL_PATH, &document, &body);

	if (status != STATUS_DONE)
		return status;
	if (cli->format == FORMAT_TABLE)
		print_records(cli, list_of(document, "controls"), NULL);
	else
		print_document(cli, body, list_of(document, "controls"));
	free(body);
	cJSON_Delete(document);
	return STATUS_DONE;
}

/* Sends a change and prints the record that stands in the log then. */
static int change(const struct cli *cli, const char *method, const char *path, const char *body)
{
	cJSON *document;
	char *answer;
	int status = ask_change(cli, method, path, body, &document, &answer);

	if (status != STATUS_DONE)
		return status;
	if (cli->format == FORMAT_TABLE)
		print_records(cli, NULL, document);
	else
		puts(answer);
	free(answer);
	cJSON_Delete(document);
	return STATUS_DONE;
}

/* "5s", "250ms" or "1h" in seconds; false if it is none. */
static bool seconds_of(const char *text, double *seconds)
{
	static const struct {
		const char *unit;
		double seconds;
	} units[] = {{"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
	char *end;
	double value = strtod(text, &end);

	for (size_t i = 0; end != text && i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].unit) != 0)
			continue;
		*seconds = value * units[i].seconds;
		return *seconds > 0;
	}
	return false;
}

static bool add_seconds(cJSON *object, const char *name, const char *flag, const char *text)
{
	double seconds;

	if (!text)
		return true;
	if (!seconds_of(text, &seconds)) {
		complain(STATUS_USAGE, "--%s %s; a duration such as 500ms, 5s, 10m or 1h is wanted",
			 flag, text);
		return false;
	}
	cJSON_AddNumberToObject(object, name, seconds);
	return true;
}

static void add_text(cJSON *object, const char *name, const char *text)
{
	if (text)
		cJSON_AddStringToObject(object, name, text);
}

static void add_words(cJSON *object, const char *name, const struct words *words)
{
	cJSON *list = words->count ? cJSON_AddArrayToObject(object, name) : NULL;

	for (size_t i = 0; i < words->count; i++)
		cJSON_AddItemToArray(list, cJSON_CreateString(words->items[i]));
}

/* "KEY=VALUE", each into the object; as a boolean if `on` is wanted. */
static bool add_pairs(cJSON *object, const char *name, const char *flag, const struct words *words,
		      bool on)
{
	cJSON *pairs = words->count ? cJSON_AddObjectToObject(object, name) : NULL;

	for (size_t i = 0; i < words->count; i++) {
		const char *word = words->items[i], *equals = strchr(word, '=');
		char key[256];

		if (!equals || equals == word || (size_t)(equals - word) >= sizeof(key) ||
		    (on && strcmp(equals, "=on") != 0 && strcmp(equals, "=off") != 0)) {
			complain(STATUS_USAGE, "--%s %s; %s is wanted", flag, word,
				 on ? "NAME=on or NAME=off" : "KEY=VALUE");
			return false;
		}
		snprintf(key, sizeof(key), "%.*s", (int)(equals - word), word);
		if (on)
			cJSON_AddBoolToObject(pairs, key, strcmp(equals, "=on") == 0);
		else
			cJSON_AddStringToObject(pairs, key, equals + 1);
	}
	return true;
}

static bool add_budget(cJSON *object, const char *text)
{
	char *end;
	double percent;

	if (!text)
		return true;
	percent = strtod(text, &end);
	if (end == text || (*end && strcmp(end, "%") != 0) || !(percent > 0 && percent <= 100)) {
		complain(STATUS_USAGE,
			 "--budget %s; a percentage of the node's CPUs is wanted, such as 0.5",
			 text);
		return false;
	}
	cJSON_AddNumberToObject(object, "cpu_budget", percent / 100);
	return true;
}

static bool fill(const struct cli *cli, cJSON *body)
{
	cJSON *selector = cJSON_AddObjectToObject(body, "selector");
	cJSON *settings = cJSON_AddObjectToObject(body, "settings");

	add_text(body, "id", cli->id);
	add_words(selector, "node", &cli->nodes);
	add_text(selector, "zone", cli->zone);
	add_text(selector, "region", cli->region);
	add_text(selector, "role", cli->role);
	add_words(settings, "scope_cgroups", &cli->scope);
	return add_seconds(body, "for_s", "for", cli->life) &&
	       add_pairs(selector, "labels", "label", &cli->labels, false) &&
	       add_seconds(settings, "scan_period_s", "scan-period", cli->scan_period) &&
	       add_seconds(settings, "batch_interval_s", "batch-interval", cli->batch_interval) &&
	       add_pairs(settings, "features", "feature", &cli->features, true) &&
	       add_budget(settings, cli->budget);
}

static int set(const struct cli *cli)
{
	cJSON *body = cJSON_CreateObject();
	int status = STATUS_USAGE;

	if (fill(cli, body)) {
		char *text = cJSON_PrintUnformatted(body);

		status = change(cli, "POST", CONTROL_PATH, text);
		cJSON_free(text);
	}
	cJSON_Delete(body);
	return status;
}

/* An id needs no escape, so what does is none. */
static int unset(const struct cli *cli)
{
	char path[128];
	const char *id = cli->operands_count == 2 ? cli->operands[1] : "";

	if (!*id || strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(id) ||
	    strlen(id) > 64)
		return complain(STATUS_USAGE, "agents unset ID: an id that agents control shows");
	snprintf(path, sizeof(path), "%s/%s", CONTROL_PATH, id);
	return change(cli, "DELETE", path, NULL);
}

/* That only change what agents do. */
static bool any_setting(const struct cli *cli)
{
	return cli->labels.count || cli->features.count || cli->scope.count || cli->scan_period ||
	       cli->batch_interval || cli->budget || cli->life || cli->id;
}

/* That choose agents, to be told or to be listed. */
static bool any_choice(const struct cli *cli)
{
	return cli->nodes.count || cli->zone || cli->region || cli->role;
}

static bool any_of_list(const struct cli *cli)
{
	return cli->state || cli->limit;
}

static int losses(const struct cli *cli)
{
	const char *node = cli->nodes.count ? cli->nodes.items[0] : NULL;

	if (any_setting(cli))
		return complain(STATUS_USAGE, "these flags belong to agents set");
	if (cli->operands_count + cli->nodes.count > 1)
		return complain(STATUS_USAGE, "agents --loss takes one NODE; * in it is any text");
	return show_losses(cli, cli->operands_count ? cli->operands[0] : node);
}

int command_agents(const struct cli *cli)
{
	const char *verb = cli->operands_count ? cli->operands[0] : "";
	const char *operand = cli->operands_count > 1 ? cli->operands[1] : "";
	bool plain = cli->operands_count == 1;

	if (cli->loss)
		return losses(cli);

	if (any_of_list(cli) && *verb)
		return complain(STATUS_USAGE, "--state and --limit belong to agents alone");
	if (strcmp(verb, "set") == 0 && plain)
		return set(cli);
	if (any_setting(cli) || (any_choice(cli) && *verb))
		return complain(STATUS_USAGE, "these flags belong to agents set");
	if (strcmp(verb, "unset") == 0)
		return unset(cli);
	if (strcmp(verb, "control") == 0 && plain)
		return show(cli);
	if (strcmp(verb, "show") == 0)
		return show_agent(cli, operand);
	if (!*verb)
		return list_agents(cli);
	return complain(STATUS_USAGE,
			"agents takes show NODE, set, unset ID or control, not \"%s\"", verb);
}
