/* Who owns a half: the workload is the first of container workload, container, systemd unit,
 * executable, node that is known. Names are made when the metadata comes, so that an instance is a
 * matter of ids. */
#include <stdio.h>
#include <string.h>

#include "ingest/state.h"

/* A name of two words: "namespace/workload", "executable@role". Words are at most NAME_MAX_BYTES
 * long each before the table cuts the whole. */
static uint64_t put_joined(struct mirror *mirror, const char *first, char between,
			   const char *second)
{
	char joined[2 * NAME_MAX_BYTES + 2];
	int length = snprintf(joined, sizeof(joined), "%.*s%c%.*s", NAME_MAX_BYTES, first, between,
			      NAME_MAX_BYTES, second);
	return names_put(mirror->names, joined, (size_t)length, mirror_open_pane(mirror));
}

static uint64_t put_name(struct mirror *mirror, const char *text, size_t length)
{
	return names_put(mirror->names, text, length, mirror_open_pane(mirror));
}

static uint64_t put_qualified(struct mirror *mirror, const char *namespace, const char *name)
{
	if (!name[0])
		return 0;
	if (!namespace[0])
		return put_name(mirror, name, strlen(name));
	return put_joined(mirror, namespace, '/', name);
}

/* The tag of an image, else its digest's first 12 digits, else nothing: "registry:5000/shop/cart"
 * has none. */
static uint64_t put_image_version(struct mirror *mirror, const char *image)
{
	enum { DIGEST_BYTES = sizeof("sha256:") - 1 + 12 };
	const char *digest = strchr(image, '@');
	size_t length = digest ? (size_t)(digest - image) : strlen(image);
	for (size_t i = length; i > 0 && image[i - 1] != '/'; i--)
		if (image[i - 1] == ':')
			return put_name(mirror, image + i, length - i);
	if (!digest)
		return 0;
	size_t digest_length = strlen(digest + 1);
	return put_name(mirror, digest + 1,
			digest_length < DIGEST_BYTES ? digest_length : DIGEST_BYTES);
}

/* Services only: a session's scope or a user's manager is no workload. */
static uint64_t put_unit(struct mirror *mirror, const char *unit, const char *path)
{
	static const char suffix[] = ".service";
	size_t length = strlen(unit), suffix_length = sizeof(suffix) - 1;
	if (length <= suffix_length || strcmp(unit + length - suffix_length, suffix) != 0 ||
	    !strstr(path, "system.slice/"))
		return 0;
	return put_name(mirror, unit, length - suffix_length);
}

void owner_container(struct mirror *mirror, const Millrace__V1__Batch *batch, size_t i,
		     struct container_event *event)
{
	const Millrace__V1__Containers *containers = batch->containers;
	const char *namespace = batch->strings[containers->namespace_[i]];
	const char *name = batch->strings[containers->name[i]];
	const char *pod = batch->strings[containers->pod[i]];
	const char *version = batch->strings[containers->version[i]];
	const char *replica = pod[0] ? pod : name;
	event->cgroup = containers->cgroup[i];
	event->workload = put_qualified(mirror, namespace, batch->strings[containers->workload[i]]);
	event->name = put_qualified(mirror, namespace, name[0] ? name : pod);
	event->container = put_name(mirror, replica, strlen(replica));
	event->unit = put_unit(mirror, batch->strings[containers->unit[i]],
			       batch->strings[containers->path[i]]);
	event->version = put_image_version(mirror, batch->strings[containers->image[i]]);
	if (!event->version)
		event->version = put_name(mirror, version, strlen(version));
}

void owner_process(struct mirror *mirror, const struct node *node, const Millrace__V1__Batch *batch,
		   size_t i, struct process_event *event)
{
	const Millrace__V1__Processes *processes = batch->processes;
	const char *exe = batch->strings[processes->exe[i]];
	const char *slash = strrchr(exe, '/');
	const char *base = slash ? slash + 1 : exe;
	if (!base[0])
		base = batch->strings[processes->comm[i]];
	event->pid = processes->pid[i];
	event->started_ns = processes->started_ns[i];
	event->cgroup = processes->cgroup[i];
	event->name = put_name(mirror, base, strlen(base));
	event->workload = event->name;
	if (event->name && node->role_text[0])
		event->workload = put_joined(mirror, base, '@', node->role_text);
}

static struct container_entry *half_container(struct node *node, uint64_t cgroup)
{
	struct container_entry *container = cgroup ? table_find(&node->containers, &cgroup) : NULL;
	if (container)
		container->used = true;
	else if (cgroup)
		node_want(node, cgroup);
	return container;
}

static struct process_entry *half_process(struct node *node, uint64_t pid)
{
	struct process_entry *process = pid ? table_find(&node->processes, &pid) : NULL;
	if (process)
		process->used = true;
	else if (pid)
		node_want(node, pid);
	return process;
}

static void instance_workload(struct instance *instance, const struct container_entry *container,
			      const struct process_entry *process)
{
	const struct {
		uint64_t name;
		uint32_t resolution;
	} candidates[] = {
		{container ? container->workload : 0, RESOLUTION_WORKLOAD},
		{container ? container->name : 0, RESOLUTION_CONTAINER},
		{container ? container->unit : 0, RESOLUTION_UNIT},
		{process ? process->workload : 0, RESOLUTION_PROCESS},
		{instance->node, RESOLUTION_NODE},
	};
	size_t i = 0;
	while (!candidates[i].name)
		i++; /* a node always has a name */
	instance->workload = candidates[i].name;
	instance->resolution = candidates[i].resolution;
}

struct instance owner_of(struct node *node, const struct half *half)
{
	const struct process_entry *process = half_process(node, half->pid);
	uint64_t cgroup = half->cgroup ? half->cgroup : process ? process->cgroup : 0;
	const struct container_entry *container = half_container(node, cgroup);
	struct instance instance = {
		.version = container ? container->version : 0,
		.zone = node->zone,
		.node = node->name_id,
		.container = container ? container->container : 0,
		.process = process ? process->name : 0,
	};
	instance_workload(&instance, container, process);
	instance.id = instance_id(&instance);
	return instance;
}
