/* CRC-32C (Castagnoli; RFC 3720, appendix B.4), for what is written to files and read back. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Goes on from the crc of what came before; 0 at the beginning. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t length);
