/* Services, and what their endpoint slices say of who stands behind them. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "kube/catalog/state.h"

/* ---- backends: a service and its slices, whichever comes first */

static uint64_t backend_key(const char *namespace, const char *name)
{
	uint64_t parts[] = {store_key(namespace), store_key(name)};
	uint64_t key = hash_bytes(parts, sizeof(parts));
	return key ? key : 1;
}

static struct backend *backend_get(struct catalog *catalog, uint64_t key)
{
	struct backend *backend = store_find(&catalog->backends, key);
	return backend ? backend : store_add(&catalog->backends, key);
}

static void backend_drop_empty(struct catalog *catalog, struct backend *backend)
{
	if (!backend->service && !backend->slices)
		store_remove(&catalog->backends, backend);
	else
		backend->dirty = true;
}

/* The one workload of all its pods, 0 if there are several, the present one while none is known. */
static uint32_t workload_behind(const struct catalog *catalog, struct backend *backend,
				uint32_t present)
{
	uint32_t workload = 0;
	backend->unresolved = false;
	const struct slice *slice;
	for (uint32_t at = backend->slices; at; at = slice->next) {
		slice = store_at(&catalog->slices, at);
		for (uint32_t i = 0; i < slice->targets_count; i++) {
			if (!slice->targets[i])
				return 0;
			const struct pod *pod = store_find(&catalog->pods, slice->targets[i]);
			if (!pod) {
				backend->unresolved = true;
				continue;
			}
			if (workload && workload != pod->workload)
				return 0;
			workload = pod->workload;
		}
	}
	return workload ? workload : present;
}

static void set_workload(struct catalog *catalog, struct service *service, uint32_t number)
{
	struct workload *workload = workload_at(catalog, number);
	if (workload)
		workload->users++;
	workload_drop(catalog, service->workload);
	service->workload = number;
}

static void backend_resolve(struct catalog *catalog, struct backend *backend, uint64_t now_ns)
{
	struct service *service =
		backend->service ? store_at(&catalog->services, backend->service) : NULL;
	backend->dirty = false;
	if (!service || service->life.until_ns)
		return;
	uint32_t workload = workload_behind(catalog, backend, service->workload);
	if (service->workload == workload)
		return;
	set_workload(catalog, service, workload);
	tell_service(catalog, service, now_ns);
}

void services_resolve(struct catalog *catalog, uint64_t now_ns)
{
	for (struct backend *backend = NULL; (backend = store_next(&catalog->backends, backend));)
		if (backend->dirty || catalog->pods_turned ||
		    (backend->unresolved && catalog->pods_came))
			backend_resolve(catalog, backend, now_ns);
	catalog->pods_came = catalog->pods_turned = false;
}

/* ---- services */

/* Who has no address that is its own and no port on nodes stands for nothing that is dialled. */
static bool tells_nothing(const struct kube_service *seen)
{
	if (seen->addresses_count)
		return false;
	for (uint32_t i = 0; i < seen->ports_count; i++)
		if (seen->ports[i].node_port)
			return false;
	return true;
}

static bool same_ports(const struct catalog *catalog, const struct service *service,
		       const struct kube_service *seen)
{
	if (service->ports_count != seen->ports_count)
		return false;
	for (uint32_t i = 0; i < seen->ports_count; i++) {
		const struct port *port = &service->ports[i];
		const struct kube_port *other = &seen->ports[i];
		if (port->port != other->port || port->node_port != other->node_port ||
		    port->protocol != other->protocol ||
		    strcmp(text_of(catalog, port->name), other->name) != 0)
			return false;
	}
	return true;
}

static void set_ports(struct catalog *catalog, struct service *service,
		      const struct kube_port *list, uint32_t count)
{
	for (uint32_t i = 0; i < service->ports_count; i++)
		texts_drop(&catalog->texts, service->ports[i].name);
	service->ports = list_resize(catalog, service->ports, service->ports_count, count,
				     sizeof(*service->ports));
	service->ports_count = count;
	for (uint32_t i = 0; i < count; i++)
		service->ports[i] = (struct port){
			.name = texts_hold(&catalog->texts, list[i].name),
			.port = list[i].port,
			.node_port = list[i].node_port,
			.protocol = list[i].protocol,
		};
}

