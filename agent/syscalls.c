#include "agent/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

#define NEW_NAMESPACES                                                                             \
	(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | \
	 CLONE_NEWCGROUP)

/* Whatever their arguments are. */
static const char *const free_calls[] = {
	/* memory */
	"brk",
	"madvise",
	"mincore",
	"mremap",
	"munmap",
	"membarrier",
	/* files, to read */
	"access",
	"close",
	"close_range",
	"dup",
	"dup2",
	"dup3",
	"faccessat",
	"faccessat2",
	"fadvise64",
	"fcntl",
	"fstat",
	"fstatfs",
	"getcwd",
	"getdents",
	"getdents64",
	"inotify_add_watch",
	"inotify_init1",
	"inotify_rm_watch",
	"lseek",
	"lstat",
	"name_to_handle_at",
	"newfstatat",
	"pread64",
	"preadv",
	"preadv2",
	"read",
	"readahead",
	"readlink",
	"readlinkat",
	"readv",
	"stat",
	"statfs",
	"statx",
	"write",
	"writev",
	/* sockets; which families, below */
	"accept",
	"accept4",
	"bind",
	"connect",
	"getpeername",
	"getsockname",
	"getsockopt",
	"listen",
	"recvfrom",
	"recvmmsg",
	"recvmsg",
	"sendmmsg",
	"sendmsg",
	"sendto",
	"setsockopt",
	"shutdown",
	/* waiting */
	"clock_nanosleep",
	"epoll_create",
	"epoll_create1",
	"epoll_ctl",
	"epoll_pwait",
	"epoll_pwait2",
	"epoll_wait",
	"eventfd",
	"eventfd2",
	"nanosleep",
	"pipe",
	"pipe2",
	"poll",
	"ppoll",
	"pselect6",
	"select",
	"timerfd_create",
	"timerfd_gettime",
	"timerfd_settime",
	/* threads and signals of one's own */
	"exit",
	"exit_group",
	"futex",
	"futex_requeue",
	"futex_wait",
	"futex_waitv",
	"futex_wake",
	"get_robust_list",
	"restart_syscall",
	"rseq",
	"rt_sigaction",
	"rt_sigpending",
	"rt_sigprocmask",
	"rt_sigreturn",
	"rt_sigsuspend",
	"rt_sigtimedwait",
	"sched_getaffinity",
	"sched_getparam",
	"sched_getscheduler",
	"sched_get_priority_max",
	"sched_get_priority_min",
	"sched_yield",
	"set_robust_list",
	"set_tid_address",
	"sigaltstack",
	"signalfd4",
	/* the clock, who one is, chance */
	"capget",
	"clock_getres",
	"clock_gettime",
	"getcpu",
	"getegid",
	"geteuid",
	"getgid",
	"getgroups",
	"getpgid",
	"getpgrp",
	"getpid",
	"getppid",
	"getpriority",
	"getrandom",
	"getresgid",
	"getresuid",
	"getrlimit",
	"getrusage",
	"getsid",
	"gettid",
	"gettimeofday",
	"getuid",
	"sysinfo",
	"time",
	"times",
	"uname",
#ifdef __SANITIZE_ADDRESS__
	/* the leak checker stops all threads at the end, from a process that shares our memory */
	"clone",
	"prctl",
	"process_vm_readv",
	"ptrace",
	"tgkill",
	"wait4",
#endif
};

/* Libraries try these and have another way. clone3 hides its flags from filters. */
static const char *const refused_calls[] = {
	"clone3", "io_uring_enter", "io_uring_register", "io_uring_setup",     "map_shadow_stack",
	"mseal",  "openat2",	    "sched_setaffinity", "sched_setscheduler", "setpriority",
};

