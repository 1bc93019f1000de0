/* Another user's program, read from /proc by an agent that gave its rights away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/keeper.h"
#include "agent/privileges.h"
#include "agent/processes.h"

enum { SKIPPED = 77, NOBODY = 65534 };

static pid_t start_as_nobody(void)
{
	int ready[2];
	char byte = 0;
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(1);
		dup2(ready[1], STDOUT_FILENO); /* whoever runs sh has changed programs */
		execl("/bin/sh", "sh", "-c", "echo; exec sleep 60", NULL);
		_exit(1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* As the agent does. The exit status: 0 when the program is known, 1 when not. */
static int read_it_reduced(pid_t pid, bool with_keeper)
{
	int status;
	pid_t reader = fork();
	if (reader)
		return waitpid(reader, &status, 0) == reader && WIFEXITED(status)
			       ? WEXITSTATUS(status)
			       : -1;
	struct processes *processes = processes_new(4, 1 << 20);
	struct process *process = processes_put(processes, (uint32_t)pid, 1);
	if ((with_keeper && keeper_open(PRIVILEGES_KEPT)) || privileges_reduce(0))
		_exit(2);
	bool good = process_read_program(processes, process);
	_exit(!good || !strstr(process_cmdline(process), "sleep 60") ? 3
	      : process_exe(process)[0] == '/' && with_keeper	     ? 0
	      : process_exe(process)[0] == 0 && !with_keeper	     ? 1
								     : 4);
}

static void the_keeper_reads_what_other_users_run(void **state)
{
	(void)state;
	pid_t pid = start_as_nobody();
	assert_int_equal(read_it_reduced(pid, true), 0);
	stop(pid);
}

/* So that the test above shows something. */
static void without_a_keeper_it_is_not_to_be_read(void **state)
{
	(void)state;
	pid_t pid = start_as_nobody();
	assert_int_equal(read_it_reduced(pid, false), 1);
	stop(pid);
}

int main(void)
{
	const uint64_t wanted = CAPABILITY(SYS_PTRACE);
	if (geteuid() || (privileges_now() & wanted) != wanted) {
		printf("skipped: needs root with CAP_SYS_PTRACE\n");
		return SKIPPED;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_keeper_reads_what_other_users_run),
		cmocka_unit_test(without_a_keeper_it_is_not_to_be_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
