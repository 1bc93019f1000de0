/* Replica sets, jobs and namespaces: of whom nothing is told, but what pods are known by; and
 * workloads, whose changes are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/version.h"
#include "kube/catalog/state.h"

enum { OWNERS_DEEP_MAX = 4, VERSION_BYTES = KUBE_TEXT_MAX + 1 };

static const char revision_name[] = "deployment.kubernetes.io/revision";
static const char replicas_name[] = "deployment.kubernetes.io/desired-replicas";

/* ---- namespaces */

struct namespace *namespaces_of_uid(const struct catalog *catalog, const char *uid)
{
	uint64_t key = store_key(uid);
	struct namespace *namespace = NULL;
	while ((namespace = store_next(&catalog->namespaces, namespace)))
		if (namespace->uid == key)
			break;
	return namespace;
}

const struct namespace *namespaces_find(const struct catalog *catalog, const char *name)
{
	return store_find(&catalog->namespaces, store_key(name));
}

static void tell_pods_of(struct catalog *catalog, const struct namespace *namespace,
			 uint64_t now_ns)
{
	for (struct pod *pod = NULL; (pod = store_next(&catalog->pods, pod));)
		if (pod->namespace == namespace->name && !pod->life.until_ns)
			tell_pod(catalog, pod, now_ns);
}

void namespaces_put(struct catalog *catalog, const struct kube_object *object, uint64_t now_ns)
{
	struct namespace *namespace = store_find(&catalog->namespaces, store_key(object->name));
	if (!namespace)
	namespace = store_add(&catalog->namespaces, store_key(object->name));
	if (!namespace) {
		catalog->stats.refused[KUBE_NAMESPACE]++;
		return;
	}
	namespace->uid = store_key(object->uid);
	texts_set(&catalog->texts, &namespace->name, object->name);
	if (!labels_differ(catalog, &namespace->labels, object))
		return;
	labels_set(catalog, &namespace->labels, object);
	tell_pods_of(catalog, namespace, now_ns);
}

void namespaces_drop(struct catalog *catalog, struct namespace *namespace, uint64_t now_ns)
{
	(void)now_ns; /* its pods have gone before it */
	labels_clear(catalog, &namespace->labels);
	texts_drop(&catalog->texts, namespace->name);
	store_remove(&catalog->namespaces, namespace);
}

/* ---- workloads */

static uint64_t workload_key(const char *namespace, const char *kind, const char *name)
{
	uint64_t parts[] = {store_key(namespace), store_key(kind), store_key(name)};
	uint64_t key = hash_bytes(parts, sizeof(parts));
	return key ? key : 1;
}

struct workload *workload_at(const struct catalog *catalog, uint32_t number)
{
	return number ? store_at(&catalog->workloads, number) : NULL;
}

uint32_t workload_hold(struct catalog *catalog, const char *namespace, const char *kind,
		       const char *name)
{
	uint64_t key = workload_key(namespace, kind, name);
	struct workload *workload = store_find(&catalog->workloads, key);
	if (!workload) {
		workload = store_add(&catalog->workloads, key); /* as many as who may hold one */
		workload->namespace = texts_hold(&catalog->texts, namespace);
		workload->kind = texts_hold(&catalog->texts, kind);
		workload->name = texts_hold(&catalog->texts, name);
		workload->replicas = -1;
	}
	workload->users++;
	return store_number(&catalog->workloads, workload);
}

void workload_drop(struct catalog *catalog, uint32_t number)
{
	struct workload *workload = workload_at(catalog, number);
	if (!workload || --workload->users > 0)
		return;
	texts_drop(&catalog->texts, workload->namespace);
	texts_drop(&catalog->texts, workload->kind);
	texts_drop(&catalog->texts, workload->name);
	texts_drop(&catalog->texts, workload->version);
	store_remove(&catalog->workloads, workload);
}

static void tell_of_workload(struct catalog *catalog, const struct workload *workload,
			     struct change change, uint64_t now_ns)
{
	change.namespace = text_of(catalog, workload->namespace);
	change.workload = text_of(catalog, workload->name);
	change.workload_kind = text_of(catalog, workload->kind);
	tell_change(catalog, &change, now_ns);
}

bool workload_template(struct catalog *catalog, struct workload *workload, enum kube_kind kind,
		       uint64_t revision, uint64_t created_ns, const char *version, uint64_t now_ns)
{
	if (revision == workload->revision && created_ns == workload->created_ns)
		return true;
	if (revision < workload->revision ||
	    (revision == workload->revision && created_ns < workload->created_ns))
		return false;
	/* who goes back to an old template makes it the newest, and only now */
	bool again = workload->revision && created_ns < workload->created_ns;
	uint64_t time_ns = time_began(catalog, again ? 0 : created_ns, now_ns);
	workload->revision = revision;
	workload->created_ns = created_ns;
	if (!version[0] || strcmp(text_of(catalog, workload->version), version) == 0)
		return true;
	if (is_news(catalog, kind, time_ns))
		tell_of_workload(catalog, workload,
				 (struct change){
					 .kind = MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_DEPLOYED,
					 .time_ns = time_ns,
					 .before = text_of(catalog, workload->version),
					 .after = version,
				 },
				 now_ns);
	texts_set(&catalog->texts, &workload->version, version);
	return true;
}

static void workload_scale(struct catalog *catalog, struct workload *workload, int32_t replicas,
			   uint64_t now_ns)
{
	int32_t before = workload->replicas;
	if (replicas < 0 || replicas == before)
		return;
	workload->replicas = replicas;
	if (before < 0)
		return;
	char texts[2][16];
	snprintf(texts[0], sizeof(texts[0]), "%d", before);
	snprintf(texts[1], sizeof(texts[1]), "%d", replicas);
	tell_of_workload(catalog, workload,
			 (struct change){
				 .kind = MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_SCALED,
				 .time_ns = now_ns,
				 .before = texts[0],
				 .after = texts[1],
			 },
			 now_ns);
}

