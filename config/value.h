/* The values of config.h: from text into a field of the struct, held to the entry's range, and back
 * to text. `why` receives what is wrong with a value, for the user; it never holds a secret. */
#pragma once

#include "config/config.h"

enum { CONFIG_WHY_BYTES = 320, CONFIG_TEXT_BYTES = 64 };

/* A scalar, or a list of strings with commas between. Replaces what the field holds. */
bool config_value_set(const struct config_entry *entry, void *field, const char *text,
		      char why[CONFIG_WHY_BYTES]);
/* A secret string, from the file at path. */
bool config_value_set_from(const struct config_entry *entry, void *field, const char *path,
			   char why[CONFIG_WHY_BYTES]);
bool config_value_append(const struct config_entry *entry, struct config_strings *strings,
			 const char *text, char why[CONFIG_WHY_BYTES]);
bool config_value_put(const struct config_entry *entry, struct config_map *map, const char *key,
		      const char *text, char why[CONFIG_WHY_BYTES]);
/* A new zeroed item at the list's end; NULL if it is full. */
void *config_value_grow(const struct config_entry *entry, struct config_list *list,
			char why[CONFIG_WHY_BYTES]);
/* Are a list's or map's items as many as the entry wants? */
bool config_value_count_fits(const struct config_entry *entry, size_t count,
			     char why[CONFIG_WHY_BYTES]);
void config_value_clear(const struct config_entry *entry, void *field);

/* The shortest text that reads back as the same value; CONFIG_BOOL .. CONFIG_DOUBLE and CONFIG_ENUM
 * only. */
void config_value_text(const struct config_entry *entry, const void *field,
		       char text[CONFIG_TEXT_BYTES]);
/* "duration", "list of strings" ... */
const char *config_type_name(enum config_type type);
/* What is read of a value in a message: cut, and nothing that could move a terminal's cursor. */
const char *config_shown(const char *text, char shown[CONFIG_TEXT_BYTES]);

/* The whole file, NUL-terminated, to free; or -errno, -EFBIG beyond bytes_max. */
int config_read_file(const char *path, size_t bytes_max, char **bytes, size_t *length);
char *config_copy(const char *text, size_t length);
