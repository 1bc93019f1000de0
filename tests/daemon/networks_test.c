/* What databases in MaxMind's format say of addresses, and what is wrong with a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "daemon/networks.h"
#include "tests/daemon/mmdb.h"

static char folder[] = "/tmp/millrace-networks-XXXXXX";
static char asn[64], country[64], other[64];

static int write_databases(void **state)
{
	struct mmdb *mmdb = calloc(1, sizeof(*mmdb));

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(asn, sizeof(asn), "%s/asn", folder);
	snprintf(country, sizeof(country), "%s/country", folder);
	snprintf(other, sizeof(other), "%s/other", folder);
	mmdb_init(mmdb);
	mmdb_put_asn(mmdb, "93.184.216.0", 96 + 24, 64496, "Example Networks");
	mmdb_put_asn(mmdb, "8.8.8.0", 96 + 24, 64497, NULL);
	mmdb_put_asn(mmdb, "9.9.9.9", 128, 64498, "\xff\xfe");
	mmdb_put_asn(mmdb, "2606:2800::", 32, 4200000000U, "Six Networks");
	mmdb_write(mmdb, asn, "GeoLite2-ASN");
	mmdb_init(mmdb);
	mmdb_put_country(mmdb, "93.184.0.0", 96 + 16, "DE");
	mmdb_put_country(mmdb, "9.9.9.9", 128, "DEU");
	mmdb_write(mmdb, country, "GeoLite2-Country");
	mmdb_put_country(mmdb, "93.185.0.0", 96 + 16, "FR");
	mmdb_write(mmdb, other, "GeoLite2-Country");
	free(mmdb);
	return 0;
}

static int remove_databases(void **state)
{
	(void)state;
	unlink(asn);
	unlink(country);
	unlink(other);
	rmdir(folder);
	return 0;
}

static struct networks *networks_of(const char *of_asn, const char *of_country)
{
	char error[512] = "";
	struct networks *networks = networks_open(of_asn, of_country, error, sizeof(error));

	if (!networks)
		fail_msg("%s", error);
	return networks;
}

static void expect(const struct networks *networks, const char *text, const char *name,
		   const char *code)
{
	struct address address;
	struct network network;

	assert_int_equal(address_parse(text, &address), 0);
	assert_int_equal(networks_find(networks, &address, &network), name[0] || code[0]);
	assert_string_equal(network.name, name);
	assert_string_equal(network.country, code);
}

static void an_address_is_in_its_network_and_country(void **state)
{
	struct networks *networks = networks_of(asn, country);

	(void)state;
	expect(networks, "93.184.216.34", "AS64496 Example Networks", "DE");
	expect(networks, "93.184.217.1", "", "DE");
	expect(networks, "8.8.8.8", "AS64497", "");
	expect(networks, "8.8.9.8", "", "");
	expect(networks, "2606:2800:220:1::1", "AS4200000000 Six Networks", "");
	expect(networks, "2606:2801::1", "", "");
	expect(networks, "9.9.9.9", "AS64498", ""); /* no text, and no code of two letters */
	networks_free(networks);
}

static void either_database_is_enough(void **state)
{
	struct networks *networks = networks_of(asn, NULL);

	(void)state;
	expect(networks, "93.184.216.34", "AS64496 Example Networks", "");
	networks_free(networks);
	networks = networks_of(NULL, country);
	expect(networks, "93.184.216.34", "", "DE");
	networks_free(networks);
}

static void the_digest_is_that_of_what_the_files_say(void **state)
{
	struct networks *both = networks_of(asn, country), *again = networks_of(asn, country);
	struct networks *changed = networks_of(asn, other), *one = networks_of(asn, NULL);

	(void)state;
	assert_true(networks_digest(both) == networks_digest(again));
	assert_true(networks_digest(both) != networks_digest(changed));
	assert_true(networks_digest(both) != networks_digest(one));
	networks_free(both);
	networks_free(again);
	networks_free(changed);
	networks_free(one);
}

static void what_is_no_such_database_is_said(void **state)
{
	char error[512];

	(void)state;
	assert_null(networks_open("/nowhere/asn.mmdb", NULL, error, sizeof(error)));
	assert_non_null(strstr(error, "/nowhere/asn.mmdb: No such file"));
	assert_null(networks_open("/proc/self/exe", NULL, error, sizeof(error)));
	assert_non_null(strstr(error, "/proc/self/exe: "));
	assert_null(networks_open(asn, asn, error, sizeof(error)));
	assert_non_null(strstr(error, "a database of type GeoLite2-ASN, not Country"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_is_in_its_network_and_country),
		cmocka_unit_test(either_database_is_enough),
		cmocka_unit_test(the_digest_is_that_of_what_the_files_say),
		cmocka_unit_test(what_is_no_such_database_is_said),
	};

	return cmocka_run_group_tests(tests, write_databases, remove_databases);
}
