#include "bench/drive/cluster.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/batch/wire.h"
#include "base/memory.h"

enum {
	OBJECT_MAX = 16384,
	REQUEST_MAX = 8192,
	CONNECTIONS_MAX = 32,
	MANAGED_BYTES = 1200,
	ENVIRONMENT = 12,
	CREATED_S = 1700000000,
	VERSION = 1000000,
};

enum kind { NAMESPACES, NODES, REPLICASETS, JOBS, PODS, SERVICES, SLICES, KINDS };

static const char *const paths[KINDS] = {"namespaces", "nodes",	   "replicasets",   "jobs",
					 "pods",       "services", "endpointslices"};

struct page {
	uint8_t *bytes;
	size_t length;
};

struct connection {
	struct cluster *cluster;
	pthread_t thread;
	int socket;
};

struct cluster {
	struct cluster_options options;
	struct page *pages[KINDS];
	uint32_t pages_count[KINDS];
	char url[64];
	int socket;
	pthread_t thread;
	struct connection connections[CONNECTIONS_MAX];
	uint32_t connections_count;
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- objects ---- */

static uint8_t *put(uint8_t *at, uint32_t field, const char *text)
{
	return wire_element(at, field, text, strlen(text));
}

__attribute__((format(printf, 3, 4))) static uint8_t *putf(uint8_t *at, uint32_t field,
							   const char *format, ...)
{
	char text[512];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	return put(at, field, text);
}

static uint8_t *begin(uint8_t **mark, uint8_t *at, uint32_t field)
{
	*mark = wire_tag(at, field, WIRE_LENGTH);
	return wire_content(*mark);
}

static uint8_t *put_pair(uint8_t *at, uint32_t field, const char *key, const char *value)
{
	uint8_t *mark;
	at = begin(&mark, at, field);
	return wire_end(mark, put(put(at, 1, key), 2, value));
}

static uint8_t *put_time(uint8_t *at, uint32_t field)
{
	uint8_t *mark;
	at = begin(&mark, at, field);
	return wire_end(mark, wire_uint(at, 1, CREATED_S));
}

static uint8_t *put_owner(uint8_t *at, const char *kind, const char *name, const char *uid)
{
	uint8_t *mark;
	at = begin(&mark, at, 13);
	at = put(put(put(put(at, 1, kind), 3, name), 4, uid), 5, "apps/v1");
	return wire_end(mark, wire_uint(at, 6, 1));
}

/* Who set which field last: a third of what a real pod takes. */
static uint8_t *put_managed(uint8_t *at)
{
	char fields[MANAGED_BYTES + 1];
	uint8_t *mark, *inner;
	memset(fields, 'f', MANAGED_BYTES);
	fields[MANAGED_BYTES] = '\0';
	at = begin(&mark, at, 17);
	at = put_time(put(put(put(at, 1, "kubelet"), 2, "Update"), 3, "v1"), 4);
	at = put(at, 6, "FieldsV1");
	at = begin(&inner, at, 7);
	at = wire_end(inner, put(at, 1, fields));
	return wire_end(mark, at);
}

/* What all objects have; it goes on behind it, and wire_end closes it. */
static uint8_t *begin_meta(uint8_t **mark, uint8_t *at, const char *name, const char *uid)
{
	at = begin(mark, at, 1);
	at = putf(put(put(put(at, 1, name), 3, "production"), 5, uid), 6, "%d", VERSION - 1);
	return put_time(at, 8);
}

static uint8_t *put_container(uint8_t *at, uint32_t service)
{
	uint8_t *mark, *variable;
	at = begin(&mark, at, 2);
	at = putf(put(at, 1, "main"), 2, "registry.example.com/production/service-%05u:v1.%u",
		  service, service % 40);
	for (uint32_t i = 0; i < ENVIRONMENT; i++) {
		at = begin(&variable, at, 7);
		at = putf(at, 1, "SETTING_NUMBER_%u", i);
		at = wire_end(variable, put(at, 2, "a value of usual length"));
	}
	return wire_end(mark, at);
}

static uint8_t *put_status(uint8_t *at, uint32_t number, uint32_t service)
{
	static const char *const conditions[] = {"Initialized", "Ready", "ContainersReady",
						 "PodScheduled"};
	uint8_t *mark, *inner, *state, *running;
	at = begin(&mark, at, 3);
	at = put(at, 1, "Running");
	for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++) {
		at = begin(&inner, at, 2);
		at = wire_end(inner, put_time(put(put(at, 1, conditions[i]), 2, "True"), 4));
	}
	at = putf(at, 6, "10.%u.%u.%u", number >> 16 & 255, number >> 8 & 255, number & 255);
	at = put_time(at, 7);
	at = begin(&inner, at, 8);
	at = put(at, 1, "main");
	at = begin(&state, at, 2);
	at = begin(&running, at, 2);
	at = wire_end(running, put_time(at, 1));
	at = wire_end(state, at);
	at = wire_uint(wire_uint(at, 4, 1), 5, number % 3);
	at = putf(at, 6, "registry.example.com/production/service-%05u:v1.%u", service,
		  service % 40);
	at = putf(at, 7, "registry.example.com/production/service-%05u@sha256:%064x", service,
		  service);
	at = wire_end(inner, putf(at, 8, "containerd://%064x", number));
	return wire_end(mark, at);
}

