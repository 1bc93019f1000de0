#include "agent/natwatch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netfilter/nfnetlink_compat.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/netns.h"
#include "base/clock.h"
#include "base/memory.h"

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

enum {
	BUFFER_BYTES = 8 << 20,	   /* 30,000 new and 30,000 ended entries at once fit */
	DATAGRAM_BYTES = 64 << 10, /* the kernel's dumps come in 32 KiB */
	DATAGRAMS_A_TURN = 4096,   /* then the loop's other work has a turn */
	DUMP_ENTRIES_MAX =
		1 << 20, /* 100 MB for a moment; nf_conntrack_max is 262,144 on most nodes */
	DUMP_TIMEOUT_S = 5,
};
#define RESYNC_EVERY_NS (30 * NS_PER_S)
#define LIST_EVERY_NS	NS_PER_S /* namespaces are listed anew for an unknown nsid */
#define RELIST_EVERY_NS (10 * NS_PER_S)

struct dump {
	uv_work_t work;
	struct natwatch *natwatch;
	struct netns_list *namespaces;
	bool *dumped; /* which of them answered whole */
	struct conntrack_entry *entries;
	size_t count, capacity;
	uint64_t began_ns, left_out;
	const uint32_t *scope;
	uint32_t scope_count;
	int error;
};

struct natwatch {
	struct natwatch_options options;
	uv_poll_t poll;
	uv_timer_t timer;
	int socket;
	struct netns_list *namespaces;
	uint64_t listed_ns, dumped_ns, folders_changed;
	bool dumping, closing, overrun;
	unsigned handles; /* not yet closed */
	struct natwatch_stats stats;
	uint8_t datagram[DATAGRAM_BYTES];
};

static uint64_t boottime_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static bool in_scope(const uint32_t *scope, uint32_t count, uint32_t netns)
{
	for (uint32_t i = 0; i < count; i++)
		if (scope[i] == netns)
			return true;
	return count == 0;
}

/* The dump: in a thread of the pool. */

static void keep(struct dump *dump, const struct conntrack_entry *entry)
{
	if (dump->count == DUMP_ENTRIES_MAX) {
		dump->left_out++;
		return;
	}
	if (dump->count == dump->capacity) {
		dump->capacity = memory_grown(dump->capacity, dump->count + 1);
		dump->entries =
			memory_resize(dump->entries, dump->capacity, sizeof(*dump->entries));
	}
	dump->entries[dump->count++] = *entry;
}

/* 1: more to come, 0: the dump is whole, -errno. */
static int take_dumped(struct dump *dump, const uint8_t *bytes, size_t length, uint32_t netns)
{
	struct conntrack_entry entry;
	while (length) {
		int error = 0;
		switch (conntrack_next(&bytes, &length, &entry, &error)) {
		case CONNTRACK_ENTRY:
			entry.netns = netns;
			keep(dump, &entry);
			break;
		case CONNTRACK_OTHER:
			break;
		case CONNTRACK_DONE:
			return 0;
		case CONNTRACK_ERROR:
			return error < 0 ? error : -EPROTO;
		case CONNTRACK_BAD:
			return -EPROTO;
		}
	}
	return 1;
}

