/* What the readers of the several kinds share: an object in the making, and how its texts, times
 * and addresses are taken. Private to kube/; as kube/object.h. */
#pragma once

#include "kube/field.h"
#include "kube/object.h"

enum {
	KUBE_OWN_MAX = 8, /* labels kept beside those asked for; so of annotations */
	/* A slice of endpoints whose every text is of the longest takes less. */
	KUBE_TEXT_BYTES = 2 << 20,
};

/* Which labels, or annotations, are kept: patterns of others, names of ours. */
struct kube_wish {
	const char *const *asked, *const *own;
	size_t asked_count, own_count;
};

struct kube_kept {
	struct kube_pair pairs[KUBE_LABELS_MAX + KUBE_OWN_MAX];
	uint32_t count, asked; /* how many are; how many of them were asked for */
};

struct kube_reader {
	struct kube_wish labels_wish, annotations_wish;
	struct kube_reader_stats stats;
	struct kube_object object;
	bool broken; /* something within the object is not protobuf */
	size_t text_length;
	char *text; /* pages that no object needed take no memory */
	struct kube_kept labels, annotations;
	struct kube_owner owners[KUBE_OWNERS_MAX];
	struct kube_condition conditions[KUBE_CONDITIONS_MAX];
	struct kube_container containers[KUBE_CONTAINERS_MAX];
	struct address addresses[KUBE_ADDRESSES_MAX];
	struct kube_port ports[KUBE_PORTS_MAX];
	struct kube_endpoint endpoints[KUBE_ENDPOINTS_MAX];
};

/* As kube_field_next; what is no field makes the object none. */
bool kube_reader_next(struct kube_reader *reader, struct kube_cursor *cursor,
		      struct kube_field *field);
/* The field of that number, where it is the only one of interest: of several the last counts, as
 * protobuf has it; empty if there is none. */
struct kube_field kube_reader_only(struct kube_reader *reader, const struct kube_field *message,
				   uint32_t number);
/* Lasts as long as the object. */
const char *kube_reader_text(struct kube_reader *reader, const struct kube_field *field);
/* Of a meta.v1.Time. What lies before 1970 or far ahead is no time: 0. */
uint64_t kube_reader_time(struct kube_reader *reader, const struct kube_field *message);
/* Whether one more fits; counted where it does not. */
bool kube_reader_room(struct kube_reader *reader, uint32_t count, uint32_t most);
/* Adds it unless it is there: an address is told in more than one place. */
void kube_reader_address(struct kube_reader *reader, struct address *addresses, uint32_t *count,
			 uint32_t most, const struct kube_field *field);
/* Of a pod or a node. */
void kube_reader_condition(struct kube_reader *reader, const struct kube_field *message,
			   uint32_t *count);

/* What stands beside a pod's metadata (kube/pod.c). */
void kube_reader_pod(struct kube_reader *reader, const struct kube_field *field);
