/* What stood behind a cluster's addresses, and when: objects in, as a watch tells them, records of
 * millrace.metadata out (proto/millrace/v1/metadata.proto). A record is handed out only if it says
 * something new.
 *
 * Whose workload a pod is: its controllers are followed from replica sets and jobs upward, four
 * deep; where they go in a circle or deeper, the pod's own controller is it. While a controller is
 * not known yet it counts itself, and catalog_advance corrects that. A pod that nobody, or only its
 * node, controls is its own workload.
 *
 * Times are the cluster's less its skew, never later than `now_ns`. The cluster tells whole
 * seconds, cut: what begins does so at the start of its second, what ends at its end. Where it
 * tells none (a deletion, a service that changes, what vanished while nobody watched) it is
 * `now_ns`.
 *
 * Bounds: objects of each kind, with what hangs on them; of what has no room nothing is told, and
 * it is counted. Ids that ended are remembered until their record is taken back, CATALOG_GONE_MAX
 * at most; then the oldest is taken back early. Pure; one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kube/object.h"
#include "millrace/v1/metadata.pb-c.h"

/* A cluster may have 150,000 pods, 10,000 services and 5,000 nodes as Kubernetes is tested; these
 * leave room for finished jobs and for replica sets that are kept to roll back to. */
enum {
	CATALOG_NAMESPACES_MAX = 20000,
	CATALOG_NODES_MAX = 20000,
	CATALOG_OWNERS_MAX = 200000, /* replica sets, and as many jobs */
	CATALOG_PODS_MAX = 200000,
	CATALOG_SERVICES_MAX = 20000,
	CATALOG_SLICES_MAX = 50000,
	CATALOG_GONE_MAX = 1 << 20,
	CATALOG_TAKEN_BACK_MAX = 1000, /* in one catalog_advance */
	CATALOG_RECORD_MAX = 64 << 10, /* bytes of a record, as readers take it */
	CATALOG_ID_MAX = 512,	       /* bytes of a record's id, without its NUL */
	CATALOG_CLUSTER_MAX = 255,     /* of the cluster's name */
};

struct catalog_options {
	const char *cluster;		  /* its name; may be empty */
	uint64_t keep_ns;		  /* how long the record of what ended stands */
	uint32_t objects_max[KUBE_KINDS]; /* 0: as above */
	uint32_t gone_max;		  /* 0: as above */
	/* Lent for the call. record NULL: the record of this id is to be taken back. */
	void (*sink)(void *context, const char *id, const Millrace__V1__Metadata *record);
	void *context;
};

struct catalog_stats {
	uint64_t live[KUBE_KINDS];    /* objects that are known */
	uint64_t refused[KUBE_KINDS]; /* for which there was no room */
	uint64_t provisional;	      /* pods whose controllers are not all known */
	uint64_t loops;		      /* walks over controllers that did not end */
	uint64_t cut;		    /* pods told without labels or containers, for want of bytes */
	uint64_t texts_refused;	    /* texts told as empty, for want of room */
	uint64_t records, changes;  /* handed out */
	uint64_t gone, early;	    /* ids that wait to be taken back; that were so early */
	uint64_t unreadable;	    /* learned records that are none, or of another cluster */
	uint64_t bytes, gone_bytes; /* all that is kept of what lives, and of ids that wait */
};

struct catalog;

struct catalog *catalog_new(const struct catalog_options *options);
void catalog_free(struct catalog *catalog);

/* A record that the topic holds, in its order, all of them before the first object: what a former
 * watcher told goes on under its numbers, and what the first list no longer has ends. */
void catalog_learn(struct catalog *catalog, const Millrace__V1__Metadata *record);

/* How far the cluster's clock is ahead of ours, from now on. */
void catalog_skew(struct catalog *catalog, int64_t skew_ns);

/* An object as it is now; the same one may come again. Kinds are best listed in their order, so
 * that controllers come before pods and pods before services. */
void catalog_put(struct catalog *catalog, const struct kube_object *object, uint64_t now_ns);
/* It is gone. object: its last state; NULL: nobody saw it go. */
void catalog_remove(struct catalog *catalog, enum kube_kind kind, const char *uid,
		    const struct kube_object *object, uint64_t now_ns);
/* All objects of a kind were put that are there: what was only learned is gone. */
void catalog_synced(struct catalog *catalog, enum kube_kind kind, uint64_t now_ns);

/* Corrects what has come to be known, and takes back the records of what ended keep_ns ago. */
void catalog_advance(struct catalog *catalog, uint64_t now_ns);
struct catalog_stats catalog_stats(const struct catalog *catalog);
