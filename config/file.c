/* YAML events, one at a time, straight into the struct: no tree is built, so a file costs what it
 * configures. */
#include "base/memory.h"
#include "config/load.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct reader {
	yaml_parser_t parser;
	yaml_event_t event; /* the one being looked at */
	const char *path;
	struct config_error *error;
	bool foreign; /* somebody else sent it: ${} is plain text */
	int depth;    /* of sections and lists that are open */
	bool broken;  /* the rest cannot be read; event is YAML_NO_EVENT from then on */
};

static struct config_place place_of(const struct reader *reader)
{
	return (struct config_place){.origin = reader->path,
				     .line = reader->event.start_mark.line + 1,
				     .column = reader->event.start_mark.column + 1};
}

static void give_up(struct reader *reader, const char *what)
{
	struct config_place place = place_of(reader);

	config_report(reader->error, &place, NULL, "%s", what);
	yaml_event_delete(&reader->event);
	reader->broken = true;
}

static void report_syntax(struct reader *reader)
{
	const yaml_parser_t *parser = &reader->parser;
	/* libyaml has no mark for what is not even characters. */
	struct config_place place = {.origin = reader->path,
				     .line = parser->problem_mark.line + 1,
				     .column = parser->problem_mark.column + 1};

	config_report(reader->error, &place, NULL, "not YAML: %s%s%s",
		      parser->problem ? parser->problem : "unreadable", parser->context ? ", " : "",
		      parser->context ? parser->context : "");
	reader->broken = true;
}

static bool has_anchor(const yaml_event_t *event)
{
	return event->type == YAML_ALIAS_EVENT ||
	       (event->type == YAML_SCALAR_EVENT && event->data.scalar.anchor) ||
	       (event->type == YAML_MAPPING_START_EVENT && event->data.mapping_start.anchor) ||
	       (event->type == YAML_SEQUENCE_START_EVENT && event->data.sequence_start.anchor);
}

static bool has_tag(const yaml_event_t *event)
{
	return (event->type == YAML_SCALAR_EVENT && event->data.scalar.tag) ||
	       (event->type == YAML_MAPPING_START_EVENT && event->data.mapping_start.tag) ||
	       (event->type == YAML_SEQUENCE_START_EVENT && event->data.sequence_start.tag);
}

static void advance(struct reader *reader)
{
	if (reader->broken)
		return;
	yaml_event_delete(&reader->event);
	if (!yaml_parser_parse(&reader->parser, &reader->event)) {
		report_syntax(reader);
		return;
	}
	if (reader->event.type == YAML_MAPPING_START_EVENT ||
	    reader->event.type == YAML_SEQUENCE_START_EVENT)
		reader->depth++;
	if (reader->event.type == YAML_MAPPING_END_EVENT ||
	    reader->event.type == YAML_SEQUENCE_END_EVENT)
		reader->depth--;
	if (has_anchor(&reader->event))
		give_up(reader, "anchors and aliases are not accepted");
	else if (has_tag(&reader->event))
		give_up(reader, "tags are not accepted");
	else if (reader->depth > CONFIG_DEPTH_MAX)
		give_up(reader, "sections within sections too deep");
}

/* Past the value being looked at, whatever it is. */
static void skip(struct reader *reader)
{
	int outside = reader->depth - (reader->event.type == YAML_MAPPING_START_EVENT ||
				       reader->event.type == YAML_SEQUENCE_START_EVENT);

	while (!reader->broken && reader->depth > outside)
		advance(reader);
	advance(reader);
}

static bool is_scalar(const struct reader *reader)
{
	return reader->event.type == YAML_SCALAR_EVENT;
}

static const char *scalar_text(const struct reader *reader)
{
	return (const char *)reader->event.data.scalar.value;
}

/* Nothing, ~ or null, not in quotes. */
static bool is_null(const struct reader *reader)
{
	return is_scalar(reader) && reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (!*scalar_text(reader) || !strcmp(scalar_text(reader), "~") ||
		!strcmp(scalar_text(reader), "null"));
}

static bool has_nul(const struct reader *reader)
{
	return strlen(scalar_text(reader)) != reader->event.data.scalar.length;
}

