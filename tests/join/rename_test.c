/* What the census is told late labels the halves whose far end it is, and no others: a change of
 * one pod must not cost a label of every half that nobody met. */
#include "metadata/census.h"
#include "tests/join/rig.h"

enum { TO_A = 1, TO_B, MASQUERADED, FROM_AFAR, HALVES };

struct scene {
	struct census *census;
	struct rig *rig;
	uint64_t facts;
	uint32_t seen[HALVES]; /* labels so far */
};

static void begin(struct scene *scene)
{
	struct rig *rig;
	struct tuple pod = tuple_of("10.244.7.7", 555, "10.0.0.1", 80),
		     gateway = tuple_of("10.200.0.1", 40000, "10.0.0.1", 80);

	*scene = (struct scene){.census = census_new(64)};
	scene->rig = rig = rig_new_of(1, 64, 64, scene->census);
	rig_open(rig, half_of(TO_A, SIDE_CLIENT, tuple_of("10.0.0.1", 1001, "10.244.1.1", 80),
			      rig_now(rig)));
	rig_open(rig, half_of(TO_B, SIDE_CLIENT, tuple_of("10.0.0.1", 1002, "10.244.1.2", 80),
			      rig_now(rig)));
	rig_open(rig, half_of(MASQUERADED, SIDE_SERVER, gateway, rig_now(rig)));
	rig_open(rig, half_of(FROM_AFAR, SIDE_SERVER, tuple_of("192.168.3.4", 7, "10.0.0.1", 80),
			      rig_now(rig)));
	rig_alias_with(rig, alias_of(pod, gateway, rig_now(rig)));
	rig_panes(rig, 4);
	for (int half = 1; half < HALVES; half++)
		scene->seen[half] = rig->labels_seen[half];
}

static void end(struct scene *scene)
{
	rig_free(scene->rig);
	census_free(scene->census);
}

static void tell(struct scene *scene, enum fact_kind kind, const char *name, const char *address,
		 uint8_t prefix)
{
	struct address place;
	uint64_t id = ++scene->facts;
	const struct fact fact = {
		.id = id,
		.object = id,
		.until_ns = UINT64_MAX,
		.observed_ns = id,
		.workload = name_id(name, strlen(name)),
		.kind = (uint8_t)kind,
		.prefix = prefix,
		.addresses_count = 1,
	};

	assert_int_equal(address_parse(address, &place), 0);
	census_take(scene->census, &fact, &place, rig_now(scene->rig));
}

/* One pane; which halves were labelled in it, as bits. */
static unsigned labelled(struct scene *scene)
{
	unsigned halves = 0;

	rig_pane(scene->rig);
	census_settle(scene->census);
	for (int half = 1; half < HALVES; half++) {
		halves |= (unsigned)(scene->rig->labels_seen[half] != scene->seen[half]) << half;
		scene->seen[half] = scene->rig->labels_seen[half];
	}
	return halves;
}

static void only_who_has_the_pod_at_its_far_end_is_labelled(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene);
	tell(&scene, FACT_POD, "cart", "10.244.1.1", 128);
	assert_int_equal(labelled(&scene), 1 << TO_A);
	assert_int_equal(scene.rig->labels[TO_A].server.workload, name_id("cart", 4));
	tell(&scene, FACT_POD, "nobody's", "10.244.9.9", 128);
	assert_int_equal(labelled(&scene), 0);
	assert_int_equal(labelled(&scene), 0);
	end(&scene);
}

static void a_masqueraded_client_is_named_and_nobody_else_labelled(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene);
	tell(&scene, FACT_POD, "front", "10.244.7.7", 128);
	assert_int_equal(labelled(&scene), 1 << MASQUERADED);
	assert_int_equal(scene.rig->labels[MASQUERADED].client.workload, name_id("front", 5));
	end(&scene);
}

static void a_range_labels_who_is_in_it(void **state)
{
	struct scene scene;

	(void)state;
	begin(&scene);
	tell(&scene, FACT_RANGE, "office", "192.168.0.0", 96 + 16);
	assert_int_equal(labelled(&scene), 1 << FROM_AFAR);
	assert_int_equal(scene.rig->labels[FROM_AFAR].client.workload, name_id("office", 6));
	tell(&scene, FACT_RANGE, "nodes", "10.244.7.0", 96 + 25);
	assert_int_equal(labelled(&scene), 1 << MASQUERADED);
	tell(&scene, FACT_RANGE, "others", "10.244.1.2", 96 + 31);
	assert_int_equal(labelled(&scene), 1 << TO_B);
	tell(&scene, FACT_RANGE, "all", "::", 0);
	assert_int_equal(labelled(&scene),
			 1 << TO_A | 1 << TO_B | 1 << MASQUERADED | 1 << FROM_AFAR);
	end(&scene);
}

/* At a start all ranges are told in one pane. */
static void of_many_ranges_each_half_is_labelled_once(void **state)
{
	struct scene scene;
	char address[32];

	(void)state;
	begin(&scene);
	for (int i = 0; i < 40; i++) {
		snprintf(address, sizeof(address), "192.168.%d.0", i);
		tell(&scene, FACT_RANGE, address, address, 96 + 24);
	}
	uint64_t calls = scene.rig->label_calls;
	labelled(&scene);
	assert_int_equal(scene.rig->label_calls, calls + 1);
	assert_int_equal(scene.rig->labels[FROM_AFAR].client.workload, name_id("192.168.3.0", 11));
	end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_who_has_the_pod_at_its_far_end_is_labelled),
		cmocka_unit_test(a_masqueraded_client_is_named_and_nobody_else_labelled),
		cmocka_unit_test(a_range_labels_who_is_in_it),
		cmocka_unit_test(of_many_ranges_each_half_is_labelled_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
