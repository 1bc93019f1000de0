/* What it costs to find who is at an end, by how it is found: names from DNS answers (ingest's) and
 * networks (a database of the size of GeoLite2-ASN, made for it). Least of some rounds, at
 * addresses at random. One thread. */
#pragma once

#include <stdint.h>

struct lookups_cost {
	double dns_ns;	    /* the process asked for the name itself, */
	double node_dns_ns; /* or another of its node did */
	double network_ns;  /* an autonomous system, from a database that is mapped */
};

struct lookups_cost lookups_measure(uint32_t answers);
