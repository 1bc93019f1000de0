/* The node's processes: identity is pid and start time. Forked ones are told only when a socket
 * names them or they execute a program: most forks do one of the two or nothing of interest. A fork
 * has its parent's program.
 *
 * Bounded by processes_new; when full a new one is not kept and counted. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct process {
	uint32_t pid, parent; /* pid 0: free */
	uint64_t started_ns;  /* boottime */
	uint64_t cgroup;
	bool announced;
	char comm[48];	     /* 15 bytes, each a character of UTF-8 at most */
	char *exe, *cmdline; /* own; never NULL */
};

enum { PROCESS_TEXT_BYTES = 257 }; /* of exe and of cmdline, with the NUL */

struct processes;
struct processes *processes_new(uint32_t processes_max);
void processes_free(struct processes *processes);
struct process *processes_get(struct processes *processes, uint32_t pid); /* NULL: unknown */
/* The process of this pid, cleared if it was another one (by its start). NULL: full. */
struct process *processes_put(struct processes *processes, uint32_t pid, uint64_t started_ns);
void processes_remove(struct processes *processes, struct process *process);
uint32_t processes_high(const struct processes *processes);
struct process *processes_at(struct processes *processes, uint32_t number); /* NULL: free */
uint32_t processes_live(const struct processes *processes);
uint64_t processes_refused(const struct processes *processes);

/* Foreign bytes; cleaned and cut. */
void process_set_comm(struct process *process, const char *bytes, uint32_t length);
void process_set_program(struct process *process, const char *exe, uint32_t exe_length,
			 const char *cmdline, uint32_t cmdline_length);
/* exe and cmdline of a living process, from /proc. */
void process_read_program(struct process *process);
