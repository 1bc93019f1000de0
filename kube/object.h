/* One object of a Kubernetes cluster as Millrace needs it, decoded from the API server's protobuf
 * encoding (k8s.io/api: core/v1, apps/v1, batch/v1, discovery/v1 generated.proto). Plain data; who
 * is handed one may read it during the call.
 *
 * What is read is foreign. Everything in it is bounded: a text that is longer is cut at a
 * character, a list that is longer loses its end, and both are counted. Texts end with NUL, are
 * UTF-8 and hold no control characters (what is none becomes '?'). A field that is missing is an
 * empty text or 0, as the encoding has it: no text here is NULL.
 *
 * Of labels and annotations only those are kept that the reader was asked for, and the few that
 * Millrace itself needs. The reader descends as deep as it knows the messages and no deeper, so
 * memory and time are bounded by an object's own size. One thread a reader. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"

enum kube_kind {
	KUBE_NAMESPACE,
	KUBE_NODE,
	KUBE_REPLICA_SET,
	KUBE_JOB,
	KUBE_POD,
	KUBE_SERVICE,
	KUBE_ENDPOINT_SLICE,
	KUBE_KINDS,
};

enum {
	KUBE_UID_MAX = 36,    /* a UUID as text; an object with another kind of uid is none */
	KUBE_TEXT_MAX = 512,  /* bytes of any text, without its NUL */
	KUBE_LABELS_MAX = 32, /* of those asked for; so of annotations */
	KUBE_OWNERS_MAX = 16,
	KUBE_CONDITIONS_MAX = 32,
	KUBE_CONTAINERS_MAX = 64, /* of a pod, of all sorts */
	KUBE_ADDRESSES_MAX = 64,  /* of a service; of pods, nodes and endpoints 8 */
	KUBE_ADDRESSES_FEW = 8,
	KUBE_PORTS_MAX = 256,
	KUBE_ENDPOINTS_MAX = 1000, /* as many as a slice may have */
};

struct kube_pair {
	const char *key, *value;
	bool asked; /* the reader was asked for it; else Millrace itself needs it */
};

struct kube_owner {
	const char *kind, *name, *uid;
	bool controller;
};

struct kube_condition {
	const char *type, *status, *reason;
	uint64_t since_ns; /* when it last changed */
};

enum kube_container_sort { KUBE_CONTAINER, KUBE_CONTAINER_INIT, KUBE_CONTAINER_EPHEMERAL };

/* How a container ended. */
struct kube_termination {
	const char *id; /* with the runtime's prefix: containerd://64 hex */
	const char *reason;
	int32_t exit_code;
	uint64_t started_ns, finished_ns; /* 0: nobody saw it */
};

/* What the pod asks for and what became of it, put together by name. */
struct kube_container {
	enum kube_container_sort sort;
	const char *name;
	const char *image;	  /* as asked for */
	const char *status_image; /* as it runs */
	const char *image_id;	  /* with its digest, where the runtime tells it */
	const char *id;		  /* with the runtime's prefix; empty: not started yet */
	uint32_t restarts;
	bool ready;
	bool ended;	     /* the termination is that of `id` */
	bool ended_before;   /* it is that of the one before; neither: none has ended */
	uint64_t started_ns; /* of the one that runs; 0: none does */
	struct kube_termination termination;
};

struct kube_pod {
	const char *node, *phase;
	bool host_network;
	uint64_t start_ns; /* when its node took it */
	const struct address *addresses;
	const struct kube_condition *conditions;
	const struct kube_container *containers;
	uint32_t addresses_count, conditions_count, containers_count;
};

struct kube_node {
	const char *provider_id;
	bool unschedulable;
	const struct address *addresses; /* internal and external ones, in the cluster's order */
	const struct kube_condition *conditions;
	uint32_t addresses_count, conditions_count;
};

struct kube_port {
	const char *name;
	uint8_t protocol;	  /* IP protocol number; 0: one that is not known here */
	uint16_t port, node_port; /* node_port 0: none */
};

struct kube_service {
	const char *type;		 /* ClusterIP, NodePort, LoadBalancer, ExternalName */
	const struct address *addresses; /* cluster's, external, of load balancers */
	const struct kube_port *ports;
	uint32_t addresses_count, ports_count;
};

struct kube_endpoint {
	const char *target_kind, *target_namespace, *target_name, *target_uid; /* mostly a Pod */
	struct address addresses[KUBE_ADDRESSES_FEW];
	uint32_t addresses_count;
};

struct kube_endpoint_slice {
	const char *service; /* its name, in the slice's namespace */
	const char *address_type;
	const struct kube_endpoint *endpoints;
	uint32_t endpoints_count;
};

/* A replica set's replicas, a job's pods at a time, and what they are made from. */
struct kube_replicas {
	int32_t wanted, present;
	const char *template_version; /* label app.kubernetes.io/version of the pods */
	const char *template_image;   /* of their first container */
};

struct kube_object {
	enum kube_kind kind;
	const char *uid, *namespace, *name;
	const char *resource_version;	 /* opaque: equal or not */
	uint64_t created_ns, deleted_ns; /* deleted_ns: it is on its way out; 0: it is not */
	const struct kube_pair *labels, *annotations;
	const struct kube_owner *owners;
	uint32_t labels_count, annotations_count, owners_count;
	union {
		struct kube_pod pod;
		struct kube_node node;
		struct kube_service service;
		struct kube_endpoint_slice endpoint_slice;
		struct kube_replicas replicas; /* of KUBE_REPLICA_SET and KUBE_JOB */
	};
};

/* The value of a label or annotation; NULL: it is not there. */
const char *kube_pair_find(const struct kube_pair *pairs, uint32_t count, const char *key);

struct kube_reader_options {
	/* Names, or patterns as base/glob.h reads them; lent until the reader is freed. */
	const char *const *labels, *const *annotations;
	size_t labels_count, annotations_count;
};

struct kube_reader_stats {
	uint64_t objects;
	uint64_t malformed; /* no such message, or without a name or a uid: not read */
	uint64_t cut;	    /* texts that were too long */
	uint64_t dropped;   /* elements of lists that were too long */
	uint64_t addresses; /* that are none */
};

struct kube_reader;

struct kube_reader *kube_reader_new(const struct kube_reader_options *options);
void kube_reader_free(struct kube_reader *reader);
/* The object of that kind in a message's bytes, lent until the next; NULL: it is none. */
const struct kube_object *kube_reader_object(struct kube_reader *reader, enum kube_kind kind,
					     const uint8_t *bytes, size_t length);
struct kube_reader_stats kube_reader_stats(const struct kube_reader *reader);
