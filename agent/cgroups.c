#include "agent/cgroups.h"

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
#include "agent/proc.h"
#include "agent/text.h"
#include "base/memory.h"

enum {
	ROOT_ID = 1,				    /* of each hierarchy (kernfs) */
	DEPTH_MAX = 24,				    /* Kubernetes in Docker in Kubernetes is 18 */
	PROC_CGROUP_BYTES = 16 * CGROUP_PATH_BYTES, /* a line for each v1 controller */
};

_Static_assert((int)CGROUP_PATH_BYTES >= (int)MR_CGROUP_PATH_BYTES, "a record's path fits");

struct cgroups {
	struct cgroups_options options;
	struct cgroup_place *places;
	struct index index;
	uint32_t *free;
	uint32_t free_count, high;
	struct cgroups_stats stats;
};

struct cgroups *cgroups_new(const struct cgroups_options *options)
{
	struct cgroups *cgroups = memory_zeroed(1, sizeof(*cgroups));
	cgroups->options = *options;
	cgroups->places = memory_zeroed(options->cgroups_max, sizeof(*cgroups->places));
	cgroups->free = memory_zeroed(options->cgroups_max, sizeof(*cgroups->free));
	index_init(&cgroups->index, options->cgroups_max);
	return cgroups;
}

void cgroups_free(struct cgroups *cgroups)
{
	if (!cgroups)
		return;
	index_done(&cgroups->index);
	free(cgroups->places);
	free(cgroups->free);
	free(cgroups);
}

