#include "agent/proc.h"

#include <string.h>

size_t proc_exe_length(const char *exe, size_t length)
{
	static const char mark[] = " (deleted)";
	const size_t mark_length = sizeof(mark) - 1;
	if (length > mark_length && memcmp(exe + length - mark_length, mark, mark_length) == 0)
		length -= mark_length;
	return length;
}

static bool names_memory(const char *controllers, size_t length)
{
	static const char memory[] = "memory";
	for (const char *end = controllers + length; controllers < end;) {
		const char *comma = memchr(controllers, ',', (size_t)(end - controllers));
		size_t n = (size_t)((comma ? comma : end) - controllers);
		if (n == sizeof(memory) - 1 && memcmp(controllers, memory, n) == 0)
			return true;
		controllers += n + 1;
	}
	return false;
}

/* The path in one line, if it is the wanted tree's; NULL otherwise. */
static const char *line_path(const char *line, const char *end, bool v1)
{
	const char *controllers = memchr(line, ':', (size_t)(end - line));
	const char *path =
		controllers ? memchr(controllers + 1, ':', (size_t)(end - controllers - 1)) : NULL;
	if (!path)
		return NULL;
	bool wanted = v1 ? names_memory(controllers + 1, (size_t)(path - controllers - 1))
			 : controllers == line + 1 && line[0] == '0' && path == controllers + 1;
	return wanted ? path + 1 : NULL;
}

bool proc_cgroup_path(const char *text, size_t length, bool v1, char *path, size_t size)
{
	for (const char *end = text + length; text < end;) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *line_end = newline ? newline : end;
		const char *found = line_path(text, line_end, v1);
		if (found) {
			size_t n = (size_t)(line_end - found);
			if (n >= size)
				return false;
			memcpy(path, found, n);
			path[n] = 0;
			return true;
		}
		text = line_end + 1;
	}
	return false;
}
