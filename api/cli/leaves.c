#include "api/cli/leaves.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "api/cli/csv.h"
#include "base/hash.h"
#include "base/memory.h"

enum { NAME_MAX_BYTES = 1024 };

/* Numbers, from 0, for byte strings in the order they come. The strings lie behind each other with
 * a NUL behind each, which is not theirs. */
struct dictionary {
	uint32_t *slots; /* numbers plus 1 by hash; 0: free */
	uint32_t slots_count, count;
	uint64_t *hashes;
	size_t *starts;
	size_t capacity;
	char *bytes;
	size_t length, room;
};

struct leaves {
	struct csv *csv;
	size_t columns[LOCALIZE_ATTRIBUTES_MAX], actual, expected;
	struct dictionary values[LOCALIZE_ATTRIBUTES_MAX], rows;
	double *actuals, *expecteds;
	uint32_t capacity;
	uint32_t *numbers; /* of the table's values */
	struct localize_leaves sheet;
	uint64_t unreadable, negative, repeated;
};

/* --- numbers for texts --- */

static void dictionary_done(struct dictionary *dictionary)
{
	memory_free(dictionary->slots);
	memory_free(dictionary->hashes);
	memory_free(dictionary->starts);
	memory_free(dictionary->bytes);
}

static void dictionary_grow(struct dictionary *dictionary)
{
	uint32_t size = dictionary->slots_count ? dictionary->slots_count * 2 : 64;

	memory_free(dictionary->slots);
	dictionary->slots = memory_zeroed(size, sizeof(*dictionary->slots));
	dictionary->slots_count = size;
	for (uint32_t i = 0; i < dictionary->count; i++) {
		uint32_t at = (uint32_t)dictionary->hashes[i] & (size - 1);

		while (dictionary->slots[at])
			at = (at + 1) & (size - 1);
		dictionary->slots[at] = i + 1;
	}
}

static void dictionary_append(struct dictionary *dictionary, const void *bytes, size_t length,
			      uint64_t hash)
{
	if (dictionary->count + 1 >= dictionary->capacity) {
		dictionary->capacity = memory_grown(dictionary->capacity, dictionary->count + 2);
		dictionary->hashes = memory_resize(dictionary->hashes, dictionary->capacity,
						   sizeof(*dictionary->hashes));
		dictionary->starts = memory_resize(dictionary->starts, dictionary->capacity,
						   sizeof(*dictionary->starts));
	}
	size_t end = dictionary->length + length;

	if (end + 1 > dictionary->room) {
		dictionary->room = memory_grown(dictionary->room, end + 1);
		dictionary->bytes = memory_resize(dictionary->bytes, dictionary->room, 1);
	}
	memcpy(dictionary->bytes + dictionary->length, bytes, length);
	dictionary->bytes[end] = '\0';
	dictionary->hashes[dictionary->count] = hash;
	dictionary->starts[dictionary->count++] = dictionary->length;
	dictionary->length = end + 1;
	dictionary->starts[dictionary->count] = dictionary->length;
}

static const char *dictionary_bytes(const struct dictionary *dictionary, uint32_t number,
				    size_t *length)
{
	*length = dictionary->starts[number + 1] - dictionary->starts[number] - 1;
	return dictionary->bytes + dictionary->starts[number];
}

static uint32_t dictionary_number(struct dictionary *dictionary, const void *bytes, size_t length)
{
	uint64_t hash = hash_bytes(bytes, length);

	if (dictionary->count * 2 >= dictionary->slots_count)
		dictionary_grow(dictionary);

	uint32_t at = (uint32_t)hash & (dictionary->slots_count - 1);

	for (; dictionary->slots[at]; at = (at + 1) & (dictionary->slots_count - 1)) {
		uint32_t number = dictionary->slots[at] - 1;
		size_t known_length;
		const char *known = dictionary_bytes(dictionary, number, &known_length);

		if (dictionary->hashes[number] == hash && known_length == length &&
		    memcmp(known, bytes, length) == 0)
			return number;
	}
	dictionary->slots[at] = dictionary->count + 1;
	dictionary_append(dictionary, bytes, length, hash);
	return dictionary->count - 1;
}