static const char *event_noun(const struct reader *reader)
{
	if (is_null(reader))
		return "nothing";
	if (is_scalar(reader))
		return "a single value";
	return reader->event.type == YAML_SEQUENCE_START_EVENT ? "a list" : "a section";
}

/* The entry being read. */
struct value {
	const struct config_entry *entry;
	void *field;
	const char *name; /* with its prefix */
	struct config_place place;
};

static void refuse(struct reader *reader, const char *name, const char *why)
{
	struct config_place place = place_of(reader);

	if (!reader->broken)
		config_report(reader->error, &place, name, "%s", why);
}

static void refuse_type(struct reader *reader, const char *name, const char *wanted)
{
	char why[CONFIG_WHY_BYTES];

	snprintf(why, sizeof(why), "want %s, not %s", wanted, event_noun(reader));
	refuse(reader, name, why);
}

static const char *wanted(enum config_type type)
{
	static const char *const names[] = {
		[CONFIG_BOOL] = "true or false",
		[CONFIG_UINT] = "a whole number",
		[CONFIG_DURATION] = "a duration such as 250ms",
		[CONFIG_SIZE] = "a size such as 64MiB",
		[CONFIG_DOUBLE] = "a number",
		[CONFIG_STRING] = "a string",
		[CONFIG_ENUM] = "a word",
		[CONFIG_STRINGS] = "a list of strings",
		[CONFIG_MAP] = "a map of strings",
		[CONFIG_LIST] = "a list of sections",
	};

	return names[type];
}

/* The length of NAME in ${NAME}, 0 if it is none. */
static size_t variable_length(const char *name)
{
	size_t length = 0;

	while (isalnum((unsigned char)name[length]) || name[length] == '_')
		length++;
	return name[length] == '}' && !isdigit((unsigned char)name[0]) ? length : 0;
}

struct expansion {
	char *text;
	size_t length;
};

static bool expansion_add(struct expansion *expansion, const char *text, size_t length, char *why)
{
	if (expansion->length + length > CONFIG_STRING_MAX_BYTES) {
		snprintf(why, CONFIG_WHY_BYTES, "more than the %d bytes that a string may have",
			 CONFIG_STRING_MAX_BYTES);
		return false;
	}
	memcpy(expansion->text + expansion->length, text, length);
	expansion->length += length;
	return true;
}

/* at is behind the "${". */
static bool expansion_add_variable(struct expansion *expansion, const char *at, size_t length,
				   char *why)
{
	char name[CONFIG_NAME_MAX_BYTES + 1];
	const char *value;

	if (!length || length > CONFIG_NAME_MAX_BYTES) {
		snprintf(why, CONFIG_WHY_BYTES,
			 "${ wants a variable's name and }; a plain ${ is written $${");
		return false;
	}
	snprintf(name, sizeof(name), "%.*s", (int)length, at);
	value = getenv(name);
	if (!value) {
		snprintf(why, CONFIG_WHY_BYTES, "${%s} is not in the environment", name);
		return false;
	}
	return expansion_add(expansion, value, strlen(value), why);
}

/* To free; NULL with why. */
static char *expand(const char *text, char why[CONFIG_WHY_BYTES])
{
	struct expansion expansion = {.text = memory_zeroed(1, CONFIG_STRING_MAX_BYTES + 1)};
	bool fine = true;

	while (fine && *text) {
		if (strncmp(text, "$${", 3) == 0) {
			fine = expansion_add(&expansion, "${", 2, why);
			text += 3;
		} else if (strncmp(text, "${", 2) == 0) {
			size_t length = variable_length(text + 2);

			fine = expansion_add_variable(&expansion, text + 2, length, why);
			text += length + 3;
		} else {
			fine = expansion_add(&expansion, text++, 1, why);
		}
	}
	if (fine)
		return expansion.text;
	free(expansion.text);
	return NULL;
}

