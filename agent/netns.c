#include "agent/netns.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"

/* Pids are below (kernel: PID_MAX_LIMIT), and the inodes of namespaces far above. */
#define PIDS_END (4UL << 20)

#define OWN	 "/proc/self/ns/net"

const char *const netns_folders[] = {"/run/netns", "/run/docker/netns", NULL};

static int inode_of(const char *path, uint32_t *inode)
{
	struct stat stat_buffer;
	if (stat(path, &stat_buffer))
		return -errno;
	*inode = (uint32_t)stat_buffer.st_ino;
	return 0;
}

/* The cell of an item with this inode, or the empty one where it would go. */
static size_t inode_cell(const struct netns_list *list, uint32_t inode)
{
	size_t at = hash_mix(inode) % NETNS_CELLS;
	while (list->by_inode[at] && list->items[list->by_inode[at] - 1].inode != inode)
		at = (at + 1) % NETNS_CELLS;
	return at;
}

static size_t nsid_cell(const struct netns_list *list, int nsid)
{
	size_t at = hash_mix((uint32_t)nsid) % NETNS_CELLS;
	while (list->by_nsid[at] && list->items[list->by_nsid[at] - 1].nsid != nsid)
		at = (at + 1) % NETNS_CELLS;
	return at;
}

/* A file on which nothing is mounted any more, or nothing that we see, is no namespace. */
static void add(struct netns_list *list, const char *path)
{
	struct stat found;
	if (stat(path, &found) || found.st_dev != list->device)
		return;
	uint32_t inode = (uint32_t)found.st_ino;
	size_t cell = inode_cell(list, inode);
	if (list->by_inode[cell])
		return;
	if (list->count == NETNS_MAX) {
		list->left_out++;
		return;
	}
	struct netns *netns = &list->items[list->count++];
	list->by_inode[cell] = (uint16_t)list->count;
	netns->inode = inode;
	netns->nsid = -1;
	snprintf(netns->path, sizeof(netns->path), "%s", path);
}

static void add_folder(struct netns_list *list, const char *folder, bool of_pids)
{
	DIR *directory = opendir(folder);
	if (!directory)
		return;
	for (struct dirent *entry; (entry = readdir(directory));) {
		char path[64];
		bool is_pid = isdigit((unsigned char)entry->d_name[0]);
		if (entry->d_name[0] == '.' || (of_pids && !is_pid))
			continue;
		int length = snprintf(path, sizeof(path), "%s/%s%s", folder, entry->d_name,
				      of_pids ? "/ns/net" : "");
		if (length < (int)sizeof(path))
			add(list, path);
	}
	closedir(directory);
}

/* RTM_GETNSID with the namespace's file descriptor (net/core/net_namespace.c). */
static int ask_nsid(int socket, int netns_fd)
{
	struct {
		struct nlmsghdr header;
		struct rtgenmsg message;
		char pad[3];
		struct nlattr attribute;
		uint32_t fd;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = RTM_GETNSID,
			   .nlmsg_flags = NLM_F_REQUEST},
		.message = {.rtgen_family = AF_UNSPEC},
		.attribute = {.nla_len = sizeof(struct nlattr) + sizeof(uint32_t),
			      .nla_type = NETNSA_FD},
		.fd = (uint32_t)netns_fd,
	};
	union {
		struct nlmsghdr header;
		char bytes[512];
	} answer;
	if (send(socket, &request, sizeof(request), 0) < 0)
		return -1;
	ssize_t length = recv(socket, &answer, sizeof(answer), 0);
	if (length < (ssize_t)NLMSG_LENGTH(sizeof(struct rtgenmsg)) ||
	    answer.header.nlmsg_type != RTM_NEWNSID)
		return -1;
	const char *at = answer.bytes + NLMSG_SPACE(sizeof(struct rtgenmsg));
	const char *end = answer.bytes + length;
	while (end - at >= (ssize_t)sizeof(struct nlattr)) {
		struct nlattr attribute;
		memcpy(&attribute, at, sizeof(attribute));
		if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > end - at)
			return -1;
		int32_t nsid;
		if (attribute.nla_type == NETNSA_NSID &&
		    attribute.nla_len >= sizeof(attribute) + sizeof(nsid)) {
			memcpy(&nsid, at + sizeof(attribute), sizeof(nsid));
			return nsid;
		}
		at += NLA_ALIGN(attribute.nla_len);
	}
	return -1;
}