/* ---- replica sets and jobs */

const struct kube_owner *controller_of(const struct kube_object *object)
{
	for (uint32_t i = 0; i < object->owners_count; i++)
		if (object->owners[i].controller)
			return &object->owners[i];
	return NULL;
}

static uint64_t number_of(const struct kube_object *object, const char *annotation)
{
	const char *text =
		kube_pair_find(object->annotations, object->annotations_count, annotation);
	return text ? strtoull(text, NULL, 10) : 0;
}

/* What a deployment wants stands with its replica sets; else they are workloads of their own, or
 * their controller is one that tells nothing of it. */
static int32_t replicas_of(const struct kube_object *object, bool controlled)
{
	if (object->kind != KUBE_REPLICA_SET)
		return -1;
	if (!kube_pair_find(object->annotations, object->annotations_count, replicas_name))
		return controlled ? -1 : object->replicas.wanted;
	uint64_t replicas = number_of(object, replicas_name);
	return replicas <= INT32_MAX ? (int32_t)replicas : -1;
}

static void owners_follow(struct catalog *catalog, struct owner *owner,
			  const struct kube_object *object, uint64_t now_ns)
{
	struct workload *workload = workload_at(catalog, owner->workload);
	char version[VERSION_BYTES];
	size_t length;
	const char *tag = version_of_image(object->replicas.template_image, &length);
	snprintf(version, sizeof(version), "%.*s", (int)length, tag);
	if (object->replicas.template_version[0])
		snprintf(version, sizeof(version), "%s", object->replicas.template_version);
	if (object->kind == KUBE_JOB && !owner->parent)
		return; /* a job of its own runs once: nobody deployed it anew */
	workload->templated = true;
	if (workload_template(catalog, workload, object->kind, number_of(object, revision_name),
			      object->created_ns, version, now_ns))
		workload_scale(catalog, workload, replicas_of(object, owner->parent), now_ns);
}

static void set_parent(struct catalog *catalog, struct owner *owner,
		       const struct kube_object *object)
{
	const struct kube_owner *parent = controller_of(object);
	owner->parent = parent ? store_key(parent->uid) : 0;
	texts_set(&catalog->texts, &owner->parent_kind, parent ? parent->kind : "");
	texts_set(&catalog->texts, &owner->parent_name, parent ? parent->name : "");
	uint32_t workload =
		workload_hold(catalog, object->namespace,
			      text_of(catalog, parent ? owner->parent_kind : owner->kind),
			      text_of(catalog, parent ? owner->parent_name : owner->name));
	workload_drop(catalog, owner->workload);
	owner->workload = workload;
}

void owners_put(struct catalog *catalog, const struct kube_object *object, uint64_t now_ns)
{
	struct store *store = &catalog->owners[object->kind == KUBE_JOB];
	uint64_t key = store_key(object->uid);
	struct owner *owner = store_find(store, key);
	bool known = owner;
	if (!known)
		owner = store_add(store, key);
	if (!owner) {
		catalog->stats.refused[object->kind]++;
		return;
	}
	const struct kube_owner *parent = controller_of(object);
	if (!known) {
		owner->kind = texts_hold(&catalog->texts,
					 object->kind == KUBE_JOB ? "Job" : "ReplicaSet");
		owner->namespace = texts_hold(&catalog->texts, object->namespace);
		owner->name = texts_hold(&catalog->texts, object->name);
		catalog->owners_came = true;
	}
	if (!known || owner->parent != (parent ? store_key(parent->uid) : 0)) {
		set_parent(catalog, owner, object);
		catalog->owners_changed |= known;
	}
	owners_follow(catalog, owner, object, now_ns);
}

void owners_drop(struct catalog *catalog, struct store *store, struct owner *owner)
{
	texts_drop(&catalog->texts, owner->kind);
	texts_drop(&catalog->texts, owner->namespace);
	texts_drop(&catalog->texts, owner->name);
	texts_drop(&catalog->texts, owner->parent_kind);
	texts_drop(&catalog->texts, owner->parent_name);
	workload_drop(catalog, owner->workload);
	store_remove(store, owner);
}

static const struct owner *owner_find(const struct catalog *catalog, uint64_t key)
{
	const struct owner *owner = store_find(&catalog->owners[0], key);
	return owner ? owner : store_find(&catalog->owners[1], key);
}

static bool is_watched(const char *kind)
{
	return strcmp(kind, "ReplicaSet") == 0 || strcmp(kind, "Job") == 0;
}

uint32_t owners_workload(struct catalog *catalog, struct pod *pod)
{
	const char *namespace = text_of(catalog, pod->namespace);
	const char *kind = text_of(catalog, pod->owner_kind);
	pod->provisional = false;
	if (!pod->owner || strcmp(kind, "Node") == 0)
		return workload_hold(catalog, namespace, "Pod", text_of(catalog, pod->name));
	const char *name = text_of(catalog, pod->owner_name);
	uint64_t key = pod->owner;
	for (int deep = 0; is_watched(kind); deep++) {
		const struct owner *owner = owner_find(catalog, key);
		pod->provisional = !owner;
		if (!owner || !owner->parent)
			break;
		if (deep == OWNERS_DEEP_MAX) {
			catalog->stats.loops++;
			kind = text_of(catalog, pod->owner_kind);
			name = text_of(catalog, pod->owner_name);
			break;
		}
		kind = text_of(catalog, owner->parent_kind);
		name = text_of(catalog, owner->parent_name);
		key = owner->parent;
	}
	return workload_hold(catalog, namespace, kind, name);
}
