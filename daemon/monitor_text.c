#include "daemon/monitor_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/settings.h"

struct document {
	struct config_list monitors; /* of struct settings_monitor */
};

static const struct config_entry document_entries[] = {
	{.name = "monitors",
	 .type = CONFIG_LIST,
	 CONFIG_FIELD(struct document, monitors),
	 .table = &settings_monitor_table,
	 .min = "1",
	 .max = "64", /* MONITOR_TEXT_MAX */
	 .required = true,
	 .help = "Monitors."},
};

static const struct config_table document_table = {
	.program = "millraced",
	.entries = document_entries,
	.count = 1,
	.size = sizeof(struct document),
};

/* Each must make sense, and be of another name than those before it. */
static bool take(struct monitor *monitors, size_t i, const struct settings_monitor *from,
		 struct config_error *error)
{
	if (settings_check_monitor(from, error->text, sizeof(error->text)) < 0)
		return false;
	monitors[i] = settings_monitor(from);
	for (size_t n = 0; n < i; n++) {
		if (strcmp(monitors[n].name, monitors[i].name) != 0)
			continue;
		snprintf(error->text, sizeof(error->text), "monitors: a name is given twice");
		return false;
	}
	return true;
}

static struct monitor *monitors_of(const struct config_list *list, size_t *count,
				   struct config_error *error)
{
	const struct settings_monitor *from = list->items;
	struct monitor *monitors = memory_zeroed(list->count, sizeof(*monitors));
	bool good = true;

	for (size_t i = 0; i < list->count && good; i++)
		good = take(monitors, i, &from[i], error);
	*count = list->count;
	if (good)
		return monitors;
	free(monitors);
	return NULL;
}

struct monitor *monitor_text_read(const char *origin, const char *text, size_t length,
				  size_t *count, struct config_error *error)
{
	struct settings_monitor monitor;
	struct document document;
	struct monitor *monitors = NULL;

	if (config_begins_with(text, length, "monitors")) {
		if (config_read(&document_table, origin, text, length, &document, error) < 0)
			return NULL;
		monitors = monitors_of(&document.monitors, count, error);
		config_free(&document_table, &document);
	} else if (config_read(&settings_monitor_table, origin, text, length, &monitor, error) ==
		   0) {
		monitors = monitors_of(&(const struct config_list){&monitor, 1}, count, error);
		config_free(&settings_monitor_table, &monitor);
	}
	return monitors;
}
