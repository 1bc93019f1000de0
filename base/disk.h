/* What must be on the disk before something else is done, and what was changed there. Any thread,
 * also a child that was forked off threads: nothing is allocated. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* All of it, at the descriptor's position. 0 or -errno. */
int disk_write(int descriptor, const void *bytes, size_t length);

/* Names made, changed or removed in the folder outlast a power cut. 0 or -errno. */
int disk_sync_folder(const char *folder);

/* A number that is another one when a file of these was written or took the place of the former. A
 * file that is not there counts as such; NULL is no file. */
uint64_t disk_stamp(const char *const *paths, size_t count);
