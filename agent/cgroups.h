/* Which path, container or unit a cgroup id is. The id is the inode number of the cgroup's
 * directory: the trees are walked at start, and from then on the kernel tells what is made, renamed
 * and removed, so that no event makes the agent read directories; a walk mends what of that was
 * lost, and /proc/<pid>/cgroup answers what both missed. A cgroup that is gone stays known while
 * its sockets are told again.
 *
 * Bounded by cgroups_new; when full one that is gone goes first, else the one used longest ago,
 * counted. One thread; reads the file system. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/container.h"
#include "agent/containers.h"

enum { CGROUP_PATH_BYTES = 512 };

struct cgroup_place {
	uint64_t id; /* 0: free */
	uint64_t used_ns;
	uint64_t known_ns; /* by this path since then */
	uint64_t walk;	   /* the number of the last that found it */
	bool announced;	   /* told in this epoch, so it takes part in key frames */
	bool in_scope;
	bool ended; /* its directory is gone */
	struct container_path container;
	char path[CGROUP_PATH_BYTES];
};

struct cgroups_options {
	const char *v2_mount, *v1_mount; /* NULL: not mounted */
	struct containers *containers;	 /* lent for its life: told who is wanted */
	uint32_t cgroups_max;
	const char *const *prefixes; /* lent for its life: scope, by path; none: all */
	uint32_t prefixes_count;
};

struct cgroups_stats {
	uint32_t live;
	uint64_t made, walks, evicted, unknown, cut; /* unknown: looked for in vain; cut: paths */
	uint64_t vanished;			     /* ends that a walk found */
};

struct cgroups;
struct cgroups *cgroups_new(const struct cgroups_options *options);
void cgroups_free(struct cgroups *cgroups);
/* All directories, read by any thread: at start, and after the kernel's word of some was lost. Each
 * costs some 10 us. At most cgroups_max of a tree. */
struct cgroup_list;
struct cgroup_list *cgroup_list_read(const char *v2_mount, const char *v1_mount,
				     uint32_t cgroups_max);
void cgroup_list_free(struct cgroup_list *list);
/* Those that are not known yet. And those that were known when the list was begun and are not in it
 * have ended, if it has all of their tree. */
void cgroups_take(struct cgroups *cgroups, const struct cgroup_list *list, uint64_t began_ns,
		  uint64_t now_ns);
void cgroups_walk(struct cgroups *cgroups, uint64_t now_ns); /* reads and takes */
/* The kernel's word. path: foreign. */
void cgroups_made(struct cgroups *cgroups, uint64_t id, const char *path, uint64_t now_ns);
void cgroups_ended(struct cgroups *cgroups, uint64_t id, const char *path, uint64_t now_ns);
/* NULL: unknown. pid: somebody in it, or 0. */
struct cgroup_place *cgroups_get(struct cgroups *cgroups, uint64_t id, uint32_t pid,
				 uint64_t now_ns);
/* Another scope, lent until the next; what is announced and now outside is told no more. */
void cgroups_scope(struct cgroups *cgroups, const char *const *prefixes, uint32_t count);
/* Something of it was told again. */
void cgroups_touch(struct cgroups *cgroups, uint64_t id, uint64_t now_ns);
/* Forgets it if it is gone and was not used for so long. True: forgotten. */
bool cgroups_forget(struct cgroups *cgroups, struct cgroup_place *place, uint64_t now_ns,
		    uint64_t unused_ns);
bool cgroups_all_in_scope(const struct cgroups *cgroups);
uint32_t cgroups_high(const struct cgroups *cgroups);
struct cgroup_place *cgroups_at(struct cgroups *cgroups, uint32_t number); /* NULL: free */
struct cgroups_stats cgroups_stats(const struct cgroups *cgroups);

/* Where the cgroup v2 and the v1 memory trees are mounted; empty if they are not. mounts:
 * "/proc/self/mounts". */
struct cgroup_mounts {
	char v2[256], v1[256];
};
int cgroup_mounts_read(const char *mounts, struct cgroup_mounts *out);
