#include "api/query/parameter.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/http/json.h"
#include "api/http/server.h"
#include "base/name.h"

void refuse(struct refusal *refusal, enum refusal_kind kind, const char *format, ...)
{
	va_list arguments;

	refusal->kind = kind;
	va_start(arguments, format);
	vsnprintf(refusal->detail, sizeof(refusal->detail), format, arguments);
	va_end(arguments);
}

/* --- values --- */

/* Decimal digits with at most one point: no sign, exponent, hex or word. */
static bool parse_decimal(const char *text, double *value, const char **rest)
{
	size_t digits = strspn(text, "0123456789");
	size_t length = digits;

	if (!digits || digits > 15)
		return false;
	if (text[length] == '.')
		length += 1 + strspn(text + length + 1, "0123456789");
	*value = strtod(text, NULL);
	*rest = text + length;
	return true;
}

bool parse_duration(const char *text, double *seconds)
{
	static const struct {
		const char *unit;
		double seconds;
	} units[] = {{"", 1}, {"s", 1}, {"ms", 1e-3}, {"m", 60}, {"h", 3600}, {"d", 86400}};
	const char *rest;

	if (!parse_decimal(text, seconds, &rest))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(rest, units[i].unit) == 0) {
			*seconds *= units[i].seconds;
			return true;
		}
	}
	return false;
}

static bool take_number(const char **text, size_t digits, int min, int max, int *value)
{
	*value = 0;
	for (size_t i = 0; i < digits; i++) {
		if (!isdigit((unsigned char)(*text)[i]))
			return false;
		*value = *value * 10 + (*text)[i] - '0';
	}
	*text += digits;
	return *value >= min && *value <= max;
}

static bool take_char(const char **text, const char *set)
{
	if (!**text || !strchr(set, **text))
		return false;
	++*text;
	return true;
}

/* RFC 3339: 2026-01-31T12:00:00.5+01:00. A '+' in a query string may have become a space. */
static bool parse_rfc3339(const char *text, double *seconds)
{
	struct tm tm = {0};
	double fraction = 0;
	int offset = 0, hours, minutes;

	if (!take_number(&text, 4, 1970, 9999, &tm.tm_year) || !take_char(&text, "-") ||
	    !take_number(&text, 2, 1, 12, &tm.tm_mon) || !take_char(&text, "-") ||
	    !take_number(&text, 2, 1, 31, &tm.tm_mday) || !take_char(&text, "Tt ") ||
	    !take_number(&text, 2, 0, 23, &tm.tm_hour) || !take_char(&text, ":") ||
	    !take_number(&text, 2, 0, 59, &tm.tm_min) || !take_char(&text, ":") ||
	    !take_number(&text, 2, 0, 60, &tm.tm_sec))
		return false;
	if (*text == '.') {
		size_t digits = strspn(text + 1, "0123456789");

		if (!digits)
			return false;
		fraction = strtod(text, NULL);
		text += 1 + digits;
	}
	if (!take_char(&text, "Zz")) {
		int sign = *text == '-' ? -1 : 1;

		if (!take_char(&text, "+- ") || !take_number(&text, 2, 0, 23, &hours) ||
		    !take_char(&text, ":") || !take_number(&text, 2, 0, 59, &minutes))
			return false;
		offset = sign * (hours * 3600 + minutes * 60);
	}

	int day = tm.tm_mday;

	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*seconds = (double)(timegm(&tm) - offset) + fraction;
	return !*text && tm.tm_mday == day; /* timegm makes 1 March of 30 February */
}

bool parse_time(const char *text, double *seconds)
{
	const char *rest;

	if (parse_decimal(text, seconds, &rest) && !*rest)
		return true;
	return parse_rfc3339(text, seconds);
}

bool parse_flag(const char *text, bool *on)
{
	*on = !*text || strcmp(text, "1") == 0 || strcmp(text, "true") == 0;
	return *on || strcmp(text, "0") == 0 || strcmp(text, "false") == 0;
}

/* --- what is accepted, in words --- */

static void in_words(double seconds, char text[32])
{
	if (seconds >= 3600 && (uint64_t)seconds % 3600 == 0)
		snprintf(text, 32, "%gh", seconds / 3600);
	else if (seconds >= 60 && (uint64_t)seconds % 60 == 0)
		snprintf(text, 32, "%gm", seconds / 60);
	else
		snprintf(text, 32, "%gs", seconds);
}

