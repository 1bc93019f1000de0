/* The keys that batches are signed with, as both programs configure them, and how a configuration
 * that changes is read again: SIGNING_RELOAD_MS after it changed, or at SIGHUP. What is wrong with
 * it then is told, and the keys that were stay. */
#pragma once

#include "agent/batch/keys.h"
#include "config/config.h"

enum { SIGNING_RELOAD_MS = 2000 }; /* a revoked node is out within 5 s: this, and a second a task */

struct signing_options {
	char *key;
	struct config_list keys;       /* of struct signing_key */
	struct config_strings revoked; /* millraced alone */
	char *revoked_path;	       /* likewise */
};

struct signing_key {
	char *id, *secret;
};

extern const struct config_table signing_key_table;

/* `keys` in their order, then `key` with the empty id. 0; or -EINVAL, or the -errno of the file of
 * revoked nodes, with why. */
int signing_keys(const struct signing_options *options, struct keys **out,
		 char why[CONFIG_ERROR_BYTES]);

/* The same of the configuration as it is now; offset: of the struct signing_options in the
 * program's struct. */
int signing_reload(const struct config_table *table, const struct config_sources *sources,
		   size_t offset, struct keys **out, char why[CONFIG_ERROR_BYTES]);

#define SIGNING_KEY_ENTRIES(whole, member)                                                       \
	{.name = "key",                                                                          \
	 .type = CONFIG_STRING,                                                                  \
	 CONFIG_FIELD(whole, member.key),                                                        \
	 .secret = true,                                                                         \
	 .min = "16",                                                                            \
	 .max = "1024",                                                                          \
	 .help = "The deployment's key: agents sign batches with keys derived from it for each " \
		 "node, and the pipeline refuses others. Without keys nothing is signed or "     \
		 "checked. Read again when it changes, as `keys` are."},                         \
	{                                                                                        \
		.name = "keys", .type = CONFIG_LIST, CONFIG_FIELD(whole, member.keys),           \
		.table = &signing_key_table, .max = "7",                                         \
		.help = "Keys while they are rotated: the first signs, all are accepted, `key` " \
			"too."                                                                   \
	}

#define SIGNING_REVOKED_ENTRIES(whole, member)                                                  \
	{.name = "revoked",                                                                     \
	 .type = CONFIG_STRINGS,                                                                \
	 CONFIG_FIELD(whole, member.revoked),                                                   \
	 .max = "4096",                                                                         \
	 .help = "Nodes whose batches are refused, however they are signed; within 5 s of the " \
		 "change."},                                                                    \
	{                                                                                       \
		.name = "revoked_path", .type = CONFIG_STRING,                                  \
		CONFIG_FIELD(whole, member.revoked_path), .min = "1",                           \
		.help = "A file with more of them, one a line; # begins a comment."             \
	}
