#include "config/value.h"

#include "base/memory.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct multiple {
	const char *name;
	uint64_t factor;
};

/* Largest first: printing takes the first that divides the value. */
static const struct multiple durations[] = {{"d", 86400000000000ULL},
					    {"h", 3600000000000ULL},
					    {"m", 60000000000ULL},
					    {"s", 1000000000ULL},
					    {"ms", 1000000ULL},
					    {"us", 1000ULL},
					    {"ns", 1},
					    {NULL, 0}};
static const struct multiple sizes[] = {{"TiB", 1ULL << 40},
					{"TB", 1000000000000ULL},
					{"GiB", 1ULL << 30},
					{"GB", 1000000000ULL},
					{"MiB", 1ULL << 20},
					{"MB", 1000000ULL},
					{"KiB", 1ULL << 10},
					{"kB", 1000ULL},
					{"B", 1},
					{NULL, 0}};

char *config_copy(const char *text, size_t length)
{
	char *copy = memory_resize(NULL, length + 1, 1);

	memcpy(copy, text, length);
	copy[length] = '\0';
	return copy;
}

const char *config_shown(const char *text, char shown[CONFIG_TEXT_BYTES])
{
	size_t at;

	for (at = 0; text[at] && at < CONFIG_TEXT_BYTES - 4; at++)
		shown[at] = (unsigned char)text[at] < ' ' || text[at] == 0x7f ? '?' : text[at];
	/* Not in the middle of a character. */
	if (text[at])
		while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
			at--;
	snprintf(shown + at, 4, "%s", text[at] ? "..." : "");
	return shown;
}

const char *config_type_name(enum config_type type)
{
	static const char *const names[] = {
		[CONFIG_BOOL] = "true or false", [CONFIG_UINT] = "whole number",
		[CONFIG_DURATION] = "duration",	 [CONFIG_SIZE] = "size",
		[CONFIG_DOUBLE] = "number",	 [CONFIG_STRING] = "string",
		[CONFIG_ENUM] = "one of",	 [CONFIG_STRINGS] = "list of strings",
		[CONFIG_MAP] = "map of strings", [CONFIG_LIST] = "list of sections",
	};

	return names[type];
}

/* Decimal digits only, so that 0x10, +5, 1e3 and blanks are refused. 0, -EINVAL or -ERANGE. */
static int read_digits(const char *text, const char **end, uint64_t *value)
{
	int result = 0;

	*value = 0;
	for (*end = text; **end >= '0' && **end <= '9'; (*end)++)
		if (__builtin_mul_overflow(*value, 10, value) ||
		    __builtin_add_overflow(*value, (uint64_t)(**end - '0'), value))
			result = -ERANGE;
	return *end == text ? -EINVAL : result;
}

static int read_uint(const char *text, uint64_t *value)
{
	const char *end;
	int result = read_digits(text, &end, value);

	return *end ? -EINVAL : result;
}

static int read_multiple(const char *text, const struct multiple *units, const char *bare,
			 uint64_t *value)
{
	const char *end;
	int result = read_digits(text, &end, value);
	const char *unit = *end ? end : bare;

	if (result == -EINVAL)
		return result;
	if (!*end && *value == 0 && !result)
		return 0;
	for (; units->name; units++)
		if (unit && strcmp(unit, units->name) == 0)
			return result || __builtin_mul_overflow(*value, units->factor, value)
				       ? -ERANGE
				       : 0;
	return -EINVAL;
}

static int read_double(const char *text, double *value)
{
	char *end;

	if (!*text || strspn(text, "0123456789.eE+-") != strlen(text))
		return -EINVAL;
	errno = 0;
	*value = strtod(text, &end);
	if (*end)
		return -EINVAL;
	return isfinite(*value) ? 0 : -ERANGE;
}

static int read_number(const struct config_entry *entry, const char *text, uint64_t *value)
{
	switch (entry->type) {
	case CONFIG_DURATION:
		return read_multiple(text, durations, NULL, value);
	case CONFIG_SIZE:
		return read_multiple(text, sizes, "B", value);
	default:
		return read_uint(text, value);
	}
}

static bool refuse(char why[CONFIG_WHY_BYTES], const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static bool refuse(char why[CONFIG_WHY_BYTES], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, CONFIG_WHY_BYTES, format, args);
	va_end(args);
	return false;
}

