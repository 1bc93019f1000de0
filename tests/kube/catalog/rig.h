/* A catalog with a topic behind it: the latest record of each id, as compaction leaves it. And
 * objects as a cluster might have them. For tests only. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "kube/catalog/catalog.h"
#include "kube/catalog/store.h"

#define RIG_KEEP_NS (3600 * NS_PER_S)
#define AT(s)	    ((1700000000ULL + (s)) * NS_PER_S)

struct rig_record {
	char id[CATALOG_ID_MAX + 1];
	Millrace__V1__Metadata *message; /* NULL: it was taken back */
	uint32_t told;
};

struct rig {
	struct catalog *catalog;
	struct rig_record *records; /* in the order of their first telling */
	size_t count, capacity, told, taken_back;
	size_t *index, index_size; /* open addressing: record + 1 */
};

static inline size_t *rig_place(const struct rig *rig, const char *id)
{
	uint64_t at = store_key(id) & (rig->index_size - 1);
	while (rig->index[at] && strcmp(rig->records[rig->index[at] - 1].id, id) != 0)
		at = (at + 1) & (rig->index_size - 1);
	return &rig->index[at];
}

static inline struct rig_record *rig_record(const struct rig *rig, const char *id)
{
	size_t at = rig->index_size ? *rig_place(rig, id) : 0;
	return at ? &rig->records[at - 1] : NULL;
}

static inline void rig_grow(struct rig *rig)
{
	rig->capacity = rig->capacity ? 2 * rig->capacity : 64;
	rig->records = realloc(rig->records, rig->capacity * sizeof(*rig->records));
	free(rig->index);
	rig->index_size = 4 * rig->capacity;
	rig->index = calloc(rig->index_size, sizeof(*rig->index));
	for (size_t i = 0; i < rig->count; i++)
		*rig_place(rig, rig->records[i].id) = i + 1;
}

static inline void rig_sink(void *context, const char *id, const Millrace__V1__Metadata *message)
{
	struct rig *rig = context;
	if (rig->count == rig->capacity)
		rig_grow(rig);
	struct rig_record *record = rig_record(rig, id);
	if (!record) {
		record = &rig->records[rig->count++];
		*record = (struct rig_record){0};
		snprintf(record->id, sizeof(record->id), "%s", id);
		*rig_place(rig, id) = rig->count;
	}
	if (record->message)
		millrace__v1__metadata__free_unpacked(record->message, NULL);
	record->message = NULL;
	if (!message) {
		rig->taken_back++;
		return;
	}
	assert_string_equal(message->id, id);
	assert_int_equal(message->version, 1);
	assert_true(message->until_ns == 0 || message->until_ns >= message->from_ns);
	assert_true(message->from_ns <= message->observed_ns);
	assert_true(message->until_ns <= message->observed_ns);
	size_t length = millrace__v1__metadata__get_packed_size(message);
	uint8_t *bytes = malloc(length);
	millrace__v1__metadata__pack(message, bytes);
	record->message = millrace__v1__metadata__unpack(NULL, length, bytes);
	free(bytes);
	assert_non_null(record->message);
	record->told++;
	rig->told++;
}

/* Room for what tests have, as sanitizers touch all of it. */
static inline struct catalog_options rig_options(struct rig *rig)
{
	struct catalog_options options = {
		.cluster = "c1", .keep_ns = RIG_KEEP_NS, .sink = rig_sink, .context = rig};
	for (int kind = 0; kind < KUBE_KINDS; kind++)
		options.objects_max[kind] = 1024;
	return options;
}

static inline struct rig *rig_new(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct catalog_options options = rig_options(rig);
	rig->catalog = catalog_new(&options);
	return rig;
}

/* Another watcher takes over: it learns what the topic holds. */
static inline void rig_restart(struct rig *rig)
{
	struct catalog_options options = rig_options(rig);
	catalog_free(rig->catalog);
	rig->catalog = catalog_new(&options);
	for (size_t i = 0; i < rig->count; i++)
		if (rig->records[i].message)
			catalog_learn(rig->catalog, rig->records[i].message);
}

static inline void rig_free(struct rig *rig)
{
	for (size_t i = 0; i < rig->count; i++)
		if (rig->records[i].message)
			millrace__v1__metadata__free_unpacked(rig->records[i].message, NULL);
	catalog_free(rig->catalog);
	free(rig->records);
	free(rig->index);
	free(rig);
}

/* The record of kind/uid/number, which must be there. */
static inline const Millrace__V1__Metadata *rig_told(const struct rig *rig, const char *kind,
						     const char *uid, unsigned number)
{
	char id[CATALOG_ID_MAX + 1];
	snprintf(id, sizeof(id), "c1/%s/%s/%u", kind, uid, number);
	const struct rig_record *record = rig_record(rig, id);
	if (!record || !record->message)
		fail_msg("no record %s", id);
	return record->message;
}

static inline bool rig_has(const struct rig *rig, const char *kind, const char *uid,
			   unsigned number)
{
	char id[CATALOG_ID_MAX + 1];
	snprintf(id, sizeof(id), "c1/%s/%s/%u", kind, uid, number);
	const struct rig_record *record = rig_record(rig, id);
	return record && record->message;
}

/* The changes of a kind; `last` gets the latest told. */
static inline size_t rig_changes(const struct rig *rig, Millrace__V1__ChangeKind kind,
				 const Millrace__V1__Change **last)
{
	size_t count = 0;
	*last = NULL;
	for (size_t i = 0; i < rig->count; i++) {
		const Millrace__V1__Metadata *message = rig->records[i].message;
		if (!message || !message->change || message->change->kind != kind)
			continue;
		*last = message->change;
		count++;
	}
	return count;
}

/* ---- objects: each is made to be changed, and lives as long as the caller's block */

static inline struct kube_object rig_object(enum kube_kind kind, const char *uid, const char *name,
					    uint64_t created_ns)
{
	return (struct kube_object){.kind = kind,
				    .uid = uid,
				    .namespace = "shop",
				    .name = name,
				    .resource_version = "1",
				    .created_ns = created_ns};
}

/* Runs on node-1 at 10.0.0.`host` (0: no address yet). */
#define RIG_POD(variable, uid_, name_, host, created)                                    \
	struct address variable##_address = address_v4(0x0a000000 | (uint32_t)(host));   \
	struct kube_container variable##_container = {.name = "main",                    \
						      .image = "registry:5000/shop:v1",  \
						      .status_image = "",                \
						      .image_id = "",                    \
						      .id = "",                          \
						      .termination = {"", "", 0, 0, 0}}; \
	struct kube_object variable = rig_object(KUBE_POD, uid_, name_, created);        \
	variable.pod = (struct kube_pod)                                                 \
	{                                                                                \
		.node = "node-1", .phase = "Running", .addresses = &variable##_address,  \
		.addresses_count = (host) != 0, .containers = &variable##_container,     \
		.containers_count = 1                                                    \
	}

#define RIG_OWNED(variable, kind_, uid_, name_)                          \
	struct kube_owner variable##_owner = {kind_, name_, uid_, true}; \
	variable.owners = &variable##_owner;                             \
	variable.owners_count = 1

static inline struct kube_object rig_sets(const char *uid, const char *name, uint64_t created_ns,
					  const char *image)
{
	struct kube_object object = rig_object(KUBE_REPLICA_SET, uid, name, created_ns);
	object.replicas = (struct kube_replicas){
		.wanted = 3, .present = 3, .template_version = "", .template_image = image};
	return object;
}
