#include "base/address.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct address parsed(const char *text)
{
	struct address address;
	assert_int_equal(address_parse(text, &address), 0);
	return address;
}

static void texts_come_back_in_rfc_5952_form(void **state)
{
	(void)state;
	static const char *const texts[][2] = {
		{"10.0.0.1", "10.0.0.1"},
		{"255.255.255.255", "255.255.255.255"},
		{"::ffff:10.0.0.1", "10.0.0.1"},
		{"::FFFF:0a00:0001", "10.0.0.1"},
		{"::", "::"},
		{"::1", "::1"},
		{"2001:0DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
		{"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
		{"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
		{"fe80:0:0:0:0:0:0:abcd", "fe80::abcd"},
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char text[ADDRESS_TEXT_MAX];
		struct address address = parsed(texts[i][0]);
		assert_int_equal(address_format(&address, text), strlen(texts[i][1]));
		assert_string_equal(text, texts[i][1]);
	}
}

static void what_is_no_address_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {"",	    "10.0.0",  "10.0.0.256", "10.0.0.1 ",
					    "g::1", "1::2::3", "[::1]",	     "fe80::1%eth0"};
	struct address address;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(address_parse(texts[i], &address), -EINVAL);
}

static void a_mapped_address_is_the_v4_address(void **state)
{
	(void)state;
	struct address v4 = address_v4(0x0a000001), mapped = parsed("::ffff:10.0.0.1");
	assert_true(address_equal(&v4, &mapped));
	assert_true(address_is_v4(&v4));
	struct address v6 = parsed("2001:db8::1"), copy = address_v6(v6.bytes);
	assert_true(address_equal(&v6, &copy));
	assert_false(address_is_v4(&v6));
}

static void private_networks_end_where_their_rfc_says(void **state)
{
	(void)state;
	static const char *const inside[] = {
		"10.0.0.0",   "10.255.255.255",	 "172.16.0.0",	    "172.31.255.255", "192.168.0.1",
		"100.64.0.0", "100.127.255.255", "169.254.169.254", "127.0.0.1",      "::1",
		"fe80::1",    "febf::1",	 "fc00::1",	    "fdff::1"};
	static const char *const outside[] = {"9.255.255.255",	"11.0.0.0",	   "172.15.255.255",
					      "172.32.0.0",	"192.167.255.255", "192.169.0.0",
					      "100.63.255.255", "100.128.0.0",	   "8.8.8.8",
					      "fec0::1",	"fe00::1",	   "::2"};
	for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
		struct address address = parsed(inside[i]);
		assert_int_not_equal(address_class(&address), ADDRESS_PUBLIC);
	}
	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		struct address address = parsed(outside[i]);
		assert_int_equal(address_class(&address), ADDRESS_PUBLIC);
		assert_false(address_is_loopback(&address));
	}
	struct address loopback = parsed("127.255.0.1");
	assert_true(address_is_loopback(&loopback));
	loopback = parsed("::1");
	assert_true(address_is_loopback(&loopback));
}

static void each_address_is_of_one_class(void **state)
{
	static const struct {
		const char *text;
		enum address_class class;
	} cases[] = {
		{"10.0.0.0", ADDRESS_PRIVATE},
		{"10.255.255.255", ADDRESS_PRIVATE},
		{"9.255.255.255", ADDRESS_PUBLIC},
		{"11.0.0.0", ADDRESS_PUBLIC},
		{"172.15.255.255", ADDRESS_PUBLIC},
		{"172.16.0.0", ADDRESS_PRIVATE},
		{"172.31.255.255", ADDRESS_PRIVATE},
		{"172.32.0.0", ADDRESS_PUBLIC},
		{"192.168.255.255", ADDRESS_PRIVATE},
		{"192.169.0.0", ADDRESS_PUBLIC},
		{"100.63.255.255", ADDRESS_PUBLIC},
		{"100.64.0.0", ADDRESS_PRIVATE},
		{"100.127.255.255", ADDRESS_PRIVATE},
		{"100.128.0.0", ADDRESS_PUBLIC},
		{"169.253.255.255", ADDRESS_PUBLIC},
		{"169.254.169.254", ADDRESS_LINK_LOCAL},
		{"127.0.0.0", ADDRESS_LOOPBACK},
		{"127.255.255.255", ADDRESS_LOOPBACK},
		{"0.0.0.0", ADDRESS_PRIVATE},
		{"1.0.0.0", ADDRESS_PUBLIC},
		{"192.0.0.255", ADDRESS_PRIVATE},
		{"192.0.1.0", ADDRESS_PUBLIC},
		{"192.0.2.1", ADDRESS_PRIVATE},
		{"198.17.255.255", ADDRESS_PUBLIC},
		{"198.19.255.255", ADDRESS_PRIVATE},
		{"198.20.0.0", ADDRESS_PUBLIC},
		{"198.51.100.1", ADDRESS_PRIVATE},
		{"203.0.113.255", ADDRESS_PRIVATE},
		{"203.0.114.0", ADDRESS_PUBLIC},
		{"223.255.255.255", ADDRESS_PUBLIC},
		{"224.0.0.0", ADDRESS_MULTICAST},
		{"239.255.255.255", ADDRESS_MULTICAST},
		{"240.0.0.0", ADDRESS_PRIVATE},
		{"255.255.255.254", ADDRESS_PRIVATE},
		{"255.255.255.255", ADDRESS_MULTICAST},
		{"::", ADDRESS_PRIVATE},
		{"::1", ADDRESS_LOOPBACK},
		{"::2", ADDRESS_PUBLIC},
		{"fe7f::1", ADDRESS_PUBLIC},
		{"fe80::1", ADDRESS_LINK_LOCAL},
		{"febf::1", ADDRESS_LINK_LOCAL},
		{"fec0::1", ADDRESS_PUBLIC},
		{"fbff::1", ADDRESS_PUBLIC},
		{"fc00::1", ADDRESS_PRIVATE},
		{"fdff::1", ADDRESS_PRIVATE},
		{"feff::1", ADDRESS_PUBLIC},
		{"ff02::1", ADDRESS_MULTICAST},
		{"100::1", ADDRESS_PRIVATE},
		{"100:0:0:1::", ADDRESS_PUBLIC},
		{"2001:db7::1", ADDRESS_PUBLIC},
		{"2001:db8::1", ADDRESS_PRIVATE},
		{"3fff:fff::1", ADDRESS_PRIVATE},
		{"3fff:1000::1", ADDRESS_PUBLIC},
		{"2606:4700::1", ADDRESS_PUBLIC},
		{"::ffff:10.1.2.3", ADDRESS_PRIVATE},
		{"::ffff:8.8.8.8", ADDRESS_PUBLIC},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct address address;
		assert_int_equal(address_parse(cases[i].text, &address), 0);
		if (address_class(&address) != cases[i].class)
			fail_msg("%s: %d", cases[i].text, address_class(&address));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_come_back_in_rfc_5952_form),
		cmocka_unit_test(what_is_no_address_is_refused),
		cmocka_unit_test(a_mapped_address_is_the_v4_address),
		cmocka_unit_test(private_networks_end_where_their_rfc_says),
		cmocka_unit_test(each_address_is_of_one_class),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
