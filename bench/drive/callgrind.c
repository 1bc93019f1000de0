#include "bench/drive/callgrind.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 64, PATH_MAX_BYTES = 64 };

bool callgrind_is_here(void)
{
	return access("/usr/bin/valgrind", X_OK) == 0;
}

static void become_valgrind(const char *function, const char *const arguments[], const char *counts,
			    int output)
{
	char toggle[128], file[128];
	const char *all[ARGUMENTS_MAX] = {
		"valgrind", "--tool=callgrind", "--collect-atstart=no", toggle, file, "--quiet"};
	size_t count = 6;

	snprintf(toggle, sizeof(toggle), "--toggle-collect=%s", function);
	snprintf(file, sizeof(file), "--callgrind-out-file=%s", counts);
	for (; *arguments && count < ARGUMENTS_MAX - 1; arguments++)
		all[count++] = *arguments;
	dup2(output, STDOUT_FILENO);
	/* callgrind counts a repeated string instruction once for each byte that it moves. */
	setenv("GLIBC_TUNABLES",
	       "glibc.cpu.x86_rep_movsb_threshold=0x7fffffff:"
	       "glibc.cpu.x86_rep_stosb_threshold=0x7fffffff",
	       1);
	execv("/usr/bin/valgrind", (char *const *)all);
	_exit(127);
}

/* callgrind's file ends in the sum of all that it collected: "totals: N". */
static uint64_t read_total(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[4096];
	uint64_t total = 0;

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "totals: %" SCNu64, &total) == 1)
			break;
	fclose(file);
	return total;
}

static void read_line(int descriptor, char *output, size_t size)
{
	FILE *file = fdopen(descriptor, "r");

	output[0] = 0;
	if (file && !fgets(output, (int)size, file))
		output[0] = 0;
	if (file)
		fclose(file);
}

uint64_t callgrind_count(const char *function, const char *const arguments[], char *output,
			 size_t size)
{
	char counts[PATH_MAX_BYTES] = "/tmp/callgrind-XXXXXX";
	int file = mkstemp(counts), ends[2], status = 1;
	uint64_t total = 0;
	pid_t child;

	if (file < 0)
		return 0;
	close(file);
	if (pipe2(ends, O_CLOEXEC) == 0) {
		child = fork();
		if (child == 0)
			become_valgrind(function, arguments, counts, ends[1]);
		close(ends[1]);
		read_line(ends[0], output, size);
		if (child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
		    WEXITSTATUS(status) == 0)
			total = read_total(counts);
	}
	unlink(counts);
	return total;
}
