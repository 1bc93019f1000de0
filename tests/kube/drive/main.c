/* Watches a cluster and writes what it is told as JSON, a line each, for tests:
 *
 *	kube-drive KUBECONFIG KINDS [page=N] [stall_ms=N] [retry_ms=N] [retry_max_ms=N] [objects=N]
 *
 * KINDS: pods,nodes ...; KUBECONFIG "in-cluster:FOLDER": as in a pod. Ends when its input does; the
 * last line is the state. A line `status` on the input asks for it at any time. */
#include <cjson/cJSON.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "kube/watch.h"

struct drive {
	uv_loop_t loop;
	uv_pipe_t input;
	struct kube_watch *watch;
	struct kube_watch_options options;
	struct kube_config config;
	uint64_t began_ns;
	bool closed;
};

static void put_line(struct drive *drive, cJSON *line)
{
	cJSON_AddNumberToObject(line, "at_s", (double)(uv_hrtime() - drive->began_ns) / 1e9);
	char *text = cJSON_PrintUnformatted(line);
	puts(text);
	fflush(stdout);
	cJSON_free(text);
	cJSON_Delete(line);
}

static void put_addresses(cJSON *to, const struct address *addresses, uint32_t count)
{
	cJSON *array = cJSON_AddArrayToObject(to, "addresses");
	char text[ADDRESS_TEXT_MAX];
	for (uint32_t i = 0; i < count; i++) {
		address_format(&addresses[i], text);
		cJSON_AddItemToArray(array, cJSON_CreateString(text));
	}
}

static void put_pairs(cJSON *to, const char *name, const struct kube_pair *pairs, uint32_t count)
{
	cJSON *object = cJSON_AddObjectToObject(to, name);
	for (uint32_t i = 0; i < count; i++)
		cJSON_AddStringToObject(object, pairs[i].key, pairs[i].value);
}

static void put_conditions(cJSON *to, const struct kube_condition *conditions, uint32_t count)
{
	cJSON *object = cJSON_AddObjectToObject(to, "conditions"), *condition;
	for (uint32_t i = 0; i < count; i++) {
		condition = cJSON_AddObjectToObject(object, conditions[i].type);
		cJSON_AddStringToObject(condition, "status", conditions[i].status);
		cJSON_AddNumberToObject(condition, "since_s", (double)conditions[i].since_ns / 1e9);
	}
}

static void put_container(cJSON *array, const struct kube_container *container)
{
	static const char *const sorts[] = {"container", "init", "ephemeral"};
	cJSON *object = cJSON_CreateObject();
	cJSON_AddStringToObject(object, "sort", sorts[container->sort]);
	cJSON_AddStringToObject(object, "name", container->name);
	cJSON_AddStringToObject(object, "image", container->image);
	cJSON_AddStringToObject(object, "image_id", container->image_id);
	cJSON_AddStringToObject(object, "id", container->id);
	cJSON_AddNumberToObject(object, "restarts", container->restarts);
	cJSON_AddBoolToObject(object, "ended", container->ended);
	cJSON_AddBoolToObject(object, "ended_before", container->ended_before);
	cJSON_AddStringToObject(object, "reason", container->termination.reason);
	cJSON_AddNumberToObject(object, "exit_code", container->termination.exit_code);
	cJSON_AddNumberToObject(object, "finished_s",
				(double)container->termination.finished_ns / 1e9);
	cJSON_AddItemToArray(array, object);
}

static void put_pod(cJSON *line, const struct kube_pod *pod)
{
	cJSON_AddStringToObject(line, "node", pod->node);
	cJSON_AddStringToObject(line, "phase", pod->phase);
	cJSON_AddBoolToObject(line, "host_network", pod->host_network);
	put_addresses(line, pod->addresses, pod->addresses_count);
	put_conditions(line, pod->conditions, pod->conditions_count);
	cJSON *containers = cJSON_AddArrayToObject(line, "containers");
	for (uint32_t i = 0; i < pod->containers_count; i++)
		put_container(containers, &pod->containers[i]);
}

static void put_node(cJSON *line, const struct kube_node *node)
{
	cJSON_AddStringToObject(line, "provider_id", node->provider_id);
	cJSON_AddBoolToObject(line, "unschedulable", node->unschedulable);
	put_addresses(line, node->addresses, node->addresses_count);
	put_conditions(line, node->conditions, node->conditions_count);
}

static void put_service(cJSON *line, const struct kube_service *service)
{
	cJSON_AddStringToObject(line, "type", service->type);
	put_addresses(line, service->addresses, service->addresses_count);
	cJSON *ports = cJSON_AddArrayToObject(line, "ports");
	for (uint32_t i = 0; i < service->ports_count; i++) {
		cJSON *port = cJSON_CreateObject();
		cJSON_AddStringToObject(port, "name", service->ports[i].name);
		cJSON_AddNumberToObject(port, "protocol", service->ports[i].protocol);
		cJSON_AddNumberToObject(port, "port", service->ports[i].port);
		cJSON_AddNumberToObject(port, "node_port", service->ports[i].node_port);
		cJSON_AddItemToArray(ports, port);
	}
}

