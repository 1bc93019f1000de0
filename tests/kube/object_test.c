/* Objects from the bytes of an API server, and what is made of bytes that no server would send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/clock.h"
#include "kube/object.h"
#include "tests/kube/message.h"

#define UID "e9c54bee-300e-4ad7-81bd-8a4b9ffd8c56"

struct fixture {
	struct kube_reader *reader;
};

static int setup(void **state)
{
	static const char *const labels[] = {"app", "team*"}, *const annotations[] = {"note*"};
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	fixture->reader = kube_reader_new(&(struct kube_reader_options){labels, annotations, 2, 1});
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	kube_reader_free(fixture->reader);
	free(fixture);
	return 0;
}

/* Frees the message; the object is the reader's. */
static const struct kube_object *read_as(void **state, enum kube_kind kind, struct message message)
{
	struct fixture *fixture = *state;
	const struct kube_object *object =
		kube_reader_object(fixture->reader, kind, message.bytes, message.length);
	free(message.bytes);
	return object;
}

static struct kube_reader_stats stats(void **state)
{
	return kube_reader_stats(((struct fixture *)*state)->reader);
}

static struct message with_meta(struct message meta)
{
	struct message message = {0};
	message_put(&message, 1, meta);
	return message;
}

static struct message plain(void)
{
	return with_meta(message_meta("web-1", UID, "182"));
}

static void metadata_is_read_with_owners_and_times(void **state)
{
	struct message meta = message_meta("web-1", UID, "182"), owner = {0};
	message_put(&meta, 9, message_time(1700000007));
	message_text(&owner, 1, "ReplicaSet");
	message_text(&owner, 3, "web-abc");
	message_text(&owner, 4, "u-1");
	message_text(&owner, 5, "apps/v1");
	message_number(&owner, 6, 1);
	message_put(&meta, 13, owner);
	const struct kube_object *object = read_as(state, KUBE_NAMESPACE, with_meta(meta));
	assert_non_null(object);
	assert_string_equal(object->name, "web-1");
	assert_string_equal(object->namespace, "shop");
	assert_string_equal(object->uid, UID);
	assert_string_equal(object->resource_version, "182");
	assert_int_equal(object->created_ns, 1700000000 * NS_PER_S);
	assert_int_equal(object->deleted_ns, 1700000007 * NS_PER_S);
	assert_int_equal(object->owners_count, 1);
	assert_string_equal(object->owners[0].kind, "ReplicaSet");
	assert_string_equal(object->owners[0].name, "web-abc");
	assert_string_equal(object->owners[0].uid, "u-1");
	assert_true(object->owners[0].controller);
}

static void labels_and_annotations_are_kept_if_asked_for_or_needed(void **state)
{
	struct message meta = message_meta("web-1", UID, "182");
	message_put(&meta, 11, message_pair("app", "web"));
	message_put(&meta, 11, message_pair("app.kubernetes.io/version", "3"));
	message_put(&meta, 11, message_pair("other", "x"));
	message_put(&meta, 11, message_pair("team.lead", "ada"));
	message_put(&meta, 12, message_pair("note1", "n"));
	message_put(&meta, 12, message_pair("kubectl.kubernetes.io/last-applied", "{}"));
	message_put(&meta, 12, message_pair("deployment.kubernetes.io/revision", "7"));
	const struct kube_object *object = read_as(state, KUBE_NAMESPACE, with_meta(meta));
	assert_int_equal(object->labels_count, 3);
	assert_string_equal(object->labels[0].value, "web");
	assert_true(object->labels[0].asked);
	assert_false(object->labels[1].asked);
	assert_string_equal(kube_pair_find(object->labels, object->labels_count, "team.lead"),
			    "ada");
	assert_null(kube_pair_find(object->labels, object->labels_count, "other"));
	assert_int_equal(object->annotations_count, 2);
	assert_string_equal(object->annotations[0].key, "note1");
	assert_string_equal(object->annotations[1].value, "7");
}

