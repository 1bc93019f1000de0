/* Processes: begun, executing another program, ended; those before the agent by an iterator. A
 * process is what the kernel calls a thread group; threads are left out. */
#include "agent/bpf/ring.h"

static __always_inline __u32 task_netns(struct task_struct *task)
{
	return BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
}

static __always_inline void read_task(struct mr_task *record, struct task_struct *task,
				      struct task_struct *parent, __u16 kind, __u32 netns)
{
	record->head.kind = kind;
	record->head.flags = 0;
	record->head.pid = task->tgid;
	record->head.time_ns = bpf_ktime_get_boot_ns();
	record->started_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	record->cgroup = task_cgroup(task);
	record->parent = parent->tgid;
	record->netns = netns;
	bpf_core_read(record->comm, sizeof(record->comm), &task->comm);
}

static __always_inline void tell_task(struct task_struct *task, struct task_struct *parent,
				      __u16 kind)
{
	__u32 netns = task_netns(task);
	if (!in_scope(netns))
		return;
	struct mr_task *record = ring_reserve(kind, sizeof(*record));
	if (!record)
		return;
	read_task(record, task, parent, kind, netns);
	ring_submit(record);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	if (child->pid == child->tgid)
		tell_task(child, parent, MR_FORK);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *binary)
{
	__u32 netns = task_netns(task);
	if (!in_scope(netns))
		return 0;
	struct mr_exec *exec = ring_reserve(MR_EXEC, sizeof(*exec));
	if (!exec)
		return 0;
	read_task(&exec->task, task, task->real_parent, MR_EXEC, netns);
	exec->pad = 0;
	exec->path[0] = 0;
	bpf_probe_read_kernel_str(exec->path, sizeof(exec->path), binary->filename);
	__u64 start = task->mm->arg_start, length = task->mm->arg_end - start;
	if (length > MR_ARGUMENTS_BYTES - 1)
		length = MR_ARGUMENTS_BYTES - 1;
	asm volatile("" : "+r"(length));
	length &= MR_ARGUMENTS_BYTES - 1;
	exec->arguments_length =
		bpf_probe_read_user(exec->arguments, length, (void *)start) ? 0 : length;
	ring_submit(exec);
	return 0;
}

/* The leader may die before its threads: a process has ended when its last thread has. */
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
	end->started_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	end->code = task->exit_code;
	end->pad = 0;
	ring_submit(end);
	return 0;
}

SEC("iter/task")
int list_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	if (task && task->pid == task->tgid && task->mm)
		tell_task(task, task->real_parent, MR_TASK);
	return 0;
}
