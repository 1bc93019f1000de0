/* Recorded words of runtimes into descriptions, and descriptions into the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/manifest.h"

#define ID "3f4e5d6c7b8a99887766554433221100ffeeddccbbaa99887766554433221100"

static const struct label_choice all;

static void expect(const struct description *description, enum description_field field,
		   const char *text)
{
	assert_string_equal(description_get(description, field), text);
}

static void dockers_inspection_gives_name_image_and_labels(void **state)
{
	static const char json[] =
		"{\"Id\":\"" ID "\",\"Name\":\"/web\",\"Config\":{\"Image\":\"shop/web:1.2\","
		"\"Labels\":{\"org.opencontainers.image.version\":\"9\","
		"\"app.kubernetes.io/version\":\"1.2\",\"empty\":\"\"}}}";
	struct description found;
	(void)state;
	assert_true(manifest_inspect(json, strlen(json), &all, &found));
	assert_string_equal(found.id, ID);
	expect(&found, DESCRIPTION_NAME, "web");
	expect(&found, DESCRIPTION_IMAGE, "shop/web:1.2");
	expect(&found, DESCRIPTION_VERSION, "1.2");
	expect(&found, DESCRIPTION_RUNTIME, "docker");
	assert_int_equal(found.labels_count, 3);
	assert_string_equal(found.text + found.keys[2], "empty");
	assert_string_equal(found.text + found.values[2], "");
}

static void an_inspection_alone_says_where_an_ecs_task_is(void **state)
{
	static const char json[] =
		"{\"Id\":\"" ID "\",\"Config\":{\"Env\":[7,\"PATH=/bin\","
		"\"ECS_CONTAINER_METADATA_URI_V4=http://169.254.170.2/v4/cbbc3a62-1\"],"
		"\"Labels\":{\"com.amazonaws.ecs.task-definition-family\":\"pay\"}}}";
	static const char event[] =
		"{\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"ID\":\"" ID "\","
		"\"Attributes\":{\"com.amazonaws.ecs.task-definition-family\":\"pay\"}}}";
	struct description found;
	(void)state;
	assert_true(manifest_inspect(json, strlen(json), &all, &found));
	assert_true(found.inspected);
	assert_string_equal(found.task, "cbbc3a62-1");
	expect(&found, DESCRIPTION_RUNTIME, "ecs");
	expect(&found, DESCRIPTION_WORKLOAD, "pay");
	assert_true(manifest_event(event, strlen(event), &all, &found));
	assert_false(found.inspected);
	assert_string_equal(found.task, "");
	expect(&found, DESCRIPTION_RUNTIME, "ecs");
}

static void the_images_version_does_not_replace_the_deployments(void **state)
{
	struct description found;
	(void)state;
	description_init(&found, ID);
	description_label(&found, &all, "app.kubernetes.io/version", "1.2");
	description_label(&found, &all, "org.opencontainers.image.version", "9");
	expect(&found, DESCRIPTION_VERSION, "1.2");
}

static void only_chosen_labels_are_told_but_all_are_understood(void **state)
{
	static const char *const prefixes[] = {"app"};
	const struct label_choice choice = {prefixes, 1};
	struct description found;
	(void)state;
	description_init(&found, ID);
	description_label(&found, &choice, "app", "web");
	description_label(&found, &choice, "team", "x");
	description_label(&found, &choice, "io.kubernetes.pod.name", "web-1");
	assert_int_equal(found.labels_count, 1);
	assert_int_equal(found.left_out, 0);
	expect(&found, DESCRIPTION_POD, "web-1");
}

static void labels_have_a_bound_in_number_and_one_in_bytes(void **state)
{
	struct description found;
	char key[16], value[400];
	(void)state;
	memset(value, 'v', sizeof(value));
	value[sizeof(value) - 1] = 0;
	description_init(&found, ID);
	for (int i = 0; i < DESCRIPTION_LABELS_MAX + 1; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		description_label(&found, &all, key, "v");
	}
	assert_int_equal(found.labels_count, DESCRIPTION_LABELS_MAX);
	assert_int_equal(found.left_out, 1);
	description_init(&found, ID);
	for (int i = 0; i < DESCRIPTION_LABELS_MAX; i++) {
		snprintf(key, sizeof(key), "k%02d", i);
		description_label(&found, &all, key, value);
	}
	/* 4 bytes of key and 256 of value each */
	assert_int_equal(found.labels_count, (DESCRIPTION_TEXT_BYTES - 1) / 260);
	assert_int_equal(found.labels_count + found.left_out, DESCRIPTION_LABELS_MAX);
	assert_true(found.text_bytes <= DESCRIPTION_TEXT_BYTES);
}