static uint8_t *make_pod(const struct cluster_options *options, uint8_t *at, uint32_t number)
{
	char name[64], uid[64], set[64], set_uid[64];
	uint32_t service = number % options->deployments;
	uint8_t *mark;
	snprintf(name, sizeof(name), "service-%05u-7d9f8b6c5-%05u", service, number);
	snprintf(uid, sizeof(uid), "9b1deb4d-3b7d-4bad-9bdd-%012u", number);
	snprintf(set, sizeof(set), "service-%05u-7d9f8b6c5", service);
	snprintf(set_uid, sizeof(set_uid), "1c2deb4d-3b7d-4bad-9bdd-%012u", service);
	at = begin_meta(&mark, at, name, uid);
	at = put_pair(at, 11, "app.kubernetes.io/name", set);
	at = put_pair(at, 11, "app.kubernetes.io/version", "v1.17");
	at = put_pair(at, 11, "pod-template-hash", "7d9f8b6c5");
	at = put_pair(at, 12, "prometheus.io/scrape", "true");
	at = put_managed(put_owner(at, "ReplicaSet", set, set_uid));
	at = wire_end(mark, at);
	at = begin(&mark, at, 2);
	at = put_container(at, service);
	at = wire_end(mark, putf(at, 10, "node-%05u", number % options->nodes));
	return put_status(at, number, service);
}

static uint8_t *make_set(uint8_t *at, uint32_t number)
{
	char name[64], uid[64], owner[64], owner_uid[64];
	uint8_t *mark;
	snprintf(name, sizeof(name), "service-%05u-7d9f8b6c5", number);
	snprintf(uid, sizeof(uid), "1c2deb4d-3b7d-4bad-9bdd-%012u", number);
	snprintf(owner, sizeof(owner), "service-%05u", number);
	snprintf(owner_uid, sizeof(owner_uid), "2d3deb4d-3b7d-4bad-9bdd-%012u", number);
	at = begin_meta(&mark, at, name, uid);
	at = put_managed(put_owner(at, "Deployment", owner, owner_uid));
	return wire_end(mark, at);
}

static uint8_t *make_node(uint8_t *at, uint32_t number)
{
	char name[64], uid[64];
	uint8_t *mark, *inner;
	snprintf(name, sizeof(name), "node-%05u", number);
	snprintf(uid, sizeof(uid), "3e4deb4d-3b7d-4bad-9bdd-%012u", number);
	at = begin_meta(&mark, at, name, uid);
	at = put_pair(at, 11, "topology.kubernetes.io/zone", number % 3 ? "zone-a" : "zone-b");
	at = wire_end(mark, put_managed(at));
	at = begin(&mark, at, 3);
	at = begin(&inner, at, 5);
	at = wire_end(inner, putf(put(at, 1, "InternalIP"), 2, "192.168.%u.%u", number >> 8,
				  number & 255));
	return wire_end(mark, at);
}

