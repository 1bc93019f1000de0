#include "agent/natwatch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netfilter/nfnetlink_compat.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/clocks.h"
#include "agent/keeper.h"
#include "agent/netns.h"
#include "base/clock.h"
#include "base/memory.h"

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

enum {
	DATAGRAM_BYTES = 64 << 10, /* the kernel's dumps come in 32 KiB */
	DATAGRAMS_A_TURN = 2048,   /* then the loop's other work has a turn, some ms */
	ENTRIES_A_STEP = 2048,	   /* of a dump: likewise, if all of them are news */
	ROWS_A_STEP = 65536,	   /* of the table: nearly all stay */
	DUMP_ENTRIES_MAX =
		1 << 20, /* 100 MB for a moment; nf_conntrack_max is 262,144 on most nodes */
	DUMP_TIMEOUT_S = 5,
	MEMINFO_MAX = 32, /* numbers of SO_MEMINFO; Linux 6.18 has 9 */
	TIMER_MS = 250,
	REST = 9, /* a dump after a burst is followed by a rest of so many times its CPU time */
};
#define RESYNC_EVERY_NS (30 * NS_PER_S)
#define QUIET_NS	(500 * NS_PER_MS) /* without an overrun: the burst is over */
#define REST_MAX_NS	(2 * NS_PER_S)	  /* so that the next is within 5 s, too */
#define LIST_EVERY_NS	NS_PER_S	  /* namespaces are listed anew for an unknown nsid */
#define RELIST_EVERY_NS (10 * NS_PER_S)

struct dump {
	uv_work_t work;
	struct natwatch *natwatch;
	struct netns_list *namespaces; /* in this order */
	bool *dumped;		       /* which of them answered whole */
	struct conntrack_entry *entries;
	size_t count, capacity, taken;
	uint64_t began_ns, left_out;
	const uint32_t *scope;
	uint32_t scope_count;
	bool whole; /* all namespaces, listed by itself; else those that it was given */
	bool resync;
	uint64_t cpu_ns;
	int error;
};

struct natwatch {
	struct natwatch_options options;
	uv_poll_t poll;
	uv_timer_t timer;
	uv_idle_t step; /* while a dump is being taken */
	uv_work_t list_work;
	int socket;
	struct netns_list *namespaces, *spare; /* in use; of the listing */
	uint64_t namespaces_ns;		       /* when the listing in use began */
	uint64_t listed_ns, folders_changed;   /* of the last listing; before it */
	int list_error;
	uint64_t dumped_ns;		     /* the last whole dump's beginning */
	uint64_t resynced_ns, resync_cpu_ns; /* the last resync's beginning, its cost */
	uint64_t overrun_ns;		     /* when the socket was found empty after an overrun */
	struct dump *taking;		     /* the dump that has run; NULL: none */
	bool listing, dumping, closing;
	bool overrun;	  /* a dump that begins now would mend something */
	bool overrunning; /* the socket was not empty since the overrun: not to be dumped yet */
	struct netns_list *found; /* namespaces to be dumped alone; NULL: none */
	unsigned handles;	  /* not yet closed */
	struct natwatch_stats stats;
	uint8_t datagram[DATAGRAM_BYTES];
};

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

/* The kernel asks for CAP_NET_ADMIN when the request is sent, not when the answers are read. The
 * socket, or -errno. */
