#include "base/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"

bool disk_direct(int descriptor, bool on)
{
	int flags = fcntl(descriptor, F_GETFL);

	if (flags < 0 || !!(flags & O_DIRECT) == on)
		return false;
	return fcntl(descriptor, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

int disk_write(int descriptor, const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length) {
		ssize_t written = write(descriptor, at, length);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0 && errno == EINVAL && disk_direct(descriptor, false))
			continue;
		if (written <= 0)
			return written ? -errno : -EIO;
		at += written;
		length -= (size_t)written;
	}
	return 0;
}

int disk_sync_folder(const char *folder)
{
	int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	if (descriptor < 0 || fsync(descriptor))
		rc = -errno;
	if (descriptor >= 0)
		close(descriptor);
	return rc;
}

uint64_t disk_stamp(const char *const *paths, size_t count)
{
	uint64_t stamp = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t seen[5] = {stamp};
		struct stat status;

		if (paths[i] && stat(paths[i], &status) == 0) {
			seen[1] = (uint64_t)status.st_mtim.tv_sec;
			seen[2] = (uint64_t)status.st_mtim.tv_nsec;
			seen[3] = status.st_ino;
			seen[4] = (uint64_t)status.st_size;
		}
		stamp = hash_bytes(seen, sizeof(seen));
	}
	return stamp;
}
