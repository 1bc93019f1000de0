#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <bpf/btf.h>
#include <cmocka.h>
#include <errno.h>

#include "agent/reasons.h"

/* As an enum of another kernel's: the numbers differ from Linux 6.18. */
static struct btf *kernel_of(const char *const *names, const int *numbers, int count)
{
	struct btf *kernel = btf__new_empty();
	assert_non_null(kernel);
	assert_true(btf__add_enum(kernel, "skb_drop_reason", 4) > 0);
	for (int i = 0; i < count; i++)
		assert_int_equal(btf__add_enum_value(kernel, names[i], numbers[i]), 0);
	return kernel;
}

static void names_and_what_is_no_loss_are_the_running_kernels(void **state)
{
	(void)state;
	static struct reasons reasons;
	char text[REASON_NAME_BYTES];
	const char *names[] = {
		"SKB_NOT_DROPPED_YET",	     "SKB_DROP_REASON_NO_SOCKET",   "SKB_CONSUMED",
		"SKB_DROP_REASON_OTHERHOST", "SKB_DROP_REASON_QUEUE_PURGE", "SKB_DROP_REASON_MAX"};
	int numbers[] = {0, 2, 40, 41, 42, 0x7fffffff};
	struct btf *kernel = kernel_of(names, numbers, 6);
	assert_int_equal(reasons_read(&reasons, kernel), 0);
	assert_string_equal(reason_name(&reasons, 2, text), "NO_SOCKET");
	assert_int_equal(reasons.ignored[0], 1);
	assert_int_equal(reasons.ignored[1], 3 << 8);
	assert_int_equal(reasons.purge, 42);
	assert_string_equal(reason_name(&reasons, 3, text), "REASON_3");
	assert_string_equal(reason_name(&reasons, 0x20005, text), "SUBSYSTEM_2_5");
	assert_string_equal(reason_name(&reasons, MR_DROP_REASON_OTHER, text), "OTHER");
	btf__free(kernel);
}

static void a_kernel_without_reasons_says_so(void **state)
{
	(void)state;
	static struct reasons reasons;
	struct btf *kernel = btf__new_empty();
	assert_int_equal(reasons_read(&reasons, kernel), -ENOENT);
	btf__free(kernel);
}

static void icmp_errors_of_both_families_have_one_name_for_one_meaning(void **state)
{
	(void)state;
	static struct reasons reasons;
	char text[REASON_NAME_BYTES];
	static const struct {
		int v6, type, code;
		const char *name;
	} known[] = {
		{0, 3, 1, "host_unreachable"},	   {1, 1, 3, "host_unreachable"},
		{0, 3, 3, "port_unreachable"},	   {1, 1, 4, "port_unreachable"},
		{0, 3, 4, "fragmentation_needed"}, {1, 2, 0, "fragmentation_needed"},
		{0, 3, 13, "admin_prohibited"},	   {1, 1, 1, "admin_prohibited"},
		{0, 11, 0, "ttl_exceeded"},	   {1, 3, 0, "ttl_exceeded"},
		{0, 12, 2, "parameter_problem"},   {1, 4, 1, "parameter_problem"},
		{1, 3, 9, "icmpv6_3_9"},	   {0, 11, 9, "icmp_11_9"},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		assert_string_equal(
			reason_name(&reasons,
				    MR_DROP_ICMP_REASON(known[i].v6, known[i].type, known[i].code),
				    text),
			known[i].name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_what_is_no_loss_are_the_running_kernels),
		cmocka_unit_test(a_kernel_without_reasons_says_so),
		cmocka_unit_test(icmp_errors_of_both_families_have_one_name_for_one_meaning),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
