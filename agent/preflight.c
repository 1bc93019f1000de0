#include "agent/preflight.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cgroups.h"

/* The first pid namespace's inode (include/linux/proc_ns.h). */
#define HOST_PID_NAMESPACE 0xeffffffcU

enum { MEMLOCK_BYTES = 64 << 20 }; /* the ring, the maps and the programs, with room */

static const struct {
	int bit;
	bool fatal;
	const char *name, *effect;
} capabilities[] = {
	{39, true, "CAP_BPF", "no BPF program loads: run as root or grant it"},
	{38, true, "CAP_PERFMON", "no tracepoint attaches: run as root or grant it"},
	{12, false, "CAP_NET_ADMIN",
	 "no NAT, no UDP and no name lookups are seen: grant it, or set features.conntrack, "
	 "features.udp, features.dns and features.sni to false"},
	{11, false, "CAP_NET_BROADCAST", "NAT of other network namespaces comes late: grant it"},
	{21, false, "CAP_SYS_ADMIN",
	 "NAT of other network namespaces from before the agent, and BPF run times, are not seen: "
	 "grant it"},
	{19, false, "CAP_SYS_PTRACE",
	 "programs of other users that ran before the agent stay unknown: grant it"},
};

static void find(struct preflight *preflight, bool fatal, const char *sentence)
{
	if (preflight->count == FINDINGS_MAX)
		return;
	struct finding *finding = &preflight->findings[preflight->count++];
	finding->fatal = fatal;
	snprintf(finding->sentence, sizeof(finding->sentence), "%s", sentence);
}

/* Who is root owns the runtime's files; others need a capability to read them. */
static void check_docker(struct preflight *preflight, const char *docker_root, const char *root)
{
	char path[512];
	snprintf(path, sizeof(path), "%s%s/containers", root, docker_root);
	if (access(path, R_OK | X_OK) && errno == EACCES)
		find(preflight, false,
		     "CAP_DAC_READ_SEARCH is missing and Docker's files may not be read: names and "
		     "images of its containers stay unknown: grant it, or run as root");
}

static void check_capabilities(struct preflight *preflight, const char *root)
{
	char path[512], line[256];
	uint64_t effective = 0;
	snprintf(path, sizeof(path), "%s/proc/self/status", root);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "CapEff: %" SCNx64, &effective) == 1)
			break;
	if (file)
		fclose(file);
	for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
		if (effective >> capabilities[i].bit & 1)
			continue;
		snprintf(line, sizeof(line), "%s is missing: %s", capabilities[i].name,
			 capabilities[i].effect);
		find(preflight, capabilities[i].fatal, line);
	}
}

static void check_cgroups(struct preflight *preflight, const char *root)
{
	char path[512];
	struct cgroup_mounts mounts;
	snprintf(path, sizeof(path), "%s/proc/self/mounts", root);
	if (cgroup_mounts_read(path, &mounts) || (!mounts.v2[0] && !mounts.v1[0]))
		find(preflight, false,
		     "no cgroup file system is mounted: containers and units stay unknown, UDP and "
		     "DNS are not seen: mount cgroup2 at /sys/fs/cgroup");
	else if (!mounts.v2[0])
		find(preflight, false,
		     "no cgroup2 file system is mounted: UDP and DNS are not seen: mount cgroup2 "
		     "at "
		     "/sys/fs/cgroup/unified");
}

/* BPF maps are charged to the memory cgroup since 5.11, to RLIMIT_MEMLOCK before. */
static bool charges_memlock(const char *root)
{
	char path[512];
	unsigned major = 0, minor = 0;
	snprintf(path, sizeof(path), "%s/proc/sys/kernel/osrelease", root);
	FILE *file = fopen(path, "re");
	bool known = file && fscanf(file, "%u.%u", &major, &minor) == 2;
	if (file)
		fclose(file);
	return known && (major < 5 || (major == 5 && minor < 11));
}

static void check_memlock(struct preflight *preflight, const char *root)
{
	char path[512], line[256];
	unsigned long long bytes = ULLONG_MAX;
	snprintf(path, sizeof(path), "%s/proc/self/limits", root);
	FILE *file = charges_memlock(root) ? fopen(path, "re") : NULL;
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Max locked memory %llu", &bytes) == 1)
			break;
	if (file)
		fclose(file);
	if (bytes >= MEMLOCK_BYTES)
		return;
	snprintf(line, sizeof(line),
		 "the limit of locked memory is %llu KiB: before Linux 5.11 BPF maps count against "
		 "it and are refused: set LimitMEMLOCK=%dM",
		 bytes >> 10, MEMLOCK_BYTES >> 20);
	find(preflight, false, line);
}

static void check_files(struct preflight *preflight, const char *root)
{
	char path[512], line[256] = "";
	snprintf(path, sizeof(path), "%s/sys/kernel/btf/vmlinux", root);
	if (access(path, R_OK))
		find(preflight, true,
		     "no /sys/kernel/btf/vmlinux: Millrace needs a kernel built with "
		     "CONFIG_DEBUG_INFO_BTF, as "
		     "Debian's are");
	check_cgroups(preflight, root);
	snprintf(path, sizeof(path), "%s/sys/kernel/security/lockdown", root);
	FILE *file = fopen(path, "re");
	if (file && fgets(line, sizeof(line), file) && strstr(line, "[confidentiality]"))
		find(preflight, true,
		     "the kernel is locked down (confidentiality): BPF may not read it; boot with "
		     "lockdown=integrity");
	if (file)
		fclose(file);
}

bool preflight_pids_are_the_hosts(const char *root)
{
	char path[512], link[64] = "";
	unsigned inode = 0;
	snprintf(path, sizeof(path), "%s/proc/self/ns/pid", root);
	if (readlink(path, link, sizeof(link) - 1) < 0 || sscanf(link, "pid:[%u]", &inode) != 1)
		return true;
	return inode == HOST_PID_NAMESPACE;
}

static void check_pid_namespace(struct preflight *preflight, const char *root)
{
	if (!preflight_pids_are_the_hosts(root))
		find(preflight, false,
		     "not in the host's pid namespace: sockets and processes from before the agent "
		     "stay unknown, and it cannot test itself: set hostPID or --pid=host");
}

void preflight_run(struct preflight *preflight, const char *docker_root, const char *root)
{
	preflight->count = 0;
	check_capabilities(preflight, root);
	check_docker(preflight, docker_root, root);
	check_files(preflight, root);
	check_memlock(preflight, root);
	check_pid_namespace(preflight, root);
}

bool preflight_fatal(const struct preflight *preflight)
{
	for (size_t i = 0; i < preflight->count; i++)
		if (preflight->findings[i].fatal)
			return true;
	return false;
}

bool preflight_add(struct preflight *preflight, const char *sentence)
{
	size_t before = preflight->count;
	for (size_t i = 0; i < before; i++)
		if (strcmp(preflight->findings[i].sentence, sentence) == 0)
			return false;
	find(preflight, false, sentence);
	return preflight->count > before;
}

size_t preflight_sentences(const struct preflight *preflight, const char *sentences[FINDINGS_MAX])
{
	for (size_t i = 0; i < preflight->count; i++)
		sentences[i] = preflight->findings[i].sentence;
	return preflight->count;
}
