/* The answers of an API server, taken apart as they come: a list's page into its objects, a watch
 * into its events. What is held is one object that has not come whole, at most object_bytes_max; a
 * larger one is passed over and counted. What cannot be an answer breaks the body: then nothing
 * more is read of it. Foreign bytes; one thread.
 *
 *	page   "k8s\0" Unknown{typeMeta 1, raw 2 = List{ListMeta 1, items 2}}
 *	watch  (length, 4 bytes big-endian; WatchEvent{type 1, object 2{raw 1 =
 *	       "k8s\0" Unknown{typeMeta 1, raw 2 = object}}})... */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	KUBE_VERSION_MAX = 64,	  /* bytes of a resourceVersion that is gone on from */
	KUBE_CONTINUE_MAX = 4096, /* of a page's token */
	KUBE_MESSAGE_MAX = 256,	  /* kept of what a Status says */
};

enum kube_event { KUBE_LISTED, KUBE_ADDED, KUBE_MODIFIED, KUBE_DELETED, KUBE_BOOKMARK, KUBE_ERROR };

struct kube_body_options {
	bool watch;
	size_t object_bytes_max;
	/* An object's message, or with KUBE_ERROR a Status's; lent. False: no more is wanted. */
	bool (*object)(void *context, enum kube_event event, const uint8_t *bytes, size_t length);
	void *context;
};

struct kube_body {
	struct kube_body_options options;
	int state;
	bool in_list;	    /* within List; else within what it is wrapped in */
	uint64_t list_left; /* bytes of List still to come */
	uint8_t head[24]; /* a tag with its number or length, or what a frame or page begins with */
	size_t head_length;
	uint32_t number; /* of the field that is being gathered */
	uint64_t wanted; /* its length; of one passed over what is left */
	uint8_t *gathered;
	size_t gathered_length, gathered_capacity;
	uint64_t oversized; /* objects that were passed over */
	uint64_t events;    /* objects and events that came */
	/* Of a page, once it is whole; empty: none. */
	char resource_version[KUBE_VERSION_MAX + 1];
	char next[KUBE_CONTINUE_MAX + 1];
};

void kube_body_init(struct kube_body *body, const struct kube_body_options *options);
void kube_body_done(struct kube_body *body);
/* False: it is broken, or no more was wanted. */
bool kube_body_push(struct kube_body *body, const uint8_t *bytes, size_t length);
/* Whether it may end here: a page that is whole, or a watch between two events. */
bool kube_body_is_whole(const struct kube_body *body);

/* What an API server says when it refuses, or ends a watch. */
struct kube_status {
	uint32_t code; /* as of HTTP */
	uint32_t retry_after_s;
	char message[KUBE_MESSAGE_MAX + 1];
};

/* From a Status's message; false: it is none. */
bool kube_status_read(const uint8_t *bytes, size_t length, struct kube_status *status);
/* From a whole answer's body: as above within its wrapping, else the beginning of its text. */
void kube_status_of_body(const uint8_t *bytes, size_t length, struct kube_status *status);
/* metadata.resourceVersion of any object; false: there is none, or a longer one. */
bool kube_version_of(const uint8_t *bytes, size_t length, char version[KUBE_VERSION_MAX + 1]);
