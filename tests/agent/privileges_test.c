/* What the running agent may not do any more: each forbidden act is tried by a child that gave its
 * privileges away as the agent does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/keeper.h"
#include "agent/privileges.h"
#include "agent/syscalls.h"

enum { SKIPPED = 77, LIMITED_S = 20 };

/* The last argument of _exit that says what a child saw; else it is an errno. */
enum { ALL_GOOD = 0, NOT_LIMITED = 200, WRONG = 201 };

static int load_program(void)
{
	struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	return bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "test", "GPL", code, 2, NULL);
}

static int make_map(void)
{
	return bpf_map_create(BPF_MAP_TYPE_ARRAY, "test", 4, 4, 1, NULL);
}

static void forbidden_execve(void)
{
	char name[] = "true", *const words[] = {name, NULL};
	execv("/bin/true", words);
}

static void forbidden_execveat(void)
{
	char name[] = "true", *const words[] = {name, NULL};
	syscall(SYS_execveat, AT_FDCWD, "/bin/true", words, words, 0);
}

static void forbidden_fork(void)
{
	if (fork() == 0)
		_exit(0);
}

static void forbidden_program(void)
{
	load_program();
}

static void forbidden_map(void)
{
	make_map();
}

static void forbidden_ptrace(void)
{
	ptrace(PTRACE_ATTACH, 1, NULL, NULL);
}

static void forbidden_memory_of_others(void)
{
	syscall(SYS_process_vm_writev, 1, NULL, 0, NULL, 0, 0);
}

static void forbidden_mount(void)
{
	mount("none", "/mnt", "tmpfs", 0, NULL);
}

static void forbidden_unshare(void)
{
	unshare(CLONE_NEWUSER);
}

static void forbidden_module(void)
{
	syscall(SYS_init_module, NULL, 0, "");
}

static void forbidden_module_file(void)
{
	syscall(SYS_finit_module, -1, "", 0);
}

static void forbidden_kexec(void)
{
	syscall(SYS_kexec_load, 0, 0, NULL, 0);
}

static void forbidden_chroot(void)
{
	(void)!chroot("/");
}

static void forbidden_reboot(void)
{
	syscall(SYS_reboot, 0, 0, 0, NULL); /* without its magic numbers it does nothing anyway */
}

static void forbidden_setuid(void)
{
	(void)!setuid(0);
}

static void forbidden_signal(void)
{
	kill(1, 0);
}

static void forbidden_thread_signal(void)
{
	syscall(SYS_tgkill, 1, 1, 0);
}

static void forbidden_new_file(void)
{
	open("/tmp/millrace-forbidden", O_RDONLY | O_CREAT, 0600);
}

static void forbidden_write_open(void)
{
	open("/dev/null", O_WRONLY);
}

static void forbidden_unlink(void)
{
	unlink("/tmp/millrace-forbidden");
}

static void forbidden_packets(void)
{
	socket(AF_PACKET, SOCK_RAW, 0);
}

static void forbidden_pid_namespace(void)
{
	setns(-1, CLONE_NEWPID);
}

