#include "agent/privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { CAPABILITIES_END = 64 };

_Static_assert(CAPABILITY_DAC_READ_SEARCH == CAP_DAC_READ_SEARCH, "linux/capability.h");
_Static_assert(CAPABILITY_SETPCAP == CAP_SETPCAP, "linux/capability.h");
_Static_assert(CAPABILITY_NET_BROADCAST == CAP_NET_BROADCAST, "linux/capability.h");
_Static_assert(CAPABILITY_NET_ADMIN == CAP_NET_ADMIN, "linux/capability.h");
_Static_assert(CAPABILITY_SYS_PTRACE == CAP_SYS_PTRACE, "linux/capability.h");
_Static_assert(CAPABILITY_SYS_ADMIN == CAP_SYS_ADMIN, "linux/capability.h");
_Static_assert(CAPABILITY_PERFMON == CAP_PERFMON, "linux/capability.h");
_Static_assert(CAPABILITY_BPF == CAP_BPF, "linux/capability.h");

uint64_t privileges_now(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
	if (syscall(SYS_capget, &header, data))
		return 0;
	return (uint64_t)data[1].permitted << 32 | data[0].permitted;
}

/* Since 5.19 kernel.unprivileged_bpf_disabled forbids to make BPF objects, not to use those that
 * one has (kernel commit c8644cd0efe7). */
static bool bpf_needs_capability(void)
{
	struct utsname name;
	unsigned major = 0, minor = 0;
	if (uname(&name) || sscanf(name.release, "%u.%u", &major, &minor) != 2)
		return false;
	if (major > 5 || (major == 5 && minor >= 19))
		return false;
	FILE *file = fopen("/proc/sys/kernel/unprivileged_bpf_disabled", "re");
	int disabled = file ? getc(file) : '0';
	if (file)
		fclose(file);
	return disabled != '0';
}

uint64_t privileges_running(void)
{
	return (geteuid() ? CAPABILITY(DAC_READ_SEARCH) : 0) |
	       (bpf_needs_capability() ? CAPABILITY(BPF) : 0);
}

/* Only with CAP_SETPCAP. Without it whoever started us has set them, and the no_new_privs bit makes
 * them idle. */
static void close_the_ways_back(void)
{
	const unsigned long locked = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
				     SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
				     SECBIT_NO_CAP_AMBIENT_RAISE |
				     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
	for (unsigned long bit = 0; bit < CAPABILITIES_END; bit++)
		if (prctl(PR_CAPBSET_READ, bit, 0, 0, 0) == 1)
			prctl(PR_CAPBSET_DROP, bit, 0, 0, 0);
	prctl(PR_SET_SECUREBITS, locked, 0, 0, 0);
}

int privileges_reduce(uint64_t capabilities)
{
	uint64_t kept = privileges_now() & capabilities;
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{.effective = (uint32_t)kept, .permitted = (uint32_t)kept},
		{.effective = (uint32_t)(kept >> 32), .permitted = (uint32_t)(kept >> 32)},
	};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	if (privileges_now() & CAPABILITY(SETPCAP))
		close_the_ways_back();
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

struct errand {
	int (*call)(void *);
	void *argument;
	int result;
};

static void *run_errand(void *argument)
{
	struct errand *errand = argument;
	errand->result = privileges_reduce(privileges_running());
	if (!errand->result)
		errand->result = errand->call(errand->argument);
	return NULL;
}

int privileges_call(int (*call)(void *), void *argument)
{
	struct errand errand = {.call = call, .argument = argument};
	pthread_t thread;
	int error = -pthread_create(&thread, NULL, run_errand, &errand);
	if (error)
		return error;
	pthread_join(thread, NULL);
	return errand.result;
}
