/* What must be on the disk before something else is done, and what was changed there. Any thread,
 * also a child that was forked off threads: nothing is allocated. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* All of it, at the descriptor's position. 0 or -errno. */
int disk_write(int descriptor, const void *bytes, size_t length);

/* One behind the other, at most 1,024, the first of them not empty; the parts are changed. 0 or
 * -errno. */
int disk_write_parts(int descriptor, struct iovec *parts, size_t count);

/* Whether what is written goes to the disk past the kernel's cache, which takes a tenth of the
 * processor time. Then it must lie, in memory and in the file, at whole pages: disk_write_parts
 * turns it off where that is not enough. Whether this changed anything. */
bool disk_direct(int descriptor, bool on);

/* Names made, changed or removed in the folder outlast a power cut. 0 or -errno. */
int disk_sync_folder(const char *folder);

/* A number that is another one when a file of these was written or took the place of the former. A
 * file that is not there counts as such; NULL is no file. */
uint64_t disk_stamp(const char *const *paths, size_t count);