static struct cgroup_place *find(struct cgroups *cgroups, uint64_t id)
{
	uint32_t number = index_get(&cgroups->index, id);
	return number == INDEX_NONE ? NULL : &cgroups->places[number];
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

static bool goes_before(const struct cgroup_place *a, const struct cgroup_place *b)
{
	return a->ended != b->ended ? a->ended : a->used_ns < b->used_ns;
}

static void remove_place(struct cgroups *cgroups, struct cgroup_place *place)
{
	index_remove(&cgroups->index, place->id);
	*place = (struct cgroup_place){0};
	cgroups->free[cgroups->free_count++] = (uint32_t)(place - cgroups->places);
}

static void make_room(struct cgroups *cgroups)
{
	struct cgroup_place *first = &cgroups->places[0];
	for (uint32_t i = 1; i < cgroups->high; i++)
		if (goes_before(&cgroups->places[i], first))
			first = &cgroups->places[i];
	remove_place(cgroups, first);
	cgroups->stats.evicted++;
}

static void set_path(struct cgroups *cgroups, struct cgroup_place *place, const char *path,
		     uint64_t now_ns)
{
	size_t length = strlen(path);
	cgroups->stats.cut += length >= sizeof(place->path) - 1;
	text_clean(place->path, sizeof(place->path), path, length);
	container_parse(place->path, &place->container);
	place->in_scope = path_in_scope(cgroups, place->path);
	if (place->container.id[0] && place->in_scope)
		containers_want(cgroups->options.containers, &place->container, now_ns);
}

static struct cgroup_place *add(struct cgroups *cgroups, uint64_t id, const char *path,
				uint64_t now_ns)
{
	if (!cgroups->free_count && cgroups->high == cgroups->options.cgroups_max)
		make_room(cgroups);
	uint32_t number =
		cgroups->free_count ? cgroups->free[--cgroups->free_count] : cgroups->high++;
	struct cgroup_place *place = &cgroups->places[number];
	*place = (struct cgroup_place){.id = id, .used_ns = now_ns, .known_ns = now_ns};
	set_path(cgroups, place, path, now_ns);
	index_put(&cgroups->index, id, number);
	return place;
}

static bool is_full(const struct cgroups *cgroups)
{
	return !cgroups->free_count && cgroups->high == cgroups->options.cgroups_max;
}

struct cgroup_list {
	struct found {
		uint64_t id;
		char *path;
	} * items;
	size_t count, capacity, max;
	bool whole;		 /* of the tree that is being walked nothing was left out */
	bool v2_whole, v1_whole; /* so, when done */
};

static void found(struct cgroup_list *list, uint64_t id, const char *path)
{
	if (list->count == list->max) {
		list->whole = false;
		return;
	}
	if (list->count == list->capacity) {
		list->capacity = memory_grown(list->capacity, list->count + 1);
		list->items = memory_resize(list->items, list->capacity, sizeof(*list->items));
	}
	size_t size = strlen(path) + 1;
	struct found *item = &list->items[list->count++];
	*item = (struct found){.id = id, .path = memory_resize(NULL, size, 1)};
	memcpy(item->path, path, size);
}

static bool is_child(const struct dirent *entry)
{
	return entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
	       strcmp(entry->d_name, "..") != 0;
}

/* Directories below fd; path is the caller's buffer and is as it was when this returns. */
static void walk(struct cgroup_list *list, int fd, char path[CGROUP_PATH_BYTES], size_t length,
		 uint64_t bit, unsigned depth)
{
	DIR *directory = fdopendir(fd);
	if (!directory) {
		list->whole = false;
		close(fd);
		return;
	}
	for (struct dirent *entry; (entry = readdir(directory));) {
		size_t name = strlen(entry->d_name);
		if (!is_child(entry))
			continue;
		if (length + name + 2 > CGROUP_PATH_BYTES || depth == DEPTH_MAX) {
			list->whole = false;
			continue;
		}
		path[length] = '/';
		memcpy(path + length + 1, entry->d_name, name + 1);
		int child =
			openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		struct stat stat;
		if (child >= 0 && fstat(child, &stat) == 0) {
			found(list, (uint64_t)stat.st_ino | bit, path);
			walk(list, child, path, length + 1 + name, bit, depth + 1);
		} else if (child >= 0) {
			list->whole = false;
			close(child);
		} else if (errno != ENOENT) { /* that would be its end */
			list->whole = false;
		}
		path[length] = 0;
	}
	closedir(directory);
}

/* Whether all of the hierarchy was read: in a cgroup namespace of its own the agent sees a part of
 * what the kernel tells it of. */
static bool walk_tree(struct cgroup_list *list, const char *mount, uint64_t bit,
		      uint32_t cgroups_max)
{
	int fd = mount ? open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	char path[CGROUP_PATH_BYTES] = "";
	struct stat root;
	list->max += cgroups_max;
	if (fd < 0)
		return false;
	list->whole = fstat(fd, &root) == 0 && root.st_ino == ROOT_ID;
	walk(list, fd, path, 0, bit, 0);
	return list->whole;
}

struct cgroup_list *cgroup_list_read(const char *v2_mount, const char *v1_mount,
				     uint32_t cgroups_max)
{
	struct cgroup_list *list = memory_zeroed(1, sizeof(*list));
	list->v2_whole = walk_tree(list, v2_mount, 0, cgroups_max);
	list->v1_whole = walk_tree(list, v1_mount, MR_CGROUP_V1, cgroups_max);
	return list;
}

void cgroup_list_free(struct cgroup_list *list)
{
	if (!list)
		return;
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i].path);
	free(list->items);
	free(list);
}

/* The root is not below itself, so no list has it. */
static bool is_missing(const struct cgroups *cgroups, const struct cgroup_list *list,
		       const struct cgroup_place *place, uint64_t began_ns)
{
	bool whole = place->id & MR_CGROUP_V1 ? list->v1_whole : list->v2_whole;
	return whole && !place->ended && place->walk != cgroups->stats.walks &&
	       place->known_ns < began_ns && (place->id & ~MR_CGROUP_V1) > ROOT_ID;
}

/* Only what is new is added: a full table would otherwise push out what is in use. */
void cgroups_take(struct cgroups *cgroups, const struct cgroup_list *list, uint64_t began_ns,
		  uint64_t now_ns)
{
	cgroups->stats.walks++;
	for (size_t i = 0; i < list->count; i++) {
		struct cgroup_place *place = find(cgroups, list->items[i].id);
		if (!place && !is_full(cgroups))
			place = add(cgroups, list->items[i].id, list->items[i].path, now_ns);
		if (place)
			place->walk = cgroups->stats.walks;
	}
	for (uint32_t i = 0; i < cgroups_high(cgroups); i++) {
		struct cgroup_place *place = cgroups_at(cgroups, i);
		if (!place || !is_missing(cgroups, list, place, began_ns))
			continue;
		place->ended = true;
		cgroups->stats.vanished++;
	}
}