static int dump_here(struct dump *dump, uint32_t netns)
{
	int socket_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (socket_fd < 0)
		return -errno;
	struct timeval timeout = {.tv_sec = DUMP_TIMEOUT_S};
	setsockopt(socket_fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	uint8_t request[CONNTRACK_REQUEST_BYTES];
	size_t request_length = conntrack_dump_request(request, 1);
	uint8_t *datagram = memory_zeroed(DATAGRAM_BYTES, 1);
	int result = send(socket_fd, request, request_length, 0) < 0 ? -errno : 1;
	while (result > 0) {
		ssize_t length = recv(socket_fd, datagram, DATAGRAM_BYTES, 0);
		if (length > 0)
			result = take_dumped(dump, datagram, (size_t)length, netns);
		else if (length == 0 || errno != EINTR)
			result = length == 0 ? -EPROTO : -errno;
	}
	free(datagram);
	close(socket_fd);
	return result;
}

static int dump_there(struct dump *dump, const struct netns *netns)
{
	int fd = open(netns->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int error = setns(fd, CLONE_NEWNET) ? -errno : 0;
	close(fd);
	return error ? error : dump_here(dump, netns->inode);
}

static void on_work(uv_work_t *work)
{
	struct dump *dump = work->data;
	dump->error = netns_list_read(dump->namespaces);
	if (dump->error)
		return;
	dump->left_out = dump->namespaces->left_out;
	dump->dumped = memory_zeroed(dump->namespaces->count, sizeof(*dump->dumped));
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0) {
		dump->error = -errno;
		return;
	}
	for (size_t i = 0; i < dump->namespaces->count; i++) {
		const struct netns *netns = &dump->namespaces->items[i];
		if (!in_scope(dump->scope, dump->scope_count, netns->inode))
			continue;
		int error = netns->inode == dump->namespaces->own ? dump_here(dump, netns->inode)
								  : dump_there(dump, netns);
		dump->dumped[i] = error == 0;
		if (error && error != -ENOENT) /* a namespace may be gone by now */
			dump->error = error;
		if (setns(home, CLONE_NEWNET) && netns->inode != dump->namespaces->own)
			abort(); /* the pool's thread may not stay in a stranger's namespace */
	}
	close(home);
}

static void dump_free(struct dump *dump)
{
	free(dump->entries);
	free(dump->dumped);
	free(dump->namespaces);
	free(dump);
}

static void release(struct natwatch *natwatch)
{
	if (!natwatch->closing || natwatch->handles || natwatch->dumping)
		return;
	free(natwatch->namespaces);
	free(natwatch);
}

/* A namespace that is not there any more has no entries either. */
static bool was_dumped(void *context, uint32_t inode)
{
	const struct dump *dump = context;
	const struct netns *netns = netns_by_inode(dump->namespaces, inode);
	return netns ? dump->dumped[netns - dump->namespaces->items]
		     : dump->namespaces->left_out == 0;
}

static void on_dumped(uv_work_t *work, int status)
{
	struct dump *dump = work->data;
	struct natwatch *natwatch = dump->natwatch;
	natwatch->dumping = false;
	if (natwatch->closing) {
		dump_free(dump);
		release(natwatch);
		return;
	}
	natwatch->stats.dumps++;
	natwatch->stats.left_out += dump->left_out;
	if (status || dump->error)
		natwatch->stats.dumps_failed++;
	if (!status && dump->dumped) {
		/* an entry whose DESTROY came while the dump ran comes back here, until the next
		 * sweep */
		for (size_t i = 0; i < dump->count; i++)
			nat_put(natwatch->options.nat, &dump->entries[i], boottime_ns());
		natwatch->stats.dump_entries = dump->count;
		if (!dump->left_out)
			nat_sweep(natwatch->options.nat, dump->began_ns, was_dumped, dump);
		struct netns_list *before = natwatch->namespaces;
		natwatch->namespaces = dump->namespaces;
		dump->namespaces = before;
	}
	dump_free(dump);
}

static void begin_dump(struct natwatch *natwatch)
{
	struct dump *dump = memory_zeroed(1, sizeof(*dump));
	dump->natwatch = natwatch;
	dump->namespaces = memory_zeroed(1, sizeof(*dump->namespaces));
	dump->work.data = dump;
	dump->scope = natwatch->options.scope;
	dump->scope_count = natwatch->options.scope_count;
	dump->began_ns = natwatch->dumped_ns = boottime_ns();
	natwatch->overrun = false;
	natwatch->dumping = true;
	if (uv_queue_work(natwatch->options.loop, &dump->work, on_work, on_dumped)) {
		natwatch->dumping = false;
		natwatch->stats.dumps_failed++;
		dump_free(dump);
	}
}

/* A namespace must get a name before its connections begin, or its first events are missed: the
 * folders in which runtimes put their namespaces tell at once, the processes' own are looked for
 * more rarely, as that costs more. */
static void list_new_namespaces(struct natwatch *natwatch)
{
	static const char *const folders[] = {"/run/netns", "/run/docker/netns"};
	uint64_t now = boottime_ns(), changed = 0;
	struct stat folder;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		if (stat(folders[i], &folder) == 0)
			changed += (uint64_t)folder.st_mtim.tv_sec * 1000000000 +
				   (uint64_t)folder.st_mtim.tv_nsec;
	if (changed == natwatch->folders_changed && now - natwatch->listed_ns < RELIST_EVERY_NS)
		return;
	natwatch->folders_changed = changed;
	natwatch->listed_ns = now;
	netns_list_read(natwatch->namespaces);
}

/* Each second: new namespaces; is a sweep due, or a resync after an overrun? */
static void on_timer(uv_timer_t *timer)
{
	struct natwatch *natwatch = timer->data;
	uint64_t since = boottime_ns() - natwatch->dumped_ns;
	list_new_namespaces(natwatch);
	if (!natwatch->dumping && (since >= natwatch->options.sweep_ns ||
				   (natwatch->overrun && since >= RESYNC_EVERY_NS)))
		begin_dump(natwatch);
}

/* Events: in the loop. */

/* An entry gets events only while it carries NAT (CTA_STATUS & (SRC_NAT | DST_NAT)): 9 instructions
 * in the kernel instead of a copy of every new connection of the host. SKF_AD_NLATTR finds
 * attribute X from offset A on. */
static int filter_nat(int socket_fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_IMM, sizeof(struct nlmsghdr) + 4),
		BPF_STMT(BPF_LDX | BPF_IMM, CTA_STATUS),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_NLATTR)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, 0),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_IND, 4),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x30, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
	return setsockopt(socket_fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program))
		       ? -errno
		       : 0;
}