static uint8_t *make_service(uint8_t *at, uint32_t number)
{
	char name[64], uid[64];
	uint8_t *mark, *inner;
	snprintf(name, sizeof(name), "service-%05u", number);
	snprintf(uid, sizeof(uid), "4f5deb4d-3b7d-4bad-9bdd-%012u", number);
	at = wire_end(mark, begin_meta(&mark, at, name, uid));
	at = begin(&mark, at, 2);
	at = begin(&inner, at, 1);
	at = wire_end(inner, wire_uint(put(at, 2, "TCP"), 3, 80));
	at = putf(at, 3, "172.20.%u.%u", number >> 8, number & 255);
	return wire_end(mark, put(at, 4, "ClusterIP"));
}

static uint8_t *make_namespace(uint8_t *at)
{
	uint8_t *mark;
	at = begin_meta(&mark, at, "production", "5a6deb4d-3b7d-4bad-9bdd-000000000000");
	return wire_end(mark, at);
}

static size_t make_object(const struct cluster_options *options, enum kind kind, uint32_t number,
			  uint8_t bytes[OBJECT_MAX])
{
	uint8_t *end = kind == PODS	     ? make_pod(options, bytes, number)
		       : kind == REPLICASETS ? make_set(bytes, number)
		       : kind == NODES	     ? make_node(bytes, number)
		       : kind == SERVICES    ? make_service(bytes, number)
					     : make_namespace(bytes);
	return (size_t)(end - bytes);
}

/* ---- pages ---- */

static uint32_t count_of(const struct cluster_options *options, enum kind kind)
{
	const uint32_t counts[KINDS] = {[NAMESPACES] = 1,
					[NODES] = options->nodes,
					[REPLICASETS] = options->deployments,
					[PODS] = options->pods,
					[SERVICES] = options->deployments};
	return counts[kind];
}

static struct page make_page(const struct cluster_options *options, enum kind kind, uint32_t from,
			     uint32_t count)
{
	uint8_t object[OBJECT_MAX], *raw, *meta;
	bool more = from + count < count_of(options, kind);
	struct page page = {.bytes = memory_resize(NULL, (size_t)count + 1, OBJECT_MAX)};
	uint8_t *at = page.bytes;
	memcpy(at, "k8s", 4);
	at = put_pair(at + 4, 1, "v1", "List");
	at = begin(&raw, at, 2);
	at = begin(&meta, at, 1);
	at = putf(at, 2, "%d", VERSION);
	if (more)
		at = putf(at, 3, "%u", from + count);
	at = wire_end(meta, at);
	for (uint32_t i = 0; i < count; i++)
		at = wire_element(at, 2, object, make_object(options, kind, from + i, object));
	at = wire_end(raw, at);
	page.length = (size_t)(at - page.bytes);
	page.bytes = memory_resize(page.bytes, page.length, 1);
	return page;
}

static void make_pages(struct cluster *cluster, enum kind kind)
{
	uint32_t all = count_of(&cluster->options, kind), size = cluster->options.page;
	uint32_t count = all ? (all + size - 1) / size : 1;
	cluster->pages[kind] = memory_zeroed(count, sizeof(struct page));
	cluster->pages_count[kind] = count;
	for (uint32_t i = 0; i < count; i++)
		cluster->pages[kind][i] = make_page(&cluster->options, kind, i * size,
						    all - i * size < size ? all - i * size : size);
}

/* ---- HTTP ---- */

static bool send_all(int socket, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;
	while (length) {
		ssize_t sent = send(socket, at, length, MSG_NOSIGNAL);
		if (sent <= 0)
			return false;
		at += sent;
		length -= (size_t)sent;
	}
	return true;
}

static bool send_page(int socket, const struct page *page)
{
	char head[256];
	int length = snprintf(head, sizeof(head),
			      "HTTP/1.1 200 OK\r\nContent-Type: "
			      "application/vnd.kubernetes.protobuf\r\nContent-Length: %zu\r\n\r\n",
			      page->length);
	return send_all(socket, head, (size_t)length) &&
	       send_all(socket, page->bytes, page->length);
}