static struct message container_status(const char *name, uint32_t state_field,
				       struct message running_or_ended, const char *id)
{
	struct message status = message_of_text(1, name), state = {0};
	message_put(&state, state_field, running_or_ended);
	message_put(&status, 2, state);
	message_number(&status, 5, 4);
	message_text(&status, 6, "docker.io/nginx:1");
	message_text(&status, 7, "sha256:aa");
	message_text(&status, 8, id);
	return status;
}

static struct message termination(const char *reason, uint32_t code)
{
	struct message ended = {0};
	message_number(&ended, 1, code);
	message_text(&ended, 3, reason);
	message_put(&ended, 6, message_time(1700000100));
	message_text(&ended, 7, "containerd://old");
	return ended;
}

static void a_pods_containers_are_put_together_from_spec_and_status(void **state)
{
	struct message pod = plain(), spec = {0}, status = {0}, ephemeral = {0}, one, last = {0},
		       started = {0}, container = message_pair("web", "nginx:1");
	message_put(&spec, 20, message_pair("init", "busybox"));
	message_put(&spec, 2, container);
	message_text(&spec, 10, "node-1");
	message_number(&spec, 11, 1);
	message_put(&ephemeral, 1, message_pair("debug", "sh"));
	message_put(&spec, 34, ephemeral);
	message_text(&status, 1, "Running");
	message_put(&status, 7, message_time(1700000002));
	message_put(&started, 1, message_time(1700000101));
	one = container_status("web", 2, started, "containerd://new");
	message_put(&last, 3, termination("OOMKilled", 137));
	message_put(&one, 3, last);
	message_put(&status, 8, one);
	message_put(&status, 10,
		    container_status("init", 3, termination("Completed", 0), "containerd://old"));
	message_put(&pod, 2, spec);
	message_put(&pod, 3, status);
	const struct kube_object *object = read_as(state, KUBE_POD, pod);
	assert_non_null(object);
	assert_string_equal(object->pod.node, "node-1");
	assert_true(object->pod.host_network);
	assert_string_equal(object->pod.phase, "Running");
	assert_int_equal(object->pod.start_ns, 1700000002 * NS_PER_S);
	assert_int_equal(object->pod.containers_count, 3);
	const struct kube_container *init = &object->pod.containers[0];
	const struct kube_container *web = &object->pod.containers[1];
	assert_int_equal(init->sort, KUBE_CONTAINER_INIT);
	assert_true(init->ended && !init->ended_before);
	assert_string_equal(init->termination.reason, "Completed");
	assert_string_equal(web->name, "web");
	assert_string_equal(web->image, "nginx:1");
	assert_string_equal(web->status_image, "docker.io/nginx:1");
	assert_string_equal(web->id, "containerd://new");
	assert_int_equal(web->restarts, 4);
	assert_int_equal(web->started_ns, 1700000101 * NS_PER_S);
	assert_true(web->ended_before && !web->ended);
	assert_string_equal(web->termination.reason, "OOMKilled");
	assert_int_equal(web->termination.exit_code, 137);
	assert_int_equal(web->termination.finished_ns, 1700000100 * NS_PER_S);
	assert_int_equal(object->pod.containers[2].sort, KUBE_CONTAINER_EPHEMERAL);
	assert_string_equal(object->pod.containers[2].image, "sh");
}

static void a_pods_addresses_are_each_told_once(void **state)
{
	struct message pod = plain(), status = {0}, condition = {0};
	message_text(&status, 6, "10.0.0.7");
	message_put(&status, 12, message_of_text(1, "10.0.0.7"));
	message_put(&status, 12, message_of_text(1, "fd00::7"));
	message_put(&status, 12, message_of_text(1, "10.0.0.777"));
	message_text(&condition, 1, "PodScheduled");
	message_text(&condition, 2, "True");
	message_put(&condition, 4, message_time(1700000001));
	message_put(&status, 2, condition);
	message_put(&pod, 3, status);
	const struct kube_object *object = read_as(state, KUBE_POD, pod);
	assert_int_equal(object->pod.addresses_count, 2);
	assert_true(address_is_v4(&object->pod.addresses[0]));
	assert_false(address_is_v4(&object->pod.addresses[1]));
	assert_int_equal(stats(state).addresses, 1);
	assert_int_equal(object->pod.conditions_count, 1);
	assert_string_equal(object->pod.conditions[0].type, "PodScheduled");
	assert_int_equal(object->pod.conditions[0].since_ns, 1700000001 * NS_PER_S);
}

