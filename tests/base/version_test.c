#include "base/version.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void is(const char *image, const char *version)
{
	size_t length;
	const char *found = version_of_image(image, &length);
	assert_int_equal(length, strlen(version));
	assert_memory_equal(found, version, length);
}

static void an_images_version_is_its_tag_and_else_the_start_of_its_digest(void **state)
{
	(void)state;
	is("cart:1.2", "1.2");
	is("registry:5000/shop/cart:v3", "v3");
	is("shop/cart:v3@sha256:0123456789abcdef0123", "v3");
	is("shop/cart@sha256:0123456789abcdef0123", "sha256:0123456789ab");
}

static void an_image_may_say_nothing_of_its_version(void **state)
{
	(void)state;
	is("", "");
	is("cart", "");
	is("registry:5000/shop/cart", "");
	is("cart:", "");
	is("cart@", "");
	is("cart@sha", "sha");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_images_version_is_its_tag_and_else_the_start_of_its_digest),
		cmocka_unit_test(an_image_may_say_nothing_of_its_version),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