static int compare_addresses(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct address));
}

static void end_now(struct catalog *catalog, struct service *service, uint64_t now_ns)
{
	if (service->life.until_ns)
		return;
	life_end(&service->life, now_ns);
	tell_service(catalog, service, now_ns);
}

/* In one order, so that a balancer that tells its addresses in turns changes nothing. */
static void take_face(struct catalog *catalog, struct service *service,
		      const struct kube_service *seen, uint64_t now_ns)
{
	struct address sorted[KUBE_ADDRESSES_MAX];
	uint32_t count = seen->addresses_count;
	if (count)
		memcpy(sorted, seen->addresses, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare_addresses);
	bool same = count == service->addresses.count && same_ports(catalog, service, seen) &&
		    addresses_within(&service->addresses, sorted, count);
	if (same)
		return;
	if (service->life.told && !service->life.until_ns) {
		end_now(catalog, service, now_ns);
		life_next(&service->life, service->life.until_ns);
	}
	addresses_set(catalog, &service->addresses, sorted, count);
	set_ports(catalog, service, seen->ports, seen->ports_count);
}

static struct service *add(struct catalog *catalog, const char *uid, const char *namespace,
			   const char *name, uint64_t from_ns)
{
	struct service *service = store_add(&catalog->services, store_key(uid));
	if (!service) {
		catalog->stats.refused[KUBE_SERVICE]++;
		return NULL;
	}
	life_begin(&service->life, uid, from_ns);
	service->namespace = texts_hold(&catalog->texts, namespace);
	service->name = texts_hold(&catalog->texts, name);
	service->backend = backend_key(namespace, name);
	struct backend *backend = backend_get(catalog, service->backend);
	backend->service = store_number(&catalog->services, service);
	backend->dirty = true;
	return service;
}

void services_put(struct catalog *catalog, const struct kube_object *object, uint64_t now_ns)
{
	const struct kube_service *seen = &object->service;
	struct service *service = store_find(&catalog->services, store_key(object->uid));
	if (!service && tells_nothing(seen))
		return;
	if (!service)
		service = add(catalog, object->uid, object->namespace, object->name,
			      time_began(catalog, object->created_ns, now_ns));
	if (!service)
		return;
	bool learned = service->life.learned;
	service->life.learned = false;
	if (tells_nothing(seen)) {
		end_now(catalog, service, now_ns);
		return;
	}
	take_face(catalog, service, seen, now_ns);
	if (service->life.until_ns)
		life_next(&service->life, learned ? service->life.until_ns : now_ns);
	struct backend *backend = backend_get(catalog, service->backend);
	/* A former service of that name may have been learned after this one. */
	if (backend->service != store_number(&catalog->services, service)) {
		backend->service = store_number(&catalog->services, service);
		backend->dirty = true;
	}
	if (backend->dirty)
		set_workload(catalog, service,
			     workload_behind(catalog, backend, service->workload));
	tell_service(catalog, service, now_ns);
}

void services_clear(struct catalog *catalog, struct service *service)
{
	texts_drop(&catalog->texts, service->namespace);
	texts_drop(&catalog->texts, service->name);
	set_ports(catalog, service, NULL, 0);
	addresses_set(catalog, &service->addresses, NULL, 0);
}

void services_drop(struct catalog *catalog, struct service *service, uint64_t now_ns)
{
	end_now(catalog, service, now_ns);
	struct backend *backend = store_find(&catalog->backends, service->backend);
	/* another of that name may have come before this one was seen to go */
	if (backend && backend->service == store_number(&catalog->services, service))
		backend->service = 0;
	if (backend)
		backend_drop_empty(catalog, backend);
	services_clear(catalog, service);
	workload_drop(catalog, service->workload);
	store_remove(&catalog->services, service);
}