static void forbidden_executable_memory(void)
{
	mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void forbidden_made_executable(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static void forbidden_memory_file(void)
{
	memfd_create("test", 0);
}

static void forbidden_perf(void)
{
	syscall(SYS_perf_event_open, NULL, -1, 0, -1, 0);
}

static void forbidden_keys(void)
{
	syscall(SYS_keyctl, 0, 0, 0, 0, 0);
}

static void forbidden_raised_limit(void)
{
	struct {
		uint64_t soft, hard;
	} limit = {1, 1};
	syscall(SYS_prlimit64, 0, 7, &limit, NULL);
}

#define FORBIDDEN(name)                 \
	{                               \
#name, forbidden_##name \
	}
static const struct {
	const char *name;
	void (*act)(void);
} forbidden[] = {
	FORBIDDEN(execve),
	FORBIDDEN(execveat),
	FORBIDDEN(program),
	FORBIDDEN(map),
	FORBIDDEN(mount),
	FORBIDDEN(unshare),
	FORBIDDEN(module),
	FORBIDDEN(module_file),
	FORBIDDEN(kexec),
	FORBIDDEN(chroot),
	FORBIDDEN(reboot),
	FORBIDDEN(setuid),
	FORBIDDEN(signal),
	FORBIDDEN(memory_of_others),
	FORBIDDEN(new_file),
	FORBIDDEN(write_open),
	FORBIDDEN(unlink),
	FORBIDDEN(packets),
	FORBIDDEN(pid_namespace),
	FORBIDDEN(executable_memory),
	FORBIDDEN(made_executable),
	FORBIDDEN(memory_file),
	FORBIDDEN(perf),
	FORBIDDEN(keys),
	FORBIDDEN(raised_limit),
	FORBIDDEN(fork),
	FORBIDDEN(ptrace),
	FORBIDDEN(thread_signal),
};

#ifdef __SANITIZE_ADDRESS__
enum { LEAK_CHECKERS = 3 }; /* the last ones: it stops our threads from a process of its own */
#else
enum { LEAK_CHECKERS = 0 };
#endif

/* The child's exit status, or minus the signal that ended it. */
static int in_child(void (*act)(enum syscalls_mode mode, const void *argument),
		    enum syscalls_mode mode, const void *argument)
{
	fflush(NULL);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		alarm(LIMITED_S);
		act(mode, argument);
		_exit(ALL_GOOD);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void act_limited(enum syscalls_mode mode, const void *argument)
{
	void (*const *act)(void) = argument;
	if (syscalls_begin(mode) || syscalls_limit(mode))
		_exit(NOT_LIMITED);
	(*act)();
}

static void every_forbidden_call_ends_the_process(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]) - LEAK_CHECKERS; i++) {
		int status = in_child(act_limited, SYSCALLS_KILL, &forbidden[i].act);
		if (status != -SIGSYS)
			fail_msg("%s: %d instead of SIGSYS", forbidden[i].name, status);
	}
}

static void logged_or_off_nothing_is_ended(void **state)
{
	(void)state;
	static void (*const act)(void) = forbidden_signal;
	assert_int_equal(in_child(act_limited, SYSCALLS_LOG, &act), ALL_GOOD);
	assert_int_equal(in_child(act_limited, SYSCALLS_OFF, &act), ALL_GOOD);
}

static void *forbid_in_thread(void *go)
{
	char byte;
	(void)!read(*(int *)go, &byte, 1);
	forbidden_signal();
	return NULL;
}

static void act_in_older_thread(enum syscalls_mode mode, const void *argument)
{
	int pipe_fds[2];
	pthread_t thread;
	(void)argument;
	if (pipe(pipe_fds) || pthread_create(&thread, NULL, forbid_in_thread, &pipe_fds[0]) ||
	    syscalls_limit(mode))
		_exit(NOT_LIMITED);
	(void)!write(pipe_fds[1], "x", 1);
	pthread_join(thread, NULL);
}

static void threads_from_before_are_limited_too(void **state)
{
	(void)state;
	assert_int_equal(in_child(act_in_older_thread, SYSCALLS_KILL, NULL), -SIGSYS);
	assert_int_equal(in_child(act_in_older_thread, SYSCALLS_OFF, NULL), ALL_GOOD);
}

static void *nothing(void *argument)
{
	return argument;
}

#define MUST(what)                    \
	do {                          \
		if (!(what))          \
			_exit(WRONG); \
	} while (0)

/* What libraries do all day. */
static void act_allowed(enum syscalls_mode mode, const void *argument)
{
	(void)argument;
	pthread_t thread;
	uint32_t zero = 0, value = 7;
	int map = make_map();
	MUST(map >= 0 && syscalls_begin(mode) == 0 && syscalls_limit(mode) == 0);
	MUST(pthread_create(&thread, NULL, nothing, NULL) == 0);
	MUST(pthread_join(thread, NULL) == 0);
	MUST(bpf_map_update_elem(map, &zero, &value, BPF_ANY) == 0);
	value = 0;
	MUST(bpf_map_lookup_elem(map, &zero, &value) == 0 && value == 7);
	int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
	for (size_t i = 0; i < 4; i++) {
		int fd = socket(families[i], SOCK_DGRAM, 0);
		MUST(fd >= 0);
		close(fd);
	}
	FILE *file = fopen("/proc/self/status", "re");
	MUST(file && fgetc(file) == 'N');
	fclose(file);
	struct addrinfo *addresses = NULL; /* the resolver loads its modules now */
	MUST(getaddrinfo("localhost", "80", NULL, &addresses) == 0);
	freeaddrinfo(addresses);
	MUST(syscall(SYS_io_uring_setup, 1, NULL) == -1 && errno == ENOSYS);
	MUST(syscall(SYS_clone3, NULL, 0) == -1 && errno == ENOSYS);
}

static void what_the_agent_and_its_libraries_need_goes_on(void **state)
{
	(void)state;
	assert_int_equal(in_child(act_allowed, SYSCALLS_KILL, NULL), ALL_GOOD);
}