static void a_node_has_its_addresses_but_not_its_names(void **state)
{
	struct message node = plain(), spec = {0}, status = {0};
	message_text(&spec, 3, "aws:///a/i-1");
	message_number(&spec, 4, 1);
	message_put(&status, 5, message_pair("InternalIP", "192.168.0.1"));
	message_put(&status, 5, message_pair("Hostname", "10.0.0.9"));
	message_put(&status, 5, message_pair("ExternalIP", "203.0.113.1"));
	message_put(&node, 2, spec);
	message_put(&node, 3, status);
	const struct kube_object *object = read_as(state, KUBE_NODE, node);
	assert_string_equal(object->node.provider_id, "aws:///a/i-1");
	assert_true(object->node.unschedulable);
	assert_int_equal(object->node.addresses_count, 2);
}

static void a_service_has_every_address_that_leads_to_it(void **state)
{
	struct message service = plain(), spec = {0}, port = {0}, balancer = {0}, status = {0};
	message_text(&port, 1, "dns");
	message_text(&port, 2, "UDP");
	message_number(&port, 3, 53);
	message_number(&port, 5, 30053);
	message_put(&spec, 1, port);
	message_text(&spec, 3, "10.96.0.9");
	message_text(&spec, 4, "LoadBalancer");
	message_text(&spec, 5, "198.51.100.1");
	message_text(&spec, 18, "10.96.0.9");
	message_text(&spec, 18, "fd00:96::9");
	message_put(&balancer, 1, message_of_text(1, "203.0.113.9"));
	message_put(&balancer, 1, message_of_text(2, "lb.example.com"));
	message_put(&status, 1, balancer);
	message_put(&service, 2, spec);
	message_put(&service, 3, status);
	const struct kube_object *object = read_as(state, KUBE_SERVICE, service);
	assert_string_equal(object->service.type, "LoadBalancer");
	assert_int_equal(object->service.addresses_count, 4);
	assert_int_equal(object->service.ports_count, 1);
	assert_int_equal(object->service.ports[0].protocol, IPPROTO_UDP);
	assert_int_equal(object->service.ports[0].port, 53);
	assert_int_equal(object->service.ports[0].node_port, 30053);
	assert_int_equal(stats(state).addresses, 0);
}

static void a_headless_service_has_no_address(void **state)
{
	struct message service = plain(), spec = {0};
	message_text(&spec, 3, "None");
	message_text(&spec, 18, "None");
	message_put(&service, 2, spec);
	assert_int_equal(read_as(state, KUBE_SERVICE, service)->service.addresses_count, 0);
	assert_int_equal(stats(state).addresses, 0);
}

static void a_slice_says_which_pods_are_behind_which_service(void **state)
{
	struct message meta = message_meta("web-x", UID, "5"), slice = {0}, endpoint = {0},
		       target = {0};
	message_put(&meta, 11, message_pair("kubernetes.io/service-name", "web"));
	message_put(&slice, 1, meta);
	message_text(&endpoint, 1, "10.0.0.7");
	message_text(&target, 1, "Pod");
	message_text(&target, 2, "shop");
	message_text(&target, 3, "web-1");
	message_text(&target, 4, "p-1");
	message_put(&endpoint, 4, target);
	message_put(&slice, 2, endpoint);
	message_text(&slice, 4, "IPv4");
	const struct kube_object *object = read_as(state, KUBE_ENDPOINT_SLICE, slice);
	assert_string_equal(object->endpoint_slice.service, "web");
	assert_string_equal(object->endpoint_slice.address_type, "IPv4");
	assert_int_equal(object->endpoint_slice.endpoints_count, 1);
	assert_string_equal(object->endpoint_slice.endpoints[0].target_uid, "p-1");
	assert_int_equal(object->endpoint_slice.endpoints[0].addresses_count, 1);
}

