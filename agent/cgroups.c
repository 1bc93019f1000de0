#include "agent/cgroups.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/bpf/event.h"
#include "agent/index.h"
#include "agent/text.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
	DEPTH_MAX = 24, /* Kubernetes in Docker in Kubernetes is 18 */
	RUNTIME_FILE_BYTES =
		256 * 1024, /* of a container's config.v2.json; larger ones are not read */
};
#define WALK_EVERY_NS NS_PER_S

struct cgroups {
	struct cgroups_options options;
	struct cgroup_place *places;
	struct index index;
	uint32_t high;
	uint64_t walked_ns;
	bool walked;
};

struct cgroups *cgroups_new(const struct cgroups_options *options)
{
	struct cgroups *cgroups = memory_zeroed(1, sizeof(*cgroups));
	cgroups->options = *options;
	cgroups->places = memory_zeroed(options->cgroups_max, sizeof(*cgroups->places));
	index_init(&cgroups->index, options->cgroups_max);
	return cgroups;
}

void cgroups_free(struct cgroups *cgroups)
{
	if (!cgroups)
		return;
	index_done(&cgroups->index);
	free(cgroups->places);
	free(cgroups);
}

static bool path_in_scope(const struct cgroups *cgroups, const char *path)
{
	for (uint32_t i = 0; i < cgroups->options.prefixes_count; i++) {
		const char *prefix = cgroups->options.prefixes[i];
		if (strncmp(path, prefix, strlen(prefix)) == 0)
			return true;
	}
	return cgroups->options.prefixes_count == 0;
}

static void copy_json(char *to, size_t size, const cJSON *object, const char *name)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
	if (text)
		text_clean(to, size, text, strlen(text));
}

/* Docker keeps each container's name, image and labels in a file beside its logs. */
static void read_docker(const char *root, struct cgroup_place *place)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/containers/%s/config.v2.json", root, place->container.id);
	FILE *file = fopen(path, "re");
	if (!file)
		return;
	char *bytes = memory_zeroed(RUNTIME_FILE_BYTES, 1);
	size_t length = fread(bytes, 1, RUNTIME_FILE_BYTES, file);
	cJSON *json = length < RUNTIME_FILE_BYTES ? cJSON_ParseWithLength(bytes, length) : NULL;
	const cJSON *config = cJSON_GetObjectItemCaseSensitive(json, "Config");
	const cJSON *labels = cJSON_GetObjectItemCaseSensitive(config, "Labels");
	copy_json(place->name, sizeof(place->name), json, "Name");
	if (place->name[0] == '/')
		memmove(place->name, place->name + 1, strlen(place->name));
	copy_json(place->image, sizeof(place->image), config, "Image");
	copy_json(place->project, sizeof(place->project), labels, "com.docker.compose.project");
	copy_json(place->service, sizeof(place->service), labels, "com.docker.compose.service");
	cJSON_Delete(json);
	free(bytes);
	fclose(file);
}

static uint32_t least_used(const struct cgroups *cgroups)
{
	uint32_t least = 0;
	for (uint32_t i = 1; i < cgroups->high; i++)
		if (cgroups->places[i].used_ns < cgroups->places[least].used_ns)
			least = i;
	return least;
}

static struct cgroup_place *add(struct cgroups *cgroups, uint64_t id, const char *path,
				uint64_t now_ns)
{
	uint32_t number = cgroups->high;
	if (number == cgroups->options.cgroups_max) {
		number = least_used(cgroups);
		index_remove(&cgroups->index, cgroups->places[number].id);
	} else {
		cgroups->high++;
	}
	struct cgroup_place *place = &cgroups->places[number];
	*place = (struct cgroup_place){.id = id, .used_ns = now_ns};
	text_clean(place->path, sizeof(place->path), path, strlen(path));
	container_parse(place->path, &place->container);
	place->in_scope = path_in_scope(cgroups, place->path);
	if (place->container.id[0])
		read_docker(cgroups->options.docker_root, place);
	index_put(&cgroups->index, id, number);
	return place;
}

/* Directories below fd; path is the caller's buffer and is as it was when this returns. Only what
 * is new is added: a full table would otherwise push out what is in use. */