/* The scalar being looked at with its ${} replaced, to free; NULL when it was refused. */
static char *read_string(struct reader *reader, const char *name)
{
	char why[CONFIG_WHY_BYTES];
	char *text = NULL;

	if (!is_scalar(reader) || is_null(reader))
		refuse_type(reader, name, "a string");
	else if (has_nul(reader))
		refuse(reader, name, "holds a NUL byte");
	else if (reader->foreign || !strchr(scalar_text(reader), '$'))
		text = config_copy(scalar_text(reader), strlen(scalar_text(reader)));
	else if (!(text = expand(scalar_text(reader), why)))
		refuse(reader, name, why);
	return text;
}

/* A relative path starts at the configuration's folder. */
static char *path_beside(const char *config, const char *path)
{
	const char *slash = strrchr(config, '/');
	size_t folder = slash && *path != '/' ? (size_t)(slash - config) + 1 : 0;
	char *whole = memory_resize(NULL, folder + strlen(path) + 1, 1);

	memcpy(whole, config, folder);
	memcpy(whole + folder, path, strlen(path) + 1);
	return whole;
}

static void read_secret_file(struct reader *reader, const struct value *value)
{
	char why[CONFIG_WHY_BYTES];
	char *path = read_string(reader, value->name);

	if (path) {
		char *whole = path_beside(reader->path, path);

		if (!config_value_set_from(value->entry, value->field, whole, why))
			refuse(reader, value->name, why);
		free(whole);
		free(path);
	}
	skip(reader);
}

static void read_text(struct reader *reader, const struct value *value)
{
	char why[CONFIG_WHY_BYTES];
	char *text = read_string(reader, value->name);

	if (text && !config_value_set(value->entry, value->field, text, why))
		refuse(reader, value->name, why);
	free(text);
	skip(reader);
}

static void read_scalar(struct reader *reader, const struct value *value)
{
	char why[CONFIG_WHY_BYTES];

	if (!is_scalar(reader) || is_null(reader))
		refuse_type(reader, value->name, wanted(value->entry->type));
	else if (has_nul(reader))
		refuse(reader, value->name, "holds a NUL byte");
	else if (!config_value_set(value->entry, value->field, scalar_text(reader), why))
		refuse(reader, value->name, why);
	skip(reader);
}

static void name_item(char name[CONFIG_NAME_MAX_BYTES], const struct value *value, size_t at)
{
	snprintf(name, CONFIG_NAME_MAX_BYTES, "%s[%zu]", value->name, at);
}

/* Of the items as written: one that was refused is there all the same. */
static void check_count(struct reader *reader, const struct value *value, size_t count)
{
	char why[CONFIG_WHY_BYTES];

	if (!reader->broken && !config_value_count_fits(value->entry, count, why))
		config_report(reader->error, &value->place, value->name, "%s", why);
}

static void read_strings(struct reader *reader, const struct value *value)
{
	struct config_strings *strings = value->field;
	size_t count = 0;
	char why[CONFIG_WHY_BYTES], name[CONFIG_NAME_MAX_BYTES];

	for (; !reader->broken && reader->event.type != YAML_SEQUENCE_END_EVENT; count++) {
		char *text;

		name_item(name, value, count);
		text = read_string(reader, name);
		if (text && !config_value_append(value->entry, strings, text, why))
			refuse(reader, name, why);
		free(text);
		skip(reader);
	}
	check_count(reader, value, count);
}

/* Of an entry that may be written so. */
static void read_single(struct reader *reader, const struct value *value)
{
	struct config_strings *strings = value->field;
	char why[CONFIG_WHY_BYTES];
	char *text = read_string(reader, value->name);

	if (text && *text && !config_value_append(value->entry, strings, text, why))
		refuse(reader, value->name, why);
	free(text);
	skip(reader);
}

static void read_map(struct reader *reader, const struct value *value)
{
	struct config_map *map = value->field;
	size_t count = 0;
	char why[CONFIG_WHY_BYTES];

	for (; !reader->broken && reader->event.type != YAML_MAPPING_END_EVENT; count++) {
		char *key, *text = NULL;

		key = is_scalar(reader) && !has_nul(reader)
			      ? config_copy(scalar_text(reader), strlen(scalar_text(reader)))
			      : NULL;
		if (!key)
			refuse(reader, value->name, "a key is not a word");
		skip(reader);
		if (key && !reader->broken)
			text = read_string(reader, value->name);
		if (text && !config_value_put(value->entry, map, key, text, why))
			refuse(reader, value->name, why);
		free(text);
		free(key);
		skip(reader);
	}
	check_count(reader, value, count);
}

