/* The server's name that a TLS ClientHello asks for (SNI: RFC 6066, RFC 8446), as far as its first
 * bytes are at hand. The bytes are foreign: lengths may say anything, and no place is looked at
 * twice. The hello may be cut anywhere, and may lie in several records. An Encrypted ClientHello
 * shows its outer name, as anybody else may see it. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { SNI_TEXT_BYTES = 254 }; /* a host's name, NUL */

enum sni_verdict {
	SNI_NAME,
	SNI_NONE,  /* the hello asks for no name */
	SNI_CUT,   /* what is at hand ends before the name, or within it */
	SNI_OTHER, /* a name that no host has: not of letters, digits, `-`, `_` and `.` */
	SNI_MALFORMED,
};

/* Fills name, in lower case and without a last dot, when it returns SNI_NAME. */
enum sni_verdict sni_parse(const uint8_t *bytes, size_t length, char name[SNI_TEXT_BYTES]);
