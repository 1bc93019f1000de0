/* Processes: begun, executing another program, ended; those before the agent by an iterator. A
 * process is what the kernel calls a thread group; threads are left out. */
#include "agent/bpf/ring.h"

/* Where an exec's record is built: its length is known last. */
union scratch {
	struct mr_exec exec;
	char bytes[sizeof(struct mr_exec) + MR_PATH_BYTES + MR_ARGUMENTS_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, union scratch);
} scratch SEC(".maps");

static __always_inline __u32 task_netns(struct task_struct *task)
{
	return task->nsproxy->net_ns->ns.inum; /* 0 where one is NULL: loads do not fault */
}

static __always_inline void read_task(struct mr_task *record, struct task_struct *task, __u16 kind,
				      __u32 netns)
{
	record->head.kind = kind;
	record->head.flags = 0;
	record->head.pid = task->tgid;
	record->head.time_ns = bpf_ktime_get_boot_ns();
	record->started_ns = task->group_leader->start_boottime;
	record->cgroup = task_cgroup(task);
	record->parent = task->real_parent->tgid;
	record->netns = netns;
	record->uid = task->cred->euid.val;
	record->pad = 0;
	bpf_core_read(record->comm, sizeof(record->comm), &task->comm);
}

static __always_inline void tell_task(struct task_struct *task, __u16 kind)
{
	__u32 netns = task_netns(task);
	if (!in_scope(netns))
		return;
	struct mr_task *record = ring_reserve(kind, sizeof(*record));
	if (!record)
		return;
	read_task(record, task, kind, netns);
	ring_submit(record);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	if (child->pid == child->tgid)
		tell_task(child, MR_FORK);
	return 0;
}

/* The program's file as /proc/<pid>/exe names it: an interpreter, not its script, and no symbolic
 * links, so that a process has one name whether its start was seen or not. Returns its length. */
static __always_inline __u32 read_path(union scratch *to, struct mm_struct *mm)
{
	struct file *file = BPF_CORE_READ(mm, exe_file);
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct vfsmount *mounted = BPF_CORE_READ(file, f_path.mnt);
	struct mount *mount = (void *)mounted - bpf_core_field_offset(struct mount, mnt);
	struct dentry *root = BPF_CORE_READ(mounted, mnt_root);
	__u64 length = 0;
	for (int i = 0; i < MR_PATH_PARTS; i++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		if (dentry == root || dentry == parent) {
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);
			if (above == mount)
				return length;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			root = BPF_CORE_READ(mount, mnt.mnt_root);
			continue;
		}
		if (length > MR_PATH_BYTES - 2)
			break;
		long n = bpf_probe_read_kernel_str(to->exec.text + length, MR_PATH_BYTES - length,
						   BPF_CORE_READ(dentry, d_name.name));
		if (n <= 0)
			break;
		length += n;
		dentry = parent;
	}
	to->exec.task.head.flags |= MR_PATH_CUT;
	return length;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *binary)
{
	__u32 netns = task_netns(task), zero = 0;
	union scratch *to = bpf_map_lookup_elem(&scratch, &zero);
	if (!in_scope(netns) || !to)
		return 0;
	read_task(&to->exec.task, task, MR_EXEC, netns);
	__u64 path = read_path(to, task->mm);
	__u64 start = task->mm->arg_start, length = task->mm->arg_end - start;
	if (left_out(MR_WITHOUT_CMDLINES))
		length = 0;
	else if (length > MR_ARGUMENTS_BYTES)
		to->exec.task.head.flags |= MR_ARGUMENTS_CUT;
	asm volatile("" : "+r"(length), "+r"(path));
	if (length > MR_ARGUMENTS_BYTES)
		length = MR_ARGUMENTS_BYTES;
	if (path > MR_PATH_BYTES)
		return 0;
	if (bpf_probe_read_user(to->exec.text + path, length, (void *)start)) {
		to->exec.task.head.flags |= MR_ARGUMENTS_UNREAD;
		length = 0;
	}
	to->exec.path_length = path;
	to->exec.arguments_length = length;
	ring_output(MR_EXEC, to, sizeof(to->exec) + path + length);
	return 0;
}

/* The status that wait(2) gives: of exit_group() or the deadly signal, else of the leader, which
 * may have died before its threads. */
static __always_inline __u32 exit_status(struct task_struct *task)
{
	if (task->signal->flags & SIGNAL_GROUP_EXIT)
		return task->signal->group_exit_code;
	return task->group_leader->exit_code;
}

/* A process has ended when its last thread has. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	if (task->signal->live.counter != 0)
		return 0;
	struct mr_exit *end = ring_reserve(MR_EXIT, sizeof(*end));
	if (!end)
		return 0;
	end->head.kind = MR_EXIT;
	end->head.flags = 0;
	end->head.pid = task->tgid;
	end->head.time_ns = bpf_ktime_get_boot_ns();
	end->started_ns = task->group_leader->start_boottime;
	end->code = exit_status(task);
	end->pad = 0;
	ring_submit(end);
	return 0;
}

/* A leader that died before its threads is listed: its process lives. */
SEC("iter/task")
int list_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	if (task && task->pid == task->tgid && !(task->flags & PF_KTHREAD) &&
	    task->signal->live.counter > 0)
		tell_task(task, MR_TASK);
	return 0;
}
