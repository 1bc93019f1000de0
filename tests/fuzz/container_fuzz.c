/* What container runtimes write as JSON: their answers, events and files, each read as the agent
 * reads it; and what they say put into the table twice, the second time with no news. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/containers.h"
#include "agent/ecs.h"
#include "agent/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check(void *context, const struct description *description)
{
	struct containers *containers = context;
	assert(strlen(description->id) == 64);
	assert(strlen(description->task) < sizeof(description->task));
	assert(description->text_bytes <= sizeof(description->text));
	assert(description->text[description->text_bytes - 1] == 0);
	assert(description->labels_count <= DESCRIPTION_LABELS_MAX);
	for (int i = 0; i < DESCRIPTION_FIELDS; i++)
		assert(description->fields[i] < description->text_bytes);
	for (int i = 0; i < description->labels_count; i++) {
		assert(description->text[description->keys[i]]);
		assert(strlen(description->text + description->keys[i]) < DESCRIPTION_WORD_BYTES);
		assert(description->values[i] < description->text_bytes);
	}
	containers_put(containers, description, 1);
	assert(!containers_put(containers, description, 2));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static const char *const prefixes[] = {"app", "io.kubernetes."};
	const struct label_choice choice = {prefixes, length % 3};
	static const char id[] = "3f4e5d6c7b8a99887766554433221100ffeeddccbbaa99887766554433221100";
	struct containers *containers = containers_new(2);
	struct description *out = malloc(sizeof(*out));
	char *text = malloc(length + !length);
	memcpy(text, bytes, length);
	if (manifest_inspect(text, length, &choice, out))
		check(containers, out);
	if (manifest_event(text, length, &choice, out))
		check(containers, out);
	manifest_list(text, length, &choice, out, check, containers);
	description_init(out, id);
	manifest_bundle(text, length, &choice, out);
	manifest_storage(text, length, out);
	check(containers, out);
	char service[DESCRIPTION_WORD_BYTES];
	ecs_answer(text, length, id, service);
	assert(strlen(service) < sizeof(service));
	free(text);
	free(out);
	containers_free(containers);
	return 0;
}
