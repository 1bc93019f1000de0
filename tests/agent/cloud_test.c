#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "agent/cloud.h"
#include "agent/facts.h"

static bool answer(enum cloud cloud, unsigned question, const char *text, struct cloud_facts *facts)
{
	return cloud_answer(cloud, question, text, strlen(text), facts);
}

static void expect(const struct cloud_facts *facts, const char *zone, const char *region,
		   const char *id, const char *type)
{
	assert_string_equal(facts->zone, zone);
	assert_string_equal(facts->region, region);
	assert_string_equal(facts->instance_id, id);
	assert_string_equal(facts->instance_type, type);
}

static void awss_identity_document_is_read(void **state)
{
	(void)state;
	struct cloud_facts facts = {0};
	assert_true(answer(
		CLOUD_AWS, 0,
		"{\n  \"accountId\" : \"123456789012\",\n  \"architecture\" : \"x86_64\",\n"
		"  \"availabilityZone\" : \"us-west-2b\",\n  \"imageId\" : \"ami-5fb8c835\",\n"
		"  \"instanceId\" : \"i-1234567890abcdef0\",\n"
		"  \"instanceType\" : \"t2.micro\",\n  \"kernelId\" : null,\n"
		"  \"region\" : \"us-west-2\"\n}",
		&facts));
	expect(&facts, "us-west-2b", "us-west-2", "i-1234567890abcdef0", "t2.micro");
	assert_int_equal(facts.cloud, CLOUD_AWS);
	assert_true(cloud_complete(&facts));
}

static void gcps_answers_are_the_ends_of_their_paths(void **state)
{
	(void)state;
	struct cloud_facts facts = {0};
	assert_true(answer(CLOUD_GCP, 0, "projects/739/zones/europe-west4-a\n", &facts));
	assert_false(cloud_complete(&facts));
	assert_true(answer(CLOUD_GCP, 1, "4520031799277581759", &facts));
	assert_true(answer(CLOUD_GCP, 2, "projects/739/machineTypes/e2-medium", &facts));
	expect(&facts, "europe-west4-a", "europe-west4", "4520031799277581759", "e2-medium");
	assert_true(cloud_complete(&facts));
	assert_false(answer(CLOUD_GCP, 0, "projects/739/zones/", &facts));
}

static void azures_zone_is_named_within_its_region(void **state)
{
	(void)state;
	struct cloud_facts facts = {0}, without = {0};
	assert_true(answer(CLOUD_AZURE, 0,
			   "{\"location\": \"westeurope\", \"zone\": \"3\", \"vmId\": \"02aab8a4\","
			   " \"vmSize\": \"Standard_A3\"}",
			   &facts));
	expect(&facts, "westeurope-3", "westeurope", "02aab8a4", "Standard_A3");
	assert_true(answer(CLOUD_AZURE, 0,
			   "{\"location\": \"westus\", \"zone\": \"\", \"vmId\": \"02aab8a4\","
			   " \"vmSize\": \"Standard_A3\"}",
			   &without));
	expect(&without, "", "westus", "02aab8a4", "Standard_A3");
	assert_true(cloud_complete(&without));
}

static void answers_that_are_no_answers_say_nothing(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"null",
		"[]",
		"{",
		"\"zone\"",
		"<html><body>captive portal</body></html>",
		"{\"region\": 7, \"instanceId\": null, \"location\": {}, \"vmId\": [1]}",
		"{\"region\": \"a b\", \"location\": \"a\\nb\"}"};
	static const enum cloud clouds[] = {CLOUD_AWS, CLOUD_AZURE};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (size_t c = 0; c < 2; c++) {
			struct cloud_facts facts = {0};
			assert_false(answer(clouds[c], 0, bad[i], &facts));
			expect(&facts, "", "", "", "");
			assert_int_equal(facts.cloud, CLOUD_NONE);
		}
	struct cloud_facts facts = {0};
	char text[CLOUD_TEXT_BYTES + 1];
	memset(text, 'x', sizeof(text));
	assert_false(cloud_answer(CLOUD_GCP, 1, text, CLOUD_TEXT_BYTES, &facts));
	assert_true(cloud_answer(CLOUD_GCP, 1, text, CLOUD_TEXT_BYTES - 1, &facts));
	assert_int_equal(strlen(facts.instance_id), CLOUD_TEXT_BYTES - 1);
}

