#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/netns.h"

static void our_own_namespace_is_listed_once_and_found_by_its_inode(void **state)
{
	struct netns_list *list = calloc(1, sizeof(*list));
	uint32_t own;
	(void)state;
	assert_int_equal(netns_own(&own), 0);
	for (int again = 0; again < 2; again++) { /* a list can be read into twice */
		assert_int_equal(netns_list_read(list), 0);
		assert_int_equal(list->own, own);
		size_t times = 0;
		for (size_t i = 0; i < list->count; i++)
			times += list->items[i].inode == own;
		assert_int_equal(times, 1);
	}
	for (size_t i = 0; i < list->count; i++) {
		const struct netns *netns = &list->items[i];
		assert_ptr_equal(netns_by_inode(list, netns->inode), netns);
		if (netns->nsid >= 0)
			assert_ptr_equal(netns_by_nsid(list, netns->nsid), netns);
	}
	assert_null(netns_by_inode(list, 1));
	assert_null(netns_by_nsid(list, 0x7fffffff));
	assert_null(netns_by_nsid(list, -1));
	free(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(our_own_namespace_is_listed_once_and_found_by_its_inode),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