/* RTM_NEWNSID, any number: events of a namespace reach us only if ours has a name for it. Needs
 * CAP_NET_ADMIN; without it such a namespace is seen by dumps only. */
static void name_nsid(int socket, int netns_fd)
{
	struct {
		struct nlmsghdr header;
		struct rtgenmsg message;
		char pad[3];
		struct nlattr nsid_attribute;
		int32_t nsid;
		struct nlattr fd_attribute;
		uint32_t fd;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = RTM_NEWNSID,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.message = {.rtgen_family = AF_UNSPEC},
		.nsid_attribute = {.nla_len = sizeof(struct nlattr) + sizeof(int32_t),
				   .nla_type = NETNSA_NSID},
		.nsid = NETNSA_NSID_NOT_ASSIGNED,
		.fd_attribute = {.nla_len = sizeof(struct nlattr) + sizeof(uint32_t),
				 .nla_type = NETNSA_FD},
		.fd = (uint32_t)netns_fd,
	};
	char answer[512];
	if (send(socket, &request, sizeof(request), 0) > 0)
		(void)!recv(socket, answer, sizeof(answer), 0); /* asked again below: that tells */
}

static int read_nsids(struct netns_list *list)
{
	int socket_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (socket_fd < 0)
		return -errno;
	for (size_t i = 0; i < list->count; i++) {
		int fd = open(list->items[i].path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			continue;
		list->items[i].nsid = ask_nsid(socket_fd, fd);
		if (list->items[i].nsid < 0 && list->items[i].inode != list->own) {
			name_nsid(socket_fd, fd);
			list->items[i].nsid = ask_nsid(socket_fd, fd);
		}
		if (list->items[i].nsid >= 0)
			list->by_nsid[nsid_cell(list, list->items[i].nsid)] = (uint16_t)(i + 1);
		close(fd);
	}
	close(socket_fd);
	return 0;
}

int netns_own(uint32_t *inode)
{
	return inode_of(OWN, inode);
}

int netns_list_read(struct netns_list *list)
{
	list->count = list->left_out = 0;
	memset(list->by_inode, 0, sizeof(list->by_inode));
	memset(list->by_nsid, 0, sizeof(list->by_nsid));
	struct stat own;
	if (stat(OWN, &own))
		return -errno;
	list->own = (uint32_t)own.st_ino;
	list->device = own.st_dev;
	add(list, OWN);
	for (const char *const *folder = netns_folders; *folder; folder++)
		add_folder(list, *folder, false);
	add_folder(list, "/proc", true);
	return read_nsids(list);
}

const struct netns *netns_by_nsid(const struct netns_list *list, int nsid)
{
	uint16_t item = nsid < 0 ? 0 : list->by_nsid[nsid_cell(list, nsid)];
	return item ? &list->items[item - 1] : NULL;
}

const struct netns *netns_by_inode(const struct netns_list *list, uint32_t inode)
{
	uint16_t item = list->by_inode[inode_cell(list, inode)];
	return item ? &list->items[item - 1] : NULL;
}

int netns_parse(const char *text, uint32_t *inode)
{
	char path[300];
	char *end;
	unsigned long number = strtoul(text, &end, 10);
	bool is_number = *text && !*end;
	if (is_number && number >= PIDS_END && number <= UINT32_MAX) {
		*inode = (uint32_t)number;
		return 0;
	}
	if (strchr(text, '/') || !*text)
		return -EINVAL;
	snprintf(path, sizeof(path), is_number ? "/proc/%s/ns/net" : "/run/netns/%s", text);
	return inode_of(path, inode);
}
