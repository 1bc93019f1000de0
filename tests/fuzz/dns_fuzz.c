/* DNS messages of anybody, cut anywhere. What is read of one must be well formed itself. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check_name(const struct dns_name *name)
{
	char text[DNS_TEXT_BYTES];
	size_t at = 0;
	while (at < name->length && name->bytes[at])
		at += name->bytes[at] + 1U;
	if (at + 1 != name->length || name->length > DNS_NAME_BYTES)
		abort();
	dns_name_format(name, text);
	for (const char *c = text; *c; c++)
		if (*c <= ' ' || *c >= 0x7f)
			abort(); /* it would not be UTF-8 */
	if (!text[0] || strlen(text) >= DNS_TEXT_BYTES)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct dns_message message;
	if (dns_parse(bytes, length, &message) != DNS_READ)
		return 0;
	if (message.asked)
		check_name(&message.name);
	if (message.answers_count > BATCH_ANSWERS_MAX || message.rcode > 0xfff ||
	    (message.answers_count && (!message.response || !message.asked)))
		abort();
	return 0;
}