static int request_dump(void)
{
	int socket_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (socket_fd < 0)
		return -errno;
	struct timeval timeout = {.tv_sec = DUMP_TIMEOUT_S};
	setsockopt(socket_fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	uint8_t request[CONNTRACK_REQUEST_BYTES];
	size_t request_length = conntrack_dump_request(request, 1);
	if (send(socket_fd, request, request_length, 0) >= 0)
		return socket_fd;
	int error = -errno;
	close(socket_fd);
	return error;
}

struct visit {
	const char *path; /* of the namespace; NULL: our own */
	int socket;	  /* out: or -errno */
};

/* The keeper's job. A thread may not stay in a stranger's namespace. */
static void visit(void *argument)
{
	struct visit *visit = argument;
	if (!visit->path) {
		visit->socket = request_dump();
		return;
	}
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int there = home < 0 ? -1 : open(visit->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (there < 0 || setns(there, CLONE_NEWNET)) {
		visit->socket = -errno;
	} else {
		visit->socket = request_dump();
		if (setns(home, CLONE_NEWNET))
			abort();
	}
	if (there >= 0)
		close(there);
	if (home >= 0)
		close(home);
}

static int read_dump(struct dump *dump, int socket_fd, uint32_t netns)
{
	uint8_t *datagram = memory_zeroed(DATAGRAM_BYTES, 1);
	int result = 1;
	while (result > 0) {
		ssize_t length = recv(socket_fd, datagram, DATAGRAM_BYTES, 0);
		if (length > 0)
			result = take_dumped(dump, datagram, (size_t)length, netns);
		else if (length == 0 || errno != EINTR)
			result = length == 0 ? -EPROTO : -errno;
	}
	free(datagram);
	return result;
}

static int dump_one(struct dump *dump, const struct netns *netns)
{
	bool own = netns->inode == dump->namespaces->own;
	struct visit there = {.path = own ? NULL : netns->path};
	keeper_run(visit, &there);
	if (there.socket < 0)
		return there.socket;
	int error = read_dump(dump, there.socket, netns->inode);
	close(there.socket);
	return error;
}

struct listing {
	struct netns_list *list;
	int error;
};

static void read_list(void *argument)
{
	struct listing *listing = argument;
	listing->error = netns_list_read(listing->list);
}

/* Names of processes' namespaces are their owners' to see, and giving one a number takes rights. */
static int list_namespaces(struct netns_list *list)
{
	struct listing listing = {.list = list};
	keeper_run(read_list, &listing);
	return listing.error;
}

static void dump_all(struct dump *dump)
{
	dump->error = dump->whole ? list_namespaces(dump->namespaces) : 0;
	if (dump->error)
		return;
	dump->left_out = dump->namespaces->left_out;
	dump->dumped = memory_zeroed(dump->namespaces->count, sizeof(*dump->dumped));
	for (size_t i = 0; i < dump->namespaces->count; i++) {
		const struct netns *netns = &dump->namespaces->items[i];
		if (!in_scope(dump->scope, dump->scope_count, netns->inode))
			continue;
		int error = dump_one(dump, netns);
		dump->dumped[i] = error == 0;
		if (error && error != -ENOENT) /* a namespace may be gone by now */
			dump->error = error;
	}
}

static void on_work(uv_work_t *work)
{
	struct dump *dump = work->data;
	uint64_t before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	dump_all(dump);
	dump->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
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
	if (!natwatch->closing || natwatch->handles || natwatch->dumping || natwatch->listing)
		return;
	free(natwatch->namespaces);
	free(natwatch->spare);
	free(natwatch->found);
	free(natwatch);
}

/* Rows of one namespace often lie together. */
struct gone {
	const struct netns_list *list;
	uint32_t inode;
	bool gone;
};

static bool is_gone(void *context, uint32_t inode)
{
	struct gone *last = context;
	if (inode != last->inode)
		*last = (struct gone){last->list, inode, !netns_by_inode(last->list, inode)};
	return last->gone;
}

static void dump_alone(struct natwatch *natwatch, const struct netns *netns)
{
	if (!natwatch->found)
		natwatch->found = memory_zeroed(1, sizeof(*natwatch->found));
	if (natwatch->found->count == NETNS_MAX) { /* many came and went meanwhile: dump all */
		natwatch->overrun = true;
		return;
	}
	natwatch->found->own = natwatch->namespaces->own;
	natwatch->found->items[natwatch->found->count++] = *netns;
}

/* A namespace that is new to us may have entries whose NEW we could not hear: it is dumped. Entries
 * of namespaces that are no more have ended. The list that was in use comes back in *list, or the
 * same if a later one is in use. */
static void use_list(struct natwatch *natwatch, struct netns_list **list, uint64_t began_ns)
{
	struct netns_list *before = natwatch->namespaces, *now = *list;
	size_t kept = 0;
	if (began_ns < natwatch->namespaces_ns)
		return;
	natwatch->namespaces_ns = began_ns;
	natwatch->namespaces = now;
	*list = before;
	for (size_t i = 0; i < now->count; i++) {
		if (netns_by_inode(before, now->items[i].inode))
			kept++;
		else
			dump_alone(natwatch, &now->items[i]);
	}
	if (kept < before->count && !now->left_out)
		nat_forget(natwatch->options.nat, is_gone, &(struct gone){.list = now});
}

static void dump_what_is_due(struct natwatch *natwatch);

static void on_list_work(uv_work_t *work)
{
	struct natwatch *natwatch = work->data;
	natwatch->list_error = list_namespaces(natwatch->spare);
}

static void on_listed(uv_work_t *work, int status)
{
	struct natwatch *natwatch = work->data;
	natwatch->listing = false;
	if (natwatch->closing) {
		release(natwatch);
		return;
	}
	if (status || natwatch->list_error)
		natwatch->stats.dumps_failed++;
	else
		use_list(natwatch, &natwatch->spare, natwatch->listed_ns);
	dump_what_is_due(natwatch);
}

static void relist(struct natwatch *natwatch, uint64_t now_ns)
{
	if (natwatch->listing)
		return;
	natwatch->listed_ns = now_ns;
	natwatch->list_work.data = natwatch;
	natwatch->listing = uv_queue_work(natwatch->options.loop, &natwatch->list_work,
					  on_list_work, on_listed) == 0;
}

/* A namespace that is not there any more has no entries either. */
static bool was_dumped(void *context, uint32_t inode)
{
	const struct dump *dump = context;
	const struct netns *netns = netns_by_inode(dump->namespaces, inode);
	return netns ? dump->dumped[netns - dump->namespaces->items]
		     : dump->whole && dump->namespaces->left_out == 0;
}

static void end_taking(struct natwatch *natwatch)
{
	struct dump *dump = natwatch->taking;
	natwatch->taking = NULL;
	natwatch->dumping = false;
	uv_idle_stop(&natwatch->step);
	if (dump->left_out)
		nat_dump_fails(natwatch->options.nat);
	else if (!nat_dump_ends(natwatch->options.nat))
		natwatch->overrun = true;
	if (dump->whole)
		use_list(natwatch, &dump->namespaces, dump->began_ns);
	dump_free(dump);
	dump_what_is_due(natwatch);
}

static void on_step(uv_idle_t *step)
{
	struct natwatch *natwatch = step->data;
	struct dump *dump = natwatch->taking;
	uint64_t now_ns = clock_ns(CLOCK_BOOTTIME);
	size_t end = dump->count - dump->taken < ENTRIES_A_STEP ? dump->count
								: dump->taken + ENTRIES_A_STEP;
	if (dump->taken < end) {
		for (; dump->taken < end; dump->taken++)
			nat_dumped(natwatch->options.nat, &dump->entries[dump->taken],
				   dump->began_ns, now_ns);
		return;
	}
	/* Of a namespace that was just found nothing can have ended unheard. */
	if (dump->left_out || !dump->whole ||
	    !nat_sweep(natwatch->options.nat, ROWS_A_STEP, dump->began_ns, was_dumped, dump))
		end_taking(natwatch);
}

static void on_dumped(uv_work_t *work, int status)
{
	struct dump *dump = work->data;
	struct natwatch *natwatch = dump->natwatch;
	natwatch->resync_cpu_ns = dump->resync ? dump->cpu_ns : natwatch->resync_cpu_ns;
	if (natwatch->closing) {
		natwatch->dumping = false;
		dump_free(dump);
		release(natwatch);
		return;
	}
	natwatch->stats.dumps++;
	natwatch->stats.left_out += dump->left_out;
	natwatch->stats.dump_entries = dump->count;
	if (status || dump->error)
		natwatch->stats.dumps_failed++;
	if (!status && dump->dumped) {
		natwatch->taking = dump;
		uv_idle_start(&natwatch->step, on_step);
		return;
	}
	natwatch->dumping = false;
	nat_dump_fails(natwatch->options.nat);
	natwatch->overrun |= dump->resync; /* again */
	dump_free(dump);
}

static void begin_dump(struct natwatch *natwatch, bool whole)
{
	struct dump *dump = memory_zeroed(1, sizeof(*dump));
	dump->natwatch = natwatch;
	dump->whole = whole;
	dump->work.data = dump;
	dump->scope = natwatch->options.scope;
	dump->scope_count = natwatch->options.scope_count;
	dump->began_ns = clock_ns(CLOCK_BOOTTIME);
	if (whole) {
		dump->namespaces = memory_zeroed(1, sizeof(*dump->namespaces));
		dump->resync = natwatch->overrun;
		natwatch->overrun = false;
		natwatch->stats.resyncs += dump->resync;
		natwatch->dumped_ns = dump->began_ns;
		natwatch->resynced_ns = dump->resync ? dump->began_ns : natwatch->resynced_ns;
		free(natwatch->found);
	} else {
		dump->namespaces = natwatch->found;
	}
	natwatch->found = NULL;
	natwatch->dumping = true;
	nat_dump_begins(natwatch->options.nat);
	if (uv_queue_work(natwatch->options.loop, &dump->work, on_work, on_dumped)) {
		natwatch->dumping = false;
		natwatch->overrun |= dump->resync;
		natwatch->stats.dumps_failed++;
		nat_dump_fails(natwatch->options.nat);
		dump_free(dump);
	}
}

/* A namespace must get a name before its connections begin, or its first events are missed: the
 * folders in which runtimes put their namespaces tell at once, the processes' own are looked for
 * more rarely, as that costs more. */
static void list_new_namespaces(struct natwatch *natwatch)
{
	uint64_t now = clock_ns(CLOCK_BOOTTIME), changed = 0;
	struct stat folder;
	if (natwatch->listing)
		return; /* it may have looked there already */
	for (const char *const *name = netns_folders; *name; name++)
		if (stat(*name, &folder) == 0)
			changed += (uint64_t)folder.st_mtim.tv_sec * 1000000000 +
				   (uint64_t)folder.st_mtim.tv_nsec;
	if (changed == natwatch->folders_changed && now - natwatch->listed_ns < RELIST_EVERY_NS)
		return;
	natwatch->folders_changed = changed;
	relist(natwatch, now);
}

/* An overrun's losses are all before the moment at which the socket is empty again (the kernel
 * drops everything until then, net/netlink/af_netlink.c), so a dump that begins later has them. */
static bool resync_is_due(const struct natwatch *natwatch, uint64_t now)
{
	if (!natwatch->overrun || natwatch->overrunning)
		return false;
	uint64_t since = now - natwatch->resynced_ns;
	if (since >= RESYNC_EVERY_NS)
		return true;
	uint64_t rest = natwatch->resync_cpu_ns * REST;
	return now - natwatch->overrun_ns >= QUIET_NS &&
	       since >= (rest < REST_MAX_NS ? rest : REST_MAX_NS);
}

static void dump_what_is_due(struct natwatch *natwatch)
{
	uint64_t now = clock_ns(CLOCK_BOOTTIME);
	if (natwatch->dumping || !natwatch->namespaces_ns)
		return;
	if (now - natwatch->dumped_ns >= natwatch->options.sweep_ns || resync_is_due(natwatch, now))
		begin_dump(natwatch, true);
	else if (natwatch->found)
		begin_dump(natwatch, false);
}

static void on_timer(uv_timer_t *timer)
{
	struct natwatch *natwatch = timer->data;
	list_new_namespaces(natwatch);
	dump_what_is_due(natwatch);
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

static int open_subscribed(uint32_t buffer_bytes)
{
	int socket_fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
	if (socket_fd < 0)
		return -errno;
	int bytes = (int)buffer_bytes, one = 1;
	struct sockaddr_nl address = {
		.nl_family = AF_NETLINK,
		.nl_groups = NF_NETLINK_CONNTRACK_NEW | NF_NETLINK_CONNTRACK_DESTROY,
	};
	/* without CAP_NET_ADMIN the buffer is what rmem_max allows, and overruns are mended by
	 * dumps */
	if (setsockopt(socket_fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(socket_fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
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

struct subscription {
	uint32_t buffer_bytes;
	int socket; /* or -errno */
};

/* A keeper's job. */
static void subscribe(void *argument)
{
	struct subscription *subscription = argument;
	subscription->socket = open_subscribed(subscription->buffer_bytes);
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
	uint64_t now = clock_ns(CLOCK_BOOTTIME);
	if (!netns && now - natwatch->listed_ns >= LIST_EVERY_NS)
		relist(natwatch, now);
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
			nat_put(natwatch->options.nat, &entry, clock_ns(CLOCK_BOOTTIME));
	}
}

/* The socket is empty. */
static void overrun_ends(struct natwatch *natwatch)
{
	if (!natwatch->overrunning)
		return;
	natwatch->overrunning = false;
	natwatch->overrun = true;
	natwatch->overrun_ns = clock_ns(CLOCK_BOOTTIME);
	uint32_t memory[MEMINFO_MAX] = {0};
	socklen_t length = sizeof(memory);
	/* since Linux 4.12; the counter has 32 bits */
	if (getsockopt(natwatch->socket, SOL_SOCKET, SO_MEMINFO, memory, &length) == 0 &&
	    length > SK_MEMINFO_DROPS * sizeof(*memory))
		natwatch->stats.lost +=
			(uint32_t)(memory[SK_MEMINFO_DROPS] - (uint32_t)natwatch->stats.lost);
	if (natwatch->stats.lost < natwatch->stats.overruns)
		natwatch->stats.lost = natwatch->stats.overruns;
	dump_what_is_due(natwatch);
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
			natwatch->overrunning = true;
			continue;
		}
		if (length < 0) {
			overrun_ends(natwatch);
			return;
		}
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
	natwatch->spare = memory_zeroed(1, sizeof(*natwatch->spare));
	struct subscription subscription = {.buffer_bytes = options->buffer_bytes};
	int error = netns_own(&natwatch->namespaces->own);
	if (!error)
		keeper_run(subscribe, &subscription);
	natwatch->socket = error ? error : subscription.socket;
	if (natwatch->socket < 0) {
		error = natwatch->socket;
		free(natwatch->namespaces);
		free(natwatch->spare);
		free(natwatch);
		return error;
	}
	natwatch->handles = 3;
	natwatch->poll.data = natwatch->timer.data = natwatch->step.data = natwatch;
	uv_poll_init(options->loop, &natwatch->poll, natwatch->socket);
	uv_timer_init(options->loop, &natwatch->timer);
	uv_idle_init(options->loop, &natwatch->step);
	uv_poll_start(&natwatch->poll, UV_READABLE, on_events);
	uv_timer_start(&natwatch->timer, on_timer, TIMER_MS, TIMER_MS);
	relist(natwatch, clock_ns(CLOCK_BOOTTIME)); /* then the first dump */
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
	if (natwatch->taking) {
		dump_free(natwatch->taking);
		natwatch->dumping = false;
	}
	uv_close((uv_handle_t *)&natwatch->step, on_closed);
	uv_close((uv_handle_t *)&natwatch->poll, on_closed);
	uv_close((uv_handle_t *)&natwatch->timer, on_closed);
}