static void cloud_inits_file_is_read_for_each_cloud(void **state)
{
	(void)state;
	static const char aws[] = "{\"v1\": {\"cloud_name\": \"aws\", \"region\": \"us-east-2\", "
				  "\"availability_zone\":"
				  " \"us-east-2c\", \"instance_id\": \"i-06b5687b4d7b8595d\"},"
				  " \"ds\": {\"meta_data\": {\"instance-type\": \"m5a.large\"}}}";
	static const char gce[] =
		"{\"v1\": {\"cloud_name\": \"gce\", \"region\": \"us-central1\", "
		"\"availability_zone\":"
		" \"us-central1-a\", \"instance_id\": \"8045651\"}, \"ds\": {\"meta_data\": {}}}";
	static const char azure[] =
		"{\"v1\": {\"cloud_name\": \"azure\", \"region\": \"eastus\", "
		"\"availability_zone\": \"1\","
		" \"instance_id\": \"af1e\"},"
		" \"ds\": {\"meta_data\": {\"imds\": {\"compute\": {\"vmSize\": \"D2\"}}}}}";
	static const char other[] = "{\"v1\": {\"cloud_name\": \"openstack\", \"region\": \"x\"}}";
	struct cloud_facts facts;
	assert_true(cloud_of_instance_data(aws, sizeof(aws) - 1, &facts));
	expect(&facts, "us-east-2c", "us-east-2", "i-06b5687b4d7b8595d", "m5a.large");
	assert_true(cloud_complete(&facts));
	assert_true(cloud_of_instance_data(gce, sizeof(gce) - 1, &facts));
	expect(&facts, "us-central1-a", "us-central1", "8045651", "");
	assert_false(cloud_complete(&facts));
	assert_true(cloud_of_instance_data(azure, sizeof(azure) - 1, &facts));
	expect(&facts, "eastus-1", "eastus", "af1e", "D2");
	assert_false(cloud_of_instance_data(other, sizeof(other) - 1, &facts));
	assert_int_equal(facts.cloud, CLOUD_NONE);
	for (size_t cut = 0; cut < sizeof(azure) - 2; cut++)
		assert_false(cloud_of_instance_data(azure, cut, &facts));
}

static void put(const char *root, const char *path, const char *text)
{
	char name[512];
	snprintf(name, sizeof(name), "%s%s", root, path);
	for (char *at = name + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = 0;
		mkdir(name, 0700);
		*at = '/';
	}
	FILE *file = fopen(name, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void the_firmware_tells_the_cloud(void **state)
{
	(void)state;
	static const struct {
		const char *file, *text;
		enum cloud cloud;
	} cases[] = {
		{"sys_vendor", "Amazon EC2\n", CLOUD_AWS},
		{"bios_version", "4.11.amazon\n", CLOUD_AWS},
		{"product_name", "Google Compute Engine\n", CLOUD_GCP},
		{"chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n", CLOUD_AZURE},
		{"sys_vendor", "Microsoft Corporation\n", CLOUD_NONE}, /* Hyper-V at home */
		{"sys_vendor", "QEMU\n", CLOUD_NONE},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char root[] = "/tmp/millrace-cloud-XXXXXX", path[128], command[256];
		assert_non_null(mkdtemp(root));
		assert_int_equal(cloud_of_firmware(root), CLOUD_NONE);
		snprintf(path, sizeof(path), "/sys/class/dmi/id/%s", cases[i].file);
		put(root, path, cases[i].text);
		assert_int_equal(cloud_of_firmware(root), cases[i].cloud);
		snprintf(command, sizeof(command), "rm -r %s", root);
		assert_int_equal(system(command), 0);
	}
}

static void os_release_is_unquoted(void **state)
{
	(void)state;
	static const char *const lines[][2] = {
		{"ID=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
		 "Debian GNU/Linux 12 (bookworm)"},
		{"PRETTY_NAME='a \"b\" c'\n", "a \"b\" c"},
		{"PRETTY_NAME=plain\n", "plain"},
		{"PRETTY_NAME=\"a \\\"b\\\" \\$c\"\n", "a \"b\" $c"},
		{"NAME=x\n", ""},
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char root[] = "/tmp/millrace-facts-XXXXXX", command[256];
		struct facts facts;
		assert_non_null(mkdtemp(root));
		put(root, "/etc/os-release", lines[i][0]);
		facts_read(&facts, root, 5, 105);
		assert_string_equal(facts.os, lines[i][1]);
		assert_int_equal(facts.booted_ns, 100);
		assert_true(facts.cpus > 0 && facts.memory_bytes > 0 && facts.kernel[0]);
		snprintf(command, sizeof(command), "rm -r %s", root);
		assert_int_equal(system(command), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(awss_identity_document_is_read),
		cmocka_unit_test(gcps_answers_are_the_ends_of_their_paths),
		cmocka_unit_test(azures_zone_is_named_within_its_region),
		cmocka_unit_test(answers_that_are_no_answers_say_nothing),
		cmocka_unit_test(cloud_inits_file_is_read_for_each_cloud),
		cmocka_unit_test(the_firmware_tells_the_cloud),
		cmocka_unit_test(os_release_is_unquoted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
