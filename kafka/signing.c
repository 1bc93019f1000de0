#include "kafka/signing.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define KEY(member) CONFIG_FIELD(struct signing_key, member)

static const struct config_entry key_entries[] = {
	{.name = "id",
	 .type = CONFIG_STRING,
	 KEY(id),
	 .required = true,
	 .min = "1",
	 .max = "32",
	 .help = "Its name in the batches, of letters, digits and ._-"},
	{.name = "secret",
	 .type = CONFIG_STRING,
	 KEY(secret),
	 .secret = true,
	 .required = true,
	 .min = "16",
	 .max = "1024",
	 .help = "The key."},
};

const struct config_table signing_key_table = {
	.entries = key_entries,
	.count = sizeof(key_entries) / sizeof(key_entries[0]),
	.size = sizeof(struct signing_key),
};

__attribute__((format(printf, 3, 4))) static int refuse(char why[CONFIG_ERROR_BYTES], int error,
							const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(why, CONFIG_ERROR_BYTES, format, arguments);
	va_end(arguments);
	return error;
}

static int add_keys(const struct signing_options *options, struct keys *keys,
		    char why[CONFIG_ERROR_BYTES])
{
	const struct signing_key *items = options->keys.items;
	for (size_t i = 0; i < options->keys.count; i++) {
		int error = keys_add(keys, items[i].id, items[i].secret, strlen(items[i].secret));
		if (error == -EEXIST)
			return refuse(why, -EINVAL, "keys[%zu].id: %s is given twice", i,
				      items[i].id);
		if (error)
			return refuse(why, -EINVAL,
				      "keys[%zu].id: at most %d letters, digits and ._- are wanted",
				      i, KEYS_ID_MAX);
	}
	if (options->key && keys_add(keys, "", options->key, strlen(options->key)))
		return refuse(why, -EINVAL, "key: at least %d bytes are wanted", KEYS_SECRET_MIN);
	return 0;
}

static int revoke(struct keys *keys, const char *node, char why[CONFIG_ERROR_BYTES])
{
	if (keys_revoke(keys, node) == 0)
		return 0;
	return refuse(why, -EINVAL, "revoked: more than %d nodes", KEYS_REVOKED_MAX);
}

static int revoke_file(const char *path, struct keys *keys, char why[CONFIG_ERROR_BYTES])
{
	FILE *file = fopen(path, "re");
	char line[512];
	int error = 0;
	if (!file)
		return refuse(why, -errno, "revoked_path: cannot read %s: %s", path,
			      strerror(errno));
	while (!error && fgets(line, sizeof(line), file)) {
		char *node = line + strspn(line, " \t");
		node[strcspn(node, " \t\r\n#")] = 0;
		if (node[0])
			error = revoke(keys, node, why);
	}
	if (!error && ferror(file))
		error = refuse(why, -EIO, "revoked_path: cannot read %s", path);
	fclose(file);
	return error;
}

int signing_keys(const struct signing_options *options, struct keys **out,
		 char why[CONFIG_ERROR_BYTES])
{
	struct keys *keys = keys_new();
	int error = add_keys(options, keys, why);
	for (size_t i = 0; i < options->revoked.count && !error; i++)
		error = revoke(keys, options->revoked.items[i], why);
	if (!error && options->revoked_path)
		error = revoke_file(options->revoked_path, keys, why);
	if (!error && (options->revoked.count || options->revoked_path) && !keys_count(keys))
		error = refuse(why, -EINVAL,
			       "revoked: without key or keys anybody may use any node's name");
	if (error)
		keys_free(keys);
	else
		*out = keys;
	return error;
}

int signing_reload(const struct config_table *table, const struct config_sources *sources,
		   size_t offset, struct keys **out, char why[CONFIG_ERROR_BYTES])
{
	struct config_error *problem = memory_zeroed(1, sizeof(*problem));
	char *loaded = memory_zeroed(1, table->size);
	int error = config_load(table, sources, loaded, problem);
	if (error)
		refuse(why, error, "%s", problem->text);
	else
		error = signing_keys((struct signing_options *)(loaded + offset), out, why);
	config_free(table, loaded);
	free(loaded);
	free(problem);
	return error;
}
