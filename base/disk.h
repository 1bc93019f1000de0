/* What must be on the disk before something else is done. Any thread, also a child that was forked
 * off threads: nothing is allocated. */
#pragma once

#include <stddef.h>

/* All of it, at the descriptor's position. 0 or -errno. */
int disk_write(int descriptor, const void *bytes, size_t length);

/* Names made, changed or removed in the folder outlast a power cut. 0 or -errno. */
int disk_sync_folder(const char *folder);
