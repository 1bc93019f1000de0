/* What a catalog keeps; for the files that make it up. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/clock.h"
#include "kube/catalog/catalog.h"
#include "kube/catalog/store.h"
#include "kube/catalog/texts.h"

enum told_kind { TOLD_POD, TOLD_NODE, TOLD_SERVICE, TOLD_CHANGE };

/* Of each object that records tell of. */
struct life {
	uint64_t from_ns, until_ns; /* of the present number; until_ns 0: it still holds */
	uint64_t told;		    /* digest of what the last record said; 0: none was */
	uint64_t observed_ns;	    /* of the last record: the next one's is later */
	uint32_t number;
	char uid[KUBE_UID_MAX + 1];
	bool learned; /* from the topic, and not seen since */
};

struct addresses {
	struct address *list;
	uint32_t count;
};

struct label {
	uint32_t key, value; /* texts */
};

struct labels {
	struct label *list;
	uint32_t count;
};

struct container {
	uint64_t ended_ns; /* when the last one ended that was told, as the cluster says; 0: none */
	uint32_t name, image, version; /* texts */
	uint32_t restarts;
	bool started;
	uint8_t id[32];
};

struct pod {
	uint64_t key;
	struct life life;
	uint64_t owner;	  /* key of its controller; 0: none */
	uint64_t seen_ns; /* when it last came */
	struct addresses addresses;
	struct labels labels;
	struct container *containers;
	uint32_t containers_count;
	uint32_t namespace, name, node, version; /* texts */
	uint32_t owner_kind, owner_name;	 /* texts */
	uint32_t workload;			 /* number */
	bool host_network;
	bool provisional; /* a controller is not known */
};

struct node {
	uint64_t key;
	struct life life;
	struct addresses addresses;
	struct labels labels;
	uint32_t name, zone, region, instance_type, provider_id; /* texts */
	uint32_t ready;						 /* text; 0: not known */
	bool cordoned;
	bool known; /* ready and cordoned were seen */
};

struct port {
	uint32_t name; /* text */
	uint16_t port, node_port;
	uint8_t protocol;
};

struct service {
	uint64_t key;
	struct life life;
	uint64_t backend; /* key */
	struct addresses addresses;
	struct port *ports;
	uint32_t ports_count;
	uint32_t namespace, name; /* texts */
	uint32_t workload;	  /* number; 0: no single one */
};

/* A service's name, with what stands behind it: slices may come before their service. */
struct backend {
	uint64_t key;
	uint32_t service; /* number; 0: not known, or it has nothing to tell */
	uint32_t slices;  /* number of the first; 0: none */
	bool dirty, unresolved;
};

struct slice {
	uint64_t key;
	uint64_t backend;  /* key */
	uint64_t *targets; /* keys of pods; 0: something else */
	uint32_t targets_count;
	uint32_t next; /* of the same backend */
};

/* A replica set or job. */
struct owner {
	uint64_t key;
	uint64_t parent;		   /* key of its controller; 0: none */
	uint32_t kind, namespace, name;	   /* texts */
	uint32_t parent_kind, parent_name; /* texts */
	uint32_t workload;		   /* number of the one whose template it has */
};

struct namespace
{
	uint64_t key; /* of its name, by which pods name it */
	uint64_t uid; /* key */
	struct labels labels;
	uint32_t name; /* text */
};

/* Lives as long as pods, owners or services hold it. */
struct workload {
	uint64_t key;
	uint64_t revision, created_ns;	/* of its newest template */
	uint32_t namespace, kind, name; /* texts */
	uint32_t version;		/* text: the newest template's */
	uint32_t users;
	int32_t replicas; /* wanted; -1: not known */
	bool templated;	  /* replica sets or jobs tell its versions, not pods */
};

struct gone {
	uint64_t due_ns;
	uint32_t number;
	uint8_t kind; /* enum told_kind */
	char uid[KUBE_UID_MAX + 1];
};

/* Oldest first; a ring. */
struct gone_queue {
	struct gone *list;
	size_t first, count, capacity;
};

struct teller;

struct catalog {
	struct catalog_options options;
	char cluster[CATALOG_CLUSTER_MAX + 1];
	struct store namespaces, nodes, owners[2], pods, services, backends, slices, workloads;
	struct texts texts;
	struct gone_queue gone;
	struct teller *teller;
	bool synced[KUBE_KINDS];
	bool owners_came, owners_changed, pods_came, pods_turned; /* since the last advance */
	int64_t skew_ns;
	uint64_t since_ns; /* the newest that a former watcher told; 0: there was none */
	size_t bytes;	   /* of the lists that hang on objects */
	uint64_t provisional;
	struct catalog_stats stats; /* the counters of it */
};

/* ---- tell.c: records out */

struct change {
	Millrace__V1__ChangeKind kind;
	uint64_t time_ns;
	const char *namespace, *workload, *workload_kind, *node, *instance, *before, *after,
		*reason;
};

/* The longest name of two, or of a pod and its container. */
enum { JOINED_BYTES = 2 * KUBE_TEXT_MAX + 2 };

struct teller *teller_new(void);
void teller_free(struct teller *teller);
void tell_pod(struct catalog *catalog, struct pod *pod, uint64_t now_ns);
void tell_node(struct catalog *catalog, struct node *node, uint64_t now_ns);
void tell_service(struct catalog *catalog, struct service *service, uint64_t now_ns);
void tell_change(struct catalog *catalog, const struct change *change, uint64_t now_ns);
/* Digest of all that a record says but when that was learnt; never 0. */
uint64_t tell_digest(struct catalog *catalog, const Millrace__V1__Metadata *record);
/* Its record is taken back keep_ns after `ended_ns`. */
void gone_put(struct catalog *catalog, enum told_kind kind, const char *uid, uint32_t number,
	      uint64_t ended_ns);
