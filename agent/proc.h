/* What the files of /proc/<pid> say: foreign bytes, since a process chooses its arguments and
 * names. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Length of what the link `exe` names without " (deleted)": a program whose file was replaced, as
 * by an upgrade, is still that program. */
size_t proc_exe_length(const char *exe, size_t length);

/* From the lines of `cgroup`: "0::/path" is the v2 tree's, "<n>:...,memory,...:/path" the v1 memory
 * controller's. False: no such line, or a path that does not fit size with its NUL. */
bool proc_cgroup_path(const char *text, size_t length, bool v1, char *path, size_t size);
