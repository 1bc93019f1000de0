/* A cluster's objects as its API server tells them: of each kind a list, then a watch, which is
 * taken up again wherever it is cut (kube/reflector.h). Each kind is for itself: what one is
 * refused does not hold up the others.
 *
 * Every object is told when it is first seen and whenever its version changes, and told to be
 * deleted when it is, also where that shows only from its being in no new list. After a complete
 * list of a kind comes `synced`: what was not told by then is not there. Everything is lent for the
 * call; the watch is not to be closed from within one.
 *
 * Bounds: objects_max of each kind are known (100 bytes each), more are refused and counted; one
 * object is held while it comes. Owned by the loop's thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "kube/config.h"
#include "kube/object.h"
#include "kube/skew.h"

enum {
	KUBE_PAGE = 500,	 /* objects a page of a list */
	KUBE_STALL_MS = 120000,	 /* a server sends bookmarks each minute */
	KUBE_RETRY_MIN_MS = 500, /* after a failure; doubled with each in a row */
	KUBE_RETRY_MAX_MS = 30000,
	KUBE_SENTENCE_BYTES = 640,
};

struct kube_sink {
	void (*changed)(void *context, const struct kube_object *object);
	/* object: as it was at its end; NULL where nobody saw it go. */
	void (*deleted)(void *context, enum kube_kind kind, const char *uid,
			const struct kube_object *object);
	void (*synced)(void *context, enum kube_kind kind);
	void *context;
};

struct kube_watch_options {
	uv_loop_t *loop;
	const struct kube_config *config; /* lent until the watch is closed */
	uint32_t kinds;			  /* bits 1 << KUBE_POD ... */
	uint32_t objects_max;		  /* of each kind */
	uint32_t page;			  /* KUBE_PAGE, and so on; tests have less patience */
	uint64_t stall_ms, retry_min_ms, retry_max_ms;
	struct kube_reader_options wishes;
	struct kube_sink sink;
};

struct kube_status_of_kind {
	bool synced;			 /* a list was complete */
	char error[KUBE_SENTENCE_BYTES]; /* what keeps it from being up to date; or empty */
	uint64_t since_ns;		 /* since when these two are so; real time */
	uint32_t objects;		 /* known now */
	uint64_t lists, watches;	 /* begun */
	uint64_t events;		 /* that watches brought, bookmarks too */
	uint64_t told, deleted;
	uint64_t expired;   /* times that the version to go on from was too old (410) */
	uint64_t stalled;   /* watches and lists cut because nothing came */
	uint64_t failures;  /* requests that ended otherwise than they should */
	uint64_t refused;   /* objects beyond objects_max */
	uint64_t oversized; /* objects and events too large to be read */
};

struct kube_watch;

struct kube_watch *kube_watch_new(const struct kube_watch_options *options);
/* closed is called when the loop has let go, and the watch with it. */
void kube_watch_close(struct kube_watch *watch, void (*closed)(void *context), void *context);

/* Of a kind that is watched. */
void kube_watch_status(const struct kube_watch *watch, enum kube_kind kind,
		       struct kube_status_of_kind *status);
struct kube_reader_stats kube_watch_reader_stats(const struct kube_watch *watch);
struct kube_skew kube_watch_skew(const struct kube_watch *watch);
/* "pods" ... */
const char *kube_kind_name(enum kube_kind kind);
