#include "base/identity.h"

#include "base/tuple.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void each_member_of_an_instance_makes_it_another(void **state)
{
	(void)state;
	struct instance instance = {.workload = 1};
	uint64_t id = instance_id(&instance);
	uint64_t *members[] = {&instance.workload, &instance.version,	&instance.zone,
			       &instance.node,	   &instance.container, &instance.process};
	assert_int_not_equal(id, 0);
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		*members[i] += 7;
		assert_int_not_equal(instance_id(&instance), id);
		*members[i] -= 7;
	}
	instance.id = 5;
	instance.resolution = RESOLUTION_UNIT;
	assert_int_equal(instance_id(&instance), id);
}

static void an_edge_has_a_direction_a_port_and_a_protocol(void **state)
{
	(void)state;
	struct edge edge = {.client = 1, .server = 2, .port = 80, .protocol = 6};
	struct edge back = {.client = 2, .server = 1, .port = 80, .protocol = 6};
	struct edge other = {.client = 1, .server = 2, .port = 81, .protocol = 6};
	struct edge udp = {.client = 1, .server = 2, .port = 80, .protocol = 17};
	assert_int_not_equal(edge_id(&edge), edge_id(&back));
	assert_int_not_equal(edge_id(&edge), edge_id(&other));
	assert_int_not_equal(edge_id(&edge), edge_id(&udp));
	udp = edge;
	udp.client_resolution = RESOLUTION_NODE;
	assert_int_equal(edge_id(&edge), edge_id(&udp));
}

static void a_lane_has_a_direction(void **state)
{
	(void)state;
	struct lane lane = {.client_zone = 1, .server_zone = 2, .client_version = 3};
	struct lane back = {.client_zone = 2, .server_zone = 1, .client_version = 3};
	assert_int_not_equal(lane_id(&lane), lane_id(&back));
	assert_int_not_equal(lane_id(&lane), 0);
}

static void resolutions_have_names(void **state)
{
	(void)state;
	assert_string_equal(resolution_name(RESOLUTION_WORKLOAD), "workload");
	assert_string_equal(resolution_name(RESOLUTION_ADDRESS), "address");
	assert_string_equal(resolution_name(RESOLUTION_AMBIGUOUS), "ambiguous");
	assert_string_equal(resolution_name(RESOLUTION_DNS), "dns");
	assert_string_equal(resolution_name(RESOLUTION_MULTICAST), "multicast");
	assert_string_equal(resolution_name(RESOLUTIONS), "unknown");
	assert_string_equal(resolution_name(99), "unknown");
}

static void names_that_another_process_asked_for_are_kept_apart(void **state)
{
	(void)state;
	struct instance own = {.workload = 7, .resolution = RESOLUTION_DNS}, others = own;
	others.resolution = RESOLUTION_NODE_DNS;
	assert_int_not_equal(instance_id(&own), instance_id(&others));
	others.resolution = RESOLUTION_RANGE;
	assert_int_equal(instance_id(&own), instance_id(&others));
}

static void the_better_resolution_does_not_depend_on_the_order(void **state)
{
	(void)state;
	assert_int_equal(resolution_better(RESOLUTION_NODE, RESOLUTION_POD), RESOLUTION_NODE);
	assert_int_equal(resolution_better(RESOLUTION_ADDRESS, RESOLUTION_AMBIGUOUS),
			 RESOLUTION_AMBIGUOUS);
	assert_int_equal(resolution_better(RESOLUTION_NODE_DNS, RESOLUTION_DNS), RESOLUTION_DNS);
	assert_int_equal(resolution_better(RESOLUTION_NODE_DNS, RESOLUTION_RANGE),
			 RESOLUTION_NODE_DNS);
	for (uint32_t one = 0; one <= RESOLUTIONS; one++) {
		if (one < RESOLUTIONS)
			assert_int_equal(resolution_better(one, RESOLUTION_UNKNOWN), one);
		for (uint32_t other = 0; other < RESOLUTIONS; other++)
			assert_int_equal(resolution_better(one, other),
					 one == RESOLUTIONS ? other
							    : resolution_better(other, one));
	}
}

static void each_member_of_a_tuple_makes_it_another(void **state)
{
	(void)state;
	struct tuple tuple = {.client_port = 1, .server_port = 2, .protocol = PROTOCOL_TCP};
	struct tuple other = tuple;
	assert_true(tuple_equal(&tuple, &other));
	assert_int_equal(tuple_hash(&tuple), tuple_hash(&other));
	other.scope = 1;
	assert_int_not_equal(tuple_hash(&tuple), tuple_hash(&other));
	other = tuple;
	other.protocol = PROTOCOL_UDP;
	assert_false(tuple_equal(&tuple, &other));
	assert_int_not_equal(tuple_hash(&tuple), tuple_hash(&other));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_member_of_an_instance_makes_it_another),
		cmocka_unit_test(an_edge_has_a_direction_a_port_and_a_protocol),
		cmocka_unit_test(a_lane_has_a_direction),
		cmocka_unit_test(resolutions_have_names),
		cmocka_unit_test(names_that_another_process_asked_for_are_kept_apart),
		cmocka_unit_test(the_better_resolution_does_not_depend_on_the_order),
		cmocka_unit_test(each_member_of_a_tuple_makes_it_another),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
