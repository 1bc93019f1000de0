/* What ECS's task endpoint answers, in the shape that AWS documents, and what is not believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/ecs.h"

#define BEGINS "ECS_CONTAINER_METADATA_URI_V4="
#define URI    "http://169.254.170.2/v4/"
#define ID     "3f4e5d6c7b8a99887766554433221100ffeeddccbbaa99887766554433221100"
#define OTHER  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

/* As of a task of a service on EC2, with its sidecar. */
static const char documented[] =
	"{\"Cluster\":\"blue\",\"TaskARN\":\"arn:aws:ecs:eu-central-1:1:task/blue/8f03e4124382\","
	"\"Family\":\"pay\",\"ServiceName\":\"checkout\",\"Revision\":\"24\","
	"\"DesiredStatus\":\"RUNNING\",\"KnownStatus\":\"RUNNING\",\"AvailabilityZone\":\"eu-1b\","
	"\"LaunchType\":\"EC2\",\"Containers\":["
	"{\"DockerId\":\"" OTHER "\",\"Name\":\"proxy\",\"Labels\":{},\"Type\":\"NORMAL\"},"
	"{\"DockerId\":\"" ID "\",\"Name\":\"api\",\"Image\":\"pay:7\",\"Type\":\"NORMAL\"}]}";

static void a_containers_environment_says_where_its_task_is(void **state)
{
	char task[DESCRIPTION_TASK_BYTES];
	(void)state;
	assert_true(ecs_task_of(BEGINS URI "cbbc3a62-ae0f-4a6a-b5c4-0c6f8c2b0b7e-12", task));
	assert_string_equal(task, "cbbc3a62-ae0f-4a6a-b5c4-0c6f8c2b0b7e-12");
}

/* The agent asks from the node's own network: never where a container would have it ask. */
static void no_other_address_is_taken_from_an_environment(void **state)
{
	static const char *const others[] = {
		"PATH=/bin",
		"ECS_CONTAINER_METADATA_URI=http://169.254.170.2/v3/a",
		BEGINS,
		BEGINS URI,
		BEGINS "http://169.254.169.254/v4/a",
		BEGINS "https://169.254.170.2/v4/a",
		BEGINS "http://169.254.170.2:8080/v4/a",
		BEGINS "http://169.254.170.2/v3/a",
		BEGINS URI "../../latest",
		BEGINS URI "a/b",
		BEGINS URI "a?b",
		BEGINS URI "a b",
		BEGINS URI "a\r\nX: y",
		BEGINS URI "0123456789012345678901234567890123456789012345678901234567890123456",
	};
	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		char task[DESCRIPTION_TASK_BYTES] = "kept";
		assert_false(ecs_task_of(others[i], task));
		assert_string_equal(task, "kept");
	}
}

static void a_task_tells_its_service(void **state)
{
	char service[DESCRIPTION_WORD_BYTES];
	(void)state;
	assert_true(ecs_answer(documented, strlen(documented), ID, service));
	assert_string_equal(service, "checkout");
}

static void a_task_of_no_service_is_an_answer(void **state)
{
	static const char alone[] =
		"{\"Family\":\"job\",\"Containers\":[{\"DockerId\":\"" ID "\"}]}";
	char service[DESCRIPTION_WORD_BYTES] = "before";
	(void)state;
	assert_true(ecs_answer(alone, strlen(alone), ID, service));
	assert_string_equal(service, "");
}

static void what_is_another_tasks_or_no_answer_names_nobody(void **state)
{
	static const char *const others[] = {
		"",
		"null",
		"[]",
		"{",
		"{\"ServiceName\":\"x\"}",
		"{\"ServiceName\":\"x\",\"Containers\":{}}",
		"{\"ServiceName\":\"x\",\"Containers\":[]}",
		"{\"ServiceName\":\"x\",\"Containers\":[7,{\"DockerId\":7},{\"DockerId\":\"" OTHER
		"\"}]}",
	};
	char service[DESCRIPTION_WORD_BYTES];
	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		assert_false(ecs_answer(others[i], strlen(others[i]), ID, service));
		assert_string_equal(service, "");
	}
}

static void a_service_that_is_no_name_is_none(void **state)
{
	static const char odd[] =
		"{\"ServiceName\":[\"x\"],\"Containers\":[{\"DockerId\":\"" ID "\"}]}";
	char service[DESCRIPTION_WORD_BYTES], text[1024], name[DESCRIPTION_WORD_BYTES + 1] = "";
	(void)state;
	assert_true(ecs_answer(odd, strlen(odd), ID, service));
	assert_string_equal(service, "");
	memset(name, 'n', DESCRIPTION_WORD_BYTES);
	for (size_t length = DESCRIPTION_WORD_BYTES; length >= DESCRIPTION_WORD_BYTES - 1;
	     length--) {
		name[length] = 0;
		snprintf(text, sizeof(text),
			 "{\"ServiceName\":\"%s\",\"Containers\":[{\"DockerId\":\"" ID "\"}]}",
			 name);
		assert_true(ecs_answer(text, strlen(text), ID, service));
		assert_string_equal(service, length < DESCRIPTION_WORD_BYTES ? name : "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_containers_environment_says_where_its_task_is),
		cmocka_unit_test(no_other_address_is_taken_from_an_environment),
		cmocka_unit_test(a_task_tells_its_service),
		cmocka_unit_test(a_task_of_no_service_is_an_answer),
		cmocka_unit_test(what_is_another_tasks_or_no_answer_names_nobody),
		cmocka_unit_test(a_service_that_is_no_name_is_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
