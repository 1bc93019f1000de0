#include "base/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int disk_write(int descriptor, const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length) {
		ssize_t written = write(descriptor, at, length);

		if (written < 0 && errno == EINTR)
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