static int subscribe(void)
{
	int socket_fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
	if (socket_fd < 0)
		return -errno;
	int bytes = BUFFER_BYTES, one = 1;
	struct sockaddr_nl address = {
		.nl_family = AF_NETLINK,
		.nl_groups = NF_NETLINK_CONNTRACK_NEW | NF_NETLINK_CONNTRACK_DESTROY,
	};
	/* without CAP_NET_ADMIN the buffer stays small and overruns are mended by dumps */
	setsockopt(socket_fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	/* without CAP_NET_BROADCAST other namespaces are seen by dumps only */
	setsockopt(socket_fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &one, sizeof(one));
	int error = filter_nat(socket_fd);
	if (!error && bind(socket_fd, (struct sockaddr *)&address, sizeof(address)))
		error = -errno;
	if (error) {
		close(socket_fd);
		return error;
	}
	return socket_fd;
}

/* The nsid that the kernel tells beside a message; none: our own namespace. */
static bool read_nsid(struct msghdr *message, int *nsid)
{
	for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control;
	     control = CMSG_NXTHDR(message, control)) {
		if (control->cmsg_level != SOL_NETLINK ||
		    control->cmsg_type != NETLINK_LISTEN_ALL_NSID)
			continue;
		memcpy(nsid, CMSG_DATA(control), sizeof(*nsid));
		return *nsid >= 0;
	}
	return false;
}

/* 0: unknown. */
static uint32_t find_netns(struct natwatch *natwatch, struct msghdr *message)
{
	int nsid;
	if (!read_nsid(message, &nsid))
		return natwatch->namespaces->own;
	const struct netns *netns = netns_by_nsid(natwatch->namespaces, nsid);
	uint64_t now = boottime_ns();
	if (!netns && now - natwatch->listed_ns >= LIST_EVERY_NS) {
		natwatch->listed_ns = now;
		netns_list_read(natwatch->namespaces);
		netns = netns_by_nsid(natwatch->namespaces, nsid);
	}
	return netns ? netns->inode : 0;
}

static void take_events(struct natwatch *natwatch, const uint8_t *bytes, size_t length,
			uint32_t netns)
{
	struct conntrack_entry entry;
	while (length) {
		int error;
		enum conntrack_result result = conntrack_next(&bytes, &length, &entry, &error);
		if (result == CONNTRACK_BAD) {
			natwatch->stats.malformed++;
			return;
		}
		if (result != CONNTRACK_ENTRY)
			continue;
		natwatch->stats.events++;
		entry.netns = netns;
		if (!netns)
			natwatch->stats.unknown_namespace++;
		else if (in_scope(natwatch->options.scope, natwatch->options.scope_count, netns))
			nat_put(natwatch->options.nat, &entry, boottime_ns());
	}
}

static void read_events(struct natwatch *natwatch)
{
	for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
		struct sockaddr_nl from = {0};
		_Alignas(struct cmsghdr) char control[64];
		struct iovec vector = {natwatch->datagram, sizeof(natwatch->datagram)};
		struct msghdr message = {
			.msg_name = &from,
			.msg_namelen = sizeof(from),
			.msg_iov = &vector,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		ssize_t length = recvmsg(natwatch->socket, &message, 0);
		if (length < 0 && errno == ENOBUFS) {
			natwatch->stats.overruns++;
			natwatch->overrun = true;
			continue;
		}
		if (length < 0)
			return;
		if (from.nl_pid == 0) /* from the kernel */
			take_events(natwatch, natwatch->datagram, (size_t)length,
				    find_netns(natwatch, &message));
	}
}

static void on_events(uv_poll_t *poll, int status, int events)
{
	(void)events;
	read_events(poll->data);
	if (status < 0) /* an overrun shows as POLLERR, at which libuv stops polling; reading took
			   the error */
		uv_poll_start(poll, UV_READABLE, on_events);
}

static void on_closed(uv_handle_t *handle)
{
	struct natwatch *natwatch = handle->data;
	if (--natwatch->handles == 0)
		close(natwatch->socket);
	release(natwatch);
}

int natwatch_open(struct natwatch **out, const struct natwatch_options *options)
{
	struct natwatch *natwatch = memory_zeroed(1, sizeof(*natwatch));
	natwatch->options = *options;
	natwatch->namespaces = memory_zeroed(1, sizeof(*natwatch->namespaces));
	natwatch->listed_ns = boottime_ns();
	int error = netns_list_read(natwatch->namespaces);
	natwatch->socket = error ? error : subscribe();
	if (natwatch->socket < 0) {
		error = natwatch->socket;
		free(natwatch->namespaces);
		free(natwatch);
		return error;
	}
	natwatch->handles = 2;
	natwatch->poll.data = natwatch->timer.data = natwatch;
	uv_poll_init(options->loop, &natwatch->poll, natwatch->socket);
	uv_timer_init(options->loop, &natwatch->timer);
	uv_poll_start(&natwatch->poll, UV_READABLE, on_events);
	uv_timer_start(&natwatch->timer, on_timer, 1000, 1000);
	begin_dump(natwatch);
	*out = natwatch;
	return 0;
}

struct natwatch_stats natwatch_stats(const struct natwatch *natwatch)
{
	return natwatch->stats;
}

void natwatch_close(struct natwatch *natwatch)
{
	if (!natwatch)
		return;
	natwatch->closing = true;
	uv_close((uv_handle_t *)&natwatch->poll, on_closed);
	uv_close((uv_handle_t *)&natwatch->timer, on_closed);
}
