#include "agent/bundles.h"

#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/manifest.h"
#include "base/memory.h"

enum { FILE_BYTES_MAX = 4 << 20, PATH_BYTES = 1024 };

/* NULL: not there, not a regular file, or too large. free() it. */
static char *read_all(const char *path, size_t *length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat stat;
	char *bytes = NULL;
	if (fd >= 0 && fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) && stat.st_size > 0 &&
	    stat.st_size <= FILE_BYTES_MAX) {
		bytes = memory_zeroed((size_t)stat.st_size, 1);
		ssize_t n = read(fd, bytes, (size_t)stat.st_size);
		*length = n > 0 ? (size_t)n : 0;
	}
	if (fd >= 0)
		close(fd);
	return bytes;
}

static bool is_set(const char *root)
{
	return root && root[0];
}

static bool read_docker(const struct bundle_roots *roots, const char *id, struct description *out)
{
	char path[PATH_BYTES];
	size_t length;
	snprintf(path, sizeof(path), "%s/containers/%s/config.v2.json", roots->docker, id);
	char *bytes = is_set(roots->docker) ? read_all(path, &length) : NULL;
	bool found = bytes && manifest_inspect(bytes, length, &roots->labels, out);
	free(bytes);
	return found;
}

static bool read_bundle(const struct bundle_roots *roots, const char *path, struct description *out)
{
	size_t length;
	char *bytes = read_all(path, &length);
	bool found = bytes && manifest_bundle(bytes, length, &roots->labels, out);
	free(bytes);
	return found;
}

/* A directory for each of containerd's namespaces; there are a few. */
static bool read_containerd(const struct bundle_roots *roots, const char *id,
			    struct description *out)
{
	char path[PATH_BYTES];
	snprintf(path, sizeof(path), "%s/io.containerd.runtime.v2.task", roots->containerd);
	DIR *namespaces = is_set(roots->containerd) ? opendir(path) : NULL;
	bool found = false;
	for (struct dirent *entry; namespaces && !found && (entry = readdir(namespaces));) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/io.containerd.runtime.v2.task/%s/%s/config.json",
			 roots->containerd, entry->d_name, id);
		found = read_bundle(roots, path, out);
	}
	if (namespaces)
		closedir(namespaces);
	if (found)
		description_set(out, DESCRIPTION_RUNTIME, "containerd");
	return found;
}

/* run/overlay-containers/<id>/userdata/config.json, then the list in storage. */
static bool read_storage(const struct bundle_roots *roots, const char *run, const char *storage,
			 const char *id, struct description *out)
{
	char path[PATH_BYTES];
	size_t length;
	snprintf(path, sizeof(path), "%s/overlay-containers/%s/userdata/config.json", run, id);
	bool bundle = is_set(run) && read_bundle(roots, path, out);
	snprintf(path, sizeof(path), "%s/overlay-containers/containers.json", storage);
	char *bytes = is_set(storage) ? read_all(path, &length) : NULL;
	bool listed = bytes && manifest_storage(bytes, length, out);
	free(bytes);
	return bundle || listed;
}

/* Not getpwuid: it may ask the network. */
static bool home_of(const char *users, uint32_t user, char *home, size_t size)
{
	FILE *file = is_set(users) ? fopen(users, "re") : NULL;
	struct passwd entry, *found = NULL;
	char room[2048];
	bool known = false;
	while (file && !known && fgetpwent_r(file, &entry, room, sizeof(room), &found) == 0)
		known = entry.pw_uid == user;
	if (known)
		snprintf(home, size, "%s", entry.pw_dir);
	if (file)
		fclose(file);
	return known;
}

static bool read_rootless(const struct bundle_roots *roots, const struct container_path *path,
			  struct description *out)
{
	char run[64], home[512], storage[640];
	if (!path->user || !home_of(roots->users, path->user, home, sizeof(home)))
		return false;
	snprintf(run, sizeof(run), "/run/user/%u/containers", path->user);
	snprintf(storage, sizeof(storage), "%s/.local/share/containers/storage", home);
	return read_storage(roots, run, storage, path->id, out);
}

static bool may_be(const struct container_path *path, const char *runtime)
{
	return !path->runtime[0] || strcmp(path->runtime, runtime) == 0;
}

bool bundle_read(const struct bundle_roots *roots, const struct container_path *path,
		 struct description *out)
{
	description_init(out, path->id);
	if ((may_be(path, "docker") || may_be(path, "ecs")) && read_docker(roots, path->id, out))
		return true;
	description_init(out, path->id);
	if (may_be(path, "containerd") && read_containerd(roots, path->id, out))
		return true;
	if (!may_be(path, "podman") && !may_be(path, "cri-o"))
		return false;
	return read_storage(roots, roots->storage_run, roots->storage, path->id, out) ||
	       read_rootless(roots, path, out);
}
