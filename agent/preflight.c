#include "agent/preflight.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cgroups.h"

/* The first pid namespace's inode (include/linux/proc_ns.h). */
#define HOST_PID_NAMESPACE 0xeffffffcU

static const struct {
	int bit;
	bool fatal;
	const char *name, *effect;
} capabilities[] = {
	{39, true, "CAP_BPF", "no BPF program loads: run as root or grant it"},
	{38, true, "CAP_PERFMON", "no tracepoint attaches: run as root or grant it"},
	{12, false, "CAP_NET_ADMIN",
	 "no NAT is seen: grant it, or set features.conntrack to false"},
	{11, false, "CAP_NET_BROADCAST", "NAT of other network namespaces comes late: grant it"},
	{21, false, "CAP_SYS_ADMIN",
	 "NAT of other network namespaces and BPF run times are not seen: grant it"},
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

static void check_files(struct preflight *preflight, const char *root)
{
	char path[512], line[256] = "";
	snprintf(path, sizeof(path), "%s/sys/kernel/btf/vmlinux", root);
	if (access(path, R_OK))
		find(preflight, true,
		     "no /sys/kernel/btf/vmlinux: Millrace needs a kernel built with "
		     "CONFIG_DEBUG_INFO_BTF, as "
		     "Debian's are");
	snprintf(path, sizeof(path), "%s/proc/self/mounts", root);
	struct cgroup_mounts mounts;
	if (cgroup_mounts_read(path, &mounts) || (!mounts.v2[0] && !mounts.v1[0]))
		find(preflight, false,
		     "no cgroup file system is mounted: containers and units stay unknown; mount "
		     "cgroup2 at "
		     "/sys/fs/cgroup");
	snprintf(path, sizeof(path), "%s/sys/kernel/security/lockdown", root);
	FILE *file = fopen(path, "re");
	if (file && fgets(line, sizeof(line), file) && strstr(line, "[confidentiality]"))
		find(preflight, true,
		     "the kernel is locked down (confidentiality): BPF may not read it; boot with "
		     "lockdown=integrity");
	if (file)
		fclose(file);
}

static void check_pid_namespace(struct preflight *preflight, const char *root)
{
	char path[512], link[64] = "";
	unsigned inode = 0;
	snprintf(path, sizeof(path), "%s/proc/self/ns/pid", root);
	if (readlink(path, link, sizeof(link) - 1) < 0 || sscanf(link, "pid:[%u]", &inode) != 1)
		return;
	if (inode != HOST_PID_NAMESPACE)
		find(preflight, false,
		     "not in the host's pid namespace: sockets and processes from before the agent "
		     "stay unknown; "
		     "set hostPID or --pid=host");
}

void preflight_run(struct preflight *preflight, const char *root)
{
	preflight->count = 0;
	check_capabilities(preflight, root);
	check_files(preflight, root);
	check_pid_namespace(preflight, root);
}

bool preflight_fatal(const struct preflight *preflight)
{
	for (size_t i = 0; i < preflight->count; i++)
		if (preflight->findings[i].fatal)
			return true;
	return false;
}