/* Where an argument decides: (argument & mask) == value. */
static const struct {
	const char *call;
	unsigned argument;
	uint64_t mask, value;
} checked_calls[] = {
	{"open", 1, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY},
	{"openat", 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY},
	{"socket", 0, UINT32_MAX, AF_UNIX},
	{"socket", 0, UINT32_MAX, AF_INET},
	{"socket", 0, UINT32_MAX, AF_INET6},
	{"socket", 0, UINT32_MAX, AF_NETLINK},
	{"socketpair", 0, UINT32_MAX, AF_UNIX},
	{"setns", 1, UINT32_MAX, CLONE_NEWNET},
	{"clone", 0, CLONE_THREAD | NEW_NAMESPACES, CLONE_THREAD},
	{"mprotect", 2, PROT_EXEC, 0},
	{"mmap", 2, PROT_EXEC, 0},
	{"prctl", 0, UINT32_MAX, PR_SET_NAME},
	{"prctl", 0, UINT32_MAX, PR_GET_TIMERSLACK},
	{"prctl", 0, UINT32_MAX, PR_SET_TIMERSLACK},
	{"prctl", 0, UINT32_MAX, PR_GET_NAME},
	{"prctl", 0, UINT32_MAX, PR_SET_VMA},
	{"prctl", 0, UINT32_MAX, PR_GET_DUMPABLE},
	{"prlimit64", 2, UINT64_MAX, 0}, /* reads only */
	{"ioctl", 1, UINT32_MAX, FIONBIO},
	{"ioctl", 1, UINT32_MAX, FIONREAD},
	{"ioctl", 1, UINT32_MAX, FIOCLEX},
	{"ioctl", 1, UINT32_MAX, TCGETS},
	{"ioctl", 1, UINT32_MAX, TIOCGWINSZ},
	{"ioctl", 1, UINT32_MAX, SIOCGIFNAME},
	{"ioctl", 1, UINT32_MAX, SIOCGIFINDEX},
	{"ioctl", 1, UINT32_MAX, SIOCOUTQ},
	/* what the agent has, never new programs, maps or links */
	{"bpf", 0, UINT32_MAX, BPF_ENABLE_STATS}, /* a sample of run times */
	{"bpf", 0, UINT32_MAX, BPF_MAP_LOOKUP_ELEM},
	{"bpf", 0, UINT32_MAX, BPF_MAP_UPDATE_ELEM},
	{"bpf", 0, UINT32_MAX, BPF_MAP_DELETE_ELEM},
	{"bpf", 0, UINT32_MAX, BPF_MAP_GET_NEXT_KEY},
	{"bpf", 0, UINT32_MAX, BPF_MAP_LOOKUP_AND_DELETE_ELEM},
	{"bpf", 0, UINT32_MAX, BPF_MAP_LOOKUP_BATCH},
	{"bpf", 0, UINT32_MAX, BPF_MAP_LOOKUP_AND_DELETE_BATCH},
	{"bpf", 0, UINT32_MAX, BPF_MAP_UPDATE_BATCH},
	{"bpf", 0, UINT32_MAX, BPF_MAP_DELETE_BATCH},
	{"bpf", 0, UINT32_MAX, BPF_OBJ_GET_INFO_BY_FD},
	{"bpf", 0, UINT32_MAX, BPF_PROG_GET_NEXT_ID},
	{"bpf", 0, UINT32_MAX, BPF_LINK_GET_NEXT_ID},
	{"bpf", 0, UINT32_MAX, BPF_PROG_QUERY},
	{"bpf", 0, UINT32_MAX, BPF_ITER_CREATE},
	/* what was loaded at the start, put off and on again */
	{"bpf", 0, UINT32_MAX, BPF_LINK_CREATE},
	{"bpf", 0, UINT32_MAX, BPF_RAW_TRACEPOINT_OPEN},
};

/* A name that this architecture or this libseccomp does not know cannot be called for either. */
static int add(scmp_filter_ctx filter, uint32_t action, const char *call, unsigned count,
	       const struct scmp_arg_cmp *arguments)
{
	int number = seccomp_syscall_resolve_name(call);
	if (number == __NR_SCMP_ERROR)
		return 0;
	int error = seccomp_rule_add_array(filter, action, number, count, arguments);
	return error == -EDOM ? 0 : error; /* not of this architecture */
}

static int add_all(scmp_filter_ctx filter)
{
	int error = 0;
	for (size_t i = 0; !error && i < COUNT(free_calls); i++)
		error = add(filter, SCMP_ACT_ALLOW, free_calls[i], 0, NULL);
	for (size_t i = 0; !error && i < COUNT(refused_calls); i++)
		error = add(filter, SCMP_ACT_ERRNO(ENOSYS), refused_calls[i], 0, NULL);
	for (size_t i = 0; !error && i < COUNT(checked_calls); i++) {
		struct scmp_arg_cmp check =
			SCMP_CMP64(checked_calls[i].argument, SCMP_CMP_MASKED_EQ,
				   checked_calls[i].mask, checked_calls[i].value);
		error = add(filter, SCMP_ACT_ALLOW, checked_calls[i].call, 1, &check);
	}
	/* The resolver loads its modules when it first needs them: code from files, never writable,
	 * and the agent writes no file. */
	struct scmp_arg_cmp code[] = {
		SCMP_A2_64(SCMP_CMP_MASKED_EQ, PROT_EXEC | PROT_WRITE, PROT_EXEC),
		SCMP_A3_64(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, 0),
	};
	if (!error)
		error = add(filter, SCMP_ACT_ALLOW, "mmap", COUNT(code), code);
	/* abort() raises a signal in one's own thread */
	struct scmp_arg_cmp own = SCMP_A0_64(SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint64_t)getpid());
	return error ? error : add(filter, SCMP_ACT_ALLOW, "tgkill", 1, &own);
}

static int load(scmp_filter_ctx filter, bool all_threads)
{
	int error = 0;
	if (all_threads)
		error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	/* a tree instead of a chain: a few comparisons a call */
	if (!error && all_threads)
		error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	return error ? error : seccomp_load(filter);
}

int syscalls_begin(enum syscalls_mode mode)
{
	if (mode == SYSCALLS_OFF)
		return 0;
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	if (!filter)
		return -ENOMEM;
	int error = add(filter, SCMP_ACT_ERRNO(ENOSYS), "io_uring_setup", 0, NULL);
	if (!error)
		error = load(filter, false);
	seccomp_release(filter);
	return error;
}

int syscalls_limit(enum syscalls_mode mode)
{
	if (mode == SYSCALLS_OFF)
		return 0;
	scmp_filter_ctx filter =
		seccomp_init(mode == SYSCALLS_LOG ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS);
	if (!filter)
		return -ENOMEM;
	int error = add_all(filter);
	if (!error)
		error = load(filter, true);
	seccomp_release(filter);
	return error;
}
