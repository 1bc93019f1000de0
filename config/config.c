#include "config/config.h"

#include "base/memory.h"
#include "config/load.h"
#include "config/nearest.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const size_t field_sizes[] = {
	[CONFIG_BOOL] = sizeof(bool),
	[CONFIG_UINT] = sizeof(uint64_t),
	[CONFIG_DURATION] = sizeof(uint64_t),
	[CONFIG_SIZE] = sizeof(uint64_t),
	[CONFIG_DOUBLE] = sizeof(double),
	[CONFIG_STRING] = sizeof(char *),
	[CONFIG_ENUM] = sizeof(uint32_t),
	[CONFIG_STRINGS] = sizeof(struct config_strings),
	[CONFIG_MAP] = sizeof(struct config_map),
	[CONFIG_LIST] = sizeof(struct config_list),
};

void config_report(struct config_error *error, const struct config_place *place, const char *name,
		   const char *format, ...)
{
	char line[CONFIG_ERROR_BYTES], where[48] = "", what[CONFIG_WHY_BYTES + CONFIG_TEXT_BYTES];
	va_list args;

	if (error->count++ >= CONFIG_ERRORS_MAX)
		return;
	if (place->line)
		snprintf(where, sizeof(where), ":%zu:%zu", place->line, place->column);
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	snprintf(line, sizeof(line), "%s%s: %s%s%s", place->origin, where, name ? name : "",
		 name ? ": " : "", what);
	error->length +=
		(size_t)snprintf(error->text + error->length, sizeof(error->text) - error->length,
				 "%s%s", error->length ? "\n" : "", line);
}

static void report_rest(struct config_error *error)
{
	if (error->count > CONFIG_ERRORS_MAX)
		error->length += (size_t)snprintf(
			error->text + error->length, sizeof(error->text) - error->length,
			"\nand %zu more problems", error->count - CONFIG_ERRORS_MAX);
}

static const char *last_word(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot ? dot + 1 : name;
}

/* Or only the section is wrong. */
static const char *nearest_name(const struct config_table *table, const char *name)
{
	const char *names[CONFIG_ENTRIES_MAX], *nearest;

	for (size_t at = 0; at < table->count; at++)
		names[at] = table->entries[at].name;
	nearest = nearest_of(names, table->count, name);
	for (size_t at = 0; !nearest && at < table->count; at++)
		if (strcmp(last_word(name), last_word(names[at])) == 0)
			nearest = names[at];
	return nearest;
}

void config_report_unknown(struct config_error *error, const struct config_place *place,
			   const struct config_target *target, const char *name)
{
	char shown[CONFIG_TEXT_BYTES], full[2 * CONFIG_NAME_MAX_BYTES];
	const char *nearest = nearest_name(target->table, name);

	snprintf(full, sizeof(full), "%s%s", target->prefix, config_shown(name, shown));
	if (nearest)
		config_report(error, place, full, "unknown; did you mean %s%s?", target->prefix,
			      nearest);
	else
		config_report(error, place, full, "unknown");
}

int config_table_find(const struct config_table *table, const char *name, bool *file)
{
	for (size_t at = 0; at < table->count; at++) {
		const struct config_entry *entry = &table->entries[at];
		size_t length = strlen(entry->name);

		*file = false;
		if (strncmp(name, entry->name, length) != 0)
			continue;
		if (!name[length])
			return (int)at;
		*file = entry->secret && entry->type == CONFIG_STRING &&
			!strcmp(name + length, "_file");
		if (*file)
			return (int)at;
	}
	return -1;
}

int config_table_section(const struct config_table *table, const char *section)
{
	size_t length = strlen(section);

	for (size_t at = 0; at < table->count; at++)
		if (strncmp(table->entries[at].name, section, length) == 0 &&
		    table->entries[at].name[length] == '.')
			return (int)at;
	return -1;
}

static void assert_sound(const struct config_entry *entry)
{
	bool nested = entry->type == CONFIG_MAP || entry->type == CONFIG_LIST;
	bool text = entry->type == CONFIG_STRING || entry->type == CONFIG_STRINGS || nested;

	assert(entry->size == field_sizes[entry->type]);
	assert(strlen(entry->name) + strlen("_file") <= CONFIG_NAME_MAX_BYTES && entry->help);
	assert(!(entry->required && entry->fallback) && !(nested && entry->fallback));
	assert(!entry->secret || (text && entry->type != CONFIG_LIST));
	assert((entry->type == CONFIG_LIST) == (entry->table != NULL));
	assert((entry->type == CONFIG_ENUM) == (entry->choices != NULL));
}

/* A table is code: what is wrong with it is a bug. */
void config_target_init(struct config_target *target, const struct config_table *table, void *out,
			const char *prefix)
{
	char why[CONFIG_WHY_BYTES];

	*target = (struct config_target){.table = table, .out = out, .prefix = prefix};
	assert(table->count <= CONFIG_ENTRIES_MAX);
	for (size_t at = 0; at < table->count; at++) {
		const struct config_entry *entry = &table->entries[at];
		bool fine = true;

		assert_sound(entry);
		memset(config_field(target, entry), 0, entry->size);
		if (entry->fallback)
			fine = config_value_set(entry, config_field(target, entry), entry->fallback,
						why);
		if (!fine)
			fprintf(stderr, "config: default of %s: %s\n", entry->name, why);
		assert(fine);
	}
}