static bool refuse_form(const struct config_entry *entry, const char *text,
			char why[CONFIG_WHY_BYTES])
{
	char shown[CONFIG_TEXT_BYTES];

	config_shown(text, shown);
	switch (entry->type) {
	case CONFIG_BOOL:
		return refuse(why, "'%s' is neither true nor false", shown);
	case CONFIG_DURATION:
		return refuse(why,
			      "'%s' is not a duration: want a whole number and one of ns, us, ms, "
			      "s, m, h, d, "
			      "such as 250ms",
			      shown);
	case CONFIG_SIZE:
		return refuse(why,
			      "'%s' is not a size: want a whole number and one of B, kB, MB, GB, "
			      "TB, KiB, MiB, "
			      "GiB, TiB, such as 64MiB",
			      shown);
	case CONFIG_DOUBLE:
		return refuse(why, "'%s' is not a number", shown);
	default:
		return refuse(why, "'%s' is not a whole number", shown);
	}
}

/* The shown value is as the user wrote it: "5000ms is more than the maximum 1s". */
static bool refuse_more(const char *text, const char *max, char why[CONFIG_WHY_BYTES])
{
	char shown[CONFIG_TEXT_BYTES];

	if (!max)
		return refuse(why, "%s is too large", config_shown(text, shown));
	return refuse(why, "%s is more than the maximum %s", config_shown(text, shown), max);
}

static bool refuse_less(const char *text, const char *min, char why[CONFIG_WHY_BYTES])
{
	char shown[CONFIG_TEXT_BYTES];

	return refuse(why, "%s is less than the minimum %s", config_shown(text, shown), min);
}

static bool set_number(const struct config_entry *entry, uint64_t *field, const char *text,
		       char why[CONFIG_WHY_BYTES])
{
	uint64_t value, bound;
	int result = read_number(entry, text, &value);

	if (result == -EINVAL)
		return refuse_form(entry, text, why);
	if (result == -ERANGE)
		return refuse_more(text, entry->max, why);
	if (entry->min) {
		result = read_number(entry, entry->min, &bound);
		assert(result == 0);
		if (value < bound)
			return refuse_less(text, entry->min, why);
	}
	if (entry->max) {
		result = read_number(entry, entry->max, &bound);
		assert(result == 0);
		if (value > bound)
			return refuse_more(text, entry->max, why);
	}
	*field = value;
	return true;
}

static bool set_double(const struct config_entry *entry, double *field, const char *text,
		       char why[CONFIG_WHY_BYTES])
{
	double value, bound;
	int result = read_double(text, &value);

	if (result == -EINVAL)
		return refuse_form(entry, text, why);
	if (result == -ERANGE)
		return refuse(why, "%s is too large", text);
	if (entry->min) {
		result = read_double(entry->min, &bound);
		assert(result == 0);
		if (value < bound)
			return refuse_less(text, entry->min, why);
	}
	if (entry->max) {
		result = read_double(entry->max, &bound);
		assert(result == 0);
		if (value > bound)
			return refuse_more(text, entry->max, why);
	}
	*field = value;
	return true;
}

static bool set_bool(const struct config_entry *entry, bool *field, const char *text,
		     char why[CONFIG_WHY_BYTES])
{
	if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
		return refuse_form(entry, text, why);
	*field = text[0] == 't';
	return true;
}

static bool set_enum(const struct config_entry *entry, uint32_t *field, const char *text,
		     char why[CONFIG_WHY_BYTES])
{
	char shown[CONFIG_TEXT_BYTES], choices[CONFIG_WHY_BYTES - CONFIG_TEXT_BYTES - 16] = "";
	size_t length = 0;

	for (uint32_t at = 0; entry->choices[at]; at++) {
		if (strcmp(text, entry->choices[at]) == 0) {
			*field = at;
			return true;
		}
		if (length < sizeof(choices))
			length += (size_t)snprintf(choices + length, sizeof(choices) - length,
						   "%s%s", at ? ", " : "", entry->choices[at]);
	}
	return refuse(why, "'%s' is none of %s", config_shown(text, shown), choices);
}

/* For what min and max count: bytes of a string, items of a list. */
static bool count_fits(const struct config_entry *entry, size_t count, const char *noun,
		       char why[CONFIG_WHY_BYTES])
{
	uint64_t bound;
	int result;

	if (entry->min) {
		result = read_uint(entry->min, &bound);
		assert(result == 0);
		if (count < bound)
			return refuse(why, "%zu %s, less than the minimum %s", count, noun,
				      entry->min);
	}
	if (entry->max) {
		result = read_uint(entry->max, &bound);
		assert(result == 0);
		if (count > bound)
			return refuse(why, "%zu %s, more than the maximum %s", count, noun,
				      entry->max);
	}
	return true;
}