static bool send_watch(int socket)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
	return send_all(socket, head, sizeof(head) - 1);
}

/* "GET /api/v1/pods?limit=500&continue=500 HTTP/1.1" */
static bool answer(const struct connection *connection, char *request)
{
	const struct cluster *cluster = connection->cluster;
	char *query = strchr(request, '?');
	const char *next = query ? strstr(query, "continue=") : NULL;
	char *end = strpbrk(request, "?\r\n");
	if (end)
		*end = '\0';
	char *kind = strrchr(request, '/');
	uint32_t from = next ? (uint32_t)strtoul(next + strlen("continue="), NULL, 10) : 0;
	if (query && strstr(query + 1, "watch="))
		return send_watch(connection->socket);
	for (int i = 0; kind && i < KINDS; i++) {
		if (strncmp(kind + 1, paths[i], strlen(paths[i])) != 0)
			continue;
		uint32_t page = from / cluster->options.page;
		return page < cluster->pages_count[i] &&
		       send_page(connection->socket, &cluster->pages[i][page]);
	}
	return false;
}

static void *serve(void *argument)
{
	const struct connection *connection = argument;
	char request[REQUEST_MAX];
	size_t length = 0;
	for (;;) {
		ssize_t got =
			recv(connection->socket, request + length, sizeof(request) - 1 - length, 0);
		if (got <= 0)
			break;
		length += (size_t)got;
		request[length] = '\0';
		if (!strstr(request, "\r\n\r\n"))
			continue;
		if (!answer(connection, request))
			break;
		length = 0;
	}
	return NULL;
}

static void *accept_all(void *argument)
{
	struct cluster *cluster = argument;
	const int yes = 1;
	while (cluster->connections_count < CONNECTIONS_MAX) {
		struct connection *connection = &cluster->connections[cluster->connections_count];
		connection->cluster = cluster;
		connection->socket = accept(cluster->socket, NULL, NULL);
		if (connection->socket < 0)
			break;
		setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
		if (pthread_create(&connection->thread, NULL, serve, connection) != 0)
			fail("pthread_create");
		cluster->connections_count++;
	}
	return NULL;
}

struct cluster *cluster_new(const struct cluster_options *options)
{
	struct cluster *cluster = memory_zeroed(1, sizeof(*cluster));
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	cluster->options = *options;
	for (int kind = 0; kind < KINDS; kind++)
		make_pages(cluster, (enum kind)kind);
	cluster->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (cluster->socket < 0 ||
	    bind(cluster->socket, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(cluster->socket, CONNECTIONS_MAX) != 0 ||
	    getsockname(cluster->socket, (struct sockaddr *)&address, &size) != 0)
		fail("an API server on the loopback");
	snprintf(cluster->url, sizeof(cluster->url), "http://127.0.0.1:%u",
		 ntohs(address.sin_port));
	if (pthread_create(&cluster->thread, NULL, accept_all, cluster) != 0)
		fail("pthread_create");
	return cluster;
}

const char *cluster_url(const struct cluster *cluster)
{
	return cluster->url;
}

uint64_t cluster_bytes(const struct cluster *cluster)
{
	uint64_t bytes = 0;
	for (int kind = 0; kind < KINDS; kind++)
		for (uint32_t i = 0; i < cluster->pages_count[kind]; i++)
			bytes += cluster->pages[kind][i].length;
	return bytes;
}

void cluster_free(struct cluster *cluster)
{
	shutdown(cluster->socket, SHUT_RDWR);
	pthread_join(cluster->thread, NULL);
	close(cluster->socket);
	for (uint32_t i = 0; i < cluster->connections_count; i++) {
		shutdown(cluster->connections[i].socket, SHUT_RDWR);
		pthread_join(cluster->connections[i].thread, NULL);
		close(cluster->connections[i].socket);
	}
	for (int kind = 0; kind < KINDS; kind++) {
		for (uint32_t i = 0; i < cluster->pages_count[kind]; i++)
			memory_free(cluster->pages[kind][i].bytes);
		memory_free(cluster->pages[kind]);
	}
	memory_free(cluster);
}