static void accepted(const struct parameter *parameter, char *text, size_t size)
{
	char min[32], max[32];
	size_t length = 0;

	switch (parameter->type) {
	case PARAMETER_TEXT:
		snprintf(text, size, "a name of up to %d bytes", NAME_MAX_BYTES);
		break;
	case PARAMETER_CHOICE:
		for (size_t i = 0; parameter->choices[i] && length < size; i++)
			length += (size_t)snprintf(text + length, size - length, "%s%s",
						   i ? ", " : "", parameter->choices[i]);
		break;
	case PARAMETER_COUNT:
		snprintf(text, size, "a whole number from %.0f to %.0f", parameter->min,
			 parameter->max);
		break;
	case PARAMETER_DURATION:
		in_words(parameter->min, min);
		in_words(parameter->max, max);
		snprintf(text, size, "a duration such as 60s or 5m, or seconds, from %s to %s", min,
			 max);
		break;
	case PARAMETER_TIME:
		snprintf(text, size, "a time such as 2026-01-31T12:00:00Z, or seconds since 1970");
		break;
	case PARAMETER_FLAG:
		snprintf(text, size, "1, true or no value for on, 0 or false for off");
		break;
	}
}

static bool refuse_value(const struct parameter *parameter, const char *given,
			 struct refusal *refusal)
{
	char words[320];

	accepted(parameter, words, sizeof(words));
	refuse(refusal, REFUSED_BAD, "%s is \"%.64s\"; accepted: %s", parameter->name, given,
	       words);
	return false;
}

/* --- parsing --- */

static void *field_of(ProtobufCMessage *message, const char *name)
{
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);

	return (char *)message + field->offset;
}

static bool is_choice(const struct parameter *parameter, const char *value)
{
	for (size_t i = 0; parameter->choices[i]; i++) {
		if (strcmp(parameter->choices[i], value) == 0)
			return true;
	}
	return false;
}

static bool parse_value(const struct parameter *parameter, const char *value, struct arena *arena,
			ProtobufCMessage *message)
{
	void *field = field_of(message, parameter->field);
	const char *rest;
	double number;
	bool on;

	switch (parameter->type) {
	case PARAMETER_TEXT:
		*(char **)field = arena_text(arena, value);
		return strlen(value) <= NAME_MAX_BYTES;
	case PARAMETER_CHOICE:
		*(char **)field = arena_text(arena, value);
		return !*value || is_choice(parameter, value);
	case PARAMETER_COUNT:
		if (!parse_decimal(value, &number, &rest) || *rest || number < parameter->min ||
		    number > parameter->max || (double)(uint32_t)number != number)
			return false;
		*(uint32_t *)field = (uint32_t)number;
		return true;
	case PARAMETER_DURATION:
		*(double *)field = 0;
		return parse_duration(value, field) && *(double *)field >= parameter->min &&
		       *(double *)field <= parameter->max;
	case PARAMETER_TIME:
		return parse_time(value, field);
	case PARAMETER_FLAG:
		if (!parse_flag(value, &on))
			return false;
		*(protobuf_c_boolean *)field = on;
		return true;
	}
	return false;
}

static const struct parameter *find(const struct parameters_table *table, const char *name)
{
	for (size_t i = 0; i < table->count; i++) {
		if (!table->entries[i].in_path && strcmp(table->entries[i].name, name) == 0)
			return &table->entries[i];
	}
	return NULL;
}

static bool refuse_unknown(const struct parameters_table *table, const char *key,
			   struct refusal *refusal)
{
	char names[256] = "none";
	size_t length = 0;

	for (size_t i = 0; i < table->count && length < sizeof(names); i++) {
		if (!table->entries[i].in_path)
			length += (size_t)snprintf(names + length, sizeof(names) - length, "%s%s",
						   length ? ", " : "", table->entries[i].name);
	}
	refuse(refusal, REFUSED_BAD, "there is no parameter \"%.64s\" here; accepted: %s", key,
	       names);
	return false;
}

static bool parse_path(const struct parameters_table *table, const struct request *request,
		       struct arena *arena, ProtobufCMessage *message, struct refusal *refusal)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct parameter *parameter = &table->entries[i];

		if (parameter->in_path && parameter->field &&
		    !parse_value(parameter, request->rest, arena, message))
			return refuse_value(parameter, request->rest, refusal);
	}
	return true;
}

bool parameters_parse(const struct parameters_table *table, const struct request *request,
		      struct arena *arena, ProtobufCMessage *message, struct refusal *refusal)
{
	const char *key, *value;