bool config_value_count_fits(const struct config_entry *entry, size_t count,
			     char why[CONFIG_WHY_BYTES])
{
	return count_fits(entry, count, "items", why);
}

static bool length_fits(const char *text, char why[CONFIG_WHY_BYTES])
{
	if (strlen(text) <= CONFIG_STRING_MAX_BYTES)
		return true;
	return refuse(why, "%zu bytes, more than the %d that a string may have", strlen(text),
		      CONFIG_STRING_MAX_BYTES);
}

static bool room_for_one(size_t count, char why[CONFIG_WHY_BYTES])
{
	if (count < CONFIG_ITEMS_MAX)
		return true;
	return refuse(why, "more than the %d items that it may have", CONFIG_ITEMS_MAX);
}

/* Doubling at powers of two needs no capacity beside the count. */
static void *grow_items(void *items, size_t count, size_t item_bytes)
{
	if (count & (count - 1))
		return items;
	return memory_resize(items, count ? count * 2 : 1, item_bytes);
}

static bool set_string(const struct config_entry *entry, char **field, const char *text,
		       char why[CONFIG_WHY_BYTES])
{
	if (!length_fits(text, why) || !count_fits(entry, strlen(text), "bytes", why))
		return false;
	free(*field);
	*field = config_copy(text, strlen(text));
	return true;
}

bool config_value_append(const struct config_entry *entry, struct config_strings *strings,
			 const char *text, char why[CONFIG_WHY_BYTES])
{
	(void)entry;
	if (!*text)
		return refuse(why, "an item is empty");
	if (!length_fits(text, why) || !room_for_one(strings->count, why))
		return false;
	strings->items = grow_items(strings->items, strings->count, sizeof(*strings->items));
	strings->items[strings->count++] = config_copy(text, strlen(text));
	return true;
}

bool config_value_put(const struct config_entry *entry, struct config_map *map, const char *key,
		      const char *text, char why[CONFIG_WHY_BYTES])
{
	char shown[CONFIG_TEXT_BYTES];

	(void)entry;
	for (size_t at = 0; at < map->count; at++)
		if (strcmp(map->items[at].key, key) == 0)
			return refuse(why, "'%s' is written twice", config_shown(key, shown));
	if (!length_fits(key, why) || !length_fits(text, why) || !room_for_one(map->count, why))
		return false;
	map->items = grow_items(map->items, map->count, sizeof(*map->items));
	map->items[map->count++] = (struct config_pair){.key = config_copy(key, strlen(key)),
							.value = config_copy(text, strlen(text))};
	return true;
}

void *config_value_grow(const struct config_entry *entry, struct config_list *list,
			char why[CONFIG_WHY_BYTES])
{
	size_t size = entry->table->size;
	char *item;

	if (!room_for_one(list->count, why))
		return NULL;
	list->items = grow_items(list->items, list->count, size);
	item = (char *)list->items + list->count++ * size;
	memset(item, 0, size);
	return item;
}

static bool set_strings(const struct config_entry *entry, struct config_strings *field,
			const char *text, char why[CONFIG_WHY_BYTES])
{
	struct config_strings strings = {0};
	const char *at = text + strspn(text, " \t");
	bool fine = true, more = *at != '\0';

	while (fine && more) {
		size_t span = strcspn(at, ","), length = span;
		char *item;

		while (length && isblank((unsigned char)at[length - 1]))
			length--;
		item = config_copy(at, length);
		fine = config_value_append(entry, &strings, item, why);
		free(item);
		more = at[span] == ',';
		at += span + more;
		at += strspn(at, " \t");
	}
	fine = fine && count_fits(entry, strings.count, "items", why);
	config_value_clear(entry, fine ? field : &strings);
	if (fine)
		*field = strings;
	return fine;
}

bool config_value_set(const struct config_entry *entry, void *field, const char *text,
		      char why[CONFIG_WHY_BYTES])
{
	switch (entry->type) {
	case CONFIG_BOOL:
		return set_bool(entry, field, text, why);
	case CONFIG_UINT:
	case CONFIG_DURATION:
	case CONFIG_SIZE:
		return set_number(entry, field, text, why);
	case CONFIG_DOUBLE:
		return set_double(entry, field, text, why);
	case CONFIG_STRING:
		return set_string(entry, field, text, why);
	case CONFIG_ENUM:
		return set_enum(entry, field, text, why);
	case CONFIG_STRINGS:
		return set_strings(entry, field, text, why);
	case CONFIG_MAP:
	case CONFIG_LIST:
		break;
	}
	return refuse(why, "a %s can be given in the file only", config_type_name(entry->type));
}

