/* Files of /proc/<pid>: a process chooses its arguments, its file's name and, with a cgroup
 * namespace, its paths. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cgroups.h"
#include "agent/proc.h"
#include "agent/processes.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	/* copies, so that a byte read beyond the end is seen */
	char *text = malloc(length + !length), path[64];
	memcpy(text, bytes, length);
	for (int v1 = 0; v1 <= 1; v1++)
		if (proc_cgroup_path(text, length, v1, path, sizeof(path)))
			assert(strnlen(path, sizeof(path)) < sizeof(path));
	size_t exe = proc_exe_length(text, length);
	assert(exe <= length);
	struct processes *processes = processes_new(1, length % 512);
	struct process *process = processes_put(processes, 1, 1);
	process_set_program(processes, process, text, exe, text, length);
	process_settle(processes, process);
	process_set_comm(process, text, length < 16 ? length : 16);
	assert(strlen(process_exe(process)) < PROCESS_EXE_BYTES);
	assert(strlen(process_cmdline(process)) < PROCESS_CMDLINE_BYTES);
	processes_free(processes);
	free(text);
	return 0;
}
