/* What a container runtime says of one container. All texts lie one after another in one block, so
 * that a description is as small as what it says; it is cleaned as it is put in. Plain data; any
 * thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/container.h"

enum {
	DESCRIPTION_LABELS_MAX = 32,
	DESCRIPTION_TEXT_BYTES = 8192,
	DESCRIPTION_WORD_BYTES = 256, /* of a field, a label's key or value, with the NUL */
	DESCRIPTION_TASK_BYTES = 65,
};

enum description_field {
	DESCRIPTION_NAME,
	DESCRIPTION_IMAGE,
	DESCRIPTION_POD,
	DESCRIPTION_NAMESPACE,
	DESCRIPTION_WORKLOAD,
	DESCRIPTION_VERSION,
	DESCRIPTION_POD_UID,
	DESCRIPTION_RUNTIME,
	DESCRIPTION_SERVICE, /* of ECS, as the task's endpoint tells: the workload, too */
	DESCRIPTION_FIELDS,
};

struct description {
	char id[CONTAINER_ID_BYTES];
	uint16_t fields[DESCRIPTION_FIELDS]; /* places in text; 0: empty */
	uint16_t keys[DESCRIPTION_LABELS_MAX], values[DESCRIPTION_LABELS_MAX];
	uint16_t labels_count;
	uint16_t left_out; /* labels for which there was no room */
	uint16_t text_bytes;
	uint32_t oom_kills;		   /* of an event: that it tells of */
	bool partial;			   /* its task's endpoint did not answer yet */
	bool inspected;			   /* by all that its runtime knows, not by labels alone */
	char task[DESCRIPTION_TASK_BYTES]; /* whom ECS's endpoint is asked for; of an inspection */
	char text[DESCRIPTION_TEXT_BYTES]; /* begins with an empty one */
};

/* Which labels are told: those whose key begins with one of these; none: all. */
struct label_choice {
	const char *const *prefixes;
	size_t count;
};

void description_init(struct description *description, const char *id);
/* NULL or no text left: what it was. */
void description_set(struct description *description, enum description_field field,
		     const char *text);
const char *description_get(const struct description *description, enum description_field field);
/* A label; those that say what a field holds set it too, chosen or not. */
void description_label(struct description *description, const struct label_choice *choice,
		       const char *key, const char *value);
/* Sets the field that this label or annotation names. False: it names none. */
bool description_known(struct description *description, const char *key, const char *value);
/* As small as its text; free() it. */
struct description *description_copy(const struct description *description);