static void walk(struct cgroups *cgroups, int fd, char path[CGROUP_PATH_BYTES], size_t length,
		 uint64_t bit, unsigned depth)
{
	DIR *directory = fdopendir(fd);
	if (!directory) {
		close(fd);
		return;
	}
	for (struct dirent *entry; (entry = readdir(directory));) {
		size_t name = strlen(entry->d_name);
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.' ||
		    length + name + 2 > CGROUP_PATH_BYTES || depth == DEPTH_MAX)
			continue;
		path[length] = '/';
		memcpy(path + length + 1, entry->d_name, name + 1);
		int child =
			openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		struct stat stat;
		if (child >= 0 && fstat(child, &stat) == 0) {
			uint64_t id = (uint64_t)stat.st_ino | bit;
			if (index_get(&cgroups->index, id) == INDEX_NONE &&
			    cgroups->high < cgroups->options.cgroups_max)
				add(cgroups, id, path, 0);
			walk(cgroups, child, path, length + 1 + name, bit, depth + 1);
		} else if (child >= 0) {
			close(child);
		}
		path[length] = 0;
	}
	closedir(directory);
}

static void walk_tree(struct cgroups *cgroups, const char *mount, uint64_t bit)
{
	int fd = mount ? open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	char path[CGROUP_PATH_BYTES] = "";
	if (fd >= 0)
		walk(cgroups, fd, path, 0, bit, 0);
}

/* "0::/path" is the v2 tree's line, "<n>:...memory...:/path" the v1 memory controller's. */
static bool read_process_path(uint32_t pid, bool v1, char path[CGROUP_PATH_BYTES])
{
	char name[64], line[CGROUP_PATH_BYTES + 64];
	snprintf(name, sizeof(name), "/proc/%u/cgroup", pid);
	FILE *file = fopen(name, "re");
	bool found = false;
	while (file && !found && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		char *controllers = strchr(line, ':');
		char *tail = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!tail)
			continue;
		*tail++ = 0;
		found = v1 ? strstr(controllers, "memory") != NULL : strcmp(line, "0:") == 0;
		if (found)
			snprintf(path, CGROUP_PATH_BYTES, "%s", tail);
	}
	if (file)
		fclose(file);
	return found;
}

struct cgroup_place *cgroups_get(struct cgroups *cgroups, uint64_t id, uint32_t pid,
				 uint64_t now_ns)
{
	uint32_t number = index_get(&cgroups->index, id);
	if (number == INDEX_NONE &&
	    (!cgroups->walked || now_ns - cgroups->walked_ns >= WALK_EVERY_NS)) {
		walk_tree(cgroups, cgroups->options.v2_mount, 0);
		walk_tree(cgroups, cgroups->options.v1_mount, MR_CGROUP_V1);
		cgroups->walked = true;
		cgroups->walked_ns = now_ns;
		number = index_get(&cgroups->index, id);
	}
	struct cgroup_place *place = number == INDEX_NONE ? NULL : &cgroups->places[number];
	char path[CGROUP_PATH_BYTES];
	if (!place && id <= 1) /* the root is not found below itself */
		place = add(cgroups, id, "/", now_ns);
	else if (!place && pid && read_process_path(pid, id & MR_CGROUP_V1, path))
		place = add(cgroups, id, path, now_ns);
	if (place)
		place->used_ns = now_ns;
	return place;
}

bool cgroups_all_in_scope(const struct cgroups *cgroups)
{
	return cgroups->options.prefixes_count == 0;
}

uint32_t cgroups_high(const struct cgroups *cgroups)
{
	return cgroups->high;
}

struct cgroup_place *cgroups_at(struct cgroups *cgroups, uint32_t number)
{
	return &cgroups->places[number];
}

int cgroup_mounts_read(const char *mounts, struct cgroup_mounts *out)
{
	memset(out, 0, sizeof(*out));
	FILE *file = setmntent(mounts, "re");
	if (!file)
		return -errno;
	struct mntent entry;
	char buffer[4096];
	while (getmntent_r(file, &entry, buffer, sizeof(buffer))) {
		if (strcmp(entry.mnt_type, "cgroup2") == 0 && !out->v2[0])
			snprintf(out->v2, sizeof(out->v2), "%s", entry.mnt_dir);
		if (strcmp(entry.mnt_type, "cgroup") == 0 && hasmntopt(&entry, "memory") &&
		    !out->v1[0])
			snprintf(out->v1, sizeof(out->v1), "%s", entry.mnt_dir);
	}
	endmntent(file);
	return 0;
}