void cgroups_walk(struct cgroups *cgroups, uint64_t now_ns)
{
	struct cgroup_list *list = cgroup_list_read(
		cgroups->options.v2_mount, cgroups->options.v1_mount, cgroups->options.cgroups_max);
	cgroups_take(cgroups, list, now_ns, now_ns);
	cgroup_list_free(list);
}

void cgroups_made(struct cgroups *cgroups, uint64_t id, const char *path, uint64_t now_ns)
{
	struct cgroup_place *place = find(cgroups, id);
	if (!id)
		return;
	cgroups->stats.made++;
	if (!place) {
		add(cgroups, id, path, now_ns);
	} else if (strcmp(place->path, path) != 0) { /* renamed */
		place->announced = place->ended = false;
		place->known_ns = now_ns;
		set_path(cgroups, place, path, now_ns);
	}
}

/* One that is not known is kept all the same, if there is room: a walk that runs may have read it
 * just before, and would bring it back. */
void cgroups_ended(struct cgroups *cgroups, uint64_t id, const char *path, uint64_t now_ns)
{
	struct cgroup_place *place = find(cgroups, id);
	if (!place && id && !is_full(cgroups))
		place = add(cgroups, id, path, now_ns);
	if (place)
		place->ended = true;
}

static bool read_process_path(uint32_t pid, bool v1, char path[CGROUP_PATH_BYTES])
{
	char name[64], text[PROC_CGROUP_BYTES];
	snprintf(name, sizeof(name), "/proc/%u/cgroup", pid);
	FILE *file = fopen(name, "re");
	size_t length = file ? fread(text, 1, sizeof(text), file) : 0;
	if (file)
		fclose(file);
	return proc_cgroup_path(text, length, v1, path, CGROUP_PATH_BYTES);
}

struct cgroup_place *cgroups_get(struct cgroups *cgroups, uint64_t id, uint32_t pid,
				 uint64_t now_ns)
{
	struct cgroup_place *place = find(cgroups, id);
	char path[CGROUP_PATH_BYTES];
	if (!place && id <= ROOT_ID) /* no walk finds it */
		place = add(cgroups, id, "/", now_ns);
	else if (!place && pid && read_process_path(pid, id & MR_CGROUP_V1, path))
		place = add(cgroups, id, path, now_ns);
	if (place)
		place->used_ns = now_ns;
	else
		cgroups->stats.unknown++;
	return place;
}

void cgroups_scope(struct cgroups *cgroups, const char *const *prefixes, uint32_t count)
{
	cgroups->options.prefixes = prefixes;
	cgroups->options.prefixes_count = count;
	for (uint32_t i = 0; i < cgroups_high(cgroups); i++) {
		struct cgroup_place *place = cgroups_at(cgroups, i);
		if (!place)
			continue;
		place->in_scope = path_in_scope(cgroups, place->path);
		if (!place->in_scope)
			place->announced = false;
	}
}

void cgroups_touch(struct cgroups *cgroups, uint64_t id, uint64_t now_ns)
{
	struct cgroup_place *place = find(cgroups, id);
	if (place)
		place->used_ns = now_ns;
}

bool cgroups_forget(struct cgroups *cgroups, struct cgroup_place *place, uint64_t now_ns,
		    uint64_t unused_ns)
{
	if (!place->ended || now_ns - place->used_ns < unused_ns)
		return false;
	remove_place(cgroups, place);
	return true;
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
	return cgroups->places[number].id ? &cgroups->places[number] : NULL;
}

struct cgroups_stats cgroups_stats(const struct cgroups *cgroups)
{
	struct cgroups_stats stats = cgroups->stats;
	stats.live = cgroups->index.count;
	return stats;
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
