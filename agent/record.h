/* The kernel's records as they come out of the ring: whether one is as long as its kind and its own
 * lengths say and names what it is about, and what needs more than a cast to be read. Pure; any
 * thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/bpf/event.h"

/* size: what the ring says; it rounds nothing. False: it must not be looked into. */
bool record_whole(const struct mr_head *record, size_t size);

/* The program's path, root first, not cleaned, without a NUL; without its first '/' if its upper
 * directories are missing. Returns its length. */
size_t record_path(const struct mr_exec *exec, char to[MR_PATH_BYTES]);
