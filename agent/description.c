#include "agent/description.h"

#include <stdlib.h>
#include <string.h>

#include "agent/text.h"
#include "base/memory.h"

/* Labels and annotations that have a field of their own. Of two for one field the later in this
 * table wins. */
static const struct {
	const char *key;
	enum description_field field;
} known[] = {
	{"nerdctl/name", DESCRIPTION_NAME},
	{"com.docker.stack.namespace", DESCRIPTION_NAMESPACE},
	{"com.docker.swarm.service.name", DESCRIPTION_WORKLOAD},
	{"com.docker.compose.project", DESCRIPTION_NAMESPACE},
	{"com.docker.compose.service", DESCRIPTION_WORKLOAD},
	{"com.amazonaws.ecs.cluster", DESCRIPTION_NAMESPACE},
	{"com.amazonaws.ecs.task-definition-family", DESCRIPTION_WORKLOAD},
	{"com.amazonaws.ecs.container-name", DESCRIPTION_NAME},
	{"io.kubernetes.container.name", DESCRIPTION_NAME},
	{"io.kubernetes.pod.name", DESCRIPTION_POD},
	{"io.kubernetes.pod.namespace", DESCRIPTION_NAMESPACE},
	{"io.kubernetes.pod.uid", DESCRIPTION_POD_UID},
	{"io.kubernetes.cri.container-name", DESCRIPTION_NAME},
	{"io.kubernetes.cri.image-name", DESCRIPTION_IMAGE},
	{"io.kubernetes.cri.sandbox-name", DESCRIPTION_POD},
	{"io.kubernetes.cri.sandbox-namespace", DESCRIPTION_NAMESPACE},
	{"io.kubernetes.cri.sandbox-uid", DESCRIPTION_POD_UID},
	{"io.kubernetes.cri-o.ImageName", DESCRIPTION_IMAGE},
	{"org.opencontainers.image.version", DESCRIPTION_VERSION},
	{"app.kubernetes.io/version", DESCRIPTION_VERSION},
};

void description_init(struct description *description, const char *id)
{
	memset(description, 0, offsetof(struct description, text));
	text_clean(description->id, sizeof(description->id), id, strlen(id));
	description->text[0] = 0;
	description->text_bytes = 1;
}

/* Its place; 0: empty, or no room. */
static uint16_t put(struct description *description, const char *text)
{
	size_t room = sizeof(description->text) - description->text_bytes, length = strlen(text);
	uint16_t place = description->text_bytes;
	if (!length || room < 2)
		return 0;
	size_t size = room < DESCRIPTION_WORD_BYTES ? room : DESCRIPTION_WORD_BYTES;
	if (length >= size && size < DESCRIPTION_WORD_BYTES)
		return 0; /* cut for want of room it would be another's name */
	length = text_clean(description->text + place, size, text, length);
	if (!length)
		return 0;
	description->text_bytes = (uint16_t)(place + length + 1);
	return place;
}

void description_set(struct description *description, enum description_field field,
		     const char *text)
{
	uint16_t place = text ? put(description, text) : 0;
	if (place)
		description->fields[field] = place;
}

const char *description_get(const struct description *description, enum description_field field)
{
	return description->text + description->fields[field];
}

/* An ARN's last part: of ECS's clusters the name. */
static const char *short_name(const char *key, const char *value)
{
	const char *slash = strrchr(value, '/');
	return slash && strcmp(key, "com.amazonaws.ecs.cluster") == 0 ? slash + 1 : value;
}

bool description_known(struct description *description, const char *key, const char *value)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i].key, key) != 0)
			continue;
		if (strcmp(key, "org.opencontainers.image.version") != 0 ||
		    !description->fields[DESCRIPTION_VERSION])
			description_set(description, known[i].field, short_name(key, value));
		if (strncmp(key, "com.amazonaws.ecs.", 18) == 0)
			description_set(description, DESCRIPTION_RUNTIME, "ecs");
		return true;
	}
	return false;
}

static bool is_chosen(const struct label_choice *choice, const char *key)
{
	for (size_t i = 0; i < choice->count; i++)
		if (strncmp(key, choice->prefixes[i], strlen(choice->prefixes[i])) == 0)
			return true;
	return choice->count == 0;
}

void description_label(struct description *description, const struct label_choice *choice,
		       const char *key, const char *value)
{
	description_known(description, key, value);
	if (!is_chosen(choice, key) || !key[0])
		return;
	uint16_t before = description->text_bytes, n = description->labels_count;
	uint16_t key_place = n < DESCRIPTION_LABELS_MAX ? put(description, key) : 0;
	uint16_t value_place = key_place ? put(description, value) : 0;
	if (!key_place || (!value_place && value[0])) {
		description->text_bytes = before;
		description->left_out++;
		return;
	}
	description->keys[n] = key_place;
	description->values[n] = value_place;
	description->labels_count++;
}

struct description *description_copy(const struct description *description)
{
	size_t bytes = offsetof(struct description, text) + description->text_bytes;
	return memcpy(memory_zeroed(bytes, 1), description, bytes);
}