void gone_advance(struct catalog *catalog, uint64_t now_ns);

/* ---- learn.c: records in */

/* False, and counted: the id is not that of such an object. What ended is remembered as gone. */
bool learn_number(struct catalog *catalog, enum told_kind kind, const char *uid,
		  const Millrace__V1__Metadata *record, uint32_t *number);
/* False: a later number is known. */
bool learn_life(struct catalog *catalog, struct life *life, uint32_t number,
		const Millrace__V1__Metadata *record);
void learn_change(struct catalog *catalog, const Millrace__V1__Metadata *record);
void learn_addresses(struct catalog *catalog, struct addresses *addresses,
		     const ProtobufCBinaryData *list, size_t count);
void learn_labels(struct catalog *catalog, struct labels *labels, Millrace__V1__Label **list,
		  size_t count);

/* ---- catalog.c: words of all */

/* A time of the cluster's at which something began; 0, not told, is now. */
uint64_t time_began(const struct catalog *catalog, uint64_t time_ns, uint64_t now_ns);
/* At which something ended. */
uint64_t time_ended(const struct catalog *catalog, uint64_t time_ns, uint64_t now_ns);
/* Whether what happened then to an object of this kind is news: not if that was there at the start,
 * unless it came after all that a former watcher told. What may have come in that very second is
 * told again, and has the same id. */
bool is_news(const struct catalog *catalog, enum kube_kind kind, uint64_t time_ns);
void addresses_set(struct catalog *catalog, struct addresses *addresses, const struct address *list,
		   uint32_t count);
bool addresses_within(const struct addresses *few, const struct address *list, uint32_t count);
/* The labels, then annotations, that somebody asked for. */
void labels_set(struct catalog *catalog, struct labels *labels, const struct kube_object *object);
bool labels_differ(const struct catalog *catalog, const struct labels *labels,
		   const struct kube_object *object);
void labels_clear(struct catalog *catalog, struct labels *labels);
/* Of another number of elements: an array of a pod's, service's or slice's. */
void *list_resize(struct catalog *catalog, void *list, uint32_t before, uint32_t count,
		  size_t size);
/* NULL: nobody controls it. */
const struct kube_owner *controller_of(const struct kube_object *object);
void life_begin(struct life *life, const char *uid, uint64_t from_ns);
/* Never before it began, whatever became of our clock. */
void life_end(struct life *life, uint64_t until_ns);
/* The next number, from when the one before ended. */
void life_next(struct life *life, uint64_t from_ns);

static inline const char *text_of(const struct catalog *catalog, uint32_t number)
{
	return texts_get(&catalog->texts, number);
}

/* ---- the kinds; `put` sees an object, `drop` has it end (if it has not) and forgets it */

void namespaces_put(struct catalog *catalog, const struct kube_object *object, uint64_t now_ns);
void namespaces_drop(struct catalog *catalog, struct namespace *namespace, uint64_t now_ns);
struct namespace *namespaces_of_uid(const struct catalog *catalog, const char *uid);
const struct namespace *namespaces_find(const struct catalog *catalog, const char *name);

void nodes_put(struct catalog *catalog, const struct kube_object *object, uint64_t now_ns);
void nodes_drop(struct catalog *catalog, struct node *node, uint64_t now_ns);
void nodes_learn(struct catalog *catalog, const Millrace__V1__Metadata *record);

void owners_put(struct catalog *catalog, const struct kube_object *object, uint64_t now_ns);
void owners_drop(struct catalog *catalog, struct store *store, struct owner *owner);
/* The top of a pod's controllers, held once more; sets pod->provisional. */
uint32_t owners_workload(struct catalog *catalog, struct pod *pod);

void pods_put(struct catalog *catalog, const struct kube_object *object, uint64_t now_ns);
void pods_drop(struct catalog *catalog, struct pod *pod, uint64_t now_ns);
void pods_learn(struct catalog *catalog, const Millrace__V1__Metadata *record);
/* Controllers came to be known, or changed: those pods are told anew whose workload is another. */
void pods_resolve(struct catalog *catalog, uint64_t now_ns);
void pods_clear(struct catalog *catalog, struct pod *pod);

void services_put(struct catalog *catalog, const struct kube_object *object, uint64_t now_ns);
void services_drop(struct catalog *catalog, struct service *service, uint64_t now_ns);
void services_learn(struct catalog *catalog, const Millrace__V1__Metadata *record);
void services_resolve(struct catalog *catalog, uint64_t now_ns);
void services_clear(struct catalog *catalog, struct service *service);
void slices_put(struct catalog *catalog, const struct kube_object *object, uint64_t now_ns);
void slices_drop(struct catalog *catalog, struct slice *slice);

uint32_t workload_hold(struct catalog *catalog, const char *namespace, const char *kind,
		       const char *name);
void workload_drop(struct catalog *catalog, uint32_t number);
/* NULL for 0. */
struct workload *workload_at(const struct catalog *catalog, uint32_t number);
/* A template of a workload: whether it is the newest so far. Tells of a deployment if its version
 * is another. kind: of the object that shows it. */
bool workload_template(struct catalog *catalog, struct workload *workload, enum kube_kind kind,
		       uint64_t revision, uint64_t created_ns, const char *version,
		       uint64_t now_ns);
