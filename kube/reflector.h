/* One kind of objects, listed and watched.
 *
 *	 410, garbage, going back, nothing twice, refused five times
 *	     ┌──────────────────────────────────────────┐
 *	     ▼                                          │
 *	  list page ──► next page ... ──► synced ──► watch ──► cut, ended: again from the last
 *version
 *
 * What a list shows is compared with what was told before. After a failure it waits: first
 * retry_min_ms, then twice as long each time up to retry_max_ms, of which a random half is spared,
 * or as long as the server asks. A watch that ends after it brought something, as each does after
 * some minutes, is gone on with at once. Private to kube/; owned by the loop's thread. */
#pragma once

#include "kube/client.h"
#include "kube/watch.h"

struct kube_reflector;

struct kube_reflector_options {
	const struct kube_watch_options *watch; /* lent, as all here, until it is closed */
	enum kube_kind kind;
	struct kube_client *client;
	struct kube_reader *reader;
	struct kube_skew *skew;
};

struct kube_reflector *kube_reflector_new(const struct kube_reflector_options *options);
void kube_reflector_close(struct kube_reflector *reflector, void (*closed)(void *context),
			  void *context);
const struct kube_status_of_kind *kube_reflector_status(struct kube_reflector *reflector);