static struct message template_of(const char *version, const char *image)
{
	struct message template = {0}, meta = {0}, spec = {0};
	message_put(&meta, 11, message_pair("app.kubernetes.io/version", version));
	message_put(&spec, 2, message_pair("web", image));
	message_put(&spec, 2, message_pair("sidecar", "proxy:9"));
	message_put(&template, 1, meta);
	message_put(&template, 2, spec);
	return template;
}

static void replica_sets_and_jobs_say_what_they_make_and_how_many(void **state)
{
	struct message set = plain(), job = plain(), spec = {0}, status = {0};
	message_number(&spec, 1, 5);
	message_put(&spec, 3, template_of("3", "web:3"));
	message_number(&status, 1, 4);
	message_put(&set, 2, spec);
	message_put(&set, 3, status);
	const struct kube_replicas *made = &read_as(state, KUBE_REPLICA_SET, set)->replicas;
	assert_int_equal(made->wanted, 5);
	assert_int_equal(made->present, 4);
	assert_string_equal(made->template_version, "3");
	assert_string_equal(made->template_image, "web:3");
	spec = status = (struct message){0};
	message_number(&spec, 1, 2);
	message_put(&spec, 6, template_of("4", "web:4"));
	message_number(&status, 4, 1);
	message_put(&job, 2, spec);
	message_put(&job, 3, status);
	made = &read_as(state, KUBE_JOB, job)->replicas;
	assert_int_equal(made->wanted, 2);
	assert_int_equal(made->present, 1);
	assert_string_equal(made->template_image, "web:4");
}

static void an_object_without_a_name_or_a_uuid_is_none(void **state)
{
	assert_null(read_as(state, KUBE_POD, with_meta(message_meta("", UID, "1"))));
	assert_null(read_as(state, KUBE_POD, with_meta(message_meta("web-1", "", "1"))));
	assert_null(read_as(state, KUBE_POD, with_meta(message_meta("web-1", UID "x", "1"))));
	assert_null(read_as(state, KUBE_POD, (struct message){0}));
	assert_non_null(read_as(state, KUBE_POD, plain()));
	assert_int_equal(stats(state).malformed, 4);
	assert_int_equal(stats(state).objects, 1);
}

static void texts_are_cut_at_their_bound_at_a_character(void **state)
{
	char text[KUBE_TEXT_MAX + 2] = {0};
	memset(text, 'a', KUBE_TEXT_MAX);
	assert_int_equal(
		strlen(read_as(state, KUBE_POD, with_meta(message_meta(text, UID, "1")))->name),
		KUBE_TEXT_MAX);
	assert_int_equal(stats(state).cut, 0);
	memcpy(text + KUBE_TEXT_MAX - 1, "\xc3\xa9", 2);
	assert_int_equal(
		strlen(read_as(state, KUBE_POD, with_meta(message_meta(text, UID, "1")))->name),
		KUBE_TEXT_MAX - 1);
	assert_int_equal(stats(state).cut, 1);
}

static void what_is_no_text_becomes_question_marks(void **state)
{
	struct message meta = message_meta("web-1", UID, "182"), label = message_of_text(1, "app");
	message_bytes(&label, 2, "a\0b\xff\x1b[2J\xc2\x9b\xc3\xa9", 12);
	message_put(&meta, 11, label);
	const struct kube_object *object = read_as(state, KUBE_POD, with_meta(meta));
	assert_string_equal(object->labels[0].value, "a?b??[2J??\xc3\xa9");
}