void services_learn(struct catalog *catalog, const Millrace__V1__Metadata *record)
{
	const Millrace__V1__Service *told = record->service;
	struct service *service = store_find(&catalog->services, store_key(told->uid));
	uint32_t number;
	if (!learn_number(catalog, TOLD_SERVICE, told->uid, record, &number))
		return;
	if (!service)
		service = add(catalog, told->uid, told->namespace_, told->name, record->from_ns);
	if (!service || !learn_life(catalog, &service->life, number, record))
		return;
	struct kube_port ports[KUBE_PORTS_MAX];
	uint32_t count = 0;
	for (size_t i = 0; i < told->n_ports && count < KUBE_PORTS_MAX; i++)
		ports[count++] = (struct kube_port){
			.name = told->ports[i]->name,
			.protocol = (uint8_t)told->ports[i]->protocol,
			.port = (uint16_t)told->ports[i]->port,
			.node_port = (uint16_t)told->ports[i]->node_port,
		};
	learn_addresses(catalog, &service->addresses, told->address, told->n_address);
	set_ports(catalog, service, ports, count);
	workload_drop(catalog, service->workload);
	service->workload = told->workload[0] ? workload_hold(catalog, told->namespace_,
							      told->workload_kind, told->workload)
					      : 0;
}

/* ---- slices */

static void unlink_slice(struct catalog *catalog, struct slice *slice)
{
	struct backend *backend = store_find(&catalog->backends, slice->backend);
	uint32_t number = store_number(&catalog->slices, slice);
	for (uint32_t *at = &backend->slices; *at;) {
		struct slice *other = store_at(&catalog->slices, *at);
		if (*at == number)
			*at = slice->next;
		else
			at = &other->next;
	}
	slice->backend = 0;
	backend_drop_empty(catalog, backend);
}

static void link_slice(struct catalog *catalog, struct slice *slice, uint64_t key)
{
	struct backend *backend = backend_get(catalog, key);
	slice->backend = key;
	slice->next = backend->slices;
	backend->slices = store_number(&catalog->slices, slice);
	backend->dirty = true;
}

static void take_targets(struct catalog *catalog, struct slice *slice,
			 const struct kube_endpoint_slice *seen)
{
	slice->targets = list_resize(catalog, slice->targets, slice->targets_count,
				     seen->endpoints_count, sizeof(*slice->targets));
	slice->targets_count = seen->endpoints_count;
	for (uint32_t i = 0; i < seen->endpoints_count; i++) {
		const struct kube_endpoint *endpoint = &seen->endpoints[i];
		bool pod = strcmp(endpoint->target_kind, "Pod") == 0 && endpoint->target_uid[0];
		slice->targets[i] = pod ? store_key(endpoint->target_uid) : 0;
	}
}

void slices_put(struct catalog *catalog, const struct kube_object *object, uint64_t now_ns)
{
	(void)now_ns; /* what it changes is told when all of a turn have come */
	const struct kube_endpoint_slice *seen = &object->endpoint_slice;
	struct slice *slice = store_find(&catalog->slices, store_key(object->uid));
	if (!slice)
		slice = store_add(&catalog->slices, store_key(object->uid));
	if (!slice) {
		catalog->stats.refused[KUBE_ENDPOINT_SLICE]++;
		return;
	}
	uint64_t key = backend_key(object->namespace, seen->service);
	if (slice->backend && slice->backend != key)
		unlink_slice(catalog, slice);
	if (slice->backend != key)
		link_slice(catalog, slice, key);
	take_targets(catalog, slice, seen);
	struct backend *backend = store_find(&catalog->backends, key);
	backend->dirty = true;
}

void slices_drop(struct catalog *catalog, struct slice *slice)
{
	unlink_slice(catalog, slice);
	list_resize(catalog, slice->targets, slice->targets_count, 0, sizeof(*slice->targets));
	store_remove(&catalog->slices, slice);
}
