/* Pods: their intervals, whose they are, what befell their containers. */
#include <stdio.h>
#include <string.h>

#include "base/version.h"
#include "kube/catalog/state.h"

enum { ID_DIGITS = 64 };

static const char scheduled_type[] = "PodScheduled";
static const char ready_to_start_type[] = "PodReadyToStartContainers";

static bool is_over(const struct kube_pod *seen)
{
	return strcmp(seen->phase, "Succeeded") == 0 || strcmp(seen->phase, "Failed") == 0;
}

static const struct kube_condition *condition_of(const struct kube_pod *seen, const char *type)
{
	for (uint32_t i = 0; i < seen->conditions_count; i++)
		if (strcmp(seen->conditions[i].type, type) == 0)
			return &seen->conditions[i];
	return NULL;
}

/* When its node got it; who names the node himself leaves no condition. */
static uint64_t began(const struct catalog *catalog, const struct kube_object *object,
		      uint64_t now_ns)
{
	const struct kube_condition *scheduled = condition_of(&object->pod, scheduled_type);
	bool told = scheduled && scheduled->since_ns && strcmp(scheduled->status, "True") == 0;
	return time_began(catalog, told ? scheduled->since_ns : object->created_ns, now_ns);
}

/* When its last container ended; if that is not told of each, its end was just seen. */
static uint64_t ended(const struct catalog *catalog, const struct kube_pod *seen, uint64_t now_ns)
{
	uint64_t last_ns = 0;
	for (uint32_t i = 0; i < seen->containers_count; i++) {
		const struct kube_container *container = &seen->containers[i];
		bool knows = container->ended && container->termination.finished_ns;
		if (!knows && (container->id[0] || container->sort == KUBE_CONTAINER))
			return now_ns;
		if (knows && container->termination.finished_ns > last_ns)
			last_ns = container->termination.finished_ns;
	}
	return time_ended(catalog, last_ns, now_ns);
}

static void end_at(struct catalog *catalog, struct pod *pod, uint64_t until_ns, uint64_t now_ns)
{
	struct life *life = &pod->life;
	life_end(life, until_ns);
	/* of one that had ended before anybody looked, and whose record would be gone by now */
	bool stale = !life->told && life->until_ns + catalog->options.keep_ns <= now_ns;
	if (!stale)
		tell_pod(catalog, pod, now_ns);
}

/* ---- addresses */

/* When it lost its addresses: as it says when its network was made anew, if that was since it was
 * last seen (in whole seconds), else now. */
static uint64_t moved(const struct catalog *catalog, const struct pod *pod,
		      const struct kube_pod *seen, uint64_t now_ns)
{
	const struct kube_condition *made = condition_of(seen, ready_to_start_type);
	if (!made || !made->since_ns)
		return now_ns;
	uint64_t time_ns = time_began(catalog, made->since_ns, now_ns);
	if (time_ns + NS_PER_S <= pod->seen_ns)
		return now_ns;
	return time_ns > pod->seen_ns ? time_ns : pod->seen_ns;
}

/* More addresses than before are no others: the first number began without any. */
static void take_addresses(struct catalog *catalog, struct pod *pod, const struct kube_pod *seen,
			   uint64_t now_ns)
{
	uint32_t count = seen->host_network ? 0 : seen->addresses_count;
	if (is_over(seen) && !count)
		return;
	if (!addresses_within(&pod->addresses, seen->addresses, count)) {
		uint64_t at_ns = moved(catalog, pod, seen, now_ns);
		end_at(catalog, pod, at_ns, now_ns);
		life_next(&pod->life, pod->life.until_ns);
	}
	addresses_set(catalog, &pod->addresses, seen->addresses, count);
}