static void put_slice(cJSON *line, const struct kube_endpoint_slice *slice)
{
	cJSON_AddStringToObject(line, "service", slice->service);
	cJSON_AddStringToObject(line, "address_type", slice->address_type);
	cJSON *endpoints = cJSON_AddArrayToObject(line, "endpoints");
	for (uint32_t i = 0; i < slice->endpoints_count; i++) {
		cJSON *endpoint = cJSON_CreateObject();
		cJSON_AddStringToObject(endpoint, "kind", slice->endpoints[i].target_kind);
		cJSON_AddStringToObject(endpoint, "pod", slice->endpoints[i].target_name);
		cJSON_AddStringToObject(endpoint, "uid", slice->endpoints[i].target_uid);
		put_addresses(endpoint, slice->endpoints[i].addresses,
			      slice->endpoints[i].addresses_count);
		cJSON_AddItemToArray(endpoints, endpoint);
	}
}

static void put_replicas(cJSON *line, const struct kube_replicas *replicas)
{
	cJSON_AddNumberToObject(line, "wanted", replicas->wanted);
	cJSON_AddNumberToObject(line, "present", replicas->present);
	cJSON_AddStringToObject(line, "version", replicas->template_version);
	cJSON_AddStringToObject(line, "image", replicas->template_image);
}

static void put_object(cJSON *line, const struct kube_object *object)
{
	cJSON_AddStringToObject(line, "namespace", object->namespace);
	cJSON_AddStringToObject(line, "name", object->name);
	cJSON_AddStringToObject(line, "version", object->resource_version);
	cJSON_AddNumberToObject(line, "created_s", (double)object->created_ns / 1e9);
	cJSON_AddNumberToObject(line, "deleted_s", (double)object->deleted_ns / 1e9);
	put_pairs(line, "labels", object->labels, object->labels_count);
	put_pairs(line, "annotations", object->annotations, object->annotations_count);
	cJSON *owners = cJSON_AddArrayToObject(line, "owners");
	for (uint32_t i = 0; i < object->owners_count; i++) {
		cJSON *owner = cJSON_CreateObject();
		cJSON_AddStringToObject(owner, "kind", object->owners[i].kind);
		cJSON_AddStringToObject(owner, "name", object->owners[i].name);
		cJSON_AddStringToObject(owner, "uid", object->owners[i].uid);
		cJSON_AddBoolToObject(owner, "controller", object->owners[i].controller);
		cJSON_AddItemToArray(owners, owner);
	}
	cJSON *own = cJSON_AddObjectToObject(line, "is");
	if (object->kind == KUBE_POD)
		put_pod(own, &object->pod);
	else if (object->kind == KUBE_NODE)
		put_node(own, &object->node);
	else if (object->kind == KUBE_SERVICE)
		put_service(own, &object->service);
	else if (object->kind == KUBE_ENDPOINT_SLICE)
		put_slice(own, &object->endpoint_slice);
	else if (object->kind == KUBE_REPLICA_SET || object->kind == KUBE_JOB)
		put_replicas(own, &object->replicas);
}

static cJSON *line_of(const char *what, enum kube_kind kind)
{
	cJSON *line = cJSON_CreateObject();
	cJSON_AddStringToObject(line, "what", what);
	cJSON_AddStringToObject(line, "kind", kube_kind_name(kind));
	return line;
}

static void on_changed(void *context, const struct kube_object *object)
{
	cJSON *line = line_of("changed", object->kind);
	cJSON_AddStringToObject(line, "uid", object->uid);
	put_object(line, object);
	put_line(context, line);
}

static void on_deleted(void *context, enum kube_kind kind, const char *uid,
		       const struct kube_object *object)
{
	cJSON *line = line_of("deleted", kind);
	cJSON_AddStringToObject(line, "uid", uid);
	if (object)
		put_object(line, object);
	put_line(context, line);
}

static void on_synced(void *context, enum kube_kind kind)
{
	put_line(context, line_of("synced", kind));
}

static void put_kind(cJSON *to, const struct kube_watch *watch, enum kube_kind kind)
{
	struct kube_status_of_kind status;
	kube_watch_status(watch, kind, &status);
	cJSON *object = cJSON_AddObjectToObject(to, kube_kind_name(kind));
	cJSON_AddBoolToObject(object, "synced", status.synced);
	cJSON_AddStringToObject(object, "error", status.error);
	cJSON_AddNumberToObject(object, "since_s", (double)status.since_ns / 1e9);
	cJSON_AddNumberToObject(object, "objects", status.objects);
	cJSON_AddNumberToObject(object, "lists", (double)status.lists);
	cJSON_AddNumberToObject(object, "watches", (double)status.watches);
	cJSON_AddNumberToObject(object, "events", (double)status.events);
	cJSON_AddNumberToObject(object, "told", (double)status.told);
	cJSON_AddNumberToObject(object, "deleted", (double)status.deleted);
	cJSON_AddNumberToObject(object, "expired", (double)status.expired);
	cJSON_AddNumberToObject(object, "stalled", (double)status.stalled);
	cJSON_AddNumberToObject(object, "failures", (double)status.failures);
	cJSON_AddNumberToObject(object, "refused", (double)status.refused);
	cJSON_AddNumberToObject(object, "oversized", (double)status.oversized);
}

