/* One table describes a program's configuration: name, type, default, range, unit, help. A YAML
 * file, the environment and flags fill a C struct by it, and --help, --print-defaults and the
 * reference in the docs are printed from it, so they cannot disagree.
 *
 * A later source wins: default < file < environment < flag. A configuration is taken whole or not
 * at all: every problem found is reported with its place, and the struct is left empty. Strings in
 * the struct are its own.
 *
 * In the file, sections nest (kafka: {brokers: [...]}) or are written dotted (kafka.brokers:
 * [...]); ${NAME} in a string, in an item of a list of strings or in a map's value is the
 * environment's NAME, $${ is a plain ${. Anchors, aliases, tags and second documents are refused:
 * what is written is what is meant. A secret `x` may be given as `x_file`, a path (a relative one
 * starts at the file's folder) whose content without its last newline is the value; it is never
 * printed.
 *
 * The environment's name for kafka.brokers is <env_prefix>KAFKA_BROKERS; scalars and lists of
 * strings (comma between) only. An empty variable counts as unset, and one that no entry has is
 * ignored: Kubernetes itself sets MILLRACE_SERVICE_HOST and MILLRACE_PORT beside a service called
 * millrace (so name no entry `port`).
 *
 * Bounds: below; what is beyond one is a problem like any other. Pure but for the file, the
 * secrets' files and getenv: any thread, as long as none changes the environment meanwhile. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	CONFIG_FILE_MAX_BYTES =
		1 << 20, /* thousands of receivers; a larger file is not a configuration */
	CONFIG_STRING_MAX_BYTES =
		1 << 16, /* a certificate chain fits; also after ${} and for secrets' files */
	CONFIG_ITEMS_MAX = 4096,     /* in one list or map */
	CONFIG_DEPTH_MAX = 12,	     /* of sections and lists within each other, in the file */
	CONFIG_ENTRIES_MAX = 256,    /* of one table */
	CONFIG_NAME_MAX_BYTES = 128, /* dotted */
	CONFIG_ERRORS_MAX = 20,	     /* told; more are only counted */
	CONFIG_ERROR_BYTES = 512,    /* of one of them; cut */
};

enum config_type {
	CONFIG_BOOL,	 /* bool: true or false */
	CONFIG_UINT,	 /* uint64_t: decimal */
	CONFIG_DURATION, /* uint64_t, ns: 0, or a whole number and ns, us, ms, s, m, h or d */
	CONFIG_SIZE,   /* uint64_t, bytes: a whole number alone or with B, kB, MB, GB, TB, KiB, MiB,
			  GiB, TiB */
	CONFIG_DOUBLE, /* double, finite */
	CONFIG_STRING, /* char *; NULL when there is neither value nor default */
	CONFIG_ENUM,   /* uint32_t: the index in choices */
	CONFIG_STRINGS, /* struct config_strings */
	CONFIG_MAP,	/* struct config_map */
	CONFIG_LIST,	/* struct config_list, of the structs that `table` describes */
};

struct config_strings {
	char **items;
	size_t count;
};

struct config_pair {
	char *key, *value;
};

struct config_map {
	struct config_pair *items; /* in the file's order */
	size_t count;
};

struct config_list {
	void *items; /* count structs of the sub-table's size */
	size_t count;
};

struct config_table;

struct config_entry {
	const char
		*name; /* dotted, lower case: kafka.brokers. A section's entries stand together. */
	enum config_type type;
	size_t offset, size;   /* of the field: CONFIG_FIELD */
	const char *fallback;  /* the default as a flag would say it; NULL: none (0, NULL, empty).
				  Not for maps, lists */
	const char *min, *max; /* of the value as text; of a string its bytes, of lists and maps
				  their items */
	const char *unit; /* for the reader, of CONFIG_UINT and CONFIG_DOUBLE: "rows", "flows/s" */
	const char *help; /* whole sentences */
	const char *const *choices; /* CONFIG_ENUM: NULL at the end */
	bool secret; /* CONFIG_STRING, CONFIG_STRINGS and CONFIG_MAP; <name>_file for CONFIG_STRING
		      */
	bool single; /* CONFIG_STRINGS: one string is a list of one, an empty
			one of none */
	bool required;			  /* some source must give it; no fallback */
	const struct config_table *table; /* CONFIG_LIST */
};

/* {.name = "kafka.linger", .type = CONFIG_DURATION, CONFIG_FIELD(struct settings, linger_ns), ...}
 */
#define CONFIG_FIELD(whole, member) \
	.offset = offsetof(whole, member), .size = sizeof(((whole *)0)->member)

struct config_table {
	const char *program;	/* "millraced"; top table only */
	const char *env_prefix; /* "MILLRACE_"; NULL: no environment; top table only */
	const struct config_entry *entries;
	size_t count;
	size_t size; /* of the struct */
};

/* One flag. */
struct config_setting {
	const char *name; /* NULL: value is name=value, as --set has it */
	const char *value;
	const char *origin; /* "--set", "--log-level": what a problem is reported as */
};

struct config_sources {
	const char *path; /* NULL: no file */
	const struct config_setting *settings;
	size_t settings_count;
};

struct config_error {
	size_t count; /* of all problems; text tells the first CONFIG_ERRORS_MAX, a line each, no
			 newline at the end */
	size_t length;
	char text[(CONFIG_ERRORS_MAX + 1) * CONFIG_ERROR_BYTES];
};

/* Fills *out, whatever it held (give a struct to config_free before it is filled again). 0; or
 * -EINVAL, or the -errno with which the file could not be read, with *error told and *out zeroed.
 */
int config_load(const struct config_table *table, const struct config_sources *sources, void *out,
		struct config_error *error);

/* The same of a text that somebody else sent, who is told of problems as of the file `origin`: no
 * environment, ${} is plain text, and the table has no secrets. */
int config_read(const struct config_table *table, const char *origin, const char *text,
		size_t length, void *out, struct config_error *error);

/* Whether the text is a mapping whose first key is this. */
bool config_begins_with(const char *text, size_t length, const char *key);

/* Frees what *out owns and zeroes it. */
void config_free(const struct config_table *table, void *out);

void config_print_help(FILE *file, const struct config_table *table); /* for --help */
void config_print_defaults(FILE *file,
			   const struct config_table *table); /* a commented file that loads */
void config_print_markdown(FILE *file,
			   const struct config_table *table); /* for the docs: one table */

/* What is in force, as a file; secrets are <secret>. */
void config_print_effective(FILE *file, const struct config_table *table, const void *config);