static void read_section(struct reader *reader, struct config_target *target, const char *section);

static void read_list(struct reader *reader, const struct value *value)
{
	struct config_list *list = value->field;
	size_t count = 0;
	struct config_target *target = memory_zeroed(1, sizeof(*target));
	char why[CONFIG_WHY_BYTES], name[CONFIG_NAME_MAX_BYTES], prefix[CONFIG_NAME_MAX_BYTES + 1];

	for (; !reader->broken && reader->event.type != YAML_SEQUENCE_END_EVENT; count++) {
		struct config_place place = place_of(reader);
		void *item;

		name_item(name, value, count);
		snprintf(prefix, sizeof(prefix), "%s.", name);
		if (reader->event.type != YAML_MAPPING_START_EVENT) {
			refuse_type(reader, name, "a section");
			skip(reader);
			continue;
		}
		item = config_value_grow(value->entry, list, why);
		if (!item) {
			give_up(reader, why);
			break;
		}
		config_target_init(target, value->entry->table, item, prefix);
		read_section(reader, target, "");
		if (!reader->broken)
			config_target_check(target, &place, reader->error);
	}
	check_count(reader, value, count);
	free(target);
}

static void read_value(struct reader *reader, const struct value *value)
{
	enum config_type type = value->entry->type;
	yaml_event_type_t opening =
		type == CONFIG_MAP ? YAML_MAPPING_START_EVENT : YAML_SEQUENCE_START_EVENT;

	if (type == CONFIG_STRING) {
		read_text(reader, value);
		return;
	}
	if (type < CONFIG_STRINGS) {
		read_scalar(reader, value);
		return;
	}
	/* The file's list takes the default's place; one whose items are all comments is empty. */
	config_value_clear(value->entry, value->field);
	if (reader->event.type == opening) {
		advance(reader);
		if (type == CONFIG_STRINGS)
			read_strings(reader, value);
		else if (type == CONFIG_MAP)
			read_map(reader, value);
		else
			read_list(reader, value);
		advance(reader);
		return;
	}
	if (value->entry->single && is_scalar(reader) && !is_null(reader)) {
		read_single(reader, value);
		return;
	}
	if (!is_null(reader))
		refuse_type(reader, value->name, wanted(type));
	skip(reader);
}

static void refuse_second(struct reader *reader, const struct config_place *place, const char *name,
			  size_t line)
{
	config_report(reader->error, place, name, "written twice; the first is in line %zu", line);
	skip(reader);
}

static void read_entry(struct reader *reader, struct config_target *target, size_t at, bool file,
		       const struct config_place *place, const char *name)
{
	struct value value = {.entry = &target->table->entries[at],
			      .field = config_field(target, &target->table->entries[at]),
			      .name = name,
			      .place = place_of(reader)};

	if (target->lines[at]) {
		refuse_second(reader, place, name, target->lines[at]);
		return;
	}
	target->lines[at] = place->line;
	target->given[at] = true;
	if (file)
		read_secret_file(reader, &value);
	else
		read_value(reader, &value);
}

static uint32_t section_bit(const char *section)
{
	unsigned depth = 0;

	for (; *section; section++)
		depth += *section == '.';
	return 1U << (depth < 31 ? depth : 31);
}