static void more_labels_than_are_kept_are_counted_and_needed_ones_stay(void **state)
{
	struct message meta = message_meta("web-1", UID, "182");
	for (int i = 0; i < 100000; i++)
		message_put(&meta, 11, message_pair("team", "a"));
	message_put(&meta, 11, message_pair("app.kubernetes.io/version", "3"));
	const struct kube_object *object = read_as(state, KUBE_POD, with_meta(meta));
	assert_int_equal(object->labels_count, KUBE_LABELS_MAX + 1);
	assert_string_equal(object->labels[KUBE_LABELS_MAX].value, "3");
	assert_int_equal(stats(state).dropped, 100000 - KUBE_LABELS_MAX);
}

/* `count` elements in field `number` of field `part` of an object; part 1 is its metadata. */
static const struct kube_object *read_many(void **state, enum kube_kind kind, uint32_t part,
					   uint32_t number, int count,
					   struct message (*element)(int i))
{
	struct message meta = message_meta("web-1", UID, "182"), whole = {0}, other = {0};
	struct message *to = part == 1 ? &meta : part ? &other : &whole;
	for (int i = 0; i < count; i++)
		message_put(to, number, element(i));
	message_put(&whole, 1, meta);
	if (part > 1)
		message_put(&whole, part, other);
	return read_as(state, kind, whole);
}

static struct message numbered(int i)
{
	char text[32];
	snprintf(text, sizeof(text), "n%d", i);
	return message_of_text(1, text);
}

static struct message note(int i)
{
	char text[32];
	snprintf(text, sizeof(text), "note%d", i);
	return message_pair(text, "x");
}

static struct message address(int i)
{
	char text[32];
	snprintf(text, sizeof(text), "10.0.%d.%d", i / 256, i % 256);
	return message_of_text(1, text);
}

static struct message node_address(int i)
{
	struct message message = message_of_text(1, "InternalIP"), ip = address(i);
	message_bytes(&message, 2, ip.bytes + 2, ip.length - 2);
	free(ip.bytes);
	return message;
}

static struct message ingress_holder(int i)
{
	struct message message = {0};
	(void)i;
	for (int at = 0; at < KUBE_ADDRESSES_MAX + 1; at++)
		message_put(&message, 1, address(at));
	return message;
}

static void lists_keep_as_many_as_they_may_and_count_the_rest(void **state)
{
	uint64_t dropped = 0;
	for (int more = 0; more < 2; more++) {
		const struct kube_object *object;
		object = read_many(state, KUBE_POD, 1, 13, KUBE_OWNERS_MAX + more, numbered);
		assert_int_equal(object->owners_count, KUBE_OWNERS_MAX);
		object = read_many(state, KUBE_POD, 1, 12, KUBE_LABELS_MAX + more, note);
		assert_int_equal(object->annotations_count, KUBE_LABELS_MAX);
		object = read_many(state, KUBE_POD, 2, 2, KUBE_CONTAINERS_MAX + more, numbered);
		assert_int_equal(object->pod.containers_count, KUBE_CONTAINERS_MAX);
		object = read_many(state, KUBE_POD, 3, 8, KUBE_CONTAINERS_MAX + more, numbered);
		assert_int_equal(object->pod.containers_count, KUBE_CONTAINERS_MAX);
		object = read_many(state, KUBE_POD, 3, 2, KUBE_CONDITIONS_MAX + more, numbered);
		assert_int_equal(object->pod.conditions_count, KUBE_CONDITIONS_MAX);
		object = read_many(state, KUBE_POD, 3, 12, KUBE_ADDRESSES_FEW + more, address);
		assert_int_equal(object->pod.addresses_count, KUBE_ADDRESSES_FEW);
		object = read_many(state, KUBE_NODE, 3, 5, KUBE_ADDRESSES_FEW + more, node_address);
		assert_int_equal(object->node.addresses_count, KUBE_ADDRESSES_FEW);
		object = read_many(state, KUBE_SERVICE, 2, 1, KUBE_PORTS_MAX + more, numbered);
		assert_int_equal(object->service.ports_count, KUBE_PORTS_MAX);
		object = read_many(state, KUBE_ENDPOINT_SLICE, 0, 2, KUBE_ENDPOINTS_MAX + more,
				   address);
		assert_int_equal(object->endpoint_slice.endpoints_count, KUBE_ENDPOINTS_MAX);
		dropped += more ? 9 : 0;
		assert_int_equal(stats(state).dropped, dropped);
	}
	const struct kube_object *object = read_many(state, KUBE_SERVICE, 3, 1, 1, ingress_holder);
	assert_int_equal(object->service.addresses_count, KUBE_ADDRESSES_MAX);
	assert_int_equal(stats(state).dropped, dropped + 1);
}

