/* The node's processes: identity is pid and start time. Forked ones are told when a socket names
 * them or they execute a program, and those that do neither with the next key frame or their end:
 * most forks execute something at once, and are told once so. A fork has its parent's program, the
 * very same text.
 *
 * Bounded by processes_new; when full a new one is not kept and counted. Text is bounded apart: a
 * command line is told whole when it begins, and kept whole for key frames while all texts together
 * are within text_bytes_max; beyond that what is kept of it is cut to 255 bytes, counted. So
 * all text is at most text_bytes_max + processes_max * PROCESS_SHORT_BYTES. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct program; /* exe and command line; processes may share one */

struct process {
	uint32_t pid, parent; /* pid 0: free */
	uint64_t started_ns;  /* boottime */
	uint64_t cgroup;
	uint32_t uid;
	bool announced, present;
	char comm[48];		 /* 15 bytes, each a character of UTF-8 at most */
	struct program *program; /* NULL: not known */
};

enum {
	PROCESS_EXE_BYTES = 513, /* with the NUL, as the next */
	PROCESS_CMDLINE_BYTES = 4097,
	PROCESS_CUT_BYTES = 256,
	PROCESS_SHORT_BYTES = PROCESS_EXE_BYTES + PROCESS_CUT_BYTES + 16, /* a cut program's */
};

struct processes_stats {
	uint32_t live;
	uint64_t refused;    /* no room */
	uint64_t text_bytes; /* held */
	uint64_t texts_cut;
};

struct processes;
struct processes *processes_new(uint32_t processes_max, uint64_t text_bytes_max);
void processes_free(struct processes *processes);
struct process *processes_get(struct processes *processes, uint32_t pid); /* NULL: unknown */
/* The process of this pid, cleared if it was another one (by its start). NULL: full. */
struct process *processes_put(struct processes *processes, uint32_t pid, uint64_t started_ns);
void processes_remove(struct processes *processes, struct process *process);
uint32_t processes_high(const struct processes *processes);
struct process *processes_at(struct processes *processes, uint32_t number); /* NULL: free */
struct processes_stats processes_stats(const struct processes *processes);

/* Foreign bytes; cleaned and cut. The program is whole until it is settled. */
void process_set_comm(struct process *process, const char *bytes, size_t length);
void process_set_program(struct processes *processes, struct process *process, const char *exe,
			 size_t exe_length, const char *cmdline, size_t cmdline_length);
void process_share_program(struct processes *processes, struct process *process,
			   const struct process *with);
/* exe and cmdline of a living process, from /proc. False: it has no command line there. */
bool process_read_program(struct processes *processes, struct process *process);
/* After it was told: keeps of the text what the bound allows. */
void process_settle(struct processes *processes, struct process *process);
const char *process_exe(const struct process *process);
const char *process_cmdline(const struct process *process);
