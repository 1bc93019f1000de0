#include "daemon/networks.h"

#include <errno.h>
#include <maxminddb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/utf8.h"

enum { V4_OFFSET = 12 };

struct networks {
	MMDB_s asn, country;
	bool has_asn, has_country;
};

/* ---- opening ---- */

static bool is_of_type(const MMDB_s *database, const char *const *types)
{
	const char *type = database->metadata.database_type;

	for (; *types; types++) {
		if (type && strstr(type, *types))
			return true;
	}
	return false;
}

static bool open_one(const char *path, const char *const *types, MMDB_s *database, char *error,
		     size_t size)
{
	int rc = MMDB_open(path, MMDB_MODE_MMAP, database);

	if (rc != MMDB_SUCCESS) {
		snprintf(error, size, "%s: %s", path,
			 rc == MMDB_IO_ERROR || rc == MMDB_FILE_OPEN_ERROR ? strerror(errno)
									   : MMDB_strerror(rc));
		return false;
	}
	if (is_of_type(database, types))
		return true;
	snprintf(error, size, "%s: a database of type %s, not %s", path,
		 database->metadata.database_type, types[0]);
	MMDB_close(database);
	return false;
}

struct networks *networks_open(const char *asn, const char *country, char *error, size_t size)
{
	static const char *const asn_types[] = {"ASN", "ISP", NULL};
	static const char *const country_types[] = {"Country", "City", "Enterprise", NULL};
	struct networks *networks = memory_zeroed(1, sizeof(*networks));

	networks->has_asn = asn && open_one(asn, asn_types, &networks->asn, error, size);
	if (!asn || networks->has_asn)
		networks->has_country = country && open_one(country, country_types,
							    &networks->country, error, size);
	if (!asn == !networks->has_asn && !country == !networks->has_country)
		return networks;
	networks_free(networks);
	return NULL;
}

void networks_free(struct networks *networks)
{
	if (!networks)
		return;
	if (networks->has_asn)
		MMDB_close(&networks->asn);
	if (networks->has_country)
		MMDB_close(&networks->country);
	memory_free(networks);
}

uint64_t networks_digest(const struct networks *networks)
{
	const MMDB_s *databases[] = {networks->has_asn ? &networks->asn : NULL,
				     networks->has_country ? &networks->country : NULL};
	uint64_t digest = 0;

	for (size_t i = 0; i < sizeof(databases) / sizeof(databases[0]); i++) {
		uint64_t of = databases[i] ? hash_bytes(databases[i]->file_content,
							(size_t)databases[i]->file_size)
					   : 0;

		digest = hash_mix(digest ^ of);
	}
	return digest;
}

/* ---- asking ---- */

static bool find_entry(const MMDB_s *database, const struct address *address, MMDB_entry_s *entry)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	bool is_v4 = address_is_v4(address);
	int rc;

	memcpy(&v4.sin_addr, address->bytes + V4_OFFSET, sizeof(v4.sin_addr));
	memcpy(&v6.sin6_addr, address->bytes, sizeof(v6.sin6_addr));
	MMDB_lookup_result_s found = MMDB_lookup_sockaddr(
		database, is_v4 ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6, &rc);

	*entry = found.entry;
	return rc == MMDB_SUCCESS && found.found_entry;
}

static bool is_utf8(const char *text, size_t length)
{
	const uint8_t *at = (const uint8_t *)text, *end = at + length;

	for (size_t step; at < end; at += step) {
		if ((step = utf8_length(at, (size_t)(end - at))) == 0)
			return false;
	}
	return true;
}

/* Empty if there is none, or it is no text. */
static void text_of(MMDB_entry_s *entry, const char *const *path, char *text, size_t size)
{
	MMDB_entry_data_s value;

	text[0] = '\0';
	if (MMDB_aget_value(entry, &value, path) == MMDB_SUCCESS && value.has_data &&
	    value.type == MMDB_DATA_TYPE_UTF8_STRING && value.data_size < size &&
	    is_utf8(value.utf8_string, value.data_size))
		snprintf(text, size, "%.*s", (int)value.data_size, value.utf8_string);
}

static void find_system(const struct networks *networks, const struct address *address,
			struct network *network)
{
	static const char *const number_path[] = {"autonomous_system_number", NULL};
	static const char *const owner_path[] = {"autonomous_system_organization", NULL};
	char owner[NAME_MAX_BYTES - 16];
	MMDB_entry_data_s number;
	MMDB_entry_s entry;

	if (!networks->has_asn || !find_entry(&networks->asn, address, &entry) ||
	    MMDB_aget_value(&entry, &number, number_path) != MMDB_SUCCESS || !number.has_data ||
	    number.type != MMDB_DATA_TYPE_UINT32)
		return;
	text_of(&entry, owner_path, owner, sizeof(owner));
	snprintf(network->name, sizeof(network->name), "AS%u%s%s", number.uint32,
		 owner[0] ? " " : "", owner);
}

static void find_country(const struct networks *networks, const struct address *address,
			 struct network *network)
{
	static const char *const path[] = {"country", "iso_code", NULL};
	MMDB_entry_s entry;

	if (networks->has_country && find_entry(&networks->country, address, &entry))
		text_of(&entry, path, network->country, sizeof(network->country));
}

bool networks_find(const struct networks *networks, const struct address *address,
		   struct network *network)
{
	*network = (struct network){0};
	find_system(networks, address, network);
	find_country(networks, address, network);
	return network->name[0] || network->country[0];
}
