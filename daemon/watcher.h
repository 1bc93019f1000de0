/* Writes millrace.metadata: what the API server of a Kubernetes cluster tells (kube/watch.h), made
 * into records of who stood where and when (kube/catalog/catalog.h). One instance does it, the one
 * that owns task 0, so a cluster has one watch however many run. Who begins reads first what the
 * topic holds, so that numbers go on and what vanished meanwhile ends; when a record did not get to
 * Kafka it begins again, and so writes what is missing. The relay (relay.h) reads that topic too,
 * but drops what ended some minutes ago, which must be known here until it is taken back, keep_ns
 * after its end. One reader for both would hold the bytes of all that ended in that time, in every
 * instance, since any may be the next to lead; this one's are gone as soon as they are learned.
 *
 *     millrace.metadata ─► learn ─┐
 *                                 ▼
 *     API server ─► kube_watch ─► catalog ─► millrace.metadata
 *
 * Bounds: those of the watch and the catalog, kubernetes.objects of each kind. The service loop's
 * thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "kube/catalog/catalog.h"
#include "kube/watch.h"

struct outputs;
struct security;
struct watcher;

enum watcher_source {
	WATCHER_OFF,
	WATCHER_IN_CLUSTER, /* as the pod's service account */
	WATCHER_KUBECONFIG,
};

/* All lent for its life. */
struct watcher_options {
	uv_loop_t *loop;
	const char *brokers;
	struct security *security;
	struct outputs *outputs;
	uint32_t source;	/* enum watcher_source */
	const char *kubeconfig; /* its path; context NULL: the current one */
	const char *context_name;
	const char *cluster;
	uint64_t keep_ns;
	uint32_t objects_max; /* of each kind */
	struct kube_reader_options wishes;
	/* A sentence for the log, when something begins to be wrong or is well again. */
	void (*trouble)(void *context, const char *sentence);
	void *context;
};

struct watcher_stats {
	bool on;      /* a source is configured */
	bool watches; /* here; else another instance does, or it is about to */
	struct kube_status_of_kind kinds[KUBE_KINDS];
	struct catalog_stats catalog;
	int64_t skew_ns;		 /* how far the cluster's clock is ahead */
	uint64_t written;		 /* records handed to Kafka */
	uint64_t failed;		 /* that it did not take */
	uint64_t begun;			 /* times that a watch was begun here */
	char error[KUBE_SENTENCE_BYTES]; /* why none can be begun; or empty */
};

struct watcher *watcher_new(const struct watcher_options *options);
/* Begins, or ends and forgets. */
void watcher_lead(struct watcher *watcher, bool leads);
void watcher_stats(const struct watcher *watcher, struct watcher_stats *stats);
/* The loop must run until its handles are gone; free it when the outputs are closed. */
void watcher_close(struct watcher *watcher);
void watcher_free(struct watcher *watcher);
