#include "agent/facts.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

/* A value of os-release(5): may be in double or single quotes, with backslashes before what the
 * shell would expand. */
static void unquote(char *out, size_t size, const char *value)
{
	char quote = value[0] == '"' || value[0] == '\'' ? *value++ : 0;
	size_t length = 0;
	for (; *value && *value != quote && *value != '\n' && length + 1 < size; value++) {
		if (*value == '\\' && quote != '\'' && value[1])
			value++;
		out[length++] = *value;
	}
	out[length] = 0;
}

static void read_os(struct facts *facts, const char *root)
{
	static const char *const paths[] = {"/etc/os-release", "/usr/lib/os-release"};
	static const char name[] = "PRETTY_NAME=";
	for (size_t i = 0; i < 2 && !facts->os[0]; i++) {
		char path[512], line[1024];
		snprintf(path, sizeof(path), "%s%s", root, paths[i]);
		FILE *file = fopen(path, "re");
		while (file && fgets(line, sizeof(line), file))
			if (strncmp(line, name, sizeof(name) - 1) == 0)
				unquote(facts->os, sizeof(facts->os), line + sizeof(name) - 1);
		if (file)
			fclose(file);
	}
}

void facts_read(struct facts *facts, const char *root, uint64_t boottime_ns, uint64_t realtime_ns)
{
	struct utsname name;
	struct sysinfo info;
	memset(facts, 0, sizeof(*facts));
	if (uname(&name) == 0) {
		snprintf(facts->kernel, sizeof(facts->kernel), "%s", name.release);
		snprintf(facts->architecture, sizeof(facts->architecture), "%s", name.machine);
	}
	if (sysinfo(&info) == 0)
		facts->memory_bytes = (uint64_t)info.totalram * info.mem_unit;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	facts->cpus = cpus > 0 ? (uint32_t)cpus : 1;
	facts->booted_ns = realtime_ns - boottime_ns;
	read_os(facts, root);
}
