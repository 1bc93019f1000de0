/* Which path, container or unit a cgroup id is. The id is the inode number of the cgroup's
 * directory, so the trees are walked at start and again when an id is not known (at most once a
 * second); /proc/<pid>/cgroup answers what the walk could not. A cgroup that is gone stays known
 * until its place is needed: its sockets may outlive it.
 *
 * Bounded by cgroups_new; when full the least recently used goes. One thread; reads the file
 * system. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/container.h"

enum { CGROUP_PATH_BYTES = 512 };

struct cgroup_place {
	uint64_t id;
	uint64_t used_ns;
	bool announced; /* told in this epoch, so it takes part in key frames */
	bool in_scope;
	struct container_path container;
	/* from the container runtime's own files; empty if they do not tell */
	char name[128], image[256], project[128], service[128];
	char path[CGROUP_PATH_BYTES];
};

struct cgroups_options {
	const char *v2_mount, *v1_mount; /* NULL: not mounted */
	const char *docker_root;	 /* "/var/lib/docker" */
	uint32_t cgroups_max;
	const char *const *prefixes; /* lent for its life: scope, by path; none: all */
	uint32_t prefixes_count;
};

struct cgroups;
struct cgroups *cgroups_new(const struct cgroups_options *options);
void cgroups_free(struct cgroups *cgroups);
/* NULL: unknown. pid: somebody in it, or 0. */
struct cgroup_place *cgroups_get(struct cgroups *cgroups, uint64_t id, uint32_t pid,
				 uint64_t now_ns);
bool cgroups_all_in_scope(const struct cgroups *cgroups);
uint32_t cgroups_high(const struct cgroups *cgroups);
struct cgroup_place *cgroups_at(struct cgroups *cgroups, uint32_t number);

/* Where the cgroup v2 and the v1 memory trees are mounted; empty if they are not. mounts:
 * "/proc/self/mounts". */
struct cgroup_mounts {
	char v2[256], v1[256];
};
int cgroup_mounts_read(const char *mounts, struct cgroup_mounts *out);
