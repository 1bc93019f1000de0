/* Cgroups, as they are made, renamed and removed, and processes that move between them: so that a
 * container that lived for a moment is known by its path, and no directory need be read. Only the
 * v2 tree and the v1 memory controller's are told of (see task_cgroup). */
#include "agent/bpf/ring.h"

/* The id as task_cgroup gives it; 0: of a tree that is not told of. */
static __always_inline __u64 cgroup_id(struct cgroup *cgroup)
{
	struct cgroup_root *root = cgroup->root;
	__u64 id = cgroup->kn->id;
	if (root->hierarchy_id == 0)
		return id;
	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return 0;
	__u32 memory = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	return root->subsys_mask >> memory & 1 ? id | MR_CGROUP_V1 : 0;
}

static __always_inline int tell_cgroup(struct cgroup *cgroup, const char *path, __u16 kind)
{
	__u64 id = cgroup_id(cgroup);
	if (!id)
		return 0;
	struct mr_cgroup *record = ring_reserve(kind, sizeof(*record));
	if (!record)
		return 0;
	record->head.kind = kind;
	record->head.flags = 0;
	record->head.pid = 0;
	record->head.time_ns = bpf_ktime_get_boot_ns();
	record->id = id;
	record->path[0] = 0;
	bpf_probe_read_kernel_str(record->path, sizeof(record->path), path);
	ring_submit(record);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_cgroup_made, struct cgroup *cgroup, const char *path)
{
	return tell_cgroup(cgroup, path, MR_CGROUP);
}

SEC("tp_btf/cgroup_rename")
int BPF_PROG(on_cgroup_renamed, struct cgroup *cgroup, const char *path)
{
	return tell_cgroup(cgroup, path, MR_CGROUP);
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(on_cgroup_removed, struct cgroup *cgroup, const char *path)
{
	return tell_cgroup(cgroup, path, MR_CGROUP_END);
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_cgroup_entered, struct cgroup *cgroup, const char *path, struct task_struct *task)
{
	if (!cgroup_id(cgroup) || task->pid != task->tgid)
		return 0;
	struct mr_task *record = ring_reserve(MR_MOVE, sizeof(*record));
	if (!record)
		return 0;
	__builtin_memset(record, 0, sizeof(*record));
	record->head.kind = MR_MOVE;
	record->head.pid = task->tgid;
	record->head.time_ns = bpf_ktime_get_boot_ns();
	record->started_ns = task->start_boottime;
	record->cgroup = task_cgroup(task);
	ring_submit(record);
	return 0;
}
