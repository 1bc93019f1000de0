/* Messages as bytes, for the exchange: from one instance to another of the same build.
 *
 *   header | arrays in the order of struct half_bucket or label_bucket | struct wire_name ... |
 * texts | for ROWS the bucket instead
 *
 * The structs stand there as they are in memory (little-endian, host layout); the header tells
 * their sizes, so that a build with other ones is told from ours. Reading checks all that sizes and
 * counts say against the length; what is in the structs is taken as it is. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "daemon/message.h"

size_t wire_message_size(const struct message *message);
/* wire_message_size() bytes. */
void wire_message_write(const struct message *message, uint8_t *bytes);
/* Made as message_new and its like do; bytes may stand anywhere. NULL: no message of this build
 * between two of so many tasks. */
struct message *wire_message_read(const uint8_t *bytes, size_t length, uint32_t tasks);