/* ---- containers */

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 64 hex, behind the runtime's prefix if there is one. */
static bool read_id(const char *text, uint8_t id[32])
{
	const char *prefix = strstr(text, "://");
	if (prefix)
		text = prefix + 3;
	if (strlen(text) != ID_DIGITS)
		return false;
	for (int i = 0; i < ID_DIGITS; i += 2) {
		int high = digit_of(text[i]), low = digit_of(text[i + 1]);
		if (high < 0 || low < 0)
			return false;
		id[i / 2] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static void set_version(struct catalog *catalog, uint32_t *place, const char *image)
{
	char version[KUBE_TEXT_MAX + 1];
	size_t length;
	const char *tag = version_of_image(image, &length);
	snprintf(version, sizeof(version), "%.*s", (int)length, tag);
	texts_set(&catalog->texts, place, version);
}

static void tell_of_container(struct catalog *catalog, const struct pod *pod,
			      const struct container *container, struct change change,
			      uint64_t now_ns)
{
	const struct workload *workload = workload_at(catalog, pod->workload);
	char instance[JOINED_BYTES];
	snprintf(instance, sizeof(instance), "%s/%s", text_of(catalog, pod->name),
		 text_of(catalog, container->name));
	change.namespace = text_of(catalog, pod->namespace);
	change.workload = text_of(catalog, workload->name);
	change.workload_kind = text_of(catalog, workload->kind);
	change.node = text_of(catalog, pod->node);
	change.instance = instance;
	tell_change(catalog, &change, now_ns);
}

static void tell_restart(struct catalog *catalog, const struct pod *pod,
			 const struct container *container, const struct kube_container *seen,
			 uint64_t now_ns)
{
	bool told = seen->ended || seen->ended_before;
	uint64_t time_ns = seen->started_ns;
	if (!time_ns && told)
		time_ns = seen->termination.finished_ns;
	char texts[2][16];
	snprintf(texts[0], sizeof(texts[0]), "%u", container->restarts);
	snprintf(texts[1], sizeof(texts[1]), "%u", seen->restarts);
	tell_of_container(catalog, pod, container,
			  (struct change){
				  .kind = MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_RESTARTED,
				  .time_ns = time_began(catalog, time_ns, now_ns),
				  .before = texts[0],
				  .after = texts[1],
				  .reason = told ? seen->termination.reason : "",
			  },
			  now_ns);
}

/* What is kept of a container is as it was before; `fresh`: nothing is, and what it went through is
 * news only if it was after all that was told. */
static void tell_fate(struct catalog *catalog, const struct pod *pod, struct container *container,
		      const struct kube_container *seen, bool fresh, uint64_t now_ns)
{
	bool told = seen->ended || seen->ended_before;
	uint64_t ended_ns = told ? seen->termination.finished_ns : 0;
	bool news = is_news(catalog, KUBE_POD, time_began(catalog, ended_ns, now_ns));
	if (ended_ns > container->ended_ns) {
		container->ended_ns = ended_ns;
		if (news && strcmp(seen->termination.reason, "OOMKilled") == 0)
			tell_of_container(
				catalog, pod, container,
				(struct change){
					.kind = MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_OOM_KILLED,
					.time_ns = time_began(catalog, ended_ns, now_ns),
					.reason = seen->termination.reason,
				},
				now_ns);
	}
	if (seen->restarts > container->restarts && (news || !fresh))
		tell_restart(catalog, pod, container, seen, now_ns);
	container->restarts = seen->restarts;
}

static void clear_containers(struct catalog *catalog, struct container *list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		texts_drop(&catalog->texts, list[i].name);
		texts_drop(&catalog->texts, list[i].image);
		texts_drop(&catalog->texts, list[i].version);
	}
	list_resize(catalog, list, count, 0, sizeof(*list));
}

static const struct container *container_find(const struct container *list, uint32_t count,
					      uint32_t name)
{
	for (uint32_t i = 0; i < count; i++)
		if (list[i].name == name)
			return &list[i];
	return NULL;
}

/* Whoever is asked into a running pod changes the list, and not what the others went through. */
static void take_containers(struct catalog *catalog, struct pod *pod, const struct kube_pod *seen,
			    uint64_t now_ns)
{
	struct container *before = pod->containers;
	uint32_t before_count = pod->containers_count, count = seen->containers_count;
	pod->containers = list_resize(catalog, NULL, 0, count, sizeof(*before));
	pod->containers_count = count;
	for (uint32_t i = 0; i < count; i++) {
		const struct kube_container *from = &seen->containers[i];
		struct container *container = &pod->containers[i];
		*container = (struct container){
			.name = texts_hold(&catalog->texts, from->name),
			.image = texts_hold(&catalog->texts, from->image),
		};
		set_version(catalog, &container->version, from->image);
		container->started = read_id(from->id, container->id);
		const struct container *same =
			container_find(before, before_count, container->name);
		if (same) {
			container->ended_ns = same->ended_ns;
			container->restarts = same->restarts;
		}
		tell_fate(catalog, pod, container, from, !same, now_ns);
	}
	clear_containers(catalog, before, before_count);
}

/* ---- whose it is */

static void take_owner(struct catalog *catalog, struct pod *pod, const struct kube_object *object)
{
	const struct kube_owner *owner = controller_of(object);
	pod->owner = owner ? store_key(owner->uid) : 0;
	texts_set(&catalog->texts, &pod->owner_kind, owner ? owner->kind : "");
	texts_set(&catalog->texts, &pod->owner_name, owner ? owner->name : "");
}

/* What was known goes before what is provisional: a controller that is deleted before its pods
 * takes no name from them, and a former watcher's word stands until there is a better. Returns
 * whether the workload is another. */
static bool resolve(struct catalog *catalog, struct pod *pod, uint64_t owner_before, bool learned)
{
	bool known = pod->workload && !pod->provisional && pod->owner == owner_before;
	catalog->provisional -= pod->provisional;
	uint32_t workload = owners_workload(catalog, pod);
	if (pod->provisional && (known || learned)) {
		workload_drop(catalog, workload);
		pod->provisional = !known;
		catalog->provisional += !known;
		return false;
	}
	catalog->provisional += pod->provisional;
	bool other = workload != pod->workload;
	workload_drop(catalog, pod->workload);
	pod->workload = workload;
	return other;
}

void pods_resolve(struct catalog *catalog, uint64_t now_ns)
{
	for (struct pod *pod = NULL; (pod = store_next(&catalog->pods, pod));) {
		if (pod->life.learned || (!pod->provisional && !catalog->owners_changed))
			continue;
		if (!resolve(catalog, pod, pod->owner, false))
			continue;
		catalog->pods_turned = true;
		if (!pod->life.until_ns)
			tell_pod(catalog, pod, now_ns);
	}
}

/* Stateful and daemon sets are not watched, so their newest pod tells what was deployed; replica
 * sets and jobs tell themselves. */
static void follow_template(struct catalog *catalog, const struct pod *pod,
			    const struct kube_object *object, uint64_t now_ns)
{
	static const char *const others[] = {"Pod", "Job", "ReplicaSet", "Deployment", "CronJob"};
	struct workload *workload = workload_at(catalog, pod->workload);
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		if (strcmp(text_of(catalog, workload->kind), others[i]) == 0)
			return;
	if (!workload->templated)
		workload_template(catalog, workload, KUBE_POD, 0, object->created_ns,
				  text_of(catalog, pod->version), now_ns);
}

/* ---- the verbs */

static void take_version(struct catalog *catalog, struct pod *pod, const struct kube_object *object)
{
	const char *label =
		kube_pair_find(object->labels, object->labels_count, "app.kubernetes.io/version");
	const char *image = "";
	for (uint32_t i = object->pod.containers_count; i-- > 0;)
		if (object->pod.containers[i].sort == KUBE_CONTAINER)
			image = object->pod.containers[i].image;
	if (label && label[0])
		texts_set(&catalog->texts, &pod->version, label);
	else
		set_version(catalog, &pod->version, image);
}

static struct pod *add(struct catalog *catalog, const char *uid, uint64_t from_ns)
{
	struct pod *pod = store_add(&catalog->pods, store_key(uid));
	if (pod)
		life_begin(&pod->life, uid, from_ns);
	else
		catalog->stats.refused[KUBE_POD]++;
	return pod;
}

void pods_put(struct catalog *catalog, const struct kube_object *object, uint64_t now_ns)
{
	const struct kube_pod *seen = &object->pod;
	struct pod *pod = store_find(&catalog->pods, store_key(object->uid));
	if (!pod) {
		pod = seen->node[0] ? add(catalog, object->uid, began(catalog, object, now_ns))
				    : NULL;
		if (!pod)
			return;
		catalog->pods_came = true;
	}
	bool learned = pod->life.learned;
	pod->life.learned = false;
	if (pod->life.until_ns && is_over(seen))
		return;
	if (pod->life.until_ns) {
		life_next(&pod->life, pod->life.until_ns);
		addresses_set(catalog, &pod->addresses, NULL, 0);
	}

	uint64_t owner_before = pod->owner;
	texts_set(&catalog->texts, &pod->namespace, object->namespace);
	texts_set(&catalog->texts, &pod->name, object->name);
	texts_set(&catalog->texts, &pod->node, seen->node);
	pod->host_network = seen->host_network;
	take_addresses(catalog, pod, seen, now_ns);
	take_owner(catalog, pod, object);
	take_version(catalog, pod, object);
	labels_set(catalog, &pod->labels, object);
	catalog->pods_turned |= resolve(catalog, pod, owner_before, learned);
	take_containers(catalog, pod, seen, now_ns);
	follow_template(catalog, pod, object, now_ns);
	pod->seen_ns = now_ns;
	if (is_over(seen))
		end_at(catalog, pod, ended(catalog, seen, now_ns), now_ns);
	else
		tell_pod(catalog, pod, now_ns);
}

void pods_clear(struct catalog *catalog, struct pod *pod)
{
	const uint32_t held[] = {pod->namespace, pod->name,	  pod->node,
				 pod->version,	 pod->owner_kind, pod->owner_name};
	for (size_t i = 0; i < sizeof(held) / sizeof(*held); i++)
		texts_drop(&catalog->texts, held[i]);
	clear_containers(catalog, pod->containers, pod->containers_count);
	labels_clear(catalog, &pod->labels);
	addresses_set(catalog, &pod->addresses, NULL, 0);
}

void pods_drop(struct catalog *catalog, struct pod *pod, uint64_t now_ns)
{
	if (!pod->life.until_ns)
		end_at(catalog, pod, now_ns, now_ns);
	catalog->provisional -= pod->provisional;
	pods_clear(catalog, pod);
	workload_drop(catalog, pod->workload);
	store_remove(&catalog->pods, pod);
}

/* ---- what a former watcher told */

static void learn_containers(struct catalog *catalog, struct pod *pod,
			     const Millrace__V1__Pod *told)
{
	size_t count =
		told->n_containers < KUBE_CONTAINERS_MAX ? told->n_containers : KUBE_CONTAINERS_MAX;
	clear_containers(catalog, pod->containers, pod->containers_count);
	pod->containers = list_resize(catalog, NULL, 0, (uint32_t)count, sizeof(*pod->containers));
	pod->containers_count = (uint32_t)count;
	for (size_t i = 0; i < count; i++) {
		const Millrace__V1__PodContainer *from = told->containers[i];
		struct container *container = &pod->containers[i];
		*container = (struct container){
			.name = texts_hold(&catalog->texts, from->name),
			.image = texts_hold(&catalog->texts, from->image),
			.version = texts_hold(&catalog->texts, from->version),
			.restarts = from->restarts,
		};
		container->started = read_id(from->id, container->id);
	}
}

static void learn_pod(struct catalog *catalog, struct pod *pod, const Millrace__V1__Pod *told)
{
	texts_set(&catalog->texts, &pod->namespace, told->namespace_);
	texts_set(&catalog->texts, &pod->name, told->name);
	texts_set(&catalog->texts, &pod->node, told->node);
	texts_set(&catalog->texts, &pod->version, told->version);
	pod->host_network = told->host_network;
	learn_addresses(catalog, &pod->addresses, told->address, told->n_address);
	learn_labels(catalog, &pod->labels, told->labels, told->n_labels);
	learn_containers(catalog, pod, told);
	uint32_t workload =
		workload_hold(catalog, told->namespace_, told->workload_kind, told->workload);
	workload_drop(catalog, pod->workload);
	pod->workload = workload;
}

/* A workload's newest pod tells which version the former watcher knew of. */
static void learn_version(struct catalog *catalog, const struct pod *pod)
{
	struct workload *workload = workload_at(catalog, pod->workload);
	if (workload->revision || pod->life.from_ns < workload->created_ns)
		return;
	workload->created_ns = pod->life.from_ns;
	texts_set(&catalog->texts, &workload->version, text_of(catalog, pod->version));
}

void pods_learn(struct catalog *catalog, const Millrace__V1__Metadata *record)
{
	struct pod *pod = store_find(&catalog->pods, store_key(record->pod->uid));
	uint32_t number;
	if (!learn_number(catalog, TOLD_POD, record->pod->uid, record, &number))
		return;
	if (!pod)
		pod = add(catalog, record->pod->uid, record->from_ns);
	if (!pod || !learn_life(catalog, &pod->life, number, record))
		return;
	learn_pod(catalog, pod, record->pod);
	pod->seen_ns = record->observed_ns;
	if (!record->until_ns)
		learn_version(catalog, pod);
}