static void put_status(struct drive *drive)
{
	cJSON *line = cJSON_CreateObject();
	cJSON_AddStringToObject(line, "what", "status");
	cJSON *kinds = cJSON_AddObjectToObject(line, "kinds");
	for (enum kube_kind kind = 0; kind < KUBE_KINDS; kind++)
		if (drive->options.kinds & 1u << kind)
			put_kind(kinds, drive->watch, kind);
	struct kube_skew skew = kube_watch_skew(drive->watch);
	struct kube_reader_stats read = kube_watch_reader_stats(drive->watch);
	size_t rss_bytes = 0;
	uv_rusage_t usage;
	uv_resident_set_memory(&rss_bytes);
	uv_getrusage(&usage);
	cJSON_AddNumberToObject(line, "ahead_least_s", (double)skew.least_ns / 1e9);
	cJSON_AddNumberToObject(line, "ahead_most_s", (double)skew.most_ns / 1e9);
	cJSON_AddNumberToObject(line, "malformed", (double)read.malformed);
	cJSON_AddNumberToObject(line, "cut", (double)read.cut);
	cJSON_AddNumberToObject(line, "dropped", (double)read.dropped);
	cJSON_AddNumberToObject(line, "rss_bytes", (double)rss_bytes);
	cJSON_AddNumberToObject(line, "cpu_s",
				(double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
					(double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) /
						1e6);
	put_line(drive, line);
}

static void on_closed(void *context)
{
	((struct drive *)context)->closed = true;
}

static void give_room(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer)
{
	static char room[256];
	(void)handle, (void)wanted;
	*buffer = uv_buf_init(room, sizeof(room));
}

static void on_input(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
	struct drive *drive = stream->data;
	(void)buffer;
	put_status(drive);
	if (length >= 0)
		return;
	kube_watch_close(drive->watch, on_closed, drive);
	uv_close((uv_handle_t *)stream, NULL);
}

static uint32_t kinds_of(char *names)
{
	uint32_t kinds = 0;
	char *rest = NULL;
	for (char *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
		for (enum kube_kind kind = 0; kind < KUBE_KINDS; kind++)
			if (strcmp(name, kube_kind_name(kind)) == 0)
				kinds |= 1u << kind;
	return kinds;
}

static void take_setting(struct kube_watch_options *options, const char *setting)
{
	const char *value = strchr(setting, '=');
	uint64_t number = value ? strtoull(value + 1, NULL, 10) : 0;
	if (!strncmp(setting, "page=", 5))
		options->page = (uint32_t)number;
	else if (!strncmp(setting, "stall_ms=", 9))
		options->stall_ms = number;
	else if (!strncmp(setting, "retry_ms=", 9))
		options->retry_min_ms = number;
	else if (!strncmp(setting, "retry_max_ms=", 13))
		options->retry_max_ms = number;
	else if (!strncmp(setting, "objects=", 8))
		options->objects_max = (uint32_t)number;
	else
		abort();
}

int main(int argc, char **argv)
{
	static const char *const labels[] = {"app", "team*"}, *const annotations[] = {"note"};
	static struct drive drive;
	char why[KUBE_WHY_BYTES];
	drive.options = (struct kube_watch_options){
		.loop = &drive.loop,
		.config = &drive.config,
		.objects_max = 100000,
		.page = KUBE_PAGE,
		.stall_ms = KUBE_STALL_MS,
		.retry_min_ms = KUBE_RETRY_MIN_MS,
		.retry_max_ms = KUBE_RETRY_MAX_MS,
		.wishes = {labels, annotations, 2, 1},
		.sink = {on_changed, on_deleted, on_synced, &drive},
	};
	if (argc < 3)
		return 2;
	int error = strncmp(argv[1], "in-cluster:", 11) == 0
			    ? kube_config_in_cluster(argv[1] + 11, &drive.config, why)
			    : kube_config_load(argv[1], NULL, &drive.config, why);
	if (error) {
		fprintf(stderr, "%s\n", why);
		return 1;
	}
	drive.options.kinds = kinds_of(argv[2]);
	for (int i = 3; i < argc; i++)
		take_setting(&drive.options, argv[i]);
	drive.began_ns = uv_hrtime();
	uv_loop_init(&drive.loop);
	uv_pipe_init(&drive.loop, &drive.input, 0);
	uv_pipe_open(&drive.input, 0);
	drive.input.data = &drive;
	uv_read_start((uv_stream_t *)&drive.input, give_room, on_input);
	drive.watch = kube_watch_new(&drive.options);
	uv_run(&drive.loop, UV_RUN_DEFAULT);
	kube_config_free(&drive.config);
	return uv_loop_close(&drive.loop) || !drive.closed;
}