/* --- the file --- */

static int find_column(struct leaves *leaves, const char *name, size_t *column)
{
	int found = csv_find(leaves->csv, name);

	if (found < 0)
		return complain(STATUS_USAGE, "%s", csv_error(leaves->csv));
	*column = (size_t)found;
	return STATUS_DONE;
}

static int add_attribute(struct leaves *leaves, size_t column)
{
	if (column == leaves->actual || column == leaves->expected)
		return complain(STATUS_USAGE,
				"column \"%s\" is --actual or --expected, so it is no attribute",
				csv_name(leaves->csv, column));
	for (uint32_t i = 0; i < leaves->sheet.attributes; i++) {
		if (leaves->columns[i] == column)
			return complain(STATUS_USAGE, "--attributes names \"%s\" twice",
					csv_name(leaves->csv, column));
	}
	if (leaves->sheet.attributes == LOCALIZE_ATTRIBUTES_MAX)
		return complain(STATUS_USAGE,
				"more than %d attributes; choose some with --attributes a,b,c",
				LOCALIZE_ATTRIBUTES_MAX);
	leaves->columns[leaves->sheet.attributes++] = column;
	return STATUS_DONE;
}

/* All other columns. */
static int take_attributes(struct leaves *leaves)
{
	int status = STATUS_DONE;

	for (size_t i = 0; i < csv_columns(leaves->csv) && status == STATUS_DONE; i++) {
		if (i != leaves->actual && i != leaves->expected)
			status = add_attribute(leaves, i);
	}
	if (status == STATUS_DONE && leaves->sheet.attributes == 0)
		return complain(STATUS_USAGE, "there is no column beside --actual and --expected");
	return status;
}

/* a,b,c */
static int choose_attributes(struct leaves *leaves, const char *names)
{
	for (int status; *names; names += *names == ',') {
		char name[NAME_MAX_BYTES];
		size_t length = strcspn(names, ","), column = 0;

		snprintf(name, sizeof(name), "%.*s", (int)length, names);
		names += length;
		status = find_column(leaves, name, &column);
		if (status == STATUS_DONE)
			status = add_attribute(leaves, column);
		if (status != STATUS_DONE)
			return status;
	}
	if (leaves->sheet.attributes == 0)
		return complain(STATUS_USAGE, "--attributes names none");
	return STATUS_DONE;
}

static int read_header(struct leaves *leaves, const struct cli *cli)
{
	if (csv_read_header(leaves->csv) < 0)
		return complain(STATUS_FAILED, "%s", csv_error(leaves->csv));

	int status = find_column(leaves, cli->actual, &leaves->actual);

	if (status == STATUS_DONE)
		status = find_column(leaves, cli->expected, &leaves->expected);
	if (status != STATUS_DONE)
		return status;
	return cli->attributes ? choose_attributes(leaves, cli->attributes)
			       : take_attributes(leaves);
}

/* Whether the field is a number that can be used; else it is counted why not. */
static bool read_figure(struct leaves *leaves, size_t column, double *figure)
{
	const char *text = csv_field(leaves->csv, column);
	char *end;

	*figure = strtod(text, &end);
	end += strspn(end, " \t");
	if (end == text || *end || !isfinite(*figure)) {
		leaves->unreadable++;
		return false;
	}
	if (*figure < 0) {
		leaves->negative++;
		return false;
	}
	return true;
}

static void add_leaf(struct leaves *leaves, double actual, double expected)
{
	uint32_t numbers[LOCALIZE_ATTRIBUTES_MAX], row;

	for (uint32_t i = 0; i < leaves->sheet.attributes; i++) {
		const char *text = csv_field(leaves->csv, leaves->columns[i]);

		numbers[i] = dictionary_number(&leaves->values[i], text, strlen(text));
	}
	row = dictionary_number(&leaves->rows, numbers,
				leaves->sheet.attributes * sizeof(numbers[0]));
	if (row < leaves->sheet.count) {
		leaves->repeated++;
		leaves->actuals[row] += actual;
		leaves->expecteds[row] += expected;
		return;
	}
	if (leaves->sheet.count == leaves->capacity) {
		leaves->capacity =
			(uint32_t)memory_grown(leaves->capacity, leaves->sheet.count + 1);
		leaves->actuals =
			memory_resize(leaves->actuals, leaves->capacity, sizeof(*leaves->actuals));
		leaves->expecteds = memory_resize(leaves->expecteds, leaves->capacity,
						  sizeof(*leaves->expecteds));
	}
	leaves->actuals[leaves->sheet.count] = actual;
	leaves->expecteds[leaves->sheet.count++] = expected;
}