static void containerds_and_crios_annotations_give_the_pod(void **state)
{
	static const char cri[] =
		"{\"annotations\":{\"io.kubernetes.cri.container-name\":\"main\","
		"\"io.kubernetes.cri.image-name\":\"r/app:3\",\"io.kubernetes.cri.sandbox-name\":"
		"\"app-1\",\"io.kubernetes.cri.sandbox-namespace\":\"prod\","
		"\"io.kubernetes.cri.sandbox-uid\":\"u-1\",\"other\":\"x\"}}";
	static const char crio[] =
		"{\"annotations\":{\"io.kubernetes.container.name\":\"side\","
		"\"io.kubernetes.cri-o.ImageName\":\"r/"
		"side:4\",\"io.kubernetes.pod.name\":\"app-2\","
		"\"io.kubernetes.cri-o.Labels\":\"{\\\"tier\\\":\\\"back\\\"}\"}}";
	static const char plain[] = "{\"annotations\":{\"other\":\"x\"}}";
	struct description found;
	(void)state;
	description_init(&found, ID);
	assert_true(manifest_bundle(cri, strlen(cri), &all, &found));
	expect(&found, DESCRIPTION_NAME, "main");
	expect(&found, DESCRIPTION_IMAGE, "r/app:3");
	expect(&found, DESCRIPTION_POD, "app-1");
	expect(&found, DESCRIPTION_NAMESPACE, "prod");
	expect(&found, DESCRIPTION_POD_UID, "u-1");
	description_init(&found, ID);
	assert_true(manifest_bundle(crio, strlen(crio), &all, &found));
	expect(&found, DESCRIPTION_NAME, "side");
	expect(&found, DESCRIPTION_POD, "app-2");
	assert_string_equal(found.text + found.keys[0], "tier");
	description_init(&found, ID);
	assert_false(manifest_bundle(plain, strlen(plain), &all, &found));
}

static void an_event_of_no_start_says_nothing(void **state)
{
	static const char format[] = "{\"Type\":\"%s\",\"Action\":\"%s\",\"Actor\":{\"ID\":\"" ID
				     "\",\"Attributes\":{\"image\":\"i\",\"name\":\"n\","
				     "\"oldName\":\"/o\",\"a\":\"b\"}}}";
	struct description found;
	char json[512];
	(void)state;
	for (int i = 0; i < 4; i++) {
		const char *types[] = {"container", "container", "container", "network"};
		const char *actions[] = {"rename", "oom", "die", "start"};
		snprintf(json, sizeof(json), format, types[i], actions[i]);
		assert_int_equal(manifest_event(json, strlen(json), &all, &found), i < 2);
		assert_int_equal(found.oom_kills, i > 0); /* the last that was one */
	}
	expect(&found, DESCRIPTION_NAME, "n");
	assert_int_equal(found.labels_count, 1);
}

static void what_is_malformed_says_nothing(void **state)
{
	static const char *const texts[] = {"",
					    "{",
					    "[]",
					    "7",
					    "{\"Id\":\"../../etc\",\"Config\":{}}",
					    "{\"Id\":\"" ID "\"}",
					    "{\"Id\":7,\"Config\":{}}"};
	struct description found;
	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_false(manifest_inspect(texts[i], strlen(texts[i]), &all, &found));
		assert_false(manifest_event(texts[i], strlen(texts[i]), &all, &found));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dockers_inspection_gives_name_image_and_labels),
		cmocka_unit_test(an_inspection_alone_says_where_an_ecs_task_is),
		cmocka_unit_test(the_images_version_does_not_replace_the_deployments),
		cmocka_unit_test(only_chosen_labels_are_told_but_all_are_understood),
		cmocka_unit_test(labels_have_a_bound_in_number_and_one_in_bytes),
		cmocka_unit_test(containerds_and_crios_annotations_give_the_pod),
		cmocka_unit_test(an_event_of_no_start_says_nothing),
		cmocka_unit_test(what_is_malformed_says_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
