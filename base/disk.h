/* What must be on the disk before something else is done, and what was changed there. Any thread,
 * also a child that was forked off threads: nothing is allocated. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All of it, at the descriptor's position. 0 or -errno. */
int disk_write(int descriptor, const void *bytes, size_t length);

/* Whether what is written goes to the disk past the kernel's cache, which takes far less processor
 * time. It must then begin and end at whole pages, in memory and in the file; disk_write turns this
 * off where the file system takes none of it. Whether this changed anything. */
bool disk_direct(int descriptor, bool on);

/* Names made, changed or removed in the folder outlast a power cut. 0 or -errno. */
int disk_sync_folder(const char *folder);

/* A number that is another one when a file of these was written or took the place of the former. A
 * file that is not there counts as such; NULL is no file. */
uint64_t disk_stamp(const char *const *paths, size_t count);