void config_target_check(const struct config_target *target, const struct config_place *place,
			 struct config_error *error)
{
	char full[2 * CONFIG_NAME_MAX_BYTES];

	for (size_t at = 0; at < target->table->count; at++) {
		if (!target->table->entries[at].required || target->given[at])
			continue;
		snprintf(full, sizeof(full), "%s%s", target->prefix,
			 target->table->entries[at].name);
		config_report(error, place, full, "required, and not given");
	}
}

static void environment_name(const struct config_table *table, const char *name,
			     char variable[2 * CONFIG_NAME_MAX_BYTES])
{
	size_t at = (size_t)snprintf(variable, CONFIG_NAME_MAX_BYTES, "%s", table->env_prefix);

	for (; *name; name++)
		variable[at++] = *name == '.' ? '_' : (char)toupper((unsigned char)*name);
	variable[at] = '\0';
}

static const char *environment_value(const char *variable)
{
	const char *value = getenv(variable);

	return value && *value ? value : NULL;
}

static void load_variable(struct config_target *target, size_t at, struct config_error *error)
{
	const struct config_entry *entry = &target->table->entries[at];
	char variable[2 * CONFIG_NAME_MAX_BYTES], file[2 * CONFIG_NAME_MAX_BYTES + 8],
		why[CONFIG_WHY_BYTES];
	struct config_place place = {.origin = variable};
	const char *value, *path = NULL;
	bool fine;

	environment_name(target->table, entry->name, variable);
	snprintf(file, sizeof(file), "%s_FILE", variable);
	value = environment_value(variable);
	if (entry->secret && entry->type == CONFIG_STRING)
		path = environment_value(file);
	if (!value && !path)
		return;
	target->given[at] = true;
	if (value && path) {
		config_report(error, &place, NULL, "given twice: %s is set too", file);
		return;
	}
	if (path)
		place.origin = file;
	fine = path ? config_value_set_from(entry, config_field(target, entry), path, why)
		    : config_value_set(entry, config_field(target, entry), value, why);
	if (!fine)
		config_report(error, &place, NULL, "%s", why);
}

static void load_environment(struct config_target *target, struct config_error *error)
{
	for (size_t at = 0; at < target->table->count && target->table->env_prefix; at++)
		if (target->table->entries[at].type < CONFIG_MAP)
			load_variable(target, at, error);
}

static void load_setting(struct config_target *target, const struct config_setting *setting,
			 struct config_error *error)
{
	struct config_place place = {.origin = setting->origin};
	const char *sign = setting->name ? NULL : strchr(setting->value, '=');
	const char *value = sign ? sign + 1 : setting->value;
	char name[CONFIG_NAME_MAX_BYTES + 1], why[CONFIG_WHY_BYTES];
	const struct config_entry *entry;
	bool file, fine;
	int at;

	/* What was written is not told: it may be a secret without its name. */
	if (!setting->name && (!sign || sign - setting->value > CONFIG_NAME_MAX_BYTES)) {
		config_report(error, &place, NULL, "wants name=value");
		return;
	}
	snprintf(name, sizeof(name), "%.*s",
		 sign ? (int)(sign - setting->value) : CONFIG_NAME_MAX_BYTES,
		 sign ? setting->value : setting->name);
	at = config_table_find(target->table, name, &file);
	if (at < 0) {
		config_report_unknown(error, &place, target, name);
		return;
	}
	target->given[at] = true;
	entry = &target->table->entries[at];
	fine = file ? config_value_set_from(entry, config_field(target, entry), value, why)
		    : config_value_set(entry, config_field(target, entry), value, why);
	if (!fine)
		config_report(error, &place, name, "%s", why);
}

static struct config_target *begin_load(const struct config_table *table, void *out,
					struct config_error *error)
{
	struct config_target *target = memory_zeroed(1, sizeof(*target));

	error->count = error->length = 0;
	error->text[0] = '\0';
	memset(out, 0, table->size);
	config_target_init(target, table, out, "");
	return target;
}

/* Taken whole or not at all. */
static int end_load(struct config_target *target, const struct config_place *place, int result,
		    struct config_error *error)
{
	/* Of a file that was not read to its end nothing can be said to miss. */
	if (result == 0)
		config_target_check(target, place, error);
	report_rest(error);
	if (error->count) {
		config_free(target->table, target->out);
		result = result ? result : -EINVAL;
	}
	free(target);
	return result;
}

int config_load(const struct config_table *table, const struct config_sources *sources, void *out,
		struct config_error *error)
{
	struct config_target *target = begin_load(table, out, error);
	struct config_place place = {.origin = sources->path ? sources->path : table->program};
	int result = 0;

	if (sources->path)
		result = config_file_load(sources->path, target, error);
	load_environment(target, error);
	for (size_t at = 0; at < sources->settings_count; at++)
		load_setting(target, &sources->settings[at], error);
	return end_load(target, &place, result, error);
}

int config_read(const struct config_table *table, const char *origin, const char *text,
		size_t length, void *out, struct config_error *error)
{
	struct config_place place = {.origin = origin};
	struct config_target *target = begin_load(table, out, error);

	return end_load(target, &place, config_text_load(origin, text, length, target, error),
			error);
}

void config_free(const struct config_table *table, void *out)
{
	for (size_t at = 0; at < table->count; at++)
		config_value_clear(&table->entries[at], (char *)out + table->entries[at].offset);
	memset(out, 0, table->size);
}
