#include "kube/watch.h"

#include <stdlib.h>

#include "base/memory.h"
#include "kube/client.h"
#include "kube/reflector.h"

struct kube_watch {
	struct kube_watch_options options;
	struct kube_client *client;
	struct kube_reader *reader;
	struct kube_skew skew;
	struct kube_reflector *reflectors[KUBE_KINDS]; /* NULL: not watched */
	unsigned open;				       /* reflectors not yet closed */
	void (*closed)(void *context);
	void *closed_context;
};

struct kube_watch *kube_watch_new(const struct kube_watch_options *options)
{
	struct kube_watch *watch = memory_zeroed(1, sizeof(*watch));
	watch->options = *options;
	watch->client = kube_client_new(options->loop, options->config);
	watch->reader = kube_reader_new(&options->wishes);
	for (enum kube_kind kind = 0; kind < KUBE_KINDS; kind++)
		if (options->kinds & 1u << kind)
			watch->reflectors[kind] = kube_reflector_new(
				&(struct kube_reflector_options){.watch = &watch->options,
								 .kind = kind,
								 .client = watch->client,
								 .reader = watch->reader,
								 .skew = &watch->skew});
	return watch;
}

static void on_client_closed(void *context)
{
	struct kube_watch *watch = context;
	void (*closed)(void *context) = watch->closed;
	void *closed_context = watch->closed_context;
	kube_reader_free(watch->reader);
	free(watch);
	closed(closed_context);
}

static void on_reflector_closed(void *context)
{
	struct kube_watch *watch = context;
	if (--watch->open == 0)
		kube_client_close(watch->client, on_client_closed, watch);
}

void kube_watch_close(struct kube_watch *watch, void (*closed)(void *context), void *context)
{
	watch->closed = closed;
	watch->closed_context = context;
	watch->open = 1;
	for (enum kube_kind kind = 0; kind < KUBE_KINDS; kind++)
		if (watch->reflectors[kind]) {
			watch->open++;
			kube_reflector_close(watch->reflectors[kind], on_reflector_closed, watch);
		}
	on_reflector_closed(watch); /* there may be none */
}

void kube_watch_status(const struct kube_watch *watch, enum kube_kind kind,
		       struct kube_status_of_kind *status)
{
	*status = *kube_reflector_status(watch->reflectors[kind]);
}

struct kube_reader_stats kube_watch_reader_stats(const struct kube_watch *watch)
{
	return kube_reader_stats(watch->reader);
}

struct kube_skew kube_watch_skew(const struct kube_watch *watch)
{
	return watch->skew;
}