int config_read_file(const char *path, size_t bytes_max, char **bytes, size_t *length)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = 1;
	size_t room = 4096;

	if (file < 0)
		return -errno;
	*bytes = memory_resize(NULL, room + 1, 1);
	for (*length = 0; got > 0 && *length <= bytes_max;) {
		if (*length == room)
			*bytes = memory_resize(*bytes, (room *= 2) + 1, 1);
		do
			got = read(file, *bytes + *length, room - *length);
		while (got < 0 && errno == EINTR);
		*length += got > 0 ? (size_t)got : 0;
	}
	got = got < 0 ? -errno : *length > bytes_max ? -EFBIG : 0;
	close(file);
	(*bytes)[*length] = '\0';
	if (got < 0) {
		free(*bytes);
		*bytes = NULL;
	}
	return (int)got;
}

bool config_value_set_from(const struct config_entry *entry, void *field, const char *path,
			   char why[CONFIG_WHY_BYTES])
{
	char shown[CONFIG_TEXT_BYTES];
	char *secret;
	size_t length;
	int result = config_read_file(path, CONFIG_STRING_MAX_BYTES, &secret, &length);
	bool fine;

	assert(entry->type == CONFIG_STRING);
	config_shown(path, shown);
	if (result == -EFBIG)
		return refuse(why, "%s holds more than the %d bytes that a string may have", shown,
			      CONFIG_STRING_MAX_BYTES);
	if (result < 0)
		return refuse(why, "cannot read %s: %s", shown, strerror(-result));
	if (length && secret[length - 1] == '\n')
		secret[--length] = '\0';
	if (length && secret[length - 1] == '\r')
		secret[--length] = '\0';
	if (!length)
		fine = refuse(why, "%s is empty", shown);
	else if (strlen(secret) != length)
		fine = refuse(why, "%s holds a NUL byte", shown);
	else
		fine = set_string(entry, field, secret, why);
	explicit_bzero(secret, length);
	free(secret);
	return fine;
}

static void clear_list(const struct config_entry *entry, struct config_list *list)
{
	for (size_t at = 0; at < list->count; at++)
		config_free(entry->table, (char *)list->items + at * entry->table->size);
	free(list->items);
}

void config_value_clear(const struct config_entry *entry, void *field)
{
	struct config_strings *strings = field;
	struct config_map *map = field;

	switch (entry->type) {
	case CONFIG_STRING:
		free(*(char **)field);
		break;
	case CONFIG_STRINGS:
		for (size_t at = 0; at < strings->count; at++)
			free(strings->items[at]);
		free(strings->items);
		break;
	case CONFIG_MAP:
		for (size_t at = 0; at < map->count; at++) {
			free(map->items[at].key);
			free(map->items[at].value);
		}
		free(map->items);
		break;
	case CONFIG_LIST:
		clear_list(entry, field);
		break;
	default:
		break;
	}
	memset(field, 0, entry->size);
}

static void multiple_text(const struct multiple *units, uint64_t value,
			  char text[CONFIG_TEXT_BYTES])
{
	while (value % units->factor)
		units++;
	snprintf(text, CONFIG_TEXT_BYTES, "%" PRIu64 "%s", value / units->factor, units->name);
}

static void double_text(double value, char text[CONFIG_TEXT_BYTES])
{
	for (int digits = 1; digits <= 17; digits++) {
		snprintf(text, CONFIG_TEXT_BYTES, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			return;
	}
}

void config_value_text(const struct config_entry *entry, const void *field,
		       char text[CONFIG_TEXT_BYTES])
{
	uint64_t value = entry->size == sizeof(value) ? *(const uint64_t *)field : 0;

	switch (entry->type) {
	case CONFIG_BOOL:
		snprintf(text, CONFIG_TEXT_BYTES, "%s", *(const bool *)field ? "true" : "false");
		break;
	case CONFIG_DOUBLE:
		double_text(*(const double *)field, text);
		break;
	case CONFIG_ENUM:
		snprintf(text, CONFIG_TEXT_BYTES, "%s", entry->choices[*(const uint32_t *)field]);
		break;
	case CONFIG_DURATION:
	case CONFIG_SIZE:
		if (value)
			multiple_text(entry->type == CONFIG_SIZE ? sizes : durations, value, text);
		else
			snprintf(text, CONFIG_TEXT_BYTES, "0");
		break;
	default:
		snprintf(text, CONFIG_TEXT_BYTES, "%" PRIu64, value);
		break;
	}
}