static void read_pair(struct reader *reader, struct config_target *target, const char *section)
{
	char name[CONFIG_NAME_MAX_BYTES + 1], full[2 * CONFIG_NAME_MAX_BYTES + 2];
	struct config_place place = place_of(reader);
	bool file, whole = is_scalar(reader) && !has_nul(reader);
	int length = 0, at;

	if (whole)
		length = snprintf(name, sizeof(name), "%s%s%s", section, *section ? "." : "",
				  scalar_text(reader));
	else
		refuse(reader, NULL, "a key is not a word");
	skip(reader);
	if (!whole || reader->broken) {
		skip(reader);
		return;
	}
	snprintf(full, sizeof(full), "%s%s", target->prefix, name);
	at = config_table_find(target->table, name, &file);
	if (at >= 0 && length < (int)sizeof(name)) {
		read_entry(reader, target, (size_t)at, file, &place, full);
		return;
	}
	at = config_table_section(target->table, name);
	if (at < 0 || length >= (int)sizeof(name)) {
		config_report_unknown(reader->error, &place, target, name);
		skip(reader);
		return;
	}
	if (target->sections[at] & section_bit(name)) {
		config_report(reader->error, &place, full,
			      "written twice; sections are written once");
		skip(reader);
		return;
	}
	target->sections[at] |= section_bit(name);
	if (reader->event.type == YAML_MAPPING_START_EVENT) {
		read_section(reader, target, name);
		return;
	}
	if (!is_null(reader))
		refuse_type(reader, full, "a section");
	skip(reader);
}

static void read_section(struct reader *reader, struct config_target *target, const char *section)
{
	advance(reader);
	while (!reader->broken && reader->event.type != YAML_MAPPING_END_EVENT)
		read_pair(reader, target, section);
	advance(reader);
}

static void read_document(struct reader *reader, struct config_target *target)
{
	advance(reader);
	assert(reader->broken || reader->event.type == YAML_STREAM_START_EVENT);
	advance(reader);
	if (reader->broken || reader->event.type == YAML_STREAM_END_EVENT)
		return;
	advance(reader);
	if (reader->event.type == YAML_MAPPING_START_EVENT) {
		read_section(reader, target, "");
	} else {
		if (!reader->broken && !is_null(reader))
			refuse_type(reader, NULL, "sections");
		skip(reader);
	}
	advance(reader);
	if (!reader->broken && reader->event.type != YAML_STREAM_END_EVENT)
		give_up(reader, "a second document; a configuration is one");
}

static int read_all(struct reader *reader, const char *text, size_t length,
		    struct config_target *target)
{
	int result = yaml_parser_initialize(&reader->parser);

	assert(result == 1);
	yaml_parser_set_encoding(&reader->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&reader->parser, (const unsigned char *)text, length);
	read_document(reader, target);
	yaml_event_delete(&reader->event);
	yaml_parser_delete(&reader->parser);
	return reader->broken ? -EINVAL : 0;
}

int config_file_load(const char *path, struct config_target *target, struct config_error *error)
{
	struct reader reader = {.path = path, .error = error};
	struct config_place place = {.origin = path};
	char *text;
	size_t length;
	int result = config_read_file(path, CONFIG_FILE_MAX_BYTES, &text, &length);

	if (result == -EFBIG)
		config_report(error, &place, NULL,
			      "more than the %d bytes that a configuration may have",
			      CONFIG_FILE_MAX_BYTES);
	else if (result < 0)
		config_report(error, &place, NULL, "cannot read: %s", strerror(-result));
	if (result < 0)
		return result;
	result = read_all(&reader, text, length, target);
	explicit_bzero(text, length); /* it may hold secrets */
	free(text);
	return result;
}

int config_text_load(const char *origin, const char *text, size_t length,
		     struct config_target *target, struct config_error *error)
{
	struct reader reader = {.path = origin, .error = error, .foreign = true};

	return read_all(&reader, text, length, target);
}

bool config_begins_with(const char *text, size_t length, const char *key)
{
	static const yaml_event_type_t opening[] = {YAML_STREAM_START_EVENT,
						    YAML_DOCUMENT_START_EVENT,
						    YAML_MAPPING_START_EVENT, YAML_SCALAR_EVENT};
	yaml_parser_t parser;
	yaml_event_t event;
	bool begins = yaml_parser_initialize(&parser) == 1;

	assert(begins);
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
	for (size_t i = 0; i < sizeof(opening) / sizeof(opening[0]) && begins; i++) {
		begins = yaml_parser_parse(&parser, &event) && event.type == opening[i];
		if (begins && event.type == YAML_SCALAR_EVENT)
			begins = strcmp((const char *)event.data.scalar.value, key) == 0;
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	return begins;
}
