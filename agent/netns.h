/* The network namespaces of this host: those of processes and those that runtimes hold by a name
 * (netns_folders), each once, by inode. Bounded by NETNS_MAX (more are left out and counted). Reads
 * files and, for nsids, a netlink socket; any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	NETNS_MAX = 4096, /* a Kubernetes node has at most some hundreds of pods */
	NETNS_CELLS = 2 * NETNS_MAX,
};

struct netns {
	uint32_t inode;
	int nsid;      /* what the agent's own namespace calls it; -1: it has no name for it */
	char path[64]; /* of one of its handles, to open */
};

struct netns_list {
	size_t count, left_out;
	uint32_t own; /* inode of the process's first thread's */
	dev_t device; /* of namespaces' files */
	struct netns items[NETNS_MAX];
	uint16_t by_inode[NETNS_CELLS], by_nsid[NETNS_CELLS]; /* item + 1; 0: empty */
};

/* In which runtimes put their namespaces: Docker's may hold NAT and no process. NULL at the end. */
extern const char *const netns_folders[];

/* 0 or -errno, all. */
int netns_own(uint32_t *inode);
int netns_list_read(struct netns_list *list);
const struct netns *netns_by_nsid(const struct netns_list *list, int nsid);
const struct netns *netns_by_inode(const struct netns_list *list, uint32_t inode);

/* A name in /run/netns, a pid, or an inode number: the inode, or -errno. */
int netns_parse(const char *text, uint32_t *inode);