static void a_huge_annotation_costs_its_own_size_and_nothing_of_it_is_kept(void **state)
{
	size_t length = 10 << 20;
	char *huge = malloc(length + 1);
	struct message meta = message_meta("web-1", UID, "182");
	memset(huge, 'x', length);
	huge[length] = '\0';
	message_put(&meta, 12, message_pair("big", huge));
	message_put(&meta, 12, message_pair("note", huge));
	const struct kube_object *object = read_as(state, KUBE_POD, with_meta(meta));
	assert_int_equal(object->annotations_count, 1);
	assert_int_equal(strlen(object->annotations[0].value), KUBE_TEXT_MAX);
	assert_int_equal(stats(state).cut, 1);
	free(huge);
}

static void names_repeated_without_end_use_up_the_room_for_texts_and_no_more(void **state)
{
	char text[KUBE_TEXT_MAX + 1] = {0};
	struct message meta = {0};
	memset(text, 'a', KUBE_TEXT_MAX);
	for (int i = 0; i < 6000; i++)
		message_text(&meta, 1, text);
	message_text(&meta, 5, UID);
	assert_null(read_as(state, KUBE_POD, with_meta(meta))); /* no room for its uid is left */
	assert_true(stats(state).cut > 0);
	assert_non_null(read_as(state, KUBE_POD, plain()));
}

static void nothing_is_read_beyond_a_message_cut_anywhere(void **state)
{
	struct message pod = plain(), status = {0};
	message_put(&status, 12, message_of_text(1, "10.0.0.7"));
	message_put(&pod, 3, status);
	uint32_t whole = 0;
	for (size_t length = 0; length < pod.length; length++) {
		struct message cut = {.bytes = malloc(length + !length), .length = length};
		memcpy(cut.bytes, pod.bytes, length);
		whole += read_as(state, KUBE_POD, cut) != NULL;
	}
	assert_int_equal(whole, 1); /* where the status would begin */
	free(pod.bytes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(metadata_is_read_with_owners_and_times),
		TEST(labels_and_annotations_are_kept_if_asked_for_or_needed),
		TEST(a_pods_containers_are_put_together_from_spec_and_status),
		TEST(a_pods_addresses_are_each_told_once),
		TEST(a_node_has_its_addresses_but_not_its_names),
		TEST(a_service_has_every_address_that_leads_to_it),
		TEST(a_headless_service_has_no_address),
		TEST(a_slice_says_which_pods_are_behind_which_service),
		TEST(replica_sets_and_jobs_say_what_they_make_and_how_many),
		TEST(an_object_without_a_name_or_a_uuid_is_none),
		TEST(texts_are_cut_at_their_bound_at_a_character),
		TEST(what_is_no_text_becomes_question_marks),
		TEST(more_labels_than_are_kept_are_counted_and_needed_ones_stay),
		TEST(lists_keep_as_many_as_they_may_and_count_the_rest),
		TEST(a_huge_annotation_costs_its_own_size_and_nothing_of_it_is_kept),
		TEST(names_repeated_without_end_use_up_the_room_for_texts_and_no_more),
		TEST(nothing_is_read_beyond_a_message_cut_anywhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
