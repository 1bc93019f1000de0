/* Makes processes that end in every way, and says of each what wait(2) said: one line
 * "number kind pid status" on standard output, status as wait(2) gives it.
 *
 *     spawn COUNT FOLDER        FOLDER holds the script `end`
 *     spawn child KIND NUMBER   what it spawns; KIND wait waits to be killed */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AT_ONCE = 32, LONG_BYTES = 3900, TOO_LONG_BYTES = 9000 };

enum kind {
	PLAIN,
	KILLED,
	SEGFAULT,
	LEADER_FIRST,
	LEADER_STATUS,
	VFORKED,
	FORKED,
	NAMESPACE,
	SCRIPT,
	LONG_ARGUMENTS,
	TOO_LONG,
	KINDS,
};

static const char *const names[KINDS] = {"plain",	  "killed",  "segfault", "leader-first",
					 "leader-status", "vforked", "forked",	 "namespace",
					 "script",	  "long",    "too-long"};

extern char **environ;

static void *outlive(void *number)
{
	usleep(3000);
	exit((int)(intptr_t)number & 0xff);
}

static void *outlive_alone(void *number)
{
	usleep(3000);
	syscall(SYS_exit, ((int)(intptr_t)number + 1) & 0xff);
	return NULL;
}

static int child(const char *kind, int number)
{
	pthread_t thread;
	if (strcmp(kind, "wait") == 0)
		pause();
	if (strcmp(kind, names[KILLED]) == 0)
		kill(getpid(), SIGKILL);
	if (strcmp(kind, names[SEGFAULT]) == 0)
		*(volatile int *)8 = 1;
	if (strcmp(kind, names[LEADER_FIRST]) == 0) {
		pthread_create(&thread, NULL, outlive, (void *)(intptr_t)number);
		pthread_exit(NULL);
	}
	if (strcmp(kind, names[LEADER_STATUS]) == 0) {
		pthread_create(&thread, NULL, outlive_alone, (void *)(intptr_t)number);
		syscall(SYS_exit, number & 0xff);
	}
	return number & 0xff;
}

struct job {
	int number;
	enum kind kind;
	pid_t pid;
	char text[16], *padding;
	char *arguments[8];
	char stack[16384] __attribute__((aligned(16)));
};

static int execute(void *job)
{
	execve("/proc/self/exe", ((struct job *)job)->arguments, environ);
	_exit(127);
}

static pid_t spawn(struct job *job, char *script)
{
	pid_t pid = -1;
	char path[] = "/proc/self/exe";
	if (job->kind == VFORKED) {
		pid = vfork();
		if (pid == 0)
			execute(job);
	} else if (job->kind == FORKED) {
		pid = fork();
		if (pid == 0)
			_exit(job->number & 0xff);
	} else if (job->kind == NAMESPACE) {
		pid = clone(execute, job->stack + sizeof(job->stack), CLONE_NEWPID | SIGCHLD, job);
	} else if (posix_spawn(&pid, job->kind == SCRIPT ? script : path, NULL, NULL,
			       job->arguments, environ)) {
		return -1;
	}
	return pid;
}

static bool start(struct job *job, int number, char *script)
{
	*job = (struct job){.number = number, .kind = (enum kind)(number % KINDS)};
	snprintf(job->text, sizeof(job->text), "n%d", number);
	size_t padding = job->kind == LONG_ARGUMENTS ? LONG_BYTES
			 : job->kind == TOO_LONG     ? TOO_LONG_BYTES
						     : 0;
	job->padding = malloc(padding + 1);
	memset(job->padding, 'p', padding);
	job->padding[padding] = 0;
	char *const arguments[] = {
		"spawn",     "child",	 (char *)names[job->kind],	job->text,
		"two words", "\xc3\xa4", padding ? job->padding : NULL, NULL};
	memcpy(job->arguments, arguments, sizeof(arguments));
	job->pid = spawn(job, script);
	return job->pid > 0;
}

int main(int count, char **arguments)
{
	if (count >= 4 && strcmp(arguments[1], "child") == 0)
		return child(arguments[2], atoi(arguments[3] + 1));
	if (count != 3)
		return 2;
	static struct job jobs[AT_ONCE];
	char script[4096];
	snprintf(script, sizeof(script), "%s/end", arguments[2]);
	for (int number = 0, all = atoi(arguments[1]); number < all;) {
		int n = 0;
		for (; n < AT_ONCE && number < all; n++, number++)
			if (!start(&jobs[n], number, script)) {
				perror("spawn");
				return 1;
			}
		for (int i = 0; i < n; i++) {
			int status;
			while (waitpid(jobs[i].pid, &status, 0) < 0 && errno == EINTR)
				continue;
			printf("%d %s %d %d\n", jobs[i].number, names[jobs[i].kind], jobs[i].pid,
			       status);
			free(jobs[i].padding);
		}
	}
	return 0;
}
