/* Pods: what is asked for, and what became of it (k8s.io/api/core/v1). */
#include "kube/reader.h"

#include <string.h>

static struct kube_container container_empty(enum kube_container_sort sort)
{
	return (struct kube_container){.sort = sort,
				       .name = "",
				       .image = "",
				       .status_image = "",
				       .image_id = "",
				       .id = "",
				       .termination = {.id = "", .reason = ""}};
}

/* The pod's container of that name, or a new one; NULL: there are too many. */
static struct kube_container *container_of(struct kube_reader *reader, const char *name,
					   enum kube_container_sort sort)
{
	uint32_t *count = &reader->object.pod.containers_count;
	for (uint32_t i = 0; i < *count; i++)
		if (reader->containers[i].sort == sort &&
		    strcmp(reader->containers[i].name, name) == 0)
			return &reader->containers[i];
	if (!kube_reader_room(reader, *count, KUBE_CONTAINERS_MAX))
		return NULL;
	struct kube_container *container = &reader->containers[(*count)++];
	*container = container_empty(sort);
	container->name = name;
	return container;
}

/* A Container, or an EphemeralContainerCommon. */
static void read_container(struct kube_reader *reader, const struct kube_field *message,
			   enum kube_container_sort sort)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	const char *name = "", *image = "";
	struct kube_field field;
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 1)
			name = kube_reader_text(reader, &field);
		else if (field.number == 2)
			image = kube_reader_text(reader, &field);
	struct kube_container *container = container_of(reader, name, sort);
	if (container)
		container->image = image;
}

static struct kube_termination read_termination(struct kube_reader *reader,
						const struct kube_field *message)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_termination termination = {.id = "", .reason = ""};
	struct kube_field field;
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 1)
			termination.exit_code = kube_field_int(&field);
		else if (field.number == 3)
			termination.reason = kube_reader_text(reader, &field);
		else if (field.number == 5)
			termination.started_ns = kube_reader_time(reader, &field);
		else if (field.number == 6)
			termination.finished_ns = kube_reader_time(reader, &field);
		else if (field.number == 7)
			termination.id = kube_reader_text(reader, &field);
	return termination;
}

/* What a ContainerState says: since when it runs, and how it ended. */
static bool read_state(struct kube_reader *reader, const struct kube_field *message,
		       uint64_t *started_ns, struct kube_termination *termination)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_field field, started;
	bool ended = false;
	while (kube_reader_next(reader, &cursor, &field))
		if (field.number == 2) {
			started = kube_reader_only(reader, &field, 1);
			*started_ns = kube_reader_time(reader, &started);
		} else if (field.number == 3) {
			*termination = read_termination(reader, &field);
			ended = true;
		}
	return ended;
}

static void read_container_status(struct kube_reader *reader, const struct kube_field *message,
				  enum kube_container_sort sort)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_container status = container_empty(sort);
	struct kube_termination before = status.termination;
	uint64_t unused;
	struct kube_field field;
	while (kube_reader_next(reader, &cursor, &field)) {
		switch (field.number) {
		case 1:
			status.name = kube_reader_text(reader, &field);
			break;
		case 2:
			status.ended =
				read_state(reader, &field, &status.started_ns, &status.termination);
			break;
		case 3:
			status.ended_before = read_state(reader, &field, &unused, &before);
			break;
		case 4:
			status.ready = field.value != 0;
			break;
		case 5:
			status.restarts = kube_field_int(&field) > 0 ? (uint32_t)field.value : 0;
			break;
		case 6:
			status.status_image = kube_reader_text(reader, &field);
			break;
		case 7:
			status.image_id = kube_reader_text(reader, &field);
			break;
		case 8:
			status.id = kube_reader_text(reader, &field);
			break;
		}
	}
	if (status.ended)
		status.ended_before = false;
	else if (status.ended_before)
		status.termination = before;
	struct kube_container *container = container_of(reader, status.name, sort);
	if (container) {
		status.image = container->image;
		*container = status;
	}
}

static void read_pod_spec(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_pod *pod = &reader->object.pod;
	struct kube_field field, common;
	while (kube_reader_next(reader, &cursor, &field)) {
		switch (field.number) {
		case 2:
			read_container(reader, &field, KUBE_CONTAINER);
			break;
		case 10:
			pod->node = kube_reader_text(reader, &field);
			break;
		case 11:
			pod->host_network = field.value != 0;
			break;
		case 20:
			read_container(reader, &field, KUBE_CONTAINER_INIT);
			break;
		case 34:
			common = kube_reader_only(reader, &field, 1);
			read_container(reader, &common, KUBE_CONTAINER_EPHEMERAL);
			break;
		}
	}
}

static void read_pod_status(struct kube_reader *reader, const struct kube_field *message)
{
	struct kube_cursor cursor = kube_cursor_into(message);
	struct kube_pod *pod = &reader->object.pod;
	struct kube_field field, address;
	while (kube_reader_next(reader, &cursor, &field)) {
		switch (field.number) {
		case 1:
			pod->phase = kube_reader_text(reader, &field);
			break;
		case 2:
			kube_reader_condition(reader, &field, &pod->conditions_count);
			break;
		case 6:
			kube_reader_address(reader, reader->addresses, &pod->addresses_count,
					    KUBE_ADDRESSES_FEW, &field);
			break;
		case 7:
			pod->start_ns = kube_reader_time(reader, &field);
			break;
		case 8:
			read_container_status(reader, &field, KUBE_CONTAINER);
			break;
		case 10:
			read_container_status(reader, &field, KUBE_CONTAINER_INIT);
			break;
		case 12:
			address = kube_reader_only(reader, &field, 1);
			kube_reader_address(reader, reader->addresses, &pod->addresses_count,
					    KUBE_ADDRESSES_FEW, &address);
			break;
		case 13:
			read_container_status(reader, &field, KUBE_CONTAINER_EPHEMERAL);
			break;
		}
	}
}

void kube_reader_pod(struct kube_reader *reader, const struct kube_field *field)
{
	if (field->number == 2)
		read_pod_spec(reader, field);
	else if (field->number == 3)
		read_pod_status(reader, field);
}
