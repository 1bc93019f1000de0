/* One DNS message (RFC 1035, EDNS: RFC 6891) as far as its first bytes are at hand: who asks for
 * what, how it was answered. The bytes are foreign: names may point anywhere, counts may say
 * anything. A pointer in a name must lead backwards, so no name loops, and a name has at most 255
 * bytes; of an answer's records at most 64 are looked at. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "agent/batch/batch.h"

enum {
	DNS_NAME_BYTES = 255,
	DNS_TEXT_BYTES = 4 * DNS_NAME_BYTES + 1, /* each byte escaped, NUL */
	DNS_A = 1,
	DNS_CNAME = 5,
	DNS_AAAA = 28,
	DNS_OPT = 41,
};

enum dns_verdict {
	DNS_READ,
	DNS_OTHER,     /* well formed, and no lookup: another operation, or nothing is asked */
	DNS_MALFORMED, /* header or question cannot be read */
};

struct dns_name {
	uint16_t length;
	uint8_t bytes[DNS_NAME_BYTES]; /* as on the wire, in lower case, without pointers */
};

struct dns_message {
	uint16_t id;
	bool response, truncated; /* TC */
	bool asked;		  /* name and type are there; a response may leave them out */
	bool damaged; /* the records are malformed from some place on; what was before counts */
	uint16_t type;
	uint32_t rcode; /* with the extended bits if the OPT record is in reach */
	struct dns_name name;
	/* Addresses of the name, through its CNAMEs, each with the smallest TTL on the way. */
	struct batch_answer answers[BATCH_ANSWERS_MAX];
	uint32_t answers_count;
};

/* Fills message when it returns DNS_READ. length: what is at hand, the message may be longer. */
enum dns_verdict dns_parse(const uint8_t *bytes, size_t length, struct dns_message *message);

static inline bool dns_name_equal(const struct dns_name *a, const struct dns_name *b)
{
	return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

/* As people write it, without the last dot ("." is the root); what is not printable ASCII, and dots
 * within labels, as \DDD. */
void dns_name_format(const struct dns_name *name, char text[DNS_TEXT_BYTES]);
