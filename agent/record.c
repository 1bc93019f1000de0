#include "agent/record.h"

#include <string.h>

/* What is not here is no kind. */
static const size_t sizes[MR_KINDS] = {
	[MR_OPEN] = sizeof(struct mr_open),	[MR_FAIL] = sizeof(struct mr_open),
	[MR_UPDATE] = sizeof(struct mr_moved),	[MR_CLOSE] = sizeof(struct mr_moved),
	[MR_OWNER] = sizeof(struct mr_owner),	[MR_FORK] = sizeof(struct mr_task),
	[MR_TASK] = sizeof(struct mr_task),	[MR_EXEC] = sizeof(struct mr_exec),
	[MR_EXIT] = sizeof(struct mr_exit),	[MR_MOVE] = sizeof(struct mr_task),
	[MR_CGROUP] = sizeof(struct mr_cgroup), [MR_CGROUP_END] = sizeof(struct mr_cgroup),
	[MR_DNS] = sizeof(struct mr_message),	[MR_LISTEN] = sizeof(struct mr_listen),
	[MR_HELLO] = sizeof(struct mr_message),
};

static bool exec_whole(const struct mr_exec *exec, size_t size)
{
	return exec->path_length <= MR_PATH_BYTES && exec->arguments_length <= MR_ARGUMENTS_BYTES &&
	       sizeof(*exec) + exec->path_length + exec->arguments_length <= size;
}

bool record_whole(const struct mr_head *record, size_t size)
{
	if (size < sizeof(*record) || record->kind >= MR_KINDS || !sizes[record->kind] ||
	    size < sizes[record->kind])
		return false;
	if (record->kind == MR_OPEN || record->kind == MR_FAIL)
		return ((const struct mr_open *)record)->cookie; /* 0 names no socket */
	if (record->kind == MR_EXEC)
		return exec_whole((const struct mr_exec *)record, size);
	if (record->kind == MR_DNS || record->kind == MR_HELLO)
		return sizeof(struct mr_message) + ((const struct mr_message *)record)->length <=
		       size;
	if (record->kind == MR_LISTEN)
		return ((const struct mr_listen *)record)->cookie;
	if (record->kind == MR_CGROUP || record->kind == MR_CGROUP_END)
		return memchr(((const struct mr_cgroup *)record)->path, 0, MR_CGROUP_PATH_BYTES);
	return true;
}

size_t record_path(const struct mr_exec *exec, char to[MR_PATH_BYTES])
{
	size_t out = 0, end = exec->path_length;
	while (end > 1) {
		end--; /* the part's NUL */
		const char *before = memrchr(exec->text, 0, end);
		size_t start = before ? (size_t)(before + 1 - exec->text) : 0;
		if (out || !(exec->task.head.flags & MR_PATH_CUT))
			to[out++] = '/';
		memcpy(to + out, exec->text + start, end - start);
		out += end - start;
		end = start;
	}
	return out;
}