static uint64_t status_mask(const char *path, const char *name)
{
	char line[256];
	unsigned long long mask = UINT64_MAX;
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, name, strlen(name)) == 0)
			sscanf(line + strlen(name), ": %llx", &mask);
	if (file)
		fclose(file);
	return mask;
}

static void act_without_capabilities(enum syscalls_mode mode, const void *argument)
{
	(void)mode, (void)argument;
	MUST(load_program() >= 0);
	MUST(privileges_reduce(privileges_running()) == 0);
	static const char *const masks[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++)
		MUST(status_mask("/proc/thread-self/status", masks[i]) == 0);
	MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	MUST(prctl(PR_GET_SECUREBITS, 0, 0, 0, 0) == 0xef); /* all locked, no keep_caps */
	MUST(load_program() == -EPERM);
	MUST(make_map() == -EPERM);
	MUST(setns(open("/proc/self/ns/net", O_RDONLY), CLONE_NEWNET) == -1 && errno == EPERM);
}

static void after_the_drop_no_capability_is_left_and_bpf_is_refused(void **state)
{
	(void)state;
	assert_int_equal(in_child(act_without_capabilities, SYSCALLS_OFF, NULL), ALL_GOOD);
}

static void enter_namespace(void *result)
{
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	*(int *)result = setns(fd, CLONE_NEWNET) ? errno : 0;
	close(fd);
}

static void read_own_capabilities(void *result)
{
	*(uint64_t *)result = status_mask("/proc/thread-self/status", "CapEff");
}

static int no_capabilities(void *unused)
{
	(void)unused;
	return status_mask("/proc/thread-self/status", "CapEff") == 0 ? 0 : -EINVAL;
}

static void act_with_keeper(enum syscalls_mode mode, const void *argument)
{
	(void)argument;
	int error = -1;
	uint64_t capabilities = 0;
	MUST(keeper_open(PRIVILEGES_KEPT) == 0);
	MUST(privileges_call(no_capabilities, NULL) == 0);
	MUST(status_mask("/proc/thread-self/status", "CapEff") != 0);
	MUST(privileges_reduce(0) == 0 && syscalls_limit(mode) == 0);
	keeper_run(read_own_capabilities, &capabilities);
	MUST(capabilities == (CAPABILITY(NET_ADMIN) | CAPABILITY(NET_BROADCAST) |
			      CAPABILITY(SYS_ADMIN) | CAPABILITY(SYS_PTRACE)));
	keeper_run(enter_namespace, &error);
	MUST(error == 0);
	enter_namespace(&error);
	MUST(error == EPERM);
	keeper_close();
	keeper_run(enter_namespace, &error); /* by ourselves now */
	MUST(error == EPERM);
}

static void only_the_keeper_enters_namespaces(void **state)
{
	(void)state;
	assert_int_equal(in_child(act_with_keeper, SYSCALLS_KILL, NULL), ALL_GOOD);
}

enum { CALLERS = 4, TURNS = 500 };

static void count_up(void *counter)
{
	++*(int *)counter; /* no lock: the keeper's turns are one */
}

static void *count_by_keeper(void *counter)
{
	for (int i = 0; i < TURNS; i++)
		keeper_run(count_up, counter);
	return NULL;
}

static void the_keeper_does_each_job_once_whoever_asks(void **state)
{
	(void)state;
	pthread_t threads[CALLERS];
	int counter = 0;
	assert_int_equal(keeper_open(0), 0);
	for (int i = 0; i < CALLERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_by_keeper, &counter), 0);
	for (int i = 0; i < CALLERS; i++)
		pthread_join(threads[i], NULL);
	keeper_close();
	assert_int_equal(counter, CALLERS * TURNS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_forbidden_call_ends_the_process),
		cmocka_unit_test(logged_or_off_nothing_is_ended),
		cmocka_unit_test(threads_from_before_are_limited_too),
		cmocka_unit_test(what_the_agent_and_its_libraries_need_goes_on),
		cmocka_unit_test(after_the_drop_no_capability_is_left_and_bpf_is_refused),
		cmocka_unit_test(only_the_keeper_enters_namespaces),
		cmocka_unit_test(the_keeper_does_each_job_once_whoever_asks),
	};
	uint64_t wanted = PRIVILEGES_KEPT | CAPABILITY(BPF) | CAPABILITY(SETPCAP);
	if ((privileges_now() & wanted) != wanted) {
		printf("skipped: needs root\n");
		return SKIPPED;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
