/* The bytes up to the first NUL are a flag's name=value, the rest is the file. What is accepted
 * must print and free; what is refused must leave nothing. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/config.h"

struct leaf {
	char *secret;
	double share;
	struct config_map map;
};

struct tree {
	struct config_strings strings;
	uint64_t number, duration_ns, size_bytes;
	uint32_t choice;
	bool flag;
	char *text;
	struct config_list leaves;
};

static const char *const choices[] = {"a", "b", NULL};
static const struct config_entry leaf_entries[] = {
	{.name = "s",
	 .type = CONFIG_STRING,
	 CONFIG_FIELD(struct leaf, secret),
	 .secret = true,
	 .help = "S."},
	{.name = "d.e",
	 .type = CONFIG_DOUBLE,
	 CONFIG_FIELD(struct leaf, share),
	 .max = "9",
	 .help = "D."},
	{.name = "d.m", .type = CONFIG_MAP, CONFIG_FIELD(struct leaf, map), .help = "M."},
};
static const struct config_table leaf_table = {
	.entries = leaf_entries, .count = 3, .size = sizeof(struct leaf)};
static const struct config_entry tree_entries[] = {
	{.name = "l",
	 .type = CONFIG_STRINGS,
	 CONFIG_FIELD(struct tree, strings),
	 .fallback = "x,y",
	 .help = "L."},
	{.name = "k.n",
	 .type = CONFIG_UINT,
	 CONFIG_FIELD(struct tree, number),
	 .min = "0",
	 .max = "9",
	 .help = "N."},
	{.name = "k.d",
	 .type = CONFIG_DURATION,
	 CONFIG_FIELD(struct tree, duration_ns),
	 .max = "9d",
	 .help = "D."},
	{.name = "k.b", .type = CONFIG_SIZE, CONFIG_FIELD(struct tree, size_bytes), .help = "B."},
	{.name = "c",
	 .type = CONFIG_ENUM,
	 CONFIG_FIELD(struct tree, choice),
	 .choices = choices,
	 .help = "C."},
	{.name = "f", .type = CONFIG_BOOL, CONFIG_FIELD(struct tree, flag), .help = "F."},
	{.name = "t", .type = CONFIG_STRING, CONFIG_FIELD(struct tree, text), .help = "T."},
	{.name = "v",
	 .type = CONFIG_LIST,
	 CONFIG_FIELD(struct tree, leaves),
	 .table = &leaf_table,
	 .help = "V."},
};
static const struct config_table tree_table = {
	.program = "fuzz", .entries = tree_entries, .count = 8, .size = sizeof(struct tree)};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static const struct tree zero;
	static struct config_error error;
	size_t flag_length = strnlen((const char *)bytes, length);
	size_t skip = flag_length < length ? flag_length + 1 : length;
	char *flag = strndup((const char *)bytes, flag_length), path[64];
	struct config_setting setting = {.value = flag, .origin = "--set"};
	struct config_sources sources = {
		.path = path, .settings = &setting, .settings_count = flag_length > 0};
	int file = memfd_create("config", MFD_CLOEXEC);
	struct tree tree;
	ssize_t wrote = write(file, bytes + skip, length - skip);

	assert(wrote == (ssize_t)(length - skip));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	if (config_load(&tree_table, &sources, &tree, &error) == 0) {
		FILE *nowhere = fopen("/dev/null", "w");

		assert(nowhere && error.count == 0);
		config_print_effective(nowhere, &tree_table, &tree);
		fclose(nowhere);
		config_free(&tree_table, &tree);
	} else {
		assert(error.count > 0 && error.length == strlen(error.text) && error.length > 0);
	}
	assert(memcmp(&tree, &zero, sizeof(zero)) == 0);
	close(file);
	free(flag);
	return 0;
}
