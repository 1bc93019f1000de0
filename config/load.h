/* What the loading of one configuration keeps: which entry was given where, and the
 * problems found. */
#pragma once

#include "config/value.h"

struct config_place {
	const char *origin;  /* the file's path, a variable's name, a flag */
	size_t line, column; /* from 1; 0: none */
};

/* A table's struct being filled. */
struct config_target {
	const struct config_table *table;
	void *out;
	const char *prefix;		  /* of its entries in messages: "alerts.receivers[2]." */
	size_t lines[CONFIG_ENTRIES_MAX]; /* the file's line that gave the entry; 0: none did */
	uint32_t sections[CONFIG_ENTRIES_MAX]; /* bit d: the file had the section that is the first
						* d + 1 words of this entry's name, of which this
						* entry is the first */
	bool given[CONFIG_ENTRIES_MAX];	       /* by any source */
};

/* One problem: "origin:line:column: name: what". name may be NULL. */
void config_report(struct config_error *error, const struct config_place *place, const char *name,
		   const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same of a name that no entry has, with the nearest that one has. */
void config_report_unknown(struct config_error *error, const struct config_place *place,
			   const struct config_target *target, const char *name);

void config_target_init(struct config_target *target, const struct config_table *table, void *out,
			const char *prefix);
/* Reports the required entries that nobody gave. */
void config_target_check(const struct config_target *target, const struct config_place *place,
			 struct config_error *error);
static inline void *config_field(const struct config_target *target,
				 const struct config_entry *entry)
{
	return (char *)target->out + entry->offset;
}
/* The index of the entry called name; as a secret's <name>_file too, which *file then tells. -1:
 * none. */
int config_table_find(const struct config_table *table, const char *name, bool *file);
/* The first entry within the section, -1 if it has none. */
int config_table_section(const struct config_table *table, const char *section);

/* Fills the target from YAML. 0 or -EINVAL, or -errno. */
int config_file_load(const char *path, struct config_target *target, struct config_error *error);
int config_text_load(const char *origin, const char *text, size_t length,
		     struct config_target *target, struct config_error *error);
