#include "agent/processes.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/index.h"
#include "agent/text.h"
#include "base/memory.h"

struct processes {
	struct process *rows;
	struct index index;
	uint32_t *free;
	uint32_t free_count, high, max;
	uint64_t refused;
};

struct processes *processes_new(uint32_t processes_max)
{
	struct processes *processes = memory_zeroed(1, sizeof(*processes));
	processes->rows = memory_zeroed(processes_max, sizeof(*processes->rows));
	processes->free = memory_zeroed(processes_max, sizeof(*processes->free));
	processes->max = processes_max;
	index_init(&processes->index, processes_max);
	return processes;
}

static void clear(struct process *process)
{
	free(process->exe);
	free(process->cmdline);
	*process = (struct process){0};
}

void processes_free(struct processes *processes)
{
	if (!processes)
		return;
	for (uint32_t i = 0; i < processes->high; i++)
		clear(&processes->rows[i]);
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

static char *copy(const char *text)
{
	size_t size = strlen(text) + 1;
	return memcpy(memory_zeroed(size, 1), text, size);
}

static void begin(struct process *process, uint32_t pid, uint64_t started_ns)
{
	clear(process);
	*process = (struct process){
		.pid = pid, .started_ns = started_ns, .exe = copy(""), .cmdline = copy("")};
}

struct process *processes_put(struct processes *processes, uint32_t pid, uint64_t started_ns)
{
	struct process *process = processes_get(processes, pid);
	if (process && process->started_ns == started_ns)
		return process;
	if (process) {
		begin(process, pid, started_ns);
		return process;
	}
	uint32_t row;
	if (processes->free_count) {
		row = processes->free[--processes->free_count];
	} else if (processes->high < processes->max) {
		row = processes->high++;
	} else {
		processes->refused++;
		return NULL;
	}
	begin(&processes->rows[row], pid, started_ns);
	index_put(&processes->index, pid, row);
	return &processes->rows[row];
}

void processes_remove(struct processes *processes, struct process *process)
{
	index_remove(&processes->index, process->pid);
	clear(process);
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

uint32_t processes_live(const struct processes *processes)
{
	return processes->index.count;
}

uint64_t processes_refused(const struct processes *processes)
{
	return processes->refused;
}

void process_set_comm(struct process *process, const char *bytes, uint32_t length)
{
	text_clean(process->comm, sizeof(process->comm), bytes, strnlen(bytes, length));
}

void process_set_program(struct process *process, const char *exe, uint32_t exe_length,
			 const char *cmdline, uint32_t cmdline_length)
{
	char text[PROCESS_TEXT_BYTES];
	text_clean(text, sizeof(text), exe, exe_length);
	char *exe_copy = copy(text);
	text_clean(text, sizeof(text), cmdline, cmdline_length);
	free(process->exe);
	free(process->cmdline);
	process->exe = exe_copy;
	process->cmdline = copy(text);
}

/* A program whose file was replaced, as by an upgrade, is still that program. */
static uint32_t without_deleted(const char *exe, ssize_t length)
{
	static const char mark[] = " (deleted)";
	const ssize_t mark_length = sizeof(mark) - 1;
	if (length > mark_length && memcmp(exe + length - mark_length, mark, mark_length) == 0)
		length -= mark_length;
	return length < 0 ? 0 : (uint32_t)length;
}

void process_read_program(struct process *process)
{
	char name[64], exe[PROCESS_TEXT_BYTES], cmdline[PROCESS_TEXT_BYTES];
	snprintf(name, sizeof(name), "/proc/%u/exe", process->pid);
	ssize_t exe_length = readlink(name, exe, sizeof(exe));
	snprintf(name, sizeof(name), "/proc/%u/cmdline", process->pid);
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, cmdline, sizeof(cmdline));
	if (fd >= 0)
		close(fd);
	process_set_program(process, exe, without_deleted(exe, exe_length), cmdline,
			    length < 0 ? 0 : (uint32_t)length);
}