static int read_rows(struct leaves *leaves)
{
	int status;

	while ((status = csv_next(leaves->csv)) > 0) {
		double actual, expected;

		if (!read_figure(leaves, leaves->actual, &actual) ||
		    !read_figure(leaves, leaves->expected, &expected))
			continue;
		add_leaf(leaves, actual, expected);
		if (leaves->sheet.count > LOCALIZE_LEAVES_MAX)
			return complain(STATUS_FAILED,
					"more than %d leaves; name fewer --attributes, and rows "
					"that share them are summed",
					LOCALIZE_LEAVES_MAX);
	}
	if (status < 0)
		return complain(STATUS_FAILED, "%s", csv_error(leaves->csv));
	return STATUS_DONE;
}

static void tell_losses(const struct leaves *leaves)
{
	if (leaves->unreadable)
		fprintf(stderr, "%llu rows left out: actual or expected is no number.\n",
			(unsigned long long)leaves->unreadable);
	if (leaves->negative)
		fprintf(stderr, "%llu rows left out: actual or expected is negative.\n",
			(unsigned long long)leaves->negative);
	if (leaves->repeated)
		fprintf(stderr, "%llu rows added to others with the same attributes.\n",
			(unsigned long long)leaves->repeated);
}

/* The numbers of each leaf's values; rows are byte strings, so not aligned. */
static uint32_t *list_values(const struct leaves *leaves)
{
	uint32_t attributes = leaves->sheet.attributes;
	uint32_t *values =
		memory_resize(NULL, (size_t)leaves->sheet.count * attributes, sizeof(*values));

	for (uint32_t i = 0; i < leaves->sheet.count; i++) {
		size_t length;
		const char *numbers = dictionary_bytes(&leaves->rows, i, &length);

		memcpy(values + (size_t)i * attributes, numbers, length);
	}
	return values;
}

struct leaves *leaves_read(const struct cli *cli, FILE *file, int *status)
{
	struct leaves *leaves = memory_zeroed(1, sizeof(*leaves));

	leaves->csv = csv_new(file, cli->csv);
	*status = read_header(leaves, cli);
	if (*status == STATUS_DONE)
		*status = read_rows(leaves);
	if (*status == STATUS_DONE)
		tell_losses(leaves);
	if (*status == STATUS_DONE && leaves->sheet.count == 0)
		*status = complain(STATUS_FAILED, "%s has no row that can be used", cli->csv);
	if (*status != STATUS_DONE) {
		leaves_free(leaves);
		return NULL;
	}
	leaves->sheet.actual = leaves->actuals;
	leaves->sheet.expected = leaves->expecteds;
	leaves->sheet.values = leaves->numbers = list_values(leaves);
	return leaves;
}

void leaves_free(struct leaves *leaves)
{
	for (uint32_t i = 0; i < LOCALIZE_ATTRIBUTES_MAX; i++)
		dictionary_done(&leaves->values[i]);
	dictionary_done(&leaves->rows);
	memory_free(leaves->actuals);
	memory_free(leaves->expecteds);
	memory_free(leaves->numbers);
	csv_free(leaves->csv);
	memory_free(leaves);
}

const struct localize_leaves *leaves_table(const struct leaves *leaves)
{
	return &leaves->sheet;
}

const char *leaves_attribute(const struct leaves *leaves, uint32_t attribute)
{
	return csv_name(leaves->csv, leaves->columns[attribute]);
}

const char *leaves_value(const struct leaves *leaves, uint32_t leaf, uint32_t attribute)
{
	size_t length, at = (size_t)leaf * leaves->sheet.attributes + attribute;

	return dictionary_bytes(&leaves->values[attribute], leaves->numbers[at], &length);
}