	for (size_t i = 0; request_parameter_at(request, i, &key, &value); i++) {
		const struct parameter *parameter = find(table, key);

		if (!parameter)
			return refuse_unknown(table, key, refusal);
		if (request_parameter(request, key, 1)) {
			refuse(refusal, REFUSED_BAD, "%s is given more than once; accepted: once",
			       parameter->name);
			return false;
		}
		if (!parse_value(parameter, value, arena, message))
			return refuse_value(parameter, value, refusal);
	}
	return parse_path(table, request, arena, message, refusal);
}

static bool check_number(const struct parameter *parameter, double *number, struct refusal *refusal)
{
	char given[32];

	if (*number == 0)
		*number = parameter->fallback;
	if (*number == 0 || (*number >= parameter->min && *number <= parameter->max))
		return true;
	snprintf(given, sizeof(given), "%g", *number);
	return refuse_value(parameter, given, refusal);
}

static bool check_time(const struct parameter *parameter, double seconds, struct refusal *refusal)
{
	char given[32];

	if (seconds >= 0 && seconds < 253402300800.0) /* the year 10000; NaN fails too */
		return true;
	snprintf(given, sizeof(given), "%g", seconds);
	return refuse_value(parameter, given, refusal);
}

static bool check_value(const struct parameter *parameter, void *field, struct refusal *refusal)
{
	double number;

	switch (parameter->type) {
	case PARAMETER_TEXT:
		return strlen(*(char **)field) <= NAME_MAX_BYTES ||
		       refuse_value(parameter, *(char **)field, refusal);
	case PARAMETER_CHOICE:
		return !**(char **)field || is_choice(parameter, *(char **)field) ||
		       refuse_value(parameter, *(char **)field, refusal);
	case PARAMETER_COUNT:
		number = *(uint32_t *)field;
		if (!check_number(parameter, &number, refusal))
			return false;
		*(uint32_t *)field = (uint32_t)number;
		return true;
	case PARAMETER_DURATION:
		return check_number(parameter, field, refusal);
	case PARAMETER_TIME:
		return check_time(parameter, *(double *)field, refusal);
	case PARAMETER_FLAG:
		return true;
	}
	return false;
}

bool parameters_check(const struct parameters_table *table, ProtobufCMessage *message,
		      struct refusal *refusal)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct parameter *parameter = &table->entries[i];

		if (parameter->field &&
		    !check_value(parameter, field_of(message, parameter->field), refusal))
			return false;
	}
	return true;
}

/* --- /openapi.json --- */

static void number_member(struct json *json, const char *key, double value)
{
	json_key(json, key);
	json_double(json, value);
}

/* Nothing is one of them. */
static void enum_member(struct json *json, const char *const *values)
{
	json_key(json, "enum");
	json_array_begin(json);
	json_string(json, "");
	for (size_t i = 0; values[i]; i++)
		json_string(json, values[i]);
	json_array_end(json);
}

static void value_schema(struct json *json, const struct parameter *parameter)
{
	static const char *const flags[] = {"1", "true", "0", "false", NULL};

	json_object_begin(json);
	json_member(json, "type", parameter->type == PARAMETER_COUNT ? "integer" : "string");
	if (parameter->type == PARAMETER_COUNT) {
		number_member(json, "minimum", parameter->min);
		number_member(json, "maximum", parameter->max);
		if (parameter->fallback != 0)
			number_member(json, "default", parameter->fallback);
	}
	if (parameter->type == PARAMETER_TEXT) {
		json_key(json, "maxLength");
		json_int(json, NAME_MAX_BYTES);
	}
	if (parameter->type == PARAMETER_CHOICE)
		enum_member(json, parameter->choices);
	if (parameter->type == PARAMETER_FLAG)
		enum_member(json, flags);
	if (parameter->type == PARAMETER_DURATION) {
		json_member(json, "pattern", "^[0-9]+(\\.[0-9]*)?(ms|s|m|h|d)?$");
		if (parameter->fallback != 0) {
			char words[32];

			in_words(parameter->fallback, words);
			json_member(json, "default", words);
		}
	}
	json_object_end(json);
}

void parameters_schema(struct json *json, const struct parameters_table *table)
{
	json_array_begin(json);
	for (size_t i = 0; i < table->count; i++) {
		const struct parameter *parameter = &table->entries[i];
		char words[320], text[640];

		accepted(parameter, words, sizeof(words));
		snprintf(text, sizeof(text), "%s Accepted: %s.", parameter->help, words);
		json_object_begin(json);
		json_member(json, "name", parameter->name);
		json_member(json, "in", parameter->in_path ? "path" : "query");
		if (parameter->in_path) {
			json_key(json, "required");
			json_bool(json, true);
		}
		json_member(json, "description", text);
		json_key(json, "schema");
		value_schema(json, parameter);
		json_object_end(json);
	}
	json_array_end(json);
}
