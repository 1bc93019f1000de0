#include "agent/processes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/index.h"
#include "agent/keeper.h"
#include "agent/proc.h"
#include "agent/text.h"
#include "base/memory.h"

struct program {
	uint32_t references;
	uint32_t bytes; /* of all of it */
	const char *cmdline;
	char exe[]; /* and the command line behind it */
};

_Static_assert(sizeof(struct program) <= 16, "counted in PROCESS_SHORT_BYTES");

struct processes {
	struct process *rows;
	struct index index;
	uint32_t *free;
	uint32_t free_count, high, max;
	uint64_t text_bytes_max;
	struct processes_stats stats;
};

struct processes *processes_new(uint32_t processes_max, uint64_t text_bytes_max)
{
	struct processes *processes = memory_zeroed(1, sizeof(*processes));
	processes->rows = memory_zeroed(processes_max, sizeof(*processes->rows));
	processes->free = memory_zeroed(processes_max, sizeof(*processes->free));
	processes->max = processes_max;
	processes->text_bytes_max = text_bytes_max;
	index_init(&processes->index, processes_max);
	return processes;
}

static void set_program(struct processes *processes, struct process *process,
			struct program *program)
{
	struct program *before = process->program;
	if (program)
		program->references++;
	process->program = program;
	if (!before || --before->references)
		return;
	processes->stats.text_bytes -= before->bytes;
	free(before);
}

static void begin(struct processes *processes, struct process *process, uint32_t pid,
		  uint64_t started_ns)
{
	set_program(processes, process, NULL);
	*process = (struct process){.pid = pid, .started_ns = started_ns};
}

void processes_free(struct processes *processes)
{
	if (!processes)
		return;
	for (uint32_t i = 0; i < processes->high; i++)
		set_program(processes, &processes->rows[i], NULL);
	index_done(&processes->index);
	free(processes->rows);
	free(processes->free);
	free(processes);
}

struct process *processes_get(struct processes *processes, uint32_t pid)
{
	uint32_t row = index_get(&processes->index, pid);
	return row == INDEX_NONE ? NULL : &processes->rows[row];
}

struct process *processes_put(struct processes *processes, uint32_t pid, uint64_t started_ns)
{
	struct process *process = processes_get(processes, pid);
	if (process && process->started_ns == started_ns)
		return process;
	if (process) {
		begin(processes, process, pid, started_ns);
		return process;
	}
	uint32_t row;
	if (processes->free_count) {
		row = processes->free[--processes->free_count];
	} else if (processes->high < processes->max) {
		row = processes->high++;
	} else {
		processes->stats.refused++;
		return NULL;
	}
	begin(processes, &processes->rows[row], pid, started_ns);
	index_put(&processes->index, pid, row);
	return &processes->rows[row];
}

void processes_remove(struct processes *processes, struct process *process)
{
	index_remove(&processes->index, process->pid);
	begin(processes, process, 0, 0);
	processes->free[processes->free_count++] = (uint32_t)(process - processes->rows);
}

uint32_t processes_high(const struct processes *processes)
{
	return processes->high;
}

struct process *processes_at(struct processes *processes, uint32_t number)
{
	return processes->rows[number].pid ? &processes->rows[number] : NULL;
}

struct processes_stats processes_stats(const struct processes *processes)
{
	struct processes_stats stats = processes->stats;
	stats.live = processes->index.count;
	return stats;
}

void process_set_comm(struct process *process, const char *bytes, size_t length)
{
	text_clean(process->comm, sizeof(process->comm), bytes, strnlen(bytes, length));
}

static struct program *program_new(struct processes *processes, const char *exe, size_t exe_length,
				   const char *cmdline, size_t cmdline_length)
{
	size_t bytes = sizeof(struct program) + exe_length + cmdline_length + 2;
	struct program *program = memory_zeroed(bytes, 1);
	program->bytes = (uint32_t)bytes;
	memcpy(program->exe, exe, exe_length);
	memcpy(program->exe + exe_length + 1, cmdline, cmdline_length);
	program->cmdline = program->exe + exe_length + 1;
	processes->stats.text_bytes += bytes;
	return program;
}

void process_set_program(struct processes *processes, struct process *process, const char *exe,
			 size_t exe_length, const char *cmdline, size_t cmdline_length)
{
	char exe_text[PROCESS_EXE_BYTES], cmdline_text[PROCESS_CMDLINE_BYTES];
	exe_length = text_clean(exe_text, sizeof(exe_text), exe, exe_length);
	cmdline_length = text_clean(cmdline_text, sizeof(cmdline_text), cmdline, cmdline_length);
	set_program(processes, process,
		    program_new(processes, exe_text, exe_length, cmdline_text, cmdline_length));
}

void process_share_program(struct processes *processes, struct process *process,
			   const struct process *with)
{
	set_program(processes, process, with->program);
}

/* All of a small file or its beginning; 0 if it is gone. */
static size_t read_file(const char *name, char *to, size_t size)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t n = 0;
	while (fd >= 0 && length < size && (n = read(fd, to + length, size - length)) > 0)
		length += (size_t)n;
	if (fd >= 0)
		close(fd);
	return length;
}

struct link_read {
	const char *name;
	char *to;
	size_t size;
	ssize_t length; /* out: or -1 with errno */
};

static void read_link(void *argument)
{
	struct link_read *link = argument;
	link->length = readlink(link->name, link->to, link->size);
}

/* Other users' are for the keeper to read once the rest of the agent has no rights. */
static size_t read_exe(const char *name, char exe[PROCESS_EXE_BYTES])
{
	struct link_read link = {.name = name, .to = exe, .size = PROCESS_EXE_BYTES};
	read_link(&link);
	if (link.length < 0 && errno == EACCES)
		keeper_run(read_link, &link);
	return link.length > 0 ? proc_exe_length(exe, (size_t)link.length) : 0;
}

bool process_read_program(struct processes *processes, struct process *process)
{
	char name[64], exe[PROCESS_EXE_BYTES], cmdline[PROCESS_CMDLINE_BYTES];
	snprintf(name, sizeof(name), "/proc/%u/exe", process->pid);
	size_t exe_length = read_exe(name, exe);
	snprintf(name, sizeof(name), "/proc/%u/cmdline", process->pid);
	size_t length = read_file(name, cmdline, sizeof(cmdline));
	process_set_program(processes, process, exe, exe_length, cmdline, length);
	return length > 0;
}

void process_settle(struct processes *processes, struct process *process)
{
	struct program *program = process->program;
	if (!program || processes->stats.text_bytes <= processes->text_bytes_max ||
	    strlen(program->cmdline) < PROCESS_CUT_BYTES)
		return;
	char cut[PROCESS_CUT_BYTES];
	size_t length = text_clean(cut, sizeof(cut), program->cmdline, strlen(program->cmdline));
	set_program(processes, process,
		    program_new(processes, program->exe, strlen(program->exe), cut, length));
	processes->stats.texts_cut++;
}

const char *process_exe(const struct process *process)
{
	return process->program ? process->program->exe : "";
}

const char *process_cmdline(const struct process *process)
{
	return process->program ? process->program->cmdline : "";
}
