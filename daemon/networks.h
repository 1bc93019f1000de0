/* Whose network a public address is in, as databases in MaxMind's format say (GeoLite2-ASN,
 * GeoLite2-Country and those that are like them). They are read where they are: who replaces a file
 * while it is used renames another over it. What it says is a part of what a log means: with other
 * databases the same log gives other names, so their digest belongs to what a snapshot must fit.
 * Any thread, once it is open. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/name.h"

struct networks;

struct network {
	char name[NAME_MAX_BYTES + 1]; /* "AS64496 Example Networks"; or empty */
	char country[3];	       /* ISO 3166; or empty */
};

/* Either path may be NULL. NULL with the sentence in error: a file cannot be read or is another
 * kind of database. */
struct networks *networks_open(const char *asn, const char *country, char *error, size_t size);
void networks_free(struct networks *networks);
uint64_t networks_digest(const struct networks *networks);

/* Whether anything is known. */
bool networks_find(const struct networks *networks, const struct address *address,
		   struct network *network);
